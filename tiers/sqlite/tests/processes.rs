//! Several processes over one database: this test binary, started again for each of them.

mod common;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::*;
use nanotier_sqlite::{Builder, Durability, SqliteStore};
use nanotier_tier::{
    Change, Clock, Context, Encoded, ErrorKind, Fingerprint, Intent, Path, Record, Renewal, Store, Timestamp,
    Update, Updated, Version, Write, Wrote, read_counter,
};

const ROLE: &str = "NANOTIER_SQLITE_CHILD";
const FILE: &str = "NANOTIER_SQLITE_FILE";
const THREADS: u64 = 8;

/// Starts this binary in `role`, over the place's database. `prefix`: what starts it, where that is not the system alone.
fn start(place: &Place, role: &str, prefix: &[&str]) -> Child {
    let binary = std::env::current_exe().unwrap();
    let mut words = prefix.iter().map(PathBuf::from).chain([binary]);
    Command::new(words.next().unwrap())
        .args(words)
        .args(["--exact", "child", "--ignored", "--nocapture", "--quiet"])
        .env(ROLE, role)
        .env(FILE, place.file())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What the child says after `word`, line by line.
fn said(child: &mut Child, word: &str) -> Vec<String> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    lines.filter_map(|line| line.strip_prefix(word).map(|rest| rest.trim().to_owned())).collect()
}

/// Waits until the child has said `word`.
fn wait_for(reader: &mut impl std::io::BufRead, word: &str) {
    let mut line = String::new();
    while !line.contains(word) {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0, "the child ended before it said {word}");
    }
}

fn ends_well(mut child: Child) {
    assert!(child.wait().unwrap().success());
}

/// Not a test: what the other processes do.
#[test]
#[ignore = "a process that the tests start"]
fn child() {
    let (Ok(role), Ok(file)) = (std::env::var(ROLE), std::env::var(FILE)) else { return };
    let open = || {
        let store = SqliteStore::builder(&file).wal_max(Builder::WAL_MAX_MIN).build().unwrap();
        store.attach(&Context::new(Clock::coarse(), 1));
        store
    };
    match role.as_str() {
        "update" => update_as_fast_as_it_goes(&open()),
        "mixed" => read_and_write(&open()),
        "write" => write_until_killed(&open()),
        "hold" => {
            let store = open();
            println!("\nopen {}", store.believed_since().as_millis());
            std::io::stdin().read_line(&mut String::new()).unwrap();
        }
        "short of disk" => short_of_disk(&file),
        "full disk" => full_disk(&file),
        _ => unreachable!("{role}"),
    }
}

fn record(version: Version, value: &[u8]) -> Record {
    let value = Encoded::new(value.to_vec(), Fingerprint(7));
    Record { version, ..Record::new(value, Clock::coarse().wall()) }
}

fn update(store: &SqliteStore, key: &str, change: Change) -> Updated {
    let test = space("test");
    let now = Clock::coarse().wall();
    let version = Version::from_parts(now.as_millis() << 16, u64::from(std::process::id()));
    let path = Path::new(&test, key.as_bytes());
    store.update(&Update { path, change, version, as_of: now }).unwrap()
}

const COUNTS: u64 = 60;
const TOKENS: u64 = 100;

fn update_as_fast_as_it_goes(store: &SqliteStore) {
    let writer = u64::from(std::process::id());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                for n in 0..COUNTS {
                    let by = Change::Increment { by: 1, lifetime: Renewal::Fixed(None) };
                    assert!(matches!(update(store, "count", by), Updated::Counted { .. }));
                    let mine =
                        record(Version::from_parts(1, writer), format!("{writer} {thread}").as_bytes());
                    if matches!(update(store, &format!("added {n}"), Change::Add(mine)), Updated::Done(_)) {
                        println!("\nadded {n}");
                    }
                }
                for n in 0..TOKENS {
                    if matches!(update(store, &format!("token {n}"), Change::Take), Updated::Taken(Some(_))) {
                        println!("\ntook {n}");
                    }
                }
            });
        }
    });
    store.close().unwrap();
}

