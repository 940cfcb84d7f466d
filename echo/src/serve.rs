//! The server: accept connections, and send back what each one says.
//!
//! Nothing here speaks of events, readiness or wakers. Each `await` below is a place where a task
//! may wait and the thread serves others; how that works is what the next files tell. (When it
//! stops, `server.rs` and `connection.rs` know: they can be read last.)

use std::rc::Rc;

use executor::spawn_named;
use futures_lite::future;
use log::debug;
use reactor::io;

use crate::connection::{Connection, Ended};
use crate::listener::{Listener, Socket};
use crate::server::Server;

/// Accepts connections, one task for each, until the server stops or the listener breaks.
pub(crate) async fn accept(listener: impl Listener, server: Rc<Server>) -> io::Result<()> {
    let mut incoming = listener.incoming();
    while let Some(stream) = server.next_connection(&mut incoming).await {
        let connection = Connection::new(stream?, server.clone());
        // A task of its own: were the echo awaited here, the next client would wait until this one
        // has gone. Nobody needs its handle, and to drop that lets the task run on.
        drop(spawn_named("echo", async move { echo(&connection).await }));
    }
    Ok(())
}

/// Echoes one connection until its end-of-file, or until it has to end for another reason.
async fn echo(connection: &Connection<impl Socket>) {
    // Reader and writer are the same socket: to wait for one direction leaves the other alone.
    let mut copy = io::copy(connection, connection);
    // By reference, so that the bytes can be counted below, also if the copy is given up.
    let ended = async { Ended::Copied((&mut copy).await) };
    let ended = future::or(ended, connection.must_end()).await;
    debug!("{}: {} bytes echoed, {ended}", connection.peer(), copy.copied());
    if connection.owes_bytes(&ended) {
        // After a FIN the peer would take what it has received for the whole echo.
        connection.reset();
    } else if !matches!(ended, Ended::Copied(_)) {
        // Boxed, for an idle connection needs no room for its end.
        Box::pin(connection.linger()).await;
    }
}
