//! The programs that answer the twenty-four questions: what each of them prints is what the guide says.

use std::fs;
use std::io::pipe;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use tests::{folder, page_data};

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
    let lines = lines_of(4);
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
    let lines = lines_of(6);
    let lines: Vec<_> = lines.into_iter().skip_while(|line| !line.starts_with("spawn")).collect();
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
    let lines = lines_of(5);
    assert_eq!(row(&lines, "reader"), "Waiting 1 the reactor: read on source 0 (TcpStream)");
    assert_eq!(row(&lines, "joiner"), "Waiting 1 1 elsewhere: a handle, a channel or a thread");
    assert_eq!(row(&lines, "sleeper"), "Waiting 1 the reactor: a timer");
    assert_shows(&lines.join("\n"), &[": queued 0 times, polled 0 times"]);
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
    assert_eq!(part("an event on a socket:"), [wake(), queue("4"), poll("4")]);
    assert_eq!(part("another task:"), [poll("6"), queue("5"), poll("5")]);
    assert_eq!(part("another thread:"), [send("7"), notified, poll("7")]);
}

#[test]
fn task_list_distinguishes_endless_waits_from_a_blocked_thread() {
    let lines = lines_of(7);
    assert_eq!(row(&lines, "forgetful"), "Lost 1 nothing");
    assert_eq!(row(&lines, "reader"), "Waiting 1 the reactor: read on source 0 (TcpStream)");
    for name in ["first", "second"] {
        assert_eq!(row(&lines, name), "Waiting 1 1 elsewhere: a handle, a channel or a thread");
    }
    assert_eq!(row(&lines, "ready"), "Queued 0 the run queue: another task blocks the thread");
    let reports = lines.iter().filter(|line| line.starts_with("lost: "));
    assert_eq!(reports.count(), 1, "{lines:#?}");
    assert_shows(&lines.join("\n"), &["spawned at echo/learn/questions/stuck.rs:"]);
    assert_shows(&lines.join("\n"), &["reader completed within ", " ms: false"]);
}

#[test]
fn latest_waker_is_woken_after_a_future_moved() {
    let lines = lines_of(9);
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
    let lines = lines_of(10);
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
    assert_eq!(numbers, (1..=24).collect::<Vec<_>>());
    // The list breaks long questions into two lines.
    let (list, _) = stdout.split_once("\n\n").expect("a hint follows the list");
    let list = list.split_whitespace().collect::<Vec<_>>().join(" ");
    let page = include_str!("../../echo/learn/questions.md");
    let headings = page.lines().filter_map(|line| line.strip_prefix("### "));
    let headings: Vec<_> = headings.map(|heading| heading.replacen('.', "", 1)).collect();
    assert_eq!(list, headings.join(" "));
    assert_eq!(question(&["25"]).status.code(), Some(2));
}

#[test]
fn every_question_has_a_short_scene_that_shows_its_program_first() {
    for number in 1..=24 {
        let folder = folder();
        let page = folder.path().join("run.html");
        let Ended { status, stdout, stderr } =
            question(&[&number.to_string(), "--trace", page.to_str().unwrap()]);
        assert!(status.success() && stderr.is_empty(), "{number}: {status}: {stderr}");
        assert!(stdout.ends_with(&format!("\nstep through: {}\n", page.display())), "{stdout}");
        let data = page_data(&fs::read_to_string(&page).unwrap());
        let run = &data["runs"][0];
        assert_eq!(run["title"], format!("question {number}"));
        let tab = data["tabs"][0].as_str().unwrap();
        assert!(tab.starts_with("echo/learn/questions/"), "{number}: {tab}");
        assert_eq!(run["first"]["file"], tab, "{number}");
        let (steps, claim) = (run["steps"].as_array().unwrap().len(), run["claim"].to_string());
        let is_cut = claim.contains("(The first 150 of ");
        assert!((1..=150).contains(&steps) && (steps == 150 || !is_cut), "{steps}: {claim}");
        assert_eq!(run["dropped"], 0, "{number}");
    }
}

