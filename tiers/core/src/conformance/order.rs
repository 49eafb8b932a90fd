//! Which write wins, and what a reader sees of it.

use std::pin::pin;
use std::task::{Context as TaskContext, Waker};
use std::time::Duration;

use super::bench::{Bench, assert_found, assert_older, assert_removed, only_if};
use super::{Outcome, Subject};
use crate::entry::{Cleared, Entry, Intent, Seen, Write, Wrote};
use crate::stored::Record;
use crate::tier::Tier;
use crate::waiting::block_on;

/// A put or remove that was answered [`Wrote::Done`] is seen by every read that begins later, also by other threads'.
pub fn a_completed_write_is_seen_by_every_later_read<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = Bench::new(subject);
    assert_eq!(bench.read("k").entry, Entry::Absent, "a fresh namespace is empty");
    for round in 0..20 {
        let record = bench.put("k", format!("value {round}"));
        assert_found(&bench.read("k"), &record);
        crossbeam_utils::thread::scope(|scope| {
            scope.spawn(|_| assert_found(&bench.read("k"), &record));
        })
        .expect("every thread joined");
        let version = bench.remove("k");
        assert_removed(&bench.read("k"), version);
    }
    Outcome::Kept
}

/// O1: a write older than what is held, tombstones included, is refused, and told by what.
pub fn an_older_write_is_refused_and_names_the_newer_version<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = Bench::new(subject);
    let (old, new) = (bench.record("old"), bench.record("new"));
    assert_eq!(bench.put_record("k", &new), Wrote::Done);
    assert_older(bench.put_record("k", &old), new.version);
    assert_older(bench.write(&Write::remove(bench.path("k"), old.version, bench.now())), new.version);
    assert_found(&bench.read("k"), &new);

    let late = bench.record("late");
    let removed = bench.remove("k");
    assert_older(bench.put_record("k", &late), removed);
    assert_removed(&bench.read("k"), removed);
    // One writer's turn within one millisecond counts too.
    let next = bench.record("next");
    assert_eq!(bench.put_record("k", &next), Wrote::Done);
    assert_found(&bench.read("k"), &next);
    Outcome::Kept
}

/// A write of the version that is held is the same write once more, and done: duplicates on the wire do no harm.
pub fn the_same_write_again_is_done<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = Bench::new(subject);
    let record = bench.put("k", "once");
    assert_eq!(bench.put_record("k", &record), Wrote::Done);
    assert_found(&bench.read("k"), &record);

    let (seen, as_of) = bench.seen("filled");
    let filled = bench.record("filled");
    for _ in 0..2 {
        assert_eq!(bench.write(&Write::fill(bench.path("filled"), &filled, seen, as_of)), Wrote::Done);
    }
    assert_found(&bench.read("filled"), &filled);

    let version = bench.remove("k");
    assert_eq!(bench.write(&Write::remove(bench.path("k"), version, bench.now())), Wrote::Done);
    assert_removed(&bench.read("k"), version);
    Outcome::Kept
}

/// However writers' calls come in, what stays is the newest write.
pub fn of_many_writers_the_newest_wins<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = Bench::new(subject);
    let newest = crossbeam_utils::thread::scope(|scope| {
        let writer = |id: usize| {
            let bench = &bench;
            move || {
                let records: Vec<Record> = (0..20).map(|n| bench.record(format!("{id}.{n}"))).collect();
                // Last one first, so that most writes come late.
                for record in records.iter().rev() {
                    let wrote = bench.put_record("k", record);
                    assert!(matches!(wrote, Wrote::Done | Wrote::Older(_)), "{wrote:?}");
                }
                records.into_iter().next_back()
            }
        };
        let writers: Vec<_> = (0..8)
            .map(|id| {
                scope.spawn({
                    let run = writer(id);
                    move |_| run()
                })
            })
            .collect();
        let last = |writer: crossbeam_utils::thread::ScopedJoinHandle<'_, Option<Record>>| {
            writer.join().expect("a writer")
        };
        writers.into_iter().filter_map(last).max_by_key(|record| record.version)
    })
    .expect("every thread joined");
    assert_found(&bench.read("k"), &newest.expect("there were writers"));
    Outcome::Kept
}

