//! A cache in a state that a table names, one call to it, and what has become of everything in the table's words.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use nanotier::testing::Tasks;
use nanotier::tier::{
    Bytes, Deadlines, Encoded, Entry, ErrorKind, Fingerprint, HybridClock, Namespace, Path, Record, Store,
    Timestamp, Version, Write, Wrote,
};
use nanotier::{
    Cache, Clock, Codec, Detailed, Error, Freshness, Hands, Json, LoadError, Result, Source, Tier, TimeLeft,
    Ttl, chain,
};
use parking_lot::Mutex;

use crate::script::{Scripted, Writing};

/// What a cache in these tables says of lifetimes.
pub(crate) const TTL: Duration = Duration::from_secs(10);
pub(crate) const STALE_FOR: Duration = Duration::from_secs(1000);
pub(crate) const DEGRADED_TTL: Duration = Duration::from_secs(5);
/// What a call says of them.
pub(crate) const OF_CALL: Duration = Duration::from_secs(20);
/// Longer than anybody waits: additions end there.
pub(crate) const AGES: Duration = Duration::from_secs(1 << 50);
const RECHECK: Duration = Duration::from_secs(60);

/// Values, told apart by where they come from.
pub(crate) const OF_MEMORY: u64 = 1;
pub(crate) const OF_NEAR: u64 = 2;
pub(crate) const OF_TRUTH: u64 = 3;
pub(crate) const OF_ANOTHER: u64 = 4;
/// What everybody holds alike.
pub(crate) const OLD: u64 = 5;
pub(crate) const NEW: u64 = 7;
pub(crate) const LOADED: u64 = 9;
/// Has no encoding.
pub(crate) const UNSPEAKABLE: u64 = 13;

fn name_of(value: u64) -> &'static str {
    match value {
        OF_MEMORY => "memory's",
        OF_NEAR => "near's",
        OF_TRUTH => "truth's",
        OF_ANOTHER => "another's",
        OLD => "the old one",
        NEW => "the new one",
        LOADED | UNSPEAKABLE => "the loaded one",
        other => panic!("nobody's value: {other}"),
    }
}

fn with_freshness(value: u64, freshness: Freshness) -> String {
    let stale = if freshness == Freshness::Stale { " (stale)" } else { "" };
    format!("{}{stale}", name_of(value))
}

/// JSON, but for one value.
struct Fussy;

impl Codec<u64> for Fussy {
    fn encode(&self, value: &u64, out: &mut Vec<u8>) -> Result<()> {
        if *value == UNSPEAKABLE {
            return Err(Error::new(ErrorKind::Codec, "fussy", "encode"));
        }
        Json::default().encode(value, out)
    }
    fn decode(&self, bytes: &Bytes) -> Result<u64> {
        Json::default().decode(bytes)
    }
    fn fingerprint(&self) -> Fingerprint {
        Fingerprint(0xf)
    }
}

/// What lies below memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Below {
    Nothing,
    Truth,
    NearAndTruth,
}

pub(crate) struct World {
    pub(crate) cache: Cache<String, u64>,
    pub(crate) near: Scripted,
    pub(crate) truth: Scripted,
    pub(crate) hands: Hands,
    clock: Clock,
    below: Below,
    versions: HybridClock,
    later: Tasks,
    namespace: Namespace,
    loads: Arc<Mutex<usize>>,
    /// The kinds of error that tiers were told to answer with.
    fails_with: Mutex<Vec<ErrorKind>>,
    before: Option<State>,
}

/// What everybody holds at some moment.
#[derive(Clone, Debug)]
struct State {
    memory: Option<(u64, Freshness)>,
    is_in_memory: bool,
    tiers: HashMap<&'static str, Entry>,
}

/// A lifetime as a builder is told it: how long fresh, and how long usable after that.
pub(crate) type Lifetime = (Option<Duration>, Duration);

impl World {
    pub(crate) fn new(below: Below) -> Self {
        Self::with(below, (Some(TTL), STALE_FOR), RECHECK)
    }

