//! What every durable store promises beyond the contract: what is there after it was opened again, after a crash, and for those who
//! use it at the same time.
//!
//! One function per promise. A store says by a [`Fixture`] how it is opened, and has a test for each:
//!
//! ```ignore
//! struct Redb;
//!
//! impl Fixture for Redb {
//!     nanotier_tier::durable_fixture!(RedbStore, Builder, "cache.redb");
//!     type Folder = tempfile::TempDir;
//!     fn folder() -> Self::Folder {
//!         tempfile::tempdir().unwrap()
//!     }
//!     fn copy(from: &Path, to: &Path) {
//!         std::fs::copy(from, to).unwrap();
//!     }
//! }
//!
//! nanotier_tier::durable_promises!(Redb);
//! ```

mod crowd;
mod damage;
mod opening;
mod place;
mod rows;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use nanotier_clock::Clock;

pub use crowd::*;
pub use damage::{fill, is_whole, key, use_everything, value_of};
pub use opening::*;
pub use place::*;
pub use rows::*;

use super::{Subject, run_all};
use crate::embedded::Stats;
use crate::{Durability, Inline, Result, Store};

/// A durable store as its promises are checked: how it is opened, and what else it can do.
///
/// [`durable_fixture!`](crate::durable_fixture) brings all but the folder and the copy.
pub trait Fixture: Sized + 'static {
    /// The store.
    type Store: Store + fmt::Debug;
    /// Its options.
    type Builder;
    /// A folder that is gone when this is dropped.
    type Folder: AsRef<Path> + Send + Sync;
    /// The name of the store's file, or its folder, in that one.
    const FILE: &'static str;

    /// An empty folder.
    fn folder() -> Self::Folder;
    /// Brings what the end of all processes at this moment would leave of the store at `from` to `to`, where nothing is yet.
    fn copy(from: &Path, to: &Path);
    /// Options for a store in this file.
    fn builder(file: PathBuf) -> Self::Builder;
    /// Opens the store.
    fn build(builder: Self::Builder) -> Result<Self::Store>;
    /// What an acknowledged write survives.
    fn durability(builder: Self::Builder, durability: Durability) -> Self::Builder;
    /// How long tombstones are kept.
    fn horizon(builder: Self::Builder, horizon: Duration) -> Self::Builder;
    /// How often expired records are looked for.
    fn sweep_interval(builder: Self::Builder, interval: Duration) -> Self::Builder;
    /// The largest value, in bytes.
    fn value_len_max(builder: Self::Builder, bytes: usize) -> Self::Builder;
    /// The secret by which digests are keyed.
    fn secret(builder: Self::Builder, secret: [u8; 16]) -> Self::Builder;
    /// The store's file.
    fn path(store: &Self::Store) -> &Path;
    /// Sweeps now.
    fn sweep(store: &Self::Store) -> Result<usize>;
    /// Flushes now.
    fn flush(store: &Self::Store) -> Result<()>;
    /// What was done so far.
    fn stats(store: &Self::Store) -> Stats;
}

/// A change of options.
pub type Change<F> = fn(<F as Fixture>::Builder) -> <F as Fixture>::Builder;

/// The contract that every tier keeps, for a store of this durability.
pub fn the_store_keeps_the_contract<F: Fixture>(durability: Durability) {
    fn open<F: Fixture>(file: PathBuf, durability: Durability) -> Inline<F::Store> {
        let builder = F::durability(F::builder(file), durability);
        Inline(F::build(F::sweep_interval(builder, Duration::from_secs(3600))).unwrap())
    }
    let folder = F::folder();
    let place = folder.as_ref().to_owned();
    let (clock, hands) = Clock::manual();
    let made = AtomicUsize::new(0);
    let fresh =
        move || open::<F>(place.join(format!("{}-{}", made.fetch_add(1, Relaxed), F::FILE)), durability);
    let reopen = move |Inline(store): Inline<F::Store>| open::<F>(F::path(&store).to_owned(), durability);
    let report = run_all(&Subject::new(clock, fresh).with_hands(hands).with_reopen(reopen));
    assert!(report.kept.len() > 20, "{report:?}");
}

