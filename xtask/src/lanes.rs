//! The table of lanes, and the steps they are made of.
//!
//! Time boxes are for two cores with nothing built yet. Lanes with compiler flags of their own have target folders
//! of their own, so that they do not rebuild each other's dependencies in turn.

use std::fs;
use std::path::Path;

use crate::lane::{Expect, Lane, Program, Step};
use crate::tools::Tool;
use crate::workspace::Workspace;

pub(crate) const LANES: &[Lane] = &[
    Lane {
        name: "style",
        proves: "the code is formatted and free of lints",
        minutes: 2,
        quick: true,
        needs: &[],
        own: &[],
        present: |_| true,
        steps: |_| Ok(vec![format_step(), lint_step()]),
    },
    Lane {
        name: "unit",
        proves: "every promise that a test of its own states; documentation and examples compile and run",
        minutes: 16,
        quick: true,
        needs: &[],
        own: &[],
        present: |_| true,
        steps: |workspace| Ok(unit_steps(workspace)),
    },
    Lane {
        name: "schedules",
        proves: "tiers and flights keep their promises in whatever order tasks take turns",
        minutes: 4,
        quick: false,
        needs: &[],
        own: &["schedules"],
        present: |workspace| workspace.has_package(SCHEDULES_PACKAGE),
        steps: |workspace| Ok(vec![schedules_step(workspace, None)]),
    },
    Lane {
        name: "loom",
        proves: "the engine keeps its promises in every order of loads and stores that the memory model allows",
        minutes: 12,
        quick: false,
        needs: &[],
        own: &["loom"],
        present: |workspace| workspace.has_package(LOOM_PACKAGE),
        steps: |workspace| Ok(vec![loom_step(workspace)]),
    },
    Lane {
        name: "reclaim",
        proves: "the engine keeps its promises however it reclaims: by readers' fences, by crossbeam-epoch, its oracle, and at full speed",
        minutes: 6,
        quick: false,
        needs: &[],
        own: &["nanotier_fences", "nanotier_epoch"],
        present: |workspace| workspace.has_package("nanotier-engine"),
        steps: |workspace| {
            let strategies = ["nanotier_fences", "nanotier_epoch"].map(|cfg| reclaim_step(workspace, cfg));
            Ok(strategies.into_iter().chain([full_speed_step(FULL_SPEED_SECS)]).collect())
        },
    },
    Lane {
        name: "churn",
        proves: "memory stays flat, and is what the engine says, while keys, weights, deadlines and the capacity change",
        minutes: 4,
        quick: false,
        needs: &[],
        own: &[],
        present: |workspace| workspace.has_package("nanotier-engine"),
        steps: |_| Ok(vec![churn_step(CHURN_SECS), memory_step()]),
    },
    Lane {
        name: "address",
        proves: "no memory is used after it was freed, beyond its end, or lost (AddressSanitizer, LeakSanitizer)",
        minutes: 15,
        quick: false,
        needs: &[],
        own: &["asan"],
        present: |workspace| SANITIZED.iter().any(|(package, _)| workspace.has_package(package)),
        steps: address_steps,
    },
    Lane {
        name: "thread",
        proves: "no two threads touch the same memory without order (ThreadSanitizer)",
        minutes: 13,
        quick: false,
        needs: &[],
        own: &["tsan"],
        present: |workspace| SANITIZED.iter().any(|(package, _)| workspace.has_package(package)),
        steps: thread_steps,
    },
    Lane {
        name: "fuzz",
        proves: "no input makes a decoder panic, hang or allocate without bound",
        minutes: 8,
        quick: false,
        needs: &[Tool::CargoFuzz],
        own: &["fuzz"],
        present: |workspace| workspace.has("fuzz/Cargo.toml"),
        steps: |workspace| {
            let targets = fuzz_targets(workspace)?;
            let runs = targets.iter().map(|target| fuzz_step(workspace, target, FUZZ_SECONDS));
            Ok(std::iter::once(fuzz_lock_step()).chain(runs).collect())
        },
    },
    Lane {
        name: "crash",
        proves: "what was acknowledged survives kill -9 and power cuts, and a service a full, failing, read-only or damaged disk",
        minutes: 12,
        quick: false,
        needs: &[],
        own: &[],
        present: |workspace| workspace.has_package(CRASH_PACKAGE),
        steps: |_| Ok(crash_steps()),
    },
    Lane {
        name: "tour",
        proves: "the example that the documentation walks through starts cold, and warm the second time",
        minutes: 2,
        quick: false,
        needs: &[],
        own: &[],
        present: |workspace| workspace.has("examples/tour.rs") || workspace.has("examples/tour/main.rs"),
        steps: tour_steps,
    },
    Lane {
        name: "counts",
        proves: "a hit executes no locked instruction and allocates nothing, an eviction allocates nothing, a key is loaded once; no operation takes far longer than a rival's",
        minutes: 8,
        quick: false,
        needs: &[],
        own: &["compare"],
        present: |workspace| workspace.has(COMPARE_MANIFEST),
        steps: |workspace| Ok(counts_steps(workspace)),
    },
];

