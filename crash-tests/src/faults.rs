//! Takes the disk away from under a service: full, read-only, removed, damaged. Nothing may panic, no value may be wrong, memory and loaders
//! go on serving, errors say what they are, and when the disk is back everything works again.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nanotier::ErrorKind;

use crate::kind::{Kind, LOSS_WINDOW, Mode, OnDamage};
use crate::mounts::{Disk, Tmpfs, quietly};
use crate::random::Random;
use crate::service::Service;
use crate::{Result, inject, mounts, shared, this_program};

/// What a test of this kind did and found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Places, calls or bytes at which something was done to the store.
    pub(crate) tried: u64,
    pub(crate) faults: Vec<String>,
    pub(crate) remark: String,
}

impl Found {
    pub(crate) fn take(&mut self, what: &str, service: &mut Service) {
        service.faults.drain(..).for_each(|fault| self.want(false, format!("{what}: {fault}")));
    }

    /// What another process did and found.
    fn tell(&self) {
        println!("TRIED {}\nREMARK {}", self.tried, self.remark);
        self.faults.iter().for_each(|fault| println!("FAULT {}", fault.replace('\n', " ")));
    }

    /// The same, heard. A process that did not end well is a fault of what it was doing last.
    fn heard(output: &Output) -> Result<Self> {
        let told = String::from_utf8_lossy(&output.stdout);
        let mut found = Self { tried: 1, ..Self::default() };
        let mut doing = "";
        for line in told.lines() {
            match line.split_once(' ') {
                Some(("TRIED", number)) => found.tried = number.parse()?,
                Some(("REMARK", remark)) => remark.clone_into(&mut found.remark),
                Some(("FAULT", fault)) => found.want(false, fault),
                Some(("AT", what)) => doing = what,
                _ => {}
            }
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.trim().lines().last().unwrap_or_default();
        found.want(
            output.status.success(),
            format!("{doing}: the process ended with {}: {last}", output.status),
        );
        Ok(found)
    }

    /// The first few of what does not hold are kept.
    pub(crate) fn want(&mut self, holds: bool, sentence: impl Into<String>) {
        if !holds && self.faults.len() < FAULTS_MAX {
            self.faults.push(sentence.into());
        }
    }
}

/// Makes an error of a panic.
pub(crate) fn no_panic(what: &str, test: impl FnOnce() -> Result<Found>) -> Found {
    let failed = |why: String| Found { faults: vec![format!("{what}: {why}")], ..Found::default() };
    match catch_unwind(AssertUnwindSafe(test)) {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => failed(error.to_string()),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
            failed(format!("it panicked: {}", said.unwrap_or_default()))
        }
    }
}

/// A folder in memory, where there is one: for what is done thousands of times and does not wait for a disk to be interesting.
pub(crate) fn quick_folder() -> Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    Ok(tempfile::Builder::new().prefix("nanotier-crash-").tempdir_in(place)?)
}

const KEYS: usize = 20;
const FAULTS_MAX: usize = 8;

/// Fills a file system in memory, then makes it larger.
pub(crate) fn full_disk(kind: Kind) -> Result<Found> {
    let tmpfs = Tmpfs::new("5m")?;
    full(kind, &tmpfs.root().join("store"), || Ok(()), || tmpfs.remount("size=128m"))
}

/// The same by a limit on the size of files, for which nobody needs rights: in a process of its own, that ignores the signal.
pub(crate) fn full_by_limit(kind: Kind) -> Result<Found> {
    let folder = tempfile::tempdir()?;
    let mut child = Command::new("sh");
    child
        .args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"])
        .arg(this_program().get_program())
        .args(["child", "limited", &kind.to_string()])
        .arg(folder.path());
    Found::heard(&output_within(&mut child, LIMITED_MAX)?)
}

/// What that process does.
pub(crate) fn be_limited(kind: Kind, folder: &Path) -> Result<()> {
    let store = folder.join("store");
    let limit = |bytes: String| {
        let process = format!("--pid={}", std::process::id());
        quietly(Command::new("prlimit").args([process, format!("--fsize={bytes}:")]))
    };
    let largest = || -> Result<u64> {
        let sizes = files(&store)?.into_iter().map(|file| file.metadata().map(|about| about.len()));
        Ok(sizes.collect::<std::io::Result<Vec<_>>>()?.into_iter().max().unwrap_or(0))
    };
    let found =
        full(kind, &store, || limit((largest()? + 64 * 1024).to_string()), || limit("unlimited".into()))?;
    found.tell();
    Ok(())
}

