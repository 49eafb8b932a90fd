//! What SQLite says, in the words of the contract.

use std::io;

use nanotier_tier::embedded::files::told;
use nanotier_tier::{Error, ErrorKind};
use rusqlite::ErrorCode;

/// The name of the tier.
pub(crate) const NAME: &str = "sqlite";

/// An error of `kind`, met while doing `operation`.
pub(crate) fn error(kind: ErrorKind, operation: &'static str) -> Error {
    Error::new(kind, NAME, operation)
}

/// For `map_err`: SQLite's error as the contract's.
pub(crate) fn while_doing(operation: &'static str) -> impl Fn(rusqlite::Error) -> Error {
    move |source| {
        let (kind, detail) = of_sqlite(operation, &source);
        error(kind, operation).with_detail(detail).with_source(source)
    }
}

/// For `map_err`: the operating system's error as the contract's.
pub(crate) fn io_while_doing(operation: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| {
        let (kind, detail) = of_io(&source);
        error(kind, operation).with_detail(detail).with_source(source)
    }
}

fn of_sqlite(operation: &'static str, source: &rusqlite::Error) -> (ErrorKind, &'static str) {
    let rusqlite::Error::SqliteFailure(failure, _) = source else {
        return match source {
            rusqlite::Error::QueryReturnedNoRows
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..) => {
                (ErrorKind::Corrupt, "the tables hold what this store never wrote")
            }
            // A statement names a table or a column that is not there any more.
            rusqlite::Error::SqlInputError { .. } => {
                (ErrorKind::Corrupt, "the tables are not those that this store laid out")
            }
            rusqlite::Error::InvalidPath(_) | rusqlite::Error::NulError(_) => {
                (ErrorKind::Config, "SQLite cannot open a file of this name")
            }
            _ => (ErrorKind::Storage, ""),
        };
    };
    match failure.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked if operation == "open" => {
            (ErrorKind::InUse, "another program keeps the database locked")
        }
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            (ErrorKind::Contended, "others kept the database locked for longer than the busy timeout")
        }
        // Said to readers, after ten seconds; nobody keeps them out for so long.
        ErrorCode::FileLockingProtocolFailed => {
            (ErrorKind::Storage, "the file beside the database that holds its locks cannot be locked")
        }
        ErrorCode::DatabaseCorrupt => (ErrorKind::Corrupt, ""),
        ErrorCode::NotADatabase => (ErrorKind::Corrupt, "the file does not begin as a database does"),
        ErrorCode::DiskFull => (ErrorKind::Full, "the disk, or the database by its own limit, has no room"),
        ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied => {
            (ErrorKind::Storage, "the file and its folder must be there, and be writable by this process")
        }
        ErrorCode::TooBig => (ErrorKind::TooLarge, ""),
        // A bare SQLITE_ERROR: a statement names a table or a column that is not there any more.
        ErrorCode::Unknown if failure.extended_code == 1 => {
            (ErrorKind::Corrupt, "another program changed this store's tables")
        }
        ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch => {
            (ErrorKind::Corrupt, "the tables hold what this store never wrote")
        }
        _ => (ErrorKind::Storage, ""),
    }
}

fn of_io(source: &io::Error) -> (ErrorKind, &'static str) {
    told(source, "the file and its folder must be writable by this process")
}
