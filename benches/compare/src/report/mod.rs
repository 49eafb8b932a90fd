//! What is said at the end: a table for people, and the same as JSON for programs.

mod header;
mod table;

use std::path::Path;

use serde::Serialize;

use crate::bench::Bench;
use crate::judge::Row;
use header::Header;

#[derive(Serialize)]
struct Report<'a> {
    header: Header,
    rows: &'a [Row],
}

/// The versions of all that may be compared, in a line.
pub(crate) fn versions() -> String {
    header::versions_line()
}

/// Prints the table, and writes the JSON if a file is named.
pub(crate) fn finish(bench: &Bench, json: Option<&Path>) -> Result<(), String> {
    let report = Report { header: Header::new(bench), rows: &bench.rows };
    print!("{}{}", report.header.render(), table::render(&bench.rows));
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?;
        std::fs::write(path, text + "\n").map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}
