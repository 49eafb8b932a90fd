//! A queue of writes before a tier: what readers see, what comes of removes, clearings, updates and fills, and what happens
//! when the queue is full or the tier is down.

mod common;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use common::{Faulty, World};
use nanotier_tier::behind::MemoryLog;
use nanotier_tier::waiting::block_on;
use nanotier_tier::{
    Behind, Change, Entry, ErrorKind, Event, Inline, Intent, MemoryStore, Observer, Offload, Record, Scope,
    Spawn, Store, Task, Tier, TierIndex, Update, Updated, Version, WhenFull, Write, WriteBehind, Wrote,
};
use parking_lot::Mutex;

/// Runs what it is given when it is told to.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<Vec<Task>>>);

impl Spawn for Tasks {
    fn spawn(&self, task: Task) -> Result<(), Task> {
        self.0.lock().push(task);
        Ok(())
    }
}

impl Tasks {
    /// Polls every task once.
    fn run(&self) {
        let tasks = std::mem::take(&mut *self.0.lock());
        for mut task in tasks {
            if task.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())).is_pending() {
                self.0.lock().push(task);
            }
        }
    }
}

/// A queue over a faulty tier, and what runs behind.
struct Stage {
    world: World,
    tasks: Tasks,
    far: Faulty,
    tier: Behind<Inline<Faulty>>,
}

impl Stage {
    fn new(scope: Scope, queue: WriteBehind, log: Option<MemoryLog>) -> Self {
        let (mut world, tasks, far) = (World::new(), Tasks::default(), Faulty::new(scope));
        world.context = world.context.clone().with_spawner(Arc::new(tasks.clone()));
        let tier = match log {
            Some(log) => far.tier().behind_logged(queue, log).unwrap(),
            None => far.tier().behind(queue),
        };
        let tier = world.attached(tier);
        Self { world, tasks, far, tier }
    }

    fn put(&self, key: &str, value: &str) -> Record {
        let record = self.world.record(value);
        self.world.write(&self.tier, &Write::put(self.world.path(key), &record));
        record
    }

    fn far_value(&self, key: &str) -> Option<String> {
        self.world.value(&self.far.tier(), key)
    }

    fn value(&self, key: &str) -> Option<String> {
        self.world.value(&self.tier, key)
    }

    fn flush(&self) {
        block_on(self.tier.flush()).unwrap();
        assert_eq!(self.tier.state().entries, 0);
    }

    fn update(&self, key: &str, change: Change) -> nanotier_tier::Result<Updated> {
        let (version, as_of) = (self.world.draw(), self.world.now());
        block_on(self.tier.update(&Update { path: self.world.path(key), change, version, as_of }))
    }
}

/// With and without a log.
fn both(scope: Scope) -> [Stage; 2] {
    [None, Some(MemoryLog::new())].map(|log| Stage::new(scope, WriteBehind::new(), log))
}

fn now<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

#[test]
fn a_queued_put_is_read_and_written_later() {
    for s in both(Scope::Process) {
        s.put("k", "value");
        assert_eq!(s.value("k").as_deref(), Some("value"), "one's own queued write");
        assert_eq!(s.far_value("k"), None);
        s.tasks.run();
        assert_eq!(s.far_value("k"), None, "it is held back for a while");
        s.world.pass(5);
        s.tasks.run();
        assert_eq!(s.far_value("k").as_deref(), Some("value"));
        assert_eq!((s.tier.state().entries, s.tier.state().bytes, s.tier.state().written), (0, 0, 1));
        assert_eq!(s.value("k").as_deref(), Some("value"));
    }
}

#[test]
fn of_many_puts_of_a_key_the_newest_is_written_once_however_they_come() {
    for s in both(Scope::Process) {
        let records: Vec<Record> = (0..10).map(|n| s.world.record(&format!("{n}"))).collect();
        for index in [3, 1, 9, 0, 8] {
            let wrote = block_on(s.tier.write_one(&Write::put(s.world.path("k"), &records[index]))).unwrap();
            let older = records[3].version.max(records[index].version) > records[index].version || index == 8;
            assert_eq!(matches!(wrote, Wrote::Older(_)), older, "{index}");
        }
        assert_eq!(s.value("k").as_deref(), Some("9"));
        s.flush();
        assert_eq!(s.far_value("k").as_deref(), Some("9"));
        assert_eq!((s.tier.state().written, s.tier.state().coalesced), (1, 1));
        // What the queue wrote it still knows: an older write is refused, not queued.
        let wrote = block_on(s.tier.write_one(&Write::put(s.world.path("k"), &records[8]))).unwrap();
        assert_eq!(wrote, Wrote::Older(records[9].version));
    }
}

