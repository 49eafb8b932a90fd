//! The log as one process knows it: reading it whole when it is opened, and what others appended since.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io;
use std::path::Path;
use std::sync::Arc;

use nanotier_tier::{ErrorKind, Result};

use crate::builder::{Config, OnDamage};
use crate::disk::Disk;
use crate::error::{damaged, error, while_doing};
use crate::folder::{self, Locked, Present};
use crate::format::{
    CONTROL_HEADER_LEN, CONTROL_LEN, Control, LAYOUT, Link, STATES_LEN, SegmentHeader, State,
};
use crate::index::Index;
use crate::processes::{self, Mark};
use crate::segment::{self, Place, Segment, walk};

/// What is known of the log.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) control: Arc<Disk>,
    store: u64,
    /// Both states as they were read last. As long as the control file says the same, nobody has committed anything.
    states: [u8; STATES_LEN],
    pub(crate) state: State,
    pub(crate) index: Index,
    /// From the first to the one that is appended to.
    segments: BTreeMap<u64, Arc<Segment>>,
    /// Where the last batch ends.
    pub(crate) place: Place,
    /// What is known does not hold any more: all is to be read anew, under the lock.
    pub(crate) is_stale: bool,
}

/// How the log is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// As the control file says: others have it open, or all who had it have closed it.
    Exact,
    /// Nobody has it open and somebody did not close it: its end may be torn.
    Recovery,
}

impl Log {
    fn read_states(control: &Disk) -> Result<[u8; STATES_LEN]> {
        let mut states = [0; STATES_LEN];
        control.read_at(&mut states, CONTROL_HEADER_LEN as u64).map_err(while_doing("read"))?;
        Ok(states)
    }

    /// True if nobody has committed anything that is not known here.
    pub(crate) fn is_current(&self) -> Result<bool> {
        Ok(!self.is_stale && Self::read_states(&self.control)? == self.states)
    }

    pub(crate) fn segment(&self, number: u64) -> Option<&Arc<Segment>> {
        self.segments.get(&number)
    }

    pub(crate) fn active(&self) -> Result<&Arc<Segment>> {
        self.segments.get(&self.state.segment).ok_or_else(|| damaged("the last segment is missing"))
    }

    /// Where a segment ends.
    pub(crate) fn end_of(&self, number: u64) -> u64 {
        self.segments.get(&(number + 1)).map_or(self.state.end, |next| next.header.previous_end)
    }

    /// How many bytes all segments have.
    pub(crate) fn len(&self) -> u64 {
        self.segments.keys().map(|number| self.end_of(*number)).sum()
    }

    pub(crate) fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Takes note of what others committed. Needs no lock, since what was committed does not change. What cannot be followed
    /// makes this [stale](Self::is_stale).
    pub(crate) fn catch_up(&mut self, folder: &Path) -> Result<()> {
        let states = Self::read_states(&self.control)?;
        if self.is_stale || states == self.states {
            return Ok(());
        }
        match State::newest(&states) {
            Some(state) if state == self.state => {}
            Some(state) if state.generation == self.state.generation && state.commit > self.state.commit => {
                if !self.follow(folder, state)? {
                    self.is_stale = true;
                    return Ok(());
                }
            }
            _ => {
                self.is_stale = true;
                return Ok(());
            }
        }
        self.states = states;
        Ok(())
    }

    fn follow(&mut self, folder: &Path, to: State) -> Result<bool> {
        let mut number = self.state.segment;
        while number < to.segment {
            let next = match Segment::open(&segment::path(folder, number + 1)) {
                Ok(next) => next,
                // Compacted away before we came to it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(while_doing("read")(error)),
            };
            let Some(next) = next else { return Ok(false) };
            if next.header.store != self.store || next.header.number != number + 1 {
                return Ok(false);
            }
            if !self.read_until(number, next.header.previous_end)? || next.header.before != self.place.last {
                return Ok(false);
            }
            number += 1;
            self.place = Place { end: SegmentHeader::END, last: next.header.before };
            self.segments.insert(number, Arc::new(next));
            self.state = State { segment: number, end: SegmentHeader::END, ..self.state };
        }
        if !self.read_until(number, to.end)? {
            return Ok(false);
        }
        self.settle(to);
        Ok(true)
    }

    fn read_until(&mut self, number: u64, until: u64) -> Result<bool> {
        let Some(segment) = self.segments.get(&number).cloned() else { return Ok(false) };
        let index = &mut self.index;
        self.place = walk(&segment, self.place, until, u64::MAX, &mut |batch| {
            index.apply(&segment, batch);
            true
        })?;
        Ok(self.place.end == until)
    }

