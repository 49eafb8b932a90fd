//! Warm restart: what is kept is kept in order and with its time, and whatever came between, nothing comes back.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nanotier::redb::RedbStore;
use nanotier::shaping::{Compression, KeyId, KeyRing, Secret, Shaping};
use nanotier::tier::{Limits, WriteBehind};
use nanotier::{
    AnyTier, Builder, Bytes, Cache, Clock, Codec, Cold, ErrorKind, Hands, Inline, Json, Key, MemoryStore,
    Policy, Raw, Result, Scope, Source, Tier, TimeLeft, Ttl, WarmEnd, WarmPhase, WarmRestart,
};
use parking_lot::Mutex;

mod common;
use common::Watched;

type Words = Cache<String, String>;

const MINUTE: Duration = Duration::from_secs(60);

/// A folder, and a clock that all runs go by.
struct Place {
    folder: tempfile::TempDir,
    clock: Clock,
    hands: Hands,
}

impl Place {
    fn new() -> Self {
        let (clock, hands) = Clock::manual();
        Self { folder: tempfile::tempdir().unwrap(), clock, hands }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("words.warm")
    }

    fn mark(&self) -> PathBuf {
        self.folder.path().join("words.warm.nanotier-run")
    }

    fn warm(&self) -> WarmRestart {
        WarmRestart::new(self.file())
    }

    fn builder(&self) -> Builder<String, String> {
        let builder = Cache::builder().clock(self.clock.clone()).namespace("words").codec(Json::default());
        builder.warm_restart(self.warm()).policy(Policy::Lru).capacity(100)
    }

    fn open(&self) -> Words {
        self.builder().build().unwrap()
    }

    fn builder_with(&self, warm: WarmRestart) -> Builder<String, String> {
        self.builder().warm_restart(warm)
    }

    fn redb(&self) -> RedbStore {
        RedbStore::open(self.folder.path().join("words.redb")).unwrap()
    }

    fn over_redb(&self) -> Words {
        self.builder().tiers(self.redb().inline()).build().unwrap()
    }

    fn over_redb_without(&self) -> Words {
        let builder = Cache::builder().clock(self.clock.clone()).namespace("words").codec(Json::default());
        builder.tiers(self.redb().inline()).build().unwrap()
    }

    /// A run that has put these in and was closed.
    fn after(&self, words: &[(&str, &str)]) {
        let cache = self.open();
        put(&cache, words);
        cache.close().wait().unwrap();
    }
}

fn put(cache: &Words, words: &[(&str, &str)]) {
    for (key, value) in words {
        cache.insert((*key).to_string(), (*value).to_string()).wait().unwrap();
    }
}

fn sealing(secret: u8) -> Shaping {
    let ring = KeyRing::new(KeyId(1), &Secret::new([secret; 32])).unwrap();
    Shaping::builder().compress(Compression::Lz4).encrypt(ring).build().unwrap()
}

fn compressing() -> Shaping {
    Shaping::builder().compress(Compression::Lz4).build().unwrap()
}

/// What memory alone has.
fn resident(cache: &Words, key: &str) -> Option<String> {
    cache.resident(key).map(|(value, _)| value)
}

fn end(cache: &Words) -> WarmEnd {
    cache.warmth().expect("asked for").end.clone()
}

const SOME: [(&str, &str); 3] = [("a", "1"), ("b", "2"), ("c", "3")];

#[test]
fn memory_comes_back_and_its_file_is_gone_while_it_is_in_use() {
    let place = Place::new();
    place.after(&SOME);
    assert!(place.file().exists());
    let cache = place.open();
    assert!(!place.file().exists(), "taken away before the first call");
    assert_eq!(end(&cache), WarmEnd::Complete);
    for (key, value) in SOME {
        assert_eq!(cache.get(key).wait().unwrap().as_deref(), Some(value));
    }
    let warmth = cache.warmth().unwrap();
    assert_eq!((warmth.loaded, warmth.in_file, warmth.expired, warmth.unreadable), (3, 3, 0, 0));
    assert!(warmth.to_string().starts_with("warm: 3 of 3 entries"), "{warmth}");
    // A second one over the same file finds nothing, and the first then writes nothing over it.
    let second = place.open();
    assert_eq!(end(&second), WarmEnd::Cold(Cold::NoFile));
    assert_eq!(cache.close().wait().unwrap_err().kind(), ErrorKind::InUse);
    assert_eq!(cache.close().wait().unwrap_err().kind(), ErrorKind::InUse, "closing twice is closing once");
    assert!(!place.file().exists());
}

