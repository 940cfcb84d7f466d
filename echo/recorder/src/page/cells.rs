//! The state of a run as *cells*: named values that the page shows, such as `task/2/state`.
//!
//! The page contains the cells before the first step, and for each step the cells that it changes.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::describe;
use crate::event::{Direction, Event, Kind};
use crate::state::{State, TakenWaker, TaskState, Thread, Timer};
use crate::units::{millis, plural};

/// Returns all cells of a state.
pub(super) fn cells(state: &State) -> Map<String, Value> {
    let mut cells = shared_cells(state, |_| true);
    for id in state.tasks.keys() {
        add_task(state, *id, &mut cells);
    }
    for since in state.sources.keys() {
        add_source(state, *since, &mut cells);
    }
    cells
}

/// Returns the cells that this event, which led to `state`, may have changed.
fn cells_of(state: &State, event: &Event) -> Map<String, Value> {
    let mut cells = shared_cells(state, |cell| may_change(cell, &event.kind));
    for id in event.task_id().iter().chain(&state.moved) {
        add_task(state, *id, &mut cells);
    }
    let source = event.source.as_ref().map(|source| source.since);
    for since in source.into_iter().chain(state.swept) {
        add_source(state, since, &mut cells);
    }
    cells
}

/// Returns the wanted ones of the cells that belong to no task and no source. The others are not
/// built, because some of them list all timers or sources.
fn shared_cells(state: &State, is_wanted: impl Fn(&str) -> bool) -> Map<String, Value> {
    let mut cells = Map::new();
    let mut add = |cell: &str, value: &dyn Fn() -> Value| {
        if is_wanted(cell) {
            cells.insert(cell.to_owned(), value());
        }
    };
    add("thread", &|| thread_text(state.thread).into());
    add("queue", &|| json!(state.queue));
    add("inbox", &|| json!(state.inbox));
    let timer = |timer: &Timer| json!({ "task": timer.task, "deadline": millis(timer.deadline) });
    add("timers", &|| state.timers.iter().map(timer).collect());
    add("woken", &|| woken(&state.woken));
    add("kernel", &|| {
        let watched = state.sources.values().filter(|source| source.registered);
        let watched: Vec<_> = watched.map(|source| source.source.kind.as_str()).collect();
        count_equal(&watched).into()
    });
    cells
}

/// The most wakers that are about to be called which the page lists. It only counts the others, because
/// each step of a crowd changes this cell.
const MOST_WOKEN: usize = 4;

/// Returns the wakers that are about to be called. Those that are being called come first, because
/// the page lists only some of the others.
fn woken(woken: &[TakenWaker]) -> Value {
    let (called, waiting): (Vec<_>, Vec<_>) =
        woken.iter().partition(|taken| taken.caller.is_some());
    let listed = called.into_iter().chain(waiting).take(MOST_WOKEN).map(|taken| {
        let from = taken.from.as_deref().map(|source| describe::source(Some(source)));
        let from = from.unwrap_or("a timer".to_owned());
        json!({ "task": id(taken.task), "from": from, "called": taken.caller.is_some() })
    });
    let others = woken.len().saturating_sub(MOST_WOKEN);
    listed.chain((others > 0).then(|| json!({ "more": others }))).collect()
}

/// Returns the ID of the task of a waker, or -1 for a custom waker.
fn id(task: Option<u64>) -> i64 {
    task.map_or(-1, |id| id as i64)
}

fn thread_text(thread: Thread) -> String {
    match thread {
        Thread::Executor => "in the executor".to_owned(),
        // The future of `block_on` is always task 0.
        Thread::Task(0) => "polling the main future".to_owned(),
        Thread::Task(id) => format!("polling task {id}"),
        Thread::Turn => "in Reactor::turn".to_owned(),
        Thread::Asleep => "asleep in epoll_wait".to_owned(),
        Thread::Waits => "in epoll_wait".to_owned(),
    }
}

fn add_task(state: &State, id: u64, cells: &mut Map<String, Value>) {
    let Some(task) = state.tasks.get(&id) else { return };
    cells.insert(format!("task/{id}/state"), task.state.into());
    cells.insert(format!("task/{id}/held"), holders(state, task).into());
    cells.insert(format!("task/{id}/polls"), plural(task.polls, "poll").into());
}

