//! A finished recording, and the part of it that concerns some tasks.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::event::{Actor, Event, Kind, Outcome};
use crate::state::State;
use crate::tape::Tape;

/// The events of a run, in their order, and the state before the first.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Recording {
    /// From the start on; or, if there were too many, the last ones.
    pub events: Vec<Event>,
    /// How many are missing before the first.
    pub dropped: u64,
    pub(crate) before: State,
}

/// What a recording adds up to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Counts {
    /// Polls of tasks.
    pub polls: u64,
    /// Polls that found nothing to do, and waited again.
    pub spurious: u64,
    /// Calls of `wake`, by the reactor, tasks and threads.
    pub wakes: u64,
    /// Attempts that would have blocked.
    pub would_blocks: u64,
    /// How long the thread was asleep.
    pub slept: Duration,
    /// From the start to the last event.
    pub length: Duration,
}

impl Counts {
    /// For which part of the time the thread was asleep: 1 is all of it.
    pub(crate) fn share_slept(&self) -> f64 {
        match self.length.is_zero() {
            true => 0.0,
            false => self.slept.as_secs_f64() / self.length.as_secs_f64(),
        }
    }
}

impl Recording {
    pub(crate) fn of(tape: &Tape) -> Recording {
        let (events, before) = (tape.since(0).collect(), tape.before().clone());
        Recording { events, dropped: tape.dropped(), before }
    }

    /// Takes all events out of the tape.
    pub(crate) fn taken_from(tape: &mut Tape) -> Recording {
        let (dropped, before) = (tape.dropped(), tape.before().clone());
        Recording { events: tape.take_events(), dropped, before }
    }

    /// Only what concerns these tasks, numbered anew from the start.
    ///
    /// What the thread does for them is part of it: its sleeps, and what happened outside.
    pub fn following(mut self, tasks: &[u64]) -> Recording {
        let kept = Follow::new(tasks).of(&self.events);
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
                // What led there without being of these tasks began before their story.
                *cause = numbers.get(cause).copied().unwrap_or(0);
            }
        }
        self.before.tasks.retain(|number, _| tasks.contains(number));
        self
    }

    /// The event of that number, if it was kept.
    pub(crate) fn event(&self, number: u64) -> Option<&Event> {
        let place = self.events.binary_search_by_key(&number, |event| event.number).ok()?;
        self.events.get(place)
    }

    /// How many steps it has: the start is none.
    pub fn steps(&self) -> usize {
        self.events.iter().filter(|event| event.kind != Kind::Start).count()
    }

    /// Adds it up.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        // A poll is spurious if it found nothing at a source, and did nothing else. It need not even
        // have tried, if its waker was there already.
        let mut poll: Option<(bool, bool)> = None;
        // Of whom a source has a waker: others may have found something that no record tells of.
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
                    let waits = waiters.contains(&event.task_number());
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
                Kind::Store { .. } => _ = waiters.insert(event.task_number()),
                Kind::Queue { .. } => {}
                _ if event.actor == Actor::Outside => {}
                // All else is something done.
                _ => poll = poll.map(|(again, _)| (again, true)),
            }
        }
        counts
    }
}

/// Chooses the events that concern some tasks.
pub(crate) struct Follow {
    tasks: HashSet<u64>,
    /// Those that the tasks used.
    sources: HashSet<u64>,
}

impl Follow {
    pub(crate) fn new(tasks: &[u64]) -> Follow {
        Follow { tasks: tasks.iter().copied().collect(), sources: HashSet::new() }
    }

    pub(crate) fn add(&mut self, task: u64) {
        self.tasks.insert(task);
    }

    pub(crate) fn remove(&mut self, task: u64) {
        self.tasks.remove(&task);
    }

    /// The numbers of those that concern the tasks.
    pub(crate) fn of(&mut self, events: &[Event]) -> HashSet<u64> {
        let mut kept = HashSet::new();
        for event in events {
            let of_tasks = event.task_number().is_some_and(|task| self.tasks.contains(&task));
            let source = event.source.as_ref().map(|source| source.since);
            // Who registers a connection is not who talks on it.
            if of_tasks && matches!(event.kind, Kind::Try { .. } | Kind::Store { .. }) {
                self.sources.extend(source);
            }
            if of_tasks || source.is_some_and(|since| self.sources.contains(&since)) {
                kept.insert(event.number);
            }
            // Nothing follows, and a server has millions of them.
            if event.kind == Kind::Deregister {
                source.map(|since| self.sources.remove(&since));
            }
        }
        // What belongs to nobody, and made something happen that is kept.
        for event in events.iter().rev() {
            if kept.contains(&event.number) {
                let nobodys = |cause: &&u64| {
                    let first = events.first().map_or(0, |first| first.number);
                    let cause = cause.checked_sub(first).and_then(|at| events.get(at as usize));
                    cause.is_some_and(|cause| cause.task.is_none() && cause.source.is_none())
                };
                kept.extend(event.causes.iter().filter(nobodys));
            }
        }
        kept
    }
}
