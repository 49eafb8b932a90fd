//! What is there after a crash, as a fresh process sees it.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nanotier_tier::{Bytes, Entry, Intent, Store as _, Timestamp};
use nanotier_tier::{COUNTER, read_counter};

use crate::kind::{Kind, OnDamage};
use crate::model::{State, What};
use crate::note::{KEYS, THREADS};
use crate::workload::{namespace, path, value};
use crate::{Result, this_program};

/// A store as it was found.
pub(crate) struct Seen {
    pub(crate) opened_in: Duration,
    pub(crate) believed_since: Timestamp,
    /// By thread and key. `None` where something is that nobody wrote.
    pub(crate) states: Vec<Vec<Option<State>>>,
}

const ROW_LEN: usize = 17;
const TORN: u8 = 0xff;

/// Opens the store in a fresh process and reads everything. An error if that process fails in any way.
pub(crate) fn look(kind: Kind, folder: &Path) -> Result<Seen> {
    let mut child = this_program()
        .args(["child", "look", &kind.to_string()])
        .arg(folder)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut told = Vec::new();
    child.stdout.take().ok_or("the pipe")?.read_to_end(&mut told)?;
    let status = child.wait()?;
    if !status.success() {
        return Err(format!("whoever opened the store after the crash ended with {status}").into());
    }
    let mut numbers = told.chunks(8).map(|bytes| bytes.try_into().map_or(0, u64::from_le_bytes));
    let (micros, millis) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let rows: Vec<_> = told.get(16..).unwrap_or_default().chunks(ROW_LEN).map(state_of_row).collect();
    if rows.len() != THREADS * KEYS {
        return Err(format!("whoever looked at the store told of {} keys", rows.len()).into());
    }
    Ok(Seen {
        opened_in: Duration::from_micros(micros),
        believed_since: Timestamp::from_millis(millis),
        states: rows.chunks(KEYS).map(<[_]>::to_vec).collect(),
    })
}

/// What that process does.
pub(crate) fn tell_what_is_there(kind: Kind, folder: &Path) -> Result<()> {
    let began = Instant::now();
    let store = kind.open(folder, OnDamage::Error)?;
    let took = u64::try_from(began.elapsed().as_micros())?;
    let mut told = Vec::new();
    told.extend(took.to_le_bytes());
    told.extend(store.believed_since().as_millis().to_le_bytes());
    for thread in 0..THREADS {
        let space = namespace(thread);
        for key in 0..KEYS {
            let entry = store.read(&[path(&space, key)], Intent::Look)?.remove(0)?.entry;
            told.extend(row_of_state(state_of(&entry, thread, key)));
        }
    }
    store.close()?;
    std::io::stdout().lock().write_all(&told)?;
    Ok(())
}

/// What an entry says; `None` if it is not what anybody wrote.
fn state_of(entry: &Entry, thread: usize, key: usize) -> Option<State> {
    let (version, what) = match entry {
        Entry::Absent => return Some(State::default()),
        Entry::Removed(version) => (version, What::Nothing),
        Entry::Present(record) if record.value.fingerprint == COUNTER => {
            (&record.version, What::Count(u32::try_from(read_counter(record)?).ok()?))
        }
        Entry::Present(record) => {
            let written = Bytes::from(value(thread, key, record.version.parts().0));
            if record.value.bytes != written {
                return None;
            }
            (&record.version, What::Value)
        }
    };
    Some(State { version: version.parts().0, what })
}

fn row_of_state(state: Option<State>) -> [u8; ROW_LEN] {
    let mut row = [0; ROW_LEN];
    let Some(State { version, what }) = state else {
        row[0] = TORN;
        return row;
    };
    let (tag, count) = match what {
        What::Nothing => (0, 0),
        What::Value => (1, 0),
        What::Count(count) => (2, count),
    };
    row[0] = tag;
    row[1..9].copy_from_slice(&version.to_le_bytes());
    row[9..13].copy_from_slice(&count.to_le_bytes());
    row
}

fn state_of_row(row: &[u8]) -> Option<State> {
    let what = match row.first()? {
        0 => What::Nothing,
        1 => What::Value,
        2 => What::Count(u32::from_le_bytes(row.get(9..13)?.try_into().ok()?)),
        _ => return None,
    };
    Some(State { version: u64::from_le_bytes(row.get(1..9)?.try_into().ok()?), what })
}

/// Opens and closes the store until killed.
pub(crate) fn open_until_killed(kind: Kind, folder: &Path) -> Result<()> {
    loop {
        kind.open(folder, OnDamage::Error)?.close()?;
    }
}
