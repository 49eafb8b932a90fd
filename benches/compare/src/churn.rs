//! How long single operations take while everything changes: keys, weights, the capacity. Two threads, each contender in
//! turns of a millisecond or so, all of them with the same operations.
//!
//! The clock is read around each operation, so the short ones are shown some 20 ns too long; for all alike. What the
//! system takes a processor away for is in it, too: the time is cut into three parts, and the middle one of their
//! ratios is judged.

mod args;
mod histogram;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ahash::RandomState;
use nanotier_engine::{Engine, Lifecycle, Options, Policy};
use quick_cache::Weighter;

use crate::workload::Random;
use args::Args;
use histogram::Histogram;

/// The word by which the program is told that this is wanted.
pub(crate) const COMMAND: &str = "churn";

/// `words` begins with [`COMMAND`].
pub(crate) fn run(words: impl Iterator<Item = OsString> + 'static) -> Result<ExitCode, String> {
    let args = Args::parse(words)?;
    if args.help {
        print!("{}", args::USAGE);
        return Ok(ExitCode::SUCCESS);
    }
    println!("{}\n", crate::report::versions());
    let contenders = contenders();
    let all = race(&contenders, Duration::from_secs(args.seconds));
    Ok(if report(&contenders, &all, args.factor) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(crate::EXIT_FAILED)
    })
}

/// A value is its weight, and a number.
type Value = (u64, u64);

trait Contender: Send + Sync {
    fn name(&self) -> &'static str;
    fn get(&self, key: u64) -> Option<Value>;
    fn insert(&self, key: u64, value: Value);
    fn remove(&self, key: u64);
    fn set_capacity(&self, capacity: u64);
    /// Bytes, where it tells.
    fn memory(&self) -> Option<usize>;
}

#[derive(Clone)]
struct ByValue;

impl Lifecycle<u64, Value> for ByValue {
    const LISTENS: bool = false;
    const EXPIRES: bool = false;

    fn weight(&self, _: &u64, value: &Value) -> u64 {
        value.0
    }
}

impl Weighter<u64, Value> for ByValue {
    fn weight(&self, _: &u64, value: &Value) -> u64 {
        value.0
    }
}

struct Ours(&'static str, Engine<u64, Value, ByValue>);

impl Ours {
    fn new(name: &'static str, policy: Policy) -> Self {
        let options = Options::new(CAPACITY).policy(policy);
        Self(name, Engine::with(options, ByValue).expect("a capacity and a policy go together"))
    }
}

impl Contender for Ours {
    fn name(&self) -> &'static str {
        self.0
    }

    fn get(&self, key: u64) -> Option<Value> {
        self.1.get(&key)
    }

    fn insert(&self, key: u64, value: Value) {
        self.1.insert(key, value);
    }

    fn remove(&self, key: u64) {
        self.1.remove(&key);
    }

    fn set_capacity(&self, capacity: u64) {
        self.1.set_capacity(capacity);
    }

    fn memory(&self) -> Option<usize> {
        Some(self.1.memory_used())
    }
}

struct Quick(quick_cache::sync::Cache<u64, Value, ByValue, RandomState>);

impl Contender for Quick {
    fn name(&self) -> &'static str {
        RIVAL
    }

    fn get(&self, key: u64) -> Option<Value> {
        self.0.get(&key)
    }

    fn insert(&self, key: u64, value: Value) {
        self.0.insert(key, value);
    }

    fn remove(&self, key: u64) {
        self.0.remove(&key);
    }

    fn set_capacity(&self, capacity: u64) {
        self.0.set_capacity(capacity);
    }

    fn memory(&self) -> Option<usize> {
        None
    }
}

const RIVAL: &str = "quick_cache";

/// The rival first.
fn contenders() -> Vec<Box<dyn Contender>> {
    let entries = usize::try_from(CAPACITY / WEIGHT_MEAN).expect("a small number");
    let lifecycle = quick_cache::sync::DefaultLifecycle::default();
    let quick = quick_cache::sync::Cache::with(entries, CAPACITY, ByValue, RandomState::new(), lifecycle);
    vec![
        Box::new(Quick(quick)),
        Box::new(Ours::new("nanotier", Policy::Adaptive)),
        Box::new(Ours::new("nanotier Clock", Policy::Clock)),
        Box::new(Ours::new("nanotier LRU", Policy::Lru)),
    ]
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    /// A miss inserts.
    Get(u64, Value),
    Insert(u64, Value),
    Remove(u64),
    Resize(u64),
}

