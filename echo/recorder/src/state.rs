//! What is where after each event: the tasks and who holds their wakers, the run queue, what the
//! reactor knows, what the kernel watches, and what the thread does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::event::{Actor, By, Direction, Event, Kind, Outcome, Source, Task};
use crate::story::JOB;
use crate::words;

/// The state of a run between two events.
#[derive(Clone, Default)]
pub(crate) struct State {
    thread: Thread,
    queue: Vec<u64>,
    inbox: Vec<u64>,
    pub(crate) tasks: BTreeMap<u64, TaskState>,
    pub(crate) sources: BTreeMap<u64, SourceState>,
    timers: Vec<Timer>,
    /// The last source that has each token.
    tokens: HashMap<usize, u64>,
    /// Finished tasks and sources that are still known.
    over: Over,
}

#[derive(Clone, Default)]
struct Over {
    tasks: Vec<u64>,
    sources: Vec<u64>,
}

/// What the thread of the executor does.
#[derive(Clone, Copy, Default)]
enum Thread {
    #[default]
    Executor,
    Task(u64),
    Turn,
    Asleep,
    Waits,
}

impl Thread {
    fn text(self) -> String {
        match self {
            Thread::Executor => "in the executor".to_owned(),
            Thread::Task(number) => format!("polling task {number}"),
            Thread::Turn => "in Reactor::turn".to_owned(),
            Thread::Asleep => "asleep in epoll_wait".to_owned(),
            Thread::Waits => "in epoll_wait".to_owned(),
        }
    }
}

#[derive(Clone)]
pub(crate) struct TaskState {
    pub(crate) task: Arc<Task>,
    state: &'static str,
    polls: u64,
    /// Its waker was taken out of where it was kept, and not yet called.
    in_use: bool,
    /// The sources, each with its direction, that hold a waker of this task.
    kept_in: BTreeSet<(u64, Direction)>,
    pub(crate) over: bool,
}

#[derive(Clone)]
pub(crate) struct SourceState {
    pub(crate) source: Arc<Source>,
    /// The kernel watches it.
    registered: bool,
    read: DirectionState,
    write: DirectionState,
}

#[derive(Clone)]
struct DirectionState {
    ready: bool,
    closed: bool,
    /// Tasks; `None` is a waker of another kind.
    wakers: Vec<Option<u64>>,
}

#[derive(Clone)]
struct Timer {
    task: Option<u64>,
    text: String,
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
    /// Goes one event further.
    pub(crate) fn apply(&mut self, event: &Event) {
        let task = event.task_number();
        match &event.kind {
            Kind::Spawn { .. } => self.spawn(event),
            Kind::Register | Kind::JobSubmitted => self.add_source(event),
            Kind::Deregister => self.end_source(event),
            Kind::JobDone => {
                let woken = self.bereft(event);
                self.end_source(event);
                self.use_wakers(&woken);
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
                self.use_wakers(takes);
            }
            Kind::Wake => self.set(task, "woken"),
            Kind::Queue { by } => self.queue(task, *by == By::Thread),
            Kind::TimerSet { after } => {
                self.timers
                    .push(Timer { task, text: format!("in {}", crate::words::time(*after)) });
            }
            Kind::TimerFired => {
                self.thread = Thread::Turn;
                self.take_timer(task);
                self.use_wakers(task.as_slice());
            }
            Kind::TimerDropped => self.take_timer(task),
            Kind::Done { .. } => self.end(task, "done"),
            Kind::Abort => self.end(task, "aborted"),
            Kind::Panic => self.end(task, "panicked"),
            Kind::Lost => self.set(task, "lost"),
            Kind::Start | Kind::Outside { .. } | Kind::QueuedAlready | Kind::BudgetSpent => {}
        }
    }

    /// Forgets finished tasks and sources, of which no later event can tell. It looks at those only,
    /// and not at the many that live.
    pub(crate) fn forget_what_is_over(&mut self) {
        self.forget_sources();
        for number in self.over.tasks.drain(..) {
            // Another executor may have given the number again.
            if self.tasks.get(&number).is_some_and(|task| task.over) {
                self.tasks.remove(&number);
            }
        }
    }

