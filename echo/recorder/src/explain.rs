//! Prints the ladder of a running server.

use std::io::Write;

use crate::event::{Event, Kind};
use crate::event_buffer::EventBuffer;
use crate::ladder::Ladder;
use crate::recording::TaskFilter;
use crate::units::{count, plural, thousands};

/// The number of events after which a thread that does not sleep prints. Printing more of them together
/// would block the thread for too long.
const MAX_BATCH: usize = 2048;

/// Prints what some tasks do, whenever the thread is about to sleep.
pub struct Explain {
    out: Box<dyn Write + Send>,
    ladder: Ladder,
    /// Printed above the first line, as soon as there is one.
    header: Option<String>,
    filter: TaskFilter,
    /// The name of the task that accepts, which is always followed.
    accepts: &'static str,
    /// The name of the tasks that serve a connection.
    serves: &'static str,
    /// Whether to follow all tasks named `serves`, and not only one at a time.
    every: bool,
    /// The tasks named `serves` that are being followed.
    followed: Vec<u64>,
    /// The number of the next event to print.
    next: u64,
    /// The steps of other tasks that were left out since the last end of a followed task.
    left_out: u64,
}

impl Explain {
    /// Creates an `Explain` that follows the task named `accepts` and tasks named `serves`.
    ///
    /// If `every` is false, it follows one task named `serves` at a time, and the next one after that
    /// task has ended.
    pub fn new(
        out: Box<dyn Write + Send>,
        accepts: &'static str,
        serves: &'static str,
        every: bool,
        ladder: Ladder,
    ) -> Explain {
        let (filter, followed) = (TaskFilter::new(&[]), Vec::new());
        let header = Some(ladder.header());
        Explain {
            out,
            ladder,
            header,
            filter,
            accepts,
            serves,
            every,
            followed,
            next: 1,
            left_out: 0,
        }
    }

    /// Prints the new events if the thread is about to sleep or if there are many. The recorder calls
    /// this after each event.
    pub(crate) fn update(&mut self, buffer: &EventBuffer) {
        if !buffer.is_asleep() && buffer.len_since(self.next) < MAX_BATCH.min(buffer.capacity() / 2)
        {
            return;
        }
        let mut events: Vec<Event> = buffer.since(self.next).collect();
        if buffer.is_asleep() {
            // Print a sleep after it has ended, because only then its length is known.
            events.pop();
        }
        let Some(last) = events.last() else { return };
        let first = events.first().map_or(self.next, |event| event.number);
        if first > self.next {
            self.print(&format!("({} steps are missing)\n", thousands(first - self.next)));
        }
        self.next = last.number + 1;
        self.print_events(&events);
    }

    fn print_events(&mut self, events: &[Event]) {
        let mut ended = Vec::new();
        for event in events {
            let Some(task) = &event.task else { continue };
            match event.kind {
                Kind::Spawn { .. } if task.name == self.accepts => self.filter.add(task.id),
                Kind::Spawn { .. }
                    if task.name == self.serves && (self.every || self.followed.is_empty()) =>
                {
                    self.filter.add(task.id);
                    self.followed.push(task.id);
                }
                Kind::Done { written } if self.followed.contains(&task.id) => {
                    ended.push((task.id, Some(written)));
                }
                Kind::Abort | Kind::Panic if self.followed.contains(&task.id) => {
                    ended.push((task.id, None));
                }
                _ => {}
            }
        }
        let kept = self.filter.select(events);
        let shown: Vec<Event> =
            events.iter().filter(|event| kept.contains(&event.number)).cloned().collect();
        let is_of_task = |event: &&Event| event.task.is_some() || event.source.is_some();
        let others = events.iter().filter(|event| !kept.contains(&event.number));
        self.left_out += others.filter(is_of_task).count() as u64;
        let mut text = self.ladder.lines(&shown);
        for (task, written) in ended {
            self.filter.remove(task);
            self.followed.retain(|followed| *followed != task);
            let what =
                written.map_or("it did not complete".to_owned(), |bytes| count(bytes) + " written");
            text += &format!("task {task} has ended: {what}.\n");
            if self.left_out > 0 {
                let steps = plural(std::mem::take(&mut self.left_out), "step");
                text += &format!("(left out: {steps} of other tasks)\n");
            }
        }
        if !text.is_empty()
            && let Some(header) = self.header.take()
        {
            self.print(&format!("{header}\n"));
        }
        self.print(&text);
    }

    /// Ignores write errors: the server continues even if its output is closed.
    fn print(&mut self, text: &str) {
        for line in text.split_inclusive('\n') {
            let _ = self.out.write_all(line.as_bytes());
        }
    }
}
