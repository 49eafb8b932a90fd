//! The testing kit for users: what it counts, what its faults do to a call, and that background work is in the test's hands.

use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use nanotier::testing::{Clock, Fake, Fault, Faulty, Op, Seed, Tasks};
use nanotier::tier::conformance::{Subject, run_all};
use nanotier::tier::{
    Change, Context, Expect, Found, Intent, Path, Record, Renewal, Update, Version, Write, Wrote,
    waiting::block_on,
};
use nanotier::{Cache, ErrorKind, Freshness, Inline, Limits, MemoryStore, Namespace, Scope, Spawn, Tier};
use parking_lot::Mutex;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A cache over the fake that keeps nothing in memory: every call reaches the tier.
fn through(fake: &Fake) -> Cache<String, u32> {
    fake.cache().capacity(0).build().unwrap()
}

fn poll<F: Future + ?Sized>(future: &mut Pin<&mut F>) -> Poll<F::Output> {
    future.as_mut().poll(&mut TaskContext::from_waker(Waker::noop()))
}

/// What a panic says.
fn said(work: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(work)).expect_err("it panics");
    panic
        .downcast_ref::<String>()
        .cloned()
        .unwrap_or_else(|| (*panic.downcast_ref::<&str>().unwrap()).to_owned())
}

// What is counted.

#[test]
fn calls_are_counted_by_kind_and_key_and_a_batch_once_for_each_key() {
    let fake = Fake::new();
    let cache = through(&fake);
    cache.insert_many([("a".to_owned(), 1), ("b".to_owned(), 2)]).wait().unwrap();
    cache.get_many(["a", "b", "c"]).wait().unwrap();
    assert_eq!(fake.round_trips(), 2);
    cache.get("a").wait().unwrap();
    cache.remove("b").wait().unwrap();
    cache.take("a").wait().unwrap();
    cache.clear().wait().unwrap();
    cache.close().wait().unwrap();

    fake.assert_called(Op::Read, "a", 2);
    fake.assert_called(Op::Read, "c", 1);
    fake.assert_total(Op::Read, 4);
    fake.assert_called(Op::Put, "b", 1);
    fake.assert_total(Op::Put, 2);
    fake.assert_called(Op::Remove, "b", 1);
    fake.assert_not_called(Op::Remove, "a");
    fake.assert_called(Op::Take, "a", 1);
    fake.assert_total(Op::Clear, 1);
    fake.assert_total(Op::Close, 1);
    assert_eq!((fake.count(Op::Read, "a"), fake.total(Op::Fill)), (2, 0));
}

#[test]
fn what_memory_answers_is_not_counted_and_what_a_loader_brings_is_a_fill() {
    let fake = Fake::new();
    let cache = fake.cache::<String, u32>().build().unwrap();
    for _ in 0..10 {
        assert_eq!(cache.get_with("k", async || 7).wait().unwrap(), 7);
    }
    fake.assert_called(Op::Read, "k", 1);
    fake.assert_called(Op::Fill, "k", 1);
    fake.assert_total(Op::Put, 0);
}

#[test]
fn each_call_of_a_cache_is_these_calls_of_a_tier() {
    type Call = fn(&Cache<String, u32>);
    let rows: [(&str, Call, &[Op]); 11] = [
        ("get", |cache| _ = cache.get("k").wait().unwrap(), &[Op::Read]),
        ("contains", |cache| _ = cache.contains("k").wait().unwrap(), &[Op::Read]),
        ("time_left", |cache| _ = cache.time_left("k").wait().unwrap(), &[Op::Read]),
        (
            "get_with, a miss",
            |cache| _ = cache.get_with("new", async || 1).wait().unwrap(),
            &[Op::Read, Op::Fill],
        ),
        ("insert", |cache| cache.insert("k".to_owned(), 1).wait().unwrap(), &[Op::Put]),
        ("remove", |cache| cache.remove("other").wait().unwrap(), &[Op::Remove]),
        ("remove_many", |cache| drop(cache.remove_many(["other"]).wait().unwrap()), &[Op::Remove]),
        ("touch", |cache| assert!(cache.touch("k", ms(5)).wait().unwrap()), &[Op::Read, Op::Fill]),
        ("take", |cache| _ = cache.take("k").wait().unwrap(), &[Op::Take]),
        ("list", |cache| drop(cache.list(nanotier::PageRequest::default()).wait().unwrap()), &[Op::List]),
        ("clear", |cache| cache.clear().wait().unwrap(), &[Op::Clear]),
    ];
    let all = [
        Op::Read,
        Op::Put,
        Op::Fill,
        Op::Remove,
        Op::Add,
        Op::Take,
        Op::Increment,
        Op::Replace,
        Op::RemoveIf,
        Op::Update,
        Op::Clear,
        Op::List,
        Op::Ready,
        Op::Close,
    ];
    for (name, call, expected) in rows {
        let fake = Fake::new();
        let cache = through(&fake);
        cache.insert("k".to_owned(), 1).wait().unwrap();
        fake.reset();
        call(&cache);
        for op in all {
            assert_eq!(fake.total(op), u64::from(expected.contains(&op)), "{name}: {op}");
        }
    }
}

