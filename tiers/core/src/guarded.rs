//! A tier that cannot slow or fail what lies in front of it: each call has a deadline, a failing tier is left alone for a
//! while, and only so many calls are at it at once.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use nanotier_clock::{Moment, Timestamp};

use crate::breaker::{Breaker, Outcome, Period, Rules, Switch, WINDOW_MAX};
use crate::capabilities::{Capabilities, Scope};
use crate::context::{Attachment, Context};
use crate::entry::{Cleared, Found, Intent, Page, PageRequest, Write, Wrote};
use crate::error::{Error, ErrorKind, Result};
use crate::observer::Event;
use crate::path::{Namespace, Path};
use crate::sync::Mutex;
use crate::tier::{Lineage, Tier};
use crate::update::{Update, Updated};
use crate::waiting::within;

/// How far a guarded tier may be trusted with its callers' time. Judged by `build()`.
#[derive(Clone, Debug)]
#[must_use = "limits do nothing until a tier is `guarded` by them"]
pub struct Limits {
    deadline: Duration,
    sweep_deadline: Duration,
    breaker: Rules,
    in_flight_max: usize,
    waiting_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self::new()
    }
}

impl Limits {
    /// Limits for a service on the network: 50 ms a call; a breaker that opens after 5 failures in a row or 50 % of the
    /// last 40 calls, for 100 ms at first and 800 ms at most; 256 calls at once and 1024 waiting.
    pub const fn new() -> Self {
        Self {
            deadline: Duration::from_millis(50),
            sweep_deadline: Duration::from_secs(10),
            breaker: Rules {
                in_a_row: 5,
                share: (50, 40),
                first_cool_down: Duration::from_millis(100),
                longest_cool_down: Duration::from_millis(800),
            },
            in_flight_max: 256,
            waiting_max: 1024,
        }
    }

    /// How long a call may take, its wait for its turn included. More than zero.
    pub const fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// How long a clearing or a listing may take: they touch more than one key. 10 s by default; more than zero.
    pub const fn sweep_deadline(self, sweep_deadline: Duration) -> Self {
        Self { sweep_deadline, ..self }
    }

    /// The breaker opens after so many failures in a row. 0 for never.
    pub const fn failures_in_a_row(mut self, failures: u32) -> Self {
        self.breaker.in_a_row = failures;
        self
    }

    /// The breaker opens when `percent` (1 to 100) of the last `calls` (at most 64) failed. 0 calls for never.
    pub const fn failure_share(mut self, percent: u32, calls: u32) -> Self {
        self.breaker.share = (percent, calls);
        self
    }

    /// How long an open breaker stays open: `first` after the first opening, twice as long after each probe that fails, at
    /// most `longest`. Each time is shortened at random, by up to a half. `first` more than zero, `longest` not less.
    pub const fn cool_down(mut self, first: Duration, longest: Duration) -> Self {
        self.breaker.first_cool_down = first;
        self.breaker.longest_cool_down = longest;
        self
    }

    /// No breaker: every call is tried.
    pub const fn without_breaker(self) -> Self {
        self.failures_in_a_row(0).failure_share(100, 0)
    }

    /// How many calls are at the tier at once. At least 1.
    pub const fn in_flight_max(self, in_flight_max: usize) -> Self {
        Self { in_flight_max, ..self }
    }

    /// How many calls wait for their turn, first come first served; one more is [`ErrorKind::Busy`] at once. 0 for none.
    pub const fn waiting_max(self, waiting_max: usize) -> Self {
        Self { waiting_max, ..self }
    }

    fn judge(&self) -> Result<(), &'static str> {
        if self.deadline.is_zero() || self.sweep_deadline.is_zero() {
            return Err("a deadline of zero lets no call end: `.deadline(Duration::from_millis(50))`");
        }
        if self.in_flight_max == 0 {
            return Err("no calls in flight means no calls at all: `.in_flight_max(256)`");
        }
        let (percent, calls) = self.breaker.share;
        if percent == 0 || percent > 100 || calls > WINDOW_MAX {
            return Err(
                "a share of failures is 1 to 100 percent of at most 64 calls: `.failure_share(50, 40)`",
            );
        }
        let (first, longest) = (self.breaker.first_cool_down, self.breaker.longest_cool_down);
        if first.is_zero() || longest < first {
            return Err("a cool-down takes some time, and the longest is not shorter than the first: \
                 `.cool_down(Duration::from_millis(100), Duration::from_millis(800))`");
        }
        Ok(())
    }
}

