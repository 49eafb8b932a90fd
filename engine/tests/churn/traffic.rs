//! What the churn does, to an engine that nobody else uses: shared by the long test and by the one that validates.

use crossbeam_utils::thread::scope;
use nanotier_engine::{Cause, Compute, Engine, Lifecycle, Options, Policy};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

pub(crate) const POLICIES: [Policy; 3] = [Policy::Adaptive, Policy::Clock, Policy::Lru];

/// Some four thousand entries of the usual weight.
pub(crate) const BASE: u64 = 400_000;
const SHARDS: usize = 8;

/// Per thread.
const ROUND: u64 = if cfg!(miri) { 50 } else { 4000 };

/// Values that were made and not dropped.
static ALIVE: AtomicI64 = AtomicI64::new(0);

pub(crate) fn alive() -> i64 {
    ALIVE.load(Ordering::Relaxed)
}

/// With something on the heap, so that one that is lost is seen there.
#[derive(Debug)]
pub(crate) struct Value {
    key: Box<u64>,
    weight: u64,
    deadline: u64,
}

impl Value {
    fn new(key: u64, weight: u64, deadline: u64) -> Self {
        ALIVE.fetch_add(1, Ordering::Relaxed);
        Self { key: Box::new(key), weight, deadline }
    }
}

impl Clone for Value {
    fn clone(&self) -> Self {
        Self::new(*self.key, self.weight, self.deadline)
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The clock is moved by hand. What leaves goes another way where somebody wants to hear of it.
#[derive(Debug, Default)]
pub(crate) struct ByHand<const LISTENS: bool> {
    now: AtomicU64,
}

impl<const LISTENS: bool> Lifecycle<u64, Value> for ByHand<LISTENS> {
    const LISTENS: bool = LISTENS;

    fn weight(&self, _: &u64, value: &Value) -> u64 {
        value.weight
    }

    fn is_dead(&self, _: &u64, value: &Value) -> bool {
        value.deadline <= self.now.load(Ordering::Relaxed)
    }

    fn on_leave(&self, key: &u64, value: &Value, _: Cause) {
        assert_eq!(key, &*value.key, "a value is heard of under its own key");
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Mostly small numbers, of keys that move on from round to round: half of a round's are the next one's.
    fn key(&mut self, round: u64) -> u64 {
        let (one, other) = (self.below(10_000), self.below(10_000));
        one * other / 10_000 + round * 5000
    }

    fn weight(&mut self) -> u64 {
        match self.below(20_000) {
            0 => BASE,
            1..40 => BASE / SHARDS as u64,
            40..400 => 0,
            _ => 1 + self.below(200),
        }
    }

    fn value(&mut self, key: u64, now: u64) -> Value {
        let life = if self.below(4) == 0 { 1 + self.below(50) } else { 1 << 40 };
        Value::new(key, self.weight(), now + life)
    }

    fn capacity(&mut self, round: u64) -> u64 {
        match self.below(16) {
            0 if empties(round) => self.below(1000),
            1..8 => BASE / 8 + self.below(BASE),
            _ => BASE,
        }
    }
}

/// Whether shards are emptied in this round. They give all places back then, also those that were lost: so only at first.
fn empties(round: u64) -> bool {
    round < 4
}

pub(crate) struct Traffic<const LISTENS: bool> {
    pub(crate) engine: Engine<u64, Value, ByHand<LISTENS>>,
}

impl<const LISTENS: bool> Traffic<LISTENS> {
    pub(crate) fn new(policy: Policy) -> Self {
        let options = Options::new(BASE).shards(SHARDS).policy(policy);
        Self { engine: Engine::with(options, ByHand::default()).expect("options that agree") }
    }

    /// Two to four new threads do everything at once, until each has done its part. Says how much.
    pub(crate) fn round(&self, round: u64) -> u64 {
        let threads = 2 + round % 3;
        scope(|scope| {
            for thread in 0..threads {
                scope.spawn(move |_| self.meddle(round, thread));
            }
        })
        .expect("every thread joined");
        // What a round leaves is compared with what the others do.
        self.engine.set_capacity(BASE);
        self.engine.flush();
        threads * ROUND
    }

    fn meddle(&self, round: u64, thread: u64) {
        let (engine, clock) = (&self.engine, &self.engine.lifecycle().now);
        let mut random = Random(round << 8 | thread);
        let mut till_resized = random.below(ROUND);
        for _ in 0..ROUND {
            let (key, now) = (random.key(round), clock.load(Ordering::Relaxed));
            match random.below(1000) {
                0..500 => {
                    let seen = engine.read(&key, |value| assert_eq!(*value.key, key));
                    if seen.is_none() {
                        engine.insert(key, random.value(key, now));
                    }
                }
                500..600 => {
                    let loaded = engine.get_or_insert_with(&key, || random.value(key, now));
                    assert_eq!(*loaded.expect("no cycle").key, key);
                }
                600..800 => ignore(engine.insert(key, random.value(key, now))),
                800..880 => ignore(engine.remove(&key)),
                880..920 => ignore(engine.take(&key).map(|value| assert_eq!(*value.key, key))),
                920..960 => {
                    let wanted = random.below(3);
                    ignore(engine.compute(key, |_| match wanted {
                        0 => Compute::Keep,
                        1 => Compute::Remove,
                        _ => Compute::Put(random.value(key, now)),
                    }));
                }
                960..980 => {
                    let value = random.value(key, now);
                    ignore(engine.insert_if(key, value, |old| old.is_none()));
                }
                980..999 => ignore(clock.fetch_add(1, Ordering::Relaxed)),
                _ if random.below(8) == 0 => engine.retain(|key, value| (key ^ value.weight) % 4 > 0),
                _ if empties(round) && random.below(16) == 0 => engine.clear(),
                _ => {}
            }
            if thread == 0 {
                if till_resized == 0 {
                    engine.set_capacity(random.capacity(round));
                    till_resized = random.below(ROUND / 4);
                }
                till_resized = till_resized.saturating_sub(1);
            }
        }
    }

    /// What is there is what is counted, within the bound.
    pub(crate) fn check_at_rest(&self, round: u64) {
        let engine = &self.engine;
        assert!(engine.weight() <= engine.capacity(), "round {round}: {engine:?}");
        // Before the first deadline: those that have not left yet are shown too.
        let now = engine.lifecycle().now.swap(0, Ordering::Relaxed);
        let (mut count, mut weight) = (0, 0);
        engine.for_each(|key, value| {
            assert_eq!(key, &*value.key, "round {round}");
            count += 1;
            weight += value.weight;
        });
        engine.lifecycle().now.store(now, Ordering::Relaxed);
        assert_eq!(
            (count, weight),
            (engine.len(), engine.weight()),
            "round {round}: entries and their weight"
        );
    }

    /// What has left is dropped. There must be no other engine.
    pub(crate) fn check_nothing_is_lost(&self, round: u64) {
        let resident = i64::try_from(self.engine.len()).expect("a small number");
        assert_eq!(alive(), resident, "round {round}: values that are neither resident nor dropped");
    }
}

/// Operations answer with all sorts of things; here only what they do counts.
fn ignore<T>(_: T) {}
