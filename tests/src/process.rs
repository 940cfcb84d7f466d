//! What `/proc` reports about a process, and checks whether this machine has what a test needs.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{PidfdFlags, PidfdGetfdFlags, Signal, getpid, pidfd_getfd, pidfd_open};

/// Returns how many bytes of anonymous memory the process uses: heap, stacks, and pages that it has
/// written to.
pub fn memory(pid: u32) -> u64 {
    let rollup = read(pid, "smaps_rollup");
    field(&rollup, "Anonymous:") * 1024
}

/// Returns the largest resident size that the process has had, in bytes.
pub fn peak(pid: u32) -> u64 {
    field(&read(pid, "status"), "VmHWM:") * 1024
}

/// Returns the resident size of the process, in bytes.
pub fn resident(pid: u32) -> u64 {
    field(&read(pid, "status"), "VmRSS:") * 1024
}

/// Returns the size of the process's address space, in bytes.
pub fn size(pid: u32) -> u64 {
    field(&read(pid, "status"), "VmSize:") * 1024
}

/// Returns the ID of the thread with this name. `/proc` has the same files for a thread as for a process.
pub fn thread(pid: u32, name: &str) -> u32 {
    let thread = threads(pid).into_iter().find(|(_, comm)| comm == name);
    thread.expect("there is a thread of that name").0
}

/// Returns the CPU time that the thread has used. The ID of a process is that of its main thread.
pub fn cpu_time(pid: u32) -> Duration {
    let schedstat = read(pid, "schedstat");
    let nanoseconds = schedstat.split_whitespace().next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.expect("schedstat begins with nanoseconds"))
}

/// Returns whether a debugger traces the process or thread.
pub fn is_traced(pid: u32) -> bool {
    field(&read(pid, "status"), "TracerPid:") != 0
}

/// Returns whether SIGSTOP has stopped the process.
pub fn is_stopped(pid: u32) -> bool {
    matches!(state(pid), 'T' | 't')
}

/// Returns whether the process has a handler for the signal.
pub fn catches(pid: u32, signal: Signal) -> bool {
    let status = read(pid, "status");
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = u64::from_str_radix(caught.expect("the field exists").trim(), 16);
    caught.expect("in hexadecimal") >> (signal.as_raw() - 1) & 1 == 1
}

/// Returns whether the thread sleeps. A thread that only waits for a CPU does not.
pub fn is_asleep(pid: u32) -> bool {
    state(pid) == 'S'
}

fn state(pid: u32) -> char {
    let status = read(pid, "status");
    let state = status.lines().find_map(|line| line.strip_prefix("State:\t")?.chars().next());
    state.expect("a process has a state")
}

/// Returns the open descriptors of the process, each with its target.
pub fn descriptors(pid: u32) -> Vec<(i32, String)> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("the process runs");
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let target = fs::read_link(entry.path()).ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, target.display().to_string()))
        })
        .collect()
}

/// Returns the flags of an open descriptor, as passed to `open`.
pub fn flags(pid: u32, descriptor: i32) -> u32 {
    let info = read(pid, &format!("fdinfo/{descriptor}"));
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    u32::from_str_radix(flags.expect("each has flags").trim(), 8).expect("in octal")
}

/// Returns the port of the first TCP socket on which the process listens.
pub fn listening_port(pid: u32) -> Option<u16> {
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

/// Returns whether a program is installed. If not, prints that the test is skipped.
pub fn is_installed(program: &str) -> bool {
    let mut command = Command::new("sh");
    command.args(["-c", "command -v \"$0\"", program]);
    let found = command.stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

/// Returns whether the OS supports pidfds. If not, prints that the test is skipped.
pub fn has_pidfds() -> bool {
    let given = pidfd_open(getpid(), PidfdFlags::empty());
    if let Err(error) = &given {
        println!("skipped: pidfd_open fails: {error}");
    }
    given.is_ok()
}

/// Returns whether a process can duplicate descriptors with `pidfd_getfd`, which many sandboxes deny.
/// If not, prints that the test is skipped.
pub fn gives_descriptors() -> bool {
    let given = pidfd_open(getpid(), PidfdFlags::empty())
        .and_then(|process| pidfd_getfd(&process, 2, PidfdGetfdFlags::empty()));
    if let Err(error) = &given {
        println!("skipped: pidfd_getfd fails: {error}");
    }
    given.is_ok()
}

/// Returns the kernel's limit for the length of an accept queue.
pub fn longest_backlog() -> usize {
    let limit = fs::read_to_string("/proc/sys/net/core/somaxconn").ok();
    limit.and_then(|limit| limit.trim().parse().ok()).unwrap_or(usize::MAX)
}

/// Returns whether an accept queue may hold this many connections. If not, prints that the test is
/// skipped.
pub fn may_wait_in_a_backlog(connections: usize) -> bool {
    let may = longest_backlog() >= connections;
    if !may {
        println!("skipped: an accept queue holds fewer than {connections} connections (somaxconn)");
    }
    may
}

/// Returns the CPU time that all threads of the process have used.
pub fn cpu_time_of_threads(pid: u32) -> Duration {
    threads(pid).into_iter().map(|(thread, _)| cpu_time(thread)).sum()
}

/// Returns the ID and the name of each thread of the process.
pub fn threads(pid: u32) -> Vec<(u32, String)> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    // A thread may end after it has been listed.
    let threads = threads.filter_map(|entry| {
        let path = entry.ok()?.path();
        let name = fs::read_to_string(path.join("comm")).ok()?.trim_end().to_owned();
        Some((path.file_name()?.to_str()?.parse().ok()?, name))
    });
    threads.collect()
}

fn read(pid: u32, file: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{file}")).expect("the process runs")
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the field exists");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}
