//! Two tiers that behave as one: a near copy and a far truth, or a far chain of them.
//!
//! The order of every step is here and nowhere else below memory: **truth first, copies after, far to near**.
//! A copy that may have missed a write is not believed until the truth has confirmed it (O7): per path as
//! long as the list of missed paths has room, else for everything the copy was given before.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use nanotier_clock::Timestamp;

use crate::any_tier::AnyTier;
use crate::capabilities::{Capabilities, Scope};
use crate::context::{Attachment, Context};
use crate::entry::{Cleared, Entry, Found, Guard, Intent, Page, PageRequest, TierIndex, Write, Wrote};
use crate::error::{Error, ErrorKind, Result};
use crate::link::{Link, Once, Promote, ReadPolicy, WritePolicy};
use crate::measure::Metered;
use crate::merge::{Answer, Repair, merge, suffices};
use crate::observer::Event;
use crate::path::{Namespace, Path};
use crate::rules::{Rule, is_on};
use crate::stored::Record;
use crate::sync::Mutex;
use crate::tier::{Lineage, Tier};
use crate::update::{COUNTER, Update, Updated};
use crate::version::Version;

/// A near tier over a far one. Make it by [`Tier::over`], or [`chain`] for tiers chosen at run time.
///
/// A read asks the far tier only for what the near one lacks; a write goes to the far one first. See
/// `docs/CONSISTENCY.md` for what every combination of answers gives.
#[derive(Debug)]
pub struct Chain<Near, Far> {
    near: Metered<Near>,
    far: Metered<Far>,
    link: Link,
    attachment: Attachment,
    missed: Mutex<Missed>,
    /// What was found further out once, under [`Promote::OnSecondHit`].
    once: Mutex<Once>,
}

/// What the near tier may have missed.
#[derive(Debug, Default)]
struct Missed {
    /// Paths (as bytes) whose copy could not be written, and the version it should have got. A copy older
    /// than that is dead.
    paths: HashMap<Vec<u8>, Version>,
    /// Copies confirmed at or before this moment are at most stale.
    distrusted_until: Timestamp,
    /// Copies confirmed at or before this moment do not count at all: more was missed than `paths` could
    /// hold.
    blind_until: Timestamp,
    /// Copies not newer than this do not count either: the version of a clearing that did not reach them.
    cleared: Version,
}

impl Missed {
    /// The most paths that are remembered one by one.
    const PATHS_MAX: usize = 4096;

    fn note(&mut self, path: &Path<'_>, version: Version, now: Timestamp) {
        self.distrusted_until = self.distrusted_until.max(now);
        let bytes = path.to_bytes();
        if self.paths.len() >= Self::PATHS_MAX && !self.paths.contains_key(&bytes) {
            self.blind(now);
            return;
        }
        let missed = self.paths.entry(bytes).or_default();
        *missed = version.max(*missed);
    }

    fn blind(&mut self, now: Timestamp) {
        self.distrusted_until = self.distrusted_until.max(now);
        self.blind_until = self.blind_until.max(now);
        self.paths.clear();
    }

    /// A write of `version` reached the copy after all.
    fn settle(&mut self, path: &Path<'_>, version: Version) {
        if self.version_of(path).is_some_and(|missed| missed <= version) {
            self.paths.remove(&path.to_bytes());
        }
    }

    /// The version a copy missed. Free as long as nothing was missed.
    fn version_of(&self, path: &Path<'_>) -> Option<Version> {
        if self.paths.is_empty() {
            return None;
        }
        self.paths.get(&path.to_bytes()).copied()
    }
}

/// Tiers near to far as one, for tiers chosen at run time. One tier is itself.
///
/// # Errors
///
/// [`ErrorKind::Config`] for no tier at all, for more than 16, and for a tier that is shared more widely than
/// the one below it (O10).
pub fn chain(near_to_far: impl IntoIterator<Item = AnyTier>) -> Result<AnyTier> {
    let tiers: Vec<AnyTier> = near_to_far.into_iter().collect();
    let config = |detail: String| Err(Error::new(ErrorKind::Config, "chain", "build").with_detail(detail));
    if tiers.is_empty() || tiers.len() > DEPTH_MAX {
        return config(format!("a chain has 1 to {DEPTH_MAX} tiers, not {}", tiers.len()));
    }
    let joined = tiers.into_iter().rev().reduce(|far, near| near.over(far).erase());
    let joined = joined.ok_or_else(|| Error::new(ErrorKind::Config, "chain", "build"))?;
    joined.verify()?;
    Ok(joined)
}

