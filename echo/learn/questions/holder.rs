//! Whoever is to end the wait holds the waker: the source of a socket, a timer, the handle of a task
//! that is awaited. The executor keeps the future, as a value in a table, and does nothing about it:
//! the run queue does not have it, so nobody asks again and again whether there is something to do.
//!
//! `executor::tasks` brings the two together: what the reactor holds it knows by the waker's
//! address, and of the rest it knows how many there are.

use std::io;
use std::time::Duration;

use executor::{Executor, JoinHandle, State, TaskInfo, spawn_named, tasks, yield_now};
use reactor::Awaited;
use reactor::io::AsyncReadExt;
use reactor::net::TcpStream;
use reactor::time::sleep;

use crate::connection::{connected, send};
use crate::{Question, say};

pub(crate) const QUESTION: Question =
    Question { text: "Who holds the waker, and where is the task while it waits?", run };

const A_WHILE: Duration = Duration::from_millis(50);

fn run() -> io::Result<()> {
    let executor = Executor::new()?;
    executor.block_on(three_wait(&executor))
}

async fn three_wait(executor: &Executor) -> io::Result<()> {
    let (stream, client) = connected().await?;
    let reader = spawn_named("reader", read(stream));
    let joiner = spawn_named("joiner", join(reader));
    let sleeper = spawn_named("sleeper", sleep(Duration::from_secs(60)));
    // When this returns, each has been polled once.
    yield_now().await;
    say("task  name     state    polls  who holds its waker")?;
    tell()?;
    let before = executor.metrics();
    sleep(A_WHILE).await;
    let after = executor.metrics();
    // One of each is for this sleep itself.
    let (polls, wakes) = (after.polls - before.polls - 1, after.wakes - before.wakes - 1);
    let ms = A_WHILE.as_millis();
    say(format_args!("within {ms} ms: {wakes} times in the run queue, {polls} times polled"))?;
    let client = send(client, 1);
    let bytes = joiner.await??;
    say(format_args!("the client sent {bytes} byte; who waits after that:"))?;
    tell()?;
    sleeper.abort();
    client.join().expect("the client does not panic").map(drop)
}

async fn read(mut stream: TcpStream) -> io::Result<usize> {
    stream.read(&mut [0; 16]).await
}

async fn join(reader: JoinHandle<io::Result<usize>>) -> io::Result<usize> {
    reader.await?
}

/// One line for each task, but for the main one, which asks.
fn tell() -> io::Result<()> {
    for task in tasks().iter().filter(|task| task.state != State::Running) {
        let TaskInfo { number, name, state, polls, .. } = task;
        let state = format!("{state:?}");
        say(format_args!("{number:4}  {name:8} {state:8} {polls:5}  {}", holder(task)))?;
    }
    Ok(())
}

fn holder(task: &TaskInfo) -> String {
    match &task.awaits[..] {
        [Awaited::Source { key, kind, direction }] => {
            format!("the reactor, in source {key} ({kind}), for {direction}")
        }
        [Awaited::Deadline(_)] => "the reactor, in a timer".to_owned(),
        [] => format!("{} elsewhere: a handle, a channel or a thread", task.elsewhere),
        others => format!("{others:?}"),
    }
}
