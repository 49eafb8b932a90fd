//! What the store promises, beyond the contract that every tier keeps.

mod common;

use std::time::{Duration, Instant};

use common::*;
use nanotier_redb::{Builder, Durability, RedbStore};
use nanotier_tier::conformance::durable;
use nanotier_tier::{ErrorKind, Path, Scope, Store, Version, Write, Wrote};

nanotier_tier::durable_promises!(Redb, a_missing_folder_is_created_and_the_file_is_for_its_owner_alone,);

#[test]
fn an_asynchronous_write_is_on_disk_within_the_loss_window_and_after_a_flush_and_a_close() {
    let after_crash = |place: &Place| value(&place.as_a_crash_leaves_it().open(), "k");
    let loses =
        |window| move |builder: Builder| builder.durability(Durability::Async { loss_window: window });

    let place = Place::new();
    let store = place.open_with(loses(Duration::from_secs(3600)));
    assert_eq!(place.put(&store, "k", 1, b"one"), Wrote::Done);
    assert_eq!(value(&store, "k").unwrap(), b"one", "readers see it at once");
    assert_eq!(after_crash(&place), None, "acknowledged before it is on disk");
    store.flush().unwrap();
    assert_eq!(after_crash(&place).unwrap(), b"one");
    assert_eq!(place.put(&store, "k", 2, b"two"), Wrote::Done);
    assert_eq!(after_crash(&place).unwrap(), b"one", "what a crash leaves is the state of the last flush");
    drop(store);
    assert_eq!(after_crash(&place).unwrap(), b"two");

    let store = place.open_with(loses(Duration::from_millis(20)));
    assert_eq!(place.put(&store, "k", 3, b"three"), Wrote::Done);
    let start = Instant::now();
    // The put, and the background thread's flush.
    while store.stats().commits < 2 {
        assert!(start.elapsed() < Duration::from_secs(10), "the background thread flushes");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(after_crash(&place).unwrap(), b"three");
}

#[test]
fn threads_that_write_at_once_share_commits_and_each_is_answered_for_its_own() {
    durable::threads_that_write_at_once_share_commits_and_each_is_answered_for_its_own(&Place::new(), 2);
}

#[test]
fn a_second_owner_of_the_file_is_told_so_in_a_sentence() {
    let place = Place::new();
    let store = place.open();
    let error = RedbStore::open(place.file()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse);
    assert!(error.to_string().contains("one owner at a time"), "{error}");
    assert_eq!(place.put(&store, "k", 1, b"still works"), Wrote::Done);
    drop(store);
    place.open();
}

#[test]
fn options_that_cannot_work_are_refused_with_a_sentence() {
    durable::options_that_cannot_work_are_refused_with_a_sentence::<Redb>(
        &[(|builder| builder.cache_size(1000), "cache pages")],
        Scope::Process,
    );
    let folder = RedbStore::open(Place::new().folder.path()).unwrap_err();
    assert_eq!(folder.kind(), ErrorKind::Config);
}

#[test]
fn its_lineage_says_whether_anything_came_between_two_openings() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache.redb");
    let open = || RedbStore::open(&path).unwrap();
    let first = open();
    let lineage = first.lineage().unwrap();
    assert_eq!(lineage.unchanged_since, None, "a new file has no past");
    first.close().unwrap();
    assert_eq!(first.lineage().unwrap(), lineage, "said after closing too");

    let second = open();
    assert_eq!(second.lineage().unwrap().unchanged_since, Some(lineage.opening));
    assert_ne!(second.lineage().unwrap().opening, lineage.opening);
    // Anything written ends it, for whoever asks later.
    let namespace = space("test");
    let now = nanotier_tier::Clock::ticking().wall();
    let remove = Write::remove(Path::new(&namespace, &b"k"[..]), Version::from_parts(1 << 62, 1), now);
    assert!(matches!(second.write(&[remove]).unwrap()[0], Ok(Wrote::Done)));
    assert_eq!(second.lineage().unwrap().unchanged_since, None);
    let changed = second.lineage().unwrap().opening;
    second.close().unwrap();

    let third = open();
    assert_eq!(third.lineage().unwrap().unchanged_since, Some(changed));
    // A copy of the open file is what a crash leaves.
    let crashed = dir.path().join("crashed.redb");
    std::fs::copy(&path, &crashed).unwrap();
    assert_eq!(RedbStore::open(&crashed).unwrap().lineage().unwrap().unchanged_since, None);
}
