//! Opening the file: whose it is, whether it is whole, and what is done if not.

use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use nanotier_tier::embedded::files::{began_as, create_folder_and_file, move_aside};
use nanotier_tier::{ErrorKind, Result};
use redb::{Database, ReadableTable, TableHandle};

use crate::builder::{Config, OnDamage};
use crate::disk::Disk;
use crate::error::{error, io_while_doing, panicked, while_doing};
use crate::tables::{
    BELIEVED_SINCE, BYTES, Bytewise, CLOSED, FLOORS, LAYOUT, LAYOUT_VERSION, META, OPENING, RECORDS,
};

/// An open file.
pub(crate) struct Opened {
    pub(crate) database: Database,
    /// Since when it is believed, in milliseconds: 0 if it has never been left in disorder. `None`: from now on.
    pub(crate) believed_since: Option<u64>,
    /// What all records take.
    pub(crate) bytes: u64,
    /// The number of this opening, and of the one before it if that was closed properly.
    pub(crate) openings: (u64, Option<u64>),
}

/// Opens the file, creates it where there is none, and starts cold where that is wanted.
pub(crate) fn open(config: &Config) -> Result<Opened> {
    match open_as_it_is(config) {
        Err(damaged) if damaged.kind() == ErrorKind::Corrupt && config.on_damage == OnDamage::StartCold => {
            if !began_as(&config.path, MAGIC).map_err(io_while_doing("open"))? {
                return Err(error(ErrorKind::Config, "open")
                    .with_detail("this is another program's file, and is not moved aside: it does not begin as a redb database")
                    .with_source(damaged));
            }
            move_aside(&config.path).map_err(io_while_doing("move the damaged file aside"))?;
            Ok(Opened { believed_since: None, ..open_as_it_is(config)? })
        }
        opened => opened,
    }
}

fn open_as_it_is(config: &Config) -> Result<Opened> {
    // redb trusts a file that was closed properly, and can panic if it was changed since.
    catch_unwind(AssertUnwindSafe(|| {
        let is_new = create_folder_and_file(&config.path).map_err(io_while_doing("open"))?;
        if !is_new {
            restart_unfinished_creation(&config.path)?;
        }
        let file =
            OpenOptions::new().read(true).write(true).open(&config.path).map_err(io_while_doing("open"))?;
        let database = Database::builder()
            .set_cache_size(config.cache_size)
            .set_check_integrity_on_open(config.check_on_open)
            .create_with_backend(Disk::new(file).map_err(while_doing("open"))?)
            .map_err(while_doing("open"))?;
        let Marked { believed_since, bytes, openings } = mark_open(&database)?;
        Ok(Opened { database, believed_since: believed_since.or(is_new.then_some(0)), bytes, openings })
    }))
    .unwrap_or_else(|panic| Err(panicked("open", &*panic)))
}

/// What a database said when it was marked as open.
struct Marked {
    /// If it was closed properly.
    believed_since: Option<u64>,
    bytes: u64,
    openings: (u64, Option<u64>),
}

