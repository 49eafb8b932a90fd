//! A tier that a test can watch and break.
#![allow(dead_code, reason = "each test file uses a part")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::task::Poll;

use nanotier::tier::{
    Capabilities, Cleared, Context, Error, ErrorKind, Found, Intent, MemoryStore, Path, Result, Scope, Store,
    Tier, Update, Updated, Write, Wrote,
};

/// A memory tier whose calls are counted, can be made to fail, and are pending once each: an await point on either side.
#[derive(Clone)]
pub(crate) struct Watched(Arc<Inner>);

struct Inner {
    store: MemoryStore,
    scope: Scope,
    down: AtomicBool,
    reads: AtomicUsize,
    paths_read: AtomicUsize,
    writes: AtomicUsize,
}

impl Watched {
    pub(crate) fn new() -> Self {
        Self::shared_by(Scope::Process)
    }

    pub(crate) fn shared_by(scope: Scope) -> Self {
        Self(Arc::new(Inner {
            store: MemoryStore::new(),
            scope,
            down: AtomicBool::new(false),
            reads: AtomicUsize::new(0),
            paths_read: AtomicUsize::new(0),
            writes: AtomicUsize::new(0),
        }))
    }

    /// From now on every call fails, or none does.
    pub(crate) fn set_down(&self, down: bool) {
        self.0.down.store(down, Relaxed);
    }

    pub(crate) fn reads(&self) -> usize {
        self.0.reads.load(Relaxed)
    }

    pub(crate) fn paths_read(&self) -> usize {
        self.0.paths_read.load(Relaxed)
    }

    pub(crate) fn writes(&self) -> usize {
        self.0.writes.load(Relaxed)
    }

    /// The store behind, to look at directly.
    pub(crate) fn store(&self) -> &MemoryStore {
        &self.0.store
    }

    async fn call<R>(&self, work: impl FnOnce(&MemoryStore) -> Result<R>) -> Result<R> {
        pending_once().await;
        if self.0.down.load(Relaxed) {
            return Err(Error::new(ErrorKind::Unavailable, "watched", "call"));
        }
        let answer = work(&self.0.store);
        pending_once().await;
        answer
    }
}

pub(crate) async fn pending_once() {
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

impl Tier for Watched {
    fn name(&self) -> &'static str {
        "watched"
    }
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.0.store.capabilities();
        capabilities.scope = self.0.scope;
        capabilities
    }
    fn attach(&self, context: &Context) {
        self.0.store.attach(context);
    }
    async fn read(&self, paths: &[Path<'_>], intent: Intent) -> Result<Vec<Result<Found>>> {
        self.0.reads.fetch_add(1, Relaxed);
        self.0.paths_read.fetch_add(paths.len(), Relaxed);
        self.call(|store| store.read(paths, intent)).await
    }
    async fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
        self.0.writes.fetch_add(writes.len(), Relaxed);
        self.call(|store| store.write(writes)).await
    }
    async fn update(&self, update: &Update<'_>) -> Result<Updated> {
        self.call(|store| store.update(update)).await
    }
    async fn clear(&self, cleared: &Cleared<'_>) -> Result<Wrote> {
        self.call(|store| store.clear(cleared)).await
    }
}
