//! Formats numbers and times with their units.

use std::time::Duration;

/// `1 byte`, `1,024 bytes`.
pub(crate) fn count(bytes: u64) -> String {
    plural(bytes, "byte")
}

/// `1 poll`, `1,204 polls`.
pub(crate) fn plural(number: u64, word: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {word}{plural}", thousands(number))
}

/// In milliseconds, to the microsecond.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}

/// `1,204`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// With at most three digits and a unit, as a person would say it: `100 ms`, `1.5 s`, `60 us`.
pub(crate) fn time(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    let (number, unit) = match seconds {
        _ if seconds >= 0.9995 => (seconds, "s"),
        _ if seconds >= 0.0009995 => (seconds * 1e3, "ms"),
        _ => (seconds * 1e6, "us"),
    };
    let text = if number < 9.95 { format!("{number:.1}") } else { format!("{number:.0}") };
    format!("{} {unit}", text.strip_suffix(".0").unwrap_or(&text))
}

/// Joins the parts of an enumeration: `a, b and c`.
pub(crate) fn joined(parts: &[String]) -> String {
    match parts {
        [parts @ .., last] if !parts.is_empty() => format!("{} and {last}", parts.join(", ")),
        _ => parts.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_has_at_most_three_digits_and_a_unit() {
        let formatted = |nanos| time(Duration::from_nanos(nanos));
        let all = [0, 60_400, 1_500_000, 99_960_000, 100_400_000, 1_500_000_000, 90_000_000_000];
        let words = ["0 us", "60 us", "1.5 ms", "100 ms", "100 ms", "1.5 s", "90 s"];
        assert_eq!(all.map(formatted), words);
    }

    #[test]
    fn large_numbers_are_grouped() {
        assert_eq!([0, 999, 1_204, 1_000_000].map(thousands), ["0", "999", "1,204", "1,000,000"]);
    }
}
