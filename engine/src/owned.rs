//! Keys that are looked up by a borrowed form, and owned only when something must be kept.

use std::sync::Arc;

/// An owned key made from a borrowed form of it, where a call has to keep one: never on a hit.
///
/// The owned key must equal the borrowed form, and hash alike. Every key is made from itself by `Clone`; `str` for
/// `String`, slices and paths are here; a form of your own, say for a key of several parts, takes two implementations:
///
/// ```
/// use nanotier_engine::{Engine, Equivalent, OwnedFrom};
///
/// #[derive(Clone, PartialEq, Eq, Hash)]
/// struct UserKey { tenant: String, id: u32 }
///
/// #[derive(Hash)] // the same fields in the same order: the same hash
/// struct UserRef<'a> { tenant: &'a str, id: u32 }
///
/// impl Equivalent<UserKey> for UserRef<'_> {
///     fn equivalent(&self, key: &UserKey) -> bool {
///         self.tenant == key.tenant && self.id == key.id
///     }
/// }
/// impl OwnedFrom<UserRef<'_>> for UserKey {
///     fn owned_from(key: &UserRef<'_>) -> Self {
///         UserKey { tenant: key.tenant.into(), id: key.id }
///     }
/// }
///
/// let users: Engine<UserKey, u64> = Engine::new(100);
/// assert_eq!(users.get_or_insert_with(&UserRef { tenant: "acme", id: 7 }, || 1), Ok(1));
/// assert_eq!(users.get(&UserKey { tenant: "acme".into(), id: 7 }), Some(1));
/// ```
#[diagnostic::on_unimplemented(
    message = "a `{Self}` cannot be made from a `{Q}`",
    note = "a key is passed by reference, to itself or to its borrowed form: `&str` for a `String`, `&[u8]` for a `Vec<u8>`, `&&str` for a `&str`",
    note = "for a borrowed form of your own, implement `Equivalent` and `OwnedFrom`"
)]
pub trait OwnedFrom<Q: ?Sized> {
    /// The owned key.
    fn owned_from(borrowed: &Q) -> Self;
}

impl<K: Clone> OwnedFrom<K> for K {
    fn owned_from(borrowed: &K) -> Self {
        borrowed.clone()
    }
}

macro_rules! owned_from {
    ($($owned:ty => $borrowed:ty),* $(,)?) => {$(
        impl OwnedFrom<$borrowed> for $owned {
            fn owned_from(borrowed: &$borrowed) -> Self {
                borrowed.into()
            }
        }
    )*};
}
owned_from! {
    String => str,
    Arc<str> => str,
    Box<str> => str,
    Vec<u8> => [u8],
    Arc<[u8]> => [u8],
    Box<[u8]> => [u8],
    std::path::PathBuf => std::path::Path,
    std::ffi::OsString => std::ffi::OsStr,
}