#[test]
fn a_remove_is_not_undone_by_what_was_queued_before_it() {
    for s in both(Scope::Process) {
        let old = s.put("k", "old");
        let version = s.world.draw();
        s.world.write(&s.tier, &Write::remove(s.world.path("k"), version, s.world.now()));
        for _ in 0..2 {
            assert_eq!(s.world.read(&s.tier, "k").unwrap().entry, Entry::Removed(version));
            s.flush();
            assert_eq!(s.world.read(&s.far.tier(), "k").unwrap().entry, Entry::Removed(version));
        }
        let late = block_on(s.tier.write_one(&Write::put(s.world.path("k"), &old))).unwrap();
        assert_eq!(late, Wrote::Older(version));
    }
}

#[test]
fn without_a_log_a_remove_is_acknowledged_by_the_tier_alone() {
    let [plain, logged] = both(Scope::Process);
    for s in [&plain, &logged] {
        s.put("k", "value");
        s.flush();
        s.far.fail_writes(true);
    }
    assert_eq!(plain.world.try_remove(&plain.tier, "k").unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(plain.value("k").as_deref(), Some("value"), "it did not happen");
    logged.world.remove(&logged.tier, "k");
    assert_eq!(logged.value("k"), None, "the log has it");
    for s in [&plain, &logged] {
        s.far.fail_writes(false);
    }
    plain.world.remove(&plain.tier, "k");
    assert_eq!(plain.far_value("k"), None);
    logged.flush();
    assert_eq!(logged.far_value("k"), None);
}

#[test]
fn a_clearing_takes_what_is_queued_with_it_and_nothing_newer() {
    for s in both(Scope::Process) {
        s.put("k", "old");
        let late = s.world.record("late");
        assert_eq!(s.world.clear(&s.tier).unwrap(), Wrote::Done);
        assert_eq!(s.tier.state().entries, 0);
        assert_eq!(s.value("k"), None);
        let wrote = block_on(s.tier.write_one(&Write::put(s.world.path("k"), &late))).unwrap();
        assert!(matches!(wrote, Wrote::Older(_)), "decided before the clearing");
        s.put("k", "new");
        s.flush();
        assert_eq!(s.far_value("k").as_deref(), Some("new"));
        // Refused while something newer is queued: the caller goes again above it.
        let version = s.world.draw();
        let newer = s.put("k", "newer");
        let cleared = nanotier_tier::Cleared { namespace: &s.world.namespace, version, as_of: s.world.now() };
        assert_eq!(block_on(s.tier.clear(&cleared)).unwrap(), Wrote::Older(newer.version));
        assert_eq!(s.value("k").as_deref(), Some("newer"));
    }
}

#[test]
fn a_clearing_that_failed_leaves_the_queue_as_it_was() {
    for s in both(Scope::Process) {
        s.put("k", "value");
        s.far.fail_writes(true);
        assert!(s.world.clear(&s.tier).is_err());
        assert_eq!(s.value("k").as_deref(), Some("value"));
        s.far.fail_writes(false);
        s.flush();
        assert_eq!(s.far_value("k").as_deref(), Some("value"));
    }
}

#[test]
fn an_update_sees_what_was_queued_before_it() {
    for s in both(Scope::Process) {
        s.put("token", "value");
        let Updated::Taken(Some(taken)) = s.update("token", Change::Take).unwrap() else {
            panic!("it is there")
        };
        assert_eq!(taken.value.bytes, "value");
        s.flush();
        assert_eq!(s.far_value("token"), None, "and does not come back");
        assert_eq!(s.update("token", Change::Take).unwrap(), Updated::Taken(None));
        s.put("taken", "value");
        let add = Change::Add(s.world.record("other"));
        assert_eq!(s.update("taken", add).unwrap(), Updated::Refused);
        s.put("k", "value");
        s.far.fail_writes(true);
        assert!(s.update("k", Change::Take).is_err(), "what is queued cannot be judged");
        assert_eq!(s.value("k").as_deref(), Some("value"));
    }
}

#[test]
fn a_fill_is_refused_by_what_was_queued_since_its_reader_looked() {
    for s in both(Scope::Process) {
        for flushed in [false, true] {
            let key = if flushed { "flushed" } else { "queued" };
            let found = block_on(s.tier.read_one(&s.world.path(key), Intent::Load)).unwrap();
            let loaded = s.world.record("loaded");
            s.put(key, "written");
            if flushed {
                s.flush();
            }
            let fill = Write::fill(s.world.path(key), &loaded, found.seen.unwrap(), found.read_at);
            assert_eq!(block_on(s.tier.write_one(&fill)).unwrap(), Wrote::Changed, "{key}");
            s.flush();
            assert_eq!(s.far_value(key).as_deref(), Some("written"));
        }
        // Who looks after that is shown what the tier holds, the queue included.
        s.put("k", "queued");
        let found = block_on(s.tier.read_one(&s.world.path("k"), Intent::Refresh)).unwrap();
        assert_eq!(found.entry.record().unwrap().value.bytes, "queued");
        let loaded = s.world.record("loaded");
        let fill = Write::fill(s.world.path("k"), &loaded, found.seen.unwrap(), found.read_at);
        assert_eq!(block_on(s.tier.write_one(&fill)).unwrap(), Wrote::Done);
        assert_eq!(s.value("k").as_deref(), Some("loaded"));
    }
}

#[test]
fn a_put_that_comes_while_a_fill_is_under_way_is_not_overtaken_by_it() {
    // A put drawn before the load began, which is queued while the fill is at the tier.
    let world = World::new();
    let store = Arc::new(Gated { store: MemoryStore::new(), gate: Mutex::new(()) });
    Store::attach(&store.store, &world.context);
    let tier = world.attached(Offload::new(store.clone(), 1, 16).unwrap().behind(WriteBehind::new()));
    let early = world.record("early");
    let found = block_on(tier.read_one(&world.path("k"), Intent::Load)).unwrap();
    let loaded = world.record("loaded");
    let fill = Write::fill(world.path("k"), &loaded, found.seen.unwrap(), found.read_at);
    let put = Write::put(world.path("k"), &early);
    let gate = store.gate.lock();
    let mut filling = Box::pin(tier.write_one(&fill));
    let mut putting = Box::pin(tier.write_one(&put));
    assert!(poll(&mut filling).is_pending());
    assert!(poll(&mut putting).is_pending(), "the key is at the tier");
    drop(gate);
    assert_eq!(block_on(filling).unwrap(), Wrote::Done);
    assert_eq!(block_on(putting).unwrap(), Wrote::Older(loaded.version), "told so, not taken and lost");
}

/// A store whose writes wait while the gate is held.
#[derive(Debug)]
struct Gated {
    store: MemoryStore,
    gate: Mutex<()>,
}

impl Store for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }
    fn capabilities(&self) -> nanotier_tier::Capabilities {
        self.store.capabilities()
    }
    fn read(
        &self,
        paths: &[nanotier_tier::Path<'_>],
        intent: Intent,
    ) -> nanotier_tier::Result<Vec<nanotier_tier::Result<nanotier_tier::Found>>> {
        self.store.read(paths, intent)
    }
    fn write(&self, writes: &[Write<'_>]) -> nanotier_tier::Result<Vec<nanotier_tier::Result<Wrote>>> {
        drop(self.gate.lock());
        self.store.write(writes)
    }
    fn clear(&self, cleared: &nanotier_tier::Cleared<'_>) -> nanotier_tier::Result<Wrote> {
        self.store.clear(cleared)
    }
}

fn poll<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut TaskContext::from_waker(Waker::noop()))
}

