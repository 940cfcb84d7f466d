//! `block_on` polls one future, the main future, and the tasks that it spawned, until the main
//! future is ready. Then it returns, whatever the other tasks are doing.
//!
//! The function `block_on` creates an executor and drops it at its end, together with all tasks that
//! have not ended. An `Executor` that the program creates itself keeps its tasks between two calls of
//! `Executor::block_on`, but polls them only inside such a call.

use std::io;
use std::time::Duration;

use executor::{Executor, block_on, spawn, yield_now};
use reactor::time::sleep;

use crate::panic_messages::{hide_panics, panic_message};
use crate::{Question, print_line, scene, wrap};

pub(crate) const QUESTION: Question = Question {
    text: "What does block_on do, and what happens to the tasks when it returns? What if it is \
           called twice, or nested?",
    run,
};

/// How long the task sleeps.
const PAUSE: Duration = Duration::from_millis(20);

fn run() -> io::Result<()> {
    print_line("block_on of a future that spawns a task, yields once and returns:")?;
    block_on(async {
        drop(spawn(task()));
        yield_now().await;
    });
    print_line("    block_on has returned")?;

    print_line("the same, but the future awaits the handle of the task:")?;
    scene::begin();
    block_on(async { spawn(task()).await }).map_err(io::Error::other)?;
    scene::end();

    print_line("an Executor, and two calls of its block_on:")?;
    let executor = Executor::new()?;
    let task = executor.spawn(task());
    executor.block_on(yield_now());
    let waiting = executor.tasks().len();
    print_line(format_args!("    the first call has returned; tasks that wait: {waiting}"))?;
    executor.block_on(task).map_err(io::Error::other)?;

    hide_panics();
    print_line("block_on inside block_on panics:")?;
    let message = panic_message(|| block_on(async { block_on(async {}) }));
    print_line(format_args!("    {}", wrap(&message)))
}

/// Says how far the task has come. Dropping it says that the future is gone.
struct Progress;

impl Progress {
    fn say(&self, what: &str) {
        // Ignore the error: the next `print_line` of the program returns it too.
        let _ = print_line(format_args!("    task: {what}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.say("dropped");
    }
}

async fn task() {
    let progress = Progress;
    progress.say("starts");
    sleep(PAUSE).await;
    progress.say("completes");
}
