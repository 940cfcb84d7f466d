//! What the system tells of a process, and what may be missing on this machine.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{PidfdFlags, PidfdGetfdFlags, Signal, getpid, pidfd_getfd, pidfd_open};

/// The bytes of user memory that are its own: heap, stacks, and pages that it has written to.
pub(crate) fn memory(pid: u32) -> u64 {
    let rollup = read(pid, "smaps_rollup");
    field(&rollup, "Anonymous:") * 1024
}

/// The most memory that it has ever had in use, in bytes.
pub(crate) fn peak(pid: u32) -> u64 {
    field(&read(pid, "status"), "VmHWM:") * 1024
}

/// Its address space, in bytes.
pub(crate) fn size(pid: u32) -> u64 {
    field(&read(pid, "status"), "VmSize:") * 1024
}

/// The id of its thread of that name. The system tells of a thread what it tells of a process.
pub(crate) fn thread(pid: u32, name: &str) -> u32 {
    let mut threads = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    let id = threads.find_map(|entry| {
        let path = entry.ok()?.path();
        let is_it = fs::read_to_string(path.join("comm")).ok()?.trim_end() == name;
        if is_it { path.file_name()?.to_str()?.parse().ok() } else { None }
    });
    id.expect("there is a thread of that name")
}

/// The processor time that its main thread, or the thread of this id, has used.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    let schedstat = read(pid, "schedstat");
    let nanoseconds = schedstat.split_whitespace().next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.expect("schedstat begins with nanoseconds"))
}

/// Whether a debugger watches it.
pub(crate) fn is_traced(pid: u32) -> bool {
    field(&read(pid, "status"), "TracerPid:") != 0
}

/// Whether SIGSTOP has stopped it.
pub(crate) fn is_stopped(pid: u32) -> bool {
    matches!(state(pid), 'T' | 't')
}

/// Whether it has a handler for a signal.
pub(crate) fn catches(pid: u32, signal: Signal) -> bool {
    let status = read(pid, "status");
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = u64::from_str_radix(caught.expect("the field exists").trim(), 16);
    caught.expect("in hexadecimal") >> (signal.as_raw() - 1) & 1 == 1
}

/// Whether it waits for something to happen; not, if it only waits for a processor.
pub(crate) fn is_asleep(pid: u32) -> bool {
    state(pid) == 'S'
}

fn state(pid: u32) -> char {
    let status = read(pid, "status");
    let state = status.lines().find_map(|line| line.strip_prefix("State:\t")?.chars().next());
    state.expect("a process has a state")
}

/// Its descriptors, each with what it is open on.
pub(crate) fn descriptors(pid: u32) -> Vec<(i32, String)> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("the process runs");
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let target = fs::read_link(entry.path()).ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, target.display().to_string()))
        })
        .collect()
}

/// The flags of an open descriptor, as `open` knows them.
pub(crate) fn flags(pid: u32, descriptor: i32) -> u32 {
    let info = read(pid, &format!("fdinfo/{descriptor}"));
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    u32::from_str_radix(flags.expect("each has flags").trim(), 8).expect("in octal")
}

/// The port of the first TCP socket on which it listens.
pub(crate) fn listening_port(pid: u32) -> Option<u16> {
    let sockets = descriptors(pid);
    let table = read(pid, "net/tcp");
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let listens = columns.get(3) == Some(&"0A");
        let socket = format!("socket:[{}]", columns.get(9)?);
        let ours = listens && sockets.iter().any(|(_, target)| *target == socket);
        let port = columns.get(1)?.split(':').next_back()?;
        if ours { u16::from_str_radix(port, 16).ok() } else { None }
    })
}

/// Whether a program is installed; else says that the test is skipped.
pub(crate) fn is_installed(program: &str) -> bool {
    let mut command = Command::new("sh");
    command.args(["-c", "command -v \"$0\"", program]);
    let found = command.stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

/// Whether the system gives a descriptor for a process; else says that the test is skipped.
pub(crate) fn has_pidfds() -> bool {
    let given = pidfd_open(getpid(), PidfdFlags::empty());
    if let Err(error) = &given {
        println!("skipped: the system gives no descriptor for a process: {error}");
    }
    given.is_ok()
}

/// Whether the system gives a process a duplicate of a descriptor, its own or that of a child; else
/// says that the test is skipped. Many sandboxes do not.
pub(crate) fn gives_descriptors() -> bool {
    let given = pidfd_open(getpid(), PidfdFlags::empty())
        .and_then(|process| pidfd_getfd(&process, 2, PidfdGetfdFlags::empty()));
    if let Err(error) = &given {
        println!("skipped: the system gives no descriptors: {error}");
    }
    given.is_ok()
}

/// How many connections the system lets wait for a listener at most, whatever that asks for.
pub(crate) fn longest_backlog() -> usize {
    let told = fs::read_to_string("/proc/sys/net/core/somaxconn").ok();
    told.and_then(|told| told.trim().parse().ok()).unwrap_or(usize::MAX)
}

/// Whether so many may wait for a listener; else says that the test is skipped.
pub(crate) fn may_wait_in_a_backlog(connections: usize) -> bool {
    let may = longest_backlog() >= connections;
    if !may {
        println!("skipped: fewer than {connections} connections may wait (somaxconn)");
    }
    may
}

fn read(pid: u32, file: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{file}")).expect("the process runs")
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the field exists");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}
