//! `bench compare`: builds the comparison with other caches, which is a workspace of its own, and runs it.
//!
//! Unlike a lane it is not timed, logged or counted here: it draws on the terminal itself, and its answer is
//! the table.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::args::Compare;
use crate::report;
use crate::workspace::Workspace;

/// Its exit status is ours.
pub(crate) fn compare(workspace: &Workspace, wanted: &Compare) -> Result<ExitCode, String> {
    if !workspace.has(MANIFEST) {
        return Err(format!("this workspace has no {MANIFEST}"));
    }
    let status = command(workspace, wanted)?.status().map_err(|error| format!("cargo run: {error}"))?;
    // Ended by a signal: it has no status of its own.
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(report::EXIT_FAILED);
    Ok(ExitCode::from(code))
}

fn command(workspace: &Workspace, wanted: &Compare) -> Result<Command, String> {
    let mut command = workspace.cargo();
    command.args(["run", "--release", "--locked", "--manifest-path", MANIFEST, "--target-dir"]);
    // Not the usual folder itself: its profile is its own, and nothing that it builds is of use to others.
    command.arg(workspace.target.join("compare")).arg("--");
    for filter in &wanted.filters {
        command.args(["--filter", filter]);
    }
    if let Some(json) = &wanted.json {
        command.arg("--json").arg(where_we_are(json)?);
    }
    if wanted.quick {
        command.arg("--quick");
    }
    Ok(command)
}

/// The program runs at the workspace's root; a path was meant from where the user is.
fn where_we_are(path: &Path) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|error| format!("--json: {error}"))
}

const MANIFEST: &str = "benches/compare/Cargo.toml";

#[cfg(test)]
mod tests {
    use super::*;

    fn words(wanted: &Compare) -> Vec<String> {
        let workspace = Workspace::pretend("root", "root/target", &[]);
        let command = command(&workspace, wanted).unwrap();
        command.get_args().map(|word| word.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn it_is_built_as_locked_and_optimised() {
        let words = words(&Compare::default()).join(" ");
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
        let words = words(&wanted);
        let own = words.iter().position(|word| word == "--").unwrap() + 1;
        assert_eq!(
            words[own..],
            ["--filter", "hot,zipf", "--filter", "lru-hit", "--json", "/out.json", "--quick"]
        );
    }

    #[test]
    fn a_file_is_meant_from_where_the_user_is() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(where_we_are(Path::new("out.json")).unwrap(), here.join("out.json"));
    }
}
