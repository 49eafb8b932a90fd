//! What the operating system says, in the words of the contract.

use std::borrow::Cow;
use std::io;

use nanotier_tier::embedded::files::told;
use nanotier_tier::{Error, ErrorKind};

/// The name of the tier.
pub(crate) const NAME: &str = "file";

/// An error of `kind`, met while doing `operation`.
pub(crate) fn error(kind: ErrorKind, operation: &'static str) -> Error {
    Error::new(kind, NAME, operation)
}

/// A file that does not say what it should.
pub(crate) fn damaged(what: impl Into<Cow<'static, str>>) -> Error {
    error(ErrorKind::Corrupt, "open").with_detail(what)
}

/// For `map_err`: the operating system's error as the contract's.
pub(crate) fn while_doing(operation: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| {
        let (kind, detail) = of_io(&source);
        error(kind, operation).with_detail(detail).with_source(source)
    }
}

fn of_io(source: &io::Error) -> (ErrorKind, &'static str) {
    match source.kind() {
        io::ErrorKind::UnexpectedEof => (ErrorKind::Corrupt, "a file is shorter than it was"),
        _ => told(source, "the folder and its files must be writable by this process"),
    }
}
