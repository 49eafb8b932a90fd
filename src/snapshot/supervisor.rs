//! Work in the background that can be ended from anywhere, and what has become of it.
//!
//! The work is in a place of its own; what a spawner is given is a shell that takes the work out, polls it and puts it
//! back. Whoever stops it takes the work out too, and drops it there and then: so the last handle that goes takes a
//! load that hangs with it, whatever executor it was on, be that alive or not. Only work that is being polled at that
//! moment is left to whoever polls it, who drops it next. The shell is woken, finds nothing, and ends.

use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use nanotier_tier::sync::Mutex;
use nanotier_tier::{Clock, Context as TierContext, Error, ErrorKind, Moment, Task};

use crate::flight::panicked;

/// Refreshes of one value: the work that does them, how the last one ended, and who waits for the next.
pub(super) struct Supervisor {
    clock: Clock,
    /// How old the last success is at most while all is well.
    promised: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Here while nobody polls it.
    work: Option<Task>,
    /// Somebody polls the work right now, or drops it.
    is_busy: bool,
    /// Wakes the shell.
    shell: Option<Waker>,
    is_stopped: bool,
    /// A load is wanted before its time.
    is_wanted: bool,
    /// Blocking loads under way, on threads that nobody can cut short.
    blocking: usize,
    /// When the last load began that succeeded.
    checked: Option<Moment>,
    /// Why the last load failed, if it did.
    error: Option<Error>,
    /// Why the last write to a tier failed, if it did.
    write_error: Option<Error>,
    /// All who wait for something to happen here: woken by whatever does, to look.
    waiters: Vec<Waker>,
}

impl Supervisor {
    pub(super) fn new(clock: Clock, promised: Duration) -> Arc<Self> {
        Arc::new(Self { clock, promised, state: Mutex::default() })
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) fn promised(&self) -> Duration {
        self.promised
    }

    /// Runs `work`, which has no end of its own, until it is stopped.
    pub(super) fn start(self: &Arc<Self>, context: &TierContext, work: Task) {
        self.state.lock().work = Some(work);
        context.spawn(Box::pin(Shell(self.clone())));
    }

    /// Ends the work. It is gone when this returns, unless somebody polls it right now; then it is gone when they are
    /// done.
    pub(super) fn stop(&self) {
        let (work, shell) = {
            let mut state = self.state.lock();
            state.is_stopped = true;
            let work = state.work.take();
            state.is_busy |= work.is_some();
            (work, state.shell.take())
        };
        if let Some(work) = work {
            self.let_go(work);
        }
        self.tell(|_| ());
        shell.into_iter().for_each(wake);
    }

    /// Drops the work of one who is busy with it.
    fn let_go(&self, work: Task) {
        contain(|| drop(work));
        self.tell(|state| state.is_busy = false);
    }

    /// Has the next load begin now, or as soon as the one under way has ended. This is where a tier that can tell of
    /// foreign writes would have its say.
    pub(super) fn refresh(&self) {
        let shell = {
            let mut state = self.state.lock();
            state.is_wanted = true;
            state.shell.take()
        };
        shell.into_iter().for_each(wake);
    }

    /// Waits until `until`, or until a load is wanted.
    pub(super) async fn pause(&self, until: Moment) {
        let mut sleep = self.clock.sleep_until(until);
        poll_fn(|context| {
            // The shell has left its waker: who wants a load from now on wakes it.
            if std::mem::take(&mut self.state.lock().is_wanted) {
                return Poll::Ready(());
            }
            Pin::new(&mut sleep).poll(context)
        })
        .await;
    }

    pub(super) fn succeeded(&self, begun: Moment) {
        let _error = self.tell(|state| {
            state.checked = Some(begun);
            state.error.take()
        });
    }

    pub(super) fn failed(&self, error: Error) {
        let _error = self.tell(|state| state.error.replace(error));
    }

    pub(super) fn wrote(&self, error: Option<Error>) {
        let _error = self.tell(|state| std::mem::replace(&mut state.write_error, error));
    }

    /// From now until the guard goes a load is under way on a thread of its own.
    pub(super) fn block(self: &Arc<Self>) -> Blocking {
        self.state.lock().blocking += 1;
        Blocking(self.clone())
    }

