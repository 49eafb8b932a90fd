//! A tier that goes wrong when it is told to.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use nanotier_tier::{
    Attachment, Capabilities, Cleared, Context, Error, ErrorKind, Found, Intent, Lineage, Namespace, Page,
    PageRequest, Path, Result, Scope, Tier, Timestamp, Update, Updated, Write, Wrote,
};
use parking_lot::Mutex;

use super::fault::{Fault, Harm, Rule};
use super::op::{Asked, Op};

/// Any tier, with faults on demand: slow, failing, half open, or losing its answers.
///
/// Without faults it is the tier that it wraps, by every promise of the contract. The faults are in the hands of
/// [`Faults`], which is to be fetched before the tier goes below a cache. A [`Fake`](super::Fake) has both already.
///
/// ```
/// use nanotier::testing::{Fake, Faulty};
/// use nanotier::{Inline, MemoryStore, Tier};
///
/// let fake = Fake::new();
/// let near = Faulty::new(Inline(MemoryStore::new()));
/// let faults = near.faults();
/// let users = fake.cache::<String, u32>().tiers(near.over(fake.tier())).build()?;
/// users.insert("ada".to_string(), 1815).wait()?;
///
/// faults.fail(); // the disk of this host is gone: the service behind it answers
/// assert_eq!(fake.cache::<String, u32>().build()?.get("ada").wait()?, Some(1815));
/// # Ok::<(), nanotier::Error>(())
/// ```
///
/// Cost: a short lock and a copy of the batch for each call.
#[derive(Debug)]
pub struct Faulty<T> {
    tier: T,
    attachment: Attachment,
    faults: Faults,
}

/// The faults of a [`Faulty`] tier, to be changed while it is used. Clones change the same tier's.
///
/// Faults add up: a call meets each of those that mean it. They are judged when the call begins; it waits for all delays
/// first, then [hangs](Fault::hang), then fails, is done, is held back, or loses its answer. [`heal`](Self::heal) ends
/// them all.
///
/// ```
/// use nanotier::testing::Fake;
/// use nanotier::ErrorKind;
///
/// let fake = Fake::new();
/// let users = fake.cache::<String, u32>().build()?;
/// let faults = fake.faults();
/// faults.fail();
/// assert_eq!(users.get("ada").wait().unwrap_err().kind(), ErrorKind::Unavailable);
/// faults.heal();
/// assert_eq!(users.get("ada").wait()?, None);
/// assert_eq!(faults.met(), 1);
/// # Ok::<(), nanotier::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    rules: Vec<Arc<Rule>>,
    met: u64,
    /// How often what hangs was let go.
    releases: u64,
    /// Calls that hang, by their numbers.
    hanging: BTreeMap<u64, Waker>,
    hangs_ever: u64,
}

impl<T: Tier> Faulty<T> {
    /// `tier`, with no fault yet.
    #[must_use]
    pub fn new(tier: T) -> Self {
        Self { tier, attachment: Attachment::default(), faults: Faults::default() }
    }

    /// The hands that its faults are in.
    ///
    /// ```
    /// use nanotier::testing::Faulty;
    /// use nanotier::{Cache, Inline, Json, MemoryStore};
    ///
    /// let tier = Faulty::new(Inline(MemoryStore::new()));
    /// let faults = tier.faults();
    /// let users: Cache<String, u32> =
    ///     Cache::builder().namespace("users").tiers(tier).codec(Json::default()).build()?;
    /// faults.fail();
    /// assert!(users.get("ada").wait().is_err());
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }

    /// What is to become of a call, once it has waited for all that holds it up. The error if no part of it is done.
    async fn begin(&self, operation: &'static str, parts: &[(Op, Option<&[u8]>)]) -> Result<Call<'_>> {
        let verdict = self.faults.judge(parts);
        if verdict.delay > Duration::ZERO {
            self.attachment.clock().sleep(verdict.delay).await;
        }
        if verdict.hangs {
            self.faults.released().await;
        }
        let call = Call { faults: &self.faults, tier: self.tier.name(), operation, verdict };
        match call.verdict.failing.first() {
            Some(Some(kind)) if call.verdict.failing.iter().all(Option::is_some) => Err(call.error(*kind)),
            _ => Ok(call),
        }
    }

    async fn begin_batch(&self, operation: &'static str, asked: &[Asked<'_>]) -> Result<Call<'_>> {
        let parts: Vec<_> = asked.iter().map(|asked| (asked.op, Some(asked.path.key()))).collect();
        self.begin(operation, &parts).await
    }
}

