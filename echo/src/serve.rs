//! The server: it accepts connections and sends back what each of them sends.
//!
//! Nothing here mentions events, readiness or wakers. Each `await` below is a place where a task
//! may wait while the thread runs other tasks. The reactor and the executor explain how that works.
//!
//! Two facts to begin with. Calling an `async fn` runs none of its code: it creates a *future*. Its
//! code runs only while the future is polled, by the future that awaits it or by the executor. And
//! one thread polls all tasks and checks all timers. So a call that blocks the thread stops every
//! task until it returns, and no timeout can end it.
//!
//! `server.rs`, `connection.rs` and `connections.rs` decide when serving ends; read them last.

use std::rc::Rc;

use executor::spawn_named;
use reactor::io;

use crate::connection::Connection;
use crate::listener::{Listener, Socket as _};
use crate::server::Server;

/// Accepts connections, and spawns a task for each, until the server stops or `accept` fails for good.
pub(crate) async fn accept(listener: impl Listener, server: Rc<Server>) -> io::Result<()> {
    let mut incoming = listener.incoming();
    while let Some(socket) = server.next_connection(&mut incoming).await {
        let connection = Connection::new(socket?, server.clone());
        // Spawn a task: if the echo were awaited here, the next client would have to wait until this
        // one disconnects. Dropping the handle *detaches* the task: it continues without one.
        drop(spawn_named("echo", async move {
            // The socket is both reader and writer: its two directions wait independently. `copy`
            // is a variable, because `end` must know how many bytes are not yet written.
            let mut copy = io::copy(connection.socket.by_ref(), connection.socket.by_ref());
            let ended = connection.serve(&mut copy).await;
            connection.end(ended, &copy).await;
        }));
    }
    Ok(())
}
