//! The store: the contract's methods, each a few lines over the open file.

use std::borrow::Cow;
use std::fmt;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use nanotier_tier::{
    Bytes, Capabilities, Cleared, Context, Durability, Entry, Error, ErrorKind, Event, Found, Freshness,
    Inline, Intent, Listed, Namespace, Page, PageRequest, Path, Result, Scope, Store, Timestamp, Update,
    Updated, Write, Wrote,
};
use parking_lot::Mutex;

use crate::background::{Background, Step, Sweep};
use crate::builder::{Builder, Config};
use crate::error::{NAME, error, while_doing};
use crate::group::{Answer, Job};
use crate::inner::{Inner, View};
use crate::rows::Row;
use crate::transaction::after_all_with;

/// A store of records in one redb file. See the [crate](crate).
///
/// # After a failure
///
/// If the disk refuses a write, all who shared its transaction have the error, and each of their writes may or may not have
/// happened. The file is then closed and opened anew by the next call, in which redb repairs what the failure left; as long as that
/// fails, calls say why. From then on [`believed_since`](Store::believed_since) is the moment of that opening.
pub struct RedbStore {
    inner: Arc<Inner>,
    /// True once closed. Locked while closing, so that a second one waits for the first.
    closed: Mutex<bool>,
}

/// What a store has done since it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Transactions committed.
    pub commits: u64,
    /// Writes, updates and clearings answered by them, refused ones that shared a transaction included.
    pub writes: u64,
}

impl RedbStore {
    /// Opens the store in this file with the default options. Creates what is missing: the file, for its owner alone, and
    /// the folders above it.
    ///
    /// # Errors
    ///
    /// As [`Builder::build`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        Self::builder(path).build()
    }

    /// Options for a store in this file.
    pub fn builder(path: impl Into<PathBuf>) -> Builder {
        Builder::new(path.into())
    }

    pub(crate) fn start(config: Config) -> Result<Self> {
        let store = Self { inner: Arc::new(Inner::open(config)?), closed: Mutex::new(false) };
        Background::start(&store.inner)?;
        Ok(store)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &std::path::Path {
        &self.inner.config.path
    }

    /// The store as a tier on the caller's thread.
    #[must_use]
    pub fn inline(self) -> Inline<Self> {
        Inline(self)
    }

    /// Removes now what has expired and whose version has served its time, and says how many rows that were. The store
    /// does so by itself from time to time.
    ///
    /// # Errors
    ///
    /// What the disk said.
    pub fn sweep(&self) -> Result<usize> {
        self.check_open("sweep")?;
        let (mut sweep, mut swept) = (Sweep::default(), 0);
        loop {
            match sweep.step(&self.inner)? {
                Step::More(some) => swept += some,
                Step::PassDone(some) => return Ok(swept + some),
                Step::Stopped => return Ok(swept),
            }
        }
    }

    /// Brings to disk what was acknowledged before it was there. With [`Durability::Sync`](crate::Durability::Sync) that is nothing.
    ///
    /// # Errors
    ///
    /// What the disk said.
    pub fn flush(&self) -> Result<()> {
        match self.inner.config.durability {
            Durability::Async { .. } => self.inner.submit(Job::Flush).map(drop),
            Durability::Sync | Durability::Volatile => self.check_open("flush"),
        }
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats { commits: self.inner.commits.load(Relaxed), writes: self.inner.writes.load(Relaxed) }
    }

    fn check_open(&self, operation: &'static str) -> Result<()> {
        if self.inner.is_closed() { Err(error(ErrorKind::Closed, operation)) } else { Ok(()) }
    }

    fn tell_unreadable(&self) {
        self.inner.tell(&Event::RecordUnreadable { tier: NAME });
    }

    fn read_one(&self, view: &View, path: &Path<'_>, now: Timestamp) -> Result<(Found, bool)> {
        let row = Row::read(&self.inner.config.framing, path, &view.records, view.floors.as_ref())?;
        let (held, unreadable) = (row.held()?, row.unreadable);
        Ok((Found::new(row.into_entry(held), held.seen(), now), unreadable))
    }

    fn list_from(&self, view: &View, namespace: &Namespace, request: &PageRequest) -> Result<(Page, usize)> {
        let now = self.inner.now();
        let first = Path::new(namespace, request.prefix.as_slice()).to_bytes();
        let end = after_all_with(&first);
        let after = request.after.as_ref().map(|after| Path::new(namespace, after.as_slice()).to_bytes());
        // A page that ended before the prefix began is no page of this listing: it begins at the beginning.
        let start = match after.as_deref().filter(|after| *after >= first.as_slice()) {
            Some(after) => Bound::Excluded(after),
            None => Bound::Included(first.as_slice()),
        };
        let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut page = Page::default();
        let mut unreadable = 0;
        if is_empty_range(start, end) {
            return Ok((page, unreadable));
        }
        for row in view.records.range::<&[u8]>((start, end)).map_err(while_doing("list"))? {
            let (key, value) = row.map_err(while_doing("list"))?;
            let Some(path) = Path::from_bytes(key.value()) else { continue };
            let bytes = Bytes::copy_from_slice(value.value());
            let Ok((entry, _)) = self.inner.config.framing.decode(&path, &bytes) else {
                unreadable += 1;
                continue;
            };
            let Entry::Present(record) = entry else { continue };
            if record.freshness(now) == Freshness::Expired {
                continue;
            }
            if page.entries.len() == request.limit() {
                page.next = page.entries.last().map(|last| last.key.clone());
                break;
            }
            page.entries.push(Listed {
                key: path.key().to_vec(),
                value_len: record.value.bytes.len(),
                usable_until: record.deadlines.usable_until,
            });
        }
        Ok((page, unreadable))
    }
}

