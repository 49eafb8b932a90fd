//! File systems of our own, to cut the power of, to fill and to break. They need root.
//!
//! We work in a mount namespace of our own: however we end, the kernel takes the mounts and their loop devices back.

use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::{Error, Result, this_program};

/// Set in the process that has a namespace of its own.
const INSIDE: &str = "NANOTIER_CRASH_NAMESPACE";

/// Goes on in a mount namespace of our own, as the same process, if we may have one. Returns if not.
pub(crate) fn enter_namespace() {
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private"]);
        command
    };
    if std::env::var_os(INSIDE).is_some() || quietly(unshare().arg("true")).is_err() {
        return;
    }
    // Only an error comes back.
    let error =
        unshare().arg(this_program().get_program()).args(std::env::args_os().skip(1)).env(INSIDE, "1").exec();
    eprintln!("crash: unshare: {error}");
}

/// Why file systems cannot be mounted here, if so.
pub(crate) fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root".into());
    }
    if std::env::var_os(INSIDE).is_none() {
        return Some("it needs the right to mount (CAP_SYS_ADMIN) and the program `unshare`".into());
    }
    let tried = || -> Result<()> {
        Tmpfs::new("1m")?;
        let disk = Disk::new("defaults")?;
        Cutter::new(disk.root())?.cut()
    };
    tried().err().map(|error| format!("a file system cannot be mounted: {error}"))
}

/// Runs a program to its end. An error with what it said if it failed.
pub(crate) fn quietly(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{name} ended with {}: {}", output.status, said.trim()).into())
}

fn folder() -> Result<TempDir> {
    Ok(tempfile::Builder::new().prefix("nanotier-crash-").tempdir()?)
}

fn umount(root: &Path) -> Result<()> {
    let mut last = Error::from("was never tried");
    // Whoever was killed a moment ago may still hold it.
    for _ in 0..200 {
        match quietly(Command::new("umount").arg(root)) {
            Ok(()) => return Ok(()),
            Err(error) => last = error,
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(last)
}

/// An ext4 in a file.
pub(crate) struct Disk {
    folder: TempDir,
    options: String,
}

impl Disk {
    /// Made anew and mounted.
    pub(crate) fn new(options: &str) -> Result<Self> {
        let disk = Self { folder: folder()?, options: format!("loop,{options}") };
        let file = std::fs::File::create(disk.image())?;
        file.set_len(DISK_LEN)?;
        drop(file);
        quietly(
            Command::new("mkfs.ext4")
                .args(["-q", "-F", "-b", "4096", "-J", "size=4", "-m", "0"])
                .arg(disk.image()),
        )?;
        std::fs::create_dir(disk.root())?;
        disk.mount()?;
        Ok(disk)
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// Where it is mounted.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    pub(crate) fn mount(&self) -> Result<()> {
        quietly(Command::new("mount").args(["-o", &self.options]).args([self.image(), self.root()]))
    }

    pub(crate) fn umount(&self) -> Result<()> {
        umount(&self.root())
    }

    /// The name of its loop device.
    pub(crate) fn device(&self) -> Result<String> {
        let output = Command::new("findmnt").args(["-n", "-o", "SOURCE"]).arg(self.root()).output()?;
        let device = String::from_utf8(output.stdout)?;
        Ok(device.trim().trim_start_matches("/dev/").to_owned())
    }

    /// Leaves the image where it is, unmounted, and says where.
    pub(crate) fn keep(self) -> PathBuf {
        let _ = self.umount();
        let image = self.image();
        let mut this = std::mem::ManuallyDrop::new(self);
        this.folder.disable_cleanup(true);
        image
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // If it is not mounted there is nothing to do.
        let _ = quietly(Command::new("umount").arg("--lazy").arg(self.root()));
    }
}

const DISK_LEN: u64 = 32 * 1024 * 1024;

/// A file system in memory, of a size.
pub(crate) struct Tmpfs {
    folder: TempDir,
}

impl Tmpfs {
    pub(crate) fn new(size: &str) -> Result<Self> {
        let tmpfs = Self { folder: folder()? };
        let size = format!("size={size}");
        quietly(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(tmpfs.root()))?;
        Ok(tmpfs)
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    /// Mounts it with other options: `size=64m`, `ro`.
    pub(crate) fn remount(&self, options: &str) -> Result<()> {
        let options = format!("remount,{options}");
        quietly(Command::new("mount").args([OsStr::new("-o"), options.as_ref()]).arg(self.root()))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = quietly(Command::new("umount").arg("--lazy").arg(self.root()));
    }
}

/// Cuts the power of an ext4: from one moment to the next nothing reaches the disk any more, neither what lies in the page cache nor the
/// journal of what was not yet committed, and every call fails. What was in flight at that moment may be there in part. The same call
/// (`EXT4_IOC_SHUTDOWN`, without flushing the log) is how file systems themselves are tested.
pub(crate) struct Cutter(Child);

const SHUTDOWN: &str = r#"
open(my $root, "<", $ARGV[0]) or exit 2;
$| = 1; print "r"; <STDIN>;
my $no_log_flush = pack("L", 2);
ioctl($root, 0x8004587D, $no_log_flush) or exit 3;
"#;

impl Cutter {
    /// Ready to cut at once.
    pub(crate) fn new(root: impl AsRef<Path>) -> Result<Self> {
        let mut child = Command::new("perl")
            .args(["-e", SHUTDOWN])
            .arg(root.as_ref())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("perl: {error}"))?;
        let mut ready = [0];
        child.stdout.take().ok_or("the pipe")?.read_exact(&mut ready)?;
        Ok(Self(child))
    }

    /// Returns when the power is off.
    pub(crate) fn cut(mut self) -> Result<()> {
        self.0.stdin.take().ok_or("the pipe")?.write_all(b"\n")?;
        let status = self.0.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the power could not be cut: {status}").into()) }
    }
}
