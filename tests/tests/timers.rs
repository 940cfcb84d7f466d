//! Timers: none expires early, none is lost, and a dropped timer leaves no entry.
//!
//! Most tests pause the clock, so that they need no real time. Those that compare the timers with
//! the clock of the OS, or count what `epoll_wait` does, use `run` and `with_real_clock`.

use std::cell::Cell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use futures_lite::StreamExt;
use proptest::collection::vec;
use proptest::prelude::*;
use reactor::Reactor;
use reactor::io::AsyncReadExt;
use reactor::time::{
    Elapsed, MissedTickBehavior, Sleep, interval, interval_at, now, pause, sleep, sleep_until,
    timeout, timeout_at,
};
use tests::wakers::{Counter, poll, waker_fn};
use tests::{run, tcp_pair, turn_until, within_deadline};

// The module is private in the reactor, so the test includes its file.
#[path = "../../reactor/src/timer.rs"]
mod timer;

fn with_real_clock(test: impl FnOnce(&Rc<Reactor>) + Send + 'static) {
    within_deadline(|| {
        let reactor = Reactor::new().unwrap();
        let _entered = reactor.enter();
        test(&reactor);
    });
}

/// Runs a test that turns the reactor itself. A turn that would sleep moves the clock instead.
fn with_reactor(test: impl FnOnce(&Rc<Reactor>) + Send + 'static) {
    with_real_clock(|reactor| {
        let _clock = pause();
        test(reactor);
    });
}

/// Runs an async test with a paused clock.
fn run_paused<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    within_deadline(|| {
        let _clock = pause();
        executor::block_on(test());
    });
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Set(u64),
    Replace(usize),
    Remove(usize),
    Advance(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        // Few different deadlines, so that many are equal.
        4 => (0_u64..20).prop_map(Step::Set),
        1 => any::<usize>().prop_map(Step::Replace),
        2 => any::<usize>().prop_map(Step::Remove),
        3 => (0_u64..4).prop_map(Step::Advance),
    ]
}

/// A timer of the model. The model's list has the order in which the timers were set.
struct Modeled {
    key: timer::TimerKey,
    counter: Arc<Counter>,
    waker: Waker,
    live: bool,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: tests::cases(300), failure_persistence: None, ..ProptestConfig::default() })]

    // The model is a plain list, searched in each step. It determines which timers expire, and in
    // which order.
    // Pitfall: C3, C5
    #[test]
    fn queue_expires_the_same_timers_as_the_model(steps in vec(step(), 1..200)) {
        let mut timers = timer::Timers::default();
        let mut now = Instant::now();
        let mut model: Vec<Modeled> = Vec::new();
        for step in steps {
            match step {
                Step::Set(offset) => {
                    let (counter, waker) = Counter::with_waker();
                    let key = timers.set(now + Duration::from_nanos(offset), waker.clone());
                    model.push(Modeled { key, counter, waker, live: true });
                }
                Step::Replace(index) if !model.is_empty() => {
                    let index = index % model.len();
                    let timer = &mut model[index];
                    let (counter, waker) = Counter::with_waker();
                    let old = timers.replace(timer.key, waker.clone());
                    prop_assert_eq!(old.is_ok(), timer.live);
                    match old {
                        Ok(old) => {
                            prop_assert!(old.will_wake(&timer.waker));
                            prop_assert!(timers.will_wake(timer.key, &waker));
                            (timer.counter, timer.waker) = (counter, waker);
                        }
                        // The timer has expired, so `replace` returns the new waker, which it would
                        // never wake.
                        Err(new) => prop_assert!(new.will_wake(&waker)),
                    }
                }
                Step::Remove(index) if !model.is_empty() => {
                    let index = index % model.len();
                    let timer = &mut model[index];
                    prop_assert_eq!(timers.remove(timer.key).is_some(), timer.live);
                    timer.live = false;
                }
                Step::Advance(nanoseconds) => {
                    now += Duration::from_nanos(nanoseconds);
                    loop {
                        let due = model.iter_mut().filter(|timer| timer.live && timer.key.0 <= now);
                        // `min_by_key` returns the first of several equal elements: the timer that
                        // was set first.
                        let expected = due.min_by_key(|timer| timer.key.0);
                        let fired = timers.pop_due(now);
                        prop_assert_eq!(fired.is_some(), expected.is_some());
                        let (Some(fired), Some(expected)) = (fired, expected) else { break };
                        prop_assert!(fired.will_wake(&expected.waker), "not the earliest timer");
                        expected.live = false;
                    }
                }
                Step::Replace(_) | Step::Remove(_) => {}
            }
            let live = model.iter().filter(|timer| timer.live);
            prop_assert_eq!(timers.next_deadline(), live.map(|timer| timer.key.0).min());
        }
    }
}

