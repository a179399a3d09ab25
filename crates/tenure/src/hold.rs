//! A hold as its user sees it: token, deadline, and whether it is over.
//!
//! Owns the one place where a hold's state stands, shared by the guard, the work under it and the
//! driver. Knows no store. **The state is a value with an end**: who looks after the deadline finds
//! the hold lost, whether or not anybody has noticed before; and once lost it stays so.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use tenure_core::{Text, Time, Timing};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::Lost;
use crate::clock::{Alarm, Clock};

/// How long work may go on that was told to stop because the hold was found lost.
const AFTER_LOSS_MAX: Duration = Duration::from_secs(2);
/// How often a record is looked at where nothing tells of a loss.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// What is known of one hold.
#[derive(Debug)]
pub(crate) struct Status {
    pub(crate) clock: Arc<dyn Clock>,
    grace: Duration,
    pub(crate) margin: Duration,
    pub(crate) name: Text,
    pub(crate) id: Text,
    pub(crate) token: u64,
    /// When it was acquired.
    pub(crate) since: Time,
    phase: Mutex<Phase>,
    changed: Notify,
    /// Asked from time to time where nothing tells of a loss.
    check: OnceLock<Weak<dyn Check>>,
}

/// Finds out whether a hold is lost by looking at its record.
pub(crate) trait Check: fmt::Debug + Send + Sync {
    fn check(&self) -> Option<Lost>;
}

#[derive(Debug)]
enum Phase {
    /// Until this instant, unless it is renewed; and since when its work is told to stop.
    Held { until: Option<Time>, stopping: Option<Time> },
    /// Lost for this reason, noticed then; the work under it must end then at the latest.
    Lost { cause: Lost, at: Time, end_by: Time },
    /// Given back by its user.
    Over,
}

impl Status {
    pub(crate) fn new(
        (clock, timing): (Arc<dyn Clock>, &Timing),
        (name, id): (Text, Text),
        token: u64,
        (since, until): (Time, Option<Time>),
    ) -> Arc<Self> {
        let phase = Mutex::new(Phase::Held { until, stopping: None });
        let (changed, check) = (Notify::new(), OnceLock::new());
        let (grace, margin) = (timing.grace(), timing.margin());
        Arc::new(Self { clock, grace, margin, name, id, token, since, phase, changed, check })
    }

    /// From now on `check` is asked while somebody waits for the loss.
    #[cfg(all(feature = "local", target_os = "linux"))]
    pub(crate) fn set_check(&self, check: Weak<dyn Check>) {
        // Set once, right after it was made.
        let _ = self.check.set(check);
    }

    /// Looks at the record if that is the only way to know; when to look again.
    fn check(&self) -> Option<Time> {
        let check = self.check.get()?.upgrade()?;
        if let Some(cause) = check.check() {
            self.lose(cause);
        }
        Some(self.clock.now().after(CHECK_EVERY))
    }

    /// A renewal moved the end. Nothing moves the end of what is lost.
    pub(crate) fn extend(&self, to: Option<Time>) {
        if let Phase::Held { until, .. } = &mut *self.phase() {
            *until = to;
        }
    }

    /// The order to stop was given.
    pub(crate) fn stop(&self) {
        self.look();
        if let Phase::Held { stopping: stopping @ None, .. } = &mut *self.phase() {
            *stopping = Some(self.clock.now());
        }
        self.changed.notify_waiters();
    }

    /// The hold is lost. The first cause stays.
    pub(crate) fn lose(&self, cause: Lost) {
        let now = self.clock.now();
        let mut phase = self.phase();
        if let Phase::Held { until, .. } = &*phase {
            let end_by = now.after(self.grace.min(AFTER_LOSS_MAX));
            let end_by = until.map_or(end_by, |until| until.min(end_by));
            *phase = Phase::Lost { cause, at: now, end_by };
            drop(phase);
            self.changed.notify_waiters();
        }
    }

    /// Its user gave it back; whether it still was held.
    pub(crate) fn give_back(&self, now: Time) -> bool {
        let mut phase = self.phase();
        match &*phase {
            Phase::Held { until, .. } if until.is_none_or(|until| now < until) => {
                *phase = Phase::Over;
                return true;
            }
            Phase::Held { .. } => {}
            Phase::Lost { .. } | Phase::Over => return false,
        }
        drop(phase);
        // Too late: what it is given back for is lost.
        self.look_at(now);
        false
    }

    /// Whether and why the hold is lost, by the clock if nobody noticed yet.
    pub(crate) fn look(&self) -> Option<Lost> {
        self.look_at(self.clock.now())
    }

    fn look_at(&self, now: Time) -> Option<Lost> {
        let phase = self.phase();
        match &*phase {
            Phase::Held { until: Some(until), .. } if now >= *until => {}
            Phase::Held { .. } | Phase::Over => return None,
            Phase::Lost { cause, .. } => return Some(cause.clone()),
        }
        drop(phase);
        self.lose(Lost::Deadline);
        self.look_at(now)
    }

    /// When its holder stops believing, unless it is renewed; `None`: never by time.
    fn until(&self) -> Option<Time> {
        match &*self.phase() {
            Phase::Held { until, .. } => *until,
            Phase::Lost { .. } | Phase::Over => None,
        }
    }

