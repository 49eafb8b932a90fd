//! What a bounded store lets go of, and what it keeps. The table is the one of `docs/TIERS.md`.

mod common;

use std::collections::HashMap;
use std::time::Duration;

use common::*;
use nanotier_redb::{Builder, Durability, RedbStore};
use nanotier_tier::{
    Change, Entry, ErrorKind, Intent, Path, Renewal, Store, Tags, Updated, Write, Wrote, read_counter,
};
use redb::ReadableTable as _;

const BOUND: u64 = Builder::BYTES_MAX_MIN;
const LONG: usize = 4096;
const TOO_LONG: usize = 128 * 1024;

/// Bounded, and without waiting for the disk at each write.
fn bounded(builder: Builder) -> Builder {
    builder.bytes_max(BOUND).durability(Durability::Async { loss_window: Duration::from_secs(3600) })
}

/// Puts more than fits, all of it newer than what is there.
fn fill(place: &Place, store: &RedbStore) {
    for n in 0..3 * BOUND / LONG as u64 {
        place.hands.advance(Duration::from_millis(1));
        assert_eq!(place.put(store, &format!("filler {n}"), 1_000 + n, &[7; LONG]), Wrote::Done);
    }
    assert!(store.stats().evicted > 20, "the store was never full");
    assert!(store.file_stats().unwrap().row_bytes <= BOUND);
}

/// Leaves what the table calls so under "k", at version 10.
fn leave(place: &Place, row: &str) -> RedbStore {
    let store = place.open_with(bounded);
    let long = [5; LONG];
    match row {
        "usable" => assert_eq!(place.put(&store, "k", 10, &long), Wrote::Done),
        "usable, with an empty value and no tags" => assert_eq!(place.put(&store, "k", 10, b""), Wrote::Done),
        "usable, with tags alone" => {
            let test = space("test");
            let record =
                nanotier_tier::Record { tags: Tags::new(["a tag"]).unwrap(), ..place.record(10, b"") };
            assert_eq!(write(&store, Write::put(Path::new(&test, &b"k"[..]), &record)).unwrap(), Wrote::Done);
        }
        "expired" => {
            let test = space("test");
            let record = place.lasting(10, &long, Duration::from_millis(10));
            assert_eq!(write(&store, Write::put(Path::new(&test, &b"k"[..]), &record)).unwrap(), Wrote::Done);
        }
        "a blank" => {
            let test = space("test");
            let record = nanotier_tier::Record::blank(v(10), place.now());
            assert_eq!(write(&store, Write::put(Path::new(&test, &b"k"[..]), &record)).unwrap(), Wrote::Done);
        }
        "a tombstone" => assert_eq!(place.remove(&store, "k", 10), Wrote::Done),
        "a usable counter" => {
            let lifetime = Renewal::Fixed(None);
            let counted = place.update(&store, "k", 10, Change::Increment { by: 3, lifetime });
            assert!(matches!(counted, Ok(Updated::Counted { value: 3, .. })));
        }
        "usable, beside the entries" => {
            assert_eq!(place.put_in(&store, &space("test").beside("locks"), "k", 10, &long), Wrote::Done);
        }
        "of another secret" => {
            drop(store);
            let other = place.open_with(|builder| bounded(builder).secret([9; 16]));
            assert_eq!(place.put(&other, "k", 10, &long), Wrote::Done);
            drop(other);
            return place.open_with(bounded);
        }
        "damaged" => {
            assert_eq!(place.put(&store, "k", 10, &long), Wrote::Done);
            drop(store);
            let database = redb::Database::open(place.file()).unwrap();
            let transaction = database.begin_write().unwrap();
            {
                let rows: redb::TableDefinition<'_, &[u8], &[u8]> =
                    redb::TableDefinition::new("nanotier.records");
                let mut rows = transaction.open_table(rows).unwrap();
                let key = Path::new(&space("test"), &b"k"[..]).to_bytes();
                let mut bytes = rows.get(key.as_slice()).unwrap().unwrap().value().to_vec();
                bytes[200] ^= 1;
                rows.insert(key.as_slice(), bytes.as_slice()).unwrap();
            }
            transaction.commit().unwrap();
            drop(database);
            return place.open_with(bounded);
        }
        other => panic!("the table has a row that this test does not know: {other}"),
    }
    store
}

