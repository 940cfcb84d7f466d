//! The prompts "What happens next?": the steps at which a page asks, and three answers for each.
//!
//! A prompt belongs to two steps in a row: the one that the page shows, and the next one, which is
//! the right answer. The wrong answers are misconceptions about steps of this kind. So an answer
//! is never right because someone wrote down that it is: the recording decides.

use serde_json::{Value, json};

use crate::describe::{source, task};
use crate::event::{Actor, By, Direction, Event, Kind, Outcome, Source};

/// A page asks no more often than this.
const MOST: usize = 10;

/// A reader does not step through all of a longer run, so its page does not ask.
const LONGEST: usize = 500;

/// The positions of the right answers of consecutive prompts.
const POSITIONS: [usize; 9] = [1, 0, 2, 2, 1, 0, 1, 2, 0];

/// A question about the step after `step`.
pub(crate) struct Prompt {
    step: u64,
    answers: [Answer; 3],
    /// The index of the right answer.
    right: usize,
}

struct Answer {
    /// What would happen, in a few words.
    text: String,
    /// Why it happens or does not happen.
    why: String,
}

impl Prompt {
    pub(crate) fn data(&self) -> Value {
        let answers: Vec<Value> =
            self.answers.iter().map(|Answer { text, why }| json!([text, why])).collect();
        json!({ "step": self.step, "answers": answers, "right": self.right })
    }
}

/// What a prompt is about. A page asks about each idea only once, and asks about the first ones first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Idea {
    WakeQueues,
    NotificationPolls,
    WakeOfQueuedTask,
    YieldQueues,
    TimerWakes,
    TimerReturns,
    TimerIsRemoved,
    PoolStores,
    AbortDrops,
    LostStays,
    TaskWakesItself,
    TaskWakesOther,
    CompletionQueues,
    WouldBlockStores,
    EventWakes,
    EventWithoutWaiter,
    ShortReadIsEnough,
    EndOfFileEnds,
    PollRetries,
    PendingSleeps,
    PendingPollsOther,
    SpawnQueues,
    StoreReturns,
    OutsideIsReported,
    SleepEnds,
    RegisterTries,
}

/// The step that a prompt is about, the next one, and the events before both.
struct Moment<'a> {
    before: &'a [Event],
    event: &'a Event,
    next: &'a Event,
}

/// Returns the prompts of a run in the order of their steps.
pub(crate) fn prompts(events: &[Event]) -> Vec<Prompt> {
    if events.len() > LONGEST {
        return Vec::new();
    }
    let moments = (1..events.len()).filter_map(|at| {
        let moment =
            Moment { before: &events[..at - 1], event: &events[at - 1], next: &events[at] };
        let (idea, answers) = moment.answers()?;
        let are_distinct = (0..3).all(|one| answers[one].text != answers[(one + 1) % 3].text);
        are_distinct.then_some((idea, at, answers))
    });
    let mut moments: Vec<_> = moments.collect();
    moments.sort_by_key(|(idea, at, _)| (*idea, *at));
    // Between two prompts, let the reader see a few steps.
    let gap = (events.len() / 14).clamp(3, 10);
    let mut chosen: Vec<(Idea, usize, [Answer; 3])> = Vec::new();
    for moment in moments {
        let is_free =
            |(idea, at, _): &(Idea, usize, _)| *idea != moment.0 && at.abs_diff(moment.1) >= gap;
        if chosen.len() < MOST && chosen.iter().all(is_free) {
            chosen.push(moment);
        }
    }
    chosen.sort_by_key(|(_, at, _)| *at);
    // Pages begin at different positions, so that their right answers do not have the same letters.
    let first = chosen.first().map_or(0, |(idea, ..)| *idea as usize);
    let prompt = |(nth, (_, at, mut answers)): (usize, (Idea, usize, [Answer; 3]))| {
        let right = POSITIONS[(first + nth) % POSITIONS.len()];
        // The right answer is the first one so far.
        answers[..=right].rotate_left(1);
        Prompt { step: events[at - 1].number, answers, right }
    };
    chosen.into_iter().enumerate().map(prompt).collect()
}

