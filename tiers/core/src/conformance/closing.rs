//! The end of a tier, and what comes after.

use std::fmt::Debug;

use super::bench::{Bench, assert_found, assert_older, assert_removed, only_if};
use super::{Outcome, Subject};
use crate::capabilities::Durability;
use crate::entry::{Cleared, Intent, PageRequest, Write, Wrote};
use crate::error::{ErrorKind, Result};
use crate::tier::Tier;
use crate::update::{Change, Renewal, Update};
use crate::waiting::block_on;

fn increment() -> Change {
    Change::Increment { by: 1, lifetime: Renewal::Fixed(None) }
}

#[track_caller]
fn assert_kind<R: Debug>(answer: Result<R>, kind: ErrorKind, what: &str) {
    let answer = answer.map(|answer| format!("{answer:?}")).map_err(|error| error.kind());
    assert_eq!(answer, Err(kind), "{what}");
}

/// What the capabilities deny is refused as unsupported; what they claim is not.
pub fn what_is_not_supported_is_said<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = Bench::new(subject);
    let capabilities = bench.capabilities();
    let updated = bench.try_update("k", increment());
    match capabilities.updates {
        true => assert!(updated.is_ok(), "{updated:?}"),
        false => assert_kind(updated, ErrorKind::Unsupported, "update"),
    }
    let listed = block_on(bench.tier.list(&bench.namespace, &PageRequest::default()));
    match capabilities.lists {
        true => assert!(listed.is_ok(), "{listed:?}"),
        false => assert_kind(listed, ErrorKind::Unsupported, "list"),
    }
    assert!(!bench.tier.name().is_empty(), "a tier has a name for errors");
    assert!(block_on(bench.tier.ready()).is_ok(), "a fresh tier is ready");
    Outcome::Kept
}

/// After `close`, every call says so; closing again is no error, from whatever thread.
pub fn close_is_final_and_twice_is_once<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = Bench::new(subject);
    let record = bench.put("k", "value");
    let path = bench.path("k");
    crossbeam_utils::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|_| block_on(bench.tier.close()).expect("close"));
        }
    })
    .expect("every thread joined");
    block_on(bench.tier.close()).expect("closing again");

    let tier = &bench.tier;
    assert_kind(block_on(tier.read_one(&path, Intent::Look)), ErrorKind::Closed, "read");
    assert_kind(block_on(tier.write_one(&Write::put(path.borrowed(), &record))), ErrorKind::Closed, "write");
    let cleared = Cleared { namespace: &bench.namespace, version: bench.draw(), as_of: bench.now() };
    assert_kind(block_on(tier.clear(&cleared)), ErrorKind::Closed, "clear");
    assert_kind(block_on(tier.ready()), ErrorKind::Closed, "ready");
    if bench.capabilities().updates {
        let update =
            Update { path: path.borrowed(), change: increment(), version: bench.draw(), as_of: bench.now() };
        assert_kind(block_on(tier.update(&update)), ErrorKind::Closed, "update");
    }
    if bench.capabilities().lists {
        let listed = block_on(tier.list(&bench.namespace, &PageRequest::default()));
        assert_kind(listed, ErrorKind::Closed, "list");
    }
    Outcome::Kept
}

/// What was acknowledged before a clean close is there when it is opened again: values, tombstones, clearings.
pub fn what_was_written_is_there_after_reopening<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = Bench::new(subject);
    only_if!(
        bench.capabilities().durability != Durability::Volatile,
        "its capabilities say that it keeps nothing"
    );
    let before_clear = bench.record("before");
    let cleared = bench.clear();
    let old = bench.record("old");
    let kept = bench.put("kept", "value");
    let removed = bench.remove("removed");
    let Some(bench) = bench.reopen() else { return Outcome::Skipped("the subject cannot reopen it") };
    assert_found(&bench.read("kept"), &kept);
    assert_removed(&bench.read("removed"), removed);
    assert_older(bench.put_record("removed", &old), removed);
    assert_older(bench.put_record("never there", &before_clear), cleared);
    assert_eq!(bench.put_record("never there", &bench.record("after")), Wrote::Done);
    Outcome::Kept
}
