//! Which keys a namespace has. A tier that cannot list is skipped.

use super::bench::Bench;
use super::{Outcome, Subject};
use crate::entry::{Page, PageRequest, Wrote};
use crate::path::Namespace;
use crate::tier::Tier;
use crate::waiting::block_on;

const NO_LISTS: &str = "its capabilities say that it cannot list";

/// Skips where listings are not supported.
macro_rules! bench_with_lists {
    ($subject:expr) => {{
        let bench = Bench::new($subject);
        if !bench.capabilities().lists {
            return Outcome::Skipped(NO_LISTS);
        }
        bench
    }};
}

fn page<T: Tier>(bench: &Bench<'_, T>, prefix: &[u8], after: Option<Vec<u8>>, limit: usize) -> Page {
    let request = PageRequest { prefix: prefix.to_vec(), after, limit, ..PageRequest::default() };
    block_on(bench.tier.list(&bench.namespace, &request)).expect("list")
}

fn keys(page: &Page) -> Vec<&[u8]> {
    page.entries.iter().map(|listed| &listed.key[..]).collect()
}

/// All keys of a listing, page by page.
fn all_keys<T: Tier>(bench: &Bench<'_, T>, prefix: &[u8], limit: usize) -> Vec<Vec<u8>> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = page(bench, prefix, after, limit);
        assert!(page.entries.len() <= limit, "no page is longer than asked for");
        all.extend(page.entries.iter().map(|listed| listed.key.clone()));
        assert!(page.next.is_none() || !page.entries.is_empty(), "a page that says there is more moves on");
        after = match page.next {
            Some(next) => Some(next),
            None => return all,
        };
    }
}

/// Pages in the order of the keys' bytes, by prefix, of one namespace alone; size and end as stored.
pub fn listing_pages_in_order_and_only_its_namespace<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = bench_with_lists!(subject);
    let empty = page(&bench, b"", None, 10);
    assert_eq!(empty, Page::default(), "nothing was written yet");

    let hour = std::time::Duration::from_secs(3600);
    let record = bench.record_for("12345", hour);
    for key in ["other/z", "page/c", "page/a", "page/b", "page", "pagf", "page0"] {
        assert_eq!(bench.put_record(key, &record), Wrote::Done);
    }
    // Others' keys, in namespaces that begin alike.
    for tail in [":", "x", "0"] {
        let other = Namespace::new(format!("{}{tail}", bench.namespace)).expect("allowed");
        let path = crate::Path::new(&other, &b"page/foreign"[..]);
        assert_eq!(bench.write(&crate::Write::put(path, &record)), Wrote::Done);
    }
    let beside = bench.namespace.beside("locks");
    let path = crate::Path::new(&beside, &b"page/hidden"[..]);
    assert_eq!(bench.write(&crate::Write::put(path, &record)), Wrote::Done);

    let first = page(&bench, b"page/", None, 2);
    assert_eq!(keys(&first), [b"page/a", b"page/b"]);
    assert!(first.next.is_some(), "there is more");
    let listed = &first.entries[0];
    assert_eq!(listed.usable_until, record.deadlines.usable_until);
    assert!(listed.value_len == 5 || bench.subject.shapes, "{listed:?}");
    let second = page(&bench, b"page/", first.next, 2);
    assert_eq!(keys(&second), [b"page/c"]);
    assert_eq!(second.next, None, "the last page says so");
    let exact = page(&bench, b"page/", None, 3);
    assert_eq!((exact.entries.len(), exact.next), (3, None), "a full last page is the last");

    let expected: [&[u8]; 7] = [b"other/z", b"page", b"page/a", b"page/b", b"page/c", b"page0", b"pagf"];
    for limit in [1, 2, 3, 100] {
        assert_eq!(all_keys(&bench, b"", limit), expected, "limit {limit}");
    }
    let of_beside = block_on(bench.tier.list(&beside, &PageRequest::default())).expect("list");
    assert_eq!(keys(&of_beside), [b"page/hidden"], "listed when asked for");
    Outcome::Kept
}

/// No limit means 100, and no page is longer than 500.
pub fn listing_limits_its_pages<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = bench_with_lists!(subject);
    for n in 0..PageRequest::LIMIT_MAX + 1 {
        bench.put(format!("{n:04}"), "");
    }
    for (limit, expected) in [(0, PageRequest::LIMIT_DEFAULT), (7, 7), (9999, PageRequest::LIMIT_MAX)] {
        let page = page(&bench, b"", None, limit);
        assert_eq!(page.entries.len(), expected, "limit {limit}");
        assert!(page.next.is_some());
    }
    assert_eq!(all_keys(&bench, b"", 500).len(), PageRequest::LIMIT_MAX + 1);
    Outcome::Kept
}

