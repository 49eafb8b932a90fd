//! What damage does: misses and clear errors. Never a panic, never a wrong value.

mod common;

use std::fs;

use common::*;
use nanotier_redb::{OnDamage, RedbStore};
use nanotier_tier::{Entry, ErrorKind, Intent, Path, Store, Write, Wrote};

const KEYS: usize = 200;

/// The bytes of a file with [`KEYS`] records, a tombstone and a cleared namespace.
fn good_file(close: bool) -> Vec<u8> {
    let place = Place::new();
    let store = place.open();
    fill(&place, &store, KEYS);
    if close {
        store.close().unwrap();
    }
    fs::read(place.file()).unwrap()
}

/// Opens `bytes` and does everything with them. Says whether they opened.
fn survives(bytes: &[u8], on_damage: OnDamage, check: bool, what: &str) -> bool {
    let place = Place::new();
    fs::write(place.file(), bytes).unwrap();
    let store = match place.try_open_with(|builder| builder.on_damage(on_damage).check_on_open(check)) {
        Ok(store) => store,
        Err(error) => {
            let expected = [ErrorKind::Corrupt, ErrorKind::Unsupported];
            assert!(expected.contains(&error.kind()), "{what}: {error}");
            assert!(
                on_damage == OnDamage::Error || error.kind() == ErrorKind::Unsupported,
                "{what}: {error}"
            );
            return false;
        }
    };
    use_everything(&place, &store, KEYS, what);
    true
}

/// True if everything that [`good_file`] put is there.
fn opens_whole(bytes: &[u8]) -> bool {
    let place = Place::new();
    fs::write(place.file(), bytes).unwrap();
    is_whole(&place.open(), KEYS)
}

#[test]
fn a_file_cut_at_any_length_that_takes_anything_away_is_refused_and_never_misread() {
    for close in [true, false] {
        let good = good_file(close);
        let pages = (1..good.len() / 4096).step_by(37).map(|page| page * 4096);
        let odd = [
            1,
            8,
            9,
            10,
            64,
            319,
            320,
            321,
            4095,
            4097,
            good.len() / 2 + 1,
            good.len() - 4096,
            good.len() - 1,
        ];
        for len in pages.chain(odd) {
            let what = format!("cut at {len} of {}, closed: {close}", good.len());
            // What is cut off may have been free: then nothing is missed.
            let opens = survives(&good[..len], OnDamage::Error, false, &what);
            assert!(!opens || opens_whole(&good[..len]), "{what}: opened, and something is lost");
            if opens {
                continue;
            }
            assert!(survives(&good[..len], OnDamage::StartCold, false, &what), "{what}: did not start cold");
        }
    }
}

#[test]
fn flipped_bytes_anywhere_cost_misses_at_most() {
    for close in [true, false] {
        let good = good_file(close);
        // The header byte by byte, then a sample of every page that holds anything.
        let used: Vec<usize> = (320..good.len()).filter(|at| good[*at] != 0).collect();
        let sample = used.iter().step_by(used.len() / 120).copied();
        let mut opened = 0;
        let offsets: Vec<usize> = (0..320).step_by(5).chain(sample).collect();
        for at in &offsets {
            let mut bad = good.clone();
            bad[*at] ^= 0x5a;
            let what = format!("byte {at} of {}, closed: {close}", good.len());
            opened += usize::from(survives(&bad, OnDamage::Error, false, &what));
        }
        assert!(opened > 0 && opened < offsets.len(), "{opened} of {} opened", offsets.len());
    }
}

#[test]
fn whole_pages_of_garbage_cost_misses_at_most() {
    let good = good_file(true);
    let used = good.chunks(4096).enumerate().filter(|(_, page)| page.iter().any(|byte| *byte != 0));
    for (page, _) in used {
        for garbage in [0xff, 0x00] {
            let mut bad = good.clone();
            bad[page * 4096..][..4096].fill(garbage);
            let what = format!("page {page} of {garbage:x}");
            survives(&bad, OnDamage::Error, false, &what);
            survives(&bad, OnDamage::Error, true, &format!("{what}, checked"));
        }
    }
}

