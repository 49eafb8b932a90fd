//! A store as a tier on threads of its own, so that an asynchronous caller is never blocked but by `close`, which waits for
//! the threads.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, TrySendError, bounded};
use nanotier_clock::Timestamp;
use parking_lot::Mutex;

use crate::capabilities::Capabilities;
use crate::context::Context;
use crate::entry::{Cleared, Found, Intent, Page, PageRequest, Write, Wrote};
use crate::error::{Error, ErrorKind, Result};
use crate::path::{Namespace, Path};
use crate::store::Store;
use crate::tier::{Lineage, Tier};
use crate::update::{Update, Updated};

type Job<S> = Box<dyn FnOnce(&S) + Send>;

/// Runs a store on a small pool of threads. Jobs of one key run in order, on one thread.
///
/// A batch is split by thread; its parts run at once. A full queue is [`ErrorKind::Busy`], at once: callers
/// are not made to wait for room. Jobs whose caller has left are still done. [`close`](Tier::close) does what
/// is queued, then ends the threads; so does dropping the last handle, without waiting. A panic in the store
/// is an error to its caller alone.
pub struct Offload<S> {
    store: Arc<S>,
    lanes: Mutex<Lanes<S>>,
    /// Held while closing: whoever closes a second time waits until the first is done.
    closing: Mutex<()>,
}

/// The threads; empty once closed.
struct Lanes<S> {
    senders: Vec<Sender<Job<S>>>,
    threads: Vec<JoinHandle<()>>,
}

impl<S: Store> Offload<S> {
    /// The most threads.
    pub const THREADS_MAX: usize = 64;

    /// `store` on `threads` threads, each with room for `queue_max` waiting jobs. Both at least 1.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for zero or more than [`THREADS_MAX`](Self::THREADS_MAX) threads, or no room;
    /// [`ErrorKind::Unavailable`] if a thread cannot be started.
    pub fn new(store: S, threads: usize, queue_max: usize) -> Result<Self> {
        if threads == 0 || threads > Self::THREADS_MAX || queue_max == 0 {
            return Err(Error::new(ErrorKind::Config, store.name(), "build").with_detail(format!(
                "1 to {} threads and a queue of at least 1 are needed",
                Self::THREADS_MAX
            )));
        }
        let store = Arc::new(store);
        let mut lanes = Lanes { senders: Vec::new(), threads: Vec::new() };
        for index in 0..threads {
            let (sender, jobs) = bounded::<Job<S>>(queue_max);
            let served = store.clone();
            let thread = std::thread::Builder::new()
                .name(format!("nanotier-{}-{index}", store.name()))
                .spawn(move || {
                    for job in jobs {
                        // A panic has been answered by the job's `Promise`; other keys of the lane are not to
                        // suffer.
                        let _ = catch_unwind(AssertUnwindSafe(|| job(&served)));
                    }
                })
                .map_err(|error| {
                    Error::new(ErrorKind::Unavailable, store.name(), "build").with_source(error)
                })?;
            lanes.senders.push(sender);
            lanes.threads.push(thread);
        }
        Ok(Self { store, lanes: Mutex::new(lanes), closing: Mutex::new(()) })
    }

    /// The lane of a path: always the same for the same path.
    fn lane_of(&self, path: &Path<'_>) -> usize {
        let mut hasher = siphasher::sip::SipHasher13::new();
        path.hash(&mut hasher);
        // Fewer than 65 lanes: the remainder fits.
        usize::try_from(hasher.finish() % self.lanes.lock().senders.len().max(1) as u64).unwrap_or(0)
    }

    fn send<R: Send + 'static>(
        &self,
        lane: usize,
        operation: &'static str,
        work: impl FnOnce(&S) -> Result<R> + Send + 'static,
    ) -> Result<Reply<R>> {
        let reply = Reply::new(self.store.name(), operation);
        let answer = Promise(Some(reply.clone()));
        let job: Job<S> = Box::new(move |store| answer.keep(work(store)));
        let lanes = self.lanes.lock();
        let error = |kind| Err(Error::new(kind, self.store.name(), operation));
        let Some(sender) = lanes.senders.get(lane) else { return error(ErrorKind::Closed) };
        match sender.try_send(job) {
            Ok(()) => Ok(reply),
            Err(TrySendError::Full(_)) => error(ErrorKind::Busy),
            Err(TrySendError::Disconnected(_)) => error(ErrorKind::Closed),
        }
    }

    /// Splits a batch by lane, has the parts done at once, and puts the answers back in order.
    async fn batch<T, R>(
        &self,
        items: Vec<(usize, T)>,
        operation: &'static str,
        work: impl Fn(&S, &[T]) -> Result<Vec<Result<R>>> + Clone + Send + 'static,
    ) -> Result<Vec<Result<R>>>
    where
        T: Send + 'static,
        R: Send + 'static,
    {
        let total = items.len();
        let mut parts: Vec<(usize, Vec<usize>, Vec<T>)> = Vec::new();
        for (index, (lane, item)) in items.into_iter().enumerate() {
            match parts.iter_mut().find(|(of, _, _)| *of == lane) {
                Some((_, indices, part)) => {
                    indices.push(index);
                    part.push(item);
                }
                None => parts.push((lane, vec![index], vec![item])),
            }
        }
        let mut replies = Vec::with_capacity(parts.len());
        for (lane, indices, part) in parts {
            let work = work.clone();
            replies.push((indices, self.send(lane, operation, move |store: &S| work(store, &part))));
        }
        let mut answers: Vec<Option<Result<R>>> = (0..total).map(|_| None).collect();
        for (indices, reply) in replies {
            let part = match reply {
                Ok(reply) => reply.await,
                Err(error) => Err(error),
            };
            match part {
                Ok(part) => {
                    indices.into_iter().zip(part).for_each(|(index, answer)| answers[index] = Some(answer));
                }
                Err(error) => indices.into_iter().for_each(|index| answers[index] = Some(Err(error.clone()))),
            }
        }
        let missing = || Err(Error::new(ErrorKind::Corrupt, self.store.name(), operation));
        Ok(answers.into_iter().map(|answer| answer.unwrap_or_else(missing)).collect())
    }

    async fn single<R: Send + 'static>(
        &self,
        lane: usize,
        operation: &'static str,
        work: impl FnOnce(&S) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        self.send(lane, operation, work)?.await
    }
}

