//! Eight threads hammer a key while it turns stale: one of them starts its refresh, and nobody waits for that.

use std::cell::Cell;
use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nanotier::tier::{Spawn, Task};
use nanotier::{Cache, Lookup, Ttl};

use super::{ASKERS, LOAD_TAKES, Loads, median};
use crate::bench::Bench;
use crate::contender::Role;
use crate::judge::Figure;
use crate::meter::Waited;
use crate::workload::key;

static LOADS: Loads = Loads::none();
/// The refresh of this round has been started.
static IS_STARTED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// The call under way on this thread has started it.
    static BY_ME: Cell<bool> = const { Cell::new(false) };
}

const OLD: u64 = 1;
const NEW: u64 = 2;
/// Longer than it all takes.
const LONG: Duration = Duration::from_secs(3600);
const TTL: Duration = Duration::from_millis(20);
/// This long before a value turns stale calls are timed one by one.
const NEAR: Duration = Duration::from_millis(2);
/// Calls that are timed together: one alone takes no longer than to look at the time.
const BATCH: u32 = 64;
/// What takes longer is asked whether it had a processor.
const SLOW: Duration = Duration::from_micros(50);
const ROUNDS_EACH: usize = 5;

/// Takes down who starts what, and leaves it to the cache's own worker.
struct Marking;

impl Spawn for Marking {
    fn spawn(&self, task: Task) -> Result<(), Task> {
        IS_STARTED.store(true, Ordering::Relaxed);
        BY_ME.set(true);
        Err(task)
    }
}

fn ask(cache: &Cache<u64, u64>, key: &u64) -> Lookup<u64> {
    cache.get_with_blocking(key, || {
        let began = Instant::now();
        thread::sleep(LOAD_TAKES);
        LOADS.add(began);
        NEW
    })
}

/// What one thread has seen in a round.
#[derive(Debug, Default)]
struct Seen {
    /// What a call costs while the value is fresh, in nanoseconds, of each batch.
    fresh: Vec<f64>,
    /// While it is stale.
    stale: Vec<f64>,
    starter: Option<Duration>,
    slowest: Duration,
}

fn hammer(cache: &Cache<u64, u64>, key: u64) -> Seen {
    let mut seen = Seen::default();
    let began = Instant::now();
    let mut waited = Waited::now();
    loop {
        let is_started = IS_STARTED.load(Ordering::Relaxed);
        let calls = if !is_started && began.elapsed() >= TTL - NEAR { 1 } else { BATCH };
        let start = Instant::now();
        let is_old = |_| black_box(ask(cache, black_box(&key)).wait()).is_ok_and(|value| value == OLD);
        let all_old = (0..calls).all(is_old);
        let took = start.elapsed();
        let own = || took.mul_f64((1.0 - waited.share_of(took)).max(0.0));
        if BY_ME.take() {
            seen.starter = Some(own());
        } else if all_old && calls == BATCH {
            let each = if is_started { &mut seen.stale } else { &mut seen.fresh };
            each.push(took.as_nanos() as f64 / f64::from(calls));
        }
        if took >= SLOW {
            if is_started {
                seen.slowest = seen.slowest.max(own());
            }
            waited = Waited::now();
        }
        if !all_old {
            return seen;
        }
    }
}

fn round(cache: &Cache<u64, u64>, number: u64) -> Seen {
    IS_STARTED.store(false, Ordering::Relaxed);
    cache.insert(key(number), OLD).wait().expect("memory takes everything");
    let barrier = Barrier::new(ASKERS);
    thread::scope(|scope| {
        let askers: Vec<_> = (0..ASKERS)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    hammer(cache, key(number))
                })
            })
            .collect();
        let mut all = Seen::default();
        for asker in askers {
            let seen = asker.join().expect("no asker panics");
            all.fresh.extend(seen.fresh);
            all.stale.extend(seen.stale);
            all.starter = all.starter.or(seen.starter);
            all.slowest = all.slowest.max(seen.slowest);
        }
        all
    })
}

pub(super) fn stampede(bench: &mut Bench) {
    // The new value stays fresh however late a thread is that had no processor.
    let lives = |_: &u64, value: &u64| Ttl::For(if *value == OLD { TTL } else { LONG });
    let builder =
        Cache::builder().capacity(1024).options(|options| options.expire_with(lives).stale_for(LONG));
    let cache: Cache<u64, u64> = builder.spawner(Marking).build().expect("options that go together");
    let count = bench.rounds * ROUNDS_EACH;
    let (mut refreshes, mut starters, mut slowest) = (0, Vec::new(), Duration::ZERO);
    let (mut fresh, mut stale) = (Vec::new(), Vec::new());
    for number in 0..count {
        bench.progress.say("stale-stampede", "", number + 1, count);
        let seen = round(&cache, number as u64);
        refreshes += LOADS.take().0;
        fresh.extend(median(seen.fresh));
        stale.extend(median(seen.stale));
        starters.extend(seen.starter.map(|took| took.as_nanos() as f64 / 1e3));
        slowest = slowest.max(seen.slowest);
    }
    let figure = |name, value, note| Figure { name, role: Role::Ours, value, residents: None, note };
    let id = "stale-stampede";
    bench.figures(id, "loads", &[figure("refreshes", Some(refreshes as f64 / count as f64), "per round")]);
    let note = "a call while the refresh runs";
    bench.figures(
        id,
        "ns",
        &[figure("a caller, median", median(stale), note), figure("a hit", median(fresh), "")],
    );
    bench.figures(id, "us", &[figure("who starts it, median", median(starters), "")]);
    let note = "of all rounds, without what it waited for a processor";
    bench.figures(id, "ms", &[figure("slowest caller", Some(slowest.as_nanos() as f64 / 1e6), note)]);
}
