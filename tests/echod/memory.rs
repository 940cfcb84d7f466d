//! What connections cost the server: memory while they wait, and time while they are silent.

use std::io::{ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread::{self, sleep};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::bytes::{Random, assert_echoes, assert_receives, fill, read_to_end, send};
use crate::process::{cpu_time, is_asleep, memory};
use crate::server::{Server, crowd, eventually};

// 64 MiB, of which the client reads none before nothing moves any more.
#[test]
fn who_sends_without_reading_costs_at_most_320_kib_and_loses_no_byte() {
    const BYTES: usize = 64 << 20;
    let server = Server::start(&[]);
    let mut client = server.connect();
    assert_echoes(&mut client, b"x");
    let before = memory(server.pid());
    let sent = fill(&client, Random::new(1));
    let cost = memory(server.pid()) - before;
    println!("{sent} bytes without reading cost {cost} bytes");
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
fn three_hundred_peers_that_do_not_read_cost_64_kib_each_and_no_time() {
    const CLIENTS: usize = 300;
    let Some(_crowd) = crowd(CLIENTS as u64) else { return };
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
    eventually("half-closed connections that stand still cost no time", || {
        let before = cpu_time(server.pid());
        sleep(Duration::from_millis(100));
        cpu_time(server.pid()) - before < Duration::from_millis(5)
    });
    drop(clients);

    // What was freed serves the next ones. That the allocator gives it back to the system cannot
    // be promised: whatever lives at the end of its heap holds on to the rest. Nor does the kernel
    // stop each crowd at the same point; but if nothing came back, two more would cost twice as
    // much again.
    for _ in 0..2 {
        drop(stalled(&server, CLIENTS));
    }
    let again = memory(server.pid());
    assert!(again < 2 * peak, "{again} bytes after {peak}");
}

/// Clients that send without reading, until the kernel takes nothing more from anybody, and the
/// server rests.
fn stalled(server: &Server, clients: usize) -> Vec<TcpStream> {
    let clients: Vec<TcpStream> =
        (0..clients).map(|_| with_little_room(server.addresses[0])).collect();
    let chunk = [7; 1 << 16];
    for client in &clients {
        client.set_nonblocking(true).unwrap();
    }
    // Twice in a row: what the server has just sent may have made room for more.
    let mut quiet = 0;
    eventually("nothing moves any more", || {
        let wrote = clients.iter().filter(|client| write_some(client, &chunk)).count();
        quiet = if wrote == 0 && is_asleep(server.pid()) { quiet + 1 } else { 0 };
        if wrote == 0 {
            sleep(Duration::from_millis(10));
        }
        quiet == 2
    });
    clients
}

#[test]
fn five_hundred_idle_connections_cost_800_bytes_each_and_no_time() {
    const CLIENTS: usize = 500;
    let Some(_crowd) = crowd(CLIENTS as u64) else { return };
    let server = Server::start(&["--idle", "10m"]);
    let mut first = server.connect();
    assert_echoes(&mut first, b"x");
    let empty = memory(server.pid());
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_echoes(client, b"hello");
    }
    let cost = (memory(server.pid()).saturating_sub(empty)) / CLIENTS as u64;
    let before = cpu_time(server.pid());
    sleep(Duration::from_secs(1));
    let used = cpu_time(server.pid()) - before;
    println!("{cost} bytes each, {used:?} in a second");
    assert!(cost <= 800, "{cost} bytes each");
    assert!(used < Duration::from_millis(3), "{used:?} in a second of silence");
}

/// A client for whom the kernel keeps little, so that hundreds of them fill up soon.
fn with_little_room(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.set_send_buffer_size(1 << 16).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.into()
}

fn write_some(mut client: &TcpStream, bytes: &[u8]) -> bool {
    match client.write(bytes) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        Err(error) => panic!("sending: {error}"),
    }
}
