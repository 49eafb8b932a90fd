//! A queue's log in two files.
//!
//! One is appended to; the other one, older, is waited for. When the first has grown and nothing in the older one is
//! needed any more, they change places: so room is given back without anything being moved. FORMATS.md has the bytes.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write as _};
use std::path::{Path as FilePath, PathBuf};

use parking_lot::Mutex;

use super::log::{
    Batch, Frame, LogItem, QueueLog, put_batch, put_item, put_trim, read_frame, read_frames, take_in,
};
use crate::capabilities::Durability;
use crate::error::{Error, ErrorKind, Result};

/// What a file begins with: magic, format version, generation, checksum.
const HEAD_LEN: usize = 24;
const MAGIC: [u8; 8] = *b"nTqueue\x01";
/// What the head of a batch begins with, as every frame does.
const FRAME_MAGIC: &[u8] = b"nTq\x93";

/// A [`QueueLog`] in two files, `<path>.0` and `<path>.1`: an append is on disk when it returns, a power cut included, as far
/// as the disk keeps its word. Appends that meet share one sync.
///
/// For one process at a time: both files are locked while it is open. After an error of the disk every further append
/// fails until the log is opened again, since nobody knows then what is on disk.
#[derive(Debug)]
pub struct FileLog {
    /// What is to be appended, and how far that has come.
    inbox: Mutex<Inbox>,
    files: Mutex<Files>,
    rotate_at: u64,
}

#[derive(Debug, Default)]
struct Inbox {
    bytes: Vec<u8>,
    /// The highest number in it.
    highest: u64,
    /// Batches ever appended.
    batches: u64,
}

#[derive(Debug)]
struct Files {
    active: Half,
    older: Half,
    /// Batches on disk.
    synced: u64,
    trimmed: u64,
    broken: bool,
    closed: bool,
    items: Vec<LogItem<'static>>,
}

/// One of the two files.
#[derive(Debug)]
struct Half {
    file: File,
    generation: u64,
    len: u64,
    /// Batches in it.
    batches: u64,
    /// The highest number in it that is needed, or was; 0 for none.
    highest: u64,
}

/// How the batches of a file end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// With the file.
    Whole,
    /// In one that was being written.
    Torn,
    /// In one that had been written, since another one was written after it.
    Damaged,
}

fn storage(operation: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |error| Error::new(ErrorKind::Storage, "log", operation).with_source(error)
}

impl FileLog {
    /// How large a file grows before it changes places with the other one, if that is not needed any more.
    pub const ROTATE_AT_DEFAULT: u64 = 8 * 1024 * 1024;

    /// Opens the log at `path`, or makes it, in a folder that is there. An end that was being written when the process died is cut off: the last
    /// batch, whole. So is a last batch that was damaged later, which cannot be told from one that was being written.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InUse`] if it is open already, in this process or another, [`ErrorKind::Corrupt`] for files that are no log, or damaged
    /// where something was written after it: acknowledged writes would be lost without a word, and deletes undone. The files
    /// are left as they are; who can do without what is in them removes both. [`ErrorKind::Storage`] for
    /// what the disk said.
    pub fn open(path: impl AsRef<FilePath>) -> Result<Self> {
        Self::open_with(path, Self::ROTATE_AT_DEFAULT)
    }

    /// The same, with files that grow to about `rotate_at` bytes.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with(path: impl AsRef<FilePath>, rotate_at: u64) -> Result<Self> {
        let path = path.as_ref();
        Self::open_at(path, rotate_at).map_err(|error| error.with_place(path))
    }

    fn open_at(path: &FilePath, rotate_at: u64) -> Result<Self> {
        let (first, second) = (Half::open(path, "0")?, Half::open(path, "1")?);
        sync_folder(path)?;
        let [(mut older, older_bytes), (mut active, active_bytes)] =
            if first.0.generation < second.0.generation { [first, second] } else { [second, first] };
        let mut items = Vec::new();
        let damaged = |detail| Err(Error::new(ErrorKind::Corrupt, "log", "open").with_detail(detail));
        // The older one was whole when the other was begun.
        if older.read(&older_bytes, &mut items) != End::Whole {
            return damaged("a finished file is damaged");
        }
        if active.read(&active_bytes, &mut items) == End::Damaged {
            return damaged("the file is damaged before what was written last");
        }
        // Numbers go on above what is given back: those of what is done come again, and keep no file.
        let needed = items.iter().map(LogItem::number).max().unwrap_or(0);
        for half in [&mut older, &mut active] {
            half.highest = half.highest.min(needed);
        }
        let mut files = Files { active, older, synced: 0, trimmed: 0, broken: false, closed: false, items };
        files.cut()?;
        if files.active.generation == 0 {
            files.active.begin(1)?;
        }
        Ok(Self {
            inbox: Mutex::new(Inbox::default()),
            files: Mutex::new(files),
            rotate_at: rotate_at.max(1),
        })
    }
}

/// So that the files are found again after a power cut.
fn sync_folder(path: &FilePath) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(FilePath::new("."));
    if cfg!(unix) {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(storage("open"))?;
    }
    Ok(())
}

