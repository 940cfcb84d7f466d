//! What is told of a run is so: who waits, who sleeps and for how long, and what a poll was good for.
//!
//! Method: small programs in which a careless sentence would be wrong.

use std::future::{Future, poll_fn};
use std::net::TcpStream as StdStream;
use std::pin::pin;
use std::sync::mpsc::channel;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use executor::{State, block_on, spawn_blocking, yield_now};
use log::LevelFilter;
use reactor::net::TcpListener;
use reactor::time::sleep;
use recorder::{By, Event, Kind, Ladder, Options, Page, Recorder, Recording, Run};
use tests::wakers::waker_fn;
use tests::{DEADLINE, within_deadline};

/// There is one recorder, and the tests of this process run beside each other.
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

/// How long the thread slept, each time.
fn sleeps(recording: &Recording) -> Vec<Option<Duration>> {
    let sleeps = recording.events.iter().filter_map(|event| match event.kind {
        Kind::Sleep { slept, .. } => Some(slept),
        _ => None,
    });
    sleeps.collect()
}

// Method: a waker of nobody's waits at the listener, as one of `FuturesUnordered` would.
#[test]
fn who_waits_through_a_foreign_waker_is_not_nobody() {
    let recording = record(|| async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut accept = pin!(listener.accept());
        let mut client = None;
        poll_fn(|cx| {
            let own = cx.waker().clone();
            let foreign = waker_fn(move || own.wake_by_ref());
            let accepted = accept.as_mut().poll(&mut Context::from_waker(&foreign));
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
fn a_timer_with_a_foreign_waker_has_no_waker_of_a_waker() {
    let recording = record(|| async {
        let mut sleep = pin!(sleep(Duration::from_millis(1)));
        poll_fn(|cx| {
            let own = cx.waker().clone();
            let foreign = waker_fn(move || own.wake_by_ref());
            sleep.as_mut().poll(&mut Context::from_waker(&foreign))
        })
        .await;
    });
    assert!(recording.events.iter().any(|event| event.kind == Kind::TimerFired));
    assert!(!page(&recording).contains("waker of a custom waker"));
    assert!(!page(&recording).contains("waker of an unknown task"));
}

#[test]
fn the_thread_slept_until_a_client_came_to_a_listener_that_nobody_waits_for() {
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
fn a_thread_that_still_sleeps_has_slept_so_far_as_is_known() {
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
fn a_poll_that_waited_for_no_source_was_not_in_vain() {
    let recording = record(|| async {
        for _ in 0..10 {
            yield_now().await;
        }
    });
    assert_eq!(recording.counts().spurious, 0, "{}", ladder(&recording));
}

// Method: the poll has taken long before it sets the timer, so the turn's time is old.
#[test]
fn a_timer_is_told_to_wait_as_long_as_it_will() {
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

// The thread of the pool calls the waker of the task, so no event of the kernel and no wake of the
// reactor comes between the end of the job and the queue.
#[test]
fn queue_after_a_job_names_its_end_and_its_waker_as_causes() {
    let recording = record(|| async {
        let (finish, may_finish) = channel();
        let job = spawn_blocking(move || may_finish.recv());
        while !somebody_waits() {
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

/// Whether the reactor has a waker of some task.
fn somebody_waits() -> bool {
    executor::tasks().iter().any(|task| task.state == State::Waiting && !task.awaits.is_empty())
}

#[test]
fn a_main_future_that_panics_is_not_told_as_ready() {
    let recording = record(|| async {
        let inner = thread::spawn(|| {
            // On a thread of its own, for the panic to end nothing else.
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
