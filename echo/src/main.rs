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
//! [faults]: ../../../echo/learn/faults
//! [manual]: ../../../echo/OPERATING.md
//! [recorder]: ../recorder/index.html
//! [`serve.rs`]: ../src/echod/serve.rs.html
//! [`connection.rs`]: ../src/echod/connection.rs.html
//! [`copy.rs`]: ../src/reactor/io/copy.rs.html
//! [`echo_threads.rs`]: ../../../echo/examples/echo_threads.rs
//! [`echo_mio.rs`]: ../../../echo/examples/echo_mio.rs
//! [`echo.rs`]: ../../../echo/examples/echo.rs
//!
#![doc = include_str!("../README.md")]

mod address;
mod arguments;
mod connection;
mod connections;
mod demo;
mod ending;
mod inherited;
mod listen;
mod listener;
mod output;
mod replacement;
mod serve;
mod server;
mod shared;
mod socket_file;
mod stats;
mod survey;
mod table;
mod telling;
mod threads;
mod udp;
mod watch;

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

use executor::{Executor, spawn_named};
use futures_lite::future;
use log::{info, warn};
use reactor::signal::Signal;
use recorder::Recorder;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};

use crate::arguments::Arguments;
use crate::listen::Listening;
use crate::output::{Writers, cannot, complain};
use crate::server::Server;
use crate::shared::Shared;
use crate::telling::{ACCEPTS, Trace};

/// Exit codes, as usual: 1 for what the system refuses, 2 for wrong arguments.
const REFUSED: u8 = 1;
const WRONG_ARGUMENTS: u8 = 2;

