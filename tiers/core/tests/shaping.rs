//! What shaping promises, whatever tier lies below.

mod common;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::{Faulty, World};
use nanotier_tier::conformance::{SharedSim, SimOptions, Subject, run_all};
use nanotier_tier::record::Framing;
use nanotier_tier::shaping::{Cipher, Compression, KeyId, KeyRing, Refused, Secret, Shaping};
use nanotier_tier::waiting::block_on;
use nanotier_tier::{
    AnyTier, Bytes, COUNTER, Capabilities, Change, Cleared, Clock, Context, Deadlines, Encoded, Entry,
    ErrorKind, Event, Expect, Fingerprint, Found, Guard, Inline, Intent, MemoryStore, Namespace, Observer,
    Offload, Path, Record, Renewal, Result, Scope, Shape, Store, Tags, Tier, TierIndex, Timestamp, Update,
    Updated, Version, Write, Wrote, chain, read_counter,
};
use parking_lot::Mutex;
use proptest::prelude::*;

fn ring() -> KeyRing {
    KeyRing::new(KeyId(1), &Secret::new([1; 32])).unwrap()
}

fn xchacha() -> KeyRing {
    KeyRing::with_cipher(Cipher::XChaCha20Poly1305, KeyId(1), &Secret::new([1; 32])).unwrap()
}

fn compressed(compression: Compression) -> Shaping {
    Shaping::builder().compress(compression).build().unwrap()
}

fn encrypted() -> Shaping {
    Shaping::builder().encrypt(ring()).build().unwrap()
}

fn both() -> Shaping {
    Shaping::builder().compress(Compression::Lz4).encrypt(ring()).build().unwrap()
}

fn compressions() -> [Compression; 3] {
    [Compression::Lz4, Compression::Zstd { level: 1 }, Compression::Gzip { level: 1 }]
}

/// Every way of shaping, by name.
fn shapings() -> Vec<(&'static str, Shaping)> {
    let [lz4, zstd, gzip] = compressions();
    let build = |builder: nanotier_tier::shaping::Builder| builder.build().unwrap();
    vec![
        ("lz4", compressed(lz4)),
        ("zstd", compressed(zstd)),
        ("gzip", compressed(gzip)),
        ("lz4 of everything", build(Shaping::builder().compress(lz4).compress_from(0))),
        ("aes", encrypted()),
        ("lz4 and aes", both()),
        ("zstd and xchacha", build(Shaping::builder().compress(zstd).encrypt(xchacha()))),
        (
            "gzip, aes and a limit",
            build(Shaping::builder().compress(gzip).encrypt(ring()).value_len_max(100_000)),
        ),
        ("a limit", build(Shaping::builder().value_len_max(100_000))),
    ]
}

fn by_hand<T: Tier>(fresh: impl Fn(&Clock) -> T + Send + Sync + 'static) -> Subject<T> {
    let (clock, hands) = Clock::manual();
    let own = clock.clone();
    Subject::new(clock, move || fresh(&own)).with_hands(hands).with_shaped_values()
}

mod keeps_the_contract {
    use super::*;

    #[test]
    fn around_a_memory_store() {
        for (name, shaping) in shapings() {
            println!("{name}");
            let report = run_all(&by_hand(move |_| Inline(MemoryStore::new()).shaped(shaping.clone())));
            assert_eq!(
                report.skipped.len(),
                2,
                "{name}: it keeps what it is given, but for no other process: {:?}",
                report.skipped
            );
        }
    }

    #[test]
    fn around_a_store_on_threads_of_its_own() {
        run_all(&by_hand(|_| Offload::new(MemoryStore::new().shaped(both()), 2, 1024).unwrap()));
        run_all(&by_hand(|_| Offload::new(MemoryStore::new(), 2, 1024).unwrap().shaped(both())));
    }

    #[test]
    fn around_a_chain_and_in_one() {
        run_all(&by_hand(|_| Inline(MemoryStore::new()).over(Inline(MemoryStore::new())).shaped(both())));
        run_all(&by_hand(|clock| {
            let sim = SharedSim::new(SimOptions::default());
            let tiers: [AnyTier; 3] = [
                Inline(MemoryStore::new()).shaped(both()).erase(),
                Inline(MemoryStore::new()).erase(),
                sim.handle(clock.clone()).shaped(compressed(Compression::Lz4)).erase(),
            ];
            chain(tiers).unwrap()
        }));
        run_all(&by_hand(|_| {
            Inline(MemoryStore::new()).over(Inline(MemoryStore::new()).shaped(encrypted()))
        }));
    }

