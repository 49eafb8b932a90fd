//! What the policies are good for: hit ratios that follow from the shape of what is asked for.

use ahash::RandomState;
use nanotier_engine::{Engine, Lifecycle, Options, Plain, Policy};

type Numbers = Engine<u64, u64, Plain, RandomState>;

/// The same every time.
fn engine(policy: Policy, capacity: u64) -> Numbers {
    let options = Options::new(capacity).shards(1).policy(policy);
    Engine::with_hasher(options, Plain, RandomState::with_seeds(1, 2, 3, 4)).unwrap()
}

/// Asks for each in turn, and puts in what is not there. The share of hits.
fn share_of_hits(engine: &Numbers, keys: impl IntoIterator<Item = u64>) -> f64 {
    let (mut asked, mut hits) = (0, 0);
    for key in keys {
        asked += 1;
        match engine.get(&key) {
            Some(_) => hits += 1,
            None => drop(engine.insert(key, key)),
        }
    }
    f64::from(hits) / f64::from(asked)
}

/// Numbers below `range`, the lower ones more often.
fn uneven(range: u64, count: usize, seed: u64) -> impl Iterator<Item = u64> {
    let mut random = seed;
    std::iter::repeat_with(move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let unit = (random >> 11) as f64 / (1_u64 << 53) as f64;
        // Between 0 and the range.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let number = ((range as f64).powf(unit) - 1.0) as u64;
        number
    })
    .take(count)
}

#[test]
fn a_loop_that_does_not_fit_is_kept_in_part() {
    for (capacity, length) in [(100, 130), (1000, 1200), (3000, 10_000)] {
        let lap = |_| 0..length;
        let adaptive = engine(Policy::Adaptive, capacity);
        share_of_hits(&adaptive, (0..50).flat_map(lap));
        let share = share_of_hits(&adaptive, (0..20).flat_map(lap));
        let best = (capacity - 1) as f64 / length as f64;
        assert!(share > 0.85 * best, "{share:.3} of {best:.3} for {length} in {capacity}");
        assert_eq!(share_of_hits(&engine(Policy::Lru, capacity), (0..20).flat_map(lap)), 0.0);
    }
}

#[test]
fn a_scan_leaves_what_is_asked_for_again() {
    for capacity in [200, 2000] {
        let cache = engine(Policy::Adaptive, capacity);
        let hot = || uneven(capacity * 2, 40_000, 88_172_645);
        let before = share_of_hits(&cache, hot());
        for scan in 1..=5_u64 {
            let once = scan * 1_000_000;
            share_of_hits(&cache, once..once + 5 * capacity);
            let after = share_of_hits(&cache, hot().take(1000));
            assert!(after > before - 0.15, "{before:.3} before, {after:.3} after scan {scan} by {capacity}");
            share_of_hits(&cache, hot());
        }
    }
}

/// Plain SIEVE, and policies that count for ever, hold on to what nobody asks for any more.
#[test]
fn what_nobody_asks_for_any_more_makes_room() {
    // Small caches go by frequency alone, and take longer to forget.
    for (capacity, laps) in [(200, 30), (1000, 9), (4000, 9)] {
        let cache = engine(Policy::Adaptive, capacity);
        for phase in 0..4_u64 {
            let base = phase * 1_000_000;
            let lap = |_| base..base + capacity * 8 / 10;
            share_of_hits(&cache, (0..laps).flat_map(lap));
            let share = share_of_hits(&cache, (0..5).flat_map(lap));
            assert!(share > 0.98, "{share:.3} in phase {phase} by {capacity}");
        }
    }
}

/// Each is asked for three times within a short while, and never again: what only recency is good for.
#[test]
fn what_comes_again_soon_is_kept_that_long() {
    for capacity in [100, 1000, 4000] {
        let soon = capacity / 20;
        let asked = (0..60_000_u64)
            .flat_map(move |key| [key, key.saturating_sub(soon), key.saturating_sub(2 * soon)]);
        let share = share_of_hits(&engine(Policy::Adaptive, capacity), asked.clone());
        let lru = share_of_hits(&engine(Policy::Lru, capacity), asked);
        assert!(share > lru - 0.03, "{share:.3}, and LRU {lru:.3}, by {capacity}");
    }
}

#[test]
fn what_is_asked_for_more_often_is_kept() {
    for capacity in [100, 1000, 5000] {
        let asked = || uneven(capacity * 20, 400_000, 5);
        let adaptive = share_of_hits(&engine(Policy::Adaptive, capacity), asked());
        let clock = share_of_hits(&engine(Policy::Clock, capacity), asked());
        let lru = share_of_hits(&engine(Policy::Lru, capacity), asked());
        assert!(adaptive > clock + 0.01 && clock > lru, "{adaptive:.3} {clock:.3} {lru:.3} by {capacity}");
    }
}

/// A value weighs itself.
struct ByValue;

impl Lifecycle<u64, u64> for ByValue {
    const LISTENS: bool = false;
    const EXPIRES: bool = false;

    fn weight(&self, _: &u64, value: &u64) -> u64 {
        *value
    }
}

#[test]
fn a_loop_of_unequal_weights_is_kept_in_part() {
    for (name, weight) in [("nearly equal", (99, 101)), ("half as much again", (50, 150)), ("any", (1, 199))]
    {
        for entries in [1000, 10_000_u64] {
            let options = Options::new(100 * entries).shards(1);
            let cache = Engine::with_hasher(options, ByValue, RandomState::with_seeds(1, 2, 3, 4)).unwrap();
            let (mut asked, mut hits) = (0, 0);
            for key in (0..30).flat_map(|_| 0..2 * entries) {
                asked += 1;
                match cache.get(&key) {
                    Some(_) => hits += 1,
                    None => {
                        let spread = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
                        cache.insert(key, weight.0 + spread % (weight.1 - weight.0 + 1));
                    }
                }
            }
            let share = f64::from(hits) / f64::from(asked);
            println!("{name}, {entries}: {share:.3}");
            assert!(share > 0.3, "{name}: {share:.3} of at most 0.5 where {entries} fit");
        }
    }
}
