//! A hold of the embedded store under `tenure run`: bound to its processes, looked at from time to
//! time.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use tenure::Released;
use tenure::blocking::Guard;

use crate::clock;
use crate::duration::shorten;
use crate::exit::complain;
use crate::lost::why;
use crate::run::{Held, Over};
use crate::spawn::GroupRecord;
use crate::supervise::{Standing, Watched};

/// How often the record is looked at.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// The hold.
#[derive(Debug)]
pub(crate) struct LocalHold {
    guard: Guard,
    store: String,
    grace: Duration,
    look_at: Duration,
    warned: bool,
}

impl LocalHold {
    pub(crate) fn new(guard: Guard, store: String, grace: Duration) -> Self {
        let look_at = clock::now() + CHECK_EVERY;
        Self { guard, store, grace, look_at, warned: false }
    }
}

impl Watched for LocalHold {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// A store that cannot be asked says nothing of the hold.
    fn look(&mut self) -> Standing {
        let now = clock::now();
        if now >= self.look_at {
            self.look_at = now + CHECK_EVERY;
            match self.guard.check() {
                Ok(None) => {}
                Ok(Some(lost)) => {
                    // Somebody else may hold it already.
                    let kill_at = now + self.grace.min(crate::keeper::AFTER_LOSS);
                    return Standing::Lost { why: why(&lost), kill_at };
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.warned, true) {
                        let shown = shorten(self.guard.name());
                        let text = format!("warning: cannot look after lock `{shown}`: {error}");
                        complain(&text);
                    }
                }
            }
        }
        Standing::Held { renewed: None, look_at: self.look_at }
    }

    fn ended(&mut self) {}
}

impl Held for LocalHold {
    fn token(&self) -> u64 {
        self.guard.token()
    }

    fn id(&self) -> &str {
        self.guard.id()
    }

    fn store(&self) -> &str {
        &self.store
    }

    fn record(&self) -> Option<GroupRecord<'_>> {
        let (fd, offset) = (self.guard.session_fd()?, self.guard.group_offset());
        Some(GroupRecord { fd, offset, inherit: true })
    }

    fn started(&self) {}

    fn release(self, rest: Option<Duration>) -> Over {
        let released = match rest {
            Some(rest) => self.guard.release_after(rest),
            None => self.guard.release(),
        };
        match released {
            Ok(Released::Released) => Over::Released,
            Ok(Released::Lost(lost)) => Over::Lost(why(&lost)),
            Err(error) => Over::Failed(error.to_string()),
        }
    }
}