impl Faults {
    /// From now on this goes wrong too.
    ///
    /// ```
    /// use nanotier::testing::{Fake, Fault};
    /// use nanotier::ErrorKind;
    ///
    /// let fake = Fake::new();
    /// let users = fake.cache::<String, u32>().build()?;
    /// fake.faults().add(Fault::fail(ErrorKind::Busy).first(1));
    /// fake.faults().add(Fault::fail(ErrorKind::Full).nth(2));
    /// let kinds = [(); 3].map(|()| users.get("ada").wait().err().map(|error| error.kind()));
    /// assert_eq!(kinds, [Some(ErrorKind::Busy), Some(ErrorKind::Full), None]);
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    pub fn add(&self, fault: Fault) {
        self.0.lock().rules.push(Arc::new(Rule::new(fault)));
    }

    /// From now on every call fails with [`ErrorKind::Unavailable`], but [`Op::Close`].
    ///
    /// ```
    /// use nanotier::testing::Fake;
    ///
    /// let fake = Fake::new();
    /// let users = fake.cache::<String, u32>().build()?;
    /// fake.faults().fail();
    /// assert!(users.insert("ada".to_string(), 1815).wait().is_err());
    /// users.close().wait()?;
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    pub fn fail(&self) {
        self.add(Fault::fail(ErrorKind::Unavailable));
    }

    /// From now on every call takes so much longer, by the clock of the cache above. See [`Fault::slow`].
    ///
    /// ```
    /// use nanotier::testing::Fake;
    /// use std::time::Duration;
    ///
    /// let fake = Fake::new();
    /// let users = fake.cache::<String, u32>().build()?;
    /// fake.faults().slow(Duration::from_secs(2));
    /// let before = fake.clock().now();
    /// fake.drive(users.insert("ada".to_string(), 1815))?;
    /// assert!(fake.clock().now().since(before) >= Duration::from_secs(2));
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    pub fn slow(&self, by: Duration) {
        self.add(Fault::slow(by));
    }

    /// From now on no call is answered. See [`Fault::hang`].
    ///
    /// ```
    /// use nanotier::testing::Fake;
    /// use nanotier::{Limits, Tier};
    /// use std::time::Duration;
    ///
    /// let fake = Fake::new();
    /// let users = fake.cache::<String, u32>().tiers(fake.tier().guarded(Limits::new())).build()?;
    /// fake.faults().hang();
    /// let before = fake.clock().now();
    /// assert!(fake.drive(users.get("ada")).is_err(), "its deadline ended it");
    /// assert!(fake.clock().now().since(before) <= Duration::from_secs(1));
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    pub fn hang(&self) {
        self.add(Fault::hang());
    }

    /// From now on every call is done, and answered by [`ErrorKind::Timeout`].
    ///
    /// ```
    /// use nanotier::testing::Fake;
    ///
    /// let fake = Fake::new();
    /// let users = fake.cache::<String, u32>().build()?;
    /// fake.faults().lose_answers();
    /// assert!(users.insert("ada".to_string(), 1815).wait().is_err());
    /// fake.faults().heal();
    /// assert_eq!(users.get("ada").wait()?, Some(1815), "it was done");
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    pub fn lose_answers(&self) {
        self.add(Fault::lose_answer());
    }

    /// Nothing goes wrong any more. What hangs goes on, and what is slow is done in its time; a call that had begun under a
    /// fault that fails still fails.
    ///
    /// ```
    /// use nanotier::testing::Fake;
    ///
    /// let fake = Fake::new();
    /// let users = fake.cache::<String, u32>().build()?;
    /// fake.faults().fail();
    /// assert!(users.get("ada").wait().is_err());
    /// fake.faults().heal();
    /// assert!(users.get("ada").wait().is_ok());
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    pub fn heal(&self) {
        self.0.lock().rules.clear();
        self.release();
    }

    /// What hangs goes on; calls that come later hang as before.
    ///
    /// ```
    /// use nanotier::testing::Fake;
    /// use std::future::Future;
    /// use std::pin::pin;
    /// use std::task::{Context, Waker};
    ///
    /// let fake = Fake::new();
    /// let users = fake.cache::<String, u32>().build()?;
    /// fake.faults().hang();
    /// let mut get = pin!(users.get("ada"));
    /// let mut context = Context::from_waker(Waker::noop());
    /// assert!(get.as_mut().poll(&mut context).is_pending());
    /// assert_eq!(fake.faults().hanging(), 1);
    /// fake.faults().release();
    /// assert!(get.as_mut().poll(&mut context).is_ready());
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    pub fn release(&self) {
        let wakers = {
            let mut state = self.0.lock();
            state.releases += 1;
            std::mem::take(&mut state.hanging)
        };
        wakers.into_values().for_each(Waker::wake);
    }

