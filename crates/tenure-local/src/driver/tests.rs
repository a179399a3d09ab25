//! Ends that the disk refuses, and who is watched.

use std::time::Instant;

use rustix::io::Errno;
use tenure_core::Timing;

use super::*;
use crate::sys::record;
use crate::testing::{Scratch, lock_in, wait_until};
use crate::{Identity, LockName, Settings};

fn lock(folder: &Arc<crate::Folder>) -> Arc<LocalLock> {
    lock_as(folder, false)
}

fn lock_as(folder: &Arc<crate::Folder>, durable: bool) -> Arc<LocalLock> {
    let store = Arc::new(LocalStore::in_folder(Arc::clone(folder)).unwrap());
    let (timing, tags) = (Timing::default(), Vec::new());
    let settings = Settings { id: "a".into(), timing, tags, durable };
    Arc::new(LocalLock::new(store, LockName::new("l").unwrap(), settings))
}

/// Who holds the lock, and who is next.
fn held_and_waited_for(folder: &Arc<crate::Folder>) -> (Box<LocalClaim>, Box<LocalClaim>) {
    let mut holder = LocalClaim::new(&lock(folder), Patience::Forever).unwrap();
    holder.step().unwrap();
    let mut waiter = LocalClaim::new(&lock(folder), Patience::Forever).unwrap();
    waiter.step().unwrap();
    (holder, waiter)
}

/// The next in line wakes up while the lock is still being handed over; a sync would take longer.
#[test]
fn the_next_in_line_is_called_before_the_lock_is_its_own() {
    for durable in [false, true] {
        let scratch = Scratch::new();
        let folder = scratch.open();
        let claim = || LocalClaim::new(&lock_as(&folder, durable), Patience::Forever).unwrap();
        let mut claims: Vec<_> = (0..3).map(|_| claim()).collect();
        claims.iter_mut().for_each(|claim| drop(claim.step().unwrap()));
        let [holder, next, last] = &mut claims[..] else { panic!() };
        let words = |claim: &LocalClaim| {
            let mut bytes = [0; 8];
            let n = rustix::io::read(claim.pipe.as_ref().unwrap(), &mut bytes).unwrap_or(0);
            String::from_utf8_lossy(&bytes[..n]).into_owned()
        };
        record::fail(0, Errno::IO);
        assert!(holder.release().is_err());
        record::heal();
        assert_eq!(words(next), if durable { "" } else { "~" }, "not written in yet");
        holder.release().unwrap();
        let told = words(next);
        assert!(if durable { told == "!" } else { told.ends_with("~!") }, "{told}");
        assert_eq!(words(last), "");
        next.next_look = None;
        assert!(matches!(next.step().unwrap(), Some(Report::Acquired { .. })));
    }
}

#[test]
fn whoever_leaves_a_hold_behind_calls_nobody() {
    let scratch = Scratch::new();
    let (mut holder, waiter) = held_and_waited_for(&scratch.open());
    holder.detach(Duration::from_secs(60)).unwrap();
    assert_eq!(waiter.pipe.as_ref().unwrap().drain(), None);
}

/// What was announced may not come: whoever announced it found a reason, or was killed.
#[test]
fn one_who_is_called_for_nothing_waits_on() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let (mut holder, mut waiter) = held_and_waited_for(&folder);
    let mark = lock_in(&folder, "l").peek().unwrap().unwrap().record.queue.front().unwrap().mark;
    waiter.lock.store.way_to(mark).unwrap().call();
    let mut other = lock_in(&folder, "l");
    let kept = other.lock().unwrap().unwrap();
    // The guard does not come: the caller is to come back soon.
    assert_eq!(waiter.step().unwrap(), None);
    assert!(waiter.busy.is_some());
    drop(kept);
    wait_until(|| waiter.busy.is_none() || waiter.step().unwrap().is_some());
    assert_eq!((waiter.claim.state(), waiter.told), (State::Contending, None));
    assert!(waiter.wake_after().unwrap() > BACKSTOP / 2);
    holder.release().unwrap();
    assert!(matches!(waiter.step().unwrap(), Some(Report::Acquired { .. })));
}