// Pitfall: C1
#[test]
fn sleep_of_any_length_stays_pending() {
    with_real_clock(|reactor| {
        let long = [Duration::MAX, Duration::from_secs(u64::MAX), Duration::from_secs(1 << 40)];
        for duration in long.into_iter().chain((10..64).map(|n| Duration::from_secs(1 << n))) {
            let (counter, waker) = Counter::with_waker();
            let mut sleep = pin!(sleep(duration));
            assert!(poll(sleep.as_mut(), &waker).is_pending());
            reactor.turn(Some(Duration::ZERO)).unwrap();
            assert!(poll(sleep.as_mut(), &waker).is_pending());
            // A notification must be able to end the wait.
            reactor.notifier().notify();
            reactor.turn(None).unwrap();
            assert_eq!(counter.wakes(), 0);
            let mut ticks = interval(duration);
            assert!(poll(pin!(ticks.tick()), &waker).is_pending());
        }
        assert_eq!(reactor.next_deadline(), None);
        reactor.notifier().notify();
        reactor.turn(Some(Duration::MAX)).unwrap();
    });
}

#[test]
fn maximal_timeout_lets_the_future_complete() {
    run(|| async {
        assert_eq!(timeout(Duration::MAX, executor::yield_now()).await, Ok(()));
    });
}

#[test]
fn elapsed_sleep_completes_in_a_turn_without_waiting() {
    with_real_clock(|reactor| {
        let mut zero = pin!(sleep(Duration::ZERO));
        let mut past = pin!(sleep_until(Instant::now()));
        assert!(poll(zero.as_mut(), Waker::noop()).is_pending());
        assert!(poll(past.as_mut(), Waker::noop()).is_pending());
        // The turn has no timeout, so only the expired timers can end it.
        reactor.turn(None).unwrap();
        assert!(poll(zero.as_mut(), Waker::noop()).is_ready());
        assert!(poll(past.as_mut(), Waker::noop()).is_ready());
        assert_eq!((reactor.next_deadline(), reactor.metrics().turns), (None, 1));
    });
}

// A loop over elapsed sleeps must still let the reactor turn.
#[test]
fn loops_over_elapsed_timers_do_not_starve_other_tasks() {
    run(|| async {
        let zero = executor::spawn(async {
            loop {
                sleep(Duration::ZERO).await;
            }
        });
        let ticks = executor::spawn(async {
            let mut ticks = interval(Duration::from_nanos(1));
            loop {
                ticks.tick().await;
            }
        });
        sleep(Duration::from_millis(5)).await;
        zero.abort();
        ticks.abort();
    });
}

#[test]
fn sleep_does_not_end_early_and_may_be_polled_again() {
    run(|| async {
        for microseconds in [1, 100, 999, 1000, 1001, 2500, 5999] {
            let duration = Duration::from_micros(microseconds);
            let start = Instant::now();
            let mut sleep = sleep(duration);
            (&mut sleep).await;
            assert!(start.elapsed() >= duration);
            (&mut sleep).await;
        }
    });
}

// Pitfall: C2
#[test]
fn sleep_of_microseconds_takes_at_most_two_turns() {
    with_real_clock(|reactor| {
        for microseconds in [1, 100, 500, 900, 999, 1900] {
            let mut sleep = pin!(sleep(Duration::from_micros(microseconds)));
            if poll(sleep.as_mut(), Waker::noop()).is_ready() {
                continue;
            }
            let before = reactor.metrics().turns;
            while poll(sleep.as_mut(), Waker::noop()).is_pending() {
                reactor.turn(None).unwrap();
            }
            let turns = reactor.metrics().turns - before;
            assert!(turns <= 2, "{microseconds} µs took {turns} turns");
        }
    });
}

