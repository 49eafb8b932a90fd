//! How keys become bytes.

use std::borrow::Cow;
use std::sync::Arc;

/// The bytes of a key: borrowed where the key is bytes already.
pub type KeyBytes<'a> = Cow<'a, [u8]>;

/// A key whose bytes are canonical: equal keys have equal bytes, different keys different bytes, in every
/// process and version.
///
/// Needed only where tiers lie below: memory alone compares keys themselves. Implemented for strings, bytes,
/// integers, `bool`, `char`, arrays of bytes and tuples of up to seven; derive it for your own types with
/// `#[derive(Key)]` (feature `derive`).
///
/// | type | as a whole key | as a part of a larger key |
/// |---|---|---|
/// | `String`, `str`, `Arc<str>`, `Box<str>` | its UTF-8 | length as `u32`, big end first, then UTF-8 |
/// | `Vec<u8>`, `[u8]`, `Bytes` | its bytes | length as `u32`, then bytes |
/// | `[u8; N]` | its bytes | its bytes |
/// | integers | fixed width, big end first | the same |
/// | `bool`, `char` | one byte, four bytes | the same |
/// | tuples, derived structs | its parts one after the other | the same |
/// | `Option` | 0, or 1 and the part | the same |
///
/// `usize` and `isize` are written as 64 bits. Floating-point numbers are no keys: they are not equal to
/// themselves.
///
/// ```
/// use nanotier_tier::Key;
///
/// assert_eq!("user".to_string().key_bytes(), &b"user"[..]);
/// // The parts of a tuple cannot run into each other.
/// assert_ne!(("ab".to_string(), "c".to_string()).key_bytes(), ("a".to_string(), "bc".to_string()).key_bytes());
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `Key`: a cache with tiers below must turn keys into bytes",
    note = "derive it with `#[derive(Key)]` (feature `derive`), or implement `nanotier::Key`"
)]
pub trait Key {
    /// Appends the key as a part of a larger one. Must tell by itself where it ends: no part may be the
    /// beginning of another part.
    fn write_part(&self, out: &mut Vec<u8>);

    /// The bytes of the whole key.
    fn key_bytes(&self) -> KeyBytes<'_> {
        let mut out = Vec::new();
        self.write_part(&mut out);
        Cow::Owned(out)
    }

    /// Whether a key can be made from its bytes again, by the two functions below. What is read from a listing or from a
    /// warm file needs it; nothing else does. True for the types of the table that own what they are made of.
    const READS: bool = false;

    /// Takes a key, as a part of a larger one, off the front of `bytes`: the inverse of [`write_part`](Self::write_part).
    /// `None` for bytes that do not begin with a key's, and always where [`READS`](Self::READS) is false.
    fn read_part(bytes: &mut &[u8]) -> Option<Self>
    where
        Self: Sized,
    {
        let _ = bytes;
        None
    }

    /// The key of these bytes: the inverse of [`key_bytes`](Self::key_bytes). `None` for bytes that are no key's.
    ///
    /// ```
    /// use nanotier_tier::Key;
    ///
    /// let key = ("acme".to_string(), 7_u32);
    /// assert_eq!(<(String, u32)>::from_key_bytes(&key.key_bytes()), Some(key));
    /// assert_eq!(u32::from_key_bytes(b"longer than four"), None);
    /// ```
    #[must_use]
    fn from_key_bytes(bytes: &[u8]) -> Option<Self>
    where
        Self: Sized,
    {
        let mut rest = bytes;
        let key = Self::read_part(&mut rest)?;
        rest.is_empty().then_some(key)
    }
}

/// Takes so many bytes off the front.
fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

/// The inverse of [`write_bytes`].
fn read_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = u32::read_part(bytes)?;
    take(bytes, usize::try_from(len).ok()?)
}

/// A length before bytes. A key is far shorter than 4 GiB: the limit on keys is checked before anything is
/// stored.
fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(bytes);
}

