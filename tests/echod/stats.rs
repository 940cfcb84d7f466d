//! `--stats` and `--spin`: what the server did, in numbers; and what it does while nothing happens.

use std::collections::HashMap;
use std::iter;
use std::mem;
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use tests::DEADLINE;

use crate::bytes::assert_echoes;
use crate::process::{cpu_time, is_asleep, thread};
use crate::server::{Server, eventually};

/// The numbers of the last line, by their names.
fn last(server: &Server) -> HashMap<String, u64> {
    let stderr = server.stderr();
    let line = stderr.lines().filter_map(|line| line.strip_prefix("stats: ")).next_back();
    let number = |pair: &str| {
        let (name, number) = pair.split_once('=').expect("NAME=NUMBER");
        (name.to_owned(), number.parse().expect("a number"))
    };
    line.unwrap_or_default().split_whitespace().map(number).collect()
}

#[test]
fn the_numbers_of_all_threads_are_told_in_one_line() {
    for threads in ["1", "2"] {
        let arguments = ["--threads", threads, "--stats", "20ms", "127.0.0.1:0", "udp:127.0.0.1:0"];
        let server = Server::start(&arguments);
        let mut clients: Vec<TcpStream> = (0..30).map(|_| server.connect()).collect();
        for _ in 0..10 {
            clients.iter_mut().for_each(|client| assert_echoes(client, b"hello"));
        }
        clients.truncate(20);
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.set_read_timeout(Some(DEADLINE)).unwrap();
        udp.send_to(b"datagram", server.place("udp")).unwrap();
        assert_eq!(udp.recv(&mut [0; 10]).unwrap(), 8);

        let expected =
            [("open", 20), ("connections", 30), ("messages", 301), ("bytes", 30 * 50 + 8)];
        eventually("the numbers are right", || {
            let told = last(&server);
            expected.iter().all(|(name, number)| told.get(*name) == Some(number))
        });
        let told = last(&server);
        assert_eq!(told.len(), 7, "{told:?}");
        // How many would have blocked is a matter of who comes first.
        for (name, least) in [("polls", 30), ("wakes", 30), ("would_blocks", 1)] {
            assert!(told[name] >= least, "{name}: {told:?}");
        }
        assert_eq!(server.stdout().lines().count(), 2, "nothing of it goes to standard output");
    }
}

#[test]
fn the_first_line_comes_after_one_period() {
    let (period, since) = (Duration::from_secs(2), Instant::now());
    let server = Server::start(&["--stats", "2s", "127.0.0.1:0"]);
    eventually("the numbers are told", || !last(&server).is_empty());
    let elapsed = since.elapsed();
    assert!(elapsed >= period && elapsed < period * 7 / 4, "{elapsed:?}");
}

#[test]
fn without_the_flag_no_numbers_are_told() {
    let server = Server::start(&[]);
    assert_echoes(&mut server.connect(), b"x");
    server.signal(rustix::process::Signal::TERM);
    assert!(!server.wait().stderr.contains("stats"));
}

// Spinning for so long, a thread uses about as much time after a message, and then sleeps.
#[test]
fn each_thread_looks_for_events_as_long_as_it_is_told_and_then_sleeps() {
    const SPIN: Duration = Duration::from_millis(300);
    for threads in [1, 2] {
        let spinning = used_for_a_message(threads, &["--spin", "300ms"]);
        let sleeping = used_for_a_message(threads, &[]);
        for (&spinning, &sleeping) in spinning.iter().zip(&sleeping) {
            // Others may have had the processor for most of that time.
            let is_right = spinning > 10 * sleeping && spinning < 2 * SPIN;
            assert!(is_right, "{threads} threads: {spinning:?}, and {sleeping:?}");
        }
    }
}

/// The processor time that each of the threads uses when all their clients say something.
fn used_for_a_message(threads: usize, arguments: &[&str]) -> Vec<Duration> {
    let number = threads.to_string();
    let server = Server::start(&[&["--threads", &number], arguments].concat());
    let other = |number| thread(server.pid(), &format!("echod {number}"));
    let ids: Vec<u32> = iter::once(server.pid()).chain((2..=threads).map(other)).collect();
    let unused = used_at_rest(&ids);
    let mut clients = Vec::new();
    // The kernel chooses the thread.
    eventually("each thread has a client", || {
        clients.push(server.connect());
        used_at_rest(&ids).iter().zip(&unused).all(|(used, unused)| used > unused)
    });
    let before = used_at_rest(&ids);
    clients.iter_mut().for_each(|client| assert_echoes(client, b"x"));
    let after = used_at_rest(&ids);
    after.iter().zip(before).map(|(after, before)| *after - before).collect()
}

/// The processor time that each of the threads has used, as soon as all of them sleep.
fn used_at_rest(ids: &[u32]) -> Vec<Duration> {
    let mut used = Vec::new();
    eventually("all threads sleep", || {
        let before = mem::replace(&mut used, ids.iter().map(|&id| cpu_time(id)).collect());
        ids.iter().all(|&id| is_asleep(id)) && used == before
    });
    used
}