// Pitfall: C4
#[test]
fn dropped_timer_leaves_no_entry() {
    with_reactor(|reactor| {
        for n in 0..100_000 {
            let mut sleep = pin!(sleep(Duration::from_secs(3600 + n % 7)));
            assert!(poll(sleep.as_mut(), Waker::noop()).is_pending());
            assert!(reactor.next_deadline().is_some());
        }
        assert_eq!(reactor.next_deadline(), None);
    });
}

// An entry would hold a clone of the waker, which the reference count shows.
// Pitfall: C4
#[test]
fn expired_or_replaced_timer_keeps_no_waker() {
    with_reactor(|reactor| {
        let (counter, waker) = Counter::with_waker();
        let mut sleep = pin!(sleep(Duration::from_millis(1)));
        assert!(poll(sleep.as_mut(), &waker).is_pending());
        assert_eq!(Arc::strong_count(&counter), 3);
        assert!(poll(sleep.as_mut(), Waker::noop()).is_pending());
        assert_eq!(Arc::strong_count(&counter), 2);
        assert!(poll(sleep.as_mut(), &waker).is_pending());
        turn_until(reactor, || counter.wakes() == 1);
        assert_eq!(Arc::strong_count(&counter), 2);
        assert!(poll(sleep.as_mut(), &waker).is_ready());
        assert_eq!(reactor.next_deadline(), None);
    });
}

// Pitfall: C5
#[test]
fn equal_deadlines_expire_in_the_order_of_setting() {
    run_paused(|| async {
        let deadline = now() + Duration::from_millis(2);
        let order = Rc::new(std::cell::RefCell::new(Vec::new()));
        let mut tasks = executor::JoinSet::new();
        for n in 0..100 {
            let order = order.clone();
            tasks.spawn(async move {
                sleep_until(deadline).await;
                order.borrow_mut().push(n);
            });
        }
        while tasks.join_next().await.is_some() {}
        assert_eq!(*order.borrow(), (0..100).collect::<Vec<_>>());
    });
}

#[test]
fn earlier_deadline_that_is_set_later_expires_first() {
    run_paused(|| async {
        let far = executor::spawn(async {
            sleep(Duration::from_secs(100)).await;
        });
        executor::yield_now().await;
        sleep(Duration::from_millis(1)).await;
        assert!(!far.is_finished());
    });
}

// A tick is the time at which it was due. So the test can check that it is a multiple of the
// period, however late it is taken.
// Pitfall: C5
#[test]
fn interval_ticks_at_multiples_of_its_period() {
    run_paused(|| async {
        let period = Duration::from_millis(1);
        let start = now();
        let mut ticks = interval(period);
        let first = ticks.next().await.unwrap();
        let mut last = first;
        let mut count = 1;
        while count < 500 {
            let tick = ticks.next().await.unwrap();
            assert!(tick <= now(), "early");
            let since = tick - first;
            assert_eq!(since.as_nanos() % period.as_nanos(), 0, "not a multiple of the period");
            assert!(tick > last);
            count += ((tick - last).as_nanos() / period.as_nanos()) as u32;
            last = tick;
        }
        // There is no drift: the last tick is a whole number of periods after the first.
        assert!(first >= start + period);
        assert_eq!(last - first, period * (count - 1));
    });
}

#[test]
fn missed_ticks_are_skipped_without_drift() {
    within_deadline(|| {
        let clock = pause();
        executor::block_on(async {
            let period = Duration::from_millis(10);
            let mut ticks = interval(period);
            let first = ticks.tick().await;
            // The clock moves in one step, as if this task had computed for that time.
            clock.advance(period * 11 / 2).await;
            let late = ticks.tick().await;
            assert_eq!(late, first + period, "the tick that was due is returned late");
            assert_eq!(ticks.tick().await, first + period * 6, "the missed ticks are skipped");
        });
    });
}

#[test]
#[should_panic(expected = "the period of an interval must not be zero")]
fn interval_with_a_zero_period_panics() {
    let _ = interval(Duration::ZERO);
}

