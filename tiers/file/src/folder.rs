//! The store's folder: whose it is, what of it is ours, the lock that writers take in turn, and new segments.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nanotier_tier::embedded::files::{DAMAGED_MAX, create_folder_and_file, move_aside};
use nanotier_tier::{ErrorKind, Result};

use crate::disk::{self, Disk};
use crate::error::{error, while_doing};
use crate::format::SegmentHeader;
use crate::segment::{self, Segment};

/// A new segment is laid out under this name.
const NEW: &str = "nanotier.new";
const CONTROL: &str = "nanotier.control";

pub(crate) fn control_path(folder: &Path) -> PathBuf {
    folder.join(CONTROL)
}

fn refused(why: String) -> nanotier_tier::Error {
    error(ErrorKind::Config, "open").with_detail(why)
}

/// Makes sure that the folder is there and ours alone, and opens its control file.
pub(crate) fn open_control(folder: &Path) -> Result<Disk> {
    match fs::symlink_metadata(folder) {
        Ok(about) => judge(folder, &about)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(while_doing("open")(error)),
    }
    let path = control_path(folder);
    if fs::symlink_metadata(&path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        let is_strange = fs::read_dir(folder).is_ok_and(|mut names| names.next().is_some());
        // Looked at again: another process may have begun meanwhile.
        if is_strange && fs::symlink_metadata(&path).is_err() {
            return Err(refused(format!(
                "{} holds files and no {CONTROL}: name an empty folder, or one that is not there yet",
                folder.display()
            )));
        }
        create_folder_and_file(&path).map_err(while_doing("open"))?;
    }
    Disk::open(&path).map_err(while_doing("open"))
}

#[cfg(unix)]
fn judge(folder: &Path, about: &fs::Metadata) -> Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    if about.file_type().is_symlink() {
        return Err(refused(format!("{} is a symbolic link: name the folder itself", folder.display())));
    }
    if !about.is_dir() {
        return Err(refused(format!("{} is no folder", folder.display())));
    }
    if about.uid() != rustix::process::geteuid().as_raw() {
        return Err(refused(format!("{} belongs to another user", folder.display())));
    }
    Ok(())
}

#[cfg(not(unix))]
fn judge(_: &Path, _: &fs::Metadata) -> Result<()> {
    Err(error(ErrorKind::Unsupported, "open").with_detail("the file store works on Unix only so far"))
}

/// The store's lock, held until this is dropped.
#[derive(Debug)]
pub(crate) struct Locked(Arc<Disk>);

impl Drop for Locked {
    fn drop(&mut self) {
        self.0.unlock();
    }
}

/// How long one who waits for the lock lets others have the processor: first not at all, then so long, then longer.
const NAP: Duration = Duration::from_micros(20);
const NAP_MAX: Duration = Duration::from_micros(500);

/// Waits for the lock; not for ever, since a process that was stopped may hold it.
pub(crate) fn lock(control: &Arc<Disk>, patience: Duration, operation: &'static str) -> Result<Locked> {
    // How long another process takes is no affair of a cache's clock.
    let (start, mut nap) = (Instant::now(), Duration::ZERO);
    while !control.try_lock().map_err(while_doing(operation))? {
        if start.elapsed() >= patience {
            return Err(
                error(ErrorKind::Busy, operation).with_detail("another process holds the store's lock")
            );
        }
        if nap.is_zero() {
            std::thread::yield_now();
            nap = if start.elapsed() > NAP { NAP } else { nap };
        } else {
            std::thread::sleep(nap);
            nap = (nap * 2).min(NAP_MAX);
        }
    }
    Ok(Locked(control.clone()))
}

/// What lies under the names of segments.
#[derive(Debug, Default)]
pub(crate) struct Present {
    /// The segments of this store.
    pub(crate) segments: BTreeMap<u64, Arc<Segment>>,
    /// Files that begin as segments do, whole or damaged, of this store or another.
    pub(crate) ours: Vec<PathBuf>,
    /// The highest number that any name has, whatever lies there.
    pub(crate) last_name: u64,
    /// How many files were moved aside.
    damaged: u32,
}

