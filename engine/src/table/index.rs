//! Buckets of tags and pointers, and how one looks through them.

use super::PROBES;
use super::node::Node;
use crate::reclaim::{Glance, Guard};
use crate::sync::{AtomicPtr, AtomicU64, Ordering};
use equivalent::Equivalent;
use std::hash::Hash;
use std::ptr;

/// How many entries point from one bucket.
pub(super) const WAYS: usize = if cfg!(nanotier_loom) { 2 } else { 7 };

/// One cache line.
#[derive(Debug)]
#[repr(C, align(64))]
struct Bucket<K, V> {
    /// The entries' tags, the first in the lowest byte; zero where there is none, and where the tag happens to be that.
    /// In the highest byte, how many entries have found no room here and gone further.
    header: AtomicU64,
    cells: [AtomicPtr<Node<K, V>>; WAYS],
}

#[derive(Debug)]
pub(super) struct Index<K, V> {
    buckets: Box<[Bucket<K, V>]>,
}

/// Where in an index an entry is, or could be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Where the entry would be if there were room.
    home: usize,
    bucket: usize,
    pub(super) way: usize,
}

impl<K, V> Index<K, V> {
    /// An empty one for this many entries.
    pub(super) fn boxed(entries: usize) -> *mut Self {
        let bucket = || Bucket {
            header: AtomicU64::new(0),
            cells: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
        };
        let count = buckets_for(entries);
        Box::into_raw(Box::new(Self { buckets: (0..count).map(|_| bucket()).collect() }))
    }

