//! The ladder: the output of `--demo`, and of `--explain` for the connections of a running server.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;
use tests::transcript::without_times_and_ports;
use tests::{page_data, pipe_of_64_kib, terminal, within_deadline};

use crate::bytes::{assert_echoes, read_to_end};
use crate::output::find;
use crate::process::{catches, is_installed, threads};
use crate::server::{ECHOD, Server, eventually};
use crate::traces::{Folder, steps};

/// The ladder of a recorded run, which the README shows.
const GOLDEN: &str = include_str!("../../echo/recorder/ladder.txt");

/// Runs the demo with these arguments, and returns its output.
#[track_caller]
fn demo(arguments: &[&str]) -> String {
    let ended = Server::run(&[&["--demo"], arguments].concat());
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    ended.stdout
}

/// One line of a ladder.
#[derive(Debug)]
struct Rung {
    steps: (u64, u64),
    who: String,
    what: String,
    why: Vec<u64>,
}

/// Returns the numbered lines of a ladder.
fn rungs(ladder: &str) -> Vec<Rung> {
    ladder.lines().filter_map(rung).collect()
}

fn rung(line: &str) -> Option<Rung> {
    let number = line.get(..5)?.trim();
    let (first, last) = number.split_once('-').unwrap_or((number, number));
    let steps = (first.parse().ok()?, last.parse().ok()?);
    let (who, rest) = line.get(15..)?.split_at(9.min(line.len() - 15));
    let is_cause = |word: &&str| word.strip_prefix('#').is_some_and(|n| n.parse::<u64>().is_ok());
    let causes: Vec<&str> = rest.split_whitespace().rev().take_while(is_cause).collect();
    let why = causes.iter().rev().map(|cause| cause[1..].parse().unwrap()).collect();
    let what = rest.trim().trim_end_matches(|c: char| "# 0123456789".contains(c));
    let what = if causes.is_empty() { rest.trim() } else { what };
    Some(Rung { steps, who: who.trim().to_owned(), what: what.to_owned(), why })
}

/// Checks that every line has at most 80 columns, in printable ASCII.
#[track_caller]
fn assert_is_plain(text: &str) {
    for line in text.lines() {
        assert!(line.len() <= 80, "{} columns: {line}", line.len());
        assert!(line.chars().all(|c| c == ' ' || c.is_ascii_graphic()), "{line:?}");
    }
}

/// Checks that the numbers are consecutive, that each cause comes before its effect, and that each
/// wake has two causes: the event and the step that stored the waker.
#[track_caller]
fn assert_is_a_chain(rungs: &[Rung]) {
    let mut next = 1;
    for rung in rungs {
        assert_eq!(rung.steps.0, next, "{rung:?}");
        assert!(rung.steps.1 >= rung.steps.0, "{rung:?}");
        assert!(rung.why.iter().all(|cause| *cause < rung.steps.0), "{rung:?}");
        let wake = rung.who == "reactor" && rung.what.starts_with("wake ");
        assert!(!wake || rung.why.len() == 2, "{rung:?}");
        next = rung.steps.1 + 1;
    }
    assert!(rungs.iter().any(|rung| rung.what.starts_with("wake ")), "{rungs:#?}");
}

#[test]
fn demo_prints_the_ladder_in_the_readme() {
    let ladder = demo(&[]);
    assert_is_plain(&ladder);
    assert_is_plain(GOLDEN);
    assert_is_a_chain(&rungs(&ladder));
    assert_is_a_chain(&rungs(GOLDEN));
    assert_eq!(without_times_and_ports(&ladder), without_times_and_ports(GOLDEN), "{ladder}");
}

#[test]
fn demo_with_all_prints_every_step_of_the_page() {
    let folder = Folder::new();
    let page = folder.file("run.html");
    let ladder = demo(&["--all", "--trace", &page]);
    assert_is_plain(&ladder);
    let rungs = rungs(&ladder);
    assert_is_a_chain(&rungs);
    let page = page_data(&fs::read_to_string(page).unwrap());
    let steps = steps(&page);
    assert!(steps.len() > 40, "{}", steps.len());
    assert_eq!(rungs.len(), steps.len());
    for (rung, step) in rungs.iter().zip(steps) {
        let number = step["n"].as_u64().unwrap();
        assert_eq!(rung.steps, (number, number));
        let causes = step["causes"].as_array().unwrap().iter().filter_map(|n| n.as_u64());
        let causes: Vec<u64> = causes.filter(|cause| *cause > 0).collect();
        // A line without space for all causes shows the nearest ones.
        assert!(causes.starts_with(&rung.why), "{rung:?} {causes:?}");
        assert_eq!(rung.why.is_empty(), causes.is_empty(), "{rung:?} {causes:?}");
    }
}

