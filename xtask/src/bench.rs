//! `bench compare`, `bench tiers`, `bench freshness`, `bench churn` and `hit-ratio`: build the comparison with other caches, which is a
//! workspace of its own, and run it.
//!
//! Unlike a lane it is not timed, logged or counted here: it draws on the terminal itself, and its answer is
//! the table.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::args::{Churn, Compare, HitRatio};
use crate::report;
use crate::workspace::Workspace;

pub(crate) fn compare(workspace: &Workspace, wanted: &Compare) -> Result<ExitCode, String> {
    run(workspace, compare_command(workspace, wanted)?)
}

pub(crate) fn tiers(workspace: &Workspace, wanted: &Compare) -> Result<ExitCode, String> {
    run(workspace, apart(workspace, "tiers", wanted)?)
}

pub(crate) fn freshness(workspace: &Workspace, wanted: &Compare) -> Result<ExitCode, String> {
    run(workspace, apart(workspace, "freshness", wanted)?)
}

pub(crate) fn churn(workspace: &Workspace, wanted: &Churn) -> Result<ExitCode, String> {
    run(workspace, churn_command(workspace, wanted))
}

pub(crate) fn hit_ratio(workspace: &Workspace, wanted: &HitRatio) -> Result<ExitCode, String> {
    run(workspace, hit_ratio_command(workspace, wanted)?)
}

/// Its exit status is ours.
fn run(workspace: &Workspace, mut command: Command) -> Result<ExitCode, String> {
    if !workspace.has(MANIFEST) {
        return Err(format!("this workspace has no {MANIFEST}"));
    }
    let status = command.status().map_err(|error| format!("cargo run: {error}"))?;
    // Ended by a signal: it has no status of its own.
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(report::EXIT_FAILED);
    Ok(ExitCode::from(code))
}

fn compare_command(workspace: &Workspace, wanted: &Compare) -> Result<Command, String> {
    let mut command = program(workspace, &[]);
    add_rows(&mut command, wanted)?;
    Ok(command)
}

/// Rows with a feature of their name: what they stand on is built for them alone.
fn apart(workspace: &Workspace, rows: &str, wanted: &Compare) -> Result<Command, String> {
    let mut command = program(workspace, &["--features", rows]);
    command.arg(rows);
    add_rows(&mut command, wanted)?;
    Ok(command)
}

fn add_rows(command: &mut Command, wanted: &Compare) -> Result<(), String> {
    repeat(command, "--filter", &wanted.filters);
    if let Some(json) = &wanted.json {
        command.arg("--json").arg(where_we_are("--json", json)?);
    }
    if wanted.quick {
        command.arg("--quick");
    }
    Ok(())
}

fn churn_command(workspace: &Workspace, wanted: &Churn) -> Command {
    let mut command = program(workspace, &[]);
    command.arg("churn");
    for (option, value) in [("--seconds", &wanted.seconds), ("--factor", &wanted.factor)] {
        if let Some(value) = value {
            command.args([option, value]);
        }
    }
    command
}

fn hit_ratio_command(workspace: &Workspace, wanted: &HitRatio) -> Result<Command, String> {
    let mut command = program(workspace, &[]);
    command.arg("hit-ratio");
    repeat(&mut command, "--filter", &wanted.filters);
    repeat(&mut command, "--policy", &wanted.policies);
    repeat(&mut command, "--threads", &wanted.threads);
    for (option, path) in [("--traces", &wanted.traces), ("--json", &wanted.json)] {
        if let Some(path) = path {
            command.arg(option).arg(where_we_are(option, path)?);
        }
    }
    let svg = match &wanted.svg {
        Some(svg) => where_we_are("--svg", svg)?,
        None => workspace.target.join("xtask").join("hit-ratio.svg"),
    };
    command.arg("--svg").arg(svg);
    if wanted.quick {
        command.arg("--quick");
    }
    if wanted.what_if {
        command.arg("--what-if");
    }
    Ok(command)
}

