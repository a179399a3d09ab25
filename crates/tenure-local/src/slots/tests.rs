//! The choice of the slot to write, under every short history of writes, and headers as bytes.

use super::*;

/// What a write does, and whether the process that makes it knows what was synced before.
const KINDS: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];
const LENGTH: u32 = 7;

/// A file in memory and on the disk. A power cut is taken at its worst: every slot written since
/// the last sync is torn.
struct File {
    slots: [Slot; SLOTS],
    torn_by_a_cut: [bool; SLOTS],
    newest: usize,
    /// What the writing process knows to be durable.
    known: u64,
    acknowledged: u64,
}

impl File {
    /// As it is born: three times the same, all durable.
    fn born() -> Self {
        let header = Header { sequence: 1, durable: 1, synced: true, ..Header::default() };
        Self {
            slots: [Slot::Good(header); SLOTS],
            torn_by_a_cut: [false; SLOTS],
            newest: 0,
            known: 1,
            acknowledged: 1,
        }
    }

    fn sequence(&self, slot: usize) -> u64 {
        self.slots[slot].good().map_or(0, |h| h.sequence)
    }

    fn write(&mut self, synced: bool, same_process: bool) {
        if !same_process {
            self.known = 0;
        }
        let target = loop {
            match plan(&self.slots, self.newest, durable(&self.slots, self.known)) {
                Plan::Write(target) => break target,
                Plan::SyncFirst => self.sync(),
            }
        };
        let sequence = self.sequence(self.newest) + 1;
        let durable = durable(&self.slots, self.known);
        self.slots[target] = Slot::Bad;
        self.torn_by_a_cut[target] = true;
        self.check("in the middle of a write", sequence - 1);
        let header = Header { sequence, durable, synced, ..Header::default() };
        self.slots[target] = Slot::Good(header);
        self.newest = target;
        self.check("after a write", sequence);
        if synced {
            self.sync();
            self.acknowledged = sequence;
            self.check("after a sync", sequence);
        }
    }

    fn sync(&mut self) {
        self.torn_by_a_cut = [false; SLOTS];
        self.known = self.sequence(self.newest);
    }

    /// A kill must leave `newest`, a power cut something not older than was acknowledged.
    fn check(&self, when: &str, newest: u64) {
        let found = by_age(&self.slots).next().map_or(0, |slot| self.sequence(slot));
        assert_eq!(found, newest, "{when}");
        let whole = (0..SLOTS).filter(|slot| !self.torn_by_a_cut[*slot]);
        let left = whole.map(|slot| self.sequence(slot)).max().unwrap_or(0);
        assert!(left >= self.acknowledged, "{when}: {left} left of {}", self.acknowledged);
    }
}

#[test]
fn no_history_of_writes_endangers_what_was_acknowledged() {
    for history in 0..KINDS.len().pow(LENGTH) {
        let mut file = File::born();
        let mut rest = history;
        for _ in 0..LENGTH {
            let (synced, same_process) = KINDS[rest % KINDS.len()];
            file.write(synced, same_process);
            rest /= KINDS.len();
        }
    }
}

#[test]
fn one_who_goes_on_is_never_made_to_sync() {
    let mut file = File::born();
    for n in 0..20 {
        let plan = plan(&file.slots, file.newest, durable(&file.slots, file.known));
        assert!(matches!(plan, Plan::Write(_)), "before write {n}");
        file.write(n % 7 == 3, true);
    }
}

#[test]
fn a_bad_slot_is_written_first() {
    for bad in 0..SLOTS {
        let mut file = File::born();
        (0..3).for_each(|_| file.write(false, true));
        file.slots[bad] = Slot::Bad;
        let newest = by_age(&file.slots).next().unwrap();
        assert_eq!(plan(&file.slots, newest, durable(&file.slots, 0)), Plan::Write(bad));
    }
}

#[test]
fn headers_turn_into_bytes_and_back() {
    let body = [7; 100];
    let area = Area { offset: 8192, capacity: 4096 };
    let plain = Header { sequence: u64::MAX, durable: 3, area, ..Header::default() };
    let flags = Header { synced: true, floor_due: true, entry_due: true, ..plain };
    for header in [plain.with_body(&body), flags.with_body(&body), flags.with_body(&[])] {
        let bytes = header.encode();
        assert_eq!(Slot::decode(&bytes), Slot::Good(header));
        assert_eq!(Slot::decode(&bytes[..HEADER - 1]), Slot::Bad);
    }
    assert!(plain.with_body(&body).fits(&body) && !plain.with_body(&body).fits(&body[1..]));
}

#[test]
fn areas_that_cannot_be_are_bad() {
    let long = |offset, capacity| {
        let area = Area { offset, capacity };
        let header = Header { area, ..Header::default() }.with_body(&[1; INLINE + 1]);
        Slot::decode(&header.encode())
    };
    assert!(long(FILE as u64, 4096).good().is_some());
    assert_eq!(long(0, 4096), Slot::Bad);
    assert_eq!(long(FILE as u64 - 1, 4096), Slot::Bad);
    assert_eq!(long(FILE as u64, INLINE as u32), Slot::Bad);
}
