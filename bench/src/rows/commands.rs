//! `tenure run L -- true` beside `flock L true`: what one uncontended run costs.
//!
//! Both are started in the same way by the same parent, without a terminal, in the same
//! surroundings; processor time is user and system, of the command and of all it waited for.

use anyhow::Result;

use super::Place;
use crate::pairs::interleave;
use crate::proc::timed;
use crate::report::{Line, Unit};
use crate::stats::{Goal, Stat};

pub(super) fn run(place: &Place<'_>) -> Result<Vec<Line>> {
    measure(place, &[], Goal::AtMost(1.10))
}

pub(super) fn run_durable(place: &Place<'_>) -> Result<Vec<Line>> {
    measure(place, &["--durable"], Goal::AtMost(1.3))
}

fn measure(place: &Place<'_>, options: &[&str], goal: Goal) -> Result<Vec<Line>> {
    let mut tenure = place.tenure(options, "L", &["true"]);
    let mut flock = place.flock(&[], "L", &["true"]);
    let [wall, cpu] = interleave(
        place.rounds(1_000, 4_000),
        Stat::Median,
        || timed(&mut tenure),
        || timed(&mut flock),
    )?;
    let line = |what, trio| Line::ratio(place.row, what, Unit::Micros, trio, Stat::Median, goal);
    Ok(vec![line("wall", &wall), line("user + system", &cpu)])
}
