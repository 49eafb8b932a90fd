//! What is put into a store before it is damaged, and what is done with it after.

use super::Fixture;
use super::place::{Place, entry, found, space, v, value};
use crate::{Entry, ErrorKind, Intent, PageRequest, Path, Store, Write, Wrote};

/// The key of the n-th record.
#[must_use]
pub fn key(n: usize) -> String {
    format!("key {n}")
}

/// Its value.
#[must_use]
pub fn value_of(n: usize) -> Vec<u8> {
    format!("value of {n}").into_bytes().repeat(1 + n % 9)
}

/// Puts so many records, a tombstone and a cleared namespace.
pub fn fill<F: Fixture>(place: &Place<F>, store: &F::Store, keys: usize) {
    for n in 0..keys {
        assert_eq!(place.put(store, &key(n), 5 + n as u64, &value_of(n)), Wrote::Done);
    }
    assert_eq!(place.remove(store, "removed", 5), Wrote::Done);
    assert_eq!(place.clear(store, &space("cleared"), 5), Wrote::Done);
}

/// True if everything that [`fill`] put is there.
pub fn is_whole(store: &impl Store, keys: usize) -> bool {
    (0..keys).all(|n| value(store, &key(n)) == Some(value_of(n)))
        && entry(store, "removed") == Entry::Removed(v(5))
        && found(store, &space("cleared"), "any").entry == Entry::Removed(v(5))
}

/// Does everything with a damaged store that [`fill`] filled: no value is a wrong one, what is acknowledged is there, and all is answered.
pub fn use_everything<F: Fixture>(place: &Place<F>, store: &F::Store, keys: usize, what: &str) {
    let test = space("test");
    for n in 0..keys {
        let key = key(n);
        let read = store.read(&[Path::new(&test, key.as_bytes())], Intent::Look);
        match read.and_then(|mut found| found.remove(0)) {
            Ok(found) => match found.entry {
                Entry::Present(record) => {
                    assert_eq!(record.value.bytes, value_of(n), "{what}: a wrong value");
                }
                Entry::Absent | Entry::Removed(_) => {}
            },
            Err(error) => assert_ne!(error.kind(), ErrorKind::Closed, "{what}: {error}"),
        }
    }
    // Whatever these answer: they answer.
    let record = place.record(1000, b"new");
    let wrote = store.write(&[Write::put(Path::new(&test, &b"key 7"[..]), &record)]);
    if let Some(Ok(Wrote::Done)) = wrote.ok().and_then(|mut wrote| wrote.pop()) {
        assert_eq!(value(store, "key 7").unwrap(), b"new", "{what}: what was acknowledged is there");
    }
    let _ = store.list(&test, &PageRequest::default());
    let _ = F::sweep(store);
    let _ = store.close();
}
