//! What the store promises, beyond the contract that every tier keeps.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use common::*;
use nanotier_file::{Builder, Durability, FileStore};
use nanotier_tier::{
    Change, Cleared, Encoded, Entry, ErrorKind, Expect, Fingerprint, Guard, Intent, PageRequest, Path,
    Record, Renewal, Scope, Store, Tier, Timestamp, Update, Updated, Version, Write, Wrote, read_counter,
};

#[test]
fn a_record_comes_back_whole_before_and_after_the_store_is_opened_again() {
    let place = Place::new();
    let record = Record {
        tags: nanotier_tier::Tags::new(["red", "blue"]).unwrap(),
        load_cost: Duration::from_millis(3),
        ..place.lasting(5, b"a value", MINUTE)
    };
    let store = place.open();
    let test = space("test");
    let path = Path::new(&test, &b"k"[..]);
    assert_eq!(write(&store, Write::put(path.borrowed(), &record)).unwrap(), Wrote::Done);
    assert_eq!(entry(&store, "k"), Entry::Present(record.clone()));
    store.close().unwrap();
    assert_eq!(entry(&place.open(), "k"), Entry::Present(record));
}

#[test]
fn what_was_written_is_there_after_the_store_is_forgotten_without_being_closed() {
    let place = Place::new();
    let store = place.open();
    assert_eq!(place.put(&store, "k", 5, b"kept"), Wrote::Done);
    // A copy of the file is what a crash would leave: nothing that is still in memory is in it.
    let crashed = Place::new();
    place.copy_to(&crashed);
    assert_eq!(value(&crashed.open(), "k").unwrap(), b"kept");
}

