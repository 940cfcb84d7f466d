//! Tests with real threads. They are in a file of their own because a model checker compiles the
//! other files.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use super::{JobHandle, Pool, Sequence, next_number};

#[test]
fn jobs_run_one_at_a_time_in_order() {
    let sequence = Arc::new(Sequence::default());
    let (sender, receiver) = channel();
    let mut jobs = Vec::new();
    let guard = sequence.enter_if_idle().expect("no job yet");
    assert!(sequence.enter_if_idle().is_none());
    for n in 0..100 {
        let sender = sender.clone();
        jobs.push(sequence.begin(move || sender.send(n).unwrap()));
    }
    assert!(receiver.try_recv().is_err(), "a job ran before the guard was dropped");
    drop((guard, sender));
    assert!(receiver.iter().eq(0..100));
}

#[test]
fn sequence_continues_after_an_unwanted_result_panics() {
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped on the pool's thread");
        }
    }

    let sequence = Arc::new(Sequence::default());
    let guard = sequence.enter_if_idle();
    drop(sequence.begin(|| Bomb));
    let (sender, receiver) = channel();
    let _job = sequence.begin(move || sender.send(7).unwrap());
    drop(guard);
    assert_eq!(receiver.recv(), Ok(7));
}

#[test]
fn job_is_listed_until_it_has_ended() {
    let first = next_number();
    let is_listed = || Pool::current().unfinished().lock().range(first..).next().is_some();
    let (sender, receiver) = channel::<()>();
    let _job = JobHandle::begin(move || receiver.recv());
    assert!(is_listed());
    drop(sender);
    // Other tests of this process may also have listed jobs, but these jobs end.
    let start = Instant::now();
    while is_listed() {
        assert!(start.elapsed() < Duration::from_secs(20), "the job is still listed");
        thread::yield_now();
    }
}
