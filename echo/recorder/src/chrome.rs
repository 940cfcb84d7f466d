//! Writes a recording in Chrome's trace event format, for Perfetto and chrome://tracing: time runs from
//! left to right, and each thread has a track.
//!
//! A poll is a slice on the track of its thread, and so is a sleep. A waiting task uses no thread, so
//! its wait is an asynchronous slice. An arrow leads from each wake to the poll that it caused, and a
//! counter shows the length of the run queue.
//!
//! Invariant: the trace is well-formed wherever the recording was cut. The slices of a track nest, each
//! slice that begins also ends, and arrows begin and end in slices.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Write};
use std::time::Duration;

use serde_json::{Value, json};

use crate::describe::{self, short};
use crate::event::{Actor, Event, Kind, Task};
use crate::json::{List, Object, to_string};
use crate::recording::Recording;

/// The process ID of all tracks, which has no meaning.
const PROCESS: u32 = 1;

/// The greatest length of the slice of a wake. It needs a slice, because an arrow can begin only in one.
const WAKE: Duration = Duration::from_micros(1);

/// Returns the recording as JSON in Chrome's trace event format.
pub fn chrome(recording: &Recording) -> String {
    to_string(|out| write_chrome(recording, out))
}

/// Writes what [`chrome`] returns, entry by entry.
///
/// The memory that it needs does not grow with the number of events.
///
/// # Errors
///
/// Returns the error of the writer.
pub fn write_chrome(recording: &Recording, out: &mut impl Write) -> io::Result<()> {
    let mut trace = Object::new(out)?;
    trace.member("displayTimeUnit", "ms")?;
    trace.member("otherData", json!({ "dropped": recording.dropped }))?;
    Trace::new(recording, trace.key("traceEvents")?)?.write(recording)?;
    trace.end()
}

struct Trace<'a, W> {
    entries: List<'a, W>,
    tracks: Tracks<'a>,
    /// The tasks that have not ended.
    tasks: BTreeMap<u64, Waiting<'a>>,
    run_queue: HashSet<u64>,
    /// The time of the last event, at which all open slices end.
    end: Duration,
}

/// One track for each name of a thread, in the order in which they appear.
struct Tracks<'a> {
    numbers: HashMap<&'a str, usize>,
    tracks: Vec<Track<'a>>,
}

#[derive(Default)]
struct Track<'a> {
    name: &'a str,
    /// The time of its last event. An event can be older than the previous one, because two threads may
    /// have the same name, and the clock is read before the recorder's lock is taken. Such an event is
    /// drawn at the time of the previous one.
    at: Duration,
    /// The end of a poll that was running when the recording began.
    cut: Option<(&'a Event, Duration)>,
    /// The event that began the running poll, or that ends it if the recording lacks the beginning.
    poll: Option<&'a Event>,
    /// A wake or a queue whose slice is still open. It ends at the next event.
    narrow: Option<(&'a Event, Duration)>,
}

/// A task between two polls.
#[derive(Default)]
struct Waiting<'a> {
    task: Option<&'a Task>,
    /// The thread of its last event.
    thread: usize,
    running: bool,
    /// The wakeups that no poll serves yet. A task that is in the run queue may also be in the inbox.
    queues: Vec<Queued>,
    /// The slices that have begun, the outer one first.
    open: Vec<String>,
    /// When the last of them began.
    at: Duration,
}

/// A wakeup: the number of its event, and the track and time at which it was drawn.
#[derive(Clone, Copy)]
struct Queued {
    number: u64,
    thread: usize,
    at: Duration,
}

impl Waiting<'_> {
    /// Takes out the wakeup that caused this event.
    fn take_cause(&mut self, event: &Event) -> Option<Queued> {
        let cause = event.causes.first()?;
        let index = self.queues.iter().position(|queued| queued.number == *cause)?;
        Some(self.queues.remove(index))
    }
}