/// A tier within [`Limits`]; made by [`Tier::guarded`].
///
/// - **Deadline.** A call that has no answer by then is [`ErrorKind::Timeout`], and its future is dropped: whatever
///   becomes of its bytes, a write that arrives late is refused or harmless, since it carries its version. A store that
///   blocks its caller ([`Inline`](crate::Inline)) cannot be interrupted: its answer is passed on however late it is, and
///   counted as a failure. On [`Offload`](crate::Offload) the job goes on without a caller.
/// - **Breaker.** Timeouts, answers that came too late and [`ErrorKind::Unavailable`] are failures; a miss, a refusal and
///   every other error say that the tier answers. While it is open, calls are [`ErrorKind::Unavailable`] at once, so that a
///   chain goes on to its next tier, a stale copy or the loader. `docs/CHAIN.md` has the table of its states.
/// - **Bulkhead.** Beyond the limits a call is [`ErrorKind::Busy`] at once, or when its deadline finds it waiting: it has
///   not begun, so nothing has happened.
///
/// `ready` goes through all three, `close` through none. A guard is for the tiers of a chain one by one: a chain cannot be
/// guarded, since it must not be stopped between its truth and its copies.
///
/// It costs two short locks a call, and no timer for a call that is ready at its first poll.
///
/// ```
/// use nanotier_tier::{Breaker, Limits, MemoryStore, Store, Tier};
/// use std::time::Duration;
///
/// let far = MemoryStore::new().inline().guarded(Limits::new().deadline(Duration::from_millis(20)));
/// let health = far.health();
/// let chain = MemoryStore::new().inline().over(far);
/// assert!(chain.verify().is_ok());
/// assert_eq!(health.state().breaker, Breaker::Closed);
/// ```
#[derive(Debug)]
pub struct Guarded<T> {
    tier: T,
    gate: Arc<Gate>,
}

/// A view of a [`Guarded`] tier that stays when the tier itself is built into a cache.
#[derive(Clone, Debug)]
pub struct Health(Arc<Gate>);

/// The same without keeping the guard alive: who holds it may be held by it.
#[derive(Clone, Debug)]
pub(crate) struct WeakHealth(Weak<Gate>);

impl WeakHealth {
    /// How it is doing now; `None` once it is gone.
    pub(crate) fn state(&self) -> Option<GuardState> {
        Some(self.0.upgrade()?.state())
    }
}

/// How a guarded tier is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GuardState {
    /// Whether calls go through.
    pub breaker: Breaker,
    /// How many are at the tier.
    pub in_flight: usize,
    /// How many wait for their turn.
    pub waiting: usize,
}

impl Health {
    /// How it is doing now.
    #[must_use]
    pub fn state(&self) -> GuardState {
        self.0.state()
    }
}

impl<T: Tier> Guarded<T> {
    pub(crate) fn new(tier: T, limits: Limits) -> Self {
        let gate = Gate {
            tier: tier.name(),
            attachment: Attachment::default(),
            inside: Mutex::new(Inside {
                switch: Switch::new(limits.breaker),
                in_flight: 0,
                waiting: VecDeque::new(),
                tickets_ever: 0,
            }),
            limits,
        };
        Self { tier, gate: Arc::new(gate) }
    }

    /// How it is doing now.
    #[must_use]
    pub fn state(&self) -> GuardState {
        self.gate.state()
    }

    /// A view that can be kept.
    #[must_use]
    pub fn health(&self) -> Health {
        Health(self.gate.clone())
    }

    async fn call<R>(
        &self,
        operation: &'static str,
        deadline: Duration,
        failed: impl FnOnce(&R) -> bool + Send,
        call: impl Future<Output = Result<R>> + Send,
    ) -> Result<R> {
        let clock = self.gate.attachment.clock();
        clock.catch_up();
        let until = clock.now().plus(deadline);
        let mut pass = self.gate.enter(operation, until).await?;
        let mut call = pin!(call);
        let (answer, late) = match poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await {
            // One that blocks its caller takes the time it takes: what it says is good, that it was late is not.
            Poll::Ready(answer) => (Some(answer), clock.now() > until),
            Poll::Pending => (within(clock, until, call).await, false),
        };
        let answer = answer.unwrap_or_else(|| {
            let detail = format!("no answer within {} ms", deadline.as_millis());
            Err(Error::new(ErrorKind::Timeout, self.tier.name(), operation).with_detail(detail))
        });
        let failed = late || answer.as_ref().map_or_else(is_failure, failed);
        pass.outcome = if failed { Outcome::Failure } else { Outcome::Success };
        answer
    }
}

