//! Any sequence of calls on a cache over a near and a far tier that fail now and then, with loads and writes that are left
//! alone half done: **after a write, a removal or a clearing has been answered, nothing older is served**, by whatever way.
//!
//! Values are numbers that rise with each write and each run of a loader. So the promise is one number per key, its floor: the number
//! of the last answered write. All runs on one thread, on a manual clock; the cache's own tasks wait in a queue until an operation
//! runs them, so a task can be as late as the fuzzer likes.
#![no_main]

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context as Waking, Poll, Waker};
use std::time::Duration;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use nanotier::tier::{
    Capabilities, Cleared, Context, Error, ErrorKind, Found, Intent, Namespace, Page, PageRequest, Path,
    Result, Store, Timestamp, Update, Updated, Write, Wrote,
};
use nanotier::{Cache, Clock, Inline, Json, Lookup, MemoryStore, Spawn, Task, Tier, Ttl};

const KEYS: u8 = 3;
const OPS_MAX: usize = 120;

#[derive(Arbitrary, Debug)]
enum Op {
    Get(u8),
    GetMany(u8, u8),
    /// The loader waits for the gate in the middle if `gated`.
    GetWith {
        key: u8,
        gated: bool,
    },
    Insert {
        key: u8,
        ttl: Life,
    },
    InsertMany(u8, u8),
    Remove(u8),
    RemoveMany(u8, u8),
    Take(u8),
    Touch {
        key: u8,
        ttl: Life,
    },
    Clear,
    ClearMemory,
    /// Writes whose caller leaves before the first poll.
    LeaveInsert(u8),
    LeaveRemove(u8),
    /// The n-th call that is held is polled, or dropped.
    Poll(u8),
    Leave(u8),
    OpenGate,
    /// The cache's own tasks run as far as they can.
    RunTasks,
    Advance {
        half_seconds: u8,
    },
    Sweep,
    /// The next calls to a tier fail; what is asked is done or not.
    Fail {
        far: bool,
        calls: u8,
        done: bool,
    },
    Mend,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Life {
    Default,
    Forever,
    Seconds(u8),
}

impl From<Life> for Ttl {
    fn from(life: Life) -> Self {
        match life {
            Life::Default => Ttl::Default,
            Life::Forever => Ttl::Forever,
            Life::Seconds(n) => Ttl::For(Duration::from_secs(u64::from(n % 64))),
        }
    }
}

/// A store that fails when it is told to, before or after it has done what it was asked.
#[derive(Clone)]
struct Faulty {
    store: Arc<MemoryStore>,
    fails: Arc<AtomicU64>,
    does: Arc<AtomicBool>,
}

impl Faulty {
    fn new() -> Self {
        Self { store: Arc::new(MemoryStore::new()), fails: Arc::default(), does: Arc::default() }
    }

    fn fail(&self, calls: u64, does: bool) {
        self.fails.store(calls, Relaxed);
        self.does.store(does, Relaxed);
    }

    fn call<T>(&self, call: impl FnOnce(&MemoryStore) -> Result<T>) -> Result<T> {
        let left = self.fails.load(Relaxed);
        if left == 0 {
            return call(&self.store);
        }
        self.fails.store(left - 1, Relaxed);
        if self.does.load(Relaxed) {
            drop(call(&self.store));
        }
        Err(Error::new(ErrorKind::Unavailable, "faulty", "call"))
    }
}

impl Store for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
    fn attach(&self, context: &Context) {
        self.store.attach(context);
    }
    fn believed_since(&self) -> Timestamp {
        self.store.believed_since()
    }
    fn read(&self, paths: &[Path<'_>], intent: Intent) -> Result<Vec<Result<Found>>> {
        self.call(|store| store.read(paths, intent))
    }
    fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
        self.call(|store| store.write(writes))
    }
    fn update(&self, update: &Update<'_>) -> Result<Updated> {
        self.call(|store| store.update(update))
    }
    fn clear(&self, cleared: &Cleared<'_>) -> Result<Wrote> {
        self.call(|store| store.clear(cleared))
    }
    fn list(&self, namespace: &Namespace, page: &PageRequest) -> Result<Page> {
        self.call(|store| store.list(namespace, page))
    }
}

/// Tasks wait here until somebody runs them.
#[derive(Clone, Default)]
struct Later(Arc<Mutex<VecDeque<Task>>>);

impl Spawn for Later {
    fn spawn(&self, task: Task) -> std::result::Result<(), Task> {
        self.0.lock().expect("nothing panics under it").push_back(task);
        Ok(())
    }
}

impl Later {
    /// Runs what is queued and what that queues; what has to wait is queued again.
    fn run(&self) {
        let mut waiting = Vec::new();
        loop {
            let Some(mut task) = self.0.lock().expect("nothing panics under it").pop_front() else { break };
            if poll(task.as_mut()).is_none() {
                waiting.push(task);
            }
        }
        self.0.lock().expect("nothing panics under it").extend(waiting);
    }

