//! [`tasks`] lists what each task is doing. A [`TaskList`] prints as a table.

use std::array;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::ops::Deref;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use reactor::{Awaited, Reactor};

use crate::executor::Executor;
use crate::table::Tasks;
use crate::task_info::{State, TaskInfo};

/// The number of tasks that are shown by default. Few readers look at more.
const ROWS: usize = 100;

/// The titles of the columns.
const TITLES: Row<&str> = ["task", "name", "state", "waits for", "since", "polls", "spawned at"];

/// The index of the column "waits for".
const WAITS_FOR: usize = 3;

type Row<T> = [T; 7];

/// All tasks that have not ended, in the order of their IDs; see [`Executor::tasks`].
///
/// The list dereferences to a slice of [`TaskInfo`], and prints as a table. In the table, tasks
/// that wait to write come first, because they hold bytes that a peer does not read. Lost tasks
/// follow, then all others. Within each group, the task that was polled longest ago comes first.
///
/// The table shows 100 tasks and the number of those it leaves out. A precision sets another limit:
/// `{:.1000}`.
///
/// On Linux the table shows the peer of each connected TCP or UDP socket. Printing calls
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
    /// When the list was made, by [`Reactor::now`].
    now: Instant,
    /// Looks up the peers when the list is printed.
    reactor: Weak<Reactor>,
}

/// Returns the tasks of the executor that runs on this thread; see [`Executor::tasks`].
///
/// The list can be printed as a table: `println!("{}", tasks())`.
///
/// # Panics
///
/// Panics if no executor is current on this thread; see [`Executor::enter`].
#[track_caller]
pub fn tasks() -> TaskList {
    let tasks = Tasks::current();
    TaskList::new(tasks.list(), &tasks.reactor)
}

impl Executor {
    /// Returns all tasks that have not ended: what each is doing, and what it waits for.
    ///
    /// The future given to `block_on` is included. The tasks are in the order of their IDs. The
    /// list can be printed as a [table](TaskList).
    ///
    /// [`State::Lost`] is exact: the executor counts the wakers of a task, and there is none.
    ///
    /// This function visits all tasks and all wakers of the reactor. It is meant for diagnosis, and
    /// is too slow to be called for each message.
    ///
    /// # Examples
    ///
    /// ```
    /// use executor::{State, spawn_named, tasks, yield_now};
    /// use reactor::Awaited;
    /// use std::future::pending;
    /// use std::time::Duration;
    ///
    /// executor::block_on(async {
    ///     drop(spawn_named("patient", reactor::time::sleep(Duration::from_secs(60))));
    ///     drop(spawn_named("forgetful", pending::<()>()));
    ///     yield_now().await;
    ///     let [main, patient, forgetful] = &tasks()[..] else { panic!("these three") };
    ///     assert_eq!((main.name, main.state), ("main", State::Running));
    ///     assert_eq!((patient.name, patient.state), ("patient", State::Waiting));
    ///     assert!(matches!(patient.awaits[..], [Awaited::Deadline(_)]));
    ///     assert_eq!((forgetful.name, forgetful.state), ("forgetful", State::Lost));
    /// });
    /// ```
    pub fn tasks(&self) -> TaskList {
        TaskList::new(self.tasks.list(), &self.tasks.reactor)
    }
}

impl TaskList {
    pub(crate) fn new(tasks: Vec<TaskInfo>, reactor: &Rc<Reactor>) -> TaskList {
        TaskList { tasks, now: reactor.now(), reactor: Rc::downgrade(reactor) }
    }

