//! Standard output and standard error, which may be closed, full, or slow to be read.
//!
//! A write may block for any length of time: on a terminal that is not read, on a pipe that another
//! process fills, on a disk that hangs. `poll` does not help, because it reports a terminal as
//! writable when one byte fits, and what it reports about a shared pipe may be outdated before the
//! write. `O_NONBLOCK` does not help either, because it belongs to the open file, which other
//! processes share.
//!
//! So each stream has a thread that alone writes to it, and everything that a running server prints
//! goes through that thread's queue: log records, tables, panic and error messages. The threads that
//! serve connections only append to the queue. When it is full they drop lines, and a line in their
//! place reports how many. Only what `--help`, `--version` and `--demo` print waits for the reader,
//! because no other connection is served then.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::borrow::Cow;
use std::fs;
use std::io::{self, Write};
use std::iter;
use std::mem;
use std::panic::{self, PanicHookInfo};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use signal_hook::consts::SIGXFSZ;
use signal_hook::flag;

/// Standard output.
pub(crate) static STDOUT: Output =
    Output::new("stdout", |text| rustix::io::write(io::stdout(), text));

/// Standard error.
pub(crate) static STDERR: Output =
    Output::new("stderr", |text| rustix::io::write(io::stderr(), text));

/// The capacity of the queue in bytes. At `-vv` the server logs as much in a few milliseconds, and the
/// writer may have to wait that long for a processor.
const CAPACITY: usize = 1 << 20;

/// A write of at most this many bytes to a pipe is atomic, so that no other process writes within a
/// line.
const PIPE_BUF: usize = 4096;

/// The stack of a writer, which only makes system calls.
const STACK: usize = 128 << 10;

/// How long the process waits at its end for readers to take the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The pause between attempts to write if another process has made the open file non-blocking, and
/// between checks for a signal.
const RETRY: Duration = Duration::from_millis(10);

/// One stream of the process, and the lines that wait to be written to it.
pub(crate) struct Output {
    name: &'static str,
    write: fn(&[u8]) -> rustix::io::Result<usize>,
    queue: Mutex<Queue>,
    /// Notified when lines are queued, and when the writer has written those that it took.
    changed: Condvar,
}

struct Queue {
    /// Whole lines that the writer has not taken yet.
    lines: Vec<u8>,
    /// How many lines were dropped after those.
    dropped: usize,
    /// Whether the writer is writing lines that it has taken.
    writing: bool,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    /// The caller writes, because there is no writer yet or its thread could not be started.
    Direct,
    /// The writer writes.
    Queued,
    /// The process is ending: lines are discarded.
    Closed,
}

impl Output {
    const fn new(name: &'static str, write: fn(&[u8]) -> rustix::io::Result<usize>) -> Output {
        let queue = Queue { lines: Vec::new(), dropped: 0, writing: false, state: State::Direct };
        Output { name, write, queue: Mutex::new(queue), changed: Condvar::new() }
    }

    /// Queues whole lines, with no line of another thread between them. Once the writer runs, this
    /// method never waits for the reader.
    pub(crate) fn print(&self, text: &[u8]) {
        let mut queue = self.lock();
        match queue.state {
            State::Closed => {}
            State::Direct => {
                drop(queue);
                self.write_all(text);
            }
            State::Queued => {
                queue.add(text);
                drop(queue);
                self.changed.notify_all();
            }
        }
    }

    /// Starts the writer.
    fn start(&'static self) -> io::Result<()> {
        let thread = thread::Builder::new().name(self.name.to_owned()).stack_size(STACK);
        thread.spawn(|| self.write_queue())?;
        self.lock().state = State::Queued;
        Ok(())
    }

