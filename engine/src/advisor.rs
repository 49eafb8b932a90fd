//! Watches a sample of the keys, and says what the hit ratio would have been at other capacities.
//!
//! A key is in the sample by its hash (SHARDS: Waldspurger, Park, Garthwaite and Ahmad 2015), so that all its uses are seen
//! or none. Entries of the sample carry a mark, which sends the reader here; others know nothing of it. Of the misses and
//! the insertions of the sample, those who make them tell. Each goes to the six [`Miniatures`]; but a key that was
//! here a moment ago is a hit in all of them, and is only counted.
//!
//! What a sample of keys says is off mainly because some key is asked for very often, and is in it or not. So the
//! miniatures are asked only how many misses there are at each capacity as against the engine's own, and the engine's own
//! look-ups and misses are counted: misses always, hits for some of the time.
//!
//! A small engine needs a dense sample, which costs too much to have always: it is watched for some of the time.

use crate::engine::Engine;
use crate::lifecycle::Lifecycle;
use crate::miniature::{self, COUNT, Lacking, Miniatures, SAME};
use crate::options::Policy;
use crate::shard::Inserted;
use crate::stats::Lookups;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Mutex, Ordering};
use crate::table::{is_sampled, upper};
use crate::what_if::{WhatIf, WhatIfPoint};
use std::hash::{BuildHasher, Hash};

/// What became of a look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Hit,
    /// The key is not there.
    Missing,
    /// The key is there, and its value is not good any more: so it would not be at any capacity.
    Dead,
}

/// Whose uses the engine's tables should tell, from now on: [`Slots::sample`](crate::table::Slots::sample).
#[must_use]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resample(u32);

#[derive(Debug)]
pub(crate) struct Advisor {
    /// Who misses or inserts one of these tells.
    below: AtomicU32,
    is_resting: AtomicBool,
    /// Keys that all miniatures have: each the upper part of a hash, and the time.
    recent: Box<[AtomicU32]>,
    /// Goes on as the smallest miniature takes keys in: eight times while it changes all it has.
    time: AtomicU32,
    /// Look-ups of the sample. Some are lost when threads meet.
    asked: AtomicU64,
    watch: Mutex<Watch>,
}

/// What is written down, under the lock.
#[derive(Debug)]
struct Watch {
    capacity: u64,
    policy: Policy,
    /// One key of two to this power is in the sample.
    rarity: u32,
    /// How many entries there will be is not known: they have weights.
    is_guess: bool,
    miniatures: Miniatures,
    /// How many the smallest took in since the time went on.
    taken: usize,
    phase: Phase,
    /// No phase is over yet: all that has happened was counted.
    is_first: bool,
    /// Where the phase began.
    began: Moment,
    tally: Tally,
    /// When it was last added to.
    tallied: Moment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// All is counted.
    Counting,
    /// All but the engine's hits is counted.
    Watching,
    /// The miniatures catch up with what they have not seen, and nothing is counted.
    Waking,
    /// Nothing is seen but some misses; until the engine has missed so many more.
    Resting(u64),
}

/// Counters as they were.
#[derive(Debug, Clone, Copy, Default)]
struct Moment {
    asked: u64,
    hits: u64,
    misses: u64,
}

/// Halved now and then, so that the past is forgotten.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    /// Look-ups of the sample, and those while hits were counted.
    asked: f64,
    asked_counted: f64,
    /// The engine's look-ups while hits were counted.
    lookups_counted: f64,
    /// The engine's misses.
    misses: f64,
    /// The miniatures'.
    lacked: [f64; COUNT],
}

impl Advisor {
    pub(crate) fn new(capacity: u64, policy: Policy, weighs: bool) -> Self {
        let watch = Watch::new(capacity, policy, weighs);
        Self {
            below: AtomicU32::new(0),
            is_resting: AtomicBool::new(false),
            recent: (0..RECENT).map(|_| AtomicU32::new(0)).collect(),
            time: AtomicU32::new(1),
            asked: AtomicU64::new(0),
            watch: Mutex::new(watch),
        }
    }

    /// Of an engine that is new.
    pub(crate) fn begin(&self, lookups: &Lookups) -> Resample {
        self.enter(&mut self.watch.lock(), Phase::Counting, lookups)
    }

    /// Begins anew.
    pub(crate) fn set_capacity(&self, capacity: u64, lookups: &Lookups) -> Resample {
        let mut watch = self.watch.lock();
        *watch = Watch::new(capacity, watch.policy, watch.is_guess);
        self.pass(&mut watch, 0);
        self.enter(&mut watch, Phase::Counting, lookups)
    }

    /// Whether a miss or an insertion of a key with this hash is to be told.
    #[inline]
    pub(crate) fn wants(&self, hash: u64) -> bool {
        is_sampled(upper(hash), self.below.load(Ordering::Relaxed))
    }

