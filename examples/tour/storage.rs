//! The cache: memory over redb, or memory alone where redb cannot be had.

use std::fs;
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use nanotier::tier::{Entry, Intent, Store as _};
use nanotier::{Cache, Durability, ErrorKind, Event, Inline, Json, Key as _, Namespace, Observer};
use nanotier_redb::{OnDamage, RedbStore};

use crate::facts::{FileFacts, FileKey};
use crate::screen::{note, say};
use crate::words::{count, plural, shown};

/// In an `Arc`, so that a hit hands out the facts without copying them.
pub(crate) type FactsCache = Cache<FileKey, Arc<FileFacts>>;

pub(crate) struct Storage {
    pub(crate) cache: FactsCache,
    /// The tier below the cache, kept at hand only to look behind the cache's back. `None` if there is memory alone.
    store: Option<Arc<RedbStore>>,
    trouble: Trouble,
    file: PathBuf,
    files: usize,
}

impl Storage {
    /// Opens the cache in `folder`, for so many files.
    pub(crate) fn open(folder: &Path, files: usize) -> nanotier::Result<Self> {
        let file = folder.join(FILE_NAME);
        let store = open_store(&file).map(Arc::new);
        let trouble = Trouble::default();
        let cache = match &store {
            Some(store) => Cache::builder()
                .capacity(beside_redb(files))
                .tiers(Inline(store.clone()))
                .namespace(NAMESPACE)
                // The name of the schema is part of every record: with another one, old records are misses.
                .codec(Json::schema("file facts 1"))
                .observer(trouble.clone())
                .build()?,
            // Nothing lies below, so memory had better hold them all.
            None => Cache::builder().capacity(2 * files as u64).build()?,
        };
        Ok(Self { cache, store, trouble, file, files })
    }

    pub(crate) fn is_durable(&self) -> bool {
        self.store.is_some()
    }

    pub(crate) fn described(&self) -> String {
        match &self.store {
            Some(_) => format!(
                "room for {} in memory, over redb in {}",
                plural(usize::try_from(self.cache.capacity()).unwrap_or(usize::MAX), "file"),
                shown(&self.file)
            ),
            None => "in memory only: this run works as ever and leaves nothing behind".to_string(),
        }
    }

    /// Forgets what earlier runs found.
    pub(crate) fn forget(&self) {
        match self.cache.clear().wait() {
            Ok(()) => say("   fresh    what earlier runs found is forgotten"),
            Err(error) => note(&format!("the old cache could not be cleared: {error}")),
        }
    }

    /// Closes the file, with all that is in memory, and opens it again.
    pub(crate) fn reopen(self) -> nanotier::Result<Self> {
        let files = self.files;
        let (file, closed) = self.close();
        if let Err(error) = closed {
            note(&format!("the cache could not be closed properly: {error}"));
        }
        Self::open(file.parent().unwrap_or(Path::new(".")), files)
    }

    /// Closes the file and says where it is.
    pub(crate) fn close(self) -> (PathBuf, nanotier::Result<()>) {
        (self.file, self.cache.close().wait())
    }

    /// What memory holds of a key, asking nobody else.
    pub(crate) fn in_memory(&self, key: &FileKey) -> &'static str {
        if self.cache.resident(key).is_some() { HAS_IT } else { NOTHING }
    }

    /// What redb holds of a key, asked past the cache. `None` if there is no redb.
    pub(crate) fn in_redb(&self, key: &FileKey) -> Option<&'static str> {
        let store = self.store.as_ref()?;
        let namespace = Namespace::new(NAMESPACE).ok()?;
        let path = nanotier::tier::Path::new(&namespace, key.key_bytes());
        let found = store.read(&[path], Intent::Look).and_then(|mut found| found.remove(0));
        Some(match found.map(|found| found.entry) {
            Ok(Entry::Present(_)) => HAS_IT,
            Ok(Entry::Removed(_)) => TOMBSTONE,
            Ok(Entry::Absent) => NOTHING,
            Err(_) => "cannot be read",
        })
    }

    /// Tells of what went wrong below memory without any caller noticing: the file was examined instead.
    pub(crate) fn say_trouble(&self) {
        let unreadable = self.trouble.unreadable.swap(0, Relaxed);
        if unreadable > 0 {
            note(&format!(
                "{} on disk could not be read, and counted as not there",
                plural(unreadable, "record")
            ));
        }
        let failed = self.trouble.failed.swap(0, Relaxed);
        if failed > 0 {
            note(&format!("redb failed {} times; the files were examined instead", count(failed)));
        }
        if let Err(error) = self.cache.ready().wait() {
            note(&format!("redb cannot be used any more, so what is found is kept in memory only: {error}"));
        }
    }
}

