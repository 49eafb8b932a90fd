//! Every row, what it measures, and what nanotier must reach there. Goals are written down here and nowhere
//! else.

#[cfg(feature = "freshness")]
pub(crate) mod freshness;
#[cfg(feature = "tiers")]
pub(crate) mod tiers;

/// One question.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) id: &'static str,
    pub(crate) what: &'static str,
    /// Missing a goal of these fails the command: they count, and a count is the same every time.
    pub(crate) is_strict: bool,
    pub(crate) goals: &'static [Goal],
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal {
    /// Which of the workloads of the row, where it has several.
    pub(crate) variant: &'static str,
    /// Which contender of ours.
    pub(crate) ours: &'static str,
    /// Against whom: a contender's name, [`BEST_LENDER`], or empty where the goal is a figure of its own.
    pub(crate) rival: &'static str,
    pub(crate) limit: Limit,
    /// Wished for, not asked for.
    pub(crate) is_stretch: bool,
    /// Missing it fails the command, whatever the question's other goals are.
    pub(crate) is_strict: bool,
}

/// The rival that costs least of those that show a value without cloning it; chosen anew in every round.
pub(crate) const BEST_LENDER: &str = "best lender";

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Limit {
    /// Ours is at most this many times the rival's.
    Ratio(f64),
    /// The same, and a few cycles more.
    RatioPlusCycles(f64, f64),
    /// What the engine is allowed, and 15 % or 5 cycles on top of it, whichever is more.
    FacadeRatio(f64),
    /// The same, and our hit ratio is higher by at least [`HIT_RATIO_LEAD`].
    RatioAndHits(f64),
    /// Both: the facade's allowance, and the hit ratio.
    FacadeRatioAndHits(f64),
    /// Ours costs at most this many cycles more than the rival.
    CyclesMore(f64),
    /// Our figure is at most this.
    AtMost(f64),
}

pub(crate) const HIT_RATIO_LEAD: f64 = 0.005;
pub(crate) const FACADE_SLACK: f64 = 1.15;
pub(crate) const FACADE_CYCLES: f64 = 5.0;
/// A count that should be zero may be this far off: an interruption costs an instruction or two in a million.
pub(crate) const COUNT_TOLERANCE: f64 = 0.001;

const fn goal(rival: &'static str, limit: Limit) -> Goal {
    Goal { variant: "", ours: "nanotier", rival, limit, is_stretch: false, is_strict: false }
}

const fn ratio(rival: &'static str, limit: f64) -> Goal {
    goal(rival, Limit::Ratio(limit))
}

impl Goal {
    const fn by(self, ours: &'static str) -> Self {
        Self { ours, ..self }
    }

    const fn of(self, variant: &'static str) -> Self {
        Self { variant, ..self }
    }

    const fn stretch(self) -> Self {
        Self { is_stretch: true, ..self }
    }

    #[cfg(feature = "freshness")]
    const fn strict(self) -> Self {
        Self { is_strict: true, ..self }
    }
}

const fn ask(id: &'static str, what: &'static str, goals: &'static [Goal]) -> Question {
    Question { id, what, is_strict: false, goals }
}

const fn ask_strictly(id: &'static str, what: &'static str, goals: &'static [Goal]) -> Question {
    Question { id, what, is_strict: true, goals }
}

use Limit::{AtMost, CyclesMore, FacadeRatio, FacadeRatioAndHits, RatioAndHits, RatioPlusCycles};

const ZERO: Limit = AtMost(0.0);

