// `cargo doc --open` opens this page: so it begins with the story, and leads on to the chapters.
//
// Then the links of the README of this crate, for this page: the first definition of a link counts.
//! The *reactor* turns the outside world into wakes. The *executor* turns wakes into polls. A
//! [`Waker`](std::task::Waker) is the whole seam between them: the reactor knows no task, the
//! executor knows no socket.
//!
//! ```text
//! poll(task) → read → WouldBlock → store the waker → Pending → … epoll_wait …
//!            → ready → wake() → run queue → poll(task)
//! ```
//!
//! The guide: the [front door](../../../README.md) · chapter 1, the [reactor](../reactor/index.html) ·
//! chapter 2, the [executor] · chapter 3, this page · [fifteen questions][questions], each answered
//! by a program that runs.
//!
//! [executor]: ../executor/index.html
//! [questions]: ../tests/index.html
//! [recorder]: ../recorder/index.html
//! [faults]: ../../../echo/learn/faults
//! [`serve.rs`]: ../src/echod/serve.rs.html
//! [`connection.rs`]: ../src/echod/connection.rs.html
//! [`copy.rs`]: ../src/reactor/io/copy.rs.html
//! [`echo_threads.rs`]: ../../../echo/examples/echo_threads.rs
//! [`echo_mio.rs`]: ../../../echo/examples/echo_mio.rs
//! [`echo.rs`]: ../../../echo/examples/echo.rs
//!
#![doc = include_str!("../README.md")]

mod arguments;
mod connection;
mod demo;
mod ending;
mod output;
mod serve;
mod server;
mod table;
mod telling;
mod watch;

use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

use executor::{Executor, JoinSet};
use futures_lite::future;
use log::{error, info};
use reactor::net::TcpListener;
use reactor::signal::Signal;
use recorder::Recorder;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};

use crate::arguments::Arguments;
use crate::output::{Lines, complain};
use crate::server::Server;
use crate::telling::{ACCEPTS, Trace};

/// Exit codes, as usual: 1 for what the system refuses, 2 for wrong arguments.
const REFUSED: u8 = 1;
const WRONG_ARGUMENTS: u8 = 2;

fn main() -> ExitCode {
    let arguments = match Arguments::parse() {
        Ok(arguments) => arguments,
        Err(error) => return help_or_complaint(&error),
    };
    let recorder = match telling::start(&arguments) {
        Ok(recorder) => recorder,
        Err(text) => {
            complain(&text);
            return ExitCode::from(WRONG_ARGUMENTS);
        }
    };
    let ended = match Executor::new() {
        Ok(executor) => match recorder {
            Some(recorder) => run_recorded(&executor, arguments, recorder),
            None => executor.block_on(run(arguments, None)),
        },
        Err(error) => Err(format!("cannot start: {error}")),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            complain(&text);
            ExitCode::from(REFUSED)
        }
    }
}

/// Runs the server, or the demo, and leaves a recording of it.
fn run_recorded(
    executor: &Executor,
    mut arguments: Arguments,
    recorder: &'static Recorder,
) -> Result<(), String> {
    let trace = arguments.trace.take().map(|trace| Trace::open(recorder, trace)).transpose()?;
    if arguments.demo {
        return run_demo(executor, &arguments, recorder, trace);
    }
    recorder.start();
    executor.block_on(run(arguments, trace))
}

fn run_demo(
    executor: &Executor,
    arguments: &Arguments,
    recorder: &'static Recorder,
    trace: Option<Trace>,
) -> Result<(), String> {
    let recording = executor.block_on(demo::run(recorder));
    let recording = recording.map_err(|error| format!("the demo failed: {error}"))?;
    let printed = telling::print_ladder(&recording, arguments.all);
    let saved = trace.map_or(Ok(()), |trace| trace.save_demo(&recording));
    printed.map_err(|error| format!("cannot print: {error}")).and(saved)
}

