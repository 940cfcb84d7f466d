//! The code of an `async` block may keep references into its own state, for example to a buffer
//! across an `await`. If the future were moved, they would point to where the buffer was. So a poll
//! takes `Pin<&mut Self>`, a promise that the future will not be moved again: `pin!` makes it for a
//! value on the stack, `Box::pin` for a value on the heap. A future without such references is
//! `Unpin`, and may be polled through a plain `&mut`.
//!
//! A future that is created inside a loop begins again in each pass. To keep what it has done, create
//! it before the loop, pin it, and await `&mut` of it.

use std::future::{Future, pending};
use std::io;
use std::pin::{Pin, pin};
use std::ptr::from_ref;
use std::time::Duration;

use executor::{block_on, yield_now};
use futures_lite::future::{or, poll_once};
use reactor::time::{Sleep, sleep};

use crate::{Question, print_line, scene};

pub(crate) const QUESTION: Question = Question {
    text: "Why must I pin, and how do I keep one future across the iterations of a loop?",
    run,
};

const LONG: Duration = Duration::from_millis(60);
const SHORT: Duration = Duration::from_millis(20);
const PASSES: usize = 10;

fn run() -> io::Result<()> {
    block_on(async {
        references().await?;
        unpin().await?;
        print_line(format_args!(
            "a loop of {PASSES} passes; each awaits whichever is first, the long wait or the short:"
        ))?;
        loops().await
    })
}

/// Keeps a reference to its own buffer across an `await`, and returns whether it still points there.
async fn refers_to_itself() -> bool {
    let buffer = [1_u8; 64];
    let reference = &buffer;
    yield_now().await;
    // Both addresses are inside this future.
    from_ref(reference) == &raw const buffer && reference[63] == 1
}

async fn references() -> io::Result<()> {
    print_line("a future holds a reference into itself, and is polled before and after:")?;
    let mut on_stack = pin!(refers_to_itself());
    let began = poll_once(on_stack.as_mut()).await.is_none();
    print_line(format_args!("    pin!:      began: {began}; valid: {}", on_stack.await))?;
    let mut on_heap = Box::pin(refers_to_itself());
    let began = poll_once(&mut on_heap).await.is_none();
    let moved: Vec<Pin<Box<_>>> = vec![on_heap];
    for future in moved {
        print_line(format_args!(
            "    Box::pin:  began: {began}; valid: {}, although the box was moved",
            future.await
        ))?;
    }
    Ok(())
}

/// Compiles only for futures that may be moved between polls.
async fn poll_unpinned(mut future: impl Future + Unpin) -> bool {
    poll_once(&mut future).await.is_none()
}

async fn unpin() -> io::Result<()> {
    let waits = poll_unpinned(sleep(LONG)).await;
    print_line(format_args!(
        "a Sleep is Unpin, so `&mut sleep` may be awaited; it waits: {waits}"
    ))?;
    let waits = poll_unpinned(pin!(async { pending::<()>().await })).await;
    print_line(format_args!("an async block is not; `&mut` of it after pin!; it waits: {waits}"))
}

async fn loops() -> io::Result<()> {
    let mut completed = 0;
    for _ in 0..PASSES {
        completed += usize::from(long_is_first(work()).await);
    }
    print_line(format_args!(
        "    the long one is created in each pass:  completes {completed} times"
    ))?;

    scene::begin();
    let mut long = pin!(work());
    let mut completed = 0;
    for _ in 0..PASSES {
        if long_is_first(long.as_mut()).await {
            completed += 1;
            // A future must not be polled after it is ready.
            break;
        }
    }
    print_line(format_args!(
        "    created once and pinned before it:     completes {completed} time"
    ))?;
    scene::end();

    let mut long: Sleep = sleep(LONG);
    let mut completed = 0;
    for _ in 0..PASSES {
        if long_is_first(&mut long).await {
            completed += 1;
            break;
        }
    }
    print_line(format_args!(
        "    a Sleep, created once before it:       completes {completed} time"
    ))
}

/// The long wait, as an `async` block.
async fn work() {
    sleep(LONG).await;
}

/// Waits for a short sleep or the long future. Returns whether the long one was ready first.
async fn long_is_first(long: impl Future<Output = ()>) -> bool {
    let short = async {
        sleep(SHORT).await;
        false
    };
    let long = async {
        long.await;
        true
    };
    or(short, long).await
}