    /// How many entries it should have at most.
    pub(super) fn room(&self) -> usize {
        self.buckets.len() * WAYS * FULL_OF_32 / 32
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.buckets)
    }

    /// The bucket that the upper part of a hash means.
    #[inline(always)]
    pub(super) fn home(&self, hash: u32) -> usize {
        nth_of(self.buckets.len(), hash)
    }

    #[inline(always)]
    fn bucket(&self, at: usize) -> &Bucket<K, V> {
        debug_assert!(at < self.buckets.len());
        // SAFETY: `home` answers less than the number of buckets, since a hash is less than 2^32; and `after` wraps.
        // Checked by the assertion above in each debug build, and in the address lane.
        unsafe { self.buckets.get_unchecked(at) }
    }

    /// How far apart the buckets are that the entries with this home go to, one after the other. Each home has a way of
    /// its own, so that crowds do not run together; and as the number of buckets is prime, each way leads everywhere.
    #[inline]
    fn stride(&self, home: usize) -> usize {
        let others = self.buckets.len() - 1;
        // There are less than two to the power of 29.
        #[allow(clippy::cast_possible_truncation)]
        let mixed = (home as u32).wrapping_mul(0x9e37_79b1) >> 16;
        ((u64::from(mixed) * others as u64) >> 16) as usize + usize::from(others > 0)
    }

    #[inline]
    fn after(&self, at: usize, stride: usize) -> usize {
        let next = at + stride;
        if next >= self.buckets.len() { next - self.buckets.len() } else { next }
    }

    /// The buckets in which an entry with this home may be.
    fn way_from(&self, home: usize) -> impl Iterator<Item = usize> + '_ {
        let stride = self.stride(home);
        std::iter::successors(Some(home), move |&at| Some(self.after(at, stride)))
            .take(PROBES.min(self.buckets.len()))
    }

    /// Has the processor fetch the bucket that a hash means.
    #[inline(always)]
    pub(super) fn prefetch(&self, hash: u32) {
        prefetch(ptr::from_ref(self.bucket(self.home(hash))));
    }

    /// The node with this key, protected by `glance`, if it is the first that comes into question; else null, which
    /// means nothing. Most look-ups end here.
    #[inline(always)]
    pub(super) fn find_at_a_glance<Q>(&self, glance: &Glance, hash: u64, key: &Q) -> *mut Node<K, V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let bucket = self.bucket(self.home(upper(hash)));
        // Acquire: as in `find`.
        let matches = matching_ways(bucket.header.load(Ordering::Acquire), tag(hash));
        if matches == 0 {
            return ptr::null_mut();
        }
        // SAFETY: `matching_ways` has bits for the first `WAYS` ways only. Checked by its unit test.
        let node = glance.protect(unsafe { bucket.cells.get_unchecked(matches.trailing_zeros() as usize) });
        // SAFETY: what is protected is linked, so it has an entry (T1), which stays while the glance names it.
        if !node.is_null() && unsafe { Node::look(node, |resident, _, _| key.equivalent(resident)) } {
            return node;
        }
        ptr::null_mut()
    }

    /// Whether the home of this hash shows that no entry has it: nothing with this tag, and nobody has gone further.
    #[inline]
    pub(super) fn is_surely_absent(&self, hash: u64) -> bool {
        // Acquire: as in `find`.
        let header = self.bucket(self.home(upper(hash))).header.load(Ordering::Acquire);
        matching(header, tag(hash)) == 0 && passed(header) == 0
    }

    /// The node with this key, protected by `guard`, or null. For anyone, at any time.
    pub(super) fn find<Q>(&self, guard: &Guard, hash: u64, key: &Q) -> *mut Node<K, V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let tag = tag(hash);
        let home = self.home(upper(hash));
        let mut at = home;
        let mut probes = PROBES;
        loop {
            let bucket = self.bucket(at);
            // Acquire: whoever sees that it was emptied sees the index that took its place (T5).
            let header = bucket.header.load(Ordering::Acquire);
            let mut matches = matching(header, tag);
            while matches != 0 {
                // SAFETY: `matching` has bits for the first `WAYS` bytes only. Checked by its unit test.
                let cell = unsafe { bucket.cells.get_unchecked(first(matches)) };
                let node = guard.protect(cell);
                // SAFETY: what `protect` answers is linked, so it has an entry (T1), which stays while the guard
                // names it.
                if !node.is_null() && unsafe { Node::look(node, |resident, _, _| key.equivalent(resident)) } {
                    return node;
                }
                matches &= matches - 1;
            }
            probes -= 1;
            if passed(header) == 0 || probes == 0 {
                return ptr::null_mut();
            }
            at = self.after(at, self.stride(home));
        }
    }

    /// Where the entry with this key is. For who has the lock.
    pub(super) fn locate<Q>(&self, hash: u64, key: &Q) -> Option<*mut Node<K, V>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let tag = tag(hash);
        let home = self.home(upper(hash));
        let mut at = home;
        for _ in 0..PROBES {
            let bucket = self.bucket(at);
            let header = bucket.header.load(Ordering::Relaxed);
            let mut matches = matching(header, tag);
            while matches != 0 {
                let node = bucket.cells[first(matches)].load(Ordering::Relaxed);
                // SAFETY: under the lock, what is linked stays linked and has an entry (T1, T2).
                if !node.is_null() && unsafe { Node::look(node, |resident, _, _| key.equivalent(resident)) } {
                    return Some(node);
                }
                matches &= matches - 1;
            }
            if passed(header) == 0 {
                return None;
            }
            at = self.after(at, self.stride(home));
        }
        None
    }

    /// Where an entry with this hash can go; `None` if all places that it may have are taken.
    #[inline]
    pub(super) fn vacancy(&self, hash: u32) -> Option<Place> {
        let home = self.home(hash);
        match self.bucket(home).vacant_way() {
            Some(way) => Some(Place { home, bucket: home, way }),
            None => self.vacancy_further_on(home),
        }
    }

    #[inline(never)]
    fn vacancy_further_on(&self, home: usize) -> Option<Place> {
        self.way_from(home)
            .find_map(|at| Some(Place { home, bucket: at, way: self.bucket(at).vacant_way()? }))
    }

    /// Links a node where [`vacancy`](Self::vacancy) said.
    #[inline]
    pub(super) fn link(&self, place: Place, tag: u8, node: *mut Node<K, V>) {
        if place.home != place.bucket {
            self.way_from(place.home)
                .take_while(|&at| at != place.bucket)
                .for_each(|at| self.bucket(at).count_passing());
        }
        let bucket = self.bucket(place.bucket);
        // The tag first: whoever sees no tag has seen a moment at which nothing was linked (T4), and whoever sees one is
        // told by the cell alone. Release: the entry was written before (T3).
        bucket.set_tag(place.way, tag);
        bucket.cells[place.way].store(node, Ordering::Release);
    }

    /// Where a linked node is, by its hash and its way.
    #[inline(always)]
    pub(super) fn place_of(&self, hash: u32, way: usize, node: *mut Node<K, V>) -> Option<Place> {
        let is_in = |at: &usize| {
            self.bucket(*at).cells.get(way).is_some_and(|cell| ptr::eq(cell.load(Ordering::Relaxed), node))
        };
        let home = self.home(hash);
        if is_in(&home) {
            return Some(Place { home, bucket: home, way });
        }
        self.place_further_on(home, way, is_in)
    }

    #[inline(never)]
    fn place_further_on(&self, home: usize, way: usize, is_in: impl Fn(&usize) -> bool) -> Option<Place> {
        self.way_from(home).find(is_in).map(|bucket| Place { home, bucket, way })
    }

    /// Links another node in the place of one. The tag stays: the keys are equal.
    pub(super) fn relink(&self, place: Place, node: *mut Node<K, V>) {
        // Release: T3.
        self.bucket(place.bucket).cells[place.way].store(node, Ordering::Release);
    }

    #[inline]
    pub(super) fn unlink(&self, place: Place) {
        let bucket = self.bucket(place.bucket);
        // The tag last: see `link`.
        bucket.cells[place.way].store(ptr::null_mut(), Ordering::Release);
        bucket.set_tag(place.way, 0);
        if place.home != place.bucket {
            self.way_from(place.home)
                .take_while(|&at| at != place.bucket)
                .for_each(|at| self.bucket(at).count_passing_no_more());
        }
    }

    /// All that is linked where an entry with this hash could be: in no more than `PROBES` buckets.
    pub(super) fn rivals(&self, hash: u32) -> impl Iterator<Item = *mut Node<K, V>> {
        self.way_from(self.home(hash))
            .flat_map(|at| &self.bucket(at).cells)
            .map(|cell| cell.load(Ordering::Relaxed))
            .filter(|node| !node.is_null())
    }

    /// Links all that `old` links. False if something would find no place; then this is of no use.
    pub(super) fn copy_from(&self, old: &Self) -> bool {
        old.buckets.iter().all(|bucket| {
            let header = bucket.header.load(Ordering::Relaxed);
            bucket.cells.iter().enumerate().all(|(way, cell)| {
                let node = cell.load(Ordering::Relaxed);
                if node.is_null() {
                    return true;
                }
                // SAFETY: nodes live as long as the table.
                let hash = unsafe { &*node }.hash();
                let Some(place) = self.vacancy(hash) else { return false };
                // The node's own way is set when all have found one.
                self.link(place, header.to_le_bytes()[way], node);
                true
            })
        })
    }

    /// Tells each node the way that it has here.
    pub(super) fn tell_ways(&self) {
        for bucket in &self.buckets {
            for (way, cell) in bucket.cells.iter().enumerate() {
                let node = cell.load(Ordering::Relaxed);
                if !node.is_null() {
                    // SAFETY: nodes live as long as the table.
                    unsafe { &*node }.set_way(way);
                }
            }
        }
    }

    /// Empties it for good (T5).
    pub(super) fn empty(&self) {
        for bucket in &self.buckets {
            bucket.header.store(0, Ordering::Release);
            for cell in &bucket.cells {
                cell.store(ptr::null_mut(), Ordering::Release);
            }
        }
    }

    #[cfg(test)]
    fn bucket_count(&self) -> usize {
        self.buckets.len()
    }

    /// The lowest hash that means this bucket, and the one after the highest.
    pub(super) fn hashes_of(&self, at: usize) -> (u64, u64) {
        let count = self.buckets.len() as u64;
        let first = |at: u64| (at << HASH_BITS).div_ceil(count);
        (first(at as u64), first(at as u64 + 1))
    }

    /// Each cell in which an entry with this home may be.
    pub(super) fn cells_from(&self, home: usize) -> impl Iterator<Item = &AtomicPtr<Node<K, V>>> {
        let mut is_last = false;
        self.way_from(home)
            .take_while(move |&at| {
                // Acquire: who is counted as having passed is found further on.
                let goes_on = passed(self.bucket(at).header.load(Ordering::Acquire)) > 0;
                !std::mem::replace(&mut is_last, !goes_on)
            })
            .flat_map(|at| &self.bucket(at).cells)
    }

    /// Counts what is linked, and looks that each is where a look-up would find it.
    #[cfg(any(test, fuzzing))]
    pub(super) fn validate(&self, mut each: impl FnMut(*mut Node<K, V>, u8)) -> usize {
        let mut count = 0;
        let mut passing = vec![0_usize; self.buckets.len()];
        for (nth, bucket) in self.buckets.iter().enumerate() {
            let tags = bucket.header.load(Ordering::Relaxed).to_le_bytes();
            for (way, cell) in bucket.cells.iter().enumerate() {
                let node = cell.load(Ordering::Relaxed);
                assert!(!node.is_null() || tags[way] == 0, "an empty cell has no tag");
                if node.is_null() {
                    continue;
                }
                count += 1;
                each(node, tags[way]);
                // SAFETY: nodes live as long as the table.
                let (hash, own_way) = unsafe { ((*node).hash(), (*node).way()) };
                assert_eq!(own_way, way, "a node knows its way");
                let way: Vec<usize> = self.way_from(self.home(hash)).collect();
                let steps =
                    way.iter().position(|&at| at == nth).expect("an entry is within reach of its home");
                way[..steps].iter().for_each(|&at| passing[at] += 1);
            }
        }
        for (bucket, passing) in self.buckets.iter().zip(passing) {
            let counted = passed(bucket.header.load(Ordering::Relaxed));
            assert!(counted == u8::MAX || usize::from(counted) == passing, "who passed is counted");
        }
        count
    }
}

