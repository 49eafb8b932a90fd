//! What a cache hands down to its tiers, once: clock, spawner, observer, counters.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Wake, Waker};
use std::time::Duration;

use nanotier_clock::Clock;
use parking_lot::{Condvar, Mutex};

use crate::entry::TierIndex;
use crate::measure::Meters;
use crate::observer::{Call, Event, Observer, contained};
use crate::version::HybridClock;

/// Work that runs on its own.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs work that no caller waits for any more: an unfinished write or load whose caller has left, a refresh.
///
/// Implement it over your runtime's `spawn`. A task that cannot be run is to be handed back, so that the
/// cache can run it itself.
pub trait Spawn: Send + Sync + 'static {
    /// Starts `task`.
    ///
    /// # Errors
    ///
    /// The task, if it cannot be run here (the runtime is gone).
    fn spawn(&self, task: Task) -> Result<(), Task>;
}

/// The spawner of a cache that was given none: one thread, started by the first task, ended when idle for a
/// while, or when there is nothing left to do and no handle left to give it anything.
#[derive(Clone, Debug, Default)]
pub struct Worker(Arc<Handle>);

/// What all clones of a worker share: its drop tells the thread that no new task will come.
#[derive(Debug, Default)]
struct Handle(Arc<Queue>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.state.lock().is_left = true;
        self.0.grew.notify_one();
    }
}

/// How long the worker thread waits for another task before it ends.
const IDLE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Queue {
    state: Mutex<QueueState>,
    grew: Condvar,
}

#[derive(Default)]
struct QueueState {
    ready: VecDeque<Arc<Job>>,
    /// All that have not ended. A task whose wakers are all gone is kept too, as a runtime keeps it: dropping it would
    /// hand it back to where it came from.
    jobs: HashMap<u64, Arc<Job>>,
    jobs_ever: u64,
    /// True while a thread serves the queue.
    served: bool,
    /// All handles are gone.
    is_left: bool,
}

/// A task, and the queue it comes back to when it is woken. The slot is locked by the worker thread alone.
struct Job {
    id: u64,
    task: Mutex<Option<Task>>,
    queue: Arc<Queue>,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Queue { .. }")
    }
}

impl Wake for Job {
    fn wake(self: Arc<Self>) {
        let queue = self.queue.clone();
        Queue::push(&queue, self);
    }
}

impl Queue {
    fn push(self: &Arc<Self>, job: Arc<Job>) {
        let mut state = self.state.lock();
        state.ready.push_back(job);
        if !state.served {
            let queue = self.clone();
            let started =
                std::thread::Builder::new().name("nanotier-worker".into()).spawn(move || queue.serve());
            // Without a thread the task stays in the queue; the next push tries again.
            state.served = started.is_ok();
        }
        drop(state);
        self.grew.notify_one();
    }

    fn serve(&self) {
        while let Some(job) = self.next() {
            let waker = Waker::from(job.clone());
            let mut slot = job.task.lock();
            // A task that is woken while it is polled is back in the queue already, and polled again next.
            let polled = catch_unwind(AssertUnwindSafe(|| match slot.as_mut() {
                Some(task) => task.as_mut().poll(&mut std::task::Context::from_waker(&waker)),
                None => Poll::Ready(()),
            }));
            if !matches!(polled, Ok(Poll::Pending)) {
                self.state.lock().jobs.remove(&job.id);
                let finished = slot.take();
                let _ = catch_unwind(AssertUnwindSafe(|| drop(finished)));
            }
        }
    }

    fn next(&self) -> Option<Arc<Job>> {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.ready.pop_front() {
                return Some(job);
            }
            // A task that is left but not ready will be woken: by then there may be a thread again.
            let is_done = state.is_left && state.jobs.is_empty();
            if is_done || self.grew.wait_for(&mut state, IDLE).timed_out() && state.ready.is_empty() {
                state.served = false;
                return None;
            }
        }
    }
}

impl Spawn for Worker {
    fn spawn(&self, task: Task) -> Result<(), Task> {
        let queue = &self.0.0;
        let job = {
            let mut state = queue.state.lock();
            state.jobs_ever += 1;
            let id = state.jobs_ever;
            let job = Arc::new(Job { id, task: Mutex::new(Some(task)), queue: queue.clone() });
            state.jobs.insert(id, job.clone());
            job
        };
        Queue::push(queue, job);
        Ok(())
    }
}

/// What a tier is given when a cache is built over it.
#[derive(Clone)]
pub struct Context {
    /// The time. Tiers ask nobody else.
    pub clock: Clock,
    /// Draws versions for this cache.
    pub versions: Arc<HybridClock>,
    /// How long a copy is believed that other processes cannot correct, before the truth is asked again.
    pub recheck: Duration,
    spawner: Arc<dyn Spawn>,
    /// For what the spawner cannot run: one thread for all of a cache.
    worker: Worker,
    observer: Option<Arc<dyn Observer>>,
    meters: Arc<Meters>,
    /// Of the tier that has this context, or of the nearest one of several.
    place: TierIndex,
}

