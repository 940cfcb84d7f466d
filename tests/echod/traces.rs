//! The recording of a run: when it is written, in which format, and its cost.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry, File, Permissions};
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use std::thread;

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use serde_json::Value;
use tests::{TempDir, folder, page_data, pipe_of_64_kib, place};

use crate::arguments::assert_complains;
use crate::bytes::{CHUNK, Random, assert_echoes, assert_echoes_to, fill, read_to_end};
use crate::output::find;
use crate::process::{is_installed, peak, size};
use crate::server::{ECHOD, Server, eventually};

/// A folder for one test, which is removed when this is dropped.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Folder {
        Folder(folder())
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("the path is ASCII").to_owned()
    }
}

/// Returns the steps of the first run.
pub(crate) fn steps(data: &Value) -> &Vec<Value> {
    data["runs"][0]["steps"].as_array().expect("a run has steps")
}

/// Returns the head and the events of a recording in JSON lines.
#[track_caller]
fn lines(path: &str) -> (Value, Vec<Value>) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.ends_with('\n'), "the last line is complete");
    let mut lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    (lines.next().expect("a head"), lines.collect())
}

/// Whether a file contains a recording of this connection, in the format of its name.
fn has_connection(path: &str, peer: SocketAddr) -> bool {
    let peer = peer.to_string();
    let is_peer = |value: &Value| value == peer.as_str();
    let text = fs::read_to_string(path).unwrap();
    if path.ends_with(".html") {
        let data = page_data(&text);
        let sources = data["runs"][0]["sources"].as_array().unwrap();
        sources.iter().any(|source| is_peer(&source["peer"]))
    } else if path.ends_with(".jsonl") {
        lines(path).1.iter().any(|event| is_peer(&event["source"]["peer"]))
    } else {
        let trace: Value = serde_json::from_str(&text).expect("JSON");
        assert!(trace["traceEvents"].as_array().is_some_and(|events| events.len() > 10));
        text.contains(&peer)
    }
}

/// Connects, sends a message, gets it back and disconnects. Returns the client's address.
#[track_caller]
fn exchange(server: &Server) -> SocketAddr {
    let mut client = server.connect();
    assert_echoes(&mut client, b"hello");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&client), b"");
    client.local_addr().unwrap()
}

#[test]
fn signal_writes_the_recording_in_the_format_of_its_name() {
    for (signal, name) in [
        (Signal::TERM, "run.html"),
        (Signal::INT, "run.html"),
        (Signal::TERM, "run.json"),
        (Signal::INT, "run.json"),
        (Signal::TERM, "run.jsonl"),
        (Signal::INT, "run.jsonl"),
    ] {
        let folder = Folder::new();
        let path = folder.file(name);
        let server = Server::start(&["--trace", &path]);
        exchange(&server);
        let last = exchange(&server);
        server.signal(signal);
        let ended = server.wait();
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        assert!(ended.stderr.contains(&format!("echod: wrote {path}: ")), "{ended:?}");
        assert!(!ended.stderr.contains("dropped"), "{ended:?}");
        assert!(has_connection(&path, last), "{signal:?} {path}");
    }
}

#[test]
fn only_the_page_of_the_demo_has_prompts_and_a_client() {
    let folder = Folder::new();
    let path = folder.file("run.html");
    let page = || page_data(&fs::read_to_string(&path).unwrap());
    let shows = |page: &Value| {
        let run = &page["runs"][0];
        let first = &run["first"];
        let program = page["files"][first["file"].as_str().unwrap()].as_str().unwrap();
        let line = program.lines().nth(first["from"].as_u64().unwrap() as usize - 1).unwrap();
        assert!(line.contains("async fn accept("), "{line}");
        let asks = !run["prompts"].as_array().unwrap().is_empty();
        let is_of_one_byte = run["claim"].as_str().unwrap().contains("one byte");
        [asks, is_of_one_byte, !page["files"]["echo/src/demo.rs"].is_null()]
    };
    assert_eq!(Server::run(&["--demo", "--trace", &path]).status.code(), Some(0));
    assert_eq!(shows(&page()), [true; 3]);
    let server = Server::start(&["--trace", &path]);
    exchange(&server);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().status.code(), Some(0));
    assert_eq!(shows(&page()), [false; 3]);
}

#[test]
fn unusable_trace_path_is_reported_with_advice() {
    let folder = Folder::new();
    let (wrong, missing) = (folder.file("run.txt"), folder.file("missing/run.html"));
    assert_complains(&Server::run(&["--trace", &wrong]), 2, &["run.txt", ".html, .json or .jsonl"]);
    assert_complains(
        &Server::run(&["--trace", &missing]),
        1,
        &[&missing, "create its directory first"],
    );
    fs::create_dir(folder.file("folder.html")).unwrap();
    let is_folder = Server::run(&["--demo", "--trace", &folder.file("folder.html")]);
    assert_complains(&is_folder, 1, &["folder.html", "name a file"]);
}

