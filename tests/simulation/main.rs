//! A simulated kernel: random events for the real `Source`, `copy`, `File` and executor.
//!
//! Each seed is one run. Simulated peers send and receive bytes, end their streams and reset them,
//! and the simulated `epoll_wait` reports these changes through
//! [`Source::make_ready`](source::Source), as the real reactor does. The clock is paused. The seed
//! decides when it advances, and when the threads of the pool run.
//!
//! | component | implementation |
//! |---|---|
//! | the executor, `JoinSet`, timers, the budget, `copy`, `copy_bidirectional` | the crates themselves |
//! | `source.rs`, `job.rs`, `sequence.rs`, `file.rs` | the original files of `reactor` |
//! | sockets and peers, `epoll_wait`, the threads of the pool, whether bytes are in the page cache | simulated |
//!
//! After each turn, when all tasks that can run have run, the simulation checks:
//!
//! - each task whose direction was reported, whose timer expired, or whose waker was called by a
//!   thread of the pool has been polled in the next round;
//! - after `WouldBlock`, no call is repeated until an event has been reported;
//! - no wakeup is lost: no task waits after its timer has expired or a task that it awaits has
//!   ended, or while its call would succeed and no event is pending;
//! - all bytes that a call took from the kernel have been returned to a task;
//! - tasks and peers receive the bytes in order, and none is missing or duplicated;
//! - a copy that waits for its reader has written and flushed everything;
//! - no task is polled after its completion, results of tasks and jobs arrive once and in order,
//!   and the error of a write is returned once;
//! - the tasks stop running until the next event, i.e. there is no busy loop;
//! - in the end, all tasks have completed, the counters are correct, and all memory is free.
//!
//! A seed that fails is run once more with the recorder, which writes the run as a page to step
//! through. `SIMULATION_SEED=7 cargo test -p tests --test reactor -- --nocapture random` writes the
//! page of one seed. `SIMULATION_SEEDS=1000000` runs more seeds.
//!
//! This test program is named `reactor`, because the recorder recognizes the runtime's log records
//! by the name of the crate.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::env;
use std::fs::File;
use std::future::poll_fn;
use std::io::{BufWriter, Write};
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;

use log::{LevelFilter, trace};
use recorder::{NOTE, Options, Page, Program, Recorder, Run};
use tests::{DEADLINE, child, page_data};

use kernel::{Kernel, Random};
use shared::Shared;

mod blocking;
mod budget;
mod files;
mod fs;
mod job;
mod kernel;
mod program;
mod sets;

// The files of the crate `reactor` that run on the simulated kernel.
mod io {
    pub(crate) use crate::vectored;
}
#[allow(dead_code, unreachable_pub)]
#[path = "../../reactor/src/metrics.rs"]
mod metrics;
#[allow(dead_code)]
#[path = "../../reactor/src/shared.rs"]
mod shared;
#[allow(dead_code)]
#[path = "../../reactor/src/source.rs"]
mod source;
#[path = "../../reactor/src/io/vectored.rs"]
mod vectored;

/// The number of runs, unless `SIMULATION_SEEDS` is set. The check of each change sets 10,000.
const SEEDS: u64 = 2_000;

/// A fault of the simulated kernel or pool. The checks must detect each of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// A turn does not call one of the wakers that it took.
    LostWaker,
    /// A thread of the pool does not call a waker.
    LostWakerOfPool,
    /// A byte disappears after a read.
    LostByte,
    /// A byte arrives twice.
    RepeatedByte,
}

