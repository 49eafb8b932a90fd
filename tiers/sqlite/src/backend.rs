//! The open database: reading what was committed, committing, and telling other processes what they have to doubt.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use nanotier_tier::embedded::{Backend, RowsMut, Wanted};
use nanotier_tier::{Durability, Error, ErrorKind, Result, Timestamp};
use parking_lot::Mutex;
use rusqlite::{Connection, params};

use crate::builder::Config;
use crate::error::{NAME, error, io_while_doing, while_doing};
use crate::file::{self, Link, OWN_LOCKS_AFTER, Opened};
use crate::openers::Presence;
use crate::readers::{Heard, Readers, View};
use crate::rows::{Doing, Last};
use crate::wal::Wal;

/// How long telling others of a doubt may hold up whoever found it. What is not told then goes with the next transaction.
const TELLING_MAX: Duration = Duration::from_millis(100);

/// How long readers in use are waited for before all connections are made anew. They need microseconds, a long listing needs longer.
const READERS_WAIT: Duration = Duration::from_millis(100);
/// How often it is tried, at most, whether a log has no room because of a lock.
const LETTING_GO_PAUSE: Duration = Duration::from_secs(1);

/// A SQLite database as what a store stands on.
pub(crate) struct Sqlite {
    pub(crate) config: Arc<Config>,
    heard: Arc<Heard>,
    readers: Readers,
    writer: Mutex<Writer>,
    owed: Owed,
    is_closed: AtomicBool,
    /// Set by a reader who met damage: the next writer opens the database anew, and looks at all of it.
    suspect: AtomicBool,
    /// Set by a reader whom locks kept out: the next writer has all connections made anew.
    locks_suspect: AtomicBool,
}

/// What other processes have to be told with the next transaction.
#[derive(Debug, Default)]
struct Owed {
    /// Everything that was given may be lost.
    lost: AtomicBool,
    /// What was given until then may have missed something, in milliseconds.
    doubted_until: AtomicU64,
}

struct Writer {
    state: State,
    /// `None` once it was left.
    presence: Option<Presence>,
    samples: Cell<u64>,
    marked_closed: bool,
    /// When locks were let go of since the log had no room.
    let_go_at: Option<Instant>,
}

enum State {
    Open {
        link: Link,
        wal: Wal,
    },
    /// A transaction failed in a way that may be the connection's. The next one opens it anew.
    Failed {
        was_damaged: bool,
    },
    Closed,
}

