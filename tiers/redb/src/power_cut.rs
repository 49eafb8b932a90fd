//! Tests with a disk whose power fails at every point in turn. What was written since the last flush may have reached it or not, in whatever
//! order, and each sector by itself.

use std::collections::BTreeMap;
use std::io;
use std::path::Path as FilePath;

use nanotier_tier::{
    Bytes, Cleared, Clock, Context, Encoded, Entry, Fingerprint, Intent, Namespace, Path, Record, Result,
    Store, Version, Write, Wrote,
};

use crate::disk::failing::{Change, Failure, Recording, fail_after, mend, record, recorded};
use crate::{Builder, RedbStore};

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;
const SEED: u64 = 0x6e61_6e6f_7469_6572;
/// Power cuts of each kind at each point.
const CUTS: u64 = 2;
const KEYS: u64 = 3;

fn open(file: &FilePath) -> Result<RedbStore> {
    let store = RedbStore::builder(file).cache_size(Builder::CACHE_SIZE_MIN).build()?;
    store.attach(&Context::new(Clock::manual().0, 1));
    Ok(store)
}

fn space() -> Namespace {
    Namespace::new("test").unwrap()
}

/// What the keys hold: the number of the write that put it, 0 for nothing.
type Held = BTreeMap<u64, u64>;

/// Writes until the disk fails. What was acknowledged, and what it would be with the write that failed.
fn write_until_it_fails(file: &FilePath) -> (Held, Held) {
    let mut held: Held = (0..KEYS).map(|key| (key, 0)).collect();
    let Ok(store) = open(file) else { return (held.clone(), held) };
    for number in 1..=8 {
        let mut next = held.clone();
        let (key, version, now) = (number % KEYS, Version::from_parts(number, 1), Clock::manual().0.wall());
        let space = space();
        let path = Path::new(&space, key.to_le_bytes().to_vec());
        let wrote = match number {
            4 => {
                next.insert(key, 0);
                store.write(&[Write::remove(path, version, now)]).and_then(|mut wrote| wrote.remove(0))
            }
            6 => {
                next.values_mut().for_each(|held| *held = 0);
                store.clear(&Cleared { namespace: &space, version, as_of: now })
            }
            _ => {
                next.insert(key, number);
                let bytes = Bytes::from(value(number));
                let value = Encoded::new(bytes, Fingerprint(0));
                let record = Record { version, ..Record::new(value, now) };
                store.write(&[Write::put(path, &record)]).and_then(|mut wrote| wrote.remove(0))
            }
        };
        if !matches!(wrote, Ok(Wrote::Done)) {
            return (held, next);
        }
        held = next;
    }
    (held.clone(), held)
}

/// Longer than a sector and than a page, now and then.
fn value(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(usize::try_from(number * number * 20).unwrap())
}

fn held(store: &RedbStore) -> Held {
    let space = space();
    let number = |key: u64| {
        let path = Path::new(&space, key.to_le_bytes().to_vec());
        match store.read(&[path], Intent::Look).unwrap().remove(0).unwrap().entry {
            Entry::Absent | Entry::Removed(_) => 0,
            Entry::Present(record) => {
                let number = record.version.parts().0;
                assert_eq!(record.value.bytes, value(number), "torn");
                number
            }
        }
    };
    (0..KEYS).map(|key| (key, number(key))).collect()
}

/// Which part of what was not flushed has reached the disk.
#[derive(Clone, Copy, Debug)]
enum Reached {
    Nothing,
    All,
    /// Some of the writes, whichever.
    SomeWrites,
    /// Of each sector what it was told up to some moment of its own.
    SomeOfEachSector,
}

fn image_after_cut(recording: &Recording, reached: Reached, random: &mut Random) -> Vec<u8> {
    let mut image = recording.flushed.clone();
    match reached {
        Reached::Nothing => {}
        Reached::All => recording.since.iter().for_each(|change| change.apply(&mut image)),
        Reached::SomeWrites => {
            recording
                .since
                .iter()
                .filter(|_| random.next().is_multiple_of(2))
                .for_each(|change| change.apply(&mut image));
        }
        Reached::SomeOfEachSector => {
            let moments = recording.since.len() as u64 + 1;
            let mut until: BTreeMap<u64, u64> = BTreeMap::new();
            for (moment, change) in (0_u64..).zip(&recording.since) {
                match change {
                    // The file's length is the file system's business, and journaled.
                    Change::Len(_) => change.apply(&mut image),
                    Change::Write(at, data) => {
                        let mut at = *at;
                        let mut rest = &data[..];
                        while !rest.is_empty() {
                            let sector = at / SECTOR as u64;
                            let in_sector = SECTOR - usize::try_from(at % SECTOR as u64).unwrap();
                            let (part, after) = rest.split_at(in_sector.min(rest.len()));
                            let until = *until.entry(sector).or_insert_with(|| random.next() % moments);
                            if moment < until {
                                Change::Write(at, part.to_vec()).apply(&mut image);
                            }
                            at += part.len() as u64;
                            rest = after;
                        }
                    }
                }
            }
        }
    }
    image
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_at_any_point_whatever_reached_the_disk() {
    let mut random = Random(SEED);
    let folder = tempfile::tempdir().unwrap();
    let (mut images, mut begun) = (0, 0);
    for calls in 0.. {
        let file = folder.path().join("writing.redb");
        let _ = std::fs::remove_file(&file);
        record();
        fail_after(calls, Failure::Error(io::ErrorKind::Other));
        let (acknowledged, or) = write_until_it_fails(&file);
        let recording = recorded();
        mend();
        for reached in [Reached::Nothing, Reached::All, Reached::SomeWrites, Reached::SomeOfEachSector] {
            for cut in 0..CUTS {
                let what = format!("after {calls} calls, {reached:?} reached it, cut {cut}");
                let image = image_after_cut(&recording, reached, &mut random);
                let after = folder.path().join(format!("after-{images}.redb"));
                std::fs::write(&after, image).unwrap();
                // What is done to it now is not of interest, but that it is done quickly.
                record();
                let store = open(&after).unwrap_or_else(|error| panic!("{what}: {error}"));
                let there = held(&store);
                assert!(
                    there == acknowledged || there == or,
                    "{what}: {there:?}, not {acknowledged:?} or {or:?}"
                );
                drop(store);
                recorded();
                std::fs::remove_file(&after).unwrap();
                begun += u64::from(there != acknowledged);
                images += 1;
                if matches!(reached, Reached::Nothing | Reached::All) {
                    break;
                }
            }
        }
        if acknowledged == or && acknowledged.values().any(|number| *number == 8) {
            break;
        }
    }
    println!(
        "{images} power cuts, in {begun} of them a write that was not acknowledged had reached the disk"
    );
    assert!(images > 200, "{images}");
}
