//! `memory_used` says what the allocator says: within a twentieth, for every policy, whatever the engine went through.
//!
//! Alone in its process, since the allocator counts for all threads. The oracle's garbage is not counted: it is
//! crossbeam's. One thread alone is nothing to the thread sanitizer.
#![cfg(not(any(nanotier_epoch, nanotier_tsan)))]

use nanotier_counting::{CountingAllocator, bytes_in_use};
use nanotier_engine::{Engine, Lifecycle, Options, Plain, Policy};
use std::fmt::Display;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const POLICIES: [Policy; 3] = [Policy::Adaptive, Policy::Clock, Policy::Lru];
const SIZES: [u64; 2] = [1000, 20_000];
/// A build for debugging takes a minute for more; the churn lane runs this in a release build.
const LARGE: u64 = if cfg!(debug_assertions) { 40_000 } else { 200_000 };

/// Besides the twentieth: what is of a fixed size, and nobody's in particular.
const SLACK: usize = 1024;

/// A value is its weight, and somebody hears of those that leave.
struct Weighed;

impl Lifecycle<u64, u64> for Weighed {
    const EXPIRES: bool = false;

    fn weight(&self, _: &u64, value: &u64) -> u64 {
        value % 8
    }
}

/// An engine, and what was allocated before it.
struct Scale<L> {
    engine: Engine<u64, u64, L>,
    before: i64,
    name: String,
    /// The largest part by which the two have differed so far.
    worst: f64,
}

impl<L: Lifecycle<u64, u64>> Scale<L> {
    fn new(options: Options, lifecycle: L, name: String) -> Self {
        let before = bytes_in_use();
        let engine = Engine::with(options, lifecycle).expect("options that agree");
        Self { engine, before, name, worst: 0.0 }
    }

    /// The engine itself lies on the stack, and what it says counts it in.
    fn check(&mut self, when: impl Display) {
        let allocated = usize::try_from(bytes_in_use() - self.before).expect("more is in use than before");
        let (said, counted) = (self.engine.memory_used(), allocated + size_of_val(&self.engine));
        let apart = said.abs_diff(counted);
        let name = &self.name;
        assert!(apart <= counted / 20 + SLACK, "{name}, {when}: says {said} bytes, and has {counted}");
        self.worst = self.worst.max(apart.saturating_sub(SLACK) as f64 / counted as f64);
    }

    fn insert(&self, keys: std::ops::Range<u64>) {
        keys.for_each(|key| {
            self.engine.insert(key, key);
        });
    }

    /// Asks for every third, as the policies make memory of uses too.
    fn look(&self, keys: std::ops::Range<u64>) {
        keys.step_by(3).for_each(|key| {
            self.engine.get(&key);
        });
    }

    fn go_through_it_all(mut self, size: u64) {
        self.check("empty");
        self.insert(0..size / 2);
        self.look(0..size / 2);
        self.check("half full");
        self.insert(size / 2..2 * size);
        self.look(0..2 * size);
        self.check("full");
        self.insert(2 * size..12 * size);
        self.check("after ten times as many");
        (11 * size..12 * size).step_by(2).for_each(|key| {
            self.engine.remove(&key);
        });
        self.check("half of it removed");
        self.engine.clear();
        self.check("cleared");
        self.insert(0..size);
        self.engine.set_capacity(3 * size);
        self.check("with a larger capacity");
        self.insert(size..5 * size);
        self.check("full, with a larger capacity");
        self.engine.set_capacity(size / 2);
        self.check("with a smaller capacity");
        self.engine.set_capacity(0);
        self.check("with none");
        let (name, worst) = (&self.name, 100.0 * self.worst);
        println!("{name}: apart by {worst:.1} % and {SLACK} bytes at most");
    }
}

#[test]
fn memory_used_is_within_a_twentieth_of_what_is_allocated() {
    // There each allocation takes so long that it would be minutes.
    let is_sanitized = std::env::var_os("ASAN_OPTIONS").is_some();
    if is_sanitized {
        println!("memory_used: only caches of 1000, under a sanitizer");
    }
    for policy in POLICIES {
        let options = |size| Options::new(size).policy(policy);
        let name = |size, what| format!("{policy:?}, {size}, {what}");
        for size in SIZES.into_iter().take(if is_sanitized { 1 } else { SIZES.len() }) {
            Scale::new(options(size), Plain, name(size, "plain")).go_through_it_all(size);
            let counting = options(size).stats(true);
            Scale::new(counting, Plain, name(size, "with stats")).go_through_it_all(size);
            let advised = options(size).what_if(true);
            Scale::new(advised, Plain, name(size, "with what_if")).go_through_it_all(size);
            Scale::new(options(size), Weighed, name(size, "with weights")).go_through_it_all(size);
        }
        if is_sanitized {
            continue;
        }
        // Not each by itself: they take long.
        Scale::new(options(LARGE), Plain, name(LARGE, "plain")).go_through_it_all(LARGE);
        let all = options(LARGE).stats(true).what_if(true);
        Scale::new(all, Weighed, name(LARGE, "with all of it")).go_through_it_all(LARGE);
    }
}
