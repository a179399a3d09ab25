//! Runs one claim over any store, on the caller's thread.
//!
//! The smallest driver that keeps the rules of [`Claim`]: one input, then drain every action. It
//! has one request under way at a time and looks at the watch only while the claim waits, so it is
//! of no use where a hold must be renewed while work is done.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tenure_core::{
    Action, Claim, Config, Liveness, Marks, Outcome, Patience, Report, Session, Term, Time, Timing,
    Token, View, Write,
};
use tenure_store::{Conditional, Error, Name, Result as StoreResult, Snapshot, Store, Watch};

use crate::block_on_for;
use crate::clock::{now, wall};

/// How long one request to the store may take.
const REQUEST: Duration = Duration::from_secs(60);
/// How often a probe that fails is repeated on a fresh record, and after what pause.
const PROBES: u32 = 1_000;
const PAUSE: Duration = Duration::from_millis(1);

/// One contender for one lock of any store.
pub struct Contender {
    store: Arc<dyn Store>,
    name: Name,
    claim: Claim,
    seen: Option<Snapshot>,
    watch: Option<Watch>,
    /// Probes in a row that the store did not answer.
    unanswered: u32,
}

impl Contender {
    /// A contender with the identity `id` and the default timing.
    ///
    /// # Errors
    /// What the store says when a session is asked for; a store that does not answer in a minute
    /// is said in words.
    pub fn new(store: Arc<dyn Store>, name: Name, id: &str) -> Result<Self, String> {
        let timing = Timing::default();
        let can = store.capabilities();
        let config = Config {
            id: id.into(),
            session: ask("session", store.session())?,
            term: match can.liveness {
                Liveness::Process => Term::Session,
                Liveness::Server | Liveness::Observed => Term::Ttl(timing.ttl()),
            },
            timing,
            liveness: can.liveness,
            queue: can.queue,
            adopt: false,
            max_clock_skew: Duration::from_secs(5),
            add_tags: false,
            tags: Vec::new(),
            marks: Marks::new(random_u128()),
        };
        Ok(Self { store, name, claim: Claim::new(config), seen: None, watch: None, unanswered: 0 })
    }

    /// Waits for the lock, at most `limit`.
    ///
    /// # Errors
    /// A line that says what came instead.
    pub fn acquire(&mut self, limit: Duration) -> Result<Token, String> {
        self.claim.acquire(Patience::Until(now().after(limit)));
        match self.drive(|report| !matches!(report, Report::Waiting { .. }))? {
            Report::Acquired { token } => Ok(token),
            other => Err(format!("wanted the lock, got {other:?}")),
        }
    }

    /// Gives the lock back.
    ///
    /// # Errors
    /// A line that says what came instead.
    pub fn release(&mut self) -> Result<(), String> {
        self.claim.release(now());
        match self.drive(|_| true)? {
            Report::Released { confirmed: true } => Ok(()),
            other => Err(format!("gave the lock back, got {other:?}")),
        }
    }

    /// Carries out what the claim asks for until it reports what `wanted` accepts.
    fn drive(&mut self, wanted: impl Fn(&Report) -> bool) -> Result<Report, String> {
        loop {
            let view = self.seen.as_ref().map_or(View::Unknown, Snapshot::view);
            match self.claim.poll(now(), wall(), &view) {
                Action::Read => {
                    let seen = ask("read", self.store.read(&self.name))?;
                    self.claim.handle_read(now(), &seen.view());
                    self.seen = Some(seen);
                }
                Action::Probe(session) => self.probe(session)?,
                Action::Write(write) => self.write(&write)?,
                Action::Report(report) if wanted(&report) => return Ok(report),
                Action::Report(_) => {}
                Action::Wait { until } => self.wait(until)?,
                Action::Idle => return Err("the claim wants nothing any more".into()),
            }
        }
    }

    /// Asks for a session that was seen in the record. It may have been given up since, and its
    /// process may live on: then the store need not answer, and the record is read again.
    fn probe(&mut self, session: Session) -> Result<(), String> {
        match block_on_for(REQUEST, self.store.probe(session)) {
            Some(Ok(probed)) => {
                self.unanswered = 0;
                self.claim.handle_probe(session, probed);
            }
            Some(Err(error)) if error.is_retryable() && self.unanswered < PROBES => {
                self.unanswered += 1;
                self.seen = None;
                thread::sleep(PAUSE);
            }
            Some(Err(error)) => return Err(error.to_string()),
            None => return Err("probe was not answered in a minute".into()),
        }
        Ok(())
    }

    fn write(&mut self, write: &Write) -> Result<(), String> {
        let judged = self.seen.as_ref().and_then(Snapshot::stored);
        if judged.map(|s| s.version) != write.expected {
            return Err(format!("a write on {:?} was judged on {judged:?}", write.expected));
        }
        let request = self.store.write_if(&self.name, judged, &write.change);
        let outcome = match block_on_for(REQUEST, request) {
            Some(Ok(answer)) => {
                let outcome = answer.outcome();
                if let Conditional::Done(stored) = answer {
                    self.seen = Some(stored.into());
                }
                outcome
            }
            Some(Err(Error::Unavailable(_))) => Outcome::NotDone,
            None | Some(Err(Error::OutcomeUnknown(_))) => Outcome::Unknown,
            Some(Err(error)) => return Err(error.to_string()),
        };
        self.claim.handle_written(now(), write.attempt, outcome);
        Ok(())
    }

    /// Waits for news of the record, at most until `until`.
    fn wait(&mut self, until: Option<Time>) -> Result<(), String> {
        let limit = until.map_or(REQUEST, |until| until.since(now()));
        let watch = self.watch.get_or_insert_with(|| self.store.watch(&self.name));
        let next = std::future::poll_fn(|cx| watch.as_mut().poll_next(cx));
        match block_on_for(limit, next) {
            None if until.is_none() => return Err("nobody came for a minute".into()),
            None => {}
            Some(Some(Ok(news))) => self.note(news),
            // The watch has ended: what it would have told may be missed. Look, and watch anew.
            Some(Some(Err(_)) | None) => {
                self.watch = None;
                self.seen = None;
            }
        }
        Ok(())
    }

    /// Keeps news unless it is older than what is known; looks again if that cannot be told.
    fn note(&mut self, news: Snapshot) {
        if news.revision() == 0 {
            self.seen = None;
        } else if self.seen.as_ref().is_none_or(|seen| news.revision() > seen.revision()) {
            self.seen = Some(news);
        }
    }
}

fn ask<T>(what: &str, request: impl Future<Output = StoreResult<T>>) -> Result<T, String> {
    match block_on_for(REQUEST, request) {
        Some(Ok(answer)) => Ok(answer),
        Some(Err(error)) => Err(error.to_string()),
        None => Err(format!("{what} was not answered in a minute")),
    }
}

/// 128 bits that differ from call to call and from process to process.
#[must_use]
pub fn random_u128() -> u128 {
    // The standard library draws its hash keys at random; that is enough where no adversary is.
    let draw = || u128::from(RandomState::new().hash_one(Instant::now()));
    (draw() << 64) | draw()
}
