//! Group commit: those who write at the same time share one transaction and one flush.
//!
//! There is no writer thread. Who finds nobody committing becomes the **leader**: it does its own job, then those that have
//! queued up, and looks again until there are none, commits once, and answers all. Who finds a leader queues its job and waits.
//! When a leader is done and jobs have queued up meanwhile, the first of those who wait leads next. So a lone writer is
//! handed to nobody, and at any time at most one thread is between [`Group::submit`]'s decision to lead and its
//! hand-over:
//!
//! Threads that write in a loop would fall into two groups that take turns, since those who were answered come back only when
//! the next transaction has begun. So a leader that finds the queue empty gives those who were just answered a moment to come
//! back, a part of what a commit takes. Who writes alone, or now and then, is expected by nobody and waits for nobody.
//!
//! - G1: `led` is true from the moment a thread decides to lead until no job is queued after its commit. Both change under the lock.
//! - G2: a ticket in the queue belongs to a thread that waits for it. It leaves the queue exactly once: into a leader's group, or
//!   to lead itself.
//! - G3: every ticket of a group is answered, whatever happens to its leader: a panic answers too.

use std::any::Any;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nanotier_clock::Timestamp;
use parking_lot::{Condvar, Mutex};

use crate::entry::{Write, Wrote};
use crate::error::{Error, ErrorKind, Result};
use crate::path::Namespace;
use crate::update::{Update, Updated};
use crate::version::Version;

/// The most writers that wait for a leader. One more is told [`ErrorKind::Busy`].
const WAITING_MAX: usize = 4_096;
/// The most jobs in one transaction.
const GROUP_MAX: usize = 1_024;
/// Those who were answered are waited for at most this part of what the commit took, counted from its end.
const PATIENCE_PART: u32 = 4;
/// And at most so long.
const PATIENCE_MAX: Duration = Duration::from_millis(1);

/// What is to be done in a transaction.
#[derive(Clone, Debug)]
pub(super) enum Job<'a> {
    Write(Cow<'a, [Write<'a>]>),
    Update(Cow<'a, Update<'a>>),
    Clear {
        namespace: Cow<'a, Namespace>,
        version: Version,
        as_of: Timestamp,
    },
    /// Removes those of these rows that may go.
    Sweep {
        keys: Vec<Vec<u8>>,
        /// True if an index says that they come due: of those that stay it is told when they really do.
        indexed: bool,
    },
    /// Lets rows leave as long as the store is larger than it may be.
    Shrink,
    /// Brings to disk what was acknowledged before it was there.
    Flush,
    /// The same, and the mark that the store was closed properly, with since when it is believed.
    Close {
        believed_since: Timestamp,
    },
}

/// What became of a job.
#[derive(Debug)]
pub(super) enum Answer {
    Wrote(Vec<Result<Wrote>>),
    Updated(Result<Updated>),
    Cleared(Wrote),
    Swept(usize),
    /// True if there is more to do.
    Shrunk(bool),
    Done,
}

impl Job<'_> {
    /// The same job, for another thread to do.
    fn into_owned(self) -> Job<'static> {
        match self {
            Job::Write(writes) => {
                Job::Write(Cow::Owned(writes.into_owned().into_iter().map(Write::into_owned).collect()))
            }
            Job::Update(update) => {
                let Update { path, change, version, as_of } = update.into_owned();
                Job::Update(Cow::Owned(Update { path: path.into_owned(), change, version, as_of }))
            }
            Job::Clear { namespace, version, as_of } => {
                Job::Clear { namespace: Cow::Owned(namespace.into_owned()), version, as_of }
            }
            Job::Sweep { keys, indexed } => Job::Sweep { keys, indexed },
            Job::Shrink => Job::Shrink,
            Job::Flush => Job::Flush,
            Job::Close { believed_since } => Job::Close { believed_since },
        }
    }
}

/// Does jobs in one transaction.
pub(super) trait Committer {
    /// Does `own`, then what `followers` hand out until they hand out nothing, and commits once. Answers in that order.
    ///
    /// After an error none of it counts as done.
    fn commit(&self, own: &Job<'_>, followers: &mut Followers<'_>) -> Result<Vec<Answer>>;
}

/// The queue of those who write.
#[derive(Debug)]
pub(super) struct Group {
    /// The store's name, for errors.
    tier: &'static str,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Arc<Ticket>>,
    led: bool,
    closed: bool,
    /// How many may write together now: those who were answered last, and those who had queued up by then.
    expected: usize,
    /// Until when they are waited for. By the real clock: how long a disk takes is no affair of a cache's clock.
    patient_until: Option<Instant>,
}

