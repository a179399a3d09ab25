//! `tenure run`: wait for the lock, run the command under it, release.
//!
//! ```text
//! open status ─ block signals ─ connect ─ wait in line ─ spawn ─ supervise ─ release
//! ```
//! Invariant: nothing runs before the lock is held, and the lock is released only after the
//! command has ended.

use std::ffi::OsString;
use std::time::Duration;

use tenure::blocking::{Client, Guard, Lock, Released};
use tenure::{Timing, TimingSpec};

use crate::args::RunArgs;
use crate::child::{Child, Ended};
use crate::duration::shorten;
use crate::exit::{Failure, INT, complain};
use crate::lost::why;
use crate::options::{self, RunOptions};
use crate::signals::Signals;
use crate::spawn::{HoldEnv, Start, spawn};
use crate::status::{Event, Status};
use crate::supervise::{Outcome, Supervisor};
use crate::terminal::Terminal;
use crate::wait::Wait;
use crate::{clock, json, parent};

/// Runs the verb; the exit code is the child's, or a failure has one of ours.
pub(crate) fn run(args: RunArgs, store_env: Option<OsString>) -> Result<u8, Failure> {
    let mut status = Status::open(options::status_fd(args.status_fd.as_deref())?)?;
    let name = args.name.to_string_lossy().into_owned();
    let done = RunOptions::resolve(args, store_env).and_then(|options| {
        let mut signals = Signals::block()?;
        locked(&options, &mut status, &mut signals)
    });
    status.end(&name, &done);
    done
}

fn locked(options: &RunOptions, status: &mut Status, signals: &mut Signals) -> Result<u8, Failure> {
    let mut wait = Wait::new(&options.want, status, signals);
    let client = wait.connect()?;
    let lock = lock(&client, options)?;
    parent::refuse_own(&client, &options.want.name)?;
    let guard = wait.acquire(|patience| lock.start(patience))?;
    let hold = Hold { options, client: &client, since: clock::now(), guard };
    hold.work(status, signals)
}

/// The lock with all that the options say of it.
fn lock(client: &Client, options: &RunOptions) -> Result<Lock, Failure> {
    let lock = client.lock(&options.want.name);
    // What nobody asked for is the store's to say.
    let lock = match options.timing == TimingSpec::default() {
        true => lock,
        false => lock.and_then(|lock| lock.timing(options.timing)),
    };
    let lock = lock.and_then(|lock| lock.tags(&options.tags));
    Ok(lock.map_err(Failure::new)?.durable(options.durable))
}

/// A held lock and what is to be done under it.
struct Hold<'a> {
    options: &'a RunOptions,
    client: &'a Client,
    since: Duration,
    guard: Guard,
}

impl Hold<'_> {
    fn work(mut self, status: &mut Status, signals: &mut Signals) -> Result<u8, Failure> {
        let token = self.guard.token();
        // Came between the last look and the hold: nothing has started, so nothing is passed on.
        if let Some(signal) = signals.ending() {
            self.give_back(status, None);
            return Err(Failure::by_signal(signal as i32));
        }
        let terminal = Terminal::on_stdin();
        let child = match self.start(terminal, status, signals) {
            Ok(child) => child,
            Err(failure) => {
                self.give_back(status, None);
                return Err(failure);
            }
        };
        let lock = &self.options.want.name;
        let grace = grace(self.options);
        let guard = &mut self.guard;
        let mut warned = false;
        let outcome = Supervisor { child, lock, token, grace, terminal, signals, status }
            .run(|| look(guard, &mut warned));
        if let Some(why) = outcome.lost {
            complain(&format!("lost lock `{}`: {why}; the command was ended", shorten(lock)));
            // There is nothing to give back: the guard's drop only takes the session away.
            return Err(Failure::lost());
        }
        let at_least = self.options.at_least;
        self.give_back(status, at_least).map_or_else(|| passed_on(&outcome), Err)
    }

    fn start(
        &self,
        terminal: Option<Terminal>,
        status: &mut Status,
        signals: &Signals,
    ) -> Result<Child, Failure> {
        let store = self.client.store();
        let (lock, token, holder) = (self.guard.name(), self.guard.token(), self.guard.id());
        status.tell(Event {
            event: "acquired",
            lock,
            store: Some(&store),
            id: Some(holder),
            token: Some(token),
            ..Event::default()
        });
        let start = Start {
            command: &self.options.command,
            env: HoldEnv { lock, store: &store, token, holder },
            session: (self.guard.session_fd(), self.guard.group_offset()),
            status_fd: self.options.status_fd,
            terminal,
        };
        spawn(&start, signals).map(Child::new)
    }

    /// Ends the hold; what to end with if it turns out to have been lost. A release that fails is a
    /// warning only: the work was done under the lock.
    fn give_back(self, status: &mut Status, at_least: Option<Duration>) -> Option<Failure> {
        let (lock, token) = (&self.options.want.name, Some(self.guard.token()));
        let held = clock::now().saturating_sub(self.since);
        let rest = at_least.and_then(|d| d.checked_sub(held)).filter(|rest| !rest.is_zero());
        let released = match rest {
            Some(rest) => self.guard.release_after(rest),
            None => self.guard.release(),
        };
        let blank = Event { lock, token, ..Event::default() };
        match released {
            Ok(Released::Released) => {
                let remaining_ms = rest.map(json::millis);
                status.tell(Event { event: "released", remaining_ms, ..blank });
                None
            }
            Ok(Released::Lost(lost)) => {
                let why = why(&lost);
                let shown = shorten(lock);
                complain(&format!("lost lock `{shown}` before the command ended: {why}"));
                status.tell(Event { event: "lost", reason: Some(&why), ..blank });
                Some(Failure::lost())
            }
            Err(error) => {
                let shown = shorten(lock);
                complain(&format!("warning: lock `{shown}` could not be released: {error}"));
                None
            }
        }
    }
}

/// The command's own end as ours.
fn passed_on(outcome: &Outcome) -> Result<u8, Failure> {
    match outcome.ended {
        Ended::Signal(INT) => Err(Failure::interrupted(outcome.foreground)),
        ended => Ok(ended.code()),
    }
}

/// Time between TERM and KILL.
fn grace(options: &RunOptions) -> Duration {
    Timing::new(options.timing).map_or(Duration::ZERO, |timing| timing.grace())
}

/// Looks whether the hold is still there. A store that cannot be asked says nothing of it.
fn look(guard: &mut Guard, warned: &mut bool) -> Option<String> {
    match guard.check() {
        Ok(lost) => lost.as_ref().map(why),
        Err(error) => {
            if !std::mem::replace(warned, true) {
                let shown = shorten(guard.name());
                complain(&format!("warning: cannot look after lock `{shown}`: {error}"));
            }
            None
        }
    }
}