#[test]
fn counters_of_several_processes_are_exact_and_of_all_who_add_or_take_one_wins() {
    let place = Place::new();
    let store = place.open();
    store.attach(&Context::new(Clock::coarse(), 1));
    let long_ago = Version::from_parts(1, 1);
    for n in 0..TOKENS {
        let test = space("test");
        let (key, token) = (format!("token {n}"), record(long_ago, b"token"));
        let put = Write::put(Path::new(&test, key.as_bytes()), &token);
        // By the clock of the processes, not by the place's.
        let put = Write { as_of: place.now(), ..put };
        assert_eq!(write(&store, put).unwrap(), Wrote::Done);
    }
    let mut children: Vec<Child> = (0..2).map(|_| start(&place, "update", &[])).collect();
    let outputs: Vec<String> = children.iter_mut().flat_map(|child| said(child, "")).collect();
    children.into_iter().for_each(ends_well);
    let won = |word: &str| {
        let mut won: Vec<u64> =
            outputs.iter().filter_map(|line| line.strip_prefix(word)?.trim().parse().ok()).collect();
        won.sort_unstable();
        won
    };
    assert_eq!(won("added"), (0..COUNTS).collect::<Vec<_>>());
    assert_eq!(won("took"), (0..TOKENS).collect::<Vec<_>>());
    let counter = entry(&store, "count").record().cloned().unwrap();
    assert_eq!(read_counter(&counter), Some(i64::try_from(2 * THREADS * COUNTS).unwrap()));
}

fn read_and_write(store: &SqliteStore) {
    let test = space("test");
    let writer = u64::from(std::process::id());
    let slowest = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let test = &test;
                scope.spawn(move || {
                    let mut slowest = Duration::ZERO;
                    for n in 1..=150_u64 {
                        let start = Instant::now();
                        let key = format!("{}", (n * 31 + thread) % 200);
                        let record =
                            record(Version::from_parts(n, writer + thread), &n.to_le_bytes().repeat(500));
                        let wrote = write(store, Write::put(Path::new(test, key.as_bytes()), &record));
                        assert!(matches!(wrote.unwrap(), Wrote::Done | Wrote::Older(_)));
                        slowest = slowest.max(start.elapsed());
                        let own = format!("own {writer} {thread}");
                        assert_eq!(
                            write(store, Write::put(Path::new(test, own.as_bytes()), &record)).unwrap(),
                            Wrote::Done
                        );
                        let paths: Vec<_> =
                            [own, key].into_iter().map(|key| Path::new(test, key.into_bytes())).collect();
                        let found = store.read(&paths, Intent::Look).unwrap();
                        let version = found[0].as_ref().unwrap().entry.version();
                        assert_eq!(
                            version,
                            Some(Version::from_parts(n, writer + thread)),
                            "one's own last write"
                        );
                        assert!(found[1].as_ref().unwrap().entry.version().is_some());
                    }
                    slowest
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).max().unwrap()
    });
    println!("\nslowest {}", slowest.as_micros());
    store.close().unwrap();
}

#[test]
fn two_processes_of_eight_threads_meet_no_busy_error_and_the_log_stays_within_its_limit() {
    let place = Place::new();
    drop(place.open());
    let mut children: Vec<Child> = (0..2).map(|_| start(&place, "mixed", &[])).collect();
    let mut longest = 0;
    while children.iter_mut().any(|child| child.try_wait().unwrap().is_none()) {
        longest = longest.max(std::fs::metadata(place.beside("-wal")).map_or(0, |log| log.len()));
        std::thread::sleep(Duration::from_millis(2));
    }
    // Of the 40 MB that were written.
    assert!(longest > 0 && longest <= Builder::WAL_MAX_MIN, "the log had {longest} bytes");
    for mut child in children {
        let slowest: u128 = said(&mut child, "slowest")[0].parse().unwrap();
        println!("slowest put {slowest} us, longest log {longest} bytes");
        assert!(slowest < 4_000_000, "{slowest} us for a put: somebody starves");
        ends_well(child);
    }
    assert!(!place.beside("-wal").exists(), "the last one to close leaves the database alone");
}

