//! The sentence for each event: who did what, by the field's word for it, and what that means.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use crate::event::{By, Direction, Event, Kind, Outcome, Source, Task};
use crate::story::{JOB, LISTENER};

/// Tells events in their order: the first of a kind at more length than those after it.
#[derive(Default)]
pub(crate) struct Teller {
    told: HashSet<&'static str>,
    /// The operation at which each task stopped.
    stopped_at: HashMap<u64, Arc<str>>,
    /// The thread sleeps, until the next thing that is told.
    asleep: bool,
}

impl Teller {
    /// One or two short sentences. `**` marks the term, `` ` `` code, `#` the number of a step.
    pub(crate) fn sentence(&mut self, event: &Event) -> String {
        let first = self.told.insert(event.kind_name());
        let task = task(event.task.as_deref());
        match &event.kind {
            Kind::Start => "The recording begins.".to_owned(),
            Kind::Spawn { by } => spawn(event, *by, first),
            Kind::Register => register(event, first),
            Kind::Deregister => deregister(event, first),
            Kind::Poll { nth: 1 } => format!(
                "The executor takes {task} from the run queue and **polls** it for the first time."
            ),
            Kind::Poll { .. } => self.poll_again(event, &task),
            Kind::Try { operation, outcome } => {
                if *outcome == Outcome::WouldBlock
                    && let Some(number) = event.task_number()
                {
                    self.stopped_at.insert(number, operation.clone());
                }
                attempt(event, &task, operation, outcome, first)
            }
            Kind::Store { beside } => self.store(event, &task, *beside, first),
            Kind::Pending => pending(event, &task, first),
            Kind::Sleep { limit, slept } => {
                self.asleep = slept.is_some();
                sleep(*limit, *slept)
            }
            Kind::Look => {
                "Work is queued, so the reactor only **looks** for events; the thread does not sleep."
                    .to_owned()
            }
            Kind::Outside { act } => {
                format!("Outside, on another thread, the {} **{act}**.", event.thread)
            }
            Kind::Event { news, .. } => {
                let source = source(event.source.as_deref());
                let said = match mem::take(&mut self.asleep) {
                    true => format!("The kernel ends the sleep: {source} is **{news}**."),
                    false => format!("The kernel reports that {source} is **{news}**."),
                };
                match event.kind.wakers_taken() {
                    0 => format!("{said} Nobody waits for that, so nobody is woken."),
                    1 => format!("{said} The reactor notes it and takes out the waker that waited."),
                    taken => format!("{said} The reactor notes it and takes out the {taken} wakers that waited."),
                }
            }
            Kind::Wake => wake(event, &task),
            Kind::Queue { by } => queue(event, &task, *by),
            Kind::QueuedAlready => format!(
                "{} is in the run queue already: **one poll** will serve both wakes.",
                capital(&task)
            ),
            Kind::Notified => {
                "A **notification** from another thread ends the wait. The thread looks into the inbox."
                    .to_owned()
            }
            Kind::TimerSet { after } => {
                format!("{} asks to be woken **in {}**, and leaves its waker with a timer.", capital(&task), time(*after))
            }
            Kind::TimerFired => {
                let waker = match event.task {
                    Some(_) => format!("the waker of {task}"),
                    None => task,
                };
                format!("The time has come: the reactor takes {waker} out of the **timer**.")
            }
            Kind::TimerDropped => {
                format!("{} no longer needs its **timer**; it is taken out.", capital(&task))
            }
            Kind::JobSubmitted => {
                let job = source(event.source.as_deref());
                format!("{} gives **{job}** to the pool: a call that blocks runs on another thread.", capital(&task))
            }
            Kind::JobDone => {
                let job = source(event.source.as_deref());
                format!("{} is **done**, on thread {}. If a waker was left with the job, that thread calls it.", capital(&job), event.thread)
            }
            Kind::BudgetSpent => format!(
                "{} **yields**: it has had its share, and lets its neighbours run before it goes on.",
                capital(&task)
            ),
            Kind::Done { written } => {
                self.forget(event);
                done(&task, *written)
            }
            Kind::Abort => {
                self.forget(event);
                format!("{} is **aborted**: its future is dropped, and with it all that it holds.", capital(&task))
            }
            Kind::Panic => {
                self.forget(event);
                format!("{} **panics**. Its handle gets the panic; the others run on.", capital(&task))
            }
            Kind::Lost => lost(event),
        }
    }

