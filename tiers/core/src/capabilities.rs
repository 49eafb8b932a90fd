//! What a tier can promise, so that nobody has to guess.

use std::time::Duration;

/// How widely a tier is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// This process alone.
    Process,
    /// The processes of this host.
    Host,
    /// Every host that can reach the service.
    Fleet,
}

/// What an acknowledged write survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Durability {
    /// Nothing: it is gone with the process, or when the service evicts it.
    Volatile,
    /// A crash, but for writes acknowledged within this time before it.
    Async {
        /// The longest time before a crash whose writes may be lost.
        loss_window: Duration,
    },
    /// A crash and a power cut.
    Sync,
}

/// What a tier can do and how well.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// How widely it is shared.
    pub scope: Scope,
    /// What an acknowledged write survives.
    pub durability: Durability,
    /// The steps in which it counts lifetimes; they round up.
    pub ttl_grain: Duration,
    /// How long a tombstone is kept.
    pub horizon: Duration,
    /// True if it may forget a tombstone sooner, under pressure. It must then hand out leases on a miss:
    /// they keep a slow load from filling over a forgotten removal. They do not keep out a late put, or
    /// a promotion into such a tier where it is a copy: what is older may be seen there again until it
    /// is rechecked.
    pub may_evict_tombstones: bool,
    /// True if [`update`](crate::Tier::update) works.
    pub updates: bool,
    /// True if [`list`](crate::Tier::list) works.
    pub lists: bool,
    /// True if it tells of foreign writes and of gaps in the telling.
    pub watches: bool,
    /// True if it answers on the calling thread, without waiting for anything but its own disk.
    pub embedded: bool,
    /// True if expiry is judged by a clock of its own, not the caller's.
    pub own_clock: bool,
    /// True if values lie encrypted in it, or in any tier of a chain. Whoever copies them elsewhere is not to leave them in
    /// the clear there.
    pub encrypts: bool,
    /// The largest value, in bytes.
    pub value_len_max: usize,
}

impl Capabilities {
    /// A volatile tier of `scope` that can do the least; change what is better.
    #[must_use]
    pub fn new(scope: Scope) -> Self {
        Self {
            scope,
            durability: Durability::Volatile,
            ttl_grain: Duration::from_millis(1),
            horizon: Duration::from_secs(60),
            may_evict_tombstones: false,
            updates: false,
            lists: false,
            watches: false,
            embedded: false,
            own_clock: false,
            encrypts: false,
            value_len_max: 512 * 1024 * 1024,
        }
    }
}
