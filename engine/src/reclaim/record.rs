//! A thread's record: the slots in which it names the nodes that it looks at.

use super::barrier::is_light;
use super::leak::leak;
use crate::sync::{
    AtomicBool, AtomicPtr, AtomicUsize, Ordering, const_fn, local_static, shared_static, this_thread,
};
use std::cell::Cell;
use std::ptr;

/// First a line of slots, which their thread writes on each read; on lines of its own the rest, which hardly changes.
#[repr(C, align(128))]
#[derive(Debug)]
pub(super) struct Record {
    /// Addresses of nodes; [`FREE`] and [`CLAIMED`] name none.
    pub(super) slots: [AtomicUsize; SLOTS],
    /// A thread has it, for as long as it lives.
    taken: AtomicBool,
    /// Its slots are claimed one by one, by whichever thread needs one more than its own; and by which is said here,
    /// slot by slot. `None` in a thread's own record.
    claimants: Option<[AtomicUsize; SLOTS]>,
    /// Counted from 0 in the order of creation.
    pub(super) number: usize,
    next: AtomicPtr<Record>,
}

/// How many looks of one thread may be nested before it borrows shared slots.
pub(super) const SLOTS: usize = if cfg!(nanotier_loom) { 2 } else { 8 };
pub(super) const FREE: usize = 0;
/// Taken by a thread that has not named anything yet. No node is at this address.
pub(super) const CLAIMED: usize = 1;

#[derive(Debug)]
struct Registry {
    newest: AtomicPtr<Record>,
    count: AtomicUsize,
}

impl Registry {
    const_fn! {
        fn new() -> Self {
            Self { newest: AtomicPtr::new(ptr::null_mut()), count: AtomicUsize::new(0) }
        }
    }
}

shared_static! {
    static REGISTRY: Registry = Registry::new();
}

/// All records there are.
pub(super) fn records() -> impl Iterator<Item = &'static Record> {
    // SAFETY: records are leaked (R5), and published whole, by release.
    let first = unsafe { REGISTRY.newest.load(Ordering::Acquire).as_ref() };
    std::iter::successors(first, |record| {
        // SAFETY: as above; `next` was written before its record was published, and not since.
        unsafe { record.next.load(Ordering::Relaxed).as_ref() }
    })
}

fn create(shared: bool) -> &'static Record {
    let record = leak(Record {
        slots: std::array::from_fn(|_| AtomicUsize::new(FREE)),
        taken: AtomicBool::new(true),
        claimants: shared.then(|| std::array::from_fn(|_| AtomicUsize::new(0))),
        number: REGISTRY.count.fetch_add(1, Ordering::Relaxed),
        next: AtomicPtr::new(ptr::null_mut()),
    });
    let mut newest = REGISTRY.newest.load(Ordering::Relaxed);
    loop {
        record.next.store(newest, Ordering::Relaxed);
        let own = ptr::from_mut(record);
        match REGISTRY.newest.compare_exchange(newest, own, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return record,
            Err(other) => newest = other,
        }
    }
}

/// A record for this thread: one that another thread has left behind, or a new one.
fn obtain() -> &'static Record {
    let claim = |record: &&Record| {
        record.claimants.is_none()
            && record.taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    };
    records().find(claim).unwrap_or_else(|| create(false))
}

/// Gives the record back when its thread ends.
struct AtExit(Cell<Option<&'static Record>>);

impl Drop for AtExit {
    fn drop(&mut self) {
        // Looks in destructors of other thread-locals, which may come later, borrow shared slots.
        let _ = LIGHT.try_with(|own| own.set(busy()));
        let _ = OWN.try_with(|own| own.set(None));
        if let Some(record) = self.0.take() {
            record.taken.store(false, Ordering::Release);
        }
    }
}

local_static! {
    /// This thread's record, if the lightest barrier will do for it; else one whose first slot is never free, so that
    /// one question answers both. Without a destructor, so that reaching it is one load.
    static LIGHT: Cell<&'static Record> = Cell::new(busy());
}

local_static! {
    /// This thread's record, in any case.
    static OWN: Cell<Option<&'static Record>> = Cell::new(None);
}

local_static! {
    static EXIT: AtExit = AtExit(Cell::new(None));
}

/// This thread's record, if it has one already and the lightest barrier will do; else one whose first slot is not free.
#[cfg(not(nanotier_loom))]
#[inline(always)]
pub(super) fn light() -> &'static Record {
    LIGHT.get()
}

#[cfg(nanotier_loom)]
pub(super) fn light() -> &'static Record {
    LIGHT.try_with(Cell::get).unwrap_or_else(|_| busy())
}

