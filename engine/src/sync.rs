//! The one place that names lock, atomic and cell types, so that a model checker can take their place
//! (`--cfg nanotier_loom`), and a sanitizer can see what it cannot understand (`--cfg nanotier_tsan`).

#[cfg(not(nanotier_loom))]
pub(crate) use self::real::*;

#[cfg(nanotier_loom)]
pub(crate) use self::modelled::*;

pub(crate) use std::sync::OnceLock;
pub(crate) use std::sync::atomic::Ordering;

#[cfg(not(nanotier_loom))]
mod real {
    pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
    pub(crate) use std::sync::Arc;
    pub(crate) use std::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence,
    };
    pub(crate) use std::thread::{self, ThreadId};

    /// [`std::cell::UnsafeCell`] with the interface of the model checker's, which can tell who looks when.
    #[derive(Debug)]
    #[repr(transparent)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        /// A pointer to look through, valid while others only look too.
        #[inline(always)]
        pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        /// A pointer to write through, valid while nobody else looks.
        #[inline(always)]
        pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }

    macro_rules! shared_static {
        ($(#[$attribute:meta])* static $name:ident: $type:ty = $value:expr;) => {
            $(#[$attribute])*
            static $name: $type = $value;
        };
    }
    pub(crate) use shared_static;

    macro_rules! local_static {
        ($(#[$attribute:meta])* static $name:ident: $type:ty = $value:expr;) => {
            thread_local! {
                $(#[$attribute])*
                static $name: $type = const { $value };
            }
        };
    }
    pub(crate) use local_static;

    /// Makes a function constant where the primitives in it are.
    macro_rules! const_fn {
        ($(#[$attribute:meta])* $visibility:vis fn $($rest:tt)*) => {
            $(#[$attribute])*
            $visibility const fn $($rest)*
        };
    }
    pub(crate) use const_fn;

    pub(crate) fn yield_now() {
        thread::yield_now();
    }

    /// Memory that lives as long as the process.
    pub(crate) fn leak<T>(value: T) -> &'static mut T {
        Box::leak(Box::new(value))
    }
}

#[cfg(nanotier_loom)]
mod modelled {
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::sync::Arc;
    pub(crate) use loom::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence,
    };
    pub(crate) use loom::thread::ThreadId;
    use std::cell::RefCell;
    use std::ops::{Deref, DerefMut};

    /// Threads are the model checker's, which take turns on one thread of the system's.
    pub(crate) mod thread {
        pub(crate) use loom::thread::current;
        pub(crate) use std::thread::available_parallelism;
    }

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
        /// Frees it. One thread of the system's runs all threads of an execution, and all executions of a model.
        static LEAKED: RefCell<Vec<Box<dyn FnOnce()>>> = const { RefCell::new(Vec::new()) };
    }

    /// Memory that lives as long as the execution, which is what a process is to a model.
    #[expect(unsafe_code, reason = "frees what must live as long as everything else that is modelled")]
    pub(crate) fn leak<T: 'static>(value: T) -> &'static mut T {
        let leaked = Box::into_raw(Box::new(value));
        // SAFETY: from a box, and freed once; the next execution knows nothing of what this one could reach.
        let free = move || drop(unsafe { Box::from_raw(leaked) });
        LEAKED.with_borrow_mut(|others| others.push(Box::new(free)));
        // SAFETY: as above; and nobody else has it yet.
        unsafe { &mut *leaked }
    }

    /// To be called where an execution begins.
    pub(crate) fn free_leaked() {
        LEAKED.take().into_iter().for_each(|free| free());
    }
}
