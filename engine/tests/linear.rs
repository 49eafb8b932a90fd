//! What threads see of one key could have been seen by one after the other: histories of real runs, checked by search
//! (Wing and Gong 1993, Lowe 2017) against what a cache may do with a key.
//!
//! Where nothing is evicted, that is all that a map does. Where something is, a value may be gone at any moment; but
//! once it has been missed it stays gone, and what is seen is always the last that was put.

use crossbeam_utils::thread::scope;
use nanotier_engine::{Compute, Engine, Inserted, Lifecycle, Options, Plain, Policy};
use std::cell::Cell;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// One call: what it saw of its key, what it made of it, and between which moments.
#[derive(Debug, Clone, Copy)]
struct Call {
    saw: Saw,
    then: Then,
    begun: u64,
    ended: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Saw {
    Value(u64),
    /// There was one; which, it did not say.
    Something,
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Keep,
    Put(u64),
    Delete,
}

impl Saw {
    fn value(value: Option<u64>) -> Self {
        value.map_or(Self::Nothing, Self::Value)
    }

    fn any(there: bool) -> Self {
        if there { Self::Something } else { Self::Nothing }
    }
}

impl Call {
    /// What the key has after this call, if it had `state` before; `None` if this call cannot have seen that.
    fn after(&self, state: Option<u64>, lossy: bool) -> Option<Option<u64>> {
        let left = match (self.saw, state) {
            (Saw::Nothing, None) => None,
            // It was evicted, and is gone from now on.
            (Saw::Nothing, Some(_)) if lossy => None,
            (Saw::Value(value), Some(had)) if value == had => state,
            (Saw::Something, Some(_)) => state,
            _ => return None,
        };
        Some(match self.then {
            Then::Keep => left,
            Then::Put(value) => Some(value),
            Then::Delete => None,
        })
    }
}

/// Whether some order of the calls explains them all, in which none comes after one that began when it had ended. The
/// key has nothing at first. At most 64 calls.
fn is_linear(calls: &[Call], lossy: bool) -> bool {
    let all = u64::MAX >> (64 - calls.len());
    // Which calls are through, and what the key has then.
    let mut tried = HashSet::new();
    let mut open = vec![(0_u64, None)];
    while let Some((done, state)) = open.pop() {
        if done == all {
            return true;
        }
        let waiting = |nth: &usize| done & (1 << nth) == 0;
        let first_end = (0..calls.len()).filter(waiting).map(|nth| calls[nth].ended).min();
        for nth in (0..calls.len()).filter(waiting) {
            // Who began after another has ended comes after it.
            if Some(calls[nth].begun) > first_end {
                continue;
            }
            if let Some(next) = calls[nth].after(state, lossy) {
                let next = (done | 1 << nth, next);
                if tried.insert(next) {
                    open.push(next);
                }
            }
        }
    }
    calls.is_empty()
}

/// Moments, one after the other.
#[derive(Debug, Default)]
struct Clock(AtomicU64);

impl Clock {
    fn now(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

/// A key whose hash and comparison now and then let another thread go first: in the middle of a call, whatever the
/// number of processors.
#[derive(Debug, Clone, Copy)]
struct Key(u32);

thread_local! {
    static CHANCE: Cell<u64> = const { Cell::new(0x9e37_79b9_7f4a_7c15) };
}

fn yield_by_chance() {
    let mut state = CHANCE.get();
    if next(&mut state) >> 60 == 0 {
        thread::yield_now();
    }
    CHANCE.set(state);
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        yield_by_chance();
        self.0.hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        yield_by_chance();
        self.0 == other.0
    }
}

impl Eq for Key {}

fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Does something by chance to `key`; all values are different.
fn call<L: Lifecycle<Key, u64>>(
    engine: &Engine<Key, u64, L>,
    key: Key,
    random: u64,
    clock: &Clock,
    value: u64,
) -> Call {
    let begun = clock.now();
    let (saw, then) = match random % 16 {
        0..5 => (Saw::value(engine.get(&key)), Then::Keep),
        5 => (Saw::value(engine.peek(&key)), Then::Keep),
        6..9 => match engine.insert(key, value) {
            Inserted::Done => (Saw::Nothing, Then::Put(value)),
            Inserted::Replaced => (Saw::Something, Then::Put(value)),
            _ => unreachable!("everything weighs 1"),
        },
        9 => {
            let mut saw = None;
            let inserted = engine.insert_if(key, value, |old| {
                saw = old.copied();
                random >> 60 < 12
            });
            (Saw::value(saw), if inserted.is_some() { Then::Put(value) } else { Then::Keep })
        }
        10 | 11 => (Saw::any(engine.remove(&key)), Then::Delete),
        12 => (Saw::value(engine.take(&key)), Then::Delete),
        13 => {
            let mut saw = None;
            engine.compute(key, |old| {
                saw = old.copied();
                Compute::Put(value)
            });
            (Saw::value(saw), Then::Put(value))
        }
        14 => {
            let mut saw = None;
            let mut admits = |old: &u64| {
                saw = Some(*old);
                random >> 60 < 8
            };
            let gone = if random >> 59 & 1 == 0 {
                engine.remove_if(&key, &mut admits)
            } else {
                let taken = engine.take_if(&key, &mut admits);
                assert!(taken.is_none() || taken == saw);
                taken.is_some()
            };
            (Saw::value(saw), if gone { Then::Delete } else { Then::Keep })
        }
        _ => {
            let mut saw = None;
            let keeps = random >> 60 < 8;
            engine.compute(key, |old| {
                saw = old.copied();
                if keeps { Compute::Keep } else { Compute::Remove }
            });
            (Saw::value(saw), if keeps { Then::Keep } else { Then::Delete })
        }
    };
    Call { saw, then, begun, ended: clock.now() }
}

const THREADS: usize = 3;
const CALLS: usize = 8;
/// Keys below are the histories'; those above come and go beside them.
const OTHERS: u32 = 1 << 20;

/// What is done beside the history's own calls.
#[derive(Debug, Clone, Copy)]
enum Beside {
    Nothing,
    /// As many other keys are put before each call.
    Put(u32),
}

/// Threads that wait for one another, turn after turn. Closely at first, so that they go on at the same moment; and
/// bounded, so that what has failed does not hang.
#[derive(Debug, Default)]
struct Meeting(AtomicUsize);

impl Meeting {
    fn meet(&self, turn: usize) {
        self.0.fetch_add(1, Ordering::AcqRel);
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.0.load(Ordering::Acquire) < THREADS * (turn + 1) {
            assert!(Instant::now() < deadline, "another thread has not come to turn {turn}");
            thread::yield_now();
        }
    }
}

/// Runs some histories on a new engine, each with a key of its own, and answers their calls.
fn run<L: Lifecycle<Key, u64>>(
    engine: &Engine<Key, u64, L>,
    histories: usize,
    beside: Beside,
    seed: u64,
) -> Vec<Vec<Call>> {
    let (clock, meeting) = (Clock::default(), Meeting::default());
    let work = |nth: u32| {
        let mut random = (seed << 8 | u64::from(nth)).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        CHANCE.set(random);
        let (mut value, mut other) = (u64::from(nth) << 32, OTHERS + (nth << 20));
        (0..histories)
            .map(|history| {
                meeting.meet(history);
                let key = Key(u32::try_from(history).expect("few histories"));
                (0..CALLS)
                    .map(|_| {
                        if let Beside::Put(many) = beside {
                            for _ in 0..many {
                                other += 1;
                                engine.insert(Key(other), 0);
                            }
                        }
                        value += 1;
                        call(engine, key, next(&mut random), &clock, value)
                    })
                    .collect()
            })
            .collect::<Vec<Vec<Call>>>()
    };
    let mut all = vec![Vec::new(); histories];
    scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..).take(THREADS).map(|nth| scope.spawn(move |_| work(nth))).collect();
        for thread in threads {
            let calls = thread.join().expect("no call panics");
            all.iter_mut().zip(calls).for_each(|(all, calls)| all.extend(calls));
        }
    })
    .expect("every thread joined");
    all
}

