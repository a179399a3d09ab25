//! The store in memory keeps the contract, however it knows who lives.

use std::sync::Arc;

use tenure_core::Liveness;
use tenure_store::Memory;
use tenure_testkit::contract::{self, Subject};

fn check(liveness: Liveness) {
    contract::run(|| {
        let store = Memory::new(liveness);
        Subject::new(move || Arc::new(store.open()))
    });
}

#[test]
fn with_process_liveness() {
    check(Liveness::Process);
}

#[test]
fn with_server_liveness() {
    check(Liveness::Server);
}

#[test]
fn with_observed_liveness() {
    check(Liveness::Observed);
}
