//! Tests with a disk that fails at every point in turn.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use nanotier_tier::{
    Clock, Context, Encoded, Entry, ErrorKind, Fingerprint, Intent, Namespace, Path, Record, Result, Store,
    Timestamp, Version, Write, Wrote,
};

use crate::disk::failing::{Failure, fail_after, fail_once_after, mend};
use crate::{Durability, FileStore, OnDamage};

const LATER: Duration = Duration::from_secs(3600);
const ASYNC: Durability = Durability::Async { loss_window: LATER };

struct Place {
    folder: tempfile::TempDir,
    clock: Clock,
    space: Namespace,
}

impl Place {
    fn new() -> Self {
        // In memory, where that can be had: flushes are counted here, not waited for.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        Self { folder, clock: Clock::manual().0, space: Namespace::new("test").unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    fn open(&self, durability: Durability) -> Result<FileStore> {
        let builder = FileStore::builder(self.path()).durability(durability).on_damage(OnDamage::StartCold);
        let store = builder.sweep_interval(LATER).segment_size(4096).build()?;
        store.attach(&Context::new(self.clock.clone(), 1));
        Ok(store)
    }

    /// A value of some length, so that segments fill up and are compacted.
    fn put(&self, store: &FileStore, n: u64) -> Result<Wrote> {
        let bytes = format!("{n:0900}").into_bytes();
        let value = Encoded::new(bytes, Fingerprint(0));
        let record = Record { version: Version::from_parts(n, 1), ..Record::new(value, self.clock.wall()) };
        store.write(&[Write::put(Path::new(&self.space, &b"k"[..]), &record)])?.remove(0)
    }

    fn try_value(&self, store: &FileStore) -> Result<u64> {
        let found = store.read(&[Path::new(&self.space, &b"k"[..])], Intent::Look)?.remove(0)?;
        let Entry::Present(record) = found.entry else { return Ok(0) };
        Ok(std::str::from_utf8(&record.value.bytes).unwrap().parse().unwrap())
    }

    fn value(&self, store: &FileStore) -> u64 {
        self.try_value(store).unwrap()
    }

    /// What the end of the process at this moment would leave.
    fn after_crash(&self) -> u64 {
        let crashed = Self::new();
        std::fs::create_dir(crashed.path()).unwrap();
        for entry in std::fs::read_dir(self.path()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), crashed.path().join(entry.file_name())).unwrap();
        }
        crashed.value(&crashed.open(Durability::Sync).unwrap())
    }

    fn damaged_files(&self) -> usize {
        let names = std::fs::read_dir(self.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().contains("damaged")).count()
    }
}

/// Puts again and again while the disk fails after 0, 1, 2 .. calls, at several fillings of the segment, until a put needs no more
/// calls than that.
fn fails_everywhere(durability: Durability, fail: fn(u32, Failure), failure: Failure, expected: ErrorKind) {
    let place = Place::new();
    let store = place.open(durability).unwrap();
    let mut last = 0;
    let mut most_calls = 0;
    for _ in 0..4 {
        last += 1;
        assert_eq!(place.put(&store, last).unwrap(), Wrote::Done);
        for calls in 0.. {
            if calls % 8 == 7 {
                store.flush().unwrap();
            }
            let next = last + 1;
            fail(calls, failure);
            let wrote = place.put(&store, next);
            mend();
            most_calls = most_calls.max(calls);
            let what = format!("put {next} after {calls} calls");
            match wrote {
                Ok(wrote) => {
                    assert_eq!(wrote, Wrote::Done);
                    assert_eq!(place.value(&store), next, "{what}");
                    assert_eq!(place.after_crash(), next, "{what}");
                    last = next;
                    // Tolerated, or not reached.
                    if calls > 32 {
                        break;
                    }
                    continue;
                }
                Err(error) => assert_eq!(error.kind(), expected, "{what}: {error}"),
            }
            // Done or not done, and the same from now on.
            let there = place.value(&store);
            assert!([last, next].contains(&there), "{what}: {there}");
            assert!(store.ready().is_ok());
            assert!([there, next].contains(&place.after_crash()), "{what}");
            last = next + 1;
            assert_eq!(place.put(&store, last).unwrap(), Wrote::Done, "usable after {what}");
            assert_eq!(place.after_crash(), last);
        }
    }
    assert!(most_calls > 32);
    assert_eq!(store.usage().unwrap().rows, 1);
    drop(store);
    let store = place.open(durability).unwrap();
    assert_eq!(place.value(&store), last);
    assert_eq!(store.believed_since(), Timestamp::ZERO, "nothing acknowledged was lost");
    assert_eq!(place.damaged_files(), 0);
}

