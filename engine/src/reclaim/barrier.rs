//! Two barriers that meet: the light one, of which readers make one per look, and the heavy one, of which writers
//! make one per many retired nodes. Of two threads of which one makes the light and the other the heavy barrier,
//! each between a store and a load, at least one sees the other's store.

use crate::sync::{Ordering, fence};

/// The reader's side, between a store and a load. For anyone.
#[inline(always)]
pub(super) fn light() {
    imp::light();
}

/// The same, for threads that were told by [`is_light`] that nothing more is needed.
#[inline(always)]
pub(super) fn lightest() {
    imp::lightest();
}

/// Whether the light barrier may be [`lightest`]. What is true once stays true.
pub(super) fn is_light() -> bool {
    imp::is_light()
}

/// The writer's side.
pub(super) fn heavy() {
    // Also where the processors of the others are made to: this thread's own stores and loads.
    fence(Ordering::SeqCst);
    imp::heavy();
}

/// Between a store and a load, on this processor and at once. The light barrier is not that: it only meets a heavy one,
/// which reaches one processor after the other.
pub(super) fn full() {
    fence(Ordering::SeqCst);
    if cfg!(nanotier_tsan) {
        imp::light();
    }
}

/// Asks the system for its barrier, once for the process. Whoever retires something calls this first.
pub(crate) fn prepare() {
    imp::prepare();
}

/// Fences on both sides: for systems without the barrier.
#[cfg(all(
    not(nanotier_tsan),
    any(all(nanotier_loom, nanotier_fences), all(not(nanotier_loom), not(target_os = "linux")))
))]
mod imp {
    use super::{Ordering, fence};

    #[inline(always)]
    pub(super) fn light() {
        fence(Ordering::SeqCst);
    }

    #[inline(always)]
    pub(super) fn lightest() {
        light();
    }

    /// Only so that the model checker sees the short way, too.
    pub(super) fn is_light() -> bool {
        cfg!(nanotier_loom)
    }

    pub(super) fn heavy() {}

    pub(super) fn prepare() {}
}

/// What the system's barrier does, in the model checker's words: it reaches each thread for itself, one after the other,
/// and meets the light barriers of that thread, each of which comes before or after it. Two light barriers do not meet.
#[cfg(all(nanotier_loom, not(nanotier_fences), not(nanotier_tsan)))]
mod imp {
    use super::Ordering;
    use crate::sync::{THREADS_MAX, number, shared_static};
    use loom::sync::atomic::AtomicUsize;

    /// Of two changes of one word, the later sees all that came before the earlier.
    struct Words {
        of_threads: [AtomicUsize; THREADS_MAX],
    }

    impl Words {
        fn new() -> Self {
            Self { of_threads: std::array::from_fn(|_| AtomicUsize::new(0)) }
        }
    }

    shared_static! {
        static WORDS: Words = Words::new();
    }

    pub(super) fn light() {
        let own = number().expect("no model looks while its thread is ending");
        WORDS.of_threads[own].fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn lightest() {
        light();
    }

    /// So that the short way is seen, too.
    pub(super) fn is_light() -> bool {
        true
    }

    pub(super) fn heavy() {
        for word in &WORDS.of_threads {
            word.fetch_add(1, Ordering::AcqRel);
        }
    }

    pub(super) fn prepare() {}
}

/// The thread sanitizer understands neither fences nor the system's barrier: changes of one shared word.
#[cfg(nanotier_tsan)]
mod imp {
    use super::Ordering;
    use std::sync::atomic::AtomicUsize;

    static WORD: AtomicUsize = AtomicUsize::new(0);

    pub(super) fn light() {
        WORD.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn lightest() {
        light();
    }

    pub(super) fn is_light() -> bool {
        true
    }

    pub(super) fn heavy() {
        WORD.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn prepare() {}
}

#[cfg(all(not(nanotier_tsan), not(nanotier_loom), target_os = "linux"))]
mod imp {
    use super::{Ordering, fence};
    use rustix::io::Errno;
    use rustix::thread::{MembarrierCommand, membarrier, membarrier_query};
    use std::sync::Once;
    use std::sync::atomic::{AtomicBool, compiler_fence};

    /// Readers must make a real fence: until the system's barrier was found, and for ever where it is absent.
    static FENCING: AtomicBool = AtomicBool::new(true);

    #[inline(always)]
    pub(super) fn lightest() {
        // The processor's share is done by `heavy`.
        compiler_fence(Ordering::SeqCst);
    }

    pub(super) fn is_light() -> bool {
        !FENCING.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn light() {
        // Relaxed: whoever reads an old `true` fences once more than needed; `false` is written after the
        // registration, and no heavy barrier leaves the system's out from then on.
        if FENCING.load(Ordering::Relaxed) {
            fence(Ordering::SeqCst);
        } else {
            lightest();
        }
    }

    pub(super) fn heavy() {
        if FENCING.load(Ordering::Relaxed) {
            return;
        }
        loop {
            match membarrier(MembarrierCommand::PrivateExpedited) {
                Ok(()) => return,
                // The kernel found no memory for a moment.
                Err(Errno::NOMEM) => std::thread::yield_now(),
                Err(_) => break,
            }
        }
        // A forked child may have to register anew.
        if !(register() && membarrier(MembarrierCommand::PrivateExpedited).is_ok()) {
            // To free without the barrier is never an option, and to return is to say that it was made.
            eprintln!(
                "nanotier: the system has withdrawn its memory barrier; aborting rather than freeing memory in use"
            );
            std::process::abort();
        }
    }

    pub(super) fn prepare() {
        static ASKED: Once = Once::new();
        ASKED.call_once(|| {
            if !cfg!(nanotier_fences) && register() {
                FENCING.store(false, Ordering::SeqCst);
            }
        });
    }

    fn register() -> bool {
        membarrier_query().contains_command(MembarrierCommand::PrivateExpedited)
            && membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok()
    }
}