#[test]
fn one_who_ended_just_before_it_was_watched_is_looked_at_again_soon() {
    let scratch = Scratch::new();
    let mut claim = LocalClaim::new(&lock(&scratch.open()), Patience::Forever).unwrap();
    let own = Identity::of(claim.session.session());
    let ahead = Identity { start: own.start + 1, ..own }.session();
    let position = Position { ahead, next: true, ..Position::default() };
    claim.watch(&position, BACKSTOP);
    assert!(claim.wake_after().unwrap() <= LOOK_AGAIN.1);
    // Once: something may keep its session.
    claim.watch(&position, BACKSTOP);
    assert!(claim.wake_after().unwrap() > BACKSTOP / 2);
}

/// Who was served takes its session's file away before its process ends.
#[test]
fn a_waiter_outlives_the_session_file_of_the_one_ahead() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let mut claims: Vec<_> =
        (0..3).map(|_| LocalClaim::new(&lock(&folder), Patience::Forever).unwrap()).collect();
    claims.iter_mut().for_each(|claim| drop(claim.step().unwrap()));
    let ahead = claims[1].session.session();
    std::fs::remove_file(session::path(&folder, ahead)).unwrap();
    let waiter = &mut claims[2];
    assert!(waiter.ahead.session == ahead && waiter.ahead.end.is_some());
    for quiet in 0..4 {
        (waiter.quiet, waiter.next_look) = (quiet, Some(Time::ZERO));
        assert_eq!(waiter.step().unwrap(), None, "{quiet}");
    }
}

/// Nobody had asked what its slots are, and an empty file has none.
#[test]
fn a_file_that_lost_its_bytes_is_not_taken_for_one_where_nothing_was_written() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let (mut holder, mut waiter) = held_and_waited_for(&folder);
    let path = folder.path().join("locks/l");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, "").unwrap();
    assert!(waiter.slots.is_none() && waiter.ahead.holds && waiter.ahead.end.is_some());
    waiter.next_look = Some(Time::ZERO);
    assert!(matches!(waiter.step(), Err(Error::Damaged { .. })));
    std::fs::write(&path, whole).unwrap();
    assert_eq!(waiter.step().unwrap(), None);
    holder.release().unwrap();
    assert!(matches!(waiter.step().unwrap(), Some(Report::Acquired { .. })));
}

#[test]
fn a_drop_after_a_refused_release_returns_at_once_and_is_made_good() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let mut claim = LocalClaim::new(&lock(&folder), Patience::Forever).unwrap();
    assert!(matches!(claim.step().unwrap(), Some(Report::Acquired { .. })));
    record::fail(0, Errno::IO);
    assert!(claim.release().is_err());
    record::heal();
    let start = Instant::now();
    drop(claim);
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    let mut file = lock_in(&folder, "l");
    wait_until(|| file.peek().unwrap().unwrap().record.holder.is_none());
}

#[test]
fn what_a_refusing_disk_kept_in_the_record_ends_with_the_session_of_a_process_that_lives_on() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let (holder, waiter) = held_and_waited_for(&folder);
    record::fail(0, Errno::IO);
    drop((waiter, holder));
    record::heal();
    let record = lock_in(&folder, "l").peek().unwrap().unwrap().record;
    assert_eq!((record.holder.is_some(), record.queue.len()), (true, 1));
    for _ in 0..2 {
        // The newcomer tidies up before it looks.
        let mut next = LocalClaim::new(&lock(&folder), Patience::Now).unwrap();
        let report = next.step();
        assert!(matches!(report, Ok(Some(Report::Acquired { .. }))), "{report:?}");
        assert!(lock_in(&folder, "l").peek().unwrap().unwrap().record.queue.is_empty());
    }
}

/// As of a process that took the lock and then ran another program in its place.
#[test]
fn a_holder_that_dropped_its_session_and_runs_on_is_noticed_at_the_second_look() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let (holder, mut waiter) = held_and_waited_for(&folder);
    rustix::fs::flock(holder.session_fd(), rustix::fs::FlockOperation::Unlock).unwrap();
    let start = Instant::now();
    while !matches!(waiter.step().unwrap(), Some(Report::Acquired { .. })) {
        waiter.block().unwrap();
    }
    assert!(start.elapsed() < WATCHED + BACKSTOP, "{:?}", start.elapsed());
}

#[test]
fn a_wake_up_that_met_a_busy_guard_is_not_forgotten() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let (mut holder, mut waiter) = held_and_waited_for(&folder);
    assert!(waiter.step().unwrap().is_none());
    holder.release().unwrap();
    let mut file = lock_in(&folder, "l");
    let guard = file.lock().unwrap();
    assert!(matches!(waiter.step_quickly().unwrap(), Quick::TakesLong));
    drop(guard);
    assert!(matches!(waiter.step().unwrap(), Some(Report::Acquired { .. })));
}

