//! The table in `docs/CONSISTENCY.md`, row by row against a real chain.

mod common;

use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{Faulty, World};
use nanotier_tier::waiting::block_on;
use nanotier_tier::{
    Capabilities, Cleared, Deadlines, Entry, Error, ErrorKind, Found, Intent, Path, Record, Result, Scope,
    Seen, Tier, TierIndex, Version, Write, Wrote,
};

const STATES: [&str; 6] = ["absent", "removed", "fresh", "stale", "expired", "error"];

/// A row of the table, with one of its orders.
#[derive(Debug)]
struct Row<'a> {
    near: &'a str,
    far: &'a str,
    order: &'a str,
    answer: &'a str,
    copy: &'a str,
}

fn document() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/CONSISTENCY.md")).unwrap()
}

fn rows(document: &str) -> Vec<Row<'_>> {
    let (_, table) =
        document.split_once("| near | far | order | answer | the near copy |\n").expect("the table");
    let lines = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    let mut rows = Vec::new();
    for line in lines {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [near, far, orders, answer, copy] = cells[..] else { panic!("five cells: {line}") };
        rows.extend(orders.split(", ").map(|order| Row { near, far, order, answer, copy }));
    }
    rows
}

/// A far tier that says what it was told to.
struct Script {
    answer: Mutex<Result<Found>>,
    asked: AtomicUsize,
}

/// The chain owns its far tier, and the test looks at it afterwards.
#[derive(Clone)]
struct Shared(Arc<Script>);

impl Tier for Shared {
    fn name(&self) -> &'static str {
        "script"
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities::new(Scope::Process)
    }
    async fn read(&self, paths: &[Path<'_>], _: Intent) -> Result<Vec<Result<Found>>> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        Ok(paths.iter().map(|_| self.0.answer.lock().clone()).collect())
    }
    async fn write(&self, _: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
        panic!("reading writes nothing to the truth")
    }
    async fn clear(&self, _: &Cleared<'_>) -> Result<Wrote> {
        panic!("reading clears nothing")
    }
}

/// What is found in this state; `None` for an error.
fn entry_of(world: &World, state: &str, version: Version) -> Option<Entry> {
    let (ttl, stale_for) = match state {
        "absent" => return Some(Entry::Absent),
        "removed" => return Some(Entry::Removed(version)),
        "error" => return None,
        "fresh" | "in doubt" => (60, 0),
        "stale" => (0, 60),
        "expired" => (0, 0),
        other => panic!("no such state: {other}"),
    };
    let (ttl, stale_for) = (Duration::from_secs(ttl), Duration::from_secs(stale_for));
    let deadlines = Deadlines::after(world.now(), ttl, stale_for);
    Some(Entry::Present(Record { version, deadlines, ..world.record("value") }))
}

