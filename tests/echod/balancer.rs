//! Beyond one machine: several servers behind HAProxy. And the files of `echo/dist`, which run them.

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

/// HAProxy, with the configuration of `echo/dist` but for the addresses.
struct Balancer {
    process: Server,
    address: SocketAddr,
    folder: TempDir,
}

impl Balancer {
    fn start(servers: &[Server]) -> Balancer {
        let folder = folder();
        // It gets its listener from us: nobody can take a port away that it has already.
        let mut text = replace(CONFIGURATION, "bind 127.0.0.1:7777", "bind fd@3");
        // HAProxy needs twice as many descriptors, and does not start without them.
        text = replace(&text, "maxconn 4000", "maxconn 200");
        let admin = folder.path().join("admin");
        text = replace(&text, "/run/haproxy-echod.sock", admin.to_str().unwrap());
        for (server, told) in servers.iter().zip(7781..) {
            let place = format!(" 127.0.0.1:{told}\n");
            text = replace(&text, &place, &format!(" {}\n", server.addresses[0]));
        }
        let file = folder.path().join("haproxy.cfg");
        fs::write(&file, text).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "exec 3<&0 0</dev/null; exec haproxy -db -f \"$0\""]).arg(file);
        let balancer = Balancer { process: Server::spawn_with(command, listener), address, folder };
        eventually("HAProxy runs", || UnixStream::connect(&admin).is_ok());
        eventually("it knows that all are healthy", || {
            ["a", "b", "c"].iter().all(|server| balancer.column(server, 17) == "UP")
        });
        balancer
    }

    fn connect_many(&self, clients: usize) -> Vec<TcpStream> {
        let mut clients: Vec<TcpStream> = (0..clients).map(|_| connect(self.address)).collect();
        clients.iter_mut().for_each(|client| assert_echoes(client, b"hello"));
        clients
    }

    /// Says something to its admin socket, and returns the answer.
    fn admin(&self, command: &str) -> String {
        let mut stream = UnixStream::connect(self.folder.path().join("admin")).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        writeln!(stream, "{command}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// A column of what it knows of a server.
    fn column(&self, server: &str, column: usize) -> String {
        let table = self.admin("show stat");
        let row = table.lines().find(|line| line.starts_with(&format!("echod,{server},")));
        row.expect("its row").split(',').nth(column).unwrap().to_owned()
    }

    /// How many connections a server has now.
    fn connections(&self, server: &str) -> usize {
        self.column(server, 4).parse().unwrap()
    }
}

/// In that text, which has it.
#[track_caller]
fn replace(text: &str, old: &str, new: &str) -> String {
    assert!(text.contains(old), "{old:?} is not in {text}");
    text.replace(old, new)
}

/// Whether the other end has closed it, or reset it.
fn is_cut(client: &mut TcpStream) -> bool {
    client.set_nonblocking(true).unwrap();
    let read = client.read(&mut [0; 16]).map_err(|error| error.kind());
    client.set_nonblocking(false).unwrap();
    read != Err(std::io::ErrorKind::WouldBlock)
}

#[test]
fn behind_haproxy_one_server_is_killed_and_one_drained_and_no_other_connection_is_hurt() {
    if !is_installed("haproxy") {
        return;
    }
    let mut servers: Vec<Server> = (0..3).map(|_| Server::start(&[])).collect();
    let balancer = Balancer::start(&servers);
    let mut clients = balancer.connect_many(30);
    assert_eq!(["a", "b", "c"].map(|server| balancer.connections(server)), [10; 3]);

    // Killed: its connections are cut, and nobody who comes after that notices. The first ones
    // come before any check has failed.
    let killed = servers.remove(0);
    killed.signal(Signal::KILL);
    killed.wait();
    clients.extend(balancer.connect_many(30));
    let mut cut = 0;
    eventually("as many as it had are cut", || {
        cut += clients.extract_if(.., is_cut).count();
        cut == 10
    });
    clients.iter_mut().for_each(|client| assert_echoes(client, b"not hurt"));
    eventually("its death is noticed", || balancer.column("a", 17) == "DOWN");

    // Drained: it gets nobody new, and keeps whom it has until they go.
    balancer.admin("set server echod/b state drain");
    let left = balancer.connections("b");
    let mut later = balancer.connect_many(20);
    assert_eq!((left, balancer.connections("b")), (25, 25));
    clients.iter_mut().for_each(|client| assert_echoes(client, b"not hurt"));
    drop(clients);
    eventually("all have gone", || balancer.connections("b") == 0);
    let drained = servers.remove(0);
    drained.signal(Signal::TERM);
    assert_eq!(drained.wait().status.code(), Some(0));
    later.iter_mut().for_each(|client| assert_echoes(client, b"not hurt"));
    balancer.connect_many(10);
    later.iter_mut().for_each(|client| assert_echoes(client, b"not hurt"));
    assert!(!balancer.process.stderr().contains("ALERT"), "{}", balancer.process.stderr());

    // Frozen: its port is open, and the system accepts, but nobody echoes.
    servers[0].freeze();
    eventually("who does not echo is not healthy", || balancer.column("c", 17) == "DOWN");
    servers[0].signal(Signal::CONT);
    eventually("who echoes again is", || balancer.column("c", 17) == "UP");
    later.iter_mut().for_each(|client| assert_echoes(client, b"not hurt"));
}

#[test]
fn bytes_and_their_end_come_back_through_haproxy() {
    if !is_installed("haproxy") {
        return;
    }
    let servers: Vec<Server> = (0..3).map(|_| Server::start(&["--threads", "2"])).collect();
    let balancer = Balancer::start(&servers);
    assert_echoes_to(balancer.address, 10, 4 << 20);
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
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
    // Without what is taken from it, it would be at 9.6 of 10.
    let mut command = Command::new("systemd-analyze");
    command.args(["security", "--offline=yes", "--threshold=20", "--no-pager"]);
    command.arg(file("echod.service"));
    let security = Server::spawn(command).wait();
    assert!(security.status.success(), "{security:?}");
    // It also reads the other units of the system, about which we can do nothing.
    let ours: Vec<&str> = ended.stderr.lines().filter(|line| line.contains("echod")).collect();
    assert!(ended.status.success() && ours.is_empty(), "{ended:?}");
}

// Without an address and without the sockets it would serve the default, and take it from them.
#[test]
fn the_service_never_starts_without_its_sockets() {
    for line in ["Requires=echod.socket", "After=network.target echod.socket"] {
        assert!(SERVICE.lines().any(|found| found == line), "no {line}");
    }
}

#[test]
fn the_flags_of_the_unit_are_flags_of_the_server() {
    let start =
        SERVICE.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/echod "));
    let mut arguments: Vec<&str> = start.expect("ExecStart").split(' ').collect();
    arguments.push("127.0.0.1:0");
    let server = Server::start(&arguments);
    assert_echoes(&mut server.connect(), b"x");
}