    #[test]
    fn around_a_service_with_its_own_clock_and_one_that_gets_every_write_twice() {
        run_all(&by_hand(|clock| {
            let sim = SharedSim::new(SimOptions {
                server_clock: Some(clock.clone()),
                native_expiry: true,
                horizon: Duration::from_secs(600),
                ..SimOptions::default()
            });
            sim.handle(clock.clone()).shaped(both())
        }));
        run_all(&by_hand(|clock| {
            let sim = SharedSim::new(SimOptions::default());
            sim.duplicate_writes(true);
            sim.handle(clock.clone()).shaped(encrypted())
        }));
    }

    #[test]
    fn around_a_service_that_hands_out_leases() {
        run_all(&by_hand(|clock| {
            let sim = SharedSim::new(SimOptions { may_evict_tombstones: true, ..SimOptions::default() });
            sim.handle(clock.clone()).shaped(both())
        }));
    }
}

/// A value that compresses, and that nobody else has.
fn text(n: usize) -> String {
    format!("value {n}: ").repeat(20)
}

fn record(value: impl Into<Bytes>, n: u64) -> Record {
    Record {
        deadlines: Deadlines {
            fresh_until: Timestamp::from_millis(2_000_000 + n),
            usable_until: Timestamp::from_millis(3_000_000 + n),
        },
        version: Version::from_parts((1_000 + n) << 16, 7),
        load_cost: Duration::from_micros(70 + n),
        tags: Tags::new(["red", "blue"]).unwrap(),
        ..Record::new(Encoded::new(value, Fingerprint(5)), Timestamp::from_millis(1_000 + n))
    }
}

fn namespace() -> Namespace {
    Namespace::new("shaping").unwrap()
}

#[test]
fn of_two_stored_values_that_were_swapped_none_is_accepted() {
    let names = [namespace(), Namespace::new("shapin").unwrap(), namespace().beside("locks")];
    for shaping in [encrypted(), both(), Shaping::builder().encrypt(xchacha()).build().unwrap()] {
        // Keys and names that would be the same if they were put together without their lengths.
        let paths: Vec<Path<'_>> = (0..100_usize)
            .map(|n| {
                Path::new(&names[n % 3], format!("{}{n}", if n % 3 == 1 { "g" } else { "" }).into_bytes())
            })
            .collect();
        let stored: Vec<Record> = paths
            .iter()
            .enumerate()
            .map(|(n, path)| shaping.shape(path, &record(text(1), n as u64 % 2)).unwrap())
            .collect();
        let mut accepted = 0;
        for (one, path) in paths.iter().enumerate() {
            for (other, record) in stored.iter().enumerate() {
                match shaping.open(path, record.clone()) {
                    Ok(_) => accepted += usize::from(one != other),
                    Err(why) => assert!(one != other && why == Refused::Forged, "{one} {other} {why:?}"),
                }
                // The value alone, in the record that belongs there.
                if one != other {
                    let moved = Record { value: record.value.clone(), ..stored[one].clone() };
                    assert_eq!(shaping.open(path, moved), Err(Refused::Forged));
                }
            }
        }
        assert_eq!(accepted, 0);
    }
}

