//! Bugs put into a good store on purpose, to see that they are noticed.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Mutex;

use nanotier_tier::{
    Bytes, Capabilities, Cleared, Context, Entry, Found, Intent, Namespace, Page, PageRequest, Path, Record,
    Result, Store, Timestamp, Update, Updated, Version, Write, Wrote,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A write is acknowledged before its commit is on its way to the disk.
    AcknowledgesEarly,
    /// A removal is remembered in memory only.
    ForgetsTombstones,
    /// A value is written in two steps.
    TearsWrites,
    /// A namespace is cleared key by key.
    ClearsPiecemeal,
    /// Some writes reach the store after later ones.
    Reorders,
    /// An error of the disk is swallowed, and the write acknowledged.
    SwallowsErrors,
    /// Nothing is wrong with the store, but whoever writes is told that it is on disk when it is not: kill -9 cannot show that, a power cut does.
    NeverSyncs,
}

impl Bug {
    pub(crate) const ALL: [Self; 7] = [
        Self::AcknowledgesEarly,
        Self::ForgetsTombstones,
        Self::TearsWrites,
        Self::ClearsPiecemeal,
        Self::Reorders,
        Self::SwallowsErrors,
        Self::NeverSyncs,
    ];

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bug| bug.to_string() == name)
    }
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AcknowledgesEarly => "acknowledges-early",
            Self::ForgetsTombstones => "forgets-tombstones",
            Self::TearsWrites => "tears-writes",
            Self::ClearsPiecemeal => "clears-piecemeal",
            Self::Reorders => "reorders",
            Self::SwallowsErrors => "swallows-errors",
            Self::NeverSyncs => "never-syncs",
        })
    }
}

/// A store with a bug.
pub(crate) struct Planted {
    store: Box<dyn Store>,
    bug: Bug,
    /// Removals that only memory knows of, by the bytes of their paths.
    removed: Mutex<HashMap<Vec<u8>, Version>>,
    /// Acknowledged and held back.
    late: Mutex<VecDeque<Write<'static>>>,
}

/// So many writes are held back before the first of them is passed on.
const LATE_MAX: usize = 40;

impl Planted {
    pub(crate) fn new(store: Box<dyn Store>, bug: Bug) -> Self {
        Self { store, bug, removed: Mutex::default(), late: Mutex::default() }
    }

    fn forgetful(&self, write: &Write<'_>) -> Result<Wrote> {
        let mut removed = self.removed.lock().expect("nobody panics with it");
        if write.record.is_none() {
            removed.insert(write.path.to_bytes(), write.version);
            return Ok(Wrote::Done);
        }
        removed.remove(&write.path.to_bytes());
        self.one(write)
    }

    fn torn(&self, write: &Write<'_>) -> Result<Wrote> {
        if let Some(record) = &write.record {
            let bytes = record.value.bytes.slice(..record.value.bytes.len() / 2);
            let (hlc, writer) = write.version.parts();
            let version = Version::from_parts(hlc - 1, writer);
            let mut half: Record = record.clone().into_owned();
            half.value.bytes = Bytes::copy_from_slice(&bytes);
            half.version = version;
            let _ = self.one(&Write::put(write.path.borrowed(), &half))?;
        }
        self.one(write)
    }

    fn reordered(&self, write: &Write<'_>) -> Result<Wrote> {
        self.catch_up(|path| path.to_bytes() == write.path.to_bytes())?;
        let due = {
            let mut late = self.late.lock().expect("nobody panics with it");
            if write.record.is_some() && write.version.parts().0.is_multiple_of(7) {
                late.push_back(write.clone().into_owned());
                return Ok(Wrote::Done);
            }
            (late.len() > LATE_MAX).then(|| late.pop_front()).flatten()
        };
        let wrote = self.one(write)?;
        if let Some(due) = due {
            let _ = self.one(&due)?;
        }
        Ok(wrote)
    }

    /// Passes on what is held back for these paths, so that answers are right and only a crash shows the difference.
    fn catch_up(&self, concerns: impl Fn(&Path<'_>) -> bool) -> Result<()> {
        let mut late = self.late.lock().expect("nobody panics with it");
        let (due, rest): (VecDeque<_>, VecDeque<_>) = late.drain(..).partition(|write| concerns(&write.path));
        *late = rest;
        drop(late);
        due.iter().try_for_each(|write| self.one(write).map(drop))
    }

    fn one(&self, write: &Write<'_>) -> Result<Wrote> {
        self.store.write(std::slice::from_ref(write))?.remove(0)
    }
}

impl Store for Planted {
    fn name(&self) -> &'static str {
        self.store.name()
    }
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
    fn attach(&self, context: &Context) {
        self.store.attach(context);
    }
    fn believed_since(&self) -> Timestamp {
        self.store.believed_since()
    }
    fn doubt(&self, until: Timestamp) {
        self.store.doubt(until);
    }

    fn read(&self, paths: &[Path<'_>], intent: Intent) -> Result<Vec<Result<Found>>> {
        let mut found = self.store.read(paths, intent)?;
        let removed = self.removed.lock().expect("nobody panics with it");
        for (path, found) in paths.iter().zip(&mut found) {
            if let (Ok(found), Some(version)) = (found, removed.get(&path.to_bytes())) {
                found.entry = Entry::Removed(*version);
            }
        }
        Ok(found)
    }

    fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
        match self.bug {
            Bug::ForgetsTombstones => Ok(writes.iter().map(|write| self.forgetful(write)).collect()),
            Bug::TearsWrites => Ok(writes.iter().map(|write| self.torn(write)).collect()),
            Bug::Reorders => Ok(writes.iter().map(|write| self.reordered(write)).collect()),
            Bug::SwallowsErrors => Ok(self
                .store
                .write(writes)
                .unwrap_or_else(|_| writes.iter().map(|_| Ok(Wrote::Done)).collect())),
            Bug::AcknowledgesEarly | Bug::ClearsPiecemeal | Bug::NeverSyncs => self.store.write(writes),
        }
    }

    fn update(&self, update: &Update<'_>) -> Result<Updated> {
        self.catch_up(|path| path.to_bytes() == update.path.to_bytes())?;
        self.store.update(update)
    }

    fn clear(&self, cleared: &Cleared<'_>) -> Result<Wrote> {
        if self.bug == Bug::ClearsPiecemeal {
            let page = PageRequest { limit: PageRequest::LIMIT_MAX, ..PageRequest::default() };
            // Just below the clearing, which would be refused over tombstones of its own version.
            let (hlc, writer) = cleared.version.parts();
            let below = Version::from_parts(hlc.saturating_sub(1), writer);
            for listed in self.store.list(cleared.namespace, &page)?.entries {
                let path = Path::new(cleared.namespace, listed.key);
                let _ = self.one(&Write::remove(path, below, cleared.as_of))?;
            }
        }
        self.catch_up(|path| path.namespace() == cleared.namespace)?;
        self.store.clear(cleared)
    }

    fn list(&self, namespace: &Namespace, page: &PageRequest) -> Result<Page> {
        self.store.list(namespace, page)
    }
    fn ready(&self) -> Result<()> {
        self.store.ready()
    }
    fn close(&self) -> Result<()> {
        self.store.close()
    }
}
