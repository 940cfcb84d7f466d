//! Model-checks the protocol between an executor and other threads: wakeups, spawns, and the sleep.
//!
//! These tests compile `executor/src/inbox.rs`, the original file, with loom's atomics. loom runs
//! each model once for every order of its steps with at most two preemptions, and for every value
//! that a relaxed load may return. If a wakeup is lost, all threads wait, and loom reports a
//! deadlock.
//!
//! The last test breaks the protocol in several ways and checks that loom reports each.

#[allow(dead_code)]
#[path = "../../executor/src/inbox.rs"]
mod inbox;

use std::cell::Cell;
use std::env;
use std::process::Command;
use std::sync::Arc;

use loom::sync::atomic::AtomicUsize;
use loom::thread;

use inbox::{Header, Inbox, Message};
use sync::{Mutant, Notifier, Ordering, Receiver};

/// loom's versions of the primitives that `inbox.rs` imports from `executor/src/sync.rs`.
mod sync {
    use std::cell::Cell;
    use std::collections::VecDeque;
    use std::sync::Arc;

    use loom::sync::atomic;
    use loom::sync::{Condvar, Mutex};

    pub(crate) use loom::sync::atomic::Ordering;

    /// A way to break the swaps of the protocol.
    #[derive(Clone, Copy, PartialEq)]
    pub(crate) enum Mutant {
        None,
        /// Clear a flag with a store instead of a swap.
        StoreForSwap,
        /// Swap with relaxed ordering.
        Relaxed,
    }

    std::thread_local! {
        /// The mutant of the running test. loom runs all threads of a model on the thread of the
        /// test.
        pub(crate) static MUTANT: Cell<Mutant> = const { Cell::new(Mutant::None) };
    }

    /// loom's flag, whose swaps a mutant may break.
    pub(crate) struct AtomicBool(atomic::AtomicBool);

    impl AtomicBool {
        pub(crate) fn new(value: bool) -> AtomicBool {
            AtomicBool(atomic::AtomicBool::new(value))
        }

        pub(crate) fn load(&self, order: Ordering) -> bool {
            self.0.load(order)
        }

        pub(crate) fn swap(&self, value: bool, order: Ordering) -> bool {
            match MUTANT.get() {
                Mutant::StoreForSwap if !value => {
                    self.0.store(value, Ordering::Release);
                    true
                }
                Mutant::Relaxed => self.0.swap(value, Ordering::Relaxed),
                _ => self.0.swap(value, order),
            }
        }
    }

    /// The messages of a channel, whether its receiver still exists, and the number of messages.
    ///
    /// The number orders nothing, so the protocol cannot rely on the channel for its ordering.
    type Channel<T> = Arc<(Mutex<(VecDeque<T>, bool)>, atomic::AtomicUsize)>;

    pub(crate) struct Sender<T>(Channel<T>);

    pub(crate) struct Receiver<T>(Channel<T>);

