//! Events have the right causes, and point to the right source lines.
//!
//! Method: random programs of several tasks, and invariants of their recordings.

mod programs;
mod waker_cells;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::future::poll_fn;
use std::path::Path;
use std::task::Poll;
use std::thread;

use executor::{block_on, spawn};
use programs::{Act, alone, everything, install, program, record};
use proptest::prelude::*;
use recorder::{Actor, By, Direction, Event, Kind, Page, Recording, Run, json_lines};
use serde_json::Value;
use tests::child::in_child;
use tests::{page_data, within_deadline};

/// Looks events up by their numbers.
struct Events<'a>(&'a [Event]);

impl<'a> Events<'a> {
    fn cause(&self, event: &Event, place: usize) -> Option<&'a Event> {
        let first = self.0.first()?.number;
        let at = event.causes.get(place)?.checked_sub(first)?;
        self.0.get(at as usize)
    }
}

fn is_root(event: &Event) -> bool {
    let is_of_thread = event.actor == Actor::Outside && matches!(event.kind, Kind::Note { .. });
    is_of_thread
        || matches!(event.kind, Kind::Start | Kind::Outside { .. } | Kind::Spawn { by: None })
}

fn is_end(event: &Event) -> bool {
    matches!(event.kind, Kind::Done { .. } | Kind::Abort | Kind::Panic)
}

fn check_causes(events: &[Event]) {
    for (place, event) in events.iter().enumerate() {
        assert_eq!(event.number, events[0].number + place as u64, "consecutive: {event:?}");
        let earlier = |&cause: &u64| cause < event.number || cause == 0;
        assert!(event.causes.iter().all(earlier), "a cause comes first: {event:?}");
        let caused = event.causes.iter().any(|&cause| cause > 0);
        assert!(is_root(event) || caused, "without a cause: {event:?}");
        let distinct: BTreeSet<u64> = event.causes.iter().copied().collect();
        assert_eq!(distinct.len(), event.causes.len(), "a cause twice: {event:?}");
    }
}

/// Every wake has two causes: the event that led to it, and the step that stored the waker.
fn check_wakes(events: &[Event]) {
    let by_number = Events(events);
    for wake in events.iter().filter(|event| event.kind == Kind::Wake) {
        let (Some(why), Some(kept)) = (by_number.cause(wake, 0), by_number.cause(wake, 1)) else {
            panic!("a wake has two causes: {wake:?}");
        };
        match &why.kind {
            Kind::Event { .. } => {
                assert!(matches!(kept.kind, Kind::Store { .. }), "{wake:?} {kept:?}");
                assert_eq!(kept.source, why.source, "of the source that was reported");
            }
            Kind::TimerFired => {
                // If another task awaits the timer, no step records that its waker was stored.
                let of_timer = matches!(kept.kind, Kind::TimerSet { .. } | Kind::Pending);
                assert!(of_timer, "{wake:?} {kept:?}");
            }
            // The reactor sweeps a source: it wakes all its waiters, before it checks for events.
            Kind::Look => assert!(matches!(kept.kind, Kind::Store { .. }), "{wake:?} {kept:?}"),
            _ => panic!("nothing wakes: {wake:?} {why:?}"),
        }
        if let Some(task) = wake.task_id() {
            assert_eq!(kept.task_id(), Some(task), "its own waker: {wake:?} {kept:?}");
        }
    }
}

