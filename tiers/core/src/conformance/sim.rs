//! A simulated truth that several caches share, each with its own clock, over a network that can be made to fail.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use nanotier_clock::{Clock, Timestamp};

use crate::capabilities::{Capabilities, Scope};
use crate::context::Context;
use crate::entry::{Cleared, Entry, Found, Guard, Intent, Listed, Page, PageRequest, Seen, Write, Wrote};
use crate::error::{Error, ErrorKind, Result};
use crate::path::{Namespace, Path};
use crate::rules::{Held, judge};
use crate::stored::{Freshness, Record};
use crate::sync::Mutex;
use crate::tier::Tier;
use crate::update::{Effect, Update, Updated, apply};
use crate::version::Version;

/// How the simulated service works.
#[derive(Clone, Debug)]
pub struct SimOptions {
    /// The server's own clock. Without one, each call is judged by the clock of the client that made it, as some services do.
    pub server_clock: Option<Clock>,
    /// True if the server forgets by itself, at the next call, what has expired and whose version has served the horizon.
    pub native_expiry: bool,
    /// True if it may forget tombstones sooner: see [`SharedSim::evict_tombstones`]. It then hands out leases on a miss.
    pub may_evict_tombstones: bool,
    /// How long it keeps tombstones.
    pub horizon: Duration,
}

impl Default for SimOptions {
    fn default() -> Self {
        Self {
            server_clock: None,
            native_expiry: false,
            may_evict_tombstones: false,
            horizon: Duration::from_secs(60),
        }
    }
}

/// A service in memory that behaves like one on a network: shared by all its [handles](SharedSim::handle), and failing when told to.
///
/// A test double for caches over a truth shared by a fleet. Nothing in it is random: every fault is asked for by the test, and
/// time is the clocks' it was given. Under `cfg(nanotier_schedules)` every call pauses once before it acts, so that the
/// schedule explorer can put another client in between.
///
/// ```
/// use nanotier_tier::conformance::{SharedSim, SimOptions};
/// use nanotier_tier::{Clock, Entry, Intent, Namespace, Path, Tier, Version, Write, waiting::block_on};
///
/// let sim = SharedSim::new(SimOptions::default());
/// let (clock, _hands) = Clock::manual();
/// let (one, other) = (sim.handle(clock.clone()), sim.handle(clock.clone()));
/// let users = Namespace::new("users")?;
/// let path = Path::new(&users, &b"alice"[..]);
///
/// // The answer is lost, but the removal happened, and the other client sees it.
/// sim.fail_after_applying_next(1);
/// let version = Version::from_parts(7, 1);
/// assert!(block_on(one.write_one(&Write::remove(path.borrowed(), version, clock.wall()))).is_err());
/// assert_eq!(block_on(other.read_one(&path, Intent::Look))?.entry, Entry::Removed(version));
/// # Ok::<(), nanotier_tier::Error>(())
/// ```
#[derive(Clone)]
pub struct SharedSim(Arc<Shared>);

struct Shared {
    options: SimOptions,
    server: Mutex<Server>,
    network: Mutex<Network>,
}

/// What the service holds.
#[derive(Default)]
struct Server {
    spaces: HashMap<Namespace, Space>,
    /// Leases by path, as bytes. One ends with any write to its path, any clearing, and any eviction.
    leases: HashMap<Vec<u8>, u64>,
    leases_granted: u64,
}

#[derive(Default)]
struct Space {
    slots: BTreeMap<Vec<u8>, Slot>,
    floor: Option<Version>,
}

struct Slot {
    /// `None` for a tombstone.
    record: Option<Record>,
    version: Version,
    taken_at: Timestamp,
}

/// What lies between the clients and the service.
#[derive(Default)]
struct Network {
    fail: usize,
    fail_after_applying: usize,
    duplicates: bool,
    holds: bool,
    /// Calls whose callers have been told of a timeout, and the clock of the client.
    held: VecDeque<(Call, Clock)>,
    watchers: Vec<Box<dyn Fn() + Send + Sync>>,
    paths_read: usize,
    writes_applied: usize,
}

