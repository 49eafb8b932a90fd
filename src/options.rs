//! How long entries live and how they are loaded: what a cache says, and what a call may say otherwise.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nanotier_tier::{Deadlines, Error, ErrorKind, Moment, Result, Timestamp};

use crate::claim::BackOff;
use crate::dice::Dice;
use crate::expiry::Resident;
use crate::ttl::Ttl;

/// Gives an entry a lifetime of its own.
type ExpireWith<K, V> = Arc<dyn Fn(&K, &V) -> Ttl + Send + Sync>;

/// How long entries live and how they are loaded.
///
/// A cache has options, from [`Builder::options`](crate::Builder::options); a call may have others, by
/// [`Cache::with`](crate::Cache::with). Both begin with what the cache says and change it. Nothing is judged before
/// `build()` or `with()`, and all of it there.
///
/// | a value | what a caller gets | and behind |
/// |---|---|---|
/// | fresh | the value | |
/// | fresh, [`refresh_ahead`](Self::refresh_ahead) or [`early_expiry`](Self::early_expiry) has come | the value | one load |
/// | stale, for [`stale_for`](Self::stale_for) | the value | one load |
/// | older, for [`stale_on_error_for`](Self::stale_on_error_for) | what the loader brings; the value if that fails or takes too long | |
/// | older still | what the loader brings | |
///
/// ```
/// use nanotier::Cache;
/// use std::time::Duration;
///
/// # fn main() -> nanotier::Result<()> {
/// let pages: Cache<String, String> = Cache::builder()
///     .ttl(Duration::from_secs(60))
///     .options(|options| options.jitter(0.1).stale_on_error_for(Duration::from_secs(86_400)))
///     .build()?;
/// // A handle on the same cache that gives the loader less time.
/// let hasty = pages.with(|options| options.hard_deadline(Duration::from_millis(200)))?;
/// let page = hasty.get_with("/", async || "hello".to_owned()).wait()?;
/// assert_eq!(pages.get("/").wait()?, Some(page));
/// # Ok(())
/// # }
/// ```
#[must_use = "options do nothing until a cache is built with them"]
pub struct Options<K, V> {
    /// `None` for ever.
    pub(crate) ttl: Option<Duration>,
    pub(crate) expire_with: Option<ExpireWith<K, V>>,
    pub(crate) time_to_idle: Option<Duration>,
    pub(crate) jitter: f64,
    pub(crate) stale_for: Duration,
    pub(crate) stale_on_error_for: Duration,
    pub(crate) refresh_ahead: Option<Ahead>,
    pub(crate) early_expiry: Option<f64>,
    pub(crate) negative_ttl: Option<Duration>,
    pub(crate) error_ttl: Option<Duration>,
    pub(crate) soft_deadline: Option<Duration>,
    /// `None` for the default, which is shortened where a tier wants that.
    pub(crate) hard_deadline: Option<Duration>,
    pub(crate) loads_max: Option<usize>,
    pub(crate) back_off: BackOff,
    pub(crate) cancel_unwanted: bool,
    pub(crate) bypass: bool,
    /// How long what could not be written to the truth is kept in memory.
    pub(crate) degraded_ttl: Duration,
}

/// When a new value is loaded ahead of the old one's end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ahead {
    /// Once this share of the lifetime has passed: above 0, below 1.
    Share(f64),
    /// This long before the end.
    Before(Duration),
}

impl From<f64> for Ahead {
    fn from(share: f64) -> Self {
        Self::Share(share)
    }
}

impl From<Duration> for Ahead {
    fn from(before: Duration) -> Self {
        Self::Before(before)
    }
}

impl<K, V> Default for Options<K, V> {
    fn default() -> Self {
        Self {
            ttl: None,
            expire_with: None,
            time_to_idle: None,
            jitter: 0.0,
            stale_for: Duration::ZERO,
            stale_on_error_for: Duration::ZERO,
            refresh_ahead: None,
            early_expiry: None,
            negative_ttl: None,
            error_ttl: None,
            soft_deadline: None,
            hard_deadline: None,
            loads_max: None,
            back_off: BackOff { first: Self::BACK_OFF_FIRST_DEFAULT, max: Self::BACK_OFF_MAX_DEFAULT },
            cancel_unwanted: false,
            bypass: false,
            degraded_ttl: Self::DEGRADED_TTL_DEFAULT,
        }
    }
}

