//! Finds what stands out in a recording, and sums up what each task did.
//!
//! A finding must be worth a reader's time, so every limit except the one for lost tasks depends on
//! what is usual in the recording. On a busy machine the OS may take the thread away in the middle of any
//! poll. Such polls look slow, and they raise what is usual.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use crate::event::{Event, Kind};
use crate::poll_lengths::PollLengths;
use crate::recording::Recording;
use crate::units::time;

/// A recording with at most this many steps can be read step by step. It is also too short to say what is
/// usual in it.
const SHORT: usize = 500;

/// How many times longer than usual a poll or a wait must be.
const TIMES: u32 = 3;

/// The limits for a poll, whatever is usual. The OS often takes a thread away for 10 ms, and a poll of
/// 40 ms delays every other task noticeably.
const POLL: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(40)];

/// The limits for a wait in the run queue, whatever is usual. A wait is the sum of the polls before it.
const WAIT: [Duration; 2] = [Duration::from_millis(40), Duration::from_millis(100)];

/// With fewer tasks than this, one of them may well cause most of the steps.
const MANY: usize = 10;

/// The most findings of one kind, except lost tasks. The list of tasks on the page shows the others.
const MOST: usize = 3;

/// Something that stands out in a recording; see [`Recording::findings`].
///
/// Its text names the task: `task 74 is lost`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The step that shows it best.
    pub step: u64,
    /// The ID of the task.
    pub task: u64,
    /// What stands out.
    pub anomaly: Anomaly,
    /// The time from the start at which it begins.
    pub from: Duration,
    /// The time from the start at which it ends.
    pub to: Duration,
}

/// What stands out about a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Anomaly {
    /// Nothing can wake the task.
    Lost,
    /// One poll of the task held the thread for this time, and no other task could run.
    Held(Duration),
    /// The task waited in the run queue for this time. Polls that are findings themselves do not
    /// explain the wait.
    Waited(Duration),
    /// The task caused this many percent of the steps of all tasks.
    Share(u64),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let task = self.task;
        match self.anomaly {
            Anomaly::Lost => write!(f, "task {task} is lost"),
            Anomaly::Held(length) => write!(f, "task {task} holds the thread for {}", time(length)),
            Anomaly::Waited(length) => {
                write!(f, "task {task} waits {} in the run queue", time(length))
            }
            Anomaly::Share(percent) => {
                write!(f, "task {task} causes {percent} % of the tasks' steps")
            }
        }
    }
}

impl Finding {
    /// Returns a few words, for places where the rest is visible: `task 68: 42 ms`.
    pub(crate) fn label(&self) -> String {
        let task = self.task;
        match self.anomaly {
            Anomaly::Lost => self.to_string(),
            Anomaly::Held(length) => format!("task {task}: {}", time(length)),
            Anomaly::Waited(length) => format!("task {task} waits {}", time(length)),
            Anomaly::Share(percent) => format!("task {task}: {percent} %"),
        }
    }
}

impl Anomaly {
    /// Returns the name of its kind, which is `kind` in the data of the page.
    pub(crate) fn kind_name(self) -> &'static str {
        match self {
            Anomaly::Lost => "lost",
            Anomaly::Held(_) => "held",
            Anomaly::Waited(_) => "waited",
            Anomaly::Share(_) => "share",
        }
    }
}

/// A period of the run: a poll, or a wait in the run queue.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Period {
    pub(crate) from: Duration,
    pub(crate) to: Duration,
    /// The step that ends it.
    pub(crate) step: u64,
}

impl Period {
    pub(crate) fn length(self) -> Duration {
        self.to.saturating_sub(self.from)
    }

    /// Returns how long both periods last at the same time.
    fn overlap(self, other: Period) -> Duration {
        self.to.min(other.to).saturating_sub(self.from.max(other.from))
    }
}

/// What one task did in a recording.
#[derive(Clone, Debug, Default)]
pub(crate) struct TaskTotals {
    /// The number of steps that concern it.
    pub(crate) steps: u64,
    pub(crate) polls: u64,
    pub(crate) polled: Duration,
    pub(crate) longest_poll: Period,
    pub(crate) longest_wait: Period,
    /// Its first step and its last step.
    span: Period,
    first: u64,
    /// Where it was spawned.
    location: String,
}

/// What the tasks of a recording did.
#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) tasks: BTreeMap<u64, TaskTotals>,
    waits: Vec<(u64, Period)>,
}

impl Recording {
    /// Returns what stands out: lost tasks, polls that held the thread, the longest wait in the run queue,
    /// and tasks with an outsized share of the steps.
    ///
    /// In a recording of at most 500 steps nothing stands out except lost tasks, because such a recording does
    /// not show what is usual.
    pub fn findings(&self) -> Vec<Finding> {
        self.findings_in(&Totals::of(self))
    }

    /// Whether a reader needs an overview to find a step.
    pub(crate) fn is_long(&self) -> bool {
        self.steps() > SHORT
    }

