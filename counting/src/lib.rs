//! A counting allocator for nanotier's own tests.
//!
//! "A hit allocates nothing" and "memory in use stays within the limit" are promises; a test binary checks them
//! by making [`CountingAllocator`] its global allocator:
//!
//! ```
//! use nanotier_counting::{CountingAllocator, count_allocations};
//!
//! #[global_allocator]
//! static ALLOCATOR: CountingAllocator = CountingAllocator;
//!
//! let (sum, allocations) = count_allocations(|| 1 + 1);
//! assert_eq!((sum, allocations), (2, 0));
//! let (_boxed, allocations) = count_allocations(|| Box::new(sum));
//! assert_eq!(allocations, 1);
//! ```
//!
//! Two kinds of figure, because two kinds of question are asked. The *number* of allocations is kept per thread:
//! whoever asks "did this call allocate?" must not hear about other threads. *Bytes* are kept for the whole
//! process: memory allocated by one thread is freed by another.
//!
//! A program that also measures time takes [`SwitchedAllocator`] instead: it counts only while told to.
//!
//! This is the one package outside the engine that contains unsafe code, and it is never published.
#![expect(
    unsafe_code,
    reason = "an allocator cannot be written without; tests get it from here and stay safe"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// The system's allocator, with every call counted.
#[derive(Debug, Default, Clone, Copy)]
pub struct CountingAllocator;

/// The system's allocator, with calls counted only between [`switch_on`] and [`switch_off`].
///
/// Counting costs two atomic additions per call, on words that all threads share: whoever measures time must
/// not pay for that. While off, what is left of it is one load. Bytes allocated while off and freed while on
/// are counted as freed, so figures are to be taken from what was both made and measured while on.
#[derive(Debug, Default, Clone, Copy)]
pub struct SwitchedAllocator;

/// Lets [`SwitchedAllocator`] count, for all threads. [`CountingAllocator`] always does.
pub fn switch_on() {
    SWITCHED_ON.store(true, Ordering::Relaxed);
}

/// Ends what [`switch_on`] began.
pub fn switch_off() {
    SWITCHED_ON.store(false, Ordering::Relaxed);
}

/// How many allocations the calling thread has made so far. Growing or shrinking in place counts as one.
#[must_use]
pub fn allocations_of_this_thread() -> u64 {
    ALLOCATIONS.get()
}

/// Bytes that the process has allocated and not freed.
///
/// Signed: while threads allocate and free, the sum may for an instant be seen without the allocation that
/// belongs to an already counted release.
#[must_use]
pub fn bytes_in_use() -> i64 {
    BYTES_IN_USE.load(Ordering::Relaxed)
}

/// The most that [`bytes_in_use`] has been since the process began, or since [`forget_peak`].
#[must_use]
pub fn bytes_peak() -> i64 {
    BYTES_PEAK.load(Ordering::Relaxed)
}

/// Lets [`bytes_peak`] begin anew from what is in use now.
pub fn forget_peak() {
    BYTES_PEAK.store(bytes_in_use(), Ordering::Relaxed);
}

/// Runs `f` and says how many allocations this thread made meanwhile.
///
/// # Panics
///
/// If nothing is counted, because the global allocator is another one or is switched off: every count would be
/// zero and prove nothing.
pub fn count_allocations<R>(f: impl FnOnce() -> R) -> (R, u64) {
    assert!(is_installed(), "no `#[global_allocator]` of this package counts in this binary");
    let before = allocations_of_this_thread();
    let result = f();
    (result, allocations_of_this_thread() - before)
}

fn is_installed() -> bool {
    let before = allocations_of_this_thread();
    // The optimiser may leave out an allocation that nobody looks at.
    drop(black_box(Box::new(black_box(0_u8))));
    allocations_of_this_thread() > before
}