impl Sqlite {
    /// Opens the database.
    pub(crate) fn open(mut config: Config) -> Result<Self> {
        config.path = file::find_or_create(&config.path)?;
        let presence = Presence::take(&config.path).map_err(io_while_doing("open"))?;
        let opened = file::open(&config, &presence, config.check_on_open).and_then(|mut opened| {
            let wal = Wal::watch(&config, &mut opened.link)?;
            Ok((opened, wal))
        });
        let (Opened { link, lost, believed_since }, wal) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                presence.give_up();
                return Err(error);
            }
        };
        let config = Arc::new(config);
        let heard = Arc::new(Heard::new(lost, believed_since));
        let readers = Readers::new(config.clone(), heard.clone());
        let state = State::Open { link, wal };
        let writer = Mutex::new(Writer {
            state,
            presence: Some(presence),
            samples: Cell::new(0),
            marked_closed: false,
            let_go_at: None,
        });
        let (is_closed, suspect, locks_suspect) = Default::default();
        Ok(Self { config, heard, readers, writer, owed: Owed::default(), is_closed, suspect, locks_suspect })
    }

    pub(crate) fn belief(&self) -> nanotier_tier::embedded::Belief {
        self.heard.belief.clone()
    }

    /// For who writes: the connection, opened anew if need be.
    fn reopen_if_failed(&self, writer: &mut Writer) -> Result<()> {
        let was_damaged = match writer.state {
            State::Open { .. } if self.suspect.swap(false, Relaxed) => {
                writer.state = State::Failed { was_damaged: true };
                true
            }
            State::Open { .. } => return Ok(()),
            State::Failed { was_damaged } => was_damaged,
            State::Closed => return Err(error(ErrorKind::Closed, "write")),
        };
        let Some(own) = &writer.presence else { return Err(error(ErrorKind::Closed, "write")) };
        let _nobody_reads = self.readers.pause(READERS_WAIT);
        let opened = file::open(&self.config, own, was_damaged).map_err(|failure| match failure.kind() {
            // It is open: others are waited for as always.
            ErrorKind::InUse => error(ErrorKind::Contended, "write").with_source(failure),
            _ => failure,
        });
        let Opened { mut link, lost, believed_since } = opened?;
        let wal = Wal::watch(&self.config, &mut link)?;
        self.heard.note(lost, believed_since);
        writer.state = State::Open { link, wal };
        Ok(())
    }

    /// Closes all connections to the open database and opens a new one to write by.
    ///
    /// A lock that the system did not let go of when SQLite wanted it, which SQLite does not say, is this process's for as long as any
    /// connection is open: all others are locked out, and this process by itself.
    fn let_go_of_locks(&self, writer: &mut Writer) -> Result<()> {
        if !matches!(writer.state, State::Open { .. }) {
            return Ok(());
        }
        self.locks_suspect.store(false, Relaxed);
        let _nobody_reads = self.readers.pause(READERS_WAIT);
        let failed = State::Failed { was_damaged: false };
        let State::Open { link, wal: before } = std::mem::replace(&mut writer.state, failed) else {
            return Ok(());
        };
        drop(link);
        let mut link = file::connect_anew(&self.config)?;
        let wal = Wal::watch(&self.config, &mut link)?.go_on_from(&before);
        writer.state = State::Open { link, wal };
        Ok(())
    }

    /// Begins a transaction that writes, as soon as others let it.
    fn begin(&self, writer: &mut Writer, patience: Duration) -> Result<()> {
        if self.locks_suspect.load(Relaxed) {
            self.let_go_of_locks(writer)?;
        }
        let begin_within = |writer: &Writer, patience| {
            let State::Open { link, .. } = &writer.state else {
                return Err(error(ErrorKind::Closed, "write"));
            };
            link.patience.set(patience);
            let begun = plainly(&link.connection, "BEGIN IMMEDIATE");
            link.patience.set(self.config.busy_timeout);
            begun
        };
        let brief = patience.min(OWN_LOCKS_AFTER);
        match begin_within(writer, brief) {
            Err(locked) if locked.kind() == ErrorKind::Contended => {
                self.let_go_of_locks(writer)?;
                begin_within(writer, patience - brief)
            }
            begun => begun,
        }
    }

    /// Works in a transaction and commits it. Says whether it is on disk.
    fn commit(
        &self,
        writer: &mut Writer,
        patience: Duration,
        work: &mut dyn FnMut(&mut dyn RowsMut) -> Result<Wanted>,
    ) -> Result<bool> {
        self.reopen_if_failed(writer)?;
        self.check_room(writer)?;
        self.begin(writer, patience)?;
        let Writer { state: State::Open { link, wal }, presence, samples, marked_closed, .. } = writer else {
            return Err(error(ErrorKind::Closed, "write"));
        };
        let Link { connection, .. } = &*link;
        let mut open = RollBack(Some(connection));
        let owes = self.tell_owed(connection)?;
        let mut doing = Doing {
            connection,
            sql: &self.config.sql,
            heard: &self.heard,
            own: presence.as_ref().map_or(0, |presence| presence.id),
            last: RefCell::new(Last::default()),
            samples,
            marked_closed: false,
        };
        let wanted = work(&mut doing)?;
        let closes = doing.marked_closed;
        if wanted == Wanted::Nothing && !owes {
            return Ok(false);
        }
        plainly(connection, "COMMIT")?;
        open.0 = None;
        *marked_closed |= closes;
        self.owed.told(owes);
        let is_sync = self.config.options.durability == Durability::Sync;
        if wanted == Wanted::Flush && !is_sync {
            wal.flush()?;
        }
        wal.bound(link);
        Ok(is_sync || wanted == Wanted::Flush)
    }

    /// Whether the log may grow any more.
    fn check_room(&self, writer: &mut Writer) -> Result<()> {
        let check = |writer: &mut Writer| match &mut writer.state {
            State::Open { link, wal } => wal.check_room(link),
            State::Failed { .. } | State::Closed => Ok(()),
        };
        let checked = check(writer);
        if checked.is_ok() || writer.let_go_at.is_some_and(|at| at.elapsed() < LETTING_GO_PAUSE) {
            return checked;
        }
        // Who reads an old state all the while may be nobody but a lock that was not let go of.
        writer.let_go_at = Some(Instant::now());
        self.let_go_of_locks(writer)?;
        check(writer)
    }

    /// Says to others what they have to doubt. True if there was anything.
    fn tell_owed(&self, connection: &Connection) -> Result<bool> {
        let until = self.owed.doubted_until.load(Relaxed);
        let lost = self.owed.lost.load(Relaxed);
        if lost {
            connection.execute(&self.config.sql.lose, []).map_err(while_doing("write"))?;
        }
        if until > 0 {
            let until = i64::try_from(until).unwrap_or(i64::MAX);
            connection.execute(&self.config.sql.doubt, params![until]).map_err(while_doing("write"))?;
        }
        Ok(lost || until > 0)
    }

    /// After a failure: whether the connection is to be trusted, and what was given.
    #[cold]
    fn fail(&self, writer: &mut Writer, failure: &Error) {
        if !matches!(failure.kind(), ErrorKind::Storage | ErrorKind::Corrupt) {
            // It was refused, and rolled back: full, locked by others.
            return;
        }
        // A write or a flush that the disk refused may have taken along what was acknowledged before, and not yet flushed.
        self.owed.lost.store(true, Relaxed);
        self.heard.belief.lose();
        if matches!(writer.state, State::Open { .. }) {
            writer.state = State::Failed { was_damaged: failure.kind() == ErrorKind::Corrupt };
        }
    }
}

