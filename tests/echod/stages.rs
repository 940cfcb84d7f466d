//! The eight stages of `echo/learn/stages`: each prints what works now, and a number that shows what
//! is still wrong.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::server::{Ended, Server};
use crate::three_echoes::example;

/// The pause in the programs, in milliseconds.
const PAUSE: u32 = 20;
/// The time of several waits at the same time. In sequence, three waits take three pauses.
const AT_THE_SAME_TIME: Range<u32> = PAUSE..3 * PAUSE;

fn stage(arguments: &[&str]) -> Ended {
    static STAGE: LazyLock<PathBuf> = LazyLock::new(|| example("stage"));
    let mut command = Command::new(&*STAGE);
    command.args(arguments);
    Server::spawn(command).wait()
}

/// Runs a stage, and returns the last number in the line that begins like this.
#[track_caller]
fn number(of: u32, begin: &str) -> u32 {
    let Ended { status, stdout, stderr } = stage(&[&of.to_string()]);
    assert!(status.success() && stderr.is_empty(), "{status}: {stderr}");
    assert!(stdout.is_ascii() && stdout.lines().all(|line| line.len() <= 80), "{stdout}");
    assert!(
        stdout.lines().last().is_some_and(|line| line.starts_with("still wrong: ")),
        "{stdout}"
    );
    let line = stdout.lines().find(|line| line.starts_with(begin));
    let words = line.unwrap_or_else(|| panic!("no line {begin:?} in\n{stdout}")).split_whitespace();
    words.rev().find_map(|word| word.parse().ok()).expect("the line contains a number")
}

/// Repeats a measurement up to five times, because its result may be different on a busy machine.
#[track_caller]
fn assert_once(is_right: impl Fn() -> bool) {
    assert!((0..5).any(|_| is_right()), "the result was wrong in five runs");
}

#[test]
fn stage_1_returns_the_output_of_the_future() {
    assert!(number(1, "works now: the future returned \"done\"") >= PAUSE);
}

#[test]
fn stage_1_polls_all_the_time() {
    assert_once(|| number(1, "still wrong: the wait of") > 1000);
}

#[test]
fn stage_2_polls_twice() {
    assert_eq!(number(2, "works now: the wait of"), 2);
}

#[test]
fn stage_2_runs_one_future_after_the_other() {
    assert!(number(2, "still wrong: three futures") >= 3 * PAUSE);
}

#[test]
fn stage_3_runs_three_tasks_at_the_same_time() {
    assert_once(|| AT_THE_SAME_TIME.contains(&number(3, "works now: three tasks")));
}

#[test]
fn stage_3_polls_a_task_twice_only_without_the_flag() {
    assert_eq!(number(3, "the bug, without the flag"), 5);
    assert_eq!(number(3, "works now, with the flag"), 1);
}

#[test]
fn stage_3_starts_a_thread_for_each_sleep() {
    assert!(number(3, "still wrong: threads while 100 tasks sleep") > 50);
}

#[test]
fn stage_4_needs_no_thread_to_sleep() {
    assert_eq!(number(4, "works now: threads while 100 tasks sleep"), 1);
}

#[test]
fn stage_4_calls_read_again_and_again() {
    assert_once(|| number(4, "still wrong: calls of `read`") > 3);
}

#[test]
fn stage_5_reads_everything_after_one_event() {
    assert_eq!(number(5, "the trap, one read per event"), 16);
    assert_eq!(number(5, "works now, until `WouldBlock` per event"), 100);
}

#[test]
fn stage_5_handlers_wait_one_after_the_other() {
    assert!(number(5, "still wrong: three answers") >= 3 * PAUSE);
}

#[test]
fn stage_6_tasks_wait_at_the_same_time() {
    assert_once(|| AT_THE_SAME_TIME.contains(&number(6, "works now: three answers")));
}

#[test]
fn stage_6_reads_twice_for_each_question() {
    assert_eq!(number(6, "works now: calls of `read` for three questions"), 6);
}

#[test]
fn stage_6_notices_another_thread_only_at_the_next_event() {
    assert_once(|| number(6, "still wrong: the poll after a wakeup") > PAUSE);
}

#[test]
fn stage_7_notices_another_thread_immediately() {
    assert_once(|| number(7, "works now: the poll after a wakeup") < PAUSE);
}

#[test]
fn stage_7_ends_all_tasks_with_one_panic() {
    assert_eq!(number(7, "still wrong: one task of ten panicked"), 4);
}

#[test]
fn stage_8_ends_only_the_task_that_panics() {
    assert_eq!(number(8, "works now: one task of ten panicked"), 9);
}

#[test]
fn stage_8_drops_the_tasks_that_are_left() {
    assert_eq!(number(8, "works now: of 3 waiting tasks"), 0);
}

#[test]
fn stage_8_lets_one_task_keep_the_thread() {
    assert_eq!(number(8, "still wrong: reads of one task"), 10_000);
}

#[test]
fn stages_are_listed_by_number() {
    let Ended { status, stdout, .. } = stage(&[]);
    assert!(status.success());
    let numbers = stdout.lines().map_while(|line| line.split(' ').next()?.parse::<u32>().ok());
    assert_eq!(numbers.collect::<Vec<_>>(), (1..=8).collect::<Vec<_>>());
}

#[test]
fn unknown_stage_is_an_error() {
    for arguments in [&["0"][..], &["9"], &["one"], &["1", "2"]] {
        let Ended { status, stdout, stderr } = stage(arguments);
        assert_eq!((status.code(), stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

#[test]
fn every_stage_has_at_most_150_lines_of_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("learn/stages");
    for stage in 1..=8 {
        let files = fs::read_dir(root.join(stage.to_string())).expect("the folder of the stage");
        let texts = files.map(|file| fs::read_to_string(file.expect("a file").path()));
        let lines_of_code = |text: String| {
            let lines = text.lines().map(str::trim);
            lines.filter(|line| !line.is_empty() && !line.starts_with("//")).count()
        };
        let lines: usize = texts.map(|text| lines_of_code(text.expect("its text"))).sum();
        assert!((30..=150).contains(&lines), "stage {stage} has {lines} lines of code");
    }
}
