//! Warm restart: memory to one file when the cache is closed, and back when it is built.
//!
//! The file is worth something only if nothing came between. So whoever builds a cache over it takes it out of the way
//! before the first call is accepted, and marks, in a file beside it, which run began last; the file names the run that
//! wrote it, and the opening of the tiers that ended with it. `docs/CONSISTENCY.md` says case by case what is made of it.

mod disk;
mod format;
#[cfg(all(test, not(nanotier_schedules)))]
mod tests;

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::io::{self, Read as _};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nanotier_tier::record::{Framing, Unreadable};
use nanotier_tier::shaping::Shaping;
use nanotier_tier::{
    AHEAD_MAX, Bytes, Clock, Codec, Encoded, Entry, Error, ErrorKind, Fingerprint, Freshness, HybridClock,
    Lineage, Namespace, Path, Record, Result, Shape, Timestamp,
};
use parking_lot::Mutex;

use crate::below::{KeyBytesOf, KeyOf};
use crate::cache::Inner;
use crate::expiry::{Resident, State};

use disk::Lies;
pub(crate) use disk::{Disk, System};
use format::{Bad, Header, Reader, Values, Writer};

/// Where memory is kept while the process is down, and how much of it may take how long. See
/// [`Builder::warm_restart`](crate::Builder::warm_restart).
#[derive(Clone)]
#[must_use = "give it to `Builder::warm_restart`"]
pub struct WarmRestart {
    pub(crate) file: PathBuf,
    pub(crate) time_max: Duration,
    pub(crate) entries_max: u64,
    secret: Option<[u8; 16]>,
    shaping: Option<Shaping>,
    pub(crate) is_in_the_clear: bool,
    progress: Option<Arc<dyn Fn(WarmProgress) + Send + Sync>>,
}

impl WarmRestart {
    /// How long loading may take unless told otherwise.
    pub const TIME_DEFAULT: Duration = Duration::from_secs(5);

    /// Memory in this file. Its folder must exist, and only this cache may use the file and those beside it whose names are
    /// the same with `.nanotier-run`, for good, and `.nanotier-part`, for a moment and with a number, behind it. A symbolic
    /// link in its place is not followed.
    ///
    /// Values lie in it as the codec writes them, readable by the owner alone, unless it is [`shaped`](Self::shaped). Over
    /// tiers that encrypt, [`build`](crate::Builder::build) asks for that.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self {
            file: file.into(),
            time_max: Self::TIME_DEFAULT,
            entries_max: u64::MAX,
            secret: None,
            shaping: None,
            is_in_the_clear: false,
            progress: None,
        }
    }

    /// How long [`build`](crate::Builder::build) may read, by the cache's clock; what has been read by then is kept: it is
    /// the hottest part. To put it into memory takes a little longer still. Default [`TIME_DEFAULT`](Self::TIME_DEFAULT).
    pub fn warm_for(self, time_max: Duration) -> Self {
        Self { time_max, ..self }
    }

    /// How many entries are written and loaded at most: the hottest. All that memory holds unless told otherwise, and
    /// never more than its capacity.
    pub fn entries(self, entries_max: u64) -> Self {
        Self { entries_max, ..self }
    }

    /// Keys the digests in the file: what was written with another secret is not read. It tells mistakes and forgeries by
    /// who has no secret apart, and encrypts nothing.
    pub fn secret(self, secret: [u8; 16]) -> Self {
        Self { secret: Some(secret), ..self }
    }

    /// Values compressed, encrypted, or both, as tiers do with [`shaping`](crate::tier::shaping): the same one will do. Keys
    /// stay readable.
    ///
    /// With encryption nothing is loaded that was not sealed by a key of the ring, for this file: neither what was written in
    /// the clear, nor what was moved here from a tier or from another warm file. A file that is sealed with a key that is not
    /// in the ring is as good as none.
    pub fn shaped(self, shaping: Shaping) -> Self {
        Self { shaping: Some(shaping), ..self }
    }

    /// Leaves values in the clear also over tiers that encrypt, for a folder that is as safe as memory: one in memory, or on an
    /// encrypted disk. Does nothing to a file that is [`shaped`](Self::shaped).
    pub fn in_the_clear(self) -> Self {
        Self { is_in_the_clear: true, ..self }
    }

    pub(crate) fn encrypts(&self) -> bool {
        self.shaping.as_ref().is_some_and(Shaping::encrypts)
    }

    /// What is said in the header of what is done to values.
    fn values(&self) -> Values {
        match &self.shaping {
            None => Values::Plain,
            Some(shaping) => Values::Shaped { encrypted: shaping.encrypts() },
        }
    }

    /// Whether a file may be believed of whose values this is said.
    fn believes(&self, values: Values) -> bool {
        let wanted = self.values();
        values == wanted || (wanted == Values::Shaped { encrypted: false } && values == Values::Plain)
    }

    /// Is told how far loading and saving are, every thousand entries and at the end, on the thread that does it. It must not
    /// close the cache.
    pub fn on_progress(self, told: impl Fn(WarmProgress) + Send + Sync + 'static) -> Self {
        Self { progress: Some(Arc::new(told)), ..self }
    }

    fn tell(&self, phase: WarmPhase, entries: u64, of: u64) {
        if let Some(told) = &self.progress {
            told(WarmProgress { phase, entries, of });
        }
    }

    fn framing(&self) -> Framing {
        self.secret.map_or_else(Framing::default, |secret| Framing::default().with_secret(secret))
    }

    /// The mark of the run that has begun last.
    fn mark(&self) -> PathBuf {
        self.beside(".nanotier-run")
    }

    /// Where a mark is written before it gets its name.
    fn part_of_mark(&self) -> PathBuf {
        self.beside(".nanotier-part")
    }

    /// Where a run writes its warm file. Its own name: a run that closes late must not meet one that has begun.
    fn part_of(&self, run: u64) -> PathBuf {
        self.beside(&format!(".nanotier-part-{run:016x}"))
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.file.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    }
}

