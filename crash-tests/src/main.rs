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
//! | `power` | cuts the power of the file system they live on: [`power`]; as root |
//! | `faults` | fills the disk under a cache, makes it read-only, removes and damages files: [`faults`] |
//! | `planted` | does the same to stores with a bug each, and fails if one is not noticed: [`planted`] |
//! | `all` | all of it, and a table |
//!
//! Every random choice comes from a seed, which is printed; what fails says how to have it again and leaves the store as the crash left it.
#![forbid(unsafe_code)]

mod args;
mod faults;
mod inject;
mod kill;
mod kind;
mod look;
mod model;
mod mounts;
mod note;
mod planted;
mod power;
mod queued;
mod random;
mod report;
mod service;
mod shared;
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
        args::Command::Test(wanted) => {
            mounts::enter_namespace();
            Ok(test(&wanted))
        }
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
        Child::Limited { kind, folder } => faults::be_limited(kind, &folder),
        Child::Serve { kind, folder } => inject::serve(kind, &folder),
        Child::Share { kind, folder, who } => shared::share(kind, &folder, who),
        Child::Damage { kind, folder, seed, flips, from } => {
            faults::be_damaged(kind, &folder, seed, flips, from)
        }
        Child::Look { kind, folder } => look::tell_what_is_there(kind, &folder),
    }
}

fn test(wanted: &Wanted) -> bool {
    println!("seed {}", wanted.seed);
    let mut report = Report::default();
    for what in &wanted.what {
        match what {
            What::Kill => kill_all(wanted, &mut report),
            What::Power => cut_all(wanted, &mut report),
            What::Faults => mistreat_all(wanted, &mut report),
            What::Planted => plant_all(wanted, &mut report),
        }
    }
    report.finish()
}

fn kill_all(wanted: &Wanted, report: &mut Report) {
    for kind in wanted.kinds() {
        let cycles = match kind.mode {
            Mode::Sync => wanted.cycles,
            // Each of its cycles has ten times the writes.
            Mode::Async => (wanted.cycles / 2).max(kill::BLOCK),
        };
        let plan = kill::Plan { cycles, seed: wanted.seed, jobs: wanted.jobs, block: wanted.block };
        report.say(&format!("kill -9 of {kind}, {} cycles", plan.cycles));
        let counts = kill::run(kind, &plan);
        report.crashed("kill", kind, &plan, counts);
    }
}

fn cut_all(wanted: &Wanted, report: &mut Report) {
    let cycles = wanted.cuts.unwrap_or_else(|| (wanted.cycles / 10).max(kill::BLOCK));
    for kind in wanted.kinds() {
        if let Some(why) = mounts::missing() {
            report.left_out(&format!("{cycles} power cuts of {kind}"), &why);
            continue;
        }
        let plan = kill::Plan { cycles, seed: wanted.seed, jobs: wanted.jobs, block: wanted.block };
        report.say(&format!("power cuts of {kind}, {cycles}"));
        let counts = power::run(kind, &plan);
        report.crashed("power", kind, &plan, counts);
    }
}

fn mistreat_all(wanted: &Wanted, report: &mut Report) {
    let measure = faults::Measure {
        seed: wanted.seed,
        flips: wanted.flips.unwrap_or(wanted.cycles * FLIPS_PER_CYCLE),
        jobs: wanted.jobs,
    };
    for kind in wanted.kinds().into_iter().filter(|kind| kind.has_one_disk()) {
        report.say(&format!("{kind} without its disk"));
        for test in faults::TESTS {
            match test.needs.missing() {
                Some(why) => report.left_out(&format!("{} under {kind}", test.name), &why),
                None => {
                    let found = faults::no_panic(test.name, || (test.run)(kind, &measure));
                    report.mistreated(kind, test.name, found, wanted.seed);
                }
            }
        }
    }
}

/// Each bug in one tier, where it can be: the bugs are around the store, and who is to notice them is the same for all.
fn plant_all(wanted: &Wanted, report: &mut Report) {
    let kinds = wanted.kinds();
    let first = kinds.first().map(|kind| kind.tier);
    for kind in kinds.into_iter().filter(|kind| Some(kind.tier) == first) {
        report.say(&format!("bugs planted in {kind}"));
        for bug in Bug::ALL {
            // In an asynchronous store only the order counts, and there alone it may be told from what was lost.
            if (kind.mode == Mode::Async) != (bug == Bug::Reorders) {
                continue;
            }
            let kind = kind.with(bug);
            let plan =
                kill::Plan { cycles: PLANTED_CYCLES, seed: wanted.seed, jobs: wanted.jobs, block: None };
            match bug {
                Bug::SwallowsErrors if faults::Need::Limits.missing().is_some() => {
                    report.left_out(&kind.to_string(), "it needs `prlimit`");
                }
                Bug::SwallowsErrors => {
                    let found = faults::no_panic("size limit", || faults::full_by_limit(kind));
                    report.planted(kind, found.tried, found.faults.first().map(String::as_str));
                }
                // What a shared store acknowledges is in the system's hands, so that others see it: kill -9 cannot take it away.
                Bug::AcknowledgesEarly if kind.is_shared() => {
                    match mounts::missing().or_else(inject::missing) {
                        Some(why) => report.left_out(&kind.to_string(), &why),
                        None => report.planted_crashes(kind, &power::run(kind, &plan)),
                    }
                }
                Bug::NeverSyncs => match mounts::missing().or_else(inject::missing) {
                    Some(why) => report.left_out(&kind.to_string(), &why),
                    None => report.planted_crashes(kind, &power::run(kind, &plan)),
                },
                _ => report.planted_crashes(kind, &kill::run(kind, &plan)),
            }
        }
    }
}

/// They are quick.
const FLIPS_PER_CYCLE: u64 = 5;
/// A bug that so many crashes do not bring to light is one that they cannot find.
const PLANTED_CYCLES: u64 = 60;

/// This program, to be started once more: its file may have been replaced since it began.
pub(crate) fn this_program() -> Command {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    Command::new(PROGRAM.get_or_init(|| std::env::current_exe().unwrap_or_else(|_| "crash".into())))
}