#[test]
fn timeout_drops_the_future_and_its_timer() {
    run_paused(|| async {
        let alive = Rc::new(());
        let kept = alive.clone();
        let late: Result<(), Elapsed> = timeout(Duration::from_millis(1), async move {
            let _kept = kept;
            std::future::pending().await
        })
        .await;
        assert!(late.is_err());
        assert_eq!(Rc::strong_count(&alive), 1);
        assert_eq!(timeout(Duration::from_secs(100), async { 7 }).await, Ok(7));
        assert_eq!(Reactor::current().next_deadline(), None);
        let error = std::io::Error::from(late.unwrap_err());
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    });
}

#[test]
fn ready_future_wins_over_a_zero_timeout() {
    run_paused(|| async {
        assert_eq!(timeout(Duration::ZERO, async { 7 }).await, Ok(7));
        assert!(timeout(Duration::ZERO, std::future::pending::<()>()).await.is_err());
    });
}

// As in tokio's tests of `sleep`: the wakers of one turn are called one after the other, and the
// first drops the timers of all others.
// Pitfall: C3, X3
#[test]
fn waker_may_drop_the_timers_that_expire_with_its_own() {
    std::thread_local! {
        static SLEEPS: Cell<Vec<Sleep>> = const { Cell::new(Vec::new()) };
    }
    with_reactor(|reactor| {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let waker = waker_fn(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            drop(SLEEPS.take());
        });
        let mut sleeps: Vec<_> = (0..100).map(|_| sleep(Duration::from_millis(1))).collect();
        for sleep in &mut sleeps {
            assert!(poll(Pin::new(sleep), &waker).is_pending());
        }
        SLEEPS.set(sleeps);
        turn_until(reactor, || calls.load(Ordering::Relaxed) > 0);
        assert_eq!(reactor.next_deadline(), None);
    });
}

// A read that is dropped by its timeout consumes no bytes.
#[test]
fn timed_out_read_loses_no_bytes() {
    run(|| async {
        use reactor::io::AsyncWriteExt;
        let (mut ours, mut peer) = tcp_pair().await.unwrap();
        let mut bytes = [0; 8];
        assert!(timeout(Duration::from_millis(1), ours.read(&mut bytes)).await.is_err());
        peer.write_all(b"later").await.unwrap();
        assert_eq!(ours.read(&mut bytes).await.unwrap(), 5);
        assert_eq!(Reactor::current().next_deadline(), None);
    });
}

// Tasks set and drop many timers. Each awaited timer expires, and none expires early.
// Pitfall: C3
#[test]
fn timers_set_and_dropped_at_random_all_expire() {
    run(|| async {
        let mut tasks = executor::JoinSet::new();
        for n in 0_u64..1000 {
            tasks.spawn(async move {
                let start = Instant::now();
                let duration = Duration::from_micros(n * 7919 % 5000);
                // Either future may complete first if one turn finds both expired.
                let _ = timeout(duration / 2, sleep(duration * 2)).await;
                sleep(duration).await;
                assert!(start.elapsed() >= duration);
            });
        }
        while let Some(result) = tasks.join_next().await {
            result.unwrap();
        }
        assert_eq!(Reactor::current().next_deadline(), None);
    });
}

#[test]
fn turn_ends_at_its_timeout_or_the_first_timer() {
    with_real_clock(|reactor| {
        let start = Instant::now();
        reactor.turn(Some(Duration::from_millis(3))).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(3));
        let (counter, waker) = Counter::with_waker();
        let mut sleep = pin!(sleep(Duration::from_millis(3)));
        assert!(sleep.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
        reactor.turn(Some(Duration::from_secs(100))).unwrap();
        assert!(counter.wakes() == 1 && reactor.now() >= sleep.deadline().unwrap());
    });
}

/// A deadline that no test reaches.
const HOUR: Duration = Duration::from_secs(3600);

fn soon() -> Instant {
    now() + Duration::from_millis(3)
}

#[test]
fn reset_before_the_first_poll_sets_no_timer() {
    with_reactor(|reactor| {
        let mut sleep = sleep(HOUR);
        sleep.reset(soon());
        assert_eq!(reactor.next_deadline(), None);
        let (counter, waker) = Counter::with_waker();
        assert!(poll(pin!(&mut sleep), &waker).is_pending());
        assert_eq!(reactor.next_deadline(), sleep.deadline());
        turn_until(reactor, || counter.wakes() == 1);
        assert!(sleep.is_elapsed() && poll(pin!(&mut sleep), &waker).is_ready());
    });
}

