//! Check of exercise 10.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use super::{TimerKey, Timers};
use crate::check::{Seen, Step, count_of, require};

pub(crate) const STEPS: &[Step] = &[
    ("timers of a few milliseconds fire in the order of their deadlines", short),
    ("a timer of 100 ms does not fire before its deadline", long),
    ("5,000 timers, up to a day: each fires within 1 ms after its deadline", many),
    ("a removed timer does not fire, and nothing is left", removed),
    ("the next deadline of a timer of one day leads to few turns", few_turns),
    ("50,000 timers that are set and removed again", cost),
];

const MILLISECOND: Duration = Duration::from_millis(1);

/// A waker that stores that it was called, by the number of its timer.
struct Fires {
    timer: usize,
    last: Arc<AtomicUsize>,
}

impl Wake for Fires {
    fn wake(self: Arc<Self>) {
        self.last.store(self.timer, Ordering::Relaxed);
    }
}

/// Timers, with a number for each waker. The time is simulated: no step waits.
struct Clock {
    timers: Timers,
    start: Instant,
    now: Instant,
    last: Arc<AtomicUsize>,
    turns: usize,
}

impl Clock {
    fn new() -> Clock {
        let start = Instant::now();
        Clock { timers: Timers::new(start), start, now: start, last: Arc::default(), turns: 0 }
    }

    fn set(&mut self, timer: usize, after: Duration) -> TimerKey {
        let waker = Waker::from(Arc::new(Fires { timer, last: self.last.clone() }));
        self.timers.set(self.now + after, waker)
    }

    /// Moves the time forward, and returns the numbers of the timers that fire.
    fn fire(&mut self, now: Instant) -> Vec<usize> {
        self.now = self.now.max(now);
        self.turns += 1;
        let mut fired = Vec::new();
        while let Some(waker) = self.timers.pop_due(self.now) {
            waker.wake();
            fired.push(self.last.load(Ordering::Relaxed));
        }
        fired
    }

    /// As a reactor does: sleeps until the next deadline, and takes out what is due.
    fn turn(&mut self) -> Option<Vec<usize>> {
        let next = self.timers.next_deadline()?;
        Some(self.fire(next))
    }

    fn seconds(&self) -> f64 {
        self.now.duration_since(self.start).as_secs_f64()
    }
}

fn short() -> Seen {
    let mut clock = Clock::new();
    for millis in [30, 10, 20] {
        clock.set(millis, MILLISECOND * millis as u32);
    }
    let mut fired = Vec::new();
    for millis in 0..=32 {
        let now = clock.start + MILLISECOND * millis;
        for timer in clock.fire(now) {
            fired.push((timer, millis as usize));
        }
    }
    let is_right = fired.len() == 3
        && fired.iter().zip([10, 20, 30]).all(|(&(timer, at), expected)| {
            timer == expected && (expected..=expected + 1).contains(&at)
        });
    require(is_right, format!("(timer, time) in ms: {fired:?}"), "10, 20 and 30, each in time")
}

fn long() -> Seen {
    let mut clock = Clock::new();
    clock.set(100, MILLISECOND * 100);
    for millis in 0..=101 {
        let now = clock.start + MILLISECOND * millis;
        if !clock.fire(now).is_empty() {
            let saw = format!("the timer of 100 ms fired after {millis} ms");
            return require(millis >= 100, saw, "100 or 101 ms");
        }
    }
    Err("the timer of 100 ms had not fired after 101 ms; expected it after 100 or 101".to_owned())
}

/// Returns numbers that look random, and are the same in each run.
fn numbers() -> impl FnMut(u64) -> u64 {
    let mut state: u64 = 42;
    move |limit| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % limit
    }
}

