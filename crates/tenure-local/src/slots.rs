//! The bytes of one lock's file: three slots, and where the next write goes.
//!
//! Owns headers, checksums and the choice of the slot to write; knows nothing of locks, tokens or
//! system calls. `FORMAT.md` describes the same for strangers.
//!
//! ```text
//!      0            1024           2048           3072
//!      | slot 0     | slot 1       | slot 2       | areas for bodies over 960 bytes, logs of lines ...
//!      | header, 64 bytes | body, up to 960 bytes |
//! ```
//!
//! Every slot is born valid, so an invalid one is always damage, never emptiness. Two slots are
//! never the target of a write: the *newest*, which readers use, and the *anchor*, the newest that
//! is known to be on the disk. A write that is cut off anywhere, by a kill or by a power cut,
//! therefore leaves a whole record that was once acknowledged as durable.

use twox_hash::XxHash3_64;

/// How many slots a file has.
pub(crate) const SLOTS: usize = 3;
/// Length of one slot: two whole sectors of 512 bytes.
pub(crate) const SLOT: usize = 1024;
/// Length of a slot's header.
pub(crate) const HEADER: usize = 64;
/// The longest body that fits into the slot itself.
pub(crate) const INLINE: usize = SLOT - HEADER;
/// Length of the part that every file has.
pub(crate) const FILE: usize = SLOTS * SLOT;
/// The longest body at all. A waiter takes about 120 bytes.
pub(crate) const BODY_MAX: usize = 16 << 20;
/// The newest format known here: a line stands in a log. Slots without one are written as before it.
pub(crate) const VERSION: u16 = 2;
/// The format of slots that say nothing of a log.
const PLAIN: u16 = 1;

const MAGIC: [u8; 8] = *b"tenure-l";
const SYNCED: u16 = 1;
const FLOOR_DUE: u16 = 2;
const ENTRY_DUE: u16 = 4;

/// Where a slot keeps a body that is too long for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Area {
    /// From the beginning of the file.
    pub(crate) offset: u64,
    /// In bytes; zero if the slot never needed one.
    pub(crate) capacity: u32,
}

impl Area {
    /// The first byte behind it.
    pub(crate) fn end(&self) -> u64 {
        self.offset.saturating_add(self.capacity.into())
    }
}

/// A slot's header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Header {
    /// Rises by at least one with every write of the lock.
    pub(crate) sequence: u64,
    /// The newest sequence that the writer knew to be on the disk.
    pub(crate) durable: u64,
    /// Whether the writer meant to sync it before it reported.
    pub(crate) synced: bool,
    /// Whether the next hold must read the token floor from the disk.
    pub(crate) floor_due: bool,
    /// Whether the folder's entry of the file is not known to be on the disk: its creator may have
    /// been killed before it synced that.
    pub(crate) entry_due: bool,
    /// Whether the body says where the log is.
    pub(crate) logged: bool,
    /// Length of the body.
    pub(crate) len: u32,
    /// The slot's own place for long bodies.
    pub(crate) area: Area,
    /// Checksum of the body.
    pub(crate) body_sum: u64,
}

/// What a slot's first 64 bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// Whole, as far as the header tells.
    Good(Header),
    /// Not what anybody wrote.
    Bad,
    /// Whole, and of a format that is not known here.
    Newer(u16),
}

/// Where the next write goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Into this slot.
    Write(usize),
    /// Nowhere before the file was synced; then plan again with the newest as durable.
    SyncFirst,
}

impl Header {
    /// The same header over `body`.
    #[inline]
    pub(crate) fn with_body(self, body: &[u8]) -> Self {
        // Callers have checked the length; a longer one would never be read back.
        let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
        Self { len, body_sum: XxHash3_64::oneshot(body), ..self }
    }

    /// Whether the body stands in the slot itself.
    pub(crate) fn is_inline(&self) -> bool {
        self.len as usize <= INLINE
    }

    /// Whether these bytes are the body this header was written for.
    pub(crate) fn fits(&self, body: &[u8]) -> bool {
        body.len() == self.len as usize && XxHash3_64::oneshot(body) == self.body_sum
    }

