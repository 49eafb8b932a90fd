//! Options in, validated configuration out.

use crate::sync::thread;
use std::fmt;

/// How an engine is built: [`Engine::with`](crate::Engine::with).
///
/// ```
/// use nanotier_engine::{Engine, Options, Plain, Policy};
///
/// let options = Options::new(500).policy(Policy::Lru).stats(true);
/// let engine: Engine<u64, String> = Engine::with(options, Plain)?;
/// assert_eq!(engine.capacity(), 500);
/// # Ok::<(), nanotier_engine::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Options {
    capacity: u64,
    shards: Option<usize>,
    policy: Policy,
    stats: bool,
    what_if: bool,
}

impl Options {
    /// Options for at most `capacity` of weight; with the default weight of 1, that many entries. Zero is allowed:
    /// nothing is kept then, every insert is rejected, loads still run once per key.
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        Self { capacity, shards: None, policy: Policy::default(), stats: false, what_if: false }
    }

    /// How many shards, a power of two. By default: four for each processor, but at least about a thousand of
    /// capacity for each, so that a small cache has one. All draw on the one capacity, so what fits does not depend on
    /// their number; but each decides by itself who leaves it. A value heavier than an equal share may leave sooner than
    /// the policy would have it, since the other shards want theirs back.
    ///
    /// The capacity is in the weigher's unit, and so is that thousand: where what fits is some hundreds of entries of many
    /// bytes each, say 1 here.
    #[must_use]
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// Who leaves when room is needed. [`Policy::Adaptive`] by default.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Whether to count what happens, for [`Engine::stats`](crate::Engine::stats). Off by default.
    #[must_use]
    pub fn stats(mut self, stats: bool) -> Self {
        self.stats = stats;
        self
    }

    /// Whether to watch a sample of the keys, for [`Engine::what_if`](crate::Engine::what_if), which says what it costs. Off by
    /// default, and then free.
    #[must_use]
    pub fn what_if(mut self, what_if: bool) -> Self {
        self.what_if = what_if;
        self
    }

    pub(crate) fn parse(&self) -> Result<Config, ConfigError> {
        let shards = match self.shards {
            None => default_shards(self.capacity),
            Some(shards) => self.check_shards(shards)?,
        };
        Ok(Config {
            capacity: self.capacity,
            shards,
            policy: self.policy,
            stats: self.stats,
            what_if: self.what_if,
        })
    }

    fn check_shards(&self, shards: usize) -> Result<usize, ConfigError> {
        if !shards.is_power_of_two() {
            return Err(ConfigError::ShardsNotPowerOfTwo { shards });
        }
        if shards > SHARDS_MAX {
            return Err(ConfigError::TooManyShards { shards });
        }
        if self.capacity > 0 && shards as u64 > self.capacity {
            return Err(ConfigError::MoreShardsThanCapacity { shards, capacity: self.capacity });
        }
        Ok(shards)
    }
}

/// Who leaves when room is needed. Dead entries leave before live ones under every policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Policy {
    /// The best hit ratio on average, paid for on misses: a window for what is new, a main part for what was asked for
    /// before, an estimate of how often keys were asked for of late, also of those that are not there, and shares that
    /// follow what would have been hit. It holds against loops, which leave the other two nothing, and scans, which cost them
    /// half. Where what is asked for drifts steadily, `Lru` has up to two points more.
    ///
    /// A hit costs what it does under `Clock`. What is new is always let in; whether it stays is decided when it reaches
    /// the end of the window. Where fewer than 1000 entries fit, it is slower to forget what nobody asks for any more.
    #[default]
    Adaptive,
    /// First in, first out, with another round for what was used since. A hit takes no lock, and writes only if the
    /// entry was not marked yet. An insertion into a full cache costs two thirds of what it does under `Adaptive`, an
    /// entry takes some 26 bytes less, and what is hit is less by some points.
    Clock,
    /// The least recently used leaves: exact with one shard, exact per shard with more. Also among threads: a use that
    /// begins when another is over comes after it; where they overlap, either may.
    ///
    /// A hit notes its use by three stores, and not even those if a thread alone uses what it used last. Only one in 64
    /// takes its shard's lock, as does a thread's first in a shard; and each use of a thread that comes ninth or later
    /// to a shard does. A read from inside a closure that runs under a lock of an engine does not count as a use where it
    /// would have to take a lock.
    Lru,
}

/// What is wrong with [`Options`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The number of shards must be a power of two; zero is none.
    ShardsNotPowerOfTwo {
        /// What was asked for.
        shards: usize,
    },
    /// More than 65536 shards.
    TooManyShards {
        /// What was asked for.
        shards: usize,
    },
    /// Some shards would have no capacity of their own, and each insertion would take another's.
    MoreShardsThanCapacity {
        /// What was asked for.
        shards: usize,
        /// What there is to share.
        capacity: u64,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ShardsNotPowerOfTwo { shards } => write!(f, "{shards} shards: not a power of two"),
            Self::TooManyShards { shards } => write!(f, "{shards} shards: more than {SHARDS_MAX}"),
            Self::MoreShardsThanCapacity { shards, capacity } => {
                write!(f, "{shards} shards cannot share a capacity of {capacity}")
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// What is left of [`Options`] once nothing can be wrong with it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Config {
    pub(crate) capacity: u64,
    /// A power of two.
    pub(crate) shards: usize,
    pub(crate) policy: Policy,
    pub(crate) stats: bool,
    pub(crate) what_if: bool,
}

fn default_shards(capacity: u64) -> usize {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let useful = processors.saturating_mul(SHARDS_PER_PROCESSOR).next_power_of_two().min(DEFAULT_SHARDS_MAX);
    let fed = usize::try_from(capacity / SHARD_CAPACITY_MIN).unwrap_or(usize::MAX);
    match fed.min(useful) {
        0 => 1,
        shards => 1 << shards.ilog2(),
    }
}

/// Sharding costs hit ratio: below about this many entries each, the loss is visible.
const SHARD_CAPACITY_MIN: u64 = 1000;
const SHARDS_PER_PROCESSOR: usize = 4;
const DEFAULT_SHARDS_MAX: usize = 1024;
const SHARDS_MAX: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_cache_has_one_shard_and_a_large_one_a_power_of_two() {
        assert_eq!(default_shards(0), 1);
        assert_eq!(default_shards(1999), 1);
        for capacity in [2000, 5000, 1 << 20, u64::MAX] {
            let shards = default_shards(capacity);
            assert!(shards.is_power_of_two());
            assert!(capacity / shards as u64 >= SHARD_CAPACITY_MIN);
        }
    }
}
