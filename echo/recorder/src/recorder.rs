//! The logger that records the runtime.

use std::cell::OnceCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use log::{LevelFilter, Log, Metadata, Record, SetLoggerError};

use crate::correlate::{Correlator, Origin};
use crate::event::{Actor, Event, Kind};
use crate::event_buffer::EventBuffer;
use crate::explain::Explain;
use crate::record::{NOTE, OUTSIDE, Values, concerns};
use crate::recording::Recording;
use crate::slow_polls::SlowPolls;
use crate::source_files::known_path;
use crate::stack::{Stacks, capture};

/// A logger that records the runtime, and passes all log records on to the logger that it wraps.
///
/// The recorder keeps the last events of one executor. The thread that logs does the work, which takes
/// about a microsecond for each event and makes no system call. If the recorder captures stacks, it takes
/// tens of microseconds.
pub struct Recorder {
    inner: Box<dyn Log>,
    is_recording: bool,
    captures_stacks: bool,
    slow_polls: Option<SlowPolls>,
    shared: Mutex<Shared>,
}

/// The recording and the state of its correlator.
struct Shared {
    correlator: Correlator,
    buffer: EventBuffer,
    stacks: Stacks,
    began: Instant,
    explain: Option<Explain>,
    /// Set by `finish`, after which nothing is recorded.
    finished: bool,
}

/// What a recorder does in addition to passing records on.
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
    /// The number of last events to keep; 0 records nothing.
    pub events: usize,
    /// Whether to capture the stack of each event, so that a page can show the line of the program at
    /// which each task stands. Capturing a stack takes tens of microseconds.
    pub stacks: bool,
    /// Reports polls that take too long.
    pub slow_polls: Option<SlowPolls>,
    /// Prints the ladder while the program runs.
    pub explain: Option<Explain>,
}

impl Options {
    /// Returns options that record, and keep the last `events` events.
    pub fn recording(events: usize) -> Options {
        Options { events, ..Options::default() }
    }

    /// Whether these options need no recorder.
    pub fn is_idle(&self) -> bool {
        self.events == 0 && self.slow_polls.is_none() && self.explain.is_none()
    }

    /// Returns the number of events to keep. `explain` needs the events since the last sleep.
    fn capacity(&self) -> usize {
        if self.explain.is_some() { self.events.max(EXPLAINED) } else { self.events }
    }
}

thread_local! {
    static NAME: OnceCell<Arc<str>> = const { OnceCell::new() };
}

impl Recorder {
    /// Makes a recorder the logger of the process. `level` is the maximum level of the logger that it
    /// wraps.
    ///
    /// # Errors
    ///
    /// Returns an error if the process already has a logger.
    pub fn install(
        inner: Box<dyn Log>,
        level: LevelFilter,
        options: Options,
    ) -> Result<&'static Recorder, SetLoggerError> {
        let is_recording = options.events > 0 || options.explain.is_some();
        let needs_all = is_recording || options.slow_polls.is_some();
        let shared = Shared {
            correlator: Correlator::default(),
            buffer: EventBuffer::new(options.capacity()),
            stacks: Stacks::default(),
            began: Instant::now(),
            explain: options.explain,
            finished: false,
        };
        let (captures_stacks, slow_polls) = (options.stacks, options.slow_polls);
        let shared = Mutex::new(shared);
        let recorder = Recorder { inner, is_recording, captures_stacks, slow_polls, shared };
        // A logger lives as long as the process.
        let recorder: &'static Recorder = Box::leak(Box::new(recorder));
        log::set_logger(recorder)?;
        log::set_max_level(if needs_all { LevelFilter::Trace } else { level });
        Ok(recorder)
    }

    /// Starts a new recording. Earlier events are not part of it, but the state to which they led is.
    pub fn start(&self) {
        let mut shared = self.lock();
        let elapsed = std::mem::replace(&mut shared.began, Instant::now()).elapsed();
        let at = Duration::ZERO;
        let start = Event {
            number: shared.buffer.next_number(),
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
            stack: None,
        };
        let is_idle = shared.correlator.is_idle(thread::current().id());
        shared.buffer.start(start, elapsed, is_idle);
        shared.correlator.start();
    }

    /// Returns what was recorded since the last start.
    pub fn recording(&self) -> Recording {
        let mut shared = self.lock();
        let Shared { correlator, buffer, began, .. } = &mut *shared;
        correlator.update_sleeps(began.elapsed(), buffer);
        Recording::of(buffer)
    }

    /// Ends the recording and returns it. Nothing is recorded afterwards.
    ///
    /// Unlike [`recording`](Recorder::recording), this does not copy the events, which may fill most
    /// of the memory.
    pub fn finish(&self) -> Recording {
        let mut shared = self.lock();
        let Shared { correlator, buffer, began, finished, .. } = &mut *shared;
        correlator.update_sleeps(began.elapsed(), buffer);
        *finished = true;
        Recording::taken_from(buffer)
    }

    /// Blocks until the last event is a sleep of the executor's thread, but no longer than `limit`.
    ///
    /// A client calls this before it acts, so that the events of its previous act are complete.
    pub fn wait_until_asleep(&self, limit: Duration) {
        let began = Instant::now();
        while !self.lock().buffer.is_asleep() && began.elapsed() < limit {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ignores poisoning: only a failed allocation can panic under the lock, and the events before that
    /// are intact.
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, record: &Record<'_>) {
        let now = Instant::now();
        let values = Values::of(record);
        let text = record.args().to_string();
        let thread = name_of_this_thread();
        // Before the lock, because other threads log, too.
        let addresses = self.captures_stacks.then(capture);
        let mut shared = self.lock();
        if shared.finished {
            return;
        }
        let Shared { correlator, buffer, stacks, began, explain, .. } = &mut *shared;
        let origin = Origin {
            at: now.saturating_duration_since(*began),
            id: thread::current().id(),
            thread: &thread,
            file: known_path(
                record.module_path().unwrap_or_default(),
                record.file_static().unwrap_or_default(),
            ),
            line: record.line().unwrap_or_default(),
            stack: addresses.map(|addresses| stacks.intern(&addresses)),
        };
        match record.target() {
            OUTSIDE => correlator.outside(text, values, &origin, buffer),
            NOTE => correlator.note(text, &origin, buffer),
            _ => correlator.record(&text, values, &origin, buffer),
        }
        if let Some(explain) = explain {
            explain.update(buffer);
        }
    }
}

/// The least number of events to keep for `explain`.
const EXPLAINED: usize = 4096;

impl Log for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        (self.is_recording && concerns(metadata))
            || self.slow_polls.as_ref().is_some_and(|slow| slow.concerns(metadata))
            || self.inner.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.is_recording && concerns(record.metadata()) {
            self.record(record);
        }
        if let Some(slow) = &self.slow_polls
            && slow.concerns(record.metadata())
            && let Some(report) = slow.observe(record)
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
