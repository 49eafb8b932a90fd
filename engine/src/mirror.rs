//! One value that is published as a whole and read without waiting: a configuration, a routing table, a rule set.
//!
//! Whoever publishes takes a lock, so that the numbers of versions and the versions themselves come in one order.
//! Whoever reads takes none. No code of the user's runs under that lock, drops of values included.

use crate::reclaim::Shared;
use crate::sync::{Condvar, Mutex, MutexGuard};
use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::{Context, Poll, Waker};
#[cfg(not(nanotier_loom))]
use std::time::{Duration, Instant};

/// A value of which everyone sees the latest version, whole, at the price of a look at memory.
///
/// | call | cost | waits for |
/// |---|---|---|
/// | [`read`](Self::read), [`get`](Self::get), [`version`](Self::version) | a few loads and two stores to a line of this thread's own: no lock, no read-modify-write | nobody |
/// | [`publish`](Self::publish), [`update`](Self::update) | an allocation, a lock, and a barrier on all processors: 2 to 3 µs | other publishers, for as long |
/// | [`changed`](Self::changed) and its kin | a read if there is something new already, else a lock | the next version |
///
/// Versions are numbered from 0, the value that the mirror was made with, without gaps. A version is never followed by
/// one with a lower number: a thread that has seen version 7, or learnt of it from another thread, sees 7 or later.
///
/// A reader that is stopped inside [`read`](Self::read), for a minute or for ever, keeps its own version alive and
/// nothing else; it holds up neither publishers nor other readers. Every value is dropped exactly once, outside all
/// locks: when it is replaced, or, if it is still being read then, by a later [`publish`](Self::publish) or
/// [`flush`](Self::flush), or with the mirror.
///
/// All calls may be made from inside `read` and from the values' `Drop`. A panic there reaches the caller that ran
/// it, and the mirror works on.
///
/// ```
/// use nanotier_engine::Mirror;
///
/// let limits = Mirror::new(vec![10, 20]);
/// std::thread::scope(|scope| {
///     scope.spawn(|| limits.publish(vec![1, 2, 3]));
///     // One version or the other, never a mixture.
///     limits.read(|limits| assert!(*limits == [10, 20] || *limits == [1, 2, 3]));
/// });
/// assert_eq!(limits.get(), [1, 2, 3]);
/// assert_eq!(limits.version(), 1);
/// ```
pub struct Mirror<V> {
    current: Shared<Numbered<V>>,
    line: Mutex<Line>,
    published: Condvar,
}

struct Numbered<V> {
    number: u64,
    value: V,
}

/// Where publishers queue, and where those who wait for one leave word.
struct Line {
    /// The number of the version that is linked: both change in one critical section.
    newest: u64,
    wakers: Vec<Waker>,
}

impl<V> Mirror<V> {
    /// A mirror that shows `value`, as version 0.
    ///
    /// ```
    /// let mirror = nanotier_engine::Mirror::new("first");
    /// assert_eq!(mirror.read_versioned(|value, version| (*value, version)), ("first", 0));
    /// ```
    #[must_use]
    pub fn new(value: V) -> Self {
        Self {
            current: Shared::new(Numbered { number: 0, value }),
            line: Mutex::new(Line { newest: 0, wakers: Vec::new() }),
            published: Condvar::new(),
        }
    }

    /// Shows the latest version to `f`, which may take its time: the value stays as it is until `f` returns, and
    /// nobody waits for it. What is published meanwhile is not seen by this read.
    ///
    /// Costs a few loads and two stores; no lock, nothing that other readers notice.
    ///
    /// ```
    /// let mirror = nanotier_engine::Mirror::new(String::from("abc"));
    /// let length = mirror.read(|text| {
    ///     mirror.publish(String::from("abcdef")); // from inside a read, too
    ///     text.len()
    /// });
    /// assert_eq!((length, mirror.read(String::len)), (3, 6));
    /// ```
    #[inline(always)]
    pub fn read<R>(&self, f: impl FnOnce(&V) -> R) -> R {
        self.current.read(|numbered| f(&numbered.value))
    }

    /// As [`read`](Self::read), and says which version it is. Number and value belong together.
    ///
    /// ```
    /// let mirror = nanotier_engine::Mirror::new('a');
    /// mirror.publish('b');
    /// mirror.read_versioned(|&value, version| assert_eq!((value, version), ('b', 1)));
    /// ```
    #[inline(always)]
    pub fn read_versioned<R>(&self, f: impl FnOnce(&V, u64) -> R) -> R {
        self.current.read(|numbered| f(&numbered.value, numbered.number))
    }