/// A change on its way.
enum Call {
    Write(Vec<Write<'static>>),
    Update(Update<'static>),
    Clear { namespace: Namespace, version: Version, as_of: Timestamp },
}

/// First byte of a `Seen`: what follows is what [`Held::seen`] says, or a lease, or nothing that could be compared.
const SHOWN: u8 = 1;
const LEASED: u8 = 2;
const UNKNOWN: u8 = 3;

impl SharedSim {
    /// An empty service.
    #[must_use]
    pub fn new(options: SimOptions) -> Self {
        Self(Arc::new(Shared {
            options,
            server: Mutex::new(Server::default()),
            network: Mutex::new(Network::default()),
        }))
    }

    /// A client on its own clock. All handles reach the same records; each is closed on its own.
    #[must_use]
    pub fn handle(&self, clock: Clock) -> SimHandle {
        SimHandle { sim: self.clone(), clock, closed: Mutex::new(false) }
    }

    /// Lets the next `calls` calls fail with [`ErrorKind::Unavailable`]: nothing reached the service.
    pub fn fail_next(&self, calls: usize) {
        self.0.network.lock().fail = calls;
    }

    /// Lets the next `calls` changes happen and then answer [`ErrorKind::Timeout`].
    pub fn fail_after_applying_next(&self, calls: usize) {
        self.0.network.lock().fail_after_applying = calls;
    }

    /// From now on, changes answer [`ErrorKind::Timeout`] and stay in the socket until they are delivered.
    pub fn hold_writes(&self) {
        self.0.network.lock().holds = true;
    }

    /// Delivers what was held, in the order in which it was sent, and holds no longer. Says how many calls that were.
    pub fn deliver_held(&self) -> usize {
        let held = self.take_held();
        self.deliver(held)
    }

    /// The same, last sent first.
    pub fn deliver_held_reversed(&self) -> usize {
        let held = self.take_held().into_iter().rev().collect();
        self.deliver(held)
    }

    fn take_held(&self) -> VecDeque<(Call, Clock)> {
        let mut network = self.0.network.lock();
        network.holds = false;
        std::mem::take(&mut network.held)
    }

    fn deliver(&self, held: VecDeque<(Call, Clock)>) -> usize {
        let count = held.len();
        for (call, clock) in held {
            // Whoever waited for these answers has left.
            match call {
                Call::Write(writes) => drop(self.apply_writes(&writes, &clock)),
                Call::Update(update) => drop(self.apply_update(&update, &clock)),
                Call::Clear { namespace, version, as_of } => {
                    let _ = self.apply_clear(&Cleared { namespace: &namespace, version, as_of }, &clock);
                }
            }
        }
        count
    }

    /// Whether each write arrives twice. The second answer is the one that is given.
    pub fn duplicate_writes(&self, on: bool) {
        self.0.network.lock().duplicates = on;
    }

    /// Forgets all tombstones (and what has expired by the server's clock, if it has one), as a service under pressure does,
    /// and revokes all leases.
    ///
    /// # Panics
    ///
    /// If the options do not say that it may.
    pub fn evict_tombstones(&self) {
        assert!(self.0.options.may_evict_tombstones, "this service promised to keep its tombstones");
        let now = self.0.options.server_clock.as_ref().map_or(Timestamp::ZERO, Clock::wall);
        let mut server = self.0.server.lock();
        for space in server.spaces.values_mut() {
            space.slots.retain(|_, slot| is_usable(slot.record.as_ref(), now));
        }
        server.leases.clear();
    }

    /// Forgets what has expired and whose version has served the horizon, at `now`.
    pub fn sweep(&self, now: Timestamp) {
        self.0.server.lock().sweep(now, self.0.options.horizon);
    }

    /// Calls `watcher` at every [`gap`](Self::gap).
    pub fn on_gap(&self, watcher: impl Fn() + Send + Sync + 'static) {
        self.0.network.lock().watchers.push(Box::new(watcher));
    }

    /// A gap in what watchers are told: they may have missed changes. Must not be called by a watcher.
    pub fn gap(&self) {
        let watchers = std::mem::take(&mut self.0.network.lock().watchers);
        watchers.iter().for_each(|watcher| watcher());
        self.0.network.lock().watchers.extend(watchers);
    }

    /// How many paths the service was asked for so far.
    #[must_use]
    pub fn paths_read(&self) -> usize {
        self.0.network.lock().paths_read
    }

    /// How many writes reached the service so far, refused ones included; updates and clearings count as one each.
    #[must_use]
    pub fn writes_applied(&self) -> usize {
        self.0.network.lock().writes_applied
    }

    /// What judges a call of a client on `clock`.
    fn now(&self, clock: &Clock) -> Timestamp {
        self.0.options.server_clock.as_ref().unwrap_or(clock).wall()
    }

    /// The server, after it has forgotten what it forgets by itself.
    fn with_server<R>(&self, clock: &Clock, act: impl FnOnce(&mut Server, Timestamp) -> R) -> R {
        let now = self.now(clock);
        let mut server = self.0.server.lock();
        if self.0.options.native_expiry {
            server.sweep(now, self.0.options.horizon);
        }
        act(&mut server, now)
    }

    fn apply_writes(&self, writes: &[Write<'_>], clock: &Clock) -> Vec<Result<Wrote>> {
        let times = {
            let mut network = self.0.network.lock();
            let times = if network.duplicates { 2 } else { 1 };
            network.writes_applied += writes.len() * times;
            times
        };
        let options = &self.0.options;
        let once = |write: &Write<'_>| {
            self.with_server(clock, |server, now| {
                (0..times).map(|_| server.write(write, now, options)).last()
            })
        };
        writes.iter().map(|write| Ok(once(write).expect("a write arrives at least once"))).collect()
    }

    fn apply_update(&self, update: &Update<'_>, clock: &Clock) -> Result<Updated> {
        self.0.network.lock().writes_applied += 1;
        self.with_server(clock, |server, now| server.update(update, now, self.0.options.horizon))
    }

    fn apply_clear(&self, cleared: &Cleared<'_>, clock: &Clock) -> Wrote {
        self.0.network.lock().writes_applied += 1;
        self.with_server(clock, |server, now| server.clear(cleared, now, self.0.options.horizon))
    }
}

impl fmt::Debug for SharedSim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedSim").field("options", &self.0.options).finish_non_exhaustive()
    }
}