/// The secret is not shown.
impl fmt::Debug for WarmRestart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WarmRestart")
            .field("file", &self.file)
            .field("time_max", &self.time_max)
            .field("entries_max", &self.entries_max)
            .field("shaping", &self.shaping)
            .finish_non_exhaustive()
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WarmProgress {
    /// What is being done.
    pub phase: WarmPhase,
    /// How many entries have been looked at.
    pub entries: u64,
    /// How many there are: in the file, or about so many in memory.
    pub of: u64,
}

/// What is being done with a warm file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WarmPhase {
    /// `build()` reads it.
    Loading,
    /// `close()` writes it.
    Saving,
}

/// What a warm restart came to: [`Cache::warmth`](crate::Cache::warmth). As text, a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warmth {
    /// How many entries came into memory.
    pub loaded: u64,
    /// How many were read that had expired meanwhile.
    pub expired: u64,
    /// How many were read that the codec, the key's type or the shaping made nothing of.
    pub unreadable: u64,
    /// How many the file has.
    pub in_file: u64,
    /// How long it took, by the cache's clock.
    pub took: Duration,
    /// How it ended.
    pub end: WarmEnd,
}

/// How a warm restart ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WarmEnd {
    /// All of the file was read.
    Complete,
    /// As much was loaded as memory may hold, or as was asked for.
    Full,
    /// The time was up: the hottest part was loaded.
    OutOfTime,
    /// Nothing was loaded: memory began empty.
    Cold(Cold),
}

/// Why nothing was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cold {
    /// There is no file: the first start, or the last run did not end with `close()`.
    NoFile,
    /// What lies there is no warm file. It is left as it is, and none is written in its place.
    Foreign,
    /// The file is cut off or damaged.
    Damaged,
    /// The file has a format that this build does not know.
    OtherFormat,
    /// The file is of another namespace, or was written with another secret.
    OtherCache,
    /// Its values are encrypted or compressed and they are not to be, or they are to be encrypted and are not.
    OtherShaping,
    /// It is encrypted with a key that is not in the ring, or its beginning was altered.
    OtherKey,
    /// The values were written by another codec or schema.
    OtherCodec,
    /// Another run began after the one that wrote it.
    OtherRun,
    /// The tiers below were changed since, or not closed properly.
    OtherState,
    /// It was written more than 5 minutes ahead of our clock: how old it is cannot be told.
    FromTheFuture,
    /// The file or its folder could not be used; why. What lies there is not loaded, and none is written.
    Unusable(String),
}

