//! One piece of work that many wait for.
//!
//! The work belongs to the flight, not to who started it. **Whoever is polled drives it**: there is no leader
//! whose delay or end could leave the others waiting, and no task is spawned as long as somebody waits. When
//! the last one leaves, the work is handed to the cache's spawner and goes on, or is dropped, as its
//! [`Orphan`] policy says.
//!
//! States of a flight: *idle* (work is here), *busy* (somebody polls it right now), *settled* (outcome is
//! here), *abandoned* (the last one left and the work was dropped). A wake, whether it arrives while busy or
//! while idle, wakes all who wait, since any of them may have gone to sleep for good.
//!
//! A flight may have a **deadline**. Each who waits looks at the clock for itself, since whoever drives the work may be blocked by
//! it: the first to see that the time is over settles the flight, and the work is dropped, or what it still brings is let go.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};

use nanotier_tier::rules::{Rule, is_on};
use nanotier_tier::sync::{schedule_point, thread_local};
use nanotier_tier::{BoxFuture, Context as TierContext, Error, ErrorKind, Event, Moment, Sleep};
use parking_lot::Mutex;

use crate::load_error::Failure;
use crate::lookup::Detailed;
use crate::runtime::Runtime;
use crate::watch::Ongoing;

/// How a flight ends, for each who waits.
pub(crate) type Outcome<T> = Result<Detailed<T>, Failure>;

/// What becomes of the work when nobody waits any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Orphan {
    /// It goes on: its result will be wanted.
    GoesOn,
    /// It is dropped: it only looked.
    IsDropped,
}

/// The work and all who wait for it.
pub(crate) struct Flight<T> {
    id: u64,
    orphan: Orphan,
    until: Moment,
    /// The flight that does this one's work along with others': whoever is polling that one re-enters here.
    part_of: Option<u64>,
    /// Where the work began: whoever drives it enters there.
    runtime: Runtime,
    state: Mutex<State<T>>,
}

struct State<T> {
    /// Here while idle.
    work: Option<BoxFuture<'static, Outcome<T>>>,
    /// Here once settled.
    outcome: Option<Arc<Outcome<T>>>,
    /// Says what a flight comes to that is ended before its work is. Here until it is settled.
    at_end: Option<AtEnd<T>>,
    abandoned: bool,
    /// Woken while busy: whoever is polling polls again.
    woken: bool,
    /// All who wait, with where to wake them. Small: searched from the front.
    waiters: Vec<(u64, Option<Waker>)>,
    waiters_ever: u64,
}

/// Told why a flight is ended before its work is, it says what it comes to.
pub(crate) type AtEnd<T> = Box<dyn FnOnce(Error) -> Outcome<T> + Send>;