    /// A clone of the latest version. Costs what [`read`](Self::read) and `Clone` cost.
    ///
    /// ```
    /// assert_eq!(nanotier_engine::Mirror::new(5).get(), 5);
    /// ```
    #[inline]
    pub fn get(&self) -> V
    where
        V: Clone,
    {
        self.read(V::clone)
    }

    /// The number of the latest version. Costs a read; out of date as soon as somebody publishes.
    ///
    /// ```
    /// let mirror = nanotier_engine::Mirror::new(());
    /// assert_eq!(mirror.version(), 0);
    /// assert_eq!(mirror.publish(()), mirror.version());
    /// ```
    #[inline]
    pub fn version(&self) -> u64 {
        self.read_versioned(|_, number| number)
    }

    /// Makes `value` the latest version and answers its number, the one after the last.
    ///
    /// When this returns, all reads that begin see this version or a later one, and all who waited have been woken.
    /// Of two publishers at once the one with the higher number comes after the other; both versions are whole.
    /// Costs an allocation, a lock, and a barrier on all processors, 2 to 3 µs, more with many processors. Who is
    /// waiting for this thread to read or to publish is never waited for.
    ///
    /// # Panics
    ///
    /// When the `Drop` of a value that nobody reads any more panics, or a waker does. The new version is published
    /// then, and everyone has been woken.
    ///
    /// ```
    /// let mirror = nanotier_engine::Mirror::new(1);
    /// assert_eq!(mirror.publish(10), 1);
    /// assert_eq!(mirror.publish(20), 2);
    /// assert_eq!(mirror.get(), 20);
    /// ```
    pub fn publish(&self, value: V) -> u64 {
        self.publish_in(self.line.lock(), value)
    }

    /// Publishes what `f` makes of the latest version, and answers its number. Nothing is lost between the look and the
    /// publication: if another version came meanwhile, `f` is run again, on that one. (A [`get`](Self::get) followed by a
    /// [`publish`](Self::publish) would overwrite it.)
    ///
    /// `f` runs under no lock. What it made in vain is dropped. With many who update all the time, somebody always
    /// gets on, but nobody in particular. Costs what `f` costs, as often as it runs, and a publication.
    ///
    /// # Panics
    ///
    /// When `f` does, with nothing published; and as [`publish`](Self::publish) does.
    ///
    /// ```
    /// use nanotier_engine::Mirror;
    ///
    /// let count = Mirror::new(0);
    /// std::thread::scope(|scope| {
    ///     for _ in 0..2 {
    ///         scope.spawn(|| (0..100).for_each(|_| assert!(count.update(|count| count + 1) > 0)));
    ///     }
    /// });
    /// assert_eq!((count.get(), count.version()), (200, 200));
    /// ```
    pub fn update(&self, mut f: impl FnMut(&V) -> V) -> u64 {
        loop {
            let (value, seen) = self.read_versioned(|value, number| (f(value), number));
            let line = self.line.lock();
            if line.newest == seen {
                return self.publish_in(line, value);
            }
        }
    }

    fn publish_in(&self, mut line: MutexGuard<'_, Line>, value: V) -> u64 {
        let number = line.newest + 1;
        self.current.put(Numbered { number, value });
        line.newest = number;
        let wakers = mem::take(&mut line.wakers);
        drop(line);
        self.published.notify_all();
        Wake(wakers).all();
        self.current.flush();
        number
    }

