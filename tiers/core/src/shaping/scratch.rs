//! Room to work in, kept by each thread: shaping a small value allocates what comes out and nothing else.

use std::cell::Cell;

/// Buffers of one thread.
#[derive(Default)]
pub(super) struct Scratch {
    /// What is authenticated beside the value.
    pub(super) associated: Vec<u8>,
    /// A value on its way. Only ever grown; its end is where it is sliced.
    body: Vec<u8>,
    #[cfg(feature = "lz4")]
    table: lz4_flex::block::CompressTable,
}

/// The largest buffer that a thread keeps, in bytes.
const KEPT_MAX: usize = 96 * 1024;

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

impl Scratch {
    /// Runs `work` with this thread's scratch; with a new one if that is in use, or gone since the thread ends.
    pub(super) fn with<R>(work: impl FnOnce(&mut Self) -> R) -> R {
        let mut scratch = SCRATCH.try_with(Cell::take).ok().flatten().unwrap_or_default();
        let result = work(&mut scratch);
        if scratch.body.capacity() <= KEPT_MAX && scratch.associated.capacity() <= KEPT_MAX {
            let _ = SCRATCH.try_with(|kept| kept.set(Some(scratch)));
        }
        result
    }

    /// `len` bytes to write into. What is in them is of no meaning.
    pub(super) fn body(&mut self, len: usize) -> &mut [u8] {
        grow(&mut self.body, len)
    }

    #[cfg(feature = "lz4")]
    pub(super) fn body_and_table(&mut self, len: usize) -> (&mut [u8], &mut lz4_flex::block::CompressTable) {
        (grow(&mut self.body, len), &mut self.table)
    }

    /// The same bytes, and what is authenticated beside them.
    #[cfg(feature = "encrypt")]
    pub(super) fn body_and_associated(&mut self, len: usize) -> (&mut [u8], &[u8]) {
        (grow(&mut self.body, len), &self.associated)
    }

    /// Leaves no plaintext in the first `len` bytes.
    #[cfg(feature = "encrypt")]
    pub(super) fn wipe(&mut self, len: usize) {
        // Not by `zeroize`, which goes byte by byte: two microseconds for a kibibyte. The buffer lives on, or is seen by the
        // black box before it goes: the zeros are written.
        self.body[..len].fill(0);
        std::hint::black_box(self.body.as_slice());
    }
}

fn grow(body: &mut Vec<u8>, len: usize) -> &mut [u8] {
    if body.len() < len {
        body.resize(len, 0);
    }
    &mut body[..len]
}