/// The most tiers in a chain.
const DEPTH_MAX: usize = 16;

impl<Near: Tier, Far: Tier> Chain<Near, Far> {
    pub(crate) fn new(near: Near, far: Far) -> Self {
        Self::with(near, far, Link::new())
    }

    pub(crate) fn with(near: Near, far: Far, link: Link) -> Self {
        Self {
            near: Metered::new(near),
            far: Metered::new(far),
            link,
            attachment: Attachment::default(),
            missed: Mutex::new(Missed::default()),
            once: Mutex::new(Once::default()),
        }
    }

    /// Says that the near tier may have missed something (a gap in a watch, a doubtful restart): what it was
    /// given until now is at most stale until the truth confirms it.
    pub fn distrust(&self) {
        let now = self.now();
        self.near.doubt(now);
        let mut missed = self.missed.lock();
        missed.distrusted_until = missed.distrusted_until.max(now);
    }

    fn now(&self) -> Timestamp {
        self.attachment.clock().wall()
    }

    /// True if others may write the truth whom the near copy does not hear of: other hosts, other processes, or, where both
    /// are of this process alone, another cache of it.
    fn is_private(&self) -> bool {
        let (near, far) = (self.near.capabilities().scope, self.far.capabilities().scope);
        near < far || near == Scope::Process
    }

    /// The near tier's answer as far as it may be believed.
    fn believed(&self, path: &Path<'_>, mut found: Found, now: Timestamp) -> Found {
        found.seen = None;
        if !is_on(Rule::O7) {
            return found;
        }
        let confirmed_at = match &found.entry {
            Entry::Absent => return found,
            Entry::Removed(version) => version.time(),
            Entry::Present(record) => record.confirmed_at,
        };
        let missed = self.missed.lock();
        let is_dead = missed.version_of(path).is_some_and(|version| found.entry.version() < Some(version));
        let is_cleared = found.entry.version() <= Some(missed.cleared);
        let is_unseen = missed.blind_until > Timestamp::ZERO && confirmed_at <= missed.blind_until;
        if is_dead || is_cleared || is_unseen {
            return Found { entry: Entry::Absent, ..found };
        }
        let distrusted_until = missed.distrusted_until.max(self.near.believed_since());
        drop(missed);
        // Confirmed in the future: the wall clock was set back since, and the moments here cannot be
        // compared.
        let in_future = confirmed_at > now && found.entry.record().is_some();
        let in_doubt = in_future || (distrusted_until > Timestamp::ZERO && confirmed_at <= distrusted_until);
        let overdue = self.is_private() && now >= confirmed_at.plus(self.attachment.context().recheck);
        found.trusted &= !in_doubt && !overdue;
        found
    }

    /// A far answer as this chain gives it: counted from our near end, and confirmed if the truth spoke.
    fn as_far_answer(&self, mut found: Found, read_at: Timestamp) -> Found {
        found.from = TierIndex(found.from.0.saturating_add(self.near.depth()));
        found.read_at = found.read_at.min(read_at);
        if let (Entry::Present(record), true) = (&mut found.entry, found.seen.is_some()) {
            record.confirmed_at = read_at;
        }
        found
    }

