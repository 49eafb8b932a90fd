//! A segment of the log: an open file, and walking over the batches in it.

use std::path::{Path, PathBuf};

use nanotier_tier::Result;

use crate::disk::Disk;
use crate::error::while_doing;
use crate::format::{BatchHeader, Change, Link, SegmentHeader};

/// How much is read at once.
const CHUNK: usize = 256 * 1024;

/// An open segment. What was committed in it never changes, and stays readable as long as anyone holds it, also when its
/// name is gone.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) header: SegmentHeader,
    pub(crate) disk: Disk,
}

/// The name of a segment.
pub(crate) fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("nanotier-{number:016x}.log"))
}

/// The number in the name of a segment.
pub(crate) fn number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("nanotier-")?.strip_suffix(".log")?;
    let is_ours = digits.len() == 16 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_ours.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

impl Segment {
    /// Opens a segment; `None` if what lies there is none, or a damaged one.
    pub(crate) fn open(path: &Path) -> std::io::Result<Option<Self>> {
        let disk = Disk::open(path)?;
        let mut bytes = [0; SegmentHeader::LEN];
        disk.read_at(&mut bytes, 0)?;
        Ok(SegmentHeader::parse(&bytes).map(|header| Self { header, disk }))
    }

    pub(crate) fn number(&self) -> u64 {
        self.header.number
    }
}

/// Where a walk has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) end: u64,
    pub(crate) last: Link,
}

/// A batch that is whole, and its place in the segment.
pub(crate) struct Batch<'a> {
    pub(crate) changes: Vec<Change<'a>>,
    /// Where its values begin.
    pub(crate) values_at: u64,
    /// Where it ends.
    pub(crate) end: u64,
}

/// Shows all batches from `place` on, until `until`, `visit` breaks off, or one is not whole: says where that is. Of batches that
/// end at or before `trusted` the heads are checked, of others the values too.
pub(crate) fn walk(
    segment: &Segment,
    mut place: Place,
    until: u64,
    trusted: u64,
    visit: &mut dyn FnMut(&Batch<'_>) -> bool,
) -> Result<Place> {
    let mut window = Window { disk: &segment.disk, bytes: Vec::new(), at: 0, until };
    while place.end < until {
        let Some(header) = window.bytes(place.end, BatchHeader::LEN)?.and_then(BatchHeader::parse) else {
            break;
        };
        let Some(end) = header.len().and_then(|len| place.end.checked_add(len)).filter(|end| *end <= until)
        else {
            break;
        };
        if !header.follows(place.last) {
            break;
        }
        let values_at = place.end + header.values_at() as u64;
        if end > trusted && !values_are_whole(&mut window, values_at, &header)? {
            break;
        }
        let heads = window.bytes(place.end, header.values_at())?.and_then(|bytes| header.heads(bytes));
        let Some(changes) = heads.and_then(|heads| header.changes(heads)) else { break };
        place = Place { end, last: header.link };
        if !visit(&Batch { changes, values_at, end }) {
            break;
        }
    }
    Ok(place)
}

fn values_are_whole(window: &mut Window<'_>, values_at: u64, header: &BatchHeader) -> Result<bool> {
    let (mut sum, mut done) = (0, 0);
    while done < header.values_len {
        let len = usize::try_from(header.values_len - done).unwrap_or(CHUNK).min(CHUNK);
        let Some(bytes) = window.bytes(values_at + done, len)? else { return Ok(false) };
        sum = crc32c::crc32c_append(sum, bytes);
        done += len as u64;
    }
    Ok(sum == header.values_sum)
}

/// A part of a segment in memory: small batches are read many at a time, large values not at all.
struct Window<'s> {
    disk: &'s Disk,
    bytes: Vec<u8>,
    at: u64,
    until: u64,
}

impl Window<'_> {
    /// So many bytes from there; `None` if there are not as many. Takes no more memory than the segment has bytes.
    fn bytes(&mut self, at: u64, len: usize) -> Result<Option<&[u8]>> {
        if at.checked_add(len as u64).is_none_or(|end| end > self.until) {
            return Ok(None);
        }
        let there = at.checked_sub(self.at).and_then(|from| usize::try_from(from).ok());
        let there = there.filter(|from| from.checked_add(len).is_some_and(|end| end <= self.bytes.len()));
        let from = match there {
            Some(from) => from,
            None => {
                self.fill(at, len)?;
                0
            }
        };
        Ok(self.bytes.get(from..from + len))
    }

    fn fill(&mut self, at: u64, len: usize) -> Result<()> {
        let about = self.disk.about().map_err(while_doing("read"))?;
        let there = about.len.min(self.until).saturating_sub(at);
        let want = usize::try_from(there).unwrap_or(usize::MAX).min(len.max(CHUNK));
        self.bytes.resize(want, 0);
        let read = self.disk.read_at(&mut self.bytes, at).map_err(while_doing("read"))?;
        self.bytes.truncate(read);
        self.at = at;
        Ok(())
    }
}
