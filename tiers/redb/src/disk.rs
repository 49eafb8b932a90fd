//! What redb writes to: a file, and in unit tests one that fails when told to, and that knows what a power cut would leave.

#[cfg(test)]
pub(crate) use failing::Disk;
#[cfg(not(test))]
pub(crate) use redb::backends::FileBackend as Disk;

#[cfg(test)]
pub(crate) mod failing {
    use std::cell::{Cell, RefCell};
    use std::fs::File;
    use std::io;
    use std::ops::Bound;

    use redb::backends::FileBackend;
    use redb::{BackendError, DatabaseError, StorageBackend};

    thread_local! {
        /// How many more calls succeed on this thread before the disk fails, and with what.
        static FAILS_AFTER: Cell<Option<(u32, Failure)>> = const { Cell::new(None) };
    }

    #[derive(Clone, Copy, Debug)]
    pub(crate) enum Failure {
        Error(io::ErrorKind),
        Panic,
    }

    /// From now on, after `calls` writes and flushes by this thread, each further one fails until [`mend`].
    pub(crate) fn fail_after(calls: u32, failure: Failure) {
        FAILS_AFTER.set(Some((calls, failure)));
    }

    pub(crate) fn mend() {
        FAILS_AFTER.set(None);
    }

    fn call() -> io::Result<()> {
        match FAILS_AFTER.get() {
            None => Ok(()),
            Some((0, Failure::Error(kind))) => Err(kind.into()),
            Some((0, Failure::Panic)) => {
                // Once: redb writes while it unwinds, and a second panic would end the process.
                mend();
                panic!("the disk was told to")
            }
            Some((calls, failure)) => {
                FAILS_AFTER.set(Some((calls - 1, failure)));
                Ok(())
            }
        }
    }

    /// What a disk has been told since somebody began to record it.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Recording {
        /// What is on it for certain: all that was written before the last flush.
        pub(crate) flushed: Vec<u8>,
        /// What was told since, in order, and may have reached it or not.
        pub(crate) since: Vec<Change>,
    }

    #[derive(Clone, Debug)]
    pub(crate) enum Change {
        Write(u64, Vec<u8>),
        Len(u64),
    }

    impl Recording {
        fn flush(&mut self) {
            for change in std::mem::take(&mut self.since) {
                change.apply(&mut self.flushed);
            }
        }
    }

    impl Change {
        pub(crate) fn apply(&self, image: &mut Vec<u8>) {
            match self {
                Self::Len(len) => image.resize(usize::try_from(*len).unwrap(), 0),
                Self::Write(at, data) => {
                    let at = usize::try_from(*at).unwrap();
                    if image.len() < at + data.len() {
                        image.resize(at + data.len(), 0);
                    }
                    image[at..at + data.len()].copy_from_slice(data);
                }
            }
        }
    }

    thread_local! {
        static RECORDING: RefCell<Option<Recording>> = const { RefCell::new(None) };
    }

    /// From now on what this thread tells a disk is recorded, which holds nothing yet.
    pub(crate) fn record() {
        RECORDING.set(Some(Recording::default()));
    }

    /// What was recorded.
    pub(crate) fn recorded() -> Recording {
        RECORDING.take().unwrap_or_default()
    }

    fn note(note: impl FnOnce(&mut Recording)) {
        RECORDING.with_borrow_mut(|recording| recording.as_mut().map_or((), note));
    }

    #[derive(Debug)]
    pub(crate) struct Disk(FileBackend);

    impl Disk {
        pub(crate) fn new(file: File) -> Result<Self, DatabaseError> {
            FileBackend::new(file).map(Self)
        }
    }

    type Range = Bound<u64>;

    impl StorageBackend for Disk {
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.0.read(offset, out)
        }
        fn set_len(&self, len: u64) -> io::Result<()> {
            call()?;
            note(|recording| recording.since.push(Change::Len(len)));
            self.0.set_len(len)
        }
        fn sync_data(&self) -> io::Result<()> {
            call()?;
            if RECORDING.with_borrow(Option::is_some) {
                // What would be on the disk is known: nobody has to wait until it is.
                note(Recording::flush);
                return Ok(());
            }
            self.0.sync_data()
        }
        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            call()?;
            note(|recording| recording.since.push(Change::Write(offset, data.to_vec())));
            self.0.write(offset, data)
        }
        fn close(&self) -> io::Result<()> {
            self.0.close()
        }
        fn try_lock_range(&self, start: Range, end: Range) -> Result<bool, BackendError> {
            self.0.try_lock_range(start, end)
        }
        fn try_lock_shared_range(&self, start: Range, end: Range) -> Result<bool, BackendError> {
            self.0.try_lock_shared_range(start, end)
        }
        fn lock_range(&self, start: Range, end: Range) -> Result<(), BackendError> {
            self.0.lock_range(start, end)
        }
        fn lock_shared_range(&self, start: Range, end: Range) -> Result<(), BackendError> {
            self.0.lock_shared_range(start, end)
        }
        fn unlock_range(&self, start: Range, end: Range) -> Result<(), BackendError> {
            self.0.unlock_range(start, end)
        }
        fn query_lock_range(&self, start: Range, end: Range) -> Result<bool, BackendError> {
            self.0.query_lock_range(start, end)
        }
    }
}
