//! Connections for those who read: a few, kept open, each used by one thread at a time.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use nanotier_tier::embedded::{Belief, Range, Rows, Visit};
use nanotier_tier::{Bytes, ErrorKind, Result, Timestamp};
use parking_lot::{Condvar, Mutex};

use crate::builder::Config;
use crate::error::{error, while_doing};
use crate::file::{self, Link};
use crate::rows::{self, Seen};

/// What the database says about how far it is believed, as far as this process has heard.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) belief: Belief,
    lost: AtomicI64,
    since: AtomicI64,
}

impl Heard {
    pub(crate) fn new(lost: i64, since: Option<i64>) -> Self {
        let moment = since.map(|since| Timestamp::from_millis(u64::try_from(since).unwrap_or(0)));
        let (lost, since) = (AtomicI64::new(lost), AtomicI64::new(since.unwrap_or(0)));
        Self { belief: Belief::new(moment), lost, since }
    }

    /// What a look has shown.
    pub(crate) fn note(&self, lost: i64, since: Option<i64>) {
        if lost > self.lost.load(Relaxed) && self.lost.fetch_max(lost, Relaxed) < lost {
            self.belief.lose();
        }
        if let Some(since) = since
            && since > self.since.load(Relaxed)
            && self.since.fetch_max(since, Relaxed) < since
        {
            self.belief.heard(Timestamp::from_millis(u64::try_from(since).unwrap_or(0)));
        }
    }

    /// True if all of this process knows of everything being lost so many times.
    pub(crate) fn knows(&self, lost: i64) -> bool {
        self.lost.load(Relaxed) >= lost
    }
}

/// A connection that reads. Each question sees all that was committed before it; from the second one on, all see the same.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) link: Link,
    config: Arc<Config>,
    heard: Arc<Heard>,
    asked: Cell<bool>,
    in_transaction: Cell<bool>,
    /// Which opening of the database it belongs to.
    era: u64,
    /// How SQLite failed it, if it did: it is not used again.
    failed: Cell<Option<ErrorKind>>,
}

impl View {
    fn open(config: &Arc<Config>, heard: &Arc<Heard>, era: u64) -> Result<Self> {
        let link = file::connect(config, config.busy_timeout)?;
        link.connection.pragma_update(None, "query_only", true).map_err(while_doing("open"))?;
        let (asked, in_transaction, failed) = (Cell::new(false), Cell::new(false), Cell::new(None));
        Ok(Self { link, config: config.clone(), heard: heard.clone(), asked, in_transaction, era, failed })
    }

    /// One question is its own transaction. Two are cheaper in one.
    fn ask(&self) -> Result<()> {
        if self.asked.replace(true) && !self.in_transaction.get() {
            self.told(self.plainly("BEGIN"))?;
            self.in_transaction.set(true);
        }
        Ok(())
    }

    fn plainly(&self, sql: &str) -> Result<()> {
        let done = self.link.connection.prepare_cached(sql).and_then(|mut done| done.execute([]));
        done.map(drop).map_err(while_doing("read"))
    }

    /// Lets go of the state that was read from.
    fn end(&self) {
        self.asked.set(false);
        if self.in_transaction.take() {
            // What was read was read.
            let _ = self.told(self.plainly("COMMIT"));
        }
    }

    fn told<T>(&self, told: Result<T>) -> Result<T> {
        told.inspect_err(|failure| self.failed.set(Some(failure.kind())))
    }
}

impl Rows for View {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.look(b"", key).map(|(_, record)| record)
    }

    fn floor(&self, namespace: &[u8]) -> Result<Option<Bytes>> {
        self.ask()?;
        self.told(rows::floor(&self.link.connection, &self.config.sql, namespace))
    }

    fn look(&self, namespace: &[u8], key: &[u8]) -> Result<(Option<Bytes>, Option<Bytes>)> {
        self.ask()?;
        let looked = rows::look(&self.link.connection, &self.config.sql, namespace, key);
        let Seen { lost, believed_since, floor, record, .. } = self.told(looked)?;
        self.heard.note(lost, believed_since);
        Ok((floor, record))
    }

    fn visit(&self, range: Range<'_>, visit: &mut Visit<'_>) -> Result<()> {
        self.ask()?;
        self.told(rows::visit(&self.link.connection, &self.config.sql, range, visit))
    }

    fn due(&self, now: Timestamp, most: usize) -> Result<Option<Vec<Vec<u8>>>> {
        self.ask()?;
        self.told(rows::due(&self.link.connection, &self.config.sql, now, most)).map(Some)
    }
}

