//! The open file: reading from its newest committed state, committing, and letting go of it after a failure.

use std::ops::RangeBounds;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use nanotier_tier::embedded::{Backend, Belief, Range, Rows, RowsMut, Visit, Wanted};
use nanotier_tier::rules::{Rule, is_on};
use nanotier_tier::{Bytes, Durability, ErrorKind, Result, Timestamp};
use parking_lot::{Mutex, RwLock};
use redb::{
    CompactionError, Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable,
    ReadableTableMetadata, Table, WriteTransaction,
};

use crate::builder::Config;
use crate::error::{NAME, error, io_while_doing, panicked, while_doing};
use crate::file::{self, Opened};
use crate::sample::{Dice, sample};
use crate::tables::{BELIEVED_SINCE, BYTES, Bytewise, CLOSED, FLOORS, META, RECORDS};

/// What a store's file holds, and what was done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileStats {
    /// Rows: records, tombstones and blanks, expired ones too.
    pub rows: u64,
    /// What they take, keys and records: this is what [`bytes_max`](crate::Builder::bytes_max) bounds.
    pub row_bytes: u64,
    /// The length of the file.
    pub file_bytes: u64,
    /// What in the file holds nothing of use: free pages, and the rest of pages that are not full.
    pub free_bytes: u64,
    /// How often it was compacted since it was opened.
    pub compactions: u64,
    /// How often it was opened anew after a failure.
    pub reopenings: u64,
}

/// A redb file as what a store stands on.
pub(crate) struct Redb {
    pub(crate) config: Config,
    file: RwLock<OpenFile>,
    /// Held by who changes the file: a transaction, or compaction. Taken before `file`.
    changing: Mutex<()>,
    belief: Belief,
    /// Set by a reader over whom redb stumbled: the next writer opens the file anew.
    suspect: AtomicBool,
    /// What all records take, with their keys, as of the last commit. Changed by who writes, and there is one at a time.
    bytes: AtomicU64,
    dice: Dice,
    /// The number of this opening, and of the one before it; 0 where that was not closed properly.
    opening: AtomicU64,
    opening_before: AtomicU64,
    /// How long the file was when it was compacted last; 0 before.
    compacted_to: AtomicU64,
    compactions: AtomicU64,
    reopenings: AtomicU64,
}

/// The file's state. Readers share the lock for as long as it takes to clone an `Arc`; it is taken alone to open, to close,
/// and after a commit.
enum OpenFile {
    Open {
        database: Arc<Database>,
        /// The newest committed state, kept open from the first read after a commit to the next commit: opening one costs
        /// more than a lookup. Since no commit happens meanwhile, it holds back no page that could be used again.
        view: Option<Arc<View>>,
    },
    /// A commit failed, after which redb wants the file to be opened anew. The next call does that.
    Failed,
    Closed,
}

/// A committed state, to read from.
pub(crate) struct View {
    pub(crate) records: ReadOnlyTable<Bytewise, Bytewise>,
    /// `None` if nothing was ever cleared.
    pub(crate) floors: Option<ReadOnlyTable<Bytewise, Bytewise>>,
}

impl View {
    fn open(database: &Database) -> Result<Self> {
        Self::of(&database.begin_read().map_err(while_doing("read"))?)
    }

    /// What this transaction sees.
    pub(crate) fn of(transaction: &ReadTransaction) -> Result<Self> {
        let records = transaction.open_table(RECORDS).map_err(while_doing("read"))?;
        let floors = transaction.open_table(FLOORS).map_err(while_doing("read"))?;
        let has_floors = !floors.is_empty().map_err(while_doing("read"))?;
        Ok(Self { records, floors: has_floors.then_some(floors) })
    }
}

/// What a reader sees.
impl Rows for View {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        get(&self.records, key)
    }

    fn floor(&self, namespace: &[u8]) -> Result<Option<Bytes>> {
        self.floors.as_ref().map_or(Ok(None), |floors| get(floors, namespace))
    }

    fn visit(&self, range: Range<'_>, visit: &mut Visit<'_>) -> Result<()> {
        visit_rows(&self.records, range, visit)
    }
}

/// What a transaction sees and changes.
struct Doing<'t> {
    transaction: &'t WriteTransaction,
    records: Table<'t, Bytewise, Bytewise>,
    floors: Table<'t, Bytewise, Bytewise>,
    bytes: u64,
    dice: &'t Dice,
}

impl Rows for Doing<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        get(&self.records, key)
    }

    fn floor(&self, namespace: &[u8]) -> Result<Option<Bytes>> {
        get(&self.floors, namespace)
    }

    fn visit(&self, range: Range<'_>, visit: &mut Visit<'_>) -> Result<()> {
        visit_rows(&self.records, range, visit)
    }
}

