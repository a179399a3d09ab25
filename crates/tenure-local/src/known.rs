//! The record of one file that this process read or wrote last, so that the same bytes need not be
//! decoded again.
//!
//! Owns those bytes and what they mean; knows nothing of files and guards. **A record is given out
//! only for bytes that are, one by one, those it was decoded from or encoded to.**
//!
//! So it can never be trusted over the file:
//! - No reading is saved, only decoding. A reader has the guard, has read the first page anew, has
//!   checked all headers in it and chosen the newest slot; the bytes of that slot are what is
//!   compared. Whatever another process wrote, deleted or damaged meanwhile is in that page.
//! - The bytes begin with the header: sequence, checksum of the body, and what is durable; and the
//!   body names the incarnation of the file. No two writes that worked make the same bytes, even of
//!   the same record, and those of a file that was deleted and born again differ too. So the version that is
//!   given out is the version in the page.
//! - Decoding is a function of these bytes and of the lock's name, and one `Known` belongs to one
//!   name. Equal bytes mean an equal record, however old the first look is, also in a forked child.
//! - Bytes outside the page, of a long record, are never known, and neither is a record some of whose
//!   waiters stand there.
//! - The record is away from here while somebody works with it. Who fails does not bring it back,
//!   so a write that failed halfway leaves nothing to be found.

use tenure_core::{Record, Version};

use crate::codec::Log;
use crate::slots::{HEADER, Slot};
use crate::{Clock, codec};

/// One slot's bytes and their meaning.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// A header and its body.
    bytes: Vec<u8>,
    about: About,
    /// The record, unless it was given out.
    record: Option<Record>,
}

/// What the bytes say beside the record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct About {
    pub(crate) incarnation: u64,
    pub(crate) sequence: u64,
    pub(crate) clock: Clock,
    /// Where waiters stand that the bytes do not have.
    pub(crate) log: Log,
}

impl About {
    pub(crate) fn version(&self) -> Version {
        Version { incarnation: self.incarnation.into(), revision: self.sequence }
    }
}

impl Known {
    /// The record, if it is what `bytes` say. It is given out once, until it is brought back.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Option<(About, Record)> {
        if self.record.is_none() || self.bytes != bytes {
            return None;
        }
        self.record.take().map(|record| (self.about, record))
    }

    /// These bytes were decoded, to a record that was given out.
    pub(crate) fn note(&mut self, bytes: &[u8], about: About) {
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes);
        (self.about, self.record) = (about, None);
    }

    /// A record was encoded to `bytes`; they are exchanged for a buffer to write the next one in.
    pub(crate) fn swap(&mut self, bytes: &mut Vec<u8>, about: About) {
        std::mem::swap(&mut self.bytes, bytes);
        (self.about, self.record) = (about, None);
    }

    /// Brings the record of `version` back, as it was read or written.
    pub(crate) fn bring_back(&mut self, version: Version, record: Record) {
        if self.about.version() == version && self.about.log.line.count == 0 {
            debug_assert_eq!(self.decoded().as_ref(), Some(&record), "not what these bytes say");
            self.record = Some(record);
        }
    }

    /// Makes the record another than the bytes say, to show who takes it from here.
    #[cfg(test)]
    pub(crate) fn forge(&mut self, record: Record) {
        self.record = Some(record);
    }

    fn decoded(&self) -> Option<Record> {
        let logged = Slot::decode(&self.bytes).good().is_some_and(|header| header.logged);
        codec::decode(self.bytes.get(HEADER..)?, logged).map(|body| body.record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_given_out_for_its_own_bytes_only_and_once() {
        let (mut known, mut bytes) = (Known::default(), vec![0; HEADER]);
        let record = Record { next_ticket: 7, ..Record::default() };
        codec::encode(1, "l", Clock::default(), &record, &mut bytes);
        let about = |sequence| About { incarnation: 1, sequence, ..About::default() };
        known.note(&bytes, about(1));
        assert!(known.take(&bytes).is_none(), "nothing was brought back");
        known.bring_back(about(2).version(), record.clone());
        assert!(known.take(&bytes).is_none(), "of another version");
        known.bring_back(about(1).version(), record.clone());
        for place in 0..bytes.len() {
            let mut other = bytes.clone();
            other[place] ^= 1;
            assert!(known.take(&other).is_none());
        }
        assert!(known.take(&bytes[..bytes.len() - 1]).is_none());
        assert_eq!(known.take(&bytes), Some((about(1), record.clone())));
        assert!(known.take(&bytes).is_none(), "given out twice");
        known.bring_back(about(1).version(), record);
        known.swap(&mut bytes.clone(), about(3));
        assert!(known.take(&bytes).is_none(), "written since");
    }

    #[test]
    #[should_panic(expected = "not what these bytes say")]
    fn a_record_that_was_changed_meanwhile_is_noticed_in_tests() {
        let mut bytes = vec![0; HEADER];
        codec::encode(1, "l", Clock::default(), &Record::default(), &mut bytes);
        let mut known = Known::default();
        known.note(&bytes, About::default());
        let record = Record { next_ticket: 7, ..Record::default() };
        known.bring_back(About::default().version(), record);
    }
}
