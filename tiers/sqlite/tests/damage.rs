//! What damage does: misses and clear errors. Never a panic, never a wrong value.

mod common;

use std::fs;

use common::*;
use nanotier_sqlite::{OnDamage, SqliteStore};
use nanotier_tier::{Entry, ErrorKind, Intent, Path, Store, Write, Wrote};

const KEYS: usize = 100;

/// The bytes of a database with [`KEYS`] records, a tombstone and a cleared namespace; and its log, if it was not closed.
fn good_file(close: bool) -> (Vec<u8>, Option<Vec<u8>>) {
    let place = Place::new();
    let store = place.open();
    fill(&place, &store, KEYS);
    if close {
        store.close().unwrap();
        return (fs::read(place.file()).unwrap(), None);
    }
    let crashed = place.as_a_crash_leaves_it();
    (fs::read(crashed.file()).unwrap(), Some(fs::read(crashed.beside("-wal")).unwrap()))
}

/// Opens `bytes` and does everything with them. Says whether they opened.
fn survives(bytes: &[u8], log: Option<&[u8]>, on_damage: OnDamage, check: bool, what: &str) -> bool {
    let place = Place::new();
    fs::write(place.file(), bytes).unwrap();
    if let Some(log) = log {
        fs::write(place.beside("-wal"), log).unwrap();
    }
    let store = match place.try_open_with(|builder| builder.on_damage(on_damage).check_on_open(check)) {
        Ok(store) => store,
        Err(error) => {
            let expected = [ErrorKind::Corrupt, ErrorKind::Unsupported, ErrorKind::Storage];
            assert!(expected.contains(&error.kind()), "{what}: {error}");
            return false;
        }
    };
    use_everything(&place, &store, KEYS, what);
    true
}

#[test]
fn a_database_cut_at_any_length_is_refused_or_costs_misses_and_is_never_misread() {
    let (good, _) = good_file(true);
    let pages = (1..good.len() / 4096).step_by(2).map(|page| page * 4096);
    // SQLite takes a file of one byte for a new one.
    let odd = [2, 16, 99, 100, 101, 512, 4095, 4097];
    for len in pages.chain(odd) {
        let what = format!("cut at {len} of {}", good.len());
        survives(&good[..len], None, OnDamage::Error, false, &what);
        assert!(!survives(&good[..len], None, OnDamage::Error, true, &what), "{what}: overlooked");
        assert!(survives(&good[..len], None, OnDamage::StartCold, true, &what), "{what}: did not start cold");
    }
}

#[test]
fn a_log_cut_at_any_length_is_a_state_that_was_and_one_that_is_gone_is_not_believed() {
    let (database, log) = good_file(false);
    let log = log.unwrap();
    for len in (0..log.len()).step_by(log.len() / 40).chain([1, 31, 32, 33, log.len() - 1, log.len()]) {
        let place = Place::new();
        fs::write(place.file(), &database).unwrap();
        fs::write(place.beside("-wal"), &log[..len]).unwrap();
        let store = place.open();
        assert_eq!(store.believed_since(), place.now(), "cut at {len}: it was not closed");
        let there: Vec<bool> = (0..KEYS).map(|n| value(&store, &key(n)).is_some()).collect();
        let first_missing = there.iter().position(|there| !there).unwrap_or(KEYS);
        assert!(there[first_missing..].iter().all(|there| !there), "cut at {len}: all up to some moment");
        assert!(len < log.len() || first_missing == KEYS, "the whole log has it all");
    }
    let place = Place::new();
    fs::write(place.file(), &database).unwrap();
    assert_eq!(place.open().believed_since(), place.now(), "the mark is in the database itself");
}

#[test]
fn flipped_bytes_anywhere_cost_misses_or_errors_and_never_a_wrong_value() {
    for close in [true, false] {
        let (database, log) = good_file(close);
        let damaged = log.as_deref().unwrap_or(&database);
        // The header byte by byte, then a sample of all that holds anything.
        let used: Vec<usize> = (100..damaged.len()).filter(|at| damaged[*at] != 0).collect();
        let sample = used.iter().step_by(used.len() / 60).copied();
        let mut opened = 0;
        let offsets: Vec<usize> = (0..100).step_by(7).chain(sample).collect();
        for at in &offsets {
            let mut bad = damaged.to_vec();
            bad[*at] ^= 0x5a;
            let what = format!("byte {at} of {}, closed: {close}", damaged.len());
            let survived = match close {
                true => survives(&bad, None, OnDamage::Error, false, &what),
                false => survives(&database, Some(&bad), OnDamage::Error, false, &what),
            };
            opened += usize::from(survived);
        }
        assert!(opened > 0, "{opened} of {} opened", offsets.len());
    }
}

#[test]
fn whole_pages_of_garbage_cost_misses_or_errors_and_never_a_wrong_value() {
    let (good, _) = good_file(true);
    for page in 0..good.len() / 4096 {
        for garbage in [0xff, 0x00] {
            let mut bad = good.clone();
            bad[page * 4096..][..4096].fill(garbage);
            let what = format!("page {page} of {garbage:x}");
            survives(&bad, None, OnDamage::Error, false, &what);
            survives(&bad, None, OnDamage::StartCold, true, &format!("{what}, checked"));
        }
    }
}

