//! A key in a tier: where a value is written to, and where it is followed.

use std::sync::Arc;

use nanotier_engine::Mirror;
use nanotier_tier::{
    AnyTier, BoxFuture, Codec, Context, Deadlines, Error, ErrorKind, Freshness, Intent, Key, KeyBytes,
    Moment, Namespace, Record, Result, Tier, Timestamp, Version, Write, Wrote,
};

use super::Shown;
use super::source::Source;
use super::supervisor::Supervisor;
use crate::below::Below;
use crate::write::{TRIES_MAX, too_late};

/// A place as the user has named it.
pub(super) struct Named<V> {
    tier: AnyTier,
    namespace: String,
    key: KeyBytes<'static>,
    codec: Arc<dyn Codec<V>>,
}

impl<V: 'static> Named<V> {
    pub(super) fn new(
        tier: impl Tier,
        namespace: impl Into<String>,
        key: &(impl Key + ?Sized),
        codec: impl Codec<V>,
    ) -> Self {
        let key = KeyBytes::Owned(key.key_bytes().into_owned());
        Self { tier: tier.erase(), namespace: namespace.into(), key, codec: Arc::new(codec) }
    }

    /// # Errors
    ///
    /// [`ErrorKind::InvalidName`], [`ErrorKind::TooLarge`] for the key, or what the tier says of itself.
    pub(super) fn found(self, context: &Context) -> Result<Place<V>> {
        let namespace = Namespace::new(self.namespace)?;
        let below = Below::new(
            self.tier,
            namespace,
            |key: &KeyBytes<'static>| KeyBytes::Borrowed(key),
            None,
            self.codec,
        );
        below.path(&self.key)?;
        below.tier.verify()?;
        below.tier.attach(context);
        Ok(Place { below, key: self.key, context: context.clone() })
    }
}

/// A key in a tier, in use.
pub(super) struct Place<V> {
    below: Below<KeyBytes<'static>, V>,
    key: KeyBytes<'static>,
    context: Context,
}

impl<V: Send + Sync + 'static> Place<V> {
    /// Puts the value that is shown there: fresh for as long as `supervisor` promises, then stale until the next one comes.
    ///
    /// # Errors
    ///
    /// The value has no encoding, or the tier did not take it.
    pub(super) async fn put(&self, shown: &Mirror<Shown<V>>, supervisor: &Supervisor) -> Result<()> {
        let clock = &self.context.clock;
        let mut record = shown.read(|shown| {
            let made = clock.timestamp_of(shown.made);
            let deadlines =
                Deadlines { fresh_until: made.plus(supervisor.promised()), usable_until: Timestamp::NEVER };
            self.below.record(&shown.value, deadlines, Version::ZERO, made)
        })?;
        for _ in 0..TRIES_MAX {
            record.version = self.context.versions.draw();
            let write = Write { as_of: clock.wall(), ..Write::put(self.below.path(&self.key)?, &record) };
            match self.below.tier.write_one(&write).await? {
                Wrote::Done => return Ok(()),
                // A live write wins: it goes again, above what it was refused for.
                Wrote::Older(held) => self.context.versions.saw(held),
                Wrote::TooLate => return Err(too_late()),
                Wrote::Changed => break,
            }
        }
        Err(Error::new(ErrorKind::Contended, self.below.tier.name(), "write"))
    }

    /// What the truth has, whatever copies say.
    async fn read(&self) -> Result<Record> {
        let found = self.below.tier.read_one(&self.below.path(&self.key)?, Intent::Confirm).await?;
        let absent = || Error::new(ErrorKind::Absent, "cache", "mirror");
        found.entry.record().filter(|_| found.usable(found.read_at).is_some()).cloned().ok_or_else(absent)
    }
}

/// The value under a key that others write.
pub(super) struct Followed<V> {
    place: Place<V>,
    /// Of the record that was brought last.
    version: Option<Version>,
}

impl<V> Followed<V> {
    pub(super) fn new(place: Place<V>) -> Self {
        Self { place, version: None }
    }

    /// On our steady scale.
    fn shown(&self, record: &Record, value: V) -> Shown<V> {
        let clock = &self.place.context.clock;
        let is_doubted = record.freshness(clock.wall()) != Freshness::Fresh;
        let fresh_until =
            if is_doubted { Moment::ZERO } else { clock.moment_of(record.deadlines.fresh_until) };
        Shown { value, made: clock.moment_of(record.written_at), fresh_until }
    }
}

impl<V: Send + Sync + 'static> Source<V> for Followed<V> {
    fn load(&mut self, _begun: Moment) -> BoxFuture<'_, Result<Option<Shown<V>>>> {
        Box::pin(async {
            let record = self.place.read().await?;
            if self.version == Some(record.version) {
                return Ok(None);
            }
            let value = self.place.below.decode(&record)?;
            self.version = Some(record.version);
            Ok(Some(self.shown(&record, value)))
        })
    }
}
