//! Tiers that are slow, hang or are down, and what a guard makes of them. `docs/CHAIN.md` has the table of the breaker; it is
//! read here, row by row.

mod common;

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use common::{Faulty, World};
use nanotier_tier::waiting::block_on;
use nanotier_tier::{
    Breaker, Capabilities, Cleared, Context, Entry, Error, ErrorKind, Event, Found, GuardState, Guarded,
    Inline, Intent, Limits, MemoryStore, Namespace, Observer, Offload, Page, PageRequest, Path, Record,
    Result, Scope, Store, Tier, TierIndex, Update, Updated, Write, Wrote,
};
use parking_lot::Mutex;

/// What a call to a [`Staged`] tier does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Answers,
    Fails(ErrorKind),
    Hangs,
}

/// A call that hangs, by its number, and how it is to go on.
type Hanging = (usize, Option<Act>);

/// A tier over memory that acts as it is told, call by call. A call that hangs goes on as it is told later.
#[derive(Clone)]
struct Staged {
    store: Arc<MemoryStore>,
    act: Arc<Mutex<Act>>,
    calls: Arc<AtomicUsize>,
    hanging: Arc<Mutex<Vec<Hanging>>>,
}

impl Staged {
    fn new() -> Self {
        Self {
            store: Arc::new(MemoryStore::new()),
            act: Arc::new(Mutex::new(Act::Answers)),
            calls: Arc::new(AtomicUsize::new(0)),
            hanging: Arc::new(Mutex::new(Vec::new())),
        }
    }

    fn acts(&self, act: Act) {
        *self.act.lock() = act;
    }

    /// The oldest call that hangs goes on.
    fn release(&self, act: Act) {
        let mut hanging = self.hanging.lock();
        let next = hanging.iter_mut().find(|(_, then)| then.is_none()).expect("a call hangs");
        next.1 = Some(act);
    }

    fn calls(&self) -> usize {
        self.calls.swap(0, Ordering::SeqCst)
    }

    async fn act(&self) -> Result<()> {
        let id = self.calls.fetch_add(1, Ordering::SeqCst);
        let mut act = *self.act.lock();
        if act == Act::Hangs {
            let id = id + (Arc::as_ptr(&self.calls) as usize);
            self.hanging.lock().push((id, None));
            act = std::future::poll_fn(|_| {
                let mut hanging = self.hanging.lock();
                let index = hanging.iter().position(|(of, _)| *of == id).expect("it hangs");
                match hanging[index].1 {
                    Some(act) => {
                        hanging.remove(index);
                        Poll::Ready(act)
                    }
                    None => Poll::Pending,
                }
            })
            .await;
        }
        match act {
            Act::Fails(kind) => Err(Error::new(kind, "staged", "call")),
            Act::Answers | Act::Hangs => Ok(()),
        }
    }
}

impl Tier for Staged {
    fn name(&self) -> &'static str {
        "staged"
    }
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
    fn attach(&self, context: &Context) {
        Store::attach(&*self.store, context);
    }
    async fn read(&self, paths: &[Path<'_>], intent: Intent) -> Result<Vec<Result<Found>>> {
        self.act().await?;
        self.store.read(paths, intent)
    }
    async fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
        self.act().await?;
        self.store.write(writes)
    }
    async fn update(&self, update: &Update<'_>) -> Result<Updated> {
        self.act().await?;
        self.store.update(update)
    }
    async fn clear(&self, cleared: &Cleared<'_>) -> Result<Wrote> {
        self.act().await?;
        self.store.clear(cleared)
    }
    async fn list(&self, namespace: &Namespace, page: &PageRequest) -> Result<Page> {
        self.act().await?;
        self.store.list(namespace, page)
    }
    async fn ready(&self) -> Result<()> {
        self.act().await
    }
}

/// Three failures in a row or half of the last eight, ten to forty milliseconds.
fn limits() -> Limits {
    let ms = Duration::from_millis;
    Limits::new().failures_in_a_row(3).failure_share(50, 8).cool_down(ms(10), ms(40))
}

type Call<'a> = Pin<Box<dyn Future<Output = Result<Found>> + Send + 'a>>;

/// A guarded tier on a stage.
struct Stage {
    world: World,
    staged: Staged,
    tier: Guarded<Staged>,
}

impl Stage {
    fn new(limits: Limits) -> Self {
        let (world, staged) = (World::new(), Staged::new());
        let tier = world.attached(staged.clone().guarded(limits));
        Self { world, staged, tier }
    }

