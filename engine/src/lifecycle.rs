//! What a cache's owner may say about its entries: how heavy, whether dead, and what to do when one leaves.
//!
//! The hooks are static, so that the defaults compile to nothing.

/// Hooks into the life of an entry. All have defaults; [`Plain`] is all defaults.
///
/// Hooks are user code: they may panic. A panic reaches the caller whose operation ran the hook, and leaves the
/// engine consistent: its structure, its length and its weight.
///
/// | hook | when | under a lock? |
/// |---|---|---|
/// | [`weight`](Self::weight) | once per value that wants in | no (in `compute`: yes) |
/// | [`is_dead`](Self::is_dead) | on every look at an entry, hits included: keep it to a comparison | on a hit no, else yes |
/// | [`on_leave`](Self::on_leave) | after an entry left | no: it may use the engine freely |
pub trait Lifecycle<K, V>: Send + Sync + 'static {
    /// Whether `on_leave` does anything. Say `false` where it is left out: no queue keeps the order of departures
    /// then.
    const LISTENS: bool = true;

    /// Whether `is_dead` ever says yes. Say `false` where it is left out: inserts then look for no dead entries.
    const EXPIRES: bool = true;

    /// Whether `weight` ever says anything but 1. Say `false` where it is left out: it is not asked then, and the
    /// engine makes its tables as large as the capacity at once, up to some 30 thousand entries a shard.
    const WEIGHS: bool = true;

    /// What this entry takes of the capacity. What weighs more than the capacity is rejected. Asked once, remembered
    /// with the entry; a later different answer changes nothing. Zero is allowed: such an entry takes nothing of the
    /// capacity, so nothing bounds how many of them there are.
    #[inline]
    fn weight(&self, _key: &K, _value: &V) -> u64 {
        1
    }

    /// Whether the entry has expired. Reads see a miss for a dead entry, and it leaves before live ones do: each
    /// insert looks at a few entries in turn and lets the dead ones go before it evicts.
    #[inline]
    fn is_dead(&self, _key: &K, _value: &V) -> bool {
        false
    }

    /// An entry left. Called outside all locks, for each key in the order in which its values left. It is shown, not
    /// given: others may be reading it still.
    ///
    /// To keep that order, one thread at a time delivers for a shard: the call may run on a thread other than the
    /// one that made the entry leave, and that one may have returned already. When more than 1024 departures wait
    /// in one shard, writers to it (other than listeners) wait for the delivery to catch up. So a listener may
    /// call the engine, but must not wait for a thread that writes to it.
    ///
    /// Not called for values handed to the caller ([`take`](crate::Engine::take),
    /// [`take_if`](crate::Engine::take_if)), for values that were never admitted, nor when the engine itself
    /// is dropped. When it panics, the remaining departures are still delivered; then the panic goes on in the
    /// thread that delivered.
    #[inline]
    fn on_leave(&self, _key: &K, _value: &V, _cause: Cause) {}
}

/// No hooks: every entry weighs 1, lives until it is evicted or removed, and leaves unheard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Plain;

impl<K, V> Lifecycle<K, V> for Plain {
    const LISTENS: bool = false;
    const EXPIRES: bool = false;
    const WEIGHS: bool = false;
}

/// Why an entry left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// It was dead when it left, whatever made it leave (except `clear`, which does not ask).
    Expired,
    /// It was evicted to make room.
    Capacity,
    /// A newer value for its key came; also when that newer value was then rejected as too heavy.
    Replaced,
    /// It was removed by name: `remove`, `compute`, `retain`, `clear`.
    Explicit,
}
