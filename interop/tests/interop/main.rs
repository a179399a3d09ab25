//! Rust and Go contend for one lock, in each format and in both directions.
//!
//! A story is told once, of a first and a second side; `sides!` makes the tests of it. They mostly
//! wait, so run many at once: `cargo test -p tenure-interop -- --test-threads=24`.
#![allow(clippy::unwrap_used, reason = "tests")]

mod listing;
mod rest;

use std::time::{Duration, Instant};

use tenure_interop::{Arena, Contender, Format, Side};

/// What the machine may add to anything: other tests run on it.
const SLACK: Duration = Duration::from_secs(20);

fn arena(format: Format) -> Arena {
    Arena::new(format, env!("CARGO_BIN_EXE_peer-rust"))
}

/// The first holds and the second waits, longer than an unrenewed hold lives; the second gets the
/// lock when the first gives it back, and not before.
fn waits_and_then_gets_it(format: Format, first: Side) {
    let arena = arena(format);
    let mut holder = arena.holder(first);
    holder.says("held", SLACK);
    assert_eq!(arena.holder_id(), first.id());
    let mut waiter = arena.holder(first.other());
    sees(&mut waiter, format, first);
    std::thread::sleep(format.ttl() * 13 / 10);
    waiter.has_not_said("held");
    holder.has_not_said("lost");
    holder.terminate();
    let (given, _) = holder.says("released", SLACK);
    let (got, _) = waiter.says("held", format.retry(first.other()) + SLACK);
    assert!(got >= given - Duration::from_millis(500), "held before the release");
    let idle = got.saturating_duration_since(given);
    let bound = format.retry(first.other()) + Duration::from_secs(5);
    assert!(idle < bound, "{format:?}: free for {idle:?}, {bound:?} at most");
    assert_eq!(arena.holder_id(), first.other().id());
    // client-go's release conflicts with a renewal of its own that is cut short: one comes at once,
    // and one every 2 s.
    std::thread::sleep(Duration::from_secs(1));
    waiter.terminate();
    waiter.says("released", SLACK);
    assert_eq!(arena.holder_id(), "");
}

/// Waits until the second knows that the first holds the lock.
fn sees(waiter: &mut Contender, format: Format, holder: Side) {
    let lease = matches!(format, Format::ClientGo | Format::Leaselock);
    match holder {
        Side::Rust if lease => waiter.says(&format!("leader {}", holder.id()), SLACK),
        _ => waiter.says("refused", SLACK),
    };
}

/// The first is killed; the second gets the lock by its expiry, neither before nor much later.
fn expires_after_a_kill(format: Format, first: Side) {
    let arena = arena(format);
    let mut holder = arena.holder(first);
    holder.says("held", SLACK);
    let mut waiter = arena.holder(first.other());
    sees(&mut waiter, format, first);
    let killed = Instant::now();
    holder.kill();
    let ttl = format.ttl();
    let (got, _) = waiter.says("held", ttl + format.retry(first.other()) + SLACK * 2);
    let after = got.saturating_duration_since(killed);
    // The last renewal was a third of the ttl before the kill, or 5 s, at most.
    assert!(after > ttl * 6 / 10, "{format:?}: taken {after:?} after the kill");
    let bound = ttl + format.retry(first.other()) + SLACK;
    assert!(after < bound, "{format:?}: free only {after:?} after the kill");
}

/// Both take the lock in turn, a hundred times, and raise a number that is lost wherever both do.
fn hands_over_and_back(format: Format, sections: u32) {
    let arena = arena(format);
    let file =
        std::env::temp_dir().join(format!("tenure-interop-{}-{format:?}", std::process::id()));
    std::fs::write(&file, "0").unwrap();
    let counter = file.to_str().unwrap();
    let mut both = [Side::Rust, Side::Go].map(|side| arena.counting(side, counter, sections));
    // Beside the work and client-go's retry period, at times a release of Go's that conflicted.
    let limit = (format.retry(Side::Go) + Duration::from_secs(2)) * sections + format.ttl() * 3;
    let lines = both.each_mut().map(|contender| contender.ends(limit));
    for (side, said) in [Side::Rust, Side::Go].into_iter().zip(&lines) {
        let count = |begin: &str| said.iter().filter(|line| line.starts_with(begin)).count();
        assert_eq!(count("lost"), 0, "{side:?}: {said:?}");
        assert_eq!(count("held"), sections as usize, "{side:?}: {said:?}");
        let kept = if side == Side::Go { count("kept") } else { 0 };
        assert_eq!(count("released") + kept, sections as usize, "{side:?}: {said:?}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), (sections * 2).to_string());
    assert_eq!(arena.holder_id(), "");
    std::fs::remove_file(file).unwrap();
}

macro_rules! sides {
    ($($module:ident: $format:ident),* $(,)?) => {$(
        mod $module {
            use super::*;

            #[test]
            fn go_holds_and_rust_waits_and_then_gets_it() {
                waits_and_then_gets_it(Format::$format, Side::Go);
            }

            #[test]
            fn rust_holds_and_go_waits_and_then_gets_it() {
                waits_and_then_gets_it(Format::$format, Side::Rust);
            }

            #[test]
            fn go_is_killed_and_rust_gets_it_by_expiry() {
                expires_after_a_kill(Format::$format, Side::Go);
            }

            #[test]
            fn rust_is_killed_and_go_gets_it_by_expiry() {
                expires_after_a_kill(Format::$format, Side::Rust);
            }

            #[test]
            fn nothing_else_on_the_object_is_changed() {
                rest::leaves_the_rest_alone(Format::$format);
            }

            #[test]
            fn who_waits_writes_nothing() {
                rest::waits_without_a_write(Format::$format);
            }
        }
    )*};
}

sides! {
    client_go: ClientGo,
    leaselock: Leaselock,
    annotation: Annotation,
    configmap: ConfigMap,
    janus: Janus,
}

macro_rules! formats {
    ($($module:ident: $format:ident),* $(,)?) => {$(
        mod $module {
            use super::*;

            #[test]
            fn a_hundred_hand_overs_lose_no_update() {
                hands_over_and_back(Format::$format, 50);
            }

            #[test]
            fn lists_and_conditions_agree() {
                listing::agrees(Format::$format);
            }
        }
    )*};
}

// leaselock's format is that of client-go, and its peer waits for up to 11 s each time.
formats! {
    of_leases: ClientGo,
    of_annotations: Annotation,
    of_configmaps: ConfigMap,
    of_transactions: Janus,
}