    pub(crate) fn with(below: Below, (ttl, stale_for): Lifetime, recheck: Duration) -> Self {
        let (clock, hands) = Clock::manual();
        let (near, truth, later) = (Scripted::new("near"), Scripted::new("truth"), Tasks::new());
        let mut builder = Cache::builder()
            .capacity(100)
            .clock(clock.clone())
            .spawner(later.clone())
            .stale_for(stale_for)
            .degraded_ttl(DEGRADED_TTL);
        if let Some(ttl) = ttl {
            builder = builder.ttl(ttl);
        }
        builder = match below {
            Below::Nothing => builder,
            Below::Truth => builder.recheck(recheck).namespace("test").codec(Fussy).tiers(truth.clone()),
            Below::NearAndTruth => {
                let tiers = chain([near.clone().erase(), truth.clone().erase()]).unwrap();
                builder.recheck(recheck).namespace("test").codec(Fussy).tiers(tiers)
            }
        };
        Self {
            cache: builder.build().unwrap(),
            near,
            truth,
            hands,
            versions: HybridClock::new(clock.clone(), 1),
            clock,
            below,
            later,
            namespace: Namespace::new("test").unwrap(),
            loads: Arc::default(),
            fails_with: Mutex::default(),
            before: None,
        }
    }

    fn pass(&self, time: Duration) {
        self.hands.advance(time);
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.wall()
    }

    /// Memory in the state of this name. Tiers hold nothing afterwards.
    pub(crate) fn memory_is(&self, state: &str) {
        let (ttl, then) = match state {
            "nothing" => return,
            "fresh" => (Ttl::Forever, Duration::ZERO),
            "stale" => (Ttl::For(TTL), TTL),
            "overdue" => (Ttl::Forever, RECHECK),
            "expired" => (Ttl::For(TTL), TTL + STALE_FOR),
            other => panic!("no such state: {other}"),
        };
        self.cache.insert_for("k".into(), OF_MEMORY, ttl).wait().unwrap();
        self.pass(then);
        self.near.empty();
        self.truth.empty();
    }

    /// A tier in the state of this name: what it holds is newer than whatever was set before.
    pub(crate) fn tier_is(&self, tier: &Scripted, state: &str, value: u64) {
        self.pass(Duration::from_millis(1));
        let (now, version) = (self.now(), self.versions.draw());
        let ours = Codec::<u64>::fingerprint(&Fussy);
        let (text, fingerprint, fresh_for, stale_for) = match state {
            "absent" => return,
            "removed" => {
                self.put(tier, &Write::remove(self.path(), version, now));
                return;
            }
            "fresh" | "in doubt" => (value.to_string(), ours, TTL, STALE_FOR),
            "stale" => (value.to_string(), ours, Duration::ZERO, STALE_FOR),
            "expired" => (value.to_string(), ours, Duration::ZERO, Duration::ZERO),
            "unreadable" => ("no number".to_owned(), ours, TTL, STALE_FOR),
            "foreign" => (value.to_string(), Fingerprint(1), TTL, STALE_FOR),
            failing => {
                tier.set_reading(Some(self.fails(failing)));
                return;
            }
        };
        let confirmed_at = if state == "in doubt" { now.minus(RECHECK) } else { now };
        let value = Encoded::new(text, fingerprint);
        let deadlines = Deadlines::after(now, fresh_for, stale_for);
        let record = Record { version, deadlines, confirmed_at, ..Record::new(value, now) };
        self.put(tier, &Write::put(self.path(), &record));
    }

    /// Another writer, whose clock is ahead, has written the truth.
    pub(crate) fn another_is_ahead(&self, tier: &Scripted) {
        let version = Version::from_parts(self.versions.draw().parts().0 + (1 << 30), 5);
        let value = Encoded::new(OF_ANOTHER.to_string(), Codec::<u64>::fingerprint(&Fussy));
        let record = Record { version, ..Record::new(value, self.now()) };
        self.put(tier, &Write::put(self.path(), &record));
    }

    fn put(&self, tier: &Scripted, write: &Write<'_>) {
        assert_eq!(
            *tier.store().write(std::slice::from_ref(write)).unwrap()[0].as_ref().unwrap(),
            Wrote::Done
        );
    }

