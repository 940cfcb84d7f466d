//! Check of exercise 6.

use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use super::{Permit, Semaphore};
use crate::check::{Seen, Step, Task, count_of, require, times};

pub(crate) const STEPS: &[Step] = &[
    ("there are as many permits as the semaphore has", limit),
    ("a task that waits is polled only when a permit is free", no_busy_loop),
    ("tasks get a permit in the order in which they came", in_order),
    ("a task that comes later cannot overtake", no_overtaking),
    ("a task that stops waiting does not stop the others", dropped_while_waiting),
    ("a task that is dropped after its wakeup passes the permit on", dropped_after_wakeup),
    ("the waker may release a permit while it is called", waker_releases),
];

thread_local! {
    /// The permit that `Releases` releases. A waker cannot hold it, because a waker must be `Send`.
    static PERMIT: RefCell<Option<Permit<'static>>> = const { RefCell::new(None) };
}

fn wait(semaphore: &Semaphore) -> Task<'_, Permit<'_>> {
    Task::new(semaphore.acquire())
}

/// Takes the only permit, and puts `N` tasks behind it, in this order.
fn one_and_waiters<const N: usize>(
    semaphore: &Semaphore,
) -> Result<(Permit<'_>, [Task<'_, Permit<'_>>; N]), String> {
    let Poll::Ready(permit) = wait(semaphore).poll() else {
        return Err("a permit is free, and acquire waits".to_owned());
    };
    let mut waiters = [(); N].map(|()| wait(semaphore));
    for waiter in &mut waiters {
        require(waiter.poll().is_pending(), "there are 2 permits at the same time", "1")?;
    }
    Ok((permit, waiters))
}

fn limit() -> Seen {
    let semaphore = Semaphore::new(3);
    let mut tasks = [(); 5].map(|()| wait(&semaphore));
    let permits: Vec<_> = tasks.iter_mut().map(|task| task.poll()).collect();
    let given = permits.iter().filter(|polled| polled.is_ready()).count();
    let saw = format!("3 permits, 5 tasks: {} given", count_of(given, "permit"));
    require(given == 3, saw.clone(), "3")?;
    // No task waits here, so each permit that is dropped becomes free.
    let semaphore = Semaphore::new(3);
    let permits = [(); 3].map(|()| wait(&semaphore).poll());
    let taken = semaphore.free();
    drop(permits);
    let free = semaphore.free();
    let saw = format!("{saw}; with 3 permits taken {taken} are free, after their drop {free}");
    require((taken, free) == (0, 3), saw, "0 and 3 free")
}

fn no_busy_loop() -> Seen {
    let semaphore = Semaphore::new(1);
    let (permit, _) = one_and_waiters::<0>(&semaphore)?;
    let mut task = wait(&semaphore);
    let (_, polls) = task.run();
    let saw = format!("no permit was free, and the task was polled {}", times(polls));
    require(polls == 1, saw, "1 time: it woke itself without an event")?;
    drop(permit);
    let wakes = task.wakes();
    let saw = format!("1 poll while no permit was free; the release woke it {}", times(wakes));
    require(wakes == 1, saw, "1 time")
}

fn in_order() -> Seen {
    let semaphore = Semaphore::new(1);
    let (permit, mut waiters) = one_and_waiters::<3>(&semaphore)?;
    let mut permits = vec![permit];
    for turn in 0..3 {
        permits.pop();
        let woken: Vec<usize> = (0..3).filter(|&task| waiters[task].wakes() > 0).collect();
        let expected: Vec<usize> = (0..=turn).collect();
        let saw =
            format!("after {}, these tasks were woken: {woken:?}", count_of(turn + 1, "release"));
        require(woken == expected, saw, &format!("{expected:?}"))?;
        match waiters[turn].poll() {
            Poll::Ready(permit) => permits.push(permit),
            Poll::Pending => return Err(format!("task {turn} was woken, and got no permit")),
        }
    }
    Ok("3 releases, 3 wakeups: tasks 0, 1, 2".to_owned())
}

