//! What may be in a store after a crash, and how what is there differs from it.
//!
//! Each writer has a namespace and an order of its own. Its operations are effects on keys, each known by its version, so
//! the newest version that is there says how far the writer's history reached the store. What is there must be that history
//! up to its last operation: all of each earlier one, and of the last one all or, if it is a batch or was not
//! acknowledged, a part. A clearing is done to all keys or to none.
//!
//! A synchronous store must have everything acknowledged. An asynchronous one may have less, but then nothing later: also
//! of other writers nothing that began after what is missing was acknowledged, and nothing may be missing that was
//! acknowledged longer ago than the loss window.

use crate::Result;
use crate::kind::{LOSS_WINDOW, Mode};
use crate::look::Seen;
use crate::note::{BATCH, KEYS, Note, Operation, THREADS, VALUES, VERSIONS};

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct State {
    /// Of the last operation on it; 0 for none.
    pub(crate) version: u64,
    pub(crate) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum What {
    #[default]
    Nothing,
    Value,
    Count(u32),
}

/// How far a flush may be late on a machine that does other things too.
const LATE_MAX_MICROS: u64 = 400_000;

/// What is wrong, counted, and the first of it in words.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// Acknowledged, and gone; or missing though something later is there.
    pub(crate) lost: u64,
    /// There, and what nobody wrote; or a part of what is done as a whole.
    pub(crate) torn: u64,
    /// Removed, and there again.
    pub(crate) resurrected: u64,
    /// There, and never told of.
    pub(crate) phantom: u64,
    /// Answered otherwise than what was there demands.
    pub(crate) answered_wrongly: u64,
    /// The store took itself for properly closed.
    pub(crate) unnoticed: u64,
    pub(crate) words: Vec<String>,
}

const WORDS_MAX: usize = 8;

impl Faults {
    pub(crate) fn sum(&self) -> u64 {
        let Self { lost, torn, resurrected, phantom, answered_wrongly, unnoticed, words: _ } = self;
        lost + torn + resurrected + phantom + answered_wrongly + unnoticed
    }

    pub(crate) fn absorb(&mut self, other: Self) {
        self.lost += other.lost;
        self.torn += other.torn;
        self.resurrected += other.resurrected;
        self.phantom += other.phantom;
        self.answered_wrongly += other.answered_wrongly;
        self.unnoticed += other.unnoticed;
        other.words.into_iter().for_each(|words| self.say(words));
    }

    fn say(&mut self, words: String) {
        if self.words.len() < WORDS_MAX {
            self.words.push(words);
        }
    }
}

/// An operation that was told of.
struct Told {
    note: Note,
    /// What it does to which keys, going by what was there before.
    effects: Vec<(usize, State)>,
    /// Its place among all notes.
    began: u64,
    /// The same for its acknowledgement, and when that was.
    done: Option<(u64, u64)>,
}

#[derive(Default)]
struct Writer {
    /// What is known to have been there when its process began.
    before: Vec<State>,
    /// What is there now, if everything told of happened.
    now: Vec<State>,
    history: Vec<Told>,
}

/// Everything told of a store, by all writers.
pub(crate) struct Model {
    mode: Mode,
    writers: Vec<Writer>,
    notes: u64,
    pub(crate) next_version: u64,
    pub(crate) acknowledged: u64,
    /// The oldest acknowledgement that was lost lay so long before its crash, in microseconds.
    pub(crate) loss_max: u64,
    faults: Faults,
}

impl Model {
    /// Of a store with nothing in it.
    pub(crate) fn new(mode: Mode) -> Self {
        let empty = vec![State::default(); KEYS];
        let writer = || Writer { before: empty.clone(), now: empty.clone(), history: Vec::new() };
        Self {
            mode,
            writers: std::iter::repeat_with(writer).take(THREADS).collect(),
            notes: 0,
            next_version: VERSIONS,
            acknowledged: 0,
            loss_max: 0,
            faults: Faults::default(),
        }
    }