#[test]
fn invalid_trace_file_is_an_error() {
    let cases = [
        &["4", "--trace"][..],
        &["4", "--trace", "run.json"],
        &["--trace", "run.html"],
        &["4", "--trace", "missing/folder/run.html"],
    ];
    for arguments in cases {
        let Ended { status, stdout, stderr } = question(arguments);
        assert_eq!((status.code(), stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
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
    let numbers: Vec<String> = (1..=24).map(|number| number.to_string()).collect();
    let questions = numbers.chunks(1);
    for arguments in questions.chain([&[][..]]) {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let mut command = Command::new(&*QUESTION);
        command.args(arguments).stdout(writer).stderr(Stdio::piped());
        let Ended { status, stderr, .. } = Server::spawn_uncaptured(command).wait();
        assert!(status.success() && stderr.is_empty(), "{arguments:?}: {status}: {stderr}");
    }
}

#[test]
fn wake_from_another_thread_ends_epoll_wait() {
    let answer = answer(14);
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
    let answer = answer(8);
    let polls = [
        "before its poll:  1 poll\n",
        "during its poll:  1 more poll\n",
        "after Ready:      0 polls, and 0 of other tasks\n",
    ];
    assert_shows(&answer, &polls);
    assert_shows(&answer, &["joined with a future that is woken 3 times: 4 polls\n"]);
    let read = ["spurious polls: 3, calls that got WouldBlock: 0\n", "returns 1\n"];
    assert_shows(&answer, &read);
    assert_shows(&answer, &["it panics:\n    `async fn` resumed after completion\n"]);
}

#[test]
fn event_wakes_only_the_half_of_its_direction() {
    let answer = answer(13);
    let halves = [
        "reader: [Source { key: 0, kind: \"TcpStream\", direction: \"read\" }]\n",
        "writer: [Source { key: 0, kind: \"TcpStream\", direction: \"write\" }]\n",
        "the peer sends a byte; polls:  reader 1, writer 0\n",
        "the peer reads 16 MiB; polls:  reader 0, writer some\n",
    ];
    assert_shows(&answer, &halves);
}

#[test]
fn blocking_call_stops_other_tasks_unlike_its_cure() {
    let answer = answer(15);
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
fn timeout_does_not_end_a_blocking_call() {
    let answer = answer(15);
    let millis = |call: &str, result: &str| -> u64 {
        let lines = answer.lines().map(str::trim);
        let rest = lines.filter_map(|line| line.strip_prefix(call)?.trim().strip_prefix(result));
        let words: Vec<_> = rest.flat_map(str::split_whitespace).collect();
        let ["after", millis, "ms"] = words[..] else { panic!("{call}\n{answer}") };
        millis.parse().expect("a number")
    };
    assert!(millis("thread::sleep  ", "Ok(())") >= 300);
    assert!(millis("thread::sleep, in unblock", "Err(Elapsed(()))") >= 50);
    assert!(millis("a computation, yielding each ms", "Err(Elapsed(()))") >= 50);
}

#[test]
fn nearest_deadline_limits_the_sleep() {
    let answer = answer(17);
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
    assert_shows(&answer, &["never early: true\n"]);
}

#[test]
fn missed_ticks_burst_shift_or_are_skipped() {
    let answer = answer(17);
    let gaps = |behavior: &str| -> Vec<u64> {
        let line = answer.lines().find(|line| line.trim().starts_with(behavior));
        let words = line.expect("a line for each behavior").split_whitespace();
        let ticks: Vec<u64> = words.filter_map(|word| word.parse().ok()).collect();
        ticks.windows(2).map(|pair| pair[1] - pair[0]).collect()
    };
    // Four ticks were due when the thread was free again, and the first of them starts the list.
    assert!(gaps("Burst")[..3].iter().sum::<u64>() < 40, "{answer}");
    // A full period of 40 ms; the printed times are rounded down.
    assert!(gaps("Delay")[0] >= 39, "{answer}");
    assert!(gaps("Skip")[0] < 38, "{answer}");
}

#[test]
fn dropped_read_exact_loses_bytes_unlike_read() {
    let answer = answer(18);
    let facts = [
        "read: Err(Elapsed(()))",
        "the next read gets \"a\"\n",
        "read_exact of 4 bytes gets \"ab\": Err(Elapsed(()))",
        "the next read gets \"cd\"\n",
        "the future is kept: Err(Elapsed(()))",
        "the future gets \"abcd\"\n",
        "its destructors run\n",
        "it is dropped; steps that it has done: 1\n",
        "whose handle is dropped continues\n",
        "an aborted task drops all that it owns; is_cancelled: true\n",
    ];
    assert_shows(&answer, &facts);
}

#[test]
fn flood_of_reads_yields_after_its_budget() {
    let answer = answer(16);
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

#[test]
fn block_on_drops_the_tasks_that_have_not_ended() {
    let answer = answer(2);
    let [first, second, third, nested] = [
        "that spawns a task, yields once and returns:\n",
        "awaits the handle of the task:\n",
        "two calls of its block_on:\n",
        "block_on inside block_on panics:\n",
    ]
    .map(|title| answer.find(title).unwrap_or_else(|| panic!("{title}{answer}")));
    let steps = ["task: starts\n", "task: dropped\n", "block_on has returned\n"];
    assert_shows(&answer[first..second], &steps);
    assert!(!answer[first..second].contains("completes"), "{answer}");
    let steps = ["task: starts\n", "task: completes\n", "task: dropped\n"];
    assert_shows(&answer[second..third], &steps);
    let steps = ["task: starts\n", "tasks that wait: 1\n", "task: completes\n"];
    assert_shows(&answer[third..nested], &steps);
    let message = answer[nested..].split_whitespace().collect::<Vec<_>>().join(" ");
    assert_shows(&message, &["main_future.rs:", "is inside `block_on` at ", "main_future.rs:"]);
}

#[test]
fn joined_waits_overlap_unlike_blocking_calls() {
    let answer = answer(3);
    let parts = [
        "waits for 50 ms:\n",
        "awaited in turn                  one after the other",
        "joined in one task               concurrently",
        "spawned, then awaited in turn    concurrently",
        "blocks its thread for 50 ms:\n",
        "joined in one task               one after the other",
        "spawned                          one after the other",
        "each on a thread of the pool     concurrently",
        "three clients, ",
        "awaits each client               one after the other",
        "spawns a task for each client    concurrently",
    ];
    assert_shows(&answer, &parts);
}

#[test]
fn socket_under_another_block_on_names_what_is_missing() {
    let answer = answer(6);
    assert_shows(
        &answer,
        &["under block_on of futures-lite, panics:\n", "no reactor on this thread: "],
    );
    assert_shows(&answer, &["echo/learn/questions/context.rs:"]);
}

#[test]
fn read_distinguishes_bytes_end_and_error() {
    let answer = answer(11);
    let results = [
        "WouldBlock: 1; the task waits: true\n",
        "read: 3\n",
        "read: 2, then 1\n",
        "read: 0, then 3\n",
        "read: [2, 0, 0]\n",
        "it reads: \"still open\"\n",
        "read: Err(ConnectionReset)\n",
        "read: 0\n",
        "write: 1, then Err(BrokenPipe)\n",
    ];
    assert_shows(&answer, &results);
}

#[test]
fn event_of_a_closed_socket_does_not_reach_the_next_owner_of_its_token() {
    let answer = answer(12);
    let facts = [
        "token 0: closes socket 1,",
        "token 1: the new socket is taken for readable; false alarm: true\n",
        "socket 1 was source 1; its task ends; the new one is 1\n",
        "the new socket waits; polls of its task: 1\n",
        "it reads: 2\n",
    ];
    assert_shows(&answer, &facts);
}

#[test]
fn pinned_future_completes_although_the_loop_gave_up_waiting() {
    let answer = answer(19);
    let facts = [
        "pin!:      began: true; valid: true\n",
        "Box::pin:  began: true; valid: true, although the box was moved\n",
        "a Sleep is Unpin, so `&mut sleep` may be awaited; it waits: true\n",
        "it waits: true\n",
        "is created in each pass:  completes 0 times\n",
        "created once and pinned before it:     completes 1 time\n",
        "a Sleep, created once before it:       completes 1 time\n",
    ];
    assert_shows(&answer, &facts);
}

#[test]
fn future_holds_what_is_alive_across_an_await() {
    let answer = answer(20);
    let size = |what: &str| -> usize {
        let line = answer.lines().find_map(|line| line.trim().strip_prefix(what));
        let words: Vec<_> = line.unwrap_or_else(|| panic!("{what}\n{answer}")).split(' ').collect();
        words[words.len() - 2].parse().expect("a number of bytes")
    };
    assert!(size("in a block that ends before the await ") < 100);
    assert!((4096..4200).contains(&size("that is alive until the end of the function ")));
    assert!(size("on the heap, in a Vec ") < 100);
    assert!((4096..4200).contains(&size("in another async fn, which it awaits ")));
    assert!(size("in another async fn, which it awaits in a Box ") < 100);
    let facts = [
        "levels that it reached: 1000\n",
        "the Rc lives across the await:     false\n",
        "it is dropped before:              true\n",
        "the guard lives across the await:  false\n",
        "it is dropped before:              true\n",
    ];
    assert_shows(&answer, &facts);
}

#[test]
fn drop_neither_flushes_a_writer_nor_stops_a_job() {
    let answer = answer(21);
    let facts = [
        "is dropped                      the peer gets 0 bytes\n",
        "is flushed and dropped          the peer gets 5 bytes\n",
        "Err(Elapsed(()));               the peer gets a part of the bytes\n",
        "Err(Elapsed(()));               it still runs: true, and completes: true\n",
        "Err(Elapsed(())), sets a flag;  the job sees it and stops: true\n",
    ];
    assert_shows(&answer, &facts);
}

#[test]
fn pipe_waits_for_readiness_and_file_for_completion() {
    let answer = answer(22);
    let steps = [
        "epoll is asked to watch a file: Err(PermissionDenied)\n",
        "a pipe: ",
        "task 0    read_with -> WouldBlock",
        "writer    writes 5 bytes",
        "epoll_wait returns: source 0 is readable",
        "task 0    read_with -> ok",
        "a file: ",
        "task 0    submits job 0 to the blocking pool",
        "store the waker of task 0 in job 0",
        "completes job 0",
        "epoll_wait returns: notified by a thread",
    ];
    assert_shows(&answer, &steps);
    let (_, file) = answer.split_once("\na file: ").expect("the second part");
    assert!(!file.contains(" -> "), "the task makes no call itself: {answer}");
}

#[test]
fn panic_of_a_task_goes_to_its_handle_and_the_log() {
    let answer = answer(23);
    let facts = [
        "WARN panic name=parser message=\"unexpected byte\"\n",
        "is_panic: true; into_panic: \"unexpected byte\"\n",
        "what it owned is dropped: true; a neighbor returns 42\n",
        "WARN panic name=detached message=\"not awaited\"\n    nothing else reports it\n",
        "join_next returns 1 Ok, 2 Err, then None\n",
        "its handle has it: \"in a job\"\n",
        "block_on panics: \"in main\"\n",
    ];
    assert_shows(&answer, &facts);
}

#[test]
fn stream_stalls_and_channel_does_not_end_while_a_sender_exists() {
    let answer = answer(24);
    let facts = [
        "make 1, use 1, make 2, use 2, make 3, use 3\n",
        "make 1, make 2, make 3, use 1, use 2, use 3\n",
        "the original is still alive    3 received, then recv waits\n",
        "the original was dropped       3 received, then the loop ends\n",
        "1 sent, then send waits: true; only a recv makes space, it gets 0\n",
    ];
    assert_shows(&answer, &facts);
}

#[test]
fn async_fn_runs_only_while_it_is_polled() {
    let answer = answer(1);
    let steps = [
        "none of its code has run\n",
        "dropped: its code will never run\n",
        "awaited:\n    runs: awaited\n",
        "spawned: queued, but not polled,",
        "    runs: spawned\n",
        "this task has yielded once",
    ];
    assert_shows(&answer, &steps);
    assert!(!answer.contains("runs: never"), "{answer}");
}