impl Owed {
    fn told(&self, owes: bool) {
        if owes {
            // What came meanwhile is told again, which harms nothing but a commit.
            self.lost.store(false, Relaxed);
            self.doubted_until.store(0, Relaxed);
        }
    }
}

/// A transaction that is rolled back unless it is said to be over.
struct RollBack<'c>(Option<&'c Connection>);

impl Drop for RollBack<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.0.filter(|connection| !connection.is_autocommit()) {
            // If even that fails, so does the next transaction, and the connection is opened anew.
            let _ = plainly(connection, "ROLLBACK");
        }
    }
}

fn plainly(connection: &Connection, sql: &str) -> Result<()> {
    let done = connection.prepare_cached(sql).and_then(|mut done| done.execute([]));
    done.map(drop).map_err(while_doing("write"))
}

impl Backend for Sqlite {
    const NAME: &'static str = NAME;
    type View = View;

    fn read<T>(&self, read: impl FnOnce(&View) -> Result<T>) -> Result<T> {
        let (answer, failed) = self.readers.read(read);
        match failed {
            Some(ErrorKind::Corrupt) => self.suspect.store(true, Relaxed),
            Some(ErrorKind::Storage | ErrorKind::Contended) => self.locked_out(),
            _ => {}
        }
        answer
    }

    fn transact(&self, work: &mut dyn FnMut(&mut dyn RowsMut) -> Result<Wanted>) -> Result<bool> {
        let mut writer = self.writer.lock();
        let committed = self.commit(&mut writer, self.config.busy_timeout, work);
        committed.inspect_err(|failure| self.fail(&mut writer, failure))
    }

