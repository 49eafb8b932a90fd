//! `#[memoize]` on functions and methods.

mod common;

use std::fmt::Display;
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, LazyLock};
use std::time::Duration;

use common::{Watched, pending_once};
use nanotier::testing::Tasks;
use nanotier::{Builder, Cache, Clock, Hands, Json, memoize};

/// A clock for the functions of one test, and the hands that move it.
struct Hour {
    clock: Clock,
    hands: Hands,
}

impl Hour {
    fn new() -> Self {
        let (clock, hands) = Clock::manual();
        Self { clock, hands }
    }
}

fn panic_of<R>(work: impl FnOnce() -> R) -> String {
    let panic = catch_unwind(AssertUnwindSafe(work)).err().expect("a panic");
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => (*panic.downcast::<&str>().expect("a sentence")).to_owned(),
    }
}

#[test]
fn a_free_function_is_worked_out_once_for_each_tuple_of_its_arguments() -> nanotier::Result<()> {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    /// What it costs.
    #[memoize]
    fn price(item: u64, mut currency: String, country: &str, tags: &[u8], path: &Path) -> String {
        RUNS.fetch_add(1, SeqCst);
        currency.push('!');
        format!("{item} {currency} {country} {tags:?} {}", path.display())
    }
    let eur = || price(1, "EUR".into(), "DE", &[1, 2], Path::new("a"));
    assert_eq!(eur(), "1 EUR! DE [1, 2] a");
    assert_eq!((eur(), RUNS.load(SeqCst)), ("1 EUR! DE [1, 2] a".into(), 1));
    assert_eq!(price(1, "EUR".into(), "DE", &[1], Path::new("a")), "1 EUR! DE [1] a");
    assert_eq!(RUNS.load(SeqCst), 2);

    let cache = price_cache();
    assert_eq!((cache.len(), cache.capacity()), (2, 10_000));
    let key = (1, "EUR".to_owned(), "DE".to_owned(), vec![1, 2], Path::new("a").to_owned());
    assert_eq!(cache.get(&key).wait()?, Some("1 EUR! DE [1, 2] a".into()));
    price_remove(1, "EUR".into(), "DE", &[1, 2], Path::new("a")).wait()?;
    assert_eq!((cache.get(&key).wait()?, cache.len()), (None, 1));
    eur();
    assert_eq!(RUNS.load(SeqCst), 3);
    cache.clear().wait()?;
    eur();
    assert_eq!(RUNS.load(SeqCst), 4);
    Ok(())
}

#[test]
fn patterns_and_no_arguments_are_arguments_too() {
    #[memoize]
    fn sum((a, b): (u32, u32), [c, d]: [u32; 2], _: bool) -> u32 {
        a + b + c + d
    }
    #[memoize]
    fn answer() -> &'static str {
        "42"
    }
    assert_eq!((sum((1, 2), [3, 4], true), sum((1, 2), [3, 5], true)), (10, 11));
    assert_eq!((answer(), answer_cache().len(), answer_cache().capacity()), ("42", 1, 1));
}

#[test]
fn the_options_reach_the_cache() {
    static TIME: LazyLock<Hour> = LazyLock::new(Hour::new);
    static TASKS: LazyLock<Tasks> = LazyLock::new(Tasks::default);
    static RUNS: AtomicUsize = AtomicUsize::new(0);

    #[memoize(ttl = "1m30s", capacity = 2 + 1, configure = |cache| cache.clock(TIME.clock.clone()).stats(true))]
    fn count(_: u8) -> usize {
        RUNS.fetch_add(1, SeqCst)
    }
    assert_eq!((count(0), count(0), count_cache().capacity()), (0, 0, 3));
    TIME.hands.advance(Duration::from_millis(89_999));
    assert_eq!(count(0), 0);
    TIME.hands.advance(Duration::from_millis(1));
    assert_eq!(count(0), 1);
    assert_eq!(count_cache().stats().hits, 2);

    fn manual<K, V>(cache: Builder<K, V>) -> Builder<K, V> {
        cache.clock(TIME.clock.clone()).spawner(TASKS.clone())
    }
    #[memoize(ttl = "1s", stale = "10s", configure = manual)]
    fn stale(_: &str) -> usize {
        RUNS.fetch_add(1, SeqCst)
    }
    assert_eq!(stale("a"), 2);
    TIME.hands.advance(Duration::from_secs(1));
    assert_eq!((stale("a"), RUNS.load(SeqCst)), (2, 3));
    TASKS.run();
    assert_eq!((stale("a"), RUNS.load(SeqCst)), (3, 4));
}

