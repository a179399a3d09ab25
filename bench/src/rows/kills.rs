//! Processes that are killed by the thousand while they take, keep and give back locks.
//!
//! Owns the killing and the judgement afterwards. What the killed ones report was written while
//! they held the lock, so that its order is the order of the holds.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tenure::blocking::connect;

use super::Place;
use crate::proc::Running;
use crate::report::Line;

/// How many are killed.
const KILLS: usize = 10_000;
/// How many run at once.
const PREY: usize = 6;
/// The longest pause before a kill: a few turns of those that run.
const PAUSE_US: u64 = 1_500;
/// How long a lock is waited for that nobody has any more.
const PATIENCE: Duration = Duration::from_secs(5);

/// Kills, then looks: tokens rose with every hold, nobody met another holder or lost a hold while
/// it lived, every record can be read, every lock can be had.
pub(super) fn kills(place: &Place<'_>) -> Result<Vec<Line>> {
    let dir = place.dir.display().to_string();
    let start = |seed: usize| {
        Running::start(&mut place.child(&["prey", &place.url, &dir, &seed.to_string()]))
    };
    let mut prey = (0..PREY).map(start).collect::<Result<Vec<_>>>()?;
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    for kill in 0..KILLS {
        random = next(random);
        std::thread::sleep(Duration::from_micros(random % PAUSE_US));
        let victim = &mut prey[(random >> 32) as usize % PREY];
        victim.kill()?;
        let _ = victim.wait()?;
        *victim = start(PREY + kill)?;
    }
    drop(prey);
    let wrong = fs::read_to_string(place.path("wrong")).unwrap_or_default();
    let holds = fs::read_to_string(place.path("holds")).context("nobody held a lock")?;
    let back = tokens_that_went_back(&holds)?;
    let client = connect(&place.url)?;
    let listed = client.list()?;
    let unreadable = listed.iter().filter(|lock| lock.is_err()).count();
    let mut stuck = 0;
    for lock in listed.into_iter().flatten() {
        match client.lock(&lock.name).acquire_timeout(PATIENCE) {
            Ok(guard) if guard.token() > last(&holds, &lock.name)? => {
                let _ = guard.release()?;
            }
            Ok(_) | Err(tenure::Error::TimedOut { .. }) => stuck += 1,
            Err(error) => return Err(error.into()),
        }
    }
    let what = format!(
        "{KILLS} kills, {} holds acknowledged: {back} tokens back, {} times another holder met or a \
         living hold lost; afterwards {unreadable} records unreadable, {stuck} locks not to be had",
        holds.lines().count(),
        wrong.lines().count(),
    );
    Ok(vec![Line::check(place.row, what, back + unreadable + stuck == 0 && wrong.is_empty())])
}

/// The next of a sequence of random numbers (xorshift).
pub(crate) const fn next(mut random: u64) -> u64 {
    random ^= random << 13;
    random ^= random >> 7;
    random ^ (random << 17)
}

/// How many holds have a token that is not above that of the same lock's hold before.
fn tokens_that_went_back(holds: &str) -> Result<usize> {
    let mut last = BTreeMap::new();
    let mut back = 0;
    for line in holds.lines() {
        let (name, token) = line.split_once(' ').context("half a hold")?;
        let token: u64 = token.parse()?;
        back += usize::from(last.insert(name, token).is_some_and(|before| before >= token));
    }
    Ok(back)
}

/// The last token that a hold of `name` was reported with; 0 if none was.
fn last(holds: &str, name: &str) -> Result<u64> {
    let token = holds.lines().rev().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(token.map_or(Ok(0), str::parse)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_does_not_rise_is_counted() {
        assert_eq!(tokens_that_went_back("a 5\nb 1\na 6\nb 2\n").unwrap(), 0);
        assert_eq!(tokens_that_went_back("a 5\nb 6\na 5\nb 4\nb 5\n").unwrap(), 2);
        assert!(tokens_that_went_back("a\n").is_err());
        assert_eq!(last("a 5\naa 9\na 6\naa 7\n", "a").unwrap(), 6);
        assert_eq!(last("a 5\n", "b").unwrap(), 0);
    }
}
