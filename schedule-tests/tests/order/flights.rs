//! Loads that end badly or not at all, waited for by callers that stay, leave, or hold what they no longer poll.

use std::future::poll_fn;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use nanotier::{Builder, Cache, Clock, ErrorKind, Hands, LoadError, Lookup, Moment, Options};
use nanotier_schedule_tests::explore::{holds, is_caught_without, promise};
use nanotier_schedule_tests::wire::{linger, pause};
use nanotier_schedule_tests::world::{Behind, KEY, Process, World, begin_and_leave, coin};
use nanotier_tier::rules::Rule;
use shuttle::future::{JoinHandle, spawn, yield_now};
use shuttle::rand::{Rng, thread_rng};

const DEADLINE: Duration = Duration::from_millis(100);
const TTL: Duration = Duration::from_millis(10);
const LONG: Duration = Duration::from_secs(10);

type Failed = LoadError<String>;
type Asked = Lookup<u64, Failed>;

fn roll(sides: u32) -> u32 {
    thread_rng().gen_range(0..sides)
}

/// A cache in memory alone.
fn numbers(change: impl FnOnce(Options<u32, u64>) -> Options<u32, u64>) -> Numbers {
    let (clock, hands) = Clock::manual();
    let behind = Behind::default();
    let builder: Builder<u32, u64> = Cache::builder().capacity(8).clock(clock.clone());
    let cache = builder.spawner(behind.clone()).seed(1).options(change).build().unwrap();
    Numbers { cache, clock, hands: Arc::new(hands), behind, loads: Loads::default() }
}

#[derive(Clone)]
struct Numbers {
    cache: Cache<u32, u64>,
    clock: Clock,
    hands: Arc<Hands>,
    behind: Behind,
    loads: Loads,
}

/// The loads there are and were.
#[derive(Clone, Default)]
struct Loads(Arc<Mutex<Log>>);

#[derive(Default)]
struct Log {
    begun: usize,
    /// Which key, and before when nobody may have given the load up.
    alive: Vec<(usize, u32, Moment)>,
    at_once_max: usize,
    /// A key of which two loads were there at once.
    twice: Option<u32>,
}

/// A load that has begun and was not dropped.
struct Alive {
    loads: Loads,
    number: usize,
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.loads.log().alive.retain(|(number, ..)| *number != self.number);
    }
}

impl Loads {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begun(&self) -> usize {
        self.log().begun
    }

    fn begin(&self, key: u32, now: Moment, until: Moment) -> Alive {
        let mut log = self.log();
        let other = log.alive.iter().any(|(_, other, until)| *other == key && now < *until);
        // Told in the end: a panic here would be one of the loader.
        log.twice = log.twice.or(other.then_some(key));
        log.begun += 1;
        let number = log.begun;
        log.alive.push((number, key, until));
        log.at_once_max = log.at_once_max.max(log.alive.len());
        drop(log);
        Alive { loads: self.clone(), number }
    }

    /// In the end: one at a time for each key, and none is left.
    fn are_over(&self) {
        let (alive, twice) = {
            let log = self.log();
            (log.alive.len(), log.twice)
        };
        promise(twice.is_none(), || format!("two loads of {twice:?} at once"));
        promise(alive == 0, || format!("{alive} loads are still there"));
    }
}

/// How a load ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Well,
    Failing,
    Panicking,
    Never,
}

impl Ends {
    fn somehow() -> Self {
        [Self::Well, Self::Well, Self::Failing, Self::Panicking, Self::Never][roll(5) as usize]
    }
}

/// A panic that no hook prints.
fn planted() -> ! {
    resume_unwind(Box::new("planted"))
}

async fn a_while() {
    for _ in 0..roll(4) {
        pause().await;
    }
}

async fn end<T>(ends: Ends, value: T, error: String) -> Result<T, String> {
    a_while().await;
    match ends {
        Ends::Well => Ok(value),
        Ends::Failing => Err(error),
        Ends::Panicking => planted(),
        Ends::Never => std::future::pending().await,
    }
}

impl Numbers {
    /// Asks for a key; a load of this caller ends as told.
    fn ask(&self, key: u32, ends: Ends, patience: Duration) -> Asked {
        let (loads, clock) = (self.loads.clone(), self.clock.clone());
        let until = clock.now().plus(patience);
        let load = async move || {
            let _alive = loads.begin(key, clock.now(), until);
            end(ends, u64::from(key), "planted".to_owned()).await
        };
        self.cache.try_get_with(&key, load)
    }

    /// One caller of several kinds. What is no longer polled is handed back, to be held.
    async fn call(self, patience: Duration) -> Option<Asked> {
        let came = self.clock.now();
        let mut asked = self.ask(KEY, Ends::somehow(), patience);
        match roll(4) {
            0 => begin_and_leave(asked, 4).await,
            1 => {
                snooze(&mut asked).await;
                return Some(asked);
            }
            _ => self.told(came, asked.await),
        }
        None
    }