fn check(row: &Row<'_>, far_is_truth: bool) {
    let world = World::new();
    let versions = [world.draw(), world.draw(), world.draw()];
    let near_version = versions[1];
    let far_version = match row.order {
        "older" => versions[2],
        "same" | "-" => versions[1],
        "newer" => versions[0],
        other => panic!("no such order: {other}"),
    };
    let far_state = row.far.split(',').next().unwrap_or_default();
    let minted = Seen::new(b"the truth").unwrap();
    let far_entry = entry_of(&world, far_state, far_version);
    let far_found = match &far_entry {
        Some(entry) => {
            let found = Found::new(entry.clone(), minted, world.now());
            Ok(Found { seen: far_is_truth.then_some(minted), ..found })
        }
        None => Err(Error::new(ErrorKind::Unavailable, "script", "read")),
    };
    let far = Shared(Arc::new(Script { answer: Mutex::new(far_found), asked: AtomicUsize::new(0) }));
    let near = Faulty::new(Scope::Process);
    let chain = world.attached(near.tier().over(far.clone()));

    let path = world.path("k");
    match entry_of(&world, row.near, near_version) {
        Some(Entry::Present(record)) => {
            let put = Write { as_of: world.now(), ..Write::put(path.borrowed(), &record) };
            assert_eq!(block_on(near.tier().write_one(&put)).unwrap(), Wrote::Done);
        }
        Some(Entry::Removed(version)) => {
            let remove = Write::remove(path.borrowed(), version, world.now());
            assert_eq!(block_on(near.tier().write_one(&remove)).unwrap(), Wrote::Done);
        }
        Some(Entry::Absent) | None => {}
    }
    let before = world.read(&near.tier(), "k").unwrap().entry;
    if row.near == "in doubt" {
        chain.distrust();
    }
    world.pass(1);
    near.fail(row.near == "error");
    let found = world.read(&chain, "k");
    near.fail(false);

    let (whose, is_asked) = match row.answer.split_once(", ") {
        Some((whose, "far is not asked")) => (whose, false),
        None => (row.answer, true),
        Some((_, other)) => panic!("{other}?"),
    };
    assert_eq!(far.0.asked.load(Ordering::SeqCst), usize::from(is_asked), "{row:?}: how often far was asked");
    match (whose, &found) {
        ("near", Ok(found)) => {
            assert_eq!(found.from, TierIndex(0), "{row:?}");
            assert_eq!(found.entry, before, "{row:?}");
            let trusted =
                matches!((row.near, &far_entry), ("fresh" | "removed" | "stale", Some(_)) | ("fresh", None));
            assert_eq!(found.trusted, trusted, "{row:?}");
        }
        ("far", Ok(found)) => {
            assert_eq!(found.from, TierIndex(1), "{row:?}");
            assert_eq!(Some(found.entry.version()), far_entry.as_ref().map(Entry::version), "{row:?}");
        }
        ("nothing", Ok(found)) => assert_eq!(found.entry, Entry::Absent, "{row:?}"),
        ("error", Err(_)) => {}
        (_, found) => panic!("{row:?}, but {found:?}"),
    }
    if let (true, true, Ok(found), Some(_)) = (is_asked, far_is_truth, &found, &far_entry) {
        assert_eq!(found.seen, Some(minted), "{row:?}: the truth was asked, a loader may fill");
    }

    let after_read = world.read(&near.tier(), "k").unwrap().entry;
    if let Some(found) = found.ok().filter(|found| found.usable(world.now()).is_some()) {
        block_on(chain.promote(&path, &found)).unwrap();
    }
    let after_promote = world.read(&near.tier(), "k").unwrap().entry;
    match row.copy {
        "kept" => assert_eq!((&after_read, &after_promote), (&before, &before), "{row:?}"),
        "buried" => assert_eq!(after_read, Entry::Removed(far_version), "{row:?}: before the answer"),
        "replaced" => {
            assert_eq!(after_read, before, "{row:?}: only after it was decoded");
            let record = after_promote.record().unwrap_or_else(|| panic!("{row:?}: {after_promote:?}"));
            assert_eq!(record.version, far_version, "{row:?}");
            assert!(!far_is_truth || record.confirmed_at == world.now(), "{row:?}: and vouched for");
        }
        other => panic!("no such fate: {other}"),
    }
}

#[test]
fn a_chain_answers_as_the_table_says() {
    let document = document();
    for row in rows(&document) {
        let both = !row.far.contains(',') && ["removed", "fresh", "stale"].contains(&row.far);
        if both || !row.far.ends_with(", a copy") {
            check(&row, true);
        }
        if both || row.far.ends_with(", a copy") {
            check(&row, false);
        }
    }
}

#[test]
fn the_table_says_every_combination_once() {
    let document = document();
    let mut said = BTreeSet::new();
    for row in rows(&document) {
        let far_state = row.far.split(',').next().unwrap_or_default();
        assert!(STATES.contains(&far_state), "{row:?}");
        let sources: &[&str] = match row.far.split_once(", ") {
            Some((_, source)) => &[source],
            None => &["the truth", "a copy"],
        };
        for source in sources {
            assert!(said.insert((row.near, far_state, row.order, *source)), "said twice: {row:?}");
        }
    }
    for near in STATES.into_iter().chain(["in doubt"]) {
        for far in STATES {
            let has_version = |state| !["absent", "error"].contains(&state);
            let orders: &[&str] =
                if has_version(near) && has_version(far) { &["older", "same", "newer"] } else { &["-"] };
            for order in orders {
                for source in ["the truth", "a copy"] {
                    assert!(
                        said.remove(&(near, far, order, source)),
                        "{near}, {far}, {order}, {source} is missing"
                    );
                }
            }
        }
    }
    assert!(said.is_empty(), "what is this? {said:?}");
}
