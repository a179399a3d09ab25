//! When the floor rises, and that it never falls.

use std::fs;

use super::*;
use crate::testing::{Scratch, open_in};
use crate::{Folder, sys::record};

/// Opens the store in another boot, or in ours, and returns a token that is given there.
fn token(scratch: &Scratch, boot: Option<u64>) -> u64 {
    given(&open_in(&scratch.path().join("store"), boot))
}

fn given(folder: &Folder) -> u64 {
    folder.tokens().next(Token::default(), false).unwrap().get()
}

#[test]
fn a_floor_stands_within_a_boot_and_rises_with_the_next() {
    let scratch = Scratch::new();
    let first = token(&scratch, None);
    assert_eq!(token(&scratch, None), first);
    let (second, third) = (token(&scratch, Some(1)), token(&scratch, Some(2)));
    assert!(second >= first + ROOM && third >= second + ROOM);
    assert_eq!(token(&scratch, Some(2)), third);
}

#[test]
fn tokens_stay_below_the_high_water_on_the_disk() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let tokens = folder.tokens();
    let mut last = Token::new(given(&folder) + ROOM - 3);
    for _ in 0..6 {
        let next = tokens.next(last, false).unwrap();
        let (level, sound) = tokens.read().unwrap();
        assert!(next > last && next.get() < level.high && sound);
        last = next;
    }
    // The raise made a new floor for every lock.
    assert!(given(&folder) > last.get() - 6);
}

#[test]
fn new_locks_do_not_run_ahead_of_the_clock() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let tokens = folder.tokens();
    let births = 50;
    let floor = (0..births).map(|_| tokens.raise().unwrap()).max().unwrap();
    // A twentieth of a second: a store is hardly deleted and used again within that.
    assert!(floor <= tokens.clock() + PER_SECOND / 20, "{floor} after {births} births");
    // Used up while the clock is ahead, they are given in blocks; else in small ones.
    let (level, _) = tokens.read().unwrap();
    tokens.next(Token::new(level.high), false).unwrap();
    let (next, _) = tokens.read().unwrap();
    let room = if next.floor > level.high + 1 { BLOCK } else { ROOM };
    assert_eq!(next.high, next.floor + room);
}

#[test]
fn another_process_s_raise_is_seen_when_asked_for() {
    let scratch = Scratch::new();
    let (a, b) = (scratch.open(), scratch.open());
    let before = given(&a);
    let raised = b.tokens().raise().unwrap();
    assert_eq!(a.tokens().next(Token::default(), false).unwrap().get(), before);
    assert_eq!(a.tokens().next(Token::default(), true).unwrap().get(), raised);
    // A deleted lock's last token is left behind, and no more than that.
    b.tokens().raise_to(raised + 7).unwrap();
    b.tokens().raise_to(raised + 3).unwrap();
    assert_eq!(a.tokens().fresh_floor().unwrap(), raised + 7);
    b.tokens().raise_to(raised * 2).unwrap();
    let (level, sound) = a.tokens().read().unwrap();
    assert!(sound && level.floor == raised * 2 && level.high >= raised * 2 + ROOM);
}

/// They share one open file, and with it its lock.
#[test]
fn threads_of_one_process_do_not_undo_each_other_s_raises() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    // Far beyond the clock, which therefore cannot help.
    folder.tokens().raise_to(1 << 52).unwrap();
    let (before, _) = folder.tokens().read().unwrap();
    let raise = || {
        record::pretend_syncs();
        for _ in 0..200 {
            folder.tokens().raise().unwrap();
        }
    };
    std::thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(raise))));
    let (after, sound) = folder.tokens().read().unwrap();
    assert!(sound && after.high >= before.high + 1_600 * ROOM, "{before:?} {after:?}");
}

#[test]
fn nobody_goes_by_a_file_that_others_do_not_find() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    fs::remove_file(folder.path().join(FILE)).unwrap();
    let text = folder.tokens().raise().unwrap_err().to_string();
    assert!(text.contains("lost its file `tokens`") && text.contains("start again"), "{text}");
    assert!(given(&scratch.open()) > given(&folder));
    let again = folder.tokens().raise().unwrap_err().to_string();
    assert_eq!(again, text, "there is another one");
}

