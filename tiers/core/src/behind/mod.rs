//! Writing behind: a queue that is itself a tier, in front of the tier it shields.
//!
//! `state.rs` knows what is queued, what of it is being written, and what the far tier is known to hold; nothing there
//! waits. Here is the order of steps.

mod file_log;
mod log;
mod state;

use std::borrow::Cow;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use nanotier_clock::{Moment, Timestamp};

pub use file_log::FileLog;
pub use log::{LogItem, MemoryLog, QueueLog};

use self::state::{Flushing, Hold, Judged, State, Wanted};
use crate::breaker::jittered;
use crate::capabilities::{Capabilities, Durability, Scope};
use crate::context::{Attachment, Context};
use crate::entry::{Cleared, Entry, Found, Guard, Intent, Page, PageRequest, TierIndex, Write, Wrote};
use crate::error::{Error, ErrorKind, Result};
use crate::observer::Event;
use crate::path::{Namespace, Path};
use crate::stored::Freshness;
use crate::sync::Mutex;
use crate::tier::{Lineage, Tier};
use crate::update::{Change, Update, Updated};
use crate::waiting::within;

/// What a writer does when the queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WhenFull {
    /// Waits for room, for at most [`WriteBehind::wait`].
    Wait,
    /// [`ErrorKind::Busy`] at once.
    Busy,
}

/// How a queue of writes is to be. Judged by `build()`.
#[derive(Clone, Debug)]
#[must_use = "does nothing until a tier is put `behind` it"]
pub struct WriteBehind {
    entries_max: usize,
    bytes_max: usize,
    when_full: WhenFull,
    wait: Duration,
    delay: Duration,
    batch_max: usize,
    pause: (Duration, Duration),
    drain_deadline: Duration,
    sole_writer: Option<bool>,
}

impl Default for WriteBehind {
    fn default() -> Self {
        Self::new()
    }
}

impl WriteBehind {
    /// 10,000 entries and 64 MiB; writers wait for room for up to 50 ms; written in batches of up to 128, after 5 ms, and
    /// again after 10 ms to 1 s when that fails; drained for up to 5 s at the end.
    pub const fn new() -> Self {
        Self {
            entries_max: 10_000,
            bytes_max: 64 * 1024 * 1024,
            when_full: WhenFull::Wait,
            wait: Duration::from_millis(50),
            delay: Duration::from_millis(5),
            batch_max: 128,
            pause: (Duration::from_millis(10), Duration::from_secs(1)),
            drain_deadline: Duration::from_secs(5),
            sole_writer: None,
        }
    }

    /// How many keys are queued at most. At least 1.
    pub const fn entries_max(self, entries_max: usize) -> Self {
        Self { entries_max, ..self }
    }

    /// How many bytes of keys and values are queued at most. A write that does not fit into the empty queue goes past it.
    pub const fn bytes_max(self, bytes_max: usize) -> Self {
        Self { bytes_max, ..self }
    }

    /// What a writer does when there is no room.
    pub const fn when_full(self, when_full: WhenFull) -> Self {
        Self { when_full, ..self }
    }

    /// How long a call waits at most: for room, or for its key, which another call or the flush has just then. More than
    /// zero.
    pub const fn wait(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    /// How long a write is held back, so that others of its key can take its place and others of other keys share its
    /// batch. May be zero.
    pub const fn delay(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// How many writes go to the far tier at once. At least 1.
    pub const fn batch_max(self, batch_max: usize) -> Self {
        Self { batch_max, ..self }
    }

    /// How long the queue pauses after a failure: `first`, twice as long after each further one, at most `longest`; each
    /// time shortened at random, by up to a half.
    pub const fn pause(self, first: Duration, longest: Duration) -> Self {
        Self { pause: (first, longest), ..self }
    }

    /// How long `flush` and `close` try to get everything written; so does dropping the queue, without waiting.
    pub const fn drain_deadline(self, drain_deadline: Duration) -> Self {
        Self { drain_deadline, ..self }
    }

    /// Whether nobody but this queue writes to the far tier. Then a write that was queued for longer than the far tier keeps
    /// tombstones is written all the same; else it could undo another's delete, and is given up, which `flush` reports. By
    /// default true where the far tier is of this process alone.
    pub const fn sole_writer(self, sole_writer: bool) -> Self {
        Self { sole_writer: Some(sole_writer), ..self }
    }

    fn judge(&self) -> Result<(), &'static str> {
        if self.entries_max == 0 || self.bytes_max == 0 {
            return Err("a queue without room queues nothing: leave it out");
        }
        if self.batch_max == 0 {
            return Err("a batch has at least one write: `.batch_max(128)`");
        }
        if self.wait.is_zero() {
            return Err("calls of one key wait for each other: `.wait(Duration::from_millis(50))`");
        }
        if self.pause.0.is_zero() || self.pause.1 < self.pause.0 {
            return Err("a pause takes some time, and the longest is not shorter than the first");
        }
        Ok(())
    }
}

/// A queue of writes in front of `Far`; made by [`Tier::behind`] or [`Tier::behind_logged`].
///
/// Reads see what is queued. Of writes to one key the newest is kept, and written in the background; `docs/CHAIN.md` says
/// what each call does.
///
/// **Without a log** an acknowledged put is lost if the process dies before it is written; a remove is acknowledged when
/// the far tier has it. **With a log** both are acknowledged when the log has them. A write that the far tier refuses for
/// good (a value too large, a decision too old) is given up: told to the observer, counted in [`state`](Behind::state), and
/// reported by `flush` and `close`.
///
/// Writers elsewhere are not heard of before the queue is written: a put that is older than another's is acknowledged
/// here, and refused there.
///
/// ```
/// use nanotier_tier::{MemoryStore, Store, Tier, WriteBehind, waiting::block_on};
///
/// let far = MemoryStore::new().inline().behind(WriteBehind::new());
/// let queue = far.queue();
/// let chain = MemoryStore::new().inline().over(far);
/// assert!(chain.verify().is_ok());
/// assert_eq!(queue.state().entries, 0);
/// assert!(block_on(queue.flush()).is_ok());
/// ```
pub struct Behind<Far: Tier> {
    queue: Queue<Far>,
}

/// A handle on the queue of a [`Behind`] tier, that stays when the tier itself is built into a cache.
pub struct Queue<Far: Tier>(Arc<Shared<Far>>);

impl<Far: Tier> Clone for Queue<Far> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<Far: Tier> fmt::Debug for Queue<Far> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("state", &self.state()).finish_non_exhaustive()
    }
}

