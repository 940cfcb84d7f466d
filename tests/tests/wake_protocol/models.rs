//! The models: small programs with several threads. Each must end, and its assertions must hold, in
//! every order of its steps. If a wakeup is lost, all threads wait, and the checker reports a
//! deadlock.

use std::cell::Cell;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::checker::spawn;
use super::checker::sync::atomic::AtomicUsize;
use super::inbox::{self, Header, Inbox, Message};
use super::mailbox::Mailbox;
use super::pool::{self, JobHandle, Pool, Sequence};
use super::sync::{self, Notifier, Ordering, Receiver};

/// The order of the steps in the executor's loop. All except `Shipped` are wrong.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Steps {
    /// The order in the executor.
    Shipped,
    /// Look into the inbox before declaring the sleep.
    LookThenDeclare,
    /// Sleep without looking into the inbox.
    SleepWithoutLooking,
    /// Look into the inbox only if the turn reported a notification.
    LookOnlyIfNotified,
    /// Call `Header::received` only after the poll.
    PollThenReceive,
}

/// A minimal executor: one task, and the loop of `block_on`.
pub(crate) struct Model {
    pub(crate) inbox: Arc<Inbox>,
    messages: Receiver<Message>,
    pub(crate) notifier: Notifier,
    steps: Steps,
    pub(crate) header: Arc<Header>,
    /// Whether the task is in the run queue.
    pub(crate) queued: Cell<bool>,
}

impl Model {
    pub(crate) fn new(steps: Steps) -> Model {
        let notifier = Notifier::new();
        let (inbox, messages) = Inbox::new(notifier.clone());
        let header = Header::new(0, inbox.clone());
        Model { inbox, messages, notifier, steps, header, queued: Cell::new(true) }
    }

    /// Runs the task until `poll` returns true. Returns the number of polls.
    fn block_on(&self, mut poll: impl FnMut() -> bool) -> usize {
        self.inbox.wake_up();
        let mut polls = 0;
        let mut may_look = true;
        loop {
            let late = self.steps == Steps::PollThenReceive;
            let mut received = Vec::new();
            if may_look {
                received.extend(self.take_messages(late));
            }
            if self.queued.replace(false) {
                polls += 1;
                if poll() {
                    return polls;
                }
            }
            received.into_iter().for_each(|header| header.received());
            may_look = self.park();
        }
    }

    /// Receives all messages. If `late`, returns the headers for which the caller must still call
    /// `received`.
    fn take_messages(&self, late: bool) -> Vec<Arc<Header>> {
        if !late {
            inbox::receive(&self.messages, |_| self.queued.set(true), |call| call());
            return Vec::new();
        }
        let take = |message| match message {
            Message::Wake(header) => header,
            Message::Call(_) => unreachable!("this model sends wakeups only"),
        };
        let unmarked: Vec<_> = self.messages.try_iter().map(take).collect();
        self.queued.set(self.queued.get() || !unmarked.is_empty());
        unmarked
    }

    /// Receives all messages, and returns whether the task was woken.
    pub(crate) fn drain(&self) -> bool {
        self.take_messages(false);
        self.queued.replace(false)
    }

    /// Turns the reactor, and sleeps there if there is nothing to do. Returns whether the loop may
    /// look into the inbox.
    fn park(&self) -> bool {
        let is_idle = !self.queued.get();
        let sleep = match self.steps {
            Steps::LookThenDeclare => {
                let empty = self.messages.is_empty();
                self.inbox.fall_asleep(&self.messages);
                is_idle && empty
            }
            Steps::SleepWithoutLooking => {
                self.inbox.fall_asleep(&self.messages);
                is_idle
            }
            _ => {
                let turn = |sleep| self.notifier.turn(sleep);
                let notified = self.inbox.turn(Some(&self.messages), is_idle, turn);
                return self.steps != Steps::LookOnlyIfNotified || notified;
            }
        };
        self.notifier.turn(sleep);
        self.inbox.wake_up();
        true
    }

