//! Random programs of several tasks, and their recordings.

use std::cell::OnceCell;
use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::net::TcpStream as StdStream;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use executor::{Remote, block_on, spawn, spawn_blocking, spawn_named, yield_now};
use log::{LevelFilter, trace};
use proptest::collection::vec;
use proptest::prelude::*;
use reactor::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use reactor::net::{TcpListener, TcpStream};
use reactor::time::{sleep, timeout};
use recorder::{Kind, NOTE, OUTSIDE, Options, Recorder, Recording};
use tests::{DEADLINE, tcp_pair, within_deadline};

/// Task names that are hard to escape.
pub(crate) const NAMES: [&str; 6] = [
    "",
    "plain",
    "\"quoted\\",
    "two\nlines\r\t\u{0}\u{1b}",
    "</script><!--",
    "задача \u{202e}\u{1f980}",
];

/// One action of a task.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Yield,
    /// The task wakes itself twice in one poll.
    WakeTwice,
    Sleep(u64),
    /// A timeout that does not expire.
    Timeout,
    /// A timer that one task sets and another one awaits.
    MovedSleep,
    /// A sleep with a waker that wraps the waker of the task.
    ForeignWaker,
    /// An echo server in a task of its own, which gets a message of `length` bytes and reads at
    /// most `at_once` bytes per call.
    Echo {
        length: usize,
        at_once: usize,
    },
    /// A client on another thread, which logs its actions.
    Client,
    /// A connection that is refused.
    Refused,
    /// Many tasks wait for one listener, which is then closed.
    Crowd(usize),
    Job,
    AbandonedJob,
    /// Another thread wakes the task this many times.
    Thread(usize),
    /// The task wakes itself after another thread has woken it. The two wakeups cause two polls.
    InboxAndQueue,
    /// The task yields after another thread has woken it. One poll serves both wakeups.
    InboxAndYield,
    /// A thread wakes the task again after the executor has received its last wakeup, but before the
    /// poll.
    InboxTwice,
    /// Another thread spawns a task.
    Remote,
    Spawn(usize, Vec<Act>),
    Detach(usize, Vec<Act>),
    Abort(usize, Vec<Act>),
    AbortItself,
    Panic,
    /// A task that nothing can wake.
    Lost,
    /// The task and another thread log notes.
    Note,
}

pub(crate) fn act() -> impl Strategy<Value = Act> {
    let name = 0..NAMES.len();
    let leaf = prop_oneof![
        3 => Just(Act::Yield),
        1 => Just(Act::WakeTwice),
        2 => (0_u64..3).prop_map(Act::Sleep),
        1 => Just(Act::Timeout),
        1 => Just(Act::MovedSleep),
        1 => Just(Act::ForeignWaker),
        3 => (0_usize..100_000, 1_usize..70_000)
            .prop_map(|(length, at_once)| Act::Echo { length, at_once }),
        // More operations than the budget of one poll.
        1 => Just(Act::Echo { length: 300, at_once: 1 }),
        2 => Just(Act::Client),
        1 => Just(Act::Refused),
        1 => (1_usize..50).prop_map(Act::Crowd),
        2 => Just(Act::Job),
        1 => Just(Act::AbandonedJob),
        2 => (1_usize..4).prop_map(Act::Thread),
        1 => Just(Act::InboxAndQueue),
        1 => Just(Act::InboxAndYield),
        1 => Just(Act::InboxTwice),
        2 => Just(Act::Remote),
        1 => Just(Act::AbortItself),
        1 => Just(Act::Panic),
        1 => Just(Act::Lost),
        1 => Just(Act::Note),
    ];
    leaf.prop_recursive(2, 24, 4, move |inner| {
        prop_oneof![
            (name.clone(), vec(inner.clone(), 0..4))
                .prop_map(|(name, acts)| Act::Spawn(name, acts)),
            (name.clone(), vec(inner.clone(), 0..4))
                .prop_map(|(name, acts)| Act::Detach(name, acts)),
            (name.clone(), vec(inner, 0..4)).prop_map(|(name, acts)| Act::Abort(name, acts)),
        ]
    })
}

