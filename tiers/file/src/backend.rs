//! The open store: reading what is committed, committing in turn with other processes, and mending what a failure left.

use nanotier_tier::embedded::{Backend, Belief, RowsMut, Wanted};
use nanotier_tier::rules::{Rule, is_on};
use nanotier_tier::{Durability, Error, ErrorKind, Result, Timestamp};
use parking_lot::{Mutex, RwLock};

use crate::builder::Config;
use crate::change::{Doing, too_long};
use crate::compaction::{self, Progress};
use crate::disk::Disk;
use crate::error::{NAME, error, while_doing};
use crate::folder::{self, Locked};
use crate::format::{BatchBuilder, BatchHeader, Change, SegmentHeader, State};
use crate::log::{self, Log, Opened};
use crate::processes::{self, Mark};
use crate::segment::{Batch, Place, Segment, walk};

/// How much a transaction compacts besides its own work: twice what it writes, within these.
const STEP_MIN: u64 = 64 * 1024;
const STEP_MAX: u64 = 1024 * 1024;

/// A folder of log files as what a store stands on.
#[derive(Debug)]
pub(crate) struct FileLog {
    pub(crate) config: Config,
    /// `None` once closed. Readers share the lock for a read; it is taken alone to take note of a commit.
    log: RwLock<Option<Log>>,
    /// Taken before the store's lock, which is between processes, and that before `log`.
    writer: Mutex<Option<Writer>>,
    belief: Belief,
    /// Who opened it. A child that was forked off shares its parent's locks: it must not write.
    process: u32,
}

#[derive(Debug)]
struct Writer {
    mark: Mark,
    /// A flush failed: what was not on disk then is not trusted to get there any more.
    is_suspect: bool,
    progress: Option<Progress>,
    /// Closed properly: on disk with all that was done.
    is_closed: bool,
}

/// What is in the folder and in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Rows: records, tombstones and blanks.
    pub rows: u64,
    /// What they take, keys and framed records, in bytes.
    pub row_bytes: u64,
    /// What all segments take, in bytes.
    pub log_bytes: u64,
    /// How many segments there are.
    pub segments: u64,
}

fn closed(operation: &'static str) -> Error {
    error(ErrorKind::Closed, operation)
}

impl FileLog {
    /// Opens the folder.
    pub(crate) fn open(config: Config) -> Result<(Self, Belief)> {
        let Opened { log, mark, believed_since } = log::open(&config)?;
        let belief = Belief::new(believed_since.map(Timestamp::from_millis));
        let writer = Writer { mark, is_suspect: false, progress: None, is_closed: false };
        let backend = Self {
            config,
            log: RwLock::new(Some(log)),
            writer: Mutex::new(Some(writer)),
            belief: belief.clone(),
            process: std::process::id(),
        };
        Ok((backend, belief))
    }

    pub(crate) fn usage(&self) -> Result<Usage> {
        self.read_log(|log| {
            Ok(Usage {
                rows: log.index.len() as u64,
                row_bytes: log.index.row_bytes(),
                log_bytes: log.len(),
                segments: log.segments() as u64,
            })
        })
    }

    fn read_log<T>(&self, read: impl FnOnce(&Log) -> Result<T>) -> Result<T> {
        {
            let log = self.log.read();
            let log = log.as_ref().ok_or_else(|| closed("read"))?;
            if log.is_current()? {
                return read(log);
            }
        }
        self.catch_up()?;
        read(self.log.read().as_ref().ok_or_else(|| closed("read"))?)
    }

    /// For a reader who finds that others committed something.
    #[cold]
    fn catch_up(&self) -> Result<()> {
        if !self.follow()? {
            return Ok(());
        }
        let mut writer = self.writer.lock();
        let writer = writer.as_mut().ok_or_else(|| closed("read"))?;
        self.lock(writer, "read").map(drop)
    }

    /// Takes note of what others committed. True if all is to be read anew.
    fn follow(&self) -> Result<bool> {
        let mut log = self.log.write();
        let log = log.as_mut().ok_or_else(|| closed("read"))?;
        let before = log.state;
        log.catch_up(&self.config.folder)?;
        self.heed(before, log.state);
        Ok(log.is_stale)
    }

    /// Takes note of what others doubt.
    fn heed(&self, before: State, now: State) {
        if now.unclean != before.unclean {
            self.belief.lose();
        } else if now.believed_since != before.believed_since {
            self.belief.heard(Timestamp::from_millis(now.believed_since));
        }
    }