    /// Takes in what a writer told.
    pub(crate) fn note(&mut self, note: Note) -> Result<()> {
        self.notes += 1;
        let writer = self.writers.get_mut(usize::from(note.thread)).ok_or("nobody has that number")?;
        if !note.is_done {
            self.next_version = self.next_version.max(note.version + VERSIONS);
            let effects = effects(&writer.now, note);
            for (key, state) in &effects {
                writer.now[*key] = *state;
            }
            writer.history.push(Told { note, effects, began: self.notes, done: None });
            return Ok(());
        }
        let told = writer.history.last_mut().filter(|told| told.note.version == note.version);
        let told = told.ok_or("the journal says done to what it was not about to do")?;
        told.done = Some((self.notes, note.at));
        self.acknowledged += 1;
        let expected = match told.effects.first() {
            None => 0,
            Some((_, State { what: What::Count(count), .. })) => *count,
            Some(_) => 1,
        };
        if note.answer != expected {
            self.faults.answered_wrongly += 1;
            self.faults.say(format!("{note:?}: the answer should have been {expected}"));
        }
        Ok(())
    }

    /// True if somebody was told to be doing something, and not to have done it.
    pub(crate) fn is_doing(&self) -> bool {
        self.writers.iter().any(|writer| writer.history.last().is_some_and(|told| told.done.is_none()))
    }

    /// Everything told since the last look, a line each.
    pub(crate) fn journal(&self) -> String {
        let mut told: Vec<&Told> = self.writers.iter().flat_map(|writer| &writer.history).collect();
        told.sort_by_key(|told| told.began);
        let line = |told: &Told| format!("{} {:?} {:?}\n", told.began, told.done, told.note);
        told.into_iter().map(line).collect()
    }

    /// Compares what was found after the crash at `crashed_at` with what may be there. From then on that is what is known.
    ///
    /// What was acknowledged before `promised_until` must be there, if the store is synchronous.
    pub(crate) fn compare(&mut self, seen: &Seen, crashed_at: u64, promised_until: u64) -> Faults {
        let mut faults = std::mem::take(&mut self.faults);
        let promised_until = if self.mode == Mode::Sync { promised_until } else { 0 };
        let mut reached = Vec::new();
        for (number, (writer, states)) in self.writers.iter().zip(&seen.states).enumerate() {
            reached.push(writer.compare(number, states, promised_until, &mut faults));
        }
        if self.mode == Mode::Async {
            self.compare_across(&reached, crashed_at, &mut faults);
        }
        for (writer, states) in self.writers.iter_mut().zip(&seen.states) {
            let known = writer.now.iter().zip(states).map(|(now, seen)| seen.unwrap_or(*now));
            writer.before = known.collect();
            writer.now = writer.before.clone();
            writer.history.clear();
        }
        faults
    }

    /// Looks for what is missing of one writer though something later is there of another, and for what was lost too long after its
    /// acknowledgement. `reached` is how many operations of each writer's history are there.
    fn compare_across(&mut self, reached: &[usize], crashed_at: u64, faults: &mut Faults) {
        let last_began = |(writer, reached): (&Writer, &usize)| {
            reached.checked_sub(1).and_then(|last| writer.history.get(last)).map_or(0, |told| told.began)
        };
        let last_began = self.writers.iter().zip(reached).map(last_began).max().unwrap_or(0);
        for (writer, reached) in self.writers.iter().zip(reached) {
            let missing = writer.history.iter().skip(*reached).filter(|told| !told.effects.is_empty());
            for told in missing {
                let Some((place, at)) = told.done else { continue };
                if place < last_began {
                    faults.lost += 1;
                    faults.say(format!("{:?} is missing, and something later is there", told.note));
                }
                let lost_after = crashed_at.saturating_sub(at);
                self.loss_max = self.loss_max.max(lost_after);
                if lost_after > loss_window_micros() + LATE_MAX_MICROS {
                    faults.lost += 1;
                    faults.say(format!("{:?} is missing {lost_after} us after it was told", told.note));
                }
            }
        }
    }
}

