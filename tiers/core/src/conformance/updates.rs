//! Atomic changes. A tier that cannot do them is skipped.

use std::time::Duration;

use bytes::Bytes;

use super::bench::{Bench, assert_found, assert_older, only_if};
use super::{Outcome, Subject};
use crate::entry::{Entry, Wrote};
use crate::error::ErrorKind;
use crate::stored::Record;
use crate::tier::Tier;
use crate::update::{COUNTER, Change, Expect, Renewal, Updated, read_counter};
use crate::version::Version;
use crate::waiting::block_on;

const NO_UPDATES: &str = "its capabilities say that it cannot update";
const FOR_EVER: Renewal = Renewal::Fixed(None);

fn by(by: i64) -> Change {
    Change::Increment { by, lifetime: FOR_EVER }
}

/// The value after an increment, which must succeed.
#[track_caller]
fn counted(updated: Updated) -> i64 {
    match updated {
        Updated::Counted { value, .. } => value,
        other => panic!("{other:?} instead of a count"),
    }
}

/// The version of an update, which must have happened.
#[track_caller]
fn done(updated: Updated) -> Version {
    match updated {
        Updated::Done(version) => version,
        other => panic!("{other:?} instead of Done"),
    }
}

/// Skips where updates are not supported.
macro_rules! bench_with_updates {
    ($subject:expr) => {{
        let bench = Bench::new($subject);
        if !bench.capabilities().updates {
            return Outcome::Skipped(NO_UPDATES);
        }
        bench
    }};
}

/// Of all who add at once, one does, and its value stays. After an end or a removal the next one does.
pub fn add_has_one_winner<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = bench_with_updates!(subject);
    let ttl = bench.ttl();
    let winners: Vec<(String, Version)> = crossbeam_utils::thread::scope(|scope| {
        let add = |id: usize| {
            let bench = &bench;
            move || match bench.update("k", Change::Add(bench.record(format!("winner {id}")))) {
                Updated::Done(version) => Some((format!("winner {id}"), version)),
                Updated::Refused => None,
                other => panic!("{other:?}"),
            }
        };
        let adders: Vec<_> = (0..12)
            .map(|id| {
                scope.spawn({
                    let run = add(id);
                    move |_| run()
                })
            })
            .collect();
        adders.into_iter().filter_map(|adder| adder.join().expect("an adder")).collect()
    })
    .expect("every thread joined");
    let [(value, version)] = &winners[..] else { panic!("{} winners", winners.len()) };
    let found = bench.read("k");
    assert_eq!(found.entry.version(), Some(*version));
    assert_eq!(bench.value("k").as_deref(), Some(value.as_bytes()));

    bench.remove("k");
    let second = done(bench.update("k", Change::Add(bench.record_for("after a removal", ttl))));
    assert!(second > *version);
    assert_eq!(bench.update("k", Change::Add(bench.record("too soon"))), Updated::Refused);
    assert_eq!(bench.value("k").as_deref(), Some(&b"after a removal"[..]));
    bench.wait(ttl);
    assert!(done(bench.update("k", Change::Add(bench.record("after its end")))) > second);
    Outcome::Kept
}

/// Of all who take at once, one gets it, and it is gone.
pub fn take_has_one_winner<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = bench_with_updates!(subject);
    for round in 0..5 {
        let token = bench.put("k", format!("token {round}"));
        let taken: Vec<Record> = crossbeam_utils::thread::scope(|scope| {
            let take = || match bench.update("k", Change::Take) {
                Updated::Taken(taken) => taken,
                other => panic!("{other:?}"),
            };
            let takers: Vec<_> = (0..20)
                .map(|_| {
                    scope.spawn({
                        let run = take;
                        move |_| run()
                    })
                })
                .collect();
            takers.into_iter().filter_map(|taker| taker.join().expect("a taker")).collect()
        })
        .expect("every thread joined");
        assert_eq!(taken.len(), 1, "one gets it");
        assert_eq!((&taken[0].value, taken[0].version), (&token.value, token.version));
        let left = bench.read("k").entry;
        assert!(matches!(left, Entry::Removed(by) if by > token.version), "{left:?}");
        assert_older(bench.put_record("k", &token), left.version().unwrap_or_default());
    }
    assert_eq!(bench.update("never there", Change::Take), Updated::Taken(None));
    Outcome::Kept
}

