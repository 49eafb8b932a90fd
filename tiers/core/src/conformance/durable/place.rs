//! A store in a temporary folder, on a clock moved by hand, and short words for what is done with it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nanotier_clock::{Clock, Hands, Timestamp};
use parking_lot::Mutex;

use super::Fixture;
use crate::{
    Change, Cleared, Context, Deadlines, Encoded, Entry, Event, Fingerprint, Found, Intent, Namespace,
    Observer, Path, Record, Result, Store, Update, Updated, Version, Write, Wrote,
};

/// A minute.
pub const MINUTE: Duration = Duration::from_secs(60);

/// Where a store is, and the time there.
pub struct Place<F: Fixture> {
    /// The folder that the store's file is in.
    pub folder: F::Folder,
    /// The clock that is attached to stores here.
    pub clock: Clock,
    /// What moves it.
    pub hands: Hands,
    told: Arc<Told>,
}

#[derive(Default)]
struct Told(Mutex<Vec<Event>>);

impl Observer for Told {
    fn event(&self, event: &Event) {
        self.0.lock().push(event.clone());
    }
}

impl<F: Fixture> Default for Place<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F: Fixture> Place<F> {
    /// A folder with nothing in it, and a clock that stands still.
    #[must_use]
    pub fn new() -> Self {
        Self::in_folder(F::folder())
    }

    /// The same in this folder.
    #[must_use]
    pub fn in_folder(folder: F::Folder) -> Self {
        let (clock, hands) = Clock::manual();
        Self { folder, clock, hands, told: Arc::default() }
    }

    /// Where the store is.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.folder.as_ref().join(F::FILE)
    }

    /// Another place, at the same time, with what the end of all processes at this moment would leave here.
    #[must_use]
    pub fn as_a_crash_leaves_it(&self) -> Self {
        let crashed = Self { clock: self.clock.clone(), hands: self.hands.clone(), ..Self::new() };
        self.copy_to(&crashed);
        crashed
    }

    /// Brings there, where nothing is yet, what the end of all processes at this moment would leave here.
    pub fn copy_to(&self, crashed: &Self) {
        F::copy(&self.file(), &crashed.file());
    }

    /// What the stores here have told their observer.
    #[must_use]
    pub fn told(&self) -> Vec<Event> {
        self.told.0.lock().clone()
    }

    /// The store here, by the default options.
    pub fn open(&self) -> F::Store {
        self.open_with(|builder| builder)
    }

    /// The store here.
    pub fn open_with(&self, options: impl FnOnce(F::Builder) -> F::Builder) -> F::Store {
        self.try_open_with(options).unwrap()
    }

    /// The store here, or why not.
    pub fn try_open_with(&self, options: impl FnOnce(F::Builder) -> F::Builder) -> Result<F::Store> {
        let store = F::build(options(F::builder(self.file())))?;
        store.attach(&Context::new(self.clock.clone(), 1).with_observer(self.told.clone()));
        Ok(store)
    }

    /// The time here.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.wall()
    }

    /// A record of this version, written now, that lasts for ever.
    pub fn record(&self, version: u64, value: &[u8]) -> Record {
        let value = Encoded::new(Bytes::copy_from_slice(value), Fingerprint(7));
        Record { version: v(version), ..Record::new(value, self.now()) }
    }

    /// The same with a lifetime.
    pub fn lasting(&self, version: u64, value: &[u8], ttl: Duration) -> Record {
        let deadlines = Deadlines::after(self.now(), ttl, Duration::ZERO);
        Record { deadlines, ..self.record(version, value) }
    }

    /// Puts into the namespace `test`.
    pub fn put(&self, store: &impl Store, key: &str, version: u64, value: &[u8]) -> Wrote {
        self.put_in(store, &space("test"), key, version, value)
    }

    /// Puts into a namespace.
    pub fn put_in(
        &self,
        store: &impl Store,
        space: &Namespace,
        key: &str,
        version: u64,
        value: &[u8],
    ) -> Wrote {
        write(store, Write::put(Path::new(space, key.as_bytes()), &self.record(version, value))).unwrap()
    }

    /// Removes from the namespace `test`.
    pub fn remove(&self, store: &impl Store, key: &str, version: u64) -> Wrote {
        write(store, Write::remove(Path::new(&space("test"), key.as_bytes()), v(version), self.now()))
            .unwrap()
    }

    /// Clears a namespace.
    pub fn clear(&self, store: &impl Store, space: &Namespace, version: u64) -> Wrote {
        store.clear(&Cleared { namespace: space, version: v(version), as_of: self.now() }).unwrap()
    }

    /// Updates in the namespace `test`.
    pub fn update(&self, store: &impl Store, key: &str, version: u64, change: Change) -> Result<Updated> {
        let space = space("test");
        let path = Path::new(&space, key.as_bytes());
        store.update(&Update { path, change, version: v(version), as_of: self.now() })
    }
}

impl<F: Fixture> fmt::Debug for Place<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("file", &self.file())
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

/// The version of writer 1 at this moment.
pub fn v(n: u64) -> Version {
    Version::from_parts(n, 1)
}

/// The namespace of this name.
pub fn space(name: &str) -> Namespace {
    Namespace::new(name).unwrap()
}

/// Writes one thing.
pub fn write(store: &impl Store, write: Write<'_>) -> Result<Wrote> {
    store.write(&[write])?.remove(0)
}

/// What is there under a key.
pub fn found(store: &impl Store, space: &Namespace, key: &str) -> Found {
    store.read(&[Path::new(space, key.as_bytes())], Intent::Look).unwrap().remove(0).unwrap()
}

/// What is there under a key of the namespace `test`.
pub fn entry(store: &impl Store, key: &str) -> Entry {
    found(store, &space("test"), key).entry
}

/// The value under a key of the namespace `test`, if any.
pub fn value(store: &impl Store, key: &str) -> Option<Vec<u8>> {
    value_in(store, &space("test"), key)
}

/// The value under a key, if any.
pub fn value_in(store: &impl Store, space: &Namespace, key: &str) -> Option<Vec<u8>> {
    found(store, space, key).entry.record().map(|record| record.value.bytes.to_vec())
}
