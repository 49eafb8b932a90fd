//! A tier in memory: for tests, for small deployments without a disk, and as the plainest reading of the
//! rules.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::time::Duration;

use nanotier_clock::Timestamp;

use crate::capabilities::{Capabilities, Scope};
use crate::context::{Attachment, Context};
use crate::entry::{Cleared, Count, Entry, Found, Intent, Listed, Page, PageRequest, Write, Wrote};
use crate::error::{Error, ErrorKind, Result};
use crate::path::{Namespace, Path};
use crate::rules::{Held, judge};
use crate::store::Store;
use crate::stored::{Freshness, Record};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, MutexGuard};
use crate::update::{Effect, Update, Updated, apply};
use crate::version::Version;

/// Records in a map behind one lock. Bounded by count; no eviction: what expired leaves when room is needed
/// or a sweep comes by, and a full store says [`ErrorKind::Full`].
#[derive(Debug)]
pub struct MemoryStore {
    attachment: Attachment,
    entries_max: usize,
    horizon: Duration,
    spaces: Mutex<HashMap<Namespace, Space>>,
    /// Set once by `close`, under the lock of `spaces`; read under it.
    closed: AtomicBool,
}

/// One namespace.
#[derive(Debug, Default)]
struct Space {
    entries: BTreeMap<Vec<u8>, Slot>,
    /// The version of the last clearing. Kept while the store lives: without it what was cleared could come
    /// back.
    floor: Option<Version>,
}

/// What is held under a key.
#[derive(Clone, Debug)]
struct Slot {
    /// The record; `None` for a tombstone.
    record: Option<Record>,
    version: Version,
    /// When it was taken, by this store's clock: from then on its version is kept for the horizon.
    taken_at: Timestamp,
}

impl Slot {
    /// True if nothing is lost by forgetting it: it holds nothing usable and its version has served its time.
    fn can_go(&self, now: Timestamp, horizon: Duration) -> bool {
        let usable = self.record.as_ref().is_some_and(|record| record.freshness(now) != Freshness::Expired);
        !usable && self.taken_at < now.minus(horizon)
    }
}

impl Space {
    fn held(&self, key: &[u8]) -> Held {
        Held { version: self.entries.get(key).map(|slot| slot.version), floor: self.floor }
    }

    fn entry(&self, key: &[u8]) -> Entry {
        match self.entries.get(key) {
            Some(slot) if Some(slot.version) > self.floor => match &slot.record {
                Some(record) => Entry::Present(record.clone()),
                None => Entry::Removed(slot.version),
            },
            _ => self.floor.map_or(Entry::Absent, Entry::Removed),
        }
    }
}

impl MemoryStore {
    /// How many entries a store holds unless told otherwise.
    pub const ENTRIES_MAX_DEFAULT: usize = 1_000_000;

    /// An empty store for up to [`ENTRIES_MAX_DEFAULT`](Self::ENTRIES_MAX_DEFAULT) entries, tombstones
    /// included.
    #[must_use]
    pub fn new() -> Self {
        Self::with_entries_max(Self::ENTRIES_MAX_DEFAULT)
    }

    /// An empty store for up to `entries_max` entries in all namespaces together. With 0 every put is
    /// [`ErrorKind::Full`].
    #[must_use]
    pub fn with_entries_max(entries_max: usize) -> Self {
        Self {
            attachment: Attachment::default(),
            entries_max,
            horizon: Duration::from_secs(60),
            spaces: Mutex::new(HashMap::new()),
            closed: AtomicBool::new(false),
        }
    }

    /// The same with tombstones kept for `horizon`.
    #[must_use]
    pub fn with_horizon(self, horizon: Duration) -> Self {
        Self { horizon, ..self }
    }

    /// Forgets what has expired and whose version has served its time, and says how many entries that were.
    pub fn sweep(&self) -> usize {
        let now = self.now();
        Self::sweep_spaces(&mut self.spaces.lock(), now, self.horizon)
    }

    fn sweep_spaces(spaces: &mut HashMap<Namespace, Space>, now: Timestamp, horizon: Duration) -> usize {
        let mut swept = 0;
        for space in spaces.values_mut() {
            let before = space.entries.len();
            space.entries.retain(|_, slot| !slot.can_go(now, horizon));
            swept += before - space.entries.len();
        }
        swept
    }

    fn now(&self) -> Timestamp {
        self.attachment.clock().wall()
    }

