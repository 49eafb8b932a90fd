//! Functions that remember their answers.

mod common;

use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use common::{Watched, pending_once};
use nanotier::memoize::{Argument, Async, AsyncFallible, Fallible};
use nanotier::testing::Tasks;
use nanotier::{
    Builder, Clock, ErrorKind, Inline, Json, LoadError, Memoized, MemoryStore, Tier, memoize, memoize_async,
    try_memoize, try_memoize_async,
};

/// How often a function ran.
#[derive(Clone, Default)]
struct Runs(Arc<AtomicUsize>);

impl Runs {
    fn add(&self) {
        self.0.fetch_add(1, SeqCst);
    }
    fn so_far(&self) -> usize {
        self.0.load(SeqCst)
    }
}

#[test]
fn functions_of_none_to_seven_arguments_run_once_for_each_tuple() -> nanotier::Result<()> {
    macro_rules! check {
        ($(($($name:ident $value:literal $other:literal)*))*) => {$({
            let runs = Runs::default();
            let counted = runs.clone();
            let sum = memoize(move |$($name: u64),*| { counted.add(); 0 $(+ $name)* }).build()?;
            let expected = 0 $(+ $value)*;
            assert_eq!((sum.call($($value),*), sum.call($($value),*), runs.so_far()), (expected, expected, 1));
            // Each argument counts: another one is another key.
            let mut keys = 1;
            $(
                let $name = ();
                let _ = ($name, $other);
            )*
            check!(@each sum runs keys [] $($name $value $other)*);
            assert_eq!(runs.so_far(), keys);
            sum.remove($($value),*).wait()?;
            sum.call($($value),*);
            assert_eq!(runs.so_far(), keys + 1, "what was removed is worked out anew");
        })*};
        (@each $sum:ident $runs:ident $keys:ident [$($before:literal)*]) => { let _ = &mut $keys; };
        (@each $sum:ident $runs:ident $keys:ident [$($before:literal)*] $name:ident $value:literal $other:literal $($names:ident $values:literal $others:literal)*) => {
            $sum.call($($before,)* $other $(, $values)*);
            $keys += 1;
            assert_eq!($runs.so_far(), $keys);
            check!(@each $sum $runs $keys [$($before)* $value] $($names $values $others)*);
        };
    }
    check! {
        ()
        (a 1 10)
        (a 1 10 b 2 20)
        (a 1 10 b 2 20 c 3 30)
        (a 1 10 b 2 20 c 3 30 d 4 40)
        (a 1 10 b 2 20 c 3 30 d 4 40 e 5 50)
        (a 1 10 b 2 20 c 3 30 d 4 40 e 5 50 f 6 60)
        (a 1 10 b 2 20 c 3 30 d 4 40 e 5 50 f 6 60 g 7 70)
    }
    Ok(())
}

#[test]
fn asynchronous_functions_of_none_to_seven_arguments_run_once_for_each_tuple() -> nanotier::Result<()> {
    macro_rules! check {
        ($(($($name:ident $value:literal)*))*) => {$({
            let runs = Runs::default();
            let counted = runs.clone();
            let sum = memoize_async(async move |$($name: u64),*| {
                pending_once().await;
                counted.add();
                0 $(+ $name)*
            })
            .build()?;
            let expected = 0 $(+ $value)*;
            assert_eq!((sum.call($($value),*).wait(), runs.so_far()), (expected, 1));
            assert_eq!((sum.call($($value),*).try_now().unwrap(), runs.so_far()), (expected, 1));

            let fails = runs.clone();
            let sum = try_memoize_async(async move |$($name: u64),*| {
                pending_once().await;
                fails.add();
                if fails.so_far() == 2 { Err("not yet") } else { Ok::<u64, &str>(0 $(+ $name)*) }
            })
            .build()?;
            assert!(matches!(sum.call($($value),*).wait(), Err(LoadError::Loader(error)) if *error == "not yet"));
            assert_eq!((sum.call($($value),*).wait().ok(), runs.so_far()), (Some(expected), 3));
            assert_eq!((sum.call($($value),*).try_now().ok(), runs.so_far()), (Some(expected), 3));
        })*};
    }
    check! {
        ()
        (a 1)
        (a 1 b 2)
        (a 1 b 2 c 3)
        (a 1 b 2 c 3 d 4)
        (a 1 b 2 c 3 d 4 e 5)
        (a 1 b 2 c 3 d 4 e 5 f 6)
        (a 1 b 2 c 3 d 4 e 5 f 6 g 7)
    }
    Ok(())
}

