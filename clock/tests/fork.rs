//! Clocks in a forked child. Without the test harness, whose threads a child would miss.

#[cfg(target_os = "linux")]
fn main() {
    use fork::{Fork, fork, waitpid};

    // What runs tests one by one asks first which there are.
    if std::env::args().any(|argument| argument == "--list") {
        if !std::env::args().any(|argument| argument == "--ignored") {
            println!("clocks_tell_the_time_in_a_forked_child: test");
        }
        return;
    }
    // The sanitizer ends a child that starts a thread, for it cannot follow it there.
    if cfg!(nanotier_tsan) {
        return;
    }

    let clock = nanotier_clock::Clock::ticking();
    assert!(in_child::ticks(&clock), "it does not tick in the parent");
    for child in [in_child::caught_up, in_child::told, in_child::with_a_clock_of_its_own, in_child::coarse] {
        match fork().unwrap() {
            Fork::Child => {
                child(&clock);
                std::process::exit(0);
            }
            Fork::Parent(child) => assert_eq!(waitpid(child).unwrap(), 0, "the child failed: see above"),
        }
    }
    assert!(in_child::ticks(&clock), "it does not tick in the parent any more");
    println!("COUNT forked-children 4");
}

#[cfg(target_os = "linux")]
mod in_child {
    use nanotier_clock::Clock;
    use std::thread;
    use std::time::Duration;

    /// Whether it moves by itself.
    pub(super) fn ticks(clock: &Clock) -> bool {
        let before = clock.now();
        (0..1000).any(|_| {
            thread::sleep(Duration::from_millis(5));
            clock.now() > before
        })
    }

    fn stands_still(clock: &Clock) {
        let before = clock.now();
        thread::sleep(Duration::from_millis(150));
        assert_eq!(clock.now(), before, "a thread that nobody has started ticks");
    }

    pub(super) fn caught_up(clock: &Clock) {
        let forked = clock.now();
        stands_still(clock);
        clock.catch_up();
        assert!(clock.now().since(forked) >= Duration::from_millis(150), "a slow path does not put it right");
        assert!(ticks(clock), "nor start its thread");
    }

    pub(super) fn told(clock: &Clock) {
        clock.after_fork();
        assert!(ticks(clock));
    }

    pub(super) fn with_a_clock_of_its_own(clock: &Clock) {
        stands_still(clock);
        let own = Clock::ticking();
        assert!(ticks(&own));
        assert!(ticks(clock));
    }

    pub(super) fn coarse(_: &Clock) {
        assert!(ticks(&Clock::coarse()));
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {}
