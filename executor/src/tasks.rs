//! What each task does, for those who ask why one is stuck: [`tasks`], [`TaskInfo`].
//!
//! Nothing here is part of how the executor works: it only looks. What the executor knows of a
//! task and what the reactor and the blocking pool know of a waker are brought together by the
//! waker's address.

use std::collections::BTreeMap;
use std::panic::Location;
use std::sync::Arc;
use std::time::Instant;

use reactor::{Awaited, blocking};

use crate::Executor;
use crate::table::Tasks;
use crate::task::{self, Task};
use crate::task_list::TaskList;

/// One task that has not finished; see [`Executor::tasks`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TaskInfo {
    /// The number under which records tell of it. Numbers are not reused.
    pub number: u64,
    /// Empty, if it has none; `main` is the future given to `block_on`.
    pub name: &'static str,
    /// Where it was spawned.
    pub place: &'static Location<'static>,
    /// What it does.
    pub state: State,
    /// If it waits: for what the reactor or the blocking pool keeps a waker of it. An operation that it
    /// dropped since may still be among these.
    pub awaits: Vec<Awaited>,
    /// If it waits: how many wakers of it are elsewhere, be it in a channel, a join handle, another
    /// task or a thread. The executor cannot know where.
    pub elsewhere: usize,
    /// When it was last polled; or spawned, before its first poll. By the clock of the reactor's
    /// turns, [`Reactor::now`](reactor::Reactor::now).
    pub since: Instant,
    /// How often it was polled.
    pub polls: u64,
}

/// What a task does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// It is in the run queue, or in the inbox.
    Queued,
    /// Its poll is in progress, and whoever asks is part of it.
    Running,
    /// It returned `Pending`, and somebody holds a waker of it.
    Waiting,
    /// It returned `Pending`, and nobody holds a waker of it: it will never be polled again.
    Lost,
}

/// All tasks of the executor that runs on this thread; see [`Executor::tasks`].
///
/// The list prints as a table: `println!("{}", tasks())`.
///
/// # Panics
///
/// Outside of `block_on`.
#[track_caller]
pub fn tasks() -> TaskList {
    let tasks = Tasks::current();
    TaskList::new(tasks.list(), &tasks.reactor)
}

impl Executor {
    /// All tasks that have not finished: what each does, and what it waits for.
    ///
    /// The future given to `block_on` is included. They come in the order of their numbers. The list
    /// prints as a [table](TaskList).
    ///
    /// Lost is exact, as far as the executor can know: nothing but itself leads to the task. It
    /// looks at each task and at each waker of the reactor: for a person who asks, not for each
    /// message.
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

impl Tasks {
    fn list(&self) -> Vec<TaskInfo> {
        let mut kept: BTreeMap<*const (), Vec<Awaited>> = BTreeMap::new();
        for wait in self.reactor.waits().into_iter().chain(blocking::waits()) {
            kept.entry(wait.waker).or_default().push(wait.awaited);
        }
        let mut slots = self.slots();
        slots.retain(|task| matches!(task.state.get(), task::State::Live | task::State::Ending));
        let infos = slots.iter().map(|task| self.describe(task, &mut kept));
        let mut tasks: Vec<TaskInfo> = infos.collect();
        tasks.sort_unstable_by_key(|task| task.number);
        tasks
    }

    fn describe(&self, task: &Task, kept: &mut BTreeMap<*const (), Vec<Awaited>>) -> TaskInfo {
        let number = task.id();
        let state = match () {
            () if self.polled.get() == Some(number) => State::Running,
            // First: a task that is not lost may be woken in between, but not the other way round.
            () if task.is_lost() => State::Lost,
            () if task.is_queued() => State::Queued,
            () => State::Waiting,
        };
        let (mut awaits, mut elsewhere) = (Vec::new(), 0);
        if state == State::Waiting {
            awaits = kept.remove(&Arc::as_ptr(&task.header).cast()).unwrap_or_default();
            // Another thread may drop its waker at any time.
            elsewhere = task.wakers().saturating_sub(awaits.len());
            // A direction may hold the same waker twice.
            awaits.dedup();
        }
        let (name, place) = (task.name.get(), task.location.get());
        let (since, polls) = (task.since.get(), task.polls.get());
        TaskInfo { number, name, place, state, awaits, elsewhere, since, polls }
    }
}
