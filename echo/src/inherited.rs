//! Inherited sockets: `fd:3`, and the sockets that systemd passes.

use std::env;
#[cfg(target_os = "linux")]
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{OwnedFd, RawFd};
use std::process;

use socket2::{Domain, Socket, Type};

use crate::address::Address;

/// The first descriptor that systemd passes; see `sd_listen_fds(3)`.
const FIRST: RawFd = 3;

/// The largest number of sockets that `LISTEN_FDS` may announce. A larger number is a mistake, and
/// a list of so many addresses could exhaust the memory.
const MOST: RawFd = 1024;

/// An inherited socket, by its kind.
pub(crate) enum Inherited {
    Tcp(Socket),
    Udp(Socket),
    Unix(Socket),
}

/// Returns the sockets that systemd, or a program with the same protocol, passes to this process.
pub(crate) fn passed() -> Result<Vec<Address>, String> {
    passed_in(|name| env::var(name).ok())
}

/// Reads the protocol of systemd from the environment variables that `value` returns.
fn passed_in(value: impl Fn(&str) -> Option<String>) -> Result<Vec<Address>, String> {
    // The variables may have been meant for our parent, which did not remove them.
    let is_for_us = value("LISTEN_PID").is_some_and(|pid| pid.parse() == Ok(process::id()));
    let Some(count) = value("LISTEN_FDS").filter(|_| is_for_us) else { return Ok(Vec::new()) };
    match count.parse() {
        Ok(number @ 0..=MOST) => Ok((FIRST..FIRST + number).map(Address::Inherited).collect()),
        _ => Err(format!("LISTEN_FDS={count}: pass at most {MOST} sockets")),
    }
}

impl Inherited {
    /// Duplicates a descriptor and determines its kind. The original stays open until the process ends.
    pub(crate) fn take(number: RawFd) -> io::Result<Inherited> {
        if is_our_own(number) {
            return Err(unsuitable("the server itself has opened it"));
        }
        let socket = Socket::from(duplicate(number)?);
        let domain = socket.domain()?;
        let is_internet = matches!(domain, Domain::IPV4 | Domain::IPV6);
        match socket.r#type()? {
            Type::STREAM if !socket.is_listener()? => Err(unsuitable(
                "it is a stream socket that does not listen (with systemd, set Accept=no)",
            )),
            Type::STREAM if is_internet => Ok(Inherited::Tcp(socket)),
            Type::STREAM if domain == Domain::UNIX => Ok(Inherited::Unix(socket)),
            Type::DGRAM if is_internet && is_unbound(&socket)? => {
                Err(unsuitable("it is not bound to a port, so no peer can send to it"))
            }
            Type::DGRAM if is_internet => Ok(Inherited::Udp(socket)),
            _ => Err(unsuitable("it is not a TCP, UDP or Unix stream socket")),
        }
    }
}

fn is_unbound(socket: &Socket) -> io::Result<bool> {
    Ok(socket.local_addr()?.as_socket().is_some_and(|address| address.port() == 0))
}

/// Returns whether this process has opened the descriptor after its start.
///
/// Every descriptor that this process opens is close-on-exec. An inherited descriptor is not, or the
/// `exec` of this program would have closed it. Without `/proc`, this returns false.
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

/// Duplicates a descriptor of this process, given by its number.
///
/// std can take over a descriptor by its number only with `unsafe` code, because another part of the
/// program may own it. `pidfd_getfd` returns a duplicate, which only the caller owns.
#[cfg(target_os = "linux")]
fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let process = pidfd_open(getpid(), PidfdFlags::empty())?;
    Ok(pidfd_getfd(&process, number, PidfdGetfdFlags::empty())?)
}

#[cfg(not(target_os = "linux"))]
fn duplicate(_: RawFd) -> io::Result<OwnedFd> {
    let text = "this OS cannot duplicate a descriptor by its number";
    Err(io::Error::new(ErrorKind::Unsupported, text))
}

fn unsuitable(text: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::tests::cases;
    use proptest::prelude::*;
    use proptest::sample::select;

    /// A value of an environment variable: numbers at the limits, and other text.
    fn variable() -> impl Strategy<Value = Option<String>> {
        let own = process::id().to_string();
        let numbers = ["", "0", "1", "1024", "1025", "-1", "+1", " 1", "1\n", "2147483648", "٣"];
        prop_oneof![
            2 => Just(Some(own)),
            4 => select(numbers.to_vec()).prop_map(|text| Some(text.to_owned())),
            1 => any::<String>().prop_map(Some),
            1 => Just(None),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: cases(500), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_environment_passes_sockets_or_is_an_error(pid in variable(), count in variable()) {
            let value = |name: &str| if name == "LISTEN_PID" { pid.clone() } else { count.clone() };
            let is_for_us = pid.as_ref().is_some_and(|pid| pid.parse() == Ok(process::id()));
            let number = count.as_ref().map(|count| count.parse::<u64>());
            match (passed_in(value), number) {
                (Ok(sockets), _) if !is_for_us => prop_assert!(sockets.is_empty()),
                (Ok(sockets), None) => prop_assert!(sockets.is_empty()),
                (Ok(sockets), Some(number)) => {
                    let expected = (3..).map(Address::Inherited).take(sockets.len());
                    prop_assert_eq!(number, Ok(sockets.len() as u64));
                    prop_assert!(sockets.len() <= 1024 && sockets.iter().cloned().eq(expected));
                }
                (Err(message), Some(number)) => {
                    prop_assert!(message.contains("LISTEN_FDS") && is_for_us);
                    prop_assert!(!number.is_ok_and(|number| number <= 1024));
                }
                (Err(message), None) => prop_assert!(false, "{}", message),
            }
        }
    }
}
