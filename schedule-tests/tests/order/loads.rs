//! Loads against writes, and loads whose callers leave.

use std::time::Duration;

use nanotier::{Bytes, Cache, Lookup};
use nanotier_schedule_tests::explore::{holds, is_caught_without, promise};
use nanotier_schedule_tests::wire::linger;
use nanotier_schedule_tests::world::{Behind, KEY, Source, World, begin_and_leave, path};
use nanotier_tier::rules::Rule;
use nanotier_tier::{Encoded, Fingerprint, Record, Tier, Version, Write};
use shuttle::future::spawn;

const AHEAD: Duration = Duration::from_secs(5);

// Rules O3 and O2, interleaving 3: another process puts while this one loads.
async fn fill_against_foreign_put() {
    let world = World::default();
    let (loader, writer) = (world.process(1, AHEAD), world.process(2, Duration::ZERO));
    let source = Source::of(1);
    let (at_source, process) = (source.clone(), loader.clone());
    let load = spawn(async move { at_source.through(&process).await });
    linger().await;
    source.set(2);
    writer.cache.insert(KEY, 2).await.unwrap();
    let loaded = load.await.unwrap();
    promise(loaded.is_some(), || "nothing stood in the loader's way".to_owned());
    loader.behind.finished().await;
    let (memory, near) = (loader.in_memory(), loader.in_near());
    for number in [memory, near].into_iter().flatten() {
        promise(!loader.far_wire.refused_fill(number), || {
            format!("{number} was refused by the truth and kept as a copy")
        });
    }
    let truth = world.number().await;
    promise(truth == Some(2), || format!("2 was put after its source held it; the truth holds {truth:?}"));
    writer.agrees().await;
}

#[test]
fn a_fill_that_the_truth_refused_is_kept_nowhere() {
    holds(fill_against_foreign_put);
}

#[test]
fn a_refused_fill_is_caught_without_o3() {
    is_caught_without(Rule::O3, fill_against_foreign_put);
}

#[test]
fn a_fill_never_replaces_what_was_put_while_it_was_loaded() {
    holds(fill_against_own_put);
}

#[test]
fn a_fill_over_a_put_is_caught_without_o2() {
    is_caught_without(Rule::O2, fill_against_foreign_put);
}

// Rule O2, interleaving 3, within one process.
async fn fill_against_own_put() {
    let world = World::default();
    let process = world.process(1, Duration::ZERO);
    let source = Source::of(1);
    let (at_source, loader) = (source.clone(), process.clone());
    let load = spawn(async move { at_source.through(&loader).await });
    linger().await;
    source.set(2);
    process.cache.insert(KEY, 2).await.unwrap();
    load.await.unwrap();
    let truth = world.number().await;
    promise(truth == Some(2), || format!("2 was put after its source held it; the truth holds {truth:?}"));
    process.agrees().await;
}

#[test]
fn a_fill_over_a_put_of_its_own_process_is_caught_without_o2() {
    is_caught_without(Rule::O2, fill_against_own_put);
}

// Rule O5, interleaving 4.
async fn load_begun_before_remove() {
    load_begun_before("remove", |cache| cache.remove(&KEY)).await;
}

/// A load is under way while `write`, called `name`, takes its value away.
async fn load_begun_before(name: &str, write: fn(&Cache<u32, u64>) -> Lookup<()>) {
    let world = World::default();
    let process = world.process(1, Duration::ZERO);
    let source = Source::of(1);
    let (at_source, loader) = (source.clone(), process.clone());
    let load = spawn(async move { at_source.slowly_through(&loader).await });
    linger().await;
    source.set(2);
    write(&process.cache).await.unwrap();
    let joined = source.through(&process).await;
    promise(joined == Some(2), || format!("{joined:?} was loaded before the {name} began"));
    load.await.unwrap();
    let again = source.through(&process).await;
    promise(again == Some(2), || format!("{again:?} came back after the {name}"));
    process.agrees().await;
}

#[test]
fn who_asks_after_a_remove_joins_no_load_that_began_before_it() {
    holds(load_begun_before_remove);
}

#[test]
fn a_load_begun_before_a_remove_is_caught_without_o5() {
    is_caught_without(Rule::O5, load_begun_before_remove);
}

// Rule O5, interleaving 4: nor a look that began while the remove was under way, and may have seen what it removed.
async fn look_begun_during_remove() {
    let world = World::default();
    let process = world.process(1, Duration::ZERO);
    process.cache.insert(KEY, 1).await.unwrap();
    process.cache.clear_memory();
    let reader = process.clone();
    let look = spawn(async move {
        linger().await;
        reader.get().await
    });
    process.cache.remove(&KEY).await.unwrap();
    let joined = process.get().await;
    promise(joined.is_none(), || format!("{joined:?} was read before the remove returned"));
    look.await.unwrap();
    let again = process.get().await;
    promise(again.is_none(), || format!("{again:?} came back after the remove"));
    process.agrees().await;
}

