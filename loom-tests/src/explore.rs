//! Runs a scenario in every order.

use std::cell::Cell;
use std::panic;
use std::sync::Once;
use std::time::Instant;

use nanotier_engine::models;

/// How much of what is possible is looked at, unless `NANOTIER_LOOM_PREEMPTIONS` says otherwise: a number, or `all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// All of it.
    None,
    /// All orders in which so many times at most a thread is interrupted that could have gone on.
    Preemptions(u8),
}

impl Bound {
    fn named(name: &str) -> Self {
        match name {
            "all" => Self::None,
            number => {
                Self::Preemptions(number.parse().expect("NANOTIER_LOOM_PREEMPTIONS: a number, or `all`"))
            }
        }
    }
}

/// Steps of one execution. Scenarios have a few hundred.
const STEPS_MAX: usize = 10_000;

/// Runs `scenario` in every order within `bound`. Panics where one breaks a promise.
pub fn explore(bound: Bound, scenario: impl Fn() + Send + Sync + 'static) {
    let wish = std::env::var("NANOTIER_LOOM_PREEMPTIONS").ok();
    let bound = wish.as_deref().map_or(bound, Bound::named);
    let mut builder = loom::model::Builder::new();
    builder.max_branches = STEPS_MAX;
    builder.preemption_bound = match bound {
        Bound::None => None,
        Bound::Preemptions(most) => Some(most.into()),
    };
    tell_where_it_breaks();
    let began = Instant::now();
    EXECUTIONS.set(0);
    builder.check(move || {
        EXECUTIONS.set(EXECUTIONS.get() + 1);
        models::begin();
        scenario();
    });
    let executions = EXECUTIONS.replace(0);
    let all = match bound {
        Bound::None => "every order".to_owned(),
        Bound::Preemptions(most) => format!("every order with up to {most} preemptions"),
    };
    // A test's thread is named after it.
    let test = std::thread::current();
    println!("\n{}: {all}, in {:.1} s", test.name().unwrap_or_default(), began.elapsed().as_secs_f64());
    println!("COUNT interleavings {executions}");
}

thread_local! {
    /// Of this test, whose threads all take turns on this one. Not modelled.
    static EXECUTIONS: Cell<usize> = const { Cell::new(0) };
}

/// In the message of the panic: what was broken may panic again when it is dropped, which aborts the test.
fn tell_where_it_breaks() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if EXECUTIONS.get() > 0 {
                println!("\nbroken in interleaving {}", EXECUTIONS.get());
            }
            others(info);
        }));
    });
}
