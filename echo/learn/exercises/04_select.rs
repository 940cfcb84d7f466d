//! Exercise 4: select, and what happens to the loser. The task is in section 4 of the README of
//! this folder.
//!
//! ```text
//! cargo run --example exercise -- 4
//! ```

use std::future::Future;
use std::pin::pin;

use crate::check::Pipe;

/// The output of the future that completed first.
#[derive(Debug, PartialEq)]
pub(crate) enum Either<A, B> {
    Left(A),
    Right(B),
}

/// Runs both futures concurrently, and returns the output of the one that completes first.
///
/// The caller keeps both futures, because `select` only borrows them: call it as
/// `select(left.as_mut(), right.as_mut())`.
pub(crate) async fn select<A, B>(left: A, _right: B) -> Either<A::Output, B::Output>
where
    A: Future + Unpin,
    B: Future + Unpin,
{
    Either::Left(left.await)
}

/// Reads one message of four bytes. Returns `None` at the end of the pipe. Leave it as it is.
///
/// # Cancel safety
///
/// None: if this future is dropped, the bytes that it has read are lost.
async fn message(pipe: &Pipe) -> Option<String> {
    let mut message = String::new();
    while message.len() < 4 {
        message.push(pipe.byte().await?.into());
    }
    Some(message)
}

/// Collects `count` messages from both pipes, in the order in which they become complete.
///
/// If one pipe ends, it continues with the other one. If both have ended, it returns the messages
/// that it has, which are fewer than `count`. It drops half a message before an end.
pub(crate) async fn collect(left: &Pipe, right: &Pipe, count: usize) -> Vec<String> {
    let mut messages = Vec::new();
    while messages.len() < count {
        let (from_left, from_right) = (pin!(message(left)), pin!(message(right)));
        match select(from_left, from_right).await {
            Either::Left(message) | Either::Right(message) => messages.extend(message),
        }
    }
    messages
}

#[path = "checks/04_select.rs"]
pub(crate) mod check;
