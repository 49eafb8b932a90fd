//! Many keys, loaded by one call.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use nanotier::testing::{Fake, Op, Tasks};
use nanotier::{Cache, Clock, ErrorKind, Hands, Json, LoadError};
use parking_lot::Mutex;

use common::Watched;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

struct World {
    cache: Cache<u32, u32>,
    tier: Option<Watched>,
    hands: Hands,
    tasks: Tasks,
    /// The keys of each call of the loader.
    asked: Arc<Mutex<Vec<Vec<u32>>>>,
}

fn worlds() -> [World; 2] {
    [None, Some(Watched::new())].map(|tier| {
        let (clock, hands) = Clock::manual();
        let tasks = Tasks::new();
        let builder = Cache::builder().clock(clock).spawner(tasks.clone()).ttl(ms(100)).stale_for(ms(100));
        let builder = builder.options(|o| o.stale_on_error_for(ms(10_000)).hard_deadline(ms(1000)));
        let cache = match &tier {
            Some(tier) => builder.namespace("test").tiers(tier.clone()).codec(Json::default()).build(),
            None => builder.build(),
        };
        World { cache: cache.unwrap(), tier, hands, tasks, asked: Arc::default() }
    })
}

impl World {
    /// Each value is ten times its key.
    fn get(&self, keys: &[u32]) -> Result<Vec<u32>, LoadError<String>> {
        let asked = self.asked.clone();
        let load = move |keys: Vec<u32>| {
            asked.lock().push(keys.clone());
            Ok(keys.into_iter().map(|key| key * 10).collect())
        };
        self.cache.try_get_many_with_blocking(keys, load).wait()
    }

    fn asked(&self) -> Vec<Vec<u32>> {
        std::mem::take(&mut *self.asked.lock())
    }
}

#[test]
fn what_nobody_has_is_loaded_by_one_call_in_order_and_each_key_once() {
    for world in worlds() {
        world.cache.insert(3, 33).wait().unwrap();
        assert_eq!(world.get(&[5, 3, 1, 5]).unwrap(), [50, 33, 10, 50]);
        assert_eq!(world.asked(), [[5, 1]]);
        assert_eq!(world.get(&[1, 5]).unwrap(), [10, 50]);
        assert!(world.get(&[]).unwrap().is_empty());
        assert!(world.asked().is_empty());
        assert_eq!(world.cache.get(&5).wait().unwrap(), Some(50));
        if let Some(tier) = &world.tier {
            world.cache.clear_memory();
            let reads = tier.reads();
            assert_eq!(world.get(&[1, 3, 5]).unwrap(), [10, 33, 50]);
            assert_eq!(tier.reads() - reads, 1, "one batch");
            assert!(world.asked().is_empty(), "the tier has them");
        }
    }
}

#[test]
fn a_batch_is_read_from_the_truth_in_one_round_trip_and_written_in_another() {
    let fake = Fake::new();
    let cache = fake.cache::<u32, u32>().build().unwrap();
    let loaded = cache.get_many_with(&[1, 2, 3, 4], async |keys| keys).wait().unwrap();
    assert_eq!((loaded, fake.round_trips()), (vec![1, 2, 3, 4], 2));
    fake.assert_total(Op::Fill, 4);
}

#[test]
fn a_key_that_somebody_loads_already_is_waited_for_and_not_loaded_again() {
    for world in worlds() {
        let may_end = Arc::new(AtomicUsize::new(0));
        let end = may_end.clone();
        let load = std::future::poll_fn(move |_| match end.load(SeqCst) {
            0 => Poll::Pending,
            _ => Poll::Ready(7),
        });
        let mut single = world.cache.get_with(&1, || load);
        let mut context = Context::from_waker(Waker::noop());
        let mut poll = |future: std::pin::Pin<&mut dyn Future<Output = nanotier::Result<u32>>>| {
            future.poll(&mut context)
        };
        (0..4).for_each(|_| assert!(poll(std::pin::pin!(&mut single)).is_pending()));
        let asked = world.asked.clone();
        let batch = move |keys: Vec<u32>| {
            asked.lock().push(keys.clone());
            async move { keys.into_iter().map(|key| key * 10).collect() }
        };
        let mut many = world.cache.get_many_with(&[1, 2], batch);
        let mut context = Context::from_waker(Waker::noop());
        (0..8).for_each(|_| assert!(std::pin::pin!(&mut many).poll(&mut context).is_pending()));
        assert_eq!(world.asked(), [[2]]);
        // Others join the batch's part as they join any load.
        assert_eq!(world.cache.get_with(&2, async || unreachable!("it is loaded")).wait().unwrap(), 20);
        may_end.store(1, SeqCst);
        assert_eq!(many.wait().unwrap(), [7, 20]);
        assert_eq!(single.wait().unwrap(), 7);
    }
}

#[test]
fn a_caller_that_leaves_takes_nothing_with_it() {
    for world in worlds() {
        let may_end = Arc::new(AtomicUsize::new(0));
        let end = may_end.clone();
        let load = move |keys: Vec<u32>| {
            std::future::poll_fn(move |_| match end.load(SeqCst) {
                0 => Poll::Pending,
                _ => Poll::Ready(keys.iter().map(|key| key * 10).collect()),
            })
        };
        let mut many = world.cache.get_many_with(&[1, 2], load);
        let mut context = Context::from_waker(Waker::noop());
        (0..8).for_each(|_| assert!(std::pin::pin!(&mut many).poll(&mut context).is_pending()));
        let mut follower = world.cache.get_with(&2, async || unreachable!("it is loaded"));
        assert!(std::pin::pin!(&mut follower).poll(&mut context).is_pending());
        drop(many);
        may_end.store(1, SeqCst);
        assert_eq!(follower.wait().unwrap(), 20);
        world.tasks.run();
        assert_eq!(
            world
                .cache
                .get_many([&1, &2])
                .wait()
                .unwrap()
                .into_iter()
                .map(Result::unwrap)
                .collect::<Vec<_>>(),
            [Some(10), Some(20)]
        );
    }
}

