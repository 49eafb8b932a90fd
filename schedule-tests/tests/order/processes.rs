//! Two processes with private copies over one truth, their clocks five seconds apart.

use std::sync::Arc;
use std::time::Duration;

use nanotier::{Clock, Inline, MemoryStore, Tier};
use nanotier_schedule_tests::explore::{holds, is_caught_without, promise};
use nanotier_schedule_tests::wire::{Wired, pause};
use nanotier_schedule_tests::world::{Behind, KEY, RECHECK, World, coin, numbers};
use nanotier_tier::rules::Rule;
use shuttle::future::spawn;

const AHEAD: Duration = Duration::from_secs(5);

// Rules O7 and O10, interleaving 12.
async fn foreign_write() {
    let world = World::default();
    let (writer, other) = if coin() {
        (world.process(1, AHEAD), world.process(2, Duration::ZERO))
    } else {
        (world.process(1, Duration::ZERO), world.process(2, AHEAD))
    };
    writer.cache.insert(KEY, 1).await.unwrap();
    let reader = other.clone();
    let read = spawn(async move { (reader.get().await, reader.get().await) });
    let removes = coin();
    if removes { writer.cache.remove(&KEY).await } else { writer.cache.insert(KEY, 2).await }.unwrap();
    let after = (!removes).then_some(2);
    let own = writer.get().await;
    promise(own == after, || format!("the writer itself is answered {own:?}"));
    let read = read.await.unwrap();
    promise(read.0 == Some(1) || read.0 == after, || format!("{read:?} was read"));
    promise(read.0 == Some(1) || read.1 == after, || format!("{read:?} went back"));
    other.behind.finished().await;
    // All that the other process holds was confirmed before this moment.
    world.advance(RECHECK);
    let late = other.get().await;
    promise(late == after, || format!("{late:?} is served, and outdated for longer than the recheck"));
    other.agrees().await;
    writer.agrees().await;
}

#[test]
fn a_foreign_write_is_seen_within_the_recheck_and_ones_own_at_once() {
    holds(foreign_write);
}

#[test]
fn a_foreign_write_that_is_not_seen_is_caught_without_o7() {
    is_caught_without(Rule::O7, foreign_write);
}

// Rules O1 and O7, interleaving 12: a live write wins however far behind its writer's clock is, and all end with the same.
async fn two_writers() {
    let world = World::default();
    let (fast, slow) = (world.process(1, AHEAD), world.process(2, Duration::ZERO));
    let writer = fast.clone();
    let put = spawn(async move { writer.cache.insert(KEY, 1).await });
    slow.cache.insert(KEY, 2).await.unwrap();
    put.await.unwrap().unwrap();
    // Its clock says that this is the oldest of the three.
    slow.cache.insert(KEY, 3).await.unwrap();
    let (own, truth) = (slow.get().await, world.number().await);
    promise(own == Some(3) && truth == Some(3), || {
        format!("3 was put last; {own:?} is served, the truth holds {truth:?}")
    });
    world.advance(RECHECK);
    let late = fast.get().await;
    promise(late == Some(3), || format!("{late:?} is served, and outdated for longer than the recheck"));
    fast.agrees().await;
    slow.agrees().await;
}

#[test]
fn processes_whose_clocks_differ_end_with_the_last_live_write() {
    holds(two_writers);
}

#[test]
fn processes_that_end_with_different_writes_are_caught_without_o7() {
    is_caught_without(Rule::O7, two_writers);
}

// Rule O7, interleaving 12: after a gap in a watch the near copy is in doubt at once. That memory is too belongs to a later
// issue, with the first tier that can watch.
async fn gap() {
    let world = World::default();
    let (writer, watcher) = (world.process(1, AHEAD), world.process(2, Duration::ZERO));
    let chain = watcher.chain.clone();
    world.truth.on_gap(move || chain.distrust());
    writer.cache.insert(KEY, 1).await.unwrap();
    watcher.get().await;
    let reader = watcher.clone();
    let read = spawn(async move { reader.get().await });
    writer.cache.insert(KEY, 2).await.unwrap();
    world.truth.gap();
    read.await.unwrap();
    watcher.behind.finished().await;
    watcher.cache.clear_memory();
    let answered = watcher.get().await;
    promise(answered == Some(2), || {
        format!("{answered:?} is served from a copy that missed a write in the gap")
    });
    watcher.agrees().await;
}

#[test]
fn after_a_gap_in_a_watch_the_near_copy_is_believed_no_more() {
    holds(gap);
}

#[test]
fn a_gap_in_a_watch_is_caught_without_o7() {
    is_caught_without(Rule::O7, gap);
}

// Rule O10, interleaving 12: a copy shared by all over a truth that each process has for itself.
async fn shared_copy_over_private_truth() {
    let (clock, _hands) = Clock::manual();
    let world = World::default();
    let process = |seed| {
        let truth = Arc::new(MemoryStore::new());
        let near = Wired::new(Arc::new(world.truth.handle(clock.clone())));
        let tiers = near.over(Inline(truth));
        numbers(seed, &clock, &Behind::default()).tiers(tiers).build()
    };
    let (Ok(one), Ok(other)) = (process(1), process(2)) else {
        // Refused, as it should be. The explorer wants to see two tasks.
        let other = spawn(pause());
        pause().await;
        return other.await.unwrap();
    };
    let writer = one.clone();
    let put = spawn(async move { writer.insert(KEY, 1).await });
    put.await.unwrap().unwrap();
    let answered = other.get(&KEY).await.unwrap();
    promise(answered.is_none(), || format!("{answered:?} is served to a process whose truth never held it"));
}

#[test]
fn a_copy_shared_more_widely_than_its_truth_is_refused() {
    holds(shared_copy_over_private_truth);
}

#[test]
fn a_copy_shared_more_widely_than_its_truth_is_caught_without_o10() {
    is_caught_without(Rule::O10, shared_copy_over_private_truth);
}
