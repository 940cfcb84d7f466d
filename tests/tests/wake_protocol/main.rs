//! Model-checks the state that threads share: the wakeups and messages that other threads send to
//! an executor and its way to sleep (`inbox.rs`), the result of a task that another thread awaits
//! (`mailbox.rs`), and the thread pool (`reactor/src/pool`).
//!
//! These tests compile the original files, with the primitives of two model checkers. loom runs
//! each model once for every order of its steps with a bounded number of preemptions, and for every
//! value that a relaxed load may return. shuttle runs larger models in random orders, with
//! sequentially consistent memory.
//!
//! Both run wrong protocols too, and must report each.

// Each checker compiles the same files with its own primitives.
#![allow(clippy::duplicate_mod)]

mod exhaustive;
mod random;

/// Stands for `reactor::budget`, which `reactor/src/pool/job.rs` calls.
mod budget {
    use std::task::{Context, Poll};

    pub(crate) fn spend(_cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}