fn is_usable(record: Option<&Record>, now: Timestamp) -> bool {
    record.is_some_and(|record| record.freshness(now) != Freshness::Expired)
}

fn marked(mark: u8, bytes: &[u8]) -> Seen {
    Seen::new(&[&[mark], bytes].concat()).expect("35 bytes fit")
}

impl Server {
    fn sweep(&mut self, now: Timestamp, horizon: Duration) {
        for space in self.spaces.values_mut() {
            space.slots.retain(|_, slot| {
                is_usable(slot.record.as_ref(), now) || slot.taken_at >= now.minus(horizon)
            });
        }
    }

    fn held(&self, path: &Path<'_>) -> Held {
        let space = self.spaces.get(path.namespace());
        let version = space.and_then(|space| Some(space.slots.get(path.key())?.version));
        Held { version, floor: space.and_then(|space| space.floor) }
    }

    fn entry(&self, path: &Path<'_>) -> Entry {
        let held = self.held(path);
        let slot = self.spaces.get(path.namespace()).and_then(|space| space.slots.get(path.key()));
        match slot {
            Some(Slot { record: Some(record), .. }) => Entry::Present(record.clone()),
            Some(Slot { record: None, version, .. }) => Entry::Removed(*version),
            None => held.floor.map_or(Entry::Absent, Entry::Removed),
        }
    }

    fn read(&mut self, path: &Path<'_>, intent: Intent, evicts: bool) -> (Entry, Seen) {
        let held = self.held(path);
        let seen = match (evicts && held.version.is_none(), intent) {
            (false, _) => marked(SHOWN, held.seen().as_bytes()),
            // Nothing is held, and what was removed may have been forgotten: only a lease can tell later.
            (true, Intent::Load | Intent::Refresh) => {
                self.leases_granted += 1;
                let granted = self.leases_granted;
                let lease = *self.leases.entry(path.to_bytes()).or_insert(granted);
                marked(LEASED, &lease.to_be_bytes())
            }
            (true, Intent::Look | Intent::Confirm) => marked(UNKNOWN, &[]),
        };
        (self.entry(path), seen)
    }

