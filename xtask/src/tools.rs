//! Programs that a lane needs besides `cargo` and `rustc`: whether they are here, and how they come here.
//!
//! Nothing is installed behind anyone's back: only with `--install`, or on a throw-away machine, which we take to
//! be one where we are root and `CI` is set.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::process::{self, End, Live, Watch};
use crate::workspace::Workspace;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tool {
    CargoFuzz,
    Clippy,
    Rustfmt,
    Strace,
}

impl Tool {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Tool::CargoFuzz => "cargo-fuzz",
            Tool::Clippy => "clippy",
            Tool::Rustfmt => "rustfmt",
            Tool::Strace => "strace",
        }
    }

    /// The one command that installs it.
    pub(crate) fn install_command(self) -> &'static str {
        match self {
            Tool::CargoFuzz => "cargo install cargo-fuzz --locked",
            Tool::Clippy => "rustup component add clippy",
            Tool::Rustfmt => "rustup component add rustfmt",
            Tool::Strace => "apt-get install -y strace",
        }
    }

    /// Says its version.
    fn probe(self, workspace: &Workspace) -> Command {
        let cargo = |subcommand: &str| {
            let mut probe = workspace.cargo();
            probe.args([subcommand, "--version"]);
            probe
        };
        match self {
            Tool::CargoFuzz => cargo("fuzz"),
            Tool::Clippy => cargo("clippy"),
            Tool::Rustfmt => cargo("fmt"),
            Tool::Strace => {
                let mut probe = workspace.command("strace");
                probe.arg("-V");
                probe
            }
        }
    }

    /// The toolchain belongs to whoever set it up: its components are asked for, never added by us.
    fn is_ours_to_install(self) -> bool {
        match self {
            Tool::CargoFuzz | Tool::Strace => true,
            Tool::Clippy | Tool::Rustfmt => false,
        }
    }
}

/// Knows which tools are here, and fetches one when it may.
#[derive(Debug)]
pub(crate) struct Toolbox<'a> {
    workspace: &'a Workspace,
    live: Live,
    may_install: bool,
    known: BTreeMap<Tool, bool>,
}

impl<'a> Toolbox<'a> {
    pub(crate) fn new(workspace: &'a Workspace, install_asked: bool, live: Live) -> Self {
        let ci = std::env::var("CI").ok();
        let may_install = may_install(install_asked, ci.as_deref(), is_root);
        Toolbox { workspace, live, may_install, known: BTreeMap::new() }
    }

    pub(crate) fn is_here(&mut self, tool: Tool) -> bool {
        let workspace = self.workspace;
        *self.known.entry(tool).or_insert_with(|| succeeds(tool.probe(workspace)))
    }

    /// Installs what is missing, if that is allowed. Whether the tool is here afterwards.
    pub(crate) fn make_ready(&mut self, tool: Tool) -> bool {
        if !self.is_here(tool) && self.may_install && tool.is_ours_to_install() {
            self.install(tool);
            self.known.remove(&tool);
        }
        self.is_here(tool)
    }

    fn install(&self, tool: Tool) {
        let line = tool.install_command();
        self.live.say(&format!("\n==== {} is missing: {line}", tool.name()));
        let mut words = line.split(' ');
        let mut command = match words.next() {
            Some("cargo") | None => self.workspace.cargo(),
            Some(other) => self.workspace.command(other),
        };
        command.args(words);
        let log = self.workspace.log(&format!("install-{}", tool.name()));
        let run = process::run(command, INSTALL_MAX, Watch { live: self.live, log: &log, words: None });
        if run.end != End::Succeeded {
            self.live.say(&format!("{} was not installed: see {}", tool.name(), log.display()));
        }
    }

    /// A box in which exactly these tools are.
    #[cfg(test)]
    pub(crate) fn pretend(workspace: &'a Workspace, here: &[Tool]) -> Self {
        let all = [Tool::CargoFuzz, Tool::Clippy, Tool::Rustfmt, Tool::Strace];
        let known = all.into_iter().map(|tool| (tool, here.contains(&tool))).collect();
        Toolbox { workspace, live: Live::Silent, may_install: false, known }
    }
}

fn may_install(asked: bool, ci: Option<&str>, is_root: impl FnOnce() -> bool) -> bool {
    asked || (matches!(ci, Some("1" | "true")) && is_root())
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn succeeds(mut command: Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// cargo-fuzz takes 41 s on two cores.
const INSTALL_MAX: Duration = Duration::from_secs(5 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_when_asked_or_as_root_in_ci_is_anything_installed() {
        assert!(may_install(true, None, || false));
        assert!(may_install(false, Some("1"), || true));
        assert!(may_install(false, Some("true"), || true));
        assert!(!may_install(false, Some("1"), || false));
        assert!(!may_install(false, Some("false"), || true));
        assert!(!may_install(false, Some(""), || true));
        assert!(!may_install(false, None, || true));
    }

    #[test]
    fn our_own_tools_are_installed_by_cargo_and_locked_or_by_the_system() {
        for tool in [Tool::CargoFuzz, Tool::Clippy, Tool::Rustfmt, Tool::Strace] {
            let line = tool.install_command();
            let by_cargo = line.starts_with("cargo install ") && line.ends_with(" --locked");
            let by_system = line.starts_with("apt-get install -y ");
            assert_eq!(by_cargo || by_system, tool.is_ours_to_install(), "{line}");
        }
    }
}
