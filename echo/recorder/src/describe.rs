//! Describes each event in a sentence that names the component that acts.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use crate::event::{Actor, By, Direction, Event, Kind, Outcome, Source, Task};
use crate::poll_lengths::PollLengths;
use crate::units::{count, time};

/// What the sentence about the first poll of a recording adds.
const COLD_START: &str = " It also loads the code, so it takes longer than later polls.";

/// Describes events in their order. The first event of a kind gets an explanation.
#[derive(Default)]
pub(crate) struct Describer {
    /// The kinds of the events so far.
    described: HashSet<&'static str>,
    /// The operation at which each waiting task stopped.
    stopped_at: HashMap<u64, Arc<str>>,
    /// Whether the thread sleeps, until the next event.
    asleep: bool,
    polls: PollLengths,
}

impl Describer {
    /// Returns one or two short sentences. `**` marks the term, `` ` `` code, `#` the number of a step.
    pub(crate) fn sentence(&mut self, event: &Event) -> String {
        let first = self.described.insert(event.kind_name());
        let held = self.polls.held_until(event);
        let task = task(event.task.as_deref());
        let source = source(event.source.as_deref());
        match &event.kind {
            Kind::Start => "The recording begins.".to_owned(),
            Kind::Spawn { by } => spawn(event, *by, first),
            Kind::Register => register(event, first),
            Kind::Deregister => deregister(&source, first),
            Kind::Poll { nth: 1 } => {
                // Of the whole recording. Its length is not that of a usual poll.
                let cold = if first { COLD_START } else { "" };
                format!(
                    "The executor takes {task} from the run queue and **polls** it for the first \
                     time.{cold}"
                )
            }
            Kind::Poll { .. } => self.poll_again(event, &task),
            Kind::Try { operation, outcome } => {
                if *outcome == Outcome::WouldBlock
                    && let Some(number) = event.task_id()
                {
                    self.stopped_at.insert(number, operation.clone());
                }
                attempt(event, &task, operation, outcome, first)
            }
            Kind::Store { beside } => self.store(event, *beside, first),
            Kind::Pending => pending(event, &task, held, first),
            Kind::Sleep { limit, slept } => {
                self.asleep = slept.is_some();
                sleep(*limit, *slept)
            }
            Kind::Look => {
                "The thread has other work, so the reactor only **checks** for events: it calls \
                           `epoll_wait` with a timeout of 0."
                    .to_owned()
            }
            Kind::Outside { act } => {
                let written = event.causes.first();
                let from = written.map_or(String::new(), |step| format!(", written in #{step}"));
                format!("Outside the runtime, the {} **{act}**{from}.", event.thread)
            }
            Kind::Note { text } => text.clone(),
            Kind::Event { news, .. } => {
                let reported = match mem::take(&mut self.asleep) {
                    true => format!("The kernel ends the sleep: {source} is **{news}**."),
                    false => format!("The kernel reports that {source} is **{news}**."),
                };
                match event.kind.wakers_taken() {
                    0 => format!("{reported} No task waits for this, so the reactor wakes none."),
                    1 => format!(
                        "{reported} The reactor marks it ready and takes out the stored waker."
                    ),
                    taken => format!(
                        "{reported} The reactor marks it ready and takes out the {taken} stored wakers."
                    ),
                }
            }
            Kind::Wake => wake(event),
            Kind::Queue { by } => queue(event, &task, *by),
            Kind::QueuedAlready if event.actor == Actor::Executor => format!(
                "The executor reads its inbox, but {task} is already in the run queue, so **one poll** \
                 serves both wakeups."
            ),
            Kind::QueuedAlready => format!(
                "{} is already in the run queue, so **one poll** serves both wakeups.",
                capital(&task)
            ),
            Kind::Notified => {
                "A **notification** from another thread ends `epoll_wait`. The executor \
                               reads its inbox."
                    .to_owned()
            }
            Kind::TimerSet { after } => format!(
                "{} sets a **timer** that expires in {} and stores its waker there.",
                capital(&task),
                time(*after)
            ),
            Kind::TimerFired => format!(
                "The **timer** expires, so the reactor takes out {}.",
                waker(event.task.as_deref())
            ),
            Kind::TimerDropped => {
                format!("{} drops its **timer**, and the reactor removes it.", capital(&task))
            }
            Kind::JobSubmitted => format!(
                "{} submits **{source}** to the pool, because a blocking call must run on another thread.",
                capital(&task)
            ),
            Kind::JobDone => format!(
                "Thread {} **completes** {source}. If the job stores a waker, this thread calls it.",
                event.thread
            ),
            Kind::BudgetSpent => {
                format!(
                    "{} **yields**, so that other tasks run before it continues.",
                    capital(&task)
                )
            }
            Kind::Done { written } => {
                self.forget(event);
                done(&task, *written, held)
            }
            Kind::Abort => {
                self.forget(event);
                format!(
                    "{} is **aborted**: the executor drops its future and all that the future owns.",
                    capital(&task)
                )
            }
            Kind::Panic => {
                self.forget(event);
                panicked(event, &task, held)
            }
            Kind::Lost => lost(event),
        }
    }

