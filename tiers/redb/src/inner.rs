//! The open file: who reads it, who writes it, and what happens to it after a failure.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use nanotier_tier::rules::{Rule, is_on};
use nanotier_tier::{Attachment, Context, Durability, ErrorKind, Event, Result, Timestamp};
use parking_lot::RwLock;
use redb::{Database, ReadOnlyTable, ReadableDatabase, ReadableTableMetadata};

use crate::background::Background;
use crate::builder::Config;
use crate::error::{error, panicked, while_doing};
use crate::file::{self, Opened};
use crate::group::{Answer, Committer, Followers, Group, Job};
use crate::rows::{Bytewise, FLOORS, RECORDS};
use crate::transaction::{Doing, Wanted};

/// What the store's handle and its background thread share.
pub(crate) struct Inner {
    pub(crate) config: Config,
    attachment: Attachment,
    /// True once there is a clock: asking for it before a cache has attached its own would fix another one for good.
    has_clock: AtomicBool,
    pub(crate) group: Group,
    pub(crate) background: Background,
    file: RwLock<OpenFile>,
    /// Milliseconds; see [`believed_since`](Inner::believed_since). Set by who opens the file, and by who first asks.
    believed_since: AtomicU64,
    /// Set by a reader over whom redb stumbled: the next leader opens the file anew.
    suspect: AtomicBool,
    /// Counted by leaders, read by tests.
    pub(crate) commits: AtomicU64,
    pub(crate) writes: AtomicU64,
}

/// The file's state. Readers share the lock for as long as it takes to clone an `Arc`; it is taken alone to open, to close,
/// and by a leader after its commit.
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
        let transaction = database.begin_read().map_err(while_doing("read"))?;
        let records = transaction.open_table(RECORDS).map_err(while_doing("read"))?;
        let floors = transaction.open_table(FLOORS).map_err(while_doing("read"))?;
        let has_floors = !floors.is_empty().map_err(while_doing("read"))?;
        Ok(Self { records, floors: has_floors.then_some(floors) })
    }
}

/// In place of the moment since which the store is believed: the moment somebody first asks.
const SINCE_ASKED: u64 = u64::MAX;

impl Inner {
    pub(crate) fn open(config: Config) -> Result<Self> {
        let Opened { database, believed_since } = file::open(&config)?;
        Ok(Self {
            config,
            attachment: Attachment::default(),
            has_clock: AtomicBool::new(false),
            group: Group::default(),
            background: Background::default(),
            file: RwLock::new(OpenFile::Open { database: Arc::new(database), view: None }),
            believed_since: AtomicU64::new(believed_since.unwrap_or(SINCE_ASKED)),
            suspect: AtomicBool::new(false),
            commits: AtomicU64::new(0),
            writes: AtomicU64::new(0),
        })
    }

    pub(crate) fn attach(&self, context: &Context) {
        self.attachment.attach(context);
        // Fixes the moment of opening, by the clock that the store has only now.
        self.believed_since();
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.has_clock.store(true, Relaxed);
        self.attachment.clock().wall()
    }

    /// For the background thread: not before anyone else has asked for the time.
    pub(crate) fn has_clock(&self) -> bool {
        self.has_clock.load(Relaxed)
    }

    pub(crate) fn tell(&self, event: &Event) {
        self.attachment.context().tell(event);
    }

    /// Since when the store is believed, also in later openings. After an unclean opening that is the moment of opening; but the clock comes with
    /// [`attach`](nanotier_tier::Store::attach), so it is the first moment anyone asks.
    pub(crate) fn believed_since(&self) -> Timestamp {
        if self.believed_since.load(Relaxed) == SINCE_ASKED {
            let now = self.now().as_millis();
            // Who comes second finds the moment set.
            let _ = self.believed_since.compare_exchange(SINCE_ASKED, now, Relaxed, Relaxed);
        }
        Timestamp::from_millis(self.believed_since.load(Relaxed))
    }

