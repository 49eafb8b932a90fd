//! A store on threads of its own.

mod common;

use parking_lot::Mutex;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use common::World;
use nanotier_tier::waiting::block_on;
use nanotier_tier::{
    Capabilities, Cleared, Error, ErrorKind, Found, Intent, MemoryStore, Offload, Path, Result, Store, Tier,
    Write, Wrote,
};

/// How long a test waits for a thread before it fails: far beyond what it takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// The keys that were written, and by which threads.
type Done = Vec<(Vec<u8>, std::thread::ThreadId)>;

/// A store whose writes wait at a gate, and that tells which keys were written, by which thread.
struct Gated {
    store: MemoryStore,
    /// Tells when a write has come to the gate.
    arrived: Mutex<Sender<()>>,
    /// One message lets one write pass; without a sender all pass.
    gate: Mutex<Receiver<()>>,
    done: Arc<Mutex<Done>>,
    closed: Arc<AtomicUsize>,
}

struct Outside {
    arrived: Receiver<()>,
    open: Sender<()>,
    done: Arc<Mutex<Done>>,
    closed: Arc<AtomicUsize>,
}

fn gated() -> (Gated, Outside) {
    let (tell, arrived) = channel();
    let (open, gate) = channel();
    let (done, closed) = (Arc::default(), Arc::default());
    let outside = Outside { arrived, open, done: Arc::clone(&done), closed: Arc::clone(&closed) };
    let store = MemoryStore::new();
    (Gated { store, arrived: Mutex::new(tell), gate: Mutex::new(gate), done, closed }, outside)
}

impl Store for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
    fn attach(&self, context: &nanotier_tier::Context) {
        self.store.attach(context);
    }
    fn read(&self, paths: &[Path<'_>], intent: Intent) -> Result<Vec<Result<Found>>> {
        self.store.read(paths, intent)
    }
    fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
        let _ = self.arrived.lock().send(());
        let _ = self.gate.lock().recv();
        if writes.iter().any(|write| write.path.key() == b"panic") {
            panic!("a bug in the store");
        }
        let answers = self.store.write(writes);
        let thread = std::thread::current().id();
        self.done.lock().extend(writes.iter().map(|write| (write.path.key().to_vec(), thread)));
        answers
    }
    fn clear(&self, cleared: &Cleared<'_>) -> Result<Wrote> {
        self.store.clear(cleared)
    }
    fn close(&self) -> Result<()> {
        self.closed.fetch_add(1, Ordering::SeqCst);
        self.store.close()
    }
}

fn kind<R>(answer: Result<R>) -> Option<ErrorKind> {
    answer.err().as_ref().map(Error::kind)
}

/// Polls once, so that what is to be sent is sent.
fn start<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn jobs_of_one_key_are_done_in_order_on_one_thread() {
    let world = World::new();
    let (store, outside) = gated();
    let tier = world.attached(Offload::new(store, 4, 1024).unwrap());
    drop(outside.open);
    let keys: Vec<String> = (0..16).map(|n| format!("k{n}")).collect();
    let records: Vec<_> = (0..30).map(|n| world.record(&format!("{n}"))).collect();
    // All sent, none waited for: only the order of sending is left.
    for record in &records {
        for key in &keys {
            let write = Write::put(world.path(key), record);
            assert!(!matches!(start(pin!(tier.write_one(&write))), Poll::Ready(Err(_))));
        }
    }
    for key in &keys {
        assert_eq!(world.value(&tier, key).as_deref(), Some("29"), "a read comes after the writes before it");
    }
    let done = outside.done.lock();
    for key in &keys {
        let threads: Vec<_> =
            done.iter().filter(|(of, _)| of == key.as_bytes()).map(|(_, thread)| *thread).collect();
        assert_eq!(threads.len(), records.len());
        assert!(threads.windows(2).all(|pair| pair[0] == pair[1]), "{key} on one thread");
        let newer = records.last().unwrap().version;
        assert_eq!(
            world.read(&tier, key).unwrap().entry.version(),
            Some(newer),
            "no write came out of order"
        );
    }
    let threads: std::collections::HashSet<_> = done.iter().map(|(_, thread)| *thread).collect();
    assert!(threads.len() > 1, "different keys on different threads");
}

