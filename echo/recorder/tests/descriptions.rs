//! Descriptions of a run are true: what waits, how long the thread sleeps, and which polls are spurious.
//!
//! Method: small programs in which a simpler description would be false.

use std::future::{Future, poll_fn};
use std::net::TcpStream as StdStream;
use std::pin::pin;
use std::sync::mpsc::channel;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use executor::{State, block_on, spawn, spawn_blocking, yield_now};
use log::LevelFilter;
use reactor::Reactor;
use reactor::net::TcpListener;
use reactor::time::sleep;
use recorder::{By, Event, Kind, Ladder, Options, Page, Recorder, Recording, Run};
use tests::wakers::waker_fn;
use tests::{DEADLINE, page_data, within_deadline};

/// Returns the recorder of this process, and a guard that lets only one test use it at a time.
fn recorder() -> (MutexGuard<'static, ()>, &'static Recorder) {
    static ALONE: Mutex<()> = Mutex::new(());
    static RECORDER: OnceLock<&'static Recorder> = OnceLock::new();
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let recorder = RECORDER.get_or_init(|| {
        let options = Options::recording(100_000);
        Recorder::install(Box::new(log::logger()), LevelFilter::Off, options)
            .expect("no other logger")
    });
    (alone, recorder)
}

fn record<F: Future>(program: impl FnOnce() -> F + Send + 'static) -> Recording {
    let (_alone, recorder) = recorder();
    within_deadline(move || {
        recorder.start();
        block_on(program());
        recorder.recording()
    })
}

fn ladder(recording: &Recording) -> String {
    Ladder::new(true, false).lines(&recording.events)
}

fn page(recording: &Recording) -> String {
    Page::new("a run", Run::new("A run.", recording.clone())).html()
}

/// Returns the length of each sleep.
fn sleeps(recording: &Recording) -> Vec<Option<Duration>> {
    let sleeps = recording.events.iter().filter_map(|event| match event.kind {
        Kind::Sleep { slept, .. } => Some(slept),
        _ => None,
    });
    sleeps.collect()
}

// Method: the listener stores a custom waker, like those of `FuturesUnordered`.
#[test]
fn custom_waker_counts_as_a_waiting_task() {
    let recording = record(|| async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut accept = pin!(listener.accept());
        let mut client = None;
        poll_fn(|cx| {
            let own = cx.waker().clone();
            let custom = waker_fn(move || own.wake_by_ref());
            let accepted = accept.as_mut().poll(&mut Context::from_waker(&custom));
            client.get_or_insert_with(|| StdStream::connect(address).unwrap());
            accepted
        })
        .await
        .unwrap();
    });
    let taken =
        |kind: &Kind| matches!(kind, Kind::Event { takes, others: 1, .. } if takes.is_empty());
    assert!(recording.events.iter().any(|event| taken(&event.kind)), "{}", ladder(&recording));
    let nobody = ladder(&recording).matches("no task waits").count();
    assert_eq!(nobody, 0, "{}", ladder(&recording));
    assert!(page(&recording).contains("takes out the stored waker"));
    assert!(page(&recording).contains("on the custom waker, which was stored in #"));
}

#[test]
fn timer_with_a_custom_waker_names_no_task() {
    let recording = record(|| async {
        let mut sleep = pin!(sleep(Duration::from_millis(1)));
        poll_fn(|cx| {
            let own = cx.waker().clone();
            let custom = waker_fn(move || own.wake_by_ref());
            sleep.as_mut().poll(&mut Context::from_waker(&custom))
        })
        .await;
    });
    assert!(recording.events.iter().any(|event| event.kind == Kind::TimerFired));
    assert!(!page(&recording).contains("waker of a custom waker"));
    assert!(!page(&recording).contains("waker of an unknown task"));
}

#[test]
fn sleep_ends_at_an_event_that_wakes_no_task() {
    const LATER: Duration = Duration::from_millis(100);
    let recording = record(|| async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = thread::spawn(move || {
            thread::sleep(LATER);
            StdStream::connect(address).unwrap()
        });
        sleep(3 * LATER).await;
        client.join().unwrap();
    });
    let first = sleeps(&recording)[0];
    assert!(first >= Some(LATER / 2), "{first:?}\n{}", ladder(&recording));
}

#[test]
fn running_sleep_has_its_length_so_far() {
    let (_alone, recorder) = recorder();
    let recording = within_deadline(move || {
        let (sender, woken) = channel();
        recorder.start();
        let running = thread::spawn(move || {
            block_on(async {
                poll_fn(|cx| {
                    sender.send(cx.waker().clone()).unwrap();
                    Poll::Ready(())
                })
                .await;
                let mut first = true;
                poll_fn(
                    |_| if std::mem::take(&mut first) { Poll::Pending } else { Poll::Ready(()) },
                )
                .await;
            });
        });
        let waker = woken.recv().unwrap();
        recorder.wait_until_asleep(DEADLINE);
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(20) {
            thread::yield_now();
        }
        let recording = recorder.recording();
        waker.wake();
        running.join().unwrap();
        recording
    });
    let slept = sleeps(&recording).pop().flatten().expect("it sleeps");
    assert!(slept >= Duration::from_millis(20), "{slept:?}");
    let counts = recording.counts();
    assert!(counts.slept <= counts.length, "{counts:?}");
    assert!(!page(&recording).contains("so the call returns immediately"));
}