#[test]
fn an_asynchronous_write_survives_its_process_at_once_and_is_flushed_within_the_loss_window() {
    let loses =
        |window| move |builder: Builder| builder.durability(Durability::Async { loss_window: window });
    let place = Place::new();
    let store = place.open_with(loses(Duration::from_secs(3600)));
    assert_eq!(place.put(&store, "k", 1, b"one"), Wrote::Done);
    assert_eq!(value(&store, "k").unwrap(), b"one", "readers see it at once");
    let crashed = Place::new();
    place.copy_to(&crashed);
    assert_eq!(value(&crashed.open(), "k").unwrap(), b"one");
    store.flush().unwrap();
    drop(store);

    let store = place.open_with(loses(Duration::from_millis(20)));
    assert_eq!(place.put(&store, "k", 3, b"three"), Wrote::Done);
    let start = Instant::now();
    // The put, and the background thread's flush.
    while store.stats().commits < 2 {
        assert!(start.elapsed() < Duration::from_secs(10), "the background thread flushes");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(value(&store, "k").unwrap(), b"three");
}

#[test]
fn a_tombstone_and_what_it_refuses_survive_opening_again() {
    let place = Place::new();
    let store = place.open();
    assert_eq!(place.put(&store, "k", 5, b"old"), Wrote::Done);
    assert_eq!(place.remove(&store, "k", 9), Wrote::Done);
    drop(store);
    let store = place.open();
    assert_eq!(entry(&store, "k"), Entry::Removed(v(9)));
    assert_eq!(place.put(&store, "k", 7, b"late"), Wrote::Older(v(9)));
    assert_eq!(place.put(&store, "k", 10, b"new"), Wrote::Done);
}

#[test]
fn a_cleared_namespace_refuses_what_is_older_also_after_opening_again() {
    let place = Place::new();
    let store = place.open();
    let test = space("test");
    assert_eq!(place.put(&store, "k", 5, b"old"), Wrote::Done);
    let seen = found(&store, &test, "never").seen.unwrap();
    assert_eq!(place.clear(&store, &test, 9), Wrote::Done);
    let refuses = |store: &FileStore| {
        assert_eq!(entry(store, "k"), Entry::Removed(v(9)));
        assert_eq!(entry(store, "never"), Entry::Removed(v(9)));
        assert_eq!(place.put(store, "k", 7, b"late"), Wrote::Older(v(9)));
        let record = place.record(12, b"loaded before the clearing");
        let fill = Write::fill(Path::new(&test, &b"never"[..]), &record, seen, place.now());
        assert_eq!(write(store, fill).unwrap(), Wrote::Changed);
    };
    refuses(&store);
    drop(store);
    let store = place.open();
    refuses(&store);
    assert_eq!(place.put(&store, "k", 10, b"new"), Wrote::Done);
}

#[test]
fn a_clearing_is_refused_by_what_is_newer_and_touches_its_own_namespace_only() {
    let place = Place::new();
    let store = place.open();
    let names = ["app", "app/a", "app:", "a", "b"].map(space);
    let beside = names[0].beside("locks");
    for space in names.iter().chain([&beside]) {
        assert_eq!(place.put_in(&store, space, "k", 5, space.as_str().as_bytes()), Wrote::Done);
        assert_eq!(place.put_in(&store, space, "", 5, b"the empty key"), Wrote::Done);
        assert_eq!(place.put_in(&store, space, "\u{ff}\u{ff}", 5, b"the last key"), Wrote::Done);
    }
    assert_eq!(place.clear(&store, &names[0], 5), Wrote::Older(v(5)));
    assert_eq!(place.clear(&store, &names[0], 4), Wrote::Older(v(5)));
    assert_eq!(value_in(&store, &names[0], "k").unwrap(), b"app");
    assert_eq!(place.clear(&store, &names[0], 6), Wrote::Done);
    assert_eq!(place.clear(&store, &names[0], 6), Wrote::Older(v(6)), "a clearing is no newer than itself");
    for key in ["k", "", "\u{ff}\u{ff}"] {
        assert_eq!(found(&store, &names[0], key).entry, Entry::Removed(v(6)));
    }
    for space in names[1..].iter().chain([&beside]) {
        assert_eq!(value_in(&store, space, "k").unwrap(), space.as_str().as_bytes(), "{space}");
        assert_eq!(store.list(space, &PageRequest::default()).unwrap().entries.len(), 3);
    }
    place.hands.advance(11 * MINUTE);
    let late = Cleared { namespace: &names[1], version: v(9), as_of: place.now().minus(11 * MINUTE) };
    assert_eq!(store.clear(&late).unwrap(), Wrote::TooLate);
}

#[test]
fn writes_of_one_batch_are_judged_one_by_one_and_answered_in_order() {
    let place = Place::new();
    let store = place.open_with(|builder| builder.value_len_max(100));
    let test = space("test");
    let (newer, older) = (place.record(9, b"newer"), place.record(8, b"older"));
    let huge = place.record(9, &[1; 101]);
    let path = |key: &'static str| Path::new(&test, key.as_bytes());
    let too_late = Write { as_of: place.now().minus(11 * MINUTE), ..Write::put(path("c"), &newer) };
    let writes = [
        Write::put(path("a"), &newer),
        Write::put(path("a"), &older),
        Write::put(path("b"), &huge),
        too_late,
        Write::put(path("d"), &older),
        Write::put(path("d"), &older),
    ];
    let wrote = store.write(&writes).unwrap();
    let kinds: Vec<_> =
        wrote.iter().map(|wrote| wrote.as_ref().map_err(nanotier_tier::Error::kind)).collect();
    let expected = [
        Ok(&Wrote::Done),
        Ok(&Wrote::Older(v(9))),
        Err(ErrorKind::TooLarge),
        Ok(&Wrote::TooLate),
        Ok(&Wrote::Done),
        Ok(&Wrote::Done),
    ];
    assert_eq!(kinds, expected);
    assert_eq!(value(&store, "a").unwrap(), b"newer");
    assert_eq!(entry(&store, "b"), Entry::Absent);
    let long = vec![b'k'; Path::KEY_LEN_MAX + 1];
    let error = write(&store, Write::put(Path::new(&test, long), &newer)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let longest = vec![b'k'; Path::KEY_LEN_MAX];
    assert_eq!(write(&store, Write::put(Path::new(&test, longest), &newer)).unwrap(), Wrote::Done);
    assert_eq!(store.capabilities().value_len_max, 100);
}

#[test]
fn a_fill_is_taken_only_over_what_was_seen() {
    let place = Place::new();
    let store = place.open();
    let test = space("test");
    let seen = found(&store, &test, "k").seen.unwrap();
    let record = place.record(5, b"loaded");
    let path = Path::new(&test, &b"k"[..]);
    let fill = Write { guard: Guard::Unchanged(seen), ..Write::put(path, &record) };
    assert_eq!(place.put(&store, "k", 3, b"put meanwhile"), Wrote::Done);
    assert_eq!(write(&store, fill.clone()).unwrap(), Wrote::Changed);
    let seen = found(&store, &test, "k").seen.unwrap();
    assert_eq!(write(&store, Write { guard: Guard::Unchanged(seen), ..fill }).unwrap(), Wrote::Done);
    assert_eq!(value(&store, "k").unwrap(), b"loaded");
}

#[test]
fn threads_that_write_at_once_share_commits_and_each_is_answered_for_its_own() {
    const THREADS: u64 = 16;
    const EACH: u64 = 50;
    // On a disk: where a flush takes no time, nobody waits for another's.
    let place = Place { folder: tempfile::tempdir().unwrap(), ..Place::new() };
    let store = place.open();
    let before = store.stats();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (place, store) = (&place, &store);
            scope.spawn(move || {
                for n in 1..=EACH {
                    let (own, value) = (format!("own {thread}"), format!("{thread} {n}"));
                    assert_eq!(place.put(store, &own, n, value.as_bytes()), Wrote::Done);
                    assert_eq!(
                        common::value(store, &own).unwrap(),
                        value.as_bytes(),
                        "seen once acknowledged"
                    );
                    assert_eq!(place.put(store, &own, n - 1, b"older"), Wrote::Older(v(n)));
                }
            });
        }
    });
    let after = store.stats();
    let (commits, writes) = (after.commits - before.commits, after.writes - before.writes);
    assert!(writes >= THREADS * EACH);
    assert!(commits < THREADS * EACH, "{commits} commits for {} puts", THREADS * EACH);
}

