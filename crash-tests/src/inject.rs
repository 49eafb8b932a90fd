//! Makes one system call after another fail under a service: the first of its kind, the second, until there is none left; once, or from then
//! on. `strace` does it, so it works on any store as it is.
//!
//! The service runs in a process of its own and tells what may be there; then the store is opened without injection and compared.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::IoSlice;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::faults::{Found, quick_folder};
use crate::kind::{Kind, LOSS_WINDOW, Mode, OnDamage};
use crate::service::{Service, hear};
use crate::{Result, this_program};

/// The calls by which stores change files, and the one by which most of them read. What every program makes before it begins is not
/// among them.
const CALLS: &[&str] = &[
    // Where one waits for locks: begun first, for the others not to be waiting at the end.
    "fcntl",
    "flock",
    "pwrite64",
    "write",
    "fsync",
    "fdatasync",
    "ftruncate",
    "fallocate",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "linkat",
    "mkdir",
    "pread64",
];

/// Calls at whose places more time is waited than worked, and how many work at them.
const WAITED_FOR: &[&str] = &["fcntl", "flock"];
const SHARES: u64 = 4;

/// Why nothing can be injected here, if so.
pub(crate) fn missing() -> Option<String> {
    let tried = Command::new("strace").args(["-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    match tried {
        Ok(status) if status.success() => None,
        Ok(status) => Some(format!("strace ended with {status}: it needs the right to trace")),
        Err(error) => Some(format!("strace: {error}")),
    }
}

/// This program, but told that everything it syncs is on disk, without anything being done.
pub(crate) fn without_syncs() -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "--seccomp-bpf", "-o", "/dev/null"]);
    command.args(["-e", "trace=fsync,fdatasync,sync_file_range,msync"]);
    command.args(["-e", "inject=fsync,fdatasync,sync_file_range,msync:retval=0"]);
    command.arg(this_program().get_program());
    command
}

pub(crate) fn run(kind: Kind, jobs: usize) -> Result<Found> {
    // Once, and from then on. Where one waits for locks, several share the places.
    let mut all = Vec::new();
    for call in CALLS {
        let shares = if WAITED_FOR.contains(call) { SHARES } else { 1 };
        all.extend(
            ["", "+"]
                .iter()
                .flat_map(|sticky| (1..=shares).map(move |first| (*call, *sticky, first, shares))),
        );
    }
    let (next, found) = (AtomicUsize::new(0), Mutex::new((Found::default(), BTreeMap::new())));
    std::thread::scope(|scope| -> Result<()> {
        let work = || -> Result<()> {
            while let Some((call, sticky, first, step)) = all.get(next.fetch_add(1, Relaxed)) {
                let own = places(kind, call, sticky, *first, *step)?;
                let mut found = found.lock().expect("nobody panics with it");
                found.0.tried += own.tried;
                own.faults.into_iter().for_each(|fault| found.0.want(false, fault));
                if own.tried > 0 {
                    *found.1.entry(*call).or_insert(0) += own.tried;
                }
            }
            Ok(())
        };
        let workers: Vec<_> = (0..jobs.max(1) * 2).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("it does not panic"))
    })?;
    let (mut found, places) = found.into_inner().expect("nobody panics with it");
    found.want(found.tried > 20, "hardly a call failed");
    found.remark =
        places.iter().map(|(call, places)| format!("{places} {call}")).collect::<Vec<_>>().join(", ");
    Ok(found)
}

/// Makes calls of a kind fail in turn: the first of them, and every so many from there on.
fn places(kind: Kind, call: &str, sticky: &str, first: u64, step: u64) -> Result<Found> {
    let mut found = Found::default();
    let mut place = first;
    while place <= PLACES_MAX && found.faults.is_empty() {
        let inject = format!("inject={call}:error=EIO:when={place}{sticky}");
        let began = Instant::now();
        if !one(kind, &inject, &mut found).map_err(|error| format!("{inject}: {error}"))? {
            break;
        }
        found.tried += 1;
        // An engine that waits long for a lock that never comes does so at each place that is like this one.
        let is_slow = !sticky.is_empty() && began.elapsed() > SLOW;
        place += if is_slow { SLOW_STEP } else { step };
    }
    found.want(place <= PLACES_MAX, format!("{call} is called without end"));
    Ok(found)
}

/// After a place that took longer than this, some are left out, if the call fails from then on for good.
const SLOW: Duration = Duration::from_secs(3);
const SLOW_STEP: u64 = 6 * SHARES;
/// More calls of one kind than a small service makes.
const PLACES_MAX: u64 = 400;

/// True if a call was made to fail.
fn one(kind: Kind, inject: &str, found: &mut Found) -> Result<bool> {
    let folder = quick_folder()?;
    let (store, trace) = (folder.path().join("store"), folder.path().join("trace"));
    let traced = inject.split([':', '=']).nth(1).unwrap_or_default();
    let output = Command::new("strace")
        .args(["-f", "-qq", "--seccomp-bpf", "-e", &format!("trace={traced}"), "-e", inject, "-o"])
        .arg(&trace)
        .arg(this_program().get_program())
        .args(["child", "serve", &kind.to_string()])
        .arg(&store)
        .env("RUST_BACKTRACE", "0")
        .output()?;
    let injected = std::fs::read_to_string(&trace)?.contains("(INJECTED)");
    let told = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    if injected
        && told.is_empty()
        && (said.contains("loading shared libraries") || said.contains("cannot allocate"))
    {
        // The program itself could not be read: that is not the store's affair.
        return Ok(true);
    }
    found
        .want(output.status.success(), format!("{inject}: the service ended with {}: {said}", output.status));
    for fault in told.lines().filter_map(|line| line.strip_prefix("FAULT ")) {
        found.want(false, format!("{inject}: {fault}"));
    }
    let may = hear(&told);
    let mut service = Service::open(kind, &store, OnDamage::Error)?.after(may);
    service.get_all();
    for key in 0..3 {
        found.want(service.insert(key, 100), format!("{inject}: afterwards an insertion failed"));
    }
    service.forget();
    service.get_all();
    found.want(service.errors.is_empty(), format!("{inject}: afterwards {:?}", service.errors));
    found.take(inject, &mut service);
    Ok(injected)
}

/// The service that it happens to.
pub(crate) fn serve(kind: Kind, folder: &Path) -> Result<()> {
    let opened = (0..3).find_map(|_| Service::open(kind, folder, OnDamage::Error).ok());
    let Some(mut service) = opened else {
        // Whoever cannot open it goes without it.
        return Ok(());
    };
    service.may_lose = kind.mode == Mode::Async;
    for key in 0..4 {
        service.insert(key, 200);
        service.load(100 + key);
        service.hit(100 + key);
    }
    if kind.mode == Mode::Async {
        // Its own thread brings to disk what was acknowledged.
        std::thread::sleep(LOSS_WINDOW * 2);
    }
    service.remove(1);
    service.insert(2, 5_000);
    service.forget();
    service.get_all();
    service.close();
    let mut told = service.tell();
    for fault in &service.faults {
        told.push_str(&format!("FAULT {fault}\n"));
    }
    // By a call that is not made to fail.
    let mut output = File::options().write(true).open("/dev/stdout")?;
    let mut rest = told.as_bytes();
    while !rest.is_empty() {
        let written = output.write_vectored(&[IoSlice::new(rest), IoSlice::new(b"")])?;
        rest = &rest[written..];
    }
    Ok(())
}
