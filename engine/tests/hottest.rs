//! `hottest_first`: the order is the policy's, whole, and holds no lock while its entries are looked at.

use ahash::RandomState;
use nanotier_engine::{Engine, Inserted, Lifecycle, Options, Plain, Policy};

type Numbers = Engine<u32, u32, Plain, RandomState>;

const POLICIES: [Policy; 3] = [Policy::Adaptive, Policy::Clock, Policy::Lru];

fn engine(policy: Policy, capacity: u64, shards: usize) -> Numbers {
    let options = Options::new(capacity).shards(shards).policy(policy);
    Engine::with_hasher(options, Plain, RandomState::with_seeds(1, 2, 3, 4)).unwrap()
}

fn insert(engine: &Numbers, keys: impl IntoIterator<Item = u32>) {
    keys.into_iter().for_each(|key| assert_ne!(engine.insert(key, key), Inserted::Rejected));
}

fn keys(engine: &Numbers) -> Vec<u32> {
    engine.hottest_first().map(|(key, _)| key).collect()
}

#[test]
fn lru_gives_exactly_the_order_of_use() {
    let engine = engine(Policy::Lru, 200, 1);
    insert(&engine, 0..200);
    for key in [5, 150, 7, 5] {
        engine.get(&key);
    }
    let mut expected = vec![5, 7, 150];
    expected.extend((0..200).rev().filter(|key| ![5, 7, 150].contains(key)));
    assert_eq!(keys(&engine), expected);
}

#[test]
fn clock_gives_the_used_ones_first_and_of_equals_the_youngest() {
    let engine = engine(Policy::Clock, 6, 1);
    insert(&engine, 0..6);
    engine.get(&1);
    engine.get(&4);
    assert_eq!(keys(&engine), [4, 1, 5, 3, 2, 0]);
    // The hand goes on: what it has passed is the youngest.
    engine.insert(6, 6);
    assert_eq!(keys(&engine).last(), Some(&2), "0 has left, 1 was spared, the hand is on 2");
}

#[test]
fn adaptive_gives_the_main_part_before_the_window_and_the_used_before_the_unused() {
    let engine = engine(Policy::Adaptive, 1000, 1);
    // Asked for often, so that they are in the main part.
    for _ in 0..20 {
        for key in 0..300 {
            if engine.get(&key).is_none() {
                engine.insert(key, key);
            }
        }
        insert(&engine, 1000..1100);
    }
    // What came once, and fills the rest.
    insert(&engine, 2000..5000);
    let used = (0..100).filter(|key| engine.get(key).is_some()).count();
    assert!(used > 90, "{used} of 100 have stayed");
    let order = keys(&engine);
    assert_eq!(order.len(), 1000);
    assert!(order[..used].iter().all(|key| *key < 100), "used since: {:?}", &order[..used]);
    let place = |wanted: u32| order.iter().position(|key| *key == wanted);
    let last_hot = (0..300).filter_map(place).max().unwrap();
    let newcomer = place(4999).expect("the newest is there");
    assert!(last_hot < newcomer, "the main part comes before the window");
}

#[test]
fn whoever_is_first_stays_when_the_capacity_is_halved() {
    for policy in POLICIES {
        let engine = engine(policy, 1000, 1);
        for round in 0..10 {
            for key in 0..400 {
                if engine.get(&key).is_none() {
                    engine.insert(key, key);
                }
            }
            insert(&engine, (0..600).map(|key| 1000 + round * 600 + key));
            (0..400).for_each(|key| _ = engine.get(&key));
        }
        let order = keys(&engine);
        engine.set_capacity(500);
        let kept = order[..300].iter().filter(|key| engine.contains(*key)).count();
        assert!(kept >= 290, "{policy:?}: {kept} of the 300 hottest stayed");
    }
}

#[test]
fn everything_is_given_once_from_all_shards_side_by_side() {
    for policy in POLICIES {
        let engine = engine(policy, 20_000, 4);
        insert(&engine, 0..10_000);
        let mut all = keys(&engine);
        all.sort_unstable();
        assert_eq!(all, (0..10_000).collect::<Vec<_>>(), "{policy:?}");
    }
    // By age, since nothing was used: shards have their own order, but none comes before the others.
    let engine = engine(Policy::Lru, 20_000, 4);
    insert(&engine, 0..10_000);
    let young = keys(&engine)[..5000].iter().filter(|key| **key >= 5000).count();
    assert!(young > 4800, "{young} of 5000");
}

#[test]
fn it_is_no_use_and_what_it_gives_may_be_used_with_the_engine() {
    let engine = engine(Policy::Lru, 300, 1);
    insert(&engine, 0..300);
    let before = keys(&engine);
    assert_eq!(keys(&engine), before, "a look moves nothing");
    let mut seen = 0;
    for (key, value) in engine.hottest_first() {
        assert_eq!(key, value);
        engine.remove(&key);
        engine.insert(key + 1000, key + 1000);
        seen += 1;
    }
    assert!(seen >= 64, "those that were cloned before they left");
    assert_eq!(engine.len(), 300);
    engine.clear();
    assert_eq!(engine.hottest_first().next(), None);
    assert_eq!(
        Numbers::with_hasher(Options::new(0), Plain, RandomState::new()).unwrap().hottest_first().count(),
        0
    );
}

#[test]
fn what_is_dead_is_not_shown() {
    struct OddIsDead;
    impl Lifecycle<u32, u32> for OddIsDead {
        const LISTENS: bool = false;
        const WEIGHS: bool = false;
        fn is_dead(&self, key: &u32, _: &u32) -> bool {
            key % 2 == 1
        }
    }
    let engine = Engine::with(Options::new(100), OddIsDead).unwrap();
    (0..10).for_each(|key| _ = engine.insert(key, key));
    assert!(engine.hottest_first().count() >= 4);
    assert!(engine.hottest_first().all(|(key, _)| key % 2 == 0));
}