    fn clear(&self) {
        // Dropped outside the lock: a dropped task may hand another one over.
        let tasks: Vec<Task> = self.0.lock().expect("nothing panics under it").drain(..).collect();
        drop(tasks);
    }
}

fn poll<T>(future: Pin<&mut (impl Future<Output = T> + ?Sized)>) -> Option<T> {
    match future.poll(&mut Waking::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// What loaders wait for: open up to a number.
#[derive(Clone, Default)]
struct Gate(Arc<AtomicU64>);

impl Gate {
    async fn pass(self, number: u64) {
        std::future::poll_fn(
            |_| if self.0.load(Relaxed) >= number { Poll::Ready(()) } else { Poll::Pending },
        )
        .await;
    }
}

/// A call that could not be answered yet.
struct Held {
    lookup: Lookup<u64>,
    key: u8,
    floor: u64,
}

struct Run<'a> {
    cache: &'a Cache<u8, u64>,
    near: Faulty,
    far: Faulty,
    later: Later,
    gate: Gate,
    /// The last number given to a write or a load.
    numbers: Arc<AtomicU64>,
    /// Nothing below it may be served any more, per key.
    floors: [u64; KEYS as usize],
    /// Keys whose last answered write stored a value that nothing has touched since.
    must: [bool; KEYS as usize],
    held: Vec<Held>,
}

impl<'a> Run<'a> {
    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Relaxed) + 1
    }

    fn at(key: u8) -> usize {
        usize::from(key % KEYS)
    }

    /// Tiers answer at once, so only what waits for a loader is not ready.
    fn ready<T>(mut lookup: Lookup<T>) -> Result<T> {
        poll(Pin::new(&mut lookup)).expect("only loads have anything to wait for")
    }

    fn served(&self, key: u8, value: u64, floor: u64) {
        assert!(value >= floor, "key {}: {value} was served after {floor} was answered", key % KEYS);
    }

    fn check(&self, key: u8, value: Option<u64>) {
        let (at, faultless) =
            (Self::at(key), self.near.fails.load(Relaxed) + self.far.fails.load(Relaxed) == 0);
        if let Some(value) = value {
            self.served(key, value, self.floors[at]);
        }
        assert!(value.is_some() || !self.must[at] || !faultless, "key {at}: what was stored is lost");
    }

    fn wrote(&mut self, key: u8, number: u64, answer: Result<()>, stores: bool) {
        let at = Self::at(key);
        self.must[at] = false;
        if answer.is_ok() {
            self.floors[at] = self.floors[at].max(number);
            self.must[at] = stores;
        }
    }

    fn get(&mut self, key: u8) {
        let faultless = self.near.fails.load(Relaxed) + self.far.fails.load(Relaxed) == 0;
        match Self::ready(self.cache.get(&(key % KEYS))) {
            Ok(value) if faultless => self.check(key, value),
            Ok(Some(value)) => self.served(key, value, self.floors[Self::at(key)]),
            Ok(None) => {}
            Err(error) => assert!(!faultless, "no tier failed: {error}"),
        }
    }

    fn get_with(&mut self, key: u8, gated: bool) {
        let (numbers, gate) = (self.numbers.clone(), self.gate.clone());
        let load = move || async move {
            let number = numbers.fetch_add(1, Relaxed) + 1;
            if gated {
                gate.pass(number).await;
            }
            number
        };
        // A reference to a key that lives as long as the lookup.
        static ALL: [u8; KEYS as usize] = [0, 1, 2];
        let floor = self.floors[Self::at(key)];
        let mut lookup = self.cache.get_with(&ALL[Self::at(key)], load);
        match poll(Pin::new(&mut lookup)) {
            Some(answer) => self.loaded(key, answer, floor),
            None => self.held.push(Held { lookup, key, floor }),
        }
    }

    fn loaded(&self, key: u8, answer: Result<u64>, floor: u64) {
        match answer {
            Ok(number) => self.served(key, number, floor),
            // The clock may have moved past its deadline meanwhile.
            Err(error) if error.kind() == ErrorKind::Timeout => {}
            Err(error) => panic!("loaders do not fail, and a tier's failure is no failure of a load: {error:?}"),
        }
    }

    fn poll_held(&mut self, nth: u8) {
        if self.held.is_empty() {
            return;
        }
        let mut held = self.held.swap_remove(usize::from(nth) % self.held.len());
        match poll(Pin::new(&mut held.lookup)) {
            Some(answer) => self.loaded(held.key, answer, held.floor),
            None => self.held.push(held),
        }
    }

    fn run(&mut self, op: &Op) {
        let cache = self.cache;
        match *op {
            Op::Get(key) => self.get(key),
            Op::GetMany(one, other) => {
                let keys = [one % KEYS, other % KEYS];
                if let Ok(values) = Self::ready(cache.get_many(&keys)) {
                    for (key, value) in keys.into_iter().zip(values) {
                        if let Ok(Some(value)) = value {
                            self.served(key, value, self.floors[Self::at(key)]);
                        }
                    }
                }
            }
            Op::GetWith { key, gated } => self.get_with(key, gated),
            Op::Insert { key, ttl } => {
                let number = self.number();
                let answer = Self::ready(cache.insert_for(key % KEYS, number, ttl));
                self.wrote(key, number, answer, !matches!(ttl, Life::Seconds(n) if n % 64 == 0));
            }
            Op::InsertMany(one, other) => {
                let entries = [(one % KEYS, self.number()), (other % KEYS, self.number())];
                for ((key, number), answer) in entries
                    .into_iter()
                    .zip(Self::ready(cache.insert_many(entries)).expect("answers come one by one"))
                {
                    self.wrote(key, number, answer, true);
                }
                // Of a key that occurs twice, an answer of the first says nothing of the second.
                if one % KEYS == other % KEYS {
                    self.must[Self::at(one)] = false;
                }
            }
            Op::Remove(key) => {
                let number = self.number();
                let answer = Self::ready(cache.remove(&(key % KEYS)));
                self.wrote(key, number, answer, false);
            }
            Op::RemoveMany(one, other) => {
                let (keys, number) = ([one % KEYS, other % KEYS], self.number());
                let answers = Self::ready(cache.remove_many(&keys)).expect("answers come one by one");
                for (key, answer) in keys.into_iter().zip(answers) {
                    self.wrote(key, number, answer, false);
                }
            }
            Op::Take(key) => {
                let number = self.number();
                let answer = Self::ready(cache.take(&(key % KEYS)));
                if let Ok(Some(value)) = answer {
                    self.served(key, value, self.floors[Self::at(key)]);
                }
                self.must[Self::at(key)] = false;
                // Where nothing was, nothing was written: a write that was under way may still come after it.
                if let Ok(Some(_)) = answer {
                    self.wrote(key, number, Ok(()), false);
                }
            }
            Op::Touch { key, ttl } => {
                // It stores nothing new; its lifetime may be none at all.
                self.must[Self::at(key)] = false;
                let _ = Self::ready(cache.touch(&(key % KEYS), ttl));
            }
            Op::Clear => {
                let number = self.number();
                let answer = Self::ready(cache.clear());
                for key in 0..KEYS {
                    self.wrote(key, number, answer.clone(), false);
                }
            }
            Op::ClearMemory => cache.clear_memory(),
            Op::LeaveInsert(key) => {
                self.must[Self::at(key)] = false;
                drop(cache.insert(key % KEYS, self.number()));
            }
            Op::LeaveRemove(key) => {
                self.must[Self::at(key)] = false;
                self.number();
                drop(cache.remove(&(key % KEYS)));
            }
            Op::Poll(nth) => self.poll_held(nth),
            Op::Leave(nth) => {
                if !self.held.is_empty() {
                    drop(self.held.swap_remove(usize::from(nth) % self.held.len()));
                }
            }
            Op::OpenGate => self.gate.0.store(self.numbers.load(Relaxed), Relaxed),
            Op::RunTasks => self.later.run(),
            Op::Advance { .. } => self.must = [false; KEYS as usize],
            Op::Sweep => {
                self.near.store.sweep();
                self.far.store.sweep();
            }
            Op::Fail { far, calls, done } => {
                let tier = if far { &self.far } else { &self.near };
                tier.fail(u64::from(calls % 8), done);
            }
            Op::Mend => {
                self.near.fail(0, false);
                self.far.fail(0, false);
            }
        }
        for key in 0..KEYS {
            if let Some((value, _)) = cache.resident(&key) {
                self.served(key, value, self.floors[Self::at(key)]);
            }
        }
    }
}

