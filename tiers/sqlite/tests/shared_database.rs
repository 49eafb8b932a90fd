//! A database that others use, too: their tables are left alone, whatever happens.

mod common;

use std::time::{Duration, Instant};

use common::*;
use nanotier_sqlite::{Builder, OnDamage, SqliteStore};
use nanotier_tier::{Entry, ErrorKind, PageRequest, Store, Wrote};

/// Tables of another program, one of them with a name that begins as ours do.
const THEIRS: &str = "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT);
    INSERT INTO users VALUES (1, 'Ada'), (2, 'Grace');
    CREATE TABLE nanotier_rows_of_theirs (x);
    INSERT INTO nanotier_rows_of_theirs VALUES (7);
    CREATE VIEW names AS SELECT name FROM users;
    PRAGMA user_version = 42; PRAGMA application_id = 4711;";

/// Everything that is not ours, as text.
fn theirs(place: &Place) -> Vec<String> {
    let connection = place.by_hand();
    let ask = |sql: &str| {
        let mut ask = connection.prepare(sql).unwrap();
        let rows = ask.query_map([], |row| row.get::<_, String>(0)).unwrap();
        rows.collect::<Result<Vec<_>, _>>().unwrap()
    };
    let mut all = ask("SELECT group_concat(id || name) FROM users");
    all.extend(ask("SELECT CAST(x AS TEXT) FROM nanotier_rows_of_theirs"));
    all.extend(ask("SELECT name FROM names ORDER BY name"));
    for pragma in ["user_version", "application_id"] {
        all.push(
            connection
                .query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, i64>(0))
                .unwrap()
                .to_string(),
        );
    }
    all
}

fn their_database(mode: &str) -> Place {
    let place = Place::new();
    place.by_hand().execute_batch(&format!("PRAGMA journal_mode = {mode}; {THEIRS}")).unwrap();
    place
}

#[test]
fn tables_of_others_survive_writing_clearing_sweeping_and_evicting() {
    let place = their_database("WAL");
    let before = theirs(&place);
    let store = place.open_with(|builder| builder.bytes_max(Builder::BYTES_MAX_MIN));
    let test = space("test");
    for n in 0..200 {
        let _ = write(
            &store,
            nanotier_tier::Write::put(
                nanotier_tier::Path::new(&test, format!("{n}").as_bytes()),
                &place.record(5, &[7; 1000]),
            ),
        );
    }
    assert_eq!(place.remove(&store, "1", 9), Wrote::Done);
    assert_eq!(place.clear(&store, &test, 20), Wrote::Done);
    place.hands.advance(60 * MINUTE);
    store.sweep().unwrap();
    store.close().unwrap();
    assert_eq!(theirs(&place), before);
}

#[test]
fn a_database_of_others_without_a_write_ahead_log_is_refused_unless_it_may_be_converted() {
    let place = their_database("DELETE");
    let before = theirs(&place);
    let error = place.try_open_with(|builder| builder.on_damage(OnDamage::StartCold)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("convert_to_wal"), "{error}");
    let mode = |place: &Place| {
        place.by_hand().query_row("PRAGMA journal_mode", [], |row| row.get::<_, String>(0)).unwrap()
    };
    assert_eq!(mode(&place), "delete");
    let store = place.open_with(|builder| builder.convert_to_wal(true));
    assert_eq!(place.put(&store, "k", 1, b"x"), Wrote::Done);
    drop(store);
    assert_eq!(mode(&place), "wal");
    assert_eq!(theirs(&place), before);
    assert_eq!(value(&place.open(), "k").unwrap(), b"x", "from now on without being asked");
}

#[test]
fn no_cold_start_takes_tables_of_others_with_it() {
    let place = their_database("WAL");
    let store = place.open();
    assert_eq!(place.put(&store, "k", 1, b"x"), Wrote::Done);
    drop(store);
    place.by_hand().execute_batch("DROP TABLE nanotier_meta").unwrap();
    let before = theirs(&place);
    let error = place.try_open_with(|builder| builder.on_damage(OnDamage::StartCold)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("others have tables in it"), "{error}");
    assert_eq!(theirs(&place), before);
}

