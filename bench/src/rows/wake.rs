//! From one process to another that sleeps.

use std::time::Duration;

use anyhow::Result;
use tenure::blocking::connect;

use super::Place;
use crate::calls::Releaser;
use crate::pairs::interleave;
use crate::proc::{Running, now_us, until};
use crate::report::{Line, Unit};
use crate::stats::{Goal, Stat};

/// From just before the release in this process to acquired in another that sleeps, and the same of
/// the system calls alone; beside both, from a byte written into a pipe to having read it.
pub(super) fn wake_up(place: &Place<'_>) -> Result<Vec<Line>> {
    let client = connect(&place.url)?;
    let lock = client.lock("L");
    let mut waiter = Running::talking(&mut place.child(&["waiter", &place.url, "L"]))?;
    let mut library = || {
        let guard = lock.acquire()?;
        waiter.tell("")?;
        until("the waiter to queue", || Ok(client.show("L")?.queue.len() == 1))?;
        wakes(&mut waiter, |_| Ok(guard.release().map(drop)?))
    };
    Releaser::prepare(&place.dir)?;
    let mut called = Running::talking(&mut place.child(&["called", &place.path(".")]))?;
    let mut releaser = Releaser::new(&place.dir, called.pid())?;
    let mut calls = || {
        called.tell("")?;
        wakes(&mut called, |_| releaser.hand_over())
    };
    let mut reader = Running::talking(&mut place.child(&["reader"]))?;
    let mut pipe = || wakes(&mut reader, |reader| reader.tell(""));
    let [wake, alone] = interleave(
        place.rounds(1_000, 4_000),
        Stat::Median,
        || Ok([library()?, calls()?]),
        || Ok([pipe()?, pipe()?]),
    )?;
    let ratio =
        |what, trio, goal| Line::ratio(place.row, what, Unit::Micros, trio, Stat::Median, goal);
    let p99 = Goal::AtMost(200.0);
    Ok(vec![
        ratio("peer: a pipe", &wake, Goal::AtMost(3.0)),
        Line::own(place.row, "tail", Unit::Micros, &wake.subject, Some(&wake.peer), Stat::P99, p99),
        ratio("the system calls alone", &alone, Goal::None),
    ])
}

/// Microseconds from before `act` until the one who sleeps says that it woke. It was told to wait two
/// milliseconds before; nothing checks that it sleeps by then.
fn wakes(sleeper: &mut Running, act: impl FnOnce(&mut Running) -> Result<()>) -> Result<f64> {
    std::thread::sleep(Duration::from_millis(2));
    let start = now_us();
    act(sleeper)?;
    Ok(sleeper.hear_number()? - start)
}
