//! What went wrong, where, and whether it may go better later.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A result whose error is this crate's.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kinds of failure, as far as a caller may want to tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Nothing usable is there, where something was needed: the key that a mirror follows.
    Absent,
    /// The cache or tier was closed.
    Closed,
    /// A value could not be encoded, or bytes could not be decoded.
    Codec,
    /// A configuration that cannot work; said by `build()`.
    Config,
    /// Other writers kept winning; every bounded try was refused.
    Contended,
    /// Stored data is damaged beyond use.
    Corrupt,
    /// No room, and nothing that may leave.
    Full,
    /// Another process, or another store of this one, holds the tier.
    InUse,
    /// A name (namespace, table, bucket) that is not allowed.
    InvalidName,
    /// The loader failed: with an error of another type than this caller's, or behind, where nobody has a type for it.
    Loader,
    /// The loader panicked.
    LoaderPanicked,
    /// The stored value is no counter.
    NotANumber,
    /// A counter would leave the range of `i64`.
    Overflow,
    /// A queue is full: bounded, and said at once.
    Busy,
    /// A loader asked for the very key it is loading.
    Reentrant,
    /// The disk said no.
    Storage,
    /// The answer did not come in time. The operation may or may not have happened.
    Timeout,
    /// A key or a value beyond the tier's limit.
    TooLarge,
    /// The tier cannot be reached.
    Unavailable,
    /// The tier cannot do this at all.
    Unsupported,
}

impl ErrorKind {
    fn sentence(self) -> &'static str {
        match self {
            Self::Absent => "there is nothing usable",
            Self::Closed => "is closed",
            Self::Codec => "the value cannot be encoded or decoded",
            Self::Config => "the configuration cannot work",
            Self::Contended => "other writers kept winning",
            Self::Corrupt => "stored data is damaged",
            Self::Full => "there is no room",
            Self::InUse => "somebody else holds it",
            Self::InvalidName => "the name is not allowed",
            Self::Loader => "the loader failed",
            Self::LoaderPanicked => "the loader panicked",
            Self::NotANumber => "the stored value is no counter",
            Self::Overflow => "the counter would leave the range of i64",
            Self::Busy => "its queue is full",
            Self::Reentrant => "a loader asked for the very key it is loading",
            Self::Storage => "storage failed",
            Self::Timeout => "no answer in time",
            Self::TooLarge => "the key or value is too large",
            Self::Unavailable => "cannot be reached",
            Self::Unsupported => "cannot do this",
        }
    }
}

/// An error of a cache or a tier. One word, and cheap to clone: all who wait for one load share it.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    tier: &'static str,
    operation: &'static str,
    detail: Cow<'static, str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind`, met by `tier` while it did `operation`.
    #[must_use]
    pub fn new(kind: ErrorKind, tier: &'static str, operation: &'static str) -> Self {
        Self(Arc::new(Inner { kind, tier, operation, detail: Cow::Borrowed(""), source: None }))
    }

    /// Adds a sentence for the person who reads it. Must not name keys, values or secrets.
    #[must_use]
    pub fn with_detail(self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.map(|inner| inner.detail = detail.into())
    }

    /// Says where: the path of a file or a folder. It goes before the sentence, unless that names it already.
    #[must_use]
    pub fn with_place(self, path: &Path) -> Self {
        self.map(|inner| {
            let place = path.display().to_string();
            if inner.detail.is_empty() {
                inner.detail = place.into();
            } else if !place.is_empty() && !inner.detail.contains(&place) {
                inner.detail = format!("{place}: {}", inner.detail).into();
            }
        })
    }

    /// Adds what lies behind it.
    #[must_use]
    pub fn with_source(self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let source = source.into();
        self.map(|inner| inner.source = Some(source))
    }

    /// Only a fresh error is changed: its `Arc` has one owner. A shared one keeps what it says.
    fn map(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            change(inner);
        }
        self
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The tier that failed, by its [`name`](crate::Tier::name); `"cache"` for the cache itself.
    #[must_use]
    pub fn tier(&self) -> &'static str {
        self.0.tier
    }

    /// What was being done: `"read"`, `"write"`, `"open"`, ...
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// What lies behind it, to be downcast: the error of the disk, the database, the codec.
    #[must_use]
    pub fn cause(&self) -> Option<&(dyn StdError + Send + Sync + 'static)> {
        self.0.source.as_deref()
    }

    /// True if the same call may succeed later without anyone changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self.0.kind,
            ErrorKind::Busy | ErrorKind::Contended | ErrorKind::Timeout | ErrorKind::Unavailable
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.0.tier, self.0.operation, self.0.kind.sentence())?;
        if !self.0.detail.is_empty() {
            write!(f, ": {}", self.0.detail)?;
        }
        if let Some(source) = &self.0.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

/// Says no more than [`Display`](fmt::Display): of what lies behind it, only the sentence. The fields of a driver's error may
/// hold statements and their parameters.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("Error");
        fields.field("kind", &self.0.kind).field("tier", &self.0.tier).field("operation", &self.0.operation);
        if !self.0.detail.is_empty() {
            fields.field("detail", &self.0.detail);
        }
        if let Some(source) = &self.0.source {
            fields.field("source", &source.to_string());
        }
        fields.finish()
    }
}

/// The text of what lies behind is part of this error's own, so a report that walks the sources goes on behind it.
impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().and_then(StdError::source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct OfADriver {
        #[expect(dead_code, reason = "printed by what derives Debug")]
        parameters: &'static str,
    }

    impl fmt::Display for OfADriver {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("constraint failed")
        }
    }

    impl StdError for OfADriver {}

    #[test]
    fn debug_says_no_more_than_display_of_what_lies_behind() {
        let error = Error::new(ErrorKind::Storage, "sqlite", "write").with_detail("twice");
        let error = error.with_source(OfADriver { parameters: "ada@example.org" });
        let text = format!("{error:?} {error:#?} {error}");
        assert!(!text.contains("ada@example.org"), "{text}");
        assert!(
            text.contains("Storage") && text.contains("twice") && text.contains("constraint failed"),
            "{text}"
        );
    }
}