/// Runs one seed.
fn run(seed: u64, fault: Option<Fault>) -> Fingerprint {
    let random = Random::new(seed);
    blocking::Pool::current().begin(1 + random.below(4));
    fs::begin(seed);
    let kernel = Rc::new(Kernel {
        random,
        shared: Rc::new(Shared::new(Location::caller())),
        sockets: RefCell::default(),
        pending: RefCell::default(),
        jobs: RefCell::default(),
        current: RefCell::default(),
        failure: Cell::default(),
        polls: Cell::new(0),
        would_blocks: Cell::new(0),
        values: Arc::default(),
        fault,
    });
    let left = Rc::downgrade(&kernel);
    Shared::replace_current(None, Some(&kernel.shared));
    let clock = reactor::time::pause();
    let fingerprint = executor::block_on(async move {
        let mut program = pin!(program::run(kernel.clone(), clock));
        let mut own_polls = 0;
        poll_fn(|cx| {
            own_polls += 1;
            let polled = catch_unwind(AssertUnwindSafe(|| program.as_mut().poll(cx)));
            polled.unwrap_or_else(|panic| {
                trace!(target: NOTE, "The check fails: {}.", message(&*panic));
                resume_unwind(panic)
            })
        })
        .await;
        let metrics = executor::metrics();
        let polls = kernel.polls.get() + own_polls;
        assert_eq!(metrics.polls, polls, "the executor has miscounted its polls");
        kernel.sockets.take();
        kernel.jobs.take();
        (kernel.random.next(), polls, metrics.wakes)
    });
    assert!(left.upgrade().is_none(), "memory is not free at the end");
    fingerprint
}

/// Numbers that two runs share only if the runs are the same, except by rare chance.
type Fingerprint = (u64, u64, u64);

/// Runs one seed, and returns the message of the check that fails.
fn failure_of(seed: u64, fault: Option<Fault>) -> Option<String> {
    let result = catch_unwind(AssertUnwindSafe(|| run(seed, fault)));
    result.err().map(|panic| message(&*panic))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}

/// Runs all seeds, on as many threads as there are cores. Returns the first seed that fails.
fn first_failure(seeds: u64) -> Option<u64> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let next = Arc::new(AtomicU64::new(0));
    let has_failed = Arc::new(AtomicBool::new(false));
    let (sender, receiver) = channel();
    for _ in 0..workers {
        let (next, has_failed, sender) = (next.clone(), has_failed.clone(), sender.clone());
        thread::spawn(move || {
            while !has_failed.load(Ordering::Relaxed) {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds {
                    return;
                }
                if failure_of(seed, None).is_some() {
                    has_failed.store(true, Ordering::Relaxed);
                    sender.send(seed).expect("the test receives");
                }
            }
        });
    }
    drop(sender);
    let (mut first, mut before) = (None, 0);
    loop {
        match receiver.recv_timeout(DEADLINE) {
            Ok(seed) => first = Some(first.map_or(seed, |first: u64| first.min(seed))),
            Err(RecvTimeoutError::Disconnected) => return first,
            Err(RecvTimeoutError::Timeout) => {
                let now = next.load(Ordering::Relaxed);
                assert!(now > before, "one of the {workers} seeds before {now} hangs");
                before = now;
            }
        }
    }
}

/// Runs one seed with the recorder. Returns the path of the page, and the message of the check that
/// fails.
///
/// The recorder becomes the logger of the process, so no other test may run.
fn record(seed: u64, fault: Option<Fault>) -> (PathBuf, Option<String>) {
    let mut options = Options::recording(100_000);
    options.stacks = true;
    let recorder = Recorder::install(Box::new(log::logger()), LevelFilter::Off, options);
    let recorder = recorder.expect("no test has installed a logger");
    recorder.start();
    let failure = failure_of(seed, fault);
    let end = failure.as_ref().map_or("passes".to_owned(), |failure| format!("fails: {failure}"));
    let mut run = Run::new(&format!("Seed {seed} {end}."), recorder.finish());
    let text = include_str!("program.rs");
    run.program = Some(Program::new("tests/simulation/program.rs", text));
    run.files.extend([
        ("tests/simulation/kernel.rs", include_str!("kernel.rs")),
        ("tests/simulation/job.rs", include_str!("job.rs")),
        ("tests/simulation/sets.rs", include_str!("sets.rs")),
        ("tests/simulation/files.rs", include_str!("files.rs")),
    ]);
    run.again.push((command(seed), "run this seed again".to_owned()));
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("seed-{seed}.html"));
    let page = File::create(&path).map(BufWriter::new);
    let mut page = page.expect("the page can be created");
    let written = Page::new(&format!("seed {seed}"), run).write_html(&mut page);
    written.and_then(|()| page.flush()).expect("the page can be written");
    (path, failure)
}

