//! Errors that are injected while the server starts.

use std::os::unix::net::UnixListener;
use std::process::Command;

use tests::folder;

use crate::process::is_installed;
use crate::server::{ECHOD, Ended, Server, eventually};

/// Starts a server in which the nth call of this name fails, and stops it when it has announced both
/// of its listeners. Returns `None` if strace cannot be used.
///
/// A stale file is at the path of its Unix socket.
#[track_caller]
fn start_with(call: &str, error: &str, nth: usize) -> Option<Ended> {
    if !is_installed("strace") {
        return None;
    }
    let folder = folder();
    let socket = folder.path().join("socket");
    drop(UnixListener::bind(&socket).unwrap());
    let inject = format!("inject={call}:error={error}:when={nth}");
    let mut command = Command::new("strace");
    // With -D, strace runs beside the server, which is then a child of this process.
    command.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", &inject, ECHOD, "127.0.0.1:0"]);
    command.arg(format!("unix:{}", socket.display()));
    let server = Server::spawn(command);
    eventually("the server listens or reports an error", || {
        server.stdout().lines().count() == 2
            || ["echod: ", "strace: "].iter().any(|line| server.stderr().contains(line))
    });
    if server.stderr().contains("strace: ") {
        println!("skipped: strace may not watch other processes here");
        return None;
    }
    if server.stdout().lines().count() == 2 {
        server.signal(rustix::process::Signal::TERM);
    }
    Some(server.wait())
}

// A listener that served without its line would look as if the server never started.
#[test]
fn listener_without_a_known_address_ends_the_server() {
    let mut failed = 0;
    for nth in 1..=6 {
        let Some(ended) = start_with("getsockname", "ENOBUFS", nth) else { return };
        if ended.status.success() {
            assert_eq!(ended.stdout.lines().count(), 2, "call {nth}: {}", ended.stderr);
            continue;
        }
        failed += 1;
        assert_eq!(ended.status.code(), Some(1), "call {nth}: {}", ended.stderr);
        let errors = ended.stderr.lines().filter(|line| line.starts_with("echod: cannot listen"));
        assert_eq!(errors.count(), 1, "call {nth}: {}", ended.stderr);
    }
    assert!(failed >= 2, "{failed} calls looked up an address");
}

#[test]
fn interrupted_lock_of_a_socket_file_is_retried() {
    let Some(ended) = start_with("flock", "EINTR", 1) else { return };
    assert!(ended.status.success(), "{}", ended.stderr);
}
