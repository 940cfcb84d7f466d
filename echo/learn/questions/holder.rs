//! Whatever ends the wait holds the waker: the source of a socket, a timer, or the handle of an
//! awaited task. The executor keeps the future in its table. The task is not in the run queue, so
//! the executor does not poll it, and nothing checks again and again whether it could continue.
//!
//! `executor::tasks` lists the tasks and what holds their wakers. It finds the wakers in the reactor
//! by their addresses, and counts the others.

use std::io;
use std::time::Duration;

use executor::{Executor, JoinHandle, State, TaskInfo, spawn_named, tasks, yield_now};
use reactor::Awaited;
use reactor::io::AsyncReadExt;
use reactor::net::TcpStream;
use reactor::time::sleep;

use crate::connection::{connected, send};
use crate::print_line;

/// How long the waiting tasks are observed.
const OBSERVED: Duration = Duration::from_millis(50);

/// Prints what three waiting tasks wait for, and how often they are polled while they wait.
pub(crate) async fn print_three_waits(executor: &Executor) -> io::Result<()> {
    let (stream, client) = connected().await?;
    let reader = spawn_named("reader", read(stream));
    let joiner = spawn_named("joiner", join(reader));
    let sleeper = spawn_named("sleeper", sleep(Duration::from_secs(60)));
    // This returns after each task has been polled once.
    yield_now().await;
    print_line("task  name     state    polls  what holds its waker")?;
    print_waiting_tasks()?;
    let before = executor.metrics();
    sleep(OBSERVED).await;
    let after = executor.metrics();
    // This sleep itself caused one wakeup and one poll.
    let (polls, wakes) = (after.polls - before.polls - 1, after.wakes - before.wakes - 1);
    let ms = OBSERVED.as_millis();
    print_line(format_args!("in {ms} ms: queued {wakes} times, polled {polls} times\n"))?;
    let client = send(client, 1);
    joiner.await??;
    sleeper.abort();
    client.join().expect("the client does not panic").map(drop)
}

async fn read(mut stream: TcpStream) -> io::Result<usize> {
    stream.read(&mut [0; 16]).await
}

async fn join(reader: JoinHandle<io::Result<usize>>) -> io::Result<usize> {
    reader.await?
}

/// Prints a line for each task except the main one, which is running.
fn print_waiting_tasks() -> io::Result<()> {
    for task in tasks().iter().filter(|task| task.state != State::Running) {
        let TaskInfo { id, name, state, polls, .. } = task;
        let state = format!("{state:?}");
        print_line(format_args!("{id:4}  {name:8} {state:8} {polls:5}  {}", holder(task)))?;
    }
    Ok(())
}

fn holder(task: &TaskInfo) -> String {
    match &task.awaits[..] {
        [Awaited::Source { key, kind, direction }] => {
            format!("the reactor: {direction} on source {key} ({kind})")
        }
        [Awaited::Deadline(_)] => "the reactor: a timer".to_owned(),
        [] => format!("{} elsewhere: a handle, a channel or a thread", task.elsewhere),
        others => format!("{others:?}"),
    }
}
