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
        if self.events.len() >= self.room
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
        // They are numbered without a gap, so nobody has to look for the first.
        let first = self.next - self.events.len() as u64;
        let skipped = (number + self.start).saturating_sub(first) as usize;
        let rest = self.events.range(skipped.min(self.events.len())..);
        rest.map(|event| self.counted(event))
    }

    /// With all numbers counted from the start.
    fn counted(&self, event: &Event) -> Event {
        let mut event = event.clone();
        count_from(self.start, &mut event);
        event
    }

    /// Takes all events out, counted from the start. This copies none of them: they may fill most
    /// of the memory.
    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        let mut events = Vec::from(std::mem::take(&mut self.events));
        events.iter_mut().for_each(|event| count_from(self.start, event));
        events
    }

    pub(crate) fn before(&self) -> &State {
        &self.before
    }

    /// How many events were dropped, the start among them.
    pub(crate) fn dropped(&self) -> u64 {
        self.next - self.events.len() as u64 - self.start
    }

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

fn count_from(start: u64, event: &mut Event) {
    event.number -= start;
    for cause in &mut event.causes {
        // What happened before the start is not told: it is the start itself.
        *cause = cause.saturating_sub(start);
    }
    if event.causes.len() > 1 {
        // A cause that stands twice says nothing more.
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

    /// What really happened, from the first event on.
    fn events() -> Vec<Event> {
        let options = Options::recording(1_000_000);
        let recorder = Recorder::install(Box::new(log::logger()), LevelFilter::Off, options);
        let recorder = recorder.expect("no other logger");
        executor::block_on(program());
        recorder.recording().events
    }

    fn state_after<'a>(mut state: State, events: impl IntoIterator<Item = &'a Event>) -> State {
        events.into_iter().for_each(|event| state.apply(event));
        state.forget_what_is_over();
        state
    }

    #[test]
    fn what_was_dropped_has_led_to_the_state_before_what_was_kept() {
        let events = events();
        assert!(events.len() > 1000, "{}", events.len());
        let end = state_after(State::default(), &events).cells();
        for room in [1, 10, 100, 1000] {
            let mut tape = Tape::new(room);
            events.iter().for_each(|event| _ = tape.push(event.clone()));
            assert_eq!((tape.dropped(), tape.events.len()), ((events.len() - room) as u64, room));
            let dropped = &events[..events.len() - room];
            let before = state_after(State::default(), dropped).cells();
            assert_eq!(tape.before().cells(), before, "before the last {room}");
            let after = state_after(tape.before().clone(), tape.events.iter()).cells();
            assert_eq!(after, end, "after the last {room}");
        }
    }

    fn event(number: u64, kind: Kind) -> Event {
        let task = Task { number, name: String::new(), place: String::new() };
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
        }
    }

    /// How long it takes to drop a thousand events while so many tasks live.
    fn time_to_drop(tasks: u64) -> Duration {
        let mut tape = Tape::new(1);
        (0..tasks).for_each(|number| _ = tape.push(event(number, Kind::Spawn { by: None })));
        let began = Instant::now();
        (0..1000).for_each(|_| _ = tape.push(event(0, Kind::QueuedAlready)));
        began.elapsed()
    }

    /// How long it takes to look a thousand times at the last of so many events.
    fn time_to_look(events: u64) -> Duration {
        let mut tape = Tape::new(events as usize);
        (0..events).for_each(|number| _ = tape.push(event(number, Kind::Look)));
        let began = Instant::now();
        let last = (0..1000).map(|_| tape.since(events - 1).count()).max();
        assert_eq!(last, Some(1));
        began.elapsed()
    }

    #[test]
    fn to_look_at_the_last_events_takes_no_longer_when_many_are_kept() {
        let fastest = |events| (0..5).map(|_| time_to_look(events)).min().unwrap();
        let (few, many) = (fastest(10), fastest(10_000));
        assert!(many < 20 * few, "{few:?} {many:?}");
    }

    #[test]
    fn to_drop_an_event_takes_no_longer_when_many_tasks_live() {
        let fastest = |tasks| (0..5).map(|_| time_to_drop(tasks)).min().unwrap();
        let (few, many) = (fastest(10), fastest(10_000));
        // Whoever looked at each of them took a thousand times as long.
        assert!(many < 20 * few, "{few:?} {many:?}");
    }
}
