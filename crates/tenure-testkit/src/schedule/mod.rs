//! Schedules: the same faults as in [`sim`](crate::sim), under a program that is really async.
//!
//! ```text
//!  seed ─> plan ─> World: agenda, network, stores, sessions ─> answers wake the program's futures
//!                    └── judges look at what the program holds, whenever it has come to rest
//! ```
//!
//! Owns true time, the network and the stores' side; a [`Remote`](store) is one process's handle on
//! it. Knows nothing of the program: whoever runs it moves time ([`step`]), lets the processes run
//! that [`is_woken`], and tells what each holds ([`look`]). A world is one thread's, so that one
//! seed gives one order of everything.

#[cfg(feature = "kube")]
mod cluster;
mod format;
mod judge;
mod net;
#[cfg(feature = "kube")]
mod outsiders;
mod server;
mod store;
mod world;

use std::cell::RefCell;
use std::sync::Arc;

use tenure_core::{Timing, Token};
use tenure_store::Store;

#[cfg(feature = "kube")]
pub use cluster::client;
pub use format::Format;
pub use judge::Holding;
pub use world::Notice;

use crate::sim::{Broken, StoreKind, Telling};
use store::Remote;
use world::World;

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// What a seed has drawn for the program.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The kind of store.
    pub store: StoreKind,
    /// How the lock is kept, where there is an API server.
    pub format: Option<Format>,
    /// The lock's name.
    pub lock: &'static str,
    /// How many processes there are.
    pub processes: usize,
    /// The timing that is asked for, of every lock.
    pub timing: Timing,
    /// How far the clock of each process goes in a second, in microseconds.
    pub rates: Vec<u64>,
    /// Mean time of a hold and between two, and between the actions under one, in nanoseconds.
    pub hold: u64,
    /// See there.
    pub rest: u64,
    /// See there.
    pub act: u64,
    /// When the faults stop, and when the run ends, in nanoseconds of true time.
    pub storm: u64,
    /// See there.
    pub end: u64,
    /// Whether nobody wants anything new once the faults have stopped: what is left is seen then.
    pub quiet: bool,
    /// Whether holds may leave a remainder.
    pub detach: bool,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The kind of store.
    pub store: StoreKind,
    /// How the lock was kept, where there was an API server.
    pub format: Option<Format>,
    /// The hash of everything that happened, in order.
    pub hash: u64,
    /// Nanoseconds of true time.
    pub time: u64,
    /// Requests that were made.
    pub requests: u64,
    /// Holds that began.
    pub holds: u64,
    /// How often a future of the program was polled.
    pub polls: u64,
    /// The first promise that was broken.
    pub broken: Option<Broken>,
    /// What was kept of the trace.
    pub lines: Vec<String>,
}

/// Begins the world of this seed, in place of an earlier one.
#[must_use]
pub fn begin(seed: u64, telling: Telling) -> Setting {
    let world = World::new(seed, telling);
    let setting = world.setting();
    WORLD.set(Some(world));
    setting
}

/// Begins the world of this seed with an API server, which [`client`] speaks to, and a lock in the
/// format of this seed.
#[cfg(feature = "kube")]
#[must_use]
pub fn begin_with_cluster(seed: u64, telling: Telling) -> Setting {
    let world = World::with_cluster(seed, telling);
    let setting = world.setting();
    WORLD.set(Some(world));
    setting
}

/// Ends it.
#[must_use]
pub fn end(polls: u64) -> Option<Finished> {
    WORLD.take().map(|world| world.finished(polls))
}

/// A handle on the store for the process of this number, in this life of it.
#[must_use]
pub fn store(process: usize, life: u32) -> Arc<dyn Store> {
    Arc::new(Remote::new(process, life, with(|w| w.capabilities())))
}

/// When the next thing happens in the world.
#[must_use]
pub fn next_at() -> u64 {
    with(|w| w.next_at())
}

/// Lets everything happen that is due at `now`; what of it concerns whoever runs the program.
#[must_use]
pub fn step(now: u64) -> Vec<Notice> {
    with(|w| w.step(now))
}

/// Whether something woke a future of this process since the last call.
#[must_use]
pub fn is_woken(process: usize) -> bool {
    with(|w| std::mem::take(&mut w.sides[process].woken))
}

/// Until when the process stands still, in true time.
#[must_use]
pub fn frozen_until(process: usize) -> u64 {
    with(|w| w.sides[process].frozen_until)
}

/// The process ended without a word; its next life has begun.
pub fn reborn(process: usize) {
    with(|w| w.reborn(process));
}

/// A number below `n`, from the seed.
#[must_use]
pub fn below(n: u64) -> u64 {
    with(|w| w.dice.below(n))
}

/// Whether the faults have stopped.
#[must_use]
pub fn is_calm() -> bool {
    with(|w| w.calm)
}

/// Something that the program did, for the trace.
pub fn note(value: u64, line: impl FnOnce() -> String) {
    with(|w| {
        w.trace.mix(value);
        let now = w.now;
        w.trace.say(|| format!("{now:>15} {}", line()));
    });
}

/// Somebody looks on in this process, until this is dropped.
#[derive(Debug)]
pub struct Onlooker(usize);

impl Onlooker {
    /// Begins to look on.
    #[must_use]
    pub fn new(process: usize) -> Self {
        with(|w| w.sides[process].looks += 1);
        Self(process)
    }
}

impl Drop for Onlooker {
    fn drop(&mut self) {
        with_any(|w| {
            let looks = &mut w.sides[self.0].looks;
            *looks = looks.saturating_sub(1);
        });
    }
}

/// The process was told that it holds.
pub fn acquired(process: usize, token: u64) {
    with(|w| w.acquired(process, Token::new(token)));
}

/// The process was told that it lost its hold.
pub fn lost(process: usize, why: &str) {
    with(|w| w.lost(process, why));
}

/// The process sends what is guarded by a token; `number` names its hold.
pub fn guarded(process: usize, token: u64, number: u64) {
    with(|w| w.guarded(process, Token::new(token), number));
}

/// Work of the process goes on under a hold that it was given.
pub fn works(process: usize) {
    with(|w| w.works(process));
}

/// Judges what stands now that the program has come to rest: who holds what, and who waits.
pub fn look(holdings: &[Holding], wants: Option<u64>) {
    with(|w| w.look(holdings, wants));
}

/// Judges what is left in the record: `is_wanted` says of an identity whether anybody still wants
/// what stands there under it; if not, since when.
pub fn look_at_record(is_wanted: impl Fn(&str) -> Option<u64>) {
    with(|w| w.look_at_record(is_wanted));
}

/// A promise was broken, if `what` says so.
pub fn judged(rule: &'static str, what: Option<String>) {
    with(|w| w.judged(rule, what));
}

/// Whether a promise was broken.
#[must_use]
pub fn is_broken() -> bool {
    with(|w| w.broken.is_some())
}

/// The world of this thread.
///
/// # Panics
/// If there is none: [`begin`] comes first.
fn with<T>(act: impl FnOnce(&mut World) -> T) -> T {
    WORLD.with_borrow_mut(|world| act(world.as_mut().expect("a world has begun")))
}

/// The same for what may be dropped after the world.
fn with_any(act: impl FnOnce(&mut World)) {
    WORLD.with_borrow_mut(|world| world.as_mut().map(act));
}
