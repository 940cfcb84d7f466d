//! The ladder: a run as text of at most 80 columns, one step or one known pattern of steps a line.
//!
//! What is told for the first time is told step by step: how a task comes to wait, and how each
//! task is woken. When the same comes again, its steps are folded into one line.

use std::collections::HashSet;
use std::fmt::Write;
use std::io;
use std::time::Duration;

use crate::event::{By, Direction, Event, Kind, Outcome, Readiness, Task};
use crate::recording::Counts;
use crate::story::LISTENER;
use crate::words::{count, named, result, some, source, task, thousands, time, waker, woken};

/// The first line of a ladder: the names of its columns.
pub const HEAD: &str =
    "    #      ms  who       what                                           why";

/// Where `why` begins, and where a line ends at the latest.
const WHY: usize = 72;
const END: usize = 80;

/// Makes lines of events, and remembers what has been told.
pub struct Ladder {
    /// Every step has a line of its own.
    all: bool,
    colour: bool,
    /// How a task comes to wait has been told.
    wait: bool,
    /// The tasks whose wake has been told.
    climbs: HashSet<u64>,
    /// When the kernel last reported something.
    spoke: Option<Duration>,
    /// The number of the first step that was told.
    first: Option<u64>,
}

/// What one line tells: who does what, and how many of the events that is.
struct Told {
    who: String,
    what: String,
    events: usize,
}

impl Told {
    fn new(who: &str, what: String, events: usize) -> Told {
        Told { who: who.to_owned(), what, events }
    }
}

/// One line, before it has colours.
struct Line {
    steps: (u64, u64),
    at: Duration,
    who: String,
    what: String,
    why: Vec<u64>,
    task: Option<u64>,
}

impl Ladder {
    /// A ladder that has told nothing yet. With `all` it never folds.
    pub fn new(all: bool, colour: bool) -> Ladder {
        Ladder { all, colour, wait: false, climbs: HashSet::new(), spoke: None, first: None }
    }

    /// The lines for these events, which follow upon those before.
    pub fn lines(&mut self, events: &[Event]) -> String {
        let mut text = String::new();
        let mut rest = events;
        while !rest.is_empty() {
            rest = self.tell_next(rest, &mut text);
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
            rest = self.tell_next(rest, &mut text);
            out.write_all(text.as_bytes())?;
            text.clear();
        }
        Ok(())
    }

