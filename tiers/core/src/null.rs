//! The tier that keeps nothing: to switch caching below memory off without changing code.

use nanotier_clock::Timestamp;

use crate::capabilities::{Capabilities, Scope};
use crate::context::{Attachment, Context};
use crate::entry::{Cleared, Count, Entry, Found, Intent, Page, PageRequest, Write, Wrote};
use crate::error::Result;
use crate::path::{Namespace, Path};
use crate::rules::Held;
use crate::store::Store;
use crate::update::{Change, Update, Updated};

/// Keeps nothing, and says yes.
///
/// | call | answer |
/// |---|---|
/// | read | absent |
/// | write, clear | [`Wrote::Done`] |
/// | add, replace | done, for everybody: a lock on it excludes nobody |
/// | take | nothing |
/// | increment | 0, whatever is added |
/// | remove_if | refused |
/// | list | empty |
#[derive(Debug, Default)]
pub struct NullStore {
    attachment: Attachment,
}

impl NullStore {
    /// A tier that keeps nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn now(&self) -> Timestamp {
        self.attachment.clock().wall()
    }
}

impl Store for NullStore {
    fn name(&self) -> &'static str {
        "null"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { updates: true, lists: true, embedded: true, ..Capabilities::new(Scope::Process) }
    }

    fn attach(&self, context: &Context) {
        self.attachment.attach(context);
    }

    fn read(&self, paths: &[Path<'_>], _: Intent) -> Result<Vec<Result<Found>>> {
        let now = self.now();
        Ok(paths.iter().map(|_| Ok(Found::new(Entry::Absent, Held::default().seen(), now))).collect())
    }

    fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
        Ok(writes.iter().map(|_| Ok(Wrote::Done)).collect())
    }

    fn update(&self, update: &Update<'_>) -> Result<Updated> {
        Ok(match &update.change {
            Change::Add(_) | Change::Replace { .. } => Updated::Done(update.version),
            Change::Take => Updated::Taken(None),
            Change::Increment { .. } => Updated::Counted { value: 0, until: Timestamp::NEVER },
            Change::RemoveIf(_) => Updated::Refused,
            Change::Now => Updated::Now(self.now()),
        })
    }

    fn clear(&self, _: &Cleared<'_>) -> Result<Wrote> {
        Ok(Wrote::Done)
    }

    fn list(&self, _: &Namespace, _: &PageRequest) -> Result<Page> {
        Ok(Page::default())
    }

    fn namespaces(&self, _: Option<&Namespace>) -> Result<Vec<Namespace>> {
        Ok(Vec::new())
    }

    fn count(&self, _: &Namespace) -> Result<Count> {
        Ok(Count::default())
    }
}
