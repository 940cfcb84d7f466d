//! Tests that need a process of their own: they lower its limits, or stop it; or they run a
//! program, an example of this package.

use std::collections::BTreeSet;
use std::env;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
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
    start_through(&[], test)
}

/// Starts a test like [`start`], but through a program such as `strace`, with its options.
///
/// # Panics
///
/// Panics if the system cannot start the program.
pub fn start_through(wrapper: &[&str], test: &str) -> Child {
    let itself = env::current_exe().expect("the path of the test binary");
    let mut command = match wrapper {
        [] => Command::new(itself),
        [program, args @ ..] => {
            let mut command = Command::new(program);
            command.args(args).arg(itself);
            command
        }
    };
    command
        // The test may be one that is ignored unless it is asked for.
        .args([test, "--exact", "--include-ignored", "--nocapture", "--test-threads=1"])
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

/// The program of an example, built if need be.
///
/// `cargo test` builds it too, but not when it is asked for some tests alone; and what lies there
/// then may be old.
///
/// # Panics
///
/// If it cannot be built.
#[track_caller]
pub fn example(package: &str, name: &str) -> PathBuf {
    static BUILT: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let itself = env::current_exe().expect("the path of the test binary");
    let folder = itself.ancestors().nth(2).expect("it is in `deps`, beside `examples`");
    let program = folder.join("examples").join(name);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if built.contains(name) {
        return program;
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "-q", "--locked", "-p", package, "--example", name]);
    // What is set for this test. The build script of ring looks at it, and would run anew.
    let is_ours =
        |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_ours)) {
        cargo.env_remove(name);
    }
    cargo.args(folder.ends_with("release").then_some("--release"));
    assert!(cargo.status().is_ok_and(|status| status.success()), "{name} cannot be built");
    built.insert(name.to_owned());
    program
}