/// Inserts until the disk is full, goes on for a while, then gives it room.
fn full(
    kind: Kind,
    store: &Path,
    take_room: impl FnOnce() -> Result<()>,
    give_room: impl FnOnce() -> Result<()>,
) -> Result<Found> {
    let mut found = Found::default();
    let mut service = Service::open(kind, store, OnDamage::Error)?;
    for key in 0..KEYS {
        found.want(service.insert(key, 500), "an insertion failed before the disk was full");
    }
    take_room()?;
    service.may_lose = kind.mode == Mode::Async;
    let mut key = KEYS;
    while service.insert(key, 30_000) {
        key += 1;
        if key > 2_000 {
            found.want(false, "the disk is never full");
            break;
        }
    }
    let inserted = key - KEYS;
    for round in 0..30 {
        let new = 10_000 + round;
        service.insert(round % KEYS, 30_000);
        service.load(new);
        service.hit(new);
        service.get(new);
        service.get(KEYS + round % inserted.max(1));
        if round % 3 == 0 {
            service.remove(round % KEYS);
            service.get(round % KEYS);
        }
    }
    found.want(!service.errors.is_empty(), "a full disk was never met");
    found.want(
        service.errors.keys().all(|kind| ["Full", "Storage", "Unavailable"].contains(&kind.as_str())),
        format!("a full disk was told as {:?}", service.errors),
    );
    let is_told = service.errors.contains_key("Full") || !kind.tells_limits();
    found.want(is_told, "nobody was told that the disk is full");
    found.remark = format!("{inserted} fit, errors {:?}", service.errors);
    found.tried += service.errors.values().sum::<u64>();
    found.take("while it is full", &mut service);
    give_room()?;
    is_as_before("after a full disk", kind, store, service, &mut found)?;
    Ok(found)
}

/// With the disk back, everything must work at once, and be found by who opens the store next.
fn is_as_before(what: &str, kind: Kind, store: &Path, mut service: Service, found: &mut Found) -> Result<()> {
    service.errors.clear();
    service.may_lose = false;
    for key in 0..KEYS {
        found.want(service.insert(key, 2_000), format!("{what}: an insertion failed"));
        service.load(20_000 + key);
    }
    found.want(service.remove(0), format!("{what}: a removal failed"));
    service.forget();
    service.get_all();
    found.want(service.errors.is_empty(), format!("{what}: still {:?}", service.errors));
    found.want(service.close(), format!("{what}: the cache could not be closed"));
    found.take(what, &mut service);
    let may = std::mem::take(&mut service.may);
    drop(service);
    let mut service = Service::open(kind, store, OnDamage::Error)?.after(may);
    service.get_all();
    found.take(&format!("{what}, opened again"), &mut service);
    Ok(())
}

/// Makes an ext4 read-only behind the back of an open store, as ext4 does by itself when it meets an error.
pub(crate) fn read_only_disk(kind: Kind) -> Result<Found> {
    let disk = Disk::new("errors=remount-ro")?;
    let store = disk.root().join("store");
    let mut found = Found::default();
    let mut service = Service::open(kind, &store, OnDamage::Error)?;
    for key in 0..KEYS {
        found.want(service.insert(key, 500), "an insertion failed before the disk was read-only");
    }
    service.may_lose = kind.mode == Mode::Async;
    std::fs::write(format!("/sys/fs/ext4/{}/trigger_fs_error", disk.device()?), "1")?;
    for round in 0..KEYS {
        service.hit(round);
        let acknowledged = service.insert(round, 500);
        if kind.mode == Mode::Sync {
            found.want(!acknowledged, "an insertion was acknowledged on a read-only disk");
        } else {
            // Whether it works is noticed when it is brought to disk.
            std::thread::sleep(LOSS_WINDOW);
        }
        service.load(10_000 + round);
        service.hit(10_000 + round);
        service.get(round);
    }
    service.forget();
    service.get_all();
    found.want(
        service.errors.keys().all(|kind| ["Storage", "Unavailable"].contains(&kind.as_str())),
        format!("a read-only disk was told as {:?}", service.errors),
    );
    found.tried = service.errors.values().sum();
    found.remark = format!("errors {:?}", service.errors);
    found.take("while it is read-only", &mut service);
    service.close();
    let may = std::mem::take(&mut service.may);
    drop(service);
    disk.umount()?;
    disk.mount()?;
    let service = Service::open(kind, &store, OnDamage::Error)?.after(may);
    is_as_before("after a read-only disk", kind, &store, service, &mut found)?;
    Ok(found)
}

