//! Which kinds of stores there are, how they are told apart, and how they are opened.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use nanotier_file::FileStore;
use nanotier_redb::RedbStore;
use nanotier_sqlite::SqliteStore;
use nanotier_tier::{Error, ErrorKind, Result, Store};

/// A kind of store.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// True for a file or folder that is of this kind, as far as its beginning tells.
    is: fn(&Path) -> bool,
    /// Opens it without changing anything, where the store can do that; else a copy is looked at.
    look: Option<Opens>,
    /// Opens it as a service does.
    open: Opens,
}

type Opens = fn(&Path, Option<[u8; 16]>) -> Result<Box<dyn Store>>;

/// The kinds that this program knows.
const KINDS: [Kind; 3] = [
    Kind {
        name: "redb",
        is: |path| begins_with(path, b"redb\x1a\x0a\xa9\x0d\x0a"),
        look: Some(|path, secret| {
            Ok(Box::new(with(RedbStore::builder(path), secret, nanotier_redb::Builder::secret).look()?))
        }),
        open: |path, secret| {
            Ok(Box::new(with(RedbStore::builder(path), secret, nanotier_redb::Builder::secret).build()?))
        },
    },
    Kind {
        name: "SQLite",
        is: |path| begins_with(path, b"SQLite format 3\0"),
        look: None,
        open: |path, secret| {
            Ok(Box::new(with(SqliteStore::builder(path), secret, nanotier_sqlite::Builder::secret).build()?))
        },
    },
    Kind {
        name: "file",
        is: |path| path.join(FILE_STORE_MARK).is_file(),
        look: None,
        open: |path, secret| {
            Ok(Box::new(with(FileStore::builder(path), secret, nanotier_file::Builder::secret).build()?))
        },
    },
];

/// The file that every folder of a file store has.
const FILE_STORE_MARK: &str = "nanotier.control";

/// A builder with the secret, if there is one.
fn with<B>(builder: B, secret: Option<[u8; 16]>, keyed: fn(B, [u8; 16]) -> B) -> B {
    match secret {
        Some(secret) => keyed(builder, secret),
        None => builder,
    }
}

/// True for a file that begins with these bytes.
fn begins_with(path: &Path, magic: &[u8]) -> bool {
    let mut first = vec![0; magic.len()];
    path.is_file()
        && File::open(path).and_then(|mut file| file.read_exact(&mut first)).is_ok()
        && first == magic
}

/// What kind of store lies there.
pub(crate) fn recognise(path: &Path) -> Result<&'static Kind, String> {
    match KINDS.iter().find(|kind| (kind.is)(path)) {
        Some(kind) => Ok(kind),
        None if !path.exists() => Err(format!("there is nothing at {}", path.display())),
        None => {
            let known: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
            Err(format!(
                "{} is no store of nanotier: it begins as none of {}",
                path.display(),
                known.join(", ")
            ))
        }
    }
}

/// A store that is open to be looked at, and the copy that it lies in, if it has one.
pub(crate) struct Looked {
    // Before the folder: it is closed before that is removed.
    pub(crate) store: Box<dyn Store>,
    /// Where it lies.
    place: PathBuf,
    _copy: Option<tempfile::TempDir>,
}

impl Kind {
    /// Opens it to look: as it is, or, if it was not closed properly or cannot be opened without a trace, a copy.
    pub(crate) fn look(&self, path: &Path, secret: Option<[u8; 16]>) -> Result<Looked, String> {
        let Some(look) = self.look else { return self.look_at_copy(path, secret) };
        match look(path, secret) {
            Ok(store) => Ok(Looked { store, place: path.to_owned(), _copy: None }),
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                eprintln!(
                    "It was not closed properly. This is what a repaired copy holds; the store is left as it is."
                );
                let mut looked = self.look_at_copy(path, secret)?;
                looked.store.close().map_err(|error| sentence(path, &error))?;
                looked.store = look(&looked.place, secret).map_err(|error| sentence(path, &error))?;
                Ok(looked)
            }
            Err(error) => Err(sentence(path, &error)),
        }
    }

    /// Opens a copy, which may be repaired and marked as one likes. Where others write meanwhile it may not be whole.
    fn look_at_copy(&self, path: &Path, secret: Option<[u8; 16]>) -> Result<Looked, String> {
        let failed =
            |why: io::Error| format!("no copy of {} could be made to look at: {why}", path.display());
        let folder = tempfile::tempdir().map_err(failed)?;
        let place = folder.path().join("copy");
        copy(path, &place).map_err(failed)?;
        match (self.open)(&place, secret) {
            Ok(store) => Ok(Looked { store, place, _copy: Some(folder) }),
            Err(error) if error.kind() == ErrorKind::Corrupt => Err(format!(
                "{} is damaged, or in use and was written to while it was copied: stop the service that has it open, then look again ({error})",
                path.display()
            )),
            Err(error) => Err(sentence(path, &error)),
        }
    }

    /// Opens it to change it.
    pub(crate) fn open(&self, path: &Path, secret: Option<[u8; 16]>) -> Result<Box<dyn Store>, String> {
        (self.open)(path, secret).map_err(|error| sentence(path, &error))
    }
}

/// Copies a file with what a database keeps beside it, or the files of a folder.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if from.is_dir() {
        fs::create_dir(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                fs::copy(entry.path(), to.join(entry.file_name()))?;
            }
        }
        return Ok(());
    }
    fs::copy(from, to)?;
    let (log, its_copy) = (beside(from), beside(to));
    if log.is_file() {
        fs::copy(log, its_copy)?;
    }
    Ok(())
}

/// Where SQLite keeps what it has not yet moved into the database.
fn beside(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// Why a store cannot be opened, in one sentence.
fn sentence(path: &Path, error: &Error) -> String {
    let path = path.display();
    match error.kind() {
        ErrorKind::InUse => format!("{path} is in use: stop the service that has it open, then look again"),
        ErrorKind::Config => format!("{path} is no store of nanotier: {error}"),
        _ => format!("{path} cannot be opened: {error}"),
    }
}
