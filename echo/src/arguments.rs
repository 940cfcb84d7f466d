//! The command line.

use std::env;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::StyledStr;
use clap::error::{ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use log::LevelFilter;
use recorder::Format;

use crate::address::Address;
use crate::inherited;
use crate::output::escape;

/// The address at which the server listens if the command line names none.
const DEFAULT: &str = "127.0.0.1:7777";

/// The heading, in the help, of the flags that only an operator needs. They come last.
const OPERATING: &str = "Operating";

/// The end of the help: the output, the signals, and the other kinds of addresses.
const AFTER_HELP: &str = "\
Standard output has one line for each listener, such as `listening tcp 127.0.0.1:7777`, and otherwise \
only what --demo and --explain print. The log is written to standard error. RUST_LOG selects its \
records: RUST_LOG=reactor=trace,executor=trace logs each step of the runtime.

At SIGINT or SIGTERM, the server stops accepting, lets connections finish what they have sent, and \
exits with code 0. A second signal ends it immediately. At SIGUSR1, it prints to standard error what \
each task waits for.

ADDR may also be udp:127.0.0.1:7777, unix:/path/of/socket, or fd:3 for a socket that the process \
inherits; tcp:127.0.0.1:7777 is the same as 127.0.0.1:7777. If no ADDR is given and systemd passes \
sockets (LISTEN_FDS), the server serves those.";

/// The longest duration that a flag accepts.
const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The parsed command line.
#[derive(Clone, Debug)]
pub(crate) struct Arguments {
    pub(crate) addresses: Vec<Address>,
    pub(crate) max_connections: Option<usize>,
    pub(crate) idle: Option<Duration>,
    /// How long a connection is idle before the kernel probes whether its peer is still there.
    pub(crate) keepalive: Option<Duration>,
    pub(crate) grace: Duration,
    pub(crate) backlog: Option<u32>,
    pub(crate) log: LevelFilter,
    pub(crate) demo: bool,
    /// Whether the demo prints every step instead of folding steps together.
    pub(crate) all: bool,
    pub(crate) explain: Option<Explain>,
    pub(crate) trace: Option<(PathBuf, Format)>,
    pub(crate) trace_events: usize,
    pub(crate) warn_blocking: Option<Duration>,
    pub(crate) threads: usize,
    pub(crate) stats: Option<Duration>,
    /// How long to busy-poll for events before the thread sleeps.
    pub(crate) spin: Duration,
}

/// The connections whose steps a running server prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Explain {
    /// One connection after the other.
    One,
    /// Every connection.
    All,
}

impl Arguments {
    /// Parses the command line. The error may also be clap's request to print the help or the version.
    pub(crate) fn parse() -> Result<Arguments, clap::Error> {
        Arguments::of(command().try_get_matches().map_err(name_unreadable)?)
    }

    fn of(mut matches: ArgMatches) -> Result<Arguments, clap::Error> {
        let arguments = Arguments {
            addresses: addresses(&mut matches)?,
            max_connections: matches.remove_one("max-connections").map(|max: u64| max as usize),
            idle: matches.remove_one("idle"),
            keepalive: matches.remove_one("keepalive"),
            grace: matches.remove_one("grace").unwrap_or_default(),
            backlog: matches.remove_one("backlog").map(|backlog: u64| backlog as u32),
            log: level(&matches),
            demo: matches.get_flag("demo"),
            all: matches.get_flag("all"),
            explain: matches.remove_one("explain"),
            trace: matches.remove_one("trace"),
            trace_events: matches
                .remove_one("trace-events")
                .map_or(0, |events: u64| events as usize),
            warn_blocking: matches.remove_one("warn-blocking"),
            threads: matches.remove_one("threads").map_or(1, |threads: u64| threads as usize),
            stats: matches.remove_one("stats"),
            spin: matches.remove_one("spin").unwrap_or_default(),
        };
        arguments.checked()
    }

    /// Rejects recording with several threads: the recorder can relate the records of only one
    /// executor.
    fn checked(self) -> Result<Arguments, clap::Error> {
        let recording = [(self.explain.is_some(), "--explain"), (self.trace.is_some(), "--trace")];
        match recording.iter().find(|(is_given, _)| *is_given && self.threads > 1) {
            None => Ok(self),
            Some((_, flag)) => {
                let text =
                    format!("{flag} records a single thread and cannot be used with --threads");
                Err(command().error(ErrorKind::ArgumentConflict, text))
            }
        }
    }
}

