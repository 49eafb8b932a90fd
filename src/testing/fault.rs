//! A fault: what goes wrong, and for which calls.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use nanotier_tier::{ErrorKind, Key};

use super::op::Op;
use super::seed::nth_falls;

/// What is to go wrong, and for which calls: given to [`Faults::add`](super::Faults::add).
///
/// A fault says one thing that goes wrong, and meets every call but [`Op::Close`] unless it is confined: to kinds of calls
/// ([`on`](Self::on), [`reads`](Self::reads), [`writes`](Self::writes)), to keys ([`key`](Self::key), [`keys`](Self::keys)),
/// and to a turn among those ([`nth`](Self::nth), [`first`](Self::first), [`share`](Self::share): the last one said
/// counts). Where it is confined to keys or kinds, of a batch only those fail that it means; turns count calls, a batch
/// once.
///
/// ```
/// use nanotier::testing::{Fake, Fault, Op};
/// use nanotier::ErrorKind;
///
/// let fake = Fake::new();
/// let users = fake.cache::<String, u32>().build()?;
/// fake.faults().add(Fault::fail(ErrorKind::Full).on([Op::Put]).key("grace").nth(2));
///
/// users.insert("grace".to_string(), 1).wait()?;
/// users.insert("ada".to_string(), 2).wait()?;
/// assert_eq!(users.insert("grace".to_string(), 3).wait().unwrap_err().kind(), ErrorKind::Full);
/// # Ok::<(), nanotier::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "a fault does nothing until it is added"]
pub struct Fault {
    pub(super) harm: Harm,
    ops: Ops,
    keys: Option<KeyTest>,
    turn: Turn,
}

type KeyTest = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Harm {
    Fail(ErrorKind),
    Slow(Duration),
    Hang,
    LoseAnswer,
    HoldAnswer,
}

#[derive(Clone, Debug)]
enum Ops {
    AllButClose,
    Reads,
    Writes,
    Of(Vec<Op>),
}

/// Which of the calls that are meant.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Every,
    Nth(u64),
    First(u64),
    Share(f64, u64),
}

impl Fault {
    fn new(harm: Harm) -> Self {
        Self { harm, ops: Ops::AllButClose, keys: None, turn: Turn::Every }
    }

    /// The call does not reach the tier, and its answer is an error of this kind.
    ///
    /// ```
    /// use nanotier::testing::{Fake, Fault};
    /// use nanotier::ErrorKind;
    ///
    /// let fake = Fake::new();
    /// let users = fake.cache::<String, u32>().build()?;
    /// fake.faults().add(Fault::fail(ErrorKind::Busy));
    /// assert_eq!(users.get("ada").wait().unwrap_err().kind(), ErrorKind::Busy);
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    pub fn fail(kind: ErrorKind) -> Self {
        Self::new(Harm::Fail(kind))
    }

    /// The call waits for so long before it reaches the tier, by the clock of the cache above: a manual one has to be
    /// moved meanwhile, as [`Fake::drive`](super::Fake::drive) does. The delays of several faults add up; zero is none.
    ///
    /// ```
    /// use nanotier::testing::{Fake, Fault};
    /// use std::time::Duration;
    ///
    /// let fake = Fake::new();
    /// let users = fake.cache::<String, u32>().build()?;
    /// fake.faults().add(Fault::slow(Duration::from_millis(200)).key("ada"));
    /// let before = fake.clock().now();
    /// assert_eq!(fake.drive(users.get("ada"))?, None);
    /// assert_eq!(fake.clock().now().since(before), Duration::from_millis(200));
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    pub fn slow(by: Duration) -> Self {
        Self::new(Harm::Slow(by))
    }

    /// The call waits before it reaches the tier, until it is [released](super::Faults::release) or everything is
    /// [healed](super::Faults::heal): a service that is half open. Then it is done as if nothing had been.
    ///
    /// ```
    /// use nanotier::testing::{Fake, Fault};
    /// use nanotier::tier::waiting::within;
    /// use std::time::Duration;
    ///
    /// let fake = Fake::new();
    /// let users = fake.cache::<String, u32>().build()?;
    /// fake.faults().add(Fault::hang().reads());
    /// let (clock, patience) = (fake.clock(), fake.clock().now().plus(Duration::from_secs(3)));
    /// assert!(fake.drive(within(&clock, patience, users.get("ada"))).is_none(), "three seconds, and no answer");
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    pub fn hang() -> Self {
        Self::new(Harm::Hang)
    }