impl<'a> Tracks<'a> {
    /// Goes through the recording once, to find the end of each poll that was running when the
    /// recording began: its slice is written first.
    fn new(events: &'a [Event]) -> Tracks<'a> {
        let mut tracks = Tracks { numbers: HashMap::new(), tracks: Vec::new() };
        let mut begun: Vec<bool> = Vec::new();
        for event in events {
            let number = tracks.number_or_new(&event.thread);
            begun.resize(tracks.tracks.len(), false);
            let at = tracks.tracks[number].at.max(event.at);
            tracks.tracks[number].at = at;
            if !begun[number] {
                let ends = matches!(event.kind, Kind::Pending | Kind::Done { .. } | Kind::Panic);
                begun[number] = ends || matches!(event.kind, Kind::Poll { .. });
                tracks.tracks[number].cut = ends.then_some((event, at));
            }
        }
        tracks.tracks.iter_mut().for_each(|track| track.at = Duration::ZERO);
        tracks
    }

    fn number_or_new(&mut self, name: &'a str) -> usize {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        self.numbers.insert(name, self.tracks.len());
        self.tracks.push(Track { name, ..Track::default() });
        self.tracks.len() - 1
    }

    fn number(&self, event: &Event) -> usize {
        self.numbers.get(&*event.thread).copied().unwrap_or_default()
    }
}

impl<'a, W: Write> Trace<'a, W> {
    fn new(recording: &'a Recording, out: &'a mut W) -> io::Result<Trace<'a, W>> {
        let ends = recording.events.iter().map(|event| match event.kind {
            Kind::Sleep { slept, .. } => event.at + slept.unwrap_or_default(),
            _ => event.at,
        });
        Ok(Trace {
            entries: List::new(out)?,
            tracks: Tracks::new(&recording.events),
            tasks: BTreeMap::new(),
            run_queue: recording.before.queued().collect(),
            end: ends.max().unwrap_or_default(),
        })
    }

    /// Goes through the events once, and writes the entries of each as soon as they are known.
    fn write(mut self, recording: &'a Recording) -> io::Result<()> {
        self.entries.item(named("process_name", 0, "the runtime"))?;
        for (thread, track) in self.tracks.tracks.iter().enumerate() {
            self.entries.item(named("thread_name", thread + 1, track.name))?;
        }
        let mut counted = Duration::ZERO;
        for (index, event) in recording.events.iter().enumerate() {
            let thread = self.tracks.number(event);
            let at = self.tracks.tracks[thread].at.max(event.at);
            self.end_narrow(thread, at)?;
            self.begin_track(thread, at)?;
            self.tracks.tracks[thread].at = at;
            self.add_event(&recording.events[index..], thread, at)?;
            self.add_wait(event, thread, at)?;
            counted = counted.max(event.at);
            self.add_run_queue(event, thread, counted)?;
        }
        for thread in 0..self.tracks.tracks.len() {
            self.end_narrow(thread, self.end)?;
        }
        for (_, mut waiting) in std::mem::take(&mut self.tasks) {
            self.end_waits(&mut waiting, self.end)?;
        }
        self.entries.end()
    }

    fn add(&mut self, at: Duration, thread: usize, mut value: Value) -> io::Result<()> {
        value["ts"] = micros(at).into();
        value["pid"] = PROCESS.into();
        value["tid"] = (thread + 1).into();
        self.entries.item(value)
    }

    fn add_slice(
        &mut self,
        thread: usize,
        (from, to): (Duration, Duration),
        name: &str,
        category: &str,
        args: Value,
    ) -> io::Result<()> {
        let dur = micros(to.saturating_sub(from));
        let slice = json!({ "ph": "X", "name": name, "cat": category, "dur": dur, "args": args });
        self.add(from, thread, slice)
    }

    /// The first event of a track may be within a poll whose beginning is missing.
    fn begin_track(&mut self, thread: usize, at: Duration) -> io::Result<()> {
        let track = &mut self.tracks.tracks[thread];
        let Some((ended, to)) = track.cut.take() else { return Ok(()) };
        track.poll = Some(ended);
        let args = json!({ "ended": ended.kind_name(), "cut": true });
        self.add_slice(thread, (at, to), &name(ended.task.as_deref()), "poll", args)
    }

