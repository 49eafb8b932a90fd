//! What `Mirror` and `Slot` promise: whole values, in order, dropped once, held up by nobody; one load per key.

use crossbeam_utils::thread::scope;
use nanotier_engine::{Equivalent, LoadError, Mirror, Slot};
use parking_lot::Mutex;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

/// A value in several pieces that say the same, and that counts how many of its test's are alive.
#[derive(Debug)]
struct Canary {
    stamp: u64,
    pieces: Box<[u64; 8]>,
    alive: Arc<AtomicI64>,
}

impl Canary {
    fn new(stamp: u64, alive: &Arc<AtomicI64>) -> Self {
        alive.fetch_add(1, Ordering::Relaxed);
        Self { stamp, pieces: Box::new([mix(stamp); 8]), alive: Arc::clone(alive) }
    }

    fn sound(&self) -> u64 {
        assert!(self.pieces.iter().all(|&piece| piece == mix(self.stamp)), "a torn or freed value");
        self.stamp
    }
}

impl Clone for Canary {
    fn clone(&self) -> Self {
        Self::new(self.sound(), &self.alive)
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.sound();
        self.pieces.fill(!0);
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

fn mix(stamp: u64) -> u64 {
    (stamp ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(17)
}

fn alive() -> Arc<AtomicI64> {
    Arc::new(AtomicI64::new(0))
}

/// Spins, so that the sanitizer sees nothing but atomics. Bounded: what never comes is a failure, not a hang.
fn until(what: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    // Closely at first: two that wait for the same are to go on at the same moment.
    while !(0..200).any(|_| {
        std::hint::spin_loop();
        what()
    }) {
        assert!(Instant::now() < deadline, "it has not come about for half a minute");
        thread::yield_now();
    }
}

/// Where two threads meet, turn after turn.
#[derive(Default)]
struct Meeting(AtomicU64);

impl Meeting {
    fn meet(&self, turn: u64) {
        self.0.fetch_add(1, Ordering::AcqRel);
        until(|| self.0.load(Ordering::Acquire) >= 2 * (turn + 1));
    }
}

fn until_set(flag: &AtomicBool) {
    until(|| flag.load(Ordering::Acquire));
}

fn panics<R>(f: impl FnOnce() -> R) -> bool {
    catch_unwind(AssertUnwindSafe(f)).is_err()
}

/// Both may leave a value to a later flush where another strategy than hazard pointers reclaims.
fn settle(flush: impl Fn() -> usize) {
    until(|| flush() == 0);
}

/// What would wait for ever is a failure, not a hang.
fn in_time(f: impl FnOnce() + Send + 'static) {
    let running = thread::spawn(f);
    until(|| running.is_finished());
    running.join().unwrap();
}

/// Panics when dropped, if told to.
struct Grumbler {
    grumbles: bool,
    dropped: Arc<AtomicUsize>,
}

impl Drop for Grumbler {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        assert!(!self.grumbles, "this drop panics");
    }
}

mod mirror {
    use super::*;

    #[test]
    fn no_update_is_lost_and_what_was_made_in_vain_is_dropped() {
        const EACH: u64 = 2000;
        let alive = alive();
        let mirror = Mirror::new(Canary::new(0, &alive));
        scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|_| {
                    for _ in 0..EACH {
                        mirror.update(|old| Canary::new(old.sound() + 1, &alive));
                    }
                });
            }
        })
        .unwrap();
        assert_eq!((mirror.read(Canary::sound), mirror.version()), (3 * EACH, 3 * EACH));
        settle(|| mirror.flush());
        assert_eq!(alive.load(Ordering::SeqCst), 1, "all but the latest are dropped");
    }

    #[test]
    fn versions_are_whole_and_never_go_back() {
        const EACH: u64 = 2000;
        let alive = alive();
        let mirror = Mirror::new(Canary::new(0, &alive));
        // The highest version that anyone has seen, and who published what as which.
        let seen = AtomicU64::new(0);
        let published = Mutex::new(vec![(0, 0)]);
        let done = AtomicUsize::new(0);
        scope(|scope| {
            for publisher in 1..=2 {
                let (mirror, seen, published, done, alive) = (&mirror, &seen, &published, &done, &alive);
                scope.spawn(move |_| {
                    for turn in 0..EACH {
                        let stamp = turn << 8 | publisher;
                        let number = mirror.publish(Canary::new(stamp, alive));
                        assert!(mirror.version() >= number, "version {number} is gone again");
                        seen.fetch_max(number, Ordering::SeqCst);
                        published.lock().push((number, stamp));
                    }
                    done.fetch_add(1, Ordering::Release);
                });
            }
            for _ in 0..2 {
                let (mirror, seen, published, done) = (&mirror, &seen, &published, &done);
                scope.spawn(move |_| {
                    let mut shown = Vec::new();
                    while done.load(Ordering::Acquire) < 2 {
                        let at_least = seen.load(Ordering::SeqCst);
                        let (stamp, number) = mirror.read_versioned(|value, number| (value.sound(), number));
                        assert!(number >= at_least, "version {number} after {at_least}");
                        seen.fetch_max(number, Ordering::SeqCst);
                        shown.push((number, stamp));
                    }
                    published.lock().extend(shown);
                });
            }
        })
        .unwrap();
        let mut all = published.into_inner();
        all.sort_unstable();
        all.dedup();
        let numbers: Vec<_> = all.iter().map(|&(number, _)| number).collect();
        assert_eq!(numbers, (0..=2 * EACH).collect::<Vec<_>>(), "a number for two versions, or for none");
        mirror.read_versioned(|value, number| assert_eq!((number, value.sound()), *all.last().unwrap()));
        settle(|| mirror.flush());
        assert_eq!(alive.load(Ordering::Relaxed), 1);
        drop(mirror);
        assert_eq!(alive.load(Ordering::Relaxed), 0, "leaked or dropped twice");
    }

    #[test]
    fn of_publishers_at_once_the_higher_number_stays() {
        const EACH: u64 = 20_000;
        let mirror = Mirror::new(0);
        scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|_| {
                    for _ in 0..EACH {
                        let number = mirror.publish(0);
                        let version = mirror.version();
                        assert!(version >= number, "version {version} is in the place of {number}");
                    }
                });
            }
        })
        .unwrap();
        assert_eq!(mirror.version(), 2 * EACH);
    }

    #[test]
    fn a_stopped_reader_keeps_its_own_version_and_holds_up_nobody() {
        let alive = alive();
        let mirror = Mirror::new(Canary::new(0, &alive));
        let (reading, go_on) = (AtomicBool::new(false), AtomicBool::new(false));
        scope(|scope| {
            scope.spawn(|_| {
                mirror.read(|value| {
                    reading.store(true, Ordering::Release);
                    until_set(&go_on);
                    assert_eq!(value.sound(), 0);
                });
            });
            until_set(&reading);
            for number in 1..=100 {
                assert_eq!(mirror.publish(Canary::new(number, &alive)), number);
                assert_eq!(mirror.get().sound(), number);
                if cfg!(not(nanotier_epoch)) {
                    assert_eq!(alive.load(Ordering::Relaxed), 2, "the reader's, and the latest");
                    assert_eq!(mirror.flush(), 1);
                }
            }
            go_on.store(true, Ordering::Release);
        })
        .unwrap();
        settle(|| mirror.flush());
        assert_eq!(alive.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_read_inside_reads_sees_what_was_published_between_them() {
        fn nest(mirror: &Mirror<Canary>, alive: &Arc<AtomicI64>, depth: u64) {
            mirror.read(|value| {
                assert_eq!(value.sound(), depth);
                mirror.publish(Canary::new(depth + 1, alive));
                if depth < 20 {
                    nest(mirror, alive, depth + 1);
                }
                assert_eq!(value.sound(), depth);
            });
        }
        let alive = alive();
        let mirror = Mirror::new(Canary::new(0, &alive));
        // Deeper than a thread has hazard slots of its own.
        nest(&mirror, &alive, 0);
        settle(|| mirror.flush());
        assert_eq!(alive.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_panic_while_reading_leaves_the_version_to_be_dropped() {
        let alive = alive();
        let mirror = Mirror::new(Canary::new(0, &alive));
        assert!(panics(|| mirror.read(|_| panic!("the reader's"))));
        mirror.publish(Canary::new(1, &alive));
        settle(|| mirror.flush());
        assert_eq!(alive.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_drop_that_panics_reaches_its_publisher_and_the_mirror_works_on() {
        let dropped = Arc::new(AtomicUsize::new(0));
        let grumbler = |grumbles| Grumbler { grumbles, dropped: Arc::clone(&dropped) };
        let mirror = Mirror::new(grumbler(true));
        let published = panics(|| mirror.publish(grumbler(false)));
        // Where another strategy reclaims, the panic may come out of a later flush.
        let flushed = || cfg!(nanotier_epoch) && panics(|| settle(|| mirror.flush()));
        assert!(published || flushed());
        assert_eq!(mirror.version(), 1, "it is published all the same");
        assert_eq!(mirror.publish(grumbler(false)), 2);
        settle(|| mirror.flush());
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
        drop(mirror);
        assert_eq!(dropped.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn no_lock_is_held_while_a_value_is_dropped() {
        struct Publishing(Option<Arc<Mirror<Publishing>>>);
        impl Drop for Publishing {
            fn drop(&mut self) {
                let Some(mirror) = self.0.take() else { return };
                mirror.publish(Publishing(None));
                // By another thread too, which is waited for.
                scope(|scope| scope.spawn(|_| mirror.publish(Publishing(None))).join().unwrap()).unwrap();
            }
        }
        in_time(|| {
            let mirror = Arc::new(Mirror::new(Publishing(None)));
            mirror.publish(Publishing(Some(Arc::clone(&mirror))));
            mirror.publish(Publishing(None));
            until(|| mirror.flush() == 0 && mirror.version() == 4);
        });
    }

    #[test]
    fn a_value_that_a_reader_outlived_may_be_dropped_by_anyone_while_no_lock_is_held() {
        struct Publishing(Option<Arc<Mirror<Publishing>>>);
        impl Drop for Publishing {
            fn drop(&mut self) {
                if let Some(mirror) = self.0.take() {
                    mirror.publish(Publishing(None));
                }
            }
        }
        in_time(|| {
            let mirror = Arc::new(Mirror::new(Publishing(None)));
            mirror.publish(Publishing(Some(Arc::clone(&mirror))));
            // Retired while it is read, so that the next publish finds it free.
            mirror.read(|_| mirror.publish(Publishing(None)));
            assert_eq!(mirror.publish(Publishing(None)), 3);
            until(|| mirror.flush() == 0 && mirror.version() == 4);
        });
    }

    #[test]
    fn changed_answers_at_once_what_is_there_and_waits_for_what_is_not() {
        in_time(|| {
            let mirror = Mirror::new(0);
            mirror.publish(1);
            assert_eq!(mirror.changed(0), 1);
            let waiting = AtomicUsize::new(0);
            scope(|scope| {
                let waiters: Vec<_> = (0..3)
                    .map(|_| {
                        scope.spawn(|_| {
                            waiting.fetch_add(1, Ordering::Release);
                            let version = mirror.changed(1);
                            (version, mirror.get())
                        })
                    })
                    .collect();
                until(|| waiting.load(Ordering::Acquire) == 3);
                thread::sleep(Duration::from_millis(20));
                assert_eq!(mirror.publish(2), 2);
                for waiter in waiters {
                    assert_eq!(waiter.join().unwrap(), (2, 2));
                }
            })
            .unwrap();
        });
    }

    #[test]
    fn no_wakeup_is_lost_between_two_that_answer_each_other() {
        const TURNS: u64 = 2000;
        in_time(|| {
            let (ping, pong) = (Mirror::new(0), Mirror::new(0));
            scope(|scope| {
                scope.spawn(|_| {
                    for turn in 0..TURNS {
                        assert_eq!(ping.changed_within(turn, Duration::from_secs(60)), Some(turn + 1));
                        pong.publish(turn + 1);
                    }
                });
                for turn in 0..TURNS {
                    ping.publish(turn + 1);
                    assert_eq!(pong.changed(turn), turn + 1);
                    assert_eq!(pong.get(), turn + 1);
                }
            })
            .unwrap();
        });
    }

    #[test]
    fn a_wait_with_a_limit_ends_and_one_of_zero_only_looks() {
        let mirror = Mirror::new(0);
        assert_eq!(mirror.changed_within(0, Duration::ZERO), None);
        let before = Instant::now();
        assert_eq!(mirror.changed_within(0, Duration::from_millis(20)), None);
        assert!(before.elapsed() >= Duration::from_millis(20));
        mirror.publish(1);
        assert_eq!(mirror.changed_within(0, Duration::ZERO), Some(1));
        assert_eq!(mirror.changed_within(0, Duration::MAX), Some(1));
        scope(|scope| {
            let waiter = scope.spawn(|_| mirror.changed_within(1, Duration::MAX));
            mirror.publish(2);
            assert_eq!(waiter.join().unwrap(), Some(2));
        })
        .unwrap();
    }

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_task_is_woken_once_by_the_next_publish_and_leaves_nothing_behind() {
        let mirror = Mirror::new(0);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        for _ in 0..100 {
            assert_eq!(mirror.poll_changed(0, &mut context), Poll::Pending);
        }
        // This test's, the waker's, and one that is kept.
        assert_eq!(Arc::strong_count(&woken), 3, "a task that asks often is kept once");
        assert_eq!(mirror.publish(1), 1);
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        assert_eq!(Arc::strong_count(&woken), 2);
        assert_eq!(mirror.poll_changed(0, &mut context), Poll::Ready(1));
        mirror.publish(2);
        assert_eq!(woken.0.load(Ordering::SeqCst), 1, "who does not ask is not woken");
    }

    #[test]
    fn a_task_that_asks_while_somebody_publishes_is_ready_or_woken() {
        const TURNS: u64 = 20_000;
        let (mirror, meeting) = (Mirror::new(0), Meeting::default());
        let woken = Arc::new(Woken::default());
        scope(|scope| {
            scope.spawn(|_| {
                for turn in 0..TURNS {
                    meeting.meet(turn);
                    mirror.publish(turn);
                }
            });
            let waker = Waker::from(Arc::clone(&woken));
            for turn in 0..TURNS {
                let before = woken.0.load(Ordering::SeqCst);
                meeting.meet(turn);
                // Somewhat earlier, somewhat later.
                (0..turn % 128).for_each(|_| std::hint::spin_loop());
                if mirror.poll_changed(turn, &mut Context::from_waker(&waker)).is_pending() {
                    until(|| woken.0.load(Ordering::SeqCst) > before);
                }
            }
        })
        .unwrap();
    }

    #[test]
    fn a_waker_may_call_the_mirror_and_one_that_panics_keeps_no_other_from_being_woken() {
        struct Asking(Arc<Mirror<u32>>, AtomicUsize, bool);
        impl Wake for Asking {
            fn wake(self: Arc<Self>) {
                assert_eq!(self.0.changed(0), 1);
                self.1.fetch_add(1, Ordering::SeqCst);
                assert!(!self.2, "this waker panics");
            }
        }
        let mirror = Arc::new(Mirror::new(0));
        let all = [false, true, true, false]
            .map(|panics| Arc::new(Asking(Arc::clone(&mirror), AtomicUsize::new(0), panics)));
        for asking in &all {
            let waker = Waker::from(Arc::clone(asking));
            assert!(mirror.poll_changed(0, &mut Context::from_waker(&waker)).is_pending());
        }
        assert!(panics(|| mirror.publish(1)));
        assert!(all.iter().all(|asking| asking.1.load(Ordering::SeqCst) == 1));
        assert_eq!(mirror.publish(2), 2);
    }
}

mod slot {
    use super::*;

    type Numbers = Slot<u32, u32>;

    #[derive(Clone, Debug)]
    struct Keyed {
        key: u64,
        canary: Canary,
    }

    impl Keyed {
        fn new(key: u64, alive: &Arc<AtomicI64>) -> Self {
            Self { key, canary: Canary::new(key, alive) }
        }

        fn assert_sound(&self, key: u64) {
            assert_eq!((self.key, self.canary.sound()), (key, key), "a value was served for another key");
        }
    }

    #[test]
    fn no_value_is_served_for_another_key_nor_in_part_whatever_goes_on() {
        let alive = alive();
        let slot = Slot::<u64, Keyed>::new();
        scope(|scope| {
            for thread in 0..4_u64 {
                let (slot, alive) = (&slot, &alive);
                scope.spawn(move |_| {
                    let mut random = thread + 1;
                    for _ in 0..4000 {
                        random ^= random << 13;
                        random ^= random >> 7;
                        random ^= random << 17;
                        let key = random >> 8 & 3;
                        match random % 16 {
                            0..8 => drop(slot.read(&key, |value| value.assert_sound(key))),
                            8..10 => drop(slot.get(&key).map(|value| value.assert_sound(key))),
                            10 => drop(slot.read_any(|&key, value| value.assert_sound(key))),
                            11 => slot.insert(key, Keyed::new(key, alive)),
                            12 => drop(slot.remove(&key)),
                            13 => slot.clear(),
                            _ => {
                                slot.get_or_insert_with(&key, || Keyed::new(key, alive))
                                    .unwrap()
                                    .assert_sound(key);
                            }
                        }
                    }
                });
            }
        })
        .unwrap();
        settle(|| slot.flush());
        assert_eq!(alive.load(Ordering::Relaxed), i64::from(!slot.is_empty()));
        drop(slot);
        assert_eq!(alive.load(Ordering::Relaxed), 0, "leaked or dropped twice");
    }

    #[test]
    fn a_completed_write_is_seen_by_who_looks_later() {
        let slot = Slot::new();
        let inserted = AtomicU64::new(0);
        scope(|scope| {
            scope.spawn(|_| {
                for stamp in 1..=3000 {
                    slot.insert((), stamp);
                    inserted.store(stamp, Ordering::SeqCst);
                }
            });
            for _ in 0..2 {
                scope.spawn(|_| {
                    loop {
                        let at_least = inserted.load(Ordering::SeqCst);
                        let stamp = slot.get(&()).unwrap_or(0);
                        assert!(stamp >= at_least, "{stamp} after {at_least}");
                        if stamp == 3000 {
                            break;
                        }
                    }
                });
            }
        })
        .unwrap();
    }

    #[test]
    fn of_all_who_remove_one_pair_one_hears_so() {
        let slot = Slot::new();
        for turn in 0..500 {
            slot.insert(turn, ());
            let removed = scope(|scope| {
                let removing: Vec<_> = (0..3).map(|_| scope.spawn(|_| slot.remove(&turn))).collect();
                removing.into_iter().map(|it| usize::from(it.join().unwrap())).sum::<usize>()
            });
            assert_eq!(removed.unwrap(), 1);
        }
    }

    #[test]
    fn a_stopped_reader_keeps_its_own_pair_and_holds_up_nobody() {
        let alive = alive();
        let slot = Slot::new();
        slot.insert(0, Canary::new(0, &alive));
        let (reading, go_on) = (AtomicBool::new(false), AtomicBool::new(false));
        scope(|scope| {
            scope.spawn(|_| {
                slot.read(&0, |value| {
                    reading.store(true, Ordering::Release);
                    until_set(&go_on);
                    assert_eq!(value.sound(), 0);
                })
                .unwrap();
            });
            until_set(&reading);
            for key in 1..100 {
                slot.insert(key, Canary::new(key, &alive));
                assert_eq!(slot.read(&key, Canary::sound), Some(key));
                assert!(cfg!(nanotier_epoch) || alive.load(Ordering::Relaxed) == 2, "the reader's, and this");
            }
            slot.clear();
            assert!(cfg!(nanotier_epoch) || alive.load(Ordering::Relaxed) == 1, "the reader's");
            go_on.store(true, Ordering::Release);
        })
        .unwrap();
        settle(|| slot.flush());
        assert_eq!(alive.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn one_load_per_key_however_many_ask() {
        const TURNS: u64 = 5000;
        let (slot, meeting) = (Slot::<u64, u64>::new(), Meeting::default());
        let loads: Vec<_> = (0..TURNS).map(|_| AtomicUsize::new(0)).collect();
        scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|_| {
                    for (turn, loads) in (0..TURNS).zip(&loads) {
                        meeting.meet(turn);
                        let loaded = slot.get_or_insert_with(&turn, || {
                            (0..200).for_each(|_| std::hint::spin_loop());
                            loads.fetch_add(1, Ordering::Relaxed);
                            turn * 10
                        });
                        assert_eq!(loaded, Ok(turn * 10));
                    }
                });
            }
        })
        .unwrap();
        assert!(loads.iter().all(|loads| loads.load(Ordering::Relaxed) == 1), "a key was loaded twice");
    }

    #[test]
    fn a_load_of_another_key_never_waits() {
        let slot = Numbers::new();
        let outer = slot.get_or_insert_with(&1, || {
            scope(|scope| {
                let other = scope.spawn(|_| slot.get_or_insert_with(&2, || 20));
                assert_eq!(other.join().unwrap(), Ok(20));
            })
            .unwrap();
            assert_eq!(slot.get(&2), Some(20));
            // On this thread, too.
            assert_eq!(slot.get_or_insert_with(&3, || 30), Ok(30));
            10
        });
        assert_eq!(outer, Ok(10));
        assert_eq!((slot.get(&1), slot.get(&2), slot.get(&3)), (Some(10), None, None), "who ends last stays");
    }

    /// A load of key 1 that is overtaken by `write`, with one who waits for it.
    fn overtaken(write: impl Fn(&Numbers) + Sync) -> Numbers {
        let slot = Numbers::new();
        let (loading, waits, wrote) =
            (AtomicBool::new(false), AtomicBool::new(false), AtomicBool::new(false));
        scope(|scope| {
            scope.spawn(|_| {
                let loaded = slot.get_or_insert_with(&1, || {
                    loading.store(true, Ordering::Release);
                    until_set(&wrote);
                    10
                });
                assert_eq!(loaded, Ok(10), "it is returned");
            });
            until_set(&loading);
            let waiter = scope.spawn(|_| {
                waits.store(true, Ordering::Release);
                slot.get_or_insert_with(&1, || 11)
            });
            until_set(&waits);
            // Most likely it waits by now. If not it finds what was written, or loads for itself.
            thread::sleep(Duration::from_millis(20));
            write(&slot);
            wrote.store(true, Ordering::Release);
            assert!(matches!(waiter.join().unwrap(), Ok(10..=12)));
        })
        .unwrap();
        slot
    }

    #[test]
    fn a_load_that_an_insert_overtakes_is_returned_but_not_admitted() {
        assert_eq!(overtaken(|slot| slot.insert(1, 12)).get(&1), Some(12));
        assert_eq!(overtaken(|slot| slot.insert(2, 20)).get(&2), Some(20));
    }

    #[test]
    fn a_load_that_a_remove_or_a_clear_overtakes_is_returned_but_not_admitted() {
        assert_ne!(overtaken(|slot| assert!(!slot.remove(&1))).get(&1), Some(10));
        assert_ne!(overtaken(Slot::clear).get(&1), Some(10));
    }

    #[test]
    fn a_load_is_not_overtaken_by_the_removal_of_another_key() {
        let slot = Numbers::new();
        slot.insert(2, 20);
        let loaded = slot.get_or_insert_with(&1, || {
            assert!(slot.remove(&2));
            assert!(!slot.remove(&3));
            10
        });
        assert_eq!((loaded, slot.get(&1)), (Ok(10), Some(10)));
    }

    #[test]
    fn who_asks_after_a_load_was_overtaken_does_not_get_its_value() {
        let slot = Numbers::new();
        let loaded = slot.get_or_insert_with(&1, || {
            slot.clear();
            scope(|scope| {
                let later = scope.spawn(|_| slot.get_or_insert_with(&1, || 11));
                assert_eq!(later.join().unwrap(), Ok(11));
            })
            .unwrap();
            10
        });
        assert_eq!((loaded, slot.get(&1)), (Ok(10), Some(11)));
    }

    #[test]
    fn after_a_loader_that_panics_or_fails_one_of_those_who_wait_loads() {
        in_time(|| {
            for panicking in [true, false] {
                let slot = Numbers::new();
                let (loading, asking, loads) =
                    (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
                scope(|scope| {
                    let first = scope.spawn(|_| {
                        catch_unwind(AssertUnwindSafe(|| {
                            slot.try_get_or_insert_with(&1, || {
                                loading.store(true, Ordering::Release);
                                until(|| asking.load(Ordering::Acquire) == 2);
                                thread::sleep(Duration::from_millis(20));
                                assert!(!panicking, "this loader panics");
                                Err("it fails")
                            })
                        }))
                    });
                    until_set(&loading);
                    let others: Vec<_> = (0..2)
                        .map(|_| {
                            scope.spawn(|_| {
                                asking.fetch_add(1, Ordering::Release);
                                slot.get_or_insert_with(&1, || {
                                    loads.fetch_add(1, Ordering::Relaxed);
                                    11
                                })
                            })
                        })
                        .collect();
                    for other in others {
                        assert_eq!(other.join().unwrap(), Ok(11));
                    }
                    match first.join().unwrap() {
                        Ok(failed) => assert_eq!(failed, Err(LoadError::Failed("it fails"))),
                        Err(_) => assert!(panicking),
                    }
                })
                .unwrap();
                assert_eq!(loads.load(Ordering::Relaxed), 1);
                assert_eq!(slot.get(&1), Some(11));
            }
        });
    }

    #[test]
    fn a_load_that_waits_for_itself_is_refused() {
        let slot: Numbers = Slot::new();
        let loaded = slot.get_or_insert_with(&1, || {
            assert_eq!(slot.get_or_insert_with(&1, || 11), Err(LoadError::Reentrant));
            10
        });
        assert_eq!((loaded, slot.get(&1)), (Ok(10), Some(10)));
    }

    #[test]
    fn loads_of_two_slots_that_wait_for_each_other_are_refused() {
        let (left, right): (Numbers, Numbers) = (Slot::new(), Slot::new());
        let under_way = AtomicUsize::new(0);
        let cross = |own: &Numbers, other: &Numbers| {
            own.try_get_or_insert_with(&1, || {
                under_way.fetch_add(1, Ordering::AcqRel);
                until(|| under_way.load(Ordering::Acquire) == 2);
                other.get_or_insert_with(&1, || 5)
            })
        };
        let (one, two) = scope(|scope| {
            let one = scope.spawn(|_| cross(&left, &right));
            let two = cross(&right, &left);
            (one.join().unwrap(), two)
        })
        .unwrap();
        assert!(one.is_err() || two.is_err(), "{one:?} and {two:?}");
    }

    #[test]
    fn comparisons_clones_and_closures_may_call_the_slot() {
        struct Meddling<'a>(&'a Numbers);
        impl Equivalent<u32> for Meddling<'_> {
            fn equivalent(&self, &key: &u32) -> bool {
                // Once: else it would go on for ever.
                if self.0.is_empty() || self.0.remove(&key) {
                    self.0.insert(key, 11);
                }
                self.0.contains(&key) && key == 1
            }
        }
        let slot = Numbers::new();
        slot.insert(1, 10);
        assert_eq!(slot.get(&Meddling(&slot)), Some(10), "it was there when the look began");
        assert_eq!(slot.get(&1), Some(11));
        let inside = slot.read(&1, |&value| {
            slot.insert(1, 12);
            assert!(slot.remove(&1));
            slot.get_or_insert_with(&1, || value + 2)
        });
        assert_eq!((inside, slot.get(&1)), (Some(Ok(13)), Some(13)));
    }

    #[test]
    fn a_drop_that_panics_reaches_its_caller_and_the_slot_works_on() {
        let dropped = Arc::new(AtomicUsize::new(0));
        let grumbler = |grumbles| Arc::new(Grumbler { grumbles, dropped: Arc::clone(&dropped) });
        for write in [
            (|slot, _| slot.clear()) as fn(&Slot<u32, Arc<Grumbler>>, Arc<Grumbler>),
            |slot, _| assert!(slot.remove(&1)),
            |slot, next| slot.insert(1, next),
            |slot, next| drop(slot.get_or_insert_with(&2, || next)),
        ] {
            dropped.store(0, Ordering::Relaxed);
            let slot = Slot::new();
            slot.insert(1, grumbler(true));
            let wrote = panics(|| write(&slot, grumbler(false)));
            let flushed = || cfg!(nanotier_epoch) && panics(|| settle(|| slot.flush()));
            assert!(wrote || flushed());
            slot.insert(1, grumbler(false));
            assert!(slot.contains(&1));
            settle(|| slot.flush());
            drop(slot);
            assert_eq!(dropped.load(Ordering::Relaxed), 3, "each once");
        }
    }

    #[test]
    fn no_lock_is_held_while_a_value_is_dropped() {
        struct Inserting(Option<Arc<Slot<u32, Inserting>>>);
        impl Drop for Inserting {
            fn drop(&mut self) {
                let Some(slot) = self.0.take() else { return };
                slot.insert(7, Inserting(None));
                scope(|scope| scope.spawn(|_| slot.remove(&7)).join().unwrap()).unwrap();
            }
        }
        in_time(|| {
            let slot = Arc::new(Slot::new());
            slot.insert(1, Inserting(Some(Arc::clone(&slot))));
            // Retired while it is read, so that the next write finds it free.
            slot.read(&1, |_| slot.insert(2, Inserting(None)));
            slot.insert(3, Inserting(None));
            until(|| slot.flush() == 0 && slot.is_empty());
        });
    }
}
