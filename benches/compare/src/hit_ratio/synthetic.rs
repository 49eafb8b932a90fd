//! Traces that are made: the same in every run.

use super::trace::Trace;
use crate::workload::{Random, Zipf};

/// A name, and what makes so many keys.
type Generator = (&'static str, fn(u64) -> Vec<u64>);

pub(crate) const GENERATORS: [Generator; 6] = [
    ("zipf", zipf),
    ("loop", loops),
    ("scan", scan),
    ("phases", phases),
    ("shifting-zipf", shifting_zipf),
    ("two-pools", two_pools),
];

/// A trace of so many requests.
pub(crate) fn make((name, keys): &Generator, requests: u64) -> Result<Trace, String> {
    Trace::new(*name, keys(requests)).map_err(|reason| format!("{name}: {reason}"))
}

/// A hundred thousand keys, few of them asked for often.
fn zipf(requests: u64) -> Vec<u64> {
    let zipf = Zipf::new(100_000, 1.0);
    let mut random = Random::new(1);
    (0..requests).map(|_| zipf.draw(&mut random)).collect()
}

/// Round and round, over a tenth more keys than one of the capacities has room for, and then over a tenth more
/// than the next smaller one. At the end what makes those capacities what they are: keys that come once.
fn loops(requests: u64) -> Vec<u64> {
    let rounds = requests.saturating_sub(LOOP_ONCE) / LOOP_SIZES.len() as u64;
    let mut keys = Vec::new();
    let mut first = 0;
    for size in LOOP_SIZES {
        keys.extend((0..rounds).map(|place| first + place % size));
        first += size;
    }
    let rest = requests - keys.len() as u64;
    keys.extend(first..first + rest);
    keys
}

/// Of 20,000 keys: a tenth more than 25 %, 10 %, 5 % and 1 %.
const LOOP_SIZES: [u64; 4] = [5500, 2200, 1100, 220];
const LOOP_ONCE: u64 = 20_000 - (5500 + 2200 + 1100 + 220);

/// Fifty thousand keys as in `zipf`; now and then 5,000 others pass through that never return.
fn scan(requests: u64) -> Vec<u64> {
    let zipf = Zipf::new(SCAN_POPULATION, 1.0);
    let mut random = Random::new(2);
    let mut once = SCAN_POPULATION;
    let mut key = |place| {
        if place % SCAN_EVERY < SCAN_EVERY - SCAN_LENGTH {
            return zipf.draw(&mut random);
        }
        once += 1;
        once
    };
    (0..requests).map(&mut key).collect()
}

const SCAN_POPULATION: u64 = 50_000;
const SCAN_EVERY: u64 = 50_000;
const SCAN_LENGTH: u64 = 5000;

/// Five times a working set that has nothing in common with the one before.
fn phases(requests: u64) -> Vec<u64> {
    let zipf = Zipf::new(PHASE_POPULATION, 0.9);
    let mut random = Random::new(3);
    let phase = |place| place * PHASES / requests;
    (0..requests).map(|place| phase(place) * PHASE_POPULATION + zipf.draw(&mut random)).collect()
}

const PHASES: u64 = 5;
const PHASE_POPULATION: u64 = 20_000;

/// As `zipf`, but every twenty requests each key becomes as popular as its neighbour was.
fn shifting_zipf(requests: u64) -> Vec<u64> {
    let zipf = Zipf::new(100_000, 1.0);
    let mut random = Random::new(4);
    (0..requests).map(|place| (zipf.draw(&mut random) + place / 20) % 100_000).collect()
}

/// In turn a page of a small index and one of much data, as a database reads records by a key. Any page of
/// each is as likely as any other: the index should stay, and each page of data is as recent as one of it.
fn two_pools(requests: u64) -> Vec<u64> {
    let mut random = Random::new(5);
    let mut page = |place: u64| {
        if place.is_multiple_of(2) { random.below(POOL_INDEX) } else { POOL_INDEX + random.below(POOL_DATA) }
    };
    (0..requests).map(&mut page).collect()
}

const POOL_INDEX: u64 = 1000;
const POOL_DATA: u64 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_as_long_as_asked_for_and_the_same_every_time() {
        for generator in &GENERATORS {
            let trace = make(generator, 50_000).unwrap();
            assert_eq!((trace.name.as_str(), trace.requests()), (generator.0, 50_000));
            assert_eq!(trace, make(generator, 50_000).unwrap(), "{}", generator.0);
            assert!(make(generator, 0).unwrap_err().contains(generator.0));
        }
    }

    #[test]
    fn loops_are_a_little_longer_than_capacities() {
        let trace = Trace::new("", loops(100_000)).unwrap();
        assert_eq!((trace.distinct(), trace.requests()), (20_000, 100_000));
        assert_eq!(trace.capacities(), [100, 200, 1000, 2000, 5000]);
    }

    #[test]
    fn phases_share_no_key() {
        let keys = phases(10_000);
        assert!(keys[..2000].iter().all(|key| !keys[2000..].contains(key)));
    }

    #[test]
    fn what_is_scanned_comes_once() {
        let keys = scan(100_000);
        let scanned: Vec<u64> = keys.iter().copied().filter(|&key| key >= SCAN_POPULATION).collect();
        assert_eq!(scanned.len(), 10_000);
        assert!(scanned.is_sorted_by(|one, next| one < next));
    }
}
