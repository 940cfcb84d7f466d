//! The server: accept connections, and send back what each one says.
//!
//! Nothing here mentions events, readiness or wakers. Each `await` below is a place where a task
//! may wait while the thread serves others. The next files explain how that works. `server.rs`,
//! `connection.rs` and `connections.rs` decide when serving ends; they can be read last.

use std::rc::Rc;

use executor::spawn_named;
use reactor::io;

use crate::connection::Connection;
use crate::listener::{Listener, Socket as _};
use crate::server::Server;

/// Accepts connections, one task for each, until the server stops or the listener breaks.
pub(crate) async fn accept(listener: impl Listener, server: Rc<Server>) -> io::Result<()> {
    let mut incoming = listener.incoming();
    while let Some(socket) = server.next_connection(&mut incoming).await {
        let connection = Connection::new(socket?, server.clone());
        // A task of its own: if the echo were awaited here, the next client would wait until this
        // one has gone. Dropping the handle detaches the task.
        drop(spawn_named("echo", async move {
            // Reader and writer are the same socket: waiting for one direction leaves the other
            // alone.
            let mut copy = io::copy(connection.socket.by_ref(), connection.socket.by_ref());
            let ended = connection.serve(&mut copy).await;
            connection.end(ended, &copy).await;
        }));
    }
    Ok(())
}
