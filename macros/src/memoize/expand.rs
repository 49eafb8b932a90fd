//! What a memoized function becomes: itself, asking a cache first; itself under another name, working the answer out; its
//! cache; and a way to forget one answer.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};
use syn::{Attribute, FnArg, Ident, Type};

use super::options::Options;
use super::signature::{Function, Part, rename_self};

pub(crate) fn expand(function: &Function, options: &Options) -> TokenStream {
    let expansion = Expansion::new(function, options);
    let (asking, working) = (expansion.asking(), expansion.working());
    let (caches, cache, remove) = (expansion.caches(), expansion.cache(), expansion.remove());
    quote!(#asking #working #caches #cache #remove)
}

struct Expansion<'a> {
    function: &'a Function,
    options: &'a Options,
    /// Where the macro's run-time half is.
    support: TokenStream,
    /// The names of what is made.
    caches: Ident,
    working: Ident,
    cache: Ident,
    remove: Ident,
    /// A name for `self` where that cannot be one.
    this: Ident,
}

impl<'a> Expansion<'a> {
    fn new(function: &'a Function, options: &'a Options) -> Self {
        let name = &function.item.sig.ident;
        Self {
            function,
            options,
            support: quote!(::nanotier::memoize::attribute),
            caches: format_ident!("__{name}_caches"),
            working: format_ident!("__{name}_anew"),
            cache: format_ident!("{name}_cache"),
            remove: format_ident!("{name}_remove"),
            this: format_ident!("this", span = proc_macro2::Span::mixed_site()),
        }
    }

    /// The function as it is called.
    fn asking(&self) -> TokenStream {
        let Self { function, support, .. } = self;
        let mut signature = function.item.sig.clone();
        let inputs = signature.inputs.iter_mut();
        let mut parameters = function.parameters.iter();
        for input in inputs {
            match input {
                FnArg::Typed(typed) => {
                    let name = &parameters.next().expect("each is read").name;
                    typed.pat = syn::parse_quote!(#name);
                }
                FnArg::Receiver(this) if this.reference.is_none() => this.mutability = None,
                FnArg::Receiver(_) => {}
            }
        }
        let attributes = function.item.attrs.iter().filter(|attribute| !is_of_the_body(attribute));
        let visibility = &function.item.vis;
        let (obtain, passed) = (self.obtain(), self.passed());
        let is_async = signature.asyncness.is_some();
        let is_behind = is_async || self.options.stale.is_some();
        let call = match (is_async, is_behind) {
            (true, _) => "call_async",
            (false, true) => "call_behind",
            (false, false) => "call",
        };
        let call = if function.remembers_ok { format_ident!("try_{call}") } else { format_ident!("{call}") };
        let work = if is_behind { self.owned_work() } else { self.borrowed_work() };
        let wait = is_async.then(|| quote!(.await));
        quote! {
            #(#attributes)*
            #visibility #signature {
                #support::#call(#obtain, #passed, #work) #wait
            }
        }
    }

    /// The function as it was written.
    fn working(&self) -> TokenStream {
        let mut item = self.function.item.clone();
        item.attrs.retain(is_of_the_body);
        item.vis = syn::Visibility::Inherited;
        item.sig.ident = self.working.clone();
        quote! {
            #[doc(hidden)]
            #item
        }
    }

    /// Where the cache is kept, or the caches of a function that is used with several types.
    fn caches(&self) -> TokenStream {
        let Self { support, caches, .. } = self;
        if self.is_one() {
            let (key, value) = (self.key_types(), self.value());
            let (name, configure) = (self.name(), self.configure());
            return quote! {
                #[doc(hidden)]
                fn #caches() -> &'static ::nanotier::Cache<(#(#key,)*), #value> {
                    static CACHE: ::std::sync::LazyLock<::nanotier::Cache<(#(#key,)*), #value>> =
                        ::std::sync::LazyLock::new(|| #support::build(#name, true, #configure));
                    &CACHE
                }
            };
        }
        quote! {
            #[doc(hidden)]
            fn #caches() -> &'static #support::Caches {
                static CACHES: #support::Caches = #support::Caches::new();
                &CACHES
            }
        }
    }

    /// Whether there is but one cache, and its type can be written down.
    fn is_one(&self) -> bool {
        let function = self.function;
        function.key_is_typed() && !function.is_associated && function.types().is_empty()
    }

