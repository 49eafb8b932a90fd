//! The curves as a picture: a panel per trace, a line per policy.

use std::error::Error;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::replay::{OPTIMUM, POLICIES};
use super::report::{Cell, each};

/// Draws those with the fewest threads, usually one.
pub(crate) fn write(path: &Path, cells: &[Cell]) -> Result<(), String> {
    let fewest = cells.iter().map(|cell| cell.threads).min().unwrap_or(1);
    let cells: Vec<&Cell> = cells.iter().filter(|cell| cell.threads == fewest).collect();
    let text = draw(&cells, fewest).map_err(|error| error.to_string())?;
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn draw(cells: &[&Cell], threads: usize) -> Result<String, Box<dyn Error>> {
    let traces = each(cells.iter().map(|cell| cell.trace.as_str()));
    let policies = each(cells.iter().map(|cell| cell.policy));
    let columns = traces.len().clamp(1, COLUMNS_MAX);
    let rows = traces.len().div_ceil(columns).max(1);
    let width = (columns as u32 * PANEL_WIDTH).max(WIDTH_MIN);
    let per_line = ((width - 2 * MARGIN) / LEGEND_WIDTH).max(1);
    let head = HEAD_HEIGHT + LEGEND_HEIGHT * (policies.len() as u32).div_ceil(per_line);
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, (width, head + rows as u32 * PANEL_HEIGHT))
            .into_drawing_area();
        root.fill(&WHITE)?;
        let (top, rest) = root.split_vertically(head);
        legend(&top, &policies, per_line as usize, threads)?;
        for (panel, trace) in rest.split_evenly((rows, columns)).iter().zip(traces) {
            let own: Vec<&Cell> = cells.iter().copied().filter(|cell| cell.trace == trace).collect();
            curves(panel, trace, &own, &policies)?;
        }
        root.present()?;
    }
    Ok(text)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn legend(area: &Area<'_>, policies: &[&str], per_line: usize, threads: usize) -> Result<(), Box<dyn Error>> {
    let plural = if threads == 1 { "" } else { "s" };
    let title = format!("Hits in percent over capacity in entries, {threads} thread{plural}");
    let margin = MARGIN as i32;
    area.draw(&Text::new(title, (margin, margin), ("sans-serif", 18)))?;
    for (nth, policy) in policies.iter().enumerate() {
        let (column, line) = ((nth % per_line) as i32, (nth / per_line) as i32);
        let (x, y) =
            (margin + column * LEGEND_WIDTH as i32, HEAD_HEIGHT as i32 + line * LEGEND_HEIGHT as i32);
        let stroke = vec![(x, y + 7), (x + 24, y + 7)];
        area.draw(&PathElement::new(stroke, style(policy)))?;
        area.draw(&Circle::new((x + 12, y + 7), dot(policy), style(policy).filled()))?;
        area.draw(&Text::new((*policy).to_owned(), (x + 30, y), ("sans-serif", 14)))?;
    }
    Ok(())
}

fn curves(area: &Area<'_>, trace: &str, cells: &[&Cell], policies: &[&str]) -> Result<(), Box<dyn Error>> {
    let (low, high) = span(cells.iter().map(|cell| cell.percent()));
    let (least, most) = span(cells.iter().map(|cell| cell.capacity as f64));
    // A little air, and a width even where there is one capacity only.
    let air = ((high - low) / 20.0).max(0.5);
    let percents = (low - air).max(0.0)..(high + air).min(100.5);
    let capacities = (least / 1.15..most * 1.15).log_scale();
    let mut chart = ChartBuilder::on(area)
        .caption(trace, ("sans-serif", 15))
        .margin(8)
        .x_label_area_size(24)
        .y_label_area_size(38)
        .build_cartesian_2d(capacities, percents)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_labels(5)
        .y_labels(6)
        .x_label_formatter(&|capacity| entries(*capacity))
        .y_label_formatter(&|percent| format!("{percent:.0}"))
        .draw()?;
    // Ours last, on top of the others.
    for policy in policies.iter().rev() {
        let own = cells.iter().filter(|cell| cell.policy == *policy);
        let points: Vec<(f64, f64)> = own.map(|cell| (cell.capacity as f64, cell.percent())).collect();
        let style = style(policy);
        if *policy == OPTIMUM {
            chart.draw_series(DashedLineSeries::new(points.iter().copied(), 5, 4, style))?;
        } else {
            chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
        }
        let dots = points.iter().map(|&point| Circle::new(point, dot(policy), style.filled()));
        chart.draw_series(dots)?;
    }
    Ok(())
}