#[test]
fn a_file_is_readable_by_its_owner_alone_and_nothing_else_is_left() {
    let place = Place::new();
    place.after(&SOME);
    let mut names: Vec<_> =
        fs::read_dir(place.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["words.warm", "words.warm.nanotier-run"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(place.file()).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn lifetimes_go_on_while_the_process_is_down() {
    let place = Place::new();
    let open = || place.builder().ttl(10 * MINUTE).stale_for(10 * MINUTE).build().unwrap();
    let cache = open();
    cache.insert_for("minute".into(), "m".into(), MINUTE).wait().unwrap();
    cache.insert_for("forever".into(), "f".into(), Ttl::Forever).wait().unwrap();
    cache.insert("ten".into(), "t".into()).wait().unwrap();
    place.hands.advance(Duration::from_secs(10));
    cache.close().wait().unwrap();

    place.hands.advance(4 * MINUTE);
    let cache = open();
    let left = |key: &str| cache.time_left(key).wait().unwrap();
    let ten = 6 * MINUTE - Duration::from_secs(10);
    assert_eq!(left("ten"), Some(TimeLeft::Fresh(ten)));
    assert_eq!(left("forever"), Some(TimeLeft::Forever));
    assert_eq!(left("minute"), Some(TimeLeft::Stale(7 * MINUTE - Duration::from_secs(10))));
    cache.close().wait().unwrap();

    place.hands.advance(7 * MINUTE);
    let cache = open();
    assert_eq!(cache.len(), 2, "what expired meanwhile is not loaded");
    assert_eq!((cache.warmth().unwrap().expired, cache.warmth().unwrap().loaded), (1, 2));
    assert!(resident(&cache, "minute").is_none());
}

#[test]
fn a_clock_that_was_set_back_cannot_stretch_a_life() {
    let place = Place::new();
    let cache = place.builder().ttl(MINUTE).build().unwrap();
    put(&cache, &SOME);
    place.hands.advance(MINUTE / 2);
    cache.close().wait().unwrap();
    // Back by four minutes: the deadline seems to be far.
    place.hands.set_wall(place.clock.wall().minus(4 * MINUTE));
    let cache = place.open();
    assert_eq!(cache.time_left("a").wait().unwrap(), Some(TimeLeft::Fresh(MINUTE / 2)));
}

#[test]
fn the_hottest_are_kept_when_there_is_less_room() {
    for policy in [Policy::Lru, Policy::Clock, Policy::Adaptive] {
        let place = Place::new();
        let cache = place.builder().policy(policy).capacity(100).build().unwrap();
        let key = |n: u32| format!("key {n}");
        (0..100).for_each(|n| cache.insert(key(n), n.to_string()).wait().unwrap());
        (0..40).for_each(|n| drop(cache.get(&key(n)).wait().unwrap()));
        cache.close().wait().unwrap();

        let cache = place.builder().policy(policy).capacity(50).build().unwrap();
        assert_eq!((end(&cache), cache.len()), (WarmEnd::Full, 50), "{policy:?}");
        // None is used by being looked for.
        let hot = |from: u32| (from..40).filter(|n| cache.contains(&key(*n)).wait().unwrap()).count();
        assert_eq!(hot(0), 40, "{policy:?}");
        if policy == Policy::Lru {
            // And they are the last to leave still.
            (200..220).for_each(|n| cache.insert(key(n), n.to_string()).wait().unwrap());
            assert_eq!((hot(0), hot(10)), (30, 30));
        }
    }
}

#[test]
fn what_comes_in_order_goes_out_in_order() {
    let place = Place::new();
    let cache = place.open();
    (0..60).for_each(|n| cache.insert(n.to_string(), "x".into()).wait().unwrap());
    cache.get("7").wait().unwrap();
    cache.close().wait().unwrap();
    // Through two restarts.
    place.open().close().wait().unwrap();
    let cache = place.builder().capacity(3).build().unwrap();
    let mut kept: Vec<u32> = (0..60).filter(|n| resident(&cache, &n.to_string()).is_some()).collect();
    kept.sort_unstable();
    assert_eq!(kept, [7, 58, 59]);
}

#[test]
fn a_removed_key_stays_removed_whoever_runs_between() {
    let place = Place::new();
    let first = place.over_redb();
    put(&first, &SOME);
    first.close().wait().unwrap();
    drop(first);
    let kept = fs::read(place.file()).unwrap();
    // A run over the same tiers that knows nothing of the file.
    let between = place.over_redb_without();
    between.remove("a").wait().unwrap();
    between.close().wait().unwrap();
    drop(between);
    assert_eq!(fs::read(place.file()).unwrap(), kept);

    let third = place.over_redb();
    assert_eq!(end(&third), WarmEnd::Cold(Cold::OtherState));
    assert_eq!(third.get("a").wait().unwrap(), None);
    assert_eq!(third.get("b").wait().unwrap().as_deref(), Some("2"));
}

#[test]
fn a_run_that_crashes_leaves_nothing_to_come_back() {
    for over_redb in [false, true] {
        let place = Place::new();
        let open = || if over_redb { place.over_redb() } else { place.open() };
        let first = open();
        put(&first, &SOME);
        first.close().wait().unwrap();
        drop(first);
        let second = open();
        assert_eq!(end(&second), WarmEnd::Complete);
        second.remove("a").wait().unwrap();
        // Not closed.
        drop(second);
        let third = open();
        assert_eq!(end(&third), WarmEnd::Cold(Cold::NoFile));
        assert_eq!(third.get("a").wait().unwrap(), None);
    }
}

#[test]
fn a_run_that_closes_after_the_next_has_begun_leaves_nothing_to_come_back() {
    let place = Place::new();
    let old = place.open();
    put(&old, &SOME);
    let new = place.open();
    put(&new, &[("a", "newer")]);
    new.remove("b").wait().unwrap();
    old.close().wait().unwrap_err();
    // Not closed. Whatever the old one might have written, it is not of the last run.
    drop(new);
    let third = place.open();
    assert!(matches!(end(&third), WarmEnd::Cold(_)));
    assert_eq!(resident(&third, "a"), None);
}

#[test]
fn it_is_loaded_over_redb_and_asks_the_tier_for_nothing() {
    let place = Place::new();
    let first = place.over_redb();
    put(&first, &SOME);
    first.close().wait().unwrap();
    drop(first);
    let second = place.over_redb();
    assert_eq!(end(&second), WarmEnd::Complete);
    let detailed = second.get("a").detailed().wait().unwrap();
    assert_eq!((detailed.value.as_deref(), detailed.source), (Some("1"), Source::Memory));
    // A write from now on is newer than what was loaded.
    put(&second, &[("a", "4")]);
    assert_eq!(resident(&second, "a").as_deref(), Some("4"));
    place.hands.advance(2 * MINUTE);
    assert_eq!(resident(&second, "b"), None, "to be rechecked, as if there had been no restart");
    assert_eq!(second.get("b").wait().unwrap().as_deref(), Some("2"));
}

#[test]
fn over_a_truth_that_others_write_everything_is_checked_before_it_is_served() {
    let place = Place::new();
    let truth = Watched::shared_by(Scope::Fleet);
    let open = || place.builder().tiers(truth.clone()).build().unwrap();
    let first = open();
    put(&first, &SOME);
    first.close().wait().unwrap();
    // Another process removes one.
    let other: Words = Cache::builder()
        .clock(place.clock.clone())
        .namespace("words")
        .codec(Json::default())
        .tiers(truth.clone())
        .build()
        .unwrap();
    other.remove("a").wait().unwrap();

    let second = open();
    assert_eq!((end(&second), second.len()), (WarmEnd::Complete, 3));
    assert_eq!(resident(&second, "b"), None, "not without asking");
    assert_eq!(second.get("a").wait().unwrap(), None, "the other's removal is not undone");
    assert_eq!(second.get("b").wait().unwrap().as_deref(), Some("2"));
    truth.set_down(true);
    let stale = second.get("c").detailed().wait().unwrap();
    assert_eq!(stale.value.as_deref(), Some("3"), "better than an error, as always");
    assert_eq!(stale.freshness, nanotier::Freshness::Stale);
}

#[test]
fn a_private_copy_says_whether_another_run_came_between() {
    let place = Place::new();
    let truth = Watched::shared_by(Scope::Fleet);
    let tiers = || -> AnyTier { place.redb().inline().over(truth.clone()).erase() };
    let open = || place.builder().tiers(tiers()).build().unwrap();
    let first = open();
    put(&first, &SOME);
    place.hands.advance(MINUTE / 2);
    first.close().wait().unwrap();
    drop(first);
    let second = open();
    assert_eq!(end(&second), WarmEnd::Complete);
    assert_eq!(resident(&second, "a").as_deref(), Some("1"));
    place.hands.advance(MINUTE / 2);
    assert_eq!(resident(&second, "a"), None, "the time to recheck goes on over a restart");
    second.close().wait().unwrap();
    drop(second);
    let between: Words = Cache::builder()
        .clock(place.clock.clone())
        .namespace("words")
        .codec(Json::default())
        .tiers(tiers())
        .build()
        .unwrap();
    between.remove("b").wait().unwrap();
    between.close().wait().unwrap();
    drop(between);
    let fourth = open();
    assert_eq!(end(&fourth), WarmEnd::Cold(Cold::OtherState));
    assert_eq!(fourth.get("b").wait().unwrap(), None);
}

#[test]
fn every_row_of_the_table_is_as_it_says() {
    let table = include_str!("../docs/CONSISTENCY.md");
    let table = table.split("What `build()` makes of what lies at the path").nth(1).expect("the table");
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(1);
    let mut count = 0;
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [lies, begins, afterwards] = cells[..] else { panic!("three columns: {row}") };
        check_row(lies, begins, afterwards);
        count += 1;
    }
    assert_eq!(count, 29);
}

fn check_row(lies: &str, begins: &str, afterwards: &str) {
    let place = Place::new();
    let file = place.file();
    let mut builder = place.builder();
    if lies != "nothing" && !lies.contains("tiers") {
        place.after(&SOME);
    }
    let change = |with: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(&file).unwrap();
        with(&mut bytes);
        fs::write(&file, bytes).unwrap();
    };
    match lies {
        "nothing" | "the right file" => {}
        "a folder" => {
            fs::remove_file(&file).unwrap();
            fs::create_dir(&file).unwrap();
        }
        #[cfg(unix)]
        "a symbolic link" => {
            let elsewhere = place.folder.path().join("elsewhere");
            fs::rename(&file, &elsewhere).unwrap();
            std::os::unix::fs::symlink(elsewhere, &file).unwrap();
        }
        #[cfg(not(unix))]
        "a symbolic link" => return,
        "a foreign file" => fs::write(&file, "someone's diary").unwrap(),
        "an empty file" => fs::write(&file, "").unwrap(),
        "a file of another format version" => change(&|bytes| bytes[4] = 3),
        "a file cut off anywhere" => change(&|bytes| bytes.truncate(100)),
        "a file with a flipped bit in what is checked first" => change(&|bytes| bytes[17] ^= 1),
        "a file with a damaged entry" => change(&|bytes| {
            let len = bytes.len();
            bytes[len - 40] ^= 4;
        }),
        "a file of another namespace" => builder = builder.namespace("other"),
        "a file written with another secret" => {
            builder = builder.warm_restart(place.warm().secret([7; 16]));
        }
        "a file in the clear, and values are to be encrypted" => {
            builder = builder.warm_restart(place.warm().shaped(sealing(1)));
        }
        "a file of encrypted values, and none are to be"
        | "a file encrypted with another key"
        | "an encrypted file whose header was rewritten"
        | "the right file, encrypted" => {
            let cache = place.builder_with(place.warm().shaped(sealing(1))).build().unwrap();
            put(&cache, &SOME);
            cache.close().wait().unwrap();
            drop(cache);
            match lies {
                "a file encrypted with another key" => {
                    builder = builder.warm_restart(place.warm().shaped(sealing(2)));
                }
                "an encrypted file whose header was rewritten" => {
                    builder = builder.warm_restart(place.warm().shaped(sealing(1)));
                    change(&|bytes| {
                        bytes[8] ^= 1;
                        recount(bytes);
                    });
                }
                "the right file, encrypted" => {
                    builder = builder.warm_restart(place.warm().shaped(sealing(1)));
                }
                _ => {}
            }
        }
        "a file of compressed values, and none are to be" => {
            let cache = place.builder_with(place.warm().shaped(compressing())).build().unwrap();
            put(&cache, &SOME);
            cache.close().wait().unwrap();
        }
        "the right file in the clear, and values are to be compressed" => {
            builder = builder.warm_restart(place.warm().shaped(compressing()));
        }
        "a file from over tiers that do not say, and there are none now" => {
            let cache = place.builder().tiers(Watched::shared_by(Scope::Fleet)).build().unwrap();
            put(&cache, &SOME);
            cache.close().wait().unwrap();
        }
        "a file of another codec or schema" => builder = builder.codec(Json::schema("v2")),
        "a file of a run before the last" => {
            let kept = fs::read(&file).unwrap();
            drop(place.open());
            fs::write(&file, kept).unwrap();
        }
        "a file whose mark is gone or damaged" => fs::remove_file(place.mark()).unwrap(),
        "a file from before another opening of the tiers" => {
            let cache = place.over_redb();
            put(&cache, &SOME);
            cache.close().wait().unwrap();
            drop(cache);
            drop(place.redb());
            builder = builder.tiers(place.redb().inline());
        }
        "a file of tiers that were not closed properly" => {
            let cache = place.over_redb();
            put(&cache, &SOME);
            cache.close().wait().unwrap();
            drop(cache);
            // What a crash would leave: the file as it was while it was open.
            let store = place.redb();
            let (path, crashed) = (store.path().to_owned(), place.folder.path().join("crashed"));
            fs::copy(&path, &crashed).unwrap();
            drop(store);
            fs::rename(crashed, path).unwrap();
            builder = builder.tiers(place.redb().inline());
        }
        "a file, and something was written to the tiers already" => {
            let cache = place.over_redb();
            put(&cache, &SOME);
            cache.close().wait().unwrap();
            drop(cache);
            let store: AnyTier = place.redb().inline().erase();
            let other = Cache::<u8, u8>::builder().namespace("other").codec(Json::default());
            other.tiers(store.clone()).build().unwrap().insert(1, 1).wait().unwrap();
            builder = builder.tiers(store);
        }
        "a file from more than 5 minutes ahead" => {
            place.hands.set_wall(place.clock.wall().minus(5 * MINUTE + Duration::from_millis(1)));
        }
        "the right file, with more than fits" => builder = builder.capacity(2),
        "the right file, and too little time" => {
            let cache = place.open();
            (0..200).for_each(|n| cache.insert(n.to_string(), "x".into()).wait().unwrap());
            cache.close().wait().unwrap();
            // Every value takes a millisecond to decode.
            let slow = Slow(place.hands.clone());
            builder = builder.codec(slow).warm_restart(place.warm().warm_for(Duration::from_millis(64)));
        }
        other => panic!("a row without a test: {other}"),
    }
    let before = fs::metadata(&file).ok().map(|metadata| (metadata.len(), metadata.is_dir()));
    let cache = builder.build().unwrap();
    let begun = match end(&cache) {
        WarmEnd::Cold(cold) => format!("cold: `{cold:?}`"),
        warm => format!("warm: `{warm:?}`"),
    };
    assert_eq!(begun, begins, "{lies}");
    assert_eq!(cache.is_empty(), begins.starts_with("cold"), "{lies}");
    let now = fs::metadata(&file).ok().map(|metadata| (metadata.len(), metadata.is_dir()));
    match afterwards {
        "none" | "removed" => assert_eq!(now, None, "{lies}"),
        "untouched" => assert_eq!((now, before.is_some()), (before, true), "{lies}"),
        other => panic!("{other}?"),
    }
    let closed = cache.close().wait();
    drop(cache);
    if afterwards == "untouched" {
        assert_eq!(closed.unwrap_err().kind(), ErrorKind::Storage, "{lies}");
        let now = fs::metadata(&file).ok().map(|metadata| (metadata.len(), metadata.is_dir()));
        assert_eq!(now, before, "{lies}: nor is it written over");
    } else {
        closed.unwrap();
        assert!(file.is_file(), "{lies}: written anew");
    }
}

/// Makes all checksums of a file right, and its footer.
fn recount(bytes: &mut [u8]) {
    let sum = |bytes: &[u8]| crc32c::crc32c(bytes).to_le_bytes();
    let header = sum(&bytes[..56]);
    bytes[56..60].copy_from_slice(&header);
    let footer = bytes.len() - 28;
    bytes[footer + 12..footer + 20].copy_from_slice(&(footer as u64 - 60).to_le_bytes());
    let body = sum(&bytes[..footer]);
    bytes[footer + 20..footer + 24].copy_from_slice(&body);
    let footer_sum = sum(&bytes[footer..footer + 24]);
    bytes[footer + 24..].copy_from_slice(&footer_sum);
}

const CANARY: &str = "nobody else is to read this";

/// True if the canary lies in any file of the folder.
fn leaks(folder: &Path) -> bool {
    let holds = |bytes: Vec<u8>| bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
    // Between listing and reading, a file may get its name.
    fs::read_dir(folder).unwrap().any(|entry| fs::read(entry.unwrap().path()).is_ok_and(holds))
}

#[test]
fn over_tiers_that_encrypt_no_value_lies_in_the_clear_at_any_time() {
    for (is_sealed, shaping) in [(true, Some(sealing(1))), (false, None)] {
        let place = Place::new();
        let (leaked, at) = (Arc::new(Mutex::new(false)), place.folder.path().to_owned());
        let sees = leaked.clone();
        let warm = place.warm().on_progress(move |_| *sees.lock() |= leaks(&at));
        let warm = shaping.map_or(warm.clone().in_the_clear(), |shaping| warm.shaped(shaping));
        let open = || {
            let tiers = place.redb().inline().shaped(sealing(1));
            place.builder_with(warm.clone()).capacity(3000).tiers(tiers).build().unwrap()
        };
        let cache = open();
        let value = |n: u32| format!("{CANARY}, {n}");
        cache.insert_many((0..2000).map(|n| (n.to_string(), value(n)))).wait().unwrap();
        assert!(!leaks(place.folder.path()), "the tier encrypts");
        cache.close().wait().unwrap();
        drop(cache);
        // The other way round it is seen: this test looks where values lie.
        assert_eq!((leaks(place.folder.path()), *leaked.lock()), (!is_sealed, !is_sealed));
        let cache = open();
        assert_eq!((end(&cache), cache.len()), (WarmEnd::Complete, 2000));
        assert_eq!(resident(&cache, "7"), Some(value(7)));
    }
}

#[test]
fn a_file_in_the_clear_over_a_tier_that_encrypts_is_refused_unless_it_is_meant() {
    let place = Place::new();
    let near_sealed =
        || place.redb().inline().shaped(sealing(1)).over(Watched::shared_by(Scope::Fleet)).erase();
    let far_sealed =
        || place.redb().inline().over(Watched::shared_by(Scope::Fleet).shaped(sealing(1))).erase();
    let tiers: [&dyn Fn() -> AnyTier; 2] = [&near_sealed, &far_sealed];
    for tier in tiers {
        for warm in [place.warm(), place.warm().shaped(compressing())] {
            let error = place.builder_with(warm).tiers(tier()).build().map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains("in the clear"), "{error}");
            assert!(!place.mark().exists(), "and nothing was touched");
        }
    }
    for warm in [place.warm().in_the_clear(), place.warm().shaped(sealing(1))] {
        drop(place.builder_with(warm).tiers(near_sealed()).build().unwrap());
    }
}

