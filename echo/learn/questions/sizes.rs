//! What a future uses after an `await` it has to keep across it, so the compiler makes it a field of
//! the future. That decides three things: how large the future is, how long a guard keeps a lock,
//! and whether the future is `Send`. A value whose block ends before the `await` is not held. `drop`
//! ends a lock and makes the future `Send` as well.

use std::future::Future;
use std::hint::black_box;
use std::io;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use executor::{block_on, spawn, yield_now};

use crate::{Question, print_line, scene};

pub(crate) const QUESTION: Question = Question {
    text: "What does a future hold across an await: its size, a lock guard, Send?",
    run,
};

const KIB_4: usize = 4096;

/// Whether the type of a value is `Send`.
///
/// The inherent method exists only for `Send` types, and is preferred to the method of the trait.
macro_rules! is_send {
    ($value:expr) => {
        probe(&$value).is_send()
    };
}

fn run() -> io::Result<()> {
    print_line("the size of an async fn with a buffer of 4 KiB")?;
    show_size("in a block that ends before the await", buffer_before())?;
    show_size("that is alive until the end of the function", buffer_across())?;
    show_size("on the heap, in a Vec", vec_across())?;
    show_size("in another async fn, which it awaits", calls())?;
    show_size("in another async fn, which it awaits in a Box", calls_boxed())?;
    print_line("an async fn that awaits itself would contain itself; it awaits a Box of itself")?;
    print_line(format_args!("    levels that it reached: {}", block_on(descend(1000))))?;
    print_line("whether a task with an Rc may move to another thread (Send)")?;
    print_line(format_args!("    the Rc lives across the await:     {}", is_send!(rc_across())))?;
    print_line(format_args!("    it is dropped before:              {}", is_send!(rc_before())))?;
    print_line("whether another task can lock a std Mutex while the first one awaits")?;
    scene::begin();
    print_line(format_args!("    the guard lives across the await:  {}", block_on(locked(true))))?;
    scene::end();
    print_line(format_args!("    it is dropped before:              {}", block_on(locked(false))))?;
    print_line("where it cannot, lock() would block the only thread forever")
}

struct Probe<T>(PhantomData<T>);

fn probe<T>(_: &T) -> Probe<T> {
    Probe(PhantomData)
}

impl<T: Send> Probe<T> {
    fn is_send(&self) -> bool {
        true
    }
}

trait NotSend {
    fn is_send(&self) -> bool {
        false
    }
}

impl<T> NotSend for Probe<T> {}

fn show_size(what: &str, future: impl Future) -> io::Result<()> {
    print_line(format_args!("    {what:45}  {:5} bytes", size_of_val(&future)))
}

async fn buffer_before() {
    {
        let buffer = [0_u8; KIB_4];
        black_box(&buffer);
    }
    yield_now().await;
}

async fn buffer_across() {
    let buffer = [0_u8; KIB_4];
    black_box(&buffer);
    yield_now().await;
}

async fn vec_across() {
    let buffer = vec![0_u8; KIB_4];
    black_box(&buffer);
    yield_now().await;
}

async fn calls() {
    buffer_across().await;
}

async fn calls_boxed() {
    Box::pin(buffer_across()).await;
}

/// Returns its own depth. An `async fn` that awaits itself would contain itself, so the inner future
/// is in a box.
fn descend(depth: u32) -> Pin<Box<dyn Future<Output = u32>>> {
    Box::pin(async move {
        yield_now().await;
        if depth == 0 { 0 } else { descend(depth - 1).await + 1 }
    })
}

async fn rc_across() {
    let shared = Rc::new(1);
    yield_now().await;
    black_box(shared);
}

async fn rc_before() {
    let shared = Rc::new(1);
    drop(shared);
    yield_now().await;
}

/// Returns whether a second task finds the mutex unlocked while the first one waits.
async fn locked(holds_across: bool) -> bool {
    let mutex = Arc::new(Mutex::new(0));
    let shared = mutex.clone();
    let first = spawn(async move {
        if holds_across {
            hold_across(&shared).await;
        } else {
            hold_before(&shared).await;
        }
    });
    yield_now().await;
    let can_lock = mutex.try_lock().is_ok();
    first.await.expect("the first task does not panic");
    can_lock
}

#[allow(clippy::await_holding_lock, reason = "this is what the program shows")]
async fn hold_across(mutex: &Mutex<u32>) {
    let mut number = mutex.lock().expect("no task panics while it holds the lock");
    yield_now().await;
    *number += 1;
}

async fn hold_before(mutex: &Mutex<u32>) {
    {
        let mut number = mutex.lock().expect("no task panics while it holds the lock");
        *number += 1;
    }
    yield_now().await;
}
