//! Waiting for a moment without a runtime.
//!
//! All clocks of the operating system's time share one thread, which the first sleeper starts and which ends when
//! nobody has slept for a while. Sleepers on a manual clock are woken by its hands, and need no thread.
//!
//! A sleeper that goes away before its time, as nearly every deadline does, takes its place in the list with it and
//! wakes nobody: the thread is told of a new sleeper only if it would look too late otherwise.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::manual::Face;
use crate::{Moment, os};

/// How long the thread stays when nobody sleeps, and how long it looks away at most: its own wait does not count the
/// time that the machine is suspended.
const LOOK_MS: u64 = 1000;
/// Names no process: there is no thread.
const NOBODY: u32 = 0;

/// Who is to be woken when. Ordered by moment, then by who came first.
#[derive(Debug)]
pub(crate) struct Sleepers {
    wakers: BTreeMap<(u64, u64), Waker>,
    count_ever: u64,
}

impl Sleepers {
    pub(crate) const fn new() -> Self {
        Self { wakers: BTreeMap::new(), count_ever: 0 }
    }

    fn add(&mut self, at_ms: u64, waker: Waker) -> (u64, u64) {
        self.count_ever += 1;
        let place = (at_ms, self.count_ever);
        self.wakers.insert(place, waker);
        place
    }

    /// Takes out all whose moment has come.
    pub(crate) fn take_due(&mut self, now_ms: u64) -> Vec<Waker> {
        if self.wakers.first_key_value().is_none_or(|((at, _), _)| *at > now_ms) {
            return Vec::new();
        }
        let later = match now_ms.checked_add(1) {
            Some(next) => self.wakers.split_off(&(next, 0)),
            None => BTreeMap::new(),
        };
        std::mem::replace(&mut self.wakers, later).into_values().collect()
    }

    pub(crate) fn first_ms(&self) -> Option<u64> {
        self.wakers.first_key_value().map(|((at, _), _)| *at)
    }
}

/// The process's own.
static TIMER: Timer = Timer {
    state: Mutex::new(State { sleepers: Sleepers::new(), looks_at_ms: 0, idle_since_ms: 0, process: NOBODY }),
    changed: Condvar::new(),
};

#[derive(Debug)]
struct Timer {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    sleepers: Sleepers,
    /// When the thread will look next.
    looks_at_ms: u64,
    /// Since when nobody sleeps, as the thread has seen it; 0 if somebody does.
    idle_since_ms: u64,
    /// The process whose thread it is, or [`NOBODY`]. A forked child finds its parent here.
    process: u32,
}

impl Timer {
    fn add(&'static self, state: &mut State, at_ms: u64, waker: Waker) -> (u64, u64) {
        let place = state.sleepers.add(at_ms, waker);
        let here = std::process::id();
        if state.process != here {
            let started = std::thread::Builder::new().name("nanotier-timer".into()).spawn(|| self.serve());
            // Without a thread the next sleeper tries again.
            state.process = if started.is_ok() { here } else { NOBODY };
            state.looks_at_ms = 0;
        } else if at_ms < state.looks_at_ms {
            self.changed.notify_one();
        }
        place
    }

    fn serve(&self) {
        let mut state = self.state.lock();
        loop {
            let now_ms = os::steady_ms();
            let due = state.sleepers.take_due(now_ms);
            if !due.is_empty() {
                // A waker is its owner's code: it may take its time, come back here, or panic.
                MutexGuard::unlocked(&mut state, || {
                    due.into_iter().for_each(|waker| drop(catch_unwind(AssertUnwindSafe(|| waker.wake()))));
                });
                continue;
            }
            let next_ms = match state.sleepers.first_ms() {
                Some(first_ms) => {
                    state.idle_since_ms = 0;
                    first_ms.min(now_ms.saturating_add(LOOK_MS))
                }
                None if state.idle_since_ms == 0 => {
                    state.idle_since_ms = now_ms;
                    now_ms.saturating_add(LOOK_MS)
                }
                None if now_ms >= state.idle_since_ms.saturating_add(LOOK_MS) => {
                    state.idle_since_ms = 0;
                    state.process = NOBODY;
                    return;
                }
                None => state.idle_since_ms.saturating_add(LOOK_MS),
            };
            state.looks_at_ms = next_ms;
            self.changed.wait_for(&mut state, Duration::from_millis(next_ms - now_ms));
        }
    }
}

