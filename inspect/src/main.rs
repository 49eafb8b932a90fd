//! `nanotier-inspect PATH [COMMAND]`: what a durable tier holds, for somebody who looks while its service is down.
//!
//! To look changes nothing: a redb file is opened read-only, no mark is set and nothing is repaired; one that was not closed properly is looked at
//! in a repaired copy, SQLite and file stores always in a copy. Only `delete` writes, and it writes as a service would: a tombstone with a version above what is held.
#![forbid(unsafe_code)]

mod args;
mod commands;
mod kinds;
mod text;

use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let told = args::parse(lexopt::Parser::from_env()).and_then(|args| match args {
        args::Asked::Help => Ok(args::HELP.to_owned()),
        args::Asked::Do(job) => commands::run(&job),
    });
    match told {
        Ok(text) => {
            // Whoever reads may have seen enough: a closed pipe is no failure.
            let _ = std::io::stdout().lock().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "nanotier-inspect: {why}");
            ExitCode::FAILURE
        }
    }
}
