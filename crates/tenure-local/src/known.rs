//! The record of one file that this process read or wrote last, so that the same bytes need not be
//! decoded again.
//!
//! Owns those bytes and what they mean; knows nothing of files and guards. **A record is given out
//! only for bytes that are, one by one, those it was decoded from or encoded to.**
//!
//! So it can never be trusted over the file:
//! - No reading is saved, only decoding. A reader has the guard, has read the slots anew, and has
//!   found in them, byte by byte, the headers of all slots that it chose the newest of; the bytes of that
//!   slot are what is compared here. Whatever another process wrote, deleted or damaged meanwhile is in
//!   what was read.
//! - The bytes begin with the header: sequence, checksum of the body, and what is durable; and the
//!   body names the incarnation of the file. No two writes that worked make the same bytes, even of
//!   the same record, and those of a file that was deleted and born again differ too. So the version that is
//!   given out is the version in the file.
//! - Decoding is a function of these bytes and of the lock's name, and one `Known` belongs to one
//!   name. Equal bytes mean an equal record, however old the first look is, also in a forked child.
//! - Bytes outside the slots, of a long record, are never known, and neither is a record some of whose
//!   waiters stand there.
//! - The record is away from here while somebody works with it. Who fails does not bring it back, and
//!   who is about to write forgets the bytes first, so a write that failed halfway leaves nothing to
//!   be found.

use tenure_core::{Record, Version};

use crate::codec::Log;
use crate::slots::{HEADER, Slot};
use crate::{Clock, codec};

/// One slot's bytes and their meaning.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// A header and its body; also where the next ones are put together.
    bytes: Vec<u8>,
    /// Nothing while the bytes are not known to stand in the file.
    about: Option<About>,
    /// The record, unless it was given out.
    record: Option<Box<Record>>,
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
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Option<(About, Box<Record>)> {
        let about = self.about.filter(|_| self.record.is_some() && self.bytes == bytes)?;
        self.record.take().map(|record| (about, record))
    }

    /// These bytes were decoded, to a record that was given out.
    pub(crate) fn note(&mut self, bytes: &[u8], about: About) {
        let known = self.forget();
        known.clear();
        known.extend_from_slice(bytes);
        self.about = Some(about);
    }

    /// Forgets the bytes, and gives out where to put others.
    pub(crate) fn forget(&mut self) -> &mut Vec<u8> {
        (self.about, self.record) = (None, None);
        &mut self.bytes
    }

    /// The bytes that were put there last, to be written.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// They stand in the file.
    pub(crate) fn written(&mut self, about: About) {
        self.about = Some(about);
    }

    /// Brings the record of `version` back, as it was read or written.
    pub(crate) fn bring_back(&mut self, version: Version, record: Box<Record>) {
        let is_of = |about: About| about.version() == version && about.log.line.count == 0;
        if self.about.is_some_and(is_of) {
            debug_assert_eq!(self.decoded().as_ref(), Some(&*record), "not what these bytes say");
            self.record = Some(record);
        }
    }

    /// Makes the record another than the bytes say, to show who takes it from here.
    #[cfg(test)]
    pub(crate) fn forge(&mut self, record: Record) {
        self.record = Some(record.into());
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
        let record = Box::new(Record { next_ticket: 7, ..Record::default() });
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
        known.bring_back(about(1).version(), record.clone());
        known.forget();
        assert!(known.take(&bytes).is_none(), "about to be written");
        known.bring_back(about(1).version(), record.clone());
        assert!(known.take(&bytes).is_none(), "perhaps not written");
        known.written(about(3));
        known.bring_back(about(1).version(), record.clone());
        assert!(known.take(&bytes).is_none(), "written since");
        known.bring_back(about(3).version(), record);
        assert!(known.take(&bytes).is_some());
    }

    #[test]
    #[should_panic(expected = "not what these bytes say")]
    fn a_record_that_was_changed_meanwhile_is_noticed_in_tests() {
        let mut bytes = vec![0; HEADER];
        codec::encode(1, "l", Clock::default(), &Record::default(), &mut bytes);
        let mut known = Known::default();
        known.note(&bytes, About::default());
        let record = Record { next_ticket: 7, ..Record::default() };
        known.bring_back(About::default().version(), record.into());
    }
}