#[test]
fn a_flush_whose_driver_left_is_done_again_and_a_remove_waits_for_it() {
    // A timed-out put whose bytes arrive after a later remove, by way of the queue.
    let world = World::new();
    let store = Arc::new(Gated { store: MemoryStore::new(), gate: Mutex::new(()) });
    Store::attach(&store.store, &world.context);
    let tier = world.attached(Offload::new(store.clone(), 1, 16).unwrap().behind(WriteBehind::new()));
    world.put(&tier, "k", "old");
    let gate = store.gate.lock();
    {
        let mut flush = Box::pin(tier.flush());
        assert!(poll(&mut flush).is_pending());
        let remove = Write::remove(world.path("k"), world.draw(), world.now());
        let mut removing = Box::pin(tier.write_one(&remove));
        assert!(poll(&mut removing).is_pending(), "the put is at the tier");
        drop((flush, removing));
    }
    assert_eq!(tier.state().entries, 1, "nobody knows what became of it");
    drop(gate);
    world.remove(&tier, "k");
    block_on(tier.flush()).unwrap();
    assert!(matches!(world.read(&tier, "k").unwrap().entry, Entry::Removed(_)));
}

#[test]
fn a_full_queue_says_busy_or_makes_wait_and_takes_newer_writes_of_what_it_has() {
    for when_full in [WhenFull::Busy, WhenFull::Wait] {
        for log in [None, Some(MemoryLog::new())] {
            let queue = WriteBehind::new().entries_max(2).when_full(when_full);
            let s = Stage::new(Scope::Process, queue, log);
            s.put("a", "1");
            s.put("b", "1");
            s.put("a", "2");
            let record = s.world.record("1");
            let write = Write::put(s.world.path("c"), &record);
            let mut call = Box::pin(s.tier.write_one(&write));
            match when_full {
                WhenFull::Busy => {
                    let Poll::Ready(Err(error)) = poll(&mut call) else { panic!("at once") };
                    assert_eq!(error.kind(), ErrorKind::Busy);
                }
                WhenFull::Wait => {
                    assert!(poll(&mut call).is_pending());
                    s.world.pass(5);
                    s.tasks.run();
                    assert_eq!(now(call).unwrap(), Wrote::Done, "there is room");
                    s.put("d", "1");
                    let mut call = Box::pin(s.tier.write_one(&write));
                    assert_eq!(poll(&mut call).map(Result::unwrap), Poll::Ready(Wrote::Done), "it has it");
                    let other = Write::put(s.world.path("e"), &record);
                    let mut call = Box::pin(s.tier.write_one(&other));
                    assert!(poll(&mut call).is_pending());
                    s.world.pass(50);
                    let Poll::Ready(Err(error)) = poll(&mut call) else { panic!("its time was over") };
                    assert_eq!(error.kind(), ErrorKind::Busy);
                }
            }
            s.flush();
            assert_eq!(s.far_value("a").as_deref(), Some("2"));
        }
    }
}

