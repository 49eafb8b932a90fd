//! One load per key, owned by the cache: what happens at its edges.

use parking_lot::Mutex;
use std::cell::RefCell;
use std::hash::{Hash, Hasher};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use nanotier::testing::Tasks;
use nanotier::{Cache, Clock, Inline, Json, MemoryStore};

/// Far longer than anything here takes; a hang is told from a slow machine.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn lookups_made_before_either_is_waited_for_load_once() {
    let cache: Cache<u32, usize> = Cache::new(10);
    let loads = Arc::new(AtomicUsize::new(0));
    let ask = || {
        let loads = loads.clone();
        cache.get_with(&1, async move || loads.fetch_add(1, SeqCst))
    };
    let (first, second) = (ask(), ask());
    assert_eq!((first.wait().unwrap(), second.wait().unwrap()), (0, 0));
    assert_eq!(loads.load(SeqCst), 1);
}

#[test]
fn threads_that_race_for_a_load_of_no_time_load_once() {
    for round in 0..300 {
        let cache: Cache<u32, u32> = Cache::new(10);
        let loads = Arc::new(AtomicUsize::new(0));
        let gate = Arc::new(std::sync::Barrier::new(4));
        let ask = || {
            let (cache, loads, gate) = (cache.clone(), loads.clone(), gate.clone());
            std::thread::spawn(move || {
                gate.wait();
                let load = move || {
                    loads.fetch_add(1, SeqCst);
                    7
                };
                cache.get_with_blocking(&1, load).wait().unwrap()
            })
        };
        let askers: Vec<_> = (0..4).map(|_| ask()).collect();
        assert!(askers.into_iter().all(|asker| asker.join().unwrap() == 7));
        assert_eq!(loads.load(SeqCst), 1, "in round {round}");
    }
}

/// Panics at one of its clones.
struct Touchy(Arc<AtomicUsize>);

impl Clone for Touchy {
    fn clone(&self) -> Self {
        assert!(self.0.fetch_sub(1, SeqCst) != 1, "a planted panic");
        Self(self.0.clone())
    }
}

#[test]
fn a_clone_that_panics_keeps_nobody_else_waiting() {
    for at in 1..6 {
        let cache: Cache<u32, Touchy> = Cache::new(10);
        let (begun, wait_until_begun) = mpsc::channel();
        let (go, wait_to_go) = mpsc::channel::<()>();
        let clones = Arc::new(AtomicUsize::new(at));
        let leader = std::thread::spawn({
            let cache = cache.clone();
            let wait_to_go = Mutex::new(wait_to_go);
            let load = move || {
                begun.send(()).unwrap();
                wait_to_go.lock().recv().unwrap();
                Touchy(clones)
            };
            move || cache.get_with_blocking(&1, load).wait().is_ok()
        });
        wait_until_begun.recv().unwrap();
        let (done, told) = mpsc::channel();
        let mut follower = Box::pin(cache.get_with_blocking(&1, || unreachable!("it is being loaded")));
        let polled = follower.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
        std::thread::spawn(move || {
            let wait = move || nanotier::tier::waiting::block_on(follower).is_ok();
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(wait));
            done.send(()).unwrap();
        });
        go.send(()).unwrap();
        let _ = leader.join();
        told.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("the follower hangs when clone {at} panics"));
    }
}

std::thread_local! {
    static WHEN_HASHED: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

/// Lets a test in between the steps of a write: at its first hash on this thread.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Key(u32);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        if let Some(act) = WHEN_HASHED.with(|act| act.borrow_mut().take()) {
            act();
        }
        self.0.hash(state);
    }
}

#[test]
fn a_load_that_begins_within_an_insert_does_not_overwrite_it() {
    let cache: Cache<Key, &'static str> = Cache::new(10);
    let (go, wait_to_go) = mpsc::channel::<()>();
    let (begun, wait_until_begun) = mpsc::channel();
    let loader = Arc::new(Mutex::new(None));
    let (started, loading) = (loader.clone(), cache.clone());
    let start = move || {
        let load = move || {
            begun.send(()).unwrap();
            wait_to_go.recv().unwrap();
            "old"
        };
        let ask = move || loading.get_with_blocking(&Key(1), load).wait().unwrap();
        *started.lock() = Some(std::thread::spawn(ask));
        wait_until_begun.recv().unwrap();
    };
    WHEN_HASHED.with(|act| *act.borrow_mut() = Some(Box::new(start)));
    cache.insert(Key(1), "new").wait().unwrap();
    assert_eq!(cache.get(&Key(1)).wait().unwrap(), Some("new"));
    go.send(()).unwrap();
    loader.lock().take().unwrap().join().unwrap();
    assert_eq!(cache.get(&Key(1)).wait().unwrap(), Some("new"), "the insert had returned");
}

