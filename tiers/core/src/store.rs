//! The contract for tiers that block: files and embedded databases.

use nanotier_clock::Timestamp;

use crate::capabilities::Capabilities;
use crate::context::Context;
use crate::entry::{Cleared, Count, Found, Intent, Page, PageRequest, Write, Wrote};
use crate::error::{Error, ErrorKind, Result};
use crate::path::{Namespace, Path};
use crate::shaping::{ShapedStore, Shaping};
use crate::tier::{Lineage, Tier};
use crate::update::{Update, Updated};

/// A store of records that answers on the calling thread. Each method has the meaning of its namesake in
/// [`Tier`].
///
/// [`Inline`] makes it a tier that works on the caller's thread, [`Offload`](crate::Offload) one that works
/// on threads of its own.
#[expect(clippy::missing_errors_doc, reason = "as in `Tier`")]
pub trait Store: Send + Sync + 'static {
    /// See [`Tier::name`].
    fn name(&self) -> &'static str;
    /// See [`Tier::capabilities`].
    fn capabilities(&self) -> Capabilities;
    /// See [`Tier::attach`].
    fn attach(&self, context: &Context) {
        let _ = context;
    }
    /// See [`Tier::believed_since`].
    fn believed_since(&self) -> Timestamp {
        Timestamp::ZERO
    }
    /// See [`Tier::lineage`].
    fn lineage(&self) -> Option<Lineage> {
        None
    }
    /// See [`Tier::doubt`].
    fn doubt(&self, until: Timestamp) {
        let _ = until;
    }
    /// See [`Tier::read`].
    fn read(&self, paths: &[Path<'_>], intent: Intent) -> Result<Vec<Result<Found>>>;
    /// See [`Tier::write`].
    fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>>;
    /// See [`Tier::update`].
    fn update(&self, update: &Update<'_>) -> Result<Updated> {
        let _ = update;
        Err(Error::new(ErrorKind::Unsupported, self.name(), "update"))
    }
    /// See [`Tier::clear`].
    fn clear(&self, cleared: &Cleared<'_>) -> Result<Wrote>;
    /// See [`Tier::list`].
    fn list(&self, namespace: &Namespace, page: &PageRequest) -> Result<Page> {
        let _ = (namespace, page);
        Err(Error::new(ErrorKind::Unsupported, self.name(), "list"))
    }
    /// The namespaces that have rows, in the order of their bytes, after `after`: at most
    /// [`PageRequest::LIMIT_MAX`]. Those [beside](Namespace::is_beside) others too, and those of which only marks are left.
    ///
    /// For a look by hand. It costs a lookup for each namespace, however many rows they have.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] where the store cannot tell.
    fn namespaces(&self, after: Option<&Namespace>) -> Result<Vec<Namespace>> {
        let _ = after;
        Err(Error::new(ErrorKind::Unsupported, self.name(), "namespaces"))
    }
    /// What a namespace takes. Looks at each of its rows.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] where the store cannot tell.
    fn count(&self, namespace: &Namespace) -> Result<Count> {
        let _ = namespace;
        Err(Error::new(ErrorKind::Unsupported, self.name(), "count"))
    }
    /// See [`Tier::ready`]. A store that can be closed must answer [`ErrorKind::Closed`] afterwards, here too.
    fn ready(&self) -> Result<()> {
        Ok(())
    }
    /// See [`Tier::close`].
    fn close(&self) -> Result<()> {
        Ok(())
    }
    /// This store as a tier on the calling thread: [`Inline`].
    fn inline(self) -> Inline<Self>
    where
        Self: Sized,
    {
        Inline(self)
    }
    /// This store with its values compressed or encrypted; see [`shaping`](crate::shaping).
    fn shaped(self, shaping: Shaping) -> ShapedStore<Self>
    where
        Self: Sized,
    {
        ShapedStore::new(self, shaping)
    }
}

/// A store as a tier, on the calling thread: each call is ready at its first poll and needs no runtime.
///
/// For callers that may block, and for stores that answer from memory. An asynchronous service with a slow
/// disk wants [`Offload`](crate::Offload).
#[derive(Clone, Debug, Default)]
pub struct Inline<S>(pub S);

impl<S: Store> Tier for Inline<S> {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities { embedded: true, ..self.0.capabilities() }
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
    async fn read(&self, paths: &[Path<'_>], intent: Intent) -> Result<Vec<Result<Found>>> {
        self.0.read(paths, intent)
    }
    async fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
        self.0.write(writes)
    }
    async fn update(&self, update: &Update<'_>) -> Result<Updated> {
        self.0.update(update)
    }
    async fn clear(&self, cleared: &Cleared<'_>) -> Result<Wrote> {
        self.0.clear(cleared)
    }
    async fn list(&self, namespace: &Namespace, page: &PageRequest) -> Result<Page> {
        self.0.list(namespace, page)
    }
    async fn ready(&self) -> Result<()> {
        self.0.ready()
    }
    async fn close(&self) -> Result<()> {
        self.0.close()
    }
}

/// A shared store is a store.
impl<S: Store> Store for std::sync::Arc<S> {
    fn name(&self) -> &'static str {
        (**self).name()
    }
    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }
    fn attach(&self, context: &Context) {
        (**self).attach(context);
    }
    fn believed_since(&self) -> Timestamp {
        (**self).believed_since()
    }
    fn lineage(&self) -> Option<Lineage> {
        (**self).lineage()
    }
    fn doubt(&self, until: Timestamp) {
        (**self).doubt(until);
    }
    fn read(&self, paths: &[Path<'_>], intent: Intent) -> Result<Vec<Result<Found>>> {
        (**self).read(paths, intent)
    }
    fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
        (**self).write(writes)
    }
    fn update(&self, update: &Update<'_>) -> Result<Updated> {
        (**self).update(update)
    }
    fn clear(&self, cleared: &Cleared<'_>) -> Result<Wrote> {
        (**self).clear(cleared)
    }
    fn list(&self, namespace: &Namespace, page: &PageRequest) -> Result<Page> {
        (**self).list(namespace, page)
    }
    fn namespaces(&self, after: Option<&Namespace>) -> Result<Vec<Namespace>> {
        (**self).namespaces(after)
    }
    fn count(&self, namespace: &Namespace) -> Result<Count> {
        (**self).count(namespace)
    }
    fn ready(&self) -> Result<()> {
        (**self).ready()
    }
    fn close(&self) -> Result<()> {
        (**self).close()
    }
}
