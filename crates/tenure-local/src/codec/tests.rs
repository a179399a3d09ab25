//! Round trips, and bytes that nobody wrote.

use proptest::collection::vec;
use proptest::prelude::*;
use tenure_core::HISTORY_MAX;

use super::*;
use crate::slots::Area;

fn text() -> impl Strategy<Value = Text> {
    prop_oneof![Just("same".into()), "\\PC{0,20}".prop_map(Text::from)]
}

fn wall() -> impl Strategy<Value = Wall> {
    any::<u64>().prop_map(Wall::from_micros)
}

fn session() -> impl Strategy<Value = Session> {
    prop_oneof![Just([0; 32]), any::<[u8; 32]>()].prop_map(Session::from_bytes)
}

fn term() -> impl Strategy<Value = Term> {
    let ttl = (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(s, n)| Duration::new(s, n));
    prop_oneof![Just(Term::Session), Just(Term::Forever), ttl.prop_map(Term::Ttl)]
}

fn holder() -> impl Strategy<Value = Holder> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>());
    (text(), any::<u128>(), session(), term(), numbers, (wall(), wall())).prop_map(
        |(id, mark, session, term, (token, ticket, stamp), (since, renewed))| Holder {
            id,
            mark: Mark::from_u128(mark),
            session,
            token: Token::new(token),
            term,
            ticket,
            since,
            renewed,
            stamp: Time::from_nanos(stamp),
        },
    )
}

fn waiter() -> impl Strategy<Value = Waiter> {
    let tags = vec(text(), 0..3);
    (text(), any::<u128>(), session(), any::<u64>(), term(), wall(), tags).prop_map(
        |(id, mark, session, ticket, term, since, tags)| Waiter {
            id,
            mark: Mark::from_u128(mark),
            session,
            ticket,
            term,
            since,
            tags,
        },
    )
}

fn past() -> impl Strategy<Value = Past> {
    let why = text().prop_map(|text| Some(text).filter(|text| !text.is_empty()));
    let end = prop_oneof![
        Just((End::Released, None)),
        Just((End::Died, None)),
        Just((End::Expired, None)),
        why.prop_map(|reason| (End::Stolen, reason)),
    ];
    (text(), any::<u64>(), any::<u64>(), wall(), wall(), end).prop_map(
        |(id, token, ticket, since, until, (end, reason))| Past {
            id,
            token: Token::new(token),
            ticket,
            since,
            until,
            end,
            reason,
        },
    )
}

fn record() -> impl Strategy<Value = Record> {
    let lists = (vec(waiter(), 0..4), vec(text(), 0..4), vec(past(), 0..9));
    (proptest::option::of(holder()), lists, any::<u64>(), any::<u64>()).prop_map(
        |(holder, (queue, tags, history), next_ticket, last_token)| Record {
            holder,
            queue: queue.into(),
            next_ticket,
            last_token: Token::new(last_token),
            tags,
            history: history.into_iter().collect(),
        },
    )
}

/// A log in which somebody stands, or nobody any more.
fn log() -> impl Strategy<Value = Log> {
    let line = (0_usize..2_000, any::<u64>(), any::<u64>());
    let region = (3_072..u64::MAX / 2, 1_u32..1 << 24);
    (line, region, any::<[u16; 2]>()).prop_map(|((count, before, last), region, [skip, more])| {
        let (offset, capacity) = region;
        let len = (count + usize::from(more)).min(capacity as usize);
        let skip = u64::from(skip).min(u64::from(capacity) - len as u64);
        let line = Logged { count: count.min(len), at: offset + skip, len, before, last };
        let line = if line.count == 0 { Logged::default() } else { line };
        Log { line, region: Area { offset, capacity } }
    })
}