    /// Returns a function that wakes the task from another thread.
    pub(crate) fn waker(&self) -> impl FnOnce() + Send + 'static {
        let header = self.header.clone();
        move || header.send()
    }
}

/// Each thread writes a value and wakes the task, as often as `wakes` says. A wakeup may coalesce
/// with another one; the poll must still see all values.
pub(crate) fn threads_write_and_wake<const N: usize>(steps: Steps, wakes: [usize; N]) {
    let model = Model::new(steps);
    let written = Arc::new(wakes.map(|_| AtomicUsize::new(0)));
    let threads = std::array::from_fn::<_, N, _>(|n| {
        let (written, header) = (written.clone(), model.header.clone());
        spawn(move || {
            for wake in 1..=wakes[n] {
                written[n].store(wake, Ordering::Relaxed);
                header.send();
            }
        })
    });
    let all = || written.iter().map(|value| value.load(Ordering::Relaxed)).eq(wakes);
    let polls = model.block_on(all);
    let most = 1 + wakes.iter().sum::<usize>();
    assert!(polls <= most, "{polls} polls, but at most {most} wakeups");
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// One thread wakes the task. The task turns the reactor, which consumes the notification.
pub(crate) fn task_turns_the_reactor(steps: Steps) {
    let model = Model::new(steps);
    let written = Arc::new(AtomicUsize::new(0));
    let (sees, wake) = (written.clone(), model.waker());
    let thread = spawn(move || {
        written.store(1, Ordering::Relaxed);
        wake();
    });
    model.block_on(|| {
        let ready = sees.load(Ordering::Relaxed) == 1;
        model.notifier.turn(false);
        ready
    });
    thread.join().unwrap();
}

/// One thread wakes the task, and another one sends a function. Their notifications may coalesce.
pub(crate) fn wakeup_and_spawn() {
    let model = Model::new(Steps::Shipped);
    let (woken, spawned) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (writes, wake) = (woken.clone(), model.waker());
    let (spawns, inbox, header) = (spawned.clone(), model.inbox.clone(), model.header.clone());
    let threads = [
        spawn(move || {
            writes.store(1, Ordering::Relaxed);
            wake();
        }),
        spawn(move || {
            // The model has one task, so the function wakes that task instead of spawning one.
            let spawn = move || {
                spawns.store(1, Ordering::Relaxed);
                header.send();
            };
            assert!(inbox.send(Message::Call(Box::new(spawn))));
        }),
    ];
    let both = [woken, spawned];
    model.block_on(|| both.iter().all(|n| n.load(Ordering::Relaxed) == 1));
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// Two threads wake the task. Each wakeup must be followed by a poll, which two of them may share.
pub(crate) fn each_wakeup_is_followed_by_a_poll() {
    let model = Model::new(Steps::Shipped);
    let threads = [0, 1].map(|_| spawn(model.waker()));
    let mut polls = usize::from(model.drain());
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    polls += usize::from(model.drain());
    assert!((1..=2).contains(&polls), "{polls} polls");
    assert!(!model.drain(), "no wakeup is left");
}

/// Two threads wake the task while the executor does not run, e.g. because another event loop calls
/// `tick` later. One of the threads must notify the executor, because that loop waits for the
/// notification.
pub(crate) fn idle_executor_is_notified() {
    let model = Model::new(Steps::Shipped);
    let threads = [0, 1].map(|_| spawn(model.waker()));
    model.notifier.turn(true);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(model.drain());
}

/// Two threads wake the task after a turn of the reactor. Their messages need no notification,
/// because the executor checks the inbox before it sleeps.
pub(crate) fn awake_executor_is_not_notified() {
    let model = Model::new(Steps::Shipped);
    model.header.send();
    // The message prevents the sleep.
    model.queued.set(false);
    model.park();
    assert!(model.drain());
    let threads = [0, 1].map(|_| spawn(model.waker()));
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(!model.notifier.turn(false), "an executor that is awake was notified");
    assert!(model.drain());
}

/// Two threads use a waker and a remote while the executor is dropped.
pub(crate) fn executor_drops() {
    let model = Model::new(Steps::Shipped);
    let (wake, late) = (model.waker(), model.waker());
    let inbox = model.inbox.clone();
    let threads = [spawn(wake), spawn(move || _ = inbox.send(Message::Call(Box::new(|| ()))))];
    drop(model);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    late();
}

/// Waits on this thread until `poll` is ready. A notifier is the waker.
fn wait<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
    let notifier = Notifier::new();
    let waker = Waker::from(Arc::new(notifier.clone()));
    loop {
        if let Poll::Ready(value) = poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        notifier.turn(true);
    }
}

/// Counts when it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The executor sends a result, while the handle is polled by one task and then by another one.
pub(crate) fn mailbox_delivers_to_the_last_waker() {
    let mailbox = Arc::new(Mailbox::new());
    let sender = mailbox.clone();
    let thread = spawn(move || sender.put(7));
    if !mailbox.store(Waker::noop()) {
        wait(|cx| if mailbox.store(cx.waker()) { Poll::Ready(()) } else { Poll::Pending });
    }
    assert_eq!(mailbox.take(), 7);
    thread.join().unwrap();
}

/// The executor sends a result, while the handle is polled and dropped.
pub(crate) fn mailbox_drops_an_unwanted_result_once() {
    let drops = Arc::new(AtomicUsize::new(0));
    let (mailbox, result) = (Arc::new(Mailbox::new()), Counted(drops.clone()));
    let sender = mailbox.clone();
    let thread = spawn(move || sender.put(result));
    mailbox.store(Waker::noop());
    drop(mailbox.close());
    thread.join().unwrap();
    assert_eq!(drops.load(Ordering::Relaxed), 1, "drops of the result");
}

/// Each thread submits one job and waits for its result. If `times_out`, a thread of the pool that
/// finds no job ends immediately. Otherwise it waits for the next one.
pub(crate) fn pool_runs_the_jobs_of(threads: usize, times_out: bool) {
    sync::begin(u32::MAX, 0);
    if times_out {
        sync::time_out();
    }
    let submit = |n: usize| {
        let job = JobHandle::begin(move || n);
        assert_eq!(wait(|cx| job.poll(cx)).unwrap(), n);
    };
    let others: Vec<_> = (1..threads).map(|n| spawn(move || submit(n))).collect();
    submit(0);
    others.into_iter().for_each(|thread| thread.join().unwrap());
    sync::time_out();
    sync::join_threads();
    assert!(Pool::current().is_idle() && pool::has_no_unfinished_job());
}

/// One thread submits a job after another, so that the second meets a thread that may be idle, may
/// be ending, or has ended.
pub(crate) fn pool_runs_one_job_after_another() {
    sync::begin(u32::MAX, 0);
    for n in 0..2 {
        let job = JobHandle::begin(move || n);
        assert_eq!(wait(|cx| job.poll(cx)).unwrap(), n);
        if n == 0 {
            sync::time_out();
        }
    }
    sync::join_threads();
}

/// The first job ends only after the second one, and the OS at first refuses to start the second
/// thread.
pub(crate) fn pool_retries_a_refused_thread() {
    // The starter and the first thread.
    sync::begin(2, 1);
    let notifier = Notifier::new();
    let end = notifier.clone();
    let first = JobHandle::begin(move || _ = end.turn(true));
    let second = JobHandle::begin(|| ());
    wait(|cx| second.poll(cx)).unwrap();
    assert!(!Pool::current().is_idle(), "the first job runs");
    notifier.notify();
    wait(|cx| first.poll(cx)).unwrap();
    sync::time_out();
    sync::join_threads();
}

/// Each of two threads submits a job, and the OS starts no thread. Both jobs run.
pub(crate) fn pool_without_threads_runs_the_jobs_of_two_callers() {
    sync::begin(0, u32::MAX);
    let submit = |n: usize| {
        let job = JobHandle::begin(move || n);
        assert_eq!(wait(|cx| job.poll(cx)).unwrap(), n);
    };
    let other = spawn(move || submit(1));
    submit(0);
    other.join().unwrap();
    sync::join_threads();
}

/// The OS starts the starter and one thread of the pool, but no other thread. The pool's thread
/// ends while the starter pauses. The next job runs, although its caller and the starter
/// concurrently try to start a thread and both fail.
pub(crate) fn pool_whose_last_thread_has_ended_runs_the_next_job() {
    sync::begin(2, u32::MAX);
    let notifier = Notifier::new();
    let end = notifier.clone();
    let first = JobHandle::begin(move || _ = end.turn(true));
    let refused = JobHandle::begin(|| ());
    notifier.notify();
    wait(|cx| first.poll(cx)).unwrap();
    wait(|cx| refused.poll(cx)).unwrap();
    sync::time_out();
    let next = JobHandle::begin(|| ());
    wait(|cx| next.poll(cx)).unwrap();
    sync::join_threads();
}

/// The OS starts no thread, so the job runs on the calling one.
pub(crate) fn pool_without_threads_runs_the_job_itself() {
    sync::begin(0, u32::MAX);
    let job = JobHandle::begin(|| 7);
    let polled = job.poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Ready(Ok(7))));
    sync::join_threads();
}

