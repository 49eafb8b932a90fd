//! What a load can end with.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use nanotier_tier::{Error, ErrorKind};

/// Why a value could not be loaded: the loader's own error, or the cache's.
pub enum LoadError<E> {
    /// The loader said no. Shared by all who waited for it.
    Loader(Arc<E>),
    /// The load did not get as far as an answer of the loader; or the loader failed for a caller whose error
    /// is of another type than this one's ([`ErrorKind::Loader`], with its text).
    Cache(Error),
}

impl<E> From<Error> for LoadError<E> {
    fn from(error: Error) -> Self {
        Self::Cache(error)
    }
}

impl<E> Clone for LoadError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Loader(error) => Self::Loader(error.clone()),
            Self::Cache(error) => Self::Cache(error.clone()),
        }
    }
}

impl<E: fmt::Debug> fmt::Debug for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loader(error) => f.debug_tuple("Loader").field(error).finish(),
            Self::Cache(error) => f.debug_tuple("Cache").field(error).finish(),
        }
    }
}

impl<E: fmt::Display> fmt::Display for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loader(error) => error.fmt(f),
            Self::Cache(error) => error.fmt(f),
        }
    }
}

/// For every error that can be printed, `anyhow`'s too, which is none itself: so `?` works. What lies behind the
/// loader's error is asked of that error.
impl<E: fmt::Debug + fmt::Display> std::error::Error for LoadError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Loader(_) => None,
            Self::Cache(error) => error.source(),
        }
    }
}

/// The same with the type of the loader's error forgotten: how it travels in a flight that callers of several
/// types share.
#[derive(Clone)]
pub(crate) enum Failure {
    Loader {
        error: Arc<dyn Any + Send + Sync>,
        text: Arc<str>,
    },
    /// The loader found that there is no value: an answer to those who can hear it.
    Nothing,
    Cache(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Cache(error)
    }
}

impl Failure {
    pub(crate) fn of_loader<E: fmt::Display + Send + Sync + 'static>(error: E) -> Self {
        let text = error.to_string().into();
        Self::Loader { error: Arc::new(error), text }
    }

    /// What kind of failure it is to a caller who cannot be told that there is nothing.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Cache(error) => error.kind(),
            Self::Loader { .. } | Self::Nothing => ErrorKind::Loader,
        }
    }

    /// As a caller wants it whose loader cannot fail.
    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Cache(error) => error,
            Self::Loader { text, .. } => {
                Error::new(ErrorKind::Loader, "cache", "load").with_source(Said(text))
            }
            Self::Nothing => Error::new(ErrorKind::Loader, "cache", "load")
                .with_detail("another caller's loader, which was joined, found that there is no value"),
        }
    }

    /// As a caller wants it whose loader fails with an `E`.
    pub(crate) fn into_load_error<E: Send + Sync + 'static>(self) -> LoadError<E> {
        match self {
            Self::Loader { error, text } => match error.downcast::<E>() {
                Ok(error) => LoadError::Loader(error),
                Err(error) => LoadError::Cache(Self::Loader { error, text }.into_error()),
            },
            failure @ (Self::Nothing | Self::Cache(_)) => LoadError::Cache(failure.into_error()),
        }
    }
}

/// What a loader said, to a caller who does not know the type it said it in.
#[derive(Debug)]
struct Said(Arc<str>);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Said {}