thread_local! {
    /// The flights that this thread is polling right now, outermost first: to tell re-entry from waiting.
    static POLLING: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// A number for each flight of the process.
static FLIGHTS_EVER: AtomicU64 = AtomicU64::new(1);

/// The next flight's number. Known before its work is built, since the work has to know it.
pub(crate) fn next_id() -> u64 {
    FLIGHTS_EVER.fetch_add(1, Relaxed)
}

impl<T: Clone + Send + Sync + 'static> Flight<T> {
    pub(crate) fn new(id: u64, orphan: Orphan, work: BoxFuture<'static, Outcome<T>>) -> Arc<Self> {
        Arc::new(Self {
            id,
            orphan,
            until: Moment::NEVER,
            part_of: None,
            runtime: Runtime::current(),
            state: Mutex::new(State {
                work: Some(work),
                outcome: None,
                at_end: None,
                abandoned: false,
                woken: false,
                waiters: Vec::new(),
                waiters_ever: 0,
            }),
        })
    }

    /// The same with a deadline, and what it comes to if it is ended.
    pub(crate) fn new_until(
        id: u64,
        orphan: Orphan,
        work: BoxFuture<'static, Outcome<T>>,
        until: Moment,
        at_end: AtEnd<T>,
        part_of: Option<u64>,
    ) -> Arc<Self> {
        let mut flight = Self::new(id, orphan, work);
        if let Some(flight) = Arc::get_mut(&mut flight) {
            (flight.until, flight.part_of) = (until, part_of);
            flight.state.get_mut().at_end = Some(at_end);
        }
        flight
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// True once its deadline has passed, whether or not anybody who waits has seen it.
    pub(crate) fn is_overdue(&self, now: Moment) -> bool {
        now >= self.until
    }

    /// One more who waits; `None` if the flight was abandoned and will never settle.
    pub(crate) fn join(self: &Arc<Self>, context: &TierContext) -> Option<Waiter<T>> {
        let mut state = self.state.lock();
        if state.abandoned {
            return None;
        }
        let id = state.waiters_ever;
        state.waiters_ever += 1;
        state.waiters.push((id, None));
        drop(state);
        Some(Waiter { flight: self.clone(), id, context: context.clone(), sleep: None, is_spawned: false })
    }

    /// Drives the flight on the cache's spawner, for nobody: a refresh, as which it is told.
    pub(crate) fn go_on(self: &Arc<Self>, context: &TierContext, call: Ongoing) {
        match self.join(context) {
            Some(waiter) => waiter.spawn(call),
            None => drop(call),
        }
    }

    /// Polls the work on behalf of one who waits. Once it has ended, the outcome is in the state.
    fn drive(self: &Arc<Self>, mut work: BoxFuture<'static, Outcome<T>>) -> Poll<Arc<Outcome<T>>> {
        POLLING.with(|polling| polling.borrow_mut().push(self.id));
        let waker = Waker::from(self.clone());
        let mut context = Context::from_waker(&waker);
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let _entered = self.runtime.enter();
            work.as_mut().poll(&mut context)
        }));
        POLLING.with(|polling| polling.borrow_mut().pop());
        schedule_point();

        let outcome = match polled {
            Ok(Poll::Ready(outcome)) => outcome,
            Ok(Poll::Pending) => {
                let wakers = {
                    let mut state = self.state.lock();
                    // If it was ended meanwhile, the work is dropped below.
                    if state.outcome.is_none() {
                        state.work = Some(work);
                    }
                    if std::mem::take(&mut state.woken) { take_wakers(&mut state) } else { Vec::new() }
                };
                // Woken while it was polled, perhaps by itself to let others run: polled again, but not in this
                // turn.
                wakers.into_iter().for_each(Waker::wake);
                return Poll::Pending;
            }
            Err(panic) => Err(Failure::Cache(panicked(panic.as_ref()))),
        };
        // The work's own duties (its ticket) end before anyone is told.
        let _ = catch_unwind(AssertUnwindSafe(move || drop(work)));
        schedule_point();
        Poll::Ready(self.settle(outcome))
    }

    /// Settles the flight unless it is; answers what it came to.
    fn settle(&self, outcome: Outcome<T>) -> Arc<Outcome<T>> {
        // Dropped outside the lock: they may own anything.
        let (_late, _at_end, _work);
        let (outcome, wakers) = {
            let mut state = self.state.lock();
            (_at_end, _work) = (state.at_end.take(), state.work.take());
            let settled = match &state.outcome {
                // It was ended while the work was busy.
                Some(settled) => {
                    _late = Some(outcome);
                    settled.clone()
                }
                None => {
                    _late = None;
                    state.outcome.insert(Arc::new(outcome)).clone()
                }
            };
            (settled, take_wakers(&mut state))
        };
        wakers.into_iter().for_each(Waker::wake);
        outcome
    }

    /// Ends the flight whether or not its work has: what is not being polled is dropped. `None` if somebody else is ending it,
    /// who will wake all that wait.
    pub(crate) fn end(&self, why: Error) -> Option<Arc<Outcome<T>>> {
        let (work, at_end) = {
            let mut state = self.state.lock();
            if let Some(outcome) = &state.outcome {
                return Some(outcome.clone());
            }
            let at_end = state.at_end.take()?;
            (state.work.take(), at_end)
        };
        schedule_point();
        // Before the work goes: as long as it is there it can be seen whether the key was written meanwhile.
        let outcome = catch_unwind(AssertUnwindSafe(|| at_end(why)));
        schedule_point();
        // The user's code, and so is what it owns: a panic of either is nobody's who waits here.
        let _ = catch_unwind(AssertUnwindSafe(move || drop(work)));
        Some(self.settle(outcome.unwrap_or_else(|panic| Err(Failure::Cache(panicked(panic.as_ref()))))))
    }
}

fn take_wakers<T>(state: &mut State<T>) -> Vec<Waker> {
    state.waiters.iter_mut().filter_map(|(_, waker)| waker.take()).collect()
}

/// Why a flight is ended whose deadline has passed.
pub(crate) fn too_long() -> Error {
    Error::new(ErrorKind::Timeout, "cache", "load")
        .with_detail("the loader took longer than its hard deadline")
}

/// A loader's panic as an error. The text of a panic may hold data: it is not passed on.
pub(crate) fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let error = Error::new(ErrorKind::LoaderPanicked, "cache", "load");
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    if text.is_some_and(|text| text.contains("reactor") || text.contains("Tokio")) {
        return error.with_detail("it needs a tokio runtime: begin it inside one, with the feature `tokio`");
    }
    error
}