#[test]
fn an_error_is_told_and_not_kept() -> nanotier::Result<()> {
    let runs = Runs::default();
    let counted = runs.clone();
    let parse = try_memoize(move |text: String| {
        counted.add();
        text.parse::<u32>()
    })
    .build()?;
    for expected in [1, 2] {
        assert!(matches!(parse.call("many"), Err(LoadError::Loader(_))));
        assert_eq!(runs.so_far(), expected);
    }
    assert_eq!((parse.call("3").ok(), parse.call("3").ok(), runs.so_far()), (Some(3), Some(3), 3));
    Ok(())
}

#[test]
fn the_whole_of_every_argument_is_the_key() -> nanotier::Result<()> {
    let greet = memoize(|name: String, formal: bool| format!("{name} {formal}")).build()?;
    assert_eq!(
        (greet.call("alice", true), greet.call("bob", true)),
        ("alice true".into(), "bob true".into())
    );
    assert_eq!(
        (greet.call("alice", false), greet.call("bob", false)),
        ("alice false".into(), "bob false".into())
    );

    let join = memoize(|left: String, right: String| format!("{left}|{right}")).build()?;
    assert_eq!((join.call("ab", "c"), join.call("a", "bc")), ("ab|c".into(), "a|bc".into()));
    assert_eq!((join.call("", "abc"), join.call("abc", "")), ("|abc".into(), "abc|".into()));

    let pair = memoize(|a: u64, b: u64| (a, b)).build()?;
    for a in [0, 1, u64::MAX, 0x9e37_79b9_7f4a_7c15] {
        for b in [0, 1, u64::MAX, 0x9e37_79b9_7f4a_7c15, a ^ 1] {
            assert_eq!(pair.call(a, b), (a, b));
        }
    }
    Ok(())
}

#[test]
fn arguments_that_hash_alike_are_still_told_apart() -> nanotier::Result<()> {
    #[derive(Clone, PartialEq, Eq)]
    struct Same(u32);
    impl Hash for Same {
        fn hash<H: Hasher>(&self, state: &mut H) {
            0_u8.hash(state);
        }
    }
    let number = memoize(|same: Same| same.0).build()?;
    for n in 0..50 {
        assert_eq!(number.call(Same(n)), n);
    }
    for n in 0..50 {
        assert_eq!(number.call(Same(n)), n);
    }
    Ok(())
}

fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[test]
fn a_borrowed_form_equals_and_hashes_as_the_argument_that_it_becomes() {
    fn check<A: Hash + Eq, P: Argument<A> + Copy>(passed: P) {
        let owned = passed.into_owned();
        assert!(passed.is(&owned));
        assert_eq!(hash_of(&passed), hash_of(&owned));
    }
    check::<String, _>("text");
    check::<Arc<str>, _>("text");
    check::<Box<str>, _>("text");
    check::<PathBuf, _>(Path::new("a/b"));
    check::<Arc<Path>, _>(Path::new("a/b"));
    check::<std::ffi::OsString, _>(std::ffi::OsStr::new("text"));
    check::<Vec<u16>, _>(&[1_u16, 2][..]);
    check::<Arc<[u16]>, _>(&[1_u16, 2][..]);
    check::<Box<[u16]>, _>(&[][..]);
    check::<String, _>(&"text".to_string());
    check::<u64, _>(7_u64);
    check::<u64, _>(&7_u64);
}