#[test]
fn what_was_only_refused_costs_no_commit() {
    let place = Place::new();
    let store = place.open();
    assert_eq!(place.put(&store, "k", 5, b"new"), Wrote::Done);
    let commits = store.stats().commits;
    assert_eq!(place.put(&store, "k", 4, b"old"), Wrote::Older(v(5)));
    assert_eq!(place.update(&store, "none", 6, Change::Take).unwrap(), Updated::Taken(None));
    assert_eq!(store.sweep().unwrap(), 0);
    assert_eq!(store.stats().commits, commits);
}

#[test]
fn expired_records_are_read_with_their_age_and_swept_only_past_the_horizon() {
    let place = Place::new();
    let store = place.open();
    let test = space("test");
    let path = |key: &'static str| Path::new(&test, key.as_bytes());
    let put =
        |record: &Record, key| assert_eq!(write(&store, Write::put(path(key), record)).unwrap(), Wrote::Done);
    put(&place.lasting(5, b"short", MINUTE), "short");
    put(&place.lasting(5, b"long", 60 * MINUTE), "long");
    put(&place.record(5, b"for ever"), "for ever");
    assert_eq!(place.remove(&store, "removed", 5), Wrote::Done);

    place.hands.advance(2 * MINUTE);
    assert!(matches!(entry(&store, "short"), Entry::Present(_)), "whoever reads judges its age");
    assert_eq!(
        store.list(&test, &PageRequest::default()).unwrap().entries.len(),
        2,
        "expired and removed are not listed"
    );
    assert_eq!(store.sweep().unwrap(), 0, "expired, and its version is still needed");
    assert_eq!(place.put(&store, "short", 4, b"late"), Wrote::Older(v(5)));

    place.hands.advance(8 * MINUTE);
    assert_eq!(store.sweep().unwrap(), 0, "exactly at the horizon");
    assert_eq!(entry(&store, "removed"), Entry::Removed(v(5)));
    place.hands.advance(Duration::from_millis(1));
    assert_eq!(store.sweep().unwrap(), 2);
    assert_eq!(entry(&store, "short"), Entry::Absent);
    assert_eq!(entry(&store, "removed"), Entry::Absent);
    assert_eq!(value(&store, "long").unwrap(), b"long");
    place.hands.advance(60 * MINUTE);
    assert_eq!(store.sweep().unwrap(), 1);
    assert_eq!(value(&store, "for ever").unwrap(), b"for ever");
}