#[test]
fn an_atomic_change_is_counted_by_its_kind() {
    let fake = Fake::new();
    fake.tier().attach(&Context::new(fake.clock(), 1));
    let namespace = Namespace::new("test").unwrap();
    let (as_of, version) = (fake.clock().wall(), Version::from_parts(1, 1));
    let changes = [
        (Change::Increment { by: 1, lifetime: Renewal::Fixed(None) }, Op::Increment),
        (Change::Take, Op::Take),
        (Change::RemoveIf(Expect::Version(version)), Op::RemoveIf),
        (Change::Now, Op::Update),
    ];
    for (change, op) in changes {
        let update = Update { path: Path::new(&namespace, &b"k"[..]), change, version, as_of };
        let _ = block_on(fake.tier().update(&update));
        fake.assert_called(op, "k", 1);
    }
    assert_eq!(fake.round_trips(), 4);
}

#[tokio::test]
async fn a_test_under_a_runtime_awaits_what_others_wait_for() {
    let fake = Fake::new();
    let cache = fake.cache::<String, u32>().ttl(ms(1000)).build().unwrap();
    let load = || async {
        tokio::task::yield_now().await;
        7
    };
    let (one, other) = tokio::join!(cache.get_with("k", load), cache.get_with("k", load));
    assert_eq!((one.unwrap(), other.unwrap()), (7, 7));
    fake.assert_called(Op::Fill, "k", 1);
    let asking = cache.clone();
    tokio::spawn(async move { asking.insert("l".to_owned(), 8).await }).await.unwrap().unwrap();
    fake.advance(ms(1000));
    assert_eq!(cache.get("l").await.unwrap(), None);
}

#[test]
fn resetting_forgets_counts_and_nothing_else() {
    let fake = Fake::new();
    let cache = through(&fake);
    cache.insert("k".to_owned(), 1).wait().unwrap();
    let now = fake.clock().now();
    fake.reset();
    assert_eq!((fake.total(Op::Put), fake.round_trips()), (0, 0));
    assert_eq!(cache.get("k").wait().unwrap(), Some(1));
    assert_eq!(fake.clock().now(), now);
}

#[test]
fn a_call_counts_when_it_begins_whatever_becomes_of_it() {
    let fake = Fake::new();
    let cache = through(&fake);
    fake.faults().fail();
    assert!(cache.get("failed").wait().is_err());
    fake.faults().heal();
    fake.faults().hang();
    {
        let mut call = pin!(cache.get("dropped"));
        assert!(poll(&mut call).is_pending());
    }
    fake.assert_called(Op::Read, "failed", 1);
    fake.assert_called(Op::Read, "dropped", 1);
}

#[test]
fn namespaces_count_together_but_for_what_lies_beside_them() {
    let fake = Fake::new();
    let users = Namespace::new("users").unwrap();
    let (orders, tags) = (Namespace::new("orders").unwrap(), users.beside("tags"));
    for namespace in [&users, &orders, &tags] {
        block_on(fake.tier().read_one(&Path::new(namespace, &b"k"[..]), Intent::Look)).unwrap();
    }
    fake.assert_called(Op::Read, "k", 2);
    fake.within("orders").assert_total(Op::Read, 1);
    fake.within("users#tags").assert_called(Op::Read, "k", 1);
    fake.within("nobody's").assert_total(Op::Read, 0);
}

