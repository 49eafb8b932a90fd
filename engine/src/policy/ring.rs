//! Two circles of entries, by their numbers, each with a hand: at the hand is the oldest, behind it the newest.

/// Which of the two; on which side a ghost is, too.
pub(super) const WINDOW: usize = 0;
pub(super) const MAIN: usize = 1;

#[derive(Debug)]
pub(super) struct Rings {
    /// By number; those of numbers that are in no circle mean nothing.
    places: Vec<Place>,
    rings: [Ring; 2],
}

#[derive(Debug, Clone, Copy)]
struct Ring {
    hand: u32,
    len: usize,
    weight: u64,
}

/// The neighbours, 24 bits each; and the note on it, without the highest bit, which says in which circle it is.
#[derive(Debug, Clone, Copy, Default)]
struct Place(u64);

/// What is noted of an entry: when it was last seen to be in use, by 14 bits of the policy's ticks; and above, whether it
/// came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Note(u16);

impl Note {
    #[inline]
    pub(super) fn new(since: u16, has_returned: bool) -> Self {
        Self(since & SINCE_MASK | u16::from(has_returned) << SINCE_BITS)
    }

    /// How many ticks ago it was last seen to be in use; 16,384 are not told apart from none.
    #[inline]
    pub(super) fn age(self, now: u16) -> u16 {
        now.wrapping_sub(self.0) & SINCE_MASK
    }

    /// The tick, to as many bits as are kept.
    #[inline]
    pub(super) fn since(self) -> u16 {
        self.0 & SINCE_MASK
    }

    /// Whether it was a ghost when it came, or has gone round once more.
    #[inline]
    pub(super) fn has_returned(self) -> bool {
        self.0 >> SINCE_BITS != 0
    }
}

impl Place {
    #[inline]
    fn new(newer: u32, older: u32, ring: usize, note: Note) -> Self {
        let ids = u64::from(newer) | u64::from(older) << ID_BITS;
        Self(ids | u64::from(note.0) << NOTE_SHIFT | (ring as u64) << RING_SHIFT)
    }

    #[inline]
    fn newer(self) -> u32 {
        (self.0 & ID_MASK) as u32
    }

    #[inline]
    fn older(self) -> u32 {
        (self.0 >> ID_BITS & ID_MASK) as u32
    }

    #[inline]
    fn set_newer(&mut self, id: u32) {
        self.0 = self.0 & !ID_MASK | u64::from(id);
    }

    #[inline]
    fn set_older(&mut self, id: u32) {
        self.0 = self.0 & !(ID_MASK << ID_BITS) | u64::from(id) << ID_BITS;
    }

    #[inline]
    fn ring(self) -> usize {
        (self.0 >> RING_SHIFT) as usize
    }
}

impl Rings {
    pub(super) const fn new() -> Self {
        const EMPTY: Ring = Ring { hand: NONE, len: 0, weight: 0 };
        Self { places: Vec::new(), rings: [EMPTY; 2] }
    }

    pub(super) fn len(&self, ring: usize) -> usize {
        self.rings[ring].len
    }

    pub(super) fn weight(&self, ring: usize) -> u64 {
        self.rings[ring].weight
    }

    /// The oldest.
    pub(super) fn hand(&self, ring: usize) -> Option<u32> {
        let hand = self.rings[ring].hand;
        (hand != NONE).then_some(hand)
    }

    /// The oldest is the newest now.
    pub(super) fn advance(&mut self, ring: usize) {
        let hand = self.rings[ring].hand;
        self.rings[ring].hand = self.places[hand as usize].newer();
    }

    /// In which circle it is.
    pub(super) fn ring(&self, id: u32) -> usize {
        self.places[id as usize].ring()
    }

    /// The next after it, in the order of age; after the newest, the oldest.
    #[inline]
    pub(super) fn newer(&self, id: u32) -> u32 {
        self.places[id as usize].newer()
    }

