//! The logger that listens to the runtime.

use std::cell::OnceCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use log::{LevelFilter, Log, Metadata, Record, SetLoggerError};

use crate::event::{Actor, Event, Kind};
use crate::explain::Explain;
use crate::files::known_path;
use crate::record::{OUTSIDE, Values, concerns};
use crate::recording::Recording;
use crate::slow::SlowPolls;
use crate::story::{Moment, Story};
use crate::tape::Tape;

/// Listens to the records of the runtime, and passes all records on to the logger that it wraps.
///
/// It keeps the last events of the run of one executor. The thread that logs does all the work: a
/// microsecond for an event, and no system call.
pub struct Recorder {
    inner: Box<dyn Log>,
    listening: bool,
    slow_polls: Option<SlowPolls>,
    told: Mutex<Told>,
}

/// What was recorded.
struct Told {
    story: Story,
    tape: Tape,
    began: Instant,
    explain: Option<Explain>,
    /// Set by `finish`: nothing is recorded anymore.
    finished: bool,
}

/// What a recorder does beside passing records on.
///
/// # Examples
///
/// ```
/// use recorder::{Options, SlowPolls};
/// use std::time::Duration;
///
/// let mut options = Options::recording(10_000);
/// options.slow_polls = Some(SlowPolls::new(Duration::from_millis(10)));
/// assert!(!options.is_idle() && Options::default().is_idle());
/// ```
#[derive(Default)]
#[non_exhaustive]
pub struct Options {
    /// How many of the last events to keep; 0 records nothing.
    pub events: usize,
    /// Report polls that held the thread for longer than this.
    pub slow_polls: Option<SlowPolls>,
    /// Tell the connections of the run here, as a ladder.
    pub explain: Option<Explain>,
}

impl Options {
    /// Returns options that record, and keep the last `events` events.
    pub fn recording(events: usize) -> Options {
        Options { events, ..Options::default() }
    }

    /// Nothing is asked for: then the wrapped logger does as well alone.
    pub fn is_idle(&self) -> bool {
        self.events == 0 && self.slow_polls.is_none() && self.explain.is_none()
    }

    /// Events to keep: who tells live must not miss what happens between two sleeps.
    fn room(&self) -> usize {
        if self.explain.is_some() { self.events.max(LIVE) } else { self.events }
    }
}

thread_local! {
    static NAME: OnceCell<Arc<str>> = const { OnceCell::new() };
}

impl Recorder {
    /// Makes a recorder the logger of the process. `level` is that of the logger which it wraps.
    ///
    /// # Errors
    ///
    /// When the process has a logger already.
    pub fn install(
        inner: Box<dyn Log>,
        level: LevelFilter,
        options: Options,
    ) -> Result<&'static Recorder, SetLoggerError> {
        let listening = options.events > 0 || options.explain.is_some();
        let needs_all = listening || options.slow_polls.is_some();
        let told = Told {
            story: Story::default(),
            tape: Tape::new(options.room()),
            began: Instant::now(),
            explain: options.explain,
            finished: false,
        };
        let recorder =
            Recorder { inner, listening, slow_polls: options.slow_polls, told: Mutex::new(told) };
        // A logger lives as long as the process.
        let recorder: &'static Recorder = Box::leak(Box::new(recorder));
        log::set_logger(recorder)?;
        log::set_max_level(if needs_all { LevelFilter::Trace } else { level });
        Ok(recorder)
    }

    /// Begins anew: what was recorded so far is known, but not told.
    pub fn start(&self) {
        let mut told = self.told();
        told.began = Instant::now();
        let at = Duration::ZERO;
        let start = Event {
            number: told.tape.next_number(),
            at,
            thread: name_of_this_thread(),
            actor: Actor::Executor,
            kind: Kind::Start,
            task: None,
            source: None,
            direction: None,
            causes: Vec::new(),
            file: "",
            line: 0,
        };
        told.tape.start(start);
        told.story.start();
    }

    /// What was recorded since the last start, up to now.
    pub fn recording(&self) -> Recording {
        let mut told = self.told();
        let Told { story, tape, began, .. } = &mut *told;
        story.tell_sleeps(began.elapsed(), tape);
        Recording::of(tape)
    }

    /// Ends the recording and returns it. Nothing is recorded afterwards.
    ///
    /// Unlike [`recording`](Recorder::recording), this does not copy the events, which may fill most
    /// of the memory.
    pub fn finish(&self) -> Recording {
        let mut told = self.told();
        let Told { story, tape, began, finished, .. } = &mut *told;
        story.tell_sleeps(began.elapsed(), tape);
        *finished = true;
        Recording::taken_from(tape)
    }

    /// Blocks until the thread of the executor sleeps, so far as it has told; or for `limit`.
    ///
    /// For clients that act only when everything before has been done and told.
    pub fn wait_for_rest(&self, limit: Duration) {
        let began = Instant::now();
        while !self.told().tape.rests() && began.elapsed() < limit {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// No panic can happen under the lock but by lack of memory; and then what is there is as good.
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(&self, record: &Record<'_>) {
        let now = Instant::now();
        let values = Values::of(record);
        let text = record.args().to_string();
        let thread = name_of_this_thread();
        let mut told = self.told();
        if told.finished {
            return;
        }
        let Told { story, tape, began, explain, .. } = &mut *told;
        let moment = Moment {
            at: now.saturating_duration_since(*began),
            id: thread::current().id(),
            thread: &thread,
            file: known_path(
                record.module_path().unwrap_or_default(),
                record.file_static().unwrap_or_default(),
            ),
            line: record.line().unwrap_or_default(),
        };
        if record.target() == OUTSIDE {
            story.outside(text, values.peer, &moment, tape);
        } else {
            story.tell(&text, values, &moment, tape);
        }
        if let Some(explain) = explain {
            explain.follow(tape);
        }
    }
}

/// Events that are kept for those who only listen live.
const LIVE: usize = 4096;

impl Log for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        (self.listening && concerns(metadata))
            || self.slow_polls.as_ref().is_some_and(|slow| slow.concerns(metadata))
            || self.inner.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.listening && concerns(record.metadata()) {
            self.listen(record);
        }
        if let Some(slow) = &self.slow_polls
            && slow.concerns(record.metadata())
            && let Some(report) = slow.listen(record)
        {
            log::warn!("{report}");
        }
        if self.inner.enabled(record.metadata()) {
            self.inner.log(record);
        }
    }

    fn flush(&self) {
        self.inner.flush();
    }
}

fn name_of_this_thread() -> Arc<str> {
    let name = || {
        let thread = thread::current();
        match thread.name() {
            Some(name) => Arc::from(name),
            None => Arc::from(format!("{:?}", thread.id())),
        }
    };
    NAME.try_with(|known| known.get_or_init(name).clone()).unwrap_or_else(|_| name())
}
