//! Waiting for a future: on the calling thread, or until a moment.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use nanotier_clock::{Clock, Moment};

/// What `future` comes to, if it does before `until`; else it is dropped, and `None`.
///
/// The future goes first: one that is ready whenever it is polled is never too late, whatever the clock says. A call that
/// is ready at its first poll starts no timer. A future that blocks the thread that polls it cannot be interrupted.
pub async fn within<F: Future>(clock: &Clock, until: Moment, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut sleep = pin!(clock.sleep_until(until));
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => sleep.as_mut().poll(context).map(|()| None),
    })
    .await
}

/// Runs `future` to its end on this thread. One that is ready at its first poll costs neither a waker nor a
/// park.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => park(future.as_mut()),
    }
}

#[cfg(not(nanotier_schedules))]
mod threads {
    use super::{Context, Duration, Future, Instant, Pin, Poll, Waker};
    use std::sync::Arc;
    use std::task::Wake;
    use std::thread::{self, Thread};

    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    /// Polls until it is ready, parked in between.
    #[cold]
    pub(super) fn park<F: Future>(mut future: Pin<&mut F>) -> F::Output {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return output;
            }
            thread::park();
        }
    }

    /// The same for at most `limit` of real time; `None` if that was not enough.
    pub fn block_on_for<F: Future>(future: Pin<&mut F>, limit: Duration) -> Option<F::Output> {
        let mut future = future;
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        // The one place that reads real time: a caller's patience is no cache time.
        let deadline = Instant::now().checked_add(limit);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Some(output);
            }
            match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return None,
                Some(left) => thread::park_timeout(left),
                None => thread::park(),
            }
        }
    }
}
#[cfg(not(nanotier_schedules))]
pub use threads::block_on_for;
#[cfg(not(nanotier_schedules))]
use threads::park;

#[cfg(nanotier_schedules)]
fn park<F: Future>(future: Pin<&mut F>) -> F::Output {
    shuttle::future::block_on(future)
}

/// Without real time in an explored schedule, patience is endless.
#[cfg(nanotier_schedules)]
pub fn block_on_for<F: Future>(future: Pin<&mut F>, _: Duration) -> Option<F::Output> {
    let _ = Instant::now;
    Some(shuttle::future::block_on(future))
}
