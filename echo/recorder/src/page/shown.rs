//! What a run has shown, in three sentences for the last screen.

use crate::event::{Actor, By, Direction, Event, Kind, Outcome};
use crate::recording::{Counts, Recording};
use crate::units::{count, joined, plural, time};

/// Returns what the tasks did, how long the thread slept, and what the wakers did.
pub(super) fn sentences(recording: &Recording, counts: &Counts) -> [String; 3] {
    [acts(recording), sleeps(counts), wakes(recording)]
}

fn acts(recording: &Recording) -> String {
    let (mut accepted, mut read, mut written) = (0, 0, 0);
    for event in &recording.events {
        match &event.kind {
            Kind::Try { outcome: Outcome::Accepted(_), .. } => accepted += 1,
            Kind::Try { outcome: Outcome::Bytes(bytes) | Outcome::Short(bytes), .. } => {
                let is_read = event.direction == Some(Direction::Read);
                *(if is_read { &mut read } else { &mut written }) += bytes;
            }
            _ => {}
        }
    }
    let number = |is_it: fn(&Kind) -> bool| {
        recording.events.iter().filter(|event| is_it(&event.kind)).count() as u64
    };
    let timers = number(|kind| matches!(kind, Kind::TimerSet { .. }));
    let jobs = number(|kind| matches!(kind, Kind::JobSubmitted));
    let acts = [
        (accepted, format!("accepted **{}**", plural(accepted, "connection"))),
        (read, format!("read **{}**", count(read))),
        (written, format!("wrote **{}**", count(written))),
        (timers, format!("set **{}**", plural(timers, "timer"))),
        (jobs, format!("submitted **{}** to the pool", plural(jobs, "job"))),
    ];
    let acts: Vec<String> =
        acts.into_iter().filter(|(number, _)| *number > 0).map(|(_, act)| act).collect();
    match acts.is_empty() {
        false => format!("The tasks {}.", joined(&acts)),
        true => {
            let ended = number(|kind| matches!(kind, Kind::Done { .. }));
            format!("**{}** completed.", plural(ended, "task"))
        }
    }
}

fn sleeps(counts: &Counts) -> String {
    let polls = plural(counts.polls, "poll");
    if counts.slept.is_zero() {
        return format!("The thread made **{polls}** and did not sleep.");
    }
    let (share, length) = (counts.share_slept() * 100.0, time(counts.length));
    format!("The thread slept for **{share:.1} %** of {length}, and made {polls} in between.")
}

fn wakes(recording: &Recording) -> String {
    let lost = recording.events.iter().find(|event| event.kind == Kind::Lost);
    if let Some(Event { task: Some(task), .. }) = lost {
        return format!("**Nothing can wake task {}**, because no code holds its waker.", task.id);
    }
    let callers = [
        "the reactor after an event",
        "the reactor after a timer",
        "the reactor in a sweep",
        "another thread",
        "a task",
    ];
    let mut calls = [0_u64; 5];
    let mut repeated = false;
    for event in &recording.events {
        let caller = match event.kind {
            Kind::Wake => {
                let cause = event.causes.first().and_then(|cause| recording.event(*cause));
                match cause.map(|cause| &cause.kind) {
                    Some(Kind::TimerFired) => 1,
                    Some(Kind::Look) => 2,
                    _ => 0,
                }
            }
            Kind::Queue { by: By::Thread } => 3,
            Kind::Queue { by: By::Task } => 4,
            Kind::QueuedAlready => {
                repeated = true;
                let cause = event.causes.first().and_then(|cause| recording.event(*cause));
                match cause.map(|cause| &cause.kind) {
                    // The call itself has been counted.
                    Some(Kind::Wake | Kind::Queue { by: By::Thread }) => continue,
                    _ if event.actor == Actor::Outside => 3,
                    _ => 4,
                }
            }
            _ => continue,
        };
        calls[caller] += 1;
    }
    let total: u64 = calls.iter().sum();
    let by: Vec<(u64, &str)> =
        calls.into_iter().zip(callers).filter(|(number, _)| *number > 0).collect();
    let by = match &by[..] {
        [] => return "No waker was called.".to_owned(),
        [(_, caller)] => format!("by {caller}"),
        several => {
            let each =
                several.iter().map(|(number, caller)| format!("{} by {caller}", times(*number)));
            joined(&each.collect::<Vec<_>>())
        }
    };
    let effect = match (total, repeated) {
        (1, _) => "and the call only put its task into the run queue",
        (_, false) => "and each call only put its task into the run queue",
        (_, true) => {
            "and each call only put its task into the run queue, unless it was there already"
        }
    };
    let (wakers, number) =
        if total == 1 { ("A waker was", "once".to_owned()) } else { ("Wakers were", times(total)) };
    format!("{wakers} called **{number}**, {by}, {effect}.")
}

fn times(number: u64) -> String {
    match number {
        1 => "once".to_owned(),
        _ => plural(number, "time"),
    }
}