impl<K, V> Clone for Options<K, V> {
    fn clone(&self) -> Self {
        Self { expire_with: self.expire_with.clone(), ..*self }
    }
}

impl<K, V> Options<K, V> {
    /// How long a load may take at most unless told otherwise.
    pub const HARD_DEADLINE_DEFAULT: Duration = Duration::from_secs(20);
    /// How long after a refresh has failed the next one may begin, unless told otherwise.
    pub const BACK_OFF_FIRST_DEFAULT: Duration = Duration::from_secs(1);
    /// The longest such pause, unless told otherwise.
    pub const BACK_OFF_MAX_DEFAULT: Duration = Duration::from_secs(60);
    /// How long a loaded value is kept in memory that the truth could not take.
    pub const DEGRADED_TTL_DEFAULT: Duration = Duration::from_secs(5);

    /// How long entries are fresh. For ever unless told otherwise. Zero is refused.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Gives each entry the lifetime that `f` names for it, in place of [`ttl`](Self::ttl); [`Ttl::Default`] stands for that one.
    /// Asked once for each value that is inserted or loaded, on the thread that does it; an explicit lifetime,
    /// [`insert_for`](crate::Cache::insert_for), goes before it. A panic of `f` is one of the caller, or of the load.
    pub fn expire_with(mut self, f: impl Fn(&K, &V) -> Ttl + Send + Sync + 'static) -> Self {
        self.expire_with = Some(Arc::new(f));
        self
    }

    /// How long an entry stays in memory without being read. For ever unless told otherwise. Tiers keep it: what is dropped from memory
    /// this way is found there again. Of the whole cache: a handle made by [`Cache::with`](crate::Cache::with) cannot say otherwise.
    ///
    /// Cost: 64 bytes and an allocation an entry, and a store by the first hit of each millisecond.
    pub fn time_to_idle(mut self, idle: Duration) -> Self {
        self.time_to_idle = Some(idle);
        self
    }

