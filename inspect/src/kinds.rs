//! Which kinds of stores there are, how they are told apart, and how they are opened.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use nanotier_redb::{Builder, RedbStore};
use nanotier_tier::{Error, ErrorKind, Result, Store};

/// A kind of store.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// True for a file or folder that is of this kind, as far as its beginning tells.
    is: fn(&Path) -> bool,
    /// Opens it without changing anything.
    look: Opens,
    /// Opens it as a service does.
    open: Opens,
}

type Opens = fn(&Path, Option<[u8; 16]>) -> Result<Box<dyn Store>>;

/// The kinds that this program knows.
const KINDS: [Kind; 1] = [Kind {
    name: "redb",
    is: |path| begins_with(path, b"redb\x1a\x0a\xa9\x0d\x0a"),
    look: look_redb,
    open: open_redb,
}];

fn look_redb(path: &Path, secret: Option<[u8; 16]>) -> Result<Box<dyn Store>> {
    let builder = RedbStore::builder(path);
    Ok(Box::new(secret.into_iter().fold(builder, Builder::secret).look()?))
}

fn open_redb(path: &Path, secret: Option<[u8; 16]>) -> Result<Box<dyn Store>> {
    let builder = RedbStore::builder(path);
    Ok(Box::new(secret.into_iter().fold(builder, Builder::secret).build()?))
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
    _copy: Option<tempfile::TempDir>,
}

impl Kind {
    /// Opens it to look: as it is, or, if it was not closed properly, a repaired copy.
    pub(crate) fn look(&self, path: &Path, secret: Option<[u8; 16]>) -> Result<Looked, String> {
        match (self.look)(path, secret) {
            Ok(store) => Ok(Looked { store, _copy: None }),
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                eprintln!(
                    "It was not closed properly. This is what a repaired copy holds; the store is left as it is."
                );
                let failed = |why: std::io::Error| format!("no copy could be made to look at: {why}");
                let folder = tempfile::tempdir().map_err(failed)?;
                let copy = folder.path().join("copy");
                std::fs::copy(path, &copy).map_err(failed)?;
                let repaired = (self.open)(&copy, secret).and_then(|store| store.close());
                repaired.map_err(|error| sentence(path, &error))?;
                let store = (self.look)(&copy, secret).map_err(|error| sentence(path, &error))?;
                Ok(Looked { store, _copy: Some(folder) })
            }
            Err(error) => Err(sentence(path, &error)),
        }
    }

    /// Opens it to change it.
    pub(crate) fn open(&self, path: &Path, secret: Option<[u8; 16]>) -> Result<Box<dyn Store>, String> {
        (self.open)(path, secret).map_err(|error| sentence(path, &error))
    }
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