    fn cache(&self) -> TokenStream {
        let Self { function, cache, .. } = self;
        let (visibility, value, obtain) = (&function.item.vis, self.value(), self.obtain());
        let (generics, _, conditions) = function.item.sig.generics.split_for_impl();
        let key = if function.key_is_typed() {
            let types = self.key_types();
            quote!((#(#types,)*))
        } else {
            quote!(impl ::nanotier::memoize::Arguments)
        };
        let text = format!("The cache of the answers of `{}`.", function.item.sig.ident);
        quote! {
            #[doc = #text]
            #[allow(dead_code)]
            #visibility fn #cache #generics() -> &'static ::nanotier::Cache<#key, #value> #conditions {
                #obtain
            }
        }
    }

    fn remove(&self) -> TokenStream {
        let Self { function, support, remove, .. } = self;
        let (visibility, obtain, passed) = (&function.item.vis, self.obtain(), self.passed());
        let (generics, _, conditions) = function.item.sig.generics.split_for_impl();
        let receiver = function.item.sig.receiver().filter(|_| function.key_mentions("self")).map(|this| {
            let mut this = this.clone();
            if this.reference.is_none() {
                this.mutability = None;
            }
            this
        });
        let receiver = receiver.iter();
        let mentioned = self.mentioned();
        let (names, types) =
            (mentioned.iter().map(|(name, _)| name), mentioned.iter().map(|(_, r#type)| r#type));
        let text = format!(
            "Forgets the answer of `{}` to these arguments, in memory and in the tiers.",
            function.item.sig.ident
        );
        quote! {
            #[doc = #text]
            #[allow(dead_code, clippy::needless_pass_by_value)]
            #visibility fn #remove #generics(#(#receiver,)* #(#names: #types),*) -> ::nanotier::Lookup<()> #conditions {
                #support::remove(#obtain, #passed)
            }
        }
    }

    /// The parameters that the key says something of.
    fn mentioned(&self) -> Vec<(&Ident, &Type)> {
        let all = self.function.parameters.iter();
        let mentioned = all.filter(|parameter| self.function.key_mentions(&parameter.name.to_string()));
        mentioned.map(|parameter| (&parameter.name, &parameter.r#type)).collect()
    }

    /// A path to what is made beside the function.
    fn beside(&self, name: &Ident) -> TokenStream {
        if self.function.is_associated { quote!(Self::#name) } else { name.to_token_stream() }
    }

    /// The cache, made if it is the first time.
    fn obtain(&self) -> TokenStream {
        let function = self.function;
        let caches = self.beside(&self.caches);
        if self.is_one() {
            return quote!(#caches());
        }
        let own = function.is_associated.then(|| quote!(Self,)).into_iter();
        let (types, value, name, configure) = (function.types(), self.value(), self.name(), self.configure());
        let of = quote!((#(#own)* #(#types,)*));
        if function.key_is_typed() {
            let key = self.key_types();
            return quote!(#caches().of::<#of, (#(#key,)*), #value>(#name, #configure));
        }
        let witness = self.witness();
        quote!(#caches().by::<#of, _, _, #value>(#witness, #name, #configure))
    }

    fn name(&self) -> TokenStream {
        let Self { function, support, .. } = self;
        let ident = &function.item.sig.ident;
        let below = match &self.options.name {
            Some(name) => quote!(::core::option::Option::Some(#name)),
            None if !function.is_associated => {
                quote!(::core::option::Option::Some(::core::concat!(
                    ::core::module_path!(),
                    "::",
                    ::core::stringify!(#ident)
                )))
            }
            None => quote!(::core::option::Option::None),
        };
        quote!(#support::Name { function: ::core::stringify!(#ident), below: #below })
    }

    fn configure(&self) -> TokenStream {
        let Self { options, support, .. } = self;
        let millis = |ms: &u64| quote!(::core::time::Duration::from_millis(#ms));
        let ttl = options.ttl.as_ref().map(millis).map(|ttl| quote!(.ttl(#ttl)));
        let stale = options.stale.as_ref().map(millis).map(|stale| quote!(.stale_for(#stale)));
        let on_error = options.stale_on_error.as_ref().map(millis);
        let on_error = on_error.map(|long| quote!(.options(|options| options.stale_on_error_for(#long))));
        let capacity = options.capacity.as_ref().map(|capacity| quote!(.capacity(#capacity)));
        let configured = quote!(cache #ttl #stale #on_error #capacity);
        let configured = match &options.configure {
            Some(change) => quote!(#support::configure(#configured, #change)),
            None => configured,
        };
        quote!(|cache| #configured)
    }

    /// The type of what is remembered.
    fn value(&self) -> TokenStream {
        let (output, support) = (&self.function.output, &self.support);
        if self.function.remembers_ok {
            quote!(<#output as #support::Fails>::Value)
        } else {
            output.to_token_stream()
        }
    }

    fn key_types(&self) -> Vec<TokenStream> {
        let types = self.function.key.iter().map(|part| match part {
            Part::Parameter(number) => match &self.function.parameters[*number].r#type {
                Type::Reference(reference) => {
                    let borrowed = &reference.elem;
                    quote!(<#borrowed as ::std::borrow::ToOwned>::Owned)
                }
                r#type => r#type.to_token_stream(),
            },
            Part::Expression(_) => quote!(_),
        });
        types.collect()
    }

    /// Shows the compiler the type of the key.
    fn witness(&self) -> TokenStream {
        let this = &self.this;
        let receiver = self.function.receiver.iter().filter(|_| self.function.key_mentions("self"));
        let this_if = receiver.clone().map(|_| this);
        let mentioned = self.mentioned();
        let (names, types) =
            (mentioned.iter().map(|(name, _)| name), mentioned.iter().map(|(_, r#type)| r#type));
        let parts = self.function.key.iter().map(|part| match part {
            Part::Parameter(number) => {
                let parameter = &self.function.parameters[*number];
                let name = &parameter.name;
                match &parameter.r#type {
                    Type::Reference(reference) => {
                        let borrowed = &reference.elem;
                        quote!(<#borrowed as ::std::borrow::ToOwned>::to_owned(#name))
                    }
                    _ => quote!(::core::clone::Clone::clone(&#name)),
                }
            }
            Part::Expression(expression) => rename_self(expression.to_token_stream(), this),
        });
        let key = self.key_types();
        quote! {
            |(#(#this_if,)* #(#names,)*): (#(#receiver,)* #(#types,)*)| -> (#(#key,)*) { (#(#parts,)*) }
        }
    }

    /// What the cache is asked for.
    fn passed(&self) -> TokenStream {
        let parts = self.function.key.iter().map(|part| match part {
            Part::Parameter(number) => {
                let parameter = &self.function.parameters[*number];
                let name = &parameter.name;
                match &parameter.r#type {
                    Type::Reference(_) => name.to_token_stream(),
                    _ => quote!(&#name),
                }
            }
            Part::Expression(expression) => expression.to_token_stream(),
        });
        quote!((#(#parts,)*))
    }

    /// Works the answer out with what the caller has.
    fn borrowed_work(&self) -> TokenStream {
        let this = self.function.receiver.iter().map(|_| quote!(self));
        let arguments = self.function.parameters.iter().enumerate().map(|(number, parameter)| {
            let name = &parameter.name;
            match &parameter.r#type {
                Type::Reference(_) => name.to_token_stream(),
                _ if self.function.is_in_key(number) => quote!(::core::clone::Clone::clone(&#name)),
                _ => name.to_token_stream(),
            }
        });
        let working = self.working_path();
        quote!(|| #working(#(#this,)* #(#arguments),*))
    }

    /// Works the answer out with what it owns.
    fn owned_work(&self) -> TokenStream {
        let support = &self.support;
        let mut own = TokenStream::new();
        let mut arguments = Vec::new();
        if let Some(receiver) = &self.function.receiver {
            let this = &self.this;
            match receiver {
                Type::Reference(_) => {
                    own.extend(quote!(let #this = #support::Receiver::own(self);));
                    arguments.push(quote!(&#this));
                }
                _ => {
                    own.extend(quote!(let #this = self;));
                    arguments.push(this.to_token_stream());
                }
            }
        }
        for (number, parameter) in self.function.parameters.iter().enumerate() {
            let name = &parameter.name;
            match &parameter.r#type {
                Type::Reference(reference) => {
                    let borrowed = &reference.elem;
                    own.extend(quote!(let #name = <#borrowed as ::std::borrow::ToOwned>::to_owned(#name);));
                    arguments.push(quote! {
                        <<#borrowed as ::std::borrow::ToOwned>::Owned as ::std::borrow::Borrow<#borrowed>>::borrow(&#name)
                    });
                }
                _ if self.function.is_in_key(number) => {
                    own.extend(quote!(let #name = ::core::clone::Clone::clone(&#name);));
                    arguments.push(name.to_token_stream());
                }
                _ => {
                    own.extend(quote!(let #name = #name;));
                    arguments.push(name.to_token_stream());
                }
            }
        }
        let working = self.working_path();
        let work = quote!(#working(#(#arguments),*));
        let work = if self.function.item.sig.asyncness.is_some() {
            quote!(async move { #work.await })
        } else {
            work
        };
        quote!(|| { #own move || #work })
    }

    fn working_path(&self) -> TokenStream {
        let (working, types) = (self.beside(&self.working), self.function.types());
        if types.is_empty() { working } else { quote!(#working::<#(#types),*>) }
    }
}

/// Lints are about the body; all else, documentation and conditions, about what is called.
fn is_of_the_body(attribute: &Attribute) -> bool {
    ["allow", "expect", "warn", "deny", "forbid"].iter().any(|lint| attribute.path().is_ident(lint))
}
