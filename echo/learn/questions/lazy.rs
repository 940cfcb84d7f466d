//! A future is a value: nothing of it runs until somebody polls it.

use std::io;
use std::mem::size_of_val;

use executor::{block_on, spawn, yield_now};

use crate::{Question, say};

pub(crate) const QUESTION: Question =
    Question { text: "Why does calling an async fn do nothing?", run };

/// Says that it runs.
async fn greet(greeted: &'static str) -> io::Result<()> {
    say(format_args!("    runs: {greeted}"))
}

fn run() -> io::Result<()> {
    let never = greet("never");
    say(format_args!("called: a value of {} bytes, and nothing has run", size_of_val(&never)))?;
    drop(never);
    say("dropped: nothing will")?;
    block_on(async {
        say("awaited:")?;
        greet("awaited").await?;
        let task = spawn(greet("spawned"));
        say("spawned: queued, but it has not run, for this task has the thread")?;
        yield_now().await;
        say("this task gave the thread away once; now it goes on")?;
        task.await.map_err(io::Error::other)?
    })
}
