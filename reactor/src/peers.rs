//! The peer addresses of sockets, for diagnostics that show what a task waits for.
//!
//! The reactor works without this file. A source does not store its peer, because an idle
//! connection should not pay for diagnostics. The kernel has this information in `/proc`: the
//! `fdinfo` file of the epoll instance maps the key of a source to the inode of its socket, and the
//! socket tables map the inode to the peer.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};

use crate::reactor::Reactor;

/// The socket tables with peer addresses. They do not contain the sockets of another network
/// namespace.
const TABLES: [&str; 4] = ["tcp", "tcp6", "udp", "udp6"];

impl Reactor {
    /// Returns the peer's address of each connected TCP or UDP socket, by the key of its source.
    ///
    /// This function reads files in `/proc` that have a line for each socket of the system, so call
    /// it for diagnostics and not for each message. On systems other than Linux the map is empty.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::Reactor;
    /// use reactor::net::{TcpListener, TcpStream};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// executor::block_on(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let stream = TcpStream::connect(listener.local_addr()?).await?;
    ///     let peers = Reactor::current().peers();
    ///     if cfg!(target_os = "linux") {
    ///         assert!(peers.values().any(|peer| stream.peer_addr().ok() == Some(*peer)));
    ///     }
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn peers(&self) -> BTreeMap<usize, SocketAddr> {
        let epoll = self.as_fd().as_raw_fd();
        let watched = fs::read_to_string(format!("/proc/self/fdinfo/{epoll}"));
        let keys: HashMap<u64, usize> =
            watched.unwrap_or_default().lines().filter_map(inode_and_key).collect();
        let mut peers = BTreeMap::new();
        for table in TABLES {
            let sockets = fs::read_to_string(format!("/proc/self/net/{table}")).unwrap_or_default();
            let known = sockets.lines().filter_map(inode_and_peer);
            peers.extend(known.filter_map(|(inode, peer)| Some((*keys.get(&inode)?, peer))));
        }
        peers
    }
}

/// Parses a line of the `fdinfo` file, such as
/// `tfd: 5 events: 80002019 data: 1 pos:0 ino:61 sdev:8`.
///
/// `data` is the source's key, in hexadecimal like the inode.
fn inode_and_key(line: &str) -> Option<(u64, usize)> {
    let after = |name: &str| Some(line.split_once(name)?.1.trim_start().split(' ').next()?.trim());
    let inode = u64::from_str_radix(after(" ino:")?, 16).ok()?;
    Some((inode, usize::from_str_radix(after(" data:")?, 16).ok()?))
}

/// Parses a line of a socket table: the third column is the peer, the tenth the inode.
fn inode_and_peer(line: &str) -> Option<(u64, SocketAddr)> {
    let mut columns = line.split_ascii_whitespace();
    let peer = address(columns.nth(2)?)?;
    let inode = columns.nth(6)?.parse().ok()?;
    // An unconnected socket has peer port 0.
    (peer.port() != 0).then_some((inode, peer))
}

/// Parses an address such as `0100007F:1F90`: its 32-bit words in native byte order, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (words, port) = text.split_once(':')?;
    let word = |index: usize| {
        let digits = words.get(8 * index..8 * index + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip: IpAddr = match words.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        _ => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let octets: [u8; 16] = words.concat().try_into().ok()?;
            Ipv6Addr::from(octets).to_canonical()
        }
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn address_in_the_format_of_the_kernel_is_read_back(
            ipv4: Ipv4Addr,
            ipv6: Ipv6Addr,
            kind in 0_usize..3,
            port: u16,
        ) {
            let mapped = ipv4.to_ipv6_mapped();
            let ip = [IpAddr::from(ipv4), ipv6.into(), mapped.into()][kind];
            let octets = match ip {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            };
            let word = |bytes: &[u8]| u32::from_ne_bytes(bytes.try_into().unwrap());
            let words: String = octets.chunks(4).map(|bytes| format!("{:08X}", word(bytes))).collect();
            let expected = SocketAddr::new(ip.to_canonical(), port);
            prop_assert_eq!(address(&format!("{words}:{port:04X}")), Some(expected));
        }

        #[test]
        fn line_of_any_text_is_read_without_a_panic(text in "[0-9A-F: \t]{0,60}( (tfd|ino|data):)?.*") {
            address(&text);
            inode_and_peer(&text);
            inode_and_key(&text);
        }
    }

    #[test]
    fn addresses_are_parsed_in_the_format_of_the_kernel() {
        if cfg!(target_endian = "little") {
            let parse = |text: &str| address(text).map(|address| address.to_string());
            assert_eq!(parse("0100007F:1F90").unwrap(), "127.0.0.1:8080");
            assert_eq!(parse("00000000000000000000000001000000:0050").unwrap(), "[::1]:80");
            assert_eq!(parse("0000000000000000FFFF00000100007F:0050").unwrap(), "127.0.0.1:80");
        }
        for wrong in ["", "0100007F", "01:1F90", "0100007F:", "x100007F:1F90", "ä00007F:0000"] {
            assert_eq!(address(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn key_and_inode_in_fdinfo_are_parsed_as_hexadecimal() {
        let line = "tfd:       12 events: 8000201f data:               1a  pos:0 ino:1f sdev:8";
        assert_eq!(inode_and_key(line), Some((0x1f, 0x1a)));
        assert_eq!(inode_and_key("flags:\t02"), None);
    }
}