impl RowsMut for Doing<'_> {
    fn put(&mut self, key: &[u8], framed: &[u8], _: Timestamp) -> Result<()> {
        let old = self.records.insert(key, framed).map_err(while_doing("write"))?;
        let old = old.map_or(0, |old| row_len(key, old.value()));
        self.bytes = self.bytes.saturating_sub(old) + row_len(key, framed);
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) -> Result<()> {
        let old = self.records.remove(key).map_err(while_doing("write"))?;
        self.bytes = self.bytes.saturating_sub(old.map_or(0, |old| row_len(key, old.value())));
        Ok(())
    }

    fn remove_all(&mut self, range: Range<'_>) -> Result<()> {
        let mut removed = 0;
        let drop_row = |key: &[u8], value: &[u8]| {
            removed += row_len(key, value);
            false
        };
        self.records.retain_in::<&[u8], _>(range, drop_row).map_err(while_doing("clear"))?;
        self.bytes = self.bytes.saturating_sub(removed);
        Ok(())
    }

    fn put_floor(&mut self, namespace: &[u8], floor: &[u8]) -> Result<()> {
        self.floors.insert(namespace, floor).map(drop).map_err(while_doing("clear"))
    }

    fn bytes(&self) -> Result<Option<u64>> {
        Ok(Some(self.bytes))
    }

    fn eldest(&self, most: usize) -> Result<Vec<Vec<u8>>> {
        sample(&self.records, self.dice, most)
    }

    fn mark_closed(&mut self, believed_since: Timestamp) -> Result<()> {
        let mut meta = self.transaction.open_table(META).map_err(while_doing("close"))?;
        meta.insert(CLOSED, 1).map_err(while_doing("close"))?;
        meta.insert(BELIEVED_SINCE, believed_since.as_millis()).map_err(while_doing("close"))?;
        Ok(())
    }
}

impl Doing<'_> {
    /// Keeps what all records take with what changed it.
    fn keep_bytes(&self) -> Result<()> {
        let mut meta = self.transaction.open_table(META).map_err(while_doing("write"))?;
        meta.insert(BYTES, self.bytes).map(drop).map_err(while_doing("write"))
    }
}

/// What a row takes.
fn row_len(key: &[u8], value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64
}

/// Compacts once those who are reading have ended. Nobody begins to meanwhile: the caller holds the file's lock.
fn compact_when_unread(database: &mut Database) -> Result<()> {
    for _ in 0..READERS_WAIT_MAX.as_millis() {
        match database.compact() {
            Ok(_) => return Ok(()),
            Err(CompactionError::TransactionInProgress) => std::thread::sleep(Duration::from_millis(1)),
            Err(failed) => return Err(while_doing("compact")(failed)),
        }
    }
    Err(error(ErrorKind::Busy, "compact").with_detail("somebody was reading all the while"))
}

/// Shorter files are left as they are.
const COMPACT_MIN: u64 = 16 * 1024 * 1024;
/// A file is compacted by itself when it is longer than so many times what its rows take.
const FREE_SHARE: u64 = 4;
/// How long compaction waits for those who are reading. Others wait behind it.
const READERS_WAIT_MAX: Duration = Duration::from_millis(250);

fn get(table: &impl ReadableTable<Bytewise, Bytewise>, key: &[u8]) -> Result<Option<Bytes>> {
    let stored = table.get(key).map_err(while_doing("read"))?;
    // The one copy: the value that is handed out shares these bytes.
    Ok(stored.map(|stored| Bytes::copy_from_slice(stored.value())))
}

fn visit_rows<'a>(
    table: &impl ReadableTable<Bytewise, Bytewise>,
    range: impl RangeBounds<&'a [u8]> + 'a,
    visit: &mut Visit<'_>,
) -> Result<()> {
    for row in table.range::<&[u8]>(range).map_err(while_doing("read"))? {
        let (key, value) = row.map_err(while_doing("read"))?;
        if visit(key.value(), value.value()).is_break() {
            break;
        }
    }
    Ok(())
}

impl Redb {
    /// Opens the file.
    pub(crate) fn open(config: Config) -> Result<(Self, Belief)> {
        let Opened { database, believed_since, bytes, openings: (opening, before) } = file::open(&config)?;
        let belief = Belief::new(believed_since.map(Timestamp::from_millis));
        let file = RwLock::new(OpenFile::Open { database: Arc::new(database), view: None });
        let redb = Self {
            config,
            file,
            changing: Mutex::new(()),
            belief: belief.clone(),
            opening: AtomicU64::new(opening),
            opening_before: AtomicU64::new(before.unwrap_or(0)),
            suspect: AtomicBool::new(false),
            bytes: AtomicU64::new(bytes),
            dice: Dice::default(),
            compacted_to: AtomicU64::new(0),
            compactions: AtomicU64::new(0),
            reopenings: AtomicU64::new(0),
        };
        Ok((redb, belief))
    }

