//! New files and folders: for their owner alone, and on disk when they are said to be there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::error::ErrorKind;

/// Makes sure that there is a file, readable by its owner alone if it is new. True if it is new.
///
/// # Errors
///
/// What the operating system said.
pub fn create_folder_and_file(path: &Path) -> io::Result<bool> {
    if path.exists() {
        return Ok(false);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let missing: Vec<&Path> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
    create_folder(folder)?;
    match create_file(path) {
        Ok(_) => {}
        // Another process was quicker. Which of the two owns it, its lock will say.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(error),
    }
    // A new name survives a power cut only once its folder is on disk, and so on upwards.
    for folder in std::iter::once(folder).chain(missing.iter().filter_map(|folder| folder.parent())) {
        sync_folder(folder)?;
    }
    Ok(true)
}

/// Creates a folder that only its owner may enter, and those above it that are missing.
///
/// # Errors
///
/// What the operating system said.
#[cfg(unix)]
pub fn create_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Creates a folder and those above it that are missing.
///
/// # Errors
///
/// What the operating system said.
#[cfg(not(unix))]
pub fn create_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}

/// Creates a file that only its owner may read and write. No name that is taken already is opened.
///
/// # Errors
///
/// What the operating system said; [`io::ErrorKind::AlreadyExists`] if there is something of that name.
#[cfg(unix)]
pub fn create_file(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Creates a file. No name that is taken already is opened.
///
/// # Errors
///
/// What the operating system said; [`io::ErrorKind::AlreadyExists`] if there is something of that name.
#[cfg(not(unix))]
pub fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).open(path)
}

/// Brings a folder to disk: which names are in it.
///
/// # Errors
///
/// What the operating system said.
#[cfg(unix)]
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)?.sync_all()
}

/// Nothing: elsewhere a folder cannot be opened to be flushed.
///
/// # Errors
///
/// None.
#[cfg(not(unix))]
pub fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

/// What the operating system said, as a store says it: the kind, and the detail; none where the error speaks for itself. `must_be_writable`: the
/// sentence for what this process may not write.
#[must_use]
pub fn told(source: &io::Error, must_be_writable: &'static str) -> (ErrorKind, &'static str) {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            (ErrorKind::Full, "the disk has no room")
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            (ErrorKind::Storage, must_be_writable)
        }
        _ => (ErrorKind::Storage, ""),
    }
}

/// Whether a file may once have begun with these bytes: at least half of them are there, or one byte stands in the place of all, as a page
/// that was lost leaves it. What is damaged does; what is another program's does not, and is not to be moved aside.
///
/// # Errors
///
/// What the operating system said.
pub fn began_as(path: &Path, magic: &[u8]) -> io::Result<bool> {
    let mut head = Vec::new();
    File::open(path)?.take(magic.len() as u64).read_to_end(&mut head)?;
    let same = head.iter().zip(magic).filter(|(is, was)| is == was).count();
    Ok(2 * same >= head.len() || head.iter().all(|byte| head.first() == Some(byte)))
}

/// Moves a damaged file to a name that nothing has yet.
///
/// # Errors
///
/// What the operating system said; an error if [`DAMAGED_MAX`] were moved aside already.
pub fn move_aside(path: &Path) -> io::Result<()> {
    let name = |n: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".damaged-{n}"));
        PathBuf::from(name)
    };
    for n in 1..=DAMAGED_MAX {
        // Takes the name first, so that two who do this at once cannot write over each other's file.
        match create_file(&name(n)) {
            Ok(_) => return fs::rename(path, name(n)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other(format!(
        "{DAMAGED_MAX} damaged files were moved aside already: look at them and remove some"
    )))
}

/// How many damaged files are kept. More than that is no accident, and would fill the disk.
pub const DAMAGED_MAX: u32 = 100;
