//! `--threads`: more of them, each with an executor and with TCP listeners of its own.
//!
//! Nothing moves between them: the kernel chooses the listener for each connection, and so the
//! thread. They end with the process, when the first one has seen all connections end.

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
use crate::listen::{BACKLOG, Listening, set_options};
use crate::output::cannot;
use crate::server::Server;
use crate::shared::Shared;
use crate::stats;
use crate::table;

/// Starts all threads but the first, which has these listeners; each listens when this returns.
pub(crate) fn start(
    listeners: &[Listening],
    arguments: &Arguments,
    shared: &Arc<Shared>,
) -> io::Result<()> {
    let mut started = Vec::new();
    for number in 2..=arguments.threads {
        // A channel for each: one that panics leaves its own, whoever else is well.
        let (ready, word) = channel();
        let copies = copies(listeners, arguments)?;
        let (shared, arguments) = (shared.clone(), arguments.clone());
        let serve = move || run(copies, &shared, &arguments, number, &ready);
        thread::Builder::new().name(format!("echod {number}")).spawn(serve)?;
        started.push(word);
    }
    started.iter().try_for_each(first_word)
}

/// What a thread says of its start. One that panics says nothing, and is told of by its panic.
fn first_word(started: &Receiver<io::Result<()>>) -> io::Result<()> {
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
    // Nobody listens to that if one before it could not begin either.
    let _ = ready.send(serving);
}

/// Serves as the first thread does, but for what only one can do.
async fn serve(
    executor: &Executor,
    listeners: Vec<net::TcpListener>,
    shared: &Arc<Shared>,
    arguments: &Arguments,
    number: usize,
    ready: &Sender<io::Result<()>>,
) -> io::Result<()> {
    let asking = Signal::new(SIGUSR1)?;
    let server = Rc::new(Server::new(shared.clone()));
    for listener in listeners {
        crate::start(Listening::Tcp(TcpListener::from_std(listener)?), &server);
    }
    let _ = ready.send(Ok(()));
    let title = table::title(number, arguments.threads);
    let answering = shared.survey.answer(|| stats::count(executor, &server));
    let ending = server.connections.end_in_time(shared);
    future::or(table::print_at_each(asking, title), future::or(answering, ending)).await
}

/// One more listener at each TCP address of these.
///
/// The first was bound without `SO_REUSEPORT`, and so its address was free: with it, another
/// process of the same user could have been there already. Now that it is ours, it is shared, and
/// the kernel spreads connections over all who listen there.
fn copies(listeners: &[Listening], arguments: &Arguments) -> io::Result<Vec<net::TcpListener>> {
    let mut copies = Vec::new();
    for (address, listening) in arguments.addresses.iter().zip(listeners) {
        // An inherited one is somebody else's to share.
        if let (Address::Tcp(_), Listening::Tcp(listener)) = (address, listening) {
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
