//! A tier that counts what it is asked, with all that a test of a cache needs around it.

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use nanotier_tier::waiting::block_on;
use nanotier_tier::{
    AnyTier, Capabilities, Cleared, Clock, Codec, Context, Found, Hands, Inline, Intent, Json, Key, Lineage,
    MemoryStore, Namespace, Page, PageRequest, Path, Result, Scope, Tier, Timestamp, Update, Updated, Write,
    Wrote,
};

use super::counts::{Counts, show};
use super::faulty::{Faults, Faulty};
use super::op::{Asked, Op};
use super::tasks::Tasks;
use crate::Builder;

/// A tier for tests, in memory or around any other: it counts every call by kind and key, fails on demand, and hands out
/// caches above it whose clock and background work are the test's own. Clones are the same fake.
///
/// ```
/// use nanotier::testing::{Fake, Op};
/// use std::time::Duration;
///
/// let fake = Fake::new();
/// let users = fake.cache::<String, u32>().ttl(Duration::from_secs(60)).build()?;
///
/// assert_eq!(users.get_with("ada", async || 1815).wait()?, 1815);
/// assert_eq!(users.get_with("ada", async || 0).wait()?, 1815); // from memory: no tier is asked
/// fake.assert_called(Op::Read, "ada", 1);
/// fake.assert_called(Op::Fill, "ada", 1);
/// fake.assert_total(Op::Put, 0);
///
/// fake.advance(Duration::from_secs(61));
/// assert_eq!(users.get("ada").wait()?, None);
/// # Ok::<(), nanotier::Error>(())
/// ```
///
/// # What is counted
///
/// Calls of the tier, not of the cache: what memory answers is not among them. A call is counted when it begins, so one
/// that fails, hangs or is dropped counts too. A batch counts once for each of its keys, and as one
/// [round trip](Self::round_trips). A call that is tried again counts again. Keys that were asked for are kept until
/// [`reset`](Self::reset).
///
/// Where several caches with namespaces of their own are above it, their calls are counted together, and what a cache
/// keeps beside its entries is left out; [`within`](Self::within) looks at one namespace alone.
#[derive(Clone)]
pub struct Fake {
    shared: Arc<Shared>,
    /// The one namespace that counts; all users' own if `None`.
    only: Option<Arc<str>>,
}

struct Shared {
    tier: AnyTier,
    /// What is wrapped, past counting and faults.
    inner: AnyTier,
    counts: Arc<Counts>,
    faults: Faults,
    stage: Arc<Stage>,
}

/// What several fakes of one test have in common.
struct Stage {
    clock: Clock,
    hands: Hands,
    tasks: Tasks,
    caches_ever: AtomicU64,
}

impl Stage {
    fn new() -> Arc<Self> {
        let (clock, hands) = Clock::manual();
        Arc::new(Self { clock, hands, tasks: Tasks::new(), caches_ever: AtomicU64::new(0) })
    }
}

impl Fake {
    /// The namespace of the caches it hands out.
    pub const NAMESPACE: &'static str = "test";

