//! Arguments as keys, and what may be passed in their place.

use std::ffi::{OsStr, OsString};
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Equivalent;

/// What may be passed for an argument of type `A`: an `A`; a reference to one; `&str` for a `String`, `Arc<str>` or
/// `Box<str>`; a slice for a `Vec`; a `&Path` for a `PathBuf`.
///
/// A hit compares what is passed, and owns it not. A miss makes the owned argument, once.
///
/// ```
/// let length = nanotier::memoize(|text: String, times: usize| text.len() * times).build()?;
/// let text = String::from("abc");
/// assert_eq!((length.call("abc", 2_usize), length.call(&text, 2_usize), length.call(text, 2_usize)), (6, 6, 6));
/// # Ok::<(), nanotier::Error>(())
/// ```
///
/// Since several types will do, `call("7".parse()?)` does not say which one is meant: bind it to a variable with a type first.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be passed for an argument of type `{A}`",
    label = "a `{A}` is wanted, or its borrowed form",
    note = "for a `String` pass a `String`, a `&String` or a `&str`; for a `Vec<T>` also a `&[T]`; for any other type itself, or a reference to it"
)]
pub trait Argument<A>: Hash {
    /// Whether it equals this one. Where it does, both hash alike.
    fn is(&self, argument: &A) -> bool;

    /// The argument itself.
    fn into_owned(self) -> A;
}

impl<A: Hash + Eq> Argument<A> for A {
    #[inline(always)]
    fn is(&self, argument: &A) -> bool {
        self == argument
    }
    fn into_owned(self) -> A {
        self
    }
}

impl<A: Hash + Eq + Clone> Argument<A> for &A {
    #[inline(always)]
    fn is(&self, argument: &A) -> bool {
        *self == argument
    }
    fn into_owned(self) -> A {
        self.clone()
    }
}

macro_rules! borrowed_forms {
    ($($borrowed:ty => $($owned:ty)+;)*) => {$($(
        impl Argument<$owned> for &$borrowed {
            #[inline(always)]
            fn is(&self, argument: &$owned) -> bool {
                let argument: &$borrowed = argument;
                *self == argument
            }
            fn into_owned(self) -> $owned {
                self.into()
            }
        }
    )+)*};
}
borrowed_forms! {
    str => String Arc<str> Box<str>;
    Path => PathBuf Arc<Path> Box<Path>;
    OsStr => OsString Arc<OsStr> Box<OsStr>;
}

macro_rules! borrowed_slices {
    ($($owned:ty)*) => {$(
        impl<T: Hash + Eq + Clone> Argument<$owned> for &[T] {
            #[inline(always)]
            fn is(&self, argument: &$owned) -> bool {
                let argument: &[T] = argument;
                *self == argument
            }
            fn into_owned(self) -> $owned {
                self.into()
            }
        }
    )*};
}
borrowed_slices! { Vec<T> Arc<[T]> Box<[T]> }

/// What can be a key: a tuple of up to seven arguments, each `Hash + Eq + Clone + Send + Sync + 'static`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the arguments of a memoized function",
    note = "up to seven arguments, each of which is `Hash + Eq + Clone + Send + Sync` and owns what it is: a `String`, not a `&str`; a number of cents, not an `f64`"
)]
pub trait Arguments: Hash + Eq + Clone + Send + Sync + 'static {
    /// How many answers are remembered unless told otherwise.
    const CAPACITY_DEFAULT: u64 = 10_000;
}

/// The arguments of a call as they were passed: looks up the key that equals them.
#[derive(Hash, Debug)]
pub struct Passed<T>(pub(super) T);

impl<A, T> Equivalent<A> for Passed<T>
where
    Self: Argument<A>,
{
    #[inline(always)]
    fn equivalent(&self, arguments: &A) -> bool {
        self.is(arguments)
    }
}

/// There is but one answer.
impl Arguments for () {
    const CAPACITY_DEFAULT: u64 = 1;
}

impl Argument<()> for Passed<()> {
    #[inline(always)]
    fn is(&self, (): &()) -> bool {
        true
    }
    fn into_owned(self) {}
}

macro_rules! arguments {
    ($($name:ident $passed:ident $at:tt)+) => {
        #[diagnostic::do_not_recommend]
        impl<$($name: Hash + Eq + Clone + Send + Sync + 'static),+> Arguments for ($($name,)+) {}

        impl<$($name, $passed: Argument<$name>),+> Argument<($($name,)+)> for Passed<($($passed,)+)> {
            #[inline(always)]
            fn is(&self, arguments: &($($name,)+)) -> bool {
                $(self.0.$at.is(&arguments.$at))&&+
            }
            fn into_owned(self) -> ($($name,)+) {
                ($(self.0.$at.into_owned(),)+)
            }
        }
    };
}
arguments! { A PA 0 }
arguments! { A PA 0 B PB 1 }
arguments! { A PA 0 B PB 1 C PC 2 }
arguments! { A PA 0 B PB 1 C PC 2 D PD 3 }
arguments! { A PA 0 B PB 1 C PC 2 D PD 3 E PE 4 }
arguments! { A PA 0 B PB 1 C PC 2 D PD 3 E PE 4 F PF 5 }
arguments! { A PA 0 B PB 1 C PC 2 D PD 3 E PE 4 F PF 5 G PG 6 }