impl Cold {
    /// Whether nothing may be written in its place.
    fn is_for_good(&self) -> bool {
        matches!(self, Self::Foreign | Self::Unusable(_))
    }
}

impl fmt::Display for Cold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoFile => "there is no warm file: a first start, or the last run did not close properly",
            Self::Foreign => "what lies there is no warm file, and is left alone",
            Self::Damaged => "the warm file is damaged or cut off",
            Self::OtherFormat => "the warm file has a format that this version does not know",
            Self::OtherCache => "the warm file is of another namespace or was written with another secret",
            Self::OtherShaping => "the values of the warm file are not encrypted as is asked for",
            Self::OtherKey => "the warm file is encrypted with a key that is not known here, or was altered",
            Self::OtherCodec => "the warm file was written with another codec or schema",
            Self::OtherRun => "another run began after the one that wrote the warm file",
            Self::OtherState => "the tiers were changed after the warm file was written, or not closed",
            Self::FromTheFuture => "the warm file was written ahead of this machine's clock",
            Self::Unusable(why) => return write!(f, "the warm file cannot be used: {why}"),
        })
    }
}

impl fmt::Display for Warmth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.end {
            WarmEnd::Cold(cold) => return write!(f, "cold: {cold}"),
            WarmEnd::Complete => f.write_str("warm: ")?,
            WarmEnd::Full => f.write_str("warm, and full: ")?,
            WarmEnd::OutOfTime => f.write_str("warm, as far as there was time: ")?,
        }
        write!(f, "{} of {} entries", self.loaded, self.in_file)?;
        // A coarse clock shows no time for a small file.
        if !self.took.is_zero() {
            write!(f, " in {:?}", self.took)?;
        }
        if self.expired > 0 {
            write!(f, ", {} expired", self.expired)?;
        }
        if self.unreadable > 0 {
            write!(f, ", {} unreadable", self.unreadable)?;
        }
        Ok(())
    }
}

/// Keys and values as bytes, for the file.
pub(crate) struct Seam<K, V> {
    namespace: Namespace,
    /// For what is no entry, and for what is sealed for a file.
    beside: Namespace,
    key_bytes: KeyBytesOf<K>,
    key_of: KeyOf<K>,
    codec: Arc<dyn Codec<V>>,
    fingerprint: Fingerprint,
}

impl<K, V: 'static> Seam<K, V> {
    pub(crate) fn new(
        namespace: Namespace,
        key_bytes: KeyBytesOf<K>,
        key_of: KeyOf<K>,
        codec: Arc<dyn Codec<V>>,
    ) -> Self {
        let (beside, fingerprint) = (namespace.beside("warm"), codec.fingerprint());
        Self { namespace, beside, key_bytes, key_of, codec, fingerprint }
    }
}

/// What the tiers say of the state that the file has to belong to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Truth {
    /// Memory is all there is.
    Memory,
    /// The tiers know by which opening they were left as they are.
    Known(Lineage),
    /// Others write them: every entry is to be checked before it is served.
    Shared,
}

impl Truth {
    /// In place of an opening: there are no tiers.
    const MEMORY: u64 = 0;
    /// In place of an opening: there are tiers that do not say.
    const SHARED: u64 = 1;

    /// What a file has to say that was written at the end of the last opening; `None` if none can be right.
    fn expected(self) -> Option<u64> {
        match self {
            Self::Known(lineage) => lineage.unchanged_since,
            Self::Memory | Self::Shared => Some(self.opening()),
        }
    }

    /// What a file says that is written at the end of this opening.
    fn opening(self) -> u64 {
        match self {
            Self::Memory => Self::MEMORY,
            Self::Shared => Self::SHARED,
            Self::Known(lineage) => lineage.opening,
        }
    }
}

