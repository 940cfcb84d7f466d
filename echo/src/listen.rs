//! The sockets that the server serves: how each is created, announced, served and closed.

use std::io::{self, ErrorKind};
use std::os::unix::net;
use std::rc::Rc;

use log::info;
use reactor::net::{TcpListener, UdpSocket, UnixListener};
use rustix::io::Errno;
use socket2::{SockRef, Socket, TcpKeepalive};

use crate::address::Address;
use crate::arguments::Arguments;
use crate::inherited::Inherited;
use crate::output::{
    ALLOW_CALL, MORE_DESCRIPTORS, MORE_MEMORY, STDOUT, escape, is_out_of_descriptors,
    is_out_of_memory,
};
use crate::serve;
use crate::server::Server;
use crate::socket_file::{self, SocketFile};
use crate::udp;

/// The default length of the kernel's accept queue, for every kind of listener.
pub(crate) const BACKLOG: u32 = 1024;

/// A socket that is ready to be served.
pub(crate) struct Listening {
    pub(crate) kind: Kind,
    /// The kind and the address, for the line `listening …` and for messages. The address is looked
    /// up before the server starts, because the system call may fail. A script that waits for the
    /// line must not wait for a listener that serves without it.
    place: String,
    /// The port of a UDP socket.
    pub(crate) udp_port: Option<u16>,
}

/// A socket of one kind.
pub(crate) enum Kind {
    Tcp(TcpListener),
    Udp(UdpSocket),
    Unix(UnixListener, Option<SocketFile>),
}

impl Listening {
    /// Creates the socket of an address.
    pub(crate) async fn at(address: &Address, arguments: &Arguments) -> io::Result<Listening> {
        let kind = match address {
            Address::Tcp(address) => Kind::Tcp(TcpListener::bind(address).await?),
            Address::Udp(address) => Kind::Udp(UdpSocket::bind(address).await?),
            Address::Unix(path) => {
                let (listener, file) = socket_file::bind(path).await?;
                Kind::Unix(listener, Some(file))
            }
            Address::Inherited(number) => Kind::inherited(Inherited::take(*number)?)?,
        };
        if let Kind::Tcp(listener) = &kind {
            set_options(&SockRef::from(listener), arguments)?;
        }
        // `TcpListener::bind` already uses this length, and the creator of an inherited socket has
        // chosen its length.
        let is_unix = matches!(address, Address::Unix(_));
        if let Some(backlog) = arguments.backlog.or_else(|| is_unix.then_some(BACKLOG)) {
            kind.set_backlog(backlog)?;
        }
        Listening::new(kind)
    }

    pub(crate) fn new(kind: Kind) -> io::Result<Listening> {
        let (place, udp_port) = match &kind {
            Kind::Tcp(listener) => (format!("tcp {}", listener.local_addr()?), None),
            Kind::Udp(socket) => {
                let address = socket.local_addr()?;
                (format!("udp {address}"), Some(address.port()))
            }
            Kind::Unix(listener, _) => (format!("unix {}", name(&listener.local_addr()?)), None),
        };
        Ok(Listening { kind, place, udp_port })
    }

    /// Prints the line of this listener to standard output.
    pub(crate) fn announce(&self) {
        // Escape the path: a line break in it would look like another listener's line.
        STDOUT.print(format!("listening {}\n", escape(&self.place)).as_bytes());
        info!("listening {}", self.place);
    }

    /// Serves until the server stops, or the socket breaks.
    pub(crate) async fn serve(self, server: Rc<Server>) -> io::Result<()> {
        let Listening { kind, place, .. } = self;
        let ended = match kind {
            Kind::Tcp(listener) => serve::accept(listener, server).await,
            Kind::Udp(socket) => udp::echo(socket, &server).await,
            Kind::Unix(listener, file) => {
                let ended = serve::accept(listener, server).await;
                // Remove the file only now: until the listener stopped accepting, clients connected
                // through it.
                drop(file);
                ended
            }
        };
        // For example, the process that passed the socket has shut it down.
        ended.map_err(|error| io::Error::other(format!("{place}: {error}: restart the server")))
    }
}

impl Kind {
    fn inherited(socket: Inherited) -> io::Result<Kind> {
        Ok(match socket {
            Inherited::Tcp(socket) => Kind::Tcp(TcpListener::from_std(socket.into())?),
            Inherited::Udp(socket) => Kind::Udp(UdpSocket::from_std(socket.into())?),
            Inherited::Unix(socket) => {
                // The file of an inherited socket belongs to the process that created it.
                Kind::Unix(UnixListener::from_std(socket.into())?, None)
            }
        })
    }

    fn set_backlog(&self, backlog: u32) -> io::Result<()> {
        match self {
            Kind::Tcp(listener) => listener.set_backlog(backlog),
            Kind::Udp(_) => Ok(()),
            Kind::Unix(listener, _) => {
                SockRef::from(listener).listen(i32::try_from(backlog).unwrap_or(i32::MAX))
            }
        }
    }
}

