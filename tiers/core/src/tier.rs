//! The contract of a tier.

use std::future::Future;
use std::pin::Pin;

use nanotier_clock::Timestamp;

use crate::any_tier::AnyTier;
use crate::behind::{Behind, QueueLog, WriteBehind};
use crate::capabilities::{Capabilities, Scope};
use crate::chain::Chain;
use crate::context::Context;
use crate::entry::{Cleared, Entry, Found, Intent, Page, PageRequest, Write, Wrote};
use crate::error::{Error, ErrorKind, Result};
use crate::guarded::{Guarded, Limits};
use crate::link::Link;
use crate::path::{Namespace, Path};
use crate::shaping::{Shaped, Shaping};
use crate::update::{Update, Updated};

/// A boxed future that can be sent between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// By which opening a tier's contents were left as they are.
///
/// Every opening of a tier that outlives its process has a number that no other has. What somebody keeps beside the tier
/// when an opening ends (a warm file) belongs to what the tier holds as long as that was the last opening to change
/// anything, and ended properly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lineage {
    /// The number of this opening: random, never 0.
    pub opening: u64,
    /// The opening before it, if that was closed properly and nothing was written since.
    pub unchanged_since: Option<u64>,
}

impl Lineage {
    /// Of two tiers together: as they were left only if both are as one and the same opening of both has left them.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        let both = |one: u64, other: u64| {
            use std::hash::Hasher;
            let mut hasher = siphasher::sip::SipHasher13::new();
            hasher.write_u64(one);
            hasher.write_u64(other);
            hasher.finish().max(1)
        };
        let unchanged_since = self.unchanged_since.zip(other.unchanged_since);
        Self {
            opening: both(self.opening, other.opening),
            unchanged_since: unchanged_since.map(|(one, other)| both(one, other)),
        }
    }
}

