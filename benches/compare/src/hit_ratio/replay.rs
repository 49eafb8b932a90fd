//! Who takes part, and how a trace is replayed.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::optimum;
use super::trace::{Trace, key};
use crate::contender::{
    Cached, Evicts, FacadeDefault, FacadeLru, Fibre, Foyer, FoyerLfu, FoyerS3Fifo, FoyerSieve, MiniMoka,
    Moka, MutexLru, QuickCache, SccHashCache, TinyUfoCache,
};

/// A cache, or a bound, by the name that it has in the report.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) name: &'static str,
    /// It has an order of requests to go by, and so no more than one thread.
    is_alone: bool,
    replay: fn(&Trace, usize, usize) -> Outcome,
}

impl Policy {
    const fn cache<C: Evicts<u64, u64>>(name: &'static str) -> Self {
        Self { name, is_alone: false, replay: replay::<C> }
    }

    pub(crate) fn takes(&self, threads: usize) -> bool {
        threads == 1 || !self.is_alone
    }

    /// From an empty cache on.
    pub(crate) fn replay(&self, trace: &Trace, capacity: usize, threads: usize) -> Outcome {
        (self.replay)(trace, capacity, threads)
    }
}

/// In the order of the report.
pub(crate) const POLICIES: [Policy; 15] = [
    Policy::cache::<FacadeDefault>("nanotier"),
    Policy::cache::<FacadeLru>("nanotier-lru"),
    Policy { name: OPTIMUM, is_alone: true, replay: replay_optimum },
    Policy::cache::<MutexLru<u64, u64>>("lru"),
    Policy::cache::<Moka<u64, u64>>("moka"),
    Policy::cache::<MiniMoka<u64, u64>>("mini-moka"),
    Policy::cache::<QuickCache<u64, u64>>("quick_cache"),
    Policy::cache::<Foyer<u64, u64>>("foyer"),
    Policy::cache::<FoyerS3Fifo>("foyer-s3fifo"),
    Policy::cache::<FoyerLfu>("foyer-lfu"),
    Policy::cache::<FoyerSieve>("foyer-sieve"),
    Policy::cache::<SccHashCache<u64, u64>>("scc"),
    Policy::cache::<TinyUfoCache<u64, u64>>("TinyUFO"),
    Policy::cache::<Fibre<u64, u64>>("fibre_cache"),
    Policy::cache::<Cached<u64, u64>>("cached"),
];

pub(crate) const OPTIMUM: &str = "opt";

/// Against whom others are compared: the first of these that takes part.
pub(crate) const REFERENCES: [&str; 2] = ["lru", "nanotier-lru"];

/// Those of a quick run.
pub(crate) const QUICK: [&str; 5] = ["nanotier", "nanotier-lru", OPTIMUM, "moka", "quick_cache"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) hits: u64,
    /// At the end, once work that was put off is done. `None` where it does not tell.
    pub(crate) residents: Option<usize>,
}

/// What is missed is inserted, the key as its own value. Threads take the next few requests in turn, so that
/// all are at about the same place of the trace.
fn replay<C: Evicts<u64, u64>>(trace: &Trace, capacity: usize, threads: usize) -> Outcome {
    let cache = C::empty(capacity);
    let next = AtomicUsize::new(0);
    let start = Barrier::new(threads);
    let work = || {
        start.wait();
        let mut hits = 0;
        while let Some(rest) = trace.ids().get(next.fetch_add(CHUNK, Ordering::Relaxed)..) {
            if rest.is_empty() {
                break;
            }
            for &id in &rest[..rest.len().min(CHUNK)] {
                hits += u64::from(ask(&cache, key(id)));
            }
        }
        hits
    };
    let hits = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        let joined =
            others.into_iter().map(|other| other.join().expect("a worker that panicked has said why"));
        own + joined.sum::<u64>()
    });
    Outcome { hits, residents: cache.residents() }
}

