//! The table of all tasks, for those who ask why the server is stuck.

use std::future::pending;

use executor::{spawn_named, tasks};
use reactor::signal::Signal;

use crate::output::STDERR;

/// What stands above the table of one thread: nothing, if there is only one.
pub(crate) fn title(number: usize, threads: usize) -> String {
    if threads == 1 { String::new() } else { format!("thread {number} of {threads}\n") }
}

/// Prints the table at each arrival of the signal; it never ends.
pub(crate) async fn print_at_each<T>(mut signal: Signal, title: String) -> T {
    while signal.recv().await.is_ok() {
        let title = title.clone();
        // By a task of its own, so that the one which waits here is shown as waiting.
        drop(spawn_named("table", async move { print(&title) }));
    }
    pending().await
}

/// Prints the whole table at once, so that no line of another thread comes in between.
fn print(title: &str) {
    STDERR.print(format!("{title}{}\n", tasks()).as_bytes());
}