/// Every poll is caused by a queue that caused no other poll. Except for a first poll, a wakeup caused
/// the queue.
fn check_polls(events: &[Event]) {
    let by_number = Events(events);
    let mut used = HashSet::new();
    for poll in events {
        let Kind::Poll { nth } = poll.kind else { continue };
        let queue = by_number.cause(poll, 0).unwrap_or_else(|| panic!("not queued: {poll:?}"));
        assert_eq!(poll.causes.len(), 1, "{poll:?}");
        assert_eq!(queue.task, poll.task);
        assert!(used.insert(queue.number), "queued once, polled twice: {poll:?}");
        let Kind::Queue { by } = queue.kind else { panic!("{poll:?} {queue:?}") };
        assert_eq!(by == By::Spawn, nth == 1, "only the first poll is without a wake: {poll:?}");
        let cause = by_number.cause(queue, 0).unwrap_or_else(|| panic!("{queue:?}"));
        match by {
            By::Spawn => {
                assert!(matches!(cause.kind, Kind::Spawn { .. }), "{cause:?}");
                assert_eq!(cause.task, queue.task);
            }
            By::Reactor => {
                assert_eq!(cause.kind, Kind::Wake);
                assert!(cause.task.is_none() || cause.task == queue.task, "{cause:?}");
            }
            // The waker was called by a task or a thread, which logs no `wake`.
            By::Task | By::Thread => {}
        }
    }
}

/// A task is spawned, queued, polled and so on until it ends, one at a time on each thread.
fn check_lives(events: &[Event]) {
    let mut polls: HashMap<u64, u64> = HashMap::new();
    let mut queued: HashSet<u64> = HashSet::new();
    // The number of wakeups in the inbox. Another thread does not know whether the task is queued.
    let mut sent: HashMap<u64, usize> = HashMap::new();
    let take = |sent: &mut HashMap<u64, usize>, task| {
        let left = sent.get_mut(&task).filter(|sent| **sent > 0);
        left.map(|left| *left -= 1).is_some()
    };
    let mut running: HashMap<&str, u64> = HashMap::new();
    for event in events {
        let Some(task) = event.task_id() else { continue };
        let thread = &*event.thread;
        let known = polls.contains_key(&task);
        match event.kind {
            Kind::Spawn { .. } => {
                assert!(polls.insert(task, 0).is_none(), "spawned twice: {event:?}");
            }
            Kind::Queue { by: By::Thread } => {
                assert!(known, "of no task that lives: {event:?}");
                *sent.entry(task).or_default() += 1;
            }
            // The executor receives a message. One poll serves both wakeups.
            Kind::QueuedAlready if event.actor == Actor::Executor => {
                assert!(take(&mut sent, task), "not sent: {event:?}");
                let is_queued = queued.contains(&task) || sent[&task] > 0;
                assert!(is_queued, "not queued: {event:?}");
            }
            Kind::Queue { .. } => {
                assert!(known && queued.insert(task), "queued twice: {event:?}");
            }
            Kind::Poll { nth } => {
                assert!(queued.remove(&task) || take(&mut sent, task), "not queued: {event:?}");
                let before = running.insert(thread, task);
                assert_eq!(before, None, "two polls at once: {event:?}");
                let polls = polls.get_mut(&task).unwrap();
                *polls += 1;
                assert_eq!(nth, *polls, "{event:?}");
            }
            Kind::Pending => assert_eq!(running.remove(thread), Some(task), "{event:?}"),
            _ if is_end(event) => {
                assert!(polls.remove(&task).is_some(), "ended twice: {event:?}");
                queued.remove(&task);
                sent.remove(&task);
                // Another task's poll may end this one.
                if running.get(thread) == Some(&task) {
                    running.remove(thread);
                }
            }
            // A timer outlives the task that set it, until the future is dropped.
            Kind::TimerFired | Kind::TimerDropped => {}
            _ => assert!(known, "of no task that lives: {event:?}"),
        }
    }
    assert!(polls.is_empty() && running.is_empty(), "not ended: {polls:?} {running:?}");
}