/// A job, and its owner's place to wait.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) job: Job<'static>,
    call: Mutex<Call>,
    called: Condvar,
}

/// What the owner of a ticket is called for.
#[derive(Debug)]
enum Call {
    NotYet,
    Lead,
    Take(Result<Answer>),
    Taken,
}

impl Ticket {
    fn call(&self, call: Call) {
        *self.call.lock() = call;
        self.called.notify_one();
    }

    /// Waits. `None` means: lead.
    fn wait(&self) -> Option<Result<Answer>> {
        let mut call = self.call.lock();
        loop {
            match std::mem::replace(&mut *call, Call::Taken) {
                Call::Take(answer) => return Some(answer),
                Call::Lead => return None,
                Call::NotYet | Call::Taken => *call = Call::NotYet,
            }
            self.called.wait(&mut call);
        }
    }
}

/// Those whose jobs a leader has taken on.
pub(super) struct Followers<'a> {
    group: &'a Group,
    taken: Vec<Arc<Ticket>>,
    expected: usize,
    patient_until: Option<Instant>,
}

impl Followers<'_> {
    /// The next job that has queued up. `None` if there is none, or enough for one transaction.
    pub(super) fn next(&mut self) -> Option<Arc<Ticket>> {
        if self.taken.len() >= GROUP_MAX {
            return None;
        }
        loop {
            if let Some(ticket) = self.group.queue.lock().waiting.pop_front() {
                self.taken.push(ticket.clone());
                return Some(ticket);
            }
            // With the leader itself.
            let is_complete = self.taken.len() + 1 >= self.expected;
            if is_complete || self.patient_until.is_none_or(|until| Instant::now() >= until) {
                return None;
            }
            std::thread::yield_now();
        }
    }
}

impl Group {
    pub(super) fn new(tier: &'static str) -> Self {
        Self { tier, queue: Mutex::default() }
    }

    fn error(&self, kind: ErrorKind) -> Error {
        Error::new(kind, self.tier, "write")
    }

    fn unanswered(&self) -> Error {
        self.error(ErrorKind::Storage).with_detail("a bug: the transaction left a job unanswered")
    }

    /// Does `job`, or has it done by whoever is leading.
    pub(super) fn submit(&self, job: Job<'_>, committer: &impl Committer) -> Result<Answer> {
        let closes = matches!(job, Job::Close { .. });
        if self.begin_to_lead(closes)? {
            return self.lead(&job, committer);
        }
        // The copy for another thread is made outside the lock. It shares the values.
        let ticket = Arc::new(Ticket {
            job: job.into_owned(),
            call: Mutex::new(Call::NotYet),
            called: Condvar::new(),
        });
        {
            let mut queue = self.queue.lock();
            if queue.closed && !closes {
                return Err(self.error(ErrorKind::Closed));
            }
            if queue.led {
                if queue.waiting.len() >= WAITING_MAX && !closes {
                    return Err(self.error(ErrorKind::Busy));
                }
                queue.waiting.push_back(ticket.clone());
            } else {
                queue.led = true;
                drop(queue);
                return self.lead(&ticket.job, committer);
            }
        }
        match ticket.wait() {
            Some(answer) => answer,
            None => self.lead(&ticket.job, committer),
        }
    }

    /// True if the caller leads now.
    fn begin_to_lead(&self, closes: bool) -> Result<bool> {
        let mut queue = self.queue.lock();
        if queue.closed && !closes {
            return Err(self.error(ErrorKind::Closed));
        }
        // Nothing is taken on any more once the store closes, and closing is the last job in the queue.
        queue.closed |= closes;
        Ok(!std::mem::replace(&mut queue.led, true))
    }

    fn lead(&self, own: &Job<'_>, committer: &impl Committer) -> Result<Answer> {
        let began = Instant::now();
        let mut followers = {
            let queue = self.queue.lock();
            let (expected, patient_until) = (queue.expected, queue.patient_until);
            Followers { group: self, taken: Vec::new(), expected, patient_until }
        };
        let committed = catch_unwind(AssertUnwindSafe(|| committer.commit(own, &mut followers)))
            .unwrap_or_else(|panic| Err(panicked(self.tier, "write", &*panic)));
        // First the next leader, so that the next transaction begins while this one's are being answered.
        self.hand_over(followers.taken.len() + 1, began.elapsed());
        let mut answers = match committed {
            Ok(answers) => answers.into_iter(),
            Err(error) => {
                followers.taken.iter().for_each(|ticket| ticket.call(Call::Take(Err(error.clone()))));
                return Err(error);
            }
        };
        let own = answers.next().ok_or_else(|| self.unanswered());
        for ticket in followers.taken {
            ticket.call(Call::Take(answers.next().ok_or_else(|| self.unanswered())));
        }
        own
    }

