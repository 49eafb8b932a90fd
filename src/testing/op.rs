//! What is asked of a tier, one word for each kind of call.

use std::fmt;

use nanotier_tier::{Change, Guard, Path, Update, Write};

/// A kind of call to a tier, by the tier's own contract: what a [`Fake`](super::Fake) counts, and what a
/// [`Fault`](super::Fault) can be confined to.
///
/// | call of a cache | on a tier |
/// |---|---|
/// | `get`, `get_many`, `contains`, `time_left` | `Read`, unless memory answers |
/// | `get_with` and its kin, on a miss | `Read`, then `Fill` |
/// | `insert`, `insert_many` | `Put` |
/// | `remove`, `remove_many` | `Remove` |
/// | `touch` | `Read`, then `Fill` |
/// | `take` | `Take` |
/// | `clear` | `Clear` |
/// | `list` | `List` |
///
/// ```
/// use nanotier::testing::Op;
///
/// assert_eq!(Op::Fill.to_string(), "fill");
/// assert!(Op::Fill.is_write() && !Op::Read.is_write());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Op {
    /// A key is read, for whatever reason.
    Read,
    /// A value is put, if it is newer than what is there.
    Put,
    /// A value is put on condition that nothing was written since the reader looked: what a loader brought.
    Fill,
    /// A key is removed.
    Remove,
    /// A value is put if nothing is there, atomically.
    Add,
    /// What is there is taken, atomically.
    Take,
    /// A counter is counted.
    Increment,
    /// A value is put if what is there is what is expected.
    Replace,
    /// A key is removed if what is there is what is expected.
    RemoveIf,
    /// An atomic change of another kind.
    Update,
    /// A namespace is emptied. Has no key.
    Clear,
    /// A page of keys is listed. Has no key.
    List,
    /// The tier is asked whether it can be used. Has no key.
    Ready,
    /// The tier is closed. Has no key.
    Close,
}

impl Op {
    /// True for what changes something in the tier: all but reading, listing, `Ready` and `Close`.
    ///
    /// ```
    /// use nanotier::testing::Op;
    ///
    /// assert!(Op::Take.is_write() && Op::Clear.is_write());
    /// assert!(!Op::List.is_write() && !Op::Close.is_write());
    /// ```
    #[must_use]
    pub fn is_write(self) -> bool {
        !matches!(self, Self::Read | Self::List | Self::Ready | Self::Close)
    }

    /// True for `Read` and `List`.
    ///
    /// ```
    /// use nanotier::testing::Op;
    ///
    /// assert!(Op::Read.is_read() && Op::List.is_read());
    /// assert!(!Op::Take.is_read(), "it changes something");
    /// ```
    #[must_use]
    pub fn is_read(self) -> bool {
        matches!(self, Self::Read | Self::List)
    }

    fn of_write(write: &Write<'_>) -> Self {
        match (&write.record, write.guard) {
            (None, _) => Self::Remove,
            (Some(_), Guard::Newer) => Self::Put,
            (Some(_), Guard::Unchanged(_)) => Self::Fill,
        }
    }

    fn of_change(change: &Change) -> Self {
        match change {
            Change::Add(_) => Self::Add,
            Change::Take => Self::Take,
            Change::Increment { .. } => Self::Increment,
            Change::Replace { .. } => Self::Replace,
            Change::RemoveIf(_) => Self::RemoveIf,
            _ => Self::Update,
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Read => "read",
            Self::Put => "put",
            Self::Fill => "fill",
            Self::Remove => "remove",
            Self::Add => "add",
            Self::Take => "take",
            Self::Increment => "increment",
            Self::Replace => "replace",
            Self::RemoveIf => "remove-if",
            Self::Update => "update",
            Self::Clear => "clear",
            Self::List => "list",
            Self::Ready => "ready",
            Self::Close => "close",
        })
    }
}

/// One part of a call: what is asked, and of which key. A batch has one for each of its keys.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) op: Op,
    pub(super) path: &'a Path<'a>,
}

impl<'a> Asked<'a> {
    pub(super) fn reads(paths: &'a [Path<'a>]) -> Vec<Self> {
        paths.iter().map(|path| Self { op: Op::Read, path }).collect()
    }

    pub(super) fn writes(writes: &'a [Write<'a>]) -> Vec<Self> {
        writes.iter().map(|write| Self { op: Op::of_write(write), path: &write.path }).collect()
    }

    pub(super) fn update(update: &'a Update<'a>) -> Self {
        Self { op: Op::of_change(&update.change), path: &update.path }
    }
}