    /// One answer of two. The second part is what the near tier needs first.
    fn combine(
        &self,
        near: Result<Found>,
        far: Result<Found>,
        now: Timestamp,
    ) -> (Result<Found>, Option<Mend>) {
        let merged = merge(near.as_ref().ok(), far.as_ref().ok(), now);
        let mend = match merged.repair {
            Repair::Bury(version) => Some(Mend::Bury(version)),
            // It may stay away: what it would have replaced must not be met again.
            Repair::Promote if self.link.promote != Promote::Always => outdated(&near, &far, now),
            Repair::Leave | Repair::Promote => None,
        };
        let answer = match merged.answer {
            Answer::Far => far,
            Answer::Near => match (near, far) {
                // The truth was asked and has nothing better: a loader that follows may fill what it saw.
                (Ok(near), Ok(far)) => Ok(Found { seen: far.seen, read_at: far.read_at, ..near }),
                (Ok(_), Err(error)) if self.link.read == ReadPolicy::Strict => Err(error),
                (near, _) => near.map(|near| Found { trusted: false, ..near }),
            },
            Answer::Absent => far.map(|far| Found { entry: Entry::Absent, ..far }),
            Answer::Error => far.and(near),
        };
        (answer, mend)
    }

    /// Whether what was found further out is copied: by the link's policy, and where the near tier has it already.
    async fn is_wanted(&self, path: &Path<'_>, record: &Record) -> bool {
        if self.link.promote == Promote::Always {
            return true;
        }
        let held = self.near.read_one(path, Intent::Look).await;
        let renews = held.is_ok_and(|held| {
            held.entry.record().is_some_and(|held| held.version == record.version && !held.is_blank())
        });
        renews || (self.link.promote == Promote::OnSecondHit && self.once.lock().was_met(path))
    }

    /// What the near tier is to hold after a write further out was answered; `None` if that concerns it not.
    fn copy_of<'a>(&self, write: &'a Write<'_>, answer: &Result<Wrote>) -> Option<Write<'a>> {
        let blank = || Some(Cow::Owned(Record::blank(write.version, write.as_of)));
        let record = match (answer, write.record.as_deref()) {
            (Ok(Wrote::Done), None) => None,
            // A counter changes at the truth alone: a copy would be outdated by the next increment.
            (Ok(Wrote::Done), Some(record))
                if is_counter(record) || self.link.write == WritePolicy::Around =>
            {
                blank()
            }
            (Ok(Wrote::Done), Some(record)) => Some(self.link.copied(record, self.now())),
            // Unknown: what is older must not be met again, but the truth may hold either.
            (Err(_), _) => blank(),
            (Ok(Wrote::Older(_) | Wrote::Changed | Wrote::TooLate), _) => return None,
        };
        Some(Write {
            path: write.path.borrowed(),
            record,
            version: write.version,
            guard: Guard::Newer,
            as_of: write.as_of,
        })
    }

    /// Of the writes that the truth took and the copy refused as older, those whose copy is ahead of the
    /// truth: one that lost what it had taken. Mostly none: another writer came between, and the truth
    /// has what the copy has.
    async fn ahead_of_truth(
        &self,
        writes: &[Write<'_>],
        refused: Vec<(usize, Version)>,
    ) -> Vec<(usize, Version)> {
        if refused.is_empty() {
            return refused;
        }
        let paths: Vec<Path<'_>> = refused.iter().map(|(index, _)| writes[*index].path.borrowed()).collect();
        let Ok(found) = self.far.read(&paths, Intent::Confirm).await else { return refused };
        let is_behind =
            |found: Result<Found>, held| found.is_ok_and(|found| found.entry.version() < Some(held));
        let asked = refused.into_iter().zip(found);
        asked.filter_map(|(refused, found)| is_behind(found, refused.1).then_some(refused)).collect()
    }

    /// Writes to the near tier and keeps book of what it missed. The answers are those of the near tier.
    async fn write_copies(&self, copies: &[Write<'_>]) -> Vec<Result<Wrote>> {
        if copies.is_empty() {
            return Vec::new();
        }
        let answers = match self.near.write(copies).await {
            Ok(answers) => answers,
            Err(error) => copies.iter().map(|_| Err(error.clone())).collect(),
        };
        let now = self.now();
        let mut failed = false;
        let mut missed = self.missed.lock();
        for (copy, answer) in copies.iter().zip(&answers) {
            match answer {
                Ok(Wrote::Done) => missed.settle(&copy.path, copy.version),
                Ok(Wrote::Older(held)) => missed.settle(&copy.path, *held),
                Ok(Wrote::TooLate | Wrote::Changed) | Err(_) => {
                    failed = true;
                    missed.note(&copy.path, copy.version, now);
                }
            }
        }
        drop(missed);
        if failed {
            // Also beyond this process, if the copies outlive it.
            self.near.doubt(now);
            self.tell_copy_failed();
        }
        answers
    }

    fn tell_copy_failed(&self) {
        let context = self.attachment.context();
        context.tell(&Event::CopyFailed { tier: self.near.name(), at: context.place() });
    }
}

/// What is to be done to a near copy before an answer goes out.
#[derive(Clone, Copy, Debug)]
enum Mend {
    /// It is removed: a tombstone of this version.
    Bury(Version),
    /// It is outdated: a blank of this version.
    Blank(Version),
}

impl Mend {
    fn of<'a>(self, path: Path<'a>, as_of: Timestamp) -> Write<'a> {
        match self {
            Self::Bury(version) => Write::remove(path, version, as_of),
            Self::Blank(version) => {
                let record = Some(Cow::Owned(Record::blank(version, as_of)));
                Write { path, record, version, guard: Guard::Newer, as_of }
            }
        }
    }
}

