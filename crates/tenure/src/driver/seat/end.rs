//! How a seat ends: given back, given up, dropped, lost, or without anybody left to poll it.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tenure_core::{Report, State, Text, Time};

use super::super::sweep::Sweep;
use super::super::{Driver, Step};
use super::{Inner, PolledBy, Seat, Told};
use crate::clock::{Alarm, Tick};
use crate::event::EventKind;
use crate::lock::NO_TAGS;
use crate::{Error, Lost, Released};

impl Seat {
    /// Gives the hold back, or leaves it busy for the ttl given, and waits for the store's answer
    /// for one attempt. Dropping the future leaves the rest to the keeper.
    pub(crate) async fn release(
        self: Arc<Self>,
        leave: Option<Duration>,
    ) -> Result<Released, Error> {
        let mut keep = KeepOnDrop(Some(self));
        let Some(seat) = &keep.0 else { return Ok(Released::Released) };
        let mut begun = None;
        let answer = std::future::poll_fn(|cx| {
            let tick = seat.turn.line.shared.clock.tick();
            let mut inner = seat.inner();
            let (limit, alarm) = match &mut begun {
                Some(begun) => begun,
                None => match seat.begin_release(&mut inner, tick.now, leave) {
                    Some(limit) => begun.insert((limit, None)),
                    None => return Poll::Ready(Ok((Released::Lost(inner.cause()), false))),
                },
            };
            if let Poll::Ready(released) = seat.poll_release(&mut inner, tick, cx) {
                return Poll::Ready(Ok(released));
            }
            let alarm =
                alarm.get_or_insert_with(|| Alarm::new(seat.turn.line.shared.clock.clone()));
            alarm.poll_until(*limit, cx).map(|()| Err(inner.unanswered()))
        });
        let (released, in_doubt) = answer.await?;
        // All is over: there is nothing left to keep, unless it ended in doubt.
        if let Some(seat) = keep.0.take()
            && in_doubt
        {
            seat.turn.line.shared.keeper.poll_soon(&seat);
        }
        Ok(released)
    }

    /// What the release says of the lock's tags.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where it has no place for any.
    pub(crate) fn tag_end(&self, tags: Vec<Text>, add: bool) -> Result<(), Error> {
        if !(tags.is_empty() || self.turn.line.shared.has_tags()) {
            return Err(Error::Unsupported(NO_TAGS.into()));
        }
        if let Some(driver) = &mut self.inner().driver {
            driver.tag_end(tags, add);
        }
        Ok(())
    }

    /// `None`: there is nothing left to give back. Else when to stop waiting for the answer.
    fn begin_release(
        self: &Arc<Self>,
        inner: &mut Inner,
        now: Time,
        leave: Option<Duration>,
    ) -> Option<Time> {
        let held = inner.status.as_ref().is_some_and(|status| status.give_back(now));
        let driver = inner.driver.as_mut()?;
        match leave {
            // What was lost by the clock alone may still stand in the record.
            _ if !held => driver.release_lost(now),
            Some(ttl) => driver.detach(now, ttl),
            None => driver.release(now),
        }
        let limit = now.after(driver.claim().config().timing.attempt());
        if !held {
            self.undo(inner);
            return None;
        }
        inner.polled_by = PolledBy::Caller;
        Some(limit)
    }

    /// What it came to, and whether something is left that the keeper sees to.
    fn poll_release(
        &self,
        inner: &mut Inner,
        mut tick: Tick,
        cx: &mut Context<'_>,
    ) -> Poll<(Released, bool)> {
        loop {
            let Some(driver) = &mut inner.driver else {
                return Poll::Ready((Released::Lost(Lost::RuntimeGone), false));
            };
            let Poll::Ready(step) = driver.poll(tick, cx) else { return Poll::Pending };
            if let Step::Failed(error) = step {
                inner.trouble = Some(Box::new(error));
            } else if let Some(released) = self.ended(inner, step) {
                return Poll::Ready((released, inner.sweep.is_some()));
            }
            tick = self.turn.line.shared.clock.tick();
        }
    }

    /// The client is closed while this is acquired: whoever waits for it need not be polled again
    /// for it to be undone.
    pub(in crate::driver) fn send_away(self: &Arc<Self>) {
        let acquiring = self.inner().status.is_none();
        if acquiring {
            self.give_up();
        }
    }

