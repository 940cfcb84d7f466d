//! `Watch`, a value that `echod` shares between its threads: a task that waits for a condition is
//! woken by an update on any thread, and a dropped wait keeps no waker.

use std::pin::pin;
use std::sync::Arc;
use std::thread;

use executor::block_on;
use tests::wakers::{Counter, poll};
use tests::within_deadline;

#[path = "../../echo/src/watch.rs"]
mod watch;

use watch::Watch;

/// The condition that the value is true.
fn is_set(value: &mut bool) -> Option<()> {
    value.then_some(())
}

// Each thread waits for the update of the other thread, so a lost update would hang both.
#[test]
fn alternating_threads_lose_no_update() {
    const UPDATES: usize = 20_000;
    let number = Arc::new(Watch::<usize>::default());
    let alternate = |parity: usize, number: Arc<Watch<usize>>| {
        block_on(async {
            for _ in 0..UPDATES {
                number.until(|number| (*number % 2 == parity).then_some(())).await;
                number.update(|number| *number += 1);
            }
        });
    };
    let total = within_deadline(move || {
        let shared = number.clone();
        let other = thread::spawn(move || alternate(1, shared));
        alternate(0, number.clone());
        other.join().expect("the thread does not panic");
        number.look(|number| *number)
    });
    assert_eq!(total, 2 * UPDATES);
}

#[test]
fn update_wakes_the_task_that_polled_last() {
    let ((first, a), (second, b)) = (Counter::with_waker(), Counter::with_waker());
    let value = Watch::<bool>::default();
    let mut until = pin!(value.until(is_set));
    assert!(poll(until.as_mut(), &a).is_pending());
    assert!(poll(until.as_mut(), &b).is_pending());
    value.update(|value| *value = true);
    assert_eq!((first.wakes(), second.wakes()), (0, 1));
    assert!(poll(until.as_mut(), &b).is_ready());
}

#[test]
fn update_that_fails_the_condition_wakes_and_waits_again() {
    let (counter, waker) = Counter::with_waker();
    let value = Watch::<bool>::default();
    let mut until = pin!(value.until(is_set));
    for updates in 1..=3 {
        assert!(poll(until.as_mut(), &waker).is_pending());
        // Nothing changes without an update.
        assert!(poll(until.as_mut(), &waker).is_pending());
        value.update(|value| *value = false);
        assert_eq!(counter.wakes(), updates);
    }
}

#[test]
fn condition_may_consume_the_value_repeatedly() {
    let (counter, waker) = Counter::with_waker();
    let permits = Watch::<usize>::default();
    let mut acquire = pin!(permits.until(|permits| {
        *permits = permits.checked_sub(1)?;
        Some(())
    }));
    assert!(poll(acquire.as_mut(), &waker).is_pending());
    permits.update(|permits| *permits = 2);
    assert!(poll(acquire.as_mut(), &waker).is_ready());
    assert!(poll(acquire.as_mut(), &waker).is_ready());
    assert!(poll(acquire.as_mut(), &waker).is_pending());
    permits.update(|permits| *permits += 1);
    assert_eq!(counter.wakes(), 2);
    assert!(poll(acquire.as_mut(), &waker).is_ready());
}

#[test]
fn dropped_wait_keeps_no_waker() {
    let (counter, waker) = Counter::with_waker();
    let value = Watch::<bool>::default();
    {
        let mut until = pin!(value.until(is_set));
        assert!(poll(until.as_mut(), &waker).is_pending());
        // `counter`, `waker` and the clone that the value stores.
        assert_eq!(Arc::strong_count(&counter), 3);
    }
    assert_eq!(Arc::strong_count(&counter), 2);
    value.update(|value| *value = true);
    assert_eq!(counter.wakes(), 0);
}
