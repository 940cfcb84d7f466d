//! Sockets that the process was started with: `fd:3`, and those that systemd passes.

use std::env;
#[cfg(target_os = "linux")]
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{OwnedFd, RawFd};
use std::process;

use socket2::{Domain, Socket, Type};

use crate::address::Address;

/// The first descriptor that systemd passes, says `sd_listen_fds(3)`.
const FIRST: RawFd = 3;

/// So many sockets may be passed: more are a mistake, and would only fill the memory with numbers.
const MOST: RawFd = 1024;

/// A socket, by its kind.
pub(crate) enum Inherited {
    Tcp(Socket),
    Udp(Socket),
    Unix(Socket),
}

/// The sockets that systemd, or who speaks like it, passes to this very process.
pub(crate) fn passed() -> Result<Vec<Address>, String> {
    let value = |name| env::var(name).ok();
    // A parent that was meant may have left both behind for its children.
    let ours = value("LISTEN_PID").is_some_and(|pid| pid.parse() == Ok(process::id()));
    let Some(count) = value("LISTEN_FDS").filter(|_| ours) else { return Ok(Vec::new()) };
    match count.parse() {
        Ok(number @ 0..=MOST) => Ok((FIRST..FIRST + number).map(Address::Inherited).collect()),
        _ => Err(format!("LISTEN_FDS={count}: pass at most {MOST} sockets")),
    }
}

impl Inherited {
    /// Takes a duplicate, and sees what it is. The original stays open until the process ends.
    pub(crate) fn take(number: RawFd) -> io::Result<Inherited> {
        if is_our_own(number) {
            return Err(unsuitable("the server has opened it itself"));
        }
        let socket = Socket::from(duplicate(number)?);
        let domain = socket.domain()?;
        let is_internet = matches!(domain, Domain::IPV4 | Domain::IPV6);
        match socket.r#type()? {
            Type::STREAM if !socket.is_listener()? => {
                Err(unsuitable("it is a stream that does not listen (with systemd: Accept=no)"))
            }
            Type::STREAM if is_internet => Ok(Inherited::Tcp(socket)),
            Type::STREAM if domain == Domain::UNIX => Ok(Inherited::Unix(socket)),
            Type::DGRAM if is_internet && is_unbound(&socket)? => {
                Err(unsuitable("it is bound to no port, so nobody can send to it"))
            }
            Type::DGRAM if is_internet => Ok(Inherited::Udp(socket)),
            _ => Err(unsuitable("it is no TCP, UDP or Unix stream socket")),
        }
    }
}

fn is_unbound(socket: &Socket) -> io::Result<bool> {
    Ok(socket.local_addr()?.as_socket().is_some_and(|address| address.port() == 0))
}

/// Whether this process has opened the descriptor after its start.
///
/// Each descriptor that this process opens is close-on-exec, and one that survived the `exec` of this
/// program cannot be. Without `/proc`, this returns false.
#[cfg(target_os = "linux")]
fn is_our_own(number: RawFd) -> bool {
    use rustix::fs::OFlags;
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| OFlags::from_bits_retain(flags).contains(OFlags::CLOEXEC))
}

#[cfg(not(target_os = "linux"))]
fn is_our_own(_: RawFd) -> bool {
    false
}

/// Of a mere number nobody knows who owns the descriptor, and so it cannot be taken over. But the
/// kernel gives a duplicate of what a process has under a number, and we are a process too.
#[cfg(target_os = "linux")]
fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let process = pidfd_open(getpid(), PidfdFlags::empty())?;
    Ok(pidfd_getfd(&process, number, PidfdGetfdFlags::empty())?)
}

#[cfg(not(target_os = "linux"))]
fn duplicate(_: RawFd) -> io::Result<OwnedFd> {
    let text = "this system does not hand out descriptors by their numbers";
    Err(io::Error::new(ErrorKind::Unsupported, text))
}

fn unsuitable(text: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, text)
}