#[test]
fn what_was_sealed_for_another_file_is_not_read_and_a_retired_key_leaves_out_what_it_wrote() {
    let place = Place::new();
    let ring = KeyRing::new(KeyId(1), &Secret::new([1; 32])).unwrap();
    let shaping = Shaping::builder().encrypt(ring.clone()).build().unwrap();
    let open = || place.builder_with(place.warm().shaped(shaping.clone())).build().unwrap();
    let sealed = |words: &[(&str, &str)]| {
        let cache = open();
        cache.clear().wait().unwrap();
        put(&cache, words);
        cache.close().wait().unwrap();
        fs::read(place.file()).unwrap()
    };
    let old = sealed(&[("removed", "old")]);
    let new = sealed(&[("kept", "new")]);
    let entries_at = |bytes: &[u8]| 64 + usize::from(bytes[60]);
    let entries_of = |bytes: &[u8]| bytes[entries_at(bytes)..bytes.len() - 28].to_vec();
    let forged = |entries: Vec<u8>, count: u8| {
        let mut bytes = [&new[..entries_at(&new)], &entries, &new[new.len() - 28..]].concat();
        let footer = bytes.len() - 28;
        bytes[footer + 4] = count;
        recount(&mut bytes);
        bytes
    };
    let mark = fs::read(place.mark()).unwrap();
    let read = |bytes: Vec<u8>| {
        fs::write(place.file(), bytes).unwrap();
        fs::write(place.mark(), &mark).unwrap();
        let cache = open();
        let warmth = cache.warmth().unwrap();
        ((end(&cache), warmth.loaded, warmth.unreadable), resident(&cache, "removed"))
    };
    let both = [entries_of(&new), entries_of(&old)].concat();
    assert_eq!(read(forged(both, 2)), ((WarmEnd::Complete, 1, 1), None), "moved from another run's file");
    assert_eq!(read(forged(entries_of(&new), 1)), ((WarmEnd::Complete, 1, 0), None));
    ring.add(KeyId(2), &Secret::new([2; 32])).unwrap();
    ring.write_with(KeyId(2)).unwrap();
    assert_eq!(read(new.clone()).0, (WarmEnd::Complete, 1, 0), "the key still reads");
    ring.retire(KeyId(1)).unwrap();
    assert_eq!(read(new.clone()).0, (WarmEnd::Cold(Cold::OtherKey), 0, 0));
}