    /// The deadline as users see it: past for what is over.
    fn deadline(&self) -> Option<Time> {
        match &*self.phase() {
            Phase::Held { until, .. } => *until,
            Phase::Lost { at, end_by, .. } => Some(*at.min(end_by)),
            Phase::Over => Some(self.since),
        }
    }

    /// When work under it must have ended; `None`: at no time known yet.
    pub(crate) fn end_by(&self) -> Option<Time> {
        self.look();
        match &*self.phase() {
            Phase::Held { until, .. } => *until,
            Phase::Lost { end_by, .. } => Some(*end_by),
            Phase::Over => None,
        }
    }

    /// Whether the order to stop stands; if not, when it comes.
    fn stops(&self) -> Result<(), Option<Time>> {
        let now = self.clock.now();
        match &mut *self.phase() {
            Phase::Held { stopping: Some(_), .. } | Phase::Lost { .. } => Ok(()),
            Phase::Held { until: Some(until), stopping } => {
                let at = until.before(self.grace);
                if now < at {
                    return Err(Some(at));
                }
                *stopping = Some(now);
                Ok(())
            }
            Phase::Held { until: None, .. } | Phase::Over => Err(None),
        }
    }

    /// How long ago it was acquired.
    pub(crate) fn age(&self) -> Duration {
        self.clock.now().since(self.since)
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves once the hold is lost.
    pub(crate) async fn lost(self: Arc<Self>) -> Lost {
        let lost = |status: &Self| {
            let again = status.check();
            status.look().ok_or_else(|| status.until().or(again))
        };
        self.wait(lost).await
    }

    /// Resolves once the work must be stopped.
    pub(crate) async fn stopping(self: Arc<Self>) {
        let stops = |status: &Self| {
            let again = status.check();
            status.stops().map_err(|at| at.or(again))
        };
        self.wait(stops).await;
    }

    /// Waits until `come` says that it has; an error says when to look again.
    async fn wait<T>(&self, come: impl Fn(&Self) -> Result<T, Option<Time>>) -> T {
        let mut alarm = Alarm::new(Arc::clone(&self.clock));
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            let look = |cx: &mut Context<'_>| self.poll(&come, &mut alarm, changed.as_mut(), cx);
            if let Some(output) = std::future::poll_fn(look).await {
                return output;
            }
        }
    }

    /// `Ready(None)`: something changed or may have changed, begin again.
    fn poll<T>(
        &self,
        come: &impl Fn(&Self) -> Result<T, Option<Time>>,
        alarm: &mut Alarm,
        mut changed: std::pin::Pin<&mut Notified<'_>>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<T>> {
        // To be told of what changes after the look, wait before it.
        if changed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        match come(self) {
            Ok(output) => Poll::Ready(Some(output)),
            Err(Some(at)) => alarm.poll_until(at, cx).map(|()| None),
            Err(None) => Poll::Pending,
        }
    }
}

/// When a holder stops believing in its hold, unless it is renewed by then.
#[derive(Clone)]
pub struct Deadline {
    clock: Arc<dyn Clock>,
    at: Time,
}

impl Deadline {
    /// How long it is until then; zero if it is past.
    ///
    /// By the boot-time clock, which goes on while the machine is suspended; so a value kept over a
    /// suspend is worth nothing. Ask again instead.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.at.since(self.clock.now())
    }

    /// Whether it is past: nothing may be started any more.
    #[must_use]
    pub fn is_past(&self) -> bool {
        self.clock.now() >= self.at
    }
}

impl fmt::Debug for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deadline").field("remaining", &self.remaining()).finish()
    }
}

/// A hold as the work under it sees it. Clones are the same hold; none of them keeps it alive.
#[derive(Clone)]
pub struct Hold(pub(crate) Arc<Status>);

impl Hold {
    /// The fencing token: hand it to whatever the work writes to, so that it can refuse smaller
    /// ones.
    #[must_use]
    pub fn token(&self) -> u64 {
        self.0.token
    }

    /// The lock's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The identity that holds the lock.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// When the hold ends for its holder unless it is renewed by then, past if it is over; `None`
    /// if it does not end by time. Every renewal moves it: ask again right before each action.
    #[must_use]
    pub fn deadline(&self) -> Option<Deadline> {
        let at = self.0.deadline()?;
        Some(Deadline { clock: Arc::clone(&self.0.clock), at })
    }

    /// Resolves once the hold is lost, at once if it already is, and says why; at the latest at its
    /// deadline. Any number of callers may wait. Never resolves for a hold that is given back:
    /// wait for it beside the work.
    ///
    /// On the embedded store, where a hold does not end by time, the record is looked at once a
    /// second while somebody waits.
    ///
    /// # Cancel safety
    /// Dropping it leaves nothing behind.
    pub fn lost(&self) -> impl Future<Output = Lost> + Send + use<> {
        Arc::clone(&self.0).lost()
    }

    /// Resolves once the work must come to its end: the grace before the deadline, or when the hold
    /// is lost. It is not taken back, even if a renewal comes through after all; the hold then
    /// stands until the work has ended.
    ///
    /// # Cancel safety
    /// Dropping it leaves nothing behind.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + use<> {
        Arc::clone(&self.0).stopping()
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold")
            .field("name", &self.0.name)
            .field("token", &self.0.token)
            .field("deadline", &self.deadline())
            .finish_non_exhaustive()
    }
}