fn no_overtaking() -> Seen {
    let semaphore = Semaphore::new(1);
    let (permit, [mut first]) = one_and_waiters::<1>(&semaphore)?;
    drop(permit);
    // The first task has been woken, but not polled. Now another one asks.
    let mut newcomer = wait(&semaphore);
    let overtakes = newcomer.poll().is_ready();
    let saw = "a task came after the release, and got the permit before the task that waited";
    require(!overtakes, saw, "the permit for the task that waited")?;
    let saw =
        format!("the permit was handed to the task that waits; free returned {}", semaphore.free());
    require(semaphore.free() == 0, saw, "0: no other task can have it")?;
    let permit = first.poll();
    require(permit.is_ready(), "the first task got no permit", "1 permit")?;
    drop(permit);
    let wakes = newcomer.wakes();
    require(wakes == 1, format!("the newcomer waited, and was woken {}", times(wakes)), "1 time")
}

fn dropped_while_waiting() -> Seen {
    let semaphore = Semaphore::new(1);
    let (permit, [first, mut second]) = one_and_waiters::<2>(&semaphore)?;
    drop(first);
    drop(permit);
    let wakes = second.wakes();
    let saw =
        format!("the first of 2 tasks was dropped; a release woke the second {}", times(wakes));
    require(wakes == 1, saw.clone(), "1 time")?;
    require(second.poll().is_ready(), format!("{saw}, and it got no permit"), "1 permit")?;
    Ok(saw)
}

fn dropped_after_wakeup() -> Seen {
    let semaphore = Semaphore::new(1);
    let (permit, [first, mut second]) = one_and_waiters::<2>(&semaphore)?;
    drop(permit);
    drop(first);
    let wakes = second.wakes();
    let saw = format!(
        "the first of 2 tasks was woken, and dropped before its poll; the second was woken {}",
        times(wakes)
    );
    require(wakes == 1, saw.clone(), "1 time: no task uses the permit, and the second one hangs")?;
    drop(second.poll());
    let free = semaphore.free();
    require(free == 1, format!("{saw}; at the end {}", count_of(free, "free permit")), "1")
}

/// A waker that releases the permit in `PERMIT`.
struct Releases;

impl Wake for Releases {
    fn wake(self: Arc<Self>) {
        drop(PERMIT.take());
    }
}

fn waker_releases() -> Seen {
    // The permit in the thread-local outlives this function, so the semaphore must, too.
    let semaphore: &Semaphore = Box::leak(Box::new(Semaphore::new(2)));
    let (Poll::Ready(first), Poll::Ready(second)) =
        (wait(semaphore).poll(), wait(semaphore).poll())
    else {
        return Err("2 permits are free, and acquire waits".to_owned());
    };
    PERMIT.set(Some(second));
    let waker = Waker::from(Arc::new(Releases));
    let cx = &mut Context::from_waker(&waker);
    let mut waiting = pin!(semaphore.acquire());
    let early = waiting.as_mut().poll(cx).is_ready();
    require(!early, "there are 3 permits at the same time", "2")?;
    let woke_itself = PERMIT.with_borrow(Option::is_none);
    require(!woke_itself, "the task woke itself in its poll", "no call before the release")?;
    drop(first);
    let was_called = PERMIT.with_borrow(Option::is_none);
    require(was_called, "the release called 0 wakers", "1")?;
    let permit = waiting.as_mut().poll(cx);
    let saw = format!(
        "the waker released another permit; then {}",
        if permit.is_ready() { "the task got its permit" } else { "the task got no permit" }
    );
    let free = semaphore.free();
    let is_right = permit.is_ready() && free == 1;
    require(is_right, format!("{saw}, and {free} is free"), "1 permit for the task, and 1 free")
}