/// What a cache knows of its warm file.
pub(crate) struct Warm<K, V> {
    options: WarmRestart,
    seam: Seam<K, V>,
    framing: Framing,
    disk: Arc<dyn Disk>,
    /// This run's number.
    run: u64,
    pub(crate) warmth: Warmth,
    /// What saving came to, once it was done.
    saved: Mutex<Option<Result<()>>>,
}

/// How an entry's times are made of a record's.
pub(crate) struct Times<'a> {
    pub(crate) clock: &'a Clock,
    pub(crate) versions: &'a HybridClock,
    pub(crate) recheck: Duration,
    pub(crate) truth: Truth,
}

/// Entries for memory, the hottest first.
pub(crate) type Loaded<K, V> = Vec<(K, Resident<V>)>;

impl<K, V: 'static> Warm<K, V> {
    /// Takes the file out of the way, and reads it if it belongs to this state. From here on no earlier file is believed,
    /// whatever happens.
    pub(crate) fn open(
        options: WarmRestart,
        seam: Seam<K, V>,
        disk: Arc<dyn Disk>,
        times: &Times<'_>,
        capacity: u64,
    ) -> (Self, Loaded<K, V>) {
        times.clock.catch_up();
        let begun = times.clock.now();
        let framing = options.framing();
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u64(times.versions.writer());
        let warmth = Warmth {
            loaded: 0,
            expired: 0,
            unreadable: 0,
            in_file: 0,
            took: Duration::ZERO,
            end: WarmEnd::Complete,
        };
        let saved = Mutex::new(None);
        let mut warm = Self { options, seam, framing, disk, run: hasher.finish(), warmth, saved };
        let mut entries = Vec::new();
        warm.warmth.end = warm
            .claim()
            .and_then(|(input, last_run)| warm.load(input, last_run, times, capacity, &mut entries))
            .unwrap_or_else(|cold| {
                entries = Vec::new();
                (warm.warmth.expired, warm.warmth.unreadable) = (0, 0);
                WarmEnd::Cold(cold)
            });
        warm.warmth.loaded = entries.len() as u64;
        times.clock.catch_up();
        warm.warmth.took = times.clock.now().since(begun);
        (warm, entries)
    }

    /// Marks this run as the last to begin, and takes the file away. Answers what was in it, and the mark that was there.
    fn claim(&self) -> Result<(Box<dyn disk::Input>, Option<u64>), Cold> {
        let (disk, file) = (&*self.disk, &self.options.file);
        let unusable = |error: io::Error| Cold::Unusable(format!("{}: {error}", file.display()));
        let found = match disk.lies_at(file) {
            Ok(Lies::Other) => Err(None),
            Ok(Lies::Nothing) => Ok(None),
            Ok(Lies::File) => {
                let opened = disk.open(file).and_then(|mut input| Ok((is_ours(&mut input)?, input)));
                opened.map(Some).map_err(Some)
            }
            Err(error) => Err(Some(error)),
        };
        let last_run = self.last_run();
        if let Some(run) = last_run {
            // What a run that was killed while it closed has left.
            let _ = disk.remove(&self.options.part_of(run));
        }
        // Either is enough to make an earlier file worthless: the other is tried even if the first fails. Marked also where
        // something foreign lies: the file that lay there before may come back.
        let marked = self.write_whole(&self.options.mark(), &self.options.part_of_mark(), |mut output| {
            output.write_all(&format::mark_of(self.run))?;
            output.sync()
        });
        if let Ok(Some((false, _))) | Err(None) = found {
            return Err(Cold::Foreign);
        }
        let found = found.map_err(|error| error.unwrap_or_else(|| io::Error::other("foreign")));
        let removed = match &found {
            Ok(Some(_)) => disk.remove(file).and_then(|()| disk.sync_folder_of(file)),
            Ok(None) | Err(_) => Ok(()),
        };
        let found = found.map_err(unusable)?;
        marked.and(removed).map_err(unusable)?;
        let (_, input) = found.ok_or(Cold::NoFile)?;
        Ok((input, last_run))
    }

    /// The run that marked itself last.
    fn last_run(&self) -> Option<u64> {
        let mut mark = Vec::new();
        let input = self.disk.open(&self.options.mark()).ok()?;
        input.take(format::MARK_LEN as u64 + 1).read_to_end(&mut mark).ok()?;
        format::run_of(&mark)
    }

    /// A file that is there whole or not at all, on disk when this returns.
    fn write_whole<T>(
        &self,
        path: &FilePath,
        part: &FilePath,
        write: impl FnOnce(Box<dyn disk::Output>) -> io::Result<T>,
    ) -> io::Result<T> {
        let disk = &*self.disk;
        let written = disk.create(part).and_then(write).and_then(|written| {
            disk.rename(part, path)?;
            Ok(written)
        });
        if written.is_err() {
            // If it stays, the next run takes it away.
            let _ = disk.remove(part);
        }
        let written = written?;
        disk.sync_folder_of(path)?;
        Ok(written)
    }

    fn load(
        &mut self,
        input: Box<dyn disk::Input>,
        last_run: Option<u64>,
        times: &Times<'_>,
        capacity: u64,
        entries: &mut Loaded<K, V>,
    ) -> Result<WarmEnd, Cold> {
        let cold = |bad| match bad {
            Bad::Format => Cold::OtherFormat,
            Bad::Damaged => Cold::Damaged,
        };
        let begun = times.clock.now();
        let (header, mut reader) = Reader::begin(input).map_err(cold)?;
        self.judge(&header, reader.seal(), last_run, times)?;
        self.warmth.in_file = reader.entries();
        let wanted = capacity.min(self.options.entries_max);
        let mut seen = 0;
        loop {
            if entries.len() as u64 >= wanted && seen < reader.entries() {
                self.options.tell(WarmPhase::Loading, seen, reader.entries());
                return Ok(WarmEnd::Full);
            }
            if seen % LOOK_AT_CLOCK_EVERY == 0 {
                times.clock.catch_up();
                if times.clock.now().since(begun) >= self.options.time_max && seen < reader.entries() {
                    self.options.tell(WarmPhase::Loading, seen, reader.entries());
                    return Ok(WarmEnd::OutOfTime);
                }
            }
            if seen % TELL_EVERY == 0 && seen > 0 {
                self.options.tell(WarmPhase::Loading, seen, reader.entries());
            }
            let Some((key, record)) = reader.next().map_err(cold)? else { break };
            seen += 1;
            if let Some(entry) = self.entry(&key, record, header.run, times)? {
                entries.push(entry);
            }
        }
        self.options.tell(WarmPhase::Loading, seen, reader.entries());
        Ok(WarmEnd::Complete)
    }

    /// Whether it is this cache's, of this state.
    fn judge(
        &self,
        header: &Header,
        seal: &[u8],
        last_run: Option<u64>,
        times: &Times<'_>,
    ) -> Result<(), Cold> {
        if header.digest != self.digest() {
            return Err(Cold::OtherCache);
        }
        if !self.options.believes(header.values) {
            return Err(Cold::OtherShaping);
        }
        if !self.is_sealed(header, seal) {
            return Err(Cold::OtherKey);
        }
        if header.fingerprint != self.seam.fingerprint {
            return Err(Cold::OtherCodec);
        }
        if Some(header.run) != last_run {
            return Err(Cold::OtherRun);
        }
        if Some(header.opening) != times.truth.expected() {
            return Err(Cold::OtherState);
        }
        if header.saved_at > times.clock.wall().plus(AHEAD_MAX) {
            return Err(Cold::FromTheFuture);
        }
        Ok(())
    }

    /// Of this cache and its secret.
    fn digest(&self) -> [u8; 16] {
        self.framing.digest(&Path::new(&self.seam.beside, &[][..]))
    }

    /// Nothing, under the path of a header: sealed, it says that whoever has the key wrote that header.
    fn seal_of(&self, header: &Header) -> (Path<'_>, Record) {
        let nothing = Encoded::new(Bytes::new(), header.fingerprint);
        let path = Path::new(&self.seam.beside, header.to_bytes().to_vec());
        (path, Record::new(nothing, header.saved_at))
    }

    /// The seal of a header; empty where values are not encrypted.
    fn seal(&self, header: &Header) -> Result<Bytes> {
        match &self.options.shaping {
            Some(shaping) if shaping.encrypts() => {
                let (path, record) = self.seal_of(header);
                Ok(shaping.shape(&path, &record)?.value.bytes)
            }
            Some(_) | None => Ok(Bytes::new()),
        }
    }

    fn is_sealed(&self, header: &Header, seal: &[u8]) -> bool {
        match &self.options.shaping {
            Some(shaping) if shaping.encrypts() => {
                let (path, mut record) = self.seal_of(header);
                let shape = Shape { compressed: false, encrypted: true };
                record.value =
                    Encoded { shape, ..Encoded::new(Bytes::copy_from_slice(seal), header.fingerprint) };
                shaping.open(&path, record).is_ok()
            }
            Some(_) | None => true,
        }
    }

    /// Under which an entry is sealed: neither a tier's record nor that of another run opens there.
    fn sealing_path(&self, run: u64, key: &[u8]) -> Path<'_> {
        Path::new(&self.seam.beside, [&run.to_le_bytes()[..], key].concat())
    }

    /// A record as it lies in the file; `None` if that cannot be.
    fn shape(&self, run: u64, key: &[u8], record: Record) -> Option<Record> {
        let Some(shaping) = &self.options.shaping else { return Some(record) };
        let shaped = shaping.shape(&self.sealing_path(run, key), &record).ok()?;
        // There are values that a tier has to see. A file has not.
        (shaped.value.shape.encrypted || !shaping.encrypts()).then_some(shaped)
    }

    /// A record as the codec wrote it; `None` if it is not to be believed.
    fn unshape(&self, run: u64, key: &[u8], record: Record) -> Option<Record> {
        let is_encrypted = record.value.shape.encrypted;
        let record = match &self.options.shaping {
            None => record,
            Some(shaping) if shaping.encrypts() && !is_encrypted => return None,
            Some(shaping) => shaping.open(&self.sealing_path(run, key), record).ok()?,
        };
        let is_ours = record.value.shape.is_plain() && record.value.fingerprint == self.seam.fingerprint;
        is_ours.then_some(record)
    }

    /// An entry as it goes into memory; `None` if it has expired or says nothing to us.
    fn entry(
        &mut self,
        key: &[u8],
        record: Vec<u8>,
        run: u64,
        times: &Times<'_>,
    ) -> Result<Option<(K, Resident<V>)>, Cold> {
        let path = Path::new(&self.seam.namespace, key);
        let record = match self.framing.decode(&path, &Bytes::from(record)) {
            Ok((Entry::Present(record), _)) => record,
            Err(Unreadable::TooLarge) => {
                self.warmth.unreadable += 1;
                return Ok(None);
            }
            Ok(_) | Err(_) => return Err(Cold::Damaged),
        };
        let Some(record) = self.unshape(run, key, record) else {
            self.warmth.unreadable += 1;
            return Ok(None);
        };
        times.versions.saw(record.version);
        if record.deadlines.freshness(times.clock.wall()) == Freshness::Expired {
            self.warmth.expired += 1;
            return Ok(None);
        }
        // A key whose type reads it otherwise than it writes it would be another key.
        let read = (self.seam.key_of)(key).filter(|read| *(self.seam.key_bytes)(read) == *key);
        let Some((key, value)) = read.zip(self.seam.codec.decode(&record.value.bytes).ok()) else {
            self.warmth.unreadable += 1;
            return Ok(None);
        };
        let (clock, recheck) = (times.clock, times.recheck);
        let entry = Resident::admitted(value, record.deadlines, record.written_at, record.version, clock);
        let entry = match times.truth {
            Truth::Memory => entry,
            Truth::Known(_) => entry.rechecked(record.confirmed_at, recheck, clock),
            Truth::Shared => entry.recheck_at(clock.now()),
        };
        Ok(Some((key, entry)))
    }
}

