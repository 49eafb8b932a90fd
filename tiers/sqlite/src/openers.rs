//! Who has the database open. A process that ended without closing the store may have missed a write to it: all doubt what was
//! given until then.
//!
//! Each open store has a row in the table of openers and a file `<database>-open-<id>` beside the database, which it keeps locked. The lock
//! goes with the process, however that ends. A row whose file can be locked, or is not there, is one of the dead.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::path::{Path, PathBuf};

use nanotier_tier::embedded::files::create_file;

const MARK: &str = "-open-";

/// This store's place among those who have the database open.
#[derive(Debug)]
pub(crate) struct Presence {
    pub(crate) id: i64,
    file: PathBuf,
    /// Locked as long as it is open.
    lock: File,
    /// Whether the table may have its row.
    registered: Cell<bool>,
}

impl Presence {
    /// Takes an id that nobody has.
    pub(crate) fn take(database: &Path) -> io::Result<Self> {
        loop {
            // Unique for as long as it is there: that is all it has to be. 63 bits, since ids of SQLite have a sign.
            let id = RandomState::new().build_hasher().finish() >> 1;
            let id = i64::try_from(id).unwrap_or(1);
            let file = file_of(database, id);
            match create_file(&file) {
                Ok(lock) => {
                    lock.lock()?;
                    // Whoever counted before it was locked took it for one of the dead, and removed it.
                    if file.exists() {
                        return Ok(Self { id, file, lock, registered: Cell::new(false) });
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// From now on the table may have its row.
    pub(crate) fn note_registration(&self) {
        self.registered.set(true);
    }

    /// After an opening that failed. Where the row may be there the file stays, unlocked: the next one to open doubts.
    pub(crate) fn give_up(self) {
        if !self.registered.get() {
            // What is left behind if this fails costs a doubt.
            let _ = self.leave();
        }
    }

    /// Leaves no trace: the row is gone.
    pub(crate) fn leave(self) -> io::Result<()> {
        let Self { file, lock, .. } = self;
        drop(lock);
        fs::remove_file(file)
    }
}

fn file_of(database: &Path, id: i64) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(format!("{MARK}{id:016x}"));
    PathBuf::from(name)
}

/// Whether the store with this id is open. If it is not, its file is removed.
pub(crate) fn is_alive(database: &Path, id: i64) -> io::Result<bool> {
    is_locked(&file_of(database, id))
}

fn is_locked(file: &Path) -> io::Result<bool> {
    let lock = match OpenOptions::new().read(true).write(true).open(file) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match lock.try_lock() {
        Ok(()) => {
            fs::remove_file(file).or_else(|error| match error.kind() {
                // Another was quicker.
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })?;
            Ok(false)
        }
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// How many other stores are open by their files, and whether there were files of the dead. For when the table cannot be asked, or
/// lost rows with a log that was removed.
pub(crate) fn census_of_files(database: &Path, own: i64) -> io::Result<(usize, bool)> {
    let (mut alive, mut dead) = (0, false);
    let Some(name) = database.file_name() else { return Ok((alive, dead)) };
    let mut prefix = name.as_encoded_bytes().to_vec();
    prefix.extend_from_slice(MARK.as_bytes());
    let folder = database.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(&prefix)
            || entry.path() == file_of(database, own)
        {
            continue;
        }
        match is_locked(&entry.path())? {
            true => alive += 1,
            false => dead = true,
        }
    }
    Ok((alive, dead))
}