/// redb, as the standard library's maps, wants no range that ends where it begins.
fn is_empty_range(start: Bound<&[u8]>, end: Bound<&[u8]>) -> bool {
    match (start, end) {
        (Bound::Included(start) | Bound::Excluded(start), Bound::Excluded(end)) => start >= end,
        _ => false,
    }
}

/// An answer of another kind than the job's would be a bug of ours: an error, since a panic would take the service with it.
fn mixed_up(operation: &'static str) -> Error {
    error(ErrorKind::Storage, operation).with_detail("a bug: the answer belongs to another job")
}

impl Store for RedbStore {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::new(Scope::Process);
        capabilities.durability = self.inner.config.durability;
        capabilities.horizon = self.inner.config.horizon;
        capabilities.updates = true;
        capabilities.lists = true;
        capabilities.embedded = true;
        capabilities.value_len_max = self.inner.config.value_len_max;
        capabilities
    }

    fn attach(&self, context: &Context) {
        self.inner.attach(context);
    }

    fn believed_since(&self) -> Timestamp {
        self.inner.believed_since()
    }

    fn doubt(&self, until: Timestamp) {
        self.inner.doubt(until);
    }

    fn read(&self, paths: &[Path<'_>], _: Intent) -> Result<Vec<Result<Found>>> {
        let now = self.inner.now();
        let answers = self.inner.reading(|view| {
            Ok(paths.iter().map(|path| self.read_one(view, path, now)).collect::<Vec<_>>())
        })?;
        // The observer is told when nothing is held that it could stand in the way of.
        let told = |answer: Result<(Found, bool)>| {
            answer.map(|(found, unreadable)| {
                if unreadable {
                    self.tell_unreadable();
                }
                found
            })
        };
        Ok(answers.into_iter().map(told).collect())
    }

    fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
        if writes.is_empty() {
            return self.check_open("write").map(|()| Vec::new());
        }
        match self.inner.submit(Job::Write(Cow::Borrowed(writes)))? {
            Answer::Wrote(wrote) => Ok(wrote),
            _ => Err(mixed_up("write")),
        }
    }

    fn update(&self, update: &Update<'_>) -> Result<Updated> {
        match self.inner.submit(Job::Update(Cow::Borrowed(update)))? {
            Answer::Updated(updated) => updated,
            _ => Err(mixed_up("update")),
        }
    }

    fn clear(&self, cleared: &Cleared<'_>) -> Result<Wrote> {
        let &Cleared { namespace, version, as_of } = cleared;
        match self.inner.submit(Job::Clear { namespace: Cow::Borrowed(namespace), version, as_of })? {
            Answer::Cleared(wrote) => Ok(wrote),
            _ => Err(mixed_up("clear")),
        }
    }

    fn list(&self, namespace: &Namespace, page: &PageRequest) -> Result<Page> {
        let (page, unreadable) = self.inner.reading(|view| self.list_from(view, namespace, page))?;
        (0..unreadable).for_each(|_| self.tell_unreadable());
        Ok(page)
    }

    fn ready(&self) -> Result<()> {
        self.inner.ready()
    }

    fn close(&self) -> Result<()> {
        let mut closed = self.closed.lock();
        if std::mem::replace(&mut *closed, true) {
            return Ok(());
        }
        self.inner.background.stop();
        let flushed = self.inner.submit(Job::Close { believed_since: self.inner.believed_since() }).map(drop);
        let let_go = self.inner.close_file();
        flushed.and(let_go)
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        // Nobody is left to hear of an error. What it could not mark as closed, the next opening distrusts.
        let _ = self.close();
    }
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore").field("path", &self.inner.config.path).finish_non_exhaustive()
    }
}