#[test]
fn no_cold_start_moves_a_database_that_another_store_has_open() {
    let place = Place::new();
    let other = place.open();
    assert_eq!(place.put(&other, "k", 1, b"x"), Wrote::Done);
    place.by_hand().execute_batch("DROP TABLE nanotier_openers").unwrap();
    let error = place.try_open_with(|builder| builder.on_damage(OnDamage::StartCold)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("other stores have it open"), "{error}");
    assert_eq!(value(&other, "k").unwrap(), b"x");
    let _ = other.close();
    let store = place.open_with(|builder| builder.on_damage(OnDamage::StartCold));
    assert_eq!(entry(&store, "k"), Entry::Absent);
    assert!(place.beside(".damaged-1").exists());
}

#[test]
fn stores_with_tables_of_their_own_share_a_database_and_nothing_else() {
    let place = Place::new();
    let (red, blue) = (place.open_with(|b| b.tables("red")), place.open_with(|b| b.tables("blue")));
    assert_eq!(place.put(&red, "k", 5, b"red"), Wrote::Done);
    assert_eq!(entry(&blue, "k"), Entry::Absent);
    assert_eq!(place.put(&blue, "k", 3, b"blue"), Wrote::Done);
    assert_eq!(place.clear(&blue, &space("test"), 9), Wrote::Done);
    assert_eq!(value(&red, "k").unwrap(), b"red");
    assert_eq!(red.list(&space("test"), &PageRequest::default()).unwrap().entries.len(), 1);
}

#[test]
fn a_name_that_tables_cannot_begin_with_is_refused_and_never_runs() {
    let place = their_database("WAL");
    let before = theirs(&place);
    let long = "x".repeat(49);
    for name in
        ["", "1", "a b", "users\"; DROP TABLE users; --", "a\"b", "a'b", "sqlite_x", "\u{e4}", "a\0", &long]
    {
        let error = place.try_open_with(|builder| builder.tables(name)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidName, "{name:?}");
    }
    // Words of SQL are names like any other, since they are quoted.
    for name in ["select", "Table", "_", &"x".repeat(48)] {
        assert_eq!(place.put(&place.open_with(|b| b.tables(name)), "k", 1, b"x"), Wrote::Done, "{name}");
    }
    assert_eq!(theirs(&place), before);
}

#[test]
fn keys_and_namespaces_of_any_bytes_are_themselves_and_no_others() {
    let place = Place::new();
    let store = place.open();
    let spaces = ["a", "a:", "a:b", "A", "a%", "a_b", "a-b", "a/b", "a."]
        .iter()
        .filter_map(|name| nanotier_tier::Namespace::new(name).ok());
    let spaces: Vec<_> = spaces.flat_map(|space| [space.beside("locks"), space]).collect();
    let keys: Vec<Vec<u8>> = (0..=255_u8)
        .map(|byte| vec![byte])
        .chain(
            [
                "",
                "%",
                "_",
                "*",
                "'",
                "\"",
                "\0",
                "\r\n",
                "..",
                "a:b",
                "'; DROP TABLE nanotier_rows; --",
                "x'00'",
            ]
            .map(|key| key.as_bytes().to_vec()),
        )
        .chain([vec![0; 3], vec![0; 4], vec![0xff; 3], vec![0xff; 300], b"\xc3\x28".to_vec()])
        .collect();
    let distinct: std::collections::BTreeSet<_> = keys.iter().cloned().collect();
    for (nth, space) in spaces.iter().enumerate() {
        let records: Vec<_> = distinct
            .iter()
            .map(|key| place.record(5, &[&[u8::try_from(nth).unwrap()], key.as_slice()].concat()))
            .collect();
        let writes: Vec<_> = distinct
            .iter()
            .zip(&records)
            .map(|(key, record)| {
                nanotier_tier::Write::put(nanotier_tier::Path::new(space, key.as_slice()), record)
            })
            .collect();
        assert!(store.write(&writes).unwrap().iter().all(|wrote| matches!(wrote, Ok(Wrote::Done))));
    }
    for (nth, space) in spaces.iter().enumerate() {
        let paths: Vec<_> =
            distinct.iter().map(|key| nanotier_tier::Path::new(space, key.as_slice())).collect();
        for (key, found) in distinct.iter().zip(store.read(&paths, nanotier_tier::Intent::Look).unwrap()) {
            let expected = [&[u8::try_from(nth).unwrap()], key.as_slice()].concat();
            assert_eq!(found.unwrap().entry.record().unwrap().value.bytes, expected, "{space} {key:?}");
        }
        let page = PageRequest { limit: 1000, ..PageRequest::default() };
        let listed: Vec<_> =
            store.list(space, &page).unwrap().entries.into_iter().map(|one| one.key).collect();
        assert_eq!(listed, distinct.iter().cloned().collect::<Vec<_>>(), "{space}: in order of bytes");
    }
    assert_eq!(place.clear(&store, &spaces[1], 9), Wrote::Done);
    for space in spaces.iter().filter(|space| **space != spaces[1]) {
        assert_eq!(
            store.list(space, &PageRequest::default()).unwrap().entries.len(),
            distinct.len().min(100),
            "{space}"
        );
    }
}

