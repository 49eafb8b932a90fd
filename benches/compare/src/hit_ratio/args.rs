//! The command line of `hit-ratio`: words in, what is wanted out, or a sentence that says what is wrong.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::{Long, Short};

use crate::args::listed;

pub(crate) const USAGE: &str = "\
nanotier's hit ratios next to those of other caches, and of the best that is possible

cargo xtask hit-ratio [--traces DIR] [--filter TEXT[,TEXT ..]] [--policy NAME[,NAME ..]]
                      [--threads N[,N ..]] [--json FILE] [--svg FILE] [--quick] [--what-if]
    --traces DIR    replays the files there (.u64, .txt, .trace, each also as .zst); without it, generated traces
    --filter TEXT   only traces whose name has this in it; several by commas, and it may be repeated
    --policy NAME   only these; several by commas, and it may be repeated
    --threads N     how many threads replay a trace together; several by commas (1,2,8)
    --json FILE     writes the hits of each trace, capacity, policy and number of threads there
    --svg FILE      draws the curves there rather than to target/xtask/hit-ratio.svg
    --quick         fewer requests, one thread, and only nanotier, moka, quick_cache and opt, unless named otherwise:
                    under a minute
    --what-if       instead of all that: how far off nanotier's own advice on capacities is, under each of its policies;
                    of the other options only --traces, --filter and --quick say anything to it

Exit status: 0 whatever the hit ratios are; 2 bad usage, or a trace that cannot be read.
";

/// More than any machine has processors. More is a typing error.
const THREADS_MAX: usize = 1024;

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) help: bool,
    pub(crate) quick: bool,
    pub(crate) what_if: bool,
    pub(crate) traces: Option<PathBuf>,
    pub(crate) json: Option<PathBuf>,
    pub(crate) svg: Option<PathBuf>,
    /// Each once. Empty: the usual ones.
    pub(crate) threads: Vec<usize>,
    /// Empty: all.
    filters: Vec<String>,
    /// Empty: the usual ones.
    pub(crate) policies: Vec<String>,
}

impl Args {
    /// `words` begins with the name of the command.
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
                Long("quick") => self.quick = true,
                Long("what-if") => self.what_if = true,
                Long("traces") => self.traces = Some(parser.value()?.into()),
                Long("json") => self.json = Some(parser.value()?.into()),
                Long("svg") => self.svg = Some(parser.value()?.into()),
                Long("filter") => self.filters.extend(listed(&mut parser)?),
                Long("policy") => self.policies.extend(listed(&mut parser)?),
                Long("threads") => {
                    for number in listed(&mut parser)? {
                        let threads = self::threads(&number)?;
                        if !self.threads.contains(&threads) {
                            self.threads.push(threads);
                        }
                    }
                }
                other => return Err(other.unexpected()),
            }
        }
        if self.what_if && (self.json.is_some() || self.svg.is_some()) {
            return Err("--what-if writes no file: leave --json and --svg out".into());
        }
        Ok(())
    }

    /// Whether a trace of this name was asked for.
    pub(crate) fn wants(&self, trace: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| trace.contains(filter.as_str()))
    }

    /// A filter that no trace answers to is a typing error.
    pub(crate) fn check(&self, traces: &[&str]) -> Result<(), String> {
        match self.filters.iter().find(|filter| !traces.iter().any(|trace| trace.contains(filter.as_str()))) {
            Some(filter) => Err(format!("no trace `{filter}`; there are: {}", traces.join(", "))),
            None => Ok(()),
        }
    }
}

fn threads(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|threads| (1..=THREADS_MAX).contains(threads))
        .ok_or_else(|| format!("--threads takes 1 to {THREADS_MAX}, not `{text}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Args, String> {
        let words: Vec<String> =
            std::iter::once("hit-ratio").chain(line.split_whitespace()).map(str::to_owned).collect();
        Args::parse(words)
    }

    #[test]
    fn lists_are_by_commas_and_may_be_repeated() {
        let args =
            parsed("--threads 1,8 --threads=2,8 --policy moka,opt --policy lru --filter zipf,lo").unwrap();
        assert_eq!(args.threads, [1, 8, 2]);
        assert_eq!(args.policies, ["moka", "opt", "lru"]);
        assert!(args.wants("shifting-zipf") && args.wants("loop") && !args.wants("scan"));
        assert_eq!(args.check(&["zipf", "loop", "scan"]), Ok(()));
        assert!(args.check(&["zipf", "scan"]).unwrap_err().contains("`lo`"));
    }

    #[test]
    fn files_and_folders_are_taken_as_they_are() {
        let args = parsed("--traces in --json a.json --svg=b.svg --quick").unwrap();
        assert_eq!((args.traces, args.json), (Some("in".into()), Some("a.json".into())));
        assert_eq!((args.svg, args.quick), (Some("b.svg".into()), true));
        assert!(parsed("").unwrap().wants("anything"));
        assert!(parsed("--what-if").unwrap().what_if && !parsed("").unwrap().what_if);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (line, named) in [
            ("--quik", "--quik"),
            ("zipf", "zipf"),
            ("--traces", "--traces"),
            ("--threads 0", "`0`"),
            ("--threads 1,x", "`x`"),
            ("--threads 1025", "`1025`"),
        ] {
            let error = parsed(line).expect_err(line);
            assert!(error.contains(named), "{line}: {error}");
        }
    }
}
