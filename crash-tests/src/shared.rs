//! Two processes over one store: counters are exact, and of all who add or take one wins.
//!
//! A store that belongs to one process says so to the second one.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path as FilePath;
use std::process::Stdio;

use nanotier_tier::{
    Change, Clock, Encoded, Entry, Fingerprint, Intent, Namespace, Path, Record, Renewal, Store, Update,
    Updated, Version, Write, read_counter,
};

use crate::faults::{Found, opened_twice};
use crate::kind::{Kind, OnDamage};
use crate::{Result, this_program};

const PROCESSES: u64 = 2;
/// Keys to add to, keys to take from, and additions to each counter.
const ROUNDS: u64 = 300;
const COUNTERS: u64 = 3;

pub(crate) fn run(kind: Kind) -> Result<Found> {
    if !kind.is_shared() {
        return opened_twice(kind);
    }
    let folder = tempfile::tempdir()?;
    let store = kind.open(folder.path(), OnDamage::Error)?;
    prepare(&store)?;
    let mut children = Vec::new();
    for who in 1..=PROCESSES {
        let mut child = this_program()
            .args(["child", "share", &kind.to_string()])
            .arg(folder.path())
            .arg(who.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut output = BufReader::new(child.stdout.take().ok_or("the pipe")?);
        // It has opened the store: both begin at the same time.
        output.read_line(&mut String::new())?;
        children.push((child, output));
    }
    for (child, _) in &mut children {
        child.stdin.take().ok_or("the pipe")?.write_all(b"go\n")?;
    }
    let mut won = Vec::new();
    for (mut child, mut output) in children {
        let mut told = String::new();
        output.read_to_string(&mut told)?;
        let status = child.wait()?;
        if !status.success() {
            return Err(format!("one of two processes ended with {status}").into());
        }
        won.push(told.lines().map(str::to_owned).collect());
    }
    let mut found = Found { tried: PROCESSES * ROUNDS * 3, ..Found::default() };
    judge(&store, &won, &mut found)?;
    Ok(found)
}

/// What each of them does: tells what it won.
pub(crate) fn share(kind: Kind, folder: &FilePath, who: u64) -> Result<()> {
    let store = kind.open(folder, OnDamage::Error)?;
    println!("ready");
    std::io::stdin().lock().read_line(&mut String::new())?;
    for won in play(&store, who)? {
        println!("{won}");
    }
    store.close()?;
    Ok(())
}

fn space() -> Namespace {
    Namespace::new("shared").expect("a good name")
}

fn path<'a>(space: &'a Namespace, what: &str, number: u64) -> Path<'a> {
    Path::new(space, format!("{what} {number}").into_bytes())
}

fn record(text: &str, version: Version) -> Record {
    let value = Encoded::new(text.to_owned(), Fingerprint(1));
    Record { version, ..Record::new(value, Clock::coarse().wall()) }
}

/// Puts what is to be taken.
fn prepare(store: &impl Store) -> Result<()> {
    let space = space();
    for number in 0..ROUNDS {
        let record = record(&format!("token {number}"), Version::from_parts(1, 0));
        let _ = store.write(&[Write::put(path(&space, "token", number), &record)])?.remove(0)?;
    }
    Ok(())
}

fn play(store: &impl Store, who: u64) -> Result<Vec<String>> {
    let space = space();
    let mut won = Vec::new();
    for number in 0..ROUNDS {
        let (version, as_of) = (Version::from_parts(number + 2, who), Clock::coarse().wall());
        let update = |path, change| store.update(&Update { path, change, version, as_of });
        let add = Change::Add(record(&who.to_string(), version));
        if matches!(update(path(&space, "added", number), add)?, Updated::Done(_)) {
            won.push(format!("added {number}"));
        }
        if let Updated::Taken(Some(record)) = update(path(&space, "token", number), Change::Take)? {
            if record.value.bytes != format!("token {number}") {
                won.push("taken something else".into());
            }
            won.push(format!("taken {number}"));
        }
        let change = Change::Increment { by: 1, lifetime: Renewal::Fixed(None) };
        let Updated::Counted { .. } = update(path(&space, "counter", number % COUNTERS), change)? else {
            return Err("an increment was answered by something else".into());
        };
    }
    Ok(won)
}

/// Compares what each says it won with what is there.
fn judge(store: &impl Store, won: &[Vec<String>], found: &mut Found) -> Result<()> {
    let mut winners: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (who, won) in won.iter().enumerate() {
        won.iter().for_each(|won| winners.entry(won).or_default().push(who + 1));
    }
    let space = space();
    let entry = |what: &str, number: u64| -> Result<Entry> {
        Ok(store.read(&[path(&space, what, number)], Intent::Look)?.remove(0)?.entry)
    };
    for number in 0..ROUNDS {
        for what in ["added", "taken"] {
            let winners = winners.get(format!("{what} {number}").as_str()).map_or(&[][..], Vec::as_slice);
            found.want(winners.len() == 1, format!("{what} {number} by {winners:?}"));
        }
        if let Some([winner]) = winners.get(format!("added {number}").as_str()).map(Vec::as_slice) {
            let there = entry("added", number)?;
            let there = there.record().map(|record| record.value.bytes.clone());
            found.want(
                there.is_some_and(|there| there == winner.to_string()),
                "another one than the winner is there",
            );
        }
        found.want(entry("token", number)?.record().is_none(), format!("token {number} is still there"));
    }
    found.want(!winners.contains_key("taken something else"), "something else was taken than was there");
    for number in 0..COUNTERS {
        let counted = entry("counter", number)?.record().and_then(read_counter);
        let expected = i64::try_from(ROUNDS / COUNTERS * won.len() as u64)?;
        found.want(counted == Some(expected), format!("a counter is {counted:?}, not {expected}"));
    }
    found.remark = format!(
        "{} processes: {COUNTERS} counters of {} each, {} winners of {ROUNDS} additions and {ROUNDS} takes",
        won.len(),
        ROUNDS / COUNTERS * won.len() as u64,
        winners.len(),
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nanotier_tier::MemoryStore;
    use std::sync::Arc;

    fn prepared() -> Arc<MemoryStore> {
        let store = Arc::new(MemoryStore::new());
        prepare(&store).unwrap();
        store
    }

    fn play_on(stores: [&Arc<MemoryStore>; 2]) -> Found {
        let won = std::thread::scope(|scope| {
            let players = [(1, stores[0]), (2, stores[1])]
                .map(|(who, store)| scope.spawn(move || play(store, who).unwrap()));
            players.map(|player| player.join().unwrap())
        });
        let mut found = Found::default();
        judge(stores[0], &won, &mut found).unwrap();
        found
    }

    #[test]
    fn of_two_over_one_store_one_wins_and_over_two_stores_both_do() {
        let store = prepared();
        assert_eq!(play_on([&store, &store]).faults, Vec::<String>::new());
        assert!(!play_on([&prepared(), &prepared()]).faults.is_empty());
    }
}
