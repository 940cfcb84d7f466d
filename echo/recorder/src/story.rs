//! Makes a story of the records: which event made which one happen.
//!
//! The reactor knows no task, so its records name none. What ties them together is known here: the
//! task that the thread polls now, the address behind each waker, and who took it out of where.
//!
//! Invariant: every event but a start, an act from outside and a spawn before the first poll has
//! a cause; every `wake` of the reactor has two, what made it happen and the step that kept the
//! waker; every poll is caused by the `queue` of its task.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::ThreadId;
use std::time::Duration;

use crate::event::{Actor, By, Direction, Event, Kind, Outcome, Readiness, Source, Task};
use crate::record::Values;
use crate::tape::Tape;

/// The number of the start, to which everything leads back.
const START: u64 = 0;

/// Acts of clients that are kept until the kernel reports them. It never reports those on connections
/// that are gone.
const ACTS: usize = 64;

/// When and where a record was emitted.
pub(crate) struct Moment<'a> {
    pub(crate) at: Duration,
    pub(crate) id: ThreadId,
    pub(crate) thread: &'a Arc<str>,
    pub(crate) file: &'static str,
    pub(crate) line: u32,
}

/// What is known at the end of the tape.
#[derive(Default)]
pub(crate) struct Story {
    tasks: HashMap<u64, KnownTask>,
    /// Whose waker is at this address, of all tasks that have not ended: addresses are used again,
    /// and so are the numbers of tasks by another executor.
    owners: HashMap<usize, u64>,
    sources: HashMap<usize, KnownSource>,
    /// The threads of executors.
    threads: HashMap<ThreadId, KnownThread>,
    timers: Vec<Timer>,
    /// Jobs that have not ended, the oldest first.
    jobs: Vec<KnownJob>,
    /// For each thread, the waker that it calls because its last job is done.
    done: HashMap<ThreadId, Taken>,
    /// Wakers that were taken out of sources and timers, and are about to be called.
    taken: Vec<Taken>,
    /// What happened outside, and the kernel has not reported yet.
    acts: Vec<Act>,
    /// What other threads did since they last ended the wait.
    notifiers: Vec<u64>,
    operations: Vec<Arc<str>>,
}

struct KnownTask {
    task: Arc<Task>,
    waker: usize,
    /// Its spawn, then its last `pending`: the step that left a waker with somebody.
    left_waker: u64,
    queued: Option<u64>,
    /// The wakeup by another thread that is in the inbox. That thread does not know whether the task
    /// is queued.
    sent: Option<u64>,
    polls: u64,
    written: u64,
}

struct KnownSource {
    source: Arc<Source>,
    registered: u64,
    /// Nothing has been reported of it yet.
    fresh: bool,
    read: KnownDirection,
    write: KnownDirection,
}

struct KnownJob {
    job: Arc<Source>,
    /// The last waker that was left with it.
    kept: Option<Kept>,
}

#[derive(Default)]
struct KnownDirection {
    /// The report that made it ready again, and that no operation has answered yet.
    event: Option<u64>,
    /// The step that learned that it is not ready; none, if it is.
    cleared: Option<u64>,
    waiters: Vec<Kept>,
}

#[derive(Default)]
struct KnownThread {
    poll: Option<Poll>,
    /// The last event of this thread.
    last: u64,
    /// The last `sleep` or `look`, and when.
    wait: Option<(u64, Duration)>,
    /// The wait has not ended yet.
    waits: bool,
    /// A `wake` whose effect has not been told yet.
    wake: Option<u64>,
    /// The peer of the connection that was accepted last.
    peer: Option<String>,
}

/// The poll that runs on a thread now.
#[derive(Clone, Copy)]
struct Poll {
    task: u64,
    number: u64,
    /// The last thing that worked.
    act: Option<u64>,
    /// The last step that arranged for a wake.
    arranged: Option<u64>,
}

#[derive(Clone, Copy)]
struct Kept {
    waker: usize,
    by: u64,
}

/// A timer that was set, and has neither fired nor been dropped.
struct Timer {
    waker: usize,
    task: Option<Arc<Task>>,
    by: u64,
    due: Duration,
}

struct Taken {
    waker: usize,
    by: u64,
    kept: u64,
}

