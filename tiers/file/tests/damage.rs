//! What damage and crashes do: misses and clear errors. Never a panic, never a wrong value, never an older one.

mod common;

use std::fs;

use common::*;
use nanotier_file::{Builder, Durability, FileStore, OnDamage};
use nanotier_tier::{Entry, ErrorKind, Intent, PageRequest, Path, Result, Store, Timestamp, Write, Wrote};

const LONG: Durability = Durability::Async { loss_window: std::time::Duration::from_secs(3600) };

/// A folder with records, overwritten ones, a tombstone, and a cleared namespace, in two segments.
fn good_place(close: bool) -> Place {
    let place = Place::new();
    let store = place.open_with(|builder| builder.segment_size(4096));
    assert_eq!(place.put(&store, "removed", 1, b"must not come back"), Wrote::Done);
    assert_eq!(place.put(&store, "overwritten", 1, b"must not come back"), Wrote::Done);
    assert_eq!(place.put_in(&store, &space("cleared"), "k", 1, b"must not come back"), Wrote::Done);
    for n in 0..4 {
        assert_eq!(place.put(&store, &format!("key {n}"), 2, &[b'0' + n; 800]), Wrote::Done);
    }
    assert_eq!(place.put(&store, "overwritten", 3, b"new"), Wrote::Done);
    assert_eq!(place.remove(&store, "removed", 3), Wrote::Done);
    assert_eq!(place.clear(&store, &space("cleared"), 3), Wrote::Done);
    assert!(place.segment(2).exists());
    if close {
        store.close().unwrap();
        return place;
    }
    let crashed = Place::new();
    place.copy_to(&crashed);
    crashed
}

fn read(store: &FileStore, name: &str, key: &str) -> Result<Entry> {
    let space = space(name);
    Ok(store.read(&[Path::new(&space, key.as_bytes())], Intent::Look)?.remove(0)?.entry)
}

/// Opens what is there and does everything with it. Says whether it opened.
fn survives(place: &Place, on_damage: OnDamage, what: &str) -> bool {
    let store = match place.try_open_with(|builder| builder.segment_size(4096).on_damage(on_damage)) {
        Ok(store) => store,
        Err(error) => {
            let expected = match on_damage {
                OnDamage::Error => &[ErrorKind::Corrupt, ErrorKind::Unsupported][..],
                _ => &[ErrorKind::Unsupported],
            };
            assert!(expected.contains(&error.kind()), "{what}: {error}");
            return false;
        }
    };
    let value = |name: &str, key: &str| match read(&store, name, key) {
        Ok(Entry::Present(record)) => Some(record.value.bytes.to_vec()),
        Ok(Entry::Absent | Entry::Removed(_)) => None,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
            None
        }
    };
    assert_eq!(value("test", "removed"), None, "{what}: what was removed is back");
    assert_eq!(value("cleared", "k"), None, "{what}: what was cleared is back");
    let overwritten = value("test", "overwritten");
    assert!(overwritten.is_none_or(|value| value == b"new"), "{what}: the older value is back");
    for n in 0..4 {
        let found = value("test", &format!("key {n}"));
        assert!(found.is_none_or(|value| value == [b'0' + n; 800]), "{what}: a wrong value");
    }
    // Whatever these answer: they answer, and what is acknowledged is there.
    let (test, record) = (space("test"), place.record(1000, b"newest"));
    let wrote = store.write(&[Write::put(Path::new(&test, &b"key 2"[..]), &record)]).unwrap().remove(0);
    assert_eq!(wrote.unwrap(), Wrote::Done, "{what}");
    assert_eq!(value("test", "key 2").unwrap(), b"newest", "{what}");
    store.list(&test, &PageRequest::default()).unwrap();
    store.sweep().unwrap();
    store.compact().unwrap();
    assert_eq!(value("test", "key 2").unwrap(), b"newest", "{what}");
    assert_eq!(value("test", "removed"), None, "{what}: what was removed is back");
    store.close().unwrap();
    true
}