/// Sets the options that the connections of a TCP listener inherit from it.
pub(crate) fn set_options(listener: &Socket, arguments: &Arguments) -> io::Result<()> {
    // Send an echo even if the previous one has not been acknowledged. A client that sends nothing
    // more delays its acknowledgment.
    listener.set_tcp_nodelay(true)?;
    match arguments.keepalive {
        Some(time) => listener.set_tcp_keepalive(&TcpKeepalive::new().with_time(time)),
        // An inherited listener keeps the option that its creator has set.
        None => Ok(()),
    }
}

/// Returns the path or the abstract name of a Unix socket.
fn name(address: &net::SocketAddr) -> String {
    let path = address.as_pathname().map(|path| path.display().to_string());
    path.or_else(|| abstract_name(address)).unwrap_or_else(|| "(unnamed)".to_owned())
}

/// Returns a name that is not a file's, written `@name` as other tools do.
#[cfg(target_os = "linux")]
fn abstract_name(address: &net::SocketAddr) -> Option<String> {
    use std::os::linux::net::SocketAddrExt;
    address.as_abstract_name().map(|name| format!("@{}", String::from_utf8_lossy(name)))
}

#[cfg(not(target_os = "linux"))]
fn abstract_name(_: &net::SocketAddr) -> Option<String> {
    None
}

/// The first port that needs no privileges.
const FIRST_UNPRIVILEGED: u16 = 1024;

/// Describes why the server cannot listen on an address, and what to do. One of the `earlier`
/// addresses of the command line may overlap it.
pub(crate) fn explain(address: &Address, earlier: &[Address], error: &io::Error) -> String {
    let overlapping = earlier.iter().find(|earlier| earlier.overlaps(address));
    if let (Some(earlier), ErrorKind::AddrInUse) = (overlapping, error.kind()) {
        return format!(
            "cannot listen on {address}: it overlaps {earlier}, given earlier; remove one of them"
        );
    }
    let advice = match (address, error.kind()) {
        _ if is_out_of_descriptors(error) => MORE_DESCRIPTORS,
        _ if is_out_of_memory(error) => MORE_MEMORY,
        (Address::Inherited(_), ErrorKind::PermissionDenied) => "allow the system call pidfd_getfd",
        (Address::Inherited(_), ErrorKind::Unsupported) => "this needs Linux 5.6",
        (Address::Inherited(_), _) => "pass a TCP, UDP or Unix socket under this number",
        (Address::Unix(_), ErrorKind::AddrInUse) => {
            "another program listens on it; stop that program or choose another path"
        }
        (Address::Unix(_), ErrorKind::AlreadyExists) => "remove it or choose another path",
        // The file system returns EACCES, and a sandbox EPERM.
        (_, _) if Errno::from_io_error(error) == Some(Errno::PERM) => ALLOW_CALL,
        (Address::Unix(_), ErrorKind::PermissionDenied) => "choose a path that you may write to",
        (Address::Unix(_), ErrorKind::NotFound) => "create its directory first",
        (Address::Unix(_), _) => "choose another path",
        (_, ErrorKind::AddrInUse) => {
            "another program listens on it; stop that program or choose another port (0: any free port)"
        }
        (Address::Tcp(address) | Address::Udp(address), ErrorKind::PermissionDenied)
            if address.port() >= FIRST_UNPRIVILEGED =>
        {
            ALLOW_CALL
        }
        (_, ErrorKind::PermissionDenied) => {
            "ports below 1024 need privileges; choose a higher port"
        }
        (_, ErrorKind::AddrNotAvailable) => "this machine has no such address; try 127.0.0.1",
        _ => "choose another address",
    };
    format!("cannot listen on {address}: {error}: {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_listen_error_has_its_own_advice() {
        let advice = |address: &str, errno: Errno| {
            let text = explain(&address.parse().unwrap(), &[], &errno.into());
            text.rsplit(": ").next().unwrap_or_default().to_owned()
        };
        assert_eq!(advice("fd:3", Errno::PERM), "allow the system call pidfd_getfd");
        assert_eq!(advice("fd:3", Errno::NOSYS), "this needs Linux 5.6");
        assert!(advice("fd:3", Errno::BADF).starts_with("pass a TCP, UDP or Unix socket"));
        for address in ["fd:3", "127.0.0.1:0", "udp:127.0.0.1:0", "unix:x"] {
            for errno in [Errno::MFILE, Errno::NFILE] {
                assert_eq!(advice(address, errno), "allow more descriptors (ulimit -n)");
            }
            for errno in [Errno::NOMEM, Errno::NOBUFS] {
                assert_eq!(advice(address, errno), "free memory or allow more (ulimit -v)");
            }
        }
        // For a privileged port, the kernel returns EACCES. For a forbidden call, a sandbox returns EPERM.
        for address in ["127.0.0.1:80", "udp:127.0.0.1:80", "unix:x"] {
            assert!(advice(address, Errno::PERM).starts_with("strace shows"), "{address}");
        }
        for address in ["127.0.0.1:80", "udp:127.0.0.1:80"] {
            assert!(advice(address, Errno::ACCESS).starts_with("ports below 1024"), "{address}");
        }
        assert_eq!(advice("unix:x", Errno::ACCESS), "choose a path that you may write to");
        for address in ["127.0.0.1:8080", "udp:127.0.0.1:8080"] {
            assert!(advice(address, Errno::ACCESS).starts_with("strace shows"), "{address}");
        }
    }
}
