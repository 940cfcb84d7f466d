//! A stream is lazy like a future: it makes an item while `next` is awaited, and at no other time. So
//! while the body of the loop awaits something else, the stream makes no progress. A task that sends
//! its items through a channel does.
//!
//! The receiver of a channel gets the end when the last sender is dropped. A clone that is kept, often
//! in the very function that receives, keeps the channel open. And a bounded channel makes the sender
//! wait while it is full, so a task that only sends to itself waits forever.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use async_channel::{Receiver, bounded, unbounded};
use executor::{block_on, spawn, yield_now};
use futures_lite::future::poll_once;
use futures_lite::{Stream, StreamExt, pin, stream};

use crate::{Question, print_line};

pub(crate) const QUESTION: Question =
    Question { text: "Streams and channels: why does it stall, and why does it never end?", run };

const ITEMS: u32 = 3;

/// The steps of a loop, in their order.
#[derive(Clone, Default)]
struct Steps(Rc<RefCell<Vec<String>>>);

impl Steps {
    fn add(&self, step: &str, item: u32) {
        self.0.borrow_mut().push(format!("{step} {item}"));
    }
}

fn run() -> io::Result<()> {
    block_on(async {
        print_line("a loop over items; to make an item takes 1 step, to use it takes 3:")?;
        let steps = Steps::default();
        use_all(items(&steps), &steps).await;
        print_line(format_args!(
            "    a stream makes them:\n        {}",
            steps.0.take().join(", ")
        ))?;
        through_a_channel(&steps).await;
        let order = steps.0.take().join(", ");
        print_line(format_args!(
            "    a task makes them, and a channel of 2 holds them:\n        {order}"
        ))?;
        print_line("a task sends 3 messages through a clone of the sender:")?;
        never_ends(true).await?;
        never_ends(false).await?;
        print_line("a channel of 1 that has its sender and receiver in one task:")?;
        full().await
    })
}

/// Returns the items, each made in one step.
fn items(steps: &Steps) -> impl Stream<Item = u32> + 'static {
    let steps = steps.clone();
    stream::iter(1..=ITEMS).then(move |item| {
        let steps = steps.clone();
        async move {
            yield_now().await;
            steps.add("make", item);
            item
        }
    })
}

async fn use_all(items: impl Stream<Item = u32>, steps: &Steps) {
    pin!(items);
    while let Some(item) = items.next().await {
        for _ in 0..3 {
            yield_now().await;
        }
        steps.add("use", item);
    }
}

async fn through_a_channel(steps: &Steps) {
    let (sender, receiver) = bounded(2);
    let items = items(steps);
    let maker = spawn(async move {
        pin!(items);
        while let Some(item) = items.next().await {
            if sender.send(item).await.is_err() {
                break;
            }
        }
    });
    use_all(receiver, steps).await;
    drop(maker);
}

async fn never_ends(keeps_sender: bool) -> io::Result<()> {
    let (sender, receiver) = unbounded();
    let clone = sender.clone();
    spawn(async move {
        for number in 1..=3 {
            let _ = clone.send(number).await;
        }
    })
    .await
    .map_err(io::Error::other)?;
    let kept = keeps_sender.then_some(sender);
    let mut received = 0;
    let ends = poll_once(receive_all(&receiver, &mut received)).await.is_some();
    let what = if kept.is_some() { "is still alive" } else { "was dropped" };
    let how = if ends { "the loop ends" } else { "recv waits" };
    print_line(format_args!("    the original {what:16}  {received} received, then {how}"))
}

async fn receive_all(receiver: &Receiver<u32>, received: &mut u32) {
    while receiver.recv().await.is_ok() {
        *received += 1;
    }
}

async fn full() -> io::Result<()> {
    let (sender, receiver) = bounded(1);
    let mut sent = 0;
    let send = async {
        for number in 0..3 {
            sender.send(number).await.expect("the receiver exists");
            sent += 1;
        }
    };
    let waits = poll_once(send).await.is_none();
    let received = receiver.recv().await.map_err(io::Error::other)?;
    print_line(format_args!(
        "    {sent} sent, then send waits: {waits}; only a recv makes space, it gets {received}"
    ))
}