    /// Forgets a task that has ended, because a server may run millions of tasks.
    fn forget(&mut self, event: &Event) {
        event.task_id().map(|number| self.stopped_at.remove(&number));
    }

    fn poll_again(&self, event: &Event, task: &str) -> String {
        let at = event.task_id().and_then(|number| self.stopped_at.get(&number));
        let location = at.map_or(String::new(), |operation| format!(", at `{operation}`"));
        format!(
            "The executor **polls** {task} again, because it was woken. Its future resumes where it \
             stopped{location}."
        )
    }

    fn store(&mut self, event: &Event, beside: Option<u64>, first: bool) -> String {
        let source = source(event.source.as_deref());
        let waker = waker(event.task.as_deref());
        // After a short read, the next poll resumes at an operation of this direction, and not at
        // the one that last would have blocked.
        if let (Some(number), Some(direction)) = (event.task_id(), event.direction) {
            let operation =
                self.stopped_at.entry(number).or_insert_with(|| direction.name().into());
            if !operation.starts_with(direction.name()) && &**operation != "accept" {
                *operation = direction.name().into();
            }
        }
        match beside {
            Some(other) if Some(other) != event.task_id() => format!(
                "The reactor stores {waker} in {source}, which already holds a **waker** of task \
                 {other}. The next event wakes both."
            ),
            _ if first => format!(
                "{} stores {} in {source}. Any code that holds this waker can make the executor poll \
                 the task again.",
                keeper(event),
                waker.replace("waker", "**waker**")
            ),
            _ => format!(
                "{} stores {} in {source}.",
                keeper(event),
                waker.replace("waker", "**waker**")
            ),
        }
    }
}

/// Returns the component that stores a waker: the pool stores those of jobs.
fn keeper(event: &Event) -> &'static str {
    match event.source.as_deref().is_some_and(Source::is_job) {
        true => "The pool",
        false => "The reactor",
    }
}

fn spawn(event: &Event, by: Option<u64>, first: bool) -> String {
    let Some(Task { id, name, .. }) = event.task.as_deref() else { return String::new() };
    let name = if name.is_empty() { String::new() } else { format!(", \"{name}\"") };
    let then =
        if first { " It starts in the run queue; none of its code has run yet." } else { "" };
    match by {
        // The future of `block_on` is always task 0.
        Some(0) => format!("The main future spawns **task {id}**{name}.{then}"),
        Some(by) => format!("Task {by} spawns **task {id}**{name}.{then}"),
        None => format!("**Task {id}**{name} is spawned.{then}"),
    }
}

fn register(event: &Event, first: bool) -> String {
    let Some(Source { token, kind, .. }) = event.source.as_deref() else { return String::new() };
    let once = if first { ": once, for both directions" } else { "" };
    format!("The reactor **registers** the {kind} with the kernel as source {token}{once}.")
}

fn deregister(source: &str, first: bool) -> String {
    let why = if first { ", so that no later event can name a closed descriptor" } else { "" };
    format!("The reactor **deregisters** {source} before its descriptor is closed{why}.")
}

