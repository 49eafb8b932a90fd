//! A queue of writes with a log, as a store: what it acknowledges is in the log, and on its way to redb.

use std::path::Path as FilePath;
use std::time::Duration;

use nanotier_redb::RedbStore;
use nanotier_tier::behind::FileLog;
use nanotier_tier::waiting::block_on;
use nanotier_tier::{
    Behind, Capabilities, Cleared, Context, Found, Inline, Intent, Namespace, Page, PageRequest, Path,
    Result, Store, Tier, Timestamp, Update, Updated, Write, WriteBehind, Wrote,
};

/// A small log, so that it rotates all the time.
const ROTATE_AT: u64 = 64 * 1024;

pub(crate) struct Queued(Behind<Inline<RedbStore>>);

impl Queued {
    pub(crate) fn open(folder: &FilePath) -> Result<Self> {
        let far = RedbStore::builder(folder.join("store.redb")).build()?.inline();
        let log = FileLog::open_with(folder.join("queue.log"), ROTATE_AT)?;
        // What was queued stays so for a while, so that crashes meet it there.
        let queue = WriteBehind::new().delay(Duration::from_millis(5)).sole_writer(true);
        Ok(Self(far.behind_logged(queue, log)?))
    }
}

impl Store for Queued {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
    fn attach(&self, context: &Context) {
        self.0.attach(context);
    }
    fn believed_since(&self) -> Timestamp {
        self.0.believed_since()
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
    fn ready(&self) -> Result<()> {
        block_on(self.0.ready())
    }
    fn close(&self) -> Result<()> {
        block_on(self.0.close())
    }
}