/// Marks the database as open, on disk before anything is acknowledged. If it was closed properly, says since when it is believed.
/// Says also what all records take.
fn mark_open(database: &Database) -> Result<Marked> {
    let transaction = database.begin_write().map_err(while_doing("open"))?;
    let tables = transaction.list_tables().map_err(while_doing("open"))?;
    let names: Vec<String> = tables.map(|table| table.name().to_owned()).collect();
    let is_empty = names.is_empty();
    if !is_empty && !names.iter().any(|name| name == META.name()) {
        return Err(error(ErrorKind::Config, "open").with_detail("this is another program's redb database"));
    }
    let opening = RandomState::new().build_hasher().finish().max(1);
    let answer = {
        let mut meta = transaction.open_table(META).map_err(while_doing("open"))?;
        let layout = meta.get(LAYOUT).map_err(while_doing("open"))?.map(|layout| layout.value());
        match layout {
            None if is_empty => {}
            Some(LAYOUT_VERSION) => {}
            None => {
                return Err(error(ErrorKind::Corrupt, "open").with_detail("the layout's version is missing"));
            }
            Some(other) => {
                return Err(error(ErrorKind::Unsupported, "open").with_detail(format!(
                    "the file has layout {other}, this version reads {LAYOUT_VERSION}"
                )));
            }
        }
        let was_closed =
            meta.get(CLOSED).map_err(while_doing("open"))?.is_some_and(|closed| closed.value() == 1);
        meta.insert(LAYOUT, LAYOUT_VERSION).map_err(while_doing("open"))?;
        meta.insert(CLOSED, 0).map_err(while_doing("open"))?;
        let records = transaction.open_table(RECORDS).map_err(while_doing("open"))?;
        transaction.open_table(FLOORS).map_err(while_doing("open"))?;
        let since = meta.get(BELIEVED_SINCE).map_err(while_doing("open"))?.map_or(0, |since| since.value());
        let bytes = match meta.get(BYTES).map_err(while_doing("open"))?.map(|bytes| bytes.value()) {
            Some(bytes) => bytes,
            // A file from before they were counted, or a new one.
            None => count_bytes(&records)?,
        };
        meta.insert(BYTES, bytes).map_err(while_doing("open"))?;
        let before = meta.insert(OPENING, opening).map_err(while_doing("open"))?.map(|before| before.value());
        Marked {
            believed_since: was_closed.then_some(since),
            bytes,
            openings: (opening, before.filter(|before| was_closed && *before != 0)),
        }
    };
    transaction.commit().map_err(while_doing("open"))?;
    Ok(answer)
}

/// What all records take, with their keys.
fn count_bytes(records: &impl ReadableTable<Bytewise, Bytewise>) -> Result<u64> {
    let mut bytes = 0;
    for row in records.iter().map_err(while_doing("open"))? {
        let (key, value) = row.map_err(while_doing("open"))?;
        bytes += (key.value().len() + value.value().len()) as u64;
    }
    Ok(bytes)
}

/// A crash while redb lays out a new file leaves one that it takes for no database ever after. Such a file begins with
/// nine zero bytes (redb writes its mark last) and holds nothing but zeros after its first page: it is emptied, and begun anew.
fn restart_unfinished_creation(path: &Path) -> Result<()> {
    let Ok(mut file) = OpenOptions::new().read(true).write(true).open(path) else {
        // Whoever opens it next says why it cannot be.
        return Ok(());
    };
    let mut first = [1; 1];
    // The lock: not while another process is laying it out.
    if file.read(&mut first).map_err(io_while_doing("open"))? == 0 || first != [0] || file.try_lock().is_err()
    {
        return Ok(());
    }
    if is_unfinished(&mut file).map_err(io_while_doing("open"))? {
        file.set_len(0).map_err(io_while_doing("open"))?;
    }
    Ok(())
}

fn is_unfinished(file: &mut File) -> std::io::Result<bool> {
    if file.metadata()?.len() > UNFINISHED_LEN_MAX {
        return Ok(false);
    }
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(UNFINISHED_LEN_MAX).read_to_end(&mut bytes)?;
    let after_header = bytes.get(HEADER_PAGE_LEN..).unwrap_or_default();
    Ok(bytes.iter().take(REDB_MARK_LEN).all(|byte| *byte == 0) && after_header.iter().all(|byte| *byte == 0))
}

/// What every redb file begins with.
const MAGIC: &[u8; REDB_MARK_LEN] = b"redb\x1a\x0a\xa9\x0d\x0a";
const REDB_MARK_LEN: usize = 9;
/// redb's first page, which holds its header.
const HEADER_PAGE_LEN: usize = 4096;
/// More than the length that a new redb file begins with.
const UNFINISHED_LEN_MAX: u64 = 16 * 1024 * 1024;
