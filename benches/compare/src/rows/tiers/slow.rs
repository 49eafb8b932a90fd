//! A disk whose flush takes a millisecond more, as those of clouds do.
//!
//! Flushes are slowed for everybody alike, ours and theirs, by a small library that stands before the C library's `fsync` and `fdatasync`:
//! it is built by the C compiler when the bench starts, and the program starts itself again under it. How long it waits is in a
//! file that it maps, so that a row can be run with and without.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use tempfile::TempDir;

/// The name of rows that were run so.
pub(crate) const VARIANT: &str = "1 ms flush";
const MICROSECONDS: u32 = 1000;
/// Where the delay stands; set for the program that runs under the library.
const DELAY_FILE: &str = "NANOTIER_SLOW_FLUSH";
const SOURCE: &str = include_str!("slow_flush.c");

/// Starts this program again under the library. `None` if it runs under it already, or if there is no way: then rows are run once,
/// on the disk as it is, and a line says so.
pub(crate) fn again() -> Option<Result<ExitCode, String>> {
    if std::env::var_os(DELAY_FILE).is_some() {
        return None;
    }
    let folder = match TempDir::new() {
        Ok(folder) => folder,
        Err(error) => return Some(Err(format!("a folder for temporary files: {error}"))),
    };
    let library = match build(folder.path()) {
        Ok(library) => library,
        Err(why) => {
            eprintln!("no rows with a slower disk: {why}");
            return None;
        }
    };
    let delay = folder.path().join("delay");
    let run = || -> std::io::Result<ExitCode> {
        fs::write(&delay, 0_u32.to_ne_bytes())?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(std::env::args_os().skip(1)).env("LD_PRELOAD", library).env(DELAY_FILE, &delay);
        let code = command.status()?.code().and_then(|code| u8::try_from(code).ok());
        Ok(ExitCode::from(code.unwrap_or(crate::EXIT_FAILED)))
    };
    Some(run().map_err(|error| error.to_string()))
}

fn build(folder: &Path) -> Result<PathBuf, String> {
    if !cfg!(target_os = "linux") {
        return Err("that is known for Linux only".to_owned());
    }
    let (source, library) = (folder.join("slow_flush.c"), folder.join("slow_flush.so"));
    fs::write(&source, SOURCE).map_err(|error| error.to_string())?;
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let built = Command::new(&compiler)
        .args(["-O2", "-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(&source)
        .arg("-ldl")
        .status()
        .map_err(|error| format!("{}: {error}", compiler.to_string_lossy()))?;
    if built.success() { Ok(library) } else { Err(format!("{}: {built}", compiler.to_string_lossy())) }
}

/// Flushes take a millisecond more until this is dropped. `None` if there is no way.
pub(crate) fn down() -> Option<Slowed> {
    let file = PathBuf::from(std::env::var_os(DELAY_FILE)?);
    set(&file, MICROSECONDS);
    Some(Slowed(file))
}

pub(crate) struct Slowed(PathBuf);

impl Drop for Slowed {
    fn drop(&mut self) {
        set(&self.0, 0);
    }
}

/// Written in place: the library has mapped the file.
fn set(file: &Path, microseconds: u32) {
    use std::os::unix::fs::FileExt as _;
    let opened = fs::OpenOptions::new().write(true).open(file).expect("the file was made by `again`");
    opened.write_all_at(&microseconds.to_ne_bytes(), 0).expect("four bytes");
}