const SCHEDULES_PACKAGE: &str = "nanotier-schedule-tests";
const LOOM_PACKAGE: &str = "nanotier-loom-tests";
const CRASH_PACKAGE: &str = "nanotier-crash-tests";
/// Compile to something that makes sense only with flags of their own.
const PACKAGES_WITH_OWN_FLAGS: [&str; 3] = [SCHEDULES_PACKAGE, LOOM_PACKAGE, "nanotier-fuzz"];
/// Where memory is handled by hand or threads meet, and the tests that show it: all of them where none is named.
const SANITIZED: [(&str, &[&str]); 3] = [
    ("nanotier-engine", &[]),
    ("nanotier-tier", &[]),
    ("nanotier", &["memory", "flights", "tiers", "shared_state"]),
];
const COMPARE_MANIFEST: &str = "benches/compare/Cargo.toml";
/// What does not depend on the machine, or on what else it does. The program fails if one of them is not met.
const COUNTED_ROWS: &str = "locked-per-hit,allocs-per-hit,allocs-per-evict,loads-per-key";
const FUZZ_SECONDS: u64 = 15;
/// Kills of each durable tier, and half as many of it in its asynchronous mode.
const CRASH_CYCLES: u64 = 200;
/// Power cuts of each durable tier in each mode.
const CRASH_CUTS: u64 = 20;
const FULL_SPEED_SECS: u64 = 3;
const CHURN_SECS: u64 = 60;
const LATENCY_SECS: u64 = 10;
/// How many times quick_cache's p99.99 ours may be. Wide enough for a machine that does other things, too: that nothing has
/// gone badly wrong. The goal is 1.2, which the default policy does not reach; `bench churn` shows by how much.
const LATENCY_FACTOR: &str = "10";
const LATENCY_FACTOR_SOAK: &str = "4";

fn step(title: impl Into<String>, program: Program, expect: Expect) -> Step {
    Step { title: title.into(), program, expect, needs: None }
}

fn format_step() -> Step {
    let program = Program::cargo("fmt --all --check");
    Step { needs: Some(Tool::Rustfmt), ..step("format", program, Expect::Success) }
}

fn lint_step() -> Step {
    let program = Program::cargo("clippy --workspace --all-targets --locked -- -D warnings");
    Step { needs: Some(Tool::Clippy), ..step("lints", program, Expect::Success) }
}

fn unit_steps(workspace: &Workspace) -> Vec<Step> {
    let left_out: Vec<String> = PACKAGES_WITH_OWN_FLAGS
        .iter()
        .filter(|package| workspace.has_package(package))
        .flat_map(|package| ["--exclude".to_owned(), (*package).to_owned()])
        .collect();
    let tests = Program::cargo("test --workspace --locked --no-fail-fast").args(left_out.clone());
    let mut steps = vec![step("tests", tests, Expect::Tests)];
    if workspace.has_package("nanotier") {
        let featured = Program::cargo(
            "test --locked --no-fail-fast --all-features -p nanotier --lib --test flights --test tiers --test shaping --test conformance",
        );
        steps.push(step("tests with every feature", featured, Expect::Tests));
    }
    let examples = Program::cargo("build --workspace --examples --locked").args(left_out.clone());
    steps.push(step("examples", examples, Expect::Success));
    let documentation = Program::cargo("doc --workspace --no-deps --locked")
        .args(left_out)
        .env("RUSTDOCFLAGS", "-D warnings");
    steps.push(step("documentation", documentation, Expect::Success));
    steps
}

/// Without a number of iterations the tests choose theirs.
pub(crate) fn schedules_step(workspace: &Workspace, iterations: Option<u64>) -> Step {
    let mut program = schedules_program(workspace).args(["--", "--test-threads=2", "--nocapture"]);
    if let Some(iterations) = iterations {
        program = program.env("NANOTIER_SCHEDULES_ITERATIONS", iterations.to_string());
    }
    step("schedules", program, Expect::Tests)
}