fn write_until_killed(store: &SqliteStore) {
    let test = space("test");
    for n in 1.. {
        let record = record(Version::from_parts(n, 1), format!("value {n}").as_bytes());
        for key in [format!("{}", n % 50), "newest".to_owned()] {
            let wrote = write(store, Write::put(Path::new(&test, key.as_bytes()), &record));
            assert_eq!(wrote.unwrap(), Wrote::Done);
        }
        println!("\nwrote {n}");
    }
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill_and_what_was_not_is_whole_or_absent() {
    for pause in [0, 3, 20] {
        let place = Place::new();
        let mut child = start(&place, "write", &[]);
        let mut output = BufReader::new(child.stdout.take().unwrap());
        wait_for(&mut output, "wrote 1");
        std::thread::sleep(Duration::from_millis(pause));
        child.kill().unwrap();
        child.wait().unwrap();
        let rest = output.lines().map_while(Result::ok);
        let acknowledged =
            rest.filter_map(|line| line.strip_prefix("wrote ")?.parse().ok()).max().unwrap_or(1_u64);
        let store = SqliteStore::open(place.file()).unwrap();
        assert!(store.believed_since() > Timestamp::ZERO, "it was not closed");
        let there = entry(&store, "newest").version().unwrap().parts().0;
        assert!(there >= acknowledged && there <= acknowledged + 1, "{there} of {acknowledged}");
        for n in (1..=acknowledged).rev().take(50) {
            let found = entry(&store, &format!("{}", n % 50));
            let version = found.version().unwrap().parts().0;
            assert!(version == n || version == acknowledged + 1);
            let record = found.record().unwrap().clone();
            assert_eq!(record.value.bytes, format!("value {version}"));
        }
    }
}

#[test]
fn the_end_of_a_process_that_did_not_close_is_noticed_by_those_who_have_it_open_and_by_those_who_come() {
    let place = Place::new();
    let store = place.open_with(|builder| builder.sweep_interval(Duration::from_millis(20)));
    assert_eq!(place.put(&store, "k", 1, b"x"), Wrote::Done);
    let hold = || {
        let mut child = start(&place, "hold", &[]);
        let mut output = BufReader::new(child.stdout.take().unwrap());
        wait_for(&mut output, "open 0");
        (child, output)
    };
    // One that closes is missed by nobody.
    let (mut child, _output) = hold();
    writeln!(child.stdin.take().unwrap()).unwrap();
    ends_well(child);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(store.believed_since(), Timestamp::ZERO);

    let (mut child, _output) = hold();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(store.believed_since(), Timestamp::ZERO, "as long as it lives there is nothing to doubt");
    child.kill().unwrap();
    child.wait().unwrap();
    place.hands.advance(MINUTE);
    let start = Instant::now();
    while store.believed_since() != place.now() {
        assert!(start.elapsed() < Duration::from_secs(20), "it is never noticed");
        std::thread::sleep(Duration::from_millis(5));
    }
    let noticed_at = place.now();
    place.hands.advance(MINUTE);
    assert_eq!(store.believed_since(), noticed_at, "once");
    store.close().unwrap();
    assert_eq!(place.open().believed_since(), noticed_at, "and for good");
    assert_eq!(
        std::fs::read_dir(place.folder.path()).unwrap().count(),
        1,
        "nothing is left beside the database"
    );
}

/// Everything this process writes ends at some size of its files, at every one in turn.
fn short_of_disk(file: &str) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let whole = getrlimit(Resource::Fsize);
    let limit = |bytes: Option<u64>| {
        setrlimit(Resource::Fsize, Rlimit { current: bytes.or(whole.current), ..whole }).unwrap();
    };
    let log = format!("{file}-wal");
    let mut version = 0;
    for durability in [Durability::Sync, Durability::Async { loss_window: Duration::from_secs(3600) }] {
        let store = SqliteStore::builder(file).durability(durability).build().unwrap();
        store.attach(&Context::new(Clock::coarse(), 1));
        let test = space("test");
        let mut put = |value: &[u8]| {
            version += 1;
            let record = record(Version::from_parts(version, 1), &[value, &version.to_le_bytes()].concat());
            (version, write(&store, Write::put(Path::new(&test, &b"k"[..]), &record)))
        };
        let newest = || entry(&store, "k").version().unwrap().parts().0;
        let mut failed = 0;
        for step in 0..64 {
            let (last, wrote) = put(&[5; 9000]);
            assert_eq!(wrote.unwrap(), Wrote::Done, "after {failed} failures");
            // Opens what reads: new memory to share would take room, too.
            assert_eq!(newest(), last);
            let len = std::fs::metadata(&log).unwrap().len();
            limit(Some(len + step * 1000));
            let (next, wrote) = put(&[6; 20_000]);
            // Reading needs no room.
            let there = newest();
            limit(None);
            match wrote {
                Ok(wrote) => {
                    assert_eq!((wrote, there), (Wrote::Done, next));
                    assert!(step > 3, "a put of 20 000 bytes into a log that may not grow");
                }
                Err(error) => {
                    failed += 1;
                    assert!(matches!(error.kind(), ErrorKind::Storage | ErrorKind::Full), "{error}");
                    assert_eq!(there, last, "it was rolled back");
                    assert!(store.believed_since() > Timestamp::ZERO);
                }
            }
            assert!([last, next].contains(&newest()));
        }
        store.close().unwrap();
        println!("\nfailed {failed}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_write_that_the_system_cuts_short_anywhere_is_an_error_and_rolled_back_and_the_store_goes_on() {
    let place = Place::new();
    // Without the signal that would end it, the process is told by an error.
    let mut child = start(&place, "short of disk", &["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
    let failed: Vec<u64> = said(&mut child, "failed").iter().map(|count| count.parse().unwrap()).collect();
    ends_well(child);
    assert_eq!(failed.len(), 2);
    assert!(failed.iter().all(|count| (5..64).contains(count)), "{failed:?}");
}

/// On a disk of its own that is 2 MiB small.
fn full_disk(file: &str) {
    let filler = format!("{file}-filler");
    let store = SqliteStore::open(file).unwrap();
    store.attach(&Context::new(Clock::coarse(), 1));
    let test = space("test");
    let put = |n: u64| {
        let record = record(Version::from_parts(n, 1), &n.to_le_bytes().repeat(2000));
        write(&store, Write::put(Path::new(&test, n.to_string().as_bytes()), &record))
    };
    assert_eq!(put(0).unwrap(), Wrote::Done);
    std::fs::write(&filler, vec![1; 1 << 20]).unwrap();
    let (mut written, mut refused) = (1, 0);
    while refused < 5 {
        match put(written) {
            Ok(wrote) => assert_eq!((wrote, refused), (Wrote::Done, 0), "without room being made"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Full, "{error}");
                assert!(error.to_string().contains("no room"), "{error}");
                assert_eq!(store.believed_since(), Timestamp::ZERO, "nothing was lost");
                refused += 1;
                continue;
            }
        }
        written += 1;
        assert!(written < 1000, "it is never full");
    }
    let all_there = || (0..written).all(|n| entry(&store, &n.to_string()).version().is_some());
    assert!(all_there(), "reading goes on, and all that was acknowledged is there");
    std::fs::remove_file(&filler).unwrap();
    assert_eq!(put(written).unwrap(), Wrote::Done, "as soon as there is room");
    assert!(all_there());
    store.close().unwrap();
    println!("\nwritten {written}");
}

/// Needs the right to mount; without it there is nothing to see.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said_loses_nothing_and_is_over_when_there_is_room() {
    let place = Place::new();
    let folder = place.folder.path().to_str().unwrap();
    let script =
        format!("mount -t tmpfs -o size=2m none {folder} 2>/dev/null || exit 77; exec \"$0\" \"$@\"");
    let mut child = start(&place, "full disk", &["unshare", "-m", "sh", "-c", &script]);
    let written = said(&mut child, "written");
    let status = child.wait().unwrap();
    if !matches!(status.code(), Some(1 | 77)) || !written.is_empty() {
        assert!(status.success() && written.len() == 1, "{status}");
    }
}
