//! The contract's methods over a backend.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Bound, ControlFlow};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};

use bytes::Bytes;
use nanotier_clock::Timestamp;
use parking_lot::Mutex;

use super::backend::{Backend, Rows, Wanted};
use super::background::{Background, Step, Sweep};
use super::belief::Belief;
use super::desk::{Desk, after_all_with, bounds, range};
use super::group::{Answer, Committer, Followers, Group, Job, panicked};
use super::options::Options;
use super::room::Room;
use super::row::Row;
use crate::capabilities::{Capabilities, Durability};
use crate::context::{Attachment, Context};
use crate::entry::{Cleared, Count, Entry, Found, Intent, Listed, Page, PageRequest, Write, Wrote};
use crate::error::{Error, ErrorKind, Result};
use crate::observer::Event;
use crate::path::{Namespace, Path};
use crate::store::Store;
use crate::stored::Freshness;
use crate::tier::Lineage;
use crate::update::{Update, Updated};

/// What a store has done since it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Transactions committed.
    pub commits: u64,
    /// Writes, updates and clearings answered by them, refused ones that shared a transaction included.
    pub writes: u64,
    /// Rows removed because they had expired and their version had served its time.
    pub swept: u64,
    /// Usable values that left because the store was full.
    pub evicted: u64,
}

/// A store over a backend: what stands behind a file, redb or SQLite store. It has a thread of its own, which ends with it.
///
/// Writers that come at the same time share one transaction. There is no writer thread: who finds nobody committing commits.
pub struct Core<B: Backend> {
    shared: Arc<Shared<B>>,
    /// True once closed. Locked while closing, so that a second one waits for the first.
    closed: Mutex<bool>,
}

/// What the store's handle and its background thread share.
pub(super) struct Shared<B> {
    pub(super) backend: B,
    pub(super) options: Options,
    pub(super) background: Background,
    group: Group,
    belief: Belief,
    attachment: Attachment,
    /// True once there is a clock: asking for it before a cache has attached its own would fix another one for good.
    has_clock: AtomicBool,
    commits: AtomicU64,
    writes: AtomicU64,
    swept: AtomicU64,
    evicted: AtomicU64,
    /// When it was full of what may not leave, and how large it was then.
    exhausted: Mutex<Option<(u64, Timestamp)>>,
}

impl<B: Backend> Shared<B> {
    pub(super) fn now(&self) -> Timestamp {
        self.has_clock.store(true, Relaxed);
        self.attachment.clock().wall()
    }

    /// For the background thread: not before anyone else has asked for the time.
    pub(super) fn has_clock(&self) -> bool {
        self.has_clock.load(Relaxed)
    }

    pub(super) fn submit(&self, job: Job<'_>) -> Result<Answer> {
        self.group.submit(job, self)
    }

    /// Reads, and makes an error of a panic beneath.
    pub(super) fn read<T>(
        &self,
        operation: &'static str,
        read: impl FnOnce(&B::View) -> Result<T>,
    ) -> Result<T> {
        catch_unwind(AssertUnwindSafe(|| self.backend.read(read)))
            .unwrap_or_else(|panic| Err(panicked(B::NAME, operation, &*panic)))
    }
}

impl<B: Backend> Committer for Shared<B> {
    fn commit(&self, own: &Job<'_>, followers: &mut Followers<'_>) -> Result<Vec<Answer>> {
        let mut answers = Vec::new();
        let mut wanted = Wanted::Nothing;
        let mut room = None;
        let is_flushed = self.backend.transact(&mut |rows| {
            let (options, now) = (&self.options, self.now());
            let (framing, horizon) = (&options.framing, options.horizon);
            let bound = options.bytes_max.map(|bytes_max| Room::new(bytes_max, *self.exhausted.lock()));
            let mut desk =
                Desk { rows, tier: B::NAME, framing, horizon, now, wanted: Wanted::Nothing, room: bound };
            answers.push(desk.job(own)?);
            // Who was answered by the last transaction has had time to come back meanwhile.
            while let Some(ticket) = followers.next() {
                answers.push(desk.job(&ticket.job)?);
            }
            wanted = desk.wanted;
            room = desk.room;
            Ok(wanted)
        })?;
        if let Some(room) = room {
            *self.exhausted.lock() = room.exhausted;
            self.evicted.fetch_add(room.evicted, Relaxed);
        }
        if wanted != Wanted::Nothing {
            self.background.committed(is_flushed, self.options.durability);
            self.commits.fetch_add(1, Relaxed);
            self.writes.fetch_add(answers.iter().map(writes_in).sum(), Relaxed);
            self.swept.fetch_add(answers.iter().map(swept_in).sum(), Relaxed);
        }
        Ok(answers)
    }
}