#[test]
fn an_old_answer_stands_in_for_an_error_as_long_as_was_said() {
    static TIME: LazyLock<Hour> = LazyLock::new(Hour::new);
    static FAILS: AtomicBool = AtomicBool::new(false);
    #[memoize(result, ttl = "1m", stale_on_error = "1d", configure = |cache| cache.clock(TIME.clock.clone()))]
    fn rate(currency: &str) -> Result<u32, String> {
        if FAILS.load(SeqCst) { Err(format!("{currency} is not to be had")) } else { Ok(7) }
    }
    assert_eq!(rate("EUR"), Ok(7));
    FAILS.store(true, SeqCst);
    TIME.hands.advance(Duration::from_secs(60));
    assert_eq!((rate("EUR"), rate("USD")), (Ok(7), Err("USD is not to be had".into())));
    TIME.hands.advance(Duration::from_secs(86_399));
    assert_eq!(rate("EUR"), Ok(7));
    TIME.hands.advance(Duration::from_secs(1));
    assert_eq!(rate("EUR"), Err("EUR is not to be had".into()));
}

#[test]
fn of_a_result_ok_alone_is_remembered() {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    fn odd(x: u32) -> Result<u32, String> {
        RUNS.fetch_add(1, SeqCst);
        if x % 2 == 1 { Ok(x) } else { Err(format!("{x} is even")) }
    }
    #[memoize(result)]
    fn one(x: u32) -> Result<u32, String> {
        odd(x)
    }
    #[memoize(result, ttl = "1h", stale = "1h")]
    fn two(x: u32) -> Result<u32, Arc<String>> {
        Ok(odd(x)?)
    }
    #[memoize(result)]
    async fn three(x: u32) -> Result<u32, Arc<dyn std::error::Error + Send + Sync>> {
        pending_once().await;
        odd(x).map_err(|text| Arc::from(Box::from(text)))
    }
    #[memoize(result = false)]
    fn four(x: u32) -> Result<u32, String> {
        odd(x)
    }
    let three = |x| nanotier::tier::waiting::block_on(three(x));
    let check = |call: &dyn Fn(u32) -> Result<u32, String>, expected: [usize; 2]| {
        RUNS.store(0, SeqCst);
        assert_eq!((call(1), call(1), RUNS.load(SeqCst)), (Ok(1), Ok(1), expected[0]));
        assert_eq!((call(2), call(2)), (Err("2 is even".into()), Err("2 is even".into())));
        assert_eq!(RUNS.load(SeqCst), expected[1]);
    };
    check(&one, [1, 3]);
    check(&|x| two(x).map_err(Arc::unwrap_or_clone), [1, 3]);
    check(&|x| three(x).map_err(|error| error.to_string()), [1, 3]);
    check(&four, [1, 2]);
}

/// Neither cheap to clone nor shared: a connection.
struct Shop {
    id: u32,
    runs: AtomicUsize,
}

impl Shop {
    fn new(id: u32) -> Self {
        Self { id, runs: AtomicUsize::new(0) }
    }

    #[memoize(key = "(self.id, item, name)")]
    fn label(&self, item: u64, name: &str) -> String {
        self.runs.fetch_add(1, SeqCst);
        format!("{} {item} {name}", self.id)
    }

    #[memoize(key = "item", result)]
    fn checked(&self, item: u64) -> Result<u64, String> {
        self.runs.fetch_add(1, SeqCst);
        item.checked_mul(2).ok_or_else(|| "too many".to_owned())
    }

    #[memoize(key = (self.id, item))]
    async fn stock(self: Arc<Self>, item: u64) -> u64 {
        pending_once().await;
        self.runs.fetch_add(1, SeqCst);
        u64::from(self.id) * item
    }