    fn write(&mut self, write: &Write<'_>, now: Timestamp, options: &SimOptions) -> Wrote {
        let held = self.held(&write.path);
        let judged = |guard| judge(held, &Write { guard, ..write.clone() }, now, options.horizon);
        let verdict = match write.guard {
            Guard::Newer => judged(Guard::Newer),
            Guard::Unchanged(seen) => match seen.as_bytes().split_first() {
                // A version that is no longer held may have been followed by a tombstone that was evicted.
                Some((&SHOWN, shown)) if options.may_evict_tombstones && shown != held.seen().as_bytes() => {
                    judged(Guard::Unchanged(marked(UNKNOWN, &[])))
                }
                Some((&SHOWN, shown)) => judged(Guard::Unchanged(Seen::new(shown).expect("it was shorter"))),
                Some((&LEASED, lease)) => {
                    let current = self.leases.get(&write.path.to_bytes()).map(|lease| lease.to_be_bytes());
                    let is_current = current.is_some_and(|current| current == *lease);
                    // The lease says that nothing was written: what is held now is what was seen.
                    judged(Guard::Unchanged(if is_current { held.seen() } else { marked(UNKNOWN, &[]) }))
                }
                // Also what another tier minted: it equals nothing that is held here.
                _ => judged(Guard::Unchanged(marked(UNKNOWN, &[]))),
            },
        };
        if verdict == Wrote::Done {
            self.set(&write.path, write.record.as_deref().cloned(), write.version, now);
        }
        verdict
    }

    fn set(&mut self, path: &Path<'_>, record: Option<Record>, version: Version, now: Timestamp) {
        self.leases.remove(&path.to_bytes());
        let space = self.spaces.entry(path.namespace().clone()).or_default();
        space.slots.insert(path.key().to_vec(), Slot { record, version, taken_at: now });
    }

    fn update(&mut self, update: &Update<'_>, now: Timestamp, horizon: Duration) -> Result<Updated> {
        let held = self.held(&update.path);
        let slot =
            self.spaces.get(update.path.namespace()).and_then(|space| space.slots.get(update.path.key()));
        let (effect, updated) =
            apply(held, slot.and_then(|slot| slot.record.as_ref()), update, now, horizon)?;
        match effect {
            Effect::Keep => {}
            Effect::Put(record) => {
                let version = record.version;
                self.set(&update.path, Some(record), version, now);
            }
            Effect::Bury(version) => self.set(&update.path, None, version, now),
        }
        Ok(updated)
    }

    fn clear(&mut self, cleared: &Cleared<'_>, now: Timestamp, horizon: Duration) -> Wrote {
        if cleared.as_of < now.minus(horizon) {
            return Wrote::TooLate;
        }
        let space = self.spaces.entry(cleared.namespace.clone()).or_default();
        let newest = space.slots.values().map(|slot| slot.version).max().max(space.floor);
        match newest {
            Some(newest) if newest >= cleared.version => Wrote::Older(newest),
            _ => {
                space.slots.clear();
                space.floor = Some(cleared.version);
                self.leases.clear();
                Wrote::Done
            }
        }
    }

    fn list(&self, namespace: &Namespace, page: &PageRequest, now: Timestamp) -> Page {
        let mut listed = Page::default();
        let slots = self.spaces.get(namespace).into_iter().flat_map(|space| &space.slots);
        for (key, slot) in slots {
            let is_wanted = key.starts_with(&page.prefix)
                && page.wants(key)
                && page.after.as_ref().is_none_or(|after| key > after);
            let Some(record) =
                slot.record.as_ref().filter(|record| is_wanted && is_usable(Some(record), now))
            else {
                continue;
            };
            if listed.entries.len() == page.limit() {
                listed.next = listed.entries.last().map(|last| last.key.clone());
                break;
            }
            let (value_len, usable_until) = (record.value.bytes.len(), record.deadlines.usable_until);
            listed.entries.push(Listed { key: key.clone(), value_len, usable_until });
        }
        listed
    }
}

/// A client of a [`SharedSim`].
pub struct SimHandle {
    sim: SharedSim,
    clock: Clock,
    closed: Mutex<bool>,
}

impl fmt::Debug for SimHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimHandle").field("sim", &self.sim).finish_non_exhaustive()
    }
}