    /// Shortens each lifetime by a random share of up to this, so that what was stored together does not end together. From 0
    /// (the default) to 1. A lifetime said by [`insert_for`](crate::Cache::insert_for) is left as it is.
    pub fn jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }

    /// How long after its freshness an entry is served as stale while a new value is fetched. Zero by default.
    pub fn stale_for(mut self, stale_for: Duration) -> Self {
        self.stale_for = stale_for;
        self
    }

    /// How long after its freshness an entry is kept for the case that no new value can be had: the loader fails, panics or
    /// misses its deadline, or the tiers cannot be asked. Zero by default. Counted as [`stale_for`](Self::stale_for) is, from the end of freshness.
    ///
    /// Such an answer is [`Stale`](nanotier_tier::Freshness::Stale). What was removed or overwritten is never served this way.
    /// [`get`](crate::Cache::get), which loads nothing, answers it only if a tier failed.
    pub fn stale_on_error_for(mut self, stale_on_error_for: Duration) -> Self {
        self.stale_on_error_for = stale_on_error_for;
        self
    }

    /// Loads a new value before the old one's end, behind a caller who gets the old one: once a share of the lifetime has
    /// passed (`0.8`), or some time before the end (a [`Duration`]). Off by default. Decided when a value enters memory.
    pub fn refresh_ahead(mut self, ahead: impl Into<Ahead>) -> Self {
        self.refresh_ahead = Some(ahead.into());
        self
    }

    /// Loads a new value ahead of the end by chance, the sooner the longer the load took: at `cost * beta * -ln(random)` before
    /// it, where 1 is a good `beta`, and more is earlier. Off by default. Processes that share tiers draw each for itself, so that most
    /// often one of them has loaded before the others see the end.
    ///
    /// After Vattani, Chierichetti and Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", 2015 (XFetch). One number is
    /// drawn for each value that enters memory, not for each read: within a process one load per key is promised anyway, and a hit pays nothing.
    pub fn early_expiry(mut self, beta: f64) -> Self {
        self.early_expiry = Some(beta);
        self
    }

    /// How long it is remembered that the loader of [`optionally_get_with`](crate::Cache::optionally_get_with) found nothing. Not at all by
    /// default. In memory only; a write to the key forgets it.
    pub fn negative_ttl(mut self, ttl: Duration) -> Self {
        self.negative_ttl = Some(ttl);
        self
    }

    /// How long a loader's error is answered to others who ask, instead of asking again. Not at all by default. In memory only; a write to
    /// the key forgets it. A value that [`stale_on_error_for`](Self::stale_on_error_for) allows goes before the error.
    pub fn error_ttl(mut self, ttl: Duration) -> Self {
        self.error_ttl = Some(ttl);
        self
    }

    /// How long a caller waits for a load while [`stale_on_error_for`](Self::stale_on_error_for) has a value for it: then it gets that
    /// one, and the load goes on. None by default.
    pub fn soft_deadline(mut self, deadline: Duration) -> Self {
        self.soft_deadline = Some(deadline);
        self
    }

    /// How long a load may take: then it ends, whoever waits gets [`Timeout`](ErrorKind::Timeout) (or a value that
    /// [`stale_on_error_for`](Self::stale_on_error_for) allows), and the next caller starts anew. Default
    /// [`HARD_DEADLINE_DEFAULT`](Self::HARD_DEADLINE_DEFAULT), 20 s.
    ///
    /// An asynchronous loader is dropped; one that blocks cannot be, but nobody waits for it any more except the thread that it
    /// blocks, and what it brings is kept nowhere. Over tiers a deadline is at most half as long as the truth remembers removals
    /// ([`Capabilities::horizon`](nanotier_tier::Capabilities)): `build()` refuses a longer one, `with()` shortens it.
    pub fn hard_deadline(mut self, deadline: Duration) -> Self {
        self.hard_deadline = Some(deadline);
        self
    }

    /// How many loads may run at once in this cache. The others wait for their turn, in order and within their deadlines. No limit by
    /// default. Of the whole cache: a handle made by [`Cache::with`](crate::Cache::with) cannot say otherwise.
    pub fn loads_max(mut self, loads: usize) -> Self {
        self.loads_max = Some(loads);
        self
    }

    /// How long after a load has failed while there was an older value to answer the next one may begin: `first`, then twice as
    /// long after each failure in a row, at most `max`. Meanwhile the older value is answered at once. Default 1 s and 60 s.
    pub fn back_off(mut self, first: Duration, max: Duration) -> Self {
        self.back_off = BackOff { first, max };
        self
    }

    /// Drops a load once nobody waits for it. By default it goes on, since its result will be wanted. Decided by who starts the load.
    pub fn cancel_unwanted(mut self, cancel: bool) -> Self {
        self.cancel_unwanted = cancel;
        self
    }

    /// Goes past the cache: reads find nothing, loaders run for each caller and their values are kept nowhere. Writes and removals are done
    /// as ever, so that others are not lied to. Off by default.
    pub fn bypass(mut self, bypass: bool) -> Self {
        self.bypass = bypass;
        self
    }

    /// How long a loaded value stays in memory that the truth could not take because it was down. Short, so
    /// that the truth is soon asked again. Default [`DEGRADED_TTL_DEFAULT`](Self::DEGRADED_TTL_DEFAULT).
    pub fn degraded_ttl(mut self, degraded_ttl: Duration) -> Self {
        self.degraded_ttl = degraded_ttl;
        self
    }

    /// # Errors
    ///
    /// [`ErrorKind::Config`], with a sentence that says what to change.
    pub(crate) fn judge(&self) -> Result<()> {
        const ZERO: Duration = Duration::ZERO;
        let is_finite = self.ttl.is_some() || self.expire_with.is_some();
        let share = |share: f64| share > 0.0 && share < 1.0;
        let why = if self.ttl == Some(ZERO) {
            "a ttl of zero would keep nothing: leave it out to keep entries for ever"
        } else if self.time_to_idle == Some(ZERO) {
            "a time_to_idle of zero would keep nothing: leave it out"
        } else if self.stale_for > ZERO && !is_finite {
            "`stale_for` needs a `ttl`: what is fresh for ever is never stale"
        } else if self.stale_on_error_for > ZERO && !is_finite {
            "`stale_on_error_for` needs a `ttl`: what is fresh for ever is never stale"
        } else if self.stale_on_error_for > ZERO && self.stale_on_error_for <= self.stale_for {
            "`stale_on_error_for` does nothing unless it is longer than `stale_for`: both count from the end of freshness"
        } else if !(0.0..=1.0).contains(&self.jitter) {
            "a jitter is a share of the lifetime: from 0 to 1"
        } else if self.jitter > 0.0 && !is_finite {
            "`jitter` needs a `ttl`: what is fresh for ever has no end to move"
        } else if self.refresh_ahead.is_some() && !is_finite {
            "`refresh_ahead` needs a `ttl`: what is fresh for ever needs no refresh"
        } else if self.refresh_ahead.is_some_and(|ahead| matches!(ahead, Ahead::Share(of) if !share(of))) {
            "`refresh_ahead` wants a share of the lifetime above 0 and below 1, as 0.8, or a duration"
        } else if self.refresh_ahead.is_some_and(|ahead| ahead == Ahead::Before(ZERO)) {
            "a `refresh_ahead` of zero refreshes nothing: leave it out"
        } else if matches!((self.refresh_ahead, self.ttl), (Some(Ahead::Before(ahead)), Some(ttl)) if ahead >= ttl)
        {
            "`refresh_ahead` is as long as the `ttl` or longer: each read would load"
        } else if self.early_expiry.is_some_and(|beta| !(beta > 0.0 && beta.is_finite())) {
            "`early_expiry` wants a factor above 0; 1 is a good one"
        } else if self.early_expiry.is_some() && !is_finite {
            "`early_expiry` needs a `ttl`: what is fresh for ever does not expire"
        } else if self.negative_ttl == Some(ZERO) || self.error_ttl == Some(ZERO) {
            "a `negative_ttl` or `error_ttl` of zero keeps nothing: leave it out"
        } else if self.hard_deadline == Some(ZERO) {
            "a hard deadline of zero ends every load before it began"
        } else if self.soft_deadline.is_some() && self.stale_on_error_for == ZERO {
            "`soft_deadline` needs `stale_on_error_for`: without it there is nothing to answer when it passes"
        } else if self.soft_deadline.is_some_and(|soft| soft >= self.deadline()) {
            "`soft_deadline` must be shorter than `hard_deadline`"
        } else if self.loads_max == Some(0) {
            "`loads_max` of zero would let nothing be loaded: leave it out for no limit"
        } else if self.back_off.first > self.back_off.max {
            "`back_off` wants its first pause no longer than its longest"
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::Config, "cache", "build").with_detail(why))
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.hard_deadline.unwrap_or(Self::HARD_DEADLINE_DEFAULT)
    }

    /// True if callers may find a value for which a new one is wanted.
    pub(crate) fn refreshes(&self) -> bool {
        self.grace_max() > Duration::ZERO || self.refresh_ahead.is_some() || self.early_expiry.is_some()
    }

    fn grace_max(&self) -> Duration {
        self.stale_for.max(self.stale_on_error_for)
    }

    /// How long what was fresh for `ttl` is usable afterwards: what was never fresh is gone at once.
    pub(crate) fn grace(&self, ttl: Duration) -> Duration {
        if ttl == Duration::ZERO { Duration::ZERO } else { self.grace_max() }
    }

    /// How long an entry that begins now is fresh; `None` for ever.
    pub(crate) fn lifetime(&self, key: &K, value: &V, ttl: Ttl, dice: &Dice) -> Option<Duration> {
        let chosen = match (ttl, &self.expire_with) {
            (Ttl::Default, Some(expire_with)) => expire_with(key, value),
            _ => ttl,
        };
        let lifetime = match chosen {
            Ttl::Default => self.ttl?,
            Ttl::For(lifetime) => lifetime,
            Ttl::Forever => return None,
        };
        let is_ours = ttl == Ttl::Default && self.jitter > 0.0;
        Some(if is_ours { lifetime.mul_f64(1.0 - self.jitter * dice.share()) } else { lifetime })
    }

    /// The deadlines of an entry written at `now` that is fresh for `lifetime`.
    pub(crate) fn deadlines(&self, lifetime: Option<Duration>, now: Timestamp) -> Deadlines {
        lifetime.map_or(Deadlines::NEVER, |lifetime| Deadlines::after(now, lifetime, self.grace(lifetime)))
    }

    /// The same in memory, where nothing lies below.
    pub(crate) fn moments(&self, lifetime: Option<Duration>, now: Moment) -> (Moment, Moment) {
        let Some(lifetime) = lifetime else { return (Moment::NEVER, Moment::NEVER) };
        let fresh_until = now.plus(lifetime);
        (fresh_until, fresh_until.plus(self.grace(lifetime)))
    }

    /// The deadlines of a loaded value that the truth does not have: short, so that the truth is asked again
    /// soon.
    pub(crate) fn degraded(&self, full: Deadlines, now: Timestamp) -> Deadlines {
        let short = now.plus(self.degraded_ttl);
        Deadlines { fresh_until: full.fresh_until.min(short), usable_until: full.usable_until.min(short) }
    }

    /// What memory has to know of an entry besides its end: who loads the next value, from when on one is wanted, how long it may
    /// rest. Its freshness lasts `lifetime` in all, and to load it took `load_cost`.
    pub(crate) fn dress(&self, entry: Resident<V>, spent: Spent, now: Moment, dice: &Dice) -> Resident<V> {
        let mut entry = if self.refreshes() { entry.claimable() } else { entry };
        if let Some(idle_max) = self.time_to_idle {
            entry = entry.idle_after(idle_max, now);
        }
        let fresh_until = entry.fresh_until();
        let Some(lifetime) = spent.lifetime.filter(|_| !fresh_until.is_never()) else { return entry };
        let ahead = self.refresh_ahead.map(|ahead| match ahead {
            Ahead::Share(share) => lifetime.mul_f64(1.0 - share),
            // A lifetime of its own may be shorter than that: half of it is always quiet.
            Ahead::Before(before) => before.min(lifetime / 2),
        });
        const COST_MAX: Duration = Duration::from_secs(3600);
        let early = |beta: f64| spent.load_cost.min(COST_MAX).mul_f64((beta * -dice.share().ln()).min(1e6));
        let early = self.early_expiry.map(early);
        match ahead.max(early) {
            Some(before) if before > Duration::ZERO => entry.due_at(fresh_until.minus(before)),
            _ => entry,
        }
    }
}

