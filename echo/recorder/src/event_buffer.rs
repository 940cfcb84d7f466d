//! A buffer of the last events of a run, with the state before the first of them.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use crate::event::{Event, Kind};
use crate::state::State;

/// The last events of a run, at most as many as the capacity.
pub(crate) struct EventBuffer {
    events: VecDeque<Event>,
    /// The number of the next event.
    next: u64,
    /// The number of the event that started the recording.
    start: u64,
    capacity: usize,
    /// The state to which the dropped events led.
    before: State,
}

impl EventBuffer {
    pub(crate) fn new(capacity: usize) -> EventBuffer {
        EventBuffer {
            events: VecDeque::new(),
            next: 0,
            start: 0,
            capacity,
            before: State::default(),
        }
    }

    /// Starts the recording: drops all earlier events into the state before the first one. See
    /// [`State::restart`] for `elapsed` and `is_idle`.
    pub(crate) fn start(&mut self, start: Event, elapsed: Duration, is_idle: bool) {
        while let Some(event) = self.events.pop_front() {
            self.before.apply(&event);
        }
        self.before.restart(elapsed, is_idle);
        self.start = self.push(start);
    }

    pub(crate) fn next_number(&self) -> u64 {
        self.next
    }

    pub(crate) fn push(&mut self, event: Event) -> u64 {
        if self.events.len() >= self.capacity
            && let Some(oldest) = self.events.pop_front()
        {
            self.before.apply(&oldest);
            self.before.forget_ended();
        }
        self.events.push_back(event);
        self.next += 1;
        self.next - 1
    }

    /// Returns the event with this number, unless it was dropped.
    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut Event> {
        let first = self.next - self.events.len() as u64;
        self.events.get_mut(number.checked_sub(first)? as usize)
    }

    /// Returns the events from this number on. All numbers are counted from the start.
    pub(crate) fn since(&self, number: u64) -> impl Iterator<Item = Event> {
        // The numbers have no gaps, so the index of the first event is a difference.
        let first = self.next - self.events.len() as u64;
        let skipped = (number + self.start).saturating_sub(first) as usize;
        let rest = self.events.range(skipped.min(self.events.len())..);
        rest.map(|event| self.renumbered(event))
    }

    fn renumbered(&self, event: &Event) -> Event {
        let mut event = event.clone();
        count_from(self.start, &mut event);
        event
    }

    /// Takes all events out, with their numbers counted from the start. Copies no event, because the
    /// events may fill most of the memory.
    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        let mut events = Vec::from(std::mem::take(&mut self.events));
        events.iter_mut().for_each(|event| count_from(self.start, event));
        events
    }

    /// Returns the state before the first event, with numbers that are counted from the start.
    pub(crate) fn before(&self) -> State {
        let mut before = self.before.clone();
        before.renumber(|by| by.saturating_sub(self.start));
        before
    }

    /// Returns how many events since the start were dropped, including the start itself.
    pub(crate) fn dropped(&self) -> u64 {
        self.next - self.events.len() as u64 - self.start
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Returns the number of events from this number on, including dropped ones. The number is counted
    /// from the start.
    pub(crate) fn len_since(&self, number: u64) -> usize {
        (self.next - self.start).saturating_sub(number) as usize
    }

    /// Whether the last event is a sleep, so far as is recorded.
    pub(crate) fn is_asleep(&self) -> bool {
        self.events.back().is_some_and(|event| matches!(event.kind, Kind::Sleep { .. }))
    }
}

