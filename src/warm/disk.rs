//! The few things that are done with files, so that a test can make each of them fail.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

/// What can be read from anywhere.
pub(crate) trait Input: Read + Seek {}
impl<T: Read + Seek> Input for T {}

/// What is written and then brought to disk.
pub(crate) trait Output: Write {
    fn sync(&mut self) -> io::Result<()>;
}

impl Output for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// What lies at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lies {
    Nothing,
    File,
    /// A folder, a pipe, a device, a link.
    Other,
}

/// The file system.
pub(crate) trait Disk: Send + Sync {
    fn lies_at(&self, path: &Path) -> io::Result<Lies>;
    fn open(&self, path: &Path) -> io::Result<Box<dyn Input>>;
    /// A new file, for its owner alone; one of this name that an earlier run left is removed.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Output>>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Brings names in the folder of this file to disk: new ones, and that others are gone.
    fn sync_folder_of(&self, path: &Path) -> io::Result<()>;
}

/// The real one.
#[derive(Debug)]
pub(crate) struct System;

impl Disk for System {
    fn lies_at(&self, path: &Path) -> io::Result<Lies> {
        // Of a link itself: what it leads to is not ours.
        match fs::symlink_metadata(path) {
            Ok(metadata) => Ok(if metadata.is_file() { Lies::File } else { Lies::Other }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Lies::Nothing),
            Err(error) => Err(error),
        }
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Input>> {
        let mut options = OpenOptions::new();
        options.read(true);
        #[cfg(unix)]
        {
            use rustix::fs::OFlags;
            use std::os::unix::fs::OpenOptionsExt as _;
            // Whatever has come there since we looked: no link is followed, and no pipe waited for.
            let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
            options.custom_flags(i32::from_ne_bytes(flags.to_ne_bytes()));
        }
        let file = options.open(path)?;
        if file.metadata()?.is_file() { Ok(Box::new(file)) } else { Err(io::Error::other("not a file")) }
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Output>> {
        remove_if_there(path)?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        Ok(Box::new(options.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        remove_if_there(path)
    }

    #[cfg(unix)]
    fn sync_folder_of(&self, path: &Path) -> io::Result<()> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }

    /// Elsewhere a folder cannot be opened to be flushed.
    #[cfg(not(unix))]
    fn sync_folder_of(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
