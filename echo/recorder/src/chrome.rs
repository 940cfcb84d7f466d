//! A recording in Chrome's trace event format, for Perfetto and chrome://tracing: time from left to
//! right, and a track for each thread.
//!
//! A poll is a slice of its thread, and so is a sleep. What a task waits for is no thread's time, so
//! waiting is an asynchronous slice. An arrow leads from each wake to the poll that it brought
//! about, and a counter tells how long the run queue is.
//!
//! Invariant: the trace is well-formed, wherever the recording was cut: slices of a track nest, what
//! begins ends, and arrows begin and end in slices.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use serde_json::{Value, json};

use crate::event::{Event, Kind, Task};
use crate::recording::Recording;
use crate::words::{self, short};

/// All tracks are of one process, whose number nobody needs.
const PROCESS: u32 = 1;

/// How wide a wake is drawn, at most: an arrow can begin only in a slice.
const WAKE: Duration = Duration::from_micros(1);

/// The recording as JSON in Chrome's trace event format.
pub fn chrome(recording: &Recording) -> String {
    let mut trace = Trace::new(recording);
    let mut tracks: Vec<Vec<&Event>> = vec![Vec::new(); trace.threads.len()];
    for event in &recording.events {
        tracks[trace.thread(event)].push(event);
    }
    for track in &mut tracks {
        // The clock is read before the recorder's lock is taken.
        track.sort_by_key(|event| event.at);
        trace.add_slices(track);
    }
    trace.add_waits(recording);
    trace.add_arrows(recording);
    trace.add_run_queue(recording);
    trace.json(recording.dropped)
}

/// One entry, and what it is sorted by.
struct Entry {
    at: Duration,
    length: Duration,
    value: Value,
}

struct Trace<'a> {
    /// Their names, in the order in which they appear.
    threads: Vec<&'a str>,
    entries: Vec<Entry>,
    /// When the last event happened: what is not over then ends here.
    end: Duration,
}

/// A task between two polls.
#[derive(Default)]
struct Waiting<'a> {
    task: Option<&'a Task>,
    /// The thread that last told of it.
    thread: usize,
    running: bool,
    queued: bool,
    /// The slices that have begun, the outer one first.
    open: Vec<String>,
    /// When the last of them began.
    at: Duration,
}

