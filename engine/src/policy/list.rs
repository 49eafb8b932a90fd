//! A doubly linked list of entries, by their numbers.

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct List {
    /// By number.
    links: Vec<Link>,
    newest: u32,
    oldest: u32,
}

#[derive(Debug, Clone, Copy)]
struct Link {
    /// `AWAY` where this number is not in the list.
    newer: u32,
    older: u32,
}

impl Default for List {
    fn default() -> Self {
        Self { links: Vec::new(), newest: NONE, oldest: NONE }
    }
}

impl List {
    pub(super) fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    pub(super) fn push_newest(&mut self, id: u32) {
        let link = Link { newer: NONE, older: self.newest };
        match self.links.get_mut(id as usize) {
            Some(place) => *place = link,
            None => {
                self.links.resize(id as usize, Link { newer: AWAY, older: NONE });
                self.links.push(link);
            }
        }
        match self.newest {
            NONE => self.oldest = id,
            newest => self.links[newest as usize].newer = id,
        }
        self.newest = id;
    }

    pub(super) fn unlink(&mut self, id: u32) {
        let Link { newer, older } = self.links[id as usize];
        match newer {
            NONE => self.newest = older,
            newer => self.links[newer as usize].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.links[older as usize].newer = newer,
        }
        self.links[id as usize].newer = AWAY;
    }

    /// Makes it the newest, if it is in the list.
    #[inline]
    pub(super) fn renew(&mut self, id: u32) {
        if id == self.newest {
            return;
        }
        let Some(&Link { newer, older }) = self.links.get(id as usize) else { return };
        if newer == AWAY {
            return;
        }
        // It is not the newest, so one is newer, and there is a newest.
        self.links[newer as usize].older = older;
        match older {
            NONE => self.oldest = newer,
            older => self.links[older as usize].newer = newer,
        }
        self.links[self.newest as usize].newer = id;
        self.links[id as usize] = Link { newer: NONE, older: self.newest };
        self.newest = id;
    }

    pub(super) fn bytes(&self) -> usize {
        self.links.capacity() * size_of::<Link>()
    }

    /// The oldest first.
    pub(super) fn in_order(&self) -> Vec<u32> {
        let newer = |&id: &u32| Some(self.links[id as usize].newer).filter(|&newer| newer != NONE);
        std::iter::successors(self.oldest(), newer).collect()
    }

    /// The list has all of these, once each, and nothing else.
    #[cfg(any(test, fuzzing))]
    pub(super) fn validate(&self, is_entry: impl Fn(u32) -> bool, count: usize) {
        let (mut seen, mut newer, mut next) = (0, NONE, self.newest);
        while next != NONE {
            assert!(is_entry(next), "E3: what is in the list is an entry");
            let link = self.links[next as usize];
            assert_eq!(link.newer, newer, "links agree in both directions");
            (newer, next) = (next, link.older);
            seen += 1;
            assert!(seen <= count, "the list has no cycle");
        }
        assert_eq!(self.oldest, newer, "the walk ends at the oldest");
        assert_eq!(seen, count, "E3: every entry is in the list");
        let linked = self.links.iter().filter(|link| link.newer != AWAY).count();
        assert_eq!(linked, count, "what is not in the list is known not to be");
    }
}

/// No entry: numbers are smaller.
const NONE: u32 = u32::MAX;
/// Not in the list: as `NONE`.
const AWAY: u32 = u32::MAX - 1;