    /// Closes the queue, and waits until its lines are written or `deadline` has passed.
    fn finish(&self, deadline: Instant) {
        let mut queue = self.lock();
        queue.state = State::Closed;
        while queue.writing || !queue.lines.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.changed.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The loop of the writer's thread.
    fn write_queue(&self) -> ! {
        let mut missing = Missing::default();
        loop {
            let (lines, dropped) = self.take();
            for chunk in chunks(&lines) {
                self.write_after(&mut missing, chunk);
            }
            missing.lines += dropped;
            // Report a gap now: the next line may come much later.
            self.write_after(&mut missing, b"");
        }
    }

    /// Waits for lines, and returns them with the number of those that were dropped after them.
    fn take(&self) -> (Vec<u8>, usize) {
        let mut queue = self.lock();
        queue.writing = false;
        self.changed.notify_all();
        while queue.lines.is_empty() {
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.writing = true;
        (mem::take(&mut queue.lines), mem::take(&mut queue.dropped))
    }

    /// Writes a chunk of lines. If lines are missing before it, first writes how many.
    fn write_after(&self, missing: &mut Missing, chunk: &[u8]) {
        if missing.lines > 0 && self.write_all(missing.report().as_bytes()).is_empty() {
            *missing = Missing::default();
        }
        if missing.lines == 0 {
            let rest = self.write_all(chunk);
            *missing =
                Missing { lines: count(rest), torn: rest.len() < chunk.len() && !rest.is_empty() };
        } else {
            missing.lines += count(chunk);
        }
    }

    /// Writes the text, and returns the part that could not be written. The error is not reported,
    /// because there is no other stream to report it on.
    fn write_all<'a>(&self, mut text: &'a [u8]) -> &'a [u8] {
        while !text.is_empty() {
            match (self.write)(text) {
                Ok(0) => break,
                Ok(bytes) => text = &text[bytes..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => thread::sleep(RETRY),
                Err(_) => break,
            }
        }
        text
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics under the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Adds lines, or drops them if the queue is full. After a drop, all further lines are dropped
    /// until the writer has taken the queue, so that the dropped lines are missing in one place.
    fn add(&mut self, text: &[u8]) {
        let is_full = !self.lines.is_empty() && self.lines.len() + text.len() > CAPACITY;
        if is_full || self.dropped > 0 {
            self.dropped += count(text);
        } else {
            self.lines.extend_from_slice(text);
        }
    }
}

/// Lines that were dropped or could not be written, and are not yet reported.
#[derive(Default)]
struct Missing {
    lines: usize,
    /// Whether the first of them was written in part.
    torn: bool,
}

impl Missing {
    fn report(&self) -> String {
        let begin = if self.torn { "\n" } else { "" };
        let lines =
            if self.lines == 1 { "1 line was" } else { &format!("{} lines were", self.lines) };
        format!("{begin}({lines} dropped: this stream was full, or a write failed)\n")
    }
}

/// Splits text into chunks of whole lines, none of them longer than `PIPE_BUF`. A longer line
/// is a chunk by itself.
fn chunks(mut lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    iter::from_fn(move || {
        let window = &lines[..lines.len().min(PIPE_BUF)];
        let end = window.iter().rposition(|&byte| byte == b'\n');
        let end = end.or_else(|| lines.iter().position(|&byte| byte == b'\n'));
        let (chunk, rest) = lines.split_at(end.map_or(lines.len(), |end| end + 1));
        lines = rest;
        (!chunk.is_empty()).then_some(chunk)
    })
}

fn count(lines: &[u8]) -> usize {
    lines.iter().filter(|&&byte| byte == b'\n').count()
}

/// The threads that write to the streams. Dropping this calls [`finish`].
pub(crate) struct Writers(());

impl Writers {
    /// Starts the threads. From now on, everything that the process prints, including panics, goes
    /// through them.
    pub(crate) fn start() -> io::Result<Writers> {
        // With a handler, a write beyond the limit of a file's size returns EFBIG. Without one, the
        // signal ends the process. Ignoring the signal would take `unsafe` code.
        flag::register(SIGXFSZ, Arc::default())?;
        STDOUT.start()?;
        STDERR.start()?;
        panic::set_hook(Box::new(|panic| STDERR.print(describe(panic).as_bytes())));
        Ok(Writers(()))
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        finish();
    }
}

/// Writes the last lines before the process ends, waiting for a slow reader no longer than
/// [`LAST_LINES`].
pub(crate) fn finish() {
    let deadline = Instant::now() + LAST_LINES;
    STDOUT.finish(deadline);
    STDERR.finish(deadline);
}

/// Prints to standard output what the user asked for, and waits for the reader. Gives up when
/// `stopped` returns true.
pub(crate) fn print_to_reader(text: String, stopped: impl Fn() -> bool) -> io::Result<()> {
    let (sender, printed) = channel();
    let print = move || {
        let mut out = io::stdout().lock();
        // The receiver is gone if the caller has given up.
        let _ = sender.send(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
    };
    thread::Builder::new().name("print".to_owned()).spawn(print)?;
    loop {
        match printed.recv_timeout(RETRY) {
            Err(RecvTimeoutError::Timeout) if !stopped() => {}
            printed => return printed.unwrap_or(Ok(())),
        }
    }
}

/// Describes a panic as std's hook does. std's hook is not used, because it writes from the panicking
/// thread, and may block.
fn describe(panic: &PanicHookInfo<'_>) -> String {
    let thread = thread::current();
    let name = thread.name().unwrap_or("<unnamed>");
    let backtrace = Backtrace::capture();
    let rest = match backtrace.status() {
        BacktraceStatus::Captured => format!("stack backtrace:\n{backtrace}"),
        _ => "note: run with RUST_BACKTRACE=1 to see a backtrace\n".to_owned(),
    };
    format!("thread '{name}' {panic}\n{rest}")
}

/// Standard output for `--explain`.
pub(crate) struct Ladder;

impl Write for Ladder {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        STDOUT.print(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Standard error for the log. A record is one line, so control characters that it quotes are
/// escaped.
pub(crate) struct Log;

impl Write for Log {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(record);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        STDERR.print(format!("{}\n", escape(line)).as_bytes());
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Escapes control characters. A line break could fake a line, and others control a terminal.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let escaped = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(escaped).collect()
}

/// Prints one line to standard error that says what is wrong.
pub(crate) fn print_error(text: &str) {
    STDERR.print(format!("echod: {}\n", escape(text)).as_bytes());
}

/// Describes what the server cannot do, why, and what to do about it.
pub(crate) fn cannot(act: &str, error: &io::Error) -> String {
    let advice = match Errno::from_io_error(error) {
        _ if is_out_of_descriptors(error) => MORE_DESCRIPTORS,
        Some(Errno::AGAIN) if !has_space_for_a_stack() => {
            "allow more address space (ulimit -v) or choose fewer threads"
        }
        Some(Errno::AGAIN) => "allow more threads (ulimit -u) or choose fewer",
        _ if is_out_of_memory(error) => MORE_MEMORY,
        None => "see the lines above",
        _ => ALLOW_CALL,
    };
    format!("cannot {act}: {error}: {advice}")
}

/// Returns whether the stack of one more thread fits into the address space. If it does not,
/// `pthread_create` returns the same error as at the limit of threads.
fn has_space_for_a_stack() -> bool {
    const DEFAULT_STACK: u64 = 2 << 20;
    let limit = getrlimit(Resource::As).current;
    limit.zip(address_space()).is_none_or(|(limit, used)| used + DEFAULT_STACK <= limit)
}

/// Returns how many bytes of address space the process uses, if the OS reports it.
fn address_space() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:"))?;
    Some(size.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}

/// Returns whether the kernel had no memory for an object.
pub(crate) fn is_out_of_memory(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOMEM | Errno::NOBUFS))
}

/// The advice when memory is exhausted.
pub(crate) const MORE_MEMORY: &str = "free memory or allow more (ulimit -v)";

/// The advice when a sandbox or a security policy is the likely cause.
pub(crate) const ALLOW_CALL: &str = "strace shows which call is denied; allow it";

/// The advice when no descriptor is left.
pub(crate) const MORE_DESCRIPTORS: &str = "allow more descriptors (ulimit -n)";

/// Returns whether the process or the system has reached its limit of descriptors.
pub(crate) fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::tests::child::in_child;
    use ::tests::process::size;
    use ::tests::{DEADLINE, cases, eventually, terminal};
    use proptest::prelude::*;
    use rustix::process::{Rlimit, setrlimit};
    use std::env;
    use std::io::Read;
    use std::process::{self, Command, Stdio};
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    /// The environment variable that tells a test that it runs in a child process, where it must
    /// panic.
    const PANICS: &str = "ECHOD_PANICS";

    proptest! {
        #![proptest_config(ProptestConfig { cases: cases(500), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_is_printed_without_control_characters(text in r"[\x00-\x1f\\u{}a-f0-9]{0,20}|.*") {
            let escaped = escape(&text);
            prop_assert!(!escaped.contains(char::is_control));
            let unchanged = !text.contains(char::is_control);
            prop_assert_eq!(*escaped == *text, unchanged);
        }
    }

    #[test]
    fn error_without_a_system_call_does_not_advise_strace() {
        let panicked = cannot("start the threads", &io::Error::other("it panicked"));
        assert_eq!(panicked, "cannot start the threads: it panicked: see the lines above");
        assert!(cannot("start", &Errno::PERM.into()).contains("strace"));
    }

    #[test]
    fn exhausted_memory_is_reported_as_such() {
        for errno in [Errno::NOMEM, Errno::NOBUFS] {
            assert!(cannot("start", &errno.into()).ends_with(MORE_MEMORY));
        }
    }

    // The OS returns the same error at the limit of threads and at the limit of the address space.
    #[test]
    fn exhausted_address_space_is_reported_as_such() {
        let text = || cannot("start", &Errno::AGAIN.into());
        assert!(text().ends_with(": allow more threads (ulimit -u) or choose fewer"));
        let name = "output::tests::exhausted_address_space_is_reported_as_such";
        in_child(name, || {
            let limit = Some(size(process::id()) + (1 << 20));
            let limit = Rlimit { current: limit, maximum: getrlimit(Resource::As).maximum };
            setrlimit(Resource::As, limit).unwrap();
            let text = text();
            assert!(
                text.ends_with(": allow more address space (ulimit -v) or choose fewer threads")
            );
        });
    }

    #[test]
    fn full_queue_drops_all_lines_until_it_is_taken() {
        let output = Output::new("test", |_| panic!("the writer writes"));
        output.lock().state = State::Queued;
        // Four of these lines fit, and the space left after them would hold a short line.
        let line = [b"x".repeat(CAPACITY / 4 - 100), b"\n".to_vec()].concat();
        (0..5).for_each(|_| output.print(&line));
        output.print(b"short, and dropped\nall the same\n");
        let (lines, dropped) = output.take();
        assert_eq!((lines.len(), dropped), (4 * line.len(), 3));
        output.print(b"new\n");
        assert_eq!(output.take(), (b"new\n".to_vec(), 0));
    }

    #[test]
    fn lines_that_fill_the_queue_exactly_are_kept() {
        let output = Output::new("test", |_| panic!("the writer writes"));
        output.lock().state = State::Queued;
        let line = vec![b'x'; CAPACITY / 2];
        (0..2).for_each(|_| output.print(&line));
        assert_eq!(output.take().0.len(), CAPACITY);
    }

    #[test]
    fn write_may_use_32_kib_of_the_stack_of_the_writer() {
        static OUTPUT: Output = Output::new("test", |text| {
            std::hint::black_box(&mut [0_u8; 32 << 10]);
            Ok(text.len())
        });
        OUTPUT.start().unwrap();
        OUTPUT.print(b"a line\n");
        OUTPUT.finish(Instant::now() + DEADLINE);
        assert_eq!(OUTPUT.lock().lines, b"");
    }

    #[test]
    fn unwritten_lines_are_reported_before_the_next_line() {
        static SPACE: AtomicUsize = AtomicUsize::new(0);
        static WRITTEN: Mutex<Vec<u8>> = Mutex::new(Vec::new());
        let output = Output::new("test", |text| {
            let bytes = text.len().min(SPACE.load(Relaxed));
            SPACE.fetch_sub(bytes, Relaxed);
            WRITTEN.lock().unwrap().extend_from_slice(&text[..bytes]);
            if bytes > 0 { Ok(bytes) } else { Err(Errno::NOSPC) }
        });
        let written = |steps: &[(usize, &str)]| {
            let mut missing = Missing::default();
            for (space, lines) in steps {
                SPACE.store(*space, Relaxed);
                output.write_after(&mut missing, lines.as_bytes());
            }
            String::from_utf8(mem::take(&mut WRITTEN.lock().unwrap())).unwrap()
        };
        let why = "dropped: this stream was full, or a write failed";
        assert_eq!(
            written(&[(8, "first\nsecond\nthird\n"), (0, "fourth\n"), (1000, "fifth\n")]),
            format!("first\nse\n(3 lines were {why})\nfifth\n")
        );
        // No line break comes before the report if no part of a line was written.
        let whole = written(&[(6, "first\n"), (0, "second\n"), (1000, "third\n")]);
        assert_eq!(whole, format!("first\n(1 line was {why})\nthird\n"));
    }

    #[test]
    fn writer_reports_dropped_lines_where_they_are_missing() {
        static UNREAD: Mutex<()> = Mutex::new(());
        static WRITTEN: Mutex<Vec<u8>> = Mutex::new(Vec::new());
        static OUTPUT: Output = Output::new("test", |text| {
            let _reader = UNREAD.lock();
            WRITTEN.lock().unwrap().extend_from_slice(text);
            Ok(text.len())
        });
        let unread = UNREAD.lock().unwrap();
        OUTPUT.start().unwrap();
        OUTPUT.print(b"first\n");
        eventually("the writer takes the line", || OUTPUT.lock().lines.is_empty());
        let full = [b"x".repeat(CAPACITY), b"\n".to_vec()].concat();
        OUTPUT.print(&full);
        OUTPUT.print(b"second\nthird\n");
        drop(unread);
        let deadline = Instant::now() + DEADLINE;
        OUTPUT.finish(deadline);
        assert!(Instant::now() < deadline, "`finish` waited until its deadline");
        let written = mem::take(&mut *WRITTEN.lock().unwrap());
        let gap = written.strip_prefix([b"first\n", &full[..]].concat().as_slice());
        assert_eq!(
            String::from_utf8_lossy(gap.expect("the lines before the gap")),
            "(2 lines were dropped: this stream was full, or a write failed)\n"
        );
    }

    #[test]
    fn chunks_are_whole_lines_that_fit_into_a_pipe() {
        let lines: Vec<String> =
            (0..200).chain([9000, 3, PIPE_BUF, 5]).map(|n| "x".repeat(n) + "\n").collect();
        let text = lines.concat();
        let chunks: Vec<&[u8]> = chunks(text.as_bytes()).collect();
        assert_eq!(chunks.concat(), text.as_bytes());
        assert!(chunks.iter().all(|chunk| chunk.ends_with(b"\n")));
        assert!(chunks.iter().all(|chunk| chunk.len() <= PIPE_BUF || count(chunk) == 1));
        assert!(chunks.len() < 15, "{}", chunks.len());
    }

    // std's panic hook writes from the panicking thread, and blocks when the terminal is full.
    // Pitfall: O1
    #[test]
    fn panic_on_an_unread_terminal_does_not_block_its_thread() {
        const NAME: &str = "output::tests::panic_on_an_unread_terminal_does_not_block_its_thread";
        if env::var_os(PANICS).is_some() {
            let _writers = Writers::start().unwrap();
            (0..200).for_each(|_| drop(panic::catch_unwind(|| panic!("a message"))));
            return;
        }
        let Some((mut person, programs)) = terminal() else { return };
        let mut command = Command::new(env::current_exe().unwrap());
        command.args([NAME, "--exact", "--nocapture"]).env(PANICS, "1").env("RUST_BACKTRACE", "0");
        let mut child = command.stdout(Stdio::null()).stderr(programs).spawn().unwrap();
        let begin = Instant::now();
        while child.try_wait().unwrap().is_none() && begin.elapsed() < DEADLINE {
            thread::park_timeout(Duration::from_millis(5));
        }
        let _ = child.kill();
        assert!(child.wait().unwrap().success());
        let mut shown = vec![0; 1000];
        let bytes = person.read(&mut shown).unwrap();
        let shown = String::from_utf8_lossy(&shown[..bytes]).replace("\r\n", "\n");
        let expected = format!("\nthread '{NAME}' panicked at echo/src/output.rs:");
        assert!(format!("\n{shown}").contains(&expected), "{shown}");
        assert!(shown.contains(":\na message\nnote: run with RUST_BACKTRACE=1 to "), "{shown}");
    }

    #[test]
    fn panic_prints_a_backtrace_if_the_environment_requests_one() {
        const NAME: &str =
            "output::tests::panic_prints_a_backtrace_if_the_environment_requests_one";
        if env::var_os(PANICS).is_some() {
            let _writers = Writers::start().unwrap();
            return drop(panic::catch_unwind(|| panic!("a message")));
        }
        let mut command = Command::new(env::current_exe().unwrap());
        command.args([NAME, "--exact", "--nocapture"]).env(PANICS, "1").env("RUST_BACKTRACE", "1");
        let output = command.output().unwrap();
        let printed = String::from_utf8_lossy(&output.stderr);
        let (_, backtrace) = printed.split_once("\na message\nstack backtrace:\n").expect(&printed);
        assert!(backtrace.contains(NAME), "{backtrace}");
    }

    #[test]
    fn only_control_characters_are_escaped() {
        assert_eq!(escape("a\n\tb\u{1b}[31m\u{85}"), r"a\n\tb\u{1b}[31m\u{85}");
        assert_eq!(escape(r#"'é' "\" 日"#), r#"'é' "\" 日"#);
    }
}