/// Opens where nothing can be written.
pub(crate) fn read_only_from_the_start(kind: Kind) -> Result<Found> {
    let tmpfs = Tmpfs::new("64m")?;
    let mut found = Found::default();
    for (name, is_there) in [("absent", false), ("present", true)] {
        let store = tmpfs.root().join(name);
        let mut may = BTreeMap::new();
        if is_there {
            let mut service = Service::open(kind, &store, OnDamage::Error)?;
            found.want(service.insert(1, 500), "an insertion failed");
            found.want(service.close(), "the cache could not be closed");
            may = std::mem::take(&mut service.may);
        }
        tmpfs.remount("ro")?;
        let opened = Service::open(kind, &store, OnDamage::StartCold);
        tmpfs.remount("rw")?;
        found.tried += 1;
        match opened {
            // A store that can be read may be.
            Ok(service) => found.take("read-only", &mut service.after(may.clone())),
            Err(error) => {
                found
                    .want(error.kind() == ErrorKind::Storage, format!("{name} on a read-only disk: {error}"));
            }
        }
        let service = Service::open(kind, &store, OnDamage::Error)?.after(may);
        is_as_before("after a read-only start", kind, &store, service, &mut found)?;
    }
    Ok(found)
}

/// Removes the folder while the store is open.
pub(crate) fn folder_removed(kind: Kind) -> Result<Found> {
    let folder = tempfile::tempdir()?;
    let store = folder.path().join("store");
    let mut found = Found { tried: 1, ..Found::default() };
    let mut service = Service::open(kind, &store, OnDamage::Error)?;
    for key in 0..KEYS {
        found.want(service.insert(key, 500), "an insertion failed before the folder was removed");
    }
    std::fs::remove_dir_all(&store)?;
    // What was stored may be gone, and is not to be made up.
    service.may_miss = true;
    for round in 0..KEYS {
        service.hit(round);
        service.insert(round, 500);
        service.load(10_000 + round);
        service.hit(10_000 + round);
        service.remove(round / 2);
        service.get(round / 2);
    }
    service.forget();
    service.get_all();
    found.remark = format!("errors {:?}", service.errors);
    found.take("without its folder", &mut service);
    service.close();
    drop(service);
    let mut may: BTreeMap<usize, BTreeSet<u64>> = BTreeMap::new();
    may.insert(0, [0].into());
    let mut service = Service::open(kind, &store, OnDamage::Error)?.after(may.clone());
    service.may_miss = true;
    for key in 0..KEYS {
        found.want(service.insert(key, 2_000), "an insertion failed in a new folder");
    }
    service.forget();
    service.may_miss = false;
    service.get_all();
    found.take("in a new folder", &mut service);
    Ok(found)
}

