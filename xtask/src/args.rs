//! The command line: words in, a [`Command`] out, or a sentence that says what is wrong.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::{Long, Short, Value};

pub(crate) const USAGE: &str = "\
nanotier's own commands

cargo xtask test [--quick] [--install] [--lane NAME ..] [--list]
    Runs every lane, or those named, and ends with a table and a line `N passed, N failed`.
    --quick      only style and unit: under three minutes once built
    --lane NAME  only this one; several names may follow, and the option may be repeated
    --list       says which lanes there are, what each proves and whether its tools are here
    --install    installs missing tools; without it only root with CI=1 does so

cargo xtask soak [--minutes N]
    Schedules, races at full speed, churn, fuzzing and crashes in turn for N minutes (60), then the same table.

cargo xtask conformance
    Every tier, its values shaped in every way, held to the contract: a table of requirements and what keeps each, and counts.

cargo xtask bench compare [--filter ID[,ID ..]] [--json FILE] [--quick]
    nanotier against other caches, in one program: a table of ratios, and of the goals they are held against.
    --filter ID  only rows with this id, or that begin with it; several by commas, and it may be repeated
    --json FILE  writes the rows there too
    --quick      fewer rounds and fewer rivals: under a minute once built, and less sure of itself

cargo xtask bench tiers [--filter ID[,ID ..]] [--json FILE] [--quick]
    Durable tiers against the engines beneath them, used well: the same table, and where there is a C compiler also
    with a disk whose flush takes a millisecond more. On the disk of temporary files, or of NANOTIER_BENCH_DIR.
    Options as above.

cargo xtask bench freshness [--filter ID[,ID ..]] [--json FILE] [--quick]
    Get or compute, stampedes, stale values that are refreshed behind, against other caches: the same table. Options as above.

cargo xtask bench churn [--seconds N] [--factor F]
    How long single operations take while keys, weights and the capacity change, next to quick_cache's.
    --seconds N  for so long (60)
    --factor F   how many times quick_cache's p99.99 ours may be (1.2): else the exit status is 1

cargo xtask hit-ratio [--traces DIR] [--filter TEXT[,TEXT ..]] [--policy NAME[,NAME ..]]
                      [--threads N[,N ..]] [--json FILE] [--svg FILE] [--quick] [--what-if]
    How often nanotier, other caches and the best possible one have what they are asked for: tables and curves.
    --traces DIR   replays the files there, not those of folders in it: .u64 (little-endian, 8 bytes a key), .txt and
                   .trace (a key a line), each also as .zst; without it, generated traces
    --filter TEXT  only traces whose name has this in it; several by commas, and it may be repeated
    --policy NAME  only these, as --filter
    --threads N    how many threads replay a trace together; several by commas (1,2,8)
    --json FILE    writes the hits there too
    --svg FILE     draws the curves there rather than to target/xtask/hit-ratio.svg
    --quick        fewer requests, one thread and fewer rivals: under a minute once built
    --what-if      instead: how far off nanotier's own advice on capacities is, for each trace and capacity

cargo xtask help
    This text.

Exit status: 0 all passed, 1 something failed, 2 bad usage, 3 nothing failed but something was NOT RUN.
A comparison misses its goals with 0; only counts that do not hold (locks, allocations, loads) make it 1.
Output of each lane: target/xtask/<lane>.log
";

/// A day. Longer is a typing error.
const MINUTES_MAX: u32 = 24 * 60;
const MINUTES_DEFAULT: u32 = 60;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    Test(Test),
    Soak { minutes: u32 },
    Conformance,
    Compare(Compare),
    Tiers(Compare),
    Freshness(Compare),
    Churn(Churn),
    HitRatio(HitRatio),
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Test {
    pub(crate) quick: bool,
    pub(crate) install: bool,
    pub(crate) list: bool,
    /// Empty: all.
    pub(crate) lanes: Vec<String>,
}

/// What `bench compare`, `bench tiers` and `bench freshness` are told, to be handed on: the program knows its rows, we do not.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Compare {
    pub(crate) quick: bool,
    pub(crate) json: Option<PathBuf>,
    /// Empty: all rows.
    pub(crate) filters: Vec<String>,
}

/// What `bench churn` is told, to be handed on likewise, words and all.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Churn {
    pub(crate) seconds: Option<String>,
    pub(crate) factor: Option<String>,
}

/// What `hit-ratio` is told, to be handed on likewise.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct HitRatio {
    pub(crate) quick: bool,
    pub(crate) what_if: bool,
    pub(crate) traces: Option<PathBuf>,
    pub(crate) json: Option<PathBuf>,
    pub(crate) svg: Option<PathBuf>,
    pub(crate) threads: Vec<String>,
    /// Empty: all traces.
    pub(crate) filters: Vec<String>,
    /// Empty: all policies.
    pub(crate) policies: Vec<String>,
}