#[test]
fn a_row_whose_hash_another_key_has_is_found_under_its_key() {
    let place = Place::new();
    let store = place.open();
    assert_eq!(place.put(&store, "k", 5, b"under its hash"), Wrote::Done);
    let hand = place.by_hand();
    // Another key under the hash of `k`: as likely as never, so it is made by hand.
    hand.execute("UPDATE nanotier_rows SET key = CAST(x'04' || 'test' || 'other' AS BLOB)", []).unwrap();
    assert_eq!(entry(&store, "k"), Entry::Absent, "the key is compared");
    for version in [5, 6] {
        assert_eq!(place.put(&store, "k", version, b"elsewhere"), Wrote::Done);
        assert_eq!(value(&store, "k").unwrap(), b"elsewhere");
    }
    assert_eq!(place.put(&store, "k", 4, b"late"), Wrote::Older(v(6)));
    let count = |sql: &str| hand.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM nanotier_rows"), 2);
    assert_eq!(count("SELECT strays FROM nanotier_meta"), 1);
    hand.execute("DELETE FROM nanotier_rows WHERE key = CAST(x'04' || 'test' || 'other' AS BLOB)", [])
        .unwrap();
    assert_eq!(value(&store, "k").unwrap(), b"elsewhere", "also once the hash is free");
    assert_eq!(place.put(&store, "k", 7, b"still there"), Wrote::Done);
    assert_eq!(count("SELECT count(*) FROM nanotier_rows"), 1);
    drop(store);
    assert_eq!(value(&place.open(), "k").unwrap(), b"still there");
}

#[test]
fn bytes_are_counted_exactly_whoever_changes_rows() {
    let place = Place::new();
    let unbounded = place.open();
    for n in 0..50 {
        assert_eq!(place.put(&unbounded, &format!("before {n}"), 5, &vec![1; n * 10]), Wrote::Done);
    }
    let bounded = place.open_with(|builder| builder.bytes_max(1 << 30));
    let hand = place.by_hand();
    let counted =
        || hand.query_row("SELECT bytes FROM nanotier_meta", [], |row| row.get::<_, i64>(0)).unwrap();
    let summed = || {
        let sum = "SELECT sum(length(key) + length(record)) FROM nanotier_rows";
        hand.query_row(sum, [], |row| row.get::<_, Option<i64>>(0)).unwrap().unwrap_or(0)
    };
    assert!(counted() > 0);
    assert_eq!(counted(), summed(), "what was there before");
    // A store that was opened before, without a bound, counts as well.
    for (version, store) in [(6, &unbounded), (8, &bounded)] {
        for n in 0..20 {
            assert_eq!(place.put(store, &format!("before {n}"), version, &vec![2; n]), Wrote::Done);
            let _ = place.put(store, &format!("new {n}"), version, &vec![3; 1000 - n]);
        }
        assert_eq!(counted(), summed());
    }
    assert_eq!(place.remove(&bounded, "new 3", 9), Wrote::Done);
    assert_eq!(counted(), summed());
    hand.execute("DELETE FROM nanotier_rows WHERE id % 3 = 0", []).unwrap();
    assert_eq!(counted(), summed(), "also by hand");
    assert_eq!(place.clear(&unbounded, &space("test"), 20), Wrote::Done);
    assert_eq!((counted(), summed()), (0, 0));
}

