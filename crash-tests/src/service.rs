//! A service over a cache over a store that is being mistreated: what it may be answered, whatever happens below.
//!
//! A key has generations: its value says which one it is. An insertion that was acknowledged leaves its own, one that failed may have
//! happened or not. What is answered must be a generation that may be there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use nanotier::{Cache, Error, ErrorKind, Inline, Raw};

use crate::Result;
use crate::kind::{Kind, OnDamage};

/// What is loaded while the store fails must still be there when it is looked for: an engine may wait 10 s for a lock.
const DEGRADED_TTL: Duration = Duration::from_secs(300);

pub(crate) struct Service {
    cache: Cache<String, String>,
    /// The generations that each key may have; 0 for no value.
    pub(crate) may: BTreeMap<usize, BTreeSet<u64>>,
    next: u64,
    /// Damage may cost a value: to have none is then never wrong.
    pub(crate) may_miss: bool,
    /// What was acknowledged may be lost, as by an asynchronous store whose disk fails: what was there before is then never wrong.
    pub(crate) may_lose: bool,
    /// What went wrong, in words.
    pub(crate) faults: Vec<String>,
    /// The kinds of errors met, and how often.
    pub(crate) errors: BTreeMap<String, u64>,
}

impl Service {
    /// Over the store of this folder.
    pub(crate) fn open(kind: Kind, folder: &Path, on_damage: OnDamage) -> Result<Self, Error> {
        let store = kind.open(folder, on_damage)?;
        let cache = Cache::builder().capacity(1_000).namespace("service").degraded_ttl(DEGRADED_TTL);
        let cache = cache.tiers(Inline(store)).codec(Raw).build()?;
        Ok(Self {
            cache,
            may: BTreeMap::new(),
            next: 1,
            may_miss: false,
            may_lose: false,
            faults: Vec::new(),
            errors: BTreeMap::new(),
        })
    }

    /// One that goes on where another has ended, in this process or another.
    pub(crate) fn after(mut self, may: BTreeMap<usize, BTreeSet<u64>>) -> Self {
        self.next = may.values().flatten().max().map_or(1, |last| last + 1);
        self.may = may;
        self
    }