/// On no list, and nobody's.
#[cfg(not(nanotier_loom))]
const fn busy() -> &'static Record {
    static BUSY: Record = Record {
        slots: [const { AtomicUsize::new(CLAIMED) }; SLOTS],
        taken: AtomicBool::new(true),
        claimants: None,
        number: usize::MAX,
        next: AtomicPtr::new(ptr::null_mut()),
    };
    &BUSY
}

#[cfg(nanotier_loom)]
fn busy() -> &'static Record {
    leak(Record {
        slots: std::array::from_fn(|_| AtomicUsize::new(CLAIMED)),
        taken: AtomicBool::new(true),
        claimants: None,
        number: usize::MAX,
        next: AtomicPtr::new(ptr::null_mut()),
    })
}

/// This thread's record, if it has one already.
#[inline]
fn own() -> Option<&'static Record> {
    get(&OWN)
}

#[cfg(not(nanotier_loom))]
#[inline(always)]
fn get(place: &'static std::thread::LocalKey<Cell<Option<&'static Record>>>) -> Option<&'static Record> {
    place.get()
}

#[cfg(nanotier_loom)]
fn get(place: &'static loom::thread::LocalKey<Cell<Option<&'static Record>>>) -> Option<&'static Record> {
    place.try_with(Cell::get).ok().flatten()
}

/// This thread's record; `None` in the destructors of its thread-locals.
#[cold]
pub(super) fn own_or_new() -> Option<&'static Record> {
    if let Some(record) = own() {
        return Some(record);
    }
    let registered = EXIT.try_with(|exit| {
        let record = obtain();
        exit.0.set(Some(record));
        record
    });
    let record = registered.ok()?;
    OWN.try_with(|own| own.set(Some(record))).ok()?;
    if is_light() {
        LIGHT.try_with(|own| own.set(record)).ok()?;
    }
    Some(record)
}

/// Claims a shared slot. Each read nested deeper than a thread's own slots costs this.
#[cold]
pub(super) fn borrow_shared() -> &'static AtomicUsize {
    loop {
        for (slot, claimant) in records().flat_map(shared_slots) {
            if slot.compare_exchange(FREE, CLAIMED, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                claimant.store(this_thread(), Ordering::Relaxed);
                return slot;
            }
        }
        create(true);
    }
}

fn shared_slots(record: &Record) -> impl Iterator<Item = (&AtomicUsize, &AtomicUsize)> {
    record.claimants.iter().flat_map(|claimants| record.slots.iter().zip(claimants))
}

/// Whether a slot of this thread names this address.
pub(super) fn names(address: usize) -> bool {
    // Acquire: who claimed the slot said so after it was free.
    let is_named = |slot: &AtomicUsize| slot.load(Ordering::Acquire) == address;
    let this = this_thread();
    // A claimant's word is about the present only while the slot is claimed; by this thread, if it is ours.
    let is_ours = |(slot, claimant): (&AtomicUsize, &AtomicUsize)| {
        is_named(slot) && claimant.load(Ordering::Relaxed) == this
    };
    own().is_some_and(|record| record.slots.iter().any(is_named))
        || records().flat_map(shared_slots).any(is_ours)
}

/// A number that this thread alone has while it lives, if it has one: small, and used again after it.
#[inline]
pub(crate) fn stripe() -> Option<usize> {
    own().or_else(own_or_new).map(|record| record.number)
}

#[cfg(all(test, not(nanotier_loom)))]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Says what its thread still has when thread-locals that were made after it are gone.
    struct Late(Cell<Option<mpsc::Sender<(bool, bool)>>>);

    impl Drop for Late {
        fn drop(&mut self) {
            let has_slot = light().slots[0].load(Ordering::Relaxed) == FREE;
            let _ = self.0.take().map(|told| told.send((has_slot, own().is_some())));
        }
    }

    thread_local! {
        static LATE: Late = const { Late(Cell::new(None)) };
    }

    /// Else it would name nodes in slots that are another thread's by then.
    #[test]
    fn a_thread_that_has_given_its_record_back_has_none() {
        crate::reclaim::prepare();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            LATE.with(|late| late.0.set(Some(tell)));
            let number = own_or_new().map(|record| record.number);
            let is_usable = light().slots[0].load(Ordering::Relaxed) == FREE;
            (number, is_usable)
        });
        let (number, is_usable) = thread.join().unwrap();
        assert!(number.is_some(), "it had one");
        assert_eq!(is_usable, is_light(), "and its first slot was used without asking again");
        assert_eq!(told.recv(), Ok((false, false)));
    }
}