/// What an entry's life is and what it cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    /// From the moment it was written; `None` for ever.
    pub(crate) lifetime: Option<Duration>,
    pub(crate) load_cost: Duration,
}

impl<K, V> fmt::Debug for Options<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("ttl", &self.ttl)
            .field("time_to_idle", &self.time_to_idle)
            .field("jitter", &self.jitter)
            .field("stale_for", &self.stale_for)
            .field("stale_on_error_for", &self.stale_on_error_for)
            .field("refresh_ahead", &self.refresh_ahead)
            .field("early_expiry", &self.early_expiry)
            .field("negative_ttl", &self.negative_ttl)
            .field("error_ttl", &self.error_ttl)
            .field("soft_deadline", &self.soft_deadline)
            .field("hard_deadline", &self.hard_deadline)
            .field("loads_max", &self.loads_max)
            .field("back_off", &self.back_off)
            .field("cancel_unwanted", &self.cancel_unwanted)
            .field("bypass", &self.bypass)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_early_expiry_comes_the_sooner_the_longer_the_load_took() {
        let dice = Dice::new(5);
        let options = Options::<(), ()>::default().ttl(Duration::from_secs(1000)).early_expiry(2.0);
        let end = Moment::from_millis(1_000_000);
        // How long before its end a new value is wanted, on average.
        let mean_ms = |cost_ms: u64| {
            let spent = Spent { lifetime: options.ttl, load_cost: Duration::from_millis(cost_ms) };
            let early = |_| {
                let entry =
                    options.dress(Resident::until((), end, end), spent, Moment::from_millis(0), &dice);
                end.since(entry.due()).as_secs_f64() * 1000.0
            };
            (0..10_000).map(early).sum::<f64>() / 10_000.0
        };
        for cost_ms in [10, 100, 1000] {
            // The mean of -ln of an even share is 1.
            let expected = 2.0 * f64::from(u32::try_from(cost_ms).unwrap());
            let mean = mean_ms(cost_ms);
            assert!((mean / expected - 1.0).abs() < 0.06, "{mean} instead of {expected}");
        }
    }
}