impl<K, V> Warm<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Writes what memory holds, once: who comes again hears what came of it.
    ///
    /// # Errors
    ///
    /// Why there is no warm file now.
    pub(crate) fn save(&self, inner: &Inner<K, V>, truth: Truth) -> Result<()> {
        let mut saved = self.saved.lock();
        if let Some(saved) = &*saved {
            return saved.clone();
        }
        let result = self.write(inner, truth);
        *saved = Some(result.clone());
        result
    }

    /// There will be no warm file, since the tiers could not be closed.
    pub(crate) fn give_up(&self, why: &Error) {
        self.saved.lock().get_or_insert_with(|| Err(why.clone()));
    }

    fn write(&self, inner: &Inner<K, V>, truth: Truth) -> Result<()> {
        let not_written = |kind, why: String| Error::new(kind, "cache", "warm file").with_detail(why);
        if let WarmEnd::Cold(cold) = &self.warmth.end {
            if cold.is_for_good() {
                return Err(not_written(ErrorKind::Storage, format!("not written: {cold}")));
            }
        }
        let failed = |error: io::Error| not_written(ErrorKind::Storage, format!("not written: {error}"));
        let in_use =
            || not_written(ErrorKind::InUse, "not written: another run has begun since this one did".into());
        if !self.is_last_run() {
            return Err(in_use());
        }
        let is_free = match self.disk.lies_at(&self.options.file).map_err(failed)? {
            Lies::Nothing => true,
            Lies::Other => false,
            Lies::File => self
                .disk
                .open(&self.options.file)
                .and_then(|mut input| is_ours(&mut input))
                .map_err(failed)?,
        };
        if !is_free {
            return Err(not_written(ErrorKind::Storage, format!("not written: {}", Cold::Foreign)));
        }
        let part = self.options.part_of(self.run);
        let written = self.write_whole(&self.options.file, &part, |output| {
            self.write_entries(inner, truth, output)?;
            // It took a while.
            if self.is_last_run() { Ok(()) } else { Err(io::ErrorKind::ResourceBusy.into()) }
        });
        written.map_err(|error| if self.is_last_run() { failed(error) } else { in_use() })
    }

    fn is_last_run(&self) -> bool {
        self.last_run() == Some(self.run)
    }

    fn write_entries(
        &self,
        inner: &Inner<K, V>,
        truth: Truth,
        output: Box<dyn disk::Output>,
    ) -> io::Result<()> {
        let clock = inner.clock();
        clock.catch_up();
        let saved_at = clock.wall();
        let header = Header {
            saved_at,
            run: self.run,
            opening: truth.opening(),
            fingerprint: self.seam.fingerprint,
            digest: self.digest(),
            values: self.options.values(),
        };
        let seal = self.seal(&header).map_err(io::Error::other)?;
        let mut writer = Writer::begin(output, header, &seal)?;
        let (mut seen, about) = (0, inner.memory.len() as u64);
        let mut written = 0;
        for (key, entry) in inner.memory.hottest_first() {
            if written >= self.options.entries_max {
                break;
            }
            seen += 1;
            if seen % TELL_EVERY == 0 {
                self.options.tell(WarmPhase::Saving, seen, about.max(seen));
            }
            if entry.state(clock.now(), &inner.options) == State::Gone {
                continue;
            }
            let key = (self.seam.key_bytes)(&key);
            if key.len() > Path::KEY_LEN_MAX {
                continue;
            }
            let path = Path::new(&self.seam.namespace, &*key);
            // What has no encoding stays behind.
            let Ok(record) = self.record(&entry, saved_at, inner) else { continue };
            let Some(record) = self.shape(self.run, &key, record) else { continue };
            let Ok(record) = self.framing.encode(&path, Some(&record), record.version, saved_at) else {
                continue;
            };
            written += u64::from(writer.entry(&key, &record)?);
        }
        let written = writer.end()?;
        self.options.tell(WarmPhase::Saving, written, written);
        Ok(())
    }

    /// What of an entry goes into the file. It counts as written now, so that it lives at most as long again as it has left.
    fn record(&self, entry: &Resident<V>, saved_at: Timestamp, inner: &Inner<K, V>) -> Result<Record> {
        let mut bytes = Vec::new();
        self.seam.codec.encode(&entry.value, &mut bytes)?;
        let value = Encoded::new(Bytes::from(bytes), self.seam.fingerprint);
        let (clock, recheck) = (inner.clock(), inner.context.recheck);
        let confirmed_at = if entry.checked_at().is_never() {
            saved_at
        } else {
            clock.timestamp_of(entry.checked_at()).minus(recheck)
        };
        Ok(Record {
            deadlines: nanotier_tier::Deadlines {
                fresh_until: clock.timestamp_of(entry.fresh_until()),
                usable_until: clock.timestamp_of(entry.usable_until()),
            },
            confirmed_at,
            version: entry.version(),
            ..Record::new(value, saved_at)
        })
    }
}

