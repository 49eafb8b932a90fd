//! What the store promises, beyond the contract that every tier keeps.

mod common;

use std::time::Duration;

use common::*;
use nanotier_sqlite::{Durability, SqliteStore};
use nanotier_tier::conformance::durable;
use nanotier_tier::{ErrorKind, Scope, Store, Wrote};

nanotier_tier::durable_promises!(
    Sqlite,
    an_asynchronous_write_outlives_its_process_and_is_flushed_within_the_loss_window,
    a_missing_folder_is_created_and_the_file_is_for_its_owner_alone,
);

#[cfg(unix)]
#[test]
fn a_flush_that_does_not_find_the_log_is_an_error_and_what_was_given_is_doubted() {
    let place = Place::new();
    let loss_window = Duration::from_secs(3600);
    let store = place.open_with(|builder| builder.durability(Durability::Async { loss_window }));
    assert_eq!(place.put(&store, "k", 1, b"one"), Wrote::Done);
    std::fs::remove_file(place.beside("-wal")).unwrap();
    place.hands.advance(MINUTE);
    assert_eq!(store.flush().unwrap_err().kind(), ErrorKind::Storage);
    assert_eq!(store.believed_since(), place.now());
}

#[test]
fn threads_that_write_at_once_share_commits_and_each_is_answered_for_its_own() {
    durable::threads_that_write_at_once_share_commits_and_each_is_answered_for_its_own(&Place::new(), 2);
}

#[test]
fn options_that_cannot_work_are_refused_with_a_sentence() {
    durable::options_that_cannot_work_are_refused_with_a_sentence::<Sqlite>(
        &[
            (|builder| builder.cache_size(1000), "cache pages"),
            (|builder| builder.readers_max(0), "connections read"),
            (|builder| builder.readers_max(65), "connections read"),
            (|builder| builder.busy_timeout(Duration::ZERO), "waited for"),
            (|builder| builder.busy_timeout(Duration::MAX), "waited for"),
            (|builder| builder.wal_max(1_000_000), "write-ahead log"),
            (|builder| builder.bytes_max(1000), "size bound"),
        ],
        Scope::Host,
    );
    let folder = SqliteStore::open(Place::new().folder.path()).unwrap_err();
    assert_eq!(folder.kind(), ErrorKind::Config);
}
