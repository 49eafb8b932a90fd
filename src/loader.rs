//! A user's loader as it travels: boxed once, on a miss.

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

use nanotier_tier::{BoxFuture, Result};

use crate::flight::panicked;
use crate::load_error::Failure;

/// What a load brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded<V> {
    /// A value.
    New(V),
    /// The value that the loader was shown is as good as ever.
    Unchanged,
}

impl<V> Loaded<V> {
    pub(crate) fn if_ok<E: fmt::Display + Send + Sync + 'static>(
        answer: Result<V, E>,
    ) -> Result<Self, Failure> {
        answer.map(Self::New).map_err(Failure::of_loader)
    }

    pub(crate) fn if_some(answer: Option<V>) -> Result<Self, Failure> {
        answer.map(Self::New).ok_or(Failure::Nothing)
    }
}

/// Given the value that is to be replaced, if there is one.
pub(crate) type Loader<V> =
    Box<dyn FnOnce(Option<V>) -> BoxFuture<'static, Result<Loaded<V>, Failure>> + Send>;

pub(crate) fn asynchronous<V, F, L>(
    load: F,
    judge: impl FnOnce(L::Output) -> Result<Loaded<V>, Failure> + Send + 'static,
) -> Loader<V>
where
    V: Send + 'static,
    F: FnOnce(Option<V>) -> L + Send + 'static,
    L: Future + Send + 'static,
{
    Box::new(|held| Box::pin(async { judge(load(held).await) }))
}

/// It runs where the load is driven.
pub(crate) fn blocking<V: Send + 'static>(
    load: impl FnOnce(Option<V>) -> Result<Loaded<V>, Failure> + Send + 'static,
) -> Loader<V> {
    Box::new(|held| Box::pin(async { load(held) }))
}

/// Runs a loader. A panic is an answer, too: who called it may have something to make do with.
pub(crate) async fn run<T>(
    load: impl FnOnce() -> BoxFuture<'static, Result<T, Failure>>,
) -> Result<T, Failure> {
    let failed = |panic: Box<dyn std::any::Any + Send>| Failure::Cache(panicked(panic.as_ref()));
    let mut loading = catch_unwind(AssertUnwindSafe(load)).map_err(failed)?;
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| loading.as_mut().poll(context)));
        polled.unwrap_or_else(|panic| Poll::Ready(Err(failed(panic))))
    })
    .await
}