#[test]
fn a_wake_up_that_met_an_error_is_not_forgotten() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let (mut holder, mut waiter) = held_and_waited_for(&folder);
    assert!(waiter.step().unwrap().is_none());
    holder.release().unwrap();
    let path = folder.path().join("locks/l");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, vec![0; whole.len()]).unwrap();
    assert!(waiter.step().is_err());
    std::fs::write(&path, whole).unwrap();
    assert!(matches!(waiter.step().unwrap(), Some(Report::Acquired { .. })));
}

#[test]
fn a_release_is_done_even_if_the_next_one_cannot_be_woken() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let (mut holder, mut waiter) = held_and_waited_for(&folder);
    let pipes = folder.path().join("wait");
    let pipe = std::fs::read_dir(&pipes).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(&pipe).unwrap();
    std::fs::create_dir(&pipe).unwrap();
    assert_eq!(holder.release().unwrap(), Some(Report::Released { confirmed: true }));
    waiter.next_look = None;
    assert!(matches!(waiter.step().unwrap(), Some(Report::Acquired { .. })));
    std::fs::remove_dir(&pipe).unwrap();
}

#[test]
fn a_hold_whose_sync_failed_counts_only_once_it_was_written_and_synced_again() {
    let scratch = Scratch::new();
    let lock = lock(&scratch.open());
    let lock = Arc::new(lock.with(Settings { durable: true, ..lock.settings().clone() }));
    LocalClaim::new(&lock, Patience::Forever).unwrap().step().unwrap();
    let mut claim = LocalClaim::new(&lock, Patience::Forever).unwrap();
    // The write succeeds, its sync fails.
    record::fail(1, Errno::IO);
    let failed = claim.step();
    assert!(matches!(failed, Err(Error::NotDurable { .. })), "{failed:?}");
    // What is in the file is not believed while the disk still refuses.
    record::fail(0, Errno::IO);
    assert!(claim.step().is_err());
    record::heal();
    record::start();
    assert!(matches!(claim.step().unwrap(), Some(Report::Acquired { .. })));
    let steps = record::stop();
    let written = steps.iter().position(|s| matches!(s, record::Step::Write { .. })).unwrap();
    assert!(steps[written..].iter().any(|s| matches!(s, record::Step::Sync { .. })), "{steps:?}");
}

#[test]
fn who_meets_a_busy_guard_has_its_pipe_before_it_has_the_guard() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let mut holder = LocalClaim::new(&lock(&folder), Patience::Forever).unwrap();
    holder.step().unwrap();
    let pipes = || std::fs::read_dir(folder.path().join("wait")).unwrap().count();
    let mut file = lock_in(&folder, "l");
    let guard = file.lock().unwrap();
    let own = lock(&folder);
    let mut waiter = LocalClaim::new(&own, Patience::Forever).unwrap();
    assert!(waiter.step().unwrap().is_none() && waiter.claim.queued().is_none());
    assert_eq!(pipes(), 1);
    // And one without patience needs none.
    let own_too = lock(&folder);
    let mut passer = LocalClaim::new(&own_too, Patience::Now).unwrap();
    assert!(passer.step().unwrap().is_none());
    assert_eq!(pipes(), 1);
    drop(guard);
    std::thread::sleep(waiter.wake_after().unwrap());
    assert!(matches!(waiter.step().unwrap(), Some(Report::Waiting { .. })));
    assert_eq!(pipes(), 1, "the same one, under the mark in the line");
    holder.release().unwrap();
    assert!(matches!(waiter.step().unwrap(), Some(Report::Acquired { .. })));
    drop((waiter, own));
    assert_eq!(pipes(), 0);
}

fn acquired(lock: &Arc<LocalLock>) -> Box<LocalClaim> {
    let mut claim = LocalClaim::new(lock, Patience::Forever).unwrap();
    assert!(matches!(claim.step().unwrap(), Some(Report::Acquired { .. })));
    claim
}

fn released(mut claim: Box<LocalClaim>) {
    assert_eq!(claim.release().unwrap(), Some(Report::Released { confirmed: true }));
    claim.leave();
}