    /// From now on this is the state.
    fn settle(&mut self, state: State) {
        self.state = state;
        if self.segments.first_key_value().is_some_and(|(first, _)| *first < state.first) {
            self.segments = self.segments.split_off(&state.first);
        }
    }

    /// Publishes a state: from now on everybody sees what it says. Under the lock.
    pub(crate) fn publish(&mut self, state: State) -> Result<()> {
        let state = State { commit: self.state.commit + 1, ..state };
        let (bytes, place) = (state.to_bytes(), state.place());
        self.control.write_at(&bytes, (CONTROL_HEADER_LEN + place) as u64).map_err(while_doing("write"))?;
        self.states[place..place + State::LEN].copy_from_slice(&bytes);
        self.settle(state);
        Ok(())
    }

    /// A new segment behind the active one, which ends at `previous_end`, behind `before`.
    pub(crate) fn next_header(&self, previous_end: u64, before: Link) -> SegmentHeader {
        let number = self.state.segment + 1;
        SegmentHeader { store: self.store, number, first: self.state.first, previous_end, before }
    }

    /// Tells everybody that the next segment is being made, or that it is not: what is left of it goes, on disk, before anything else
    /// is appended to the one before it. Else a recovery would take it for the end of that one.
    pub(crate) fn begin_segment(&mut self) -> Result<()> {
        self.publish(State { begun: self.state.segment + 1, ..self.state })
    }

    /// Removes what somebody who ended, or failed, left of a segment that he was making. Under the lock.
    pub(crate) fn abandon_segment(&mut self, folder: &Path) -> Result<()> {
        if self.state.begun == 0 {
            return Ok(());
        }
        folder::abandon_segment(folder, self.state.begun).map_err(while_doing("write"))?;
        self.publish(State { begun: 0, ..self.state })
    }

    /// Goes on in a new segment.
    pub(crate) fn roll(&mut self, segment: Arc<Segment>) -> Result<()> {
        let number = segment.number();
        let end = SegmentHeader::END;
        let place = Place { end, last: segment.header.before };
        // Before it is published, so that the end of the one before it is known.
        self.segments.insert(number, segment);
        let state = State { segment: number, begun: 0, end, synced_end: end, ..self.state };
        if let Err(error) = self.publish(state) {
            self.segments.remove(&number);
            return Err(error);
        }
        self.place = place;
        Ok(())
    }

    /// Reads all anew, since another process has begun anew. Under the lock.
    pub(crate) fn reload(&mut self, config: &Config) -> Result<()> {
        let loaded = read_or_begin_anew(config, &self.control, Reading::Exact)?;
        *self = loaded;
        Ok(())
    }
}

/// An open store.
pub(crate) struct Opened {
    pub(crate) log: Log,
    pub(crate) mark: Mark,
    /// Since when it is believed, in milliseconds; `None`: from now on.
    pub(crate) believed_since: Option<u64>,
}

/// Opens the store in this folder, creates it where there is none, and starts cold where that is wanted.
pub(crate) fn open(config: &Config) -> Result<Opened> {
    let (control, locked) = loop {
        let control = Arc::new(folder::open_control(&config.folder)?);
        let locked = folder::lock(&control, config.lock_patience, "open")?;
        // Somebody may have removed the folder since.
        if control.about().map_err(while_doing("open"))?.has_name {
            break (control, locked);
        }
    };
    open_locked(config, &control, &locked)
}

fn open_locked(config: &Config, control: &Arc<Disk>, _: &Locked) -> Result<Opened> {
    let found = processes::look(&config.folder)?;
    let is_unclean = found.dead() > 0 || !found.any;
    let reading = if found.others || !is_unclean { Reading::Exact } else { Reading::Recovery };
    let mut log = read_or_begin_anew(config, control, reading)?;
    folder::sweep_unfinished(&config.folder);
    if found.dead() > 0 {
        let unclean = log.state.unclean.saturating_add(found.dead());
        log.publish(State { unclean, ..log.state })?;
    }
    let State { unclean, settled, believed_since, .. } = log.state;
    let mark = found.take(&config.folder)?;
    Ok(Opened { log, mark, believed_since: (unclean == settled).then_some(believed_since) })
}

fn read_or_begin_anew(config: &Config, control: &Arc<Disk>, reading: Reading) -> Result<Log> {
    match read(config, control, reading) {
        Err(error) if error.kind() == ErrorKind::Corrupt && config.on_damage == OnDamage::StartCold => {
            begin_anew(config, control)
        }
        read => read,
    }
}