#[test]
fn a_failed_assertion_says_what_was_expected_found_and_called_instead() {
    let fake = Fake::new();
    assert_eq!(
        said(|| fake.assert_called(Op::Read, "ada", 1)),
        "expected 1 call of `read` for \"ada\", found 0; nothing was called"
    );
    let cache = through(&fake);
    cache.get("grace").wait().unwrap();
    cache.get("grace").wait().unwrap();
    cache.insert("ada".to_owned(), 1).wait().unwrap();
    assert_eq!(
        said(|| fake.assert_called(Op::Read, "ada", 2)),
        "expected 2 calls of `read` for \"ada\", found 0; what was called:\n       \
         2 x read      \"grace\"  in \"test\"\n       \
         1 x put       \"ada\"  in \"test\""
    );
    assert!(
        said(|| fake.assert_not_called(Op::Put, "ada"))
            .starts_with("expected 0 calls of `put` for \"ada\", found 1;")
    );
    assert!(said(|| fake.assert_total(Op::Read, 0)).starts_with("expected 0 calls of `read`, found 2;"));
    assert!(said(|| fake.within("other").assert_total(Op::Read, 1)).ends_with("nothing was called"));
}

#[test]
fn keys_are_shown_as_what_they_are_and_in_bounds() {
    let fake = Fake::new();
    let numbers = fake.cache::<u64, u32>().capacity(0).build().unwrap();
    numbers.get(&7).wait().unwrap();
    let text = said(|| fake.assert_called(Op::Read, &7_u32, 1));
    assert!(text.contains("for 7 (4 bytes), found 0") && text.contains("7 (8 bytes)"), "{text}");

    let bytes = fake.cache::<Vec<u8>, u32>().capacity(0).build().unwrap();
    bytes.get(&vec![0, 255, 1]).wait().unwrap();
    bytes.get(&vec![b'x'; 1000]).wait().unwrap();
    let text = format!("{fake:?}");
    assert!(text.contains("0x00ff01") && text.contains("xxx\".. (1000 bytes)"), "{text}");
    assert!(text.len() < 600, "{text}");

    (0..100).for_each(|n| _ = numbers.get(&n).wait().unwrap());
    let text = format!("{fake:?}");
    assert!(text.ends_with("and 62 more"), "{text}");
}

// What a fake hands out.

#[test]
fn caches_of_a_shared_fake_are_like_those_of_two_processes() {
    let fake = Fake::shared_by(Scope::Fleet);
    let [here, there] = [(); 2].map(|()| fake.cache::<String, u32>().recheck(ms(1000)).build().unwrap());
    here.insert("k".to_owned(), 1).wait().unwrap();
    assert_eq!(there.get("k").wait().unwrap(), Some(1));
    here.insert("k".to_owned(), 2).wait().unwrap();
    assert_eq!(there.get("k").wait().unwrap(), Some(1), "believed for so long");
    fake.advance(ms(1001));
    assert_eq!(there.get("k").wait().unwrap(), Some(2));
    assert_eq!(fake.tier().capabilities().scope, Scope::Fleet);
    assert_eq!(fake.tier().verify().unwrap(), Scope::Fleet);
}

fn version_of(fake: &Fake, key: &str) -> Version {
    let namespace = Namespace::new(Fake::NAMESPACE).unwrap();
    let found =
        block_on(fake.inner().read_one(&Path::new(&namespace, key.as_bytes()), Intent::Look)).unwrap();
    found.entry.version().unwrap()
}

#[test]
fn caches_of_one_test_draw_versions_of_their_own_and_the_same_in_every_run() {
    let run = || {
        let fake = Fake::new();
        let [one, other] = [&fake, &fake.another(Inline(MemoryStore::new()))]
            .map(|of| of.cache::<String, u32>().tiers(fake.tier()).build().unwrap());
        one.insert("one".to_owned(), 1).wait().unwrap();
        other.insert("other".to_owned(), 1).wait().unwrap();
        (version_of(&fake, "one"), version_of(&fake, "other"))
    };
    let (one, other) = run();
    assert_ne!(one, other, "at the same moment, by two writers");
    assert_eq!(run(), (one, other));
}

#[test]
fn fakes_of_one_test_have_one_clock_and_counts_and_faults_of_their_own() {
    let far = Fake::new();
    let near = far.another(Inline(MemoryStore::new()));
    let cache: Cache<String, u32> =
        far.cache().capacity(0).tiers(near.tier().over(far.tier())).build().unwrap();
    near.faults().fail();
    cache.insert("k".to_owned(), 1).wait().unwrap();
    assert!(far.holds("k") && !near.holds("k"));
    assert_eq!((near.faults().met() > 0, far.faults().met()), (true, 0));
    near.assert_called(Op::Put, "k", 1);
    near.advance(ms(5));
    assert_eq!(near.clock().now(), far.clock().now());
}

