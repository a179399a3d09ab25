//! The edge of the promise: how far two clocks may be apart, and the run that breaks just past it.
//!
//! Owns the worst run there is: a holder whose first write arrives at once and which is then cut
//! off, and one that sees that write at the same instant and takes over as soon as it may. Its clock
//! is the faster one. Nothing else is wrong, so nothing but the clocks decides.

use std::time::Duration;

use tenure_core::{
    Action, Claim, Config, Liveness, Marks, Outcome, Patience, Record, Session, Term, Timing,
    TimingSpec, Token, Version, View, Wall,
};

use super::peer::Peer;

/// Timings that people use, by name.
#[must_use]
pub fn presets() -> [(&'static str, Timing); 5] {
    let shortest = Timing::new(TimingSpec::of(Duration::from_secs(2))).unwrap_or_default();
    [
        ("default", Timing::default()),
        ("client-go", Timing::client_go()),
        ("leaselock", Timing::leaselock()),
        ("kubelock", Timing::kubelock()),
        ("shortest", shortest),
    ]
}

/// Whether both believe at once if the contender's clock is faster than the holder's by this much.
#[must_use]
pub fn breaks(timing: Timing, apart_ppm: u32) -> bool {
    let claim = |n: u8| Claim::new(config(n, timing, Liveness::Observed));
    let mut holder = Peer::new(claim(0), 0, 0, 0);
    let mut contender = Peer::new(claim(1), 0, 1, i64::from(apart_ppm));
    let (record, version) = take(&mut holder);
    let view = View::Is { record: &record, version, age: None };
    contender.claim.acquire(Patience::Forever);
    let mut now = 0;
    loop {
        let local = contender.local(now);
        match contender.claim.poll(local, Wall::default(), &view) {
            Action::Wait { until: Some(until) } => now = contender.true_time(until),
            Action::Report(_) => {}
            // It is written, answered and believed at this instant.
            Action::Write(_) => return holder.claim.is_valid(holder.local(now)),
            other => unreachable!("{other:?}"),
        }
    }
}

/// Whether the holder still believes when a server whose clock is faster by this much ends its
/// session.
#[must_use]
pub fn server_breaks(timing: Timing, apart_ppm: u32) -> bool {
    let mut holder = Peer::new(Claim::new(config(0, timing, Liveness::Server)), 0, 0, 0);
    take(&mut holder);
    let server =
        Peer::new(Claim::new(config(1, timing, Liveness::Server)), 0, 1, i64::from(apart_ppm));
    let end = server.true_time(server.local(0).after(timing.ttl()));
    holder.claim.is_valid(holder.local(end))
}

/// The peer takes the lock at the beginning of time; what then stands there.
fn take(peer: &mut Peer) -> (Record, Version) {
    let now = peer.local(0);
    let mut record = Record::default();
    let mut version = Version::default();
    peer.claim.acquire(Patience::Forever);
    for _ in 0..4 {
        let view = match version.revision {
            0 => View::Absent { revision: 0 },
            _ => View::Is { record: &record, version, age: None },
        };
        match peer.claim.poll(now, Wall::default(), &view) {
            Action::Read => peer.claim.handle_read(now, &view),
            Action::Write(write) => {
                record.apply(&write.change, Token::new(1));
                version = Version { incarnation: 1, revision: 1 };
                let outcome = Outcome::Done { version, token: Token::new(1) };
                peer.claim.handle_written(now, write.attempt, outcome);
            }
            _ => break,
        }
    }
    (record, version)
}

fn config(n: u8, timing: Timing, liveness: Liveness) -> Config {
    Config {
        id: format!("c{n}").into(),
        session: Session::from_bytes([n + 1; 32]),
        term: Term::Ttl(timing.ttl()),
        timing,
        liveness,
        queue: false,
        adopt: false,
        max_clock_skew: Duration::ZERO,
        add_tags: false,
        tags: Vec::new(),
        marks: Marks::new(u128::from(n) << 64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_holds_at_its_limit_and_breaks_just_past_it() {
        for (name, timing) in presets() {
            let limit = timing.rate_limit_ppm();
            assert!(!breaks(timing, limit), "{name} at {limit}");
            assert!(breaks(timing, limit + 1), "{name} past {limit}");
            let limit = timing.server_rate_limit_ppm();
            assert!(!server_breaks(timing, limit), "{name} at {limit}, by a server");
            assert!(server_breaks(timing, limit + 1), "{name} past {limit}, by a server");
        }
    }

    #[test]
    fn the_holder_of_the_run_does_hold() {
        let mut holder =
            Peer::new(Claim::new(config(0, Timing::default(), Liveness::Observed)), 0, 0, 0);
        take(&mut holder);
        assert!(holder.claim.is_valid(holder.local(1)));
    }
}
