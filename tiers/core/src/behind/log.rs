//! What makes a queued write durable before it has reached the tier.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::{BufMut, Bytes};
use nanotier_clock::Timestamp;
use parking_lot::Mutex;

use crate::capabilities::Durability;
use crate::entry::{Entry, Guard, Write};
use crate::error::{Error, ErrorKind, Result};
use crate::path::{Namespace, Path};
use crate::record::Framing;
use crate::version::Version;

/// A log of queued writes: appended to, cut off at the front, and read once, when a queue is opened over it.
///
/// Its methods block, on the thread of whoever writes to the queue.
pub trait QueueLog: Send + Sync + 'static {
    /// Adds items at the end. When it returns they are as durable as [`durability`](QueueLog::durability) says.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Storage`], and then some of them may be there or none.
    fn append(&self, items: &[LogItem<'_>]) -> Result<()>;

    /// Says that no item with a number below this is needed any more. Need not be durable: what comes back all the same
    /// does no harm, as long as everything that was appended after it comes back too.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Storage`].
    fn trim(&self, below: u64) -> Result<()>;

    /// Everything from the last trim, or from before it, to the end, in the order it was appended.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Corrupt`] if what was acknowledged cannot be read; an end that was being written when the process
    /// died is no error and is cut off.
    fn replay(&self) -> Result<Vec<LogItem<'static>>>;

    /// A number below which items stand in the way of giving back room: the queue appends those it still needs anew.
    fn crowded_below(&self) -> Option<u64> {
        None
    }

    /// What an appended item survives.
    fn durability(&self) -> Durability;

    /// Lets go of files. Called once, last.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Storage`].
    fn close(&self) -> Result<()> {
        Ok(())
    }
}

/// An item of a [`QueueLog`]. Numbers are given out rising, above all that [`replay`](QueueLog::replay) gave back; calls that
/// append at the same time may do so in another order. What counts as before and after is the order of appending.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are writes")]
pub enum LogItem<'a> {
    /// A write that was taken into the queue.
    Write {
        /// Its number.
        number: u64,
        /// What was taken: a put, or a remove.
        write: Write<'a>,
    },
    /// Whatever came before about this path is done.
    Settled {
        /// Its number.
        number: u64,
        /// Which path.
        path: Path<'a>,
    },
    /// Whatever came before in this namespace, up to this version, is done.
    Cleared {
        /// Its number.
        number: u64,
        /// Which namespace.
        namespace: Namespace,
        /// The version of the clearing.
        version: Version,
    },
}

impl LogItem<'_> {
    /// The number.
    #[must_use]
    pub fn number(&self) -> u64 {
        match self {
            Self::Write { number, .. } | Self::Settled { number, .. } | Self::Cleared { number, .. } => {
                *number
            }
        }
    }
}

const KIND_WRITE: u8 = 1;
const KIND_SETTLED: u8 = 2;
const KIND_TRIM: u8 = 3;
const KIND_CLEARED: u8 = 4;
const KIND_BATCH: u8 = 5;
/// Length of a frame without path, record and checksum: see FORMATS.md.
const HEAD_LEN: usize = 36;
const CHECKSUM_LEN: usize = 4;
/// A path at its longest: a length, a name with its purpose, a key.
const PATH_LEN_MAX: usize = 1 + 255 + Path::KEY_LEN_MAX;

/// A frame of a log.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one at a time, on the stack")]
pub(crate) enum Frame {
    Item(LogItem<'static>),
    /// Nothing below this number is needed.
    Trim(u64),
    /// What a file's next frames were written as, and synced.
    Batch(Batch),
}

/// The head of a batch: frames that were written to a file together, and are there together or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Of the file.
    pub(crate) generation: u64,
    /// 1, 2, 3, ... in its file.
    pub(crate) turn: u64,
    /// How many bytes of frames follow.
    pub(crate) len: u64,
}