#[test]
fn what_is_passed_borrowed_finds_what_was_passed_owned() -> nanotier::Result<()> {
    let runs = Runs::default();
    let counted = runs.clone();
    let len = memoize(move |text: String, bytes: Vec<u8>, path: PathBuf| {
        counted.add();
        text.len() + bytes.len() + path.as_os_str().len()
    })
    .build()?;
    let (text, bytes, path) = ("abc".to_string(), vec![1, 2], PathBuf::from("x"));
    assert_eq!(len.call("abc", &[1, 2][..], Path::new("x")), 6);
    assert_eq!(len.call(&text, &bytes, &path), 6);
    assert_eq!(len.call(text, bytes, path), 6);
    assert_eq!(runs.so_far(), 1);
    Ok(())
}

#[test]
fn ten_threads_that_ask_at_once_share_one_computation() -> nanotier::Result<()> {
    for _ in 0..50 {
        let runs = Runs::default();
        let counted = runs.clone();
        let slow = memoize(move |x: u64| {
            counted.add();
            std::thread::yield_now();
            x + 1
        })
        .build()?;
        let all = Barrier::new(10);
        std::thread::scope(|scope| {
            for _ in 0..10 {
                scope.spawn(|| {
                    all.wait();
                    assert_eq!(slow.call(1), 2);
                });
            }
        });
        assert_eq!(runs.so_far(), 1);
    }
    Ok(())
}

#[test]
fn an_answer_lasts_for_its_ttl_and_without_one_for_ever() -> nanotier::Result<()> {
    let (clock, hands) = Clock::manual();
    let runs = Runs::default();
    let counted = runs.clone();
    let count = move |_: u8| {
        counted.add();
        counted.so_far()
    };
    let short = memoize(count.clone()).clock(clock.clone()).ttl(Duration::from_secs(60)).build()?;
    let long = memoize(count).clock(clock).build()?;
    assert_eq!((short.call(0), long.call(0)), (1, 2));
    hands.advance(Duration::from_millis(59_999));
    assert_eq!((short.call(0), long.call(0)), (1, 2));
    hands.advance(Duration::from_millis(1));
    assert_eq!((short.call(0), long.call(0)), (3, 2));
    hands.advance(Duration::from_secs(1_000_000));
    assert_eq!(long.call(0), 2);
    Ok(())
}

#[test]
fn a_stale_answer_is_given_while_the_next_is_worked_out_behind() -> nanotier::Result<()> {
    let (clock, hands) = Clock::manual();
    let tasks = Tasks::default();
    let runs = Runs::default();
    let counted = runs.clone();
    let count = memoize(move |_: u8| {
        counted.add();
        counted.so_far()
    })
    .clock(clock.clone())
    .spawner(tasks.clone())
    .ttl(Duration::from_secs(1))
    .stale_for(Duration::from_secs(10))
    .build()?;
    assert_eq!(count.call(0), 1);
    hands.advance(Duration::from_secs(1));
    assert_eq!((count.call(0), count.call(0), runs.so_far()), (1, 1, 1));
    tasks.run();
    assert_eq!((runs.so_far(), count.call(0)), (2, 2));

    let counted = runs.clone();
    let count = memoize_async(async move |_: u8| {
        counted.add();
        counted.so_far()
    });
    let (ttl, stale_for) = (Duration::from_secs(1), Duration::from_secs(10));
    let count = count.clock(clock).spawner(tasks.clone()).ttl(ttl).stale_for(stale_for).build()?;
    assert_eq!(count.call(0).wait(), 3);
    hands.advance(Duration::from_secs(1));
    assert_eq!((count.call(0).try_now().unwrap(), runs.so_far()), (3, 3));
    tasks.run();
    assert_eq!((runs.so_far(), count.call(0).try_now().unwrap()), (4, 4));
    Ok(())
}