/// A few tasks that run concurrently.
pub(crate) fn program() -> impl Strategy<Value = Vec<Vec<Act>>> {
    vec(vec(act(), 0..5), 1..4)
}

/// A program that contains every action.
pub(crate) fn everything() -> Vec<Vec<Act>> {
    let acts = [
        Act::Yield,
        Act::WakeTwice,
        Act::Sleep(2),
        Act::Timeout,
        Act::MovedSleep,
        Act::ForeignWaker,
        Act::Echo { length: 100, at_once: 64 },
        Act::Echo { length: 300, at_once: 1 },
        Act::Echo { length: 5_000_000, at_once: 100_000 },
        Act::Client,
        Act::Refused,
        Act::Crowd(40),
        Act::Job,
        Act::AbandonedJob,
        Act::Thread(3),
        Act::InboxAndQueue,
        Act::Sleep(1),
        Act::InboxAndYield,
        Act::InboxTwice,
        Act::Sleep(1),
        Act::Remote,
        Act::Spawn(3, vec![Act::Yield, Act::Panic]),
        Act::Spawn(2, vec![Act::AbortItself]),
        Act::Spawn(2, vec![Act::Lost]),
        Act::Note,
        Act::Abort(4, vec![Act::Sleep(1000)]),
        Act::Detach(5, vec![Act::Client]),
        Act::Sleep(100),
    ];
    // One task runs them one after the other, so that the thread sleeps in between.
    vec![acts.into()]
}

/// Installs a recorder that keeps the last `events` events, or returns the installed one.
pub(crate) fn install(events: usize) -> &'static Recorder {
    static RECORDER: OnceLock<&'static Recorder> = OnceLock::new();
    RECORDER.get_or_init(|| {
        let options = Options::recording(events);
        Recorder::install(Box::new(log::logger()), LevelFilter::Off, options)
            .expect("no other logger")
    })
}

/// Makes the tests of this process take turns, because they share one recorder.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a program to completion, and returns the whole recording.
pub(crate) fn record(program: &[Vec<Act>]) -> Recording {
    let recorder = install(1_000_000);
    let program = program.to_vec();
    within_deadline(move || {
        recorder.start();
        block_on(run_all(program));
        after_all_jobs(recorder)
    })
}

/// Returns the recording after all jobs have completed, including those that no task waits for.
fn after_all_jobs(recorder: &Recorder) -> Recording {
    let start = Instant::now();
    loop {
        let recording = recorder.recording();
        let count = |kind| recording.events.iter().filter(|event| event.kind == kind).count();
        if count(Kind::JobDone) >= count(Kind::JobSubmitted) {
            return recording;
        }
        assert!(start.elapsed() < DEADLINE, "a job does not complete before the deadline");
        thread::yield_now();
    }
}

async fn run_all(program: Vec<Vec<Act>>) {
    let tasks: Vec<_> = program.into_iter().map(|acts| spawn(run(acts))).collect();
    for task in tasks {
        task.await.unwrap();
    }
}

async fn run(acts: Vec<Act>) {
    for act in acts {
        Box::pin(run_act(act)).await;
    }
}