#[test]
fn looking_into_a_fake_is_not_counted_and_sees_what_is_usable() {
    let fake = Fake::new();
    let cache = fake.cache::<String, u32>().ttl(ms(1000)).build().unwrap();
    cache.insert("k".to_owned(), 1).wait().unwrap();
    let trips = fake.round_trips();
    fake.faults().fail();
    assert!(fake.holds("k") && !fake.holds("other") && !fake.within("elsewhere").holds("k"));
    fake.advance(ms(1000));
    assert!(!fake.holds("k"), "it expired");
    assert_eq!((fake.round_trips(), fake.faults().met()), (trips, 0));
}

#[test]
fn without_faults_a_wrapped_tier_keeps_the_contract() {
    let (clock, hands) = Clock::manual();
    run_all(&Subject::new(clock, || Fake::new().tier()).with_hands(hands));
    let (clock, hands) = Clock::manual();
    run_all(&Subject::new(clock, || Faulty::new(Inline(MemoryStore::new()))).with_hands(hands));
    let (clock, hands) = Clock::manual();
    let chain = || Faulty::new(Inline(MemoryStore::new()).over(Inline(MemoryStore::new())));
    run_all(&Subject::new(clock, chain).with_hands(hands));
}

// What faults do.

#[test]
fn every_kind_of_call_fails_in_an_outage_but_closing() {
    let fake = Fake::new();
    let cache = through(&fake);
    fake.faults().fail();
    let kinds = [
        cache.get("k").wait().unwrap_err().kind(),
        cache.insert("k".to_owned(), 1).wait().unwrap_err().kind(),
        cache.take("k").wait().unwrap_err().kind(),
        cache.clear().wait().unwrap_err().kind(),
        cache.list(nanotier::PageRequest::default()).wait().unwrap_err().kind(),
        block_on(fake.tier().ready()).unwrap_err().kind(),
    ];
    assert_eq!(kinds, [ErrorKind::Unavailable; 6]);
    assert_eq!(
        block_on(fake.tier().ready()).unwrap_err().to_string(),
        "memory (ready): cannot be reached: a fault of the test"
    );
    cache.close().wait().unwrap();

    let fake = Fake::new();
    fake.faults().add(Fault::fail(ErrorKind::Storage).on([Op::Close]));
    assert_eq!(through(&fake).close().wait().unwrap_err().kind(), ErrorKind::Storage);
}

#[test]
fn a_fault_meets_only_the_kinds_of_calls_it_means() {
    let fake = Fake::new();
    let cache = through(&fake);
    fake.faults().add(Fault::fail(ErrorKind::Unavailable).writes());
    assert!(cache.get("k").wait().is_ok());
    assert!(cache.insert("k".to_owned(), 1).wait().is_err() && cache.remove("k").wait().is_err());
    fake.faults().heal();
    fake.faults().add(Fault::fail(ErrorKind::Unavailable).reads());
    assert!(cache.get("k").wait().is_err());
    assert!(cache.insert("k".to_owned(), 1).wait().is_ok());
    fake.faults().heal();
    fake.faults().add(Fault::fail(ErrorKind::Unavailable).on([Op::Remove]));
    assert!(cache.get("k").wait().is_ok() && cache.insert("k".to_owned(), 1).wait().is_ok());
    assert!(cache.remove("k").wait().is_err());
    fake.faults().heal();
    fake.faults().add(Fault::fail(ErrorKind::Unavailable).on([]));
    assert!(cache.remove("k").wait().is_ok());
    assert_eq!(fake.faults().met(), 4);
}

#[test]
fn a_fault_of_keys_does_not_meet_what_has_none() {
    let fake = Fake::new();
    let cache = through(&fake);
    fake.faults().add(Fault::fail(ErrorKind::Unavailable).keys(|_| true));
    assert!(cache.get("k").wait().is_err());
    cache.clear().wait().unwrap();
    cache.list(nanotier::PageRequest::default()).wait().unwrap();
    block_on(fake.tier().ready()).unwrap();
}