impl<K, V> Bucket<K, V> {
    /// By shifting: to write one byte of a word and read the word back makes a processor wait.
    #[inline]
    fn set_tag(&self, way: usize, tag: u8) {
        let shift = 8 * way;
        let header = self.header.load(Ordering::Relaxed) & !(0xff << shift);
        self.header.store(header | (u64::from(tag) << shift), Ordering::Release);
    }

    /// Counts one more that has gone further. What is at its limit has lost count, and stays until the index grows.
    fn count_passing(&self) {
        let header = self.header.load(Ordering::Relaxed);
        if passed(header) < u8::MAX {
            self.header.store(header + ONE_PASSED, Ordering::Release);
        }
    }

    fn count_passing_no_more(&self) {
        let header = self.header.load(Ordering::Relaxed);
        if passed(header) < u8::MAX {
            self.header.store(header - ONE_PASSED, Ordering::Release);
        }
    }

    /// A cell that links nothing.
    #[inline]
    fn vacant_way(&self) -> Option<usize> {
        let mut without_tag = matching(self.header.load(Ordering::Relaxed), 0);
        while without_tag != 0 {
            let way = first(without_tag);
            if self.cells[way].load(Ordering::Relaxed).is_null() {
                return Some(way);
            }
            without_tag &= without_tag - 1;
        }
        None
    }
}

