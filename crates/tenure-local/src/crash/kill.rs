//! Processes that are killed while they write, again and again.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tenure_core::{Record, Term, Token};

use super::disk::Dice;
use crate::testing::{Scratch, held, lock_in, session_in};
use crate::{Folder, LockFile, OwnSession, Verdict, probe, sweep};

const ROLE: &str = "TENURE_TEST_WRITES_IN";
const TEST: &str = "crash::kill::killed_writers_leave_readable_records_and_tokens_only_grow";
const WRITERS: usize = 3;
const KILLS: usize = 150;

/// Takes and frees a lock without end, if this process was started for that; says each token after
/// it was written, and never writes again before it is said.
fn play_writer() {
    let Some(path) = std::env::var_os(ROLE) else { return };
    let folder = Folder::open(Some(Path::new(&path))).unwrap();
    let session = session_in(&folder);
    let mut dice = Dice(u64::from(std::process::id()));
    let mut lock = lock_in(&folder, "l");
    loop {
        // One write, so that a kill cannot cut it in two.
        let line = format!("token {}\n", write_once(&mut lock, &session, &mut dice));
        std::io::stdout().write_all(line.as_bytes()).unwrap();
    }
}

fn write_once(lock: &mut LockFile, session: &OwnSession, dice: &mut Dice) -> Token {
    let size = [0, 900, 3_000][dice.below(3)];
    let make = |token| Record {
        tags: vec!["x".repeat(size).into()],
        ..held(token, session.session(), Term::Session)
    };
    let Some(mut guard) = lock.lock().unwrap() else {
        let created = lock.create(session, make).unwrap().map(|(_, record)| record.last_token);
        return created.unwrap_or_else(|| write_once(lock, session, dice));
    };
    guard.read().unwrap();
    let token = guard.next_token().unwrap();
    guard.write(&make(token), dice.below(40) == 0).unwrap();
    if dice.below(200) == 0 {
        guard.delete().unwrap();
    }
    token
}

fn start_writer(store: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", TEST, "--nocapture"]).env(ROLE, store);
    command.stdout(Stdio::piped()).spawn().unwrap()
}

/// Kills a writer after a while; returns the tokens it said.
fn kill_after(mut writer: Child, pause: Duration) -> Vec<u64> {
    let output = writer.stdout.take().unwrap();
    let reader = thread::spawn(move || {
        let lines = BufReader::new(output).lines().map(Result::unwrap);
        lines.filter_map(|line| line.strip_prefix("token ")?.parse().ok()).collect()
    });
    thread::sleep(pause);
    writer.kill().unwrap();
    writer.wait().unwrap();
    reader.join().unwrap()
}

/// Looks at what a killed writer left: the record can be read, its holder is found dead, and the
/// next token is above all that were said.
fn examine(folder: &Arc<Folder>, session: &OwnSession, said: &BTreeSet<u64>) {
    let mut lock = lock_in(folder, "l");
    let make = |token| held(token, session.session(), Term::Session);
    let next = if let Some(mut guard) = lock.lock().unwrap() {
        let stored = guard.read().unwrap();
        assert!(!stored.damaged);
        if let Some(holder) = stored.record.holder.filter(|h| h.session != session.session()) {
            assert_eq!(probe(folder, holder.session).unwrap(), Verdict::Dead);
            sweep(folder, holder.session, None);
        }
        let next = guard.next_token().unwrap();
        guard.write(&make(next), false).unwrap();
        next
    } else {
        lock.create(session, make).unwrap().unwrap().1.last_token
    };
    assert!(said.last().is_none_or(|last| next > Token::new(*last)), "{next} after {said:?}");
}

#[test]
fn killed_writers_leave_readable_records_and_tokens_only_grow() {
    play_writer();
    let scratch = Scratch::new();
    let folder = scratch.open();
    let session = session_in(&folder);
    let mut dice = Dice(1);
    let mut said = BTreeSet::new();
    for _ in 0..KILLS / WRITERS {
        let writers: Vec<_> = (0..WRITERS).map(|_| start_writer(folder.path())).collect();
        let tokens: Vec<_> = thread::scope(|scope| {
            let pause = |dice: &mut Dice| Duration::from_micros(3_000 + dice.below(9_000) as u64);
            let threads: Vec<_> = writers
                .into_iter()
                .map(|writer| (writer, pause(&mut dice)))
                .map(|(writer, pause)| scope.spawn(move || kill_after(writer, pause)))
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        for token in tokens {
            assert!(said.insert(token), "token {token} was given twice");
        }
        examine(&folder, &session, &said);
    }
    assert!(said.len() > KILLS, "the writers wrote only {} times", said.len());
}
