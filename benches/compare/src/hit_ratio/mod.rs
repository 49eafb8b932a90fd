//! How often a cache has what it is asked for: traces of keys are replayed through each, with a few capacities
//! and numbers of threads, and next to them the best that is possible.

mod args;
mod chart;
mod optimum;
mod replay;
mod report;
mod synthetic;
mod trace;
mod what_if;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use crate::bench::Progress;
use args::Args;
use replay::{POLICIES, Policy};
use report::Cell;
use synthetic::GENERATORS;
use trace::{Folder, Trace};

/// The word by which the program is told that this is wanted.
pub(crate) const COMMAND: &str = "hit-ratio";

/// `words` begins with [`COMMAND`].
pub(crate) fn run(words: impl Iterator<Item = OsString> + 'static) -> Result<ExitCode, String> {
    let args = Args::parse(words)?;
    if args.help {
        print!("{}", args::USAGE);
        return Ok(ExitCode::SUCCESS);
    }
    let policies = policies(&args)?;
    let threads = threads(&args);
    let progress = Progress::new();
    // All of them before the first is replayed: a damaged one is found at once.
    let traces = traces(&args, &progress)?;
    if args.what_if {
        advise(&traces, &progress);
        return Ok(ExitCode::SUCCESS);
    }
    let svg = args.svg.as_deref().unwrap_or(Path::new(SVG_DEFAULT));
    for path in args.json.as_deref().into_iter().chain([svg]) {
        make_room(path)?;
    }
    println!("{}\n", crate::report::versions());
    let mut cells: Vec<Cell> = Vec::new();
    for trace in &traces {
        let own = replays(trace, &policies, &threads, &progress);
        progress.end();
        println!("{}", report::table(&own));
        cells.extend(own);
    }
    print!("{}", report::summary(&cells));
    if let Some(path) = &args.json {
        report::write_json(path, &cells)?;
        println!("hits: {}", path.display());
    }
    chart::write(svg, &cells)?;
    println!("curves: {}", svg.display());
    Ok(ExitCode::SUCCESS)
}

/// Judges nanotier's own advice instead.
fn advise(traces: &[Trace], progress: &Progress) {
    let mut advice = Vec::new();
    for trace in traces {
        let own = what_if::judge(trace, progress);
        progress.end();
        println!("{}", what_if::table(&own));
        advice.extend(own);
    }
    print!("{}", what_if::summary(&advice));
}

/// The folder of a file that is written at the end; better found to be impossible before the work than after it.
fn make_room(path: &Path) -> Result<(), String> {
    let folder = path.parent().unwrap_or(Path::new(""));
    if path.is_dir() {
        return Err(format!("{} is a folder", path.display()));
    }
    if folder.as_os_str().is_empty() {
        return Ok(());
    }
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))
}

/// In the order of the report, each once, whatever the order on the command line.
fn policies(args: &Args) -> Result<Vec<&'static Policy>, String> {
    if let Some(name) = args.policies.iter().find(|name| !POLICIES.iter().any(|policy| policy.name == **name))
    {
        let names: Vec<_> = POLICIES.iter().map(|policy| policy.name).collect();
        return Err(format!("no policy `{name}`; there are: {}", names.join(", ")));
    }
    let is_wanted = |policy: &&Policy| match (args.policies.is_empty(), args.quick) {
        (false, _) => args.policies.iter().any(|name| name == policy.name),
        (true, true) => replay::QUICK.contains(&policy.name),
        (true, false) => true,
    };
    Ok(POLICIES.iter().filter(is_wanted).collect())
}

fn threads(args: &Args) -> Vec<usize> {
    match (args.threads.is_empty(), args.quick) {
        (false, _) => args.threads.clone(),
        (true, true) => vec![1],
        (true, false) => THREADS.to_vec(),
    }
}