macro_rules! key_of_bytes {
    ($($type:ty => $bytes:expr $(, $read:expr)?;)*) => {$(
        impl Key for $type {
            fn write_part(&self, out: &mut Vec<u8>) {
                let bytes: fn(&Self) -> &[u8] = $bytes;
                write_bytes(bytes(self), out);
            }
            fn key_bytes(&self) -> KeyBytes<'_> {
                let bytes: fn(&Self) -> &[u8] = $bytes;
                Cow::Borrowed(bytes(self))
            }
            $(
                const READS: bool = true;
                fn read_part(bytes: &mut &[u8]) -> Option<Self> {
                    Self::from_key_bytes(read_bytes(bytes)?)
                }
                fn from_key_bytes(bytes: &[u8]) -> Option<Self> {
                    let read: fn(&[u8]) -> Option<Self> = $read;
                    read(bytes)
                }
            )?
        }
    )*};
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

key_of_bytes! {
    str => str::as_bytes;
    String => |key| key.as_bytes(), |bytes| text(bytes).map(Into::into);
    Arc<str> => |key| key.as_bytes(), |bytes| text(bytes).map(Into::into);
    Box<str> => |key| key.as_bytes(), |bytes| text(bytes).map(Into::into);
    [u8] => |key| key;
    Vec<u8> => |key| key, |bytes| Some(bytes.into());
    Arc<[u8]> => |key| key, |bytes| Some(bytes.into());
    Box<[u8]> => |key| key, |bytes| Some(bytes.into());
    bytes::Bytes => |key| key, |bytes| Some(bytes::Bytes::copy_from_slice(bytes));
}

macro_rules! key_of_integer {
    ($($type:ty)*) => {$(
        impl Key for $type {
            fn write_part(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }
            const READS: bool = true;
            fn read_part(bytes: &mut &[u8]) -> Option<Self> {
                let (number, rest) = bytes.split_first_chunk()?;
                *bytes = rest;
                Some(Self::from_be_bytes(*number))
            }
        }
    )*};
}
key_of_integer! { u8 u16 u32 u64 u128 i8 i16 i32 i64 i128 }

impl Key for usize {
    fn write_part(&self, out: &mut Vec<u8>) {
        (*self as u64).write_part(out);
    }
    const READS: bool = true;
    fn read_part(bytes: &mut &[u8]) -> Option<Self> {
        Self::try_from(u64::read_part(bytes)?).ok()
    }
}

impl Key for isize {
    fn write_part(&self, out: &mut Vec<u8>) {
        (*self as i64).write_part(out);
    }
    const READS: bool = true;
    fn read_part(bytes: &mut &[u8]) -> Option<Self> {
        Self::try_from(i64::read_part(bytes)?).ok()
    }
}

impl Key for bool {
    fn write_part(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    const READS: bool = true;
    fn read_part(bytes: &mut &[u8]) -> Option<Self> {
        match u8::read_part(bytes)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl Key for char {
    fn write_part(&self, out: &mut Vec<u8>) {
        u32::from(*self).write_part(out);
    }
    const READS: bool = true;
    fn read_part(bytes: &mut &[u8]) -> Option<Self> {
        Self::from_u32(u32::read_part(bytes)?)
    }
}

impl Key for () {
    fn write_part(&self, _: &mut Vec<u8>) {}
    const READS: bool = true;
    fn read_part(_: &mut &[u8]) -> Option<Self> {
        Some(())
    }
}

impl<const N: usize> Key for [u8; N] {
    fn write_part(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    const READS: bool = true;
    fn read_part(bytes: &mut &[u8]) -> Option<Self> {
        take(bytes, N)?.try_into().ok()
    }

    fn key_bytes(&self) -> KeyBytes<'_> {
        Cow::Borrowed(self)
    }
}

impl<T: Key> Key for Option<T> {
    fn write_part(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.is_some()));
        if let Some(part) = self {
            part.write_part(out);
        }
    }
    const READS: bool = T::READS;
    fn read_part(bytes: &mut &[u8]) -> Option<Self> {
        if bool::read_part(bytes)? { T::read_part(bytes).map(Some) } else { Some(None) }
    }
}

impl<T: Key + ?Sized> Key for &T {
    fn write_part(&self, out: &mut Vec<u8>) {
        (**self).write_part(out);
    }