impl Moment<'_> {
    /// Returns what a prompt about this step would ask, with the right answer first; `None` if the two
    /// steps show no idea.
    fn answers(&self) -> Option<(Idea, [Answer; 3])> {
        let Moment { event, next, .. } = self;
        let of_same = event.task.is_some() && event.task_id() == next.task_id();
        match (&event.kind, &next.kind) {
            (Kind::Wake, Kind::Queue { .. }) if of_same => Some(self.wake()),
            (Kind::Wake, Kind::QueuedAlready) if of_same => Some(self.wake_of_queued_task()),
            (Kind::Notified, Kind::Poll { .. }) => Some(self.notification()),
            (Kind::BudgetSpent, Kind::Queue { by: By::Task }) if of_same => Some(self.yielding()),
            (Kind::TimerFired, Kind::Wake) if next.task.is_some() => Some(self.timer()),
            (Kind::TimerSet { .. }, Kind::Pending) if of_same => Some(self.timer_set()),
            (Kind::TimerDropped, _) => self.timer_dropped(),
            (Kind::JobSubmitted, Kind::Store { .. }) => Some(self.job()),
            (Kind::Abort, Kind::Deregister | Kind::TimerDropped) => self.abort(),
            (Kind::Lost, _) => self.lost(),
            (Kind::Queue { by: By::Spawn }, _) if next.actor == Actor::Task && !of_same => {
                self.spawn()
            }
            (Kind::Queue { by: By::Task }, _) if next.actor == Actor::Task => {
                self.wake_by_task(of_same)
            }
            (Kind::Done { .. }, Kind::Queue { by: By::Task }) if !of_same => {
                Some(self.completion())
            }
            (Kind::Try { operation, outcome }, _) => self.call(operation, outcome, of_same),
            (Kind::Event { .. }, _) => self.event(),
            (Kind::Poll { nth: 2.. }, Kind::Try { operation, outcome })
                if of_same && *outcome != Outcome::WouldBlock =>
            {
                Some(self.poll(operation))
            }
            (Kind::Pending, Kind::Sleep { slept: Some(_), .. }) => {
                Some(self.pending_before_sleep())
            }
            (Kind::Pending, Kind::Poll { .. }) if !of_same => self.pending_before_poll(),
            (Kind::Store { .. }, Kind::Pending) if of_same => self.store(),
            (Kind::Outside { .. }, Kind::Event { .. }) => self.outside(),
            (Kind::Sleep { slept: Some(_), .. }, _) => self.sleep(),
            (Kind::Register, Kind::Try { operation, .. }) => Some(self.register(operation)),
            _ => None,
        }
    }

    /// The task of the step that is shown.
    fn task(&self) -> String {
        task(self.event.task.as_deref())
    }

    /// The task of the next step.
    fn next_task(&self) -> String {
        task(self.next.task.as_deref())
    }

    fn wake(&self) -> (Idea, [Answer; 3]) {
        let task = self.task();
        let answers = [
            right(
                format!("{task} goes into the run queue"),
                "The reactor calls `wake`, and `wake` only queues the task. The executor polls it later.",
            ),
            runs_inside_wake(&task),
            wrong(
                "the executor polls every waiting task",
                "A waker belongs to one task, and only this task is queued. All others keep waiting.",
            ),
        ];
        (Idea::WakeQueues, answers)
    }

    fn wake_of_queued_task(&self) -> (Idea, [Answer; 3]) {
        let task = self.task();
        let answers = [
            right(
                format!("nothing: {task} is already queued"),
                "One poll serves both wakeups, because it checks everything that the task waits for.",
            ),
            wrong(
                format!("{task} is queued a second time"),
                "A flag of the task prevents that. Otherwise many wakeups would cause many useless polls.",
            ),
            runs_inside_wake(&task),
        ];
        (Idea::WakeOfQueuedTask, answers)
    }

    fn notification(&self) -> (Idea, [Answer; 3]) {
        let task = self.next_task();
        let answers = [
            right(
                format!("the executor polls {task}"),
                "The inbox contains the task, so the executor moves it to the run queue and polls it.",
            ),
            wrong(
                format!("the other thread polls {task}"),
                "A task stays on the thread of its executor. Another thread can only put it into the inbox.",
            ),
            wrong(
                "the executor polls every waiting task",
                "The notification names no task, but the inbox does. The executor polls only those.",
            ),
        ];
        (Idea::NotificationPolls, answers)
    }

    fn yielding(&self) -> (Idea, [Answer; 3]) {
        let task = self.task();
        let answers = [
            right(
                format!("{task} wakes itself and is queued"),
                "It waits for no event, so nothing else would wake it.",
            ),
            wrong(
                format!("{task} waits for the next event"),
                "It waits for no event, so it might never be polled again. It must wake itself.",
            ),
            wrong(
                format!("the executor interrupts {task}"),
                "The executor cannot interrupt a poll. A task yields only by returning `Pending`.",
            ),
        ];
        (Idea::YieldQueues, answers)
    }

    fn timer(&self) -> (Idea, [Answer; 3]) {
        let task = self.next_task();
        let answers = [
            right(
                format!("the reactor calls `wake` for {task}"),
                "A timer works like an event: the reactor takes out the stored waker and calls it.",
            ),
            wrong(
                format!("{task} runs at once"),
                "A timer only wakes the task. If the thread is busy, the task runs later than its deadline.",
            ),
            wrong(
                format!("the kernel sends a signal to {task}"),
                "The kernel only ends `epoll_wait` after the timeout. The reactor then compares the deadlines.",
            ),
        ];
        (Idea::TimerWakes, answers)
    }

    fn timer_set(&self) -> (Idea, [Answer; 3]) {
        let task = self.task();
        let answers = [
            right(
                format!("{task} returns `Pending`"),
                "The timer holds the waker, so the task can return the thread to the executor.",
            ),
            wrong(
                "the thread sleeps until the deadline",
                "Only the task waits. The thread polls other tasks, and sleeps only if none of them can run.",
            ),
            wrong(
                "a timer thread starts to count",
                "No thread measures the time. The nearest deadline becomes the timeout of `epoll_wait`.",
            ),
        ];
        (Idea::TimerReturns, answers)
    }

    fn timer_dropped(&self) -> Option<(Idea, [Answer; 3])> {
        if matches!(self.next.kind, Kind::TimerDropped | Kind::TimerFired) {
            return None;
        }
        let answers = [
            right(
                clause(self.next)?,
                "The timer and its waker are gone, so nothing happens at the deadline.",
            ),
            wrong(
                "the timer expires later all the same",
                "The reactor removes a dropped timer together with its waker, so the timer never expires.",
            ),
            wrong(
                format!("{} gets an error", self.task()),
                "Dropping a future cancels it without an error: none of its code runs again.",
            ),
        ];
        Some((Idea::TimerIsRemoved, answers))
    }

    fn job(&self) -> (Idea, [Answer; 3]) {
        let task = self.next_task();
        let answers = [
            right(
                format!("the pool stores the waker of {task}"),
                "When the job is done, the thread of the pool calls this waker.",
            ),
            wrong(
                "the thread waits for the job",
                "That would block every task. The task returns `Pending`, so other tasks can run.",
            ),
            wrong(
                format!("{task} moves to a thread of the pool"),
                "Only the closure of the job moves there. The task stays on the thread of its executor.",
            ),
        ];
        (Idea::PoolStores, answers)
    }

    fn abort(&self) -> Option<(Idea, [Answer; 3])> {
        let task = self.task();
        let answers = [
            right(
                clause(self.next)?,
                "Dropping a future drops what it owns, such as its sockets and timers.",
            ),
            wrong(
                format!("{task} gets an error at its `.await`"),
                "Its future is dropped. Only destructors run, and no other code of the task.",
            ),
            wrong(
                format!("{task} runs to its next `.await`"),
                "A waiting task stands at an `.await` already, and the executor drops it there.",
            ),
        ];
        Some((Idea::AbortDrops, answers))
    }

    fn lost(&self) -> Option<(Idea, [Answer; 3])> {
        let answers = [
            right(
                clause(self.next)?,
                "The executor reports a lost task, but it cannot help: nothing can wake it.",
            ),
            wrong(
                format!("the executor polls {} once more", self.task()),
                "The executor polls only tasks that were woken, and nothing can wake this task.",
            ),
            wrong(
                "`block_on` returns an error",
                "`block_on` waits only for its own future. A lost task is reported in the log.",
            ),
        ];
        Some((Idea::LostStays, answers))
    }

    fn spawn(&self) -> Option<(Idea, [Answer; 3])> {
        let task = self.task();
        let answers = [
            right(
                clause(self.next)?,
                "`spawn` only queues the new task. The task that called it continues.",
            ),
            wrong(
                format!("{task} runs its first lines"),
                "`spawn` runs no code of the new task. The executor polls it after the current poll.",
            ),
            wrong(
                format!("a new thread starts for {task}"),
                "A task is a value in memory, not a thread. The executor's only thread polls it later.",
            ),
        ];
        Some((Idea::SpawnQueues, answers))
    }

    fn wake_by_task(&self, itself: bool) -> Option<(Idea, [Answer; 3])> {
        let task = self.task();
        let next = clause(self.next)?;
        if itself {
            let answers = [
                right(
                    next,
                    "`wake` only queues the task, and the current poll continues until it returns.",
                ),
                wrong(
                    format!("{task} is polled again, inside its poll"),
                    "Polls of a task are never nested. It is polled again after this poll has returned.",
                ),
                wrong(
                    format!("another thread polls {task}"),
                    "The executor has only one thread, and this thread is still in the current poll.",
                ),
            ];
            return Some((Idea::TaskWakesItself, answers));
        }
        let answers = [
            right(
                next,
                "`wake` only queues a task. The task that called it continues until its poll returns.",
            ),
            wrong(
                format!("{task} runs immediately"),
                "Only the executor polls tasks, and it is still in the poll that called `wake`.",
            ),
            wrong(
                format!("the thread waits for {task}"),
                "`wake` returns immediately. It does not wait until the woken task has run.",
            ),
        ];
        Some((Idea::TaskWakesOther, answers))
    }

    fn completion(&self) -> (Idea, [Answer; 3]) {
        let (task, waiting) = (self.task(), self.next_task());
        let answers = [
            right(
                format!("{waiting} goes into the run queue"),
                format!(
                    "A waker of {waiting} was stored in {task}, e.g. in its handle. The completion calls it."
                ),
            ),
            wrong(
                format!("{waiting} continues immediately"),
                format!(
                    "The completion only wakes {waiting}, which continues when the executor polls it."
                ),
            ),
            wrong(
                format!("the executor polls {task} once more"),
                "A future must not be polled again after it has returned `Ready`, so the executor drops it.",
            ),
        ];
        (Idea::CompletionQueues, answers)
    }

    fn call(
        &self,
        operation: &str,
        outcome: &Outcome,
        of_same: bool,
    ) -> Option<(Idea, [Answer; 3])> {
        let is_read = self.event.direction != Some(Direction::Write);
        match (outcome, &self.next.kind) {
            (Outcome::WouldBlock, Kind::Store { .. }) if of_same => {
                Some(self.would_block(operation))
            }
            (Outcome::Short(_), Kind::Store { .. } | Kind::Try { .. }) if of_same && is_read => {
                self.short_read()
            }
            (Outcome::EndOfFile, Kind::Deregister | Kind::Done { .. }) => self.end_of_file(),
            _ => None,
        }
    }

    fn would_block(&self, operation: &str) -> (Idea, [Answer; 3]) {
        let (task, source) = (self.task(), source(self.event.source.as_deref()));
        let answers = [
            right(
                format!("{source} gets the waker of {task}"),
                "From then on, an event can wake the task. Only then may the task return `Pending`.",
            ),
            returns_without_waker(&task),
            wrong(
                format!("{task} calls `{operation}` again"),
                "A loop of failing calls would keep the CPU busy and block all other tasks.",
            ),
        ];
        (Idea::WouldBlockStores, answers)
    }

    fn short_read(&self) -> Option<(Idea, [Answer; 3])> {
        let (task, source) = (self.task(), source(self.event.source.as_deref()));
        let reads_again = wrong(
            format!("{task} calls `read` until it would block"),
            "The short read shows that the socket is empty, so a second call would only return `WouldBlock`.",
        );
        let answers = match &self.next.kind {
            Kind::Try { .. } if self.next.direction == Some(Direction::Write) => [
                right(
                    clause(self.next)?,
                    "A task tries a call before it waits: a write mostly succeeds immediately.",
                ),
                wrong(
                    format!("{task} returns `Pending`"),
                    "It still has data to send. A task waits only if it can do nothing else.",
                ),
                wrong(
                    format!("{task} waits until {source} is writable"),
                    "A task tries a call before it waits. It waits only if the call would block.",
                ),
            ],
            Kind::Store { .. } => [
                right(
                    format!("{source} gets the waker of {task}"),
                    "The short read shows that the socket is empty, so no second call is needed.",
                ),
                reads_again,
                returns_without_waker(&task),
            ],
            _ => return None,
        };
        Some((Idea::ShortReadIsEnough, answers))
    }

    fn end_of_file(&self) -> Option<(Idea, [Answer; 3])> {
        let task = self.task();
        let answers = [
            right(
                clause(self.next)?,
                "0 bytes means that the peer sends no more, so the task can close the source.",
            ),
            wrong(
                format!("{task} waits for more bytes"),
                "0 bytes is the end and not a pause. No event would follow, so the task would wait forever.",
            ),
            wrong(
                "the next `read` fails with an error",
                "An orderly close is not an error. Each further `read` would return 0 bytes again.",
            ),
        ];
        Some((Idea::EndOfFileEnds, answers))
    }

    fn event(&self) -> Option<(Idea, [Answer; 3])> {
        let task = self.next_task();
        match (self.event.kind.wakers_taken(), &self.next.kind) {
            (1.., Kind::Wake) if self.next.task.is_some() => {
                let answers = [
                    right(
                        format!("the reactor calls `wake` for {task}"),
                        "The reactor does not know what a task does. It only calls the wakers that it took out.",
                    ),
                    wrong(
                        format!("the executor polls {task}"),
                        "Not yet: the reactor first calls `wake`, which puts the task into the run queue.",
                    ),
                    wrong(
                        format!("the reactor performs the I/O for {task}"),
                        "An event only reports that a call may succeed now. The task makes this call itself.",
                    ),
                ];
                Some((Idea::EventWakes, answers))
            }
            (0, Kind::Sleep { .. }) => {
                let answers = [
                    right(
                        clause(self.next)?,
                        "The reactor remembers that the source is ready, but no task can run.",
                    ),
                    wrong(
                        "the kernel repeats the event",
                        "epoll is edge-triggered here: the kernel reports a change once and does not repeat it.",
                    ),
                    wrong(
                        "the executor polls every task",
                        "An event wakes only the tasks that wait for it, and no task waits for this one.",
                    ),
                ];
                Some((Idea::EventWithoutWaiter, answers))
            }
            _ => None,
        }
    }

    fn poll(&self, operation: &str) -> (Idea, [Answer; 3]) {
        let task = self.task();
        let answers = [
            right(
                format!("{task} calls `{operation}`"),
                "The event only reported that a call may succeed. The task must make the call itself.",
            ),
            wrong(
                format!("{task} gets the earlier result of `{operation}`"),
                "The earlier call returned `WouldBlock` and is over. No call continues in the background.",
            ),
            wrong(
                format!("{task} stores its waker again"),
                "The task tries the call first. It stores its waker only if the call would block again.",
            ),
        ];
        (Idea::PollRetries, answers)
    }

    fn pending_before_sleep(&self) -> (Idea, [Answer; 3]) {
        let task = self.task();
        let answers = [
            right(
                "the thread sleeps in `epoll_wait`",
                "No task can run, so the thread waits in the kernel for events and timers. It uses no CPU.",
            ),
            wrong(
                format!("the executor polls {task} again"),
                "The executor polls a task again only after a call of its waker. Until then, the task waits.",
            ),
            wrong(
                format!("{task} sleeps on a thread of its own"),
                "A task has no thread. All tasks share the thread of the executor.",
            ),
        ];
        (Idea::PendingSleeps, answers)
    }

    fn pending_before_poll(&self) -> Option<(Idea, [Answer; 3])> {
        let (task, next) = (self.task(), self.next_task());
        let this_poll =
            self.before.iter().rev().take_while(|event| !matches!(event.kind, Kind::Poll { .. }));
        let is_wakeup = |event: &Event| {
            let queues = matches!(event.kind, Kind::Queue { .. } | Kind::QueuedAlready);
            queues && event.task_id() == self.event.task_id()
        };
        // A task that was woken during its poll waits for its next poll, and for nothing else.
        if this_poll.into_iter().any(is_wakeup) {
            return None;
        }
        let answers = [
            right(
                format!("the executor polls {next}"),
                "The run queue is not empty, so the thread continues with the next task.",
            ),
            wrong(
                format!("the thread waits until {task} is ready"),
                "`Pending` returns the thread to the executor, which then polls other tasks.",
            ),
            wrong(
                format!("the executor polls {task} again"),
                "The executor polls a task again only after a call of its waker. Until then, the task waits.",
            ),
        ];
        Some((Idea::PendingPollsOther, answers))
    }

    fn store(&self) -> Option<(Idea, [Answer; 3])> {
        if self.event.source.as_deref().is_some_and(Source::is_job) {
            return None;
        }
        let task = self.task();
        let answers = [
            right(
                format!("{task} returns `Pending`"),
                "An event can wake the task now, so the task can return the thread to the executor.",
            ),
            wrong(
                format!("{task} blocks until the event comes"),
                "A call that blocks would stop all tasks, because they share the thread.",
            ),
            wrong(
                "the kernel gets a copy of the waker",
                "The kernel knows no wakers. It knows a descriptor and a token, by which the reactor finds the source.",
            ),
        ];
        Some((Idea::StoreReturns, answers))
    }

    fn outside(&self) -> Option<(Idea, [Answer; 3])> {
        let answers = [
            right(
                clause(self.next)?,
                "The kernel receives what the client does, and `epoll_wait` returns it as an event.",
            ),
            wrong(
                "the waiting task notices it",
                "A waiting task is only a value in memory. It notices nothing until the executor polls it.",
            ),
            wrong(
                "the kernel calls the waker",
                "A waker is code of this process. The kernel only ends `epoll_wait`, and the reactor calls wakers.",
            ),
        ];
        Some((Idea::OutsideIsReported, answers))
    }

    fn sleep(&self) -> Option<(Idea, [Answer; 3])> {
        match &self.next.kind {
            Kind::Outside { .. } | Kind::Event { .. } | Kind::TimerFired | Kind::JobDone => {}
            Kind::Queue { by: By::Thread } => {}
            _ => return None,
        }
        let answers = [
            right(clause(self.next)?, "Only an event, a timer or another thread ends the sleep."),
            wrong(
                "the executor polls the waiting tasks",
                "While its thread sleeps, the executor does nothing. An event, a timer or a thread ends the sleep.",
            ),
            wrong(
                "the thread asks each source in turn",
                "One call of `epoll_wait` waits for all sources. A loop over them would keep the CPU busy.",
            ),
        ];
        Some((Idea::SleepEnds, answers))
    }

    fn register(&self, operation: &str) -> (Idea, [Answer; 3]) {
        let task = self.next_task();
        let answers = [
            right(
                format!("{task} calls `{operation}`"),
                "A task tries a call before it waits: this shows whether the call would block.",
            ),
            wrong(
                format!("{task} waits for the first event"),
                "A source counts as ready until a call would block, so the task tries the call first.",
            ),
            wrong(
                format!("the reactor polls {task}"),
                "Only the executor polls tasks, and it is in a poll already.",
            ),
        ];
        (Idea::RegisterTries, answers)
    }
}