impl<Far: Tier> fmt::Debug for Behind<Far> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Behind").field("state", &self.state()).finish_non_exhaustive()
    }
}

/// How a queue is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct QueueState {
    /// How many keys are queued, those that are just being written included.
    pub entries: usize,
    /// The bytes of their keys and values.
    pub bytes: usize,
    /// How many writes reached the far tier.
    pub written: u64,
    /// How many gave way to a newer write of their key while they were queued.
    pub coalesced: u64,
    /// How many the far tier refused, since somebody else had written something newer.
    pub superseded: u64,
    /// How many were given up.
    pub lost: u64,
}

struct Shared<Far> {
    far: Far,
    options: WriteBehind,
    log: Option<Box<dyn QueueLog>>,
    attachment: Attachment,
    state: Mutex<State>,
}

impl<Far: Tier> Behind<Far> {
    pub(crate) fn new(far: Far, options: WriteBehind) -> Self {
        let state = Mutex::new(State::new(options.entries_max));
        let attachment = Attachment::default();
        Self { queue: Queue(Arc::new(Shared { far, options, log: None, attachment, state })) }
    }

    pub(crate) fn logged(far: Far, options: WriteBehind, log: impl QueueLog) -> Result<Self> {
        let mut state = State::new(options.entries_max);
        state.replay(log.replay()?);
        let shared = Shared {
            far,
            options,
            log: Some(Box::new(log)),
            attachment: Attachment::default(),
            state: Mutex::new(state),
        };
        Ok(Self { queue: Queue(Arc::new(shared)) })
    }

    /// A handle to keep.
    #[must_use]
    pub fn queue(&self) -> Queue<Far> {
        self.queue.clone()
    }

    /// How the queue is doing.
    #[must_use]
    pub fn state(&self) -> QueueState {
        self.queue.state()
    }

    /// As [`Queue::flush`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn flush(&self) -> Result<()> {
        self.queue.flush().await
    }
}

/// What is queued is still written, for as long as the drain deadline allows; nobody hears of it.
impl<Far: Tier> Drop for Behind<Far> {
    fn drop(&mut self) {
        let shared = &self.queue.0;
        let until = shared.now().plus(shared.options.drain_deadline);
        shared.with(|state| {
            state.abandoned_from = Some(until);
            state.poke();
        });
    }
}

impl<Far: Tier> Queue<Far> {
    /// How it is doing.
    #[must_use]
    pub fn state(&self) -> QueueState {
        self.0.state.lock().report()
    }

    /// Writes everything that is queued now; not what comes later.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`] if that took longer than the drain deadline: what is left stays queued.
    /// [`ErrorKind::Storage`] if writes were given up since the last report. The text says how many.
    pub async fn flush(&self) -> Result<()> {
        let wanted = Wanted { until_turn: self.0.state.lock().turn_now(), ..Wanted::ALL };
        self.0.drain(wanted).await;
        self.0.say_what_is_left("flush", wanted)
    }
}