#[test]
fn what_does_not_fit_into_the_empty_queue_goes_past_it() {
    for log in [None, Some(MemoryLog::new())] {
        let s = Stage::new(Scope::Process, WriteBehind::new().bytes_max(1000), log);
        s.put("k", "small");
        s.put("k", &"x".repeat(2000));
        assert_eq!(s.far_value("k").map(|value| value.len()), Some(2000));
        assert_eq!((s.tier.state().entries, s.tier.state().bytes), (0, 0));
        s.flush();
        assert_eq!(s.value("k").map(|value| value.len()), Some(2000));
    }
}

#[test]
fn while_the_tier_is_down_writes_are_taken_read_and_written_when_it_is_well() {
    for s in both(Scope::Process) {
        s.far.fail(true);
        for n in 0..10 {
            s.put(&format!("k{n}"), "value");
        }
        for _ in 0..20 {
            s.world.pass(1000);
            s.tasks.run();
        }
        assert_eq!(s.tier.state().entries, 10);
        assert_eq!(s.value("k3").as_deref(), Some("value"));
        s.far.fail(false);
        s.world.pass(1000);
        s.tasks.run();
        s.tasks.run();
        assert_eq!(s.tier.state().entries, 0, "within one pause");
        assert_eq!(s.far_value("k9").as_deref(), Some("value"));
    }
}

#[test]
fn pauses_grow_to_their_limit_and_what_cannot_be_drained_is_reported() {
    let s = Stage::new(Scope::Process, WriteBehind::new().drain_deadline(Duration::from_secs(2)), None);
    s.far.fail_writes(true);
    s.put("k", "value");
    let events = |ms: u64| {
        let before = s.world.now();
        for _ in 0..ms {
            s.world.pass(1);
            s.tasks.run();
        }
        assert!(s.world.now() > before);
    };
    events(5000);
    assert_eq!(s.tier.state().entries, 1);
    let mut flush = Box::pin(s.tier.flush());
    let mut polls = 0;
    let error = loop {
        if let Poll::Ready(answer) = poll(&mut flush) {
            break answer.unwrap_err();
        }
        s.world.pass(10);
        polls += 1;
        assert!(polls < 1000, "the drain deadline is two seconds");
    };
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("1 queued writes"), "{error}");
    s.far.fail_writes(false);
    s.flush();
}

