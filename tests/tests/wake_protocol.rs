//! The wake protocol under every order of its steps in which a thread is interrupted twice at most,
//! beside its waits: the very files that ship, with loom's atomics
//! in place of std's.
//!
//! `task.rs` and `queue.rs` take all they need from `super::sync`; here that is the module below.
//! loom then runs each model again and again, once for each way in which the threads can take
//! turns, and for each value that a weak load may return. What is left of the executor is a loop
//! of twenty lines. A lost wake shows as a deadlock, which loom reports.
//!
//! The last test turns steps around, and shows that the model notices.

#[allow(dead_code)]
#[path = "../../executor/src/queue.rs"]
mod queue;
#[allow(dead_code)]
#[path = "../../executor/src/task.rs"]
mod task;

use std::cell::{Cell, RefCell};
use std::env;
use std::panic::Location;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use loom::sync::atomic::AtomicUsize;
use loom::thread;

use queue::{Message, Queue};
use sync::{Mutant, Notifier, Ordering};
use task::Header;

/// What the protocol is built from, as loom has it.
mod sync {
    use std::cell::Cell;
    use std::collections::VecDeque;
    use std::sync::Arc;

    use loom::sync::atomic;
    use loom::sync::{Condvar, Mutex};

    pub(crate) use loom::sync::atomic::{Ordering, fence};

    /// loom's has no `const` initializers.
    macro_rules! model_thread_local {
        ($(#[$doc:meta])* static $name:ident: $t:ty = const $init:block;) => {
            loom::thread_local! { $(#[$doc])* static $name: $t = $init; }
        };
    }
    pub(crate) use model_thread_local as thread_local;

    /// A wrong way to write the protocol's swaps.
    #[derive(Clone, Copy, PartialEq)]
    pub(crate) enum Mutant {
        None,
        /// Clears with a store instead of a swap.
        StoreForSwap,
        /// Orders nothing.
        Relaxed,
        /// Reads the flag where a task ends, instead of setting it.
        EndOnlyLooks,
    }

    std::thread_local! {
        /// loom runs all threads of a model on the one thread of the test.
        pub(crate) static MUTANT: Cell<Mutant> = const { Cell::new(Mutant::None) };
        /// The task is at its end.
        pub(crate) static ENDING: Cell<bool> = const { Cell::new(false) };
    }

    /// loom's, unless a mutant is asked for.
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
                Mutant::EndOnlyLooks if ENDING.get() => self.0.load(Ordering::Acquire),
                _ => self.0.swap(value, order),
            }
        }
    }

    struct Channel<T> {
        messages: VecDeque<T>,
        closed: bool,
    }

    pub(crate) struct Sender<T>(Arc<Mutex<Channel<T>>>);

    pub(crate) struct Receiver<T>(Arc<Mutex<Channel<T>>>);

    /// A channel as crossbeam's.
    pub(crate) fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
        let channel = Channel { messages: VecDeque::new(), closed: false };
        let channel = Arc::new(Mutex::new(channel));
        (Sender(channel.clone()), Receiver(channel))
    }

    impl<T> Sender<T> {
        pub(crate) fn send(&self, message: T) -> Result<(), T> {
            let mut channel = self.0.lock().unwrap();
            if channel.closed {
                return Err(message);
            }
            channel.messages.push_back(message);
            Ok(())
        }
    }

    impl<T> Receiver<T> {
        pub(crate) fn len(&self) -> usize {
            self.0.lock().unwrap().messages.len()
        }

        pub(crate) fn try_recv(&self) -> Result<T, ()> {
            self.0.lock().unwrap().messages.pop_front().ok_or(())
        }
    }

    impl<T> Drop for Receiver<T> {
        fn drop(&mut self) {
            let mut channel = self.0.lock().unwrap();
            channel.closed = true;
            channel.messages.clear();
        }
    }

    /// A reactor to which nothing comes but notifications.
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

        /// As `Reactor::turn`: takes the notification, if there is one; else sleeps until there
        /// is, or only looks. Tells whether there was one.
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

/// The order in which the loop takes its steps; all but the first are wrong.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    Shipped,
    /// Clears the flag after the poll instead of before.
    PollThenBegin,
    /// Sleeps whenever its own queue is empty, whatever `notified` says.
    SleepsUnasked,
    /// Looks into the inbox only if its own turn of the reactor was notified.
    BelievesTheTurn,
    /// Frees the slot of a finished task although its key is out.
    FreesAtOnce,
}

