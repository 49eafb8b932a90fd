//! The simulated truth: what its faults are, and that the rules hold among its clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nanotier_tier::conformance::{SharedSim, SimHandle, SimOptions};
use nanotier_tier::waiting::block_on;
use nanotier_tier::{
    Bytes, Change, Cleared, Clock, Context, Deadlines, Encoded, Entry, ErrorKind, Fingerprint, Found, Hands,
    Intent, Namespace, Path, Record, Renewal, Result, Tier, Update, Updated, Write, Wrote,
};

/// One process: its handle, its clock, its versions.
struct Client {
    tier: SimHandle,
    context: Context,
    hands: Hands,
    namespace: Namespace,
}

impl Client {
    /// A process whose clock is ahead of the others' by this much.
    fn ahead(sim: &SharedSim, writer: u64, ahead: Duration) -> Self {
        let (clock, hands) = Clock::manual();
        hands.advance(ahead);
        let tier = sim.handle(clock.clone());
        Self {
            tier,
            context: Context::new(clock, writer),
            hands,
            namespace: Namespace::new("shared").unwrap(),
        }
    }

    fn new(sim: &SharedSim, writer: u64) -> Self {
        Self::ahead(sim, writer, Duration::ZERO)
    }

    fn path(&self) -> Path<'_> {
        Path::new(&self.namespace, &b"k"[..])
    }

    fn record(&self, value: &'static str) -> Record {
        let value = Encoded::new(Bytes::from_static(value.as_bytes()), Fingerprint(1));
        Record { version: self.context.versions.draw(), ..Record::new(value, self.context.clock.wall()) }
    }

    fn put(&self, value: &'static str) -> Result<Wrote> {
        block_on(self.tier.write_one(&Write::put(self.path(), &self.record(value))))
    }

    fn remove(&self) -> Result<Wrote> {
        let (version, as_of) = (self.context.versions.draw(), self.context.clock.wall());
        block_on(self.tier.write_one(&Write::remove(self.path(), version, as_of)))
    }

    fn fill(&self, found: &Found) -> Wrote {
        let record = self.record("loaded");
        block_on(self.tier.write_one(&Write::fill(self.path(), &record, found.seen.unwrap(), found.read_at)))
            .unwrap()
    }

    fn load(&self) -> Found {
        block_on(self.tier.read_one(&self.path(), Intent::Load)).unwrap()
    }

    fn value(&self) -> Option<Bytes> {
        let found = block_on(self.tier.read_one(&self.path(), Intent::Look)).unwrap();
        found.usable(self.context.clock.wall()).map(|record| record.value.bytes.clone())
    }
}

fn kind<R>(answer: Result<R>) -> Option<ErrorKind> {
    answer.err().map(|error| error.kind())
}

#[test]
fn a_write_that_was_held_back_does_not_undo_a_later_remove() {
    let sim = SharedSim::new(SimOptions::default());
    let (one, other) = (Client::new(&sim, 1), Client::new(&sim, 2));
    let timed_out = one.record("timed out");
    sim.hold_writes();
    let write = Write::put(one.path(), &timed_out);
    assert_eq!(kind(block_on(one.tier.write_one(&write))), Some(ErrorKind::Timeout));
    assert_eq!(other.value(), None, "still in the socket");
    other.hands.advance(Duration::from_millis(1));
    assert_eq!(kind(other.remove()), Some(ErrorKind::Timeout), "held too, and delivered before the put");
    assert_eq!(sim.deliver_held_reversed(), 2);
    assert_eq!(other.value(), None);
    // The same once more, as if a proxy had kept it.
    let wrote = block_on(one.tier.write_one(&write)).unwrap();
    assert!(matches!(wrote, Wrote::Older(_)), "{wrote:?}");
}

