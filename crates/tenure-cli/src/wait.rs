//! From nothing to a held lock: the first contact with the store, and standing in line.
//!
//! Owns the event loop of a waiter: signals, the queue's descriptors and the clock in one poll.
//! Invariant: whoever is told to end or to stop while waiting has left the line before it does.

use std::os::fd::AsFd as _;
use std::time::Duration;

use tenure::Error;
use tenure::blocking::{Client, Patience, connect};

use crate::contend::{By, Contender, Step, Waiting};
use crate::display::{Display, still_held_by};
use crate::duration::shorten;
use crate::exit::{Failure, Outcome};
use crate::options::Want;
use crate::signals::{News, Signals};
use crate::status::{Event, Status};
use crate::{clock, json};

/// Pause before a store that could not be used is asked again.
const RETRY: Duration = Duration::from_millis(200);

/// One contender.
pub(crate) struct Wait<'a> {
    options: &'a Want,
    status: &'a mut Status,
    signals: &'a mut Signals,
    display: Display,
    /// When waiting ends, if it does.
    until: Option<Duration>,
    /// When the first contact must have succeeded; `None` once it has.
    contact_by: Option<Duration>,
}

/// What one stay in line came to.
enum Stay<H> {
    Acquired(H),
    /// Somebody pressed Ctrl-Z.
    ToldToStop,
}

impl<'a> Wait<'a> {
    pub(crate) fn new(options: &'a Want, status: &'a mut Status, signals: &'a mut Signals) -> Self {
        let now = clock::now();
        let until = match options.patience {
            Patience::For(limit) => Some(now + limit),
            _ => None,
        };
        let display = Display::new(options.quiet);
        let contact_by = Some(now + options.connect_timeout);
        Self { options, status, signals, display, until, contact_by }
    }

    /// Opens the store.
    pub(crate) fn connect(&mut self) -> Result<Client, Failure> {
        let client = loop {
            match connect(&self.options.store) {
                Ok(client) => break client,
                Err(error) => self.pause_after(error)?,
            }
        };
        match &self.options.id {
            Some(id) => client.with_id(id).map_err(Failure::new),
            None => Ok(client),
        }
    }

    /// Waits for the lock as long as the options say; `start` begins to want it.
    pub(crate) fn acquire<C: Contender>(
        &mut self,
        start: impl Fn(Patience) -> Result<C, Error>,
    ) -> Result<C::Held, Failure> {
        let done = loop {
            match self.stay(&start) {
                Ok(Stay::Acquired(hold)) => break Ok(hold),
                Ok(Stay::ToldToStop) => {
                    self.display.clear();
                    self.signals.suspend();
                }
                Err(failure) => break Err(failure),
            }
        };
        self.display.clear();
        done
    }

    fn stay<C: Contender>(
        &mut self,
        start: impl Fn(Patience) -> Result<C, Error>,
    ) -> Result<Stay<C::Held>, Failure> {
        let mut pending = loop {
            match start(self.patience()) {
                Ok(pending) => break pending,
                Err(error) => self.pause_after(error)?,
            }
        };
        loop {
            match pending.poll() {
                Ok(Some(Step::Acquired(hold))) => return Ok(Stay::Acquired(hold)),
                Ok(Some(Step::Busy(by))) => return Err(self.busy(by)),
                Ok(Some(Step::TimedOut(by))) => return Err(self.timed_out(by)),
                Ok(Some(Step::Waiting(waiting))) => self.show(&waiting),
                Ok(None) => self.sleep(&pending),
                Err(error) => self.pause_after(error)?,
            }
            if let Some(news) = self.told_to_leave() {
                pending.leave();
                return match news.ending() {
                    Some(signal) => Err(Failure::by_signal(signal as i32)),
                    None => Ok(Stay::ToldToStop),
                };
            }
        }
    }

    /// What is left of the patience after a stop.
    fn patience(&self) -> Patience {
        match self.until {
            Some(until) => Patience::For(until.saturating_sub(clock::now())),
            None => self.options.patience,
        }
    }

    fn told_to_leave(&mut self) -> Option<News> {
        while let Some(news) = self.signals.next() {
            if news.ending().is_some() || matches!(news, News::Stop | News::NeedsTerminal) {
                return Some(news);
            }
        }
        None
    }

    fn sleep(&mut self, pending: &impl Contender) {
        let readable = pending.fds().into_iter().chain(std::iter::once(self.signals.as_fd()));
        clock::wait(readable, self.status.waits_for(), pending.wake_after());
        self.status.flush();
    }

    /// Waits before the next try, or gives up: at once if trying again cannot help, and when the
    /// first contact takes too long.
    fn pause_after(&mut self, error: Error) -> Result<(), Failure> {
        let now = clock::now();
        if !error.is_retryable() || self.contact_by.is_some_and(|by| now >= by) {
            return Err(Failure::new(error));
        }
        let by = [self.contact_by, self.until].into_iter().flatten().min();
        if self.until.is_some_and(|until| now >= until) {
            let outcome = Outcome::TimedOut;
            return Err(Failure { outcome, ..Failure::with_code(self.options.busy_code, error) });
        }
        let pause = by.map_or(RETRY, |by| by.saturating_sub(now).min(RETRY));
        clock::wait(std::iter::once(self.signals.as_fd()), None, Some(pause));
        match self.signals.ending() {
            Some(signal) => Err(Failure::by_signal(signal as i32)),
            None => Ok(()),
        }
    }

    fn show(&mut self, waiting: &Waiting) {
        self.contact_by = None;
        self.display.show(&self.options.name, waiting);
        let by = &waiting.by;
        self.status.tell(Event {
            event: "waiting",
            lock: &self.options.name,
            place: waiting.place,
            ticket: waiting.ticket,
            held_by: Some(json::HeldBy::of(by)),
            ..Event::default()
        });
    }

    fn busy(&self, by: By) -> Failure {
        let text = format!("lock `{}` is {}", shorten(&self.options.name), still_held_by(&by));
        self.conflict(Outcome::Busy, by, text)
    }

    fn timed_out(&self, by: By) -> Failure {
        let again = by.ends_in.map_or_else(String::new, |d| {
            format!("; a wait of {:.1} s more would take it", d.as_secs_f64())
        });
        let text = format!(
            "the wait for lock `{}` ended: it is {}{again}",
            shorten(&self.options.name),
            still_held_by(&by)
        );
        self.conflict(Outcome::TimedOut, by, text)
    }

    /// Who called for code 0 takes a busy lock for success, and cron mails every line.
    fn conflict(&self, outcome: Outcome, by: By, text: String) -> Failure {
        let silent = self.options.quiet || self.options.busy_code == 0;
        Failure {
            outcome,
            text: (!silent).then_some(text),
            held_by: Some(Box::new(by)),
            ..Failure::silent(self.options.busy_code)
        }
    }
}
