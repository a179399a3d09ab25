//! A thousand locks held by one process are one watch and their renewals. The example of this name
//! does the same for ten minutes.

#[path = "common/tap.rs"]
mod tap;
#[path = "common/thousand.rs"]
mod thousand;

use std::time::Duration;

use tenure::Timing;

/// So slow that a busy machine keeps up; the example has the default.
const TTL: Duration = Duration::from_secs(60);
const RENEW_EVERY: Duration = Duration::from_secs(15);
const TIME: Duration = Duration::from_secs(30);
const MEMORY_MAX: u64 = 20 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_locks_are_one_watch_and_their_renewals() {
    let timing = Timing::of(TTL, TTL * 3 / 4, RENEW_EVERY).expect("timing that fits");
    let held = thousand::hold(TIME, timing).await;
    assert_eq!((held.lost, held.unreleased), (0, 0), "{held:?}");
    assert_eq!((held.open, held.watches), (1, 0), "one watch, and it lasts: {held:?}");
    assert_eq!(held.puts, held.sent, "nothing but renewals: {held:?}");
    // Each has one more if it happens to be renewed at both ends of the time.
    assert!(held.sent <= held.renewals + thousand::LOCKS + 1, "{held:?}");
    assert!(held.grown < MEMORY_MAX, "{held:?}");
}
