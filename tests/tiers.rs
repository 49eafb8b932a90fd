//! A cache over tiers.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use common::Watched;
use nanotier::tier::{Entry, Fingerprint, Intent, Namespace, Path, Record, Store, Version, Write};
use nanotier::{Cache, Clock, ErrorKind, Freshness, Hands, Json, Scope, Source, Tier, chain};

/// A cache over a near copy and a far truth, on a clock moved by hand.
struct Setup {
    cache: Cache<String, u64>,
    near: Watched,
    far: Watched,
    hands: Hands,
}

const TTL: Duration = Duration::from_secs(10);
const STALE: Duration = Duration::from_secs(1000);

fn setup() -> Setup {
    setup_over(Watched::new())
}

fn setup_over(far: Watched) -> Setup {
    let (clock, hands) = Clock::manual();
    let near = Watched::new();
    let cache = Cache::builder()
        .clock(clock)
        .ttl(TTL)
        .stale_for(STALE)
        .namespace("test")
        .tiers(chain([near.clone().erase(), far.clone().erase()]).unwrap())
        .codec(Json::default())
        .build()
        .unwrap();
    Setup { cache, near, far, hands }
}

fn namespace() -> Namespace {
    Namespace::new("test").unwrap()
}

fn held(tier: &Watched, key: &str) -> Entry {
    let namespace = namespace();
    let path = Path::new(&namespace, key.as_bytes());
    tier.store().read(&[path], Intent::Look).unwrap().remove(0).unwrap().entry
}

/// The value that a tier holds as JSON; `None` for a tombstone, a blank or nothing.
fn value_in(tier: &Watched, key: &str) -> Option<u64> {
    let Entry::Present(record) = held(tier, key) else { return None };
    std::str::from_utf8(&record.value.bytes).unwrap().parse().ok()
}

/// Waits for work that the cache does behind.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::yield_now();
    }
}

#[test]
fn an_insert_reaches_truth_copy_and_memory() -> nanotier::Result<()> {
    let s = setup();
    s.cache.insert("k".into(), 1).wait()?;
    assert_eq!((value_in(&s.near, "k"), value_in(&s.far, "k")), (Some(1), Some(1)));
    assert_eq!(s.cache.get("k").try_now().unwrap(), Some(1));
    Ok(())
}

#[test]
fn a_value_found_far_out_is_kept_in_memory_and_promoted() -> nanotier::Result<()> {
    let far = Watched::new();
    let s = setup_over(far.clone());
    s.cache.insert("k".into(), 1).wait()?;
    // Another process, with a near copy of its own.
    let other = setup_over(far);
    let found = other.cache.get("k").detailed().wait()?;
    assert_eq!(found.value, Some(1));
    assert!(matches!(found.source, Source::Tier(index) if index.0 == 1), "{:?}", found.source);
    assert_eq!(other.cache.resident("k"), Some((1, Freshness::Fresh)));
    until("the promotion", || value_in(&other.near, "k") == Some(1));
    Ok(())
}

#[test]
fn a_promotion_does_not_stretch_a_life() -> nanotier::Result<()> {
    let far = Watched::new();
    let s = setup_over(far.clone());
    s.cache.insert("k".into(), 1).wait()?;
    let other = setup_over(far);
    other.hands.advance(TTL / 2);
    other.cache.get("k").wait()?;
    until("the promotion", || value_in(&other.near, "k") == Some(1));
    other.hands.advance(TTL / 2);
    assert_eq!(other.cache.get("k").detailed().wait()?.freshness, Freshness::Stale);
    Ok(())
}

#[test]
fn after_a_remove_nobody_has_it() -> nanotier::Result<()> {
    let s = setup();
    s.cache.insert("k".into(), 1).wait()?;
    s.cache.remove("k").wait()?;
    assert!(matches!(held(&s.near, "k"), Entry::Removed(_)));
    assert!(matches!(held(&s.far, "k"), Entry::Removed(_)));
    assert_eq!(s.cache.get("k").wait()?, None);
    Ok(())
}

#[test]
fn a_loaded_value_is_written_to_the_truth_and_loaded_once() -> nanotier::Result<()> {
    let s = setup();
    let loaded = s.cache.get_with("k", async || 7).detailed().wait()?;
    assert_eq!((loaded.value, loaded.source), (7, Source::Loader));
    assert_eq!((value_in(&s.near, "k"), value_in(&s.far, "k")), (Some(7), Some(7)));
    s.cache.clear_memory();
    let again = s.cache.get_with("k", async || unreachable!("the tiers have it")).detailed().wait()?;
    assert!(matches!(again.source, Source::Tier(_)));
    Ok(())
}

