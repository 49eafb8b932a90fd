//! Memory filled from a tier that can list what it holds: slower than a warm file, and there also after a crash.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use nanotier_tier::{Error, ErrorKind, Intent, PageRequest, Path, Result, Tier};
use parking_lot::Mutex;

use crate::below::{Below, KeyOf};
use crate::cache::{Cache, Inner};
use crate::look::{Taken, admit_found};
use crate::lookup::{Detailed, Lookup};
use crate::ticket::Ticket;

/// How much a refill may bring, and how long it may take. Neither is limited unless told so; memory's capacity always is
/// the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "give it to `Cache::refill`"]
pub struct RefillLimit {
    entries: Option<u64>,
    time: Option<Duration>,
}

impl RefillLimit {
    /// As much as memory holds, however long it takes.
    pub const NONE: Self = Self { entries: None, time: None };

    /// At most so many entries.
    pub fn entries(self, entries: u64) -> Self {
        Self { entries: Some(entries), ..self }
    }

    /// At most so long, by the cache's clock; asked before each page of a few hundred keys.
    pub fn time(self, time: Duration) -> Self {
        Self { time: Some(time), ..self }
    }
}

/// What a refill has come to, so far or in the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refilled {
    /// How many keys the tier has named.
    pub listed: u64,
    /// How many entries were brought into memory.
    pub admitted: u64,
    /// How many were in memory already.
    pub resident: u64,
    /// How many were not brought: expired, removed or written meanwhile, in doubt, unreadable.
    pub passed_over: u64,
    /// How it ended; `None` while it goes on.
    pub end: Option<RefillEnd>,
}

/// How a refill ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RefillEnd {
    /// All keys were seen.
    Complete,
    /// Memory is full, or has as many as were asked for.
    Full,
    /// The time was up.
    OutOfTime,
    /// It was stopped: by [`Refill::stop`], because all handles on the cache are gone, or with whatever it ran on.
    Stopped,
    /// A tier failed.
    Failed(Error),
}

/// Errors are equal if they are of one kind.
impl PartialEq for RefillEnd {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Failed(one), Self::Failed(other)) => one.kind() == other.kind(),
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

impl Eq for RefillEnd {}

/// A refill that runs by itself. Dropping this lets it go on.
#[derive(Clone)]
pub struct Refill(Arc<Shared>);

#[derive(Default)]
struct Shared {
    refilled: Mutex<Refilled>,
    stopped: Mutex<bool>,
}

impl Refill {
    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Refilled {
        self.0.refilled.lock().clone()
    }

    /// True once it has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.0.refilled.lock().end.is_some()
    }

    /// Ends it after the page it is at.
    pub fn stop(&self) {
        *self.0.stopped.lock() = true;
    }
}

impl fmt::Debug for Refill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Refill").field(&self.progress()).finish()
    }
}

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Fills memory from below: lists the namespace, page by page, reads each page in one batch, and admits what is usable
    /// and believed, as a `get` would. In the order of the keys' bytes: which of them are wanted most, nobody below
    /// knows. Readers and writers go on meanwhile; a write to a key always wins over what was read of it. Ends when memory
    /// is full: nothing leaves for what comes.
    ///
    /// For the start after a crash, or in place of [`warm_restart`](crate::Builder::warm_restart) where the order does not
    /// matter. Here whoever awaits or waits for it does the work; [`refill_behind`](Self::refill_behind) has it done.
    ///
    /// Cost: in a chain it is the truth that lists, and the nearest tier that has an entry that answers.
    ///
    /// ```
    /// use nanotier::{Cache, Inline, Json, MemoryStore, RefillLimit};
    /// use std::sync::Arc;
    ///
    /// let store = Arc::new(MemoryStore::new());
    /// let cache = || {
    ///     let cache = Cache::<String, u32>::builder().namespace("users").codec(Json::default());
    ///     cache.tiers(Inline(store.clone())).build()
    /// };
    /// cache()?.insert("ada".to_string(), 1815).wait()?;
    ///
    /// let again = cache()?;
    /// assert_eq!(again.len(), 0);
    /// let refilled = again.refill(RefillLimit::NONE.entries(1000)).wait()?;
    /// assert_eq!((refilled.admitted, again.len()), (1, 1));
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Told when awaited: [`ErrorKind::Unsupported`] where there is no tier, or none that lists, or where keys cannot be made
    /// from their bytes again ([`Key::READS`](crate::Key::READS)); else what the tier said. What was admitted before stays.
    pub fn refill(&self, limit: RefillLimit) -> Lookup<Refilled> {
        let (inner, shared) = (self.0.clone(), Arc::<Shared>::default());
        Lookup::below(async move {
            refill(|| Some(inner.clone()), Ending(shared.clone()), limit).await;
            let refilled = shared.refilled.lock().clone();
            match refilled.end {
                Some(RefillEnd::Failed(error)) => Err(error),
                _ => Ok(Detailed::nowhere(refilled)),
            }
        })
    }

    /// The same on the cache's [spawner](crate::Builder::spawner), from now on. It keeps no handle on the cache: when all
    /// are gone it stops.
    pub fn refill_behind(&self, limit: RefillLimit) -> Refill {
        let (inner, shared) = (Arc::downgrade(&self.0), Arc::<Shared>::default());
        let handle = Refill(shared.clone());
        // Made before the first poll: what runs it may drop it before that.
        let ending = Ending(shared);
        self.0.context.spawn(Box::pin(async move { refill(|| inner.upgrade(), ending, limit).await }));
        handle
    }
}