    fn path(&self) -> Path<'_> {
        Path::new(&self.namespace, &b"k"[..])
    }

    pub(crate) fn tiers(&self) -> Vec<&Scripted> {
        match self.below {
            Below::Nothing => vec![],
            Below::Truth => vec![&self.truth],
            Below::NearAndTruth => vec![&self.near, &self.truth],
        }
    }

    fn state(&self) -> State {
        let tiers = self.tiers().into_iter().map(|tier| (tier.name(), tier.held(&self.namespace, "k")));
        State {
            memory: self.cache.resident("k"),
            is_in_memory: !self.cache.is_empty(),
            tiers: tiers.collect(),
        }
    }

    /// From here on it is said what has changed.
    pub(crate) fn begin(&mut self) {
        self.pass(Duration::from_millis(1));
        self.before = Some(self.state());
    }

    /// What is still to be done behind.
    pub(crate) fn run_behind(&self) {
        self.later.run();
    }

    pub(crate) fn loads(&self) -> usize {
        *self.loads.lock()
    }

    /// What memory holds now.
    pub(crate) fn memory(&self) -> String {
        let (before, after) = (self.before.as_ref().unwrap(), self.state());
        if (before.memory, before.is_in_memory) == (after.memory, after.is_in_memory) {
            return "kept".to_owned();
        }
        self.memory_holds()
    }

    /// The same, and not whether that is a change.
    pub(crate) fn memory_holds(&self) -> String {
        match self.cache.resident("k") {
            None => "nothing".to_owned(),
            Some((value, freshness)) => {
                let left = self.cache.time_left("k").wait().unwrap();
                let is_short = matches!(left, Some(TimeLeft::Fresh(left)) if left <= DEGRADED_TTL);
                let short = if is_short { " (degraded)" } else { "" };
                format!("{}{short}", with_freshness(value, freshness))
            }
        }
    }

    /// Everybody holds the same value.
    pub(crate) fn all_hold_the_old_one(&self) {
        self.cache.insert("k".into(), OLD).wait().unwrap();
    }

    /// What a tier's record says of its lifetime; `None` if there is none.
    pub(crate) fn deadlines(&self, tier: &Scripted) -> Option<Deadlines> {
        tier.held(&self.namespace, "k").record().map(|record| record.deadlines)
    }

    /// What a tier holds now.
    pub(crate) fn held(&self, tier: &Scripted) -> String {
        let (before, after) =
            (&self.before.as_ref().unwrap().tiers[tier.name()], tier.held(&self.namespace, "k"));
        let value_of = |entry: &Entry| entry.record().map(|record| record.value.clone());
        match &after {
            after if after.version() == before.version() && value_of(after) == value_of(before) => {
                "kept".to_owned()
            }
            Entry::Absent => "nothing".to_owned(),
            Entry::Removed(_) => "removed".to_owned(),
            Entry::Present(record) if record.value.bytes.is_empty() => "blank".to_owned(),
            Entry::Present(record) => {
                let again = if value_of(before) == value_of(&after) { ", anew" } else { "" };
                let text = std::str::from_utf8(&record.value.bytes).unwrap();
                format!("{}{again}", name_of(text.parse().unwrap()))
            }
        }
    }

    /// What a call that answers a value, or none, says.
    pub(crate) fn said(&self, answer: Result<Detailed<Option<u64>>>) -> String {
        match answer {
            Ok(Detailed { value: None, .. }) => "nothing".to_owned(),
            Ok(Detailed { value: Some(value), freshness, source }) => {
                let is_loaded = matches!(value, LOADED | UNSPEAKABLE);
                assert!(is_loaded || source != Source::Loader, "{value} from {source:?}");
                with_freshness(value, freshness)
            }
            Err(error) => self.told(&error),
        }
    }

    /// An error: whose it is, where it is the one that a tier was told to answer with.
    pub(crate) fn told(&self, error: &Error) -> String {
        if error.tier() == "cache" || error.kind() == ErrorKind::Contended {
            return format!("`{:?}`", error.kind());
        }
        assert!(self.fails_with.lock().contains(&error.kind()), "{error:?} was not in the script");
        format!("{}'s error", error.tier())
    }

    /// A tier's writes go as this word says.
    pub(crate) fn writing_is(&self, tier: &Scripted, word: &str) {
        let writing = match word {
            "takes it" => return,
            "is ahead" => return self.another_is_ahead(tier),
            "is always ahead" => Writing::IsOlder,
            "too late" => Writing::TooLate,
            "changed" => Writing::Changed,
            "lost" => {
                self.fails_with.lock().push(ErrorKind::Timeout);
                Writing::IsLost
            }
            failing => Writing::Fails(self.fails(failing)),
        };
        tier.set_writing(writing);
    }

    fn fails(&self, word: &str) -> ErrorKind {
        let kind = match word {
            "down" => ErrorKind::Unavailable,
            "timeout" => ErrorKind::Timeout,
            "closed" => ErrorKind::Closed,
            "full" => ErrorKind::Full,
            "failing" => ErrorKind::Storage,
            other => panic!("no such state: {other}"),
        };
        self.fails_with.lock().push(kind);
        kind
    }

    /// What a read of this name says.
    pub(crate) fn read(&self, call: &str) -> String {
        match call {
            "get" => self.said(self.cache.get("k").detailed().wait()),
            "get_many" => {
                let answers = self.cache.get_many(["k"]).wait().unwrap();
                match &answers[0] {
                    Ok(value) => value.map_or("nothing", name_of).to_owned(),
                    Err(error) => self.told(error),
                }
            }
            "contains" => match self.cache.contains("k").wait() {
                Ok(true) => "yes".to_owned(),
                Ok(false) => "no".to_owned(),
                Err(error) => self.told(&error),
            },
            "time_left" => match self.cache.time_left("k").wait() {
                Ok(None) => "nothing".to_owned(),
                Ok(Some(TimeLeft::Fresh(_) | TimeLeft::Forever)) => "fresh".to_owned(),
                Ok(Some(TimeLeft::Stale(_))) => "stale".to_owned(),
                Err(error) => self.told(&error),
            },
            "resident" => {
                self.cache.resident("k").map_or("nothing".to_owned(), |(v, f)| with_freshness(v, f))
            }
            "read" => self.cache.read("k", |value| *value).map_or("nothing", name_of).to_owned(),
            other => panic!("no such read: {other}"),
        }
    }

    /// What a load of this name says, whose loader ends in this way.
    pub(crate) fn load(&self, call: &str, loader: &'static str) -> String {
        self.load_during(call, loader, || {})
    }

    /// The same, with the truth's writes going as `word` says from when the loader runs.
    pub(crate) fn load_while(
        self: &Arc<Self>,
        call: &str,
        loader: &'static str,
        word: &'static str,
    ) -> String {
        let world = self.clone();
        self.load_during(call, loader, move || world.writing_is(&world.truth, word))
    }

    fn load_during(
        &self,
        call: &str,
        loader: &'static str,
        meanwhile: impl FnOnce() + Send + 'static,
    ) -> String {
        let loads = self.loads.clone();
        let run = move || {
            meanwhile();
            *loads.lock() += 1;
            match loader {
                "brings" => Ok(LOADED),
                "brings what has no encoding" => Ok(UNSPEAKABLE),
                "fails" => Err("the origin is down"),
                "panics" => std::panic::resume_unwind(Box::new("planted")),
                other => panic!("no such loader: {other}"),
            }
        };
        let answer = match call {
            "get_with" => self
                .cache
                .get_with("k", async move || run().unwrap())
                .detailed()
                .wait()
                .map_err(LoadError::Cache),
            "get_with_blocking" => {
                let load = move || run().unwrap();
                self.cache.get_with_blocking("k", load).detailed().wait().map_err(LoadError::Cache)
            }
            "try_get_with" => self.cache.try_get_with("k", async move || run()).detailed().wait(),
            "try_get_with_blocking" => self.cache.try_get_with_blocking("k", run).detailed().wait(),
            other => panic!("no such load: {other}"),
        };
        match answer {
            Ok(detailed) => self.said(Ok(detailed_option(detailed))),
            Err(LoadError::Loader(_)) => "the loader's error".to_owned(),
            Err(LoadError::Cache(error)) => self.told(&error),
        }
    }

    pub(crate) fn truth_is_down(&self) {
        self.truth.set_reading(Some(self.fails("down")));
    }

    /// How long what a call of this name stores is fresh, and usable; `None` for ever. Every tier that holds it says so too.
    pub(crate) fn lifetime_of(&self, call: &str) -> (Option<Duration>, Option<Duration>) {
        let (verb, ttl) = match call.split_once(' ') {
            Some((verb, "`Default`")) => (verb, Ttl::Default),
            Some((verb, "`For`")) => (verb, Ttl::For(OF_CALL)),
            Some((verb, "zero")) => (verb, Ttl::For(Duration::ZERO)),
            Some((verb, "the longest")) => (verb, Ttl::For(Duration::MAX)),
            Some((verb, "`Forever`")) => (verb, Ttl::Forever),
            _ => (call, Ttl::Default),
        };
        let key = || "k".to_owned();
        let written_at = self.now();
        match verb {
            "insert" => self.cache.insert(key(), NEW).wait().unwrap(),
            "insert_many" => drop(self.cache.insert_many([(key(), NEW)]).wait().unwrap()),
            "insert_for" => self.cache.insert_for(key(), NEW, ttl).wait().unwrap(),
            "touch" => {
                self.cache.insert_for(key(), NEW, Duration::from_secs(1)).wait().unwrap();
                assert!(self.cache.touch("k", ttl).wait().unwrap());
            }
            "get_with" => assert_eq!(self.cache.get_with("k", async || LOADED).wait().unwrap(), LOADED),
            _ => {
                self.truth_is_down();
                self.truth.set_writing(Writing::Fails(ErrorKind::Unavailable));
                assert_eq!(self.cache.get_with("k", async || LOADED).wait().unwrap(), LOADED);
            }
        }
        let in_tiers: Vec<Deadlines> =
            self.tiers().into_iter().filter_map(|tier| self.deadlines(tier)).collect();
        let (fresh_for, usable_for) = self.lifetime_in_memory();
        let until = |time: Option<Duration>| time.map_or(Timestamp::NEVER, |time| written_at.plus(time));
        for deadlines in in_tiers {
            let expected = Deadlines { fresh_until: until(fresh_for), usable_until: until(usable_for) };
            assert_eq!(deadlines, expected, "{call}: a tier says so too");
        }
        (fresh_for, usable_for)
    }

    fn lifetime_in_memory(&self) -> (Option<Duration>, Option<Duration>) {
        let step = Duration::from_millis(1);
        let mut lives = [Duration::ZERO; 2];
        for (index, expected) in [Freshness::Fresh, Freshness::Stale].into_iter().enumerate() {
            let is_so = || self.cache.resident("k").is_some_and(|(_, freshness)| freshness == expected);
            let left = match self.cache.time_left("k").wait() {
                Ok(Some(TimeLeft::Forever)) => return (None, None),
                Ok(Some(TimeLeft::Fresh(left) | TimeLeft::Stale(left))) if is_so() => left,
                _ => continue,
            };
            if left > AGES {
                return (Some(left), Some(left));
            }
            self.pass(left - step);
            assert!(is_so(), "{expected:?} to the end");
            self.pass(step);
            assert!(!is_so(), "and no longer");
            lives[index] = left;
        }
        (Some(lives[0]), Some(lives[0] + lives[1]))
    }

    /// What a write of this name says.
    pub(crate) fn write(&self, call: &str) -> String {
        let done = |result: Result<()>| result.map_or_else(|error| self.told(&error), |()| "done".to_owned());
        let of_one =
            |results: Result<Vec<Result<()>>>| done(results.and_then(|mut results| results.remove(0)));
        match call {
            "insert" => done(self.cache.insert("k".into(), NEW).wait()),
            "insert_for" => done(self.cache.insert_for("k".into(), NEW, Ttl::Forever).wait()),
            "insert_many" => of_one(self.cache.insert_many([("k".into(), NEW)]).wait()),
            "remove" => done(self.cache.remove("k").wait()),
            "remove_many" => of_one(self.cache.remove_many(["k"]).wait()),
            "clear" => done(self.cache.clear().wait()),
            "take" => match self.cache.take("k").wait() {
                Ok(value) => value.map_or("nothing", name_of).to_owned(),
                Err(error) => self.told(&error),
            },
            "touch" => match self.cache.touch("k", Ttl::Forever).wait() {
                Ok(true) => "yes".to_owned(),
                Ok(false) => "no".to_owned(),
                Err(error) => self.told(&error),
            },
            other => panic!("no such write: {other}"),
        }
    }
}

fn detailed_option(detailed: Detailed<u64>) -> Detailed<Option<u64>> {
    Detailed { value: Some(detailed.value), freshness: detailed.freshness, source: detailed.source }
}
