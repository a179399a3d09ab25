//! From the child's start to its end: passing signals on, stopping and continuing together,
//! ending the work when the hold is lost.
//!
//! Knows nothing of locks: the hold says how it stands.
//! Invariant: returns only when the child has ended, and after a loss only when its whole group
//! was sent KILL.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use rustix::process::Signal;

use crate::child::{Change, Child, Ended};
use crate::clock;
use crate::signals::{News, Signals};
use crate::status::{Event, Status};
use crate::terminal::Terminal;

/// Between two kills of what does not end.
const AGAIN: Duration = Duration::from_secs(1);

/// A hold, as far as its work is concerned.
pub(crate) trait Watched {
    /// Readable when there is something to look at.
    fn fd(&self) -> Option<BorrowedFd<'_>>;

    /// How it stands now.
    fn look(&mut self) -> Standing;

    /// The work has ended, and its group's number is about to be given up.
    fn ended(&mut self);
}

/// How a hold stands. Times are of the boot-time clock.
#[derive(Debug)]
pub(crate) enum Standing {
    /// It is held. `renewed`: since the last look, and how long it lasts now.
    Held { renewed: Option<Duration>, look_at: Duration },
    /// The work must come to its end, and be killed then; a later look may say later.
    Stop { kill_at: Duration },
    /// It is lost.
    Lost { why: String, kill_at: Duration },
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) ended: Ended,
    /// Why the hold was lost, if it was.
    pub(crate) lost: Option<String>,
    /// Whether the terminal's keys reached the child alone when it ended.
    pub(crate) foreground: bool,
}

/// One child under one hold.
pub(crate) struct Supervisor<'a> {
    pub(crate) child: Child,
    pub(crate) lock: &'a str,
    pub(crate) token: u64,
    pub(crate) terminal: Option<Terminal>,
    pub(crate) signals: &'a mut Signals,
    pub(crate) status: &'a mut Status,
}