/// What follows CRC-32C's own: the checksum of all but the last four bytes.
fn mended(mut bytes: Vec<u8>) -> Vec<u8> {
    let body_end = bytes.len() - 4;
    let checksum = crc32c::crc32c(&bytes[..body_end]);
    bytes[body_end..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

#[test]
fn no_bit_of_a_stored_record_can_be_flipped_but_those_that_are_the_tiers() {
    let namespace = namespace();
    let path = Path::new(&namespace, &b"key"[..]);
    let framing = Framing::default();
    for (name, shaping) in shapings().into_iter().filter(|(_, shaping)| shaping.encrypts()) {
        let original = record(text(3), 3);
        let stored = shaping.shape(&path, &original).unwrap();
        let bytes = framing.encode(&path, Some(&stored), stored.version, Timestamp::from_millis(5)).unwrap();
        for at in 0..bytes.len() - 4 {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                let Ok((Entry::Present(read), _)) = framing.decode(&path, &mended(flipped).into()) else {
                    continue;
                };
                let is_tiers = (8..24).contains(&at);
                match shaping.open(&path, read) {
                    Ok(read) => {
                        assert!(is_tiers, "{name}: byte {at} bit {bit} was accepted");
                        assert_eq!(Record { confirmed_at: original.confirmed_at, ..read }, original);
                    }
                    Err(why) => assert!(!is_tiers, "{name}: byte {at} is the tier's own: {why:?}"),
                }
            }
        }
    }
}

#[test]
fn a_value_cut_short_or_lengthened_is_refused() {
    let namespace = namespace();
    let path = Path::new(&namespace, &b"key"[..]);
    for (name, shaping) in shapings() {
        let stored = shaping.shape(&path, &record(text(3), 3)).unwrap();
        if stored.value.shape.is_plain() {
            continue;
        }
        let with =
            |bytes: Bytes| Record { value: Encoded { bytes, ..stored.value.clone() }, ..stored.clone() };
        for len in 0..stored.value.bytes.len() {
            assert!(
                shaping.open(&path, with(stored.value.bytes.slice(..len))).is_err(),
                "{name}: cut at {len}"
            );
        }
        for tail in [&[0][..], &[0xff; 9], &stored.value.bytes] {
            let longer = [&stored.value.bytes[..], tail].concat();
            assert!(shaping.open(&path, with(longer.into())).is_err(), "{name}");
        }
    }
}

/// Remembers why values were refused.
#[derive(Default)]
struct Refusals(Mutex<Vec<Refused>>);

impl Observer for Refusals {
    fn event(&self, event: &Event) {
        if let Event::RecordRefused { why, tier, .. } = event {
            assert!(["memory", "chain"].contains(tier), "{tier}");
            self.0.lock().push(*why);
        }
    }
}

impl Refusals {
    fn taken(&self) -> Vec<Refused> {
        std::mem::take(&mut self.0.lock())
    }
}

/// A store that can be reached past its shaping, and the world around it.
struct Tampered {
    world: World,
    store: Arc<MemoryStore>,
    refusals: Arc<Refusals>,
}

/// One store behind several handles.
struct Shared(Arc<MemoryStore>);

impl Store for Shared {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
    fn attach(&self, context: &Context) {
        self.0.attach(context);
    }
    fn read(&self, paths: &[Path<'_>], intent: Intent) -> Result<Vec<Result<Found>>> {
        self.0.read(paths, intent)
    }
    fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
        self.0.write(writes)
    }
    fn update(&self, update: &Update<'_>) -> Result<Updated> {
        self.0.update(update)
    }
    fn clear(&self, cleared: &Cleared<'_>) -> Result<Wrote> {
        self.0.clear(cleared)
    }
}

impl Tampered {
    fn new() -> Self {
        let mut world = World::new();
        let refusals = Arc::new(Refusals::default());
        world.context = world.context.clone().with_observer(refusals.clone());
        Self { world, store: Arc::new(MemoryStore::new()), refusals }
    }

    fn shaped(&self, shaping: Shaping) -> impl Tier {
        self.world.attached(Inline(Shared(self.store.clone())).shaped(shaping))
    }

    fn plain(&self) -> impl Tier {
        Inline(Shared(self.store.clone()))
    }
}

#[test]
fn where_encryption_is_on_what_is_not_encrypted_is_a_miss() {
    let tampered = Tampered::new();
    let (world, strict) = (&tampered.world, tampered.shaped(both()));
    let squeezed = tampered.shaped(compressed(Compression::Lz4));
    for value in ["", "CMP1g", "ENC1\x0c", "plain", &text(1), &"x".repeat(4000)] {
        world.put(&tampered.plain(), "k", value);
        assert_eq!(world.value(&strict, "k"), None, "{value:?}");
        world.put(&squeezed, "k", value);
        assert_eq!(world.value(&strict, "k"), None, "{value:?}");
        assert_eq!(tampered.refusals.taken(), [Refused::NotEncrypted; 2]);
        world.put(&strict, "k", value);
        assert_eq!(world.value(&strict, "k").as_deref(), Some(value));
    }
    // Not even under the fingerprint of counters, unless it is one; and a blank holds no value.
    let inject = |value: &[u8], fingerprint| {
        let value = Encoded::new(Bytes::copy_from_slice(value), fingerprint);
        let record = Record { version: world.draw(), ..Record::new(value, world.now()) };
        world.write(&tampered.plain(), &Write::put(world.path("k"), &record));
        world.read(&strict, "k").unwrap().entry
    };
    assert_eq!(inject(b"seven b", COUNTER), Entry::Absent);
    assert_eq!(inject(b"nine byte", COUNTER), Entry::Absent);
    assert_eq!(inject(&7_i64.to_le_bytes(), Fingerprint(1)), Entry::Absent);
    assert_eq!(inject(b"", Fingerprint(0)), Entry::Absent);
    assert_eq!(tampered.refusals.taken(), [Refused::NotEncrypted; 4]);
    assert_eq!(inject(&7_i64.to_le_bytes(), COUNTER).record().and_then(read_counter), Some(7));
    let blank = Record::blank(world.draw(), world.now());
    assert_eq!(both().shape(&world.path("k"), &blank).unwrap(), blank, "a store may keep it as a mark");
    world.write(&tampered.plain(), &Write::put(world.path("k"), &blank));
    assert!(world.read(&strict, "k").unwrap().usable(world.now()).is_none());
    assert_eq!(tampered.refusals.taken(), []);
}

#[test]
fn without_the_key_an_encrypted_value_is_a_miss_and_a_codec_never_sees_shaped_bytes() {
    let tampered = Tampered::new();
    let world = &tampered.world;
    world.put(&tampered.shaped(both()), "k", "secret");
    assert_eq!(world.value(&tampered.shaped(compressed(Compression::Lz4)), "k"), None);
    let other = KeyRing::new(KeyId(1), &Secret::new([2; 32])).unwrap();
    assert_eq!(world.value(&tampered.shaped(Shaping::builder().encrypt(other).build().unwrap()), "k"), None);
    let other = KeyRing::new(KeyId(2), &Secret::new([1; 32])).unwrap();
    assert_eq!(world.value(&tampered.shaped(Shaping::builder().encrypt(other).build().unwrap()), "k"), None);
    let other = Shaping::builder().encrypt(xchacha()).build().unwrap();
    assert_eq!(world.value(&tampered.shaped(other), "k"), None);
    let expected = [
        Refused::UnknownKey(KeyId(1)),
        Refused::Forged,
        Refused::UnknownKey(KeyId(1)),
        Refused::UnknownAlgorithm,
    ];
    assert_eq!(tampered.refusals.taken(), expected);
    let found = world.read(&tampered.plain(), "k").unwrap();
    assert_eq!(found.entry.record().unwrap().value.shape, Shape { compressed: false, encrypted: true });
}

#[test]
fn what_is_only_compressed_is_read_by_every_other_compression_and_by_none() {
    let tampered = Tampered::new();
    let world = &tampered.world;
    let limit = Shaping::builder().value_len_max(10_000).build().unwrap();
    for writer in compressions() {
        world.put(&tampered.shaped(compressed(writer)), "k", &text(9));
        let stored = world.read(&tampered.plain(), "k").unwrap();
        let stored = stored.entry.record().unwrap().value.clone();
        assert!(stored.shape.compressed && stored.bytes.len() < text(9).len() / 2, "{writer:?}");
        for reader in compressions().map(compressed).into_iter().chain([limit.clone()]) {
            assert_eq!(world.value(&tampered.shaped(reader), "k"), Some(text(9)));
        }
    }
    assert_eq!(tampered.refusals.taken(), []);
}

#[test]
fn what_does_not_shrink_is_stored_as_it_is() {
    let namespace = namespace();
    let path = Path::new(&namespace, &b"key"[..]);
    let mut state = 1_u64;
    let noise: Vec<u8> = (0..5_000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_le_bytes()[7]
        })
        .collect();
    for compression in compressions() {
        let shaping = Shaping::builder().compress(compression).compress_from(0).build().unwrap();
        for len in [0, 1, 10, 30, 100, 5_000] {
            let original = record(noise[..len].to_vec(), 1);
            let stored = shaping.shape(&path, &original).unwrap();
            assert_eq!(stored, original, "{compression:?} of {len} bytes");
            let sealed = Shaping::builder().compress(compression).encrypt(ring()).build().unwrap();
            let stored = sealed.shape(&path, &original).unwrap();
            assert_eq!(stored.value.shape, Shape { compressed: false, encrypted: true });
            assert_eq!(stored.value.bytes.len(), len + 12 + 12 + 16, "prefix, nonce and tag");
        }
        let zeros = record(vec![0; 10_000], 1);
        assert!(
            both().shape(&path, &zeros).unwrap().value.bytes.len() < 200,
            "compressed before it is encrypted"
        );
    }
}

