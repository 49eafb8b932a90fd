//! What a queue of writes knows. Nothing here waits, and nothing is called that is not ours: whoever is to be woken is
//! handed out with the lock.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::task::Waker;
use std::time::Duration;

use nanotier_clock::{Moment, Timestamp};

use super::QueueState;
use super::log::LogItem;
use crate::entry::{Entry, Guard, Write, Wrote};
use crate::error::Result;
use crate::path::{Namespace, Path};
use crate::rules::{Held, judge};
use crate::stored::Record;
use crate::version::Version;

/// What a queued write takes of the bytes that a queue may hold.
pub(super) fn size_of(path: &Path<'_>, record: Option<&Record>) -> usize {
    /// About what an entry costs beside its key and value.
    const ENTRY: usize = 256;
    ENTRY + path.key().len() + record.map_or(0, |record| record.value.bytes.len())
}

/// A write as it is queued.
#[derive(Clone, Debug)]
pub(super) struct Queued {
    /// `None` for a remove.
    pub(super) record: Option<Record>,
    pub(super) version: Version,
    pub(super) as_of: Timestamp,
    /// How often the far tier failed to take it.
    pub(super) attempts: u32,
    /// Its number in the log.
    number: Option<u64>,
}

impl Queued {
    pub(super) fn entry(&self) -> Entry {
        match &self.record {
            Some(record) => Entry::Present(record.clone()),
            None => Entry::Removed(self.version),
        }
    }
}

#[derive(Debug)]
struct Slot {
    queued: Queued,
    size: usize,
    /// When it is to be written, and its turn; `None` while it is being written.
    place: Option<(Moment, u64)>,
    /// From the log of a process before: the far tier may have had something newer since.
    replayed: bool,
    /// Since which turn something not yet written is queued here.
    since: u64,
    /// The same of what came while this key is being written: it is what is left when that is done.
    next_since: Option<u64>,
}

/// What is to be written: all that was queued by a turn, of one namespace or of all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) namespace: Option<&'a Namespace>,
    pub(super) until_turn: u64,
}

impl Wanted<'_> {
    /// Whatever is queued, and whatever comes.
    pub(super) const ALL: Self = Self { namespace: None, until_turn: u64::MAX };

    fn has(&self, path: &Path<'_>, slot: &Slot) -> bool {
        slot.since <= self.until_turn && self.namespace.is_none_or(|namespace| path.namespace() == namespace)
    }
}

/// A write that is at the far tier.
#[derive(Debug)]
pub(super) struct Flushing {
    pub(super) path: Path<'static>,
    pub(super) queued: Queued,
}

/// What a call has a key for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// To queue: no other call may come between. The key may be written meanwhile.
    Queueing,
    /// To be alone with it at the far tier.
    Direct,
}

/// What the far tier holds of a key, at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Nothing,
    Version(Version),
}

/// What is to become of a batch of writes.
#[derive(Clone, Debug, Default)]
pub(super) struct Judged {
    /// `None` for those that are to be queued.
    pub(super) answers: Vec<Option<Wrote>>,
    entries: usize,
    bytes: usize,
}

/// What a reader finds in the queue.
pub(super) struct Look {
    pub(super) queued: Queued,
    pub(super) replayed: bool,
}

#[derive(Debug, Default)]
pub(super) struct State {
    slots: HashMap<Path<'static>, Slot>,
    /// Who is to be written when.
    turns: BTreeMap<(Moment, u64), Path<'static>>,
    turns_ever: u64,
    bytes: usize,
    /// Promised to calls that are at the log.
    reserved: (usize, usize),
    held: HashMap<Path<'static>, Hold>,
    /// Versions of the last clearings that went through here.
    floors: HashMap<Namespace, Version>,
    known: HashMap<Path<'static>, Known>,
    known_order: VecDeque<Path<'static>>,
    known_max: usize,
    /// Whatever was forgotten of what is known is not newer than this.
    forgotten: Version,

    next_number: u64,
    /// Of log items that are still needed.
    outstanding: BTreeSet<u64>,
    /// Paths that the log may say something about; if there were too many, any.
    logged: HashSet<Path<'static>>,
    logged_any: bool,

