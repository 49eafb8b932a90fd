//! A table of `docs/CONSISTENCY.md`, read out of the page and held against what is observed.
//!
//! A row says one answer for many cases: a cell of an input is a list of words, `any`, or `any but` a list. Every
//! combination has to be said once, and nothing else.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// An input: the head of its column, and the words it may be.
pub(crate) type Input<'a> = (&'a str, &'a [&'a str]);

/// A case: one word for each input.
pub(crate) type Case<'a> = Vec<&'a str>;

fn document() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/CONSISTENCY.md")).unwrap()
}

fn cells(line: &str) -> Vec<&str> {
    line.trim().trim_matches('|').split('|').map(str::trim).collect()
}

/// The words of a cell, or what is wrong with it.
fn words<'a>(cell: &str, (head, domain): Input<'a>) -> Result<Vec<&'a str>, String> {
    let (list, is_left_out) = match cell.strip_prefix("any but ") {
        Some(list) => (list, true),
        None => (cell, false),
    };
    if list == "any" {
        return Ok(domain.to_vec());
    }
    let listed: Vec<&str> = list.split(", ").collect();
    if let Some(unknown) = listed.iter().find(|word| !domain.contains(word)) {
        return Err(format!("`{unknown}` is not one of {head}"));
    }
    Ok(domain.iter().copied().filter(|word| listed.contains(word) != is_left_out).collect())
}

/// Every combination of words.
fn product<'a>(choices: &[Vec<&'a str>]) -> Vec<Case<'a>> {
    choices.iter().fold(vec![Vec::new()], |cases, words| {
        let longer = |case: Case<'a>| words.iter().map(move |word| [&case[..], &[*word]].concat());
        cases.into_iter().flat_map(longer).collect()
    })
}

/// What the page says of each case under `heading`.
fn said<'a>(
    document: &str,
    heading: &str,
    inputs: &[Input<'a>],
    outputs: &[&str],
    wrong: &mut Vec<String>,
) -> BTreeMap<Case<'a>, Vec<String>> {
    let mut said = BTreeMap::new();
    let Some((_, section)) = document.split_once(&format!("\n### {heading}\n")) else {
        wrong.push(format!("there is no heading `### {heading}`"));
        return said;
    };
    let section = section.split("\n#").next().unwrap_or_default();
    let mut lines = section.lines().skip_while(|line| !line.starts_with('|'));
    let heads: Vec<&str> = inputs.iter().map(|input| input.0).chain(outputs.iter().copied()).collect();
    if cells(lines.next().unwrap_or_default()) != heads {
        wrong.push(format!("the columns are to be: {}", heads.join(" | ")));
        return said;
    }
    for line in lines.skip(1).take_while(|line| line.starts_with('|')) {
        let cells = cells(line);
        if cells.len() != heads.len() {
            wrong.push(format!("{} cells: {line}", heads.len()));
            continue;
        }
        let (given, told) = cells.split_at(inputs.len());
        let choices: Result<Vec<_>, String> =
            given.iter().zip(inputs).map(|(cell, input)| words(cell, *input)).collect();
        match choices {
            Err(why) => wrong.push(format!("{why}: {line}")),
            Ok(choices) => {
                for case in product(&choices) {
                    let told = told.iter().map(ToString::to_string).collect();
                    if said.insert(case.clone(), told).is_some() {
                        wrong.push(format!("said twice: {}", case.join(" | ")));
                    }
                }
            }
        }
    }
    said
}

/// Observes every combination of the inputs, and holds it against what the page says under `heading`.
pub(crate) fn check(
    heading: &str,
    inputs: &[Input<'_>],
    outputs: &[&str],
    observe: impl Fn(&[&str]) -> Vec<String>,
) {
    let mut wrong = Vec::new();
    let document = document();
    let mut said = said(&document, heading, inputs, outputs, &mut wrong);
    let domains: Vec<Vec<&str>> = inputs.iter().map(|input| input.1.to_vec()).collect();
    let mut observed = Vec::new();
    for case in product(&domains) {
        let seen = observe(&case);
        assert_eq!(seen.len(), outputs.len(), "{case:?}");
        match said.remove(&case) {
            None => wrong.push(format!("missing: {} | {}", case.join(" | "), seen.join(" | "))),
            Some(told) if told != seen => {
                let (told, seen) = (told.join(" | "), seen.join(" | "));
                wrong.push(format!("{}: the page says {told}, and it is {seen}", case.join(" | ")));
            }
            Some(_) => {}
        }
        observed.push((case, seen));
    }
    if !wrong.is_empty() {
        println!("\n### {heading}\n\nAs observed:\n\n{}", merged(inputs, outputs, &observed));
        let count = wrong.len();
        wrong.truncate(20);
        panic!("### {heading}: {count} wrong, the first of them:\n{}", wrong.join("\n"));
    }
}

/// What was observed as a table: cases with the same answer in one row, where that can be.
fn merged(inputs: &[Input<'_>], outputs: &[&str], observed: &[(Case<'_>, Vec<String>)]) -> String {
    let mut rows: Vec<(Vec<Vec<&str>>, &Vec<String>)> =
        observed.iter().map(|(case, seen)| (case.iter().map(|word| vec![*word]).collect(), seen)).collect();
    for column in (0..inputs.len()).rev() {
        let mut joined: Vec<(Vec<Vec<&str>>, &Vec<String>)> = Vec::new();
        for (row, seen) in rows {
            let alike = joined.iter_mut().find(|(other, told)| {
                *told == seen && (0..row.len()).all(|at| at == column || other[at] == row[at])
            });
            match alike {
                Some((other, _)) => other[column].extend(&row[column]),
                None => joined.push((row, seen)),
            }
        }
        rows = joined;
    }
    let heads: Vec<&str> = inputs.iter().map(|input| input.0).chain(outputs.iter().copied()).collect();
    let mut table = format!("| {} |\n|{}\n", heads.join(" | "), "---|".repeat(heads.len()));
    for (row, seen) in rows {
        let given = row.iter().zip(inputs).map(|(words, (_, domain))| {
            let left_out: Vec<&str> = domain.iter().copied().filter(|word| !words.contains(word)).collect();
            match left_out.len() {
                0 => "any".to_owned(),
                n if n < words.len() && domain.len() > 3 => format!("any but {}", left_out.join(", ")),
                _ => words.join(", "),
            }
        });
        let line: Vec<String> = given.chain(seen.iter().cloned()).collect();
        let _ = writeln!(table, "| {} |", line.join(" | "));
    }
    table
}