/// The smallest and the largest.
fn span(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

/// A number of entries, short.
fn entries(count: f64) -> String {
    match count {
        count if count >= 1_000_000.0 => format!("{}M", (count / 10_000.0).round() / 100.0),
        count if count >= 1000.0 => format!("{}k", (count / 10.0).round() / 100.0),
        count => format!("{count:.0}"),
    }
}

/// The same for a policy whoever else takes part.
fn style(policy: &str) -> ShapeStyle {
    let nth = POLICIES.iter().position(|other| other.name == policy).unwrap_or(0);
    let (red, green, blue) = COLOURS[nth];
    RGBColor(red, green, blue).stroke_width(if nth == 0 { 3 } else { 1 })
}

fn dot(policy: &str) -> i32 {
    if policy == POLICIES[0].name { 3 } else { 2 }
}

/// In the order of [`POLICIES`].
const COLOURS: [(u8, u8, u8); POLICIES.len()] = [
    (214, 39, 40),
    (255, 127, 14),
    (0, 0, 0),
    (127, 127, 127),
    (31, 119, 180),
    (127, 188, 230),
    (44, 160, 44),
    (148, 103, 189),
    (197, 150, 213),
    (227, 119, 194),
    (110, 60, 120),
    (140, 86, 75),
    (188, 189, 34),
    (23, 190, 207),
    (200, 170, 120),
];

const COLUMNS_MAX: usize = 4;
const PANEL_WIDTH: u32 = 330;
const PANEL_HEIGHT: u32 = 260;
const WIDTH_MIN: u32 = 660;
const MARGIN: u32 = 12;
const HEAD_HEIGHT: u32 = 40;
const LEGEND_WIDTH: u32 = 125;
const LEGEND_HEIGHT: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(trace: &str, capacity: usize, policy: &'static str, hits: u64) -> Cell {
        Cell { trace: trace.to_owned(), capacity, policy, threads: 1, requests: 100, hits, residents: None }
    }

    #[test]
    fn there_is_a_panel_per_trace_and_a_line_per_policy() {
        let cells = [
            cell("one & only", 100, "nanotier", 10),
            cell("one & only", 1000, "nanotier", 20),
            cell("one & only", 100, "lru", 0),
            cell("one & only", 1000, "lru", 100),
            cell("small", 1, "nanotier", 0),
            cell("small", 1, "lru", 0),
        ];
        let text = draw(&cells.iter().collect::<Vec<_>>(), 1).unwrap();
        assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"));
        for word in ["one &amp; only", "small", "nanotier", "lru", "1 thread", "1k"] {
            assert!(text.contains(word), "{word} in {text}");
        }
        let lines = |(red, green, blue): (u8, u8, u8)| {
            let stroke = format!("stroke=\"#{red:02X}{green:02X}{blue:02X}\"");
            text.lines().filter(|line| line.starts_with("<polyline") && line.contains(&stroke)).count()
        };
        // One in the legend, one in the panel where there are two points, and perhaps one of a point.
        assert!(lines(COLOURS[0]) >= 2 && lines(COLOURS[3]) >= 2, "{text}");
    }

    #[test]
    fn numbers_of_entries_are_short() {
        let words = [1.0, 999.0, 1000.0, 55_824.0, 1_000_000.0].map(entries);
        assert_eq!(words, ["1", "999", "1k", "55.82k", "1M"]);
    }
}