impl Context {
    /// How long a copy is believed by default.
    pub const RECHECK_DEFAULT: Duration = Duration::from_secs(60);

    /// A context on `clock` whose versions are drawn as `writer`, with a worker thread as spawner.
    #[must_use]
    pub fn new(clock: Clock, writer: u64) -> Self {
        let worker = Worker::default();
        Self {
            versions: Arc::new(HybridClock::new(clock.clone(), writer)),
            clock,
            recheck: Self::RECHECK_DEFAULT,
            spawner: Arc::new(worker.clone()),
            worker,
            observer: None,
            meters: Arc::default(),
            place: TierIndex::default(),
        }
    }

    /// The same with another spawner.
    #[must_use]
    pub fn with_spawner(self, spawner: Arc<dyn Spawn>) -> Self {
        Self { spawner, ..self }
    }

    /// The same with an observer.
    #[must_use]
    pub fn with_observer(self, observer: Arc<dyn Observer>) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// The same with counters of its own.
    #[must_use]
    pub fn with_meters(self, meters: Arc<Meters>) -> Self {
        Self { meters, ..self }
    }

    /// The same for the tier that lies `tiers` further out.
    #[must_use]
    pub fn further_out(&self, tiers: u8) -> Self {
        Self { place: TierIndex(self.place.0.saturating_add(tiers)), ..self.clone() }
    }

    /// Where the tier lies that has this context, counted from 0 at the near end.
    #[must_use]
    pub fn place(&self) -> TierIndex {
        self.place
    }

    /// The counters of the cache's tiers.
    #[must_use]
    pub fn meters(&self) -> &Arc<Meters> {
        &self.meters
    }

    /// True if somebody observes.
    #[must_use]
    pub fn is_observed(&self) -> bool {
        self.observer.is_some()
    }

    /// Tells the observer, if there is one. Its panic ends here.
    pub fn tell(&self, event: &Event) {
        if let Some(observer) = &self.observer {
            contained(|| observer.event(event));
        }
    }

    /// Tells the observer, if there is one, what a call came to. Its panic ends here.
    pub fn tell_call(&self, call: &Call<'_>) {
        if let Some(observer) = &self.observer {
            contained(|| observer.call(call));
        }
    }

    /// Runs `task` on the spawner, or on the worker thread if the spawner cannot.
    pub fn spawn(&self, task: Task) {
        if let Err(task) = self.spawner.spawn(task) {
            self.spawn_on_worker(task);
        }
    }

    /// Runs `task` on the worker thread: for what a spawner took and dropped, since its runtime has ended.
    pub fn spawn_on_worker(&self, task: Task) {
        // A worker never refuses.
        let _ = self.worker.spawn(task);
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("clock", &self.clock)
            .field("recheck", &self.recheck)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// A tier's place for its context: empty until it is attached, then fixed. A tier used on its own runs on the
/// ticking clock.
#[derive(Debug, Default)]
pub struct Attachment(OnceLock<Context>);

impl Attachment {
    /// Not attached yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// Takes the context. The first one stays: a tier shared by several caches runs on the first one's clock.
    pub fn attach(&self, context: &Context) {
        let _ = self.0.set(context.clone());
    }

    /// The context, or a default one from now on.
    pub fn context(&self) -> &Context {
        self.0.get_or_init(|| Context::new(Clock::ticking(), 0))
    }

    /// The clock of the context.
    pub fn clock(&self) -> &Clock {
        &self.context().clock
    }
}

#[cfg(all(test, not(nanotier_schedules)))]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn the_worker_runs_tasks_that_wait_and_survives_one_that_panics() {
        let worker = Worker::default();
        let (done, told) = mpsc::channel();
        assert!(worker.spawn(Box::pin(async { panic!("a task's own affair") })).is_ok());
        let mut polls = 0;
        let task = std::future::poll_fn(move |context| {
            polls += 1;
            if polls < 100 {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            done.send(polls).unwrap();
            Poll::Ready(())
        });
        assert!(worker.spawn(Box::pin(task)).is_ok());
        assert_eq!(told.recv_timeout(Duration::from_secs(10)), Ok(100));
    }

    #[test]
    fn the_worker_ends_with_its_last_task_once_nobody_can_give_it_another() {
        let worker = Worker::default();
        let queue = Arc::downgrade(&worker.0.0);
        let (go, gone) = mpsc::channel::<()>();
        assert!(worker.clone().spawn(Box::pin(async move { _ = gone.recv() })).is_ok());
        drop(worker);
        assert!(queue.upgrade().is_some(), "its task is still at work");
        go.send(()).unwrap();
        // The thread has the queue until it ends. Real time, bounded: far below what an idle thread waits.
        let begun = std::time::Instant::now();
        while queue.upgrade().is_some() {
            assert!(begun.elapsed() < IDLE / 2, "the thread stays");
            std::thread::yield_now();
        }
    }
}