    /// Adds the line of the first of these events, and of those that are folded with it, to `text`.
    /// Returns the other events.
    fn tell_next<'a>(&mut self, events: &'a [Event], text: &mut String) -> &'a [Event] {
        let step = self.next(events);
        let (told, after) = events.split_at(step.events);
        // A server may see millions of tasks, so forget those that have ended.
        if let Some(Event { kind: Kind::Done { .. } | Kind::Abort | Kind::Panic, task, .. }) =
            told.last()
        {
            task.as_ref().map(|task| self.climbs.remove(&task.number));
        }
        if events[0].kind != Kind::Start {
            self.first.get_or_insert(events[0].number);
            self.line(told, step, text);
        }
        after
    }

    /// The next line.
    fn next(&mut self, events: &[Event]) -> Told {
        let folded = if self.all { None } else { self.fold(unbroken(events)) };
        folded.unwrap_or_else(|| self.single(&events[0]))
    }

    /// A pattern that needs no telling step by step.
    fn fold(&mut self, events: &[Event]) -> Option<Told> {
        match &events[0].kind {
            Kind::Register => fold_register(events),
            Kind::Spawn { .. } => fold_spawn(events),
            Kind::Try { .. } | Kind::Store { .. } if self.wait => fold_wait(events),
            Kind::Sleep { slept: None, .. } => self.fold_wait_that_was_none(events),
            Kind::Outside { .. } | Kind::Event { .. } => self.fold_climb(events),
            Kind::Deregister => fold_end(events),
            _ => None,
        }
    }

    fn fold_wait_that_was_none(&mut self, events: &[Event]) -> Option<Told> {
        let event = events.get(1)?;
        let Kind::Event { news, .. } = &event.kind else { return None };
        self.spoke = Some(event.at);
        let what = format!("epoll_wait, immediately: {}", said(event, *news));
        let note = if event.kind.wakers_taken() == 0 { WAKES_NONE } else { "" };
        Some(Told::new("kernel", what + note, 2))
    }

    /// From the outside up to the poll, if it has been told for this task.
    fn fold_climb(&mut self, events: &[Event]) -> Option<Told> {
        let outside = matches!(events[0].kind, Kind::Outside { .. });
        let climb = &events[usize::from(outside)..];
        let [event, wake, queue, poll, ..] = climb else { return None };
        let Kind::Event { news, takes, .. } = &event.kind else { return None };
        let whole = matches!(wake.kind, Kind::Wake)
            && matches!(queue.kind, Kind::Queue { .. })
            && matches!(poll.kind, Kind::Poll { .. });
        let [task] = takes[..] else { return None };
        if !whole || !self.climbs.contains(&task) {
            return None;
        }
        self.spoke = Some(event.at);
        let source = source(event.source.as_deref());
        let what = format!("{source} {news}; wake; queue; poll");
        Some(match &events[0].kind {
            Kind::Outside { act } => Told::new(&events[0].thread, format!("{act}; {what}"), 5),
            _ => Told::new("kernel", what, 4),
        })
    }

    /// Who does what, for one event.
    fn single(&mut self, event: &Event) -> Told {
        let task = task(event.task.as_deref());
        let from = source(event.source.as_deref());
        let by = |who: &str, what: String| Told::new(who, what, 1);
        let by_task = |what: String| Told::new(&of_task(event), what, 1);
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
            Kind::Event { news, .. } => {
                self.spoke = Some(event.at);
                let note = if event.kind.wakers_taken() == 0 { WAKES_NONE } else { "" };
                by("kernel", format!("epoll_wait returns: {}{note}", said(event, *news)))
            }
            Kind::Wake => {
                self.climbs.extend(event.task_number());
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
                let place = event.task.as_deref().map_or("", Task::line);
                let who = named(event.task.as_deref());
                by(
                    "executor",
                    format!("nothing can wake {who}\nno waker of it exists; spawned at {place}"),
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
            Outcome::Bytes(_) if operation == "write" => match self.spoke {
                Some(spoke) => {
                    let after = time(event.at.saturating_sub(spoke));
                    format!("write -> {result}, {after} after the event")
                }
                None => format!("write -> {result}"),
            },
            _ => format!("{operation} -> {result}"),
        }
    }

    fn line(&self, told: &[Event], Told { who, what, .. }: Told, text: &mut String) {
        let (first, last) = (&told[0], &told[told.len() - 1]);
        // A wait that was none is told as what the kernel had to say.
        let reason = if let (Kind::Sleep { .. }, Kind::Event { .. }) = (&first.kind, &last.kind) {
            last
        } else {
            first
        };
        // Nor is what was never told a reason, or what this line tells itself.
        let begin = self.first.unwrap_or(first.number);
        let told_before = |cause: &&u64| (begin..first.number).contains(*cause);
        let line = Line {
            steps: (first.number, last.number),
            at: first.at,
            who,
            what,
            why: reason.causes.iter().filter(told_before).copied().collect(),
            task: first.task_number().or(last.task_number()),
        };
        self.write(&line, text);
        for event in told {
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
        let mut whats = line.what.split('\n');
        let who = ascii(&line.who.chars().take(9).collect::<String>());
        let room = END - left.len() - 12;
        let what = cut(whats.next().unwrap_or_default(), room);
        let width = left.len() + 12 + what.len();
        let why = reasons(&line.why, END.saturating_sub(width + 2));
        let gap = WHY.min(END - why.len()).saturating_sub(width);
        let gap = " ".repeat(if why.is_empty() { 0 } else { gap.max(2) });
        let told = self.paint(line.task, &format!("{who:<9} {what}"));
        let _ = writeln!(text, "{}  {told}{gap}{}", self.dim(&left), self.dim(&why));
        if why.is_empty() && !line.why.is_empty() {
            let why = reasons(&line.why, END);
            let place = WHY.min(END - why.len());
            let _ = writeln!(text, "{:place$}{}", "", self.dim(&why));
        }
        for more in whats {
            let _ = writeln!(text, "{:27}{}", "", cut(more, END - 27));
        }
    }

    /// The colour of a task: of those that any terminal has, on light and on dark.
    fn paint(&self, task: Option<u64>, text: &str) -> String {
        const COLOURS: [u8; 6] = [36, 33, 35, 32, 34, 31];
        match task {
            Some(task) if self.colour => {
                let colour = COLOURS[(task.saturating_sub(1) % COLOURS.len() as u64) as usize];
                format!("\x1b[{colour}m{text}\x1b[0m")
            }
            _ => text.to_owned(),
        }
    }

    fn dim(&self, text: &str) -> String {
        if self.colour && !text.is_empty() {
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
    match event.source.as_deref().map(|source| source.kind.as_str()) {
        Some(LISTENER) => "no connection",
        _ if operation == "connect" => "no answer",
        _ if event.direction == Some(Direction::Write) => "no space",
        _ => "no data",
    }
}

/// The sum of a recording, in one line.
pub fn sum(counts: &Counts) -> String {
    let Counts { polls, spurious, wakes, would_blocks, length, .. } = *counts;
    format!(
        "{} ({spurious} spurious), {}, {}; the thread slept {:.1} % of {}.",
        some(polls, "poll"),
        some(wakes, "wake"),
        some(would_blocks, "WouldBlock"),
        counts.share_slept() * 100.0,
        time(length)
    )
}

/// One line tells no more events than these.
const FOLDED: usize = 5;

/// The events up to the first that is missing: what lies between two is not told with them.
fn unbroken(events: &[Event]) -> &[Event] {
    let follows = |pair: &[Event]| pair[1].number == pair[0].number + 1;
    let events = &events[..events.len().min(FOLDED)];
    let length = 1 + events.windows(2).take_while(|pair| follows(pair)).count();
    &events[..length.min(events.len())]
}

fn fold_register(events: &[Event]) -> Option<Told> {
    let [register, spawn, ..] = events else { return None };
    let Kind::Spawn { .. } = spawn.kind else { return None };
    let source = source(register.source.as_deref());
    let what = format!("register {source}; spawn {}", named(spawn.task.as_deref()));
    let queued = is_spawn_queue(events.get(2));
    Some(Told::new(&of_task(register), what, if queued { 3 } else { 2 }))
}

fn fold_spawn(events: &[Event]) -> Option<Told> {
    let spawn = &events[0];
    if !is_spawn_queue(events.get(1)) {
        return None;
    }
    let is_polled = |next: &Event| {
        next.kind == Kind::Poll { nth: 1 } && next.task_number() == spawn.task_number()
    };
    let what = format!("spawn {}", named(spawn.task.as_deref()));
    Some(match events.get(2).is_some_and(is_polled) {
        true => Told::new("executor", what + "; poll it, 1st time", 3),
        false => Told::new("executor", what, 2),
    })
}

/// How a task comes to wait, which has been told before.
fn fold_wait(events: &[Event]) -> Option<Told> {
    let kept = match &events[0].kind {
        Kind::Try { outcome: Outcome::WouldBlock, .. } => &events[1..],
        _ => events,
    };
    let [store, pending, ..] = kept else { return None };
    let (Kind::Store { .. }, Kind::Pending) = (&store.kind, &pending.kind) else { return None };
    let who = of_task(&events[0]);
    Some(match &events[0].kind {
        Kind::Try { operation, .. } => {
            Told::new(&who, format!("{operation} -> WouldBlock; waker stored; Pending"), 3)
        }
        _ => Told::new(&who, "waker stored; Pending".to_owned(), 2),
    })
}

fn ready(written: u64) -> String {
    match written {
        0 => "Ready".to_owned(),
        _ => format!("Ready: {} written", count(written)),
    }
}

fn fold_end(events: &[Event]) -> Option<Told> {
    let [deregister, done, ..] = events else { return None };
    let Kind::Done { written } = done.kind else { return None };
    let source = source(deregister.source.as_deref());
    let what = format!("closes {source}; {}", ready(written));
    Some(Told::new(&of_task(deregister), what, 2))
}

/// `source 1 is readable`; without the verb, where the line has no room for it.
fn said(event: &Event, news: Readiness) -> String {
    let source = source(event.source.as_deref());
    let news = news.to_string();
    if news.contains(' ') { format!("{source} {news}") } else { format!("{source} is {news}") }
}

/// As many of the causes as there is room for, the nearest first.
fn reasons(causes: &[u64], room: usize) -> String {
    let mut text = String::new();
    for cause in causes {
        let more = if text.is_empty() { format!("#{cause}") } else { format!(" #{cause}") };
        if text.len() + more.len() > room {
            break;
        }
        text += &more;
    }
    text
}

fn is_spawn_queue(event: Option<&Event>) -> bool {
    event.is_some_and(|event| event.kind == Kind::Queue { by: By::Spawn })
}

/// The task as an actor: `task 2`.
fn of_task(event: &Event) -> String {
    event.task_number().map_or("task".to_owned(), |number| format!("task {number}"))
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

/// Nothing that a terminal takes for a command, or that is not one column wide.
fn ascii(text: &str) -> String {
    text.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect()
}

/// ASCII, and no longer than there is room.
fn cut(text: &str, room: usize) -> String {
    let text = ascii(text);
    if text.len() <= room { text } else { format!("{}..", &text[..room - 2]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinals_are_english() {
        let all = [1, 2, 3, 4, 11, 12, 13, 21, 102, 111, 1000].map(ordinal);
        let words = [
            "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "111th", "1,000th",
        ];
        assert_eq!(all, words.map(|word| format!("{word} time")));
    }

    fn told(number: u64, thread: &str, act: &str) -> String {
        let event = Event {
            number,
            at: Duration::from_secs(10 * 60 * 60),
            thread: thread.into(),
            actor: crate::event::Actor::Outside,
            kind: Kind::Outside { act: act.to_owned() },
            task: None,
            source: None,
            direction: None,
            causes: vec![number - 2, number - 1],
            file: "",
            line: 0,
        };
        Ladder { first: Some(0), ..Ladder::new(true, false) }.lines(&[event])
    }

    #[test]
    fn causes_that_have_no_room_beside_a_step_stand_below_it() {
        let act = "does what takes a good many words to say and is cut off in the end";
        let told = told(1_234_567, "client", act);
        let lines: Vec<_> = told.lines().collect();
        let [first, second] = lines[..] else { panic!("{told}") };
        assert!(first.contains("client") && first.ends_with(".."), "{told}");
        assert_eq!(second.trim_start(), "#1234565 #1234566");
        assert!(lines.iter().all(|line| line.len() <= END), "{told}");
    }

    #[test]
    fn a_terminal_gets_no_commands_and_no_wide_letters() {
        let act = format!("says\n\x1b[31m{}", "\u{1f980}".repeat(100));
        let told = told(3, "\u{437}\u{430}\t\x1b", &act);
        let plain = |line: &str| line.chars().all(|c| c == ' ' || c.is_ascii_graphic());
        assert!(told.lines().all(|line| plain(line) && line.len() <= END), "{told:?}");
    }
}