/// Whose list a sleeper is in.
#[derive(Debug)]
enum List {
    /// Of the operating system's time.
    Process,
    /// Of a manual clock.
    Manual(Arc<Face>),
}

/// Waits until a moment of a clock: made by [`Clock::sleep_until`](crate::Clock::sleep_until).
///
/// Ready at its first poll if the moment has come. It costs nothing before it is polled, and two short locks if it is
/// dropped before its time.
#[derive(Debug)]
#[must_use = "it waits only where it is polled"]
pub struct Sleep {
    list: List,
    until_ms: u64,
    /// Its place in the list, once it waits.
    place: Option<(u64, u64)>,
    done: bool,
}

impl Sleep {
    pub(crate) fn of_process(until: Moment) -> Self {
        Self { list: List::Process, until_ms: until.as_millis(), place: None, done: false }
    }

    pub(crate) fn by_hand(face: Arc<Face>, until: Moment) -> Self {
        Self { list: List::Manual(face), until_ms: until.as_millis(), place: None, done: false }
    }

    /// The moment it waits for.
    #[must_use]
    pub fn until(&self) -> Moment {
        Moment::from_millis(self.until_ms)
    }
}

/// True if the sleeper's time has come; else its waker is in the list, and the one that was there is left to be dropped outside of
/// the list's lock: a waker is its owner's code, and may own another sleeper.
fn wait(
    sleepers: &mut Sleepers,
    place: &mut Option<(u64, u64)>,
    waker: &Waker,
    replaced: &mut Option<Waker>,
    add: impl FnOnce(&mut Sleepers) -> Option<(u64, u64)>,
) -> bool {
    match *place {
        Some(at) => match sleepers.wakers.get_mut(&at) {
            Some(known) => {
                if !known.will_wake(waker) {
                    *replaced = Some(std::mem::replace(known, waker.clone()));
                }
                false
            }
            // Whoever watches the list took it out: the moment has come.
            None => true,
        },
        None => {
            *place = add(sleepers);
            place.is_none()
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.done {
            return Poll::Ready(());
        }
        if this.until_ms == u64::MAX {
            return Poll::Pending;
        }
        let (until_ms, waker) = (this.until_ms, context.waker());
        let mut replaced = None;
        this.done = match &this.list {
            List::Process => {
                let mut state = TIMER.state.lock();
                match this.place {
                    Some(_) => wait(&mut state.sleepers, &mut this.place, waker, &mut replaced, |_| None),
                    None if os::steady_ms() >= until_ms => true,
                    None => {
                        this.place = Some(TIMER.add(&mut state, until_ms, waker.clone()));
                        false
                    }
                }
            }
            List::Manual(face) => {
                let mut sleepers = face.sleepers.lock();
                // Under the lock: who moves the hands looks into the list afterwards.
                let has_come = face.steady_ms() >= until_ms;
                let add = |list: &mut Sleepers| (!has_come).then(|| list.add(until_ms, waker.clone()));
                wait(&mut sleepers, &mut this.place, waker, &mut replaced, add)
            }
        };
        drop(replaced);
        if this.done { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let (Some(place), false) = (self.place, self.done) else { return };
        // Dropped outside of the lock: a waker is its owner's code.
        let _waker = match &self.list {
            List::Process => TIMER.state.lock().sleepers.wakers.remove(&place),
            List::Manual(face) => face.sleepers.lock().wakers.remove(&place),
        };
    }
}

#[cfg(all(test, not(nanotier_loom)))]
mod tests {
    use super::*;
    use crate::Clock;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::task::Wake;
    use std::time::Instant;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    fn poll(sleep: &mut Sleep, count: &Arc<Count>) -> bool {
        let waker = Waker::from(count.clone());
        Pin::new(sleep).poll(&mut Context::from_waker(&waker)).is_ready()
    }

    /// A waker that owns another sleeper.
    struct Owner(#[expect(dead_code, reason = "it is only dropped")] Sleep);

    impl Wake for Owner {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn a_waker_may_own_another_sleeper_of_the_same_clock() {
        let (manual, _hands) = Clock::manual();
        for clock in [manual, Clock::coarse()] {
            let (done, told) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                let hour = Duration::from_secs(3600);
                let (mut first, mut second) = (clock.sleep(hour), clock.sleep(hour));
                let count = Arc::new(Count::default());
                assert!(!poll(&mut second, &count));
                let waker = Waker::from(Arc::new(Owner(second)));
                assert!(Pin::new(&mut first).poll(&mut Context::from_waker(&waker)).is_pending());
                drop(waker);
                assert!(!poll(&mut first, &count), "the waker is replaced, and drops the other sleeper");
                done.send(()).unwrap();
            });
            told.recv_timeout(Duration::from_secs(10)).expect("a waker was dropped under the list's lock");
        }
    }

    #[test]
    fn hands_wake_who_sleeps_until_then_and_nobody_else() {
        let (clock, hands) = Clock::manual();
        let ms = Duration::from_millis;
        let count = Arc::new(Count::default());
        let mut sleeps = [5, 10, 10, 20].map(|after| clock.sleep(ms(after)));
        assert!(sleeps.iter_mut().all(|sleep| !poll(sleep, &count)));
        let woken = |expected: usize| assert_eq!(count.0.swap(0, SeqCst), expected);
        hands.advance(ms(4));
        woken(0);
        hands.advance(ms(1));
        woken(1);
        hands.set_wall(clock.wall().plus(ms(1000)));
        woken(0);
        hands.advance(ms(10));
        woken(2);
        let ready = sleeps.each_mut().map(|sleep| poll(sleep, &count));
        assert_eq!(ready, [true, true, true, false]);
        assert!(ready == sleeps.each_mut().map(|sleep| poll(sleep, &count)), "and stay so");
        drop(sleeps);
        hands.advance(ms(100));
        woken(0);
    }

    #[test]
    fn a_moment_that_has_come_is_ready_at_once_and_never_never_comes() {
        let (clock, hands) = Clock::manual();
        let count = Arc::new(Count::default());
        for clock in [clock, Clock::ticking(), Clock::coarse()] {
            assert!(poll(&mut clock.sleep_until(Moment::ZERO), &count));
            let mut never = clock.sleep_until(Moment::NEVER);
            hands.advance(Duration::from_secs(1));
            assert!(!poll(&mut never, &count));
        }
    }

    /// Polls until ready, parked in between.
    fn block_on(mut sleep: Sleep) {
        struct Unpark(std::thread::Thread);
        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        while Pin::new(&mut sleep).poll(&mut Context::from_waker(&waker)).is_pending() {
            std::thread::park();
        }
    }

    #[test]
    fn a_sleeper_of_real_time_is_woken_not_early_and_the_earlier_one_first() {
        for clock in [Clock::ticking(), Clock::coarse()] {
            // A later one first: the thread must be told of the earlier.
            let count = Arc::new(Count::default());
            let mut late = clock.sleep(Duration::from_secs(600));
            assert!(!poll(&mut late, &count));
            let begun = Instant::now();
            block_on(clock.sleep(Duration::from_millis(30)));
            let took = begun.elapsed();
            // The coarse clock shows up to a tick less than it is.
            assert!(took >= Duration::from_millis(15), "{took:?}");
            assert!(took < Duration::from_secs(60), "{took:?}");
            assert_eq!(count.0.load(SeqCst), 0);
        }
    }

    #[test]
    fn who_no_longer_waits_leaves_nothing_behind() {
        let clock = Clock::ticking();
        let count = Arc::new(Count::default());
        for _ in 0..1000 {
            assert!(!poll(&mut clock.sleep(Duration::from_secs(600)), &count));
        }
        assert_eq!(Arc::strong_count(&count), 1, "a waker stayed");
    }
}
