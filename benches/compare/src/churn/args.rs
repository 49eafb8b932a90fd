//! The command line of `churn`: words in, what is wanted out, or a sentence that says what is wrong.

use std::ffi::OsString;

use lexopt::prelude::{Long, Short};

pub(crate) const USAGE: &str = "\
how long nanotier's operations take while keys, weights and the capacity change, next to quick_cache's

cargo xtask bench churn [--seconds N] [--factor F]
    --seconds N  for so long (60)
    --factor F   how many times quick_cache's p99.99 ours may be (1.2)

Exit status: 0; 1 if a policy's p99.99 is longer than that; 2 bad usage.
";

#[derive(Debug, PartialEq)]
pub(super) struct Args {
    pub(super) help: bool,
    pub(super) seconds: u64,
    pub(super) factor: f64,
}

impl Args {
    /// `words` begins with the name of the command.
    pub(super) fn parse<I>(words: I) -> Result<Self, String>
    where
        I: IntoIterator<Item: Into<OsString>, IntoIter: 'static>,
    {
        let mut args = Self { help: false, seconds: 60, factor: 1.2 };
        args.read(lexopt::Parser::from_iter(words)).map_err(|error| error.to_string())?;
        Ok(args)
    }

    fn read(&mut self, mut parser: lexopt::Parser) -> Result<(), lexopt::Error> {
        while let Some(word) = parser.next()? {
            match word {
                Short('h') | Long("help") => self.help = true,
                Long("seconds") => {
                    let text = parser.value()?.to_string_lossy().into_owned();
                    let seconds = text.parse().ok().filter(|seconds| (1..=SECONDS_MAX).contains(seconds));
                    self.seconds =
                        seconds.ok_or_else(|| format!("--seconds takes 1 to {SECONDS_MAX}, not `{text}`"))?;
                }
                Long("factor") => {
                    let text = parser.value()?.to_string_lossy().into_owned();
                    let factor = text.parse().ok().filter(|factor: &f64| factor.is_finite() && *factor > 0.0);
                    self.factor =
                        factor.ok_or_else(|| format!("--factor takes a number above 0, not `{text}`"))?;
                }
                other => return Err(other.unexpected()),
            }
        }
        Ok(())
    }
}

/// A day. Longer is a typing error.
const SECONDS_MAX: u64 = 24 * 60 * 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Args, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Args::parse(words)
    }

    #[test]
    fn a_minute_and_a_fifth_more_unless_told_otherwise() {
        assert_eq!(parsed("churn"), Ok(Args { help: false, seconds: 60, factor: 1.2 }));
        assert_eq!(
            parsed("churn --seconds 10 --factor=2"),
            Ok(Args { help: false, seconds: 10, factor: 2.0 })
        );
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert!(parsed("churn --seconds 0").unwrap_err().contains("`0`"));
        assert!(parsed("churn --factor x").unwrap_err().contains("`x`"));
        assert!(parsed("churn --quick").unwrap_err().contains("--quick"));
    }
}
