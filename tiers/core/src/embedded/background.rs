//! The store's one thread: it flushes what was acknowledged before it was on disk, and sweeps what has expired.

use std::ops::{Bound, ControlFlow};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use nanotier_clock::Timestamp;
use parking_lot::{Condvar, Mutex};

use super::backend::{Backend, Rows};
use super::core::Shared;
use super::group::{Answer, Job};
use super::row::{Due, due};
use crate::capabilities::Durability;
use crate::error::{Error, ErrorKind, Result};

/// How many rows are looked at before others get their turn.
const BATCH_ROWS: usize = 256;
/// How many bytes are.
const BATCH_BYTES: usize = 1024 * 1024;
/// How long others have their turn.
const PAUSE: Duration = Duration::from_millis(5);

/// When the thread has to do what. It sleeps by the real clock; what it does is judged by the store's.
#[derive(Debug, Default)]
pub(super) struct Background {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    /// By when what was committed without a flush has to be flushed.
    flush_at: Option<Instant>,
    thread: Option<JoinHandle<()>>,
    thread_id: Option<ThreadId>,
}

enum Task {
    Flush,
    Sweep,
    Stop,
}

impl Background {
    /// Starts the thread.
    pub(super) fn start<B: Backend>(inner: &Arc<Shared<B>>) -> Result<()> {
        let its_inner = inner.clone();
        let thread = Builder::new()
            .name(format!("nanotier-{}", B::NAME))
            .spawn(move || run(&its_inner))
            .map_err(|source| Error::new(ErrorKind::Unavailable, B::NAME, "open").with_source(source))?;
        let mut state = inner.background.state.lock();
        state.thread_id = Some(thread.thread().id());
        state.thread = Some(thread);
        Ok(())
    }

    /// Ends the thread and waits for its end.
    pub(super) fn stop(&self) {
        let thread = {
            let mut state = self.state.lock();
            state.stopped = true;
            state.thread.take()
        };
        self.changed.notify_all();
        // An observer that is told of something on that very thread may drop the store: nobody waits for himself.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != std::thread::current().id()) {
            // A panic of the thread was caught inside it.
            let _ = thread.join();
        }
    }

    /// After a commit: the flush that it did, or still needs.
    pub(super) fn committed(&self, is_flushed: bool, durability: Durability) {
        let Durability::Async { loss_window } = durability else { return };
        let mut state = self.state.lock();
        if is_flushed {
            state.flush_at = None;
        } else if state.flush_at.is_none() {
            // Half the window to begin, half to finish.
            state.flush_at = Some(Instant::now() + loss_window / 2);
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Sleeps until there is something to do.
    fn wait(&self, sweep_at: Instant) -> Task {
        let mut state = self.state.lock();
        loop {
            let now = Instant::now();
            if state.stopped {
                return Task::Stop;
            }
            if state.flush_at.is_some_and(|at| at <= now) {
                // If the flush fails, it is tried again when the window has passed again, or with the next commit.
                state.flush_at = None;
                return Task::Flush;
            }
            if sweep_at <= now {
                return Task::Sweep;
            }
            let wake_at = state.flush_at.map_or(sweep_at, |at| at.min(sweep_at));
            self.changed.wait_until(&mut state, wake_at);
        }
    }
}

fn run<B: Backend>(inner: &Shared<B>) {
    let mut sweep = Sweep::default();
    let mut sweep_at = Instant::now() + inner.options.sweep_interval;
    loop {
        let task = inner.background.wait(sweep_at);
        let is_flush = matches!(task, Task::Flush);
        // Whatever fails here fails again for a caller, who is told; the thread goes on.
        let done = catch_unwind(AssertUnwindSafe(|| match task {
            Task::Flush => inner.submit(Job::Flush).map(|_| Step::PassDone(0)),
            Task::Sweep => sweep.step_if_due(inner),
            Task::Stop => Ok(Step::Stopped),
        }));
        match done {
            Ok(Ok(Step::Stopped)) => return,
            Ok(Ok(Step::More(_))) => sweep_at = Instant::now() + PAUSE,
            Ok(Ok(Step::PassDone(_))) if is_flush => {}
            Ok(Ok(Step::PassDone(_))) => {
                // What fails here is tried again after the next pass.
                let _ = catch_unwind(AssertUnwindSafe(|| inner.backend.tidy()));
                sweep_at = Instant::now() + inner.options.sweep_interval;
            }
            Ok(Err(_)) | Err(_) if is_flush => inner.background.committed(false, inner.options.durability),
            Ok(Err(_)) | Err(_) => {
                sweep = Sweep::default();
                sweep_at = Instant::now() + inner.options.sweep_interval;
            }
        }
    }
}

/// What a step of a sweep leaves to do, and how many rows it removed.
pub(super) enum Step {
    More(usize),
    PassDone(usize),
    Stopped,
}

/// A pass over all rows, in steps.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// The last key looked at; `None` between passes.
    after: Option<Vec<u8>>,
    /// When the first of the rows seen in this pass can come due, or one that is written meanwhile.
    next_due: Timestamp,
    /// Nothing can come due before this moment. From the last whole pass.
    idle_until: Timestamp,
    /// The store is no larger than it may be, or cannot be made smaller; from then on those who write see to it.
    shrunk: bool,
}

impl Sweep {
    fn step_if_due<B: Backend>(&mut self, inner: &Shared<B>) -> Result<Step> {
        if !inner.has_clock() || (self.after.is_none() && inner.now() < self.idle_until) {
            return Ok(Step::PassDone(0));
        }
        self.step(inner)
    }

    /// Looks at some rows and removes those that may go.
    pub(super) fn step<B: Backend>(&mut self, inner: &Shared<B>) -> Result<Step> {
        // Nobody who writes shrinks a store that was opened with a smaller bound than before.
        if inner.options.bytes_max.is_some() && !self.shrunk {
            self.shrunk = matches!(inner.submit(Job::Shrink)?, Answer::Shrunk(false));
            if !self.shrunk {
                return Ok(Step::More(0));
            }
        }
        let (now, horizon) = (inner.now(), inner.options.horizon);
        if self.after.is_none() {
            self.next_due = now.plus(horizon);
        }
        let mut due_keys = Vec::new();
        let (mut last, mut indexed) = (None, false);
        let is_whole = inner.backend.read(|rows| {
            if let Some(keys) = rows.due(now, BATCH_ROWS)? {
                (due_keys, indexed) = (keys, true);
                // Others may write what comes due at any moment: the index is asked at each pass.
                self.next_due = now;
                return Ok(due_keys.len() < BATCH_ROWS);
            }
            let start = self.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let (mut rows_seen, mut bytes_seen) = (0, 0);
            rows.visit((start, Bound::Unbounded), &mut |key, framed| {
                match due(&inner.options.framing, key, framed, now, horizon) {
                    Due::Now => due_keys.push(key.to_vec()),
                    Due::At(at) => self.next_due = self.next_due.min(at),
                }
                rows_seen += 1;
                bytes_seen += key.len() + framed.len();
                if rows_seen >= BATCH_ROWS || bytes_seen >= BATCH_BYTES {
                    last = Some(key.to_vec());
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })?;
            Ok(last.is_none())
        })?;
        let swept = match due_keys.is_empty() {
            true => 0,
            false => match inner.submit(Job::Sweep { keys: due_keys, indexed })? {
                Answer::Swept(swept) => swept,
                _ => 0,
            },
        };
        self.after = last;
        if !is_whole {
            return Ok(Step::More(swept));
        }
        self.idle_until = self.next_due;
        Ok(Step::PassDone(swept))
    }
}
