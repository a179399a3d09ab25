//! From one process to another that sleeps.

use std::time::Duration;

use anyhow::Result;
use tenure::blocking::connect;

use super::Place;
use crate::pairs::interleave;
use crate::proc::{Running, now_us, until};
use crate::report::{Line, Unit};
use crate::stats::{Goal, Stat};

/// From just before the release in this process to acquired in another that sleeps; beside it from
/// a byte written into a pipe to having read it.
pub(super) fn wake_up(place: &Place<'_>) -> Result<Vec<Line>> {
    let client = connect(&place.url)?;
    let lock = client.lock("L");
    let mut waiter = Running::talking(&mut place.child(&["waiter", &place.url, "L"]))?;
    let mut reader = Running::talking(&mut place.child(&["reader"]))?;
    let asleep = || std::thread::sleep(Duration::from_millis(2));
    let subject = || {
        let guard = lock.acquire()?;
        waiter.tell("")?;
        until("the waiter to queue", || Ok(client.show("L")?.queue.len() == 1))?;
        asleep();
        let start = now_us();
        let _ = guard.release()?;
        Ok([waiter.hear_number()? - start])
    };
    let peer = || {
        asleep();
        let start = now_us();
        reader.tell("")?;
        Ok([reader.hear_number()? - start])
    };
    let [wake] = interleave(place.rounds(1_000, 4_000), Stat::Median, subject, peer)?;
    let ratio = Goal::AtMost(3.0);
    let p99 = Goal::AtMost(200.0);
    Ok(vec![
        Line::ratio(place.row, "peer: a pipe", Unit::Micros, &wake, Stat::Median, ratio),
        Line::own(place.row, "tail", Unit::Micros, &wake.subject, Some(&wake.peer), Stat::P99, p99),
    ])
}
