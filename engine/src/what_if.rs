//! What other capacities would have been good for: [`Engine::what_if`].

use crate::engine::Engine;
use crate::lifecycle::Lifecycle;
use crate::miniature::COUNT;
use std::fmt;
use std::hash::{BuildHasher, Hash};

/// The hit ratio that an engine would have had at other capacities, as far as a sample shows: [`Engine::what_if`].
///
/// As text, it is a table of its points.
#[derive(Debug, Clone, PartialEq)]
pub struct WhatIf {
    pub(crate) points: [WhatIfPoint; COUNT],
    pub(crate) sampled: u64,
}

/// One capacity, and its hit ratio.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct WhatIfPoint {
    /// How many times the engine's capacity it is: 0.25, 0.5, 1, 2, 4 or 8.
    pub factor: f64,
    /// In the engine's measure: entries, or what the weigher says. Rounded down; saturates.
    pub capacity: u64,
    /// The share of look-ups that would have been hits, 0 to 1.
    pub hit_ratio: f64,
}

impl WhatIf {
    /// From the smallest capacity to the largest; the hit ratio never falls.
    #[must_use]
    pub fn points(&self) -> &[WhatIfPoint] {
        &self.points
    }

    /// How many look-ups of the sample it rests on; the older ones count less. Below some thousands, do not rely on it.
    #[must_use]
    pub fn sampled(&self) -> u64 {
        self.sampled
    }

    /// The hit ratio at this capacity: between two points by the logarithm of the capacity, below the first one straight
    /// from zero. `None` beyond the largest.
    #[must_use]
    pub fn hit_ratio_at(&self, capacity: u64) -> Option<f64> {
        let nth = self.points.iter().position(|point| point.capacity >= capacity)?;
        let high = &self.points[nth];
        if high.capacity == capacity {
            return Some(high.hit_ratio);
        }
        let Some(low) = nth.checked_sub(1).map(|nth| &self.points[nth]).filter(|low| low.capacity > 0) else {
            return Some(high.hit_ratio * (capacity as f64 / high.capacity as f64));
        };
        let part =
            (capacity as f64 / low.capacity as f64).ln() / (high.capacity as f64 / low.capacity as f64).ln();
        Some(low.hit_ratio + (high.hit_ratio - low.hit_ratio) * part)
    }

    /// The least capacity with this hit ratio (0 to 1), by the same lines. `None` if the largest does not reach it, or if it
    /// is not a number; zero for a ratio of zero or less.
    #[must_use]
    pub fn capacity_for(&self, hit_ratio: f64) -> Option<u64> {
        if hit_ratio <= 0.0 {
            return Some(0);
        }
        let nth = self.points.iter().position(|point| point.hit_ratio >= hit_ratio)?;
        let high = &self.points[nth];
        let low = nth.checked_sub(1).map(|nth| &self.points[nth]).filter(|low| low.capacity > 0);
        let capacity = match low {
            None => high.capacity as f64 * (hit_ratio / high.hit_ratio),
            Some(low) => {
                let part = (hit_ratio - low.hit_ratio) / (high.hit_ratio - low.hit_ratio);
                low.capacity as f64 * (high.capacity as f64 / low.capacity as f64).powf(part)
            }
        };
        // It is between two capacities.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let capacity = capacity.ceil() as u64;
        Some(capacity.min(high.capacity))
    }
}

/// A line for each point: how many times the capacity, the capacity, and the hit ratio in percent.
impl fmt::Display for WhatIf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width =
            self.points.iter().map(|point| point.capacity.to_string().len()).max().unwrap_or(0).max(8);
        write!(f, "times  {:>width$}  hit ratio", "capacity")?;
        for WhatIfPoint { factor, capacity, hit_ratio } in &self.points {
            write!(f, "\n{factor:>5}  {capacity:>width$}  {:>7.1} %", hit_ratio * 100.0)?;
        }
        Ok(())
    }
}

impl<K, V, L, S> Engine<K, V, L, S>
where
    K: Hash + Eq,
    L: Lifecycle<K, V>,
    S: BuildHasher,
{
    /// The hit ratio that this engine would have had at 0.25 to 8 times its capacity, measured while it works; that at 1 is
    /// its own. `None` unless [`Options::what_if`](crate::Options::what_if) asked for it, where the capacity is zero, and
    /// before the first look-up of a key of the sample: with few keys in a very large cache that may be never.
    ///
    /// What it says is measured on a sample of some hundreds of resident keys, by copies of this engine's policy ("miniature
    /// simulation", Waldspurger et al. 2017, over the sampling of SHARDS, 2015), and scaled by what the engine itself
    /// missed. Nineteen of twenty points of recorded traces were within 2 points of the truth, under
    /// [`Policy::Adaptive`](crate::Policy::Adaptive) within 3. It is wrong where the truth falls off a cliff, as for a loop
    /// that just fits; and where things change while it is not looking: of a capacity below 65,536 it sees 130,000 look-ups
    /// of the sample at first, and then bursts. Old look-ups count for less and less; [`set_capacity`](Self::set_capacity)
    /// begins anew.
    ///
    /// What has died by the lifecycle is a miss at every capacity when it is found dead, and what is removed likewise; what is
    /// swept before anybody asks, or falls to `retain`, is taken for still there at the others. With weights, what is heavier
    /// than a miniature is never a hit there.
    ///
    /// Costs, when asked for, nothing on a hit of a key that is not of the sample, and 2 % of hits on average; of look-ups of
    /// which a third are missed and inserted, 2 to 7 %; more at the beginning. Up to some 600 KB, which [`memory_used`](Self::memory_used)
    /// counts. This call takes one lock, and reads a counter for each thread.
    ///
    /// ```
    /// use nanotier_engine::{Engine, Options, Plain};
    ///
    /// let engine: Engine<u64, u64> = Engine::with(Options::new(1000).shards(1).what_if(true), Plain)?;
    /// // 2,000 keys in turn: too many for it.
    /// for key in (0..2000).cycle().take(100_000) {
    ///     engine.get_or_insert_with(&key, || key).expect("it asks for no other");
    /// }
    /// let what_if = engine.what_if().expect("it was asked for");
    /// println!("{what_if}");
    /// assert!(what_if.hit_ratio_at(1000).unwrap() < 0.6);
    /// assert!(what_if.hit_ratio_at(4000).unwrap() > 0.9);
    /// assert!(what_if.capacity_for(0.9).unwrap() > 1000);
    /// # Ok::<(), nanotier_engine::ConfigError>(())
    /// ```
    #[must_use]
    pub fn what_if(&self) -> Option<WhatIf> {
        self.advisor.as_ref()?.what_if(&self.stats)
    }
}
