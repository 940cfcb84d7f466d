//! SIGUSR1: the table of all tasks, which shows why the server is stuck.

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::process::Command;

use rustix::process::Signal;
use tests::{pipe_of_64_kib, place};

use crate::bytes::{Random, assert_echoes, assert_receives, fill};
use crate::output::address;
use crate::process::is_installed;
use crate::server::{ECHOD, Server, connect, eventually, many_connections};

/// Sends SIGUSR1, and returns the rows of the table. The last row is the task that prints the
/// table, or the number of tasks that are not shown.
#[track_caller]
fn ask(server: &Server) -> Vec<String> {
    let before = server.stderr().len();
    server.signal(Signal::USR1);
    let ended = |line: &str| line.contains("  table  ") || line.ends_with("not shown");
    let answer = || server.stderr()[before..].to_owned();
    eventually("the table is printed", || answer().lines().any(ended));
    let answer = answer();
    let table = answer.lines().skip_while(|line| !line.starts_with("task  name "));
    table.map(str::to_owned).collect()
}

/// Returns the state of each task with this name and what it waits for, without the numbers of the
/// sources, in the order of the table.
fn states(table: &[String], name: &str) -> Vec<String> {
    let cells = |line: &String| {
        let cells: Vec<&str> =
            line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        let words = |cell: &str| cell.replace(|c: char| c.is_ascii_digit(), "").replace("  ", " ");
        (cells.get(1) == Some(&name)).then(|| format!("{}: {}", cells[2], words(cells[3])))
    };
    table.iter().filter_map(cells).collect()
}

#[test]
fn table_shows_what_each_task_waits_for() {
    let server = Server::start(&[]);
    let mut idle = [server.connect(), server.connect()];
    idle.iter_mut().for_each(|client| assert_echoes(client, b"x"));
    let stalled = server.connect();
    let sent = fill(&stalled, Random::new(1));
    // A second table is the same.
    for _ in 0..2 {
        let table = ask(&server);
        // The connection of the peer that does not read comes first.
        let peer = stalled.local_addr().unwrap();
        assert!(table[1].contains(&format!("(TcpStream {peer})")), "{table:#?}");
        assert_eq!(states(&table, "accept"), ["waiting: read on source (TcpListener) + elsewhere"]);
        let mut echoes = states(&table, "echo");
        echoes.sort_unstable();
        let reads = "waiting: read on source (TcpStream ...:) + elsewhere";
        let writes = "waiting: write on source (TcpStream ...:) + elsewhere";
        assert_eq!(echoes, [reads, reads, writes], "{table:#?}");
        // This line shows only the first source. Each further source has its own line.
        assert_eq!(states(&table, "main")[0], "waiting: read on source (Receiver) + elsewhere");
        let is_ours = |line: &String| {
            line.contains(" accept ") && line.contains("echo/src/main.rs:")
                || line.contains(" echo ") && line.contains("echo/src/serve.rs:")
        };
        assert_eq!(table.iter().filter(|line| is_ours(line)).count(), 4, "{table:#?}");
        assert!(table.iter().all(|line| line.len() <= 125), "{table:#?}");
    }
    idle.iter_mut().for_each(|client| assert_echoes(client, b"x"));
    assert_receives(&stalled, &mut Random::new(1), sent);
    assert_eq!(server.stdout().lines().count(), 1, "the table does not go to standard output");
    server.signal(Signal::TERM);
    drop((idle, stalled));
    assert_eq!(server.wait().status.code(), Some(0));
}

/// Returns the cells that are the same in each run: without ports, times and polls, and sorted.
fn without_times(rows: &[String]) -> Vec<Vec<String>> {
    let without_port = |cell: &str| match cell.split_once("127.0.0.1:") {
        Some((before, after)) => {
            before.to_owned() + after.trim_start_matches(|c: char| c.is_ascii_digit())
        }
        None => cell.to_owned(),
    };
    let cells = |row: &String| {
        let cells = row.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
        let mut cells: Vec<String> = cells.map(without_port).collect();
        if cells.len() > 5 && cells[0] != "task" {
            cells.drain(cells.len() - 3..cells.len() - 1);
        }
        cells
    };
    let mut rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
    rows.sort();
    rows
}

