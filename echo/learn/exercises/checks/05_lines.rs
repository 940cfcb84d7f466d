//! Check of exercise 5.

use super::Lines;
use crate::check::{Pipe, Seen, Step, Task, require};

pub(crate) const STEPS: &[Step] = &[
    ("a line that arrives in pieces is one line", pieces),
    ("two lines that arrive together are two lines", together),
    ("a call that is dropped in the middle of a line loses nothing", dropped),
    ("the last line needs no line feed, and then comes the end", end),
    ("a line that is not UTF-8 is an error, and the next line follows", not_text),
];

/// How often `lines` calls `next` at most. No step expects more than three lines.
const CALLS: usize = 6;

/// Calls `next` as often as possible. Returns the lines; an error is shown by its kind. A list that
/// was cut ends with "...".
fn lines(lines: &mut Lines<Pipe>) -> Vec<String> {
    let mut found = Vec::new();
    for _ in 0..CALLS {
        let (result, _) = Task::new(lines.next()).run();
        match result {
            Some(Ok(Some(line))) => found.push(line),
            Some(Ok(None)) => found.push("(end)".to_owned()),
            Some(Err(error)) => found.push(format!("({:?})", error.kind())),
            // It waits for more bytes.
            None => return found,
        }
        if found.last().is_some_and(|last| last == "(end)") {
            return found;
        }
    }
    found.push("...".to_owned());
    found
}

fn require_lines(found: &[String], expected: &[&str]) -> Seen {
    require(found == expected, format!("the lines were {found:?}"), &format!("{expected:?}"))
}

fn pieces() -> Seen {
    let pipe = Pipe::default();
    let mut codec = Lines::new(pipe.clone());
    let mut task = Task::new(codec.next());
    for piece in ["he", "llo", "\n"] {
        let (early, _) = task.run();
        let saw = format!("before the line feed, next returned {early:?}");
        require(early.is_none(), saw, "it to wait")?;
        pipe.write(piece.as_bytes());
    }
    let (line, _) = task.run();
    let is_right = matches!(&line, Some(Ok(Some(line))) if line == "hello");
    require(is_right, format!("three pieces: {line:?}"), "hello")
}

fn together() -> Seen {
    let pipe = Pipe::default();
    let mut codec = Lines::new(pipe.clone());
    pipe.write(b"one\ntwo\r\n\nfo");
    let mut found = lines(&mut codec);
    pipe.write(b"ur\n");
    found.extend(lines(&mut codec));
    require_lines(&found, &["one", "two\r", "", "four"])
}

fn dropped() -> Seen {
    let pipe = Pipe::default();
    let mut codec = Lines::new(pipe.clone());
    let mut task = Task::new(codec.next());
    let _ = task.run();
    pipe.write(b"hel");
    let _ = task.run();
    drop(task);
    pipe.write(b"lo\nworld\n");
    let found = lines(&mut codec);
    require_lines(&found, &["hello", "world"])
        .map_err(|saw| format!("\"hel\", the call was dropped, \"lo\", \"world\": {saw}"))
}

fn end() -> Seen {
    let pipe = Pipe::default();
    let mut codec = Lines::new(pipe.clone());
    pipe.write(b"first\nlast");
    pipe.close();
    let mut found = lines(&mut codec);
    found.extend(lines(&mut codec));
    require_lines(&found, &["first", "last", "(end)", "(end)"])
}

fn not_text() -> Seen {
    let pipe = Pipe::default();
    let mut codec = Lines::new(pipe.clone());
    pipe.write(b"\xff\xfe\nnext\n");
    pipe.close();
    require_lines(&lines(&mut codec), &["(InvalidData)", "next", "(end)"])
}