#[test]
fn stale_values_are_answered_at_once_and_loaded_behind_in_one_call() {
    for world in worlds() {
        world.get(&[1, 2]).unwrap();
        world.hands.advance(ms(100));
        world.asked();
        assert_eq!(world.get(&[1, 2]).unwrap(), [10, 20]);
        assert!(world.asked().is_empty());
        world.tasks.run();
        assert_eq!(world.asked(), [[1, 2]]);
        assert_eq!(world.cache.resident(&1).unwrap().1, nanotier::Freshness::Fresh);
        // With others to load they go along.
        world.hands.advance(ms(100));
        assert_eq!(world.get(&[1, 9]).unwrap(), [10, 90]);
        world.tasks.run();
        assert_eq!(world.asked(), [[9, 1]]);
    }
}

#[test]
fn a_loader_that_fails_leaves_old_values_and_tells_the_rest() {
    for world in worlds() {
        world.get(&[1, 2]).unwrap();
        world.hands.advance(ms(500));
        let fail =
            |keys: &[u32]| world.cache.try_get_many_with_blocking(keys, |_| Err("down".to_owned())).wait();
        assert_eq!(fail(&[1, 2]).unwrap(), [10, 20], "kept for errors");
        assert!(matches!(fail(&[1, 7]), Err(LoadError::Loader(error)) if *error == "down"));
    }
}

#[test]
fn another_number_of_values_than_was_asked_for_is_an_error_and_nothing_is_kept() {
    for world in worlds() {
        let refused = world.cache.get_many_with(&[1, 2], async |_| vec![1]).wait().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Loader);
        assert!(refused.to_string().contains("2 values and brought 1"), "{refused}");
        assert_eq!(world.cache.get(&1).wait().unwrap(), None);
    }
}

#[test]
fn a_write_during_a_batch_wins_over_it() {
    for world in worlds() {
        let cache = world.cache.clone();
        let load = move |keys: Vec<u32>| {
            cache.insert(1, 99).wait().unwrap();
            cache.remove(&2).wait().unwrap();
            Ok::<_, String>(keys.into_iter().map(|key| key * 10).collect())
        };
        world.cache.try_get_many_with_blocking(&[1, 2, 3], load).wait().unwrap();
        let now: Vec<_> =
            world.cache.get_many([&1, &2, &3]).wait().unwrap().into_iter().map(Result::unwrap).collect();
        assert_eq!(now, [Some(99), None, Some(30)]);
    }
}

#[test]
fn a_loader_that_asks_for_a_key_of_its_own_batch_gets_an_error_at_once() {
    for world in worlds() {
        let cache = world.cache.clone();
        let load = move |keys: Vec<u32>| {
            let inner = cache.get_with_blocking(&2, || 5).wait();
            assert_eq!(inner.unwrap_err().kind(), ErrorKind::Reentrant);
            Ok::<_, String>(keys)
        };
        assert_eq!(world.cache.try_get_many_with_blocking(&[1, 2], load).wait().unwrap(), [1, 2]);
    }
}

#[test]
fn a_loader_that_panics_settles_all_and_the_keys_are_usable_afterwards() {
    for world in worlds() {
        let load = |_: Vec<u32>| -> Result<Vec<u32>, String> { panic!("planted") };
        let told = world.cache.try_get_many_with_blocking(&[1, 2], load).wait().unwrap_err();
        assert!(matches!(told, LoadError::Cache(error) if error.kind() == ErrorKind::LoaderPanicked));
        assert_eq!(world.get(&[1, 2]).unwrap(), [10, 20]);
    }
}

#[test]
fn at_the_hard_deadline_a_batch_ends() {
    for world in worlds() {
        let mut many = world.cache.get_many_with(&[1, 2], |_| std::future::pending());
        let mut context = Context::from_waker(Waker::noop());
        (0..8).for_each(|_| assert!(std::pin::pin!(&mut many).poll(&mut context).is_pending()));
        world.hands.advance(ms(1000));
        let Poll::Ready(told) = std::pin::pin!(&mut many).poll(&mut context) else { panic!("it hangs") };
        assert_eq!(told.unwrap_err().kind(), ErrorKind::Timeout);
        assert_eq!(world.get(&[1, 2]).unwrap(), [10, 20]);
    }
}

#[test]
fn threads_that_race_for_overlapping_batches_load_each_key_once() {
    for round in 0..100 {
        let cache: Cache<u32, u32> = Cache::new(100);
        let loads = Arc::new(AtomicUsize::new(0));
        let gate = Arc::new(std::sync::Barrier::new(4));
        let threads: Vec<_> = (0..4_u32)
            .map(|first| {
                let (cache, loads, gate) = (cache.clone(), loads.clone(), gate.clone());
                std::thread::spawn(move || {
                    gate.wait();
                    let keys: Vec<u32> = (0..8).map(|n| (n * 3 + first * 2) % 8).collect();
                    let load = move |keys: Vec<u32>| {
                        loads.fetch_add(keys.len(), SeqCst);
                        Ok::<_, String>(keys)
                    };
                    assert_eq!(cache.try_get_many_with_blocking(&keys, load).wait().unwrap(), keys);
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(loads.load(SeqCst), 8, "in round {round}");
    }
}