fn over(tier: impl Tier) -> impl FnOnce(Builder<(u64,), u64>) -> Builder<(u64,), u64> {
    |cache| cache.tiers(tier).codec(Json::default())
}

#[test]
fn two_functions_over_one_store_do_not_answer_for_each_other() -> nanotier::Result<()> {
    let store = Watched::new();
    let open = |namespace: Option<&'static str>| {
        let configure = |store: Watched| {
            move |cache: Builder<(u64,), u64>| match namespace {
                Some(namespace) => over(store)(cache).namespace(namespace),
                None => over(store)(cache),
            }
        };
        let double = memoize(|x: u64| x * 2).named("double").configure(configure(store.clone())).build()?;
        let square = memoize(|x: u64| x * x).named("square").configure(configure(store.clone())).build()?;
        nanotier::Result::Ok((double, square))
    };
    for namespace in [None, Some("numbers"), Some("double")] {
        let (double, square) = open(namespace)?;
        assert_eq!((double.call(5), square.call(5)), (10, 25));
        // Anew over the same store: what is found below is one's own.
        let (double, square) = open(namespace)?;
        let (of_double, of_square) = (double.cache().get(&(5,)).wait()?, square.cache().get(&(5,)).wait()?);
        assert_eq!((of_double, of_square), (Some(10), Some(25)));
        double.clear().wait()?;
        let (double, square) = open(namespace)?;
        assert_eq!((double.cache().get(&(5,)).wait()?, square.cache().get(&(5,)).wait()?), (None, Some(25)));
    }
    Ok(())
}

#[test]
fn a_function_over_tiers_has_a_name_by_which_it_is_told_from_others() {
    let build = |name: Option<&str>| {
        let double = memoize(|x: u64| x * 2).configure(over(Inline(MemoryStore::new())));
        name.map_or(double.build().map(drop), |name| {
            let double = memoize(|x: u64| x * 2).configure(over(Inline(MemoryStore::new())));
            double.named(name).build().map(drop)
        })
    };
    let error = build(None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("needs a name"), "{error}");
    assert_eq!(build(Some("numbers/double")).unwrap_err().kind(), ErrorKind::InvalidName);
    assert!(build(Some("numbers::double")).is_ok());
    // In memory alone nobody is there to be taken for.
    assert!(memoize(|x: u64| x).build().is_ok());
}

#[test]
fn while_the_store_is_down_the_function_has_the_answer() -> nanotier::Result<()> {
    let store = Watched::new();
    let (clock, hands) = Clock::manual();
    let runs = Runs::default();
    let counted = runs.clone();
    let double = memoize(move |x: u64| {
        counted.add();
        x * 2
    })
    .named("double")
    .clock(clock)
    .configure(over(store.clone()))
    .build()?;
    store.set_down(true);
    assert_eq!((double.call(5), runs.so_far()), (10, 1));
    // For a moment from memory, then anew.
    assert_eq!((double.call(5), runs.so_far()), (10, 1));
    hands.advance(Duration::from_secs(6));
    assert_eq!((double.call(5), runs.so_far()), (10, 2));
    store.set_down(false);
    hands.advance(Duration::from_secs(6));
    assert_eq!((double.call(5), runs.so_far()), (10, 3));
    hands.advance(Duration::from_secs(6));
    assert_eq!((double.call(5), runs.so_far()), (10, 3));

    let triple =
        memoize_async(async |x: u64| x * 3).named("triple").configure(over(store.clone())).build()?;
    let fourfold = try_memoize(|x: u64| x.checked_mul(4).ok_or("too much"));
    let fourfold = fourfold.named("fourfold").configure(over(store.clone())).build()?;
    store.set_down(true);
    assert_eq!(triple.call(5).wait(), 15);
    assert_eq!(fourfold.call(5).unwrap(), 20);
    assert!(matches!(fourfold.call(u64::MAX), Err(LoadError::Loader(error)) if *error == "too much"));
    Ok(())
}