    fn key_bytes(&self) -> KeyBytes<'_> {
        (**self).key_bytes()
    }
}

macro_rules! key_of_tuple {
    ($($name:ident)+) => {
        impl<$($name: Key),+> Key for ($($name,)+) {
            fn write_part(&self, out: &mut Vec<u8>) {
                #[expect(non_snake_case, reason = "the type's name is at hand for its value")]
                let ($($name,)+) = self;
                $($name.write_part(out);)+
            }
            const READS: bool = true $(&& $name::READS)+;
            fn read_part(bytes: &mut &[u8]) -> Option<Self> {
                Some(($($name::read_part(bytes)?,)+))
            }
        }
    };
}
key_of_tuple! { A }
key_of_tuple! { A B }
key_of_tuple! { A B C }
key_of_tuple! { A B C D }
key_of_tuple! { A B C D E }
key_of_tuple! { A B C D E F }
key_of_tuple! { A B C D E F G }

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn different_tuples_have_different_bytes(
            a in any::<(String, Vec<u8>, u16, Option<String>, bool)>(),
            b in any::<(String, Vec<u8>, u16, Option<String>, bool)>(),
        ) {
            prop_assert_eq!(a == b, a.key_bytes() == b.key_bytes());
        }

        #[test]
        fn parts_cannot_run_into_each_other(text in "[ab]{0,6}", cut in 0usize..6, other in 0usize..6) {
            let pair = |at: usize| {
                let (left, right) = text.split_at(at.min(text.len()));
                (left.to_string(), right.to_string())
            };
            let (left, right) = (pair(cut), pair(other));
            prop_assert_eq!(left == right, left.key_bytes() == right.key_bytes());
        }
    }

    type Parts = (String, Vec<u8>, u16, Option<(String, i64)>, bool, [u8; 3], char);

    proptest! {
        #[test]
        fn keys_come_back_from_their_bytes_and_from_no_others(
            key in any::<Parts>(),
            number in any::<usize>(),
            text in any::<String>(),
            other in any::<Vec<u8>>(),
        ) {
            let bytes = key.key_bytes();
            prop_assert_eq!(Parts::from_key_bytes(&bytes), Some(key.clone()));
            prop_assert_eq!(Parts::from_key_bytes(&bytes[..bytes.len() - 1]), None);
            prop_assert_eq!(Parts::from_key_bytes(&[&bytes[..], &[0]].concat()), None);
            prop_assert_eq!(usize::from_key_bytes(&number.key_bytes()), Some(number));
            prop_assert_eq!(String::from_key_bytes(&text.key_bytes()), Some(text));
            // Whatever is read is written as it was.
            if let Some(read) = <(u8, Option<String>)>::from_key_bytes(&other) {
                prop_assert_eq!(&read.key_bytes()[..], &other[..]);
            }
        }
    }

    #[test]
    fn what_only_borrows_is_not_read() {
        let reads = [<&str>::READS, <(u8, &[u8])>::READS, Option::<&str>::READS, <(u8, String)>::READS];
        assert_eq!(reads, [false, false, false, true]);
        assert_eq!(<&str>::from_key_bytes(b"text"), None);
    }

    #[test]
    fn borrowed_forms_have_the_bytes_of_the_owned() {
        let owned = "user:42".to_string();
        assert_eq!(owned.key_bytes(), "user:42".key_bytes());
        assert_eq!(Arc::<str>::from("user:42").key_bytes(), "user:42".key_bytes());
        assert_eq!(("a".to_string(), 7_u32).key_bytes(), ("a", 7_u32).key_bytes());
        assert_eq!(7_usize.key_bytes(), 7_u64.key_bytes());
    }
}