    fn forget_sources(&mut self) {
        for since in std::mem::take(&mut self.over.sources) {
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
                task.kept_in.remove(&(since, direction));
            }
        }
    }

    /// The tasks in the run queue and in the inbox.
    pub(crate) fn queued(&self) -> impl Iterator<Item = u64> {
        self.queue.iter().chain(&self.inbox).copied()
    }

    fn set(&mut self, task: Option<u64>, state: &'static str) {
        if let Some(task) = task.and_then(|task| self.tasks.get_mut(&task)) {
            task.state = state;
            task.in_use = false;
        }
    }

    fn spawn(&mut self, event: &Event) {
        let Some(task) = &event.task else { return };
        let new = TaskState {
            task: task.clone(),
            state: "new",
            polls: 0,
            in_use: false,
            kept_in: BTreeSet::new(),
            over: false,
        };
        self.tasks.insert(task.number, new);
    }

    fn add_source(&mut self, event: &Event) {
        let Some(source) = &event.source else { return };
        let registered = event.kind == Kind::Register;
        // The number of a job is not a token.
        if registered && let Some(before) = self.tokens.insert(source.token, source.since) {
            self.over.sources.push(before);
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
        self.over.sources.push(since);
    }

    fn poll(&mut self, task: Option<u64>, nth: u64) {
        let Some(number) = task else { return };
        self.set(task, "running");
        if let Some(task) = self.tasks.get_mut(&number) {
            task.polls = nth;
        }
        self.take_from_queue(number);
        self.thread = Thread::Task(number);
    }

    fn take_from_queue(&mut self, number: u64) {
        // A key from the inbox goes through the queue without a record.
        for queue in [&mut self.queue, &mut self.inbox] {
            queue.retain(|queued| *queued != number);
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
            task.kept_in.insert((since, direction));
        }
    }

    fn pending(&mut self, task: Option<u64>) {
        let Some(number) = task else { return };
        let queued = self.queue.contains(&number) || self.inbox.contains(&number);
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

    fn use_wakers(&mut self, tasks: &[u64]) {
        for task in tasks {
            if let Some(task) = self.tasks.get_mut(task) {
                task.in_use = true;
            }
        }
    }

    fn queue(&mut self, task: Option<u64>, inbox: bool) {
        let Some(number) = task else { return };
        let queue = if inbox { &mut self.inbox } else { &mut self.queue };
        queue.push(number);
        let runs = self.tasks.get(&number).is_some_and(|task| task.state == "running");
        if !runs {
            self.set(task, "queued");
        }
    }

    fn take_timer(&mut self, task: Option<u64>) {
        let own = self.timers.iter().position(|timer| timer.task == task);
        // One that went from one task to another stands there under its first.
        let place = own.unwrap_or(0);
        if place < self.timers.len() {
            self.timers.remove(place);
        }
    }

    fn end(&mut self, task: Option<u64>, state: &'static str) {
        self.set(task, state);
        if let Some(task) = task.and_then(|task| self.tasks.get_mut(&task)) {
            task.over = true;
        }
        self.over.tasks.extend(task);
        // What is left of it there leads to no poll.
        task.into_iter().for_each(|number| self.take_from_queue(number));
        if matches!(self.thread, Thread::Task(number) if Some(number) == task) {
            self.thread = Thread::Executor;
        }
    }

    /// All cells, as the page shows them.
    pub(crate) fn cells(&self) -> Map<String, Value> {
        let mut cells = self.shared_cells(|_| true);
        for number in self.tasks.keys() {
            self.task_cells(*number, &mut cells);
        }
        for since in self.sources.keys() {
            self.source_cells(*since, &mut cells);
        }
        cells
    }

    /// The tasks whose wakers go with the source that this event ends.
    fn bereft(&self, event: &Event) -> Vec<u64> {
        let ends = matches!(event.kind, Kind::Deregister | Kind::JobDone);
        let source = event.source.as_ref().filter(|_| ends);
        let Some(source) = source.and_then(|source| self.sources.get(&source.since)) else {
            return Vec::new();
        };
        source.read.wakers.iter().chain(&source.write.wakers).copied().flatten().collect()
    }

    /// The cells that this event may have changed; of tasks also those of these.
    fn cells_of(&self, event: &Event, bereft: &[u64]) -> Map<String, Value> {
        let mut cells = self.shared_cells(|cell| may_change(cell, &event.kind));
        let taken =
            if let Kind::Event { takes, .. } = &event.kind { takes.as_slice() } else { &[] };
        for number in event.task_number().iter().chain(taken).chain(bereft) {
            self.task_cells(*number, &mut cells);
        }
        if let Some(source) = &event.source {
            self.source_cells(source.since, &mut cells);
        }
        cells
    }

    /// Returns the wanted ones of the cells that belong to no task and no source. The others are not
    /// built, because some of them list all timers or sources.
    fn shared_cells(&self, is_wanted: impl Fn(&str) -> bool) -> Map<String, Value> {
        let mut cells = Map::new();
        let mut add = |cell: &str, value: &dyn Fn() -> Value| {
            if is_wanted(cell) {
                cells.insert(cell.to_owned(), value());
            }
        };
        add("thread", &|| self.thread.text().into());
        add("queue", &|| json!(self.queue));
        add("inbox", &|| json!(self.inbox));
        let timer = |timer: &Timer| json!({ "task": timer.task, "text": timer.text });
        add("timers", &|| self.timers.iter().map(timer).collect());
        add("kernel", &|| {
            let watched = self.sources.values().filter(|source| source.registered);
            let watched: Vec<_> = watched.map(|source| source.source.kind.as_str()).collect();
            count_equal(&watched).into()
        });
        cells
    }

    fn task_cells(&self, number: u64, cells: &mut Map<String, Value>) {
        let Some(task) = self.tasks.get(&number) else { return };
        cells.insert(format!("task/{number}/state"), task.state.into());
        cells.insert(format!("task/{number}/held"), self.held(task).into());
        let plural = if task.polls == 1 { "" } else { "s" };
        cells.insert(format!("task/{number}/polls"), format!("{} poll{plural}", task.polls).into());
    }

    /// Who holds the wakers of a task.
    fn held(&self, task: &TaskState) -> String {
        let number = Some(task.task.number);
        let holder = |(since, direction): &(u64, Direction)| {
            let source = &self.sources.get(since)?.source;
            Some(match source.kind.as_str() {
                JOB => words::source(Some(source)),
                _ => format!("source {} ({})", source.token, direction.name()),
            })
        };
        let mut holders: Vec<String> = task.kept_in.iter().filter_map(holder).collect();
        if self.timers.iter().any(|timer| timer.task == number) {
            holders.push("a timer".to_owned());
        }
        match holders.is_empty() {
            false => format!("waker in {}", holders.join(", ")),
            true if task.in_use || task.state == "woken" => "waker taken out".to_owned(),
            true => String::new(),
        }
    }

    fn source_cells(&self, since: u64, cells: &mut Map<String, Value>) {
        let Some(source) = self.sources.get(&since) else { return };
        for (direction, name) in [(&source.read, "read"), (&source.write, "write")] {
            let ready = if direction.ready { "ready" } else { "not ready" };
            let closed = if direction.closed { ", closed" } else { "" };
            cells.insert(format!("source/{since}/{name}"), format!("{ready}{closed}").into());
            let wakers: Vec<i64> = direction
                .wakers
                .iter()
                .map(|task| task.map_or(-1, |number| number as i64))
                .collect();
            cells.insert(format!("source/{since}/{name}/wakers"), json!(wakers));
        }
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
            Kind::Queue { .. } | Kind::Poll { .. } | Kind::Done { .. } | Kind::Abort | Kind::Panic
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
pub(crate) struct Changes {
    state: State,
    /// The values of the cells, except those of tasks and sources that have ended.
    shown: HashMap<String, Value>,
}

impl Changes {
    pub(crate) fn new(before: &State) -> Changes {
        Changes { state: before.clone(), shown: before.cells().into_iter().collect() }
    }

    /// Returns the cells that the next event changes.
    pub(crate) fn next(&mut self, event: &Event) -> Map<String, Value> {
        let bereft = self.state.bereft(event);
        self.state.apply(event);
        let mut cells = self.state.cells_of(event, &bereft);
        cells.retain(|cell, value| self.shown.get(cell) != Some(value));
        for (cell, value) in &cells {
            self.shown.insert(cell.clone(), value.clone());
        }
        self.forget_what_is_over();
        cells
    }

    /// Forgets the tasks and sources that have ended. Their last cells stay on the page, and none of
    /// them changes anymore.
    fn forget_what_is_over(&mut self) {
        for since in &self.state.over.sources {
            for cell in ["read", "read/wakers", "write", "write/wakers"] {
                self.shown.remove(&format!("source/{since}/{cell}"));
            }
        }
        self.state.forget_sources();
        let Changes { state, shown } = self;
        for number in std::mem::take(&mut state.over.tasks) {
            let Some(task) = state.tasks.get(&number).filter(|task| task.over) else { continue };
            // Its future may be dropped after its end, and a timer with it.
            if !state.held(task).is_empty() {
                state.over.tasks.push(number);
                continue;
            }
            for cell in ["state", "held", "polls"] {
                shown.remove(&format!("task/{number}/{cell}"));
            }
            state.tasks.remove(&number);
        }
    }
}

/// The lane on which an event stands, from its actor.
pub(crate) fn lane(event: &Event) -> String {
    match event.actor {
        Actor::Task => {
            event.task_number().map_or("executor".to_owned(), |task| format!("task {task}"))
        }
        Actor::Executor => "executor".to_owned(),
        Actor::Queue => "queue".to_owned(),
        Actor::Reactor => "reactor".to_owned(),
        Actor::Kernel => "kernel".to_owned(),
        Actor::Outside => "outside".to_owned(),
    }
}