/// Whether a file begins as ours do.
fn is_ours(input: &mut Box<dyn disk::Input>) -> io::Result<bool> {
    let mut first = Vec::new();
    input.by_ref().take(format::MAGIC.len() as u64).read_to_end(&mut first)?;
    Ok(format::is_ours(&first))
}

const LOOK_AT_CLOCK_EVERY: u64 = 64;
const TELL_EVERY: u64 = 1000;

#[cfg(fuzzing)]
mod fuzzed {
    use super::*;
    use nanotier_tier::{Key as _, Raw};

    fn warm() -> (Warm<String, Bytes>, Clock, HybridClock) {
        let (clock, _hands) = Clock::manual();
        let versions = HybridClock::new(clock.clone(), 1);
        let options = WarmRestart::new("/nonexistent/fuzz");
        let namespace = Namespace::new("fuzz").expect("a good name");
        let seam = Seam::new(namespace, String::key_bytes, String::from_key_bytes, Arc::new(Raw));
        let times =
            Times { clock: &clock, versions: &versions, recheck: Duration::ZERO, truth: Truth::Memory };
        let (mut warm, _) = Warm::open(options, seam, Arc::new(System), &times, 0);
        warm.run = 1;
        (warm, clock, versions)
    }

    /// How many entries a warm file of these bytes brings, and how it ends: as `build()` would read it.
    #[must_use]
    pub fn read_for_fuzzing(bytes: &[u8]) -> (Vec<(String, Bytes)>, WarmEnd) {
        let (mut warm, clock, versions) = warm();
        let times =
            Times { clock: &clock, versions: &versions, recheck: Duration::ZERO, truth: Truth::Memory };
        let mut entries = Vec::new();
        let input = Box::new(io::Cursor::new(bytes.to_vec()));
        let end = warm.load(input, Some(1), &times, 1 << 20, &mut entries).unwrap_or_else(WarmEnd::Cold);
        (entries.into_iter().map(|(key, entry)| (key, entry.value)).collect(), end)
    }

