//! The time that must pass between unlinking a node and using its memory again.

use super::barrier::{full, heavy};
use super::record::{CLAIMED, records};
use crate::sync::{AtomicU64, Ordering, const_fn, shared_static};

/// The heavy barriers of the process, counted: one serves all who wait for one.
#[derive(Debug)]
struct Barriers {
    begun: AtomicU64,
    /// The highest number among those that have ended.
    ended: AtomicU64,
}

impl Barriers {
    const_fn! {
        fn new() -> Self {
            Self { begun: AtomicU64::new(0), ended: AtomicU64::new(0) }
        }
    }
}

shared_static! {
    static BARRIERS: Barriers = Barriers::new();
}

/// Begun after something was unlinked; over when a heavy barrier has begun since, and ended.
#[derive(Debug, Clone)]
pub(crate) struct Grace {
    /// How many barriers had begun.
    begun: u64,
}

impl Grace {
    /// What this thread has unlinked so far, and what it knows others to have, is covered.
    #[inline]
    pub(crate) fn begin() -> Self {
        // Between the unlinking stores and the load: when a barrier that the load does not count begins, the stores are
        // seen everywhere. That they are seen when it ends would not do: a reader that it reached at once, and who named
        // the node and looked again only then, must see them, too.
        full();
        Self { begun: BARRIERS.begun.load(Ordering::Relaxed) }
    }

    /// Whether it is over. What is then held is said by [`Held::look`].
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        // Acquire: what the slots held at that barrier is seen.
        BARRIERS.ended.load(Ordering::Acquire) > self.begun
    }

    /// Whether some thread is making a barrier that will end it, or has.
    #[inline]
    pub(crate) fn is_ending(&self) -> bool {
        BARRIERS.begun.load(Ordering::Relaxed) > self.begun
    }

    /// Ends it, by a barrier if nobody else has made one. Costs 2 to 3 µs with another processor at work; best
    /// called outside locks.
    #[cold]
    pub(crate) fn hasten(&self) {
        if self.is_over() {
            return;
        }
        let number = BARRIERS.begun.fetch_add(1, Ordering::SeqCst) + 1;
        heavy();
        BARRIERS.ended.fetch_max(number, Ordering::Release);
    }
}

/// The nodes that some thread may be looking at. Reused, so that a steady state allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Held {
    addresses: Vec<usize>,
}

impl Held {
    pub(crate) const fn none() -> Self {
        Self { addresses: Vec::new() }
    }

    /// Looks at all threads' slots. Of what was unlinked before a grace that is over by now, only what this sees is
    /// in use.
    pub(crate) fn look(&mut self) {
        self.addresses.clear();
        let named = records()
            .flat_map(|record| &record.slots)
            // Acquire: what the reader read before it cleared or changed the slot comes before what we do next.
            .map(|slot| slot.load(Ordering::Acquire))
            .filter(|&address| address > CLAIMED);
        self.addresses.extend(named);
    }

    #[inline]
    pub(crate) fn holds<T>(&self, node: *mut T) -> bool {
        self.addresses.contains(&node.addr())
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.addresses.capacity() * size_of::<usize>()
    }
}
