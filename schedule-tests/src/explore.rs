//! Runs a scenario under many schedules, with all rules on or with one switched off.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Once;

use nanotier_tier::rules::{Rule, without};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Schedule, Scheduler, Task, TaskId};
use shuttle::{Config, FailurePersistence, Runner};

/// How many schedules a scenario is run under, unless `NANOTIER_SCHEDULES_ITERATIONS` says otherwise.
const SCHEDULES: usize = 30_000;
/// Within how many schedules a promise must be seen broken when its rule is off. Every scenario needs far fewer.
const SEARCHED_MAX: usize = 20_000;
/// How many preemptions the second scheduler plans for: every race here needs at most three.
const PREEMPTIONS: usize = 3;
/// Bytes. Futures of a whole chain are polled on one stack.
const STACK: usize = 256 * 1024;

std::thread_local! {
    // All tasks of a schedule run on one thread, and so does the search.
    static SEARCHING: Cell<bool> = const { Cell::new(false) };
    static BROKEN: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Ends the schedule, and the test, if a promise is broken; while searching it only takes note.
#[track_caller]
pub fn promise(kept: bool, what: impl FnOnce() -> String) {
    if kept {
        return;
    }
    if SEARCHING.get() {
        // The first one counts: what follows may be its consequence.
        let broken = BROKEN.take().unwrap_or_else(what);
        BROKEN.set(Some(broken));
    } else {
        panic!("a promise is broken: {}", what());
    }
}

/// Runs `scenario` under many schedules, half of them random, half with few preemptions at well chosen places. Panics with the
/// first schedule that breaks a promise, printed in the form that `shuttle::replay` takes.
pub fn holds<F: Future<Output = ()> + 'static>(scenario: fn() -> F) {
    let schedules = std::env::var("NANOTIER_SCHEDULES_ITERATIONS").ok();
    let schedules = schedules.and_then(|number| number.parse().ok()).unwrap_or(SCHEDULES).max(2);
    let random = RandomScheduler::new(schedules / 2);
    let few_preemptions = PctScheduler::new(PREEMPTIONS, schedules - schedules / 2);
    let run = run(random, FailurePersistence::Print, scenario)
        + run(few_preemptions, FailurePersistence::Print, scenario);
    println!("\nCOUNT schedules {run}");
}

/// Runs `scenario` with `rule` switched off until a promise is broken or the tasks wait for each other for ever.
///
/// # Panics
///
/// If neither happens: then the scenario does not test the rule.
pub fn is_caught_without<F: Future<Output = ()> + 'static>(rule: Rule, scenario: fn() -> F) {
    quiet_while_searching();
    SEARCHING.set(true);
    let begun = Rc::new(Cell::new(0));
    let schedules = UntilBroken {
        random: ManuallyDrop::new(RandomScheduler::new(SEARCHED_MAX / 2)),
        few_preemptions: PctScheduler::new(PREEMPTIONS, SEARCHED_MAX / 2),
        begun: begun.clone(),
    };
    let search = || run(schedules, FailurePersistence::None, scenario);
    let outcome = without(rule, || catch_unwind(AssertUnwindSafe(search)));
    SEARCHING.set(false);
    let broken = BROKEN.take().or_else(|| outcome.err().map(deadlock));
    match broken {
        Some(broken) => println!("\nwithout {rule:?}, schedule {}: {broken}", begun.get()),
        None => panic!("{SEARCHED_MAX} schedules without {rule:?} broke no promise"),
    }
    println!("COUNT schedules {}", begun.get());
}

/// The panic of a schedule whose tasks wait for each other; any other panic goes on, loudly.
fn deadlock(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text =
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default();
    if text.starts_with("deadlock") {
        return "a task waited for ever".to_owned();
    }
    println!("a panic that is no broken promise: {text}");
    resume_unwind(panic)
}

fn run<F: Future<Output = ()> + 'static>(
    scheduler: impl Scheduler + 'static,
    persistence: FailurePersistence,
    scenario: fn() -> F,
) -> usize {
    let mut config = Config::new();
    config.stack_size = STACK;
    config.silence_warnings = true;
    config.failure_persistence = persistence;
    Runner::new(scheduler, config).run(move || shuttle::future::block_on(scenario()))
}

/// Stops before the next schedule once a promise was broken.
#[derive(Debug)]
struct UntilBroken {
    /// Never dropped: cut short, it would report its last seed as a failure.
    random: ManuallyDrop<RandomScheduler>,
    few_preemptions: PctScheduler,
    /// Tells how many schedules it took.
    begun: Rc<Cell<usize>>,
}

impl UntilBroken {
    /// The two take turns.
    fn current(&mut self) -> &mut dyn Scheduler {
        if self.begun.get() % 2 == 0 { &mut *self.random } else { &mut self.few_preemptions }
    }
}

impl Scheduler for UntilBroken {
    fn new_execution(&mut self) -> Option<Schedule> {
        if BROKEN.with_borrow(Option::is_some) {
            return None;
        }
        self.begun.set(self.begun.get() + 1);
        self.current().new_execution()
    }

    fn next_task(&mut self, runnable: &[&Task], current: Option<TaskId>, yields: bool) -> Option<TaskId> {
        self.current().next_task(runnable, current, yields)
    }

    fn next_u64(&mut self) -> u64 {
        self.current().next_u64()
    }
}

/// Keeps expected panics from the terminal. The explorer's own hook stays for all others: it prints the failing schedule.
fn quiet_while_searching() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // The explorer installs its hook at its first run.
        run(RandomScheduler::new(1), FailurePersistence::Print, || async {});
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !SEARCHING.get() {
                loud(info);
            }
        }));
    });
}