pub(crate) fn loss_window_micros() -> u64 {
    u64::try_from(LOSS_WINDOW.as_micros()).unwrap_or(u64::MAX)
}

/// What an operation does to which keys.
fn effects(now: &[State], note: Note) -> Vec<(usize, State)> {
    let (key, version) = (usize::from(note.key), note.version);
    let holds = |key: usize| now[key].what != What::Nothing;
    let one = |what| vec![(key, State { version, what })];
    match note.operation {
        Operation::Put => one(What::Value),
        Operation::Batch => (0..BATCH)
            .zip(version..)
            .map(|(next, version)| ((key + next) % VALUES, State { version, what: What::Value }))
            .collect(),
        Operation::Remove => one(What::Nothing),
        Operation::Clear => (0..KEYS).map(|key| (key, State { version, what: What::Nothing })).collect(),
        Operation::Add if holds(key) => Vec::new(),
        Operation::Add => one(What::Value),
        Operation::Take if holds(key) => one(What::Nothing),
        Operation::Take => Vec::new(),
        Operation::Count => match now[key].what {
            What::Count(count) => one(What::Count(count + 1)),
            What::Nothing | What::Value => one(What::Count(1)),
        },
    }
}

impl Writer {
    /// Counts what differs. Says how many operations of the history are there, as far as they left anything.
    fn compare(
        &self,
        number: usize,
        states: &[Option<State>],
        promised_until: u64,
        faults: &mut Faults,
    ) -> usize {
        let newest = states.iter().flatten().map(|state| state.version).max().unwrap_or(0);
        let is_there = |told: &Told| told.effects.iter().any(|(_, state)| state.version <= newest);
        let seen_end = self.history.iter().rposition(is_there).map_or(0, |last| last + 1);
        let is_promised = |told: &Told| told.done.is_some_and(|(_, at)| at < promised_until);
        let acknowledged_end = self.history.iter().rposition(is_promised).map_or(0, |last| last + 1);
        let end = seen_end.max(acknowledged_end);
        // The last one may be there in part, unless it must be there.
        let whole_end = if end > acknowledged_end { end - 1 } else { end };
        let mut least = self.before.clone();
        self.history[..whole_end].iter().for_each(|told| told.apply(&mut least));
        let mut most = least.clone();
        self.history[whole_end..end].iter().for_each(|told| told.apply(&mut most));
        let (mut as_before, mut as_after) = (0, 0);
        for (key, seen) in states.iter().enumerate() {
            let (before, after) = (least[key], most[key]);
            let Some(seen) = *seen else {
                faults.torn += 1;
                faults
                    .say(format!("writer {number}, key {key}: what is there is nothing that anybody wrote"));
                continue;
            };
            if before != after {
                as_before += u64::from(seen == before);
                as_after += u64::from(seen == after);
            }
            if seen == before || seen == after {
                continue;
            }
            if !self.was_ever(key, seen) {
                faults.phantom += 1;
            } else if seen.what != What::Nothing && after.what == What::Nothing {
                faults.resurrected += 1;
            } else {
                faults.lost += 1;
            }
            faults.say(format!(
                "writer {number}, key {key}: there is {seen:?}, there should be {before:?} or {after:?}"
            ));
        }
        let is_clearing =
            self.history.get(whole_end).is_some_and(|told| told.note.operation == Operation::Clear);
        if is_clearing && as_before > 0 && as_after > 0 {
            faults.torn += 1;
            faults.say(format!(
                "writer {number}: a clearing reached {as_after} keys and not {as_before} others"
            ));
        }
        seen_end
    }

    fn was_ever(&self, key: usize, state: State) -> bool {
        let effects = self.history.iter().flat_map(|told| &told.effects);
        self.before[key] == state || effects.into_iter().any(|effect| *effect == (key, state))
    }
}