fn attempt(event: &Event, task: &str, operation: &str, outcome: &Outcome, first: bool) -> String {
    let calls = format!("{} calls `{operation}`", capital(task));
    match outcome {
        Outcome::WouldBlock => {
            let reason = would_block_reason(event, operation);
            let then = if first {
                " The kernel returns `EAGAIN` immediately and does not block the thread."
            } else {
                ""
            };
            format!("{calls}. {reason}, so the call **would block**.{then}")
        }
        Outcome::Works => format!("{calls}, which **succeeds**."),
        Outcome::Accepted(peer) => format!("{calls}, which returns **a connection** from {peer}."),
        Outcome::Bytes(bytes) => format!("{calls}, which transfers **{}**.", count(*bytes)),
        Outcome::Short(bytes) if event.direction == Some(Direction::Write) => format!(
            "{calls}, which accepts only **{}**. The buffer is full now, so the reactor marks the \
             direction **not ready**.",
            count(*bytes)
        ),
        Outcome::Short(bytes) => format!(
            "{calls}, which returns **{}**, fewer than requested. The source is empty now, so the \
             reactor marks it **not ready** without a second call.",
            count(*bytes)
        ),
        Outcome::EndOfFile => {
            format!("{calls}, which returns **0 bytes**: end of file. The peer will send no more.")
        }
        Outcome::Fails(kind) => {
            format!("{calls}, which fails with **{kind}**. Only this task gets the error.")
        }
    }
}

/// Returns why a call would block.
fn would_block_reason(event: &Event, operation: &str) -> &'static str {
    match event.source.as_deref() {
        Some(source) if source.is_listener() => "No connection is waiting",
        _ if operation == "connect" => "The peer has not answered yet",
        _ if event.direction == Some(Direction::Write) => "The buffer is full",
        _ => "Nothing has arrived",
    }
}

/// Returns how long the poll that ends held the thread, if it was long.
fn held_thread(held: Option<Duration>) -> String {
    held.map_or(String::new(), |held| format!(" after it held the thread for **{}**", time(held)))
}

fn pending(event: &Event, task: &str, held: Option<Duration>, first: bool) -> String {
    let meaning = " It now uses no thread: until its next poll it is only a value in memory.";
    let meaning = if first && event.task.is_some() { meaning } else { "" };
    format!("{} returns **Pending**{}.{meaning}", capital(task), held_thread(held))
}

fn sleep(limit: Option<Duration>, slept: Option<Duration>) -> String {
    let timeout = match limit {
        None => "without a timeout".to_owned(),
        Some(limit) => format!("with a timeout of {} for the next timer", time(limit)),
    };
    match slept {
        Some(_) => {
            format!("The run queue is empty, so the **thread sleeps** in `epoll_wait`, {timeout}.")
        }
        None => format!(
            "The run queue is empty, so the thread **waits** in `epoll_wait`, {timeout}. An event is \
             already there, so the call returns immediately."
        ),
    }
}

fn wake(event: &Event) -> String {
    let waker = match event.task.as_deref() {
        Some(task) => format!("the waker of task {}", task.id),
        None => "the custom waker".to_owned(),
    };
    match event.causes.get(1) {
        Some(stored) => {
            format!("The reactor calls **wake** on {waker}, which was stored in #{stored}.")
        }
        None => format!("The reactor calls **wake** on {waker}."),
    }
}

fn queue(event: &Event, task: &str, by: By) -> String {
    match by {
        By::Spawn => {
            format!("{} goes into the **run queue** for its first poll.", capital(task))
        }
        By::Reactor => {
            format!("`wake` does not run the task. It only puts {task} into the **run queue**.")
        }
        By::Task => format!("A task calls **wake**, which puts {task} into the run queue."),
        By::Thread => format!(
            "Thread {} calls **wake**, which sends a wakeup of {task} to the inbox. A **notification** \
             ends the current or next `epoll_wait` of the executor's thread.",
            event.thread
        ),
    }
}

fn done(task: &str, written: u64, held: Option<Duration>) -> String {
    let what = match (written, held_thread(held)) {
        (0, held) => held,
        (_, held) if held.is_empty() => format!(" after writing {}", count(written)),
        (_, held) => format!("{held} and wrote {}", count(written)),
    };
    format!(
        "{} returns **Ready**{what}. The executor drops its future and never polls it again.",
        capital(task)
    )
}

fn panicked(event: &Event, task: &str, held: Option<Duration>) -> String {
    let then = match event.task_id() {
        // The future of `block_on` is always task 0.
        Some(0) => "`block_on` propagates the panic to its caller",
        _ => "Its handle returns the panic, and other tasks keep running",
    };
    format!("{} **panics**{}. {then}.", capital(task), held_thread(held))
}