/// Who owns a slot of the slab.
enum Slot {
    Free,
    Task(Arc<Header>),
    Tombstone,
}

/// What remains of the executor: one slot, and the loop of `block_on`.
struct Model {
    queue: Rc<Queue>,
    notifier: Notifier,
    order: Order,
    slot: RefCell<Slot>,
}

impl Model {
    fn new(order: Order) -> Model {
        let notifier = Notifier::new();
        let queue = Queue::new(notifier.clone());
        Model { queue, notifier, order, slot: RefCell::new(Slot::Free) }
    }

    /// A task in the only slot, queued.
    fn spawn(&self) -> Arc<Header> {
        let inbox = self.queue.inbox().clone();
        let header = Arc::new(Header::new(0, 0, "", Location::caller(), inbox));
        let before = self.slot.replace(Slot::Task(header.clone()));
        assert!(matches!(before, Slot::Free), "the slot belongs to another task");
        header.schedule();
        header
    }

    /// Runs the task until `poll` says that it is ready; returns how often it was polled.
    fn block_on(&self, header: &Header, mut poll: impl FnMut() -> bool) -> usize {
        let mut polls = 0;
        loop {
            while self.queue.pop().is_some() {
                polls += 1;
                assert_eq!(self.queue.len(), 0, "the key is out twice");
                if self.order != Order::PollThenBegin {
                    header.begin();
                }
                if poll() {
                    return polls;
                }
                if self.order == Order::PollThenBegin {
                    header.begin();
                }
            }
            self.park();
        }
    }

    fn park(&self) {
        let idle = self.queue.len() == 0;
        let asks = self.order != Order::SleepsUnasked && self.order != Order::BelievesTheTurn;
        let sleep = idle && !(asks && self.queue.is_notified());
        let notified = self.notifier.turn(sleep);
        if self.order != Order::BelievesTheTurn || notified {
            self.queue.take_messages(|make| make());
        }
    }

    fn end(&self, header: &Header) {
        sync::ENDING.set(true);
        let key_is_out = header.end();
        sync::ENDING.set(false);
        let free = !key_is_out || self.order == Order::FreesAtOnce;
        *self.slot.borrow_mut() = if free { Slot::Free } else { Slot::Tombstone };
    }

    /// Pops the keys that are there. Those of tasks are polled once, which is counted; a tombstone
    /// is freed.
    fn drain(&self) -> usize {
        let mut polls = 0;
        self.queue.take_messages(|_| ());
        while self.queue.pop().is_some() {
            let mut slot = self.slot.borrow_mut();
            match &*slot {
                Slot::Task(header) => {
                    header.begin();
                    polls += 1;
                }
                Slot::Tombstone => *slot = Slot::Free,
                Slot::Free => panic!("a key of nobody"),
            }
        }
        polls
    }
}

/// Runs `model` for every order of its steps with at most two preemptions: as many as any known
/// bug needed.
fn check(mutant: Mutant, model: impl Fn() + Send + Sync + 'static) {
    sync::MUTANT.set(mutant);
    sync::ENDING.set(false);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(model);
}