#[test]
fn a_contender_is_used_again_and_nothing_of_its_last_hold_is() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let lock = lock(&folder);
    let mut first = acquired(&lock);
    let mut waiter = LocalClaim::new(&lock, Patience::Forever).unwrap();
    waiter.step().unwrap();
    assert!(waiter.step().unwrap().is_none() && waiter.next_look.is_some());
    first.tag_end(vec!["red".into()], false);
    let hold = |claim: &LocalClaim| (claim.claim.mark().unwrap(), claim.token().unwrap());
    let last = (std::ptr::from_ref(&*first), hold(&first));
    released(first);
    assert!(matches!(waiter.step().unwrap(), Some(Report::Acquired { .. })));
    let waited = (std::ptr::from_ref(&*waiter), hold(&waiter));
    released(waiter);
    // Two have ended, and the lock keeps the later one.
    let mut third = acquired(&lock);
    assert_eq!(std::ptr::from_ref(&*third), waited.0);
    let now = hold(&third);
    assert!(
        now.0 != last.1.0 && now.0 != waited.1.0 && now.1 > waited.1.1 && waited.1.1 > last.1.1
    );
    assert_eq!((third.patience, third.seen, third.quiet), (Patience::Forever, 0, 0));
    assert!(third.ahead.session.is_none() && third.ahead.end.is_none());
    assert!(third.wake_fds().next().is_none() && third.wake_after().is_none());
    assert!(third.check().unwrap().is_none());
    released(third);
    let record = lock_in(&folder, "l").peek().unwrap().unwrap().record;
    assert_eq!((&*record.tags[0], record.tags.len(), record.history.len()), ("red", 1, 3));
}

#[test]
fn what_did_not_end_with_a_release_is_not_used_again() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let lock = lock(&folder);
    let is_kept = || lock.contender().is_some();
    released(acquired(&lock));
    assert!(is_kept() && !is_kept());
    // One whose hold lives on, and those whose holds others can know.
    let mut claim = acquired(&lock);
    claim.detach(Duration::from_nanos(1)).unwrap();
    claim.leave();
    assert!(!is_kept());
    let key = lock.store().hold_key().unwrap();
    let mut claim = LocalClaim::with_key(&lock, Patience::Forever, &key).unwrap();
    while claim.token().is_none() {
        claim.step().unwrap();
    }
    released(claim);
    assert!(!is_kept());
    // One that was cancelled, one that found the lock busy, and one that holds it.
    let mut claim = acquired(&lock);
    claim.cancel().unwrap();
    claim.leave();
    assert!(!is_kept());
    let holder = acquired(&lock);
    let mut passer = LocalClaim::new(&lock, Patience::Now).unwrap();
    assert!(matches!(passer.step().unwrap(), Some(Report::Busy(_))));
    holder.leave();
    assert!(!is_kept());
    assert!(lock_in(&folder, "l").peek().unwrap().unwrap().record.holder.is_none());
    // One whose end the disk refused.
    let mut claim = acquired(&lock);
    record::fail(0, Errno::IO);
    assert!(claim.release().is_err());
    record::heal();
    claim.leave();
    assert!(!is_kept());
}

#[test]
fn a_lock_that_keeps_a_contender_is_dropped_all_the_same() {
    let scratch = Scratch::new();
    let lock = lock(&scratch.open());
    let store = Arc::downgrade(lock.store());
    released(acquired(&lock));
    let held = acquired(&lock);
    drop(lock);
    assert!(store.upgrade().is_some());
    released(held);
    assert!(store.upgrade().is_none());
}

#[test]
fn the_contender_that_a_forked_child_finds_begins_nothing() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let lock = lock(&folder);
    released(acquired(&lock));
    let mut owner = std::process::Command::new("sleep").arg("300").spawn().unwrap();
    let mut kept = lock.contender().unwrap();
    kept.session = Arc::new(session::tests::copied_from(&folder, &owner));
    lock.keep(kept);
    let version = || lock_in(&folder, "l").peek().unwrap().unwrap().version;
    let before = version();
    let mut claim = LocalClaim::new(&lock, Patience::Forever).unwrap();
    assert!(claim.step().unwrap_err().to_string().contains("opened by process"));
    drop(claim);
    // Nor does one whose parent is gone by then.
    let mut claim = acquired(&lock);
    let since = version();
    assert_eq!(since.revision, before.revision + 1);
    claim.session = Arc::new(session::tests::copied_from(&folder, &owner));
    assert!(claim.release().is_err());
    owner.kill().unwrap();
    owner.wait().unwrap();
    released(claim);
    assert!(LocalClaim::new(&lock, Patience::Forever).unwrap().step().is_err());
    assert_eq!(version().revision, since.revision + 1, "the release of what was inherited");
}

