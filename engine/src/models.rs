//! What the model checker drives that the engine does not show: how one thread protects what another is about to free.
//!
//! Nothing is done here but to pass calls on.

use crate::reclaim;
use crate::sync::{self, AtomicPtr, Ordering};
use std::ptr;

/// To be called where an execution begins.
pub fn begin() {
    sync::begin();
    reclaim::free_leaked();
}

/// Links one node, or none.
#[derive(Debug)]
pub struct Cell<T>(AtomicPtr<T>);

impl<T> Cell<T> {
    #[must_use]
    pub fn empty() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    pub fn link(&self, node: *mut T) {
        self.0.store(node, Ordering::Release);
    }

    pub fn unlink(&self) {
        self.0.store(ptr::null_mut(), Ordering::Release);
    }
}

/// A look that waits for nothing and gives up for nothing.
#[derive(Debug)]
pub struct Guard(reclaim::Guard);

impl Guard {
    #[must_use]
    pub fn enter() -> Self {
        Self(reclaim::Guard::enter())
    }

    pub fn protect<T>(&self, cell: &Cell<T>) -> *mut T {
        self.0.protect(&cell.0)
    }

    /// Whether this thread protects it.
    pub fn is_held_here<T>(node: *mut T) -> bool {
        reclaim::Guard::is_held_here(node)
    }
}

/// The short look.
#[derive(Debug)]
pub struct Glance(reclaim::Glance);

impl Glance {
    #[must_use]
    pub fn begin() -> Option<Self> {
        reclaim::Glance::begin().map(Self)
    }

    pub fn protect<T>(&self, cell: &Cell<T>) -> *mut T {
        self.0.protect(&cell.0)
    }
}

/// The time after which an unlinked node that nobody names is free.
#[derive(Debug, Clone)]
pub struct Grace(reclaim::Grace);

impl Grace {
    #[must_use]
    pub fn begin() -> Self {
        Self(reclaim::Grace::begin())
    }

    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.is_over()
    }

    pub fn hasten(&self) {
        self.0.hasten();
    }
}

/// What all threads name.
#[derive(Debug, Default)]
pub struct Held(reclaim::Held);

impl Held {
    pub fn look(&mut self) {
        self.0.look();
    }

    pub fn holds<T>(&self, node: *mut T) -> bool {
        self.0.holds(node)
    }
}