    /// A fake in memory, of this process alone.
    ///
    /// ```
    /// let fake = nanotier::testing::Fake::new();
    /// assert_eq!(fake.round_trips(), 0);
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::over(Inline(MemoryStore::new()))
    }

    /// A fake around a tier of yours, or a chain of them, of which it counts what comes from above: not what goes on between
    /// its tiers. It must be new: no cache may have used it, for its clock is to be the fake's.
    ///
    /// ```
    /// use nanotier::testing::{Fake, Op};
    /// use nanotier::{Inline, MemoryStore};
    ///
    /// let fake = Fake::over(Inline(MemoryStore::with_entries_max(1)));
    /// let users = fake.cache::<String, u32>().build()?;
    /// users.insert("ada".to_string(), 1815).wait()?;
    /// assert!(users.insert("grace".to_string(), 1906).wait().is_err(), "it is full");
    /// fake.assert_total(Op::Put, 2);
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    #[must_use]
    pub fn over(tier: impl Tier) -> Self {
        Self::with(tier.erase(), None, Stage::new())
    }

    /// A fake in memory that says of itself that it is shared so widely: with [`Scope::Fleet`], what caches above it hold is
    /// [confirmed](crate::Builder::recheck) as over a server. Each [`cache`](Self::cache) is then as one in another process.
    ///
    /// ```
    /// use nanotier::testing::Fake;
    /// use nanotier::Scope;
    /// use std::time::Duration;
    ///
    /// let fake = Fake::shared_by(Scope::Fleet);
    /// let here = fake.cache::<String, u32>().build()?;
    /// let there = fake.cache::<String, u32>().build()?;
    /// here.insert("ada".to_string(), 1).wait()?;
    /// assert_eq!(there.get("ada").wait()?, Some(1));
    /// here.insert("ada".to_string(), 2).wait()?;
    /// fake.advance(Duration::from_secs(61)); // longer than a copy is believed
    /// assert_eq!(there.get("ada").wait()?, Some(2));
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    #[must_use]
    pub fn shared_by(scope: Scope) -> Self {
        Self::with(Inline(MemoryStore::new()).erase(), Some(scope), Stage::new())
    }

    /// Another fake around `tier`, with this one's clock and tasks: for chains of which more than one tier is watched.
    ///
    /// ```
    /// use nanotier::testing::{Fake, Op};
    /// use nanotier::{Inline, MemoryStore, Tier};
    ///
    /// let far = Fake::new();
    /// let near = far.another(Inline(MemoryStore::new()));
    /// let users = far.cache::<String, u32>().capacity(0).tiers(near.tier().over(far.tier())).build()?;
    /// users.insert("ada".to_string(), 1815).wait()?;
    /// far.reset();
    /// assert_eq!(users.get("ada").wait()?, Some(1815));
    /// near.assert_called(Op::Read, "ada", 1);
    /// far.assert_not_called(Op::Read, "ada");
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    #[must_use]
    pub fn another(&self, tier: impl Tier) -> Self {
        Self::with(tier.erase(), None, self.shared.stage.clone())
    }

    fn with(inner: AnyTier, scope: Option<Scope>, stage: Arc<Stage>) -> Self {
        let faulty = Faulty::new(inner.clone());
        let (faults, counts) = (faulty.faults(), Arc::new(Counts::default()));
        let tier = Counting { tier: faulty, counts: counts.clone(), scope }.erase();
        Self { shared: Arc::new(Shared { tier, inner, counts, faults, stage }), only: None }
    }

    /// The tier, to be one of a chain. To be called by itself it wants a context first, by the fake's clock:
    /// `tier.attach(&Context::new(fake.clock(), 1))`.
    ///
    /// ```
    /// use nanotier::testing::{Fake, Op};
    /// use nanotier::{Inline, MemoryStore, Tier};
    ///
    /// let far = Fake::new();
    /// let near = Inline(MemoryStore::new());
    /// let users = far.cache::<String, u32>().tiers(near.over(far.tier())).build()?;
    /// users.insert("ada".to_string(), 1815).wait()?;
    /// far.assert_called(Op::Put, "ada", 1);
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    #[must_use]
    pub fn tier(&self) -> AnyTier {
        self.shared.tier.clone()
    }

    /// The tier that it wraps. What is done with that is neither counted nor met by faults.
    ///
    /// ```
    /// use nanotier::testing::Fake;
    /// use nanotier::tier::waiting::block_on;
    /// use nanotier::Tier;
    ///
    /// let fake = Fake::new();
    /// let users = fake.cache::<String, u32>().build()?;
    /// block_on(fake.inner().close())?; // the disk is taken away behind the cache's back
    /// assert!(users.insert("ada".to_string(), 1815).wait().is_err());
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    #[must_use]
    pub fn inner(&self) -> AnyTier {
        self.shared.inner.clone()
    }

    /// What makes a cache over this tier ready: the namespace [`NAMESPACE`](Self::NAMESPACE), values as JSON, its clock, its
    /// tasks, and a seed. Each of them can be said otherwise, as everything else of a [`Builder`].
    ///
    /// ```
    /// use nanotier::testing::Fake;
    /// use std::time::Duration;
    ///
    /// let fake = Fake::new();
    /// let users = fake.cache::<String, u32>().capacity(0).ttl(Duration::from_secs(60)).build()?;
    /// users.insert("ada".to_string(), 1815).wait()?;
    /// assert!(fake.holds("ada"));
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    #[must_use = "a builder does nothing until `build()`"]
    pub fn cache<K: Key, V>(&self) -> Builder<K, V>
    where
        Json: Codec<V>,
    {
        // Two caches over one tier must not draw the same versions; two runs of a test should.
        let seed = self.shared.stage.caches_ever.fetch_add(1, Relaxed) + 1;
        Builder::new()
            .namespace(Self::NAMESPACE)
            .tiers(self.tier())
            .codec(Json::default())
            .clock(self.clock())
            .spawner(self.tasks())
            .seed(seed)
    }

    /// Its manual clock, for what else in the test asks for the time.
    ///
    /// ```
    /// use nanotier::testing::Fake;
    /// use nanotier::Cache;
    /// use std::time::Duration;
    ///
    /// let fake = Fake::new();
    /// // A cache without tiers, by the same time.
    /// let codes: Cache<u32, u32> =
    ///     Cache::builder().clock(fake.clock()).spawner(fake.tasks()).ttl(Duration::from_secs(30)).build()?;
    /// codes.insert(1, 7).wait()?;
    /// fake.advance(Duration::from_secs(30));
    /// assert_eq!(codes.get(&1).wait()?, None);
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.shared.stage.clock.clone()
    }

    /// The hands of its clock.
    ///
    /// ```
    /// use nanotier::testing::Fake;
    /// use std::time::Duration;
    ///
    /// let fake = Fake::new();
    /// let wall = fake.clock().wall();
    /// fake.hands().set_wall(wall.minus(Duration::from_secs(3600))); // as somebody who sets the clock back
    /// assert!(fake.clock().wall() < wall);
    /// ```
    #[must_use]
    pub fn hands(&self) -> Hands {
        self.shared.stage.hands.clone()
    }

    /// The faults that its calls meet. See [`Faults`].
    ///
    /// ```
    /// use nanotier::testing::Fake;
    ///
    /// let fake = Fake::new();
    /// let users = fake.cache::<String, u32>().build()?;
    /// fake.faults().fail();
    /// assert!(users.get("ada").wait().is_err());
    /// fake.faults().heal();
    /// assert!(users.get("ada").wait().is_ok());
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.shared.faults.clone()
    }

    /// The background work of the caches it has handed out.
    ///
    /// ```
    /// use nanotier::testing::Fake;
    /// use std::time::Duration;
    ///
    /// let fake = Fake::new();
    /// let second = Duration::from_secs(1);
    /// let users = fake.cache::<String, u32>().ttl(second).stale_for(60 * second).build()?;
    /// users.insert("ada".to_string(), 1).wait()?;
    /// fake.advance(2 * second);
    /// assert_eq!(users.get_with("ada", async || 2).wait()?, 1);
    /// assert_eq!(fake.tasks().len(), 1, "a refresh, and only one");
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    #[must_use]
    pub fn tasks(&self) -> Tasks {
        self.shared.stage.tasks.clone()
    }

    /// Lets time pass, in whole milliseconds, rounded up. Background work that is due waits for [`run`](Self::run).
    ///
    /// ```
    /// use nanotier::testing::Fake;
    /// use std::time::Duration;
    ///
    /// let fake = Fake::new();
    /// let users = fake.cache::<String, u32>().ttl(Duration::from_secs(60)).build()?;
    /// users.insert("ada".to_string(), 1815).wait()?;
    /// fake.advance(Duration::from_secs(60));
    /// assert_eq!(users.get("ada").wait()?, None);
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    pub fn advance(&self, by: Duration) {
        self.shared.stage.hands.advance(by);
    }

    /// Runs background work until it rests: [`Tasks::run`].
    ///
    /// ```
    /// use nanotier::testing::Fake;
    /// use std::time::Duration;
    ///
    /// let fake = Fake::new();
    /// let second = Duration::from_secs(1);
    /// let users = fake.cache::<String, u32>().ttl(second).stale_for(60 * second).build()?;
    /// users.insert("ada".to_string(), 1).wait()?;
    /// fake.advance(2 * second);
    /// assert_eq!(users.get_with("ada", async || 2).wait()?, 1);
    /// fake.run();
    /// assert_eq!(users.get("ada").wait()?, Some(2));
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    #[track_caller]
    pub fn run(&self) -> usize {
        self.shared.stage.tasks.run()
    }

    /// Brings a call to its end, letting as much time pass as it waits: [`Tasks::drive`]. For calls that meet a slow tier or a
    /// deadline; all others are done by [`wait`](crate::Lookup::wait) or `.await`.
    ///
    /// ```
    /// use nanotier::testing::Fake;
    /// use std::time::Duration;
    ///
    /// let fake = Fake::new();
    /// let users = fake.cache::<String, u32>().build()?;
    /// fake.faults().slow(Duration::from_millis(300));
    /// let before = fake.clock().now();
    /// assert_eq!(fake.drive(users.get("ada"))?, None);
    /// assert_eq!(fake.clock().now().since(before), Duration::from_millis(300));
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    #[track_caller]
    pub fn drive<W: IntoFuture>(&self, work: W) -> W::Output {
        self.shared.stage.tasks.drive(&self.shared.stage.hands, work)
    }

    /// True if the tier that it wraps holds a usable value of this key, in the namespace [`NAMESPACE`](Self::NAMESPACE) or that
    /// of [`within`](Self::within). Not counted, and no fault meets it.
    ///
    /// ```
    /// use nanotier::testing::Fake;
    ///
    /// let fake = Fake::new();
    /// let users = fake.cache::<String, u32>().build()?;
    /// users.insert("ada".to_string(), 1815).wait()?;
    /// assert!(fake.holds("ada") && !fake.holds("grace"));
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If that tier fails.
    #[must_use]
    #[track_caller]
    pub fn holds<K: Key + ?Sized>(&self, key: &K) -> bool {
        let namespace = self.only.as_deref().unwrap_or(Self::NAMESPACE);
        let looked = Namespace::new(namespace).and_then(|namespace| {
            let path = Path::new(&namespace, key.key_bytes());
            block_on(self.shared.inner.read_one(&path, Intent::Look))
        });
        match looked {
            Ok(found) => found.usable(self.shared.stage.clock.wall()).is_some(),
            Err(error) => panic!("the tier of the fake failed: {error}"),
        }
    }

    /// The same fake, looking at the calls of one namespace alone: for one that several caches share, and for what a cache
    /// keeps beside its entries.
    ///
    /// ```
    /// use nanotier::testing::{Fake, Op};
    ///
    /// let fake = Fake::new();
    /// let users = fake.cache::<String, u32>().namespace("users").build()?;
    /// let orders = fake.cache::<String, u32>().namespace("orders").build()?;
    /// users.get("7").wait()?;
    /// orders.get("7").wait()?;
    /// fake.assert_called(Op::Read, "7", 2);
    /// fake.within("orders").assert_called(Op::Read, "7", 1);
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    #[must_use]
    pub fn within(&self, namespace: &str) -> Self {
        Self { shared: self.shared.clone(), only: Some(namespace.into()) }
    }

    /// How many calls of this kind there were for this key.
    ///
    /// ```
    /// use nanotier::testing::{Fake, Op};
    ///
    /// let fake = Fake::new();
    /// let users = fake.cache::<String, u32>().build()?;
    /// users.get("ada").wait()?;
    /// assert_eq!((fake.count(Op::Read, "ada"), fake.count(Op::Read, "grace")), (1, 0));
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    #[must_use]
    pub fn count<K: Key + ?Sized>(&self, op: Op, key: &K) -> u64 {
        self.shared.counts.count(op, Some(&key.key_bytes()), self.only.as_deref())
    }

    /// How many calls of this kind there were, for all keys together.
    ///
    /// ```
    /// use nanotier::testing::{Fake, Op};
    ///
    /// let fake = Fake::new();
    /// let users = fake.cache::<String, u32>().build()?;
    /// users.get("ada").wait()?;
    /// users.get("grace").wait()?;
    /// assert_eq!(fake.total(Op::Read), 2);
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    #[must_use]
    pub fn total(&self, op: Op) -> u64 {
        self.shared.counts.count(op, None, self.only.as_deref())
    }

    /// How often the tier was called, whatever for and by whom; a batch once.
    ///
    /// ```
    /// use nanotier::testing::{Fake, Op};
    ///
    /// let fake = Fake::new();
    /// let users = fake.cache::<String, u32>().build()?;
    /// users.get_many(["ada", "grace", "alan"]).wait()?;
    /// fake.assert_total(Op::Read, 3);
    /// assert_eq!(fake.round_trips(), 1);
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    #[must_use]
    pub fn round_trips(&self) -> u64 {
        self.shared.counts.trips()
    }

    /// All counts are zero again. What the tier holds stays, and so do faults, time and tasks.
    ///
    /// ```
    /// use nanotier::testing::{Fake, Op};
    ///
    /// let fake = Fake::new();
    /// let users = fake.cache::<String, u32>().build()?;
    /// users.insert("ada".to_string(), 1815).wait()?;
    /// fake.reset();
    /// fake.assert_total(Op::Put, 0);
    /// assert!(fake.holds("ada"));
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    pub fn reset(&self) {
        self.shared.counts.reset();
    }

    /// There were exactly so many calls of this kind for this key.
    ///
    /// # Panics
    ///
    /// If not, with what was called instead.
    ///
    /// ```should_panic
    /// use nanotier::testing::{Fake, Op};
    ///
    /// let fake = Fake::new();
    /// let users = fake.cache::<String, u32>().build()?;
    /// users.get("grace").wait()?;
    /// // expected 1 call of `read` for "ada", found 0; what was called:
    /// //        1 x read      "grace"  in "test"
    /// fake.assert_called(Op::Read, "ada", 1);
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    #[track_caller]
    pub fn assert_called<K: Key + ?Sized>(&self, op: Op, key: &K, times: u64) {
        let key = key.key_bytes();
        let found = self.shared.counts.count(op, Some(&key), self.only.as_deref());
        self.judge(times, found, op, || format!(" for {}", show(&key)));
    }

    /// There was no call of this kind for this key.
    ///
    /// ```
    /// use nanotier::testing::{Fake, Op};
    ///
    /// let fake = Fake::new();
    /// let users = fake.cache::<String, u32>().build()?;
    /// users.insert("ada".to_string(), 1815).wait()?;
    /// users.get("ada").wait()?;
    /// fake.assert_not_called(Op::Read, "ada"); // memory answered
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// As [`assert_called`](Self::assert_called).
    #[track_caller]
    pub fn assert_not_called<K: Key + ?Sized>(&self, op: Op, key: &K) {
        self.assert_called(op, key, 0);
    }

    /// There were exactly so many calls of this kind, for all keys together.
    ///
    /// ```
    /// use nanotier::testing::{Fake, Op};
    ///
    /// let fake = Fake::new();
    /// let users = fake.cache::<String, u32>().build()?;
    /// users.insert_many([("ada".to_string(), 1815), ("grace".to_string(), 1906)]).wait()?;
    /// fake.assert_total(Op::Put, 2);
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// As [`assert_called`](Self::assert_called).
    #[track_caller]
    pub fn assert_total(&self, op: Op, times: u64) {
        self.judge(times, self.total(op), op, String::new);
    }

    #[track_caller]
    fn judge(&self, expected: u64, found: u64, op: Op, of: impl FnOnce() -> String) {
        if expected != found {
            let calls = if expected == 1 { "call" } else { "calls" };
            let told = self.shared.counts.tell(self.only.as_deref());
            panic!("expected {expected} {calls} of `{op}`{}, found {found}; {told}", of());
        }
    }
}