#[test]
fn a_write_refused_for_good_is_reported_and_holds_up_no_other() {
    #[derive(Default)]
    struct Log(Mutex<Vec<Event>>);
    impl Observer for Log {
        fn event(&self, event: &Event) {
            self.0.lock().push(event.clone());
        }
    }
    // A tier shared with others: what was queued longer than it keeps tombstones could undo another's delete.
    let log = Arc::new(Log::default());
    let mut s = Stage::new(Scope::Fleet, WriteBehind::new(), None);
    let tasks = s.tasks.clone();
    s.world.context = s.world.context.clone().with_observer(log.clone()).with_spawner(Arc::new(tasks));
    s.tier = s.world.attached(s.far.tier().behind(WriteBehind::new()));
    s.put("late", "value");
    s.world.hands.advance(Duration::from_secs(61));
    s.put("k", "value");
    let error = block_on(s.tier.flush()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage);
    assert_eq!((s.tier.state().lost, s.tier.state().written, s.tier.state().entries), (1, 1, 0));
    assert!(log.0.lock().contains(&Event::QueuedWriteLost { tier: "faulty", at: TierIndex(0) }));
    assert_eq!((s.far_value("late"), s.far_value("k").as_deref()), (None, Some("value")));
    block_on(s.tier.flush()).unwrap();

    // Where nobody else writes, nothing can be undone.
    for (scope, queue) in
        [(Scope::Process, WriteBehind::new()), (Scope::Fleet, WriteBehind::new().sole_writer(true))]
    {
        let s = Stage::new(scope, queue, None);
        s.put("late", "value");
        s.world.hands.advance(Duration::from_secs(61));
        s.flush();
        assert_eq!(s.far_value("late").as_deref(), Some("value"));
    }
}

#[test]
fn what_another_wrote_in_between_wins_by_its_version_and_later_writes_are_above_it() {
    for s in both(Scope::Fleet) {
        s.put("k", "mine");
        let ahead = Record {
            version: Version::from_parts(s.world.draw().parts().0 + (5000 << 16), 9),
            ..s.world.record("theirs")
        };
        s.world.write(&s.far.tier(), &Write::put(s.world.path("k"), &ahead));
        s.flush();
        assert_eq!(s.value("k").as_deref(), Some("theirs"));
        assert_eq!(s.tier.state().superseded, 1);
        assert!(s.world.draw() > ahead.version, "the clock has seen it");
        s.put("k", "again");
        s.flush();
        assert_eq!(s.value("k").as_deref(), Some("again"));
    }
}

#[test]
fn a_dead_writer_from_before_the_queue_is_not_taken() {
    for s in both(Scope::Process) {
        // Decided before this queue was there, and removed since by another way.
        let far = s.far.clone();
        let old = s.world.record("old");
        s.world.remove(&far.tier(), "k");
        let tier = s.world.attached(far.tier().behind(WriteBehind::new()));
        let wrote = block_on(tier.write_one(&Write::put(s.world.path("k"), &old))).unwrap();
        assert!(matches!(wrote, Wrote::Older(_)), "{wrote:?}: it is asked, since nobody here knows");
        assert_eq!(s.world.value(&tier, "k"), None);
    }
}

#[test]
fn a_near_copy_before_a_queue_keeps_its_rules() {
    for log in [None, Some(MemoryLog::new())] {
        let world = World::new();
        let (near, far) = (Faulty::new(Scope::Process), Faulty::new(Scope::Process));
        let behind = match log {
            Some(log) => far.tier().behind_logged(WriteBehind::new(), log).unwrap(),
            None => far.tier().behind(WriteBehind::new()),
        };
        let queue = behind.queue();
        let chain = world.attached(near.tier().over(behind));
        world.put(&chain, "k", "old");
        block_on(queue.flush()).unwrap();
        // (9): the near tier is down during a write that is queued.
        world.pass(1);
        near.fail(true);
        world.put(&chain, "k", "new");
        near.fail(false);
        assert_eq!(world.value(&near.tier(), "k").as_deref(), Some("old"), "it missed the write");
        assert_eq!(world.value(&chain, "k").as_deref(), Some("new"));
        far.fail(true);
        assert_eq!(world.value(&chain, "k").as_deref(), Some("new"), "the queue has it");
        far.fail(false);
        block_on(queue.flush()).unwrap();
        far.fail(true);
        assert!(world.read(&chain, "k").is_err(), "dead: not even better than nothing");
        far.fail(false);
        // (8): a delete, with a put still queued.
        world.put(&chain, "k", "newest");
        world.remove(&chain, "k");
        block_on(queue.flush()).unwrap();
        for tier in [near.tier(), far.tier()] {
            assert_eq!(world.value(&tier, "k"), None);
        }
    }
}

