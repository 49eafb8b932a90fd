//! Who has the store open. Each process, or each handle in one, holds the lock of a file of its own as long as it lives. A file that says
//! "open" and whose lock nobody holds is left of one that ended without closing.

use std::io;
use std::path::{Path, PathBuf};

use nanotier_tier::{ErrorKind, Result};

use crate::disk::Disk;
use crate::error::{error, while_doing};

const OPEN: [u8; 8] = *b"nTrProc\x01";
const CLOSED: [u8; 8] = *b"nTrProc\0";
/// The most handles that have one store open.
const PROCESSES_MAX: u32 = 4096;

/// The mark of a handle that is open.
#[derive(Debug)]
pub(crate) struct Mark {
    /// Locked for as long as it is held.
    disk: Disk,
}

/// What the marks of all handles say. To be asked for under the store's lock.
#[derive(Debug)]
pub(crate) struct Found {
    /// Another handle is open.
    pub(crate) others: bool,
    /// Marks of those that ended without closing. Locked.
    dead: Vec<Disk>,
    /// Marks that can be used again. Locked.
    free: Vec<Disk>,
    next: u32,
    /// There is any mark at all.
    pub(crate) any: bool,
}

fn path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("nanotier-process-{number:04x}"))
}

fn number(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("nanotier-process-")?;
    (digits.len() == 4).then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}

pub(crate) fn look(folder: &Path) -> Result<Found> {
    let mut found = Found { others: false, dead: Vec::new(), free: Vec::new(), next: 0, any: false };
    for entry in std::fs::read_dir(folder).map_err(while_doing("open"))? {
        let name = entry.map_err(while_doing("open"))?.file_name();
        let Some(number) = name.to_str().and_then(number) else { continue };
        found.next = found.next.max(number + 1);
        found.look_at(&folder.join(&name)).map_err(while_doing("open"))?;
    }
    Ok(found)
}

impl Found {
    fn look_at(&mut self, path: &Path) -> io::Result<()> {
        let disk = Disk::open(path)?;
        let len = disk.about()?.len;
        // Longer than any mark: whatever it is, it is not ours.
        if len > OPEN.len() as u64 {
            return Ok(());
        }
        self.any = true;
        if !disk.try_lock()? {
            self.others = true;
            return Ok(());
        }
        let mut bytes = [0; OPEN.len()];
        disk.read_at(&mut bytes, 0)?;
        // An empty one is left of somebody who had not begun.
        let marks = if len == 0 || bytes == CLOSED { &mut self.free } else { &mut self.dead };
        marks.push(disk);
        Ok(())
    }

    /// How many ended without closing.
    pub(crate) fn dead(&self) -> u32 {
        u32::try_from(self.dead.len()).unwrap_or(u32::MAX)
    }

    /// Forgets the dead, whose end was published, and takes a mark: on disk when this returns.
    pub(crate) fn take(mut self, folder: &Path) -> Result<Mark> {
        let disk = match self.free.pop().or_else(|| self.dead.pop()) {
            Some(disk) => disk,
            None => {
                if self.next >= PROCESSES_MAX {
                    return Err(
                        error(ErrorKind::Busy, "open").with_detail("too many processes have the store open")
                    );
                }
                let disk = Disk::create(&path(folder, self.next)).map_err(while_doing("open"))?;
                crate::disk::sync_folder(folder).map_err(while_doing("open"))?;
                if !disk.try_lock().map_err(while_doing("open"))? {
                    return Err(error(ErrorKind::Busy, "open"));
                }
                disk
            }
        };
        disk.write_at(&OPEN, 0).and_then(|()| disk.sync()).map_err(while_doing("open"))?;
        self.forget_dead()?;
        Ok(Mark { disk })
    }

    /// Marks the dead as closed, once their end was published.
    pub(crate) fn forget_dead(&mut self) -> Result<()> {
        for dead in self.dead.drain(..) {
            dead.write_at(&CLOSED, 0).map_err(while_doing("open"))?;
        }
        Ok(())
    }
}

impl Mark {
    /// It ended properly. Not before everything it has done is on disk.
    pub(crate) fn close(&self) -> Result<()> {
        self.disk.write_at(&CLOSED, 0).and_then(|()| self.disk.sync()).map_err(while_doing("close"))
    }
}