#[test]
fn the_background_thread_sweeps_by_the_stores_clock_across_many_batches() {
    let place = Place::new();
    let store = place.open_with(|builder| builder.sweep_interval(Duration::from_millis(10)));
    let test = space("test");
    let record = place.lasting(5, &[7; 3000], MINUTE);
    let keys: Vec<String> = (0..1_000).map(|n| format!("{n:04}")).collect();
    let writes: Vec<_> =
        keys.iter().map(|key| Write::put(Path::new(&test, key.as_bytes()), &record)).collect();
    assert!(store.write(&writes).unwrap().iter().all(|wrote| matches!(wrote, Ok(Wrote::Done))));
    std::thread::sleep(Duration::from_millis(60));
    assert!(keys.iter().all(|key| matches!(entry(&store, key), Entry::Present(_))), "the clock stands still");
    assert_eq!(place.put(&store, "kept", 5, b"kept"), Wrote::Done);
    place.hands.advance(11 * MINUTE);
    let start = Instant::now();
    while !keys.iter().all(|key| entry(&store, key) == Entry::Absent) {
        assert!(start.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(value(&store, "kept").unwrap(), b"kept");
}

#[test]
fn of_all_who_add_or_take_at_once_one_wins_and_counters_are_exact() {
    const THREADS: usize = 8;
    let place = Place::new();
    let store = place.open();
    let (added, taken, replaced, removed) =
        (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let barrier = Barrier::new(THREADS);
    let each = |thread: usize| {
        let mine = || place.record(1, format!("{thread}").as_bytes());
        let expect = || Expect::Value("start".into());
        let count = |counter: &AtomicUsize, won: bool| counter.fetch_add(usize::from(won), SeqCst);
        barrier.wait();
        let updated = place.update(&store, "add", 1, Change::Add(mine())).unwrap();
        count(&added, matches!(updated, Updated::Done(_)));
        let updated = place.update(&store, "take", 1, Change::Take).unwrap();
        count(&taken, matches!(updated, Updated::Taken(Some(_))));
        let replace = Change::Replace { record: mine(), expect: expect() };
        count(&replaced, matches!(place.update(&store, "replace", 1, replace).unwrap(), Updated::Done(_)));
        let remove = Change::RemoveIf(expect());
        count(&removed, matches!(place.update(&store, "remove", 1, remove).unwrap(), Updated::Done(_)));
        for _ in 0..25 {
            let by = Change::Increment { by: 1, lifetime: Renewal::Fixed(None) };
            assert!(matches!(place.update(&store, "count", 1, by).unwrap(), Updated::Counted { .. }));
        }
    };
    for key in ["take", "replace", "remove"] {
        assert_eq!(place.put(&store, key, 1, b"start"), Wrote::Done);
    }
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let each = &each;
            scope.spawn(move || each(thread));
        }
    });
    let winners = [&added, &taken, &replaced, &removed].map(|counter| counter.load(SeqCst));
    assert_eq!(winners, [1, 1, 1, 1]);
    let counter = entry(&store, "count").record().cloned().unwrap();
    assert_eq!(read_counter(&counter), Some(25 * THREADS as i64));
    assert!(matches!(entry(&store, "take"), Entry::Removed(_)));

    let overflow = Change::Increment { by: i64::MAX, lifetime: Renewal::Fixed(None) };
    assert_eq!(place.update(&store, "count", 1, overflow).unwrap_err().kind(), ErrorKind::Overflow);
    let no_number = Change::Increment { by: 1, lifetime: Renewal::Fixed(None) };
    assert_eq!(place.update(&store, "add", 1, no_number).unwrap_err().kind(), ErrorKind::NotANumber);
    let test = space("test");
    let late = Update {
        path: Path::new(&test, &b"count"[..]),
        change: Change::Take,
        version: v(1),
        as_of: place.now().minus(11 * MINUTE),
    };
    assert_eq!(store.update(&late).unwrap(), Updated::TooLate);
    assert_eq!(place.update(&store, "any", 1, Change::Now).unwrap(), Updated::Now(place.now()));
}

