//! What a reader sees: the log as it was committed last.

use nanotier_tier::embedded::{Range, Rows, Visit};
use nanotier_tier::{Bytes, Result, Timestamp};

use crate::error::while_doing;
use crate::index::Slot;
use crate::log::Log;

/// The value of a row: one read. What is shorter than it should be decodes to nothing, which is told as damage.
pub(crate) fn read_slot(slot: &Slot) -> Result<Bytes> {
    let mut bytes = vec![0; slot.len as usize];
    let read = slot.segment.disk.read_at(&mut bytes, slot.at).map_err(while_doing("read"))?;
    bytes.truncate(read);
    Ok(Bytes::from(bytes))
}

pub(crate) fn visit_rows(log: &Log, range: Range<'_>, visit: &mut Visit<'_>) -> Result<()> {
    for (key, slot) in log.index.range(range) {
        if visit(key, &read_slot(slot)?).is_break() {
            break;
        }
    }
    Ok(())
}

impl Rows for Log {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.index.slot(key).map(read_slot).transpose()
    }

    fn floor(&self, namespace: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.index.floor(namespace).map(|floor| Bytes::copy_from_slice(&floor.bytes)))
    }

    fn visit(&self, range: Range<'_>, visit: &mut Visit<'_>) -> Result<()> {
        visit_rows(self, range, visit)
    }

    fn due(&self, now: Timestamp, most: usize) -> Result<Option<Vec<Vec<u8>>>> {
        Ok(Some(self.index.due(now).take(most).map(|key| key.to_vec()).collect()))
    }
}
