//! What redb says, in the words of the contract.

use std::any::Any;
use std::io;

use nanotier_tier::embedded::files;
use nanotier_tier::{Error, ErrorKind};

/// The name of the tier.
pub(crate) const NAME: &str = "redb";

/// An error of `kind`, met while doing `operation`.
pub(crate) fn error(kind: ErrorKind, operation: &'static str) -> Error {
    Error::new(kind, NAME, operation)
}

/// For `map_err`: redb's error as the contract's.
pub(crate) fn while_doing<E: Into<redb::Error>>(operation: &'static str) -> impl Fn(E) -> Error {
    move |source| told(operation, source.into())
}

/// For `map_err`: the operating system's error as the contract's.
pub(crate) fn io_while_doing(operation: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| told(operation, redb::Error::Io(source))
}

fn told(operation: &'static str, source: redb::Error) -> Error {
    let (kind, detail) = match &source {
        redb::Error::Io(source) => of_io(source),
        redb::Error::ValueTooLarge(_) => (ErrorKind::TooLarge, ""),
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => (
            ErrorKind::InUse,
            "a redb file has one owner at a time; another store, in this process or another, has this one open",
        ),
        redb::Error::UpgradeRequired(_) => {
            (ErrorKind::Unsupported, "the file was written by an older redb and must be upgraded first")
        }
        // A reader held on to the file while it was closed after a failure. It is opened again by the next call.
        redb::Error::DatabaseClosed => (ErrorKind::Unavailable, "the file was closed meanwhile"),
        redb::Error::PreviousIo | redb::Error::LockPoisoned(_) | redb::Error::TransactionPoisoned => {
            (ErrorKind::Storage, "after an earlier failure; the file is opened anew by the next write")
        }
        redb::Error::Corrupted(_)
        | redb::Error::RepairAborted
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TypeDefinitionChanged { .. }
        | redb::Error::TableDoesNotExist(_) => (ErrorKind::Corrupt, ""),
        _ => (ErrorKind::Storage, ""),
    };
    error(kind, operation).with_detail(detail).with_source(source)
}

fn of_io(source: &io::Error) -> (ErrorKind, &'static str) {
    match source.kind() {
        // The file is shorter than it says, or does not begin as a database does.
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
            (ErrorKind::Corrupt, "the file is not a whole database")
        }
        _ => files::told(source, "the file and its folder must be writable by this process"),
    }
}

/// A panic of redb: it trusts files that were closed properly and can stumble over one that was changed since.
pub(crate) fn panicked(operation: &'static str, panic: &(dyn Any + Send)) -> Error {
    let said =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    error(ErrorKind::Corrupt, operation)
        .with_detail(format!("redb panicked, as it does on damage: {}", said.unwrap_or("without a word")))
}