const FEWEST: usize = 100;

/// How many histories each test runs.
fn histories() -> usize {
    let many = std::env::var("NANOTIER_HISTORIES").ok().and_then(|many| many.parse().ok());
    many.unwrap_or(600)
}

/// Runs histories, as many on one engine as `each` says, and checks them.
fn check<L: Lifecycle<Key, u64>>(
    engine: impl Fn(Policy) -> Engine<Key, u64, L>,
    each: usize,
    beside: Beside,
    lossy: bool,
) {
    let (mut checked, mut overlapping, mut found) = (0, 0, 0);
    // On a machine with much else to do, fewer.
    let end = Instant::now() + Duration::from_secs(2);
    while checked < histories() && (checked < FEWEST || Instant::now() < end) {
        let policy = [Policy::Clock, Policy::Adaptive, Policy::Lru][checked / each % 3];
        for calls in run(&engine(policy), each, beside, checked as u64) {
            assert!(is_linear(&calls, lossy), "under {policy:?}, no order explains {calls:#?}");
            let overlap = |(nth, one): (usize, &Call)| {
                calls[..nth].iter().any(|other| one.begun < other.ended && other.begun < one.ended)
            };
            checked += 1;
            overlapping += usize::from(calls.iter().enumerate().any(overlap));
            found += calls.iter().filter(|call| call.saw != Saw::Nothing).count();
        }
    }
    println!("COUNT histories {checked}");
    assert!(overlapping > checked / 4, "only {overlapping} of {checked} histories were concurrent");
    assert!(found > checked / 2, "only {found} calls have found anything");
}

/// Says that it weighs, so that the index begins small.
struct Weighing;

impl Lifecycle<Key, u64> for Weighing {
    const LISTENS: bool = false;
    const EXPIRES: bool = false;
}

