//! The table of all tasks, for those who ask why the server is stuck.

use std::array;
use std::future::pending;
use std::iter;
use std::time::{Duration, Instant};

use executor::{State, TaskInfo, spawn_named, tasks};
use reactor::signal::Signal;
use reactor::{Awaited, Reactor};

use crate::output::STDERR;

/// Tasks that are shown: more could not be read, and would fill the pipe.
const ROWS: usize = 100;

/// What stands above the columns.
const TITLES: Row<&str> = ["task", "name", "state", "waits for", "since", "polls", "spawned at"];

/// Where in a row it stands what the task waits for.
const WAITS_FOR: usize = 3;

type Row<T> = [T; 7];

/// What stands above the table of one thread: nothing, if there is only one.
pub(crate) fn title(number: usize, threads: usize) -> String {
    if threads == 1 { String::new() } else { format!("thread {number} of {threads}\n") }
}

/// Prints the table at each arrival of the signal; it never ends.
pub(crate) async fn print_at_each<T>(mut signal: Signal, title: String) -> T {
    while signal.recv().await.is_ok() {
        let title = title.clone();
        // By a task of its own, so that the one which waits here is shown as waiting.
        drop(spawn_named("table", async move { print(title) }));
    }
    pending().await
}

/// Prints the whole table at once, so that no line of another thread comes in between.
fn print(title: String) {
    let table = lines(tasks(), Reactor::current().now());
    STDERR.print((title + &table.concat()).as_bytes());
}

/// The lost ones first, then those that have not been polled for longest: of these somebody
/// asks who asks what is stuck.
fn lines(mut tasks: Vec<TaskInfo>, now: Instant) -> Vec<String> {
    tasks.sort_by_key(|task| (task.state != State::Lost, task.since));
    let hidden = tasks.len().saturating_sub(ROWS);
    tasks.truncate(ROWS);
    let rows = tasks.iter().flat_map(|task| rows(task, now));
    let mut lines = align(iter::once(TITLES.map(str::to_owned)).chain(rows).collect());
    if hidden > 0 {
        lines.push(format!("{hidden} more tasks are not shown\n"));
    }
    lines
}

/// One row, and one more for each further thing that the task waits for.
fn rows(task: &TaskInfo, now: Instant) -> Vec<Row<String>> {
    let mut awaits = task.awaits.iter().map(|awaited| describe(awaited, now));
    let name = if task.name.is_empty() { "-" } else { task.name };
    let first = [
        task.number.to_string(),
        name.to_owned(),
        format!("{:?}", task.state).to_lowercase(),
        with_others(awaits.next(), task.elsewhere),
        duration(now.saturating_duration_since(task.since)),
        task.polls.to_string(),
        format!("{}:{}", task.place.file(), task.place.line()),
    ];
    let further = awaits.map(|awaited| {
        let mut row = array::from_fn(|_| String::new());
        row[WAITS_FOR] = awaited;
        row
    });
    iter::once(first).chain(further).collect()
}

fn describe(awaited: &Awaited, now: Instant) -> String {
    match awaited {
        Awaited::Source { key, kind, direction } => {
            format!("{direction} on source {key} ({kind})")
        }
        Awaited::Job { number, kind } => format!("job {number} ({kind})"),
        Awaited::Deadline(deadline) => {
            format!("timer, in {}", duration(deadline.saturating_duration_since(now)))
        }
        Awaited::Descriptor => "a descriptor to spare".to_owned(),
        _ => "the next turn".to_owned(),
    }
}

/// What the reactor knows, and how many wakers are where it cannot look.
fn with_others(awaited: Option<String>, elsewhere: usize) -> String {
    match (awaited, elsewhere) {
        (awaited, 0) => awaited.unwrap_or_default(),
        (Some(awaited), others) => format!("{awaited} +{others} elsewhere"),
        (None, 1) => "1 waker elsewhere".to_owned(),
        (None, others) => format!("{others} wakers elsewhere"),
    }
}

/// In the largest unit of which there is more than one.
fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        ..100.0 => format!("{seconds:.1} s"),
        ..6000.0 => format!("{:.1} m", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3600.0),
    }
}

/// Lines whose columns stand below each other.
fn align(rows: Vec<Row<String>>) -> Vec<String> {
    let widths: Row<usize> =
        array::from_fn(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0));
    let line = |row: &Row<String>| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use executor::{block_on, spawn, yield_now};
    use futures_lite::future;
    use reactor::time::sleep;

    #[test]
    fn a_duration_is_told_in_a_unit_that_suits_it() {
        let told = |seconds| duration(Duration::from_secs_f64(seconds));
        assert_eq!([told(0.0), told(99.9), told(100.0)], ["0.0 s", "99.9 s", "1.7 m"]);
        assert_eq!([told(5400.0), told(6000.0)], ["90.0 m", "1.7 h"]);
    }

    #[test]
    fn the_columns_stand_below_each_other_and_what_is_lost_comes_first() {
        let hour = Duration::from_secs(3600);
        let lines = block_on(async {
            drop(spawn_named("two timers", future::or(sleep(2 * hour), sleep(5 * hour))));
            drop(spawn(pending::<()>()));
            yield_now().await;
            // Nothing has turned since, so that all were polled at the same time.
            lines(tasks(), Reactor::current().now())
        });
        let cut = lines.iter().map(|line| line.split(file!()).next().unwrap_or_default());
        let expected = [
            "task  name        state    waits for        since  polls  spawned at\n",
            "2     -           lost                      0.0 s  1      ",
            "0     main        running                   0.0 s  2      ",
            "1     two timers  waiting  timer, in 2.0 h  0.0 s  1      ",
            "                           timer, in 5.0 h\n",
        ];
        assert_eq!(cut.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn of_many_tasks_those_are_shown_that_were_polled_longest_ago() {
        let lines = block_on(async {
            let hour = Duration::from_secs(3600);
            (0..ROWS).for_each(|_| drop(spawn_named("old", sleep(hour))));
            sleep(Duration::from_millis(1)).await;
            (0..900).for_each(|_| drop(spawn_named("new", sleep(hour))));
            yield_now().await;
            lines(tasks(), Reactor::current().now())
        });
        let count = |name| lines.iter().filter(|line| line.contains(name)).count();
        assert_eq!((lines.len(), count("old"), count("new")), (1 + ROWS + 1, ROWS, 0));
        assert_eq!(lines.last().unwrap(), "901 more tasks are not shown\n");
        assert!(lines.iter().all(|line| line.len() <= 101), "{lines:#?}");
    }
}