    fn hand_over(&self, answered: usize, took: Duration) {
        let next = {
            let mut queue = self.queue.lock();
            queue.expected = answered + queue.waiting.len();
            queue.patient_until = Some(Instant::now() + (took / PATIENCE_PART).min(PATIENCE_MAX));
            let next = queue.waiting.pop_front();
            queue.led = next.is_some();
            next
        };
        if let Some(next) = next {
            next.call(Call::Lead);
        }
    }
}

/// A panic beneath as an error. A database can stumble over a file that was changed behind its back.
pub(super) fn panicked(tier: &'static str, operation: &'static str, panic: &(dyn Any + Send)) -> Error {
    let said =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::new(ErrorKind::Corrupt, tier, operation)
        .with_detail(format!("panicked, as engines do on damage: {}", said.unwrap_or("without a word")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    /// Waits until so many have queued up behind it, then does as it is told.
    struct Told {
        wait_for: usize,
        then: fn() -> Result<()>,
        commits: AtomicUsize,
    }

    impl Told {
        fn to(wait_for: usize, then: fn() -> Result<()>) -> Self {
            Self { wait_for, then, commits: AtomicUsize::new(0) }
        }
    }

    impl Committer for Told {
        fn commit(&self, _: &Job<'_>, followers: &mut Followers<'_>) -> Result<Vec<Answer>> {
            let mut answers = vec![Answer::Done];
            while answers.len() <= self.wait_for {
                match followers.next() {
                    Some(_) => answers.push(Answer::Done),
                    None => std::thread::yield_now(),
                }
            }
            self.commits.fetch_add(1, SeqCst);
            (self.then)().map(|()| answers)
        }
    }

    fn all(threads: usize, group: &Group, committer: &Told) -> Vec<Result<Answer>> {
        std::thread::scope(|scope| {
            let all: Vec<_> =
                (0..threads).map(|_| scope.spawn(|| group.submit(Job::Flush, committer))).collect();
            all.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    #[test]
    fn those_who_queue_up_behind_a_leader_share_its_commit() {
        let (group, committer) = (Group::new("test"), Told::to(7, || Ok(())));
        assert!(all(8, &group, &committer).iter().all(Result::is_ok));
        assert_eq!(committer.commits.load(SeqCst), 1);
    }

    #[test]
    fn an_error_of_the_commit_is_told_to_all_and_the_next_one_works() {
        let group = Group::new("test");
        let failing = Told::to(7, || Err(Error::new(ErrorKind::Full, "test", "write")));
        let answers = all(8, &group, &failing);
        assert!(answers.iter().all(|answer| answer.as_ref().unwrap_err().kind() == ErrorKind::Full));
        assert!(group.submit(Job::Flush, &Told::to(0, || Ok(()))).is_ok());
    }

    #[test]
    fn a_panic_of_the_commit_is_an_error_to_all_and_the_next_one_works() {
        let group = Group::new("test");
        let answers = all(8, &group, &Told::to(7, || panic!("told to")));
        assert!(answers.iter().all(|answer| answer.as_ref().unwrap_err().kind() == ErrorKind::Corrupt));
        assert!(group.submit(Job::Flush, &Told::to(0, || Ok(()))).is_ok());
    }

    #[test]
    fn leadership_is_handed_on_until_nobody_waits() {
        let (group, committer) = (Group::new("test"), Told::to(0, || Ok(())));
        let answers = all(64, &group, &committer);
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(committer.commits.load(SeqCst), 64, "each leads once: this committer takes on nobody");
        let queue = group.queue.lock();
        assert!(!queue.led && queue.waiting.is_empty());
    }

    #[test]
    fn one_more_than_may_wait_is_told_at_once() {
        let group = Group::new("test");
        let ticket = Ticket { job: Job::Flush, call: Mutex::new(Call::NotYet), called: Condvar::new() };
        {
            let mut queue = group.queue.lock();
            queue.led = true;
            queue.waiting = std::iter::repeat_n(Arc::new(ticket), WAITING_MAX).collect();
        }
        let refused = group.submit(Job::Flush, &Told::to(0, || Ok(()))).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Busy);
    }
}
