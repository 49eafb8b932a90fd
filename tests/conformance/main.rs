//! Every tier, shaped in every way, held to the contract and to what a cache over it promises; and the table of requirements with
//! what keeps each. `cargo xtask conformance` shows it.

mod cache;
mod page;
mod tiers;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use nanotier::tier::conformance::{self, Outcome, Subject, check_some};
use nanotier::{AnyTier, Clock};
use parking_lot::Mutex;

use cache::World;
use page::Requirement;
use tiers::{Candidate, Keeps, SHAPINGS, Shaping, TIERS};

/// What became of a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    Skipped,
    Broken,
}

impl Fate {
    fn word(self) -> &'static str {
        match self {
            Self::Kept => "kept    ",
            Self::Skipped => "SKIPPED ",
            Self::Broken => "BROKEN  ",
        }
    }
}

/// One tier in one shape, and what became of every promise.
struct Column {
    name: String,
    fates: HashMap<&'static str, Fate>,
}

impl Column {
    fn count(&self, fate: Fate) -> usize {
        self.fates.values().filter(|other| **other == fate).count()
    }

    /// What became of a requirement: broken if any of its promises is, kept if any is and none is broken.
    fn of(&self, requirement: &Requirement) -> &'static str {
        let has = |fate| requirement.promises.iter().any(|name| self.fates.get(&name[..]) == Some(&fate));
        match (has(Fate::Broken), has(Fate::Kept)) {
            (true, _) => "BROKEN",
            (false, true) => "kept",
            (false, false) => "-",
        }
    }
}

/// Folders of their own for every tier that is made.
struct Place {
    folder: PathBuf,
    made: AtomicUsize,
}

impl Place {
    fn next(&self) -> PathBuf {
        let folder = self.folder.join(self.made.fetch_add(1, Relaxed).to_string());
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }
}

fn check(candidate: &'static Candidate, shaping: &'static Shaping, folder: &Path) -> Column {
    let name = format!("{}, {}", candidate.name, shaping.name);
    println!("\n{name}");
    let place = Arc::new(Place { folder: folder.to_owned(), made: AtomicUsize::new(0) });
    let open = move |folder: &Path| -> AnyTier {
        let tier = (candidate.open)(folder).unwrap_or_else(|error| panic!("{}: {error}", candidate.name));
        (shaping.wrap)(tier)
    };
    let (clock, hands) = Clock::manual();
    // A promise uses one tier at a time: what is opened again is the last one that was made.
    let last = Arc::new(Mutex::new(PathBuf::new()));
    let fresh = {
        let (last, place) = (last.clone(), place.clone());
        move || {
            let folder = place.next();
            last.lock().clone_from(&folder);
            open(&folder)
        }
    };
    let mut subject = Subject::new(clock, fresh).with_hands(hands);
    if shaping.name != "plain" {
        subject = subject.with_shaped_values();
    }
    match candidate.keeps {
        Keeps::Nothing => subject = subject.keeping_nothing(),
        Keeps::UntilClosed => {}
        Keeps::Files => {
            subject = subject.with_reopen(move |tier| {
                drop(tier);
                open(&last.lock().clone())
            });
        }
    }
    let wanted = |name: &str| {
        [candidate.only, shaping.only].iter().all(|only| only.is_empty() || only.contains(&name))
    };
    let begun = Instant::now();
    let report = check_some(&subject, wanted);
    println!("the kit took {:?}", begun.elapsed());
    let mut fates = HashMap::new();
    fates.extend(report.kept.into_iter().map(|name| (name, Fate::Kept)));
    fates.extend(report.skipped.into_iter().map(|(name, _)| (name, Fate::Skipped)));
    fates.extend(report.broken.into_iter().map(|name| (name, Fate::Broken)));
    for (name, promise) in cache::PROMISES.iter().filter(|(name, _)| wanted(name)) {
        let begun = Instant::now();
        let kept =
            catch_unwind(AssertUnwindSafe(|| promise(&World::new(open(&place.next()), candidate.keeps))));
        let fate = match kept {
            Ok(Outcome::Kept) => Fate::Kept,
            Ok(Outcome::Skipped(_)) => Fate::Skipped,
            Err(_) => Fate::Broken,
        };
        println!("{} {name} {:?}", fate.word(), begun.elapsed());
        fates.insert(name, fate);
    }
    Column { name, fates }
}

fn print_counts(columns: &[Column]) {
    println!("\n{:<24} {:>5} {:>8} {:>7}", "tier, shaping", "kept", "skipped", "broken");
    for column in columns {
        let [kept, skipped, broken] =
            [Fate::Kept, Fate::Skipped, Fate::Broken].map(|fate| column.count(fate));
        println!("{:<24} {kept:>5} {skipped:>8} {broken:>7}", column.name);
    }
}

fn print_requirements(requirements: &[Requirement], columns: &[Column]) {
    print!("\n{:<12}", "requirement");
    columns.iter().for_each(|column| print!(" {:>21}", column.name));
    println!("  kept by");
    for requirement in requirements {
        print!("{:<12}", requirement.row);
        for column in columns {
            print!(" {:>21}", if requirement.promises.is_empty() { "" } else { column.of(requirement) });
        }
        let by = if requirement.promises.is_empty() {
            &requirement.elsewhere
        } else {
            &requirement.promises.join(", ")
        };
        println!("  {by}");
    }
    let (here, elsewhere): (Vec<_>, Vec<_>) = requirements.iter().partition(|row| !row.promises.is_empty());
    let is_later = |row: &&&Requirement| row.elsewhere.contains("not built yet");
    let later = elsewhere.iter().filter(is_later).count();
    println!(
        "\n{} requirements: {} by promises checked here, {} elsewhere, {later} not built yet",
        requirements.len(),
        here.len(),
        elsewhere.len() - later
    );
}

#[test]
fn every_tier_in_every_shape_keeps_what_is_required() {
    let folder = tempfile::tempdir().unwrap();
    let mut columns = Vec::new();
    for candidate in TIERS {
        // A limit is checked with values as they are: shaped ones have sizes of their own.
        let shapings = if candidate.only.is_empty() { SHAPINGS } else { &SHAPINGS[..1] };
        for shaping in shapings {
            let folder = folder.path().join(format!("{}-{}", candidate.name, shaping.name));
            columns.push(check(candidate, shaping, &folder));
        }
    }
    let known: Vec<&str> =
        conformance::names().into_iter().chain(cache::PROMISES.iter().map(|promise| promise.0)).collect();
    let requirements = page::requirements(&known);
    print_requirements(&requirements, &columns);
    print_counts(&columns);

    for column in &columns {
        let broken: Vec<_> = column.fates.iter().filter(|(_, fate)| **fate == Fate::Broken).collect();
        assert!(broken.is_empty(), "{}: {broken:?}", column.name);
        assert!(!column.fates.is_empty(), "{}: nothing was checked", column.name);
    }
    for requirement in requirements.iter().filter(|row| !row.promises.is_empty()) {
        let is_kept = columns.iter().any(|column| column.of(requirement) == "kept");
        assert!(is_kept, "no tier keeps {}", requirement.row);
    }
    for name in known {
        let is_kept = columns.iter().any(|column| column.fates.get(name) == Some(&Fate::Kept));
        assert!(is_kept, "no tier keeps `{name}`: it was skipped everywhere");
    }
}