impl<Far: Tier> Shared<Far> {
    /// Changes the state, then wakes whoever waits for what was changed.
    fn with<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock();
        let result = change(&mut state);
        let wakers = state.take_wakers();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        result
    }

    fn now(&self) -> Moment {
        let clock = self.attachment.clock();
        // A deadline that is counted from a clock that lags has passed already.
        clock.catch_up();
        clock.now()
    }

    fn wall(&self) -> Timestamp {
        self.attachment.clock().wall()
    }

    fn error(&self, kind: ErrorKind, operation: &'static str, detail: &'static str) -> Error {
        Error::new(kind, self.far.name(), operation).with_detail(detail)
    }

    fn is_sole_writer(&self) -> bool {
        self.options.sole_writer.unwrap_or_else(|| self.far.capabilities().scope == Scope::Process)
    }

    /// The write as it is when the queue hands it on.
    fn outgoing(&self, path: &Path<'static>, queued: &state::Queued) -> Write<'static> {
        let as_of = if self.is_sole_writer() { queued.as_of.max(self.wall()) } else { queued.as_of };
        Write {
            path: path.clone(),
            record: queued.record.clone().map(Cow::Owned),
            version: queued.version,
            guard: Guard::Newer,
            as_of,
        }
    }

    /// Waits for a change of the queue, or until `until`. False for the latter.
    async fn changed(&self, epoch: u64, until: Moment) -> bool {
        let wait = poll_fn(|context| {
            let mut state = self.state.lock();
            if state.epoch() != epoch {
                return Poll::Ready(());
            }
            state.wait(context.waker());
            Poll::Pending
        });
        within(self.attachment.clock(), until, wait).await.is_some()
    }

    /// Has the keys of `paths` for itself: for a direct call, to be alone with them at the far tier; for queueing, to be the
    /// only writer. All of them or none.
    async fn acquire(
        &self,
        paths: Vec<Path<'static>>,
        hold: Hold,
        until: Moment,
        operation: &'static str,
    ) -> Result<Held<'_, Far>> {
        loop {
            let epoch = {
                let mut state = self.state.lock();
                if state.is_closing {
                    return Err(Error::new(ErrorKind::Closed, self.far.name(), operation));
                }
                if state.hold(&paths, hold) {
                    return Ok(Held { shared: self, paths });
                }
                state.epoch()
            };
            if !self.changed(epoch, until).await {
                return Err(self.error(ErrorKind::Busy, operation, "others are at the same key"));
            }
        }
    }

    /// Hands on what is queued under keys that the caller holds. The keys that did not get through, with why.
    async fn flush_held(&self, paths: &[Path<'static>]) -> Vec<(Path<'static>, Error)> {
        let batch = self.state.lock().begin(paths);
        if batch.is_empty() { Vec::new() } else { self.hand_on(batch).await }
    }

    async fn hand_on(&self, batch: Vec<Flushing>) -> Vec<(Path<'static>, Error)> {
        let guard = Unfinished { shared: self, batch };
        let writes: Vec<Write<'_>> =
            guard.batch.iter().map(|flushing| self.outgoing(&flushing.path, &flushing.queued)).collect();
        let answers = self.far.write(&writes).await;
        drop(writes);
        let batch = guard.finish();
        self.settle(batch, answers)
    }

    /// Takes the far tier's answers to a batch.
    fn settle(
        &self,
        batch: Vec<Flushing>,
        answers: Result<Vec<Result<Wrote>>>,
    ) -> Vec<(Path<'static>, Error)> {
        let context = self.attachment.context();
        let (seed, now, tier) = (context.versions.writer(), self.now(), self.far.name());
        let pause = |turn: u32| {
            let (first, longest) = self.options.pause;
            let doubled = first.saturating_mul(1 << turn.saturating_sub(1).min(20)).min(longest);
            now.plus(jittered(doubled, seed, u64::from(turn)))
        };
        let mut failed = Vec::new();
        let (mut lost, mut seen) = (false, Vec::new());
        let alone = batch.len() == 1;
        let answers = match answers {
            Ok(answers) => answers,
            // What does not go through even alone is the write's own fault.
            Err(error) if alone && is_final(&error) => vec![Err(error)],
            Err(error) => {
                self.with(|state| {
                    state.failures_in_a_row = state.failures_in_a_row.saturating_add(1);
                    state.paused_until = pause(state.failures_in_a_row);
                    for flushing in batch {
                        state.put_back(&flushing, now);
                        failed.push((flushing.path, error.clone()));
                    }
                    state.change();
                });
                context.tell(&Event::FlushFailed { tier, at: context.place() });
                return failed;
            }
        };
        // A tier that leaves answers out has not said that they are written.
        let missing = || Err(Error::new(ErrorKind::Corrupt, tier, "write"));
        let answers = answers.into_iter().chain(std::iter::repeat_with(missing));
        let low = self.with(|state| {
            state.failures_in_a_row = 0;
            if std::mem::replace(&mut state.paused_until, Moment::ZERO) > now {
                state.poke();
            }
            for (flushing, answer) in batch.into_iter().zip(answers) {
                match answer {
                    Ok(Wrote::Done) => state.written(&flushing),
                    Ok(Wrote::Older(held)) => {
                        seen.push(held);
                        state.superseded(&flushing, held);
                    }
                    Ok(Wrote::TooLate | Wrote::Changed) => {
                        lost = true;
                        state.lost(&flushing);
                    }
                    Err(error) if is_final(&error) => {
                        lost = true;
                        state.lost(&flushing);
                    }
                    Err(error) => {
                        state.put_back(&flushing, pause(flushing.queued.attempts + 1));
                        failed.push((flushing.path, error));
                    }
                }
            }
            state.change();
            state.low_water()
        });
        seen.into_iter().for_each(|version| context.versions.saw(version));
        if !failed.is_empty() {
            context.tell(&Event::FlushFailed { tier, at: context.place() });
        }
        if lost {
            context.tell(&Event::QueuedWriteLost { tier, at: context.place() });
        }
        if let Some(log) = &self.log {
            // What is not forgotten now is forgotten next time.
            let _ = log.trim(low);
            self.make_room_in(&**log);
        }
        failed
    }

    /// Appends anew what the log would have to be kept for.
    fn make_room_in(&self, log: &dyn QueueLog) {
        let Some(below) = log.crowded_below() else { return };
        let (paths, items) = self.state.lock().renumbered(below);
        let held = Held { shared: self, paths };
        if !items.is_empty() && log.append(&items).is_ok() {
            let low = {
                let mut state = self.state.lock();
                state.take_new_numbers(&items);
                state.low_water()
            };
            let _ = log.trim(low);
        } else {
            self.state.lock().forget_numbers(&items);
        }
        drop(held);
    }

    /// Writes what is queued and wanted, until nothing of it is left or the drain deadline has passed.
    async fn drain(&self, wanted: Wanted<'_>) {
        let until = self.now().plus(self.options.drain_deadline);
        loop {
            let (batch, epoch) = {
                let mut state = self.state.lock();
                if !state.has_any(wanted) {
                    return;
                }
                let limit = self.limit(&state);
                (state.take_any(wanted, limit), state.epoch())
            };
            if batch.is_empty() {
                // All of it is under way elsewhere.
                if !self.changed(epoch, until).await {
                    return;
                }
                continue;
            }
            // A tier that does not answer at all: what is there is written again.
            let Some(failed) = within(self.attachment.clock(), until, self.hand_on(batch)).await else {
                return;
            };
            if self.now() >= until {
                return;
            }
            if !failed.is_empty() {
                let pause = self.now().plus(self.options.pause.0).min(until);
                self.attachment.clock().sleep_until(pause).await;
            }
        }
    }

    /// How many writes go to the far tier at once: one at a time where it fails, so that one that is at fault itself is
    /// found.
    fn limit(&self, state: &State) -> usize {
        if state.failures_in_a_row >= 2 { 1 } else { self.options.batch_max.max(1) }
    }

    fn say_what_is_left(&self, operation: &'static str, wanted: Wanted<'_>) -> Result<()> {
        let (left, lost) = {
            let mut state = self.state.lock();
            (state.count(wanted), state.take_unreported())
        };
        let fails =
            |kind, detail: String| Err(Error::new(kind, self.far.name(), operation).with_detail(detail));
        let kept = if self.log.is_some() { " and stay in the log" } else { "" };
        match (left, lost) {
            (0, 0) => Ok(()),
            (0, lost) => fails(ErrorKind::Storage, format!("{lost} queued writes were refused for good")),
            (left, lost) => fails(
                ErrorKind::Timeout,
                format!("{left} queued writes are not through{kept}, {lost} were refused for good"),
            ),
        }
    }

    /// Writes in the background, until nothing is queued.
    async fn run(self: Arc<Self>, mut running: Running<Far>) {
        // The clock may show less than what a sleeper was woken for: it is not asked to sleep until then again.
        let mut least = Moment::ZERO;
        loop {
            let now = self.now().max(least);
            let next = {
                let mut state = self.state.lock();
                let abandoned = state.abandoned_from.is_some_and(|from| now >= from);
                if !state.has_any(Wanted::ALL) || abandoned || state.is_closed {
                    state.is_running = false;
                    running.shared = None;
                    return;
                }
                let limit = self.limit(&state);
                match state.take_ready(now, limit) {
                    Ok(batch) => Ok(batch),
                    Err(at) => Err(state.abandoned_from.map_or(at, |from| at.min(from))),
                }
            };
            match next {
                Ok(batch) => drop(self.hand_on(batch).await),
                Err(at) => {
                    let poked = poll_fn(|context| {
                        if self.state.lock().is_poked(context.waker()) {
                            Poll::Ready(())
                        } else {
                            Poll::Pending
                        }
                    });
                    if within(self.attachment.clock(), at, poked).await.is_none() {
                        least = at;
                    }
                }
            }
        }
    }

    fn start(self: &Arc<Self>) {
        {
            let mut state = self.state.lock();
            if state.is_running || !state.has_any(Wanted::ALL) {
                return;
            }
            state.is_running = true;
        }
        // Made before the task is first polled: it may be dropped before that.
        let running = Running { shared: Some(self.clone()) };
        self.attachment.context().spawn(Box::pin(self.clone().run(running)));
    }

    /// Puts into the queue what may go there. One answer for each write.
    async fn queue(self: &Arc<Self>, writes: &[Write<'_>], until: Moment) -> Vec<Result<Wrote>> {
        let all = |error: &Error| writes.iter().map(|_| Err(error.clone())).collect();
        let held = match self.acquire(distinct(writes), Hold::Queueing, until, "write").await {
            Ok(held) => held,
            Err(error) => return all(&error),
        };
        let unsure = self.state.lock().unsure(writes);
        if !unsure.is_empty() {
            if let Err(error) = self.ask(&unsure).await {
                return all(&error);
            }
        }
        let horizon = self.far.capabilities().horizon;
        let (judged, items) = loop {
            let (judged, epoch) = {
                let mut state = self.state.lock();
                let judged = state.judge(writes, self.wall(), horizon);
                if state.has_room_for(&judged, self.options.entries_max, self.options.bytes_max) {
                    state.reserve(&judged);
                    // With the judgement: a clearing that comes after it has a higher number.
                    let items = state.numbered(writes, &judged, self.log.is_some());
                    break (judged, items);
                }
                (judged, state.epoch())
            };
            self.start();
            if self.options.when_full == WhenFull::Busy || !self.changed(epoch, until).await {
                let full = self.error(ErrorKind::Busy, "write", "the queue is full");
                return judged.answers.iter().map(|wrote| wrote.ok_or_else(|| full.clone())).collect();
            }
        };
        let reserved = Reserved { shared: self, judged };
        if let (Some(log), false) = (&self.log, items.is_empty()) {
            if let Err(error) = log.append(&items) {
                self.state.lock().forget_numbers(&items);
                return reserved
                    .judged
                    .answers
                    .iter()
                    .map(|wrote| wrote.ok_or_else(|| error.clone()))
                    .collect();
            }
        }
        let at = self.now().plus(self.options.delay);
        // Closed meanwhile: nobody would write it any more.
        let answers = self.with(|state| {
            if state.is_closed { None } else { Some(state.insert(writes, &reserved.judged, &items, at)) }
        });
        drop(reserved);
        drop(held);
        let Some(answers) = answers else {
            return all(&Error::new(ErrorKind::Closed, self.far.name(), "write"));
        };
        self.start();
        answers.into_iter().map(Ok).collect()
    }

    /// Asks the far tier what it holds of keys that the caller holds.
    async fn ask(&self, paths: &[Path<'static>]) -> Result<()> {
        let found = self.far.read(paths, Intent::Confirm).await?;
        let mut state = self.state.lock();
        for (path, found) in paths.iter().zip(found) {
            state.learn(path, found?.entry.version());
        }
        Ok(())
    }

    /// Writes past the queue: what cannot be queued.
    async fn direct(&self, writes: &[Write<'_>], until: Moment) -> Vec<Result<Wrote>> {
        let all =
            |error: &Error| -> Vec<Result<Wrote>> { writes.iter().map(|_| Err(error.clone())).collect() };
        let held = match self.acquire(distinct(writes), Hold::Direct, until, "write").await {
            Ok(held) => held,
            Err(error) => return all(&error),
        };
        let mut answers: Vec<Option<Result<Wrote>>> =
            self.state.lock().refused(writes).into_iter().map(|wrote| wrote.map(Ok)).collect();
        let open: Vec<usize> = (0..writes.len()).filter(|index| answers[*index].is_none()).collect();
        if open.is_empty() {
            return answers.into_iter().flatten().collect();
        }
        if self.log.is_some() {
            let paths: Vec<Path<'static>> =
                open.iter().map(|index| writes[*index].path.clone().into_owned()).collect();
            if let Some((_, error)) = self.flush_held(&paths).await.into_iter().next() {
                return all(&error);
            }
            if let Err(error) = self.settle_in_log(&paths) {
                return all(&error);
            }
        }
        let asked: Vec<Write<'_>> = open.iter().map(|index| writes[*index].clone()).collect();
        let done = match self.far.write(&asked).await {
            Ok(done) => done,
            Err(error) => asked.iter().map(|_| Err(error.clone())).collect(),
        };
        self.with(|state| {
            for (write, answer) in asked.iter().zip(&done) {
                match answer {
                    Ok(Wrote::Done) => state.overtaken(&write.path, write.version),
                    Ok(Wrote::Older(version)) => state.overtaken(&write.path, *version),
                    Ok(Wrote::Changed | Wrote::TooLate) | Err(_) => {}
                }
            }
            state.change();
        });
        drop(held);
        open.into_iter().zip(done).for_each(|(index, answer)| answers[index] = Some(answer));
        let missing = || Err(Error::new(ErrorKind::Corrupt, self.far.name(), "write"));
        answers.into_iter().map(|answer| answer.unwrap_or_else(missing)).collect()
    }

    /// Says in the log that nothing before counts for these paths: what comes now is not in it.
    fn settle_in_log(&self, paths: &[Path<'static>]) -> Result<()> {
        let Some(log) = &self.log else { return Ok(()) };
        let items = self.state.lock().settled_items(paths);
        if items.is_empty() {
            return Ok(());
        }
        log.append(&items).inspect_err(|_| self.state.lock().not_settled(paths))
    }

    /// True if a write goes into the queue; else past it.
    fn is_queued(&self, write: &Write<'_>, value_len_max: usize) -> bool {
        let len = write.record.as_deref().map_or(0, |record| record.value.bytes.len());
        matches!(write.guard, Guard::Newer)
            && (write.record.is_some() || self.log.is_some())
            && len <= value_len_max
            && state::size_of(&write.path, write.record.as_deref()) <= self.options.bytes_max
    }
}

/// True for what will not go better later: the write is at fault.
fn is_final(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::TooLarge
            | ErrorKind::Unsupported
            | ErrorKind::InvalidName
            | ErrorKind::Codec
            | ErrorKind::Config
    )
}

fn distinct(writes: &[Write<'_>]) -> Vec<Path<'static>> {
    let mut paths: Vec<Path<'static>> = Vec::with_capacity(writes.len());
    let mut met = std::collections::HashSet::with_capacity(writes.len());
    for write in writes {
        if met.insert(write.path.borrowed()) {
            paths.push(write.path.clone().into_owned());
        }
    }
    paths
}

/// Keys that a call has for itself.
struct Held<'s, Far: Tier> {
    shared: &'s Shared<Far>,
    paths: Vec<Path<'static>>,
}

impl<Far: Tier> Drop for Held<'_, Far> {
    fn drop(&mut self) {
        self.shared.with(|state| state.let_go(&self.paths));
    }
}

/// Room that was promised to a call.
struct Reserved<'s, Far: Tier> {
    shared: &'s Shared<Far>,
    judged: Judged,
}

impl<Far: Tier> Drop for Reserved<'_, Far> {
    fn drop(&mut self) {
        self.shared.with(|state| {
            state.unreserve(&self.judged);
            state.change();
        });
    }
}

/// A batch that is at the far tier. If its driver goes, nobody knows what became of it: it is written again.
struct Unfinished<'s, Far: Tier> {
    shared: &'s Shared<Far>,
    batch: Vec<Flushing>,
}

