//! Opening the database: whose it is, whether it is whole, and what is done if not.
//!
//! Nothing here opens the database but SQLite: closing any other handle of that file would let go of all locks that this process
//! has on it, as POSIX wants it.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nanotier_tier::embedded::files::{began_as, create_folder_and_file, move_aside, sync_folder};
use nanotier_tier::{Durability, Error, ErrorKind, Result};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::builder::{Config, OnDamage};
use crate::busy::Patience;
use crate::error::{error, io_while_doing, while_doing};
use crate::openers::{Presence, census_of_files, is_alive};
use crate::sql::LAYOUT_VERSION;

/// Statements that a connection keeps prepared: all there are.
const STATEMENTS_MAX: usize = 40;

/// After waiting so long for others, far longer than their transactions take, it is asked whether a lock is this process's own.
pub(crate) const OWN_LOCKS_AFTER: Duration = Duration::from_millis(250);

/// An open connection, and how long it waits for others.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) connection: Connection,
    pub(crate) patience: Patience,
}

/// An open database.
pub(crate) struct Opened {
    pub(crate) link: Link,
    /// How many times everything that was given was doubted.
    pub(crate) lost: i64,
    /// Since when it is believed, in milliseconds. `None`: from now on.
    pub(crate) believed_since: Option<i64>,
}

/// The file as the system knows it, so that it has one name for all who open it. Created if it is not there.
pub(crate) fn find_or_create(path: &Path) -> Result<PathBuf> {
    create_folder_and_file(path).map_err(io_while_doing("open"))?;
    fs::canonicalize(path).map_err(io_while_doing("open"))
}

/// The file that SQLite keeps beside a database under this suffix.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Opens the database, creates what is missing, and starts cold where that is wanted. `own` is this store's place among those who
/// have it open. `check`: whether all pages are looked at.
///
/// # Errors
///
/// [`ErrorKind::InUse`] if others keep it locked, among them this process by a lock that the system did not let go of: it has when this
/// returns, if no other connection of this process is open.
pub(crate) fn open(config: &Config, own: &Presence, check: bool) -> Result<Opened> {
    let brief = config.busy_timeout.min(OWN_LOCKS_AFTER);
    let patient = || open_or_start_cold(config, own, check, config.busy_timeout - brief);
    match open_or_start_cold(config, own, check, brief) {
        Err(locked) if locked.kind() == ErrorKind::InUse => patient(),
        opened => opened,
    }
}

fn open_or_start_cold(config: &Config, own: &Presence, check: bool, patience: Duration) -> Result<Opened> {
    match open_as_it_is(config, own, check, patience) {
        Err(damaged) if damaged.kind() == ErrorKind::Corrupt && config.on_damage == OnDamage::StartCold => {
            let (others, _) = census_of_files(&config.path, own.id).map_err(io_while_doing("open"))?;
            if others > 0 {
                return Err(error(ErrorKind::Corrupt, "open")
                    .with_detail(
                        "the database is damaged, and cannot be moved aside while other stores have it open",
                    )
                    .with_source(damaged));
            }
            if has_foreign_tables(config) {
                return Err(error(ErrorKind::Corrupt, "open")
                    .with_detail("the database is damaged, and is not moved aside: others have tables in it")
                    .with_source(damaged));
            }
            if !began_as(&config.path, MAGIC).map_err(io_while_doing("open"))? {
                return Err(error(ErrorKind::Config, "open")
                    .with_detail("this is another program's file, and is not moved aside: it does not begin as a SQLite database")
                    .with_source(damaged));
            }
            put_aside(&config.path).map_err(io_while_doing("move the damaged file aside"))?;
            create_folder_and_file(&config.path).map_err(io_while_doing("open"))?;
            Ok(Opened { believed_since: None, ..open_as_it_is(config, own, false, patience)? })
        }
        opened => opened,
    }
}