/// O4: for the horizon after a remove, the tier shows a tombstone and refuses what is older.
pub fn a_removed_entry_shows_a_tombstone_for_the_horizon<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = Bench::new(subject);
    let old = bench.put("k", "old");
    let (never_there, removed) = (bench.remove("never there"), bench.remove("k"));
    if bench.has_hands() {
        bench.wait(bench.capabilities().horizon.saturating_sub(Duration::from_millis(1)));
    }
    assert_removed(&bench.read("k"), removed);
    assert_removed(&bench.read("never there"), never_there);
    let late = Write { as_of: bench.now(), ..Write::put(bench.path("k"), &old) };
    assert_older(bench.write(&late), removed);
    assert_removed(&bench.read("k"), removed);
    Outcome::Kept
}

/// O4: what was decided longer ago than tombstones are kept cannot be ordered against them, and is refused.
pub fn a_write_decided_before_the_horizon_is_too_late<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = Bench::new(subject);
    let horizon = bench.capabilities().horizon;
    // Far enough from the edge for a server's clock to be off a little.
    let too_late = bench.now().minus(horizon).minus(Duration::from_secs(10));
    let in_time = bench.now().minus(horizon / 2);

    let (seen, _) = bench.seen("k");
    let record = bench.record("late");
    let put = Write { as_of: too_late, ..Write::put(bench.path("k"), &record) };
    assert_eq!(bench.write(&put), Wrote::TooLate, "a put");
    assert_eq!(bench.write(&Write::fill(bench.path("k"), &record, seen, too_late)), Wrote::TooLate, "a fill");
    assert_eq!(
        bench.write(&Write::remove(bench.path("k"), record.version, too_late)),
        Wrote::TooLate,
        "a remove"
    );
    let cleared = Cleared { namespace: &bench.namespace, version: bench.draw(), as_of: too_late };
    assert_eq!(block_on(bench.tier.clear(&cleared)).expect("clear"), Wrote::TooLate, "a clearing");
    assert_eq!(bench.read("k").entry, Entry::Absent, "nothing happened");

    let put = Write { as_of: in_time, ..Write::put(bench.path("k"), &record) };
    assert_eq!(bench.write(&put), Wrote::Done, "half a horizon ago is in time");
    Outcome::Kept
}

/// O2: a fill over what is still as it was seen is taken.
pub fn a_fill_of_what_nobody_touched_is_taken<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = Bench::new(subject);
    let (seen, as_of) = bench.seen("absent");
    bench.put("another", "of no concern");
    assert_eq!(bench.fill("absent", seen, as_of), Wrote::Done);
    assert_eq!(bench.value("absent").as_deref(), Some(&b"filled"[..]));

    bench.put("present", "to be refreshed");
    let (seen, as_of) = bench.seen("present");
    assert_eq!(bench.fill("present", seen, as_of), Wrote::Done);
    assert_eq!(bench.value("present").as_deref(), Some(&b"filled"[..]));

    bench.remove("removed");
    let (seen, as_of) = bench.seen("removed");
    assert_eq!(bench.fill("removed", seen, as_of), Wrote::Done);
    assert_eq!(bench.value("removed").as_deref(), Some(&b"filled"[..]));
    Outcome::Kept
}

/// O2: a fill is refused if anything was written, removed or cleared since its reader looked, even if nothing is there again.
pub fn a_fill_after_a_change_is_refused<T: Tier>(subject: &Subject<T>) -> Outcome {
    type Step<T> = fn(&Bench<'_, T>);
    let befores: [(&str, Step<T>); 3] = [
        ("absent", |_| {}),
        ("present", |bench| {
            bench.put("k", "before");
        }),
        ("removed", |bench| {
            bench.remove("k");
        }),
    ];
    let changes: [(&str, Step<T>); 5] = [
        ("put", |bench| {
            bench.put("k", "changed");
        }),
        ("remove", |bench| {
            bench.remove("k");
        }),
        ("put and remove", |bench| {
            bench.put("k", "changed");
            bench.remove("k");
        }),
        ("clear", |bench| {
            bench.clear();
        }),
        ("fill", |bench| {
            let (seen, as_of) = bench.seen("k");
            assert_eq!(bench.fill("k", seen, as_of), Wrote::Done);
        }),
    ];
    for (before, prepare) in befores {
        for (change, happen) in changes {
            let bench = Bench::new(subject);
            prepare(&bench);
            let (seen, as_of) = bench.seen("k");
            happen(&bench);
            let held = bench.read("k");
            let late = bench.record("late");
            let wrote = bench.write(&Write::fill(bench.path("k"), &late, seen, as_of));
            assert_eq!(wrote, Wrote::Changed, "{before}, then {change}, then a fill");
            let after = bench.read("k");
            assert_eq!(after.entry.version(), held.entry.version(), "{before}, then {change}: it stays");
        }
    }
    Outcome::Kept
}

/// O2: what the tier did not mint proves nothing.
pub fn a_fill_with_what_another_tier_showed_is_refused<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = Bench::new(subject);
    bench.put("present", "value");
    for minted in [&b""[..], b"\0", b"revision 7", &[1; 34], &[0xff; Seen::LEN_MAX]] {
        let foreign = Seen::new(minted).expect("short enough");
        assert_eq!(bench.fill("absent", foreign, bench.now()), Wrote::Changed, "{foreign:?}");
        assert_eq!(bench.fill("present", foreign, bench.now()), Wrote::Changed, "{foreign:?}");
    }
    assert_eq!(bench.read("absent").entry, Entry::Absent);
    assert_eq!(bench.value("present").as_deref(), Some(&b"value"[..]));
    Outcome::Kept
}