/// The connections.
#[derive(Debug)]
pub(crate) struct Readers {
    config: Arc<Config>,
    heard: Arc<Heard>,
    pool: Mutex<Pool>,
    freed: Condvar,
}

#[derive(Debug)]
struct Pool {
    idle: Vec<View>,
    /// How many there are, those in use included.
    open: usize,
    era: u64,
    /// None is opened for now.
    paused: bool,
    closed: bool,
}

impl Readers {
    pub(crate) fn new(config: Arc<Config>, heard: Arc<Heard>) -> Self {
        let idle = Vec::with_capacity(config.readers_max);
        let pool = Mutex::new(Pool { idle, open: 0, era: 0, paused: false, closed: false });
        Self { config, heard, pool, freed: Condvar::new() }
    }

    /// Reads with a connection of its own, as soon as one is free. Says too how SQLite failed that connection, if it did: an answer may hold
    /// errors of single rows.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&View) -> Result<T>) -> (Result<T>, Option<ErrorKind>) {
        let view = match self.take() {
            Ok(view) => view,
            Err(failure) => {
                let kind = failure.kind();
                return (Err(failure), Some(kind));
            }
        };
        let mut counted = Counted(Some(self));
        let answer = read(&view);
        counted.0 = None;
        (answer, self.give_back(view))
    }

    fn take(&self) -> Result<View> {
        let mut pool = self.pool.lock();
        let mut until = None;
        loop {
            if pool.closed {
                return Err(error(ErrorKind::Closed, "read"));
            }
            if let Some(view) = pool.idle.pop() {
                return Ok(view);
            }
            if pool.open < self.config.readers_max && !pool.paused {
                break;
            }
            let until = *until.get_or_insert_with(|| Instant::now() + self.config.busy_timeout);
            if self.freed.wait_until(&mut pool, until).timed_out() {
                return Err(error(ErrorKind::Busy, "read")
                    .with_detail("all connections were in use for longer than the busy timeout"));
            }
        }
        pool.open += 1;
        let era = pool.era;
        drop(pool);
        let mut counted = Counted(Some(self));
        let view = View::open(&self.config, &self.heard, era)?;
        counted.0 = None;
        Ok(view)
    }

    fn one_less(&self) {
        self.pool.lock().open -= 1;
        // One who reads, and one who waits for all of them to be closed.
        self.freed.notify_all();
    }

    fn give_back(&self, view: View) -> Option<ErrorKind> {
        view.end();
        let failed = view.failed.get();
        {
            let mut pool = self.pool.lock();
            if failed.is_none() && !pool.closed && view.era == pool.era {
                pool.idle.push(view);
                drop(pool);
                self.freed.notify_one();
                return None;
            }
        }
        drop(view);
        self.one_less();
        failed
    }

    /// From now on connections are opened anew; those in use end with their use.
    fn renew(&self) {
        let old = {
            let mut pool = self.pool.lock();
            pool.era += 1;
            pool.open -= pool.idle.len();
            std::mem::take(&mut pool.idle)
        };
        drop(old);
        self.freed.notify_all();
    }

    /// The same, and those in use are waited for, so long at most. None is opened until what is returned is dropped. For one caller at a time.
    pub(crate) fn pause(&self, at_most: Duration) -> Paused<'_> {
        self.pool.lock().paused = true;
        let paused = Paused(self);
        self.renew();
        let until = Instant::now() + at_most;
        let mut pool = self.pool.lock();
        while pool.open > 0 && !self.freed.wait_until(&mut pool, until).timed_out() {}
        paused
    }

    /// The same, and none is opened any more.
    pub(crate) fn close(&self) {
        self.pool.lock().closed = true;
        self.renew();
    }
}

/// As long as it is there, nobody begins to read.
pub(crate) struct Paused<'r>(&'r Readers);

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.0.pool.lock().paused = false;
        self.0.freed.notify_all();
    }
}

/// One of the connections that are counted. If it is dropped, by an error or a panic, there is one less.
struct Counted<'r>(Option<&'r Readers>);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if let Some(readers) = self.0 {
            readers.one_less();
        }
    }
}
