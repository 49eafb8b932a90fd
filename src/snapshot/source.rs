//! Where a value comes from: a function, one that blocks, or a key in a tier.

use std::error::Error as StdError;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use nanotier_tier::{BoxFuture, Error, ErrorKind, Moment, Result, Spawn, Worker};
use parking_lot::Mutex;

use super::Shown;
use super::supervisor::{Supervisor, contain};
use crate::flight::panicked;
use crate::runtime::Runtime;

/// Is asked again and again, one load after the other.
pub(super) trait Source<V>: Send {
    /// The value now, by a load that began at `begun`; `None` if it is the one that was brought last.
    fn load(&mut self, begun: Moment) -> BoxFuture<'_, Result<Option<Shown<V>>>>;
}

/// What fails with an `E`, as an error of ours.
fn of_loader<E: Into<Box<dyn StdError + Send + Sync>>>(error: E) -> Error {
    Error::new(ErrorKind::Loader, "cache", "load").with_source(error)
}

/// An asynchronous function.
pub(super) struct Function<F>(pub(super) F);

impl<V, F, L, E> Source<V> for Function<F>
where
    V: Send,
    F: FnMut() -> L + Send,
    L: Future<Output = Result<V, E>> + Send,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    fn load(&mut self, begun: Moment) -> BoxFuture<'_, Result<Option<Shown<V>>>> {
        // Called where it is polled: it may panic before it is a future.
        Box::pin(
            async move { (self.0)().await.map(|value| Some(Shown::at(begun, value))).map_err(of_loader) },
        )
    }
}

/// A function that blocks, on a thread of its own.
pub(super) struct BlockingFunction<F> {
    /// Not here while it runs.
    function: Arc<Mutex<Option<F>>>,
    worker: Worker,
    runtime: Runtime,
    supervisor: Arc<Supervisor>,
}

impl<F> BlockingFunction<F> {
    pub(super) fn new(function: F, supervisor: Arc<Supervisor>) -> Self {
        let function = Arc::new(Mutex::new(Some(function)));
        Self { function, worker: Worker::default(), runtime: Runtime::current(), supervisor }
    }
}

impl<V, F, E> Source<V> for BlockingFunction<F>
where
    V: Send + 'static,
    F: FnMut() -> Result<V, E> + Send + 'static,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    fn load(&mut self, begun: Moment) -> BoxFuture<'_, Result<Option<Shown<V>>>> {
        let Some(mut function) = self.function.lock().take() else {
            let error = Error::new(ErrorKind::Busy, "cache", "load")
                .with_detail("the load before this one has not returned yet, long after its deadline");
            return Box::pin(std::future::ready(Err(error)));
        };
        let (home, runtime, under_way) =
            (self.function.clone(), self.runtime.clone(), self.supervisor.block());
        let reply = Arc::new(Reply(Mutex::new((None, None))));
        let answer = reply.clone();
        // A worker never refuses.
        let _ = self.worker.spawn(Box::pin(async move {
            let loaded = {
                let _entered = runtime.enter();
                catch_unwind(AssertUnwindSafe(|| function().map_err(of_loader)))
                    .unwrap_or_else(|panic| Err(panicked(panic.as_ref())))
            };
            *home.lock() = Some(function);
            drop(home);
            answer.give(loaded.map(|value| Some(Shown::at(begun, value))));
            drop(under_way);
        }));
        Box::pin(std::future::poll_fn(move |context| reply.poll(context)))
    }
}

/// What a thread answers, and who waits for it. Nobody may be there any more.
struct Reply<T>(Mutex<(Option<T>, Option<Waker>)>);

impl<T> Reply<T> {
    fn give(&self, answer: T) {
        let waker = {
            let mut slot = self.0.lock();
            slot.0 = Some(answer);
            slot.1.take()
        };
        waker.into_iter().for_each(|waker| contain(|| waker.wake()));
    }

    fn poll(&self, context: &Context<'_>) -> Poll<T> {
        let waker = context.waker().clone();
        let mut slot = self.0.lock();
        match slot.0.take() {
            Some(answer) => Poll::Ready(answer),
            None => {
                let replaced = slot.1.replace(waker);
                drop(slot);
                drop(replaced);
                Poll::Pending
            }
        }
    }
}

/// Somebody else's work, whose panics are errors, be it polled or dropped.
pub(super) struct Contained<'a, T>(Option<BoxFuture<'a, Result<T>>>);

impl<'a, T> Contained<'a, T> {
    pub(super) fn new(work: BoxFuture<'a, Result<T>>) -> Self {
        Self(Some(work))
    }
}

impl<T> Future for Contained<'_, T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        let work = self.0.as_mut().expect("it is there until it is dropped");
        catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)))
            .unwrap_or_else(|panic| Poll::Ready(Err(panicked(panic.as_ref()))))
    }
}

impl<T> Drop for Contained<'_, T> {
    fn drop(&mut self) {
        let work = self.0.take();
        contain(|| drop(work));
    }
}