/// The program, ready to be told what is wanted.
fn program(workspace: &Workspace, features: &[&str]) -> Command {
    let mut command = workspace.cargo();
    command.args(["run", "--release", "--locked", "--manifest-path", MANIFEST, "--target-dir"]);
    // Not the usual folder itself: its profile is its own, and nothing that it builds is of use to others.
    command.arg(workspace.target.join("compare")).args(features).arg("--");
    command
}

fn repeat(command: &mut Command, option: &str, values: &[String]) {
    for value in values {
        command.args([option, value]);
    }
}

/// The program runs at the workspace's root; a path was meant from where the user is.
fn where_we_are(option: &str, path: &Path) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|error| format!("{option}: {error}"))
}

const MANIFEST: &str = "benches/compare/Cargo.toml";

#[cfg(test)]
mod tests {
    use super::*;

    fn pretend() -> Workspace {
        Workspace::pretend("root", "root/target", &[])
    }

    fn words(command: Result<Command, String>) -> Vec<String> {
        command.unwrap().get_args().map(|word| word.to_string_lossy().into_owned()).collect()
    }

    /// What the program itself is told.
    fn own(command: Result<Command, String>) -> Vec<String> {
        words(command).into_iter().skip_while(|word| word != "--").skip(1).collect()
    }

    #[test]
    fn it_is_built_as_locked_and_optimised() {
        let words = words(compare_command(&pretend(), &Compare::default())).join(" ");
        assert!(words.contains("--release --locked --manifest-path benches/compare/Cargo.toml"), "{words}");
        assert!(words.ends_with(" --target-dir root/target/compare --"), "{words}");
    }

    #[test]
    fn what_it_was_told_comes_after_the_dashes() {
        let wanted = Compare {
            quick: true,
            json: Some("/out.json".into()),
            filters: vec!["hot,zipf".to_owned(), "lru-hit".to_owned()],
        };
        assert_eq!(
            own(compare_command(&pretend(), &wanted)),
            ["--filter", "hot,zipf", "--filter", "lru-hit", "--json", "/out.json", "--quick"]
        );
    }

    #[test]
    fn hit_ratios_come_from_the_same_program() {
        let compare = words(compare_command(&pretend(), &Compare::default()));
        let hit_ratio = words(hit_ratio_command(&pretend(), &HitRatio::default()));
        assert_eq!(hit_ratio[..compare.len()], compare);
        assert_eq!(hit_ratio[compare.len()..], ["hit-ratio", "--svg", "root/target/xtask/hit-ratio.svg"]);
    }

    #[test]
    fn what_some_rows_stand_on_is_built_only_for_those_who_ask_for_them() {
        for rows in ["tiers", "freshness"] {
            let words = words(apart(&pretend(), rows, &Compare::default())).join(" ");
            assert!(words.ends_with(&format!(" --features {rows} -- {rows}")), "{words}");
        }
    }

    #[test]
    fn what_hit_ratios_are_wanted_is_handed_on() {
        let wanted = HitRatio {
            quick: true,
            what_if: true,
            traces: Some("/in".into()),
            json: Some("/out.json".into()),
            svg: Some("/out.svg".into()),
            threads: vec!["1,8".to_owned()],
            filters: vec!["zipf".to_owned(), "arc".to_owned()],
            policies: vec!["opt,lru".to_owned()],
        };
        let own = own(hit_ratio_command(&pretend(), &wanted)).join(" ");
        let lists = "hit-ratio --filter zipf --filter arc --policy opt,lru --threads 1,8";
        assert_eq!(own, format!("{lists} --traces /in --json /out.json --svg /out.svg --quick --what-if"));
    }

    #[test]
    fn what_churn_is_told_is_handed_on() {
        assert_eq!(own(Ok(churn_command(&pretend(), &Churn::default()))), ["churn"]);
        let wanted = Churn { seconds: Some("10".to_owned()), factor: Some("2".to_owned()) };
        let own = own(Ok(churn_command(&pretend(), &wanted))).join(" ");
        assert_eq!(own, "churn --seconds 10 --factor 2");
    }

    #[test]
    fn a_file_is_meant_from_where_the_user_is() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(where_we_are("--json", Path::new("out.json")).unwrap(), here.join("out.json"));
    }
}