fn main() -> ExitCode {
    // Dropped last, even if the main thread panics.
    let _writers = match Writers::start() {
        Ok(writers) => writers,
        Err(error) => {
            complain(&cannot("start", &error));
            return ExitCode::from(REFUSED);
        }
    };
    let arguments = match Arguments::parse() {
        Ok(arguments) => arguments,
        Err(error) => return help_or_complaint(error),
    };
    let recorder = match telling::start(&arguments) {
        Ok(recorder) => recorder,
        Err(text) => {
            complain(&text);
            return ExitCode::from(WRONG_ARGUMENTS);
        }
    };
    let ended = match Executor::new() {
        Ok(executor) => {
            executor.set_spin(arguments.spin);
            match recorder {
                Some(recorder) => run_recorded(&executor, arguments, recorder),
                None => serve(&executor, run(&executor, arguments, None)),
            }
        }
        Err(error) => Err(cannot("start", &error)),
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
    serve(executor, run(executor, arguments, trace))
}

/// Runs the server until it ends, or until the OS refuses to wait for events.
fn serve(
    executor: &Executor,
    server: impl Future<Output = Result<(), String>>,
) -> Result<(), String> {
    let ended = executor.try_block_on(server);
    ended.unwrap_or_else(|error| Err(cannot("wait for events", &error)))
}

fn run_demo(
    executor: &Executor,
    arguments: &Arguments,
    recorder: &'static Recorder,
    trace: Option<Trace>,
) -> Result<(), String> {
    // At the first signal the demo finishes, as the server does: it takes only a third of a second.
    let signals = ending::end_at_second().map_err(|error| cannot("watch signals", &error))?;
    let recording = executor.try_block_on(demo::run(recorder)).and_then(|ended| ended);
    let recording = recording.map_err(|error| cannot("run the demo", &error))?;
    let text = telling::ladder(&recording, arguments.all);
    // After a signal, it no longer waits for the reader.
    let printed = output::print_to_reader(text, || signals.first_arrived());
    let saved = trace.map_or(Ok(()), |trace| trace.save_demo(recording));
    printed.map_err(|error| format!("cannot print: {error}")).and(saved)
}

/// Serves until its end, and tells meanwhile what its tasks do when it is asked.
async fn run(
    executor: &Executor,
    arguments: Arguments,
    trace: Option<Trace>,
) -> Result<(), String> {
    let refused = |error: io::Error| cannot("watch signals", &error);
    let trace = trace.map(Arc::new);
    let ending = watch_signals(trace.clone()).map_err(refused)?;
    // Watched before anybody learns that the server is there: unwatched, it would be its end.
    let asking = Signal::new(SIGUSR1).map_err(refused)?;
    let table = table::print_at_each(asking, table::title(1, arguments.threads));
    let serving = serve_until(ending, executor, arguments, trace);
    future::or(serving, table).await
}

/// Listens, serves until a signal comes, and ends in an orderly way.
async fn serve_until(
    ending: (Signal, Signal),
    executor: &Executor,
    arguments: Arguments,
    trace: Option<Arc<Trace>>,
) -> Result<(), String> {
    let listeners = listen(&arguments).await?;
    let shared = Shared::new(arguments.max_connections, arguments.idle);
    let refused = |error: io::Error| cannot("start the threads", &error);
    threads::start(&listeners, &arguments, &shared).map_err(refused)?;
    let server = Rc::new(Server::new(shared.clone()));
    for listener in listeners {
        listener.announce();
        start(listener, &server);
    }
    let serving = async {
        let stats = stats::tell(&arguments, executor, &server);
        let result = future::or(stopped(ending, &shared), stats).await;
        shared.stop(arguments.grace);
        shared.ended().await;
        info!("stopped");
        result
    };
    let result = future::or(serving, server.connections.end_in_time(&shared)).await;
    result.and(trace.map_or(Ok(()), |trace| trace.save()))
}

async fn listen(arguments: &Arguments) -> Result<Vec<Listening>, String> {
    let mut listeners = Vec::new();
    for (index, address) in arguments.addresses.iter().enumerate() {
        let earlier = &arguments.addresses[..index];
        let listener = Listening::at(address, arguments).await;
        listeners.push(listener.map_err(|error| listen::explain(address, earlier, &error))?);
    }
    for passed in inherited::passed()? {
        if !arguments.addresses.contains(&passed) {
            warn!(
                "{passed} is passed by LISTEN_FDS, and not served: it is not among the addresses"
            );
        }
    }
    Ok(listeners)
}

/// Starts to serve a listener, on this thread.
fn start(listener: Listening, server: &Rc<Server>) {
    // Before any task is polled: the first datagram may be from another socket of ours.
    server.udp_ports.borrow_mut().extend(listener.udp_port());
    let listens = server.shared.listen();
    drop(spawn_named(ACCEPTS, listens.until(listener.serve(server.clone()))));
}

/// Waits for a signal, or until no listener works any more.
async fn stopped(ending: (Signal, Signal), shared: &Shared) -> Result<(), String> {
    let (mut interrupt, mut terminate) = ending;
    let signal = async {
        let _ = future::or(interrupt.recv(), terminate.recv()).await;
        Ok(())
    };
    let broken = async { Err(shared.broken().await) };
    future::or(signal, broken).await
}

/// Watches the signals that end the server. The second one ends it at once, also when the loop is
/// stuck; with a trace, after that has been written.
fn watch_signals(trace: Option<Arc<Trace>>) -> io::Result<(Signal, Signal)> {
    // Before the flags: a signal that comes in between shall stop the server, and not only count.
    let signals = (Signal::new(SIGINT)?, Signal::new(SIGTERM)?);
    match trace {
        None => drop(ending::end_at_second()?),
        Some(trace) => ending::save_at_second(trace)?,
    }
    Ok(signals)
}

/// What `--help` and `--version` print; or, in one line, what is wrong with the arguments.
fn help_or_complaint(error: clap::Error) -> ExitCode {
    let error = arguments::escape_quotes(error);
    let text = error.render().to_string();
    if !error.use_stderr() {
        return match io::stdout().write_all(text.as_bytes()) {
            // Whoever reads has read enough.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                complain(&format!("cannot print: {error}"));
                ExitCode::from(REFUSED)
            }
            _ => ExitCode::SUCCESS,
        };
    }
    // What is missing stands in lines of its own, before a blank one.
    let lines: Vec<&str> =
        text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    let line = lines.join(" ");
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    complain(&format!("{line}; try --help"));
    ExitCode::from(WRONG_ARGUMENTS)
}
