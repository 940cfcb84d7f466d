//! A future that returns `Pending` promises that something holds its waker and will call it. There
//! are four ways to wait forever. Nothing holds the waker: the executor detects this exactly, and
//! reports the task as lost. Something holds the waker but never calls it, such as a source on
//! which nothing arrives. Or the waker is held by a task that waits for this very task. Or the task was woken and
//! is queued, but another task blocks the only thread.
//!
//! `executor::tasks` tells these apart. `echod` prints the same table when it receives SIGUSR1.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use executor::{JoinHandle, State, TaskInfo, block_on, spawn_named, tasks};
use log::kv::Key;
use log::{Level, Record};
use reactor::Awaited;
use reactor::io::AsyncReadExt;
use reactor::net::TcpStream;
use reactor::time::timeout;

use crate::connection::connected;
use crate::ladder::set_listener;
use crate::{Question, print_line};

pub(crate) const QUESTION: Question = Question { text: "Why does my future never wake?", run };

/// Holds the handle of a task, for another task to take.
type Slot = Rc<RefCell<Option<JoinHandle<()>>>>;

fn run() -> io::Result<()> {
    set_listener(print_warning);
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
    // Give up, because this would wait forever.
    let completed = timeout(Duration::from_millis(100), reader).await.is_ok();
    print_line(format_args!(
        "reader completed within {} ms: {completed}",
        began.elapsed().as_millis()
    ))?;
    print_line("task  name       state    polls  what holds its waker")?;
    // This task keeps the thread until it has printed the table.
    drop(spawn_named("ready", async {}));
    thread::sleep(Duration::from_millis(20));
    tasks().iter().filter(|task| task.state != State::Running).try_for_each(print_row)
}

/// Returns `Pending` without storing its waker.
async fn forget() {
    poll_fn(|_| Poll::Pending).await
}

/// Reads from a peer that sends nothing.
async fn read(mut stream: TcpStream) {
    let _ = stream.read(&mut [0; 16]).await;
}

/// Awaits the task whose handle is in the slot.
async fn join(slot: Slot) {
    let handle = slot.take().expect("both handles are stored before this runs");
    let _ = handle.await;
}

/// Prints what the executor logs as a warning.
fn print_warning(record: &Record<'_>) {
    if record.level() <= Level::Warn {
        // Ignore the error: the next `print_line` outside the logger returns it too.
        let location = record.key_values().get(Key::from("at"));
        let location = location.map_or(String::new(), |location| location.to_string());
        let _ = print_line(format_args!("{}\n      spawned at {location}", record.args()));
    }
}

fn print_row(task: &TaskInfo) -> io::Result<()> {
    let TaskInfo { id, name, state, awaits, elsewhere, polls, .. } = task;
    let holder = match (state, &awaits[..]) {
        (State::Lost, _) => "nothing".to_owned(),
        (State::Queued, _) => "the run queue: another task blocks the thread".to_owned(),
        (_, [Awaited::Source { key, kind, direction }]) => {
            format!("the reactor: {direction} on source {key} ({kind})")
        }
        _ => format!("{elsewhere} elsewhere: a handle, a channel or a thread"),
    };
    let state = format!("{state:?}");
    print_line(format_args!("{id:4}  {name:9}  {state:8} {polls:5}  {holder}"))
}
