//! `#[derive(Key)]`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Data, DataEnum, DeriveInput, Error, Fields, Index, Result, parse_quote};

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let krate = contract();
    let body = match &input.data {
        Data::Struct(data) => parts_of_struct(&data.fields, &krate),
        Data::Enum(data) => parts_of_enum(data, &krate)?,
        Data::Union(_) => {
            return Err(Error::new_spanned(
                &input.ident,
                "a union is no key: which field counts is not known",
            ));
        }
    };
    let (reads, read) = match &input.data {
        Data::Struct(data) => (reads_of(&data.fields, &krate), read_struct(&data.fields, &krate)),
        Data::Enum(data) => {
            let reads = data.variants.iter().map(|variant| reads_of(&variant.fields, &krate));
            (quote!(true #(&& #reads)*), read_enum(data, &krate)?)
        }
        Data::Union(_) => (quote!(false), quote!(None)),
    };
    let whole = match &input.data {
        Data::Struct(data) if data.fields.len() == 1 => whole_of_newtype(&data.fields, &krate),
        _ => TokenStream::new(),
    };
    let mut generics = input.generics.clone();
    for parameter in input.generics.type_params() {
        let name = &parameter.ident;
        generics.make_where_clause().predicates.push(parse_quote!(#name: #krate::Key));
    }
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let name = &input.ident;
    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics #krate::Key for #name #type_generics #where_clause {
            fn write_part(&self, out: &mut ::std::vec::Vec<u8>) {
                #body
            }
            const READS: bool = #reads;
            fn read_part(bytes: &mut &[u8]) -> ::std::option::Option<Self> {
                #read
            }
            #whole
        }
    })
}

/// The crate that has the trait, as the user of the macro calls it: the facade if they depend on it.
fn contract() -> TokenStream {
    let manifest = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let text =
        std::fs::read_to_string(std::path::Path::new(&manifest).join("Cargo.toml")).unwrap_or_default();
    let depends_on = |package: &str| {
        text.lines().map(str::trim_start).any(|line| {
            line.strip_prefix(package).is_some_and(|rest| rest.trim_start().starts_with(['=', '.']))
                || line == format!("name = \"{package}\"")
        })
    };
    if depends_on("nanotier") { quote!(::nanotier) } else { quote!(::nanotier_tier) }
}

fn parts_of_struct(fields: &Fields, krate: &TokenStream) -> TokenStream {
    let members = fields.members();
    if fields.is_empty() {
        return quote!(let _ = out;);
    }
    quote!(#(#krate::Key::write_part(&self.#members, out);)*)
}

fn whole_of_newtype(fields: &Fields, krate: &TokenStream) -> TokenStream {
    let members = fields.members();
    let (read_members, types) = (fields.members(), fields.iter().map(|field| &field.ty));
    let read = quote!(::std::option::Option::Some(Self {
        #(#read_members: <#types as #krate::Key>::from_key_bytes(bytes)?),*
    }));
    quote! {
        fn key_bytes(&self) -> #krate::KeyBytes<'_> {
            #(#krate::Key::key_bytes(&self.#members))*
        }
        fn from_key_bytes(bytes: &[u8]) -> ::std::option::Option<Self> {
            #read
        }
    }
}

/// Whether all of the fields can be read.
fn reads_of(fields: &Fields, krate: &TokenStream) -> TokenStream {
    let types = fields.iter().map(|field| &field.ty);
    quote!((true #(&& <#types as #krate::Key>::READS)*))
}

fn read_struct(fields: &Fields, krate: &TokenStream) -> TokenStream {
    let (members, types) = (fields.members(), fields.iter().map(|field| &field.ty));
    if fields.is_empty() {
        return quote!(let _ = bytes; ::std::option::Option::Some(Self {}));
    }
    quote!(::std::option::Option::Some(Self {
        #(#members: <#types as #krate::Key>::read_part(bytes)?),*
    }))
}

fn read_enum(data: &DataEnum, krate: &TokenStream) -> Result<TokenStream> {
    let mut arms = Vec::new();
    for (number, variant) in data.variants.iter().enumerate() {
        let number = u32::try_from(number).map_err(|_| Error::new_spanned(variant, "too many variants"))?;
        let (name, members) = (&variant.ident, variant.fields.members());
        let types = variant.fields.iter().map(|field| &field.ty);
        arms.push(quote! {
            #number => ::std::option::Option::Some(Self::#name {
                #(#members: <#types as #krate::Key>::read_part(bytes)?),*
            }),
        });
    }
    Ok(quote! {
        match <u32 as #krate::Key>::read_part(bytes)? {
            #(#arms)*
            _ => ::std::option::Option::None,
        }
    })
}

fn parts_of_enum(data: &DataEnum, krate: &TokenStream) -> Result<TokenStream> {
    let mut arms = Vec::new();
    for (number, variant) in data.variants.iter().enumerate() {
        let number = u32::try_from(number).map_err(|_| Error::new_spanned(variant, "too many variants"))?;
        let name = &variant.ident;
        let bound: Vec<_> = (0..variant.fields.len()).map(|index| format_ident!("part_{index}")).collect();
        let members = variant.fields.members().map(|member| match member {
            syn::Member::Named(name) => quote!(#name),
            syn::Member::Unnamed(Index { index, .. }) => {
                let index = Index::from(index as usize);
                quote!(#index)
            }
        });
        arms.push(quote! {
            Self::#name { #(#members: #bound),* } => {
                #krate::Key::write_part(&#number, out);
                #(#krate::Key::write_part(#bound, out);)*
            }
        });
    }
    if arms.is_empty() {
        return Ok(quote!(let _ = out; match *self {}));
    }
    Ok(quote!(match self { #(#arms)* }))
}