    /// Forgets a task that has ended, because a server may see millions of them.
    fn forget(&mut self, event: &Event) {
        event.task_number().map(|number| self.stopped_at.remove(&number));
    }

    fn poll_again(&self, event: &Event, task: &str) -> String {
        let at = event.task_number().and_then(|number| self.stopped_at.get(&number));
        let place = at.map_or(String::new(), |operation| format!(": at `{operation}`"));
        format!(
            "The executor **polls** {task} again, because it was woken. The future goes on where it \
             stopped{place}."
        )
    }

    fn store(&mut self, event: &Event, task: &str, beside: Option<u64>, first: bool) -> String {
        let source = source(event.source.as_deref());
        // What it will be polled again at, when the last call was a short read and not this one.
        if let (Some(number), Some(direction)) = (event.task_number(), event.direction) {
            let operation =
                self.stopped_at.entry(number).or_insert_with(|| direction.name().into());
            if !operation.starts_with(direction.name()) && &**operation != "accept" {
                *operation = direction.name().into();
            }
        }
        match beside {
            Some(other) if Some(other) != event.task_number() => format!(
                "{} holds a **waker** of task {other} already, and now one of {task} too. The event \
                 will wake both.",
                capital(&source)
            ),
            _ if first => format!(
                "Before it gives up, {task} leaves its **waker** with {source}. Whoever holds that \
                 waker can bring {task} back."
            ),
            _ => format!("{} leaves its **waker** with {source}.", capital(task)),
        }
    }
}

fn spawn(event: &Event, by: Option<u64>, first: bool) -> String {
    let Some(Task { number, name, .. }) = event.task.as_deref() else { return String::new() };
    let name = if name.is_empty() { String::new() } else { format!(", \"{name}\"") };
    let then =
        if first { " A new task starts in the run queue: nothing of it has run yet." } else { "" };
    match by {
        // The future of `block_on` is always the first.
        Some(0) => format!("The main future spawns **task {number}**{name}.{then}"),
        Some(by) => format!("Task {by} spawns **task {number}**{name}.{then}"),
        None => format!("**Task {number}**{name} is spawned.{then}"),
    }
}

fn register(event: &Event, first: bool) -> String {
    let Some(Source { token, kind, .. }) = event.source.as_deref() else { return String::new() };
    let once = if first { ", for both directions, once for its whole life" } else { "" };
    format!("The reactor **registers** the {kind} with the kernel, as source {token}{once}.")
}

fn deregister(event: &Event, first: bool) -> String {
    let source = source(event.source.as_deref());
    let why = if first { ": in this order, so that no late event reaches a new owner" } else { "" };
    format!("{} is **deregistered**, then closed{why}.", capital(&source))
}

fn attempt(event: &Event, task: &str, operation: &str, outcome: &Outcome, first: bool) -> String {
    let who = capital(task);
    match outcome {
        Outcome::WouldBlock => {
            let nothing = nothing(event, operation);
            let then = if first { " The kernel says so at once; the thread goes on." } else { "" };
            format!("{who} tries `{operation}`. {nothing}, so the call **would block**.{then}")
        }
        Outcome::Works => format!("{who} tries `{operation}`, and it **works**."),
        Outcome::Accepted(peer) => {
            format!("{who} tries `{operation}` and gets **a connection** from {peer}.")
        }
        Outcome::Bytes(bytes) => format!("{who} tries `{operation}`: **{}**.", count(*bytes)),
        Outcome::Short(bytes) if event.direction == Some(Direction::Write) => format!(
            "{who} tries `{operation}`: **{}**. It had more, so the socket is full: **not ready**.",
            count(*bytes)
        ),
        Outcome::Short(bytes) => format!(
            "{who} tries `{operation}` and gets **{}**. It asked for more, so the socket is empty: \
             **not ready**, and no second call is needed to learn it.",
            count(*bytes)
        ),
        Outcome::EndOfFile => format!(
            "{who} tries `{operation}` and gets **0 bytes**: end of file. The other end will send no more."
        ),
        Outcome::Fails(kind) => format!(
            "{who} tries `{operation}`; the kernel answers **{kind}**. The task gets the error; the \
             others go on."
        ),
    }
}

