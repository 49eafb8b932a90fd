//! A tier whose values are shaped.

use std::borrow::Cow;
use std::hash::{BuildHasher, Hasher, RandomState};

use nanotier_clock::Timestamp;

use super::Refused;
use super::builder::Shaping;
use crate::capabilities::{Capabilities, Scope};
use crate::context::{Attachment, Context};
use crate::entry::{Cleared, Entry, Found, Guard, Intent, Page, PageRequest, Write, Wrote};
use crate::error::{Error, ErrorKind, Result};
use crate::observer::Event;
use crate::path::{Namespace, Path};
use crate::rules::Held;
use crate::tier::{Lineage, Tier};
use crate::update::{Change, Effect, Expect, Update, Updated, apply};
use crate::version::Version;

/// A tier that stores values compressed, encrypted, or both. Made by [`Tier::shaped`].
///
/// It does what the tier does, in as many calls: a batch stays a batch. Three things differ:
///
/// - A copy of a chain that cannot be opened is passed over: the truth is asked, as if the copy were not there.
/// - Where encryption is on, `add`, `take`, `replace` and `remove_if` are a read and a guarded write, tried again when another
///   writer came between: a tier that lifts a version cannot seal it anew. They are as atomic, and end with
///   [`ErrorKind::Contended`] after [`TRIES_MAX`](Self::TRIES_MAX) of them. The same holds without encryption for what compares
///   values. Counters are the tier's own affair.
/// - Sizes in listings are those of stored values.
#[derive(Debug)]
pub struct Shaped<T> {
    tier: T,
    shaping: Shaping,
    attachment: Attachment,
}

impl<T: Tier> Shaped<T> {
    /// How often an atomic change is tried before it gives up.
    pub const TRIES_MAX: usize = 64;

    pub(crate) fn new(tier: T, shaping: Shaping) -> Self {
        Self { tier, shaping, attachment: Attachment::default() }
    }

    /// The tier below.
    #[must_use]
    pub fn inner(&self) -> &T {
        &self.tier
    }

    /// What is done to values.
    #[must_use]
    pub fn shaping(&self) -> &Shaping {
        &self.shaping
    }

    fn refused(&self, context: &Context, why: Refused) -> Event {
        Event::RecordRefused { tier: self.tier.name(), at: context.place(), why }
    }

    /// Opens what was found. What cannot be opened is absent, as it is to be written over; `Err` says why.
    fn open(&self, path: &Path<'_>, found: &mut Found) -> Result<(), Refused> {
        let entry = std::mem::replace(&mut found.entry, Entry::Absent);
        found.entry = match entry {
            Entry::Present(record) => {
                let version = record.version;
                match self.shaping.open(path, record) {
                    Ok(record) => Entry::Present(record),
                    Err(why) => {
                        let context = self.attachment.context();
                        // What is written over it has to be newer than it.
                        context.versions.saw(version);
                        context.tell(&self.refused(context, why));
                        return Err(why);
                    }
                }
            }
            other => other,
        };
        Ok(())
    }

    /// A write as the tier is to do it.
    fn shape<'a>(&self, process: u32, write: &'a Write<'_>) -> Result<Write<'a>> {
        let record = match write.record.as_deref() {
            // Sealed with the version that the tier will hold.
            Some(record) if record.version == write.version => {
                Some(self.shaping.shape_in(process, &write.path, record)?)
            }
            Some(record) => {
                let record = crate::stored::Record { version: write.version, ..record.clone() };
                Some(self.shaping.shape_in(process, &write.path, &record)?)
            }
            None => None,
        };
        Ok(Write {
            path: write.path.borrowed(),
            record: record.map(Cow::Owned),
            version: write.version,
            guard: write.guard,
            as_of: write.as_of,
        })
    }

    /// Whether the tier itself can do the change to what it holds.
    fn is_for_tier(&self, change: &Change) -> bool {
        match change {
            Change::Increment { .. } | Change::Now => true,
            Change::Replace { expect: Expect::Value(_), .. } | Change::RemoveIf(Expect::Value(_)) => false,
            Change::Add(_) | Change::Take | Change::Replace { .. } | Change::RemoveIf(_) => {
                !self.shaping.encrypts()
            }
        }
    }

    /// The time by which the tier judges.
    async fn tier_time(&self, capabilities: &Capabilities, update: &Update<'_>) -> Result<Timestamp> {
        if capabilities.own_clock {
            let ask = Update { path: update.path.borrowed(), change: Change::Now, ..*update };
            if let Updated::Now(now) = self.tier.update(&ask).await? {
                return Ok(now);
            }
        }
        Ok(self.attachment.clock().wall())
    }

    /// Lets the tier do the change, to and with shaped values that nobody has sealed.
    async fn pass_on(&self, update: &Update<'_>) -> Result<Updated> {
        let change = match &update.change {
            Change::Add(record) => Change::Add(self.shaping.shape(&update.path, record)?),
            Change::Replace { record, expect } => {
                Change::Replace { record: self.shaping.shape(&update.path, record)?, expect: expect.clone() }
            }
            other => other.clone(),
        };
        let shaped = Update { path: update.path.borrowed(), change, ..*update };
        let updated = self.tier.update(&shaped).await?;
        let Updated::Taken(Some(record)) = updated else { return Ok(updated) };
        Ok(Updated::Taken(match self.shaping.open(&update.path, record) {
            Ok(record) => Some(record),
            Err(why) => {
                let context = self.attachment.context();
                context.tell(&self.refused(context, why));
                None
            }
        }))
    }

