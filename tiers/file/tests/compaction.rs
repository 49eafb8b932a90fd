//! What does not count any more goes, by itself and in steps; what counts stays, whatever happens meanwhile.

mod common;

use common::*;
use nanotier_file::{Builder, Durability, FileStore};
use nanotier_tier::{Entry, Wrote};

const SEGMENT: u64 = 8 * 1024;

fn small(builder: Builder) -> Builder {
    builder.segment_size(SEGMENT)
}

#[test]
fn a_log_that_is_written_over_and_over_stays_in_proportion_to_what_counts() {
    for durability in
        [Durability::Sync, Durability::Async { loss_window: std::time::Duration::from_millis(2) }]
    {
        let place = Place::new();
        let store = place.open_with(|builder| small(builder).durability(durability));
        let mut most = 0;
        for n in 1..2_000 {
            assert_eq!(place.put(&store, &format!("key {}", n % 20), n, &[7; 400]), Wrote::Done);
            if n % 10 == 0 {
                store.flush().unwrap();
            }
            most = most.max(store.usage().unwrap().log_bytes);
        }
        let counts = store.usage().unwrap().row_bytes;
        assert!(most < 2 * counts + 6 * SEGMENT, "{most} bytes for {counts}");
        let in_folder: u64 = std::fs::read_dir(place.file())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        assert!(in_folder < 2 * counts + 6 * SEGMENT);
        drop(store);
        let store = place.open_with(small);
        assert!((0..20).all(|n| value(&store, &format!("key {n}")).unwrap() == [7; 400]));
    }
}

#[test]
fn tombstones_floors_deadlines_and_ages_outlive_the_segments_they_were_written_in() {
    let place = Place::new();
    let store = place.open_with(small);
    let test = space("test");
    assert_eq!(place.clear(&store, &space("cleared"), 50), Wrote::Done);
    assert_eq!(place.remove(&store, "removed", 50), Wrote::Done);
    let short = place.lasting(50, b"short", MINUTE);
    assert_eq!(
        write(&store, nanotier_tier::Write::put(nanotier_tier::Path::new(&test, &b"short"[..]), &short))
            .unwrap(),
        Wrote::Done
    );
    for n in 0..30 {
        assert_eq!(place.put(&store, &format!("key {n}"), n + 1, &[7; 700]), Wrote::Done);
    }
    let remembers = |store: &FileStore| {
        assert!(!place.segment(1).exists());
        assert_eq!(entry(store, "removed"), Entry::Removed(v(50)));
        assert_eq!(entry(store, "short"), Entry::Present(short.clone()));
        assert_eq!(place.put(store, "removed", 49, b"late"), Wrote::Older(v(50)));
        assert_eq!(place.put_in(store, &space("cleared"), "k", 49, b"late"), Wrote::Older(v(50)));
        assert!((0..30).all(|n| value(store, &format!("key {n}")).unwrap() == [7; 700]));
    };
    store.compact().unwrap();
    remembers(&store);
    drop(store);
    let store = place.open_with(small);
    remembers(&store);
    store.compact().unwrap();
    place.hands.advance(11 * MINUTE);
    assert_eq!(store.sweep().unwrap(), 2, "the index knows what comes due");
    assert_eq!(entry(&store, "short"), Entry::Absent);
    drop(store);
    let store = place.open_with(small);
    assert_eq!(entry(&store, "removed"), Entry::Absent);
    assert_eq!(store.usage().unwrap().rows, 30);
}

#[test]
fn a_crash_after_any_step_of_compaction_loses_nothing() {
    let place = Place::new();
    let store = place.open_with(small);
    for n in 0..40 {
        assert_eq!(place.put(&store, &format!("key {}", n % 25), n + 1, &[7; 700]), Wrote::Done);
        let crashed = Place::new();
        place.copy_to(&crashed);
        // Files of a folder are not copied at one moment, but nobody writes meanwhile.
        let store = crashed.open_with(small);
        assert!(
            (0..=n.min(24)).all(|n| value(&store, &format!("key {n}")).unwrap() == [7; 700]),
            "after {n}"
        );
        store.compact().unwrap();
        assert!(
            (0..=n.min(24)).all(|n| value(&store, &format!("key {n}")).unwrap() == [7; 700]),
            "after {n}"
        );
    }
}

#[test]
fn reads_go_on_while_others_write_and_compact() {
    let place = Place::new();
    let (reader, writer) = (place.open_with(small), place.open_with(small));
    assert_eq!(place.put(&writer, "kept", 1, &[9; 300]), Wrote::Done);
    let is_done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..600 {
                assert_eq!(place.put(&writer, &format!("key {}", n % 5), n, &[7; 600]), Wrote::Done);
                if n % 100 == 0 {
                    writer.compact().unwrap();
                }
            }
            is_done.store(true, std::sync::atomic::Ordering::SeqCst);
        });
        while !is_done.load(std::sync::atomic::Ordering::SeqCst) {
            assert_eq!(value(&reader, "kept").unwrap(), [9; 300]);
            for n in 0..5 {
                assert!(value(&reader, &format!("key {n}")).is_none_or(|value| value == [7; 600]));
            }
        }
    });
    assert_eq!(place.told(), [], "nothing unreadable was met");
}

#[test]
fn a_log_that_has_moved_on_is_found_by_an_old_state_as_a_power_cut_may_leave_one() {
    let place = Place::new();
    let store = place.open_with(small);
    let control = place.file().join("nanotier.control");
    let old = std::fs::read(&control).unwrap();
    for n in 1..200 {
        assert_eq!(place.put(&store, &format!("key {}", n % 10), n, &[7; 700]), Wrote::Done);
    }
    assert!(!place.segment(1).exists());
    let crashed = Place::new();
    place.copy_to(&crashed);
    std::fs::write(crashed.file().join("nanotier.control"), old).unwrap();
    let store = crashed.open_with(small);
    for n in 190..200 {
        assert_eq!(found(&store, &space("test"), &format!("key {}", n % 10)).entry.version(), Some(v(n)));
    }
    // But not if a segment is missing in between.
    let lost = Place::new();
    place.copy_to(&lost);
    let segments = (1..100).filter(|n| lost.segment(*n).exists()).collect::<Vec<u64>>();
    std::fs::remove_file(lost.segment(segments[1])).unwrap();
    assert_eq!(lost.try_open_with(small).unwrap_err().kind(), nanotier_tier::ErrorKind::Corrupt);
}
