//! What lies between a cache and one of its tiers: it can go down, hold a write back, and it pauses before and after every
//! call, so that another task can come between.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll};

use shuttle::rand::Rng;

use nanotier_tier::{
    Capabilities, Cleared, Context, Error, ErrorKind, Found, Guard, Intent, Namespace, Page, PageRequest,
    Path, Record, Result, Scope, Tier, Timestamp, Update, Updated, Write, Wrote,
};

/// A tier behind a wire.
#[derive(Debug)]
pub struct Wired<T> {
    tier: Arc<T>,
    wire: Arc<Wire>,
}

/// The wire. One thread runs all tasks of a schedule: what is here needs no order, and is no place to switch.
#[derive(Debug, Default)]
pub struct Wire {
    down: AtomicBool,
    writes_down: AtomicBool,
    to_hold: AtomicUsize,
    held: Mutex<Vec<Write<'static>>>,
    /// What the fills brought that the tier refused.
    refused: Mutex<Vec<Option<u64>>>,
    took_unreadable: AtomicBool,
    believed_since_ms: AtomicU64,
}

impl Wire {
    /// While it is down every call fails, and nothing reaches the tier.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Relaxed);
    }

    /// The same for writes alone.
    pub fn set_writes_down(&self, down: bool) {
        self.writes_down.store(down, Relaxed);
    }

    /// The next `batches` writes answer [`ErrorKind::Timeout`] and stay in the wire.
    pub fn hold_next(&self, batches: usize) {
        self.to_hold.store(batches, Relaxed);
    }

    /// The tier was opened at `moment` after it had not been closed.
    pub fn set_believed_since(&self, moment: Timestamp) {
        self.believed_since_ms.store(moment.as_millis(), Relaxed);
    }

    /// True if the tier refused to be filled with `number`.
    pub fn refused_fill(&self, number: u64) -> bool {
        lock(&self.refused).contains(&Some(number))
    }

    /// True if the tier took a record that is no number.
    pub fn took_unreadable(&self) -> bool {
        self.took_unreadable.load(Relaxed)
    }

    fn passes(&self, operation: &'static str) -> Result<()> {
        if self.down.load(Relaxed) || (self.writes_down.load(Relaxed) && operation != "read") {
            return Err(Error::new(ErrorKind::Unavailable, "wire", operation));
        }
        Ok(())
    }

    fn takes_one_to_hold(&self) -> bool {
        self.to_hold.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: Tier> Wired<T> {
    /// `tier` behind a wire that is up.
    pub fn new(tier: Arc<T>) -> Self {
        Self { tier, wire: Arc::default() }
    }

    /// The wire, to be tampered with.
    pub fn wire(&self) -> Arc<Wire> {
        self.wire.clone()
    }

    /// What brings the held writes to the tier when asked to.
    pub fn courier(&self) -> Courier<T> {
        Courier { tier: self.tier.clone(), wire: self.wire.clone() }
    }
}

/// Delivers what a wire held back.
#[derive(Debug)]
pub struct Courier<T> {
    tier: Arc<T>,
    wire: Arc<Wire>,
}

impl<T: Tier> Courier<T> {
    /// Delivers all that is held; whoever waited for the answers has left.
    pub async fn deliver(&self) {
        let held = std::mem::take(&mut *lock(&self.wire.held));
        let _ = self.tier.write(&held).await;
    }
}

impl<T: Tier> Tier for Wired<T> {
    fn name(&self) -> &'static str {
        self.tier.name()
    }
    fn capabilities(&self) -> Capabilities {
        self.tier.capabilities()
    }
    fn depth(&self) -> u8 {
        self.tier.depth()
    }
    fn attach(&self, context: &Context) {
        self.tier.attach(context);
    }
    fn verify(&self) -> Result<Scope> {
        self.tier.verify()
    }
    fn believed_since(&self) -> Timestamp {
        Timestamp::from_millis(self.wire.believed_since_ms.load(Relaxed)).max(self.tier.believed_since())
    }

    async fn read(&self, paths: &[Path<'_>], intent: Intent) -> Result<Vec<Result<Found>>> {
        pause().await;
        self.wire.passes("read")?;
        let found = self.tier.read(paths, intent).await;
        pause().await;
        found
    }

    async fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
        pause().await;
        self.wire.passes("write")?;
        if self.wire.takes_one_to_hold() {
            lock(&self.wire.held).extend(writes.iter().map(|write| write.clone().into_owned()));
            return Err(Error::new(ErrorKind::Timeout, "wire", "write"));
        }
        let wrote = self.tier.write(writes).await;
        for (write, answer) in writes.iter().zip(wrote.iter().flatten()) {
            let (is_done, holds) = (matches!(answer, Ok(Wrote::Done)), write.record.as_deref());
            // A blank holds no bytes, and says nothing.
            if is_done
                && holds.is_some_and(|record| !record.value.bytes.is_empty() && number_in(record).is_none())
            {
                self.wire.took_unreadable.store(true, Relaxed);
            }
            let is_refused = matches!(answer, Ok(Wrote::Older(_) | Wrote::Changed | Wrote::TooLate));
            if matches!(write.guard, Guard::Unchanged(_)) && is_refused {
                lock(&self.wire.refused).push(holds.and_then(number_in));
            }
        }
        pause().await;
        wrote
    }

    async fn promote(&self, path: &Path<'_>, found: &Found) -> Result<()> {
        pause().await;
        self.tier.promote(path, found).await
    }

    async fn update(&self, update: &Update<'_>) -> Result<Updated> {
        pause().await;
        self.wire.passes("update")?;
        let updated = self.tier.update(update).await;
        pause().await;
        updated
    }

    async fn clear(&self, cleared: &Cleared<'_>) -> Result<Wrote> {
        pause().await;
        self.wire.passes("clear")?;
        let wrote = self.tier.clear(cleared).await;
        pause().await;
        wrote
    }

    async fn list(&self, namespace: &Namespace, page: &PageRequest) -> Result<Page> {
        self.tier.list(namespace, page).await
    }
    async fn ready(&self) -> Result<()> {
        self.tier.ready().await
    }
    async fn close(&self) -> Result<()> {
        self.tier.close().await
    }
}

/// The number that a record holds; `None` if it is none.
pub fn number_in(record: &Record) -> Option<u64> {
    std::str::from_utf8(&record.value.bytes).ok()?.parse().ok()
}

/// Lets other tasks go first, once.
pub fn pause() -> impl Future<Output = ()> + Send {
    Pause { paused: false }
}

/// The same a number of times: none, or enough for another task to do a whole write.
pub async fn linger() {
    for _ in 0..shuttle::rand::thread_rng().gen_range(0..LINGER_MAX) {
        pause().await;
    }
}

const LINGER_MAX: u32 = 24;

struct Pause {
    paused: bool,
}

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.paused, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
