//! One value that is refreshed in the background and read as if it were a plain one: a configuration, exchange rates, a
//! block list.
//!
//! | file | what is in it |
//! |---|---|
//! | `keep` | the options, and the three ways to begin |
//! | `plan` | when the next load begins |
//! | `source` | where a value comes from: a function, one that blocks |
//! | `place` | a key in a tier: to be followed, or to be written to |
//! | `refresher` | the order of steps: load, publish, write through, pause |
//! | `supervisor` | the work in the background, how it is ended, what has become of it |
//! | `loading` | the handle while there may be no value yet |

mod keep;
mod loading;
mod place;
mod plan;
mod refresher;
mod source;
mod supervisor;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nanotier_engine::Mirror;
use nanotier_tier::{Error, ErrorKind, Moment};

use crate::lookup::{Detailed, Lookup};

pub use keep::{Keep, keep, loader, mirror};
pub use loading::Loading;
use supervisor::{Lease, Supervisor};

/// A value that is refreshed in the background: made by [`keep`], by [`mirror`], or of a [`Loading`].
///
/// Reading it costs what reading a [`Mirror`] does, at any number of threads: no lock, no wait, always a whole version.
/// A refresh that fails leaves the last value in place and says so: [`last_error`](Self::last_error),
/// [`age`](Self::age), [`healthy`](Self::healthy).
///
/// Clones are handles on the same value. When the last one goes, refreshing ends, whatever the loader is doing then, as by
/// [`close`](Self::close). What still reads the value may do so.
///
/// ```
/// use std::time::Duration;
///
/// let rates = nanotier::keep(async || Ok::<_, std::io::Error>(vec![1.09, 0.85]), Duration::from_secs(30)).wait()?;
/// assert_eq!(rates.read(|rates| rates.len()), 2);
/// assert!(rates.healthy());
/// # Ok::<(), nanotier::Error>(())
/// ```
///
/// [`Mirror`]: https://docs.rs/nanotier-engine
pub struct Snapshot<V> {
    shown: Arc<Mirror<Shown<V>>>,
    lease: Arc<Lease>,
}

/// A version of the value.
struct Shown<V> {
    value: V,
    /// When its load began; for a mirror, when its record was made.
    made: Moment,
    /// Until when whoever wrote it vouches for it; for what a function brought, there is nobody who could say.
    fresh_until: Moment,
}

impl<V> Shown<V> {
    fn at(made: Moment, value: V) -> Self {
        Self { value, made, fresh_until: Moment::NEVER }
    }
}

impl<V> Snapshot<V> {
    /// Shows the latest version to `f`, which may take its time: nobody waits for it, and what is published meanwhile is
    /// not seen by this read.
    ///
    /// Costs a few loads and two stores to a line of this thread's own; allocates nothing.
    ///
    /// ```
    /// # let names = nanotier::keep(async || Ok::<_, String>(vec!["ada"]), std::time::Duration::from_secs(30)).wait()?;
    /// assert!(names.read(|names| names.contains(&"ada")));
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    #[inline(always)]
    pub fn read<R>(&self, f: impl FnOnce(&V) -> R) -> R {
        self.shown.read(|shown| f(&shown.value))
    }

    /// As [`read`](Self::read), and says which version it is. Number and value belong together.
    ///
    /// ```
    /// # let names = nanotier::keep(async || Ok::<_, String>(vec!["ada"]), std::time::Duration::from_secs(30)).wait()?;
    /// assert_eq!(names.read_versioned(|names, version| (names.len(), version)), (1, 0));
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    #[inline(always)]
    pub fn read_versioned<R>(&self, f: impl FnOnce(&V, u64) -> R) -> R {
        self.shown.read_versioned(|shown, version| f(&shown.value, version))
    }

    /// A clone of the latest version. Costs what [`read`](Self::read) and `Clone` cost: keep an `Arc<V>` if that is much.
    ///
    /// ```
    /// let answer = nanotier::keep(async || Ok::<_, String>(42), std::time::Duration::from_secs(30)).wait()?;
    /// assert_eq!(answer.get(), 42);
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    #[inline]
    pub fn get(&self) -> V
    where
        V: Clone,
    {
        self.read(V::clone)
    }

    /// The number of the latest version: 0 for the first, one more with each publication, never less. A refresh that
    /// fails publishes nothing, nor does a mirror that finds the record it has. Costs a read.
    ///
    /// ```
    /// # let names = nanotier::keep(async || Ok::<_, String>(vec!["ada"]), std::time::Duration::from_secs(30)).wait()?;
    /// assert_eq!(names.version(), 0);
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    #[inline]
    pub fn version(&self) -> u64 {
        self.shown.version()
    }

    /// How old the value is: the time since the load that brought it began. For a mirror, the time since its record was
    /// made, by the wall clock of who made it; zero while that is ahead of ours.
    ///
    /// Costs a read and a look at the clock. It goes on growing after [`close`](Self::close).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let names = nanotier::keep(async || Ok::<_, String>(vec!["ada"]), Duration::from_secs(30)).wait()?;
    /// assert!(names.age() < Duration::from_secs(30));
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    #[must_use]
    pub fn age(&self) -> Duration {
        let clock = self.supervisor().clock();
        clock.catch_up();
        clock.now().since(self.shown.read(|shown| shown.made))
    }

