//! The one place that names lock, atomic and cell types, so that a model checker can take their place
//! (`--cfg nanotier_loom`), and a sanitizer can see what it cannot understand (`--cfg nanotier_tsan`).

#[cfg(not(nanotier_loom))]
pub(crate) use self::real::*;

#[cfg(nanotier_loom)]
pub(crate) use self::modelled::*;

pub(crate) use std::sync::OnceLock;
pub(crate) use std::sync::atomic::Ordering;
pub(crate) use std::thread::ThreadId;

#[cfg(not(nanotier_loom))]
mod real {
    pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
    pub(crate) use std::sync::Arc;
    pub(crate) use std::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence,
    };
    pub(crate) use std::thread;

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
}

#[cfg(nanotier_loom)]
mod modelled {
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::sync::Arc;
    pub(crate) use loom::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence,
    };
    /// Threads as such are the standard library's: models start theirs themselves.
    pub(crate) use std::thread;

    /// [`loom::sync::Mutex`] with the interface of `parking_lot`'s.
    #[derive(Debug)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    pub(crate) type MutexGuard<'a, T> = loom::sync::MutexGuard<'a, T>;

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("loom's locks are not poisoned")
        }

        pub(crate) fn get_mut(&mut self) -> &mut T {
            self.0.get_mut().expect("loom's locks are not poisoned")
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
            replace_with(guard, |guard| self.0.wait(guard).expect("loom's locks are not poisoned"));
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }

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
}
