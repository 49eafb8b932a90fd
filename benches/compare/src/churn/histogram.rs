//! Times, counted by how long they are: to one part in 64.

#[derive(Debug)]
pub(super) struct Histogram {
    counts: Vec<u64>,
    most: u64,
}

impl Histogram {
    pub(super) fn new() -> Self {
        Self { counts: vec![0; place(u64::MAX) + 1], most: 0 }
    }

    #[inline]
    pub(super) fn add(&mut self, time: u64) {
        self.counts[place(time)] += 1;
        self.most = self.most.max(time);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, other)| *count += other);
        self.most = self.most.max(other.most);
    }

    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(super) fn most(&self) -> u64 {
        self.most
    }

    /// What this share of all times is not above. Zero if there are none.
    pub(super) fn quantile(&self, share: f64) -> u64 {
        let rank = (self.count() as f64 * share).ceil() as u64;
        let mut seen = 0;
        let reached = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank.max(1)
        });
        reached.map_or(0, |nth| highest(nth).min(self.most))
    }
}

const BITS: u32 = 6;

/// Each power of two has as many places.
fn place(time: u64) -> usize {
    let shift = (u64::BITS - time.leading_zeros()).saturating_sub(BITS + 1);
    ((u64::from(shift) << BITS) + (time >> shift)) as usize
}

/// The longest time of a place.
fn highest(place: usize) -> u64 {
    let (place, one) = (place as u64, 1 << BITS);
    let shift = (place >> BITS).saturating_sub(1);
    let begin = u128::from(place - shift * one) << shift;
    u64::try_from(begin + (1 << shift) - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_ends_where_the_next_begins() {
        for time in (0..5000).chain([1 << 20, (1 << 40) + 12345, 1 << 62]) {
            let end = highest(place(time));
            assert!(end >= time && end - time <= time / 64, "{time}: {end}");
            assert_eq!(place(end), place(time));
            assert_eq!(place(end + 1), place(time) + 1);
        }
        assert_eq!(highest(place(u64::MAX)), u64::MAX);
    }

    #[test]
    fn a_share_of_the_times_is_not_above_its_quantile() {
        let mut histogram = Histogram::new();
        (1..=10_000).for_each(|time| histogram.add(time));
        for (share, time) in [(0.5, 5000), (0.99, 9900), (0.9999, 9999), (1.0, 10_000)] {
            let found = histogram.quantile(share);
            assert!(found >= time && found - time <= time / 64, "{share}: {found}");
        }
        assert_eq!((histogram.count(), histogram.most()), (10_000, 10_000));
        assert_eq!(Histogram::new().quantile(0.5), 0);
    }
}
