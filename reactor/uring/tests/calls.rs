//! The system calls of a ring, observed with strace, compared with those that the README shows.

#![cfg(target_os = "linux")]

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;

use executor::JoinSet;
use reactor_uring::{File, Ring};
use tests::child::{example, is_child};

/// Returns the name and the result of each system call that a program makes, in order. Returns
/// `None` if strace is not installed, or is not permitted to trace.
fn calls(program: &PathBuf, arguments: &[&str], child: &str) -> Option<Vec<(String, String)>> {
    let output = Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=read,write,epoll_wait,io_uring_enter"])
        .arg(program)
        .args(arguments)
        .env("TESTS_CHILD", child)
        .output();
    let Ok(output) = output else {
        println!("skipped: strace is not installed");
        return None;
    };
    let trace = String::from_utf8(output.stderr).unwrap();
    if trace.contains("PTRACE_TRACEME") {
        println!("skipped: strace is not permitted to trace processes here");
        return None;
    }
    assert!(output.status.success(), "{trace}");
    let call = |line: &str| {
        // If another thread made a call in the meantime, strace prints this call in two lines.
        // Parse the second one, which has the result.
        let line = line.split("] ").last()?.trim_start_matches("<... ");
        let (name, rest) = line.split_once([' ', '('])?;
        let result = rest.rsplit_once("= ")?.1;
        let result = result.split_whitespace().find(|word| *word != "-1")?;
        Some((name.to_owned(), result.to_owned()))
    };
    Some(trace.lines().filter_map(call).collect())
}

/// Parses the two columns of the README's table of system calls.
fn calls_in_readme() -> [Vec<(String, String)>; 2] {
    let readme = include_str!("../README.md");
    let (_, table) = readme.split_once("\nwhen    ").unwrap();
    let (table, _) = table.split_once("```").unwrap();
    let column = |part: &str| {
        let mut words = part.split_whitespace();
        let (name, result) = (words.next()?, words.nth(1)?);
        Some((name.to_owned(), result.to_owned()))
    };
    let rows = || table.lines().skip(1).map(|row| row.split_at(row.len().min(46)));
    let when = rows().filter_map(|(when, _)| column(when)).collect();
    [when, rows().filter_map(|(_, done)| column(done)).collect()]
}

#[test]
fn readme_shows_the_system_calls_of_both_ways() {
    if executor::block_on(async { Ring::new(8).is_err() }) {
        return println!("skipped: the kernel refuses io_uring");
    }
    for (name, expected) in ["when", "done"].into_iter().zip(calls_in_readme()) {
        let Some(calls) = calls(&example("reactor-uring", "when_and_done"), &[name], "") else {
            return;
        };
        // Compare the calls between the two writes to standard output.
        let start = calls.iter().position(|(name, _)| name == "write").unwrap() + 1;
        assert_eq!(calls[start..calls.len() - 1], expected, "{name}");
    }
}

/// Runs one of these tests in a child process, and returns its system calls.
fn calls_of(test: &str) -> Option<Vec<(String, String)>> {
    let arguments = [test, "--exact", "--nocapture", "--test-threads=1"];
    let calls = calls(&env::current_exe().unwrap(), &arguments, test)?;
    // Without `io_uring_enter`, the kernel refuses io_uring and the child skipped its test.
    calls.iter().any(|(name, _)| name == "io_uring_enter").then_some(calls)
}

// The ring has enough entries. The limit here is the number of bytes per submission.
#[test]
fn thousand_concurrent_reads_take_sixteen_system_calls() {
    if is_child() {
        return executor::block_on(concurrent_reads());
    }
    let Some(mut calls) = calls_of("thousand_concurrent_reads_take_sixteen_system_calls") else {
        return;
    };
    calls.retain(|(name, _)| name == "io_uring_enter");
    let submitted: Vec<usize> = calls.iter().map(|(_, result)| result.parse().unwrap()).collect();
    // The first call opens the file.
    assert_eq!(submitted, [&[1], &[64; 15][..], &[1000 - 15 * 64]].concat());
}

async fn concurrent_reads() {
    let Ok(ring) = Ring::new(256) else { return println!("skipped: the kernel refuses io_uring") };
    let file = Rc::new(File::open(&ring, env::current_exe().unwrap()).await.unwrap());
    let mut reads = JoinSet::new();
    for _ in 0..1000 {
        let file = file.clone();
        reads.spawn(async move { file.read_at(vec![0; 4096], 0).await.0 });
    }
    while let Some(read) = reads.join_next().await {
        assert_eq!(read.unwrap().unwrap(), 4096);
    }
}

#[test]
fn cached_read_takes_one_system_call_without_a_wait() {
    if is_child() {
        return executor::block_on(reads_one_by_one());
    }
    let Some(calls) = calls_of("cached_read_takes_one_system_call_without_a_wait") else { return };
    let count = |of: &str| calls.iter().filter(|(name, _)| name == of).count();
    assert_eq!(count("io_uring_enter"), 1 + 200);
    // The executor looks for events only after each round, and a round makes many reads.
    assert!(count("epoll_wait") < 50, "{calls:#?}");
}

async fn reads_one_by_one() {
    let Ok(ring) = Ring::new(8) else { return println!("skipped: the kernel refuses io_uring") };
    let file = File::open(&ring, env::current_exe().unwrap()).await.unwrap();
    for _ in 0..200 {
        assert_eq!(file.read_at(vec![0; 4096], 0).await.0.unwrap(), 4096);
    }
}
