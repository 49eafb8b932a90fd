//! The handle of a value that may not be there yet.

use std::fmt;
use std::sync::Arc;

use nanotier_tier::{Error, ErrorKind, Moment};

use super::refresher::FirstShown;
use super::supervisor::Lease;
use super::{Snapshot, close};
use crate::lookup::{Detailed, Lookup};

/// A value whose first load is tried until it succeeds, and which is refreshed from then on: made by
/// [`loader`](crate::loader()).
///
/// For a service that is to start while what it needs is not there yet. Once there is a value, [`snapshot`](Self::snapshot)
/// is the handle to read it by.
///
/// Clones, and the snapshots of it, are handles on the same value: when the last one goes, loading ends.
///
/// ```
/// use std::time::Duration;
///
/// let motd = nanotier::loader(async || Ok::<_, std::io::Error>("hello"), Duration::from_secs(30))?;
/// assert_eq!(motd.value().wait()?, "hello"); // waits for the first load
/// # Ok::<(), nanotier::Error>(())
/// ```
pub struct Loading<V> {
    pub(super) shown: FirstShown<V>,
    pub(super) lease: Arc<Lease>,
}

impl<V: Send + Sync + 'static> Loading<V> {
    /// A clone of the latest version, once there is one: at once after the first load that succeeded. How long to wait is
    /// the caller's to say, by [`wait_for`](Lookup::wait_for) or a timeout of its runtime; [`last_error`](Self::last_error)
    /// says why it takes so long. [`try_now`](Lookup::try_now) does not wait.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let never = nanotier::loader(async || Err::<u32, _>("not yet"), Duration::from_secs(30))?;
    /// assert!(never.value().wait_for(Duration::from_millis(5)).is_err());
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Told when awaited: [`ErrorKind::Closed`] if loading has ended, or ends, before it has ever succeeded.
    pub fn value(&self) -> Lookup<V>
    where
        V: Clone,
    {
        match self.now() {
            Some(snapshot) => Lookup::known(Ok(snapshot.get())),
            None => self.first(|snapshot| snapshot.get()),
        }
    }

    /// The handle to read the value by, once there is one. Waits as [`value`](Self::value) does.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let names = nanotier::loader(async || Ok::<_, String>(vec!["ada"]), Duration::from_secs(30))?;
    /// let names = names.snapshot().wait()?;
    /// assert_eq!(names.read(Vec::len), 1);
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`value`](Self::value).
    pub fn snapshot(&self) -> Lookup<Snapshot<V>> {
        match self.now() {
            Some(snapshot) => Lookup::known(Ok(snapshot)),
            None => self.first(|snapshot| snapshot),
        }
    }

    fn now(&self) -> Option<Snapshot<V>> {
        Some(Snapshot { shown: self.shown.get()?.clone(), lease: self.lease.clone() })
    }

    /// Waits with a handle of its own: a load that is waited for goes on.
    fn first<T: Send + 'static>(&self, answer: impl FnOnce(Snapshot<V>) -> T + Send + 'static) -> Lookup<T> {
        let loading = self.clone();
        Lookup::below(async move {
            let supervisor = &loading.lease.0;
            let Some(snapshot) = supervisor.until(|| loading.now()).await else {
                let error = Error::new(ErrorKind::Closed, "cache", "load");
                return Err(match supervisor.last_error() {
                    Some(last) => error.with_source(last),
                    None => error,
                });
            };
            Ok(Detailed::nowhere(answer(snapshot)))
        })
    }

    /// Why the last load failed; `None` if it succeeded, or if none has ended yet. Takes a lock, for a moment.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let absent = nanotier::loader(async || Err::<u32, _>("not yet"), Duration::from_secs(30))?;
    /// let _ = absent.value().wait_for(Duration::from_millis(50));
    /// if let Some(error) = absent.last_error() {
    ///     assert_eq!(error.to_string(), "cache (load): the loader failed: not yet");
    /// }
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    #[must_use]
    pub fn last_error(&self) -> Option<Error> {
        self.lease.0.last_error()
    }

    /// Whether there is a value and all is well with it, as [`Snapshot::healthy`] says it.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let motd = nanotier::loader(async || Ok::<_, String>("hello"), Duration::from_secs(30))?;
    /// motd.value().wait()?;
    /// assert!(motd.healthy());
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    #[must_use]
    pub fn healthy(&self) -> bool {
        let fresh_until = |shown: &super::Shown<V>| shown.fresh_until;
        self.lease.0.is_healthy(self.shown.get().map_or(Moment::NEVER, |shown| shown.read(fresh_until)))
    }

    /// As [`Snapshot::close`]. Who waits for a first value is told that it is closed.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let absent = nanotier::loader(async || Err::<u32, _>("not yet"), Duration::from_secs(30))?;
    /// absent.close().wait()?;
    /// assert!(absent.value().wait().is_err());
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// None.
    pub fn close(&self) -> Lookup<()> {
        close(&self.lease.0)
    }
}

impl<V> Clone for Loading<V> {
    fn clone(&self) -> Self {
        Self { shown: self.shown.clone(), lease: self.lease.clone() }
    }
}

impl<V> fmt::Debug for Loading<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loading").field("has_value", &self.shown.get().is_some()).finish_non_exhaustive()
    }
}