    pub(crate) fn findings_in(&self, totals: &Totals) -> Vec<Finding> {
        let mut found = self.lost();
        if self.is_long() {
            let held = totals.held();
            found.extend(totals.waited(&held));
            found.extend(held);
            found.extend(totals.outsized());
        }
        found.sort_by_key(|finding| finding.from);
        found
    }

    fn lost(&self) -> Vec<Finding> {
        let is_lost = |event: &&Event| event.kind == Kind::Lost;
        let lost = self.events.iter().filter(is_lost).filter_map(|event| {
            let (step, at) = (event.number, event.at);
            Some(Finding { step, task: event.task_id()?, anomaly: Anomaly::Lost, from: at, to: at })
        });
        // The steps of a task that was lost earlier have been dropped, so the first step must do.
        let first = self.events.first();
        let earlier = self.before.tasks.iter().filter(|(_, task)| task.state == "lost");
        let earlier = earlier.filter_map(|(task, _)| {
            let (step, at) = (first?.number, first?.at);
            Some(Finding { step, task: *task, anomaly: Anomaly::Lost, from: at, to: at })
        });
        earlier.chain(lost).collect()
    }
}

impl Totals {
    pub(crate) fn of(recording: &Recording) -> Totals {
        let mut totals = Totals::default();
        let mut polls = PollLengths::default();
        let mut queued: HashMap<u64, Duration> = HashMap::new();
        let mut is_first_poll = recording.dropped == 0;
        for event in &recording.events {
            let Some(task) = &event.task else { continue };
            let own = totals.tasks.entry(task.id).or_insert_with(|| TaskTotals {
                span: Period { from: event.at, to: event.at, step: event.number },
                first: event.number,
                location: task.line().to_owned(),
                ..TaskTotals::default()
            });
            own.steps += 1;
            (own.span.to, own.span.step) = (event.at, event.number);
            match event.kind {
                Kind::Queue { .. } => _ = queued.entry(task.id).or_insert(event.at),
                Kind::Poll { nth } => {
                    own.polls = nth;
                    if let Some(from) = queued.remove(&task.id) {
                        let wait = Period { from, to: event.at, step: event.number };
                        own.longest_wait = longest(own.longest_wait, wait);
                        totals.waits.push((task.id, wait));
                    }
                }
                _ => {}
            }
            let Some(length) = polls.ended_by(event) else { continue };
            own.polled += length;
            // The first poll of a process is slow, because its code is not in memory yet.
            if !std::mem::take(&mut is_first_poll) {
                let from = event.at.saturating_sub(length);
                own.longest_poll =
                    longest(own.longest_poll, Period { from, to: event.at, step: event.number });
            }
        }
        totals
    }

    /// Returns the polls that held the thread for much longer than the slowest polls of other tasks.
    fn held(&self) -> Vec<Finding> {
        let polls = self.tasks.iter().map(|(task, totals)| (*task, totals.longest_poll)).collect();
        outliers(polls, POLL).map(|(task, poll)| finding(task, poll, Anomaly::Held)).collect()
    }

    /// Returns the longest wait, if the polls that are findings do not explain it.
    fn waited(&self, held: &[Finding]) -> Option<Finding> {
        let unexplained = |&(task, wait): &(u64, Period)| {
            let hold = |held: &Finding| {
                wait.overlap(Period { from: held.from, to: held.to, step: held.step })
            };
            let explained = held.iter().map(hold).sum();
            (task, Period { from: wait.from + wait.length().min(explained), ..wait })
        };
        let waits = self.waits.iter().map(unexplained).collect();
        let (task, outlier) = outliers(waits, WAIT).next()?;
        let (_, wait) = self.waits.iter().find(|(_, wait)| wait.step == outlier.step)?;
        Some(finding(task, *wait, Anomaly::Waited))
    }

    /// Returns the tasks that caused far more steps than the other tasks that were spawned at the same
    /// location. A task that accepts connections has no such others, and many steps.
    fn outsized(&self) -> Vec<Finding> {
        let all: u64 = self.tasks.values().map(|totals| totals.steps).sum();
        let mut groups: HashMap<&str, Vec<u64>> = HashMap::new();
        for totals in self.tasks.values() {
            groups.entry(&totals.location).or_default().push(totals.steps);
        }
        groups.values_mut().for_each(|steps| steps.sort_unstable());
        let is_outsized = |totals: &TaskTotals| {
            let group = &groups[&*totals.location];
            match group.len() >= MANY {
                true => totals.steps * 5 >= all && totals.steps >= 10 * group[group.len() / 2],
                false => self.tasks.len() >= MANY && totals.steps * 3 >= all * 2,
            }
        };
        let mut outsized: Vec<_> =
            self.tasks.iter().filter(|(_, totals)| is_outsized(totals)).collect();
        outsized.sort_by_key(|(_, totals)| std::cmp::Reverse(totals.steps));
        let share = |(task, totals): (&u64, &TaskTotals)| Finding {
            step: totals.first,
            task: *task,
            anomaly: Anomaly::Share(totals.steps * 100 / all),
            from: totals.span.from,
            to: totals.span.to,
        };
        outsized.into_iter().take(MOST).map(share).collect()
    }
}

