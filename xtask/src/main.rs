//! nanotier's own commands, run as `cargo xtask ..`.
//!
//! `test` answers "does everything still hold?" and `soak` asks the same for longer. Both are made of lanes
//! ([`lane`]), listed in one table ([`lanes`]). A lane cannot pass by accident: it has a time box, its output is
//! counted ([`counts`]), and what should have run and did not is a failure or is reported as NOT RUN.
//! `conformance` shows which requirement each tier keeps. `bench compare` ([`mod@bench`]) says how fast it all is, next to others, `bench churn` how long the slowest takes, and `hit-ratio` how often it has what it
//! is asked for.
#![forbid(unsafe_code)]

#[cfg(not(unix))]
compile_error!("the lanes are run in process groups: use a Unix, WSL included");

mod args;
mod bench;
mod conformance;
mod counts;
mod lane;
mod lanes;
mod process;
mod report;
mod soak;
mod tools;
mod workspace;

use std::process::ExitCode;
use std::time::Duration;

use args::{Command, Test};
use lane::Lane;
use process::Live;
use tools::Toolbox;
use workspace::Workspace;

fn main() -> ExitCode {
    let done = args::parse(std::env::args_os()).and_then(|command| match command {
        Command::Help => {
            print!("{}", args::USAGE);
            Ok(ExitCode::SUCCESS)
        }
        Command::Test(wanted) => test(&Workspace::open()?, &wanted),
        Command::Soak { minutes } => soak(&Workspace::open()?, minutes),
        Command::Conformance => conformance::run(&Workspace::open()?),
        Command::Compare(wanted) => bench::compare(&Workspace::open()?, &wanted),
        Command::Tiers(wanted) => bench::tiers(&Workspace::open()?, &wanted),
        Command::Freshness(wanted) => bench::freshness(&Workspace::open()?, &wanted),
        Command::Churn(wanted) => bench::churn(&Workspace::open()?, &wanted),
        Command::HitRatio(wanted) => bench::hit_ratio(&Workspace::open()?, &wanted),
    });
    done.unwrap_or_else(|error| {
        eprintln!("error: {error}\n`cargo xtask help` says what there is.");
        ExitCode::from(report::EXIT_BAD_USAGE)
    })
}

fn test(workspace: &Workspace, wanted: &Test) -> Result<ExitCode, String> {
    let present: Vec<&Lane> = lanes::LANES.iter().filter(|lane| (lane.present)(workspace)).collect();
    let chosen = choose(&present, wanted)?;
    let mut toolbox = Toolbox::new(workspace, wanted.install, Live::Terminal);
    if wanted.list {
        print!("{}", report::list(&chosen, &mut toolbox));
        return Ok(ExitCode::SUCCESS);
    }
    let reports: Vec<_> =
        chosen.iter().map(|lane| lane.run(workspace, &mut toolbox, Live::Terminal)).collect();
    Ok(report::finish(&reports))
}

fn soak(workspace: &Workspace, minutes: u32) -> Result<ExitCode, String> {
    let mut toolbox = Toolbox::new(workspace, false, Live::Terminal);
    let time = Duration::from_secs(u64::from(minutes) * 60);
    Ok(report::finish(&soak::run(workspace, &mut toolbox, time)?))
}

/// In the order of the table, each once, whatever the order on the command line.
fn choose<'a>(present: &[&'a Lane], wanted: &Test) -> Result<Vec<&'a Lane>, String> {
    for name in &wanted.lanes {
        if !present.iter().any(|lane| lane.name == name) {
            let names: Vec<_> = present.iter().map(|lane| lane.name).collect();
            return Err(format!("no lane `{name}` in this workspace; there are: {}", names.join(", ")));
        }
    }
    let is_wanted = |lane: &Lane| {
        if wanted.quick {
            lane.quick
        } else {
            wanted.lanes.is_empty() || wanted.lanes.iter().any(|n| n == lane.name)
        }
    };
    Ok(present.iter().copied().filter(|lane| is_wanted(lane)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(lanes: &[&str], quick: bool) -> Test {
        Test { lanes: lanes.iter().map(ToString::to_string).collect(), quick, ..Test::default() }
    }

    fn chosen(wanted: &Test) -> Result<Vec<&'static str>, String> {
        let all: Vec<&Lane> = lanes::LANES.iter().collect();
        Ok(choose(&all, wanted)?.iter().map(|lane| lane.name).collect())
    }

    #[test]
    fn quick_is_style_and_unit() {
        assert_eq!(chosen(&wanted(&[], true)).unwrap(), ["style", "unit"]);
    }

    #[test]
    fn named_lanes_run_once_and_in_the_order_of_the_table() {
        assert_eq!(chosen(&wanted(&["fuzz", "style", "fuzz"], false)).unwrap(), ["style", "fuzz"]);
        assert_eq!(chosen(&wanted(&[], false)).unwrap().len(), lanes::LANES.len());
    }

    #[test]
    fn an_unknown_lane_is_named_along_with_the_known_ones() {
        let error = chosen(&wanted(&["stile"], false)).unwrap_err();
        assert!(error.contains("`stile`") && error.contains("style, unit"), "{error}");
    }
}
