//! Which tiers are tested, and how each is opened. A new durable tier is added here and nowhere else: a variant of [`Tier`],
//! and an arm in each of its functions.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use nanotier_file::FileStore;
use nanotier_redb::RedbStore;
use nanotier_sqlite::SqliteStore;
use nanotier_tier::embedded::Embedded;
use nanotier_tier::{Durability, Result as TierResult, Store};

use crate::Error;
use crate::planted::{Bug, Planted};
use crate::queued::Queued;

/// What is lost by a crash of an asynchronous store is younger than this.
pub(crate) const LOSS_WINDOW: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tier {
    Redb,
    Sqlite,
    File,
    /// A queue of writes with a log, before redb.
    Queued,
}

impl Tier {
    const ALL: &[(Tier, &str)] =
        &[(Tier::Redb, "redb"), (Tier::Sqlite, "sqlite"), (Tier::File, "file"), (Tier::Queued, "queued")];

    /// Opens the store of this folder, and creates what is missing.
    fn open(self, folder: &Path, durability: Durability, on_damage: OnDamage) -> TierResult<Box<dyn Store>> {
        match self {
            Tier::Redb => {
                let on_damage = match on_damage {
                    OnDamage::Error => nanotier_redb::OnDamage::Error,
                    OnDamage::StartCold => nanotier_redb::OnDamage::StartCold,
                };
                let builder = RedbStore::builder(folder.join("store.redb")).durability(durability);
                Ok(Box::new(builder.on_damage(on_damage).build()?))
            }
            Tier::Sqlite => {
                let on_damage = match on_damage {
                    OnDamage::Error => nanotier_sqlite::OnDamage::Error,
                    OnDamage::StartCold => nanotier_sqlite::OnDamage::StartCold,
                };
                let builder = SqliteStore::builder(folder.join("store.db")).durability(durability);
                Ok(Box::new(builder.on_damage(on_damage).build()?))
            }
            Tier::File => {
                let on_damage = match on_damage {
                    OnDamage::Error => nanotier_file::OnDamage::Error,
                    OnDamage::StartCold => nanotier_file::OnDamage::StartCold,
                };
                // Small segments, so that new ones are begun and old ones compacted away all the time.
                let builder = FileStore::builder(folder.join("store")).segment_size(256 * 1024);
                Ok(Box::new(builder.durability(durability).on_damage(on_damage).build()?))
            }
            Tier::Queued => Ok(Box::new(Queued::open(folder)?)),
        }
    }

    /// Which promises it makes: what a queue acknowledges is in its log, and so as durable as that.
    fn modes(self) -> &'static [Mode] {
        match self {
            Tier::Redb | Tier::Sqlite | Tier::File => &[Mode::Sync, Mode::Async],
            Tier::Queued => &[Mode::Sync],
        }
    }

    /// Whether its own disk is taken away, too. A queue has two, and stays behind a tier that has none of these troubles.
    fn has_one_disk(self) -> bool {
        match self {
            Tier::Redb | Tier::Sqlite | Tier::File => true,
            Tier::Queued => false,
        }
    }

    /// Whether several processes may have it open.
    fn is_shared(self) -> bool {
        match self {
            Tier::Redb | Tier::Queued => false,
            Tier::Sqlite | Tier::File => true,
        }
    }

    /// Whether a quota, or a limit on the size of a process's files, is told as a full disk is. SQLite tells only that one.
    fn tells_limits(self) -> bool {
        match self {
            Tier::Redb | Tier::File | Tier::Queued => true,
            Tier::Sqlite => false,
        }
    }
}

/// What a damaged store does when it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnDamage {
    Error,
    StartCold,
}

/// What an acknowledged write must survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Sync,
    Async,
}

/// A tier, how durable it is to be, and what is wrong with it on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) tier: Tier,
    pub(crate) mode: Mode,
    pub(crate) bug: Option<Bug>,
}

impl Kind {
    /// Every tier in all its modes, with nothing wrong.
    pub(crate) fn all() -> Vec<Self> {
        let modes =
            |&(tier, _): &(Tier, _)| tier.modes().iter().map(move |&mode| Self { tier, mode, bug: None });
        Tier::ALL.iter().flat_map(modes).collect()
    }

    pub(crate) fn with(self, bug: Bug) -> Self {
        Self { bug: Some(bug), ..self }
    }

    /// Whether its engine is known to end the process over some damage to a file that was closed properly, unless it is told to check it first.
    pub(crate) fn aborts_on_damage(self) -> bool {
        match self.tier {
            Tier::Redb | Tier::Queued => true,
            Tier::Sqlite | Tier::File => false,
        }
    }

    pub(crate) fn is_shared(self) -> bool {
        self.tier.is_shared()
    }

    pub(crate) fn has_one_disk(self) -> bool {
        self.tier.has_one_disk()
    }

    pub(crate) fn tells_limits(self) -> bool {
        self.tier.tells_limits()
    }

    /// Opens the store of this folder, and creates what is missing.
    pub(crate) fn open(self, folder: &Path, on_damage: OnDamage) -> TierResult<Opened> {
        let durability = match (self.mode, self.bug) {
            (_, Some(Bug::AcknowledgesEarly)) => Durability::Async { loss_window: Duration::from_secs(3600) },
            (Mode::Sync, _) => Durability::Sync,
            (Mode::Async, _) => Durability::Async { loss_window: LOSS_WINDOW },
        };
        let store = self.tier.open(folder, durability, on_damage)?;
        Ok(Opened(match self.bug {
            Some(bug) => Box::new(Planted::new(store, bug)),
            None => store,
        }))
    }
}

/// A store of any kind.
pub(crate) struct Opened(Box<dyn Store>);

impl Embedded for Opened {
    fn core(&self) -> &dyn Store {
        &*self.0
    }
}

/// `redb`, `redb-async`, `redb+torn-writes`.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Tier::ALL.iter().find(|(tier, _)| *tier == self.tier);
        let mode = if self.mode == Mode::Async { "-async" } else { "" };
        let name = format!("{}{mode}", named.map_or("", |(_, name)| name));
        match self.bug {
            Some(bug) => f.pad(&format!("{name}+{bug}")),
            None => f.pad(&name),
        }
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self, Error> {
        let unknown = || format!("no kind of store is called {word}");
        let (name, bug) = match word.split_once('+') {
            Some((name, bug)) => (name, Some(Bug::named(bug).ok_or_else(unknown)?)),
            None => (word, None),
        };
        let (name, mode) = name.strip_suffix("-async").map_or((name, Mode::Sync), |name| (name, Mode::Async));
        let (tier, _) = Tier::ALL.iter().find(|(_, known)| *known == name).ok_or_else(unknown)?;
        Ok(Self { tier: *tier, mode, bug })
    }
}