    /// Takes the store's lock, with all that others did taken note of.
    fn lock(&self, writer: &mut Writer, operation: &'static str) -> Result<Locked> {
        // Reopening after the folder was removed is done once per call.
        for _ in 0..2 {
            let control = self.with(|log| Ok(log.control.clone()))?;
            let locked = folder::lock(&control, self.config.lock_patience, operation)?;
            if self.follow()? {
                self.reload()?;
            }
            if !self.check_end(&control)? {
                drop(locked);
                self.open_again(writer)?;
                continue;
            }
            self.log.write().as_mut().map_or(Ok(()), |log| log.abandon_segment(&self.config.folder))?;
            return Ok(locked);
        }
        Err(error(ErrorKind::Storage, operation).with_detail("the folder is removed again and again"))
    }

    fn with<T>(&self, read: impl FnOnce(&Log) -> Result<T>) -> Result<T> {
        self.log.read().as_ref().map_or_else(|| Err(closed("write")), read)
    }

    fn with_mut<T>(&self, change: impl FnOnce(&mut Log) -> Result<T>) -> Result<T> {
        self.log.write().as_mut().map_or_else(|| Err(closed("write")), change)
    }

    /// Somebody removed the folder: what was in it is gone.
    #[cold]
    fn open_again(&self, writer: &mut Writer) -> Result<()> {
        let Opened { log, mark, .. } = log::open(&self.config)?;
        self.belief.lose();
        *writer = Writer { mark, is_suspect: false, progress: None, is_closed: false };
        *self.log.write() = Some(log);
        Ok(())
    }

    /// Reads all anew.
    #[cold]
    fn reload(&self) -> Result<()> {
        let mut log = self.log.write();
        let log = log.as_mut().ok_or_else(|| closed("read"))?;
        let before = log.state;
        log.is_stale = true;
        log.reload(&self.config)?;
        self.heed(before, log.state);
        Ok(())
    }

    /// Sees to it that the last segment ends where it should: behind that lies what was never committed. False if the folder is gone.
    fn check_end(&self, control: &Disk) -> Result<bool> {
        let (segment, end) = self.with(|log| Ok((log.active()?.clone(), log.state.end)))?;
        let about = segment.disk.about().map_err(while_doing("write"))?;
        if about.len > end {
            segment.disk.set_len(end).map_err(while_doing("write"))?;
        }
        if about.len < end || !about.has_name {
            if !control.about().map_err(while_doing("write"))?.has_name {
                return Ok(false);
            }
            // Cut or removed by somebody else: whether that is an error or a cold start is said by reading it.
            self.reload()?;
        }
        Ok(true)
    }

    /// After a flush that failed: what may not be on disk is written once more, elsewhere.
    #[cold]
    fn mend(&self, writer: &mut Writer) -> Result<()> {
        let (segment, state) = self.with(|log| Ok((log.active()?.clone(), log.state)))?;
        if state.synced_end < state.end {
            let start = Place { end: SegmentHeader::END, last: segment.header.before };
            let synced = walk(&segment, start, state.synced_end, u64::MAX, &mut |_| true)?;
            let whole = walk(&segment, synced, state.end, 0, &mut |_| true)?;
            let len = usize::try_from(whole.end - synced.end).unwrap_or(usize::MAX);
            let mut bytes = vec![0; len];
            let read = segment.disk.read_at(&mut bytes, synced.end).map_err(while_doing("write"))?;
            if read < len || synced.end != state.synced_end {
                return Err(error(ErrorKind::Corrupt, "write").with_detail("a segment is damaged"));
            }
            let header = self.with(|log| Ok(log.next_header(synced.end, synced.last)))?;
            self.with_mut(Log::begin_segment)?;
            let next = folder::create_segment(&self.config.folder, header, &bytes)?;
            let end = SegmentHeader::END + len as u64;
            let generation = state.generation.wrapping_add(1);
            let mut log = self.log.write();
            let log = log.as_mut().ok_or_else(|| closed("write"))?;
            // Published for all, ourselves included: everybody reads anew where rows lie.
            log.is_stale = true;
            let segment = next.number();
            log.publish(State { generation, segment, begun: 0, end, synced_end: end, ..state })?;
            log.reload(&self.config)?;
            if whole.end < state.end {
                self.belief.lose();
            }
        }
        writer.is_suspect = false;
        Ok(())
    }

