//! Where a record lies: a namespace, and the bytes of a key in it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};

/// A namespace: one cache's own part of a tier. Never empty, so nothing can be cleared by accident.
///
/// 1 to [`LEN_MAX`](Self::LEN_MAX) ASCII letters, digits, and `. _ - / :`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Namespace(Arc<str>);

impl Namespace {
    /// The longest name a user may give, in bytes.
    pub const LEN_MAX: usize = 64;
    /// Between a namespace and what the cache itself keeps beside it. Not allowed in a user's name, so the
    /// two never meet.
    const SUB: char = '#';

    /// A namespace of this name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidName`] for an empty or too long name, or one with other characters.
    pub fn new(name: impl AsRef<str>) -> Result<Self> {
        let name = name.as_ref();
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:".contains(&byte);
        if name.is_empty() || name.len() > Self::LEN_MAX || !name.bytes().all(allowed) {
            return Err(Error::new(ErrorKind::InvalidName, "cache", "namespace").with_detail(format!(
                "{name:?} is none: it takes 1 to {} ASCII letters, digits and . _ - / :",
                Self::LEN_MAX
            )));
        }
        Ok(Self(name.into()))
    }

    /// A namespace beside this one, for what is no cache entry: locks, counters, marks. It is cleared on its
    /// own.
    #[must_use]
    pub fn beside(&self, purpose: &'static str) -> Self {
        Self(format!("{}{}{purpose}", self.0, Self::SUB).into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True for a namespace made by [`beside`](Self::beside): hidden from listings unless asked for.
    #[must_use]
    pub fn is_beside(&self) -> bool {
        self.0.contains(Self::SUB)
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A namespace and the bytes of a key.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path<'a> {
    namespace: Cow<'a, Namespace>,
    key: Cow<'a, [u8]>,
}

impl<'a> Path<'a> {
    /// The longest key, in bytes. Drivers whose service takes less store a keyed digest instead.
    pub const KEY_LEN_MAX: usize = 64 * 1024;

    /// The path of `key` in `namespace`.
    #[must_use]
    pub fn new(namespace: &'a Namespace, key: impl Into<Cow<'a, [u8]>>) -> Self {
        Self { namespace: Cow::Borrowed(namespace), key: key.into() }
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The bytes of the key. May be empty: the empty key is a key like any other.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The same path, owning its parts.
    #[must_use]
    pub fn into_owned(self) -> Path<'static> {
        Path { namespace: Cow::Owned(self.namespace.into_owned()), key: Cow::Owned(self.key.into_owned()) }
    }

    /// A path that borrows from this one.
    #[must_use]
    pub fn borrowed(&self) -> Path<'_> {
        Path { namespace: Cow::Borrowed(&self.namespace), key: Cow::Borrowed(&self.key) }
    }

    /// One byte string per path, and one path per byte string: length of the namespace, namespace, key.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + self.namespace.as_str().len() + self.key.len());
        self.append_to(&mut bytes);
        bytes
    }

    /// Appends [`to_bytes`](Self::to_bytes) to `bytes`: for many paths and one buffer.
    pub fn append_to(&self, bytes: &mut Vec<u8>) {
        let name = self.namespace.as_str().as_bytes();
        let len =
            u8::try_from(name.len()).expect("a namespace is short: at most 64 bytes and a purpose of ours");
        bytes.push(len);
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(&self.key);
    }

    /// The inverse of [`to_bytes`](Self::to_bytes); `None` for bytes that are no path's. For stores that walk
    /// over their rows.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Path<'static>> {
        let (&len, rest) = bytes.split_first()?;
        let (name, key) = rest.split_at_checked(usize::from(len))?;
        let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty())?;
        Some(Path { namespace: Cow::Owned(Namespace(name.into())), key: Cow::Owned(key.to_vec()) })
    }

    /// What every path of `namespace` begins with in [`to_bytes`](Self::to_bytes), and no other path does.
    #[must_use]
    pub fn prefix(namespace: &Namespace) -> Vec<u8> {
        Path::new(namespace, &[][..]).to_bytes()
    }
}

/// Keys may be personal data: they are not printed.
impl fmt::Debug for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Path({}, {} byte key)", self.namespace, self.key.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged() {
        for good in ["a", "users", "app:v1", "a/b-c_d.e", &"x".repeat(64)] {
            assert!(Namespace::new(good).is_ok(), "{good:?}");
        }
        for bad in ["", " ", "a b", "a#b", "ü", "a\0", "*", "a\n", &"x".repeat(65)] {
            let error = Namespace::new(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidName, "{bad:?}");
        }
    }

    #[test]
    fn different_paths_never_share_bytes_and_nested_names_do_not_share_a_prefix() {
        let names = ["billing", "billing:v1", "billing:", "b"].map(|name| Namespace::new(name).unwrap());
        let keys: [&[u8]; 5] = [b"", b"v1", b":v1", b"\0", b"illing:v1"];
        let mut seen = std::collections::HashSet::new();
        for name in &names {
            for key in keys {
                let bytes = Path::new(name, key).to_bytes();
                assert!(seen.insert(bytes.clone()), "two paths with the same bytes");
                assert_eq!(Path::from_bytes(&bytes), Some(Path::new(name, key)));
                for other in &names {
                    assert_eq!(bytes.starts_with(&Path::prefix(other)), other == name);
                }
            }
        }
    }
}