impl<Far: Tier> Unfinished<'_, Far> {
    fn finish(mut self) -> Vec<Flushing> {
        std::mem::take(&mut self.batch)
    }
}

impl<Far: Tier> Drop for Unfinished<'_, Far> {
    fn drop(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let now = self.shared.now();
        self.shared.with(|state| {
            self.batch.iter().for_each(|flushing| state.put_back(flushing, now));
            state.change();
        });
    }
}

/// The background task. A spawner whose runtime ends drops it: then the worker goes on.
struct Running<Far: Tier> {
    shared: Option<Arc<Shared<Far>>>,
}

impl<Far: Tier> Drop for Running<Far> {
    fn drop(&mut self) {
        let Some(shared) = self.shared.take() else { return };
        if std::thread::panicking() {
            shared.state.lock().is_running = false;
            return;
        }
        let running = Self { shared: Some(shared.clone()) };
        let context = shared.attachment.context().clone();
        context.spawn_on_worker(Box::pin(shared.run(running)));
    }
}

/// Whoever drains and closes. If he goes before the end, another may.
struct Closer<'s, Far: Tier>(&'s Shared<Far>);

impl<Far: Tier> Drop for Closer<'_, Far> {
    fn drop(&mut self) {
        self.0.with(|state| {
            state.has_closer = false;
            state.change();
        });
    }
}

