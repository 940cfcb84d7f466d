//! The same server three times, as examples: threads, bare mio, and ours.

use std::path::PathBuf;
use std::process::Command;

use crate::bytes::{CHUNK, assert_echoes_to};
use crate::server::{Server, eventually};

/// The program of an example of `echo`.
pub(crate) fn example(name: &str) -> PathBuf {
    example_of("echo", name)
}

/// The program of an example.
pub(crate) fn example_of(package: &str, name: &str) -> PathBuf {
    tests::child::example(package, name)
}

#[track_caller]
fn assert_echoes_to_several_clients_at_once(name: &str) {
    const BYTES: usize = 16 * CHUNK;
    let mut command = Command::new(example(name));
    command.arg("127.0.0.1:0");
    let server = Server::spawn(command);
    eventually("the example listens", || server.stdout().contains('\n'));
    let line = server.stdout();
    let address =
        line.trim().strip_prefix("listening on ").expect("it says where").parse().unwrap();

    assert_echoes_to(address, 5, BYTES);
    let told = format!("{BYTES} bytes echoed");
    eventually("it tells how much", || server.stdout().matches(&told).count() == 5);
}

#[test]
fn the_echo_with_threads_echoes_and_tells_how_much() {
    assert_echoes_to_several_clients_at_once("echo_threads");
}

#[test]
fn the_echo_on_bare_mio_echoes_and_tells_how_much() {
    assert_echoes_to_several_clients_at_once("echo_mio");
}

#[test]
fn our_classic_echo_echoes_and_tells_how_much() {
    assert_echoes_to_several_clients_at_once("echo");
}

#[test]
fn one_command_compares_the_three() {
    let mut command = Command::new(example("compare"));
    command.args(["40", "2"]);
    let ended = Server::spawn(command).wait();
    assert!(ended.status.success(), "{ended:?}");
    let row = |name: &str| -> Vec<f64> {
        let line = ended.stdout.lines().find(|line| line.starts_with(name));
        let words = line.expect("each server has a row").split_whitespace().skip(1);
        words.filter_map(|word| word.parse().ok()).collect()
    };
    // Memory, threads, switches, time.
    assert_eq!([row("threads")[1], row("mio")[1], row("ours")[1]], [41.0, 1.0, 1.0]);
    assert!(row("ours")[0] < row("threads")[0], "memory of a connection: {}", ended.stdout);
}