#[test]
fn check_on_open_finds_a_flipped_byte_that_a_plain_opening_overlooks() {
    let good = good_file(true);
    let needle = value_of(77);
    let at = good.windows(needle.len()).rposition(|window| window == needle).unwrap();
    let mut bad = good.clone();
    bad[at] ^= 1;
    let place = Place::new();
    fs::write(place.file(), &bad).unwrap();
    let error = place.try_open_with(|builder| builder.check_on_open(true)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    fs::write(place.file(), &good).unwrap();
    drop(place.open_with(|builder| builder.check_on_open(true)));

    fs::write(place.file(), &bad).unwrap();
    let store = place.open();
    assert_eq!(entry(&store, &key(77)), Entry::Absent, "the record's own checksum");
    assert_eq!(place.told().len(), 1);
    assert_eq!(
        place.put(&store, &key(77), 1, b"mended"),
        Wrote::Done,
        "what cannot be read counts for nothing"
    );
    assert_eq!(value(&store, &key(77)).unwrap(), b"mended");
}

#[test]
fn damaged_rows_are_swept() {
    let good = good_file(true);
    let needle = value_of(77);
    let at = good.windows(needle.len()).rposition(|window| window == needle).unwrap();
    let mut bad = good;
    bad[at] ^= 1;
    let place = Place::new();
    fs::write(place.file(), &bad).unwrap();
    let store = place.open();
    assert_eq!(store.sweep().unwrap(), 1);
    assert_eq!(entry(&store, &key(77)), Entry::Absent);
    assert_eq!(place.told(), [], "nothing unreadable is left to tell of");
}

#[test]
fn no_cold_start_moves_a_file_that_was_never_a_redb_database() {
    for theirs in ["Dear diary, ".repeat(1000), format!("SQLite format 3\0{}", "x".repeat(5000))] {
        let place = Place::new();
        fs::write(place.file(), &theirs).unwrap();
        let error = place.try_open_with(|builder| builder.on_damage(OnDamage::StartCold)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains("another program's file"), "{error}");
        assert_eq!(fs::read_to_string(place.file()).unwrap(), theirs);
    }
}

#[test]
fn a_cold_start_moves_the_damaged_file_aside_and_deletes_nothing() {
    let place = Place::new();
    for n in 1..=3 {
        let garbage = format!("redb\u{1a}\ngarbage {n}").repeat(1000);
        fs::write(place.file(), &garbage).unwrap();
        let error = RedbStore::open(place.file()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert_eq!(fs::read_to_string(place.file()).unwrap(), garbage, "refusing touches nothing");

        let store = place.open_with(|builder| builder.on_damage(OnDamage::StartCold));
        assert_eq!(store.believed_since(), place.now());
        assert_eq!(place.put(&store, "k", 1, b"new"), Wrote::Done);
        drop(store);
        let aside = place.folder.path().join(format!("cache.redb.damaged-{n}"));
        assert_eq!(fs::read_to_string(aside).unwrap(), garbage);
    }
    let store = place.open_with(|builder| builder.on_damage(OnDamage::StartCold));
    assert_eq!(value(&store, "k").unwrap(), b"new", "a whole file is kept");
}

#[test]
fn a_creation_cut_short_by_a_crash_is_begun_anew() {
    // redb sizes the file, writes its header without the mark it begins with, flushes, and writes the mark last.
    let place = Place::new();
    drop(place.open());
    let whole = fs::read(place.file()).unwrap();
    let mut header_only = vec![0; whole.len()];
    header_only[9..320].copy_from_slice(&whole[9..320]);
    for unfinished in [vec![], vec![0; 5], vec![0; whole.len()], header_only] {
        fs::write(place.file(), &unfinished).unwrap();
        let store = place.open();
        assert_eq!(place.put(&store, "k", 1, b"works"), Wrote::Done);
    }
    // But what holds anything is not touched, whatever it begins with.
    let mut headless = good_file(true);
    headless[..9].fill(0);
    fs::write(place.file(), &headless).unwrap();
    assert_eq!(place.try_open_with(|builder| builder).unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(fs::read(place.file()).unwrap() == headless);
}

#[test]
fn another_programs_database_is_refused_and_left_alone() {
    const TABLE: redb::TableDefinition<'_, u64, u64> = redb::TableDefinition::new("theirs");
    let place = Place::new();
    {
        let database = redb::Database::create(place.file()).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(TABLE).unwrap().insert(1, 2).unwrap();
        transaction.commit().unwrap();
    }
    let error = place.try_open_with(|builder| builder.on_damage(OnDamage::StartCold)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("another program's"), "{error}");
    assert!(place.file().exists());
}

#[test]
fn a_newer_layout_is_refused_and_left_alone() {
    const META: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("nanotier.meta");
    let place = Place::new();
    drop(place.open());
    {
        let database = redb::Database::create(place.file()).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(META).unwrap().insert("layout", 2).unwrap();
        transaction.commit().unwrap();
    }
    let error = place.try_open_with(|builder| builder.on_damage(OnDamage::StartCold)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("layout 2"), "{error}");
}

#[test]
fn a_damaged_mark_of_a_clearing_is_an_error_of_its_namespace_until_that_is_cleared_again() {
    const FLOORS: redb::TableDefinition<'_, &[u8], &[u8]> = redb::TableDefinition::new("nanotier.floors");
    let place = Place::new();
    let (damaged, whole) = (space("damaged"), space("whole"));
    assert_eq!(place.clear(&place.open(), &damaged, 5), Wrote::Done);
    {
        let database = redb::Database::create(place.file()).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(FLOORS).unwrap().insert(&b"damaged"[..], &b"garbage"[..]).unwrap();
        transaction.commit().unwrap();
    }
    let store = place.open();
    let record = place.record(9, b"x");
    let path = |space| Path::new(space, &b"k"[..]);
    let wrote =
        store.write(&[Write::put(path(&damaged), &record), Write::put(path(&whole), &record)]).unwrap();
    assert_eq!(wrote[0].as_ref().unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(*wrote[1].as_ref().unwrap(), Wrote::Done, "others do not suffer");
    let read = store.read(&[path(&damaged), path(&whole)], Intent::Look).unwrap();
    assert_eq!(read[0].as_ref().unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(read[1].is_ok());
    assert_eq!(place.clear(&store, &damaged, 7), Wrote::Done);
    assert_eq!(place.put_in(&store, &damaged, "k", 6, b"late"), Wrote::Older(v(7)));
    assert_eq!(place.put_in(&store, &damaged, "k", 9, b"x"), Wrote::Done);
}