    /// Nobody waits for the lock any more.
    pub(super) fn give_up(self: &Arc<Self>) {
        let mut inner = self.inner();
        if inner.undoing.is_some() || inner.status.is_some() {
            return;
        }
        if inner.told == Told::Waiting {
            inner.told = Told::Nothing;
            self.tell(&inner, || EventKind::GaveUp { waited: self.age() });
        }
        let Some(driver) = &mut inner.driver else { return };
        driver.cancel(self.turn.line.shared.clock.now());
        let over = matches!(driver.state(), State::Ended | State::Idle);
        if over && !driver.leaves_doubts() {
            return self.finish(&mut inner);
        }
        self.turn.line.set_undone();
        self.undo(&mut inner);
    }

    /// Asks the keeper to give the hold back. Never blocks and needs no runtime around it.
    pub(crate) fn drop_hold(self: &Arc<Self>) {
        let mut inner = self.inner();
        let now = self.turn.line.shared.clock.now();
        let held = inner.status.as_ref().is_some_and(|status| status.give_back(now));
        if let Some(driver) = &mut inner.driver {
            if held {
                driver.release(now)
            } else {
                driver.release_lost(now)
            }
            self.undo(&mut inner);
        }
    }

    /// Polls as the keeper; whether all is over.
    pub(in crate::driver) fn poll_kept(&self, cx: &mut Context<'_>) {
        let mut inner = self.inner();
        while inner.polled_by == PolledBy::Keeper {
            if let Some(sweep) = inner.sweep.take() {
                // In the keeper's task there is a runtime.
                drop(tokio::spawn(sweep.run()));
                return self.leave(&mut inner);
            }
            let Some(driver) = &mut inner.driver else { return };
            match driver.poll(self.turn.line.shared.clock.tick(), cx) {
                Poll::Ready(step) => drop(self.ended(&mut inner, step)),
                Poll::Pending if !self.is_over(&mut inner) => return,
                Poll::Pending => {}
            }
        }
    }

    /// Somebody saw the deadline pass before this did: the hold is lost, even if an answer came
    /// since that would have moved it. What stands in the record is given back.
    fn is_over(&self, inner: &mut Inner) -> bool {
        let Some(driver) = &mut inner.driver else { return false };
        let lost = inner.status.as_ref().is_some_and(|status| status.look().is_some());
        if !lost || driver.state() != State::Held {
            return false;
        }
        driver.release_lost(self.turn.line.shared.clock.now());
        true
    }

    /// Passes on what the driver of a hold tells; what it comes to, if it has ended.
    fn ended(&self, inner: &mut Inner, step: Step) -> Option<Released> {
        let status = inner.status.as_ref();
        let token = status.map_or(0, |status| status.token);
        let driver = inner.driver.as_ref()?;
        let released = match step {
            Step::Renewed(took) => {
                let until = driver.claim().deadline();
                if let Some(status) = status {
                    status.extend(until);
                }
                let remaining = until.map(|until| until.since(self.turn.line.shared.clock.now()));
                self.tell(inner, || EventKind::Renewed { token, took, remaining });
                return None;
            }
            Step::Failed(error) => {
                let until = driver.claim().deadline();
                let remaining = until.map(|until| until.since(self.turn.line.shared.clock.now()));
                let error = || error.to_string().into();
                self.tell(inner, || EventKind::RenewFailed { token, error: error(), remaining });
                return None;
            }
            Step::Report(Report::Stopping) => {
                if let Some(status) = status {
                    status.stop();
                }
                self.tell(inner, || EventKind::Stopping { token });
                return None;
            }
            Step::Report(Report::Lost(cause)) => {
                let mut cause = Lost::from(cause);
                if let Some(status) = status {
                    status.lose(cause.clone());
                    cause = status.look().unwrap_or(cause);
                }
                self.tell_end(inner, Some(cause.clone()), true);
                Released::Lost(cause)
            }
            Step::Report(Report::Released { confirmed }) => {
                // Who looked after the deadline found it lost before the claim did; what a caller
                // gives back was not.
                let kept = inner.polled_by == PolledBy::Keeper;
                let lost = status.filter(|_| kept).and_then(|status| status.look());
                self.tell_end(inner, lost, confirmed);
                Released::Released
            }
            Step::Report(Report::Cancelled) | Step::Ended => Released::Released,
            Step::Report(_) | Step::Reborn(_) => return None,
        };
        self.finish(inner);
        Some(released)
    }