    pub(super) fn last_error(&self) -> Option<Error> {
        self.state.lock().error.clone()
    }

    pub(super) fn write_error(&self) -> Option<Error> {
        self.state.lock().write_error.clone()
    }

    /// The last load succeeded, not too long ago for the next to have come by now, and what it found was fresh then.
    pub(super) fn is_healthy(&self, fresh_until: Moment) -> bool {
        self.clock.catch_up();
        let now = self.clock.now();
        let state = self.state.lock();
        let is_good = |checked| now.since(checked) <= self.promised && checked < fresh_until;
        state.checked.is_some_and(is_good) && state.error.is_none() && !state.is_stopped
    }

    /// Waits until `look` finds something; `None` once it is stopped before that.
    pub(super) async fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        self.wait(|state| match look() {
            Some(found) => Poll::Ready(Some(found)),
            None if state.is_stopped => Poll::Ready(None),
            None => Poll::Pending,
        })
        .await
    }

    /// Waits until it is stopped and nothing of it is left: no work, no blocking load.
    pub(super) async fn ended(&self) {
        self.wait(|state| match state.is_stopped && !state.is_busy && state.blocking == 0 {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }

    async fn wait<T>(&self, mut look: impl FnMut(&State) -> Poll<T>) -> T {
        poll_fn(|context| {
            // Cloned, and dropped if it is not needed, outside the lock: both are code of the executor's.
            let waker = context.waker().clone();
            let mut state = self.state.lock();
            // Under the lock: whoever changes what is looked for takes the wakers afterwards.
            let looked = look(&state);
            if looked.is_pending() && !state.waiters.iter().any(|kept| kept.will_wake(&waker)) {
                state.waiters.push(waker);
            }
            looked
        })
        .await
    }

    /// Changes the state, and wakes all who wait for that.
    fn tell<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let (result, waiters) = {
            let mut state = self.state.lock();
            (change(&mut state), std::mem::take(&mut state.waiters))
        };
        waiters.into_iter().for_each(wake);
        result
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Supervisor")
            .field("is_stopped", &state.is_stopped)
            .field("error", &state.error)
            .field("write_error", &state.write_error)
            .finish_non_exhaustive()
    }
}

/// A waker is its owner's code: if it panics, that is nothing to who calls it.
fn wake(waker: Waker) {
    contain(|| waker.wake());
}

/// Runs somebody else's code whose panic concerns nobody here.
pub(super) fn contain(code: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(code));
}

/// What the spawner is given.
struct Shell(Arc<Supervisor>);

impl Future for Shell {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let supervisor = &self.0;
        let waker = context.waker().clone();
        let (work, _replaced) = {
            let mut state = supervisor.state.lock();
            let work = state.work.take();
            state.is_busy |= work.is_some();
            (work, state.shell.replace(waker))
        };
        let Some(mut work) = work else { return Poll::Ready(()) };
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        if let Err(panic) = &polled {
            // What runs user code contains it: this is a fault of ours, and must not look like a value that stays as it is.
            supervisor.failed(panicked(panic.as_ref()));
        }
        let mut state = supervisor.state.lock();
        state.is_stopped |= !matches!(polled, Ok(Poll::Pending));
        if state.is_stopped {
            drop(state);
            supervisor.let_go(work);
            return Poll::Ready(());
        }
        state.work = Some(work);
        state.is_busy = false;
        Poll::Pending
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        if self.0.state.lock().is_stopped {
            return;
        }
        // Dropped unfinished: the runtime has ended. The value stays as it is, and says so.
        self.0.failed(
            Error::new(ErrorKind::Closed, "cache", "load")
                .with_detail("the runtime that it was refreshed on has ended"),
        );
        self.0.stop();
    }
}

/// A load on a thread of its own.
pub(super) struct Blocking(Arc<Supervisor>);

impl Drop for Blocking {
    fn drop(&mut self) {
        self.0.tell(|state| state.blocking -= 1);
    }
}

/// The handles' share: when the last one goes, the work ends.
#[derive(Debug)]
pub(super) struct Lease(pub(super) Arc<Supervisor>);

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.stop();
    }
}
