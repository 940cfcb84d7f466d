//! Check of exercise 7.

use std::task::Poll;

use super::Queue;
use crate::check::{Seen, Step, Task, count_of, require, times};

pub(crate) const STEPS: &[Step] = &[
    ("one item wakes one of 100 tasks", one_of_many),
    ("each item wakes another task", one_each),
    ("a task that is polled without reason takes one wakeup, not several", spurious_poll),
    ("a task that stops waiting takes no wakeup", dropped_while_waiting),
    ("a task that is dropped after its wakeup passes the wakeup on", dropped_after_wakeup),
    ("a task that finds the queue empty after its wakeup waits again", overtaken),
];

/// Returns `N` tasks that wait for an item.
fn waiting<const N: usize>(queue: &Queue<u8>) -> [Task<'_, u8>; N] {
    let mut tasks = [(); N].map(|()| Task::new(queue.pop()));
    for task in &mut tasks {
        assert!(task.poll().is_pending(), "the queue is empty, and pop returned an item");
    }
    tasks
}

fn wakes<const N: usize>(tasks: &[Task<'_, u8>; N]) -> [usize; N] {
    std::array::from_fn(|task| tasks[task].wakes())
}

fn one_of_many() -> Seen {
    let queue = Queue::new();
    let tasks = waiting::<100>(&queue);
    queue.push(1);
    let woken: usize = wakes(&tasks).iter().sum();
    require(woken == 1, format!("1 item woke {}", count_of(woken, "task")), "1 task")
}

fn one_each() -> Seen {
    let queue = Queue::new();
    let mut tasks = waiting::<3>(&queue);
    for item in 0..3 {
        queue.push(item);
    }
    let woken = wakes(&tasks);
    let saw = format!("3 items woke the 3 tasks {woken:?} times");
    require(woken == [1, 1, 1], saw.clone(), "[1, 1, 1]")?;
    let items = tasks.each_mut().map(Task::poll);
    let are_items = items.iter().all(Poll::is_ready);
    require(are_items, format!("{saw}; their polls returned {items:?}"), "3 items")
}

fn spurious_poll() -> Seen {
    let queue = Queue::new();
    let mut tasks = waiting::<2>(&queue);
    // For example, another future of the same task was ready.
    let _ = (tasks[0].poll(), tasks[0].poll());
    queue.push(1);
    queue.push(2);
    let woken = wakes(&tasks);
    let saw =
        format!("a task was polled 3 times, another 1 time; 2 items woke them {woken:?} times");
    require(woken == [1, 1], saw, "[1, 1]: each wakes the task that has an item to take")
}

fn dropped_while_waiting() -> Seen {
    let queue = Queue::new();
    let [first, second] = waiting::<2>(&queue);
    drop(first);
    queue.push(1);
    let woken = second.wakes();
    let saw = format!(
        "of 2 tasks the first was dropped, then came 1 item; the second was woken {}",
        times(woken)
    );
    require(woken == 1, saw, "1 time: the item is there, and the task hangs")
}

fn dropped_after_wakeup() -> Seen {
    let queue = Queue::new();
    let [first, second] = waiting::<2>(&queue);
    queue.push(1);
    let woken = first.wakes() + second.wakes();
    require(woken == 1, format!("1 item woke {}", count_of(woken, "task")), "1 task")?;
    let (woken, mut other) = if first.wakes() == 1 { (first, second) } else { (second, first) };
    drop(woken);
    let woken = other.wakes();
    let saw = format!(
        "1 item woke a task, which was dropped before its poll; the other was woken {}",
        times(woken)
    );
    require(woken == 1, saw.clone(), "1 time: the item is there, and the task hangs")?;
    let polled = other.poll();
    require(polled == Poll::Ready(1), format!("{saw}; its poll returned {polled:?}"), "Ready(1)")
}

fn overtaken() -> Seen {
    let queue = Queue::new();
    let [mut task] = waiting::<1>(&queue);
    queue.push(1);
    let newcomer = Task::new(queue.pop()).poll();
    require(newcomer.is_ready(), format!("the next task to poll got {newcomer:?}"), "the item")?;
    let polled = task.poll();
    require(
        polled.is_pending(),
        format!("the queue is empty; pop returned {polled:?}"),
        "Pending",
    )?;
    queue.push(2);
    let woken = task.wakes();
    let saw = format!("2 items came, another task took the first; the wakeups were {woken}");
    require(woken == 2, saw, "2: one for each item")
}