#[test]
fn an_error_of_the_disk_at_any_point_of_a_put_is_an_error_and_the_store_goes_on() {
    fails_everywhere(Durability::Sync, fail_after, Failure::Error(io::ErrorKind::Other), ErrorKind::Storage);
}

#[test]
fn one_error_of_the_disk_at_any_point_of_a_put_is_an_error_and_the_store_goes_on() {
    fails_everywhere(
        Durability::Sync,
        fail_once_after,
        Failure::Error(io::ErrorKind::Other),
        ErrorKind::Storage,
    );
}

#[test]
fn one_error_of_the_disk_at_any_point_of_an_asynchronous_put_loses_nothing_either() {
    fails_everywhere(ASYNC, fail_once_after, Failure::Error(io::ErrorKind::Other), ErrorKind::Storage);
}

#[test]
fn a_full_disk_at_any_point_of_a_put_is_said_and_the_store_goes_on_when_there_is_room() {
    fails_everywhere(
        Durability::Sync,
        fail_after,
        Failure::Error(io::ErrorKind::StorageFull),
        ErrorKind::Full,
    );
}

#[test]
fn a_panic_at_any_point_of_a_put_is_an_error_and_the_store_goes_on() {
    fails_everywhere(Durability::Sync, fail_after, Failure::Panic, ErrorKind::Corrupt);
}

#[test]
fn what_a_failed_flush_leaves_in_doubt_is_written_once_more_and_not_lost() {
    for calls in 0..40 {
        let place = Place::new();
        let store = place.open(ASYNC).unwrap();
        assert_eq!(place.put(&store, 1).unwrap(), Wrote::Done);
        store.flush().unwrap();
        assert_eq!(place.put(&store, 2).unwrap(), Wrote::Done);
        let before = store.usage().unwrap();
        fail_once_after(calls, Failure::Error(io::ErrorKind::Other));
        let flushed = store.flush();
        mend();
        assert_eq!(place.value(&store), 2);
        let was_flush = flushed.is_err() && store.flush().is_ok();
        assert_eq!(place.value(&store), 2, "after {calls} calls");
        assert_eq!(place.after_crash(), 2);
        if was_flush && store.usage().unwrap().segments > before.segments {
            return;
        }
    }
    panic!("no failed flush led to a new segment");
}

#[test]
fn an_error_of_the_disk_at_any_point_of_opening_is_an_error_and_harms_nothing() {
    for durability in [Durability::Sync, ASYNC] {
        for closed in [true, false] {
            let place = Place::new();
            let store = place.open(durability).unwrap();
            assert_eq!(place.put(&store, 1).unwrap(), Wrote::Done);
            if closed {
                drop(store);
            } else {
                let crashed = Place::new();
                std::fs::remove_dir(crashed.path()).ok();
                // A handle that fails to close leaves its mark.
                fail_after(0, Failure::Error(io::ErrorKind::Other));
                drop(store);
                mend();
            }
            for calls in 0.. {
                fail_after(calls, Failure::Error(io::ErrorKind::Other));
                let opened = place.open(durability);
                fail_after(0, Failure::Error(io::ErrorKind::Other));
                let is_open = opened.is_ok();
                match opened {
                    Ok(store) => drop(store),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Storage, "after {calls} calls: {error}");
                    }
                }
                mend();
                if is_open {
                    assert!(calls > 5);
                    break;
                }
            }
            assert_eq!(place.value(&place.open(durability).unwrap()), 1);
            assert_eq!(place.damaged_files(), 0);
        }
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
fn an_error_of_the_disk_at_any_point_of_reading_or_closing_is_an_error_and_harms_nothing() {
    let place = Place::new();
    let store = place.open(Durability::Sync).unwrap();
    assert_eq!(place.put(&store, 1).unwrap(), Wrote::Done);
    for calls in 0..2 {
        fail_after(calls, Failure::Error(io::ErrorKind::Other));
        let read = place.try_value(&store);
        mend();
        assert_eq!(read.unwrap_err().kind(), ErrorKind::Storage);
        assert_eq!(place.value(&store), 1);
    }
    drop(store);
    for calls in 0.. {
        let store = place.open(Durability::Sync).unwrap();
        fail_after(calls, Failure::Error(io::ErrorKind::Other));
        let closed = store.close();
        mend();
        assert_eq!(store.ready().unwrap_err().kind(), ErrorKind::Closed);
        drop(store);
        assert_eq!(place.value(&place.open(Durability::Sync).unwrap()), 1);
        if closed.is_ok() {
            assert!(calls > 3);
            break;
        }
    }
}
