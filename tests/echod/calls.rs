//! The system calls that the server makes, as strace sees them: how many, and in which order.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use tests::{Place, place};

use crate::bytes::assert_echoes;
use crate::process::{is_installed, is_traced, may_wait_in_a_backlog};
use crate::server::{ECHOD, Server, eventually};

#[test]
fn a_message_costs_three_system_calls_and_no_attempt_in_vain() {
    const MESSAGES: usize = 200;
    let server = Server::start(&["--idle", "1m"]);
    let mut client = server.connect();
    let Some(trace) = Trace::start(&server, &mut client) else { return };
    for _ in 0..MESSAGES {
        assert_echoes(&mut client, b"hello");
    }
    let calls = trace.stop(MESSAGES);
    assert_eq!(calls.count("recvfrom("), MESSAGES, "{calls:#?}");
    assert_eq!(calls.count("sendto("), MESSAGES, "{calls:#?}");
    assert_eq!(calls.count("epoll_wait("), MESSAGES - 1, "one between two messages: {calls:#?}");
    assert_eq!(calls.others(), 0, "{calls:#?}");
    assert_eq!(calls.count("EAGAIN"), 0, "{calls:#?}");
}

// The server is frozen while the clients send, so that it finds all of them ready.
#[test]
fn many_busy_connections_cost_two_system_calls_per_message_and_share_the_wait() {
    const CLIENTS: usize = 50;
    const ROUNDS: usize = 10;
    let server = Server::start(&[]);
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| assert_echoes(client, b"warm up"));
    let Some(trace) = Trace::start(&server, &mut clients[0]) else { return };
    for _ in 0..ROUNDS {
        server.freeze();
        for client in &mut clients {
            client.write_all(b"hello").unwrap();
        }
        server.signal(Signal::CONT);
        for client in &mut clients {
            client.read_exact(&mut [0; 5]).unwrap();
        }
    }
    let calls = trace.stop(ROUNDS * CLIENTS);
    assert_eq!(calls.count("recvfrom("), ROUNDS * CLIENTS, "{calls:#?}");
    assert_eq!(calls.count("sendto("), ROUNDS * CLIENTS, "{calls:#?}");
    // One for the batch; freezing and continuing interrupt some more.
    let waits = calls.count("epoll_wait(");
    assert!(waits <= 5 * ROUNDS, "{waits} waits for {ROUNDS} rounds");
    assert_eq!(calls.others(), 0, "{calls:#?}");
    assert_eq!(calls.count("EAGAIN"), 0, "{calls:#?}");
}

// Three hundred wait in the backlog before a message comes: it is answered after two budgets of
// accepting at most. One, if its event comes with theirs; if it comes a turn later, one more was
// queued before it.
// Pitfall: E3
#[test]
fn a_flood_of_connects_does_not_hold_up_open_connections() {
    if !may_wait_in_a_backlog(300) {
        return;
    }
    let server = Server::start(&[]);
    let mut client = server.connect();
    let Some(trace) = Trace::start(&server, &mut client) else { return };
    server.freeze();
    let _crowd: Vec<TcpStream> = (0..300).map(|_| server.connect()).collect();
    client.write_all(b"hello").unwrap();
    server.signal(Signal::CONT);
    client.read_exact(&mut [0; 5]).unwrap();
    eventually("strace has seen the answer", || trace.read().answers() == 1);
    let calls = trace.stop_at_once();
    let answer = calls.0.iter().position(|call| is_message(call, "sendto(")).unwrap();
    let accepted = calls.0[..answer].iter().filter(|call| call.starts_with("accept4(")).count();
    assert!(accepted <= 2 * 128, "{accepted} were accepted before the answer");
}

// One connection floods: it nearly always has something to read, and room to write.
// Pitfall: E5, E4
#[test]
fn a_flood_moves_but_one_buffer_before_the_server_looks_at_the_others() {
    const BUFFER: usize = 256 * 1024;
    let server = Server::start(&[]);
    let flood = server.connect();
    let (mut sender, mut receiver) = (flood.try_clone().unwrap(), flood.try_clone().unwrap());
    let sending = thread::spawn(move || while sender.write_all(&[7; 1 << 18]).is_ok() {});
    let receiving = thread::spawn(move || {
        let mut bytes = vec![0; 1 << 20];
        while receiver.read(&mut bytes).is_ok_and(|bytes| bytes > 0) {}
    });
    let calls = Trace::start(&server, &mut server.connect()).map(|trace| {
        let before = trace.read().count("recvfrom(");
        eventually("the flood flows", || trace.read().count("recvfrom(") >= before + 200);
        trace.stop_at_once()
    });
    flood.shutdown(Shutdown::Both).unwrap();
    sending.join().unwrap();
    receiving.join().unwrap();
    let Some(calls) = calls else { return };
    for round in calls.0.split(|call| call.starts_with("epoll_wait(")) {
        // All but the messages of one byte.
        let moved: usize =
            round.iter().filter_map(|call| received(call)).filter(|&bytes| bytes > 1).sum();
        assert!(moved <= BUFFER, "{moved} bytes before the next wait: {round:#?}");
    }
}