    /// From the oldest to the newest.
    pub(super) fn in_order(&self, ring: usize) -> impl Iterator<Item = u32> + '_ {
        let newer = |&id: &u32| Some(self.newer(id));
        std::iter::successors(self.hand(ring), newer).take(self.len(ring))
    }

    #[inline]
    pub(super) fn note(&self, id: u32) -> Note {
        Note((self.places[id as usize].0 >> NOTE_SHIFT) as u16 & NOTE_MASK)
    }

    #[inline]
    pub(super) fn set_note(&mut self, id: u32, note: Note) {
        let place = &mut self.places[id as usize];
        place.0 = place.0 & !(u64::from(NOTE_MASK) << NOTE_SHIFT) | u64::from(note.0) << NOTE_SHIFT;
    }

    #[inline]
    pub(super) fn push_newest(&mut self, ring: usize, id: u32, weight: u64, note: Note) {
        if id as usize >= self.places.len() {
            self.extend(id);
        }
        let of = &mut self.rings[ring];
        of.len += 1;
        of.weight = of.weight.saturating_add(weight);
        let oldest = of.hand;
        let (newer, older) = if oldest == NONE {
            of.hand = id;
            (id, id)
        } else {
            let newest = self.places[oldest as usize].older();
            self.places[newest as usize].set_newer(id);
            self.places[oldest as usize].set_older(id);
            (oldest, newest)
        };
        self.places[id as usize] = Place::new(newer, older, ring, note);
    }

    #[cold]
    #[inline(never)]
    fn extend(&mut self, id: u32) {
        let more = id as usize + 1 - self.places.len();
        self.places.reserve_exact(more.max(self.places.len() / 8));
        self.places.resize(id as usize + 1, Place(0));
    }

    #[inline]
    pub(super) fn remove(&mut self, id: u32, weight: u64) {
        let place = self.places[id as usize];
        let of = &mut self.rings[place.ring()];
        of.len -= 1;
        of.weight -= weight;
        let (newer, older) = (place.newer(), place.older());
        if newer == id {
            of.hand = NONE;
            return;
        }
        if of.hand == id {
            of.hand = newer;
        }
        self.places[newer as usize].set_older(older);
        self.places[older as usize].set_newer(newer);
    }

    pub(super) fn bytes(&self) -> usize {
        self.places.capacity() * size_of::<Place>()
    }

    /// The two have all entries, once each, and nothing else; and they know how many, and their weight.
    #[cfg(any(test, fuzzing))]
    pub(super) fn validate(
        &self,
        is_entry: impl Fn(u32) -> bool,
        weight_of: impl Fn(u32) -> u64,
        entries: usize,
    ) {
        for (part, ring) in self.rings.iter().enumerate() {
            let (mut len, mut weight, mut next) = (0, 0, ring.hand);
            while next != NONE && (len == 0 || next != ring.hand) {
                assert!(is_entry(next), "E3: what is in a circle is an entry");
                assert_eq!(self.ring(next), part, "it knows in which");
                let newer = self.newer(next);
                assert_eq!(self.places[newer as usize].older(), next, "neighbours agree");
                len += 1;
                weight += weight_of(next);
                assert!(len <= entries, "a circle ends where it began");
                next = newer;
            }
            assert_eq!((ring.len, ring.weight), (len, weight), "a circle knows its length and weight");
        }
        assert_eq!(
            self.rings.iter().map(|ring| ring.len).sum::<usize>(),
            entries,
            "E3: every entry is in one"
        );
    }
}

const NONE: u32 = u32::MAX;
const ID_BITS: u32 = 24;
const ID_MASK: u64 = (1 << ID_BITS) - 1;
const NOTE_SHIFT: u32 = 48;
const NOTE_MASK: u16 = (1 << 15) - 1;
const RING_SHIFT: u32 = 63;
const SINCE_BITS: u32 = 14;
const SINCE_MASK: u16 = (1 << SINCE_BITS) - 1;