    /// Creates a channel with those methods of crossbeam's that `inbox.rs` calls.
    pub(crate) fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
        let channel = Arc::new((Mutex::new((VecDeque::new(), true)), atomic::AtomicUsize::new(0)));
        (Sender(channel.clone()), Receiver(channel))
    }

    impl<T> Sender<T> {
        pub(crate) fn send(&self, message: T) -> Result<(), T> {
            let mut channel = self.0.0.lock().unwrap();
            if !channel.1 {
                return Err(message);
            }
            channel.0.push_back(message);
            self.0.1.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    impl<T> Sender<T> {
        pub(crate) fn len(&self) -> usize {
            self.0.1.load(Ordering::Relaxed)
        }
    }

    impl<T> Receiver<T> {
        pub(crate) fn is_empty(&self) -> bool {
            self.0.1.load(Ordering::Relaxed) == 0
        }

        pub(crate) fn try_recv(&self) -> Option<T> {
            if self.is_empty() {
                return None;
            }
            self.0.1.fetch_sub(1, Ordering::Relaxed);
            self.0.0.lock().unwrap().0.pop_front()
        }
    }

    impl<T> Drop for Receiver<T> {
        fn drop(&mut self) {
            let mut channel = self.0.0.lock().unwrap();
            channel.1 = false;
            channel.0.clear();
        }
    }

    /// A reactor that reports only notifications.
    #[derive(Clone)]
    pub(crate) struct Notifier(Arc<(Mutex<bool>, Condvar)>);

    impl Notifier {
        pub(crate) fn new() -> Notifier {
            Notifier(Arc::new((Mutex::new(false), Condvar::new())))
        }

        pub(crate) fn notify(&self) {
            let (notified, waiter) = &*self.0;
            *notified.lock().unwrap() = true;
            waiter.notify_one();
        }

        /// Consumes the notification, and returns whether there was one. With `sleep`, waits for
        /// it.
        pub(crate) fn turn(&self, sleep: bool) -> bool {
            let (notified, waiter) = &*self.0;
            let mut notified = notified.lock().unwrap();
            while sleep && !*notified {
                notified = waiter.wait(notified).unwrap();
            }
            std::mem::replace(&mut *notified, false)
        }
    }
}

/// The order of the steps in the executor's loop. All except `Shipped` are wrong.
#[derive(Clone, Copy, PartialEq)]
enum Steps {
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
struct Model {
    inbox: Arc<Inbox>,
    messages: Receiver<Message>,
    notifier: Notifier,
    steps: Steps,
    header: Arc<Header>,
    /// Whether the task is in the run queue.
    queued: Cell<bool>,
}

impl Model {
    fn new(steps: Steps) -> Model {
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
        let mut unmarked = Vec::new();
        while let Some(message) = self.messages.try_recv() {
            match message {
                Message::Wake(header) => {
                    self.queued.set(true);
                    match late {
                        true => unmarked.push(header),
                        false => header.received(),
                    }
                }
                Message::Call(call) => call(),
            }
        }
        unmarked
    }

    /// Turns the reactor, and sleeps there if there is nothing to do. Returns whether the loop may
    /// look into the inbox.
    fn park(&self) -> bool {
        let idle = !self.queued.get();
        let sleep = match self.steps {
            Steps::LookThenDeclare => {
                let empty = self.messages.is_empty();
                self.inbox.fall_asleep(&self.messages);
                idle && empty
            }
            Steps::SleepWithoutLooking => {
                self.inbox.fall_asleep(&self.messages);
                idle
            }
            _ => idle && self.inbox.fall_asleep(&self.messages),
        };
        let notified = self.notifier.turn(sleep);
        self.inbox.wake_up();
        self.steps != Steps::LookOnlyIfNotified || notified
    }

    /// Returns a function that wakes the task from another thread.
    fn waker(&self) -> impl FnOnce() + Send + 'static {
        let header = self.header.clone();
        move || header.send()
    }
}

/// Runs `model` for every order of its steps with at most two preemptions.
fn check(mutant: Mutant, model: impl Fn() + Send + Sync + 'static) {
    sync::MUTANT.set(mutant);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(model);
}

/// Two threads each write a value and wake the task. One of the wakeups may coalesce with the
/// other; the poll must still see both values.
fn two_threads_write_and_wake(steps: Steps) {
    let model = Model::new(steps);
    let written = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let threads = [0, 1].map(|n| {
        let (written, wake) = (written.clone(), model.waker());
        thread::spawn(move || {
            written[n].store(1, Ordering::Relaxed);
            wake();
        })
    });
    model.block_on(|| written.iter().all(|n| n.load(Ordering::Relaxed) == 1));
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// One thread wakes the task. The task turns the reactor, which consumes the notification.
fn task_turns_the_reactor(steps: Steps) {
    let model = Model::new(steps);
    let written = Arc::new(AtomicUsize::new(0));
    let (sees, wake) = (written.clone(), model.waker());
    let thread = thread::spawn(move || {
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

// Pitfall: W4, W5, W6
#[test]
fn coalesced_wakeup_publishes_earlier_writes() {
    check(Mutant::None, || two_threads_write_and_wake(Steps::Shipped));
}

// Pitfall: W4, W5, W10
#[test]
fn wakeup_and_spawn_that_share_a_notification_both_arrive() {
    check(Mutant::None, || {
        let model = Model::new(Steps::Shipped);
        let (woken, spawned) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (writes, wake) = (woken.clone(), model.waker());
        let (spawns, inbox, header) = (spawned.clone(), model.inbox.clone(), model.header.clone());
        let threads = [
            thread::spawn(move || {
                writes.store(1, Ordering::Relaxed);
                wake();
            }),
            thread::spawn(move || {
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
    });
}

// Pitfall: W4, W5, W12
#[test]
fn task_that_turns_the_reactor_loses_no_wakeup() {
    check(Mutant::None, || task_turns_the_reactor(Steps::Shipped));
}

// Pitfall: W9
#[test]
fn each_wakeup_of_a_waiting_task_is_followed_by_a_poll() {
    check(Mutant::None, || {
        let model = Model::new(Steps::Shipped);
        let threads = [0, 1].map(|_| thread::spawn(model.waker()));
        let drain = || {
            model.take_messages(false);
            usize::from(model.queued.replace(false))
        };
        let mut polls = drain();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        polls += drain();
        assert!((1..=2).contains(&polls), "{polls} polls");
        assert_eq!(drain(), 0, "no wakeup is left");
    });
}

// Pitfall: X1
#[test]
fn wakers_and_remotes_work_while_the_executor_drops() {
    check(Mutant::None, || {
        let model = Model::new(Steps::Shipped);
        let (wake, late) = (model.waker(), model.waker());
        let inbox = model.inbox.clone();
        let threads = [
            thread::spawn(wake),
            thread::spawn(move || _ = inbox.send(Message::Call(Box::new(|| ())))),
        ];
        drop(model);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        late();
    });
}

// Method: loom does not model the reference count of an `Arc`. The atomic `gone` stands for it.
#[test]
fn task_is_lost_only_if_no_wakeup_can_come() {
    check(Mutant::None, || {
        let model = Model::new(Steps::Shipped);
        let gone = Arc::new(AtomicUsize::new(0));
        let (going, wake) = (gone.clone(), model.waker());
        let thread = thread::spawn(move || {
            wake();
            going.store(1, Ordering::Release);
        });
        let drain = || {
            model.take_messages(false);
            model.queued.replace(false)
        };
        assert!(drain());
        let is_lost = || Arc::strong_count(&model.header) == 1 && !model.queued.get();
        let lost = gone.load(Ordering::Relaxed) == 1 && is_lost();
        thread.join().unwrap();
        assert!(!(lost && drain()), "a lost task has been woken");
        drain();
        assert!(is_lost(), "no waker is left");
    });
}

/// The environment variable that selects the wrong protocol for a child process.
const WRONG: &str = "WAKE_PROTOCOL_WRONG";

/// How loom reports that all threads wait, and that a thread loops forever.
const DEADLOCK: &str = "deadlock";
const LIVELOCK: &str = "exceeded maximum number of branches";

/// The wrong protocols: what each does, loom's report, and the model that shows the fault.
const WRONG_PROTOCOLS: [(&str, &str, fn()); 6] = [
    ("clears the flags with a store, not a swap", DEADLOCK, || {
        check(Mutant::StoreForSwap, || two_threads_write_and_wake(Steps::Shipped));
    }),
    ("swaps without ordering", DEADLOCK, || {
        check(Mutant::Relaxed, || two_threads_write_and_wake(Steps::Shipped));
    }),
    ("takes the wakeup out of the inbox after the poll", DEADLOCK, || {
        check(Mutant::None, || two_threads_write_and_wake(Steps::PollThenReceive));
    }),
    ("looks into the inbox before it declares the sleep", DEADLOCK, || {
        check(Mutant::None, || two_threads_write_and_wake(Steps::LookThenDeclare));
    }),
    ("sleeps without looking into the inbox", DEADLOCK, || {
        check(Mutant::None, || task_turns_the_reactor(Steps::SleepWithoutLooking));
    }),
    ("looks into the inbox only after its own notification", LIVELOCK, || {
        check(Mutant::None, || task_turns_the_reactor(Steps::LookOnlyIfNotified));
    }),
];

// Method: each protocol runs in its own process, because loom aborts when it finds a deadlock.
// Pitfall: W6, W9, W12
#[test]
fn every_wrong_protocol_loses_a_wakeup() {
    if let Ok(wrong) = env::var(WRONG) {
        let (.., model) = WRONG_PROTOCOLS.into_iter().find(|(name, ..)| *name == wrong).unwrap();
        return model();
    }
    for (name, expected, _) in WRONG_PROTOCOLS {
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", "every_wrong_protocol_loses_a_wakeup", "--nocapture"])
            .env(WRONG, name)
            .env("RUST_BACKTRACE", "0")
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "loom did not notice that the protocol {name}");
        assert!(stderr.contains(expected), "{name}: expected {expected}, but: {stderr}");
    }
}
