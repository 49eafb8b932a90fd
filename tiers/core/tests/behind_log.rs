//! What a crash leaves of a queue with a log: every acknowledged write, and no delete undone.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use common::{Faulty, World};
use nanotier_tier::behind::{FileLog, LogItem, MemoryLog, QueueLog};
use nanotier_tier::waiting::block_on;
use nanotier_tier::{
    Behind, Change, Entry, ErrorKind, Inline, MemoryStore, Path, Record, Scope, Spawn, Store, Task, Tier,
    Update, Updated, Version, Write, WriteBehind, Wrote,
};
use parking_lot::Mutex;

/// Runs nothing: what is queued is written when the test says so.
struct Nothing;

impl Spawn for Nothing {
    fn spawn(&self, task: Task) -> Result<(), Task> {
        std::mem::forget(task);
        Ok(())
    }
}

fn world() -> World {
    let mut world = World::new();
    world.context = world.context.clone().with_spawner(Arc::new(Nothing));
    world
}

/// A memory store that remembers what it took, so that it can be had as it was.
#[derive(Clone, Default)]
struct Recorded {
    store: Arc<MemoryStore>,
    /// Each with how long the log was then: what is in the log behind that, came after it.
    done: Arc<Mutex<Vec<(usize, Done)>>>,
    log: MemoryLog,
}