    fn close(&self) -> Result<()> {
        self.is_closed.store(true, Relaxed);
        self.readers.close();
        let mut writer = self.writer.lock();
        let closed = match std::mem::replace(&mut writer.state, State::Closed) {
            State::Open { link, .. } => {
                link.connection.close().map_err(|(_, failure)| while_doing("close")(failure))
            }
            State::Failed { .. } | State::Closed => Ok(()),
        };
        let left = match writer.presence.take() {
            Some(presence) if writer.marked_closed => presence.leave().map_err(io_while_doing("close")),
            // Unlocked, it says to the next one that this store was not closed.
            _ => Ok(()),
        };
        closed.and(left)
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Relaxed)
    }

    fn doubt(&self, until: Timestamp) {
        self.owed.doubted_until.fetch_max(until.as_millis(), Relaxed);
        let mut writer = self.writer.lock();
        let patience = self.config.busy_timeout.min(TELLING_MAX);
        let told = self.commit(&mut writer, patience, &mut |_| Ok(Wanted::Nothing));
        if let Err(failure) = told {
            self.fail(&mut writer, &failure);
        }
    }

    fn tidy(&self) -> Result<()> {
        let mut writer = self.writer.lock();
        // Doubts that could not be told, and stores that ended without being closed.
        let tended = self.tend(&mut writer);
        if let State::Open { link, wal } = &mut writer.state {
            wal.tidy(link);
        }
        tended.inspect_err(|failure| self.fail(&mut writer, failure))
    }
}

impl Sqlite {
    /// After a read that SQLite refused: if no damage is the reason, a lock may be. The connections are made anew at once, or by who writes just now.
    #[cold]
    fn locked_out(&self) {
        self.locks_suspect.store(true, Relaxed);
        if let Some(mut writer) = self.writer.try_lock() {
            // The next one to write says why it cannot be.
            let _ = self.let_go_of_locks(&mut writer);
        }
    }