    /// The call is done, and its answer is [`ErrorKind::Timeout`]: the write happened, and nobody knows.
    ///
    /// ```
    /// use nanotier::testing::{Fake, Fault};
    ///
    /// let fake = Fake::new();
    /// let users = fake.cache::<String, u32>().build()?;
    /// fake.faults().add(Fault::lose_answer().writes());
    /// assert!(users.insert("ada".to_string(), 1815).wait().is_err());
    /// assert!(fake.holds("ada"));
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    pub fn lose_answer() -> Self {
        Self::new(Harm::LoseAnswer)
    }

    /// The call is done, and its answer waits until it is [released](super::Faults::release) or everything is
    /// [healed](super::Faults::heal).
    ///
    /// ```
    /// use nanotier::testing::{Fake, Fault};
    /// use nanotier::tier::waiting::within;
    ///
    /// let fake = Fake::new();
    /// let users = fake.cache::<String, u32>().build()?;
    /// fake.faults().add(Fault::hold_answer().writes());
    /// let (clock, now) = (fake.clock(), fake.clock().now());
    /// assert!(fake.drive(within(&clock, now, users.insert("ada".to_string(), 1815))).is_none());
    /// assert!(fake.holds("ada"), "nobody was told, but it was done");
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    pub fn hold_answer() -> Self {
        Self::new(Harm::HoldAnswer)
    }

    /// Only calls of these kinds; [`Op::Close`] too, if it is named. None at all if none is named.
    ///
    /// ```
    /// use nanotier::testing::{Fake, Fault, Op};
    /// use nanotier::ErrorKind;
    ///
    /// let fake = Fake::new();
    /// let users = fake.cache::<String, u32>().build()?;
    /// fake.faults().add(Fault::fail(ErrorKind::Full).on([Op::Put, Op::Fill]));
    /// assert!(users.insert("ada".to_string(), 1815).wait().is_err());
    /// assert!(users.remove("ada").wait().is_ok());
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    pub fn on(self, ops: impl IntoIterator<Item = Op>) -> Self {
        Self { ops: Ops::Of(ops.into_iter().collect()), ..self }
    }

    /// Only what [reads](Op::is_read).
    ///
    /// ```
    /// use nanotier::testing::{Fake, Fault};
    /// use nanotier::ErrorKind;
    ///
    /// let fake = Fake::new();
    /// let users = fake.cache::<String, u32>().build()?;
    /// fake.faults().add(Fault::fail(ErrorKind::Storage).reads());
    /// assert!(users.get("ada").wait().is_err());
    /// assert!(users.insert("ada".to_string(), 1815).wait().is_ok());
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    pub fn reads(self) -> Self {
        Self { ops: Ops::Reads, ..self }
    }

    /// Only what [writes](Op::is_write).
    ///
    /// ```
    /// use nanotier::testing::{Fake, Fault};
    /// use nanotier::ErrorKind;
    ///
    /// let fake = Fake::new();
    /// let users = fake.cache::<String, u32>().build()?;
    /// fake.faults().add(Fault::fail(ErrorKind::Storage).writes());
    /// assert!(users.get("ada").wait().is_ok());
    /// assert!(users.insert("ada".to_string(), 1815).wait().is_err());
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    pub fn writes(self) -> Self {
        Self { ops: Ops::Writes, ..self }
    }

    /// Only calls for this key.
    ///
    /// ```
    /// use nanotier::testing::{Fake, Fault};
    /// use nanotier::ErrorKind;
    ///
    /// let fake = Fake::new();
    /// let users = fake.cache::<String, u32>().build()?;
    /// fake.faults().add(Fault::fail(ErrorKind::Storage).key("ada"));
    /// assert!(users.get("ada").wait().is_err());
    /// assert!(users.get("grace").wait().is_ok());
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    pub fn key<K: Key + ?Sized>(self, key: &K) -> Self {
        let wanted = key.key_bytes().into_owned();
        self.keys(move |key| key == wanted)
    }