    /// What was given until `until` may have missed a write: kept on disk with the mark of a proper close. Without a proper close the
    /// next opening doubts everything anyway.
    pub(crate) fn doubt(&self, until: Timestamp) {
        self.believed_since();
        self.believed_since.fetch_max(until.as_millis(), Relaxed);
    }

    /// The newest committed state.
    pub(crate) fn view(&self) -> Result<Arc<View>> {
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

    /// Reads from a view, and makes an error of a panic.
    pub(crate) fn reading<T>(&self, read: impl FnOnce(&View) -> Result<T>) -> Result<T> {
        let view = self.view()?;
        catch_unwind(AssertUnwindSafe(|| read(&view))).unwrap_or_else(|panic| {
            self.suspect.store(true, Relaxed);
            Err(panicked("read", &*panic))
        })
    }

    /// For the leader: the database, opened anew if need be.
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
            let Opened { database, .. } = file::open(&self.config)?;
            // What was acknowledged and not yet on disk is gone, and the failed write may or may not have happened.
            self.believed_since.store(SINCE_ASKED, Relaxed);
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

    /// After the close job: lets go of the file for good.
    pub(crate) fn close_file(&self) -> Result<()> {
        let closed = std::mem::replace(&mut *self.file.write(), OpenFile::Closed);
        let OpenFile::Open { database, view } = closed else { return Ok(()) };
        catch_unwind(AssertUnwindSafe(|| {
            drop(view);
            // The leader's clone is gone: the close job was the last.
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

    pub(crate) fn is_closed(&self) -> bool {
        matches!(*self.file.read(), OpenFile::Closed)
    }

    /// Opens the file if it is not.
    pub(crate) fn ready(&self) -> Result<()> {
        self.view().map(drop)
    }

    pub(crate) fn submit(&self, job: Job<'_>) -> Result<Answer> {
        self.group.submit(job, self)
    }

    fn transact(
        &self,
        database: &Database,
        own: &Job<'_>,
        followers: &mut Followers<'_>,
    ) -> Result<Vec<Answer>> {
        let mut transaction = database.begin_write().map_err(while_doing("write"))?;
        let mut doing = Doing::begin(&transaction, &self.config.framing, self.config.horizon, self.now())?;
        let mut answers = vec![doing.job(own)?];
        // Who was answered by the last transaction has had time to come back meanwhile.
        while let Some(ticket) = followers.next() {
            answers.push(doing.job(&ticket.job)?);
        }
        let wanted = doing.wanted;
        drop(doing);
        if wanted == Wanted::Nothing {
            transaction.abort().map_err(while_doing("write"))?;
            return Ok(answers);
        }
        let is_flushed = wanted == Wanted::Flush
            || (self.config.durability == Durability::Sync && is_on(Rule::CommitBeforeAcknowledge));
        if !is_flushed {
            transaction.set_durability(redb::Durability::None).map_err(while_doing("write"))?;
        }
        transaction.commit().map_err(while_doing("write"))?;
        self.background.committed(is_flushed, self.config.durability);
        self.commits.fetch_add(1, Relaxed);
        self.writes.fetch_add(answers.iter().map(writes_in).sum(), Relaxed);
        Ok(answers)
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

impl Committer for Inner {
    fn commit(&self, own: &Job<'_>, followers: &mut Followers<'_>) -> Result<Vec<Answer>> {
        let transacted = {
            let database = self.database()?;
            catch_unwind(AssertUnwindSafe(|| self.transact(&database, own, followers)))
                .unwrap_or_else(|panic| Err(panicked("write", &*panic)))
        };
        match transacted {
            Ok(answers) => {
                self.drop_view();
                Ok(answers)
            }
            Err(error) => {
                self.fail();
                Err(error)
            }
        }
    }
}

fn writes_in(answer: &Answer) -> u64 {
    match answer {
        Answer::Wrote(wrote) => wrote.len() as u64,
        Answer::Updated(_) | Answer::Cleared(_) => 1,
        Answer::Swept(_) | Answer::Done => 0,
    }
}
