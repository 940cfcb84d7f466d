//! The waker travels in `cx`, an argument of every `poll`. The executor creates a `Context` from
//! the task's waker when it polls the task. Each future passes `cx` on to the futures that it
//! polls; in an `async fn`, the compiler generates that code for each `.await`. The read at the
//! bottom gets `WouldBlock`, and its source stores a clone of the waker.
//!
//! The program captures its own stack at that moment, and shows how each function gets `cx`.
//!
//! The socket does not travel in `cx`, and finds its reactor in another way: when it is created, it
//! registers with the *current* reactor, which `block_on` puts into a thread-local. Under the
//! `block_on` of another crate there is none, so creating the socket panics.

use std::backtrace::Backtrace;
use std::io;

use executor::{block_on, spawn, yield_now};
use log::Record;
use log::kv::Key;
use reactor::io::copy;
use reactor::net::{TcpListener, TcpStream};

use crate::connection::connected;
use crate::ladder::set_listener;
use crate::panic_messages::{hide_panics, panic_message};
use crate::{Question, print_line, wrap};

pub(crate) const QUESTION: Question = Question {
    text: "How does the waker get to the socket, and the socket to its reactor? Why \"no reactor \
           on this thread\"?",
    run,
};

/// The files whose functions are shown, and their text.
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
    hide_panics();
    let bind = TcpListener::bind("127.0.0.1:0");
    let message = panic_message(|| futures_lite::future::block_on(bind));
    print_line(format_args!(
        "bind, under block_on of futures-lite, panics:\n    {}",
        wrap(&message)
    ))?;
    block_on(async {
        let (stream, client) = connected().await?;
        set_listener(on_record);
        let echo = spawn(echo(stream));
        // This returns after the task has been polled and has found nothing to read.
        yield_now().await;
        drop(client);
        echo.await?
    })
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let (reader, writer) = stream.split();
    copy(reader, writer).await.map(drop)
}

fn on_record(record: &Record<'_>) {
    let values = record.key_values();
    let waker = values.get(Key::from("waker")).map_or(String::new(), |waker| waker.to_string());
    // Ignore the error: the next `print_line` outside the logger returns it too.
    let _ = match record.args().as_str() {
        Some("spawn") => print_line(format_args!("spawn: the executor creates a waker, {waker}")),
        Some("store") => print_stack(&Backtrace::force_capture())
            .and_then(|()| print_line(format_args!("store: the source stores a waker, {waker}"))),
        _ => Ok(()),
    };
}

/// Prints the functions of [`FILES`] that are on the stack: the outermost first, each once.
fn print_stack(stack: &Backtrace) -> io::Result<()> {
    let stack = stack.to_string();
    let locations = stack.lines().filter_map(|line| line.trim().strip_prefix("at "));
    let frames =
        locations.filter_map(Frame::at).skip_while(|frame| !frame.file.ends_with("source.rs"));
    let mut frames: Vec<Frame> = frames.collect();
    frames.reverse();
    let mut printed = Vec::new();
    for Frame { function, file, cx } in frames {
        if !printed.contains(&(function, file)) {
            printed.push((function, file));
            print_line(format_args!("  {function:<14} {file:<32} {cx}"))?;
        }
    }
    Ok(())
}

/// One function on the stack.
struct Frame {
    function: &'static str,
    file: &'static str,
    /// How the function gets `cx`.
    cx: &'static str,
}

impl Frame {
    /// Finds the function at `PATH:LINE:COLUMN`, if it is in one of [`FILES`].
    ///
    /// The name comes from the source text. The names in a backtrace depend on how the program was
    /// built.
    fn at(location: &str) -> Option<Frame> {
        let mut parts = location.rsplitn(3, ':').skip(1);
        let (line, path) = (parts.next()?.parse().ok()?, parts.next()?);
        // The path is absolute, or relative to the current directory.
        let path = path.trim_start_matches("./");
        let is_here = |file: &str| path.ends_with(file) || file.ends_with(path);
        let (file, text) = FILES.into_iter().find(|(file, _)| is_here(file))?;
        let lines: Vec<&str> = text.lines().take(line).collect();
        let is_head = |line: &&str| line.contains("fn ") && !line.trim().starts_with("//");
        let head = lines.iter().rposition(is_head)?;
        let function = lines[head].split("fn ").nth(1)?.split(['<', '(']).next()?;
        let has = |words: &str| lines[head..].iter().any(|line| line.contains(words));
        let cx = if has("Context::from_waker(") {
            "creates cx from the waker"
        } else if has("cx: &mut Context<") {
            "receives cx, passes it on"
        } else if has(": &Waker") {
            "receives the waker"
        } else if lines[head].contains("async fn") {
            "passes cx on in .await"
        } else {
            "has no cx"
        };
        Some(Frame { function, file, cx })
    }
}
