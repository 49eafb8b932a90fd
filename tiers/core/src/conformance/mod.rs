//! The kit that checks a tier against the contract.
//!
//! One function per promise, named by it, generic over the tier; [`run_all`] runs those that the tier's
//! [`Capabilities`](crate::Capabilities) call for, prints a line for each, and panics with the names of the broken ones. No runtime is
//! needed: a plain `#[test]` will do. `docs/CONFORMANCE.md` says which requirement is kept by which promise.
//!
//! ```
//! use nanotier_tier::conformance::{Subject, run_all};
//! use nanotier_tier::{Clock, Inline, MemoryStore};
//!
//! let (clock, hands) = Clock::manual();
//! let subject = Subject::new(clock, || Inline(MemoryStore::new())).with_hands(hands);
//! let report = run_all(&subject);
//! assert!(!report.kept.is_empty());
//! ```
//!
//! A tier whose server judges time by itself is checked in real time: leave out the hands, and say by
//! [`with_slack`](Subject::with_slack) how late its expiry may be. What cannot be waited for is skipped, and said to be.
//!
//! [`SharedSim`] is a simulated truth for a fleet: a test double for caches, and itself held to the contract.

mod batches;
mod bench;
mod clearing;
mod closing;
#[cfg(not(nanotier_schedules))]
pub mod durable;
mod listing;
mod names;
mod nothing;
mod order;
mod sim;
mod updates;
mod values;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use nanotier_clock::{Clock, Hands};

pub use batches::*;
pub use clearing::*;
pub use closing::*;
pub use listing::*;
pub use names::*;
pub use nothing::*;
pub use order::*;
pub use sim::{SharedSim, SimHandle, SimOptions};
pub use updates::*;
pub use values::*;

use crate::tier::Tier;

/// The tier to be checked: how to make one, and how time passes for it.
pub struct Subject<T> {
    fresh: Box<dyn Fn() -> T + Send + Sync>,
    reopen: Option<Box<dyn Fn(T) -> T + Send + Sync>>,
    clock: Clock,
    hands: Option<Hands>,
    slack: Duration,
    shapes: bool,
    keeps_nothing: bool,
}

impl<T: Tier> Subject<T> {
    /// Tiers made by `fresh`, which are attached to `clock` and given records stamped by it.
    ///
    /// They may all reach the same service: each promise works in namespaces of its own, whose names begin with `kit-`.
    pub fn new(clock: Clock, fresh: impl Fn() -> T + Send + Sync + 'static) -> Self {
        Self {
            fresh: Box::new(fresh),
            reopen: None,
            clock,
            hands: None,
            slack: Duration::from_millis(100),
            shapes: false,
            keeps_nothing: false,
        }
    }

    /// The same, with time moved by `hands`: they move `clock` and every clock the tier judges by.
    #[must_use]
    pub fn with_hands(self, hands: Hands) -> Self {
        Self { hands: Some(hands), slack: Duration::ZERO, ..self }
    }

    /// The same, for a tier that keeps what it holds: `reopen` is given a closed one and opens the same again.
    #[must_use]
    pub fn with_reopen(self, reopen: impl Fn(T) -> T + Send + Sync + 'static) -> Self {
        Self { reopen: Some(Box::new(reopen)), ..self }
    }

    /// The same, for a tier that stores values [shaped](crate::shaping): listings tell how long they are as stored.
    #[must_use]
    pub fn with_shaped_values(self) -> Self {
        Self { shapes: true, ..self }
    }

    /// The same, for a tier that keeps nothing and says yes, as [`NullStore`](crate::NullStore): checked is that it does just that.
    #[must_use]
    pub fn keeping_nothing(self) -> Self {
        Self { keeps_nothing: true, ..self }
    }

    /// The same, waiting for `slack` longer than a lifetime before the tier's idea of its end counts. 100 ms by default, nothing
    /// with hands.
    #[must_use]
    pub fn with_slack(self, slack: Duration) -> Self {
        Self { slack, ..self }
    }
}

impl<T> fmt::Debug for Subject<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject")
            .field("clock", &self.clock)
            .field("reopens", &self.reopen.is_some())
            .field("by_hand", &self.hands.is_some())
            .field("slack", &self.slack)
            .field("shapes", &self.shapes)
            .finish_non_exhaustive()
    }
}

/// What became of a promise that was not broken. A broken one panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is kept.
    Kept,
    /// It does not apply, or could not be checked: why.
    Skipped(&'static str),
}

/// What [`check_all`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The promises that were checked and are kept.
    pub kept: Vec<&'static str>,
    /// Those that were not checked, and why.
    pub skipped: Vec<(&'static str, &'static str)>,
    /// Those that are broken.
    pub broken: Vec<&'static str>,
}

/// Checks every promise and prints a line for each.
///
/// # Panics
///
/// With the names of the promises that are broken, after all were checked.
pub fn run_all<T: Tier>(subject: &Subject<T>) -> Report {
    let report = check_all(subject);
    assert!(report.broken.is_empty(), "broken promises: {}", report.broken.join(", "));
    report
}

