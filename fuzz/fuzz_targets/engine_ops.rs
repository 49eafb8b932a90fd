//! Any sequence of operations leaves the engine whole, within its capacity, and with no value that a later write or
//! removal of its key should have replaced.
#![no_main]

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use nanotier_engine::{Compute, Engine, Inserted, Lifecycle, Options, Policy};

#[derive(Arbitrary, Debug)]
struct Input {
    capacity: u16,
    shards: u8,
    policy: u8,
    /// Which bits of the hash are left.
    mask: u64,
    ops: Vec<Op>,
}

#[derive(Arbitrary, Debug)]
enum Op {
    Get(u8),
    Peek(u8),
    Insert { key: u8, weight: u8, life: u8 },
    InsertIf { key: u8, weight: u8, admit: bool },
    Load { key: u8, weight: u8 },
    FailToLoad(u8),
    ComputePut { key: u8, weight: u8 },
    ComputeKeep(u8),
    ComputeRemove(u8),
    Remove(u8),
    Take(u8),
    RemoveIf(u8, bool),
    RetainEven,
    Clear,
    SetCapacity(u16),
    Advance(u8),
    Flush,
    // Many light ones at once, so that the index grows.
    Fill { from: u8, many: u8 },
    Visit,
    // While `key` is being read, something happens, perhaps to it.
    Reading { key: u8, doing: Doing },
}

#[derive(Arbitrary, Debug, Clone, Copy)]
enum Doing {
    Insert { key: u8, weight: u8 },
    Remove(u8),
    Clear,
    SetCapacity(u16),
    Flush,
}

/// A hash of which only some bits are left.
#[derive(Clone, Copy, Debug)]
struct Masked {
    mask: u64,
    hash: u64,
}

impl BuildHasher for Masked {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        *self
    }
}