    /// Begins a read.
    fn begin(&self) -> Call<'_> {
        let path = self.world.path("k").into_owned();
        let mut call: Call<'_> = Box::pin(async move { self.tier.read_one(&path, Intent::Look).await });
        if let Poll::Ready(answer) = poll(&mut call) {
            return Box::pin(std::future::ready(answer));
        }
        call
    }

    /// Begins a read that hangs.
    fn hang(&self) -> Call<'_> {
        self.staged.acts(Act::Hangs);
        let call = self.begin();
        self.staged.acts(Act::Answers);
        call
    }

    /// A read that acts so, from begin to end.
    fn call(&self, act: Act) -> Result<Found> {
        self.staged.acts(act);
        let answer = block_on(self.begin());
        self.staged.acts(Act::Answers);
        answer
    }

    fn fail(&self, times: usize) {
        for _ in 0..times {
            assert!(self.call(Act::Fails(ErrorKind::Unavailable)).is_err());
        }
    }

    fn breaker(&self) -> Breaker {
        self.tier.state().breaker
    }

    fn open(&self) {
        self.fail(3);
        assert_eq!(self.breaker(), Breaker::Open);
    }

    /// Half-open, with a probe that hangs.
    fn half_open(&self) -> Call<'_> {
        self.open();
        self.world.pass(10);
        let probe = self.hang();
        assert_eq!(self.breaker(), Breaker::HalfOpen);
        probe
    }

    fn state(&self) -> GuardState {
        self.tier.state()
    }
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut TaskContext::from_waker(Waker::noop()))
}

/// What became of a call, in the words of the table.
fn fate(stage: &Stage, call: &Result<Found>) -> &'static str {
    let reached = stage.staged.calls() > 0;
    match call {
        Ok(_) => "is answered",
        Err(_) if reached => "fails",
        Err(_) => "fails at once",
    }
}

/// Makes a row of the table happen: the state and fate that came of it.
fn happen(state: &str, event: &str) -> (Breaker, &'static str) {
    const DOWN: Act = Act::Fails(ErrorKind::Unavailable);
    let stage = Stage::new(limits());
    let end = |stage: &Stage, mut call: Call<'_>, act: Act| {
        stage.staged.release(act);
        let Poll::Ready(answer) = poll(&mut call) else { panic!("it was released") };
        if answer.is_ok() { "is answered" } else { "fails" }
    };
    let fate = match (state, event) {
        ("closed", "a call") => {
            let _call = stage.hang();
            assert_eq!(stage.staged.calls(), 1);
            "goes through"
        }
        ("closed", "a success") => fate(&stage, &stage.call(Act::Answers)),
        ("closed", "a failure too few") => {
            stage.fail(1);
            stage.staged.calls();
            fate(&stage, &stage.call(DOWN))
        }
        ("closed", "the last failure in a row") => {
            stage.fail(2);
            stage.staged.calls();
            fate(&stage, &stage.call(DOWN))
        }
        ("closed", "the last failure of a share") => {
            for turn in 0..7 {
                assert_eq!(stage.breaker(), Breaker::Closed, "turn {turn}");
                let _ = stage.call(if turn % 2 == 0 { Act::Answers } else { DOWN });
            }
            stage.staged.calls();
            fate(&stage, &stage.call(DOWN))
        }
        ("closed", "failures with a success between") => {
            stage.fail(2);
            stage.call(Act::Answers).unwrap();
            stage.fail(1);
            stage.staged.calls();
            fate(&stage, &stage.call(DOWN))
        }
        ("closed", "a caller leaves") => {
            stage.fail(2);
            drop(stage.hang());
            assert_eq!(stage.state().in_flight, 0);
            "is dropped"
        }
        ("open", "a call within the cool-down") => {
            stage.open();
            // At least half of it, however it was drawn.
            stage.world.pass(4);
            stage.staged.calls();
            fate(&stage, &stage.call(Act::Answers))
        }
        ("open", "a call after the cool-down") => {
            stage.open();
            stage.world.pass(10);
            stage.staged.calls();
            let call = stage.hang();
            assert_eq!(stage.staged.calls(), 1);
            let state = stage.breaker();
            drop(call);
            return (state, "goes through");
        }
        ("open", "a success from before") => {
            let before = stage.hang();
            stage.open();
            end(&stage, before, Act::Answers)
        }
        ("open", "a failure from before") => {
            let before = stage.hang();
            stage.open();
            end(&stage, before, DOWN)
        }
        ("half-open", "a call beside the probe") => {
            let _probe = stage.half_open();
            stage.staged.calls();
            fate(&stage, &stage.call(Act::Answers))
        }
        ("half-open", "the probe succeeds") => {
            let probe = stage.half_open();
            end(&stage, probe, Act::Answers)
        }
        ("half-open", "the probe fails") => {
            let probe = stage.half_open();
            end(&stage, probe, DOWN)
        }
        ("half-open", "the prober leaves") => {
            drop(stage.half_open());
            "is dropped"
        }
        ("half-open", "a call after the prober left") => {
            drop(stage.half_open());
            stage.staged.calls();
            let _call = stage.hang();
            assert_eq!(stage.staged.calls(), 1);
            return (stage.breaker(), "goes through");
        }
        ("half-open", "a success from before") => {
            let before = stage.hang();
            let _probe = stage.half_open();
            end(&stage, before, Act::Answers)
        }
        ("half-open", "a failure from before") => {
            let before = stage.hang();
            let _probe = stage.half_open();
            end(&stage, before, DOWN)
        }
        unknown => panic!("the table has a row that no test knows: {unknown:?}"),
    };
    (stage.breaker(), fate)
}