/// Escapes control characters in the arguments that an error quotes. Otherwise a line break in an
/// argument would look like the end of the message, and the advice after it would be cut off.
pub(crate) fn escape_quotes(mut error: clap::Error) -> clap::Error {
    let quoted = error.context().filter_map(|(kind, value)| match value {
        ContextValue::String(text) => Some((kind, ContextValue::String(escape(text).into_owned()))),
        // The tips of clap repeat the argument.
        ContextValue::StyledStrs(tips) => {
            let escape = |tip: &StyledStr| escape(&tip.to_string()).into_owned().into();
            Some((kind, ContextValue::StyledStrs(tips.iter().map(escape).collect())))
        }
        // Other values, such as lists of flags, contain only names that are defined here.
        _ => None,
    });
    for (kind, value) in quoted.collect::<Vec<_>>() {
        error.insert(kind, value);
    }
    error
}

/// Adds to an error the argument that is not UTF-8, because clap does not name it.
fn name_unreadable(error: clap::Error) -> clap::Error {
    let unreadable = env::args_os().skip(1).find(|argument| argument.to_str().is_none());
    match unreadable.filter(|_| error.kind() == ErrorKind::InvalidUtf8) {
        Some(argument) => {
            let text = format!("{argument:?} is not UTF-8: choose another name");
            command().error(ErrorKind::InvalidUtf8, text)
        }
        None => error,
    }
}

/// Returns the addresses of the command line, the sockets that systemd passes, or the default.
fn addresses(matches: &mut ArgMatches) -> Result<Vec<Address>, clap::Error> {
    let is_default = matches.value_source("addr") == Some(ValueSource::DefaultValue);
    let passed = if is_default { inherited::passed() } else { Ok(Vec::new()) };
    let passed =
        passed.map_err(|text| command().error(ErrorKind::ValueValidation, escape(&text)))?;
    Ok(match passed.is_empty() {
        true => matches.remove_many("addr").into_iter().flatten().collect(),
        false => passed,
    })
}

fn level(matches: &ArgMatches) -> LevelFilter {
    match (matches.get_flag("quiet"), matches.get_count("verbose")) {
        (true, _) => LevelFilter::Error,
        (false, 0) => LevelFilter::Info,
        (false, 1) => LevelFilter::Debug,
        (false, _) => LevelFilter::Trace,
    }
}

fn command() -> Command {
    Command::new("echod")
        .version(env!("CARGO_PKG_VERSION"))
        .about("An echo server that sends back what it receives; its source explains how async I/O works")
        .after_help(AFTER_HELP)
        .args([
            Arg::new("addr")
                .value_name("ADDR")
                .help("Listen on this address and port; with port 0, the OS chooses the port")
                .num_args(0..)
                .default_value(DEFAULT)
                .value_parser(value_parser!(Address)),
            Arg::new("demo")
                .long("demo")
                .help("Serve one client for a third of a second, and print each step")
                .conflicts_with_all(["addr", "max-connections", "idle", "keepalive", "grace", "backlog", "explain", "threads", "stats", "spin"])
                .action(ArgAction::SetTrue),
            Arg::new("all")
                .long("all")
                .help("With --demo: print every step on a line of its own")
                .requires("demo")
                .action(ArgAction::SetTrue),
            Arg::new("explain")
                .long("explain")
                .value_name("WHICH")
                .help("Print each step of one connection after the other, or of `all` connections, as they happen")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("one")
                .value_parser(explain),
            Arg::new("trace")
                .long("trace")
                .value_name("FILE")
                .help("Record the run: FILE.html to step through it, .json for Perfetto, .jsonl for programs")
                .value_parser(trace),
            valued("trace-events", "N")
                .help("With --trace: keep the last N steps")
                .requires("trace")
                .default_value("10000")
                .value_parser(number(100..=10_000_000)),
            Arg::new("verbose")
                .short('v')
                .long("verbose")
                .help("Log each connection; if given twice, each step of the runtime")
                .action(ArgAction::Count),
            Arg::new("quiet")
                .short('q')
                .long("quiet")
                .help("Log only errors")
                .conflicts_with("verbose")
                .action(ArgAction::SetTrue),
            valued("max-connections", "N")
                .help_heading(OPERATING)
                .help("Serve at most N connections at the same time; others wait in the kernel's accept queue")
                .value_parser(number(1..=u32::MAX.into())),
            valued("idle", "DURATION")
                .help_heading(OPERATING)
                .help("Close connections that have been idle for this long (e.g. 500ms, 2s, 5m)")
                .value_parser(period),
            valued("keepalive", "DURATION")
                .help_heading(OPERATING)
                .help("Probe TCP peers that have been idle for this long, to detect vanished ones (e.g. 60s)")
                .value_parser(keepalive),
            valued("grace", "DURATION")
                .help_heading(OPERATING)
                .help("Let connections continue for at most this long after the first signal")
                .default_value("5s")
                .value_parser(duration),
            valued("backlog", "N")
                .help_heading(OPERATING)
                .help("Length of the kernel's accept queue; the OS may cap it [default: 1024]")
                .value_parser(number(1..=u32::MAX.into())),
            valued("warn-blocking", "DURATION")
                .help_heading(OPERATING)
                .help("Warn about a task that occupies the thread for longer than this (e.g. 10ms)")
                .value_parser(duration),
            valued("threads", "N")
                .help_heading(OPERATING)
                .help("Serve TCP on N threads (not with --explain or --trace); other sockets stay on the first")
                .value_parser(number(1..=1024)),
            valued("stats", "DURATION")
                .help_heading(OPERATING)
                .help("Print a line of counters to standard error at this interval (e.g. 10s)")
                .value_parser(period),
            valued("spin", "DURATION")
                .help_heading(OPERATING)
                .help("Busy-poll for events for this long before sleeping (e.g. 50us): lower latency, higher CPU use")
                .value_parser(duration),
        ])
}