fn files(place: &Place) -> Vec<String> {
    let names = fs::read_dir(place.file()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

fn copy(good: &Place) -> Place {
    let place = Place::new();
    good.copy_to(&place);
    place
}

#[test]
fn a_flipped_bit_in_any_byte_costs_misses_or_is_refused_and_brings_nothing_back() {
    for close in [true, false] {
        let good = good_place(close);
        for name in files(&good) {
            let bytes = fs::read(good.file().join(&name)).unwrap();
            let mut opened = 0;
            // Of long values each hundredth byte.
            let is_value = |at: &usize| {
                bytes[at.saturating_sub(3)..].iter().take(6).all(|byte| *byte == bytes[*at])
                    && bytes[*at] != 0
            };
            let places: Vec<usize> = (0..bytes.len()).filter(|at| !is_value(at) || at % 100 == 0).collect();
            for at in &places {
                let place = copy(&good);
                let mut bad = bytes.clone();
                bad[*at] ^= 1 << (at % 8);
                fs::write(place.file().join(&name), &bad).unwrap();
                let what = format!("{name}, byte {at}, closed: {close}");
                if survives(&place, OnDamage::Error, &what) {
                    opened += 1;
                } else if at % 5 == 0 {
                    survives(&place, OnDamage::StartCold, &what);
                }
            }
            assert!(opened > 0, "{name}, closed: {close}");
        }
    }
}

#[test]
fn a_file_that_was_cut_lengthened_emptied_or_removed_is_refused_and_brings_nothing_back() {
    for close in [true, false] {
        let good = good_place(close);
        for name in files(&good) {
            let bytes = fs::read(good.file().join(&name)).unwrap();
            let step = bytes.len().div_ceil(60);
            let cuts = (0..bytes.len()).step_by(step).map(|len| bytes[..len].to_vec());
            let longer = [[&bytes[..], &[0; 100]].concat(), [&bytes[..], &bytes[..]].concat()];
            for bad in cuts.chain(longer) {
                let place = copy(&good);
                fs::write(place.file().join(&name), &bad).unwrap();
                let what = format!("{name}, {} of {} bytes, closed: {close}", bad.len(), bytes.len());
                if !survives(&place, OnDamage::Error, &what) {
                    assert!(survives(&place, OnDamage::StartCold, &what), "{what}");
                }
            }
            let place = copy(&good);
            fs::remove_file(place.file().join(&name)).unwrap();
            if name.ends_with(".log") {
                let what = format!("{name} removed, closed: {close}");
                assert!(!survives(&place, OnDamage::Error, &what), "{what}");
                assert!(survives(&place, OnDamage::StartCold, &what), "{what}");
            }
        }
    }
}

#[test]
fn a_crash_at_any_byte_of_what_was_not_flushed_leaves_everything_up_to_some_batch() {
    let place = Place::new();
    assert_eq!(place.put(&place.open(), "a", 1, b"flushed"), Wrote::Done);
    let store = place.open_with(|builder| builder.durability(LONG));
    let len = |place: &Place| fs::read(place.segment(1)).unwrap().len();
    let flushed = len(&place);
    let test = space("test");
    let two = |n: u64| {
        let record = place.record(n, format!("{n}").as_bytes());
        let keys = [&b"a"[..], &b"b"[..]];
        let writes = keys.map(|key| Write::put(Path::new(&test, key), &record));
        assert!(store.write(&writes).unwrap().iter().all(|wrote| matches!(wrote, Ok(Wrote::Done))));
    };
    let state = |store: &FileStore| (entry(store, "a"), entry(store, "b"));
    let mut states = vec![(flushed, state(&store))];
    for n in 2..7 {
        match n {
            4 => assert_eq!(place.remove(&store, "a", n), Wrote::Done),
            5 => assert_eq!(place.clear(&store, &test, n), Wrote::Done),
            _ => two(n),
        }
        states.push((len(&place), state(&store)));
    }
    let bytes = fs::read(place.segment(1)).unwrap();
    let good = copy(&place);
    for len in flushed..=bytes.len() {
        let (_, expected) = states.iter().rev().find(|(end, _)| *end <= len).unwrap();
        let zeros = [&bytes[..len], &vec![0; bytes.len() - len]].concat();
        // What lies behind a gap is whole, and must not count.
        let mut gap = bytes.clone();
        gap[len..(len + 4).min(bytes.len())].fill(0xaa);
        // Opening takes some flushes: cut at every byte, the others are a sample.
        let hows = [(&bytes[..len], "cut"), (&zeros, "zeros"), (&gap, "a gap")];
        for (torn, how) in hows.into_iter().take(if len % 11 == 0 { 3 } else { 1 }) {
            let crashed = copy(&good);
            fs::write(crashed.segment(1), torn).unwrap();
            let store = crashed.open();
            assert_eq!(state(&store), *expected, "{how} at {len}");
            assert_eq!(store.believed_since(), crashed.now());
            if len % 11 != 0 {
                continue;
            }
            assert_eq!(crashed.put(&store, "a", 9, b"goes on"), Wrote::Done);
            drop(store);
            assert_eq!(value(&crashed.open(), "a").unwrap(), b"goes on", "{how} at {len}");
        }
    }
}

#[test]
fn a_batch_of_another_past_does_not_count_however_whole_it_is() {
    let make = |second: &[u8]| {
        let place = Place::new();
        drop(place.open());
        let store = place.open_with(|builder| builder.durability(LONG));
        assert_eq!(place.put(&store, "a", 1, b"first"), Wrote::Done);
        assert_eq!(place.put(&store, "a", 2, second), Wrote::Done);
        let end = fs::read(place.segment(1)).unwrap().len();
        assert_eq!(place.put(&store, "a", 3, b"third"), Wrote::Done);
        let crashed = copy(&place);
        (crashed, end)
    };
    let ((one, end), (other, _)) = (make(b"one"), make(b"two"));
    let spliced =
        [&fs::read(one.segment(1)).unwrap()[..end], &fs::read(other.segment(1)).unwrap()[end..]].concat();
    fs::write(one.segment(1), spliced).unwrap();
    assert_eq!(value(&one.open(), "a").unwrap(), b"one");
}

#[test]
fn a_damaged_value_is_a_miss_told_once_and_mended_by_the_next_put() {
    let place = good_place(true);
    let mut bytes = fs::read(place.segment(1)).unwrap();
    let at = bytes.windows(800).position(|window| window == [b'1'; 800]).unwrap();
    bytes[at + 400] ^= 1;
    fs::write(place.segment(1), &bytes).unwrap();
    let store = place.open();
    assert_eq!(entry(&store, "key 1"), Entry::Absent);
    assert_eq!(place.told().len(), 1);
    assert_eq!(value(&store, "key 0").unwrap(), [b'0'; 800], "others do not suffer");
    store.compact().unwrap();
    assert_eq!(entry(&store, "key 1"), Entry::Absent, "still unreadable, and nothing older in its place");
    assert_eq!(place.put(&store, "key 1", 2, b"mended"), Wrote::Done);
    assert_eq!(value(&store, "key 1").unwrap(), b"mended");
}

#[test]
fn a_cold_start_moves_the_segments_aside_and_deletes_nothing_and_others_start_cold_with_it() {
    let place = good_place(true);
    let other = place.open();
    let mut bytes = fs::read(place.segment(1)).unwrap();
    bytes[70] ^= 1;
    fs::write(place.segment(1), &bytes).unwrap();
    assert_eq!(place.try_open_with(|builder| builder).unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(value(&other, "key 1").is_some(), "whoever has read it goes on");
    let cold = |builder: Builder| builder.on_damage(OnDamage::StartCold);
    let store = place.open_with(cold);
    assert_eq!(entry(&store, "key 1"), Entry::Absent);
    assert_eq!(store.believed_since(), place.now());
    assert_eq!(entry(&other, "key 1"), Entry::Absent, "now it does not");
    assert!(other.believed_since() > Timestamp::ZERO);
    assert_eq!(place.put(&other, "key 1", 1, b"new"), Wrote::Done);
    assert_eq!(value(&store, "key 1").unwrap(), b"new");
    let aside = files(&place).into_iter().find(|name| name.contains("0001.log.damaged")).unwrap();
    assert_eq!(fs::read(place.file().join(aside)).unwrap(), bytes);
    drop((store, other));
    assert_eq!(value(&place.open_with(cold), "key 1").unwrap(), b"new", "a whole log is kept");
}

#[test]
fn files_that_are_not_ours_are_never_touched() {
    let place = Place::new();
    fs::create_dir(place.file()).unwrap();
    fs::write(place.file().join("theirs"), "theirs").unwrap();
    let error = place.try_open_with(|builder| builder.on_damage(OnDamage::StartCold)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("empty folder"), "{error}");
    assert_eq!(files(&place), ["theirs"]);
    fs::remove_file(place.file().join("theirs")).unwrap();

    let store = place.open_with(|builder| builder.segment_size(4096));
    let theirs = [
        "theirs",
        "nanotier-0000000000000abc.log",
        "nanotier-notes.log",
        "nanotier-process-00ff",
        "nanotier.news",
    ];
    for name in theirs {
        fs::write(place.file().join(name), format!("{name}, of somebody else")).unwrap();
    }
    for n in 1..40 {
        assert_eq!(place.put(&store, "k", n, &[7; 500]), Wrote::Done);
    }
    store.compact().unwrap();
    assert_eq!(place.clear(&store, &space("test"), 100), Wrote::Done);
    store.sweep().unwrap();
    drop(store);
    let segment = files(&place)
        .into_iter()
        .find(|name| name.ends_with(".log") && name.starts_with("nanotier-000000000000000"))
        .unwrap();
    fs::write(place.file().join(segment), b"nTrLog\x93\0 damaged").unwrap();
    let store = place.open_with(|builder| builder.on_damage(OnDamage::StartCold));
    assert_eq!(place.put(&store, "k", 1, b"cold"), Wrote::Done);
    drop(store);
    assert_eq!(value(&place.open(), "k").unwrap(), b"cold");
    for name in theirs {
        assert_eq!(fs::read_to_string(place.file().join(name)).unwrap(), format!("{name}, of somebody else"));
    }
}

#[test]
fn another_programs_control_file_is_refused_and_left_alone() {
    let place = Place::new();
    fs::create_dir(place.file()).unwrap();
    fs::write(place.file().join("nanotier.control"), "theirs").unwrap();
    let error = place.try_open_with(|builder| builder.on_damage(OnDamage::StartCold)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(fs::read_to_string(place.file().join("nanotier.control")).unwrap(), "theirs");
}

#[cfg(unix)]
#[test]
fn links_and_the_folders_of_others_are_refused_and_what_is_created_is_for_its_owner_alone() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let place = Place::new();
    let real = place.folder.path().join("a/b/real");
    drop(FileStore::open(&real).unwrap());
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&real), 0o700);
    assert_eq!(mode(real.parent().unwrap()), 0o700);
    for entry in fs::read_dir(&real).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
    let link = place.folder.path().join("link");
    symlink(&real, &link).unwrap();
    let error = FileStore::open(&link).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.to_string().contains("symbolic link"), "{error}");

    // A link in the place of a file leads nowhere.
    let (planted, victim) = (place.folder.path().join("planted"), place.folder.path().join("victim"));
    fs::create_dir(&planted).unwrap();
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, planted.join("nanotier.control")).unwrap();
    assert_eq!(FileStore::open(&planted).unwrap_err().kind(), ErrorKind::Storage);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");

    if rustix_is_root() {
        let others = place.folder.path().join("others");
        fs::create_dir(&others).unwrap();
        std::os::unix::fs::chown(&others, Some(65534), None).unwrap();
        let error = FileStore::open(&others).unwrap_err();
        assert!(error.kind() == ErrorKind::Config && error.to_string().contains("another user"), "{error}");
    }
}