#[test]
fn failed_start_keeps_the_previous_recording() {
    let folder = Folder::new();
    let path = folder.file("run.jsonl");
    let server = Server::start(&["--trace", &path]);
    let peer = exchange(&server);
    server.signal(Signal::TERM);
    server.wait();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert_complains(&Server::run(&["--trace", &path, &address]), 1, &[&address]);
    assert!(has_connection(&path, peer));
}

#[test]
fn shorter_recording_replaces_a_longer_one() {
    let folder = Folder::new();
    let path = folder.file("run.jsonl");
    for messages in [100, 1] {
        let server = Server::start(&["--trace", &path]);
        let mut client = server.connect();
        (0..messages).for_each(|_| assert_echoes(&mut client, b"hello"));
        server.signal(Signal::TERM);
        assert_eq!(read_to_end(&client), b"");
        server.wait();
        let writes = lines(&path).1.iter().filter(|event| event["operation"] == "write").count();
        assert_eq!(writes, messages);
    }
}

#[test]
fn recording_keeps_the_last_events_and_reports_drops() {
    let folder = Folder::new();
    let path = folder.file("run.jsonl");
    let server = Server::start(&["--trace", &path, "--trace-events", "100"]);
    let mut client = server.connect();
    (0..100).for_each(|_| assert_echoes(&mut client, b"hello"));
    server.signal(Signal::TERM);
    let ended = server.wait();
    let (head, events) = lines(&path);
    let dropped = head["dropped"].as_u64().unwrap();
    assert_eq!(events.len(), 100);
    assert!(dropped > 500, "{dropped}");
    assert_eq!(events[0]["number"].as_u64(), Some(dropped));
    let message =
        format!("100 steps; {dropped} earlier steps were dropped (--trace-events keeps more)");
    assert!(ended.stderr.contains(&message), "{dropped}: {}", ended.stderr);
}

#[test]
fn second_signal_writes_the_recording_and_exits() {
    for (second, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let folder = Folder::new();
        let path = folder.file("run.html");
        let server = Server::start(&["--grace", "1m", "--trace", &path]);
        let stalled = server.connect();
        fill(&stalled, Random::new(1));
        server.signal(Signal::INT);
        eventually("the server stops", || server.stderr().contains("stopping"));
        server.signal(second);
        let ended = server.wait();
        assert_eq!(ended.status.code(), Some(code), "{ended:?}");
        assert_eq!(ended.stderr.matches("echod: wrote ").count(), 1, "{ended:?}");
        assert!(has_connection(&path, stalled.local_addr().unwrap()));
    }
}

// Both signals arrive before the event loop can run, as if the loop were stuck. The loop and the
// thread that handles the second signal may both end the process. In either case there is one
// complete recording.
#[test]
fn simultaneous_signals_leave_one_complete_recording() {
    let folder = Folder::new();
    let path = folder.file("run.jsonl");
    let server = Server::start(&["--grace", "1m", "--trace", &path]);
    let stalled = server.connect();
    fill(&stalled, Random::new(1));
    server.freeze();
    server.signal(Signal::INT);
    server.signal(Signal::TERM);
    server.signal(Signal::CONT);
    let ended = server.wait();
    assert!(matches!(ended.status.code(), Some(130 | 143)), "{ended:?}");
    assert_eq!(ended.stderr.matches("echod: wrote ").count(), 1, "{ended:?}");
    assert!(has_connection(&path, stalled.local_addr().unwrap()));
}

// The pipe is full, so the recording cannot be written. A signal counts as the third only after the
// thread that handles the second has begun to write, so the test sends signals until the server
// ends.
#[test]
fn third_signal_ends_a_server_that_cannot_write_its_recording() {
    let Some((_unread, mut stdout)) = pipe_of_64_kib() else { return };
    stdout.write_all(&[b'x'; 1 << 16]).unwrap();
    let folder = Folder::new();
    let path = folder.file("run.jsonl");
    symlink("/dev/stdout", &path).unwrap();
    let mut command = Command::new(ECHOD);
    command.args(["--trace", &path, "127.0.0.1:0"]).stdout(stdout);
    let mut server = Server::spawn_uncaptured(command);
    find(&server);
    eventually("the server ends", || {
        server.signal(Signal::TERM);
        server.has_ended()
    });
    assert_eq!(server.wait().status.code(), Some(143));
}