    #[memoize(key = "(this.id, item)")]
    fn with_no_receiver(this: &Arc<Self>, item: u64) -> u64 {
        this.runs.fetch_add(1, SeqCst);
        u64::from(this.id) * item
    }
}

impl Shop {
    fn runs(&self) -> usize {
        self.runs.load(SeqCst)
    }
}

#[test]
fn a_method_is_known_by_its_key() -> nanotier::Result<()> {
    let (one, two) = (Shop::new(1), Shop::new(2));
    assert_eq!((one.label(7, "x"), two.label(7, "x")), ("1 7 x".into(), "2 7 x".into()));
    assert_eq!(
        (one.label(7, "x"), two.label(7, "x"), one.runs(), two.runs()),
        ("1 7 x".into(), "2 7 x".into(), 1, 1)
    );
    // Another value of the type, known by the same key: the same.
    assert_eq!(Shop::new(2).label(7, "x"), "2 7 x");
    assert_eq!(Shop::label_cache().len(), 2);
    one.label_remove(7, "x").wait()?;
    assert_eq!((one.label(7, "x"), one.runs()), ("1 7 x".into(), 2));
    Shop::label_cache().clear().wait()?;
    assert!(Shop::label_cache().is_empty());

    // Where the key does not speak of `self`, it is one for all.
    assert_eq!((one.checked(3), two.checked(3), two.runs()), (Ok(6), Ok(6), 1));
    assert_eq!(
        (one.checked(u64::MAX), one.checked(u64::MAX), one.runs()),
        (Err("too many".into()), Err("too many".into()), 5)
    );
    assert_eq!(Shop::checked_cache().get(&(3,)).wait()?, Some(6));
    assert_eq!(
        (Shop::with_no_receiver(&Arc::new(Shop::new(3)), 5), Shop::with_no_receiver_cache().len()),
        (15, 1)
    );
    Shop::checked_remove(3).wait()?;
    assert_eq!(Shop::checked_cache().get(&(3,)).wait()?, None);
    Ok(())
}

#[test]
fn an_asynchronous_method_owns_its_receiver() {
    let shop = Arc::new(Shop::new(5));
    let stock = |item| nanotier::tier::waiting::block_on(shop.clone().stock(item));
    assert_eq!((stock(2), stock(2), shop.runs()), (10, 10, 1));
    shop.clone().stock_remove(2).wait().unwrap();
    assert_eq!((stock(2), shop.runs()), (10, 2));

    #[derive(Clone)]
    struct Client {
        base: u64,
        runs: Arc<AtomicUsize>,
    }
    impl Client {
        #[memoize(key = "(self.base, path.to_owned())", result)]
        async fn fetch(&self, path: &str, size: usize) -> Result<u64, String> {
            pending_once().await;
            self.runs.fetch_add(1, SeqCst);
            path.parse::<u64>().map(|n| self.base + n).map_err(|error| format!("{error} {size}"))
        }
        #[memoize(key = "self.base", ttl = "1h", stale = "1h")]
        fn double(&self) -> u64 {
            self.runs.fetch_add(1, SeqCst);
            self.base * 2
        }
        #[memoize(key = "self.base")]
        fn consume(self) -> u64 {
            self.base
        }
    }
    let client = Client { base: 10, runs: Arc::default() };
    let fetch = |path: &str| nanotier::tier::waiting::block_on(client.fetch(path, 1));
    assert_eq!((fetch("5"), fetch("5"), client.runs.load(SeqCst)), (Ok(15), Ok(15), 1));
    assert!(fetch("x").is_err());
    client.fetch_remove("5").wait().unwrap();
    assert_eq!((fetch("5"), client.runs.load(SeqCst)), (Ok(15), 3));
    assert_eq!((client.double(), client.double(), client.runs.load(SeqCst)), (20, 20, 4));
    assert_eq!(client.consume(), 10);
}