/// Returns a flag that takes a number or a duration. Its value may begin with a hyphen, so that
/// `--grace -1s` is reported as a wrong value of `--grace` and not as an unknown flag `-1`.
fn valued(name: &'static str, value: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).allow_hyphen_values(true)
}

/// Returns a parser of whole numbers in this range.
fn number(range: RangeInclusive<u64>) -> impl Fn(&str) -> Result<u64, String> + Clone {
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        let hint = || format!("write a number from {} to {}", range.start(), range.end());
        number.ok_or_else(hint)
    }
}

fn explain(text: &str) -> Result<Explain, String> {
    match text {
        "one" => Ok(Explain::One),
        "all" => Ok(Explain::All),
        _ => Err("write --explain or --explain=all".to_owned()),
    }
}

fn trace(text: &str) -> Result<(PathBuf, Format), String> {
    let path = PathBuf::from(text);
    let format = Format::of(&path);
    let format = format.ok_or("the name must end in .html, .json or .jsonl (e.g. run.html)")?;
    Ok((path, format))
}

/// Parses a duration that must not be zero, because it is an interval or a timeout.
fn period(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("it cannot be zero".to_owned()),
        period => Ok(period),
    }
}

/// Parses a duration that the kernel accepts for keep-alive probes: whole seconds up to 2^15 - 1.
fn keepalive(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    let is_whole = duration.subsec_nanos() == 0 && (1..=32767).contains(&duration.as_secs());
    is_whole.then_some(duration).ok_or_else(|| "write whole seconds, from 1s to 9h".to_owned())
}

