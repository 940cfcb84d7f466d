//! Turns log records into events, and finds the causes of each event.
//!
//! The reactor does not know tasks, so its records name none. This module connects the records: it
//! knows which task each thread is polling, which task the address of a waker belongs to, and which
//! step stored a waker or took it out.
//!
//! Invariant: every event has a cause, except a start, an act from outside, and a spawn or a note
//! outside of a poll. Every `wake` by the reactor has two causes: the event that led to it, and the step that stored the
//! waker. Every poll is caused by the `queue` of its task. The first cause of a step inside a poll is the
//! step of the task before it in this poll, or the poll.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::ThreadId;
use std::time::Duration;

use crate::event::{
    Actor, By, Direction, Event, JOB, Kind, LISTENER, Outcome, Readiness, Source, Task,
};
use crate::event_buffer::EventBuffer;
use crate::record::Values;
use crate::stack::Stack;

/// The number of the start.
const START: u64 = 0;

/// The most acts of clients to remember until the kernel reports them. It never reports acts on closed
/// connections.
const MAX_ACTS: usize = 64;

/// When and where a record was logged.
pub(crate) struct Origin<'a> {
    pub(crate) at: Duration,
    pub(crate) id: ThreadId,
    pub(crate) thread: &'a Arc<str>,
    pub(crate) file: &'static str,
    pub(crate) line: u32,
    pub(crate) stack: Option<Stack>,
}

/// What the records so far have shown, as far as it is needed to find the causes of later events.
#[derive(Default)]
pub(crate) struct Correlator {
    tasks: HashMap<u64, KnownTask>,
    /// The live task whose waker has this address. Addresses are reused, and another executor reuses
    /// task IDs.
    owners: HashMap<usize, u64>,
    sources: HashMap<usize, KnownSource>,
    /// The threads that run executors.
    threads: HashMap<ThreadId, KnownThread>,
    timers: Vec<Timer>,
    /// The jobs that have not completed, the oldest first.
    jobs: Vec<KnownJob>,
    /// For each thread of the pool, the waker that it is about to call because its job has completed.
    completed: HashMap<ThreadId, TakenWaker>,
    /// The wakers that the reactor has taken out of sources and timers and is about to call.
    taken: Vec<TakenWaker>,
    /// The acts outside that the kernel has not reported yet.
    acts: Vec<OutsideAct>,
    /// The wakeups that other threads have sent since the last `notified`.
    notifiers: Vec<u64>,
    operations: Vec<Arc<str>>,
}

struct KnownTask {
    task: Arc<Task>,
    waker: usize,
    /// Its last `pending`, or its spawn before that: the step before which the task gave its waker away.
    last_pending: u64,
    /// The step that put it into the run queue.
    queued: Option<u64>,
    /// The wakeups through the inbox that no poll serves yet, the oldest first. The executor has received
    /// all of them except perhaps the last, so there are at most two.
    sent: Vec<u64>,
    polls: u64,
    written: u64,
}

struct KnownSource {
    source: Arc<Source>,
    registered: u64,
    /// Whether the kernel has not reported it yet.
    fresh: bool,
    /// The last write that transferred bytes.
    written: Option<u64>,
    read: KnownDirection,
    write: KnownDirection,
}

struct KnownJob {
    job: Arc<Source>,
    /// The waker that it stores.
    stored: Option<StoredWaker>,
}

#[derive(Default)]
struct KnownDirection {
    /// The event that made the direction ready, until an operation succeeds.
    event: Option<u64>,
    /// The step that found it not ready; `None` if it is ready.
    cleared: Option<u64>,
    waiters: Vec<StoredWaker>,
}

#[derive(Default)]
struct KnownThread {
    poll: Option<Poll>,
    /// The last event on this thread.
    last: u64,
    /// The last `sleep` or `look`, and its time.
    wait: Option<(u64, Duration)>,
    /// Whether that wait has not ended yet.
    is_waiting: bool,
    /// The last `wake`, until the record of its effect.
    wake: Option<u64>,
    /// The peer of the last accepted connection, until its source is registered.
    peer: Option<String>,
}

/// A poll that is running.
#[derive(Clone, Copy)]
struct Poll {
    task: u64,
    /// The last step of the task in this poll, at first the poll itself.
    last: u64,
}

/// A waker, and the step that stored it.
#[derive(Clone, Copy)]
struct StoredWaker {
    waker: usize,
    by: u64,
}