fuzz_target!(|ops: Vec<Op>| {
    let (clock, hands) = Clock::manual();
    let (near, far, later) = (Faulty::new(), Faulty::new(), Later::default());
    let cache: Cache<u8, u64> = Cache::builder()
        .capacity(2)
        .ttl(Duration::from_secs(10))
        .stale_for(Duration::from_secs(10))
        .namespace("fuzz")
        .tiers(Inline(near.clone()).over(Inline(far.clone())))
        .codec(Json::default())
        .clock(clock)
        .spawner(later.clone())
        .seed(1)
        .build()
        .expect("a configuration that works");
    let mut run = Run {
        cache: &cache,
        near,
        far,
        later: later.clone(),
        gate: Gate::default(),
        numbers: Arc::default(),
        floors: [0; KEYS as usize],
        must: [false; KEYS as usize],
        held: Vec::new(),
    };
    for op in ops.iter().take(OPS_MAX) {
        if let Op::Advance { half_seconds } = op {
            hands.advance(Duration::from_millis(500 * u64::from(*half_seconds)));
        }
        run.run(op);
    }
    // What is still under way comes to its end, in the worst of moments: now.
    run.gate.0.store(u64::MAX, Relaxed);
    run.later.run();
    while !run.held.is_empty() {
        run.poll_held(0);
    }
    run.run(&Op::Mend);
    run.run(&Op::RunTasks);
    for key in 0..KEYS {
        run.get(key);
        run.run(&Op::ClearMemory);
        run.get(key);
    }
    drop(run);
    // Tasks own the cache: without this they would keep each other alive.
    later.clear();
});
