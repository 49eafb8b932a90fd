//! Processes that share a truth, each with its own memory, its own near copy and its own clock. All of them cache numbers by
//! one key, since every rule of order is about one key.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nanotier::{
    Builder, Cache, Clock, Freshness, Hands, Inline, Json, Lookup, MemoryStore, Namespace, Options, Spawn,
    Task,
};
use nanotier_tier::conformance::{SharedSim, SimHandle, SimOptions};
use nanotier_tier::{Chain, Entry, Intent, Path, Record, Store, Tier};
use shuttle::future::JoinHandle;
use shuttle::rand::Rng;

use crate::explore::promise;
use crate::wire::{Courier, Wire, Wired, linger, number_in, pause};

/// The key.
pub const KEY: u32 = 7;
/// How long the truth and the copies keep tombstones.
pub const HORIZON: Duration = Duration::from_secs(60);
/// How long copies are believed.
pub const RECHECK: Duration = Duration::from_secs(30);

const NAMESPACE: &str = "numbers";

/// One truth, and the time of all.
#[derive(Debug)]
pub struct World {
    /// The truth.
    pub truth: SharedSim,
    clock: Clock,
    hands: Mutex<Vec<Hands>>,
}

impl Default for World {
    fn default() -> Self {
        Self::new(false)
    }
}

impl World {
    /// A world whose truth may evict tombstones, or not.
    #[must_use]
    pub fn new(may_evict_tombstones: bool) -> Self {
        let (clock, hands) = Clock::manual();
        let server_clock = Some(clock.clone());
        let truth = SharedSim::new(SimOptions {
            server_clock,
            native_expiry: true,
            may_evict_tombstones,
            horizon: HORIZON,
        });
        Self { truth, clock, hands: Mutex::new(vec![hands]) }
    }

    /// Lets time pass for everyone.
    pub fn advance(&self, by: Duration) {
        self.hands.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|hands| hands.advance(by));
    }

    /// A process whose clock is `ahead` of the truth's, over a near copy of its own.
    #[must_use]
    pub fn process(&self, seed: u64, ahead: Duration) -> Arc<Process> {
        let near = Arc::new(MemoryStore::new().with_horizon(HORIZON));
        self.process_over(near, seed, ahead)
    }

    /// A process whose clock is right and whose cache has these options.
    #[must_use]
    pub fn process_with(
        &self,
        seed: u64,
        change: fn(Options<u32, u64>) -> Options<u32, u64>,
    ) -> Arc<Process> {
        let near = Arc::new(MemoryStore::new().with_horizon(HORIZON));
        self.build(near, seed, Duration::ZERO, |builder| builder.options(change))
    }

    /// The same over a near copy that was there before.
    #[must_use]
    pub fn process_over(&self, near: Arc<MemoryStore>, seed: u64, ahead: Duration) -> Arc<Process> {
        self.build(near, seed, ahead, |builder| builder)
    }

    fn build(
        &self,
        near: Arc<MemoryStore>,
        seed: u64,
        ahead: Duration,
        change: impl FnOnce(Builder<u32, u64>) -> Builder<u32, u64>,
    ) -> Arc<Process> {
        let (clock, hands) = Clock::manual();
        hands.advance(self.clock.now().since(clock.now()) + ahead);
        self.hands.lock().unwrap_or_else(PoisonError::into_inner).push(hands);
        let (near_wired, far) = (
            Wired::new(Arc::new(Inline(near.clone()))),
            Wired::new(Arc::new(self.truth.handle(clock.clone()))),
        );
        let (near_wire, far_wire, courier) = (near_wired.wire(), far.wire(), far.courier());
        let chain = Arc::new(near_wired.over(far));
        let behind = Behind::default();
        let cache = change(numbers(seed, &clock, &behind))
            .tiers(Wired::new(chain.clone()))
            .build()
            .expect("it is configured well");
        Arc::new(Process {
            cache,
            near,
            near_wire,
            far_wire,
            courier,
            chain,
            behind,
            clock,
            direct: self.truth.handle(self.clock.clone()),
        })
    }

    /// The number that the truth holds.
    pub async fn number(&self) -> Option<u64> {
        let entry = self.truth.handle(self.clock.clone()).read_one(&path(), Intent::Look).await.ok()?.entry;
        usable_number(&entry, &self.clock)
    }
}

/// Everything of a cache of numbers but its tiers.
pub fn numbers(seed: u64, clock: &Clock, behind: &Behind) -> Builder<u32, u64> {
    Cache::builder()
        .capacity(8)
        .namespace(NAMESPACE)
        .codec(Json::default())
        .clock(clock.clone())
        .recheck(RECHECK)
        .spawner(behind.clone())
        .seed(seed)
}

/// Where all numbers lie.
#[must_use]
pub fn path() -> Path<'static> {
    let namespace = Namespace::new(NAMESPACE).expect("the name is fine");
    Path::new(&namespace, KEY.to_be_bytes().to_vec()).into_owned()
}

fn usable_number(entry: &Entry, clock: &Clock) -> Option<u64> {
    entry.record().filter(|record| record.freshness(clock.wall()) != Freshness::Expired).and_then(number_in)
}

/// A near copy that can be opened again.
pub type Near = Wired<Inline<Arc<MemoryStore>>>;
/// A process's way to the truth.
pub type Far = Wired<SimHandle>;