/// What a thread does in a turn, the same in every run.
fn draw(turn: u64, thread: u64, into: &mut Vec<Operation>) {
    let mut random = Random::new(turn << 8 | thread);
    into.clear();
    for _ in 0..TURN {
        let key = random.below(KEYS) * random.below(KEYS) / KEYS + turn * KEYS_PER_TURN;
        let weight = match random.below(200_000) {
            0 => CAPACITY,
            1..100 => CAPACITY / HEAVY_PART,
            _ => 1 + random.below(2 * WEIGHT_MEAN),
        };
        into.push(match random.below(100) {
            0..70 => Operation::Get(key, (weight, key)),
            70..95 => Operation::Insert(key, (weight, key)),
            _ => Operation::Remove(key),
        });
    }
    if thread == 0 && random.below(TURNS_PER_RESIZE) == 0 {
        let at = random.below(TURN) as usize;
        into[at] = Operation::Resize(CAPACITY / 2 + random.below(CAPACITY / 2));
    }
}

/// Of one contender.
struct Timed {
    parts: [Histogram; PARTS],
    /// Of changes of the capacity alone.
    resizes: Histogram,
    memory: Vec<usize>,
}

impl Timed {
    fn new() -> Self {
        Self {
            parts: std::array::from_fn(|_| Histogram::new()),
            resizes: Histogram::new(),
            memory: Vec::new(),
        }
    }

    fn merge(&mut self, other: Self) {
        for (part, other) in self.parts.iter_mut().zip(&other.parts) {
            part.merge(other);
        }
        self.resizes.merge(&other.resizes);
        self.memory.extend(other.memory);
    }

    fn whole(&self) -> Histogram {
        let mut whole = Histogram::new();
        self.parts.iter().for_each(|part| whole.merge(part));
        whole
    }
}

fn race(contenders: &[Box<dyn Contender>], time: Duration) -> Vec<Timed> {
    let (barrier, is_over) = (Barrier::new(THREADS as usize), AtomicBool::new(false));
    let mut all: Vec<Timed> = contenders.iter().map(|_| Timed::new()).collect();
    thread::scope(|scope| {
        let run = |thread| {
            let (barrier, is_over) = (&barrier, &is_over);
            scope.spawn(move || race_in(contenders, time, thread, barrier, is_over))
        };
        let threads: Vec<_> = (0..THREADS).map(run).collect();
        for thread in threads {
            let own = thread.join().expect("a thread that panicked has said why");
            all.iter_mut().zip(own).for_each(|(all, own)| all.merge(own));
        }
    });
    all
}

/// What one of the threads does.
fn race_in(
    contenders: &[Box<dyn Contender>],
    time: Duration,
    thread: u64,
    barrier: &Barrier,
    is_over: &AtomicBool,
) -> Vec<Timed> {
    let mut timed: Vec<Timed> = contenders.iter().map(|_| Timed::new()).collect();
    let mut operations = Vec::new();
    let began = Instant::now();
    let (mut turn, mut sampled) = (0, 0);
    while !is_over.load(Ordering::Relaxed) {
        draw(turn, thread, &mut operations);
        let elapsed = began.elapsed().as_secs_f64() / time.as_secs_f64();
        // At first tables grow and caches fill.
        let measured = (elapsed - WARM_UP) / (1.0 - WARM_UP);
        let part = (measured >= 0.0).then(|| ((measured * PARTS as f64) as usize).min(PARTS - 1));
        let is_due = thread == 0 && part.is_some() && measured * SAMPLES as f64 >= f64::from(sampled);
        for place in 0..contenders.len() {
            let nth = (place + turn as usize) % contenders.len();
            let (contender, timed) = (&*contenders[nth], &mut timed[nth]);
            barrier.wait();
            work(contender, &operations, timed, part);
            if is_due {
                timed.memory.extend(contender.memory());
            }
        }
        sampled += u32::from(is_due);
        turn += 1;
        // All see the same after the barrier.
        if thread == 0 {
            is_over.store(elapsed >= 1.0, Ordering::Relaxed);
        }
        barrier.wait();
    }
    timed
}

fn work(contender: &dyn Contender, operations: &[Operation], timed: &mut Timed, part: Option<usize>) {
    for &operation in operations {
        let began = Instant::now();
        match operation {
            Operation::Get(key, value) => {
                if contender.get(key).is_none() {
                    contender.insert(key, value);
                }
            }
            Operation::Insert(key, value) => contender.insert(key, value),
            Operation::Remove(key) => contender.remove(key),
            Operation::Resize(capacity) => contender.set_capacity(capacity),
        }
        let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let Some(part) = part else { continue };
        match operation {
            Operation::Resize(_) => timed.resizes.add(took),
            _ => timed.parts[part].add(took),
        }
    }
}