impl Hasher for Masked {
    fn finish(&self) -> u64 {
        self.hash & self.mask
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Value {
    id: u64,
    weight: u64,
    dies_at: u64,
}

/// Weighs and ages values by what they say themselves.
#[derive(Clone, Debug, Default)]
struct Life(Arc<AtomicU64>);

impl Lifecycle<u8, Value> for Life {
    fn weight(&self, _: &u8, value: &Value) -> u64 {
        value.weight
    }
    fn is_dead(&self, _: &u8, value: &Value) -> bool {
        value.dies_at <= self.0.load(Relaxed)
    }
}

/// The engine, and what each key may hold at most: the value of its last write. What the model has not, nobody has.
struct Both {
    engine: Engine<u8, Value, Life, Masked>,
    life: Life,
    last: HashMap<u8, Value>,
    ids: u64,
}

impl Both {
    fn value(&mut self, weight: u8, life: u8) -> Value {
        self.ids += 1;
        let dies_at = if life == 0 { u64::MAX } else { self.life.0.load(Relaxed) + u64::from(life) };
        Value { id: self.ids, weight: u64::from(weight), dies_at }
    }

    fn live(&self, key: u8) -> Option<&Value> {
        self.last.get(&key).filter(|value| value.dies_at > self.life.0.load(Relaxed))
    }

    /// What was read must be the last thing written. The engine may have let it go; it may not have kept another.
    fn agree(&self, key: u8, read: Option<&Value>) {
        if let Some(read) = read {
            assert_eq!(Some(read), self.live(key), "an outdated value under key {key}");
        }
    }

    fn put(&mut self, key: u8, value: Value, inserted: Inserted) {
        if inserted == Inserted::Rejected {
            self.last.remove(&key);
        } else {
            assert_eq!(self.engine.peek(&key).as_ref(), Some(&value), "what was just taken is there");
            self.last.insert(key, value);
        }
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Get(key) => self.agree(key, self.engine.get(&key).as_ref()),
            Op::Peek(key) => self.agree(key, self.engine.peek(&key).as_ref()),
            Op::Insert { key, weight, life } => {
                let value = self.value(weight, life);
                let inserted = self.engine.insert(key, value.clone());
                self.put(key, value, inserted);
            }
            Op::InsertIf { key, weight, admit } => {
                let value = self.value(weight, 0);
                let inserted = self.engine.insert_if(key, value.clone(), |_| admit);
                assert_eq!(inserted.is_some(), admit);
                if let Some(inserted) = inserted {
                    self.put(key, value, inserted);
                }
            }
            Op::Load { key, weight } => {
                let value = self.value(weight, 0);
                let mut loaded = false;
                let answer = self.engine.get_or_insert_with(&key, || {
                    loaded = true;
                    value.clone()
                });
                let answer = answer.expect("the loader neither fails nor asks for its own key");
                if loaded {
                    assert_eq!(answer, value);
                    self.last.insert(key, value);
                } else {
                    self.agree(key, Some(&answer));
                }
            }
            Op::FailToLoad(key) => {
                let answer = self.engine.try_get_or_insert_with(&key, || Err::<Value, _>("no"));
                self.agree(key, answer.ok().as_ref());
            }
            Op::ComputePut { key, weight } => {
                let value = self.value(weight, 0);
                let put = self.engine.compute(key, |_| Compute::Put(value.clone()));
                match put {
                    Some(put) => {
                        assert_eq!(put, value);
                        self.last.insert(key, value);
                    }
                    None => drop(self.last.remove(&key)),
                }
            }
            Op::ComputeKeep(key) => {
                let kept = self.engine.compute(key, |_| Compute::Keep);
                self.agree(key, kept.as_ref());
            }
            Op::ComputeRemove(key) => {
                assert_eq!(self.engine.compute(key, |_| Compute::Remove), None);
                self.last.remove(&key);
            }
            Op::Remove(key) => {
                self.engine.remove(&key);
                self.last.remove(&key);
            }
            Op::Take(key) => {
                let taken = self.engine.take(&key);
                self.agree(key, taken.as_ref());
                self.last.remove(&key);
            }
            Op::RemoveIf(key, yes) => {
                let removed = self.engine.take_if(&key, |_| yes);
                self.agree(key, removed.as_ref());
                assert!(yes || removed.is_none());
                if removed.is_some() {
                    self.last.remove(&key);
                }
            }
            Op::RetainEven => {
                self.engine.retain(|key, _| key % 2 == 0);
                self.last.retain(|key, _| key % 2 == 0);
            }
            Op::Clear => {
                self.engine.clear();
                self.last.clear();
                assert_eq!((self.engine.len(), self.engine.weight()), (0, 0));
            }
            Op::SetCapacity(capacity) => self.engine.set_capacity(u64::from(capacity)),
            Op::Advance(by) => drop(self.life.0.fetch_add(u64::from(by), Relaxed)),
            Op::Flush => self.engine.flush(),
            Op::Fill { from, many } => {
                for key in (0..many).map(|nth| from.wrapping_add(nth)) {
                    let value = self.value(key % 3, 0);
                    let inserted = self.engine.insert(key, value.clone());
                    self.put(key, value, inserted);
                }
            }
            Op::Visit => {
                let mut visited = HashSet::new();
                self.engine.for_each(|&key, value| {
                    assert!(visited.insert(key), "key {key} is visited twice");
                    self.agree(key, Some(value));
                });
                for key in 0..=u8::MAX {
                    assert_eq!(
                        self.engine.contains(&key),
                        visited.contains(&key),
                        "key {key} is there or not"
                    );
                }
            }
            Op::Reading { key, doing } => self.read(key, doing),
        }
    }

    fn read(&mut self, key: u8, doing: Doing) {
        let Some(before) = self.engine.peek(&key) else { return };
        let value = self.value(if let Doing::Insert { weight, .. } = doing { weight } else { 0 }, 0);
        let mut inserted = None;
        let seen = self.engine.read(&key, |seen| {
            match doing {
                Doing::Insert { key, .. } => inserted = Some((key, self.engine.insert(key, value.clone()))),
                Doing::Remove(key) => drop(self.engine.remove(&key)),
                Doing::Clear => self.engine.clear(),
                Doing::SetCapacity(capacity) => self.engine.set_capacity(u64::from(capacity)),
                Doing::Flush => {}
            }
            self.engine.flush();
            assert_eq!(*seen, before, "a value has changed while it was read");
        });
        assert!(seen.is_some(), "what was there a moment ago is there");
        match doing {
            Doing::Remove(key) => drop(self.last.remove(&key)),
            Doing::Clear => self.last.clear(),
            _ => {}
        }
        if let Some((key, inserted)) = inserted {
            self.put(key, value, inserted);
        }
    }
}

fuzz_target!(|input: Input| {
    let capacity = u64::from(input.capacity);
    let policy = [Policy::Clock, Policy::Lru, Policy::Adaptive][usize::from(input.policy) % 3];
    // As many shards as there may be for this capacity, at most eight.
    let most = if capacity == 0 { 3 } else { capacity.ilog2().min(3) };
    let shards = 1 << (u32::from(input.shards) % (most + 1));
    let life = Life::default();
    let options = Options::new(capacity).shards(shards).policy(policy).stats(true);
    let hasher = Masked { mask: input.mask, hash: 1 };
    let engine = Engine::with_hasher(options, life.clone(), hasher).expect("options that work");
    let mut both = Both { engine, life, last: HashMap::new(), ids: 0 };
    for op in input.ops.iter().take(256) {
        both.run(op);
        both.engine.validate();
        assert!(both.engine.weight() <= both.engine.capacity(), "over capacity after {op:?}");
        for key in both.engine.keys() {
            both.agree(key, both.engine.peek(&key).as_ref());
        }
    }
});
