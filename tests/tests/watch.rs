//! The values that `echod` shares between its threads: whoever waits for one is woken, on any of
//! them, and leaves nothing behind.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::thread;

use executor::block_on;
use tests::within_deadline;

#[path = "../../echo/src/watch.rs"]
mod watch;

use watch::Watch;

/// A waker that counts.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wakes {
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn poll<F: Future>(future: Pin<&mut F>, wakes: &Arc<Wakes>) -> Option<F::Output> {
    let waker = Waker::from(wakes.clone());
    match future.poll(&mut Context::from_waker(&waker)) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

fn is_set(value: &mut bool) -> Option<()> {
    value.then_some(())
}

// Each turn of one is an update that the other one waits for: a lost one would hang both.
#[test]
fn two_threads_that_wait_for_each_other_lose_no_update() {
    const ROUNDS: usize = 20_000;
    let number = Arc::new(Watch::<usize>::default());
    let take_turns = |parity: usize, number: Arc<Watch<usize>>| {
        block_on(async {
            for _ in 0..ROUNDS {
                number.until(|number| (*number % 2 == parity).then_some(())).await;
                number.update(|number| *number += 1);
            }
        });
    };
    let total = within_deadline(move || {
        let others = number.clone();
        let other = thread::spawn(move || take_turns(1, others));
        take_turns(0, number.clone());
        other.join().expect("it does not panic");
        number.look(|number| *number)
    });
    assert_eq!(total, 2 * ROUNDS);
}

#[test]
fn who_has_been_moved_to_another_task_is_woken_there() {
    let (first, second) = (Arc::new(Wakes::default()), Arc::new(Wakes::default()));
    let value = Watch::<bool>::default();
    let mut until = pin!(value.until(is_set));
    assert!(poll(until.as_mut(), &first).is_none());
    assert!(poll(until.as_mut(), &second).is_none());
    value.update(|value| *value = true);
    assert_eq!((first.count(), second.count()), (0, 1));
    assert!(poll(until.as_mut(), &second).is_some());
}

#[test]
fn an_update_that_does_not_suit_wakes_and_is_waited_for_again() {
    let wakes = Arc::new(Wakes::default());
    let value = Watch::<bool>::default();
    let mut until = pin!(value.until(is_set));
    for round in 0..3 {
        assert!(poll(until.as_mut(), &wakes).is_none());
        // Without an update there is nothing to do.
        assert!(poll(until.as_mut(), &wakes).is_none());
        value.update(|value| *value = false);
        assert_eq!(wakes.count(), round + 1);
    }
}

#[test]
fn a_condition_may_take_what_it_waited_for_and_be_asked_again() {
    let wakes = Arc::new(Wakes::default());
    let places = Watch::<usize>::default();
    let mut enter = pin!(places.until(|places| {
        *places = places.checked_sub(1)?;
        Some(())
    }));
    assert!(poll(enter.as_mut(), &wakes).is_none());
    places.update(|places| *places = 2);
    assert!(poll(enter.as_mut(), &wakes).is_some());
    assert!(poll(enter.as_mut(), &wakes).is_some());
    assert!(poll(enter.as_mut(), &wakes).is_none());
    places.update(|places| *places += 1);
    assert_eq!(wakes.count(), 2);
    assert!(poll(enter.as_mut(), &wakes).is_some());
}

#[test]
fn who_waits_no_more_leaves_no_waker_behind() {
    let wakes = Arc::new(Wakes::default());
    let value = Watch::<bool>::default();
    {
        let mut until = pin!(value.until(is_set));
        assert!(poll(until.as_mut(), &wakes).is_none());
        assert_eq!(Arc::strong_count(&wakes), 2);
    }
    assert_eq!(Arc::strong_count(&wakes), 1);
    value.update(|value| *value = true);
    assert_eq!(wakes.count(), 0);
}