/// What is the same in each [`Fixture`](crate::conformance::durable::Fixture) of a store with the usual options: given the store, its builder, and the name of its
/// file. To be written within the `impl`.
#[macro_export]
macro_rules! durable_fixture {
    ($store:ty, $builder:ty, $file:literal) => {
        type Store = $store;
        type Builder = $builder;
        const FILE: &'static str = $file;

        fn builder(file: ::std::path::PathBuf) -> $builder {
            <$store>::builder(file)
        }
        fn build(builder: $builder) -> $crate::Result<$store> {
            builder.build()
        }
        fn durability(builder: $builder, durability: $crate::Durability) -> $builder {
            builder.durability(durability)
        }
        fn horizon(builder: $builder, horizon: ::std::time::Duration) -> $builder {
            builder.horizon(horizon)
        }
        fn sweep_interval(builder: $builder, interval: ::std::time::Duration) -> $builder {
            builder.sweep_interval(interval)
        }
        fn value_len_max(builder: $builder, bytes: usize) -> $builder {
            builder.value_len_max(bytes)
        }
        fn secret(builder: $builder, secret: [u8; 16]) -> $builder {
            builder.secret(secret)
        }
        fn path(store: &$store) -> &::std::path::Path {
            store.path()
        }
        fn sweep(store: &$store) -> $crate::Result<usize> {
            store.sweep()
        }
        fn flush(store: &$store) -> $crate::Result<()> {
            store.flush()
        }
        fn stats(store: &$store) -> $crate::embedded::Stats {
            store.stats()
        }
    };
}

/// A test for each promise of [`conformance::durable`](crate::conformance::durable) that every durable store keeps, and for those named after the
/// [`Fixture`](crate::conformance::durable::Fixture), which only some keep.
#[macro_export]
macro_rules! durable_promises {
    ($fixture:ty $(, $own:ident)* $(,)?) => {
        $crate::durable_promises! { @ $fixture;
            $($own)*
            a_record_comes_back_whole_before_and_after_the_store_is_opened_again
            what_was_written_is_there_after_the_store_is_forgotten_without_being_closed
            a_tombstone_and_what_it_refuses_survive_opening_again
            a_cleared_namespace_refuses_what_is_older_also_after_opening_again
            a_clearing_is_refused_by_what_is_newer_and_touches_its_own_namespace_only
            writes_of_one_batch_are_judged_one_by_one_and_answered_in_order
            a_fill_is_taken_only_over_what_was_seen
            what_was_only_refused_costs_no_commit
            expired_records_are_read_with_their_age_and_swept_only_past_the_horizon
            the_background_thread_sweeps_by_the_stores_clock_across_many_batches
            an_update_is_never_refused_as_older_and_its_version_is_kept
            a_listing_is_in_order_of_keys_in_pages_and_by_prefix
            versions_are_total_so_two_writers_at_one_moment_are_ordered
            of_all_who_add_or_take_at_once_one_wins_and_counters_are_exact
            closing_while_others_write_answers_each_of_them_and_loses_nothing_acknowledged
            a_closed_store_says_so_and_closing_twice_is_closing_once
            a_store_that_was_not_closed_is_believed_from_its_opening_on
            records_of_another_secret_are_absent_and_told_and_can_be_written_over
            an_observer_may_use_the_store_it_is_told_about
        }

        #[cfg(unix)]
        #[test]
        fn a_folder_that_cannot_be_written_to_is_an_error_of_storage_with_a_sentence() {
            $crate::conformance::durable::a_folder_that_cannot_be_written_to_is_an_error_of_storage_with_a_sentence::<$fixture>();
        }
    };
    (@ $fixture:ty; $($promise:ident)*) => {
        $(
            #[test]
            fn $promise() {
                $crate::conformance::durable::$promise::<$fixture>();
            }
        )*
    };
}