#[test]
fn the_breaker_does_what_its_table_says() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/CHAIN.md")).unwrap();
    let rows: Vec<Vec<&str>> = page
        .lines()
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>())
        .filter(|cells| cells.len() == 4 && ["closed", "open", "half-open"].contains(&cells[0]))
        .collect();
    let known: BTreeSet<_> = rows.iter().map(|row| (row[0], row[1])).collect();
    assert_eq!((rows.len(), known.len()), (18, 18), "a row is missing, or there twice");
    for row in rows {
        let (state, fate) = happen(row[0], row[1]);
        assert_eq!((&*state.to_string(), fate), (row[2], row[3]), "{} and {}", row[0], row[1]);
    }
}

#[test]
fn only_a_tier_that_does_not_answer_fails() {
    let failures = [ErrorKind::Unavailable, ErrorKind::Timeout];
    let answers = [
        ErrorKind::Storage,
        ErrorKind::Full,
        ErrorKind::TooLarge,
        ErrorKind::Busy,
        ErrorKind::Contended,
        ErrorKind::Config,
        ErrorKind::NotANumber,
        ErrorKind::Overflow,
        ErrorKind::Unsupported,
        ErrorKind::Closed,
        ErrorKind::Corrupt,
    ];
    for (kinds, expected) in [(&failures[..], Breaker::Open), (&answers[..], Breaker::Closed)] {
        for kind in kinds {
            let stage = Stage::new(limits());
            for _ in 0..20 {
                assert!(stage.call(Act::Fails(*kind)).is_err());
            }
            assert_eq!(stage.breaker(), expected, "{kind:?}");
        }
    }
    // Refusals are answers too.
    let stage = Stage::new(limits());
    let old = stage.world.record("old");
    stage.world.put(&stage.tier, "k", "new");
    for _ in 0..20 {
        let wrote = block_on(stage.tier.write_one(&Write::put(stage.world.path("k"), &old))).unwrap();
        assert!(matches!(wrote, Wrote::Older(_)));
    }
    assert_eq!(stage.breaker(), Breaker::Closed);
}

#[test]
fn a_call_ends_by_its_deadline_and_one_that_waits_its_turn_too() {
    let stage = Stage::new(limits().in_flight_max(1).waiting_max(1));
    let mut first = stage.hang();
    let mut second = stage.begin();
    assert_eq!((stage.state().in_flight, stage.state().waiting), (1, 1));
    let third = block_on(stage.begin()).unwrap_err();
    assert_eq!(third.kind(), ErrorKind::Busy, "at once");
    stage.world.pass(49);
    assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
    stage.world.pass(1);
    let Poll::Ready(Err(waited)) = poll(&mut second) else { panic!("its time was over") };
    assert_eq!(waited.kind(), ErrorKind::Busy, "it has not begun");
    let Poll::Ready(Err(hung)) = poll(&mut first) else { panic!("its time was over") };
    assert_eq!(hung.kind(), ErrorKind::Timeout);
    assert_eq!((stage.state().in_flight, stage.state().waiting), (0, 0));
    assert_eq!(stage.staged.calls(), 1);
    stage.call(Act::Answers).unwrap();
}