#[test]
fn an_update_is_never_refused_as_older_and_its_version_is_kept() {
    let place = Place::new();
    let store = place.open();
    assert_eq!(place.remove(&store, "k", 100), Wrote::Done);
    let Updated::Done(version) = place.update(&store, "k", 1, Change::Add(place.record(1, b"x"))).unwrap()
    else {
        panic!("added over a tombstone")
    };
    assert!(version > v(100));
    drop(store);
    assert_eq!(entry(&place.open(), "k").version(), Some(version));
}

#[test]
fn a_listing_is_in_order_of_keys_in_pages_and_by_prefix() {
    let place = Place::new();
    let store = place.open();
    let test = space("test");
    let keys: Vec<String> = (0..25).map(|n| format!("key {n:02}")).chain(["other".into()]).collect();
    for key in &keys {
        assert_eq!(place.put(&store, key, 5, key.as_bytes()), Wrote::Done);
    }
    assert_eq!(place.put_in(&store, &space("tesu"), "key 99", 5, b""), Wrote::Done);
    let mut request = PageRequest { prefix: b"key".to_vec(), limit: 10, ..PageRequest::default() };
    let mut sizes = Vec::new();
    let mut listed = Vec::new();
    loop {
        let page = store.list(&test, &request).unwrap();
        sizes.push(page.entries.len());
        listed.extend(page.entries.iter().map(|listed| String::from_utf8(listed.key.clone()).unwrap()));
        request.after = page.next;
        if request.after.is_none() {
            break;
        }
    }
    assert_eq!(sizes, [10, 10, 5]);
    assert_eq!(listed, keys[..25]);
    let page = store.list(&test, &PageRequest::default()).unwrap();
    assert_eq!(page.entries.len(), 26);
    assert_eq!(page.entries[0].value_len, 6);
    let after = |after: &str| PageRequest { after: Some(after.into()), ..PageRequest::default() };
    assert_eq!(store.list(&test, &after("other")).unwrap().entries, []);
    assert_eq!(store.list(&test, &after("\u{ff}\u{ff}")).unwrap().entries, []);
    assert_eq!(store.list(&space("none"), &PageRequest::default()).unwrap().entries, []);
}

#[test]
fn a_closed_store_says_so_and_closing_twice_is_closing_once() {
    let place = Place::new();
    let store = place.open();
    assert_eq!(place.put(&store, "k", 1, b"x"), Wrote::Done);
    assert!(store.ready().is_ok());
    store.close().unwrap();
    store.close().unwrap();
    let test = space("test");
    let path = Path::new(&test, &b"k"[..]);
    let record = place.record(5, b"");
    let update = Update { path: path.clone(), change: Change::Take, version: v(9), as_of: place.now() };
    let cleared = Cleared { namespace: &test, version: v(9), as_of: place.now() };
    let errors = [
        store.read(std::slice::from_ref(&path), Intent::Look).map(drop).unwrap_err(),
        store.write(&[Write::put(path.clone(), &record)]).map(drop).unwrap_err(),
        store.write(&[]).map(drop).unwrap_err(),
        store.update(&update).map(drop).unwrap_err(),
        store.clear(&cleared).map(drop).unwrap_err(),
        store.list(&test, &PageRequest::default()).map(drop).unwrap_err(),
        store.sweep().map(drop).unwrap_err(),
        store.flush().unwrap_err(),
        store.ready().unwrap_err(),
    ];
    assert!(errors.iter().all(|error| error.kind() == ErrorKind::Closed), "{errors:?}");
    assert_eq!(value(&place.open(), "k").unwrap(), b"x", "it is still there");
}