proptest! {
    #[test]
    fn what_is_written_of_a_log_is_read(
        record in record(),
        log in log(),
        front in 0_usize..4,
        damage in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let clock = Clock::default();
        let encoded = |front, log: &Log, record: &Record| {
            let mut bytes = Vec::new();
            let frame = Frame { incarnation: 7, name: "name", clock, front, log };
            encode_in(&frame, &mut PastBytes::default(), record, &mut bytes);
            bytes
        };
        let mut bytes = encoded(front, &log, &record);
        let mut head = record;
        head.queue.truncate(front);
        let body = decode(&bytes, true).unwrap();
        prop_assert_eq!((&body.record, body.log), (&head, log));
        for len in 0..bytes.len() {
            prop_assert_eq!(decode(&bytes[..len], true), None);
        }
        if let Some((at, byte)) = damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        // Whatever else these bytes may be, they are its only ones.
        if let Some(body) = decode(&bytes, true).filter(|b| b.incarnation == 7 && b.name == "name") {
            let frame = Frame { front: usize::MAX, log: &body.log, incarnation: 7, name: "name", clock: body.clock };
            let mut again = Vec::new();
            encode_in(&frame, &mut PastBytes::default(), &body.record, &mut again);
            prop_assert_eq!(again, bytes);
        }
    }

    #[test]
    fn what_is_written_is_read(
        record in record(),
        incarnation: u64,
        name in "\\PC{1,40}",
        boot: u64,
        time_namespace: u32,
    ) {
        let clock = match record.holder {
            Some(_) => Clock { boot, time_namespace },
            None => Clock::default(),
        };
        let mut bytes = Vec::new();
        encode(incarnation, &name, clock, &record, &mut bytes);
        let log = Log::default();
        let body = Body { incarnation, name: &name, clock, record, log };
        prop_assert_eq!(decode(&bytes, false), Some(body));
        // All of it is needed, and no more is taken.
        for len in 0..bytes.len() {
            prop_assert_eq!(decode(&bytes[..len], false), None);
        }
        bytes.push(0);
        prop_assert_eq!(decode(&bytes, false), None);
    }

    #[test]
    fn every_record_has_one_encoding(
        record in record(),
        at: prop::sample::Index,
        byte: u8,
    ) {
        let mut bytes = Vec::new();
        encode(7, "name", Clock::default(), &record, &mut bytes);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Some(body) = decode(&bytes, false) {
            let mut again = Vec::new();
            encode(body.incarnation, body.name, body.clock, &body.record, &mut again);
            prop_assert_eq!(again, bytes);
        }
    }

    #[test]
    fn garbage_is_refused_or_read_without_harm(bytes in vec(any::<u8>(), 0..400)) {
        if let Some(body) = decode(&bytes, false) {
            let mut again = Vec::new();
            encode(body.incarnation, body.name, body.clock, &body.record, &mut again);
            prop_assert_eq!(again, bytes);
        }
    }
}

proptest! {
    /// Whatever was read or written before, and whichever of the states is written next.
    #[test]
    fn the_kept_bytes_of_the_past_are_never_those_of_another(
        all in vec(past(), 1..4),
        steps in vec((0_u8..12, any::<[prop::sample::Index; 3]>()), 1..80),
    ) {
        let (mut kept, mut states) = (PastBytes::default(), vec![History::default()]);
        for (step, [state, one, other]) in steps {
            // Mostly the newest state, as in life.
            let last = states.len() - 1;
            let at = if step % 2 == 0 { last } else { state.index(states.len()) };
            let mut history = states[at].clone();
            let past = &all[one.index(all.len())];
            let long = other.index(HISTORY_MAX + 3);
            match step {
                0..3 => {}
                3 => history = vec![past.clone(); long].into_iter().collect(),
                _ => history.push(past.clone()),
            }
            let mut bytes = past::anew(&history);
            match step {
                // Written by this process.
                0 | 4 | 5 => prop_assert_eq!(kept.of(&history), &bytes[..]),
                // Not what anybody wrote.
                3 => {
                    bytes = vec![long as u8];
                    (0..long).for_each(|_| Writer(&mut bytes).past(past));
                }
                6 => bytes[0] = other.index(2 * HISTORY_MAX) as u8,
                7 => { let place = other.index(bytes.len()); bytes[place] ^= 1 << one.index(8); }
                8 => bytes.truncate(other.index(bytes.len())),
                9 => bytes.extend_from_slice(&past::anew(&states[state.index(states.len())])),
                // Written by another one.
                _ => {}
            }
            let read = kept.read(Reader::new(&bytes));
            prop_assert_eq!(&read, &PastBytes::default().read(Reader::new(&bytes)));
            states.push(read.unwrap_or(history));
        }
    }
}

