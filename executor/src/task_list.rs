//! The table of all tasks, for a person: [`TaskList`].

use std::array;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::ops::Deref;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use reactor::{Awaited, Reactor};

use crate::tasks::{State, TaskInfo};

/// Rows that are shown: more could not be read.
const ROWS: usize = 100;

/// What stands above the columns.
const TITLES: Row<&str> = ["task", "name", "state", "waits for", "since", "polls", "spawned at"];

/// The column that says what the task waits for.
const WAITS_FOR: usize = 3;

type Row<T> = [T; 7];

/// All tasks that have not finished, in the order of their IDs; see [`Executor::tasks`].
///
/// It is a slice of [`TaskInfo`], and prints as a table. Tasks that wait to write come first, because
/// they hold bytes that a peer does not take; then tasks that are lost; then all others. Within
/// each group the task comes first that was polled longest ago.
///
/// The table shows 100 tasks and says how many there are beside them. A precision sets another
/// limit: `{:.1000}`.
///
/// On Linux the table names the peer of each connected TCP or UDP socket. Printing looks it up with
/// [`Reactor::peers`], which reads files in `/proc`.
///
/// # Examples
///
/// ```
/// use executor::{spawn_named, tasks, yield_now};
/// use reactor::time::sleep;
/// use std::time::Duration;
///
/// executor::block_on(async {
///     drop(spawn_named("patient", sleep(Duration::from_secs(3600))));
///     yield_now().await;
///     println!("{}", tasks());
/// });
/// ```
///
/// ```text
/// task  name     state    waits for         since  polls  spawned at
/// 0     main     running                    0.0 s  2      src/main.rs:5
/// 1     patient  waiting  timer, in 60.0 m  0.0 s  1      src/main.rs:6
/// ```
///
/// [`Executor::tasks`]: crate::Executor::tasks
#[derive(Clone)]
pub struct TaskList {
    tasks: Vec<TaskInfo>,
    /// When the list was made, by the clock of the reactor's turns.
    now: Instant,
    /// Asked for the peers, but only when the list is printed.
    reactor: Weak<Reactor>,
}

impl TaskList {
    pub(crate) fn new(tasks: Vec<TaskInfo>, reactor: &Rc<Reactor>) -> TaskList {
        TaskList { tasks, now: reactor.now(), reactor: Rc::downgrade(reactor) }
    }

    /// Returns the tasks without what is needed to print them.
    ///
    /// # Examples
    ///
    /// ```
    /// executor::block_on(async {
    ///     let tasks = executor::tasks().into_vec();
    ///     // Unlike the list, these can go to another thread.
    ///     std::thread::spawn(move || assert_eq!(tasks[0].name, "main")).join().unwrap();
    /// });
    /// ```
    pub fn into_vec(self) -> Vec<TaskInfo> {
        self.tasks
    }
}

impl Deref for TaskList {
    type Target = [TaskInfo];

    fn deref(&self) -> &[TaskInfo] {
        &self.tasks
    }
}

impl IntoIterator for TaskList {
    type Item = TaskInfo;
    type IntoIter = std::vec::IntoIter<TaskInfo>;

    fn into_iter(self) -> Self::IntoIter {
        self.tasks.into_iter()
    }
}

impl<'a> IntoIterator for &'a TaskList {
    type Item = &'a TaskInfo;
    type IntoIter = std::slice::Iter<'a, TaskInfo>;

    fn into_iter(self) -> Self::IntoIter {
        self.tasks.iter()
    }
}

impl fmt::Debug for TaskList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tasks.fmt(f)
    }
}

impl fmt::Display for TaskList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tasks: Vec<&TaskInfo> = self.tasks.iter().collect();
        tasks.sort_by_key(|task| (rank(task), task.since));
        let shown = tasks.len().min(f.precision().unwrap_or(ROWS));
        let (tasks, hidden) = tasks.split_at(shown);
        let peers = self.peers(tasks);
        let rows = tasks.iter().flat_map(|task| self.rows(task, &peers));
        let rows: Vec<Row<String>> =
            std::iter::once(TITLES.map(str::to_owned)).chain(rows).collect();
        write_aligned(&rows, f)?;
        match hidden.len() {
            0 => Ok(()),
            1 => write!(f, "\n1 more task is not shown"),
            hidden => write!(f, "\n{hidden} more tasks are not shown"),
        }
    }
}

/// Where in the table a task stands: first those that a person looks for.
fn rank(task: &TaskInfo) -> u8 {
    let writes = |awaited: &Awaited| matches!(awaited, Awaited::Source { direction: "write", .. });
    match task.state {
        _ if task.awaits.iter().any(writes) => 0,
        State::Lost => 1,
        _ => 2,
    }
}