fn read_all(tier: &impl Tier, keys: &[&str]) -> Result<Vec<Result<Found, ErrorKind>>, ErrorKind> {
    let namespace = Namespace::new("test").unwrap();
    let paths: Vec<_> = keys.iter().map(|key| Path::new(&namespace, key.as_bytes())).collect();
    let answers = block_on(tier.read(&paths, Intent::Look)).map_err(|error| error.kind())?;
    Ok(answers.into_iter().map(|answer| answer.map_err(|error| error.kind())).collect())
}

#[test]
fn of_a_batch_the_keys_that_are_meant_fail_and_the_others_are_done() {
    let fake = Fake::new();
    through(&fake).insert("b".to_owned(), 1).wait().unwrap();
    fake.faults().add(Fault::fail(ErrorKind::Busy).keys(|key| key == b"a" || key == b"c"));
    let answers = read_all(&fake.tier(), &["a", "b", "c", "d"]).unwrap();
    assert_eq!(answers[0].as_ref().unwrap_err(), &ErrorKind::Busy);
    assert!(answers[1].as_ref().unwrap().entry.record().is_some(), "answers stay with their keys");
    assert_eq!(answers[2].as_ref().unwrap_err(), &ErrorKind::Busy);
    assert!(answers[3].as_ref().unwrap().entry.record().is_none());
    assert_eq!(read_all(&fake.tier(), &["a", "c"]).unwrap_err(), ErrorKind::Busy, "nothing is known of any");
    assert_eq!(read_all(&fake.tier(), &[]).unwrap().len(), 0);

    fake.faults().heal();
    fake.faults().add(Fault::fail(ErrorKind::Full).on([Op::Put]).key("x"));
    let namespace = Namespace::new("test").unwrap();
    let (clock, version) = (fake.clock(), Version::from_parts(1 << 40, 1));
    let record = Record {
        version,
        ..Record::new(nanotier::tier::Encoded::new("1", nanotier::tier::Fingerprint(1)), clock.wall())
    };
    let writes = [
        Write::put(Path::new(&namespace, &b"x"[..]), &record),
        Write::remove(Path::new(&namespace, &b"x"[..]), version.next(), clock.wall()),
        Write::put(Path::new(&namespace, &b"y"[..]), &record),
    ];
    let answers = block_on(fake.tier().write(&writes)).unwrap();
    assert_eq!(answers[0].as_ref().unwrap_err().kind(), ErrorKind::Full);
    assert!(answers[1..].iter().all(|answer| matches!(answer, Ok(Wrote::Done))));
    assert!(fake.holds("y") && !fake.holds("x"));
}

#[test]
fn turns_are_counted_from_when_a_fault_is_added_and_over_what_it_means() {
    let fake = Fake::new();
    let cache = through(&fake);
    let fails = |keys: &[&str]| keys.iter().map(|key| cache.get(*key).wait().is_err()).collect::<Vec<_>>();
    fails(&["k"]);
    fake.faults().add(Fault::fail(ErrorKind::Busy).key("k").nth(2));
    assert_eq!(fails(&["k", "other", "other", "k", "k", "k"]), [false, false, false, true, false, false]);
    fake.faults().heal();
    fake.faults().add(Fault::fail(ErrorKind::Busy).first(2));
    assert_eq!(fails(&["a", "b", "c"]), [true, true, false]);
    fake.faults().heal();
    fake.faults().add(Fault::fail(ErrorKind::Busy).nth(0));
    fake.faults().add(Fault::fail(ErrorKind::Busy).first(0));
    assert_eq!(fails(&["a", "b"]), [false, false]);
}

#[test]
fn a_share_of_calls_fails_and_the_same_ones_for_the_same_seed() {
    let run = |seed: u64, share: f64| {
        let fake = Fake::new();
        let cache = through(&fake);
        fake.faults().add(Fault::fail(ErrorKind::Busy).share(share, seed));
        (0..1000).map(|n| cache.get(&n.to_string()).wait().is_err()).collect::<Vec<bool>>()
    };
    let failed = |calls: &[bool]| calls.iter().filter(|fails| **fails).count();
    assert_eq!(run(1, 0.2), run(1, 0.2));
    assert_ne!(run(1, 0.2), run(2, 0.2));
    for seed in 0..20 {
        let failed = failed(&run(seed, 0.2));
        assert!((140..260).contains(&failed), "seed {seed}: {failed} of 1000");
    }
    assert_eq!([0.0, -1.0, f64::NAN, 1.0, 2.0].map(|share| failed(&run(3, share))), [0, 0, 0, 1000, 1000]);
}