// The waiting task is not polled after the reset, so the reset itself must change the timer.
#[test]
fn reset_of_a_pending_sleep_wakes_its_latest_task_earlier() {
    with_reactor(|reactor| {
        let mut sleep = sleep(HOUR);
        let (first, first_waker) = Counter::with_waker();
        let (latest, latest_waker) = Counter::with_waker();
        assert!(poll(pin!(&mut sleep), &first_waker).is_pending());
        assert!(poll(pin!(&mut sleep), &latest_waker).is_pending());
        let deadline = soon();
        sleep.reset(deadline);
        assert!(!sleep.is_elapsed());
        reactor.turn(None).unwrap();
        assert!(now() >= deadline && sleep.is_elapsed());
        assert_eq!((first.wakes(), latest.wakes()), (0, 1));
        assert!(poll(pin!(&mut sleep), &latest_waker).is_ready());
        assert_eq!(reactor.next_deadline(), None);
    });
}

#[test]
fn reset_to_a_later_deadline_does_not_wake_at_the_old_one() {
    with_reactor(|reactor| {
        let (counter, waker) = Counter::with_waker();
        let mut sleep = sleep_until(soon());
        assert!(poll(pin!(&mut sleep), &waker).is_pending());
        let later = soon() + Duration::from_millis(5);
        sleep.reset(later);
        reactor.turn(None).unwrap();
        assert!(now() >= later);
        assert_eq!(counter.wakes(), 1);
    });
}

#[test]
fn reset_to_the_past_ends_the_next_turn_immediately() {
    with_reactor(|reactor| {
        let (counter, waker) = Counter::with_waker();
        let mut sleep = sleep(HOUR);
        assert!(poll(pin!(&mut sleep), &waker).is_pending());
        sleep.reset(now());
        reactor.turn(Some(HOUR)).unwrap();
        assert_eq!(counter.wakes(), 1);
        assert!(poll(pin!(&mut sleep), &waker).is_ready());
    });
}

#[test]
fn reset_of_an_elapsed_sleep_restarts_it() {
    run_paused(|| async {
        let mut sleep = sleep(Duration::from_millis(1));
        (&mut sleep).await;
        for _ in 0..3 {
            let deadline = soon();
            sleep.reset(deadline);
            assert!(!sleep.is_elapsed());
            (&mut sleep).await;
            assert!(now() >= deadline && sleep.is_elapsed());
        }
    });
}

// The timer has expired and its task was woken, but the task has not been polled yet.
#[test]
fn reset_of_an_expired_timer_waits_without_spinning() {
    with_reactor(|reactor| {
        let (counter, waker) = Counter::with_waker();
        let mut sleep = sleep(Duration::from_millis(1));
        assert!(poll(pin!(&mut sleep), &waker).is_pending());
        turn_until(reactor, || counter.wakes() == 1);
        let deadline = soon();
        sleep.reset(deadline);
        assert!(poll(pin!(&mut sleep), &waker).is_pending());
        assert_eq!(counter.wakes(), 1, "the poll wakes its own task");
        turn_until(reactor, || counter.wakes() == 2);
        assert!(now() >= deadline);
        assert!(poll(pin!(&mut sleep), &waker).is_ready());
    });
}

// Pitfall: C4
#[test]
fn repeatedly_reset_sleep_has_one_timer_and_waker() {
    with_reactor(|reactor| {
        let (counter, waker) = Counter::with_waker();
        let mut sleep = sleep(HOUR);
        for n in 0..1000 {
            assert!(poll(pin!(&mut sleep), &waker).is_pending());
            sleep.reset(now() + HOUR * (1 + n % 3));
            assert_eq!(reactor.stored_wakers().len(), 1);
        }
        // `counter`, `waker` and the clone in the timer.
        assert_eq!(Arc::strong_count(&counter), 3);
        drop(sleep);
        assert_eq!((reactor.next_deadline(), Arc::strong_count(&counter)), (None, 2));
    });
}

