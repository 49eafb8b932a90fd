//! Options in, a judged configuration out.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nanotier_tier::embedded::Options;
use nanotier_tier::{Durability, Error, ErrorKind, Result, Scope};

use crate::error::{NAME, error};
use crate::sql::{Sql, TABLES_LEN_MAX, is_table_name};
use crate::store::SqliteStore;

/// What to do about a damaged database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnDamage {
    /// Refuse to open it: [`ErrorKind::Corrupt`]. The default.
    #[default]
    Error,
    /// Move it aside with what SQLite leaves of its log, to `<name>.damaged-<n>`, and start empty. For a cache that can be filled again. Nothing is ever
    /// deleted: those files are yours to look at and to remove.
    ///
    /// Refused while another store has it open, and where others have tables in it. Where damage hides which tables there are, it is
    /// moved: not for a database that is another program's. A file that does not begin as a database does, not even in part, is left
    /// alone: [`ErrorKind::Config`].
    StartCold,
}

/// Options of a [`SqliteStore`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    config: Config,
    tables: String,
}

/// What a store works by. Judged: nothing in it can be wrong.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) path: PathBuf,
    pub(crate) options: Options,
    pub(crate) sql: Arc<Sql>,
    pub(crate) on_damage: OnDamage,
    pub(crate) check_on_open: bool,
    pub(crate) cache_size: usize,
    pub(crate) readers_max: usize,
    pub(crate) busy_timeout: Duration,
    pub(crate) wal_max: u64,
    pub(crate) convert_to_wal: bool,
}

impl Builder {
    /// How long tombstones are kept unless told otherwise.
    pub const HORIZON_DEFAULT: Duration = Options::HORIZON_DEFAULT;
    /// How often expired records are looked for unless told otherwise.
    pub const SWEEP_INTERVAL_DEFAULT: Duration = Options::SWEEP_INTERVAL_DEFAULT;
    /// The shortest interval of sweeps.
    pub const SWEEP_INTERVAL_MIN: Duration = Options::SWEEP_INTERVAL_MIN;
    /// What the names of tables begin with unless told otherwise.
    pub const TABLES_DEFAULT: &str = "nanotier";
    /// How much memory each connection may cache pages in unless told otherwise, in bytes.
    pub const CACHE_SIZE_DEFAULT: usize = 8 * 1024 * 1024;
    /// The least memory to cache pages in.
    pub const CACHE_SIZE_MIN: usize = 64 * 1024;
    /// How many connections read at the same time unless told otherwise.
    pub const READERS_MAX_DEFAULT: usize = 8;
    /// The most connections that may read.
    pub const READERS_LIMIT: usize = 64;
    /// How long others are waited for unless told otherwise.
    pub const BUSY_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
    /// The longest that others may be waited for.
    pub const BUSY_TIMEOUT_LIMIT: Duration = Duration::from_secs(3600);
    /// How long the write-ahead log may grow unless told otherwise, in bytes.
    pub const WAL_MAX_DEFAULT: u64 = 256 * 1024 * 1024;
    /// The least limit of the write-ahead log: a few checkpoints of 4 MiB.
    pub const WAL_MAX_MIN: u64 = 16 * 1024 * 1024;
    /// The least size bound, in bytes.
    pub const BYTES_MAX_MIN: u64 = 64 * 1024;
    /// The largest value unless told otherwise, in bytes.
    pub const VALUE_LEN_MAX_DEFAULT: usize = 64 * 1024 * 1024;
    /// The most that the largest value may be: SQLite takes no more than 1 000 000 000 bytes for one row.
    pub const VALUE_LEN_LIMIT: usize = 900 * 1024 * 1024;
    /// The shortest loss window.
    pub const LOSS_WINDOW_MIN: Duration = Options::LOSS_WINDOW_MIN;

    pub(crate) fn new(path: PathBuf) -> Self {
        let config = Config {
            path,
            options: Options::new(Scope::Host, Self::VALUE_LEN_MAX_DEFAULT),
            sql: Arc::new(Sql::new(Self::TABLES_DEFAULT)),
            on_damage: OnDamage::default(),
            check_on_open: false,
            cache_size: Self::CACHE_SIZE_DEFAULT,
            readers_max: Self::READERS_MAX_DEFAULT,
            busy_timeout: Self::BUSY_TIMEOUT_DEFAULT,
            wal_max: Self::WAL_MAX_DEFAULT,
            convert_to_wal: false,
        };
        let tables = Self::TABLES_DEFAULT.to_owned();
        Self { config, tables }
    }

    /// What the names of this store's tables, indexes and triggers begin with: a letter or `_`, then letters, digits and `_`, 48
    /// bytes at most, and not `sqlite_`. Several stores can be in one database under different names, beside the tables of others,
    /// which are never touched.
    pub fn tables(mut self, begin_with: impl Into<String>) -> Self {
        self.tables = begin_with.into();
        self
    }