fn many() -> Seen {
    let mut clock = Clock::new();
    let mut random = numbers();
    let mut expected = BTreeMap::new();
    let mut keys = Vec::new();
    let total = 5000;
    for timer in 0..total {
        // Some are near and some are far, down to the microsecond.
        let limit = [50_000, 5_000_000, 86_400_000_000][timer % 3];
        let after = Duration::from_micros(random(limit));
        expected.insert(timer, clock.now + after);
        keys.push(clock.set(timer, after));
    }
    // Remove every fourth one.
    for timer in (0..total).step_by(4) {
        let is_removed = clock.timers.remove(keys[timer]).is_some();
        require(is_removed, format!("remove did not find timer {timer}"), "its waker")?;
        expected.remove(&timer);
    }
    while !expected.is_empty() {
        let Some(fired) = clock.turn() else {
            let left = count_of(expected.len(), "timer");
            return Err(format!("{left} had not fired, and next_deadline returned None"));
        };
        for timer in fired {
            let Some(deadline) = expected.remove(&timer) else {
                return Err(format!("timer {timer} fired, but it was removed or has fired before"));
            };
            let is_early = clock.now < deadline;
            let off = if is_early { deadline - clock.now } else { clock.now - deadline };
            let side = if is_early { "before" } else { "after" };
            let saw = format!("timer {timer} fired {off:?} {side} its deadline");
            require(!is_early && off <= MILLISECOND, saw, "at most 1 ms after it")?;
        }
        let saw = format!("{} turns for {total} timers", clock.turns);
        require(clock.turns < 20 * total, saw, "fewer than 20 for each timer")?;
    }
    Ok(format!("{} timers fired in {} turns", total - total.div_ceil(4), clock.turns))
}

fn removed() -> Seen {
    let mut clock = Clock::new();
    let afters = [1, 63, 64, 65, 5000, 10_000_000];
    let keys: Vec<_> =
        (0..).zip(afters).map(|(n, after)| clock.set(n, MILLISECOND * after)).collect();
    // Some time passes between the two, so a timer may have moved in the wheel.
    let early: BTreeSet<usize> = clock.fire(clock.start + MILLISECOND * 40).into_iter().collect();
    require(early == [0].into(), format!("after 40 ms, the timers {early:?} had fired"), "{0}")?;
    let found: Vec<bool> = keys.iter().map(|key| clock.timers.remove(*key).is_some()).collect();
    let is_right = found == [false, true, true, true, true, true];
    require(is_right, format!("remove found {found:?}"), "all but the first, which has fired")?;
    let next = clock.timers.next_deadline().map(|next| next - clock.start);
    require(next.is_none(), format!("all are removed; next_deadline is {next:?}"), "None")?;
    let late = clock.fire(clock.start + MILLISECOND * 20_000_000).len();
    require(late == 0, format!("5 timers were removed, and then {late} fired"), "0")
}

fn few_turns() -> Seen {
    let mut clock = Clock::new();
    clock.set(7, Duration::from_secs(86_400));
    for turns in 1..=1000 {
        match clock.turn() {
            Some(fired) if fired.is_empty() => {}
            Some(_) => {
                let saw = format!("it fired after {} s and {turns} turns", clock.seconds());
                return require(turns <= 10, saw, "10 turns at most");
            }
            None => return Err("it has not fired, and next_deadline returned None".to_owned()),
        }
    }
    Err("after 1000 turns it had not fired: next_deadline is too early each time".to_owned())
}

/// Sets timers as sleeps in a busy server do, and removes nearly all before they fire.
fn cost() -> Seen {
    const COUNT: usize = 50_000;
    let mut random = numbers();
    let mut clock = Clock::new();
    let waker = Waker::noop().clone();
    let begin = Instant::now();
    let afters: Vec<_> = (0..COUNT).map(|_| Duration::from_millis(random(60_000))).collect();
    let keys: Vec<_> =
        afters.iter().map(|after| clock.timers.set(clock.now + *after, waker.clone())).collect();
    let found = keys.into_iter().filter(|key| clock.timers.remove(*key).is_some()).count();
    let wheel = begin.elapsed();
    require(found == COUNT, format!("remove found {found} of {COUNT}"), "all of them")?;

    let begin = Instant::now();
    let mut map = BTreeMap::new();
    for (serial, after) in afters.iter().enumerate() {
        map.insert((clock.now + *after, serial), waker.clone());
    }
    for (serial, after) in afters.iter().enumerate() {
        map.remove(&(clock.now + *after, serial));
    }
    let tree = begin.elapsed();
    Ok(format!(
        "{} ms, and {} ms with the BTreeMap of the core",
        wheel.as_millis(),
        tree.as_millis()
    ))
}