#[test]
fn compressed_values_in_a_file_that_says_they_are_not_are_not_taken_for_the_codecs() {
    let place = Place::new();
    let open = |warm: WarmRestart| {
        let builder = Cache::<String, Bytes>::builder().clock(place.clock.clone()).namespace("words");
        builder.codec(Raw).warm_restart(warm).build().unwrap()
    };
    let cache = open(place.warm().shaped(compressing()));
    cache.insert("a".into(), Bytes::from(vec![b'x'; 1000])).wait().unwrap();
    cache.close().wait().unwrap();
    let mut bytes = fs::read(place.file()).unwrap();
    bytes[4] = 1;
    bytes.drain(60..64);
    recount(&mut bytes);
    fs::write(place.file(), bytes).unwrap();
    let cache = open(place.warm());
    let warmth = cache.warmth().unwrap();
    assert_eq!((&warmth.end, warmth.loaded, warmth.unreadable), (&WarmEnd::Complete, 0, 1));
}

#[test]
fn it_works_over_redb_in_whatever_is_put_around_it() {
    type Around = fn(RedbStore) -> AnyTier;
    let around: [Around; 4] = [
        |redb| redb.inline().guarded(Limits::new()).erase(),
        |redb| redb.inline().behind(WriteBehind::new()).erase(),
        |redb| redb.inline().guarded(Limits::new()).behind(WriteBehind::new()).erase(),
        |redb| redb.inline().shaped(compressing()).erase(),
    ];
    for (index, around) in around.into_iter().enumerate() {
        let place = Place::new();
        let open = || place.builder().tiers(around(place.redb())).build().unwrap();
        let run = |doing: &dyn Fn(&Words)| {
            let cache = open();
            doing(&cache);
            cache.close().wait().unwrap();
            end(&cache)
        };
        run(&|cache| put(cache, &SOME));
        let loaded = |cache: &Words| assert_eq!(resident(cache, "a").as_deref(), Some("1"), "{index}");
        assert_eq!(run(&loaded), WarmEnd::Complete, "{index}");
        let between = Cache::<String, String>::builder().clock(place.clock.clone()).namespace("words");
        let between = between.codec(Json::default()).tiers(around(place.redb())).build().unwrap();
        between.remove("a").wait().unwrap();
        between.close().wait().unwrap();
        drop(between);
        let removed = |cache: &Words| assert_eq!(cache.get("a").wait().unwrap(), None, "{index}");
        assert_eq!(run(&removed), WarmEnd::Cold(Cold::OtherState), "{index}");
    }
}

