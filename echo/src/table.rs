//! The table of all tasks, which shows why the server is stuck.

use std::future::pending;

use executor::{spawn_named, tasks};
use reactor::signal::Signal;

use crate::output::STDERR;

/// Returns the line above the table of a thread. It is empty if there is only one thread.
pub(crate) fn title(number: usize, threads: usize) -> String {
    if threads == 1 { String::new() } else { format!("thread {number} of {threads}\n") }
}

/// Prints the table each time the signal arrives. Never returns.
pub(crate) async fn print_at_each<T>(mut signal: Signal, title: String) -> T {
    while signal.recv().await.is_ok() {
        let title = title.clone();
        // Print in a separate task, so that the table shows this task as waiting.
        drop(spawn_named("table", async move { print(&title) }));
    }
    pending().await
}

/// Prints the whole table in one call, so that no line of another thread comes between its lines.
fn print(title: &str) {
    STDERR.print(format!("{title}{}\n", tasks()).as_bytes());
}
