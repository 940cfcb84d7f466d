//! What the answers to the second half of the fifteen questions promise, as they run here and now.

use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use crate::server::{Ended, Server};
use crate::three_echoes::example;

fn question(number: Option<&str>) -> String {
    static QUESTION: LazyLock<PathBuf> = LazyLock::new(|| example("question"));
    let mut command = Command::new(&*QUESTION);
    command.args(number);
    let Ended { status, stdout, stderr } = Server::spawn(command).wait();
    assert!(status.success() && stderr.is_empty(), "{status}: {stderr}");
    stdout
}

/// What the program prints that answers this question, whatever its number.
#[track_caller]
fn answer(text: &str) -> String {
    let list = question(None);
    let numbered = list.lines().filter_map(|line| line.trim().split_once("  "));
    let number = numbered.into_iter().find_map(|(number, is)| (is == text).then_some(number));
    let answer = question(Some(number.unwrap_or_else(|| panic!("nobody asks: {text}\n{list}"))));
    assert!(answer.is_ascii() && answer.lines().all(|line| line.len() <= 80), "{answer}");
    assert!(answer.lines().count() <= 22, "{answer}");
    answer
}

/// Fails, unless these are in the answer, one after the other.
#[track_caller]
fn assert_tells(answer: &str, facts: &[&str]) {
    let mut rest = answer;
    for fact in facts {
        let Some((_, after)) = rest.split_once(fact) else { panic!("{fact:?} is not in\n{rest}") };
        rest = after;
    }
}

#[test]
fn a_wake_from_another_thread_ends_the_sleep_and_a_hundred_need_one_notification() {
    let answer = answer("How does another thread end epoll_wait?");
    let asleep_till_the_wake = [
        "Pending",
        "epoll_wait, as the run queue is empty",
        "other     wake task 0: into the inbox",
        "epoll_wait returns: another thread notified",
        "poll task 0, 2nd time",
        "Ready",
    ];
    assert_tells(&answer, &asleep_till_the_wake);
    assert_tells(&answer, &["100 wakes from other threads; notifications: 1\n"]);
}

#[test]
fn wakes_coalesce_before_a_poll_one_more_follows_a_wake_during_it_and_none_a_wake_after_ready() {
    let answer =
        answer("What if wake comes twice, during a poll, or after Ready? Are spurious polls bugs?");
    let polls = [
        "before its poll:  1 poll\n",
        "during its poll:  1 more\n",
        "after Ready:      0, and 0 of other tasks\n",
    ];
    assert_tells(&answer, &polls);
    let in_vain =
        ["polls that found nothing: 3; reads that would have blocked: 0\n", "returns 1\n"];
    assert_tells(&answer, &in_vain);
}

#[test]
fn an_event_wakes_the_half_that_it_concerns_and_clients_that_are_spawned_do_not_wait_in_line() {
    let answer = answer("How can reader and writer be two tasks? Spawn or await?");
    let halves = [
        "reader: [Source { key: 0, kind: \"TcpStream\", direction: \"read\" }]\n",
        "writer: [Source { key: 0, kind: \"TcpStream\", direction: \"write\" }]\n",
        "the peer sends a byte; polls:  reader 1, writer 0\n",
        "the peer reads 16 MiB; polls:  reader 0, writer some\n",
    ];
    assert_tells(&answer, &halves);
    assert_tells(&answer, &["spawn: together", "await: one after the other"]);
}

#[test]
fn each_call_that_blocks_stops_all_and_its_cure_does_not() {
    let answer = answer("What does one blocking call do to everyone?");
    let calls = [
        ("thread::sleep ", "all stops"),
        ("time::sleep ", "all goes on"),
        ("read of a socket of std ", "all stops"),
        ("the same in unblock ", "all goes on"),
        ("read of a socket of reactor ", "all goes on"),
        ("a computation ", "all stops"),
        ("the same, yields each ms ", "all goes on"),
    ];
    for (call, others) in calls {
        let line = answer.lines().find_map(|line| line.trim().strip_prefix(call));
        assert!(line.is_some_and(|line| line.trim().starts_with(others)), "{call}\n{answer}");
    }
}

#[test]
fn the_nearest_timer_limits_the_sleep_and_no_thread_waits_for_it() {
    let answer = answer("How do timers fit into one epoll_wait?");
    let waits = [
        "keep the waker of task 0 in source 0",
        "keep the waker of task 0 for 300 ms",
        "keep the waker of task 0 for 50 ms",
        "epoll_wait, for ",
        "asleep ",
        "the timer of task 0 is due ",
        "epoll_wait, for ",
        "the timer of task 0 is due ",
        "epoll_wait, as the run queue is empty",
        "client    sends 1 byte",
        "epoll_wait returns: source 0 is readable",
        "read -> 1 byte",
    ];
    assert_tells(&answer, &waits);
    let limits = answer.split("epoll_wait, for ").skip(1).filter_map(|rest| rest.split(' ').next());
    let limits: Vec<f64> = limits.map(|limit| limit.parse().expect("a number")).collect();
    assert!(limits.len() == 2 && limits[0] <= 50.0 && limits[1] <= 250.0, "{answer}");
    // The second timer that was set is the first that fires.
    let why =
        answer.lines().filter_map(|line| line.split_once("is due")?.1.split_whitespace().next());
    assert_eq!(why.collect::<Vec<_>>(), ["#4", "#3"], "{answer}");
    if cfg!(target_os = "linux") {
        assert_tells(&answer, &["threads, while three waits lasted: 1\n"]);
    }
}

#[test]
fn a_dropped_read_loses_nothing_a_dropped_read_exact_what_it_has_and_no_task_and_no_job_ends() {
    let answer = answer("What if a future is dropped half way?");
    let facts = [
        "read: Err(Elapsed(()))",
        "the next read gets \"a\"\n",
        "read_exact of 4, and \"ab\" has come: Err(Elapsed(()))",
        "the next read gets \"cd\"\n",
        "pinned and kept: Err(Elapsed(()))",
        "it gets \"abcd\"\n",
        "whose handle is dropped runs to its end\n",
        "aborted drops all it held; is_cancelled: true\n",
        "unblock: Err(Elapsed(())); has its job ended? then false, later true\n",
    ];
    assert_tells(&answer, &facts);
}

#[test]
fn a_flood_gives_way_after_its_budget_and_who_awaits_nothing_never_does() {
    let answer = answer("Who starves, who is fair, and what is the budget?");
    let facts = [
        "before others have their turn: 128\n",
        "until that is read: 256\n",
        "yields all the time: both in time",
        "computes, awaits nothing: both late",
        "--warn-blocking 10ms\n",
    ];
    assert_tells(&answer, &facts);
    let help = Server::run(&["--help"]).stdout;
    assert!(help.contains("--warn-blocking"), "{help}");
}
