//! The model of a run: replays events and keeps the state that they lead to.
//!
//! The state consists of the tasks and the places that store their wakers, the run queue and the inbox,
//! the sources and timers of the reactor, and what the executor's thread does.
//!
//! Invariant: a waker is in one place at a time. It is in a source, a job or a timer until an event
//! moves it to the list of woken wakers, and there until it has been called. Its task is then in the
//! run queue. A waker that is dropped is in no place.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::event::{Actor, By, Direction, Event, Kind, Outcome, Source, Task};

/// The state of a run between two events.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) thread: Thread,
    pub(crate) queue: Vec<u64>,
    pub(crate) inbox: Vec<u64>,
    pub(crate) tasks: BTreeMap<u64, TaskState>,
    pub(crate) sources: BTreeMap<u64, SourceState>,
    pub(crate) timers: Vec<Timer>,
    /// The wakers that are about to be called, in the order in which they were stored. The reactor may
    /// call the wakers of a crowd in another order.
    pub(crate) woken: Vec<TakenWaker>,
    /// The tasks whose wakers the last event moved.
    pub(crate) moved: Vec<u64>,
    /// A source from which the last event took a waker although it reports another source.
    pub(crate) swept: Option<u64>,
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
    /// How many of its wakers are about to be called.
    pub(crate) taken: usize,
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
    pub(crate) wakers: Vec<StoredWaker>,
}

/// A waker in a source or in a job.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredWaker {
    /// `None` for a custom waker.
    pub(crate) task: Option<u64>,
    /// The number of the event that stored it; 0 if that was before the recording.
    by: u64,
}