#[cfg(unix)]
fn rustix_is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").is_ok_and(|about| about.uid() == 0)
}

#[test]
fn a_folder_removed_while_it_is_open_is_begun_anew() {
    let place = Place::new();
    let store = place.open();
    assert_eq!(place.put(&store, "k", 5, b"gone soon"), Wrote::Done);
    fs::remove_dir_all(place.file()).unwrap();
    assert_eq!(place.put(&store, "other", 1, b"kept"), Wrote::Done);
    assert_eq!(entry(&store, "k"), Entry::Absent, "what is removed is gone");
    assert_eq!(store.believed_since(), place.now());
    let another = place.open();
    assert_eq!(value(&another, "other").unwrap(), b"kept", "nobody writes where nobody finds it");
}

#[test]
fn a_segment_cut_or_lengthened_while_it_is_open_is_noticed_by_the_next_writer() {
    let place = Place::new();
    let store = place.open_with(|builder| builder.on_damage(OnDamage::StartCold));
    assert_eq!(place.put(&store, "k", 5, b"x"), Wrote::Done);
    let bytes = fs::read(place.segment(1)).unwrap();
    fs::write(place.segment(1), [&bytes[..], b"garbage"].concat()).unwrap();
    assert_eq!(place.put(&store, "k", 6, b"y"), Wrote::Done);
    assert_eq!(value(&store, "k").unwrap(), b"y");
    fs::OpenOptions::new().write(true).open(place.segment(1)).unwrap().set_len(100).unwrap();
    assert_eq!(entry(&store, "k"), Entry::Absent, "unreadable");
    assert_eq!(place.put(&store, "k", 7, b"cold"), Wrote::Done);
    assert_eq!(value(&store, "k").unwrap(), b"cold");
    assert_eq!(value(&place.open(), "k").unwrap(), b"cold");
}
