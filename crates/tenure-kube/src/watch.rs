//! What happens to one lock, as one watcher is told it.
//!
//! ```text
//! listen ──begun──> look, unless the feed tells what stands there ──> tell what is newer
//!    │                 └──the feed may have missed something: look again──┘
//!    └──no watch can be had, or none begins──> look every few seconds
//! ```
//!
//! There may be thousands of watchers: what is needed for a moment only is boxed.
//!
//! Owns what was told last, so that nothing older is told after it. **Who looks goes on listening**: what
//! is read may never be answered, and the feed tell of a loss meanwhile. Whatever feed it listens to, the
//! first that is told is what stands there when it is first asked.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::stream::unfold;
use tenure_store::{Error, Name, Result, Snapshot, Watch};
use tokio::time::{Instant, sleep, timeout};

use crate::error::Asked;
use crate::feeds::{Feeds, Heard, Listening, News, Over};
use crate::format::Spot;
use crate::http::Failed;
use crate::store::{Shared, asked, lean};

/// How long a feed may take to begin before what stands there is read.
const FIRST_MAX: Duration = Duration::from_secs(1);
/// How long what stands there may take to read: nobody else gives it up.
const READ_MAX: Duration = Duration::from_secs(10);
/// The shortest pause between two looks; the longest is twice that.
const LOOK: Duration = Duration::from_secs(2);

pub(crate) fn watch(shared: Arc<Shared>, name: Name) -> Watch {
    let state = Some(Watching {
        shared,
        name,
        since: None,
        listening: None,
        begun: 0,
        owes: false,
        told: None,
    });
    Box::pin(unfold(state, |state| async move {
        let mut watching = state?;
        let http = watching.shared.http.clone();
        match http.on_runtime(watching.next()).await {
            Ok(news) => Some((Ok(news), Some(watching))),
            Err(error) => Some((Err(error), None)),
        }
    }))
}

struct Watching {
    shared: Arc<Shared>,
    name: Name,
    /// Since when it is asked.
    since: Option<Instant>,
    listening: Option<Listening>,
    /// Which beginning of the feed was taken up.
    begun: u64,
    /// It did not tell what stood there then, and nothing has told that since.
    owes: bool,
    told: Option<Told>,
}

/// What was told last.
struct Told {
    revision: u64,
    absent: bool,
}

impl Watching {
    async fn next(&mut self) -> Result<Snapshot> {
        let spot = self.shared.spot(&self.name)?;
        self.since.get_or_insert_with(Instant::now);
        loop {
            if self.listening.is_none() {
                (self.begun, self.owes) = (0, false);
                self.listening = Feeds::listen(&self.shared, &spot);
            }
            let Some(listening) = &mut self.listening else {
                if self.told.is_some() {
                    sleep(self.pause()).await;
                }
                let news = self.read(&spot).await?;
                if let Some(news) = self.tell(news) {
                    return Ok(news);
                }
                continue;
            };
            let first = listening.first;
            let heard = listening.take();
            if let Some(news) = self.take_in(&spot, heard, first)? {
                return Ok(news);
            }
            // It ended: another one is to be listened to.
            if self.listening.is_none() {
                continue;
            }
            let news = if self.owes {
                self.unless_heard(self.look(&spot)).await
            } else if self.is_slow().await {
                self.unless_heard(self.read(&spot)).await
            } else {
                continue;
            };
            let Some(news) = news.transpose()? else { continue };
            self.owes = false;
            if let Some(news) = self.tell(news) {
                return Ok(news);
            }
        }
    }

    /// What is to be told of what was heard.
    fn take_in(&mut self, spot: &Spot, heard: Heard, first: bool) -> Result<Option<Snapshot>> {
        match heard.over {
            Some(Over::Moved) => {
                self.listening = None;
                return Ok(None);
            }
            Some(Over::Failed(failed)) => {
                let error = failure(asked("watch", spot, Some(&self.name)), &failed);
                self.shared.feeds.fail(&error);
                return Err(error);
            }
            None => {}
        }
        let begins = heard.begun > self.begun;
        if begins {
            self.begun = heard.begun;
            self.owes = !heard.told || self.told.is_none() && !first;
        }
        // What came with such a beginning may be from before it.
        if self.begun == 0 || begins && self.owes {
            return Ok(None);
        }
        let news = match heard.news {
            None => return Ok(None),
            Some(News::Is(object)) => {
                self.shared.found(&self.name, asked("watch", spot, Some(&self.name)), object)?
            }
            Some(News::Gone(revision)) => Snapshot::Absent { revision },
        };
        self.owes = false;
        Ok(self.tell(news))
    }