/// Parses a number and its unit: `50us`, `500ms`, `2s`, `5m`, `1h`. A longer duration than a century
/// becomes a century, so that adding it to the current time cannot overflow.
fn duration(text: &str) -> Result<Duration, String> {
    let hint = || "write a number and its unit (e.g. 500ms, 2s or 5m)".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(hint)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| hint())?;
    let seconds = |each: u64| Duration::from_secs(number.saturating_mul(each));
    let duration = match unit {
        "us" => Duration::from_micros(number),
        "ms" => Duration::from_millis(number),
        "s" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(60 * 60),
        _ => return Err(hint()),
    };
    Ok(duration.min(CENTURY))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::tests::cases;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    #[test]
    fn duration_is_a_number_and_a_unit() {
        assert_eq!(duration("50us"), Ok(Duration::from_micros(50)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for wrong in ["", "5", "s", "-1s", "1.5s", "5 s", "5S", "ms5", "99999999999999999999s"] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
        for long in ["18446744073709551615ms", "4000000000s", "18446744073709551615m"] {
            assert_eq!(duration(long), Ok(Duration::from_secs(3_153_600_000)), "{long}");
        }
    }

    #[test]
    fn keepalive_accepts_only_whole_seconds() {
        assert_eq!(keepalive("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(keepalive("9h"), Ok(Duration::from_secs(9 * 60 * 60)));
        for wrong in ["0s", "500ms", "1500ms", "32768s", "60"] {
            assert!(keepalive(wrong).is_err(), "{wrong}");
        }
    }

    /// Parses a command line as [`Arguments::parse`] does. Returns the message of an error.
    fn parse(words: &[String]) -> Result<Arguments, String> {
        let line = std::iter::once("echod").chain(words.iter().map(String::as_str));
        let parsed = command().try_get_matches_from(line).and_then(Arguments::of);
        parsed.map_err(|error| escape_quotes(error).to_string())
    }

    /// The parts of durations, addresses and flags, and other text.
    fn word() -> impl Strategy<Value = String> {
        let parts = [
            "0",
            "1",
            "7",
            "32767",
            "18446744073709551615",
            "99999999999999999999",
            "us",
            "ms",
            "s",
            "m",
            "h",
            "-",
            "+",
            ".",
            " ",
            "=",
            ":",
            "127.0.0.1",
            "[::1]",
            "udp",
            "unix",
            "fd",
            "--idle",
            "--grace",
            "--keepalive",
            "--stats",
            "--threads",
            "--trace",
            "--trace-events",
            "--explain",
            "--demo",
            "-v",
            "-q",
            "run.html",
            "all",
            "\n",
            "\u{1b}[2J",
            "µ",
            "\u{202e}",
        ];
        let part =
            prop_oneof![4 => select(parts.to_vec()).prop_map(str::to_owned), 1 => any::<String>()];
        vec(part, 0..4).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: cases(200), failure_persistence: None, ..ProptestConfig::default() })]

        // Method: the value in microseconds, computed in 128 bits.
        #[test]
        fn duration_of_any_number_and_unit_is_that_long(
            number: u64,
            shift in 0_u32..64,
            unit in 0_usize..5,
        ) {
            let number = number >> shift;
            let each = [1, 1_000, 1_000_000, 60_000_000, 3_600_000_000][unit];
            let micros = (u128::from(number) * each).min(CENTURY.as_micros());
            let text = format!("{number}{}", ["us", "ms", "s", "m", "h"][unit]);
            prop_assert_eq!(duration(&text).map(|duration| duration.as_micros()), Ok(micros));
            let is_whole = micros.is_multiple_of(1_000_000);
            let is_keepalive = is_whole && (1..=32767).contains(&(micros / 1_000_000));
            prop_assert_eq!(keepalive(&text).is_ok(), is_keepalive);
        }

        #[test]
        fn any_text_is_a_duration_within_a_century_or_an_error(text in word()) {
            if let Ok(duration) = duration(&text) {
                prop_assert!(duration <= CENTURY);
                prop_assert!(text.starts_with(|c: char| c.is_ascii_digit()));
            }
            if let Ok(period) = period(&text) {
                prop_assert!(!period.is_zero());
            }
        }

        // A control character in a message could fake a line of the log or control the terminal.
        #[test]
        fn any_command_line_is_parsed_or_explained(words in vec(word(), 0..6)) {
            match parse(&words) {
                Ok(arguments) => {
                    prop_assert!((1..=1024).contains(&arguments.threads));
                    prop_assert!((100..=10_000_000).contains(&arguments.trace_events));
                    prop_assert_ne!(arguments.idle, Some(Duration::ZERO));
                    prop_assert_ne!(arguments.stats, Some(Duration::ZERO));
                    let records = arguments.trace.is_some() || arguments.explain.is_some();
                    prop_assert!(arguments.threads == 1 || !records);
                }
                Err(message) => {
                    prop_assert!(!message.is_empty());
                    let fakes = |c: char| c.is_control() && c != '\n';
                    prop_assert!(!message.contains(fakes), "{:?}", message);
                }
            }
        }
    }

    #[test]
    fn tip_of_an_error_has_no_control_characters() {
        let message = parse(&["-\u{1b}[2J".to_owned()]).unwrap_err();
        assert!(message.contains("tip:") && !message.contains('\u{1b}'), "{message:?}");
    }

    #[test]
    fn command_definition_is_consistent() {
        command().debug_assert();
    }
}
