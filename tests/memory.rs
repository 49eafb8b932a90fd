//! A cache in memory alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use nanotier::{Cache, Clock, ErrorKind, Freshness, LoadError, Policy, Source, TimeLeft, Ttl};

fn cache() -> Cache<String, u64> {
    Cache::new(100)
}

#[test]
fn what_is_inserted_is_read_until_it_is_removed() -> nanotier::Result<()> {
    let cache = cache();
    assert_eq!(cache.get("a").wait()?, None);
    cache.insert("a".into(), 1).wait()?;
    assert_eq!(cache.get("a").try_now().unwrap(), Some(1));
    assert_eq!(cache.read("a", |value| value + 1), Some(2));
    assert!(cache.contains("a").wait()?);
    cache.remove("a").wait()?;
    assert_eq!(cache.get("a").wait()?, None);
    assert!(!cache.contains("a").wait()?);
    Ok(())
}

#[test]
fn an_entry_is_fresh_then_stale_then_gone() -> nanotier::Result<()> {
    let (clock, hands) = Clock::manual();
    let cache: Cache<String, u64> = Cache::builder()
        .clock(clock)
        .ttl(Duration::from_millis(100))
        .stale_for(Duration::from_millis(50))
        .build()?;
    cache.insert("a".into(), 1).wait()?;
    hands.advance(Duration::from_millis(99));
    assert_eq!(cache.get("a").detailed().wait()?.freshness, Freshness::Fresh);
    assert_eq!(cache.time_left("a").wait()?, Some(TimeLeft::Fresh(Duration::from_millis(1))));
    hands.advance(Duration::from_millis(1));
    let detailed = cache.get("a").detailed().wait()?;
    assert_eq!(
        (detailed.value, detailed.freshness, detailed.source),
        (Some(1), Freshness::Stale, Source::Memory)
    );
    assert_eq!(cache.time_left("a").wait()?, Some(TimeLeft::Stale(Duration::from_millis(50))));
    hands.advance(Duration::from_millis(50));
    assert_eq!(cache.get("a").wait()?, None);
    assert_eq!(cache.time_left("a").wait()?, None);
    Ok(())
}

#[test]
fn a_call_may_say_another_lifetime_than_the_cache() -> nanotier::Result<()> {
    let (clock, hands) = Clock::manual();
    let cache: Cache<String, u64> = Cache::builder().clock(clock).ttl(Duration::from_secs(1)).build()?;
    cache.insert_for("long".into(), 1, Duration::from_secs(10)).wait()?;
    cache.insert_for("ever".into(), 2, Ttl::Forever).wait()?;
    cache.insert_for("none".into(), 3, Duration::ZERO).wait()?;
    cache.insert("usual".into(), 4).wait()?;
    assert_eq!(cache.get("none").wait()?, None);
    hands.advance(Duration::from_secs(5));
    assert_eq!(cache.get("usual").wait()?, None);
    assert_eq!(cache.get("long").wait()?, Some(1));
    hands.advance(Duration::from_secs(1_000_000_000));
    assert_eq!(cache.get("long").wait()?, None);
    assert_eq!(cache.get("ever").wait()?, Some(2));
    assert_eq!(cache.time_left("ever").wait()?, Some(TimeLeft::Forever));
    Ok(())
}

#[test]
fn touch_gives_another_life_to_what_is_there_and_none_to_what_is_not() -> nanotier::Result<()> {
    let (clock, hands) = Clock::manual();
    let cache: Cache<String, u64> = Cache::builder().clock(clock).ttl(Duration::from_secs(1)).build()?;
    cache.insert("a".into(), 1).wait()?;
    assert!(cache.touch("a", Duration::from_secs(5)).wait()?);
    assert!(!cache.touch("b", Duration::from_secs(5)).wait()?);
    hands.advance(Duration::from_secs(4));
    assert_eq!(cache.get("a").wait()?, Some(1));
    hands.advance(Duration::from_secs(1));
    assert!(!cache.touch("a", Duration::from_secs(5)).wait()?, "it has expired");
    assert_eq!(cache.get("a").wait()?, None);
    Ok(())
}

#[test]
fn take_answers_what_was_there_and_only_once() -> nanotier::Result<()> {
    let cache = cache();
    cache.insert("token".into(), 7).wait()?;
    let winners: Vec<u64> = crossbeam_utils::thread::scope(|scope| {
        let takers: Vec<_> = (0..4).map(|_| scope.spawn(|_| cache.take("token").wait().unwrap())).collect();
        takers.into_iter().filter_map(|taker| taker.join().unwrap()).collect()
    })
    .expect("every thread joined");
    assert_eq!(winners, [7]);
    Ok(())
}