impl TaskList {
    /// The peers of sources, unless none of these tasks waits for a source.
    fn peers(&self, tasks: &[&TaskInfo]) -> BTreeMap<usize, SocketAddr> {
        let is_source = |awaited: &Awaited| matches!(awaited, Awaited::Source { .. });
        let needed = tasks.iter().any(|task| task.awaits.iter().any(is_source));
        let reactor = self.reactor.upgrade().filter(|_| needed);
        reactor.map(|reactor| reactor.peers()).unwrap_or_default()
    }

    /// One row, and one more for each further thing that the task waits for.
    fn rows(&self, task: &TaskInfo, peers: &BTreeMap<usize, SocketAddr>) -> Vec<Row<String>> {
        let mut awaits = task.awaits.iter().map(|awaited| self.describe(awaited, peers));
        let name = if task.name.is_empty() { "-" } else { task.name };
        let first = [
            task.number.to_string(),
            name.to_owned(),
            format!("{:?}", task.state).to_lowercase(),
            with_others(awaits.next(), task.elsewhere),
            duration(self.now.saturating_duration_since(task.since)),
            task.polls.to_string(),
            format!("{}:{}", task.place.file(), task.place.line()),
        ];
        let further = awaits.map(|awaited| {
            let mut row = array::from_fn(|_| String::new());
            row[WAITS_FOR] = awaited;
            row
        });
        std::iter::once(first).chain(further).collect()
    }

    fn describe(&self, awaited: &Awaited, peers: &BTreeMap<usize, SocketAddr>) -> String {
        match awaited {
            Awaited::Source { key, kind, direction } => {
                let peer = peers.get(key).map_or(String::new(), |peer| format!(" {peer}"));
                format!("{direction} on source {key} ({kind}{peer})")
            }
            Awaited::Job { number, kind } => format!("job {number} ({kind})"),
            Awaited::Deadline(deadline) => {
                format!("timer, in {}", duration(deadline.saturating_duration_since(self.now)))
            }
            Awaited::Descriptor => "a descriptor to spare".to_owned(),
            _ => "the next turn".to_owned(),
        }
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

/// Lines whose columns stand below each other. As any `Display`, it ends without a line break.
fn write_aligned(rows: &[Row<String>], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let widths: Row<usize> = array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
    });
    for (place, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        write!(f, "{}{}", if place > 0 { "\n" } else { "" }, line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{Future, pending, poll_fn};
    use std::pin::pin;
    use std::task::Poll;

    use reactor::time::sleep;

    use crate::{block_on, spawn, spawn_named, tasks, yield_now};

    #[test]
    fn a_duration_has_a_unit_that_suits_it() {
        let told = |seconds| duration(Duration::from_secs_f64(seconds));
        assert_eq!([told(0.0), told(99.9), told(100.0)], ["0.0 s", "99.9 s", "1.7 m"]);
        assert_eq!([told(5400.0), told(6000.0)], ["90.0 m", "1.7 h"]);
    }

    const HOUR: Duration = Duration::from_secs(3600);

    /// Waits for two timers.
    async fn two_timers() {
        let (mut one, mut other) = (pin!(sleep(2 * HOUR)), pin!(sleep(5 * HOUR)));
        poll_fn(|cx| {
            let both = [one.as_mut().poll(cx), other.as_mut().poll(cx)];
            if both.contains(&Poll::Ready(())) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    #[test]
    fn columns_are_aligned_and_lost_tasks_come_before_others() {
        let table = block_on(async {
            drop(spawn_named("two timers", two_timers()));
            drop(spawn(pending::<()>()));
            yield_now().await;
            // Nothing has turned since, so that all were polled at the same time.
            tasks().to_string()
        });
        let cut = table.lines().map(|line| line.split(file!()).next().unwrap_or_default());
        let expected = [
            "task  name        state    waits for        since  polls  spawned at",
            "2     -           lost                      0.0 s  1      ",
            "0     main        running                   0.0 s  2      ",
            "1     two timers  waiting  timer, in 2.0 h  0.0 s  1      ",
            "                           timer, in 5.0 h",
        ];
        assert_eq!(cut.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn of_many_tasks_those_are_shown_that_were_polled_longest_ago() {
        let [table, longer] = block_on(async {
            (0..ROWS).for_each(|_| drop(spawn_named("old", sleep(HOUR))));
            sleep(Duration::from_millis(1)).await;
            (0..900).for_each(|_| drop(spawn_named("new", sleep(HOUR))));
            yield_now().await;
            [tasks().to_string(), format!("{:.1000}", tasks())]
        });
        let count = |table: &str, name| table.lines().filter(|line| line.contains(name)).count();
        assert_eq!((table.lines().count(), count(&table, "old")), (1 + ROWS + 1, ROWS));
        assert!(table.ends_with("\n901 more tasks are not shown"));
        assert_eq!((count(&longer, "old"), count(&longer, "new")), (ROWS, 899));
        assert!(longer.ends_with("\n1 more task is not shown"));
    }
}
