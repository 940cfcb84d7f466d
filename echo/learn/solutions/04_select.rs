//! Solution of exercise 4: select, and what happens to the loser.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

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
pub(crate) async fn select<A, B>(mut left: A, mut right: B) -> Either<A::Output, B::Output>
where
    A: Future + Unpin,
    B: Future + Unpin,
{
    poll_fn(|cx| {
        if let Poll::Ready(output) = Pin::new(&mut left).poll(cx) {
            return Poll::Ready(Either::Left(output));
        }
        Pin::new(&mut right).poll(cx).map(Either::Right)
    })
    .await
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
    // The futures live across the iterations. Only the winner is replaced; the loser keeps the bytes
    // that it has read.
    let (mut from_left, mut from_right) = (pin!(message(left)), pin!(message(right)));
    let (mut rest, pipe) = loop {
        if messages.len() == count {
            return messages;
        }
        match select(from_left.as_mut(), from_right.as_mut()).await {
            Either::Left(Some(text)) => {
                messages.push(text);
                from_left.set(message(left));
            }
            Either::Right(Some(text)) => {
                messages.push(text);
                from_right.set(message(right));
            }
            // A pipe has ended. A new future for it would complete immediately, again and again.
            Either::Left(None) => break (from_right, right),
            Either::Right(None) => break (from_left, left),
        }
    };
    while messages.len() < count {
        let Some(text) = rest.as_mut().await else { break };
        messages.push(text);
        rest.set(message(pipe));
    }
    messages
}

#[path = "../exercises/checks/04_select.rs"]
pub(crate) mod check;