impl<Far: Tier> Behind<Far> {
    /// What is queued under a path, if that is what a reader is to get.
    fn look(state: &State, path: &Path<'_>, intent: Intent, now: Timestamp) -> Option<Result<Found, ()>> {
        let look = state.look(path)?;
        let entry = look.queued.entry();
        let is_fresh = entry.record().is_some_and(|record| record.freshness(now) == Freshness::Fresh);
        let serves = match intent {
            Intent::Look => true,
            // A loader follows: it must be shown what the far tier holds.
            Intent::Load => is_fresh,
            Intent::Confirm | Intent::Refresh => false,
        };
        if serves && !look.replayed { Some(Ok(queued(entry, now, true))) } else { Some(Err(())) }
    }

    /// Has these paths written, so that the far tier can be asked for them. Those for which that failed.
    async fn write_first(&self, paths: Vec<Path<'static>>) -> Vec<Path<'static>> {
        let shared = &self.queue.0;
        let until = shared.now().plus(shared.options.wait);
        let Ok(held) = shared.acquire(paths.clone(), Hold::Direct, until, "read").await else { return paths };
        let failed = shared.flush_held(&held.paths).await;
        failed.into_iter().map(|(path, _)| path).collect()
    }
}

/// The queue's own answer. It shows nothing that a fill could be guarded by.
fn queued(entry: Entry, now: Timestamp, trusted: bool) -> Found {
    Found { entry, seen: None, from: TierIndex(0), read_at: now, trusted }
}

fn weaker(one: Durability, other: Durability) -> Durability {
    match (one, other) {
        (Durability::Volatile, _) | (_, Durability::Volatile) => Durability::Volatile,
        (Durability::Async { loss_window: one }, Durability::Async { loss_window: other }) => {
            Durability::Async { loss_window: one.max(other) }
        }
        (window @ Durability::Async { .. }, Durability::Sync) | (Durability::Sync, window) => window,
    }
}

impl<Far: Tier> Tier for Behind<Far> {
    fn name(&self) -> &'static str {
        self.queue.0.far.name()
    }

