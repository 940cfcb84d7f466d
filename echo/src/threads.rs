//! `--threads`: the further threads, each with its own executor and TCP listeners.
//!
//! No connection moves between threads: the kernel chooses a listener for each connection, and with
//! it the thread. The threads end with the process, which the first thread ends when all connections
//! have ended.

use std::io;
use std::net::{self, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use executor::Executor;
use futures_lite::future;
use reactor::net::TcpListener;
use reactor::signal::Signal;
use signal_hook::consts::SIGUSR1;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::address::Address;
use crate::arguments::Arguments;
use crate::listen::{BACKLOG, Kind, Listening, set_options};
use crate::output::cannot;
use crate::server::Server;
use crate::shared::Shared;
use crate::stats;
use crate::table;

/// Starts all threads except the first, which owns `listeners`. When this returns, all of them listen.
pub(crate) fn start(
    listeners: &[Listening],
    arguments: &Arguments,
    shared: &Arc<Shared>,
) -> io::Result<()> {
    let mut started = Vec::new();
    for number in 2..=arguments.threads {
        // One channel for each thread: if the thread panics, its sender is dropped, and the receiver
        // returns an error.
        let (ready, result) = channel();
        let copies = copies(listeners, arguments)?;
        let (shared, arguments) = (shared.clone(), arguments.clone());
        let serve = move || run(copies, &shared, &arguments, number, &ready);
        thread::Builder::new().name(format!("echod {number}")).spawn(serve)?;
        started.push(result);
    }
    started.iter().try_for_each(start_result)
}

/// Waits until a thread listens, and returns the error if it cannot.
fn start_result(started: &Receiver<io::Result<()>>) -> io::Result<()> {
    started.recv().unwrap_or_else(|_| Err(io::Error::other("it panicked")))
}

fn run(
    listeners: Vec<net::TcpListener>,
    shared: &Arc<Shared>,
    arguments: &Arguments,
    number: usize,
    ready: &Sender<io::Result<()>>,
) {
    let serving = Executor::new().and_then(|executor| {
        executor.set_spin(arguments.spin);
        let serving = serve(&executor, listeners, shared, arguments, number, ready);
        executor.try_block_on(serving).and_then(|ended| ended).inspect_err(|error| {
            // Serving cannot begin, or a wait for events has failed. Report that before the executor
            // drops its listeners, so that the first thread learns the cause, not the consequence.
            shared.fail(cannot(&format!("serve on thread {number}"), error));
        })
    });
    // The receiver may be gone, because the start is over or an earlier thread failed to start.
    let _ = ready.send(serving);
}

/// Serves connections as the first thread does. Signals that stop the server are watched only there.
async fn serve(
    executor: &Executor,
    listeners: Vec<net::TcpListener>,
    shared: &Arc<Shared>,
    arguments: &Arguments,
    number: usize,
    ready: &Sender<io::Result<()>>,
) -> io::Result<()> {
    let table_signal = Signal::new(SIGUSR1)?;
    let server = Rc::new(Server::new(shared.clone()));
    for listener in listeners {
        let listener = Kind::Tcp(TcpListener::from_std(listener)?);
        crate::start(Listening::new(listener)?, &server);
    }
    let _ = ready.send(Ok(()));
    let title = table::title(number, arguments.threads);
    let answering = shared.survey.answer(|| stats::count(executor, &server));
    let limits = server.connections.enforce_limits(shared);
    future::or(table::print_at_each(table_signal, title), future::or(answering, limits)).await
}

/// Creates another listener at each TCP address of `listeners`.
///
/// The first listener was bound without `SO_REUSEPORT`, so the address was free. With the option,
/// the bind would also have succeeded if another process of the same user listened there. The
/// option is set afterwards, and the kernel then distributes connections over all listeners.
fn copies(listeners: &[Listening], arguments: &Arguments) -> io::Result<Vec<net::TcpListener>> {
    let mut copies = Vec::new();
    for (address, listening) in arguments.addresses.iter().zip(listeners) {
        // Only the creator of an inherited socket may decide to share its address.
        if let (Address::Tcp(_), Kind::Tcp(listener)) = (address, &listening.kind) {
            SockRef::from(listener).set_reuse_port(true)?;
            copies.push(copy(listener.local_addr()?, arguments)?);
        }
    }
    Ok(copies)
}

fn copy(address: SocketAddr, arguments: &Arguments) -> io::Result<net::TcpListener> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    set_options(&socket, arguments)?;
    socket.bind(&address.into())?;
    let backlog = arguments.backlog.unwrap_or(BACKLOG);
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}