/// Why a call would block.
fn nothing(event: &Event, operation: &str) -> &'static str {
    match event.source.as_deref().map(|source| source.kind.as_str()) {
        Some(LISTENER) => "Nobody has come",
        _ if operation == "connect" => "The peer has not answered",
        _ if event.direction == Some(Direction::Write) => "There is no room",
        _ => "Nothing has arrived",
    }
}

fn pending(event: &Event, task: &str, first: bool) -> String {
    let meaning = " Nothing of it runs now: it is a value in a table, and waits.";
    let meaning = if first && event.task.is_some() { meaning } else { "" };
    format!("{} returns **Pending**.{meaning}", capital(task))
}

fn sleep(limit: Option<Duration>, slept: Option<Duration>) -> String {
    let limit = match limit {
        None => "with no time limit".to_owned(),
        Some(limit) => format!("for at most {}, until the next timer", time(limit)),
    };
    match slept {
        Some(_) => {
            format!("The run queue is empty, so the **thread sleeps** in `epoll_wait`, {limit}.")
        }
        None => format!(
            "The run queue is empty, so the thread **waits** in `epoll_wait`, {limit}. The kernel has \
             news at once, so it does not sleep."
        ),
    }
}

fn wake(event: &Event, task: &str) -> String {
    match event.causes.get(1) {
        Some(kept) if event.task.is_none() => {
            format!(
                "The reactor calls **wake** on the foreign waker that was left behind in #{kept}."
            )
        }
        Some(kept) => {
            format!("The reactor calls **wake** on the waker that {task} left behind in #{kept}.")
        }
        None if event.task.is_none() => format!("The reactor calls **wake** on {task}."),
        None => format!("The reactor calls **wake** on a waker of {task}."),
    }
}

fn queue(event: &Event, task: &str, by: By) -> String {
    match by {
        By::Spawn => {
            format!("{} goes into the **run queue**. It runs when its turn comes.", capital(task))
        }
        By::Reactor => format!("wake runs nothing. It only puts {task} into the **run queue**."),
        By::Task => format!("A task calls **wake**: {task} goes into the run queue."),
        By::Thread => format!(
            "Thread {} calls **wake**. {} goes into the inbox. A **notification** ends this wait of the \
             executor's thread, or the next.",
            event.thread,
            capital(task)
        ),
    }
}

fn done(task: &str, written: u64) -> String {
    let what =
        if written > 0 { format!(": it has written {}", count(written)) } else { String::new() };
    format!(
        "{} is **Ready**{what}. The executor drops its future and never polls it again.",
        capital(task)
    )
}

fn lost(event: &Event) -> String {
    let who = event
        .task
        .as_deref()
        .map_or(String::new(), |task| format!(", \"{}\", spawned at `{}`", task.name, task.line()));
    let last = event.causes.first().map_or(String::new(), |step| {
        format!(" It last returned Pending in #{step} without leaving one.")
    });
    format!(
        "**Nothing can wake {}**{who}: no source, timer, thread or queue holds its waker.{last}",
        task(event.task.as_deref())
    )
}

