//! The echo of datagrams. One task serves the whole socket, because datagrams are independent.

use std::io;
use std::net::SocketAddr;

use log::{debug, trace, warn};
use reactor::net::UdpSocket;
use reactor::time::{Backoff, sleep};
use rustix::io::Errno;

use crate::server::{Server, add};

/// The size of the buffer. A datagram has at most 65,507 bytes over IPv4, and 20 more over IPv6.
const BUFFER: usize = 1 << 16;

/// The first port that is answered. Lower ports belong to services, and some of them answer every
/// datagram. A datagram with such a sender, which is easy to forge, would make the two servers answer
/// each other forever.
const FIRST_PORT: u16 = 1024;

/// Sends datagrams back until the server stops or the socket becomes unusable.
pub(crate) async fn echo(socket: UdpSocket, server: &Server) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut backoff = Backoff::new();
    while let Some(received) = receive(&socket, server, &mut buffer).await {
        if received.is_ok() {
            backoff.succeeded();
        }
        match received {
            Ok((bytes, peer)) if is_answered(peer, server) => {
                add(&server.counts.messages, 1);
                send(&socket, server, &buffer[..bytes], peer).await;
            }
            Ok((_, peer)) => debug!("{peer}: not answered, because it may be another echo server"),
            Err(error) if is_broken(&error) => return Err(error),
            Err(error) => {
                let pause = backoff.failed();
                if pause.is_zero() {
                    debug!("ignoring an error of the network or a peer: {error}");
                } else if backoff.should_log() {
                    warn!("cannot receive datagrams: {error}; retrying with pauses of up to 1 s");
                }
                let pause = async {
                    sleep(pause).await;
                    Some(())
                };
                if server.until_stopped(pause, || false).await.is_none() {
                    break;
                }
            }
        }
    }
    Ok(())
}

async fn receive(
    socket: &UdpSocket,
    server: &Server,
    buffer: &mut [u8],
) -> Option<io::Result<(usize, SocketAddr)>> {
    server.until_stopped(async { Some(socket.recv_from(buffer).await) }, || false).await
}

/// Sends a datagram back. If that fails, the datagram is lost, as UDP allows.
async fn send(socket: &UdpSocket, server: &Server, datagram: &[u8], peer: SocketAddr) {
    match socket.send_to(datagram, peer).await {
        Ok(bytes) => {
            add(&server.counts.bytes, bytes as u64);
            trace!("{peer}: {bytes} bytes echoed");
        }
        Err(error) => debug!("{peer}: {error}"),
    }
}

/// Returns whether to answer a peer: neither a service, nor a socket of this server, nor another
/// `echod` on the same port.
fn is_answered(peer: SocketAddr, server: &Server) -> bool {
    peer.port() >= FIRST_PORT && !server.udp_ports.borrow().contains(&peer.port())
}

/// Returns whether the socket is unusable. Other errors come from the network or a peer: the next
/// call returns an ICMP message as an error.
fn is_broken(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::BADF | Errno::INVAL | Errno::NOTSOCK | Errno::OPNOTSUPP) | None)
}
