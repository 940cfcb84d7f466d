//! A future is a value. Its code runs only while the future is polled.

use std::io;
use std::mem::size_of_val;

use executor::{block_on, spawn, yield_now};

use crate::{Question, print_line};

pub(crate) const QUESTION: Question =
    Question { text: "Why does calling an async fn do nothing?", run };

/// Prints that it runs.
async fn greet(greeted: &'static str) -> io::Result<()> {
    print_line(format_args!("    runs: {greeted}"))
}

fn run() -> io::Result<()> {
    let never = greet("never");
    print_line(format_args!(
        "called: a value of {} bytes; none of its code has run",
        size_of_val(&never)
    ))?;
    drop(never);
    print_line("dropped: its code will never run")?;
    block_on(async {
        print_line("awaited:")?;
        greet("awaited").await?;
        let task = spawn(greet("spawned"));
        print_line("spawned: queued, but not polled, because this task occupies the thread")?;
        yield_now().await;
        print_line("this task has yielded once, and now continues")?;
        task.await.map_err(io::Error::other)?
    })
}
