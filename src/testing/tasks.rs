//! Background work that runs when the test says so.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::{Future, IntoFuture};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};

use nanotier_tier::{Hands, Spawn, Task};
use parking_lot::Mutex;

/// A spawner that collects tasks, and runs them on the test's own thread when it is told to: given to
/// [`Builder::spawner`](crate::Builder::spawner), a test with background work comes out the same every time. Clones are
/// the same spawner. A [`Fake`](super::Fake) has one already.
///
/// ```
/// use nanotier::testing::{Clock, Tasks};
/// use nanotier::Cache;
/// use std::time::Duration;
///
/// let (clock, hands) = Clock::manual();
/// let tasks = Tasks::new();
/// let second = Duration::from_secs(1);
/// let cache: Cache<u32, u32> = Cache::builder()
///     .clock(clock)
///     .spawner(tasks.clone())
///     .ttl(second)
///     .stale_for(60 * second)
///     .build()?;
/// cache.insert(7, 1).wait()?;
/// hands.advance(2 * second);
///
/// assert_eq!(cache.get_with(&7, async || 2).wait()?, 1); // stale; the refresh waits to be run
/// assert_eq!(tasks.len(), 1);
/// tasks.run();
/// assert_eq!(cache.get(&7).wait()?, Some(2));
/// # Ok::<(), nanotier::Error>(())
/// ```
///
/// A task that never ends is kept until [`cancel`](Self::cancel).
#[derive(Clone, Default)]
pub struct Tasks(Arc<Queue>);

#[derive(Default)]
struct Queue(Mutex<State>);

#[derive(Default)]
struct State {
    /// Those that are to be polled, in the order in which they were woken.
    woken: VecDeque<u64>,
    /// All that have not ended.
    slots: BTreeMap<u64, Slot>,
    ever: u64,
}

struct Slot {
    /// Away while it is polled.
    task: Option<Task>,
    /// Woken while it was polled, by this thread or another.
    is_woken: bool,
}

/// What a task is woken by. Weak, so that tasks that wait do not keep themselves alive.
struct Bell {
    id: u64,
    queue: Weak<Queue>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        if let Some(queue) = self.queue.upgrade() {
            queue.wake(self.id);
        }
    }
}

impl Queue {
    fn wake(&self, id: u64) {
        let mut state = self.0.lock();
        match state.slots.get_mut(&id) {
            Some(slot) if slot.is_woken => {}
            Some(slot) => {
                slot.is_woken = true;
                // One that is being polled is queued when it comes back.
                let is_here = slot.task.is_some();
                state.woken.extend(is_here.then_some(id));
            }
            None => {}
        }
    }

    fn next(&self) -> Option<(u64, Task)> {
        let mut state = self.0.lock();
        while let Some(id) = state.woken.pop_front() {
            if let Some(slot) = state.slots.get_mut(&id) {
                slot.is_woken = false;
                if let Some(task) = slot.task.take() {
                    return Some((id, task));
                }
            }
        }
        None
    }

    fn come_back(&self, id: u64, task: Task) {
        let mut state = self.0.lock();
        // Gone if everything was cancelled while it was polled. Dropped outside the lock: it is anybody's code.
        let Some(slot) = state.slots.get_mut(&id) else {
            drop(state);
            return drop(task);
        };
        slot.task = Some(task);
        let is_woken = slot.is_woken;
        state.woken.extend(is_woken.then_some(id));
    }
}

impl Tasks {
    /// How many polls one [`run`](Self::run) does, and how often one [`drive`](Self::drive) moves the clock, before it is
    /// taken to go round in circles.
    pub const STEPS_MAX: usize = 100_000;

