//! The ladder: a run as text of 60 to 80 columns. A line shows one step, or several steps that form
//! a known pattern.
//!
//! The first time that a task waits, and the first time that each task is woken, every step has its own
//! line. Later, the steps of the same pattern are folded into one line.

use std::collections::HashSet;
use std::fmt::Write;
use std::io;
use std::time::Duration;

use crate::describe::{named, result, short, source, task, waker, woken};
use crate::event::{Actor, By, Direction, Event, Kind, Outcome, Readiness, Task};
use crate::recording::Counts;
use crate::units::{count, plural, thousands, time};

/// The first line of a ladder of 80 columns, with the names of its columns.
pub const HEADER: &str =
    "    #      ms  who       what                                           why";

/// The width of a line, unless [`Ladder::fit`] reduces it.
const WIDTH: usize = 80;
/// The least width of a line.
const LEAST_WIDTH: usize = 60;
/// The width of the causes, if the text before them is short enough.
const WHY: usize = 8;
/// The column at which the second line of a step begins.
const SECOND_LINE: usize = 27;

/// Formats events as lines, and remembers which patterns it has shown.
pub struct Ladder {
    /// Whether every step gets a line of its own.
    all: bool,
    color: bool,
    width: usize,
    /// Whether a task has been shown to wait.
    wait: bool,
    /// The tasks that have been shown to be woken.
    woken: HashSet<u64>,
    /// When the kernel last reported an event.
    reported: Option<Duration>,
    /// The number of the first step that was shown.
    first: Option<u64>,
}

/// The content of one line: an actor, what it does, and the number of events that this covers.
struct Content {
    actor: String,
    what: String,
    events: usize,
}

impl Content {
    fn new(actor: &str, what: String, events: usize) -> Content {
        Content { actor: actor.to_owned(), what, events }
    }
}

/// One line, before it gets its color.
struct Line {
    steps: (u64, u64),
    at: Duration,
    actor: String,
    what: String,
    why: Vec<u64>,
    task: Option<u64>,
}

impl Ladder {
    /// Creates a ladder of 80 columns. If `all` is true, it never folds steps.
    pub fn new(all: bool, color: bool) -> Ladder {
        let (width, woken) = (WIDTH, HashSet::new());
        Ladder { all, color, width, wait: false, woken, reported: None, first: None }
    }

    /// Makes the lines fit into this number of columns, but not into fewer than 60, and uses at most 80.
    pub fn fit(self, columns: usize) -> Ladder {
        Ladder { width: columns.clamp(LEAST_WIDTH, WIDTH), ..self }
    }

    /// Returns the first line, with the names of the columns.
    pub fn header(&self) -> String {
        let (names, why) = HEADER.split_at(WIDTH - WHY);
        format!("{:1$}{why}", names.trim_end(), self.width - WHY)
    }

    /// Returns the lines of these events, which follow the events of the previous call.
    pub fn lines(&mut self, events: &[Event]) -> String {
        let mut text = String::new();
        let mut rest = events;
        while !rest.is_empty() {
            rest = self.add_next(rest, &mut text);
        }
        text
    }

    /// Writes the [`lines`](Ladder::lines) of these events one by one.
    ///
    /// Unlike `lines`, this does not collect the text in memory.
    ///
    /// # Errors
    ///
    /// Returns the error of the writer.
    pub fn write_lines(&mut self, events: &[Event], out: &mut impl io::Write) -> io::Result<()> {
        let mut text = String::new();
        let mut rest = events;
        while !rest.is_empty() {
            rest = self.add_next(rest, &mut text);
            out.write_all(text.as_bytes())?;
            text.clear();
        }
        Ok(())
    }