#[test]
fn many_keys_keep_their_order_and_may_repeat() -> nanotier::Result<()> {
    let cache = cache();
    let stored =
        cache.insert_many([("a".to_string(), 1), ("b".to_string(), 2), ("a".to_string(), 3)]).wait()?;
    assert!(stored.iter().all(Result::is_ok) && stored.len() == 3);
    let values = cache.get_many(["b", "x", "a", "b"]).wait()?;
    let values: Vec<Option<u64>> = values.into_iter().map(Result::unwrap).collect();
    assert_eq!(values, [Some(2), None, Some(3), Some(2)]);
    cache.remove_many(["a", "nobody"]).wait()?;
    assert_eq!(cache.get("a").wait()?, None);
    assert!(cache.get_many(Vec::<&str>::new()).wait()?.is_empty());
    Ok(())
}

#[test]
fn clear_empties_all() -> nanotier::Result<()> {
    let cache = cache();
    cache.insert("a".into(), 1).wait()?;
    cache.clear().wait()?;
    assert_eq!(cache.get("a").wait()?, None);
    assert!(cache.is_empty());
    Ok(())
}

#[test]
fn one_load_per_key_however_many_ask() {
    let cache = cache();
    let loads = Arc::new(AtomicUsize::new(0));
    let gate = Arc::new(std::sync::Barrier::new(8));
    let values: Vec<u64> = crossbeam_utils::thread::scope(|scope| {
        let ask = || {
            let (loads, gate, cache) = (loads.clone(), gate.clone(), cache.clone());
            scope.spawn(move |_| {
                gate.wait();
                cache
                    .get_with_blocking("k", move || {
                        loads.fetch_add(1, Relaxed);
                        std::thread::sleep(Duration::from_millis(20));
                        42
                    })
                    .wait()
                    .unwrap()
            })
        };
        let askers: Vec<_> = (0..8).map(|_| ask()).collect();
        askers.into_iter().map(|asker| asker.join().unwrap()).collect()
    })
    .expect("every thread joined");
    assert_eq!(values, [42; 8]);
    assert_eq!(loads.load(Relaxed), 1);
    assert_eq!(cache.get("k").wait().unwrap(), Some(42));
}

#[test]
fn a_hit_drops_the_loader_unbegun() -> nanotier::Result<()> {
    let cache = cache();
    cache.insert("k".into(), 1).wait()?;
    let value = cache.get_with_blocking("k", || unreachable!("memory has it")).try_now().unwrap();
    assert_eq!(value, 1);
    Ok(())
}

#[test]
fn a_load_that_panics_settles_and_the_key_is_usable_afterwards() {
    let cache = cache();
    let error = cache.get_with_blocking("k", || panic!("planted")).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LoaderPanicked);
    assert_eq!(cache.get_with_blocking("k", || 5).wait().unwrap(), 5);
}

#[test]
fn a_loader_that_asks_for_its_own_key_gets_an_error_at_once() {
    let cache = cache();
    let inner = cache.clone();
    let value = cache
        .get_with_blocking("k", move || {
            let error = inner.get_with_blocking("k", || 1).wait().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Reentrant);
            // Another key is no re-entry.
            inner.get_with_blocking("other", || 2).wait().unwrap()
        })
        .wait()
        .unwrap();
    assert_eq!(value, 2);
}

#[test]
fn a_loaders_error_keeps_its_type_and_is_not_kept() {
    let cache = cache();
    let failed = cache.try_get_with_blocking("k", || Err::<u64, _>("no such user".to_string())).wait();
    match failed {
        Err(LoadError::Loader(text)) => assert_eq!(*text, "no such user"),
        other => panic!("the loader's own error was expected, not {other:?}"),
    }
    let loaded = cache.try_get_with_blocking("k", || Ok::<u64, String>(3)).wait();
    assert_eq!(loaded.unwrap(), 3);
}

#[test]
fn a_write_during_a_load_wins_over_it() -> nanotier::Result<()> {
    for write in ["insert", "remove", "clear"] {
        let cache = cache();
        let during = cache.clone();
        let loaded = cache
            .get_with_blocking("k", move || {
                match write {
                    "insert" => during.insert("k".into(), 2).wait().unwrap(),
                    "remove" => during.remove("k").wait().unwrap(),
                    _ => during.clear().wait().unwrap(),
                }
                1
            })
            .wait()?;
        assert_eq!(loaded, 1, "who asked before the {write} gets what was loaded");
        let expected = (write == "insert").then_some(2);
        assert_eq!(cache.get("k").wait()?, expected, "after {write}");
    }
    Ok(())
}