#[test]
fn values_beyond_the_limit_are_refused_on_both_ways() {
    let tampered = Tampered::new();
    let world = &tampered.world;
    for builder in [
        Shaping::builder(),
        Shaping::builder().compress(Compression::Lz4),
        Shaping::builder().encrypt(ring()),
        Shaping::builder().compress(Compression::Gzip { level: 1 }).encrypt(ring()),
    ] {
        let small = tampered.shaped(builder.clone().value_len_max(1000).build().unwrap());
        let large = tampered.shaped(builder.value_len_max(1001).build().unwrap());
        assert_eq!(small.capabilities().value_len_max, 1000);
        world.put(&small, "k", &"x".repeat(1000));
        assert_eq!(world.value(&small, "k").map(|value| value.len()), Some(1000));
        let error = world.try_put(&small, "k", &"x".repeat(1001)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert_eq!(world.value(&small, "k").map(|value| value.len()), Some(1000), "the old one stays");
        world.put(&large, "k", &"x".repeat(1001));
        assert_eq!(world.value(&small, "k"), None);
        assert_eq!(tampered.refusals.taken(), [Refused::TooLarge]);
    }
}

#[test]
fn one_of_a_batch_that_cannot_be_shaped_hinders_no_other() {
    let world = World::new();
    let shaping = Shaping::builder().encrypt(ring()).value_len_max(10).build().unwrap();
    let tier = world.attached(Inline(MemoryStore::new()).shaped(shaping));
    let records =
        ["one", "far too long for this", "three", "also much too long", "five"].map(|v| world.record(v));
    let keys = ["1", "2", "3", "4", "5"];
    let writes: Vec<Write<'_>> =
        keys.iter().zip(&records).map(|(key, record)| Write::put(world.path(key), record)).collect();
    let answers = block_on(tier.write(&writes)).unwrap();
    let done: Vec<bool> = answers.into_iter().map(|answer| matches!(answer, Ok(Wrote::Done))).collect();
    assert_eq!(done, [true, false, true, false, true]);
    let too_long = block_on(tier.write(&writes[1..2])).unwrap();
    assert!(matches!(&too_long[..], [Err(error)] if error.kind() == ErrorKind::TooLarge));
    assert_eq!(keys.map(|key| world.value(&tier, key).is_some()), [true, false, true, false, true]);
}

#[test]
fn two_shapings_around_one_value_are_an_error_and_not_a_riddle() {
    let world = World::new();
    let tier = world.attached(Inline(MemoryStore::new()).shaped(both()).shaped(both()));
    assert_eq!(world.try_put(&tier, "k", "v").unwrap_err().kind(), ErrorKind::Unsupported);
}

/// A loader follows a miss: what it brings must be taken, also over what was written by a clock ahead.
#[test]
fn what_cannot_be_opened_is_written_over() {
    let tampered = Tampered::new();
    let (world, strict) = (&tampered.world, tampered.shaped(both()));
    let ahead = Version::from_parts(world.draw().parts().0 + (60_000 << 16), 99);
    for version in [world.draw(), ahead] {
        let forged = Record { version, ..world.record("forged") };
        world.write(&tampered.plain(), &Write::put(world.path("filled"), &forged));
        let found = block_on(strict.read_one(&world.path("filled"), Intent::Load)).unwrap();
        assert_eq!(found.entry, Entry::Absent);
        let loaded = world.record("loaded");
        let fill = Write::fill(world.path("filled"), &loaded, found.seen.unwrap(), found.read_at);
        assert_eq!(block_on(strict.write_one(&fill)).unwrap(), Wrote::Done);
        assert_eq!(world.value(&strict, "filled").as_deref(), Some("loaded"));
        world.remove(&strict, "filled");
    }
}

/// A copy that was forged, or whose key is gone, does not hide the truth; and is mended.
#[test]
fn a_copy_that_cannot_be_opened_is_passed_over_and_mended() {
    let tampered = Tampered::new();
    let world = &tampered.world;
    for around in [false, true] {
        let near = Inline(Shared(tampered.store.clone()));
        let far = Inline(MemoryStore::new());
        let tier = if around {
            near.over(far).shaped(both()).erase()
        } else {
            near.shaped(both()).over(far).erase()
        };
        let tier = world.attached(tier);
        world.put(&tier, "k", "true");
        let version = world.read(&tier, "k").unwrap().entry.version().unwrap();
        let forged = Record { version, ..world.record("forged") };
        world.write(&tampered.plain(), &Write::put(world.path("k"), &forged));
        for intent in [Intent::Look, Intent::Load] {
            let found = block_on(tier.read_one(&world.path("k"), intent)).unwrap();
            assert_eq!(found.entry.record().unwrap().value.bytes, "true");
            assert_eq!(found.from.0, 1);
        }
        assert_eq!(tampered.refusals.taken(), [Refused::NotEncrypted; 2]);
        world.read_and_promote(&tier, "k");
        tampered.refusals.taken();
        assert_eq!(world.read(&tier, "k").unwrap().from.0, 0);
        assert_eq!(world.value(&tier, "k").as_deref(), Some("true"));
        assert_eq!(tampered.refusals.taken(), []);
        assert_eq!(world.clear(&tampered.plain()).unwrap(), Wrote::Done);
    }
}

#[test]
fn keys_rotate_under_load_without_a_miss_until_one_is_retired() {
    let world = World::new();
    let keys = ring();
    let shaping = Shaping::builder().compress(Compression::Lz4).encrypt(keys.clone()).build().unwrap();
    let tier = world.attached(Inline(MemoryStore::new()).shaped(shaping));
    let (stop, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    let names: Vec<String> = (0..20).map(|n| format!("k{n}")).collect();
    names.iter().for_each(|key| world.put(&tier, key, "of the first key"));
    crossbeam_utils::thread::scope(|scope| {
        for reader in 0..2 {
            let (names, tier, world, stop, reads) = (&names, &tier, &world, &stop, &reads);
            scope.spawn(move |_| {
                while !stop.load(Ordering::Relaxed) {
                    for (n, key) in names.iter().enumerate() {
                        assert!(world.value(tier, key).is_some(), "{key} is a miss");
                        // The first one keeps what the first key wrote.
                        if n > 0 && reader == 0 {
                            world.put(tier, key, &text(n));
                        }
                        reads.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        for id in 2..12 {
            keys.add(KeyId(id), &Secret::new([u8::try_from(id).unwrap(); 32])).unwrap();
            keys.write_with(KeyId(id)).unwrap();
            let so_far = reads.load(Ordering::Relaxed);
            while reads.load(Ordering::Relaxed) < so_far + 200 {
                std::thread::yield_now();
            }
        }
        stop.store(true, Ordering::Relaxed);
    })
    .unwrap();
    assert_eq!(world.value(&tier, "k0").as_deref(), Some("of the first key"));
    keys.retire(KeyId(1)).unwrap();
    assert_eq!(world.value(&tier, "k0"), None, "its key is gone");
    assert!(names[1..].iter().all(|key| world.value(&tier, key).is_some()));
    assert_eq!(keys.ids().len(), 10);
}

#[test]
fn no_two_sealed_values_have_the_same_nonce() {
    let namespace = namespace();
    let path = Path::new(&namespace, &b"key"[..]);
    for (keys, len) in [(ring(), 12), (xchacha(), 24)] {
        let shaping = Shaping::builder().encrypt(keys).build().unwrap();
        let mut seen = HashSet::new();
        for _ in 0..2_000 {
            // The very same record each time.
            let sealed = shaping.shape(&path, &record("the same", 1)).unwrap();
            assert!(seen.insert(sealed.value.bytes.slice(12..12 + len)));
        }
    }
}

/// Reads of the first two who come wait for each other: both have read before either writes.
struct Meeting {
    store: MemoryStore,
    reads: AtomicUsize,
}

impl Store for Meeting {
    fn name(&self) -> &'static str {
        "meeting"
    }
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
    fn attach(&self, context: &Context) {
        self.store.attach(context);
    }
    fn read(&self, paths: &[Path<'_>], intent: Intent) -> Result<Vec<Result<Found>>> {
        let answer = self.store.read(paths, intent);
        self.reads.fetch_add(1, Ordering::SeqCst);
        while self.reads.load(Ordering::SeqCst) < 2 {
            std::thread::yield_now();
        }
        answer
    }
    fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
        self.store.write(writes)
    }
    fn clear(&self, cleared: &Cleared<'_>) -> Result<Wrote> {
        self.store.clear(cleared)
    }
}

/// Of two who take or replace what was written by a clock ahead, both must lift their versions above it: not to the same one.
#[test]
fn of_two_changes_lifted_above_the_same_version_one_wins() {
    let world = World::new();
    let ahead = Version::from_parts(world.draw().parts().0 + (60_000 << 16), 99);
    let changes = [
        Change::Take,
        Change::RemoveIf(Expect::Version(ahead)),
        Change::Replace { record: world.record("new"), expect: Expect::Version(ahead) },
    ];
    for change in changes {
        let store = Meeting { store: MemoryStore::new(), reads: AtomicUsize::new(2) };
        let tier = world.attached(Inline(store).shaped(both()));
        let held = Record { version: ahead, ..world.record("ahead") };
        world.write(&tier, &Write::put(world.path("k"), &held));
        tier.inner().0.reads.store(0, Ordering::SeqCst);
        let won = crossbeam_utils::thread::scope(|scope| {
            let run = || {
                let (version, as_of) = (world.draw(), world.now());
                let update = Update { path: world.path("k"), change: change.clone(), version, as_of };
                block_on(tier.update(&update)).unwrap()
            };
            let threads = [scope.spawn(move |_| run()), scope.spawn(move |_| run())];
            threads.map(|thread| thread.join().unwrap())
        })
        .unwrap();
        let winners =
            won.iter().filter(|won| matches!(won, Updated::Done(_) | Updated::Taken(Some(_)))).count();
        assert_eq!(winners, 1, "{change:?}: {won:?}");
    }
}

/// Writers that come between, for ever.
#[test]
fn a_change_that_others_keep_winning_against_ends() {
    struct Restless(MemoryStore, World);
    impl Store for Restless {
        fn name(&self) -> &'static str {
            "restless"
        }
        fn capabilities(&self) -> Capabilities {
            self.0.capabilities()
        }
        fn attach(&self, context: &Context) {
            self.0.attach(context);
        }
        fn read(&self, paths: &[Path<'_>], intent: Intent) -> Result<Vec<Result<Found>>> {
            self.0.read(paths, intent)
        }
        fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
            if writes.iter().all(|write| matches!(write.guard, Guard::Unchanged(_))) {
                return Ok(writes.iter().map(|_| Ok(Wrote::Changed)).collect());
            }
            self.0.write(writes)
        }
        fn clear(&self, cleared: &Cleared<'_>) -> Result<Wrote> {
            self.0.clear(cleared)
        }
    }
    let world = World::new();
    let tier = world.attached(Inline(Restless(MemoryStore::new(), World::new())).shaped(both()));
    let update = Update {
        path: world.path("k"),
        change: Change::Add(world.record("v")),
        version: world.draw(),
        as_of: world.now(),
    };
    let error = block_on(tier.update(&update)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Contended);
    assert!(error.is_transient());
    let _ = &tier.inner().0.1;
}

#[test]
fn counters_are_the_tiers_own_affair_under_any_shaping() {
    for (name, shaping) in shapings() {
        let world = World::new();
        let tier = world.attached(Inline(MemoryStore::new()).shaped(shaping));
        let add = |by| {
            let change = Change::Increment { by, lifetime: Renewal::Fixed(None) };
            let update = Update { path: world.path("n"), change, version: world.draw(), as_of: world.now() };
            block_on(tier.update(&update)).unwrap()
        };
        assert!(matches!(add(3), Updated::Counted { value: 3, .. }), "{name}");
        assert!(matches!(add(4), Updated::Counted { value: 7, .. }), "{name}");
        let found = world.read(tier.inner(), "n").unwrap();
        assert_eq!(found.entry.record().and_then(read_counter), Some(7), "{name}: in the clear");
    }
}

#[test]
fn no_secret_is_ever_printed() {
    let canary = *b"CANARY-tweet-tweet-do-not-print!";
    let hex: String = canary.iter().map(|byte| format!("{byte:02x}")).collect();
    let secret = Secret::from_hex(&hex).unwrap();
    let keys = KeyRing::new(KeyId(1), &secret).unwrap();
    let builder = Shaping::builder().compress(Compression::Lz4).encrypt(keys.clone());
    let shaping = builder.clone().build().unwrap();
    let world = World::new();
    let tier = world.attached(Inline(MemoryStore::new()).shaped(shaping.clone()));
    let store = MemoryStore::new().shaped(shaping.clone());
    let long = shaping.clone();
    let said = [
        format!("{secret:?} {secret:#?}"),
        format!("{keys:?} {keys:#?}"),
        format!("{builder:?} {shaping:#?} {long:?}"),
        format!("{tier:?} {store:?}"),
        format!("{:?}", Secret::from_hex(&hex[1..]).unwrap_err()),
        format!("{}", Secret::from_hex(&format!("{hex}{hex}")).unwrap_err()),
        format!("{:?} {0}", keys.add(KeyId(1), &secret).unwrap_err()),
        format!(
            "{:?}",
            Event::RecordRefused { tier: "redb", at: TierIndex(0), why: Refused::UnknownKey(KeyId(1)) }
        ),
        format!("{}", Refused::UnknownKey(KeyId(7))),
    ];
    let as_list = format!("{canary:?}");
    for said in said {
        for form in ["CANARY", "tweet", &hex[..12], &hex.to_uppercase()[..12], &as_list[1..20]] {
            assert!(!said.contains(form), "{said}");
        }
    }
    assert_eq!(format!("{secret:?}"), "***");
}

/// A tier fails as it always did, and its error is passed on.
#[test]
fn errors_of_the_tier_are_passed_on() {
    let world = World::new();
    let faulty = Faulty::new(Scope::Process);
    let tier = world.attached(faulty.tier().shaped(both()));
    faulty.fail(true);
    assert_eq!(world.read(&tier, "k").unwrap_err().kind(), ErrorKind::Unavailable);
    let update =
        Update { path: world.path("k"), change: Change::Take, version: world.draw(), as_of: world.now() };
    assert_eq!(block_on(tier.update(&update)).unwrap_err().kind(), ErrorKind::Unavailable);
}

fn any_record() -> impl Strategy<Value = (Vec<u8>, Record)> {
    let value = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..600),
        (any::<u8>(), 0..5_000_usize).prop_map(|(byte, len)| vec![byte; len]),
        "[a-c ]{0,900}".prop_map(String::into_bytes),
    ];
    let tags = proptest::collection::vec("[a-zé]{1,9}", 0..4);
    let times = proptest::array::uniform4(any::<u64>());
    let key = proptest::collection::vec(any::<u8>(), 0..40);
    (key, value, tags, times, any::<u64>(), any::<u32>(), any::<(u64, u64)>()).prop_map(
        |(key, value, tags, [a, b, written_at, confirmed_at], fingerprint, cost, version)| {
            let at = Timestamp::from_millis;
            let record = Record {
                value: Encoded::new(value, Fingerprint(fingerprint)),
                deadlines: Deadlines { fresh_until: at(a.min(b)), usable_until: at(a.max(b)) },
                written_at: at(written_at),
                confirmed_at: at(confirmed_at),
                version: Version::from_parts(version.0, version.1),
                load_cost: Duration::from_micros(u64::from(cost)),
                tags: Tags::new(tags).unwrap(),
            };
            (key, record)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_record_comes_back_as_it_went((key, original) in any_record()) {
        let namespace = namespace();
        let path = Path::new(&namespace, key);
        let framing = Framing::default();
        for (name, shaping) in shapings() {
            let stored = shaping.shape(&path, &original).unwrap();
            prop_assert_eq!(stored.value.shape.encrypted, shaping.encrypts(), "{}", name);
            let bytes = framing.encode(&path, Some(&stored), stored.version, Timestamp::ZERO).unwrap();
            if shaping.encrypts() && original.value.bytes.len() >= 16 {
                let value = &original.value.bytes[..16];
                prop_assert!(!stored.value.bytes.windows(16).any(|window| window == value), "in the clear");
            }
            let (entry, _) = framing.decode(&path, &Bytes::from(bytes)).unwrap();
            let Entry::Present(read) = entry else { panic!("{entry:?}") };
            prop_assert_eq!(shaping.open(&path, read).unwrap(), original.clone(), "{}", name);
        }
    }

    #[test]
    fn any_bytes_are_refused_or_opened_but_nothing_else(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        head in (0..4_u8, 0..3_u8, any::<bool>(), 0..300_u32),
        compressed in any::<bool>(),
        encrypted in any::<bool>(),
    ) {
        let namespace = namespace();
        let path = Path::new(&namespace, &b"k"[..]);
        let (compression, cipher, ours, len) = head;
        let mut value = vec![compression, cipher, 0, 0, u8::from(ours), 0, 0, 0];
        value.extend_from_slice(&len.to_le_bytes());
        value.extend_from_slice(&bytes);
        for bytes in [value, bytes] {
            let value = Encoded { shape: Shape { compressed, encrypted }, ..Encoded::new(bytes, Fingerprint(5)) };
            let stored = Record { value, ..record("", 1) };
            for (name, shaping) in shapings() {
                if let Ok(opened) = shaping.open(&path, stored.clone()) {
                    prop_assert!(!shaping.encrypts(), "{}: forged by chance", name);
                    prop_assert!(opened.value.shape.is_plain());
                }
            }
        }
    }
}