#[test]
fn whoever_waits_gets_his_turn_in_order_and_who_leaves_takes_none_with_him() {
    let stage = Stage::new(limits().in_flight_max(1).waiting_max(8));
    let first = stage.hang();
    let mut waiting: Vec<Call<'_>> = (0..4).map(|_| stage.begin()).collect();
    assert_eq!(stage.state().waiting, 4);
    drop(waiting.remove(1));
    assert_eq!(stage.state().waiting, 3);
    drop(first);
    // The turn is his who waited longest, though nobody has polled him yet: and he leaves.
    assert_eq!((stage.state().in_flight, stage.state().waiting), (1, 2));
    drop(waiting.remove(0));
    assert_eq!((stage.state().in_flight, stage.state().waiting), (1, 1));
    assert!(poll(&mut waiting[1]).is_pending(), "not yet the last one's turn");
    assert!(poll(&mut waiting[0]).is_ready());
    assert!(poll(&mut waiting[1]).is_ready());
    assert_eq!((stage.state().in_flight, stage.state().waiting), (0, 0));
}

#[test]
fn who_waits_for_a_tier_whose_breaker_opens_is_told_at_once() {
    let stage = Stage::new(limits().failures_in_a_row(1).in_flight_max(1));
    let mut first = stage.hang();
    let mut waiting: Vec<Call<'_>> = (0..3).map(|_| stage.begin()).collect();
    stage.staged.release(Act::Fails(ErrorKind::Unavailable));
    assert!(poll(&mut first).is_ready());
    for call in &mut waiting {
        let Poll::Ready(Err(error)) = poll(call) else { panic!("it need not wait any longer") };
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
    assert_eq!(stage.staged.calls(), 1);
    assert_eq!((stage.state().in_flight, stage.state().waiting), (0, 0));
}

#[test]
fn cool_downs_double_to_a_limit_with_jitter_and_begin_anew_after_a_success() {
    let stage = Stage::new(limits());
    stage.open();
    let cool_down = || {
        for ms in 0..=40 {
            if stage.call(Act::Fails(ErrorKind::Timeout)).unwrap_err().kind() == ErrorKind::Timeout {
                return ms;
            }
            stage.world.pass(1);
        }
        panic!("it stays open");
    };
    for (turn, longest) in [10, 20, 40, 40, 40].into_iter().enumerate() {
        let took = cool_down();
        assert!((longest / 2..=longest).contains(&took), "turn {turn}: {took} ms");
    }
    stage.world.pass(40);
    stage.call(Act::Answers).unwrap();
    assert_eq!(stage.breaker(), Breaker::Closed);
    stage.open();
    assert!((5..=10).contains(&cool_down()));
}

#[test]
fn a_store_that_blocks_its_caller_keeps_its_answer_and_counts_as_failing() {
    #[derive(Debug)]
    struct Slow(MemoryStore, nanotier_tier::Hands);
    impl Store for Slow {
        fn name(&self) -> &'static str {
            "slow"
        }
        fn capabilities(&self) -> Capabilities {
            self.0.capabilities()
        }
        fn attach(&self, context: &Context) {
            Store::attach(&self.0, context);
        }
        fn read(&self, paths: &[Path<'_>], intent: Intent) -> Result<Vec<Result<Found>>> {
            self.1.advance(Duration::from_millis(51));
            self.0.read(paths, intent)
        }
        fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
            self.0.write(writes)
        }
        fn clear(&self, cleared: &Cleared<'_>) -> Result<Wrote> {
            self.0.clear(cleared)
        }
    }
    let world = World::new();
    let tier = world.attached(Slow(MemoryStore::new(), world.hands.clone()).inline().guarded(limits()));
    world.put(&tier, "k", "value");
    for _ in 0..3 {
        assert_eq!(world.value(&tier, "k").as_deref(), Some("value"));
    }
    assert_eq!(tier.state().breaker, Breaker::Open);
}