fn read(config: &Config, control: &Arc<Disk>, reading: Reading) -> Result<Log> {
    let mut bytes = [0; CONTROL_LEN];
    let len = control.read_at(&mut bytes, 0).map_err(while_doing("open"))?;
    let store = match Control::parse(&bytes[..len]) {
        Control::Store(store) => store,
        Control::Layout(layout) => {
            return Err(error(ErrorKind::Unsupported, "open")
                .with_detail(format!("the store has layout {layout}, this version reads {LAYOUT}")));
        }
        Control::Empty | Control::Unknown => {
            if !folder::look(&config.folder, None)?.ours.is_empty() {
                return Err(damaged("the control file is damaged"));
            }
            if Control::parse(&bytes[..len]) == Control::Unknown {
                return Err(
                    error(ErrorKind::Config, "open").with_detail("the control file is another program's")
                );
            }
            return create(config, control);
        }
    };
    let mut states = [0; STATES_LEN];
    states.copy_from_slice(&bytes[CONTROL_HEADER_LEN..]);
    let present = folder::look(&config.folder, Some(store))?;
    let state = State::newest(&states);
    // The first segment is made last.
    if state.is_some_and(|state| state.commit == 0 && present.last_name < state.segment) {
        return create_first_segment(config, control, store, states);
    }
    let extent = Extent::of(&present, state, reading)?;
    let mut log = Log {
        control: control.clone(),
        store,
        states,
        state: state.unwrap_or(State { generation: random_generation(), ..State::default() }),
        index: Index::new(config.options.bytes_max.is_some()),
        segments: BTreeMap::new(),
        place: Place { end: SegmentHeader::END, last: Link::default() },
        is_stale: false,
    };
    log.read_extent(&present, extent)?;
    // What was compacted away before a crash, and a segment that nobody came to use.
    let is_left = |number: u64| number < log.state.first || number == log.state.segment + 1;
    for number in present.segments.keys().filter(|number| is_left(**number)) {
        folder::remove_segment(&config.folder, *number);
    }
    if reading == Reading::Recovery || state.is_none() {
        log.finish_recovery(&config.folder)?;
    }
    Ok(log)
}

/// Which part of which segments is the log.
#[derive(Clone, Copy, Debug)]
struct Extent {
    /// The first of the segments that lie together up to the last: the log begins here or later.
    from: u64,
    last: u64,
    /// How far the last is read.
    until: u64,
    /// How far it must be whole.
    must: u64,
    /// How far it was on disk once: its values need not be checked to know where it ends.
    trusted: u64,
}

impl Extent {
    fn of(present: &Present, state: Option<State>, reading: Reading) -> Result<Self> {
        let missing = || damaged("a segment is missing or damaged at its beginning");
        let last = match (state, reading) {
            (Some(state), Reading::Exact) => state.segment,
            // After a power cut the state may be old: the log has moved on, and its beginning says so itself.
            (Some(state), Reading::Recovery) => {
                let last = *present.segments.keys().next_back().ok_or_else(missing)?;
                (last >= state.segment).then_some(last).ok_or_else(missing)?
            }
            (None, _) => *present.segments.keys().next_back().ok_or_else(missing)?,
        };
        let len =
            present.segments.get(&last).ok_or_else(missing)?.disk.about().map_err(while_doing("open"))?.len;
        let (until, must) = match (state, reading) {
            (Some(state), Reading::Exact) => (state.end, state.end),
            (Some(state), Reading::Recovery) if state.segment == last => (len, state.synced_end),
            (Some(_), Reading::Recovery) => (len, SegmentHeader::END),
            // Two damages at once: nothing is taken for a torn end.
            (None, _) => (len, len),
        };
        if len < must {
            return Err(damaged("the last segment is shorter than it was"));
        }
        let trusted = if state.is_some() { must } else { SegmentHeader::END };
        let mut from = last;
        while from > 1 && present.segments.contains_key(&(from - 1)) {
            from -= 1;
        }
        Ok(Self { from, last, until, must, trusted })
    }
}

impl Log {
    fn read_extent(&mut self, present: &Present, extent: Extent) -> Result<()> {
        let whole = || damaged("a segment is damaged");
        let mut first = self.state.first;
        for (number, segment) in present.segments.range(extent.from..=extent.last) {
            if *number == extent.from {
                self.place.last = segment.header.before;
            } else if segment.header.before != self.place.last {
                return Err(whole());
            }
            first = first.max(segment.header.first);
            self.place.end = SegmentHeader::END;
            self.segments.insert(*number, segment.clone());
            let next = present.segments.get(&(number + 1)).filter(|_| *number < extent.last);
            let (until, must, trusted) = match next {
                Some(next) => (next.header.previous_end, next.header.previous_end, u64::MAX),
                None => (extent.until, extent.must, extent.trusted),
            };
            let index = &mut self.index;
            self.place = walk(segment, self.place, until, trusted, &mut |batch| {
                index.apply(segment, batch);
                true
            })?;
            if self.place.end < must {
                return Err(whole());
            }
        }
        first = first.max(self.index.begins());
        if first < extent.from || first > extent.last {
            return Err(damaged("the beginning of the log is missing"));
        }
        self.index.forget_before(first);
        let synced_end = extent.must.min(self.place.end);
        let synced_end = if self.state.segment == extent.last {
            synced_end.min(self.state.synced_end)
        } else {
            SegmentHeader::END
        };
        self.settle(State { first, segment: extent.last, end: self.place.end, synced_end, ..self.state });
        Ok(())
    }

