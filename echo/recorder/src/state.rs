//! The model of a run: replays events and keeps the state that they lead to.
//!
//! The state consists of the tasks and the places that store their wakers, the run queue and the inbox,
//! the sources and timers of the reactor, and what the executor's thread does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::event::{By, Direction, Event, Kind, Outcome, Source, Task};

/// The state of a run between two events.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) thread: Thread,
    pub(crate) queue: Vec<u64>,
    pub(crate) inbox: Vec<u64>,
    pub(crate) tasks: BTreeMap<u64, TaskState>,
    pub(crate) sources: BTreeMap<u64, SourceState>,
    pub(crate) timers: Vec<Timer>,
    /// The last source that had each token.
    tokens: HashMap<usize, u64>,
    pub(crate) ended: Ended,
}

/// The tasks and sources that have ended and are still in the state.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Ended {
    pub(crate) tasks: Vec<u64>,
    pub(crate) sources: Vec<u64>,
}

/// What the executor's thread does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Thread {
    #[default]
    Executor,
    /// Polls this task.
    Task(u64),
    /// Is in `Reactor::turn`, but not in `epoll_wait`.
    Turn,
    /// Is in `epoll_wait` and sleeps.
    Asleep,
    /// Is in `epoll_wait`, which returns immediately.
    Waits,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TaskState {
    pub(crate) task: Arc<Task>,
    pub(crate) state: &'static str,
    pub(crate) polls: u64,
    /// Whether its waker was taken out of where it was stored, and is about to be called.
    pub(crate) waker_taken: bool,
    /// The sources, each with its direction, that store a waker of this task.
    pub(crate) stored_in: BTreeSet<(u64, Direction)>,
    pub(crate) ended: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SourceState {
    pub(crate) source: Arc<Source>,
    /// Whether it is registered with the kernel.
    pub(crate) registered: bool,
    pub(crate) read: DirectionState,
    pub(crate) write: DirectionState,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DirectionState {
    pub(crate) ready: bool,
    pub(crate) closed: bool,
    /// The tasks whose wakers are stored; `None` for a custom waker.
    pub(crate) wakers: Vec<Option<u64>>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Timer {
    pub(crate) task: Option<u64>,
    /// The time from the start of the recording to its deadline.
    pub(crate) deadline: Duration,
}

impl SourceState {
    fn new(source: &Arc<Source>, registered: bool) -> SourceState {
        let direction = DirectionState { ready: true, closed: false, wakers: Vec::new() };
        SourceState {
            source: source.clone(),
            registered,
            read: direction.clone(),
            write: direction,
        }
    }

    fn direction(&mut self, direction: Direction) -> &mut DirectionState {
        match direction {
            Direction::Read => &mut self.read,
            Direction::Write => &mut self.write,
        }
    }
}

impl State {
    /// Changes the state as the next event changed it.
    pub(crate) fn apply(&mut self, event: &Event) {
        let task = event.task_id();
        match &event.kind {
            Kind::Spawn { .. } => self.spawn(event),
            Kind::Register | Kind::JobSubmitted => self.add_source(event),
            Kind::Deregister => self.end_source(event),
            Kind::JobDone => {
                let woken = self.tasks_stored_in_ending_source(event);
                self.end_source(event);
                self.mark_wakers_taken(&woken);
            }
            Kind::Poll { nth } => self.poll(task, *nth),
            Kind::Try { outcome, .. } => self.attempt(event, outcome),
            Kind::Store { .. } => self.store(event, task),
            Kind::Pending => self.pending(task),
            Kind::Sleep { slept: Some(_), .. } => self.thread = Thread::Asleep,
            Kind::Sleep { .. } => self.thread = Thread::Waits,
            Kind::Look | Kind::Notified => self.thread = Thread::Turn,
            Kind::Event { readiness, takes, .. } => {
                self.thread = Thread::Turn;
                for direction in [Direction::Read, Direction::Write] {
                    if readiness.concerns(direction) {
                        self.make_ready(event, direction, readiness.ends(direction));
                    }
                }
                self.mark_wakers_taken(takes);
            }
            Kind::Wake => self.set(task, "woken"),
            Kind::Queue { by } => self.queue(task, *by == By::Thread),
            Kind::TimerSet { after } => {
                self.timers.push(Timer { task, deadline: event.at.saturating_add(*after) });
            }
            Kind::TimerFired => {
                self.thread = Thread::Turn;
                self.take_timer(task);
                self.mark_wakers_taken(task.as_slice());
            }
            Kind::TimerDropped => self.take_timer(task),
            Kind::Done { .. } => self.end(task, "done"),
            Kind::Abort => self.end(task, "aborted"),
            Kind::Panic => self.end(task, "panicked"),
            Kind::Lost => self.set(task, "lost"),
            Kind::Start
            | Kind::Outside { .. }
            | Kind::Note { .. }
            | Kind::QueuedAlready
            | Kind::BudgetSpent => {}
        }
    }

    /// Makes this the state before a recording that starts now, which is `elapsed` after the start of the
    /// previous recording.
    ///
    /// `is_idle` is whether the executor's thread is neither in a poll nor in the reactor, so that what the
    /// thread did last belongs to the previous run.
    pub(crate) fn restart(&mut self, elapsed: Duration, is_idle: bool) {
        self.forget_ended();
        for timer in &mut self.timers {
            timer.deadline = timer.deadline.saturating_sub(elapsed);
        }
        if is_idle {
            self.thread = Thread::default();
        }
    }

    /// Removes the tasks and sources that have ended, because no later event concerns them. Visits
    /// only these, so the cost does not grow with the number of live tasks.
    pub(crate) fn forget_ended(&mut self) {
        self.forget_ended_sources();
        for id in self.ended.tasks.drain(..) {
            // Another executor may have started a task with the same ID.
            if self.tasks.get(&id).is_some_and(|task| task.ended) {
                self.tasks.remove(&id);
            }
        }
    }

    pub(crate) fn forget_ended_sources(&mut self) {
        for since in std::mem::take(&mut self.ended.sources) {
            for direction in [Direction::Read, Direction::Write] {
                self.take_wakers(since, direction);
            }
            let Some(SourceState { source, .. }) = self.sources.remove(&since) else { continue };
            if self.tokens.get(&source.token) == Some(&since) {
                self.tokens.remove(&source.token);
            }
        }
    }

    /// Takes all wakers out of a direction of a source.
    fn take_wakers(&mut self, since: u64, direction: Direction) {
        let Some(source) = self.sources.get_mut(&since) else { return };
        for task in std::mem::take(&mut source.direction(direction).wakers).into_iter().flatten() {
            if let Some(task) = self.tasks.get_mut(&task) {
                task.stored_in.remove(&(since, direction));
            }
        }
    }

    /// Returns the tasks in the run queue and in the inbox.
    pub(crate) fn queued(&self) -> impl Iterator<Item = u64> {
        self.queue.iter().chain(&self.inbox).copied()
    }

    fn set(&mut self, task: Option<u64>, state: &'static str) {
        if let Some(task) = task.and_then(|task| self.tasks.get_mut(&task)) {
            task.state = state;
            task.waker_taken = false;
        }
    }

    fn spawn(&mut self, event: &Event) {
        let Some(task) = &event.task else { return };
        let new = TaskState {
            task: task.clone(),
            state: "new",
            polls: 0,
            waker_taken: false,
            stored_in: BTreeSet::new(),
            ended: false,
        };
        self.tasks.insert(task.id, new);
    }

    fn add_source(&mut self, event: &Event) {
        let Some(source) = &event.source else { return };
        let registered = event.kind == Kind::Register;
        // The `token` of a job is its number, which is not a token of the reactor.
        if registered && let Some(before) = self.tokens.insert(source.token, source.since) {
            self.ended.sources.push(before);
        }
        self.sources.insert(source.since, SourceState::new(source, registered));
    }

    fn source_of(&mut self, event: &Event) -> Option<&mut SourceState> {
        self.sources.get_mut(&event.source.as_ref()?.since)
    }

    fn end_source(&mut self, event: &Event) {
        let Some(source) = self.source_of(event) else { return };
        source.registered = false;
        let since = source.source.since;
        for direction in [Direction::Read, Direction::Write] {
            self.take_wakers(since, direction);
        }
        self.ended.sources.push(since);
    }

    fn poll(&mut self, task: Option<u64>, nth: u64) {
        let Some(id) = task else { return };
        self.set(task, "running");
        if let Some(task) = self.tasks.get_mut(&id) {
            task.polls = nth;
        }
        self.take_from_queue(id);
        self.thread = Thread::Task(id);
    }

    /// Removes a task from the inbox too: the executor moves it from there to the run queue without
    /// a record.
    fn take_from_queue(&mut self, id: u64) {
        for queue in [&mut self.queue, &mut self.inbox] {
            queue.retain(|queued| *queued != id);
        }
    }

    fn attempt(&mut self, event: &Event, outcome: &Outcome) {
        let (Some(direction), Some(source)) = (event.direction, self.source_of(event)) else {
            return;
        };
        let direction = source.direction(direction);
        match outcome {
            Outcome::WouldBlock | Outcome::Short(_) => direction.ready = false,
            Outcome::EndOfFile => direction.closed = true,
            _ => {}
        }
    }

    fn store(&mut self, event: &Event, task: Option<u64>) {
        let (Some(direction), Some(source)) = (event.direction, self.source_of(event)) else {
            return;
        };
        source.direction(direction).wakers.push(task);
        let since = source.source.since;
        if let Some(task) = task.and_then(|task| self.tasks.get_mut(&task)) {
            task.stored_in.insert((since, direction));
        }
    }

    fn pending(&mut self, task: Option<u64>) {
        let Some(id) = task else { return };
        let queued = self.queue.contains(&id) || self.inbox.contains(&id);
        self.set(task, if queued { "queued" } else { "waiting" });
        self.thread = Thread::Executor;
    }

    fn make_ready(&mut self, event: &Event, direction: Direction, closed: bool) {
        let Some(source) = self.source_of(event) else { return };
        let since = source.source.since;
        let state = source.direction(direction);
        state.ready = true;
        state.closed |= closed;
        self.take_wakers(since, direction);
    }

    fn mark_wakers_taken(&mut self, tasks: &[u64]) {
        for task in tasks {
            if let Some(task) = self.tasks.get_mut(task) {
                task.waker_taken = true;
            }
        }
    }

    fn queue(&mut self, task: Option<u64>, inbox: bool) {
        let Some(id) = task else { return };
        let queue = if inbox { &mut self.inbox } else { &mut self.queue };
        queue.push(id);
        let runs = self.tasks.get(&id).is_some_and(|task| task.state == "running");
        if !runs {
            self.set(task, "queued");
        }
    }

    fn take_timer(&mut self, task: Option<u64>) {
        let own = self.timers.iter().position(|timer| timer.task == task);
        // A timer that one task set and another task awaits is listed under the first task.
        let index = own.unwrap_or(0);
        if index < self.timers.len() {
            self.timers.remove(index);
        }
    }

    fn end(&mut self, task: Option<u64>, state: &'static str) {
        self.set(task, state);
        if let Some(task) = task.and_then(|task| self.tasks.get_mut(&task)) {
            task.ended = true;
        }
        self.ended.tasks.extend(task);
        // A task that has ended is not polled again, even if it is still queued.
        task.into_iter().for_each(|id| self.take_from_queue(id));
        if matches!(self.thread, Thread::Task(id) if Some(id) == task) {
            self.thread = Thread::Executor;
        }
    }

    /// Returns the tasks whose wakers are stored in the source that this event ends.
    pub(crate) fn tasks_stored_in_ending_source(&self, event: &Event) -> Vec<u64> {
        let ends = matches!(event.kind, Kind::Deregister | Kind::JobDone);
        let source = event.source.as_ref().filter(|_| ends);
        let Some(source) = source.and_then(|source| self.sources.get(&source.since)) else {
            return Vec::new();
        };
        source.read.wakers.iter().chain(&source.write.wakers).copied().flatten().collect()
    }
}
