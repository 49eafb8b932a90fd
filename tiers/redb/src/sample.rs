//! Some rows by chance, for a store that keeps no order of age.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use nanotier_tier::Result;
use nanotier_tier::embedded::after_all_with;
use redb::ReadableTable;

use crate::error::while_doing;
use crate::tables::Bytewise;

/// How many neighbours are taken from one place: finding a place costs more than a step from it.
const NEIGHBOURS_MIN: usize = 4;
/// From how many places at most.
const PLACES_MAX: usize = 16;
/// How many bytes of a key are looked at to find a place. Keys that agree in more are neighbours anyway.
const DEPTH_MAX: usize = 64;
/// How often the dice are thrown for a byte with which some key goes on.
const THROWS_MAX: u32 = 32;
/// A sample ends with so many bytes of values: they will all be read.
const BYTES_ENOUGH: usize = 4 * 1024 * 1024;
/// But not with fewer rows than this.
const ROWS_ENOUGH: usize = 8;

/// Chance that repeats: the same from each opening on.
#[derive(Debug, Default)]
pub(crate) struct Dice(AtomicU64);

impl Dice {
    /// A number up to `most`, `most` included.
    fn up_to(&self, most: u8) -> u8 {
        // SplitMix64.
        let mut x = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed).wrapping_add(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        // The upper half of a product with the range: as even as 32 bits over 256 can be.
        u8::try_from(((x >> 32) * (u64::from(most) + 1)) >> 32).unwrap_or(most)
    }
}

/// The keys of up to `most` rows from places found by chance, none twice. All of them if there are no more.
pub(crate) fn sample(
    table: &impl ReadableTable<Bytewise, Bytewise>,
    dice: &Dice,
    most: usize,
) -> Result<Vec<Vec<u8>>> {
    let rows = table.len().map_err(while_doing("write"))?;
    let is_all = rows <= most as u64;
    let neighbours = if is_all { most } else { NEIGHBOURS_MIN.max(most / PLACES_MAX) };
    let places = if is_all { 1 } else { most / neighbours };
    let (mut keys, mut bytes) = (Vec::new(), 0);
    for _ in 0..places {
        let start = if is_all { Some(Vec::new()) } else { place(table, dice)? };
        let Some(start) = start else { break };
        for row in table.range::<&[u8]>(start.as_slice()..).map_err(while_doing("write"))?.take(neighbours) {
            let (key, value) = row.map_err(while_doing("write"))?;
            bytes += value.value().len();
            keys.push(key.value().to_vec());
            if bytes >= BYTES_ENOUGH && keys.len() >= ROWS_ENOUGH {
                break;
            }
        }
        if bytes >= BYTES_ENOUGH && keys.len() >= ROWS_ENOUGH {
            break;
        }
    }
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

/// A key by chance: byte by byte, each one between the least and the greatest that the rows have there. Where keys are spread
/// evenly all are as likely; where not, those of thin regions are more likely, which is why the oldest of several places is taken.
fn place(table: &impl ReadableTable<Bytewise, Bytewise>, dice: &Dice) -> Result<Option<Vec<u8>>> {
    let ends = (table.first().map_err(while_doing("write"))?, table.last().map_err(while_doing("write"))?);
    let (Some((low, _)), Some((high, _))) = ends else { return Ok(None) };
    let (mut low, mut high) = (low.value().to_vec(), high.value().to_vec());
    for _ in 0..DEPTH_MAX {
        let common = low.iter().zip(&high).take_while(|(one, other)| one == other).count();
        // They are the same, or the greatest is longer than the least and begins with it.
        let Some(&most) = high.get(common) else { break };
        let least = low.get(common).copied().unwrap_or(0);
        let mut prefix = high.get(..common).unwrap_or_default().to_vec();
        for throw in 1.. {
            prefix.truncate(common);
            prefix.push(least + dice.up_to(most.saturating_sub(least)));
            if prefix <= low {
                break;
            }
            let Some(next) = at_or_after(table, &prefix)? else { return Ok(Some(low)) };
            // In text most bytes are never used: who takes the next one that is finds the same few places again and again.
            if next.starts_with(&prefix) || throw == THROWS_MAX {
                low = next;
                break;
            }
        }
        // Of the keys that go on as the chosen one does.
        let shared = low.get(..=common).unwrap_or(&low);
        let end = after_all_with(shared).filter(|end| low.len() > common && *end <= high);
        if let Some(end) = end {
            let Some(last) = before(table, &end)? else { break };
            high = last;
        }
        if low >= high {
            break;
        }
    }
    Ok(Some(low))
}

fn at_or_after(table: &impl ReadableTable<Bytewise, Bytewise>, key: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut rows = table.range::<&[u8]>(key..).map_err(while_doing("write"))?;
    Ok(rows.next().transpose().map_err(while_doing("write"))?.map(|(key, _)| key.value().to_vec()))
}

fn before(table: &impl ReadableTable<Bytewise, Bytewise>, key: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut rows = table.range::<&[u8]>(..key).map_err(while_doing("write"))?;
    Ok(rows.next_back().transpose().map_err(while_doing("write"))?.map(|(key, _)| key.value().to_vec()))
}