#[test]
fn yielding_poll_is_not_spurious() {
    let recording = record(|| async {
        for _ in 0..10 {
            yield_now().await;
        }
    });
    assert_eq!(recording.counts().spurious, 0, "{}", ladder(&recording));
}

// Method: the poll computes for a long time before it sets the timer, so the time of the turn is old.
#[test]
fn timer_shows_the_time_to_its_deadline() {
    const BUSY: Duration = Duration::from_millis(50);
    let recording = record(|| async {
        let began = Instant::now();
        while began.elapsed() < BUSY {
            thread::yield_now();
        }
        sleep(BUSY).await;
    });
    let set = recording.events.iter().find_map(|event| match event.kind {
        Kind::TimerSet { after } => Some(after),
        _ => None,
    });
    assert!(set.is_some_and(|after| after <= BUSY), "{}", ladder(&recording));
}

// The thread of the pool calls the waker of the task, so no `event` and no `wake` comes between
// `job done` and `queue`.
#[test]
fn queue_after_a_job_names_its_end_and_its_waker_as_causes() {
    let recording = record(|| async {
        let (finish, may_finish) = channel();
        let job = spawn_blocking(move || may_finish.recv());
        while !task_waits() {
            yield_now().await;
        }
        finish.send(()).unwrap();
        job.await.unwrap().unwrap();
    });
    let event = |number: u64| &recording.events[number as usize];
    let is_of_thread = |event: &&Event| event.kind == Kind::Queue { by: By::Thread };
    let queue = recording.events.iter().find(is_of_thread).expect("woken by the pool");
    let [done, kept] = queue.causes[..] else { panic!("two causes: {queue:?}") };
    assert_eq!(
        (&event(done).kind, &event(kept).kind),
        (&Kind::JobDone, &Kind::Store { beside: None })
    );
    assert_eq!(event(kept).task, queue.task);
    let [submitted] = event(done).causes[..] else { panic!("one cause: {:?}", event(done)) };
    assert_eq!(event(submitted).kind, Kind::JobSubmitted);
    assert_eq!(event(submitted).task, queue.task, "the task that submitted it");
    assert!(ladder(&recording).contains("completes job"), "{}", ladder(&recording));
    assert!(!ladder(&recording).contains("EAGAIN"), "{}", ladder(&recording));
}

/// Whether the reactor or the pool stores a waker of some task.
fn task_waits() -> bool {
    executor::tasks().iter().any(|task| task.state == State::Waiting && !task.awaits.is_empty())
}

#[test]
fn main_future_that_panics_is_not_recorded_as_ready() {
    let recording = record(|| async {
        let inner = thread::spawn(|| {
            // On another thread, so that the panic ends nothing else.
            block_on(async { panic!("on purpose") })
        });
        assert!(inner.join().is_err());
    });
    let ends: Vec<&Kind> = recording
        .events
        .iter()
        .map(|event| &event.kind)
        .filter(|kind| matches!(kind, Kind::Panic | Kind::Done { .. }))
        .collect();
    assert!(matches!(ends[..], [Kind::Panic, Kind::Done { .. }]), "{ends:?}");
}

#[test]
fn poll_that_blocks_says_how_long_it_held_the_thread() {
    let recording = record(|| async {
        spawn(async { thread::sleep(Duration::from_millis(30)) }).await.unwrap();
    });
    let data = page_data(&page(&recording));
    let steps = data["runs"][0]["steps"].as_array().unwrap();
    let of_task: Vec<_> = steps.iter().filter(|step| step["task"] == 1).collect();
    let (done, before) = of_task.split_last().unwrap();
    assert!(done["held"].as_f64().unwrap() >= 30.0, "{done}");
    let sentence = done["sentence"].as_str().unwrap();
    assert!(sentence.starts_with("Task 1 returns **Ready** after it held the thread for **"));
    assert!(before.iter().all(|step| step["held"].is_null()), "{before:?}");
}

#[test]
fn recording_begins_without_the_thread_of_the_run_before() {
    let (_alone, recorder) = recorder();
    let recording = within_deadline(move || {
        // This run ends in the reactor, because no executor follows the turn.
        let reactor = Reactor::new().unwrap();
        reactor.turn(Some(Duration::ZERO)).unwrap();
        recorder.start();
        recorder.recording()
    });
    assert_eq!(page_data(&page(&recording))["runs"][0]["state"]["thread"], "in the executor");
}

#[test]
fn wakeup_by_another_thread_has_the_mark_of_a_waker() {
    let recording = record(|| async {
        let mut thread = None;
        poll_fn(|cx| {
            let waker = cx.waker().clone();
            if thread.is_some() {
                return Poll::Ready(());
            }
            thread = Some(thread::spawn(move || waker.wake()));
            Poll::Pending
        })
        .await;
    });
    let data = page_data(&page(&recording));
    let steps = data["runs"][0]["steps"].as_array().unwrap();
    let wakeup = steps.iter().find(|step| step["kind"] == "queue" && step["lane"] == "outside");
    assert_eq!(wakeup.expect("a thread calls the waker")["mark"], "waker");
}
