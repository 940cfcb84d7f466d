//! The command line: what it accepts, and how it reports errors.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write, pipe};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

use tests::place;

use crate::bytes::assert_echoes;
use crate::process::is_installed;
use crate::server::{ECHOD, Ended, Server, eventually};

#[test]
fn wrong_argument_is_reported_in_one_line_with_code_2() {
    let wrong: [(&[&str], &str); 33] = [
        (&["nonsense"], "nonsense"),
        (&["127.0.0.1"], "127.0.0.1"),
        (&["127.0.0.1:0", "::1:0:"], "::1:0:"),
        (&["127.0.0.1:65536"], "65536"),
        (&["--frobnicate"], "--frobnicate"),
        (&["--idle", "5"], "--idle"),
        (&["--grace", "-1s"], "--grace <DURATION>': write a number and its unit"),
        (&["--grace"], "--grace"),
        (&["--max-connections", "-3"], "--max-connections"),
        (&["--max-connections", "0"], "--max-connections"),
        (&["--max-connections=many"], "--max-connections <N>': write a number from 1 to"),
        (&["--backlog", "4294967296"], "--backlog"),
        (&["-v", "-q"], "--quiet"),
        (&["--all"], "--demo"),
        (&["--demo", "127.0.0.1:0"], "--demo"),
        (&["--demo", "--explain"], "--explain"),
        (&["--explain=some"], "--explain=all"),
        (&["--trace-events", "100"], "--trace"),
        (&["--trace", "run.html", "--trace-events", "99"], "--trace-events"),
        (&["--warn-blocking", "x"], "--warn-blocking"),
        (&["udp:7777"], "udp:127.0.0.1:7777"),
        (&["unix:"], "unix:/path"),
        (&["fd:three"], "fd:3"),
        (&["--threads", "0"], "--threads"),
        (&["--threads", "1025"], "--threads"),
        (&["--threads", "2", "--explain"], "--explain"),
        (&["--threads", "2", "--trace", "run.html"], "--trace"),
        (&["--stats", "0s"], "--stats"),
        (&["--idle", "0s"], "--idle"),
        (&["--stats"], "--stats"),
        (&["--spin", "50"], "--spin"),
        (&["--demo", "--threads", "2"], "--threads"),
        (&["--demo", "--stats", "1s"], "--stats"),
    ];
    for (arguments, name) in wrong {
        let ended = Server::run(arguments);
        assert_complains(&ended, 2, &[name]);
    }
}

#[test]
fn non_utf8_argument_is_reported() {
    let unreadable = OsStr::from_bytes(b"unix:/tmp/\xff");
    let mut command = Command::new(ECHOD);
    command.args(["127.0.0.1:0".as_ref(), unreadable]);
    assert_complains(&Server::spawn(command).wait(), 2, &[r"unix:/tmp/\xFF", "not UTF-8"]);
}

#[test]
fn control_characters_do_not_cut_off_the_advice() {
    let wrong: [(&[&str], &[&str]); 5] = [
        (&["no\n\nsense"], &[r"'no\n\nsense'", "write an IP address"]),
        (&["\u{1b}[31mred\u{7}"], &[r"\u{1b}[31mred\u{7}", "write an IP address"]),
        (&["--grace", "1\n\ns"], &[r"'1\n\ns'", "write a number and its unit"]),
        (&["--frob\n\nnicate"], &[r"--frob\n\nnicate", "try --help"]),
        (&["-v", "--explain=\u{9b}\n\n"], &[r"\u{9b}\n\n", "write --explain"]),
    ];
    for (arguments, words) in wrong {
        let ended = Server::run(arguments);
        assert_complains(&ended, 2, words);
        assert!(!ended.stderr.trim_end().contains(char::is_control), "{ended:?}");
    }
    let ended = Server::run(&["unix:/nowhere\n\n\u{1b}[2J/socket"]);
    assert_complains(&ended, 1, &[r"/nowhere\n\n\u{1b}[2J/socket", "create its directory first"]);
}