/// The blank over a near copy that is still usable and older than what was found further out.
fn outdated(near: &Result<Found>, far: &Result<Found>, now: Timestamp) -> Option<Mend> {
    let (near, far) = (near.as_ref().ok()?.usable(now)?, far.as_ref().ok()?.entry.version()?);
    (near.version < far).then_some(Mend::Blank(far))
}

fn is_counter(record: &Record) -> bool {
    record.value.fingerprint == COUNTER
}

impl<Near: Tier, Far: Tier> Tier for Chain<Near, Far> {
    fn name(&self) -> &'static str {
        "chain"
    }

    fn capabilities(&self) -> Capabilities {
        let (near, far) = (self.near.capabilities(), self.far.capabilities());
        Capabilities {
            horizon: near.horizon.min(far.horizon),
            ttl_grain: near.ttl_grain.max(far.ttl_grain),
            value_len_max: near.value_len_max.min(far.value_len_max),
            embedded: near.embedded && far.embedded,
            encrypts: near.encrypts || far.encrypts,
            ..far
        }
    }

    fn depth(&self) -> u8 {
        self.near.depth().saturating_add(self.far.depth())
    }

    fn attach(&self, context: &Context) {
        self.attachment.attach(context);
        self.near.attach(context);
        self.far.attach(&context.further_out(self.near.depth()));
    }

    fn verify(&self) -> Result<Scope> {
        let nearest = self.near.verify()?;
        if self.near.depth() > 1 {
            // The near chain would take its own last tier for the truth, and vouch for what that one has
            // missed.
            return Err(Error::new(ErrorKind::Config, "chain", "build").with_detail(
                "a chain is over another tier: write `a.over(b.over(c))`, or `chain([a, b, c])`",
            ));
        }
        if self.link.copies_at_most == Some(Duration::ZERO) {
            return Err(Error::new(ErrorKind::Config, "chain", "build").with_detail(
                "copies that live for no time are none: leave the near tier out, or `.copies_at_most` for longer",
            ));
        }
        let (wide, narrow) = (self.near.capabilities().scope, self.far.verify()?);
        if wide > narrow && is_on(Rule::O10) {
            return Err(Error::new(ErrorKind::Config, "chain", "build").with_detail(format!(
                "{} is shared by the {wide:?} but {} below it by the {narrow:?} alone: others would be served copies \
                 that nobody corrects",
                self.near.name(),
                self.far.name()
            )));
        }
        Ok(nearest)
    }

    fn doubt(&self, until: Timestamp) {
        self.near.doubt(until);
        self.far.doubt(until);
    }

    /// The truth's own, where it is of this process alone: with the copy's, if that has one. Of a truth that others write
    /// nobody here knows the state; but the copy's tells whether another run of this process came between.
    fn lineage(&self) -> Option<Lineage> {
        match (self.near.lineage(), self.far.lineage()) {
            (Some(near), Some(far)) => Some(near.with(far)),
            (None, Some(far)) => Some(far),
            (near, None) => near.filter(|_| self.far.capabilities().scope != Scope::Process),
        }
    }

    fn believed_since(&self) -> Timestamp {
        self.near.believed_since().max(self.far.believed_since())
    }

    async fn read(&self, paths: &[Path<'_>], intent: Intent) -> Result<Vec<Result<Found>>> {
        let read_at = self.now();
        if intent.asks_truth() {
            let found = self.far.read(paths, intent).await?;
            let found: Vec<Result<Found>> =
                found.into_iter().map(|found| Ok(self.as_far_answer(found?, read_at))).collect();
            let burials: Vec<Write<'_>> = paths
                .iter()
                .zip(&found)
                .filter_map(|(path, found)| {
                    let found = found.as_ref().ok().filter(|found| found.usable(read_at).is_none())?;
                    Some(Write::remove(path.borrowed(), found.entry.version()?, read_at))
                })
                .collect();
            // The copy was passed over, but the next reader would meet it (O8).
            let _ = self.write_copies(&burials).await;
            return Ok(found);
        }
        let near = match self.near.read(paths, Intent::Look).await {
            Ok(found) => found,
            Err(error) => paths.iter().map(|_| Err(error.clone())).collect(),
        };
        let mut answers: Vec<Result<Found>> = Vec::with_capacity(paths.len());
        let mut open = Vec::new();
        for (index, (path, found)) in paths.iter().zip(near).enumerate() {
            let found = found.map(|found| self.believed(path, found, self.now()));
            match &found {
                Ok(found) if suffices(found, read_at) => {}
                Ok(_) | Err(_) => open.push(index),
            }
            answers.push(found);
        }
        if open.is_empty() {
            return Ok(answers);
        }

        let asked: Vec<Path<'_>> = open.iter().map(|&index| paths[index].borrowed()).collect();
        let far = match self.far.read(&asked, intent).await {
            Ok(found) => found,
            Err(error) => asked.iter().map(|_| Err(error.clone())).collect(),
        };
        let mut burials = Vec::new();
        for (index, found) in open.into_iter().zip(far) {
            let found = found.map(|found| self.as_far_answer(found, read_at));
            let near =
                std::mem::replace(&mut answers[index], Err(Error::new(ErrorKind::Closed, "chain", "read")));
            let (answer, mend) = self.combine(near, found, read_at);
            answers[index] = answer;
            burials.extend(mend.map(|mend| mend.of(paths[index].borrowed(), read_at)));
        }
        // Before the answer goes out: a dead copy must not be met again, even if the truth cannot be asked
        // then.
        let _ = self.write_copies(&burials).await;
        Ok(answers)
    }

    async fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
        if !is_on(Rule::O3) {
            let early: Vec<Write<'_>> =
                writes.iter().filter_map(|write| self.copy_of(write, &Ok(Wrote::Done))).collect();
            let _ = self.write_copies(&early).await;
        }
        let truth = self.far.write(writes).await;
        let mut answers = match &truth {
            Ok(answers) => answers.clone(),
            Err(error) => writes.iter().map(|_| Err(error.clone())).collect(),
        };
        let (mut copies, mut origins) = (Vec::new(), Vec::new());
        for (index, (write, answer)) in writes.iter().zip(&answers).enumerate() {
            if let Some(copy) = self.copy_of(write, answer) {
                copies.push(copy);
                origins.push(index);
            }
        }
        let refused =
            origins.into_iter().zip(self.write_copies(&copies).await).filter_map(|(index, copied)| {
                match (copied, writes[index].guard, &answers[index]) {
                    (Ok(Wrote::Older(held)), Guard::Newer, Ok(_)) => Some((index, held)),
                    _ => None,
                }
            });
        for (index, held) in self.ahead_of_truth(writes, refused.collect()).await {
            // The live writer goes again, above what the copy holds.
            answers[index] = Ok(Wrote::Older(held));
        }
        truth.map(|_| answers)
    }

    async fn promote(&self, path: &Path<'_>, found: &Found) -> Result<()> {
        let near_depth = self.near.depth();
        if found.from.0 < near_depth {
            return self.near.promote(path, found).await;
        }
        let inner = Found { from: TierIndex(found.from.0 - near_depth), ..found.clone() };
        self.far.promote(path, &inner).await?;
        let Entry::Present(record) = &found.entry else { return Ok(()) };
        // Doubt is kept per tier: a doubtful copy would be believed in the next one. A counter has no copies.
        if is_counter(record) || (!found.trusted && is_on(Rule::O7)) {
            return Ok(());
        }
        if !self.is_wanted(path, record).await {
            return Ok(());
        }
        let copy = Write {
            path: path.borrowed(),
            record: Some(self.link.copied(record, self.now())),
            version: record.version,
            guard: Guard::Newer,
            as_of: found.read_at,
        };
        // A copy that was not written is no older one: what was missed is merely a copy, so nothing is noted.
        let answers = self.near.write(std::slice::from_ref(&copy)).await?;
        if let Some(Ok(Wrote::Done)) = answers.first() {
            self.missed.lock().settle(path, record.version);
        }
        Ok(())
    }

    async fn update(&self, update: &Update<'_>) -> Result<Updated> {
        let updated = self.far.update(update).await;
        if let Ok(Updated::Taken(None)) = &updated {
            // Somebody else took it: what the truth has buried is buried here too.
            let _ = self.read(std::slice::from_ref(&update.path), Intent::Confirm).await;
        }
        let version = match &updated {
            Ok(Updated::Done(version)) => Some(*version),
            Ok(Updated::Taken(Some(record))) => Some(record.version.next().max(update.version)),
            Err(_) => Some(update.version),
            Ok(_) => None,
        };
        if let Some(version) = version {
            let blank = Record::blank(version, update.as_of);
            let copied = self.write_copies(&[Write::put(update.path.borrowed(), &blank)]).await;
            // The truth lifts an update above what it holds. If its answer was lost, nobody knows how far:
            // the copy is outdone whatever it is.
            if let (Err(_), Some(Ok(Wrote::Older(held)))) = (&updated, copied.first()) {
                let blank = Record::blank(held.next(), update.as_of);
                let _ = self.write_copies(&[Write::put(update.path.borrowed(), &blank)]).await;
            }
        }
        updated
    }

    async fn clear(&self, cleared: &Cleared<'_>) -> Result<Wrote> {
        let truth = self.far.clear(cleared).await;
        match truth {
            Ok(Wrote::Older(_) | Wrote::Changed | Wrote::TooLate) => return truth,
            // After an error the truth may be empty or not: the copies are emptied all the same.
            Ok(Wrote::Done) | Err(_) => {}
        }
        let copied = self.near.clear(cleared).await;
        if matches!(copied, Ok(Wrote::Done)) {
            return truth;
        }
        // Whatever the reason: the near tier still holds what was cleared.
        let now = self.now();
        {
            let mut missed = self.missed.lock();
            missed.blind(now);
            missed.cleared = missed.cleared.max(cleared.version);
        }
        self.near.doubt(now);
        self.tell_copy_failed();
        match copied {
            // As with a write: the live caller goes again, above it.
            Ok(older @ Wrote::Older(_)) => truth.map(|_| older),
            Ok(Wrote::Done | Wrote::Changed | Wrote::TooLate) | Err(_) => truth,
        }
    }

    async fn list(&self, namespace: &Namespace, page: &PageRequest) -> Result<Page> {
        let near_depth = self.near.depth();
        match page.tier {
            Some(tier) if tier.0 >= self.depth() => Err(Error::new(ErrorKind::Config, "chain", "list")
                .with_detail(format!(
                    "there is no tier {}: the {} of this chain count from 0, the nearest",
                    tier.0,
                    self.depth()
                ))),
            Some(tier) if tier.0 < near_depth => self.near.list(namespace, page).await,
            Some(tier) => {
                let page = PageRequest { tier: Some(TierIndex(tier.0 - near_depth)), ..page.clone() };
                self.far.list(namespace, &page).await
            }
            None => self.far.list(namespace, page).await,
        }
    }

    async fn ready(&self) -> Result<()> {
        self.far.ready().await?;
        self.near.ready().await
    }

    /// The truth first: what it would still take, a copy that is closed would miss, and could not note that it did.
    async fn close(&self) -> Result<()> {
        let far = self.far.close().await;
        far.and(self.near.close().await)
    }
}