#[test]
fn a_slow_tier_takes_the_time_of_the_clock_and_delays_add_up() {
    let fake = Fake::new();
    let cache = through(&fake);
    fake.faults().slow(ms(300));
    fake.faults().add(Fault::slow(ms(20)).key("k"));
    let mut call = pin!(cache.insert("k".to_owned(), 1));
    assert!(poll(&mut call).is_pending());
    fake.advance(ms(319));
    assert!(poll(&mut call).is_pending() && !fake.holds("k"), "it has not reached the tier");
    fake.advance(ms(1));
    assert!(matches!(poll(&mut call), Poll::Ready(Ok(()))) && fake.holds("k"));

    let before = fake.clock().now();
    assert_eq!(fake.drive(cache.get("other")).unwrap(), None);
    assert_eq!(fake.clock().now().since(before), ms(300));
}

#[test]
fn a_call_that_hangs_goes_on_when_it_is_let_go_and_later_ones_hang() {
    let fake = Fake::new();
    let (cache, faults) = (through(&fake), fake.faults());
    faults.hang();
    let mut call = pin!(cache.insert("k".to_owned(), 1));
    assert!(poll(&mut call).is_pending());
    fake.advance(ms(50_000)); // not so long that the tier would refuse it as decided too long ago
    assert!(poll(&mut call).is_pending() && !fake.holds("k"), "no time ends it");
    assert_eq!(faults.hanging(), 1);
    faults.release();
    assert!(matches!(poll(&mut call), Poll::Ready(Ok(()))) && fake.holds("k"));

    let mut later = pin!(cache.get("k"));
    assert!(poll(&mut later).is_pending());
    faults.heal();
    assert!(matches!(poll(&mut later), Poll::Ready(Ok(Some(1)))));
    assert_eq!(cache.get("k").wait().unwrap(), Some(1), "and nothing hangs any more");
    assert_eq!(faults.hanging(), 0);
}

#[test]
fn who_hangs_is_woken_and_who_is_dropped_hangs_no_longer() {
    let fake = Fake::new();
    let (cache, faults) = (through(&fake), fake.faults());
    faults.hang();
    {
        let mut dropped = pin!(cache.get("k"));
        assert!(poll(&mut dropped).is_pending());
        assert_eq!(faults.hanging(), 1);
    }
    assert_eq!(faults.hanging(), 0);

    let (tasks, done) = (Tasks::new(), Arc::new(AtomicUsize::new(0)));
    let (asking, told) = (cache.clone(), done.clone());
    assert!(
        tasks
            .spawn(Box::pin(async move { told.store(usize::from(asking.get("k").await.is_ok()), SeqCst) }))
            .is_ok()
    );
    tasks.run();
    assert_eq!((faults.hanging(), tasks.len()), (1, 1));
    faults.heal();
    tasks.run();
    assert_eq!((done.load(SeqCst), tasks.len()), (1, 0));
}

#[test]
fn an_answer_that_is_held_back_belongs_to_a_call_that_was_done() {
    let fake = Fake::new();
    let cache = through(&fake);
    fake.faults().add(Fault::hold_answer().writes());
    let mut call = pin!(cache.insert("k".to_owned(), 1));
    assert!(poll(&mut call).is_pending() && fake.holds("k"));
    fake.faults().release();
    assert!(matches!(poll(&mut call), Poll::Ready(Ok(()))));
}