/// A timer that has been set, and has neither expired nor been dropped.
struct Timer {
    waker: usize,
    task: Option<Arc<Task>>,
    /// The step that set it.
    by: u64,
    deadline: Duration,
}

/// A waker, the step that took it out, and the step that had stored it.
struct TakenWaker {
    waker: usize,
    by: u64,
    stored_by: u64,
}

struct OutsideAct {
    number: u64,
    /// The address of the client; empty if it has none yet.
    peer: String,
}

impl KnownSource {
    fn direction(&mut self, direction: Direction) -> &mut KnownDirection {
        match direction {
            Direction::Read => &mut self.read,
            Direction::Write => &mut self.write,
        }
    }
}

impl Correlator {
    /// Adds the event that this record describes to the buffer.
    pub(crate) fn record(
        &mut self,
        message: &str,
        values: Values,
        origin: &Origin<'_>,
        buffer: &mut EventBuffer,
    ) {
        if let Some(thread) = self.threads.get_mut(&origin.id) {
            thread.end_wait(message, origin.at, buffer);
        }
        let mut handler = RecordHandler { correlator: self, origin, buffer, values };
        match message {
            "spawn" => handler.spawn(),
            "register" => handler.register(),
            "deregister" => handler.deregister(),
            "poll" => handler.poll(),
            "would block" => handler.would_block(),
            "tried" => handler.tried(),
            "accepted" => handler.accepted(),
            "store" => handler.store(),
            "pending" => handler.pending(),
            "sleep" => handler.wait(),
            "event" => handler.event(),
            "wake" => handler.wake(),
            "queue" => handler.queue(false),
            "send" => handler.queue(true),
            "queued already" => handler.queued_already(),
            "notified" => handler.notified(),
            "timer set" => handler.timer_set(),
            "timer fired" => handler.timer_fired(),
            "timer dropped" => handler.timer_dropped(),
            "job submitted" => handler.job_submitted(),
            "job awaited" => handler.job_awaited(),
            "job done" => handler.job_done(),
            "budget spent" => handler.budget_spent(),
            "done" => handler.end(|written| Kind::Done { written }),
            "abort" => handler.end(|_| Kind::Abort),
            "panic" => handler.end(|_| Kind::Panic),
            lost if lost.starts_with("lost") => handler.lost(),
            _ => {}
        }
    }

    /// Adds an act outside of the runtime. It has no causes, except that a client receives what a task
    /// wrote.
    pub(crate) fn outside(
        &mut self,
        act: String,
        values: Values,
        origin: &Origin<'_>,
        buffer: &mut EventBuffer,
    ) {
        let Values { peer, receiver, .. } = &values;
        let (peer, is_receipt) = (peer.clone(), !receiver.is_empty());
        let mut sources = self.sources.values();
        let of = sources.find(|known| is_receipt && known.source.peer == *receiver);
        let (source, written) =
            of.map_or((None, None), |known| (Some(&known.source), known.written));
        let (source, causes) = (source.cloned(), written.into_iter().collect());
        let mut handler = RecordHandler { correlator: self, origin, buffer, values };
        let event = handler.event_of(Actor::Outside, Kind::Outside { act }, causes);
        let number = handler.push_event(Event { source, ..event });
        // The kernel reports no event for bytes that a client receives.
        if is_receipt {
            return;
        }
        if self.acts.len() == MAX_ACTS {
            self.acts.remove(0);
        }
        self.acts.push(OutsideAct { number, peer });
    }

    /// Adds a note of the program: a step of the task that is being polled, or an act of another thread.
    pub(crate) fn note(&mut self, text: String, origin: &Origin<'_>, buffer: &mut EventBuffer) {
        let mut handler =
            RecordHandler { correlator: self, origin, buffer, values: Values::default() };
        let kind = Kind::Note { text };
        if handler.running().is_some() {
            let cause = handler.step_before();
            handler.push_running(Actor::Task, kind, vec![cause]);
        } else {
            handler.push(Actor::Outside, kind, vec![]);
        }
    }

    /// Updates the length of the sleeps that have not ended.
    pub(crate) fn update_sleeps(&self, now: Duration, buffer: &mut EventBuffer) {
        for thread in self.threads.values().filter(|thread| thread.is_waiting) {
            thread.update_sleep(now, buffer);
        }
    }

