//! Every call of a cache in every state of memory and of its tiers, as the tables in `docs/CONSISTENCY.md` say.

mod script;
mod table;
mod world;

use std::sync::Arc;
use std::time::Duration;

use table::{Input, check};
use world::{AGES, Below, DEGRADED_TTL, OF_CALL, OF_NEAR, OF_TRUTH, STALE_FOR, TTL, World};

const READS: &[&str] = &["get", "get_many", "contains", "time_left", "resident", "read"];
const LOADS: &[&str] = &["get_with", "get_with_blocking", "try_get_with", "try_get_with_blocking"];
const WRITES: &[&str] = &["insert", "insert_for", "insert_many", "remove", "remove_many", "clear"];
const MEMORY: Input<'_> = ("memory", &["nothing", "fresh", "stale", "overdue", "expired"]);
const MEMORY_ALONE: Input<'_> = ("memory", &["nothing", "fresh", "stale", "expired"]);
const TRUTH: Input<'_> = (
    "truth",
    &["absent", "removed", "fresh", "stale", "expired", "unreadable", "foreign", "down", "timeout", "closed"],
);
const NEAR: Input<'_> = (
    "near",
    &["absent", "removed", "fresh", "stale", "expired", "in doubt", "unreadable", "foreign", "failing"],
);

