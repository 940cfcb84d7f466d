//! Several servers behind HAProxy, and the files of `echo/dist`: its configuration and the systemd
//! units.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;

use rustix::process::Signal;
use tests::{DEADLINE, TempDir, folder};

use crate::bytes::{assert_echoes, assert_echoes_to};
use crate::process::is_installed;
use crate::server::{ECHOD, Server, connect, eventually};

const CONFIGURATION: &str = include_str!("../../echo/dist/haproxy.cfg");
const SERVICE: &str = include_str!("../../echo/dist/echod.service");
const SOCKET: &str = include_str!("../../echo/dist/echod.socket");

/// HAProxy with the configuration of `echo/dist`, except for the addresses and the connection
/// limit.
struct Balancer {
    process: Server,
    address: SocketAddr,
    folder: TempDir,
}

impl Balancer {
    fn start(servers: &[Server]) -> Balancer {
        let folder = folder();
        // HAProxy inherits its listener, so no other process can take the port.
        let mut text = replace(CONFIGURATION, "bind 127.0.0.1:7777", "bind fd@3");
        // HAProxy needs twice as many descriptors, and does not start without them.
        text = replace(&text, "maxconn 4000", "maxconn 200");
        let admin = folder.path().join("admin");
        text = replace(&text, "/run/haproxy-echod.sock", admin.to_str().unwrap());
        for (server, port) in servers.iter().zip(7781..) {
            let old = format!(" 127.0.0.1:{port}\n");
            text = replace(&text, &old, &format!(" {}\n", server.addresses[0]));
        }
        let file = folder.path().join("haproxy.cfg");
        fs::write(&file, text).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "exec 3<&0 0</dev/null; exec haproxy -db -f \"$0\""]).arg(file);
        let balancer = Balancer { process: Server::spawn_with(command, listener), address, folder };
        eventually("HAProxy runs", || UnixStream::connect(&admin).is_ok());
        eventually("all health checks have succeeded", || {
            ["a", "b", "c"].iter().all(|server| balancer.column(server, 17) == "UP")
        });
        balancer
    }

    fn connect_many(&self, clients: usize) -> Vec<TcpStream> {
        let mut clients: Vec<TcpStream> = (0..clients).map(|_| connect(self.address)).collect();
        clients.iter_mut().for_each(|client| assert_echoes(client, b"hello"));
        clients
    }

    /// Sends a command to the admin socket, and returns the answer.
    fn admin(&self, command: &str) -> String {
        let mut stream = UnixStream::connect(self.folder.path().join("admin")).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        writeln!(stream, "{command}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Returns a column of the statistics of a server.
    fn column(&self, server: &str, column: usize) -> String {
        let table = self.admin("show stat");
        let row = table.lines().find(|line| line.starts_with(&format!("echod,{server},")));
        row.expect("the server has a row").split(',').nth(column).unwrap().to_owned()
    }

    /// The number of connections that a server has now.
    fn connections(&self, server: &str) -> usize {
        self.column(server, 4).parse().unwrap()
    }
}

/// Replaces a text that must occur.
#[track_caller]
fn replace(text: &str, old: &str, new: &str) -> String {
    assert!(text.contains(old), "{old:?} is not in {text}");
    text.replace(old, new)
}

/// Whether the other end has closed or reset the connection.
fn is_cut(client: &mut TcpStream) -> bool {
    client.set_nonblocking(true).unwrap();
    let read = client.read(&mut [0; 16]).map_err(|error| error.kind());
    client.set_nonblocking(false).unwrap();
    read != Err(std::io::ErrorKind::WouldBlock)
}

/// Starts three servers behind HAProxy. Prints that the test is skipped if HAProxy is not
/// installed.
fn balanced(arguments: &[&str]) -> Option<(Vec<Server>, Balancer)> {
    if !is_installed("haproxy") {
        return None;
    }
    let servers: Vec<Server> = (0..3).map(|_| Server::start(arguments)).collect();
    let balancer = Balancer::start(&servers);
    Some((servers, balancer))
}

// The first of the later connections come before a health check has failed.
#[test]
fn killed_server_cuts_only_its_own_connections() {
    let Some((mut servers, balancer)) = balanced(&[]) else { return };
    let mut clients = balancer.connect_many(30);
    assert_eq!(["a", "b", "c"].map(|server| balancer.connections(server)), [10; 3]);
    let killed = servers.remove(0);
    killed.signal(Signal::KILL);
    killed.wait();
    clients.extend(balancer.connect_many(30));
    let mut cut = 0;
    eventually("the connections of the killed server are cut", || {
        cut += clients.extract_if(.., is_cut).count();
        cut == 10
    });
    clients.iter_mut().for_each(|client| assert_echoes(client, b"still here"));
    eventually("a health check has failed", || balancer.column("a", 17) == "DOWN");
    assert_eq!(["b", "c"].map(|server| balancer.connections(server)), [25; 2]);
    assert!(!balancer.process.stderr().contains("ALERT"), "{}", balancer.process.stderr());
}

#[test]
fn drained_server_keeps_its_connections_and_gets_no_more() {
    let Some((mut servers, balancer)) = balanced(&[]) else { return };
    let mut clients = balancer.connect_many(30);
    balancer.admin("set server echod/b state drain");
    let before = balancer.connections("b");
    let mut later = balancer.connect_many(20);
    assert_eq!((before, balancer.connections("b")), (10, 10));
    clients.iter_mut().for_each(|client| assert_echoes(client, b"still here"));
    drop(clients);
    eventually("all connections are closed", || balancer.connections("b") == 0);
    let drained = servers.remove(1);
    drained.signal(Signal::TERM);
    assert_eq!(drained.wait().status.code(), Some(0));
    later.iter_mut().for_each(|client| assert_echoes(client, b"still here"));
    balancer.connect_many(10);
    later.iter_mut().for_each(|client| assert_echoes(client, b"still here"));
    assert!(!balancer.process.stderr().contains("ALERT"), "{}", balancer.process.stderr());
}

// The port of a frozen server is open and the kernel completes connections, but no echo comes back.
#[test]
fn frozen_server_is_down_until_it_echoes_again() {
    let Some((servers, balancer)) = balanced(&[]) else { return };
    let mut clients = balancer.connect_many(30);
    servers[2].freeze();
    eventually("the health check fails", || balancer.column("c", 17) == "DOWN");
    servers[2].signal(Signal::CONT);
    eventually("the health check succeeds", || balancer.column("c", 17) == "UP");
    clients.iter_mut().for_each(|client| assert_echoes(client, b"still here"));
}

#[test]
fn haproxy_passes_all_bytes_and_the_eof() {
    let Some((_servers, balancer)) = balanced(&["--threads", "2"]) else { return };
    assert_echoes_to(balancer.address, 10, 4 << 20);
}

#[test]
fn systemd_verifies_the_units() {
    if !is_installed("systemd-analyze") {
        return;
    }
    let folder = folder();
    let file = |name: &str| folder.path().join(name);
    let service = replace(SERVICE, "/usr/local/bin/echod", ECHOD);
    fs::write(file("echod.service"), service).unwrap();
    fs::write(file("echod.socket"), SOCKET).unwrap();
    let mut command = Command::new("systemd-analyze");
    command.args(["verify", "--man=no"]);
    command.args([file("echod.service"), file("echod.socket")]);
    let ended = Server::spawn(command).wait();
    // The exposure may be at most 20 of 100. Without the restrictions of the unit it would be 96.
    let mut command = Command::new("systemd-analyze");
    command.args(["security", "--offline=yes", "--threshold=20", "--no-pager"]);
    command.arg(file("echod.service"));
    let security = Server::spawn(command).wait();
    assert!(security.status.success(), "{security:?}");
    // The tool also checks other units of this system, which the test ignores.
    let ours: Vec<&str> = ended.stderr.lines().filter(|line| line.contains("echod")).collect();
    assert!(ended.status.success() && ours.is_empty(), "{ended:?}");
}

// Without its sockets, the service would bind the default address, which the socket unit uses.
#[test]
fn service_requires_its_sockets() {
    for line in ["Requires=echod.socket", "After=network.target echod.socket"] {
        assert!(SERVICE.lines().any(|found| found == line), "no {line}");
    }
}

#[test]
fn flags_of_the_unit_are_accepted_by_the_server() {
    let start =
        SERVICE.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/echod "));
    let mut arguments: Vec<&str> = start.expect("ExecStart").split(' ').collect();
    arguments.push("127.0.0.1:0");
    let server = Server::start(&arguments);
    assert_echoes(&mut server.connect(), b"x");
}