    /// How long until the next look.
    fn pause(&self) -> Duration {
        pause(self.since.map_or(Duration::ZERO, |since| since.elapsed()))
    }

    /// Waits for the feed; whether what stands there is to be read instead.
    async fn is_slow(&mut self) -> bool {
        let pause = self.pause();
        let Some(listening) = &mut self.listening else { return false };
        if self.told.is_some() && self.begun > 0 {
            // A feed says how it ended before it goes.
            listening.heard.changed().await.ok();
            return false;
        }
        // One that never begins tells nothing: what is on the way may keep it back for good.
        let first = self.told.is_none();
        let slow = first && self.shared.feeds.slow.load(Ordering::Relaxed);
        let patience = if first { FIRST_MAX } else { pause };
        slow || timeout(patience, listening.heard.changed()).await.is_err()
    }

    /// What is read; `None` if the feed has something to say before that, which may never be answered.
    async fn unless_heard(
        &self,
        reading: impl Future<Output = Result<Snapshot>>,
    ) -> Option<Result<Snapshot>> {
        let mut heard = self.listening.as_ref()?.heard.clone();
        match select(Box::pin(reading), pin!(heard.changed())).await {
            Either::Left((news, _)) => Some(news),
            Either::Right(_) => None,
        }
    }

    async fn read(&self, spot: &Spot) -> Result<Snapshot> {
        // Boxed: every hold has a watch, and it reads hardly ever.
        Box::pin(self.in_time(spot, self.shared.read(&self.name))).await
    }

    /// What stands there, and if that is nothing, as of when.
    async fn look(&self, spot: &Spot) -> Result<Snapshot> {
        Box::pin(self.in_time(spot, self.look_closer(spot))).await
    }

    async fn in_time(
        &self,
        spot: &Spot,
        reading: impl Future<Output = Result<Snapshot>>,
    ) -> Result<Snapshot> {
        timeout(READ_MAX, Box::pin(reading)).await.unwrap_or_else(|_| {
            let late = Failed::lost(&format!("the server was silent for {READ_MAX:?}"));
            Err(failure(asked("get", spot, Some(&self.name)), &late))
        })
    }

    async fn look_closer(&self, spot: &Spot) -> Result<Snapshot> {
        let news = self.shared.read(&self.name).await?;
        if news.revision() > 0 {
            return Ok(news);
        }
        let asked = asked("watch", spot, Some(&self.name));
        match self.shared.look(spot).await.map_err(|failed| failure(asked, &failed))? {
            None => Ok(news),
            Some((None, revision)) => Ok(Snapshot::Absent { revision }),
            Some((Some(object), _)) => self.shared.found(&self.name, asked, lean(object)),
        }
    }

    /// Tells what is newer than what was told.
    fn tell(&mut self, news: Snapshot) -> Option<Snapshot> {
        let (revision, absent) = (news.revision(), news.stored().is_none());
        let is_new = |told: &Told| match revision {
            0 => !told.absent,
            revision => revision > told.revision,
        };
        if !self.told.as_ref().is_none_or(is_new) {
            return None;
        }
        self.told = Some(Told { revision, absent });
        Some(news)
    }
}

fn failure(asked: Asked<'_>, failed: &Failed) -> Error {
    match failed {
        Failed::Refused(status) => asked.refused(status),
        Failed::Broken(broken) => asked.broken(broken),
    }
}

/// Others look at the same object, and all may have begun at once: how many nanoseconds one has been at
/// it is as good as random among them, and where time is simulated it is the same again.
fn pause(at_it: Duration) -> Duration {
    let nanos = u64::try_from(at_it.as_nanos()).unwrap_or(u64::MAX);
    let spread = nanos.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    LOOK + LOOK.mul_f64((spread >> 11) as f64 / (1_u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_of_those_who_began_at_once_are_apart() {
        let pauses: Vec<_> =
            (0..1_000).map(|n| pause(Duration::from_nanos(3_000_000 + n))).collect();
        for eighth in 0..8 {
            let (from, to) = (LOOK + LOOK * eighth / 8, LOOK + LOOK * (eighth + 1) / 8);
            let here = pauses.iter().filter(|pause| (from..to).contains(pause)).count();
            assert!((100..150).contains(&here), "{here} of 1,000 from {from:?} to {to:?}");
        }
        assert!(pauses.iter().all(|pause| (LOOK..2 * LOOK).contains(pause)));
    }
}