fn longest(one: Period, other: Period) -> Period {
    if other.length() > one.length() { other } else { one }
}

fn finding(task: u64, period: Period, anomaly: fn(Duration) -> Anomaly) -> Finding {
    let Period { from, to, step } = period;
    Finding { step, task, anomaly: anomaly(period.length()), from, to }
}

/// Returns the periods that are much longer than usual, the longest first. The limit is a multiple of the
/// length that one period in twenty reaches, but it stays between `least` and `most`.
fn outliers(
    mut periods: Vec<(u64, Period)>,
    [least, most]: [Duration; 2],
) -> impl Iterator<Item = (u64, Period)> {
    periods.sort_by_key(|(_, period)| std::cmp::Reverse(period.length()));
    let usual = periods.get(periods.len() / 20).map_or(Duration::ZERO, |(_, usual)| usual.length());
    let limit = (usual * TIMES).clamp(least, most);
    periods.into_iter().take(MOST).take_while(move |(_, period)| period.length() >= limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Actor, By, Task};
    use std::sync::Arc;

    /// A recording whose clock the test advances.
    #[derive(Default)]
    struct Script(Recording, Duration);

    impl Script {
        fn pass(&mut self, millis: u64) {
            self.1 += Duration::from_millis(millis);
        }

        fn event(&mut self, task: u64, kind: Kind) {
            let task = Task { id: task, name: String::new(), location: "main.rs:1:1".to_owned() };
            let number = self.0.events.len() as u64;
            self.0.events.push(Event {
                number,
                at: self.1,
                thread: "main".into(),
                actor: Actor::Executor,
                kind,
                task: Some(Arc::new(task)),
                source: None,
                direction: None,
                causes: Vec::new(),
                file: "",
                line: 0,
                stack: None,
            });
        }

        fn queue(&mut self, task: u64) {
            self.event(task, Kind::Queue { by: By::Reactor });
        }

        fn poll(&mut self, task: u64, millis: u64) {
            self.event(task, Kind::Poll { nth: 2 });
            self.pass(millis);
            self.event(task, Kind::Pending);
        }

        /// Many short polls of all tasks, each alone in the run queue.
        fn usual(&mut self, tasks: u64, millis: u64) {
            for nth in 0..400 {
                self.queue(nth % tasks);
                self.poll(nth % tasks, millis);
            }
        }

        fn findings(&self) -> Vec<String> {
            self.0.findings().iter().map(ToString::to_string).collect()
        }
    }

    #[test]
    fn wait_behind_many_polls_is_a_finding() {
        let mut script = Script::default();
        script.usual(20, 1);
        (0..20).for_each(|task| script.queue(task));
        (0..20).for_each(|task| script.poll(task, 5));
        assert_eq!(script.findings(), ["task 19 waits 95 ms in the run queue"]);
    }

    #[test]
    fn wait_behind_a_slow_poll_is_explained_by_it() {
        let mut script = Script::default();
        script.usual(20, 1);
        (0..20).for_each(|task| script.queue(task));
        script.poll(0, 300);
        (1..20).for_each(|task| script.poll(task, 1));
        assert_eq!(script.findings(), ["task 0 holds the thread for 300 ms"]);
    }

    #[test]
    fn poll_of_usual_length_is_not_a_finding() {
        let with_usual = |millis| {
            let mut script = Script::default();
            script.usual(40, millis);
            script.poll(7, 30);
            script.findings()
        };
        assert_eq!(with_usual(1), ["task 7 holds the thread for 30 ms"]);
        assert_eq!(with_usual(12), [""; 0]);
    }

    #[test]
    fn only_a_lost_task_stands_out_in_a_short_run() {
        let mut script = Script::default();
        script.poll(1, 1);
        script.poll(1, 300);
        script.event(2, Kind::Lost);
        assert_eq!(script.findings(), ["task 2 is lost"]);
    }

    #[test]
    fn first_poll_of_a_process_is_not_a_finding() {
        let mut script = Script::default();
        script.poll(3, 90);
        script.usual(20, 1);
        assert_eq!(script.findings(), [""; 0]);
        script.0.dropped = 1000;
        assert_eq!(script.findings(), ["task 3 holds the thread for 90 ms"]);
    }

    #[test]
    fn task_that_accepts_all_connections_is_not_a_finding() {
        let mut script = Script::default();
        script.usual(40, 0);
        for nth in 0..300 {
            script.poll(100, 0);
            let accepts = script.0.events.iter_mut().rev().take(2);
            let task = Task { id: 100, name: String::new(), location: "accept.rs:1:1".to_owned() };
            accepts.for_each(|event| event.task = Some(Arc::new(task.clone())));
            script.queue(nth % 40);
        }
        assert_eq!(script.findings(), [""; 0]);
        // Another task of the connections.
        (0..1500).for_each(|_| script.poll(7, 0));
        assert_eq!(script.findings(), ["task 7 causes 59 % of the tasks' steps"]);
    }
}
