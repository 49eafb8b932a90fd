//! What the store asks of the operating system, in one place: files by position, and the names in a folder. In unit tests it fails
//! when told to.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use nanotier_tier::embedded::files;

#[cfg(test)]
use failing::call;

#[cfg(not(test))]
fn call() -> io::Result<()> {
    Ok(())
}

/// An open file. It is read and written by position only: what is forked shares no offset.
#[derive(Debug)]
pub(crate) struct Disk(File);

/// What a file says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About {
    pub(crate) len: u64,
    /// False if no name leads to it any more.
    pub(crate) has_name: bool,
}

#[cfg(unix)]
impl Disk {
    /// Opens a file that is there, and is no symbolic link.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt as _;
        call()?;
        let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).map_err(io::Error::other)?;
        let file = OpenOptions::new().read(true).write(true).custom_flags(no_follow).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("this is no plain file"));
        }
        Ok(Self(file))
    }

    /// Reads as many bytes as are there.
    pub(crate) fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        use std::os::unix::fs::FileExt as _;
        call()?;
        let mut read = 0;
        while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, offset + read as u64) {
                Ok(0) => break,
                Ok(some) => read += some,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    pub(crate) fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        use std::os::unix::fs::FileExt as _;
        call()?;
        self.0.write_all_at(bytes, offset)
    }

    pub(crate) fn about(&self) -> io::Result<About> {
        use std::os::unix::fs::MetadataExt as _;
        call()?;
        let about = self.0.metadata()?;
        Ok(About { len: about.len(), has_name: about.nlink() > 0 })
    }
}

#[cfg(not(unix))]
impl Disk {
    pub(crate) fn open(_: &Path) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn about(&self) -> io::Result<About> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Disk {
    /// Creates a file for its owner alone, under a name that nothing has.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        call()?;
        files::create_file(path).map(Self)
    }

    pub(crate) fn set_len(&self, len: u64) -> io::Result<()> {
        call()?;
        self.0.set_len(len)
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        call()?;
        self.0.sync_data()
    }

    /// Takes the lock if nobody has it.
    pub(crate) fn try_lock(&self) -> io::Result<bool> {
        match self.0.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    pub(crate) fn unlock(&self) {
        // The only reason to fail is a descriptor that is none.
        let _ = self.0.unlock();
    }
}

pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    call()?;
    fs::rename(from, to)
}

pub(crate) fn remove(path: &Path) -> io::Result<()> {
    call()?;
    fs::remove_file(path)
}

pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    call()?;
    files::sync_folder(folder)
}

#[cfg(test)]
pub(crate) mod failing {
    use std::cell::Cell;
    use std::io;

    thread_local! {
        /// How many more calls succeed on this thread before the disk fails, and with what.
        static FAILS_AFTER: Cell<Option<(u32, Failure)>> = const { Cell::new(None) };
        /// Only the next failing call fails.
        static ONCE: Cell<bool> = const { Cell::new(false) };
    }

    #[derive(Clone, Copy, Debug)]
    pub(crate) enum Failure {
        Error(io::ErrorKind),
        Panic,
    }

    /// From now on, after `calls` calls by this thread, each further one fails until [`mend`].
    pub(crate) fn fail_after(calls: u32, failure: Failure) {
        ONCE.set(false);
        FAILS_AFTER.set(Some((calls, failure)));
    }

    /// The same, but only one fails.
    pub(crate) fn fail_once_after(calls: u32, failure: Failure) {
        fail_after(calls, failure);
        ONCE.set(true);
    }

    pub(crate) fn mend() {
        FAILS_AFTER.set(None);
    }

    pub(super) fn call() -> io::Result<()> {
        match FAILS_AFTER.get() {
            None => Ok(()),
            Some((0, Failure::Error(kind))) => {
                if ONCE.get() {
                    mend();
                }
                Err(kind.into())
            }
            Some((0, Failure::Panic)) => {
                // Once: a second panic while unwinding would end the process.
                mend();
                panic!("the disk was told to")
            }
            Some((calls, failure)) => {
                FAILS_AFTER.set(Some((calls - 1, failure)));
                Ok(())
            }
        }
    }
}