impl Drop for Half {
    fn drop(&mut self) {
        // A process that another thread is just starting has the file open too until it has begun, and would keep the lock as long.
        let _ = unlock(&self.file);
    }
}

impl Half {
    /// The file, and its bytes.
    fn open(path: &FilePath, which: &str) -> Result<(Self, Vec<u8>)> {
        let mut name = path.as_os_str().to_owned();
        name.push(".");
        name.push(which);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            options.mode(0o600);
        }
        let mut file = options.open(PathBuf::from(name)).map_err(storage("open"))?;
        lock(&file)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(storage("open"))?;
        // One that was begun and not finished has no generation yet, and nothing was appended to it.
        let generation = read_head(&bytes)?.unwrap_or(0);
        Ok((Self { file, generation, len: 0, batches: 0, highest: 0 }, bytes))
    }

    /// Takes in what is in it, after what was in the older one.
    fn read(&mut self, bytes: &[u8], items: &mut Vec<LogItem<'static>>) -> End {
        let Some(bytes) = bytes.get(HEAD_LEN..).filter(|_| self.generation > 0) else { return End::Whole };
        let mut at = 0;
        let end = loop {
            let rest = &bytes[at..];
            if rest.is_empty() {
                break End::Whole;
            }
            let Some((batch, head_len)) = self.read_batch_head(rest) else {
                // Nobody knows where it ends.
                break self.end_before(rest.get(1..).unwrap_or_default());
            };
            let len = usize::try_from(batch.len).ok().and_then(|len| head_len.checked_add(len));
            let Some((body, behind)) = len.and_then(|len| Some((rest.get(head_len..len)?, &rest[len..])))
            else {
                break End::Torn;
            };
            let (frames, whole) = read_frames(body);
            if whole < body.len() {
                break self.end_before(behind);
            }
            for frame in &frames {
                if let Frame::Item(item) = frame {
                    self.highest = self.highest.max(item.number());
                }
            }
            take_in(frames, items);
            self.batches = batch.turn;
            at += head_len + body.len();
        };
        self.len = (HEAD_LEN + at) as u64;
        end
    }

    /// The head of the next batch of this file.
    fn read_batch_head(&self, bytes: &[u8]) -> Option<(Batch, usize)> {
        match read_frame(bytes)? {
            (Frame::Batch(batch), len)
                if batch.generation == self.generation && batch.turn == self.batches + 1 =>
            {
                Some((batch, len))
            }
            _ => None,
        }
    }

    /// What it means that the next batch is not whole: one is written when those before it are on disk.
    fn end_before(&self, behind: &[u8]) -> End {
        let is_later = |at: usize| match read_frame(&behind[at..]) {
            Some((Frame::Batch(batch), _)) => {
                batch.generation == self.generation && batch.turn > self.batches
            }
            _ => false,
        };
        let begins = |at: &usize| behind[*at..].starts_with(FRAME_MAGIC);
        if (0..behind.len()).filter(begins).any(is_later) { End::Damaged } else { End::Torn }
    }

    /// Empties the file and makes it that of `generation`.
    fn begin(&mut self, generation: u64) -> Result<()> {
        let mut head = Vec::with_capacity(HEAD_LEN);
        head.extend_from_slice(&MAGIC);
        head.extend_from_slice(&generation.to_le_bytes());
        head.extend_from_slice(&[0; 4]);
        head.extend_from_slice(&crc32c::crc32c(&head).to_le_bytes());
        let written = self
            .file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .and_then(|_| self.file.write_all(&head))
            .and_then(|()| self.file.sync_all());
        written.map_err(storage("rotate"))?;
        (self.generation, self.len, self.batches, self.highest) = (generation, HEAD_LEN as u64, 0, 0);
        Ok(())
    }
}

/// The generation; `None` for a file that is empty, or whose head was being written.
fn read_head(bytes: &[u8]) -> Result<Option<u64>> {
    let corrupt = |detail| Err(Error::new(ErrorKind::Corrupt, "log", "open").with_detail(detail));
    // What a power cut leaves of a head: some of its bytes, and perhaps zeros for the others.
    let left = bytes.iter().rposition(|byte| *byte != 0).map_or(&[][..], |last| &bytes[..=last]);
    let is_begun = MAGIC.starts_with(&left[..left.len().min(MAGIC.len())]);
    let Some(head) = bytes.get(..HEAD_LEN) else {
        return if is_begun { Ok(None) } else { corrupt("the file is no queue's log") };
    };
    if bytes.len() == HEAD_LEN && left.len() < MAGIC.len() && is_begun {
        return Ok(None);
    }
    if head[..8] != MAGIC {
        return corrupt("the file is no queue's log, or one of another format version");
    }
    let (covered, checksum) = head.split_at(HEAD_LEN - 4);
    if crc32c::crc32c(covered).to_le_bytes() != *checksum {
        // Only its own head was ever written to a file with a torn one.
        return if bytes.len() == HEAD_LEN { Ok(None) } else { corrupt("the head of the file is damaged") };
    }
    let generation = covered[8..16].first_chunk().copied().map_or(0, u64::from_le_bytes);
    Ok(Some(generation))
}

