//! One value, read by many at once and replaced as a whole: what a slot and a mirror stand on.

use super::{Glance, Grace, Guard, Held, prepare};
use crate::sync::{AtomicPtr, Mutex, Ordering, UnsafeCell};
use std::fmt;

/// A value behind one pointer. A read is one look at it; what is replaced is dropped when nobody reads it any more.
pub(crate) struct Shared<T> {
    current: AtomicPtr<Version<T>>,
    /// Replaced, but still being read when last looked at.
    retired: Mutex<Vec<Owned<T>>>,
}

#[derive(Debug)]
struct Version<T>(UnsafeCell<T>);

/// A version that is unlinked, and this the only place that knows of it, readers apart.
#[derive(Debug)]
struct Owned<T>(*mut Version<T>);

// SAFETY: an `Owned` is the right to drop a `T`, which another thread may do if `T` may be sent to it. Checked by
// the thread sanitizer on `engine/tests/single.rs`.
unsafe impl<T: Send> Send for Owned<T> {}

// SAFETY: what is reached by the pointers is owned: sending a `Shared` sends its values. Checked as above.
unsafe impl<T: Send> Send for Shared<T> {}

// SAFETY: through a `&Shared<T>`, threads get at `&T` (so `T: Sync`), and hand over values that others drop
// (so `T: Send`). Checked as above.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub(crate) fn new(value: T) -> Self {
        prepare();
        Self { current: AtomicPtr::new(boxed(value)), retired: Mutex::new(Vec::new()) }
    }

    /// Shows the value to `f`. No lock, no read-modify-write; the value lives at least until `f` returns.
    #[inline(always)]
    pub(crate) fn read<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        if let Some(glance) = Glance::begin() {
            let version = glance.protect(&self.current);
            if !version.is_null() {
                // SAFETY: what is protected was written before it was linked (release in `put`), and stays
                // while the glance names it: R1; `put` and `flush` keep R2 to R4. Checked by `loom-tests` L8, L9.
                return unsafe { look(version, f) };
            }
        }
        self.read_slowly(f)
    }

    #[cold]
    #[inline(never)]
    fn read_slowly<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        let guard = Guard::enter();
        // Never null.
        let version = guard.protect(&self.current);
        // SAFETY: as in `read`.
        unsafe { look(version, f) }
    }

    /// Puts `value` in place of what is there. All reads that begin after this see it. What was there is dropped by a
    /// later [`flush`](Self::flush): this runs no code of the user's, so it may be called under a lock.
    pub(crate) fn put(&self, value: T) {
        let old = Owned(self.current.swap(boxed(value), Ordering::AcqRel));
        self.retired.lock().push(old);
    }

    /// Drops what was replaced and is not being read. Says how many still are. To be called outside all locks. Costs a
    /// barrier if there is anything to drop.
    pub(crate) fn flush(&self) -> usize {
        let mut batch = std::mem::take(&mut *self.retired.lock());
        if batch.is_empty() {
            return 0;
        }
        // After the look at `retired`: whoever pushed had unlinked before (R2).
        let grace = Grace::begin();
        grace.hasten();
        let mut in_use = Vec::new();
        if grace.is_over() {
            let mut held = Held::none();
            held.look();
            let mut free = Vec::with_capacity(batch.len());
            for version in batch.drain(..) {
                if held.holds(version.0) { in_use.push(version) } else { free.push(Freed(version)) }
            }
            // By dropping the list, which goes on to the others if one panics.
            let waiting = self.put_back(in_use);
            drop(free);
            return waiting;
        }
        self.put_back(batch)
    }

    fn put_back(&self, batch: Vec<Owned<T>>) -> usize {
        let mut retired = self.retired.lock();
        retired.extend(batch);
        retired.len()
    }
}

/// # Safety
///
/// The version is protected for as long as this runs.
#[inline(always)]
unsafe fn look<T, R>(version: *mut Version<T>, f: impl FnOnce(&T) -> R) -> R {
    // SAFETY: as the caller promises.
    unsafe { &*version }.0.with(|value| {
        // SAFETY: as the caller promises; and nobody has a `&mut` to a linked or retired value.
        f(unsafe { &*value })
    })
}

fn boxed<T>(value: T) -> *mut Version<T> {
    Box::into_raw(Box::new(Version(UnsafeCell::new(value))))
}

/// A version that nobody can be reading: dropped with this.
struct Freed<T>(Owned<T>);

impl<T> Drop for Freed<T> {
    fn drop(&mut self) {
        // SAFETY: it came from `boxed`, is unlinked, owned by nobody else (it was moved in here), and its grace is
        // over without any slot naming it (R4); or nobody can be reading since the whole `Shared` is being dropped.
        // Checked by `loom-tests` L8 and L9, and by the address sanitizer on `engine/tests/single.rs`.
        drop(unsafe { Box::from_raw(self.0.0) });
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let current = Freed(Owned(self.current.load(Ordering::Relaxed)));
        let retired: Vec<_> = std::mem::take(&mut *self.retired.lock()).into_iter().map(Freed).collect();
        drop((current, retired));
    }
}

impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
