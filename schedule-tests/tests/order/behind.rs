//! A queue of writes before a tier: two writers of a key, one who removes it or clears its namespace, one who flushes, one who
//! reads, and the queue's own task. The clock stands still, so that a wakeup that is lost is never made good: a deadlock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nanotier::{Clock, Inline, MemoryStore};
use nanotier_schedule_tests::explore::{holds, promise};
use nanotier_schedule_tests::wire::{Wired, linger, pause};
use nanotier_schedule_tests::world::{Behind as Spawner, coin, path};
use nanotier_tier::behind::MemoryLog;
use nanotier_tier::{
    Behind, Cleared, Context, Encoded, Entry, Fingerprint, Intent, Record, Store, Tier, Version, Write,
    WriteBehind, Wrote,
};
use shuttle::future::spawn;

type Far = Wired<Inline<Arc<MemoryStore>>>;

/// The newest version of a kind. One thread runs all tasks of a schedule: the lock is no place to switch.
#[derive(Default)]
struct Newest(Mutex<Version>);

impl Newest {
    fn get(&self) -> Version {
        *self.0.lock().unwrap()
    }

    fn saw(&self, version: Version) {
        let mut newest = self.0.lock().unwrap();
        *newest = version.max(*newest);
    }
}

struct Stage {
    context: Context,
    spawner: Spawner,
    store: Arc<MemoryStore>,
    tier: Behind<Far>,
    /// Puts and removes that were acknowledged, or refused since there was something newer.
    acknowledged: Newest,
    /// Removes and clearings that were acknowledged.
    gone: Newest,
    /// Clearings that may be on their way.
    clearing: Newest,
    numbers: AtomicU64,
}

impl Stage {
    fn new(logged: bool) -> Arc<Self> {
        let (clock, _hands) = Clock::manual();
        let spawner = Spawner::default();
        let context = Context::new(clock, 1).with_spawner(Arc::new(spawner.clone()));
        let store = Arc::new(MemoryStore::new());
        let far = Wired::new(Arc::new(Inline(store.clone())));
        let queue = WriteBehind::new().delay(Duration::ZERO);
        let tier = if logged {
            far.behind_logged(queue, MemoryLog::new()).expect("the log is empty")
        } else {
            far.behind(queue)
        };
        tier.attach(&context);
        let (acknowledged, gone, clearing) = Default::default();
        let numbers = AtomicU64::new(0);
        Arc::new(Self { context, spawner, store, tier, acknowledged, gone, clearing, numbers })
    }

    /// What is read under the key: nothing that was gone before, and nothing older than what was acknowledged before, unless a
    /// clearing took that.
    ///
    /// Two reads of one reader may go back, from a remove or a put that goes past the queue and has not returned yet to what is
    /// queued until it does.
    async fn read(&self, who: &str) {
        let (gone, acknowledged) = (self.gone.get(), self.acknowledged.get());
        let entry = self.tier.read_one(&path(), Intent::Look).await.unwrap().entry;
        if let Entry::Present(record) = &entry {
            promise(record.version > gone, || format!("{who} reads {record:?}, gone since {gone:?}"));
        }
        self.is_there(entry.version(), acknowledged, who);
    }

    /// `found` is not older than `acknowledged`.
    fn is_there(&self, found: Option<Version>, acknowledged: Version, who: &str) {
        let is_cleared = self.clearing.get() > acknowledged;
        let is_there = acknowledged == Version::default() || found >= Some(acknowledged);
        promise(is_there || is_cleared, || {
            format!("{who} finds {found:?}, acknowledged is {acknowledged:?}")
        });
    }

    /// What the far tier holds.
    fn held(&self) -> Option<Version> {
        let found = self.store.read(&[path()], Intent::Look).unwrap().pop().unwrap();
        found.unwrap().entry.version()
    }

    async fn write(&self, write: Write<'_>, who: &str) {
        match self.tier.write_one(&write).await.unwrap() {
            Wrote::Done => {
                self.acknowledged.saw(write.version);
                if write.record.is_none() {
                    self.gone.saw(write.version);
                }
            }
            // Somebody else's, or a clearing.
            Wrote::Older(newer) => {
                promise(newer > write.version, || format!("{who} is refused for {newer:?}"));
                self.acknowledged.saw(write.version);
            }
            other => panic!("{other:?}"),
        }
    }

    async fn put(&self, who: &str) {
        let version = self.context.versions.draw();
        let number = self.numbers.fetch_add(1, Relaxed).to_string();
        let value = Encoded::new(number.into_bytes(), Fingerprint(1));
        let record = Record { version, ..Record::new(value, self.context.clock.wall()) };
        pause().await;
        self.write(Write::put(path(), &record), who).await;
    }

    async fn remove(&self) {
        let version = self.context.versions.draw();
        pause().await;
        self.write(Write::remove(path(), version, self.context.clock.wall()), "the remover").await;
    }

    async fn clear(&self) {
        let (version, as_of) = (self.context.versions.draw(), self.context.clock.wall());
        self.clearing.saw(version);
        pause().await;
        let path = path();
        let cleared = Cleared { namespace: path.namespace(), version, as_of };
        if self.tier.clear(&cleared).await.unwrap() == Wrote::Done {
            self.gone.saw(version);
        }
    }
}

async fn everybody(logged: bool, clears: bool) {
    let stage = Stage::new(logged);
    let mut tasks = Vec::new();
    for who in ["one writer", "the other writer"] {
        let stage = stage.clone();
        tasks.push(spawn(async move {
            stage.put(who).await;
            stage.read(who).await;
        }));
    }
    let remover = stage.clone();
    tasks.push(spawn(async move {
        if clears {
            remover.clear().await;
        } else {
            remover.remove().await;
        }
        remover.read("the remover").await;
    }));
    let flusher = stage.clone();
    tasks.push(spawn(async move {
        linger().await;
        let acknowledged = flusher.acknowledged.get();
        flusher.tier.flush().await.unwrap();
        flusher.is_there(flusher.held(), acknowledged, "who flushed");
    }));
    let reader = stage.clone();
    tasks.push(spawn(async move {
        for _ in 0..3 {
            reader.read("the reader").await;
            pause().await;
        }
    }));
    for task in tasks {
        task.await.unwrap();
    }
    // The queue's own task ends by itself, whoever wrote the last of what was queued.
    stage.spawner.finished().await;
    promise(stage.tier.state().entries == 0, || "something is left in the queue".to_owned());
    stage.read("who comes last").await;
    stage.is_there(stage.held(), stage.acknowledged.get(), "who looks behind the queue");
}

async fn removes() {
    everybody(coin(), false).await;
}

async fn clears() {
    everybody(coin(), true).await;
}

#[test]
fn behind_a_queue_a_remove_that_returned_is_never_undone_ones_own_write_is_read_and_a_flush_is_through() {
    holds(removes);
}

#[test]
fn what_a_clearing_took_is_not_read_again_nor_written_later_by_a_queue() {
    holds(clears);
}
