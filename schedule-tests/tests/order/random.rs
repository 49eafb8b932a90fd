//! Whatever tasks do to one key, in whatever order: reads are never older than what was written before them, and in the end all
//! tiers agree.

use std::sync::Arc;
use std::time::Duration;

use nanotier_schedule_tests::explore::{holds, is_caught_without};
use nanotier_schedule_tests::history::History;
use nanotier_schedule_tests::wire::pause;
use nanotier_schedule_tests::world::{KEY, Process, RECHECK, World};
use nanotier_tier::rules::Rule;
use shuttle::future::spawn;
use shuttle::rand::{Rng, thread_rng};

const TASKS: usize = 3;
const STEPS: usize = 3;
/// What was given up may still arrive, and is then like a foreign write: seen within the recheck. A value that the truth could
/// not take is kept in memory for a shorter time.
const HEALING: Duration = RECHECK;

async fn step(process: &Process, history: &History) {
    match thread_rng().gen_range(0..4) {
        0 => {
            let begun = history.begin(false);
            let wrote = process.cache.insert(KEY, begun.number).await;
            history.end(&begun, wrote.is_ok());
        }
        1 => {
            let begun = history.begin(true);
            let wrote = process.cache.remove(&KEY).await;
            history.end(&begun, wrote.is_ok());
        }
        2 => {
            let began = history.now();
            let answered = process.get().await;
            history.answered(began, answered);
        }
        _ => {
            let began = history.now();
            let source = history.clone();
            let load = async move || {
                pause().await;
                let number = source.load();
                pause().await;
                number
            };
            let answered = process.cache.get_with(&KEY, load).await.ok();
            history.answered(began, answered);
        }
    }
}

/// Makes something fail.
async fn fault(world: &World, process: &Process) {
    match thread_rng().gen_range(0..6) {
        0 => world.truth.fail_next(1),
        1 => world.truth.fail_after_applying_next(1),
        2 => process.far_wire.hold_next(1),
        3 => process.courier.deliver().await,
        4 => process.near_wire.set_down(true),
        _ => process.near_wire.set_down(false),
    }
    pause().await;
}

async fn tasks(faults: usize) {
    let world = Arc::new(World::default());
    let (process, history) = (world.process(1, Duration::ZERO), History::default());
    let mut running: Vec<_> = (0..TASKS)
        .map(|_| {
            let (process, history) = (process.clone(), history.clone());
            spawn(async move {
                for _ in 0..STEPS {
                    step(&process, &history).await;
                }
            })
        })
        .collect();
    let (failing, at) = (world.clone(), process.clone());
    running.push(spawn(async move {
        for _ in 0..faults {
            fault(&failing, &at).await;
        }
    }));
    for task in running {
        task.await.unwrap();
    }
    process.behind.finished().await;
    world.truth.fail_next(0);
    world.truth.fail_after_applying_next(0);
    process.far_wire.hold_next(0);
    process.near_wire.set_down(false);
    process.courier.deliver().await;
    if faults == 0 {
        return process.agrees().await;
    }
    world.advance(HEALING);
    let began = history.now();
    history.answered(began, process.get().await);
    process.serves_the_truth().await;
}

// All rules, interleavings 1 to 4 at once.
async fn without_faults() {
    tasks(0).await;
}

#[test]
fn whatever_tasks_do_reads_are_never_older_than_writes_before_them() {
    holds(without_faults);
}

#[test]
fn whatever_tasks_do_is_caught_without_o1() {
    is_caught_without(Rule::O1, without_faults);
}

#[test]
fn whatever_tasks_do_is_caught_without_o5() {
    is_caught_without(Rule::O5, without_faults);
}

// All rules, interleavings 1 to 5 and 9 at once.
async fn with_faults() {
    tasks(4).await;
}

#[test]
fn whatever_fails_reads_are_never_older_than_writes_before_them() {
    holds(with_faults);
}

#[test]
fn whatever_fails_is_caught_without_o3() {
    is_caught_without(Rule::O3, with_faults);
}

#[test]
fn whatever_fails_is_caught_without_o7() {
    is_caught_without(Rule::O7, with_faults);
}