/// A waker that was taken out of where it was stored, and is about to be called.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TakenWaker {
    /// `None` for a custom waker.
    pub(crate) task: Option<u64>,
    by: u64,
    /// The source or the job that stored it; `None` for a timer.
    pub(crate) from: Option<Arc<Source>>,
    /// The thread that is calling it.
    pub(crate) caller: Option<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Timer {
    pub(crate) task: Option<u64>,
    by: u64,
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
        self.moved.clear();
        self.swept = None;
        self.end_call(event);
        match &event.kind {
            Kind::Spawn { .. } => self.spawn(event),
            Kind::Register | Kind::JobSubmitted => self.add_source(event),
            Kind::Deregister => self.end_source(event),
            Kind::JobDone => self.end_job(event),
            Kind::Poll { nth } => self.poll(task, *nth),
            Kind::Try { outcome, .. } => self.attempt(event, outcome),
            Kind::Store { .. } => self.store(event, task),
            Kind::Pending => self.pending(task),
            Kind::Sleep { slept: Some(_), .. } => self.thread = Thread::Asleep,
            Kind::Sleep { .. } => self.thread = Thread::Waits,
            Kind::Look | Kind::Notified => self.thread = Thread::Turn,
            Kind::Event { readiness, .. } => {
                self.thread = Thread::Turn;
                for direction in [Direction::Read, Direction::Write] {
                    if readiness.concerns(direction) {
                        self.make_ready(event, direction, readiness.ends(direction));
                    }
                }
            }
            Kind::Wake => self.wake(event),
            Kind::Queue { by } => self.queue(task, *by == By::Thread),
            Kind::QueuedAlready if event.actor == Actor::Executor => self.take_from_inbox(task),
            Kind::TimerSet { after } => {
                let deadline = event.at.saturating_add(*after);
                self.timers.push(Timer { task, by: event.number, deadline });
            }
            Kind::TimerFired => {
                self.thread = Thread::Turn;
                let timer = self.take_timer(event);
                let by = timer.map_or(0, |timer| timer.by);
                self.take(TakenWaker { task, by, from: None, caller: None });
            }
            Kind::TimerDropped => _ = self.take_timer(event),
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
        self.renumber(|_| 0);
    }

    /// Changes the numbers of the events that stored wakers.
    pub(crate) fn renumber(&mut self, number: impl Fn(u64) -> u64) {
        let directions =
            self.sources.values_mut().flat_map(|source| [&mut source.read, &mut source.write]);
        let stored =
            directions.flat_map(|direction| &mut direction.wakers).map(|waker| &mut waker.by);
        let timers = self.timers.iter_mut().map(|timer| &mut timer.by);
        let taken = self.woken.iter_mut().map(|taken| &mut taken.by);
        stored.chain(timers).chain(taken).for_each(|by| *by = number(*by));
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
    fn take_wakers(&mut self, since: u64, direction: Direction) -> Vec<StoredWaker> {
        let Some(source) = self.sources.get_mut(&since) else { return Vec::new() };
        let wakers = std::mem::take(&mut source.direction(direction).wakers);
        for id in wakers.iter().filter_map(|waker| waker.task) {
            self.moved.push(id);
            if let Some(task) = self.tasks.get_mut(&id) {
                task.stored_in.remove(&(since, direction));
            }
        }
        wakers
    }

    /// Adds a waker to those that are about to be called.
    fn take(&mut self, taken: TakenWaker) {
        if let Some(task) = taken.task.and_then(|task| self.tasks.get_mut(&task)) {
            task.taken += 1;
        }
        self.moved.extend(taken.task);
        self.woken.push(taken);
    }

    /// Removes the waker whose call ends with this event. It ends no later than the next event of the
    /// thread that calls it.
    fn end_call(&mut self, event: &Event) {
        self.remove_taken(|taken| taken.caller.as_ref() == Some(&event.thread));
    }

    fn remove_taken(&mut self, is_over: impl Fn(&TakenWaker) -> bool) {
        for taken in self.woken.extract_if(.., |taken| is_over(taken)) {
            if let Some(task) = taken.task.and_then(|task| self.tasks.get_mut(&task)) {
                task.taken -= 1;
            }
            self.moved.extend(taken.task);
        }
    }

    fn wake(&mut self, event: &Event) {
        self.set(event.task_id(), "woken");
        let stored = event.causes.get(1).copied().unwrap_or_default();
        let waits = |taken: &TakenWaker| taken.caller.is_none();
        let find = |woken: &[TakenWaker], is_it: &dyn Fn(&TakenWaker) -> bool| {
            woken.iter().position(|taken| waits(taken) && is_it(taken))
        };
        let index = find(&self.woken, &|taken| stored > 0 && taken.by == stored)
            .or_else(|| self.take_without_event(stored))
            .or_else(|| find(&self.woken, &|taken| taken.task == event.task_id()))
            // A waker that was stored before the recording may belong to a task that has ended.
            .or_else(|| find(&self.woken, &|_| stored == 0));
        if let Some(index) = index {
            self.woken[index].caller = Some(event.thread.clone());
        }
    }

    /// Takes out the waker that this event stored, if it is still in a source, as in a sweep. Returns
    /// its index.
    fn take_without_event(&mut self, stored: u64) -> Option<usize> {
        if stored == 0 {
            return None;
        }
        for (since, state) in &mut self.sources {
            for direction in [Direction::Read, Direction::Write] {
                let wakers = &mut state.direction(direction).wakers;
                let Some(index) = wakers.iter().position(|waker| waker.by == stored) else {
                    continue;
                };
                let StoredWaker { task, by } = wakers.remove(index);
                let is_last = wakers.iter().all(|waker| waker.task != task);
                let from = Some(state.source.clone());
                self.swept = Some(*since);
                let known = task.and_then(|task| self.tasks.get_mut(&task));
                known.filter(|_| is_last).map(|known| known.stored_in.remove(&(*since, direction)));
                self.take(TakenWaker { task, by, from, caller: None });
                return Some(self.woken.len() - 1);
            }
        }
        None
    }

    /// Returns the tasks in the run queue and in the inbox.
    pub(crate) fn queued(&self) -> impl Iterator<Item = u64> {
        self.queue.iter().chain(&self.inbox).copied()
    }

    fn set(&mut self, task: Option<u64>, state: &'static str) {
        if let Some(task) = task.and_then(|task| self.tasks.get_mut(&task)) {
            task.state = state;
        }
    }

    fn spawn(&mut self, event: &Event) {
        let Some(task) = &event.task else { return };
        let new = TaskState {
            task: task.clone(),
            state: "new",
            polls: 0,
            taken: 0,
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

    /// Ends a job. Its thread calls the stored waker.
    fn end_job(&mut self, event: &Event) {
        let stored = self.source_of(event).map(|source| source.source.clone());
        let wakers = stored.as_ref().map(|job| self.take_wakers(job.since, Direction::Read));
        self.end_source(event);
        let is_live = |waker: &StoredWaker| {
            let task = waker.task.and_then(|task| self.tasks.get(&task));
            task.is_some_and(|task| !task.ended)
        };
        // A record of the call follows only if the task is live.
        let live: Vec<StoredWaker> = wakers.into_iter().flatten().filter(is_live).collect();
        for StoredWaker { task, by } in live {
            let caller = Some(event.thread.clone());
            self.take(TakenWaker { task, by, from: stored.clone(), caller });
        }
    }

    fn poll(&mut self, task: Option<u64>, nth: u64) {
        let Some(id) = task else { return };
        self.set(task, "running");
        if let Some(task) = self.tasks.get_mut(&id) {
            task.polls = nth;
        }
        // The executor moves a task from the inbox to the run queue without a record.
        match self.queue.iter().position(|queued| *queued == id) {
            Some(index) => _ = self.queue.remove(index),
            None => self.take_from_inbox(task),
        }
        self.thread = Thread::Task(id);
    }

    /// Removes one wakeup of a task from the inbox.
    fn take_from_inbox(&mut self, task: Option<u64>) {
        if let Some(index) = self.inbox.iter().position(|sent| Some(*sent) == task) {
            self.inbox.remove(index);
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
        let since = source.source.since;
        // A job has one waker, which a new one replaces.
        if source.source.is_job() {
            self.take_wakers(since, direction);
        }
        let Some(source) = self.source_of(event) else { return };
        source.direction(direction).wakers.push(StoredWaker { task, by: event.number });
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
        let from = event.source.clone();
        for StoredWaker { task, by } in self.take_wakers(since, direction) {
            self.take(TakenWaker { task, by, from: from.clone(), caller: None });
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

    /// Takes out the timer that expires or is dropped. The first cause of `timer fired` set it. A timer
    /// that is dropped, or that was set before the recording, is the one of its task with the nearest
    /// deadline. One that another task has set is listed under that task.
    fn take_timer(&mut self, event: &Event) -> Option<Timer> {
        let set = event.causes.first().filter(|_| event.kind == Kind::TimerFired);
        let order =
            |timer: &Timer| (Some(&timer.by) != set, timer.task != event.task_id(), timer.deadline);
        let nearest = self.timers.iter().enumerate().min_by_key(|(_, timer)| order(timer));
        let index = nearest.map(|(index, _)| index)?;
        let timer = self.timers.remove(index);
        self.moved.extend(timer.task);
        Some(timer)
    }

    fn end(&mut self, task: Option<u64>, state: &'static str) {
        self.set(task, state);
        if let Some(task) = task.and_then(|task| self.tasks.get_mut(&task)) {
            task.ended = true;
        }
        self.ended.tasks.extend(task);
        self.remove_taken(|taken| taken.caller.is_some() && taken.task == task);
        // A task that has ended is not polled again, even if it is still queued.
        for queue in [&mut self.queue, &mut self.inbox] {
            queue.retain(|queued| Some(*queued) != task);
        }
        if matches!(self.thread, Thread::Task(id) if Some(id) == task) {
            self.thread = Thread::Executor;
        }
    }
}
