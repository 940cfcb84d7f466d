//! Tests that need a process of their own, because they lower its limits or stop it. Also runs
//! example programs.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use crate::DEADLINE;
use crate::process::is_installed;

/// The environment variable that is set in the child, to the name of its test.
const NAME: &str = "TESTS_CHILD";

/// Runs `body` in a child process, which runs only the test of this name.
///
/// # Panics
///
/// Panics if the child cannot be started, or if the test fails there or hangs.
#[track_caller]
pub fn in_child(test: &str, body: impl FnOnce()) {
    if is_child() {
        return body();
    }
    expect_success(start(test));
}

/// Runs a test like [`in_child`], in a process in which strace makes system calls fail. `failure` says
/// which and how, in the syntax of strace, e.g. `shutdown:error=ENOBUFS:when=1`.
///
/// # Panics
///
/// Panics in the same cases as [`in_child`].
#[track_caller]
pub fn in_child_with(failure: &str, test: &str, body: impl FnOnce()) {
    if is_child() {
        return body();
    }
    if is_installed("strace") {
        let call = failure.split(':').next().unwrap_or_default();
        let (trace, inject) = (format!("trace={call}"), format!("inject={failure}"));
        // With -D, strace runs beside the test, which is then the child that a deadline ends.
        let strace = ["strace", "-D", "-f", "-qqq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
        expect_success(start_through(&strace, test));
    }
}

/// Whether this process is the child.
pub fn is_child() -> bool {
    env::var_os(NAME).is_some()
}

/// Starts the test of this name in a process of its own.
///
/// # Panics
///
/// Panics if the process cannot be started.
pub fn start(test: &str) -> Child {
    start_through(&[], test)
}

/// Starts a test like [`start`], but through a program such as `strace`, with its options.
///
/// # Panics
///
/// Panics if the program cannot be started.
pub fn start_through(wrapper: &[&str], test: &str) -> Child {
    let itself = env::current_exe().expect("the test binary has a path");
    let mut command = match wrapper {
        [] => Command::new(itself),
        [program, args @ ..] => {
            let mut command = Command::new(program);
            command.args(args).arg(itself);
            command
        }
    };
    command
        // The test may be ignored by default.
        .args([test, "--exact", "--include-ignored", "--nocapture", "--test-threads=1"])
        .env(NAME, test)
        // This stack size applies to threads that do not set their own: those of the thread pool.
        // So a memory limit can make the creation of these threads fail, and nothing else.
        .env("RUST_MIN_STACK", (512 << 20).to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("the process can be started")
}

/// Waits until the child exits.
///
/// # Panics
///
/// Panics if its test failed, did not run or hangs.
#[track_caller]
pub fn expect_success(mut child: Child) {
    let stdout = child.stdout.take().expect("stdout is piped");
    let output = thread::spawn(move || io::read_to_string(stdout).unwrap_or_default());
    let start = Instant::now();
    // The output ends when the child exits.
    while !output.is_finished() && start.elapsed() < DEADLINE {
        thread::park_timeout(std::time::Duration::from_millis(5));
    }
    if !output.is_finished() {
        let _ = child.kill();
    }
    let status = child.wait().expect("the child can be waited for");
    let output = output.join().expect("the reader does not panic");
    assert!(status.success() && output.contains("1 passed"), "{status}\n{output}");
}

/// Returns the program of an example, and builds it if necessary.
///
/// `cargo test` has built all examples, but a run of a single test binary has not, and an older
/// program may lie there. So the program is used only if it is newer than all its sources.
/// Otherwise the examples of its package are built, once for all tests of this process.
///
/// # Panics
///
/// Panics if the examples cannot be built.
#[track_caller]
pub fn example(package: &str, name: &str) -> PathBuf {
    built(package, "--examples", &Path::new("examples").join(name))
}

/// Returns the program of a package's binary, and builds it if necessary, as [`example`] does.
///
/// # Panics
///
/// Panics if the binaries cannot be built.
#[track_caller]
pub fn binary(package: &str, name: &str) -> PathBuf {
    built(package, "--bins", Path::new(name))
}

/// Returns the path of a program, after building all targets of this kind if it is out of date.
#[track_caller]
fn built(package: &str, kind: &str, program: &Path) -> PathBuf {
    static BUILT: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let itself = env::current_exe().expect("this program has a path");
    let folder =
        itself.ancestors().nth(2).expect("this program is in `deps` or `examples` of the profile");
    let program = folder.join(program);
    if is_current(&program).unwrap_or(false) {
        return program;
    }
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let target = format!("{package} {kind}");
    if built.contains(&target) {
        return program;
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "-q", "--locked", "-p", package, kind]);
    // Remove what Cargo has set for this test. The build script of ring would run again otherwise.
    let is_ours =
        |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_ours)) {
        cargo.env_remove(name);
    }
    cargo.args(folder.ends_with("release").then_some("--release"));
    let is_built = cargo.status().is_ok_and(|status| status.success());
    assert!(is_built, "the targets of {package} cannot be built: {kind}");
    built.insert(target);
    program
}

/// Whether a program is newer than all its sources, which cargo lists in a file beside it.
fn is_current(program: &Path) -> io::Result<bool> {
    let changed = |path: &Path| path.metadata()?.modified();
    let built = changed(program)?;
    let list = fs::read_to_string(program.with_extension("d"))?;
    let sources = list.split_once(": ").map_or("", |(_, sources)| sources);
    let is_older = |source| changed(Path::new(source)).is_ok_and(|changed| changed <= built);
    Ok(sources.split_whitespace().all(is_older))
}
