//! The one place that names what the ticker is made of, so that a model checker can take its place
//! (`--cfg nanotier_loom`).

#[cfg(not(nanotier_loom))]
pub(crate) use self::real::*;

#[cfg(nanotier_loom)]
pub(crate) use self::modelled::*;

#[cfg(not(nanotier_loom))]
mod real {
    pub(crate) use crate::os::{steady_ms, unix_ms};
    pub(crate) use std::process::id as process_id;
    pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
    use std::time::Duration;

    /// False if the system gives no thread.
    pub(crate) fn spawn(name: &str, f: impl FnOnce() + Send + 'static) -> bool {
        std::thread::Builder::new().name(name.into()).spawn(f).is_ok()
    }

    pub(crate) fn sleep(time: Duration) {
        std::thread::sleep(time);
    }

    macro_rules! shared_static {
        ($(#[$attribute:meta])* static $name:ident: $type:ty = $value:expr;) => {
            $(#[$attribute])*
            static $name: $type = $value;
        };
    }
    pub(crate) use shared_static;

    /// Makes a function constant where the primitives in it are.
    macro_rules! const_fn {
        ($visibility:vis fn $($rest:tt)*) => {
            $visibility const fn $($rest)*
        };
    }
    pub(crate) use const_fn;
}

/// One process; a time that goes on by one with each question; a thread that takes turns with the others.
#[cfg(nanotier_loom)]
mod modelled {
    pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
    use std::cell::Cell;
    use std::time::Duration;

    thread_local! {
        /// The system's, which orders nothing: the threads of a model take turns on one thread.
        static TIME: Cell<u64> = const { Cell::new(1) };
    }

    pub(crate) fn steady_ms() -> u64 {
        TIME.replace(TIME.get() + 1)
    }

    pub(crate) fn unix_ms() -> u64 {
        steady_ms()
    }

    pub(crate) fn process_id() -> u32 {
        1
    }

    pub(crate) fn spawn(_: &str, f: impl FnOnce() + Send + 'static) -> bool {
        loom::thread::spawn(f);
        true
    }

    pub(crate) fn sleep(_: Duration) {
        loom::thread::yield_now();
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

    macro_rules! const_fn {
        ($visibility:vis fn $($rest:tt)*) => {
            $visibility fn $($rest)*
        };
    }
    pub(crate) use const_fn;
}