    /// Cuts the torn end off, brings what is left to disk, and tells all that it is so.
    fn finish_recovery(&mut self, folder: &Path) -> Result<()> {
        let (end, active) = (self.place.end, self.active()?.clone());
        if active.disk.about().map_err(while_doing("open"))?.len > end {
            active.disk.set_len(end).map_err(while_doing("open"))?;
        }
        active.disk.sync().map_err(while_doing("open"))?;
        crate::disk::sync_folder(folder).map_err(while_doing("open"))?;
        let generation = self.state.generation.wrapping_add(1);
        let unclean = self.state.unclean.max(self.state.settled.wrapping_add(1));
        // Both places: neither tells of what was cut off.
        self.publish(State { generation, unclean, begun: 0, synced_end: end, ..self.state })?;
        self.publish(self.state)
    }
}

/// A number that no other store is likely to have.
fn random_number() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

fn random_generation() -> u32 {
    u32::try_from(random_number() >> 32).unwrap_or_default()
}

fn create(config: &Config, control: &Arc<Disk>) -> Result<Log> {
    let store = random_number();
    let end = SegmentHeader::END;
    let state = State { generation: 1, first: 1, segment: 1, end, synced_end: end, ..State::default() };
    let states = write_control(control, store, state)?;
    create_first_segment(config, control, store, states)
}

fn write_control(control: &Disk, store: u64, state: State) -> Result<[u8; STATES_LEN]> {
    let mut bytes = [0; CONTROL_LEN];
    bytes[..CONTROL_HEADER_LEN].copy_from_slice(&Control::header(store));
    bytes[CONTROL_HEADER_LEN + state.place()..][..State::LEN].copy_from_slice(&state.to_bytes());
    control.write_at(&bytes, 0).and_then(|()| control.sync()).map_err(while_doing("open"))?;
    let mut states = [0; STATES_LEN];
    states.copy_from_slice(&bytes[CONTROL_HEADER_LEN..]);
    Ok(states)
}

fn create_first_segment(
    config: &Config,
    control: &Arc<Disk>,
    store: u64,
    states: [u8; STATES_LEN],
) -> Result<Log> {
    let state = State::newest(&states).ok_or_else(|| damaged("the control file is damaged"))?;
    let (number, before) = (state.segment, Link::default());
    let header = SegmentHeader { store, number, first: number, previous_end: 0, before };
    let segment = folder::create_segment(&config.folder, header, &[])?;
    Ok(Log {
        control: control.clone(),
        store,
        states,
        state,
        index: Index::new(config.options.bytes_max.is_some()),
        segments: BTreeMap::from([(number, segment)]),
        place: Place { end: SegmentHeader::END, last: before },
        is_stale: false,
    })
}

/// Moves the log aside and begins another one, behind it: whoever has the old one open reads it no more.
fn begin_anew(config: &Config, control: &Arc<Disk>) -> Result<Log> {
    let mut bytes = [0; CONTROL_LEN];
    let len = control.read_at(&mut bytes, 0).map_err(while_doing("open"))?;
    let store = match Control::parse(&bytes[..len]) {
        Control::Store(store) => store,
        _ => random_number(),
    };
    let mut states = [0; STATES_LEN];
    states.copy_from_slice(&bytes[CONTROL_HEADER_LEN..]);
    let old = State::newest(&states);
    let present = folder::look(&config.folder, None)?;
    let number = present.last_name.max(old.map_or(0, |old| old.segment)) + 1;
    let end = SegmentHeader::END;
    let state = State {
        generation: old.map_or_else(random_generation, |old| old.generation.wrapping_add(1)),
        // As in a new store: the first segment is yet to be made.
        commit: 0,
        first: number,
        segment: number,
        begun: 0,
        end,
        synced_end: end,
        believed_since: old.map_or(0, |old| old.believed_since),
        unclean: old.map_or(1, |old| old.unclean.wrapping_add(1)),
        settled: old.map_or(0, |old| old.settled),
    };
    present.move_aside()?;
    let states = write_control(control, store, state)?;
    create_first_segment(config, control, store, states)
}
