//! Atomic changes at one path: what locks, counters and one-time tokens are made of.

use std::time::Duration;

use bytes::Bytes;
use nanotier_clock::Timestamp;

use crate::error::{Error, ErrorKind, Result};
use crate::path::Path;
use crate::rules::Held;
use crate::stored::{Deadlines, Encoded, Fingerprint, Freshness, Record};
use crate::version::Version;

/// An atomic change, done by the tier in one step that no other writer can come between.
#[derive(Clone, Debug)]
pub struct Update<'a> {
    /// Where.
    pub path: Path<'a>,
    /// What.
    pub change: Change,
    /// The least version it gets. A tier that can lifts it above what it holds; one that cannot answers
    /// [`Updated::Older`].
    pub version: Version,
    /// When it was decided, by the caller's wall clock; see [`Write::as_of`](crate::Write::as_of).
    pub as_of: Timestamp,
}

/// What to change.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Change {
    /// Puts the record if nothing usable is there.
    Add(Record),
    /// Takes what is there, leaving a tombstone: of all who take at once, one gets it.
    Take,
    /// Adds to a counter; an absent or expired one starts at 0.
    Increment {
        /// How much; may be negative. 0 reads.
        by: i64,
        /// How long the counter lives.
        lifetime: Renewal,
    },
    /// Puts the record if what is there is what is expected.
    Replace {
        /// The new record.
        record: Record,
        /// What must be there.
        expect: Expect,
    },
    /// Removes what is there if it is what is expected.
    RemoveIf(Expect),
    /// Changes nothing and tells the time by the tier's clock.
    Now,
}

/// What must be there for a change to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// A usable record of this version.
    Version(Version),
    /// A usable record of this value.
    Value(Bytes),
}

impl Expect {
    fn is_met_by(&self, record: &Record) -> bool {
        match self {
            Self::Version(version) => record.version == *version,
            Self::Value(value) => record.value.shape.is_plain() && record.value.bytes == *value,
        }
    }
}

/// How long a counter lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// As long as it was given when it was first counted, then it starts again; `None` for ever.
    Fixed(Option<Duration>),
    /// Anew from each increment.
    Each(Duration),
}

/// The answer to an update.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub enum Updated {
    /// It happened, with this version.
    Done(Version),
    /// It did not: what was expected is not there, or something is where nothing should be.
    Refused,
    /// What was taken; `None` if there was nothing.
    Taken(Option<Record>),
    /// The counter's new value, and when it ends.
    Counted {
        /// The value after the increment.
        value: i64,
        /// When the counter expires, by the tier's clock.
        until: Timestamp,
    },
    /// The time.
    Now(Timestamp),
    /// Nothing was done: the tier holds this version, which is newer, and cannot lift the update above it by
    /// itself (a script without 64-bit arithmetic, a record sealed with its version). The caller draws
    /// above it and comes again.
    Older(Version),
    /// Decided too long ago to be ordered against tombstones.
    TooLate,
}

/// What a store is to do after [`apply`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Keep,
    /// Put this record.
    Put(Record),
    /// Leave a tombstone of this version.
    Bury(Version),
}

/// Counters are stored as eight bytes, little end first, under this fingerprint.
pub const COUNTER: Fingerprint = Fingerprint(0x7265_746e_756f_6321);

/// What `update` does to a path where a store holds `present` (of version `held`), at `now` by the store's
/// clock. A store calls it under its lock or in its transaction and carries out the effect.
///
/// # Errors
///
/// [`ErrorKind::NotANumber`] for an increment of what is no counter, [`ErrorKind::Overflow`] for one that
/// leaves the range of `i64`: the counter stays as it was.
pub fn apply(
    held: Held,
    present: Option<&Record>,
    update: &Update<'_>,
    now: Timestamp,
    horizon: Duration,
) -> Result<(Effect, Updated)> {
    // Who asks for the time may be the one whose clock is far behind.
    if update.as_of < now.minus(horizon) && !matches!(update.change, Change::Now) {
        return Ok((Effect::Keep, Updated::TooLate));
    }
    let version = held.newest().map_or(update.version, |newest| update.version.max(newest.next()));
    // What was cleared is not there, though a store may not have swept it yet.
    let usable = present
        .filter(|record| record.freshness(now) != Freshness::Expired)
        .filter(|record| Some(record.version) > held.floor);
    let put = |record: &Record| (Effect::Put(Record { version, ..record.clone() }), Updated::Done(version));
    Ok(match &update.change {
        Change::Add(_) if usable.is_some() => (Effect::Keep, Updated::Refused),
        Change::Add(record) => put(record),
        Change::Replace { record, expect } if usable.is_some_and(|held| expect.is_met_by(held)) => {
            put(record)
        }
        Change::RemoveIf(expect) if usable.is_some_and(|held| expect.is_met_by(held)) => {
            (Effect::Bury(version), Updated::Done(version))
        }
        Change::Replace { .. } | Change::RemoveIf(_) => (Effect::Keep, Updated::Refused),
        Change::Take => match usable {
            Some(record) => (Effect::Bury(version), Updated::Taken(Some(record.clone()))),
            None => (Effect::Keep, Updated::Taken(None)),
        },
        Change::Increment { by, lifetime } => increment(usable, *by, *lifetime, version, now)?,
        Change::Now => (Effect::Keep, Updated::Now(now)),
    })
}

fn increment(
    usable: Option<&Record>,
    by: i64,
    lifetime: Renewal,
    version: Version,
    now: Timestamp,
) -> Result<(Effect, Updated)> {
    let error = |kind| Error::new(kind, "tier", "increment");
    let before = match usable {
        None => 0,
        Some(record) => read_counter(record).ok_or_else(|| error(ErrorKind::NotANumber))?,
    };
    let value = before.checked_add(by).ok_or_else(|| error(ErrorKind::Overflow))?;
    let until = match (lifetime, usable) {
        (Renewal::Each(ttl), _) | (Renewal::Fixed(Some(ttl)), None) => now.plus(ttl),
        (Renewal::Fixed(_), Some(record)) => record.deadlines.usable_until,
        (Renewal::Fixed(None), None) => Timestamp::NEVER,
    };
    if by == 0 && !matches!(lifetime, Renewal::Each(_)) {
        return Ok((Effect::Keep, Updated::Counted { value, until }));
    }
    let encoded = Encoded::new(Bytes::copy_from_slice(&value.to_le_bytes()), COUNTER);
    let deadlines = Deadlines { fresh_until: until, usable_until: until };
    let record = Record { deadlines, version, ..Record::new(encoded, now) };
    Ok((Effect::Put(record), Updated::Counted { value, until }))
}

/// The value of a counter's record; `None` if it is no counter.
#[must_use]
pub fn read_counter(record: &Record) -> Option<i64> {
    if record.value.fingerprint != COUNTER || !record.value.shape.is_plain() {
        return None;
    }
    record.value.bytes.as_ref().try_into().ok().map(i64::from_le_bytes)
}
