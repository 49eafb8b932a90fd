//! Single values: slots and mirrors.

use std::sync::Arc;

use loom::thread;
use nanotier_engine::{Mirror, Slot};
use nanotier_loom_tests::explore::{Bound, explore};
use nanotier_loom_tests::subject::{Census, Value};

/// A short look against a replacement and a removal, each of which drops what was there.
#[test]
fn a_slot_drops_each_value_once_and_never_under_a_reader() {
    explore(Bound::None, || {
        let census = Census::default();
        let slot = Arc::new(Slot::new());
        slot.insert(1, Value::counted(1, 0, &census));
        let other = Arc::clone(&slot);
        let counted = census.clone();
        let writer = thread::spawn(move || {
            other.insert(2, Value::counted(2, 0, &counted));
        });
        assert!(matches!(slot.read(&1, |value| value.of(1)), None | Some(0)));
        writer.join().unwrap();
        assert_eq!(slot.read(&2, |value| value.of(2)), Some(0));
        slot.flush();
        assert_eq!(census.living(), 1);
        slot.clear();
        slot.flush();
        assert_eq!(census.living(), 0);
    });
}

/// The long look, against the same.
#[test]
fn a_nested_reader_of_a_slot_keeps_what_it_reads() {
    explore(Bound::Preemptions(5), || {
        let slot = Arc::new(Slot::new());
        let outer = Mirror::new(());
        slot.insert(1, Value::new(1, 0));
        let other = Arc::clone(&slot);
        let writer = thread::spawn(move || {
            other.insert(1, Value::new(1, 1));
        });
        outer.read(|()| assert!(matches!(slot.read(&1, |value| value.of(1)), Some(0 | 1))));
        writer.join().unwrap();
        assert_eq!(slot.read(&1, |value| value.of(1)), Some(1));
    });
}

/// Looks against two publications in a row.
#[test]
fn a_mirror_shows_whole_versions_and_never_goes_back() {
    explore(Bound::Preemptions(3), || {
        let mirror = Arc::new(Mirror::new(Value::new(7, 0)));
        let other = Arc::clone(&mirror);
        let publisher = thread::spawn(move || {
            assert_eq!(other.publish(Value::new(7, 1)), 1);
            assert_eq!(other.publish(Value::new(7, 2)), 2);
            assert_eq!(other.version(), 2);
        });
        let look = || {
            mirror.read_versioned(|value, version| {
                assert_eq!(value.of(7), version, "a version is whole");
                version
            })
        };
        let (first, second) = (look(), look());
        assert!(first <= second, "{first}, then {second}");
        publisher.join().unwrap();
        assert_eq!(look(), 2);
    });
}

/// Two publishers, each of which looks at what it finds then.
#[test]
fn two_publishers_number_their_versions_in_the_order_in_which_they_are_seen() {
    explore(Bound::Preemptions(3), || {
        let census = Census::default();
        let mirror = Arc::new(Mirror::new(Value::counted(7, 0, &census)));
        let (other, counted) = (Arc::clone(&mirror), census.clone());
        let publisher = thread::spawn(move || {
            let number = other.publish(Value::counted(7, 10, &counted));
            assert!(other.version() >= number);
            number
        });
        let number = mirror.publish(Value::counted(7, 20, &census));
        assert!(mirror.version() >= number);
        let theirs = publisher.join().unwrap();
        assert_eq!(number + theirs, 3);
        let last = mirror.read_versioned(|value, version| (value.of(7), version));
        assert_eq!(last, (if number == 2 { 20 } else { 10 }, 2));
        assert_eq!(mirror.flush(), 0);
        assert_eq!(census.living(), 1);
    });
}

/// A wait against the publication that it waits for.
#[test]
fn who_waits_for_a_version_is_woken() {
    explore(Bound::Preemptions(5), || {
        let mirror = Arc::new(Mirror::new(Value::new(7, 0)));
        let other = Arc::clone(&mirror);
        let publisher = thread::spawn(move || other.publish(Value::new(7, 1)));
        assert_eq!(mirror.changed(0), 1);
        assert_eq!(mirror.read(|value| value.of(7)), 1);
        publisher.join().unwrap();
    });
}