impl SimHandle {
    /// The way to the service: may be closed, or fail.
    async fn reach(&self, operation: &'static str) -> Result<()> {
        pause().await;
        if *self.closed.lock() {
            return Err(self.error(ErrorKind::Closed, operation));
        }
        let mut network = self.sim.0.network.lock();
        if network.fail > 0 {
            network.fail -= 1;
            return Err(self.error(ErrorKind::Unavailable, operation));
        }
        Ok(())
    }

    /// Keeps a change in the socket if changes are held.
    fn hold(&self, operation: &'static str, call: impl FnOnce() -> Call) -> Result<()> {
        let mut network = self.sim.0.network.lock();
        if !network.holds {
            return Ok(());
        }
        network.held.push_back((call(), self.clock.clone()));
        Err(self.error(ErrorKind::Timeout, operation))
    }

    /// The answer to a change that happened, if it is not lost on the way back.
    fn answer<R>(&self, operation: &'static str, answer: Result<R>) -> Result<R> {
        let mut network = self.sim.0.network.lock();
        if network.fail_after_applying == 0 {
            return answer;
        }
        network.fail_after_applying -= 1;
        Err(self.error(ErrorKind::Timeout, operation))
    }

    fn error(&self, kind: ErrorKind, operation: &'static str) -> Error {
        Error::new(kind, self.name(), operation)
    }
}

impl Tier for SimHandle {
    fn name(&self) -> &'static str {
        "sim"
    }

    fn capabilities(&self) -> Capabilities {
        let options = &self.sim.0.options;
        Capabilities {
            horizon: options.horizon,
            may_evict_tombstones: options.may_evict_tombstones,
            updates: true,
            lists: true,
            own_clock: options.server_clock.is_some(),
            ..Capabilities::new(Scope::Fleet)
        }
    }

    /// Does nothing: a client's clock is the one it was made with.
    fn attach(&self, _: &Context) {}

    async fn read(&self, paths: &[Path<'_>], intent: Intent) -> Result<Vec<Result<Found>>> {
        let read_at = self.clock.wall();
        self.reach("read").await?;
        self.sim.0.network.lock().paths_read += paths.len();
        let evicts = self.sim.0.options.may_evict_tombstones;
        Ok(self.sim.with_server(&self.clock, |server, _| {
            let mut found = |path: &Path<'_>| {
                let (entry, seen) = server.read(path, intent, evicts);
                Ok(Found::new(entry, seen, read_at))
            };
            paths.iter().map(&mut found).collect()
        }))
    }

    async fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
        self.reach("write").await?;
        self.hold("write", || Call::Write(writes.iter().map(|write| write.clone().into_owned()).collect()))?;
        let answers = self.sim.apply_writes(writes, &self.clock);
        self.answer("write", Ok(answers))
    }

    async fn update(&self, update: &Update<'_>) -> Result<Updated> {
        self.reach("update").await?;
        self.hold("update", || {
            let path = update.path.borrowed().into_owned();
            Call::Update(Update { path, change: update.change.clone(), ..*update })
        })?;
        let answer = self.sim.apply_update(update, &self.clock);
        self.answer("update", answer)
    }

    async fn clear(&self, cleared: &Cleared<'_>) -> Result<Wrote> {
        self.reach("clear").await?;
        let (version, as_of) = (cleared.version, cleared.as_of);
        self.hold("clear", || Call::Clear { namespace: cleared.namespace.clone(), version, as_of })?;
        let answer = self.sim.apply_clear(cleared, &self.clock);
        self.answer("clear", Ok(answer))
    }

    async fn list(&self, namespace: &Namespace, page: &PageRequest) -> Result<Page> {
        self.reach("list").await?;
        Ok(self.sim.with_server(&self.clock, |server, now| server.list(namespace, page, now)))
    }

    async fn ready(&self) -> Result<()> {
        self.reach("ready").await
    }

    async fn close(&self) -> Result<()> {
        *self.closed.lock() = true;
        Ok(())
    }
}

/// Under the schedule explorer, lets others act first, once. Else ready at once.
fn pause() -> Pause {
    Pause { paused: !cfg!(nanotier_schedules) }
}

struct Pause {
    paused: bool,
}

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<()> {
        if self.paused {
            return Poll::Ready(());
        }
        self.paused = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