// The first four calls register the reactor's notifier and the signals.
#[test]
fn eperm_from_epoll_is_not_reported_as_privileged_port() {
    let Some(ended) = with_failing_call("epoll_ctl:error=EPERM:when=5") else { return };
    assert_complains(&ended, 1, &["Operation not permitted", "strace shows which call"]);
}

// strace makes the call fail only after clients have connected.
#[test]
fn failed_epoll_wait_ends_the_server_with_code_1() {
    for threads in ["1", "2"] {
        let path = place();
        let mut command = Command::new("strace");
        command.args(["-D", "-f", "-qq", "-e", "trace=epoll_wait", "-o"]).arg(&*path);
        command.args(["-e", "inject=epoll_wait:error=ENOMEM:when=20+"]);
        command.args([ECHOD, "--threads", threads, "127.0.0.1:0"]);
        if !is_installed("strace") {
            return;
        }
        let server = Server::start_command(command);
        let mut client = server.connect();
        eventually("the server has closed the connection", || {
            client.write_all(b"x").and_then(|()| client.read_exact(&mut [0])).is_err()
        });
        let ended = server.wait();
        if fs::read(&path).unwrap().is_empty() {
            return println!("skipped: strace may not watch other processes here");
        }
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        let lines = ended.stderr.lines().filter(|line| !line.starts_with("[INFO "));
        let [complaint] = &lines.collect::<Vec<_>>()[..] else { panic!("one line: {ended:?}") };
        assert!(complaint.starts_with("echod: cannot "), "{ended:?}");
        assert!(complaint.contains(": Cannot allocate memory"), "{ended:?}");
    }
}

/// Returns how `echod` ends if a system call fails. Returns `None` and prints why the test is
/// skipped if strace cannot inject the error.
fn with_failing_call(injected: &str) -> Option<Ended> {
    if !is_installed("strace") {
        return None;
    }
    let path = place();
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-qq", "-o"]).arg(&*path);
    command.args(["-e", &format!("inject={injected}"), ECHOD, "127.0.0.1:0"]);
    let ended = Server::spawn(command).wait();
    if fs::read(&path).unwrap().is_empty() {
        println!("skipped: strace may not watch other processes here");
        return None;
    }
    Some(ended)
}

#[test]
fn help_and_version_go_to_standard_output() {
    for (argument, text) in
        [("--help", "--max-connections"), ("-h", "--grace"), ("--version", "echod "), ("-V", "0.")]
    {
        let ended = Server::run(&[argument]);
        assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""));
        assert!(ended.stdout.contains(text), "{}", ended.stdout);
    }
}

// A newcomer needs the first flags, an operator the last.
#[test]
fn help_lists_operating_flags_last() {
    let help = Server::run(&["--help"]).stdout;
    let position = |text: &str| help.find(text).unwrap_or_else(|| panic!("no {text} in {help}"));
    let operating = position("\nOperating:\n");
    for flag in ["--demo", "--explain", "--trace", "--verbose", "--help"] {
        assert!(position(flag) < operating, "{flag}: {help}");
    }
    for flag in ["--max-connections", "--threads", "--stats", "--spin", "--warn-blocking"] {
        assert!(position(flag) > operating, "{flag}: {help}");
    }
}

#[test]
fn help_lists_address_kinds_and_conflicts_of_threads() {
    let help = Server::run(&["--help"]).stdout;
    for text in ["tcp:127.0.0.1:7777", "udp:", "unix:", "fd:", "not with --explain or --trace"] {
        assert!(help.contains(text), "no {text} in {help}");
    }
}

/// Returns the rows of the manual's table of options: the flags, and their effect.
fn documented_flags() -> impl Iterator<Item = (&'static str, &'static str)> {
    let manual = include_str!("../../echo/OPERATING.md");
    let rows = manual.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    rows.filter(|row| row.starts_with("`-")).filter_map(|row| row.split_once(" | "))
}

