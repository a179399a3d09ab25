//! A lock's record as bytes.
//!
//! Owns the body of a slot (`FORMAT.md` describes it); knows nothing of slots, files or checksums.
//! Decoding is total: any bytes give a record or `None`, never a panic, and never an allocation
//! that the input's length does not warrant. What was encoded decodes to the same record.

use std::time::Duration;

use tenure_core::{
    End, History, Holder, Mark, Past, Record, Session, Term, Text, Time, Token, Waiter, Wall,
};

use crate::Clock;
pub(crate) use line::{ENTRY_MIN, Log, Logged};
pub(crate) use past::PastBytes;

mod line;
mod past;

/// What a lock's file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Body<'a> {
    /// Differs for every creation of the file.
    pub(crate) incarnation: u64,
    /// Full name of the lock.
    pub(crate) name: &'a str,
    /// The clock that the holder's stamp was read from; meaningless without a holder.
    pub(crate) clock: Clock,
    /// The record itself, with those of its waiters that stand in the body.
    pub(crate) record: Record,
    /// Where the others are.
    pub(crate) log: Log,
}

/// What a body is made of beside the record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) incarnation: u64,
    pub(crate) name: &'a str,
    pub(crate) clock: Clock,
    /// How many of the record's waiters stand in the body.
    pub(crate) front: usize,
    /// Where those behind them stand.
    pub(crate) log: &'a Log,
}

/// Appends the bytes of a body with all of the record in it to `out`.
pub(crate) fn encode(
    incarnation: u64,
    name: &str,
    clock: Clock,
    record: &Record,
    out: &mut Vec<u8>,
) {
    let (front, log) = (usize::MAX, &Log::default());
    let frame = Frame { incarnation, name, clock, front, log };
    encode_in(&frame, &mut PastBytes::default(), record, out);
}

/// Appends the bytes of a body to `out`, from what is known of the record's `past`.
pub(crate) fn encode_in(
    frame: &Frame<'_>,
    past: &mut PastBytes,
    record: &Record,
    out: &mut Vec<u8>,
) {
    let mut w = Writer(out);
    w.fixed(&frame.incarnation.to_le_bytes());
    w.text(frame.name);
    w.number(record.next_ticket);
    w.number(record.last_token.get());
    w.byte(u8::from(record.holder.is_some()));
    if let Some(h) = &record.holder {
        w.holder(h);
        w.fixed(&frame.clock.boot.to_le_bytes());
        w.fixed(&frame.clock.time_namespace.to_le_bytes());
    }
    let front = frame.front.min(record.queue.len());
    w.number(front as u64);
    record.queue.iter().take(front).for_each(|waiter| w.waiter(waiter));
    if !frame.log.is_none() {
        w.log(frame.log);
    }
    w.number(record.tags.len() as u64);
    record.tags.iter().for_each(|tag| w.text(tag));
    w.fixed(past.of(&record.history));
}

/// The body that these bytes are, all of them; `logged`: of a slot that says so.
pub(crate) fn decode(bytes: &[u8], logged: bool) -> Option<Body<'_>> {
    decode_in(bytes, logged, &mut PastBytes::default())
}

/// The same, from what is known of the record's `past`.
pub(crate) fn decode_in<'a>(
    bytes: &'a [u8],
    logged: bool,
    past: &mut PastBytes,
) -> Option<Body<'a>> {
    let mut r = Reader::new(bytes);
    let incarnation = u64::from_le_bytes(r.fixed()?);
    let name = r.str()?;
    let (next_ticket, last_token) = (r.number()?, Token::new(r.number()?));
    let mut clock = Clock::default();
    let holder = match r.byte()? {
        0 => None,
        1 => {
            let holder = r.holder()?;
            clock.boot = u64::from_le_bytes(r.fixed()?);
            clock.time_namespace = u32::from_le_bytes(r.fixed()?);
            Some(holder)
        }
        _ => return None,
    };
    let queue = r.many(Reader::waiter)?.into();
    let log = if logged { r.log()? } else { Log::default() };
    let tags = r.many(Reader::text)?;
    let history = past.read(r)?;
    let record = Record { holder, queue, next_ticket, last_token, tags, history };
    Some(Body { incarnation, name, clock, record, log })
}

/// What can still be read of bytes that are no whole body, unverified: the name, and whether
/// somebody holds the lock, as far as it goes.
pub(crate) fn salvage(bytes: &[u8]) -> Option<(&str, Option<Option<Holder>>)> {
    let mut r = Reader::new(bytes);
    r.fixed::<8>()?;
    let name = r.str().filter(|name| !name.is_empty())?;
    let mut holder = || {
        r.number()?;
        r.number()?;
        match r.byte()? {
            0 => Some(None),
            1 => r.holder().map(Some),
            _ => None,
        }
    };
    Some((name, holder()))
}

/// Writes the parts of a body. Numbers are LEB128, little end first.
pub(crate) struct Writer<'a>(pub(crate) &'a mut Vec<u8>);

