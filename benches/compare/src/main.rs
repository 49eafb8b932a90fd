//! nanotier against other caches, in one program: what it costs, `cargo xtask bench compare`, and how often it
//! has what it is asked for, `cargo xtask hit-ratio` ([`hit_ratio`]); and how long the slowest of its operations take,
//! `cargo xtask bench churn` ([`mod@churn`]).
//!
//! A row ([`rows`]) makes the same loop for each contender ([`contender`]), compiled for it, and lets them
//! run in turn, round after round ([`race`]). Each round gives a ratio; their median is held against the goal
//! ([`goals`], [`judge`]).

mod args;
mod bench;
mod churn;
mod contender;
mod crew;
mod goals;
mod hit_ratio;
mod judge;
mod meter;
mod race;
mod report;
mod rows;
mod workload;

use std::ffi::OsString;
use std::process::ExitCode;

use nanotier_counting::SwitchedAllocator;

use args::Args;
use bench::Bench;
use goals::Question;

/// Counts only in rows that ask for it: everywhere else it must not cost anything.
#[global_allocator]
static ALLOCATOR: SwitchedAllocator = SwitchedAllocator;

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("error: {error}\n`--help` says what there is.");
        ExitCode::from(EXIT_BAD_USAGE)
    })
}

fn run() -> Result<ExitCode, String> {
    let words: Vec<OsString> = std::env::args_os().collect();
    if words.get(1).is_some_and(|word| word == hit_ratio::COMMAND) {
        return hit_ratio::run(words.into_iter().skip(1));
    }
    if words.get(1).is_some_and(|word| word == churn::COMMAND) {
        return churn::run(words.into_iter().skip(1));
    }
    if let [_, word, name] = &words[..]
        && word == rows::memory::COMMAND
    {
        return rows::memory::answer(&name.to_string_lossy());
    }
    #[cfg(feature = "tiers")]
    if words.get(1).is_some_and(|word| word == TIERS) {
        if let Some(ran) = rows::tiers::slow::again() {
            return ran;
        }
        return ask(Args::parse(words.into_iter().skip(1))?, rows::tiers::ROWS, goals::tiers::QUESTIONS);
    }
    #[cfg(feature = "freshness")]
    if words.get(1).is_some_and(|word| word == FRESHNESS) {
        return ask(
            Args::parse(words.into_iter().skip(1))?,
            rows::freshness::ROWS,
            goals::freshness::QUESTIONS,
        );
    }
    ask(Args::parse(words)?, rows::ROWS, goals::QUESTIONS)
}

/// Runs those of `rows` that are wanted, and says what came out.
fn ask(args: Args, rows: &[(&str, rows::Run)], questions: &'static [Question]) -> Result<ExitCode, String> {
    if args.help {
        print!("{}", args::USAGE);
        return Ok(ExitCode::SUCCESS);
    }
    let ids: Vec<&str> = rows.iter().map(|(id, _)| *id).collect();
    args.check(&ids)?;
    let wanted = rows.iter().filter(|(id, _)| args.wants(id));
    let mut bench = Bench::new(args.quick, questions);
    if args.list {
        for (id, _) in wanted {
            println!("{id:<24} {}", bench.question(id).what);
        }
        return Ok(ExitCode::SUCCESS);
    }
    for (_, run) in wanted {
        run(&mut bench);
    }
    bench.progress.end();
    report::finish(&bench, args.json.as_deref())?;
    let has_failed = bench.rows.iter().any(|row| row.strict && row.pass == Some(false));
    Ok(if has_failed { ExitCode::from(EXIT_FAILED) } else { ExitCode::SUCCESS })
}

#[cfg(feature = "freshness")]
const FRESHNESS: &str = "freshness";
#[cfg(feature = "tiers")]
const TIERS: &str = "tiers";
const EXIT_FAILED: u8 = 1;
const EXIT_BAD_USAGE: u8 = 2;