/// Counters start at 0, go up and down, and may be read by adding 0.
pub fn counters_count<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = bench_with_updates!(subject);
    assert_eq!(counted(bench.update("absent", by(0))), 0);
    let steps = [(3, 3), (-1, 2), (0, 2), (-5, -3), (i64::from(u32::MAX), 4_294_967_292), (0, 4_294_967_292)];
    for (step, expected) in steps {
        assert_eq!(counted(bench.update("k", by(step))), expected, "after {step}");
    }
    let found = bench.read("k");
    assert_eq!(found.entry.record().and_then(read_counter), Some(4_294_967_292));
    Outcome::Kept
}

/// Every increment counts, however many at once: on a new counter, and on one that has just expired.
pub fn concurrent_increments_lose_nothing<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = bench_with_updates!(subject);
    let ttl = bench.ttl();
    let count = |key: &str| {
        crossbeam_utils::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|_| (0..100).for_each(|_| drop(bench.update(key, by(1)))));
            }
        })
        .expect("every thread joined");
        counted(bench.update(key, by(0)))
    };
    assert_eq!(count("new"), 800);
    let short = Change::Increment { by: 77, lifetime: Renewal::Fixed(Some(ttl)) };
    assert_eq!(counted(bench.update("expired", short)), 77);
    bench.wait(ttl);
    assert_eq!(count("expired"), 800);
    Outcome::Kept
}

/// A counter with a fixed lifetime ends when its first increment said; one with a renewed lifetime when its last one said.
pub fn a_counter_lives_as_long_as_it_was_told<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = bench_with_updates!(subject);
    only_if!(
        bench.has_hands() || bench.capabilities().ttl_grain <= Duration::from_secs(2),
        "lifetimes are too coarse to be waited for"
    );
    let ttl = bench.ttl() * 4 + bench.subject.slack * 4;
    let fixed = || Change::Increment { by: 1, lifetime: Renewal::Fixed(Some(ttl)) };
    let each = || Change::Increment { by: 1, lifetime: Renewal::Each(ttl) };
    let Updated::Counted { until, .. } = bench.update("fixed", fixed()) else { panic!("no count") };
    assert_eq!(counted(bench.update("each", each())), 1);
    bench.wait(ttl / 2);
    let Updated::Counted { value, until: again } = bench.update("fixed", fixed()) else { panic!("no count") };
    assert_eq!((value, again), (2, until), "an increment does not prolong it");
    assert_eq!(counted(bench.update("each", each())), 2);
    bench.wait(ttl / 2);
    assert_eq!(counted(bench.update("fixed", fixed())), 1, "it ended and starts again");
    assert_eq!(counted(bench.update("each", each())), 3, "it was renewed");
    bench.wait(ttl);
    assert_eq!(counted(bench.update("each", each())), 1, "nobody renewed it");
    Outcome::Kept
}

/// A count beyond `i64` is an error, and the counter stays.
pub fn overflow_is_an_error_and_changes_nothing<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = bench_with_updates!(subject);
    for (key, edge, step) in [("max", i64::MAX, 1), ("min", i64::MIN, -1)] {
        assert_eq!(counted(bench.update(key, by(edge))), edge);
        let error = bench.try_update(key, by(step)).expect_err("beyond the range");
        assert_eq!(error.kind(), ErrorKind::Overflow);
        assert_eq!(counted(bench.update(key, by(0))), edge, "{key} stays");
        assert_eq!(counted(bench.update(key, by(-step))), edge - step);
    }
    Outcome::Kept
}

