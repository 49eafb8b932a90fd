//! Bytes, sizes, times and tables as text.

use std::fmt::Write as _;

/// Bytes as text: what is printable as it is, the rest as `\xNN`. [`unescape`] is the inverse.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                c if c.is_control() || is_misleading(c) => {
                    c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| push_hex(&mut text, byte));
                }
                c => text.push(c),
            }
        }
        chunk.invalid().iter().for_each(|byte| push_hex(&mut text, *byte));
    }
    text
}

fn push_hex(text: &mut String, byte: u8) {
    // To a string this cannot fail.
    let _ = write!(text, "\\x{byte:02x}");
}

/// Characters that change how others are shown, or cannot be seen: a key must not look like another one.
fn is_misleading(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The bytes that a text of [`escape`] stands for.
pub(crate) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, after) = rest.split_at(at);
        bytes.extend_from_slice(before.as_bytes());
        if let Some(tail) = after.strip_prefix("\\\\") {
            bytes.push(b'\\');
            rest = tail;
            continue;
        }
        let digits = after.strip_prefix("\\x").and_then(|after| after.get(..2));
        let byte = digits
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .ok_or_else(|| format!("in {text:?} a \\ is followed by neither \\ nor xNN"))?;
        bytes.push(byte);
        rest = after.get(4..).unwrap_or_default();
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

/// A number of bytes as people read it: three digits at most, in powers of 1024.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut whole, mut rest, mut unit) = (bytes / 1024, bytes % 1024, 0);
    while whole >= 1024 {
        (whole, rest, unit) = (whole / 1024, whole % 1024, unit + 1);
    }
    let unit = UNITS.get(unit).unwrap_or(&"EiB");
    if whole < 10 { format!("{whole}.{} {unit}", rest * 10 / 1024) } else { format!("{whole} {unit}") }
}

/// A moment, in milliseconds since 1970: as a date in UTC, and how far it is from `now`.
pub(crate) fn moment(ms: u64, now: u64) -> String {
    if ms == u64::MAX {
        return "never".to_owned();
    }
    let relative = match ms.checked_sub(now) {
        Some(0) => "now".to_owned(),
        Some(ahead) => format!("in {}", span(ahead)),
        None => format!("{} ago", span(now - ms)),
    };
    format!("{} ({relative})", date(ms))
}

/// A length of time by its two largest units.
fn span(ms: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let Some(first) = UNITS.iter().position(|(unit, _)| ms >= *unit) else { return format!("{ms} ms") };
    let (unit, name) = UNITS[first];
    match UNITS.get(first + 1).map(|(next, name)| (ms % unit / next, name)) {
        Some((rest, next)) if rest > 0 => format!("{} {name} {rest} {next}", ms / unit),
        _ => format!("{} {name}", ms / unit),
    }
}

/// A date and a time of day in UTC. By the proleptic Gregorian calendar, counted in eras of 400 years that begin with March.
fn date(ms: u64) -> String {
    let (days, of_day) = (ms / 86_400_000 + 719_468, ms % 86_400_000 / 1_000);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, year) = if month < 10 { (month + 3, year) } else { (month - 9, year + 1) };
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{:04}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{second:02}Z", era * 400 + year)
}

/// Rows under a header, in columns as wide as they have to be. Columns with `>` before their name are set to the right.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let names: Vec<&str> = header.iter().map(|name| name.trim_start_matches('>')).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(names.get(column).map(|name| name.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut text = String::new();
    let header_row: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    for row in std::iter::once(&header_row).chain(rows) {
        let mut line = String::new();
        for ((cell, width), name) in row.iter().zip(&widths).zip(header) {
            let space = " ".repeat(width - cell.chars().count());
            let (before, after) = if name.starts_with('>') { (&space[..], "") } else { ("", &space[..]) };
            line.extend([before, cell, after, "  "]);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_come_back_from_their_text_and_the_text_hides_nothing() {
        for bytes in [
            &b"plain"[..],
            b"",
            b"a\\b",
            b"\\x41",
            b"\0\n\x1b[31m\x7f",
            b"\xff\xfeok",
            "gr\u{fc}n".as_bytes(),
        ] {
            let text = escape(bytes);
            assert_eq!(unescape(&text).unwrap(), bytes, "{text}");
            assert!(!text.chars().any(char::is_control), "{text:?}");
        }
        assert_eq!(escape("a\u{202e}b".as_bytes()), "a\\xe2\\x80\\xaeb");
        for bad in ["\\", "\\x", "\\x4", "\\xzz", "\\n", "\\x\u{fc}", "\\x+1"] {
            assert!(unescape(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_and_times_are_those_that_people_read() {
        let sizes =
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (20 << 20, "20 MiB")];
        for (bytes, expected) in sizes {
            assert_eq!(size(bytes), expected);
        }
        assert_eq!(size(u64::MAX), "15 EiB");
        assert_eq!(date(0), "1970-01-01T00:00:00Z");
        assert_eq!(date(951_827_696_000), "2000-02-29T12:34:56Z");
        assert_eq!(date(4_107_542_399_000), "2100-02-28T23:59:59Z");
        assert_eq!(moment(u64::MAX, 0), "never");
        assert_eq!(moment(90_000, 0), "1970-01-01T00:01:30Z (in 1 m 30 s)");
        assert_eq!(moment(0, 90_061_000), "1970-01-01T00:00:00Z (1 d 1 h ago)");
        let _ = moment(u64::MAX - 1, 0);
    }
}