    /// One of the sample was asked for.
    pub(crate) fn asked(&self, hash: u64, what: Asked, lookups: &Lookups) -> Option<Resample> {
        if !self.is_resting.load(Ordering::Relaxed) {
            let asked = self.asked.load(Ordering::Relaxed) + 1;
            self.asked.store(asked, Ordering::Relaxed);
            if what == Asked::Hit && self.is_recent(hash) && asked % LOOKS != 0 {
                return None;
            }
        }
        // Whoever finds it taken goes on untold: nobody waits for advice.
        let mut watch = self.watch.try_lock()?;
        if !matches!(watch.phase, Phase::Resting(_)) {
            self.look(&mut watch, hash, what);
        }
        self.go_on(&mut watch, lookups)
    }

    fn look(&self, watch: &mut Watch, hash: u64, what: Asked) {
        let lacking = match what {
            Asked::Hit => {
                let lacking = watch.miniatures.hit(hash);
                self.pass(watch, usize::from(lacking.has(0)));
                self.set_recent(hash);
                lacking
            }
            Asked::Missing => watch.miniatures.miss(hash),
            Asked::Dead => {
                watch.miniatures.remove(hash);
                Lacking::ALL
            }
        };
        if watch.phase != Phase::Waking {
            watch.tally.lack(lacking);
        }
    }

    /// A value came in, or was refused; perhaps one of the sample.
    #[inline(never)]
    pub(crate) fn put(&self, hash: u64, weight: u64, inserted: Inserted) {
        if !self.wants(hash) {
            return;
        }
        let Some(mut watch) = self.watch.try_lock() else { return };
        if matches!(watch.phase, Phase::Resting(_)) {
            return;
        }
        if inserted == Inserted::Rejected {
            self.forget(&mut watch, hash);
            return;
        }
        watch.miniatures.put(hash, weight, inserted == Inserted::Replaced);
        self.pass(&mut watch, 1);
        // Not recent before its first use, which policies want to see.
        self.place(hash).store(0, Ordering::Relaxed);
    }

    #[inline(never)]
    pub(crate) fn removed(&self, hash: u64) {
        if !self.wants(hash) {
            return;
        }
        if let Some(mut watch) = self.watch.try_lock() {
            self.forget(&mut watch, hash);
        }
    }

    fn forget(&self, watch: &mut Watch, hash: u64) {
        watch.miniatures.remove(hash);
        self.place(hash).store(0, Ordering::Relaxed);
    }

