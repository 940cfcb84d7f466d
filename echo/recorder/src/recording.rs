//! A finished recording, its counts, and the part of it that concerns some tasks.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::event::{Actor, Event, Kind, Outcome};
use crate::event_buffer::EventBuffer;
use crate::state::State;

/// The events of a run in their order, and the state before the first one.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Recording {
    /// All events from the start on, or the last ones if there were too many to keep.
    pub events: Vec<Event>,
    /// The number of events that are missing before the first one.
    pub dropped: u64,
    pub(crate) before: State,
}

/// Totals of a recording; see [`Recording::counts`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Counts {
    /// The number of polls.
    pub polls: u64,
    /// The number of spurious polls: polls that made no progress and returned `Pending` again.
    pub spurious: u64,
    /// The number of calls of `wake` by the reactor, tasks and threads.
    pub wakes: u64,
    /// The number of operations that would have blocked.
    pub would_blocks: u64,
    /// How long the thread slept.
    pub slept: Duration,
    /// The time from the start to the last event.
    pub length: Duration,
}

impl Counts {
    /// Returns the share of the time during which the thread slept, from 0 to 1.
    pub(crate) fn share_slept(&self) -> f64 {
        match self.length.is_zero() {
            true => 0.0,
            false => self.slept.as_secs_f64() / self.length.as_secs_f64(),
        }
    }
}

impl Recording {
    pub(crate) fn of(buffer: &EventBuffer) -> Recording {
        let (events, before) = (buffer.since(0).collect(), buffer.before());
        Recording { events, dropped: buffer.dropped(), before }
    }

    /// Takes all events out of the buffer.
    pub(crate) fn taken_from(buffer: &mut EventBuffer) -> Recording {
        let (dropped, before) = (buffer.dropped(), buffer.before());
        Recording { events: buffer.take_events(), dropped, before }
    }

    /// Returns only the events that concern these tasks, numbered from the start without gaps.
    ///
    /// These include the sleeps of the thread and the events outside that caused an event of the tasks.
    pub fn following(mut self, tasks: &[u64]) -> Recording {
        let kept = TaskFilter::new(tasks).select(&self.events);
        let mut numbers: HashMap<u64, u64> = HashMap::from([(0, 0)]);
        let mut last = 0;
        for event in &self.events {
            if event.number > 0 && kept.contains(&event.number) {
                last += 1;
                numbers.insert(event.number, last);
            }
        }
        self.events.retain(|event| numbers.contains_key(&event.number));
        for event in &mut self.events {
            event.number = numbers[&event.number];
            for cause in &mut event.causes {
                // A cause that does not concern these tasks is replaced by the start.
                *cause = numbers.get(cause).copied().unwrap_or(0);
            }
        }
        self.before.tasks.retain(|number, _| tasks.contains(number));
        self.before.renumber(|by| numbers.get(&by).copied().unwrap_or(0));
        self
    }

    /// Keeps only the first `most` steps.
    pub fn first_steps(mut self, most: usize) -> Recording {
        // The start is an event, but not a step.
        let others = self.events.len() - self.steps();
        self.events.truncate(most + others);
        self
    }

    /// Returns the event with this number, unless it was dropped.
    pub(crate) fn event(&self, number: u64) -> Option<&Event> {
        let index = self.events.binary_search_by_key(&number, |event| event.number).ok()?;
        self.events.get(index)
    }

    /// Returns the number of steps. The start is not a step.
    pub fn steps(&self) -> usize {
        self.events.iter().filter(|event| event.kind != Kind::Start).count()
    }

    /// Counts polls, wakes and sleeps.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        // A poll is spurious if a source blocked it and it did nothing else. Such a poll need not have
        // called the kernel: the source may have stored its waker earlier.
        let mut poll: Option<(bool, bool)> = None;
        // The tasks whose wakers are stored in sources. Other tasks may have made progress without a
        // record.
        let mut waiters: HashSet<Option<u64>> = HashSet::new();
        for event in &self.events {
            counts.length = counts.length.max(event.at);
            match &event.kind {
                Kind::Poll { nth } => {
                    counts.polls += 1;
                    poll = Some((*nth > 1, false));
                }
                Kind::Try { outcome: Outcome::WouldBlock, .. } => counts.would_blocks += 1,
                Kind::Pending => {
                    let waits = waiters.contains(&event.task_id());
                    counts.spurious += u64::from(waits && poll == Some((true, false)));
                    poll = None;
                }
                Kind::Wake => counts.wakes += 1,
                Kind::Queue { by } if by.is_wake_without_record() => counts.wakes += 1,
                Kind::Sleep { slept, .. } => {
                    let slept = slept.unwrap_or_default();
                    counts.slept += slept;
                    counts.length = counts.length.max(event.at + slept);
                }
                Kind::Event { takes, .. } => {
                    takes.iter().for_each(|task| _ = waiters.remove(&Some(*task)));
                }
                Kind::Store { .. } => _ = waiters.insert(event.task_id()),
                Kind::Queue { .. } | Kind::Note { .. } => {}
                _ if event.actor == Actor::Outside => {}
                // Every other event is progress.
                _ => poll = poll.map(|(again, _)| (again, true)),
            }
        }
        counts
    }
}

/// Selects the events that concern some tasks.
pub(crate) struct TaskFilter {
    tasks: HashSet<u64>,
    /// The sources that the tasks use.
    sources: HashSet<u64>,
}

impl TaskFilter {
    pub(crate) fn new(tasks: &[u64]) -> TaskFilter {
        TaskFilter { tasks: tasks.iter().copied().collect(), sources: HashSet::new() }
    }

    pub(crate) fn add(&mut self, task: u64) {
        self.tasks.insert(task);
    }

    pub(crate) fn remove(&mut self, task: u64) {
        self.tasks.remove(&task);
    }

    /// Returns the numbers of the events that concern the tasks.
    pub(crate) fn select(&mut self, events: &[Event]) -> HashSet<u64> {
        let mut kept = HashSet::new();
        for event in events {
            let of_tasks = event.task_id().is_some_and(|task| self.tasks.contains(&task));
            let source = event.source.as_ref().map(|source| source.since);
            // The task that registers a connection is not the task that uses it.
            if of_tasks && matches!(event.kind, Kind::Try { .. } | Kind::Store { .. }) {
                self.sources.extend(source);
            }
            if of_tasks || source.is_some_and(|since| self.sources.contains(&since)) {
                kept.insert(event.number);
            }
            // Forget a closed source, because a server may have millions of connections.
            if event.kind == Kind::Deregister {
                source.map(|since| self.sources.remove(&since));
            }
        }
        // Add the events that concern no task and no source, and caused a selected event.
        for event in events.iter().rev() {
            if kept.contains(&event.number) {
                let is_shared_cause = |cause: &&u64| {
                    let first = events.first().map_or(0, |first| first.number);
                    let cause = cause.checked_sub(first).and_then(|at| events.get(at as usize));
                    cause.is_some_and(|cause| cause.task.is_none() && cause.source.is_none())
                };
                kept.extend(event.causes.iter().filter(is_shared_cause));
            }
        }
        kept
    }
}
