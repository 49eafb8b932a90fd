//! A store in a temporary folder, on a clock moved by hand, and short words for what is done with it.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use nanotier_file::{Builder, FileStore};
use nanotier_tier::{
    Bytes, Change, Cleared, Clock, Context, Deadlines, Encoded, Entry, Event, Fingerprint, Found, Hands,
    Intent, Namespace, Observer, Path, Record, Result, Store, Timestamp, Update, Updated, Version, Write,
    Wrote,
};

pub const MINUTE: Duration = Duration::from_secs(60);

pub struct Place {
    pub folder: tempfile::TempDir,
    pub clock: Clock,
    pub hands: Hands,
    pub told: Arc<Told>,
}

#[derive(Default)]
pub struct Told(pub Mutex<Vec<Event>>);

impl Observer for Told {
    fn event(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Place {
    pub fn new() -> Self {
        let (clock, hands) = Clock::manual();
        Self { folder: fast_folder(), clock, hands, told: Arc::default() }
    }

    pub fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("cache")
    }

    /// What the end of the process at this moment would leave.
    pub fn copy_to(&self, crashed: &Self) {
        std::fs::create_dir(crashed.file()).unwrap();
        for entry in std::fs::read_dir(self.file()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), crashed.file().join(entry.file_name())).unwrap();
        }
    }

    /// The path of a segment.
    pub fn segment(&self, number: u64) -> std::path::PathBuf {
        self.file().join(format!("nanotier-{number:016x}.log"))
    }

    pub fn open(&self) -> FileStore {
        self.open_with(|builder| builder)
    }

    pub fn open_with(&self, options: impl FnOnce(Builder) -> Builder) -> FileStore {
        self.try_open_with(options).unwrap()
    }

    pub fn try_open_with(&self, options: impl FnOnce(Builder) -> Builder) -> Result<FileStore> {
        let store = options(FileStore::builder(self.file())).build()?;
        store.attach(&Context::new(self.clock.clone(), 1).with_observer(self.told.clone()));
        Ok(store)
    }

    pub fn now(&self) -> Timestamp {
        self.clock.wall()
    }

    pub fn record(&self, version: u64, value: &[u8]) -> Record {
        let value = Encoded::new(Bytes::copy_from_slice(value), Fingerprint(7));
        Record { version: v(version), ..Record::new(value, self.now()) }
    }

    pub fn lasting(&self, version: u64, value: &[u8], ttl: Duration) -> Record {
        let deadlines = Deadlines::after(self.now(), ttl, Duration::ZERO);
        Record { deadlines, ..self.record(version, value) }
    }

    pub fn put(&self, store: &FileStore, key: &str, version: u64, value: &[u8]) -> Wrote {
        self.put_in(store, &space("test"), key, version, value)
    }

    pub fn put_in(
        &self,
        store: &FileStore,
        space: &Namespace,
        key: &str,
        version: u64,
        value: &[u8],
    ) -> Wrote {
        write(store, Write::put(Path::new(space, key.as_bytes()), &self.record(version, value))).unwrap()
    }

    pub fn remove(&self, store: &FileStore, key: &str, version: u64) -> Wrote {
        write(store, Write::remove(Path::new(&space("test"), key.as_bytes()), v(version), self.now()))
            .unwrap()
    }

    pub fn clear(&self, store: &FileStore, space: &Namespace, version: u64) -> Wrote {
        store.clear(&Cleared { namespace: space, version: v(version), as_of: self.now() }).unwrap()
    }

    pub fn update(&self, store: &FileStore, key: &str, version: u64, change: Change) -> Result<Updated> {
        let space = space("test");
        let path = Path::new(&space, key.as_bytes());
        store.update(&Update { path, change, version: v(version), as_of: self.now() })
    }
}

/// A folder in memory, where there is one: what is tested does not need a disk that takes its time to flush.
fn fast_folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub fn v(n: u64) -> Version {
    Version::from_parts(n, 1)
}

pub fn space(name: &str) -> Namespace {
    Namespace::new(name).unwrap()
}

pub fn write(store: &FileStore, write: Write<'_>) -> Result<Wrote> {
    store.write(&[write])?.remove(0)
}

pub fn found(store: &FileStore, space: &Namespace, key: &str) -> Found {
    store.read(&[Path::new(space, key.as_bytes())], Intent::Look).unwrap().remove(0).unwrap()
}

pub fn entry(store: &FileStore, key: &str) -> Entry {
    found(store, &space("test"), key).entry
}

pub fn value(store: &FileStore, key: &str) -> Option<Vec<u8>> {
    value_in(store, &space("test"), key)
}

pub fn value_in(store: &FileStore, space: &Namespace, key: &str) -> Option<Vec<u8>> {
    found(store, space, key).entry.record().map(|record| record.value.bytes.to_vec())
}