/// Opens the file if that can be. If not, says why: a cache that cannot be kept is no reason not to work.
fn open_store(file: &Path) -> Option<RedbStore> {
    match quietly(|| options(file).build()) {
        Ok(store) => Some(store),
        Err(error) => match error.kind() {
            ErrorKind::InUse => {
                note(&format!(
                    "the cache {} is in use by another run, so this one works in memory only",
                    shown(file)
                ));
                None
            }
            // `OnDamage::StartCold` alone would have done it; but then we could not tell.
            ErrorKind::Corrupt => open_cold(file),
            _ => {
                note(&format!(
                    "the cache {} cannot be opened, so this run works in memory only:",
                    shown(file)
                ));
                note(&format!("  {error}"));
                None
            }
        },
    }
}

fn open_cold(file: &Path) -> Option<RedbStore> {
    let before = damaged_files(file);
    match quietly(|| options(file).on_damage(OnDamage::StartCold).build()) {
        Ok(store) => {
            let moved = damaged_files(file).into_iter().find(|moved| !before.contains(moved));
            let whereto = moved.map_or_else(String::new, |moved| format!(" to {}", shown(&moved)));
            note(&format!("the cache was damaged; it was moved aside{whereto}, and a new one begun"));
            Some(store)
        }
        Err(error) => {
            note(&format!(
                "the cache {} is damaged and cannot be moved aside, so this run works in memory only:",
                shown(file)
            ));
            note(&format!("  {error}"));
            None
        }
    }
}

/// redb can panic over a damaged file. The store catches that and answers with an error, so nobody needs to read of it twice.
fn quietly<R>(open: impl FnOnce() -> R) -> R {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let opened = open();
    panic::set_hook(hook);
    opened
}

/// What was moved aside so far.
fn damaged_files(file: &Path) -> Vec<PathBuf> {
    let Some(entries) = file.parent().and_then(|folder| fs::read_dir(folder).ok()) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.filter(|path| path.to_string_lossy().contains(".damaged-")).collect()
}

fn options(file: &Path) -> nanotier_redb::Builder {
    // What a crash takes away can be found again, so nobody has to wait for the disk: this is much faster than `Sync`.
    RedbStore::builder(file).durability(Durability::Async { loss_window: LOSS_WINDOW })
}

/// A quarter of the files, so that there is something for redb to do.
fn beside_redb(files: usize) -> u64 {
    (files / 4).max(CAPACITY_MIN) as u64
}

/// Counts what nobody is told by an answer.
#[derive(Clone, Debug, Default)]
struct Trouble {
    unreadable: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
}

impl Observer for Trouble {
    fn event(&self, event: &Event) {
        match event {
            Event::RecordUnreadable { .. } => self.unreadable.fetch_add(1, Relaxed),
            _ => self.failed.fetch_add(1, Relaxed),
        };
    }
}

pub(crate) const FILE_NAME: &str = "tour.redb";
pub(crate) const HAS_IT: &str = "has it";
pub(crate) const NOTHING: &str = "–";
pub(crate) const TOMBSTONE: &str = "says: deleted";
const NAMESPACE: &str = "tour/files";
const LOSS_WINDOW: Duration = Duration::from_millis(200);
const CAPACITY_MIN: usize = 64;
