//! Any bytes as prefix, cursor and what a key has to contain: the memory tier and the core of the embedded ones list what a naive reading of
//! the rules lists, page by page; nothing panics, and no page has a key of another namespace.
#![no_main]

use std::collections::BTreeMap;
use std::ops::Bound;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use nanotier_tier::embedded::{Backend, Belief, Core, Options, Range, Rows, RowsMut, Visit, Wanted};
use nanotier_tier::{
    Bytes, Clock, Context, Durability, Encoded, Fingerprint, MemoryStore, Namespace, PageRequest, Path, Record,
    Result, Scope, Store, Timestamp, Version, Write,
};

#[derive(Arbitrary, Debug)]
struct Input {
    keys: Vec<(u8, Vec<u8>)>,
    space: u8,
    prefix: Vec<u8>,
    contains: Vec<u8>,
    after: Option<Vec<u8>>,
    limit: u16,
}

/// Rows in a map: enough of an engine to list from.
#[derive(Default)]
struct Map(parking_lot::Mutex<View>);

#[derive(Clone, Default)]
struct View(BTreeMap<Vec<u8>, Vec<u8>>);

impl Rows for View {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.0.get(key).map(|framed| Bytes::copy_from_slice(framed)))
    }
    fn floor(&self, _: &[u8]) -> Result<Option<Bytes>> {
        Ok(None)
    }
    fn visit(&self, range: Range<'_>, visit: &mut Visit<'_>) -> Result<()> {
        let owned = |bound: Bound<&[u8]>| bound.map(<[u8]>::to_vec);
        for (key, framed) in self.0.range::<Vec<u8>, _>((owned(range.0), owned(range.1))) {
            if visit(key, framed).is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl RowsMut for View {
    fn put(&mut self, key: &[u8], framed: &[u8], _: Timestamp) -> Result<()> {
        self.0.insert(key.to_vec(), framed.to_vec());
        Ok(())
    }
    fn remove(&mut self, key: &[u8]) -> Result<()> {
        self.0.remove(key);
        Ok(())
    }
    fn remove_all(&mut self, _: Range<'_>) -> Result<()> {
        Ok(())
    }
    fn put_floor(&mut self, _: &[u8], _: &[u8]) -> Result<()> {
        Ok(())
    }
    fn mark_closed(&mut self, _: Timestamp) -> Result<()> {
        Ok(())
    }
}

impl Backend for Map {
    const NAME: &'static str = "map";
    type View = View;

    fn read<T>(&self, read: impl FnOnce(&View) -> Result<T>) -> Result<T> {
        read(&self.0.lock())
    }
    fn transact(&self, work: &mut dyn FnMut(&mut dyn RowsMut) -> Result<Wanted>) -> Result<bool> {
        let mut rows = self.0.lock();
        work(&mut *rows).map(|_| true)
    }
    fn close(&self) -> Result<()> {
        Ok(())
    }
    fn is_closed(&self) -> bool {
        false
    }
}

fn spaces() -> [Namespace; 5] {
    // Names that begin alike, and lengths that a cursor could be mistaken for.
    ["a", "aa", "a:", "b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]
        .map(|name| Namespace::new(name).expect("allowed"))
}

fn all_pages(store: &impl Store, space: &Namespace, first: &PageRequest) -> Vec<Vec<u8>> {
    let (mut keys, mut request) = (Vec::new(), first.clone());
    loop {
        let page = store.list(space, &request).expect("listing needs no luck");
        assert!(page.entries.len() <= first.limit());
        keys.extend(page.entries.into_iter().map(|listed| listed.key));
        match page.next {
            Some(next) => {
                assert_eq!(Some(&next), keys.last(), "a page ends with its last key");
                request.after = Some(next);
            }
            None => return keys,
        }
    }
}

fuzz_target!(|input: Input| {
    let spaces = spaces();
    let (clock, _) = Clock::manual();
    let options = Options {
        scope: Scope::Process,
        durability: Durability::Volatile,
        horizon: std::time::Duration::from_secs(60),
        sweep_interval: std::time::Duration::from_secs(3600),
        bytes_max: None,
        value_len_max: 1 << 20,
        framing: nanotier_tier::record::Framing::default(),
    };
    let embedded = Core::start(Map::default(), options, Belief::new(Some(Timestamp::ZERO))).expect("a thread");
    let memory = MemoryStore::new();
    embedded.attach(&Context::new(clock.clone(), 1));
    memory.attach(&Context::new(clock.clone(), 1));
    let value = Encoded::new(Bytes::new(), Fingerprint(0));
    let record = Record { version: Version::from_parts(1, 1), ..Record::new(value, clock.wall()) };
    let mut naive: BTreeMap<(usize, Vec<u8>), ()> = BTreeMap::new();
    for (space, key) in input.keys.iter().take(60) {
        let space = usize::from(*space) % spaces.len();
        let write = [Write::put(Path::new(&spaces[space], key.as_slice()), &record)];
        let _ = (embedded.write(&write).expect("memory"), memory.write(&write).expect("memory"));
        naive.insert((space, key.clone()), ());
    }
    let space = usize::from(input.space) % spaces.len();
    let contains = |key: &[u8]| {
        (0..=key.len()).any(|at| key.get(at..).is_some_and(|rest| rest.starts_with(&input.contains)))
    };
    let expected: Vec<Vec<u8>> = naive
        .into_keys()
        .filter(|(of, key)| {
            *of == space
                && key.starts_with(&input.prefix)
                && contains(key)
                && input.after.as_ref().is_none_or(|after| key > after)
        })
        .map(|(_, key)| key)
        .collect();
    let request = PageRequest {
        prefix: input.prefix.clone(),
        contains: input.contains.clone(),
        after: input.after.clone(),
        limit: usize::from(input.limit),
        tier: None,
    };
    assert_eq!(all_pages(&embedded, &spaces[space], &request), expected);
    assert_eq!(all_pages(&memory, &spaces[space], &request), expected);
    assert_eq!(embedded.namespaces(None).expect("told"), memory.namespaces(None).expect("told"));
});
