//! `tenure steal`: show a hold, ask, and take it away.
//!
//! Invariant: what is taken away is the hold that was shown, and no other.

use tenure::LockState;
use tenure::blocking::{Client, Onlooker, Seen, Theft, connect_existing};

use crate::ask::confirmed;
use crate::display::{Display, held_by};
use crate::duration::shorten;
use crate::exit::{BUSY, Failure, complain};
use crate::free::{shown, until};
use crate::options::{StealOptions, is_elsewhere};
use crate::signals::Signals;

/// Runs the verb.
pub(crate) fn steal(options: &StealOptions) -> Result<u8, Failure> {
    let name = shorten(&options.name);
    let client = connect_existing(&options.store).map_err(Failure::new)?;
    let Some(client) = client else { return Ok(nothing(&name)) };
    let mut onlooker = client.look_on(&options.name).map_err(Failure::new)?;
    let seen = onlooker.look().map_err(Failure::new)?;
    let Some(by) = shown(&seen) else { return Ok(nothing(&name)) };
    let shown = held_by(&by);
    if let Some(condition) = options.condition.as_ref().filter(|c| !seen.lock.meets(c)) {
        let text = format!("lock `{name}` was left alone: it is {shown}, and not `{condition}`");
        return Err(Failure::with_code(BUSY, text));
    }
    let waits = seen.lock.state == LockState::Held && !options.now;
    if waits && seen.is_bound() {
        return Err(Failure::new(format!(
            "lock `{name}` is {shown}, and never ends by time; --now kills that and frees the lock"
        )));
    }
    if waits && !seen.ends_by_time() {
        return Err(Failure::new(format!(
            "lock `{name}` is {shown}, and never ends by time; --now frees it, and only its fencing \
             token protects against what its holder still does"
        )));
    }
    complain(&format!("lock `{name}` is {shown}"));
    if !waits && !seen.is_bound() && options.now {
        complain(if is_elsewhere(&options.store) {
            "a running tenure is told at once and ends its work; what else goes on under this hold is \
             not stopped: only its fencing token protects against it"
        } else {
            "its work is not stopped by this: only its fencing token protects against it"
        });
    }
    let instead = format!("lock `{name}` was left alone: give --yes where nobody can be asked");
    if !confirmed(options.yes, &question(&seen, waits), &instead)? {
        return Err(Failure::new(format!("lock `{name}` was left alone")));
    }
    let steal = Steal { options, client: &client, name: &name, seen };
    if waits { steal.after_expiry(onlooker) } else { steal.now() }
}

fn nothing(name: &str) -> u8 {
    complain(&format!("lock `{name}` is free: there is nothing to steal"));
    0
}

fn question(seen: &Seen, waits: bool) -> String {
    if waits {
        "free it when its ttl has run out?".to_owned()
    } else if seen.is_bound() {
        "kill its processes and free it?".to_owned()
    } else {
        "free it now?".to_owned()
    }
}

/// A hold that is to be taken away.
struct Steal<'a> {
    options: &'a StealOptions,
    client: &'a Client,
    name: &'a str,
    seen: Seen,
}

impl Steal<'_> {
    /// Waits for the end of the hold's ttl.
    fn after_expiry(self, mut onlooker: Onlooker) -> Result<u8, Failure> {
        let mut signals = Signals::block()?;
        let mut display = Display::new(false);
        let ended = until(&mut onlooker, &mut signals, &mut display, None, |now, display| {
            let held = now.lock.state == LockState::Held;
            match now.is_same_hold(&self.seen) {
                true if held => {
                    display.tell(format!("waiting until the ttl of `{}` has run out", self.name));
                    None
                }
                same => Some(same.then(|| now.clone())),
            }
        })?;
        match ended {
            // As it was seen to have ended: a renewal since then saves it.
            Some(seen) => Self { seen, ..self }.now(),
            None => self.changed(),
        }
    }

    fn now(self) -> Result<u8, Failure> {
        let lock = self.client.lock(&self.options.name);
        match lock.steal(&self.seen, &self.options.reason).map_err(Failure::new)? {
            Theft::Freed { killed } => {
                let killed = match killed.first() {
                    Some(pid) => format!(": process {pid} and what it ran were killed"),
                    None => String::new(),
                };
                complain(&format!("lock `{}` was freed{killed}", self.name));
                Ok(0)
            }
            _ => self.changed(),
        }
    }

    /// It is another hold now, or none.
    fn changed(self) -> Result<u8, Failure> {
        let now = self.client.show(&self.options.name).map_err(Failure::new)?;
        let hold = |info: &tenure::LockInfo| {
            info.holders.first().map(|h| (h.id.clone(), h.token, h.since))
        };
        if hold(&now).is_some_and(|now| Some(now) == hold(&self.seen.lock)) {
            let text = format!("lock `{}` was renewed meanwhile, and left alone", self.name);
            return Err(Failure::with_code(BUSY, text));
        }
        complain(&format!("that hold of lock `{}` ended by itself meanwhile", self.name));
        Ok(0)
    }
}
