//! A cache whose far tier is dead: in what order it makes do.

mod common;

use std::future::{Future, pending};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use nanotier::tier::{Cleared, Context, Found, Intent, Path, Write, Wrote};
use nanotier::{
    Breaker, Cache, Capabilities, Clock, ErrorKind, Freshness, Hands, Health, Json, Limits, Link,
    MemoryStore, ReadPolicy, Result, Scope, Source, Store, Tier,
};

/// A service that can stop answering.
#[derive(Clone)]
struct Service {
    store: Arc<MemoryStore>,
    hangs: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
}

impl Service {
    fn new() -> Self {
        Self { store: Arc::default(), hangs: Arc::default(), calls: Arc::default() }
    }

    async fn answer(&self) {
        self.calls.fetch_add(1, SeqCst);
        if self.hangs.load(SeqCst) {
            pending::<()>().await;
        }
    }
}

impl Tier for Service {
    fn name(&self) -> &'static str {
        "service"
    }
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.store.capabilities();
        capabilities.scope = Scope::Fleet;
        capabilities
    }
    fn attach(&self, context: &Context) {
        Store::attach(&*self.store, context);
    }
    async fn read(&self, paths: &[Path<'_>], intent: Intent) -> Result<Vec<Result<Found>>> {
        self.answer().await;
        self.store.read(paths, intent)
    }
    async fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
        self.answer().await;
        self.store.write(writes)
    }
    async fn clear(&self, cleared: &Cleared<'_>) -> Result<Wrote> {
        self.answer().await;
        self.store.clear(cleared)
    }
}

struct Setup {
    cache: Cache<String, u64>,
    service: Service,
    health: Health,
    hands: Hands,
}

/// Memory for `capacity` entries over a near store over a guarded service; fresh for 10 s, stale for 1000 s more.
fn setup(capacity: u64, link: Link) -> Setup {
    let (clock, hands) = Clock::manual();
    let service = Service::new();
    let far = service.clone().guarded(Limits::new());
    let health = far.health();
    let cache = Cache::builder()
        .capacity(capacity)
        .clock(clock)
        .ttl(Duration::from_secs(10))
        .stale_for(Duration::from_secs(1000))
        .namespace("test")
        .tiers(MemoryStore::new().inline().over_with(far, link))
        .codec(Json::default())
        .build()
        .unwrap();
    Setup { cache, service, health, hands }
}

/// Drives a call whose tier does not answer: its deadline passes by hand.
fn past_deadlines<F: Future>(hands: &Hands, call: F) -> F::Output {
    let mut call = std::pin::pin!(call);
    for _ in 0..20 {
        if let Poll::Ready(output) = call.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())) {
            return output;
        }
        hands.advance(Duration::from_millis(50));
    }
    panic!("a dead tier held up its caller for a second");
}

#[test]
fn a_dead_truth_leaves_the_stale_copy_then_the_loader_then_the_error() {
    let s = setup(0, Link::new());
    past_deadlines(&s.hands, s.cache.insert("k".to_owned(), 1)).unwrap();
    s.hands.advance(Duration::from_secs(11));
    s.service.hangs.store(true, SeqCst);

    let stale = past_deadlines(&s.hands, s.cache.get("k").detailed()).unwrap();
    assert_eq!((stale.value, stale.freshness), (Some(1), Freshness::Stale), "the near copy");
    let loaded = past_deadlines(&s.hands, s.cache.get_with("absent", || async { 7 })).unwrap();
    assert_eq!(loaded, 7, "the loader");
    let error = past_deadlines(&s.hands, s.cache.get("nowhere")).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unavailable), "nothing usable");
}

#[test]
fn memory_serves_what_it_has_when_no_tier_answers() {
    let s = setup(100, Link::new().read(ReadPolicy::Strict));
    past_deadlines(&s.hands, s.cache.insert("k".to_owned(), 1)).unwrap();
    s.service.hangs.store(true, SeqCst);
    let fresh = past_deadlines(&s.hands, s.cache.get("k").detailed()).unwrap();
    assert_eq!((fresh.value, fresh.source), (Some(1), Source::Memory));
    assert_eq!(s.health.state().breaker, Breaker::Closed, "a hit does not notice");
    s.hands.advance(Duration::from_secs(11));
    let stale = past_deadlines(&s.hands, s.cache.get("k").detailed()).unwrap();
    assert_eq!((stale.value, stale.freshness, stale.source), (Some(1), Freshness::Stale, Source::Memory));
}

#[test]
fn a_strict_link_sends_who_has_no_memory_of_it_to_the_loader() {
    let s = setup(0, Link::new().read(ReadPolicy::Strict));
    past_deadlines(&s.hands, s.cache.insert("k".to_owned(), 1)).unwrap();
    s.hands.advance(Duration::from_secs(11));
    s.service.hangs.store(true, SeqCst);
    assert!(past_deadlines(&s.hands, s.cache.get("k")).is_err());
    assert_eq!(past_deadlines(&s.hands, s.cache.get_with("k", || async { 2 })).unwrap(), 2);
}

#[test]
fn once_the_breaker_is_open_nobody_waits_and_a_healed_tier_is_back_within_a_second() {
    let s = setup(0, Link::new());
    s.service.hangs.store(true, SeqCst);
    for n in 0..5 {
        let loaded = past_deadlines(&s.hands, s.cache.get_with(&format!("k{n}"), || async { 7 }));
        assert_eq!(loaded.unwrap(), 7);
    }
    assert_eq!(s.health.state().breaker, Breaker::Open);
    s.service.calls.store(0, SeqCst);
    for n in 0..100 {
        let loaded = s.cache.get_with(&format!("other{n}"), || async { 7 }).wait();
        assert_eq!(loaded.unwrap(), 7, "without any wait");
    }
    assert_eq!(s.service.calls.load(SeqCst), 0);
    // Down for long: the cool-down is at its longest.
    for n in 0..50 {
        let _ = past_deadlines(&s.hands, s.cache.get_with(&format!("later{n}"), || async { 7 }));
        s.hands.advance(Duration::from_millis(200));
    }
    s.service.hangs.store(false, SeqCst);
    s.hands.advance(Duration::from_millis(800));
    assert_eq!(s.cache.get_with("well", || async { 8 }).wait().unwrap(), 8);
    assert_eq!(s.health.state().breaker, Breaker::Closed);
}