/// What the table says about a row once the store has been full.
fn look(place: &Place, store: RedbStore, row: &str) -> &'static str {
    let test = space("test");
    let (store, test) = match row {
        "of another secret" => {
            drop(store);
            (place.open_with(|builder| bounded(builder).secret([9; 16])), test)
        }
        "usable, beside the entries" => (store, test.beside("locks")),
        _ => (store, test),
    };
    let late = |version| {
        let record = place.record(version, b"late");
        write(&store, Write::put(Path::new(&test, &b"k"[..]), &record)).unwrap()
    };
    match found(&store, &test, "k").entry {
        Entry::Present(record) if record.freshness(place.now()) != nanotier_tier::Freshness::Expired => {
            match row {
                "a usable counter" => assert_eq!(read_counter(&record), Some(3)),
                "usable, with an empty value and no tags" => assert!(record.value.bytes.is_empty()),
                _ => assert_eq!(&record.value.bytes[..], [5; LONG]),
            }
            "stays"
        }
        Entry::Present(record) => {
            assert!(record.value.bytes.is_empty() && record.tags.is_empty());
            assert_eq!(record.version, v(10));
            assert_eq!(late(9), Wrote::Older(v(10)), "what is older comes back");
            match row {
                "a blank" => "stays",
                _ => "a blank",
            }
        }
        Entry::Removed(version) => {
            assert_eq!(version, v(10));
            assert_eq!(late(9), Wrote::Older(v(10)), "what is older comes back");
            "stays"
        }
        Entry::Absent => {
            assert_eq!(late(9), Wrote::Done, "nothing is known of it");
            "gone"
        }
    }
}

#[test]
fn each_row_leaves_as_the_table_says() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/TIERS.md")).unwrap();
    let section = page.split("### When a store is full").nth(1).unwrap();
    let rows = section.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let mut tested = 0;
    for line in rows.take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let (row, within, after) = (cells[1], cells[2], cells[3]);
        for (told, age) in [(within, Duration::from_secs(60)), (after, Duration::from_secs(660))] {
            let place = Place::new();
            let store = leave(&place, row);
            place.hands.advance(age);
            fill(&place, &store);
            assert_eq!(look(&place, store, row), told, "{row}, {age:?} later");
            tested += 1;
        }
    }
    assert!(tested >= 20, "the table was not found: {tested} cases");
}

#[test]
fn who_read_before_the_eviction_may_still_fill_and_a_reader_has_a_miss() {
    let place = Place::new();
    let store = place.open_with(bounded);
    assert_eq!(place.put(&store, "k", 10, &[5; LONG]), Wrote::Done);
    let seen = found(&store, &space("test"), "k").seen.unwrap();
    fill(&place, &store);
    assert!(found(&store, &space("test"), "k").usable(place.now()).is_none());
    let (test, record) = (space("test"), place.record(5_000, b"loaded"));
    let loaded = Write::fill(Path::new(&test, &b"k"[..]), &record, seen, place.now());
    assert_eq!(write(&store, loaded).unwrap(), Wrote::Done, "to leave is no write");
}

#[test]
fn expired_rows_leave_before_any_usable_one() {
    let place = Place::new();
    let store = place.open_with(bounded);
    let test = space("test");
    // The usable ones are older.
    for n in 0..4 {
        assert_eq!(place.put(&store, &format!("usable {n}"), 10 + n, &[5; 2 * LONG]), Wrote::Done);
    }
    place.hands.advance(Duration::from_millis(1));
    for n in 0..10_u64 {
        let record = place.lasting(100 + n, &[5; 2 * LONG], Duration::from_millis(10));
        let key = format!("expired {n}");
        assert_eq!(
            write(&store, Write::put(Path::new(&test, key.as_bytes()), &record)).unwrap(),
            Wrote::Done
        );
    }
    place.hands.advance(Duration::from_millis(20));
    for n in 0..10 {
        assert_eq!(place.put(&store, &format!("new {n}"), 1_000 + n, &[5; 2 * LONG]), Wrote::Done);
    }
    assert_eq!(store.stats().evicted, 0);
    assert!((0..4).all(|n| value(&store, &format!("usable {n}")).is_some()));
}

#[test]
fn a_record_larger_than_the_store_is_too_large_and_pushes_nothing_out() {
    let place = Place::new();
    let store = place.open_with(bounded);
    assert_eq!(place.put(&store, "k", 1, &[5; LONG]), Wrote::Done);
    let (test, record) = (space("test"), place.record(2, &vec![0; TOO_LONG]));
    let refused = write(&store, Write::put(Path::new(&test, &b"large"[..]), &record)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::TooLarge);
    assert!(refused.to_string().contains("larger than the whole store"), "{refused}");
    assert_eq!(value(&store, "k").unwrap(), [5; LONG]);
}