    /// Writes the first of these events, which is a poll, a sleep or an act.
    fn add_event(&mut self, events: &'a [Event], thread: usize, at: Duration) -> io::Result<()> {
        let event = &events[0];
        let poll = self.tracks.tracks[thread].poll;
        match &event.kind {
            Kind::Poll { .. } => {
                self.tracks.tracks[thread].poll = Some(event);
                self.add_poll(events, thread, at)
            }
            _ if ends(event, poll) => {
                self.tracks.tracks[thread].poll = None;
                Ok(())
            }
            Kind::Sleep { slept, .. } => self.add_sleep(events, *slept, thread, at),
            Kind::Wake | Kind::Queue { .. } => {
                self.tracks.tracks[thread].narrow = Some((event, at));
                Ok(())
            }
            _ => self.add_act(event, thread, at),
        }
    }

    /// The slice of a poll is written before the slices that it encloses, so this looks ahead for its
    /// end. The end is near, because nothing else runs on this thread before it.
    fn add_poll(&mut self, events: &[Event], thread: usize, at: Duration) -> io::Result<()> {
        let poll = &events[0];
        let mut args = args(poll);
        if let Kind::Poll { nth } = poll.kind {
            args["nth"] = nth.into();
        }
        let mut to = at;
        let own = events[1..].iter().filter(|event| event.thread == poll.thread);
        let last = own
            .inspect(|event| to = to.max(event.at))
            .find(|event| ends(event, Some(poll)) || matches!(event.kind, Kind::Poll { .. }));
        match last {
            Some(last) if ends(last, Some(poll)) => args["ended"] = last.kind_name().into(),
            Some(_) => {}
            None => to = self.end,
        }
        self.add_slice(thread, (at, to), &name(poll.task.as_deref()), "poll", args)
    }

    fn add_sleep(
        &mut self,
        events: &[Event],
        slept: Option<Duration>,
        thread: usize,
        at: Duration,
    ) -> io::Result<()> {
        let event = &events[0];
        let is_last = || events[1..].iter().all(|later| later.thread != event.thread);
        let to = match slept {
            Some(slept) => at + slept,
            None if is_last() => self.end,
            None => return self.add_act(event, thread, at),
        };
        self.add_slice(thread, (at, to), "asleep in epoll_wait", "sleep", args(event))
    }

    fn add_act(&mut self, event: &Event, thread: usize, at: Duration) -> io::Result<()> {
        let act = json!({
            "ph": "i", "s": "t", "name": short(event), "cat": event.kind_name(), "args": args(event),
        });
        self.add(at, thread, act)
    }

    /// Writes the wake or queue that is still open: it ends at the next event of its thread.
    fn end_narrow(&mut self, thread: usize, next: Duration) -> io::Result<()> {
        let Some((event, at)) = self.tracks.tracks[thread].narrow.take() else { return Ok(()) };
        let to = next.min(at + WAKE);
        self.add_slice(thread, (at, to), &short(event), "wake", args(event))
    }

    /// Writes how long each task waits and how long it is in the run queue, and an arrow from the wakeup
    /// to the poll.
    fn add_wait(&mut self, event: &'a Event, thread: usize, at: Duration) -> io::Result<()> {
        let Some(number) = event.task_id() else { return Ok(()) };
        let mut waiting = self.tasks.remove(&number).unwrap_or_default();
        (waiting.task, waiting.thread) = (event.task.as_deref(), thread);
        match event.kind {
            Kind::Poll { .. } => {
                self.end_waits(&mut waiting, at)?;
                waiting.running = true;
                if let Some(queued) = waiting.take_cause(event) {
                    self.add_arrow(queued, thread, at)?;
                }
            }
            Kind::Pending => {
                self.end_waits(&mut waiting, at)?;
                waiting.running = false;
                let name = format!("{} waits", name(waiting.task));
                self.begin_wait(&mut waiting, event, name)?;
                if !waiting.queues.is_empty() {
                    self.begin_wait(&mut waiting, event, "in the run queue".to_owned())?;
                }
            }
            Kind::Queue { .. } => {
                waiting.queues.push(Queued { number: event.number, thread, at });
                if !waiting.running {
                    self.begin_wait(&mut waiting, event, "in the run queue".to_owned())?;
                }
            }
            // The executor has received a wakeup that no poll serves.
            Kind::QueuedAlready if event.actor == Actor::Executor => {
                waiting.take_cause(event);
            }
            Kind::Done { .. } | Kind::Abort | Kind::Panic => {
                return self.end_waits(&mut waiting, at);
            }
            _ => {}
        }
        self.tasks.insert(number, waiting);
        Ok(())
    }

