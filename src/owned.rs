//! Keys that are looked up by a borrowed form and owned only when something must be kept.

use std::sync::Arc;

/// An owned key made from a borrowed form of it. Runs only when a lookup misses memory.
///
/// The owned key must equal the borrowed form, and hash alike.
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
}
