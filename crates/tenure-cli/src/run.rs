//! `tenure run`: wait for the lock, run the command under it, release.
//!
//! ```text
//! open status ─ block signals ─ connect ─ wait in line ─ spawn ─ supervise ─ release
//!                                  └─ or start the keeper's process, which does
//! ```
//! Invariant: nothing runs before the lock is held, and the lock is released only after the
//! command has ended.

use std::ffi::OsString;
use std::time::Duration;

use tenure::blocking::{Client, Lock};

use crate::args::RunArgs;
use crate::child::{Child, Ended};
use crate::contend::Here;
use crate::duration::shorten;
use crate::exit::{Failure, INT, complain};
use crate::keeper::Keeper;
use crate::local::LocalHold;
use crate::options::{self, RunOptions};
use crate::signals::Signals;
use crate::spawn::{GroupRecord, HoldEnv, Start, spawn};
use crate::status::{Event, Status};
use crate::supervise::{Outcome, Standing, Supervisor, Watched};
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
    if options.want.is_elsewhere() {
        // Before any thread is there, and before anything is asked of the store.
        let keeper = Keeper::start(options)?;
        let mut wait = Wait::new(&options.want, status, signals);
        let hold = wait.acquire(|patience| Ok(keeper.want(patience)))?;
        return Run { options, since: clock::now(), hold }.work(status, signals);
    }
    let mut wait = Wait::new(&options.want, status, signals);
    let client = wait.connect()?;
    let lock = lock(&client, options)?;
    parent::refuse_own(&client, &options.want.name)?;
    let guard =
        wait.acquire(|patience| Ok(Here { pending: lock.start(patience)?, renews: false }))?;
    let hold = LocalHold::new(guard, client.store(), lock.grace());
    Run { options, since: clock::now(), hold }.work(status, signals)
}

/// The lock with all that the options say of it.
pub(crate) fn lock(client: &Client, options: &RunOptions) -> Result<Lock, Failure> {
    let lock = client.lock(&options.want.name);
    // What nobody asked for is the store's to say.
    let lock = match options.timing {
        Some(timing) => lock.timing(timing),
        None => lock,
    };
    let lock = options.tags.on(lock).durable(options.durable);
    let lock = lock.contact_within(options.want.connect_timeout);
    lock.check().map_err(Failure::new)?;
    Ok(lock)
}

/// A held lock, wherever it is kept.
pub(crate) trait Held: Watched {
    fn token(&self) -> u64;

    fn id(&self) -> &str;

    /// The store's URL, as the command is told it.
    fn store(&self) -> &str;

    /// Where the command's process group is recorded.
    fn record(&self) -> Option<GroupRecord<'_>>;

    /// The command runs.
    fn started(&self);

    /// Gives it back, or leaves it busy for `rest`.
    fn release(self, rest: Option<Duration>) -> Over;
}

/// How a hold ended.
pub(crate) enum Over {
    Released,
    /// It had been lost, for this reason.
    Lost(String),
    /// It could not be given back.
    Failed(String),
}

/// A held lock and what is to be done under it.
struct Run<'a, H> {
    options: &'a RunOptions,
    since: Duration,
    hold: H,
}

impl<H: Held> Run<'_, H> {
    fn work(mut self, status: &mut Status, signals: &mut Signals) -> Result<u8, Failure> {
        let token = self.hold.token();
        // Came between the last look and the hold: nothing has started, so nothing is passed on.
        if let Some(signal) = signals.ending() {
            self.give_back(status, None);
            return Err(Failure::by_signal(signal as i32));
        }
        // Whoever was stopped meanwhile comes late to what it has: nothing begins under a lost hold.
        if let Standing::Lost { why, .. } = self.hold.look() {
            let lock = &self.options.want.name;
            complain(&format!("lost lock `{}`: {why}; the command was not started", shorten(lock)));
            let (token, reason) = (Some(token), Some(&*why));
            status.tell(Event { event: "lost", lock, token, reason, ..Event::default() });
            return Err(Failure::lost());
        }
        let terminal = Terminal::on_stdin();
        let child = match self.start(terminal, status, signals) {
            Ok(child) => child,
            Err(failure) => {
                self.give_back(status, None);
                return Err(failure);
            }
        };
        self.hold.started();
        let lock = &self.options.want.name;
        let supervisor = Supervisor { child, lock, token, terminal, signals, status };
        let outcome = supervisor.run(&mut self.hold);
        if let Some(why) = outcome.lost {
            complain(&format!("lost lock `{}`: {why}; the command was ended", shorten(lock)));
            // There is nothing to give back: dropping the hold only takes what kept it away.
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
        let lock = self.options.want.name.as_str();
        let (store, token, holder) = (self.hold.store(), self.hold.token(), self.hold.id());
        status.tell(Event {
            event: "acquired",
            lock,
            store: Some(store),
            id: Some(holder),
            token: Some(token),
            ..Event::default()
        });
        let start = Start {
            command: &self.options.command,
            env: HoldEnv { lock, store, token, holder },
            record: self.hold.record(),
            status_fd: self.options.status_fd,
            terminal,
        };
        spawn(&start, signals).map(Child::new)
    }

    /// Ends the hold; what to end with if it turns out to have been lost. A release that fails is a
    /// warning only: the work was done under the lock.
    fn give_back(self, status: &mut Status, at_least: Option<Duration>) -> Option<Failure> {
        let (lock, token) = (&self.options.want.name, Some(self.hold.token()));
        let held = clock::now().saturating_sub(self.since);
        let rest = at_least.and_then(|d| d.checked_sub(held)).filter(|rest| !rest.is_zero());
        let blank = Event { lock, token, ..Event::default() };
        match self.hold.release(rest) {
            Over::Released => {
                let remaining_ms = rest.map(json::millis);
                status.tell(Event { event: "released", remaining_ms, ..blank });
                None
            }
            Over::Lost(why) => {
                let shown = shorten(lock);
                complain(&format!("lost lock `{shown}` before the command ended: {why}"));
                status.tell(Event { event: "lost", reason: Some(&why), ..blank });
                Some(Failure::lost())
            }
            Over::Failed(error) => {
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
