//! Durations as people write them: `500ms`, `5m`, `1h30m`.

/// From the longest to the shortest, in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The milliseconds that `text` says: numbers with units, from the longest unit to the shortest, each once.
pub(crate) fn millis(text: &str) -> Result<u64, String> {
    let wrong = || format!("\"{text}\" is no duration: say \"500ms\", \"30s\", \"5m\", \"1h30m\" or \"7d\"");
    let (mut rest, mut total, mut longest) = (text, 0_u64, 0);
    while !rest.is_empty() {
        let (number, after) = split(rest, |byte| byte.is_ascii_digit());
        let (unit, after) = split(after, |byte| byte.is_ascii_alphabetic());
        let at = UNITS.iter().position(|(name, _)| *name == unit).ok_or_else(wrong)?;
        if number.is_empty() || at < longest {
            return Err(wrong());
        }
        let amount = number.parse::<u64>().ok().and_then(|number| number.checked_mul(UNITS[at].1));
        total = amount
            .and_then(|amount| total.checked_add(amount))
            .ok_or_else(|| format!("\"{text}\" is too long to count"))?;
        (rest, longest) = (after, at + 1);
    }
    match total {
        0 if text.is_empty() => Err(wrong()),
        0 => Err("a duration of zero would keep nothing: leave it out".into()),
        _ => Ok(total),
    }
}

fn split(text: &str, belongs: impl Fn(u8) -> bool) -> (&str, &str) {
    text.split_at(text.bytes().position(|byte| !belongs(byte)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_sums_of_numbers_with_units() {
        let expected = [
            ("1ms", 1),
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
            ("1d2h3m4s5ms", 93_784_005),
        ];
        for (text, ms) in expected {
            assert_eq!(millis(text), Ok(ms), "{text}");
        }
    }

    #[test]
    fn what_could_be_meant_otherwise_is_refused() {
        for text in
            ["", "5", "m", "5 m", "5M", "m5", "5m1h", "5m5m", "-5m", "1.5h", "5min", "5mü", "0s", "0h0m"]
        {
            assert!(millis(text).is_err(), "{text}");
        }
        assert!(millis("99999999999999999999d").is_err_and(|error| error.contains("too long")));
        assert!(millis("213503982335d").is_err_and(|error| error.contains("too long")));
    }
}
