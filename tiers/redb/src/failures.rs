//! Tests with a disk that fails at every point in turn.

use std::io;
use std::sync::Arc;

use nanotier_tier::{
    Clock, Context, Encoded, ErrorKind, Fingerprint, Intent, Namespace, Path, Record, Result, Store,
    Timestamp, Version, Write, Wrote,
};

use crate::disk::failing::{Failure, fail_after, mend};
use crate::{Durability, OnDamage, RedbStore};

struct Place {
    folder: tempfile::TempDir,
    clock: Clock,
    space: Namespace,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, clock: Clock::manual().0, space: Namespace::new("test").unwrap() }
    }

    fn open(&self, durability: Durability) -> Result<RedbStore> {
        let file = self.folder.path().join("cache.redb");
        let store = RedbStore::builder(file).durability(durability).on_damage(OnDamage::StartCold).build()?;
        store.attach(&Context::new(self.clock.clone(), 1));
        Ok(store)
    }

    fn put(&self, store: &RedbStore, n: u64) -> Result<Wrote> {
        let value = Encoded::new(n.to_string(), Fingerprint(0));
        let record = Record { version: Version::from_parts(n, 1), ..Record::new(value, self.clock.wall()) };
        store.write(&[Write::put(Path::new(&self.space, &b"k"[..]), &record)])?.remove(0)
    }

    fn value(&self, store: &RedbStore) -> u64 {
        let found =
            store.read(&[Path::new(&self.space, &b"k"[..])], Intent::Look).unwrap().remove(0).unwrap();
        let record = found.entry.record().unwrap();
        std::str::from_utf8(&record.value.bytes).unwrap().parse().unwrap()
    }

    /// What a crash at this moment would leave, without what is only in memory.
    fn after_crash(&self) -> u64 {
        let crashed = Self::new();
        let name = |place: &Self| place.folder.path().join("cache.redb");
        std::fs::copy(name(self), name(&crashed)).unwrap();
        crashed.value(&crashed.open(Durability::Sync).unwrap())
    }

    fn damaged_files(&self) -> usize {
        let names = std::fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().contains("damaged")).count()
    }
}

/// Puts again and again while the disk fails after 0, 1, 2 .. calls, until a put needs no more calls than that.
fn fails_everywhere(failure: Failure, expected: ErrorKind) {
    let place = Place::new();
    let store = place.open(Durability::Sync).unwrap();
    assert_eq!(place.put(&store, 1).unwrap(), Wrote::Done);
    assert_eq!(store.believed_since(), Timestamp::ZERO);
    let mut last = 1;
    for calls in 0.. {
        let next = last + 1;
        fail_after(calls, failure);
        let wrote = place.put(&store, next);
        mend();
        match wrote {
            Ok(wrote) => {
                assert_eq!(wrote, Wrote::Done);
                assert_eq!(place.value(&store), next);
                assert!(calls >= 3, "a durable put is some writes and a flush: it failed {calls} times");
                break;
            }
            Err(error) => assert_eq!(error.kind(), expected, "after {calls} calls: {error}"),
        }
        // Done or not done, and the same from now on.
        let there = place.value(&store);
        assert!([last, next].contains(&there), "after {calls} calls: {there}");
        assert_eq!(store.believed_since(), place.clock.wall(), "something may have been missed");
        assert!(store.ready().is_ok());
        last = next + 1;
        assert_eq!(place.put(&store, last).unwrap(), Wrote::Done, "usable after {calls} calls");
        assert_eq!(place.after_crash(), last);
    }
    drop(store);
    assert_eq!(place.damaged_files(), 0);
}

#[test]
fn an_error_of_the_disk_at_any_point_of_a_put_is_an_error_and_the_store_goes_on() {
    fails_everywhere(Failure::Error(io::ErrorKind::Other), ErrorKind::Storage);
}

#[test]
fn a_full_disk_at_any_point_of_a_put_is_said_and_the_store_goes_on_when_there_is_room() {
    fails_everywhere(Failure::Error(io::ErrorKind::StorageFull), ErrorKind::Full);
}

#[test]
fn a_panic_at_any_point_of_a_put_is_an_error_and_the_store_goes_on() {
    fails_everywhere(Failure::Panic, ErrorKind::Corrupt);
}

#[test]
fn an_asynchronous_put_lost_to_a_failed_flush_is_distrusted_and_the_store_goes_on() {
    let place = Place::new();
    let loss_window = std::time::Duration::from_secs(3600);
    let store = place.open(Durability::Async { loss_window }).unwrap();
    assert_eq!(place.put(&store, 1).unwrap(), Wrote::Done);
    store.flush().unwrap();
    assert_eq!(place.put(&store, 2).unwrap(), Wrote::Done);
    fail_after(0, Failure::Error(io::ErrorKind::Other));
    let flushed = store.flush();
    mend();
    assert_eq!(flushed.unwrap_err().kind(), ErrorKind::Storage);
    let there = place.value(&store);
    assert!([1, 2].contains(&there));
    assert_eq!(store.believed_since(), place.clock.wall());
    assert_eq!(place.put(&store, 3).unwrap(), Wrote::Done);
    drop(store);
    assert_eq!(place.value(&place.open(Durability::Sync).unwrap()), 3);
}