/// Page after page. Between them it holds nothing of the cache but by `source`, and lets others have the thread.
async fn refill<K, V>(source: impl Fn() -> Option<Arc<Inner<K, V>>>, ending: Ending, limit: RefillLimit)
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let begun = source().map(|inner| {
        inner.clock().catch_up();
        inner.clock().now()
    });
    let shared = &*ending.0;
    let mut after = None;
    let end = loop {
        let Some((inner, begun)) = source().zip(begun).filter(|_| !*shared.stopped.lock()) else {
            break RefillEnd::Stopped;
        };
        inner.clock().catch_up();
        if limit.time.is_some_and(|time| inner.clock().now().since(begun) >= time) {
            break RefillEnd::OutOfTime;
        }
        match inner.refill_page(shared, limit, &mut after).await {
            Ok(None) => {}
            Ok(Some(end)) => break end,
            Err(error) => break RefillEnd::Failed(error),
        }
        drop(inner);
        let_others_run().await;
    };
    shared.refilled.lock().end = Some(end);
}

/// A refill that is dropped before its end, with the runtime it was on, or by a panic below, has been stopped: who waits for it
/// to be done is not to wait for ever.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.refilled.lock().end.get_or_insert(RefillEnd::Stopped);
    }
}

impl<K, V> Inner<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// One page; says how the refill ends, if it does.
    async fn refill_page(
        self: &Arc<Self>,
        shared: &Shared,
        limit: RefillLimit,
        after: &mut Option<Vec<u8>>,
    ) -> Result<Option<RefillEnd>> {
        let unsupported =
            |why: &'static str| Error::new(ErrorKind::Unsupported, "cache", "refill").with_detail(why);
        let below = self.below.as_ref().ok_or_else(|| unsupported("there is no tier below memory"))?;
        let key_of = below.key_of.ok_or_else(|| {
            unsupported("keys of this type cannot be made from their bytes: derive `Key`, or implement `Key::read_part`")
        })?;
        let room = self.room_for(shared, limit);
        if room == 0 {
            return Ok(Some(RefillEnd::Full));
        }
        let request = PageRequest {
            after: after.take(),
            limit: room.min(PageRequest::LIMIT_MAX),
            ..PageRequest::default()
        };
        let page = below.tier.list(&below.namespace, &request).await?;
        let keys = page.entries.iter().map(|listed| &*listed.key);
        self.refill_with(below, key_of, keys, shared).await?;
        *after = page.next;
        Ok(after.is_none().then_some(RefillEnd::Complete))
    }

    /// How many entries may still come.
    fn room_for(&self, shared: &Shared, limit: RefillLimit) -> usize {
        let admitted = shared.refilled.lock().admitted;
        let in_memory = self.memory.capacity().saturating_sub(self.memory.len() as u64);
        let wanted = limit.entries.map_or(u64::MAX, |entries| entries.saturating_sub(admitted));
        usize::try_from(in_memory.min(wanted)).unwrap_or(usize::MAX)
    }

    async fn refill_with<'k>(
        self: &Arc<Self>,
        below: &Below<K, V>,
        key_of: KeyOf<K>,
        keys: impl Iterator<Item = &'k [u8]>,
        shared: &Shared,
    ) -> Result<()> {
        let mut come = Refilled::default();
        let mut tickets = Vec::new();
        for bytes in keys {
            come.listed += 1;
            match key_of(bytes) {
                Some(key) if self.memory.contains(&key) => come.resident += 1,
                Some(key) => {
                    // In flight from before the read: a write that comes between keeps what is read out of memory.
                    self.inflight.enter(&key);
                    tickets.push(Ticket {
                        inner: self.clone(),
                        key,
                        flight: None,
                        options: self.options.clone(),
                    });
                }
                None => come.passed_over += 1,
            }
        }
        let paths =
            tickets.iter().map(|ticket| below.path(&ticket.key)).collect::<Result<Vec<Path<'_>>>>()?;
        let found = if paths.is_empty() { Vec::new() } else { below.tier.read(&paths, Intent::Look).await? };
        for (ticket, found) in tickets.iter().zip(found) {
            let is_in = match &found {
                Ok(found) if found.trusted => {
                    matches!(admit_found(ticket, below, found), Taken::Usable(_))
                        && self.memory.contains(&ticket.key)
                }
                Ok(_) | Err(_) => false,
            };
            come.admitted += u64::from(is_in);
            come.passed_over += u64::from(!is_in);
        }
        let mut refilled = shared.refilled.lock();
        refilled.listed += come.listed;
        refilled.admitted += come.admitted;
        refilled.resident += come.resident;
        refilled.passed_over += come.passed_over;
        Ok(())
    }
}

/// Pending once: whoever shares the executor comes first.
async fn let_others_run() {
    let mut was_pending = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut was_pending, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
