//! Ends processes, cuts the power and takes away the disk under nanotier's durable tiers, and checks what is left.
//!
//! ```sh
//! cargo run --release -p nanotier-crash-tests -- all
//! cargo run --release -p nanotier-crash-tests -- kill --kind redb-async --cycles 1000
//! ```
//!
//! | command | does |
//! |---|---|
//! | `kill` | kills writers with SIGKILL, opens in a fresh process, compares with what was told: [`kill`] |
//! | `planted` | does the same to stores with a bug each, and fails if one is not noticed: [`planted`] |
//! | `all` | all of it, and a table |
//!
//! Every random choice comes from a seed, which is printed; what fails says how to have it again and leaves the store as the crash left it.
#![forbid(unsafe_code)]

mod args;
mod kill;
mod kind;
mod look;
mod model;
mod note;
mod planted;
mod random;
mod report;
mod workload;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::OnceLock;

use args::{Child, Wanted, What};
use kind::Mode;
use planted::Bug;
use report::Report;

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

fn main() -> ExitCode {
    let done = args::parse(std::env::args_os()).and_then(|command| match command {
        args::Command::Child(child) => be(child).map(|()| true),
        args::Command::Test(wanted) => Ok(test(&wanted)),
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("crash: {error}");
            ExitCode::FAILURE
        }
    }
}

fn be(child: Child) -> Result<()> {
    match child {
        Child::Write { kind, folder, seed, first_version } => {
            workload::write_until_killed(kind, &folder, seed, first_version)
        }
        Child::Open { kind, folder } => look::open_until_killed(kind, &folder),
        Child::Look { kind, folder } => look::tell_what_is_there(kind, &folder),
    }
}

fn test(wanted: &Wanted) -> bool {
    println!("seed {}", wanted.seed);
    let mut report = Report::default();
    for what in &wanted.what {
        match what {
            What::Kill => kill_all(wanted, &mut report),
            What::Planted => plant_all(wanted, &mut report),
        }
    }
    report.finish()
}

fn kill_all(wanted: &Wanted, report: &mut Report) {
    for kind in wanted.kinds() {
        let plan =
            kill::Plan { cycles: wanted.cycles, seed: wanted.seed, jobs: wanted.jobs, block: wanted.block };
        report.say(&format!("kill -9 of {kind}, {} cycles", plan.cycles));
        let counts = kill::run(kind, &plan);
        report.killed(kind, &plan, counts);
    }
}

/// Each bug in each synchronous tier, one that only an asynchronous one could have in those.
fn plant_all(wanted: &Wanted, report: &mut Report) {
    for kind in wanted.kinds() {
        for bug in Bug::ALL {
            if (kind.mode == Mode::Async) != (bug == Bug::Reorders) {
                continue;
            }
            let planted = kind.with(bug);
            let plan =
                kill::Plan { cycles: PLANTED_CYCLES, seed: wanted.seed, jobs: wanted.jobs, block: None };
            let counts = kill::run(planted, &plan);
            report.planted(planted, counts);
        }
    }
}

/// A bug that so many crashes do not bring to light is one that they cannot find.
const PLANTED_CYCLES: u64 = 60;

/// This program, to be started once more: its file may have been replaced since it began.
pub(crate) fn this_program() -> Command {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    Command::new(PROGRAM.get_or_init(|| std::env::current_exe().unwrap_or_else(|_| "crash".into())))
}