#[test]
fn where_nothing_is_evicted_a_key_behaves_as_in_a_map() {
    let engine = |policy| Engine::with(Options::new(20_000).shards(1).policy(policy), Plain).unwrap();
    check(engine, 100, Beside::Nothing, false);
}

#[test]
fn where_nothing_is_evicted_a_key_behaves_as_in_a_map_also_while_the_index_grows() {
    let engine = |policy| Engine::with(Options::new(1 << 30).shards(1).policy(policy), Weighing).unwrap();
    check(engine, 20, Beside::Put(3), false);
}

#[test]
fn where_entries_are_evicted_what_is_missed_stays_gone_and_what_is_seen_is_the_last() {
    let engine = |policy| Engine::with(Options::new(8).shards(1).policy(policy), Plain).unwrap();
    check(engine, 100, Beside::Put(1), true);
}

#[test]
fn who_looks_up_a_key_that_is_replaced_sees_the_old_value_or_the_new_also_while_the_index_grows() {
    const KEYS: u32 = 8;
    for policy in [Policy::Clock, Policy::Lru, Policy::Adaptive] {
        let end = Instant::now() + Duration::from_millis(300);
        while Instant::now() < end {
            let engine = Engine::with(Options::new(1 << 30).shards(1).policy(policy), Weighing).unwrap();
            (0..KEYS).for_each(|key| assert_eq!(engine.insert(Key(key), 0), Inserted::Done));
            let done = AtomicBool::new(false);
            scope(|scope| {
                scope.spawn(|_| {
                    for other in 0..2000 {
                        engine.insert(Key(OTHERS + other), 0);
                    }
                    done.store(true, Ordering::Relaxed);
                });
                scope.spawn(|_| {
                    for version in 1.. {
                        for key in 0..KEYS {
                            assert_eq!(engine.insert(Key(key), version), Inserted::Replaced);
                        }
                        if done.load(Ordering::Relaxed) {
                            return;
                        }
                    }
                });
                scope.spawn(|_| {
                    let mut seen = [0; KEYS as usize];
                    while !done.load(Ordering::Relaxed) {
                        for (key, seen) in (0..).zip(&mut seen) {
                            let version =
                                engine.get(&Key(key)).expect("neither the old value nor the new is seen");
                            assert!(version >= *seen, "{version} after {seen}");
                            *seen = version;
                        }
                    }
                });
            })
            .expect("every thread joined");
        }
    }
}

/// What the checker must refuse: else it says nothing.
mod checker {
    use super::*;

    fn calls(calls: &[(Saw, Then, u64, u64)]) -> Vec<Call> {
        calls.iter().map(|&(saw, then, begun, ended)| Call { saw, then, begun, ended }).collect()
    }

    const PUT_ONE: (Saw, Then, u64, u64) = (Saw::Nothing, Then::Put(1), 0, 1);

    #[test]
    fn a_value_that_was_replaced_or_removed_before_is_refused() {
        for then in [Then::Put(2), Then::Delete] {
            let late = calls(&[PUT_ONE, (Saw::Something, then, 2, 3), (Saw::Value(1), Then::Keep, 4, 5)]);
            assert!(!is_linear(&late, true) && !is_linear(&late, false));
            let at_once = calls(&[PUT_ONE, (Saw::Something, then, 2, 5), (Saw::Value(1), Then::Keep, 4, 6)]);
            assert!(is_linear(&at_once, true) && is_linear(&at_once, false));
        }
    }

    #[test]
    fn what_was_missed_stays_gone_and_only_a_cache_may_miss_it() {
        let missed = [PUT_ONE, (Saw::Nothing, Then::Keep, 2, 3), (Saw::Value(1), Then::Keep, 4, 5)];
        assert!(is_linear(&calls(&missed[..2]), true) && !is_linear(&calls(&missed[..2]), false));
        assert!(!is_linear(&calls(&missed), true));
    }

    #[test]
    fn a_value_that_was_never_put_or_is_taken_twice_is_refused() {
        assert!(!is_linear(&calls(&[PUT_ONE, (Saw::Value(2), Then::Keep, 2, 3)]), true));
        let taken = (Saw::Value(1), Then::Delete, 2, 5);
        assert!(is_linear(&calls(&[PUT_ONE, taken]), false));
        assert!(!is_linear(&calls(&[PUT_ONE, taken, taken]), true));
    }

    #[test]
    fn two_who_saw_two_replacements_in_different_orders_are_refused() {
        let (one, two) = ((Saw::Value(1), Then::Keep), (Saw::Value(2), Then::Keep));
        let puts = [(Saw::Nothing, Then::Put(1), 0, 20), (Saw::Something, Then::Put(2), 0, 20)];
        let looks = [(one.0, one.1, 1, 2), (two.0, two.1, 3, 4), (two.0, two.1, 5, 6)];
        let all = |looks: &[_]| calls(&[&puts, looks].concat());
        assert!(is_linear(&all(&looks), false));
        assert!(!is_linear(&all(&[looks[0], looks[1], (one.0, one.1, 5, 6)]), true));
    }
}
