//! Options in, a judged configuration out.

use std::path::PathBuf;
use std::time::Duration;

use nanotier_tier::embedded::Options;
use nanotier_tier::{Durability, Error, ErrorKind, Result, Scope};

use crate::error::{NAME, error};
use crate::look::RedbLook;
use crate::store::RedbStore;

/// What to do about a file that is damaged beyond redb's own repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnDamage {
    /// Refuse to open it: [`ErrorKind::Corrupt`]. The default.
    #[default]
    Error,
    /// Move it aside, to `<name>.damaged-<n>`, and start empty. For a cache that can be filled again. Nothing is ever
    /// deleted: those files are yours to look at and to remove.
    ///
    /// A file that does not begin as a redb database does, not even in part, is another program's: [`ErrorKind::Config`], and left alone.
    StartCold,
}

/// Options of a [`RedbStore`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    config: Config,
}

/// What a store works by. Judged: nothing in it can be wrong.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) path: PathBuf,
    pub(crate) options: Options,
    pub(crate) on_damage: OnDamage,
    pub(crate) check_on_open: bool,
    pub(crate) cache_size: usize,
    pub(crate) compacts: bool,
}

impl Builder {
    /// How long tombstones are kept unless told otherwise.
    pub const HORIZON_DEFAULT: Duration = Options::HORIZON_DEFAULT;
    /// How often expired records are looked for unless told otherwise.
    pub const SWEEP_INTERVAL_DEFAULT: Duration = Options::SWEEP_INTERVAL_DEFAULT;
    /// The shortest interval of sweeps.
    pub const SWEEP_INTERVAL_MIN: Duration = Options::SWEEP_INTERVAL_MIN;
    /// How much memory redb may cache pages in unless told otherwise, in bytes.
    pub const CACHE_SIZE_DEFAULT: usize = 128 * 1024 * 1024;
    /// The least memory to cache pages in.
    pub const CACHE_SIZE_MIN: usize = 1024 * 1024;
    /// The largest value unless told otherwise, in bytes.
    pub const VALUE_LEN_MAX_DEFAULT: usize = 512 * 1024 * 1024;
    /// The least that all records together may be bounded to, in bytes: the longest key and its record fit.
    pub const BYTES_MAX_MIN: u64 = 128 * 1024;
    /// The most that the largest value may be: redb takes no more than 3 GiB for one record.
    pub const VALUE_LEN_LIMIT: usize = 2 * 1024 * 1024 * 1024;
    /// The shortest loss window.
    pub const LOSS_WINDOW_MIN: Duration = Options::LOSS_WINDOW_MIN;

    pub(crate) fn new(path: PathBuf) -> Self {
        let config = Config {
            path,
            options: Options::new(Scope::Process, Self::VALUE_LEN_MAX_DEFAULT),
            on_damage: OnDamage::default(),
            check_on_open: false,
            cache_size: Self::CACHE_SIZE_DEFAULT,
            compacts: true,
        };
        Self { config }
    }

