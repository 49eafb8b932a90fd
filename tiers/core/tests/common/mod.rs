//! A near tier that can be put out of order, and short words for what is done to it.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use nanotier_tier::waiting::block_on;
use nanotier_tier::{
    Bytes, Capabilities, Cleared, Clock, Context, Encoded, Error, ErrorKind, Fingerprint, Found, Hands,
    Inline, Intent, MemoryStore, Namespace, Page, PageRequest, Path, Record, Result, Scope, Store, Tier,
    Timestamp, Update, Updated, Version, Write, Wrote,
};

/// A memory store whose reads and writes can fail, that counts, and whose scope is chosen.
#[derive(Clone, Debug)]
pub struct Faulty(pub Arc<State>);

#[derive(Debug)]
pub struct State {
    pub store: MemoryStore,
    pub scope: Scope,
    pub fails_reads: AtomicBool,
    pub fails_writes: AtomicBool,
    /// How many next writes and updates happen, but are answered with a timeout.
    pub loses_answers: AtomicUsize,
    pub paths_read: AtomicUsize,
    pub believed_since: Mutex<Timestamp>,
}

impl Faulty {
    pub fn new(scope: Scope) -> Self {
        Self::over(scope, MemoryStore::new())
    }

    pub fn over(scope: Scope, store: MemoryStore) -> Self {
        Self(Arc::new(State {
            store,
            scope,
            fails_reads: AtomicBool::new(false),
            fails_writes: AtomicBool::new(false),
            loses_answers: AtomicUsize::new(0),
            paths_read: AtomicUsize::new(0),
            believed_since: Mutex::new(Timestamp::ZERO),
        }))
    }

    pub fn tier(&self) -> Inline<Self> {
        Inline(self.clone())
    }

    /// Down, or up again.
    pub fn fail(&self, fails: bool) {
        self.0.fails_reads.store(fails, Ordering::SeqCst);
        self.0.fails_writes.store(fails, Ordering::SeqCst);
    }

    pub fn fail_writes(&self, fails: bool) {
        self.0.fails_writes.store(fails, Ordering::SeqCst);
    }

    pub fn lose_next_answer(&self) {
        self.0.loses_answers.store(1, Ordering::SeqCst);
    }

    /// How many paths it was asked for since it was asked this last.
    pub fn paths_read(&self) -> usize {
        self.0.paths_read.swap(0, Ordering::SeqCst)
    }

    fn answer<R>(&self, answer: R) -> Result<R> {
        let lost =
            self.0.loses_answers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if lost.is_ok() { Err(Error::new(ErrorKind::Timeout, "faulty", "answer")) } else { Ok(answer) }
    }

    fn check(&self, fails: &AtomicBool) -> Result<()> {
        if fails.load(Ordering::SeqCst) {
            Err(Error::new(ErrorKind::Unavailable, "faulty", "call"))
        } else {
            Ok(())
        }
    }
}

impl Store for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.0.store.capabilities();
        capabilities.scope = self.0.scope;
        capabilities
    }
    fn attach(&self, context: &Context) {
        self.0.store.attach(context);
    }
    fn believed_since(&self) -> Timestamp {
        *self.0.believed_since.lock()
    }
    fn read(&self, paths: &[Path<'_>], intent: Intent) -> Result<Vec<Result<Found>>> {
        self.0.paths_read.fetch_add(paths.len(), Ordering::SeqCst);
        self.check(&self.0.fails_reads)?;
        self.0.store.read(paths, intent)
    }
    fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
        self.check(&self.0.fails_writes)?;
        let answers = self.0.store.write(writes)?;
        self.answer(answers)
    }
    fn update(&self, update: &Update<'_>) -> Result<Updated> {
        self.check(&self.0.fails_writes)?;
        let updated = self.0.store.update(update)?;
        self.answer(updated)
    }
    fn clear(&self, cleared: &Cleared<'_>) -> Result<Wrote> {
        self.check(&self.0.fails_writes)?;
        let wrote = self.0.store.clear(cleared)?;
        self.answer(wrote)
    }
    fn list(&self, namespace: &Namespace, page: &PageRequest) -> Result<Page> {
        self.0.store.list(namespace, page)
    }
}

/// A clock, a namespace, and a writer.
pub struct World {
    pub clock: Clock,
    pub hands: Hands,
    pub context: Context,
    pub namespace: Namespace,
}

impl World {
    pub fn new() -> Self {
        let (clock, hands) = Clock::manual();
        let context = Context::new(clock.clone(), 1);
        Self { clock, hands, context, namespace: Namespace::new("test").unwrap() }
    }

    pub fn attached<T: Tier>(&self, tier: T) -> T {
        tier.attach(&self.context);
        tier
    }

    pub fn now(&self) -> Timestamp {
        self.clock.wall()
    }

    pub fn pass(&self, ms: u64) {
        self.hands.advance(Duration::from_millis(ms));
    }

    pub fn draw(&self) -> Version {
        self.context.versions.draw()
    }

    pub fn path<'p>(&'p self, key: &'p str) -> Path<'p> {
        Path::new(&self.namespace, key.as_bytes())
    }

    pub fn record(&self, value: &str) -> Record {
        let value = Encoded::new(Bytes::copy_from_slice(value.as_bytes()), Fingerprint(1));
        Record { version: self.draw(), ..Record::new(value, self.now()) }
    }

    /// A write that must be taken.
    pub fn write(&self, tier: &impl Tier, write: &Write<'_>) {
        assert_eq!(block_on(tier.write_one(write)).unwrap(), Wrote::Done);
    }

    pub fn try_put(&self, tier: &impl Tier, key: &str, value: &str) -> Result<Wrote> {
        block_on(tier.write_one(&Write::put(self.path(key), &self.record(value))))
    }

    pub fn put(&self, tier: &impl Tier, key: &str, value: &str) {
        assert_eq!(self.try_put(tier, key, value).unwrap(), Wrote::Done);
    }

    pub fn try_remove(&self, tier: &impl Tier, key: &str) -> Result<Wrote> {
        block_on(tier.write_one(&Write::remove(self.path(key), self.draw(), self.now())))
    }

    pub fn remove(&self, tier: &impl Tier, key: &str) {
        assert_eq!(self.try_remove(tier, key).unwrap(), Wrote::Done);
    }

    pub fn clear(&self, tier: &impl Tier) -> Result<Wrote> {
        block_on(tier.clear(&Cleared { namespace: &self.namespace, version: self.draw(), as_of: self.now() }))
    }

    pub fn read(&self, tier: &impl Tier, key: &str) -> Result<Found> {
        block_on(tier.read_one(&self.path(key), Intent::Look))
    }

    /// The usable value, and whether it is trusted.
    pub fn look(&self, tier: &impl Tier, key: &str) -> Option<(String, bool)> {
        let found = self.read(tier, key).unwrap();
        let record = found.usable(self.now())?;
        Some((String::from_utf8(record.value.bytes.to_vec()).unwrap(), found.trusted))
    }

    pub fn value(&self, tier: &impl Tier, key: &str) -> Option<String> {
        self.look(tier, key).map(|(value, _)| value)
    }

    /// Reads, and copies what was found, as a cache does after decoding.
    pub fn read_and_promote(&self, tier: &impl Tier, key: &str) -> Found {
        let found = self.read(tier, key).unwrap();
        block_on(tier.promote(&self.path(key), &found)).unwrap();
        found
    }
}
