//! Lines for a person to read.

use std::io::Write as _;

/// Prints a line. If nobody reads on (`tour | head`), there is nobody to go on for.
pub(crate) fn say(line: &str) {
    if writeln!(std::io::stdout(), "{line}").is_err() {
        std::process::exit(0);
    }
}

/// Prints something that is not as it should be, and that the tour lives with.
pub(crate) fn note(line: &str) {
    say(&format!("   ! {line}"));
}

pub(crate) fn title(number: usize, title: &str) {
    say("");
    say(&format!("{number}  {title}"));
}