#[test]
fn ladder_of_the_demo_covers_the_steps_of_all() {
    let last = |ladder: &str| rungs(ladder).last().unwrap().steps.1;
    assert_eq!(last(GOLDEN), last(&demo(&["--all"])));
}

/// Runs the demo on a terminal and returns its output, or `None` if the system has no terminals.
#[track_caller]
fn on_a_terminal(variable: (&str, &str)) -> Option<String> {
    let mut command = Command::new("script");
    command.args(["-qec", &format!("{ECHOD} --demo"), "/dev/null"]);
    command.env("TERM", "xterm").env_remove("NO_COLOR").env(variable.0, variable.1);
    let ended = Server::spawn(command).wait();
    if ended.stderr.contains("pseudo-terminal") {
        println!("skipped: the system has no terminal: {}", ended.stderr);
        return None;
    }
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    Some(ended.stdout.replace('\r', ""))
}

/// Removes the escape sequences for colors from a text.
fn without_colors(text: &str) -> String {
    let mut pieces = text.split("\x1b[");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| text + piece.split_once('m').expect("`ESC [ … m`").1)
}

#[test]
fn terminal_output_is_colored_unless_disabled() {
    if !is_installed("script") {
        return;
    }
    let Some(colored) = on_a_terminal(("NO_COLOR", "")) else { return };
    assert!(colored.matches("\x1b[36m").count() > 5, "task 1 has a color: {colored:?}");
    assert!(colored.matches("\x1b[33m").count() > 5, "task 2 has another color: {colored:?}");
    let text = without_colors(&colored);
    assert_is_plain(&text);
    assert_eq!(without_times_and_ports(&text), without_times_and_ports(GOLDEN));
    for variable in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let plain = on_a_terminal(variable).expect("the system has terminals");
        assert!(!plain.contains('\x1b'), "{variable:?}: {plain:?}");
        assert_eq!(without_times_and_ports(&plain), without_times_and_ports(GOLDEN));
    }
}

#[test]
fn ladder_fits_a_terminal_of_60_columns() {
    if !is_installed("script") {
        return;
    }
    let Some(colored) = on_a_terminal(("COLUMNS", "60")) else { return };
    let text = without_colors(&colored);
    assert!(text.lines().all(|line| line.len() <= 60), "{text}");
    let (narrow, wide) = (rungs(&text), rungs(GOLDEN));
    let numbers = |rungs: &[Rung]| -> Vec<_> {
        rungs.iter().map(|rung| (rung.steps, rung.why.clone())).collect()
    };
    assert_eq!(numbers(&narrow), numbers(&wide), "{text}");
}

#[test]
fn demo_prints_the_path_of_the_page_that_it_writes() {
    let folder = Folder::new();
    let page = folder.file("own.html");
    let printed = demo(&["--trace", &page]);
    assert!(printed.contains(&format!("\nStep through it:  open {page}\n")), "{printed}");
    assert!(!printed.contains("run.html"), "{printed}");
}

/// The name of a system call and its result.
type Call = (&'static str, String);

/// Returns the system calls in a ladder. A wait is taken from the line where it begins, and each
/// wait returns one event.
fn ladder_calls(ladder: &str) -> Vec<Call> {
    let calls = rungs(ladder).into_iter().filter_map(|rung| {
        if rung.who == "kernel" {
            let begins = rung.what.starts_with("epoll_wait, ");
            return begins.then(|| ("epoll_wait", "1".to_owned()));
        }
        let (operation, result) = rung.what.split_once(" -> ")?;
        let word = result.split([' ', ';', ':', ',']).next()?;
        let call = match operation {
            "accept" => ("accept4", if word.starts_with("127") { "a descriptor" } else { word }),
            "read" => ("recvfrom", word),
            "write" => ("sendto", word),
            _ => return None,
        };
        Some((call.0, call.1.replace("WouldBlock", "EAGAIN")))
    });
    calls.collect()
}

/// Returns the system calls that strace saw, from the first accept to the last read.
fn strace_calls(strace: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = strace.lines().filter_map(strace_call).collect();
    let first = calls.iter().position(|call| call.0 == "accept4").expect("an accept");
    let last = calls.iter().rposition(|call| call.0 == "recvfrom").expect("a read");
    calls.drain(first..=last).collect()
}

fn strace_call(line: &str) -> Option<Call> {
    let name = ["accept4", "recvfrom", "sendto", "epoll_wait"]
        .into_iter()
        .find(|name| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('(')))?;
    let mut result = line.rsplit_once(" = ")?.1.split_whitespace();
    let number = result.next()?;
    let result = match (name, number) {
        (_, "-1") => result.next()?,
        ("accept4", _) => "a descriptor",
        _ => number,
    };
    Some((name, result.to_owned()))
}