pub(crate) fn put_batch(out: &mut Vec<u8>, batch: Batch) {
    let generation = batch.generation.to_le_bytes();
    // Eight bytes: nothing can be too large.
    let _ = put_frame(out, KIND_BATCH, batch.turn, Timestamp::from_millis(batch.len), &generation, &[]);
}

/// Adds the frame of an item.
///
/// # Errors
///
/// [`ErrorKind::TooLarge`] for a value beyond the limit of records.
pub(crate) fn put_item(out: &mut Vec<u8>, item: &LogItem<'_>) -> Result<()> {
    match item {
        LogItem::Write { number, write } => {
            let record = Framing::default().encode(
                &write.path,
                write.record.as_deref(),
                write.version,
                write.as_of,
            )?;
            put_frame(out, KIND_WRITE, *number, write.as_of, &write.path.to_bytes(), &record)
        }
        LogItem::Settled { number, path } => {
            put_frame(out, KIND_SETTLED, *number, Timestamp::ZERO, &path.to_bytes(), &[])
        }
        LogItem::Cleared { number, namespace, version } => {
            let path = Path::new(namespace, &[][..]);
            let record = Framing::default().encode(&path, None, *version, Timestamp::ZERO)?;
            put_frame(out, KIND_CLEARED, *number, Timestamp::ZERO, &path.to_bytes(), &record)
        }
    }
}

pub(crate) fn put_trim(out: &mut Vec<u8>, below: u64) {
    // Neither path nor record: nothing can be too large.
    let _ = put_frame(out, KIND_TRIM, below, Timestamp::ZERO, &[], &[]);
}