/// Whether it was there. A wrong value is no hit.
#[inline]
fn ask<C: Evicts<u64, u64>>(cache: &C, key: u64) -> bool {
    let is_hit = cache.get(&key) == Some(key);
    if !is_hit {
        cache.insert(key, key);
    }
    is_hit
}

fn replay_optimum(trace: &Trace, capacity: usize, _threads: usize) -> Outcome {
    let hits = optimum::hits(trace.ids(), trace.distinct(), capacity);
    Outcome { hits, residents: Some(capacity.min(trace.distinct())) }
}

const CHUNK: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Random, Zipf};

    fn skewed(seed: u64, population: u64, requests: usize) -> Trace {
        let zipf = Zipf::new(population, 0.8);
        let mut random = Random::new(seed);
        Trace::new(format!("skewed-{seed}"), (0..requests).map(|_| zipf.draw(&mut random))).unwrap()
    }

    #[test]
    fn names_are_there_once_and_those_that_are_named_elsewhere_exist() {
        let names: Vec<_> = POLICIES.iter().map(|policy| policy.name).collect();
        for name in &names {
            assert_eq!(names.iter().filter(|other| *other == name).count(), 1);
        }
        assert!(QUICK.iter().chain(&REFERENCES).all(|name| names.contains(name)));
    }

    #[test]
    fn nobody_is_better_than_the_optimum() {
        for seed in 0..4 {
            let trace = skewed(seed, 600 + 300 * seed, 6000);
            for capacity in [64, 128, 256, 512] {
                for policy in &POLICIES {
                    let outcome = policy.replay(&trace, capacity, 1);
                    let room = room(policy.name, capacity);
                    let best = optimum::hits(trace.ids(), trace.distinct(), room);
                    let (name, hits) = (policy.name, outcome.hits);
                    assert!(hits > 0 && hits <= best, "{name} at {capacity}, {seed}: {hits} of {best}");
                    assert!(
                        outcome.residents.is_none_or(|residents| residents <= room),
                        "{name}: {outcome:?}"
                    );
                }
            }
        }
    }

    /// How much a cache of this capacity may hold for a while.
    fn room(policy: &str, capacity: usize) -> usize {
        match policy {
            // What they put off evicting.
            "moka" | "mini-moka" | "fibre_cache" => capacity + PUT_OFF_MAX,
            // One that refuses keys does as well as one that takes them into a place of their own.
            "opt" => capacity,
            _ => capacity + 1,
        }
    }

    const PUT_OFF_MAX: usize = 512;

    #[test]
    fn ours_as_lru_is_lru_request_by_request() {
        for (seed, capacity) in [(1, 1), (2, 2), (3, 100), (4, 700), (5, 1999)] {
            let trace = skewed(seed, 4000, 20_000);
            let ours = FacadeLru::empty(capacity);
            let naive = MutexLru::<u64, u64>::empty(capacity);
            for (place, &id) in trace.ids().iter().enumerate() {
                let (ours, naive) = (ask(&ours, key(id)), ask(&naive, key(id)));
                assert_eq!(ours, naive, "request {place} at {capacity}");
            }
        }
    }

    #[test]
    fn threads_leave_out_no_request_and_take_none_twice() {
        // Everything has room: what is not a hit is the first of its key, or was asked for by two at once.
        for threads in [1, 2, 8] {
            let trace = skewed(9, 500, 3000 + threads);
            let outcome = replay::<MutexLru<u64, u64>>(&trace, 500, threads);
            let first = trace.distinct() as u64;
            assert_eq!(outcome.residents, Some(trace.distinct()));
            let misses = trace.requests() - outcome.hits;
            assert!((first..=first * threads as u64).contains(&misses), "{misses} at {threads}");
        }
    }

    #[test]
    fn the_optimum_has_one_thread() {
        let takes = |threads| POLICIES.iter().filter(|policy| policy.takes(threads)).count();
        assert_eq!((takes(1), takes(2)), (POLICIES.len(), POLICIES.len() - 1));
    }
}
