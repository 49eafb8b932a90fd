//! What arrives late: bytes of a write that was given up, and loads so slow that nobody remembers what they missed.

use std::sync::Arc;
use std::time::Duration;

use nanotier_schedule_tests::explore::{holds, is_caught_without, promise};
use nanotier_schedule_tests::wire::linger;
use nanotier_schedule_tests::world::{HORIZON, KEY, Process, RECHECK, Source, World};
use nanotier_tier::rules::Rule;
use shuttle::future::spawn;

const BEYOND: Duration = HORIZON.saturating_add(Duration::from_secs(1));

/// A put whose caller was told of a timeout, while its bytes are still under way to the truth.
async fn timed_out_put(world: &World) -> Arc<Process> {
    let process = world.process(1, Duration::ZERO);
    process.cache.insert(KEY, 1).await.unwrap();
    process.far_wire.hold_next(1);
    assert!(process.cache.insert(KEY, 2).await.is_err());
    process
}

// Rule O1, interleaving 5, within the horizon.
async fn late_put() {
    let world = World::default();
    let process = timed_out_put(&world).await;
    let late = process.clone();
    let delivery = spawn(async move {
        linger().await;
        late.courier.deliver().await;
    });
    process.cache.remove(&KEY).await.unwrap();
    let answered = process.get().await;
    promise(answered.is_none(), || format!("{answered:?} was answered after its remove"));
    delivery.await.unwrap();
    let truth = world.number().await;
    promise(truth.is_none(), || format!("the truth took {truth:?} after the remove"));
    process.agrees().await;
}

#[test]
fn a_timed_out_put_that_arrives_after_a_remove_is_refused_as_older() {
    holds(late_put);
}

#[test]
fn a_timed_out_put_that_arrives_after_a_remove_is_caught_without_o1() {
    is_caught_without(Rule::O1, late_put);
}

// The same with the service's own socket: put and remove are both held, and the remove arrives first.
async fn held_in_reversed_order() {
    let world = World::default();
    let process = world.process(1, Duration::ZERO);
    process.cache.insert(KEY, 1).await.unwrap();
    world.truth.hold_writes();
    assert!(process.cache.insert(KEY, 2).await.is_err());
    assert!(process.cache.remove(&KEY).await.is_err());
    let reader = process.clone();
    let read = spawn(async move { reader.get().await });
    world.truth.deliver_held_reversed();
    let truth = world.number().await;
    promise(truth.is_none(), || format!("the truth took {truth:?} after the remove"));
    let read = read.await.unwrap();
    promise(read != Some(2), || "2 was read, and never was there".to_owned());
    // The remove failed, and arrived after the reader: like a foreign one it is seen within the recheck.
    process.behind.finished().await;
    world.advance(RECHECK);
    let answered = process.get().await;
    promise(answered.is_none(), || {
        format!("{answered:?} is served, and outdated for longer than the recheck")
    });
    process.agrees().await;
}

#[test]
fn a_held_put_that_arrives_after_its_held_remove_is_refused_as_older() {
    holds(held_in_reversed_order);
}

#[test]
fn a_held_put_that_arrives_after_its_held_remove_is_caught_without_o1() {
    is_caught_without(Rule::O1, held_in_reversed_order);
}

// Rule O4, interleaving 5, beyond the horizon: nobody remembers the remove, but the put says when it was decided.
async fn very_late_put() {
    let world = World::default();
    let process = timed_out_put(&world).await;
    process.cache.remove(&KEY).await.unwrap();
    world.advance(BEYOND);
    let late = process.clone();
    let delivery = spawn(async move { late.courier.deliver().await });
    let answered = process.get().await;
    promise(answered.is_none(), || format!("{answered:?} was answered after its remove"));
    delivery.await.unwrap();
    let truth = world.number().await;
    promise(truth.is_none(), || format!("the truth took {truth:?}, a minute after the remove"));
    process.agrees().await;
}

#[test]
fn a_put_that_arrives_when_its_remove_is_forgotten_is_too_late() {
    holds(very_late_put);
}

#[test]
fn a_put_that_arrives_when_its_remove_is_forgotten_is_caught_without_o4() {
    is_caught_without(Rule::O4, very_late_put);
}

/// A load that takes so long that another process puts and removes the key meanwhile, and the truth forgets both.
async fn slow_load(world: World, forget: fn(&World), in_time: bool) {
    let (process, other) = (world.process(1, Duration::ZERO), world.process(2, Duration::ZERO));
    let source = Source::of(1);
    let (at_source, loader) = (source.clone(), process.clone());
    let load = spawn(async move { at_source.slowly_through(&loader).await });
    linger().await;
    source.set(2);
    other.cache.insert(KEY, 2).await.unwrap();
    source.set(3);
    other.cache.remove(&KEY).await.unwrap();
    forget(&world);
    let loaded = load.await.unwrap();
    promise(loaded.is_some() || !in_time, || "nothing stood in the loader's way".to_owned());
    process.behind.finished().await;
    // What began after the remove may be kept; it read the source then.
    let (memory, truth) = (process.in_memory(), world.number().await);
    promise(truth.is_none_or(|number| number == 3), || format!("the truth took {truth:?} after the remove"));
    let is_refused = memory.is_some_and(|number| process.far_wire.refused_fill(number));
    promise(!is_refused, || format!("{memory:?} was refused by the truth and kept in memory"));
}

// Rule O4, interleaving 6: the tombstone expires.
async fn load_outlives_tombstone() {
    slow_load(World::default(), |world| world.advance(BEYOND), false).await;
}

#[test]
fn a_load_slower_than_a_tombstone_lives_fills_nothing() {
    holds(load_outlives_tombstone);
}

#[test]
fn a_load_slower_than_a_tombstone_lives_is_caught_without_o4() {
    is_caught_without(Rule::O4, load_outlives_tombstone);
}

// Rules O4 and O2, interleaving 6: the tombstone is evicted, and only the lease of the miss can tell.
async fn load_over_evicted_tombstone() {
    slow_load(World::new(true), |world| world.truth.evict_tombstones(), true).await;
}

#[test]
fn a_load_under_which_a_tombstone_is_evicted_fills_nothing() {
    holds(load_over_evicted_tombstone);
}

#[test]
fn a_load_under_which_a_tombstone_is_evicted_is_caught_without_o2() {
    is_caught_without(Rule::O2, load_over_evicted_tombstone);
}
