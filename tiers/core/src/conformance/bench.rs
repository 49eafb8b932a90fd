//! Where a promise is checked: a fresh tier, a namespace of its own, and short words for what is done to them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use nanotier_clock::Timestamp;

use super::Subject;
use crate::capabilities::Capabilities;
use crate::context::Context;
use crate::entry::{Cleared, Entry, Found, Intent, Seen, Write, Wrote};
use crate::error::Result;
use crate::path::{Namespace, Path};
use crate::stored::{Deadlines, Encoded, Fingerprint, Freshness, Record};
use crate::tier::Tier;
use crate::update::{Change, Update, Updated};
use crate::version::Version;
use crate::waiting::block_on;

/// A fresh tier, attached, and a namespace that nobody else uses.
pub(super) struct Bench<'s, T> {
    pub(super) subject: &'s Subject<T>,
    pub(super) tier: T,
    pub(super) context: Context,
    pub(super) namespace: Namespace,
}

/// What the kit's values are written by.
const FINGERPRINT: Fingerprint = Fingerprint(0x006b_6974);

/// Tells namespaces and writers of this process apart.
static NEXT: AtomicU64 = AtomicU64::new(1);

impl<'s, T: Tier> Bench<'s, T> {
    pub(super) fn new(subject: &'s Subject<T>) -> Self {
        // Unique also among runs against one service. Real time is no cache time here: it is the seed of a name.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let run = (since_epoch.as_nanos() ^ (u128::from(std::process::id()) << 64)) % 0xffff_ffff_ffff;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let namespace = Namespace::new(format!("kit-{run:x}-{number}")).expect("the kit's names are allowed");
        let tier = (subject.fresh)();
        let context = Context::new(subject.clock.clone(), number);
        tier.attach(&context);
        Self { subject, tier, context, namespace }
    }

    /// The same after closing and opening again; `None` if the subject cannot.
    pub(super) fn reopen(self) -> Option<Self> {
        let reopen = self.subject.reopen.as_ref()?;
        block_on(self.tier.close()).expect("close");
        let tier = reopen(self.tier);
        tier.attach(&self.context);
        Some(Self { tier, ..self })
    }

    pub(super) fn capabilities(&self) -> Capabilities {
        self.tier.capabilities()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.subject.clock.wall()
    }

    pub(super) fn draw(&self) -> Version {
        self.context.versions.draw()
    }

    /// Lets time pass: at once where there are hands, else in real time, with slack.
    pub(super) fn wait(&self, time: Duration) {
        match &self.subject.hands {
            Some(hands) => hands.advance(time),
            None => std::thread::sleep(time + self.subject.slack),
        }
    }

    pub(super) fn has_hands(&self) -> bool {
        self.subject.hands.is_some()
    }

    /// A short lifetime that the tier can keep.
    pub(super) fn ttl(&self) -> Duration {
        self.capabilities().ttl_grain.max(Duration::from_millis(200))
    }

    pub(super) fn path<'p>(&'p self, key: &'p (impl AsRef<[u8]> + ?Sized)) -> Path<'p> {
        Path::new(&self.namespace, key.as_ref())
    }

    /// A record that is fresh for ever, with a version drawn now.
    pub(super) fn record(&self, value: impl AsRef<[u8]>) -> Record {
        let value = Encoded::new(Bytes::copy_from_slice(value.as_ref()), FINGERPRINT);
        Record { version: self.draw(), ..Record::new(value, self.now()) }
    }

    /// The same, fresh for `ttl`, and gone then.
    pub(super) fn record_for(&self, value: impl AsRef<[u8]>, ttl: Duration) -> Record {
        Record { deadlines: Deadlines::after(self.now(), ttl, Duration::ZERO), ..self.record(value) }
    }

    pub(super) fn write(&self, write: &Write<'_>) -> Wrote {
        block_on(self.tier.write_one(write)).expect("write")
    }

    /// Puts `record`.
    pub(super) fn put_record(&self, key: impl AsRef<[u8]>, record: &Record) -> Wrote {
        self.write(&Write::put(self.path(&key), record))
    }

    /// Puts a value, which must succeed.
    pub(super) fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Record {
        let record = self.record(value);
        assert_eq!(self.put_record(key, &record), Wrote::Done, "a put newer than all");
        record
    }

