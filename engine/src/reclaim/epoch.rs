//! crossbeam-epoch behind the same interface: an oracle for the tests (`--cfg nanotier_epoch`).
//!
//! A stopped reader holds up all reclamation here, so memory is not bounded; which is why it is the oracle only.

use crate::sync::{Arc, AtomicBool, AtomicPtr, Ordering};
use crossbeam_epoch::{Collector, LocalHandle};
use std::sync::OnceLock;

/// Our own: somebody else's readers must not hold up ours.
fn collector() -> &'static Collector {
    static COLLECTOR: OnceLock<Collector> = OnceLock::new();
    COLLECTOR.get_or_init(Collector::new)
}

thread_local! {
    static HANDLE: LocalHandle = collector().register();
}

fn pin() -> crossbeam_epoch::Guard {
    HANDLE.try_with(LocalHandle::pin).unwrap_or_else(|_| collector().register().pin())
}

pub(crate) fn prepare() {}

/// Counters then share one line.
pub(crate) fn stripe() -> Option<usize> {
    None
}

#[derive(Debug)]
pub(crate) struct Guard {
    _pinned: crossbeam_epoch::Guard,
}

impl Guard {
    pub(crate) fn enter() -> Self {
        Self { _pinned: pin() }
    }

    pub(crate) fn protect<T>(&self, cell: &AtomicPtr<T>) -> *mut T {
        cell.load(Ordering::Acquire)
    }

    #[expect(clippy::unused_self, reason = "as the other strategy has it")]
    pub(crate) fn name<T>(&self, _: *mut T) {}

    pub(crate) fn is_held_here<T>(_: *mut T) -> bool {
        HANDLE.try_with(LocalHandle::is_pinned).unwrap_or(true)
    }
}

/// No shorter way here.
#[derive(Debug)]
pub(crate) struct Glance(Guard);

impl Glance {
    pub(crate) fn begin() -> Option<Self> {
        Some(Self(Guard::enter()))
    }

    #[expect(clippy::unused_self, reason = "as the other strategy has it")]
    pub(crate) fn stripe(&self) -> Option<usize> {
        stripe()
    }

    pub(crate) fn protect<T>(&self, cell: &AtomicPtr<T>) -> *mut T {
        self.0.protect(cell)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Grace {
    over: Arc<AtomicBool>,
}

impl Grace {
    pub(crate) fn begin() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let guard = pin();
        guard.defer(move || told.store(true, Ordering::Release));
        guard.flush();
        Self { over }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    #[expect(clippy::unused_self, reason = "as the other strategy has it")]
    pub(crate) fn is_ending(&self) -> bool {
        false
    }

    /// Cannot end it while a reader is pinned, and gives up if one is for long.
    pub(crate) fn hasten(&self) {
        for _ in 0..PATIENCE {
            if self.is_over() {
                return;
            }
            pin().flush();
            std::thread::yield_now();
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Held;

impl Held {
    pub(crate) const fn none() -> Self {
        Self
    }

    #[expect(clippy::unused_self, reason = "as the other strategy has it")]
    pub(crate) fn look(&mut self) {}

    #[expect(clippy::unused_self, reason = "as the other strategy has it")]
    pub(crate) fn holds<T>(&self, _: *mut T) -> bool {
        false
    }

    #[expect(clippy::unused_self, reason = "as the other strategy has it")]
    pub(crate) fn is_empty(&self) -> bool {
        true
    }

    #[expect(clippy::unused_self, reason = "as the other strategy has it")]
    pub(crate) fn bytes(&self) -> usize {
        0
    }
}

/// How often readers are asked whether they are through.
const PATIENCE: usize = 200;