/// The task waits for what two other threads write, each before its wake. One of the wakes may
/// find the task scheduled and push nothing: still the poll must see what was written.
fn two_threads_write_and_wake(order: Order) {
    let model = Model::new(order);
    let header = model.spawn();
    let written = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let threads = [0, 1].map(|n| {
        let (written, waker) = (written.clone(), Waker::from(header.clone()));
        thread::spawn(move || {
            written[n].store(1, Ordering::Relaxed);
            waker.wake();
        })
    });
    let _entered = model.queue.enter();
    model.block_on(&header, || written.iter().all(|n| n.load(Ordering::Relaxed) == 1));
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// One thread wakes the task, another one spawns a second: two messages, each of which may find
/// the other's notification under way.
fn a_wake_and_a_spawn_arrive_together() {
    let model = Model::new(Order::Shipped);
    let header = model.spawn();
    let (woken, spawned) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (wake, waker) = (woken.clone(), Waker::from(header.clone()));
    let (spawn, inbox) = (spawned.clone(), model.queue.inbox().clone());
    let threads = [
        thread::spawn(move || {
            wake.store(1, Ordering::Relaxed);
            waker.wake();
        }),
        thread::spawn(move || {
            let make = move || spawn.store(1, Ordering::Relaxed);
            assert!(inbox.send(Message::Spawn(Box::new(make))));
        }),
    ];
    let _entered = model.queue.enter();
    model.block_on(&header, || woken.load(Ordering::Relaxed) == 1);
    while spawned.load(Ordering::Relaxed) == 0 {
        model.park();
        while model.queue.pop().is_some() {
            header.begin();
        }
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// As a task that calls `Reactor::turn` itself, or a foreign loop that does.
fn a_task_turns_the_reactor(order: Order) {
    let model = Model::new(order);
    let header = model.spawn();
    let written = Arc::new(AtomicUsize::new(0));
    let (sees, waker) = (written.clone(), Waker::from(header.clone()));
    let thread = thread::spawn(move || {
        written.store(1, Ordering::Relaxed);
        waker.wake();
    });
    let _entered = model.queue.enter();
    model.block_on(&header, || {
        let ready = sees.load(Ordering::Relaxed) == 1;
        model.notifier.turn(false);
        ready
    });
    thread.join().unwrap();
}

/// The task ends while two threads wake it, and a new task wants its slot.
fn a_task_ends_while_it_is_woken(order: Order) {
    let model = Model::new(order);
    let first = model.spawn();
    let threads = [0, 1].map(|_| {
        let waker = Waker::from(first.clone());
        thread::spawn(move || waker.wake())
    });
    let _entered = model.queue.enter();
    assert_eq!(model.drain(), 1, "the first poll");
    model.end(&first);

    let mut second = None;
    let mut polls = 0;
    let mut step = || {
        if matches!(*model.slot.borrow(), Slot::Free) {
            second.get_or_insert_with(|| model.spawn());
        }
        polls += model.drain();
    };
    step();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    // One step may free the slot, the next one uses it, and after that nothing may come.
    (0..3).for_each(|_| step());
    assert_eq!(polls, 1, "the new owner is polled for its own wake, and for no other");
}

// Pitfall: W4, W5, W6
#[test]
fn a_wake_of_a_scheduled_task_publishes_what_was_written_before_it() {
    check(Mutant::None, || two_threads_write_and_wake(Order::Shipped));
}

// Pitfall: W4, W5, W10
#[test]
fn of_two_messages_that_share_one_notification_none_is_left_behind() {
    check(Mutant::None, a_wake_and_a_spawn_arrive_together);
}

// Pitfall: W4, W5, W12
#[test]
fn a_task_that_turns_the_reactor_itself_cannot_swallow_a_wake() {
    check(Mutant::None, || a_task_turns_the_reactor(Order::Shipped));
}

// Pitfall: W9
#[test]
fn a_wake_during_the_poll_means_exactly_one_more_poll() {
    check(Mutant::None, || {
        let model = Model::new(Order::Shipped);
        let header = model.spawn();
        let waker = Waker::from(header.clone());
        let woken = Rc::new(Cell::new(false));
        let other = Waker::from(header.clone());
        let thread = thread::spawn(move || other.wake());
        let _entered = model.queue.enter();
        let polls = model.block_on(&header, || {
            if woken.replace(true) {
                return true;
            }
            // Of all these only one pushes the key, whether or not the other thread was first.
            waker.wake_by_ref();
            waker.wake_by_ref();
            false
        });
        assert_eq!(polls, 2);
        thread.join().unwrap();
    });
}

// Pitfall: W9
#[test]
fn each_wake_of_a_waiting_task_is_followed_by_a_poll_and_duplicates_coalesce() {
    check(Mutant::None, || {
        let model = Model::new(Order::Shipped);
        let header = model.spawn();
        let threads = [0, 1].map(|_| {
            let waker = Waker::from(header.clone());
            thread::spawn(move || waker.wake())
        });
        let _entered = model.queue.enter();
        let mut polls = model.drain();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        polls += model.drain();
        assert!((1..=3).contains(&polls), "one poll for the spawn, and one for each wake at most");
        assert_eq!(model.drain(), 0, "no wake is left behind");
    });
}

// Pitfall: X1, X16
#[test]
fn a_slot_is_not_reused_while_a_key_is_out_and_no_stale_wake_reaches_its_new_owner() {
    check(Mutant::None, || a_task_ends_while_it_is_woken(Order::Shipped));
}

// Pitfall: X1
#[test]
fn wakers_may_fire_while_the_executor_ends_and_after() {
    check(Mutant::None, || {
        let model = Model::new(Order::Shipped);
        let header = model.spawn();
        let waker = Waker::from(header.clone());
        let inbox = model.queue.inbox().clone();
        let threads = [
            thread::spawn(move || waker.wake()),
            thread::spawn(move || _ = inbox.send(Message::Spawn(Box::new(|| ())))),
        ];
        model.end(&header);
        model.queue.take_messages(drop);
        drop(model);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        Waker::from(header).wake();
    });
}

// Method: loom does not see into the count of an `Arc`, so an atomic of its own goes along with it.
#[test]
fn a_task_is_called_lost_only_if_no_wake_can_come() {
    check(Mutant::None, || {
        let model = Model::new(Order::Shipped);
        let header = model.spawn();
        let waker = Waker::from(header.clone());
        let gone = Arc::new(AtomicUsize::new(0));
        let going = gone.clone();
        let thread = thread::spawn(move || {
            waker.wake();
            going.store(1, Ordering::Release);
        });
        let _entered = model.queue.enter();
        assert!(model.drain() > 0);
        // The slot's reference and the one here.
        let held = Arc::strong_count(&header) > 2;
        assert!(!(held && Header::is_lost(&header, 2)), "somebody still holds a waker");
        let lost = gone.load(Ordering::Relaxed) == 1 && Header::is_lost(&header, 2);
        thread.join().unwrap();
        let polled = model.drain() > 0;
        assert!(!(lost && polled), "a task that was called lost has been woken");
        assert!(Header::is_lost(&header, 2), "now nobody is left to wake it");
    });
}

/// Set for the process that is to run one wrong model.
const WRONG: &str = "WAKE_PROTOCOL_WRONG";

/// The wrong ways, what loom or an assertion says of each, and the model that shows it.
const WRONG_WAYS: [(&str, &str, fn()); 7] = [
    ("clears the flag with a store, not a swap", "deadlock", || {
        check(Mutant::StoreForSwap, || two_threads_write_and_wake(Order::Shipped));
    }),
    ("swaps without ordering", "deadlock", || {
        check(Mutant::Relaxed, || two_threads_write_and_wake(Order::Shipped));
    }),
    ("clears the flag after the poll", "deadlock", || {
        check(Mutant::None, || two_threads_write_and_wake(Order::PollThenBegin));
    }),
    ("sleeps without a look at the flag", "deadlock", || {
        check(Mutant::None, || a_task_turns_the_reactor(Order::SleepsUnasked));
    }),
    ("looks into the inbox only after its own notification", "deadlock", || {
        check(Mutant::None, || a_task_turns_the_reactor(Order::BelievesTheTurn));
    }),
    ("frees the slot while the key is out", "the new owner is polled", || {
        check(Mutant::None, || a_task_ends_while_it_is_woken(Order::FreesAtOnce));
    }),
    ("ends without setting the flag", "the new owner is polled", || {
        check(Mutant::EndOnlyLooks, || a_task_ends_while_it_is_woken(Order::Shipped));
    }),
];

// Method: each in a process of its own, for loom aborts when it finds a deadlock.
// Pitfall: W6, W9, W12, X16
#[test]
fn every_other_order_loses_a_wake_or_reaches_a_new_owner() {
    if let Ok(wrong) = env::var(WRONG) {
        let (.., model) = WRONG_WAYS.into_iter().find(|(name, ..)| *name == wrong).unwrap();
        return model();
    }
    let run = |name| {
        Command::new(env::current_exe().unwrap())
            .args(["--exact", "every_other_order_loses_a_wake_or_reaches_a_new_owner"])
            .arg("--nocapture")
            .env(WRONG, name)
            .env("RUST_BACKTRACE", "0")
            .output()
            .unwrap()
    };
    for (name, expected, _) in WRONG_WAYS {
        let output = run(name);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "the model did not notice what {name}");
        assert!(said.contains(expected), "what {name}: expected {expected}, but: {said}");
    }
}