    /// Does `work` and commits it. `step`: how much is compacted besides, at least.
    fn commit(
        &self,
        work: &mut dyn FnMut(&mut dyn RowsMut) -> Result<Wanted>,
        step: Option<u64>,
    ) -> Result<bool> {
        let mut writer = self.writer.lock();
        let writer = writer.as_mut().ok_or_else(|| closed("write"))?;
        if std::process::id() != self.process {
            return Err(error(ErrorKind::Unsupported, "write").with_detail(
                "this process was forked off after the store was opened: open it in each process",
            ));
        }
        let _locked = self.lock(writer, "write")?;
        if writer.is_suspect {
            self.mend(writer)?;
        }
        let mut doing = Doing::new(&self.log)?;
        let wanted = work(&mut doing)?;
        if wanted == Wanted::Nothing {
            self.tell_belief(None)?;
            return Ok(false);
        }
        let is_flushed = wanted == Wanted::Flush
            || (self.config.options.durability == Durability::Sync && is_on(Rule::CommitBeforeAcknowledge));
        let (progress, frees) = self.compact_some(writer, &mut doing, step, is_flushed)?;
        let Doing { batch, closes, .. } = doing;
        self.roll_if_full(writer, batch.len() as u64)?;
        self.append(writer, batch, is_flushed, closes)?;
        writer.progress = progress;
        writer.is_closed = closes.is_some();
        if let Some(freed) = frees {
            folder::remove_segment(&self.config.folder, freed);
        }
        Ok(is_flushed)
    }

    /// If compaction is due, a step of it. The second is a segment that is not needed any more once this is on disk.
    fn compact_some(
        &self,
        writer: &mut Writer,
        doing: &mut Doing<'_>,
        step: Option<u64>,
        is_flushed: bool,
    ) -> Result<(Option<Progress>, Option<u64>)> {
        let is_due = self.with(|log| Ok(compaction::is_due(log, self.config.segment_size)))?;
        if !is_due && step.is_none() {
            return Ok((writer.progress, None));
        }
        let state = self.with(|log| Ok(log.state))?;
        if state.first == state.segment {
            // What is appended to cannot go. A store of one segment begins another.
            self.roll(writer)?;
        }
        if self.with(|log| Ok(log.state.first == log.state.segment))? {
            return Ok((None, None));
        }
        let most = step.unwrap_or_else(|| (2 * doing.batch.len() as u64).clamp(STEP_MIN, STEP_MAX));
        let (progress, is_whole) = compaction::step(doing, writer.progress, most)?;
        // The copies must be on disk before the segment goes, so its end is part of a transaction that is flushed.
        if is_whole && is_flushed {
            doing.batch.begins(progress.segment + 1).map_err(too_long)?;
            return Ok((None, Some(progress.segment)));
        }
        Ok((Some(progress), None))
    }

    fn roll_if_full(&self, writer: &mut Writer, more: u64) -> Result<()> {
        let end = self.with(|log| Ok(log.state.end))?;
        if end > SegmentHeader::END && end + more > self.config.segment_size {
            self.roll(writer)?;
        }
        Ok(())
    }

    /// Goes on in a new segment, if one can be had: without, the old one grows.
    fn roll(&self, writer: &mut Writer) -> Result<()> {
        let (active, state) = self.with(|log| Ok((log.active()?.clone(), log.state)))?;
        if state.synced_end < state.end {
            // All segments but the last are on disk.
            self.flush(writer, &active)?;
        }
        let header = self.with(|log| Ok(log.next_header(log.place.end, log.place.last)))?;
        self.with_mut(Log::begin_segment)?;
        match folder::create_segment(&self.config.folder, header, &[]) {
            Ok(next) => self.with_mut(|log| log.roll(next)),
            Err(_) => self.with_mut(|log| log.abandon_segment(&self.config.folder)),
        }
    }

    fn flush(&self, writer: &mut Writer, segment: &Segment) -> Result<()> {
        segment.disk.sync().map_err(|source| {
            // The system may take it for written from now on: asking again would prove nothing.
            writer.is_suspect = true;
            while_doing("write")(source)
        })
    }