struct Act {
    number: u64,
    /// The address of the client; empty, if it has none yet.
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

impl Story {
    /// Tells the tape what this record means.
    pub(crate) fn tell(
        &mut self,
        message: &str,
        values: Values,
        moment: &Moment<'_>,
        tape: &mut Tape,
    ) {
        if let Some(thread) = self.threads.get_mut(&moment.id) {
            thread.end_wait(message, moment.at, tape);
        }
        let mut telling = Telling { story: self, moment, tape, values };
        match message {
            "spawn" => telling.spawn(),
            "register" => telling.register(),
            "deregister" => telling.deregister(),
            "poll" => telling.poll(),
            "would block" => telling.would_block(),
            "tried" => telling.tried(),
            "accepted" => telling.accepted(),
            "store" => telling.store(),
            "pending" => telling.pending(),
            "sleep" => telling.wait(),
            "event" => telling.event(),
            "wake" => telling.wake(),
            "queue" => telling.queue(false),
            "send" => telling.queue(true),
            "queued already" => telling.queued_already(),
            "notified" => telling.notified(),
            "timer set" => telling.timer_set(),
            "timer fired" => telling.timer_fired(),
            "timer dropped" => telling.timer_dropped(),
            "job submitted" => telling.job_submitted(),
            "job awaited" => telling.job_awaited(),
            "job done" => telling.job_done(),
            "budget spent" => telling.budget_spent(),
            "done" => telling.end(|written| Kind::Done { written }),
            "abort" => telling.end(|_| Kind::Abort),
            "panic" => telling.end(|_| Kind::Panic),
            lost if lost.starts_with("lost") => telling.lost(),
            _ => {}
        }
    }

    /// Something happens outside of the runtime: the root of a chain of causes.
    pub(crate) fn outside(
        &mut self,
        act: String,
        peer: String,
        moment: &Moment<'_>,
        tape: &mut Tape,
    ) {
        let mut telling = Telling { story: self, moment, tape, values: Values::default() };
        let event = telling.event_of(Actor::Outside, Kind::Outside { act }, vec![]);
        // Its code is not ours to show.
        let number = telling.push_event(Event { file: "", line: 0, ..event });
        if self.acts.len() == ACTS {
            self.acts.remove(0);
        }
        self.acts.push(Act { number, peer });
    }

    /// Tells how long those threads have been asleep that still are.
    pub(crate) fn tell_sleeps(&self, now: Duration, tape: &mut Tape) {
        for thread in self.threads.values().filter(|thread| thread.waits) {
            thread.tell_sleep(now, tape);
        }
    }

    /// A recording begins: what happened outside before explains nothing in it.
    pub(crate) fn start(&mut self) {
        self.acts.clear();
        self.notifiers.clear();
    }