pub(crate) fn schedules_build_step(workspace: &Workspace) -> Step {
    step("build schedules", schedules_program(workspace).arg("--no-run"), Expect::Ready)
}

fn schedules_program(workspace: &Workspace) -> Program {
    flagged_tests(workspace, SCHEDULES_PACKAGE, "schedules")
}

/// The tests of a package that is empty without the flag of this name, in a target folder of this name.
fn flagged_tests(workspace: &Workspace, package: &str, name: &str) -> Program {
    Program::cargo("test --release --locked --no-fail-fast -p")
        .arg(package)
        .args(["--target-dir".to_owned(), path(&workspace.target.join(name))])
        .env("RUSTFLAGS", format!("--cfg nanotier_{name}"))
}

fn reclaim_step(workspace: &Workspace, cfg: &str) -> Step {
    let program = Program::cargo("test --locked --no-fail-fast -p nanotier-engine --lib --tests")
        .args(["--target-dir".to_owned(), path(&workspace.target.join(cfg))])
        .env("RUSTFLAGS", format!("--cfg {cfg}"));
    step(cfg, program, Expect::Tests)
}

/// Races that a debug build is too slow to lose: most tests last so many seconds.
pub(crate) fn full_speed_step(seconds: u64) -> Step {
    let program = full_speed_program().env("NANOTIER_SHARP_SECS", seconds.to_string());
    step("full speed", program, Expect::Tests)
}

pub(crate) fn full_speed_build_step() -> Step {
    step("build for full speed", full_speed_program().arg("--no-run"), Expect::Ready)
}

fn full_speed_program() -> Program {
    Program::cargo("test --release --locked --no-fail-fast -p nanotier-engine")
        .args(["--test", "sharp", "--test", "stress", "--test", "linear"])
}

/// Everything changes for so long, a third of it under each policy.
pub(crate) fn churn_step(seconds: u64) -> Step {
    let program = churn_program().args(["--", "--nocapture"]).env("NANOTIER_CHURN_SECS", seconds.to_string());
    step("churn", program, Expect::Tests)
}

pub(crate) fn churn_build_step() -> Step {
    step("build churn", churn_program().arg("--no-run"), Expect::Ready)
}

fn churn_program() -> Program {
    engine_test("churn")
}

/// With sizes that a debug build takes a minute for.
fn memory_step() -> Step {
    step("memory", engine_test("memory"), Expect::Tests)
}

fn engine_test(test: &str) -> Program {
    Program::cargo("test --release --locked -p nanotier-engine --test").arg(test)
}

/// Against the rival, turn by turn.
pub(crate) fn latency_step(workspace: &Workspace, seconds: u64) -> Step {
    latency(workspace, seconds, LATENCY_FACTOR_SOAK)
}

pub(crate) fn latency_build_step(workspace: &Workspace) -> Step {
    step("build the comparison", compare(workspace, "build --release"), Expect::Ready)
}

fn latency(workspace: &Workspace, seconds: u64, factor: &str) -> Step {
    let program = compare(workspace, "run --release").args([
        "--",
        "churn",
        "--seconds",
        &seconds.to_string(),
        "--factor",
        factor,
    ]);
    step("latency under churn", program, Expect::Success)
}

fn compare(workspace: &Workspace, action: &str) -> Program {
    Program::cargo(action)
        .args(["--locked", "--manifest-path", COMPARE_MANIFEST])
        .args(["--target-dir".to_owned(), path(&workspace.target.join("compare"))])
}

fn counts_steps(workspace: &Workspace) -> Vec<Step> {
    let compare = |action: &str| compare(workspace, action);
    let counted = compare("run --release").args(["--", "--quick", "--filter", COUNTED_ROWS]);
    let format = Program::cargo("fmt --check").args(["--manifest-path", COMPARE_MANIFEST]);
    let lint = compare("clippy").args(["--all-targets", "--", "-D", "warnings"]);
    vec![
        Step { needs: Some(Tool::Rustfmt), ..step("format of the comparison", format, Expect::Success) },
        Step { needs: Some(Tool::Clippy), ..step("lints of the comparison", lint, Expect::Success) },
        step("tests of the comparison", compare("test"), Expect::Tests),
        step("what is counted", counted, Expect::Success),
        latency(workspace, LATENCY_SECS, LATENCY_FACTOR),
    ]
}

/// How far each model goes is its own business; what it looked at, it says.
fn loom_step(workspace: &Workspace) -> Step {
    let program = flagged_tests(workspace, LOOM_PACKAGE, "loom").args([
        "--tests",
        "--",
        "--test-threads=2",
        "--nocapture",
    ]);
    step("models", program, Expect::Tests)
}