#[test]
fn an_offloaded_job_goes_on_without_the_caller_whose_deadline_passed() {
    #[derive(Debug)]
    struct Held(MemoryStore, Mutex<()>);
    impl Store for Held {
        fn name(&self) -> &'static str {
            "held"
        }
        fn capabilities(&self) -> Capabilities {
            self.0.capabilities()
        }
        fn read(&self, paths: &[Path<'_>], intent: Intent) -> Result<Vec<Result<Found>>> {
            self.0.read(paths, intent)
        }
        fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
            let _held = self.1.lock();
            self.0.write(writes)
        }
        fn clear(&self, cleared: &Cleared<'_>) -> Result<Wrote> {
            self.0.clear(cleared)
        }
    }
    let world = World::new();
    let store = Arc::new(Held(MemoryStore::new(), Mutex::new(())));
    Store::attach(&store.0, &world.context);
    let tier = world.attached(Offload::new(store.clone(), 1, 16).unwrap().guarded(limits()));
    let record = world.record("late");
    let removed = world.draw();
    {
        let _held = store.1.lock();
        let write = Write::put(world.path("k"), &record);
        let mut call = pin!(tier.write_one(&write));
        let mut context = TaskContext::from_waker(Waker::noop());
        assert!(call.as_mut().poll(&mut context).is_pending());
        world.pass(50);
        let Poll::Ready(Err(error)) = call.as_mut().poll(&mut context) else { panic!("its time was over") };
        assert_eq!(error.kind(), ErrorKind::Timeout);
    }
    // The lane is in order: what comes now comes after it. And being newer, it wins.
    let write = Write::remove(world.path("k"), removed, world.now());
    assert_eq!(block_on(tier.write_one(&write)).unwrap(), Wrote::Done);
    assert!(matches!(
        block_on(tier.read_one(&world.path("k"), Intent::Look)).unwrap().entry,
        Entry::Removed(_)
    ));
}

#[test]
fn a_near_tier_whose_breaker_was_open_during_a_write_is_not_believed() {
    for removes in [true, false] {
        let world = World::new();
        let near = Faulty::new(Scope::Process);
        let far = Faulty::new(Scope::Process);
        let guarded = near.tier().guarded(limits());
        let health = guarded.health();
        let chain = world.attached(guarded.over(far.tier()));
        world.put(&chain, "k", "old");
        world.put(&chain, "bystander", "value");
        world.pass(1);
        near.fail(true);
        for _ in 0..3 {
            world.read(&chain, "k").unwrap();
        }
        assert_eq!(health.state().breaker, Breaker::Open);
        // The tier itself is well again, but its guard does not know yet: the write does not reach it.
        near.fail(false);
        if removes {
            world.remove(&chain, "k");
        } else {
            world.put(&chain, "k", "new");
        }
        assert_eq!(world.value(&near.tier(), "k").as_deref(), Some("old"), "it missed the write");
        world.pass(10);
        far.fail(true);
        assert!(world.read(&chain, "k").is_err(), "dead: not even better than nothing");
        assert_eq!(health.state().breaker, Breaker::Closed, "it was asked again");
        let bystander = world.look(&chain, "bystander");
        assert_eq!(bystander, Some(("value".to_string(), false)), "in doubt: served for want of better");
        far.fail(false);
        assert_eq!(world.value(&chain, "k").as_deref(), if removes { None } else { Some("new") });
    }
}

#[test]
fn a_doubt_reaches_a_tier_whose_breaker_is_open() {
    #[derive(Debug)]
    struct Doubted(Faulty, Mutex<bool>);
    impl Store for Doubted {
        fn name(&self) -> &'static str {
            "doubted"
        }
        fn capabilities(&self) -> Capabilities {
            self.0.capabilities()
        }
        fn doubt(&self, _: nanotier_tier::Timestamp) {
            *self.1.lock() = true;
        }
        fn read(&self, paths: &[Path<'_>], intent: Intent) -> Result<Vec<Result<Found>>> {
            Store::read(&self.0, paths, intent)
        }
        fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
            Store::write(&self.0, writes)
        }
        fn clear(&self, cleared: &Cleared<'_>) -> Result<Wrote> {
            Store::clear(&self.0, cleared)
        }
    }
    let world = World::new();
    let near = Arc::new(Doubted(Faulty::new(Scope::Process), Mutex::new(false)));
    near.0.fail(true);
    let far = Faulty::new(Scope::Process);
    let chain = world.attached(Inline(near.clone()).guarded(limits().failures_in_a_row(1)).over(far.tier()));
    world.read(&chain, "k").unwrap();
    world.put(&chain, "k", "value");
    assert!(*near.1.lock(), "a durable near tier must know, for its next process");
}

