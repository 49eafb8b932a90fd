//! Several processes, and several handles of one, over one folder.

mod common;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::*;
use nanotier_file::{Durability, FileStore};
use nanotier_tier::{
    Change, Cleared, Clock, Context, Entry, PageRequest, Path, Record, Renewal, Store, Timestamp, Update,
    Updated, Write, Wrote, read_counter,
};

const CHILDREN: u64 = 3;
const ROUNDS: u64 = 60;

/// Starts this very test binary again, as the child named so.
fn child(name: &str, place: &Place, number: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored", "--nocapture"])
        .env("NANOTIER_FILE", place.file())
        .env("NANOTIER_CHILD", number.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// For a child: its number, and the store. `None` if nobody started it as one.
fn as_child() -> Option<(u64, FileStore)> {
    let folder = std::env::var_os("NANOTIER_FILE")?;
    let number = std::env::var("NANOTIER_CHILD").ok()?.parse().ok()?;
    let store = FileStore::builder(folder)
        .segment_size(16 * 1024)
        .sweep_interval(Duration::from_millis(50))
        .build()
        .unwrap();
    store.attach(&Context::new(Clock::coarse(), number));
    Some((number, store))
}

fn update(store: &FileStore, key: &str, n: u64, change: Change) -> Updated {
    let test = space("test");
    let as_of = Clock::coarse().wall();
    store.update(&Update { path: Path::new(&test, key.as_bytes()), change, version: v(n), as_of }).unwrap()
}

fn put(store: &FileStore, key: &str, n: u64, value: &[u8]) -> Wrote {
    let test = space("test");
    let value = nanotier_tier::Encoded::new(value.to_vec(), nanotier_tier::Fingerprint(7));
    let record = Record { version: v(n), ..Record::new(value, Clock::coarse().wall()) };
    write(store, Write::put(Path::new(&test, key.as_bytes()), &record)).unwrap()
}

fn said(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn number_after(said: &str, word: &str) -> u64 {
    let rest = said.split_once(word).unwrap_or_else(|| panic!("no {word} in {said}")).1;
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
#[ignore = "a child of the test below"]
fn child_that_competes() {
    let Some((number, store)) = as_child() else { return };
    let (mut added, mut taken) = (0, 0);
    for round in 0..ROUNDS {
        let by = Change::Increment { by: 1, lifetime: Renewal::Fixed(None) };
        assert!(matches!(update(&store, "count", 1, by), Updated::Counted { .. }));
        let mine = nanotier_tier::Encoded::new("mine", nanotier_tier::Fingerprint(7));
        let mine = Record { version: v(1), ..Record::new(mine, Clock::coarse().wall()) };
        added += u64::from(matches!(
            update(&store, &format!("add {round}"), 1, Change::Add(mine)),
            Updated::Done(_)
        ));
        let take = update(&store, &format!("take {round}"), 1, Change::Take);
        taken += u64::from(matches!(take, Updated::Taken(Some(_))));
        let own = format!("own {number} {}", round % 5);
        assert_eq!(put(&store, &own, 1 + round, &vec![7; 700]), Wrote::Done);
        assert_eq!(value(&store, &own).unwrap().len(), 700);
        if round % 20 == 10 {
            store.compact().unwrap();
        }
    }
    store.close().unwrap();
    println!("added {added} taken {taken}");
}

#[test]
fn of_processes_that_add_take_and_count_at_once_one_wins_and_counters_are_exact() {
    let place = Place::new();
    let store = FileStore::builder(place.file()).segment_size(16 * 1024).build().unwrap();
    for round in 0..ROUNDS {
        assert_eq!(put(&store, &format!("take {round}"), 1, b"token"), Wrote::Done);
    }
    let children: Vec<Child> =
        (0..CHILDREN).map(|number| child("child_that_competes", &place, number + 2)).collect();
    for _ in 0..ROUNDS {
        let by = Change::Increment { by: 1, lifetime: Renewal::Fixed(None) };
        assert!(matches!(update(&store, "count", 1, by), Updated::Counted { .. }));
    }
    let said: Vec<String> = children.into_iter().map(said).collect();
    let sum = |word: &str| said.iter().map(|said| number_after(said, word)).sum::<u64>();
    assert_eq!((sum("added "), sum("taken ")), (ROUNDS, ROUNDS));
    let count = |store: &FileStore| read_counter(entry(store, "count").record().unwrap()).unwrap();
    assert_eq!(count(&store), i64::try_from((CHILDREN + 1) * ROUNDS).unwrap());
    assert_eq!(store.believed_since(), Timestamp::ZERO, "everybody closed");
    drop(store);
    let store = FileStore::open(place.file()).unwrap();
    assert_eq!(count(&store), i64::try_from((CHILDREN + 1) * ROUNDS).unwrap());
    assert_eq!(store.believed_since(), Timestamp::ZERO);
}

#[test]
#[ignore = "a child of the test below"]
fn child_that_is_killed() {
    let Some((number, store)) = as_child() else { return };
    for n in 1.. {
        let key = format!("own {number} {}", n % 7);
        assert_eq!(put(&store, &key, n, n.to_string().repeat(200).as_bytes()), Wrote::Done);
        println!("done {n} ");
    }
}

#[test]
fn a_process_killed_at_any_moment_loses_nothing_acknowledged_and_stops_nobody() {
    let place = Place::new();
    let build =
        || FileStore::builder(place.file()).segment_size(16 * 1024).sweep_interval(Duration::from_millis(20));
    let store = build().build().unwrap();
    let mut last_own = 0;
    for number in 10..18 {
        let mut victim = child("child_that_is_killed", &place, number);
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(60 + number * 13) {
            last_own += 1;
            assert_eq!(put(&store, "own", last_own, &[1; 500]), Wrote::Done);
            assert_eq!(found(&store, &space("test"), "own").entry.version(), Some(v(last_own)));
        }
        victim.kill().unwrap();
        let said = victim.wait_with_output().unwrap().stdout;
        let said = String::from_utf8_lossy(&said);
        let done: Vec<u64> =
            said.split("done ").skip(1).filter_map(|word| word.split_once(' ')?.0.parse().ok()).collect();
        let check = |store: &FileStore| {
            for n in done.iter().rev().take(7) {
                let key = format!("own {number} {}", n % 7);
                let Entry::Present(record) = entry(store, &key) else { panic!("{key} is gone") };
                assert!(record.version >= v(*n), "{key}: {:?} after {n}", record.version);
                let n = record.version.parts().0;
                assert_eq!(record.value.bytes, n.to_string().repeat(200).as_bytes());
            }
        };
        check(&store);
        check(&build().build().unwrap());
        assert_eq!(put(&store, "own", last_own + 1, b"goes on"), Wrote::Done);
        last_own += 1;
    }
    let start = Instant::now();
    while store.believed_since() == Timestamp::ZERO {
        assert!(start.elapsed() < Duration::from_secs(10), "a killed process is noticed");
        std::thread::sleep(Duration::from_millis(5));
        let _ = entry(&store, "own");
    }
}

#[test]
fn what_one_handle_wrote_another_sees_at_once_across_segments_compaction_and_clearing() {
    let place = Place::new();
    let small = || place.open_with(|builder| builder.segment_size(4096).durability(Durability::Sync));
    let (one, other) = (small(), small());
    for n in 1..200 {
        let key = format!("key {}", n % 10);
        let (writer, reader) = if n % 3 == 0 { (&one, &other) } else { (&other, &one) };
        assert_eq!(place.put(writer, &key, n, &n.to_string().into_bytes().repeat(50)), Wrote::Done);
        assert_eq!(found(reader, &space("test"), &key).entry.version(), Some(v(n)));
        if n % 50 == 0 {
            writer.compact().unwrap();
            assert_eq!(found(reader, &space("test"), &key).entry.version(), Some(v(n)));
        }
    }
    assert_eq!(one.usage().unwrap(), other.usage().unwrap());
    let test = space("test");
    let seen = found(&other, &test, "key 1").entry.version();
    assert_eq!(
        one.clear(&Cleared { namespace: &test, version: v(1000), as_of: place.now() }).unwrap(),
        Wrote::Done
    );
    assert_ne!(found(&other, &test, "key 1").entry.version(), seen);
    assert_eq!(other.list(&test, &PageRequest::default()).unwrap().entries, []);
    assert_eq!(place.put(&other, "key 1", 999, b"late"), Wrote::Older(v(1000)));
}

#[test]
fn one_that_was_away_while_the_log_moved_on_finds_its_place_again() {
    let place = Place::new();
    let small = || place.open_with(|builder| builder.segment_size(4096));
    let (busy, away) = (small(), small());
    assert_eq!(place.put(&busy, "old", 1, b"old"), Wrote::Done);
    assert_eq!(value(&away, "old").unwrap(), b"old");
    for n in 1..300 {
        assert_eq!(place.put(&busy, "key", n, &[7; 500]), Wrote::Done);
    }
    busy.compact().unwrap();
    assert!(!place.segment(1).exists(), "compacted away");
    assert_eq!(found(&away, &space("test"), "key").entry.version(), Some(v(299)));
    assert_eq!(value(&away, "old").unwrap(), b"old");
    assert_eq!(place.put(&away, "key", 300, b"x"), Wrote::Done);
    assert_eq!(value(&busy, "key").unwrap(), b"x");
}

#[test]
fn what_one_doubts_all_doubt_also_those_who_come_later() {
    let place = Place::new();
    let (one, other) = (place.open(), place.open());
    assert_eq!(other.believed_since(), Timestamp::ZERO);
    place.hands.advance(MINUTE);
    let until = place.now();
    one.doubt(until);
    assert_eq!(entry(&other, "k"), Entry::Absent);
    assert_eq!(other.believed_since(), until);
    assert_eq!(place.open().believed_since(), until);
    drop((one, other));
    assert_eq!(place.open().believed_since(), until);
}

#[test]
fn one_that_ended_without_closing_makes_all_doubt_what_was_given_until_it_is_noticed() {
    let place = Place::new();
    let store = place.open_with(|builder| builder.sweep_interval(Duration::from_millis(10)));
    let mut victim = child("child_that_is_killed", &place, 5);
    let start = Instant::now();
    while value(&store, "own 5 1").is_none() {
        assert!(start.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(store.believed_since(), Timestamp::ZERO);
    victim.kill().unwrap();
    victim.wait().unwrap();
    place.hands.advance(MINUTE);
    let noticed_at = place.now();
    let late = place.open();
    place.hands.advance(MINUTE);
    assert_eq!(late.believed_since(), noticed_at, "by whoever opens it next");
    assert_eq!(entry(&store, "none"), Entry::Absent);
    assert!(store.believed_since() >= noticed_at, "and by all who have it open");
    drop((store, late));
    assert!(place.open().believed_since() >= noticed_at, "and for ever");
}
