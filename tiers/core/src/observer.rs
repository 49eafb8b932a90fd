//! What a cache tells whoever observes it: what each call came to, and what happened below memory that no answer tells.
//! `docs/OBSERVING.md` says which call comes to what.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::entry::TierIndex;
use crate::error::ErrorKind;
use crate::shaping::Refused;

/// Is told what happens, on the thread where it happens: so it must be quick, and must not call the cache that tells it.
///
/// Both methods do nothing unless written. A panic in one ends there: the call goes on as if nobody had been told.
///
/// ```
/// use nanotier_tier::{Call, Event, Observer, Outcome};
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
///
/// #[derive(Default)]
/// struct Trouble {
///     errors: AtomicU64,
///     failures: AtomicU64,
/// }
///
/// impl Observer for Trouble {
///     fn call(&self, call: &Call<'_>) {
///         if call.outcome == Outcome::Error {
///             self.errors.fetch_add(1, Relaxed);
///         }
///     }
///     fn event(&self, event: &Event) {
///         if let Event::ReadFailed { tier, at } = event {
///             eprintln!("tier {} ({tier}) did not answer", at.0);
///             self.failures.fetch_add(1, Relaxed);
///         }
///     }
/// }
/// ```
pub trait Observer: Send + Sync + 'static {
    /// A call has ended, or a refresh behind one. Once for each.
    fn call(&self, call: &Call<'_>) {
        let _ = call;
    }

    /// Something happened below memory that nobody was told by an answer.
    fn event(&self, event: &Event) {
        let _ = event;
    }
}

impl<O: Observer + ?Sized> Observer for Arc<O> {
    fn call(&self, call: &Call<'_>) {
        (**self).call(call);
    }

    fn event(&self, event: &Event) {
        (**self).event(event);
    }
}

/// Both are told, the first one first.
impl<One: Observer, Other: Observer> Observer for (One, Other) {
    fn call(&self, call: &Call<'_>) {
        contained(|| self.0.call(call));
        self.1.call(call);
    }

    fn event(&self, event: &Event) {
        contained(|| self.0.event(event));
        self.1.event(event);
    }
}

/// Runs an observer's code. Its panic ends here, and has been reported by the panic hook.
pub fn contained(tell: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(tell));
}

/// A call of a cache that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Call<'a> {
    /// What was asked for.
    pub operation: Operation,
    /// What it came to.
    pub outcome: Outcome,
    /// Where the value came from.
    pub source: Source,
    /// From the call to its end, the time in which nobody polled it included. `None` where memory alone answered: to
    /// read a clock would cost more than that.
    pub duration: Option<Duration>,
    /// What went wrong. Set for [`Outcome::Error`] and [`Outcome::Rejected`], and there alone.
    pub error: Option<ErrorKind>,
    /// How many keys it was about: 1, but for batches; 0 for a whole cache.
    pub keys: usize,
    /// The key, if the cache was told to show keys; never for a batch.
    pub key: Option<&'a str>,
}

impl Call<'_> {
    /// A call about one key that is not shown, by memory alone.
    #[must_use]
    pub const fn new(operation: Operation, outcome: Outcome) -> Self {
        Self { operation, outcome, source: Source::Nowhere, duration: None, error: None, keys: 1, key: None }
    }
}

/// The calls that are told. More may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// A look-up.
    Get,
    /// A look-up with a loader.
    GetWith,
    /// A batch of look-ups.
    GetMany,
    /// A batch of look-ups with a loader.
    GetManyWith,
    /// Whether there is a value.
    Contains,
    /// How long a value has left.
    TimeLeft,
    /// A value stored.
    Insert,
    /// A batch of values stored.
    InsertMany,
    /// A removal.
    Remove,
    /// A batch of removals.
    RemoveMany,
    /// A removal that answers what was there.
    Take,
    /// A lifetime changed.
    Touch,
    /// All removed.
    Clear,
    /// A value looked for or loaded anew behind a call that was answered with an older one.
    Refresh,
}