/// A store of records below memory, asynchronous. Implementors write plain `async fn`.
///
/// Reads and writes come in batches, and everything else is made of them: a wrapper has two calls to forward,
/// and none of them can silently turn a batch into a loop. What a tier takes and what it refuses is in
/// [`rules`](crate::rules).
///
/// # Promises
///
/// - An answer for each path or write, in their order. The outer error means that nothing is known of any of
///   them.
/// - A write answered [`Wrote::Done`] is seen by every read that begins later, and is as durable as
///   [`capabilities`](Tier::capabilities) say.
/// - A future that is dropped leaves each write whole or not done at all.
/// - Damaged, foreign or unreadable records are absent: told to the observer, never an error to the reader.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `Tier`",
    note = "a `Store` becomes one by `Inline(store)`, on the caller's thread, or `Offload::new(store, threads, queue)?`, on threads of its own"
)]
pub trait Tier: Send + Sync + 'static {
    /// A short name for errors and events: `"redb"`, `"redis"`. The same for all instances.
    fn name(&self) -> &'static str;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// How many tiers this is: 1, but for a chain.
    fn depth(&self) -> u8 {
        1
    }

    /// Takes clock, spawner and observer. Called once, when a cache is built over it, before any other call.
    fn attach(&self, context: &Context) {
        let _ = context;
    }

    /// Checks what can be checked before use, and tells how widely the nearest tier of it is shared.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`]; for a chain, if a tier is shared more widely than one below it (O10).
    fn verify(&self) -> Result<Scope> {
        Ok(self.capabilities().scope)
    }

    /// Since when it may be believed: copies that were confirmed earlier may have missed a write. For a tier
    /// that survives its process, the moment of the last opening that did not follow a proper close, kept
    /// across later restarts; [`Timestamp::ZERO`] where nothing can have been missed.
    fn believed_since(&self) -> Timestamp {
        Timestamp::ZERO
    }

    /// Which state of its contents this tier holds, so that something kept elsewhere can be told to belong to it. `None`
    /// where it cannot say: it is shared, or keeps nothing, or does not keep book of its openings.
    ///
    /// Stays as it is when the tier is closed.
    fn lineage(&self) -> Option<Lineage> {
        None
    }

    /// Told by a chain that what this tier was given until `until` may have missed a write. One that outlives its process
    /// remembers it: [`believed_since`](Tier::believed_since) is no earlier from then on, in later processes too.
    fn doubt(&self, until: Timestamp) {
        let _ = until;
    }

    /// Reads what is under each path, whatever its age.
    ///
    /// # Errors
    ///
    /// The outer one if the tier did not answer at all; an inner one for a path alone.
    fn read(
        &self,
        paths: &[Path<'_>],
        intent: Intent,
    ) -> impl Future<Output = Result<Vec<Result<Found>>>> + Send;

    /// Does each write that its guard allows.
    ///
    /// # Errors
    ///
    /// The outer one if nothing is known of any write; an inner one for a write alone. After an error the
    /// write may or may not have happened.
    fn write(&self, writes: &[Write<'_>]) -> impl Future<Output = Result<Vec<Result<Wrote>>>> + Send;

    /// Copies what was found further out into the nearer tiers. Only a [`Chain`] has any.
    ///
    /// # Errors
    ///
    /// None that matter: a copy that failed costs a slower next read.
    fn promote(&self, path: &Path<'_>, found: &Found) -> impl Future<Output = Result<()>> + Send {
        let _ = (path, found);
        async { Ok(()) }
    }

    /// Does an atomic change.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] where the tier cannot do it atomically.
    fn update(&self, update: &Update<'_>) -> impl Future<Output = Result<Updated>> + Send {
        let _ = update;
        let error = Error::new(ErrorKind::Unsupported, self.name(), "update");
        async { Err(error) }
    }

    /// Empties a namespace, and nothing outside it: what is older than the clearing is gone and does not come
    /// back.
    ///
    /// A tier that knows the newest version in the namespace refuses with [`Wrote::Older`] if that is newer
    /// than the clearing, and the caller comes again above it. One that cannot know lets newer records
    /// stay and answers [`Wrote::Done`]: there, what a writer with a clock ahead of ours wrote just
    /// before may survive.
    ///
    /// # Errors
    ///
    /// After an error the namespace may be empty, in part or not at all.
    fn clear(&self, cleared: &Cleared<'_>) -> impl Future<Output = Result<Wrote>> + Send;

    /// Lists the keys of a namespace, a page at a time, in the order of their bytes. A chain lists the tier that the request names, or its
    /// truth.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for a tier that is not there;
    /// [`ErrorKind::Unsupported`] where the service cannot list.
    fn list(&self, namespace: &Namespace, page: &PageRequest) -> impl Future<Output = Result<Page>> + Send {
        let _ = (namespace, page);
        let error = Error::new(ErrorKind::Unsupported, self.name(), "list");
        async { Err(error) }
    }

    /// Whether it can be used now.
    ///
    /// # Errors
    ///
    /// Why not.
    fn ready(&self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }

    /// Writes what is pending and lets go of files and connections. Later calls answer [`ErrorKind::Closed`];
    /// closing twice is closing once.
    ///
    /// # Errors
    ///
    /// What could not be written.
    fn close(&self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }

    /// Reads one path.
    ///
    /// # Errors
    ///
    /// As [`read`](Tier::read).
    fn read_one(&self, path: &Path<'_>, intent: Intent) -> impl Future<Output = Result<Found>> + Send {
        async move { only(self.name(), self.read(std::slice::from_ref(path), intent).await?) }
    }

    /// Does one write.
    ///
    /// # Errors
    ///
    /// As [`write`](Tier::write).
    fn write_one(&self, write: &Write<'_>) -> impl Future<Output = Result<Wrote>> + Send {
        async move { only(self.name(), self.write(std::slice::from_ref(write)).await?) }
    }

    /// This tier over one that lies further out.
    fn over<Far: Tier>(self, far: Far) -> Chain<Self, Far>
    where
        Self: Sized,
    {
        Chain::new(self, far)
    }

    /// This tier over one that lies further out, by the policies of `link`.
    fn over_with<Far: Tier>(self, far: Far, link: Link) -> Chain<Self, Far>
    where
        Self: Sized,
    {
        Chain::with(self, far, link)
    }

    /// This tier with a deadline for each call, a circuit breaker, and a bound on the calls that are at it at once.
    fn guarded(self, limits: Limits) -> Guarded<Self>
    where
        Self: Sized,
    {
        Guarded::new(self, limits)
    }

    /// This tier behind a queue of writes, in memory alone: what is queued is lost with the process.
    fn behind(self, options: WriteBehind) -> Behind<Self>
    where
        Self: Sized,
    {
        Behind::new(self, options)
    }

    /// This tier behind a queue of writes that are acknowledged when `log` has them. What a process before has left in the
    /// log is queued again.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Corrupt`] or [`ErrorKind::Storage`] if the log cannot be read.
    fn behind_logged(self, options: WriteBehind, log: impl QueueLog) -> Result<Behind<Self>>
    where
        Self: Sized,
    {
        Behind::logged(self, options, log)
    }

    /// This tier with its values compressed or encrypted; see [`shaping`](crate::shaping).
    fn shaped(self, shaping: Shaping) -> Shaped<Self>
    where
        Self: Sized,
    {
        Shaped::new(self, shaping)
    }

    /// The tier with its type forgotten.
    fn erase(self) -> AnyTier
    where
        Self: Sized,
    {
        AnyTier::new(self)
    }
}

/// The only answer of a batch of one.
pub(crate) fn only<T>(tier: &'static str, mut answers: Vec<Result<T>>) -> Result<T> {
    match (answers.pop(), answers.is_empty()) {
        (Some(answer), true) => answer,
        // A tier outside this crate broke its promise: an error, since a panic here would take the service
        // with it.
        _ => Err(Error::new(ErrorKind::Corrupt, tier, "batch")
            .with_detail("one answer for each path was promised")),
    }
}

/// What a read found, as far as it is worth keeping: a record that expired is none.
impl Found {
    /// The record found, if it is usable at `now`.
    #[must_use]
    pub fn usable(&self, now: Timestamp) -> Option<&crate::stored::Record> {
        match &self.entry {
            Entry::Present(record) if record.freshness(now) != crate::stored::Freshness::Expired => {
                Some(record)
            }
            _ => None,
        }
    }
}