impl Default for Fake {
    fn default() -> Self {
        Self::new()
    }
}

/// Prints what was called, as failed assertions do: keys are shown.
impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fake over {:?}; {}", self.shared.inner, self.shared.counts.tell(self.only.as_deref()))
    }
}

/// A tier whose calls are counted when they begin.
struct Counting {
    tier: Faulty<AnyTier>,
    counts: Arc<Counts>,
    /// What it says of itself instead of the truth.
    scope: Option<Scope>,
}

impl Tier for Counting {
    fn name(&self) -> &'static str {
        self.tier.name()
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.tier.capabilities();
        capabilities.scope = self.scope.unwrap_or(capabilities.scope);
        capabilities
    }

    fn depth(&self) -> u8 {
        self.tier.depth()
    }

    fn attach(&self, context: &Context) {
        self.tier.attach(context);
    }

    fn verify(&self) -> Result<Scope> {
        let scope = self.tier.verify()?;
        Ok(self.scope.unwrap_or(scope))
    }

    fn believed_since(&self) -> Timestamp {
        self.tier.believed_since()
    }

    fn lineage(&self) -> Option<Lineage> {
        self.tier.lineage()
    }

    fn doubt(&self, until: Timestamp) {
        self.tier.doubt(until);
    }

    async fn read(&self, paths: &[Path<'_>], intent: Intent) -> Result<Vec<Result<Found>>> {
        self.counts.batch(&Asked::reads(paths));
        self.tier.read(paths, intent).await
    }

    async fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
        self.counts.batch(&Asked::writes(writes));
        self.tier.write(writes).await
    }

    async fn promote(&self, path: &Path<'_>, found: &Found) -> Result<()> {
        self.tier.promote(path, found).await
    }

    async fn update(&self, update: &Update<'_>) -> Result<Updated> {
        self.counts.batch(&[Asked::update(update)]);
        self.tier.update(update).await
    }

    async fn clear(&self, cleared: &Cleared<'_>) -> Result<Wrote> {
        self.counts.whole(Op::Clear, Some(cleared.namespace));
        self.tier.clear(cleared).await
    }

    async fn list(&self, namespace: &Namespace, page: &PageRequest) -> Result<Page> {
        self.counts.whole(Op::List, Some(namespace));
        self.tier.list(namespace, page).await
    }

    async fn ready(&self) -> Result<()> {
        self.counts.whole(Op::Ready, None);
        self.tier.ready().await
    }

    async fn close(&self) -> Result<()> {
        self.counts.whole(Op::Close, None);
        self.tier.close().await
    }
}