    /// Leaves to the keeper what nobody waits for.
    fn undo(self: &Arc<Self>, inner: &mut Inner) {
        inner.undoing.get_or_insert_with(|| self.turn.line.shared.keeper.undoing());
        self.give_to_keeper(inner);
        if inner.place.is_none() {
            // Without a runtime what is there ends with its ttl.
            self.finish(inner);
        }
    }

    /// All is over: lets the next one in.
    fn finish(&self, inner: &mut Inner) {
        if inner.told == Told::Acquired {
            // Nobody was left to hear how it ended.
            let lost = inner.status.as_ref().and_then(|status| status.look());
            self.tell_end(inner, lost, false);
        }
        let kept = inner.place.is_some();
        let mut left = inner.driver.take();
        if let Some(driver) = left.take_if(|driver| kept && driver.leaves_doubts()) {
            self.sweep(inner, &driver);
        }
        if let Some(driver) = &mut left {
            driver.stop();
        }
        self.turn.give_up(left);
        inner.undoing = None;
        if inner.sweep.is_none() {
            self.leave(inner);
        }
    }

    /// Sees to it that nothing is left of a claim that ended in doubt.
    fn sweep(&self, inner: &mut Inner, driver: &Driver) {
        let timing = driver.claim().config().timing;
        let sweep = Sweep {
            client: Arc::downgrade(&self.turn.line.shared),
            store: Arc::clone(&driver.at.store),
            name: self.turn.line.name.clone(),
            clock: driver.clock.clone(),
            first: driver.first,
            attempt: timing.attempt(),
            until: driver.last_sent.after(timing.ttl()),
            undoing: inner.undoing.take().or_else(|| Some(self.turn.line.shared.keeper.undoing())),
        };
        inner.sweep = Some(Box::new(sweep));
        inner.polled_by = PolledBy::Keeper;
    }

    /// The keeper has nothing more to do with it.
    fn leave(&self, inner: &mut Inner) {
        if let Some(place) = inner.place.take() {
            self.turn.line.shared.keeper.forget(self, place);
        }
    }

    /// The keeper is gone, and nobody will poll this any more.
    pub(in crate::driver) fn abandon(&self) {
        let mut inner = self.inner();
        // After a panic of its store it may still be there.
        self.leave(&mut inner);
        if inner.polled_by == PolledBy::Caller && inner.driver.is_some() {
            return;
        }
        self.lose_keeper(&mut inner);
    }

    /// Nobody renews the hold: it is lost at once, and ends in the record with its ttl.
    pub(super) fn lose_keeper(&self, inner: &mut Inner) {
        if let Some(status) = &inner.status {
            status.lose(Lost::RuntimeGone);
        }
        self.finish(inner);
    }

    /// Tells how a hold ended, once.
    fn tell_end(&self, inner: &mut Inner, lost: Option<Lost>, confirmed: bool) {
        if let (Told::Acquired, Some(status)) = (inner.told, &inner.status) {
            self.tell(inner, || EventKind::end(status, lost, confirmed));
            inner.told = Told::Nothing;
        }
    }
}

impl Inner {
    fn unanswered(&mut self) -> Error {
        let text = "the release was not answered; the hold ends with its ttl";
        match self.trouble.take() {
            Some(error) => Error::Unavailable(format!("{text}: {error}"), Some(error)),
            None => Error::unavailable(text),
        }
    }

    fn cause(&self) -> Lost {
        let cause = self.status.as_ref().and_then(|status| status.look());
        cause.unwrap_or(Lost::Deadline)
    }
}

/// A release under way.
struct KeepOnDrop(Option<Arc<Seat>>);

impl Drop for KeepOnDrop {
    fn drop(&mut self) {
        let Some(seat) = &self.0 else { return };
        let mut inner = seat.inner();
        if inner.driver.is_some() {
            seat.undo(&mut inner);
        }
    }
}