fn command(seed: u64) -> String {
    format!("SIMULATION_SEED={seed} cargo test -p tests --test reactor -- --nocapture random")
}

/// Records a seed, prints the path of its page and, if the seed fails, the command that repeats it.
fn report(seed: u64, fault: Option<Fault>) {
    let (page, failure) = record(seed, fault);
    println!("seed {seed}: {}", page.display());
    if let Some(failure) = failure {
        println!("to repeat it: {}", command(seed));
        panic!("seed {seed} fails: {failure}");
    }
}

#[test]
fn random_events_lose_no_byte_and_no_wakeup() {
    let number = |name| env::var(name).ok().map(|value| value.parse().expect("a number"));
    if let Some(seed) = number("SIMULATION_SEED") {
        return report(seed, None);
    }
    if let Some(seed) = first_failure(number("SIMULATION_SEEDS").unwrap_or(SEEDS)) {
        report(seed, None);
        panic!("seed {seed} fails, but not when it is repeated");
    }
}

#[test]
fn same_seed_gives_the_same_run() {
    for seed in 0..50 {
        assert_eq!(run(seed, None), run(seed, None), "seed {seed}");
    }
}

#[test]
fn each_fault_of_the_kernel_is_found() {
    const NOT_POLLED: &str = "was not polled in the next round";
    for (fault, expected) in [
        (Fault::LostWaker, [NOT_POLLED, "lost wakeup"]),
        (Fault::LostWakerOfPool, [NOT_POLLED, "a task neither runs nor waits"]),
        (Fault::LostByte, ["wrong byte", "a copy has lost bytes"]),
        (Fault::RepeatedByte, ["wrong byte", "a copy has lost bytes"]),
    ] {
        let found = (0..200).find_map(|seed| failure_of(seed, Some(fault)));
        let found = found.unwrap_or_else(|| panic!("no seed finds {fault:?}"));
        assert!(expected.iter().any(|part| found.contains(part)), "{fault:?}: {found}");
    }
}

#[test]
fn failing_seed_leaves_a_page_to_step_through() {
    const NAME: &str = "failing_seed_leaves_a_page_to_step_through";
    const FAULT: Option<Fault> = Some(Fault::LostWaker);
    if child::is_child() {
        // This process panics on purpose.
        std::panic::set_hook(Box::new(|_| {}));
        let seed = (0..).find(|seed| failure_of(*seed, FAULT).is_some());
        let seed = seed.expect("a lost waker is found");
        let report = catch_unwind(|| report(seed, FAULT));
        assert!(report.is_err(), "the test of a seed that fails passes");
        return;
    }
    let output = child::start(NAME).wait_with_output().expect("the child ends");
    let output = String::from_utf8(output.stdout).expect("the output is text");
    let line = output.lines().find_map(|line| line.split_once("seed ")?.1.split_once(": "));
    let (seed, page) = line.expect("the test prints the path of the page");
    assert!(output.contains(&command(seed.parse().expect("a number"))), "{output}");
    let page = std::fs::read_to_string(page).expect("the page is there");
    let data = page_data(&page);
    let steps = data["runs"][0]["steps"].as_array().expect("the page has steps");
    let sentence = |step: &serde_json::Value| step["sentence"].as_str().unwrap_or("").to_owned();
    let last = steps.iter().rev().map(sentence).find(|text| text.contains("The check fails"));
    assert!(last.is_some(), "no step says which check fails");
    let has = |part: &str| steps.iter().any(|step| sentence(step).contains(part));
    assert!(has("peer") || has("sends"), "the acts of the peers are missing");
}