#[test]
fn strace_sees_the_system_calls_of_the_ladder() {
    if !is_installed("strace") {
        return;
    }
    let printed = GOLDEN.lines().find_map(|line| line.strip_prefix("Verify it:"));
    let words: Vec<&str> = printed.expect("the command").split_whitespace().collect();
    let mut command = Command::new(words[0]);
    for word in &words[1..] {
        command.arg(if *word == "target/debug/echod" { ECHOD } else { word });
    }
    let ended = Server::spawn(command).wait();
    if ended.stderr.contains("ptrace") {
        println!("skipped: strace may not watch other processes here");
        return;
    }
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(without_times_and_ports(&ended.stdout), without_times_and_ports(GOLDEN));
    let calls = ladder_calls(&ended.stdout);
    assert!(calls.len() > 8, "{calls:?}");
    assert_eq!(strace_calls(&ended.stderr), calls, "{}\n{}", ended.stderr, ended.stdout);
}

// strace delays the end of the call that sends the echo, so the client receives the echo before the
// server records the call. Without `-f`, strace does not delay the client.
#[test]
fn client_of_the_demo_acts_only_while_the_server_sleeps() {
    if !is_installed("strace") {
        return;
    }
    let mut command = Command::new("strace");
    command.args(["-qq", "-e", "trace=sendto", "-e", "inject=sendto:delay_exit=20000"]);
    command.args([ECHOD, "--demo"]);
    let ended = Server::spawn(command).wait();
    if ended.stderr.contains("ptrace") {
        println!("skipped: strace may not watch other processes here");
        return;
    }
    assert_eq!(without_times_and_ports(&ended.stdout), without_times_and_ports(GOLDEN));
}

/// Sends a message, gets it back and disconnects.
#[track_caller]
fn exchange(mut client: TcpStream, bytes: &[u8]) {
    assert_echoes(&mut client, bytes);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&client), b"");
}

/// Waits until the ladder reports the end of a task.
#[track_caller]
fn wait_for_end(server: &Server, task: u64, bytes: usize) {
    let line = format!("\ntask {task} has ended: {bytes} bytes written.\n");
    eventually("the end of the connection is printed", || server.stdout().contains(&line));
}

#[test]
fn explain_prints_one_connection_after_another() {
    let server = Server::start(&["--explain"]);
    for (task, bytes) in [(2, &b"hello"[..]), (3, b"goodbye")] {
        let client = server.connect();
        let peer = client.local_addr().unwrap();
        exchange(client, bytes);
        wait_for_end(&server, task, bytes.len());
        assert!(server.stdout().contains(&format!("accept -> {peer}")), "{}", server.stdout());
    }
    server.signal(Signal::TERM);
    let ended = server.wait();
    assert_eq!(ended.status.code(), Some(0));
    let mut lines = ended.stdout.lines();
    assert!(lines.next().unwrap().starts_with("listening tcp "), "{}", ended.stdout);
    assert!(lines.next().unwrap().starts_with("    #      ms  who"), "{}", ended.stdout);
    assert_eq!(ended.stdout.matches("  who  ").count(), 1, "{}", ended.stdout);
    assert_is_plain(&ended.stdout);
    let rungs = rungs(&ended.stdout);
    for (before, after) in rungs.iter().zip(&rungs[1..]) {
        assert!(before.steps.1 < after.steps.0, "{before:?} {after:?}");
    }
    let first = rungs[0].steps.0;
    for rung in &rungs {
        assert!(rung.why.iter().all(|why| (first..rung.steps.0).contains(why)), "{rung:?}");
    }
    for task in ["task 2", "task 3"] {
        let mut what = rungs.iter().filter(|rung| rung.who == task).map(|rung| &rung.what);
        assert!(what.any(|what| what.starts_with("write -> ")), "{task}: {}", ended.stdout);
    }
}

#[test]
fn explain_prints_concurrent_connections_only_with_all() {
    for (flag, both) in [("--explain", false), ("--explain=all", true)] {
        let server = Server::start(&[flag]);
        let mut first = server.connect();
        assert_echoes(&mut first, b"first");
        let mut second = server.connect();
        assert_echoes(&mut second, b"second one");
        exchange(second, b"goodbye");
        exchange(first, b"goodbye");
        wait_for_end(&server, 2, 12);
        let of_second = |stdout: &str| rungs(stdout).iter().any(|rung| rung.who == "task 3");
        assert_eq!(of_second(&server.stdout()), both, "{}", server.stdout());
        let after_end = |line: &str| line.starts_with("(left out: ");
        eventually("the steps that were left out are counted", || {
            both || server.stdout().lines().any(after_end)
        });
        assert_eq!(server.stdout().contains("task 3 has ended: 17 bytes"), both);
        // After the end of the first connection, another one is explained.
        exchange(server.connect(), b"third");
        wait_for_end(&server, 4, 5);
    }
}

