//! `tenure wait`: until a lock is free, without taking it. And the event loop of whoever looks on.
//!
//! Wakes when the record is written or the holder ends; reads only.

use std::os::fd::AsFd as _;
use std::time::Duration;

use tenure::LockState;
use tenure::blocking::{Onlooker, Patience, Seen, connect_existing};

use crate::clock;
use crate::contend::By;
use crate::display::{Display, held_by, still_held_by};
use crate::duration::shorten;
use crate::exit::Failure;
use crate::options::Want;
use crate::signals::{News, Signals};

/// Runs the verb.
pub(crate) fn wait(want: &Want) -> Result<u8, Failure> {
    let mut signals = Signals::block()?;
    let Some(client) = connect_existing(&want.store).map_err(Failure::new)? else {
        // Where nothing was ever locked everything is free.
        return Ok(0);
    };
    let mut onlooker = client.look_on(&want.name).map_err(Failure::new)?;
    let mut display = Display::new(want.quiet);
    let start = clock::now();
    let limit = match want.patience {
        Patience::Forever => None,
        Patience::For(limit) => Some(start + limit),
        _ => Some(start),
    };
    let name = shorten(&want.name);
    let ended = until(&mut onlooker, &mut signals, &mut display, limit, |seen, display| {
        let by = |held: fn(&By) -> String| shown(seen).as_ref().map_or_else(String::new, held);
        let over = limit.is_some_and(|limit| clock::now() >= limit);
        match seen.lock.state {
            LockState::Free | LockState::Expired => Some(Ok(())),
            _ if over => Some(Err(format!("lock `{name}` is {}", by(still_held_by)))),
            _ => {
                display.tell(format!("waiting until `{name}` is free: {}", by(held_by)));
                None
            }
        }
    })?;
    let Err(text) = ended else { return Ok(0) };
    let silent = want.quiet || want.busy_code == 0;
    Err(Failure { text: (!silent).then_some(text), ..Failure::silent(want.busy_code) })
}

/// Who has the lock, as it is shown.
pub(crate) fn shown(seen: &Seen) -> Option<By> {
    seen.held_by().map(|by| By::of(&by, !seen.lock.store.starts_with("local:")))
}

/// Looks on until `decide` has an answer; it is asked again at `limit` at the latest.
///
/// # Errors
/// A record that cannot be read; a signal that ends us.
pub(crate) fn until<T>(
    onlooker: &mut Onlooker,
    signals: &mut Signals,
    display: &mut Display,
    limit: Option<Duration>,
    mut decide: impl FnMut(&Seen, &mut Display) -> Option<T>,
) -> Result<T, Failure> {
    let done = loop {
        match onlooker.look() {
            Ok(seen) => {
                if let Some(answer) = decide(&seen, display) {
                    break Ok(answer);
                }
            }
            Err(error) => break Err(Failure::new(error)),
        }
        let left = limit.map(|limit| limit.saturating_sub(clock::now()));
        let sleep = left.map_or(onlooker.wake_after(), |left| left.min(onlooker.wake_after()));
        let fds = onlooker.fds().chain(std::iter::once(signals.as_fd()));
        clock::wait(fds, None, Some(sleep));
        if let Err(failure) = heed(signals, display) {
            break Err(failure);
        }
    };
    display.clear();
    done
}

/// Ends or stops as the signals say.
fn heed(signals: &mut Signals, display: &mut Display) -> Result<(), Failure> {
    while let Some(news) = signals.next() {
        if let Some(signal) = news.ending() {
            return Err(Failure::by_signal(signal as i32));
        }
        if matches!(news, News::Stop | News::NeedsTerminal) {
            display.clear();
            signals.suspend();
        }
    }
    Ok(())
}