impl Supervisor<'_> {
    /// Waits for the child's end, and brings it about when the hold says so.
    pub(crate) fn run(mut self, hold: &mut impl Watched) -> Outcome {
        let mut stop: Option<Stop> = None;
        let mut look_at = self.look(hold, &mut stop);
        let ended = loop {
            let wake_at = stop.as_ref().map_or(look_at, |stop| look_at.min(stop.kill_at));
            let limit = wake_at.saturating_sub(clock::now());
            let fds = std::iter::once(self.signals.as_fd()).chain(hold.fd());
            clock::wait(fds, self.status.waits_for(), Some(limit));
            self.status.flush();
            while let Some(news) = self.signals.next() {
                self.heard(news);
            }
            look_at = self.look(hold, &mut stop);
            if let Some(ended) = self.changes() {
                break ended;
            }
            if let Some(stop) = &mut stop {
                stop.enforce(&self.child);
            }
        };
        self.end(ended, stop, hold)
    }

    /// Looks at the hold and does what that calls for; when to look again.
    fn look(&mut self, hold: &mut impl Watched, stop: &mut Option<Stop>) -> Duration {
        let never = clock::now() + Duration::from_secs(3600);
        match hold.look() {
            Standing::Held { renewed, look_at } => {
                if let Some(left) = renewed {
                    let remaining_ms = Some(crate::json::millis(left));
                    self.tell(Event { event: "renewed", remaining_ms, ..Event::default() });
                }
                // An order to stop is not taken back, but the hold stands until the work has ended.
                if let Some(Stop { reason: None, kill_at }) = stop {
                    *kill_at = (*kill_at).max(look_at);
                }
                look_at
            }
            Standing::Stop { kill_at } => {
                match stop {
                    None => *stop = Some(self.stop(None, kill_at)),
                    Some(stop) if stop.reason.is_none() => stop.kill_at = kill_at,
                    Some(_) => {}
                }
                kill_at
            }
            Standing::Lost { why, kill_at } => {
                if stop.as_ref().is_none_or(|stop| stop.reason.is_none()) {
                    *stop = Some(self.stop(Some(why), kill_at));
                }
                never
            }
        }
    }

    fn heard(&mut self, news: News) {
        match news {
            // Looked at after every wake-up.
            News::Child => {}
            News::PassOn(signal) => {
                if let Some(signal) = Signal::from_named_raw(signal as i32) {
                    self.child.signal(signal);
                }
            }
            News::Stop => self.stop_together(),
            // Another part of our pipeline, such as a pager, reads from the terminal.
            News::NeedsTerminal => match self.terminal {
                Some(terminal) if terminal.is_of(self.child.group()) => {
                    terminal.take_back_from(self.child.group());
                    let _ = rustix::process::kill_current_process_group(Signal::CONT);
                }
                _ => self.stop_together(),
            },
            News::Continue => self.resume(),
        }
    }

    /// Everything that happened to the child; its end, if it has come.
    fn changes(&mut self) -> Option<Ended> {
        while let Some(change) = self.child.change() {
            match change {
                Change::Ended(ended) => return Some(ended),
                Change::Stopped(by) => self.stopped(by),
            }
        }
        None
    }

    /// The child stopped. At a terminal the job's shell must see us stopped as well; a child that
    /// stops itself elsewhere (a debugger, a test) is left alone.
    fn stopped(&mut self, by: i32) {
        let Some(terminal) = self.terminal else { return };
        let wants_terminal = by == Signal::TTIN.as_raw() || by == Signal::TTOU.as_raw();
        if !wants_terminal && by != Signal::TSTP.as_raw() {
            return;
        }
        if wants_terminal && terminal.give_to(self.child.group()) {
            self.child.signal(Signal::CONT);
            return;
        }
        terminal.take_back_from(self.child.group());
        if !self.signals.suspend() && wants_terminal {
            // Nobody can bring us to the foreground. As the kernel does with stopped processes
            // that nobody can continue: hang up, then continue.
            self.child.signal(Signal::HUP);
        }
        self.resume();
    }

    /// Stops the child and ourselves, until somebody continues us; where nobody could, both go on.
    fn stop_together(&mut self) {
        self.child.signal(Signal::TSTP);
        self.signals.suspend();
        self.resume();
    }

    /// After `fg` the child's group gets the foreground; after `bg` it just runs.
    fn resume(&self) {
        if let Some(terminal) = self.terminal {
            terminal.give_to(self.child.group());
        }
        self.child.signal(Signal::CONT);
    }

    /// Tells the work to end.
    fn stop(&mut self, reason: Option<String>, kill_at: Duration) -> Stop {
        self.child.terminate();
        if let Some(reason) = &reason {
            self.tell(Event { event: "lost", reason: Some(reason), ..Event::default() });
        }
        let left = kill_at.saturating_sub(clock::now());
        let remaining_ms = Some(crate::json::millis(left));
        self.tell(Event { event: "stopping", remaining_ms, ..Event::default() });
        Stop { reason, kill_at }
    }

    fn end(mut self, ended: Ended, stop: Option<Stop>, hold: &mut impl Watched) -> Outcome {
        let lost = stop.and_then(|stop| stop.reason.or_else(|| not_renewed(hold)));
        if lost.is_some() {
            // The rest of the group: it must not go on beside the next holder.
            self.child.signal(Signal::KILL);
        }
        let foreground = self.terminal.is_some_and(|t| t.is_of(self.child.group()));
        if let Some(terminal) = self.terminal {
            terminal.take_back_from(self.child.group());
        }
        let (code, signal) = match ended {
            Ended::Code(code) => (Some(code), None),
            Ended::Signal(number) => (None, Some(number)),
        };
        self.tell(Event { event: "exited", code, signal, ..Event::default() });
        hold.ended();
        self.child.reap();
        Outcome { ended, lost, foreground }
    }

    fn tell(&mut self, event: Event<'_>) {
        self.status.tell(Event { lock: self.lock, token: Some(self.token), ..event });
    }
}

/// Why work that was told to end in time, and did, has not done what it was for; `None` where the hold
/// came back.
fn not_renewed(hold: &mut impl Watched) -> Option<String> {
    let why = "it was not renewed in time, and the command was told to end";
    (!matches!(hold.look(), Standing::Held { .. })).then(|| why.to_owned())
}

/// Work that was told to end.
struct Stop {
    /// Why its hold is lost; `None`: it is not, but it may be soon.
    reason: Option<String>,
    kill_at: Duration,
}

impl Stop {
    fn enforce(&mut self, child: &Child) {
        if clock::now() >= self.kill_at {
            child.signal(Signal::KILL);
            // Something in uninterruptible sleep outlives KILL for a while: do not spin on it.
            self.kill_at = clock::now() + AGAIN;
        }
    }
}
