//! What the store promises, beyond the contract that every tier keeps.

mod common;

use std::time::Duration;

use common::*;
use nanotier_file::Builder;
use nanotier_tier::conformance::durable;
use nanotier_tier::{Scope, Wrote};

nanotier_tier::durable_promises!(
    Files,
    an_asynchronous_write_outlives_its_process_and_is_flushed_within_the_loss_window,
);

#[test]
fn threads_that_write_at_once_share_commits_and_each_is_answered_for_its_own() {
    // On a disk: where a flush takes no time, nobody waits for another's.
    let place = Place::in_folder(tempfile::tempdir().unwrap());
    durable::threads_that_write_at_once_share_commits_and_each_is_answered_for_its_own(&place, 1);
}

#[test]
fn options_that_cannot_work_are_refused_with_a_sentence() {
    durable::options_that_cannot_work_are_refused_with_a_sentence::<Files>(
        &[
            (|builder| builder.segment_size(1000), "a segment has"),
            (|builder| builder.bytes_max(1000), "bounded to"),
        ],
        Scope::Host,
    );
}

#[test]
fn a_bounded_store_lets_the_oldest_leave_also_after_compaction_and_opening_again_and_keeps_their_versions() {
    const MAX: u64 = 128 * 1024;
    let place = Place::new();
    let bounded = |builder: Builder| builder.bytes_max(MAX).segment_size(16 * 1024);
    let mut store = place.open_with(bounded);
    for n in 1..600 {
        place.hands.advance(Duration::from_millis(1));
        assert_eq!(place.put(&store, &format!("key {n}"), n, &[7; 1000]), Wrote::Done);
        assert!(store.usage().unwrap().row_bytes <= MAX);
        if n % 150 == 0 {
            store.compact().unwrap();
            drop(store);
            store = place.open_with(bounded);
        }
    }
    let is_there = |n: u64| value(&store, &format!("key {n}")).is_some();
    let oldest = (1..600).find(|n| is_there(*n)).unwrap();
    assert!((oldest..600).all(is_there), "what was taken later than any that stayed, stays");
    assert!(oldest < 570, "{oldest}");
    assert_eq!(place.put(&store, "key 500", 499, b"late"), Wrote::Older(v(500)));
}