const ONE_PASSED: u64 = 1 << 56;

/// Has the processor fetch a line that will be needed soon, where it can be asked to.
#[inline(always)]
pub(crate) fn prefetch<T>(line: *const T) {
    #[cfg(all(target_arch = "x86_64", not(nanotier_loom)))]
    {
        // SAFETY: a hint; it reads nothing, and any address will do.
        unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(line.cast()) };
    }
    let _ = line;
}

/// Which of so many the upper part of a hash means.
#[inline(always)]
pub(crate) fn nth_of(count: usize, hash: u32) -> usize {
    // A multiplication instead of a division, and instead of counts that are powers of two (Lemire 2016).
    ((u64::from(hash) * count as u64) >> HASH_BITS) as usize
}

/// The part of a hash that chooses the bucket. The shard is chosen by bits below it, the tag by the lowest. Three bits
/// less than a half: a node writes its way down beside it.
#[inline(always)]
pub(crate) fn upper(hash: u64) -> u32 {
    (hash >> (64 - HASH_BITS)) as u32
}

/// Whether the keys with this upper part are in the sample: `below` of 2^32, whatever bucket they mean.
#[inline(always)]
pub(crate) fn is_sampled(hash: u32, below: u32) -> bool {
    hash.wrapping_mul(0x85eb_ca6b) < below
}