impl<'a> Trace<'a> {
    fn new(recording: &'a Recording) -> Trace<'a> {
        let mut threads: Vec<&str> = Vec::new();
        for event in &recording.events {
            if !threads.contains(&&*event.thread) {
                threads.push(&event.thread);
            }
        }
        let ends = recording.events.iter().map(|event| match event.kind {
            Kind::Sleep { slept, .. } => event.at + slept.unwrap_or_default(),
            _ => event.at,
        });
        let end = ends.max();
        Trace { threads, entries: Vec::new(), end: end.unwrap_or_default() }
    }

    fn thread(&self, event: &Event) -> usize {
        self.threads.iter().position(|name| **name == *event.thread).unwrap_or_default()
    }

    fn add(&mut self, at: Duration, thread: usize, mut value: Value) {
        value["ts"] = micros(at).into();
        value["pid"] = PROCESS.into();
        value["tid"] = (thread + 1).into();
        self.entries.push(Entry { at, length: Duration::ZERO, value });
    }

    fn add_slice(
        &mut self,
        thread: usize,
        from: Duration,
        to: Duration,
        name: &str,
        category: &str,
        args: Value,
    ) {
        let length = to.saturating_sub(from);
        let value = json!({
            "ph": "X", "name": name, "cat": category, "ts": micros(from), "dur": micros(length),
            "pid": PROCESS, "tid": thread + 1, "args": args,
        });
        self.entries.push(Entry { at: from, length, value });
    }

    /// The polls, sleeps and acts of one thread.
    fn add_slices(&mut self, track: &[&Event]) {
        let mut poll: Option<&Event> = None;
        let mut polls = 0;
        for (place, event) in track.iter().enumerate() {
            let next = track.get(place + 1).map_or(self.end, |next| next.at);
            match &event.kind {
                Kind::Poll { .. } => {
                    polls += 1;
                    if let Some(poll) = poll.replace(event) {
                        self.add_poll(poll, event.at, "");
                    }
                }
                _ if ends(event, poll) => {
                    if let Some(poll) = poll.take() {
                        self.add_poll(poll, event.at, event.kind_name());
                    }
                }
                // It was running when the recording began.
                Kind::Pending | Kind::Done { .. } | Kind::Panic if polls == 0 => {
                    polls += 1;
                    self.add_cut_poll(event, track[0].at);
                }
                Kind::Sleep { slept, .. } => {
                    self.add_sleep(event, *slept, place + 1 == track.len())
                }
                _ => self.add_act(event, next),
            }
        }
        if let Some(poll) = poll {
            self.add_poll(poll, self.end, "");
        }
    }

    fn add_poll(&mut self, poll: &Event, to: Duration, ended: &str) {
        let mut args = args(poll);
        if let Kind::Poll { nth } = poll.kind {
            args["nth"] = nth.into();
        }
        if !ended.is_empty() {
            args["ended"] = ended.into();
        }
        self.add_slice(self.thread(poll), poll.at, to, &name(poll.task.as_deref()), "poll", args);
    }

    fn add_cut_poll(&mut self, ended: &Event, from: Duration) {
        let args = json!({ "ended": ended.kind_name(), "cut": true });
        let name = name(ended.task.as_deref());
        self.add_slice(self.thread(ended), from, ended.at, &name, "poll", args);
    }

    fn add_sleep(&mut self, event: &Event, slept: Option<Duration>, last: bool) {
        let to = match slept {
            Some(slept) => event.at + slept,
            None if last => self.end,
            None => return self.add_act(event, event.at),
        };
        let thread = self.thread(event);
        self.add_slice(thread, event.at, to, "asleep in epoll_wait", "sleep", args(event));
    }

    fn add_act(&mut self, event: &Event, next: Duration) {
        let name = short(event);
        match event.kind {
            Kind::Wake | Kind::Queue { .. } => {
                let to = next.min(event.at + WAKE);
                self.add_slice(self.thread(event), event.at, to, &name, "wake", args(event));
            }
            _ => {
                let act = json!({
                    "ph": "i", "s": "t", "name": name, "cat": event.kind_name(), "args": args(event),
                });
                self.add(event.at, self.thread(event), act);
            }
        }
    }

    /// How long each task waits, and how much of that it is in the run queue.
    fn add_waits(&mut self, recording: &'a Recording) {
        let mut tasks: BTreeMap<u64, Waiting<'a>> = BTreeMap::new();
        for event in &recording.events {
            let Some(number) = event.task_number() else { continue };
            let waiting = tasks.entry(number).or_default();
            (waiting.task, waiting.thread) = (event.task.as_deref(), self.thread(event));
            match event.kind {
                Kind::Poll { .. } => {
                    self.end_waits(waiting, event.at);
                    (waiting.running, waiting.queued) = (true, false);
                }
                Kind::Pending => {
                    self.end_waits(waiting, event.at);
                    waiting.running = false;
                    let name = format!("{} waits", name(waiting.task));
                    self.begin_wait(waiting, event, name);
                    if waiting.queued {
                        self.begin_wait(waiting, event, "in the run queue".to_owned());
                    }
                }
                Kind::Queue { .. } => {
                    waiting.queued = true;
                    if !waiting.running {
                        self.begin_wait(waiting, event, "in the run queue".to_owned());
                    }
                }
                Kind::Done { .. } | Kind::Abort | Kind::Panic => {
                    self.end_waits(waiting, event.at);
                    tasks.remove(&number);
                }
                _ => {}
            }
        }
        for mut waiting in tasks.into_values() {
            self.end_waits(&mut waiting, self.end);
        }
    }

    fn begin_wait(&mut self, waiting: &mut Waiting<'_>, event: &Event, name: String) {
        // Another thread may have read the clock before this one, and told after it.
        waiting.at = event.at.max(waiting.at);
        let begin = json!({
            "ph": "b", "cat": "task", "id": id(waiting.task), "name": name, "args": args(event),
        });
        waiting.open.push(name);
        self.add(waiting.at, waiting.thread, begin);
    }

    fn end_waits(&mut self, waiting: &mut Waiting<'_>, at: Duration) {
        let at = at.max(waiting.at);
        while let Some(name) = waiting.open.pop() {
            let end = json!({ "ph": "e", "cat": "task", "id": id(waiting.task), "name": name });
            self.add(at, waiting.thread, end);
        }
    }

    /// From where a task was queued to the poll that followed.
    fn add_arrows(&mut self, recording: &Recording) {
        for poll in &recording.events {
            let (Kind::Poll { .. }, Some(&cause)) = (&poll.kind, poll.causes.first()) else {
                continue;
            };
            let Some(queue) = recording.event(cause) else { continue };
            let arrow = |ph| json!({ "ph": ph, "cat": "wake", "id": queue.number, "name": "wake" });
            self.add(queue.at, self.thread(queue), arrow("s"));
            let mut end = arrow("f");
            // It ends in the slice that begins here, and not in the next one.
            end["bp"] = "e".into();
            self.add(poll.at, self.thread(poll), end);
        }
    }

    fn add_run_queue(&mut self, recording: &Recording) {
        let mut queued: HashSet<u64> = recording.before.queued().collect();
        let mut at = Duration::ZERO;
        for event in &recording.events {
            let Some(task) = event.task_number() else { continue };
            let changed = match event.kind {
                Kind::Queue { .. } => queued.insert(task),
                Kind::Poll { .. } | Kind::Done { .. } | Kind::Abort | Kind::Panic => {
                    queued.remove(&task)
                }
                _ => false,
            };
            if changed {
                at = at.max(event.at);
                let args = json!({ "tasks": queued.len() });
                let count = json!({ "ph": "C", "name": "run queue", "args": args });
                self.add(at, self.thread(event), count);
            }
        }
    }

    fn json(mut self, dropped: u64) -> String {
        // What encloses comes before what it encloses.
        self.entries.sort_by_key(|entry| (entry.at, Reverse(entry.length)));
        let mut entries = vec![named("process_name", 0, "the runtime")];
        for (thread, name) in self.threads.iter().enumerate() {
            entries.push(named("thread_name", thread + 1, name));
        }
        entries.extend(self.entries.into_iter().map(|entry| entry.value));
        let other = json!({ "dropped": dropped });
        json!({ "displayTimeUnit": "ms", "otherData": other, "traceEvents": entries }).to_string()
    }
}

/// Whether this ends the poll of its own task, and not that task from within another one's poll.
fn ends(event: &Event, poll: Option<&Event>) -> bool {
    let ending =
        matches!(event.kind, Kind::Pending | Kind::Done { .. } | Kind::Abort | Kind::Panic);
    ending && poll.is_some_and(|poll| poll.task_number() == event.task_number())
}

fn named(what: &str, thread: usize, name: &str) -> Value {
    json!({ "ph": "M", "name": what, "pid": PROCESS, "tid": thread, "args": { "name": name } })
}

/// What links an entry to the other forms of the recording.
fn args(event: &Event) -> Value {
    json!({ "step": event.number, "causes": event.causes })
}

/// `task 2 "echo"`.
fn name(task: Option<&Task>) -> String {
    task.map_or("a task".to_owned(), |task| words::named(Some(task)))
}

fn id(task: Option<&Task>) -> String {
    task.map_or(String::new(), |task| task.number.to_string())
}

/// To the nanosecond.
fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}
