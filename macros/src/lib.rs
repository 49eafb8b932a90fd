//! The macros of nanotier. Use them through `nanotier` or, those for keys, `nanotier-tier`; they re-export them.
#![forbid(unsafe_code)]

#[cfg(feature = "memoize")]
mod duration;
mod key;
#[cfg(feature = "memoize")]
mod memoize;

use proc_macro::TokenStream;

/// Derives `Key` for a struct or an enum whose fields are all keys.
///
/// The bytes are those of the fields, one after the other; of an enum, the number of the variant (`u32`, big
/// end first, counted from 0 in the order they are written) before them. So **adding a variant at the end
/// keeps old keys readable; reordering fields or variants changes them**. A struct with one field has that
/// field's bytes.
///
/// ```
/// use nanotier_tier::Key;
///
/// #[derive(Clone, PartialEq, Eq, Hash, Key)]
/// struct UserId { tenant: String, id: u64 }
///
/// let id = UserId { tenant: "acme".into(), id: 7 };
/// assert_eq!(id.key_bytes(), ("acme", 7_u64).key_bytes());
/// // What owns its parts can be made from its bytes again.
/// assert!(UserId::from_key_bytes(&id.key_bytes()) == Some(id));
/// ```
#[proc_macro_derive(Key)]
pub fn derive_key(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    key::derive(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Remembers the answers of a function or method: `nanotier::memoize` documents it.
#[cfg(feature = "memoize")]
#[proc_macro_attribute]
pub fn memoize(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let item = item.into();
    memoize::memoize(arguments.into(), &item)
        .unwrap_or_else(|error| {
            // The function stays, so that its callers are not reported as well.
            let error = error.to_compile_error();
            quote::quote!(#error #item)
        })
        .into()
}