    /// A warm file whose parts are as they should be, but for the entries: those are what is given, key and record each.
    #[must_use]
    pub fn write_for_fuzzing(entries: &[(Vec<u8>, Vec<u8>)], frames: bool) -> Vec<u8> {
        let (warm, clock, _) = warm();
        let header = Header {
            saved_at: clock.wall(),
            run: 1,
            opening: Truth::MEMORY,
            fingerprint: warm.seam.fingerprint,
            digest: warm.digest(),
            values: Values::Plain,
        };
        let out = format::Kept::default();
        let mut writer = Writer::begin(Box::new(out.clone()), header, &[]).expect("memory takes it");
        for (key, value) in entries {
            let path = Path::new(&warm.seam.namespace, &key[..]);
            let value = Encoded::new(Bytes::copy_from_slice(value), warm.seam.fingerprint);
            let record = Record::new(value, clock.wall());
            let framed = warm.framing.encode(&path, Some(&record), record.version, clock.wall());
            let bytes = if frames { framed.expect("short enough") } else { record.value.bytes.to_vec() };
            writer.entry(key, &bytes).expect("memory takes it");
        }
        writer.end().expect("memory takes it");
        out.bytes()
    }
}
#[cfg(fuzzing)]
pub use fuzzed::{read_for_fuzzing, write_for_fuzzing};
