//! A tier that keeps nothing, and says yes.

use super::bench::Bench;
use super::{Outcome, Subject};
use crate::entry::{Entry, Intent, Page, PageRequest, Wrote};
use crate::tier::Tier;
use crate::update::{Change, Expect, Renewal, Updated};
use crate::waiting::block_on;

/// Every write is done and nothing is there afterwards: whoever adds is the first, counters stay at 0, and nothing can be taken.
pub fn what_keeps_nothing_says_yes<T: Tier>(subject: &Subject<T>) -> Outcome {
    let bench = Bench::new(subject);
    for _ in 0..2 {
        let record = bench.put("k", "value");
        assert_eq!(bench.read_as("k", Intent::Load).entry, Entry::Absent);
        let added = bench.update("k", Change::Add(record.clone()));
        assert!(matches!(added, Updated::Done(_)), "for everybody: {added:?}");
        let increment = Change::Increment { by: 3, lifetime: Renewal::Fixed(None) };
        assert!(matches!(bench.update("k", increment), Updated::Counted { value: 0, .. }));
        let expect = Expect::Version(record.version);
        let replaced = bench.update("k", Change::Replace { record, expect: expect.clone() });
        // One whose values are encrypted has to look first, and finds nothing to replace.
        assert!(matches!(replaced, Updated::Done(_) | Updated::Refused), "{replaced:?}");
        assert_eq!(bench.update("k", Change::Take), Updated::Taken(None));
        assert_eq!(bench.update("k", Change::RemoveIf(expect)), Updated::Refused);
        bench.remove("k");
        assert_eq!(bench.clear_namespace(&bench.namespace, bench.draw()), Wrote::Done);
        let listed = block_on(bench.tier.list(&bench.namespace, &PageRequest::default())).expect("list");
        assert_eq!(listed, Page::default());
        block_on(bench.tier.ready()).expect("it is always ready");
    }
    Outcome::Kept
}
