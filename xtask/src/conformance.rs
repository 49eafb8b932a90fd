//! `conformance`: which requirement each tier keeps, shown as it is found. The test that finds it is also one of the lane `unit`.

use std::process::{Command, ExitCode};

use crate::report;
use crate::workspace::Workspace;

/// Its exit status is the answer.
pub(crate) fn run(workspace: &Workspace) -> Result<ExitCode, String> {
    let status = command(workspace).status().map_err(|error| format!("cargo test: {error}"))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::from(report::EXIT_FAILED) })
}

fn command(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo();
    command.args([
        "test",
        "--locked",
        "--quiet",
        "-p",
        "nanotier",
        // With the tiers that a plain `cargo test` leaves out.
        "--features",
        "sqlite",
        "--test",
        "conformance",
        "--",
        "--nocapture",
    ]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_finds_is_shown() {
        let command = command(&Workspace::pretend("root", "root/target", &[]));
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        assert!(words.join(" ").ends_with("--test conformance -- --nocapture"), "{words:?}");
    }
}