#[test]
fn what_lay_there_before_something_foreign_does_not_come_back_with_it_gone() {
    let place = Place::new();
    place.after(&SOME);
    let aside = place.folder.path().join("aside");
    fs::rename(place.file(), &aside).unwrap();
    fs::create_dir(place.file()).unwrap();
    let between = place.open();
    assert_eq!(end(&between), WarmEnd::Cold(Cold::Foreign));
    between.remove("a").wait().unwrap();
    drop(between);
    fs::remove_dir(place.file()).unwrap();
    fs::rename(&aside, place.file()).unwrap();
    let third = place.open();
    assert_eq!((end(&third), resident(&third, "a")), (WarmEnd::Cold(Cold::OtherRun), None));
}

#[cfg(unix)]
#[test]
fn a_link_or_a_pipe_in_place_of_the_mark_is_neither_followed_nor_waited_for() {
    let place = Place::new();
    place.after(&SOME);
    let elsewhere = place.folder.path().join("elsewhere");
    fs::rename(place.mark(), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, place.mark()).unwrap();
    let before = fs::read(&elsewhere).unwrap();
    assert_eq!(end(&place.open()), WarmEnd::Cold(Cold::OtherRun));
    assert_eq!(fs::read(&elsewhere).unwrap(), before);

    place.after(&SOME);
    fs::remove_file(place.mark()).unwrap();
    let made = std::process::Command::new("mkfifo").arg(place.mark()).status();
    if !made.is_ok_and(|status| status.success()) {
        return;
    }
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || tell.send((end(&place.open()), place)).unwrap());
    let (end, _place) = told.recv_timeout(Duration::from_secs(20)).expect("nobody writes to the pipe");
    assert_eq!(end, WarmEnd::Cold(Cold::OtherRun));
}

