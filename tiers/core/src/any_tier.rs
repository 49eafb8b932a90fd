//! A tier whose type was forgotten: chosen at run time, at the price of one box per call.

use std::fmt;
use std::sync::Arc;

use nanotier_clock::Timestamp;

use crate::capabilities::{Capabilities, Scope};
use crate::context::Context;
use crate::entry::{Cleared, Found, Intent, Page, PageRequest, Write, Wrote};
use crate::error::Result;
use crate::path::{Namespace, Path};
use crate::tier::{BoxFuture, Lineage, Tier};
use crate::update::{Update, Updated};

/// A tier of any type. Cloning shares it.
///
/// A call costs one box and one indirect call more than on the tier itself, about 20 ns; it is always below
/// memory.
#[derive(Clone)]
pub struct AnyTier(Arc<dyn Erased>);

/// [`Tier`] in a form that can be a trait object. Each method has the meaning of its namesake there.
trait Erased: Send + Sync {
    fn name(&self) -> &'static str;
    fn capabilities(&self) -> Capabilities;
    fn depth(&self) -> u8;
    fn attach(&self, context: &Context);
    fn verify(&self) -> Result<Scope>;
    fn believed_since(&self) -> Timestamp;
    fn lineage(&self) -> Option<Lineage>;
    fn doubt(&self, until: Timestamp);
    fn read<'a>(&'a self, paths: &'a [Path<'a>], intent: Intent)
    -> BoxFuture<'a, Result<Vec<Result<Found>>>>;
    fn write<'a>(&'a self, writes: &'a [Write<'a>]) -> BoxFuture<'a, Result<Vec<Result<Wrote>>>>;
    fn promote<'a>(&'a self, path: &'a Path<'a>, found: &'a Found) -> BoxFuture<'a, Result<()>>;
    fn update<'a>(&'a self, update: &'a Update<'a>) -> BoxFuture<'a, Result<Updated>>;
    fn clear<'a>(&'a self, cleared: &'a Cleared<'a>) -> BoxFuture<'a, Result<Wrote>>;
    fn list<'a>(&'a self, namespace: &'a Namespace, page: &'a PageRequest) -> BoxFuture<'a, Result<Page>>;
    fn ready(&self) -> BoxFuture<'_, Result<()>>;
    fn close(&self) -> BoxFuture<'_, Result<()>>;
}

impl<T: Tier> Erased for T {
    fn name(&self) -> &'static str {
        Tier::name(self)
    }
    fn capabilities(&self) -> Capabilities {
        Tier::capabilities(self)
    }
    fn depth(&self) -> u8 {
        Tier::depth(self)
    }
    fn attach(&self, context: &Context) {
        Tier::attach(self, context);
    }
    fn verify(&self) -> Result<Scope> {
        Tier::verify(self)
    }
    fn believed_since(&self) -> Timestamp {
        Tier::believed_since(self)
    }
    fn lineage(&self) -> Option<Lineage> {
        Tier::lineage(self)
    }
    fn doubt(&self, until: Timestamp) {
        Tier::doubt(self, until);
    }
    fn read<'a>(
        &'a self,
        paths: &'a [Path<'a>],
        intent: Intent,
    ) -> BoxFuture<'a, Result<Vec<Result<Found>>>> {
        Box::pin(Tier::read(self, paths, intent))
    }
    fn write<'a>(&'a self, writes: &'a [Write<'a>]) -> BoxFuture<'a, Result<Vec<Result<Wrote>>>> {
        Box::pin(Tier::write(self, writes))
    }
    fn promote<'a>(&'a self, path: &'a Path<'a>, found: &'a Found) -> BoxFuture<'a, Result<()>> {
        Box::pin(Tier::promote(self, path, found))
    }
    fn update<'a>(&'a self, update: &'a Update<'a>) -> BoxFuture<'a, Result<Updated>> {
        Box::pin(Tier::update(self, update))
    }
    fn clear<'a>(&'a self, cleared: &'a Cleared<'a>) -> BoxFuture<'a, Result<Wrote>> {
        Box::pin(Tier::clear(self, cleared))
    }
    fn list<'a>(&'a self, namespace: &'a Namespace, page: &'a PageRequest) -> BoxFuture<'a, Result<Page>> {
        Box::pin(Tier::list(self, namespace, page))
    }
    fn ready(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(Tier::ready(self))
    }
    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(Tier::close(self))
    }
}

impl AnyTier {
    pub(crate) fn new(tier: impl Tier) -> Self {
        Self(Arc::new(tier))
    }
}

impl Tier for AnyTier {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
    fn depth(&self) -> u8 {
        self.0.depth()
    }
    fn attach(&self, context: &Context) {
        self.0.attach(context);
    }
    fn verify(&self) -> Result<Scope> {
        self.0.verify()
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
        self.0.read(paths, intent).await
    }
    async fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
        self.0.write(writes).await
    }
    async fn promote(&self, path: &Path<'_>, found: &Found) -> Result<()> {
        self.0.promote(path, found).await
    }
    async fn update(&self, update: &Update<'_>) -> Result<Updated> {
        self.0.update(update).await
    }
    async fn clear(&self, cleared: &Cleared<'_>) -> Result<Wrote> {
        self.0.clear(cleared).await
    }
    async fn list(&self, namespace: &Namespace, page: &PageRequest) -> Result<Page> {
        self.0.list(namespace, page).await
    }
    async fn ready(&self) -> Result<()> {
        self.0.ready().await
    }
    async fn close(&self) -> Result<()> {
        self.0.close().await
    }
    fn erase(self) -> AnyTier {
        self
    }
}

impl fmt::Debug for AnyTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnyTier({}, {} deep)", self.0.name(), self.0.depth())
    }
}
