//! Many at once.

use super::bench::{Bench, assert_found, assert_older};
use super::{Outcome, Subject};
use crate::entry::{Entry, Intent, Write, Wrote};
use crate::path::Path;
use crate::tier::Tier;
use crate::waiting::block_on;

/// One answer for each path or write, in their order.
pub fn answers_come_in_the_order_of_the_batch<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = Bench::new(subject);
    // Steps of 37 through 100 keys: every key once, in no order.
    let keys: Vec<String> = (0..100).map(|n| format!("k{}", n * 37 % 100)).collect();
    let outdated: Vec<_> = keys.iter().map(|key| bench.record(format!("old {key}"))).collect();
    let newer: Vec<_> = keys.iter().step_by(3).map(|key| bench.put(key, format!("new {key}"))).collect();
    let pairs = keys.iter().zip(&outdated);
    let writes: Vec<Write<'_>> = pairs.map(|(key, record)| Write::put(bench.path(key), record)).collect();
    let answers = block_on(bench.tier.write(&writes)).expect("write");
    assert_eq!(answers.len(), keys.len());
    for (index, answer) in answers.into_iter().enumerate() {
        let expected = if index % 3 == 0 { Wrote::Older(newer[index / 3].version) } else { Wrote::Done };
        assert_eq!(answer.expect("its own answer"), expected, "write {index}");
    }

    let with_gaps: Vec<String> = keys.iter().flat_map(|key| [key.clone(), format!("no {key}")]).collect();
    let paths: Vec<Path<'_>> = with_gaps.iter().map(|key| bench.path(key)).collect();
    let found = block_on(bench.tier.read(&paths, Intent::Look)).expect("read");
    assert_eq!(found.len(), paths.len());
    for (index, pair) in found.chunks(2).enumerate() {
        let [there, gap] = pair else { panic!("two for each key") };
        let expected = if index % 3 == 0 { &newer[index / 3] } else { &outdated[index] };
        assert_found(there.as_ref().expect("its own answer"), expected);
        assert_eq!(gap.as_ref().expect("its own answer").entry, Entry::Absent);
    }

    // Removes in one batch, every second key: one of them older than what is there.
    let mut removes: Vec<Write<'_>> = paths
        .iter()
        .step_by(4)
        .map(|path| Write::remove(path.borrowed(), bench.draw(), bench.now()))
        .collect();
    removes[0].version = outdated[0].version;
    for (index, answer) in block_on(bench.tier.write(&removes)).expect("write").into_iter().enumerate() {
        let expected = if index == 0 { Wrote::Older(newer[0].version) } else { Wrote::Done };
        assert_eq!(answer.expect("its own answer"), expected, "remove {index}");
    }
    for (index, key) in keys.iter().enumerate() {
        assert_eq!(bench.value(key).is_some(), index == 0 || index % 2 == 1, "{key}");
    }
    Outcome::Kept
}

/// Writes to one key in a batch happen in their order; a key that is read twice is answered twice.
pub fn a_batch_with_the_same_key_twice_is_done_in_its_order<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = Bench::new(subject);
    let records = [bench.record("0"), bench.record("1"), bench.record("2")];
    let order = [0, 2, 1].map(|index| Write::put(bench.path("k"), &records[index]));
    let answers = block_on(bench.tier.write(&order)).expect("write");
    let answers: Vec<Wrote> = answers.into_iter().map(|answer| answer.expect("its own answer")).collect();
    assert_eq!(answers[..2], [Wrote::Done, Wrote::Done]);
    assert_older(answers[2], records[2].version);
    let paths = [bench.path("k"), bench.path("k")];
    for found in block_on(bench.tier.read(&paths, Intent::Look)).expect("read") {
        assert_found(&found.expect("its own answer"), &records[2]);
    }
    Outcome::Kept
}

/// No question, no answer, no error.
pub fn an_empty_batch_has_no_answers<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = Bench::new(subject);
    assert!(block_on(bench.tier.read(&[], Intent::Look)).expect("read").is_empty());
    assert!(block_on(bench.tier.write(&[])).expect("write").is_empty());
    Outcome::Kept
}
