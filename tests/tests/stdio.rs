//! The standard streams, whatever they are, and whatever becomes of those who use them.
//!
//! The programs are those of `tests/examples/stdio.rs`, in processes of their own.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, PipeWriter, Read, Write, pipe};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::ioctl_fionread;
use tests::child::example;
use tests::{DEADLINE, pipe_of_64_kib, terminal};

/// As that of `tests`, but the time to build the programs is not the test's.
#[track_caller]
fn within_deadline(test: impl FnOnce() + Send + 'static) {
    example("tests", "stdio");
    tests::within_deadline(test);
}

/// One of the programs, with its three streams. It is killed with this.
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
        Program(child.expect("it was built"))
    }

    /// With pipes for input and output.
    fn piped(name: &str) -> Program {
        Program::start(name, Stdio::piped(), Stdio::piped(), Stdio::inherit())
    }

    /// Waits for its end, but not for ever. Its input stays open.
    #[track_caller]
    fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < DEADLINE, "it does not end");
            thread::park_timeout(Duration::from_millis(2));
        }
    }

    /// The end of its input, and then all of its output.
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

/// Reads from a terminal until it shows this.
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

/// Bytes of which none is like its neighbours.
fn random(length: usize) -> Vec<u8> {
    let mut random = 1_u64;
    let mut next = || {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (random >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// A file of this test's own.
fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn from_a_terminal_each_line_comes_when_it_is_typed_and_ctrl_d_is_the_end() {
    within_deadline(|| {
        let Some((mut person, programs)) = terminal() else { return };
        let mut program =
            Program::start("lines", clone(&programs), clone(&programs), Stdio::inherit());
        person.write_all(b"one\n").unwrap();
        read_until(&mut person, "[one]\r\n");
        person.write_all(b"two\n").unwrap();
        read_until(&mut person, "[two]\r\n");
        person.write_all(b"\x04").unwrap();
        read_until(&mut person, "end\r\n");
        assert!(program.wait().success());
        assert!(is_blocking(&programs));
    });
}

// Std's standard output keeps what ends no line; a write of ours has ended when it is seen.
#[test]
fn a_question_is_on_the_terminal_before_the_answer_is_typed() {
    within_deadline(|| {
        let Some((mut person, programs)) = terminal() else { return };
        let mut program =
            Program::start("prompt", clone(&programs), clone(&programs), Stdio::inherit());
        read_until(&mut person, "name? ");
        person.write_all(b"world\n").unwrap();
        read_until(&mut person, "hello, world\r\n");
        assert!(program.wait().success());
    });
}

#[test]
fn a_file_as_input_and_as_output_is_read_and_written_whole() {
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
fn dev_null_is_empty_and_takes_everything() {
    within_deadline(|| {
        let empty = Program::start("copy", Stdio::null(), Stdio::piped(), Stdio::piped());
        assert_eq!(empty.finish(), (String::new(), "0 bytes\n".to_owned()));
        let mut program = Program::start("copy", Stdio::piped(), Stdio::null(), Stdio::piped());
        program.0.stdin.take().unwrap().write_all(&random(100_000)).unwrap();
        assert_eq!(program.finish().1, "100000 bytes\n");
    });
}

// What std does when a process begins: it opens /dev/null in their place.
#[test]
fn a_stream_that_was_closed_is_empty_and_takes_everything() {
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

// EBADF, which std takes for a stream that nobody has.
#[test]
fn a_stream_that_is_open_for_the_other_direction_is_empty_and_takes_everything() {
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

// More than a pipe holds: whoever writes has to wait for whoever reads.
#[test]
fn a_mebibyte_arrives_whole_and_in_order_at_a_slow_reader() {
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
        assert!(received == sent, "{} of {} bytes, or others", received.len(), sent.len());
    });
}

// Pitfall: S9
#[test]
fn that_nobody_reads_any_more_and_that_a_disk_is_full_is_told() {
    within_deadline(|| {
        let told = |output: Stdio| {
            let mut program = Program::start("copy", Stdio::piped(), output, Stdio::piped());
            // It may have given up before it has read all.
            let _ = program.0.stdin.take().unwrap().write_all(&random(200_000));
            program.finish().1
        };
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        assert_eq!(told(writer.into()), "BrokenPipe\n");
        let full = File::options().write(true).open("/dev/full").unwrap();
        assert_eq!(told(full.into()), "StorageFull\n");
    });
}

#[test]
fn a_write_that_is_refused_half_way_tells_how_far_it_came_and_the_next_one_why() {
    within_deadline(|| {
        let Some((reader, writer)) = pipe_of_64_kib() else { return };
        let program = Program::start("refused", Stdio::null(), writer, Stdio::piped());
        // All that the pipe holds.
        while ioctl_fionread(&reader).unwrap() < 65_536 {
            thread::park_timeout(Duration::from_millis(2));
        }
        drop(reader);
        assert_eq!(program.finish().1, "4096\n61440\nBrokenPipe\n");
    });
}

// What it wrote last is not flushed.
// Pitfall: X13
#[test]
fn a_process_ends_with_main_while_a_read_from_a_terminal_is_pending() {
    within_deadline(|| {
        let Some((mut person, programs)) = terminal() else { return };
        let mut program =
            Program::start("pending", clone(&programs), clone(&programs), Stdio::inherit());
        assert!(program.wait().success());
        assert_eq!(read_until(&mut person, "words\r\n"), "the last words\r\n");
        // And the terminal is the next one's.
        assert!(is_blocking(&programs));
        let mut next = Program::start("lines", clone(&programs), clone(&programs), Stdio::null());
        person.write_all(b"hello\n\x04").unwrap();
        read_until(&mut person, "[hello]\r\nend\r\n");
        assert!(next.wait().success());
    });
}

// Pitfall: X13
#[test]
fn a_process_ends_with_main_while_a_read_from_a_pipe_is_pending() {
    within_deadline(|| {
        let mut program = Program::piped("pending");
        let stdin = program.0.stdin.take();
        assert!(program.wait().success());
        drop(stdin);
        assert_eq!(program.finish().0, "the last words\n");
    });
}

#[test]
fn a_read_that_is_dropped_loses_nothing_and_neither_does_a_handle() {
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
        assert!(received == sent, "{} of {} bytes, or others", received.len(), sent.len());
        assert!(program.wait().success());
    });
}

#[test]
fn of_two_tasks_that_read_each_byte_comes_to_one_and_the_end_to_both() {
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
        assert!(sorted == all, "{} of {} bytes, or others", sorted.len(), all.len());
    });
}