#[test]
fn what_is_no_part_of_the_key_need_be_neither_shared_nor_cloned() {
    struct Connection(std::cell::Cell<u32>);
    #[memoize(key = "id")]
    fn load(connection: &Connection, id: u64, token: Box<dyn FnOnce() -> u64>) -> u64 {
        connection.0.set(connection.0.get() + 1);
        id + token()
    }
    let connection = Connection(0.into());
    assert_eq!(load(&connection, 1, Box::new(|| 2)), 3);
    assert_eq!((load(&connection, 1, Box::new(|| 5)), connection.0.get()), (3, 1));
    load_remove(1).wait().unwrap();
    assert_eq!((load(&connection, 1, Box::new(|| 5)), connection.0.get()), (6, 2));
}

#[test]
fn each_type_has_answers_of_its_own() {
    trait Named {
        const NAME: &'static str;
    }
    struct A;
    struct B;
    impl Named for A {
        const NAME: &'static str = "a";
    }
    impl Named for B {
        const NAME: &'static str = "b";
    }
    struct Of<T>(u32, std::marker::PhantomData<T>);
    impl<T: Named + 'static> Of<T> {
        #[memoize(key = "self.0")]
        fn name(&self) -> &'static str {
            T::NAME
        }
    }
    #[memoize]
    fn name<T: Named + 'static>(_x: u8) -> &'static str {
        T::NAME
    }
    #[memoize]
    #[expect(clippy::needless_pass_by_value, reason = "what is said of the body is said of the body alone")]
    fn show<T: Display + Hash + Eq + Clone + Send + Sync + 'static>(value: T) -> String {
        value.to_string()
    }
    let (a, b) = (Of::<A>(1, std::marker::PhantomData), Of::<B>(1, std::marker::PhantomData));
    for _ in 0..2 {
        assert_eq!((a.name(), b.name()), ("a", "b"));
        assert_eq!((name::<A>(1), name::<B>(1)), ("a", "b"));
        assert_eq!((show(1_u8), show(1_i64), show("1")), ("1".into(), "1".into(), "1".into()));
    }
    assert_eq!((name_cache::<A>().len(), Of::<B>::name_cache().len(), show_cache::<u8>().len()), (1, 1, 1));
}

#[test]
fn threads_that_ask_at_once_share_the_work_of_one_of_them() {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    #[memoize(key = "x")]
    fn slow(x: u64, local: &std::cell::Cell<u64>) -> u64 {
        RUNS.fetch_add(1, SeqCst);
        std::thread::yield_now();
        local.set(x);
        x + 1
    }
    for x in 0..200 {
        let all = Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    all.wait();
                    assert_eq!(slow(x, &0.into()), x + 1);
                });
            }
        });
        assert_eq!(RUNS.load(SeqCst), usize::try_from(x).unwrap() + 1);
    }
}

#[test]
fn a_panic_reaches_who_worked_and_who_waited_and_the_next_call_works_anew() {
    static PANICS: AtomicBool = AtomicBool::new(true);
    static BEGUN: Barrier = Barrier::new(2);
    #[memoize]
    fn moody(x: u64) -> u64 {
        if PANICS.load(SeqCst) {
            BEGUN.wait();
            BEGUN.wait();
            panic!("not today");
        }
        x
    }
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| panic_of(|| moody(1)));
        BEGUN.wait();
        // It joins the load that the worker began, whenever it comes: the worker holds still.
        let mut joined = moody_cache().get_with(&(1,), async || unreachable!("another one's load is joined"));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(std::pin::Pin::new(&mut joined).poll(&mut context).is_pending());
        BEGUN.wait();
        assert_eq!(worker.join().unwrap(), "not today");
        assert_eq!(joined.wait().unwrap_err().kind(), nanotier::ErrorKind::LoaderPanicked);
    });
    PANICS.store(false, SeqCst);
    assert_eq!(moody(1), 1);
}