    fn file_bytes(&self) -> Result<u64> {
        std::fs::metadata(&self.config.path).map(|file| file.len()).map_err(io_while_doing("look"))
    }

    /// Moves what is in use to the front of the file and cuts off the rest. Readers and writers wait meanwhile. True if it became shorter.
    pub(crate) fn compact(&self) -> Result<bool> {
        let _changing = self.changing.lock();
        let before = self.file_bytes()?;
        let compacted = {
            let mut file = self.file.write();
            self.reopen_if_failed(&mut file)?;
            let OpenFile::Open { database, view } = &mut *file else {
                return Err(error(ErrorKind::Closed, "compact"));
            };
            drop(view.take());
            // Nobody else has it: who writes holds the lock above, who reads holds a view.
            match Arc::get_mut(database) {
                Some(database) => catch_unwind(AssertUnwindSafe(|| compact_when_unread(database)))
                    .unwrap_or_else(|panic| Err(panicked("compact", &*panic))),
                None => Err(error(ErrorKind::Busy, "compact")),
            }
        };
        match compacted {
            Ok(()) => {}
            Err(busy) if busy.kind() == ErrorKind::Busy => return Err(busy),
            Err(failed) => {
                self.fail();
                return Err(failed);
            }
        }
        let after = self.file_bytes()?;
        self.compacted_to.store(after, Relaxed);
        self.compactions.fetch_add(1, Relaxed);
        Ok(after < before)
    }

    /// How large it is.
    pub(crate) fn file_stats(&self) -> Result<FileStats> {
        let file_bytes = self.file_bytes()?;
        self.read(|view| {
            let records = view.records.stats().map_err(while_doing("look"))?;
            Ok(FileStats {
                rows: view.records.len().map_err(while_doing("look"))?,
                row_bytes: self.bytes.load(Relaxed),
                file_bytes,
                free_bytes: file_bytes.saturating_sub(records.stored_bytes() + records.metadata_bytes()),
                compactions: self.compactions.load(Relaxed),
                reopenings: self.reopenings.load(Relaxed),
            })
        })
    }

    /// The newest committed state.
    fn view(&self) -> Result<Arc<View>> {
        if let OpenFile::Open { view: Some(view), .. } = &*self.file.read() {
            return Ok(view.clone());
        }
        self.open_view()
    }

    #[cold]
    fn open_view(&self) -> Result<Arc<View>> {
        let mut file = self.file.write();
        self.reopen_if_failed(&mut file)?;
        let OpenFile::Open { database, view } = &mut *file else {
            return Err(error(ErrorKind::Closed, "read"));
        };
        if let Some(view) = view {
            return Ok(view.clone());
        }
        // Under the lock: a commit that ends now takes the lock next and drops this view; one that ended before is in it.
        let opened = catch_unwind(AssertUnwindSafe(|| View::open(database)))
            .unwrap_or_else(|panic| Err(panicked("read", &*panic)))
            .inspect_err(|_| self.suspect.store(true, Relaxed))?;
        Ok(view.insert(Arc::new(opened)).clone())
    }

    /// For who writes: the database, opened anew if need be.
    fn database(&self) -> Result<Arc<Database>> {
        if self.suspect.swap(false, Relaxed) {
            self.fail();
        }
        if let OpenFile::Open { database, .. } = &*self.file.read() {
            return Ok(database.clone());
        }
        let mut file = self.file.write();
        self.reopen_if_failed(&mut file)?;
        match &*file {
            OpenFile::Open { database, .. } => Ok(database.clone()),
            OpenFile::Failed | OpenFile::Closed => Err(error(ErrorKind::Closed, "write")),
        }
    }

    fn reopen_if_failed(&self, file: &mut OpenFile) -> Result<()> {
        if matches!(file, OpenFile::Failed) {
            let Opened { database, bytes, openings: (opening, _), .. } = file::open(&self.config)?;
            self.opening_before.store(0, Relaxed);
            self.opening.store(opening, Relaxed);
            self.bytes.store(bytes, Relaxed);
            self.reopenings.fetch_add(1, Relaxed);
            // What was acknowledged and not yet on disk is gone, and the failed write may or may not have happened.
            self.belief.lose();
            *file = OpenFile::Open { database: Arc::new(database), view: None };
        }
        Ok(())
    }