    /// Why the last refresh failed; `None` if it succeeded. What the function failed with is the
    /// [`cause`](Error::cause) of an [`ErrorKind::Loader`]. Takes a lock, for a moment.
    ///
    /// ```
    /// # let names = nanotier::keep(async || Ok::<_, String>(vec!["ada"]), std::time::Duration::from_secs(30)).wait()?;
    /// assert!(names.last_error().is_none());
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    #[must_use]
    pub fn last_error(&self) -> Option<Error> {
        self.supervisor().last_error()
    }

    /// Why the last [write through](Keep::write_through) failed; `None` if it succeeded, or if there is none. Takes a
    /// lock, for a moment.
    ///
    /// ```
    /// # let names = nanotier::keep(async || Ok::<_, String>(vec!["ada"]), std::time::Duration::from_secs(30)).wait()?;
    /// assert!(names.write_error().is_none());
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    #[must_use]
    pub fn write_error(&self) -> Option<Error> {
        self.supervisor().write_error()
    }

    /// Whether all is well: the last refresh succeeded, it is not longer ago than the interval with its jitter and the
    /// deadline of a load together, and nobody has closed this.
    ///
    /// A mirror is healthy only if, when it last looked, the record was fresh too: one whose writer died is not. An error
    /// of [writing through](Self::write_error) is none of the value's. Takes a lock, for a moment.
    ///
    /// ```
    /// # let names = nanotier::keep(async || Ok::<_, String>(vec!["ada"]), std::time::Duration::from_secs(30)).wait()?;
    /// assert!(names.healthy());
    /// names.close().wait()?;
    /// assert!(!names.healthy());
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    #[must_use]
    pub fn healthy(&self) -> bool {
        self.supervisor().is_healthy(self.shown.read(|shown| shown.fresh_until))
    }

    /// The number of a version higher than `since`, once there is one; at once if there is one already. So who waits in a
    /// loop, with the number of the version it has seen last, misses none that is the latest for a moment: it may see
    /// several as one. Waiting does not keep the refreshing alive: a handle does.
    ///
    /// ```
    /// use nanotier::{Clock, Keep};
    /// use std::time::Duration;
    ///
    /// # fn main() -> nanotier::Result<()> {
    /// let (clock, hands) = Clock::manual();
    /// let mut count = 0;
    /// let load = move || {
    ///     count += 1;
    ///     async move { Ok::<_, String>(count) }
    /// };
    /// let count = Keep::new(Duration::from_secs(60)).jitter(0.0).clock(clock).keep(load).wait()?;
    /// hands.advance(Duration::from_secs(60));
    /// assert_eq!(count.changed(0).wait()?, 1);
    /// assert_eq!(count.get(), 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Told when awaited: [`ErrorKind::Closed`] if refreshing has ended, or ends, without such a version.
    pub fn changed(&self, since: u64) -> Lookup<u64>
    where
        V: Send + Sync + 'static,
    {
        let newer = move |shown: &Mirror<Shown<V>>| Some(shown.version()).filter(|version| *version > since);
        if let Some(version) = newer(&self.shown) {
            return Lookup::known(Ok(version));
        }
        let (shown, supervisor) = (self.shown.clone(), self.supervisor().clone());
        Lookup::below(async move {
            let version = supervisor.until(|| newer(&shown)).await;
            version.map(Detailed::nowhere).ok_or_else(|| Error::new(ErrorKind::Closed, "cache", "changed"))
        })
    }

    /// Has the next load begin now, or as soon as the one under way has ended, whatever the interval and the back-off say.
    /// Calls that come before it begins are one. Returns at once: [`changed`](Self::changed) waits for what it brings.
    ///
    /// For who knows that the source has changed. Does nothing once closed.
    ///
    /// ```
    /// # let names = nanotier::keep(async || Ok::<_, String>(vec!["ada"]), std::time::Duration::from_secs(30)).wait()?;
    /// names.refresh();
    /// assert_eq!(names.changed(0).wait()?, 1);
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    pub fn refresh(&self) {
        self.supervisor().refresh();
    }

    /// Ends the refreshing, for all handles, from the call on; awaited, it waits until nothing of it is left. The value
    /// stays readable. Closing twice is closing once.
    ///
    /// An asynchronous load under way is dropped. One that blocks its thread, or a blocking one, cannot be: it is waited
    /// for, and what it brings is not published. Bound that by [`wait_for`](Lookup::wait_for), or by your runtime's
    /// timeout; the closing goes on. Not to be waited for by blocking inside the loader itself.
    ///
    /// ```
    /// # let names = nanotier::keep(async || Ok::<_, String>(vec!["ada"]), std::time::Duration::from_secs(30)).wait()?;
    /// names.close().wait()?;
    /// names.close().wait()?;
    /// assert_eq!(names.get(), ["ada"]);
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// None.
    pub fn close(&self) -> Lookup<()> {
        close(self.supervisor())
    }

    fn supervisor(&self) -> &Arc<Supervisor> {
        &self.lease.0
    }
}

/// Closes either handle.
fn close(supervisor: &Arc<Supervisor>) -> Lookup<()> {
    supervisor.stop();
    let supervisor = supervisor.clone();
    Lookup::below(async move {
        supervisor.ended().await;
        Ok(Detailed::nowhere(()))
    })
}

impl<V> Clone for Snapshot<V> {
    fn clone(&self) -> Self {
        Self { shown: self.shown.clone(), lease: self.lease.clone() }
    }
}

impl<V: fmt::Debug> fmt::Debug for Snapshot<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read_versioned(|value, version| {
            f.debug_struct("Snapshot")
                .field("version", &version)
                .field("value", value)
                .finish_non_exhaustive()
        })
    }
}