    pub(super) failures_in_a_row: u32,
    pub(super) paused_until: Moment,
    pub(super) is_running: bool,
    pub(super) is_closed: bool,
    /// What closing came to.
    pub(super) closed: Option<Result<()>>,
    /// No more writes.
    pub(super) is_closing: bool,
    /// Somebody drains and closes.
    pub(super) has_closer: bool,
    pub(super) abandoned_from: Option<Moment>,
    unreported: u64,
    counts: QueueState,

    epoch: u64,
    waiters: Vec<Waker>,
    runner: Option<Waker>,
    runner_sleeps_until: Moment,
    poked: bool,
    to_wake: Vec<Waker>,
}

impl State {
    pub(super) fn new(entries_max: usize) -> Self {
        Self { known_max: entries_max.max(1024), next_number: 1, ..Self::default() }
    }

    /// Takes in what a process before has left.
    pub(super) fn replay(&mut self, items: Vec<LogItem<'static>>) {
        let mut last: HashMap<Path<'static>, (u64, Write<'static>)> = HashMap::new();
        for item in items {
            self.next_number = self.next_number.max(item.number() + 1);
            match item {
                LogItem::Settled { path, .. } => drop(last.remove(&path)),
                LogItem::Cleared { namespace, version, .. } => {
                    last.retain(|path, (_, write)| *path.namespace() != namespace || write.version > version);
                    let floor = self.floors.entry(namespace).or_default();
                    *floor = version.max(*floor);
                }
                LogItem::Write { number, write } => {
                    self.log_mentions(&write.path);
                    match last.get(&write.path) {
                        // It was logged while the namespace was being cleared, and refused then.
                        _ if self.is_cleared(&write.path, write.version) => {}
                        Some((_, newer)) if newer.version > write.version => {}
                        _ => drop(last.insert(write.path.clone(), (number, write))),
                    }
                }
            }
        }
        let mut writes: Vec<_> = last.into_values().collect();
        writes.sort_by_key(|(number, _)| *number);
        for (number, write) in writes {
            self.outstanding.insert(number);
            let record = write.record.map(std::borrow::Cow::into_owned);
            let size = size_of(&write.path, record.as_ref());
            let queued = Queued {
                record,
                version: write.version,
                as_of: write.as_of,
                attempts: 0,
                number: Some(number),
            };
            let place = self.turn(Moment::ZERO, &write.path);
            self.bytes += size;
            self.slots.insert(
                write.path,
                Slot { queued, size, place: Some(place), replayed: true, since: place.1, next_since: None },
            );
        }
    }

    /// From now on, versions up to this one are compared with what the far tier holds.
    pub(super) fn doubt_up_to(&mut self, version: Version) {
        self.forgotten = self.forgotten.max(version);
    }

    pub(super) fn report(&self) -> QueueState {
        QueueState { entries: self.slots.len(), bytes: self.bytes, ..self.counts }
    }

    pub(super) fn take_unreported(&mut self) -> u64 {
        std::mem::take(&mut self.unreported)
    }

    // Who waits.

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn wait(&mut self, waker: &Waker) {
        if !self.waiters.iter().any(|known| known.will_wake(waker)) {
            self.waiters.push(waker.clone());
        }
    }

    /// Something changed that calls wait for.
    pub(super) fn change(&mut self) {
        self.epoch += 1;
        self.to_wake.append(&mut self.waiters);
    }

    /// Something changed that the background task is to see.
    pub(super) fn poke(&mut self) {
        self.poked = true;
        self.to_wake.extend(self.runner.take());
    }

    /// True if the background task was poked since it looked for what is due.
    pub(super) fn is_poked(&mut self, waker: &Waker) -> bool {
        if std::mem::take(&mut self.poked) {
            return true;
        }
        self.runner = Some(waker.clone());
        false
    }

    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.to_wake)
    }

    // Who has a key.

    pub(super) fn hold(&mut self, paths: &[Path<'static>], hold: Hold) -> bool {
        let is_free = |path: &Path<'static>| {
            let flushing = self.slots.get(path).is_some_and(|slot| slot.place.is_none());
            !self.held.contains_key(path) && (hold == Hold::Queueing || !flushing)
        };
        let free = paths.iter().all(is_free);
        if free {
            self.held.extend(paths.iter().map(|path| (path.clone(), hold)));
        }
        free
    }

    pub(super) fn let_go(&mut self, paths: &[Path<'static>]) {
        let mut was_direct = false;
        for path in paths {
            was_direct |= self.held.remove(path) == Some(Hold::Direct);
        }
        if was_direct {
            self.poke();
        }
        // Also when nobody waits yet: one who was refused just now has seen the epoch, and is about to.
        self.change();
    }

    // What is written when.

    fn turn(&mut self, at: Moment, path: &Path<'static>) -> (Moment, u64) {
        self.turns_ever += 1;
        let place = (at, self.turns_ever);
        self.turns.insert(place, path.clone());
        place
    }

    /// The last turn that was given.
    pub(super) fn turn_now(&self) -> u64 {
        self.turns_ever
    }

    /// True if no call is about to change anything.
    pub(super) fn is_quiet(&self) -> bool {
        self.held.is_empty()
    }

    pub(super) fn has_any(&self, wanted: Wanted<'_>) -> bool {
        self.slots.iter().any(|(path, slot)| wanted.has(path, slot))
    }

    pub(super) fn count(&self, wanted: Wanted<'_>) -> usize {
        self.slots.iter().filter(|(path, slot)| wanted.has(path, slot)).count()
    }

    fn take(&mut self, path: &Path<'static>) -> Option<Flushing> {
        let slot = self.slots.get_mut(path)?;
        let place = slot.place.take()?;
        let queued = slot.queued.clone();
        self.turns.remove(&place);
        Some(Flushing { path: path.clone(), queued })
    }

    /// Begins to write what is queued under these keys, which the caller holds.
    pub(super) fn begin(&mut self, paths: &[Path<'static>]) -> Vec<Flushing> {
        paths.iter().filter_map(|path| self.take(path)).collect()
    }

    /// Begins to write what may be, whether its time has come or not.
    pub(super) fn take_any(&mut self, wanted: Wanted<'_>, limit: usize) -> Vec<Flushing> {
        let is_wanted =
            |path: &Path<'static>| self.slots.get(path).is_some_and(|slot| wanted.has(path, slot));
        let chosen: Vec<Path<'static>> = self
            .turns
            .values()
            .filter(|path| is_wanted(path) && self.held.get(*path) != Some(&Hold::Direct))
            .take(limit)
            .cloned()
            .collect();
        self.begin(&chosen)
    }

    /// Begins to write what is due; or when something will be.
    pub(super) fn take_ready(&mut self, now: Moment, limit: usize) -> Result<Vec<Flushing>, Moment> {
        // Whatever happened up to now is seen now.
        self.poked = false;
        let mut free =
            self.turns.iter().filter(|(_, path)| self.held.get(*path) != Some(&Hold::Direct)).peekable();
        let first = free.peek().map_or(Moment::NEVER, |((at, _), _)| (*at).max(self.paused_until));
        if first > now {
            // From here on, under the same lock: what is queued for sooner pokes.
            self.runner_sleeps_until = first;
            return Err(first);
        }
        let due = free.take_while(|((at, _), _)| *at <= now).take(limit);
        let chosen: Vec<Path<'static>> = due.map(|(_, path)| path.clone()).collect();
        Ok(self.begin(&chosen))
    }

    /// It was not written: again at `at`.
    pub(super) fn put_back(&mut self, flushing: &Flushing, at: Moment) {
        let Some(slot) = self.slots.get(&flushing.path) else { return };
        if self.is_cleared(&flushing.path, slot.queued.version) {
            return self.drop_slot(&flushing.path);
        }
        let same = slot.queued.version == flushing.queued.version;
        let place = self.turn(at, &flushing.path);
        if let Some(slot) = self.slots.get_mut(&flushing.path) {
            slot.place = Some(place);
            // All that is here is as old as what was not written.
            slot.next_since = None;
            if same {
                slot.queued.attempts = slot.queued.attempts.saturating_add(1);
            }
        }
        self.poke();
    }

    pub(super) fn written(&mut self, flushing: &Flushing) {
        self.counts.written += 1;
        self.learn(&flushing.path, Some(flushing.queued.version));
        self.done(flushing, flushing.queued.version);
    }

    pub(super) fn superseded(&mut self, flushing: &Flushing, held: Version) {
        self.counts.superseded += 1;
        self.learn(&flushing.path, Some(held));
        self.done(flushing, held.max(flushing.queued.version));
    }

    pub(super) fn lost(&mut self, flushing: &Flushing) {
        self.counts.lost += 1;
        self.unreported += 1;
        self.done(flushing, flushing.queued.version);
    }

    /// What is queued up to `version` needs not be written any more; what is newer does, in its turn.
    fn done(&mut self, flushing: &Flushing, version: Version) {
        let Some(slot) = self.slots.get(&flushing.path) else { return };
        if slot.queued.version <= version {
            self.drop_slot(&flushing.path);
        } else {
            let place = self.turn(Moment::ZERO, &flushing.path);
            if let Some(slot) = self.slots.get_mut(&flushing.path) {
                slot.place = Some(place);
                slot.since = slot.next_since.take().unwrap_or(place.1);
            }
            self.poke();
        }
    }

    fn drop_slot(&mut self, path: &Path<'static>) {
        let Some(slot) = self.slots.remove(path) else { return };
        self.bytes -= slot.size;
        if let Some(place) = slot.place {
            self.turns.remove(&place);
        }
        if let Some(number) = slot.queued.number {
            self.outstanding.remove(&number);
        }
        if self.slots.is_empty() {
            // Whoever wrote the last of it: the background task has nothing to wait for.
            self.poke();
        }
    }

    // What the far tier holds.

    /// The far tier holds `version`, or a newer one; `None` if it held nothing just now.
    pub(super) fn learn(&mut self, path: &Path<'_>, version: Option<Version>) {
        let learned = version.map_or(Known::Nothing, Known::Version);
        let known = match (self.known.get(path), learned) {
            (Some(Known::Version(known)), Known::Version(learned)) => Known::Version(learned.max(*known)),
            (Some(known @ Known::Version(_)), Known::Nothing) => *known,
            _ => learned,
        };
        self.set_known(path, known);
    }

    /// An update of this version, or above what was held, was done.
    pub(super) fn updated(&mut self, path: &Path<'_>, least: Version) {
        let lifted = match self.known.get(path) {
            Some(Known::Version(held)) => held.next().max(least),
            Some(Known::Nothing) | None => least,
        };
        self.learn(path, Some(lifted));
    }

    fn set_known(&mut self, path: &Path<'_>, known: Known) {
        let path = path.borrowed().into_owned();
        if self.known.insert(path.clone(), known).is_some() {
            return;
        }
        self.known_order.push_back(path);
        while self.known.len() > self.known_max {
            let Some(oldest) = self.known_order.pop_front() else { return };
            match self.known.remove(&oldest) {
                Some(Known::Version(version)) => self.doubt_up_to(version),
                Some(Known::Nothing) | None => {}
            }
        }
    }

    /// Where it has to be asked what the far tier holds, before these writes can be judged.
    pub(super) fn unsure(&self, writes: &[Write<'_>]) -> Vec<Path<'static>> {
        let is_unsure = |write: &&Write<'_>| {
            let maybe_forgotten = write.version <= self.forgotten;
            match (self.slots.get(&write.path), self.known.get(&write.path)) {
                (Some(slot), _) => slot.replayed && maybe_forgotten,
                (None, None) => maybe_forgotten,
                (None, Some(_)) => false,
            }
        };
        let paths: HashSet<&Path<'_>> = writes.iter().filter(is_unsure).map(|write| &write.path).collect();
        paths.into_iter().map(|path| path.borrowed().into_owned()).collect()
    }

    fn held_of(&self, path: &Path<'_>) -> Held {
        let known = match self.known.get(path) {
            Some(Known::Version(version)) => Some(*version),
            Some(Known::Nothing) | None => None,
        };
        let version = self.slots.get(path).map(|slot| slot.queued.version).max(known);
        Held { version, floor: self.floors.get(path.namespace()).copied() }
    }

    // What may be queued.

    pub(super) fn judge(&self, writes: &[Write<'_>], now: Timestamp, horizon: Duration) -> Judged {
        let mut judged = Judged::default();
        let mut taken: HashMap<&Path<'_>, Version> = HashMap::new();
        for write in writes {
            let held = self.held_of(&write.path);
            let held = Held { version: held.version.max(taken.get(&write.path).copied()), ..held };
            let answer = match judge(held, write, now, horizon) {
                // The same again: it is there.
                Wrote::Done if held.version == Some(write.version) => Some(Wrote::Done),
                Wrote::Done => None,
                refused => Some(refused),
            };
            if answer.is_none() {
                let slot = self.slots.get(&write.path);
                if slot.is_none() && !taken.contains_key(&write.path) {
                    judged.entries += 1;
                }
                let size = size_of(&write.path, write.record.as_deref());
                judged.bytes += size.saturating_sub(slot.map_or(0, |slot| slot.size));
                taken.insert(&write.path, write.version);
            }
            judged.answers.push(answer);
        }
        judged
    }

    pub(super) fn has_room_for(&self, judged: &Judged, entries_max: usize, bytes_max: usize) -> bool {
        let (entries, bytes) = self.reserved;
        let adds_none = judged.entries == 0 && judged.bytes == 0;
        adds_none
            || (self.slots.len() + entries + judged.entries <= entries_max
                && self.bytes + bytes + judged.bytes <= bytes_max)
    }

    pub(super) fn reserve(&mut self, judged: &Judged) {
        self.reserved.0 += judged.entries;
        self.reserved.1 += judged.bytes;
    }

    pub(super) fn unreserve(&mut self, judged: &Judged) {
        self.reserved.0 -= judged.entries;
        self.reserved.1 -= judged.bytes;
    }

    /// Numbers for the log of what is to be queued.
    pub(super) fn numbered<'w>(
        &mut self,
        writes: &'w [Write<'_>],
        judged: &Judged,
        logged: bool,
    ) -> Vec<LogItem<'w>> {
        if !logged {
            return Vec::new();
        }
        let mut items = Vec::new();
        for (write, answer) in writes.iter().zip(&judged.answers) {
            if answer.is_none() {
                let number = self.next_number;
                self.next_number += 1;
                self.outstanding.insert(number);
                self.log_mentions(&write.path);
                let record = write.record.as_deref().map(std::borrow::Cow::Borrowed);
                items.push(LogItem::Write {
                    number,
                    write: Write { path: write.path.borrowed(), record, ..*write },
                });
            }
        }
        items
    }

    /// They are not in the log, or nobody knows.
    pub(super) fn forget_numbers(&mut self, items: &[LogItem<'_>]) {
        for item in items {
            self.outstanding.remove(&item.number());
        }
    }

    /// Queues what was judged; a call holds its keys. What the far tier was found to hold meanwhile counts.
    pub(super) fn insert(
        &mut self,
        writes: &[Write<'_>],
        judged: &Judged,
        items: &[LogItem<'_>],
        at: Moment,
    ) -> Vec<Wrote> {
        let mut numbers = items.iter().map(LogItem::number);
        let mut answers = Vec::with_capacity(writes.len());
        for (write, answer) in writes.iter().zip(&judged.answers) {
            if let Some(answer) = answer {
                answers.push(*answer);
                continue;
            }
            let number = numbers.next();
            match self.held_of(&write.path).newest() {
                Some(newest) if newest >= write.version => {
                    if let Some(number) = number {
                        self.outstanding.remove(&number);
                    }
                    answers.push(Wrote::Older(newest));
                }
                _ => {
                    self.put(write, number, at);
                    answers.push(Wrote::Done);
                }
            }
        }
        answers
    }

    fn put(&mut self, write: &Write<'_>, number: Option<u64>, at: Moment) {
        let record = write.record.as_deref().cloned();
        let size = size_of(&write.path, record.as_ref());
        let queued = Queued { record, version: write.version, as_of: write.as_of, attempts: 0, number };
        self.bytes += size;
        let path = write.path.borrowed().into_owned();
        if let Some(slot) = self.slots.get_mut(&path) {
            self.counts.coalesced += 1;
            self.bytes -= slot.size;
            slot.size = size;
            slot.replayed = false;
            if slot.place.is_none() && slot.next_since.is_none() {
                // A turn without a place: who asks for all that is queued from here on asks for this too.
                self.turns_ever += 1;
                slot.next_since = Some(self.turns_ever);
            }
            if let Some(number) = std::mem::replace(&mut slot.queued, queued).number {
                self.outstanding.remove(&number);
            }
            // It keeps its turn: a key that is written all the time is written now and then, not never.
            return;
        }
        let place = self.turn(at, &path);
        let since = place.1;
        self.slots.insert(
            path,
            Slot { queued, size, place: Some(place), replayed: false, since, next_since: None },
        );
        if at < self.runner_sleeps_until {
            self.poke();
        }
    }

    // Past the queue.

    /// The answers to writes that need not go to the far tier, since something newer is queued. A call holds their keys.
    pub(super) fn refused(&self, writes: &[Write<'_>]) -> Vec<Option<Wrote>> {
        let refused = |write: &Write<'_>| {
            let queued = self.slots.get(&write.path)?.queued.version;
            match write.guard {
                // A reader who means to fill is shown what the far tier holds when nothing is queued: this came since.
                Guard::Unchanged(_) => Some(Wrote::Changed),
                Guard::Newer if queued == write.version => Some(Wrote::Done),
                Guard::Newer if queued > write.version => Some(Wrote::Older(queued)),
                Guard::Newer => None,
            }
        };
        writes.iter().map(refused).collect()
    }

    /// The far tier holds `version`, which did not come from the queue: what is older need not be written.
    pub(super) fn overtaken(&mut self, path: &Path<'_>, version: Version) {
        self.learn(path, Some(version));
        if self.slots.get(path).is_some_and(|slot| slot.queued.version <= version && slot.place.is_some()) {
            self.drop_slot(&path.borrowed().into_owned());
        }
    }

    /// What is queued under a path. What was cleared is not, though it may be at the far tier just now, to be refused.
    pub(super) fn look(&self, path: &Path<'_>) -> Option<Look> {
        let slot = self.slots.get(path)?;
        if self.is_cleared(path, slot.queued.version) {
            return None;
        }
        Some(Look { queued: slot.queued.clone(), replayed: slot.replayed })
    }

    // Clearing.

    /// True for what is not newer than a clearing that was seen here.
    fn is_cleared(&self, path: &Path<'_>, version: Version) -> bool {
        self.floors.get(path.namespace()).is_some_and(|floor| version <= *floor)
    }

    pub(super) fn newest_in(&self, namespace: &Namespace) -> Option<Version> {
        let queued = self.slots.iter().filter(|(path, _)| path.namespace() == namespace);
        queued.map(|(_, slot)| slot.queued.version).max()
    }

    /// The far tier has emptied the namespace: what was queued before is gone with it.
    pub(super) fn cleared(&mut self, namespace: &Namespace, version: Version) {
        let floor = self.floors.entry(namespace.clone()).or_default();
        *floor = version.max(*floor);
        let floor = *floor;
        let dead = self.slots.iter().filter(|(path, slot)| {
            // What is being written is refused by the far tier, and dropped then.
            path.namespace() == namespace && slot.queued.version <= floor && slot.place.is_some()
        });
        let dead: Vec<Path<'static>> = dead.map(|(path, _)| path.clone()).collect();
        dead.iter().for_each(|path| self.drop_slot(path));
        // And the log need not keep it.
        let Self { slots, outstanding, .. } = self;
        let dying = slots
            .iter_mut()
            .filter(|(path, slot)| path.namespace() == namespace && slot.queued.version <= floor);
        for (_, slot) in dying {
            if let Some(number) = slot.queued.number.take() {
                outstanding.remove(&number);
            }
        }
    }

    // The log.

    fn log_mentions(&mut self, path: &Path<'_>) {
        if self.logged_any || self.logged.contains(path) {
            return;
        }
        if self.logged.len() >= self.known_max {
            self.logged_any = true;
            self.logged.clear();
            return;
        }
        self.logged.insert(path.borrowed().into_owned());
    }

    /// What the log has to be told of a clearing.
    pub(super) fn cleared_item(&mut self, namespace: &Namespace, version: Version) -> LogItem<'static> {
        let number = self.next_number;
        self.next_number += 1;
        LogItem::Cleared { number, namespace: namespace.clone(), version }
    }

    /// The log could not be told.
    pub(super) fn not_settled(&mut self, paths: &[Path<'static>]) {
        paths.iter().for_each(|path| self.log_mentions(path));
    }

    /// What the log has to be told before these keys are written past the queue.
    pub(super) fn settled_items(&mut self, paths: &[Path<'static>]) -> Vec<LogItem<'static>> {
        let mut items = Vec::new();
        for path in paths {
            if self.logged_any || self.logged.remove(path) {
                let number = self.next_number;
                self.next_number += 1;
                items.push(LogItem::Settled { number, path: path.clone() });
            }
        }
        items
    }

    /// Below this no item of the log is needed.
    pub(super) fn low_water(&self) -> u64 {
        self.outstanding.first().copied().unwrap_or(self.next_number)
    }

    /// What the log has below a number and still needs, under new numbers; and the keys of it, held for that.
    pub(super) fn renumbered(&mut self, below: u64) -> (Vec<Path<'static>>, Vec<LogItem<'static>>) {
        let needed = self.slots.iter().filter(|(path, slot)| {
            slot.queued.number.is_some_and(|number| number < below) && !self.held.contains_key(*path)
        });
        let needed: Vec<(Path<'static>, Queued)> =
            needed.map(|(path, slot)| (path.clone(), slot.queued.clone())).collect();
        let (mut paths, mut items) = (Vec::new(), Vec::new());
        for (path, queued) in needed {
            let number = self.next_number;
            self.next_number += 1;
            self.outstanding.insert(number);
            self.held.insert(path.clone(), Hold::Queueing);
            let record = queued.record.map(std::borrow::Cow::Owned);
            let (version, as_of) = (queued.version, queued.as_of);
            let write = Write { path: path.clone(), record, version, guard: Guard::Newer, as_of };
            items.push(LogItem::Write { number, write });
            paths.push(path);
        }
        (paths, items)
    }

    /// They are in the log under these numbers now.
    pub(super) fn take_new_numbers(&mut self, items: &[LogItem<'static>]) {
        for item in items {
            let LogItem::Write { number, write } = item else { continue };
            match self.slots.get_mut(&write.path) {
                Some(slot) if slot.queued.version == write.version => {
                    if let Some(old) = slot.queued.number.replace(*number) {
                        self.outstanding.remove(&old);
                    }
                }
                // Written meanwhile.
                _ => drop(self.outstanding.remove(number)),
            }
        }
    }
}

#[cfg(all(test, not(nanotier_schedules)))]
mod tests {
    use super::*;
    use std::borrow::Cow;

    use crate::entry::Write;
    use crate::stored::{Encoded, Fingerprint};

    fn moment(ms: u64) -> Moment {
        Moment::from_millis(ms)
    }

    fn path(key: &str) -> Path<'static> {
        Path::new(&Namespace::new("test").unwrap(), key.as_bytes()).into_owned()
    }

    /// Queues a remove.
    fn queue(state: &mut State, key: &str, version: u64, at: Moment) {
        let (path, version) = (path(key), Version::from_parts(version, 1));
        let write = Write::remove(path, version, Timestamp::ZERO);
        let judged = Judged { answers: vec![None], ..Judged::default() };
        assert_eq!(state.insert(&[write], &judged, &[], at), [Wrote::Done]);
    }

    /// A queue whose background task looked, and was told to come again at 100.
    fn looked() -> State {
        let mut state = State::new(10);
        queue(&mut state, "first", 1, moment(100));
        assert_eq!(state.take_ready(moment(0), 10).unwrap_err(), moment(100));
        state
    }

    #[test]
    fn who_is_refused_a_key_hears_of_it_even_if_it_is_let_go_before_he_waits() {
        for hold in [Hold::Queueing, Hold::Direct] {
            let (mut state, keys) = (State::new(10), [path("k")]);
            assert!(state.hold(&keys, hold));
            assert!(!state.hold(&keys, hold));
            // What a call sees before it begins to wait.
            let epoch = state.epoch();
            state.let_go(&keys);
            assert_ne!(state.epoch(), epoch, "it would wait for a change that has been");
        }
    }

    #[test]
    fn whatever_is_due_sooner_and_that_nothing_is_left_is_heard_of_between_a_look_and_the_sleep_after_it() {
        type Act = fn(&mut State);
        let acts: [(&str, Act); 8] = [
            ("a write", |state| queue(state, "sooner", 1, moment(50))),
            ("one that came back", |state| {
                let batch = state.begin(&[path("first")]);
                state.put_back(&batch[0], moment(50));
            }),
            ("one that came while another of its key was written", |state| {
                let batch = state.begin(&[path("first")]);
                queue(state, "first", 2, moment(500));
                state.written(&batch[0]);
            }),
            ("a key that was let go", |state| {
                assert!(state.hold(&[path("other")], Hold::Direct));
                state.let_go(&[path("other")]);
            }),
            ("the last of it, written by another", |state| {
                let batch = state.begin(&[path("first")]);
                state.written(&batch[0]);
            }),
            ("the last of it, overtaken", |state| state.overtaken(&path("first"), Version::from_parts(2, 1))),
            ("the last of it, cleared", |state| {
                state.cleared(path("first").namespace(), Version::from_parts(2, 1));
            }),
            ("the end", |state| {
                state.abandoned_from = Some(moment(50));
                state.poke();
            }),
        ];
        for (what, act) in acts {
            let mut state = looked();
            act(&mut state);
            assert!(state.is_poked(Waker::noop()), "{what} before it sleeps");
            // And while it sleeps.
            let mut state = looked();
            assert!(!state.is_poked(Waker::noop()));
            act(&mut state);
            assert_eq!(state.take_wakers().len(), 1, "{what} while it sleeps");
            assert!(state.is_poked(Waker::noop()), "{what}, when it wakes up");
        }
        // What is due later wakes nobody.
        let mut state = looked();
        queue(&mut state, "later", 1, moment(200));
        assert!(!state.is_poked(Waker::noop()));
    }

    #[test]
    fn nothing_is_due_to_a_look_while_others_have_the_keys_and_then_it_is() {
        let mut state = State::new(10);
        assert!(state.hold(&[path("k")], Hold::Direct));
        queue(&mut state, "k", 1, moment(0));
        assert_eq!(state.take_ready(moment(10), 10).unwrap_err(), Moment::NEVER);
        state.let_go(&[path("k")]);
        assert!(state.is_poked(Waker::noop()), "it would sleep for ever");
        assert_eq!(state.take_ready(moment(10), 10).unwrap().len(), 1);
    }

    #[test]
    fn what_was_cleared_while_it_was_written_is_not_kept_for_another_time_nor_in_the_log() {
        let mut state = State::new(10);
        let write = Write {
            record: Some(Cow::Owned(Record::new(
                Encoded::new(&b"value"[..], Fingerprint(1)),
                Timestamp::ZERO,
            ))),
            ..Write::remove(path("k"), Version::from_parts(1, 1), Timestamp::ZERO)
        };
        let judged = Judged { answers: vec![None], ..Judged::default() };
        let items = state.numbered(std::slice::from_ref(&write), &judged, true);
        state.insert(std::slice::from_ref(&write), &judged, &items, moment(0));
        let low = state.low_water();
        let batch = state.begin(&[path("k")]);
        state.cleared(path("k").namespace(), Version::from_parts(2, 1));
        assert_eq!(state.renumbered(u64::MAX).1.len(), 0);
        assert!(state.low_water() > low, "the log keeps it no longer");
        state.put_back(&batch[0], moment(0));
        assert_eq!((state.report().entries, state.report().bytes), (0, 0));
    }
}