/// A database in which one byte of a value was flipped.
fn with_a_flipped_value(n: usize) -> Place {
    let (mut bad, _) = good_file(true);
    let needle = value_of(n);
    let at = bad.windows(needle.len()).rposition(|window| window == needle).unwrap();
    bad[at] ^= 1;
    let place = Place::new();
    fs::write(place.file(), &bad).unwrap();
    place
}

#[test]
fn a_flipped_byte_of_a_value_is_a_miss_that_is_told_and_can_be_written_over() {
    let place = with_a_flipped_value(77);
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
fn a_damaged_row_is_swept_once_it_comes_due() {
    let place = Place::new();
    let store = place.open();
    assert_eq!(place.put(&store, "k", 5, b"whole"), Wrote::Done);
    let theirs = place.by_hand();
    theirs.execute("UPDATE nanotier_rows SET record = x'00', due = 1", []).unwrap();
    assert_eq!(entry(&store, "k"), Entry::Absent);
    assert_eq!(store.sweep().unwrap(), 1);
    let rows: i64 = theirs.query_row("SELECT count(*) FROM nanotier_rows", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 0);
}

#[test]
fn a_cold_start_moves_the_damaged_file_aside_and_deletes_nothing() {
    let place = Place::new();
    for n in 1..=3 {
        let garbage = format!("SQLite format 3 garbage {n}").repeat(1000);
        fs::write(place.file(), &garbage).unwrap();
        let error = SqliteStore::open(place.file()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert_eq!(fs::read_to_string(place.file()).unwrap(), garbage, "refusing touches nothing");

        let store = place.open_with(|builder| builder.on_damage(OnDamage::StartCold));
        assert_eq!(store.believed_since(), place.now());
        assert_eq!(place.put(&store, "k", 1, b"new"), Wrote::Done);
        drop(store);
        let aside = place.folder.path().join(format!("cache.db.damaged-{n}"));
        assert_eq!(fs::read_to_string(aside).unwrap(), garbage);
    }
    let store = place.open_with(|builder| builder.on_damage(OnDamage::StartCold));
    assert_eq!(value(&store, "k").unwrap(), b"new", "a whole file is kept");
}

#[test]
fn no_cold_start_moves_a_file_that_was_never_a_sqlite_database() {
    let place = Place::new();
    let theirs = "Dear diary, ".repeat(1000);
    fs::write(place.file(), &theirs).unwrap();
    let error = place.try_open_with(|builder| builder.on_damage(OnDamage::StartCold)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert_eq!(fs::read_to_string(place.file()).unwrap(), theirs);
}

#[test]
fn a_creation_cut_short_by_a_crash_is_begun_anew() {
    let place = Place::new();
    fs::write(place.file(), b"").unwrap();
    assert_eq!(place.put(&place.open(), "k", 1, b"works"), Wrote::Done);
    // Tables of this store, but not all of them: that was no crash, since they are made in one transaction.
    place.by_hand().execute_batch("DROP TABLE nanotier_floors").unwrap();
    let error = place.try_open_with(|builder| builder).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("missing"), "{error}");
}

#[test]
fn tables_that_vanish_while_the_store_is_open_are_an_error_of_each_call() {
    let place = Place::new();
    let store = place.open();
    assert_eq!(place.put(&store, "k", 1, b"x"), Wrote::Done);
    place.by_hand().execute_batch("DROP TABLE nanotier_rows").unwrap();
    let test = space("test");
    for _ in 0..2 {
        let read = store.read(&[Path::new(&test, &b"k"[..])], Intent::Look).unwrap().remove(0);
        assert_eq!(read.unwrap_err().kind(), ErrorKind::Corrupt);
        let wrote = write(&store, Write::put(Path::new(&test, &b"k"[..]), &place.record(2, b"y")));
        assert_eq!(wrote.unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn a_newer_layout_is_refused_and_left_alone() {
    let place = Place::new();
    drop(place.open());
    place.by_hand().execute("UPDATE nanotier_meta SET layout = 2", []).unwrap();
    let before = fs::read(place.file()).unwrap();
    let error = place.try_open_with(|builder| builder.on_damage(OnDamage::StartCold)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("layout 2"), "{error}");
    assert!(fs::read(place.file()).unwrap() == before);
    assert_eq!(fs::read_dir(place.folder.path()).unwrap().count(), 1, "no trace of the try");
}

#[test]
fn a_damaged_mark_of_a_clearing_is_an_error_of_its_namespace_until_that_is_cleared_again() {
    let place = Place::new();
    let (damaged, whole) = (space("damaged"), space("whole"));
    assert_eq!(place.clear(&place.open(), &damaged, 5), Wrote::Done);
    let garbage = "UPDATE nanotier_floors SET floor = x'6761' WHERE namespace = CAST('damaged' AS BLOB)";
    assert_eq!(place.by_hand().execute(garbage, []).unwrap(), 1);
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
