//! Compaction: what still counts of the log's first segment is copied to its end, in steps, and then the segment goes.
//!
//! The log stays one sequence, read in one direction: its first segment can be dropped once no row of it counts, since all it
//! says besides is about what came before it.

use std::sync::Arc;

use nanotier_tier::Result;

use crate::change::{Doing, too_long};
use crate::error::{damaged, error};
use crate::format::{Change, SegmentHeader};
use crate::index::{Key, Slot};
use crate::log::Log;
use crate::segment::{Place, Segment, walk};
use crate::view::read_slot;

/// Without so many bytes that do not count any more, nothing is compacted.
pub(crate) const GARBAGE_MIN_SEGMENTS: u64 = 2;

/// How far the first segment has been copied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    pub(crate) segment: u64,
    pub(crate) place: Place,
}

/// True if more than half of the log does not count any more, and that is worth while.
pub(crate) fn is_due(log: &Log, segment_size: u64) -> bool {
    let len = log.len();
    let garbage = len.saturating_sub(log.index.live_bytes());
    garbage > GARBAGE_MIN_SEGMENTS * segment_size && garbage > len / 2
}

/// Copies of the first segment about `most` bytes into a transaction. Says how far it came, and whether all of it is copied.
pub(crate) fn step(doing: &mut Doing<'_>, before: Option<Progress>, most: u64) -> Result<(Progress, bool)> {
    let log = doing.log;
    let log = log.read();
    let log = log.as_ref().ok_or_else(|| error(nanotier_tier::ErrorKind::Closed, "compact"))?;
    let number = log.state.first;
    let segment = log.segment(number).ok_or_else(|| damaged("the first segment is missing"))?;
    let start = before
        .filter(|before| before.segment == number)
        .map_or(Place { end: SegmentHeader::END, last: segment.header.before }, |before| before.place);
    let until = log.end_of(number);
    let (mut failed, mut is_enough) = (None, false);
    let copied_from = doing.batch.len() as u64;
    let place = walk(segment, start, until, u64::MAX, &mut |batch| {
        for change in &batch.changes {
            let copied = match *change {
                Change::Put { key, at, .. } => copy_row(doing, log, segment, key, Some(batch.values_at + at)),
                Change::Floor { namespace, .. } => copy_floor(doing, log, number, namespace),
                Change::Remove { .. } | Change::Clear { .. } | Change::Begins { .. } => Ok(()),
            };
            if let Err(error) = copied {
                failed = Some(error);
                return false;
            }
        }
        // What is only looked at costs less than what is copied.
        is_enough = doing.batch.len() as u64 - copied_from >= most || batch.end - start.end >= most * 8;
        !is_enough
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    if place.end < until && !is_enough {
        // Damaged since it was read. The index knows what counts of it.
        copy_by_index(doing, log, segment)?;
        return Ok((Progress { segment: number, place: Place { end: until, ..place } }, true));
    }
    Ok((Progress { segment: number, place }, place.end >= until))
}

fn copy_row(
    doing: &mut Doing<'_>,
    log: &Log,
    segment: &Arc<Segment>,
    key: &[u8],
    at: Option<u64>,
) -> Result<()> {
    let counts = |slot: &&Slot| Arc::ptr_eq(&slot.segment, segment) && at.is_none_or(|at| at == slot.at);
    let Some(slot) = log.index.slot(key).filter(counts) else { return Ok(()) };
    if doing.overrides(key) {
        return Ok(());
    }
    let value = read_slot(slot)?;
    doing.batch.put(key, &value, slot.due, slot.age).map(drop).map_err(too_long)
}

fn copy_floor(doing: &mut Doing<'_>, log: &Log, number: u64, namespace: &[u8]) -> Result<()> {
    let Some(floor) = log.index.floor(namespace).filter(|floor| floor.segment == number) else {
        return Ok(());
    };
    if doing.overrides_floor(namespace) {
        return Ok(());
    }
    doing.batch.floor(namespace, &floor.bytes).map_err(too_long)
}

fn copy_by_index(doing: &mut Doing<'_>, log: &Log, segment: &Arc<Segment>) -> Result<()> {
    let all = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
    let here = |(_, slot): &(&Key, &Slot)| Arc::ptr_eq(&slot.segment, segment);
    for (key, _) in log.index.range(all).filter(here) {
        copy_row(doing, log, segment, key, None)?;
    }
    for namespace in log.index.floors() {
        copy_floor(doing, log, segment.number(), namespace)?;
    }
    Ok(())
}