/// Serves until its end, and tells meanwhile what its tasks do when it is asked.
async fn run(arguments: Arguments, trace: Option<Trace>) -> Result<(), String> {
    let refused = |error| format!("cannot watch signals: {error}");
    let trace = trace.map(Arc::new);
    let ending = watch_signals(trace.clone()).map_err(refused)?;
    // Watched before anybody learns that the server is there: unwatched, it would be its end.
    let asking = Signal::new(SIGUSR1).map_err(refused)?;
    let serving = serve_until(ending, arguments, trace);
    future::or(serving, table::print_at_each(asking)).await
}

/// Listens, serves until a signal comes, and ends in an orderly way.
async fn serve_until(
    ending: (Signal, Signal),
    arguments: Arguments,
    trace: Option<Arc<Trace>>,
) -> Result<(), String> {
    let (mut interrupt, mut terminate) = ending;
    let mut listeners = Vec::new();
    for &address in &arguments.addresses {
        let listener = listen(address, arguments.backlog).await;
        listeners.push(listener.map_err(|error| explain(address, &error))?);
    }
    let server = Rc::new(Server::new(arguments.max_connections, arguments.idle));
    let mut accepting = JoinSet::new();
    for listener in listeners {
        announce(&listener);
        accepting.spawn_named(ACCEPTS, serve::accept(listener, server.clone()));
    }

    let stopped = async {
        let _ = future::or(interrupt.recv(), terminate.recv()).await;
        Ok(())
    };
    let result = future::or(stopped, all_broken(&mut accepting)).await;
    server.stop(arguments.grace);
    // The last connections come from the backlogs, and the listeners are closed.
    while accepting.join_next().await.is_some() {}
    server.ended(arguments.grace).await;
    info!("stopped");
    result.and(trace.map_or(Ok(()), |trace| trace.save()))
}

/// Waits until no listener works any more.
async fn all_broken(accepting: &mut JoinSet<io::Result<()>>) -> Result<(), String> {
    while let Some(ended) = accepting.join_next().await {
        let ended = ended.unwrap_or_else(|panic| Err(io::Error::other(panic)));
        let Err(error) = ended else { continue };
        if accepting.is_empty() {
            return Err(format!("no listener is left: {error}"));
        }
        error!("a listener is broken: {error}");
    }
    Ok(())
}

async fn listen(address: SocketAddr, backlog: Option<u32>) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address).await?;
    if let Some(backlog) = backlog {
        listener.set_backlog(backlog)?;
    }
    Ok(listener)
}

/// Watches the signals that end the server. The second one ends it at once, also when the loop is
/// stuck; with a trace, after that has been written.
fn watch_signals(trace: Option<Arc<Trace>>) -> io::Result<(Signal, Signal)> {
    // Before the flags: a signal that comes in between shall stop the server, and not only count.
    let signals = (Signal::new(SIGINT)?, Signal::new(SIGTERM)?);
    match trace {
        None => ending::end_at_second()?,
        Some(trace) => ending::save_at_second(trace)?,
    }
    Ok(signals)
}

/// One line for each listener goes to standard output, where only `--explain` tells more.
fn announce(listener: &TcpListener) {
    if let Ok(address) = listener.local_addr() {
        let _ = Lines(io::stdout()).write(format!("listening tcp {address}\n").as_bytes());
        info!("listening tcp {address}");
    }
}

/// What is wrong with an address, and the cure.
fn explain(address: SocketAddr, error: &io::Error) -> String {
    let cure = match error.kind() {
        ErrorKind::AddrInUse => {
            "another program listens there; stop it, or choose another port (0: any free one)"
        }
        ErrorKind::PermissionDenied => "ports below 1024 need privileges; choose a higher one",
        ErrorKind::AddrNotAvailable => "this machine has no such address; try 127.0.0.1",
        _ => "choose another address",
    };
    format!("cannot listen at {address}: {error}: {cure}")
}

/// What `--help` and `--version` print; or, in one line, what is wrong with the arguments.
fn help_or_complaint(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    if !error.use_stderr() {
        let _ = io::stdout().write_all(text.as_bytes());
        return ExitCode::SUCCESS;
    }
    // What is missing stands in lines of its own, before a blank one.
    let lines: Vec<&str> =
        text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    let line = lines.join(" ");
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    complain(&format!("{line}; try --help"));
    ExitCode::from(WRONG_ARGUMENTS)
}