/// JSON whose reading takes a millisecond of the manual clock.
struct Slow(Hands);

impl Codec<String> for Slow {
    fn encode(&self, value: &String, out: &mut Vec<u8>) -> Result<()> {
        Json::default().encode(value, out)
    }
    fn decode(&self, bytes: &Bytes) -> Result<String> {
        self.0.advance(Duration::from_millis(1));
        Json::default().decode(bytes)
    }
    fn fingerprint(&self) -> nanotier::tier::Fingerprint {
        Codec::<String>::fingerprint(&Json::default())
    }
}

#[test]
fn closing_ends_writes_and_not_reads() {
    let cache: Cache<u32, u32> = Cache::new(10);
    cache.insert(1, 1).wait().unwrap();
    cache.close().wait().unwrap();
    cache.close().wait().unwrap();
    assert_eq!(cache.get(&1).wait().unwrap(), Some(1));
    let closed = |result: Result<()>| assert_eq!(result.unwrap_err().kind(), ErrorKind::Closed);
    closed(cache.insert(2, 2).wait());
    closed(cache.remove(&1).wait());
    closed(cache.take(&1).wait().map(drop));
    closed(cache.touch(&1, Ttl::Forever).wait().map(drop));
    closed(cache.clear().wait());
    closed(cache.insert_many([(3, 3)]).wait().unwrap().remove(0));
    closed(cache.remove_many([&1]).wait().unwrap().remove(0));
    assert_eq!((cache.get(&1).wait().unwrap(), cache.len()), (Some(1), 1));
}

