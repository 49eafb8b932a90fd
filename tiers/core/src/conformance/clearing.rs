//! Emptying a namespace.

use super::bench::{Bench, assert_found, assert_older};
use super::names::nested_namespaces;
use super::{Outcome, Subject};
use crate::entry::{Entry, Write, Wrote};
use crate::path::Path;
use crate::tier::Tier;
use crate::version::Version;
use crate::waiting::block_on;

/// Clearing empties one namespace; those whose names begin with it, or it with theirs, keep what they have.
pub fn clear_empties_its_namespace_and_no_other<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = Bench::new(subject);
    let spaces = nested_namespaces(&bench.namespace);
    let keys = [&b"k"[..], b"", b":v1", b"locks"];
    for (cleared_index, cleared) in spaces.iter().enumerate() {
        let records: Vec<_> = (0..spaces.len() * keys.len()).map(|n| bench.record(format!("{n}"))).collect();
        let paths: Vec<Path<'_>> =
            spaces.iter().flat_map(|space| keys.map(|key| Path::new(space, key))).collect();
        for (path, record) in paths.iter().zip(&records) {
            assert_eq!(bench.write(&Write::put(path.borrowed(), record)), Wrote::Done);
        }
        assert_eq!(bench.clear_namespace(cleared, bench.draw()), Wrote::Done);
        for (index, (path, record)) in paths.iter().zip(&records).enumerate() {
            let found = block_on(bench.tier.read_one(path, crate::Intent::Look)).expect("read");
            if index / keys.len() == cleared_index {
                assert!(found.entry.record().is_none(), "{path:?} was cleared");
            } else {
                assert_found(&found, record);
            }
        }
    }
    Outcome::Kept
}

/// After a clearing, whatever was decided before it is refused: late puts, late fills, late clearings.
pub fn what_was_cleared_does_not_come_back<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = Bench::new(subject);
    let held = bench.put("held", "value");
    let late = bench.record("late");
    let (earlier_clear, (seen, as_of)) = (bench.draw(), bench.seen("absent"));
    let cleared = bench.clear();

    assert!(bench.read("held").entry.record().is_none());
    for key in ["held", "absent"] {
        assert_older(bench.put_record(key, &late), cleared);
    }
    assert_older(bench.put_record("held", &held), cleared);
    assert_eq!(bench.fill("absent", seen, as_of), Wrote::Changed);
    assert_older(bench.clear_namespace(&bench.namespace, earlier_clear), cleared);
    assert_eq!(bench.value("held"), None);
    assert_eq!(bench.value("absent"), None);

    let new = bench.put("held", "new");
    assert_found(&bench.read("held"), &new);
    let (seen, as_of) = bench.seen("absent");
    assert_eq!(bench.fill("absent", seen, as_of), Wrote::Done, "seen after the clearing");
    // A clearing older than what was written since is refused, and undoes nothing.
    let wrote = bench.clear_namespace(&bench.namespace, cleared);
    assert!(matches!(wrote, Wrote::Older(_)), "{wrote:?}");
    assert_found(&bench.read("held"), &new);
    Outcome::Kept
}

/// Clearing while others write: what is newer than the clearing is there afterwards, what is older is not, and no
/// other namespace loses anything.
pub fn clear_among_writers_loses_nothing_newer<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = Bench::new(subject);
    let other = bench.namespace.beside("others");
    let foreign = bench.record("foreign");
    assert_eq!(bench.write(&Write::put(Path::new(&other, &b"k"[..]), &foreign)), Wrote::Done);

    let go_again = |attempt: &dyn Fn(Version) -> Wrote| -> Version {
        // The live writer of O1: refused as older, it goes again above what it was told.
        for _ in 0..1000 {
            let version = bench.draw();
            match attempt(version) {
                Wrote::Done => return version,
                Wrote::Older(held) => bench.context.versions.saw(held),
                refused @ (Wrote::Changed | Wrote::TooLate) => panic!("{refused:?}"),
            }
        }
        panic!("a live write was refused a thousand times");
    };
    let (done, cleared) = crossbeam_utils::thread::scope(|scope| {
        let writer = |id: usize| {
            let (bench, go_again) = (&bench, &go_again);
            move || {
                let put = |n: usize| {
                    let key = format!("{id}.{n}");
                    let attempt = |version| {
                        let record = crate::Record { version, ..bench.record("value") };
                        bench.put_record(&key, &record)
                    };
                    (key.clone(), go_again(&attempt))
                };
                (0..50).map(put).collect::<Vec<_>>()
            }
        };
        let writers: Vec<_> = (0..4)
            .map(|id| {
                scope.spawn({
                    let run = writer(id);
                    move |_| run()
                })
            })
            .collect();
        let clear = |version| bench.clear_namespace(&bench.namespace, version);
        let cleared = (0..5).map(|_| go_again(&clear)).max();
        let done: Vec<_> = writers.into_iter().flat_map(|writer| writer.join().expect("a writer")).collect();
        (done, cleared.expect("five clearings"))
    })
    .expect("every thread joined");
    for (key, version) in done {
        let entry = bench.read(&key).entry;
        if version > cleared {
            assert_eq!(entry.record().map(|record| record.version), Some(version), "{key} is newer");
        } else {
            assert!(!matches!(entry, Entry::Present(_)), "{key} is older");
        }
    }
    let found =
        block_on(bench.tier.read_one(&Path::new(&other, &b"k"[..]), crate::Intent::Look)).expect("read");
    assert_found(&found, &foreign);
    Outcome::Kept
}
