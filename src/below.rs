//! The seam between typed memory and tiers of bytes: keys become paths and values records here, and nowhere
//! else.

use std::sync::Arc;

use nanotier_tier::{
    AnyTier, Bytes, Codec, Deadlines, Encoded, Error, ErrorKind, Fingerprint, KeyBytes, Namespace, Path,
    Record, Result, Tier, TierIndex, Timestamp, Version,
};

/// Turns a key into its bytes. Known only where `K` is a [`Key`](nanotier_tier::Key), kept where it need not
/// be.
pub(crate) type KeyBytesOf<K> = for<'k> fn(&'k K) -> KeyBytes<'k>;

/// Makes a key of its bytes again; `None` for bytes that are no key's.
pub(crate) type KeyOf<K> = fn(&[u8]) -> Option<K>;

/// What lies below memory, and how to speak to it.
pub(crate) struct Below<K, V> {
    pub(crate) tier: AnyTier,
    pub(crate) namespace: Namespace,
    key_bytes: KeyBytesOf<K>,
    /// `None` for a type of keys that cannot be read back.
    pub(crate) key_of: Option<KeyOf<K>>,
    codec: Arc<dyn Codec<V>>,
    fingerprint: Fingerprint,
}

impl<K, V: 'static> Below<K, V> {
    pub(crate) fn new(
        tier: AnyTier,
        namespace: Namespace,
        key_bytes: KeyBytesOf<K>,
        key_of: Option<KeyOf<K>>,
        codec: Arc<dyn Codec<V>>,
    ) -> Self {
        let fingerprint = codec.fingerprint();
        Self { tier, namespace, key_bytes, key_of, codec, fingerprint }
    }

    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] for a key beyond the limit: before anything is asked.
    pub(crate) fn path<'k>(&'k self, key: &'k K) -> Result<Path<'k>> {
        let bytes = (self.key_bytes)(key);
        if bytes.len() > Path::KEY_LEN_MAX {
            return Err(Error::new(ErrorKind::TooLarge, "cache", "key").with_detail(format!(
                "{} bytes; the limit is {}",
                bytes.len(),
                Path::KEY_LEN_MAX
            )));
        }
        Ok(Path::new(&self.namespace, bytes))
    }

    pub(crate) fn encode(&self, value: &V) -> Result<Encoded> {
        let mut bytes = Vec::new();
        self.codec.encode(value, &mut bytes)?;
        Ok(Encoded::new(Bytes::from(bytes), self.fingerprint))
    }

    /// A record of a value, decided at `now`.
    pub(crate) fn record(
        &self,
        value: &V,
        deadlines: Deadlines,
        version: Version,
        now: Timestamp,
    ) -> Result<Record> {
        Ok(Record { deadlines, version, ..Record::new(self.encode(value)?, now) })
    }

    /// True if the record was written by this codec and schema, and nobody has shaped its bytes since. If not, another
    /// build may still want it.
    pub(crate) fn is_ours(&self, record: &Record) -> bool {
        record.value.fingerprint == self.fingerprint && record.value.shape.is_plain()
    }

    /// # Errors
    ///
    /// [`ErrorKind::Codec`] for bytes of another codec or shape of type, or that do not decode.
    pub(crate) fn decode(&self, record: &Record) -> Result<V> {
        if !self.is_ours(record) {
            return Err(Error::new(ErrorKind::Codec, "cache", "decode")
                .with_detail("written by another codec or schema"));
        }
        self.codec.decode(&record.value.bytes)
    }

    /// The place of the truth.
    pub(crate) fn truth(&self) -> TierIndex {
        TierIndex(self.tier.depth().saturating_sub(1))
    }

    /// True if the tier at this place is the truth.
    pub(crate) fn is_truth(&self, from: TierIndex) -> bool {
        from >= self.truth()
    }
}