/// Looks at all files with names of segments. `store` is whose segments are wanted; any one's, if it is not known.
pub(crate) fn look(folder: &Path, store: Option<u64>) -> Result<Present> {
    let mut present = Present::default();
    for entry in fs::read_dir(folder).map_err(while_doing("open"))? {
        let entry = entry.map_err(while_doing("open"))?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        present.damaged += u32::from(name.starts_with("nanotier-") && name.contains(".log.damaged-"));
        let Some(number) = segment::number(name) else { continue };
        present.last_name = present.last_name.max(number);
        if !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let path = folder.join(name);
        let disk = match Disk::open(&path) {
            // It was compacted away meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened.map_err(while_doing("open"))?,
        };
        let mut bytes = [0; SegmentHeader::LEN];
        disk.read_at(&mut bytes, 0).map_err(while_doing("open"))?;
        if !SegmentHeader::is_ours(&bytes) {
            continue;
        }
        present.ours.push(path);
        let Some(header) = SegmentHeader::parse(&bytes) else { continue };
        if header.number == number && store.is_none_or(|store| store == header.store) {
            present.segments.insert(number, Arc::new(Segment { header, disk }));
        }
    }
    Ok(present)
}

impl Present {
    /// Moves every segment aside, whole or damaged.
    pub(crate) fn move_aside(&self) -> Result<()> {
        if self.damaged >= DAMAGED_MAX {
            return Err(error(ErrorKind::Storage, "open").with_detail(format!(
                "{} damaged files were moved aside already: look at them and remove some",
                self.damaged
            )));
        }
        self.ours
            .iter()
            .try_for_each(|path| move_aside(path))
            .map_err(while_doing("move the damaged files aside"))
    }
}

/// Lays out a new segment, whole and on disk before it has its name.
pub(crate) fn create_segment(folder: &Path, header: SegmentHeader, batches: &[u8]) -> Result<Arc<Segment>> {
    let create = || {
        let (new, path) = (folder.join(NEW), segment::path(folder, header.number));
        remove_unfinished(&new)?;
        let disk = Disk::create(&new)?;
        disk.write_at(&header.to_bytes(), 0)?;
        disk.write_at(batches, SegmentHeader::END)?;
        disk.sync()?;
        match Segment::open(&path) {
            // Left of one who was about to begin it.
            Ok(Some(segment)) if segment.header.store == header.store => {}
            Ok(_) => {
                return Err(io::Error::other("a file that is not ours has the name of the next segment"));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        disk::rename(&new, &path)?;
        disk::sync_folder(folder)?;
        Ok(Arc::new(Segment { header, disk }))
    };
    create().map_err(while_doing("begin a segment"))
}

/// Removes what is left of a segment that was never finished. Under the store's lock: nobody is at it.
pub(crate) fn remove_unfinished(new: &Path) -> io::Result<()> {
    let mut bytes = [0; SegmentHeader::LEN];
    match Disk::open(new) {
        Ok(disk) => {
            let read = disk.read_at(&mut bytes, 0)?;
            // A power cut may leave zeros.
            if SegmentHeader::is_ours(&bytes) || bytes[..read].iter().all(|byte| *byte == 0) {
                return disk::remove(new);
            }
            Err(io::Error::other(format!("{NEW} is not ours: move it elsewhere")))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes what an unfinished creation left. What is not ours stays.
pub(crate) fn sweep_unfinished(folder: &Path) {
    // Whoever needs the name says what stands in the way.
    let _ = remove_unfinished(&folder.join(NEW));
}

/// Removes a segment that was made and is not used: on disk when this returns.
pub(crate) fn abandon_segment(folder: &Path, number: u64) -> io::Result<()> {
    match disk::remove(&segment::path(folder, number)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        removed => removed?,
    }
    disk::sync_folder(folder)
}

/// Removes a segment that the log does not need any more. Who has it open goes on reading it.
pub(crate) fn remove_segment(folder: &Path, number: u64) {
    // What cannot be removed now goes when the store is opened next.
    let _ = disk::remove(&segment::path(folder, number));
}