/// An answer with the reason why it is right.
fn right(text: impl Into<String>, why: impl Into<String>) -> Answer {
    Answer { text: text.into(), why: why.into() }
}

/// A misconception, and what really happens.
fn wrong(text: impl Into<String>, why: impl Into<String>) -> Answer {
    Answer { text: text.into(), why: why.into() }
}

fn runs_inside_wake(task: &str) -> Answer {
    wrong(
        format!("{task} runs inside `wake`"),
        "`wake` runs no code of the task. Otherwise a task could run in the middle of the reactor's loop.",
    )
}

fn returns_without_waker(task: &str) -> Answer {
    wrong(
        format!("{task} returns `Pending` right away"),
        "Nothing could wake the task then. It must store its waker before it returns `Pending`.",
    )
}

/// Describes an event in the words of an answer; `None` if it is never one.
fn clause(event: &Event) -> Option<String> {
    let (task, from) = (task(event.task.as_deref()), source(event.source.as_deref()));
    Some(match &event.kind {
        Kind::Spawn { by: Some(by) } => format!("task {by} spawns {task}"),
        Kind::Register => format!("the reactor registers {from}"),
        Kind::Deregister => format!("the reactor deregisters {from}"),
        Kind::Poll { .. } => format!("the executor polls {task}"),
        Kind::Try { operation, .. } => format!("{task} calls `{operation}`"),
        Kind::Pending => format!("{task} returns `Pending`"),
        Kind::Sleep { slept: Some(_), .. } => "the thread sleeps in `epoll_wait`".to_owned(),
        Kind::Sleep { slept: None, .. } => "the thread calls `epoll_wait`".to_owned(),
        Kind::Look => "the reactor checks for events".to_owned(),
        Kind::Outside { act } => format!("outside, the {} {act}", event.thread),
        Kind::Event { news, .. } => format!("the kernel reports {from} as {news}"),
        Kind::Queue { by: By::Thread } => format!("another thread wakes {task}"),
        Kind::Queue { .. } => format!("{task} goes into the run queue"),
        Kind::TimerSet { .. } => format!("{task} sets a timer"),
        Kind::TimerFired => format!("the timer of {task} expires"),
        Kind::TimerDropped => format!("{task} drops its timer"),
        Kind::JobSubmitted => format!("{task} submits a job"),
        Kind::JobDone => format!("another thread completes {from}"),
        Kind::BudgetSpent => format!("{task} yields"),
        Kind::Done { .. } => format!("{task} returns `Ready`"),
        _ => return None,
    })
}
