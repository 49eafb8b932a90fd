//! Showing all entries, one after the other, while others come and go.

use super::Table;
use super::index::HASH_BITS;
use super::node::Node;
use crate::reclaim::Guard;
use crate::sync::Ordering;
use std::ptr;

impl<K, V, X> Table<K, V, X> {
    /// Shows every entry that is there all the time once; what comes, leaves or is replaced meanwhile may be seen or
    /// not. No lock; `f` may do what it likes.
    ///
    /// In the order of hashes, which is the same in every index: when one is outgrown on the way, the visit goes on in
    /// the next where it was.
    pub(crate) fn for_each(&self, mut f: impl FnMut(&K, &V)) {
        // All below this hash have been shown, and of those above, these nodes.
        let mut from = 0_u64;
        let mut shown: Vec<(usize, u32)> = Vec::new();
        while from < 1 << HASH_BITS {
            // Less than two to the power of 29.
            #[allow(clippy::cast_possible_truncation)]
            let hash = from as u32;
            let current = self.index().load(Ordering::Acquire);
            // SAFETY: an index lives as long as the table, and was published whole.
            let index = unsafe { &*current };
            let home = index.home(hash);
            let before = shown.len();
            for cell in index.cells_from(home) {
                let guard = Guard::enter();
                let node = guard.protect(cell);
                if node.is_null() {
                    continue;
                }
                // SAFETY: nodes live as long as the table. It is protected, so it keeps its hash.
                let hash = unsafe { &*node }.hash();
                if u64::from(hash) < from || index.home(hash) != home {
                    continue;
                }
                if !shown[..before].contains(&(node.addr(), hash)) {
                    shown.push((node.addr(), hash));
                    // SAFETY: it is protected, so it has an entry that nobody writes to; the guard lives until after.
                    unsafe { Node::look(node, |key, value, _| f(key, value)) };
                }
            }
            // An index that is outgrown has been emptied (T5): what was not found in it may be in the next.
            if ptr::eq(self.index().load(Ordering::Acquire), current) {
                from = index.hashes_of(home).1;
                // A larger index has more homes: some of what an outgrown one has shown may be further on.
                shown.retain(|&(_, hash)| u64::from(hash) >= from);
            }
        }
    }
}
