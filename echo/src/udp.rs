//! The echo of datagrams: one task for the whole socket, since each of them stands alone.

use std::io;
use std::net::SocketAddr;

use log::{debug, trace, warn};
use reactor::net::UdpSocket;
use reactor::time::{Backoff, sleep};
use rustix::io::Errno;

use crate::server::{Server, add};

/// More than a datagram can hold: 65,507 bytes over IPv4, 20 more over IPv6.
const LONGEST: usize = 1 << 16;

/// The first port that is answered. Below are services, and some of them answer too: to a
/// datagram with such a sender, which is easily forged, the two would echo for ever.
const FIRST_PORT: u16 = 1024;

/// Sends datagrams back, until the server stops or the socket breaks.
pub(crate) async fn echo(socket: UdpSocket, server: &Server) -> io::Result<()> {
    let mut buffer = vec![0; LONGEST];
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
            Ok((_, peer)) => debug!("{peer}: not answered, it may answer too"),
            Err(error) if is_broken(&error) => return Err(error),
            Err(error) => {
                let pause = backoff.failed();
                if pause.is_zero() {
                    debug!("skipping an error of the network or a peer: {error}");
                } else if backoff.should_log() {
                    warn!("cannot receive datagrams, retrying with pauses of up to 1 s: {error}");
                }
                let over = async {
                    sleep(pause).await;
                    Some(())
                };
                if server.until_stopped(over, || false).await.is_none() {
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

/// Sends one back. If it cannot be sent, it is lost, as datagrams may be.
async fn send(socket: &UdpSocket, server: &Server, datagram: &[u8], peer: SocketAddr) {
    match socket.send_to(datagram, peer).await {
        Ok(bytes) => {
            add(&server.counts.bytes, bytes as u64);
            trace!("{peer}: {bytes} bytes echoed");
        }
        Err(error) => debug!("{peer}: {error}"),
    }
}

/// No service, and no other `echod` on the same port, nor this one itself, on whichever socket.
fn is_answered(peer: SocketAddr, server: &Server) -> bool {
    peer.port() >= FIRST_PORT && !server.udp_ports.borrow().contains(&peer.port())
}

/// Whether it is the socket that is wrong, and not the network or a peer: an ICMP message comes as
/// an error of the next call.
fn is_broken(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::BADF | Errno::INVAL | Errno::NOTSOCK | Errno::OPNOTSUPP) | None)
}