    /// Returns the tasks alone, without what printing needs.
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

/// Returns the group of a task in the table; group 0 comes first.
fn rank(task: &TaskInfo) -> u8 {
    let writes = |awaited: &Awaited| matches!(awaited, Awaited::Source { direction: "write", .. });
    match task.state {
        _ if task.awaits.iter().any(writes) => 0,
        State::Lost => 1,
        _ => 2,
    }
}

impl TaskList {
    /// Returns the peers of all sources, or nothing if none of these tasks waits for a source.
    fn peers(&self, tasks: &[&TaskInfo]) -> BTreeMap<usize, SocketAddr> {
        let is_source = |awaited: &Awaited| matches!(awaited, Awaited::Source { .. });
        let needed = tasks.iter().any(|task| task.awaits.iter().any(is_source));
        let reactor = self.reactor.upgrade().filter(|_| needed);
        reactor.map(|reactor| reactor.peers()).unwrap_or_default()
    }

    /// Returns the rows of a task: one, and one more for each further thing that it waits for.
    fn rows(&self, task: &TaskInfo, peers: &BTreeMap<usize, SocketAddr>) -> Vec<Row<String>> {
        let mut awaits = task.awaits.iter().map(|awaited| self.describe(awaited, peers));
        let name = if task.name.is_empty() { "-" } else { task.name };
        let first = [
            task.id.to_string(),
            name.to_owned(),
            format!("{:?}", task.state).to_lowercase(),
            with_others(awaits.next(), task.elsewhere),
            duration(self.now.saturating_duration_since(task.since)),
            task.polls.to_string(),
            format!("{}:{}", task.location.file(), task.location.line()),
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
            Awaited::Job { id, kind } => format!("job {id} ({kind})"),
            Awaited::Deadline(deadline) => {
                format!("timer, in {}", duration(deadline.saturating_duration_since(self.now)))
            }
            Awaited::Descriptor => "a free descriptor".to_owned(),
            _ => "the next turn of the reactor".to_owned(),
        }
    }
}

/// Adds the number of wakers elsewhere to what the reactor knows.
fn with_others(awaited: Option<String>, elsewhere: usize) -> String {
    match (awaited, elsewhere) {
        (awaited, 0) => awaited.unwrap_or_default(),
        (Some(awaited), others) => format!("{awaited} +{others} elsewhere"),
        (None, 1) => "1 waker elsewhere".to_owned(),
        (None, others) => format!("{others} wakers elsewhere"),
    }
}

/// Formats a duration in seconds below 100 s, in minutes below 100 min, otherwise in hours.
fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        ..100.0 => format!("{seconds:.1} s"),
        ..6000.0 => format!("{:.1} m", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3600.0),
    }
}

/// Writes rows with aligned columns, without a final line break.
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
    fn duration_is_formatted_in_a_unit_that_suits_its_length() {
        let formatted = |seconds| duration(Duration::from_secs_f64(seconds));
        assert_eq!(
            [formatted(0.0), formatted(99.9), formatted(100.0)],
            ["0.0 s", "99.9 s", "1.7 m"]
        );
        assert_eq!([formatted(5400.0), formatted(6000.0)], ["90.0 m", "1.7 h"]);
    }

    #[test]
    fn wait_for_a_free_descriptor_is_named() {
        let awaited = block_on(async { tasks().describe(&Awaited::Descriptor, &BTreeMap::new()) });
        assert_eq!(awaited, "a free descriptor");
    }

    const HOUR: Duration = Duration::from_secs(3600);

    /// Waits for the first of two timers.
    async fn two_timers() {
        let (mut first, mut second) = (pin!(sleep(2 * HOUR)), pin!(sleep(5 * HOUR)));
        poll_fn(|cx| {
            let both = [first.as_mut().poll(cx), second.as_mut().poll(cx)];
            if both.contains(&Poll::Ready(())) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    #[test]
    fn lost_tasks_come_before_others_in_aligned_columns() {
        let table = block_on(async {
            drop(spawn_named("two timers", two_timers()));
            drop(spawn(pending::<()>()));
            yield_now().await;
            // No turn came in between, so all tasks were polled at the same time of the reactor.
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
    fn long_table_shows_the_tasks_polled_longest_ago() {
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
