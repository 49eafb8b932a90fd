//! One value for each of a few groups of threads, so that threads that count do not meet.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// How many groups there are.
const STRIPES: usize = 16;

/// A value for each of up to 16 groups of threads, made when the first of them comes.
///
/// Threads are numbered as they come; those whose numbers are equal modulo 16 share a value, so it must be one that
/// threads can share. Who reads goes over all: what is counted meanwhile is in or not.
///
/// ```
/// use nanotier_tier::measure::Striped;
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
///
/// let count: Striped<AtomicU64> = Striped::new();
/// count.own().fetch_add(1, Relaxed);
/// std::thread::scope(|scope| _ = scope.spawn(|| count.own().fetch_add(1, Relaxed)));
/// assert_eq!(count.all().map(|stripe| stripe.load(Relaxed)).sum::<u64>(), 2);
/// ```
pub struct Striped<T> {
    stripes: [OnceLock<Box<Stripe<T>>>; STRIPES],
}

/// Two lines, since processors fetch them in pairs.
#[derive(Default)]
#[repr(align(128))]
struct Stripe<T>(T);

/// The next thread's number.
static THREADS_EVER: AtomicUsize = AtomicUsize::new(0);

std::thread_local! {
    static OWN: usize = THREADS_EVER.fetch_add(1, Relaxed) % STRIPES;
}

impl<T: Default> Striped<T> {
    /// None is made yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { stripes: [const { OnceLock::new() }; STRIPES] }
    }

    /// That of this thread. The first of its group allocates it.
    pub fn own(&self) -> &T {
        // A thread that is just ending has no number any more.
        let own = OWN.try_with(|own| *own).unwrap_or(0);
        &self.stripes[own].get_or_init(Box::default).0
    }

    /// All that were made.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.stripes.iter().filter_map(OnceLock::get).map(|stripe| &stripe.0)
    }
}

impl<T: Default> Default for Striped<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Striped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let made = self.stripes.iter().filter(|stripe| stripe.get().is_some()).count();
        write!(f, "Striped({made} of {STRIPES})")
    }
}