#[rustfmt::skip]
pub(crate) const QUESTIONS: &[Question] = &[
    ask("hot-hit-1t", "get of one hot key, u64 to u64, one thread", &[
        ratio("quick_cache", 0.25),
        ratio("moka", 0.04),
        ratio("hashbrown", 1.0).stretch(),
    ]),
    ask("hot-hit-2t", "get of the same hot key by two threads", &[
        ratio("quick_cache", 0.05),
        ratio("nanotier 1 thread", 1.05),
    ]),
    ask("hot-hit-latency", "a chain of gets, each of which asks for what the last one found", &[
        ratio("quick_cache", 0.75),
    ]),
    ask("miss-1t", "get of keys that are not there, from a full cache of 8192", &[ratio("quick_cache", 1.0)]),
    ask_strictly("locked-per-hit", "retired locked instructions per hit", &[
        goal("", ZERO).by("get u64"),
        goal("", ZERO).by("read u64"),
        goal("", ZERO).by("get String"),
        goal("", ZERO).by("read String"),
        goal("", ZERO).by("facade try_now"),
        goal("", ZERO).by("facade wait"),
    ]),
    ask_strictly("allocs-per-hit", "allocations per hit", &[
        goal("", ZERO).by("get u64"),
        goal("", ZERO).by("read u64"),
        goal("", ZERO).by("get String"),
        goal("", ZERO).by("read String"),
        goal("", ZERO).by("facade try_now"),
        goal("", ZERO).by("facade wait"),
    ]),
    ask("string-borrow-1t", "look at the value of one hot key in place, String to 256 bytes, by &str", &[
        ratio(BEST_LENDER, 0.5),
    ]),
    ask("string-borrow-2t", "the same by two threads", &[ratio(BEST_LENDER, 0.35)]),
    ask("string-clone-1t", "clone the Arc of one hot key, String to Arc of 256 bytes, by &str", &[
        ratio("quick_cache", 0.60),
    ]),
    ask("zipf-100k", "get, zipf 1.0 over 100,000 keys, all resident", &[ratio("quick_cache", 0.50)]),
    ask("zipf-1m", "get, zipf 1.0 over 1,000,000 keys, all resident", &[ratio("scc", 0.65)]),
    ask("read-through-1t", "get or else insert, zipf 0.99 over 100,000 keys, capacity 8192", &[
        goal("quick_cache", RatioAndHits(0.75)),
    ]),
    ask("read-through-2t", "the same by two threads", &[goal("quick_cache", RatioAndHits(0.30))]),
    ask("insert-evict-1t", "insert of a new key into a full cache of 8192", &[
        ratio("scc", 0.5).of("plain types"),
        ratio("scc", 1.0).of("any type"),
        ratio("quick_cache", 0.8).of("any type"),
    ]),
    ask("insert-evict-2t", "the same by two threads", &[
        ratio("scc", 0.6).of("plain types"),
        ratio("scc", 1.5).of("any type"),
        ratio("quick_cache", 0.4).of("any type"),
    ]),
    ask_strictly("allocs-per-evict", "allocations per insert into a full cache, u64 to u64", &[
        goal("", ZERO),
    ]),
    ask("bytes-per-entry", "bytes allocated per resident entry, u64 to u64, 131072 of 131072 resident", &[
        ratio("quick_cache", 0.75),
        goal("", AtMost(24.0)).stretch(),
    ]),
    ask("get-or-load-hit", "get_or_insert_with of a resident key", &[
        goal("nanotier", RatioPlusCycles(1.05, 1.0)).by("nanotier get_or_insert_with"),
    ]),
    ask("get-or-load-miss", "get_or_insert_with of a new key, full cache of 8192", &[
        ratio("quick_cache", 0.5),
    ]),
    ask_strictly("loads-per-key", "loaders run per key: 8 threads, the same 2000 keys, 20 us each", &[
        goal("", AtMost(1.0)),
    ]),
    ask("ttl-cost", "what a deadline adds to a hit", &[
        goal("nanotier", CyclesMore(2.0)).by("nanotier with ttl"),
    ]),
    ask("lru-hit", "get under exact LRU, zipf 1.0 over 1000 resident keys", &[
        ratio("Mutex<lru>", 0.65).by("nanotier LRU"),
    ]),
    ask("lru-hit-again", "get under exact LRU of the key that was asked for last", &[
        ratio("Mutex<lru>", 0.30).by("nanotier LRU"),
    ]),
    ask("slot-read", "read of a Slot", &[
        ratio("arc-swap", 0.05).by("Slot").of("1 thread"),
        ratio("arc-swap", 0.05).by("Slot").of("2 threads"),
    ]),
    ask("mirror-read", "read of a Mirror", &[
        ratio("arc-swap", 0.05).by("Mirror").of("1 thread"),
        ratio("arc-swap", 0.05).by("Mirror").of("2 threads"),
    ]),
    ask("stats-cost", "what counting adds to a hit", &[
        goal("nanotier", CyclesMore(2.0)).by("nanotier with stats"),
    ]),
    ask("facade-hot-hit-1t", "get of one hot key through nanotier::Cache, one thread", &[
        goal("nanotier", CyclesMore(5.0)).by("facade try_now"),
        goal("nanotier", CyclesMore(5.0)).by("facade wait"),
        goal("quick_cache", FacadeRatio(0.25)).by("facade try_now"),
        goal("quick_cache", FacadeRatio(0.25)).by("facade wait"),
    ]),
    ask("facade-hot-hit-2t", "the same by two threads", &[
        goal("quick_cache", FacadeRatio(0.05)).by("facade try_now"),
        goal("nanotier", CyclesMore(5.0)).by("facade try_now"),
    ]),
    ask("facade-zipf-100k", "zipf-100k through nanotier::Cache", &[
        goal("quick_cache", FacadeRatio(0.50)).by("facade try_now"),
    ]),
    ask("facade-read-through-1t", "read-through-1t through nanotier::Cache", &[
        goal("quick_cache", FacadeRatioAndHits(0.75)).by("facade try_now"),
    ]),
    ask("facade-insert-evict-1t", "insert-evict-1t through nanotier::Cache, plain types", &[
        goal("scc", FacadeRatio(0.5)).by("facade try_now"),
    ]),
    ask("facade-bytes-per-entry", "bytes-per-entry of nanotier::Cache", &[
        ratio("quick_cache", 0.75 * FACADE_SLACK).by("facade try_now"),
    ]),
    ask("facade-await", "await of a hit, against a ready future of the engine's get by the same executor", &[
        goal("nanotier, ready", CyclesMore(20.0)).by("facade await"),
    ]),
];
