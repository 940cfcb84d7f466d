//! The memory and CPU time that stalled and idle connections take.

use std::io::{ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use tests::DEADLINE;

use crate::bytes::{Random, assert_echoes, assert_receives, fill, read_to_end, send};
use crate::calls::calls_in;
use crate::process::{cpu_time, cpu_time_of_threads, is_asleep, memory};
use crate::server::{Server, eventually, many_connections};

// The client sends 64 MiB. It starts reading only when the connection accepts no more bytes.
#[test]
fn unread_echo_takes_at_most_320_kib() {
    const BYTES: usize = 64 << 20;
    let server = Server::start(&[]);
    let mut client = server.connect();
    assert_echoes(&mut client, b"x");
    let before = memory(server.pid());
    let sent = fill(&client, Random::new(1));
    let cost = memory(server.pid()) - before;
    println!("{sent} unread bytes take {cost} bytes");
    assert!(cost <= 320 * 1024, "{cost} bytes");

    let sender = client.try_clone().unwrap();
    let sending = thread::spawn(move || {
        send(&sender, Random::new(2), BYTES - sent).unwrap();
        sender.shutdown(Shutdown::Write).unwrap();
    });
    assert_receives(&client, &mut Random::new(1), sent);
    assert_receives(&client, &mut Random::new(2), BYTES - sent);
    assert_eq!(read_to_end(&client), b"");
    sending.join().unwrap();
}

// Pitfall: T5, E2
#[test]
fn stalled_connection_takes_at_most_64_kib_and_no_cpu() {
    const CLIENTS: usize = 300;
    let Some(_permit) = many_connections(CLIENTS as u64) else { return };
    let server = Server::start(&[]);
    assert_echoes(&mut server.connect(), b"x");
    let empty = memory(server.pid());
    let clients = stalled(&server, CLIENTS);
    let peak = memory(server.pid());
    let cost = (peak - empty) / CLIENTS as u64;
    println!("{cost} bytes each");
    assert!(cost <= 64 * 1024, "{cost} bytes each");

    for client in &clients {
        client.shutdown(Shutdown::Write).unwrap();
    }
    eventually("stalled half-closed connections use no CPU time", || {
        let before = cpu_time(server.pid());
        sleep(Duration::from_millis(100));
        cpu_time(server.pid()) - before < Duration::from_millis(5)
    });
    drop(clients);

    // The server frees the memory, so the next connections reuse it. The test does not require that
    // the allocator returns memory to the OS, because one live allocation at the end of the heap
    // prevents that. A connection holds 20 to 50 KiB when it stalls, depending on how many bytes
    // the kernel has accepted, so the bound is loose. But without reuse, six runs would take at
    // least 120 KiB for each connection.
    for _ in 0..5 {
        drop(stalled(&server, CLIENTS));
    }
    let again = (memory(server.pid()) - empty) / CLIENTS as u64;
    println!("{again} bytes each after five more runs");
    assert!(again <= 96 * 1024, "{again} bytes each after {cost}");
}

/// Returns clients that have sent without reading until the kernel accepts no more bytes from any
/// of them and the server sleeps.
fn stalled(server: &Server, clients: usize) -> Vec<TcpStream> {
    let clients: Vec<TcpStream> =
        (0..clients).map(|_| connect_with_small_buffers(server.addresses[0])).collect();
    let chunk = [7; 1 << 16];
    for client in &clients {
        client.set_nonblocking(true).unwrap();
    }
    // Twice in a row, because the bytes that the server has just sent may have freed buffer space.
    // Filling the kernel's buffers may take longer than the usual deadline on a busy machine.
    let (mut quiet, start) = (0, Instant::now());
    while quiet < 2 {
        let wrote = clients.iter().filter(|client| write_some(client, &chunk)).count();
        quiet = if wrote == 0 && is_asleep(server.pid()) { quiet + 1 } else { 0 };
        if wrote == 0 {
            sleep(Duration::from_millis(10));
        }
        assert!(start.elapsed() < 6 * DEADLINE, "the clients can still send");
    }
    clients
}

#[test]
fn idle_connection_takes_at_most_800_bytes_and_no_cpu() {
    const CLIENTS: usize = 500;
    let Some(_permit) = many_connections(CLIENTS as u64) else { return };
    let server = Server::start(&["--idle", "10m"]);
    let (_clients, cost) = connect_idle(&server, CLIENTS);
    let used = cpu_time_in(&server, Duration::from_secs(1));
    println!("{cost} bytes each, {used:?} in a second");
    assert!(cost <= 800, "{cost} bytes each");
    assert!(used < Duration::from_millis(3), "{used:?} in an idle second");
}

#[test]
#[ignore = "opens 10,000 connections, and takes half a minute"]
fn ten_thousand_idle_connections_cause_no_system_call() {
    const CLIENTS: usize = 10_000;
    const TIME: Duration = Duration::from_secs(10);
    let Some(_permit) = many_connections(CLIENTS as u64) else { return };
    for arguments in [&["--idle", "10m"], &["--threads", "2"]] {
        let server = Server::start(arguments);
        let (_clients, cost) = connect_idle(&server, CLIENTS);
        let used = cpu_time_in(&server, TIME);
        let calls = calls_in(&server, TIME);
        println!("{arguments:?}: {cost} bytes each; {used:?} and {calls:?} calls in {TIME:?}");
        assert!(cost <= 800, "{cost} bytes each");
        assert!(used < Duration::from_millis(3), "{used:?} in {TIME:?}");
        assert!(calls.is_none_or(|calls| calls == 0), "{calls:?} system calls in {TIME:?}");
    }
}

/// Connects clients that have exchanged one message, and returns the memory that each takes in the
/// server.
fn connect_idle(server: &Server, clients: usize) -> (Vec<TcpStream>, u64) {
    assert_echoes(&mut server.connect(), b"x");
    let empty = memory(server.pid());
    let connected: Vec<TcpStream> = (0..clients)
        .map(|_| {
            let mut client = server.connect();
            assert_echoes(&mut client, b"hello");
            client
        })
        .collect();
    let cost = memory(server.pid()).saturating_sub(empty) / clients as u64;
    (connected, cost)
}

/// Returns the CPU time that the server uses during this time.
fn cpu_time_in(server: &Server, time: Duration) -> Duration {
    let before = cpu_time_of_threads(server.pid());
    sleep(time);
    cpu_time_of_threads(server.pid()) - before
}

/// Connects with small buffers, so that hundreds of connections fill up quickly.
fn connect_with_small_buffers(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.set_send_buffer_size(1 << 16).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.into()
}

/// Writes once, and returns whether the kernel accepted bytes.
fn write_some(mut client: &TcpStream, bytes: &[u8]) -> bool {
    match client.write(bytes) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        Err(error) => panic!("sending: {error}"),
    }
}