fn lost(event: &Event) -> String {
    let which = event
        .task
        .as_deref()
        .map_or(String::new(), |task| format!(", \"{}\", spawned at `{}`", task.name, task.line()));
    let last = event.causes.first().map_or(String::new(), |step| {
        format!(" It last returned `Pending` in #{step}, without storing its waker.")
    });
    format!(
        "**Nothing can wake {}**{which}: no source, timer, thread or queue holds its waker.{last}",
        task(event.task.as_deref())
    )
}

/// Returns a few words for the links that lead to an event.
pub(crate) fn short(event: &Event) -> String {
    let task = task(event.task.as_deref());
    let waker = || waker(event.task.as_deref());
    let source = source(event.source.as_deref());
    match &event.kind {
        Kind::Start => "start".to_owned(),
        Kind::Spawn { .. } => format!("spawn {task}"),
        Kind::Register => format!("register {source}"),
        Kind::Deregister => format!("deregister {source}"),
        Kind::Poll { .. } => format!("poll {task}"),
        Kind::Try { operation, outcome } => format!("{operation}: {}", result(outcome)),
        Kind::Store { .. } => format!("store {} in {source}", waker()),
        Kind::Pending => format!("{task}: Pending"),
        Kind::Sleep { .. } => "epoll_wait".to_owned(),
        Kind::Look => "check for events".to_owned(),
        Kind::Outside { act } => format!("{} {act}", event.thread),
        Kind::Note { text } => text.replace("**", "").replace('`', ""),
        Kind::Event { news, .. } => format!("{source} {news}"),
        Kind::Wake => format!("wake {}", woken(event)),
        Kind::Queue { by: By::Thread } => format!("inbox: {task}"),
        Kind::Queue { .. } => format!("run queue: {task}"),
        Kind::QueuedAlready => format!("{task} already queued"),
        Kind::Notified => "notified".to_owned(),
        Kind::TimerSet { after } => format!("set timer of {task}: {}", time(*after)),
        Kind::TimerFired => format!("timer of {task} expires"),
        Kind::TimerDropped => format!("timer of {task} dropped"),
        Kind::JobSubmitted => format!("submit {source}"),
        Kind::JobDone => format!("{source} completed"),
        Kind::BudgetSpent => format!("{task} yields"),
        Kind::Done { .. } => format!("{task}: Ready"),
        Kind::Abort => format!("{task} aborted"),
        Kind::Panic => format!("{task} panics"),
        Kind::Lost => format!("{task} is lost"),
    }
}

/// Returns the result of an operation in a few words.
pub(crate) fn result(outcome: &Outcome) -> String {
    match outcome {
        Outcome::WouldBlock => "WouldBlock".to_owned(),
        Outcome::Works => "ok".to_owned(),
        Outcome::Accepted(peer) => peer.clone(),
        Outcome::Bytes(bytes) | Outcome::Short(bytes) => count(*bytes),
        Outcome::EndOfFile => "0: end of file".to_owned(),
        Outcome::Fails(kind) => kind.clone(),
    }
}

/// `task 2`.
pub(crate) fn task(task: Option<&Task>) -> String {
    task.map_or("an unknown task".to_owned(), |task| format!("task {}", task.id))
}

/// `the waker of task 2`. A waker that belongs to no task is made by a combinator or a test.
pub(crate) fn waker(task: Option<&Task>) -> String {
    task.map_or("a custom waker".to_owned(), |task| format!("the waker of task {}", task.id))
}

/// Returns what a call of `wake` wakes: `task 2`, or `a custom waker`.
pub(crate) fn woken(event: &Event) -> String {
    event.task.as_deref().map_or("a custom waker".to_owned(), |woken| task(Some(woken)))
}

/// `source 1` or `job 1`.
pub(crate) fn source(source: Option<&Source>) -> String {
    source.map_or("a source".to_owned(), |source| match source.is_job() {
        true => format!("job {}", source.token),
        false => format!("source {}", source.token),
    })
}

/// `task 2 "echo"`.
pub(crate) fn named(named: Option<&Task>) -> String {
    let name = named.map_or("", |task| task.name.as_str());
    let name = if name.is_empty() { String::new() } else { format!(" \"{name}\"") };
    task(named) + &name
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}