#[test]
fn closing_while_others_write_answers_each_of_them_and_loses_nothing_acknowledged() {
    let place = Place::new();
    let store = Arc::new(place.open());
    let acknowledged = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|thread| {
                let (place, store) = (&place, &store);
                scope.spawn(move || {
                    let test = space("test");
                    for n in 1.. {
                        let (key, record) = (format!("{thread} {n}"), place.record(n, b"x"));
                        match write(store, Write::put(Path::new(&test, key.as_bytes()), &record)) {
                            Ok(wrote) => assert_eq!(wrote, Wrote::Done),
                            Err(error) => {
                                assert_eq!(error.kind(), ErrorKind::Closed);
                                return (thread, n);
                            }
                        }
                    }
                    unreachable!()
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(30));
        store.close().unwrap();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect::<Vec<_>>()
    });
    let store = place.open();
    assert_eq!(store.believed_since(), Timestamp::ZERO);
    for (thread, refused) in acknowledged {
        for n in 1..refused {
            assert!(value(&store, &format!("{thread} {n}")).is_some(), "thread {thread}, write {n}");
        }
        assert_eq!(value(&store, &format!("{thread} {refused}")), None);
    }
}

#[test]
fn a_store_that_was_not_closed_is_believed_from_its_opening_on() {
    let place = Place::new();
    let store = place.open();
    assert_eq!(store.believed_since(), Timestamp::ZERO, "new: it can have missed nothing");
    let crashed = Place::new();
    place.copy_to(&crashed);
    drop(store);
    assert_eq!(place.open().believed_since(), Timestamp::ZERO, "dropped is closed");

    crashed.hands.advance(5 * MINUTE);
    let store = crashed.open();
    let opened_at = crashed.now();
    crashed.hands.advance(MINUTE);
    assert_eq!(store.believed_since(), opened_at);
    store.close().unwrap();
    assert_eq!(
        crashed.open().believed_since(),
        opened_at,
        "closing properly does not make up for what was missed before"
    );
}

#[test]
fn records_of_another_secret_are_absent_and_told_and_can_be_written_over() {
    let place = Place::new();
    let store = place.open_with(|builder| builder.secret([1; 16]));
    assert_eq!(place.put(&store, "k", 50, b"of secret 1"), Wrote::Done);
    drop(store);
    let store = place.open_with(|builder| builder.secret([2; 16]));
    assert_eq!(entry(&store, "k"), Entry::Absent);
    assert_eq!(place.told.0.lock().unwrap().len(), 1);
    assert_eq!(store.list(&space("test"), &PageRequest::default()).unwrap().entries, []);
    place.hands.advance(20 * MINUTE);
    assert_eq!(store.sweep().unwrap(), 0, "a mistaken secret empties nothing");
    drop(store);
    let store = place.open_with(|builder| builder.secret([1; 16]));
    assert_eq!(value(&store, "k").unwrap(), b"of secret 1");
    drop(store);
    let store = place.open_with(|builder| builder.secret([2; 16]));
    assert_eq!(
        place.put(&store, "k", 5, b"of secret 2"),
        Wrote::Done,
        "what cannot be read counts for nothing"
    );
    assert_eq!(value(&store, "k").unwrap(), b"of secret 2");
}

#[test]
fn an_observer_may_use_the_store_it_is_told_about() {
    struct Nosy(std::sync::OnceLock<std::sync::Weak<FileStore>>);
    impl nanotier_tier::Observer for Nosy {
        fn event(&self, _: &nanotier_tier::Event) {
            let store = self.0.get().and_then(std::sync::Weak::upgrade).unwrap();
            let test = space("test");
            let value = Encoded::new("mended", Fingerprint(0));
            let record =
                Record { version: v(9), ..Record::new(value, Timestamp::from_millis(1_000_000_000_000)) };
            assert_eq!(write(&store, Write::put(Path::new(&test, &b"k"[..]), &record)).unwrap(), Wrote::Done);
        }
    }
    let place = Place::new();
    drop({
        let store = place.open();
        assert_eq!(place.put(&store, "k", 5, b"x"), Wrote::Done);
        store
    });
    let nosy = Arc::new(Nosy(std::sync::OnceLock::new()));
    let store = Arc::new(FileStore::builder(place.file()).secret([3; 16]).build().unwrap());
    nosy.0.set(Arc::downgrade(&store)).unwrap();
    store.attach(&nanotier_tier::Context::new(place.clock.clone(), 1).with_observer(nosy));
    assert_eq!(entry(&store, "k"), Entry::Absent);
    assert_eq!(value(&store, "k").unwrap(), b"mended");
}

