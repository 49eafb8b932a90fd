//! Keys that are looked up by a borrowed form and owned only when something must be kept.

use std::sync::Arc;

/// An owned key made from a borrowed form of it. Runs only when a lookup misses memory.
///
/// The owned key must equal the borrowed form, and hash alike. `str` for `String`, slices and paths are here; a form of
/// your own, say for a key of several parts, takes two implementations:
///
/// ```
/// use nanotier::{Cache, Equivalent, OwnedFrom};
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
/// let users: Cache<UserKey, u64> = Cache::new(100);
/// users.insert(UserKey { tenant: "acme".into(), id: 7 }, 1).wait()?;
/// assert_eq!(users.get(&UserRef { tenant: "acme", id: 7 }).wait()?, Some(1));
/// # Ok::<(), nanotier::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "a `{Self}` cannot be made from a `{Q}`",
    note = "a key is passed by reference to its borrowed form: for a `String` key, `cache.get(\"k\")` or `cache.get(key)` with `key: &str`, not `&&str`",
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