    /// What an acknowledged write survives.
    ///
    /// [`Durability::Sync`], the default: it is on disk before it is acknowledged. [`Durability::Async`]: it is
    /// acknowledged before, and on disk within the loss window. What a crash leaves is always everything up to some
    /// moment, never a later write without an earlier one.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.config.options.durability = durability;
        self
    }

    /// What to do about a damaged file, when the store is opened and when it is opened again after a failure.
    pub fn on_damage(mut self, on_damage: OnDamage) -> Self {
        self.config.on_damage = on_damage;
        self
    }

    /// Whether to verify the whole file whenever it is opened, not only after a crash. Off by default: it reads all of it.
    ///
    /// Values are verified each time they are read, whatever this says: damage costs misses, never a wrong value.
    /// What this finds besides is damage between the records, which could hide some of them.
    ///
    /// redb trusts what it does not check, and panics over some damage. Such a panic is caught and told as
    /// [`ErrorKind::Corrupt`]; but over a few places in redb's own bookkeeping it panics again while it cleans up, and that ends the process. Seen
    /// at about one in ten thousand flipped bits of a file that was closed properly; never with this on.
    pub fn check_on_open(mut self, check: bool) -> Self {
        self.config.check_on_open = check;
        self
    }

    /// How long tombstones are kept, and how old a write may be when it arrives.
    pub fn horizon(mut self, horizon: Duration) -> Self {
        self.config.options.horizon = horizon;
        self
    }

    /// How often expired records and old tombstones are looked for. Nothing is read as long as none can have come due.
    pub fn sweep_interval(mut self, interval: Duration) -> Self {
        self.config.options.sweep_interval = interval;
        self
    }

    /// How much memory redb may cache pages in, in bytes.
    pub fn cache_size(mut self, bytes: usize) -> Self {
        self.config.cache_size = bytes;
        self
    }

    /// How many bytes all records together may take, keys and headers of 100 bytes included. Unbounded by default.
    ///
    /// A write that finds no room lets others leave, in its own transaction: what has expired first, then the oldest of a sample. The version of what
    /// leaves is kept for the horizon in a mark of 100 bytes, so that nothing older comes back. Locks, counters and marks do not leave: a
    /// store full of them answers [`ErrorKind::Full`], and [`ErrorKind::TooLarge`] for a record larger than all this.
    ///
    /// The file is larger: redb needs pages for its tree, and room for the next commit. Twice this is a safe guess.
    pub fn bytes_max(mut self, bytes: u64) -> Self {
        self.config.options.bytes_max = Some(bytes);
        self
    }

    /// Whether the store [compacts](RedbStore::compact) its file by itself: after a sweep, when the file has 16 MiB or more, is longer than four times
    /// what its rows take, and has grown by half since the last time. On by default.
    pub fn compact_by_itself(mut self, compacts: bool) -> Self {
        self.config.compacts = compacts;
        self
    }

    /// The largest value, in bytes. A larger one is [`ErrorKind::TooLarge`], and a miss where it is stored already.
    pub fn value_len_max(mut self, bytes: usize) -> Self {
        self.config.options.value_len_max = bytes;
        self
    }

    /// The secret by which digests of paths are keyed. Records of another secret are misses.
    pub fn secret(mut self, secret: [u8; 16]) -> Self {
        self.config.options = self.config.options.with_secret(secret);
        self
    }

    /// Opens the store.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for options that cannot work, or a redb database that is another program's;
    /// [`ErrorKind::InUse`] if another store has the file open, in this process or another;
    /// [`ErrorKind::Corrupt`] for a damaged file, or one that is no redb database, unless it [starts cold](OnDamage::StartCold);
    /// [`ErrorKind::Storage`] or [`ErrorKind::Full`] for what the disk said.
    pub fn build(self) -> Result<RedbStore> {
        let place = self.config.path.clone();
        self.judged().and_then(RedbStore::start).map_err(|error| error.with_place(&place))
    }

    /// Opens the file to look at it: read-only, whatever the options say. Nothing is created, repaired, marked or swept.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build); [`ErrorKind::InUse`] while a store has it open; [`ErrorKind::Unavailable`] for a file that was not closed
    /// properly, since it has to be repaired first; [`ErrorKind::Storage`] if there is none.
    pub fn look(self) -> Result<RedbLook> {
        let place = self.config.path.clone();
        self.judged().and_then(|config| RedbLook::open(&config)).map_err(|error| error.with_place(&place))
    }

    fn judged(self) -> Result<Config> {
        let Self { mut config } = self;
        if config.path.as_os_str().is_empty() {
            return Err(refused("a path to a file is needed"));
        }
        if config.path.is_dir() {
            return Err(refused(format!("{} is a folder: name a file in it", config.path.display())));
        }
        if config.cache_size < Self::CACHE_SIZE_MIN {
            return Err(refused(format!(
                "redb needs {} bytes to cache pages in, or more",
                Self::CACHE_SIZE_MIN
            )));
        }
        if config.options.bytes_max.is_some_and(|bytes| bytes < Self::BYTES_MAX_MIN) {
            return Err(refused(format!(
                "a store is bounded to {} bytes or more, or not at all",
                Self::BYTES_MAX_MIN
            )));
        }
        config.options = config.options.judged(NAME, Self::VALUE_LEN_LIMIT)?;
        Ok(config)
    }
}

fn refused(why: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    error(ErrorKind::Config, "open").with_detail(why)
}
