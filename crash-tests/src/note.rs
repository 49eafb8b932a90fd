//! The journal: what a writer tells of what it does, before and after. It goes through a pipe, so what was told survives
//! the teller.

use std::io::{Read, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::{Error, Result};

/// Writers in a process, each with a namespace of its own, so that each one's operations have an order.
pub(crate) const THREADS: usize = 4;
/// Keys of each that hold values.
pub(crate) const VALUES: usize = 200;
/// All keys of each: the last few hold counters.
pub(crate) const KEYS: usize = VALUES + 8;
/// Keys that one batch puts.
pub(crate) const BATCH: usize = 3;
/// From one operation's version to the next one's: a batch has a version for each of its keys.
pub(crate) const VERSIONS: u64 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Put,
    /// Puts [`BATCH`] neighbouring keys in one call.
    Batch,
    Remove,
    Clear,
    /// Puts if nothing is there.
    Add,
    Take,
    /// Adds 1 to a counter.
    Count,
}

impl Operation {
    const ALL: [Self; 7] =
        [Self::Put, Self::Batch, Self::Remove, Self::Clear, Self::Add, Self::Take, Self::Count];

    fn number(self) -> u8 {
        Self::ALL.iter().zip(0..).find(|(operation, _)| **operation == self).map_or(0, |(_, number)| number)
    }
}

/// That something is about to be done, or was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) is_done: bool,
    pub(crate) operation: Operation,
    pub(crate) thread: u8,
    pub(crate) key: u16,
    /// Said by a note of what is done: 1 or the counter's value if the store changed something, 0 if it refused.
    pub(crate) answer: u32,
    pub(crate) version: u64,
    /// When it was told, by [`micros`].
    pub(crate) at: u64,
}

impl Note {
    const LEN: usize = 25;

    fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0] = u8::from(self.is_done);
        bytes[1] = self.operation.number();
        bytes[2] = self.thread;
        bytes[3..5].copy_from_slice(&self.key.to_le_bytes());
        bytes[5..9].copy_from_slice(&self.answer.to_le_bytes());
        bytes[9..17].copy_from_slice(&self.version.to_le_bytes());
        bytes[17..].copy_from_slice(&self.at.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: [u8; Self::LEN]) -> Result<Self> {
        let number = |from: usize, to: usize| {
            bytes[from..to].iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        let operation = Operation::ALL.get(usize::from(bytes[1]));
        Ok(Self {
            is_done: bytes[0] == 1,
            operation: *operation.ok_or_else(|| format!("no operation has number {}", bytes[1]))?,
            thread: bytes[2],
            key: u16::try_from(number(3, 5))?,
            answer: u32::try_from(number(5, 9))?,
            version: number(9, 17),
            at: number(17, 25),
        })
    }

    /// One write to the pipe, so that a note is told whole or not at all. Without a listener there is nothing left to live for.
    pub(crate) fn tell(self) {
        let mut pipe = std::io::stdout().lock();
        if pipe.write_all(&self.to_bytes()).and_then(|()| pipe.flush()).is_err() {
            std::process::exit(0);
        }
    }

    /// The next one; `None` when there will be no more.
    pub(crate) fn hear(pipe: &mut impl Read) -> Result<Option<Self>> {
        let mut bytes = [0; Self::LEN];
        match pipe.read_exact(&mut bytes) {
            Ok(()) => Self::from_bytes(bytes).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(Error::from(error)),
        }
    }
}

/// Microseconds since 1970: one clock for all processes of this machine.
pub(crate) fn micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_heard_as_it_was_told() {
        for operation in Operation::ALL {
            let (thread, key, answer, version, at) = (3, 207, 70_000, 1 << 60, u64::MAX - 5);
            let note = Note { is_done: true, operation, thread, key, answer, version, at };
            let told = note.to_bytes();
            assert_eq!(Note::hear(&mut &told[..]).unwrap(), Some(note));
            assert_eq!(Note::hear(&mut &told[..told.len() - 1]).unwrap(), None, "half a note is none");
        }
    }
}
