//! How those who write, update and close at the same time are answered.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use crossbeam_utils::thread;

use super::Fixture;
use super::place::{MINUTE, Place, entry, space, v, value, write};
use crate::{
    Change, Entry, ErrorKind, Expect, Path, Renewal, Store, Timestamp, Update, Updated, Write, Wrote,
    read_counter,
};

/// At `place`; each commit answers `shared_by` puts or more, on average.
pub fn threads_that_write_at_once_share_commits_and_each_is_answered_for_its_own<F: Fixture>(
    place: &Place<F>,
    shared_by: u64,
) {
    const THREADS: u64 = 16;
    const EACH: u64 = 50;
    let store = place.open();
    let before = F::stats(&store);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let store = &store;
            scope.spawn(move |_| {
                for n in 1..=EACH {
                    let (own, written) = (format!("own {thread}"), format!("{thread} {n}"));
                    assert_eq!(place.put(store, &own, n, written.as_bytes()), Wrote::Done);
                    assert_eq!(value(store, &own).unwrap(), written.as_bytes(), "seen once acknowledged");
                    assert_eq!(place.put(store, &own, n - 1, b"older"), Wrote::Older(v(n)));
                }
            });
        }
    })
    .unwrap();
    let after = F::stats(&store);
    let (commits, writes) = (after.commits - before.commits, after.writes - before.writes);
    assert!(writes >= THREADS * EACH);
    assert!(commits * shared_by < THREADS * EACH, "{commits} commits for {} puts", THREADS * EACH);
}

/// And what an update cannot do is said.
pub fn of_all_who_add_or_take_at_once_one_wins_and_counters_are_exact<F: Fixture>() {
    const THREADS: usize = 8;
    let place = Place::<F>::new();
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
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let each = &each;
            scope.spawn(move |_| each(thread));
        }
    })
    .unwrap();
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

/// What was not acknowledged is not there.
pub fn closing_while_others_write_answers_each_of_them_and_loses_nothing_acknowledged<F: Fixture>() {
    let place = Place::<F>::new();
    let store = place.open();
    let acknowledged = thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|thread| {
                let (place, store) = (&place, &store);
                scope.spawn(move |_| {
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
    })
    .unwrap();
    let store = place.open();
    assert_eq!(store.believed_since(), Timestamp::ZERO);
    for (thread, refused) in acknowledged {
        for n in 1..refused {
            assert!(value(&store, &format!("{thread} {n}")).is_some(), "thread {thread}, write {n}");
        }
        assert_eq!(value(&store, &format!("{thread} {refused}")), None);
    }
}