#[test]
fn a_lost_answer_belongs_to_a_call_that_was_done_also_in_a_batch() {
    let fake = Fake::new();
    let cache = through(&fake);
    fake.faults().lose_answers();
    assert_eq!(cache.insert("k".to_owned(), 1).wait().unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(cache.take("k").wait().unwrap_err().kind(), ErrorKind::Timeout);
    assert!(!fake.holds("k"), "it was taken, and nobody has it");

    fake.faults().heal();
    fake.faults().add(Fault::lose_answer().key("b"));
    let answers = read_all(&fake.tier(), &["a", "b"]).unwrap();
    assert!(answers[0].is_ok() && matches!(answers[1], Err(ErrorKind::Timeout)));
}

#[test]
fn a_test_of_keys_may_use_the_faults_that_it_belongs_to() {
    let fake = Fake::new();
    let faults = fake.faults();
    fake.faults().add(Fault::fail(ErrorKind::Busy).keys(move |_| faults.met() > 100));
    assert_eq!(through(&fake).get("k").wait().unwrap(), None);
    fake.faults().heal(); // the fault holds what it belongs to
}

#[test]
fn a_guarded_tier_that_hangs_costs_its_deadline_and_no_more() {
    let fake = Fake::new();
    let guarded = fake.tier().guarded(Limits::new().deadline(ms(70)));
    let cache: Cache<String, u32> = fake.cache().capacity(0).tiers(guarded).build().unwrap();
    fake.faults().hang();
    let before = fake.clock().now();
    assert_eq!(fake.drive(cache.get("k")).unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(fake.clock().now().since(before), ms(70));
    assert_eq!(fake.faults().hanging(), 0);
}

// Background work.

#[test]
fn a_refresh_runs_when_the_test_says_so_and_not_before() {
    let fake = Fake::new();
    let cache = fake.cache::<String, u32>().ttl(ms(1000)).stale_for(ms(10_000)).build().unwrap();
    cache.insert("k".to_owned(), 1).wait().unwrap();
    fake.advance(ms(2000));
    fake.faults().slow(ms(500));
    let stale = cache.get_with("k", async || 2).detailed().wait().unwrap();
    assert_eq!((stale.value, stale.freshness), (1, Freshness::Stale));
    assert_eq!(fake.tasks().len(), 1);
    fake.run();
    assert_eq!(cache.resident("k").map(|(value, _)| value), Some(1), "the tier takes its time");
    let before = fake.clock().now();
    fake.tasks().finish(&fake.hands());
    assert_eq!(cache.resident("k").map(|(value, _)| value), Some(2));
    assert!(fake.clock().now().since(before) >= ms(1000), "at least a read and a fill");
}

fn spawn(tasks: &Tasks, task: impl Future<Output = ()> + Send + 'static) {
    assert!(tasks.spawn(Box::pin(task)).is_ok(), "it takes all");
}

async fn turn() {
    let mut was_pending = false;
    poll_fn(|context| {
        if std::mem::replace(&mut was_pending, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[test]
fn tasks_take_turns_in_order_and_run_until_all_rest() {
    let (tasks, log) = (Tasks::new(), Arc::new(Mutex::new(Vec::new())));
    for id in 0..3 {
        let (tasks_too, log) = (tasks.clone(), log.clone());
        spawn(&tasks, async move {
            log.lock().push(id);
            turn().await;
            log.lock().push(id + 10);
            if id == 0 {
                spawn(&tasks_too, async move { log.lock().push(100) });
            }
        });
    }
    spawn(&tasks, pending());
    assert_eq!(tasks.run(), 4);
    assert_eq!(*log.lock(), [0, 1, 2, 10, 11, 12, 100]);
    assert_eq!((tasks.len(), tasks.run()), (1, 0));
    assert_eq!((tasks.cancel(), tasks.is_empty()), (1, true));
}

#[test]
fn a_task_that_is_woken_by_another_thread_while_it_is_polled_is_polled_again() {
    let tasks = Tasks::new();
    let mut polls = 0;
    spawn(
        &tasks,
        poll_fn(move |context| {
            polls += 1;
            let waker = context.waker().clone();
            std::thread::spawn(move || waker.wake()).join().unwrap();
            if polls < 3 { Poll::Pending } else { Poll::Ready(()) }
        }),
    );
    assert_eq!(tasks.run(), 1);
}

#[test]
fn a_task_that_panics_says_so_and_the_others_go_on() {
    let tasks = Tasks::new();
    spawn(&tasks, async { panic!("a task's own affair") });
    spawn(&tasks, async {});
    assert_eq!(said(|| _ = tasks.run()), "a task's own affair");
    assert_eq!((tasks.run(), tasks.len()), (1, 0));
}

#[test]
fn what_goes_round_in_circles_or_waits_for_ever_is_told_instead_of_hanging_the_test() {
    let (_clock, hands) = Clock::manual();
    let tasks = Tasks::new();
    assert!(said(|| tasks.drive(&hands, pending::<()>())).contains("waits for ever"));
    spawn(&tasks, pending());
    assert!(said(|| tasks.finish(&hands)).contains("1 tasks wait for ever"));
    tasks.cancel();
    spawn(&tasks, async {
        loop {
            turn().await;
        }
    });
    assert!(said(|| _ = tasks.run()).contains("without end"));
    tasks.cancel();

    let fake = Fake::new();
    fake.faults().hang();
    assert!(said(|| drop(fake.drive(through(&fake).get("k")))).contains("waits for ever"));
}

#[test]
fn driving_lets_pass_exactly_the_time_that_is_waited_for() {
    let (clock, hands) = Clock::manual();
    let tasks = Tasks::new();
    let (start, woken) = (clock.now(), Arc::new(Mutex::new(Vec::new())));
    for after in [30, 10, 20] {
        let (clock, woken) = (clock.clone(), woken.clone());
        spawn(&tasks, async move {
            clock.sleep(ms(after)).await;
            woken.lock().push(clock.now().since(start).as_millis());
        });
    }
    tasks.drive(&hands, clock.sleep(ms(25)));
    assert_eq!(*woken.lock(), [10, 20]);
    assert_eq!((clock.now().since(start), tasks.len()), (ms(25), 1));
    tasks.finish(&hands);
    assert_eq!(*woken.lock(), [10, 20, 30]);
}

#[test]
fn tasks_that_wait_go_with_their_spawner() {
    struct Told(Arc<AtomicUsize>);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let (tasks, told) = (Tasks::new(), Told(dropped.clone()));
    let (clock, _hands) = Clock::manual();
    spawn(&tasks, async move {
        clock.sleep(ms(1)).await;
        drop(told);
    });
    tasks.run();
    drop(tasks);
    assert_eq!(dropped.load(SeqCst), 1);
}

// Seeds.

#[test]
fn a_seed_gives_the_same_numbers_again_and_its_bounds_hold() {
    let [one, other] = [Seed::new(5), Seed::new(5)];
    let draw = |seed: &Seed| (0..100).map(|_| seed.below(10)).collect::<Vec<_>>();
    let numbers = draw(&one);
    assert_eq!(numbers, draw(&other));
    assert!((0..10).all(|number| numbers.contains(&number)) && numbers.iter().all(|number| *number < 10));
    assert_eq!((one.below(0), one.below(1), one.value()), (0, 0, 5));
    assert_ne!(Seed::new(6).number(), Seed::new(5).number());
    assert!((0..100).filter(|_| one.chance(0.5)).count().abs_diff(50) < 25);
}

/// Of a run that fails: what it printed.
fn failing_run(seed: Option<&str>) -> String {
    let this = "a_failed_test_prints_the_seed_that_repeats_it";
    let mut run = std::process::Command::new(std::env::current_exe().unwrap());
    run.args(["--exact", this, "--nocapture"]).env("KIT_IS_TO_FAIL", "1").env_remove(Seed::VARIABLE);
    let output = run.envs(seed.map(|seed| (Seed::VARIABLE, seed))).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_failed_test_prints_the_seed_that_repeats_it() {
    if std::env::var_os("KIT_IS_TO_FAIL").is_some() {
        let seed = Seed::from_env();
        panic!("drew {}.", seed.number());
    }
    fn part<'a>(text: &'a str, after: &str, before: char) -> &'a str {
        text.split_once(after)
            .unwrap_or_else(|| panic!("no {after:?} in {text}"))
            .1
            .split_once(before)
            .unwrap()
            .0
    }
    let first = failing_run(None);
    let seed = part(&first, "NANOTIER_SEED=", ' ');
    let second = failing_run(Some(seed));
    assert_eq!(part(&first, "drew ", '.'), part(&second, "drew ", '.'));
    assert!(failing_run(Some("abc")).contains("NANOTIER_SEED=\"abc\" is no number"));
}

// A wrapper says of its tier what that says itself.

#[test]
fn attaching_reaches_the_tier_that_is_wrapped() {
    let (clock, hands) = Clock::manual();
    let fake = Fake::new();
    fake.tier().attach(&Context::new(clock.clone(), 1));
    let record = Record::new(nanotier::tier::Encoded::new("1", nanotier::tier::Fingerprint(1)), clock.wall());
    let namespace = Namespace::new("test").unwrap();
    let write = Write::put(Path::new(&namespace, &b"k"[..]), &record);
    assert_eq!(block_on(fake.tier().write_one(&write)).unwrap(), Wrote::Done);
    hands.advance(ms(5));
    let found = block_on(fake.tier().read_one(&write.path, Intent::Look)).unwrap();
    assert_eq!(found.read_at, clock.wall(), "by the clock that it was given");
}