    /// What an acknowledged write survives.
    ///
    /// [`Durability::Sync`], the default: it is on disk before it is acknowledged (`synchronous = FULL`). [`Durability::Async`]:
    /// it is in the write-ahead log, written but not flushed, so that it survives the end of the process, however that comes; and it
    /// is flushed within the loss window, so that only what is younger can be lost with the whole machine. What a
    /// power cut leaves is always everything up to some moment, never a later write without an earlier one.
    ///
    /// It is this store's own: another process may have another durability on the same database.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.config.options.durability = durability;
        self
    }

    /// What to do about a damaged database, when the store is opened and when it is opened again after a failure.
    pub fn on_damage(mut self, on_damage: OnDamage) -> Self {
        self.config.on_damage = on_damage;
        self
    }

    /// Whether to look at every page of the store's tables whenever it is opened. Off by default: it reads all of them.
    ///
    /// Values are verified each time they are read, whatever this says: damage costs misses or errors, never a wrong value.
    pub fn check_on_open(mut self, check: bool) -> Self {
        self.config.check_on_open = check;
        self
    }

    /// How long tombstones are kept, and how old a write may be when it arrives.
    pub fn horizon(mut self, horizon: Duration) -> Self {
        self.config.options.horizon = horizon;
        self
    }

    /// How often expired records and old tombstones are looked for, the log is copied into the database, and it is noticed that
    /// another process ended without closing the store.
    pub fn sweep_interval(mut self, interval: Duration) -> Self {
        self.config.options.sweep_interval = interval;
        self
    }

    /// How much memory each connection may cache pages in, in bytes. There are as many as [read](Self::readers_max), and one.
    pub fn cache_size(mut self, bytes: usize) -> Self {
        self.config.cache_size = bytes;
        self
    }

    /// How many connections read at the same time, at most. They are opened when they are needed and stay open; a reader that finds
    /// all of them in use waits.
    pub fn readers_max(mut self, readers: usize) -> Self {
        self.config.readers_max = readers;
        self
    }

    /// How long others who have the database locked are waited for, in this process or another. Then it is
    /// [`ErrorKind::Contended`].
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.config.busy_timeout = timeout;
        self
    }

    /// How long the write-ahead log may grow, in bytes.
    ///
    /// It is copied into the database every 4 MiB, and begun anew as soon as nobody reads from it, which readers of this crate do
    /// for microseconds. A reader of another program that stays in one transaction holds it back: once it has grown to
    /// this limit, writes are [`ErrorKind::Full`] until that reader ends. A transaction that begins below the limit is finished above it.
    pub fn wal_max(mut self, bytes: u64) -> Self {
        self.config.wal_max = bytes;
        self
    }

    /// How many bytes all rows of the store may take, keys and records, without what SQLite adds. Without this, any number.
    ///
    /// They are counted from the first time on that a store is opened with a bound, by triggers: whoever changes a row has it
    /// counted, in the same transaction.
    pub fn bytes_max(mut self, bytes: u64) -> Self {
        self.config.options.bytes_max = Some(bytes);
        self
    }

    /// Whether another program's database may be set to a write-ahead log, if it has none: for all who use it, and for good. Off by
    /// default: it is refused then.
    pub fn convert_to_wal(mut self, convert: bool) -> Self {
        self.config.convert_to_wal = convert;
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
    /// [`ErrorKind::Config`] for options that cannot work, or another program's database that has no write-ahead log;
    /// [`ErrorKind::InvalidName`] for a name that tables cannot begin with;
    /// [`ErrorKind::InUse`] if another program keeps the database locked for itself;
    /// [`ErrorKind::Corrupt`] for a damaged database, unless it [starts cold](OnDamage::StartCold);
    /// [`ErrorKind::Unsupported`] for tables that a newer version laid out;
    /// [`ErrorKind::Storage`] or [`ErrorKind::Full`] for what the disk said.
    pub fn build(self) -> Result<SqliteStore> {
        let place = self.config.path.clone();
        self.judged().and_then(SqliteStore::start).map_err(|error| error.with_place(&place))
    }

    pub(crate) fn judged(self) -> Result<Config> {
        let Self { mut config, tables } = self;
        if config.path.as_os_str().is_empty() {
            return Err(refused("a path to a file is needed"));
        }
        if config.path.is_dir() {
            return Err(refused(format!("{} is a folder: name a file in it", config.path.display())));
        }
        if !is_table_name(&tables) {
            return Err(error(ErrorKind::InvalidName, "open").with_detail(format!(
                "tables cannot begin with {tables:?}: a letter or _, then letters, digits and _, {TABLES_LEN_MAX} at most, and not sqlite_"
            )));
        }
        if config.cache_size < Self::CACHE_SIZE_MIN {
            return Err(refused(format!(
                "a connection needs {} bytes to cache pages in, or more",
                Self::CACHE_SIZE_MIN
            )));
        }
        if config.readers_max == 0 || config.readers_max > Self::READERS_LIMIT {
            return Err(refused(format!("1 to {} connections read", Self::READERS_LIMIT)));
        }
        if config.busy_timeout.is_zero() || config.busy_timeout > Self::BUSY_TIMEOUT_LIMIT {
            return Err(refused(format!(
                "others are waited for at least a moment, and at most {:?}",
                Self::BUSY_TIMEOUT_LIMIT
            )));
        }
        if config.wal_max < Self::WAL_MAX_MIN {
            return Err(refused(format!("the write-ahead log needs {} bytes, or more", Self::WAL_MAX_MIN)));
        }
        if config.options.bytes_max.is_some_and(|bytes| bytes < Self::BYTES_MAX_MIN) {
            return Err(refused(format!("a size bound is at least {} bytes", Self::BYTES_MAX_MIN)));
        }
        config.options = config.options.judged(NAME, Self::VALUE_LEN_LIMIT)?;
        config.sql = Arc::new(Sql::new(&tables));
        Ok(config)
    }
}

fn refused(why: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    error(ErrorKind::Config, "open").with_detail(why)
}