#[cfg(unix)]
fn lock(file: &File) -> Result<()> {
    rustix::fs::flock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|error| {
        let kind = if error == rustix::io::Errno::WOULDBLOCK { ErrorKind::InUse } else { ErrorKind::Storage };
        Error::new(kind, "log", "open").with_source(std::io::Error::from(error))
    })
}

#[cfg(unix)]
fn unlock(file: &File) -> Result<()> {
    rustix::fs::flock(file, rustix::fs::FlockOperation::Unlock)
        .map_err(|error| storage("close")(std::io::Error::from(error)))
}

#[cfg(not(unix))]
fn unlock(_: &File) -> Result<()> {
    Ok(())
}

#[cfg(not(unix))]
fn lock(_: &File) -> Result<()> {
    Ok(())
}

impl Files {
    /// Cuts off what was being written.
    fn cut(&mut self) -> Result<()> {
        let len = self.active.len;
        let cut = self
            .active
            .file
            .set_len(len)
            .and_then(|()| self.active.file.seek(SeekFrom::Start(len)))
            .and_then(|_| self.active.file.sync_all());
        cut.map_err(storage("open"))
    }

    /// True if nothing in the older file is needed.
    fn is_older_free(&self) -> bool {
        self.older.highest < self.trimmed
    }

    fn write(&mut self, bytes: &[u8], highest: u64, rotate_at: u64) -> Result<()> {
        if self.active.len >= rotate_at && self.is_older_free() {
            let generation = self.active.generation + 1;
            self.older.begin(generation)?;
            std::mem::swap(&mut self.active, &mut self.older);
        }
        let turn = self.active.batches + 1;
        let batch = Batch { generation: self.active.generation, turn, len: bytes.len() as u64 };
        let mut whole = Vec::with_capacity(bytes.len() + 64);
        put_batch(&mut whole, batch);
        whole.extend_from_slice(bytes);
        let file = &mut self.active.file;
        file.write_all(&whole).and_then(|()| file.sync_data()).map_err(storage("append"))?;
        self.active.batches = turn;
        self.active.len += whole.len() as u64;
        self.active.highest = self.active.highest.max(highest);
        Ok(())
    }
}

impl QueueLog for FileLog {
    fn append(&self, items: &[LogItem<'_>]) -> Result<()> {
        let mut bytes = Vec::new();
        items.iter().try_for_each(|item| put_item(&mut bytes, item))?;
        let highest = items.iter().map(LogItem::number).max().unwrap_or(0);
        let batch = {
            let mut inbox = self.inbox.lock();
            inbox.bytes.append(&mut bytes);
            inbox.highest = inbox.highest.max(highest);
            inbox.batches += 1;
            inbox.batches
        };
        // Whoever is first here writes for all who are waiting for it.
        let mut files = self.files.lock();
        if files.closed {
            return Err(Error::new(ErrorKind::Closed, "log", "append"));
        }
        if files.broken {
            return Err(
                Error::new(ErrorKind::Storage, "log", "append").with_detail("an append before this failed")
            );
        }
        if files.synced >= batch {
            return Ok(());
        }
        let (bytes, highest, batches) = {
            let mut inbox = self.inbox.lock();
            (std::mem::take(&mut inbox.bytes), std::mem::take(&mut inbox.highest), inbox.batches)
        };
        files.write(&bytes, highest, self.rotate_at).inspect_err(|_| files.broken = true)?;
        files.synced = batches;
        Ok(())
    }

    /// Goes to disk with the next append.
    fn trim(&self, below: u64) -> Result<()> {
        let mut files = self.files.lock();
        if below > files.trimmed {
            files.trimmed = below;
            put_trim(&mut self.inbox.lock().bytes, below);
        }
        Ok(())
    }

    fn replay(&self) -> Result<Vec<LogItem<'static>>> {
        Ok(std::mem::take(&mut self.files.lock().items))
    }

    fn crowded_below(&self) -> Option<u64> {
        let files = self.files.lock();
        let is_crowded = !files.broken && files.active.len >= self.rotate_at && !files.is_older_free();
        is_crowded.then(|| files.older.highest + 1)
    }

    fn durability(&self) -> Durability {
        Durability::Sync
    }

    fn close(&self) -> Result<()> {
        let mut files = self.files.lock();
        let (bytes, highest) = {
            let mut inbox = self.inbox.lock();
            (std::mem::take(&mut inbox.bytes), std::mem::take(&mut inbox.highest))
        };
        let written = if files.broken || files.closed || bytes.is_empty() {
            Ok(())
        } else {
            files.write(&bytes, highest, u64::MAX)
        };
        // Whoever opens it next may do so though this one is still there: it writes no more.
        files.closed = true;
        written.and(unlock(&files.active.file)).and(unlock(&files.older.file))
    }
}