#[derive(Clone)]
enum Done {
    Wrote(Write<'static>),
    Updated(Update<'static>),
    Cleared(Version),
}

impl Recorded {
    fn len(&self) -> usize {
        self.done.lock().len()
    }

    fn note(&self, done: impl IntoIterator<Item = Done>) {
        let len = self.log.bytes().len();
        self.done.lock().extend(done.into_iter().map(|done| (len, done)));
    }

    /// How many calls may have been done when the log was cut there: at least, at most.
    fn range_at(&self, cut: usize) -> (usize, usize) {
        let done = self.done.lock();
        (
            done.iter().filter(|(len, _)| *len < cut).count(),
            done.iter().filter(|(len, _)| *len <= cut).count(),
        )
    }

    /// The store after its first `count` calls.
    fn at(&self, world: &World, count: usize) -> Self {
        let recorded = Self::default();
        Store::attach(&*recorded.store, &world.context);
        for (_, done) in self.done.lock().iter().take(count) {
            match done {
                Done::Wrote(write) => drop(recorded.write(std::slice::from_ref(write))),
                Done::Updated(update) => drop(recorded.update(update)),
                Done::Cleared(version) => {
                    let (namespace, as_of) = (&world.namespace, world.now());
                    let _ = recorded.clear(&nanotier_tier::Cleared { namespace, version: *version, as_of });
                }
            }
        }
        recorded
    }
}

impl Store for Recorded {
    fn name(&self) -> &'static str {
        "recorded"
    }
    fn capabilities(&self) -> nanotier_tier::Capabilities {
        self.store.capabilities()
    }
    fn attach(&self, context: &nanotier_tier::Context) {
        Store::attach(&*self.store, context);
    }
    fn read(
        &self,
        paths: &[Path<'_>],
        intent: nanotier_tier::Intent,
    ) -> nanotier_tier::Result<Vec<nanotier_tier::Result<nanotier_tier::Found>>> {
        self.store.read(paths, intent)
    }
    fn write(&self, writes: &[Write<'_>]) -> nanotier_tier::Result<Vec<nanotier_tier::Result<Wrote>>> {
        self.note(writes.iter().map(|write| Done::Wrote(write.clone().into_owned())));
        self.store.write(writes)
    }
    fn update(&self, update: &Update<'_>) -> nanotier_tier::Result<Updated> {
        let owned =
            Update { path: update.path.clone().into_owned(), change: update.change.clone(), ..*update };
        self.note([Done::Updated(owned)]);
        self.store.update(update)
    }
    fn clear(&self, cleared: &nanotier_tier::Cleared<'_>) -> nanotier_tier::Result<Wrote> {
        self.note([Done::Cleared(cleared.version)]);
        self.store.clear(cleared)
    }
}

/// What the keys hold after a step was acknowledged; and how far log and tier had come then.
struct Step {
    keys: BTreeMap<String, Option<String>>,
    log_len: usize,
    far_len: usize,
}

const KEYS: [&str; 4] = ["a", "b", "c", "d"];

/// A life of a queue, step by step.
fn live(world: &World, far: &Recorded, log: &MemoryLog) -> Vec<Step> {
    let tier = world.attached(Inline(far.clone()).behind_logged(WriteBehind::new(), log.clone()).unwrap());
    let mut keys: BTreeMap<String, Option<String>> =
        KEYS.into_iter().map(|key| (key.to_owned(), None)).collect();
    let mut steps = vec![Step { keys: keys.clone(), log_len: log.bytes().len(), far_len: far.len() }];
    for (turn, action) in [
        "put a", "put b", "put a", "flush", "del a", "put c", "put a", "flush", "del b", "take c", "put c",
        "flush", "clear", "put d", "del a", "put a", "del d", "flush", "put d", "take d", "del c",
    ]
    .into_iter()
    .enumerate()
    {
        world.pass(1);
        let (verb, key) = action.split_once(' ').unwrap_or((action, ""));
        match verb {
            "put" => {
                let value = format!("{turn}");
                world.put(&tier, key, &value);
                keys.insert(key.to_owned(), Some(value));
            }
            "del" => {
                world.remove(&tier, key);
                keys.insert(key.to_owned(), None);
            }
            "take" => {
                let (version, as_of) = (world.draw(), world.now());
                let update = Update { path: world.path(key), change: Change::Take, version, as_of };
                assert!(matches!(block_on(tier.update(&update)).unwrap(), Updated::Taken(Some(_))));
                keys.insert(key.to_owned(), None);
            }
            "clear" => {
                assert_eq!(world.clear(&tier).unwrap(), Wrote::Done);
                keys.values_mut().for_each(|value| *value = None);
            }
            _ => block_on(tier.flush()).unwrap(),
        }
        steps.push(Step { keys: keys.clone(), log_len: log.bytes().len(), far_len: far.len() });
    }
    steps
}

fn reopen(world: &World, far: Recorded, bytes: &[u8]) -> Behind<Inline<Recorded>> {
    world.attached(Inline(far).behind_logged(WriteBehind::new(), MemoryLog::of_bytes(bytes)).unwrap())
}

#[test]
fn at_whatever_byte_the_process_dies_no_acknowledged_write_is_lost_and_no_delete_undone() {
    let (world, log) = (world(), MemoryLog::new());
    let far = Recorded { log: log.clone(), ..Recorded::default() };
    Store::attach(&*far.store, &world.context);
    let steps = live(&world, &far, &log);
    let bytes = log.bytes();
    let mut crashes = 0;
    for pair in steps.windows(2) {
        let [before, after] = pair else { unreachable!() };
        for cut in before.log_len..=after.log_len {
            let (least, most) = far.range_at(cut);
            for far_len in before.far_len.max(least)..=after.far_len.min(most) {
                let tier = reopen(&world, far.at(&world, far_len), &bytes[..cut]);
                for flushed in [false, true] {
                    if flushed {
                        block_on(tier.flush()).unwrap();
                    }
                    for key in KEYS {
                        let found = world.value(&tier, key);
                        assert!(
                            found == before.keys[key] || found == after.keys[key],
                            "{key}: {found:?}, neither {:?} nor {:?}; {cut} bytes, {far_len} calls, flushed: {flushed}",
                            before.keys[key],
                            after.keys[key]
                        );
                    }
                }
                crashes += 1;
            }
        }
    }
    println!("COUNT crashes {crashes}");
    assert!(crashes > 2000, "{crashes}");
    // And with all of it there, nothing but the last state is found.
    let last = steps.last().unwrap();
    let tier = reopen(&world, far.at(&world, last.far_len), &bytes);
    KEYS.iter().for_each(|key| assert_eq!(world.value(&tier, key), last.keys[*key], "{key}"));
}

#[test]
fn what_was_done_past_the_queue_is_not_undone_by_the_log_however_late() {
    // Long after: the tier has forgotten its tombstones.
    for verb in ["take", "clear"] {
        let (world, far, log) = (world(), Recorded::default(), MemoryLog::new());
        Store::attach(&*far.store, &world.context);
        let tier =
            world.attached(Inline(far.clone()).behind_logged(WriteBehind::new(), log.clone()).unwrap());
        world.put(&tier, "k", "token");
        block_on(tier.flush()).unwrap();
        if verb == "take" {
            let (version, as_of) = (world.draw(), world.now());
            let update = Update { path: world.path("k"), change: Change::Take, version, as_of };
            assert!(matches!(block_on(tier.update(&update)).unwrap(), Updated::Taken(Some(_))));
        } else {
            assert_eq!(world.clear(&tier).unwrap(), Wrote::Done);
        }
        // The trim that made the log forget is lost, what was appended is not.
        let items: Vec<LogItem<'static>> = {
            let all = MemoryLog::of_bytes(without_trims(&log.bytes()));
            all.replay().unwrap()
        };
        assert!(items.iter().any(|item| matches!(item, LogItem::Write { .. })), "the put is still in it");
        world.hands.advance(std::time::Duration::from_secs(3600));
        far.store.sweep();
        // A tier may forget a clearing when nothing is left in the namespace.
        let far = if verb == "clear" { Recorded::default() } else { far.clone() };
        let tier = reopen(&world, far, &without_trims(&log.bytes()));
        assert_eq!(world.value(&tier, "k"), None, "{verb}");
        block_on(tier.flush()).unwrap();
        assert_eq!(world.value(&tier, "k"), None, "{verb}");
    }
}

/// The bytes of a log but its trims: each is 40 bytes, of kind 3.
fn without_trims(bytes: &[u8]) -> Vec<u8> {
    let (mut rest, mut kept) = (bytes, Vec::new());
    while !rest.is_empty() {
        let u32_at =
            |at: usize| usize::try_from(u32::from_le_bytes(rest[at..at + 4].try_into().unwrap())).unwrap();
        let len = 36 + u32_at(24) + u32_at(28) + 4;
        let (frame, behind) = rest.split_at(len);
        if frame[4] != 3 {
            kept.extend_from_slice(frame);
        }
        rest = behind;
    }
    kept
}

#[test]
fn what_a_process_before_left_is_served_in_doubt_while_the_tier_is_down() {
    let world = world();
    let (far, log) = (Faulty::new(Scope::Process), MemoryLog::new());
    let tier = world.attached(far.tier().behind_logged(WriteBehind::new(), log.clone()).unwrap());
    world.put(&tier, "k", "value");
    far.fail(true);
    let again = far.tier().behind_logged(WriteBehind::new(), MemoryLog::of_bytes(log.bytes())).unwrap();
    let again = world.attached(again);
    assert_eq!(world.look(&again, "k"), Some(("value".to_owned(), false)));
    far.fail(false);
    assert_eq!(world.look(&again, "k"), Some(("value".to_owned(), true)), "written first, then read");
    assert_eq!(world.value(&far.tier(), "k").as_deref(), Some("value"));
}

/// A folder that is removed at the end.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("nanotier-log-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn log(&self) -> std::path::PathBuf {
        self.0.join("queue")
    }