/// The same without a panic at the end: what is broken is in the report.
pub fn check_all<T: Tier>(subject: &Subject<T>) -> Report {
    check_some(subject, |_| true)
}

/// The same for the promises whose names are wanted; of others nothing is said.
pub fn check_some<T: Tier>(subject: &Subject<T>, wanted: impl Fn(&str) -> bool) -> Report {
    let mut report = Report::default();
    for (name, check) in promises::<T>().into_iter().filter(|(name, _)| wanted(name)) {
        // What a promise leaves behind when it breaks is used by no other: each has a fresh tier.
        match catch_unwind(AssertUnwindSafe(|| check_one(subject, name, check))) {
            Ok(Outcome::Kept) => {
                println!("kept     {name}");
                report.kept.push(name);
            }
            Ok(Outcome::Skipped(why)) => {
                println!("SKIPPED  {name}: {why}");
                report.skipped.push((name, why));
            }
            Err(_) => {
                println!("BROKEN   {name}");
                report.broken.push(name);
            }
        }
    }
    report
}

/// The names of all promises, in the order in which they are checked.
#[must_use]
pub fn names() -> Vec<&'static str> {
    promises::<crate::Inline<crate::NullStore>>().into_iter().map(|(name, _)| name).collect()
}

fn check_one<T: Tier>(subject: &Subject<T>, name: &str, check: fn(&Subject<T>) -> Outcome) -> Outcome {
    let is_of_nothing = name == "what_keeps_nothing_says_yes";
    match (subject.keeps_nothing, is_of_nothing) {
        (true, false) if !KEPT_BY_NOTHING.contains(&name) => Outcome::Skipped("it keeps nothing"),
        (false, true) => Outcome::Skipped("it keeps what it is given"),
        _ => check(subject),
    }
}

/// Promises that need nothing to be kept.
const KEPT_BY_NOTHING: [&str; 3] = [
    "an_empty_batch_has_no_answers",
    "the_tier_tells_the_time_even_to_a_late_clock",
    "what_is_not_supported_is_said",
];

/// A promise: its name, and the check.
type Promise<T> = (&'static str, fn(&Subject<T>) -> Outcome);

macro_rules! all {
    ($($name:ident)*) => {
        vec![$((stringify!($name), $name::<T> as fn(&Subject<T>) -> Outcome)),*]
    };
}

/// Every promise of the kit.
fn promises<T: Tier>() -> Vec<Promise<T>> {
    all! {
        a_completed_write_is_seen_by_every_later_read
        an_older_write_is_refused_and_names_the_newer_version
        the_same_write_again_is_done
        of_many_writers_the_newest_wins
        a_removed_entry_shows_a_tombstone_for_the_horizon
        a_write_decided_before_the_horizon_is_too_late
        a_fill_of_what_nobody_touched_is_taken
        a_fill_after_a_change_is_refused
        a_fill_with_what_another_tier_showed_is_refused
        expiry_is_not_a_change
        a_fresh_write_survives_readers_of_the_expired_one
        dropping_a_write_future_leaves_it_whole_or_undone
        dropping_a_read_future_leaves_nothing_behind

        empty_value_differs_from_nothing
        deadlines_version_tags_cost_come_back_as_they_went
        a_large_value_comes_back_and_a_larger_one_is_refused
        values_of_many_sizes_come_back
        a_value_that_begins_like_a_frame_comes_back
        a_record_goes_stale_and_ends_by_its_deadlines

        answers_come_in_the_order_of_the_batch
        a_batch_with_the_same_key_twice_is_done_in_its_order
        an_empty_batch_has_no_answers

        nested_and_hostile_namespaces_and_keys_do_not_meet

        clear_empties_its_namespace_and_no_other
        what_was_cleared_does_not_come_back
        clear_among_writers_loses_nothing_newer

        add_has_one_winner
        take_has_one_winner
        counters_count
        concurrent_increments_lose_nothing
        a_counter_lives_as_long_as_it_was_told
        overflow_is_an_error_and_changes_nothing
        increment_of_a_value_is_not_a_number
        replace_and_remove_if_compare
        an_update_is_newer_than_what_it_replaces
        a_completed_update_is_seen_by_every_later_read
        what_was_removed_or_cleared_is_not_there_for_an_update
        an_update_decided_before_the_horizon_is_too_late
        the_tier_tells_the_time_even_to_a_late_clock

        listing_pages_in_order_and_only_its_namespace
        listing_limits_its_pages
        listing_goes_on_from_any_cursor
        listing_hides_what_expired_or_was_removed
        listing_by_a_part_of_the_key

        what_keeps_nothing_says_yes

        what_is_not_supported_is_said
        close_is_final_and_twice_is_once
        what_was_written_is_there_after_reopening
    }
}