    fn draw(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// True if it was acknowledged.
    pub(crate) fn insert(&mut self, key: usize, len: usize) -> bool {
        let generation = self.draw();
        let inserted = self.cache.insert(name(key), value(key, generation, len)).wait();
        self.changed(key, generation, inserted)
    }

    pub(crate) fn remove(&mut self, key: usize) -> bool {
        let removed = self.cache.remove(&name(key)).wait().map(drop);
        self.changed(key, 0, removed)
    }

    fn changed(&mut self, key: usize, generation: u64, changed: Result<(), Error>) -> bool {
        let may = self.may.entry(key).or_insert_with(|| [0].into());
        match changed {
            Ok(()) => {
                if !self.may_lose {
                    may.clear();
                }
                may.insert(generation);
                true
            }
            Err(error) => {
                may.insert(generation);
                self.met(&error);
                false
            }
        }
    }

    fn met(&mut self, error: &Error) {
        *self.errors.entry(format!("{:?}", error.kind())).or_default() += 1;
        let is_typed = matches!(
            error.kind(),
            ErrorKind::Full
                | ErrorKind::Storage
                | ErrorKind::Corrupt
                | ErrorKind::InUse
                | ErrorKind::Unavailable // What a panic or a closed store would look like is not among them.
        );
        if !is_typed {
            self.faults.push(format!("an error that says little: {error}"));
        }
    }

    /// What is answered, if anything is: memory first, the store behind it.
    pub(crate) fn get(&mut self, key: usize) {
        match self.cache.get(&name(key)).wait() {
            Ok(value) => self.judge("get", key, value.as_deref()),
            Err(error) => self.met(&error),
        }
    }

    /// With a loader there is always a value, and memory has it then.
    pub(crate) fn load(&mut self, key: usize) {
        let generation = self.draw();
        let loaded = self.cache.get_with(&name(key), async move || value(key, generation, 100)).wait();
        self.may.entry(key).or_insert_with(|| [0].into()).insert(generation);
        match loaded {
            Ok(value) => {
                self.judge("get_with", key, Some(&value));
                let resident = self.cache.resident(&name(key));
                if resident.map(|(value, _)| value) != Some(value) {
                    self.faults.push(format!("key {key} was loaded and is not in memory"));
                }
            }
            Err(error) => self.faults.push(format!("key {key} has a loader and no value: {error}")),
        }
    }

    /// What memory has it must go on serving.
    pub(crate) fn hit(&mut self, key: usize) {
        match self.cache.resident(&name(key)) {
            Some((value, _)) => self.judge("a hit", key, Some(&value)),
            None => self.faults.push(format!("key {key} is not in memory any more")),
        }
    }

    fn judge(&mut self, what: &str, key: usize, answered: Option<&str>) {
        let may = self.may.get(&key).cloned().unwrap_or_else(|| [0].into());
        let generation = match answered {
            None => Some(0),
            Some(text) => generation(key, text),
        };
        match generation {
            Some(0) if self.may_miss => {}
            Some(generation) if may.contains(&generation) => {}
            Some(generation) => {
                self.faults
                    .push(format!("{what}: key {key} has generation {generation}, it may have {may:?}"));
            }
            None => self.faults.push(format!("{what}: key {key} has a value that nobody wrote")),
        }
    }

    /// Forgets what memory holds, so that the store is asked.
    pub(crate) fn forget(&self) {
        self.cache.clear_memory();
    }

    pub(crate) fn close(&mut self) -> bool {
        let closed = self.cache.close().wait();
        closed.as_ref().map_err(|error| self.met(error)).is_ok()
    }

    /// Looks at every key it knows of.
    pub(crate) fn get_all(&mut self) {
        let keys: Vec<usize> = self.may.keys().copied().collect();
        keys.into_iter().for_each(|key| self.get(key));
    }

    /// What another process has to know to go on: a line for each key.
    pub(crate) fn tell(&self) -> String {
        let mut told = String::new();
        for (key, may) in &self.may {
            let may: Vec<String> = may.iter().map(u64::to_string).collect();
            let _ = writeln!(told, "{key} {}", may.join(" "));
        }
        told
    }
}

/// What [`Service::tell`] told.
pub(crate) fn hear(told: &str) -> BTreeMap<usize, BTreeSet<u64>> {
    let numbers = |line: &str| -> Option<(usize, BTreeSet<u64>)> {
        let (key, may) = line.split_once(' ')?;
        Some((key.parse().ok()?, may.split(' ').filter_map(|number| number.parse().ok()).collect()))
    };
    told.lines().filter_map(numbers).collect()
}

fn name(key: usize) -> String {
    format!("key {key}")
}

/// A value says whose it is and which, again and again, so that a part of it is noticed.
fn value(key: usize, generation: u64, len: usize) -> String {
    let word = format!("{key}#{generation};");
    let times = len.div_ceil(word.len()).max(2);
    format!("{times}*{}", word.repeat(times))
}

/// The generation that a value of this key is; `None` if it is none, or not whole.
fn generation(key: usize, text: &str) -> Option<u64> {
    let (times, words) = text.split_once('*')?;
    let (word, _) = words.split_once(';')?;
    let (its_key, generation) = word.split_once('#')?;
    let is_whole = words == format!("{word};").repeat(times.parse().ok()?);
    (is_whole && its_key.parse() == Ok(key)).then(|| generation.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_tells_its_generation_and_no_part_of_it_or_of_another_does() {
        let text = value(7, 12, 100);
        assert_eq!(generation(7, &text), Some(12));
        assert_eq!(generation(8, &text), None);
        for len in 0..text.len() {
            assert_eq!(generation(7, &text[..len]), None);
        }
        assert_eq!(generation(7, &text.replacen("7#12", "7#13", 1)), None);
    }

    #[test]
    fn what_is_told_is_heard() {
        let may: BTreeMap<usize, BTreeSet<u64>> = [(3, [0, 5].into()), (7, [9].into())].into();
        let told = "3 0 5\n7 9\n";
        assert_eq!(hear(told), may);
    }
}