#[test]
fn the_demo_makes_no_call_for_a_line_of_the_log_that_nobody_writes() {
    if !is_installed("strace") {
        return;
    }
    let mut strace = Command::new("strace");
    strace.args(["-qq", "-e", "accept4,getpeername", ECHOD, "--demo"]);
    let output = strace.output().expect("strace is installed");
    let calls = String::from_utf8_lossy(&output.stderr);
    if !calls.contains("accept4(") {
        println!("skipped: strace may not watch other processes here");
        return;
    }
    assert!(!calls.contains("getpeername("), "{calls}");
}

/// strace, attached to a server.
struct Trace {
    strace: Child,
    file: Place,
}

/// What strace wrote, a line for each system call.
#[derive(Debug)]
struct Calls(Vec<String>);

impl Trace {
    /// Begins to watch; or says that there is no strace here that may. The client helps to see
    /// that it does: messages of one byte are none that are counted.
    fn start(server: &Server, client: &mut TcpStream) -> Option<Trace> {
        let file = place();
        let output = file.to_str().expect("a temporary folder with a plain name");
        let strace = attach(server, &["-e", "signal=none", "-s", "0", "-o", output])?;
        let trace = Trace { strace, file };
        eventually("strace sees what happens", || {
            assert_echoes(client, b"x");
            trace.read().count("sendto(") > 0
        });
        Some(trace)
    }

    fn read(&self) -> Calls {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        let is_call = |line: &&str| !line.starts_with("---") && !line.starts_with("strace:");
        Calls(text.lines().filter(is_call).map(str::to_owned).collect())
    }

    fn stop_at_once(mut self) -> Calls {
        detach(&mut self.strace);
        self.read()
    }

    /// Stops after so many messages, and returns what was called from the first to the last.
    fn stop(self, messages: usize) -> Calls {
        eventually("strace has seen all messages", || self.read().answers() == messages);
        let mut calls = self.stop_at_once().0;
        let first = calls.iter().position(|call| is_message(call, "recvfrom(")).unwrap();
        let last = calls.iter().rposition(|call| is_message(call, "sendto(")).unwrap();
        Calls(calls.drain(first..=last).collect())
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}

/// Runs strace on a server; prints why the test is skipped if strace is missing or not permitted.
fn attach(server: &Server, arguments: &[&str]) -> Option<Child> {
    if !is_installed("strace") {
        return None;
    }
    let mut command = Command::new("strace");
    command.args(["-p", &server.pid().to_string()]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut strace = command.spawn().expect("strace is installed");
    let mut refused = false;
    eventually("strace is attached", || {
        refused = strace.try_wait().is_ok_and(|ended| ended.is_some());
        refused || is_traced(server.pid())
    });
    if refused {
        println!("skipped: strace may not watch other processes here");
        return None;
    }
    Some(strace)
}

/// Ends strace, which lets the server run on.
fn detach(strace: &mut Child) {
    kill_process(Pid::from_child(strace), Signal::INT).unwrap();
    strace.wait().unwrap();
}

/// A system call of a server that returns an error each time, without being executed.
pub(crate) struct Injection(Child);

impl Injection {
    /// Begins to inject; prints why the test is skipped if strace is missing or not permitted.
    pub(crate) fn start(server: &Server, call: &str, errno: i32) -> Option<Injection> {
        let inject = format!("inject={call}:error={errno}");
        attach(server, &["-e", &format!("trace={call}"), "-e", &inject]).map(Injection)
    }

    /// Lets the system call through again.
    pub(crate) fn stop(&mut self) {
        detach(&mut self.0);
    }
}

impl Drop for Injection {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Calls {
    fn count(&self, text: &str) -> usize {
        self.0.iter().filter(|call| call.contains(text)).count()
    }

    /// Messages that were sent back.
    fn answers(&self) -> usize {
        self.0.iter().filter(|call| is_message(call, "sendto(")).count()
    }

    /// Calls other than those that every message costs.
    fn others(&self) -> usize {
        let usual = ["epoll_wait(", "recvfrom(", "sendto(", "restart_syscall("];
        let is_usual = |call: &&String| usual.iter().any(|name| call.starts_with(name));
        self.0.len() - self.0.iter().filter(is_usual).count()
    }
}

/// The bytes that a call received.
fn received(call: &str) -> Option<usize> {
    call.strip_prefix("recvfrom(")?.rsplit("= ").next()?.parse().ok()
}

/// Whether a call moved the bytes of a "hello".
fn is_message(call: &str, name: &str) -> bool {
    call.starts_with(name) && call.ends_with(" = 5")
}