impl Writer<'_> {
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    fn fixed(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Most numbers are times and tokens of eight bytes: their bits are moved there all at once.
    fn number(&mut self, mut n: u64) {
        while n >= 1 << 56 {
            self.byte((n & 0x7f) as u8 | 0x80);
            n >>= 7;
        }
        n = (n & 0x00ff_ffff_f000_0000) << 4 | (n & 0x0000_0000_0fff_ffff);
        n = (n & 0x0fff_c000_0fff_c000) << 2 | (n & 0x0000_3fff_0000_3fff);
        n = (n & 0x3f80_3f80_3f80_3f80) << 1 | (n & 0x007f_007f_007f_007f);
        // The last byte with a bit in it ends the number, and zero is one byte.
        let last = (63 - (n | 1).leading_zeros()) & !7;
        let more = (1 << last) - 1;
        self.fixed(&(n | 0x8080_8080_8080_8080 & more).to_le_bytes());
        self.0.truncate(self.0.len() - 7 + last as usize / 8);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.fixed(text.as_bytes());
    }

    fn holder(&mut self, h: &Holder) {
        self.text(&h.id);
        self.fixed(&h.mark.as_u128().to_le_bytes());
        self.session(h.session);
        self.number(h.token.get());
        self.term(h.term);
        self.number(h.ticket);
        self.number(h.since.as_micros());
        self.number(h.renewed.as_micros());
        self.number(h.stamp.as_nanos());
    }

    fn waiter(&mut self, waiter: &Waiter) {
        self.text(&waiter.id);
        self.fixed(&waiter.mark.as_u128().to_le_bytes());
        self.session(waiter.session);
        self.number(waiter.ticket);
        self.term(waiter.term);
        self.number(waiter.since.as_micros());
        self.number(waiter.tags.len() as u64);
        waiter.tags.iter().for_each(|tag| self.text(tag));
    }

    fn history(&mut self, history: &History) {
        self.number(history.len() as u64);
        history.iter().for_each(|past| self.past(past));
    }

    fn past(&mut self, past: &Past) {
        self.text(&past.id);
        self.number(past.token.get());
        self.number(past.ticket);
        self.number(past.since.as_micros());
        self.number(past.until.as_micros());
        self.byte(match past.end {
            End::Released => 0,
            End::Died => 1,
            End::Expired => 2,
            End::Stolen => 3,
        });
        if past.end == End::Stolen {
            self.text(past.reason.as_deref().unwrap_or_default());
        }
    }

    fn session(&mut self, session: Session) {
        self.byte(u8::from(!session.is_none()));
        if !session.is_none() {
            self.fixed(session.as_bytes());
        }
    }

    fn term(&mut self, term: Term) {
        match term {
            Term::Session => self.byte(0),
            Term::Ttl(ttl) => {
                self.byte(1);
                self.number(ttl.as_secs());
                self.number(u64::from(ttl.subsec_nanos()));
            }
            // An end by wall clocks is other formats' own: here it is never believed to have come.
            Term::Until(_) | Term::Forever => self.byte(2),
        }
    }
}

/// Reads the parts of a body from the bytes that are left.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    /// The text read last: the holders of one lock are often the same, and then share it.
    last: Option<Text>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, last: None }
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let mut n = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit, and no number ends in a byte that adds nothing:
            // every number has exactly one encoding.
            if shift == 63 && bits > 1 || shift > 0 && byte == 0 {
                return None;
            }
            n |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(n);
            }
        }
        None
    }

    pub(crate) fn str(&mut self) -> Option<&'a str> {
        let len = usize::try_from(self.number()?).ok()?;
        let (first, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        std::str::from_utf8(first).ok()
    }

    fn text(&mut self) -> Option<Text> {
        let text = self.str()?;
        let shared = self.last.take().filter(|last| &**last == text);
        self.last = Some(shared.unwrap_or_else(|| text.into()));
        self.last.clone()
    }

    /// A list. Every entry takes at least one byte, so a count beyond what is left fails early, and
    /// the list grows only as entries are really there.
    fn many<T>(&mut self, one: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.count()?;
        let mut all = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            all.push(one(self)?);
        }
        Some(all)
    }

    /// How long the list is that follows.
    fn count(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok().filter(|n| *n <= self.rest.len())
    }

    fn holder(&mut self) -> Option<Holder> {
        Some(Holder {
            id: self.text()?,
            mark: self.mark()?,
            session: self.session()?,
            token: Token::new(self.number()?),
            term: self.term()?,
            ticket: self.number()?,
            since: self.wall()?,
            renewed: self.wall()?,
            stamp: Time::from_nanos(self.number()?),
        })
    }

    fn waiter(&mut self) -> Option<Waiter> {
        Some(Waiter {
            id: self.text()?,
            mark: self.mark()?,
            session: self.session()?,
            ticket: self.number()?,
            term: self.term()?,
            since: self.wall()?,
            tags: self.many(Reader::text)?,
        })
    }

    fn past(&mut self) -> Option<Past> {
        let (id, token, ticket) = (self.text()?, Token::new(self.number()?), self.number()?);
        let (since, until) = (self.wall()?, self.wall()?);
        let end = match self.byte()? {
            0 => End::Released,
            1 => End::Died,
            2 => End::Expired,
            3 => End::Stolen,
            _ => return None,
        };
        let reason = if end == End::Stolen { Some(self.str()?) } else { None };
        let reason = reason.filter(|text| !text.is_empty()).map(Text::from);
        Some(Past { id, token, ticket, since, until, end, reason })
    }

    fn mark(&mut self) -> Option<Mark> {
        self.fixed().map(|bytes| Mark::from_u128(u128::from_le_bytes(bytes)))
    }

    fn wall(&mut self) -> Option<Wall> {
        self.number().map(Wall::from_micros)
    }

    fn session(&mut self) -> Option<Session> {
        match self.byte()? {
            0 => Some(Session::NONE),
            1 => self.fixed().map(Session::from_bytes).filter(|s| !s.is_none()),
            _ => None,
        }
    }

    fn term(&mut self) -> Option<Term> {
        match self.byte()? {
            0 => Some(Term::Session),
            1 => {
                let seconds = self.number()?;
                let nanos = u32::try_from(self.number()?).ok().filter(|n| *n < 1_000_000_000)?;
                Some(Term::Ttl(Duration::new(seconds, nanos)))
            }
            2 => Some(Term::Forever),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
