//! The one place that names lock, atomic and cell types, so that a model checker can take their place
//! (`--cfg nanotier_loom`), and a sanitizer can see what it cannot understand (`--cfg nanotier_tsan`).

#[cfg(not(nanotier_loom))]
pub(crate) use self::real::*;

#[cfg(nanotier_loom)]
pub(crate) use self::modelled::*;

pub(crate) use std::sync::OnceLock;
pub(crate) use std::sync::atomic::Ordering;

/// Tells threads that live at the same time apart, for less than a [`std::thread::ThreadId`] costs.
pub(crate) fn this_thread() -> usize {
    local_static! {
        static PLACE: u8 = 0;
    }
    // Without a destructor, so it can be reached to the very end of its thread.
    PLACE.try_with(|place| std::ptr::from_ref(place).addr()).unwrap_or_default()
}

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
mod modelled;
