//! The tiers of this crate keep the contract.

use std::time::Duration;

use nanotier_tier::conformance::{SharedSim, SimOptions, Subject, run_all};
use nanotier_tier::waiting::block_on;
use nanotier_tier::{
    AnyTier, Bytes, Change, Cleared, Clock, Encoded, Entry, Expect, Fingerprint, Hands, Inline, Intent,
    MemoryStore, Namespace, NullStore, Offload, Page, PageRequest, Path, Record, Renewal, Tier, Timestamp,
    Update, Updated, Version, Write, Wrote, chain,
};

fn by_hand<T: Tier>(fresh: impl Fn(&Clock) -> T + Send + Sync + 'static) -> Subject<T> {
    let (clock, hands): (Clock, Hands) = Clock::manual();
    let own = clock.clone();
    Subject::new(clock, move || fresh(&own)).with_hands(hands)
}

#[test]
fn a_memory_store_on_the_callers_thread() {
    let report = run_all(&by_hand(|_| Inline(MemoryStore::new())));
    // It keeps nothing when it is closed, and says so. All else is checked.
    assert_eq!(report.skipped.len(), 1, "{:?}", report.skipped);
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
    assert_eq!(report.skipped.len(), 1, "{:?}", report.skipped);
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
    let tier = Inline(NullStore::new());
    let namespace = Namespace::new("null").unwrap();
    let path = Path::new(&namespace, &b"k"[..]);
    let now = Timestamp::from_millis(1_000);
    let version = Version::from_parts(7, 1);
    let value = Encoded::new(Bytes::from_static(b"value"), Fingerprint(1));
    let record = Record { version, ..Record::new(value, now) };
    let update = |change| {
        let update = Update { path: path.borrowed(), change, version, as_of: now };
        block_on(tier.update(&update)).unwrap()
    };

    for _ in 0..2 {
        assert_eq!(block_on(tier.write_one(&Write::put(path.borrowed(), &record))).unwrap(), Wrote::Done);
        assert_eq!(block_on(tier.read_one(&path, Intent::Load)).unwrap().entry, Entry::Absent);
        assert_eq!(update(Change::Add(record.clone())), Updated::Done(version), "for everybody");
        let increment = Change::Increment { by: 3, lifetime: Renewal::Fixed(None) };
        assert!(matches!(update(increment), Updated::Counted { value: 0, .. }));
        let replace = Change::Replace { record: record.clone(), expect: Expect::Version(version) };
        assert_eq!(update(replace), Updated::Done(version));
        assert_eq!(update(Change::Take), Updated::Taken(None));
        assert_eq!(update(Change::RemoveIf(Expect::Version(version))), Updated::Refused);
        assert!(matches!(update(Change::Now), Updated::Now(_)));
        let cleared = Cleared { namespace: &namespace, version, as_of: now };
        assert_eq!(block_on(tier.clear(&cleared)).unwrap(), Wrote::Done);
        assert_eq!(block_on(tier.list(&namespace, &PageRequest::default())).unwrap(), Page::default());
        block_on(tier.ready()).unwrap();
    }
}