/// `words` begins with the name of the program.
pub(crate) fn parse<I>(words: I) -> Result<Command, String>
where
    I: IntoIterator<Item: Into<OsString>, IntoIter: 'static>,
{
    let mut parser = lexopt::Parser::from_iter(words);
    command(&mut parser).map_err(|error| error.to_string())
}

fn command(parser: &mut lexopt::Parser) -> Result<Command, lexopt::Error> {
    match parser.next()? {
        None => Err("a command is missing: test, soak, conformance, bench, hit-ratio or help".into()),
        Some(Short('h') | Long("help")) => Ok(Command::Help),
        Some(Value(word)) => match word.to_str() {
            Some("help") => Ok(Command::Help),
            Some("test") => test(parser),
            Some("soak") => soak(parser),
            Some("conformance") => match parser.next()? {
                None => Ok(Command::Conformance),
                Some(Short('h') | Long("help")) => Ok(Command::Help),
                Some(other) => Err(other.unexpected()),
            },
            Some("bench") => bench(parser),
            Some("hit-ratio") => hit_ratio(parser),
            _ => Err(format!(
                "unknown command `{}`: test, soak, conformance, bench, hit-ratio or help",
                word.to_string_lossy()
            )
            .into()),
        },
        Some(option) => Err(option.unexpected()),
    }
}

fn test(parser: &mut lexopt::Parser) -> Result<Command, lexopt::Error> {
    let mut test = Test::default();
    while let Some(word) = parser.next()? {
        match word {
            Long("quick") => test.quick = true,
            Long("install") => test.install = true,
            Long("list") => test.list = true,
            Long("lane") => {
                for name in parser.values()? {
                    test.lanes.push(name.to_string_lossy().into_owned());
                }
            }
            Short('h') | Long("help") => return Ok(Command::Help),
            other => return Err(other.unexpected()),
        }
    }
    if test.quick && !test.lanes.is_empty() {
        return Err("--quick already names its lanes: leave out --quick or --lane".into());
    }
    Ok(Command::Test(test))
}

