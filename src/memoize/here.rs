//! Work that its caller does itself, on its own stack, for all who wait for it: so it may borrow.
//!
//! A load belongs to the cache and owns what it uses. Work that borrows can be neither stored nor sent, so the load is a note
//! on a desk instead: *wanted*. The caller that began it does the work when it reads that, and leaves the result on the desk, where
//! the load finds it.

use std::any::Any;
use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use nanotier_tier::waiting::block_on;
use nanotier_tier::{Error, ErrorKind};
use parking_lot::Mutex;

use crate::load_error::Failure;
use crate::lookup::Lookup;

/// Between the load and the caller that does its work.
pub(super) struct Desk<R>(Mutex<State<R>>);

struct State<R> {
    stage: Stage<R>,
    /// Where to wake the caller, while the work is not wanted yet.
    caller: Option<Waker>,
    /// Where to wake the load, while the work is not done yet.
    load: Option<Waker>,
}

enum Stage<R> {
    Idle,
    Wanted,
    Done(R),
    /// The result was fetched, or will never come.
    Over,
    Panicked,
}

impl<R> Desk<R> {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { stage: Stage::Idle, caller: None, load: None })))
    }

    /// The load's side: asks for the work, and waits for its result.
    pub(super) async fn ask(self: Arc<Self>) -> Result<R, Failure> {
        poll_fn(|context| self.poll_asked(context)).await
    }

    fn poll_asked(&self, context: &mut Context<'_>) -> Poll<Result<R, Failure>> {
        let (answer, caller) = {
            let mut state = self.0.lock();
            match std::mem::replace(&mut state.stage, Stage::Over) {
                Stage::Done(result) => (Poll::Ready(Ok(result)), None),
                Stage::Panicked => {
                    state.stage = Stage::Panicked;
                    (Poll::Ready(Err(failed(ErrorKind::LoaderPanicked))), None)
                }
                Stage::Over => (Poll::Ready(Err(failed(ErrorKind::Unsupported))), None),
                Stage::Idle | Stage::Wanted => {
                    state.stage = Stage::Wanted;
                    state.load = Some(context.waker().clone());
                    (Poll::Pending, state.caller.take())
                }
            }
        };
        caller.into_iter().for_each(Waker::wake);
        answer
    }

    /// The caller's side: whether the work is wanted; if not, it is woken when it is.
    fn poll_wanted(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if matches!(state.stage, Stage::Wanted) {
            return Poll::Ready(());
        }
        state.caller = Some(context.waker().clone());
        Poll::Pending
    }

    fn put(&self, stage: Stage<R>) {
        let load = {
            let mut state = self.0.lock();
            state.stage = stage;
            state.load.take()
        };
        load.into_iter().for_each(Waker::wake);
    }
}

fn failed(kind: ErrorKind) -> Failure {
    Failure::Cache(Error::new(kind, "cache", "load"))
}

/// Tells the load, however the caller leaves.
struct Leaving<'a, R>(&'a Desk<R>);

impl<R> Drop for Leaving<'_, R> {
    fn drop(&mut self) {
        self.0.put(if std::thread::panicking() { Stage::Panicked } else { Stage::Over });
    }
}

thread_local! {
    /// What this thread works out right now, outermost first: where, and for which key.
    static AT_WORK: RefCell<Vec<(usize, Box<dyn Any>)>> = const { RefCell::new(Vec::new()) };
}

/// Says that this thread works out `key` until it goes.
struct AtWork;

impl AtWork {
    /// # Panics
    ///
    /// If this thread works it out already: it would wait for itself.
    fn begin<K: Eq + 'static>(place: usize, key: K) -> Self {
        let is_at_it = AT_WORK.with_borrow(|all| {
            all.iter()
                .any(|(at, held)| *at == place && held.downcast_ref::<K>().is_some_and(|held| *held == key))
        });
        assert!(!is_at_it, "a memoized function asked for the very answer that it works out");
        AT_WORK.with_borrow_mut(|all| all.push((place, Box::new(key))));
        Self
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        AT_WORK.with_borrow_mut(|all| drop(all.pop()));
    }
}

/// Waits for `lookup`, whose load asks at `desk`, and does its work if it does. What came of either: the answer, and this
/// caller's own result.
///
/// # Panics
///
/// As `work` does; and if it is asked for again, by `work`, at the same place and for the same key.
pub(super) fn wait<T, R: Clone, E, K: Eq + 'static>(
    mut lookup: Lookup<T, E>,
    desk: &Desk<R>,
    (place, key): (usize, K),
    work: &mut Option<impl FnOnce() -> R>,
) -> (Result<T, E>, Option<R>) {
    let _leaving = Leaving(desk);
    let _at_work = AtWork::begin(place, key);
    let mut own = None;
    let answer = block_on(poll_fn(|context| {
        loop {
            if let Poll::Ready(answer) = Pin::new(&mut lookup).poll(context) {
                return Poll::Ready(answer);
            }
            ready!(desk.poll_wanted(context));
            let Some(work) = work.take() else { return Poll::Pending };
            let result = work();
            own = Some(result.clone());
            desk.put(Stage::Done(result));
        }
    }));
    (answer, own)
}
