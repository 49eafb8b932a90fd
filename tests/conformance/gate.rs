//! A tier whose calls are counted, can be held up and can be made to fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::Poll;

use nanotier::tier::{
    Cleared, Context, Found, Intent, Namespace, Page, PageRequest, Path, Update, Updated, Write, Wrote,
};
use nanotier::{AnyTier, Capabilities, Error, ErrorKind, Result, Scope, Tier};

#[derive(Clone)]
pub(crate) struct Gate(Arc<Inner>);

struct Inner {
    tier: AnyTier,
    reads: AtomicUsize,
    writes: AtomicUsize,
    others: AtomicUsize,
    failing: AtomicUsize,
    held: AtomicBool,
}

impl Gate {
    pub(crate) fn new(tier: AnyTier) -> Self {
        Self(Arc::new(Inner {
            tier,
            reads: AtomicUsize::default(),
            writes: AtomicUsize::default(),
            others: AtomicUsize::default(),
            failing: AtomicUsize::default(),
            held: AtomicBool::default(),
        }))
    }

    pub(crate) fn reads(&self) -> usize {
        self.0.reads.load(SeqCst)
    }

    pub(crate) fn writes(&self) -> usize {
        self.0.writes.load(SeqCst)
    }

    /// All calls.
    pub(crate) fn calls(&self) -> usize {
        self.reads() + self.writes() + self.0.others.load(SeqCst)
    }

    /// So many calls fail from now on, without reaching the tier.
    pub(crate) fn fail_next(&self, calls: usize) {
        self.0.failing.store(calls, SeqCst);
    }

    /// Reads are done, but not answered, until this ends.
    pub(crate) fn hold_answers(&self, hold: bool) {
        self.0.held.store(hold, SeqCst);
    }

    fn enter(&self, calls: &AtomicUsize, operation: &'static str) -> Result<()> {
        calls.fetch_add(1, SeqCst);
        let fails = self.0.failing.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        if fails { Err(Error::new(ErrorKind::Storage, "gate", operation)) } else { Ok(()) }
    }
}

impl Tier for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn capabilities(&self) -> Capabilities {
        self.0.tier.capabilities()
    }

    fn attach(&self, context: &Context) {
        self.0.tier.attach(context);
    }

    fn verify(&self) -> Result<Scope> {
        self.0.tier.verify()
    }

    async fn read(&self, paths: &[Path<'_>], intent: Intent) -> Result<Vec<Result<Found>>> {
        self.enter(&self.0.reads, "read")?;
        let found = self.0.tier.read(paths, intent).await;
        // Whoever is held up comes back by itself: nobody has to be woken.
        std::future::poll_fn(|context| {
            if !self.0.held.load(SeqCst) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            std::thread::yield_now();
            Poll::Pending
        })
        .await;
        found
    }

    async fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
        self.enter(&self.0.writes, "write")?;
        self.0.tier.write(writes).await
    }

    async fn update(&self, update: &Update<'_>) -> Result<Updated> {
        self.enter(&self.0.others, "update")?;
        self.0.tier.update(update).await
    }

    async fn clear(&self, cleared: &Cleared<'_>) -> Result<Wrote> {
        self.enter(&self.0.others, "clear")?;
        self.0.tier.clear(cleared).await
    }

    async fn list(&self, namespace: &Namespace, page: &PageRequest) -> Result<Page> {
        self.enter(&self.0.others, "list")?;
        self.0.tier.list(namespace, page).await
    }

    async fn ready(&self) -> Result<()> {
        self.0.tier.ready().await
    }

    async fn close(&self) -> Result<()> {
        self.0.tier.close().await
    }
}
