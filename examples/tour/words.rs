//! Numbers as people read them.

use std::path::Path;
use std::time::Duration;

/// With a comma at the thousands.
pub(crate) fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

pub(crate) fn plural(number: usize, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// With three digits or so.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        0.0 => "0 s".to_string(),
        ..1e-6 => format!("{} ns", duration.as_nanos()),
        ..1e-3 => three_digits(seconds * 1e6, "µs"),
        ..1.0 => three_digits(seconds * 1e3, "ms"),
        ..120.0 => three_digits(seconds, "s"),
        ..7200.0 => three_digits(seconds / 60.0, "min"),
        ..172_800.0 => three_digits(seconds / 3600.0, "h"),
        _ => three_digits(seconds / 86_400.0, "days"),
    }
}

pub(crate) fn bytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let size = bytes as f64;
    match size {
        ..1e3 => format!("{bytes} bytes"),
        ..1e6 => three_digits(size / 1e3, "kB"),
        ..1e9 => three_digits(size / 1e6, "MB"),
        _ => three_digits(size / 1e9, "GB"),
    }
}

fn three_digits(number: f64, unit: &str) -> String {
    let decimals = if number < 9.995 {
        2
    } else if number < 99.95 {
        1
    } else {
        0
    };
    format!("{number:.decimals$} {unit}")
}

#[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
pub(crate) fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Never shows nothing as something or something as nothing.
pub(crate) fn percent(part: usize, whole: usize) -> String {
    format!("{:.1} %", share(part, whole) * 100.0)
}

/// A bar as long as its share of `BAR_LEN`.
pub(crate) fn bar(part: usize, whole: usize) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 8 times the length"
    )]
    let eighths = (share(part, whole) * BAR_LEN as f64 * 8.0).round() as usize;
    let last = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
    format!("{}{last}", "█".repeat(eighths / 8))
}

/// A path on one line, whatever is in its name.
pub(crate) fn shown(path: &Path) -> String {
    let text = path.display().to_string();
    text.chars().flat_map(|c| if c.is_control() { c.escape_debug().collect() } else { vec![c] }).collect()
}

pub(crate) const BAR_LEN: usize = 24;