#[test]
fn every_flag_of_the_help_is_in_the_manual() {
    let documented: BTreeSet<&str> =
        documented_flags().flat_map(|(flags, _)| flags.split(['|', '`', ' ', ','])).collect();
    let help = Server::run(&["--help"]).stdout;
    let words = help.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let flags: Vec<&str> = words.filter(|word| word.starts_with("--") && word.len() > 2).collect();
    assert!(flags.len() > 10, "{help}");
    for flag in flags {
        assert!(documented.contains(flag), "no row for {flag}");
    }
}

// The row of a flag with a default contains, for example, `; 5 s by default`.
#[test]
fn defaults_in_the_manual_are_those_of_the_help() {
    let help = Server::run(&["--help"]).stdout.replace(['<', '>'], "");
    let mut defaults = 0;
    for (flags, effect) in documented_flags() {
        // No flag that shares a row with another one has a default.
        let flag = flags.trim_matches('`');
        if flag.contains('`') {
            continue;
        }
        let line = help.lines().find(|line| line.contains(&format!("{flag}  ")));
        let line = line.unwrap_or_else(|| panic!("no {flag} in {help}"));
        let default = line.split("[default: ").nth(1).map(|rest| rest.trim_end_matches(']'));
        let before = effect.split_once(" by default").map_or("", |(before, _)| before);
        let last = before.rsplit("; ").next().unwrap_or_default().replace([' ', ','], "");
        let documented = last.starts_with(|c: char| c.is_ascii_digit()).then_some(last);
        assert_eq!(documented.as_deref(), default, "the default of {flag}");
        defaults += usize::from(default.is_some());
    }
    assert!(defaults > 2, "{defaults} flags have a default");
}

#[test]
fn address_in_use_is_reported_with_advice() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert_complains(&Server::run(&[&address]), 1, &[&address, "choose another port"]);
}

#[test]
fn overlapping_addresses_are_reported_together() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (first, second) in [
        (format!("127.0.0.1:{port}"), format!("127.0.0.1:{port}")),
        (format!("0.0.0.0:{port}"), format!("127.0.0.1:{port}")),
        (format!("[::]:{port}"), format!("0.0.0.0:{port}")),
        (format!("udp:127.0.0.1:{port}"), format!("udp:0.0.0.0:{port}")),
    ] {
        let overlap = format!("{second}: it overlaps {first}");
        assert_complains(&Server::run(&[&first, &second]), 1, &[&overlap, "remove one of them"]);
    }
}

// 192.0.2.1 is reserved for documentation, so no machine has it.
#[test]
fn address_of_another_machine_is_reported_with_advice() {
    let ended = Server::run(&["192.0.2.1:0"]);
    assert_complains(&ended, 1, &["192.0.2.1:0", "no such address"]);
}

// Root may listen on every port, so root first drops this capability.
#[test]
fn privileged_port_is_reported_with_advice() {
    if !is_installed("setpriv") {
        return;
    }
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    if first.is_ok_and(|first| first.trim() == "0") {
        println!("skipped: this machine has no privileged ports");
        return;
    }
    let mut command = Command::new("setpriv");
    if rustix::process::geteuid().is_root() {
        command.args(["--inh-caps=-all", "--bounding-set=-net_bind_service"]);
    }
    command.args([ECHOD, "127.0.0.1:1"]);
    let ended = Server::spawn(command).wait();
    assert_complains(&ended, 1, &["127.0.0.1:1", "choose a higher port"]);
}

