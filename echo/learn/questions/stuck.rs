//! `Pending` is a promise: somebody holds my waker, and calls it when it is worth polling me again.
//! So there are three ways to wait for ever. Nobody holds the waker: the executor knows that
//! exactly, and reports it. Somebody holds it who has no reason to call it: a source on which
//! nothing comes. Or somebody holds it who waits for the very same task.
//!
//! `executor::tasks` tells them apart. A server tells the same when it is asked: `echod` when it
//! gets SIGUSR1.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use executor::{JoinHandle, State, TaskInfo, block_on, spawn_named, tasks};
use log::kv::Key;
use log::{Level, Record};
use reactor::Awaited;
use reactor::io::AsyncReadExt;
use reactor::net::TcpStream;
use reactor::time::timeout;

use crate::connection::connected;
use crate::ladder::listen;
use crate::{Question, say};

pub(crate) const QUESTION: Question = Question { text: "Why does my future never wake?", run };

/// Where a task finds the handle of another one.
type Slot = Rc<RefCell<Option<JoinHandle<()>>>>;

fn run() -> io::Result<()> {
    listen(hear);
    block_on(main())
}

async fn main() -> io::Result<()> {
    let (stream, _client) = connected().await?;
    let (first, second) = (Slot::default(), Slot::default());
    drop(spawn_named("forgetful", forget()));
    let reader = spawn_named("reader", read(stream));
    *first.borrow_mut() = Some(spawn_named("first", join(second.clone())));
    *second.borrow_mut() = Some(spawn_named("second", join(first.clone())));
    let began = Instant::now();
    // Instead of waiting for ever.
    let ended = timeout(Duration::from_millis(100), reader).await.is_ok();
    say(format_args!("after {} ms the reader has ended: {ended}", began.elapsed().as_millis()))?;
    say("task  name       state    polls  who has its waker")?;
    tasks().iter().filter(|task| task.state != State::Running).try_for_each(tell)
}

/// Leaves its waker nowhere.
async fn forget() {
    poll_fn(|_| Poll::Pending).await
}

/// The peer sends nothing.
async fn read(mut stream: TcpStream) {
    let _ = stream.read(&mut [0; 16]).await;
}

async fn join(slot: Slot) {
    let handle = slot.take().expect("both handles are there before this runs");
    let _ = handle.await;
}

/// What the executor reports of its own accord.
fn hear(record: &Record<'_>) {
    if record.level() <= Level::Warn {
        // If nobody reads it any more, the program learns so soon.
        let place = record.key_values().get(Key::from("at"));
        let place = place.map_or(String::new(), |place| place.to_string());
        let _ = say(format_args!("{}\n      spawned at {place}", record.args()));
    }
}

fn tell(task: &TaskInfo) -> io::Result<()> {
    let TaskInfo { number, name, state, awaits, elsewhere, polls, .. } = task;
    let why = match (state, &awaits[..]) {
        (State::Lost, _) => "nobody".to_owned(),
        (_, [Awaited::Source { key, kind, direction }]) => {
            format!("source {key} ({kind}), for {direction}")
        }
        _ => format!("{elsewhere} elsewhere: a handle, a channel or a thread"),
    };
    let state = format!("{state:?}");
    say(format_args!("{number:4}  {name:9}  {state:8} {polls:5}  {why}"))
}