    /// Adds one line to `text`: that of the first of these events and of those that are folded with it.
    /// Returns the remaining events.
    fn add_next<'a>(&mut self, events: &'a [Event], text: &mut String) -> &'a [Event] {
        let step = self.next(events);
        let (shown, after) = events.split_at(step.events);
        // Forget a task that has ended, because a server may run millions of tasks.
        if let Some(Event { kind: Kind::Done { .. } | Kind::Abort | Kind::Panic, task, .. }) =
            shown.last()
        {
            task.as_ref().map(|task| self.woken.remove(&task.id));
        }
        if events[0].kind != Kind::Start {
            self.first.get_or_insert(events[0].number);
            self.line(shown, step, text);
        }
        after
    }

    /// Returns the content of the next line.
    fn next(&mut self, events: &[Event]) -> Content {
        let folded = if self.all { None } else { self.fold(unbroken(events)) };
        folded.unwrap_or_else(|| self.single(&events[0]))
    }

    /// Returns a line for several events, if they form a known pattern.
    fn fold(&mut self, events: &[Event]) -> Option<Content> {
        match &events[0].kind {
            Kind::Register => fold_register(events),
            Kind::Spawn { .. } => fold_spawn(events),
            Kind::Try { .. } | Kind::Store { .. } if self.wait => fold_wait(events),
            Kind::Sleep { slept: None, .. } => self.fold_wait_without_sleep(events),
            Kind::Outside { .. } | Kind::Event { .. } => self.fold_wakeup(events),
            Kind::Deregister => fold_completion(events),
            _ => None,
        }
    }

    fn fold_wait_without_sleep(&mut self, events: &[Event]) -> Option<Content> {
        let event = events.get(1)?;
        let Kind::Event { news, .. } = &event.kind else { return None };
        self.reported = Some(event.at);
        let what = format!("epoll_wait, immediately: {}", report(event, *news));
        let note = if event.kind.wakers_taken() == 0 { WAKES_NONE } else { "" };
        Some(Content::new("kernel", what + note, 2))
    }

    /// Folds the steps from the act outside to the poll, if this task has been shown to be woken.
    fn fold_wakeup(&mut self, events: &[Event]) -> Option<Content> {
        let outside = matches!(events[0].kind, Kind::Outside { .. });
        let steps = &events[usize::from(outside)..];
        let [event, wake, queue, poll, ..] = steps else { return None };
        let Kind::Event { news, takes, .. } = &event.kind else { return None };
        let whole = matches!(wake.kind, Kind::Wake)
            && matches!(queue.kind, Kind::Queue { .. })
            && matches!(poll.kind, Kind::Poll { .. });
        let [task] = takes[..] else { return None };
        if !whole || !self.woken.contains(&task) {
            return None;
        }
        self.reported = Some(event.at);
        let source = source(event.source.as_deref());
        let what = format!("{source} {news}; wake; queue; poll");
        Some(match &events[0].kind {
            Kind::Outside { act } => Content::new(&events[0].thread, format!("{act}; {what}"), 5),
            _ => Content::new("kernel", what, 4),
        })
    }

    /// Returns the line of one event.
    fn single(&mut self, event: &Event) -> Content {
        let task = task(event.task.as_deref());
        let from = source(event.source.as_deref());
        let by = |actor: &str, what: String| Content::new(actor, what, 1);
        let by_task = |what: String| Content::new(&of_task(event), what, 1);
        match &event.kind {
            Kind::Start => by("", String::new()),
            Kind::Spawn { .. } => by("executor", format!("spawn {}", named(event.task.as_deref()))),
            Kind::Register => by("reactor", format!("register {from}")),
            Kind::Deregister => by("reactor", format!("deregister {from}, then close it")),
            Kind::Poll { nth } => by("executor", format!("poll {task}, {}", ordinal(*nth))),
            Kind::Try { operation, outcome } => by_task(self.attempt(event, operation, outcome)),
            Kind::Store { .. } => {
                by("reactor", format!("store {} in {from}", waker(event.task.as_deref())))
            }
            Kind::Pending => {
                self.wait = true;
                by_task("returns Pending".to_owned())
            }
            Kind::Sleep { limit: None, .. } => {
                by("kernel", "epoll_wait, because the run queue is empty".to_owned())
            }
            Kind::Sleep { limit: Some(limit), .. } => {
                by("kernel", format!("epoll_wait, for at most {}", time(*limit)))
            }
            Kind::Look => by("kernel", "epoll_wait, timeout 0: the thread has work".to_owned()),
            Kind::Outside { act } => {
                let thread = if act == "connects" { " (from its own thread)" } else { "" };
                by(&event.thread, format!("{act}{thread}"))
            }
            Kind::Note { .. } if event.actor == Actor::Outside => by(&event.thread, short(event)),
            Kind::Note { .. } => by_task(short(event)),
            Kind::Event { news, .. } => {
                self.reported = Some(event.at);
                let note = if event.kind.wakers_taken() == 0 { WAKES_NONE } else { "" };
                by("kernel", format!("epoll_wait returns: {}{note}", report(event, *news)))
            }
            Kind::Wake => {
                self.woken.extend(event.task_id());
                by("reactor", format!("wake {}", woken(event)))
            }
            Kind::Queue { by: By::Thread } => {
                by(&event.thread, format!("wake {task} through the inbox"))
            }
            Kind::Queue { by: By::Task } => {
                by("queue", format!("{task} goes into the run queue; a task woke it"))
            }
            Kind::Queue { .. } => by("queue", format!("{task} goes into the run queue")),
            Kind::QueuedAlready => {
                by("queue", format!("{task} is already queued: one poll serves both"))
            }
            Kind::Notified => by("kernel", "epoll_wait returns: notified by a thread".to_owned()),
            Kind::TimerSet { after } => by(
                "reactor",
                format!("store {} in a timer ({})", waker(event.task.as_deref()), time(*after)),
            ),
            Kind::TimerFired => by("reactor", format!("the timer of {task} expires")),
            Kind::TimerDropped => by("reactor", format!("drop the timer of {task}")),
            Kind::JobSubmitted => by_task(format!("submits {from} to the blocking pool")),
            Kind::JobDone => by(&event.thread, format!("completes {from}")),
            Kind::BudgetSpent => by_task("yields to other tasks".to_owned()),
            Kind::Done { written } => by_task(format!("returns {}", ready(*written))),
            Kind::Abort => by_task("is aborted: its future is dropped".to_owned()),
            Kind::Panic => by_task("panics; other tasks keep running".to_owned()),
            Kind::Lost => {
                let location = event.task.as_deref().map_or("", Task::line);
                let task = named(event.task.as_deref());
                by(
                    "executor",
                    format!(
                        "nothing can wake {task}\nno waker of it exists; spawned at {location}"
                    ),
                )
            }
        }
    }

    fn attempt(&self, event: &Event, operation: &str, outcome: &Outcome) -> String {
        let result = result(outcome);
        match outcome {
            Outcome::WouldBlock => {
                format!("{operation} -> WouldBlock (EAGAIN): {}", missing(event, operation))
            }
            Outcome::Short(_) if operation == "read" => {
                format!("read -> {result}: source empty, so not ready")
            }
            Outcome::Bytes(_) if operation == "write" => match self.reported {
                Some(reported) => {
                    let after = time(event.at.saturating_sub(reported));
                    format!("write -> {result}, {after} after the event")
                }
                None => format!("write -> {result}"),
            },
            _ => format!("{operation} -> {result}"),
        }
    }

    fn line(&self, shown: &[Event], Content { actor, what, .. }: Content, text: &mut String) {
        let (first, last) = (&shown[0], &shown[shown.len() - 1]);
        // For a wait without sleep, show the causes of the event that ended it.
        let reason = if let (Kind::Sleep { .. }, Kind::Event { .. }) = (&first.kind, &last.kind) {
            last
        } else {
            first
        };
        // Omit causes that were not shown, and those that are part of this line.
        let begin = self.first.unwrap_or(first.number);
        let shown_before = |cause: &&u64| (begin..first.number).contains(*cause);
        let line = Line {
            steps: (first.number, last.number),
            at: first.at,
            actor,
            what,
            why: reason.causes.iter().filter(shown_before).copied().collect(),
            task: first.task_id().or(last.task_id()),
        };
        self.write(&line, text);
        for event in shown {
            if let Kind::Sleep { slept: Some(slept), .. } = event.kind {
                let band = format!("                 .  .  .  asleep {}  .  .  .", time(slept));
                let _ = writeln!(text, "{}", self.dim(&band));
            }
        }
    }

    fn write(&self, line: &Line, text: &mut String) {
        let steps = match line.steps {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        };
        let ms = format!("{:.2}", line.at.as_secs_f64() * 1e3);
        let left = format!("{steps:>5} {ms:>7}");
        let (end, why_column) = (self.width, self.width - WHY);
        let actor = ascii(&line.actor.chars().take(9).collect::<String>());
        let start = left.len() + 12;
        // A narrow ladder breaks the text before the column of the causes.
        let is_narrow = end < WIDTH && !line.why.is_empty();
        let space = if is_narrow { why_column - 2 } else { end }.saturating_sub(start);
        let pieces = line.what.split('\n');
        let mut whats = pieces.flat_map(|text| wrap(text, space, end - SECOND_LINE));
        let what = whats.next().unwrap_or_default();
        let width = start + what.len();
        let why = reasons(&line.why, end.saturating_sub(width + 2));
        let gap = why_column.min(end - why.len()).saturating_sub(width);
        let gap = " ".repeat(if why.is_empty() { 0 } else { gap.max(2) });
        let content = self.paint(line.task, &format!("{actor:<9} {what}"));
        let _ = writeln!(text, "{}  {content}{gap}{}", self.dim(&left), self.dim(&why));
        if why.is_empty() && !line.why.is_empty() {
            let why = reasons(&line.why, end);
            let column = why_column.min(end - why.len());
            let _ = writeln!(text, "{:column$}{}", "", self.dim(&why));
        }
        for more in whats {
            let _ = writeln!(text, "{:SECOND_LINE$}{more}", "");
        }
    }

    /// Colors the text of a task. Every terminal has these colors, and they are legible on light and on
    /// dark backgrounds.
    fn paint(&self, task: Option<u64>, text: &str) -> String {
        const COLORS: [u8; 6] = [36, 33, 35, 32, 34, 31];
        match task {
            Some(task) if self.color => {
                let color = COLORS[(task.saturating_sub(1) % COLORS.len() as u64) as usize];
                format!("\x1b[{color}m{text}\x1b[0m")
            }
            _ => text.to_owned(),
        }
    }

    fn dim(&self, text: &str) -> String {
        if self.color && !text.is_empty() {
            format!("\x1b[2m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// A second line, below an event that wakes no task.
const WAKES_NONE: &str = "\nno task waits for this, so none is woken";

/// Returns what a call that would block lacks.
fn missing(event: &Event, operation: &str) -> &'static str {
    match event.source.as_deref() {
        Some(source) if source.is_listener() => "no connection",
        _ if operation == "connect" => "no answer",
        _ if event.direction == Some(Direction::Write) => "no space",
        _ => "no data",
    }
}

/// Returns the totals of a recording in one line.
pub fn summary(counts: &Counts) -> String {
    let Counts { polls, spurious, wakes, would_blocks, length, .. } = *counts;
    format!(
        "{} ({spurious} spurious), {}, {}; the thread slept {:.1} % of {}.",
        plural(polls, "poll"),
        plural(wakes, "wake"),
        plural(would_blocks, "WouldBlock"),
        counts.share_slept() * 100.0,
        time(length)
    )
}

/// The most events that are folded into one line.
const FOLDED: usize = 5;

/// Returns the events before the first gap in their numbers. Events are not folded across a gap.
fn unbroken(events: &[Event]) -> &[Event] {
    let follows = |pair: &[Event]| pair[1].number == pair[0].number + 1;
    let events = &events[..events.len().min(FOLDED)];
    let length = 1 + events.windows(2).take_while(|pair| follows(pair)).count();
    &events[..length.min(events.len())]
}

fn fold_register(events: &[Event]) -> Option<Content> {
    let [register, spawn, ..] = events else { return None };
    let Kind::Spawn { .. } = spawn.kind else { return None };
    let source = source(register.source.as_deref());
    let what = format!("register {source}; spawn {}", named(spawn.task.as_deref()));
    let queued = is_spawn_queue(events.get(2));
    Some(Content::new(&of_task(register), what, if queued { 3 } else { 2 }))
}

fn fold_spawn(events: &[Event]) -> Option<Content> {
    let spawn = &events[0];
    if !is_spawn_queue(events.get(1)) {
        return None;
    }
    let is_polled =
        |next: &Event| next.kind == Kind::Poll { nth: 1 } && next.task_id() == spawn.task_id();
    let what = format!("spawn {}", named(spawn.task.as_deref()));
    Some(match events.get(2).is_some_and(is_polled) {
        true => Content::new("executor", what + "; poll it, 1st time", 3),
        false => Content::new("executor", what, 2),
    })
}

/// Folds the steps by which a task comes to wait.
fn fold_wait(events: &[Event]) -> Option<Content> {
    let rest = match &events[0].kind {
        Kind::Try { outcome: Outcome::WouldBlock, .. } => &events[1..],
        _ => events,
    };
    let [store, pending, ..] = rest else { return None };
    let (Kind::Store { .. }, Kind::Pending) = (&store.kind, &pending.kind) else { return None };
    let task = of_task(&events[0]);
    Some(match &events[0].kind {
        Kind::Try { operation, .. } => {
            Content::new(&task, format!("{operation} -> WouldBlock; waker stored; Pending"), 3)
        }
        _ => Content::new(&task, "waker stored; Pending".to_owned(), 2),
    })
}

fn ready(written: u64) -> String {
    match written {
        0 => "Ready".to_owned(),
        _ => format!("Ready: {} written", count(written)),
    }
}

fn fold_completion(events: &[Event]) -> Option<Content> {
    let [deregister, done, ..] = events else { return None };
    let Kind::Done { written } = done.kind else { return None };
    let source = source(deregister.source.as_deref());
    let what = format!("closes {source}; {}", ready(written));
    Some(Content::new(&of_task(deregister), what, 2))
}

/// `source 1 is readable`, without the verb if the line is too short for it.
fn report(event: &Event, news: Readiness) -> String {
    let source = source(event.source.as_deref());
    let news = news.to_string();
    if news.contains(' ') { format!("{source} {news}") } else { format!("{source} is {news}") }
}

/// Returns as many of the causes as fit into `space` columns, the nearest first.
fn reasons(causes: &[u64], space: usize) -> String {
    let mut text = String::new();
    for cause in causes {
        let more = if text.is_empty() { format!("#{cause}") } else { format!(" #{cause}") };
        if text.len() + more.len() > space {
            break;
        }
        text += &more;
    }
    text
}

fn is_spawn_queue(event: Option<&Event>) -> bool {
    event.is_some_and(|event| event.kind == Kind::Queue { by: By::Spawn })
}

/// Returns the actor of a step of a task: `task 2`.
fn of_task(event: &Event) -> String {
    event.task_id().map_or("task".to_owned(), |id| format!("task {id}"))
}

fn ordinal(nth: u64) -> String {
    let ending = match (nth % 10, nth % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{}{ending} time", thousands(nth))
}

/// Replaces control characters and characters that may not be one column wide.
fn ascii(text: &str) -> String {
    text.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect()
}

/// Replaces characters as [`ascii`] does, and breaks the text at spaces: the first line has at most
/// `first` columns, and each other line at most `other`. A word that is longer is cut.
fn wrap(text: &str, first: usize, other: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in ascii(text).split(' ') {
        let most = if lines.is_empty() { first } else { other };
        if !line.is_empty() && line.len() + 1 + word.len() > most {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += &cut(word, first.min(other));
    }
    lines.push(line);
    lines
}

/// Replaces characters as [`ascii`] does, and cuts the text to `space` columns.
fn cut(text: &str, space: usize) -> String {
    let text = ascii(text);
    if text.len() <= space { text } else { format!("{}..", &text[..space - 2]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::tests::cases;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: cases(300), failure_persistence: None, ..ProptestConfig::default() })]

        // The width comes from the variable COLUMNS, the text from a client.
        #[test]
        fn lines_of_any_text_fit_and_control_no_terminal(
            thread: String,
            act in ".*|[ a-z]{0,300}",
            columns in prop_oneof![0_usize..100, any::<usize>()],
        ) {
            let text = line(1_234, &thread, &act, columns);
            let width = columns.clamp(LEAST_WIDTH, WIDTH);
            let plain = |line: &str| line.chars().all(|c| c == ' ' || c.is_ascii_graphic());
            prop_assert!(text.lines().all(|line| plain(line) && line.len() <= width), "{:?}", text);
            let header = Ladder::new(true, false).fit(columns).header();
            prop_assert!(header.len() <= width && header.ends_with("why"), "{header:?}");
        }
    }

    #[test]
    fn ordinal_has_its_english_suffix() {
        let all = [1, 2, 3, 4, 11, 12, 13, 21, 102, 111, 1000].map(ordinal);
        let words = [
            "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "111th", "1,000th",
        ];
        assert_eq!(all, words.map(|word| format!("{word} time")));
    }

    fn line(number: u64, thread: &str, act: &str, columns: usize) -> String {
        let event = Event {
            number,
            at: Duration::from_secs(10 * 60 * 60),
            thread: thread.into(),
            actor: Actor::Outside,
            kind: Kind::Outside { act: act.to_owned() },
            task: None,
            source: None,
            direction: None,
            causes: vec![number - 2, number - 1],
            file: "",
            line: 0,
            stack: None,
        };
        Ladder { first: Some(0), ..Ladder::new(true, false) }.fit(columns).lines(&[event])
    }

    #[test]
    fn long_text_continues_on_the_next_line() {
        let act = "does what takes a good many words to say and goes on in the next line";
        for columns in [60, 80] {
            let text = line(1_234, "client", act, columns);
            assert!(text.lines().count() > 1, "{text}");
            assert!(text.lines().all(|line| line.len() <= columns), "{columns}: {text}");
            let words = text.split_whitespace().filter(|word| act.contains(word));
            assert_eq!(words.collect::<Vec<_>>().join(" "), act);
            assert!(text.contains("#1232 #1233"), "{text}");
        }
    }

    #[test]
    fn control_and_wide_characters_are_replaced() {
        let act = format!("says\n\x1b[31m{}", "\u{1f980}".repeat(100));
        let text = line(3, "\u{437}\u{430}\t\x1b", &act, WIDTH);
        let plain = |line: &str| line.chars().all(|c| c == ' ' || c.is_ascii_graphic());
        assert!(text.lines().all(|line| plain(line) && line.len() <= WIDTH), "{text:?}");
    }
}
