//! The examples for pipes, child processes, signals and other descriptors, each run to completion.

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
fn example_child_sorts_through_pipes() {
    if !has_pidfds() {
        return;
    }
    let ended = run(Command::new(example("child")));
    assert_eq!(ended.stdout, "apple\nfig\npear\nexit status: 0\n");
}

// Method: strace shows every new thread and every call that waits for a child.
#[test]
fn wait_for_a_child_uses_no_thread_and_no_waitid() {
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
        return println!("skipped: strace is not permitted to trace other processes");
    }
    assert!(ended.status.success(), "{ended:?}");
    assert!(!ended.stderr.contains("CLONE_THREAD"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("waitid"), "{}", ended.stderr);
    assert!(ended.stderr.contains("epoll_wait"), "{}", ended.stderr);
}

#[test]
fn inotify_descriptor_is_awaited_like_a_socket() {
    let ended = run(Command::new(example("inotify")));
    assert_eq!(ended.stdout, "hello appears\n");
}

#[test]
fn example_pipe_upper_prints_capitals() {
    let mut shell = Command::new("sh");
    let script = "for line in one two three; do echo $line; done | \"$0\"";
    shell.args(["-c", script]).arg(example("pipe_upper"));
    assert_eq!(run(shell).stdout, "ONE\nTWO\nTHREE\n");
}

#[test]
fn ctrl_c_reaches_both_receivers() {
    let program = Server::spawn(Command::new(example("signals")));
    eventually("the program watches the signals", || program.stdout().starts_with("kill -USR1 "));
    for count in 1..=2 {
        program.signal(Signal::USR1);
        let line = format!("SIGUSR1, {count}\n");
        eventually("the program reports the signal", || program.stdout().contains(&line));
    }
    program.signal(Signal::INT);
    let ended = program.wait();
    assert!(ended.status.success() && ended.stdout.ends_with("farewell\n"), "{ended:?}");
}
