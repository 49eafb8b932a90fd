//! Any record comes back as it went; damaged in one byte, cut, lengthened or asked for under another path, it does not come back
//! at all.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use nanotier_tier::record::{Framing, Unreadable};
use nanotier_tier::{
    Bytes, Deadlines, Encoded, Entry, Fingerprint, Namespace, Path, Record, Tags, Timestamp, Version,
};

#[derive(Arbitrary, Debug)]
struct Input {
    key: Vec<u8>,
    other_key: Vec<u8>,
    secret: Option<[u8; 16]>,
    taken_at: u64,
    version: (u64, u64),
    record: Option<Fields>,
    damage: Damage,
}

#[derive(Arbitrary, Debug)]
struct Fields {
    value: Vec<u8>,
    fingerprint: u64,
    written_at: u64,
    confirmed_at: u64,
    deadlines: (u64, u64),
    cost_micros: u32,
    tags: Vec<String>,
}

#[derive(Arbitrary, Debug)]
enum Damage {
    Flip { at: u16, mask: u8 },
    Cut { len: u16 },
    Longer { by: Vec<u8> },
}

impl Fields {
    fn record(self, version: Version) -> Option<Record> {
        let (one, other) = self.deadlines;
        Some(Record {
            value: Encoded::new(Bytes::from(self.value), Fingerprint(self.fingerprint)),
            deadlines: Deadlines {
                fresh_until: Timestamp::from_millis(one.min(other)),
                usable_until: Timestamp::from_millis(one.max(other)),
            },
            written_at: Timestamp::from_millis(self.written_at),
            confirmed_at: Timestamp::from_millis(self.confirmed_at),
            version,
            load_cost: Duration::from_micros(u64::from(self.cost_micros)),
            tags: Tags::new(self.tags)?,
        })
    }
}

fuzz_target!(|input: Input| {
    let version = Version::from_parts(input.version.0, input.version.1);
    let record = match input.record {
        None => None,
        Some(fields) => match fields.record(version) {
            Some(record) => Some(record),
            None => return,
        },
    };
    let namespace = Namespace::new("fuzz").expect("a good name");
    let path = Path::new(&namespace, &input.key[..]);
    let framing = match input.secret {
        Some(secret) => Framing::default().with_secret(secret),
        None => Framing::default(),
    };
    let taken_at = Timestamp::from_millis(input.taken_at);
    let bytes = framing.encode(&path, record.as_ref(), version, taken_at).expect("within the limits");

    let decoded = framing.decode(&path, &Bytes::from(bytes.clone())).expect("what was encoded decodes");
    assert_eq!(decoded, (record.map_or(Entry::Removed(version), Entry::Present), taken_at));
    assert_eq!(Path::from_bytes(&path.to_bytes()), Some(path.borrowed()));

    if input.other_key != input.key {
        let other = Path::new(&namespace, &input.other_key[..]);
        assert_eq!(framing.decode(&other, &Bytes::from(bytes.clone())), Err(Unreadable::Foreign));
    }

    let mut damaged = bytes.clone();
    match input.damage {
        Damage::Flip { at, mask } => {
            let at = usize::from(at) % damaged.len();
            damaged[at] ^= mask;
        }
        Damage::Cut { len } => damaged.truncate(usize::from(len)),
        Damage::Longer { by } => damaged.extend(by),
    }
    if damaged != bytes {
        assert!(framing.decode(&path, &Bytes::from(damaged)).is_err(), "damage was read as a record");
    }
});