fn call<'a>(calls: &'a [&'a str]) -> Input<'a> {
    ("call", calls)
}

/// Whether the loader ran, and whether anybody waited for it.
fn loader(ran_before_the_answer: usize, ran: usize) -> String {
    match (ran_before_the_answer, ran) {
        (0, 0) => "no".to_owned(),
        (1, 1) => "yes".to_owned(),
        (0, 1) => "behind".to_owned(),
        other => panic!("the loader ran {other:?} times"),
    }
}

#[test]
fn memory_alone() {
    let all = [READS, LOADS, WRITES, &["take", "touch"]].concat();
    check("Memory alone", &[call(&all), MEMORY_ALONE], &["answer", "loader", "memory then"], |case| {
        let [call, memory] = case else { unreachable!() };
        let mut world = World::new(Below::Nothing);
        world.memory_is(memory);
        world.begin();
        let answer = if READS.contains(call) {
            world.read(call)
        } else if LOADS.contains(call) {
            world.load(call, "brings")
        } else {
            world.write(call)
        };
        let before_answer = world.loads();
        world.run_behind();
        vec![answer, loader(before_answer, world.loads()), world.memory()]
    });
}

#[test]
fn reads_over_one_tier() {
    let inputs = [call(READS), MEMORY, TRUTH];
    check("Reads over one tier", &inputs, &["answer", "memory then", "truth then"], |case| {
        let [call, memory, truth] = case else { unreachable!() };
        let mut world = World::new(Below::Truth);
        world.memory_is(memory);
        world.tier_is(&world.truth.clone(), truth, OF_TRUTH);
        world.begin();
        let answer = world.read(call);
        world.run_behind();
        vec![answer, world.memory(), world.held(&world.truth)]
    });
}

#[test]
fn loads_over_one_tier() {
    let inputs = [call(LOADS), MEMORY, TRUTH];
    check("Loads over one tier", &inputs, &["answer", "loader", "memory then", "truth then"], |case| {
        let [call, memory, truth] = case else { unreachable!() };
        let mut world = World::new(Below::Truth);
        world.memory_is(memory);
        world.tier_is(&world.truth.clone(), truth, OF_TRUTH);
        world.begin();
        let answer = world.load(call, "brings");
        let before_answer = world.loads();
        world.run_behind();
        let loader = loader(before_answer, world.loads());
        vec![answer, loader, world.memory(), world.held(&world.truth)]
    });
}

#[test]
fn what_becomes_of_a_load() {
    const LOADERS: &[&str] = &["brings", "brings what has no encoding", "fails", "panics"];
    const FILLS: &[&str] = &[
        "takes it",
        "is ahead",
        "is always ahead",
        "too late",
        "changed",
        "full",
        "down",
        "timeout",
        "closed",
        "lost",
    ];
    let inputs =
        [("loader", LOADERS), ("truth when read", &["absent", "down"][..]), ("truth when filled", FILLS)];
    check("What becomes of a load", &inputs, &["answer", "memory then", "truth then"], |case| {
        let [loader, when_read, when_filled] = case else { unreachable!() };
        let mut world = World::new(Below::Truth);
        world.tier_is(&world.truth.clone(), when_read, OF_TRUTH);
        let loader = LOADERS.iter().find(|word| *word == loader).unwrap();
        world.begin();
        let when_filled = FILLS.iter().find(|word| *word == when_filled).unwrap();
        let world = Arc::new(world);
        let answer = world.load_while("try_get_with", loader, when_filled);
        world.run_behind();
        vec![answer, world.memory(), world.held(&world.truth)]
    });
}

#[test]
fn reads_over_a_chain() {
    let calls = ["get", "get_many", "contains", "time_left", "get_with"];
    let inputs = [call(&calls), NEAR, TRUTH];
    let outputs = ["answer", "loader", "memory then", "near then", "truth then"];
    check("Reads and loads over a chain", &inputs, &outputs, |case| {
        let [call, near, truth] = case else { unreachable!() };
        let mut world = World::new(Below::NearAndTruth);
        world.tier_is(&world.near.clone(), near, OF_NEAR);
        world.tier_is(&world.truth.clone(), truth, OF_TRUTH);
        world.begin();
        let answer = if *call == "get_with" { world.load(call, "brings") } else { world.read(call) };
        let before_answer = world.loads();
        world.run_behind();
        let loader = loader(before_answer, world.loads());
        vec![answer, loader, world.memory(), world.held(&world.near), world.held(&world.truth)]
    });
}

const ANSWERS: &[&str] = &[
    "takes it",
    "is ahead",
    "is always ahead",
    "too late",
    "changed",
    "full",
    "down",
    "timeout",
    "closed",
    "lost",
];

#[test]
fn writes_over_one_tier() {
    let inputs = [call(WRITES), MEMORY, ("truth", TRUTH.1.split_at(7).0), ("truth when written", ANSWERS)];
    check("Writes over one tier", &inputs, &["answer", "memory then", "truth then", "`get` then"], |case| {
        let [call, memory, truth, when_written] = case else { unreachable!() };
        let mut world = World::new(Below::Truth);
        world.memory_is(memory);
        world.tier_is(&world.truth.clone(), truth, OF_TRUTH);
        world.begin();
        world.writing_is(&world.truth.clone(), when_written);
        let answer = world.write(call);
        world.run_behind();
        world.truth.works();
        let (memory, held) = (world.memory_holds(), world.held(&world.truth));
        vec![answer, memory, held.clone(), as_held(truth, &held, world.read("get"))]
    });
}

/// What `get` says after a write, where it says what the truth holds now as it did before.
fn as_held(truth: &str, held: &str, get: String) -> String {
    let before = match truth {
        "fresh" => "truth's",
        "stale" => "truth's (stale)",
        _ => "nothing",
    };
    if held == "kept" && get == before { "what the truth holds".to_owned() } else { get }
}

#[test]
fn take_and_touch_over_one_tier() {
    let inputs = [call(&["take", "touch"]), MEMORY, TRUTH, ("truth when written", ANSWERS)];
    let outputs = ["answer", "memory then", "truth then", "`get` then"];
    check("Take and touch over one tier", &inputs, &outputs, |case| {
        let [call, memory, truth, when_written] = case else { unreachable!() };
        let mut world = World::new(Below::Truth);
        world.memory_is(memory);
        world.tier_is(&world.truth.clone(), truth, OF_TRUTH);
        world.begin();
        world.writing_is(&world.truth.clone(), when_written);
        let answer = world.write(call);
        world.run_behind();
        world.truth.works();
        let (memory, held) = (world.memory_holds(), world.held(&world.truth));
        vec![answer, memory, held.clone(), as_held(truth, &held, world.read("get"))]
    });
}

#[test]
fn writes_over_a_chain() {
    const CALLS: &[&str] = &["insert", "insert_many", "remove", "remove_many", "clear", "take", "touch"];
    const NEAR_ANSWERS: &[&str] = &["takes it", "is ahead", "too late", "changed", "full", "down", "lost"];
    let inputs = [call(CALLS), ("near when written", NEAR_ANSWERS), ("truth when written", ANSWERS)];
    let outputs =
        ["answer", "memory then", "near then", "truth then", "`get` then", "`get` of the copy alone"];
    check("Writes over a chain", &inputs, &outputs, |case| {
        let [call, near, truth] = case else { unreachable!() };
        let run = || {
            let mut world = World::new(Below::NearAndTruth);
            world.all_hold_the_old_one();
            world.begin();
            world.writing_is(&world.near.clone(), near);
            world.writing_is(&world.truth.clone(), truth);
            let answer = world.write(call);
            world.run_behind();
            world.near.works();
            world.truth.works();
            (answer, world)
        };
        let (answer, world) = run();
        let (memory, near, truth) = (world.memory_holds(), world.held(&world.near), world.held(&world.truth));
        let get = world.read("get");
        let (_, world) = run();
        world.cache.clear_memory();
        world.truth_is_down();
        vec![answer, memory, near, truth, get, world.read("get")]
    });
}

#[test]
fn lifetimes() {
    const CACHES: &[&str] = &["no ttl", "a ttl", "a ttl and a grace"];
    const CALLS: &[&str] = &[
        "insert",
        "insert_many",
        "get_with",
        "get_with while the truth is down",
        "insert_for `Default`",
        "insert_for `For`",
        "insert_for zero",
        "insert_for the longest",
        "insert_for `Forever`",
        "touch `Default`",
        "touch `For`",
        "touch zero",
        "touch the longest",
        "touch `Forever`",
    ];
    let below = ("below", &["nothing", "a truth", "near and truth"][..]);
    check("Lifetimes", &[("cache", CACHES), call(CALLS), below], &["fresh for", "usable for"], |case| {
        let [cache, call, below] = case else { unreachable!() };
        let lifetime = match *cache {
            "no ttl" => (None, Duration::ZERO),
            "a ttl" => (Some(TTL), Duration::ZERO),
            _ => (Some(TTL), STALE_FOR),
        };
        let below = match *below {
            "nothing" => Below::Nothing,
            "a truth" => Below::Truth,
            _ => Below::NearAndTruth,
        };
        let world = World::with(below, lifetime, Duration::from_secs(1_000_000));
        let (fresh_for, usable_for) = world.lifetime_of(call);
        vec![in_words(fresh_for), in_words(usable_for)]
    });
}

fn in_words(time: Option<Duration>) -> String {
    let words = [
        (Duration::ZERO, "no time"),
        (DEGRADED_TTL, "`degraded_ttl`"),
        (TTL, "the ttl"),
        (TTL + STALE_FOR, "the ttl and the grace"),
        (OF_CALL, "the call's"),
        (OF_CALL + STALE_FOR, "the call's and the grace"),
    ];
    let Some(time) = time else { return "ever".to_owned() };
    if time > AGES {
        return "ages".to_owned();
    }
    let word = words.iter().find(|(known, _)| *known == time);
    word.unwrap_or_else(|| panic!("nobody said {time:?}")).1.to_owned()
}
