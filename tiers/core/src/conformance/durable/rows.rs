//! How rows are kept: whole, in order of versions, until their version has served its time.

use std::time::{Duration, Instant};

use super::Fixture;
use super::place::{MINUTE, Place, entry, found, space, v, value, value_in, write};
use crate::{
    Change, Cleared, Durability, Entry, ErrorKind, Guard, PageRequest, Path, Record, Store, Updated, Version,
    Write, Wrote,
};

/// Value, version, tags, deadlines and cost, also from disk.
pub fn a_record_comes_back_whole_before_and_after_the_store_is_opened_again<F: Fixture>() {
    let place = Place::<F>::new();
    let record = Record {
        tags: crate::Tags::new(["red", "blue"]).unwrap(),
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

/// What the end of the process at that moment leaves has it.
pub fn what_was_written_is_there_after_the_store_is_forgotten_without_being_closed<F: Fixture>() {
    let place = Place::<F>::new();
    let store = place.open();
    assert_eq!(place.put(&store, "k", 5, b"kept"), Wrote::Done);
    // A copy of the file is what a crash would leave: nothing that is still in memory is in it.
    let crashed = place.as_a_crash_leaves_it();
    assert_eq!(value(&crashed.open(), "k").unwrap(), b"kept");
}

/// For stores that hand it to the system at once, and flush later.
pub fn an_asynchronous_write_outlives_its_process_and_is_flushed_within_the_loss_window<F: Fixture>() {
    let loses = |window| move |builder| F::durability(builder, Durability::Async { loss_window: window });
    let place = Place::<F>::new();
    let store = place.open_with(loses(Duration::from_secs(3600)));
    assert_eq!(place.put(&store, "k", 1, b"one"), Wrote::Done);
    assert_eq!(value(&store, "k").unwrap(), b"one", "readers see it at once");
    assert_eq!(value(&place.as_a_crash_leaves_it().open(), "k").unwrap(), b"one", "so does who comes after");
    F::flush(&store).unwrap();
    drop(store);

    let store = place.open_with(loses(Duration::from_millis(20)));
    assert_eq!(place.put(&store, "k", 3, b"three"), Wrote::Done);
    let start = Instant::now();
    // The put, and the background thread's flush.
    while F::stats(&store).commits < 2 {
        assert!(start.elapsed() < Duration::from_secs(10), "the background thread flushes");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(value(&store, "k").unwrap(), b"three");
}

/// Nothing older comes in late.
pub fn a_tombstone_and_what_it_refuses_survive_opening_again<F: Fixture>() {
    let place = Place::<F>::new();
    let store = place.open();
    assert_eq!(place.put(&store, "k", 5, b"old"), Wrote::Done);
    assert_eq!(place.remove(&store, "k", 9), Wrote::Done);
    drop(store);
    let store = place.open();
    assert_eq!(entry(&store, "k"), Entry::Removed(v(9)));
    assert_eq!(place.put(&store, "k", 7, b"late"), Wrote::Older(v(9)));
    assert_eq!(place.put(&store, "k", 10, b"new"), Wrote::Done);
}

/// Puts that were late, and fills by what was seen before.
pub fn a_cleared_namespace_refuses_what_is_older_also_after_opening_again<F: Fixture>() {
    let place = Place::<F>::new();
    let store = place.open();
    let test = space("test");
    assert_eq!(place.put(&store, "k", 5, b"old"), Wrote::Done);
    let seen = found(&store, &test, "never").seen.unwrap();
    assert_eq!(place.clear(&store, &test, 9), Wrote::Done);
    let refuses = |store: &F::Store| {
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

/// Also not those whose names begin alike.
pub fn a_clearing_is_refused_by_what_is_newer_and_touches_its_own_namespace_only<F: Fixture>() {
    let place = Place::<F>::new();
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

/// One that is too large or too late costs no other.
pub fn writes_of_one_batch_are_judged_one_by_one_and_answered_in_order<F: Fixture>() {
    let place = Place::<F>::new();
    let store = place.open_with(|builder| F::value_len_max(builder, 100));
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
    let kinds: Vec<_> = wrote.iter().map(|wrote| wrote.as_ref().map_err(crate::Error::kind)).collect();
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

/// Not over what was put meanwhile.
pub fn a_fill_is_taken_only_over_what_was_seen<F: Fixture>() {
    let place = Place::<F>::new();
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

/// Neither do an update that finds nothing and a sweep that finds nothing.
pub fn what_was_only_refused_costs_no_commit<F: Fixture>() {
    let place = Place::<F>::new();
    let store = place.open();
    assert_eq!(place.put(&store, "k", 5, b"new"), Wrote::Done);
    let commits = F::stats(&store).commits;
    assert_eq!(place.put(&store, "k", 4, b"old"), Wrote::Older(v(5)));
    assert_eq!(place.update(&store, "none", 6, Change::Take).unwrap(), Updated::Taken(None));
    assert_eq!(F::sweep(&store).unwrap(), 0);
    assert_eq!(F::stats(&store).commits, commits);
}

/// By the clock that was attached.
pub fn expired_records_are_read_with_their_age_and_swept_only_past_the_horizon<F: Fixture>() {
    let place = Place::<F>::new();
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
    assert_eq!(F::sweep(&store).unwrap(), 0, "expired, and its version is still needed");
    assert_eq!(place.put(&store, "short", 4, b"late"), Wrote::Older(v(5)));

    place.hands.advance(8 * MINUTE);
    assert_eq!(F::sweep(&store).unwrap(), 0, "exactly at the horizon");
    assert_eq!(entry(&store, "removed"), Entry::Removed(v(5)));
    place.hands.advance(Duration::from_millis(1));
    assert_eq!(F::sweep(&store).unwrap(), 2);
    assert_eq!(entry(&store, "short"), Entry::Absent);
    assert_eq!(entry(&store, "removed"), Entry::Absent);
    assert_eq!(value(&store, "long").unwrap(), b"long");
    place.hands.advance(60 * MINUTE);
    assert_eq!(F::sweep(&store).unwrap(), 1);
    assert_eq!(value(&store, "for ever").unwrap(), b"for ever");
}

/// Not by the time that passes for the machine.
pub fn the_background_thread_sweeps_by_the_stores_clock_across_many_batches<F: Fixture>() {
    let place = Place::<F>::new();
    let store = place.open_with(|builder| F::sweep_interval(builder, Duration::from_millis(10)));
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

/// Its version is newer than that of what it replaces.
pub fn an_update_is_never_refused_as_older_and_its_version_is_kept<F: Fixture>() {
    let place = Place::<F>::new();
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

/// And of its own namespace.
pub fn a_listing_is_in_order_of_keys_in_pages_and_by_prefix<F: Fixture>() {
    let place = Place::<F>::new();
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

/// By the writer, where the moment is the same.
pub fn versions_are_total_so_two_writers_at_one_moment_are_ordered<F: Fixture>() {
    let place = Place::<F>::new();
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
