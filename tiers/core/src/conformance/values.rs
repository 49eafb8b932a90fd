//! What comes back of what was stored.

use std::time::Duration;

use super::bench::{Bench, assert_found, freshness, only_if};
use super::{Outcome, Subject};
use crate::entry::{Entry, Write, Wrote};
use crate::error::ErrorKind;
use crate::record::Framing;
use crate::stored::{Deadlines, Freshness, Record, Tags};
use crate::tier::Tier;
use crate::update::Change;
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
        if bench.capabilities().updates {
            let added = bench.try_update("larger", Change::Add(larger));
            assert_eq!(added.map_err(|error| error.kind()), Err(ErrorKind::TooLarge), "an add");
            assert_eq!(bench.value("larger"), None);
        }
    }
    Outcome::Kept
}

/// Values of all sizes come back as they went, of noise and of repetition, one byte and one more than a block alike.
pub fn values_of_many_sizes_come_back<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = Bench::new(subject);
    let len_max = bench.capabilities().value_len_max;
    // Noise that is the same in every run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let random: Vec<u64> = (0..8).map(|_| 1 + noise() % 2048).collect();
    let sizes = [0, 1, 2, 15, 16, 17, 255, 256, 4095, 4096, 4097, 65_535, 65_537].into_iter().chain(random);
    for len in sizes.filter_map(|len| usize::try_from(len).ok()).filter(|len| *len <= len_max) {
        // A block that repeats, a marker every 4 KiB, and noise between.
        let mixed = (0..len).map(|at| match at % 4096 {
            0..8 => b'#',
            8..2048 => b'r',
            _ => noise().to_le_bytes()[0],
        });
        for value in [mixed.collect::<Vec<u8>>(), vec![0; len]] {
            let record = bench.put("k", &value);
            assert_found(&bench.read("k"), &record);
        }
    }
    Outcome::Kept
}

/// Whatever a value begins with, it is not taken for something stored.
pub fn a_value_that_begins_like_a_frame_comes_back<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = Bench::new(subject);
    let first = bench.put("first", "a value");
    let framing = Framing::default();
    let own = framing.encode(&bench.path("first"), Some(&first), first.version, first.written_at);
    let own = own.expect("it is small");
    let beginnings: [&[u8]; 12] = [
        &own,
        &own[..own.len().min(16)],
        b"\x1f\x8b\x08",
        b"\x28\xb5\x2f\xfd",
        b"\x04\x22\x4d\x18",
        b"CFR2",
        b"NCV1",
        b"{\"m\":\"cache-v1\"",
        b"SQLite format 3\0",
        b"redb\x1a\n\xa9\r\n",
        b"\0\0\0\0\0\0\0\0",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
    ];
    for beginning in beginnings {
        for value in [beginning.to_vec(), [beginning, b" and more"].concat()] {
            if value.len() <= bench.capabilities().value_len_max {
                let record = bench.put("k", &value);
                assert_found(&bench.read("k"), &record);
            }
        }
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