#[test]
fn options_that_cannot_work_are_refused_with_a_sentence() {
    let place = Place::new();
    let loses = |ms| Durability::Async { loss_window: Duration::from_millis(ms) };
    type Change = fn(Builder) -> Builder;
    let refused: [(Change, &str); 8] = [
        (|builder| builder.durability(Durability::Volatile), "volatile"),
        (|builder| builder.horizon(Duration::ZERO), "horizon"),
        (|builder| builder.sweep_interval(Duration::ZERO), "interval of sweeps"),
        (|builder| builder.segment_size(1000), "a segment has"),
        (|builder| builder.bytes_max(1000), "bounded to"),
        (|builder| builder.value_len_max(0), "largest value"),
        (|builder| builder.value_len_max(usize::MAX), "largest value"),
        (|builder| builder.durability(Durability::Async { loss_window: Duration::ZERO }), "loss window"),
    ];
    for (change, word) in refused {
        let error = place.try_open_with(change).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(word), "{error}");
    }
    assert!(!place.file().exists(), "nothing was touched");
    assert_eq!(FileStore::open("").unwrap_err().kind(), ErrorKind::Config);

    let store = place.open_with(|builder| builder.durability(loses(50)).horizon(MINUTE));
    let capabilities = Tier::capabilities(&store.inline());
    assert_eq!(capabilities.scope, Scope::Host);
    assert_eq!(capabilities.durability, loses(50));
    assert_eq!(capabilities.horizon, MINUTE);
    assert!(
        capabilities.updates
            && capabilities.lists
            && capabilities.embedded
            && !capabilities.may_evict_tombstones
    );
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_written_to_is_an_error_of_storage_with_a_sentence() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    let folder = place.folder.path().join("sealed");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o500)).unwrap();
    // Root may write anywhere but where the kernel itself says no.
    let is_root = std::fs::File::create(folder.join("probe")).is_ok();
    let folder = if is_root { std::path::PathBuf::from("/proc/self") } else { folder };
    if !folder.exists() {
        return;
    }
    let error = FileStore::open(folder.join("cache")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
    assert!(is_root || error.to_string().contains("must be writable"), "{error}");
}

#[test]
fn versions_are_total_so_two_writers_at_one_moment_are_ordered() {
    let place = Place::new();
    let store = place.open();
    let test = space("test");
    let put = |writer| {
        let record = Record { version: Version::from_parts(5, writer), ..place.record(0, &[1]) };
        write(&store, Write::put(Path::new(&test, &b"k"[..]), &record)).unwrap()
    };
    assert_eq!(put(2), Wrote::Done);
    assert_eq!(put(1), Wrote::Older(Version::from_parts(5, 2)));
    assert_eq!(put(3), Wrote::Done);
}

#[test]
fn a_bounded_store_lets_the_oldest_leave_also_after_compaction_and_opening_again_and_keeps_their_versions() {
    const MAX: u64 = 128 * 1024;
    let place = Place::new();
    let bounded = |builder: Builder| builder.bytes_max(MAX).segment_size(16 * 1024);
    let mut store = place.open_with(bounded);
    for n in 1..600 {
        place.hands.advance(Duration::from_millis(1));
        assert_eq!(place.put(&store, &format!("key {n}"), n, &[7; 1000]), Wrote::Done);
        assert!(store.usage().unwrap().row_bytes <= MAX);
        if n % 150 == 0 {
            store.compact().unwrap();
            drop(store);
            store = place.open_with(bounded);
        }
    }
    let is_there = |n: u64| value(&store, &format!("key {n}")).is_some();
    let oldest = (1..600).find(|n| is_there(*n)).unwrap();
    assert!((oldest..600).all(is_there), "what was taken later than any that stayed, stays");
    assert!(oldest < 570, "{oldest}");
    assert_eq!(place.put(&store, "key 500", 499, b"late"), Wrote::Older(v(500)));
}
