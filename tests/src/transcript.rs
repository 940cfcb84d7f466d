//! Comparisons of a program's output with an earlier output. Times, ports and addresses may differ.

/// Replaces times, units, ports, addresses and numbers after the word "about" with placeholders, and
/// columns with single spaces.
pub fn without_times_and_ports(text: &str) -> String {
    text.lines().map(masked).collect::<Vec<_>>().join("\n")
}

/// Does the same as [`without_times_and_ports`] for one line.
pub fn masked(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let bare = |at: usize| words.get(at).map_or("", |word| word.trim_matches(is_punctuation));
    let is_time = |at: usize| {
        let is_in_ladder = at == 1 && is_step(words[0]) && bare(at).contains('.');
        // A count of zero ticks is a result, not a measurement.
        let is_none = bare(at) == "0" && bare(at + 1) == "ticks";
        let is_count = at > 0 && bare(at - 1) == "about";
        is_number(bare(at)) && (is_unit(bare(at + 1)) || is_in_ladder || is_count) && !is_none
    };
    let masked = (0..words.len()).map(|at| {
        let mask = match bare(at) {
            _ if is_time(at) => "TIME",
            unit if at > 0 && is_time(at - 1) && is_unit(unit) => "UNIT",
            word if is_address(word) => "ADDRESS",
            word => word,
        };
        words[at].replace(bare(at), mask)
    });
    masked.collect::<Vec<_>>().join(" ")
}

fn is_punctuation(c: char) -> bool {
    "(),;:.".contains(c)
}

/// Whether the word is the number of a step, or a range: `27` or `34-35`.
fn is_step(word: &str) -> bool {
    word.split('-').all(|number| number.parse::<u64>().is_ok())
}

fn is_number(word: &str) -> bool {
    word.replace(',', "").parse::<f64>().is_ok()
}

fn is_unit(word: &str) -> bool {
    ["us", "ms", "s", "ticks", "%"].contains(&word)
}

/// Whether the word is a loopback address with a port, or an address in memory.
fn is_address(word: &str) -> bool {
    let is_port = |rest: &str| rest.parse::<u16>().is_ok();
    word.strip_prefix("127.0.0.1:").is_some_and(is_port)
        || word.strip_prefix("0x").is_some_and(|rest| u64::from_str_radix(rest, 16).is_ok())
}

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn masking_hides_only_times_ports_and_addresses() {
        for (one, other) in [
            ("a tick after 12 ms, and 0.1 us.", "a tick after 7 us, and 1 s."),
            ("   27  238.57  client  sends 1 byte", "   27    9.01  client  sends 1 byte"),
            ("34-35  238.87  task 2    Pending", "34-35  1.00   task 2  Pending"),
            ("asleep 99.7 % (of 339 ms)", "asleep 3 % (of 1,001 ms)"),
            ("accept -> 127.0.0.1:4711;", "accept -> 127.0.0.1:815;"),
            ("waker=0x5581a", "waker=0x5581a"),
            ("waker 0x5581a", "waker 0x77"),
            ("about 7 polls", "about 1,234 polls"),
        ] {
            assert_eq!(masked(one), masked(other));
        }
        for (one, other) in [
            ("a tick after 12 ms", "a tock after 12 ms"),
            ("reads 1 byte", "reads 2 bytes"),
            ("0 ticks in 300 ms", "29 ticks in 300 ms"),
            ("   27  238.57  client  sends 1 byte", "   28  238.57  client  sends 1 byte"),
            ("version 1.5", "version 1.6"),
            ("accept -> 127.0.0.1:4711;", "accept -> 127.0.0.2:4711;"),
        ] {
            assert_ne!(masked(one), masked(other));
        }
    }
}
