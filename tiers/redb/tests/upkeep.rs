//! The file's upkeep: compaction, and files of other versions.

mod common;

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use common::*;
use nanotier_redb::{Builder, Durability};
use nanotier_tier::{Entry, ErrorKind, PageRequest, Store, Timestamp, Wrote};
use redb::{Database, TableDefinition};

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("nanotier.meta");

fn lazily(builder: Builder) -> Builder {
    builder.durability(Durability::Async { loss_window: Duration::from_secs(3600) })
}

/// Changes what a closed store says of itself.
fn set_meta(place: &Place, word: &str, number: Option<u64>) {
    let database = Database::open(place.file()).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut meta = transaction.open_table(META).unwrap();
        match number {
            Some(number) => drop(meta.insert(word, number).unwrap()),
            None => drop(meta.remove(word).unwrap()),
        }
    }
    transaction.commit().unwrap();
}

#[test]
fn compaction_gives_room_back_and_loses_nothing() {
    let place = Place::new();
    let store = place.open_with(lazily);
    for n in 0..200 {
        assert_eq!(place.put(&store, &format!("k{n}"), 1, &[7; 10_000]), Wrote::Done);
    }
    assert_eq!(place.clear(&store, &space("cleared"), 3), Wrote::Done);
    for n in 0..200 {
        if n % 10 != 0 {
            assert_eq!(place.remove(&store, &format!("k{n}"), 2), Wrote::Done);
        }
    }
    let before = store.file_stats().unwrap();
    assert!(before.free_bytes > before.file_bytes / 2, "{before:?}");
    assert!(store.compact().unwrap());
    let after = store.file_stats().unwrap();
    assert!(after.file_bytes < before.file_bytes / 2, "{before:?} {after:?}");
    assert_eq!((after.rows, after.row_bytes, after.compactions), (before.rows, before.row_bytes, 1));
    assert_eq!(store.believed_since(), Timestamp::ZERO, "nothing was missed");
    let holds = |store: &nanotier_redb::RedbStore| {
        for n in 0..200 {
            match n % 10 {
                0 => assert_eq!(value(store, &format!("k{n}")).unwrap(), [7; 10_000]),
                _ => assert_eq!(entry(store, &format!("k{n}")), Entry::Removed(v(2))),
            }
        }
        assert_eq!(found(store, &space("cleared"), "any").entry, Entry::Removed(v(3)));
    };
    holds(&store);
    assert_eq!(place.put(&store, "new", 9, b"goes on"), Wrote::Done);
    store.close().unwrap();
    assert_eq!(store.compact().unwrap_err().kind(), ErrorKind::Closed);
    let store = place.open();
    holds(&store);
    assert_eq!(value(&store, "new").unwrap(), b"goes on");
}

#[test]
fn readers_and_writers_wait_for_compaction_and_none_of_them_fails() {
    let place = Place::new();
    let store = place.open_with(lazily);
    for n in 0..100 {
        assert_eq!(place.put(&store, &format!("k{n}"), 1, &[7; 5_000]), Wrote::Done);
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut pages = 0;
                    while !done.load(SeqCst) || pages == 0 {
                        assert_eq!(value(&store, "k0").unwrap(), [7; 5_000]);
                        assert!(
                            store.list(&space("test"), &PageRequest::default()).unwrap().entries.len() >= 99
                        );
                        pages += 1;
                    }
                })
            })
            .collect();
        let writer = scope.spawn(|| {
            let mut version = 2;
            while !done.load(SeqCst) {
                assert_eq!(place.put(&store, "k1", version, &[8; 5_000]), Wrote::Done);
                version += 1;
            }
        });
        for _ in 0..10 {
            let compacted = store.compact();
            assert!(compacted.is_ok() || compacted.unwrap_err().kind() == ErrorKind::Busy);
        }
        done.store(true, SeqCst);
        readers.into_iter().chain([writer]).for_each(|thread| thread.join().unwrap());
    });
    assert!(store.file_stats().unwrap().compactions > 0);
    assert_eq!(store.believed_since(), Timestamp::ZERO);
}

