//! The examples for pipes, child processes, signals and any descriptor, each run to its end.

use std::process::Command;

use rustix::process::Signal;

use crate::process::{has_pidfds, is_installed};
use crate::server::{Ended, Server, eventually};
use crate::three_echoes::example;

#[track_caller]
fn run(command: Command) -> Ended {
    let ended = Server::spawn(command).wait();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    ended
}

#[test]
fn a_child_process_is_talked_to_and_waited_for_without_a_thread() {
    if !has_pidfds() {
        return;
    }
    let ended = run(Command::new(example("child")));
    assert_eq!(ended.stdout, "apple\nfig\npear\nexit status: 0\n");
}

// Nothing but the one thread: who waits in a thread has started it.
#[test]
fn the_wait_for_a_child_starts_no_thread_and_never_calls_waitid() {
    if !has_pidfds() || !is_installed("strace") {
        return;
    }
    let mut strace = Command::new("strace");
    strace.args(["-qq", "-f", "-e", "trace=clone,clone3,vfork,waitid,wait4,epoll_wait"]);
    let ended = Server::spawn({
        strace.arg(example("child"));
        strace
    })
    .wait();
    if ended.stderr.contains("PTRACE_") {
        return println!("skipped: strace may not watch other processes here");
    }
    assert!(ended.status.success(), "{ended:?}");
    assert!(!ended.stderr.contains("CLONE_THREAD"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("waitid"), "{}", ended.stderr);
    assert!(ended.stderr.contains("epoll_wait"), "{}", ended.stderr);
}

#[test]
fn a_descriptor_of_inotify_is_waited_for_as_a_socket() {
    let ended = run(Command::new(example("inotify")));
    assert_eq!(ended.stdout, "hello appears\n");
}

#[test]
fn what_comes_in_goes_through_a_pipe_and_comes_out_in_capitals() {
    let mut shell = Command::new("sh");
    let script = "for line in one two three; do echo $line; done | \"$0\"";
    shell.args(["-c", script]).arg(example("pipe_upper"));
    assert_eq!(run(shell).stdout, "ONE\nTWO\nTHREE\n");
}

#[test]
fn signals_are_told_and_both_who_wait_for_ctrl_c_hear_it() {
    let program = Server::spawn(Command::new(example("signals")));
    eventually("it watches", || program.stdout().starts_with("kill -USR1 "));
    for count in 1..=2 {
        program.signal(Signal::USR1);
        let told = format!("SIGUSR1, {count}\n");
        eventually("it tells of the signal", || program.stdout().contains(&told));
    }
    program.signal(Signal::INT);
    let ended = program.wait();
    assert!(ended.status.success() && ended.stdout.ends_with("farewell\n"), "{ended:?}");
}
