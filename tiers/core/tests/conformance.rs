//! The tiers of this crate keep the contract.

use std::time::Duration;

use nanotier_tier::behind::MemoryLog;
use nanotier_tier::conformance::{SharedSim, SimOptions, Subject, run_all};
use nanotier_tier::{
    AnyTier, Clock, Hands, Inline, Limits, Link, MemoryStore, NullStore, Offload, Promote, ReadPolicy, Store,
    Tier, WriteBehind, WritePolicy, chain,
};

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

#[test]
fn a_guarded_store() {
    let report = run_all(&by_hand(|_| MemoryStore::new().inline().guarded(Limits::new())));
    assert_eq!(report.skipped.len(), 2, "{:?}", report.skipped);
    // Without hands: whoever is late on a busy machine must be given time.
    let limits = || Limits::new().deadline(Duration::from_secs(10)).in_flight_max(2);
    run_all(&by_hand(move |_| Offload::new(MemoryStore::new(), 2, 1024).unwrap().guarded(limits())));
}

#[test]
fn a_chain_of_guarded_tiers() {
    let tier = || MemoryStore::new().inline().guarded(Limits::new());
    run_all(&by_hand(move |_| tier().over(tier())));
}

#[test]
fn a_chain_with_each_policy_of_its_link() {
    let links = [
        Link::new().write(WritePolicy::Around),
        Link::new().promote(Promote::OnSecondHit),
        Link::new().promote(Promote::Never),
        Link::new().read(ReadPolicy::Strict),
        // Copies come of promotions alone here, and the kit makes none: what it reads has its own deadlines.
        Link::new().copies_at_most(Duration::from_secs(1)).write(WritePolicy::Around),
    ];
    for link in links {
        let tier = || MemoryStore::new().inline();
        let report = run_all(&by_hand(move |_| tier().over_with(tier(), link.clone())));
        assert_eq!(report.skipped.len(), 2, "{:?}", report.skipped);
    }
}

/// At once, after a while, and one by one.
fn queues() -> [WriteBehind; 3] {
    let queue =
        || WriteBehind::new().wait(Duration::from_secs(3600)).drain_deadline(Duration::from_secs(3600));
    [queue().delay(Duration::ZERO), queue(), queue().delay(Duration::ZERO).batch_max(2).entries_max(20)]
}

#[test]
fn a_store_behind_a_queue() {
    for queue in queues() {
        let report = run_all(&by_hand(move |_| MemoryStore::new().inline().behind(queue.clone())));
        assert_eq!(report.skipped.len(), 2, "{:?}", report.skipped);
    }
}

#[test]
fn a_store_behind_a_queue_with_a_log() {
    for queue in queues() {
        let fresh = move |_: &Clock| {
            MemoryStore::new().inline().behind_logged(queue.clone(), MemoryLog::new()).unwrap()
        };
        let report = run_all(&by_hand(fresh));
        assert_eq!(report.skipped.len(), 2, "{:?}", report.skipped);
    }
}

#[test]
fn a_service_behind_a_queue_and_a_near_copy_before_it() {
    for queue in queues().into_iter().take(2) {
        let fresh = move |clock: &Clock| {
            let sim = SharedSim::new(SimOptions::default());
            MemoryStore::new().inline().over(sim.handle(clock.clone()).behind(queue.clone()))
        };
        let report = run_all(&by_hand(fresh));
        assert_eq!(report.skipped.len(), 2, "{:?}", report.skipped);
    }
}

#[test]
fn a_guarded_service_behind_a_queue_behind_a_guard() {
    let queue = WriteBehind::new().delay(Duration::ZERO);
    let fresh = move |_: &Clock| {
        let far = Offload::new(MemoryStore::new(), 2, 1024).unwrap().guarded(Limits::new());
        far.behind(queue.clone()).guarded(Limits::new())
    };
    run_all(&by_hand(fresh));
}