#[test]
fn a_full_queue_is_busy_at_once() {
    let world = World::new();
    let (store, outside) = gated();
    let tier = world.attached(Offload::new(store, 1, 2).unwrap());
    let record = world.record("value");
    let keys = ["at the gate", "queued", "queued too"];
    for (index, key) in keys.into_iter().enumerate() {
        let write = Write::put(world.path(key), &record);
        assert!(start(pin!(tier.write_one(&write))).is_pending(), "{key}");
        if index == 0 {
            outside.arrived.recv_timeout(PATIENCE).unwrap();
        }
    }
    assert_eq!(kind(world.try_put(&tier, "no room", "value")), Some(ErrorKind::Busy));
    assert_eq!(kind(world.read(&tier, "no room")), Some(ErrorKind::Busy));
    drop(outside.open);
    // Whoever left early: what was queued is done all the same.
    block_on(tier.close()).unwrap();
    let done: Vec<_> = outside.done.lock().iter().map(|(key, _)| key.clone()).collect();
    assert_eq!(done, keys.map(|key| key.as_bytes().to_vec()));
}

#[test]
fn a_batch_is_answered_in_part_where_one_lane_is_full() {
    let world = World::new();
    let (store, outside) = gated();
    let tier = world.attached(Offload::new(store, 2, 1).unwrap());
    let record = world.record("value");
    // Fill the lane of one key: one job at the gate, one queued.
    for first in [true, false] {
        let write = Write::put(world.path("full"), &record);
        assert!(start(pin!(tier.write_one(&write))).is_pending());
        if first {
            outside.arrived.recv_timeout(PATIENCE).unwrap();
        }
    }
    let keys: Vec<String> = (0..32).map(|n| format!("k{n}")).collect();
    let paths: Vec<_> = keys.iter().map(|key| world.path(key)).collect();
    let answers = block_on(tier.read(&paths, Intent::Look)).unwrap();
    let busy = answers
        .into_iter()
        .filter(|answer| answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::Busy));
    assert!((1..32).contains(&busy.count()), "the other lane answers");
    drop(outside.open);
}

#[test]
fn a_panic_in_the_store_is_an_error_to_its_caller_alone() {
    let world = World::new();
    let (store, outside) = gated();
    let tier = world.attached(Offload::new(store, 1, 16).unwrap());
    let (bad, good) = (world.record("bad"), world.record("good"));
    let (bad, good) = (Write::put(world.path("panic"), &bad), Write::put(world.path("k"), &good));
    let (mut panics, mut queued) = (pin!(tier.write_one(&bad)), pin!(tier.write_one(&good)));
    assert!(start(panics.as_mut()).is_pending() && start(queued.as_mut()).is_pending());
    drop(outside.open);
    assert_eq!(kind(block_on(panics)), Some(ErrorKind::Storage));
    assert_eq!(block_on(queued).unwrap(), Wrote::Done, "what waited behind it");
    world.put(&tier, "later", "value");
    block_on(tier.close()).unwrap();
}

#[test]
fn close_does_what_is_queued_and_whoever_closes_too_waits_for_it() {
    let world = World::new();
    let (store, outside) = gated();
    let tier = world.attached(Offload::new(store, 2, 1024).unwrap());
    let records: Vec<_> = (0..50).map(|n| (format!("k{n}"), world.record("value"))).collect();
    for (key, record) in &records {
        let write = Write::put(world.path(key), record);
        assert!(!matches!(start(pin!(tier.write_one(&write))), Poll::Ready(Err(_))));
    }
    crossbeam_utils::thread::scope(|scope| {
        let close = || {
            block_on(tier.close()).unwrap();
            assert_eq!(outside.done.lock().len(), records.len(), "closed means done");
        };
        let closers = [
            scope.spawn({
                let run = close;
                move |_| run()
            }),
            scope.spawn({
                let run = close;
                move |_| run()
            }),
        ];
        drop(outside.open);
        closers.into_iter().for_each(|closer| closer.join().unwrap());
    })
    .expect("every thread joined");
    assert_eq!(kind(world.try_put(&tier, "k", "late")), Some(ErrorKind::Closed));
    assert!(outside.closed.load(Ordering::SeqCst) >= 1);
}

#[test]
fn threads_and_room_are_bounded() {
    let build = |threads, room| kind(Offload::new(MemoryStore::new(), threads, room));
    assert_eq!(build(0, 1), Some(ErrorKind::Config));
    assert_eq!(build(1, 0), Some(ErrorKind::Config));
    assert_eq!(build(Offload::<MemoryStore>::THREADS_MAX + 1, 1), Some(ErrorKind::Config));
    assert_eq!(build(Offload::<MemoryStore>::THREADS_MAX, 1), None);
}
