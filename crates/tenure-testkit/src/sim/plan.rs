//! What one seed draws before its run begins: how wrong each clock is, what the network does, who
//! pauses, dies and meddles, and how long people hold.
//!
//! Owns the bounds of the faults. Each kind of fault is in some runs and not in others, so that one
//! cannot hide what another shows. Rates of clocks are drawn **at the promised edge**: planted bugs
//! survive clocks that are only a little wrong.

use std::time::Duration;

use tenure_core::{Liveness, Term, Timing, TimingSpec};

use super::dice::Dice;

pub(crate) const PEERS_MAX: usize = 5;
pub(crate) const MICRO: u64 = 1_000;
pub(crate) const MILLI: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000_000_000;
/// How long a run goes on, in true time and in ttls: an hour, where the ttl is 15 s.
const RUN_TTLS: u64 = 240;
/// How far wall clocks may be apart where they end holds.
#[cfg(feature = "kube")]
const WALL_SKEW_MAX: Duration = Duration::from_secs(5);

/// The kinds of store a run may be over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// The memory store as a remote one: observed liveness, a network that fails.
    Register,
    /// The embedded store's kind: sessions decide, waiters stand in the record, writes in place.
    Line,
    /// A Kubernetes Lease: whole seconds, outsiders on the object.
    Lease,
    /// An etcd session: the server ends what is not kept alive, and the keys are the line.
    Server,
}

impl StoreKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Register, Self::Line, Self::Lease, Self::Server];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Line => "line",
            Self::Lease => "lease",
            Self::Server => "server",
        }
    }

    pub(crate) const fn liveness(self) -> Liveness {
        match self {
            Self::Register | Self::Lease => Liveness::Observed,
            Self::Line => Liveness::Process,
            Self::Server => Liveness::Server,
        }
    }

    /// Whether waiters stand in the record.
    pub(crate) const fn queue(self) -> bool {
        matches!(self, Self::Line | Self::Server)
    }
}

/// What a network does to a message, in parts of a thousand, and for how long it keeps it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Net {
    pub(crate) base: u64,
    pub(crate) jitter: u64,
    pub(crate) late: u64,
    pub(crate) late_max: u64,
    /// Requests that do not arrive.
    pub(crate) lose: u64,
    /// Requests that arrive and are not answered.
    pub(crate) mute: u64,
    pub(crate) double: u64,
    /// Writes that the store refuses before they happen.
    pub(crate) refuse: u64,
    /// Writes that the client calls unknown though they are on their way.
    pub(crate) doubt: u64,
    /// Changes that a watch leaves out.
    pub(crate) skip: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) store: StoreKind,
    pub(crate) contenders: usize,
    /// What people ask for, and what comes of it: where wall clocks end holds, a holder stops
    /// earlier by as much as they may be apart.
    pub(crate) asked: Timing,
    pub(crate) timing: Timing,
    /// The margin that is in `timing`.
    pub(crate) margin: u64,
    pub(crate) rates_ppm: [i64; PEERS_MAX],
    pub(crate) wall_skew: [i64; PEERS_MAX],
    /// Whose wall clock stands still.
    pub(crate) wall_stuck: [bool; PEERS_MAX],
    /// The server's clock, and how late it may end a session.
    pub(crate) server_ppm: i64,
    pub(crate) revoke_late: u64,
    pub(crate) leader_every: u64,
    pub(crate) storm_net: Net,
    pub(crate) calm_net: Net,
    /// Mean time between faults of a kind; 0: never.
    pub(crate) freeze_every: u64,
    pub(crate) die_every: u64,
    pub(crate) deafen_every: u64,
    pub(crate) cut_every: u64,
    pub(crate) meddle_every: u64,
    /// How often another controller changes a label of the object, in the calm too.
    pub(crate) label_every: u64,
    /// How often a Go program looks, where there is one, and how far its clock goes in a million.
    pub(crate) go_every: u64,
    pub(crate) go_rate: u64,
    pub(crate) freeze_max: u64,
    /// How late a timer may fire.
    pub(crate) timer_late: u64,
    pub(crate) hold: u64,
    pub(crate) rest: u64,
    /// Mean time between the actions of a holder.
    pub(crate) act: u64,
    /// Part of a thousand of the waits that are given up, and of the holds that are left detached.
    pub(crate) give_up: u64,
    pub(crate) detach: u64,
    pub(crate) storm: u64,
    pub(crate) calm: u64,
    /// How long the run goes on.
    pub(crate) run: u64,
}

