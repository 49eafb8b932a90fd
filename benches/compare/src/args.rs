//! The command line: words in, what is wanted out, or a sentence that says what is wrong.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::{Long, Short};

pub(crate) const USAGE: &str = "\
nanotier against other caches, in one program

cargo xtask bench compare [--filter ID[,ID ..]] [--json FILE] [--quick]
    --filter ID  only rows with this id, or that begin with it; several by commas, and it may be repeated
    --json FILE  writes the rows there too
    --quick      fewer rounds, and only those rivals against whom a goal is set: under a minute
    --list       says which rows there are

cargo xtask bench tiers [--filter ID[,ID ..]] [--json FILE] [--quick]
    durable tiers against what they stand on; the same options

cargo xtask bench freshness [--filter ID[,ID ..]] [--json FILE] [--quick]
    get or compute, remembered functions, values kept fresh; the same options

cargo xtask hit-ratio ..
    another question, in the same program: `hit-ratio --help` says more

Exit status: 0 even where goals are missed; 1 if a count that must hold does not (locked instructions,
allocations or loads); 2 bad usage.
";

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) help: bool,
    pub(crate) list: bool,
    pub(crate) quick: bool,
    pub(crate) json: Option<PathBuf>,
    /// Empty: all.
    filters: Vec<String>,
}

impl Args {
    /// `words` begins with the name of the program.
    pub(crate) fn parse<I>(words: I) -> Result<Self, String>
    where
        I: IntoIterator<Item: Into<OsString>, IntoIter: 'static>,
    {
        let mut args = Self::default();
        args.read(lexopt::Parser::from_iter(words)).map_err(|error| error.to_string())?;
        Ok(args)
    }

    fn read(&mut self, mut parser: lexopt::Parser) -> Result<(), lexopt::Error> {
        while let Some(word) = parser.next()? {
            match word {
                Short('h') | Long("help") => self.help = true,
                Long("list") => self.list = true,
                Long("quick") => self.quick = true,
                Long("json") => self.json = Some(parser.value()?.into()),
                Long("filter") => self.filters.extend(listed(&mut parser)?),
                other => return Err(other.unexpected()),
            }
        }
        Ok(())
    }

    pub(crate) fn wants(&self, id: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| id.starts_with(filter.as_str()))
    }

    /// A filter that no row answers to is a typing error.
    pub(crate) fn check(&self, ids: &[&str]) -> Result<(), String> {
        match self.filters.iter().find(|filter| !ids.iter().any(|id| id.starts_with(filter.as_str()))) {
            Some(filter) => Err(format!("no row `{filter}`; there are: {}", ids.join(", "))),
            None => Ok(()),
        }
    }
}

/// An option's value: words with commas between them.
pub(crate) fn listed(parser: &mut lexopt::Parser) -> Result<Vec<String>, lexopt::Error> {
    let text = parser.value()?.to_string_lossy().into_owned();
    Ok(text.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Args, String> {
        let words: Vec<String> =
            std::iter::once("compare").chain(line.split_whitespace()).map(str::to_owned).collect();
        Args::parse(words)
    }

    #[test]
    fn filters_are_names_or_beginnings() {
        let args = parsed("--filter hot-hit,zipf-1m --filter=lru-hit").unwrap();
        let wanted = ["hot-hit-1t", "hot-hit-2t", "zipf-1m", "lru-hit"];
        assert!(wanted.iter().all(|id| args.wants(id)));
        assert!(!args.wants("facade-hot-hit-1t") && !args.wants("zipf-100k"));
        assert_eq!(args.check(&wanted), Ok(()));
        assert!(args.check(&["zipf-1m", "lru-hit"]).unwrap_err().contains("`hot-hit`"));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert!(parsed("--quik").unwrap_err().contains("--quik"));
        assert!(parsed("hot-hit").unwrap_err().contains("hot-hit"));
        assert!(parsed("--json").unwrap_err().contains("--json"));
    }
}