#[test]
fn a_write_that_overlaps_the_closing_is_in_the_file_or_not_acknowledged() {
    for round in 0..20 {
        let place = Place::new();
        let cache = place.builder().capacity(1000).build().unwrap();
        (0..400).for_each(|n| cache.insert(n.to_string(), "x".into()).wait().unwrap());
        let removed = Mutex::new(Vec::new());
        crossbeam_utils::thread::scope(|scope| {
            scope.spawn(|_| {
                for n in 0..400_u32 {
                    if cache.remove(&n.to_string()).wait().is_ok() {
                        removed.lock().push(n);
                    }
                }
            });
            (0..round * 20).for_each(|_| std::thread::yield_now());
            cache.close().wait().unwrap();
        })
        .unwrap();
        let again = place.open();
        for n in removed.lock().iter() {
            assert_eq!(resident(&again, &n.to_string()), None, "{n} was removed");
        }
    }
}

/// A key whose hash, on a thread that asks for it, is known only when the cache has been closed.
#[derive(Clone, PartialEq, Eq, Key)]
struct Held(u32);

thread_local! {
    static HOLDS: std::cell::RefCell<Option<Box<dyn Fn()>>> = const { std::cell::RefCell::new(None) };
}

impl std::hash::Hash for Held {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        if let Some(hold) = HOLDS.take() {
            hold();
        }
        self.0.hash(state);
    }
}

#[test]
fn a_write_that_began_before_the_closing_and_ends_after_it_is_not_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        let builder = Cache::<Held, u32>::builder().namespace("held").codec(Json::default());
        builder.warm_restart(WarmRestart::new(folder.path().join("held.warm"))).build().unwrap()
    };
    let cache = open();
    cache.insert(Held(1), 1).wait().unwrap();
    let closing = cache.clone();
    HOLDS.set(Some(Box::new(move || closing.close().wait().unwrap())));
    // The file has been written by the time it is done.
    assert_eq!(cache.remove(&Held(1)).wait().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(open().get(&Held(1)).wait().unwrap(), Some(1));
}

