//! A seat whose lock somebody waits for, polled in the task of that one.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tenure_core::{Claim, Patience, Report, Session, State, Time, Token};

use super::super::{Ahead, Driver, Step};
use super::{Acquired, Inner, Seat, Told};
use crate::client::Shared;
use crate::clock::{Alarm, Tick};
use crate::event::EventKind;
use crate::hold::Status;
use crate::lock::{Ears, Got};
use crate::{Error, Guard, HeldBy};

impl Seat {
    /// Acquires, if the store answers anything by `contact_by` and unless the client is closed.
    /// `tick` is the time of the first poll. The future undoes it when it is dropped first.
    pub(crate) async fn acquire(
        self: Arc<Self>,
        shared: &Shared,
        (tick, contact_by): (Tick, Time),
        ears: Option<&Ears>,
    ) -> Result<Got, Error> {
        // Dropped when what the acquisition leaves is given up.
        let mut closer = None;
        let mut undo = UndoOnDrop(Some(self));
        let (mut tick, mut alarm) = (Some(tick), None);
        let mut closed = pin!(shared.closed());
        let acquired = std::future::poll_fn(|cx| {
            let Some(seat) = &undo.0 else { return Poll::Pending };
            let polled = seat.poll_acquire(tick.take(), cx, ears);
            if polled.is_ready() {
                return polled;
            }
            let alarm = alarm.get_or_insert_with(|| {
                // Who closes the client from now on finds it; whether it is closed is seen next.
                closer = seat.turn.line.set_acquiring(Arc::downgrade(seat));
                Some(Alarm::new(shared.clock.clone()))
            });
            if closed.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(Error::Closed));
            }
            if alarm.as_mut().is_some_and(|alarm| alarm.poll_until(contact_by, cx).is_ready()) {
                *alarm = None;
                return seat.silent().map_or(Poll::Pending, |silent| Poll::Ready(Err(silent)));
            }
            Poll::Pending
        });
        Ok(match acquired.await? {
            Acquired::Held(status) => {
                let seat = undo.0.take().ok_or(Error::Closed)?;
                Got::Guard(Guard::kept(seat, status))
            }
            // These may have left something to undo.
            Acquired::Busy(by) => Got::Busy(by),
            Acquired::TimedOut(by) => Got::TimedOut(by),
        })
    }

    fn poll_acquire(
        self: &Arc<Self>,
        mut tick: Option<Tick>,
        cx: &mut Context<'_>,
        ears: Option<&Ears>,
    ) -> Poll<Result<Acquired, Error>> {
        let mut inner = self.inner();
        if inner.undoing.is_some() {
            return Poll::Ready(Err(Error::Closed));
        }
        loop {
            let Some(driver) = &mut inner.driver else {
                // Nobody else gives up what is still waited for.
                return Poll::Ready(Err(Error::Closed));
            };
            let tick = tick.take().unwrap_or_else(|| self.turn.line.shared.clock.tick());
            let Poll::Ready(step) = driver.poll(tick, cx) else { return Poll::Pending };
            let report = match step {
                Step::Report(report) => report,
                Step::Failed(error) if self.is_final(driver, &error) => {
                    return Poll::Ready(Err(error.into()));
                }
                Step::Failed(error) => {
                    inner.trouble = Some(Box::new(error));
                    continue;
                }
                Step::Renewed(_) => continue,
                Step::Reborn(session) => {
                    match self.begin_anew(driver, session) {
                        Ok(driver) => inner.driver = Some(driver),
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                    continue;
                }
                Step::Ended => {
                    return Poll::Ready(Err(Error::unavailable("the wait was given up")));
                }
            };
            match report {
                Report::Acquired { token } => {
                    return Poll::Ready(self.acquired(&mut inner, token));
                }
                Report::Waiting { place, ticket, by } => {
                    inner.told = Told::Waiting;
                    let by = HeldBy::from(*by);
                    if let Some(Ears(ears)) = ears {
                        ears(by.clone(), place, ticket);
                    }
                    self.waits(&inner, by, place);
                }
                Report::Busy(by) => return Poll::Ready(Ok(Acquired::Busy(Box::new((*by).into())))),
                Report::TimedOut(Some(by)) => {
                    return Poll::Ready(Ok(Acquired::TimedOut(Box::new((*by).into()))));
                }
                Report::TimedOut(None) => {
                    let said = inner.trouble.take().map(|error| Error::from(*error));
                    let none = || Error::unavailable("the limit passed before the store answered");
                    return Poll::Ready(Err(said.unwrap_or_else(none)));
                }
                _ => {}
            }
        }
    }

    /// The same wish under a new session. What stood under the old one is the server's to end, in a
    /// ttl at most.
    fn begin_anew(&self, driver: &Driver, session: Session) -> Result<Box<Driver>, Error> {
        let mut config = driver.claim().config().clone();
        config.session = session;
        config.marks = self.turn.line.shared.marks(self.turn.line.shared.number())?;
        let mut claim = Claim::new(config);
        claim.acquire(driver.claim().patience().unwrap_or(Patience::Now));
        let driver = Driver::new(claim, (&driver.at, &driver.clock), None);
        Ok(Box::new(driver.with_contact()))
    }

    /// Whether a store's refusal ends the wait.
    fn is_final(&self, driver: &Driver, error: &tenure_store::Error) -> bool {
        driver.state() == State::Contending && driver.ends_wait(error)
    }

    /// What to say of a store that has never answered.
    fn silent(&self) -> Option<Error> {
        let mut inner = self.inner();
        let silent = inner.driver.as_ref().is_some_and(|driver| !driver.has_contact());
        let waited = Duration::from_secs(self.age().as_secs());
        let none = || Error::unavailable(format!("the store did not answer within {waited:?}"));
        silent.then(|| inner.trouble.take().map_or_else(none, |error| Error::from(*error)))
    }

    fn acquired(self: &Arc<Self>, inner: &mut Inner, token: Token) -> Result<Acquired, Error> {
        let Some(driver) = &inner.driver else { return Err(Error::Closed) };
        let (config, until) = (driver.claim().config(), driver.claim().deadline());
        let who = (self.turn.line.name.text().clone(), config.id.clone());
        let clock = (self.turn.line.shared.clock.clone(), &config.timing);
        let status = Status::new(clock, who, token.get(), (driver.now(), until));
        inner.status = Some(Arc::clone(&status));
        inner.trouble = None;
        self.turn.line.set_holds(Arc::clone(&status));
        inner.told = Told::Acquired;
        let remaining = || until.map(|until| until.since(self.turn.line.shared.clock.now()));
        self.tell(inner, || EventKind::Acquired {
            token: token.get(),
            waited: self.age(),
            remaining: remaining(),
        });
        self.give_to_keeper(inner);
        if inner.place.is_none() {
            self.lose_keeper(inner);
            let what = "the tokio runtime is gone in which the lock was acquired: nobody would \
                        renew the hold";
            return Err(Error::invalid(what));
        }
        Ok(Acquired::Held(status))
    }

    fn waits(&self, inner: &Inner, by: HeldBy, place: Option<usize>) {
        self.tell(inner, || EventKind::Waiting { held_by: by.clone(), place });
        self.turn.line.set_ahead(Ahead::Waits(Box::new(by)));
    }
}

/// An acquisition under way.
struct UndoOnDrop(Option<Arc<Seat>>);

impl Drop for UndoOnDrop {
    fn drop(&mut self) {
        if let Some(seat) = &self.0 {
            seat.give_up();
        }
    }
}
