//! Tests that need a process of their own: they lower its limits, or stop it.

use std::env;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use crate::DEADLINE;

/// Set in the child, to the name of its test.
const NAME: &str = "TESTS_CHILD";

/// Runs `body` in a child process: this very test, started once more and alone.
///
/// # Panics
///
/// If it fails there, or hangs.
#[track_caller]
pub fn in_child(test: &str, body: impl FnOnce()) {
    if is_child() {
        return body();
    }
    expect_success(start(test));
}

/// Whether this process is the child.
pub fn is_child() -> bool {
    env::var_os(NAME).is_some()
}

/// Starts the test of that name in a process of its own.
///
/// # Panics
///
/// If the system refuses to start it.
pub fn start(test: &str) -> Child {
    let itself = env::current_exe().expect("the path of the test binary");
    Command::new(itself)
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(NAME, test)
        // Only threads that ask for no size of their own: those of the blocking pool, and so a
        // limit of memory can refuse them and nothing else.
        .env("RUST_MIN_STACK", (512 << 20).to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("a process for the test")
}

/// Waits for the child's end.
///
/// # Panics
///
/// If its test failed, did not run or hangs.
#[track_caller]
pub fn expect_success(mut child: Child) {
    let stdout = child.stdout.take().expect("piped");
    let output = thread::spawn(move || std::io::read_to_string(stdout).unwrap_or_default());
    let start = Instant::now();
    // Its output ends when it does.
    while !output.is_finished() && start.elapsed() < DEADLINE {
        thread::park_timeout(std::time::Duration::from_millis(5));
    }
    if !output.is_finished() {
        let _ = child.kill();
    }
    let status = child.wait().expect("the child's end");
    let output = output.join().expect("the child's output");
    assert!(status.success() && output.contains("1 passed"), "{status}\n{output}");
}
