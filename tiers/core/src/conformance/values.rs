//! What comes back of what was stored.

use std::time::Duration;

use super::bench::{Bench, assert_found, freshness, only_if};
use super::{Outcome, Subject};
use crate::entry::{Entry, Write, Wrote};
use crate::error::ErrorKind;
use crate::stored::{Deadlines, Freshness, Record, Tags};
use crate::tier::Tier;
use crate::waiting::block_on;

/// An empty value is a value.
pub fn empty_value_differs_from_nothing<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = Bench::new(subject);
    let record = bench.put("empty", "");
    assert_found(&bench.read("empty"), &record);
    assert_eq!(bench.read("nothing").entry, Entry::Absent);
    Outcome::Kept
}

/// All that travels with a value comes back as it went: lifetimes are neither lost nor stretched.
pub fn deadlines_version_tags_cost_come_back_as_they_went<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = Bench::new(subject);
    let now = bench.now();
    let hour = Duration::from_secs(3600);
    let many =
        Tags::new((0..Tags::COUNT_MAX).map(|n| format!("{n:0>255}"))).expect("as many and long as allowed");
    let records = [
        Record {
            deadlines: Deadlines { fresh_until: now.plus(hour), usable_until: now.plus(2 * hour) },
            written_at: now.minus(Duration::from_millis(1234)),
            load_cost: Duration::from_micros(987_654),
            tags: Tags::new(["red", "ünïcode", "a:b#c"]).expect("three tags"),
            ..bench.record("all of it")
        },
        Record { deadlines: Deadlines::NEVER, ..bench.record("for ever") },
        Record { tags: many, ..bench.record("many tags") },
        Record {
            deadlines: Deadlines::after(now, 1000 * 24 * hour, 1000 * 24 * hour),
            ..bench.record("years")
        },
    ];
    for record in &records {
        let write = Write { as_of: now, ..Write::put(bench.path("k"), record) };
        assert_eq!(bench.write(&write), Wrote::Done);
        assert_found(&bench.read("k"), record);
    }
    Outcome::Kept
}

/// A quarter of a megabyte, or what the tier allows, comes back; a value beyond a small limit is refused and not cut.
pub fn a_large_value_comes_back_and_a_larger_one_is_refused<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = Bench::new(subject);
    let len_max = bench.capabilities().value_len_max;
    let value: Vec<u8> = (0..=u8::MAX).cycle().take(len_max.min(256 * 1024)).collect();
    let record = bench.put("large", &value);
    assert_found(&bench.read("large"), &record);
    if len_max < 16 * 1024 * 1024 {
        let larger = bench.record(vec![7; len_max + 1]);
        let error = block_on(bench.tier.write_one(&Write::put(bench.path("larger"), &larger)));
        assert_eq!(error.map_err(|error| error.kind()), Err(ErrorKind::TooLarge));
        assert_eq!(bench.value("larger"), None);
    }
    Outcome::Kept
}

/// A record is found fresh, then stale, then not usable, by its own deadlines; its end is no error.
pub fn a_record_goes_stale_and_ends_by_its_deadlines<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = Bench::new(subject);
    let ttl = bench.ttl();
    only_if!(
        bench.has_hands() || bench.capabilities().ttl_grain <= Duration::from_secs(2),
        "lifetimes are too coarse to be waited for"
    );
    let stale_for = ttl * 3 + bench.subject.slack * 3;
    let record = Record { deadlines: Deadlines::after(bench.now(), ttl, stale_for), ..bench.record("ages") };
    assert_eq!(bench.put_record("k", &record), Wrote::Done);
    assert_eq!(freshness(&bench.read("k"), bench.now()), Some(Freshness::Fresh));
    bench.wait(ttl);
    assert_found(&bench.read("k"), &record);
    assert_eq!(freshness(&bench.read("k"), bench.now()), Some(Freshness::Stale));
    bench.wait(stale_for);
    assert_eq!(bench.value("k"), None, "its end has come");
    assert!(bench.read("k").usable(bench.now()).is_none());
    Outcome::Kept
}
