//! Who may import whom, held against the manifests: three altitudes that know only their own.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Our packages, as cargo describes them.
struct Workspace {
    root: PathBuf,
    metadata: Value,
}

/// What a dependency is for.
const SHIPPED: [&str; 2] = ["normal", "build"];

impl Workspace {
    fn read() -> Self {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = std::process::Command::new(cargo)
            .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
            .current_dir(&root)
            .output()
            .expect("cargo runs, since it runs this test");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
        Self { root, metadata }
    }

    fn packages(&self) -> impl Iterator<Item = Package<'_>> {
        let all = self.metadata["packages"].as_array().expect("a list of packages");
        all.iter().map(|json| Package { json, root: &self.root })
    }

    /// Our packages below this folder.
    fn below(&self, folder: &str) -> Vec<Package<'_>> {
        self.packages().filter(|package| package.folder().starts_with(folder)).collect()
    }

    fn at(&self, folder: &str) -> Package<'_> {
        self.packages()
            .find(|package| package.folder() == folder)
            .unwrap_or_else(|| panic!("no package in {folder:?}"))
    }
}

struct Package<'a> {
    json: &'a Value,
    root: &'a Path,
}

impl Package<'_> {
    fn name(&self) -> &str {
        self.json["name"].as_str().expect("packages have names")
    }

    /// Where it lies in the workspace; empty for the root package.
    fn folder(&self) -> String {
        let manifest = Path::new(self.json["manifest_path"].as_str().expect("packages have manifests"));
        let folder = manifest.parent().expect("a manifest lies in a folder");
        folder.strip_prefix(self.root).expect("ours lie below the root").to_string_lossy().into_owned()
    }

    fn is_published(&self) -> bool {
        self.json["publish"].is_null()
    }

    /// Those of our own packages that it is built with, for these purposes.
    fn ours(&self, kinds: &[&str]) -> Vec<String> {
        let all = self.json["dependencies"].as_array().expect("a list of dependencies");
        let mut names: Vec<String> = all
            .iter()
            // A path: ours. The kind of a plain dependency is null.
            .filter(|dependency| dependency["path"].is_string())
            .filter(|dependency| kinds.contains(&dependency["kind"].as_str().unwrap_or("normal")))
            .filter_map(|dependency| dependency["name"].as_str().map(str::to_owned))
            .collect();
        names.sort();
        names.dedup();
        names
    }

    fn assert_knows_only(&self, allowed: &[&str]) {
        for known in self.ours(&SHIPPED) {
            assert!(allowed.contains(&known.as_str()), "{} must not import {known}", self.name());
        }
    }

    fn library(&self) -> Option<String> {
        let path = self.root.join(self.folder()).join("src/lib.rs");
        path.exists().then(|| fs::read_to_string(path).expect("our sources can be read"))
    }
}

#[test]
fn the_engine_and_the_contract_know_the_clock_and_nothing_of_each_other() {
    let workspace = Workspace::read();
    workspace.at("clock").assert_knows_only(&[]);
    workspace.at("macros").assert_knows_only(&[]);
    workspace.at("engine").assert_knows_only(&["nanotier-clock"]);
    workspace.at("tiers/core").assert_knows_only(&["nanotier-clock", "nanotier-macros"]);
}

#[test]
fn tiers_and_drivers_know_the_contract_alone() {
    let workspace = Workspace::read();
    let tiers = workspace.below("tiers");
    assert!(tiers.len() > 1, "the contract and at least one tier");
    for tier in tiers.iter().filter(|tier| tier.folder() != "tiers/core") {
        tier.assert_knows_only(&["nanotier-tier", "nanotier-clock"]);
    }
    for driver in workspace.below("drivers") {
        let sql = matches!(driver.folder().as_str(), "drivers/postgres" | "drivers/mysql");
        let shared: &[&str] = if sql { &["nanotier-sql"] } else { &[] };
        driver.assert_knows_only(&[&["nanotier-tier", "nanotier-clock"], shared].concat());
    }
}

#[test]
fn nothing_that_ships_imports_the_facade() {
    let workspace = Workspace::read();
    for package in workspace.packages().filter(Package::is_published) {
        assert!(!package.ours(&SHIPPED).iter().any(|name| name == "nanotier"), "{}", package.name());
    }
    // Tests of the parts are not written against the whole either: it would be built twice, in a circle.
    for folder in ["clock", "engine", "tiers/core"] {
        assert!(!workspace.at(folder).ours(&["dev"]).iter().any(|name| name == "nanotier"), "{folder}");
    }
}

#[test]
fn a_durable_tier_or_a_driver_is_a_feature_and_none_is_on_by_default() {
    let workspace = Workspace::read();
    let root = workspace.at("");
    let defaults = root.json["features"]["default"].as_array().cloned().unwrap_or_default();
    let others = ["tiers", "drivers"].into_iter().flat_map(|folder| workspace.below(folder));
    for package in others.filter(|package| package.folder() != "tiers/core") {
        let dependencies = root.json["dependencies"].as_array().expect("a list of dependencies");
        let plain = dependencies.iter().find(|one| one["name"] == package.name() && one["kind"].is_null());
        assert!(plain.is_none_or(|one| one["optional"] == true), "{} is optional", package.name());
        let feature = package.name().trim_start_matches("nanotier-");
        assert!(!defaults.iter().any(|default| default == feature), "{feature} is on by default");
    }
}

#[test]
fn a_plain_build_has_no_driver_benchmark_or_rival_in_it() {
    let workspace = Workspace::read();
    let ids = workspace.metadata["workspace_default_members"].as_array().expect("a list of ids");
    let defaults: Vec<Package<'_>> =
        workspace.packages().filter(|package| ids.contains(&package.json["id"])).collect();
    assert!(defaults.iter().any(|package| package.name() == "nanotier"));
    for package in defaults {
        let folder = package.folder();
        let apart = ["drivers", "benches", "fuzz", "loom-tests", "schedule-tests"];
        assert!(!apart.iter().any(|apart| folder.starts_with(apart)), "{folder} is a default member");
    }
}

#[test]
fn unsafe_code_is_forbidden_where_it_is_not_the_point() {
    let workspace = Workspace::read();
    let shipped =
        workspace.packages().filter(|package| package.is_published() && package.folder() != "engine");
    for package in shipped {
        let Some(library) = package.library() else { continue };
        assert!(
            library.contains("#![forbid(unsafe_code)]"),
            "{} does not forbid unsafe code",
            package.name()
        );
    }
}

/// ThreadSanitizer cannot see the standard library's locks, which come compiled without it: where two threads meet
/// in the slow path of one, it reports a race that is none, now and then.
#[test]
fn what_the_thread_sanitizer_runs_locks_by_locks_that_it_sees() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = ["engine/src", "engine/tests", "tiers/core/src", "tiers/core/tests", "src", "tests"]
        .map(|folder| root.join(folder))
        .to_vec();
    let mut read = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder is there") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("sources are text");
                read += 1;
                for line in text.lines().map(str::trim_start).filter(|line| !line.starts_with("//")) {
                    let names = line.split_once("std::sync::").map_or("", |(_, names)| names);
                    let invisible =
                        ["Mutex", "RwLock", "Condvar"].into_iter().find(|lock| names.contains(lock));
                    assert!(
                        invisible.is_none() || path.ends_with("tests/direction.rs"),
                        "{}: {line}",
                        path.display()
                    );
                }
            }
        }
    }
    assert!(read > 50, "only {read} sources were read");
}