/// Every file of a folder, folders in it included, in the order of their names.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files.extend(self::files(&entry.path())?);
        } else {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// See [`damage`]. In a process of its own: an engine that stumbles twice over damage ends its process, and another goes on behind that
/// place.
pub(crate) fn damaged(kind: Kind, measure: &Measure) -> Result<Found> {
    let folder = quick_folder()?;
    let (mut all, mut aborts, mut places) = (Found::default(), Vec::new(), BTreeSet::new());
    loop {
        let numbers = [measure.seed, measure.flips, all.tried].map(|number| number.to_string());
        let mut child = this_program();
        child.args(["child", "damage", &kind.to_string()]).arg(folder.path()).args(numbers);
        let output = output_within(&mut child, DAMAGED_MAX)?;
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let tried = told.lines().filter(|line| line.starts_with("AT ")).count() as u64;
        let is_aborted = output.status.signal() == Some(ABORTED) && tried > 0;
        if is_aborted && kind.aborts_on_damage() {
            let at = told.lines().rfind(|line| line.starts_with("AT ")).unwrap_or_default().to_owned();
            // The bits of one byte are one place.
            places.insert(at.split_once(" of ").map_or(at.as_str(), |(_, place)| place).to_owned());
            aborts.push(at);
            all.tried += tried;
            all.want(places.len() as u64 <= 3 + all.tried / 500, "it ended its process again and again");
            if all.faults.is_empty() {
                continue;
            }
        }
        let last = Found::heard(&output)?;
        all.tried += tried;
        last.faults.into_iter().for_each(|fault| all.want(false, fault));
        all.remark = format!("{}; {} ended the process {aborts:?}", last.remark, aborts.len());
        return Ok(all);
    }
}

/// Longer than a process over a size limit needs by far.
const LIMITED_MAX: Duration = Duration::from_secs(60);
/// The same for one over damaged stores: some milliseconds for each of them. What takes longer has hung.
const DAMAGED_MAX: Duration = Duration::from_secs(120);

/// What a process says until it ends, or is killed since its time is over. That is seen by its status, and at what it was by what it said last.
fn output_within(command: &mut Command, limit: Duration) -> Result<Output> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (mut out, mut err) = (child.stdout.take().ok_or("the pipe")?, child.stderr.take().ok_or("the pipe")?);
    std::thread::scope(|scope| {
        let said = scope.spawn(move || {
            let mut said = Vec::new();
            out.read_to_end(&mut said).map(|_| said)
        });
        let complained = scope.spawn(move || {
            let mut complained = Vec::new();
            err.read_to_end(&mut complained).map(|_| complained)
        });
        let until = Instant::now() + limit;
        while child.try_wait()?.is_none() {
            if Instant::now() >= until {
                child.kill()?;
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let status = child.wait()?;
        let heard = |thread: std::thread::ScopedJoinHandle<'_, std::io::Result<Vec<u8>>>| {
            thread.join().expect("it does not panic")
        };
        Ok(Output { status, stdout: heard(said)?, stderr: heard(complained)? })
    })
}

/// The signal by which a process ends itself.
const ABORTED: i32 = 6;

/// What that process does, from that attempt on.
pub(crate) fn be_damaged(kind: Kind, folder: &Path, seed: u64, flips: u64, from: u64) -> Result<()> {
    damage(kind, folder, seed, flips, from)?.tell();
    Ok(())
}

/// Flips bits and cuts off the ends of a small store's files: so many of each, or every byte that is not 0 if that is fewer. Opens, reads,
/// writes.
fn damage(kind: Kind, folder: &Path, seed: u64, flips: u64, from: u64) -> Result<Found> {
    let (good, store) = (folder.join("good"), folder.join("store"));
    if good.exists() {
        std::fs::remove_dir_all(&good)?;
    }
    let mut service = Service::open(kind, &good, OnDamage::Error)?;
    let mut found = Found::default();
    for key in 0..KEYS {
        found.want(service.insert(key, 50 + key * 40), "an insertion failed");
    }
    found.want(service.remove(3) && service.close(), "the small store could not be made");
    let may = std::mem::take(&mut service.may);
    drop(service);

    let mut random = Random(seed);
    let files = files(&good)?;
    let mut used = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let bytes = std::fs::read(file)?;
        used.extend(bytes.iter().enumerate().filter(|(_, byte)| **byte != 0).map(|(at, _)| (number, at)));
    }
    let wanted = usize::try_from(flips)?;
    let chosen: Vec<(usize, usize)> = if wanted >= used.len() {
        used.clone()
    } else {
        std::iter::repeat_with(|| used[random.below(used.len())]).take(wanted).collect()
    };
    let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
    let mut attempt = |file: usize, what: String, damage: &mut dyn FnMut(&mut Vec<u8>)| -> Result<()> {
        let on_damage = if found.tried % 2 == 0 { OnDamage::Error } else { OnDamage::StartCold };
        found.tried += 1;
        if found.tried <= from {
            return Ok(());
        }
        println!("AT {what}");
        crate::kill::copy_folder(&good, &store)?;
        let path = store.join(files[file].strip_prefix(&good)?);
        let mut bytes = std::fs::read(&path)?;
        damage(&mut bytes);
        std::fs::write(&path, bytes)?;
        let mistreated = no_panic(&what, || {
            let mut found = Found::default();
            let outcome = match Service::open(kind, &store, on_damage) {
                Err(error) => {
                    let is_typed = [ErrorKind::Corrupt, ErrorKind::Unsupported, ErrorKind::Config]
                        .contains(&error.kind());
                    found.want(is_typed, format!("it was refused as {error}"));
                    format!("{:?}", error.kind())
                }
                Ok(service) => {
                    let mut service = service.after(may.clone());
                    service.may_miss = true;
                    service.get_all();
                    for key in [2, 3, 5, 100] {
                        if service.insert(key, 300) {
                            service.hit(key);
                            service.get(key);
                        }
                        service.load(key + 1_000);
                    }
                    found.take("damaged", &mut service);
                    let outcome = if service.errors.is_empty() { "opened" } else { "opened, with errors" };
                    outcome.to_owned()
                }
            };
            found.remark = outcome;
            Ok(found)
        });
        mistreated.faults.into_iter().for_each(|fault| found.want(false, format!("{what}: {fault}")));
        *outcomes.entry(mistreated.remark).or_default() += 1;
        Ok(())
    };
    for (file, at) in chosen {
        let bit = random.below(8);
        attempt(file, format!("bit {bit} of byte {at} of file {file}"), &mut |bytes| {
            bytes[at] ^= 1 << bit;
        })?;
    }
    for _ in 0..flips / 4 {
        let (file, at) = used[random.below(used.len())];
        // At a byte that is in use, or anywhere.
        let len = if random.below(2) == 0 { at } else { random.below(at + 1) };
        attempt(file, format!("file {file} cut off at {len}"), &mut |bytes| bytes.truncate(len))?;
    }
    found.remark = format!("of {} bytes in use; {outcomes:?}", used.len());
    Ok(found)
}