// SAFETY: every method hands its arguments to `System` unchanged and returns what `System` returns, so whatever
// `System` guarantees holds here too. The counting in between cannot unwind (wrapping and atomic arithmetic) and
// cannot call the allocator again (see `ALLOCATIONS`).
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: our caller promises that `layout` has a size above zero, which is all that `System` asks.
        let block = unsafe { System.alloc(layout) };
        count_new(block, layout.size());
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `alloc`.
        let block = unsafe { System.alloc_zeroed(layout) };
        count_new(block, layout.size());
        block
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size_new: usize) -> *mut u8 {
        // SAFETY: our caller promises that `block` came from this allocator with this `layout`, and that means
        // from `System`, and that `size_new` is above zero and fits an `isize` once rounded up.
        let moved = unsafe { System.realloc(block, layout, size_new) };
        if !moved.is_null() {
            ALLOCATIONS.set(ALLOCATIONS.get().wrapping_add(1));
            count_bytes(bytes(size_new) - bytes(layout.size()));
        }
        moved
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count_bytes(-bytes(layout.size()));
        // SAFETY: our caller promises that `block` came from this allocator with this `layout`, and that means
        // from `System`; nobody uses it any more.
        unsafe { System.dealloc(block, layout) }
    }
}

// SAFETY: every method hands its arguments unchanged to `CountingAllocator` or to `System`, and the former
// hands them to `System` in turn: blocks of the one are blocks of the other, so the switch may be thrown at any
// time.
unsafe impl GlobalAlloc for SwitchedAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_on() {
            // SAFETY: our caller promises what `alloc` asks, which is the same for both.
            unsafe { CountingAllocator.alloc(layout) }
        } else {
            // SAFETY: as above.
            unsafe { System.alloc(layout) }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_on() {
            // SAFETY: as in `alloc`.
            unsafe { CountingAllocator.alloc_zeroed(layout) }
        } else {
            // SAFETY: as in `alloc`.
            unsafe { System.alloc_zeroed(layout) }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size_new: usize) -> *mut u8 {
        if is_on() {
            // SAFETY: our caller promises that `block` came from this allocator with this `layout`, and that
            // means from `System`, and that `size_new` is above zero and fits an `isize` once rounded up.
            unsafe { CountingAllocator.realloc(block, layout, size_new) }
        } else {
            // SAFETY: as above.
            unsafe { System.realloc(block, layout, size_new) }
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if is_on() {
            // SAFETY: our caller promises that `block` came from this allocator with this `layout`, and that
            // means from `System`; nobody uses it any more.
            unsafe { CountingAllocator.dealloc(block, layout) };
        } else {
            // SAFETY: as above.
            unsafe { System.dealloc(block, layout) };
        }
    }
}

#[inline]
fn is_on() -> bool {
    // Relaxed: nothing else is read on the strength of it.
    SWITCHED_ON.load(Ordering::Relaxed)
}

/// A null `block` is an allocation that failed: nothing came into use.
fn count_new(block: *mut u8, size: usize) {
    if !block.is_null() {
        ALLOCATIONS.set(ALLOCATIONS.get().wrapping_add(1));
        count_bytes(bytes(size));
    }
}

fn count_bytes(change: i64) {
    // Relaxed, both: these are figures, and no other memory is read on the strength of them.
    let in_use = BYTES_IN_USE.fetch_add(change, Ordering::Relaxed) + change;
    if change > 0 {
        BYTES_PEAK.fetch_max(in_use, Ordering::Relaxed);
    }
}

/// `Layout` keeps sizes within `isize`, so no size is cut here.
fn bytes(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

thread_local! {
    /// Written and read by its own thread only. Constant at first and without a destructor: touching it neither
    /// allocates nor registers anything, so the allocator may do so from a thread's first breath to its last,
    /// also after the destructors of other thread-locals ran.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Written by `switch_on` and `switch_off`; read by every call of `SwitchedAllocator`.
static SWITCHED_ON: AtomicBool = AtomicBool::new(false);

/// Written by every allocation and release of every thread; read by tests.
static BYTES_IN_USE: AtomicI64 = AtomicI64::new(0);

/// Written by every allocation of every thread and by `forget_peak`; read by tests.
static BYTES_PEAK: AtomicI64 = AtomicI64::new(0);
