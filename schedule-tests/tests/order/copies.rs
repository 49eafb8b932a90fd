//! Near copies that have missed something.

use std::time::Duration;

use nanotier_schedule_tests::explore::{holds, is_caught_without, promise};
use nanotier_schedule_tests::wire::linger;
use nanotier_schedule_tests::world::{HORIZON, KEY, RECHECK, World, begin_and_leave, coin};
use nanotier_tier::rules::Rule;
use shuttle::future::spawn;

const BEYOND: Duration = HORIZON.saturating_add(Duration::from_secs(1));
/// More polls than a write needs.
const POLLS_MAX: u32 = 12;

// Rule O7, interleaving 8: a process ends in the middle of a remove, and the next one opens its near copy. Queues of
// writes that survive a restart belong to a later issue.
async fn restart() {
    let world = World::default();
    let ended = world.process(1, Duration::ZERO);
    ended.cache.insert(KEY, 1).await.unwrap();
    let remove = ended.cache.remove(&KEY);
    let process = ended.clone();
    // The end comes at any moment: what was not sent by then never is.
    let end = spawn(async move {
        linger().await;
        process.near_wire.set_down(true);
        process.far_wire.set_down(true);
    });
    begin_and_leave(remove, POLLS_MAX).await;
    end.await.unwrap();
    ended.behind.finished().await;
    world.advance(Duration::from_secs(1));

    let next = world.process_over(ended.near.clone(), 2, Duration::ZERO);
    next.near_wire.set_believed_since(next.clock.wall());
    if coin() {
        // Long enough for the truth to forget the remove.
        world.advance(BEYOND);
    }
    let (one, other) = (next.clone(), next.clone());
    let gets = [spawn(async move { one.get().await }), spawn(async move { other.get().await })];
    let truth = world.number().await;
    for get in gets {
        let answered = get.await.unwrap();
        promise(answered == truth, || {
            format!("{answered:?} is served after a restart; the truth holds {truth:?}")
        });
    }
    next.serves_the_truth().await;
}

#[test]
fn a_near_copy_that_was_not_closed_brings_back_nothing_removed() {
    holds(restart);
}

#[test]
fn a_near_copy_that_was_not_closed_is_caught_without_o7() {
    is_caught_without(Rule::O7, restart);
}

// Rule O7, interleaving 9.
async fn near_was_down() {
    let world = World::default();
    let process = world.process(1, Duration::ZERO);
    process.cache.insert(KEY, 1).await.unwrap();
    process.near_wire.set_down(true);
    let repaired = process.clone();
    let repair = spawn(async move {
        linger().await;
        repaired.near_wire.set_down(false);
    });
    let removes = coin();
    let wrote = if removes { process.cache.remove(&KEY).await } else { process.cache.insert(KEY, 2).await };
    promise(wrote.is_ok(), || "a copy that is down fails no write".to_owned());
    let after = (!removes).then_some(2);
    let answered = process.get().await;
    promise(answered == after, || format!("{answered:?} was answered after the write"));
    repair.await.unwrap();
    process.behind.finished().await;
    process.cache.clear_memory();
    if removes && coin() {
        world.advance(BEYOND);
    }
    let answered = process.get().await;
    promise(answered == after, || format!("{answered:?} was answered after the copy came back"));
    process.serves_the_truth().await;
}

#[test]
fn a_near_copy_that_was_down_during_a_write_serves_nothing_older() {
    holds(near_was_down);
}

#[test]
fn a_near_copy_that_was_down_is_caught_without_o7() {
    is_caught_without(Rule::O7, near_was_down);
}

// Rule O8, interleaving 10: also when the truth is down afterwards, the copy is dead.
async fn stale_copy_against_tombstone() {
    let world = World::default();
    let (process, other) = (world.process(1, Duration::ZERO), world.process(2, Duration::ZERO));
    process.cache.insert(KEY, 1).await.unwrap();
    other.cache.remove(&KEY).await.unwrap();
    world.advance(RECHECK);
    let reader = process.clone();
    let read = spawn(async move { reader.get().await });
    let answered = process.get().await;
    promise(answered.is_none(), || format!("{answered:?} outlived its tombstone"));
    let answered = read.await.unwrap();
    promise(answered.is_none(), || format!("{answered:?} outlived its tombstone"));
    process.behind.finished().await;
    process.far_wire.set_down(true);
    for _ in 0..2 {
        let answered = process.get().await;
        promise(answered.is_none(), || {
            format!("{answered:?} was served in place of an error, though known to be dead")
        });
        process.cache.clear_memory();
    }
    process.far_wire.set_down(false);
    process.agrees().await;
}

#[test]
fn a_tombstone_further_out_kills_a_stale_copy_wherever_it_is_met() {
    holds(stale_copy_against_tombstone);
}

#[test]
fn a_stale_copy_against_a_tombstone_is_caught_without_o8() {
    is_caught_without(Rule::O8, stale_copy_against_tombstone);
}
