//! A panic in a task ends that task. Its future is dropped, and all other tasks continue. The handle
//! returns the panic as an error to the code that awaits it. If no code awaits the handle, only a log
//! record tells about the panic. In the main future there is no handle, so its panic leaves
//! `block_on`. A job of the thread pool passes its panic on to the code that awaits the job.

use std::io;
use std::rc::Rc;

use executor::{JoinSet, block_on, spawn, spawn_blocking, spawn_named, yield_now};
use log::Record;
use log::kv::Key;

use crate::ladder::set_listener;
use crate::panic_messages::{hide_panics, message, panic_message};
use crate::{Question, print_line};

pub(crate) const QUESTION: Question =
    Question { text: "Where does a task's panic go, and what notices it?", run };

fn run() -> io::Result<()> {
    // std would print each panic to standard error as well.
    hide_panics();
    set_listener(print_panic);
    block_on(async {
        print_line("a task panics, and its handle is awaited:")?;
        awaited().await?;
        print_line("a task panics, and its handle was dropped:")?;
        drop(spawn_named("detached", fail("not awaited")));
        // The task needs two polls.
        yield_now().await;
        yield_now().await;
        print_line("    nothing else reports it")?;
        print_line("two of three tasks of a JoinSet panic:")?;
        set().await?;
        print_line("a job of the thread pool panics:")?;
        let panic = spawn_blocking(|| panic!("in a job")).await.map_err(|e| e.into_panic());
        let panic = panic.err().map_or(String::new(), |panic| message(&*panic));
        print_line(format_args!("    its handle has it: {panic:?}"))
    })?;
    print_line("the main future panics:")?;
    let panic = panic_message(|| block_on(fail("in main")));
    print_line(format_args!("    block_on panics: {panic:?}"))
}

/// Panics after its first `await`.
async fn fail(why: &'static str) {
    yield_now().await;
    panic!("{why}");
}

async fn awaited() -> io::Result<()> {
    let owned = Rc::new(());
    let owns = owned.clone();
    let task = spawn_named("parser", async move {
        let _owns = owns;
        fail("unexpected byte").await;
    });
    let neighbor = spawn(async { 42 });
    let error = task.await.expect_err("the task panics");
    let panics = error.is_panic();
    let panic = error.into_panic();
    print_line(format_args!("    is_panic: {panics}; into_panic: {:?}", message(&*panic)))?;
    let dropped = Rc::strong_count(&owned) == 1;
    let neighbor = neighbor.await.map_err(io::Error::other)?;
    print_line(format_args!(
        "    what it owned is dropped: {dropped}; a neighbor returns {neighbor}"
    ))
}

async fn set() -> io::Result<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(fail("first"));
    tasks.spawn(async {});
    tasks.spawn(fail("third"));
    let (mut completed, mut panicked) = (0, 0);
    while let Some(result) = tasks.join_next().await {
        match result {
            Ok(()) => completed += 1,
            Err(_) => panicked += 1,
        }
    }
    print_line(format_args!("    join_next returns {completed} Ok, {panicked} Err, then None"))
}

/// Prints the record of a panic in a task with a name.
fn print_panic(record: &Record<'_>) {
    let values = record.key_values();
    let value = |key| values.get(Key::from(key)).map_or(String::new(), |value| value.to_string());
    if record.args().as_str() == Some("panic") && !value("name").is_empty() {
        let (level, name, message) = (record.level(), value("name"), value("message"));
        // Ignore the error: the next `print_line` outside the logger returns it too.
        let _ = print_line(format_args!("    {level} panic name={name} message={message:?}"));
    }
}