fn writes_in(answer: &Answer) -> u64 {
    match answer {
        Answer::Wrote(wrote) => wrote.len() as u64,
        Answer::Updated(_) | Answer::Cleared(_) => 1,
        Answer::Swept(_) | Answer::Shrunk(_) | Answer::Done => 0,
    }
}

fn swept_in(answer: &Answer) -> u64 {
    match answer {
        Answer::Swept(swept) => *swept as u64,
        _ => 0,
    }
}

impl<B: Backend> Core<B> {
    /// A store over an open backend, and its thread.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] if the system gives no thread.
    pub fn start(backend: B, options: Options, belief: Belief) -> Result<Self> {
        let shared = Arc::new(Shared {
            backend,
            options,
            background: Background::default(),
            group: Group::new(B::NAME),
            belief,
            attachment: Attachment::default(),
            has_clock: AtomicBool::new(false),
            commits: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            swept: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            exhausted: Mutex::new(None),
        });
        Background::start(&shared)?;
        Ok(Self { shared, closed: Mutex::new(false) })
    }

    /// What the store stands on.
    #[must_use]
    pub fn backend(&self) -> &B {
        &self.shared.backend
    }

    /// What it works by.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let Shared { commits, writes, swept, evicted, .. } = &*self.shared;
        Stats {
            commits: commits.load(Relaxed),
            writes: writes.load(Relaxed),
            swept: swept.load(Relaxed),
            evicted: evicted.load(Relaxed),
        }
    }

    /// Removes now what has expired and whose version has served its time, and says how many rows that were. The store
    /// does so by itself from time to time.
    ///
    /// # Errors
    ///
    /// What the engine said.
    pub fn sweep(&self) -> Result<usize> {
        self.check_open("sweep")?;
        let (mut sweep, mut swept) = (Sweep::default(), 0);
        loop {
            match sweep.step(&self.shared)? {
                Step::More(some) => swept += some,
                Step::PassDone(some) => return Ok(swept + some),
                Step::Stopped => return Ok(swept),
            }
        }
    }

    /// Brings to disk what was acknowledged before it was there. With [`Durability::Sync`] that is nothing.
    ///
    /// # Errors
    ///
    /// What the engine said.
    pub fn flush(&self) -> Result<()> {
        match self.shared.options.durability {
            Durability::Async { .. } => self.shared.submit(Job::Flush).map(drop),
            Durability::Sync | Durability::Volatile => self.check_open("flush"),
        }
    }

    fn check_open(&self, operation: &'static str) -> Result<()> {
        if self.shared.backend.is_closed() {
            return Err(Error::new(ErrorKind::Closed, B::NAME, operation));
        }
        Ok(())
    }

    fn tell_unreadable(&self) {
        let context = self.shared.attachment.context();
        context.tell(&Event::RecordUnreadable { tier: B::NAME, at: context.place() });
    }

    /// An answer of another kind than the job's would be a bug of ours: an error, since a panic would take the service with it.
    fn mixed_up(operation: &'static str) -> Error {
        Error::new(ErrorKind::Storage, B::NAME, operation)
            .with_detail("a bug: the answer belongs to another job")
    }

    /// Reads a path by way of `key`, a buffer, and says whether there is something unreadable.
    fn read_one(
        &self,
        rows: &B::View,
        path: &Path<'_>,
        key: &mut Vec<u8>,
        now: Timestamp,
    ) -> (Result<Found>, bool) {
        key.clear();
        path.append_to(key);
        let row = match Row::read(rows, &self.shared.options.framing, path, key) {
            Ok(row) => row,
            Err(error) => return (Err(error), false),
        };
        let unreadable = row.unreadable;
        // The observer is told when nothing is held that it could stand in the way of.
        match row.held(B::NAME) {
            Ok(held) => (Ok(Found::new(row.into_entry(held), held.seen(), now)), unreadable),
            Err(error) => (Err(error), false),
        }
    }

    fn list_from(
        &self,
        rows: &B::View,
        namespace: &Namespace,
        request: &PageRequest,
    ) -> Result<(Page, usize)> {
        let now = self.shared.now();
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
        rows.visit((start, end), &mut |key, framed| {
            let Some(path) = Path::from_bytes(key) else { return ControlFlow::Continue(()) };
            if !request.wants(path.key()) {
                return ControlFlow::Continue(());
            }
            let Ok((entry, _)) = self.shared.options.framing.decode(&path, &Bytes::copy_from_slice(framed))
            else {
                unreadable += 1;
                return ControlFlow::Continue(());
            };
            let Entry::Present(record) = entry else { return ControlFlow::Continue(()) };
            if record.freshness(now) == Freshness::Expired {
                return ControlFlow::Continue(());
            }
            if page.entries.len() == request.limit() {
                page.next = page.entries.last().map(|last| last.key.clone());
                return ControlFlow::Break(());
            }
            page.entries.push(Listed {
                key: path.key().to_vec(),
                value_len: record.value.bytes.len(),
                usable_until: record.deadlines.usable_until,
            });
            ControlFlow::Continue(())
        })?;
        Ok((page, unreadable))
    }
}