    /// The header's bytes.
    pub(crate) fn encode(&self) -> [u8; HEADER] {
        let flag = |on, bit| if on { bit } else { 0 };
        let flags = flag(self.synced, SYNCED)
            | flag(self.floor_due, FLOOR_DUE)
            | flag(self.entry_due, ENTRY_DUE);
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&MAGIC);
        let version = if self.logged { VERSION } else { PLAIN };
        bytes[8..10].copy_from_slice(&version.to_le_bytes());
        bytes[10..12].copy_from_slice(&flags.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.len.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.durable.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.area.offset.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.area.capacity.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.body_sum.to_le_bytes());
        let sum = XxHash3_64::oneshot(&bytes[..56]);
        bytes[56..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }
}

impl Slot {
    /// Reads the header at the beginning of `bytes`, which may be too short for one.
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let Some(bytes) = bytes.first_chunk::<HEADER>() else { return Self::Bad };
        let word = |i: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[i..i + 8]);
            u64::from_le_bytes(word)
        };
        let half = |i: usize| u16::from_le_bytes([bytes[i], bytes[i + 1]]);
        let quad =
            |i: usize| u32::from_le_bytes([bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]]);
        // Every version keeps the magic, the version and this checksum where they are, so that
        // a flipped bit is never taken for a newer format.
        if bytes[..8] != MAGIC || XxHash3_64::oneshot(&bytes[..56]) != word(56) {
            return Self::Bad;
        }
        if half(8) > VERSION {
            return Self::Newer(half(8));
        }
        let header = Header {
            sequence: word(16),
            durable: word(24),
            synced: half(10) & SYNCED != 0,
            floor_due: half(10) & FLOOR_DUE != 0,
            entry_due: half(10) & ENTRY_DUE != 0,
            logged: half(8) == VERSION,
            len: quad(12),
            area: Area { offset: word(32), capacity: quad(40) },
            body_sum: word(48),
        };
        let in_area = header.area.offset >= FILE as u64 && header.len <= header.area.capacity;
        let sane = header.is_inline() || in_area && header.len as usize <= BODY_MAX;
        if sane { Self::Good(header) } else { Self::Bad }
    }

    /// The header, if the slot is good.
    pub(crate) fn good(&self) -> Option<&Header> {
        match self {
            Self::Good(header) => Some(header),
            Self::Bad | Self::Newer(_) => None,
        }
    }
}

/// The slots in the order in which a reader tries them: newest first, only good ones.
pub(crate) fn by_age(slots: &[Slot; SLOTS]) -> impl Iterator<Item = usize> + use<> {
    let mut order = [0, 1, 2].map(|i: usize| (slots[i].good().map(|h| h.sequence), i));
    order.sort_unstable_by(|a, b| b.cmp(a));
    order.into_iter().filter(|(sequence, _)| sequence.is_some()).map(|(_, i)| i)
}

/// Where a write may go while `newest` is what readers use and `durable` is the newest sequence that
/// is [known to be](durable()).
///
/// A slot that was to be synced but is not known to be may hold what was acknowledged, so it is
/// protected like the anchor until the file has been synced again.
pub(crate) fn plan(slots: &[Slot; SLOTS], newest: usize, durable: u64) -> Plan {
    let is = |i: usize, sequence| slots[i].good().is_some_and(|h| h.sequence == sequence);
    let anchor =
        if is(newest, durable) { Some(newest) } else { (0..SLOTS).find(|i| is(*i, durable)) };
    let free = |i: &usize| {
        let suspect = slots[*i].good().is_some_and(|h| h.synced && h.sequence > durable);
        *i != newest && Some(*i) != anchor && !suspect
    };
    // A bad slot has no sequence and so comes first.
    let oldest = (0..SLOTS).filter(free).min_by_key(|i| slots[*i].good().map(|h| h.sequence));
    oldest.map_or(Plan::SyncFirst, Plan::Write)
}

/// The newest sequence known to be durable, by the caller or by whoever wrote a slot.
pub(crate) fn durable(slots: &[Slot; SLOTS], known: u64) -> u64 {
    slots.iter().filter_map(Slot::good).map(|h| h.durable).fold(known, u64::max)
}

#[cfg(test)]
mod tests;