/// Whether all of ours are within the factor.
fn report(contenders: &[Box<dyn Contender>], all: &[Timed], factor: f64) -> bool {
    println!(
        "{:16}{:>12}{:>9}{:>9}{:>9}{:>9}{:>11}{:>12}",
        "ns", "operations", "p50", "p99", "p99.9", "p99.99", "max", "resize p50"
    );
    for (contender, timed) in contenders.iter().zip(all) {
        let whole = timed.whole();
        let [half, p99, p999, p9999] = [0.5, 0.99, 0.999, TAIL].map(|share| whole.quantile(share));
        println!(
            "{:16}{:>12}{half:>9}{p99:>9}{p999:>9}{p9999:>9}{:>11}{:>12}",
            contender.name(),
            whole.count(),
            whole.most(),
            timed.resizes.quantile(0.5),
        );
    }
    println!(
        "\np99.99 of {PARTS} parts of the time, as a multiple of {RIVAL}'s; at most {factor} in the middle one:"
    );
    let rival = &all[0];
    let tail = |histogram: &Histogram| histogram.quantile(TAIL) as f64;
    let mut is_met = true;
    for (contender, timed) in contenders.iter().zip(all).skip(1) {
        let mut ratios: Vec<f64> =
            timed.parts.iter().zip(&rival.parts).map(|(ours, rival)| tail(ours) / tail(rival)).collect();
        let whole = tail(&timed.whole()) / tail(&rival.whole());
        let shown: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.3}")).collect();
        ratios.sort_unstable_by(f64::total_cmp);
        let passes = ratios[PARTS / 2] <= factor;
        is_met &= passes;
        let verdict = if passes { "yes" } else { "NO" };
        println!("{:16}{}, of all {whole:.3}: {verdict}", contender.name(), shown.join("  "));
    }
    println!("\nmemory_used over the time, from nothing to the most there was:");
    for (contender, timed) in contenders.iter().zip(all).filter(|(_, timed)| !timed.memory.is_empty()) {
        let most = timed.memory.iter().copied().max().unwrap_or_default();
        println!("{:16}{} {} KiB", contender.name(), drawn(&timed.memory), most / 1024);
    }
    is_met
}

/// A line of bars, the highest of them the largest figure.
fn drawn(figures: &[usize]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = figures.iter().copied().max().unwrap_or_default().max(1);
    figures.iter().map(|figure| BARS[(figure * BARS.len() / most).saturating_sub(1)]).collect()
}

/// Some twenty thousand entries.
const CAPACITY: u64 = 2_000_000;
const WEIGHT_MEAN: u64 = 100;
/// As heavy as this part of the capacity, sometimes: half of what a shard of quick_cache has on two processors. It takes
/// in nothing that is heavier than all of that.
const HEAVY_PART: u64 = 16;
/// Of which the small ones are asked for more often.
const KEYS: u64 = 50_000;
/// So many are gone for good.
const KEYS_PER_TURN: u64 = 50;
const TURNS_PER_RESIZE: u64 = 20;
const THREADS: u64 = 2;
/// Operations of a thread.
const TURN: u64 = 4000;
const PARTS: usize = 3;
const TAIL: f64 = 0.9999;
const WARM_UP: f64 = 0.05;
const SAMPLES: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_the_same_every_time() {
        let turn = |turn, thread| {
            let mut operations = Vec::new();
            draw(turn, thread, &mut operations);
            format!("{operations:?}")
        };
        assert_eq!(turn(7, 1), turn(7, 1));
        assert_ne!(turn(7, 1), turn(7, 0));
        assert_ne!(turn(7, 1), turn(8, 1));
    }

    #[test]
    fn the_largest_figure_has_the_highest_bar() {
        assert_eq!(drawn(&[0, 50, 100]), "▁▄█");
    }

    #[test]
    fn all_are_timed_and_ours_say_what_they_use() {
        let contenders = contenders();
        let all = race(&contenders, Duration::from_millis(300));
        assert!(all.iter().all(|timed| timed.whole().count() > 0));
        assert!(all[0].memory.is_empty() && all[1..].iter().all(|timed| !timed.memory.is_empty()));
    }
}