/// A cursor is a place in the order, not an entry: it may have been removed, or lie outside the prefix. Prefixes are bytes, not
/// patterns.
pub fn listing_goes_on_from_any_cursor<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = bench_with_lists!(subject);
    let all: [&[u8]; 8] = [b"a", b"b*1", b"b*2", b"b?", b"b_x", b"bb", b"b\xff", b"c"];
    for key in all {
        bench.put(key, "");
    }
    let first = page(&bench, b"b", None, 2);
    assert_eq!(keys(&first), [b"b*1", b"b*2"]);
    bench.remove("b*2");
    let rest = page(&bench, b"b", first.next, 10);
    assert_eq!(keys(&rest), [&b"b?"[..], b"b_x", b"bb", b"b\xff"]);

    let expected: [&[u8]; 5] = [b"b*1", b"b?", b"b_x", b"bb", b"b\xff"];
    for before in [&b""[..], b"\0", b"a", b"aaaa"] {
        assert_eq!(keys(&page(&bench, b"b", Some(before.to_vec()), 10)), expected, "after {before:?}");
    }
    for behind in [&b"c"[..], b"\xff\xff\xff"] {
        assert_eq!(page(&bench, b"b", Some(behind.to_vec()), 10), Page::default(), "after {behind:?}");
    }
    for (prefix, expected) in
        [(&b"b*"[..], 1), (b"b_", 1), (b"b?", 1), (b"%", 0), (b"[ab]", 0), (b"b\xff", 1)]
    {
        assert_eq!(page(&bench, prefix, None, 10).entries.len(), expected, "prefix {prefix:?}");
    }
    Outcome::Kept
}

/// What expired, was removed or cleared is not listed, and a page is not cut short by it.
pub fn listing_hides_what_expired_or_was_removed<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = bench_with_lists!(subject);
    let ttl = bench.ttl();
    for n in 0..10 {
        assert_eq!(bench.put_record(format!("{n}"), &bench.record_for("short", ttl)), Wrote::Done);
    }
    for n in ["3", "5", "7", "9"] {
        bench.put(n, "long");
    }
    bench.remove("5");
    bench.wait(ttl);
    assert_eq!(all_keys(&bench, b"", 100), [b"3", b"7", b"9"]);
    let first = page(&bench, b"", None, 2);
    assert_eq!(keys(&first), [b"3", b"7"], "expired entries take no room on a page");
    assert_eq!(keys(&page(&bench, b"", first.next, 2)), [b"9"]);
    bench.clear();
    assert_eq!(page(&bench, b"", None, 10), Page::default());
    Outcome::Kept
}

/// Keys with some bytes in them, wherever: bytes, not patterns. What is passed over takes no room on a page.
pub fn listing_by_a_part_of_the_key<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = bench_with_lists!(subject);
    for n in 0..20 {
        bench.put(format!("other/{n:02}"), "");
    }
    for key in ["page/a", "page/b", "a/page", "pa*e", "b"] {
        bench.put(key, "");
    }
    let page_of = |prefix: &[u8], contains: &[u8], after, limit| {
        let request =
            PageRequest { prefix: prefix.to_vec(), contains: contains.to_vec(), after, limit, tier: None };
        block_on(bench.tier.list(&bench.namespace, &request)).expect("list")
    };
    let found = |prefix: &[u8], contains: &[u8]| page_of(prefix, contains, None, 100);
    assert_eq!(keys(&found(b"", b"/b")), [b"page/b"]);
    assert_eq!(keys(&found(b"", b"page")), [&b"a/page"[..], b"page/a", b"page/b"]);
    assert_eq!(keys(&found(b"page", b"a")), [&b"page/a"[..], b"page/b"], "the prefix counts too");
    assert_eq!(keys(&found(b"", b"*")), [b"pa*e"]);
    assert_eq!(found(b"", b"%"), Page::default());
    assert_eq!(found(b"", b"").entries.len(), 25);
    let first = page_of(b"", b"page", None, 2);
    assert_eq!((keys(&first), first.next.is_some()), (vec![&b"a/page"[..], b"page/a"], true));
    assert_eq!(keys(&page_of(b"", b"page", first.next, 2)), [b"page/b"]);
    Outcome::Kept
}
