//! What a recording consists of: events, and the tasks and sources that they are about.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// One step of a run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// Its place in the order of all events; 0 is the start of the recording.
    pub number: u64,
    /// Since the start of the recording.
    pub at: Duration,
    /// The thread that it happened on.
    pub thread: Arc<str>,
    /// Who did it.
    pub actor: Actor,
    /// What happened.
    pub kind: Kind,
    /// The task that it is about.
    pub task: Option<Arc<Task>>,
    /// The source that it is about.
    pub source: Option<Arc<Source>>,
    /// The direction of that source.
    pub direction: Option<Direction>,
    /// The events that made this one happen, the nearest cause first. 0 is the start.
    pub causes: Vec<u64>,
    /// The file and the line of the record; both empty for what is not of the runtime. A file of the
    /// runtime has its path in the runtime's repository, such as `reactor/src/source.rs`, wherever
    /// the runtime was built.
    pub file: &'static str,
    /// See [`file`](Event::file).
    pub line: u32,
}

/// Who did something: the layers of the story, from the top to the bottom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The code of a task, within a poll.
    Task,
    /// The loop that takes tasks from the run queue and polls them.
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

/// A task, as its `spawn` record tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Task {
    /// Its number, which is never given again.
    pub number: u64,
    /// Its name; may be empty.
    pub name: String,
    /// The place of its spawn: `file:line:column`.
    pub place: String,
}

impl Task {
    /// The place of its spawn without the column, which nobody looks at: `file:line`.
    pub fn line(&self) -> &str {
        self.place.rsplit_once(':').map_or(self.place.as_str(), |(line, _)| line)
    }
}

/// A source, as its `register` record tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Source {
    /// The token that the kernel hands back with each event; it is given again later. A job has its
    /// number here, which is never reused.
    pub token: usize,
    /// Different for each life of the token: the event that began it.
    pub since: u64,
    /// What it is: `listener`, `connection`, `signal`, `job` or the name of a type.
    pub kind: String,
    /// The other end, if there is one; else empty.
    pub peer: String,
}

/// A direction of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// For reading and accepting. It is the only direction of a job.
    Read,
    /// For writing and connecting.
    Write,
}

impl Direction {
    /// The word for it.
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
        /// By the task that ran then.
        by: Option<u64>,
    },
    /// The kernel watches a new source.
    Register,
    /// It no longer does.
    Deregister,
    /// A task was taken from the run queue and is polled, for the n-th time.
    Poll {
        /// 1 is the first time.
        nth: u64,
    },
    /// A task tried an operation.
    Try {
        /// The name of the operation: `accept`, `read`, `write`.
        operation: Arc<str>,
        /// What came of it.
        outcome: Outcome,
    },
    /// A waker was left with a source, or with a job.
    Store {
        /// The task whose waker was there already.
        beside: Option<u64>,
    },
    /// A task returned `Pending`.
    Pending,
    /// The thread waits in `epoll_wait`.
    Sleep {
        /// At most for so long; `None` is without limit.
        limit: Option<Duration>,
        /// How long it was asleep, so far as is known; `None`, if the kernel had something to say at
        /// once.
        slept: Option<Duration>,
    },
    /// The reactor asks for events, and does not wait.
    Look,
    /// A client or another thread did something.
    Outside {
        /// What, as a verb with its object: `sends 1 byte`.
        act: String,
    },
    /// The kernel reported readiness.
    Event {
        /// All that it said: it repeats what was so before.
        readiness: Readiness,
        /// The part of it that is news: or all, if none is.
        news: Readiness,
        /// Tasks whose wakers it took out of the source.
        takes: Vec<u64>,
        /// How many wakers it took out beside these, which are no task's own: a future that polls
        /// several others leaves such ones.
        others: usize,
    },
    /// `wake()` was called.
    Wake,
    /// A task was put into the run queue; or, by another thread, into the inbox.
    Queue {
        /// Who put it there.
        by: By,
    },
    /// A task that was woken is in the run queue already.
    QueuedAlready,
    /// Another thread ended the wait.
    Notified,
    /// A task asked to be woken later.
    TimerSet {
        /// From now on.
        after: Duration,
    },
    /// The time has come.
    TimerFired,
    /// The timer is no longer needed.
    TimerDropped,
    /// A job went to the pool.
    JobSubmitted,
    /// The job has ended, on the thread of the pool.
    JobDone,
    /// The task did as much as one poll may, or as it wanted, and yields.
    BudgetSpent,
    /// A task has ended, with this many bytes written.
    Done {
        /// To all of its sources.
        written: u64,
    },
    /// A task was aborted.
    Abort,
    /// A task panicked.
    Panic,
    /// Nothing can wake a task any more.
    Lost,
}

/// Who puts a task into the run queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Its spawn: this is its first time.
    Spawn,
    /// A `wake` of the reactor.
    Reactor,
    /// A task that called the waker: itself, or another one.
    Task,
    /// Another thread, through the inbox.
    Thread,
}

/// What came of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing: it would have had to wait.
    WouldBlock,
    /// A result without a size.
    Works,
    /// A connection from this peer.
    Accepted(String),
    /// So many bytes.
    Bytes(u64),
    /// So many bytes, which were fewer than asked for: the source is not ready any more.
    Short(u64),
    /// No more bytes, ever.
    EndOfFile,
    /// An error, by its kind.
    Fails(String),
}

/// What the kernel reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Readiness {
    /// There may be something to read.
    pub readable: bool,
    /// There may be room to write.
    pub writable: bool,
    /// The other side will send no more.
    pub read_closed: bool,
    /// Writing is over.
    pub write_closed: bool,
    /// The source has failed.
    pub error: bool,
}

impl Readiness {
    /// Whether it concerns this direction.
    pub fn concerns(self, direction: Direction) -> bool {
        match direction {
            Direction::Read => self.readable || self.read_closed || self.error,
            Direction::Write => self.writable || self.write_closed || self.error,
        }
    }
}

impl Readiness {
    /// Whether it is the last news of this direction.
    pub(crate) fn ends(self, direction: Direction) -> bool {
        match direction {
            Direction::Read => self.read_closed || self.error,
            Direction::Write => self.write_closed || self.error,
        }
    }

    /// Without what concerns only directions that were ready before.
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
        let said: Vec<_> = words.iter().filter(|(said, _)| *said).map(|(_, word)| *word).collect();
        f.write_str(&said.join(" and "))
    }
}

impl Event {
    /// The number of the task that it is about.
    pub fn task_number(&self) -> Option<u64> {
        self.task.as_ref().map(|task| task.number)
    }

    /// The stable name of its kind: what `kind` says in a file of events.
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
    /// How many wakers a report of the kernel took out of the source.
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
    /// The waker was called where no record of its own tells of it.
    pub(crate) fn is_wake_without_record(self) -> bool {
        matches!(self, By::Task | By::Thread)
    }
}