#[test]
fn lines_of_many_tasks_do_not_mix_and_each_tasks_own_keep_their_order() {
    within_deadline(|| {
        let (output, _) = Program::piped("many").finish();
        let mut next = [0; 100];
        for line in output.lines() {
            let (task, number) = line.split_once(' ').expect("a whole line");
            let next: &mut usize = &mut next[task.parse::<usize>().unwrap()];
            assert_eq!(number, next.to_string(), "of task {task}");
            *next += 1;
        }
        assert_eq!(next, [10; 100]);
    });
}

// What std has read ahead stays with std, and what it has not flushed is written first.
#[test]
fn std_and_we_may_take_turns_on_one_stream() {
    within_deadline(|| {
        let mut program = Program::piped("std");
        program.0.stdin.take().unwrap().write_all(b"one\n2\nthree\n").unwrap();
        assert_eq!(program.finish().0, "1 one\n2 2\n3 three\n4 end");
    });
}

// The reader begins late, so the last third of the writes finds the pipe full: each is dropped, and
// tried once more.
#[test]
fn a_write_that_was_dropped_and_is_tried_again_is_written_once() {
    within_deadline(|| {
        let Some((mut late, writer)) = pipe_of_64_kib() else { return };
        let program = Program::start("retry", Stdio::null(), writer, Stdio::piped());
        thread::park_timeout(Duration::from_millis(200));
        let mut output = String::new();
        late.read_to_string(&mut output).unwrap();
        program.finish();
        let expected: String = (0..1000).map(|number| format!("{number:>99}\n")).collect();
        assert!(output == expected + "end\n", "{} lines", output.lines().count());
    });
}

#[test]
fn a_thousand_writes_that_nobody_reads_do_not_use_up_the_pool() {
    within_deadline(|| {
        let (_unread, writer) = pipe().unwrap();
        let program = Program::start("stalled", Stdio::null(), writer, Stdio::piped());
        assert_eq!(program.finish().1, "the pool works\n");
    });
}

/// Starts the copy with descriptors that somebody else has made non-blocking, as some programs
/// leave a terminal.
fn copy_without_blocking(input: &impl AsFd, output: &impl AsFd) -> Program {
    for flags in [clone(input), clone(output)] {
        fcntl_setfl(&flags, fcntl_getfl(&flags).unwrap() | OFlags::NONBLOCK).unwrap();
    }
    Program::start("copy", clone(input), clone(output), Stdio::piped())
}

#[test]
fn streams_that_others_have_made_non_blocking_are_read_and_written_whole() {
    within_deadline(|| {
        let ((input, mut to), (mut from, output)) = (pipe().unwrap(), pipe().unwrap());
        let program = copy_without_blocking(&input, &output);
        drop((input, output));
        let sent = random(1 << 20);
        let bytes = sent.clone();
        let writer = thread::spawn(move || send_slowly(&mut to, &bytes));
        let mut received = Vec::new();
        from.read_to_end(&mut received).unwrap();
        writer.join().unwrap();
        assert!(received == sent, "{} of {} bytes, or others", received.len(), sent.len());
        assert_eq!(program.finish().1, "1048576 bytes\n");
    });
}

/// In four parts, so that the reader has to wait for each.
fn send_slowly(to: &mut PipeWriter, bytes: &[u8]) {
    for part in bytes.chunks(1 << 18) {
        thread::park_timeout(Duration::from_millis(10));
        to.write_all(part).unwrap();
    }
}

// Whoever shares the open file sees its flags at once, so they are looked at while the program is
// in the middle of its work, and not after it only.
// Pitfall: G4
#[test]
fn no_stream_is_ever_made_non_blocking() {
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

// A file and /dev/null cannot be watched: this is why readiness cannot be the path for all.
#[test]
fn the_kernel_refuses_to_watch_a_file_and_dev_null() {
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
