//! Two circles of entries, by their numbers, each with a hand: at the hand is the oldest, behind it the newest.

use super::adaptive::TICK_BITS;

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

/// The neighbours, 24 bits each; when it was last seen to be in use, 14 bits; its circle; and whether it came back.
#[derive(Debug, Clone, Copy, Default)]
struct Place(u64);

impl Place {
    fn newer(self) -> u32 {
        (self.0 & ID_MASK) as u32
    }

    fn older(self) -> u32 {
        (self.0 >> ID_BITS & ID_MASK) as u32
    }

    fn set_newer(&mut self, id: u32) {
        self.0 = self.0 & !ID_MASK | u64::from(id);
    }

    fn set_older(&mut self, id: u32) {
        self.0 = self.0 & !(ID_MASK << ID_BITS) | u64::from(id) << ID_BITS;
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
    pub(super) fn part(&self, id: u32) -> usize {
        (self.places[id as usize].0 >> RING_SHIFT & 1) as usize
    }

    /// The next after it, in the order of age; after the newest, the oldest.
    pub(super) fn newer(&self, id: u32) -> u32 {
        self.places[id as usize].newer()
    }

    /// At which tick it was last seen to be in use.
    pub(super) fn since(&self, id: u32) -> u16 {
        (self.places[id as usize].0 >> SINCE_SHIFT) as u16 & SINCE_MASK
    }

    pub(super) fn set_since(&mut self, id: u32, since: u16) {
        let place = &mut self.places[id as usize].0;
        *place =
            *place & !(u64::from(SINCE_MASK) << SINCE_SHIFT) | u64::from(since & SINCE_MASK) << SINCE_SHIFT;
    }

    /// Whether it was a ghost when it came, or has gone round once more.
    pub(super) fn has_returned(&self, id: u32) -> bool {
        self.places[id as usize].0 >> BACK_SHIFT != 0
    }

    /// It goes round once more, as of `since`.
    pub(super) fn set_returned(&mut self, id: u32, since: u16) {
        self.set_since(id, since);
        self.places[id as usize].0 |= 1 << BACK_SHIFT;
    }

    pub(super) fn push_newest(&mut self, ring: usize, id: u32, weight: u64, since: u16, has_returned: bool) {
        if id as usize >= self.places.len() {
            let more = id as usize + 1 - self.places.len();
            self.places.reserve_exact(more.max(self.places.len() / 8));
            self.places.resize(id as usize + 1, Place(0));
        }
        let oldest = self.rings[ring].hand;
        let (newer, older) = if oldest == NONE {
            self.rings[ring].hand = id;
            (id, id)
        } else {
            let newest = self.places[oldest as usize].older();
            self.places[newest as usize].set_newer(id);
            self.places[oldest as usize].set_older(id);
            (oldest, newest)
        };
        let mut place = Place(0);
        place.set_newer(newer);
        place.set_older(older);
        place.0 |= (ring as u64) << RING_SHIFT | u64::from(has_returned) << BACK_SHIFT;
        self.places[id as usize] = place;
        self.set_since(id, since);
        let ring = &mut self.rings[ring];
        ring.len += 1;
        ring.weight = ring.weight.saturating_add(weight);
    }

    pub(super) fn remove(&mut self, id: u32, weight: u64) {
        let place = self.places[id as usize];
        let ring = self.part(id);
        let (newer, older) = (place.newer(), place.older());
        if newer == id {
            self.rings[ring].hand = NONE;
        } else {
            self.places[newer as usize].set_older(older);
            self.places[older as usize].set_newer(newer);
            if self.rings[ring].hand == id {
                self.rings[ring].hand = newer;
            }
        }
        let ring = &mut self.rings[ring];
        ring.len -= 1;
        ring.weight -= weight;
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
                assert_eq!(self.part(next), part, "it knows in which");
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
const SINCE_SHIFT: u32 = 48;
const SINCE_MASK: u16 = (1 << TICK_BITS) - 1;
const RING_SHIFT: u32 = 62;
const BACK_SHIFT: u32 = 63;
