//! A tier that holds what it was told to hold, and answers as it was told to answer.

use std::sync::Arc;

use nanotier::tier::{
    Capabilities, Cleared, Context, Entry, Error, ErrorKind, Found, Intent, MemoryStore, Namespace, Path,
    Result, Scope, Store, Tier, Update, Updated, Write, Wrote,
};
use parking_lot::Mutex;

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writing {
    /// As the rules say.
    Works,
    /// Nothing happens, and an error is told.
    Fails(ErrorKind),
    /// It happens, and an error is told: the answer was lost.
    IsLost,
    /// Somebody is always ahead.
    IsOlder,
    TooLate,
    Changed,
}

#[derive(Clone)]
pub(crate) struct Scripted(Arc<Inner>);

struct Inner {
    name: &'static str,
    store: Mutex<Arc<MemoryStore>>,
    context: Mutex<Option<Context>>,
    reading: Mutex<Option<ErrorKind>>,
    writing: Mutex<Writing>,
}

impl Scripted {
    pub(crate) fn new(name: &'static str) -> Self {
        Self(Arc::new(Inner {
            name,
            store: Mutex::new(Arc::new(MemoryStore::new())),
            context: Mutex::new(None),
            reading: Mutex::new(None),
            writing: Mutex::new(Writing::Works),
        }))
    }

    /// It holds nothing, and has forgotten everything.
    pub(crate) fn empty(&self) {
        let store = Arc::new(MemoryStore::new());
        if let Some(context) = &*self.0.context.lock() {
            store.attach(context);
        }
        *self.0.store.lock() = store;
    }

    /// Every read fails from now on, or none does.
    pub(crate) fn set_reading(&self, fails: Option<ErrorKind>) {
        *self.0.reading.lock() = fails;
    }

    pub(crate) fn set_writing(&self, writing: Writing) {
        *self.0.writing.lock() = writing;
    }

    pub(crate) fn works(&self) {
        self.set_reading(None);
        self.set_writing(Writing::Works);
    }

    /// The store behind, whatever the script says.
    pub(crate) fn store(&self) -> Arc<MemoryStore> {
        self.0.store.lock().clone()
    }

    pub(crate) fn held(&self, namespace: &Namespace, key: &str) -> Entry {
        let path = Path::new(namespace, key.as_bytes());
        self.store().read(&[path], Intent::Look).unwrap().remove(0).unwrap().entry
    }

    fn error(&self, kind: ErrorKind, operation: &'static str) -> Error {
        Error::new(kind, self.0.name, operation)
    }

    fn writing(&self) -> Writing {
        *self.0.writing.lock()
    }
}

impl Tier for Scripted {
    fn name(&self) -> &'static str {
        self.0.name
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.store().capabilities();
        capabilities.scope = Scope::Process;
        capabilities
    }

    fn attach(&self, context: &Context) {
        self.store().attach(context);
        *self.0.context.lock() = Some(context.clone());
    }

    async fn read(&self, paths: &[Path<'_>], intent: Intent) -> Result<Vec<Result<Found>>> {
        let fails = *self.0.reading.lock();
        match fails {
            Some(kind) => Err(self.error(kind, "read")),
            None => self.store().read(paths, intent),
        }
    }

    async fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
        let each =
            |answer: fn(&Write<'_>) -> Wrote| Ok(writes.iter().map(|write| Ok(answer(write))).collect());
        match self.writing() {
            Writing::Works => self.store().write(writes),
            Writing::Fails(kind) => Err(self.error(kind, "write")),
            Writing::IsLost => {
                let _ = self.store().write(writes);
                Err(self.error(ErrorKind::Timeout, "write"))
            }
            Writing::IsOlder => each(|write| Wrote::Older(write.version.next())),
            Writing::TooLate => each(|_| Wrote::TooLate),
            Writing::Changed => each(|_| Wrote::Changed),
        }
    }

    async fn update(&self, update: &Update<'_>) -> Result<Updated> {
        match self.writing() {
            Writing::Works => self.store().update(update),
            Writing::Fails(kind) => Err(self.error(kind, "update")),
            Writing::IsLost => {
                let _ = self.store().update(update);
                Err(self.error(ErrorKind::Timeout, "update"))
            }
            // An update has no condition that could have changed.
            Writing::IsOlder | Writing::Changed => Ok(Updated::Older(update.version.next())),
            Writing::TooLate => Ok(Updated::TooLate),
        }
    }

    async fn clear(&self, cleared: &Cleared<'_>) -> Result<Wrote> {
        match self.writing() {
            Writing::Works => self.store().clear(cleared),
            Writing::Fails(kind) => Err(self.error(kind, "clear")),
            Writing::IsLost => {
                let _ = self.store().clear(cleared);
                Err(self.error(ErrorKind::Timeout, "clear"))
            }
            Writing::IsOlder => Ok(Wrote::Older(cleared.version.next())),
            Writing::TooLate => Ok(Wrote::TooLate),
            Writing::Changed => Ok(Wrote::Changed),
        }
    }
}
