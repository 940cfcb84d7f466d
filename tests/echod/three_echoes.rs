//! The same echo server three times, as examples: with threads, on bare mio, and on our runtime.

use std::path::PathBuf;
use std::process::Command;

use crate::bytes::{CHUNK, assert_echoes_to};
use crate::server::{Server, eventually};

/// Returns the path of an example program of `echo`, after building it.
pub(crate) fn example(name: &str) -> PathBuf {
    example_of("echo", name)
}

/// Returns the path of an example program, after building it.
pub(crate) fn example_of(package: &str, name: &str) -> PathBuf {
    tests::child::example(package, name)
}

#[track_caller]
fn assert_echoes_to_five_clients(name: &str) {
    const BYTES: usize = 16 * CHUNK;
    let mut command = Command::new(example(name));
    command.arg("127.0.0.1:0");
    let server = Server::spawn(command);
    eventually("the example listens", || server.stdout().contains('\n'));
    let line = server.stdout();
    let address = line
        .trim()
        .strip_prefix("listening on ")
        .expect("the example prints its address")
        .parse()
        .unwrap();

    assert_echoes_to(address, 5, BYTES);
    let line = format!("{BYTES} bytes echoed");
    eventually("the example reports five connections", || {
        server.stdout().matches(&line).count() == 5
    });
}

#[test]
fn echo_threads_reports_the_bytes_echoed() {
    assert_echoes_to_five_clients("echo_threads");
}

#[test]
fn echo_mio_reports_the_bytes_echoed() {
    assert_echoes_to_five_clients("echo_mio");
}

#[test]
fn echo_reports_the_bytes_echoed() {
    assert_echoes_to_five_clients("echo");
}

#[test]
fn compare_measures_all_three_servers() {
    let mut command = Command::new(example("compare"));
    command.args(["40", "2"]);
    let ended = Server::spawn(command).wait();
    assert!(ended.status.success(), "{ended:?}");
    let row = |name: &str| -> Vec<f64> {
        let line = ended.stdout.lines().find(|line| line.starts_with(name));
        let words = line.expect("each server has a row").split_whitespace().skip(1);
        words.filter_map(|word| word.parse().ok()).collect()
    };
    // The columns are memory, threads, switches and time.
    assert_eq!([row("threads")[1], row("mio")[1], row("ours")[1]], [41.0, 1.0, 1.0]);
    assert!(row("ours")[0] < row("threads")[0], "memory of a connection: {}", ended.stdout);
}
