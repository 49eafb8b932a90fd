//! The rules of reclamation alone: one cell, one or two nodes, and whoever looks, unlinks and waits.

use std::ptr;
use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::thread;
use nanotier_engine::models::{Cell, Glance, Grace, Guard, Held};
use nanotier_loom_tests::explore::{Bound, explore};

/// A node is memory that the checker watches.
type Node = UnsafeCell<()>;

/// One node, and the cell that links it.
struct Place {
    node: Node,
    cell: Cell<Node>,
}

impl Place {
    fn new() -> Arc<Self> {
        let place = Arc::new(Self { node: Node::new(()), cell: Cell::empty() });
        place.cell.link(place.address());
        place
    }

    fn address(&self) -> *mut Node {
        ptr::from_ref(&self.node).cast_mut()
    }

    /// Looks into what is linked, as whoever has no short look does.
    fn look(&self) {
        let guard = Guard::enter();
        if !guard.protect(&self.cell).is_null() {
            self.node.with(|_| ());
        }
    }

    /// The short look, if this thread may have one.
    fn glance(&self) {
        let Some(glance) = Glance::begin() else { return self.look() };
        if !glance.protect(&self.cell).is_null() {
            self.node.with(|_| ());
        }
    }

    fn unlink(&self) -> Grace {
        self.cell.unlink();
        Grace::begin()
    }

    /// Uses the memory again if the rules allow it.
    fn reuse(&self, grace: &Grace) -> bool {
        if !grace.is_over() {
            return false;
        }
        let mut held = Held::default();
        held.look();
        let is_free = !held.holds(self.address());
        if is_free {
            self.node.with_mut(|_| ());
        }
        is_free
    }
}

/// Gives this thread its record.
fn season() {
    drop(Guard::enter());
}

/// One barrier for two who wait: a thread that retired something has it back by a barrier that another thread makes for
/// something else.
#[test]
fn a_barrier_of_somebody_else_frees_nothing_that_is_read() {
    explore(Bound::Preemptions(3), || {
        let (ours, theirs) = (Place::new(), Place::new());
        season();
        let own = Arc::clone(&ours);
        let waiter = thread::spawn(move || {
            let grace = own.unlink();
            own.reuse(&grace);
        });
        let hastener = thread::spawn(move || {
            let grace = theirs.unlink();
            grace.hasten();
            assert!(theirs.reuse(&grace), "nobody reads it");
        });
        ours.glance();
        waiter.join().unwrap();
        hastener.join().unwrap();
    });
}

/// The same with a barrier that nobody retires anything for, which leaves more turns to look at.
#[test]
fn a_barrier_that_began_before_a_node_was_unlinked_does_not_count_for_it() {
    explore(Bound::Preemptions(5), || {
        let place = Place::new();
        season();
        let other = Arc::clone(&place);
        let waiter = thread::spawn(move || {
            let grace = other.unlink();
            other.reuse(&grace);
        });
        let hastener = thread::spawn(|| Grace::begin().hasten());
        place.glance();
        waiter.join().unwrap();
        hastener.join().unwrap();
    });
}

/// A grace, the long look and the short one.
#[test]
fn a_node_is_free_only_when_neither_look_names_it() {
    explore(Bound::None, || {
        let place = Place::new();
        season();
        let other = Arc::clone(&place);
        let owner = thread::spawn(move || {
            let grace = other.unlink();
            grace.hasten();
            other.reuse(&grace);
        });
        place.glance();
        place.look();
        owner.join().unwrap();
    });
}

/// A thread ends, another one takes its record over, and a third looks at all records meanwhile.
#[test]
fn a_record_that_changes_hands_names_what_its_new_thread_reads() {
    explore(Bound::Preemptions(3), || {
        let place = Place::new();
        // Not modelled as a record: this thread looks at nothing.
        let (first, second) = (Arc::clone(&place), Arc::clone(&place));
        let one = thread::spawn(move || first.look());
        let other = thread::spawn(move || {
            season();
            second.glance();
        });
        let grace = place.unlink();
        grace.hasten();
        place.reuse(&grace);
        one.join().unwrap();
        other.join().unwrap();
    });
}

/// Two threads at once look for a record: each has one of its own.
#[test]
fn a_record_belongs_to_one_thread_at_a_time() {
    explore(Bound::Preemptions(5), || {
        // One record is there, and free.
        thread::spawn(season).join().unwrap();
        let place = Place::new();
        let look = |place: &Place| {
            let guard = Guard::enter();
            let node = guard.protect(&place.cell);
            assert!(Guard::is_held_here(node), "a thread's slot names what it protects");
            drop(guard);
            assert!(!Guard::is_held_here(node), "and nothing when it protects nothing");
        };
        let first = Arc::clone(&place);
        let other = thread::spawn(move || look(&first));
        look(&place);
        other.join().unwrap();
    });
}

/// More looks in one another than a thread has slots: the last ones are borrowed.
#[test]
fn a_borrowed_slot_protects_as_well_as_an_own_one() {
    explore(Bound::Preemptions(5), || {
        let (place, others) = (Place::new(), [Place::new(), Place::new()]);
        let other = Arc::clone(&place);
        let owner = thread::spawn(move || {
            let grace = other.unlink();
            grace.hasten();
            other.reuse(&grace);
        });
        let guards = others.each_ref().map(|other| {
            let guard = Guard::enter();
            assert!(!guard.protect(&other.cell).is_null());
            guard
        });
        place.look();
        assert!(!Guard::is_held_here(place.address()));
        drop(guards);
        owner.join().unwrap();
    });
}