fn traces(args: &Args, progress: &Progress) -> Result<Vec<Trace>, String> {
    let Some(path) = &args.traces else {
        let names: Vec<&str> = GENERATORS.iter().map(|(name, _)| *name).collect();
        args.check(&names)?;
        let requests = if args.quick { REQUESTS_QUICK } else { REQUESTS };
        let wanted = GENERATORS.iter().filter(|(name, _)| args.wants(name));
        return wanted.map(|generator| synthetic::make(generator, requests as u64)).collect();
    };
    let folder = Folder::open(path)?;
    for file in &folder.unknown {
        eprintln!("{}: left out, its name is none of a trace", file.display());
    }
    let names: Vec<&str> = folder.sources.iter().map(|source| source.name.as_str()).collect();
    args.check(&names)?;
    let wanted: Vec<_> = folder.sources.iter().filter(|source| args.wants(&source.name)).collect();
    let requests_max = if args.quick { REQUESTS_QUICK } else { usize::MAX };
    let mut traces = Vec::new();
    for (nth, source) in wanted.iter().enumerate() {
        progress.step("reading", "trace", nth + 1, wanted.len());
        traces.push(source.read(requests_max).inspect_err(|_| progress.end())?);
    }
    progress.end();
    Ok(traces)
}

fn replays(trace: &Trace, policies: &[&Policy], threads: &[usize], progress: &Progress) -> Vec<Cell> {
    let capacities = trace.capacities();
    let mut wanted = Vec::new();
    for &threads in threads {
        for &capacity in &capacities {
            let policies = policies.iter().filter(|policy| policy.takes(threads));
            wanted.extend(policies.map(|policy| (threads, capacity, policy)));
        }
    }
    let count = wanted.len();
    let replay = |(nth, (threads, capacity, policy)): (usize, (usize, usize, &&Policy))| {
        progress.step(&trace.name, "replay", nth + 1, count);
        let outcome = policy.replay(trace, capacity, threads);
        Cell {
            trace: trace.name.clone(),
            capacity,
            policy: policy.name,
            threads,
            requests: trace.requests(),
            hits: outcome.hits,
            residents: outcome.residents,
        }
    };
    wanted.into_iter().enumerate().map(replay).collect()
}

const THREADS: [usize; 3] = [1, 2, 8];
/// Of each trace that is made.
const REQUESTS: usize = 1_000_000;
/// Of each trace, made or read.
const REQUESTS_QUICK: usize = 200_000;
const SVG_DEFAULT: &str = "target/xtask/hit-ratio.svg";

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Args {
        let words: Vec<String> =
            std::iter::once(COMMAND).chain(line.split_whitespace()).map(str::to_owned).collect();
        Args::parse(words).unwrap()
    }

    fn names(line: &str) -> Vec<&'static str> {
        policies(&args(line)).unwrap().iter().map(|policy| policy.name).collect()
    }

    #[test]
    fn policies_are_all_or_the_quick_ones_or_those_named() {
        assert_eq!(names("").len(), POLICIES.len());
        assert_eq!(names("--quick"), ["nanotier", "nanotier-lru", "opt", "moka", "quick_cache"]);
        assert_eq!(names("--policy lru,opt,lru --quick"), ["opt", "lru"]);
        assert!(policies(&args("--policy lri")).unwrap_err().contains("`lri`"));
    }

    #[test]
    fn threads_are_three_numbers_or_one_or_those_named() {
        assert_eq!(threads(&args("")), [1, 2, 8]);
        assert_eq!(threads(&args("--quick")), [1]);
        assert_eq!(threads(&args("--quick --threads 4")), [4]);
    }

    #[test]
    fn a_replay_per_policy_capacity_and_number_of_threads() {
        let trace = Trace::new("t", (0..5000_u32).map(|place| place % 500)).unwrap();
        let chosen = policies(&args("--policy opt,lru")).unwrap();
        let cells = replays(&trace, &chosen, &[1, 2], &Progress::new());
        let ran: Vec<_> = cells.iter().map(|cell| (cell.threads, cell.capacity, cell.policy)).collect();
        assert_eq!(
            ran,
            [
                (1, 100, "opt"),
                (1, 100, "lru"),
                (1, 125, "opt"),
                (1, 125, "lru"),
                (2, 100, "lru"),
                (2, 125, "lru")
            ]
        );
        assert!(cells.iter().all(|cell| cell.requests == 5000));
        let hits: Vec<_> = cells[..4].iter().map(|cell| cell.hits > 0).collect();
        assert_eq!(hits, [true, false, true, false]);
    }

    #[test]
    fn a_filter_chooses_among_the_traces_that_are_made() {
        let chosen = |line: &str| -> Result<Vec<String>, String> {
            let traces = traces(&args(line), &Progress::new())?;
            Ok(traces.into_iter().map(|trace| trace.name).collect())
        };
        assert_eq!(chosen("--quick --filter zipf").unwrap(), ["zipf", "shifting-zipf"]);
        assert!(chosen("--filter zopf").unwrap_err().contains("two-pools"));
    }
}
