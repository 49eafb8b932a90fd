//! What is in the workspace: its root, its packages, and where build output goes.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    /// Cargo's usual target folder; what must not share it gets a folder inside.
    pub(crate) target: PathBuf,
    packages: Vec<String>,
}

impl Workspace {
    /// The workspace that this program was built from.
    pub(crate) fn open() -> Result<Self, String> {
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = own.parent().ok_or("xtask has no folder above it")?.to_owned();
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(target) => {
                std::path::absolute(target).map_err(|error| format!("CARGO_TARGET_DIR: {error}"))?
            }
            None => root.join("target"),
        };
        Ok(Workspace { packages: packages(&root)?, root, target })
    }

    pub(crate) fn has_package(&self, name: &str) -> bool {
        self.packages.iter().any(|package| package == name)
    }

    /// Whether a file or folder exists, named from the root.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// Where a lane's output is kept.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.target.join("xtask").join(format!("{name}.log"))
    }

    /// A command that runs at the root, free of what `cargo run` told us about our own package: some build scripts
    /// watch these variables and would run again each time.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || ABOUT_OUR_PACKAGE.contains(&text.as_ref()) {
                command.env_remove(&name);
            }
        }
        command
    }

    pub(crate) fn cargo(&self) -> Command {
        self.command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    }

    #[cfg(test)]
    pub(crate) fn pretend(root: impl Into<PathBuf>, target: impl Into<PathBuf>, packages: &[&str]) -> Self {
        let packages = packages.iter().map(ToString::to_string).collect();
        Workspace { root: root.into(), target: target.into(), packages }
    }
}

fn packages(root: &Path) -> Result<Vec<String>, String> {
    let read = |folder: &str| {
        let path = root.join(folder).join("Cargo.toml");
        fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let manifest = read(".")?;
    let mut packages: Vec<String> = package_name(&manifest).into_iter().collect();
    for member in members(&manifest) {
        packages.extend(package_name(&read(&member)?));
    }
    Ok(packages)
}

/// The strings of `members = [ .. ]`. Our manifest names each member; patterns are not understood here.
fn members(manifest: &str) -> Vec<String> {
    let without_comments: String =
        manifest.lines().flat_map(|line| [line.split('#').next().unwrap_or(""), "\n"]).collect();
    let after = |line: &str| {
        line.trim_start().strip_prefix("members").is_some_and(|l| l.trim_start().starts_with('='))
    };
    let list: String = without_comments
        .split_inclusive('\n')
        .skip_while(|line| !after(line))
        .collect::<String>()
        .chars()
        .take_while(|&c| c != ']')
        .collect();
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// `name` in the section `[package]`.
fn package_name(manifest: &str) -> Option<String> {
    manifest
        .lines()
        .skip_while(|line| line.trim() != "[package]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .find_map(|line| line.strip_prefix("name")?.trim_start().strip_prefix('=')?.split('"').nth(1))
        .map(str::to_owned)
}

const ABOUT_OUR_PACKAGE: [&str; 7] = [
    "CARGO_BIN_NAME",
    "CARGO_CRATE_NAME",
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_PATH",
    "CARGO_MANIFEST_LINKS",
    "CARGO_PRIMARY_PACKAGE",
    "OUT_DIR",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_and_default_members_are_not_mistaken_for_them() {
        let manifest = "
[workspace]
default-members = [\"a\"]
members = [
    \"a\", # \"not this\"
    \"tiers/core\",
]
exclude = [\"fuzz\"]
";
        assert_eq!(members(manifest), ["a", "tiers/core"]);
        assert_eq!(members("members=[\"x\",\"y\"]"), ["x", "y"]);
        assert!(members("[package]\nname = \"alone\"\n").is_empty());
    }

    #[test]
    fn the_name_of_a_package_is_that_of_its_own_section() {
        let manifest =
            "[lib]\nname = \"other\"\n[package]\nedition = \"2024\"\nname = \"nanotier-tier\"\n[bin]\n";
        assert_eq!(package_name(manifest).as_deref(), Some("nanotier-tier"));
        assert_eq!(package_name("[workspace]\n[package]\n[bin]\nname = \"x\"\n"), None);
    }

    #[test]
    fn this_workspace_contains_this_package() {
        let workspace = Workspace::open().unwrap();
        assert!(workspace.has_package("xtask") && workspace.has("xtask/src/workspace.rs"));
        assert!(!workspace.has_package("no-such-package") && !workspace.has("no/such/file"));
    }
}
