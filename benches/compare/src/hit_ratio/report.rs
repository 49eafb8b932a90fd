//! What is said: a table per trace, what follows from all of them, and the same as JSON for programs.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::replay::REFERENCES;

/// One replay. Its fields are those of the JSON, in this order.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Cell {
    pub(crate) trace: String,
    pub(crate) capacity: usize,
    pub(crate) policy: &'static str,
    pub(crate) threads: usize,
    pub(crate) requests: u64,
    pub(crate) hits: u64,
    #[serde(skip)]
    pub(crate) residents: Option<usize>,
}

impl Cell {
    pub(crate) fn percent(&self) -> f64 {
        100.0 * self.hits as f64 / self.requests as f64
    }

    fn is_small(&self) -> bool {
        self.capacity < SMALL
    }
}

/// Where the summary tells small capacities from others.
const SMALL: usize = 1000;
/// Points below the reference from which on a cell counts as worse.
const WORSE: f64 = 0.5;
/// What may be held beyond the capacity without being mentioned.
const TOLERANCE: f64 = 1.02;

pub(crate) fn write_json(path: &Path, cells: &[Cell]) -> Result<(), String> {
    let text = serde_json::to_string_pretty(cells).map_err(|error| error.to_string())?;
    std::fs::write(path, text + "\n").map_err(|error| format!("{}: {error}", path.display()))
}

/// The cells of one trace: a line per capacity and number of threads, a column per policy.
pub(crate) fn table(cells: &[Cell]) -> String {
    let Some(first) = cells.first() else { return String::new() };
    let policies = each(cells.iter().map(|cell| cell.policy));
    let mut lines = vec![vec!["threads".to_owned(), "capacity".to_owned()]];
    lines[0].extend(policies.iter().map(ToString::to_string));
    for threads in each(cells.iter().map(|cell| cell.threads)) {
        for capacity in each(cells.iter().map(|cell| cell.capacity)) {
            let mut line = vec![threads.to_string(), capacity.to_string()];
            line.extend(policies.iter().map(|&policy| {
                let is_it =
                    |cell: &&Cell| (cell.policy, cell.threads, cell.capacity) == (policy, threads, capacity);
                figure(cells.iter().find(is_it).map(Cell::percent))
            }));
            lines.push(line);
        }
    }
    format!("{}: {} requests, hits in percent\n{}", first.trace, first.requests, aligned(&lines, &[]))
}

/// Means for each number of threads, and with one thread the comparison with LRU.
pub(crate) fn summary(cells: &[Cell]) -> String {
    let mut text = String::new();
    for threads in each(cells.iter().map(|cell| cell.threads)) {
        let cells: Vec<&Cell> = cells.iter().filter(|cell| cell.threads == threads).collect();
        let policies = each(cells.iter().map(|cell| cell.policy));
        let traces = each(cells.iter().map(|cell| cell.trace.as_str())).len();
        let reference = REFERENCES.into_iter().find(|name| threads == 1 && policies.contains(name));
        let words = ["policy", "mean", "cap >= 1000", "cap < 1000"];
        let mut lines = vec![words.map(str::to_owned).to_vec()];
        if let Some(reference) = reference {
            lines[0].push(format!("worst against {reference}"));
            lines[0].push("at".to_owned());
            lines[0].push(format!("over {WORSE} below"));
        }
        for policy in policies {
            let own: Vec<&Cell> = cells.iter().copied().filter(|cell| cell.policy == policy).collect();
            let part = |is_small| own.iter().copied().filter(move |cell| cell.is_small() == is_small);
            let means = [mean(own.iter().copied()), mean(part(false)), mean(part(true))];
            let mut line = vec![policy.to_owned()];
            line.extend(means.map(figure));
            if let Some(against) = reference.and_then(|reference| Against::new(&own, &cells, reference)) {
                line.push(format!("{:+.2}", against.worst));
                line.push(format!("{}@{}", against.worst_at.trace, against.worst_at.capacity));
                line.push(format!("{:.1} %", 100.0 * against.worse));
            }
            lines.push(line);
        }
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        text += &format!(
            "{traces} trace{}, {threads} thread{}: mean hits in percent\n{}\n",
            plural(traces),
            plural(threads),
            aligned(&lines, &[0, 5])
        );
    }
    text + &overfull(cells)
}

/// The mean of the traces, each with the mean of its capacities.
fn mean<'a>(cells: impl Iterator<Item = &'a Cell>) -> Option<f64> {
    let mut traces: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for cell in cells {
        let (sum, count) = traces.entry(&cell.trace).or_default();
        *sum += cell.percent();
        *count += 1.0;
    }
    let sum: f64 = traces.values().map(|(sum, count)| sum / count).sum();
    (!traces.is_empty()).then(|| sum / traces.len() as f64)
}

/// How a policy does next to another one, cell by cell.
struct Against<'a> {
    /// In points; not below zero if it is never worse.
    worst: f64,
    worst_at: &'a Cell,
    /// The share of cells that are clearly below.
    worse: f64,
}

