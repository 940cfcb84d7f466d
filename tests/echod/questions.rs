//! The programs that answer the fifteen questions: what each of them prints is what the guide says.

use std::io::pipe;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use crate::server::{Ended, Server};
use crate::three_echoes::example;

static QUESTION: LazyLock<PathBuf> = LazyLock::new(|| example("question"));

fn question(arguments: &[&str]) -> Ended {
    let mut command = Command::new(&*QUESTION);
    command.args(arguments);
    Server::spawn(command).wait()
}

/// Runs a question, and returns what it prints. Fails if the guide could not show it.
#[track_caller]
fn answer(number: u32) -> String {
    let Ended { status, stdout, stderr } = question(&[&number.to_string()]);
    assert!(status.success() && stderr.is_empty(), "{status}: {stderr}");
    assert!(stdout.is_ascii() && stdout.lines().all(|line| line.len() <= 80), "{stdout}");
    assert!((2..=22).contains(&stdout.lines().count()), "{stdout}");
    stdout
}

/// Returns the lines of an answer.
#[track_caller]
fn lines_of(number: u32) -> Vec<String> {
    answer(number).lines().map(str::to_owned).collect()
}

/// Fails unless the answer contains these facts in this order.
#[track_caller]
fn assert_shows(answer: &str, facts: &[&str]) {
    let mut rest = answer;
    for fact in facts {
        let Some((_, after)) = rest.split_once(fact) else { panic!("{fact:?} is not in\n{rest}") };
        rest = after;
    }
}

/// Returns the row of the task with this name in the table of tasks, from its state on.
#[track_caller]
fn row(lines: &[String], name: &str) -> String {
    let rows = lines.iter().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut found = rows.filter(|words| words.get(1) == Some(&name));
    found.next().unwrap_or_else(|| panic!("{name}: {lines:#?}"))[2..].join(" ")
}

#[test]
fn waker_is_stored_and_called_between_two_polls() {
    let lines = lines_of(2);
    let way = [
        "poll it, 1st time",
        "read -> WouldBlock",
        "store the waker of task 1",
        "returns Pending",
        "epoll_wait, because the run queue is empty",
        "asleep",
        "client    sends 1 byte",
        "epoll_wait returns: source 0 is readable",
        "wake task 1",
        "task 1 goes into the run queue",
        "poll task 1, 2nd time",
        "read -> 1 byte",
    ];
    assert_shows(&lines.join("\n"), &way);
    assert_eq!(lines.iter().filter(|line| line.contains("poll ")).count(), 2, "{lines:#?}");
}

#[test]
fn waker_reaches_the_source_in_cx() {
    let lines = lines_of(3);
    let [spawn, functions @ .., store] = &lines[..] else { panic!("{lines:#?}") };
    let waker = |line: &str| line.split(", 0x").nth(1).map(str::to_owned);
    assert!(spawn.starts_with("spawn") && store.starts_with("store"), "{lines:#?}");
    assert!(waker(spawn).is_some() && waker(spawn) == waker(store), "{lines:#?}");

    let made = functions.iter().position(|line| line.contains("creates cx"));
    let (before, after) = functions.split_at(made.expect("a function creates cx"));
    assert!(before.iter().all(|line| line.ends_with("has no cx")), "{lines:#?}");
    assert!(after[1..].iter().all(|line| line.contains("receives") || line.contains(".await")));
    assert_shows(
        &lines.join(
            "
",
        ),
        &[
            "block_on",
            "executor/src/task.rs",
            "echo ",
            "poll_copy",
            "poll_read",
            "poll_io",
            "store ",
        ],
    );
}

#[test]
fn waiting_task_is_neither_queued_nor_polled() {
    let lines = lines_of(4);
    assert_eq!(row(&lines, "reader"), "Waiting 1 the reactor: read on source 0 (TcpStream)");
    assert_eq!(row(&lines, "joiner"), "Waiting 1 1 elsewhere: a handle, a channel or a thread");
    assert_eq!(row(&lines, "sleeper"), "Waiting 1 the reactor: a timer");
    assert_shows(&lines.join("\n"), &[": queued 0 times, polled 0 times"]);
    let after = lines.iter().skip_while(|line| !line.contains("sent 1 byte"));
    let after: Vec<_> = after.skip(1).collect();
    assert!(after.len() == 1 && after[0].contains("sleeper"), "{lines:#?}");
}