/// O2: a record that merely expires is no change for a fill that saw it.
pub fn expiry_is_not_a_change<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = Bench::new(subject);
    let ttl = bench.ttl();
    only_if!(ttl < bench.capabilities().horizon / 4, "lifetimes are too coarse for the horizon");
    assert_eq!(bench.put_record("k", &bench.record_for("short", ttl)), Wrote::Done);
    let (seen, as_of) = bench.seen("k");
    bench.wait(ttl);
    assert_eq!(bench.value("k"), None, "it expired");
    assert_eq!(bench.fill("k", seen, as_of), Wrote::Done);
    assert_eq!(bench.value("k").as_deref(), Some(&b"filled"[..]));
    Outcome::Kept
}

/// Readers that meet an expired record do not clean away what is written at the same time.
pub fn a_fresh_write_survives_readers_of_the_expired_one<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = Bench::new(subject);
    let ttl = bench.ttl();
    let keys: Vec<String> = (0..50).map(|n| format!("k{n}")).collect();
    for key in &keys {
        assert_eq!(bench.put_record(key, &bench.record_for("short", ttl)), Wrote::Done);
    }
    bench.wait(ttl);
    crossbeam_utils::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|_| keys.iter().for_each(|key| drop(bench.read(key))));
        }
        scope.spawn(|_| keys.iter().for_each(|key| drop(bench.put(key, "fresh"))));
    })
    .expect("every thread joined");
    for key in &keys {
        assert_eq!(bench.value(key).as_deref(), Some(&b"fresh"[..]), "{key}");
    }
    Outcome::Kept
}

/// A future that is dropped, at whatever point, leaves the write whole or not done at all, and nobody stuck.
pub fn dropping_a_write_future_leaves_it_whole_or_undone<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = Bench::new(subject);
    for round in 0..40_usize {
        let key = format!("k{round}");
        let before = bench.put(&key, "before");
        let during = bench.record(vec![b'd'; 10_000]);
        {
            let write = Write::put(bench.path(&key), &during);
            let mut future = pin!(bench.tier.write_one(&write));
            for _ in 0..round % 4 {
                if future.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())).is_ready() {
                    break;
                }
            }
        }
        let found = bench.read(&key);
        let expected = if found.entry.version() == Some(during.version) { &during } else { &before };
        assert_found(&found, expected);
        let after = bench.put(&key, "after");
        assert_found(&bench.read(&key), &after);
    }
    Outcome::Kept
}

/// A read that is dropped, at whatever point, has changed nothing, and nobody is stuck behind it.
pub fn dropping_a_read_future_leaves_nothing_behind<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = Bench::new(subject);
    let record = bench.put("k", "value");
    for round in 0..40_usize {
        for key in ["k", "nothing"] {
            let path = bench.path(key);
            let intent = if round % 2 == 0 { Intent::Look } else { Intent::Load };
            let mut future = pin!(bench.tier.read_one(&path, intent));
            for _ in 0..round / 2 % 4 {
                if future.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())).is_ready() {
                    break;
                }
            }
        }
        assert_found(&bench.read("k"), &record);
        assert_eq!(bench.read("nothing").entry, Entry::Absent);
    }
    let (seen, as_of) = bench.seen("nothing");
    assert_eq!(bench.fill("nothing", seen, as_of), Wrote::Done, "who came and went has taken nothing");
    Outcome::Kept
}