impl<'a> Against<'a> {
    fn new(own: &[&'a Cell], all: &[&Cell], reference: &str) -> Option<Self> {
        let references: BTreeMap<(&str, usize), f64> = all
            .iter()
            .filter(|cell| cell.policy == reference)
            .map(|cell| ((cell.trace.as_str(), cell.capacity), cell.percent()))
            .collect();
        let differences: Vec<(f64, &Cell)> = own
            .iter()
            .filter_map(|cell| {
                let reference = references.get(&(cell.trace.as_str(), cell.capacity))?;
                Some((cell.percent() - reference, *cell))
            })
            .collect();
        let &(worst, worst_at) = differences.iter().min_by(|(one, _), (other, _)| one.total_cmp(other))?;
        let worse = differences.iter().filter(|(difference, _)| *difference < -WORSE).count();
        Some(Self { worst, worst_at, worse: worse as f64 / differences.len() as f64 })
    }
}

/// Who held more than was asked for: such a ratio is that of a larger cache.
fn overfull(cells: &[Cell]) -> String {
    let excess = |cell: &Cell| cell.residents.map_or(0.0, |held| held as f64 / cell.capacity as f64);
    let mut text = String::new();
    for policy in each(cells.iter().map(|cell| cell.policy)) {
        let own = cells.iter().filter(|cell| cell.policy == policy);
        let Some(most) = own.max_by(|one, other| excess(one).total_cmp(&excess(other))) else { continue };
        if excess(most) > TOLERANCE {
            text += &format!(
                "{policy} held up to {:.2} times its capacity ({}@{}): its ratios are those of a larger cache\n",
                excess(most),
                most.trace,
                most.capacity
            );
        }
    }
    text
}

/// Each value once, in order of first appearance.
pub(crate) fn each<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut once = Vec::new();
    for value in values {
        if !once.contains(&value) {
            once.push(value);
        }
    }
    once
}

fn figure(percent: Option<f64>) -> String {
    percent.map_or(String::new(), |percent| format!("{percent:.2}"))
}

/// Columns as wide as their widest word, figures by their last digit and those named here by their first letter.
fn aligned(lines: &[Vec<String>], to_the_left: &[usize]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let cell = |line: &[String], column: usize| line.get(column).cloned().unwrap_or_default();
    let width = |column| lines.iter().map(|line| cell(line, column).chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (nth, line) in lines.iter().enumerate() {
        let cells = widths.iter().enumerate().map(|(column, &width)| {
            let cell = cell(line, column);
            if to_the_left.contains(&column) { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
        if nth == 0 {
            text += &"-".repeat(widths.iter().sum::<usize>() + 2 * columns.saturating_sub(1));
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(trace: &str, capacity: usize, policy: &'static str, threads: usize, hits: u64) -> Cell {
        Cell { trace: trace.to_owned(), capacity, policy, threads, requests: 1000, hits, residents: None }
    }

    #[test]
    fn capacities_count_within_their_trace_and_traces_equally() {
        let cells = [
            cell("a", 100, "lru", 1, 100),
            cell("a", 2000, "lru", 1, 300),
            cell("a", 5000, "lru", 1, 500),
            cell("b", 100, "lru", 1, 900),
        ];
        assert_eq!(mean(cells.iter()), Some((30.0 + 90.0) / 2.0));
        assert_eq!(mean(cells.iter().filter(|cell| !cell.is_small())), Some(40.0));
        assert_eq!(mean([].iter()), None);
    }

    #[test]
    fn the_worst_is_told_with_its_place() {
        let cells = [
            cell("a", 100, "lru", 1, 500),
            cell("b", 200, "lru", 1, 500),
            cell("a", 100, "moka", 1, 496),
            cell("b", 200, "moka", 1, 480),
            cell("b", 200, "moka", 2, 0),
        ];
        let text = summary(&cells);
        let line = text.lines().find(|line| line.starts_with("moka")).unwrap();
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!(words, ["moka", "48.80", "48.80", "-2.00", "b@200", "50.0", "%"]);
        assert!(text.starts_with("2 traces, 1 thread: "), "{text}");
        let (_, two) = text.split_once("1 trace, 2 threads: ").unwrap();
        let line = two.lines().find(|line| line.starts_with("moka")).unwrap();
        assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["moka", "0.00", "0.00"]);
    }

    #[test]
    fn the_table_has_a_line_per_capacity_and_a_gap_where_nothing_ran() {
        let cells = [
            cell("a", 100, "opt", 1, 500),
            cell("a", 100, "lru", 1, 250),
            cell("a", 100, "lru", 8, 249),
            cell("a", 200, "opt", 1, 1000),
        ];
        let words: Vec<Vec<String>> =
            table(&cells).lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect();
        assert_eq!(words[1], ["threads", "capacity", "opt", "lru"]);
        assert_eq!(words[3], ["1", "100", "50.00", "25.00"]);
        assert_eq!(words[4], ["1", "200", "100.00"]);
        assert_eq!(words[5], ["8", "100", "24.90"]);
    }

    #[test]
    fn who_holds_too_much_is_named() {
        let full = |residents| Cell { residents: Some(residents), ..cell("a", 100, "scc", 1, 1) };
        assert_eq!(overfull(&[full(102)]), "");
        assert!(
            overfull(&[full(102), full(128)]).starts_with("scc held up to 1.28 times its capacity (a@100)")
        );
    }

    #[test]
    fn a_row_of_the_json_has_these_fields_in_this_order() {
        let text = serde_json::to_string(&cell("a", 100, "lru", 1, 250)).unwrap();
        assert_eq!(
            text,
            r#"{"trace":"a","capacity":100,"policy":"lru","threads":1,"requests":1000,"hits":250}"#
        );
    }
}
