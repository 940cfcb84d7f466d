//! Check of exercise 4.

use std::future::{pending, ready};
use std::pin::pin;
use std::task::Poll;

use super::{Either, collect, select};
use crate::check::{Pipe, Seen, Step, Task, require, times};

pub(crate) const STEPS: &[Step] = &[
    ("select returns the output of the future that completes", winner),
    ("an event of either future wakes the task", both_wake),
    ("the loser can be awaited after select", loser),
    ("collect returns all messages that arrive in one piece", whole_messages),
    ("collect loses no byte of a message that is half read", half_messages),
    ("collect ends when both pipes have ended", ended),
];

fn winner() -> Seen {
    let left = Task::new(select(ready(1), pending::<u8>())).poll();
    let right = Task::new(select(pending::<u8>(), ready(2))).poll();
    let is_right = left == Poll::Ready(Either::Left(1)) && right == Poll::Ready(Either::Right(2));
    let saw = format!("the left one is ready: {left:?}; the right one is ready: {right:?}");
    require(is_right, saw, "Ready(Left(1)) and Ready(Right(2))")
}

fn both_wake() -> Seen {
    let mut seen = Vec::new();
    for side in ["left", "right"] {
        let (left, right) = (Pipe::default(), Pipe::default());
        let (from_left, from_right) = (pin!(left.byte()), pin!(right.byte()));
        let mut task = Task::new(select(from_left, from_right));
        let (_, polls) = task.run();
        require(polls == 1, format!("without any byte, it was polled {}", times(polls)), "1 time")?;
        (if side == "left" { &left } else { &right }).write(b"x");
        let saw = format!("a byte on the {side} woke the task {}", times(task.wakes()));
        seen.push(require(task.wakes() == 1, saw, "1 time")?);
    }
    Ok(seen.join("; "))
}

fn loser() -> Seen {
    let (slow, fast) = (Pipe::default(), Pipe::default());
    let mut from_slow = pin!(async { (slow.byte().await, slow.byte().await) });
    let fast_byte = {
        slow.write(b"a");
        fast.write(b"x");
        Task::new(select(from_slow.as_mut(), pin!(fast.byte()))).poll()
    };
    let saw = format!("select returned {fast_byte:?}");
    require(fast_byte == Poll::Ready(Either::Right(Some(b'x'))), saw, "the fast byte")?;
    slow.write(b"b");
    let (pair, _) = Task::new(from_slow).run();
    let is_right = pair == Some((Some(b'a'), Some(b'b')));
    require(is_right, format!("after select, the loser returned {pair:?}"), "the bytes a and b")
}

/// Polls `collect` after each write. Returns the messages, or the number of bytes that it has not
/// read if it still waits.
fn run_collect(writes: &[(usize, &str)], count: usize) -> Result<Vec<String>, usize> {
    let pipes = [Pipe::default(), Pipe::default()];
    let mut task = Task::new(collect(&pipes[0], &pipes[1], count));
    let (mut output, _) = task.run();
    for (pipe, text) in writes {
        if output.is_some() {
            break;
        }
        pipes[*pipe].write(text.as_bytes());
        (output, _) = task.run();
    }
    output.ok_or_else(|| pipes.iter().map(Pipe::unread).sum())
}

/// Polls `collect` after each write, and returns the messages, which must be as many as `expected`.
fn collected(writes: &[(usize, &str)], expected: &[&str]) -> Result<Vec<String>, String> {
    let count = expected.len();
    run_collect(writes, count).map_err(|unread| {
        let bytes: usize = writes.iter().map(|(_, text)| text.len()).sum();
        let saw = format!(
            "{bytes} bytes were written, which are {count} messages, and collect still waits"
        );
        if unread > 0 {
            return format!("{saw}: it has not read {unread} of them; expected {count} messages");
        }
        // With a smaller count, it returns the messages that it has.
        let fewer = (0..count).rev().find_map(|count| run_collect(writes, count).ok());
        let found = fewer.unwrap_or_default();
        let lost: Vec<_> =
            expected.iter().filter(|text| !found.iter().any(|it| it == *text)).collect();
        format!(
            "{saw}, although it has read all of them: it has only {found:?}, so bytes of {lost:?} \
             are lost; expected {count} messages"
        )
    })
}

fn whole_messages() -> Seen {
    let expected = ["l001", "r001", "l002", "r002"];
    let messages = collected(&[(0, "l001"), (1, "r001"), (0, "l002"), (1, "r002")], &expected)?;
    require(messages == expected, format!("{messages:?}"), "l001, r001, l002, r002")
}

fn half_messages() -> Seen {
    let writes = [(0, "l0"), (1, "r001"), (1, "r0"), (0, "01"), (1, "02"), (0, "l002")];
    let expected = ["r001", "l001", "r002", "l002"];
    let messages = collected(&writes, &expected)?;
    require(
        messages == expected,
        format!("{messages:?}"),
        "r001, l001, r002, l002: each byte in its place",
    )
}

fn ended() -> Seen {
    let mut seen = Vec::new();
    for first in ["left", "right"] {
        let pipes = [Pipe::default(), Pipe::default()];
        let mut task = Task::new(collect(&pipes[0], &pipes[1], 4));
        let (early, late) = if first == "left" { (0, 1) } else { (1, 0) };
        // A half message before the end is no message.
        pipes[early].write(b"a001a0");
        pipes[late].write(b"b0");
        let _ = task.run();
        pipes[early].close();
        let (output, _) = task.run();
        let saw = format!("the {first} pipe ended");
        let loops = pipes.iter().any(Pipe::is_end_read_in_a_loop);
        require(!loops, format!("{saw}, and collect read its end 1000 times"), "no loop")?;
        let saw = format!("{saw}, and collect returned {output:?}");
        require(output.is_none(), saw, "it to wait for the other pipe")?;
        pipes[late].write(b"01b002");
        pipes[late].close();
        let (output, _) = task.run();
        let loops = pipes.iter().any(Pipe::is_end_read_in_a_loop);
        let saw = "both pipes ended, and collect read an end 1000 times";
        require(!loops, saw, "no loop")?;
        let is_right = output.as_ref().is_some_and(|it| it == &["a001", "b001", "b002"]);
        let saw = format!("the {first} pipe ended first: {output:?}");
        seen.push(require(is_right, saw, "the messages a001, b001, b002")?);
    }
    Ok(seen.join("; "))
}