/// Returns where the wakers of a task are.
fn holders(state: &State, task: &TaskState) -> String {
    let id = Some(task.task.id);
    let holder = |(since, direction): &(u64, Direction)| {
        let source = &state.sources.get(since)?.source;
        let name = describe::source(Some(source));
        Some(if source.is_job() { name } else { format!("{name} ({})", direction.name()) })
    };
    let mut holders: Vec<String> = task.stored_in.iter().filter_map(holder).collect();
    if state.timers.iter().any(|timer| timer.task == id) {
        holders.push("a timer".to_owned());
    }
    if task.taken > 0 {
        holders.push("woken list".to_owned());
    }
    if holders.is_empty() { String::new() } else { format!("waker in {}", holders.join(", ")) }
}

fn add_source(state: &State, since: u64, cells: &mut Map<String, Value>) {
    let Some(source) = state.sources.get(&since) else { return };
    for (direction, name) in [(&source.read, "read"), (&source.write, "write")] {
        let ready = if direction.ready { "ready" } else { "not ready" };
        let closed = if direction.closed { ", closed" } else { "" };
        cells.insert(format!("source/{since}/{name}"), format!("{ready}{closed}").into());
        let wakers: Vec<i64> = direction.wakers.iter().map(|waker| id(waker.task)).collect();
        cells.insert(format!("source/{since}/{name}/wakers"), json!(wakers));
    }
}

/// `listener, 3 connections`.
fn count_equal(names: &[&str]) -> String {
    let mut counted: Vec<(&str, usize)> = Vec::new();
    for name in names {
        match counted.iter_mut().find(|(counted, _)| counted == name) {
            Some((_, count)) => *count += 1,
            None => counted.push((name, 1)),
        }
    }
    let texts = counted.iter().map(|(name, count)| match count {
        1 => (*name).to_owned(),
        _ => format!("{count} {name}s"),
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// Whether an event of this kind may change this cell, which belongs to no task and no source.
fn may_change(cell: &str, kind: &Kind) -> bool {
    match cell {
        "queue" | "inbox" => matches!(
            kind,
            Kind::Queue { .. }
                | Kind::QueuedAlready
                | Kind::Poll { .. }
                | Kind::Done { .. }
                | Kind::Abort
                | Kind::Panic
        ),
        "timers" => {
            matches!(kind, Kind::TimerSet { .. } | Kind::TimerFired | Kind::TimerDropped)
        }
        "kernel" => matches!(kind, Kind::Register | Kind::Deregister),
        _ => true,
    }
}

/// Finds the cells that each event changes. Its memory grows with the state, not with the number of
/// events.
pub(super) struct Changes {
    state: State,
    /// The values of the cells, except those of tasks and sources that have ended.
    shown: HashMap<String, Value>,
}

impl Changes {
    pub(super) fn new(before: &State) -> Changes {
        Changes { state: before.clone(), shown: cells(before).into_iter().collect() }
    }

    /// Returns the cells that the next event changes.
    pub(super) fn next(&mut self, event: &Event) -> Map<String, Value> {
        self.state.apply(event);
        let mut cells = cells_of(&self.state, event);
        cells.retain(|cell, value| self.shown.get(cell) != Some(value));
        for (cell, value) in &cells {
            self.shown.insert(cell.clone(), value.clone());
        }
        self.forget_ended();
        cells
    }

    /// Forgets the tasks and sources that have ended. The page keeps showing their last cells, which
    /// do not change anymore.
    fn forget_ended(&mut self) {
        for since in &self.state.ended.sources {
            for cell in ["read", "read/wakers", "write", "write/wakers"] {
                self.shown.remove(&format!("source/{since}/{cell}"));
            }
        }
        self.state.forget_ended_sources();
        let Changes { state, shown } = self;
        for id in std::mem::take(&mut state.ended.tasks) {
            let Some(task) = state.tasks.get(&id).filter(|task| task.ended) else { continue };
            // The future may be dropped after the end of its task, and a timer with it. Until then
            // the cell "held" may still change.
            if !holders(state, task).is_empty() {
                state.ended.tasks.push(id);
                continue;
            }
            for cell in ["state", "held", "polls"] {
                shown.remove(&format!("task/{id}/{cell}"));
            }
            state.tasks.remove(&id);
        }
    }
}
