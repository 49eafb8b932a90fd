//! Rows as a table to read.

use crate::judge::Row;

/// A ratio of this much fills the bar.
const BAR_FULL: f64 = 1.5;
const BAR_CELLS: usize = 15;

const HEAD: [&str; 9] = ["row", "ours", "rival", "against", "unit", "ratio", "goal", "pass", ""];
/// Figures are aligned by their last digit.
const IS_FIGURE: [bool; 9] = [false, true, true, false, false, true, true, false, false];

pub(crate) fn render(rows: &[Row]) -> String {
    let mut lines: Vec<[String; 9]> = vec![HEAD.map(str::to_owned)];
    lines.extend(rows.iter().map(line));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 9] = std::array::from_fn(width);
    let mut text = String::new();
    for (nth, line) in lines.iter().enumerate() {
        let cells = line.iter().zip(widths).zip(IS_FIGURE).map(|((cell, width), is_figure)| {
            if is_figure { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        let note = nth.checked_sub(1).map_or("", |row| rows[row].note.as_str());
        let line = format!("{} {note}", cells.collect::<Vec<_>>().join("  "));
        text += line.trim_end();
        text.push('\n');
        if nth == 0 {
            text += &"-".repeat(widths.iter().sum::<usize>() + 2 * widths.len());
            text.push('\n');
        }
    }
    text + &summary(rows)
}

fn line(row: &Row) -> [String; 9] {
    let name = [row.id, row.variant].join(if row.variant.is_empty() { "" } else { ", " });
    let name = match row.ours_name {
        "nanotier" => name,
        ours => format!("{name} [{ours}]"),
    };
    let pass = match (row.pass, row.goal) {
        (Some(true), _) => "yes",
        (Some(false), _) if row.stretch => "no (stretch)",
        (Some(false), _) => "NO",
        (None, Some(_)) => "?",
        (None, None) => "",
    };
    [
        name,
        figure(row.ours),
        figure(row.rival),
        row.rival_name.to_owned(),
        row.unit.to_owned(),
        row.ratio.map_or(String::new(), |ratio| format!("{ratio:.3}")),
        row.goal.map_or(String::new(), |goal| format!("{goal:.3}")),
        pass.to_owned(),
        bar(row) + &hits(row),
    ]
}

fn figure(value: Option<f64>) -> String {
    match value {
        None => String::new(),
        // A count that is almost zero is not zero.
        Some(value) if value != 0.0 && value.abs() < 0.01 => format!("{value:.5}"),
        Some(value) if value.abs() < 10.0 => format!("{value:.2}"),
        Some(value) => format!("{value:.1}"),
    }
}

fn hits(row: &Row) -> String {
    match row.ours_hit_ratio.zip(row.rival_hit_ratio) {
        Some((ours, rival)) => format!(" hits {:.1} / {:.1} %", 100.0 * ours, 100.0 * rival),
        None => String::new(),
    }
}

/// As long as the ratio, with a mark where the goal is.
fn bar(row: &Row) -> String {
    let Some(ratio) = row.ratio else { return " ".repeat(BAR_CELLS + 1) };
    let cell = |value: f64| (value / BAR_FULL * BAR_CELLS as f64).round() as usize;
    let goal = row.goal.filter(|_| row.goal_on == "ratio").map(cell);
    let filled = cell(ratio.max(0.0));
    let cells = (0..BAR_CELLS).map(|place| match (Some(place) == goal, place < filled) {
        (true, _) => '|',
        (false, true) => '#',
        (false, false) => '.',
    });
    let more = if filled > BAR_CELLS { '>' } else { ' ' };
    cells.chain([more]).collect()
}

fn summary(rows: &[Row]) -> String {
    let judged = |pass| rows.iter().filter(|row| row.pass == Some(pass) && !row.stretch).count();
    let open = rows.iter().filter(|row| row.goal.is_some() && row.pass.is_none() && !row.stretch).count();
    format!("\n{} goals met, {} missed, {open} not judged\n", judged(true), judged(false))
}