#[test]
fn what_no_tier_could_hold_is_worked_out_all_the_same() -> nanotier::Result<()> {
    let store = Watched::new();
    let configure =
        |store: Watched| move |cache: Builder<(String,), usize>| cache.tiers(store).codec(Json::default());
    let long = "x".repeat(100_000);
    let len = memoize(|text: String| text.len()).named("len").configure(configure(store.clone())).build()?;
    assert_eq!((len.call(&long), len.call("short")), (100_000, 5));
    let len =
        memoize_async(async |text: String| text.len()).named("len").configure(configure(store)).build()?;
    assert_eq!(len.call(&long).wait(), 100_000);
    Ok(())
}

#[test]
fn a_closed_function_still_answers() -> nanotier::Result<()> {
    let double = memoize(|x: u64| x * 2).build()?;
    double.call(1);
    double.cache().close().wait()?;
    assert_eq!((double.call(1), double.call(2)), (2, 4));
    Ok(())
}

/// Polls it once: whatever it waits for has begun, and is not done.
fn begin<F: Future + Unpin>(future: &mut F) {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(std::pin::Pin::new(future).poll(&mut context).is_pending());
}

/// What a panic said.
fn panic_of<R>(work: impl FnOnce() -> R) -> &'static str {
    let panic = catch_unwind(AssertUnwindSafe(work)).err().expect("a panic");
    *panic.downcast::<&str>().expect("a sentence")
}

#[test]
fn a_panic_is_one_of_all_who_wait_and_the_next_call_runs_the_function_anew() -> nanotier::Result<()> {
    let (panics, runs) = (Arc::new(AtomicBool::new(true)), Runs::default());
    let (moody, counted) = (panics.clone(), runs.clone());
    let function = memoize_async(async move |x: u64| {
        counted.add();
        pending_once().await;
        assert!(!moody.load(SeqCst), "not today");
        x
    })
    .build()?;
    let (mut first, mut second) = (function.call(1), function.call(1));
    begin(&mut first);
    // It drives what the first began, to its end.
    assert_eq!(panic_of(|| begin(&mut second)), "a memoized function panicked");
    assert_eq!(panic_of(|| first.wait()), "a memoized function panicked");
    assert_eq!(runs.so_far(), 1);
    panics.store(false, SeqCst);
    assert_eq!((function.call(1).wait(), function.call(1).try_now().ok(), runs.so_far()), (1, Some(1), 2));

    let moody = panics.clone();
    let function = memoize(move |x: u64| {
        assert!(!moody.load(SeqCst), "not today");
        x
    })
    .build()?;
    panics.store(true, SeqCst);
    assert_eq!(panic_of(|| function.call(1)), "a memoized function panicked");
    panics.store(false, SeqCst);
    assert_eq!(function.call(1), 1);

    let function = try_memoize(|_: u64| -> Result<u64, fmt::Error> { panic!("not today") }).build()?;
    let answer = function.call(1);
    assert!(matches!(answer, Err(LoadError::Cache(error)) if error.kind() == ErrorKind::LoaderPanicked));
    Ok(())
}

#[test]
fn a_function_may_ask_itself_for_other_answers_but_not_for_the_one_it_works_out() {
    use std::sync::OnceLock;
    static FIBONACCI: OnceLock<Memoized<(u32,), u64>> = OnceLock::new();
    static LOOPS: OnceLock<Memoized<(u32,), &str>> = OnceLock::new();
    fn fibonacci(n: u32) -> u64 {
        let work_out = |n: u32| if n < 2 { u64::from(n) } else { fibonacci(n - 1) + fibonacci(n - 2) };
        FIBONACCI.get_or_init(|| memoize(work_out).build().unwrap()).call(n)
    }
    fn loops(n: u32) -> &'static str {
        LOOPS.get_or_init(|| memoize(|n: u32| panic_of(|| loops(n))).build().unwrap()).call(n)
    }
    assert_eq!(fibonacci(30), 832_040);
    assert_eq!(loops(1), "a memoized function asked for the very answer that it works out");
}

