//! Short forms of the programs that run for long: the soak, and the injected faults.

use std::process::Command;

use tests::child::example;

use crate::process::is_installed;

#[test]
fn ten_seconds_of_mixed_load_lose_nothing() {
    run("soak", &["--seconds", "10", "--threads", "2"]);
}

// Pitfall: O2, S2, S3
#[test]
fn server_survives_a_selection_of_injected_errors() {
    if is_installed("strace") {
        run("inject", &["--quick"]);
    }
}

#[track_caller]
fn run(name: &str, arguments: &[&str]) {
    let output = Command::new(example("tests", name)).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{}\n{stderr}\n{stdout}", output.status);
}
