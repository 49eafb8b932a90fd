//! A table of aligned columns.

use crate::screen::say;

pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    /// Columns that are aligned to the left; all others hold numbers.
    left: &'static [usize],
}

impl Table {
    pub(crate) fn new<const N: usize>(head: [&str; N], left: &'static [usize]) -> Self {
        Self { rows: vec![head.map(str::to_string).to_vec()], left }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    pub(crate) fn say(&self) {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let len = |text: &str| text.chars().count();
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell: &String| len(cell)).max()
        };
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
        for (index, row) in self.rows.iter().enumerate() {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(column, (cell, width))| {
                    let pad = " ".repeat(width - len(cell));
                    if self.left.contains(&column) { format!("{cell}{pad}") } else { format!("{pad}{cell}") }
                })
                .collect();
            say(format!("   {}", cells.join("   ")).trim_end());
            if index == 0 {
                let rule = widths.iter().sum::<usize>() + 3 * widths.len().saturating_sub(1);
                say(&format!("   {}", "─".repeat(rule)));
            }
        }
    }
}