    pub(crate) fn cleared(&self) {
        let mut watch = self.watch.lock();
        watch.miniatures = Miniatures::new(watch.capacity, watch.rarity, watch.policy);
        self.pass(&mut watch, usize::MAX);
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.recent) + self.watch.lock().miniatures.bytes()
    }

    pub(crate) fn what_if(&self, lookups: &Lookups) -> Option<WhatIf> {
        let mut watch = self.watch.lock();
        let now = self.now(lookups);
        watch.tally_to(now);
        watch.what_if()
    }

    fn now(&self, lookups: &Lookups) -> Moment {
        let (hits, misses) = lookups.counted();
        Moment { asked: self.asked.load(Ordering::Relaxed), hits, misses }
    }

    /// The smallest miniature has taken in so many more.
    fn pass(&self, watch: &mut Watch, more: usize) {
        watch.taken = watch.taken.saturating_add(more);
        if watch.taken > watch.miniatures.len_of_smallest() / TIMES {
            watch.taken = 0;
            let next = self.time.load(Ordering::Relaxed).wrapping_add(1) & TIME_MASK;
            self.time.store(next.max(1), Ordering::Relaxed);
        }
    }

    fn place(&self, hash: u64) -> &AtomicU32 {
        // The lowest bits are meant.
        #[allow(clippy::cast_possible_truncation)]
        &self.recent[hash as usize & (RECENT - 1)]
    }

    fn word(&self, hash: u64) -> u32 {
        // The upper part is meant.
        #[allow(clippy::cast_possible_truncation)]
        let upper = (hash >> 32) as u32;
        upper & !TIME_MASK | self.time.load(Ordering::Relaxed)
    }

    fn is_recent(&self, hash: u64) -> bool {
        self.place(hash).load(Ordering::Relaxed) == self.word(hash)
    }

    fn set_recent(&self, hash: u64) {
        self.place(hash).store(self.word(hash), Ordering::Relaxed);
    }

    /// To the next phase, if it is time.
    fn go_on(&self, watch: &mut Watch, lookups: &Lookups) -> Option<Resample> {
        if watch.is_guess && watch.miniatures.len() > GUESS_MAX && watch.rarity < RARITY_MAX {
            watch.begin_anew(watch.rarity + 1);
            self.pass(watch, usize::MAX);
            return Some(self.enter(watch, Phase::Counting, lookups));
        }
        let asked = self.asked.load(Ordering::Relaxed).wrapping_sub(watch.began.asked);
        let is_first = watch.is_first;
        let next = match watch.phase {
            Phase::Counting if watch.is_always() => {
                let last = if is_first { FIRST_COUNT } else { COUNT_OF };
                (asked >= last).then_some(Phase::Watching)?
            }
            Phase::Watching => (asked >= COUNT_OF * COUNT_EVERY).then_some(Phase::Counting)?,
            Phase::Counting => {
                (asked >= if is_first { FIRST_WATCH } else { WATCH }).then_some(())?;
                let missed = lookups.counted().1.wrapping_sub(watch.began.misses);
                // Where more was counted, in the first phase, as many as if it had been as long as others.
                let part = WATCH as f64 / asked.max(WATCH) as f64;
                // A part of them.
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                let missed = (missed as f64 * part) as u64;
                // Half as much again was missed while it woke up.
                Phase::Resting(missed.max(MISSES_MIN).saturating_mul((3 << (RARITY_FREE - watch.rarity)) / 2))
            }
            Phase::Waking => (asked >= WAKE).then_some(Phase::Counting)?,
            Phase::Resting(misses) => {
                let missed = lookups.counted().1.wrapping_sub(watch.began.misses);
                (missed >= misses).then_some(Phase::Waking)?
            }
        };
        let before = watch.phase;
        watch.is_first = false;
        let resample = self.enter(watch, next, lookups);
        let is_same = matches!(
            (before, next),
            (Phase::Counting, Phase::Watching) | (Phase::Watching, Phase::Counting) | (Phase::Waking, _)
        );
        (!is_same).then_some(resample)
    }

    fn enter(&self, watch: &mut Watch, phase: Phase, lookups: &Lookups) -> Resample {
        let now = self.now(lookups);
        watch.tally_to(now);
        watch.phase = phase;
        watch.began = now;
        if watch.tally.asked >= REMEMBERED {
            watch.tally.halve();
        }
        let is_resting = matches!(phase, Phase::Resting(_));
        lookups.count_hits(phase == Phase::Counting);
        self.is_resting.store(is_resting, Ordering::Relaxed);
        let below = u32::MAX >> watch.rarity;
        self.below.store(if is_resting { u32::MAX >> RARITY_FREE } else { below }, Ordering::Relaxed);
        Resample(if is_resting { 0 } else { below })
    }
}

impl Watch {
    fn new(capacity: u64, policy: Policy, is_guess: bool) -> Self {
        let rarity = if is_guess { 0 } else { rarity(capacity) };
        Self {
            capacity,
            policy,
            rarity,
            is_guess,
            miniatures: Miniatures::new(capacity, rarity, policy),
            taken: 0,
            phase: Phase::Waking,
            is_first: true,
            began: Moment::default(),
            tally: Tally::default(),
            tallied: Moment::default(),
        }
    }

    fn begin_anew(&mut self, rarity: u32) {
        self.rarity = rarity;
        self.miniatures = Miniatures::new(self.capacity, rarity, self.policy);
        self.tally = Tally::default();
        self.phase = Phase::Waking;
        self.is_first = true;
    }

    /// The sample is so thin that it costs next to nothing.
    fn is_always(&self) -> bool {
        self.rarity >= RARITY_FREE
    }

    fn tally_to(&mut self, now: Moment) {
        let last = std::mem::replace(&mut self.tallied, now);
        let since = |now: u64, last: u64| now.saturating_sub(last) as f64;
        let (asked, misses) = (since(now.asked, last.asked), since(now.misses, last.misses));
        if matches!(self.phase, Phase::Counting | Phase::Watching) {
            self.tally.asked += asked;
            self.tally.misses += misses;
        }
        if self.phase == Phase::Counting {
            self.tally.asked_counted += asked;
            self.tally.lookups_counted += misses + since(now.hits, last.hits);
        }
    }