#[test]
fn wake_queues_the_task_on_the_calling_thread() {
    let lines = lines_of(5);
    let part = |title: &str| -> Vec<Vec<&str>> {
        let below = lines.iter().skip_while(|line| *line != title).skip(1);
        let part = below.take_while(|line| !line.ends_with(':'));
        part.map(|line| line.split_whitespace().collect()).collect()
    };
    let action = |thread, module, action: &[&'static str]| [&[thread, module], action].concat();
    let queue = |task| action("main", "executor::table", &["queue", "task", task]);
    let send = |task| action("other", "executor::inbox", &["send", "task", task]);
    let poll = |task| action("main", "executor::executor", &["poll", "task", task]);
    let wake = || action("main", "reactor::reactor", &["wake"]);
    let notified = action("main", "reactor::reactor", &["notified"]);
    assert_eq!(part("an event on a socket:"), [wake(), queue("1"), poll("1")]);
    assert_eq!(part("a timer:"), [wake(), queue("2"), poll("2")]);
    assert_eq!(part("another task:"), [poll("4"), queue("3"), poll("3")]);
    assert_eq!(part("another thread:"), [send("5"), notified, poll("5")]);
}

#[test]
fn task_list_distinguishes_three_endless_waits() {
    let lines = lines_of(6);
    assert_eq!(row(&lines, "forgetful"), "Lost 1 nothing");
    assert_eq!(row(&lines, "reader"), "Waiting 1 the reactor: read on source 0 (TcpStream)");
    for name in ["first", "second"] {
        assert_eq!(row(&lines, name), "Waiting 1 1 elsewhere: a handle, a channel or a thread");
    }
    let reports = lines.iter().filter(|line| line.starts_with("lost: "));
    assert_eq!(reports.count(), 1, "{lines:#?}");
    assert_shows(&lines.join("\n"), &["spawned at echo/learn/questions/stuck.rs:"]);
    assert_shows(&lines.join("\n"), &["reader completed within 100 ms: false"]);
}

#[test]
fn latest_waker_is_woken_after_a_future_moved() {
    let lines = lines_of(7);
    assert_shows(
        &lines.join(
            "
",
        ),
        &["wakers of: A\n", "wakers of: A and B\n", "B reads 1 byte"],
    );
    let assert_completed = |order: &str, completed: bool| {
        let line = lines.iter().find(|line| line.trim().starts_with(order));
        let line = line.unwrap_or_else(|| panic!("{order}: {lines:#?}"));
        assert!(
            line.contains("set: true;") && line.ends_with(&format!("ms: {completed}")),
            "{line}"
        );
    };
    assert_completed("check, store  ", false);
    assert_completed("check, store, check again", true);
    assert_shows(&lines.join("\n"), &["WouldBlock: 1, events: 1, then read: 1"]);
}

#[test]
fn unread_bytes_cause_no_second_event() {
    let lines = lines_of(8);
    let facts = [
        "events: 1, read: 16, left: 84",
        "events: 0, read: 0, left: 84",
        "events: 1, read: [16, 16, 16, 16, 16, 16, 4]",
        "one more read waits: true; calls that got WouldBlock: 0",
        "events: 1, read: 3, then 5; one more read waits: true",
        "bytes: 1000, registrations with the kernel: 1",
    ];
    assert_shows(&lines.join("\n"), &facts);
}

#[test]
fn questions_are_listed_without_an_argument() {
    let Ended { status, stdout, stderr } = question(&[]);
    assert!(status.success() && stderr.is_empty(), "{status}: {stderr}");
    assert!(stdout.is_ascii() && stdout.lines().all(|line| line.len() <= 80), "{stdout}");
    let first = |line: &str| line.split_whitespace().next()?.parse().ok();
    let numbers: Vec<usize> = stdout.lines().filter_map(first).collect();
    assert_eq!(numbers, (1..=15).collect::<Vec<_>>());
    assert_eq!(question(&["16"]).status.code(), Some(2));
}

#[test]
fn invalid_question_number_is_an_error() {
    for arguments in [&["0"][..], &["99"], &["-1"], &["two"], &[""], &["1", "2"]] {
        let Ended { status, stdout, stderr } = question(arguments);
        assert_eq!((status.code(), stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

#[test]
fn closed_output_pipe_is_not_an_error() {
    for arguments in [&[][..], &["1"], &["2"], &["3"], &["4"], &["5"], &["6"], &["7"], &["8"]] {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let mut command = Command::new(&*QUESTION);
        command.args(arguments).stdout(writer).stderr(Stdio::piped());
        let Ended { status, stderr, .. } = Server::spawn_unheard(command).wait();
        assert!(status.success() && stderr.is_empty(), "{arguments:?}: {status}: {stderr}");
    }
}

#[test]
fn wake_from_another_thread_ends_epoll_wait() {
    let answer = answer(9);
    let steps = [
        "Pending",
        "epoll_wait, because the run queue is empty",
        "other     wake task 0 through the inbox",
        "epoll_wait returns: notified by a thread",
        "poll task 0, 2nd time",
        "Ready",
    ];
    assert_shows(&answer, &steps);
    assert_shows(&answer, &["wakeups from other threads: 100, times the inbox was emptied: 1\n"]);
}

#[test]
fn repeated_wakes_cause_at_most_one_more_poll() {
    let answer = answer(10);
    let polls = [
        "before its poll:  1 poll\n",
        "during its poll:  1 more poll\n",
        "after Ready:      0 polls, and 0 of other tasks\n",
    ];
    assert_shows(&answer, &polls);
    let read = ["spurious polls: 3, calls that got WouldBlock: 0\n", "returns 1\n"];
    assert_shows(&answer, &read);
}

#[test]
fn event_wakes_only_the_half_of_its_direction() {
    let answer = answer(11);
    let halves = [
        "reader: [Source { key: 0, kind: \"TcpStream\", direction: \"read\" }]\n",
        "writer: [Source { key: 0, kind: \"TcpStream\", direction: \"write\" }]\n",
        "the peer sends a byte; polls:  reader 1, writer 0\n",
        "the peer reads 16 MiB; polls:  reader 0, writer some\n",
    ];
    assert_shows(&answer, &halves);
    assert_shows(&answer, &["spawned: concurrently", "awaited: one after the other"]);
}

#[test]
fn blocking_call_stops_other_tasks_unlike_its_cure() {
    let answer = answer(12);
    let calls = [
        ("thread::sleep ", "others stop"),
        ("time::sleep ", "others run"),
        ("read of a std socket ", "others stop"),
        ("the same, in unblock ", "others run"),
        ("read of a reactor socket ", "others run"),
        ("a computation ", "others stop"),
        ("the same, yielding each ms ", "others run"),
    ];
    for (call, others) in calls {
        let line = answer.lines().find_map(|line| line.trim().strip_prefix(call));
        assert!(line.is_some_and(|line| line.trim().starts_with(others)), "{call}\n{answer}");
    }
}

#[test]
fn nearest_deadline_limits_the_sleep() {
    let answer = answer(13);
    let steps = [
        "store the waker of task 0 in source 0",
        "store the waker of task 0 in a timer (300 ms)",
        "store the waker of task 0 in a timer (50 ms)",
        "epoll_wait, for at most ",
        "asleep ",
        "the timer of task 0 expires ",
        "epoll_wait, for at most ",
        "the timer of task 0 expires ",
        "epoll_wait, because the run queue is empty",
        "client    sends 1 byte",
        "epoll_wait returns: source 0 is readable",
        "read -> 1 byte",
    ];
    assert_shows(&answer, &steps);
    let limits =
        answer.split("epoll_wait, for at most ").skip(1).filter_map(|rest| rest.split(' ').next());
    let limits: Vec<f64> = limits.map(|limit| limit.parse().expect("a number")).collect();
    assert!(limits.len() == 2 && limits[0] <= 50.0 && limits[1] <= 250.0, "{answer}");
    // The timer that was set second fires first.
    let why =
        answer.lines().filter_map(|line| line.split_once("expires")?.1.split_whitespace().next());
    assert_eq!(why.collect::<Vec<_>>(), ["#4", "#3"], "{answer}");
    if cfg!(target_os = "linux") {
        assert_shows(&answer, &["threads during the three waits: 1\n"]);
    }
}

#[test]
fn dropped_read_exact_loses_bytes_unlike_read() {
    let answer = answer(14);
    let facts = [
        "read: Err(Elapsed(()))",
        "the next read gets \"a\"\n",
        "read_exact of 4 bytes gets \"ab\": Err(Elapsed(()))",
        "the next read gets \"cd\"\n",
        "the future is kept: Err(Elapsed(()))",
        "the future gets \"abcd\"\n",
        "whose handle is dropped runs to completion\n",
        "an aborted task drops all that it owns; is_cancelled: true\n",
        "unblock: Err(Elapsed(())); job completed: false; some time later: true\n",
    ];
    assert_shows(&answer, &facts);
}

#[test]
fn flood_of_reads_yields_after_its_budget() {
    let answer = answer(15);
    let facts = [
        "reads before other tasks are polled: 128\n",
        "byte waits: 128\n",
        "yields in a loop: both on time",
        "computes without an await: both late",
        "--warn-blocking 10ms\n",
    ];
    assert_shows(&answer, &facts);
    let help = Server::run(&["--help"]).stdout;
    assert!(help.contains("--warn-blocking"), "{help}");
}