impl Plan {
    pub(crate) fn draw(dice: &mut Dice) -> Self {
        Self::drawn(dice, times)
    }

    /// With the timings that people use where wall clocks end holds.
    #[cfg(feature = "kube")]
    pub(crate) fn draw_for_wall_clocks(dice: &mut Dice) -> Self {
        Self::drawn(dice, times_for_wall_clocks)
    }

    fn drawn(dice: &mut Dice, times: fn(&mut Dice) -> Times) -> Self {
        use StoreKind::{Lease, Line, Register, Server};
        let store =
            dice.pick(&[Register, Register, Register, Lease, Lease, Line, Line, Server, Server]);
        let contenders = dice.pick(&[2, 3, 3, 3, 3, 3, 4, 5]);
        let Times { asked, timing, margin } = times(dice);
        let ttl = u64::try_from(timing.ttl().as_nanos()).unwrap_or(u64::MAX);
        let edge = 10_000;
        let mut rates_ppm = [0; PEERS_MAX];
        let mut wall_skew = [0; PEERS_MAX];
        // On one machine there is one clock.
        if store != Line {
            rates_ppm = rates_ppm.map(|_| dice.pick(&[-edge, -edge, edge, edge, 0, 5_000, -100]));
            wall_skew = wall_skew.map(|_| dice.pick(&[0, 0, 1, -3, 40, -3_600]) * SECOND as i64);
        }
        let mut wall_stuck = [false; PEERS_MAX];
        if store == Lease {
            wall_stuck = wall_stuck.map(|_| dice.chance(150));
        }
        let mut storm_net = net(dice, ttl);
        if store == Server {
            // One stream of requests in order, and no client there sends a write twice.
            storm_net.double = 0;
        }
        let freeze_max = dice.pick(&[ttl / 10, ttl, 2 * ttl]);
        let calm_net =
            Net { base: MILLI, jitter: storm_net.jitter.min(20 * MILLI), ..Net::default() };
        // Few runs are all hand-over, and those are short: a ttl of them has a thousand times as many
        // events as one that is held through.
        let busy = dice.chance(50);
        let (hold, rest) = if busy {
            (50 * MILLI, dice.pick(&[0, 50 * MILLI]))
        } else {
            (
                dice.pick(&[50 * MILLI, ttl / 3, 2 * ttl, 2 * ttl, 10 * ttl]),
                dice.pick(&[ttl / 3, 2 * ttl]),
            )
        };
        let often = |dice: &mut Dice, of: &[u64]| if dice.chance(600) { dice.pick(of) } else { 0 };
        Self {
            store,
            contenders,
            asked,
            timing,
            margin,
            rates_ppm,
            wall_skew,
            wall_stuck,
            server_ppm: dice.pick(&[edge, edge, -edge, 0]),
            revoke_late: dice.pick(&[1, 600 * MILLI]),
            leader_every: if store == Server { often(dice, &[2 * ttl, 10 * ttl]) } else { 0 },
            storm_net,
            calm_net,
            freeze_every: often(dice, &[ttl / 2, 2 * ttl, 10 * ttl]),
            die_every: often(dice, &[2 * ttl, 5 * ttl, 20 * ttl]),
            cut_every: if store == Line { 0 } else { often(dice, &[3 * ttl, 10 * ttl]) },
            deafen_every: often(dice, &[ttl, 4 * ttl]),
            meddle_every: if store == Lease { often(dice, &[ttl, 5 * ttl, 20 * ttl]) } else { 0 },
            label_every: if store == Lease { often(dice, &[ttl / 4, ttl]) } else { 0 },
            go_every: if store == Lease && margin > 0 && dice.chance(800) { ttl / 7 } else { 0 },
            go_rate: dice.pick(&[990_000, 1_000_000, 1_010_000, 1_010_000]),
            freeze_max,
            timer_late: dice.pick(&[0, MILLI, 300 * MILLI]),
            hold,
            rest,
            act: dice.pick(&[ttl / 6, ttl / 2, ttl]),
            give_up: dice.pick(&[0, 100, 500]),
            // A remainder under a session of its own is not modelled.
            detach: if store == Server { 0 } else { dice.pick(&[0, 0, 200]) },
            storm: if busy { 10 } else { dice.pick(&[20, 40, 80]) } * ttl,
            calm: if store == Server { 7 } else { 5 } * ttl + storm_net.late_max + freeze_max,
            run: if busy { RUN_TTLS / 10 } else { RUN_TTLS } * ttl,
        }
    }