    /// What another process would find, had this one died now.
    fn crashed(&self, name: &str) -> Self {
        let copy = Self::new(name);
        for file in ["queue.0", "queue.1"] {
            fs::copy(self.0.join(file), copy.0.join(file)).unwrap();
        }
        copy
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn item(world: &World, number: u64, key: &str, record: &Record) -> LogItem<'static> {
    LogItem::Write { number, write: Write::put(world.path(key), record).into_owned() }
}

fn numbers(log: &FileLog) -> Vec<u64> {
    log.replay().unwrap().iter().map(LogItem::number).collect()
}

#[test]
fn a_file_log_gives_back_what_was_appended_and_cuts_a_torn_end() {
    let (world, folder) = (World::new(), Folder::new("torn"));
    let record = world.record("value");
    let log = FileLog::open(folder.log()).unwrap();
    assert_eq!(FileLog::open(folder.log()).unwrap_err().kind(), ErrorKind::InUse);
    assert!(log.replay().unwrap().is_empty());
    log.append(&[item(&world, 1, "a", &record), item(&world, 2, "b", &record)]).unwrap();
    let version = world.draw();
    let remove = Write::remove(world.path("c"), version, world.now()).into_owned();
    log.append(&[LogItem::Write { number: 3, write: remove }]).unwrap();
    drop(log);
    let file = folder.0.join("queue.0");
    let other = folder.0.join("queue.1");
    let (file, whole) = if fs::metadata(&file).unwrap().len() > 0 {
        (file.clone(), fs::read(&file).unwrap())
    } else {
        (other.clone(), fs::read(&other).unwrap())
    };
    // Frames of items 1, 2 and 3.
    let log = FileLog::open(folder.log()).unwrap();
    let items = log.replay().unwrap();
    assert_eq!(items.iter().map(LogItem::number).collect::<Vec<_>>(), [1, 2, 3]);
    let LogItem::Write { write, .. } = &items[0] else { panic!("a write") };
    assert_eq!((write.record.as_deref(), write.as_of), (Some(&record), record.written_at));
    let LogItem::Write { write, .. } = &items[2] else { panic!("a write") };
    assert_eq!((write.record.as_deref(), write.version), (None, version));
    drop(log);
    let mut seen = std::collections::BTreeSet::new();
    for cut in 24..whole.len() {
        fs::write(&file, &whole[..cut]).unwrap();
        let log = FileLog::open(folder.log()).unwrap();
        let count = log.replay().unwrap().len();
        assert!(count < 3, "{cut}");
        seen.insert(count);
        // It goes on behind what is whole.
        log.append(&[item(&world, 9, "z", &record)]).unwrap();
        drop(log);
        let log = FileLog::open(folder.log()).unwrap();
        assert_eq!(numbers(&log).len(), count + 1, "{cut}");
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 2], "an append is there whole or not at all");
}