#[test]
fn a_store_full_of_marks_says_so_loses_none_and_takes_what_does_not_grow_it() {
    let place = Place::new();
    let store = place.open_with(bounded);
    let test = space("test");
    assert_eq!(place.put(&store, "k", 1, b"a value that is taken back later"), Wrote::Done);
    let mut marks = 0;
    let full = loop {
        let key = format!("{marks:08}");
        match write(&store, Write::remove(Path::new(&test, key.as_bytes()), v(10), place.now())) {
            Ok(wrote) => assert_eq!(wrote, Wrote::Done),
            Err(error) => break error,
        }
        marks += 1;
    };
    assert_eq!(full.kind(), ErrorKind::Full, "{full}");
    assert!(full.to_string().contains("within the horizon"), "{full}");
    assert!(marks > BOUND / 200, "{marks}");
    for n in 0..marks {
        assert_eq!(entry(&store, &format!("{n:08}")), Entry::Removed(v(10)));
    }
    assert_eq!(place.remove(&store, "k", 20), Wrote::Done, "a removal of what is there needs no room");
    assert_eq!(place.remove(&store, "00000000", 30), Wrote::Done);
    // When they have served their time there is room again.
    place.hands.advance(Builder::HORIZON_DEFAULT + Duration::from_secs(1));
    assert_eq!(place.put(&store, "new", 40, &[5; LONG]), Wrote::Done);
}

#[test]
fn counters_are_never_pushed_out() {
    let place = Place::new();
    let store = place.open_with(bounded);
    for n in 1..=100_u64 {
        let lifetime = Renewal::Fixed(None);
        let by = i64::try_from(n).unwrap();
        let counted = place.update(&store, &format!("count {n}"), n, Change::Increment { by, lifetime });
        assert!(matches!(counted, Ok(Updated::Counted { .. })));
    }
    place.hands.advance(Builder::HORIZON_DEFAULT * 2);
    fill(&place, &store);
    for n in 1..=100 {
        let record = entry(&store, &format!("count {n}"));
        assert_eq!(read_counter(record.record().unwrap()).unwrap(), n);
    }
}

