//! The function, and of which parts its key is made.

use proc_macro2::{TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote};
use syn::spanned::Spanned;
use syn::{
    Error, Expr, FnArg, GenericParam, Ident, ItemFn, Pat, PathArguments, Result, ReturnType, Signature, Type,
};

use super::options::Options;

const PARTS_MAX: usize = 7;

pub(crate) struct Function {
    pub(crate) item: ItemFn,
    /// The type of `self`, written out.
    pub(crate) receiver: Option<Type>,
    /// Whether it stands in an `impl`: it has a receiver, or speaks of `Self` before its body begins.
    pub(crate) is_associated: bool,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) key: Vec<Part>,
    /// What it returns.
    pub(crate) output: Type,
    pub(crate) remembers_ok: bool,
}

pub(crate) struct Parameter {
    /// Its own name, or one in place of a pattern.
    pub(crate) name: Ident,
    pub(crate) r#type: Type,
}

/// A part of the key.
pub(crate) enum Part {
    /// The parameter of this number.
    Parameter(usize),
    /// Whatever comes of this; its type is known to the compiler alone.
    Expression(Expr),
}

impl Function {
    pub(crate) fn read(item: ItemFn, options: &Options) -> Result<Self> {
        judge_kind(&item.sig)?;
        let mut receiver = None;
        let mut parameters = Vec::new();
        for input in &item.sig.inputs {
            match input {
                FnArg::Receiver(this) => {
                    if is_mutable_reference(&this.ty) {
                        return Err(Error::new(
                            this.span(),
                            "a method that changes its `self` cannot be memoized: a remembered answer would change nothing",
                        ));
                    }
                    receiver = Some((*this.ty).clone());
                }
                FnArg::Typed(typed) => {
                    judge_parameter(&typed.ty)?;
                    let name = match &*typed.pat {
                        Pat::Ident(ident) if ident.subpat.is_none() => ident.ident.clone(),
                        _ => format_ident!("argument_{}", parameters.len()),
                    };
                    parameters.push(Parameter { name, r#type: (*typed.ty).clone() });
                }
            }
        }
        let key = key(&item.sig, receiver.is_some(), &parameters, options)?;
        let (output, remembers_ok) = output(&item.sig, options)?;
        let is_associated = receiver.is_some() || mentions(item.sig.to_token_stream(), "Self");
        Ok(Self { item, receiver, is_associated, parameters, key, output, remembers_ok })
    }

    /// Whether the key's type can be written down.
    pub(crate) fn key_is_typed(&self) -> bool {
        self.key.iter().all(|part| matches!(part, Part::Parameter(_)))
    }

    pub(crate) fn is_in_key(&self, parameter: usize) -> bool {
        self.key.iter().any(|part| matches!(part, Part::Parameter(number) if *number == parameter))
    }

    /// Whether the key says something of this name.
    pub(crate) fn key_mentions(&self, name: &str) -> bool {
        self.key.iter().any(|part| match part {
            Part::Parameter(number) => self.parameters[*number].name == name,
            Part::Expression(expression) => mentions(expression.to_token_stream(), name),
        })
    }

    /// The names of the types that it is generic in.
    pub(crate) fn types(&self) -> Vec<&Ident> {
        self.item.sig.generics.type_params().map(|parameter| &parameter.ident).collect()
    }
}

fn judge_kind(signature: &Signature) -> Result<()> {
    let refuse = |tokens: &dyn ToTokens, why: &str| Err(Error::new_spanned(tokens, why));
    if let Some(keyword) = &signature.constness {
        return refuse(keyword, "a `const fn` cannot be memoized: the compiler has no cache");
    }
    if let Some(keyword) = &signature.unsafety {
        return refuse(keyword, "an `unsafe fn` cannot be memoized: memoize a safe function around it");
    }
    if let Some(abi) = &signature.abi {
        return refuse(
            abi,
            "a function of another ABI cannot be memoized: memoize a plain one that calls it",
        );
    }
    for parameter in &signature.generics.params {
        if let GenericParam::Const(constant) = parameter {
            return refuse(
                constant,
                "a function with const parameters cannot be memoized: make it an argument, which is part of the key",
            );
        }
    }
    Ok(())
}

fn judge_parameter(r#type: &Type) -> Result<()> {
    if is_mutable_reference(r#type) {
        return Err(Error::new_spanned(
            r#type,
            "a function that changes an argument cannot be memoized: a remembered answer would change nothing",
        ));
    }
    if mentions(r#type.to_token_stream(), "impl") {
        return Err(Error::new_spanned(
            r#type,
            "the key needs the type's name: declare it as a generic, `fn f<T: Trait>(argument: T)`",
        ));
    }
    Ok(())
}

fn is_mutable_reference(r#type: &Type) -> bool {
    matches!(r#type, Type::Reference(reference) if reference.mutability.is_some())
}

fn key(
    signature: &Signature,
    is_method: bool,
    parameters: &[Parameter],
    options: &Options,
) -> Result<Vec<Part>> {
    let key: Vec<Part> = match &options.key {
        None if is_method => {
            return Err(Error::new_spanned(
                &signature.inputs[0],
                "what is `self` known by? Its answers are remembered for all values of the type: say `key = \"(self.id, ..)\"`, \
                 or a key without `self` if the answer does not depend on it",
            ));
        }
        None => (0..parameters.len()).map(Part::Parameter).collect(),
        Some(Expr::Tuple(tuple)) => tuple.elems.iter().map(|part| part_of(part, parameters)).collect(),
        Some(expression) => vec![part_of(expression, parameters)],
    };
    if key.len() > PARTS_MAX {
        let why =
            "a key has at most seven parts: choose them, `key = \"(a, (b, c), ..)\"`, or make a type of them";
        return Err(match &options.key {
            Some(expression) => Error::new_spanned(expression, why),
            None => Error::new_spanned(&signature.inputs, why),
        });
    }
    Ok(key)
}

fn part_of(expression: &Expr, parameters: &[Parameter]) -> Part {
    let number = match expression {
        Expr::Path(path) => path
            .path
            .get_ident()
            .and_then(|name| parameters.iter().position(|parameter| parameter.name == *name)),
        _ => None,
    };
    number.map_or_else(|| Part::Expression(expression.clone()), Part::Parameter)
}

/// What it returns, and whether `Ok` alone is remembered.
fn output(signature: &Signature, options: &Options) -> Result<(Type, bool)> {
    let ReturnType::Type(_, output) = &signature.output else {
        return Err(Error::new_spanned(
            &signature.ident,
            "a function that returns nothing has no answer to remember",
        ));
    };
    let refuse = |why: &str| Err(Error::new_spanned(output, why));
    if mentions(output.to_token_stream(), "impl") {
        return refuse("what is remembered needs a type with a name: not `impl Trait`");
    }
    match &**output {
        Type::Reference(reference)
            if reference.lifetime.as_ref().is_none_or(|life| life.ident != "static") =>
        {
            return refuse(
                "what is remembered owns what it is: return `String` in place of `&str`, `Arc<T>` in place of `&T`",
            );
        }
        Type::Path(path) => {
            let last = path.path.segments.last();
            let is_result = last
                .is_some_and(|last| last.ident == "Result" && !matches!(last.arguments, PathArguments::None));
            if is_result && options.result.is_none() {
                return refuse(
                    "is an `Err` to be remembered? Say `#[memoize(result)]` to remember `Ok` alone, or `result = false` for both",
                );
            }
        }
        _ => {}
    }
    Ok(((**output).clone(), options.result == Some(true)))
}

/// Whether a word stands in the code; or in a text of it, which may be a format.
fn mentions(tokens: TokenStream, name: &str) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == name,
        TokenTree::Group(group) => mentions(group.stream(), name),
        TokenTree::Literal(literal) => literal.to_string().contains(&format!("{{{name}")),
        TokenTree::Punct(_) => false,
    })
}

/// The same code with another name for `self`.
pub(crate) fn rename_self(tokens: TokenStream, name: &Ident) -> TokenStream {
    tokens
        .into_iter()
        .map(|token| match token {
            TokenTree::Ident(ident) if ident == "self" => quote!(#name),
            TokenTree::Group(group) => {
                let inside = rename_self(group.stream(), name);
                let mut renamed = proc_macro2::Group::new(group.delimiter(), inside);
                renamed.set_span(group.span());
                TokenTree::from(renamed).into()
            }
            token => token.into(),
        })
        .collect()
}