    /// Blocks this thread until there is a version higher than `since`, and answers its number or a later one.
    /// Returns at once, at the cost of a read, if there is one already.
    ///
    /// Versions may be skipped: who waits in a loop sees the latest each time, not every one.
    ///
    /// ```
    /// use nanotier_engine::Mirror;
    ///
    /// let mirror = Mirror::new(0);
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| mirror.publish(1));
    ///     assert_eq!(mirror.changed(0), 1);
    ///     assert_eq!(mirror.get(), 1);
    /// });
    /// ```
    pub fn changed(&self, since: u64) -> u64 {
        let version = self.version();
        if version > since {
            return version;
        }
        let mut line = self.line.lock();
        while line.newest <= since {
            self.published.wait(&mut line);
        }
        line.newest
    }

    /// As [`changed`](Self::changed), for at most `limit`; `None` when that has passed. A limit of zero looks and
    /// returns, without a lock. The limit is real time: what wakes this thread late makes it late.
    ///
    /// ```
    /// use nanotier_engine::Mirror;
    /// use std::time::Duration;
    ///
    /// let mirror = Mirror::new(0);
    /// assert_eq!(mirror.changed_within(0, Duration::ZERO), None);
    /// assert_eq!(mirror.changed_within(0, Duration::from_millis(5)), None);
    /// mirror.publish(1);
    /// assert_eq!(mirror.changed_within(0, Duration::ZERO), Some(1));
    /// ```
    // The model checker has no time.
    #[cfg(not(nanotier_loom))]
    pub fn changed_within(&self, since: u64, limit: Duration) -> Option<u64> {
        let version = self.version();
        if version > since || limit.is_zero() {
            return (version > since).then_some(version);
        }
        let Some(deadline) = Instant::now().checked_add(limit) else {
            // Longer than the clock can count.
            return Some(self.changed(since));
        };
        let mut line = self.line.lock();
        while line.newest <= since {
            if self.published.wait_until(&mut line, deadline).timed_out() {
                break;
            }
        }
        (line.newest > since).then_some(line.newest)
    }

    /// As [`changed`](Self::changed), for a task: ready with the number of a version higher than `since`, or else
    /// pending, and the next [`publish`](Self::publish) wakes the task.
    ///
    /// A waker is kept once however often its task asks, and until the next publish. A task that goes away leaves
    /// its waker behind until then; so what is kept is at most one waker for each task that has asked since the last
    /// publish. Being woken is no promise: ask again.
    ///
    /// ```
    /// use nanotier_engine::Mirror;
    /// use std::future::poll_fn;
    ///
    /// async fn next(mirror: &Mirror<u32>, since: u64) -> (u32, u64) {
    ///     poll_fn(|context| mirror.poll_changed(since, context)).await;
    ///     mirror.read_versioned(|value, version| (*value, version))
    /// }
    ///
    /// # use std::{pin::pin, task::{Context, Poll, Waker}, future::Future};
    /// let mirror = Mirror::new(7);
    /// let mut next = pin!(next(&mirror, 0));
    /// let mut context = Context::from_waker(Waker::noop());
    /// assert!(next.as_mut().poll(&mut context).is_pending());
    /// mirror.publish(8);
    /// assert_eq!(next.poll(&mut context), Poll::Ready((8, 1)));
    /// ```
    pub fn poll_changed(&self, since: u64, context: &mut Context<'_>) -> Poll<u64> {
        let version = self.version();
        if version > since {
            return Poll::Ready(version);
        }
        // Cloned, and dropped if it is not needed, outside the lock: both are code of the executor's.
        let waker = context.waker().clone();
        let mut line = self.line.lock();
        if line.newest > since {
            let newest = line.newest;
            drop(line);
            return Poll::Ready(newest);
        }
        if line.wakers.iter().any(|kept| kept.will_wake(&waker)) {
            drop(line);
            return Poll::Pending;
        }
        line.wakers.push(waker);
        Poll::Pending
    }

    /// Drops the replaced versions that nobody reads any more, and answers how many are still being read.
    ///
    /// Each [`publish`](Self::publish) does this; a call is needed only to have a version that outlived its
    /// replacement in a reader's hands gone before the next one. Costs a barrier if there is such a version, else a
    /// lock for a moment.
    ///
    /// ```
    /// let mirror = nanotier_engine::Mirror::new(1);
    /// mirror.read(|_| {
    ///     mirror.publish(2);
    ///     assert_eq!(mirror.flush(), 1); // this read's
    /// });
    /// assert_eq!(mirror.flush(), 0);
    /// ```
    pub fn flush(&self) -> usize {
        self.current.flush()
    }
}

impl<V: Default> Default for Mirror<V> {
    fn default() -> Self {
        Self::new(V::default())
    }
}

impl<V> From<V> for Mirror<V> {
    fn from(value: V) -> Self {
        Self::new(value)
    }
}

impl<V: fmt::Debug> fmt::Debug for Mirror<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read_versioned(|value, version| {
            f.debug_struct("Mirror").field("version", &version).field("value", value).finish_non_exhaustive()
        })
    }
}

/// Wakers to be woken, all of them: if one panics, the others are woken on the way out.
struct Wake(Vec<Waker>);

impl Wake {
    /// Also those behind one that panics; then the first panic goes on.
    fn all(self) {
        let mut panicked = None;
        for waker in self.0 {
            let woken = catch_unwind(AssertUnwindSafe(|| waker.wake()));
            panicked = panicked.or(woken.err());
        }
        if let Some(panic) = panicked {
            resume_unwind(panic);
        }
    }
}