    /// Only calls for keys whose [bytes](nanotier_tier::Key::key_bytes) pass. What has no key does not.
    ///
    /// ```
    /// use nanotier::testing::{Fake, Fault};
    ///
    /// let fake = Fake::new();
    /// let users = fake.cache::<String, u32>().build()?;
    /// fake.faults().add(Fault::lose_answer().keys(|key| key.starts_with(b"tenant-7/")));
    /// assert!(users.get("tenant-7/ada").wait().is_err());
    /// assert!(users.get("tenant-8/ada").wait().is_ok());
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    pub fn keys(self, test: impl Fn(&[u8]) -> bool + Send + Sync + 'static) -> Self {
        Self { keys: Some(Arc::new(test)), ..self }
    }

    /// Only the `n`-th of these calls, counted from 1 when the fault is added. The 0th never comes.
    ///
    /// ```
    /// use nanotier::testing::{Fake, Fault};
    /// use nanotier::ErrorKind;
    ///
    /// let fake = Fake::new();
    /// let users = fake.cache::<String, u32>().build()?;
    /// fake.faults().add(Fault::fail(ErrorKind::Busy).nth(2));
    /// let fails = ["ada", "grace", "alan"].map(|name| users.get(name).wait().is_err());
    /// assert_eq!(fails, [false, true, false]);
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    pub fn nth(self, n: u64) -> Self {
        Self { turn: Turn::Nth(n), ..self }
    }

    /// Only the first `n` of these calls.
    ///
    /// ```
    /// use nanotier::testing::{Fake, Fault};
    /// use nanotier::ErrorKind;
    ///
    /// let fake = Fake::new();
    /// let users = fake.cache::<String, u32>().build()?;
    /// fake.faults().add(Fault::fail(ErrorKind::Unavailable).first(1));
    /// assert!(users.get("ada").wait().is_err());
    /// assert!(users.get("ada").wait().is_ok());
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    pub fn first(self, n: u64) -> Self {
        Self { turn: Turn::First(n), ..self }
    }

    /// About this share of these calls: none at 0 and below, all at 1 and above. Which ones follows from the seed alone: the
    /// same calls in the same order meet the same faults. [`Seed`](super::Seed) makes one that a failed test prints.
    ///
    /// ```
    /// use nanotier::testing::{Fake, Fault, Seed};
    /// use nanotier::ErrorKind;
    ///
    /// let failures = |seed: u64| -> nanotier::Result<Vec<bool>> {
    ///     let fake = Fake::new();
    ///     let users = fake.cache::<u64, u32>().build()?;
    ///     fake.faults().add(Fault::fail(ErrorKind::Unavailable).share(0.3, seed));
    ///     Ok((0..100).map(|n| users.get(&n).wait().is_err()).collect())
    /// };
    /// let seed = Seed::from_env();
    /// assert_eq!(failures(seed.value())?, failures(seed.value())?);
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    pub fn share(self, share: f64, seed: u64) -> Self {
        Self { turn: Turn::Share(share, seed), ..self }
    }

    fn means(&self, op: Op, key: Option<&[u8]>) -> bool {
        let is_op = match &self.ops {
            Ops::AllButClose => op != Op::Close,
            Ops::Reads => op.is_read(),
            Ops::Writes => op.is_write(),
            Ops::Of(ops) => ops.contains(&op),
        };
        is_op && self.keys.as_ref().is_none_or(|test| key.is_some_and(|key| test(key)))
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault")
            .field("harm", &self.harm)
            .field("ops", &self.ops)
            .field("keys", if self.keys.is_some() { &"some" } else { &"all" })
            .field("turn", &self.turn)
            .finish()
    }
}

/// A fault at work: it counts the calls that it means.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) fault: Fault,
    calls: AtomicU64,
}

impl Rule {
    pub(super) fn new(fault: Fault) -> Self {
        Self { fault, calls: AtomicU64::new(0) }
    }

    /// Which parts of a call it meets; `None` if it does not meet the call.
    pub(super) fn meets(&self, parts: &[(Op, Option<&[u8]>)]) -> Option<Vec<bool>> {
        let meant: Vec<bool> = parts.iter().map(|(op, key)| self.fault.means(*op, *key)).collect();
        if !meant.contains(&true) {
            return None;
        }
        let n = self.calls.fetch_add(1, Relaxed) + 1;
        let comes = match self.fault.turn {
            Turn::Every => true,
            Turn::Nth(wanted) => n == wanted,
            Turn::First(last) => n <= last,
            Turn::Share(share, seed) => nth_falls(seed, n, share),
        };
        comes.then_some(meant)
    }
}
