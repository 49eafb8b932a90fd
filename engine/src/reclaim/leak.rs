//! Memory that is never freed: it lives as long as the process; under the model checker, as long as the execution, which
//! is what a process is to a model.

#[cfg(not(nanotier_loom))]
pub(super) fn leak<T>(value: T) -> &'static mut T {
    Box::leak(Box::new(value))
}

#[cfg(nanotier_loom)]
pub(crate) use self::modelled::free_leaked;
#[cfg(nanotier_loom)]
pub(super) use self::modelled::leak;

#[cfg(nanotier_loom)]
mod modelled {
    use std::cell::RefCell;

    thread_local! {
        /// Frees it. One thread of the system's runs all threads of an execution, and all executions of a model.
        static LEAKED: RefCell<Vec<Box<dyn FnOnce()>>> = const { RefCell::new(Vec::new()) };
    }

    pub(in crate::reclaim) fn leak<T: 'static>(value: T) -> &'static mut T {
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
