//! By hand: it is in an argument, `cx`. The executor makes it in one place, around the waker of
//! the task, when it polls that task's future. Each future passes it on to those that it polls, for
//! it cannot return `Pending` but by one of theirs; `.await` does this for an `async fn`. At the
//! bottom is the read that would block. It leaves a clone of the waker with its source.
//!
//! The program looks at its own stack at that moment, and at the lines of code that stand there.

use std::backtrace::Backtrace;
use std::io;

use executor::{block_on, spawn, yield_now};
use log::Record;
use log::kv::Key;
use reactor::io::copy;
use reactor::net::TcpStream;

use crate::connection::connected;
use crate::ladder::listen;
use crate::{Question, say};

pub(crate) const QUESTION: Question =
    Question { text: "How does the waker get from the executor to the socket?", run };

/// The files whose functions are told.
const FILES: [(&str, &str); 7] = [
    ("echo/learn/questions/context.rs", include_str!("context.rs")),
    ("executor/src/executor.rs", include_str!("../../../executor/src/executor.rs")),
    ("executor/src/task.rs", include_str!("../../../executor/src/task.rs")),
    ("reactor/src/io/copy.rs", include_str!("../../../reactor/src/io/copy.rs")),
    ("reactor/src/net/split.rs", include_str!("../../../reactor/src/net/split.rs")),
    ("reactor/src/net/tcp.rs", include_str!("../../../reactor/src/net/tcp.rs")),
    ("reactor/src/source.rs", include_str!("../../../reactor/src/source.rs")),
];

fn run() -> io::Result<()> {
    block_on(async {
        let (stream, client) = connected().await?;
        listen(hear);
        let echo = spawn(echo(stream));
        // When this returns, the task has been polled, and has found nothing to read.
        yield_now().await;
        drop(client);
        echo.await?
    })
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let (reader, writer) = stream.split();
    copy(reader, writer).await.map(drop)
}

fn hear(record: &Record<'_>) {
    let values = record.key_values();
    let waker = values.get(Key::from("waker")).map_or(String::new(), |waker| waker.to_string());
    // If nobody reads it any more, the program learns so soon.
    let _ = match record.args().as_str() {
        Some("spawn") => say(format_args!("spawn: the executor makes a waker, {waker}")),
        Some("store") => tell(&Backtrace::force_capture())
            .and_then(|()| say(format_args!("store: the source keeps a waker, {waker}"))),
        _ => Ok(()),
    };
}

/// Tells the functions on the stack that are ours, the outermost first, each once.
fn tell(stack: &Backtrace) -> io::Result<()> {
    let stack = stack.to_string();
    let places = stack.lines().filter_map(|line| line.trim().strip_prefix("at "));
    let frames =
        places.filter_map(Frame::at).skip_while(|frame| !frame.file.ends_with("source.rs"));
    let mut frames: Vec<Frame> = frames.collect();
    frames.reverse();
    let mut told = Vec::new();
    for Frame { function, file, cx } in frames {
        if !told.contains(&(function, file)) {
            told.push((function, file));
            say(format_args!("  {function:<14} {file:<32} {cx}"))?;
        }
    }
    Ok(())
}

/// One function on the stack.
struct Frame {
    function: &'static str,
    file: &'static str,
    /// How it comes by `cx`.
    cx: &'static str,
}

impl Frame {
    /// Of `PATH:LINE:COLUMN`, if it is ours: the names of functions in a backtrace depend on how
    /// the program was built, so the name is taken from the code.
    fn at(place: &str) -> Option<Frame> {
        let mut parts = place.rsplitn(3, ':').skip(1);
        let (line, path) = (parts.next()?.parse().ok()?, parts.next()?);
        // From the root of the system, or from the folder in which the program runs.
        let path = path.trim_start_matches("./");
        let is_here = |file: &str| path.ends_with(file) || file.ends_with(path);
        let (file, text) = FILES.into_iter().find(|(file, _)| is_here(file))?;
        let lines: Vec<&str> = text.lines().take(line).collect();
        let is_head = |line: &&str| line.contains("fn ") && !line.trim().starts_with("//");
        let head = lines.iter().rposition(is_head)?;
        let function = lines[head].split("fn ").nth(1)?.split(['<', '(']).next()?;
        let has = |words: &str| lines[head..].iter().any(|line| line.contains(words));
        let cx = if has("Context::from_waker(") {
            "makes cx of the waker"
        } else if has("cx: &mut Context<") {
            "is given cx, passes it on"
        } else if has(": &Waker") {
            "is given the waker"
        } else if lines[head].contains("async fn") {
            "has it in .await"
        } else {
            "knows of no cx"
        };
        Some(Frame { function, file, cx })
    }
}