pub(crate) const HASH_BITS: u32 = 29;

// The lowest bits are meant.
#[allow(clippy::cast_possible_truncation)]
#[inline(always)]
pub(super) fn tag(hash: u64) -> u8 {
    hash as u8
}

#[inline(always)]
fn passed(header: u64) -> u8 {
    (header >> 56) as u8
}

/// The highest bit of each of the first `WAYS` bytes that equals `tag`; a byte above one that does may be wrong, which
/// costs a comparison of keys. (Mycroft 1987, by way of hashbrown.)
#[inline(always)]
fn matching(header: u64, tag: u8) -> u64 {
    const EVERY: u64 = 0x0101_0101_0101_0101;
    const WITHIN: u64 = u64::MAX >> (64 - 8 * WAYS);
    let differing = header ^ (u64::from(tag) * EVERY);
    differing.wrapping_sub(EVERY) & !differing & (EVERY << 7) & WITHIN
}

/// The same with a bit for each way and none wrong, where the processor compares bytes side by side.
#[cfg(target_arch = "x86_64")]
// The bits are meant, whatever their sign.
#[allow(clippy::cast_possible_wrap, clippy::cast_sign_loss)]
#[inline(always)]
fn matching_ways(header: u64, tag: u8) -> u32 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_cvtsi64_si128, _mm_movemask_epi8, _mm_set1_epi8};
    // SAFETY: every x86-64 has SSE2.
    let equal = unsafe {
        let header = _mm_cvtsi64_si128(header as i64);
        _mm_movemask_epi8(_mm_cmpeq_epi8(header, _mm_set1_epi8(tag as i8)))
    };
    equal as u32 & ((1 << WAYS) - 1)
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn matching_ways(header: u64, tag: u8) -> u32 {
    let matches = matching(header, tag);
    if matches == 0 { 0 } else { 1 << first(matches) }
}

/// Which byte the lowest bit is in.
#[inline(always)]
fn first(matches: u64) -> usize {
    (matches.trailing_zeros() / 8) as usize
}

/// Of 32 cells, so many may be taken before the index grows.
const FULL_OF_32: usize = 23;

/// A prime number of them.
fn buckets_for(entries: usize) -> usize {
    let wanted = entries.saturating_mul(32).div_ceil(WAYS * FULL_OF_32).max(2);
    let is_prime = |number: usize| (2..).take_while(|n| n * n <= number).all(|n| number % n != 0);
    (wanted..).find(|&number| is_prime(number)).expect("there is always another prime")
}

#[cfg(all(test, not(nanotier_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_in_every_way_and_nowhere_else() {
        for way in 0..WAYS {
            let header = 0x5a_u64 << (8 * way);
            let matches = matching(header, 0x5a);
            assert_eq!(first(matches), way);
            assert_eq!(matching_ways(header, 0x5a), 1 << way);
            assert!(matching(header, 0x5b) == 0, "another tag");
        }
        assert_eq!(matching(0x5a << 56, 0x5a), 0, "the last byte is no tag");
        assert_eq!(matching_ways(0x5a << 56, 0x5a), 0, "the last byte is no tag");
        assert_eq!(matching(u64::MAX, 0), 0, "full is full");
        assert_eq!(matching(0, 0).count_ones(), 7);
    }

    #[test]
    fn every_hash_has_a_home_and_the_homes_share_them() {
        for entries in [1, 7, 100, 12_345] {
            let index = Index::<u8, u8>::boxed(entries);
            // SAFETY: just made, and freed here.
            let index = unsafe { Box::from_raw(index) };
            assert!(index.room() >= entries);
            let mut expected = 0;
            for at in 0..index.bucket_count() {
                let (first, end) = index.hashes_of(at);
                assert_eq!(first, expected);
                assert!(end > first);
                for hash in [first, end - 1] {
                    assert_eq!(index.home(u32::try_from(hash).unwrap()), at);
                }
                expected = end;
            }
            assert_eq!(expected, 1 << HASH_BITS);
        }
    }
}