fn address_steps(workspace: &Workspace) -> Result<Vec<Step>, String> {
    let suppressions = path(&workspace.root.join("ci/lsan.supp"));
    sanitized_steps(workspace, "address sanitizer", |program| {
        sanitized(program, workspace, "asan")
            .env("RUSTFLAGS", "-Zsanitizer=address")
            // What unsafe functions demand of their callers is asserted in debug builds; here it is asserted too.
            .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true")
            .env("ASAN_OPTIONS", "detect_stack_use_after_return=1")
            .env("LSAN_OPTIONS", format!("suppressions={suppressions}"))
    })
}

fn thread_steps(workspace: &Workspace) -> Result<Vec<Step>, String> {
    let suppressions = path(&workspace.root.join("ci/tsan.supp"));
    sanitized_steps(workspace, "thread sanitizer", |program| {
        sanitized(program, workspace, "tsan")
            // The standard library comes without the sanitizer; the compiler wants to be told that this is known.
            // It understands neither fences nor the system's barrier: changes of one word take their place.
            .env("RUSTFLAGS", "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --cfg nanotier_tsan")
            .env("TSAN_OPTIONS", format!("halt_on_error=1 suppressions={suppressions}"))
    })
}

/// A step for each package that exists: what the facade's tests need is not built for the others.
fn sanitized_steps(
    workspace: &Workspace,
    title: &str,
    sanitize: impl Fn(Program) -> Program,
) -> Result<Vec<Step>, String> {
    let host = host(workspace)?;
    let packages = SANITIZED.into_iter().filter(|(package, _)| workspace.has_package(package));
    let steps = packages.map(|(package, tests)| {
        let chosen: Vec<&str> = match tests {
            [] => vec!["--tests"],
            named => named.iter().flat_map(|test| ["--test", *test]).collect(),
        };
        // Naming the target keeps the flags away from build scripts and macros.
        let program = Program::cargo("test --release --locked --no-fail-fast --lib")
            .args(chosen)
            .args(["-p", package, "--target", &host]);
        step(format!("{title}: {package}"), sanitize(program), Expect::Tests)
    });
    Ok(steps.collect())
}

fn sanitized(program: Program, workspace: &Workspace, folder: &str) -> Program {
    program
        .args(["--target-dir".to_owned(), path(&workspace.target.join(folder))])
        // Half the time to build; the tests are none that wait for speed.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        // The stable compiler ships the sanitizers, only the flag is not stable.
        .env("RUSTC_BOOTSTRAP", "1")
}

/// The machine we are on, in the compiler's words.
fn host(workspace: &Workspace) -> Result<String, String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = workspace.command(rustc).arg("-vV").output().map_err(|error| format!("rustc: {error}"))?;
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .ok_or_else(|| "`rustc -vV` names no host".to_owned())
}

