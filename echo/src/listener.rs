//! What TCP and Unix sockets have in common: a listener accepts connections, and the server echoes
//! what it reads from them.

use std::io;
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::time::Duration;

use futures_lite::Stream;
use reactor::io::{AsyncRead, AsyncWrite};
use reactor::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use socket2::SockRef;

/// A socket that accepts connections.
pub(crate) trait Listener {
    type Socket: Socket;

    /// Returns a stream of the connections that the listener accepts.
    fn incoming(&self) -> impl Stream<Item = io::Result<Self::Socket>> + Unpin;
}

/// The socket of a connection.
pub(crate) trait Socket: AsFd + Sized + 'static {
    /// A reader and writer. Several of them may use the socket at the same time.
    type Ref<'a>: AsyncRead + AsyncWrite + Unpin;

    fn by_ref(&self) -> Self::Ref<'_>;
    fn shutdown(&self, how: Shutdown) -> io::Result<()>;
    /// Makes closing the socket discard unsent data, and send a reset instead of a FIN.
    fn reset_when_closed(&self) -> io::Result<()>;
    /// Returns whether bytes have arrived that the server has not read. This is a system call, because
    /// the reactor may not yet have fetched the event of these bytes.
    fn has_input(&self) -> bool {
        matches!(SockRef::from(self).peek(&mut [MaybeUninit::uninit()]), Ok(1..))
    }

    /// Returns the peer, for the log. This costs a system call.
    fn peer(&self) -> Option<String>;
}

impl Listener for TcpListener {
    type Socket = TcpStream;

    fn incoming(&self) -> impl Stream<Item = io::Result<TcpStream>> + Unpin {
        self.incoming()
    }
}

impl Listener for UnixListener {
    type Socket = UnixStream;

    fn incoming(&self) -> impl Stream<Item = io::Result<UnixStream>> + Unpin {
        self.incoming()
    }
}

impl Socket for TcpStream {
    type Ref<'a> = &'a TcpStream;

    fn by_ref(&self) -> &TcpStream {
        self
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.shutdown(how)
    }

    fn reset_when_closed(&self) -> io::Result<()> {
        SockRef::from(self).set_linger(Some(Duration::ZERO))
    }

    fn peer(&self) -> Option<String> {
        self.peer_addr().ok().map(|peer| peer.to_string())
    }
}

impl Socket for UnixStream {
    type Ref<'a> = &'a UnixStream;

    fn by_ref(&self) -> &UnixStream {
        self
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.shutdown(how)
    }

    // A Unix socket has no such option. Its peer gets an error only if there is unread input when the
    // socket is closed, as is usual if the peer sends without reading.
    fn reset_when_closed(&self) -> io::Result<()> {
        Ok(())
    }

    // A client of a Unix socket usually has no address, but the kernel records its process and user.
    fn peer(&self) -> Option<String> {
        self.peer_cred().ok().map(|peer| match peer.pid {
            Some(pid) => format!("process {pid} of user {}", peer.uid),
            None => format!("a process of user {}", peer.uid),
        })
    }
}
