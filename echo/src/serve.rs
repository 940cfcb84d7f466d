//! The server: accept connections, and send back what each one says.

use std::rc::Rc;

use executor::spawn_named;
use futures_lite::future;
use log::{debug, error};
use reactor::io;
use reactor::net::TcpListener;

use crate::connection::{Connection, Ended};
use crate::server::Server;

/// Accepts connections, one task for each, as long as there is room for them.
pub(crate) async fn accept(listener: TcpListener, server: Rc<Server>) {
    let mut incoming = listener.incoming();
    while let Some(stream) = server.when_there_is_room(&mut incoming).await {
        match stream {
            Ok(stream) => {
                // Counted here, and not when the task first runs: many come in one poll.
                let connection = Connection::new(stream, server.clone());
                drop(spawn_named("echo", echo(connection)));
            }
            Err(error) => error!("the listener is broken: {error}"),
        }
    }
}

/// Echoes one connection until its end-of-file, or until it has to end for another reason.
async fn echo(connection: Connection) {
    let mut copy = io::copy(&connection, &connection);
    let ended = async { Ended::Copied((&mut copy).await) };
    let ended = future::or(ended, connection.must_end()).await;
    debug!("{}: {} bytes echoed, {ended}", connection.peer(), copy.copied());
    if !matches!(ended, Ended::Copied(_)) {
        connection.linger().await;
    }
}