fn count_from(start: u64, event: &mut Event) {
    event.number -= start;
    for cause in &mut event.causes {
        // The start represents every event before it.
        *cause = cause.saturating_sub(start);
    }
    if event.causes.len() > 1 {
        // Two causes before the start have become the same cause.
        let mut seen = HashSet::new();
        event.causes.retain(|cause| seen.insert(*cause));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use executor::{spawn, spawn_blocking, yield_now};
    use log::LevelFilter;
    use reactor::io::{AsyncReadExt, AsyncWriteExt};
    use reactor::net::{TcpListener, TcpStream};
    use reactor::time::sleep;

    use crate::event::{Actor, Task};
    use crate::{Options, Recorder};

    async fn one_client() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let serving = spawn(async move {
            server.read_exact(&mut [0; 2]).await.unwrap();
        });
        for _ in 0..2 {
            client.write_all(b"x").await.unwrap();
            yield_now().await;
        }
        serving.await.unwrap();
    }

    async fn program() {
        for _ in 0..50 {
            let waits = spawn(sleep(Duration::from_secs(60)));
            let job = spawn_blocking(|| ());
            one_client().await;
            job.await.unwrap();
            waits.abort();
        }
    }

    /// Returns the events of a real run.
    fn events() -> Vec<Event> {
        let options = Options::recording(1_000_000);
        let recorder = Recorder::install(Box::new(log::logger()), LevelFilter::Off, options);
        let recorder = recorder.expect("no other logger");
        executor::block_on(program());
        recorder.recording().events
    }

    fn state_after<'a>(mut state: State, events: impl IntoIterator<Item = &'a Event>) -> State {
        events.into_iter().for_each(|event| state.apply(event));
        state.forget_ended();
        state
    }

    #[test]
    fn dropped_events_lead_to_the_state_before_the_others() {
        let events = events();
        assert!(events.len() > 1000, "{}", events.len());
        let end = state_after(State::default(), &events);
        for capacity in [1, 10, 100, 1000] {
            let mut buffer = EventBuffer::new(capacity);
            events.iter().for_each(|event| _ = buffer.push(event.clone()));
            assert_eq!(
                (buffer.dropped(), buffer.events.len()),
                ((events.len() - capacity) as u64, capacity)
            );
            let dropped = &events[..events.len() - capacity];
            let before = state_after(State::default(), dropped);
            assert_eq!(buffer.before(), before, "before the last {capacity}");
            let after = state_after(buffer.before(), buffer.events.iter());
            assert_eq!(after, end, "after the last {capacity}");
        }
    }

    fn event(number: u64, kind: Kind) -> Event {
        let task = Task { id: number, name: String::new(), location: String::new() };
        Event {
            number,
            at: Duration::ZERO,
            thread: Arc::from("main"),
            actor: Actor::Executor,
            kind,
            task: Some(Arc::new(task)),
            source: None,
            direction: None,
            causes: Vec::new(),
            file: "",
            line: 0,
            stack: None,
        }
    }

    /// Returns how long it takes to drop a thousand events while this number of tasks is live.
    fn time_to_drop(tasks: u64) -> Duration {
        let mut buffer = EventBuffer::new(1);
        (0..tasks).for_each(|number| _ = buffer.push(event(number, Kind::Spawn { by: None })));
        let began = Instant::now();
        (0..1000).for_each(|_| _ = buffer.push(event(0, Kind::QueuedAlready)));
        began.elapsed()
    }

    /// Returns how long it takes to read the last of this number of events, a thousand times.
    fn time_to_read(events: u64) -> Duration {
        let mut buffer = EventBuffer::new(events as usize);
        (0..events).for_each(|number| _ = buffer.push(event(number, Kind::Look)));
        let began = Instant::now();
        let last = (0..1000).map(|_| buffer.since(events - 1).count()).max();
        assert_eq!(last, Some(1));
        began.elapsed()
    }

    #[test]
    fn reading_the_last_event_takes_constant_time() {
        let fastest = |events| (0..5).map(|_| time_to_read(events)).min().unwrap();
        let (few, many) = (fastest(10), fastest(10_000));
        assert!(many < 20 * few, "{few:?} {many:?}");
    }

    #[test]
    fn dropping_an_event_takes_constant_time() {
        let fastest = |tasks| (0..5).map(|_| time_to_drop(tasks)).min().unwrap();
        let (few, many) = (fastest(10), fastest(10_000));
        // Visiting each task would take a thousand times as long.
        assert!(many < 20 * few, "{few:?} {many:?}");
    }
}
