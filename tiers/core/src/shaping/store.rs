//! A store whose values are shaped.

use nanotier_clock::Timestamp;

use super::builder::Shaping;
use super::tier::Shaped;
use crate::capabilities::Capabilities;
use crate::context::Context;
use crate::entry::{Cleared, Count, Found, Intent, Page, PageRequest, Write, Wrote};
use crate::error::Result;
use crate::path::{Namespace, Path};
use crate::store::{Inline, Store};
use crate::tier::{Lineage, Tier};
use crate::update::{Update, Updated};
use crate::waiting::block_on;

/// A store that keeps values compressed, encrypted, or both. Made by [`Store::shaped`].
///
/// Under [`Offload`](crate::Offload) the work is done on its threads: for large values, and callers that must not be kept
/// busy. All else is as in [`Shaped`].
#[derive(Debug)]
pub struct ShapedStore<S>(Shaped<Inline<S>>);

impl<S: Store> ShapedStore<S> {
    pub(crate) fn new(store: S, shaping: Shaping) -> Self {
        Self(Shaped::new(Inline(store), shaping))
    }

    /// The store below.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.0.inner().0
    }

    /// What is done to values.
    #[must_use]
    pub fn shaping(&self) -> &Shaping {
        self.0.shaping()
    }
}

/// Nothing here waits: a store on the calling thread is ready at its first poll.
impl<S: Store> Store for ShapedStore<S> {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities { embedded: self.inner().capabilities().embedded, ..self.0.capabilities() }
    }
    fn attach(&self, context: &Context) {
        self.0.attach(context);
    }
    fn believed_since(&self) -> Timestamp {
        self.0.believed_since()
    }
    fn lineage(&self) -> Option<Lineage> {
        self.0.lineage()
    }
    fn doubt(&self, until: Timestamp) {
        self.0.doubt(until);
    }
    fn read(&self, paths: &[Path<'_>], intent: Intent) -> Result<Vec<Result<Found>>> {
        block_on(self.0.read(paths, intent))
    }
    fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
        block_on(self.0.write(writes))
    }
    fn update(&self, update: &Update<'_>) -> Result<Updated> {
        block_on(self.0.update(update))
    }
    fn clear(&self, cleared: &Cleared<'_>) -> Result<Wrote> {
        block_on(self.0.clear(cleared))
    }
    fn list(&self, namespace: &Namespace, page: &PageRequest) -> Result<Page> {
        block_on(self.0.list(namespace, page))
    }
    fn namespaces(&self, after: Option<&Namespace>) -> Result<Vec<Namespace>> {
        self.inner().namespaces(after)
    }
    /// Values count as they are stored.
    fn count(&self, namespace: &Namespace) -> Result<Count> {
        self.inner().count(namespace)
    }
    fn ready(&self) -> Result<()> {
        block_on(self.0.ready())
    }
    fn close(&self) -> Result<()> {
        block_on(self.0.close())
    }
}