#[test]
fn a_file_that_is_mostly_free_is_compacted_by_itself_unless_told_not_to() {
    for compacts in [true, false] {
        let place = Place::new();
        let often =
            |builder| lazily(builder).sweep_interval(Builder::SWEEP_INTERVAL_MIN).compact_by_itself(compacts);
        let store = place.open_with(often);
        for n in 0..20 {
            assert_eq!(place.put(&store, &format!("k{n}"), 1, &vec![7; 1_000_000]), Wrote::Done);
        }
        assert_eq!(place.clear(&store, &space("test"), 2), Wrote::Done);
        let long = store.file_stats().unwrap().file_bytes;
        assert!(long > 16 * 1024 * 1024, "{long}");
        let began = Instant::now();
        while compacts && store.file_stats().unwrap().compactions == 0 {
            assert!(began.elapsed() < Duration::from_secs(20), "nobody compacted the file");
            std::thread::sleep(Duration::from_millis(5));
        }
        // Once is enough.
        std::thread::sleep(Duration::from_millis(60));
        let stats = store.file_stats().unwrap();
        assert_eq!(stats.compactions, u64::from(compacts));
        assert_eq!(stats.file_bytes < long / 4, compacts, "{stats:?}");
    }
}

#[test]
fn a_file_of_a_newer_layout_is_refused_and_left_as_it_is() {
    let place = Place::new();
    let store = place.open();
    assert_eq!(place.put(&store, "k", 1, b"kept"), Wrote::Done);
    drop(store);
    for layout in [0, 2, 77, u64::MAX] {
        set_meta(&place, "layout", Some(layout));
        let refused =
            place.try_open_with(|builder| builder.on_damage(nanotier_redb::OnDamage::StartCold)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
        assert!(refused.to_string().contains(&format!("layout {layout}")), "{refused}");
        assert_eq!(std::fs::read_dir(place.folder.path()).unwrap().count(), 1, "nothing was moved aside");
    }
    set_meta(&place, "layout", Some(1));
    let store = place.open();
    assert_eq!(value(&store, "k").unwrap(), b"kept");
    assert_eq!(store.believed_since(), Timestamp::ZERO, "to be refused is no unclean end");
}

#[test]
fn a_file_without_a_layout_number_is_damaged() {
    let place = Place::new();
    drop(place.open());
    set_meta(&place, "layout", None);
    let refused = place.try_open_with(|builder| builder).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
}

#[test]
fn a_file_of_an_older_redb_is_refused_with_a_sentence() {
    let place = Place::new();
    drop(place.open());
    // redb keeps its own version in each of the two commit slots, which are 128 bytes and begin at 64.
    let mut bytes = std::fs::read(place.file()).unwrap();
    assert_eq!(
        (bytes[64], bytes[192]),
        (3, 3),
        "redb's file format is another: this test has to look for its number"
    );
    (bytes[64], bytes[192]) = (2, 2);
    std::fs::write(place.file(), &bytes).unwrap();
    let refused =
        place.try_open_with(|builder| builder.on_damage(nanotier_redb::OnDamage::StartCold)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
    assert!(refused.to_string().contains("older redb"), "{refused}");
    assert_eq!(std::fs::read(place.file()).unwrap(), bytes);
}

#[test]
fn a_file_from_before_its_size_was_kept_is_counted_when_it_is_opened() {
    let place = Place::new();
    let store = place.open();
    for n in 0..10 {
        assert_eq!(place.put(&store, &format!("k{n}"), 1, &[7; 100]), Wrote::Done);
    }
    let size = store.file_stats().unwrap().row_bytes;
    drop(store);
    set_meta(&place, "bytes", None);
    assert_eq!(place.open().file_stats().unwrap().row_bytes, size);
    assert_eq!(size, 10 * (5 + 2 + 200));
}
