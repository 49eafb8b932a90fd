//! What wraps a tier says of it what the tier says itself: whose opening it holds, and whether values are encrypted.
#![cfg(feature = "encrypt")]

use std::sync::Arc;

use nanotier_tier::behind::MemoryLog;
use nanotier_tier::shaping::{KeyId, KeyRing, Secret, Shaping};
use nanotier_tier::waiting::block_on;
use nanotier_tier::{
    AnyTier, Capabilities, Cleared, Context, Error, ErrorKind, Found, Intent, Limits, Lineage, Link,
    MemoryStore, Offload, Path, Result, Scope, Store, Tier, Write, WriteBehind, Wrote,
};
use parking_lot::Mutex;

mod common;
use common::World;

const LINEAGE: Lineage = Lineage { opening: 7, unchanged_since: Some(6) };

/// A store that keeps book of its openings, and says of itself that it encrypts, or not.
struct Says {
    store: MemoryStore,
    scope: Scope,
    encrypts: bool,
    lineage: Option<Lineage>,
    takes_writes: bool,
    closed: Arc<Mutex<Vec<Scope>>>,
}

impl Says {
    fn lineage(lineage: Option<Lineage>) -> Self {
        let (store, closed) = (MemoryStore::new(), Arc::default());
        Self { store, scope: Scope::Process, encrypts: false, lineage, takes_writes: true, closed }
    }

    fn encrypts(encrypts: bool) -> Self {
        Self { encrypts, ..Self::lineage(Some(LINEAGE)) }
    }
}

impl Store for Says {
    fn name(&self) -> &'static str {
        "says"
    }
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.store.capabilities();
        capabilities.encrypts = self.encrypts;
        capabilities.scope = self.scope;
        capabilities
    }
    fn attach(&self, context: &Context) {
        self.store.attach(context);
    }
    fn lineage(&self) -> Option<Lineage> {
        self.lineage
    }
    fn read(&self, paths: &[Path<'_>], intent: Intent) -> Result<Vec<Result<Found>>> {
        self.store.read(paths, intent)
    }
    fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
        if self.takes_writes {
            return self.store.write(writes);
        }
        Err(Error::new(ErrorKind::Unavailable, "says", "write"))
    }
    fn clear(&self, cleared: &Cleared<'_>) -> Result<Wrote> {
        self.store.clear(cleared)
    }
    fn close(&self) -> Result<()> {
        self.closed.lock().push(self.scope);
        self.store.close()
    }
}

fn plain() -> Shaping {
    Shaping::builder().value_len_max(100).build().unwrap()
}

fn sealing() -> Shaping {
    let ring = KeyRing::new(KeyId(1), &Secret::new([5; 32])).unwrap();
    Shaping::builder().encrypt(ring).build().unwrap()
}

/// A store in everything there is to put around one.
fn wrapped(says: fn() -> Says) -> Vec<(&'static str, AnyTier)> {
    let inline = || says().inline();
    vec![
        ("inline", inline().erase()),
        ("twice erased", inline().erase().erase()),
        ("shared", Arc::new(says()).inline().erase()),
        ("offload", Offload::new(says(), 1, 1).unwrap().erase()),
        ("shaped", inline().shaped(plain()).erase()),
        ("shaped store", says().shaped(plain()).inline().erase()),
        ("guarded", inline().guarded(Limits::new()).erase()),
        ("behind", inline().behind(WriteBehind::new()).erase()),
        ("logged", inline().behind_logged(WriteBehind::new(), MemoryLog::default()).unwrap().erase()),
        ("both", inline().guarded(Limits::new()).behind(WriteBehind::new()).erase()),
    ]
}

#[test]
fn whose_opening_a_tier_holds_is_said_through_whatever_wraps_it() {
    for (name, tier) in wrapped(|| Says::lineage(Some(LINEAGE))) {
        assert_eq!(tier.lineage(), Some(LINEAGE), "{name}");
    }
    for (name, tier) in wrapped(|| Says::lineage(None)) {
        assert_eq!(tier.lineage(), None, "{name}");
    }
}

#[test]
fn that_values_are_encrypted_is_said_through_whatever_wraps_it_and_of_any_tier_of_a_chain() {
    for (name, tier) in wrapped(|| Says::encrypts(true)) {
        assert!(tier.capabilities().encrypts, "{name}");
    }
    for (name, tier) in wrapped(|| Says::encrypts(false)) {
        assert!(!tier.capabilities().encrypts, "{name}");
        assert!(tier.shaped(sealing()).capabilities().encrypts, "{name}, shaped");
    }
    assert!(Says::encrypts(false).shaped(sealing()).capabilities().encrypts);
    let of = |which: [bool; 3]| {
        let [a, b, c] = which.map(|encrypts| Says::encrypts(encrypts).inline());
        a.over_with(b.over(c), Link::new()).erase().capabilities().encrypts
    };
    assert!(!of([false; 3]));
    for at in 0..3 {
        let mut which = [false; 3];
        which[at] = true;
        assert!(of(which), "tier {at}");
    }
}

#[test]
fn a_queue_claims_the_far_tiers_opening_only_while_nothing_is_queued() {
    let world = World::new();
    for logged in [false, true] {
        let log = MemoryLog::default();
        let behind = |far: Says| {
            let options = WriteBehind::new();
            if logged {
                far.inline().behind_logged(options, log.clone()).unwrap()
            } else {
                far.inline().behind(options)
            }
        };
        let changed = Some(Lineage { unchanged_since: None, ..LINEAGE });
        let tier = behind(Says { takes_writes: false, ..Says::lineage(Some(LINEAGE)) });
        tier.attach(&world.context);
        assert_eq!(tier.lineage(), Some(LINEAGE));
        world.put(&tier, "k", "value");
        assert_eq!(tier.lineage(), changed, "acknowledged, and not in the far tier");
        // Closed with something left: by no opening's number does anything belong to it.
        let mut close = Box::pin(tier.close());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        while close.as_mut().poll(&mut context).is_pending() {
            world.pass(100);
        }
        assert_eq!(tier.lineage(), None);
        assert!(block_on(tier.close()).is_err(), "and whoever closes later hears of it");

        // The next process.
        let again = behind(Says::lineage(Some(LINEAGE)));
        assert_eq!(
            again.lineage(),
            if logged { changed } else { Some(LINEAGE) },
            "what the log has is to come"
        );
        again.attach(&world.context);
        block_on(again.flush()).unwrap();
        assert_eq!(again.lineage(), Some(LINEAGE), "the rest is what the far tier says");
    }
}

#[test]
fn a_chain_closes_its_truth_before_its_copies() {
    let closed = Arc::<Mutex<Vec<Scope>>>::default();
    let of = |scope| Says { scope, closed: closed.clone(), ..Says::encrypts(false) }.inline();
    let chain = of(Scope::Process).over(of(Scope::Host).over(of(Scope::Fleet)));
    block_on(chain.close()).unwrap();
    assert_eq!(*closed.lock(), [Scope::Fleet, Scope::Host, Scope::Process]);
}
