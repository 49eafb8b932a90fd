//! Callers that wait, leave, or hold what they no longer poll, loads that fail or panic, tasks that are dropped where they are: threads
//! do all of it at random, by a seed, and in the end nobody hangs, every miss has cost one load, and nothing is left over.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use nanotier::testing::Tasks;
use nanotier::{Cache, Clock, ErrorKind, LoadError, Lookup, Spawn, Task};

const THREADS: u64 = 4;
/// Unless `NANOTIER_ABORTS` says otherwise.
const ROUNDS: u64 = 20_000;
const LOADS_MAX: usize = 2;
/// Far longer than a round takes; a hang is told from a slow machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Random numbers by a seed: splitmix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// Counts itself as long as it is there.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn of(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, SeqCst);
        Self(count.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// A spawner that tells whether anything of its cache is left.
struct Spawner(Tasks, #[expect(dead_code, reason = "counted while it is there")] Alive);

impl Spawn for Spawner {
    fn spawn(&self, task: Task) -> Result<(), Task> {
        self.0.spawn(task)
    }
}

/// How all loads of a round end, so that it does not matter whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Well,
    Failing,
    Panicking,
}

impl Ends {
    fn of(round: u64) -> Self {
        match Dice(round).roll(8) {
            0 => Self::Failing,
            1 => Self::Panicking,
            _ => Self::Well,
        }
    }
}

struct Storm {
    tasks: Tasks,
    caches: Arc<AtomicUsize>,
    loads_alive: Arc<AtomicUsize>,
    /// How many loads each round has begun.
    begun: Arc<[AtomicU8]>,
    at: AtomicU64,
}

impl Storm {
    fn cache(&self, loads_max: Option<usize>) -> Cache<u64, u64> {
        let (clock, _hands) = Clock::manual();
        let builder =
            Cache::builder().clock(clock).spawner(Spawner(self.tasks.clone(), Alive::of(&self.caches)));
        builder
            .capacity(1000)
            .options(|options| match loads_max {
                Some(loads) => options.loads_max(loads),
                None => options,
            })
            .build()
            .unwrap()
    }

    fn ask(&self, cache: &Cache<u64, u64>, round: u64, dice: &mut Dice) -> Lookup<u64, LoadError<String>> {
        let (begun, alive) = (self.begun.clone(), self.loads_alive.clone());
        let mut turns = dice.roll(4);
        let load = async move || {
            begun[index(round)].fetch_add(1, SeqCst);
            let _alive = Alive::of(&alive);
            std::future::poll_fn(|context| {
                if turns == 0 {
                    return Poll::Ready(());
                }
                turns -= 1;
                context.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
            match Ends::of(round) {
                Ends::Well => Ok(round),
                Ends::Failing => Err("planted".to_owned()),
                // No hook prints it.
                Ends::Panicking => resume_unwind(Box::new("planted")),
            }
        };
        cache.try_get_with(&round, load)
    }

    /// One thread's part in a round; what it holds and polls no more comes back.
    fn act(
        &self,
        cache: &Cache<u64, u64>,
        round: u64,
        snoozes: bool,
        dice: &mut Dice,
    ) -> Option<Lookup<u64, LoadError<String>>> {
        let mut asked = self.ask(cache, round, dice);
        let manner = dice.roll(4);
        if manner < 2 {
            match asked.wait() {
                Ok(number) => assert_eq!(number, round, "another key's value"),
                Err(LoadError::Loader(_)) => assert_eq!(Ends::of(round), Ends::Failing),
                Err(LoadError::Cache(error)) => {
                    let panicked =
                        Ends::of(round) == Ends::Panicking && error.kind() == ErrorKind::LoaderPanicked;
                    assert!(panicked, "{error} in round {round}");
                }
            }
            return None;
        }
        for _ in 0..=dice.roll(3) {
            if std::pin::pin!(&mut asked).poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                return None;
            }
        }
        (manner == 2 && snoozes).then_some(asked)
    }
}

#[test]
fn whoever_leaves_or_panics_nobody_hangs_and_every_miss_costs_one_load() {
    let rounds = std::env::var("NANOTIER_ABORTS").ok().and_then(|n| n.parse().ok()).unwrap_or(ROUNDS);
    let storm = Arc::new(Storm {
        tasks: Tasks::new(),
        caches: Arc::default(),
        loads_alive: Arc::default(),
        begun: (0..rounds).map(|_| AtomicU8::new(0)).collect(),
        at: AtomicU64::new(0),
    });
    // Where loads are limited, nobody snoozes: a load that is held holds its permit.
    let caches = [storm.cache(None), storm.cache(Some(LOADS_MAX))];
    let gate = Arc::new(Barrier::new(usize::try_from(THREADS).unwrap()));
    let work = |thread: u64| {
        let (storm, gate, caches) = (storm.clone(), gate.clone(), caches.clone());
        move || {
            let mut dice = Dice(thread << 32);
            let mut held = Vec::new();
            for round in 0..rounds {
                let is_limited = round % 2 == 1;
                gate.wait();
                held.extend(storm.act(&caches[usize::from(is_limited)], round, !is_limited, &mut dice));
                if held.len() > 3 {
                    held.clear();
                }
                if gate.wait().is_leader() {
                    // The next round begins only when the leader is back.
                    // Those who run tasks may end at any time: then the cache goes on by itself.
                    match dice.roll(4) {
                        0 => drop(storm.tasks.cancel()),
                        _ => drop(storm.tasks.run()),
                    }
                    storm.at.store(round + 1, SeqCst);
                }
            }
        }
    };
    let threads: Vec<_> = (0..THREADS).map(|thread| std::thread::spawn(work(thread))).collect();
    let (mut seen, mut since) = (0, Instant::now());
    while !threads.iter().all(std::thread::JoinHandle::is_finished) {
        let at = storm.at.load(SeqCst);
        if at != seen {
            (seen, since) = (at, Instant::now());
        }
        assert!(since.elapsed() < PATIENCE, "stuck in round {at}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    until("every load has ended", || {
        storm.tasks.run();
        storm.loads_alive.load(SeqCst) == 0
    });
    for (round, begun) in (0..rounds).zip(&*storm.begun) {
        let (begun, ends) = (begun.load(SeqCst), Ends::of(round));
        let expected = if ends == Ends::Well { 1..=1 } else { 1..=4 };
        assert!(expected.contains(&begun), "{begun} loads in round {round}: {ends:?}");
    }
    // As many as may run at once still can: each waits for all.
    let meeting = Arc::new(Barrier::new(LOADS_MAX));
    let meet = |key: u64| {
        let (cache, meeting) = (caches[1].clone(), meeting.clone());
        std::thread::spawn(move || {
            let load = move || {
                meeting.wait();
                key
            };
            cache.get_with_blocking(&key, load).wait().unwrap()
        })
    };
    let met: Vec<_> = (0..LOADS_MAX as u64).map(|n| meet(u64::MAX - n)).collect();
    until("all permits are back", || met.iter().all(std::thread::JoinHandle::is_finished));
    drop(caches);
    until("nothing of the caches is in flight", || {
        storm.tasks.run();
        storm.caches.load(SeqCst) == 0
    });
}

fn index(round: u64) -> usize {
    usize::try_from(round).unwrap()
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        std::thread::yield_now();
    }
}