#[test]
fn damage_raises_beyond_what_it_may_have_lost() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let tokens = folder.tokens();
    // As if the clock had been set back.
    tokens.raise_to(1 << 52).unwrap();
    let (before, _) = tokens.read().unwrap();
    tokens.raise_past(7).unwrap();
    assert_eq!(tokens.floor(), before.high + LOST);
    tokens.raise_past(1 << 60).unwrap();
    assert_eq!(tokens.floor(), (1 << 60) + LOST);
}

#[test]
fn a_copied_or_damaged_file_raises_the_floor() {
    let scratch = Scratch::new();
    let file = scratch.path().join("store/tokens");
    let mut last = token(&scratch, None);
    let mut expect_above = |what: &str| {
        let next = token(&scratch, None);
        assert!(next >= last + ROOM, "{what}");
        last = next;
    };
    let bytes = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    // It may get the same inode again, and birth times are only so fine.
    std::thread::sleep(Duration::from_millis(30));
    fs::write(&file, bytes).unwrap();
    expect_above("another inode");
    for len in [COPY as u64, 512, 583] {
        fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(len).unwrap();
        expect_above("truncated");
    }
    for at in (0..COPY).chain(STRIDE..STRIDE + COPY) {
        let mut bytes = fs::read(&file).unwrap();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&file, bytes).unwrap();
        expect_above("a flipped bit");
    }
}

#[test]
fn where_the_file_is_lost_the_clock_helps() {
    for len in [None, Some(0), Some(1), Some(COPY as u64 - 1)] {
        let scratch = Scratch::new();
        let file = scratch.path().join("store/tokens");
        let last = token(&scratch, None);
        match len {
            None => fs::remove_file(&file).unwrap(),
            Some(len) => {
                fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(len).unwrap();
            }
        }
        assert!(token(&scratch, None) > last, "{len:?}");
    }
}

#[test]
fn damage_of_one_copy_loses_nothing() {
    let scratch = Scratch::new();
    let file = scratch.path().join("store/tokens");
    // Far beyond the clock, which therefore cannot help.
    let far = CLOCK_MAX * 2;
    let folder = scratch.open();
    folder.tokens().raise_to(far).unwrap();
    let mut last = far;
    for copy in [0, STRIDE, 0] {
        let mut bytes = fs::read(&file).unwrap();
        bytes[copy..copy + COPY].fill(0);
        fs::write(&file, bytes).unwrap();
        let next = token(&scratch, None);
        assert!(next >= last + ROOM);
        last = next;
    }
}

#[test]
fn a_raise_cut_short_anywhere_never_gives_a_token_twice() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let mut last = CLOCK_MAX * 2;
    folder.tokens().raise_to(last).unwrap();
    for after in 0..4 {
        record::fail(after, Errno::IO);
        assert!(folder.tokens().raise().is_err());
        record::heal();
        let next = token(&scratch, None);
        assert!(next >= last, "{after}");
        last = token(&scratch, Some(u64::from(after)));
        assert!(last > next);
    }
}

#[test]
fn a_newer_format_is_refused_and_the_end_of_numbers_is_an_error() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let error = folder.tokens().raise_to(u64::MAX - 5).unwrap_err().to_string();
    assert!(error.contains("reached 64 bits"), "{error}");
    let last = Token::new(u64::MAX);
    assert!(folder.tokens().next(last, false).is_err());
    let mut copy = Level::default().encode();
    copy[8] = 2;
    let sum = XxHash3_64::oneshot(&copy[..SUM]);
    copy[SUM..].copy_from_slice(&sum.to_le_bytes());
    fs::write(folder.path().join(FILE), copy).unwrap();
    let error = Folder::open(Some(folder.path())).unwrap_err().to_string();
    assert!(error.contains("newer tenure: format 2, this one knows 1"), "{error}");
}