    fn capabilities(&self) -> Capabilities {
        let shared = &self.queue.0;
        let far = shared.far.capabilities();
        let own = shared.log.as_ref().map_or(Durability::Volatile, |log| log.durability());
        Capabilities { durability: weaker(own, far.durability), ..far }
    }

    fn attach(&self, context: &Context) {
        let shared = &self.queue.0;
        shared.attachment.attach(context);
        shared.far.attach(context);
        // What the far tier holds of the time before, nobody here knows.
        shared.state.lock().doubt_up_to(context.versions.draw());
        shared.start();
    }

    fn verify(&self) -> Result<Scope> {
        let shared = &self.queue.0;
        if let Err(why) = shared.options.judge() {
            return Err(shared.error(ErrorKind::Config, "build", why));
        }
        if shared.far.depth() > 1 {
            return Err(shared.error(
                ErrorKind::Config,
                "build",
                "a queue shields one tier, not a chain: write `near.over(far.behind(..))`",
            ));
        }
        shared.far.verify()
    }

    fn believed_since(&self) -> Timestamp {
        self.queue.0.far.believed_since()
    }

    /// The far tier's, as long as it holds all that was acknowledged. While anything is queued nobody can rely on what the far
    /// tier was left with; and what is queued when it is closed makes the end of an opening that nobody can name.
    fn lineage(&self) -> Option<Lineage> {
        let shared = &self.queue.0;
        // Looked at first: what leaves the queue from here on is a write that the far tier tells of.
        let (is_queued, is_closed) = {
            let state = shared.state.lock();
            (state.has_any(Wanted::ALL), state.closed.is_some())
        };
        let lineage = shared.far.lineage()?;
        match (is_queued, is_closed) {
            (false, _) => Some(lineage),
            (true, false) => Some(Lineage { unchanged_since: None, ..lineage }),
            (true, true) => None,
        }
    }