/// A hold that was given back, with this token.
fn released(token: u64) -> Past {
    let (since, until) = (Wall::default(), Wall::default());
    let (id, token, end) = ("a".into(), Token::new(token), End::Released);
    Past { id, token, ticket: 0, since, until, end, reason: None }
}

#[test]
fn of_a_past_that_is_known_only_the_newest_is_read() {
    let (mut kept, mut history) = (PastBytes::default(), History::default());
    for n in 0..30 {
        let before = kept.of(&history).to_vec();
        let known = kept.read(Reader::new(&before)).unwrap();
        assert_eq!(known.added_to(&history), Some(None), "read again");
        history.push(released(n));
        let bytes = past::anew(&history);
        // What breaks off changes nothing of what is known.
        for len in 0..bytes.len() {
            assert_eq!(kept.read(Reader::new(&bytes[..len])), None);
        }
        assert_eq!(kept.of(&known), before);
        let read = kept.read(Reader::new(&bytes)).unwrap();
        // Every eighth time a history is put together anew, and then shares nothing.
        if let Some(added) = read.added_to(&known) {
            assert_eq!(added, Some(&released(n)));
        } else {
            assert_eq!(n % HISTORY_MAX as u64, HISTORY_MAX as u64 - 1, "all were read");
        }
        history = read;
    }
}

/// A history that was written by hand, longer than any that a record keeps.
#[test]
fn a_past_that_is_too_long_is_written_as_it_is_kept() {
    let (mut bytes, mut record) = (Vec::new(), Record::default());
    encode(7, "name", Clock::default(), &record, &mut bytes);
    assert_eq!(bytes.pop(), Some(0), "no history");
    Writer(&mut bytes).number(20);
    for n in 0..20 {
        Writer(&mut bytes).past(&released(n));
    }
    let mut past = PastBytes::default();
    let body = decode_in(&bytes, false, &mut past).unwrap();
    let mut again = Vec::new();
    let (front, log) = (usize::MAX, &body.log);
    let frame = Frame { incarnation: 7, name: "name", clock: body.clock, front, log };
    encode_in(&frame, &mut past, &body.record, &mut again);
    record.history = (12..20).map(released).collect();
    assert_eq!(decode(&again, false).unwrap().record, record);
}

#[test]
fn numbers_have_one_encoding_and_an_end() {
    let read = |bytes: &[u8]| Reader::new(bytes).number();
    let edges = (0..64).flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + 1, !(1 << bit)]);
    for n in edges.chain([0x0123_4567_89ab_cdef >> 8, u64::MAX]) {
        let mut bytes = vec![9];
        Writer(&mut bytes).number(n);
        let bits = 64 - (n | 1).leading_zeros();
        assert_eq!(bytes.len(), 1 + bits.div_ceil(7) as usize, "{n:#x}");
        assert_eq!((bytes[0], read(&bytes[1..])), (9, Some(n)), "{n:#x}");
    }
    let max = [0xFF; 9];
    assert_eq!(read(&[&max[..], &[1]].concat()), Some(u64::MAX));
    for refused in [&[][..], &[0x80], &[0x80, 0], &[0xFF; 11], &[&max[..], &[2]].concat()] {
        assert_eq!(read(refused), None, "{refused:?}");
    }
}

#[test]
fn a_huge_count_takes_no_memory() {
    let mut bytes = Vec::new();
    let mut w = Writer(&mut bytes);
    w.number(u64::MAX);
    bytes.extend([0; 100]);
    assert!(Reader::new(&bytes).many(Reader::text).is_none());
    assert!(Reader::new(&bytes).str().is_none());
}