#[test]
fn progress_is_told_to_the_end() {
    let place = Place::new();
    let told = Arc::new(Mutex::new(Vec::new()));
    let open = || {
        let into = told.clone();
        let warm = place.warm().on_progress(move |progress| into.lock().push(progress));
        place.builder().capacity(3000).warm_restart(warm).build().unwrap()
    };
    let cache = open();
    (0..2500).for_each(|n| cache.insert(n.to_string(), "x".into()).wait().unwrap());
    cache.close().wait().unwrap();
    let saved: Vec<_> = told.lock().drain(..).collect();
    assert_eq!(saved.iter().map(|progress| progress.entries).collect::<Vec<_>>(), [1000, 2000, 2500]);
    assert!(saved.iter().all(|progress| progress.phase == WarmPhase::Saving && progress.of == 2500));
    drop(open());
    let loaded: Vec<_> = told.lock().drain(..).collect();
    assert_eq!(loaded.iter().map(|progress| progress.entries).collect::<Vec<_>>(), [1000, 2000, 2500]);
    assert!(loaded.iter().all(|progress| progress.phase == WarmPhase::Loading));
}

#[test]
fn only_so_many_are_written_as_were_asked_for() {
    let place = Place::new();
    let cache = place.builder().warm_restart(place.warm().entries(2)).build().unwrap();
    put(&cache, &SOME);
    cache.close().wait().unwrap();
    let cache = place.open();
    assert_eq!((cache.len(), resident(&cache, "a")), (2, None), "the least recent is left out");
}

#[test]
fn a_folder_that_is_missing_is_said_and_stops_nothing() {
    let place = Place::new();
    let warm = WarmRestart::new(place.folder.path().join("missing/words.warm"));
    let cache = place.builder().warm_restart(warm).build().unwrap();
    assert!(matches!(end(&cache), WarmEnd::Cold(Cold::Unusable(_))), "{:?}", cache.warmth());
    put(&cache, &SOME);
    assert_eq!(cache.get("a").wait().unwrap().as_deref(), Some("1"));
    let error = cache.close().wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
}

#[test]
fn keys_of_ones_own_come_back() {
    #[derive(Clone, Debug, PartialEq, Eq, Hash, Key)]
    enum Mine {
        User { tenant: String, id: u64 },
        Nobody,
        Group(Option<(u8, char)>),
    }
    #[derive(Clone, Debug, PartialEq, Eq, Hash, Key)]
    struct Wrapped(Arc<str>);

    let folder = tempfile::tempdir().unwrap();
    let open = || {
        let warm = WarmRestart::new(folder.path().join("mine.warm"));
        Cache::<(Mine, Wrapped), Bytes>::builder()
            .namespace("mine")
            .codec(Raw)
            .warm_restart(warm)
            .build()
            .unwrap()
    };
    let keys = [
        Mine::User { tenant: "acme".into(), id: 7 },
        Mine::Nobody,
        Mine::Group(None),
        Mine::Group(Some((3, 'ö'))),
    ]
    .map(|mine| (mine, Wrapped("w".into())));
    let cache = open();
    keys.iter().for_each(|key| cache.insert(key.clone(), Bytes::from_static(b"v")).wait().unwrap());
    cache.close().wait().unwrap();
    let cache = open();
    assert_eq!(cache.warmth().unwrap().loaded, 4);
    keys.iter().for_each(|key| assert!(cache.resident(key).is_some(), "{key:?}"));
    assert_eq!(Wrapped::from_key_bytes(b"w"), Some(Wrapped("w".into())));
}

#[test]
fn what_cannot_work_is_said_when_it_is_built() {
    #[derive(Clone, PartialEq, Eq, Hash)]
    struct OneWay(u8);
    impl Key for OneWay {
        fn write_part(&self, out: &mut Vec<u8>) {
            self.0.write_part(out);
        }
    }
    let place = Place::new();
    let says = |result: Result<Words>, word: &str| {
        let error = result.map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(word), "{error}");
    };
    says(Cache::builder().codec(Json::default()).warm_restart(place.warm()).build(), "namespace");
    says(Cache::builder().namespace("n").warm_restart(place.warm()).build(), "codec");
    says(place.builder().warm_restart(WarmRestart::new("/")).build(), "names no file");
    says(place.builder().warm_restart(place.warm().entries(0)).build(), "leave it out");
    says(place.builder().warm_restart(place.warm().warm_for(Duration::ZERO)).build(), "leave it out");
    says(place.builder().tiers(Inline(MemoryStore::new())).build(), "redb");
    let one_way = Cache::<OneWay, u8>::builder().namespace("n").codec(Json::default());
    let error = one_way.warm_restart(place.warm()).build().map(drop).unwrap_err();
    assert!(error.to_string().contains("derive `Key`"), "{error}");
    assert!(fs::read_dir(place.folder.path()).unwrap().next().is_none(), "and nothing was touched");
}

#[test]
fn a_file_that_is_in_the_way_of_close_is_not_written_over() {
    let place = Place::new();
    let cache = place.open();
    put(&cache, &SOME);
    fs::write(place.file(), "a diary that came later").unwrap();
    assert_eq!(cache.close().wait().unwrap_err().kind(), ErrorKind::Storage);
    assert_eq!(fs::read_to_string(place.file()).unwrap(), "a diary that came later");
    let left = |path: &Path| fs::read_dir(path).unwrap().count();
    assert_eq!(left(place.folder.path()), 2, "the diary and the mark");
}