/// The handle of a job is dropped while the job runs. Its result must be dropped exactly once.
pub(crate) fn pool_drops_an_unwanted_result_once() {
    sync::begin(u32::MAX, 0);
    sync::time_out();
    let drops = Arc::new(AtomicUsize::new(0));
    let result = Counted(drops.clone());
    let job = JobHandle::begin(move || result);
    let polled = pin!(&job).poll(&mut Context::from_waker(Waker::noop()));
    drop(polled);
    drop(job);
    sync::join_threads();
    assert_eq!(drops.load(Ordering::Relaxed), 1, "drops of the result");
}

/// Each thread submits a job to one sequence. The jobs run one at a time, and each caller gets its
/// result.
pub(crate) fn sequence_runs_one_job_at_a_time(threads: usize, times_out: bool) {
    sync::begin(u32::MAX, 0);
    if times_out {
        sync::time_out();
    }
    let sequence = Arc::new(Sequence::default());
    let (running, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let submit =
        move |sequence: &Arc<Sequence>, running: &Arc<AtomicUsize>, ended: &Arc<AtomicUsize>| {
            let (running, ended) = (running.clone(), ended.clone());
            let job = sequence.begin(move || {
                let others = running.fetch_add(1, Ordering::Relaxed);
                assert_eq!(others, 0, "two jobs of one sequence run at once");
                running.fetch_sub(1, Ordering::Relaxed);
                ended.fetch_add(1, Ordering::Relaxed)
            });
            wait(|cx| job.poll(cx)).unwrap();
        };
    let other = |_| {
        let (sequence, running, ended) = (sequence.clone(), running.clone(), ended.clone());
        spawn(move || submit(&sequence, &running, &ended))
    };
    let others: Vec<_> = (1..threads).map(other).collect();
    submit(&sequence, &running, &ended);
    others.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(ended.load(Ordering::Relaxed), threads);
    sync::time_out();
    sync::join_threads();
    assert!(sequence.enter_if_idle().is_some(), "the sequence is idle in the end");
}

/// An operation in place holds up a job. The job runs when the operation ends.
pub(crate) fn sequence_continues_after_an_operation_in_place() {
    sync::begin(u32::MAX, 0);
    sync::time_out();
    let sequence = Arc::new(Sequence::default());
    let running = Arc::new(AtomicUsize::new(0));
    let run = |running: &AtomicUsize| {
        assert_eq!(running.fetch_add(1, Ordering::Relaxed), 0, "a job runs beside the operation");
        running.fetch_sub(1, Ordering::Relaxed);
    };
    let (theirs, their_running) = (sequence.clone(), running.clone());
    let other = spawn(move || {
        let job = theirs.begin(move || run(&their_running));
        wait(|cx| job.poll(cx)).unwrap();
    });
    let guard = sequence.enter_if_idle();
    guard.iter().for_each(|_| run(&running));
    drop(guard);
    other.join().unwrap();
    sync::join_threads();
}
