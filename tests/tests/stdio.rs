//! The standard streams as terminals, files, pipes and `/dev/null`, with dropped and concurrent
//! operations.
//!
//! The tests run the programs of `tests/examples/stdio.rs`, each in a process of its own.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::ioctl_fionread;
use tests::child::example;
use tests::{DEADLINE, pipe_of_64_kib, terminal};

/// Like [`tests::within_deadline`], but the deadline does not include building the programs.
#[track_caller]
fn within_deadline(test: impl FnOnce() + Send + 'static) {
    example("tests", "stdio");
    tests::within_deadline(test);
}

/// A running program. It is killed when this is dropped.
struct Program(Child);

impl Program {
    fn start(
        name: &str,
        stdin: impl Into<Stdio>,
        stdout: impl Into<Stdio>,
        stderr: impl Into<Stdio>,
    ) -> Program {
        let mut command = Command::new(example("tests", "stdio"));
        let child = command.arg(name).stdin(stdin).stdout(stdout).stderr(stderr).spawn();
        Program(child.expect("the program can be started"))
    }

    /// Starts the program with pipes as standard input and output.
    fn piped(name: &str) -> Program {
        Program::start(name, Stdio::piped(), Stdio::piped(), Stdio::inherit())
    }

    /// Waits until the program exits, at most until the deadline. Its standard input stays open.
    #[track_caller]
    fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < DEADLINE, "the program does not exit");
            thread::park_timeout(Duration::from_millis(2));
        }
    }

    /// Closes the standard input, and returns the text of the standard output and standard error.
    #[track_caller]
    fn finish(mut self) -> (String, String) {
        drop(self.0.stdin.take());
        let mut texts = [String::new(), String::new()];
        if let Some(mut stdout) = self.0.stdout.take() {
            stdout.read_to_string(&mut texts[0]).unwrap();
        }
        if let Some(mut stderr) = self.0.stderr.take() {
            stderr.read_to_string(&mut texts[1]).unwrap();
        }
        assert!(self.wait().success(), "{texts:?}");
        texts.into()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads from a terminal until its output contains `end`.
fn read_until(terminal: &mut File, end: &str) -> String {
    let mut shown = String::new();
    while !shown.contains(end) {
        let mut bytes = [0; 1000];
        let count = terminal.read(&mut bytes).unwrap();
        shown.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
    }
    shown
}

fn clone(file: &impl AsFd) -> OwnedFd {
    file.as_fd().try_clone_to_owned().unwrap()
}

fn is_blocking(file: &impl AsFd) -> bool {
    !fcntl_getfl(file).unwrap().contains(OFlags::NONBLOCK)
}

/// Returns pseudo-random bytes.
fn random(length: usize) -> Vec<u8> {
    let mut random = 1_u64;
    let mut next = || {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (random >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Creates a file of this name in the folder for temporary files of tests.
fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn terminal_lines_arrive_as_typed_until_ctrl_d() {
    within_deadline(|| {
        let Some((mut user, programs)) = terminal() else { return };
        let mut program =
            Program::start("lines", clone(&programs), clone(&programs), Stdio::inherit());
        user.write_all(b"one\n").unwrap();
        read_until(&mut user, "[one]\r\n");
        user.write_all(b"two\n").unwrap();
        read_until(&mut user, "[two]\r\n");
        user.write_all(b"\x04").unwrap();
        read_until(&mut user, "end\r\n");
        assert!(program.wait().success());
        assert!(is_blocking(&programs));
    });
}

// Std's standard output buffers an incomplete line. Our write completes once the bytes are written.
#[test]
fn prompt_without_a_newline_is_visible() {
    within_deadline(|| {
        let Some((mut user, programs)) = terminal() else { return };
        let mut program =
            Program::start("prompt", clone(&programs), clone(&programs), Stdio::inherit());
        read_until(&mut user, "name? ");
        user.write_all(b"world\n").unwrap();
        read_until(&mut user, "hello, world\r\n");
        assert!(program.wait().success());
    });
}

#[test]
fn file_is_copied_through_the_standard_streams() {
    within_deadline(|| {
        let bytes = random(300_000);
        let (from, to) = (file("stdio-from", &bytes), file("stdio-to", b""));
        let output = File::create(&to).unwrap();
        let program =
            Program::start("copy", File::open(from).unwrap(), clone(&output), Stdio::piped());
        assert_eq!(program.finish().1, "300000 bytes\n");
        assert!(fs::read(to).unwrap() == bytes);
        assert!(is_blocking(&output));
    });
}

#[test]
fn dev_null_is_empty_and_discards_output() {
    within_deadline(|| {
        let empty = Program::start("copy", Stdio::null(), Stdio::piped(), Stdio::piped());
        assert_eq!(empty.finish(), (String::new(), "0 bytes\n".to_owned()));
        let mut program = Program::start("copy", Stdio::piped(), Stdio::null(), Stdio::piped());
        program.0.stdin.take().unwrap().write_all(&random(100_000)).unwrap();
        assert_eq!(program.finish().1, "100000 bytes\n");
    });
}

// At the start of a process, std opens /dev/null in place of a closed standard stream.
#[test]
fn closed_stream_is_empty_and_discards_output() {
    within_deadline(|| {
        let run = |script: &str| {
            let mut shell = Command::new("sh");
            let shell = shell.args(["-c", script]).arg(example("tests", "stdio"));
            String::from_utf8(shell.stderr(Stdio::piped()).output().unwrap().stderr).unwrap()
        };
        assert_eq!(run(r#""$0" copy <&-"#), "0 bytes\n");
        assert_eq!(run(r#"printf hello | "$0" copy >&-"#), "5 bytes\n");
        assert_eq!(run(r#"printf hello | "$0" copy 2>&-"#), "");
    });
}

// The system calls return EBADF, which std treats as a missing stream.
#[test]
fn stream_of_the_wrong_direction_acts_like_dev_null() {
    within_deadline(|| {
        let unwritable = || File::open("/dev/null").unwrap();
        let unreadable = File::options().write(true).open("/dev/null").unwrap();
        let empty = Program::start("copy", unreadable, Stdio::piped(), Stdio::piped());
        assert_eq!(empty.finish(), (String::new(), "0 bytes\n".to_owned()));
        let mut program = Program::start("copy", Stdio::piped(), unwritable(), Stdio::piped());
        program.0.stdin.take().unwrap().write_all(&random(100_000)).unwrap();
        assert_eq!(program.finish().1, "100000 bytes\n");
        Program::start("copy", Stdio::null(), Stdio::null(), unwritable()).finish();
    });
}

// Sends more than a pipe holds, so each writer has to wait for its reader.
#[test]
fn slow_reader_receives_all_bytes_in_order() {
    within_deadline(|| {
        let sent = random(1 << 20);
        let mut program = Program::piped("copy");
        let (mut stdin, mut stdout) =
            (program.0.stdin.take().unwrap(), program.0.stdout.take().unwrap());
        let bytes = sent.clone();
        let writer = thread::spawn(move || stdin.write_all(&bytes).unwrap());
        let (mut received, mut buffer) = (Vec::new(), vec![0; 10_000]);
        loop {
            match stdout.read(&mut buffer).unwrap() {
                0 => break,
                count => received.extend_from_slice(&buffer[..count]),
            }
            thread::park_timeout(Duration::from_millis(1));
        }
        writer.join().unwrap();
        assert!(received == sent, "{} of {} bytes, or other bytes", received.len(), sent.len());
    });
}

// Pitfall: S9
#[test]
fn write_errors_of_stdout_are_reported() {
    within_deadline(|| {
        let error_of = |output: Stdio| {
            let mut program = Program::start("copy", Stdio::piped(), output, Stdio::piped());
            // The program may have exited before it has read all bytes.
            let _ = program.0.stdin.take().unwrap().write_all(&random(200_000));
            program.finish().1
        };
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        assert_eq!(error_of(writer.into()), "BrokenPipe\n");
        let full = File::options().write(true).open("/dev/full").unwrap();
        assert_eq!(error_of(full.into()), "StorageFull\n");
    });
}

/// Checks that a program waits for the write that it has dropped. The program writes to the pipe
/// whose read end is `full`.
#[track_caller]
fn waits_for_a_dropped_write(
    mut full: PipeReader,
    mut program: Program,
    report: impl FnOnce(&mut Child) -> Box<dyn Read>,
) {
    let mut line = String::new();
    BufReader::new(report(&mut program.0)).read_line(&mut line).unwrap();
    assert_eq!(line, "waits\n");
    let mut bytes = Vec::new();
    full.read_to_end(&mut bytes).unwrap();
    assert!(program.wait().success());
    assert_eq!((bytes.len(), bytes.last()), (64 * 1024 + 1, Some(&b'x')));
}

#[test]
fn close_of_stdout_waits_for_a_dropped_write() {
    within_deadline(|| {
        let Some((reader, writer)) = pipe_of_64_kib() else { return };
        let program = Program::start("close", Stdio::null(), writer, Stdio::piped());
        waits_for_a_dropped_write(reader, program, |child| Box::new(child.stderr.take().unwrap()));
    });
}

#[test]
fn flush_of_stderr_waits_for_a_dropped_write() {
    within_deadline(|| {
        let Some((reader, writer)) = pipe_of_64_kib() else { return };
        let program = Program::start("flush", Stdio::null(), Stdio::piped(), writer);
        waits_for_a_dropped_write(reader, program, |child| Box::new(child.stdout.take().unwrap()));
    });
}

#[test]
fn ended_operations_on_standard_streams_keep_no_waker() {
    within_deadline(|| {
        let mut program = Program::piped("wakers");
        let stdin = program.0.stdin.take();
        assert_eq!(program.finish().0, "done\n");
        drop(stdin);
    });
}

#[test]
fn interrupted_read_of_stdin_is_repeated() {
    within_deadline(|| {
        let (input, log) = (file("stdio-interrupted", b"hello"), file("stdio-strace", b""));
        // Resolve the path first. If strace has to resolve it, strace prints a message to the
        // standard error that the test reads.
        let input = input.canonicalize().unwrap();
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-e", "inject=read:error=EINTR:when=1", "-P"]).arg(&input);
        strace.arg("-o").arg(&log).arg(example("tests", "stdio")).arg("copy");
        let output = strace.stdin(File::open(&input).unwrap()).output();
        let Ok(output) = output else { return println!("skipped: strace is not installed") };
        if !fs::read_to_string(log).unwrap().contains("INJECTED") {
            return println!("skipped: strace cannot inject errors here: {output:?}");
        }
        assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"hello"[..], &b"5 bytes\n"[..]));
    });
}

#[test]
fn partial_write_reports_its_length_before_the_error() {
    within_deadline(|| {
        let Some((reader, writer)) = pipe_of_64_kib() else { return };
        let program = Program::start("refused", Stdio::null(), writer, Stdio::piped());
        tests::eventually("the pipe is full", || ioctl_fionread(&reader).unwrap() == 65_536);
        drop(reader);
        assert_eq!(program.finish().1, "4096\n61440\nBrokenPipe\n");
    });
}

// The program does not flush its last write.
// Pitfall: X13
#[test]
fn process_exits_while_a_terminal_read_is_pending() {
    within_deadline(|| {
        let Some((mut user, programs)) = terminal() else { return };
        let mut program =
            Program::start("pending", clone(&programs), clone(&programs), Stdio::inherit());
        assert!(program.wait().success());
        assert_eq!(read_until(&mut user, "words\r\n"), "the last words\r\n");
        // The next program can use the terminal.
        assert!(is_blocking(&programs));
        let mut next = Program::start("lines", clone(&programs), clone(&programs), Stdio::null());
        user.write_all(b"hello\n\x04").unwrap();
        read_until(&mut user, "[hello]\r\nend\r\n");
        assert!(next.wait().success());
    });
}

// Pitfall: X13
#[test]
fn process_exits_while_a_pipe_read_is_pending() {
    within_deadline(|| {
        let mut program = Program::piped("pending");
        let stdin = program.0.stdin.take();
        assert!(program.wait().success());
        drop(stdin);
        assert_eq!(program.finish().0, "the last words\n");
    });
}

#[test]
fn dropped_stdin_reads_and_handles_lose_no_bytes() {
    within_deadline(|| {
        let mut program = Program::piped("drop");
        let mut stdin = program.0.stdin.take().unwrap();
        let mut stdout = BufReader::new(program.0.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "dropped\n");
        let sent = random(5_000);
        for part in sent.chunks(100) {
            stdin.write_all(part).unwrap();
            thread::park_timeout(Duration::from_millis(1));
        }
        drop(stdin);
        let mut received = Vec::new();
        stdout.read_to_end(&mut received).unwrap();
        assert!(received == sent, "{} of {} bytes, or other bytes", received.len(), sent.len());
        assert!(program.wait().success());
    });
}

#[test]
fn two_stdin_readers_share_the_bytes_and_both_reach_eof() {
    within_deadline(|| {
        let mut program = Program::piped("two");
        let mut stdin = program.0.stdin.take().unwrap();
        for number in 0..200 {
            stdin.write_all(format!("{number:03} ").as_bytes()).unwrap();
            thread::park_timeout(Duration::from_micros(100));
        }
        drop(stdin);
        let (output, _) = program.finish();
        let mut sorted = output.into_bytes();
        let mut all: Vec<u8> = (0..200).flat_map(|n| format!("{n:03} ").into_bytes()).collect();
        sorted.sort_unstable();
        all.sort_unstable();
        assert!(sorted == all, "{} of {} bytes, or other bytes", sorted.len(), all.len());
    });
}

#[test]
fn lines_of_many_tasks_stay_whole_and_in_order() {
    within_deadline(|| {
        let (output, _) = Program::piped("many").finish();
        let mut next = [0; 100];
        for line in output.lines() {
            let (task, number) = line.split_once(' ').expect("a whole line");
            let next: &mut usize = &mut next[task.parse::<usize>().unwrap()];
            assert_eq!(number, next.to_string(), "order of the lines of task {task}");
            *next += 1;
        }
        assert_eq!(next, [10; 100]);
    });
}

// Bytes that std has read ahead stay in its buffer. Bytes that it has not flushed are written
// first.
#[test]
fn std_and_our_handles_alternate_on_one_stream() {
    within_deadline(|| {
        let mut program = Program::piped("std");
        program.0.stdin.take().unwrap().write_all(b"one\n2\nthree\n").unwrap();
        assert_eq!(program.finish().0, "1 one\n2 2\n3 three\n4 end");
    });
}

// The reader starts when the pipe is full. So the last third of the writes are dropped while they
// wait, and are repeated.
#[test]
fn dropped_and_repeated_write_is_written_once() {
    within_deadline(|| {
        let Some((mut late, writer)) = pipe_of_64_kib() else { return };
        let program = Program::start("retry", Stdio::null(), writer, Stdio::piped());
        // Up to the last line that fits.
        tests::eventually("the pipe is full", || ioctl_fionread(&late).unwrap() > 60_000);
        let mut output = String::new();
        late.read_to_string(&mut output).unwrap();
        program.finish();
        let expected: String = (0..1000).map(|number| format!("{number:>99}\n")).collect();
        assert!(output == expected + "end\n", "{} lines", output.lines().count());
    });
}

#[test]
fn stalled_writes_do_not_exhaust_the_pool() {
    within_deadline(|| {
        let (_unread, writer) = pipe().unwrap();
        let program = Program::start("stalled", Stdio::null(), writer, Stdio::piped());
        assert_eq!(program.finish().1, "the pool works\n");
    });
}

/// Starts the copy program with non-blocking descriptors, in which state some programs leave a
/// terminal.
fn copy_nonblocking(input: &impl AsFd, output: &impl AsFd) -> Program {
    for flags in [clone(input), clone(output)] {
        fcntl_setfl(&flags, fcntl_getfl(&flags).unwrap() | OFlags::NONBLOCK).unwrap();
    }
    Program::start("copy", clone(input), clone(output), Stdio::piped())
}

#[test]
fn nonblocking_descriptors_are_copied_whole() {
    within_deadline(|| {
        let ((input, mut to), (mut from, output)) = (pipe().unwrap(), pipe().unwrap());
        let program = copy_nonblocking(&input, &output);
        drop((input, output));
        let sent = random(1 << 20);
        let bytes = sent.clone();
        let writer = thread::spawn(move || send_slowly(&mut to, &bytes));
        let mut received = Vec::new();
        from.read_to_end(&mut received).unwrap();
        writer.join().unwrap();
        assert!(received == sent, "{} of {} bytes, or other bytes", received.len(), sent.len());
        assert_eq!(program.finish().1, "1048576 bytes\n");
    });
}

/// Sends four parts with pauses between them, so that the reader has to wait.
fn send_slowly(to: &mut PipeWriter, bytes: &[u8]) {
    for part in bytes.chunks(1 << 18) {
        thread::park_timeout(Duration::from_millis(10));
        to.write_all(part).unwrap();
    }
}

// All processes that share an open file see its flags. So the test checks the flags while the
// program works, and not only afterwards.
// Pitfall: G4
#[test]
fn standard_streams_stay_blocking() {
    within_deadline(|| {
        let ((input, mut to), (mut from, output)) = (pipe().unwrap(), pipe().unwrap());
        let mut program = Program::start("lines", clone(&input), clone(&output), clone(&output));
        for number in 0..100 {
            to.write_all(format!("{number}\n").as_bytes()).unwrap();
            let expected = format!("[{number}]\n");
            let mut line = vec![0; expected.len()];
            from.read_exact(&mut line).unwrap();
            assert_eq!(line, expected.as_bytes());
            assert!(is_blocking(&input) && is_blocking(&output));
        }
        drop(to);
        assert!(program.wait().success());
        assert!(is_blocking(&input) && is_blocking(&output));
    });
}

// epoll supports neither files nor /dev/null. Therefore the standard streams use the thread pool.
#[test]
fn file_and_dev_null_cannot_be_registered() {
    use mio::unix::SourceFd;
    use std::os::fd::AsRawFd;

    tests::run(|| async {
        let path = file("stdio-watched", b"");
        for path in [path, "/dev/null".into()] {
            let file = File::open(path).unwrap();
            let fd = file.as_raw_fd();
            let error = reactor::Async::new(SourceFd(&fd)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        }
    });
}
