//! `#[memoize]`: what is written, judged.

mod expand;
mod options;
mod signature;

use proc_macro2::TokenStream;
use syn::{Error, ItemFn, Result};

use options::Options;
use signature::Function;

pub(crate) fn memoize(arguments: TokenStream, item: &TokenStream) -> Result<TokenStream> {
    let options: Options = syn::parse2(arguments)?;
    let item: ItemFn = syn::parse2(item.clone())
        .map_err(|_| Error::new_spanned(item, "only a function or a method with a body can be memoized"))?;
    let function = Function::read(item, &options)?;
    Ok(expand::expand(&function, &options))
}