#[test]
fn who_asks_after_a_remove_joins_no_look_that_began_before_its_end() {
    holds(look_begun_during_remove);
}

#[test]
fn a_look_begun_during_a_remove_is_caught_without_o5() {
    is_caught_without(Rule::O5, look_begun_during_remove);
}

// Rule O5, interleaving 4, where memory is the truth.
async fn load_begun_before_remove_in_memory() {
    let behind = Behind::default();
    let (clock, _hands) = nanotier::Clock::manual();
    let cache: Cache<u32, u64> =
        Cache::builder().capacity(8).clock(clock).spawner(behind.clone()).seed(1).build().unwrap();
    let source = Source::of(1);
    let through = |source: Source| {
        let cache = cache.clone();
        async move { cache.get_with(&KEY, move || source.read_slowly()).await.unwrap() }
    };
    let load = spawn(through(source.clone()));
    linger().await;
    source.set(2);
    cache.remove(&KEY).await.unwrap();
    let joined = through(source.clone()).await;
    promise(joined == 2, || format!("{joined} was loaded before the remove began"));
    load.await.unwrap();
    let again = through(source).await;
    promise(again == 2, || format!("{again} came back after the remove"));
    behind.finished().await;
}

#[test]
fn in_memory_alone_who_asks_after_a_remove_joins_no_load_that_began_before_it() {
    holds(load_begun_before_remove_in_memory);
}

#[test]
fn in_memory_alone_a_load_begun_before_a_remove_is_caught_without_o5() {
    is_caught_without(Rule::O5, load_begun_before_remove_in_memory);
}

// Rules O5 and O2, interleaving 11; invalidation by tags belongs to a later issue.
async fn load_begun_before_clear() {
    load_begun_before("clearing", Cache::clear).await;
}

#[test]
fn who_asks_after_a_clear_joins_no_load_that_began_before_it() {
    holds(load_begun_before_clear);
}

#[test]
fn a_load_begun_before_a_clear_is_caught_without_o5() {
    is_caught_without(Rule::O5, load_begun_before_clear);
}

#[test]
fn a_load_begun_before_a_clear_is_caught_without_o2() {
    is_caught_without(Rule::O2, load_begun_before_clear);
}

// Not a rule of order: a load goes on though whoever began it has left.
async fn leader_leaves() {
    let world = World::default();
    let process = world.process(1, Duration::ZERO);
    let source = Source::of(1);
    let (at_source, follower) = (source.clone(), process.clone());
    let follower = spawn(async move { at_source.through(&follower).await });
    begin_and_leave(process.cache.get_with(&KEY, move || source.read()), 4).await;
    let followed = follower.await.unwrap();
    promise(followed == Some(1), || format!("the follower was answered {followed:?}"));
    process.agrees().await;
}

#[test]
fn a_load_is_finished_for_its_followers_though_its_leader_has_left() {
    holds(leader_leaves);
}

#[test]
fn a_leader_that_leaves_is_caught_without_flights_that_outlive_it() {
    is_caught_without(Rule::FlightsOutliveLeaders, leader_leaves);
}

// Not a rule of order: what does not decode is copied nowhere.
async fn unreadable_record() {
    let world = World::default();
    let process = world.process(1, Duration::ZERO);
    let value = Encoded::new(Bytes::from_static(b"no number"), Fingerprint(99));
    let record = Record { version: Version::from_parts(1, 9), ..Record::new(value, process.clock.wall()) };
    let foreign = world.truth.handle(process.clock.clone());
    assert_eq!(foreign.write_one(&Write::put(path(), &record)).await.unwrap(), nanotier_tier::Wrote::Done);
    let reader = process.clone();
    let read = spawn(async move { reader.get().await });
    let source = Source::of(2);
    let loaded = source.through(&process).await;
    let read = read.await.unwrap();
    process.behind.finished().await;
    promise(loaded == Some(2), || format!("the loader brought 2; {loaded:?} was answered"));
    promise(read.is_none() || read == Some(2), || format!("{read:?} was read"));
    promise(!process.near_wire.took_unreadable(), || "a record that does not decode was copied".to_owned());
    process.agrees().await;
}

#[test]
fn a_record_that_does_not_decode_is_copied_nowhere() {
    holds(unreadable_record);
}

#[test]
fn a_record_that_does_not_decode_is_caught_without_decoding_it_first() {
    is_caught_without(Rule::DecodeBeforePromote, unreadable_record);
}
