//! Reads the keys and values of the runtime's log records. `executor/README.md` lists them.

use std::time::Duration;

use log::kv::{Error, Key, Value, VisitSource};
use log::{Metadata, Record};

use crate::event::Direction;

/// The log target for actions outside of the runtime, such as those of a client.
///
/// A record before an act names the address of the client with the key `peer`, so that the act becomes
/// the cause of the event by which the kernel reports it. A record after the client has received bytes
/// names it with the key `receiver` instead, and its cause is the write that sent them.
pub const OUTSIDE: &str = "outside";

/// The log target for notes of the program itself.
///
/// A note becomes a step of the task that is being polled. Its message is a sentence about the
/// statement that follows, and the page marks the line of the record in the program. In the sentence,
/// `**` marks bold text, and `` ` `` marks code.
pub const NOTE: &str = "note";

/// The values of one record. A key that the record lacks has its default.
#[derive(Default)]
pub(crate) struct Values {
    pub(crate) source: usize,
    pub(crate) job: usize,
    pub(crate) direction: Option<Direction>,
    pub(crate) operation: String,
    pub(crate) error: Option<String>,
    /// The number of bytes transferred, if the operation transfers bytes.
    pub(crate) bytes: Option<u64>,
    pub(crate) length: u64,
    /// Whether the transfer showed that the direction is no longer ready.
    pub(crate) short: bool,
    /// The address of the waker's data, which identifies the task that the waker belongs to.
    pub(crate) waker: usize,
    pub(crate) task: u64,
    /// Whether the executor has received the wakeup through its inbox.
    pub(crate) inbox: bool,
    pub(crate) name: String,
    pub(crate) location: String,
    pub(crate) kind: String,
    pub(crate) peer: String,
    /// The address of a client that has received what a task wrote.
    pub(crate) receiver: String,
    /// The timeout of a sleep, if it has one.
    pub(crate) timeout: Option<Duration>,
    pub(crate) after: Duration,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) read_closed: bool,
    pub(crate) write_closed: bool,
    pub(crate) in_error: bool,
}

/// Whether the recorder needs the records of this target.
pub(crate) fn concerns(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    ["reactor", "executor", OUTSIDE, NOTE].iter().any(|module| {
        target.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    })
}

impl Values {
    pub(crate) fn of(record: &Record<'_>) -> Values {
        let mut values = Values::default();
        // This fails only if `visit_pair` fails, and it never does.
        let _ = record.key_values().visit(&mut values);
        values
    }
}

impl<'kvs> VisitSource<'kvs> for Values {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let number = || value.to_u64().unwrap_or_default();
        let flag = || value.to_bool().unwrap_or_default();
        match key.as_str() {
            "source" => self.source = number() as usize,
            "job" => self.job = number() as usize,
            "direction" => self.direction = direction(&value),
            "operation" => self.operation = text(&value),
            // The record of an operation has the kind of an error here, and that of an event a flag.
            "error" => match value.to_bool() {
                Some(error) => self.in_error = error,
                None => self.error = Some(value.to_string()),
            },
            "bytes" => self.bytes = Some(number()),
            "length" => self.length = number(),
            "short" => self.short = flag(),
            "waker" => self.waker = address(&value.to_string()),
            "task" => self.task = number(),
            "inbox" => self.inbox = flag(),
            "name" => self.name = text(&value),
            "at" => self.location = value.to_string(),
            "kind" => self.kind = text(&value),
            "peer" => self.peer = value.to_string(),
            "receiver" => self.receiver = value.to_string(),
            "timeout" => self.timeout = inside_some(&value.to_string()).map(duration),
            "after" => self.after = duration(&value.to_string()),
            "readable" => self.readable = flag(),
            "writable" => self.writable = flag(),
            "read_closed" => self.read_closed = flag(),
            "write_closed" => self.write_closed = flag(),
            _ => {}
        }
        Ok(())
    }
}

fn text(value: &Value<'_>) -> String {
    value.to_borrowed_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn direction(value: &Value<'_>) -> Option<Direction> {
    match value.to_borrowed_str()? {
        "read" => Some(Direction::Read),
        "write" => Some(Direction::Write),
        _ => None,
    }
}

/// Parses `0x7f…` or `Some(0x7f…)`.
fn address(text: &str) -> usize {
    let text = inside_some(text).unwrap_or(text);
    let digits = text.strip_prefix("0x").unwrap_or(text);
    usize::from_str_radix(digits, 16).unwrap_or_default()
}

fn inside_some(text: &str) -> Option<&str> {
    text.strip_prefix("Some(")?.strip_suffix(')')
}

/// Parses the `Debug` form of a duration: `40ms`, `1.5s`, `200µs`, `0ns`.
fn duration(text: &str) -> Duration {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let each = match unit {
        "ns" => 1e-9,
        "µs" => 1e-6,
        "ms" => 1e-3,
        _ => 1.0,
    };
    let seconds = number.parse::<f64>().unwrap_or_default() * each;
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::tests::cases;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: cases(500), failure_persistence: None, ..ProptestConfig::default() })]

        // `f64` has 53 bits, so a duration of centuries is not exact.
        #[test]
        fn duration_in_its_debug_form_is_read_back(
            seconds: u64,
            nanos in 0_u32..1_000_000_000,
            shifts in (0_u32..64, 0_u32..30),
        ) {
            let expected = Duration::new(seconds >> shifts.0, nanos >> shifts.1);
            let read = duration(&format!("{expected:?}"));
            let error = read.abs_diff(expected).as_secs_f64();
            prop_assert!(error <= 1e-9 + expected.as_secs_f64() * 1e-15, "{:?}", read);
        }

        #[test]
        fn address_in_its_debug_form_is_read_back(value: usize) {
            let pointer = std::ptr::without_provenance::<()>(value);
            prop_assert_eq!(address(&format!("{pointer:?}")), value);
            prop_assert_eq!(address(&format!("{:?}", Some(pointer))), value);
        }

        #[test]
        fn value_of_any_text_is_read_without_a_panic(text in "[0-9]{0,30}([.][0-9]{0,9})?(|ns|µs|ms|s)|[0-9a-fxS(o)me.µsn+-]{0,12}|.*") {
            duration(&text);
            address(&text);
        }
    }

    #[test]
    fn duration_is_parsed_from_its_debug_form() {
        for nanos in [0, 1, 999, 1_500, 40_000_000, 99_999_999, 1_500_000_000, 86_400_000_000_000] {
            let written = Duration::from_nanos(nanos);
            let read = duration(&format!("{written:?}"));
            assert!(read.abs_diff(written) < Duration::from_nanos(2), "{written:?} {read:?}");
        }
        assert_eq!(duration(&format!("{:?}", Duration::MAX)), Duration::MAX);
    }

    #[test]
    fn address_is_parsed_with_and_without_some() {
        assert_eq!(address("0x1f"), 31);
        assert_eq!(address("Some(0x1f)"), 31);
        assert_eq!(address("None"), 0);
    }
}