/// Engines, as the standard library's maps, want no range that ends where it begins.
fn is_empty_range(start: Bound<&[u8]>, end: Bound<&[u8]>) -> bool {
    match (start, end) {
        (Bound::Included(start) | Bound::Excluded(start), Bound::Excluded(end)) => start >= end,
        _ => false,
    }
}

impl<B: Backend> Drop for Core<B> {
    fn drop(&mut self) {
        // Nobody is left to hear of an error. What it could not mark as closed, the next opening distrusts.
        let _ = self.close();
    }
}

impl<B: Backend> fmt::Debug for Core<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("tier", &B::NAME)
            .field("options", self.options())
            .finish_non_exhaustive()
    }
}

impl<B: Backend> Store for Core<B> {
    fn name(&self) -> &'static str {
        B::NAME
    }

    fn capabilities(&self) -> Capabilities {
        let options = &self.shared.options;
        Capabilities {
            durability: options.durability,
            horizon: options.horizon,
            updates: true,
            lists: true,
            embedded: true,
            value_len_max: options.value_len_max,
            ..Capabilities::new(options.scope)
        }
    }

    fn attach(&self, context: &Context) {
        self.shared.attachment.attach(context);
        // Fixes the moment of opening, by the clock that the store has only now.
        self.believed_since();
    }

    fn lineage(&self) -> Option<Lineage> {
        let (opening, before) = self.shared.backend.openings()?;
        // Counted before a write is acknowledged. What is swept or left for want of room was removed by nobody.
        let is_unchanged = self.shared.writes.load(Relaxed) == 0;
        Some(Lineage { opening, unchanged_since: before.filter(|_| is_unchanged) })
    }

    fn believed_since(&self) -> Timestamp {
        self.shared.belief.since(|| self.shared.now())
    }

    /// Kept on disk with the mark of a proper close. Without a proper close the next opening doubts everything anyway.
    fn doubt(&self, until: Timestamp) {
        self.shared.belief.doubt(until, || self.shared.now());
        // What fails here is made up for by the next transaction, and this handle doubts already.
        let _ = catch_unwind(AssertUnwindSafe(|| self.shared.backend.doubt(until)));
    }

    fn read(&self, paths: &[Path<'_>], _: Intent) -> Result<Vec<Result<Found>>> {
        let now = self.shared.now();
        let mut unreadable = 0;
        let answers = self.shared.read("read", |rows| {
            let (mut answers, mut key) = (Vec::with_capacity(paths.len()), Vec::new());
            for path in paths {
                let (found, is_unreadable) = self.read_one(rows, path, &mut key, now);
                unreadable += usize::from(is_unreadable);
                answers.push(found);
            }
            Ok(answers)
        })?;
        (0..unreadable).for_each(|_| self.tell_unreadable());
        Ok(answers)
    }

    fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
        if writes.is_empty() {
            return self.check_open("write").map(|()| Vec::new());
        }
        match self.shared.submit(Job::Write(Cow::Borrowed(writes)))? {
            Answer::Wrote(wrote) => Ok(wrote),
            _ => Err(Self::mixed_up("write")),
        }
    }

    fn update(&self, update: &Update<'_>) -> Result<Updated> {
        match self.shared.submit(Job::Update(Cow::Borrowed(update)))? {
            Answer::Updated(updated) => updated,
            _ => Err(Self::mixed_up("update")),
        }
    }

    fn clear(&self, cleared: &Cleared<'_>) -> Result<Wrote> {
        let &Cleared { namespace, version, as_of } = cleared;
        match self.shared.submit(Job::Clear { namespace: Cow::Borrowed(namespace), version, as_of })? {
            Answer::Cleared(wrote) => Ok(wrote),
            _ => Err(Self::mixed_up("clear")),
        }
    }

    fn list(&self, namespace: &Namespace, page: &PageRequest) -> Result<Page> {
        let (page, unreadable) = self.shared.read("list", |rows| self.list_from(rows, namespace, page))?;
        (0..unreadable).for_each(|_| self.tell_unreadable());
        Ok(page)
    }

    fn namespaces(&self, after: Option<&Namespace>) -> Result<Vec<Namespace>> {
        self.shared.read("namespaces", |rows| {
            // Names of one length lie together, in order; so each length is a listing of its own.
            let mut names = Vec::new();
            for len in 1..=u8::MAX {
                let mut start = vec![len];
                let len_end = after_all_with(&start);
                loop {
                    let mut next = None;
                    rows.visit(range(&start, len_end.as_deref()), &mut |key, _| {
                        next = Path::from_bytes(key).map(|path| path.namespace().clone());
                        // What is no path's is passed over: the next row may be one.
                        if next.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                    })?;
                    let Some(name) = next else { break };
                    let end = bounds(&name).1;
                    names.extend(Some(name).filter(|name| Some(name) > after));
                    match end {
                        Some(end) => start = end,
                        None => break,
                    }
                }
            }
            names.sort_unstable();
            names.truncate(PageRequest::LIMIT_MAX);
            Ok(names)
        })
    }

    fn count(&self, namespace: &Namespace) -> Result<Count> {
        let now = self.shared.now();
        self.shared.read("count", |rows| {
            let mut count = Count::default();
            let (start, end) = bounds(namespace);
            rows.visit(range(&start, end.as_deref()), &mut |key, framed| {
                let framing = &self.shared.options.framing;
                let read = Path::from_bytes(key)
                    .and_then(|path| framing.decode(&path, &Bytes::copy_from_slice(framed)).ok());
                match read {
                    Some((entry, _)) => count.add(entry.record(), now),
                    None => count.unreadable += 1,
                }
                ControlFlow::Continue(())
            })?;
            Ok(count)
        })
    }

    fn ready(&self) -> Result<()> {
        self.shared.read("ready", |_| Ok(()))
    }

    fn close(&self) -> Result<()> {
        let mut closed = self.closed.lock();
        if std::mem::replace(&mut *closed, true) {
            return Ok(());
        }
        self.shared.background.stop();
        let flushed = self.shared.submit(Job::Close { believed_since: self.believed_since() }).map(drop);
        let let_go = catch_unwind(AssertUnwindSafe(|| self.shared.backend.close()))
            .unwrap_or_else(|panic| Err(panicked(B::NAME, "close", &*panic)));
        flushed.and(let_go)
    }
}