/// What every SQLite database begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// The database first: without it, its log is no one's.
fn put_aside(path: &Path) -> io::Result<()> {
    move_aside(path)?;
    for suffix in ["-wal", "-shm"] {
        let log = beside(path, suffix);
        if log.exists() {
            move_aside(&log)?;
        }
    }
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

fn open_as_it_is(config: &Config, own: &Presence, check: bool, patience: Duration) -> Result<Opened> {
    let mut link = connect(config, patience)?;
    prepare_journal(config, &link.connection)
        .map_err(|failed| told_apart(config, &link.connection, failed))?;
    // Whatever the durability: the marks of this opening are on disk before anything is acknowledged.
    set(&link.connection, "synchronous", "FULL")?;
    if check {
        check_pages(config, &link.connection)?;
    }
    let opened = mark_open(config, &mut link.connection, own)
        .map_err(|failed| told_apart(config, &link.connection, failed))?;
    // In the database itself: whoever removes its log does not remove the mark with it.
    checkpoint(&link.connection, "PASSIVE").map_err(while_doing("open"))?;
    sync_folder(config.path.parent().unwrap_or(Path::new("."))).map_err(io_while_doing("open"))?;
    set(&link.connection, "synchronous", synchronous(config))?;
    link.patience.set(config.busy_timeout);
    let (lost, believed_since) = opened;
    Ok(Opened { link, lost, believed_since })
}

/// SQLite opens a database read-only whose header says that a newer SQLite wrote it, as damage may have it too: that is not a file that must
/// not be written. Asked without opening the file: closing it would let go of the locks that other connections hold.
fn told_apart(config: &Config, connection: &Connection, failed: Error) -> Error {
    let is_read_only = connection.is_readonly("main").unwrap_or(false);
    if failed.kind() == ErrorKind::Storage && is_read_only && may_be_written(&config.path) {
        return error(ErrorKind::Unsupported, "open")
            .with_detail("the database says that only a newer SQLite may write it, or its header is damaged")
            .with_source(failed);
    }
    failed
}

#[cfg(unix)]
fn may_be_written(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok() && takes_files(path)
}

/// A file system that has made itself read-only after an error may still claim that its files can be written: it is tried with another one.
#[cfg(unix)]
fn takes_files(path: &Path) -> bool {
    let probe = beside(path, &format!("-probe-{}", std::process::id()));
    let made = fs::OpenOptions::new().write(true).create_new(true).open(&probe).is_ok();
    // If it cannot be removed it is empty, and in nobody's way.
    made && fs::remove_file(&probe).is_ok()
}

/// Elsewhere nobody is asked.
#[cfg(not(unix))]
fn may_be_written(_: &Path) -> bool {
    false
}

/// A connection to write by, to a database that this store has opened already.
pub(crate) fn connect_anew(config: &Config) -> Result<Link> {
    let link = connect(config, config.busy_timeout)?;
    set(&link.connection, "synchronous", synchronous(config))?;
    Ok(link)
}

fn synchronous(config: &Config) -> &'static str {
    match config.options.durability {
        Durability::Sync => "FULL",
        _ => "NORMAL",
    }
}

/// A connection with everything set that does not lie in the file.
pub(crate) fn connect(config: &Config, patience: Duration) -> Result<Link> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(&config.path, flags).map_err(while_doing("open"))?;
    let patience = Patience::install(&mut connection, patience).map_err(while_doing("open"))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    for (option, on) in [
        // A file that someone else wrote must not run anything here.
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        // Statements stay prepared: without this SQLite plans those over a table with a partial index anew for each value.
        (DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true),
    ] {
        connection.set_db_config(option, on).map_err(while_doing("open"))?;
    }
    let cache = i64::try_from(config.cache_size / 1024).unwrap_or(i64::MAX);
    connection
        .execute_batch(&format!(
            "PRAGMA cache_size = -{cache}; PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY; \
             PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON; PRAGMA wal_autocheckpoint = 0; \
             PRAGMA journal_size_limit = {}",
            config.wal_max / 4
        ))
        .map_err(while_doing("open"))?;
    Ok(Link { connection, patience })
}

fn set(connection: &Connection, pragma: &str, to: &str) -> Result<()> {
    connection.pragma_update(None, pragma, to).map_err(while_doing("open"))
}

/// `PRAGMA wal_checkpoint`: whether it was hindered, the pages in the log, and those of them that are in the database now.
pub(crate) fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<(bool, i64, i64)> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
        Ok((row.get::<_, i64>(0)? != 0, row.get(1)?, row.get(2)?))
    })
}

/// Readers must not stop writers, and many processes read: that takes a write-ahead log.
fn prepare_journal(config: &Config, connection: &Connection) -> Result<()> {
    let mode: String =
        connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).map_err(while_doing("open"))?;
    if mode.eq_ignore_ascii_case("wal") {
        return Ok(());
    }
    if !config.convert_to_wal && !foreign_tables(config, connection).map_err(while_doing("open"))?.is_empty()
    {
        return Err(error(ErrorKind::Config, "open").with_detail(format!(
            "this is another program's database, in journal mode {mode}: it has to be WAL. Builder::convert_to_wal sets it, for all \
             who use the database"
        )));
    }
    let mode: String = connection
        .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
        .map_err(while_doing("open"))?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(error(ErrorKind::Unsupported, "open")
            .with_detail("SQLite cannot keep a write-ahead log here: is this a network file system?"));
    }
    Ok(())
}