#[test]
fn a_waiter_whose_pipe_is_read_is_not_asked_about_by_its_session() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let holder = acquired(&lock(&folder));
    let mut waiter = LocalClaim::new(&lock(&folder), Patience::Forever).unwrap();
    waiter.step().unwrap();
    // Where a session's file should be, something that cannot be asked.
    let file = session::path(&folder, waiter.session.session());
    std::fs::rename(&file, scratch.path().join("aside")).unwrap();
    std::fs::create_dir(&file).unwrap();
    assert!(session::probe(&folder, waiter.session.session()).is_err());
    released(holder);
    assert!(matches!(waiter.step().unwrap(), Some(Report::Acquired { .. })));
    std::fs::remove_dir(&file).unwrap();
    std::fs::rename(scratch.path().join("aside"), &file).unwrap();
}

/// As one whose forked child lives on.
#[test]
fn a_dead_waiter_whose_pipe_somebody_reads_is_not_handed_the_lock() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let holder = acquired(&lock(&folder));
    let mut waiter = LocalClaim::new(&lock(&folder), Patience::Forever).unwrap();
    waiter.step().unwrap();
    let mut file = lock_in(&folder, "l");
    let mut guard = file.lock().unwrap().unwrap();
    let mut record = guard.read().unwrap().record;
    let mark = record.queue[0].mark;
    let own = Identity::of(waiter.session.session());
    record.queue[0].session = Identity { start: own.start - 1, ..own }.session();
    guard.write(&record, false).unwrap();
    drop(guard);
    assert!(holder.lock.store.way_to(mark).is_some());
    released(holder);
    let record = file.peek().unwrap().unwrap().record;
    assert_eq!((record.holder, record.queue.len()), (None, 0));
}

/// Two that take turns do not look for each other again.
#[test]
fn what_says_whether_the_next_is_stopped_stays_open() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let locks = [lock(&folder), lock(&folder)];
    let stats = || locks.each_ref().map(|lock| lock.store().stats.lock().unwrap().len());
    let queued = |i: usize| {
        let mut claim = LocalClaim::new(&locks[i], Patience::Forever).unwrap();
        claim.step().unwrap();
        claim
    };
    let (mut holder, mut waiter) = (queued(0), queued(1));
    for turn in 0..4 {
        assert_eq!(stats(), [[0, 0], [1, 0], [1, 1], [1, 1]][turn]);
        holder.release().unwrap();
        holder.leave();
        assert!(matches!(waiter.step().unwrap(), Some(Report::Acquired { .. })));
        (holder, waiter) = (waiter, queued(turn % 2));
    }
}

#[test]
fn what_says_of_the_dead_is_closed_and_no_more_stays_open_than_a_few() {
    let scratch = Scratch::new();
    let store = LocalStore::in_folder(scratch.open()).unwrap();
    let own = Identity::of(lock(store.folder()).store().session("a").unwrap().session());
    let mut children: Vec<_> =
        (0..20).map(|_| std::process::Command::new("sleep").arg("1000").spawn().unwrap()).collect();
    let session = |child: &std::process::Child| {
        let start = crate::process::stat_of(child.id()).unwrap().unwrap().start;
        Identity { pid: child.id(), start, ..own }.session()
    };
    let sessions: Vec<_> = children.iter().map(session).collect();
    for session in sessions.iter().chain(&sessions[12..]) {
        assert_eq!(store.is_stopped(*session).unwrap(), Some(false));
    }
    let known = || store.stats.lock().unwrap().iter().map(|(of, _)| *of).collect::<Vec<_>>();
    assert_eq!(known(), sessions[12..]);
    let signal = |i: usize, signal| {
        let pid = rustix::process::Pid::from_child(&children[i]);
        rustix::process::kill_process(pid, signal).unwrap();
    };
    signal(19, rustix::process::Signal::STOP);
    wait_until(|| store.is_stopped(sessions[19]).unwrap() == Some(true));
    signal(19, rustix::process::Signal::CONT);
    wait_until(|| store.is_stopped(sessions[19]).unwrap() == Some(false));
    for child in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(known().len(), 8);
    for session in &sessions {
        assert_eq!(store.is_stopped(*session).unwrap(), None);
    }
    assert_eq!(known(), []);
}
