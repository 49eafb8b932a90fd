//! Work that is finished even if its caller leaves: a write is never left half done (rule O6).

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};

use nanotier_tier::rules::{Rule, is_on};
use nanotier_tier::{BoxFuture, Context as TierContext};

/// A future that its caller drives, and the cache's spawner if the caller drops it before its end.
pub(crate) struct Finish<T: Send + 'static> {
    work: Option<BoxFuture<'static, T>>,
    attended: Attended,
    context: TierContext,
    /// The spawner has it: if it is dropped now, the spawner's runtime has ended.
    handed_over: bool,
}

/// Whether the caller is still there. A write whose caller has left is finished as far as it got, but does
/// not go again against a newer one: a dead writer never wins.
#[derive(Clone, Debug)]
pub(crate) struct Attended(Arc<AtomicBool>);

impl Attended {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    pub(crate) fn is_attended(&self) -> bool {
        self.0.load(Relaxed)
    }
}

impl<T: Send + 'static> Finish<T> {
    pub(crate) fn new(work: BoxFuture<'static, T>, attended: Attended, context: TierContext) -> Self {
        Self { work: Some(work), attended, context, handed_over: false }
    }
}

impl<T: Send + 'static> Future for Finish<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let work = self.work.as_mut().expect("polled again after it was ready");
        let output = std::task::ready!(work.as_mut().poll(context));
        self.work = None;
        Poll::Ready(output)
    }
}

// The work is boxed; nothing else is pinned.
impl<T: Send + 'static> Unpin for Finish<T> {}

impl<T: Send + 'static> Drop for Finish<T> {
    fn drop(&mut self) {
        let Some(work) = self.work.take() else { return };
        self.attended.0.store(false, Relaxed);
        // An explored schedule that has failed already must not start anything.
        if !is_on(Rule::O6) || cfg!(nanotier_schedules) && std::thread::panicking() {
            return;
        }
        // Nobody is left to be told of an error; a copy that may be older was blanked or is distrusted.
        if self.handed_over {
            self.context.spawn_on_worker(Box::pin(async move { drop(work.await) }));
            return;
        }
        let (attended, context) = (self.attended.clone(), self.context.clone());
        let again = Self { work: Some(work), attended, context, handed_over: true };
        self.context.spawn(Box::pin(async move { drop(again.await) }));
    }
}