/// A store that is a [`Core`] with a builder and a name of its own around it. What it stands on stays its own affair.
pub trait Embedded: Send + Sync + 'static {
    /// The store itself.
    fn core(&self) -> &dyn Store;
}

impl<E: Embedded> Store for E {
    fn name(&self) -> &'static str {
        self.core().name()
    }
    fn capabilities(&self) -> Capabilities {
        self.core().capabilities()
    }
    fn attach(&self, context: &Context) {
        self.core().attach(context);
    }
    fn lineage(&self) -> Option<Lineage> {
        self.core().lineage()
    }
    fn believed_since(&self) -> Timestamp {
        self.core().believed_since()
    }
    fn doubt(&self, until: Timestamp) {
        self.core().doubt(until);
    }
    fn read(&self, paths: &[Path<'_>], intent: Intent) -> Result<Vec<Result<Found>>> {
        self.core().read(paths, intent)
    }
    fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
        self.core().write(writes)
    }
    fn update(&self, update: &Update<'_>) -> Result<Updated> {
        self.core().update(update)
    }
    fn clear(&self, cleared: &Cleared<'_>) -> Result<Wrote> {
        self.core().clear(cleared)
    }
    fn list(&self, namespace: &Namespace, page: &PageRequest) -> Result<Page> {
        self.core().list(namespace, page)
    }
    fn namespaces(&self, after: Option<&Namespace>) -> Result<Vec<Namespace>> {
        self.core().namespaces(after)
    }
    fn count(&self, namespace: &Namespace) -> Result<Count> {
        self.core().count(namespace)
    }
    fn ready(&self) -> Result<()> {
        self.core().ready()
    }
    fn close(&self) -> Result<()> {
        self.core().close()
    }
}
