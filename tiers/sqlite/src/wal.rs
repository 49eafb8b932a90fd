//! The write-ahead log: brought to disk when it is asked for, copied into the database before it grows too long.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use nanotier_tier::{ErrorKind, Result};

use crate::builder::Config;
use crate::error::{error, io_while_doing, while_doing};
use crate::file::{Link, beside, checkpoint};

/// After so many pages the log is copied into the database, as SQLite does by itself.
const CHECKPOINT_PAGES: u64 = 1_000;
/// How long a checkpoint waits for readers to let go of the log. They need microseconds; those of other programs may need hours.
const READERS_WAIT: Duration = Duration::from_millis(20);

/// The log of an open database, as far as this store has written to it.
pub(crate) struct Wal {
    file: PathBuf,
    page_len: u64,
    len_max: u64,
    busy_timeout: Duration,
    /// Pages in the log after the last commit. Told by SQLite.
    pages: Arc<AtomicU64>,
    /// From how many pages on it is copied next.
    next: u64,
}

impl Wal {
    pub(crate) fn watch(config: &Config, link: &mut Link) -> Result<Self> {
        let page_len = link
            .connection
            .query_row("PRAGMA page_size", [], |row| row.get::<_, i64>(0))
            .map_err(while_doing("open"))?;
        let pages = Arc::<AtomicU64>::default();
        let told = pages.clone();
        link.connection
            .wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: std::ffi::c_int| {
                told.store(u64::try_from(pages).unwrap_or(0), Relaxed);
                Ok(())
            }))
            .map_err(while_doing("open"))?;
        Ok(Self {
            file: beside(&config.path, "-wal"),
            page_len: u64::try_from(page_len).unwrap_or(4096),
            len_max: config.wal_max,
            busy_timeout: config.busy_timeout,
            pages,
            next: CHECKPOINT_PAGES,
        })
    }

    /// The same log, seen through another connection.
    pub(crate) fn go_on_from(self, before: &Self) -> Self {
        self.pages.store(before.pages.load(Relaxed), Relaxed);
        Self { next: before.next, ..self }
    }

    /// Brings everything to disk that any process has committed. A handle of the log's own: SQLite holds no lock on that file.
    pub(crate) fn flush(&self) -> Result<()> {
        let log = OpenOptions::new().read(true).write(true).open(&self.file);
        log.and_then(|log| log.sync_data()).map_err(io_while_doing("flush"))
    }

    fn len(&self) -> u64 {
        self.pages.load(Relaxed) * self.page_len
    }

    /// After a commit: copies the log into the database if it has become long.
    pub(crate) fn bound(&mut self, link: &Link) {
        let pages = self.pages.load(Relaxed);
        if pages < self.next {
            // It was begun anew since.
            self.next = self.next.min(pages + CHECKPOINT_PAGES).max(CHECKPOINT_PAGES);
            return;
        }
        self.next = pages + CHECKPOINT_PAGES;
        // What fails is tried again when as much has been written once more; the commit stands.
        let copied = checkpoint(&link.connection, "PASSIVE");
        // All is copied, and the log begins anew once nobody reads from it. Where somebody always does, that takes waiting: those
        // who come now read from the database.
        if self.len() > self.len_max / 4 && copied.is_ok() {
            self.restart(link, "RESTART");
        }
    }

    /// Copies all of the log and has it begun anew. True if that was done.
    fn restart(&self, link: &Link, mode: &str) -> bool {
        link.patience.set(READERS_WAIT.min(self.busy_timeout));
        let done = checkpoint(&link.connection, mode);
        link.patience.set(self.busy_timeout);
        let done = matches!(done, Ok((false, _, _)));
        if done {
            self.pages.store(0, Relaxed);
        }
        done
    }

    /// Before a transaction: whether the log may grow any more.
    pub(crate) fn check_room(&self, link: &Link) -> Result<()> {
        if self.len() < self.len_max || self.restart(link, "RESTART") {
            return Ok(());
        }
        Err(error(ErrorKind::Full, "write").with_detail(
            "the write-ahead log has reached its limit, since a reader, perhaps another program's, has been reading an old state all \
             the while",
        ))
    }

    /// From time to time: what is in the log goes into the database, and the log is cut.
    pub(crate) fn tidy(&mut self, link: &Link) {
        if self.pages.load(Relaxed) > 0 && self.restart(link, "TRUNCATE") {
            self.next = CHECKPOINT_PAGES;
        }
    }
}