impl Told {
    fn apply(&self, states: &mut [State]) {
        for (key, state) in &self.effects {
            states[*key] = *state;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nanotier_tier::Timestamp;
    use std::time::Duration;

    struct Story {
        model: Model,
        seen: Seen,
        at: u64,
        promised_until: u64,
    }

    impl Story {
        fn new(mode: Mode) -> Self {
            let states = vec![vec![Some(State::default()); KEYS]; THREADS];
            let seen = Seen { opened_in: Duration::ZERO, believed_since: Timestamp::ZERO, states };
            Self { model: Model::new(mode), seen, at: 0, promised_until: u64::MAX }
        }

        fn begins(&mut self, thread: u8, operation: Operation, key: u16) -> Note {
            self.at += 1;
            let version = self.model.next_version;
            let note = Note { is_done: false, operation, thread, key, answer: 0, version, at: self.at };
            self.model.note(note).unwrap();
            note
        }

        fn is_answered(&mut self, note: Note, answer: u32) {
            self.model.note(Note { is_done: true, answer, ..note }).unwrap();
        }

        fn does(&mut self, thread: u8, operation: Operation, key: u16) -> Note {
            let note = self.begins(thread, operation, key);
            self.is_answered(note, 1);
            note
        }

        fn sees(&mut self, note: Note, what: What) {
            let state = State { version: note.version, what };
            self.seen.states[usize::from(note.thread)][usize::from(note.key)] = Some(state);
        }

        /// Lost, torn, resurrected, phantom, answered wrongly.
        fn faults(&mut self) -> [u64; 5] {
            let faults = self.model.compare(&self.seen, self.at, self.promised_until);
            [faults.lost, faults.torn, faults.resurrected, faults.phantom, faults.answered_wrongly]
        }
    }

    use Operation::{Add, Batch, Clear, Count, Put, Remove, Take};

    #[test]
    fn what_was_acknowledged_must_be_there_and_what_was_begun_may_be() {
        for is_there in [false, true] {
            let mut story = Story::new(Mode::Sync);
            let put = story.does(0, Put, 5);
            story.sees(put, What::Value);
            let begun = story.begins(0, Put, 6);
            if is_there {
                story.sees(begun, What::Value);
            }
            assert_eq!(story.faults(), [0; 5]);
        }
        let mut story = Story::new(Mode::Sync);
        story.does(0, Put, 5);
        assert_eq!(story.faults(), [1, 0, 0, 0, 0], "lost");
    }

    #[test]
    fn what_was_acknowledged_while_the_power_failed_may_be_lost_and_nothing_before_it() {
        for (promised_until, lost) in [(1, 0), (2, 0), (3, 1)] {
            let mut story = Story::new(Mode::Sync);
            story.promised_until = promised_until;
            let first = story.begins(0, Put, 5);
            story.begins(1, Put, 5);
            let note = Note { is_done: true, answer: 1, at: story.at, ..first };
            story.model.note(note).unwrap();
            assert_eq!(story.faults()[0], lost, "until {promised_until}, told at {}", note.at);
        }
    }

    #[test]
    fn what_is_known_after_a_crash_is_what_was_there() {
        let mut story = Story::new(Mode::Sync);
        let begun = story.begins(1, Put, 6);
        story.sees(begun, What::Value);
        assert_eq!(story.faults(), [0; 5]);
        assert_eq!(story.faults(), [0; 5]);
        story.seen.states[1][6] = Some(State::default());
        assert_eq!(
            story.faults(),
            [0, 0, 0, 1, 0],
            "it was never so that something was there and then nothing"
        );
    }

    #[test]
    fn what_was_removed_and_is_there_again_is_told_from_what_is_lost() {
        let mut story = Story::new(Mode::Sync);
        let put = story.does(2, Put, 7);
        story.does(2, Remove, 7);
        story.sees(put, What::Value);
        assert_eq!(story.faults(), [0, 0, 1, 0, 0]);
    }

    #[test]
    fn what_nobody_wrote_is_torn_and_what_nobody_told_of_is_a_phantom() {
        let mut story = Story::new(Mode::Sync);
        let put = story.does(0, Put, 5);
        story.seen.states[0][5] = None;
        assert_eq!(story.faults(), [0, 1, 0, 0, 0]);
        let mut story = Story::new(Mode::Sync);
        story.sees(Note { thread: 3, ..put }, What::Value);
        assert_eq!(story.faults(), [0, 0, 0, 1, 0]);
    }

    #[test]
    fn a_clearing_that_was_begun_is_done_to_all_keys_or_to_none() {
        for cleared in [0, 1, KEYS] {
            let mut story = Story::new(Mode::Sync);
            let puts = [1, 2].map(|key| story.does(0, Put, key));
            puts.into_iter().for_each(|put| story.sees(put, What::Value));
            let clear = story.begins(0, Clear, 0);
            for key in 0..cleared {
                story.seen.states[0][key] = Some(State { version: clear.version, what: What::Nothing });
            }
            assert_eq!(story.faults(), [0, u64::from(cleared == 1), 0, 0, 0], "{cleared} keys");
        }
    }

    #[test]
    fn a_batch_that_was_begun_may_be_there_in_part_and_one_acknowledged_is_whole() {
        for (is_done, lost) in [(false, 0), (true, 2)] {
            let mut story = Story::new(Mode::Sync);
            let batch = if is_done { story.does(0, Batch, 5) } else { story.begins(0, Batch, 5) };
            story.seen.states[0][6] = Some(State { version: batch.version + 1, what: What::Value });
            assert_eq!(story.faults(), [lost, 0, 0, 0, 0]);
        }
    }

    #[test]
    fn answers_are_held_against_what_was_there() {
        let mut story = Story::new(Mode::Sync);
        let counter = u16::try_from(VALUES).unwrap();
        let first = story.begins(0, Count, counter);
        story.is_answered(first, 1);
        let second = story.begins(0, Count, counter);
        story.is_answered(second, 2);
        let add = story.does(0, Add, 3);
        let again = story.begins(0, Add, 3);
        story.is_answered(again, 0);
        let take = story.does(0, Take, 3);
        let again = story.begins(0, Take, 3);
        story.is_answered(again, 0);
        story.sees(second, What::Count(2));
        story.sees(add, What::Value);
        story.sees(take, What::Nothing);
        assert_eq!(story.faults(), [0; 5]);
        let third = story.begins(0, Count, counter);
        story.is_answered(third, 2);
        story.sees(third, What::Count(3));
        assert_eq!(story.faults(), [0, 0, 0, 0, 1]);
    }

    #[test]
    fn an_asynchronous_store_may_lose_the_end_of_history_and_nothing_before_it() {
        let tell = |there: [bool; 3]| {
            let mut story = Story::new(Mode::Async);
            let puts = [(0, 5), (1, 6), (0, 7)].map(|(thread, key)| story.does(thread, Put, key));
            for (put, _) in puts.into_iter().zip(there).filter(|(_, there)| *there) {
                story.sees(put, What::Value);
            }
            story.faults()[0]
        };
        for (there, lost) in [
            ([true, true, true], 0),
            ([true, true, false], 0),
            ([true, false, false], 0),
            ([false, false, false], 0),
            ([false, true, true], 1),
            ([true, false, true], 1),
            ([false, true, false], 1),
        ] {
            assert_eq!(tell(there), lost, "{there:?}");
        }
    }

    #[test]
    fn an_asynchronous_store_loses_nothing_acknowledged_before_its_loss_window() {
        for (later, lost) in [(0, 0), (loss_window_micros() + LATE_MAX_MICROS + 1, 1)] {
            let mut story = Story::new(Mode::Async);
            story.does(0, Put, 5);
            story.at += later;
            assert_eq!(story.faults()[0], lost);
        }
    }
}