#[test]
fn a_file_log_gives_back_room_and_says_what_stands_in_the_way() {
    let (world, folder) = (World::new(), Folder::new("room"));
    let record = world.record("value");
    let log = FileLog::open_with(folder.log(), 1000).unwrap();
    let size = || {
        ["queue.0", "queue.1"]
            .map(|name| fs::metadata(folder.0.join(name)).unwrap().len())
            .iter()
            .sum::<u64>()
    };
    for number in 1..2000 {
        log.append(&[item(&world, number, "k", &record)]).unwrap();
        log.trim(number + 1).unwrap();
        assert!(size() < 5000, "number {number}: {} bytes", size());
        assert_eq!(log.crowded_below(), None);
    }
    // Now nothing is done any more.
    for number in 2000..2020 {
        log.append(&[item(&world, number, "k", &record)]).unwrap();
    }
    let below = log.crowded_below().expect("both files are full");
    assert!((2000..2020).contains(&below), "{below}");
    log.trim(below).unwrap();
    log.append(&[item(&world, 2020, "k", &record)]).unwrap();
    assert!(size() < 5000);
    drop(log);
    let log = FileLog::open(folder.log()).unwrap();
    let left = numbers(&log);
    assert!((below..=2020).all(|number| left.contains(&number)), "{left:?}");
}

