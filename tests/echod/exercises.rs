//! The exercises: each check fails on the starting point, passes on the solution, and finds the
//! typical mistakes.

use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::server::{Ended, Server};
use crate::three_echoes::example;

/// For each exercise, a line of the output that the check prints for the starting point.
const START: [&str; 12] = [
    "the task was polled 1 time, because the ring called 0 wakers; expected 2 polls and 1 waker",
    "the other thread sent, and called 0 wakers; expected 1: the task is never polled again",
    "the first future was polled 1 time, the second 0 times; expected 1 and 1",
    "a byte on the right woke the task 0 times; expected 1 time",
    "\"hel\", the call was dropped, \"lo\", \"world\": the lines were [\"lo\"]",
    "no permit was free, and the task was polled 1000 times; expected 1 time",
    "1 item woke 100 tasks; expected 1 task",
    "while one file was created, the task was polled more than 1000 times; expected 2 times",
    "100 messages cost 400 system calls",
    "the timer of 100 ms fired after 36 ms; expected 100 or 101 ms",
    "the neighbor waited while 10000 of 10000 operations completed; expected 128 at most",
    "999 other tasks ran between the wakeup and the poll; expected 0",
];

/// For each mistake, a line of the output that names it.
const MISTAKES: [(&str, &str); 27] = [
    ("waker-kept", "was called 1 time, the waker of the second 0 times"),
    ("waker-borrowed", "RefCell already borrowed"),
    ("early-wake", "the waker polled the bell, which returned Pending"),
    ("dropped-borrowed", "RefCell already borrowed"),
    ("silent-drop", "the drop of the sender called 0 wakers"),
    ("late-waker", "which returned Pending; 0 wakers were called"),
    ("woken-locked", "or the lock is held while the waker is called"),
    ("locked-twice", "this thread locks a mutex that it holds already"),
    ("cloned-locked", "while a lock was held, a waker was cloned 1 time and dropped 0 times"),
    ("poll-blocks", "the code still ran after 10 s"),
    ("polled-again", "in its 1st poll was polled 4 times"),
    ("loser-dropped", "only [\"r001\", \"r002\", \"l002\"], so bytes of [\"l001\"] are lost"),
    ("end-read-again", "the left pipe ended, and collect read its end 1000 times"),
    ("line-taken", "the lines were [\"lo\", \"world\"]; expected [\"hello\", \"world\"]"),
    ("permit-lost", "woken, and dropped before its poll; the second was woken 0 times"),
    ("overtaking", "a task came after the release, and got the permit before the task that waited"),
    ("queue-borrowed", "RefCell already borrowed"),
    ("stale-waker", "the first was dropped, then came 1 item; the second was woken 0 times"),
    ("wake-swallowed", "was dropped before its poll; the other was woken 0 times"),
    ("events-lost", "the names were [\"one\"], then nothing arrived within 2 s"),
    ("always-reading", "and epoll_wait reported 1000 events in a row"),
    ("rounded-down", "before its deadline; expected at most 1 ms after it"),
    ("waiting-charged", "it got an item in poll 0; expected poll 1"),
    ("yield-unwoken", "never completed; expected 0: a task hangs"),
    ("spent-late", "item 128 was 129; expected 128: an item is lost"),
    ("slot-unlimited", "the third task did not run in 1000 polls"),
    ("slot-displaced", "the order was [11, 2, 3]; expected [11, 2, 3, 10]"),
];

/// Runs the program, and returns the output with each sentence in one line.
fn exercise(arguments: &[&str]) -> (Ended, String) {
    static EXERCISE: LazyLock<PathBuf> = LazyLock::new(|| example("exercise"));
    let mut command = Command::new(&*EXERCISE);
    command.args(arguments);
    let ended = Server::spawn(command).wait();
    let sentences = ended.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    (ended, sentences)
}

#[test]
fn check_of_each_starting_point_names_what_is_missing() {
    let (ended, all) = exercise(&["all"]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    for missing in START {
        assert!(all.contains(missing), "{missing}\n{}", ended.stdout);
    }
    assert!(!all.contains("panicked") && !all.contains("still ran"), "{}", ended.stdout);
    let fits = |line: &str| line.is_ascii() && line.len() <= 80;
    assert!(ended.stdout.lines().all(fits), "{}", ended.stdout);
    let count = START.len();
    assert!(all.ends_with(&format!("0 of {count} exercises are solved")), "{}", ended.stdout);
}

#[test]
fn check_of_each_solution_passes() {
    let (ended, all) = exercise(&["all", "--solutions"]);
    let count = START.len();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    assert!(all.ends_with(&format!("{count} of {count} exercises are solved")), "{all}");
}

#[test]
fn check_finds_each_typical_mistake() {
    let (list, _) = exercise(&["mistakes"]);
    let names = list.stdout.lines().take_while(|line| !line.is_empty());
    let names: Vec<_> = names.filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, MISTAKES.map(|(name, _)| name));
    let find = |(name, symptom): (&str, &str)| {
        let (ended, output) = exercise(&["mistakes", name]);
        assert!(output.contains(symptom), "{name}: {}", ended.stdout);
        // A mistake breaks something, not everything.
        assert!(output.contains(" ok "), "{name}: {}", ended.stdout);
    };
    // Side by side, because some checks wait for code that never returns.
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(mistake) = MISTAKES.get(next.fetch_add(1, Ordering::Relaxed)) {
            find(*mistake);
        }
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(work);
        }
    });
}

#[test]
fn one_exercise_can_be_checked_alone() {
    let (ended, output) = exercise(&["1"]);
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    assert!(output.contains("section 1 of echo/learn/exercises/README.md"), "{output}");
    let (ended, output) = exercise(&["1", "--solutions"]);
    assert!(ended.status.success() && output.ends_with("solved"), "{ended:?}");
}

#[test]
fn unknown_exercise_is_an_error() {
    for arguments in [&["0"][..], &["99"], &["join"], &["1", "2"], &["mistakes", "none"]] {
        let (ended, _) = exercise(arguments);
        assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    }
}
