//! A look at nodes: a slot, for as long as the look lasts.

use super::barrier::{light, lightest};
use super::record::{self, FREE, Record, borrow_shared, names, own_or_new};
use crate::sync::{AtomicPtr, AtomicUsize, Ordering};
use std::marker::PhantomData;
use std::ptr;

/// One slot of this thread. It protects one node at a time: the last that [`protect`](Self::protect) answered.
///
/// Neither leaked nor sent to another thread by anyone in this crate: each is a local of one function.
#[derive(Debug)]
pub(crate) struct Guard {
    slot: &'static AtomicUsize,
    _of_this_thread: PhantomData<*const ()>,
}

impl Guard {
    /// A slot that names nothing yet.
    #[inline(never)]
    pub(crate) fn enter() -> Self {
        let mut own = own_or_new().into_iter().flat_map(|record| &record.slots);
        if let Some(slot) = own.find(|slot| slot.load(Ordering::Relaxed) == FREE) {
            return Self { slot, _of_this_thread: PhantomData };
        }
        Self { slot: borrow_shared(), _of_this_thread: PhantomData }
    }

    /// What `cell` points to, named, and still there when it was looked at again (R1). Null is answered as it is.
    /// What was protected before is no longer.
    ///
    /// What this answers stays as it is until the guard is dropped or asked again, if whoever unlinks it from
    /// `cell` keeps to R2 to R4.
    pub(crate) fn protect<T>(&self, cell: &AtomicPtr<T>) -> *mut T {
        // Acquire: whoever finds null sees what was done before it was written.
        let mut found = cell.load(Ordering::Acquire);
        loop {
            if found.is_null() {
                return found;
            }
            self.name(found);
            // Acquire: no look into the node comes before this, and what was written into it before it was
            // linked is seen.
            let again = cell.load(Ordering::Acquire);
            if again == found {
                return found;
            }
            found = again;
        }
    }

    /// Names a node that is linked and cannot be unlinked before this returns, since the caller has the lock that
    /// whoever unlinks must take.
    #[inline]
    pub(crate) fn name<T>(&self, node: *mut T) {
        // Release: this may take the place of the name of a node that was looked into.
        self.slot.store(node.addr(), Ordering::Release);
        light();
    }

    /// Whether a look of this thread protects `node`.
    pub(crate) fn is_held_here<T>(node: *mut T) -> bool {
        names(node.addr())
    }
}

impl Drop for Guard {
    #[inline(always)]
    fn drop(&mut self) {
        // Release: all that was read comes before.
        self.slot.store(FREE, Ordering::Release);
    }
}

/// As [`Guard`], but only for who is not in a look already, on a thread that has a record, where the lightest barrier
/// will do: which is nearly always. Whoever does not get one, or nothing by it, makes a guard.
#[derive(Debug)]
pub(crate) struct Glance {
    /// Whose first slot this is.
    record: &'static Record,
    _of_this_thread: PhantomData<*const ()>,
}

impl Glance {
    #[inline(always)]
    pub(crate) fn begin() -> Option<Self> {
        let record = record::light();
        if record.slots[0].load(Ordering::Relaxed) != FREE {
            return None;
        }
        Some(Self { record, _of_this_thread: PhantomData })
    }

    /// As [`stripe`](super::stripe).
    #[inline(always)]
    pub(crate) fn stripe(&self) -> Option<usize> {
        Some(self.record.number)
    }

    /// As [`Guard::protect`], but gives up with null if the cell changes meanwhile.
    #[inline(always)]
    pub(crate) fn protect<T>(&self, cell: &AtomicPtr<T>) -> *mut T {
        let found = cell.load(Ordering::Relaxed);
        // Release, and acquire: as in `Guard`.
        self.record.slots[0].store(found.addr(), Ordering::Release);
        lightest();
        if cell.load(Ordering::Acquire) == found { found } else { ptr::null_mut() }
    }
}

impl Drop for Glance {
    #[inline(always)]
    fn drop(&mut self) {
        // Release: all that was read comes before.
        self.record.slots[0].store(FREE, Ordering::Release);
    }
}