/// From every step inside a poll, the first causes lead back to this poll. `check_polls` then checks that
/// they go on to its `queue`, and to the `wake` of the reactor that put it there.
///
/// A second cause of a `try` is the event that it answers, and a second cause of a `store` is the step that
/// found the source not ready.
fn check_chains(events: &[Event]) {
    let by_number = Events(events);
    let mut running: HashMap<&str, (u64, u64)> = HashMap::new();
    for event in events {
        let thread = &*event.thread;
        if let Kind::Poll { .. } = event.kind {
            running.insert(thread, (event.number, event.task_id().unwrap()));
            continue;
        }
        let Some(&(poll, task)) = running.get(thread) else { continue };
        let mut cause = event;
        while cause.number > poll {
            cause = by_number.cause(cause, 0).unwrap_or_else(|| panic!("no cause: {cause:?}"));
        }
        assert_eq!(cause.number, poll, "the poll comes first: {event:?}");
        match (&event.kind, by_number.cause(event, 1).map(|second| second.kind_name())) {
            (Kind::Try { .. }, second) => {
                assert!(matches!(second, None | Some("event")), "{event:?}")
            }
            (Kind::Store { .. }, second) => {
                let found = matches!(second, None | Some("would block" | "short"));
                assert!(found, "{event:?}");
            }
            _ => {}
        }
        let is_over = event.kind == Kind::Pending || is_end(event);
        if is_over && event.task_id() == Some(task) {
            running.remove(thread);
        }
    }
}

/// What a client receives is caused by a write to its connection.
fn check_receipts(events: &[Event]) {
    let by_number = Events(events);
    for receipt in events.iter().filter(|event| matches!(event.kind, Kind::Outside { .. })) {
        if let Some(write) = by_number.cause(receipt, 0) {
            assert!(matches!(write.kind, Kind::Try { .. }), "{receipt:?} {write:?}");
            assert_eq!(write.direction, Some(Direction::Write), "{receipt:?} {write:?}");
            assert_eq!(write.source, receipt.source, "{receipt:?} {write:?}");
        }
    }
}

/// Reads the table of causes in the README of the recorder: for each kind, the kinds that may cause it, or
/// `None` if every kind may.
fn table_of_causes() -> HashMap<String, Option<HashSet<String>>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(path).unwrap();
    let table = readme.split("| event | causes |").nth(1).expect("the table of causes");
    let quoted = |cell: &str| -> HashSet<String> {
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let mut causes = HashMap::new();
    for row in table.lines().skip(2).take_while(|line| line.starts_with("| ")) {
        let (kinds, told) = row.trim_matches('|').split_once(" | ").expect("two cells");
        let told = (!told.contains("the step before")).then(|| quoted(told));
        // A kind may have several rows.
        for kind in quoted(kinds) {
            let known = causes.entry(kind).or_insert_with(|| Some(HashSet::new()));
            *known = known.take().zip(told.clone()).map(|(known, told)| &known | &told);
        }
    }
    causes
}

fn check_kinds_of_causes(events: &[Event]) {
    let (by_number, table) = (Events(events), table_of_causes());
    for event in events {
        let kind = event.kind_name();
        let told = table.get(kind).unwrap_or_else(|| panic!("no row for {kind}"));
        let causes = (0..event.causes.len()).filter_map(|place| by_number.cause(event, place));
        for cause in causes {
            let known = told.as_ref().is_none_or(|told| told.contains(cause.kind_name()));
            assert!(known, "not in the README: {event:?} {cause:?}");
        }
    }
}

fn check(recording: &Recording) {
    let events = &recording.events;
    assert!(recording.dropped == 0 && events[0].kind == Kind::Start);
    check_causes(events);
    check_wakes(events);
    check_polls(events);
    check_chains(events);
    check_receipts(events);
    check_lives(events);
    check_kinds_of_causes(events);
    waker_cells::check(recording);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: tests::cases(100), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn recordings_of_random_programs_satisfy_the_invariants(program in program()) {
        let _alone = alone();
        check(&record(&program));
    }
}

// The reactor does not call the wakers of this crowd in the order in which they were stored.
#[test]
fn waker_that_is_called_is_listed_in_every_crowd() {
    let _alone = alone();
    let spawn = |acts: Vec<Act>| Act::Spawn(0, acts);
    let first = Act::Abort(0, vec![spawn(vec![Act::Crowd(4)])]);
    let second = spawn(vec![Act::Abort(0, vec![Act::Yield]), Act::Crowd(33)]);
    check(&record(&[vec![first], vec![second]]));
}