#[test]
fn a_database_that_another_program_keeps_locked_is_said_to_be_and_waited_for() {
    let place = Place::new();
    let store = place.open_with(|builder| builder.busy_timeout(Duration::from_millis(50)));
    assert_eq!(place.put(&store, "k", 1, b"x"), Wrote::Done);
    let hand = place.by_hand();
    hand.execute_batch("BEGIN IMMEDIATE").unwrap();
    let test = space("test");
    let record = place.record(2, b"y");
    let try_write =
        || write(&store, nanotier_tier::Write::put(nanotier_tier::Path::new(&test, &b"k"[..]), &record));
    let start = Instant::now();
    let error = try_write().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Contended);
    assert!(error.is_transient());
    assert!(error.to_string().contains("busy timeout"), "{error}");
    assert!(start.elapsed() >= Duration::from_millis(50) && start.elapsed() < Duration::from_secs(5));
    assert_eq!(value(&store, "k").unwrap(), b"x", "readers do not wait for writers");
    assert_eq!(store.believed_since(), nanotier_tier::Timestamp::ZERO, "nothing was lost");
    let opened = SqliteStore::builder(place.file()).busy_timeout(Duration::from_millis(50)).build();
    assert_eq!(opened.unwrap_err().kind(), ErrorKind::InUse);
    hand.execute_batch("ROLLBACK").unwrap();
    assert_eq!(try_write().unwrap(), Wrote::Done);
}

#[test]
fn a_reader_of_another_program_that_stays_stops_the_log_at_its_limit_and_no_further() {
    let place = Place::new();
    let store = place.open_with(|builder| builder.wal_max(Builder::WAL_MAX_MIN));
    assert_eq!(place.put(&store, "seen", 1, b"x"), Wrote::Done);
    let hand = place.by_hand();
    hand.execute_batch("BEGIN").unwrap();
    let count: i64 = hand.query_row("SELECT count(*) FROM nanotier_rows", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 1);
    let test = space("test");
    let mut written = 0;
    let full = loop {
        written += 1;
        // Other bytes each time: SQLite writes no page that stays as it is.
        let record = place.record(written, &vec![u8::try_from(written).unwrap(); 1 << 20]);
        match write(&store, nanotier_tier::Write::put(nanotier_tier::Path::new(&test, &b"k"[..]), &record)) {
            Ok(wrote) => assert_eq!(wrote, Wrote::Done),
            Err(error) => break error,
        }
        assert!(written < 100, "it never stops");
    };
    assert_eq!(full.kind(), ErrorKind::Full);
    assert!(full.to_string().contains("write-ahead log"), "{full}");
    let len = || std::fs::metadata(place.beside("-wal")).unwrap().len();
    assert!(len() <= Builder::WAL_MAX_MIN + (3 << 20), "{} bytes after {written} writes", len());
    assert!(value(&store, "k").is_some(), "reading goes on");
    hand.execute_batch("COMMIT").unwrap();
    assert_eq!(place.put(&store, "k", written + 1, b"again"), Wrote::Done, "as soon as that reader is gone");
    assert!(len() <= Builder::WAL_MAX_MIN + (3 << 20));
}

#[test]
fn a_doubt_is_heard_by_every_store_with_its_next_read_and_by_those_who_come_later() {
    let place = Place::new();
    let (told, other) = (place.open(), place.open());
    assert_eq!(place.put(&told, "k", 1, b"x"), Wrote::Done);
    assert!(value(&other, "k").is_some());
    let until = place.now();
    place.hands.advance(MINUTE);
    told.doubt(until);
    assert_eq!(told.believed_since(), until);
    assert!(value(&other, "k").is_some());
    assert_eq!(other.believed_since(), until);
    let later = place.open();
    assert_eq!(later.believed_since(), until);
    drop((told, other, later));
    assert_eq!(place.open().believed_since(), until);
}