#[test]
fn manual_shows_the_table_of_a_server() {
    let server = Server::start(&[]);
    let mut idle = server.connect();
    assert_echoes(&mut idle, b"x");
    let stalled = server.connect();
    fill(&stalled, Random::new(1));
    let readme = include_str!("../../echo/OPERATING.md");
    let shown = readme.split("<!-- table -->\n```text\n$ kill -USR1 $(pidof echod)\n").nth(1);
    let shown = shown.and_then(|rest| rest.split("```").next()).expect("the block");
    let shown: Vec<String> = shown.lines().map(str::to_owned).collect();
    assert_eq!(without_times(&shown), without_times(&ask(&server)));
}

#[test]
fn stopping_server_shows_the_stalled_connection() {
    let server = Server::start(&["--grace", "1m"]);
    let stalled = server.connect();
    fill(&stalled, Random::new(1));
    server.signal(Signal::TERM);
    eventually("the server stops", || server.stderr().contains("stopping"));
    let table = ask(&server);
    let [echo] = &states(&table, "echo")[..] else { panic!("one echo in {table:#?}") };
    assert!(echo.starts_with("waiting: write on source (TcpStream "), "{table:#?}");
}

#[test]
fn table_shows_at_most_100_waiting_tasks() {
    let Some(_permit) = many_connections(1000) else { return };
    let server = Server::start(&[]);
    let mut clients: Vec<TcpStream> = (0..1000).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| assert_echoes(client, b"x"));
    let table = ask(&server);
    assert_eq!(table.last().unwrap(), "903 more tasks are not shown");
    let rows = table.iter().filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
    assert_eq!(rows.count(), 100 + 1);
    clients.iter_mut().for_each(|client| assert_echoes(client, b"x"));
}

// A table has about ten thousand bytes, so the pipe holds only a few tables.
#[test]
fn unread_tables_do_not_block_the_server() {
    let Some((mut unread, stderr)) = pipe_of_64_kib() else { return };
    let mut command = Command::new(ECHOD);
    command.arg("127.0.0.1:0").stdout(stderr.try_clone().unwrap()).stderr(stderr);
    let server = Server::spawn_uncaptured(command);
    let address = address(&server);
    let mut clients: Vec<TcpStream> = (0..200).map(|_| connect(address)).collect();
    for _ in 0..20 {
        server.signal(Signal::USR1);
        clients.iter_mut().for_each(|client| assert_echoes(client, b"x"));
    }
    server.signal(Signal::TERM);
    assert_eq!(server.wait().status.code(), Some(0));
    let mut tables = Vec::new();
    unread.read_to_end(&mut tables).unwrap();
    assert!(tables.len() > 50_000, "{} bytes did not fill the pipe", tables.len());
}

// Before the signal is watched, it would end the process. No signal could reliably be sent in
// between, so the test checks the order of the system calls with strace.
#[test]
fn sigusr1_is_watched_before_the_server_announces_itself() {
    if !is_installed("strace") {
        return;
    }
    let path = place();
    let mut command = Command::new("strace");
    // `-D` makes strace a grandchild, so that the server is our child.
    // `-f` traces all threads, because one of them writes.
    command.args(["-D", "-f", "-qq", "-e", "trace=rt_sigaction,write", "-o"]).arg(&*path);
    command.args([ECHOD, "127.0.0.1:0"]);
    let server = Server::start_command(command);
    assert_eq!(states(&ask(&server), "table"), ["running: . s"]);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().status.code(), Some(0));
    let trace = fs::read_to_string(&path).unwrap();
    if trace.is_empty() {
        return println!("skipped: strace may not watch other processes here");
    }
    let first = |call: &str| trace.find(call).unwrap_or_else(|| panic!("no {call} in {trace}"));
    assert!(first("rt_sigaction(SIGUSR1, {") < first("write(1, \"listening"), "{trace}");
}