pub(crate) fn fuzz_targets(workspace: &Workspace) -> Result<Vec<String>, String> {
    let mut command = workspace.cargo();
    command.args(["fuzz", "list"]);
    let output = command.output().map_err(|error| format!("cargo fuzz list: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo fuzz list: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    let names = String::from_utf8_lossy(&output.stdout);
    let targets: Vec<String> = names.split_whitespace().map(str::to_owned).collect();
    if targets.is_empty() { Err("there is no fuzz target".to_owned()) } else { Ok(targets) }
}

/// `cargo fuzz` itself knows no `--locked`.
fn fuzz_lock_step() -> Step {
    let program = Program::cargo("fetch --locked --manifest-path fuzz/Cargo.toml");
    step("fuzz: dependencies as locked", program, Expect::Ready)
}

pub(crate) fn fuzz_step(workspace: &Workspace, target: &str, seconds: u64) -> Step {
    let program = fuzz_program(workspace, "run")
        .arg(target)
        .arg("--")
        .arg(format!("-max_total_time={seconds}"))
        .args(["-rss_limit_mb=512", "-malloc_limit_mb=128", "-timeout=5"]);
    step(format!("fuzz {target}"), program, Expect::Counted)
}

pub(crate) fn fuzz_build_step(workspace: &Workspace) -> Step {
    step("build fuzz targets", fuzz_program(workspace, "build"), Expect::Ready)
}

/// Without a sanitizer ten times as many inputs are tried; the address lane runs the same decoders with one.
fn fuzz_program(workspace: &Workspace, action: &str) -> Program {
    Program::cargo("fuzz")
        .args([action, "--sanitizer", "none"])
        .args(["--target-dir".to_owned(), path(&workspace.target.join("fuzz"))])
        .env("RUSTC_BOOTSTRAP", "1")
}

/// So many kills of each durable tier, half as many of an asynchronous one, and of everything else in proportion.
fn crash_steps() -> Vec<Step> {
    let program = crash_program("run").args(["--", "all", "--cycles", &CRASH_CYCLES.to_string()]);
    let crashes = program.args(["--cuts", &CRASH_CUTS.to_string()]);
    let mut steps = vec![crash_build_step(), step("crashes", crashes, Expect::Counted)];
    if cfg!(target_os = "linux") {
        // Without it the rest runs all the same.
        let strace = step("calls that fail", Program::named("strace").arg("-V"), Expect::Ready);
        steps.insert(0, Step { needs: Some(Tool::Strace), ..strace });
    }
    steps
}

/// The same without the planted bugs, which are noticed or not however long one waits.
pub(crate) fn crash_soak_step(cycles: u64) -> Step {
    let program = crash_program("run").args(["--", "kill", "power", "faults", "--cycles"]);
    step("crashes", program.arg(cycles.to_string()), Expect::Counted)
}

pub(crate) fn crash_build_step() -> Step {
    step("build crashes", crash_program("build"), Expect::Ready)
}

fn crash_program(action: &str) -> Program {
    Program::cargo(action).args(["--release", "--locked", "-p", CRASH_PACKAGE])
}

fn tour_steps(workspace: &Workspace) -> Result<Vec<Step>, String> {
    let cache = workspace.target.join("xtask").join("tour-cache");
    if cache.exists() {
        fs::remove_dir_all(&cache).map_err(|error| format!("{}: {error}", cache.display()))?;
    }
    let tour =
        Program::cargo("run --release --locked --example tour -- .").env("NANOTIER_TOUR_CACHE", path(&cache));
    Ok(vec![
        step("tour, cold", tour.clone(), Expect::Success),
        step("tour, again", tour, Expect::Says("warm start")),
    ])
}

/// Cargo takes its folders as arguments; ours are UTF-8 or fail to be found, which says enough.
fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(packages: &[&str]) -> Workspace {
        Workspace::pretend(concat!(env!("CARGO_MANIFEST_DIR"), "/src"), "/t", packages)
    }

    fn present(workspace: &Workspace) -> Vec<&'static str> {
        LANES.iter().filter(|lane| (lane.present)(workspace)).map(|lane| lane.name).collect()
    }

    #[test]
    fn lanes_appear_with_what_they_are_about() {
        assert_eq!(present(&workspace(&[])), ["style", "unit"]);
        assert_eq!(
            present(&workspace(&["nanotier-engine"])),
            ["style", "unit", "reclaim", "churn", "address", "thread"]
        );
        assert_eq!(present(&workspace(&[SCHEDULES_PACKAGE])), ["style", "unit", "schedules"]);
        assert_eq!(present(&workspace(&[LOOM_PACKAGE])), ["style", "unit", "loom"]);
        assert_eq!(present(&workspace(&[CRASH_PACKAGE])), ["style", "unit", "crash"]);
    }

    #[test]
    fn unit_leaves_out_what_needs_flags_of_its_own() {
        let command = |packages: &[&str]| unit_steps(&workspace(packages))[0].program.to_string();
        assert_eq!(command(&["nanotier"]), "cargo test --workspace --locked --no-fail-fast");
        assert!(command(&["nanotier", SCHEDULES_PACKAGE]).ends_with(" --exclude nanotier-schedule-tests"));
    }

    #[test]
    fn sanitizers_run_on_those_packages_that_exist() {
        let steps = thread_steps(&workspace(&["nanotier-tier", "nanotier", "xtask"])).unwrap();
        let commands: Vec<String> = steps.iter().map(|step| step.program.to_string()).collect();
        assert_eq!(commands.len(), 2, "{commands:?}");
        assert!(commands[0].contains("--lib --tests -p nanotier-tier --target "), "{commands:?}");
        assert!(commands[0].contains("--target-dir /t/tsan"), "{commands:?}");
        assert!(
            commands[1].contains("--test memory") && commands[1].contains("-p nanotier "),
            "{commands:?}"
        );
    }

    #[test]
    fn a_soak_says_how_many_iterations_and_a_lane_leaves_it_to_the_tests() {
        let workspace = workspace(&[]);
        assert!(!schedules_step(&workspace, None).program.to_string().contains("ITERATIONS"));
        let long = schedules_step(&workspace, Some(7)).program.to_string();
        assert!(long.contains("NANOTIER_SCHEDULES_ITERATIONS=7"), "{long}");
    }
}
