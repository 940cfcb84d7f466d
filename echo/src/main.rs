// `cargo doc --open` opens this page, so it begins with the mechanism and links to the chapters.
//
// The link definitions below replace those of the README: rustdoc uses the first definition.
//! The *reactor* turns outside events into wakeups. The *executor* turns wakeups into polls. A
//! [`Waker`](std::task::Waker) is the only connection between them: the reactor does not know
//! tasks, and the executor does not know sockets.
//!
//! ```text
//! poll(task) → read → WouldBlock → store the waker → Pending → … epoll_wait …
//!            → ready → wake() → run queue → poll(task)
//! ```
//!
//! # Files of the guide
//!
//! The chapters are the front pages of these crates: 1, the [reactor](../reactor/index.html); 2, the
//! [executor]; 3, this page. The other pages of the guide are files of the repository:
//!
//! | file | contents |
//! |---|---|
//! | `README.md` | the front door |
//! | `echo/learn/README.md` | the list of all pages |
//! | `echo/learn/questions.md` | twenty-four questions, each answered by a program |
//! | `echo/learn/glossary.md` | what the terms mean |
//! | `echo/learn/faults.md` | fourteen faults to switch on |
//! | `echo/OPERATING.md` | the manual of `echod` |
//! | `echo/examples` | `echo_threads.rs`, `echo_mio.rs`, `echo.rs` and other programs |
//! | `tests/README.md` | the tests |
//! | `echo/recorder/examples/own_program.rs` | a program that records its own run |
//! | `reactor/uring/examples/when_and_done.rs` | one read by readiness and one by completion |
//!
//! [executor]: ../executor/index.html
//! [questions]: #files-of-the-guide
//! [glossary]: #files-of-the-guide
//! [fault-page]: #files-of-the-guide
//! [manual]: #files-of-the-guide
//! [recorder]: ../recorder/index.html
//! [`serve.rs`]: ../src/echod/serve.rs.html
//! [`connection.rs`]: ../src/echod/connection.rs.html
//! [`copy.rs`]: ../src/reactor/io/copy.rs.html
//! [`echo_threads.rs`]: #files-of-the-guide
//! [`echo_mio.rs`]: #files-of-the-guide
//! [`echo.rs`]: #files-of-the-guide
//!
#![doc = include_str!("../README.md")]

mod address;
mod arguments;
mod connection;
mod connections;
mod demo;
mod inherited;
mod listen;
mod listener;
mod output;
mod replacement;
mod serve;
mod server;
mod shared;
mod shutdown;
mod socket_file;
mod stats;
mod survey;
mod table;
mod threads;
mod trace;
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
use crate::output::{Writers, cannot, print_error};
use crate::server::Server;
use crate::shared::Shared;
use crate::trace::{ACCEPTS, Trace};

/// The exit codes: 1 if a system call fails, 2 if the arguments are wrong.
const FAILURE: u8 = 1;
const WRONG_ARGUMENTS: u8 = 2;

fn main() -> ExitCode {
    // Declared first, so it is dropped last: it writes the lines that are still queued, even after a
    // panic.
    let _writers = match Writers::start() {
        Ok(writers) => writers,
        Err(error) => {
            print_error(&cannot("start", &error));
            return ExitCode::from(FAILURE);
        }
    };
    let arguments = match Arguments::parse() {
        Ok(arguments) => arguments,
        Err(error) => return print_help_or_error(error),
    };
    let recorder = match trace::start(&arguments) {
        Ok(recorder) => recorder,
        Err(text) => {
            print_error(&text);
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
            print_error(&text);
            ExitCode::from(FAILURE)
        }
    }
}

/// Runs the server or the demo with a recorder, which writes the `--trace` file.
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

/// Runs the server until it ends, or until waiting for events fails.
fn serve(
    executor: &Executor,
    server: impl Future<Output = Result<(), String>>,
) -> Result<(), String> {
    let ended = executor.try_block_on(server);
    ended.unwrap_or_else(|error| Err(cannot("wait for events", &error)))
}

/// Runs the demo, prints its steps, and saves its recording if `--trace` is given.
fn run_demo(
    executor: &Executor,
    arguments: &Arguments,
    recorder: &'static Recorder,
    trace: Option<Trace>,
) -> Result<(), String> {
    // The first signal does not interrupt the demo, which takes only a third of a second.
    let signals =
        shutdown::exit_on_second_signal().map_err(|error| cannot("watch signals", &error))?;
    let recording = executor.try_block_on(demo::run(recorder)).and_then(|ended| ended);
    let recording = recording.map_err(|error| cannot("run the demo", &error))?;
    let page = trace.as_ref().and_then(|trace| trace.page());
    let text = trace::ladder(&recording, arguments.all, page);
    // After a signal, stop waiting for the reader of standard output.
    let printed = output::print_to_reader(text, || signals.has_arrived());
    let saved = trace.map_or(Ok(()), |trace| trace.save_demo(recording));
    printed.map_err(|error| format!("cannot print: {error}")).and(saved)
}