fn soak(parser: &mut lexopt::Parser) -> Result<Command, lexopt::Error> {
    let mut minutes = MINUTES_DEFAULT;
    while let Some(word) = parser.next()? {
        match word {
            Long("minutes") => {
                let value = parser.value()?;
                minutes = value
                    .to_str()
                    .and_then(|text| text.parse().ok())
                    .filter(|minutes| (1..=MINUTES_MAX).contains(minutes))
                    .ok_or_else(|| {
                        format!("--minutes takes 1 to {MINUTES_MAX}, not `{}`", value.to_string_lossy())
                    })?;
            }
            Short('h') | Long("help") => return Ok(Command::Help),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Command::Soak { minutes })
}

fn bench(parser: &mut lexopt::Parser) -> Result<Command, lexopt::Error> {
    match parser.next()? {
        Some(Value(word)) if word == "compare" => compare(parser, Command::Compare),
        Some(Value(word)) if word == "tiers" => compare(parser, Command::Tiers),
        Some(Value(word)) if word == "freshness" => compare(parser, Command::Freshness),
        Some(Value(word)) if word == "churn" => churn(parser),
        Some(Short('h') | Long("help")) => Ok(Command::Help),
        Some(Value(word)) => {
            Err(format!("unknown benchmark `{}`: compare, tiers, freshness or churn", word.to_string_lossy())
                .into())
        }
        Some(option) => Err(option.unexpected()),
        None => Err("which benchmark? compare, tiers, freshness or churn".into()),
    }
}

fn compare(parser: &mut lexopt::Parser, command: fn(Compare) -> Command) -> Result<Command, lexopt::Error> {
    let mut compare = Compare::default();
    while let Some(word) = parser.next()? {
        match word {
            Long("quick") => compare.quick = true,
            Long("json") => compare.json = Some(parser.value()?.into()),
            Long("filter") => compare.filters.push(parser.value()?.to_string_lossy().into_owned()),
            Short('h') | Long("help") => return Ok(Command::Help),
            other => return Err(other.unexpected()),
        }
    }
    Ok(command(compare))
}

fn churn(parser: &mut lexopt::Parser) -> Result<Command, lexopt::Error> {
    let mut churn = Churn::default();
    while let Some(word) = parser.next()? {
        match word {
            Long("seconds") => churn.seconds = Some(parser.value()?.to_string_lossy().into_owned()),
            Long("factor") => churn.factor = Some(parser.value()?.to_string_lossy().into_owned()),
            Short('h') | Long("help") => return Ok(Command::Help),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Command::Churn(churn))
}

fn hit_ratio(parser: &mut lexopt::Parser) -> Result<Command, lexopt::Error> {
    let mut wanted = HitRatio::default();
    while let Some(word) = parser.next()? {
        match word {
            Long("quick") => wanted.quick = true,
            Long("what-if") => wanted.what_if = true,
            Long("traces") => wanted.traces = Some(parser.value()?.into()),
            Long("json") => wanted.json = Some(parser.value()?.into()),
            Long("svg") => wanted.svg = Some(parser.value()?.into()),
            Long("threads") => wanted.threads.push(parser.value()?.to_string_lossy().into_owned()),
            Long("filter") => wanted.filters.push(parser.value()?.to_string_lossy().into_owned()),
            Long("policy") => wanted.policies.push(parser.value()?.to_string_lossy().into_owned()),
            Short('h') | Long("help") => return Ok(Command::Help),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Command::HitRatio(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        let words: Vec<String> =
            std::iter::once("xtask").chain(line.split_whitespace()).map(str::to_owned).collect();
        parse(words)
    }

    #[test]
    fn options_of_test_are_read_in_any_order() {
        let lanes = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(parsed("test"), Ok(Command::Test(Test::default())));
        assert_eq!(parsed("test --quick"), Ok(Command::Test(Test { quick: true, ..Test::default() })));
        assert_eq!(
            parsed("test --lane fuzz crash --install --lane=unit --list"),
            Ok(Command::Test(Test {
                quick: false,
                install: true,
                list: true,
                lanes: lanes(&["fuzz", "crash", "unit"])
            }))
        );
    }

    #[test]
    fn soak_lasts_an_hour_unless_told_otherwise() {
        assert_eq!(parsed("soak"), Ok(Command::Soak { minutes: 60 }));
        assert_eq!(parsed("soak --minutes 5"), Ok(Command::Soak { minutes: 5 }));
        assert_eq!(parsed("soak --minutes=1440"), Ok(Command::Soak { minutes: 1440 }));
    }

    #[test]
    fn what_a_comparison_is_told_is_handed_on() {
        assert_eq!(parsed("bench compare"), Ok(Command::Compare(Compare::default())));
        assert_eq!(parsed("bench tiers"), Ok(Command::Tiers(Compare::default())));
        assert_eq!(parsed("bench freshness"), Ok(Command::Freshness(Compare::default())));
        assert_eq!(
            parsed("bench compare --json out.json --filter hot,zipf-1m --quick --filter=lru-hit"),
            Ok(Command::Compare(Compare {
                quick: true,
                json: Some("out.json".into()),
                filters: vec!["hot,zipf-1m".to_owned(), "lru-hit".to_owned()],
            }))
        );
    }

    #[test]
    fn what_churn_is_told_is_handed_on() {
        assert_eq!(parsed("bench churn"), Ok(Command::Churn(Churn::default())));
        assert_eq!(
            parsed("bench churn --seconds 10 --factor=2"),
            Ok(Command::Churn(Churn { seconds: Some("10".to_owned()), factor: Some("2".to_owned()) }))
        );
    }

    #[test]
    fn what_hit_ratios_are_wanted_is_handed_on() {
        assert_eq!(parsed("hit-ratio"), Ok(Command::HitRatio(HitRatio::default())));
        assert_eq!(
            parsed(
                "hit-ratio --traces in --filter arc --policy opt,lru --threads 1,8 --policy=moka \
                 --json a.json --svg b.svg --quick --what-if"
            ),
            Ok(Command::HitRatio(HitRatio {
                quick: true,
                what_if: true,
                traces: Some("in".into()),
                json: Some("a.json".into()),
                svg: Some("b.svg".into()),
                threads: vec!["1,8".to_owned()],
                filters: vec!["arc".to_owned()],
                policies: vec!["opt,lru".to_owned(), "moka".to_owned()],
            }))
        );
    }

    #[test]
    fn help_is_found_wherever_it_is_looked_for() {
        for line in [
            "help",
            "--help",
            "-h",
            "test --help",
            "soak -h",
            "bench --help",
            "bench compare -h",
            "bench churn -h",
            "hit-ratio --help",
        ] {
            assert_eq!(parsed(line), Ok(Command::Help), "{line}");
        }
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (line, named) in [
            ("", "command is missing"),
            ("tset", "tset"),
            ("--quick", "--quick"),
            ("test --quik", "--quik"),
            ("test fuzz", "fuzz"),
            ("test --lane", "--lane"),
            ("test --quick=yes", "yes"),
            ("test --quick --lane fuzz", "--quick"),
            ("soak --minutes", "--minutes"),
            ("soak --minutes 0", "`0`"),
            ("soak --minutes 1441", "`1441`"),
            ("soak --minutes ten", "`ten`"),
            ("soak 5", "5"),
            ("conformance redb", "redb"),
            ("bench", "compare"),
            ("bench hit", "`hit`"),
            ("bench --quick", "--quick"),
            ("bench compare hot-hit-1t", "hot-hit-1t"),
            ("bench compare --json", "--json"),
            ("bench churn --quick", "--quick"),
            ("hit-ratio zipf", "zipf"),
            ("hit-ratio --traces", "--traces"),
            ("hit-ratio --install", "--install"),
        ] {
            let error = parsed(line).expect_err(line);
            assert!(error.contains(named), "{line}: {error}");
        }
    }
}