#[test]
fn a_truth_that_is_down_costs_a_load_and_the_value_is_kept_for_a_moment_only() -> nanotier::Result<()> {
    let s = setup();
    s.far.set_down(true);
    assert_eq!(s.cache.get("k").wait().unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(s.cache.get_with("k", async || 1).wait()?, 1);
    assert_eq!(s.cache.resident("k"), Some((1, Freshness::Fresh)));
    assert!(!matches!(held(&s.near, "k"), Entry::Present(_)), "a copy of what the truth does not have");
    s.hands.advance(Duration::from_secs(6));
    assert_eq!(s.cache.resident("k"), None, "kept longer than `degraded_ttl`");
    Ok(())
}

#[test]
fn a_write_that_the_truth_refuses_leaves_nothing_older_to_be_served() -> nanotier::Result<()> {
    let s = setup();
    s.cache.insert("k".into(), 1).wait()?;
    s.far.set_down(true);
    assert!(s.cache.insert("k".into(), 2).wait().is_err());
    assert_eq!(s.cache.resident("k"), None);
    assert_eq!(value_in(&s.near, "k"), None, "the copy is older than the write that may have happened");
    // The truth comes back: what it holds is served again.
    s.far.set_down(false);
    assert_eq!(s.cache.get("k").wait()?, Some(1));
    Ok(())
}

#[test]
fn a_copy_that_was_down_during_a_write_is_not_believed_afterwards() -> nanotier::Result<()> {
    let s = setup();
    s.cache.insert("k".into(), 1).wait()?;
    s.near.set_down(true);
    s.cache.insert("k".into(), 2).wait()?;
    s.near.set_down(false);
    s.cache.clear_memory();
    assert_eq!(value_in(&s.near, "k"), Some(1), "the copy has missed the write");
    assert_eq!(s.cache.get("k").wait()?, Some(2));
    s.cache.clear_memory();
    s.near.set_down(true);
    s.cache.remove("k").wait()?;
    s.near.set_down(false);
    s.far.set_down(true);
    assert!(
        s.cache.get("k").wait().is_err(),
        "what was removed is not served, though the truth cannot be asked"
    );
    Ok(())
}

#[test]
fn a_value_that_does_not_decode_is_a_miss_that_is_mended_and_never_promoted() -> nanotier::Result<()> {
    let namespace = namespace();
    let ours = nanotier::Codec::<u64>::fingerprint(&Json::default());
    for (fingerprint, is_damaged) in [(ours, true), (Fingerprint(1), false)] {
        let s = setup();
        let value = nanotier::tier::Encoded::new("not a number", fingerprint);
        let (clock, _hands) = Clock::manual();
        let record = Record { version: Version::from_parts(9, 9), ..Record::new(value, clock.wall()) };
        let put = Write::put(Path::new(&namespace, &b"k"[..]), &record);
        let _ = s.far.store().write(&[put])?.remove(0)?;

        assert!(!s.cache.contains("k").wait()?);
        assert_eq!(s.cache.time_left("k").wait()?, None);
        assert_eq!(s.cache.get("k").wait()?, None);
        assert!(!matches!(held(&s.near, "k"), Entry::Present(_)), "promoted before it was decoded");
        // What is damaged is removed; what another build wrote is left to that build.
        assert_eq!(matches!(held(&s.far, "k"), Entry::Present(_)), !is_damaged);
        assert_eq!(s.cache.get_with("k", async || 3).wait()?, 3);
        assert_eq!(value_in(&s.far, "k"), Some(3));
    }
    Ok(())
}

#[test]
fn a_copy_that_does_not_decode_is_mended_from_the_truth() -> nanotier::Result<()> {
    let s = setup();
    s.cache.insert("k".into(), 5).wait()?;
    let namespace = namespace();
    let Entry::Present(mut record) = held(&s.near, "k") else { panic!("the copy was written") };
    record.value.bytes = "garbage".into();
    let _ = s.near.store().write(&[Write::put(Path::new(&namespace, &b"k"[..]), &record)])?.remove(0)?;
    s.cache.clear_memory();
    assert_eq!(s.cache.get("k").wait()?, Some(5));
    until("the mending", || value_in(&s.near, "k") == Some(5));
    Ok(())
}

#[test]
fn another_cache_over_the_same_truth_follows_within_recheck() -> nanotier::Result<()> {
    for scope in [Scope::Process, Scope::Host, Scope::Fleet] {
        let far = Watched::shared_by(scope);
        let (a, b) = (setup_over(far.clone()), setup_over(far));
        a.cache.insert_for("k".into(), 1, nanotier::Ttl::Forever).wait()?;
        assert_eq!(b.cache.get("k").wait()?, Some(1));
        a.hands.advance(Duration::from_secs(1));
        a.cache.remove("k").wait()?;
        assert_eq!(b.cache.get("k").wait()?, Some(1), "within `recheck` B may not know");
        b.hands.advance(Duration::from_secs(60));
        assert_eq!(b.cache.get("k").wait()?, None, "after `recheck` B has asked");
    }
    Ok(())
}

#[test]
fn an_entry_due_for_a_recheck_is_served_stale_when_the_truth_is_down() -> nanotier::Result<()> {
    let far = Watched::shared_by(Scope::Fleet);
    let s = setup_over(far);
    s.cache.insert_for("k".into(), 1, nanotier::Ttl::Forever).wait()?;
    s.hands.advance(Duration::from_secs(60));
    s.far.set_down(true);
    let detailed = s.cache.get("k").detailed().wait()?;
    assert_eq!((detailed.value, detailed.freshness), (Some(1), Freshness::Stale));
    s.far.set_down(false);
    assert_eq!(s.cache.get("k").detailed().wait()?.freshness, Freshness::Fresh);
    assert_eq!(s.cache.resident("k"), Some((1, Freshness::Fresh)), "confirmed for another while");
    Ok(())
}

#[test]
fn get_many_asks_the_far_tier_only_for_what_the_near_one_lacks() -> nanotier::Result<()> {
    let s = setup();
    let all = ["memory", "near", "far", "nobody"];
    for key in ["memory", "near", "far"] {
        s.cache.insert(key.into(), key.len() as u64).wait()?;
    }
    s.cache.clear_memory();
    s.cache.get("memory").wait()?;
    // The far tier's own: a second process wrote it.
    let other = setup_over(s.far.clone());
    other.cache.insert("far".into(), 3).wait()?;
    other.cache.insert("only-far".into(), 8).wait()?;
    let (near_before, far_before) = (s.near.paths_read(), s.far.paths_read());
    let values: Vec<_> = s
        .cache
        .get_many(all.into_iter().chain(["only-far"]))
        .wait()?
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(values, [Some(6), Some(4), Some(3), None, Some(8)]);
    assert_eq!(s.near.paths_read() - near_before, 4, "memory had one");
    assert_eq!(s.far.paths_read() - far_before, 2, "the near copy had two more");
    Ok(())
}

#[test]
fn insert_many_and_remove_many_are_one_batch_each() -> nanotier::Result<()> {
    let s = setup();
    let entries = (0..50).map(|n| (format!("k{n}"), n));
    let stored = s.cache.insert_many(entries.clone()).wait()?;
    assert!(stored.len() == 50 && stored.iter().all(Result::is_ok));
    for (key, value) in entries {
        assert_eq!(
            (value_in(&s.far, &key), s.cache.resident(&key).map(|(v, _)| v)),
            (Some(value), Some(value))
        );
    }
    let keys: Vec<String> = (0..50).map(|n| format!("k{n}")).collect();
    let removed = s.cache.remove_many(&keys).wait()?;
    assert!(removed.len() == 50 && removed.iter().all(Result::is_ok));
    assert!(keys.iter().all(|key| value_in(&s.far, key).is_none()));
    Ok(())
}

#[test]
fn of_all_who_take_in_all_processes_one_gets_it() -> nanotier::Result<()> {
    let far = Watched::shared_by(Scope::Fleet);
    let (a, b) = (setup_over(far.clone()), setup_over(far));
    a.cache.insert("token".into(), 7).wait()?;
    assert_eq!(b.cache.get("token").wait()?, Some(7));
    let takers = [&a.cache, &b.cache, &a.cache, &b.cache];
    let taken: Vec<Option<u64>> = crossbeam_utils::thread::scope(|scope| {
        let threads: Vec<_> =
            takers.iter().map(|cache| scope.spawn(|_| cache.take("token").wait().unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
    .expect("every thread joined");
    assert_eq!(taken.iter().flatten().count(), 1, "{taken:?}");
    assert_eq!(a.cache.get("token").wait()?, None);
    Ok(())
}

#[test]
fn touch_reaches_every_tier() -> nanotier::Result<()> {
    let s = setup();
    s.cache.insert("k".into(), 1).wait()?;
    assert!(s.cache.touch("k", Duration::from_secs(100)).wait()?);
    assert!(!s.cache.touch("nobody", Duration::from_secs(100)).wait()?);
    s.hands.advance(Duration::from_secs(50));
    assert_eq!(s.cache.resident("k"), Some((1, Freshness::Fresh)));
    s.cache.clear_memory();
    assert_eq!(s.cache.get("k").detailed().wait()?.freshness, Freshness::Fresh);
    Ok(())
}

#[test]
fn clear_empties_this_cache_and_no_other() -> nanotier::Result<()> {
    let far = Watched::new();
    let s = setup_over(far.clone());
    let other: Cache<String, u64> =
        Cache::builder().namespace("test2").tiers(far).codec(Json::default()).build()?;
    s.cache.insert("k".into(), 1).wait()?;
    other.insert("k".into(), 2).wait()?;
    s.cache.clear().wait()?;
    assert_eq!(s.cache.get("k").wait()?, None);
    other.clear_memory();
    assert_eq!(other.get("k").wait()?, Some(2));
    s.cache.insert("k".into(), 3).wait()?;
    s.cache.clear_memory();
    assert_eq!(s.cache.get("k").wait()?, Some(3));
    Ok(())
}

#[test]
fn a_stale_value_below_is_answered_and_refreshed_behind() -> nanotier::Result<()> {
    let s = setup();
    s.cache.insert("k".into(), 1).wait()?;
    s.cache.clear_memory();
    s.hands.advance(TTL);
    let loads = Arc::new(AtomicUsize::new(0));
    let counted = loads.clone();
    let answer = s
        .cache
        .get_with("k", async move || 1 + counted.fetch_add(1, Relaxed) as u64 + 1)
        .detailed()
        .wait()?;
    assert_eq!((answer.value, answer.freshness), (1, Freshness::Stale));
    until("the refresh", || s.cache.resident("k") == Some((2, Freshness::Fresh)));
    assert_eq!((value_in(&s.far, "k"), loads.load(Relaxed)), (Some(2), 1));
    Ok(())
}

#[test]
fn a_key_beyond_the_limit_is_an_error_before_anything_is_asked() {
    let s = setup();
    let long = "x".repeat(Path::KEY_LEN_MAX + 1);
    assert_eq!(s.cache.get(&long).wait().unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(s.cache.insert(long.clone(), 1).wait().unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(s.cache.remove(&long).wait().unwrap_err().kind(), ErrorKind::TooLarge);
    let loaded = s.cache.get_with(&long, async || unreachable!("it could never be kept")).wait();
    assert_eq!(loaded.unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!((s.far.reads(), s.far.writes()), (0, 0));
}

#[test]
fn tiers_in_the_wrong_order_are_refused_by_build() {
    let wide_over_narrow = Watched::shared_by(Scope::Fleet).over(Watched::new());
    let error = Cache::<String, u64>::builder()
        .namespace("test")
        .tiers(wide_over_narrow)
        .codec(Json::default())
        .build()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("Fleet"), "{error}");
}

#[test]
fn a_chain_over_a_tier_is_refused_since_it_would_take_a_copy_for_the_truth() {
    let error = Cache::<String, u64>::builder()
        .namespace("test")
        .tiers(Watched::new().over(Watched::new()).over(Watched::new()))
        .codec(Json::default())
        .build()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("a.over(b.over(c))"), "{error}");
}

#[test]
fn a_write_that_is_never_polled_is_still_done() {
    let s = setup();
    drop(s.cache.insert("k".into(), 1));
    until("the write", || value_in(&s.far, "k") == Some(1) && value_in(&s.near, "k") == Some(1));
}

#[test]
fn a_lookup_that_is_never_polled_asks_nobody() {
    let s = setup();
    assert!(s.cache.get("k").try_now().is_err());
    drop(s.cache.get_with("k", async || unreachable!("nobody waited")));
    assert_eq!((s.near.reads(), s.far.reads()), (0, 0));
}

/// Polls `future` at most `polls` times, then drops it.
fn poll_then_drop(future: impl Future, polls: usize) -> bool {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    (0..polls).any(|_| future.as_mut().poll(&mut context).is_ready())
}

#[test]
fn a_write_dropped_at_any_await_leaves_no_older_copy() -> nanotier::Result<()> {
    for remove in [false, true] {
        let mut polls = 0;
        loop {
            let s = setup();
            s.cache.insert("k".into(), 1).wait()?;
            let lookup = if remove { s.cache.remove("k") } else { s.cache.insert("k".into(), 2) };
            let finished = poll_then_drop(lookup, polls);
            // At once: memory never serves the older value again.
            assert_ne!(s.cache.resident("k").map(|(value, _)| value), Some(1), "dropped after {polls} polls");
            let expected = (!remove).then_some(2);
            until("the rest of the write", || {
                (value_in(&s.far, "k"), value_in(&s.near, "k")) == (expected, expected)
            });
            assert_eq!(s.cache.get("k").wait()?, expected);
            if finished {
                break;
            }
            polls += 1;
        }
        assert!(polls >= 4, "a write through two tiers has at least four awaits, not {polls}");
    }
    Ok(())
}

#[test]
fn a_read_begun_before_a_write_returned_is_not_joined_after_it() -> nanotier::Result<()> {
    for remove in [false, true] {
        for early_polls in 0..6 {
            let s = setup();
            s.cache.insert("k".into(), 1).wait()?;
            let write = if remove { s.cache.remove("k") } else { s.cache.insert("k".into(), 2) };
            let mut write = Box::pin(write);
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            // The write has let go of memory; a reader finds its way to the copy before the write does.
            let mut early = Box::pin(s.cache.get("k"));
            for _ in 0..early_polls {
                if early.as_mut().poll(&mut context).is_ready() {
                    break;
                }
            }
            while write.as_mut().poll(&mut context).is_pending() {}
            let expected = (!remove).then_some(2);
            assert_eq!(s.cache.get("k").wait()?, expected, "the early reader was polled {early_polls} times");
        }
    }
    Ok(())
}

#[test]
fn a_leader_that_goes_away_at_any_await_takes_nothing_with_it() -> nanotier::Result<()> {
    let mut polls = 1;
    loop {
        let s = setup();
        let loads = Arc::new(AtomicUsize::new(0));
        let load = || {
            let loads = loads.clone();
            async move || {
                common::pending_once().await;
                loads.fetch_add(1, Relaxed);
                9
            }
        };
        let leader = s.cache.get_with("k", load());
        let follower = s.cache.get_with("k", load());
        let mut follower = std::pin::pin!(follower);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let mut leader = Box::pin(leader);
        let finished = leader.as_mut().poll(&mut context).is_ready();
        let _ = follower.as_mut().poll(&mut context);
        let finished = finished || (1..polls).any(|_| leader.as_mut().poll(&mut context).is_ready());
        drop(leader);
        let value = nanotier::tier::waiting::block_on(follower)?;
        assert_eq!((value, loads.load(Relaxed)), (9, 1), "the leader left after {polls} polls");
        if finished {
            return Ok(());
        }
        polls += 1;
    }
}

#[test]
fn a_load_that_everybody_left_goes_on_and_is_kept() {
    let s = setup();
    assert!(!poll_then_drop(s.cache.get_with("k", async || 4), 1));
    until("the load", || s.cache.resident("k").is_some());
    assert_eq!(value_in(&s.far, "k"), Some(4));
}

#[tokio::test]
async fn an_aborted_task_does_not_keep_the_others_waiting() {
    let s = setup();
    let (begun, wait_until_begun) = tokio::sync::oneshot::channel();
    let (go, wait_to_go) = tokio::sync::oneshot::channel::<()>();
    let leader = tokio::spawn({
        let cache = s.cache.clone();
        async move {
            cache
                .get_with("k", async move || {
                    begun.send(()).unwrap();
                    wait_to_go.await.unwrap();
                    1
                })
                .await
        }
    });
    wait_until_begun.await.unwrap();
    let follower = tokio::spawn({
        let cache = s.cache.clone();
        async move { cache.get_with("k", async || 2).await }
    });
    tokio::task::yield_now().await;
    leader.abort();
    assert!(leader.await.unwrap_err().is_cancelled());
    go.send(()).unwrap();
    assert_eq!(follower.await.unwrap().unwrap(), 1);
}

#[test]
fn who_takes_nothing_serves_nothing_afterwards() -> nanotier::Result<()> {
    let far = Watched::shared_by(Scope::Fleet);
    let (a, b) = (setup_over(far.clone()), setup_over(far));
    a.cache.insert("token".into(), 7).wait()?;
    assert_eq!(b.cache.take("token").wait()?, Some(7));
    assert_eq!(a.cache.take("token").wait()?, None);
    assert_eq!(a.cache.get("token").wait()?, None, "A's own copy outlived its take");
    Ok(())
}

#[test]
fn of_a_key_that_occurs_twice_in_a_batch_the_last_value_stays() -> nanotier::Result<()> {
    let far = Watched::new();
    let (a, b) = (setup_over(far.clone()), setup_over(far));
    // Newer than what A draws first: A's batch goes again.
    b.hands.advance(Duration::from_secs(5));
    b.cache.insert("k".into(), 9).wait()?;
    let stored = a.cache.insert_many([("k".into(), 1), ("k".into(), 2)]).wait()?;
    assert!(stored.len() == 2 && stored.iter().all(Result::is_ok));
    assert_eq!((a.cache.get("k").wait()?, value_in(&a.far, "k")), (Some(2), Some(2)));
    Ok(())
}

#[test]
fn a_lifetime_of_zero_is_over_at_once_whatever_the_grace() -> nanotier::Result<()> {
    let s = setup();
    s.cache.insert_for("k".into(), 1, Duration::ZERO).wait()?;
    assert_eq!(s.cache.get("k").wait()?, None);
    let (clock, _hands) = Clock::manual();
    let memory: Cache<u32, u32> = Cache::builder().clock(clock).ttl(TTL).stale_for(STALE).build()?;
    memory.insert_for(1, 1, Duration::ZERO).wait()?;
    assert_eq!(memory.get(&1).wait()?, None);
    Ok(())
}

#[test]
fn a_touch_that_was_dropped_does_not_touch_what_was_written_since() -> nanotier::Result<()> {
    let s = setup();
    s.cache.insert("k".into(), 1).wait()?;
    // It has read, and is dropped before it writes.
    assert!(!poll_then_drop(s.cache.touch("k", Duration::from_secs(1)), 3));
    s.cache.insert_for("k".into(), 2, nanotier::Ttl::Forever).wait()?;
    std::thread::sleep(Duration::from_millis(50)); // what is left of it runs behind, or not at all
    s.hands.advance(Duration::from_secs(5));
    s.cache.clear_memory();
    assert_eq!(s.cache.get("k").detailed().wait()?.freshness, Freshness::Fresh);
    Ok(())
}

#[test]
fn what_a_clearing_missed_does_not_come_back_by_a_clock_that_was_ahead() -> nanotier::Result<()> {
    let s = setup();
    let (hour, now) = (Duration::from_secs(3600), Clock::manual().0.wall());
    s.hands.set_wall(now.plus(hour));
    s.cache.insert_for("k".into(), 1, nanotier::Ttl::Forever).wait()?;
    s.hands.set_wall(now);
    s.near.set_down(true);
    s.cache.clear().wait()?;
    s.near.set_down(false);
    s.hands.advance(hour + Duration::from_millis(1));
    assert_eq!(s.cache.get("k").wait()?, None);
    Ok(())
}

#[test]
fn a_durable_copy_that_refused_a_write_is_not_believed_after_a_clean_restart() -> nanotier::Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let far = nanotier::Inline(nanotier::MemoryStore::new()).erase();
    let open = || -> nanotier::Result<Cache<u32, String>> {
        let near =
            nanotier_redb::RedbStore::builder(folder.path().join("near.redb")).value_len_max(20).build()?;
        let tiers = chain([nanotier::Inline(near).erase(), far.clone()])?;
        Cache::builder().namespace("test").tiers(tiers).codec(Json::default()).build()
    };
    let cache = open()?;
    cache.insert(1, "small".into()).wait()?;
    let large = "x".repeat(100);
    cache.insert(1, large.clone()).wait()?;
    // Not `close`: the truth of this test lives on.
    drop(cache);
    let deadline = Instant::now() + Duration::from_secs(10);
    let cache = loop {
        match open() {
            Ok(cache) => break cache,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::yield_now();
    };
    assert_eq!(cache.get(&1).wait()?, Some(large));
    Ok(())
}