#[test]
fn reset_after_the_reactor_is_gone_uses_the_next_one() {
    within_deadline(|| {
        let _clock = pause();
        let mut sleep = sleep(HOUR);
        let gone = Reactor::new().unwrap();
        let entered = gone.enter();
        assert!(poll(pin!(&mut sleep), Waker::noop()).is_pending());
        drop((entered, gone));
        sleep.reset(soon());
        executor::block_on(&mut sleep);
        assert!(sleep.is_elapsed());
    });
}

// Another task resets the sleep while the reactor knows only the old deadline.
#[test]
fn task_wakes_early_when_another_task_resets_its_sleep() {
    run_paused(|| async {
        let shared = Rc::new(std::cell::RefCell::new(sleep(HOUR)));
        let sleeper = shared.clone();
        let task = executor::spawn(std::future::poll_fn(move |cx| {
            std::pin::Pin::new(&mut *sleeper.borrow_mut()).poll(cx)
        }));
        sleep(Duration::from_millis(1)).await;
        shared.borrow_mut().reset(soon());
        task.await.unwrap();
    });
}

#[test]
fn interval_at_ticks_first_at_its_start() {
    run_paused(|| async {
        let (start, period) = (now(), Duration::from_millis(4));
        let mut ticks = interval_at(start, period);
        assert_eq!(ticks.tick().await, start);
        assert_eq!(ticks.tick().await, start + period);
        let mut ticks = interval_at(soon(), period);
        let first = ticks.tick().await;
        assert!(first > start && now() >= first);
    });
}

#[test]
fn interval_returns_its_period_and_missed_tick_behavior() {
    let mut ticks = interval(HOUR);
    assert_eq!((ticks.period(), ticks.missed_tick_behavior()), (HOUR, MissedTickBehavior::Skip));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    assert_eq!(ticks.missed_tick_behavior(), MissedTickBehavior::Delay);
}

#[test]
fn burst_yields_every_missed_tick() {
    run_paused(|| async {
        let (start, period) = (now(), Duration::from_millis(1));
        let mut ticks = interval_at(start, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        sleep(period * 10).await;
        for n in 0..10 {
            assert_eq!(ticks.tick().await, start + period * n);
        }
    });
}

#[test]
fn delay_keeps_a_period_between_ticks() {
    run_paused(|| async {
        let period = Duration::from_millis(3);
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        sleep(period * 4).await;
        for _ in 0..3 {
            ticks.tick().await;
            let taken = Reactor::current().now();
            assert!(ticks.tick().await >= taken + period);
        }
    });
}

#[test]
fn interval_reset_moves_the_awaited_tick() {
    with_real_clock(|reactor| {
        let (counter, waker) = Counter::with_waker();
        let cx = &mut std::task::Context::from_waker(&waker);
        let mut ticks = interval(HOUR);
        assert!(ticks.poll_tick(cx).is_pending());
        let due = soon();
        ticks.reset_at(due);
        reactor.turn(None).unwrap();
        assert_eq!(counter.wakes(), 1);
        assert_eq!(ticks.poll_tick(cx), std::task::Poll::Ready(due));
        assert!(ticks.poll_tick(cx).is_pending());
        assert_eq!(reactor.next_deadline(), Some(due + HOUR));
        ticks.reset();
        assert!(reactor.next_deadline() > Some(due + HOUR));
        ticks.reset_after(Duration::MAX);
        assert_eq!(reactor.next_deadline(), None, "the tick is beyond the end of the clock");
        ticks.reset_immediately();
        assert!(ticks.poll_tick(cx).is_pending());
        reactor.turn(None).unwrap();
        assert!(ticks.poll_tick(cx).is_ready());
    });
}

#[test]
fn futures_that_share_a_deadline_time_out_together() {
    run_paused(|| async {
        let deadline = soon();
        for _ in 0..3 {
            let late = timeout_at(deadline, std::future::pending::<()>()).await;
            assert!(late.is_err() && now() >= deadline);
        }
        assert_eq!(timeout_at(deadline, async { 7 }).await, Ok(7));
        assert_eq!(Reactor::current().next_deadline(), None);
    });
}