#[test]
fn what_was_held_may_arrive_in_another_order_and_twice_and_the_newest_stays() {
    for reversed in [false, true] {
        let sim = SharedSim::new(SimOptions::default());
        sim.duplicate_writes(true);
        let client = Client::new(&sim, 1);
        sim.hold_writes();
        for value in ["first", "second", "third"] {
            assert_eq!(kind(client.put(value)), Some(ErrorKind::Timeout));
        }
        assert_eq!(kind(client.remove()), Some(ErrorKind::Timeout));
        let delivered = if reversed { sim.deliver_held_reversed() } else { sim.deliver_held() };
        assert_eq!(delivered, 4);
        let entry = client.load().entry;
        assert!(matches!(entry, Entry::Removed(_)), "{entry:?}");
        assert_eq!(sim.writes_applied(), 8);
    }
}

#[test]
fn a_write_that_arrives_after_the_horizon_is_too_late() {
    let sim = SharedSim::new(SimOptions { native_expiry: true, ..SimOptions::default() });
    let (one, other) = (Client::new(&sim, 1), Client::new(&sim, 2));
    sim.hold_writes();
    assert!(one.put("dead").is_err());
    one.hands.advance(Duration::from_secs(61));
    other.hands.advance(Duration::from_secs(61));
    sim.deliver_held();
    assert_eq!(other.value(), None);
}

#[test]
fn faults_happen_as_often_as_they_were_asked_for() {
    let sim = SharedSim::new(SimOptions::default());
    let client = Client::new(&sim, 1);
    sim.fail_next(2);
    assert_eq!(kind(client.put("lost")), Some(ErrorKind::Unavailable));
    assert_eq!(kind(block_on(client.tier.ready())), Some(ErrorKind::Unavailable));
    assert_eq!(client.value(), None, "nothing reached it");
    sim.fail_after_applying_next(2);
    assert_eq!(kind(client.put("arrived")), Some(ErrorKind::Timeout));
    assert_eq!(client.value().as_deref(), Some(&b"arrived"[..]));
    let increment = Change::Increment { by: 1, lifetime: Renewal::Fixed(None) };
    let path = Path::new(&client.namespace, &b"count"[..]);
    let increment = || Update {
        path: path.borrowed(),
        change: increment.clone(),
        version: client.context.versions.draw(),
        as_of: client.context.clock.wall(),
    };
    assert_eq!(kind(block_on(client.tier.update(&increment()))), Some(ErrorKind::Timeout));
    let counted = block_on(client.tier.update(&increment())).unwrap();
    assert!(matches!(counted, Updated::Counted { value: 2, .. }), "{counted:?}");
    assert_eq!((sim.paths_read(), sim.writes_applied()), (2, 3));
}

#[test]
fn an_eviction_revokes_the_leases_that_were_out() {
    let sim = SharedSim::new(SimOptions { may_evict_tombstones: true, ..SimOptions::default() });
    let (loader, other) = (Client::new(&sim, 1), Client::new(&sim, 2));
    assert!(loader.tier.capabilities().may_evict_tombstones);
    let found = loader.load();
    // Put, removed, and the tombstone forgotten: nothing is held, as when the loader looked.
    assert_eq!(other.put("newer").unwrap(), Wrote::Done);
    assert_eq!(other.remove().unwrap(), Wrote::Done);
    sim.evict_tombstones();
    assert_eq!(other.load().entry, Entry::Absent);
    assert_eq!(loader.fill(&found), Wrote::Changed);

    // Also where nothing happened: after an eviction the service cannot tell.
    let found = loader.load();
    sim.evict_tombstones();
    assert_eq!(loader.fill(&found), Wrote::Changed);

    let found = loader.load();
    assert_eq!(loader.fill(&found), Wrote::Done, "a new lease");

    // Seen with a version, then removed and forgotten.
    let found = loader.load();
    other.context.versions.saw(found.entry.version().unwrap());
    assert_eq!(other.remove().unwrap(), Wrote::Done);
    sim.evict_tombstones();
    assert_eq!(loader.fill(&found), Wrote::Changed);
}

