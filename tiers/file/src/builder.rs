//! Options in, a judged configuration out.

use std::path::PathBuf;
use std::time::Duration;

use nanotier_tier::embedded::Options;
use nanotier_tier::{Durability, Error, ErrorKind, Result, Scope};

use crate::error::{NAME, error};
use crate::store::FileStore;

/// What to do about a log that is damaged where it says which rows it changes.
///
/// A damaged value costs that value alone and needs neither: it is a miss, told to the observer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnDamage {
    /// Refuse to open it: [`ErrorKind::Corrupt`]. The default.
    #[default]
    Error,
    /// Move the segments aside, to `<name>.damaged-<n>`, and start empty. For a cache that can be filled again. Nothing is ever
    /// deleted: those files are yours to look at and to remove.
    StartCold,
}

/// Options of a [`FileStore`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    config: Config,
}

/// What a store works by. Judged: nothing in it can be wrong.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) folder: PathBuf,
    pub(crate) options: Options,
    pub(crate) on_damage: OnDamage,
    pub(crate) segment_size: u64,
    pub(crate) lock_patience: Duration,
}

impl Builder {
    /// How long tombstones are kept unless told otherwise.
    pub const HORIZON_DEFAULT: Duration = Options::HORIZON_DEFAULT;
    /// How often expired records are looked for unless told otherwise.
    pub const SWEEP_INTERVAL_DEFAULT: Duration = Options::SWEEP_INTERVAL_DEFAULT;
    /// The shortest interval of sweeps.
    pub const SWEEP_INTERVAL_MIN: Duration = Options::SWEEP_INTERVAL_MIN;
    /// How long a segment grows unless told otherwise, in bytes.
    pub const SEGMENT_SIZE_DEFAULT: u64 = 16 * 1024 * 1024;
    /// The shortest length of segments.
    pub const SEGMENT_SIZE_MIN: u64 = 4 * 1024;
    /// The least that all rows together may be bounded to, in bytes: the longest key and its record fit.
    pub const BYTES_MAX_MIN: u64 = 128 * 1024;
    /// How long a writer waits for another process unless told otherwise.
    pub const LOCK_PATIENCE_DEFAULT: Duration = Duration::from_secs(10);
    /// The largest value unless told otherwise, in bytes.
    pub const VALUE_LEN_MAX_DEFAULT: usize = 512 * 1024 * 1024;
    /// The most that the largest value may be: a length in the log has 32 bits.
    pub const VALUE_LEN_LIMIT: usize = 2 * 1024 * 1024 * 1024;
    /// The shortest loss window.
    pub const LOSS_WINDOW_MIN: Duration = Options::LOSS_WINDOW_MIN;

    pub(crate) fn new(folder: PathBuf) -> Self {
        let config = Config {
            folder,
            options: Options::new(Scope::Host, Self::VALUE_LEN_MAX_DEFAULT),
            on_damage: OnDamage::default(),
            segment_size: Self::SEGMENT_SIZE_DEFAULT,
            lock_patience: Self::LOCK_PATIENCE_DEFAULT,
        };
        Self { config }
    }

    /// What an acknowledged write survives.
    ///
    /// [`Durability::Sync`], the default: it is on disk before it is acknowledged. [`Durability::Async`]: it is
    /// acknowledged before, and on disk within the loss window; it survives the end of the process at once. What a power cut leaves is
    /// always everything up to some moment, never a later write without an earlier one. Processes that share a folder may differ.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.config.options.durability = durability;
        self
    }

    /// What to do about a damaged log, when the store is opened and whenever it is read anew.
    pub fn on_damage(mut self, on_damage: OnDamage) -> Self {
        self.config.on_damage = on_damage;
        self
    }

    /// How long tombstones are kept, and how old a write may be when it arrives. The same in all processes that share the folder.
    pub fn horizon(mut self, horizon: Duration) -> Self {
        self.config.options.horizon = horizon;
        self
    }

    /// How often expired records and old tombstones are looked for, whether others ended without closing, and what is to be compacted.
    pub fn sweep_interval(mut self, interval: Duration) -> Self {
        self.config.options.sweep_interval = interval;
        self
    }

    /// How long a segment grows before the next one is begun, in bytes. Compaction frees whole segments, and leaves up to twice this
    /// beside what counts; each one is an open file.
    pub fn segment_size(mut self, bytes: u64) -> Self {
        self.config.segment_size = bytes;
        self
    }

    /// How many bytes all rows together may take, keys and headers of 100 bytes included. Unbounded by default.
    ///
    /// A write that finds no room lets others leave, in its own transaction: what has expired first, then what was taken longest ago. The
    /// version of what leaves is kept for the horizon in a mark of 100 bytes, so that nothing older comes back. Locks, counters and marks
    /// do not leave: a store full of them answers [`ErrorKind::Full`], and [`ErrorKind::TooLarge`] for a record larger than all this. The folder holds up to twice as much, and twice a [segment](Self::segment_size). The same in all processes
    /// that share it.
    pub fn bytes_max(mut self, bytes: u64) -> Self {
        self.config.options.bytes_max = Some(bytes);
        self
    }

    /// How long a writer waits for its turn among processes before it is told [`ErrorKind::Busy`]: one that was stopped may hold
    /// the lock for ever. Zero: not at all.
    pub fn lock_patience(mut self, patience: Duration) -> Self {
        self.config.lock_patience = patience;
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
    /// [`ErrorKind::Config`] for options that cannot work, and for a folder that is a symbolic link, belongs to another user, or holds
    /// files and is no store yet;
    /// [`ErrorKind::Busy`] if another process holds the lock for too long;
    /// [`ErrorKind::Corrupt`] for a damaged log, unless it [starts cold](OnDamage::StartCold);
    /// [`ErrorKind::Unsupported`] for a layout that this version does not know, and where there is no Unix;
    /// [`ErrorKind::Storage`] or [`ErrorKind::Full`] for what the disk said.
    pub fn build(self) -> Result<FileStore> {
        let place = self.config.folder.clone();
        self.judged().and_then(FileStore::start).map_err(|error| error.with_place(&place))
    }

    fn judged(self) -> Result<Config> {
        let Self { mut config } = self;
        if config.folder.as_os_str().is_empty() {
            return Err(refused("a folder is needed"));
        }
        if config.segment_size < Self::SEGMENT_SIZE_MIN {
            return Err(refused(format!("a segment has at least {} bytes", Self::SEGMENT_SIZE_MIN)));
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