/// A few words for the links that lead to an event.
pub(crate) fn short(event: &Event) -> String {
    let task = task(event.task.as_deref());
    let source = source(event.source.as_deref());
    match &event.kind {
        Kind::Start => "start".to_owned(),
        Kind::Spawn { .. } => format!("spawn {task}"),
        Kind::Register => format!("register {source}"),
        Kind::Deregister => format!("{source} closed"),
        Kind::Poll { .. } => format!("poll {task}"),
        Kind::Try { operation, outcome } => format!("{operation}: {}", result(outcome)),
        Kind::Store { .. } => format!("waker of {task} kept in {source}"),
        Kind::Pending => format!("{task}: Pending"),
        Kind::Sleep { .. } => "epoll_wait".to_owned(),
        Kind::Look => "look for events".to_owned(),
        Kind::Outside { act } => format!("{} {act}", event.thread),
        Kind::Event { news, .. } => format!("{source} {news}"),
        Kind::Wake => format!("wake {task}"),
        Kind::Queue { by: By::Thread } => format!("inbox: {task}"),
        Kind::Queue { .. } => format!("run queue: {task}"),
        Kind::QueuedAlready => format!("{task} queued already"),
        Kind::Notified => "notified".to_owned(),
        Kind::TimerSet { after } => format!("timer of {task}, in {}", time(*after)),
        Kind::TimerFired => format!("timer of {task} fires"),
        Kind::TimerDropped => format!("timer of {task} dropped"),
        Kind::JobSubmitted => format!("{source} submitted"),
        Kind::JobDone => format!("{source} done"),
        Kind::BudgetSpent => format!("{task} yields"),
        Kind::Done { .. } => format!("{task}: Ready"),
        Kind::Abort => format!("{task} aborted"),
        Kind::Panic => format!("{task} panics"),
        Kind::Lost => format!("{task} is lost"),
    }
}

/// What came of a try, in as few words as can be.
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
    task.map_or("a foreign waker".to_owned(), |task| format!("task {}", task.number))
}

/// `source 1`, or `job 1`.
pub(crate) fn source(source: Option<&Source>) -> String {
    source.map_or("a source".to_owned(), |source| match source.kind.as_str() {
        JOB => format!("job {}", source.token),
        _ => format!("source {}", source.token),
    })
}

/// `task 2 "echo"`.
pub(crate) fn named(named: Option<&Task>) -> String {
    let name = named.map_or("", |task| task.name.as_str());
    let name = if name.is_empty() { String::new() } else { format!(" \"{name}\"") };
    task(named) + &name
}

/// `1 byte`, `1,024 bytes`.
pub(crate) fn count(bytes: u64) -> String {
    some(bytes, "byte")
}

/// `1 poll`, `1,204 polls`.
pub(crate) fn some(number: u64, word: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {word}{plural}", thousands(number))
}

/// In milliseconds, to the microsecond.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}

/// `1,204`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// With at most three digits and a unit, as a person would say it: `100 ms`, `1.5 s`, `60 us`.
pub(crate) fn time(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    let (number, unit) = match seconds {
        _ if seconds >= 0.9995 => (seconds, "s"),
        _ if seconds >= 0.0009995 => (seconds * 1e3, "ms"),
        _ => (seconds * 1e6, "us"),
    };
    let text = if number < 9.95 { format!("{number:.1}") } else { format!("{number:.0}") };
    format!("{} {unit}", text.strip_suffix(".0").unwrap_or(&text))
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_as_people_say_them() {
        let said = |nanos| time(Duration::from_nanos(nanos));
        let all = [0, 60_400, 1_500_000, 99_960_000, 100_400_000, 1_500_000_000, 90_000_000_000];
        let words = ["0 us", "60 us", "1.5 ms", "100 ms", "100 ms", "1.5 s", "90 s"];
        assert_eq!(all.map(said), words);
    }

    #[test]
    fn large_numbers_are_grouped() {
        assert_eq!([0, 999, 1_204, 1_000_000].map(thousands), ["0", "999", "1,204", "1,000,000"]);
    }
}
