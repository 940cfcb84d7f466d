//! `--stats`, which prints the server's counters, and `--spin`, which makes an idle server
//! busy-poll.

use std::collections::HashMap;
use std::iter;
use std::mem;
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use tests::DEADLINE;

use crate::bytes::assert_echoes;
use crate::process::{cpu_time, is_asleep, thread};
use crate::server::{Server, eventually};

/// Returns the counters of the last line, by name.
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
fn stats_sum_the_counters_of_all_threads_in_one_line() {
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
        udp.send_to(b"datagram", server.address("udp")).unwrap();
        assert_eq!(udp.recv(&mut [0; 10]).unwrap(), 8);

        let expected =
            [("open", 20), ("connections", 30), ("messages", 301), ("bytes", 30 * 50 + 8)];
        eventually("the counters are right", || {
            let counters = last(&server);
            expected.iter().all(|(name, number)| counters.get(*name) == Some(number))
        });
        let counters = last(&server);
        assert_eq!(counters.len(), 7, "{counters:?}");
        // The exact number of these depends on the order of events.
        for (name, least) in [("polls", 30), ("wakes", 30), ("would_blocks", 1)] {
            assert!(counters[name] >= least, "{name}: {counters:?}");
        }
        assert_eq!(server.stdout().lines().count(), 2, "the counters do not go to standard output");
    }
}

#[test]
fn first_stats_line_is_printed_after_one_period() {
    let (period, since) = (Duration::from_secs(2), Instant::now());
    let server = Server::start(&["--stats", "2s", "127.0.0.1:0"]);
    eventually("the counters are printed", || !last(&server).is_empty());
    let elapsed = since.elapsed();
    assert!(elapsed >= period && elapsed < period * 7 / 4, "{elapsed:?}");
}

#[test]
fn no_stats_are_printed_without_the_flag() {
    let server = Server::start(&[]);
    assert_echoes(&mut server.connect(), b"x");
    server.signal(rustix::process::Signal::TERM);
    assert!(!server.wait().stderr.contains("stats"));
}

// After a message, a spinning thread uses about this much CPU time, and then sleeps.
#[test]
fn each_thread_spins_for_the_given_time_before_it_sleeps() {
    const SPIN: Duration = Duration::from_millis(300);
    for threads in [1, 2] {
        let spinning = used_for_a_message(threads, &["--spin", "300ms"]);
        let sleeping = used_for_a_message(threads, &[]);
        for (&spinning, &sleeping) in spinning.iter().zip(&sleeping) {
            // Other processes may have used the CPU for most of that time.
            let is_right = spinning > 10 * sleeping && spinning < 2 * SPIN;
            assert!(is_right, "{threads} threads: {spinning:?}, and {sleeping:?}");
        }
    }
}

/// Returns the CPU time that each thread uses when each client sends a message.
fn used_for_a_message(threads: usize, arguments: &[&str]) -> Vec<Duration> {
    let number = threads.to_string();
    let server = Server::start(&[&["--threads", &number], arguments].concat());
    let other = |number| thread(server.pid(), &format!("echod {number}"));
    let ids: Vec<u32> = iter::once(server.pid()).chain((2..=threads).map(other)).collect();
    let unused = used_at_rest(&ids);
    let mut clients = Vec::new();
    // The kernel chooses the thread of each connection.
    eventually("each thread has a client", || {
        clients.push(server.connect());
        used_at_rest(&ids).iter().zip(&unused).all(|(used, unused)| used > unused)
    });
    let before = used_at_rest(&ids);
    clients.iter_mut().for_each(|client| assert_echoes(client, b"x"));
    let after = used_at_rest(&ids);
    after.iter().zip(before).map(|(after, before)| *after - before).collect()
}

/// Waits until all threads sleep, and returns the CPU time that each has used.
fn used_at_rest(ids: &[u32]) -> Vec<Duration> {
    let mut used = Vec::new();
    eventually("all threads sleep", || {
        let before = mem::replace(&mut used, ids.iter().map(|&id| cpu_time(id)).collect());
        ids.iter().all(|&id| is_asleep(id)) && used == before
    });
    used
}
