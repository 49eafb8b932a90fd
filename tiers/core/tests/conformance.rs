//! The tiers of this crate keep the contract.

use std::time::Duration;

use nanotier_tier::conformance::{SharedSim, SimOptions, Subject, run_all};
use nanotier_tier::{AnyTier, Clock, Hands, Inline, MemoryStore, NullStore, Offload, Tier, chain};

fn by_hand<T: Tier>(fresh: impl Fn(&Clock) -> T + Send + Sync + 'static) -> Subject<T> {
    let (clock, hands): (Clock, Hands) = Clock::manual();
    let own = clock.clone();
    Subject::new(clock, move || fresh(&own)).with_hands(hands)
}

#[test]
fn a_memory_store_on_the_callers_thread() {
    let report = run_all(&by_hand(|_| Inline(MemoryStore::new())));
    // It keeps nothing when it is closed, but until then what it is given. All else is checked.
    assert_eq!(report.skipped.len(), 2, "{:?}", report.skipped);
}

#[test]
fn a_memory_store_on_threads_of_its_own() {
    run_all(&by_hand(|_| Offload::new(MemoryStore::new(), 2, 1024).unwrap()));
}

#[test]
fn a_memory_store_in_real_time() {
    run_all(&Subject::new(Clock::ticking(), || Inline(MemoryStore::new())));
}

#[test]
fn a_chain_of_two() {
    run_all(&by_hand(|_| Inline(MemoryStore::new()).over(Inline(MemoryStore::new()))));
}

#[test]
fn a_chain_of_three_that_were_chosen_at_run_time() {
    run_all(&by_hand(|clock| {
        let sim = SharedSim::new(SimOptions::default());
        let tiers: [AnyTier; 3] = [
            Inline(MemoryStore::new()).erase(),
            Offload::new(MemoryStore::new(), 2, 1024).unwrap().erase(),
            sim.handle(clock.clone()).erase(),
        ];
        chain(tiers).unwrap()
    }));
}

fn simulated(options: impl Fn(&Clock) -> SimOptions + Send + Sync + 'static, duplicates: bool) {
    let report = run_all(&by_hand(move |clock| {
        let sim = SharedSim::new(options(clock));
        sim.duplicate_writes(duplicates);
        sim.handle(clock.clone())
    }));
    assert_eq!(report.skipped.len(), 2, "{:?}", report.skipped);
}

#[test]
fn a_simulated_service_that_goes_by_its_clients_clocks() {
    simulated(|_| SimOptions::default(), false);
}

#[test]
fn a_simulated_service_with_a_clock_of_its_own_that_expires_by_itself() {
    let options = |clock: &Clock| SimOptions {
        server_clock: Some(clock.clone()),
        native_expiry: true,
        horizon: Duration::from_secs(600),
        ..SimOptions::default()
    };
    simulated(options, false);
}

#[test]
fn a_simulated_service_that_hands_out_leases() {
    simulated(|_| SimOptions { may_evict_tombstones: true, ..SimOptions::default() }, false);
}

#[test]
fn a_simulated_service_that_gets_every_write_twice() {
    simulated(|_| SimOptions::default(), true);
    simulated(|_| SimOptions { may_evict_tombstones: true, ..SimOptions::default() }, true);
}

#[test]
fn the_null_store_keeps_nothing_and_says_yes() {
    let report = run_all(&by_hand(|_| Inline(NullStore::new())).keeping_nothing());
    assert!(report.kept.contains(&"what_keeps_nothing_says_yes"), "{report:?}");
}