// Method: a wakeup is in the inbox while the task is in the run queue, and while it is polled.
#[test]
fn each_of_two_wakeups_of_a_task_causes_its_own_poll() {
    let _alone = alone();
    let acts = [Act::InboxAndQueue, Act::Sleep(1), Act::InboxTwice, Act::Sleep(1)];
    let recording = record(&[acts.into()]);
    check(&recording);
    let by_threads = |kind: &Kind| *kind == Kind::Queue { by: By::Thread };
    let sent = recording.events.iter().filter(|event| by_threads(&event.kind));
    let polls = |sent: &Event| {
        let is_caused = |event: &&Event| {
            matches!(event.kind, Kind::Poll { .. }) && event.causes == [sent.number]
        };
        recording.events.iter().filter(is_caused).count()
    };
    assert_eq!(sent.map(polls).collect::<Vec<_>>(), [1; 4]);
}

#[test]
fn wakeup_of_a_queued_task_through_the_inbox_causes_no_poll() {
    let _alone = alone();
    let recording = record(&[vec![Act::InboxAndYield, Act::Sleep(1)]]);
    check(&recording);
    let already = |event: &&Event| event.kind == Kind::QueuedAlready;
    let already: Vec<_> = recording.events.iter().filter(already).collect();
    let [received] = already[..] else { panic!("one wakeup is received: {already:?}") };
    let sent = Events(&recording.events).cause(received, 0).expect("it was sent");
    assert_eq!(sent.kind, Kind::Queue { by: By::Thread });
    assert!(!recording.events.iter().any(|event| {
        matches!(event.kind, Kind::Poll { .. }) && event.causes.contains(&sent.number)
    }));
}

/// For each kind of event: the message of its record, or its beginning, and texts of which the marked lines
/// must contain one.
const ACTS: [(&str, &str, &[&str]); 30] = [
    ("spawn", "spawn", &["tasks.add("]),
    ("register", "register", &["registry.register("]),
    ("deregister", "deregister", &["registry.deregister("]),
    ("poll", "poll", &["self.poll(task"]),
    ("try", "tried", &["= attempt()?", "if short"]),
    ("end of file", "tried", &["if short"]),
    ("fails", "tried", &["match attempt()"]),
    ("would block", "would block", &["ready.set(false)"]),
    ("short", "tried", &["if short"]),
    ("store", "store", &["add_waiter(direction, kept)"]),
    ("store", "job awaited", &["match &mut *self.lock()"]),
    ("pending", "pending", &["polled.is_pending()"]),
    ("sleep", "sleep", &["self.sleep(events"]),
    ("look", "sleep", &["self.sleep(events"]),
    ("event", "event", &["self.deliver("]),
    ("wake", "wake", &["waker.wake()"]),
    ("queue", "queue", &["tasks.queue(self)", "self.queue(&task.header)"]),
    ("queue", "send", &["self.inbox.send("]),
    (
        "queued already",
        "queued already",
        &["tasks.queue(self)", "self.sent.swap(true", "self.queue(header)"],
    ),
    ("notified", "notified", &["== NOTIFY"]),
    ("timer set", "timer set", &[".set(deadline, waker)"]),
    ("timer fired", "timer fired", &[".pop_due("]),
    ("timer dropped", "timer dropped", &[".remove(key)"]),
    ("job submitted", "job submitted", &["submit("]),
    ("job done", "job done", &["self.store_result("]),
    ("budget spent", "budget spent", &["YIELDED.set(true)"]),
    ("done", "done", &["State::Ending", ".free("]),
    ("abort", "abort", &["State::Ending"]),
    ("panic", "panic", &["State::Ending", ".free("]),
    ("lost", "lost:", &["fn report_lost"]),
];

/// The most lines from the macro of a record to its message.
const RECORD: usize = 8;

