//! The parts of a recording: events, and the tasks and sources that they concern.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::stack::Stack;

/// One step of a run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// The position in the order of all events; 0 is the start of the recording.
    pub number: u64,
    /// The time since the start of the recording.
    pub at: Duration,
    /// The name of the thread on which it happened.
    pub thread: Arc<str>,
    /// The component that acted.
    pub actor: Actor,
    /// What happened.
    pub kind: Kind,
    /// The task that it concerns.
    pub task: Option<Arc<Task>>,
    /// The source that it concerns.
    pub source: Option<Arc<Source>>,
    /// The direction of that source.
    pub direction: Option<Direction>,
    /// The numbers of the events that caused this one, the nearest cause first.
    pub causes: Vec<u64>,
    /// The file of the log record; empty for the start. The path of a file of the runtime is relative to
    /// the runtime's repository, e.g. `reactor/src/source.rs`, wherever the runtime was built.
    pub file: &'static str,
    /// The line of the log record in [`file`](Event::file); 0 for the start.
    pub line: u32,
    /// The stack on which the record was logged, if the recorder captures stacks.
    pub(crate) stack: Option<Stack>,
}

/// The component that acted, from the layer nearest to the user's code down to the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The code of a task, within a poll.
    Task,
    /// The executor's loop, which takes tasks from the run queue and polls them.
    Executor,
    /// The run queue.
    Queue,
    /// The reactor.
    Reactor,
    /// The kernel.
    Kernel,
    /// A client, or another thread.
    Outside,
}

/// A task, as its `spawn` record describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Task {
    /// The task ID. An executor never reuses an ID.
    pub id: u64,
    /// The name; may be empty.
    pub name: String,
    /// Where it was spawned: `file:line:column`.
    pub location: String,
}

impl Task {
    /// Returns where it was spawned, without the column: `file:line`.
    pub fn line(&self) -> &str {
        self.location.rsplit_once(':').map_or(self.location.as_str(), |(line, _)| line)
    }
}

/// A source, as its `register` record describes it, or a job of the blocking pool. A job is recorded
/// as a source that becomes ready when its result is there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Source {
    /// The token that the kernel returns with each event. The reactor reuses tokens. For a job, this is
    /// its number, which is never reused.
    pub token: usize,
    /// The number of the event that registered it. Unlike the token, it identifies the source.
    pub since: u64,
    /// What it is: `listener`, `connection`, `signal`, `job` or the name of a type.
    pub kind: String,
    /// The address of the peer; empty if there is none or it is unknown.
    pub peer: String,
}

/// The kind of a source that accepts connections.
pub(crate) const LISTENER: &str = "listener";

/// The kind of a job of the pool.
pub(crate) const JOB: &str = "job";

impl Source {
    pub(crate) fn is_listener(&self) -> bool {
        self.kind == LISTENER
    }

    pub(crate) fn is_job(&self) -> bool {
        self.kind == JOB
    }
}

/// A direction of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Reading and accepting. A job has only this direction.
    Read,
    /// Writing and connecting.
    Write,
}

impl Direction {
    /// Returns `read` or `write`.
    pub fn name(self) -> &'static str {
        match self {
            Direction::Read => "read",
            Direction::Write => "write",
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The recording begins.
    Start,
    /// A task was spawned.
    Spawn {
        /// The task that was being polled.
        by: Option<u64>,
    },
    /// The reactor registered a source with the kernel.
    Register,
    /// The reactor deregistered a source.
    Deregister,
    /// The executor took a task from the run queue and polls it.
    Poll {
        /// 1 for the first poll of the task.
        nth: u64,
    },
    /// A task tried an operation.
    Try {
        /// The name of the operation: `accept`, `read`, `write`.
        operation: Arc<str>,
        /// The result.
        outcome: Outcome,
    },
    /// A waker was stored in a source or in a job.
    Store {
        /// A task whose waker was already stored there.
        beside: Option<u64>,
    },
    /// A task returned `Pending`.
    Pending,
    /// The thread waits in `epoll_wait`.
    Sleep {
        /// The timeout, if there is one.
        limit: Option<Duration>,
        /// How long the thread has slept so far; `None` if `epoll_wait` returned immediately.
        slept: Option<Duration>,
    },
    /// The reactor checks for events without waiting.
    Look,
    /// A client or another thread acted.
    Outside {
        /// A verb with its object: `sends 1 byte`.
        act: String,
    },
    /// The program logged a note about the statement that it is about to execute.
    Note {
        /// The text of the note.
        text: String,
    },
    /// The kernel reported that a source is ready.
    Event {
        /// The whole report, which repeats what was ready before.
        readiness: Readiness,
        /// The part of the report that is new; or all of it if no part is new.
        news: Readiness,
        /// The tasks whose wakers the reactor took out of the source.
        takes: Vec<u64>,
        /// The number of custom wakers that the reactor took out. A future that polls several others
        /// makes such wakers, and they belong to no known task.
        others: usize,
    },
    /// The reactor called a waker.
    Wake,
    /// A task was put into the run queue, or a wakeup by another thread into the inbox.
    Queue {
        /// What put it there.
        by: By,
    },
    /// A task was woken that is already in the run queue.
    QueuedAlready,
    /// A notification from another thread ended `epoll_wait`.
    Notified,
    /// A task set a timer.
    TimerSet {
        /// The time from now to the deadline.
        after: Duration,
    },
    /// A timer expired.
    TimerFired,
    /// A timer was dropped before it expired.
    TimerDropped,
    /// A job was submitted to the pool.
    JobSubmitted,
    /// A thread of the pool completed a job.
    JobDone,
    /// A task yields, because its budget is used up or because it chose to.
    BudgetSpent,
    /// A task returned `Ready`.
    Done {
        /// The number of bytes that it has written to all sources.
        written: u64,
    },
    /// A task was aborted.
    Abort,
    /// A task panicked.
    Panic,
    /// A task became lost: nothing can wake it.
    Lost,
}

/// What puts a task into the run queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Its spawn, for its first poll.
    Spawn,
    /// A waker that the reactor called.
    Reactor,
    /// A waker that a task called.
    Task,
    /// A waker that another thread called: the wakeup goes through the inbox.
    Thread,
}

