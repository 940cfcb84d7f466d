//! The examples that put our reactor under another executor, and our executor into another loop.

use std::collections::BTreeSet;
use std::process::Command;

use crate::server::Server;
use crate::three_echoes::example;

/// What an example prints, which has to end by itself.
#[track_caller]
pub(crate) fn printed_by(name: &str) -> String {
    let ended = Server::spawn(Command::new(example(name))).wait();
    assert!(ended.status.success(), "{ended:?}");
    ended.stdout
}

#[test]
fn our_reactor_runs_under_another_executor() {
    assert_eq!(printed_by("foreign_executor"), "hello comes back\n5 bytes echoed\n");
}

#[test]
fn our_executor_runs_inside_a_foreign_event_loop_that_has_descriptors_of_its_own() {
    let printed = printed_by("foreign_loop");
    let lines: BTreeSet<&str> = printed.lines().collect();
    let expected = [
        "a task: a job on another thread has completed",
        "a task: a timer has fired",
        "the loop: its own pipe has received hello",
    ];
    assert_eq!(lines, expected.into());
}
