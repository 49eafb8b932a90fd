//! Whatever lies where a warm file should be: reading it never panics and never brings anything but what was written; and
//! what was written whole comes back whole.
//!
//! Bytes alone seldom get past the checksums. So each input is tried three times: as a file, as entries in a file that is
//! right otherwise, and as keys and values in a right file, of which then one byte is changed.
#![no_main]

use libfuzzer_sys::{arbitrary, fuzz_target};
use nanotier::fuzzing::{read_for_fuzzing, write_for_fuzzing};
use nanotier::{Cold, WarmEnd};

#[derive(Debug, arbitrary::Arbitrary)]
struct Input {
    bytes: Vec<u8>,
    entries: Vec<(Vec<u8>, Vec<u8>)>,
    words: Vec<(String, Vec<u8>)>,
    change: (u16, u8),
}

fuzz_target!(|input: Input| {
    let (entries, end) = read_for_fuzzing(&input.bytes);
    assert!(entries.is_empty() || end == WarmEnd::Complete);

    // Records that are none: whatever the lengths say.
    let (_, end) = read_for_fuzzing(&write_for_fuzzing(&input.entries, false));
    assert!(input.entries.is_empty() || end == WarmEnd::Cold(Cold::Damaged), "{end:?}");

    let words: Vec<_> = input.words.into_iter().map(|(key, value)| (key.into_bytes(), value)).collect();
    let right = write_for_fuzzing(&words, true);
    let (entries, end) = read_for_fuzzing(&right);
    assert_eq!(end, WarmEnd::Complete);
    let read: Vec<_> = entries.into_iter().map(|(key, value)| (key.into_bytes(), value.to_vec())).collect();
    assert_eq!(read, words);

    let mut changed = right;
    let at = usize::from(input.change.0) % changed.len();
    changed[at] ^= input.change.1;
    let (_, end) = read_for_fuzzing(&changed);
    assert_eq!(matches!(end, WarmEnd::Cold(_)), input.change.1 != 0, "byte {at}: {end:?}");
});