fn put_frame(
    out: &mut Vec<u8>,
    kind: u8,
    number: u64,
    as_of: Timestamp,
    path: &[u8],
    record: &[u8],
) -> Result<()> {
    let too_large = || Error::new(ErrorKind::TooLarge, "log", "append");
    let start = out.len();
    out.put_slice(b"nTq\x93");
    out.put_u8(kind);
    out.put_bytes(0, 3);
    out.put_u64_le(number);
    out.put_u64_le(as_of.as_millis());
    out.put_u32_le(u32::try_from(path.len()).map_err(|_| too_large())?);
    out.put_u32_le(u32::try_from(record.len()).map_err(|_| too_large())?);
    // So that a damaged length is not believed.
    let head = crc32c::crc32c(&out[start..]);
    out.put_u32_le(head);
    debug_assert_eq!(out.len() - start, HEAD_LEN, "FORMATS.md and the encoder must agree");
    out.put_slice(path);
    out.put_slice(record);
    let checksum = crc32c::crc32c(&out[start..]);
    out.put_u32_le(checksum);
    Ok(())
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

/// The frame that `bytes` begin with, and its length; `None` if they begin with no whole and undamaged one.
pub(crate) fn read_frame(bytes: &[u8]) -> Option<(Frame, usize)> {
    let head = bytes.get(..HEAD_LEN)?;
    if !head.starts_with(b"nTq\x93")
        || head[5..8] != [0, 0, 0]
        || u32_at(head, 32)? != crc32c::crc32c(&head[..32])
    {
        return None;
    }
    let (kind, number) = (head[4], u64_at(head, 8)?);
    let as_of = Timestamp::from_millis(u64_at(head, 16)?);
    let (path_len, record_len) =
        (usize::try_from(u32_at(head, 24)?).ok()?, usize::try_from(u32_at(head, 28)?).ok()?);
    if path_len > PATH_LEN_MAX {
        return None;
    }
    let body_len = HEAD_LEN.checked_add(path_len)?.checked_add(record_len)?;
    let body = bytes.get(..body_len)?;
    if u32_at(bytes, body_len)? != crc32c::crc32c(body) {
        return None;
    }
    let (path, record) = body[HEAD_LEN..].split_at(path_len);
    let frame = match kind {
        KIND_WRITE | KIND_CLEARED => {
            let path = Path::from_bytes(path)?;
            let (entry, _) = Framing::default().decode(&path, &Bytes::copy_from_slice(record)).ok()?;
            let (record, version): (_, Version) = match entry {
                Entry::Present(record) => {
                    let version = record.version;
                    (Some(Cow::Owned(record)), version)
                }
                Entry::Removed(version) => (None, version),
                Entry::Absent => return None,
            };
            if kind == KIND_CLEARED {
                let namespace = path.namespace().clone();
                let is_bare = record.is_none() && path.key().is_empty();
                return is_bare.then_some((
                    Frame::Item(LogItem::Cleared { number, namespace, version }),
                    body_len + CHECKSUM_LEN,
                ));
            }
            Frame::Item(LogItem::Write {
                number,
                write: Write { path, record, version, guard: Guard::Newer, as_of },
            })
        }
        KIND_SETTLED => Frame::Item(LogItem::Settled { number, path: Path::from_bytes(path)? }),
        KIND_TRIM if body_len == HEAD_LEN => Frame::Trim(number),
        KIND_BATCH if record.is_empty() => {
            let generation = u64::from_le_bytes(path.try_into().ok()?);
            Frame::Batch(Batch { generation, turn: number, len: as_of.as_millis() })
        }
        _ => return None,
    };
    Some((frame, body_len + CHECKSUM_LEN))
}

/// The items and trims that `bytes` begin with, and how many bytes they take.
pub(crate) fn read_frames(bytes: &[u8]) -> (Vec<Frame>, usize) {
    let (mut frames, mut at) = (Vec::new(), 0);
    while let Some((frame, len)) = read_frame(&bytes[at..]) {
        if matches!(frame, Frame::Batch(_)) {
            break;
        }
        at += len;
        frames.push(frame);
    }
    (frames, at)
}

/// Adds what is in the frames to the items from before, as far as those are still needed.
pub(crate) fn take_in(frames: Vec<Frame>, items: &mut Vec<LogItem<'static>>) {
    for frame in frames {
        match frame {
            Frame::Item(item) => items.push(item),
            Frame::Trim(below) => items.retain(|item| item.number() >= below),
            Frame::Batch(_) => {}
        }
    }
}

/// A log in memory: for tests of what a crash leaves. Clones share it, so that it outlives the queue.
#[derive(Clone, Debug, Default)]
pub struct MemoryLog(Arc<Mutex<MemoryState>>);

#[derive(Debug, Default)]
struct MemoryState {
    bytes: Vec<u8>,
    fails: bool,
}

impl MemoryLog {
    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A log that was left behind with these bytes.
    #[must_use]
    pub fn of_bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Arc::new(Mutex::new(MemoryState { bytes: bytes.into(), fails: false })))
    }

    /// Its bytes so far: what a crash now would leave, and any prefix what one while they were written would have.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.0.lock().bytes.clone()
    }

    /// From now on appending fails, or works again.
    pub fn fail(&self, fails: bool) {
        self.0.lock().fails = fails;
    }
}

impl QueueLog for MemoryLog {
    fn append(&self, items: &[LogItem<'_>]) -> Result<()> {
        let mut added = Vec::new();
        items.iter().try_for_each(|item| put_item(&mut added, item))?;
        let mut state = self.0.lock();
        if state.fails {
            return Err(Error::new(ErrorKind::Storage, "log", "append"));
        }
        state.bytes.extend_from_slice(&added);
        Ok(())
    }

    fn trim(&self, below: u64) -> Result<()> {
        put_trim(&mut self.0.lock().bytes, below);
        Ok(())
    }

    fn replay(&self) -> Result<Vec<LogItem<'static>>> {
        let mut state = self.0.lock();
        let mut items = Vec::new();
        let (frames, whole) = read_frames(&state.bytes);
        take_in(frames, &mut items);
        state.bytes.truncate(whole);
        Ok(items)
    }

    /// As a file would be: a test that reopens it is no crash of the machine.
    fn durability(&self) -> Durability {
        Durability::Sync
    }
}