    fn tend(&self, writer: &mut Writer) -> Result<()> {
        self.reopen_if_failed(writer)?;
        let Writer { state: State::Open { link, .. }, presence: Some(presence), .. } = &*writer else {
            return Ok(());
        };
        let (connection, sql, own) = (&link.connection, &self.config.sql, presence.id);
        let ids = || -> rusqlite::Result<Vec<i64>> {
            connection.prepare_cached(&sql.openers)?.query_map([], |row| row.get(0))?.collect()
        };
        let ids = ids().map_err(while_doing("sweep"))?;
        let is_forgotten = !ids.contains(&own);
        if ids.len() > 1
            || is_forgotten
            || self.owed.lost.load(Relaxed)
            || self.owed.doubted_until.load(Relaxed) > 0
        {
            self.begin(writer, self.config.busy_timeout)?;
            let Writer { state: State::Open { link, .. }, presence: Some(presence), .. } = &*writer else {
                return Ok(());
            };
            let connection = &link.connection;
            let mut open = RollBack(Some(connection));
            let owes = self.tell_owed(connection)?;
            let any_dead = file::forget_dead(&self.config, connection, presence.id)?;
            if any_dead || is_forgotten {
                connection.execute(&sql.lose, []).map_err(while_doing("sweep"))?;
                connection.execute(&sql.come, [presence.id]).map_err(while_doing("sweep"))?;
            }
            if owes || any_dead || is_forgotten {
                plainly(connection, "COMMIT")?;
                open.0 = None;
                self.owed.told(owes);
            }
        }
        let State::Open { link, .. } = &writer.state else { return Ok(()) };
        let heard = link
            .connection
            .prepare_cached(&sql.meta)
            .and_then(|mut ask| ask.query_row([], |row| Ok((row.get(1)?, row.get(2)?))));
        let (lost, since) = heard.map_err(while_doing("sweep"))?;
        self.heard.note(lost, since);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::SqliteStore;
    use nanotier_tier::embedded::Rows as _;

    fn open(folder: &tempfile::TempDir, wal_max: u64) -> Sqlite {
        let config = SqliteStore::builder(folder.path().join("a.db")).busy_timeout(Duration::from_secs(60));
        Sqlite::open(Config { wal_max, ..config.judged().unwrap() }).unwrap()
    }

    fn write(sqlite: &Sqlite, len: usize) -> Result<bool> {
        // Of other bytes each time: SQLite writes no page that stays as it is.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let byte = NEXT.fetch_add(1, Relaxed).to_le_bytes()[0];
        sqlite.transact(&mut |rows| {
            rows.put(b"key", &vec![byte; len], Timestamp::from_millis(u64::MAX))?;
            Ok(Wanted::Commit)
        })
    }

    /// What a lock that was not let go of looks like: one of the store's own connections has it, which nobody uses.
    fn leave(sqlite: &Sqlite, locked_by: &str) {
        let (left, _) = sqlite.readers.read(|view| {
            view.link.connection.execute_batch(locked_by).unwrap();
            Ok(())
        });
        left.unwrap();
    }

    #[test]
    fn a_lock_left_by_a_connection_of_its_own_locks_a_store_out_for_a_moment_only() {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = open(&folder, 1 << 30);
        for _ in 0..3 {
            leave(&sqlite, "PRAGMA query_only = OFF; BEGIN IMMEDIATE");
            let began = Instant::now();
            assert!(write(&sqlite, 10).unwrap());
            assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        }
        let (read, failed) = sqlite.readers.read(|view| view.get(b"key"));
        assert_eq!((read.unwrap().unwrap().len(), failed), (10, None));
        // Nothing was lost: what was given is believed as before.
        assert_eq!(sqlite.heard.belief.since(|| Timestamp::from_millis(5)), Timestamp::from_millis(0));
    }

    #[test]
    fn an_old_state_held_by_a_connection_of_its_own_does_not_fill_the_log_for_good() {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = open(&folder, 200_000);
        write(&sqlite, 10).unwrap();
        leave(&sqlite, "BEGIN; SELECT * FROM nanotier_meta");
        for _ in 0..20 {
            write(&sqlite, 50_000).unwrap();
        }
        // That of another program does.
        let other = Connection::open(&sqlite.config.path).unwrap();
        other.execute_batch("BEGIN; SELECT * FROM nanotier_meta").unwrap();
        let full = (0..20).find_map(|_| write(&sqlite, 50_000).err()).unwrap();
        assert_eq!(full.kind(), ErrorKind::Full);
    }

    #[test]
    fn whoever_is_locked_out_by_others_is_told_so_after_the_whole_busy_timeout() {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = open(&folder, 1 << 30);
        let sqlite = {
            let config = (*sqlite.config).clone();
            sqlite.close().unwrap();
            Sqlite::open(Config { busy_timeout: Duration::from_millis(600), ..config }).unwrap()
        };
        let other = Connection::open(&sqlite.config.path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let began = Instant::now();
        assert_eq!(write(&sqlite, 10).unwrap_err().kind(), ErrorKind::Contended);
        assert!(began.elapsed() >= Duration::from_millis(550), "{:?}", began.elapsed());
        other.execute_batch("ROLLBACK").unwrap();
        assert!(write(&sqlite, 10).unwrap());
    }

    #[test]
    fn nobody_begins_to_read_while_connections_are_made_anew_and_who_reads_is_waited_for_with_a_bound() {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = Arc::new(open(&folder, 1 << 30));
        let (read, _) = sqlite.readers.read(|_| {
            // One that reads all the while holds nobody up for long.
            let began = Instant::now();
            drop(sqlite.readers.pause(Duration::from_millis(50)));
            assert!(began.elapsed() >= Duration::from_millis(50));
            Ok(())
        });
        read.unwrap();
        let paused = sqlite.readers.pause(Duration::from_secs(60));
        let (told, heard) = std::sync::mpsc::channel();
        let reader = {
            let sqlite = sqlite.clone();
            std::thread::spawn(move || {
                let (read, _) = sqlite.readers.read(|_| Ok(()));
                told.send(read).unwrap();
            })
        };
        assert!(heard.recv_timeout(Duration::from_millis(100)).is_err());
        drop(paused);
        heard.recv_timeout(Duration::from_secs(60)).unwrap().unwrap();
        reader.join().unwrap();
    }
}