#[test]
fn a_doubt_that_cannot_be_told_at_once_is_told_with_the_next_transaction() {
    let place = Place::new();
    let quick = |builder: Builder| builder.busy_timeout(Duration::from_millis(20));
    let (told, other) = (place.open_with(quick), place.open());
    let hand = place.by_hand();
    hand.execute_batch("BEGIN IMMEDIATE").unwrap();
    let until = place.now();
    place.hands.advance(MINUTE);
    told.doubt(until);
    assert_eq!(told.believed_since(), until, "it knows itself");
    let _ = value(&other, "k");
    assert_eq!(other.believed_since(), nanotier_tier::Timestamp::ZERO);
    hand.execute_batch("ROLLBACK").unwrap();
    assert_eq!(place.put(&told, "k", 1, b"x"), Wrote::Done);
    let _ = value(&other, "k");
    assert_eq!(other.believed_since(), until);
}

#[test]
fn every_reader_sees_what_any_store_has_committed_before_it_began() {
    let place = Place::new();
    let (one, two) = (place.open(), place.open());
    for version in 1..50 {
        let (writer, reader) = if version % 2 == 0 { (&one, &two) } else { (&two, &one) };
        assert_eq!(place.put(writer, "k", version, &version.to_le_bytes()), Wrote::Done);
        assert_eq!(value(reader, "k").unwrap(), version.to_le_bytes());
        assert_eq!(place.put(reader, "k", version - 1, b"late"), Wrote::Older(v(version)), "judged as well");
    }
    assert_eq!(place.clear(&one, &space("test"), 100), Wrote::Done);
    assert_eq!(entry(&two, "k"), Entry::Removed(v(100)));
}

#[test]
fn more_readers_than_connections_take_turns() {
    let place = Place::new();
    let store = place.open_with(|builder| builder.readers_max(2));
    assert_eq!(place.put(&store, "k", 1, b"x"), Wrote::Done);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..50).for_each(|_| assert_eq!(value(&store, "k").unwrap(), b"x")));
        }
    });
}

#[cfg(unix)]
#[test]
fn a_database_that_cannot_be_written_to_is_an_error_of_storage_with_a_sentence() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    assert_eq!(place.put(&place.open(), "k", 1, b"x"), Wrote::Done);
    std::fs::set_permissions(place.file(), std::fs::Permissions::from_mode(0o400)).unwrap();
    // Root may write all the same.
    if std::fs::OpenOptions::new().append(true).open(place.file()).is_ok() {
        return;
    }
    let error = place.try_open_with(|builder| builder.on_damage(OnDamage::StartCold)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage);
    assert!(error.to_string().contains("writable"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_link_to_a_database_is_that_database() {
    let place = Place::new();
    let store = place.open();
    assert_eq!(place.put(&store, "k", 1, b"x"), Wrote::Done);
    let link = place.folder.path().join("link.db");
    std::os::unix::fs::symlink(place.file(), &link).unwrap();
    let linked = SqliteStore::open(&link).unwrap();
    linked.attach(&nanotier_tier::Context::new(place.clock.clone(), 1));
    assert_eq!(value(&linked, "k").unwrap(), b"x");
    assert_eq!(linked.believed_since(), nanotier_tier::Timestamp::ZERO, "it sees that the other one is open");
    assert_eq!(linked.path(), store.path());
}

#[test]
fn a_bounded_store_lets_rows_leave_and_stays_within_its_bound() {
    let place = Place::new();
    let store = place.open_with(|builder| builder.bytes_max(Builder::BYTES_MAX_MIN));
    let hand = place.by_hand();
    for n in 0..150 {
        assert_eq!(place.put(&store, &format!("{n}"), 5 + n, &[7; 1000]), Wrote::Done);
        let bytes: i64 = hand.query_row("SELECT bytes FROM nanotier_meta", [], |row| row.get(0)).unwrap();
        assert!(bytes <= i64::try_from(Builder::BYTES_MAX_MIN).unwrap(), "{bytes} after {n}");
    }
    assert!(store.stats().evicted >= 150 - 60);
    assert_eq!(value(&store, "149").unwrap(), [7; 1000]);
}
