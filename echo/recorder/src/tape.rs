//! The last events of a run, and the state of things before them.

use std::collections::{HashSet, VecDeque};

use crate::event::{Event, Kind};
use crate::state::State;

/// The last events, at most as many as were asked for.
pub(crate) struct Tape {
    events: VecDeque<Event>,
    /// The number that the next event gets.
    next: u64,
    /// The number of the start.
    start: u64,
    room: usize,
    /// What the events that are gone have led to.
    before: State,
}

impl Tape {
    pub(crate) fn new(room: usize) -> Tape {
        Tape { events: VecDeque::new(), next: 0, start: 0, room, before: State::default() }
    }

    /// Begins anew: all that was told so far goes into the state before the first event.
    pub(crate) fn start(&mut self, start: Event) {
        while let Some(event) = self.events.pop_front() {
            self.before.apply(&event);
        }
        self.before.forget_what_is_over();
        self.start = self.push(start);
    }

    pub(crate) fn next_number(&self) -> u64 {
        self.next
    }

    pub(crate) fn push(&mut self, event: Event) -> u64 {
        if self.events.len() == self.room
            && let Some(oldest) = self.events.pop_front()
        {
            self.before.apply(&oldest);
            self.before.forget_what_is_over();
        }
        self.events.push_back(event);
        self.next += 1;
        self.next - 1
    }

    /// An event that has not been dropped.
    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut Event> {
        let first = self.next - self.events.len() as u64;
        self.events.get_mut(number.checked_sub(first)? as usize)
    }

    /// The state before the first event, and the events from that number on, counted from the start.
    pub(crate) fn since(&self, number: u64) -> impl Iterator<Item = Event> {
        let skipped =
            self.events.iter().skip_while(move |event| event.number < number + self.start);
        skipped.map(|event| self.counted(event))
    }

    /// With all numbers counted from the start.
    fn counted(&self, event: &Event) -> Event {
        let mut event = event.clone();
        event.number -= self.start;
        for cause in &mut event.causes {
            // What happened before the start is not told: it is the start itself.
            *cause = cause.saturating_sub(self.start);
        }
        // A cause that stands twice says nothing more.
        let mut seen = HashSet::new();
        event.causes.retain(|cause| seen.insert(*cause));
        event
    }

    pub(crate) fn before(&self) -> &State {
        &self.before
    }

    /// How many events were dropped, the start among them.
    pub(crate) fn dropped(&self) -> u64 {
        self.next - self.events.len() as u64 - self.start
    }
}

impl Tape {
    pub(crate) fn room(&self) -> usize {
        self.room
    }

    /// How many there are from that number on, counted from the start.
    pub(crate) fn len_since(&self, number: u64) -> usize {
        (self.next - self.start).saturating_sub(number) as usize
    }

    /// Whether the thread has nothing to do after this event: a good moment to tell what was.
    pub(crate) fn rests(&self) -> bool {
        self.events.back().is_some_and(|event| matches!(event.kind, Kind::Sleep { .. }))
    }
}
