//! The ladder: a run as text of at most 80 columns, one step or one known pattern of steps a line.
//!
//! What is told for the first time is told step by step: how a task comes to wait, and how each
//! task is woken. When the same comes again, its steps are folded into one line.

use std::collections::HashSet;
use std::fmt::Write;
use std::time::Duration;

use crate::event::{By, Event, Kind, Outcome};
use crate::recording::Counts;
use crate::story::LISTENER;
use crate::words::{count, result, source, task, thousands, time};

/// The first line of a ladder: the names of its columns.
pub const HEAD: &str =
    "    #      ms  who       what                                           why";

/// Where `why` begins, and where a line ends at the latest.
const WHY: usize = 71;
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
        Ladder { all, colour, wait: false, climbs: HashSet::new(), spoke: None }
    }

    /// The lines for these events, which follow upon those before.
    pub fn lines(&mut self, events: &[Event]) -> String {
        let mut text = String::new();
        let mut rest = events;
        while let Some(first) = rest.first() {
            let (told, what) = self.next(rest);
            if let (Kind::Done { .. } | Kind::Abort | Kind::Panic, Some(task)) =
                (&told[what.1 - 1].kind, told[what.1 - 1].task_number())
            {
                self.climbs.remove(&task);
            }
            if first.kind != Kind::Start {
                self.line(&told[..what.1], what.0, &mut text);
            }
            rest = &rest[what.1..];
        }
        text
    }

    /// The next line: who does what, and how many of the events it tells.
    fn next<'a>(&mut self, events: &'a [Event]) -> (&'a [Event], ((String, String), usize)) {
        let folded = if self.all { None } else { self.fold(events) };
        (events, folded.unwrap_or_else(|| (self.single(&events[0]), 1)))
    }

    /// A pattern that needs no telling step by step.
    fn fold(&mut self, events: &[Event]) -> Option<((String, String), usize)> {
        let event = &events[0];
        let kind = |at: usize| events.get(at).map(|event| &event.kind);
        let about = |at: usize| events.get(at).and_then(Event::task_number);
        match &event.kind {
            Kind::Register if matches!(kind(1), Some(Kind::Spawn { .. })) => {
                let what = format!(
                    "register it: {}; spawn {}",
                    source(event.source.as_deref()),
                    named(&events[1])
                );
                let steps = if is_spawn_queue(kind(2)) { 3 } else { 2 };
                Some((("task".to_owned() + &number(event), what), steps))
            }
            Kind::Spawn { .. } if is_spawn_queue(kind(1)) => {
                let polled = matches!(kind(2), Some(Kind::Poll { nth: 1 })) && about(2) == about(0);
                let then = if polled { "; poll it, 1st time" } else { "" };
                let what = format!("spawn {}{then}", named(event));
                Some((("executor".to_owned(), what), if polled { 3 } else { 2 }))
            }
            Kind::Try { operation, outcome: Outcome::WouldBlock } if self.wait => {
                let waits = matches!(kind(1), Some(Kind::Store { .. }))
                    && matches!(kind(2), Some(Kind::Pending));
                let what = format!("{operation} -> WouldBlock; waker kept; Pending");
                waits.then(|| (("task".to_owned() + &number(event), what), 3))
            }
            Kind::Store { .. } if self.wait && matches!(kind(1), Some(Kind::Pending)) => {
                Some((("task".to_owned() + &number(event), "waker kept; Pending".to_owned()), 2))
            }
            Kind::Sleep { slept: None, .. } => match (kind(1), events.get(1)) {
                (Some(Kind::Event { news, .. }), Some(next)) => {
                    let source = source(next.source.as_deref());
                    let what = format!("epoll_wait returns at once: {source} is {news}");
                    let nobody = if next.kind.wakers_taken() == 0 { NOBODY } else { "" };
                    self.spoke = Some(next.at);
                    Some((("kernel".to_owned(), what + nobody), 2))
                }
                _ => None,
            },
            Kind::Outside { .. } | Kind::Event { .. } => self.fold_climb(events),
            Kind::Deregister if matches!(kind(1), Some(Kind::Done { .. })) => {
                let Some(Kind::Done { written }) = kind(1) else { return None };
                let what = format!(
                    "Ready: {} echoed; {} closed",
                    count(*written),
                    source(event.source.as_deref())
                );
                Some((("task".to_owned() + &number(event), what), 2))
            }
            _ => None,
        }
    }

    /// From the outside up to the poll, if it has been told for this task.
    fn fold_climb(&mut self, events: &[Event]) -> Option<((String, String), usize)> {
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
        let steps = 4 + usize::from(outside);
        match &events[0].kind {
            Kind::Outside { act } => {
                let what = format!("{act}; {source} {news}; wake; queue; poll");
                Some(((events[0].thread.to_string(), what), steps))
            }
            _ => {
                Some((("kernel".to_owned(), format!("{source} {news}; wake; queue; poll")), steps))
            }
        }
    }

    /// Who does what, for one event.
    fn single(&mut self, event: &Event) -> (String, String) {
        let of_task = || "task".to_owned() + &number(event);
        let task = task(event.task.as_deref());
        let from = source(event.source.as_deref());
        let by = |who: &str, what: String| (who.to_owned(), what);
        match &event.kind {
            Kind::Start => by("", String::new()),
            Kind::Spawn { .. } => by("executor", format!("spawn {}", named(event))),
            Kind::Register => by("reactor", format!("register it: {from}")),
            Kind::Deregister => by("reactor", format!("deregister {from}, then close it")),
            Kind::Poll { nth } => by("executor", format!("poll {task}, {}", ordinal(*nth))),
            Kind::Try { operation, outcome } => {
                (of_task(), self.attempt(event, operation, outcome))
            }
            Kind::Store { .. } => by("reactor", format!("keep the waker of {task} in {from}")),
            Kind::Pending => {
                self.wait = true;
                (of_task(), "Pending: gives the thread back".to_owned())
            }
            Kind::Sleep { limit: None, .. } => {
                by("kernel", "epoll_wait, as the run queue is empty".to_owned())
            }
            Kind::Sleep { limit: Some(limit), .. } => {
                by("kernel", format!("epoll_wait, for {} at most", time(*limit)))
            }
            Kind::Look => by("kernel", "epoll_wait that only looks: work is queued".to_owned()),
            Kind::Outside { act } => {
                let thread = if act == "connects" { " (on a thread of its own)" } else { "" };
                by(&event.thread, format!("{act}{thread}"))
            }
            Kind::Event { news, .. } => {
                self.spoke = Some(event.at);
                let nobody = if event.kind.wakers_taken() == 0 { NOBODY } else { "" };
                by("kernel", format!("epoll_wait returns: {from} is {news}{nobody}"))
            }
            Kind::Wake => {
                self.climbs.extend(event.task_number());
                by("reactor", format!("wake {task}"))
            }
            Kind::Queue { by: By::Thread } => {
                by(&event.thread, format!("wake {task}: into the inbox"))
            }
            Kind::Queue { by: By::Task } => {
                by("queue", format!("{task} goes into the run queue, woken by a task"))
            }
            Kind::Queue { .. } => by("queue", format!("{task} goes into the run queue")),
            Kind::QueuedAlready => {
                by("queue", format!("{task} is there already: one poll for both"))
            }
            Kind::Notified => {
                by("kernel", "epoll_wait returns: another thread notified".to_owned())
            }
            Kind::TimerSet { after } => {
                by("reactor", format!("keep the waker of {task} for {}", time(*after)))
            }
            Kind::TimerFired => by("reactor", format!("the timer of {task} is due")),
            Kind::TimerDropped => by("reactor", format!("drop the timer of {task}")),
            Kind::JobSubmitted => by("reactor", "a job goes to the pool".to_owned()),
            Kind::JobDone => by(&event.thread, "the job is done".to_owned()),
            Kind::JobFinished => by("reactor", "the job of the pool has finished".to_owned()),
            Kind::BudgetSpent => (of_task(), "did enough for one poll: yields".to_owned()),
            Kind::Done { written: 0 } => (of_task(), "Ready".to_owned()),
            Kind::Done { written } => (of_task(), format!("Ready: {} echoed", count(*written))),
            Kind::Abort => (of_task(), "aborted: its future is dropped".to_owned()),
            Kind::Panic => (of_task(), "panics; the others run on".to_owned()),
            Kind::Lost => {
                by("executor", format!("nothing can wake {task}: nobody holds its waker"))
            }
        }
    }

    fn attempt(&self, event: &Event, operation: &str, outcome: &Outcome) -> String {
        let result = result(outcome);
        match outcome {
            Outcome::WouldBlock => {
                let kind = event.source.as_deref().map(|source| source.kind.as_str());
                let nobody = if kind == Some(LISTENER) { "nobody there" } else { "nothing there" };
                format!("{operation} -> WouldBlock (EAGAIN): {nobody}")
            }
            Outcome::Short(_) if operation == "read" => {
                format!("read -> {result}: all there was, so not ready")
            }
            Outcome::Bytes(_) if operation == "write" => match self.spoke {
                Some(spoke) => {
                    let after = time(event.at.saturating_sub(spoke));
                    format!("write -> {result}, {after} after the kernel spoke")
                }
                None => format!("write -> {result}"),
            },
            _ => format!("{operation} -> {result}"),
        }
    }

    fn line(&self, told: &[Event], (who, what): (String, String), text: &mut String) {
        let (first, last) = (&told[0], &told[told.len() - 1]);
        // A wait that was none is told as what the kernel had to say.
        let reason = if let (Kind::Sleep { .. }, Kind::Event { .. }) = (&first.kind, &last.kind) {
            last
        } else {
            first
        };
        let outside = |cause: &&u64| **cause > 0 && !(first.number..last.number).contains(*cause);
        let line = Line {
            steps: (first.number, last.number),
            at: first.at,
            who,
            what,
            why: reason.causes.iter().filter(outside).copied().collect(),
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
        let why: Vec<_> = line.why.iter().map(|cause| format!("#{cause}")).collect();
        let why = why.join(" ");
        let mut whats = line.what.split('\n');
        let who = ascii(&line.who.chars().take(9).collect::<String>());
        let room = END - left.len() - 12;
        let what = cut(whats.next().unwrap_or_default(), room);
        // `why` gives way to `what`, and then stands below it; both give way to the edge.
        let width = left.len() + 12 + what.len();
        let place = WHY.min(END - why.len().min(END));
        let gap = place.saturating_sub(width).max(2);
        let fits = width + gap + why.len() <= END && !why.is_empty();
        let (gap, beside) = if fits { (" ".repeat(gap), &*why) } else { Default::default() };
        let told = self.paint(line.task, &format!("{who:<9} {what}"));
        let _ = writeln!(text, "{}  {told}{gap}{}", self.dim(&left), self.dim(beside));
        if !fits && !why.is_empty() {
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

/// Said under an event that wakes nobody.
const NOBODY: &str = "\nnobody waits for that, so nobody is woken";

/// The sum of a recording, in one line.
pub fn sum(counts: &Counts) -> String {
    let Counts { polls, spurious, wakes, would_blocks, slept, length } = *counts;
    let some = |number: u64, word: &str| {
        format!("{} {word}{}", thousands(number), if number == 1 { "" } else { "s" })
    };
    let share = if length.is_zero() { 0.0 } else { slept.as_secs_f64() / length.as_secs_f64() };
    format!(
        "{} ({spurious} spurious), {}, {}; the thread slept {:.1} % of {}.",
        some(polls, "poll"),
        some(wakes, "wake"),
        some(would_blocks, "WouldBlock"),
        share * 100.0,
        time(length)
    )
}

fn is_spawn_queue(kind: Option<&Kind>) -> bool {
    matches!(kind, Some(Kind::Queue { by: By::Spawn }))
}

/// ` 2`, after the word.
fn number(event: &Event) -> String {
    event.task_number().map_or(String::new(), |number| format!(" {number}"))
}

/// `task 2 "echo"`.
fn named(event: &Event) -> String {
    let name = event.task.as_deref().map_or("", |task| task.name.as_str());
    let name = if name.is_empty() { String::new() } else { format!(" \"{name}\"") };
    task(event.task.as_deref()) + &name
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

    fn told(number: u64, thread: &str, kind: Kind) -> String {
        let event = Event {
            number,
            at: Duration::from_secs(10 * 60 * 60),
            thread: thread.into(),
            actor: crate::event::Actor::Outside,
            kind,
            task: None,
            source: None,
            direction: None,
            causes: vec![number - 2, number - 1],
            file: "",
            line: 0,
        };
        Ladder::new(true, false).lines(&[event])
    }

    #[test]
    fn causes_that_have_no_room_beside_a_step_stand_below_it() {
        let act = "does what takes a good many words to say and is cut off in the end";
        let told = told(1_234_567, "client", Kind::Outside { act: act.to_owned() });
        let lines: Vec<_> = told.lines().collect();
        let [first, second] = lines[..] else { panic!("{told}") };
        assert!(first.contains("client") && first.ends_with(".."), "{told}");
        assert_eq!(second.trim_start(), "#1234565 #1234566");
        assert!(lines.iter().all(|line| line.len() <= END), "{told}");
    }

    #[test]
    fn a_terminal_gets_no_commands_and_no_wide_letters() {
        let act = format!("says\n\x1b[31m{}", "\u{1f980}".repeat(100));
        let told = told(3, "\u{437}\u{430}\t\x1b", Kind::Outside { act });
        let plain = |line: &str| line.chars().all(|c| c == ' ' || c.is_ascii_graphic());
        assert!(told.lines().all(|line| plain(line) && line.len() <= END), "{told:?}");
    }
}