impl<S: Store> Tier for Offload<S> {
    fn name(&self) -> &'static str {
        self.store.name()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { embedded: false, ..self.store.capabilities() }
    }

    fn attach(&self, context: &Context) {
        self.store.attach(context);
    }

    fn believed_since(&self) -> Timestamp {
        self.store.believed_since()
    }

    fn lineage(&self) -> Option<Lineage> {
        self.store.lineage()
    }

    fn doubt(&self, until: Timestamp) {
        self.store.doubt(until);
    }

    async fn read(&self, paths: &[Path<'_>], intent: Intent) -> Result<Vec<Result<Found>>> {
        let items = paths.iter().map(|path| (self.lane_of(path), path.borrowed().into_owned())).collect();
        self.batch(items, "read", move |store, paths: &[Path<'static>]| store.read(paths, intent)).await
    }

    async fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
        let items =
            writes.iter().map(|write| (self.lane_of(&write.path), write.clone().into_owned())).collect();
        self.batch(items, "write", |store, writes: &[Write<'static>]| store.write(writes)).await
    }

    async fn update(&self, update: &Update<'_>) -> Result<Updated> {
        let lane = self.lane_of(&update.path);
        let update =
            Update { path: update.path.borrowed().into_owned(), change: update.change.clone(), ..*update };
        self.single(lane, "update", move |store| store.update(&update)).await
    }

    async fn clear(&self, cleared: &Cleared<'_>) -> Result<Wrote> {
        let (namespace, version, as_of) = (cleared.namespace.clone(), cleared.version, cleared.as_of);
        let work = move |store: &S| store.clear(&Cleared { namespace: &namespace, version, as_of });
        self.single(0, "clear", work).await
    }

    async fn list(&self, namespace: &Namespace, page: &PageRequest) -> Result<Page> {
        let (namespace, page) = (namespace.clone(), page.clone());
        self.single(0, "list", move |store| store.list(&namespace, &page)).await
    }

    async fn ready(&self) -> Result<()> {
        self.single(0, "ready", S::ready).await
    }

    async fn close(&self) -> Result<()> {
        let _closing = self.closing.lock();
        let threads = {
            let mut lanes = self.lanes.lock();
            lanes.senders.clear();
            std::mem::take(&mut lanes.threads)
        };
        for thread in threads {
            // A lane catches the panics of its jobs.
            let _ = thread.join();
        }
        self.store.close()
    }
}

impl<S> fmt::Debug for Offload<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offload").field("threads", &self.lanes.lock().threads.len()).finish_non_exhaustive()
    }
}

/// The answer once it is there, and who waits for it.
type Slot<R> = (Option<Result<R>>, Option<Waker>);

/// The answer of a job, for one to wait for.
struct Reply<R> {
    slot: Arc<Mutex<Slot<R>>>,
    tier: &'static str,
    operation: &'static str,
}

impl<R> Clone for Reply<R> {
    fn clone(&self) -> Self {
        Self { slot: self.slot.clone(), tier: self.tier, operation: self.operation }
    }
}

impl<R> Reply<R> {
    fn new(tier: &'static str, operation: &'static str) -> Self {
        Self { slot: Arc::new(Mutex::new((None, None))), tier, operation }
    }

    fn fill(&self, answer: Result<R>) {
        let waker = {
            let mut slot = self.slot.lock();
            slot.0 = Some(answer);
            slot.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<R> Future for Reply<R> {
    type Output = Result<R>;

    fn poll(self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let mut slot = self.slot.lock();
        match slot.0.take() {
            Some(answer) => Poll::Ready(answer),
            None => {
                slot.1 = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// The duty to answer: a job that panics or is thrown away answers with an error.
struct Promise<R>(Option<Reply<R>>);

impl<R> Promise<R> {
    fn keep(mut self, answer: Result<R>) {
        if let Some(reply) = self.0.take() {
            reply.fill(answer);
        }
    }
}

impl<R> Drop for Promise<R> {
    fn drop(&mut self) {
        if let Some(reply) = self.0.take() {
            let (kind, detail) = if std::thread::panicking() {
                (ErrorKind::Storage, "the store panicked")
            } else {
                (ErrorKind::Closed, "the job was thrown away")
            };
            reply.fill(Err(Error::new(kind, reply.tier, reply.operation).with_detail(detail)));
        }
    }
}