fn tables(connection: &Connection) -> rusqlite::Result<HashSet<String>> {
    let mut names = connection.prepare("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')")?;
    names.query_map([], |row| row.get(0))?.collect()
}

fn foreign_tables(config: &Config, connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let names = tables(connection)?.into_iter();
    Ok(names.filter(|name| !name.starts_with("sqlite_") && !config.sql.names.contains(name)).collect())
}

/// Whether a damaged database can still be seen to have tables of others.
fn has_foreign_tables(config: &Config) -> bool {
    let seen =
        connect(config, Duration::ZERO).ok().and_then(|link| foreign_tables(config, &link.connection).ok());
    seen.is_some_and(|names| !names.is_empty())
}

/// Marks the database as open by this store, and says how far it is believed.
fn mark_open(config: &Config, connection: &mut Connection, own: &Presence) -> Result<(i64, Option<i64>)> {
    let sql = &config.sql;
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(while_doing("open"))?;
    let names = tables(&transaction).map_err(while_doing("open"))?;
    let own_names = sql.names.iter().filter(|name| names.contains(*name)).count();
    if own_names == 0 {
        transaction.execute_batch(&sql.create).map_err(while_doing("open"))?;
    }
    // Before anything else is asked: a newer layout may have other tables.
    let layout: i64 = match names.contains(&sql.names[2]) || own_names == 0 {
        true => transaction.query_row(&sql.meta, [], |row| row.get(0)).map_err(while_doing("open"))?,
        false => {
            return Err(error(ErrorKind::Corrupt, "open").with_detail("the layout's version is missing"));
        }
    };
    if layout != LAYOUT_VERSION {
        return Err(error(ErrorKind::Unsupported, "open")
            .with_detail(format!("the tables have layout {layout}, this version reads {LAYOUT_VERSION}")));
    }
    if own_names != 0 && own_names != sql.names.len() {
        return Err(error(ErrorKind::Corrupt, "open").with_detail("some of the store's tables are missing"));
    }
    let (_, dead_files) = census_of_files(&config.path, own.id).map_err(io_while_doing("open"))?;
    let dead_rows = forget_dead(config, &transaction, own.id)?;
    if (dead_files || dead_rows) && own_names != 0 {
        transaction.execute(&sql.lose, []).map_err(while_doing("open"))?;
    }
    transaction.execute(&sql.come, [own.id]).map_err(while_doing("open"))?;
    let marks = transaction
        .query_row(&sql.meta, [], |row| {
            Ok((row.get(1)?, row.get::<_, Option<i64>>(2)?, row.get::<_, Option<i64>>(4)?))
        })
        .map_err(while_doing("open"))?;
    let (lost, believed_since, bytes) = marks;
    if config.options.bytes_max.is_some() && bytes.is_none() {
        transaction.execute_batch(&sql.count_bytes).map_err(while_doing("open"))?;
    }
    own.note_registration();
    transaction.commit().map_err(while_doing("open"))?;
    // A log or a database that was removed took the rows of the dead with it.
    Ok((lost, believed_since.filter(|_| !dead_files)))
}

/// Removes the marks of stores that ended without being closed. True if there were any.
pub(crate) fn forget_dead(config: &Config, connection: &Connection, own: i64) -> Result<bool> {
    let mut ask = connection.prepare_cached(&config.sql.openers).map_err(while_doing("open"))?;
    let ids = ask.query_map([], |row| row.get(0)).map_err(while_doing("open"))?;
    let ids: Vec<i64> = ids.collect::<rusqlite::Result<_>>().map_err(while_doing("open"))?;
    let mut any = false;
    for id in ids.into_iter().filter(|id| *id != own) {
        if !is_alive(&config.path, id).map_err(io_while_doing("open"))? {
            connection.execute(&config.sql.go, [id]).map_err(while_doing("open"))?;
            any = true;
        }
    }
    Ok(any)
}

/// Looks at every page of the store's own tables.
fn check_pages(config: &Config, connection: &Connection) -> Result<()> {
    let names = tables(connection).map_err(while_doing("open"))?;
    for (check, name) in config.sql.checks.iter().zip(&config.sql.names) {
        if !names.contains(name) {
            continue;
        }
        let said: String = connection.query_row(check, [], |row| row.get(0)).map_err(while_doing("open"))?;
        if said != "ok" {
            return Err(error(ErrorKind::Corrupt, "open").with_detail(format!("SQLite found: {said}")));
        }
    }
    Ok(())
}
