//! Writes against writes, and writes whose callers leave.

use std::time::Duration;

use nanotier_schedule_tests::explore::{holds, is_caught_without, promise};
use nanotier_schedule_tests::world::{KEY, World, begin_and_leave, coin};
use nanotier_tier::rules::Rule;
use shuttle::future::spawn;

/// More polls than a write needs.
const POLLS_MAX: u32 = 12;

// Rule O1, interleaving 1.
async fn put_over_remove() {
    let world = World::default();
    let process = world.process(1, Duration::ZERO);
    process.cache.insert(KEY, 1).await.unwrap();
    let writer = process.clone();
    let put = spawn(async move { writer.cache.insert(KEY, 2).await });
    process.cache.remove(&KEY).await.unwrap();
    let removed_last = put.is_finished();
    put.await.unwrap().unwrap();
    let truth = world.number().await;
    promise(truth.is_none() || truth == Some(2), || format!("{truth:?} was put before the remove began"));
    promise(truth == Some(2) || removed_last || truth.is_none(), || "nobody wrote this".to_owned());
    process.agrees().await;
}

#[test]
fn a_put_that_overlaps_a_whole_remove_comes_before_or_after_it_in_all_tiers_alike() {
    holds(put_over_remove);
}

#[test]
fn a_put_that_overlaps_a_whole_remove_is_caught_without_o1() {
    is_caught_without(Rule::O1, put_over_remove);
}

// Rule O1, interleavings 1 and 7: what is left of a put whose caller has gone is dead.
async fn abandoned_put_before_remove() {
    let world = World::default();
    let process = world.process(1, Duration::ZERO);
    process.cache.insert(KEY, 1).await.unwrap();
    let reader = process.clone();
    let read = spawn(async move { reader.get().await });
    begin_and_leave(process.cache.insert(KEY, 2), POLLS_MAX).await;
    process.cache.remove(&KEY).await.unwrap();
    let answered = process.get().await;
    promise(answered.is_none(), || format!("{answered:?} was answered after its remove"));
    read.await.unwrap();
    process.behind.finished().await;
    let truth = world.number().await;
    promise(truth.is_none(), || format!("a dead put won: the truth holds {truth:?}"));
    process.agrees().await;
}

#[test]
fn a_put_whose_caller_has_left_does_not_undo_a_later_remove() {
    holds(abandoned_put_before_remove);
}

#[test]
fn a_put_whose_caller_has_left_is_caught_without_o1() {
    is_caught_without(Rule::O1, abandoned_put_before_remove);
}

// Rules O1 and O3, interleaving 2.
async fn two_puts() {
    let world = World::default();
    let process = world.process(1, Duration::ZERO);
    let writer = process.clone();
    let other = spawn(async move { writer.cache.insert(KEY, 1).await });
    process.cache.insert(KEY, 2).await.unwrap();
    other.await.unwrap().unwrap();
    let truth = world.number().await;
    promise(truth == Some(1) || truth == Some(2), || format!("both were put, and the truth holds {truth:?}"));
    process.agrees().await;
}

#[test]
fn two_puts_end_in_one_order_in_all_tiers_though_their_copies_are_written_in_another() {
    holds(two_puts);
}

#[test]
fn two_puts_in_two_orders_are_caught_without_o1() {
    is_caught_without(Rule::O1, two_puts);
}

// Rule O3, interleaving 2: copies come after the truth, so nobody meets what it did not take.
async fn put_that_fails() {
    let world = World::default();
    let process = world.process(1, Duration::ZERO);
    process.cache.insert(KEY, 1).await.unwrap();
    process.far_wire.set_writes_down(true);
    let reader = process.clone();
    let read = spawn(async move { (reader.get().await, reader.get().await) });
    let put = process.cache.insert(KEY, 2).await;
    promise(put.is_err(), || "the truth was down".to_owned());
    let read = read.await.unwrap();
    promise(read == (Some(1), Some(1)), || format!("{read:?} was read while the truth held 1"));
    process.far_wire.set_writes_down(false);
    process.agrees().await;
}

#[test]
fn what_the_truth_did_not_take_is_read_nowhere() {
    holds(put_that_fails);
}

#[test]
fn what_the_truth_did_not_take_is_caught_without_o3() {
    is_caught_without(Rule::O3, put_that_fails);
}

// Rule O6, interleaving 7.
async fn write_dropped_at_any_await() {
    let world = World::default();
    let process = world.process(1, Duration::ZERO);
    process.cache.insert(KEY, 1).await.unwrap();
    let removes = coin();
    let after = (!removes).then_some(2);
    let reader = process.clone();
    let read = spawn(async move { reader.get().await });
    if removes {
        begin_and_leave(process.cache.remove(&KEY), POLLS_MAX).await;
    } else {
        begin_and_leave(process.cache.insert(KEY, 2), POLLS_MAX).await;
    }
    let memory = process.in_memory();
    promise(memory != Some(1), || "memory serves what is being replaced".to_owned());
    let read = read.await.unwrap();
    promise(read == Some(1) || read == after, || format!("{read:?} was read"));
    process.behind.finished().await;
    let truth = world.number().await;
    promise(truth == after, || format!("the write was not finished: the truth holds {truth:?}"));
    process.agrees().await;
}

#[test]
fn a_write_dropped_at_any_await_is_finished_and_leaves_nothing_older() {
    holds(write_dropped_at_any_await);
}

#[test]
fn a_write_dropped_at_any_await_is_caught_without_o6() {
    is_caught_without(Rule::O6, write_dropped_at_any_await);
}

// Rule O5, interleavings 1 and 11: a clearing is a removal of all.
async fn put_over_clear() {
    let world = World::default();
    let process = world.process(1, Duration::ZERO);
    process.cache.insert(KEY, 1).await.unwrap();
    let writer = process.clone();
    let put = spawn(async move { writer.cache.insert(KEY, 2).await });
    process.cache.clear().await.unwrap();
    put.await.unwrap().unwrap();
    let truth = world.number().await;
    promise(truth != Some(1), || "1 was put before the clearing began".to_owned());
    process.agrees().await;
}

#[test]
fn a_put_that_overlaps_a_clear_comes_before_or_after_it_in_all_tiers_alike() {
    holds(put_over_clear);
}

#[test]
fn a_put_that_overlaps_a_clear_is_caught_without_o5() {
    is_caught_without(Rule::O5, put_over_clear);
}

// Rule O5, interleaving 1: the truth lifts a take above what it holds.
async fn put_over_take() {
    let world = World::default();
    let process = world.process(1, Duration::ZERO);
    process.cache.insert(KEY, 1).await.unwrap();
    let writer = process.clone();
    let put = spawn(async move { writer.cache.insert(KEY, 2).await });
    let taken = process.cache.take(&KEY).await.unwrap();
    put.await.unwrap().unwrap();
    let truth = world.number().await;
    // What was taken is not there again: one put is taken once.
    let is_an_order = [(Some(1), Some(2)), (Some(2), None)].contains(&(taken, truth));
    promise(is_an_order, || format!("{taken:?} was taken and the truth holds {truth:?}"));
    process.agrees().await;
}

#[test]
fn a_put_that_overlaps_a_take_comes_before_or_after_it_in_all_tiers_alike() {
    holds(put_over_take);
}

#[test]
fn a_put_that_overlaps_a_take_is_caught_without_o5() {
    is_caught_without(Rule::O5, put_over_take);
}