    fn doubt(&self, until: Timestamp) {
        self.queue.0.far.doubt(until);
    }

    async fn read(&self, paths: &[Path<'_>], intent: Intent) -> Result<Vec<Result<Found>>> {
        let shared = &self.queue.0;
        let now = shared.wall();
        let mut first = Vec::new();
        let mut answers: Vec<Option<Result<Found>>> = {
            let state = shared.state.lock();
            if state.is_closed {
                return Err(Error::new(ErrorKind::Closed, self.name(), "read"));
            }
            let look = |path: &Path<'_>| match Self::look(&state, path, intent, now)? {
                Ok(found) => Some(Ok(found)),
                Err(()) => {
                    first.push(path.borrowed().into_owned());
                    None
                }
            };
            paths.iter().map(look).collect()
        };
        if !first.is_empty() {
            first.sort();
            first.dedup();
            let failed = self.write_first(first).await;
            let state = shared.state.lock();
            for (path, answer) in paths.iter().zip(&mut answers) {
                if answer.is_none() && failed.contains(path) {
                    // Better than an error: it was acknowledged here. That of a process before may be outdated.
                    let look = state.look(path);
                    *answer = look.map(|look| Ok(queued(look.queued.entry(), now, !look.replayed)));
                }
            }
        }
        let open: Vec<usize> = (0..paths.len()).filter(|index| answers[*index].is_none()).collect();
        if !open.is_empty() {
            let asked: Vec<Path<'_>> = open.iter().map(|index| paths[*index].borrowed()).collect();
            let found = match shared.far.read(&asked, intent).await {
                Ok(found) => found,
                Err(error) if open.len() == paths.len() => return Err(error),
                Err(error) => asked.iter().map(|_| Err(error.clone())).collect(),
            };
            open.into_iter().zip(found).for_each(|(index, found)| answers[index] = Some(found));
        }
        let missing = || Err(Error::new(ErrorKind::Corrupt, self.name(), "read"));
        Ok(answers.into_iter().map(|answer| answer.unwrap_or_else(missing)).collect())
    }