/// Runs the server, and prints the table of its tasks at each SIGUSR1.
async fn run(
    executor: &Executor,
    arguments: Arguments,
    trace: Option<Trace>,
) -> Result<(), String> {
    let failed = |error: io::Error| cannot("watch signals", &error);
    let trace = trace.map(Arc::new);
    let stop_signals = watch_signals(trace.as_ref()).map_err(failed)?;
    // Watch SIGUSR1 before the server announces its listeners. Until it is watched, the signal would
    // end the process.
    let table_signal = Signal::new(SIGUSR1).map_err(failed)?;
    let table = table::print_at_each(table_signal, table::title(1, arguments.threads));
    let serving = serve_until(stop_signals, executor, arguments, trace);
    future::or(serving, table).await
}

/// Listens, serves until a signal arrives, and then shuts down in an orderly way.
async fn serve_until(
    stop_signals: (Signal, Signal),
    executor: &Executor,
    arguments: Arguments,
    trace: Option<Arc<Trace>>,
) -> Result<(), String> {
    let listeners = listen(&arguments).await?;
    let shared = Shared::new(arguments.max_connections, arguments.idle);
    let failed = |error: io::Error| cannot("start the threads", &error);
    threads::start(&listeners, &arguments, &shared).map_err(failed)?;
    let server = Rc::new(Server::new(shared.clone()));
    for listener in listeners {
        listener.announce();
        start(listener, &server);
    }
    let serving = async {
        let stats = stats::print_periodically(&arguments, executor, &server);
        let result = future::or(stopped(stop_signals, &shared), stats).await;
        shared.stop(arguments.grace);
        shared.wait_for_connections().await;
        info!("stopped");
        result
    };
    let result = future::or(serving, server.connections.enforce_limits(&shared)).await;
    result.and(trace.map_or(Ok(()), |trace| trace.save()))
}

/// Creates the sockets of all addresses. Warns about passed sockets that are not among them.
async fn listen(arguments: &Arguments) -> Result<Vec<Listening>, String> {
    let mut listeners = Vec::new();
    for (index, address) in arguments.addresses.iter().enumerate() {
        let earlier = &arguments.addresses[..index];
        let listener = Listening::at(address, arguments).await;
        listeners.push(listener.map_err(|error| listen::explain(address, earlier, &error))?);
    }
    for passed in inherited::passed()? {
        if !arguments.addresses.contains(&passed) {
            warn!("not serving {passed}, which LISTEN_FDS passes: it is not among the addresses");
        }
    }
    Ok(listeners)
}

/// Spawns a task that serves a listener on this thread.
fn start(listener: Listening, server: &Rc<Server>) {
    // Register the port before any task is polled: the first datagram may come from another socket
    // of this server, and must not be answered.
    server.udp_ports.borrow_mut().extend(listener.udp_port);
    let guard = server.shared.add_listener();
    drop(spawn_named(ACCEPTS, guard.run(listener.serve(server.clone()))));
}

/// Waits for a signal, or returns an error when the server cannot continue.
async fn stopped(stop_signals: (Signal, Signal), shared: &Shared) -> Result<(), String> {
    let (mut interrupt, mut terminate) = stop_signals;
    let signal = async {
        let _ = future::or(interrupt.recv(), terminate.recv()).await;
        Ok(())
    };
    let broken = async { Err(shared.broken().await) };
    future::or(signal, broken).await
}

/// Watches the signals that stop the server. The second one ends the process immediately, even if
/// the thread is stuck. With a trace, the process first writes it.
fn watch_signals(trace: Option<&Arc<Trace>>) -> io::Result<(Signal, Signal)> {
    // Do this before counting signals, so that no signal is counted without stopping the server.
    let signals = (Signal::new(SIGINT)?, Signal::new(SIGTERM)?);
    match trace {
        None => drop(shutdown::exit_on_second_signal()?),
        Some(trace) => shutdown::save_on_second_signal(Arc::downgrade(trace))?,
    }
    Ok(signals)
}

/// Prints the text of `--help` or `--version`, or one line that says what is wrong with the arguments.
fn print_help_or_error(error: clap::Error) -> ExitCode {
    let error = arguments::escape_quotes(error);
    let text = error.render().to_string();
    if !error.use_stderr() {
        return match io::stdout().write_all(text.as_bytes()) {
            // A closed pipe is not an error: its reader has read enough.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                print_error(&format!("cannot print: {error}"));
                ExitCode::from(FAILURE)
            }
            _ => ExitCode::SUCCESS,
        };
    }
    // clap lists missing arguments on separate lines. A blank line follows them.
    let lines: Vec<&str> =
        text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    let line = lines.join(" ");
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    print_error(&format!("{line}; try --help"));
    ExitCode::from(WRONG_ARGUMENTS)
}