#[test]
fn stale_hits_start_one_look_however_late_it_runs() {
    let (clock, hands) = Clock::manual();
    let tasks = Tasks::new();
    let cache: Cache<u32, u32> = Cache::builder()
        .clock(clock)
        .ttl(Duration::from_secs(1))
        .stale_for(Duration::from_secs(100))
        .spawner(tasks.clone())
        .namespace("test")
        .tiers(Inline(MemoryStore::new()))
        .codec(Json::default())
        .build()
        .unwrap();
    cache.insert(1, 1).wait().unwrap();
    hands.advance(Duration::from_secs(2));
    (0..100).for_each(|_| assert_eq!(cache.get(&1).wait().unwrap(), Some(1)));
    assert_eq!(tasks.len(), 1);
    assert_eq!(tasks.run(), 1);
}

struct Bag(#[expect(dead_code, reason = "kept to be dropped")] Mutex<Option<Box<dyn std::any::Any + Send>>>);

impl Wake for Bag {
    fn wake(self: Arc<Self>) {}
}

#[test]
fn a_waker_may_own_another_waiter_of_the_same_flight() {
    let (done, told) = mpsc::channel();
    std::thread::spawn(move || {
        let cache: Cache<u32, u32> = Cache::new(10);
        let may_end = Arc::new(AtomicUsize::new(0));
        let load = || {
            let may_end = may_end.clone();
            move || {
                std::future::poll_fn(move |_| match may_end.load(SeqCst) {
                    0 => std::task::Poll::Pending,
                    _ => std::task::Poll::Ready(1),
                })
            }
        };
        let mut first = pin!(cache.get_with(&1, load()));
        let mut second = Box::pin(cache.get_with(&1, load()));
        assert!(second.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let waker = Waker::from(Arc::new(Bag(Mutex::new(Some(Box::new(second))))));
        assert!(first.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        assert!(first.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        may_end.store(1, SeqCst);
        assert!(first.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
        done.send(()).unwrap();
    });
    told.recv_timeout(PATIENCE).expect("a waker was dropped under the flight's lock");
}

#[test]
fn a_load_left_for_good_by_its_wakers_is_kept_and_not_polled_over_and_over() {
    let cache: Cache<u32, u32> = Cache::new(10);
    let (polls, may_end) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, end) = (polls.clone(), may_end.clone());
    let load = std::future::poll_fn(move |_| {
        counted.fetch_add(1, SeqCst);
        if end.load(SeqCst) == 0 { std::task::Poll::Pending } else { std::task::Poll::Ready(4) }
    });
    let mut left = Box::pin(cache.get_with(&1, || load));
    assert!(left.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(left);
    std::thread::sleep(Duration::from_millis(50));
    assert!(polls.load(SeqCst) <= 2, "once by its caller and once behind, not {}", polls.load(SeqCst));
    // Whoever comes drives it on.
    may_end.store(1, SeqCst);
    assert_eq!(cache.get_with(&1, async || unreachable!("it is being loaded")).wait().unwrap(), 4);
}

#[cfg(feature = "tokio")]
#[test]
fn a_plain_thread_may_drive_a_load_that_began_in_a_runtime() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let cache: Cache<u32, u32> = Cache::new(10);
    let (begun, wait_until_begun) = mpsc::channel();
    let task = runtime.spawn({
        let cache = cache.clone();
        async move {
            let load = async move || {
                begun.send(()).unwrap();
                for _ in 0..20 {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                5
            };
            cache.get_with(&1, load).await
        }
    });
    wait_until_begun.recv().unwrap();
    assert_eq!(cache.get_with(&1, async || 6).wait().unwrap(), 5);
    assert_eq!(runtime.block_on(task).unwrap().unwrap(), 5);
}
