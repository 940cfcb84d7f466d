//! [`TaskInfo`] says what a task is doing, to find out why it is stuck.
//!
//! The executor does not need this file: the code here only reads its state. The executor knows the
//! tasks. The reactor and the blocking pool know what each waker waits for. The address of the
//! waker connects the two.

use std::collections::BTreeMap;
use std::panic::Location;
use std::sync::Arc;
use std::time::Instant;

use reactor::{Awaited, blocking};

use crate::table::Tasks;
use crate::task::{self, Task};

/// A task that has not ended; see [`Executor::tasks`](crate::Executor::tasks).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TaskInfo {
    /// The task ID, which identifies the task in log records. IDs are never reused.
    pub id: u64,
    /// The name; empty if the task has none. The future given to `block_on` is `main`.
    pub name: &'static str,
    /// Where the task was spawned.
    pub location: &'static Location<'static>,
    /// What the task is doing.
    pub state: State,
    /// What a waiting task waits for, as far as the reactor and the blocking pool know. Operations
    /// that the task has since dropped may still be among these.
    pub awaits: Vec<Awaited>,
    /// The number of wakers of a waiting task in other places: a channel, a join handle, another
    /// task or a thread. The executor cannot know where they are.
    pub elsewhere: usize,
    /// When the task was last polled, or spawned if it was not polled yet. The clock is
    /// [`Reactor::now`](reactor::Reactor::now).
    pub since: Instant,
    /// The number of polls so far.
    pub polls: u64,
}

/// What a task is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// The task is in the run queue, or another thread's wakeup of it is on its way there.
    Queued,
    /// The task is being polled, and the code that asks is part of it.
    Running,
    /// The task returned `Pending`, and a waker of it exists.
    Waiting,
    /// The task is not queued, and no waker of it exists. It will never be polled again.
    Lost,
}

impl Tasks {
    /// Returns all tasks that have not ended, in the order of their IDs.
    pub(crate) fn list(&self) -> Vec<TaskInfo> {
        let mut stored: BTreeMap<*const (), Vec<Awaited>> = BTreeMap::new();
        let wakers = self.reactor.stored_wakers().into_iter().chain(blocking::stored_wakers());
        for waker in wakers {
            stored.entry(waker.waker).or_default().push(waker.awaited);
        }
        let mut slots = self.slots();
        slots.retain(|task| task.is_live() || task.state.get() == task::State::Ending);
        let infos = slots.iter().map(|task| self.describe(task, &mut stored));
        let mut tasks: Vec<TaskInfo> = infos.collect();
        tasks.sort_unstable_by_key(|task| task.id);
        tasks
    }

    fn describe(&self, task: &Task, stored: &mut BTreeMap<*const (), Vec<Awaited>>) -> TaskInfo {
        let state = match () {
            // The stage is borrowed exactly while the task is polled.
            () if task.stage.try_borrow_mut().is_err() => State::Running,
            // The destructor of its future is running.
            () if task.state.get() == task::State::Ending => State::Running,
            // Check `is_lost` before `is_queued`. Between the two checks another thread may wake a
            // task that is not lost, but nothing can wake a lost one.
            () if task.is_lost() => State::Lost,
            () if task.is_queued() => State::Queued,
            () => State::Waiting,
        };
        let (mut awaits, mut elsewhere) = (Vec::new(), 0);
        if state == State::Waiting {
            awaits = stored.remove(&Arc::as_ptr(&task.header).cast()).unwrap_or_default();
            // Another thread may have dropped a waker since the wakers were listed.
            elsewhere = task.wakers().saturating_sub(awaits.len());
            // One direction of a source may hold the same waker twice.
            awaits.dedup();
        }
        let (id, name, location) = (task.id(), task.name.get(), task.location.get());
        let (since, polls) = (task.since.get(), task.polls.get());
        TaskInfo { id, name, location, state, awaits, elsewhere, since, polls }
    }
}