#[test]
fn a_function_may_ask_itself_for_other_answers_but_not_for_the_one_it_works_out() {
    #[memoize]
    fn fibonacci(n: u32) -> u64 {
        if n < 2 { n.into() } else { fibonacci(n - 1) + fibonacci(n - 2) }
    }
    #[memoize]
    fn loops(n: u32) -> String {
        panic_of(|| loops(n))
    }
    #[memoize]
    fn other(n: u32) -> u32 {
        if n == 0 { 0 } else { third(n - 1) + 1 }
    }
    #[memoize]
    fn third(n: u32) -> u32 {
        if n == 0 { 0 } else { other(n) + 1 }
    }
    assert_eq!(fibonacci(90), 2_880_067_194_370_816_120);
    assert_eq!(loops(1), "a memoized function asked for the very answer that it works out");
    assert_eq!((loops(2), other(10)), (loops(1), 19));
}

#[test]
fn functions_over_one_store_are_told_apart_by_their_names() -> nanotier::Result<()> {
    static STORE: LazyLock<Watched> = LazyLock::new(Watched::new);
    fn below(cache: Builder<(u64,), u64>) -> Builder<(u64,), u64> {
        cache.tiers(STORE.clone()).codec(Json::default())
    }
    #[memoize(configure = below)]
    fn double(x: u64) -> u64 {
        x * 2
    }
    #[memoize(configure = below)]
    async fn square(x: u64) -> u64 {
        x * x
    }
    #[memoize(configure = below, name = "cube")]
    fn third_power(x: u64) -> u64 {
        x * x * x
    }
    let square = |x| nanotier::tier::waiting::block_on(square(x));
    assert_eq!((double(5), square(5), third_power(5)), (10, 25, 125));
    let again = |name: &str| {
        let cache: Cache<(u64,), u64> = below(Cache::builder()).namespace(name).build()?;
        cache.get(&(5,)).wait()
    };
    let of = |name: &str| again(&format!("{}::{name}", module_path!()));
    assert_eq!((of("double")?, of("square")?, again("cube")?), (Some(10), Some(25), Some(125)));

    STORE.set_down(true);
    assert_eq!((double(6), square(6), third_power(6)), (12, 36, 216));
    STORE.set_down(false);

    // A method has a type beside its name, and a generic function types: they are not guessed.
    struct Shop;
    impl Shop {
        #[memoize(key = "x", configure = below)]
        fn nameless(&self, x: u64) -> u64 {
            x
        }
        #[memoize(key = "x", configure = below, name = "named")]
        fn named(&self, x: u64) -> u64 {
            x
        }
    }
    #[memoize(key = "x", configure = below)]
    fn generic<T: 'static>(x: u64, _: T) -> u64 {
        x
    }
    assert!(
        panic_of(|| Shop.nameless(1))
            .starts_with("`nameless` cannot be memoized: over tiers it needs a name")
    );
    assert_eq!((Shop.named(1), generic(1, 'a')), (1, 1));
    assert!(panic_of(|| generic(1, "a")).contains("one set of types alone"));
    Ok(())
}

#[test]
fn work_that_borrows_is_not_done_behind_and_nobody_hangs_on_it() {
    static TIME: LazyLock<Hour> = LazyLock::new(Hour::new);
    static TASKS: LazyLock<Tasks> = LazyLock::new(Tasks::default);
    fn manual<K, V>(cache: Builder<K, V>) -> Builder<K, V> {
        // Said behind the macro's back: `stale` would have been refused.
        let stale = cache.ttl(Duration::from_secs(1)).stale_for(Duration::from_secs(10));
        stale.clock(TIME.clock.clone()).spawner(TASKS.clone())
    }
    struct Shop {
        id: u32,
        runs: AtomicUsize,
    }
    impl Shop {
        #[memoize(key = "self.id", configure = manual)]
        fn staled(&self) -> usize {
            self.runs.fetch_add(1, SeqCst)
        }
    }
    let shop = Shop { id: 99, runs: AtomicUsize::new(0) };
    assert_eq!(shop.staled(), 0);
    TIME.hands.advance(Duration::from_secs(1));
    assert_eq!(shop.staled(), 0);
    TASKS.run();
    assert_eq!((shop.staled(), shop.runs.load(SeqCst)), (0, 1));
    TASKS.run();
    TIME.hands.advance(Duration::from_secs(10));
    assert_eq!((shop.staled(), shop.runs.load(SeqCst)), (1, 2));
}
