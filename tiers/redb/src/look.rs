//! A store's file, opened to be looked at alone.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use nanotier_tier::embedded::{Backend, Belief, Core, Embedded, RowsMut, Wanted};
use nanotier_tier::{ErrorKind, Result, Store, Timestamp};
use parking_lot::RwLock;
use redb::{DatabaseError, ReadOnlyDatabase, ReadableDatabase as _, TableError};

use crate::backend::View;
use crate::builder::Config;
use crate::error::{NAME, error, io_while_doing, panicked, while_doing};
use crate::tables::{LAYOUT, LAYOUT_VERSION, META};

/// A redb store's file, opened to be looked at: nothing in it is changed, no mark is set, nothing is repaired or created. It
/// is a [`Store`] that answers [`ErrorKind::Unsupported`] to whoever writes. Made by
/// [`Builder::look`](crate::Builder::look).
///
/// Others may look at the same time; the file cannot be opened as a store meanwhile.
pub struct RedbLook {
    core: Core<Looking>,
}

/// The file, and the state it is in.
struct Looking(RwLock<Option<Open>>);

struct Open {
    view: View,
    /// Holds the file's lock.
    _database: ReadOnlyDatabase,
}

impl RedbLook {
    pub(crate) fn open(config: &Config) -> Result<Self> {
        let options = config.options.clone();
        let open = catch_unwind(AssertUnwindSafe(|| open(&config.path)))
            .unwrap_or_else(|panic| Err(panicked("open", &*panic)))?;
        let looking = Looking(RwLock::new(Some(open)));
        Ok(Self { core: Core::start(looking, options, Belief::new(Some(Timestamp::ZERO)))? })
    }
}

fn open(path: &PathBuf) -> Result<Open> {
    // redb says the same of a file that is missing as of one that is empty.
    std::fs::metadata(path).map_err(io_while_doing("open"))?;
    let database = ReadOnlyDatabase::open(path).map_err(|source| match source {
        DatabaseError::RepairAborted => error(ErrorKind::Unavailable, "open")
            .with_detail("it was not closed properly: whoever opens it as a store repairs it, or look at a repaired copy")
            .with_source(source),
        source => while_doing("open")(source),
    })?;
    let transaction = database.begin_read().map_err(while_doing("open"))?;
    let meta = transaction.open_table(META).map_err(|source| match source {
        TableError::TableDoesNotExist(_) => {
            error(ErrorKind::Config, "open").with_detail("this is another program's redb database")
        }
        source => while_doing("open")(source),
    })?;
    match meta.get(LAYOUT).map_err(while_doing("open"))?.map(|layout| layout.value()) {
        Some(LAYOUT_VERSION) => {}
        layout => {
            return Err(error(ErrorKind::Unsupported, "open").with_detail(format!(
                "the file has layout {}, this version reads {LAYOUT_VERSION}",
                layout.map_or_else(|| "none".to_owned(), |layout| layout.to_string())
            )));
        }
    }
    Ok(Open { view: View::of(&transaction)?, _database: database })
}

impl Backend for Looking {
    const NAME: &'static str = NAME;
    type View = View;

    fn read<T>(&self, read: impl FnOnce(&View) -> Result<T>) -> Result<T> {
        let open = self.0.read();
        let Some(open) = &*open else { return Err(error(ErrorKind::Closed, "read")) };
        catch_unwind(AssertUnwindSafe(|| read(&open.view)))
            .unwrap_or_else(|panic| Err(panicked("read", &*panic)))
    }

    fn transact(&self, _: &mut dyn FnMut(&mut dyn RowsMut) -> Result<Wanted>) -> Result<bool> {
        Err(error(ErrorKind::Unsupported, "write").with_detail("it was opened to be looked at"))
    }

    fn close(&self) -> Result<()> {
        drop(self.0.write().take());
        Ok(())
    }

    fn is_closed(&self) -> bool {
        self.0.read().is_none()
    }
}

impl Embedded for RedbLook {
    fn core(&self) -> &dyn Store {
        &self.core
    }
}

impl fmt::Debug for RedbLook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbLook").finish_non_exhaustive()
    }
}