    /// How many calls hang right now, or wait with their answers. One that was dropped does not.
    ///
    /// ```
    /// use nanotier::testing::Fake;
    ///
    /// let fake = Fake::new();
    /// let users = fake.cache::<String, u32>().build()?;
    /// fake.faults().hang();
    /// {
    ///     let mut get = std::pin::pin!(users.get("ada"));
    ///     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    ///     assert!(std::future::Future::poll(get.as_mut(), &mut context).is_pending());
    ///     assert_eq!(fake.faults().hanging(), 1);
    /// }
    /// assert_eq!(fake.faults().hanging(), 0);
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    #[must_use]
    pub fn hanging(&self) -> usize {
        self.0.lock().hanging.len()
    }

    /// How many calls have met a fault so far. A test that wants to show how something bears a fault asserts that there
    /// was one.
    ///
    /// ```
    /// use nanotier::testing::Fake;
    ///
    /// let fake = Fake::new();
    /// let users = fake.cache::<String, u32>().build()?;
    /// users.get("ada").wait()?;
    /// fake.faults().fail();
    /// assert!(users.get("ada").wait().is_err());
    /// assert_eq!(fake.faults().met(), 1);
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    #[must_use]
    pub fn met(&self) -> u64 {
        self.0.lock().met
    }

    fn judge(&self, parts: &[(Op, Option<&[u8]>)]) -> Verdict {
        // Copied, so that a test of keys runs without the lock: it is anybody's code.
        let rules = self.0.lock().rules.clone();
        let mut verdict = Verdict { failing: vec![None; parts.len()], ..Verdict::default() };
        let mut is_met = false;
        for rule in rules {
            let Some(meant) = rule.meets(parts) else { continue };
            is_met = true;
            match rule.fault.harm {
                Harm::Fail(kind) => {
                    let failing = verdict.failing.iter_mut().zip(&meant).filter(|(_, is_meant)| **is_meant);
                    failing.for_each(|(fails, _)| *fails = fails.or(Some(kind)));
                }
                Harm::Slow(by) => verdict.delay = verdict.delay.saturating_add(by),
                Harm::Hang => verdict.hangs = true,
                Harm::HoldAnswer => verdict.holds = true,
                Harm::LoseAnswer => verdict.lose(&meant),
            }
        }
        self.0.lock().met += u64::from(is_met);
        verdict
    }

    /// Once what hangs is let go.
    fn released(&self) -> Hanging<'_> {
        let mut state = self.0.lock();
        state.hangs_ever += 1;
        Hanging { faults: self, id: state.hangs_ever, releases: state.releases }
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.lock();
        f.debug_struct("Faults")
            .field("faults", &state.rules)
            .field("met", &state.met)
            .field("hanging", &state.hanging.len())
            .finish()
    }
}

/// What is to become of a call: its delays together, and each of its parts.
#[derive(Default)]
struct Verdict {
    delay: Duration,
    hangs: bool,
    failing: Vec<Option<ErrorKind>>,
    holds: bool,
    /// Empty if no answer is lost.
    losing: Vec<bool>,
}

impl Verdict {
    fn lose(&mut self, meant: &[bool]) {
        self.losing.resize(meant.len(), false);
        self.losing.iter_mut().zip(meant).for_each(|(loses, is_meant)| *loses |= is_meant);
    }
}

/// A call that is under way.
struct Call<'a> {
    faults: &'a Faults,
    tier: &'static str,
    operation: &'static str,
    verdict: Verdict,
}