#[test]
fn who_only_looked_has_no_lease() {
    let sim = SharedSim::new(SimOptions { may_evict_tombstones: true, ..SimOptions::default() });
    let client = Client::new(&sim, 1);
    let looked = block_on(client.tier.read_one(&client.path(), Intent::Look)).unwrap();
    assert_eq!(client.fill(&looked), Wrote::Changed);
}

#[test]
fn a_clearing_ends_leases_too() {
    let sim = SharedSim::new(SimOptions { may_evict_tombstones: true, ..SimOptions::default() });
    let (loader, other) = (Client::new(&sim, 1), Client::new(&sim, 2));
    let found = loader.load();
    let (version, as_of) = (other.context.versions.draw(), other.context.clock.wall());
    let cleared = Cleared { namespace: &other.namespace, version, as_of };
    assert_eq!(block_on(other.tier.clear(&cleared)).unwrap(), Wrote::Done);
    assert_eq!(loader.fill(&found), Wrote::Changed);
}

#[test]
#[should_panic(expected = "promised to keep its tombstones")]
fn a_service_that_keeps_its_tombstones_evicts_none() {
    SharedSim::new(SimOptions::default()).evict_tombstones();
}

#[test]
fn time_is_the_servers_where_it_has_a_clock_and_the_callers_where_not() {
    let (clock, _hands) = Clock::manual();
    for server_clock in [Some(clock), None] {
        let has_clock = server_clock.is_some();
        let sim = SharedSim::new(SimOptions { server_clock, ..SimOptions::default() });
        // So far ahead that what it decides now is, for the server, decided in the future; what is decided by a slow clock
        // is too late for it alone.
        let ahead = Client::ahead(&sim, 1, Duration::from_secs(120));
        let record = ahead.record("late");
        let as_of = ahead.context.clock.wall().minus(Duration::from_secs(90));
        let write = Write { as_of, ..Write::put(ahead.path(), &record) };
        let expected = if has_clock { Wrote::Done } else { Wrote::TooLate };
        assert_eq!(block_on(ahead.tier.write_one(&write)).unwrap(), expected);
        assert_eq!(ahead.tier.capabilities().own_clock, has_clock);
    }
}

#[test]
fn clocks_seconds_apart_do_not_lose_a_live_write() {
    let sim = SharedSim::new(SimOptions::default());
    let (ahead, behind) = (Client::ahead(&sim, 1, Duration::from_secs(5)), Client::new(&sim, 2));
    assert_eq!(ahead.put("by the fast one").unwrap(), Wrote::Done);
    let Wrote::Older(held) = behind.put("by the slow one").unwrap() else { panic!("its version is older") };
    behind.context.versions.saw(held);
    assert_eq!(behind.put("by the slow one").unwrap(), Wrote::Done);
    assert_eq!(ahead.value().as_deref(), Some(&b"by the slow one"[..]));
}

#[test]
fn native_expiry_forgets_only_what_has_served_the_horizon() {
    let sim = SharedSim::new(SimOptions { native_expiry: true, ..SimOptions::default() });
    let client = Client::new(&sim, 1);
    let now = client.context.clock.wall();
    let deadlines = Deadlines::after(now, Duration::from_secs(1), Duration::ZERO);
    let found = client.load();
    let record = Record { deadlines, ..client.record("short") };
    assert_eq!(block_on(client.tier.write_one(&Write::put(client.path(), &record))).unwrap(), Wrote::Done);
    client.hands.advance(Duration::from_secs(2));
    assert_eq!(client.value(), None);
    assert_eq!(client.fill(&found), Wrote::Changed, "a put that expired was a change");
    client.hands.advance(Duration::from_secs(60));
    assert_eq!(client.load().entry, Entry::Absent, "forgotten");
}

#[test]
fn watchers_are_told_of_a_gap() {
    let sim = SharedSim::new(SimOptions::default());
    let told = Arc::new(AtomicUsize::new(0));
    let count = told.clone();
    sim.on_gap(move || {
        count.fetch_add(1, Ordering::SeqCst);
    });
    sim.gap();
    sim.gap();
    assert_eq!(told.load(Ordering::SeqCst), 2);
}