/// A cache, and everything below it.
pub struct Process {
    /// The cache.
    pub cache: Cache<u32, u64>,
    /// The near copy.
    pub near: Arc<MemoryStore>,
    /// The wire to the near copy.
    pub near_wire: Arc<Wire>,
    /// The wire to the truth.
    pub far_wire: Arc<Wire>,
    /// Delivers what the wire to the truth held.
    pub courier: Courier<SimHandle>,
    /// Near copy and truth as one.
    pub chain: Arc<Chain<Near, Far>>,
    /// What runs on the cache's spawner.
    pub behind: Behind,
    /// The clock of this process.
    pub clock: Clock,
    direct: SimHandle,
}

impl Process {
    /// The number that memory would serve without asking anyone.
    #[must_use]
    pub fn in_memory(&self) -> Option<u64> {
        self.cache.resident(&KEY).map(|(number, _)| number)
    }

    /// What the near copy holds, served or not.
    #[must_use]
    pub fn near_record(&self) -> Option<Record> {
        let found = self.near.read(&[path()], Intent::Look).ok()?.pop()?.ok()?;
        found
            .entry
            .record()
            .filter(|record| record.freshness(self.clock.wall()) != Freshness::Expired)
            .cloned()
    }

    /// The number in the near copy, served or not.
    #[must_use]
    pub fn in_near(&self) -> Option<u64> {
        self.near_record().as_ref().and_then(number_in)
    }

    /// What a reader is answered; `None` also where nothing could be had.
    pub async fn get(&self) -> Option<u64> {
        self.cache.get(&KEY).await.ok().flatten()
    }

    /// The number that the truth holds.
    pub async fn in_truth(&self) -> Option<u64> {
        let entry = self.direct.read_one(&path(), Intent::Look).await.ok()?.entry;
        usable_number(&entry, &self.clock)
    }

    /// Memory and the near copy hold what the truth holds, or nothing.
    pub async fn agrees(&self) {
        self.behind.finished().await;
        let (memory, near, truth) = (self.in_memory(), self.in_near(), self.in_truth().await);
        promise(memory.is_none() || memory == truth, || {
            format!("memory holds {memory:?}, the truth {truth:?}")
        });
        promise(near.is_none() || near == truth, || {
            format!("the near copy holds {near:?}, the truth {truth:?}")
        });
        self.serves_the_truth().await;
    }

    /// Whatever the near copy holds, what is served is what the truth holds.
    pub async fn serves_the_truth(&self) {
        self.behind.finished().await;
        let truth = self.in_truth().await;
        let first = self.get().await;
        self.behind.finished().await;
        self.cache.clear_memory();
        let second = self.get().await;
        self.behind.finished().await;
        promise(first == truth && second == truth, || {
            format!("served are {first:?} and, without memory, {second:?}; the truth holds {truth:?}")
        });
    }
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process").field("cache", &self.cache).finish_non_exhaustive()
    }
}

/// A cache's spawner: each task is one of the explorer's.
#[derive(Clone, Debug, Default)]
pub struct Behind(Arc<Mutex<Vec<JoinHandle<()>>>>);

impl Spawn for Behind {
    fn spawn(&self, task: Task) -> Result<(), Task> {
        // Before the lock: other tasks may go first here.
        let task = shuttle::future::spawn(task);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(task);
        Ok(())
    }
}

impl Behind {
    /// Waits until nothing runs any more.
    pub async fn finished(&self) {
        while let Some(task) = self.next() {
            task.await.expect("no task is aborted");
        }
    }

    fn next(&self) -> Option<JoinHandle<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

/// The source that loaders read: what the numbers are copies of.
#[derive(Clone, Debug, Default)]
pub struct Source(Arc<AtomicU64>);

impl Source {
    /// A source that holds `number`.
    #[must_use]
    pub fn of(number: u64) -> Self {
        Self(Arc::new(AtomicU64::new(number)))
    }

    /// Changes it.
    pub fn set(&self, number: u64) {
        self.0.store(number, Relaxed);
    }

    /// Reads it, as a slow database does.
    pub async fn read(self) -> u64 {
        pause().await;
        let number = self.0.load(Relaxed);
        pause().await;
        number
    }

    /// Reads it, and takes longer to tell than a write takes.
    pub async fn read_slowly(self) -> u64 {
        let number = self.read().await;
        linger().await;
        linger().await;
        number
    }

    /// The number through a cache, by a loader that may take longer than any write.
    pub async fn slowly_through(&self, process: &Process) -> Option<u64> {
        let source = self.clone();
        process.cache.get_with(&KEY, move || source.read_slowly()).await.ok()
    }

    /// The number through a cache.
    pub async fn through(&self, process: &Process) -> Option<u64> {
        let source = self.clone();
        process.cache.get_with(&KEY, move || source.read()).await.ok()
    }
}

/// A lookup whose caller leaves: polled a few times, then dropped.
pub async fn begin_and_leave<T, E>(mut lookup: Lookup<T, E>, polls_max: u32) {
    let polls = shuttle::rand::thread_rng().gen_range(0..=polls_max);
    pause().await;
    for _ in 0..polls {
        let polled = std::future::poll_fn(|context| {
            let polled = std::pin::Pin::new(&mut lookup).poll(context);
            std::task::Poll::Ready(polled.is_ready())
        });
        if polled.await {
            return;
        }
        pause().await;
    }
}

/// True as often as not.
#[must_use]
pub fn coin() -> bool {
    shuttle::rand::thread_rng().r#gen()
}
