//! Queues of commands: a gate holds the lock, commands queue behind it, the gate opens.
//!
//! Both peers are waited for in the same way: a command counts as queued when the store, or the
//! kernel's table of flocks, says that it is.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use tenure::blocking::{Client, connect};

use super::Place;
use crate::pairs::interleave;
use crate::proc::{Running, flock_waiters, now_us, until};
use crate::report::{Line, Unit};
use crate::stats::{Goal, Stat};

/// Commands in one round of the hand-over row.
const CHAIN: usize = 25;

/// Who guards the queue.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Tenure,
    Flock,
}

/// A lock that is held until its gate opens, and the commands behind it.
struct Queue<'a> {
    place: &'a Place<'a>,
    who: Who,
    client: Client,
    gate: Running,
    queued: Vec<Running>,
}

impl<'a> Queue<'a> {
    /// Takes the lock with a command that ends when its input does.
    fn new(place: &'a Place<'a>, who: Who) -> Result<Self> {
        let client = connect(&place.url)?;
        let mut gate = Running::talking(&mut command(place, who, &["cat"]))?;
        // Its echo says that it runs.
        gate.tell("on")?;
        gate.hear()?;
        Ok(Self { place, who, client, gate, queued: Vec::new() })
    }

    /// Starts one more command.
    fn push(&mut self, args: &[&str]) -> Result<()> {
        self.queued.push(Running::start(&mut command(self.place, self.who, args))?);
        Ok(())
    }

    /// Waits until all that were started wait for their turn.
    fn settle(&self) -> Result<()> {
        let expected = self.queued.len();
        until("commands to queue", || {
            Ok(expected
                == match self.who {
                    Who::Tenure => self.client.show("L")?.queue.len(),
                    Who::Flock => flock_waiters(Path::new(&self.place.path("L")))?,
                })
        })?;
        // An entry in line comes shortly before its owner sleeps.
        std::thread::sleep(std::time::Duration::from_millis(5));
        Ok(())
    }

    /// Opens the gate and waits for all: microseconds until the last one has ended.
    fn open(self) -> Result<f64> {
        let Self { gate, queued, .. } = self;
        let start = now_us();
        gate.finish()?;
        queued.into_iter().try_for_each(Running::finish)?;
        Ok(now_us() - start)
    }
}

fn command(place: &Place<'_>, who: Who, args: &[&str]) -> std::process::Command {
    match who {
        Who::Tenure => place.tenure(&[], "L", args),
        Who::Flock => place.flock(&[], "L", args),
    }
}

/// The median of the gaps between one command's last act and the next one's first.
pub(super) fn hand_over(place: &Place<'_>) -> Result<Vec<Line>> {
    let [gaps] = interleave(
        place.rounds(20, 120),
        Stat::Median,
        || Ok([chain(place, Who::Tenure)?]),
        || Ok([chain(place, Who::Flock)?]),
    )?;
    let (what, goal) = ("between commands", Goal::AtMost(1.1));
    Ok(vec![Line::ratio(place.row, what, Unit::Micros, &gaps, Stat::Median, goal)])
}

fn chain(place: &Place<'_>, who: Who) -> Result<f64> {
    let stamps = place.path("stamps");
    let stamp = place.bench.stamp.display().to_string();
    let mut line = Queue::new(place, who)?;
    for _ in 0..CHAIN {
        line.push(&[&stamp, &stamps])?;
    }
    line.settle()?;
    line.open()?;
    let times = stamped(&stamps)?;
    fs::remove_file(&stamps)?;
    ensure!(times.len() == CHAIN, "{} of {CHAIN} commands ran", times.len());
    let mut gaps: Vec<f64> = times.windows(2).map(|w| w[1].0 - w[0].1).collect();
    ensure!(gaps.iter().all(|gap| *gap > 0.0), "two commands ran at once: {gaps:?}");
    Ok(Stat::Median.of(&mut gaps))
}

/// When each command began and ended, in the order in which they ended.
pub(super) fn stamped(file: &str) -> Result<Vec<(f64, f64)>> {
    let text = fs::read_to_string(file).context("no command ran")?;
    text.lines()
        .map(|line| {
            let (start, end) = line.split_once(' ').context("half a stamp")?;
            Ok((start.parse()?, end.parse()?))
        })
        .collect()
}

pub(super) fn thousand(place: &Place<'_>) -> Result<Vec<Line>> {
    let arm = |who| {
        move || {
            let mut line = Queue::new(place, who)?;
            for _ in 0..1_000 {
                line.push(&["true"])?;
            }
            line.settle()?;
            Ok([line.open()?])
        }
    };
    let [total] = interleave(place.rounds(5, 15), Stat::Median, arm(Who::Tenure), arm(Who::Flock))?;
    let (what, goal) = ("in total", Goal::AtMost(1.05));
    let mut lines = vec![Line::ratio(place.row, what, Unit::Micros, &total, Stat::Median, goal)];
    lines.push(in_order(place, 1_000)?);
    Ok(lines)
}

pub(super) fn five_hundred(place: &Place<'_>) -> Result<Vec<Line>> {
    Ok(vec![in_order(place, 500)?])
}

/// `count` processes that add one each to a number in a file, all started at once: none is lost,
/// and they come in the order of their tickets.
fn in_order(place: &Place<'_>, count: usize) -> Result<Line> {
    let (counter, order) = (place.path("counter"), place.path("order"));
    let me = place.bench.me.display().to_string();
    fs::write(&counter, "0\n")?;
    let mut line = Queue::new(place, Who::Tenure)?;
    for _ in 0..count {
        line.push(&[&me, "child", "add", &counter, &order])?;
    }
    line.settle()?;
    let mut queue = line.client.show("L")?.queue;
    queue.sort_by_key(|waiter| waiter.ticket);
    line.open()?;
    let counted: usize = fs::read_to_string(&counter)?.trim().parse()?;
    let text = fs::read_to_string(&order)?;
    fs::remove_file(&order)?;
    let came: Vec<(u64, &str)> = text
        .lines()
        .filter_map(|l| l.split_once(' '))
        .map(|(token, id)| Ok((token.parse()?, id)))
        .collect::<Result<_>>()?;
    let inversions = came.iter().zip(&queue).filter(|((_, id), w)| *id != w.id).count();
    let rising = came.windows(2).all(|w| w[0].0 < w[1].0);
    let holds = counted == count && came.len() == count && inversions == 0 && rising;
    let tokens = if rising { "rising" } else { "NOT rising" };
    let what = format!(
        "{count} processes: counted {counted}, {inversions} out of their tickets' order, tokens {tokens}"
    );
    Ok(Line::check(place.row, what, holds))
}