    fn task(&self, number: u64) -> Option<Arc<Task>> {
        self.tasks.get(&number).map(|known| known.task.clone())
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

    /// The acts of clients that explain what the kernel says of this source.
    fn explanation(&mut self, source: &Source) -> Option<u64> {
        // A server whose clients are elsewhere looks through its connections at no event.
        if self.acts.is_empty() {
            return None;
        }
        let known: Vec<&str> =
            self.sources.values().map(|known| known.source.peer.as_str()).collect();
        let of_this = |act: &Act| match source.kind.as_str() {
            LISTENER => act.peer.is_empty(),
            // Whose socket it is, is not always known.
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
    /// Whatever this thread tells next, its wait is over.
    fn end_wait(&mut self, message: &str, at: Duration, tape: &mut Tape) {
        if std::mem::take(&mut self.waits) && message != "sleep" {
            self.tell_sleep(at, tape);
        }
    }

    fn tell_sleep(&self, until: Duration, tape: &mut Tape) {
        let Some((number, since)) = self.wait else { return };
        if let Some(Event { kind: Kind::Sleep { slept, .. }, .. }) = tape.get_mut(number) {
            *slept = Some(until.saturating_sub(since));
        }
    }
}

/// The kind of a source that connections come from.
pub(crate) const LISTENER: &str = "listener";

/// The kind of a job of the pool: a job is recorded as a source, which becomes ready with its result.
pub(crate) const JOB: &str = "job";

/// What people call a source whose type has this name.
fn kind_of(type_name: &str) -> String {
    let name = type_name.rsplit("::").next().unwrap_or(type_name);
    match name {
        "TcpListener" | "UnixListener" => LISTENER.to_owned(),
        "TcpStream" => "connection".to_owned(),
        _ => name.to_owned(),
    }
}

/// One record on its way to the tape.
struct Telling<'a> {
    story: &'a mut Story,
    moment: &'a Moment<'a>,
    tape: &'a mut Tape,
    values: Values,
}

impl Telling<'_> {
    fn thread(&mut self) -> &mut KnownThread {
        self.story.threads.entry(self.moment.id).or_default()
    }

    fn running(&mut self) -> Option<Poll> {
        self.thread().poll
    }

    /// The task that runs on this thread.
    fn running_task(&mut self) -> Option<Arc<Task>> {
        let poll = self.running()?;
        self.story.task(poll.task)
    }

    fn source(&self) -> Option<Arc<Source>> {
        self.story.sources.get(&self.values.source).map(|known| known.source.clone())
    }

    /// The cause of what a task does: the last thing that worked, else its poll.
    fn in_poll(&mut self) -> u64 {
        match self.running() {
            Some(poll) => poll.act.unwrap_or(poll.number),
            None => self.thread().last,
        }
    }

    fn poll_itself(&mut self) -> u64 {
        self.running().map_or(self.thread().last, |poll| poll.number)
    }

    fn event_of(&self, actor: Actor, kind: Kind, causes: Vec<u64>) -> Event {
        Event {
            number: self.tape.next_number(),
            at: self.moment.at,
            thread: self.moment.thread.clone(),
            actor,
            kind,
            task: None,
            source: None,
            direction: None,
            causes,
            file: self.moment.file,
            line: self.moment.line,
        }
    }

    fn push_event(&mut self, event: Event) -> u64 {
        let outside = event.actor == Actor::Outside;
        let number = self.tape.push(event);
        if !outside {
            self.thread().last = number;
        }
        number
    }

    fn push(&mut self, actor: Actor, kind: Kind, causes: Vec<u64>) -> u64 {
        self.push_event(self.event_of(actor, kind, causes))
    }

    /// An event of the task that runs.
    fn push_running(&mut self, actor: Actor, kind: Kind, causes: Vec<u64>) -> u64 {
        let task = self.running_task();
        self.push_event(Event { task, ..self.event_of(actor, kind, causes) })
    }

    /// An event of the source that the record names.
    fn push_source(&mut self, actor: Actor, kind: Kind, causes: Vec<u64>) -> u64 {
        let (task, source, direction) = (self.running_task(), self.source(), self.values.direction);
        self.push_event(Event { task, source, direction, ..self.event_of(actor, kind, causes) })
    }

    fn known_direction(&mut self) -> Option<&mut KnownDirection> {
        let direction = self.values.direction?;
        Some(self.story.sources.get_mut(&self.values.source)?.direction(direction))
    }

    fn spawn(&mut self) {
        let cause = match self.running() {
            Some(_) => self.in_poll(),
            None => START,
        };
        let Values { task: number, waker, .. } = self.values;
        let name = std::mem::take(&mut self.values.name);
        let place = std::mem::take(&mut self.values.place);
        let task = Arc::new(Task { number, name, place });
        let by = self.running().map(|poll| poll.task);
        let event = self.event_of(Actor::Executor, Kind::Spawn { by }, vec![cause]);
        let spawned = self.push_event(Event { task: Some(task.clone()), ..event });
        let known = KnownTask {
            task,
            waker,
            left_waker: spawned,
            queued: None,
            sent: None,
            polls: 0,
            written: 0,
        };
        self.story.tasks.insert(number, known);
        self.story.owners.insert(waker, number);
        // An address that is given again is no longer that of a waker which a timer had.
        let timers = self.story.timers.iter_mut().filter(|timer| timer.waker == waker);
        timers.for_each(|timer| timer.waker = 0);
        // A waker that queued nothing did not queue this task.
        self.thread().wake = None;
    }

    fn register(&mut self) {
        let cause = self.in_poll();
        let kind = kind_of(&self.values.kind);
        let peer = self.thread().peer.take().unwrap_or_default();
        self.add_source(kind, peer);
        let number = self.push_source(Actor::Reactor, Kind::Register, vec![cause]);
        if let Some(known) = self.story.sources.get_mut(&self.values.source) {
            known.registered = number;
        }
    }

    fn add_source(&mut self, kind: String, peer: String) -> Arc<Source> {
        let token = self.values.source;
        let source = Arc::new(Source { token, since: self.tape.next_number(), kind, peer });
        let (read, write) = (KnownDirection::default(), KnownDirection::default());
        let known = KnownSource { source: source.clone(), registered: 0, fresh: true, read, write };
        self.story.sources.insert(token, known);
        source
    }

    fn deregister(&mut self) {
        let cause = self.thread().last;
        self.push_source(Actor::Reactor, Kind::Deregister, vec![cause]);
        self.story.sources.remove(&self.values.source);
    }

    fn poll(&mut self) {
        let number = self.values.task;
        let Some(known) = self.story.tasks.get_mut(&number) else { return };
        known.polls += 1;
        let (nth, task) = (known.polls, known.task.clone());
        let causes = known.queued.take().or_else(|| known.sent.take()).into_iter().collect();
        let event = self.event_of(Actor::Executor, Kind::Poll { nth }, causes);
        let polled = self.push_event(Event { task: Some(task), ..event });
        let poll = Poll { task: number, number: polled, act: None, arranged: None };
        let thread = self.thread();
        thread.poll = Some(poll);
        thread.wake = None;
    }

    fn attempt(&mut self, outcome: Outcome, causes: Vec<u64>) -> u64 {
        let operation = self.story.operation(&std::mem::take(&mut self.values.operation));
        self.push_source(Actor::Task, Kind::Try { operation, outcome }, causes)
    }

    fn would_block(&mut self) {
        let cause = self.poll_itself();
        let number = self.attempt(Outcome::WouldBlock, vec![cause]);
        if let Some(direction) = self.known_direction() {
            direction.cleared = Some(number);
            direction.event = None;
        }
    }

    fn tried(&mut self) {
        let event = self.known_direction().and_then(|direction| direction.event.take());
        let cause = event.unwrap_or_else(|| self.in_poll());
        let outcome = self.outcome();
        self.count_written();
        let number = self.attempt(outcome, vec![cause]);
        if let Some(poll) = &mut self.thread().poll {
            poll.act = Some(number);
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
            if let Some(known) = task.and_then(|task| self.story.tasks.get_mut(&task)) {
                known.written += self.values.bytes.unwrap_or_default();
            }
        }
    }

    fn accepted(&mut self) {
        let peer = std::mem::take(&mut self.values.peer);
        self.thread().peer = Some(peer.clone());
        // The `accept` is recorded already; only its caller knows the peer.
        let last = self.thread().last;
        if let Some(Event { kind: Kind::Try { outcome, .. }, .. }) = self.tape.get_mut(last) {
            *outcome = Outcome::Accepted(peer);
        }
    }

    fn store(&mut self) {
        let waker = self.values.waker;
        let known = self.known_direction();
        let beside = known.as_ref().and_then(|known| known.waiters.first()).map(|kept| kept.waker);
        let cleared = known.and_then(|known| known.cleared);
        let cause = cleared.unwrap_or_else(|| self.poll_itself());
        let beside = beside.and_then(|waker| self.story.owner(waker));
        let kept = self.push_source(Actor::Reactor, Kind::Store { beside }, vec![cause]);
        if let Some(direction) = self.known_direction() {
            direction.waiters.push(Kept { waker, by: kept });
        }
        self.arrange(kept);
    }

    fn arrange(&mut self, number: u64) {
        if let Some(poll) = &mut self.thread().poll {
            poll.arranged = Some(number);
        }
    }

    fn pending(&mut self) {
        let cause = self.running().and_then(|poll| poll.arranged);
        let cause = cause.unwrap_or_else(|| self.poll_itself());
        let number = self.push_running(Actor::Task, Kind::Pending, vec![cause]);
        if let Some(known) = self.story.tasks.get_mut(&self.values.task) {
            known.left_waker = number;
        }
        self.thread().poll = None;
    }

    fn wait(&mut self) {
        let cause = self.thread().last;
        let look = self.values.timeout.is_some_and(|timeout| timeout.is_zero());
        let limit = self.values.timeout;
        let kind = if look { Kind::Look } else { Kind::Sleep { limit, slept: None } };
        let number = self.push(Actor::Kernel, kind, vec![cause]);
        let at = self.moment.at;
        let thread = self.thread();
        thread.wait = Some((number, at));
        thread.waits = !look;
        thread.wake = None;
        self.story.taken.clear();
    }

    fn event(&mut self) {
        let Values { readable, writable, read_closed, write_closed, in_error: error, .. } =
            self.values;
        let readiness = Readiness { readable, writable, read_closed, write_closed, error };
        let Some(source) = self.source() else { return };
        let outside = self.story.explanation(&source);
        let wait = self.thread().wait.map(|(number, _)| number);
        let mut taken = Vec::new();
        let number = self.tape.next_number();
        let mut registered = None;
        let mut news = readiness;
        if let Some(known) = self.story.sources.get_mut(&self.values.source) {
            news = readiness.news(known.read.cleared.is_none(), known.write.cleared.is_none());
            registered = std::mem::take(&mut known.fresh).then_some(known.registered);
            for direction in [Direction::Read, Direction::Write] {
                if readiness.concerns(direction) {
                    let direction = known.direction(direction);
                    // What was ready before is tried for reasons of the task's own.
                    direction.event = direction.cleared.take().map(|_| number);
                    taken.append(&mut direction.waiters);
                }
            }
        }
        let takes: Vec<u64> =
            taken.iter().filter_map(|kept| self.story.owner(kept.waker)).collect();
        let others = taken.len() - takes.len();
        // A socket that was just registered is reported for what it can do, at once; but a listener
        // when a client comes.
        let at_once = outside.is_none() && taken.is_empty() && source.kind != LISTENER;
        let registered = registered.filter(|_| at_once);
        if registered.is_some() {
            self.did_not_sleep();
        }
        let causes = outside.or(registered).into_iter().chain(wait).collect();
        let kind = Kind::Event { readiness, news, takes, others };
        let event = self.event_of(Actor::Kernel, kind, causes);
        self.push_event(Event { source: Some(source), ..event });
        self.take(number, taken);
    }

    /// The kernel had something to say at once: the wait was none.
    fn did_not_sleep(&mut self) {
        let wait = self.thread().wait;
        let waited = wait.and_then(|(number, _)| self.tape.get_mut(number));
        if let Some(Event { kind: Kind::Sleep { slept, .. }, .. }) = waited {
            *slept = None;
        }
    }

    fn take(&mut self, by: u64, kept: Vec<Kept>) {
        let taken = kept.into_iter().map(|kept| Taken { waker: kept.waker, by, kept: kept.by });
        self.story.taken.extend(taken);
    }

    fn wake(&mut self) {
        let waker = self.values.waker;
        let task = self.story.owner(waker).and_then(|number| self.story.task(number));
        let place = self.story.taken.iter().position(|taken| taken.waker == waker);
        let causes = match place.map(|place| self.story.taken.remove(place)) {
            Some(taken) => vec![taken.by, taken.kept],
            None => self.causes_of_an_unexplained_wake(waker, task.as_deref()),
        };
        let event = self.event_of(Actor::Reactor, Kind::Wake, causes);
        let number = self.push_event(Event { task, ..event });
        self.thread().wake = Some(number);
    }

    /// Not for an event: a source woke all its waiters to see who is still there, or a descriptor
    /// became free. That happens in the turn that follows, which therefore only looks for events.
    fn causes_of_an_unexplained_wake(&mut self, waker: usize, task: Option<&Task>) -> Vec<u64> {
        let thread = self.thread();
        let turn = thread.wait.map_or(thread.last, |(number, _)| number);
        let mut kept = None;
        for source in self.story.sources.values_mut() {
            for direction in [&mut source.read, &mut source.write] {
                let place = direction.waiters.iter().position(|kept| kept.waker == waker);
                kept = kept.or(place.map(|place| direction.waiters.remove(place).by));
            }
        }
        let left = task.and_then(|task| self.story.tasks.get(&task.number));
        let kept = kept.or(left.map(|known| known.left_waker));
        std::iter::once(turn).chain(kept).collect()
    }

    /// A task goes into the run queue, or a wakeup into the inbox.
    fn queue(&mut self, inbox: bool) {
        let number = self.values.task;
        let Some(known) = self.story.tasks.get(&number) else { return };
        let (task, left_waker, first) = (known.task.clone(), known.left_waker, known.polls == 0);
        let own = self.story.threads.get_mut(&self.moment.id);
        let wake = own.and_then(|thread| thread.wake.take());
        let (by, causes) = match wake {
            Some(wake) => (By::Reactor, vec![wake]),
            None if first => (By::Spawn, vec![left_waker]),
            None if inbox => {
                (By::Thread, self.causes_of_a_job().unwrap_or_else(|| vec![left_waker]))
            }
            None => (By::Task, vec![self.thread().last, left_waker]),
        };
        let actor = if by == By::Thread { Actor::Outside } else { Actor::Queue };
        let event = self.event_of(actor, Kind::Queue { by }, causes);
        let queued = self.push_event(Event { task: Some(task), ..event });
        if by == By::Thread {
            self.story.notifiers.push(queued);
        }
        if let Some(known) = self.story.tasks.get_mut(&number) {
            let wakeup = if by == By::Thread { &mut known.sent } else { &mut known.queued };
            *wakeup = Some(queued);
        }
    }

    fn queued_already(&mut self) {
        let own = self.story.threads.get_mut(&self.moment.id);
        let actor = if own.is_some() { Actor::Queue } else { Actor::Outside };
        let cause = own.map(|thread| thread.wake.take().unwrap_or(thread.last));
        let of_a_job = cause.is_none().then(|| self.causes_of_a_job()).flatten();
        // Of a task that has ended it is not true: nothing is queued, and no poll follows.
        let Some(known) = self.story.tasks.get(&self.values.task) else { return };
        let (task, left_waker) = (known.task.clone(), known.left_waker);
        let causes = of_a_job.unwrap_or_else(|| vec![cause.unwrap_or(left_waker)]);
        let event = self.event_of(actor, Kind::QueuedAlready, causes);
        self.push_event(Event { task: Some(task), ..event });
    }

    fn notified(&mut self) {
        let wait = self.thread().wait.map(|(number, _)| number);
        let causes = std::mem::take(&mut self.story.notifiers).into_iter().chain(wait).collect();
        self.push(Actor::Kernel, Kind::Notified, causes);
    }

    fn timer_set(&mut self) {
        let cause = self.poll_itself();
        let kind = Kind::TimerSet { after: self.values.after };
        let number = self.push_running(Actor::Reactor, kind, vec![cause]);
        let Values { waker, after, .. } = self.values;
        let (task, due) = (self.running_task(), self.moment.at.saturating_add(after));
        self.story.timers.push(Timer { waker, task, by: number, due });
        self.arrange(number);
    }

    /// The timer with this waker that is due first. If there is none, a timer was set by one task
    /// and awaited by another, whose waker it got without a record; timers fire in the order in
    /// which they are due, so it is the first of all.
    fn take_timer(&mut self) -> Option<Timer> {
        let waker = self.values.waker;
        let timers = self.story.timers.iter().enumerate();
        let first = timers.min_by_key(|(_, timer)| (timer.waker != waker, timer.due));
        let place = first.map(|(place, _)| place)?;
        Some(self.story.timers.remove(place))
    }

    /// The task whose waker a timer has; if that waker is not a task's own, the task that set it.
    fn task_of(&self, timer: Option<&Timer>) -> Option<Arc<Task>> {
        let waker = self.values.waker;
        let owner = self.story.owner(waker).and_then(|number| self.story.task(number));
        let own = timer.filter(|timer| timer.waker == waker);
        owner.or_else(|| own.and_then(|timer| timer.task.clone()))
    }

    fn timer_fired(&mut self) {
        let waker = self.values.waker;
        let timer = self.take_timer();
        let wait = self.thread().wait.map(|(number, _)| number);
        let causes = timer.iter().map(|timer| timer.by).chain(wait).collect();
        let task = self.task_of(timer.as_ref());
        let left = task.as_ref().and_then(|task| self.story.tasks.get(&task.number));
        let left = left.map(|known| known.left_waker);
        let event = self.event_of(Actor::Reactor, Kind::TimerFired, causes);
        let number = self.push_event(Event { task, ..event });
        let kept = match timer {
            Some(timer) if timer.waker == waker => Some(timer.by),
            other => left.or(other.map(|timer| timer.by)),
        };
        self.take(number, kept.into_iter().map(|by| Kept { waker, by }).collect());
    }

    fn timer_dropped(&mut self) {
        let cause = self.in_poll();
        let timer = self.take_timer();
        let task = self.task_of(timer.as_ref());
        let event = self.event_of(Actor::Reactor, Kind::TimerDropped, vec![cause]);
        self.push_event(Event { task, ..event });
    }

    fn job_submitted(&mut self) {
        let cause = self.poll_itself();
        let (token, since) = (self.values.job, self.tape.next_number());
        let job = Arc::new(Source { token, since, kind: JOB.to_owned(), peer: String::new() });
        self.push_job(job.clone(), Kind::JobSubmitted, cause);
        self.story.jobs.push(KnownJob { job, kept: None });
    }

    fn job_awaited(&mut self) {
        let cause = self.poll_itself();
        // The job may be done by now, on its thread.
        let Some(place) = self.place_of_the_job() else { return };
        let job = self.story.jobs[place].job.clone();
        self.values.direction = Some(Direction::Read);
        let by = self.push_job(job, Kind::Store { beside: None }, cause);
        self.story.jobs[place].kept = Some(Kept { waker: self.values.waker, by });
        self.arrange(by);
    }

    fn place_of_the_job(&self) -> Option<usize> {
        self.story.jobs.iter().position(|known| known.job.token == self.values.job)
    }

    fn push_job(&mut self, job: Arc<Source>, kind: Kind, cause: u64) -> u64 {
        let actor = if kind == Kind::JobSubmitted { Actor::Task } else { Actor::Reactor };
        let (task, direction) = (self.running_task(), self.values.direction);
        let event = self.event_of(actor, kind, vec![cause]);
        self.push_event(Event { task, source: Some(job), direction, ..event })
    }

    fn job_done(&mut self) {
        let known = self.place_of_the_job().map(|place| self.story.jobs.remove(place));
        // It begins with its submission.
        let causes = known.iter().map(|known| known.job.since).collect();
        let event = self.event_of(Actor::Outside, Kind::JobDone, causes);
        let source = known.as_ref().map(|known| known.job.clone());
        let by = self.push_event(Event { source, ..event });
        let waker = self.values.waker;
        let kept = known.and_then(|known| known.kept).filter(|kept| kept.waker == waker);
        match kept {
            Some(Kept { waker, by: kept }) => {
                self.story.done.insert(self.moment.id, Taken { waker, by, kept });
            }
            None => drop(self.story.done.remove(&self.moment.id)),
        }
    }

    /// The end of the job, and the step that left the waker with it, if this thread calls that waker.
    fn causes_of_a_job(&mut self) -> Option<Vec<u64>> {
        let Taken { waker, by, kept } = self.story.done.remove(&self.moment.id)?;
        // A waker that belongs to no task may wake any task.
        let own = self.story.owner(waker).is_none_or(|owner| owner == self.values.task);
        own.then(|| vec![by, kept])
    }

    fn budget_spent(&mut self) {
        let cause = self.in_poll();
        let number = self.push_running(Actor::Task, Kind::BudgetSpent, vec![cause]);
        self.arrange(number);
    }

    fn end(&mut self, kind: impl FnOnce(u64) -> Kind) {
        let number = self.values.task;
        let cause = self.thread().last;
        let known = self.story.tasks.remove(&number);
        if let Some(known) = &known {
            self.story.owners.remove(&known.waker);
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
        let task = self.story.task(self.values.task);
        let left = self.story.tasks.get(&self.values.task).map(|known| known.left_waker);
        let event = self.event_of(Actor::Executor, Kind::Lost, left.into_iter().collect());
        self.push_event(Event { task, ..event });
    }
}