#[test]
fn closing_writes_what_is_queued_and_reports_what_it_could_not() {
    for s in both(Scope::Process) {
        s.put("k", "value");
        now(s.tier.close()).unwrap();
        assert_eq!(s.tier.state().entries, 0);
        let write = s.world.try_put(&s.tier, "k", "late").unwrap_err();
        assert_eq!(write.kind(), ErrorKind::Closed);
        now(s.tier.close()).unwrap();
    }
    for s in both(Scope::Process) {
        s.far.fail_writes(true);
        s.put("k", "value");
        let mut close = Box::pin(s.tier.close());
        let error = loop {
            if let Poll::Ready(answer) = poll(&mut close) {
                break answer.unwrap_err();
            }
            s.world.pass(100);
        };
        assert!(error.to_string().contains("1 queued writes are not through"), "{error}");
        let again = now(s.tier.close()).unwrap_err();
        assert_eq!(again.to_string(), error.to_string(), "closing twice is closing once");
    }
}

#[test]
fn a_queue_that_was_dropped_is_written_all_the_same_or_given_up_at_its_deadline() {
    for fails in [false, true] {
        let s = Stage::new(Scope::Process, WriteBehind::new(), None);
        s.put("k", "value");
        s.far.fail_writes(fails);
        let Stage { world, tasks, far, tier } = s;
        drop(tier);
        for _ in 0..100 {
            world.pass(100);
            tasks.run();
        }
        assert_eq!(world.value(&far.tier(), "k").is_some(), !fails);
        assert!(tasks.0.lock().is_empty(), "nobody goes on for ever");
    }
}

#[test]
fn a_background_task_that_its_spawner_dropped_goes_on_elsewhere() {
    let s = Stage::new(Scope::Process, WriteBehind::new().delay(Duration::ZERO), None);
    s.put("k", "value");
    s.tasks.0.lock().clear();
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while s.tier.state().entries > 0 {
        assert!(std::time::Instant::now() < deadline, "nobody writes it");
        std::thread::yield_now();
    }
    assert_eq!(s.far_value("k").as_deref(), Some("value"));
}

#[test]
fn a_write_that_the_log_did_not_take_is_not_taken() {
    let log = MemoryLog::new();
    let s = Stage::new(Scope::Process, WriteBehind::new(), Some(log.clone()));
    s.put("k", "old");
    log.fail(true);
    assert_eq!(s.world.try_put(&s.tier, "k", "new").unwrap_err().kind(), ErrorKind::Storage);
    assert!(s.world.try_remove(&s.tier, "k").is_err());
    assert_eq!(s.value("k").as_deref(), Some("old"));
    log.fail(false);
    s.put("k", "new");
    s.flush();
    assert_eq!(s.far_value("k").as_deref(), Some("new"));
}

#[test]
fn a_batch_is_written_in_few_calls_and_answered_in_order() {
    for s in both(Scope::Process) {
        let records: Vec<Record> = (0..300).map(|n| s.world.record(&format!("{n}"))).collect();
        let keys: Vec<String> = (0..300).map(|n| format!("k{n}")).collect();
        let old = s.world.record("old");
        let mut writes: Vec<Write<'_>> =
            keys.iter().zip(&records).map(|(key, record)| Write::put(s.world.path(key), record)).collect();
        let removed = s.world.draw();
        writes.insert(7, Write::remove(s.world.path("k3"), removed, s.world.now()));
        writes.push(Write { version: records[0].version, ..Write::put(s.world.path("k1"), &old) });
        let answers = block_on(s.tier.write(&writes)).unwrap();
        let (last, rest) = answers.split_last().unwrap();
        assert!(rest.iter().all(|answer| matches!(answer, Ok(Wrote::Done))));
        assert!(matches!(last, Ok(Wrote::Older(_))));
        assert_eq!(s.value("k3"), None, "removed after it was put, in one batch");
        s.flush();
        assert_eq!(s.far_value("k299").as_deref(), Some("299"));
        assert_eq!(s.far_value("k3"), None);
    }
}

#[test]
fn a_chain_is_not_put_behind_a_queue_and_options_that_cannot_work_are_refused() {
    let tier = || Inline(MemoryStore::new());
    let chain = tier().over(tier()).behind(WriteBehind::new());
    assert_eq!(chain.verify().unwrap_err().kind(), ErrorKind::Config);
    let wrong = [
        WriteBehind::new().entries_max(0),
        WriteBehind::new().bytes_max(0),
        WriteBehind::new().batch_max(0),
        WriteBehind::new().wait(Duration::ZERO),
        WriteBehind::new().pause(Duration::ZERO, Duration::ZERO),
        WriteBehind::new().pause(Duration::from_secs(2), Duration::from_secs(1)),
    ];
    for queue in wrong {
        let error = tier().over(tier().behind(queue.clone())).verify().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{queue:?}");
    }
    assert!(tier().over(tier().behind(WriteBehind::new())).verify().is_ok());
}