impl Operation {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Get,
        Self::GetWith,
        Self::GetMany,
        Self::GetManyWith,
        Self::Contains,
        Self::TimeLeft,
        Self::Insert,
        Self::InsertMany,
        Self::Remove,
        Self::RemoveMany,
        Self::Take,
        Self::Touch,
        Self::Clear,
        Self::Refresh,
    ];

    /// Its name in metrics and logs, in snake case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::GetWith => "get_with",
            Self::GetMany => "get_many",
            Self::GetManyWith => "get_many_with",
            Self::Contains => "contains",
            Self::TimeLeft => "time_left",
            Self::Insert => "insert",
            Self::InsertMany => "insert_many",
            Self::Remove => "remove",
            Self::RemoveMany => "remove_many",
            Self::Take => "take",
            Self::Touch => "touch",
            Self::Clear => "clear",
            Self::Refresh => "refresh",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a call came to: a closed set, one of them for each call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// There is a fresh value, found in memory or in a tier.
    Hit,
    /// There is a value that is no longer fresh, or that could not be confirmed.
    Stale,
    /// There is none.
    Miss,
    /// This call's loader brought the value.
    Computed,
    /// The value came of a look or a load that another call had begun.
    Joined,
    /// Behind: a new value took the place of an older one.
    Refreshed,
    /// A write is done.
    Done,
    /// Refused before anything was tried: closed, too busy, too large, not supported, a loader asking for its own key.
    Rejected,
    /// Failed.
    Error,
    /// Its caller left before the end. A write or a load goes on; what it comes to is told to nobody.
    Dropped,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Hit,
        Self::Stale,
        Self::Miss,
        Self::Computed,
        Self::Joined,
        Self::Refreshed,
        Self::Done,
        Self::Rejected,
        Self::Error,
        Self::Dropped,
    ];

    /// What an error of this kind is: a refusal if nothing was tried, else a failure.
    #[must_use]
    pub const fn of_error(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Busy
            | ErrorKind::Closed
            | ErrorKind::Config
            | ErrorKind::Reentrant
            | ErrorKind::TooLarge
            | ErrorKind::Unsupported => Self::Rejected,
            _ => Self::Error,
        }
    }

    /// Its name in metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Miss => "miss",
            Self::Computed => "computed",
            Self::Joined => "joined",
            Self::Refreshed => "refreshed",
            Self::Done => "done",
            Self::Rejected => "rejected",
            Self::Error => "error",
            Self::Dropped => "dropped",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// Memory.
    Memory,
    /// A tier below, counted from 0 at the near end.
    Tier(TierIndex),
    /// The loader.
    Loader,
    /// Nowhere: there is no value, or the call was a write.
    Nowhere,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.pad("memory"),
            Self::Tier(TierIndex(index)) => f.pad(&format!("tier {index}")),
            Self::Loader => f.pad("the loader"),
            Self::Nowhere => f.pad("nowhere"),
        }
    }
}

/// What happened below memory that nobody was told by an answer.
///
/// Where a tier has to do with it, `tier` is its [`name`](crate::Tier::name), which all tiers of a kind have, and `at` its
/// place in the chain, counted from 0 at the near end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A copy could not be written; it is distrusted until the truth confirms what it holds.
    CopyFailed {
        /// The tier that holds the copy.
        tier: &'static str,
        /// Its place.
        at: TierIndex,
    },
    /// A stored record was damaged, foreign or unreadable, and counted as a miss.
    RecordUnreadable {
        /// The tier that held it.
        tier: &'static str,
        /// Its place.
        at: TierIndex,
    },
    /// A stored value could not be opened by the tier's [`shaping`](crate::shaping), and counted as a miss.
    RecordRefused {
        /// The tier that held it.
        tier: &'static str,
        /// Its place.
        at: TierIndex,
        /// Why.
        why: Refused,
    },
    /// A tier failed to answer a read, or a part of one; another one, or the loader, may have. Once for each tier and read.
    ReadFailed {
        /// The tier that failed.
        tier: &'static str,
        /// Its place.
        at: TierIndex,
    },
    /// A tier failed too often: for a while it is not asked.
    BreakerOpened {
        /// The tier that failed.
        tier: &'static str,
        /// Its place.
        at: TierIndex,
    },
    /// A tier that was left alone is tried by one call.
    BreakerHalfOpen {
        /// The tier that is tried.
        tier: &'static str,
        /// Its place.
        at: TierIndex,
    },
    /// A tier that was left alone answered: it is asked again.
    BreakerClosed {
        /// The tier that answered.
        tier: &'static str,
        /// Its place.
        at: TierIndex,
    },
    /// Queued writes could not be written: they are kept, and tried again.
    FlushFailed {
        /// The tier that failed.
        tier: &'static str,
        /// Its place.
        at: TierIndex,
    },
    /// A queued write was given up: the tier refused it for good.
    QueuedWriteLost {
        /// The tier that refused.
        tier: &'static str,
        /// Its place.
        at: TierIndex,
    },
    /// A load that nobody waits for failed: a stale value was not refreshed.
    LoadFailed,
    /// The truth did not take what a loader brought: it is kept in memory for a short time only.
    FillFailed {
        /// The tier that failed.
        tier: &'static str,
        /// Its place.
        at: TierIndex,
    },
}

impl Event {
    /// Its name in metrics and logs, in snake case.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::CopyFailed { .. } => "copy_failed",
            Self::RecordUnreadable { .. } => "record_unreadable",
            Self::RecordRefused { .. } => "record_refused",
            Self::ReadFailed { .. } => "read_failed",
            Self::BreakerOpened { .. } => "breaker_opened",
            Self::BreakerHalfOpen { .. } => "breaker_half_open",
            Self::BreakerClosed { .. } => "breaker_closed",
            Self::FlushFailed { .. } => "flush_failed",
            Self::QueuedWriteLost { .. } => "queued_write_lost",
            Self::LoadFailed => "load_failed",
            Self::FillFailed { .. } => "fill_failed",
        }
    }

    /// The tier that has to do with it, by name and place.
    #[must_use]
    pub const fn tier(&self) -> Option<(&'static str, TierIndex)> {
        match *self {
            Self::CopyFailed { tier, at }
            | Self::RecordUnreadable { tier, at }
            | Self::RecordRefused { tier, at, .. }
            | Self::ReadFailed { tier, at }
            | Self::BreakerOpened { tier, at }
            | Self::BreakerHalfOpen { tier, at }
            | Self::BreakerClosed { tier, at }
            | Self::FlushFailed { tier, at }
            | Self::QueuedWriteLost { tier, at }
            | Self::FillFailed { tier, at } => Some((tier, at)),
            Self::LoadFailed => None,
        }
    }
}