    fn what_if(&self) -> Option<WhatIf> {
        let tally = &self.tally;
        if tally.asked_counted <= 0.0 || tally.lookups_counted <= 0.0 || self.capacity == 0 {
            return None;
        }
        let lookups = tally.asked * (tally.lookups_counted / tally.asked_counted);
        // How many of the engine's misses one of the sample stands for: with few of them, as many as there are keys to one of
        // the sample.
        let keys = f64::from(1_u32 << self.rarity);
        let each = (tally.misses + FEW * keys) / (tally.lacked[SAME] + FEW);
        let missed = |lacked: f64| {
            if lacked < 2.0 * tally.lacked[SAME] {
                lacked * each
            } else {
                // What one of few stands for must not be said of many.
                tally.misses + (lacked - tally.lacked[SAME]) * keys
            }
        };
        let mut ratios = tally.lacked.map(|lacked| (1.0 - missed(lacked) / lookups).clamp(0.0, 1.0));
        ratios[SAME] = (1.0 - tally.misses / lookups).clamp(0.0, 1.0);
        for (nth, ratio) in ratios.iter_mut().enumerate() {
            if miniature::capacity(self.capacity, nth) == 0 {
                *ratio = 0.0;
            }
        }
        for nth in (0..SAME).rev() {
            ratios[nth] = ratios[nth].min(ratios[nth + 1]);
        }
        for nth in SAME + 1..COUNT {
            ratios[nth] = ratios[nth].max(ratios[nth - 1]);
        }
        let point = |nth| WhatIfPoint {
            factor: miniature::QUARTERS[nth] as f64 / 4.0,
            capacity: miniature::capacity(self.capacity, nth),
            hit_ratio: ratios[nth],
        };
        // A sum of counts.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let sampled = tally.asked as u64;
        Some(WhatIf { points: std::array::from_fn(point), sampled })
    }
}

impl Tally {
    fn lack(&mut self, lacking: Lacking) {
        for (nth, lacked) in self.lacked.iter_mut().enumerate() {
            if lacking.has(nth) {
                *lacked += 1.0;
            }
        }
    }

    fn halve(&mut self) {
        let Self { asked, asked_counted, lookups_counted, misses, lacked } = self;
        for number in [asked, asked_counted, lookups_counted, misses].into_iter().chain(lacked) {
            *number /= 2.0;
        }
    }
}

/// So that there are enough keys in the sample.
fn rarity(capacity: u64) -> u32 {
    (capacity / ENTRIES).checked_ilog2().unwrap_or(0).min(RARITY_MAX)
}

impl<K, V, L, S> Engine<K, V, L, S>
where
    K: Hash + Eq,
    L: Lifecycle<K, V>,
    S: BuildHasher,
{
    /// Tells the advisor, if there is one and the key is in its sample.
    #[inline(always)]
    pub(crate) fn advise(&self, hash: u64, what: Asked) {
        if self.advisor.is_some() {
            self.advise_asked(hash, what);
        }
    }

    // Out of line, as the others: who has no advisor saves no registers for it.
    #[inline(never)]
    fn advise_asked(&self, hash: u64, what: Asked) {
        let Some(advisor) = self.advisor.as_ref().filter(|advisor| advisor.wants(hash)) else { return };
        if let Some(resample) = advisor.asked(hash, what, &self.stats) {
            self.follow(resample);
        }
    }

    #[inline(always)]
    pub(crate) fn put_advised(&self, hash: u64, weight: u64, inserted: Inserted) {
        if let Some(advisor) = &self.advisor {
            advisor.put(hash, weight, inserted);
        }
    }

    #[inline(always)]
    pub(crate) fn removed_advised(&self, hash: u64) {
        if let Some(advisor) = &self.advisor {
            advisor.removed(hash);
        }
    }

    /// Has the tables tell of those in the sample. A look-up inside a closure that runs under a lock of an engine cannot:
    /// then some are told in vain or not at all, until the next time.
    pub(crate) fn follow(&self, Resample(below): Resample) {
        if crate::held::is_any() {
            return;
        }
        for shard in &self.shards {
            shard.table.lock().parts().0.sample(below);
        }
    }
}

/// How many entries the miniature has at least that is as large as the engine; at most twice as many. With as many, it is off
/// by a third of a point on average; with half as many, by twice that.
const ENTRIES: u64 = 256;
/// One key of two to this power costs so little that it can be watched always.
const RARITY_FREE: u32 = 8;
const RARITY_MAX: u32 = 24;
/// With weights, a miniature with more is too large.
const GUESS_MAX: usize = 1024;

/// How many keys are known to be in all miniatures.
const RECENT: usize = 8192;
const TIME_MASK: u32 = 0xff;
/// How often the time goes on while the smallest miniature changes all it has.
const TIMES: usize = 8;
/// One of so many recent ones looks whether the phase is over.
const LOOKS: u64 = 64;

/// Phases of an engine that is watched always, in look-ups of the sample: hits are counted in one of so many.
const FIRST_COUNT: u64 = 4096;
const COUNT_OF: u64 = 512;
const COUNT_EVERY: u64 = 15;
/// Phases of one that is not.
const FIRST_WATCH: u64 = 1 << 17;
const WAKE: u64 = 1 << 13;
const WATCH: u64 = 1 << 14;
const MISSES_MIN: u64 = 1 << 12;
/// When all is halved, in look-ups of the sample.
const REMEMBERED: f64 = (1 << 18) as f64;
/// How many misses of the sample are few.
const FEW: f64 = 8.0;