    /// A spawner with no tasks yet.
    ///
    /// ```
    /// let tasks = nanotier::testing::Tasks::new();
    /// assert!(tasks.is_empty());
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many tasks have not ended.
    ///
    /// ```
    /// use nanotier::testing::Tasks;
    /// use nanotier::Spawn;
    ///
    /// let tasks = Tasks::new();
    /// assert!(tasks.spawn(Box::pin(async {})).is_ok());
    /// assert_eq!(tasks.len(), 1);
    /// tasks.run();
    /// assert_eq!(tasks.len(), 0);
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.0.lock().slots.len()
    }

    /// True if all tasks have ended.
    ///
    /// ```
    /// use nanotier::testing::Tasks;
    /// use nanotier::Spawn;
    ///
    /// let tasks = Tasks::new();
    /// assert!(tasks.is_empty());
    /// assert!(tasks.spawn(Box::pin(async {})).is_ok());
    /// assert!(!tasks.is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Polls all tasks, those too that come up meanwhile, until each has ended or waits for something: for the time, for a
    /// tier that hangs. Says how many have ended.
    ///
    /// ```
    /// use nanotier::testing::Tasks;
    /// use nanotier::Spawn;
    ///
    /// let tasks = Tasks::new();
    /// assert!(tasks.spawn(Box::pin(async {})).is_ok());
    /// assert!(tasks.spawn(Box::pin(std::future::pending())).is_ok());
    /// assert_eq!(tasks.run(), 1);
    /// assert_eq!(tasks.len(), 1, "it waits");
    /// ```
    ///
    /// # Panics
    ///
    /// With a task's own panic; that task has ended then. If tasks wake each other for ever: after
    /// [`STEPS_MAX`](Self::STEPS_MAX) polls.
    #[track_caller]
    pub fn run(&self) -> usize {
        let mut ended = 0;
        for _ in 0..Self::STEPS_MAX {
            let Some((id, mut task)) = self.0.next() else { return ended };
            let waker = Waker::from(Arc::new(Bell { id, queue: Arc::downgrade(&self.0) }));
            let polled =
                catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(&mut Context::from_waker(&waker))));
            match polled {
                Ok(Poll::Pending) => self.0.come_back(id, task),
                Ok(Poll::Ready(())) => {
                    self.0.0.lock().slots.remove(&id);
                    ended += 1;
                }
                Err(panic) => {
                    self.0.0.lock().slots.remove(&id);
                    resume_unwind(panic);
                }
            }
        }
        panic!("{} tasks wake each other without end", self.len());
    }

    /// Brings a call to its end on a manual clock: polls it and the tasks, and whenever all of them wait, lets the time pass
    /// until the first is due. So a deadline of a second takes no real time, and the time that passed is exact.
    ///
    /// Everything must happen on this thread and by this clock. What other threads do is waited for by
    /// [`wait`](crate::Lookup::wait), with the clock moved by hand.
    ///
    /// ```
    /// use nanotier::testing::{Clock, Tasks};
    /// use std::time::Duration;
    ///
    /// let (clock, hands) = Clock::manual();
    /// let start = clock.now();
    /// Tasks::new().drive(&hands, clock.sleep(Duration::from_secs(3600)));
    /// assert_eq!(clock.now().since(start), Duration::from_secs(3600));
    /// ```
    ///
    /// # Panics
    ///
    /// If the call waits for something that never comes: nobody is due, and no task can go on. A tier that hangs, and no
    /// deadline, is the usual reason. Also if it has not ended after [`STEPS_MAX`](Self::STEPS_MAX) moves of the clock.
    #[track_caller]
    pub fn drive<W: IntoFuture>(&self, hands: &Hands, work: W) -> W::Output {
        let mut work = pin!(work.into_future());
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(woken.clone());
        for _ in 0..Self::STEPS_MAX {
            if woken.0.swap(false, SeqCst) {
                if let Poll::Ready(output) = work.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return output;
                }
            }
            self.run();
            if !woken.0.load(SeqCst) && hands.advance_to_next().is_none() {
                panic!(
                    "it waits for ever: no task goes on, and nobody sleeps who could be woken by the clock"
                );
            }
        }
        panic!("it has not ended after {} steps", Self::STEPS_MAX);
    }

    /// Brings all tasks to their end, letting the time pass as [`drive`](Self::drive) does. For tests that only want to see
    /// what comes of it.
    ///
    /// ```
    /// use nanotier::testing::{Clock, Tasks};
    /// use nanotier::Spawn;
    /// use std::time::Duration;
    ///
    /// let ((clock, hands), tasks) = (Clock::manual(), Tasks::new());
    /// let (start, sleep) = (clock.now(), clock.sleep(Duration::from_secs(60)));
    /// assert!(tasks.spawn(Box::pin(sleep)).is_ok());
    /// tasks.finish(&hands);
    /// assert_eq!(clock.now().since(start), Duration::from_secs(60));
    /// ```
    ///
    /// # Panics
    ///
    /// As [`drive`](Self::drive); so for tasks that go on for as long as their cache is there.
    #[track_caller]
    pub fn finish(&self, hands: &Hands) {
        for _ in 0..Self::STEPS_MAX {
            self.run();
            if self.is_empty() {
                return;
            }
            let passed = hands.advance_to_next();
            assert!(passed.is_some(), "{} tasks wait for ever: no clock wakes them", self.len());
        }
        panic!("{} tasks have not ended after {} steps", self.len(), Self::STEPS_MAX);
    }

    /// Drops all tasks where they are, as a runtime does that ends, and says how many that were. A cache runs on by itself
    /// what it may not lose, on a thread of its own.
    ///
    /// ```
    /// use nanotier::testing::Tasks;
    /// use nanotier::Spawn;
    ///
    /// let tasks = Tasks::new();
    /// assert!(tasks.spawn(Box::pin(std::future::pending())).is_ok());
    /// assert_eq!(tasks.cancel(), 1);
    /// assert!(tasks.is_empty());
    /// ```
    pub fn cancel(&self) -> usize {
        let slots = std::mem::take(&mut self.0.0.lock().slots);
        slots.len()
    }
}

impl Spawn for Tasks {
    fn spawn(&self, task: Task) -> Result<(), Task> {
        let mut state = self.0.0.lock();
        state.ever += 1;
        let id = state.ever;
        state.slots.insert(id, Slot { task: Some(task), is_woken: true });
        state.woken.push_back(id);
        Ok(())
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").field("len", &self.len()).finish()
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}