    /// Removes, which must succeed.
    pub(super) fn remove(&self, key: impl AsRef<[u8]>) -> Version {
        let version = self.draw();
        let wrote = self.write(&Write::remove(self.path(&key), version, self.now()));
        assert_eq!(wrote, Wrote::Done, "a remove newer than all");
        version
    }

    /// Fills with a new value what was seen at `as_of`.
    pub(super) fn fill(&self, key: impl AsRef<[u8]>, seen: Seen, as_of: Timestamp) -> Wrote {
        let record = self.record("filled");
        self.write(&Write::fill(self.path(&key), &record, seen, as_of))
    }

    pub(super) fn clear_namespace(&self, namespace: &Namespace, version: Version) -> Wrote {
        block_on(self.tier.clear(&Cleared { namespace, version, as_of: self.now() })).expect("clear")
    }

    /// Clears the namespace, which must succeed.
    pub(super) fn clear(&self) -> Version {
        let version = self.draw();
        assert_eq!(self.clear_namespace(&self.namespace, version), Wrote::Done, "a clearing newer than all");
        version
    }

    pub(super) fn read_as(&self, key: impl AsRef<[u8]>, intent: Intent) -> Found {
        block_on(self.tier.read_one(&self.path(&key), intent)).expect("read")
    }

    pub(super) fn read(&self, key: impl AsRef<[u8]>) -> Found {
        self.read_as(key, Intent::Look)
    }

    /// The usable value under a key.
    pub(super) fn value(&self, key: impl AsRef<[u8]>) -> Option<Vec<u8>> {
        let found = self.read(key);
        found.usable(self.now()).map(|record| record.value.bytes.to_vec())
    }

    /// What the truth shows to one who is going to fill.
    pub(super) fn seen(&self, key: impl AsRef<[u8]>) -> (Seen, Timestamp) {
        // If a copy answered, the truth has to be asked for itself.
        let found = self.read_as(&key, Intent::Load);
        let found = if found.seen.is_some() { found } else { self.read_as(&key, Intent::Refresh) };
        (found.seen.expect("the truth was asked"), found.read_at)
    }

    pub(super) fn update_at(
        &self,
        key: impl AsRef<[u8]>,
        change: Change,
        as_of: Timestamp,
    ) -> Result<Updated> {
        let update = Update { path: self.path(&key), change, version: self.draw(), as_of };
        block_on(self.tier.update(&update))
    }

    pub(super) fn try_update(&self, key: impl AsRef<[u8]>, change: Change) -> Result<Updated> {
        self.update_at(key, change, self.now())
    }

    pub(super) fn update(&self, key: impl AsRef<[u8]>, change: Change) -> Updated {
        self.try_update(key, change).expect("update")
    }
}

/// Asserts that what was found is `record`, but for when it was confirmed: a chain that asks its truth confirms anew.
#[track_caller]
pub(super) fn assert_found(found: &Found, record: &Record) {
    let Entry::Present(read) = &found.entry else { panic!("{:?} instead of the record", found.entry) };
    assert_eq!(&Record { confirmed_at: record.confirmed_at, ..read.clone() }, record);
}

/// Asserts that nothing usable was found, and that it shows as removed by `version` or a newer one.
#[track_caller]
pub(super) fn assert_removed(found: &Found, version: Version) {
    let Entry::Removed(by) = found.entry else { panic!("{:?} instead of a tombstone", found.entry) };
    assert!(by >= version, "removed by {by:?}, which is older than {version:?}");
}

/// Asserts that a write was refused because of `held`.
#[track_caller]
pub(super) fn assert_older(wrote: Wrote, held: Version) {
    assert_eq!(wrote, Wrote::Older(held), "refused, and told by what");
}

/// How good what was found is; `None` for nothing.
pub(super) fn freshness(found: &Found, now: Timestamp) -> Option<Freshness> {
    found.entry.record().map(|record| record.freshness(now))
}

/// Skips the rest of a promise.
macro_rules! only_if {
    ($condition:expr, $why:literal) => {
        if !$condition {
            return Outcome::Skipped($why);
        }
    };
}
pub(super) use only_if;
