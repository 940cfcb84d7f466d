//! The programs that answer the fifteen questions: each prints what it saw, and that is so.

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

/// What the program prints, in a form that the guide can show.
#[track_caller]
fn answer(number: u32) -> String {
    let Ended { status, stdout, stderr } = question(&[&number.to_string()]);
    assert!(status.success() && stderr.is_empty(), "{status}: {stderr}");
    assert!(stdout.is_ascii() && stdout.lines().all(|line| line.len() <= 80), "{stdout}");
    assert!((2..=22).contains(&stdout.lines().count()), "{stdout}");
    stdout
}

/// The same, line by line.
#[track_caller]
fn lines_of(number: u32) -> Vec<String> {
    answer(number).lines().map(str::to_owned).collect()
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

/// What the table of tasks says of the one with this name.
#[track_caller]
fn row(lines: &[String], name: &str) -> String {
    let rows = lines.iter().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut found = rows.filter(|words| words.get(1) == Some(&name));
    found.next().unwrap_or_else(|| panic!("{name}: {lines:#?}"))[2..].join(" ")
}

#[test]
fn between_would_block_and_the_next_poll_the_waker_is_kept_and_called() {
    let lines = lines_of(2);
    let way = [
        "poll it, 1st time",
        "read -> WouldBlock",
        "keep the waker of task 1",
        "Pending",
        "epoll_wait, as the run queue is empty",
        "asleep",
        "client    sends 1 byte",
        "epoll_wait returns: source 0 is readable",
        "wake task 1",
        "task 1 goes into the run queue",
        "poll task 1, 2nd time",
        "read -> 1 byte",
    ];
    assert_tells(&lines.join("\n"), &way);
    assert_eq!(lines.iter().filter(|line| line.contains("poll ")).count(), 2, "{lines:#?}");
}

#[test]
fn the_waker_that_the_executor_makes_reaches_the_source_in_cx() {
    let lines = lines_of(3);
    let [spawn, functions @ .., store] = &lines[..] else { panic!("{lines:#?}") };
    let waker = |line: &str| line.split(", 0x").nth(1).map(str::to_owned);
    assert!(spawn.starts_with("spawn") && store.starts_with("store"), "{lines:#?}");
    assert!(waker(spawn).is_some() && waker(spawn) == waker(store), "{lines:#?}");

    let made = functions.iter().position(|line| line.contains("makes cx"));
    let (before, after) = functions.split_at(made.expect("somebody makes it"));
    assert!(before.iter().all(|line| line.ends_with("knows of no cx")), "{lines:#?}");
    assert!(after[1..].iter().all(|line| line.contains("given") || line.contains(".await")));
    assert_tells(
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
fn of_tasks_that_wait_others_hold_the_waker_and_nobody_polls_them() {
    let lines = lines_of(4);
    assert_eq!(row(&lines, "reader"), "Waiting 1 the reactor, in source 0 (TcpStream), for read");
    assert_eq!(row(&lines, "joiner"), "Waiting 1 1 elsewhere: a handle, a channel or a thread");
    assert_eq!(row(&lines, "sleeper"), "Waiting 1 the reactor, in a timer");
    assert_tells(&lines.join("\n"), &[": 0 times in the run queue, 0 times polled"]);
    let after = lines.iter().skip_while(|line| !line.contains("sent 1 byte"));
    let after: Vec<_> = after.skip(1).collect();
    assert!(after.len() == 1 && after[0].contains("sleeper"), "{lines:#?}");
}

#[test]
fn wake_queues_a_task_on_the_thread_of_its_caller_and_the_executor_polls_it() {
    let lines = lines_of(5);
    let part = |title: &str| -> Vec<Vec<&str>> {
        let below = lines.iter().skip_while(|line| *line != title).skip(1);
        let part = below.take_while(|line| !line.ends_with(':'));
        part.map(|line| line.split_whitespace().collect()).collect()
    };
    let act = |thread, place, act: &[&'static str]| [&[thread, place], act].concat();
    let queue = |thread, task| {
        let place = if thread == "main" { "executor::table" } else { "executor::inbox" };
        act(thread, place, &["queue", "task", task])
    };
    let poll = |task| act("main", "executor::executor", &["poll", "task", task]);
    let wake = || act("main", "reactor::reactor", &["wake"]);
    let notified = act("main", "reactor::reactor", &["notified"]);
    assert_eq!(part("an event of a socket:"), [wake(), queue("main", "1"), poll("1")]);
    assert_eq!(part("a timer:"), [wake(), queue("main", "2"), poll("2")]);
    assert_eq!(part("another task:"), [poll("4"), queue("main", "3"), poll("3")]);
    assert_eq!(part("another thread:"), [queue("other", "5"), notified, poll("5")]);
}

#[test]
fn three_ways_to_wait_for_ever_can_be_told_apart() {
    let lines = lines_of(6);
    assert_eq!(row(&lines, "forgetful"), "Lost 1 nobody");
    assert_eq!(row(&lines, "reader"), "Waiting 1 source 0 (TcpStream), for read");
    for name in ["first", "second"] {
        assert_eq!(row(&lines, name), "Waiting 1 1 elsewhere: a handle, a channel or a thread");
    }
    let reports = lines.iter().filter(|line| line.starts_with("lost: "));
    assert_eq!(reports.count(), 1, "{lines:#?}");
    assert_tells(&lines.join("\n"), &["spawned at echo/learn/questions/stuck.rs:"]);
    assert_tells(&lines.join("\n"), &["ms the reader has ended: false"]);
}

#[test]
fn what_is_stored_anew_wakes_the_right_task_and_only_threads_need_a_second_look() {
    let lines = lines_of(7);
    assert_tells(
        &lines.join(
            "
",
        ),
        &["the waker of A", "the waker of A and B", "B reads 1 byte"],
    );
    let told = |order: &str, ended: bool| {
        let line = lines.iter().find(|line| line.trim().starts_with(order));
        let line = line.unwrap_or_else(|| panic!("{order}: {lines:#?}"));
        assert!(line.contains("set: true;") && line.ends_with(&format!("ms: {ended}")), "{line}");
    };
    told("look, store  ", false);
    told("look, store, look again", true);
    assert_tells(&lines.join("\n"), &["WouldBlock: 1, events: 1, then read: 1"]);
}

#[test]
fn an_edge_is_told_once_so_one_reads_until_nothing_is_left() {
    let lines = lines_of(8);
    let acts = [
        "events: 1, read: 16, left: 84",
        "events: 0, read: 0, left: 84",
        "events: 1, read: [16, 16, 16, 16, 16, 16, 4]",
        "one more read waits: true, WouldBlocks for that: 0",
        "events: 1, read: 3, then 5, then one waits: true",
        "bytes: 1000, registrations with the kernel: 1",
    ];
    assert_tells(&lines.join("\n"), &acts);
}

#[test]
fn without_a_number_the_questions_are_listed_and_each_of_them_has_an_answer() {
    let Ended { status, stdout, stderr } = question(&[]);
    assert!(status.success() && stderr.is_empty(), "{status}: {stderr}");
    assert!(stdout.is_ascii() && stdout.lines().all(|line| line.len() <= 80), "{stdout}");
    let first = |line: &str| line.split_whitespace().next()?.parse().ok();
    let numbers: Vec<usize> = stdout.lines().filter_map(first).collect();
    assert_eq!(numbers, (1..=15).collect::<Vec<_>>());
    assert_eq!(question(&["16"]).status.code(), Some(2));
}

#[test]
fn what_is_no_number_of_a_question_is_refused_in_one_line() {
    for arguments in [&["0"][..], &["99"], &["-1"], &["two"], &[""], &["1", "2"]] {
        let Ended { status, stdout, stderr } = question(arguments);
        assert_eq!((status.code(), stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

#[test]
fn an_answer_that_nobody_reads_to_its_end_is_no_failure() {
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
fn a_wake_from_another_thread_ends_the_sleep_and_a_hundred_need_one_notification() {
    let answer = answer(9);
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
    let answer = answer(10);
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
    let answer = answer(11);
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
    let answer = answer(12);
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
    let answer = answer(13);
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
    let answer = answer(14);
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
    let answer = answer(15);
    let facts = [
        "before others have their turn: 128\n",
        "until that is read: 128\n",
        "yields all the time: both in time",
        "computes, awaits nothing: both late",
        "--warn-blocking 10ms\n",
    ];
    assert_tells(&answer, &facts);
    let help = Server::run(&["--help"]).stdout;
    assert!(help.contains("--warn-blocking"), "{help}");
}
