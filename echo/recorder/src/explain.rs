//! Tells a running server's connections as a ladder, while they happen.

use std::io::Write;

use crate::event::{Event, Kind};
use crate::ladder::{HEAD, Ladder};
use crate::recording::Follow;
use crate::tape::Tape;
use crate::words::{count, thousands};

/// A thread that never sleeps tells after so many events: more would hold it up.
const AT_ONCE: usize = 2048;

/// Tells what some tasks do, whenever the thread is about to sleep.
pub struct Explain {
    out: Box<dyn Write + Send>,
    ladder: Ladder,
    /// Stands above the first line, and not before there is one.
    head: Option<&'static str>,
    follow: Follow,
    /// The task that accepts, by its name, is always followed.
    accepts: &'static str,
    /// Tasks of this name are followed: one after the other, or all.
    serves: &'static str,
    every: bool,
    /// Those of them that are followed now.
    followed: Vec<u64>,
    /// The number of the next event to tell.
    next: u64,
}

impl Explain {
    /// Tells about the tasks named `accepts`, and about those named `serves`.
    ///
    /// Of the latter, about one after the other, or about `every` one.
    pub fn new(
        out: Box<dyn Write + Send>,
        accepts: &'static str,
        serves: &'static str,
        every: bool,
        colour: bool,
    ) -> Explain {
        let ladder = Ladder::new(false, colour);
        let (follow, followed) = (Follow::new(&[]), Vec::new());
        let head = Some(HEAD);
        Explain { out, ladder, head, follow, accepts, serves, every, followed, next: 1 }
    }

    /// Called after each event.
    pub(crate) fn follow(&mut self, tape: &Tape) {
        // What sleeps last is not told yet: how long, is known when it is over.
        if !tape.rests() && tape.len_since(self.next) < AT_ONCE.min(tape.room() / 2) {
            return;
        }
        let mut events: Vec<Event> = tape.since(self.next).collect();
        if tape.rests() {
            events.pop();
        }
        let Some(last) = events.last() else { return };
        let first = events.first().map_or(self.next, |event| event.number);
        if first > self.next {
            self.say(&format!("({} steps are missing)\n", thousands(first - self.next)));
        }
        self.next = last.number + 1;
        self.tell(&events);
    }

    fn tell(&mut self, events: &[Event]) {
        let mut ended = Vec::new();
        for event in events {
            let Some(task) = &event.task else { continue };
            match event.kind {
                Kind::Spawn { .. } if task.name == self.accepts => self.follow.add(task.number),
                Kind::Spawn { .. }
                    if task.name == self.serves && (self.every || self.followed.is_empty()) =>
                {
                    self.follow.add(task.number);
                    self.followed.push(task.number);
                }
                Kind::Done { written } if self.followed.contains(&task.number) => {
                    ended.push((task.number, Some(written)));
                }
                Kind::Abort | Kind::Panic if self.followed.contains(&task.number) => {
                    ended.push((task.number, None));
                }
                _ => {}
            }
        }
        let kept = self.follow.of(events);
        let told: Vec<Event> =
            events.iter().filter(|event| kept.contains(&event.number)).cloned().collect();
        let mut text = self.ladder.lines(&told);
        for (task, written) in ended {
            self.follow.remove(task);
            self.followed.retain(|followed| *followed != task);
            let what =
                written.map_or("it did not complete".to_owned(), |bytes| count(bytes) + " written");
            text += &format!("task {task} has ended: {what}.\n");
        }
        if !text.is_empty()
            && let Some(head) = self.head.take()
        {
            self.say(&format!("{head}\n"));
        }
        self.say(&text);
    }

    /// Whoever reads this may have gone; the server goes on.
    fn say(&mut self, text: &str) {
        for line in text.split_inclusive('\n') {
            let _ = self.out.write_all(line.as_bytes());
        }
    }
}