    /// Whoever came is told what a load came to that it can have joined.
    fn told(&self, came: Moment, answer: Result<u64, Failed>) {
        match answer {
            Ok(number) => promise(number == u64::from(KEY), || format!("{number} is another key's")),
            Err(LoadError::Loader(text)) => {
                promise(*text == "planted", || format!("{text} was nobody's error"));
            }
            Err(LoadError::Cache(error)) => match error.kind() {
                ErrorKind::LoaderPanicked => {}
                ErrorKind::Timeout => promise(self.clock.now() > came, || {
                    "the time of a load was over before its caller came".to_owned()
                }),
                _ => promise(false, || format!("{error}")),
            },
        }
    }
}

/// Polls a few times, and never again.
async fn snooze<T: Unpin + Future>(asked: &mut T) {
    for _ in 0..=roll(3) {
        let polled = poll_fn(|context| Poll::Ready(Pin::new(&mut *asked).poll(context).is_ready()));
        if polled.await {
            return;
        }
        pause().await;
    }
}

/// Lets time pass now and then until it is dropped.
struct Passing {
    ended: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Passing {
    fn of(pass: impl Fn() + Send + 'static) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let told = ended.clone();
        let task = spawn(async move {
            // Whoever waits longer than this, waits for ever.
            for _ in 0..TURNS_MAX {
                if told.load(Relaxed) {
                    return;
                }
                if roll(4) == 0 {
                    pass();
                }
                yield_now().await;
            }
        });
        Self { ended, task }
    }

    async fn end(self) {
        self.ended.store(true, Relaxed);
        self.task.await.unwrap();
    }
}

const TURNS_MAX: usize = 1000;

// Z6, Z7, F04: callers that leave, snooze or stay; loads that fail, panic or never end.
async fn whatever_becomes_of_callers_and_loads() {
    let numbers = numbers(|options| options.hard_deadline(DEADLINE).cancel_unwanted(coin()));
    let hands = numbers.hands.clone();
    let passing = Passing::of(move || drop(hands.advance_to_next()));
    let callers: Vec<_> = (0..4).map(|_| spawn(numbers.clone().call(DEADLINE))).collect();
    let mut held = Vec::new();
    for caller in callers {
        held.extend(caller.await.unwrap());
    }
    // Whoever comes now has a load of its own, or joins one whose time is not over.
    let came = numbers.clock.now();
    numbers.told(came, numbers.ask(KEY, Ends::somehow(), DEADLINE).await);
    drop(held);
    numbers.behind.finished().await;
    passing.end().await;
    numbers.loads.are_over();
}

#[test]
fn who_waits_is_answered_when_the_load_has_ended_or_its_time_is_over() {
    holds(whatever_becomes_of_callers_and_loads);
}

// Z2, Z9, F20: stale hits. Nobody waits, one load at a time, and after a failure none for a while.
async fn stale_hits() {
    let numbers = numbers(|options| {
        options.ttl(TTL).stale_for(LONG).hard_deadline(DEADLINE).back_off(DEADLINE, DEADLINE)
    });
    numbers.cache.insert(KEY, u64::from(KEY)).wait().unwrap();
    numbers.hands.advance(TTL);
    let ends = [Ends::Well, Ends::Failing, Ends::Panicking, Ends::Never][roll(4) as usize];
    let hit = |numbers: Numbers| async move {
        for _ in 0..2 {
            let asked = numbers.ask(KEY, ends, DEADLINE);
            promise(asked.try_now().is_ok(), || "a stale hit had to wait".to_owned());
            pause().await;
        }
    };
    let callers: Vec<_> = (0..3).map(|_| spawn(hit(numbers.clone()))).collect();
    for caller in callers {
        caller.await.unwrap();
    }
    if ends == Ends::Never {
        numbers.hands.advance(DEADLINE);
    }
    numbers.behind.finished().await;
    numbers.loads.are_over();
    hit(numbers.clone()).await;
    // One whose time is over before its turn has come does not begin.
    let is = |begun: usize, expected: usize| begun == expected || ends == Ends::Never && begun < expected;
    let begun = numbers.loads.begun();
    promise(is(begun, 1), || format!("{begun} loads began, and the first ended {ends:?}"));
    numbers.behind.finished().await;
    numbers.hands.advance(DEADLINE);
    hit(numbers.clone()).await;
    if ends == Ends::Never {
        numbers.hands.advance(DEADLINE);
    }
    numbers.behind.finished().await;
    let (begun, expected) = (numbers.loads.begun(), 2);
    promise(is(begun, expected), || format!("{begun} loads began instead of {expected}: {ends:?}"));
}

#[test]
fn of_all_who_find_a_stale_value_one_loads_and_after_a_failure_nobody_for_a_while() {
    holds(stale_hits);
}

// Permits: however loads end, and whoever leaves.
async fn limited_loads() {
    const LOADS_MAX: usize = 2;
    let numbers =
        numbers(|options| options.hard_deadline(DEADLINE).loads_max(LOADS_MAX).cancel_unwanted(coin()));
    let hands = numbers.hands.clone();
    let passing = Passing::of(move || drop(hands.advance_to_next()));
    let call = |numbers: Numbers, key| async move {
        let (asked, came) = (numbers.ask(key, Ends::somehow(), DEADLINE), numbers.clock.now());
        if roll(3) == 0 {
            return begin_and_leave(asked, 4).await;
        }
        if let Err(LoadError::Cache(error)) = asked.await {
            let is_expected = match error.kind() {
                ErrorKind::LoaderPanicked => true,
                ErrorKind::Timeout => numbers.clock.now() > came,
                _ => false,
            };
            promise(is_expected, || format!("{error}"));
        }
    };
    let callers: Vec<_> = (0..4).map(|key| spawn(call(numbers.clone(), key))).collect();
    for caller in callers {
        caller.await.unwrap();
    }
    numbers.behind.finished().await;
    passing.end().await;
    numbers.loads.are_over();
    let at_once = numbers.loads.log().at_once_max;
    promise(at_once <= LOADS_MAX, || format!("{at_once} loads at once"));
    // As many as may run can still run at once: each waits for all others.
    let arrived = Arc::new(AtomicUsize::new(0));
    let meet = |key: u32| {
        let arrived = arrived.clone();
        let load = async move || {
            arrived.fetch_add(1, Relaxed);
            while arrived.load(Relaxed) < LOADS_MAX {
                yield_now().await;
            }
            0
        };
        let cache = numbers.cache.clone();
        spawn(async move { cache.get_with(&key, load).await })
    };
    let meeting: Vec<_> = (100..100 + LOADS_MAX as u32).map(meet).collect();
    for caller in meeting {
        promise(caller.await.unwrap().is_ok(), || "a permit was lost".to_owned());
    }
}

#[test]
fn as_many_loads_run_at_once_as_may_whatever_became_of_others() {
    holds(limited_loads);
}

/// What loaders read, by the order in which it was written.
#[derive(Clone, Default)]
struct Source(Arc<Mutex<u64>>);

impl Source {
    fn at(&self) -> MutexGuard<'_, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks in one of several ways, and says which number the answer came from: the first if it says none.
async fn generation(cache: &Cache<u32, u64>, source: &Source, ends: Ends) -> Option<u64> {
    let read = source.clone();
    let number = move || *read.at();
    let ends = move |number| if number != FIRST && ends == Ends::Panicking { Ends::Failing } else { ends };
    match roll(3) {
        0 => {
            let load = async move || {
                let number = number();
                end(ends(number), number, number.to_string()).await
            };
            told(cache.try_get_with(&KEY, load).await)
        }
        1 => {
            let load = async move || {
                let number = number();
                end(ends(number), (number != FIRST).then_some(number), number.to_string()).await
            };
            match cache.try_optionally_get_with(&KEY, load).await {
                Ok(found) => Some(found.unwrap_or(FIRST)),
                Err(error) => told(Err(error)),
            }
        }
        _ => {
            // Of another key nothing may be known that was true before the write.
            let other = KEY + 1 + thread_rng().gen_range(0..1_000_000);
            let load = async move |keys: Vec<u32>| {
                let number = number();
                end(ends(number), vec![number; keys.len()], number.to_string()).await
            };
            told(cache.try_get_many_with(&[other, KEY], load).await.map(|numbers| numbers[1]))
        }
    }
}

const FIRST: u64 = 1;
const SECOND: u64 = 2;

fn told(answer: Result<u64, Failed>) -> Option<u64> {
    match answer {
        Ok(number) => Some(number),
        Err(LoadError::Loader(text)) => text.parse().ok(),
        // Only the first loads panic; what another caller's loader found is told as an error, too.
        Err(LoadError::Cache(error)) => match error.kind() {
            ErrorKind::LoaderPanicked | ErrorKind::Loader => Some(FIRST),
            _ => None,
        },
    }
}

fn forgiving(options: Options<u32, u64>) -> Options<u32, u64> {
    let options = options.ttl(TTL).stale_on_error_for(LONG).hard_deadline(DEADLINE).back_off(TTL, TTL);
    options.negative_ttl(LONG).error_ttl(LONG)
}

/// One key is loaded in several ways while it is written. Who comes after the write has returned is told nothing of what
/// was loaded before it began: no value, no error, no absence.
async fn loads_against_a_write(
    cache: Cache<u32, u64>,
    behind: Behind,
    pass: impl Fn() + Send + Clone + 'static,
) {
    let source = Source::default();
    *source.at() = FIRST;
    if coin() {
        cache.insert(KEY, FIRST).await.unwrap();
        pass();
    }
    let passing = Passing::of(pass);
    let load = |ends: fn() -> Ends| {
        let (cache, source) = (cache.clone(), source.clone());
        spawn(async move { generation(&cache, &source, ends()).await })
    };
    let loads = [load(Ends::somehow), load(Ends::somehow)];
    linger().await;
    *source.at() = SECOND;
    let write = match roll(3) {
        0 => cache.insert(KEY, SECOND),
        1 => cache.remove(&KEY),
        _ => cache.clear(),
    };
    write.await.unwrap();
    let ends = if coin() { Ends::Well } else { Ends::Failing };
    for turn in ["at once", "again", "when all is done"] {
        if turn == "when all is done" {
            cache.clear_memory();
        }
        let answer = generation(&cache, &source, ends).await;
        promise(answer == Some(SECOND) || answer.is_none(), || {
            format!("{answer:?} was told {turn} after a write that had replaced it")
        });
    }
    for load in loads {
        load.await.unwrap();
    }
    passing.end().await;
    behind.finished().await;
    let answer = generation(&cache, &source, Ends::Failing).await;
    promise(answer != Some(FIRST), || "what a write had replaced came back".to_owned());
}

async fn loads_against_a_write_in_memory() {
    let numbers = numbers(forgiving);
    let hands = numbers.hands.clone();
    let pass = move || hands.advance(TTL);
    loads_against_a_write(numbers.cache, numbers.behind, pass).await;
}

#[test]
fn in_memory_alone_nothing_that_was_loaded_before_a_write_is_told_after_it() {
    holds(loads_against_a_write_in_memory);
}

#[test]
fn in_memory_alone_what_was_loaded_before_a_write_is_caught_without_o5() {
    is_caught_without(Rule::O5, loads_against_a_write_in_memory);
}

async fn loads_against_a_write_below() {
    let world = Arc::new(World::default());
    let process: Arc<Process> = world.process_with(1, forgiving);
    let (cache, behind) = (process.cache.clone(), process.behind.clone());
    loads_against_a_write(cache, behind, move || world.advance(TTL)).await;
}

#[test]
fn nothing_that_was_loaded_before_a_write_is_told_after_it() {
    holds(loads_against_a_write_below);
}

#[test]
fn what_was_loaded_before_a_write_is_caught_without_o5() {
    is_caught_without(Rule::O5, loads_against_a_write_below);
}

// Batches and single callers, some of whom leave.
async fn batches() {
    let numbers = numbers(|options| options.hard_deadline(DEADLINE).cancel_unwanted(coin()));
    let hands = numbers.hands.clone();
    let passing = Passing::of(move || drop(hands.advance_to_next()));
    let call = |numbers: Numbers| async move {
        let came = numbers.clock.now();
        let (first, ends) = (roll(3), Ends::somehow());
        if roll(3) == 0 {
            let key = first + roll(2);
            let answer =
                numbers.cache.try_get_with(&key, move || end(ends, u64::from(key), String::new())).await;
            return numbers.told_of(came, answer.map(|number| vec![number]), &[key]);
        }
        let keys = [first, first + 1];
        let load = move |keys: Vec<u32>| end(ends, keys.into_iter().map(u64::from).collect(), String::new());
        let asked = numbers.cache.try_get_many_with(&keys, load);
        if roll(3) == 0 {
            return begin_and_leave(asked, 4).await;
        }
        numbers.told_of(came, asked.await, &keys);
    };
    let callers: Vec<_> = (0..3).map(|_| spawn(call(numbers.clone()))).collect();
    for caller in callers {
        caller.await.unwrap();
    }
    numbers.behind.finished().await;
    passing.end().await;
}

impl Numbers {
    fn told_of(&self, came: Moment, answer: Result<Vec<u64>, Failed>, keys: &[u32]) {
        match answer {
            Ok(told) => {
                let expected: Vec<u64> = keys.iter().copied().map(u64::from).collect();
                promise(told == expected, || format!("{told:?} was told of {keys:?}"));
            }
            Err(LoadError::Loader(_)) => {}
            Err(LoadError::Cache(error)) => {
                let is_expected = match error.kind() {
                    ErrorKind::LoaderPanicked => true,
                    ErrorKind::Timeout => self.clock.now() > came,
                    _ => false,
                };
                promise(is_expected, || format!("{error}"));
            }
        }
    }
}

#[test]
fn who_joins_a_part_of_a_batch_is_answered_whatever_becomes_of_the_rest() {
    holds(batches);
}