    /// Appends a batch, brings it to disk if wanted, and lets everybody see it.
    fn append(
        &self,
        writer: &mut Writer,
        batch: BatchBuilder,
        is_flushed: bool,
        closes: Option<Timestamp>,
    ) -> Result<()> {
        let (active, state, place) = self.with(|log| Ok((log.active()?.clone(), log.state, log.place)))?;
        let (bytes, link) = match batch.is_empty() {
            true => (Vec::new(), place.last),
            false => batch.finish(place.last).map_err(too_long)?,
        };
        let end = place.end + bytes.len() as u64;
        let appended = active.disk.write_at(&bytes, place.end).map_err(while_doing("write")).and_then(|()| {
            if is_flushed && (end > state.synced_end) { self.flush(writer, &active) } else { Ok(()) }
        });
        if let Err(error) = appended {
            // If even this fails, the next transaction does it.
            let _ = active.disk.set_len(place.end);
            return Err(error);
        }
        let mut log = self.log.write();
        let log = log.as_mut().ok_or_else(|| closed("write"))?;
        let synced_end = if is_flushed { end } else { state.synced_end };
        let mut next = self.with_belief(State { end, synced_end, ..state }, closes);
        let heads = BatchHeader::parse(&bytes).and_then(|header| Some((header, header.heads(&bytes)?)));
        let changes = heads.and_then(|(header, heads)| header.changes(heads)).unwrap_or_default();
        for change in &changes {
            if let Change::Begins { segment } = change {
                next.first = *segment;
            }
        }
        log.publish(next)?;
        if let Some((header, _)) = heads {
            let values_at = place.end + header.values_at() as u64;
            log.index.apply(&active, &Batch { changes, values_at, end });
        }
        log.place = Place { end, last: link };
        Ok(())
    }

    /// The same state, with what is known of the store's belief.
    fn with_belief(&self, state: State, closes: Option<Timestamp>) -> State {
        let Some(known) = self.belief.known() else { return state };
        let since = known.max(closes.unwrap_or(Timestamp::ZERO)).as_millis();
        State { believed_since: state.believed_since.max(since), settled: state.unclean, ..state }
    }

    /// Tells the others what is doubted, if they do not know.
    fn tell_belief(&self, closes: Option<Timestamp>) -> Result<()> {
        let mut log = self.log.write();
        let log = log.as_mut().ok_or_else(|| closed("write"))?;
        let state = self.with_belief(log.state, closes);
        if state != log.state { log.publish(state) } else { Ok(()) }
    }

    /// Looks whether others ended without closing: from now on everybody doubts what was given until now.
    fn look_for_dead(&self) -> Result<()> {
        let mut writer = self.writer.lock();
        let writer = writer.as_mut().ok_or_else(|| closed("sweep"))?;
        let _locked = self.lock(writer, "sweep")?;
        let mut found = processes::look(&self.config.folder)?;
        if found.dead() > 0 {
            let mut log = self.log.write();
            let log = log.as_mut().ok_or_else(|| closed("sweep"))?;
            let before = log.state;
            log.publish(State { unclean: before.unclean.saturating_add(found.dead()), ..before })?;
            self.heed(before, log.state);
            found.forget_dead()?;
        }
        Ok(())
    }

    /// Compacts all that is in the log now, in steps between which others have their turn.
    pub(crate) fn compact(&self) -> Result<()> {
        let until = self.read_log(|log| Ok(log.state.segment + 1))?;
        self.compact_until(|log| log.state.first < until)
    }

    fn compact_until(&self, goes_on: impl Fn(&Log) -> bool) -> Result<()> {
        while self.read_log(|log| Ok(goes_on(log)))? {
            let before = self.read_log(|log| Ok(log.state))?;
            self.commit(&mut |_| Ok(Wanted::Flush), Some(STEP_MAX))?;
            let after = self.read_log(|log| Ok(log.state))?;
            if before.first == after.first && before.end == after.end && before.segment == after.segment {
                // Nothing moves: no segment can be begun.
                break;
            }
        }
        Ok(())
    }
}

impl Backend for FileLog {
    const NAME: &'static str = NAME;
    type View = Log;

    fn read<T>(&self, read: impl FnOnce(&Log) -> Result<T>) -> Result<T> {
        self.read_log(read)
    }

    fn transact(&self, work: &mut dyn FnMut(&mut dyn RowsMut) -> Result<Wanted>) -> Result<bool> {
        self.commit(work, None)
    }

    fn doubt(&self, _: Timestamp) {
        // If it fails the next transaction tells it.
        let _ = self.commit(&mut |_| Ok(Wanted::Nothing), None);
    }

    fn close(&self) -> Result<()> {
        let writer = self.writer.lock().take();
        let log = self.log.write().take();
        let (Some(writer), Some(log)) = (writer, log) else { return Ok(()) };
        if !writer.is_closed || std::process::id() != self.process {
            // The mark that it was not closed stays.
            return Ok(());
        }
        let _locked = folder::lock(&log.control, self.config.lock_patience, "close")?;
        log.control.sync().map_err(while_doing("close"))?;
        writer.mark.close()
    }

    fn is_closed(&self) -> bool {
        self.log.read().is_none()
    }

    fn tidy(&self) -> Result<()> {
        self.look_for_dead()?;
        let size = self.config.segment_size;
        self.compact_until(|log| compaction::is_due(log, size))
    }
}