/// Starts a server that keeps `steps` steps, and makes it record more than that.
fn with_steps(path: &str, steps: u64) -> Server {
    let server = Server::start(&["--trace", path, "--trace-events", &steps.to_string()]);
    // Each message makes at least five steps. Each hundred messages have a connection of their own,
    // so that there are many tasks and sources.
    for _ in 0..steps / 500 + 1 {
        let mut client = server.connect();
        (0..100).for_each(|_| assert_echoes(&mut client, b"hello"));
    }
    server
}

const NAMES: [&str; 3] = ["run.html", "run.json", "run.jsonl"];

/// Limits the address space of a process to its present size plus `more` bytes.
fn limit_memory(pid: u32, more: u64) {
    let limit = Some(size(pid) + more);
    let limit = Rlimit { current: limit, maximum: limit };
    let pid = Pid::from_raw(pid as i32).expect("a process");
    prlimit(Some(pid), Resource::As, limit).expect("a limit may be lowered");
}

// Pitfall: O3
#[test]
fn recording_is_written_in_constant_memory() {
    let write = |name: &str| {
        let folder = Folder::new();
        let path = folder.file(name);
        let server = with_steps(&path, 12_000);
        let last = exchange(&server);
        // As one tree of JSON values, the recording would take over 60 MB. To find the source lines
        // of a page, the tables of the program are read, whose size depends on the program.
        let tables = if name == "run.html" { 3 * fs::metadata(ECHOD).unwrap().len() } else { 0 };
        limit_memory(server.pid(), (12 << 20) + tables);
        server.signal(Signal::TERM);
        let ended = server.wait();
        assert_eq!(ended.status.code(), Some(0), "{name}: {ended:?}");
        assert!(has_connection(&path, last), "{name}");
    };
    thread::scope(|scope| {
        for name in NAMES {
            scope.spawn(move || write(name));
        }
    });
}

/// Returns the content of each file of a folder, by name.
fn contents(folder: &Folder) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder.file("")).unwrap().map(|entry| entry.unwrap());
    let content = |entry: DirEntry| {
        (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
    };
    entries.map(content).collect()
}

// Method: a limit for the size of files, because filling a disk needs privileges. The shell ignores
// SIGXFSZ, and the server that it executes inherits that.
// Pitfall: O3
#[test]
fn failed_write_keeps_the_previous_recording() {
    for name in NAMES {
        let folder = Folder::new();
        let path = folder.file(name);
        fs::write(&path, "the previous one").unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; ulimit -f 2; exec \"$@\"", "sh", ECHOD]);
        command.args(["--trace", &path, "127.0.0.1:0"]);
        let server = Server::start_command(command);
        exchange(&server);
        server.signal(Signal::TERM);
        let ended = server.wait();
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        let message = format!("cannot write {path}: File too large");
        assert!(ended.stderr.contains(&message), "{ended:?}");
        let previous = BTreeMap::from([(name.to_owned(), b"the previous one".to_vec())]);
        assert_eq!(contents(&folder), previous);
    }
}

// Pitfall: O3
#[test]
fn killed_server_keeps_the_previous_recording() {
    let folder = Folder::new();
    let path = folder.file("run.html");
    fs::write(&path, "the previous one").unwrap();
    let server = Server::start(&["--trace", &path]);
    exchange(&server);
    server.signal(Signal::KILL);
    server.wait();
    let previous = BTreeMap::from([("run.html".to_owned(), b"the previous one".to_vec())]);
    assert_eq!(contents(&folder), previous);
}

#[test]
fn recording_replaces_the_file_behind_a_symbolic_link() {
    let folder = Folder::new();
    let (link, path) = (folder.file("link.jsonl"), folder.file("run.jsonl"));
    symlink("run.jsonl", &link).unwrap();
    // At first the link points to no file.
    for _ in 0..2 {
        let server = Server::start(&["--trace", &link]);
        let peer = exchange(&server);
        server.signal(Signal::TERM);
        assert_eq!(server.wait().status.code(), Some(0));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(fs::symlink_metadata(&path).unwrap().is_file() && has_connection(&path, peer));
        assert_eq!(contents(&folder).len(), 2, "no other file is left");
    }
}

#[test]
fn recording_keeps_the_permissions_of_the_replaced_file() {
    let folder = Folder::new();
    let path = folder.file("run.jsonl");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    let server = Server::start(&["--trace", &path]);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().status.code(), Some(0));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(lines(&path).1.len() > 1);
}