#[test]
fn a_dead_far_tier_costs_a_chain_one_deadline_and_then_nothing() {
    let (world, staged) = (World::new(), Staged::new());
    let near = Faulty::new(Scope::Process);
    let guarded = staged.clone().guarded(limits());
    let health = guarded.health();
    let chain = world.attached(near.tier().over(guarded));
    world.put(&chain, "there", "value");
    staged.acts(Act::Hangs);
    let path = world.path("absent");
    for _ in 0..3 {
        let mut call = Box::pin(chain.read_one(&path, Intent::Look));
        assert!(poll(&mut call).is_pending());
        assert_eq!(world.value(&chain, "there").as_deref(), Some("value"), "hits do not notice");
        world.pass(50);
        let Poll::Ready(Err(error)) = poll(&mut call) else { panic!("its time was over") };
        assert_eq!(error.kind(), ErrorKind::Timeout);
    }
    assert_eq!(health.state().breaker, Breaker::Open);
    staged.calls();
    for _ in 0..100 {
        assert_eq!(world.read(&chain, "absent").unwrap_err().kind(), ErrorKind::Unavailable);
    }
    assert_eq!(staged.calls(), 0);
    staged.acts(Act::Answers);
    world.pass(10);
    assert!(world.read(&chain, "absent").is_ok(), "back within one cool-down");
}

#[test]
fn the_observer_is_told_of_every_change_once() {
    #[derive(Default)]
    struct Log(Mutex<Vec<Event>>);
    impl Observer for Log {
        fn event(&self, event: &Event) {
            self.0.lock().push(event.clone());
        }
    }
    let mut world = World::new();
    let log = Arc::new(Log::default());
    world.context = world.context.clone().with_observer(log.clone());
    let staged = Staged::new();
    let tier = world.attached(staged.clone().guarded(limits()));
    let stage = Stage { world, staged, tier };
    stage.open();
    stage.world.pass(10);
    stage.fail(1);
    stage.world.pass(20);
    stage.call(Act::Answers).unwrap();
    stage.call(Act::Answers).unwrap();
    let (tier, at) = ("staged", TierIndex(0));
    let expected = [
        Event::BreakerOpened { tier, at },
        Event::BreakerHalfOpen { tier, at },
        Event::BreakerOpened { tier, at },
        Event::BreakerHalfOpen { tier, at },
        Event::BreakerClosed { tier, at },
    ];
    assert_eq!(*log.0.lock(), expected);
}

#[test]
fn limits_that_cannot_work_and_guarded_chains_are_refused_by_build() {
    let ms = Duration::from_millis;
    let wrong = [
        Limits::new().deadline(Duration::ZERO),
        Limits::new().sweep_deadline(Duration::ZERO),
        Limits::new().in_flight_max(0),
        Limits::new().failure_share(0, 10),
        Limits::new().failure_share(101, 10),
        Limits::new().failure_share(50, 65),
        Limits::new().cool_down(Duration::ZERO, ms(1)),
        Limits::new().cool_down(ms(2), ms(1)),
    ];
    let tier = || Inline(MemoryStore::new());
    for limits in wrong {
        let error = tier().guarded(limits.clone()).verify().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{limits:?}");
        let inside = tier().over(tier().guarded(limits.clone()));
        assert_eq!(inside.verify().unwrap_err().kind(), ErrorKind::Config, "{limits:?}");
        // And used all the same it does not panic.
        let (world, tier) = (World::new(), tier().guarded(limits.waiting_max(0)));
        let _ = world.read(&world.attached(tier), "k");
    }
    for fine in [Limits::new(), Limits::new().without_breaker(), Limits::new().waiting_max(0)] {
        assert!(tier().guarded(fine).verify().is_ok());
    }
    let chain = tier().over(tier()).guarded(Limits::new());
    assert_eq!(chain.verify().unwrap_err().kind(), ErrorKind::Config);
}

#[test]
fn without_a_breaker_every_call_is_tried() {
    let stage = Stage::new(Limits::new().without_breaker());
    stage.fail(200);
    assert_eq!(stage.staged.calls(), 200);
}

#[test]
fn a_record_passes_a_guard_unchanged() {
    let stage = Stage::new(limits());
    let record: Record = stage.world.record("value");
    stage.world.write(&stage.tier, &Write::put(stage.world.path("k"), &record));
    assert_eq!(stage.call(Act::Answers).unwrap().entry, Entry::Present(record));
}