#[test]
fn one_who_is_refused_for_want_of_room_does_not_take_others_along() {
    let place = Place::new();
    let store = place.open_with(bounded);
    let (test, large, small) = (space("test"), place.record(2, &vec![0; TOO_LONG]), place.record(3, b"v"));
    let both = [
        Write::put(Path::new(&test, &b"large"[..]), &large),
        Write::put(Path::new(&test, &b"small"[..]), &small),
    ];
    let wrote = store.write(&both).unwrap();
    assert_eq!(wrote[0].as_ref().unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(*wrote[1].as_ref().unwrap(), Wrote::Done);
    assert_eq!(value(&store, "small").unwrap(), b"v");
}

#[test]
fn the_size_is_exact_after_every_kind_of_write_and_after_opening_again() {
    let place = Place::new();
    let counted = |store: &RedbStore| {
        let size = store.file_stats().unwrap();
        let copy = Place::new();
        store.flush().unwrap();
        std::fs::copy(place.file(), copy.file()).unwrap();
        let database = redb::Database::open(copy.file()).unwrap();
        let rows: redb::TableDefinition<'_, &[u8], &[u8]> = redb::TableDefinition::new("nanotier.records");
        let rows = redb::ReadableDatabase::begin_read(&database).unwrap().open_table(rows).unwrap();
        let lens = rows.iter().unwrap().map(|row| {
            let (key, value) = row.unwrap();
            (key.value().len() + value.value().len()) as u64
        });
        let lens: Vec<u64> = lens.collect();
        assert_eq!((size.rows, size.row_bytes), (lens.len() as u64, lens.iter().sum()));
        size
    };
    let store = place.open();
    assert_eq!(counted(&store).row_bytes, 0);
    assert_eq!(place.put(&store, "a", 1, b"one"), Wrote::Done);
    assert_eq!(place.put(&store, "a", 2, b"longer than one"), Wrote::Done);
    assert_eq!(place.put(&store, "a", 3, b"s"), Wrote::Done);
    assert_eq!(place.put_in(&store, &space("other"), "b", 1, &[1; LONG]), Wrote::Done);
    assert_eq!(counted(&store).rows, 2);
    assert_eq!(place.remove(&store, "a", 4), Wrote::Done);
    assert_eq!(counted(&store).row_bytes, 6 + 100 + 7 + LONG as u64 + 100);
    assert_eq!(place.put(&store, "c", 1, b"refused"), Wrote::Done);
    assert_eq!(place.put(&store, "c", 1, b"refused"), Wrote::Done);
    counted(&store);
    assert_eq!(place.clear(&store, &space("other"), 9), Wrote::Done);
    counted(&store);
    drop(store);
    let store = place.open();
    assert_eq!(counted(&store).rows, 2);
    place.hands.advance(Builder::HORIZON_DEFAULT * 2);
    assert_eq!(store.sweep().unwrap(), 1);
    assert_eq!(counted(&store).rows, 1);
}

#[test]
fn a_store_opened_with_a_smaller_bound_shrinks_in_the_background() {
    let place = Place::new();
    let store = place.open_with(|builder| builder.bytes_max(1 << 20));
    let keys: Vec<String> = (0..200).map(|n| format!("k{n}")).collect();
    let (test, record) = (space("test"), place.record(1, &[5; LONG]));
    let writes: Vec<Write<'_>> =
        keys.iter().map(|key| Write::put(Path::new(&test, key.as_bytes()), &record)).collect();
    assert!(store.write(&writes).unwrap().iter().all(|wrote| *wrote.as_ref().unwrap() == Wrote::Done));
    assert!(store.file_stats().unwrap().row_bytes > 800_000);
    drop(store);
    let store = place.open_with(bounded);
    store.sweep().unwrap();
    let size = store.file_stats().unwrap();
    assert!(size.row_bytes <= BOUND, "{size:?}");
    assert!(size.row_bytes > BOUND / 2, "more left than had to: {size:?}");
}

/// How old those were that left, as a share of all that could have: 0.5 would be chance.
fn mean_rank(place: &Place, key_of: impl Fn(u64) -> String) -> f64 {
    let store = place.open_with(bounded);
    let test = space("test");
    let mut live: HashMap<String, u64> = HashMap::new();
    let (mut ranks, mut left) = (0.0, 0);
    for n in 0..900_u64 {
        place.hands.advance(Duration::from_secs(5));
        assert_eq!(place.put(&store, &key_of(n), 1 + n, &[5; 300]), Wrote::Done);
        live.insert(key_of(n), n);
        if n % 12 == 0 {
            store.sweep().unwrap();
        }
        if n % 20 != 0 {
            continue;
        }
        let keys: Vec<String> = live.keys().cloned().collect();
        let paths: Vec<Path<'_>> = keys.iter().map(|key| Path::new(&test, key.as_bytes())).collect();
        let found = store.read(&paths, Intent::Look).unwrap();
        let mut ages: Vec<u64> = live.values().copied().collect();
        ages.sort_unstable();
        for (key, found) in keys.iter().zip(found) {
            if found.unwrap().usable(place.now()).is_none() {
                let age = live.remove(key).unwrap();
                let younger = ages.len() - 1 - ages.binary_search(&age).unwrap();
                ranks += younger as f64 / (ages.len() - 1) as f64;
                left += 1;
            }
        }
    }
    assert!(left > 400, "{left}");
    ranks / f64::from(left)
}

#[test]
fn what_leaves_is_much_older_than_chance_would_have_it_however_keys_are_spread() {
    let scattered = |n: u64| format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let in_a_row = |n: u64| format!("user:{n:08}:profile");
    let uneven = |n: u64| match n % 50 {
        0 => format!("rare:{n}"),
        _ => format!("session/{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
    };
    for (name, rank) in [
        ("scattered", mean_rank(&Place::new(), scattered)),
        ("in a row", mean_rank(&Place::new(), in_a_row)),
        ("uneven", mean_rank(&Place::new(), uneven)),
    ] {
        println!("{name}: {rank:.3}");
        assert!(rank > 0.75, "{name}: {rank}");
    }
}

#[test]
fn a_bound_that_cannot_work_is_refused() {
    let place = Place::new();
    let refused = place.try_open_with(|builder| builder.bytes_max(Builder::BYTES_MAX_MIN - 1)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Config);
    assert!(!place.file().exists());
}