/// True for what a tier that is down or out of reach says, or does not.
fn is_failure(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unavailable)
}

/// A batch failed if every part of it did.
fn all_failed<R>(answers: &[Result<R>]) -> bool {
    !answers.is_empty() && answers.iter().all(|answer| answer.as_ref().is_err_and(is_failure))
}

#[derive(Debug)]
struct Gate {
    tier: &'static str,
    limits: Limits,
    attachment: Attachment,
    inside: Mutex<Inside>,
}

#[derive(Debug)]
struct Inside {
    switch: Switch,
    in_flight: usize,
    waiting: VecDeque<Waiting>,
    tickets_ever: u64,
}

/// One who waits for his turn. When it is his, he is no longer in the queue, and his call counts as in flight.
#[derive(Debug)]
struct Waiting {
    ticket: u64,
    waker: Waker,
}

impl Gate {
    fn state(&self) -> GuardState {
        let inside = self.inside.lock();
        GuardState {
            breaker: inside.switch.state(),
            in_flight: inside.in_flight,
            waiting: inside.waiting.len(),
        }
    }

    fn error(&self, kind: ErrorKind, operation: &'static str, detail: &'static str) -> Error {
        Error::new(kind, self.tier, operation).with_detail(detail)
    }

    fn now(&self) -> Moment {
        self.attachment.clock().now()
    }

    fn tell(&self, breaker: Breaker) {
        let (tier, context) = (self.tier, self.attachment.context());
        let at = context.place();
        context.tell(&match breaker {
            Breaker::Open => Event::BreakerOpened { tier, at },
            Breaker::HalfOpen => Event::BreakerHalfOpen { tier, at },
            Breaker::Closed => Event::BreakerClosed { tier, at },
        });
    }

    /// Past the breaker and into the tier, at the latest by `until`.
    async fn enter(self: &Arc<Self>, operation: &'static str, until: Moment) -> Result<Pass> {
        let turn = {
            let mut inside = self.inside.lock();
            if inside.switch.refuses(self.now()) {
                return Err(self.error(ErrorKind::Unavailable, operation, "its breaker is open"));
            }
            if inside.in_flight < self.limits.in_flight_max {
                inside.in_flight += 1;
                None
            } else if inside.waiting.len() < self.limits.waiting_max {
                inside.tickets_ever += 1;
                let ticket = inside.tickets_ever;
                inside.waiting.push_back(Waiting { ticket, waker: Waker::noop().clone() });
                Some(Turn { gate: self.clone(), ticket, taken: false })
            } else {
                return Err(self.error(ErrorKind::Busy, operation, "as many calls as may wait, wait"));
            }
        };
        // Its place in flight, given back however this ends.
        let mut pass =
            Pass { gate: self.clone(), period: None, outcome: Outcome::Dropped, holds: turn.is_none() };
        if let Some(mut turn) = turn {
            let waited =
                within(self.attachment.clock(), until, poll_fn(|context| turn.poll(context.waker())));
            if waited.await.is_none() {
                drop(turn);
                return Err(self.error(ErrorKind::Busy, operation, "its turn did not come in time"));
            }
            turn.taken = true;
            pass.holds = true;
        }
        let admitted = self.inside.lock().switch.admit(self.now());
        let Some((period, changed)) = admitted else {
            return Err(self.error(ErrorKind::Unavailable, operation, "its breaker is open"));
        };
        pass.period = Some(period);
        if changed {
            self.tell(Breaker::HalfOpen);
        }
        Ok(pass)
    }

    /// A call has left the tier: the next one has its place.
    fn leave(inside: &mut Inside) -> Option<Waker> {
        match inside.waiting.pop_front() {
            Some(next) => Some(next.waker),
            None => {
                inside.in_flight -= 1;
                None
            }
        }
    }
}