#[test]
fn while_the_disk_stays_broken_every_call_says_why_and_none_of_them_hangs() {
    let place = Place::new();
    let store = Arc::new(place.open(Durability::Sync).unwrap());
    assert_eq!(place.put(&store, 1).unwrap(), Wrote::Done);
    fail_after(0, Failure::Error(io::ErrorKind::Other));
    for _ in 0..3 {
        assert_eq!(place.put(&store, 2).unwrap_err().kind(), ErrorKind::Storage);
        assert_eq!(store.ready().unwrap_err().kind(), ErrorKind::Storage);
        let read = store.read(&[Path::new(&place.space, &b"k"[..])], Intent::Look);
        assert_eq!(read.map(drop).unwrap_err().kind(), ErrorKind::Storage);
    }
    let closed = store.close();
    mend();
    assert!(closed.is_err());
    assert_eq!(store.ready().unwrap_err().kind(), ErrorKind::Closed);
    let store = place.open(Durability::Sync).unwrap();
    assert!(store.believed_since() > Timestamp::ZERO, "it was not closed properly");
    assert!([1, 2].contains(&place.value(&store)));
    assert_eq!(place.damaged_files(), 0, "a broken disk is no damaged file");
}

#[test]
fn an_error_of_the_disk_at_any_point_of_opening_is_an_error_and_harms_nothing() {
    for durability in [Durability::Sync, Durability::Async { loss_window: std::time::Duration::from_secs(1) }]
    {
        let place = Place::new();
        let store = place.open(durability).unwrap();
        assert_eq!(place.put(&store, 1).unwrap(), Wrote::Done);
        drop(store);
        for calls in 0.. {
            fail_after(calls, Failure::Error(io::ErrorKind::Other));
            let opened = place.open(durability);
            mend();
            match opened {
                Ok(_) => break,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Storage, "after {calls} calls: {error}"),
            }
        }
        assert_eq!(place.value(&place.open(durability).unwrap()), 1);
        assert_eq!(place.damaged_files(), 0);
    }
}

#[test]
fn a_creation_that_failed_at_any_point_can_be_tried_again() {
    for calls in 0.. {
        let place = Place::new();
        fail_after(calls, Failure::Error(io::ErrorKind::StorageFull));
        let opened = place.open(Durability::Sync);
        mend();
        if opened.is_ok() {
            break;
        }
        let store = place.open(Durability::Sync).unwrap();
        assert_eq!(place.put(&store, 1).unwrap(), Wrote::Done);
        assert_eq!(place.damaged_files(), 0, "after {calls} calls");
    }
}

#[test]
fn a_disk_that_fails_at_any_point_of_compaction_loses_nothing_and_the_store_goes_on() {
    for failure in [Failure::Error(io::ErrorKind::Other), Failure::Panic] {
        let place = Place::new();
        let store = place.open(Durability::Sync).unwrap();
        let keys: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        let mut failed = 0;
        for version in 1.. {
            // Something to move each time: every second row becomes a mark.
            let value = Encoded::new(vec![7; 6_000], Fingerprint(0));
            let record =
                Record { version: Version::from_parts(version, 1), ..Record::new(value, place.clock.wall()) };
            let writes: Vec<Write<'_>> = keys
                .iter()
                .enumerate()
                .map(|(index, key)| {
                    let path = Path::new(&place.space, key.as_bytes());
                    match index % 2 {
                        0 => Write::put(path, &record),
                        _ => Write::remove(path, record.version, record.written_at),
                    }
                })
                .collect();
            assert!(store.write(&writes).unwrap().into_iter().all(|wrote| wrote.unwrap() == Wrote::Done));
            fail_after(failed, failure);
            let compacted = store.compact();
            mend();
            let paths: Vec<Path<'_>> =
                keys.iter().map(|key| Path::new(&place.space, key.as_bytes())).collect();
            for (index, found) in store.read(&paths, Intent::Look).unwrap().into_iter().enumerate() {
                let found = found.unwrap();
                assert_eq!(found.entry.version(), Some(record.version), "after {failed} calls");
                let value = found.entry.record().map(|record| record.value.clone());
                assert_eq!(value.is_some(), index % 2 == 0, "after {failed} calls");
                assert!(value.is_none_or(|found| found == record.value));
            }
            if compacted.is_ok() {
                break;
            }
            failed += 1;
        }
        assert!(failed > 3, "compaction writes: it failed {failed} times");
        assert_eq!(place.damaged_files(), 0);
    }
}