    /// Lets go of the file after a failure, so that it can be opened anew.
    #[cold]
    fn fail(&self) {
        let mut file = self.file.write();
        if matches!(*file, OpenFile::Open { .. }) {
            let failed = std::mem::replace(&mut *file, OpenFile::Failed);
            // redb writes when it is dropped, and may stumble again. The lock is held meanwhile, so that nobody opens the file
            // before it is let go.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(failed)));
        }
    }

    /// Works in a transaction and commits it. Says whether it is on disk.
    fn commit(
        &self,
        database: &Database,
        work: &mut dyn FnMut(&mut dyn RowsMut) -> Result<Wanted>,
    ) -> Result<bool> {
        let mut transaction = database.begin_write().map_err(while_doing("write"))?;
        let before = self.bytes.load(Relaxed);
        let (wanted, bytes) = {
            let mut doing = Doing {
                transaction: &transaction,
                records: transaction.open_table(RECORDS).map_err(while_doing("write"))?,
                floors: transaction.open_table(FLOORS).map_err(while_doing("write"))?,
                bytes: before,
                dice: &self.dice,
            };
            let wanted = work(&mut doing)?;
            if doing.bytes != before {
                doing.keep_bytes()?;
            }
            (wanted, doing.bytes)
        };
        if wanted == Wanted::Nothing {
            transaction.abort().map_err(while_doing("write"))?;
            return Ok(false);
        }
        let is_flushed = wanted == Wanted::Flush
            || (self.config.options.durability == Durability::Sync && is_on(Rule::CommitBeforeAcknowledge));
        if !is_flushed {
            transaction.set_durability(redb::Durability::None).map_err(while_doing("write"))?;
        }
        transaction.commit().map_err(while_doing("write"))?;
        self.bytes.store(bytes, Relaxed);
        Ok(is_flushed)
    }

    /// From now on readers see what was committed.
    fn drop_view(&self) {
        let old = match &mut *self.file.write() {
            OpenFile::Open { view, .. } => view.take(),
            OpenFile::Failed | OpenFile::Closed => None,
        };
        drop(old);
    }
}

impl Backend for Redb {
    const NAME: &'static str = NAME;
    type View = View;

    fn openings(&self) -> Option<(u64, Option<u64>)> {
        let before = self.opening_before.load(Relaxed);
        Some((self.opening.load(Relaxed), (before != 0).then_some(before)))
    }

    fn read<T>(&self, read: impl FnOnce(&View) -> Result<T>) -> Result<T> {
        let view = self.view()?;
        catch_unwind(AssertUnwindSafe(|| read(&view))).unwrap_or_else(|panic| {
            self.suspect.store(true, Relaxed);
            Err(panicked("read", &*panic))
        })
    }

    fn transact(&self, work: &mut dyn FnMut(&mut dyn RowsMut) -> Result<Wanted>) -> Result<bool> {
        let _changing = self.changing.lock();
        let committed = {
            let database = self.database()?;
            catch_unwind(AssertUnwindSafe(|| self.commit(&database, work)))
                .unwrap_or_else(|panic| Err(panicked("write", &*panic)))
        };
        match committed {
            Ok(_) => self.drop_view(),
            Err(_) => self.fail(),
        }
        committed
    }

    fn close(&self) -> Result<()> {
        let closed = std::mem::replace(&mut *self.file.write(), OpenFile::Closed);
        let OpenFile::Open { database, view } = closed else { return Ok(()) };
        catch_unwind(AssertUnwindSafe(|| {
            drop(view);
            // The writer's clone is gone: the mark of closing was the last transaction.
            match Arc::try_unwrap(database) {
                Ok(database) => database.close().map_err(while_doing("close")),
                Err(shared) => {
                    drop(shared);
                    Ok(())
                }
            }
        }))
        .unwrap_or_else(|panic| Err(panicked("close", &*panic)))
    }

    fn tidy(&self) -> Result<()> {
        if !self.config.compacts {
            return Ok(());
        }
        let file_bytes = self.file_bytes()?;
        let in_use = self.bytes.load(Relaxed).saturating_mul(FREE_SHARE);
        let grown = self.compacted_to.load(Relaxed).saturating_mul(3) / 2;
        if file_bytes < COMPACT_MIN || file_bytes <= in_use || file_bytes < grown {
            return Ok(());
        }
        match self.compact() {
            // Somebody was reading for long: after the next sweep.
            Err(error) if error.kind() == ErrorKind::Busy => Ok(()),
            done => done.map(drop),
        }
    }

    fn is_closed(&self) -> bool {
        matches!(*self.file.read(), OpenFile::Closed)
    }
}
