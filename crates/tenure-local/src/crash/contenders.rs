//! Several contenders on one store, run from one seed over a disk that fails, and the power cut after
//! any step.
//!
//! While it runs: one holds at a time, in the order of arrival, and tokens rise. Whatever a cut
//! leaves: the lock can be read, a hold that was left for a time is still there, what was bound to a
//! process is free, and the next token is above every one that was reported.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tenure_core::{Patience, Report, Timing, Token};

use super::disk::{Dice, Disk};
use crate::sys::record;
use crate::testing::{Scratch, open_in};
use crate::{Folder, LocalClaim, LocalLock, LocalStore, LockName, Settings};

const CONTENDERS: usize = 4;
const TURNS: usize = 150;
const SEEDS: u64 = 4;
const LEFT_FOR: Duration = Duration::from_secs(3_600);

/// What was reported, and how many steps the disk had made by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Token(Token),
    LeftBehind,
}

struct Run {
    locks: Vec<Arc<LocalLock>>,
    claims: Vec<Option<Box<LocalClaim>>>,
    dice: Dice,
    holder: Option<usize>,
    last: Token,
    told: Vec<(usize, Told)>,
}

/// A lock of a store of its own in `folder`, as another process would open it.
fn lock(folder: &Arc<Folder>, id: String, durable: bool) -> Arc<LocalLock> {
    let store = Arc::new(LocalStore::in_folder(Arc::clone(folder)).unwrap());
    let (id, timing) = (id.into(), Timing::default());
    let settings = Settings { id, timing, tags: Vec::new(), durable };
    Arc::new(LocalLock::new(store, LockName::new("l").unwrap(), settings))
}

impl Run {
    fn new(folder: &Arc<Folder>, seed: u64) -> Self {
        let mut dice = Dice(seed);
        // With long names two waiters are more than a slot has room for, and stand in the log.
        let long = if seed.is_multiple_of(2) { 0 } else { 240 };
        let id = |n| format!("c{n}{}", "x".repeat(long));
        let locks = (0..CONTENDERS).map(|n| lock(folder, id(n), dice.below(3) == 0)).collect();
        let claims = (0..CONTENDERS).map(|_| None).collect();
        Self { locks, claims, dice, holder: None, last: Token::default(), told: Vec::new() }
    }

    /// One contender does something, on a disk that may fail meanwhile.
    fn turn(&mut self) {
        let anybody = self.dice.below(CONTENDERS);
        let n = self.holder.filter(|_| self.dice.coin()).unwrap_or(anybody);
        let fails = self.dice.below(8) == 0;
        if fails {
            record::fail(u32::try_from(self.dice.below(4)).unwrap(), Errno::IO);
        }
        let ends = self.act(n);
        record::heal();
        // Dropping undoes what is left, also of who failed; on a sound disk, so that it is done here
        // and not by a thread whose steps nobody notes.
        if ends || fails {
            self.claims[n] = None;
            self.holder = self.holder.filter(|holder| *holder != n);
        }
    }

    /// Whether the contender is done with.
    fn act(&mut self, n: usize) -> bool {
        if self.claims[n].is_none() {
            self.claims[n] = LocalClaim::new(&self.locks[n], Patience::Forever).ok();
        } else if self.holder == Some(n) {
            // It may be refused; then dropping the claim gives it back.
            let released = self.claims[n].as_mut().map(|claim| claim.release());
            assert!(!matches!(released, Some(Ok(Some(Report::Lost(_))))), "{released:?}");
            return true;
        } else if self.dice.below(10) == 0 {
            return true;
        }
        self.look(n);
        false
    }

    fn look(&mut self, n: usize) {
        for _ in 0..4 {
            let Some(Ok(Some(report))) = self.claims[n].as_mut().map(|claim| claim.step()) else {
                return;
            };
            if let Report::Acquired { token } = report {
                assert_eq!(self.holder, None, "c{n} holds beside another");
                assert!(token > self.last, "{token} after {}", self.last);
                self.holder = Some(n);
                self.last = token;
                self.told.push((record::len(), Told::Token(token)));
            }
        }
    }

    /// The last holder leaves its hold for a time.
    fn leave_behind(&mut self) {
        let claim = self.holder.and_then(|n| self.claims[n].as_mut());
        if let Some(Ok(Some(Report::Released { confirmed: true }))) =
            claim.map(|c| c.detach(LEFT_FOR))
        {
            self.told.push((record::len(), Told::LeftBehind));
        }
    }
}

/// What is found after a cut that came when `steps` had been made.
fn examine(left: &Path, told: &[(usize, Told)], steps: usize) {
    let folder = open_in(left, Some(2));
    let known: Vec<_> = told.iter().filter(|(at, _)| *at <= steps).map(|(_, told)| *told).collect();
    let mut claim = LocalClaim::new(&lock(&folder, "c9".into(), false), Patience::Now).unwrap();
    let report = claim.step().unwrap();
    if known.contains(&Told::LeftBehind) {
        assert!(matches!(report, Some(Report::Busy(_))), "what was left is gone: {report:?}");
        return;
    }
    let highest = known.iter().filter_map(|told| match told {
        Told::Token(token) => Some(*token),
        Told::LeftBehind => None,
    });
    let highest = highest.max().unwrap_or_default();
    match report {
        Some(Report::Acquired { token }) => assert!(token > highest, "{token} after {highest}"),
        // It was being left behind when the power went.
        Some(Report::Busy(by)) => {
            assert!(told.iter().any(|(_, t)| *t == Told::LeftBehind), "{by:?}")
        }
        other => panic!("{other:?}"),
    }
    assert!(claim.token().is_none_or(|token| token > highest));
}

fn cut_everywhere(seed: u64) -> usize {
    record::pretend_syncs();
    let scratch = Scratch::new();
    let folder = open_in(&scratch.path().join("store"), Some(1));
    let mut disk = Disk::of(folder.path());
    let mut run = Run::new(&folder, seed);
    record::start();
    (0..TURNS).for_each(|_| run.turn());
    run.leave_behind();
    let steps = record::stop();
    let mut dice = Dice(seed);
    for (n, step) in steps.iter().enumerate() {
        disk.step(step);
        let left = scratch.path().join(format!("cut-{n}"));
        disk.cut(&mut dice, &left);
        let looked = std::panic::catch_unwind(|| examine(&left, &run.told, n + 1));
        if let Err(cause) = looked {
            println!("seed {seed}, cut after step {}: {step:?}", n + 1);
            std::panic::resume_unwind(cause);
        }
        fs::remove_dir_all(left).unwrap();
    }
    assert!(run.told.len() > 10, "seed {seed}: only {} holds", run.told.len());
    steps.len()
}

#[test]
fn contenders_on_a_failing_disk_keep_their_promises_over_a_power_cut() {
    for seed in 0..SEEDS {
        let cuts = cut_everywhere(seed);
        assert!(cuts >= 100, "seed {seed}: only {cuts} cuts");
    }
}