#[test]
fn recording_goes_to_a_device_or_a_pipe_directly() {
    let folder = Folder::new();
    let (full, out) = (folder.file("full.jsonl"), folder.file("out.jsonl"));
    symlink("/dev/full", &full).unwrap();
    let ended = Server::run(&["--demo", "--trace", &full]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let message = "full.jsonl: No space left on device (os error 28): free some disk space";
    assert!(ended.stderr.contains(message), "{ended:?}");
    symlink("/dev/stdout", &out).unwrap();
    let ended = Server::run(&["--demo", "--trace", &out]);
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let mut lines = ended.stdout.lines();
    assert!(lines.any(|line| line.starts_with("{\"dropped\":0,")), "{}", ended.stdout);
}

// Another program may have the file open, e.g. as its standard output, and would not see a
// replacement.
#[test]
fn file_below_dev_is_written_in_place() {
    let Ok(folder) = TempDir::with_prefix_in("test-", "/dev/shm") else {
        return println!("skipped: there is no /dev/shm");
    };
    let path = folder.path().join("run.jsonl");
    let open = File::create_new(&path).and_then(|_| File::open(&path)).unwrap();
    let server = Server::start(&["--trace", path.to_str().expect("the path is ASCII")]);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().status.code(), Some(0));
    assert!(io::read_to_string(open).unwrap().starts_with("{\"dropped\":0,"));
}

// Method: strace makes `open` with `O_TMPFILE` fail with EOPNOTSUPP in this folder, as it does on
// some file systems.
#[test]
fn failed_start_leaves_no_temporary_file() {
    if !is_installed("strace") {
        return;
    }
    let (folder, log) = (Folder::new(), place());
    let path = folder.file("run.jsonl");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-qq", "-P", folder.file("").trim_end_matches('/')]);
    command.args(["-e", "inject=?open,?openat:error=EOPNOTSUPP", "-o"]).arg(&*log);
    command.args([ECHOD, "--trace", &path, &taken.local_addr().unwrap().to_string()]);
    let ended = Server::spawn(command).wait();
    if !fs::read_to_string(&log).unwrap().contains("(INJECTED)") {
        return println!("skipped: strace may not watch other processes here");
    }
    assert_complains(&ended, 1, &["choose another port"]);
    assert_eq!(contents(&folder), BTreeMap::new());
}

#[test]
fn failed_replacement_reports_where_the_recording_is() {
    let folder = Folder::new();
    let path = folder.file("run.jsonl");
    let server = Server::start(&["--trace", &path]);
    // While the server runs, a folder is created at the path. A file cannot replace it.
    fs::create_dir(&path).unwrap();
    let peer = exchange(&server);
    server.signal(Signal::TERM);
    let ended = server.wait();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let message =
        format!("cannot write {path}: Is a directory (os error 21) (what was written is in ");
    let written = ended.stderr.split(&message).nth(1).and_then(|rest| rest.split(')').next());
    let written = written.unwrap_or_else(|| panic!("{ended:?}"));
    assert!(lines(written).1.iter().any(|event| event["source"]["peer"] == peer.to_string()));
}

/// Checks that twenty concurrent connections each get back their own bytes.
#[track_caller]
fn assert_echoes_a_lot(address: SocketAddr) {
    const CLIENTS: u64 = 20;
    const BYTES: usize = (64 << 20) / CLIENTS as usize / CHUNK * CHUNK;
    assert_echoes_to(address, CLIENTS, BYTES);
}

#[test]
fn recording_is_correct_and_bounded_under_full_load() {
    let folder = Folder::new();
    let path = folder.file("run.jsonl");
    let (plain, recorded) = (Server::start(&[]), Server::start(&["--trace", &path]));
    assert_echoes_a_lot(plain.addresses[0]);
    assert_echoes_a_lot(recorded.addresses[0]);
    // About ten events for each message, so that the recording drops the earliest.
    let mut client = recorded.connect();
    (0..2000).for_each(|_| assert_echoes(&mut client, b"hello"));
    let more = peak(recorded.pid()).saturating_sub(peak(plain.pid()));
    println!("{} KiB more memory with --trace", more >> 10);
    assert!(more < 64 << 20, "{more} bytes");
    let last = exchange(&recorded);
    recorded.signal(Signal::TERM);
    assert_eq!(recorded.wait().status.code(), Some(0));
    assert!(has_connection(&path, last));
    let (head, events) = lines(&path);
    assert_eq!(events.len(), 10_000);
    for (number, event) in (head["dropped"].as_u64().unwrap()..).zip(&events) {
        assert_eq!(event["number"].as_u64(), Some(number));
        let mut causes = event["causes"].as_array().unwrap().iter();
        assert!(causes.all(|cause| cause.as_u64().unwrap() < number), "{event}");
        assert!(
            event["kind"] != "wake" || event["causes"].as_array().unwrap().len() == 2,
            "{event}"
        );
    }
}