async fn run_act(act: Act) {
    match act {
        Act::Yield => yield_now().await,
        Act::WakeTwice => wake_twice().await,
        Act::Sleep(millis) => sleep(Duration::from_millis(millis)).await,
        Act::Timeout => timeout(DEADLINE, yield_now()).await.unwrap(),
        Act::MovedSleep => moved_sleep().await,
        Act::ForeignWaker => with_foreign_waker(sleep(Duration::from_millis(1))).await,
        Act::Echo { length, at_once } => echo(length, at_once).await,
        Act::Client => client().await,
        Act::Refused => assert!(TcpStream::connect(closed_port()).await.is_err()),
        Act::Crowd(tasks) => crowd(tasks).await,
        Act::Job => job().await,
        Act::AbandonedJob => abandoned_job().await,
        Act::Thread(wakes) => woken_by_a_thread(wakes).await,
        Act::InboxAndQueue => inbox_and_queue().await,
        Act::InboxAndYield => inbox_and_yield().await,
        Act::InboxTwice => inbox_twice().await,
        Act::Remote => remote().await,
        Act::Spawn(name, acts) => _ = spawn_named(NAMES[name], run(acts)).await,
        Act::Detach(name, acts) => drop(spawn_named(NAMES[name], run(acts))),
        Act::Abort(name, acts) => {
            let task = spawn_named(NAMES[name], run(acts));
            yield_now().await;
            task.abort();
        }
        Act::AbortItself => abort_itself().await,
        Act::Panic => assert!(spawn(panic()).await.unwrap_err().is_panic()),
        Act::Note => {
            trace!(target: NOTE, "A **note** of the task.");
            let noted = thread::spawn(|| trace!(target: NOTE, "A note of a thread."));
            noted.join().unwrap();
        }
        Act::Lost => drop(spawn(poll_fn(|_| Poll::<()>::Pending))),
    }
}

/// Panics without a message on standard error.
async fn panic() {
    std::panic::resume_unwind(Box::new("intended panic"));
}

async fn wake_twice() {
    let mut woken = false;
    poll_fn(|cx| {
        if woken {
            return Poll::Ready(());
        }
        woken = true;
        cx.waker().wake_by_ref();
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

async fn moved_sleep() {
    let mut timer = Box::pin(sleep(Duration::from_millis(1)));
    poll_fn(|cx| Poll::Ready(timer.as_mut().poll(cx).is_ready())).await;
    spawn(timer).await.unwrap();
}

struct Around(Waker);

impl Wake for Around {
    fn wake(self: Arc<Self>) {
        self.0.wake_by_ref();
    }
}

async fn with_foreign_waker(future: impl Future<Output = ()>) {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let waker = Waker::from(Arc::new(Around(cx.waker().clone())));
        future.as_mut().poll(&mut Context::from_waker(&waker))
    })
    .await;
}

async fn echo(length: usize, at_once: usize) {
    let (client, mut server) = tcp_pair().await.unwrap();
    let serving = spawn(async move {
        let mut bytes = vec![0; at_once];
        // The write fails if the task of the client is aborted.
        while let Ok(n @ 1..) = server.read(&mut bytes).await {
            let _ = server.write_all(&bytes[..n]).await;
        }
    });
    let (mut reader, mut writer) = client.into_split();
    let writing = spawn(async move {
        let _ = writer.write_all(&vec![1; length]).await;
        let _ = writer.close().await;
    });
    let mut sink = sink();
    assert_eq!(copy(&mut reader, &mut sink).await.unwrap(), length as u64);
    writing.await.unwrap();
    serving.await.unwrap();
}

async fn client() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = thread::spawn(move || {
        trace!(target: OUTSIDE, "connects");
        // The listener is gone if its task was aborted.
        let Ok(mut stream) = StdStream::connect(address) else { return };
        let own = stream.local_addr().unwrap();
        trace!(target: OUTSIDE, peer:% = own; "sends 1 byte");
        let _ = stream.write_all(b"x");
        if stream.read_exact(&mut [0]).is_ok() {
            trace!(target: OUTSIDE, receiver:% = own; "has received 1 byte");
        }
        trace!(target: OUTSIDE, peer:% = own; "closes");
    });
    let (stream, _) = listener.accept().await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    copy(&mut reader, &mut writer).await.unwrap();
    // The client has closed its end, and that was its last action.
    client.join().unwrap();
}

/// Returns an address on which no socket listens.
fn closed_port() -> std::net::SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