#[test]
fn each_kind_of_event_marks_the_statement_of_its_record() {
    let _alone = alone();
    let recording = record(&everything());
    check(&recording);
    let data = page_data(&Page::new("a run", Run::new("A run.", recording.clone())).html());
    let mut seen = BTreeSet::new();
    for step in data["runs"][0]["steps"].as_array().unwrap() {
        let file = step["file"].as_str().unwrap();
        if file.is_empty() {
            let kind = step["kind"].as_str().unwrap();
            assert!(["outside", "note"].contains(&kind), "not of the runtime: {step}");
            continue;
        }
        let kind = step["kind"].as_str().unwrap();
        let text = data["files"][file].as_str().unwrap_or_else(|| panic!("not shown: {file}"));
        let lines: Vec<&str> = text.lines().collect();
        let record = step["record"].as_u64().unwrap() as usize - 1;
        let macros = ["trace!", "debug!", "warn!"];
        assert!(macros.iter().any(|name| lines[record].contains(name)), "{step}");
        let has_message = |message: &str| {
            let end = if message.ends_with(':') { "" } else { "\"" };
            let message = format!("\"{message}{end}");
            lines[record..].iter().take(RECORD).any(|line| line.contains(&message))
        };
        let row = |(known, message, _): &&(&str, &str, _)| *known == kind && has_message(message);
        let (_, _, acts) = *ACTS.iter().find(row).unwrap_or_else(|| panic!("no row: {step}"));
        let [first, last] = [0, 1].map(|end| step["act"][end].as_u64().unwrap() as usize);
        let marked = lines[first - 1..last].join("\n");
        assert!(acts.iter().any(|act| marked.contains(act)), "{kind}: {marked}");
        seen.insert(kind.to_owned());
    }
    let known: BTreeSet<String> = ACTS.iter().map(|(kind, _, _)| (*kind).to_owned()).collect();
    assert_eq!(seen, known, "all kinds occur");
}

/// Returns a program that repeats a few actions.
fn long(rounds: usize) -> Vec<Vec<Act>> {
    let round = [
        Act::Echo { length: 300, at_once: 1 },
        Act::Spawn(2, vec![Act::Yield, Act::Timeout]),
        Act::Client,
        Act::AbandonedJob,
        Act::Job,
        Act::Thread(2),
        Act::Remote,
        Act::MovedSleep,
        Act::ForeignWaker,
    ];
    vec![round.iter().cycle().take(rounds * round.len()).cloned().collect()]
}

#[test]
fn long_run_keeps_the_last_events_and_counts_the_others() {
    in_child("long_run_keeps_the_last_events_and_counts_the_others", || {
        install(100);
        let recording = record(&long(5));
        assert_eq!(recording.events.len(), 100);
        assert!(recording.dropped > 1000, "{}", recording.dropped);
        assert_eq!(recording.events[0].number, recording.dropped);
        check_causes(&recording.events);
        let head = json_lines(&recording);
        let head: Value = serde_json::from_str(head.lines().next().unwrap()).unwrap();
        assert_eq!(head["dropped"], recording.dropped);
        assert_eq!(
            page_data(&Page::new("a run", Run::new("A run.", recording.clone())).html())["runs"][0]
                ["dropped"],
            recording.dropped
        );
    });
}

/// Returns the resident memory of this process.
fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("the status of this process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn memory_does_not_grow_with_the_length_of_the_run() {
    in_child("memory_does_not_grow_with_the_length_of_the_run", || {
        install(100);
        record(&long(10));
        let before = resident_kib();
        let recording = record(&long(100));
        let grown = resident_kib().saturating_sub(before);
        assert!(recording.dropped > 50_000, "{}", recording.dropped);
        // Keeping all events would take about 200 bytes each, ten megabytes in total.
        assert!(grown < 4096, "{grown} KiB more");
    });
}

// Both executors have a task 1, and records name a task only by its ID.
#[test]
fn wakeup_of_an_earlier_executor_does_not_queue_a_new_task() {
    let _alone = alone();
    let recorder = install(1_000_000);
    let recording = within_deadline(move || {
        let own_waker = poll_fn(|cx| Poll::Ready(cx.waker().clone()));
        let stale = block_on(async { spawn(own_waker).await.unwrap() });
        recorder.start();
        block_on(async {
            let task = spawn(async {});
            thread::spawn(|| stale.wake()).join().unwrap();
            task.await.unwrap();
        });
        recorder.recording()
    });
    check(&recording);
}