#[test]
fn a_stale_value_is_answered_at_once_while_a_new_one_is_loaded_behind() -> nanotier::Result<()> {
    let (clock, hands) = Clock::manual();
    let cache: Cache<String, u64> = Cache::builder()
        .clock(clock)
        .ttl(Duration::from_secs(1))
        .stale_for(Duration::from_secs(60))
        .build()?;
    cache.insert("k".into(), 1).wait()?;
    hands.advance(Duration::from_secs(2));
    let (done, told) = std::sync::mpsc::channel();
    let lookup = cache.get_with_blocking("k", move || {
        done.send(()).unwrap();
        2
    });
    assert_eq!(lookup.try_now().unwrap(), 1, "stale, at once");
    told.recv_timeout(Duration::from_secs(10)).expect("the refresh runs behind");
    // The worker admits after the loader has returned.
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while cache.resident("k") != Some((2, Freshness::Fresh)) {
        assert!(std::time::Instant::now() < deadline, "the refresh was not admitted");
        std::thread::yield_now();
    }
    Ok(())
}

#[test]
fn each_call_counts_once_as_a_hit_or_a_miss() -> nanotier::Result<()> {
    let cache: Cache<String, u64> = Cache::builder().stats(true).build()?;
    cache.get("a").wait()?;
    cache.get_with("a", async || 1).wait()?;
    assert_eq!((cache.stats().hits, cache.stats().misses), (0, 2));
    cache.get("a").wait()?;
    cache.get_with("a", async || 2).wait()?;
    assert_eq!((cache.stats().hits, cache.stats().misses), (2, 2));
    Ok(())
}

#[test]
fn to_ask_whether_or_how_long_is_no_use_and_no_hit() -> nanotier::Result<()> {
    let cache: Cache<u32, u32> = Cache::builder().capacity(2).policy(Policy::Lru).stats(true).build()?;
    cache.insert(1, 10).wait()?;
    cache.insert(2, 20).wait()?;
    assert!(cache.contains(&1).wait()?);
    assert!(cache.time_left(&1).wait()?.is_some());
    assert!(!cache.contains(&3).wait()?);
    assert_eq!((cache.stats().hits, cache.stats().misses), (0, 0));
    cache.insert(3, 30).wait()?;
    assert_eq!((cache.resident(&1), cache.resident(&2)), (None, Some((20, Freshness::Fresh))));
    Ok(())
}

#[test]
fn configurations_that_cannot_work_are_refused_with_a_sentence() {
    let refused = [
        Cache::<u64, u64>::builder().ttl(Duration::ZERO).build(),
        Cache::<u64, u64>::builder().stale_for(Duration::from_secs(1)).build(),
        Cache::<u64, u64>::builder().namespace("n").build(),
        Cache::<u64, Vec<u8>>::builder().codec(nanotier::Raw).build().map(|_| Cache::new(0)),
        Cache::<u64, u64>::builder().tiers(nanotier::Inline(nanotier::NullStore::new())).build(),
        Cache::<u64, u64>::builder()
            .tiers(nanotier::Inline(nanotier::NullStore::new()))
            .codec(nanotier::Json::default())
            .build(),
    ];
    for (index, refused) in refused.into_iter().enumerate() {
        let error = refused.expect_err(&format!("configuration {index}"));
        assert_eq!(error.kind(), ErrorKind::Config, "configuration {index}");
        assert!(error.to_string().len() > 40, "a sentence: {error}");
    }
}

#[test]
fn a_capacity_of_zero_keeps_nothing_and_still_loads() -> nanotier::Result<()> {
    let cache: Cache<String, u64> = Cache::new(0);
    cache.insert("a".into(), 1).wait()?;
    assert_eq!(cache.get("a").wait()?, None);
    assert_eq!(cache.get_with("a", async || 2).wait()?, 2);
    Ok(())
}

#[test]
fn a_read_may_do_anything_to_what_it_reads() -> nanotier::Result<()> {
    let cache: Cache<String, u64> = Cache::new(10);
    type Act = fn(&Cache<String, u64>) -> nanotier::Result<()>;
    let acts: [Act; 5] = [
        |cache| cache.insert("k".into(), 2).wait(),
        |cache| cache.remove("k").wait(),
        |cache| cache.clear().wait(),
        |cache| {
            assert_eq!(cache.take("k").wait()?, Some(1));
            Ok(())
        },
        |cache| cache.get_with_blocking("other", || 3).wait().map(drop).map_err(|error| panic!("{error}")),
    ];
    for act in acts {
        cache.insert("k".into(), 1).wait()?;
        let seen = cache.read("k", |value| act(&cache).map(|()| *value));
        assert_eq!(seen.transpose()?, Some(1));
    }
    Ok(())
}