/// What is no counter cannot be counted, whatever its bytes look like.
pub fn increment_of_a_value_is_not_a_number<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = bench_with_updates!(subject);
    for value in [&b"12"[..], b"", &7_i64.to_le_bytes()] {
        let record = bench.put("k", value);
        let error = bench.try_update("k", by(1)).expect_err("no counter");
        assert_eq!(error.kind(), ErrorKind::NotANumber);
        assert_found(&bench.read("k"), &record);
    }
    Outcome::Kept
}

/// Replace and remove-if happen if what is there is what is expected, and else change nothing.
pub fn replace_and_remove_if_compare<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = bench_with_updates!(subject);
    let value = |text: &'static str| Expect::Value(Bytes::from_static(text.as_bytes()));
    let replace =
        |text: &str, expect| bench.update("k", Change::Replace { record: bench.record(text), expect });
    let remove_if = |expect| bench.update("k", Change::RemoveIf(expect));

    assert_eq!(replace("nothing to replace", value("")), Updated::Refused);
    assert_eq!(remove_if(value("")), Updated::Refused);
    let one = bench.put("k", "one");
    assert_eq!(replace("no", value("two")), Updated::Refused);
    assert_eq!(replace("no", Expect::Version(one.version.next())), Updated::Refused);
    assert_eq!(remove_if(value("two")), Updated::Refused);
    assert_found(&bench.read("k"), &one);

    let two = done(replace("two", value("one")));
    assert_eq!(replace("no", Expect::Version(one.version)), Updated::Refused, "it was replaced since");
    let three = done(replace("three", Expect::Version(two)));
    assert!(one.version < two && two < three);
    assert_eq!(bench.value("k").as_deref(), Some(&b"three"[..]));
    let gone = done(remove_if(Expect::Version(three)));
    assert_eq!(bench.read("k").entry, Entry::Removed(gone));
    assert_eq!(remove_if(Expect::Version(three)), Updated::Refused, "it is gone already");

    let ttl = bench.ttl();
    assert_eq!(bench.put_record("k", &bench.record_for("short", ttl)), Wrote::Done);
    bench.wait(ttl);
    assert_eq!(replace("no", value("short")), Updated::Refused, "it expired");
    assert_eq!(remove_if(value("short")), Updated::Refused, "it expired");
    Outcome::Kept
}

/// An update is lifted above what is there: it is never refused as older, and what it replaced does not come back.
pub fn an_update_is_newer_than_what_it_replaces<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = bench_with_updates!(subject);
    // By a writer whose clock is a minute ahead: below what makes a record doubtful.
    let ahead = Version::from_parts(bench.draw().parts().0 + (60_000 << 16), 99);
    let held = Record { version: ahead, ..bench.record("ahead") };
    let value = || Expect::Value(Bytes::from_static(b"ahead"));
    let changes: [(&str, Change); 3] = [
        ("replace", Change::Replace { record: bench.record("new"), expect: value() }),
        ("remove if", Change::RemoveIf(value())),
        ("take", Change::Take),
    ];
    for (key, change) in changes {
        assert_eq!(bench.put_record(key, &held), Wrote::Done);
        let updated = bench.update(key, change);
        let entry = bench.read(key).entry;
        let version = entry.version().unwrap_or_default();
        assert!(version > ahead, "{key}: {entry:?} is not newer");
        match updated {
            Updated::Done(said) => assert_eq!(said, version, "{key}"),
            Updated::Taken(Some(taken)) => assert_eq!(taken.version, ahead),
            other => panic!("{key}: {other:?}"),
        }
        assert_older(bench.put_record(key, &held), version);
    }
    let counter =
        Record { value: crate::Encoded::new(Bytes::copy_from_slice(&5_i64.to_le_bytes()), COUNTER), ..held };
    assert_eq!(bench.put_record("count", &counter), Wrote::Done);
    assert_eq!(counted(bench.update("count", by(1))), 6);
    let wrote = bench.put_record("count", &counter);
    assert!(matches!(wrote, Wrote::Older(held) if held > ahead), "{wrote:?}");
    Outcome::Kept
}

