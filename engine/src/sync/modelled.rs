//! Primitives that the model checker (loom) interleaves, with the interface of those that ship.

use super::Ordering;
pub(crate) use loom::cell::UnsafeCell;
pub(crate) use loom::sync::Arc;
use loom::sync::atomic as checked;
pub(crate) use loom::sync::atomic::fence;
use std::cell::Cell;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// Threads are the model checker's, which take turns on one thread of the system's.
pub(crate) mod thread {
    pub(crate) use std::thread::available_parallelism;
}

/// As many threads as a model may have, the one that begins it included.
pub(crate) const THREADS_MAX: usize = 4;

/// Of one thread, counted from 0 in the order in which they first do something; `None` when it is ending.
pub(crate) fn number() -> Option<usize> {
    let own = NUMBER.try_with(|own| {
        let number = own.get().unwrap_or_else(|| NUMBERED.replace(NUMBERED.get() + 1));
        own.set(Some(number));
        number
    });
    own.ok()
}

loom::thread_local! {
    static NUMBER: Cell<Option<usize>> = Cell::new(None);
}

/// What the checker needs to find all orders of loads and stores. It remembers the last access of each place alone, and
/// looks for a race of each store with that one: of a load by one thread, a load by another, and a store by the other,
/// it would never turn the first and the last round. So each thread has a place of its own beside each atomic, at which
/// its loads meet the stores of all others.
#[derive(Debug)]
struct Meeting {
    loads: [checked::AtomicBool; THREADS_MAX],
}

impl Meeting {
    fn new() -> Self {
        Self { loads: std::array::from_fn(|_| checked::AtomicBool::new(false)) }
    }

    fn loads(&self) {
        if let Some(own) = number() {
            self.loads[own].swap(true, Ordering::Relaxed);
        }
    }

    fn stores(&self) {
        let own = number();
        for (_, others) in (0..NUMBERED.get()).zip(&self.loads).filter(|(nth, _)| Some(*nth) != own) {
            others.swap(true, Ordering::Relaxed);
        }
    }
}

/// One of loom's atomics, and its meeting.
macro_rules! atomic {
    ($name:ident $(<$parameter:ident>)?, $value:ty) => {
        pub(crate) struct $name $(<$parameter>)? {
            value: checked::$name $(<$parameter>)?,
            meeting: Meeting,
        }

        impl $(<$parameter>)? fmt::Debug for $name $(<$parameter>)? {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.value.fmt(f)
            }
        }

        // Not each has all of them in the engine.
        #[allow(dead_code)]
        impl $(<$parameter>)? $name $(<$parameter>)? {
            pub(crate) fn new(value: $value) -> Self {
                Self { value: checked::$name::new(value), meeting: Meeting::new() }
            }

            pub(crate) fn load(&self, ordering: Ordering) -> $value {
                self.meeting.loads();
                self.value.load(ordering)
            }

            pub(crate) fn store(&self, value: $value, ordering: Ordering) {
                self.meeting.stores();
                self.value.store(value, ordering);
            }

            pub(crate) fn swap(&self, value: $value, ordering: Ordering) -> $value {
                self.meeting.stores();
                self.value.swap(value, ordering)
            }

            pub(crate) fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.meeting.loads();
                self.meeting.stores();
                self.value.compare_exchange(current, new, success, failure)
            }
        }
    };
}

macro_rules! number {
    ($name:ident, $value:ty) => {
        atomic!($name, $value);

        #[allow(dead_code)]
        impl $name {
            pub(crate) fn fetch_add(&self, value: $value, ordering: Ordering) -> $value {
                self.meeting.stores();
                self.value.fetch_add(value, ordering)
            }

            pub(crate) fn fetch_max(&self, value: $value, ordering: Ordering) -> $value {
                self.meeting.stores();
                self.value.fetch_max(value, ordering)
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new(0)
            }
        }
    };
}

atomic!(AtomicBool, bool);
atomic!(AtomicPtr<T>, *mut T);
number!(AtomicU8, u8);
number!(AtomicU32, u32);
number!(AtomicU64, u64);
number!(AtomicUsize, usize);

/// [`loom::sync::Mutex`] with the interface of `parking_lot`'s.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

/// Without a guard only while a [`Condvar`] has it.
#[derive(Debug)]
pub(crate) struct MutexGuard<'a, T>(Option<loom::sync::MutexGuard<'a, T>>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(Some(self.0.lock().expect(UNPOISONED)))
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok().map(|guard| MutexGuard(Some(guard)))
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().expect(UNPOISONED)
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect(LOCKED)
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect(LOCKED)
    }
}

/// [`loom::sync::Condvar`] with the interface of `parking_lot`'s.
#[derive(Debug)]
pub(crate) struct Condvar(loom::sync::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self(loom::sync::Condvar::new())
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let released = guard.0.take().expect(LOCKED);
        guard.0 = Some(self.0.wait(released).expect(UNPOISONED));
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

const UNPOISONED: &str = "the model checker's locks are not poisoned";
const LOCKED: &str = "a guard that is not waiting has the lock";

macro_rules! shared_static {
    ($(#[$attribute:meta])* static $name:ident: $type:ty = $value:expr;) => {
        loom::lazy_static! {
            $(#[$attribute])*
            static ref $name: $type = $value;
        }
    };
}
pub(crate) use shared_static;

macro_rules! local_static {
    ($(#[$attribute:meta])* static $name:ident: $type:ty = $value:expr;) => {
        loom::thread_local! {
            $(#[$attribute])*
            static $name: $type = $value;
        }
    };
}
pub(crate) use local_static;

macro_rules! const_fn {
    ($(#[$attribute:meta])* $visibility:vis fn $($rest:tt)*) => {
        $(#[$attribute])*
        $visibility fn $($rest)*
    };
}
pub(crate) use const_fn;

pub(crate) fn yield_now() {
    loom::thread::yield_now();
}

thread_local! {
    /// One thread of the system's runs all threads of an execution, and all executions of a model. How many threads of this execution have a number.
    static NUMBERED: Cell<usize> = const { Cell::new(0) };
}

/// To be called where an execution begins.
pub(crate) fn begin() {
    NUMBERED.set(0);
}
