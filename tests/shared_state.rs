//! One lock and one counter, built on `Tier::update` alone, on every tier that has it: what shared state will stand on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use nanotier::tier::waiting::block_on;
use nanotier::tier::{
    Change, Deadlines, Encoded, Expect, Fingerprint, HybridClock, Namespace, Path, Record, Renewal, Update,
    Updated,
};
use nanotier::{AnyTier, Bytes, Clock, Hands, Inline, MemoryStore, Result, Tier};

/// A client of a tier: one of several, in this process or another.
struct Client {
    tier: AnyTier,
    clock: Clock,
    versions: HybridClock,
    locks: Namespace,
}

impl Client {
    fn new(tier: &AnyTier, clock: &Clock, writer: u64) -> Self {
        let locks = Namespace::new("app").unwrap().beside("lock");
        Self {
            tier: tier.clone(),
            clock: clock.clone(),
            versions: HybridClock::new(clock.clone(), writer),
            locks,
        }
    }

    fn update(&self, key: &[u8], change: Change) -> Result<Updated> {
        let path = Path::new(&self.locks, key);
        let update = Update { path, change, version: self.versions.draw(), as_of: self.clock.wall() };
        block_on(self.tier.update(&update))
    }

    fn record(&self, owner: &[u8], ttl: Duration) -> Record {
        let value = Encoded::new(Bytes::copy_from_slice(owner), Fingerprint(0));
        let now = self.clock.wall();
        Record { deadlines: Deadlines::after(now, ttl, Duration::ZERO), ..Record::new(value, now) }
    }

    /// The fencing token if the lock is ours now. The counter behind it lives for ever: tokens rise across expiry.
    fn try_lock(&self, owner: &[u8], ttl: Duration) -> Result<Option<i64>> {
        match self.update(b"lock", Change::Add(self.record(owner, ttl)))? {
            Updated::Done(_) => self.count(b"fence", 1, Renewal::Fixed(None)).map(Some),
            _ => Ok(None),
        }
    }

    fn renew(&self, owner: &'static [u8], ttl: Duration) -> Result<bool> {
        let expect = Expect::Value(Bytes::from_static(owner));
        let renewed = self.update(b"lock", Change::Replace { record: self.record(owner, ttl), expect })?;
        Ok(matches!(renewed, Updated::Done(_)))
    }

    fn unlock(&self, owner: &'static [u8]) -> Result<bool> {
        let released = self.update(b"lock", Change::RemoveIf(Expect::Value(Bytes::from_static(owner))))?;
        Ok(matches!(released, Updated::Done(_)))
    }

    fn count(&self, key: &[u8], by: i64, lifetime: Renewal) -> Result<i64> {
        match self.update(key, Change::Increment { by, lifetime })? {
            Updated::Counted { value, .. } => Ok(value),
            other => panic!("an increment answers a count, not {other:?}"),
        }
    }
}

/// Runs a promise on each tier, each on a clock of its own.
fn on_every_tier(promise: impl Fn(&AnyTier, &Clock, &Hands)) {
    let folder = tempfile::tempdir().unwrap();
    let redb = nanotier_redb::RedbStore::open(folder.path().join("shared.redb")).unwrap();
    let tiers = [
        Inline(MemoryStore::new()).erase(),
        Inline(redb).erase(),
        // In a chain, what is atomic goes to the truth alone.
        Inline(MemoryStore::new()).over(Inline(MemoryStore::new())).erase(),
    ];
    for tier in tiers {
        let (clock, hands) = Clock::manual();
        tier.attach(&nanotier::tier::Context::new(clock.clone(), 99));
        promise(&tier, &clock, &hands);
    }
}

const TTL: Duration = Duration::from_secs(10);

#[test]
fn a_lock_has_one_holder_and_its_tokens_rise_across_expiry() {
    on_every_tier(|tier, clock, hands| {
        let (a, b) = (Client::new(tier, clock, 1), Client::new(tier, clock, 2));
        let first = a.try_lock(b"a", TTL).unwrap().expect("nobody holds it");
        assert_eq!(b.try_lock(b"b", TTL).unwrap(), None, "{tier:?}");
        assert!(a.renew(b"a", TTL).unwrap());
        hands.advance(TTL);
        let second = b.try_lock(b"b", TTL).unwrap().expect("it has expired");
        assert!(second > first, "{tier:?}");
        // The first holder comes back too late: it neither renews nor frees what is another's.
        assert!(!a.renew(b"a", TTL).unwrap());
        assert!(!a.unlock(b"a").unwrap());
        assert!(b.unlock(b"b").unwrap());
        let third = a.try_lock(b"a", TTL).unwrap().expect("it was freed");
        assert!(third > second);
    });
}

#[test]
fn two_threads_are_never_inside_at_once() {
    on_every_tier(|tier, clock, _| {
        let (inside, turns) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        crossbeam_utils::thread::scope(|scope| {
            for (writer, owner) in [(1, b"a"), (2, b"b"), (3, b"c")] {
                let (inside, turns) = (inside.clone(), turns.clone());
                scope.spawn(move |_| {
                    let client = Client::new(tier, clock, writer);
                    let mut last = 0;
                    for _ in 0..30 {
                        let token = loop {
                            if let Some(token) = client.try_lock(owner, TTL).unwrap() {
                                break token;
                            }
                            std::thread::yield_now();
                        };
                        assert!(!inside.swap(true, SeqCst), "two holders at once");
                        assert!(token > last);
                        last = token;
                        turns.fetch_add(1, SeqCst);
                        inside.store(false, SeqCst);
                        assert!(client.unlock(owner).unwrap());
                    }
                });
            }
        })
        .expect("every thread joined");
        assert_eq!(turns.load(SeqCst), 90);
    });
}

#[test]
fn counters_lose_nothing_also_right_after_expiry() {
    on_every_tier(|tier, clock, hands| {
        for _ in 0..2 {
            crossbeam_utils::thread::scope(|scope| {
                for writer in 1..=4 {
                    scope.spawn(move |_| {
                        let client = Client::new(tier, clock, writer);
                        for _ in 0..25 {
                            assert!(client.count(b"n", 1, Renewal::Fixed(Some(TTL))).unwrap() > 0);
                        }
                    });
                }
            })
            .expect("every thread joined");
            let client = Client::new(tier, clock, 9);
            assert_eq!(client.count(b"n", 0, Renewal::Fixed(None)).unwrap(), 100, "{tier:?}");
            hands.advance(TTL);
        }
    });
}