/// The result of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The call would have blocked.
    WouldBlock,
    /// Success, without a number of bytes.
    Works,
    /// A connection from this peer was accepted.
    Accepted(String),
    /// This number of bytes was transferred.
    Bytes(u64),
    /// Fewer bytes than requested were transferred, so the direction is no longer ready.
    Short(u64),
    /// The end of the stream.
    EndOfFile,
    /// An error of this kind.
    Fails(String),
}

/// What the kernel reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Readiness {
    /// Reading may succeed.
    pub readable: bool,
    /// Writing may succeed.
    pub writable: bool,
    /// The peer will send no more.
    pub read_closed: bool,
    /// The peer will receive no more.
    pub write_closed: bool,
    /// The source has an error.
    pub error: bool,
}

impl Readiness {
    /// Whether the report concerns this direction.
    pub fn concerns(self, direction: Direction) -> bool {
        match direction {
            Direction::Read => self.readable || self.read_closed || self.error,
            Direction::Write => self.writable || self.write_closed || self.error,
        }
    }
}

impl Readiness {
    /// Whether this is the last report about this direction.
    pub(crate) fn ends(self, direction: Direction) -> bool {
        match direction {
            Direction::Read => self.read_closed || self.error,
            Direction::Write => self.write_closed || self.error,
        }
    }

    /// Returns the part of the report that is new, or all of it if no part is new.
    pub(crate) fn news(self, read_was_ready: bool, write_was_ready: bool) -> Readiness {
        let mut news = self;
        news.readable &= !read_was_ready;
        news.writable &= !write_was_ready;
        if news == Readiness::default() { self } else { news }
    }
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            (self.readable, "readable"),
            (self.writable, "writable"),
            (self.read_closed || self.write_closed, "closed"),
            (self.error, "in error"),
        ];
        let words = words.iter().filter(|(is_set, _)| *is_set).map(|(_, word)| *word);
        f.write_str(&words.collect::<Vec<_>>().join(" and "))
    }
}

impl Event {
    /// Returns the ID of the task that it concerns.
    pub fn task_id(&self) -> Option<u64> {
        self.task.as_ref().map(|task| task.id)
    }

    /// Returns the name of its kind, which is `kind` in the lines of JSON.
    pub fn kind_name(&self) -> &'static str {
        match &self.kind {
            Kind::Start => "start",
            Kind::Spawn { .. } => "spawn",
            Kind::Register => "register",
            Kind::Deregister => "deregister",
            Kind::Poll { .. } => "poll",
            Kind::Try { outcome, .. } => outcome.kind_name(),
            Kind::Store { .. } => "store",
            Kind::Pending => "pending",
            Kind::Sleep { .. } => "sleep",
            Kind::Look => "look",
            Kind::Outside { .. } => "outside",
            Kind::Note { .. } => "note",
            Kind::Event { .. } => "event",
            Kind::Wake => "wake",
            Kind::Queue { .. } => "queue",
            Kind::QueuedAlready => "queued already",
            Kind::Notified => "notified",
            Kind::TimerSet { .. } => "timer set",
            Kind::TimerFired => "timer fired",
            Kind::TimerDropped => "timer dropped",
            Kind::JobSubmitted => "job submitted",
            Kind::JobDone => "job done",
            Kind::BudgetSpent => "budget spent",
            Kind::Done { .. } => "done",
            Kind::Abort => "abort",
            Kind::Panic => "panic",
            Kind::Lost => "lost",
        }
    }
}

impl Kind {
    /// Returns how many wakers the reactor took out of the source for this event.
    pub(crate) fn wakers_taken(&self) -> usize {
        match self {
            Kind::Event { takes, others, .. } => takes.len() + others,
            _ => 0,
        }
    }
}

impl Outcome {
    fn kind_name(&self) -> &'static str {
        match self {
            Outcome::WouldBlock => "would block",
            Outcome::Works | Outcome::Accepted(_) | Outcome::Bytes(_) => "try",
            Outcome::Short(_) => "short",
            Outcome::EndOfFile => "end of file",
            Outcome::Fails(_) => "fails",
        }
    }
}

impl By {
    /// Whether the waker was called without a `wake` record.
    pub(crate) fn is_wake_without_record(self) -> bool {
        matches!(self, By::Task | By::Thread)
    }
}
