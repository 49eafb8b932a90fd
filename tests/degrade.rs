//! A cache whose far tier is dead: in what order it makes do.

use std::future::IntoFuture;
use std::time::Duration;

use nanotier::testing::{Fake, Hands};
use nanotier::{
    Breaker, Cache, ErrorKind, Freshness, Health, Limits, Link, MemoryStore, ReadPolicy, Scope, Source,
    Store, Tier,
};

struct Setup {
    cache: Cache<String, u64>,
    /// The service far away.
    service: Fake,
    health: Health,
    hands: Hands,
}

/// Memory for `capacity` entries over a near store over a guarded service; fresh for 10 s, stale for 1000 s more.
fn setup(capacity: u64, link: Link) -> Setup {
    let service = Fake::shared_by(Scope::Fleet);
    let far = service.tier().guarded(Limits::new());
    let health = far.health();
    let cache = service
        .cache()
        .capacity(capacity)
        .ttl(Duration::from_secs(10))
        .stale_for(Duration::from_secs(1000))
        .tiers(MemoryStore::new().inline().over_with(far, link))
        .build()
        .unwrap();
    Setup { cache, hands: service.hands(), service, health }
}

impl Setup {
    /// Brings a call to its end whose tier does not answer: a second at most.
    fn past_deadlines<W: IntoFuture>(&self, call: W) -> W::Output {
        let before = self.service.clock().now();
        let output = self.service.drive(call);
        let passed = self.service.clock().now().since(before);
        assert!(passed <= Duration::from_secs(1), "a dead tier held up its caller for {passed:?}");
        output
    }
}

#[test]
fn a_dead_truth_leaves_the_stale_copy_then_the_loader_then_the_error() {
    let s = setup(0, Link::new());
    s.past_deadlines(s.cache.insert("k".to_owned(), 1)).unwrap();
    s.hands.advance(Duration::from_secs(11));
    s.service.faults().hang();

    let stale = s.past_deadlines(s.cache.get("k").detailed()).unwrap();
    assert_eq!((stale.value, stale.freshness), (Some(1), Freshness::Stale), "the near copy");
    let loaded = s.past_deadlines(s.cache.get_with("absent", || async { 7 })).unwrap();
    assert_eq!(loaded, 7, "the loader");
    let error = s.past_deadlines(s.cache.get("nowhere")).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unavailable), "nothing usable");
}

#[test]
fn memory_serves_what_it_has_when_no_tier_answers() {
    let s = setup(100, Link::new().read(ReadPolicy::Strict));
    s.past_deadlines(s.cache.insert("k".to_owned(), 1)).unwrap();
    s.service.faults().hang();
    let fresh = s.past_deadlines(s.cache.get("k").detailed()).unwrap();
    assert_eq!((fresh.value, fresh.source), (Some(1), Source::Memory));
    assert_eq!(s.health.state().breaker, Breaker::Closed, "a hit does not notice");
    s.hands.advance(Duration::from_secs(11));
    let stale = s.past_deadlines(s.cache.get("k").detailed()).unwrap();
    assert_eq!((stale.value, stale.freshness, stale.source), (Some(1), Freshness::Stale, Source::Memory));
}

#[test]
fn a_strict_link_sends_who_has_no_memory_of_it_to_the_loader() {
    let s = setup(0, Link::new().read(ReadPolicy::Strict));
    s.past_deadlines(s.cache.insert("k".to_owned(), 1)).unwrap();
    s.hands.advance(Duration::from_secs(11));
    s.service.faults().hang();
    assert!(s.past_deadlines(s.cache.get("k")).is_err());
    assert_eq!(s.past_deadlines(s.cache.get_with("k", || async { 2 })).unwrap(), 2);
}

#[test]
fn once_the_breaker_is_open_nobody_waits_and_a_healed_tier_is_back_within_a_second() {
    let s = setup(0, Link::new());
    s.service.faults().hang();
    for n in 0..5 {
        let loaded = s.past_deadlines(s.cache.get_with(&format!("k{n}"), || async { 7 }));
        assert_eq!(loaded.unwrap(), 7);
    }
    assert_eq!(s.health.state().breaker, Breaker::Open);
    s.service.reset();
    for n in 0..100 {
        let loaded = s.cache.get_with(&format!("other{n}"), || async { 7 }).wait();
        assert_eq!(loaded.unwrap(), 7, "without any wait");
    }
    assert_eq!(s.service.round_trips(), 0);
    // Down for long: the cool-down is at its longest.
    for n in 0..50 {
        let _ = s.past_deadlines(s.cache.get_with(&format!("later{n}"), || async { 7 }));
        s.hands.advance(Duration::from_millis(200));
    }
    s.service.faults().heal();
    s.hands.advance(Duration::from_millis(800));
    assert_eq!(s.cache.get_with("well", || async { 8 }).wait().unwrap(), 8);
    assert_eq!(s.health.state().breaker, Breaker::Closed);
}