    /// Starts a recording: forgets the acts before it, which cause nothing in it.
    pub(crate) fn start(&mut self) {
        self.acts.clear();
        self.notifiers.clear();
    }

    /// Whether this thread has run an executor, and now polls no task. Only user code calls this, so the
    /// executor has returned, or a program that polls its own futures is between two turns.
    pub(crate) fn is_idle(&self, thread: ThreadId) -> bool {
        self.threads.get(&thread).is_some_and(|known| known.wait.is_some() && known.poll.is_none())
    }

    fn task(&self, id: u64) -> Option<Arc<Task>> {
        self.tasks.get(&id).map(|known| known.task.clone())
    }

    fn owner(&self, waker: usize) -> Option<u64> {
        self.owners.get(&waker).copied()
    }

    fn operation(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.operations.iter().find(|known| ***known == *name) {
            return known.clone();
        }
        let operation: Arc<str> = name.into();
        self.operations.push(operation.clone());
        operation
    }

    /// Returns the last act of a client that the kernel reports with an event of this source, and forgets
    /// all such acts.
    fn cause_outside(&mut self, source: &Source) -> Option<u64> {
        // If the clients are in other processes, do not search all connections at every event.
        if self.acts.is_empty() {
            return None;
        }
        let known: Vec<&str> =
            self.sources.values().map(|known| known.source.peer.as_str()).collect();
        let of_this = |act: &OutsideAct| match source.kind.as_str() {
            LISTENER => act.peer.is_empty(),
            // If the peer of this source is unknown, it may be any client without a source.
            _ if source.peer.is_empty() => {
                !act.peer.is_empty() && !known.contains(&act.peer.as_str())
            }
            _ => act.peer == source.peer,
        };
        let last = self.acts.iter().rev().find(|act| of_this(act)).map(|act| act.number);
        self.acts.retain(|act| !of_this(act));
        last
    }
}

impl KnownThread {
    /// Ends the wait of this thread: any record of the thread shows that `epoll_wait` has returned.
    fn end_wait(&mut self, message: &str, at: Duration, buffer: &mut EventBuffer) {
        if std::mem::take(&mut self.is_waiting) && message != "sleep" {
            self.update_sleep(at, buffer);
        }
    }

    fn update_sleep(&self, until: Duration, buffer: &mut EventBuffer) {
        let Some((number, since)) = self.wait else { return };
        if let Some(Event { kind: Kind::Sleep { slept, .. }, .. }) = buffer.get_mut(number) {
            *slept = Some(until.saturating_sub(since));
        }
    }
}

/// Returns the kind of a source whose type has this name.
fn kind_of(type_name: &str) -> String {
    let name = type_name.rsplit("::").next().unwrap_or(type_name);
    match name {
        "TcpListener" | "UnixListener" => LISTENER.to_owned(),
        "TcpStream" => "connection".to_owned(),
        _ => name.to_owned(),
    }
}

/// Handles one record.
struct RecordHandler<'a> {
    correlator: &'a mut Correlator,
    origin: &'a Origin<'a>,
    buffer: &'a mut EventBuffer,
    values: Values,
}

