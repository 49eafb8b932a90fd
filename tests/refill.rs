//! Refill: memory filled from a tier that lists, in bounds, while others read and write.

use std::sync::Arc;
use std::time::Duration;

use nanotier::tier::waiting::block_on;
use nanotier::tier::{
    Capabilities, Cleared, Context, Found, Intent, Namespace, Page, PageRequest, Path, Spawn, Store, Task,
    Write, Wrote,
};
use nanotier::{
    Cache, Clock, ErrorKind, Inline, Json, Key, MemoryStore, NullStore, RefillEnd, RefillLimit, Refilled,
    Result, Source, Tier,
};
use parking_lot::Mutex;

mod common;
use common::pending_once;

type Numbers = Cache<u32, u32>;

fn over(tier: impl Tier, clock: &Clock, capacity: u64) -> Numbers {
    let builder = Cache::builder().clock(clock.clone()).namespace("numbers").codec(Json::default());
    builder.tiers(tier).capacity(capacity).build().unwrap()
}

fn filled(count: u32, clock: &Clock) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new());
    let cache = over(Inline(store.clone()), clock, 0);
    cache.insert_many((0..count).map(|n| (n, n))).wait().unwrap();
    store
}

fn counts(refilled: &Refilled) -> (u64, u64, u64, u64) {
    (refilled.listed, refilled.admitted, refilled.resident, refilled.passed_over)
}

#[test]
fn all_that_is_usable_comes_into_memory_in_the_order_of_keys() {
    let (clock, hands) = Clock::manual();
    let store = filled(1200, &clock);
    let writer = over(Inline(store.clone()), &clock, 0);
    writer.insert_for(3, 3, Duration::from_secs(1)).wait().unwrap();
    writer.remove(&4).wait().unwrap();
    hands.advance(Duration::from_secs(2));

    let cache = over(Inline(store.clone()), &clock, 10_000);
    let refilled = cache.refill(RefillLimit::NONE).wait().unwrap();
    assert_eq!((counts(&refilled), refilled.end.clone()), ((1198, 1198, 0, 0), Some(RefillEnd::Complete)));
    let detailed = cache.get(&1199).detailed().wait().unwrap();
    assert_eq!((detailed.value, detailed.source), (Some(1199), Source::Memory));
    assert_eq!((cache.resident(&3), cache.resident(&4)), (None, None));
    let again = cache.refill(RefillLimit::NONE).wait().unwrap();
    assert_eq!(counts(&again), (1198, 0, 1198, 0), "what is there is left alone");

    let part = over(Inline(store), &clock, 10_000);
    let refilled = part.refill(RefillLimit::NONE.entries(700)).wait().unwrap();
    assert_eq!((refilled.admitted, refilled.end.clone()), (700, Some(RefillEnd::Full)));
    assert!(part.resident(&10).is_some() && part.resident(&1000).is_none());
}

#[test]
fn nothing_leaves_memory_for_what_comes() {
    let (clock, _hands) = Clock::manual();
    let cache = over(Inline(filled(1000, &clock)), &clock, 100);
    (900..950).for_each(|n| _ = cache.get(&n).wait().unwrap());
    let refilled = cache.refill(RefillLimit::NONE).wait().unwrap();
    assert_eq!((refilled.admitted, refilled.end), (50, Some(RefillEnd::Full)));
    assert_eq!(cache.len(), 100);
    assert!((900..950).all(|n| cache.resident(&n).is_some()));
}

type Doing = Box<dyn Fn() + Send + Sync>;

/// A store whose reads do something first, and whose reads take time.
struct Between {
    store: Arc<MemoryStore>,
    read: Doing,
    /// After the store was read and before the answer is given.
    answered: Doing,
}

impl Tier for Between {
    fn name(&self) -> &'static str {
        "between"
    }
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
    fn attach(&self, context: &Context) {
        self.store.attach(context);
    }
    async fn read(&self, paths: &[Path<'_>], intent: Intent) -> Result<Vec<Result<Found>>> {
        (self.read)();
        let found = self.store.read(paths, intent);
        pending_once().await;
        (self.answered)();
        found
    }
    async fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
        self.store.write(writes)
    }
    async fn clear(&self, cleared: &Cleared<'_>) -> Result<Wrote> {
        self.store.clear(cleared)
    }
    async fn list(&self, namespace: &Namespace, page: &PageRequest) -> Result<Page> {
        self.store.list(namespace, page)
    }
}