/// A second opening of what belongs to one process, by another one.
pub(crate) fn opened_twice(kind: Kind) -> Result<Found> {
    let mut found = Found { tried: 1, ..Found::default() };
    let folder = tempfile::tempdir()?;
    let mut service = Service::open(kind, folder.path(), OnDamage::Error)?;
    let output = this_program().args(["child", "look", &kind.to_string()]).arg(folder.path()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    found.want(
        !output.status.success() && said.contains("somebody else holds it"),
        format!("a second process was not told that the store is in use: {said}"),
    );
    found.want(service.insert(1, 100), "the first process suffers from the second");
    found.take("opened twice", &mut service);
    Ok(found)
}

/// What a test needs of the machine it runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Nothing,
    /// To mount file systems.
    Mounts,
    /// To make system calls fail.
    Tracing,
    /// To limit the size of a process's files.
    Limits,
}

impl Need {
    /// Why it is not met here, if so.
    pub(crate) fn missing(self) -> Option<String> {
        match self {
            Self::Nothing => None,
            Self::Mounts => mounts::missing(),
            Self::Tracing => inject::missing(),
            Self::Limits => {
                quietly(Command::new("prlimit").arg("--version")).err().map(|error| error.to_string())
            }
        }
    }
}

/// What is done to a store.
pub(crate) struct Test {
    pub(crate) name: &'static str,
    pub(crate) needs: Need,
    pub(crate) run: fn(Kind, &Measure) -> Result<Found>,
}

/// How much is to be done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measure {
    pub(crate) seed: u64,
    /// Bits to flip.
    pub(crate) flips: u64,
    /// How much at a time.
    pub(crate) jobs: usize,
}

pub(crate) const TESTS: &[Test] = &[
    Test { name: "full disk", needs: Need::Mounts, run: |kind, _| full_disk(kind) },
    Test { name: "size limit", needs: Need::Limits, run: |kind, _| full_by_limit(kind) },
    Test { name: "read-only", needs: Need::Mounts, run: |kind, _| read_only_disk(kind) },
    Test { name: "opened ro", needs: Need::Mounts, run: |kind, _| read_only_from_the_start(kind) },
    Test { name: "folder gone", needs: Need::Nothing, run: |kind, _| folder_removed(kind) },
    Test { name: "damage", needs: Need::Nothing, run: |kind, measure| damaged(kind, measure) },
    Test { name: "EIO", needs: Need::Tracing, run: |kind, measure| inject::run(kind, measure.jobs) },
    Test { name: "two processes", needs: Need::Nothing, run: |kind, _| shared::run(kind) },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_hangs_is_killed_and_what_it_was_doing_is_told() {
        let mut child = Command::new("sh");
        child.args(["-c", "echo AT byte 7; exec sleep 60"]);
        let began = Instant::now();
        let output = output_within(&mut child, Duration::from_millis(300)).unwrap();
        assert!(began.elapsed() < Duration::from_secs(30));
        let found = Found::heard(&output).unwrap();
        assert!(
            found.faults[0].starts_with("byte 7: the process ended with signal: 9"),
            "{:?}",
            found.faults
        );
    }
}