/// What an update did is seen by every read that begins later, also where copies were made of what was there before.
pub fn a_completed_update_is_seen_by_every_later_read<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = bench_with_updates!(subject);
    let copied = |key: &str| {
        let found = bench.read(key);
        block_on(bench.tier.promote(&bench.path(key), &found)).expect("promote");
        found
    };
    for expected in 1..=5 {
        assert_eq!(counted(bench.update("count", by(1))), expected);
        assert_eq!(copied("count").entry.record().and_then(read_counter), Some(expected));
    }
    let first = done(bench.update("k", Change::Add(bench.record("first"))));
    assert_eq!(copied("k").entry.version(), Some(first));
    let replaced = Change::Replace { record: bench.record("second"), expect: Expect::Version(first) };
    let second = done(bench.update("k", replaced));
    assert_eq!(copied("k").entry.version(), Some(second));
    assert!(matches!(bench.update("k", Change::Take), Updated::Taken(Some(_))));
    assert_eq!(bench.value("k"), None);
    let third = done(bench.update("k", Change::Add(bench.record("third"))));
    assert_eq!(copied("k").entry.version(), Some(third));
    done(bench.update("k", Change::RemoveIf(Expect::Version(third))));
    assert_eq!(bench.value("k"), None);
    Outcome::Kept
}

/// An update starts from nothing where something was removed or cleared.
pub fn what_was_removed_or_cleared_is_not_there_for_an_update<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = bench_with_updates!(subject);
    for clears in [false, true] {
        assert_eq!(counted(bench.update("count", by(5))), 5);
        let k = bench.put("k", "value");
        let gone = if clears {
            bench.clear()
        } else {
            bench.remove("count");
            bench.remove("k")
        };
        assert_eq!(bench.update("k", Change::Take), Updated::Taken(None));
        assert_eq!(bench.update("k", Change::RemoveIf(Expect::Version(k.version))), Updated::Refused);
        assert_eq!(counted(bench.update("count", by(1))), 1);
        assert!(done(bench.update("k", Change::Add(bench.record("again")))) > gone);
        bench.remove("count");
    }
    Outcome::Kept
}

/// O4 holds for updates too.
pub fn an_update_decided_before_the_horizon_is_too_late<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = bench_with_updates!(subject);
    let record = bench.put("k", "value");
    let horizon = bench.capabilities().horizon;
    let too_late = bench.now().minus(horizon).minus(Duration::from_secs(10));
    let expect = Expect::Version(record.version);
    let changes = [
        ("absent", Change::Add(bench.record("late"))),
        ("k", Change::Take),
        ("count", by(1)),
        ("k", Change::Replace { record: bench.record("late"), expect: expect.clone() }),
        ("k", Change::RemoveIf(expect)),
    ];
    for (key, change) in changes {
        let updated = bench.update_at(key, change.clone(), too_late).expect("an answer");
        assert_eq!(updated, Updated::TooLate, "{change:?}");
    }
    assert_found(&bench.read("k"), &record);
    assert_eq!(bench.value("absent"), None);
    assert_eq!(counted(bench.update("count", by(0))), 0);
    Outcome::Kept
}

/// The time is told to all, and above all to one whose own clock is far off.
pub fn the_tier_tells_the_time_even_to_a_late_clock<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = bench_with_updates!(subject);
    let long_ago = bench.now().minus(Duration::from_secs(365 * 24 * 3600));
    let first = bench.update_at("k", Change::Now, long_ago).expect("an answer");
    let Updated::Now(first) = first else { panic!("{first:?} instead of the time") };
    let then = bench.update("k", Change::Now);
    assert!(matches!(then, Updated::Now(then) if then >= first), "{then:?} after {first:?}");
    if bench.has_hands() {
        assert_eq!(first, bench.now());
    }
    let untouched = bench.read("k");
    assert_eq!(untouched.entry, Entry::Absent, "asking the time changes nothing");
    Outcome::Kept
}