impl Call<'_> {
    fn error(&self, kind: ErrorKind) -> Error {
        Error::new(kind, self.tier, self.operation).with_detail("a fault of the test")
    }

    /// What the tier is to be asked: the parts that do not fail.
    fn spared<P: Clone>(&self, parts: &[P]) -> Vec<P> {
        let spared = parts.iter().zip(&self.verdict.failing).filter(|(_, fails)| fails.is_none());
        spared.map(|(part, _)| part.clone()).collect()
    }

    /// The answer to a call of one part, as it reaches the caller.
    async fn end<R>(self, answer: R) -> Result<R> {
        if self.verdict.holds {
            self.faults.released().await;
        }
        if self.verdict.losing.contains(&true) { Err(self.error(ErrorKind::Timeout)) } else { Ok(answer) }
    }

    /// The answers to a batch, as they reach the caller: those of the tier among those of the faults.
    async fn end_batch<R>(self, answers: Vec<Result<R>>) -> Result<Vec<Result<R>>> {
        if self.verdict.holds {
            self.faults.released().await;
        }
        let losing = &self.verdict.losing;
        if !losing.is_empty() && losing.iter().all(|loses| *loses) {
            return Err(self.error(ErrorKind::Timeout));
        }
        let mut answers = answers.into_iter();
        let mut all = Vec::with_capacity(self.verdict.failing.len());
        for (n, fails) in self.verdict.failing.iter().enumerate() {
            let answer = match fails {
                Some(kind) => Some(Err(self.error(*kind))),
                None => answers.next(),
            };
            let is_lost = losing.get(n) == Some(&true);
            all.extend(
                answer.map(|answer| if is_lost { Err(self.error(ErrorKind::Timeout)) } else { answer }),
            );
        }
        // One answer too many is the tier's broken promise, for the caller to see.
        all.extend(answers);
        Ok(all)
    }
}

/// Waits until what hangs is let go.
struct Hanging<'a> {
    faults: &'a Faults,
    id: u64,
    /// How often it had been let go when this began.
    releases: u64,
}

impl Future for Hanging<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<()> {
        let waker = context.waker().clone();
        let mut state = self.faults.0.lock();
        if state.releases != self.releases {
            return Poll::Ready(());
        }
        // Dropped outside the lock: a waker is its owner's code.
        let replaced = state.hanging.insert(self.id, waker);
        drop(state);
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for Hanging<'_> {
    fn drop(&mut self) {
        let removed = self.faults.0.lock().hanging.remove(&self.id);
        drop(removed);
    }
}

impl<T: Tier> Tier for Faulty<T> {
    fn name(&self) -> &'static str {
        self.tier.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.tier.capabilities()
    }

    fn depth(&self) -> u8 {
        self.tier.depth()
    }

    fn attach(&self, context: &Context) {
        self.attachment.attach(context);
        self.tier.attach(context);
    }

    fn verify(&self) -> Result<Scope> {
        self.tier.verify()
    }

    fn believed_since(&self) -> Timestamp {
        self.tier.believed_since()
    }

    fn lineage(&self) -> Option<Lineage> {
        self.tier.lineage()
    }

    fn doubt(&self, until: Timestamp) {
        self.tier.doubt(until);
    }

    async fn read(&self, paths: &[Path<'_>], intent: Intent) -> Result<Vec<Result<Found>>> {
        let call = self.begin_batch("read", &Asked::reads(paths)).await?;
        let spared = call.spared(paths);
        let answers = self.tier.read(&spared, intent).await?;
        call.end_batch(answers).await
    }

    async fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
        let call = self.begin_batch("write", &Asked::writes(writes)).await?;
        let spared = call.spared(writes);
        let answers = self.tier.write(&spared).await?;
        call.end_batch(answers).await
    }

    async fn promote(&self, path: &Path<'_>, found: &Found) -> Result<()> {
        self.tier.promote(path, found).await
    }

    async fn update(&self, update: &Update<'_>) -> Result<Updated> {
        let call = self.begin_batch("update", &[Asked::update(update)]).await?;
        let answer = self.tier.update(update).await?;
        call.end(answer).await
    }

    async fn clear(&self, cleared: &Cleared<'_>) -> Result<Wrote> {
        let call = self.begin("clear", &[(Op::Clear, None)]).await?;
        let answer = self.tier.clear(cleared).await?;
        call.end(answer).await
    }

    async fn list(&self, namespace: &Namespace, page: &PageRequest) -> Result<Page> {
        let call = self.begin("list", &[(Op::List, None)]).await?;
        let answer = self.tier.list(namespace, page).await?;
        call.end(answer).await
    }

    async fn ready(&self) -> Result<()> {
        let call = self.begin("ready", &[(Op::Ready, None)]).await?;
        self.tier.ready().await?;
        call.end(()).await
    }

    async fn close(&self) -> Result<()> {
        let call = self.begin("close", &[(Op::Close, None)]).await?;
        self.tier.close().await?;
        call.end(()).await
    }
}
