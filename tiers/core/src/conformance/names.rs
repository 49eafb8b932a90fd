//! Names that would like to be something else.

use super::bench::{Bench, assert_found};
use super::{Outcome, Subject};
use crate::entry::{Entry, Intent, Write, Wrote};
use crate::path::{Namespace, Path};
use crate::tier::Tier;
use crate::waiting::block_on;

/// Namespaces of which one begins as another does, or that look like patterns or folders. `of` makes them unique.
pub(super) fn nested_namespaces(of: &Namespace) -> Vec<Namespace> {
    let name = |tail: &str| Namespace::new(format!("{of}{tail}")).expect("allowed");
    let mut names: Vec<Namespace> =
        ["", ":", ":v1", ":v1:", "/", "/..", "/../x", "_", "-", ".", "x"].map(name).into();
    names.push(of.beside("locks"));
    names.push(of.beside("counters"));
    names
}

/// Keys that are special to some service, file system or query language.
fn hostile_keys() -> Vec<Vec<u8>> {
    let mut keys: Vec<Vec<u8>> = (0..=u8::MAX).map(|byte| vec![byte]).collect();
    let words: [&[u8]; 30] = [
        b"",
        b"k",
        b"k ",
        b" k",
        b"K",
        b"k:",
        b":k",
        b"v1:k",
        b"*",
        b"k*",
        b"k?",
        b"[a-z]",
        b"%25",
        b"%",
        b"k_",
        b"k\\",
        b"\\k",
        b"k/",
        b"/k",
        b"..",
        b"../k",
        b"k\r\n",
        b"\r\nDEL k",
        b"k\0",
        b"\0k",
        b"k\0\0",
        b"';--",
        b"\xff\xfe",
        b"\xc3\x28",
        "ключ".as_bytes(),
    ];
    keys.extend(words.iter().filter(|word| word.len() != 1).map(|word| word.to_vec()));
    let long = vec![b'k'; Path::KEY_LEN_MAX];
    let mut other_end = long.clone();
    other_end[Path::KEY_LEN_MAX - 1] = b'K';
    keys.push(vec![b'k'; 251]);
    keys.push(vec![b'k'; 256]);
    keys.push(vec![b'k'; Path::KEY_LEN_MAX - 1]);
    keys.push(other_end);
    keys.push(long);
    keys
}

/// Any bytes are a key, and no two paths are one.
pub fn nested_and_hostile_namespaces_and_keys_do_not_meet<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = Bench::new(subject);
    let keys = hostile_keys();
    let spaces = nested_namespaces(&bench.namespace);
    let paths: Vec<Path<'_>> =
        spaces.iter().flat_map(|space| keys.iter().map(move |key| Path::new(space, &key[..]))).collect();
    let records: Vec<_> = (0..paths.len()).map(|n| bench.record(format!("value {n}"))).collect();
    for (paths, records) in paths.chunks(200).zip(records.chunks(200)) {
        let pairs = paths.iter().zip(records);
        let writes: Vec<Write<'_>> =
            pairs.map(|(path, record)| Write::put(path.borrowed(), record)).collect();
        for answer in block_on(bench.tier.write(&writes)).expect("write") {
            assert_eq!(answer.expect("its own answer"), Wrote::Done);
        }
    }
    let all_are_there = |but: Option<usize>| {
        for (chunk, paths) in paths.chunks(200).enumerate() {
            let found = block_on(bench.tier.read(paths, Intent::Look)).expect("read");
            assert_eq!(found.len(), paths.len());
            for (index, found) in found.into_iter().enumerate() {
                let (index, found) = (chunk * 200 + index, found.expect("its own answer"));
                match but {
                    Some(removed) if removed == index => assert!(matches!(found.entry, Entry::Removed(_))),
                    _ => assert_found(&found, &records[index]),
                }
            }
        }
    };
    all_are_there(None);
    // The key `*` of the first namespace: who takes it for a pattern removes the others.
    let star = keys.iter().position(|key| key == b"*").expect("it is among them");
    let removed = Write::remove(paths[star].borrowed(), bench.draw(), bench.now());
    assert_eq!(bench.write(&removed), Wrote::Done);
    all_are_there(Some(star));
    Outcome::Kept
}
