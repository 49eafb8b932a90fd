//! What a tier was asked for, and how a failed assertion tells it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use nanotier_tier::Namespace;
use parking_lot::Mutex;

use super::op::{Asked, Op};

/// What was asked: the kind of call, and where. Calls on a namespace have no key; those on the whole tier no namespace.
type Place = (Op, Option<Namespace>, Option<Vec<u8>>);

/// How many calls there were, by their places. One entry for each place: a test that asks for many keys keeps them all.
#[derive(Debug, Default)]
pub(super) struct Counts(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    calls: BTreeMap<Place, u64>,
    trips: u64,
}

/// Lines of a failed assertion at most.
const LINES_MAX: usize = 40;
/// Bytes of a key that a line shows at most.
const KEY_SHOWN_MAX: usize = 64;

impl Counts {
    /// Counts a call of the tier, which may be a batch.
    pub(super) fn batch(&self, asked: &[Asked<'_>]) {
        let mut counted = self.0.lock();
        counted.trips += 1;
        for Asked { op, path } in asked {
            let place = (*op, Some(path.namespace().clone()), Some(path.key().to_vec()));
            *counted.calls.entry(place).or_default() += 1;
        }
    }

    /// Counts a call that has no key.
    pub(super) fn whole(&self, op: Op, namespace: Option<&Namespace>) {
        let mut counted = self.0.lock();
        counted.trips += 1;
        *counted.calls.entry((op, namespace.cloned(), None)).or_default() += 1;
    }

    pub(super) fn trips(&self) -> u64 {
        self.0.lock().trips
    }

    pub(super) fn reset(&self) {
        *self.0.lock() = Counted::default();
    }

    /// The calls of this kind, on this key or on all, in the namespaces that count.
    pub(super) fn count(&self, op: Op, key: Option<&[u8]>, only: Option<&str>) -> u64 {
        let counted = self.0.lock();
        let wanted = |place: &Place| {
            place.0 == op && key.is_none_or(|key| place.2.as_deref() == Some(key)) && counts(place, only)
        };
        counted.calls.iter().filter(|(place, _)| wanted(place)).map(|(_, calls)| calls).sum()
    }

    /// All that was called, a line each, for a person.
    pub(super) fn tell(&self, only: Option<&str>) -> String {
        let counted = self.0.lock();
        let lines: Vec<_> = counted.calls.iter().filter(|(place, _)| counts(place, only)).collect();
        if lines.is_empty() {
            return "nothing was called".to_owned();
        }
        let mut text = "what was called:".to_owned();
        for ((op, namespace, key), calls) in lines.iter().take(LINES_MAX) {
            let key = key.as_deref().map(show).unwrap_or_default();
            let namespace = namespace.as_ref().map(Namespace::as_str).unwrap_or_default();
            // A string takes whatever is written to it.
            let _ = write!(text, "\n    {calls:>4} x {op:<9} {key}");
            let _ = if namespace.is_empty() { Ok(()) } else { write!(text, "  in {namespace:?}") };
        }
        if lines.len() > LINES_MAX {
            let _ = write!(text, "\n    and {} more", lines.len() - LINES_MAX);
        }
        text
    }
}

/// What a cache keeps beside its entries is not what a test asks for, unless it says so.
fn counts((_, namespace, _): &Place, only: Option<&str>) -> bool {
    match (namespace, only) {
        (Some(namespace), Some(only)) => namespace.as_str() == only,
        (Some(namespace), None) => !namespace.is_beside(),
        (None, only) => only.is_none(),
    }
}

/// A key as a person wrote it, as far as its bytes tell: text as text, else a number of its width, else hexadecimal.
pub(super) fn show(key: &[u8]) -> String {
    let shown = key.get(..KEY_SHOWN_MAX).unwrap_or(key);
    let more = if shown.len() < key.len() { format!(".. ({} bytes)", key.len()) } else { String::new() };
    if let Ok(text) = std::str::from_utf8(shown) {
        if !text.chars().any(char::is_control) {
            return format!("{text:?}{more}");
        }
    }
    if matches!(key.len(), 1 | 2 | 4 | 8) {
        let number = key.iter().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
        return format!("{number} ({} bytes)", key.len());
    }
    let mut text = "0x".to_owned();
    shown.iter().for_each(|byte| _ = write!(text, "{byte:02x}"));
    text + &more
}