#[test]
fn exhausted_descriptors_are_reported_with_advice() {
    // The lowest limit prevents the start. A higher one prevents only the second listener.
    for limit in 5..16 {
        let script = format!("ulimit -n {limit}; exec \"$0\" -q 127.0.0.1:0 127.0.0.1:0");
        let mut command = Command::new("sh");
        command.args(["-c", &script, ECHOD]);
        let server = Server::spawn(command);
        eventually("it listens or reports an error", || {
            server.stdout().lines().count() == 2 || !server.stderr().is_empty()
        });
        if server.stdout().lines().count() == 2 {
            return assert!(limit > 6, "a limit of {limit} is enough");
        }
        assert_complains(&server.wait(), 1, &["Too many open files", "(ulimit -n)"]);
    }
}

#[test]
fn failed_second_listener_leaves_the_first_unannounced() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert_complains(&Server::run(&["127.0.0.1:0", &address]), 1, &[&address]);
}

#[test]
fn flags_select_the_log_level() {
    // (flags, whether the log has the listener, a connection and a poll)
    let levels: [(&[&str], [bool; 3]); 4] = [
        (&["-q"], [false; 3]),
        (&[], [true, false, false]),
        (&["-v"], [true, true, false]),
        (&["-vv"], [true, true, true]),
    ];
    for (flags, expected) in levels {
        let server = Server::start(flags);
        let mut client = server.connect();
        let connection = format!("{}: 1 bytes echoed", client.local_addr().unwrap());
        assert_echoes(&mut client, b"x");
        drop(client);
        server.signal(rustix::process::Signal::TERM);
        let stderr = server.wait().stderr;
        let logged = ["listening tcp", &connection, "poll"].map(|text| stderr.contains(text));
        assert_eq!(logged, expected, "{flags:?}: {stderr}");
    }
}

#[test]
fn rust_log_overrides_quiet_and_logs_each_step() {
    let mut command = Command::new(ECHOD);
    command.args(["-q", "127.0.0.1:0"]).env("RUST_LOG", "reactor=trace,executor=trace");
    let server = Server::start_command(command);
    assert_echoes(&mut server.connect(), b"x");
    for step in ["accepted", "event", "wake", "queue", "poll", "tried", "store", "pending", "sleep"]
    {
        eventually(step, || server.stderr().contains(step));
    }
}

#[test]
fn invalid_rust_log_is_a_wrong_argument() {
    let mut command = Command::new(ECHOD);
    command.arg("127.0.0.1:0").env("RUST_LOG", "reactor=loud");
    assert_complains(&Server::spawn(command).wait(), 2, &["RUST_LOG", "loud", "reactor=trace"]);
    let mut command = Command::new(ECHOD);
    command.arg("127.0.0.1:0").env("RUST_LOG", OsStr::from_bytes(b"re\xffactor"));
    assert_complains(&Server::spawn(command).wait(), 2, &["RUST_LOG=re", "UTF-8"]);
}

#[test]
fn path_with_a_line_break_is_reported_in_one_line() {
    let folder = "unix:/nowhere\nat all/socket";
    assert_complains(
        &Server::run(&[folder]),
        1,
        &["/nowhere\\nat all", "create its directory first"],
    );
}

#[test]
fn help_fails_on_a_full_device_but_not_on_a_closed_pipe() {
    let full = || File::options().write(true).open("/dev/full").unwrap().into();
    let (reader, unread) = pipe().unwrap();
    drop(reader);
    for (stdout, code) in [(full(), 1), (OwnedFd::from(unread), 0)] {
        let mut command = Command::new(ECHOD);
        let ended = command.arg("--help").stdout(stdout).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(ended.status.code(), Some(code), "{ended:?}");
        assert_eq!(ended.stderr.is_empty(), code == 0, "{ended:?}");
    }
}

/// Checks that the process ended with this code, printed nothing to standard output, and printed
/// one line with these words to standard error.
#[track_caller]
pub(crate) fn assert_complains(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.status.code(), Some(code), "{ended:?}");
    assert_eq!(ended.stdout, "", "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    assert!(ended.stderr.starts_with("echod: "), "{ended:?}");
    for word in words {
        assert!(ended.stderr.contains(word), "{word:?} is not in {ended:?}");
    }
}