impl RecordHandler<'_> {
    fn thread(&mut self) -> &mut KnownThread {
        self.correlator.threads.entry(self.origin.id).or_default()
    }

    fn running(&mut self) -> Option<Poll> {
        self.thread().poll
    }

    /// Returns the task that this thread is polling.
    fn running_task(&mut self) -> Option<Arc<Task>> {
        let poll = self.running()?;
        self.correlator.task(poll.task)
    }

    fn source(&self) -> Option<Arc<Source>> {
        self.correlator.sources.get(&self.values.source).map(|known| known.source.clone())
    }

    /// Returns the first cause of what a task does: its step before in this poll, otherwise the poll.
    /// Outside of a poll, returns the last event on this thread.
    fn step_before(&mut self) -> u64 {
        self.running().map_or(self.thread().last, |poll| poll.last)
    }

    fn event_of(&self, actor: Actor, kind: Kind, causes: Vec<u64>) -> Event {
        Event {
            number: self.buffer.next_number(),
            at: self.origin.at,
            thread: self.origin.thread.clone(),
            actor,
            kind,
            task: None,
            source: None,
            direction: None,
            causes,
            file: self.origin.file,
            line: self.origin.line,
            stack: self.origin.stack.clone(),
        }
    }

    fn push_event(&mut self, event: Event) -> u64 {
        let (outside, task) = (event.actor == Actor::Outside, event.task_id());
        let number = self.buffer.push(event);
        if !outside {
            let thread = self.thread();
            thread.last = number;
            if let Some(poll) = &mut thread.poll
                && Some(poll.task) == task
            {
                poll.last = number;
            }
        }
        number
    }

    fn push(&mut self, actor: Actor, kind: Kind, causes: Vec<u64>) -> u64 {
        self.push_event(self.event_of(actor, kind, causes))
    }

    /// Adds an event of the task that is being polled.
    fn push_running(&mut self, actor: Actor, kind: Kind, causes: Vec<u64>) -> u64 {
        let task = self.running_task();
        self.push_event(Event { task, ..self.event_of(actor, kind, causes) })
    }

    /// Adds an event of the source that the record names.
    fn push_source(&mut self, actor: Actor, kind: Kind, causes: Vec<u64>) -> u64 {
        let (task, source, direction) = (self.running_task(), self.source(), self.values.direction);
        self.push_event(Event { task, source, direction, ..self.event_of(actor, kind, causes) })
    }

    fn known_direction(&mut self) -> Option<&mut KnownDirection> {
        let direction = self.values.direction?;
        Some(self.correlator.sources.get_mut(&self.values.source)?.direction(direction))
    }

    fn spawn(&mut self) {
        let cause = match self.running() {
            Some(poll) => poll.last,
            None => START,
        };
        let Values { task: id, waker, .. } = self.values;
        let name = std::mem::take(&mut self.values.name);
        let location = std::mem::take(&mut self.values.location);
        let task = Arc::new(Task { id, name, location });
        let by = self.running().map(|poll| poll.task);
        let event = self.event_of(Actor::Executor, Kind::Spawn { by }, vec![cause]);
        let spawned = self.push_event(Event { task: Some(task.clone()), ..event });
        let known = KnownTask {
            task,
            waker,
            last_pending: spawned,
            queued: None,
            sent: Vec::new(),
            polls: 0,
            written: 0,
        };
        self.correlator.tasks.insert(id, known);
        self.correlator.owners.insert(waker, id);
        // If a timer still names this address, it meant an earlier waker.
        let timers = self.correlator.timers.iter_mut().filter(|timer| timer.waker == waker);
        timers.for_each(|timer| timer.waker = 0);
        // A `wake` without effect so far did not queue this task.
        self.thread().wake = None;
    }

    fn register(&mut self) {
        let cause = self.step_before();
        let kind = kind_of(&self.values.kind);
        let peer = self.thread().peer.take().unwrap_or_default();
        self.add_source(kind, peer);
        let number = self.push_source(Actor::Reactor, Kind::Register, vec![cause]);
        if let Some(known) = self.correlator.sources.get_mut(&self.values.source) {
            known.registered = number;
        }
    }

    fn add_source(&mut self, kind: String, peer: String) -> Arc<Source> {
        let token = self.values.source;
        let source = Arc::new(Source { token, since: self.buffer.next_number(), kind, peer });
        let (read, write) = (KnownDirection::default(), KnownDirection::default());
        let known = KnownSource {
            source: source.clone(),
            registered: 0,
            fresh: true,
            written: None,
            read,
            write,
        };
        self.correlator.sources.insert(token, known);
        source
    }

    fn deregister(&mut self) {
        let cause = self.step_before();
        self.push_source(Actor::Reactor, Kind::Deregister, vec![cause]);
        self.correlator.sources.remove(&self.values.source);
    }

    fn poll(&mut self) {
        let id = self.values.task;
        let Some(known) = self.correlator.tasks.get_mut(&id) else { return };
        known.polls += 1;
        let (nth, task) = (known.polls, known.task.clone());
        // The oldest wakeup put the task into the run queue, unless the task was there already.
        let oldest = |sent: &mut Vec<u64>| (!sent.is_empty()).then(|| sent.remove(0));
        let queued = known.queued.take().or_else(|| oldest(&mut known.sent));
        let causes = queued.into_iter().collect();
        let event = self.event_of(Actor::Executor, Kind::Poll { nth }, causes);
        let polled = self.push_event(Event { task: Some(task), ..event });
        let poll = Poll { task: id, last: polled };
        let thread = self.thread();
        thread.poll = Some(poll);
        thread.wake = None;
    }

    fn attempt(&mut self, outcome: Outcome, causes: Vec<u64>) -> u64 {
        let operation = self.correlator.operation(&std::mem::take(&mut self.values.operation));
        self.push_source(Actor::Task, Kind::Try { operation, outcome }, causes)
    }

    fn would_block(&mut self) {
        let cause = self.step_before();
        let number = self.attempt(Outcome::WouldBlock, vec![cause]);
        if let Some(direction) = self.known_direction() {
            direction.cleared = Some(number);
            direction.event = None;
        }
    }

    fn tried(&mut self) {
        let event = self.known_direction().and_then(|direction| direction.event.take());
        let causes = std::iter::once(self.step_before()).chain(event).collect();
        let outcome = self.outcome();
        self.count_written();
        let number = self.attempt(outcome, causes);
        if self.values.direction == Some(Direction::Write)
            && self.values.bytes > Some(0)
            && let Some(known) = self.correlator.sources.get_mut(&self.values.source)
        {
            known.written = Some(number);
        }
        if self.values.short
            && let Some(direction) = self.known_direction()
        {
            direction.cleared = Some(number);
        }
    }

    fn outcome(&mut self) -> Outcome {
        let Values { bytes, length, short, direction, .. } = self.values;
        match (self.values.error.take(), bytes) {
            (Some(error), _) => Outcome::Fails(error),
            (None, None) => Outcome::Works,
            (None, Some(0)) if length > 0 && direction == Some(Direction::Read) => {
                Outcome::EndOfFile
            }
            (None, Some(bytes)) if short => Outcome::Short(bytes),
            (None, Some(bytes)) => Outcome::Bytes(bytes),
        }
    }

    fn count_written(&mut self) {
        if self.values.direction == Some(Direction::Write) {
            let task = self.running().map(|poll| poll.task);
            if let Some(known) = task.and_then(|task| self.correlator.tasks.get_mut(&task)) {
                known.written += self.values.bytes.unwrap_or_default();
            }
        }
    }

    fn accepted(&mut self) {
        let peer = std::mem::take(&mut self.values.peer);
        self.thread().peer = Some(peer.clone());
        // The `accept` has its own record, but only its caller knows the peer.
        let last = self.thread().last;
        if let Some(Event { kind: Kind::Try { outcome, .. }, .. }) = self.buffer.get_mut(last) {
            *outcome = Outcome::Accepted(peer);
        }
    }

    fn store(&mut self) {
        let waker = self.values.waker;
        let known = self.known_direction();
        let beside =
            known.as_ref().and_then(|known| known.waiters.first()).map(|stored| stored.waker);
        let cleared = known.and_then(|known| known.cleared);
        let before = self.step_before();
        let cleared = cleared.filter(|cleared| *cleared != before);
        let causes = std::iter::once(before).chain(cleared).collect();
        let beside = beside.and_then(|waker| self.correlator.owner(waker));
        let stored = self.push_source(Actor::Reactor, Kind::Store { beside }, causes);
        if let Some(direction) = self.known_direction() {
            direction.waiters.push(StoredWaker { waker, by: stored });
        }
    }

    fn pending(&mut self) {
        let cause = self.step_before();
        let number = self.push_running(Actor::Task, Kind::Pending, vec![cause]);
        if let Some(known) = self.correlator.tasks.get_mut(&self.values.task) {
            known.last_pending = number;
        }
        self.thread().poll = None;
    }

    fn wait(&mut self) {
        let cause = self.thread().last;
        let look = self.values.timeout.is_some_and(|timeout| timeout.is_zero());
        let limit = self.values.timeout;
        let kind = if look { Kind::Look } else { Kind::Sleep { limit, slept: None } };
        let number = self.push(Actor::Kernel, kind, vec![cause]);
        let at = self.origin.at;
        let thread = self.thread();
        thread.wait = Some((number, at));
        thread.is_waiting = !look;
        thread.wake = None;
        self.correlator.taken.clear();
    }

    fn event(&mut self) {
        let Values { readable, writable, read_closed, write_closed, in_error: error, .. } =
            self.values;
        let readiness = Readiness { readable, writable, read_closed, write_closed, error };
        let Some(source) = self.source() else { return };
        let outside = self.correlator.cause_outside(&source);
        let wait = self.thread().wait.map(|(number, _)| number);
        let mut taken = Vec::new();
        let number = self.buffer.next_number();
        let mut registered = None;
        let mut news = readiness;
        if let Some(known) = self.correlator.sources.get_mut(&self.values.source) {
            news = readiness.news(known.read.cleared.is_none(), known.write.cleared.is_none());
            registered = std::mem::take(&mut known.fresh).then_some(known.registered);
            for direction in [Direction::Read, Direction::Write] {
                if readiness.concerns(direction) {
                    let direction = known.direction(direction);
                    // If the direction was ready before, this event does not cause the next operation.
                    direction.event = direction.cleared.take().map(|_| number);
                    taken.append(&mut direction.waiters);
                }
            }
        }
        let takes: Vec<u64> =
            taken.iter().filter_map(|stored| self.correlator.owner(stored.waker)).collect();
        let others = taken.len() - takes.len();
        // The kernel reports a new socket immediately if it is writable. It reports a listener only when
        // a client connects.
        let immediate = outside.is_none() && taken.is_empty() && !source.is_listener();
        let registered = registered.filter(|_| immediate);
        if registered.is_some() {
            self.mark_wait_as_sleepless();
        }
        let causes = outside.or(registered).into_iter().chain(wait).collect();
        let kind = Kind::Event { readiness, news, takes, others };
        let event = self.event_of(Actor::Kernel, kind, causes);
        self.push_event(Event { source: Some(source), ..event });
        self.take(number, taken);
    }

    /// Marks the wait as one that did not sleep, because an event was already there.
    fn mark_wait_as_sleepless(&mut self) {
        let wait = self.thread().wait;
        let waited = wait.and_then(|(number, _)| self.buffer.get_mut(number));
        if let Some(Event { kind: Kind::Sleep { slept, .. }, .. }) = waited {
            *slept = None;
        }
    }

    fn take(&mut self, by: u64, stored: Vec<StoredWaker>) {
        let taken = stored.into_iter();
        let taken =
            taken.map(|stored| TakenWaker { waker: stored.waker, by, stored_by: stored.by });
        self.correlator.taken.extend(taken);
    }

    fn wake(&mut self) {
        let waker = self.values.waker;
        let task = self.correlator.owner(waker).and_then(|id| self.correlator.task(id));
        let index = self.correlator.taken.iter().position(|taken| taken.waker == waker);
        let causes = match index.map(|index| self.correlator.taken.remove(index)) {
            Some(taken) => vec![taken.by, taken.stored_by],
            None => self.causes_of_wake_without_event(waker, task.as_deref()),
        };
        let event = self.event_of(Actor::Reactor, Kind::Wake, causes);
        let number = self.push_event(Event { task, ..event });
        self.thread().wake = Some(number);
    }

    /// Returns the causes of a wake that follows no event: the reactor sweeps the wakers of a source, or a
    /// descriptor became free. The reactor calls these wakers in its next turn, which does not sleep.
    fn causes_of_wake_without_event(&mut self, waker: usize, task: Option<&Task>) -> Vec<u64> {
        let thread = self.thread();
        let turn = thread.wait.map_or(thread.last, |(number, _)| number);
        let mut stored = None;
        for source in self.correlator.sources.values_mut() {
            for direction in [&mut source.read, &mut source.write] {
                let index = direction.waiters.iter().position(|stored| stored.waker == waker);
                stored = stored.or(index.map(|index| direction.waiters.remove(index).by));
            }
        }
        let known = task.and_then(|task| self.correlator.tasks.get(&task.id));
        let stored = stored.or(known.map(|known| known.last_pending));
        std::iter::once(turn).chain(stored).collect()
    }

    /// Handles a task that goes into the run queue, or a wakeup that goes into the inbox.
    fn queue(&mut self, inbox: bool) {
        let id = self.values.task;
        let Some(known) = self.correlator.tasks.get(&id) else { return };
        let (task, last_pending, first) =
            (known.task.clone(), known.last_pending, known.polls == 0);
        let own = self.correlator.threads.get_mut(&self.origin.id);
        let wake = own.and_then(|thread| thread.wake.take());
        // A task gives its waker away only in a poll. This waker belongs to a task of an earlier executor.
        if first && inbox {
            return;
        }
        let (by, causes) = match wake {
            Some(wake) => (By::Reactor, vec![wake]),
            None if first => (By::Spawn, vec![last_pending]),
            None if inbox => {
                (By::Thread, self.causes_of_completed_job().unwrap_or_else(|| vec![last_pending]))
            }
            None => (By::Task, vec![self.step_before(), last_pending]),
        };
        let actor = if by == By::Thread { Actor::Outside } else { Actor::Queue };
        let event = self.event_of(actor, Kind::Queue { by }, causes);
        let queued = self.push_event(Event { task: Some(task), ..event });
        if by == By::Thread {
            self.correlator.notifiers.push(queued);
        }
        if let Some(known) = self.correlator.tasks.get_mut(&id) {
            match inbox {
                true => known.sent.push(queued),
                false => known.queued = Some(queued),
            }
            // The waker of an earlier executor's task may name this task. Its wakeup never arrives.
            if known.sent.len() > 2 {
                known.sent.remove(0);
            }
        }
    }

    /// Handles a wakeup of a task that is queued.
    fn queued_already(&mut self) {
        if self.values.inbox {
            return self.received_while_queued();
        }
        let own = self.correlator.threads.get_mut(&self.origin.id);
        let actor = if own.is_some() { Actor::Queue } else { Actor::Outside };
        let cause = own.map(|thread| {
            let before = thread.poll.map_or(thread.last, |poll| poll.last);
            thread.wake.take().unwrap_or(before)
        });
        let causes_of_job = cause.is_none().then(|| self.causes_of_completed_job()).flatten();
        // Ignore a task that has ended: it is not queued, and no poll follows.
        let Some(known) = self.correlator.tasks.get(&self.values.task) else { return };
        let (task, last_pending) = (known.task.clone(), known.last_pending);
        let causes = causes_of_job.unwrap_or_else(|| vec![cause.unwrap_or(last_pending)]);
        let event = self.event_of(actor, Kind::QueuedAlready, causes);
        self.push_event(Event { task: Some(task), ..event });
    }

    /// Handles a wakeup that the executor has received through the inbox, but that causes no poll.
    fn received_while_queued(&mut self) {
        let before = self.step_before();
        let Some(known) = self.correlator.tasks.get_mut(&self.values.task) else { return };
        // The next one is sent only after this record.
        let cause = known.sent.pop().unwrap_or(before);
        let task = known.task.clone();
        let event = self.event_of(Actor::Executor, Kind::QueuedAlready, vec![cause]);
        self.push_event(Event { task: Some(task), ..event });
    }

    fn notified(&mut self) {
        let wait = self.thread().wait.map(|(number, _)| number);
        let causes =
            std::mem::take(&mut self.correlator.notifiers).into_iter().chain(wait).collect();
        self.push(Actor::Kernel, Kind::Notified, causes);
    }

    fn timer_set(&mut self) {
        let cause = self.step_before();
        let kind = Kind::TimerSet { after: self.values.after };
        let number = self.push_running(Actor::Reactor, kind, vec![cause]);
        let Values { waker, after, .. } = self.values;
        let (task, deadline) = (self.running_task(), self.origin.at.saturating_add(after));
        self.correlator.timers.push(Timer { waker, task, by: number, deadline });
    }

    /// Takes out the timer with this waker that has the nearest deadline. If no timer has this waker, one
    /// task set the timer and another one awaits it, which changes the waker without a record. Timers
    /// expire in the order of their deadlines, so it is the one with the nearest deadline of all.
    fn take_timer(&mut self) -> Option<Timer> {
        let waker = self.values.waker;
        let timers = self.correlator.timers.iter().enumerate();
        let first = timers.min_by_key(|(_, timer)| (timer.waker != waker, timer.deadline));
        let index = first.map(|(index, _)| index)?;
        Some(self.correlator.timers.remove(index))
    }

    /// Returns the task whose waker a timer stores. If the waker belongs to no task, returns the task that
    /// set the timer.
    fn task_of(&self, timer: Option<&Timer>) -> Option<Arc<Task>> {
        let waker = self.values.waker;
        let owner = self.correlator.owner(waker).and_then(|id| self.correlator.task(id));
        let own = timer.filter(|timer| timer.waker == waker);
        owner.or_else(|| own.and_then(|timer| timer.task.clone()))
    }

    fn timer_fired(&mut self) {
        let waker = self.values.waker;
        let timer = self.take_timer();
        let wait = self.thread().wait.map(|(number, _)| number);
        let causes = timer.iter().map(|timer| timer.by).chain(wait).collect();
        let task = self.task_of(timer.as_ref());
        let known = task.as_ref().and_then(|task| self.correlator.tasks.get(&task.id));
        let pending = known.map(|known| known.last_pending);
        let event = self.event_of(Actor::Reactor, Kind::TimerFired, causes);
        let number = self.push_event(Event { task, ..event });
        let stored = match timer {
            Some(timer) if timer.waker == waker => Some(timer.by),
            other => pending.or(other.map(|timer| timer.by)),
        };
        self.take(number, stored.into_iter().map(|by| StoredWaker { waker, by }).collect());
    }

    fn timer_dropped(&mut self) {
        let cause = self.step_before();
        let timer = self.take_timer();
        let task = self.task_of(timer.as_ref());
        let event = self.event_of(Actor::Reactor, Kind::TimerDropped, vec![cause]);
        self.push_event(Event { task, ..event });
    }

    fn job_submitted(&mut self) {
        let cause = self.step_before();
        let (token, since) = (self.values.job, self.buffer.next_number());
        let job = Arc::new(Source { token, since, kind: JOB.to_owned(), peer: String::new() });
        self.push_job(job.clone(), Kind::JobSubmitted, cause);
        self.correlator.jobs.push(KnownJob { job, stored: None });
    }

    fn job_awaited(&mut self) {
        let cause = self.step_before();
        // The job may have completed in the meantime.
        let Some(index) = self.index_of_job() else { return };
        let job = self.correlator.jobs[index].job.clone();
        self.values.direction = Some(Direction::Read);
        let by = self.push_job(job, Kind::Store { beside: None }, cause);
        self.correlator.jobs[index].stored = Some(StoredWaker { waker: self.values.waker, by });
    }

    fn index_of_job(&self) -> Option<usize> {
        self.correlator.jobs.iter().position(|known| known.job.token == self.values.job)
    }

    fn push_job(&mut self, job: Arc<Source>, kind: Kind, cause: u64) -> u64 {
        let actor = if kind == Kind::JobSubmitted { Actor::Task } else { Actor::Reactor };
        let (task, direction) = (self.running_task(), self.values.direction);
        let event = self.event_of(actor, kind, vec![cause]);
        self.push_event(Event { task, source: Some(job), direction, ..event })
    }

    fn job_done(&mut self) {
        let known = self.index_of_job().map(|index| self.correlator.jobs.remove(index));
        // `since` is the number of its `job submitted`.
        let causes = known.iter().map(|known| known.job.since).collect();
        let event = self.event_of(Actor::Outside, Kind::JobDone, causes);
        let source = known.as_ref().map(|known| known.job.clone());
        let by = self.push_event(Event { source, ..event });
        let waker = self.values.waker;
        let stored = known.and_then(|known| known.stored).filter(|stored| stored.waker == waker);
        match stored {
            Some(StoredWaker { waker, by: stored_by }) => {
                self.correlator
                    .completed
                    .insert(self.origin.id, TakenWaker { waker, by, stored_by });
            }
            None => drop(self.correlator.completed.remove(&self.origin.id)),
        }
    }

    /// Returns the `job done` and the step that stored the waker in the job, if this thread is about to
    /// call that waker.
    fn causes_of_completed_job(&mut self) -> Option<Vec<u64>> {
        let TakenWaker { waker, by, stored_by } =
            self.correlator.completed.remove(&self.origin.id)?;
        // A custom waker may wake any task.
        let own = self.correlator.owner(waker).is_none_or(|owner| owner == self.values.task);
        own.then(|| vec![by, stored_by])
    }

    fn budget_spent(&mut self) {
        let cause = self.step_before();
        self.push_running(Actor::Task, Kind::BudgetSpent, vec![cause]);
    }

    fn end(&mut self, kind: impl FnOnce(u64) -> Kind) {
        let number = self.values.task;
        let cause = self.step_before();
        let known = self.correlator.tasks.remove(&number);
        if let Some(known) = &known {
            self.correlator.owners.remove(&known.waker);
        }
        let written = known.as_ref().map_or(0, |known| known.written);
        let task = known.map(|known| known.task);
        let event = self.event_of(Actor::Task, kind(written), vec![cause]);
        self.push_event(Event { task, ..event });
        let thread = self.thread();
        if thread.poll.is_some_and(|poll| poll.task == number) {
            thread.poll = None;
        }
    }

    fn lost(&mut self) {
        let task = self.correlator.task(self.values.task);
        let pending = self.correlator.tasks.get(&self.values.task).map(|known| known.last_pending);
        let event = self.event_of(Actor::Executor, Kind::Lost, pending.into_iter().collect());
        self.push_event(Event { task, ..event });
    }
}