#[test]
fn a_caller_that_leaves_takes_no_computation_with_it() -> nanotier::Result<()> {
    let tasks = Tasks::default();
    let runs = Runs::default();
    let counted = runs.clone();
    let slow = memoize_async(async move |x: u64| {
        pending_once().await;
        counted.add();
        x
    })
    .spawner(tasks.clone())
    .build()?;
    let mut answer = slow.call(1);
    begin(&mut answer);
    drop(answer);
    assert_eq!(runs.so_far(), 0);
    tasks.run();
    assert_eq!((runs.so_far(), slow.call(1).try_now().ok()), (1, Some(1)));
    Ok(())
}

#[test]
fn a_computation_begun_before_a_remove_or_clear_is_not_remembered() -> nanotier::Result<()> {
    let inputs = Arc::new(AtomicU32::new(1));
    for clears in [false, true] {
        let read = inputs.clone();
        let current = memoize_async(async move |_: u64| {
            let before = read.load(SeqCst);
            pending_once().await;
            before
        })
        .build()?;
        let mut begun = current.call(1);
        begin(&mut begun);
        let before = inputs.fetch_add(1, SeqCst);
        if clears { current.clear() } else { current.remove(1) }.wait()?;
        assert_eq!(begun.wait(), before, "who asked before gets what was worked out before");
        assert_eq!(current.call(1).wait(), before + 1);
    }
    Ok(())
}

#[test]
fn the_number_of_answers_is_bounded() -> nanotier::Result<()> {
    let double = memoize(|x: u64| x * 2).build()?;
    assert_eq!(double.cache().capacity(), 10_000);
    for x in 0..20_000 {
        double.call(x);
    }
    assert!(double.cache().len() <= 10_000);
    let small = memoize(|x: u64| x * 2).capacity(3).stats(true).build()?;
    for x in 0..10 {
        small.call(x);
    }
    assert!(small.cache().len() <= 3);
    assert!(small.stats().misses >= 10);
    let none = memoize(|| 42).build()?;
    assert_eq!((none.cache().capacity(), none.call(), none.cache().len()), (1, 42, 1));
    Ok(())
}

#[test]
fn the_type_of_a_memoized_function_can_be_named_and_shared_among_threads() -> nanotier::Result<()> {
    #[derive(Clone, Debug)]
    struct Service {
        plain: Memoized<(u64, String), usize>,
        fallible: Memoized<(String,), u32, Fallible<std::num::ParseIntError>>,
        later: Memoized<(), u8, Async>,
        perhaps_later: Memoized<(u8,), u8, AsyncFallible<fmt::Error>>,
    }
    fn shared<T: Send + Sync + 'static>(_: &T) {}
    let service = Service {
        plain: memoize(|id: u64, name: String| name.len() + usize::try_from(id).unwrap_or(0)).build()?,
        fallible: try_memoize(|text: String| text.parse()).build()?,
        later: memoize_async(async || 1).build()?,
        perhaps_later: try_memoize_async(async |x: u8| if x > 0 { Ok(x) } else { Err(fmt::Error) })
            .build()?,
    };
    shared(&service);
    let clone = service.clone();
    assert_eq!(service.plain.call(1, "abc"), 4);
    assert_eq!(clone.plain.cache().resident(&(1, "abc".to_string())).map(|(len, _)| len), Some(4));
    assert_eq!((clone.later.call().wait(), clone.perhaps_later.call(2).wait().ok()), (1, Some(2)));
    assert_eq!(clone.fallible.call("7").ok(), Some(7));
    Ok(())
}