#[test]
fn files_that_are_no_log_or_are_damaged_are_refused_and_left_alone() {
    let (world, folder) = (World::new(), Folder::new("foreign"));
    let file = folder.0.join("queue.0");
    fs::write(&file, b"somebody's diary, and no log at all").unwrap();
    assert_eq!(FileLog::open(folder.log()).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(fs::read(&file).unwrap(), b"somebody's diary, and no log at all");
    fs::remove_file(&file).unwrap();

    // The older file is finished: damage in it is no torn end.
    let record = world.record("value");
    let log = FileLog::open_with(folder.log(), 1).unwrap();
    for number in 1..4 {
        log.append(&[item(&world, number, "k", &record)]).unwrap();
        log.trim(number).unwrap();
    }
    drop(log);
    let generation = |name: &str| fs::read(folder.0.join(name)).unwrap()[8];
    let older = if generation("queue.0") < generation("queue.1") { "queue.0" } else { "queue.1" };
    let mut bytes = fs::read(folder.0.join(older)).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(folder.0.join(older), bytes).unwrap();
    assert_eq!(FileLog::open(folder.log()).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn a_queue_over_a_file_log_is_there_after_the_process_died() {
    let (world, folder) = (world(), Folder::new("queue-0"));
    let store = Arc::new(MemoryStore::new());
    let open = |folder: &Folder| {
        let log = FileLog::open_with(folder.log(), 500).unwrap();
        world.attached(Inline(store.clone()).behind_logged(WriteBehind::new(), log).unwrap())
    };
    let tier = open(&folder);
    world.put(&tier, "a", "1");
    world.put(&tier, "b", "1");
    world.remove(&tier, "b");
    let folder = folder.crashed("queue-1");
    let tier = open(&folder);
    assert_eq!(tier.state().entries, 2);
    assert_eq!(world.value(&tier, "a").as_deref(), Some("1"));
    assert!(matches!(world.read(&tier, "b").unwrap().entry, Entry::Removed(_)));
    for n in 0..50 {
        world.put(&tier, &format!("k{n}"), "value");
        block_on(tier.flush()).unwrap();
    }
    world.put(&tier, "c", "1");
    let folder = folder.crashed("queue-2");
    let tier = open(&folder);
    assert!(tier.state().entries < 10, "what was written is forgotten, but for what was written last");
    assert_eq!(world.value(&tier, "c").as_deref(), Some("1"));
    block_on(tier.close()).unwrap();
    let folder = folder.crashed("queue-3");
    assert_eq!(open(&folder).state().entries, 0, "a log that was closed has nothing left");
}

#[test]
fn one_write_that_waits_for_long_does_not_make_the_log_grow() {
    let (world, folder) = (world(), Folder::new("waits-0"));
    // A tier that takes all keys but one.
    let store = Arc::new(Picky(MemoryStore::new()));
    Store::attach(&store.0, &world.context);
    let log = FileLog::open_with(folder.log(), 2000).unwrap();
    let queue = WriteBehind::new().drain_deadline(std::time::Duration::from_millis(1));
    let tier = world.attached(Inline(store).behind_logged(queue, log).unwrap());
    world.put(&tier, "stuck", "value");
    for n in 0..200 {
        world.put(&tier, &format!("k{n}"), "value");
        // It pauses for the one that is stuck: time passes by hand.
        let mut flush = Box::pin(tier.flush());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        while Future::poll(flush.as_mut(), &mut context).is_pending() {
            world.pass(1);
        }
    }
    assert_eq!(tier.state().entries, 1);
    let size: u64 =
        ["queue.0", "queue.1"].map(|name| fs::metadata(folder.0.join(name)).unwrap().len()).iter().sum();
    assert!(size < 8000, "{size} bytes");
    let folder = folder.crashed("waits-1");
    let log = FileLog::open(folder.log()).unwrap();
    let again = Inline(MemoryStore::new()).behind_logged(WriteBehind::new(), log).unwrap();
    assert_eq!(world.value(&world.attached(again), "stuck").as_deref(), Some("value"));
}

/// Fails to take the key `stuck`.
#[derive(Debug)]
struct Picky(MemoryStore);

impl Store for Picky {
    fn name(&self) -> &'static str {
        "picky"
    }
    fn capabilities(&self) -> nanotier_tier::Capabilities {
        self.0.capabilities()
    }
    fn read(
        &self,
        paths: &[Path<'_>],
        intent: nanotier_tier::Intent,
    ) -> nanotier_tier::Result<Vec<nanotier_tier::Result<nanotier_tier::Found>>> {
        self.0.read(paths, intent)
    }
    fn write(&self, writes: &[Write<'_>]) -> nanotier_tier::Result<Vec<nanotier_tier::Result<Wrote>>> {
        let one = |write: &Write<'_>| match write.path.key() {
            b"stuck" => Err(nanotier_tier::Error::new(ErrorKind::Storage, "picky", "write")),
            _ => self.0.write(std::slice::from_ref(write))?.remove(0),
        };
        Ok(writes.iter().map(one).collect())
    }
    fn clear(&self, cleared: &nanotier_tier::Cleared<'_>) -> nanotier_tier::Result<Wrote> {
        self.0.clear(cleared)
    }
}

#[test]
fn many_writers_share_the_disks_syncs_and_all_of_them_are_there() {
    let (world, folder) = (world(), Folder::new("many-0"));
    let log = FileLog::open(folder.log()).unwrap();
    let far = Faulty::new(Scope::Process);
    far.fail(true);
    let tier = world.attached(far.tier().behind_logged(WriteBehind::new(), log).unwrap());
    crossbeam_utils::thread::scope(|scope| {
        for writer in 0..4 {
            let (world, tier) = (&world, &tier);
            scope.spawn(move |_| {
                for n in 0..10 {
                    world.put(tier, &format!("{writer}.{n}"), "value");
                }
            });
        }
    })
    .expect("every thread joined");
    let folder = folder.crashed("many-1");
    let log = FileLog::open(folder.log()).unwrap();
    assert_eq!(log.replay().unwrap().len(), 40);
}

/// The file that is appended to.
fn newest(folder: &Folder) -> std::path::PathBuf {
    let generation = |name: &str| fs::read(folder.0.join(name)).unwrap().get(8).copied();
    let name = if generation("queue.0") > generation("queue.1") { "queue.0" } else { "queue.1" };
    folder.0.join(name)
}

#[test]
fn damage_before_what_was_written_last_is_told_and_not_taken_for_a_torn_end() {
    let (world, folder) = (World::new(), Folder::new("middle"));
    let record = world.record("value");
    let log = FileLog::open(folder.log()).unwrap();
    let mut ends = vec![24];
    for number in 1..4 {
        log.append(&[item(&world, number, "k", &record)]).unwrap();
        ends.push(usize::try_from(fs::metadata(newest(&folder)).unwrap().len()).unwrap());
    }
    drop(log);
    let file = newest(&folder);
    let whole = fs::read(&file).unwrap();
    for at in 24..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        fs::write(&file, &bytes).unwrap();
        let opened = FileLog::open(folder.log());
        if at < ends[2] {
            assert_eq!(opened.unwrap_err().kind(), ErrorKind::Corrupt, "byte {at}");
            assert_eq!(fs::read(&file).unwrap(), bytes, "and left as it is");
        } else {
            assert_eq!(numbers(&opened.unwrap()), [1, 2], "byte {at}: as if it had been being written");
        }
    }
    // A whole stretch, heads of batches included.
    let mut bytes = whole.clone();
    bytes[30..ends[1] + 20].fill(0);
    fs::write(&file, &bytes).unwrap();
    assert_eq!(FileLog::open(folder.log()).unwrap_err().kind(), ErrorKind::Corrupt);
    // Of the last batch any part may have come to the disk, in whatever order.
    for from in ends[2]..whole.len() {
        let mut bytes = whole.clone();
        bytes[ends[2]..from].fill(0);
        fs::write(&file, &bytes).unwrap();
        let log = FileLog::open(folder.log()).unwrap();
        assert_eq!(log.replay().unwrap().len(), if from == ends[2] { 3 } else { 2 }, "zeros up to {from}");
    }
}

#[test]
fn a_value_that_holds_a_log_is_not_taken_for_one() {
    let (world, folder, other) = (World::new(), Folder::new("value"), Folder::new("value-other"));
    let log = FileLog::open(other.log()).unwrap();
    let record = world.record("value");
    (1..5).for_each(|number| log.append(&[item(&world, number, "k", &record)]).unwrap());
    let inner = fs::read(newest(&other)).unwrap();
    let value = nanotier_tier::Encoded::new(inner, nanotier_tier::Fingerprint(1));
    let outer = Record { version: world.draw(), ..Record::new(value, world.now()) };
    let log = FileLog::open(folder.log()).unwrap();
    (1..4).for_each(|number| log.append(&[item(&world, number, "k", &record)]).unwrap());
    let before = fs::metadata(newest(&folder)).unwrap().len();
    log.append(&[item(&world, 4, "k", &outer)]).unwrap();
    drop(log);
    let file = newest(&folder);
    let whole = fs::read(&file).unwrap();
    let cut = whole.len() - 10;
    assert!(cut > usize::try_from(before).unwrap());
    fs::write(&file, &whole[..cut]).unwrap();
    assert_eq!(numbers(&FileLog::open(folder.log()).unwrap()), [1, 2, 3], "a torn end, whatever is in it");
}

#[test]
fn a_head_that_a_power_cut_left_as_zeros_is_one_that_was_not_begun() {
    let (world, folder) = (World::new(), Folder::new("zeros"));
    let record = world.record("value");
    let log = FileLog::open(folder.log()).unwrap();
    log.append(&[item(&world, 1, "k", &record)]).unwrap();
    drop(log);
    let other = if newest(&folder).ends_with("queue.0") { "queue.1" } else { "queue.0" };
    let head = fs::read(newest(&folder)).unwrap()[..24].to_vec();
    for kept in 0..24 {
        let mut left = head.clone();
        left[kept..].fill(0);
        fs::write(folder.0.join(other), &left).unwrap();
        assert_eq!(numbers(&FileLog::open(folder.log()).unwrap()), [1], "{kept} bytes");
    }
}

#[test]
fn a_log_that_was_closed_gives_back_room_after_it_is_opened_again() {
    let (world, folder) = (world(), Folder::new("again"));
    let mut largest = 0;
    for life in 0..3 {
        let log = FileLog::open_with(folder.log(), 1000).unwrap();
        let tier = world.attached(Inline(MemoryStore::new()).behind_logged(WriteBehind::new(), log).unwrap());
        // Many in the first life, so that its numbers are high.
        for n in 0..if life == 0 { 300 } else { 60 } {
            world.put(&tier, &format!("k{}", n % 7), "value");
            block_on(tier.flush()).unwrap();
            let size = |name| fs::metadata(folder.0.join(name)).unwrap().len();
            largest = largest.max(size("queue.0") + size("queue.1"));
        }
        block_on(tier.close()).unwrap();
    }
    assert!(largest < 5000, "{largest} bytes");
}

#[test]
fn a_write_that_was_logged_during_a_clearing_and_refused_does_not_come_back() {
    let (world, log) = (world(), MemoryLog::new());
    let record = world.record("old");
    let write = Write::put(world.path("k"), &record).into_owned();
    let cleared = LogItem::Cleared { number: 1, namespace: world.namespace.clone(), version: world.draw() };
    log.append(&[cleared, LogItem::Write { number: 2, write }]).unwrap();
    // The tier has forgotten the clearing: nothing was left to protect.
    let tier = reopen(&world, Recorded::default(), &log.bytes());
    block_on(tier.flush()).unwrap();
    assert_eq!(world.value(&tier, "k"), None);
    world.put(&tier, "k", "new");
    block_on(tier.flush()).unwrap();
    assert_eq!(world.value(&tier, "k").as_deref(), Some("new"));
}

/// A log that is crowded when it is told to be.
#[derive(Clone, Default)]
struct Crowded(MemoryLog, Arc<std::sync::atomic::AtomicBool>);

impl QueueLog for Crowded {
    fn append(&self, items: &[LogItem<'_>]) -> nanotier_tier::Result<()> {
        self.0.append(items)
    }
    fn trim(&self, below: u64) -> nanotier_tier::Result<()> {
        self.0.trim(below)
    }
    fn replay(&self) -> nanotier_tier::Result<Vec<LogItem<'static>>> {
        self.0.replay()
    }
    fn crowded_below(&self) -> Option<u64> {
        self.1.load(std::sync::atomic::Ordering::SeqCst).then_some(u64::MAX)
    }
    fn durability(&self) -> nanotier_tier::Durability {
        self.0.durability()
    }
}

#[test]
fn what_could_not_be_appended_anew_does_not_keep_the_log_for_ever() {
    let (world, log, store) = (world(), Crowded::default(), Arc::new(Picky(MemoryStore::new())));
    Store::attach(&store.0, &world.context);
    let queue = WriteBehind::new().drain_deadline(std::time::Duration::from_millis(1));
    let tier = world.attached(Inline(store).behind_logged(queue, log.clone()).unwrap());
    world.put(&tier, "stuck", "value");
    log.0.fail(true);
    log.1.store(true, std::sync::atomic::Ordering::SeqCst);
    let mut flush = Box::pin(tier.flush());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    while Future::poll(flush.as_mut(), &mut context).is_pending() {
        world.pass(1);
    }
    log.0.fail(false);
    log.1.store(false, std::sync::atomic::Ordering::SeqCst);
    // The clearing takes it away; then one more write goes through.
    assert_eq!(world.clear(&tier).unwrap(), Wrote::Done);
    world.put(&tier, "k", "value");
    block_on(tier.flush()).unwrap();
    assert!(MemoryLog::of_bytes(log.0.bytes()).replay().unwrap().is_empty());
}

#[test]
fn a_queue_inside_of_a_shaped_tier_has_no_plaintext_in_its_log_nor_in_the_far_tier() {
    use nanotier_tier::shaping::{KeyId, KeyRing, Secret, Shaping};
    let (world, folder) = (world(), Folder::new("shaped"));
    let keys = || KeyRing::new(KeyId(1), &Secret::new([7; 32])).unwrap();
    let shaping = || Shaping::builder().encrypt(keys()).build().unwrap();
    let secret = "the secret that nobody may read";
    let far = Recorded::default();
    Store::attach(&*far.store, &world.context);
    let open = |folder: &Folder| {
        let log = FileLog::open(folder.log()).unwrap();
        let queue = Inline(far.clone()).behind_logged(WriteBehind::new(), log).unwrap();
        let handle = queue.queue();
        (world.attached(queue.shaped(shaping())), handle)
    };
    let holds = |bytes: &[u8]| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
    let files =
        |folder: &Folder| ["queue.0", "queue.1"].map(|name| fs::read(folder.0.join(name)).unwrap()).concat();
    let (tier, _) = open(&folder);
    world.put(&tier, "k", secret);
    assert_eq!(world.value(&tier, "k").as_deref(), Some(secret), "from the queue");
    let logged = files(&folder);
    assert!(logged.len() > 100 && !holds(&logged));
    // The next process has it from the log, by its keys.
    let folder = folder.crashed("shaped-1");
    let (tier, queue) = open(&folder);
    block_on(queue.flush()).unwrap();
    assert_eq!(queue.state().written, 1);
    assert_eq!(world.value(&tier, "k").as_deref(), Some(secret), "from the far tier");
    let found = world.read(&Inline(far.clone()), "k").unwrap();
    assert!(!holds(&found.entry.record().unwrap().value.bytes));
    assert!(!holds(&files(&folder)));

    // The other way round the far tier alone is shaped.
    let folder = Folder::new("shaped-2");
    let log = FileLog::open(folder.log()).unwrap();
    let shaped = Inline(Recorded::default()).shaped(shaping());
    let tier = world.attached(shaped.behind_logged(WriteBehind::new(), log).unwrap());
    world.put(&tier, "k", secret);
    assert!(holds(&files(&folder)), "as docs/CHAIN.md says");
}
