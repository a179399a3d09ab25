//! From the child's start to its end: passing signals on, stopping and continuing together,
//! ending the work when the hold is lost.
//!
//! Knows nothing of locks: the caller says how to look whether the hold is still there.
//! Invariant: returns only when the child has ended, and after a loss only when its whole group
//! was sent KILL.

use std::os::fd::AsFd as _;
use std::time::Duration;

use rustix::process::Signal;

use crate::child::{Change, Child, Ended};
use crate::clock;
use crate::signals::{News, Signals};
use crate::status::{Event, Status};
use crate::terminal::Terminal;

/// How often the hold is looked at.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// The longest time between TERM and KILL after a loss: somebody else may hold the lock already.
const KILL_WITHIN: Duration = Duration::from_secs(2);

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
    pub(crate) grace: Duration,
    pub(crate) terminal: Option<Terminal>,
    pub(crate) signals: &'a mut Signals,
    pub(crate) status: &'a mut Status,
}

impl Supervisor<'_> {
    /// Waits for the child's end. `lost` looks at the hold: `Some` with the reason once it is
    /// lost.
    pub(crate) fn run(mut self, mut lost: impl FnMut() -> Option<String>) -> Outcome {
        let mut check_at = clock::now() + CHECK_EVERY;
        let mut loss: Option<Loss> = None;
        let ended = loop {
            let wake_at = loss.as_ref().map_or(check_at, |loss| loss.kill_at);
            let limit = wake_at.saturating_sub(clock::now());
            let signals = std::iter::once(self.signals.as_fd());
            clock::wait(signals, self.status.waits_for(), Some(limit));
            self.status.flush();
            while let Some(news) = self.signals.next() {
                self.heard(news);
            }
            if let Some(ended) = self.changes() {
                break ended;
            }
            match &mut loss {
                Some(loss) => loss.enforce(&self.child),
                None if clock::now() >= check_at => {
                    check_at = clock::now() + CHECK_EVERY;
                    loss = lost().map(|reason| self.stop(reason));
                }
                None => {}
            }
        };
        self.end(ended, loss)
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

    fn stop(&mut self, reason: String) -> Loss {
        let grace = self.grace.min(KILL_WITHIN);
        self.child.terminate();
        self.tell(Event { event: "lost", reason: Some(&reason), ..Event::default() });
        let remaining_ms = Some(crate::json::millis(grace));
        self.tell(Event { event: "stopping", remaining_ms, ..Event::default() });
        Loss { reason, kill_at: clock::now() + grace }
    }

    fn end(mut self, ended: Ended, loss: Option<Loss>) -> Outcome {
        if loss.is_some() {
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
        self.child.reap();
        Outcome { ended, lost: loss.map(|loss| loss.reason), foreground }
    }

    fn tell(&mut self, event: Event<'_>) {
        self.status.tell(Event { lock: self.lock, token: Some(self.token), ..event });
    }
}

/// A hold that is gone while its work still runs.
struct Loss {
    reason: String,
    kill_at: Duration,
}

impl Loss {
    fn enforce(&mut self, child: &Child) {
        if clock::now() >= self.kill_at {
            child.signal(Signal::KILL);
            // Something in uninterruptible sleep outlives KILL for a while: do not spin on it.
            self.kill_at = clock::now() + CHECK_EVERY;
        }
    }
}
