//! The examples that run our reactor under another executor, and our executor in another event
//! loop.

use std::collections::BTreeSet;
use std::process::Command;

use crate::server::Server;
use crate::three_echoes::example;

/// Runs an example to completion, and returns what it prints.
#[track_caller]
pub(crate) fn printed_by(name: &str) -> String {
    let ended = Server::spawn(Command::new(example(name))).wait();
    assert!(ended.status.success(), "{ended:?}");
    ended.stdout
}

#[test]
fn reactor_runs_under_another_executor() {
    assert_eq!(printed_by("foreign_executor"), "hello comes back\n5 bytes echoed\n");
}

#[test]
fn executor_runs_inside_a_host_event_loop() {
    let printed = printed_by("foreign_loop");
    let lines: BTreeSet<&str> = printed.lines().collect();
    let expected = [
        "a task: a job on another thread has completed",
        "a task: a timer has fired",
        "the loop: its own pipe has received hello",
    ];
    assert_eq!(lines, expected.into());
}