    /// How the claims' holds end by themselves.
    pub(crate) fn term(&self) -> Term {
        match self.store {
            StoreKind::Line => Term::Session,
            _ => Term::Ttl(self.timing.ttl()),
        }
    }
}

fn net(dice: &mut Dice, ttl: u64) -> Net {
    let base = dice.pick(&[100 * MICRO, MILLI, 20 * MILLI]);
    let mut some = |of: &[u64]| if dice.chance(600) { dice.pick(of) } else { 0 };
    Net {
        base,
        late: some(&[5, 30, 150]),
        lose: some(&[5, 50, 200]),
        mute: some(&[5, 50, 200]),
        double: some(&[5, 50]),
        refuse: some(&[5, 50, 300]),
        doubt: some(&[5, 50]),
        skip: some(&[50, 300]),
        jitter: dice.pick(&[MILLI, 10 * MILLI, 100 * MILLI, ttl / 10]),
        late_max: dice.pick(&[ttl / 4, ttl, ttl + ttl / 2]),
    }
}

/// See [`Plan`].
struct Times {
    asked: Timing,
    timing: Timing,
    margin: u64,
}

/// One of the timings people use. In half of the runs without any margin, so that nothing but the
/// promised bound keeps two holders apart.
fn times(dice: &mut Dice) -> Times {
    let s = Duration::from_secs;
    let spec = match dice.below(6) {
        0 => TimingSpec::of(s(60)),
        1 => TimingSpec::of(s(4)),
        2 => TimingSpec { grace: Some(s(5)), renew_every: Some(s(2)), ..TimingSpec::of(s(15)) },
        3 => TimingSpec::of(s(30)),
        _ => TimingSpec::default(),
    };
    fitted(dice, spec, Duration::ZERO)
}

/// The same where a ttl is 20 s at least.
#[cfg(feature = "kube")]
fn times_for_wall_clocks(dice: &mut Dice) -> Times {
    let s = Duration::from_secs;
    let spec = match dice.below(6) {
        0 => TimingSpec::of(s(60)),
        1 => TimingSpec::of(s(30)),
        2 => TimingSpec { grace: Some(s(6)), renew_every: Some(s(2)), ..TimingSpec::of(s(20)) },
        _ => TimingSpec::of(s(20)),
    };
    fitted(dice, spec, WALL_SKEW_MAX)
}

fn fitted(dice: &mut Dice, mut spec: TimingSpec, earlier: Duration) -> Times {
    let bare = dice.chance(500);
    let margin =
        if bare { Duration::ZERO } else { (spec.ttl / 20).max(Duration::from_millis(100)) };
    let mut with = |margin| {
        spec.margin = Some(margin);
        Timing::new(spec).expect("timings that people use fit")
    };
    let (asked, timing) = (with(margin), with(margin + earlier));
    let margin = u64::try_from((margin + earlier).as_nanos()).unwrap_or(u64::MAX);
    Times { asked, timing, margin }
}
