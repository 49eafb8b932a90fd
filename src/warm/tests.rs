//! The process may be killed, or the disk refuse, between any two steps: nothing that was removed comes back.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use nanotier_tier::{Bytes, Clock, Fingerprint, Json, Timestamp};

use super::disk::{Disk, Input, Lies, Output, System};
use super::format::{
    self, Bad, FOOTER_LEN, FORMAT, FORMAT_SHAPED, HEADER_LEN, Header, Kept, MAGIC, MARK_LEN, Reader, Values,
    Writer,
};
use super::{Cold, WarmEnd, WarmRestart};
use crate::Cache;

/// The real file system, of which some steps fail.
struct Failing {
    steps: Arc<AtomicUsize>,
    fails: Fails,
    at: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fails {
    /// From that step on nothing happens any more: the process was killed.
    FromThere,
    /// That step alone.
    Once,
}

impl Failing {
    fn step<T>(&self, doing: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let step = self.steps.fetch_add(1, SeqCst);
        let fails = match self.fails {
            Fails::FromThere => step >= self.at,
            Fails::Once => step == self.at,
        };
        if fails { Err(io::Error::other("planted")) } else { doing() }
    }

    fn again(&self) -> Self {
        Self { steps: self.steps.clone(), ..*self }
    }
}

/// A file whose writes are steps too: half of what is written gets there when one fails.
struct FailingOutput(Box<dyn Output>, Failing);

impl Write for FailingOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.1.step(|| Ok(())) {
            Ok(()) => self.0.write(bytes),
            Err(error) => {
                let _ = self.0.write(&bytes[..bytes.len() / 2]);
                Err(error)
            }
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Output for FailingOutput {
    fn sync(&mut self) -> io::Result<()> {
        self.1.step(|| self.0.sync())
    }
}

impl Disk for Failing {
    fn lies_at(&self, path: &Path) -> io::Result<Lies> {
        self.step(|| System.lies_at(path))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn Input>> {
        self.step(|| System.open(path))
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn Output>> {
        self.step(|| Ok(Box::new(FailingOutput(System.create(path)?, self.again())) as Box<dyn Output>))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(|| System.rename(from, to))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step(|| System.remove(path))
    }
    fn sync_folder_of(&self, path: &Path) -> io::Result<()> {
        self.step(|| System.sync_folder_of(path))
    }
}

fn open(folder: &Path, disk: Arc<dyn Disk>) -> Cache<String, String> {
    let mut builder = Cache::builder().namespace("words").codec(Json::default());
    builder.disk = disk;
    builder.warm_restart(WarmRestart::new(folder.join("words.warm"))).build().expect("never an error")
}

fn system(folder: &Path) -> Cache<String, String> {
    open(folder, Arc::new(System))
}

fn put(cache: &Cache<String, String>, key: &str, value: &str) {
    cache.insert(key.into(), value.into()).wait().unwrap();
}

fn value(cache: &Cache<String, String>, key: &str) -> Option<String> {
    cache.get(key).wait().unwrap()
}

/// A run that ends well, one whose disk fails, and one after it. Says how many steps the second took.
fn three_runs(fails: Fails, at: usize, closes: bool) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let first = system(folder.path());
    put(&first, "removed", "old");
    put(&first, "changed", "old");
    put(&first, "kept", "kept");
    first.close().wait().unwrap();

    let steps = Arc::<AtomicUsize>::default();
    let second = open(folder.path(), Arc::new(Failing { steps: steps.clone(), fails, at }));
    let opened = steps.load(SeqCst);
    let is_cold = matches!(second.warmth().unwrap().end, WarmEnd::Cold(_));
    assert_eq!(value(&second, "kept").is_none(), is_cold, "step {at}: all or nothing");
    // Killed while opening: it served nobody.
    let was_killed = fails == Fails::FromThere && at < opened;
    if !was_killed {
        second.remove("removed").wait().unwrap();
        put(&second, "changed", "new");
        put(&second, "kept", "kept");
        if closes {
            let closed = second.close().wait();
            assert!(
                at < opened || closed.is_err() == (steps.load(SeqCst) > at),
                "step {at}: what fails is said"
            );
        }
    }
    drop(second);

    let third = system(folder.path());
    if !was_killed {
        assert_eq!(value(&third, "removed"), None, "step {at}");
        assert_ne!(value(&third, "changed").as_deref(), Some("old"), "step {at}");
    }
    let is_cold = matches!(third.warmth().unwrap().end, WarmEnd::Cold(_));
    assert_eq!(value(&third, "kept").is_none(), is_cold, "step {at}: all or nothing");
    third.close().wait().unwrap();
    let mut left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["words.warm", "words.warm.nanotier-run"], "step {at}: nothing lies about");
    // And after that all is well.
    assert_eq!(system(folder.path()).warmth().unwrap().end, WarmEnd::Complete, "step {at}");
    steps.load(SeqCst)
}

fn at_every_step(fails: Fails, closes: bool) {
    let steps = three_runs(fails, usize::MAX, closes);
    assert!(steps > 8, "{steps} steps");
    for at in 0..steps {
        three_runs(fails, at, closes);
    }
}

#[test]
fn killed_between_any_two_steps_it_brings_nothing_back() {
    at_every_step(Fails::FromThere, true);
}

#[test]
fn a_step_that_fails_and_a_clean_end_bring_nothing_back() {
    at_every_step(Fails::Once, true);
}

#[test]
fn a_step_that_fails_and_a_crash_bring_nothing_back() {
    at_every_step(Fails::Once, false);
}

/// The real file system, on which something else happens before the first name is given.
struct Meanwhile(parking_lot::Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Disk for Meanwhile {
    fn lies_at(&self, path: &Path) -> io::Result<Lies> {
        System.lies_at(path)
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn Input>> {
        System.open(path)
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn Output>> {
        System.create(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let meanwhile = self.0.lock().take();
        meanwhile.into_iter().for_each(|meanwhile| meanwhile());
        System.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        System.remove(path)
    }
    fn sync_folder_of(&self, path: &Path) -> io::Result<()> {
        System.sync_folder_of(path)
    }
}

#[test]
fn a_run_that_closes_while_the_next_marks_itself_leaves_nothing_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let old = system(folder.path());
    put(&old, "removed", "old");
    let closes = move || drop(old.close().wait());
    let new = open(folder.path(), Arc::new(Meanwhile(parking_lot::Mutex::new(Some(Box::new(closes))))));
    assert_eq!(new.warmth().unwrap().end, WarmEnd::Cold(Cold::NoFile));
    new.remove("removed").wait().unwrap();
    // Not closed.
    drop(new);
    assert_eq!(value(&system(folder.path()), "removed"), None);
}

#[test]
fn a_run_that_begins_while_the_last_one_closes_has_the_file_for_itself() {
    let folder = tempfile::tempdir().unwrap();
    let slot = Arc::<parking_lot::Mutex<Option<Cache<String, String>>>>::default();
    let (into, at) = (slot.clone(), folder.path().to_owned());
    let begins = move || *into.lock() = Some(system(&at));
    // Its own mark is the first name, its file the second.
    let old = open(folder.path(), Arc::new(System));
    drop(old);
    let mut builder = Cache::<String, String>::builder().namespace("words").codec(Json::default());
    let hooked = Arc::new(Meanwhile(parking_lot::Mutex::new(None)));
    builder.disk = hooked.clone();
    let old = builder.warm_restart(WarmRestart::new(folder.path().join("words.warm"))).build().unwrap();
    put(&old, "removed", "old");
    *hooked.0.lock() = Some(Box::new(begins));
    assert!(old.close().wait().is_err(), "its file was taken away");
    let new = slot.lock().take().unwrap();
    assert_eq!(new.warmth().unwrap().end, WarmEnd::Cold(Cold::NoFile));
    put(&new, "kept", "kept");
    new.close().wait().unwrap();
    let third = system(folder.path());
    assert_eq!((value(&third, "removed"), value(&third, "kept").as_deref()), (None, Some("kept")));
}

/// The real file system, for many small tries: nothing is flushed.
struct Unsynced;

struct UnsyncedOutput(Box<dyn Output>);

impl Write for UnsyncedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Output for UnsyncedOutput {
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Disk for Unsynced {
    fn lies_at(&self, path: &Path) -> io::Result<Lies> {
        System.lies_at(path)
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn Input>> {
        System.open(path)
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn Output>> {
        Ok(Box::new(UnsyncedOutput(System.create(path)?)))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        System.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        System.remove(path)
    }
    fn sync_folder_of(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn no_cut_and_no_flipped_bit_brings_anything() {
    let folder = tempfile::tempdir().unwrap();
    let (file, mark_file) = (folder.path().join("words.warm"), folder.path().join("words.warm.nanotier-run"));
    let cache = system(folder.path());
    put(&cache, "key", "value");
    put(&cache, "other", "value");
    cache.close().wait().unwrap();
    let (bytes, mark) = (std::fs::read(&file).unwrap(), std::fs::read(&mark_file).unwrap());
    let disk: Arc<dyn Disk> = Arc::new(Unsynced);
    let tried = |bytes: &[u8], mark: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        std::fs::write(&mark_file, mark).unwrap();
        let cache = open(folder.path(), disk.clone());
        (cache.warmth().unwrap().end.clone(), cache.len())
    };
    assert_eq!(tried(&bytes, &mark), (WarmEnd::Complete, 2));
    for len in 0..bytes.len() {
        assert_eq!(tried(&bytes[..len], &mark), (WarmEnd::Cold(Cold::Damaged), 0), "cut at {len}");
        assert!(!file.exists(), "cut at {len}");
    }
    assert_eq!(tried(&[&bytes[..], &[0]].concat(), &mark), (WarmEnd::Cold(Cold::Damaged), 0), "longer");
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let (end, len) = tried(&flipped, &mark);
        assert!(matches!(end, WarmEnd::Cold(_)) && len == 0, "byte {} bit {}: {end:?}", bit / 8, bit % 8);
        assert_eq!(file.exists(), bit / 8 < MAGIC.len(), "what is not known to be ours stays");
    }
    for bit in 0..mark.len() * 8 {
        let mut flipped = mark.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(tried(&bytes, &flipped), (WarmEnd::Cold(Cold::OtherRun), 0), "bit {bit} of the mark");
    }
}

fn header() -> Header {
    Header {
        saved_at: Timestamp::from_millis(0x0102_0304_0506_0708),
        run: 0x1112_1314_1516_1718,
        opening: 0x2122_2324_2526_2728,
        fingerprint: Fingerprint(0x3132_3334_3536_3738),
        digest: *b"sixteen bytes ok",
        values: Values::Plain,
    }
}

fn header_of_shaped() -> Header {
    Header { values: Values::Shaped { encrypted: true }, ..header() }
}

fn written(entries: &[(&[u8], &[u8])]) -> Vec<u8> {
    written_with(header(), b"", entries)
}

fn written_with(header: Header, seal: &[u8], entries: &[(&[u8], &[u8])]) -> Vec<u8> {
    let kept = Kept::default();
    let mut writer = Writer::begin(Box::new(kept.clone()), header, seal).unwrap();
    for (key, record) in entries {
        assert!(writer.entry(key, record).unwrap());
    }
    assert_eq!(writer.end().unwrap(), entries.len() as u64);
    kept.bytes()
}

#[test]
fn the_fields_lie_where_formats_md_says() {
    let bytes = written(&[(b"k", b"record"), (b"", b"")]);
    let text = include_str!("../../docs/FORMATS.md");
    let section = text.split("## The warm file").nth(1).unwrap().split("\n## ").next().unwrap();
    let fields = |part: &str| -> Vec<(usize, usize, String)> {
        let table = section.split(&format!("| {part} |")).nth(1).expect("the table");
        let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
        let parse = |row: &str| {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            (cells[0].parse().unwrap(), cells[1].parse().unwrap(), cells[2].trim_matches('`').to_owned())
        };
        rows.map(parse).collect()
    };
    let value = |bytes: &[u8], (at, len, _): &(usize, usize, String)| bytes[*at..at + len].to_vec();
    let in_header = fields("header");
    let expected: Vec<Vec<u8>> = vec![
        MAGIC.to_vec(),
        vec![FORMAT],
        vec![0],
        vec![0; 2],
        0x0102_0304_0506_0708_u64.to_le_bytes().to_vec(),
        0x1112_1314_1516_1718_u64.to_le_bytes().to_vec(),
        0x2122_2324_2526_2728_u64.to_le_bytes().to_vec(),
        0x3132_3334_3536_3738_u64.to_le_bytes().to_vec(),
        b"sixteen bytes ok".to_vec(),
        crc32c::crc32c(&bytes[..56]).to_le_bytes().to_vec(),
    ];
    assert_eq!(in_header.iter().map(|field| value(&bytes, field)).collect::<Vec<_>>(), expected);
    assert_eq!(in_header.iter().map(|field| field.1).sum::<usize>(), HEADER_LEN);
    let entries = b"\x01\0\0\0\x06\0\0\0krecord\0\0\0\0\0\0\0\0";
    assert_eq!(bytes[HEADER_LEN..bytes.len() - FOOTER_LEN], entries[..]);
    let footer = &bytes[bytes.len() - FOOTER_LEN..];
    let expected: Vec<Vec<u8>> = vec![
        b"nTw\x94".to_vec(),
        2_u64.to_le_bytes().to_vec(),
        (entries.len() as u64).to_le_bytes().to_vec(),
        crc32c::crc32c(&bytes[..bytes.len() - FOOTER_LEN]).to_le_bytes().to_vec(),
        crc32c::crc32c(&footer[..24]).to_le_bytes().to_vec(),
    ];
    let in_footer = fields("footer");
    assert_eq!(in_footer.iter().map(|field| value(footer, field)).collect::<Vec<_>>(), expected);
    assert_eq!(in_footer.iter().map(|field| field.1).sum::<usize>(), FOOTER_LEN);
    // Shaped: another format, a flag, and a seal behind the header.
    let sealed = written_with(header_of_shaped(), b"seal", &[(b"k", b"record")]);
    assert_eq!(sealed[4..8], [FORMAT_SHAPED, 1, 0, 0]);
    assert_eq!(sealed[HEADER_LEN..HEADER_LEN + 17], *b"\x04\0\0\0seal\x01\0\0\0\x06\0\0\0k");
    let len = (sealed.len() - HEADER_LEN - FOOTER_LEN) as u64;
    assert_eq!(sealed[sealed.len() - FOOTER_LEN + 12..][..8], len.to_le_bytes());
    let only_compressed = Header { values: Values::Shaped { encrypted: false }, ..header() };
    assert_eq!(written_with(only_compressed, b"", &[])[4..6], [FORMAT_SHAPED, 0]);
    let mark = format::mark_of(7);
    assert_eq!(mark.len(), MARK_LEN);
    assert_eq!(mark[..12], *b"nTw\x95\x07\0\0\0\0\0\0\0");
    assert_eq!(format::run_of(&mark), Some(7));
}

#[test]
fn what_is_written_is_read_and_lengths_are_believed_only_as_far_as_there_are_bytes() {
    let bytes = written(&[(b"k", b"record"), (b"", b"")]);
    let (read, mut reader) = Reader::begin(Box::new(io::Cursor::new(bytes.clone()))).unwrap();
    assert_eq!((read, reader.entries()), (header(), 2));
    assert_eq!(reader.next(), Ok(Some((b"k".to_vec(), b"record".to_vec()))));
    assert_eq!(reader.next(), Ok(Some((Vec::new(), Vec::new()))));
    assert_eq!(reader.next(), Ok(None));
    // Each entry is whole, but they are not where they were.
    let swapped = written(&[(b"", b""), (b"k", b"record")]);
    let mut mixed = bytes.clone();
    let end = swapped.len() - FOOTER_LEN;
    mixed[HEADER_LEN..end].copy_from_slice(&swapped[HEADER_LEN..end]);
    let (_, mut reader) = Reader::begin(Box::new(io::Cursor::new(mixed))).unwrap();
    assert!(reader.next().unwrap().is_some() && reader.next().unwrap().is_some());
    assert_eq!(reader.next(), Err(Bad::Damaged));
    let mut long = bytes;
    long[HEADER_LEN + 4..HEADER_LEN + 8].copy_from_slice(&u32::MAX.to_le_bytes());
    let (_, mut reader) = Reader::begin(Box::new(io::Cursor::new(long))).unwrap();
    assert_eq!(reader.next(), Err(Bad::Damaged), "four gigabytes are not there, and not allocated");

    let sealed = written_with(header_of_shaped(), b"seal", &[(b"k", b"record")]);
    let (read, mut reader) = Reader::begin(Box::new(io::Cursor::new(sealed.clone()))).unwrap();
    assert_eq!((read, reader.seal(), reader.entries()), (header_of_shaped(), &b"seal"[..], 1));
    assert_eq!(reader.next(), Ok(Some((b"k".to_vec(), b"record".to_vec()))));
    assert_eq!(reader.next(), Ok(None));
    for len in [1025, u32::MAX] {
        let mut long = sealed.clone();
        long[HEADER_LEN..HEADER_LEN + 4].copy_from_slice(&len.to_le_bytes());
        assert_eq!(Reader::begin(Box::new(io::Cursor::new(long))).err(), Some(Bad::Damaged));
    }
}

/// A file of any length that takes no room: zeros, but for its beginning and its end.
struct Sparse {
    begin: Vec<u8>,
    end: Vec<u8>,
    len: u64,
    at: u64,
    read: Arc<AtomicUsize>,
}

impl io::Read for Sparse {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let end_at = self.len - self.end.len() as u64;
        let mut count = 0;
        for (byte, at) in out.iter_mut().zip(self.at..self.len) {
            let place = |from: u64| usize::try_from(at - from).unwrap_or(usize::MAX);
            let begins = self.begin.get(place(0)).copied();
            *byte = if at >= end_at { self.end[place(end_at)] } else { begins.unwrap_or(0) };
            count += 1;
        }
        self.at += count as u64;
        self.read.fetch_add(count, SeqCst);
        Ok(count)
    }
}

impl io::Seek for Sparse {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.at = match to {
            io::SeekFrom::Start(at) => at,
            io::SeekFrom::End(by) => self.len.saturating_add_signed(by),
            io::SeekFrom::Current(by) => self.at.saturating_add_signed(by),
        };
        Ok(self.at)
    }
}

#[test]
fn a_file_that_is_as_long_as_it_says_makes_nobody_read_more_than_a_record_can_be() {
    let right = written(&[]);
    let entries_len = 8 + (1_u64 << 31);
    let mut begin = right[..HEADER_LEN].to_vec();
    begin.extend_from_slice(b"\0\0\0\0\0\0\0\x80");
    let mut end = right[HEADER_LEN..].to_vec();
    end[4..12].copy_from_slice(&1_u64.to_le_bytes());
    end[12..20].copy_from_slice(&entries_len.to_le_bytes());
    let sum = crc32c::crc32c(&end[..24]);
    end[24..].copy_from_slice(&sum.to_le_bytes());
    let read = Arc::<AtomicUsize>::default();
    let len = (HEADER_LEN + FOOTER_LEN) as u64 + entries_len;
    let sparse = Sparse { begin, end, len, at: 0, read: read.clone() };
    let (_, mut reader) = Reader::begin(Box::new(sparse)).unwrap();
    assert_eq!(reader.entries(), 1);
    assert_eq!(reader.next(), Err(Bad::Damaged), "two gigabytes are no record");
    assert!(read.load(SeqCst) < 1 << 20, "and were not read: {}", read.load(SeqCst));
}

#[test]
fn a_warm_file_of_every_format_version_is_read_for_ever() {
    read_golden("warm-1", &|warm| warm);
    #[cfg(feature = "encrypt")]
    read_golden("warm-2", &|warm| {
        use nanotier_tier::shaping::{KeyId, KeyRing, Secret, Shaping};
        let ring = KeyRing::new(KeyId(7), &Secret::new([9; 32])).unwrap();
        warm.shaped(Shaping::builder().encrypt(ring).build().unwrap())
    });
}

fn read_golden(name: &str, shaped: &dyn Fn(WarmRestart) -> WarmRestart) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.bin"));
    let mark = golden.with_extension("run");
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| -> PathBuf { folder.path().join(name) };
    let (clock, hands) = Clock::manual();
    let open = || {
        let mut builder = Cache::<String, Bytes>::builder().clock(clock.clone()).namespace("golden");
        builder.disk = Arc::new(System);
        builder.codec(crate::Raw).warm_restart(shaped(WarmRestart::new(at("g.warm")))).build().unwrap()
    };
    if std::env::var_os("NANOTIER_WRITE_GOLDEN").is_some() && !golden.exists() {
        let cache = open();
        cache.insert_for("minute".into(), Bytes::from_static(b"m"), Duration::from_secs(60)).wait().unwrap();
        cache.insert("ever".into(), Bytes::from_static(b"e")).wait().unwrap();
        cache.close().wait().unwrap();
        std::fs::create_dir_all(golden.parent().unwrap()).unwrap();
        std::fs::copy(at("g.warm"), &golden).unwrap();
        std::fs::copy(at("g.warm.nanotier-run"), &mark).unwrap();
    }
    std::fs::copy(&golden, at("g.warm")).unwrap();
    std::fs::copy(&mark, at("g.warm.nanotier-run")).unwrap();
    hands.advance(Duration::from_secs(20));
    let cache = open();
    assert_eq!(cache.warmth().unwrap().end, WarmEnd::Complete);
    assert_eq!(cache.get("ever").wait().unwrap().as_deref(), Some(&b"e"[..]));
    let left = cache.time_left("minute").wait().unwrap();
    assert_eq!(left, Some(crate::TimeLeft::Fresh(Duration::from_secs(40))));
    drop(cache);
    assert_eq!(open().warmth().unwrap().end, WarmEnd::Cold(Cold::NoFile));
}