impl<T: Clone + Send + Sync + 'static> Wake for Flight<T> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let wakers = {
            let mut state = self.state.lock();
            if state.work.is_none() && state.outcome.is_none() {
                state.woken = true;
                return;
            }
            take_wakers(&mut state)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// One who waits for a flight.
pub(crate) struct Waiter<T: Clone + Send + Sync + 'static> {
    flight: Arc<Flight<T>>,
    id: u64,
    context: TierContext,
    /// Until the deadline, once it has had to wait.
    sleep: Option<Sleep>,
    /// On the spawner, for nobody: if it is dropped, the spawner's runtime has ended.
    is_spawned: bool,
}

impl<T: Clone + Send + Sync + 'static> Waiter<T> {
    /// Drives the flight on the cache's spawner, for nobody.
    pub(crate) fn spawn(mut self, call: Ongoing) {
        self.is_spawned = true;
        let context = self.context.clone();
        let told = context.clone();
        context.spawn(Box::pin(async move {
            let outcome = self.await;
            if outcome.is_err() {
                told.tell(&Event::LoadFailed);
            }
            call.refreshed(&outcome);
        }));
    }

    /// True if the work was begun for it.
    pub(crate) fn is_first(&self) -> bool {
        self.id == 0
    }
}

impl<T: Clone + Send + Sync + 'static> Future for Waiter<T> {
    type Output = Outcome<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(outcome) = self.poll_work(context) {
            return Poll::Ready(outcome);
        }
        schedule_point();
        let waiter = &mut *self;
        let until = waiter.flight.until;
        if until.is_never() {
            return Poll::Pending;
        }
        let clock = &waiter.context.clock;
        let sleep = waiter.sleep.get_or_insert_with(|| clock.sleep_until(until));
        std::task::ready!(Pin::new(sleep).poll(context));
        match waiter.flight.end(too_long()) {
            Some(outcome) => Poll::Ready((*outcome).clone()),
            None => Poll::Pending,
        }
    }
}

impl<T: Clone + Send + Sync + 'static> Waiter<T> {
    fn poll_work(&mut self, context: &mut Context<'_>) -> Poll<Outcome<T>> {
        let flight = &self.flight;
        let is_ours = |id: &u64| *id == flight.id || Some(*id) == flight.part_of;
        if POLLING.with(|polling| polling.borrow().iter().any(is_ours)) {
            let error = Error::new(ErrorKind::Reentrant, "cache", "load");
            return Poll::Ready(Err(Failure::Cache(error)));
        }
        // Values are cloned, and wakers dropped, outside the lock: both may run anybody's code.
        let mut replaced = None;
        let work = {
            let mut state = flight.state.lock();
            if let Some(outcome) = state.outcome.clone() {
                drop(state);
                return Poll::Ready((*outcome).clone());
            }
            // Before polling: a wake from now on must find us.
            if let Some((_, waker)) = state.waiters.iter_mut().find(|(id, _)| *id == self.id) {
                if !waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                    replaced = waker.replace(context.waker().clone());
                }
            }
            let may_drive = self.id == 0 || is_on(Rule::FlightsOutliveLeaders);
            let work = state.work.take_if(|_| may_drive);
            if work.is_some() {
                state.woken = false;
            }
            work
        };
        drop(replaced);
        match work {
            Some(work) => flight.drive(work).map(|outcome| (*outcome).clone()),
            None => Poll::Pending,
        }
    }
}

impl<T: Clone + Send + Sync + 'static> Drop for Waiter<T> {
    fn drop(&mut self) {
        let (work, goes_on);
        // Dropped outside the lock: a waker may own anything, another waiter of this flight too.
        let _waker;
        {
            let mut state = self.flight.state.lock();
            let at = state.waiters.iter().position(|(id, _)| *id == self.id);
            _waker = at.map(|at| state.waiters.swap_remove(at));
            if !state.waiters.is_empty() || state.outcome.is_some() || state.work.is_none() {
                return;
            }
            (work, goes_on) = if self.flight.orphan == Orphan::GoesOn {
                (None, is_on(Rule::FlightsOutliveLeaders))
            } else {
                state.abandoned = true;
                (state.work.take(), false)
            };
        }
        drop(work);
        if !goes_on {
            return;
        }
        let Some(waiter) = self.flight.join(&self.context) else { return };
        if self.is_spawned {
            self.context.spawn_on_worker(Box::pin(async move { drop(waiter.await) }));
        } else {
            // Who had begun it was told as dropped.
            waiter.spawn(Ongoing::untold());
        }
    }
}
