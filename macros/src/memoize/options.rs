//! What stands between the parentheses.

use syn::parse::{Parse, ParseStream};
use syn::{Error, Expr, ExprLit, Ident, Lit, LitBool, LitStr, Result, Token};

use crate::duration::millis;

const KNOWN: &str = "`ttl`, `stale`, `stale_on_error`, `capacity`, `key`, `result`, `name` and `configure`";

#[derive(Default)]
pub(crate) struct Options {
    /// In milliseconds, as all durations here.
    pub(crate) ttl: Option<u64>,
    pub(crate) stale: Option<u64>,
    pub(crate) stale_on_error: Option<u64>,
    pub(crate) capacity: Option<Expr>,
    pub(crate) key: Option<Expr>,
    pub(crate) result: Option<bool>,
    pub(crate) name: Option<LitStr>,
    pub(crate) configure: Option<Expr>,
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut options = Self::default();
        let mut said: Vec<Ident> = Vec::new();
        while !input.is_empty() {
            let name: Ident = input.parse()?;
            if said.contains(&name) {
                return Err(Error::new(name.span(), format!("`{name}` is said twice")));
            }
            options.say(&name, input)?;
            said.push(name);
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        let stale = said.iter().find(|name| *name == "stale" || *name == "stale_on_error");
        if let (Some(name), None) = (stale, options.ttl) {
            let why = format!("`{name}` needs a `ttl`: what is fresh for ever is never stale");
            return Err(Error::new(name.span(), why));
        }
        Ok(options)
    }
}

impl Options {
    fn say(&mut self, name: &Ident, input: ParseStream<'_>) -> Result<()> {
        match name.to_string().as_str() {
            "ttl" => self.ttl = Some(duration(name, input)?),
            "stale" => self.stale = Some(duration(name, input)?),
            "stale_on_error" => self.stale_on_error = Some(duration(name, input)?),
            "capacity" => self.capacity = Some(value(name, input, "10_000")?),
            "key" => self.key = Some(code(value(name, input, "\"(self.id, item)\"")?)?),
            "result" if input.peek(Token![=]) => {
                input.parse::<Token![=]>()?;
                self.result = Some(input.parse::<LitBool>()?.value);
            }
            "result" => self.result = Some(true),
            "name" => {
                after_equals(name, input, "\"users.price\"")?;
                self.name = Some(input.parse()?);
            }
            "configure" => self.configure = Some(value(name, input, "|cache| cache.stats(true)")?),
            _ => return Err(Error::new(name.span(), format!("`{name}` is not known here: {KNOWN} are"))),
        }
        Ok(())
    }
}

fn after_equals(name: &Ident, input: ParseStream<'_>, example: &str) -> Result<()> {
    if input.peek(Token![=]) {
        return input.parse::<Token![=]>().map(drop);
    }
    Err(Error::new(name.span(), format!("`{name}` takes a value: `{name} = {example}`")))
}

fn value(name: &Ident, input: ParseStream<'_>, example: &str) -> Result<Expr> {
    after_equals(name, input, example)?;
    input.parse()
}

fn duration(name: &Ident, input: ParseStream<'_>) -> Result<u64> {
    after_equals(name, input, "\"5m\"")?;
    let text: LitStr = input.parse().map_err(|error| {
        Error::new(error.span(), format!("`{name}` is a duration in quotes: `{name} = \"5m\"`"))
    })?;
    millis(&text.value()).map_err(|sentence| Error::new(text.span(), sentence))
}

/// Code in quotes is code as well.
fn code(expression: Expr) -> Result<Expr> {
    match &expression {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => text.parse(),
        _ => Ok(expression),
    }
}
