//! How a near tier stands to the one below it: what is copied, for how long, and what is served when the far one fails.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use nanotier_clock::Timestamp;
use siphasher::sip::SipHasher13;

use crate::path::Path;
use crate::stored::Record;

/// The policies of one link of a chain; given to [`Tier::over_with`](crate::Tier::over_with).
///
/// ```
/// use nanotier_tier::{Link, Limits, MemoryStore, Promote, Store, Tier, WritePolicy};
/// use std::time::Duration;
///
/// // A small disk before a large service: only what is wanted twice is copied, for an hour at most.
/// let (disk, service) = (MemoryStore::new().inline(), MemoryStore::new().inline());
/// let link = Link::new()
///     .write(WritePolicy::Around)
///     .promote(Promote::OnSecondHit)
///     .copies_at_most(Duration::from_secs(3600));
/// let chain = disk.over_with(service.guarded(Limits::new()), link);
/// assert!(chain.verify().is_ok());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "a link does nothing until a chain is made with it"]
pub struct Link {
    pub(crate) write: WritePolicy,
    pub(crate) promote: Promote,
    pub(crate) copies_at_most: Option<Duration>,
    pub(crate) read: ReadPolicy,
}

/// What the near tier gets of a write that the far one took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WritePolicy {
    /// The record. What is written is read soon from nearby.
    #[default]
    Through,
    /// A blank of its version: nothing older is left, and the first readers go further out. For what is written more often
    /// than read.
    Around,
}

/// What is copied of what readers find further out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Promote {
    /// Everything.
    #[default]
    Always,
    /// What was found there before, as far as 4096 places remember it: a walk through all keys does not fill the near
    /// tier. Two paths may share a place; then one of them is copied later. What the near tier has is renewed at once.
    OnSecondHit,
    /// Nothing: the near tier holds what is written through it, and renews that.
    Never,
}

/// What is answered when the far tier fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ReadPolicy {
    /// What the near tier has that is usable: stale or in doubt, and said to be.
    #[default]
    Degrade,
    /// The far tier's error, unless the near tier holds a fresh record that is not in doubt. A loader still runs then; what
    /// memory serves as stale is up to the cache.
    Strict,
}

impl Link {
    /// Through, always, for as long as the record says, degrading: what [`over`](crate::Tier::over) does.
    pub const fn new() -> Self {
        Self {
            write: WritePolicy::Through,
            promote: Promote::Always,
            copies_at_most: None,
            read: ReadPolicy::Degrade,
        }
    }

    /// What the near tier gets of a write.
    pub const fn write(self, write: WritePolicy) -> Self {
        Self { write, ..self }
    }

    /// What is copied of what readers find.
    pub const fn promote(self, promote: Promote) -> Self {
        Self { promote, ..self }
    }

    /// How long a copy in the near tier lives at most, stale time included. It may end sooner by its own deadlines, never
    /// later; it is copied anew, for as long again, when it is found further out. More than zero.
    pub const fn copies_at_most(self, lifetime: Duration) -> Self {
        Self { copies_at_most: Some(lifetime), ..self }
    }

    /// What is answered when the far tier fails.
    pub const fn read(self, read: ReadPolicy) -> Self {
        Self { read, ..self }
    }

    /// The record as the near tier is to hold it from `now` on.
    pub(crate) fn copied<'r>(&self, record: &'r Record, now: Timestamp) -> Cow<'r, Record> {
        let Some(lifetime) = self.copies_at_most else { return Cow::Borrowed(record) };
        let end = now.plus(lifetime);
        if record.deadlines.usable_until <= end {
            return Cow::Borrowed(record);
        }
        let mut copy = record.clone();
        copy.deadlines.fresh_until = copy.deadlines.fresh_until.min(end);
        copy.deadlines.usable_until = end;
        Cow::Owned(copy)
    }
}

/// Which paths were met once: one place for each of 4096 classes of paths, the last one met.
#[derive(Debug, Default)]
pub(crate) struct Once(Vec<u64>);

impl Once {
    const PLACES: usize = 4096;

    /// True if `path` was met before. Then it is forgotten.
    pub(crate) fn was_met(&mut self, path: &Path<'_>) -> bool {
        if self.0.is_empty() {
            self.0 = vec![0; Self::PLACES];
        }
        let mut hasher = SipHasher13::new();
        path.hash(&mut hasher);
        // 0 is an empty place.
        let tag = hasher.finish() | 1;
        let place = usize::try_from((tag >> 1) % Self::PLACES as u64).unwrap_or(0);
        let was_met = self.0[place] == tag;
        self.0[place] = if was_met { 0 } else { tag };
        was_met
    }
}