async fn crowd(tasks: usize) {
    let listener = Rc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
    let accept = |listener: Rc<TcpListener>| async move { listener.accept().await.map(drop) };
    let tasks: Vec<_> = (0..tasks).map(|_| spawn(accept(listener.clone()))).collect();
    yield_now().await;
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    yield_now().await;
    tasks.iter().for_each(executor::JoinHandle::abort);
    drop(client);
}

/// Runs a job that completes after its task has started to wait.
async fn job() {
    let (sender, receiver) = channel();
    let job = spawn_blocking(move || receiver.recv());
    yield_now().await;
    sender.send(1).unwrap();
    assert_eq!(job.await.unwrap(), Ok(1));
}

async fn abandoned_job() {
    let task = spawn_blocking(|| ());
    yield_now().await;
    task.abort();
}

/// Passes a function to `start`, and waits until another thread or task has called it.
async fn until_called(start: impl FnOnce(Box<dyn Fn() + Send>) -> JoinHandle<()>) {
    let called = Arc::new(AtomicBool::new(false));
    let (mut start, mut thread) = (Some(start), JoinOnDrop(None));
    poll_fn(|cx| {
        if let Some(start) = start.take() {
            let (waker, called) = (cx.waker().clone(), called.clone());
            thread.0 = Some(start(Box::new(move || {
                called.store(true, Ordering::Release);
                waker.wake_by_ref();
            })));
        }
        if called.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Joins a thread when the task that started it ends, even if the task is aborted. Otherwise the thread
/// could call a waker of this program while the next program is being recorded.
struct JoinOnDrop(Option<JoinHandle<()>>);

impl Drop for JoinOnDrop {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            thread.join().unwrap();
        }
    }
}

async fn woken_by_a_thread(wakes: usize) {
    until_called(|call| thread::spawn(move || (0..wakes).for_each(|_| call()))).await;
}

/// Calls wakers on another thread, in this order, and waits for the thread.
fn wake_on_a_thread<const N: usize>(wakers: [&Waker; N]) {
    let wakers = wakers.map(Waker::clone);
    thread::spawn(move || wakers.into_iter().for_each(Waker::wake)).join().unwrap();
}

async fn inbox_and_queue() {
    let mut woken = false;
    poll_fn(|cx| {
        if woken {
            return Poll::Ready(());
        }
        woken = true;
        wake_on_a_thread([cx.waker()]);
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

async fn inbox_and_yield() {
    poll_fn(|cx| {
        wake_on_a_thread([cx.waker()]);
        Poll::Ready(())
    })
    .await;
    yield_now().await;
}

async fn inbox_twice() {
    let task = Rc::new(OnceCell::new());
    let own = task.clone();
    let other = Rc::new(OnceCell::new());
    let others = other.clone();
    let mut polled = false;
    // The executor receives the wakeups of both tasks, and polls this one first.
    let second = spawn(poll_fn(move |cx| {
        if std::mem::replace(&mut polled, true) {
            wake_on_a_thread([task.get().unwrap()]);
            return Poll::Ready(());
        }
        others.get_or_init(|| cx.waker().clone());
        Poll::Pending
    }));
    yield_now().await;
    let mut sent = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut sent, true) {
            return Poll::Ready(());
        }
        let own = own.get_or_init(|| cx.waker().clone());
        wake_on_a_thread([other.get().unwrap(), own]);
        Poll::Pending
    })
    .await;
    drop(second);
}

async fn remote() {
    let remote = Remote::current();
    // This fails if the executor has been dropped. Then this task has been aborted.
    let send = move |call: Box<dyn Fn() + Send>| _ = remote.spawn(|| async move { call() });
    until_called(|call| thread::spawn(move || send(call))).await;
}

async fn abort_itself() {
    let (sender, receiver) = channel::<executor::JoinHandle<()>>();
    let task = spawn(async move {
        receiver.recv().unwrap().abort();
        yield_now().await;
        unreachable!("aborted");
    });
    sender.send(task).unwrap();
    yield_now().await;
}