    async fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
        let shared = &self.queue.0;
        if shared.state.lock().is_closing {
            return Err(Error::new(ErrorKind::Closed, self.name(), "write"));
        }
        let value_len_max = shared.far.capabilities().value_len_max;
        let until = shared.now().plus(shared.options.wait);
        let mut answers = Vec::with_capacity(writes.len());
        let mut rest = writes;
        while let Some(next) = rest.first() {
            // As many as go the same way, and fit into the queue at once.
            let is_queued = shared.is_queued(next, value_len_max);
            let mut bytes = 0;
            let alike = |write: &&Write<'_>| {
                bytes += state::size_of(&write.path, write.record.as_deref());
                shared.is_queued(write, value_len_max) == is_queued
                    && (!is_queued || bytes <= shared.options.bytes_max)
            };
            let limit = if is_queued { shared.options.entries_max } else { rest.len() };
            let run = rest.iter().take(limit).take_while(alike).count().max(1);
            let (run, behind) = rest.split_at(run);
            rest = behind;
            if is_queued {
                answers.extend(shared.queue(run, until).await);
            } else {
                answers.extend(shared.direct(run, until).await);
            }
        }
        Ok(answers)
    }

    async fn update(&self, update: &Update<'_>) -> Result<Updated> {
        let shared = &self.queue.0;
        if matches!(update.change, Change::Now) {
            return shared.far.update(update).await;
        }
        let until = shared.now().plus(shared.options.wait);
        let path = vec![update.path.borrowed().into_owned()];
        let held = shared.acquire(path, Hold::Direct, until, "update").await?;
        // It is judged by what the far tier holds.
        if let Some((_, error)) = shared.flush_held(&held.paths).await.into_iter().next() {
            return Err(error);
        }
        shared.settle_in_log(&held.paths)?;
        let updated = shared.far.update(update).await;
        let least = match &updated {
            Ok(Updated::Done(version) | Updated::Older(version)) => Some(*version),
            Ok(Updated::Taken(Some(record))) => Some(record.version.next().max(update.version)),
            Ok(Updated::Counted { .. }) => Some(update.version),
            Ok(_) | Err(_) => None,
        };
        if let Some(least) = least {
            shared.state.lock().updated(&update.path, least);
        }
        updated
    }

    async fn clear(&self, cleared: &Cleared<'_>) -> Result<Wrote> {
        let shared = &self.queue.0;
        {
            let state = shared.state.lock();
            if state.is_closing {
                return Err(Error::new(ErrorKind::Closed, self.name(), "clear"));
            }
            if let Some(newest) =
                state.newest_in(cleared.namespace).filter(|newest| *newest >= cleared.version)
            {
                return Ok(Wrote::Older(newest));
            }
        }
        let wrote = shared.far.clear(cleared).await?;
        if wrote == Wrote::Done {
            shared.with(|state| {
                state.cleared(cleared.namespace, cleared.version);
                state.change();
            });
            if let Some(log) = &shared.log {
                let item = shared.state.lock().cleared_item(cleared.namespace, cleared.version);
                log.append(&[item])?;
            }
        }
        Ok(wrote)
    }

    async fn list(&self, namespace: &Namespace, page: &PageRequest) -> Result<Page> {
        let shared = &self.queue.0;
        let until_turn = shared.state.lock().turn_now();
        let wanted = Wanted { namespace: Some(namespace), until_turn };
        shared.drain(wanted).await;
        let (left, closed) = {
            let state = shared.state.lock();
            (state.has_any(wanted), state.is_closed)
        };
        if left && !closed {
            return Err(shared.error(ErrorKind::Unavailable, "list", "queued writes are not through"));
        }
        shared.far.list(namespace, page).await
    }

    async fn ready(&self) -> Result<()> {
        self.queue.0.far.ready().await
    }

    /// Writes what is queued, for up to the drain deadline, then closes the far tier and the log.
    async fn close(&self) -> Result<()> {
        let shared = &self.queue.0;
        loop {
            enum Role {
                Last(Result<()>),
                Second(u64),
                First,
            }
            let role = shared.with(|state| {
                // Once: those who wait for the first one would wake each other for ever.
                if !std::mem::replace(&mut state.is_closing, true) {
                    state.change();
                }
                if let Some(closed) = &state.closed {
                    Role::Last(closed.clone())
                } else if std::mem::replace(&mut state.has_closer, true) {
                    Role::Second(state.epoch())
                } else {
                    Role::First
                }
            });
            match role {
                // Closing twice is closing once: who comes later hears what came of it.
                Role::Last(closed) => return closed,
                Role::Second(epoch) => drop(shared.changed(epoch, Moment::NEVER).await),
                Role::First => break,
            }
        }
        let closer = Closer(shared);
        let until = shared.now().plus(shared.options.drain_deadline);
        loop {
            shared.drain(Wanted::ALL).await;
            // Calls that were let in before.
            let (quiet, epoch) = {
                let state = shared.state.lock();
                (state.is_quiet(), state.epoch())
            };
            if quiet || !shared.changed(epoch, until).await {
                break;
            }
        }
        let far = shared.far.close().await;
        let left = shared.say_what_is_left("close", Wanted::ALL);
        shared.with(|state| {
            state.is_closed = true;
            state.change();
            state.poke();
        });
        let log = match &shared.log {
            Some(log) => {
                let low = shared.state.lock().low_water();
                log.trim(low).and(log.close())
            }
            None => Ok(()),
        };
        let closed = left.and(far).and(log);
        shared.with(|state| state.closed = Some(closed.clone()));
        drop(closer);
        closed
    }
}
