//! What a store tells somebody who looks.

mod common;

use std::time::Duration;

use common::*;
use nanotier_tier::{Context, MemoryStore, Namespace, Path, Store, Write, Wrote};

fn fill(place: &Place, store: &impl Store) {
    let put = |space: &Namespace, key: &str, ttl: Duration| {
        let record = place.lasting(5, b"12345", ttl);
        let wrote = store.write(&[Write::put(Path::new(space, key.as_bytes()), &record)]).unwrap().remove(0);
        assert_eq!(wrote.unwrap(), Wrote::Done);
    };
    for name in ["b", "a", "app:v1", "app", "zz"] {
        for n in 0..3 {
            put(&space(name), &format!("{n}"), MINUTE);
        }
    }
    put(&space("app").beside("locks"), "lock", MINUTE);
    put(&space("app"), "soon", Duration::from_millis(5));
    let app = space("app");
    let removal = Write::remove(Path::new(&app, &b"1"[..]), v(9), place.now());
    assert_eq!(store.write(&[removal]).unwrap().remove(0).unwrap(), Wrote::Done);
    place.hands.advance(Duration::from_millis(5));
}

fn tells(store: &impl Store) {
    let names = |after: Option<&Namespace>| {
        let names = store.namespaces(after).unwrap();
        names.iter().map(|name| name.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(None), ["a", "app", "app#locks", "app:v1", "b", "zz"]);
    assert_eq!(names(Some(&space("app"))), ["app#locks", "app:v1", "b", "zz"]);
    assert_eq!(names(Some(&space("zz"))), [] as [&str; 0]);
    let count = store.count(&space("app")).unwrap();
    assert_eq!((count.entries, count.value_bytes, count.marks, count.unreadable), (2, 10, 2, 0));
    let nothing = store.count(&space("never")).unwrap();
    assert_eq!((nothing.entries, nothing.marks), (0, 0));
}

#[test]
fn namespaces_are_told_in_order_with_what_they_take() {
    let place = Place::new();
    let store = place.open();
    fill(&place, &store);
    tells(&store);
    let memory = MemoryStore::new();
    memory.attach(&Context::new(place.clock.clone(), 2));
    fill(&place, &memory);
    tells(&memory);
}

#[test]
fn a_namespace_costs_one_lookup_however_many_rows_it_has() {
    let place = Place::new();
    let store = place.open();
    for name in ["large", "small"] {
        let keys: Vec<String> = (0..3_000).map(|n| n.to_string()).collect();
        let (space, record) = (space(name), place.record(1, b""));
        let writes: Vec<Write<'_>> =
            keys.iter().map(|key| Write::put(Path::new(&space, key.as_bytes()), &record)).collect();
        assert!(store.write(&writes).unwrap().iter().all(Result::is_ok));
    }
    let (began, mut rounds) = (std::time::Instant::now(), 0);
    while rounds < 10 {
        assert_eq!(store.namespaces(None).unwrap().len(), 2);
        rounds += 1;
    }
    let names = began.elapsed();
    let began = std::time::Instant::now();
    for _ in 0..10 {
        assert_eq!(store.count(&space("large")).unwrap().entries, 3_000);
    }
    assert!(names < began.elapsed(), "ten listings of names cost more than ten of rows");
}
