//! What a near tier and a far one say together. The table in `docs/CONSISTENCY.md` is this file, row by row.

use nanotier_clock::Timestamp;

use crate::entry::{Entry, Found};
use crate::rules::{Rule, is_on};
use crate::stored::Freshness;
use crate::version::Version;

/// Whose answer counts, and what is to be done about the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merged {
    /// Whose answer it is.
    pub answer: Answer,
    /// What becomes of the near copy.
    pub repair: Repair,
}

/// Whose answer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The near tier's.
    Near,
    /// The far tier's.
    Far,
    /// Nothing usable is anywhere.
    Absent,
    /// Nothing usable is near and the far tier failed.
    Error,
}

/// What becomes of the near copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// It stays as it is.
    Leave,
    /// The far record is copied over it, once it has proved readable.
    Promote,
    /// It is outdated by this version and must not be met again: buried before the answer is given.
    Bury(Version),
}

/// One side of the merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Absent,
    Removed(Version),
    Fresh(Version),
    Stale(Version),
    Expired(Version),
}

impl State {
    fn of(found: &Found, now: Timestamp) -> Self {
        match &found.entry {
            Entry::Absent => Self::Absent,
            Entry::Removed(version) => Self::Removed(*version),
            Entry::Present(record) => match record.freshness(now) {
                Freshness::Fresh if found.trusted => Self::Fresh(record.version),
                Freshness::Fresh | Freshness::Stale => Self::Stale(record.version),
                Freshness::Expired => Self::Expired(record.version),
            },
        }
    }

    fn version(self) -> Option<Version> {
        match self {
            Self::Absent => None,
            Self::Removed(version) | Self::Fresh(version) | Self::Stale(version) | Self::Expired(version) => {
                Some(version)
            }
        }
    }

    fn is_usable(self) -> bool {
        matches!(self, Self::Fresh(_) | Self::Stale(_))
    }
}

/// True if the near answer stands without asking further out.
#[must_use]
pub(crate) fn suffices(near: &Found, now: Timestamp) -> bool {
    matches!(State::of(near, now), State::Fresh(_))
}

/// Merges a near answer that does not suffice with a far one; `None` is an error on that side.
///
/// The freshest usable record wins; of equally fresh ones the newer version; of the same version the far one,
/// which confirms it. A near copy that the far side has something newer than, or a tombstone not older than,
/// does not count; nor does one in doubt that the truth holds nothing of.
#[must_use]
pub fn merge(near: Option<&Found>, far: Option<&Found>, now: Timestamp) -> Merged {
    let merged = |answer, repair| Merged { answer, repair };
    match (near, far) {
        (None, None) => merged(Answer::Error, Repair::Leave),
        (None, Some(_)) => merged(Answer::Far, Repair::Leave),
        (Some(near), None) => {
            let stands = match State::of(near, now) {
                State::Fresh(_) | State::Stale(_) => true,
                State::Removed(_) => near.trusted,
                State::Absent | State::Expired(_) => false,
            };
            merged(if stands { Answer::Near } else { Answer::Error }, Repair::Leave)
        }
        // A copy in doubt that the truth knows nothing of is not confirmed by it: what was removed while the
        // copy could not hear of it may be older than the tombstone's horizon.
        (Some(near), Some(far))
            if !near.trusted && far.seen.is_some() && far.entry == Entry::Absent && is_on(Rule::O7) =>
        {
            let entry = State::of(near, now);
            merged(
                if matches!(entry, State::Removed(_)) { Answer::Near } else { Answer::Absent },
                Repair::Leave,
            )
        }
        (Some(near), Some(far)) => both(State::of(near, now), State::of(far, now), far.seen.is_some()),
    }
}

fn both(near: State, far: State, far_is_truth: bool) -> Merged {
    if let Some(version) = outdated_by(near, far) {
        let repair = if far.is_usable() { Repair::Promote } else { Repair::Bury(version) };
        return Merged { answer: Answer::Far, repair };
    }
    let (answer, repair) = match (near, far) {
        // A tombstone kills copies, but not what the truth itself holds.
        (State::Removed(buried), far) if far.is_usable() => {
            let newer = far.version() > Some(buried);
            match (newer, far_is_truth) {
                (true, _) => (Answer::Far, Repair::Promote),
                (false, true) => (Answer::Far, Repair::Leave),
                (false, false) => (Answer::Near, Repair::Leave),
            }
        }
        (State::Fresh(_), State::Stale(_)) => (Answer::Near, Repair::Leave),
        (State::Stale(mine), State::Stale(theirs)) if mine > theirs => (Answer::Near, Repair::Leave),
        (near, far) if far.is_usable() => match near {
            State::Fresh(mine) if Some(mine) > far.version() => (Answer::Near, Repair::Leave),
            _ => (Answer::Far, Repair::Promote),
        },
        (near, _) if near.is_usable() => (Answer::Near, Repair::Leave),
        (_, State::Removed(_)) => (Answer::Far, Repair::Leave),
        (State::Removed(_), _) => (Answer::Near, Repair::Leave),
        _ => (Answer::Absent, Repair::Leave),
    };
    Merged { answer, repair }
}

/// The far version that makes a near record outdated, if there is one.
fn outdated_by(near: State, far: State) -> Option<Version> {
    let mine = match near {
        State::Fresh(version) | State::Stale(version) => version,
        State::Absent | State::Removed(_) | State::Expired(_) => return None,
    };
    match far {
        State::Removed(version) if version >= mine && is_on(Rule::O8) => Some(version),
        State::Fresh(version) | State::Stale(version) | State::Expired(version) if version > mine => {
            Some(version)
        }
        _ => None,
    }
}