    /// Does the change by reading, judging and writing, unless somebody else has written since.
    async fn read_and_write(&self, update: &Update<'_>) -> Result<Updated> {
        let error = |kind| Error::new(kind, self.tier.name(), "update");
        let capabilities = self.tier.capabilities();
        for _ in 0..Self::TRIES_MAX {
            // A tier that hands out leases for guarded writes does so for who may load.
            let mut found = self.tier.read_one(&update.path, Intent::Refresh).await?;
            let Some(seen) = found.seen else { return Err(error(ErrorKind::Unsupported)) };
            let held = found.entry.version();
            let _ = self.open(&update.path, &mut found);
            let now = self.tier_time(&capabilities, update).await?;
            let version = lifted(update.version, held);
            let lifted = Update {
                path: update.path.borrowed(),
                change: update.change.clone(),
                version,
                as_of: update.as_of,
            };
            // The version was lifted here: `apply` is told of nothing that is held.
            let (effect, updated) =
                apply(Held::default(), found.entry.record(), &lifted, now, capabilities.horizon)?;
            let record = match effect {
                Effect::Keep => return Ok(updated),
                Effect::Put(record) => Some(Cow::Owned(record)),
                Effect::Bury(_) => None,
            };
            let guard = Guard::Unchanged(seen);
            let path = update.path.borrowed();
            match self.write_one(&Write { path, record, version, guard, as_of: update.as_of }).await? {
                Wrote::Done => return Ok(updated),
                Wrote::Changed | Wrote::Older(_) => {}
                Wrote::TooLate => return Ok(Updated::TooLate),
            }
        }
        Err(error(ErrorKind::Contended))
    }
}

/// The version of a change: at least `version`, and above what is held.
///
/// Two who lift above the same version must not get the same one: the tier would take the second write for the first one
/// come again, and both would have won.
fn lifted(version: Version, held: Option<Version>) -> Version {
    match held {
        Some(held) if held >= version => {
            let mut unique = RandomState::new().build_hasher();
            // The keys of `RandomState` are drawn once per thread and counted up, in a forked child alike.
            unique.write_u32(std::process::id());
            Version::from_parts(held.parts().0.saturating_add(1), unique.finish())
        }
        _ => version,
    }
}

impl<T: Tier> Tier for Shaped<T> {
    fn name(&self) -> &'static str {
        self.tier.name()
    }

    fn capabilities(&self) -> Capabilities {
        let inner = self.tier.capabilities();
        Capabilities {
            encrypts: self.shaping.encrypts() || inner.encrypts,
            value_len_max: self.shaping.value_len_max_over(inner.value_len_max),
            ..inner
        }
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
        let mut answers = self.tier.read(paths, intent).await?;
        let mut refused = Vec::new();
        for (index, (path, answer)) in paths.iter().zip(&mut answers).enumerate() {
            let Ok(found) = answer else { continue };
            if self.open(path, found).is_err() && found.seen.is_none() {
                refused.push(index);
            }
        }
        if refused.is_empty() || intent.asks_truth() {
            return Ok(answers);
        }
        // Copies answered what cannot be opened. The truth may have better.
        let intent = if intent.may_load() { Intent::Refresh } else { Intent::Confirm };
        let asked: Vec<Path<'_>> = refused.iter().map(|&index| paths[index].borrowed()).collect();
        let truth = match self.tier.read(&asked, intent).await {
            Ok(truth) => truth,
            Err(error) => asked.iter().map(|_| Err(error.clone())).collect(),
        };
        for (index, mut answer) in refused.into_iter().zip(truth) {
            if let Ok(found) = &mut answer {
                let _ = self.open(&paths[index], found);
            }
            answers[index] = answer;
        }
        Ok(answers)
    }

    async fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
        // What was begun before a fork is the parent's: nothing is awaited until all is sealed.
        let process = self.shaping.process();
        let mut shaped = Vec::with_capacity(writes.len());
        let mut refused = Vec::new();
        for (index, write) in writes.iter().enumerate() {
            match self.shape(process, write) {
                Ok(write) => shaped.push(write),
                Err(error) => refused.push((index, error)),
            }
        }
        if shaped.is_empty() {
            return Ok(refused.into_iter().map(|(_, error)| Err(error)).collect());
        }
        let mut answers = self.tier.write(&shaped).await?;
        // In rising order, so each finds its place.
        for (index, error) in refused {
            answers.insert(index.min(answers.len()), Err(error));
        }
        Ok(answers)
    }

    async fn promote(&self, path: &Path<'_>, found: &Found) -> Result<()> {
        let Entry::Present(record) = &found.entry else { return self.tier.promote(path, found).await };
        if self.tier.depth() == 1 {
            return Ok(());
        }
        let entry = Entry::Present(self.shaping.shape(path, record)?);
        self.tier.promote(path, &Found { entry, ..found.clone() }).await
    }

    async fn update(&self, update: &Update<'_>) -> Result<Updated> {
        if !self.tier.capabilities().updates || self.is_for_tier(&update.change) {
            self.pass_on(update).await
        } else {
            self.read_and_write(update).await
        }
    }

    async fn clear(&self, cleared: &Cleared<'_>) -> Result<Wrote> {
        self.tier.clear(cleared).await
    }

    async fn list(&self, namespace: &Namespace, page: &PageRequest) -> Result<Page> {
        self.tier.list(namespace, page).await
    }

    async fn ready(&self) -> Result<()> {
        self.tier.ready().await
    }

    async fn close(&self) -> Result<()> {
        self.tier.close().await
    }
}
