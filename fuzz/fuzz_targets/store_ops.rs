//! Any sequence of reads, writes, updates, clearings and sweeps: the memory tier answers as a naive reading of the rules does,
//! and what a path holds never goes back to an older version while the horizon forbids it.
#![no_main]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use nanotier_tier::{
    Bytes, COUNTER, Change, Cleared, Clock, Context, Deadlines, Encoded, Entry, ErrorKind, Expect,
    Fingerprint, Guard, Intent, MemoryStore, Namespace, PageRequest, Path, Record, Renewal, Seen, Store,
    Timestamp, Update, Updated, Version, Write, Wrote,
};

const HORIZON: Duration = Duration::from_secs(60);
const OPS_MAX: usize = 200;

#[derive(Arbitrary, Debug)]
enum Op {
    Read(At),
    Put {
        at: At,
        version: Ver,
        life: Life,
        value: u8,
        age_s: u8,
    },
    Remove {
        at: At,
        version: Ver,
        age_s: u8,
    },
    /// With what one of the earlier reads saw.
    Fill {
        at: At,
        seen: u8,
        version: Ver,
        life: Life,
        value: u8,
        age_s: u8,
    },
    Update {
        at: At,
        change: Changing,
        version: Ver,
        age_s: u8,
    },
    Clear {
        space: bool,
        version: Ver,
        age_s: u8,
    },
    List {
        space: bool,
        prefix: Option<u8>,
        after: Option<u8>,
        limit: u8,
    },
    Sweep,
    Advance {
        tenths: u16,
    },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct At {
    space: bool,
    key: u8,
}

/// Few, so that they meet.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Ver {
    hlc: u8,
    writer: bool,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Life {
    Forever,
    Seconds { ttl: u8, stale_for: u8 },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Changing {
    Add { life: Life, value: u8 },
    Take,
    Increment { by: i64, each_s: Option<u8>, first_s: Option<u8> },
    ReplaceValue { life: Life, value: u8, expect: u8 },
    ReplaceVersion { life: Life, value: u8, expect: Ver },
    RemoveIfValue(u8),
    RemoveIfVersion(Ver),
    Now,
}

impl Ver {
    fn version(self) -> Version {
        Version::from_parts(u64::from(self.hlc), u64::from(self.writer))
    }
}

/// What the model holds under a path: all that was ever taken and not forgotten.
#[derive(Clone, Debug)]
struct Held {
    version: Version,
    record: Option<Record>,
    taken_at: Timestamp,
}

/// What a reader saw, in the model's words.
type Saw = (Option<Version>, Option<Version>);

/// Namespace (of two) and key.
type Place = (bool, u8);

#[derive(Default)]
struct Model {
    held: BTreeMap<Place, Held>,
    floors: BTreeMap<bool, Version>,
}

impl Model {
    fn saw(&self, at: At) -> Saw {
        (self.held.get(&at.place()).map(|held| held.version), self.floors.get(&at.space).copied())
    }

    fn entry(&self, at: At) -> Entry {
        let floor = self.floors.get(&at.space).copied();
        match self.held.get(&at.place()) {
            Some(held) if floor.is_none_or(|floor| floor < held.version) => match &held.record {
                Some(record) => Entry::Present(record.clone()),
                None => Entry::Removed(held.version),
            },
            _ => floor.map_or(Entry::Absent, Entry::Removed),
        }
    }

    /// The rules of a write, told once more from their description, case by case.
    fn judge(&self, at: At, version: Version, saw: Option<Saw>, as_of: Timestamp, now: Timestamp) -> Wrote {
        let (held, floor) = self.saw(at);
        let above_floor = floor.is_none_or(|floor| floor < version);
        if as_of.as_millis() + 60_000 < now.as_millis() {
            return Wrote::TooLate;
        }
        if held == Some(version) && above_floor {
            return Wrote::Done;
        }
        let newest = [held, floor].into_iter().flatten().max();
        let is_newer = newest.is_none_or(|newest| newest < version);
        match saw {
            None if is_newer => Wrote::Done,
            None => Wrote::Older(newest.expect("something is not older")),
            Some((saw_held, saw_floor)) => {
                // Nothing held where something was: it expired and was swept.
                let same = (held.is_none() || held == saw_held) && floor == saw_floor;
                if same && is_newer { Wrote::Done } else { Wrote::Changed }
            }
        }
    }

    fn put(&mut self, at: At, record: Option<Record>, version: Version, now: Timestamp) {
        self.held.insert(at.place(), Held { version, record, taken_at: now });
    }

    fn update(&mut self, at: At, update: &Update<'_>, now: Timestamp) -> Result<Updated, ErrorKind> {
        if update.as_of.as_millis() + 60_000 < now.as_millis() && !matches!(update.change, Change::Now) {
            return Ok(Updated::TooLate);
        }
        let (held, floor) = self.saw(at);
        let newest = [held, floor].into_iter().flatten().max();
        let version = match newest {
            Some(newest) if newest.next() > update.version => newest.next(),
            _ => update.version,
        };
        let usable = match self.entry(at) {
            Entry::Present(record) if usable(&record, now) => Some(record),
            _ => None,
        };
        let meets = |expect: &Expect| match (&usable, expect) {
            (None, _) => false,
            (Some(record), Expect::Version(version)) => record.version == *version,
            (Some(record), Expect::Value(value)) => record.value.bytes == *value,
        };
        let done = Ok(Updated::Done(version));
        match &update.change {
            Change::Now => Ok(Updated::Now(now)),
            Change::Take => {
                if usable.is_some() {
                    self.put(at, None, version, now);
                }
                Ok(Updated::Taken(usable))
            }
            Change::Add(record) if usable.is_none() => {
                self.put(at, Some(Record { version, ..record.clone() }), version, now);
                done
            }
            Change::Replace { record, expect } if meets(expect) => {
                self.put(at, Some(Record { version, ..record.clone() }), version, now);
                done
            }
            Change::RemoveIf(expect) if meets(expect) => {
                self.put(at, None, version, now);
                done
            }
            Change::Increment { by, lifetime } => self.increment(at, usable, *by, *lifetime, version, now),
            _ => Ok(Updated::Refused),
        }
    }

    fn increment(
        &mut self,
        at: At,
        usable: Option<Record>,
        by: i64,
        lifetime: Renewal,
        version: Version,
        now: Timestamp,
    ) -> Result<Updated, ErrorKind> {
        let before = match &usable {
            None => 0,
            Some(record) if record.value.fingerprint == COUNTER => {
                i64::from_le_bytes(record.value.bytes[..].try_into().map_err(|_| ErrorKind::NotANumber)?)
            }
            Some(_) => return Err(ErrorKind::NotANumber),
        };
        let value = before.checked_add(by).ok_or(ErrorKind::Overflow)?;
        let until = match lifetime {
            Renewal::Each(ttl) => now.plus(ttl),
            Renewal::Fixed(ttl) => match (&usable, ttl) {
                (Some(record), _) => record.deadlines.usable_until,
                (None, Some(ttl)) => now.plus(ttl),
                (None, None) => Timestamp::NEVER,
            },
        };
        if by != 0 || matches!(lifetime, Renewal::Each(_)) {
            let encoded = Encoded::new(Bytes::copy_from_slice(&value.to_le_bytes()), COUNTER);
            let deadlines = Deadlines { fresh_until: until, usable_until: until };
            let record = Record { deadlines, version, ..Record::new(encoded, now) };
            self.put(at, Some(record), version, now);
        }
        Ok(Updated::Counted { value, until })
    }

    fn clear(&mut self, space: bool, version: Version, as_of: Timestamp, now: Timestamp) -> Wrote {
        if as_of.as_millis() + 60_000 < now.as_millis() {
            return Wrote::TooLate;
        }
        let inside = self.held.iter().filter(|((its, _), _)| *its == space).map(|(_, held)| held.version);
        match inside.chain(self.floors.get(&space).copied()).max() {
            Some(newest) if newest >= version => Wrote::Older(newest),
            _ => {
                self.held.retain(|(its, _), _| *its != space);
                self.floors.insert(space, version);
                Wrote::Done
            }
        }
    }

    fn sweep(&mut self, now: Timestamp) -> usize {
        let before = self.held.len();
        self.held.retain(|_, held| {
            let alive = held.record.as_ref().is_some_and(|record| usable(record, now));
            alive || held.taken_at.as_millis() + 60_000 >= now.as_millis()
        });
        before - self.held.len()
    }
}

fn usable(record: &Record, now: Timestamp) -> bool {
    let Deadlines { fresh_until, usable_until } = record.deadlines;
    now < usable_until || now < fresh_until || usable_until.is_never()
}

impl At {
    /// Of sixteen keys.
    fn place(self) -> Place {
        (self.space, self.key % 16)
    }
}

struct Run {
    spaces: [Namespace; 2],
    store: MemoryStore,
    clock: Clock,
    model: Model,
    seen: Vec<(Seen, Saw)>,
}

impl Run {
    fn path(&self, at: At) -> Path<'_> {
        Path::new(&self.spaces[usize::from(at.space)], vec![at.place().1])
    }

    fn decided(&self, age_s: u8) -> Timestamp {
        self.clock.wall().minus(Duration::from_secs(u64::from(age_s)))
    }

    fn record(&self, version: Ver, life: Life, value: u8) -> Record {
        let now = self.clock.wall();
        let value = Encoded::new(Bytes::copy_from_slice(&[value % 4]), Fingerprint(1));
        let deadlines = match life {
            Life::Forever => Deadlines::NEVER,
            Life::Seconds { ttl, stale_for } => {
                let seconds = |n: u8| Duration::from_secs(u64::from(n));
                Deadlines::after(now, seconds(ttl), seconds(stale_for))
            }
        };
        Record { deadlines, version: version.version(), ..Record::new(value, now) }
    }

    fn write(
        &mut self,
        at: At,
        record: Option<Record>,
        version: Version,
        fill: Option<(Seen, Saw)>,
        as_of: Timestamp,
    ) {
        let now = self.clock.wall();
        let guard = fill.map_or(Guard::Newer, |(seen, _)| Guard::Unchanged(seen));
        let record_now = record.as_ref().map(Cow::Borrowed);
        let write = Write { path: self.path(at), record: record_now, version, guard, as_of };
        let answer = self.store.write(&[write]).expect("open").remove(0).expect("there is room");
        let expected = self.model.judge(at, version, fill.map(|(_, saw)| saw), as_of, now);
        assert_eq!(answer, expected);
        if answer == Wrote::Done {
            self.model.put(at, record, version, now);
        }
    }

    fn update(&mut self, at: At, change: Changing, version: Ver, age_s: u8) {
        let value = |value: u8| Bytes::copy_from_slice(&[value % 4]);
        let seconds = |n: u8| Duration::from_secs(u64::from(n));
        let change = match change {
            Changing::Add { life, value } => Change::Add(self.record(version, life, value)),
            Changing::Take => Change::Take,
            Changing::Increment { by, each_s: Some(each), .. } => {
                Change::Increment { by, lifetime: Renewal::Each(seconds(each)) }
            }
            Changing::Increment { by, first_s, .. } => {
                Change::Increment { by, lifetime: Renewal::Fixed(first_s.map(seconds)) }
            }
            Changing::ReplaceValue { life, value: new, expect } => {
                let record = self.record(version, life, new);
                Change::Replace { record, expect: Expect::Value(value(expect)) }
            }
            Changing::ReplaceVersion { life, value, expect } => {
                let record = self.record(version, life, value);
                Change::Replace { record, expect: Expect::Version(expect.version()) }
            }
            Changing::RemoveIfValue(expect) => Change::RemoveIf(Expect::Value(value(expect))),
            Changing::RemoveIfVersion(expect) => Change::RemoveIf(Expect::Version(expect.version())),
            Changing::Now => Change::Now,
        };
        let now = self.clock.wall();
        let path = self.path(at).into_owned();
        let update = Update { path, change, version: version.version(), as_of: self.decided(age_s) };
        let before = self.model.saw(at).0;
        let answer = self.store.update(&update).map_err(|error| error.kind());
        assert_eq!(answer, self.model.update(at, &update, now));
        assert!(self.model.saw(at).0 >= before, "an update went back");
    }

    fn list(&self, space: bool, request: &PageRequest) {
        let now = self.clock.wall();
        let after = request.after.as_deref().map(|after| after[0]);
        let prefix = request.prefix.first().copied();
        let expected: Vec<u8> = (0..16)
            .filter(|key| prefix.is_none_or(|prefix| prefix == *key))
            .filter(|key| after.is_none_or(|after| after < *key))
            .filter(|&key| matches!(self.model.entry(At { space, key }), Entry::Present(record) if usable(&record, now)))
            .collect();
        let page = self.store.list(&self.spaces[usize::from(space)], request).expect("open");
        let listed: Vec<u8> = page.entries.iter().map(|listed| listed.key[0]).collect();
        let limit = request.limit();
        assert_eq!(listed, expected[..expected.len().min(limit)]);
        assert_eq!(page.next.is_some(), expected.len() > limit);
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Read(at) => {
                let found = self
                    .store
                    .read(&[self.path(at)], Intent::Look)
                    .expect("open")
                    .remove(0)
                    .expect("readable");
                assert_eq!(found.entry, self.model.entry(at));
                let seen = found.seen.expect("a single tier shows what it holds");
                self.seen.push((seen, self.model.saw(at)));
            }
            Op::Put { at, version, life, value, age_s } => {
                let record = self.record(version, life, value);
                self.write(at, Some(record), version.version(), None, self.decided(age_s));
            }
            Op::Remove { at, version, age_s } => {
                self.write(at, None, version.version(), None, self.decided(age_s));
            }
            Op::Fill { at, seen, version, life, value, age_s } => {
                let Some(fill) = self.seen.get(usize::from(seen) % self.seen.len().max(1)).copied() else {
                    return;
                };
                let record = self.record(version, life, value);
                self.write(at, Some(record), version.version(), Some(fill), self.decided(age_s));
            }
            Op::Update { at, change, version, age_s } => self.update(at, change, version, age_s),
            Op::Clear { space, version, age_s } => {
                let (version, as_of, now) = (version.version(), self.decided(age_s), self.clock.wall());
                let namespace = &self.spaces[usize::from(space)];
                let answer = self.store.clear(&Cleared { namespace, version, as_of }).expect("open");
                assert_eq!(answer, self.model.clear(space, version, as_of, now));
            }
            Op::List { space, prefix, after, limit } => {
                let key = |key: Option<u8>| key.map(|key| vec![key % 16]);
                let (prefix, after) = (key(prefix).unwrap_or_default(), key(after));
                self.list(
                    space,
                    &PageRequest { prefix, after, limit: usize::from(limit % 8), ..PageRequest::default() },
                );
            }
            Op::Sweep => assert_eq!(self.store.sweep(), self.model.sweep(self.clock.wall())),
            Op::Advance { .. } => {}
        }
    }
}

fuzz_target!(|ops: Vec<Op>| {
    let (clock, hands) = Clock::manual();
    let store = MemoryStore::new().with_horizon(HORIZON);
    store.attach(&Context::new(clock.clone(), 1));
    let spaces = ["one", "two"].map(|name| Namespace::new(name).expect("a good name"));
    let mut run = Run { spaces, store, clock, model: Model::default(), seen: Vec::new() };
    for op in ops.iter().take(OPS_MAX) {
        if let Op::Advance { tenths } = op {
            hands.advance(Duration::from_millis(100 * u64::from(*tenths)));
        }
        run.run(op);
    }
});
