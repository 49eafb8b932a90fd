//! Eight threads ask at once for a key that nobody has.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Instant;

use cached::macros::cached;
use tokio::runtime::Runtime;

use super::{ASKERS, LOAD_TAKES, Loads, median};
use crate::bench::Bench;
use crate::contender::{Evicts, Facade, Foyer, Loads as _, Moka, QuickCache, Role};
use crate::judge::Figure;
use crate::workload::key;

static LOADS: Loads = Loads::none();

fn load(number: u64) -> u64 {
    let began = Instant::now();
    thread::sleep(LOAD_TAKES);
    LOADS.add(began);
    number
}

async fn load_later(number: u64) -> u64 {
    let began = Instant::now();
    tokio::time::sleep(LOAD_TAKES).await;
    LOADS.add(began);
    number
}

/// As its documentation has it for one computation per key.
#[cached(max_size = 8192, sync_writes = "by_key")]
fn remembered(number: u64) -> u64 {
    load(number)
}

struct Contender {
    name: &'static str,
    role: Role,
    note: &'static str,
    ask: Box<dyn Fn(u64) -> u64 + Send + Sync>,
}

fn contenders() -> Vec<Contender> {
    let contender = |name, role, note, ask| Contender { name, role, note, ask };
    let runtime = Arc::new(runtime());
    let (blocking, futures) = (Facade::empty(CAPACITY), Facade::empty(CAPACITY));
    let (quick, moka) = (QuickCache::<u64, u64>::empty(CAPACITY), Moka::<u64, u64>::empty(CAPACITY));
    let foyer = Foyer::<u64, u64>::empty(CAPACITY);
    let entered = runtime.clone();
    vec![
        contender(
            "blocking",
            Role::Ours,
            "get_with_blocking",
            Box::new(move |number| {
                blocking.0.get_with_blocking(&key(number), move || load(number)).wait().expect("it loads")
            }),
        ),
        contender(
            "await",
            Role::Ours,
            "get_with, on tokio",
            Box::new(move |number| {
                let loaded = entered.block_on(futures.0.get_with(&key(number), move || load_later(number)));
                loaded.expect("it loads")
            }),
        ),
        contender(
            "quick_cache",
            Role::Rival,
            "",
            Box::new(move |number| quick.get_or_load(&key(number), || load(number))),
        ),
        contender(
            "moka",
            Role::Rival,
            "",
            Box::new(move |number| moka.get_or_load(&key(number), || load(number))),
        ),
        contender("cached", Role::Rival, "#[cached(sync_writes = \"by_key\")]", Box::new(remembered)),
        contender(
            "foyer",
            Role::Rival,
            "get_or_fetch, on tokio",
            Box::new(move |number| {
                let fetch = || async move { Ok::<_, std::io::Error>(load_later(number).await) };
                let fetched = runtime.block_on(async { foyer.0.get_or_fetch(&key(number), fetch).await });
                *fetched.expect("it loads").value()
            }),
        ),
    ]
}

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_time().build().expect("a runtime")
}

/// What a round of one contender came to.
struct Round {
    loads: f64,
    /// From the first call to the last answer, in times of the loader.
    time: f64,
}

/// Each round gives all contenders their turn, and begins with another one than the last.
fn rounds(bench: &Bench, contenders: &[Contender], count: usize) -> Vec<Vec<Round>> {
    let barrier = Barrier::new(ASKERS + 1);
    let nth = |round: usize, place: usize| (round + place) % contenders.len();
    let ask = || {
        let mut times = Vec::new();
        for round in 0..count {
            for place in 0..contenders.len() {
                barrier.wait();
                let began = Instant::now();
                let number = round as u64;
                assert_eq!((contenders[nth(round, place)].ask)(number), number);
                times.push((began, Instant::now()));
                barrier.wait();
            }
        }
        times
    };
    let mut loads = Vec::new();
    let times: Vec<Vec<(Instant, Instant)>> = thread::scope(|scope| {
        let askers: Vec<_> = (0..ASKERS).map(|_| scope.spawn(ask)).collect();
        for round in 0..count {
            bench.progress.say("stampede-8", "", round + 1, count);
            for _ in contenders {
                barrier.wait();
                barrier.wait();
                loads.push(LOADS.take());
            }
        }
        askers.into_iter().map(|asker| asker.join().expect("no asker panics")).collect()
    });
    let mut rounds: Vec<Vec<Round>> = contenders.iter().map(|_| Vec::new()).collect();
    for (turn, (loads, load_ns)) in loads.into_iter().enumerate() {
        let began = times.iter().map(|times| times[turn].0).min().expect("there are askers");
        let ended = times.iter().map(|times| times[turn].1).max().expect("there are askers");
        let time = (ended - began).as_nanos() as f64 / load_ns;
        let contender = nth(turn / contenders.len(), turn % contenders.len());
        rounds[contender].push(Round { loads: loads as f64, time });
    }
    rounds
}

pub(super) fn absent(bench: &mut Bench) {
    let contenders = contenders();
    let rounds = rounds(bench, &contenders, bench.rounds * ROUNDS_EACH);
    let figures = |names: fn(&str) -> &'static str, figure: fn(&[Round]) -> Option<f64>| -> Vec<Figure> {
        let figures = contenders.iter().zip(&rounds).map(|(contender, rounds)| {
            let Contender { name, role, note, .. } = *contender;
            let name = if role == Role::Ours { names(name) } else { name };
            Figure { name, role, value: figure(rounds), residents: None, note }
        });
        figures.collect()
    };
    let loads = figures(
        |name| if name == "await" { "await, loads" } else { "blocking, loads" },
        |rounds| Some(rounds.iter().map(|round| round.loads).sum::<f64>() / rounds.len() as f64),
    );
    let times = figures(
        |name| if name == "await" { "await, time" } else { "blocking, time" },
        |rounds| median(rounds.iter().map(|round| round.time).collect()),
    );
    bench.figures("stampede-8", "loads", &loads);
    bench.figures("stampede-8", "loaders", &times);
}

const CAPACITY: usize = 1 << 13;
const ROUNDS_EACH: usize = 5;
