//! Nonces for AES-GCM: 96 bits that one key never sees twice.
//!
//! Each sequence begins at 96 random bits of the operating system and counts up, 2^32 times at most; then, and in a forked
//! child, another begins. Within a sequence no two are alike. Two sequences of one key meet only if one begins within the
//! length of the other: with `s` sequences (starts of processes, forks) of at most `k` records each that is about
//! `s^2 * k / 2^96`, so 2^-32 for a million processes that write 16 million records each. Nonces drawn at random
//! one by one would be there after 2^32 records.

use crate::error::Result;
use crate::sync::Mutex;

/// The length of a nonce, in bytes.
pub(super) const NONCE_LEN: usize = 12;

/// Fills bytes at random, or says why not.
type Random = fn(&mut [u8]) -> Result<()>;

/// The nonces that this process uses with one key.
pub(super) struct Nonces {
    sequence: Mutex<Option<Sequence>>,
    random: Random,
    len_max: u64,
}

struct Sequence {
    start: u128,
    used: u64,
    /// The process that began it. A forked child has a copy, and must not go on with it.
    process: u32,
}

impl Nonces {
    /// The most nonces of one sequence.
    const LEN_MAX: u64 = 1 << 32;

    pub(super) fn new() -> Self {
        Self { sequence: Mutex::new(None), random: super::secret::fill_with_random, len_max: Self::LEN_MAX }
    }

    /// A nonce that was never given out before; `process` is the calling one.
    ///
    /// # Errors
    ///
    /// If a new sequence is due and the system has no random numbers. Never one that was used.
    pub(super) fn next(&self, process: u32) -> Result<[u8; NONCE_LEN]> {
        let mut sequence = self.sequence.lock();
        let current = match &mut *sequence {
            Some(current) if current.process == process && current.used < self.len_max => current,
            ended => {
                // First the random numbers: without them what has ended stays ended.
                let mut start = [0; 16];
                (self.random)(&mut start[..NONCE_LEN])?;
                ended.insert(Sequence { start: u128::from_le_bytes(start), used: 0, process })
            }
        };
        let nonce = current.start.wrapping_add(u128::from(current.used));
        current.used += 1;
        // Modulo 2^96: the upper four bytes are cut off.
        let mut bytes = [0; NONCE_LEN];
        bytes.copy_from_slice(&nonce.to_le_bytes()[..NONCE_LEN]);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, ErrorKind};
    use std::collections::HashSet;

    #[test]
    fn no_nonce_comes_twice() {
        let count = if cfg!(debug_assertions) { 50_000 } else { 1_000_000 };
        let nonces = Nonces::new();
        let mut seen = HashSet::with_capacity(count);
        for n in 0..count {
            assert!(seen.insert(nonces.next(1).unwrap()), "nonce {n} came before");
        }
    }

    #[test]
    fn of_threads_that_draw_at_once_none_gets_what_another_got() {
        let nonces = Nonces::new();
        let all = crossbeam_utils::thread::scope(|scope| {
            let draw = |_: &_| (0..2_000).map(|_| nonces.next(1).unwrap()).collect::<Vec<_>>();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(draw)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        })
        .unwrap();
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    }

    #[test]
    fn a_sequence_that_is_used_up_does_not_wrap_and_a_forked_child_begins_its_own() {
        let nonces = Nonces { len_max: 3, ..Nonces::new() };
        let drawn: Vec<_> = (0..9).map(|_| nonces.next(1).unwrap()).collect();
        assert_eq!(drawn.iter().collect::<HashSet<_>>().len(), 9);
        let number = |nonce: &[u8; NONCE_LEN]| {
            nonce.iter().rev().fold(0_u128, |number, byte| (number << 8) | u128::from(*byte))
        };
        let follows =
            |one: usize| number(&drawn[one]).wrapping_add(1) & ((1 << 96) - 1) == number(&drawn[one + 1]);
        assert!(follows(0) && follows(1) && follows(3), "it counts");
        assert!(!follows(2) && !follows(5), "another one begins elsewhere");

        // What a child would have gone on with is what its parent gives out next.
        let parent = Nonces::new();
        parent.next(1).unwrap();
        let in_child = Nonces::new();
        *in_child.sequence.lock() = parent.sequence.lock().as_ref().map(|sequence| Sequence { ..*sequence });
        assert_ne!(in_child.next(2).unwrap(), parent.next(1).unwrap());
    }

    #[test]
    fn the_last_of_all_nonces_is_followed_by_the_first() {
        let nonces = Nonces {
            random: |bytes| {
                bytes.fill(0xff);
                Ok(())
            },
            ..Nonces::new()
        };
        assert_eq!(nonces.next(1).unwrap(), [0xff; NONCE_LEN]);
        assert_eq!(nonces.next(1).unwrap(), [0; NONCE_LEN]);
    }

    #[test]
    fn without_random_numbers_there_is_an_error_and_no_nonce() {
        let none: Random = |_| Err(Error::new(ErrorKind::Unavailable, "shaping", "encrypt"));
        let nonces = Nonces { len_max: 1, ..Nonces::new() };
        nonces.next(1).unwrap();
        let nonces = Nonces { random: none, ..nonces };
        for process in [1, 2, 1] {
            assert_eq!(nonces.next(process).unwrap_err().kind(), ErrorKind::Unavailable);
        }
    }
}
