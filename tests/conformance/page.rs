//! The requirements, read out of `docs/CONFORMANCE.md`.

/// A row of the table of requirements.
pub(crate) struct Requirement {
    /// Its number, or several.
    pub(crate) row: String,
    /// The promises it names that this run checks.
    pub(crate) promises: Vec<String>,
    /// What else keeps it, in the page's words; or that nothing does yet.
    pub(crate) elsewhere: String,
}

/// All of them, in the order of the page. `known` are the promises that can be named.
pub(crate) fn requirements(known: &[&str]) -> Vec<Requirement> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/CONFORMANCE.md")).unwrap();
    let (_, table) =
        page.split_once("| row | what it says here | kept by |\n").expect("the table of requirements");
    let lines = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    let requirement = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [row, _, kept_by] = cells[..] else { panic!("three cells: {line}") };
        let quoted = kept_by.split('`').skip(1).step_by(2);
        let (promises, others): (Vec<&str>, Vec<&str>) = quoted.partition(|name| known.contains(name));
        for name in others {
            // Other tests are named with their file; a bare name that nobody knows is one that was renamed.
            let is_a_bare_name =
                name.contains('_') && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            assert!(!is_a_bare_name, "row {row}: nobody knows `{name}`");
        }
        Requirement {
            row: row.to_owned(),
            promises: promises.into_iter().map(str::to_owned).collect(),
            elsewhere: kept_by.to_owned(),
        }
    };
    lines.map(requirement).collect()
}