/// A place in the queue.
struct Turn {
    gate: Arc<Gate>,
    ticket: u64,
    /// The place in flight that came of it is somebody else's to give back.
    taken: bool,
}

impl Turn {
    fn poll(&self, waker: &Waker) -> Poll<()> {
        let mut inside = self.gate.inside.lock();
        match inside.waiting.iter_mut().find(|waiting| waiting.ticket == self.ticket) {
            Some(waiting) => {
                waiting.waker.clone_from(waker);
                Poll::Pending
            }
            None => Poll::Ready(()),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.taken {
            return;
        }
        let mut inside = self.gate.inside.lock();
        let before = inside.waiting.len();
        inside.waiting.retain(|waiting| waiting.ticket != self.ticket);
        // It was called while it went.
        let waker = if inside.waiting.len() == before { Gate::leave(&mut inside) } else { None };
        drop(inside);
        waker.into_iter().for_each(Waker::wake);
    }
}

/// A call that is at the tier. Dropped with its outcome.
struct Pass {
    gate: Arc<Gate>,
    period: Option<Period>,
    outcome: Outcome,
    holds: bool,
}

impl Drop for Pass {
    fn drop(&mut self) {
        let now = self.gate.now();
        let mut inside = self.gate.inside.lock();
        let changed = self.period.is_some_and(|period| inside.switch.settle(period, self.outcome, now));
        let state = inside.switch.state();
        let mut wakers: Vec<Waker> = Vec::new();
        if self.holds {
            wakers.extend(Gate::leave(&mut inside));
        }
        if changed && state == Breaker::Open {
            // Who waits is told at once: all get a turn, and are refused.
            inside.in_flight += inside.waiting.len();
            wakers.extend(inside.waiting.drain(..).map(|waiting| waiting.waker));
        }
        drop(inside);
        wakers.into_iter().for_each(Waker::wake);
        if changed {
            self.gate.tell(state);
        }
    }
}

impl<T: Tier> Tier for Guarded<T> {
    fn name(&self) -> &'static str {
        self.tier.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.tier.capabilities()
    }

    fn depth(&self) -> u8 {
        self.tier.depth()
    }

    fn attach(&self, context: &Context) {
        self.gate.attachment.attach(context);
        self.gate.inside.lock().switch.set_seed(context.versions.writer());
        context.meters().watch(context.place(), WeakHealth(Arc::downgrade(&self.gate)));
        self.tier.attach(context);
    }

    fn verify(&self) -> Result<Scope> {
        let config = |detail| Err(self.gate.error(ErrorKind::Config, "build", detail));
        if let Err(why) = self.gate.limits.judge() {
            return config(why);
        }
        if self.tier.depth() > 1 {
            return config(
                "a chain is not guarded as a whole: write `near.guarded(..).over(far.guarded(..))`",
            );
        }
        self.tier.verify()
    }

    fn believed_since(&self) -> Timestamp {
        self.tier.believed_since()
    }

    fn lineage(&self) -> Option<Lineage> {
        self.tier.lineage()
    }

    fn doubt(&self, until: Timestamp) {
        self.tier.doubt(until);
    }

    async fn read(&self, paths: &[Path<'_>], intent: Intent) -> Result<Vec<Result<Found>>> {
        self.call("read", self.gate.limits.deadline, |all| all_failed(all), self.tier.read(paths, intent))
            .await
    }

    async fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
        self.call("write", self.gate.limits.deadline, |all| all_failed(all), self.tier.write(writes)).await
    }

    async fn update(&self, update: &Update<'_>) -> Result<Updated> {
        self.call("update", self.gate.limits.deadline, |_| false, self.tier.update(update)).await
    }

    async fn clear(&self, cleared: &Cleared<'_>) -> Result<Wrote> {
        self.call("clear", self.gate.limits.sweep_deadline, |_| false, self.tier.clear(cleared)).await
    }

    async fn list(&self, namespace: &Namespace, page: &PageRequest) -> Result<Page> {
        self.call("list", self.gate.limits.sweep_deadline, |_| false, self.tier.list(namespace, page)).await
    }

    async fn ready(&self) -> Result<()> {
        self.call("ready", self.gate.limits.deadline, |()| false, self.tier.ready()).await
    }

    async fn close(&self) -> Result<()> {
        self.tier.close().await
    }
}

impl fmt::Display for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        })
    }
}