#[test]
fn a_write_that_comes_between_reading_and_admitting_wins() {
    let (clock, _hands) = Clock::manual();
    let store = filled(10, &clock);
    let slot: Arc<Mutex<Option<Numbers>>> = Arc::default();
    let writes = slot.clone();
    let answered = move || {
        // Once: what is written here has been read already.
        let Some(cache) = writes.lock().take() else { return };
        cache.remove(&1).wait().unwrap();
        cache.insert(2, 22).wait().unwrap();
    };
    let tier = Between { store, read: Box::new(|| ()), answered: Box::new(answered) };
    let cache = over(tier, &clock, 100);
    *slot.lock() = Some(cache.clone());
    let refilled = cache.refill(RefillLimit::NONE).wait().unwrap();
    assert_eq!(cache.resident(&1), None, "what was removed is not brought back");
    assert_eq!(cache.resident(&2).map(|(value, _)| value), Some(22));
    assert_eq!(refilled.listed, 10);
    assert!(refilled.passed_over >= 1);

    // And clearing.
    let store = filled(10, &clock);
    let slot: Arc<Mutex<Option<Numbers>>> = Arc::default();
    let clears = slot.clone();
    let answered = move || {
        if let Some(cache) = clears.lock().take() {
            cache.clear().wait().unwrap();
        }
    };
    let tier = Between { store, read: Box::new(|| ()), answered: Box::new(answered) };
    let cache = over(tier, &clock, 100);
    *slot.lock() = Some(cache.clone());
    cache.refill(RefillLimit::NONE).wait().unwrap();
    assert!(cache.is_empty(), "what was cleared is not brought back");
}

#[test]
fn it_ends_when_its_time_is_up() {
    let (clock, hands) = Clock::manual();
    let store = filled(3000, &clock);
    let tier = Between {
        store,
        read: Box::new(move || hands.advance(Duration::from_millis(10))),
        answered: Box::new(|| ()),
    };
    let cache = over(tier, &clock, 10_000);
    let limit = RefillLimit::NONE.time(Duration::from_millis(15));
    let refilled = cache.refill(limit).wait().unwrap();
    assert_eq!((refilled.admitted, refilled.end), (1000, Some(RefillEnd::OutOfTime)));
}

#[test]
fn it_runs_behind_tells_how_far_it_is_and_keeps_no_cache_alive() {
    let (clock, _hands) = Clock::manual();
    let store = filled(2000, &clock);
    let cache = over(Inline(store.clone()), &clock, 10_000);
    let refill = cache.refill_behind(RefillLimit::NONE);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !refill.is_done() && std::time::Instant::now() < deadline {
        assert!(cache.get(&1).wait().unwrap().is_some(), "readers go on");
        std::thread::yield_now();
    }
    assert_eq!(refill.progress().end, Some(RefillEnd::Complete));
    assert_eq!(cache.len(), 2000);

    // Held up in its first page until the cache has gone.
    let (go, may_go) = std::sync::mpsc::channel::<()>();
    let may_go = Mutex::new(may_go);
    let tier = Between {
        store,
        read: Box::new(move || _ = may_go.lock().recv_timeout(Duration::from_secs(10))),
        answered: Box::new(|| ()),
    };
    let cache = over(tier, &clock, 10_000);
    let refill = cache.refill_behind(RefillLimit::NONE);
    drop(cache);
    drop(go);
    while !refill.is_done() && std::time::Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(refill.progress().end, Some(RefillEnd::Stopped));
}

#[test]
fn a_stopped_one_stops_and_a_dropped_one_does_nothing_more() {
    let (clock, _hands) = Clock::manual();
    let cache = over(Inline(filled(2000, &clock)), &clock, 10_000);
    let mut lookup = Box::pin(cache.refill(RefillLimit::NONE));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(lookup.as_mut().poll(&mut context).is_pending(), "others have the thread between pages");
    let so_far = cache.len();
    assert_eq!(so_far, 500);
    drop(lookup);
    assert_eq!(cache.len(), so_far);
    let refill = cache.refill_behind(RefillLimit::NONE);
    refill.stop();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !refill.is_done() && std::time::Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert!(matches!(refill.progress().end, Some(RefillEnd::Stopped | RefillEnd::Complete)));
}

#[test]
fn one_whose_executor_drops_it_is_done_and_says_that_it_was_stopped() {
    struct Drops;
    impl Spawn for Drops {
        fn spawn(&self, task: Task) -> Result<(), Task> {
            drop(task);
            Ok(())
        }
    }
    let (clock, _hands) = Clock::manual();
    let builder = Cache::<u32, u32>::builder().clock(clock.clone()).namespace("numbers").spawner(Drops);
    let cache = builder.codec(Json::default()).tiers(Inline(filled(10, &clock))).build().unwrap();
    let refill = cache.refill_behind(RefillLimit::NONE);
    assert_eq!((refill.is_done(), refill.progress().end), (true, Some(RefillEnd::Stopped)));
}

#[test]
fn where_it_cannot_work_it_says_why() {
    #[derive(Clone, PartialEq, Eq, Hash)]
    struct OneWay(u8);
    impl Key for OneWay {
        fn write_part(&self, out: &mut Vec<u8>) {
            self.0.write_part(out);
        }
    }
    let (clock, _hands) = Clock::manual();
    let error = Numbers::new(10).refill(RefillLimit::NONE).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let one_way = Cache::<OneWay, u8>::builder().namespace("n").codec(Json::default());
    let one_way = one_way.tiers(Inline(MemoryStore::new())).build().unwrap();
    let error = block_on(one_way.refill(RefillLimit::NONE)).unwrap_err();
    assert!(error.to_string().contains("derive `Key`"), "{error}");
    let refill = over(Inline(NullStore::default()), &clock, 10).refill(RefillLimit::NONE).wait();
    assert!(refill.is_ok_and(|refilled| refilled.listed == 0) || !NullStore::default().capabilities().lists);
}