#[test]
fn explain_fits_a_terminal_of_60_columns() {
    let Some((screen, terminal)) = terminal() else { return };
    within_deadline(|| {
        let mut command = Command::new(ECHOD);
        command.args(["--explain", "-q", "127.0.0.1:0"]).env("COLUMNS", "60").stdout(terminal);
        let server = Server::spawn_uncaptured(command);
        let client = find(&server);
        exchange(client, b"hello");
        let mut lines = BufReader::new(screen).lines().map(Result::unwrap);
        let mut lines = lines.by_ref().map(|line| without_colors(line.trim_end()));
        let header = lines.find(|line| line.contains("  who  ")).expect("the header is printed");
        assert!(header.len() <= 60, "{header}");
        let rungs = lines.by_ref().take_while(|line| !line.starts_with("task 2 has ended"));
        let wide: Vec<String> = rungs.filter(|line| line.len() > 60).collect();
        assert!(wide.is_empty(), "{wide:?}");
    });
}

// Pitfall: S9
// Pitfall: O1
#[test]
fn unread_ladder_drops_lines_but_stops_no_connection() {
    let Some((unread, stdout)) = pipe_of_64_kib() else { return };
    within_deadline(|| {
        let mut command = Command::new(ECHOD);
        command.args(["--explain=all", "-q", "127.0.0.1:0"]).stdout(stdout);
        let server = Server::spawn_uncaptured(command);
        let mut client = find(&server);
        // Each message makes about 500 bytes of the ladder, and the queue holds 1 MiB.
        for _ in 0..3000 {
            assert_echoes(&mut client, b"hello");
        }
        let mut lines = BufReader::new(unread).lines().map(Result::unwrap);
        assert!(lines.next().unwrap().starts_with("listening tcp "));
        let gap = lines.find(|line| line.contains("dropped")).expect("the ladder reports the gap");
        let (_, why) =
            gap.split_once(" lines were dropped: ").expect("the line has the number of lines");
        assert_eq!(why, "this stream was full, or a write failed)");
        server.signal(Signal::TERM);
        drop(client);
        lines.for_each(drop);
        assert_eq!(server.wait().status.code(), Some(0));
    });
}

#[test]
fn demo_reports_a_write_error() {
    let ended = |redirection: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec \"$0\" --demo {redirection}"), ECHOD]);
        Server::spawn(command).wait()
    };
    let full = ended(">/dev/full");
    assert_eq!((full.status.code(), full.stderr.lines().count()), (Some(1), 1), "{full:?}");
    assert!(full.stderr.starts_with("echod: cannot print: "), "{full:?}");
    assert_eq!(ended(">&-").status.code(), Some(0));
}

// The pipe is full before the demo prints, so the demo still runs when the signal arrives.
#[test]
fn blocked_demo_exits_with_zero_on_a_signal() {
    let Some((unread, mut stdout)) = pipe_of_64_kib() else { return };
    stdout.write_all(&[b'x'; 1 << 16]).unwrap();
    let mut command = Command::new(ECHOD);
    command.arg("--demo").stdout(stdout);
    let server = Server::spawn_uncaptured(command);
    eventually("the demo watches signals", || catches(server.pid(), Signal::TERM));
    server.signal(Signal::TERM);
    assert_eq!(server.wait().status.code(), Some(0));
    drop(unread);
}

// The pipe is full before the demo prints. The pause stands for a reader that is busy.
#[test]
fn slow_reader_gets_the_whole_demo() {
    let Some((mut reader, mut stdout)) = pipe_of_64_kib() else { return };
    let full = [b'x'; 1 << 16];
    stdout.write_all(&full).unwrap();
    let mut command = Command::new(ECHOD);
    command.arg("--demo").stdout(stdout);
    let server = Server::spawn_uncaptured(command);
    eventually("the demo prints", || threads(server.pid()).iter().any(|(_, name)| name == "print"));
    sleep(Duration::from_millis(50));
    let mut printed = Vec::new();
    reader.read_to_end(&mut printed).unwrap();
    let printed = printed.strip_prefix(&full).expect("the pipe was full");
    let ladder = without_times_and_ports(&String::from_utf8_lossy(printed));
    assert_eq!(ladder, without_times_and_ports(GOLDEN));
    assert_eq!(server.wait().status.code(), Some(0));
}

#[test]
fn warn_blocking_is_silent_without_a_blocking_task() {
    let server = Server::start(&["--warn-blocking", "10s"]);
    let mut client = server.connect();
    assert_echoes(&mut client, b"hello");
    client.write_all(b"goodbye").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&client), b"goodbye");
    server.signal(Signal::TERM);
    let ended = server.wait();
    assert_eq!(ended.status.code(), Some(0));
    assert!(!ended.stderr.contains("blocked the thread"), "{}", ended.stderr);
}