    fn begin_wait(
        &mut self,
        waiting: &mut Waiting<'_>,
        event: &Event,
        name: String,
    ) -> io::Result<()> {
        // Another thread may have read the clock earlier, and recorded its event later.
        waiting.at = event.at.max(waiting.at);
        let begin = json!({
            "ph": "b", "cat": "task", "id": id(waiting.task), "name": name, "args": args(event),
        });
        waiting.open.push(name);
        self.add(waiting.at, waiting.thread, begin)
    }

    fn end_waits(&mut self, waiting: &mut Waiting<'_>, at: Duration) -> io::Result<()> {
        let at = at.max(waiting.at);
        while let Some(name) = waiting.open.pop() {
            let end = json!({ "ph": "e", "cat": "task", "id": id(waiting.task), "name": name });
            self.add(at, waiting.thread, end)?;
        }
        Ok(())
    }

    /// Writes an arrow from the event that queued a task to its poll.
    fn add_arrow(&mut self, queued: Queued, thread: usize, at: Duration) -> io::Result<()> {
        let number = queued.number;
        let arrow = |ph| json!({ "ph": ph, "cat": "wake", "id": number, "name": "wake" });
        self.add(queued.at, queued.thread, arrow("s"))?;
        let mut end = arrow("f");
        // Bind the arrow to the slice that encloses its end, and not to the next slice.
        end["bp"] = "e".into();
        self.add(at, thread, end)
    }

    fn add_run_queue(&mut self, event: &Event, thread: usize, at: Duration) -> io::Result<()> {
        let Some(task) = event.task_id() else { return Ok(()) };
        let changed = match event.kind {
            Kind::Queue { .. } => self.run_queue.insert(task),
            // Another wakeup of the task may be in the inbox.
            Kind::Poll { .. }
                if self.tasks.get(&task).is_some_and(|task| !task.queues.is_empty()) =>
            {
                false
            }
            Kind::Poll { .. } | Kind::Done { .. } | Kind::Abort | Kind::Panic => {
                self.run_queue.remove(&task)
            }
            _ => false,
        };
        if !changed {
            return Ok(());
        }
        let args = json!({ "tasks": self.run_queue.len() });
        self.add(at, thread, json!({ "ph": "C", "name": "run queue", "args": args }))
    }
}

/// Whether this event ends `poll`. A task can also be aborted within another task's poll.
fn ends(event: &Event, poll: Option<&Event>) -> bool {
    let ending =
        matches!(event.kind, Kind::Pending | Kind::Done { .. } | Kind::Abort | Kind::Panic);
    ending && poll.is_some_and(|poll| poll.task_id() == event.task_id())
}

fn named(what: &str, thread: usize, name: &str) -> Value {
    json!({ "ph": "M", "name": what, "pid": PROCESS, "tid": thread, "args": { "name": name } })
}

/// Returns the arguments that identify the step of an entry.
fn args(event: &Event) -> Value {
    json!({ "step": event.number, "causes": event.causes })
}

/// `task 2 "echo"`.
fn name(task: Option<&Task>) -> String {
    task.map_or("a task".to_owned(), |task| describe::named(Some(task)))
}

fn id(task: Option<&Task>) -> String {
    task.map_or(String::new(), |task| task.id.to_string())
}

/// Returns microseconds, exact to the nanosecond.
fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}
