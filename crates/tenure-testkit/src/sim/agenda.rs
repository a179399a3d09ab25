//! What is still to happen, in order of time; and where the things are kept that travel.
//!
//! Owns order: equal times go in the order in which they were put in. Entries are small and are
//! moved about; what they carry lies still in a [`Slab`]. Nothing is allocated once both have grown.

/// What happens. `slot` of its [`Entry`] says with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A write reaches the store.
    Land,
    /// The answer to a write reaches its author.
    Answer,
    /// A read reaches the store.
    Look,
    /// What was read reaches who asked.
    Found,
    /// A read has taken too long; `slot` is its number.
    ReadLimit,
    /// The watch tells.
    News,
    /// The watch works again.
    Rewatch,
    /// A guarded write reaches the resource.
    Fenced,
    /// Some peer stops for a while.
    Freeze,
    /// Some peer dies.
    Die,
    /// Some watch falls silent.
    Deafen,
    /// Some peer is cut off.
    Cut,
    /// An outsider changes the record.
    Meddle,
    /// Another controller changes a label.
    Label,
    /// A Go program is to look; its read reaches the store, comes back; its write reaches it.
    GoDue,
    GoLook,
    GoFound,
    GoLand,
    /// What a bug of two steps does first: clears whatever stands there.
    Clear,
    /// A keep-alive is due; reaches the server; its reply reaches the client.
    BeatDue,
    Beat,
    Beaten,
    /// The server ends sessions.
    Revoke,
    /// The servers have a new leader.
    Leader,
    /// The storm ends, or the calm.
    Phase,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) time: u64,
    pub(crate) slot: u32,
    pub(crate) life: u32,
    pub(crate) kind: Kind,
    pub(crate) peer: u8,
}

/// Everything still to happen: the latest first, so that the next one is taken off the end. Most of
/// what is put in is due soon, and finds its place there at once.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    entries: Vec<Entry>,
}

impl Agenda {
    pub(crate) fn put(&mut self, time: u64, kind: Kind, peer: usize, life: u32, slot: u32) {
        self.insert(Entry { time, slot, life, kind, peer: peer as u8 });
    }

    /// Puts an entry in again for later.
    pub(crate) fn put_off(&mut self, entry: Entry, time: u64) {
        self.insert(Entry { time, ..entry });
    }

    fn insert(&mut self, entry: Entry) {
        // It comes after all that are due at the same time.
        let sooner = self.entries.iter().rev().take_while(|e| e.time <= entry.time).count();
        self.entries.insert(self.entries.len() - sooner, entry);
    }

    pub(crate) fn next_at(&self) -> Option<u64> {
        self.entries.last().map(|e| e.time)
    }

    pub(crate) fn take(&mut self) -> Option<Entry> {
        self.entries.pop()
    }
}

/// Things that lie still under a number until they are taken.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    slots: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub(crate) fn put(&mut self, thing: T) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = Some(thing);
            return slot;
        }
        self.slots.push(Some(thing));
        (self.slots.len() - 1) as u32
    }

    pub(crate) fn take(&mut self, slot: u32) -> Option<T> {
        let thing = self.slots.get_mut(slot as usize)?.take();
        if thing.is_some() {
            self.free.push(slot);
        }
        thing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_comes_first_and_equals_in_the_order_they_were_put() {
        let mut agenda = Agenda::default();
        for (time, slot) in [(5, 1), (3, 2), (5, 3), (3, 4), (1, 5)] {
            agenda.put(time, Kind::News, 0, 0, slot);
        }
        let order: Vec<_> = std::iter::from_fn(|| agenda.take()).map(|e| e.slot).collect();
        assert_eq!(order, [5, 2, 4, 1, 3]);
    }

    #[test]
    fn a_slot_is_used_again_after_it_was_taken() {
        let mut slab = Slab::default();
        let (a, b) = (slab.put("a"), slab.put("b"));
        assert_eq!((slab.take(a), slab.take(a)), (Some("a"), None));
        assert_eq!((slab.put("c"), slab.take(b)), (a, Some("b")));
    }
}