    /// The lock, for as long as the store is open.
    fn open(&self, operation: &'static str) -> Result<MutexGuard<'_, HashMap<Namespace, Space>>> {
        let spaces = self.spaces.lock();
        // Relaxed: the lock orders it.
        if self.closed.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Closed, self.name(), operation));
        }
        Ok(spaces)
    }

    /// Room for one more entry: made by a sweep if there is none.
    fn make_room(&self, spaces: &mut HashMap<Namespace, Space>, now: Timestamp) -> Result<()> {
        let len = |spaces: &HashMap<Namespace, Space>| {
            spaces.values().map(|space| space.entries.len()).sum::<usize>()
        };
        if len(spaces) < self.entries_max {
            return Ok(());
        }
        Self::sweep_spaces(spaces, now, self.horizon);
        if len(spaces) < self.entries_max {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Full, self.name(), "write"))
    }

    fn set(
        &self,
        spaces: &mut HashMap<Namespace, Space>,
        path: &Path<'_>,
        record: Option<Record>,
        version: Version,
        now: Timestamp,
    ) -> Result<()> {
        let is_new =
            !spaces.get(path.namespace()).is_some_and(|space| space.entries.contains_key(path.key()));
        if is_new {
            self.make_room(spaces, now)?;
        }
        let space = spaces.entry(path.namespace().clone()).or_default();
        space.entries.insert(path.key().to_vec(), Slot { record, version, taken_at: now });
        Ok(())
    }

    fn write_under_lock(
        &self,
        spaces: &mut HashMap<Namespace, Space>,
        write: &Write<'_>,
        now: Timestamp,
    ) -> Result<Wrote> {
        let held = spaces
            .get(write.path.namespace())
            .map_or_else(Held::default, |space| space.held(write.path.key()));
        let verdict = judge(held, write, now, self.horizon);
        if verdict == Wrote::Done {
            let record = write.record.as_deref().cloned();
            self.set(spaces, &write.path, record, write.version, now)?;
        }
        Ok(verdict)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for MemoryStore {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            horizon: self.horizon,
            updates: true,
            lists: true,
            embedded: true,
            ..Capabilities::new(Scope::Process)
        }
    }

    fn attach(&self, context: &Context) {
        self.attachment.attach(context);
    }

    fn read(&self, paths: &[Path<'_>], _: Intent) -> Result<Vec<Result<Found>>> {
        let now = self.now();
        let spaces = self.open("read")?;
        let nothing = Space::default();
        let found = |path: &Path<'_>| {
            let space = spaces.get(path.namespace()).unwrap_or(&nothing);
            Ok(Found::new(space.entry(path.key()), space.held(path.key()).seen(), now))
        };
        Ok(paths.iter().map(found).collect())
    }

    fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
        let now = self.now();
        let mut spaces = self.open("write")?;
        Ok(writes.iter().map(|write| self.write_under_lock(&mut spaces, write, now)).collect())
    }

    fn update(&self, update: &Update<'_>) -> Result<Updated> {
        let now = self.now();
        let mut spaces = self.open("update")?;
        let space = spaces.get(update.path.namespace());
        let held = space.map_or_else(Held::default, |space| space.held(update.path.key()));
        let present = space.and_then(|space| space.entries.get(update.path.key())?.record.as_ref());
        let (effect, updated) = apply(held, present, update, now, self.horizon)?;
        match effect {
            Effect::Keep => {}
            Effect::Put(record) => {
                let version = record.version;
                self.set(&mut spaces, &update.path, Some(record), version, now)?;
            }
            Effect::Bury(version) => self.set(&mut spaces, &update.path, None, version, now)?,
        }
        Ok(updated)
    }

    fn clear(&self, cleared: &Cleared<'_>) -> Result<Wrote> {
        let now = self.now();
        let mut spaces = self.open("clear")?;
        if cleared.as_of < now.minus(self.horizon) {
            return Ok(Wrote::TooLate);
        }
        let space = spaces.entry(cleared.namespace.clone()).or_default();
        let newest = space.entries.values().map(|slot| slot.version).max().max(space.floor);
        match newest {
            Some(newest) if newest >= cleared.version => Ok(Wrote::Older(newest)),
            _ => {
                space.entries.clear();
                space.floor = Some(cleared.version);
                Ok(Wrote::Done)
            }
        }
    }

    fn list(&self, namespace: &Namespace, page: &PageRequest) -> Result<Page> {
        let now = self.now();
        let spaces = self.open("list")?;
        let Some(space) = spaces.get(namespace) else { return Ok(Page::default()) };
        let start = match &page.after {
            Some(after) if *after >= page.prefix => Bound::Excluded(after.clone()),
            // A page that ended before the prefix, of another listing: this one begins with the prefix.
            Some(_) | None => Bound::Included(page.prefix.clone()),
        };
        let mut entries = Vec::new();
        let usable = space
            .entries
            .range((start, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(&page.prefix))
            .filter(|(key, _)| page.wants(key))
            .filter_map(|(key, slot)| {
                let record =
                    slot.record.as_ref().filter(|record| record.freshness(now) != Freshness::Expired)?;
                Some(Listed {
                    key: key.clone(),
                    value_len: record.value.bytes.len(),
                    usable_until: record.deadlines.usable_until,
                })
            });
        for listed in usable {
            if entries.len() == page.limit() {
                let next = entries.last().map(|last: &Listed| last.key.clone());
                return Ok(Page { entries, next });
            }
            entries.push(listed);
        }
        Ok(Page { entries, next: None })
    }

    fn namespaces(&self, after: Option<&Namespace>) -> Result<Vec<Namespace>> {
        let spaces = self.open("namespaces")?;
        let has_rows =
            |(name, space): &(&Namespace, &Space)| !space.entries.is_empty() && Some(*name) > after;
        let mut names: Vec<Namespace> =
            spaces.iter().filter(has_rows).map(|(name, _)| name.clone()).collect();
        names.sort_unstable();
        names.truncate(PageRequest::LIMIT_MAX);
        Ok(names)
    }

    fn count(&self, namespace: &Namespace) -> Result<Count> {
        let now = self.now();
        let spaces = self.open("count")?;
        let mut count = Count::default();
        for slot in spaces.get(namespace).into_iter().flat_map(|space| space.entries.values()) {
            count.add(slot.record.as_ref(), now);
        }
        Ok(count)
    }

    fn ready(&self) -> Result<()> {
        self.open("ready").map(drop)
    }

    /// Lets go of all entries.
    fn close(&self) -> Result<()> {
        let mut spaces = self.spaces.lock();
        self.closed.store(true, Ordering::Relaxed);
        spaces.clear();
        Ok(())
    }
}