#[test]
fn an_acknowledgement_is_worth_what_its_capabilities_say() {
    use nanotier_tier::{Durability, NullStore};
    let plain = Inline(NullStore::new()).behind(WriteBehind::new());
    assert_eq!(plain.capabilities().durability, Durability::Volatile);
    let logged = Inline(NullStore::new()).behind_logged(WriteBehind::new(), MemoryLog::new()).unwrap();
    assert_eq!(logged.capabilities().durability, Inline(NullStore::new()).capabilities().durability);
    let synced = Inline(MemoryStore::new()).behind_logged(WriteBehind::new(), MemoryLog::new()).unwrap();
    assert_eq!(
        synced.capabilities().durability,
        Durability::Volatile,
        "a log before memory keeps nothing longer"
    );
}

/// A tier over a memory store that answers as it is told.
#[derive(Clone, Default)]
struct Odd {
    store: Arc<MemoryStore>,
    /// No write is answered.
    silent: Arc<AtomicBool>,
    /// Only the first write of a batch is done, and answered.
    short: Arc<AtomicBool>,
}

impl Tier for Odd {
    fn name(&self) -> &'static str {
        "odd"
    }
    fn capabilities(&self) -> nanotier_tier::Capabilities {
        Store::capabilities(&*self.store)
    }
    fn attach(&self, context: &nanotier_tier::Context) {
        Store::attach(&*self.store, context);
    }
    async fn read(
        &self,
        paths: &[nanotier_tier::Path<'_>],
        intent: Intent,
    ) -> nanotier_tier::Result<Vec<nanotier_tier::Result<nanotier_tier::Found>>> {
        Store::read(&*self.store, paths, intent)
    }
    async fn write(&self, writes: &[Write<'_>]) -> nanotier_tier::Result<Vec<nanotier_tier::Result<Wrote>>> {
        if self.silent.load(SeqCst) {
            std::future::pending::<()>().await;
        }
        let count = if self.short.load(SeqCst) { 1 } else { writes.len() };
        Store::write(&*self.store, &writes[..count])
    }
    async fn clear(&self, cleared: &nanotier_tier::Cleared<'_>) -> nanotier_tier::Result<Wrote> {
        Store::clear(&*self.store, cleared)
    }
}

#[test]
fn flush_and_close_end_at_their_deadline_though_the_tier_never_answers() {
    let (mut world, tasks, odd) = (World::new(), Tasks::default(), Odd::default());
    world.context = world.context.clone().with_spawner(Arc::new(tasks));
    let tier = world.attached(odd.clone().behind(WriteBehind::new()));
    world.put(&tier, "k", "value");
    odd.silent.store(true, SeqCst);
    let mut flush = Box::pin(tier.flush());
    assert!(poll(&mut flush).is_pending());
    world.pass(5000);
    let Poll::Ready(Err(error)) = poll(&mut flush) else { panic!("its time is over") };
    assert_eq!(error.kind(), ErrorKind::Timeout);
    drop(flush);
    assert_eq!(world.value(&tier, "k").as_deref(), Some("value"), "it is still queued");
    let mut close = Box::pin(tier.close());
    assert!(poll(&mut close).is_pending());
    world.pass(5000);
    let Poll::Ready(Err(error)) = poll(&mut close) else { panic!("its time is over") };
    assert!(error.to_string().contains("1 queued writes"), "{error}");
}

#[test]
fn a_flush_ends_when_what_was_queued_before_it_is_written_whatever_others_write_since() {
    let mut world = World::new();
    // No background task: it might write what came later on its own account.
    world.context = world.context.clone().with_spawner(Arc::new(Tasks::default()));
    let store = Arc::new(Gated { store: MemoryStore::new(), gate: Mutex::new(()) });
    Store::attach(&store.store, &world.context);
    let tier = world.attached(Offload::new(store.clone(), 1, 16).unwrap().behind(WriteBehind::new()));
    world.put(&tier, "mine", "value");
    let gate = store.gate.lock();
    let mut flush = Box::pin(tier.flush());
    assert!(poll(&mut flush).is_pending());
    world.put(&tier, "theirs", "value");
    world.put(&tier, "mine", "newer");
    drop(gate);
    block_on(flush).unwrap();
    assert_eq!(tier.state().entries, 2, "that is the next flush's");
    block_on(tier.flush()).unwrap();
    assert_eq!(tier.state().entries, 0);
}

#[test]
fn a_flush_has_what_was_acknowledged_before_it_though_an_older_write_of_the_key_was_under_way() {
    let mut world = World::new();
    // No background task: it might write what came later on its own account.
    world.context = world.context.clone().with_spawner(Arc::new(Tasks::default()));
    let store = Arc::new(Gated { store: MemoryStore::new(), gate: Mutex::new(()) });
    Store::attach(&store.store, &world.context);
    let tier = world.attached(Offload::new(store.clone(), 1, 16).unwrap().behind(WriteBehind::new()));
    world.put(&tier, "k", "value");
    let gate = store.gate.lock();
    let mut before = Box::pin(tier.flush());
    assert!(poll(&mut before).is_pending());
    world.put(&tier, "k", "newer");
    let mut flush = Box::pin(tier.flush());
    assert!(poll(&mut flush).is_pending());
    drop(gate);
    block_on(before).unwrap();
    assert_eq!(tier.state().entries, 1, "that is the next flush's");
    block_on(flush).unwrap();
    assert_eq!(tier.state().entries, 0);
    let found = Store::read(&store.store, &[world.path("k")], Intent::Look).unwrap().pop().unwrap();
    assert_eq!(found.unwrap().entry.record().unwrap().value.bytes, &b"newer"[..]);
}

#[test]
fn the_background_task_ends_when_others_have_written_all_that_was_queued() {
    let (mut world, tasks) = (World::new(), Tasks::default());
    world.context = world.context.clone().with_spawner(Arc::new(tasks.clone()));
    let store = Arc::new(Gated { store: MemoryStore::new(), gate: Mutex::new(()) });
    Store::attach(&store.store, &world.context);
    let tier = world.attached(Offload::new(store.clone(), 1, 16).unwrap().behind(WriteBehind::new()));
    world.put(&tier, "k", "value");
    let gate = store.gate.lock();
    let mut flush = Box::pin(tier.flush());
    assert!(poll(&mut flush).is_pending());
    tasks.run();
    assert_eq!(tasks.0.lock().len(), 1, "it waits for what becomes of the flush, which has no moment");
    drop(gate);
    block_on(flush).unwrap();
    // As one does who ends his runtime when everything is written, and all tasks have ended.
    tasks.run();
    assert!(tasks.0.lock().is_empty(), "it would wait for the next write");
    // Which starts another.
    world.put(&tier, "k", "newer");
    world.pass(5);
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !tasks.0.lock().is_empty() {
        assert!(std::time::Instant::now() < deadline, "nobody writes it");
        tasks.run();
        std::thread::yield_now();
    }
    assert_eq!(tier.state().entries, 0);
}

#[test]
fn a_write_that_the_tier_leaves_without_an_answer_stays_queued() {
    for log in [None, Some(MemoryLog::new())] {
        let (mut world, tasks, odd) = (World::new(), Tasks::default(), Odd::default());
        world.context = world.context.clone().with_spawner(Arc::new(tasks));
        let tier = world.attached(match log {
            Some(log) => odd.clone().behind_logged(WriteBehind::new(), log).unwrap(),
            None => odd.clone().behind(WriteBehind::new()),
        });
        odd.short.store(true, SeqCst);
        world.put(&tier, "a", "1");
        world.put(&tier, "b", "1");
        let mut flush = Box::pin(tier.flush());
        assert!(poll(&mut flush).is_pending());
        drop(flush);
        assert_eq!(tier.state().entries, 1);
        odd.short.store(false, SeqCst);
        block_on(tier.flush()).unwrap();
        for key in ["a", "b"] {
            assert_eq!(world.value(&odd, key).as_deref(), Some("1"));
        }
    }
}

#[test]
fn closes_that_wait_for_another_one_do_not_keep_each_other_awake() {
    #[derive(Default)]
    struct Woken(AtomicBool);
    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, SeqCst);
        }
    }
    let s = Stage::new(Scope::Process, WriteBehind::new(), None);
    s.far.fail_writes(true);
    s.put("k", "value");
    let mut closes: Vec<_> =
        (0..4).map(|_| (Box::pin(s.tier.close()), Arc::new(Woken(true.into())), false)).collect();
    let mut polls = 0;
    for _ in 0..100 {
        // Until all are asleep.
        loop {
            let mut slept = true;
            for (close, woken, ended) in &mut closes {
                if !*ended && woken.0.swap(false, SeqCst) {
                    let waker = Waker::from(woken.clone());
                    *ended = close.as_mut().poll(&mut TaskContext::from_waker(&waker)).is_ready();
                    polls += 1;
                    assert!(polls < 2000, "they wake each other for ever");
                    slept = false;
                }
            }
            if slept {
                break;
            }
        }
        s.world.pass(100);
    }
    assert!(closes.iter().all(|(_, _, ended)| *ended));
}
