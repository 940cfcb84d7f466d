//! Third-party clients: socat, nc and Python.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::thread;

use tests::within_deadline;

use crate::bytes::Random;
use crate::process::is_installed;
use crate::server::Server;

const SIZES: [usize; 4] = [0, 1, 4096, 8 << 20];

#[test]
fn socat_gets_its_bytes_back() {
    if !is_installed("socat") {
        return;
    }
    let server = Server::start(&[]);
    let target = format!("TCP:{}", server.addresses[0]);
    assert_all_come_back(|| {
        let mut socat = Command::new("socat");
        // `-t`: how many seconds socat waits for the answer after the end of its input.
        socat.args(["-t", "20", "-", &target]);
        socat
    });
}

/// Whether `nc -N` is available. If it is not, prints that the test is skipped.
pub(crate) fn has_nc_that_half_closes() -> bool {
    if !is_installed("nc") {
        return false;
    }
    let help = Command::new("nc").arg("-h").output().unwrap();
    let half_closes = String::from_utf8_lossy(&help.stderr).contains("-N");
    if !half_closes {
        println!("skipped: this nc is not OpenBSD's, and cannot half-close");
    }
    half_closes
}

#[test]
fn nc_gets_its_bytes_back() {
    if !has_nc_that_half_closes() {
        return;
    }
    let server = Server::start(&[]);
    let port = server.addresses[0].port().to_string();
    assert_all_come_back(|| {
        let mut nc = Command::new("nc");
        nc.args(["-N", "127.0.0.1", &port]);
        nc
    });
}

#[test]
fn python_gets_its_bytes_back() {
    if !is_installed("python3") {
        return;
    }
    const SCRIPT: &str = "\
import socket, sys, threading
stream = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
def send():
    stream.sendall(sys.stdin.buffer.read())
    stream.shutdown(socket.SHUT_WR)
threading.Thread(target=send).start()
while data := stream.recv(65536):
    sys.stdout.buffer.write(data)
";
    let server = Server::start(&[]);
    let port = server.addresses[0].port().to_string();
    assert_all_come_back(|| {
        let mut python = Command::new("python3");
        python.args(["-c", SCRIPT, &port]);
        python
    });
}

/// Runs a client for each size. Checks that its output equals its input.
#[track_caller]
fn assert_all_come_back(client: impl Fn() -> Command) {
    for size in SIZES {
        let mut bytes = vec![0; size.next_multiple_of(8)];
        Random::new(size as u64).fill(&mut bytes);
        bytes.truncate(size);
        let back = output_of(client(), bytes.clone());
        assert!(back == bytes, "{} of {size} bytes came back", back.len());
    }
}

/// Runs each of these clients that is installed, given by name and arguments. Checks that its
/// output equals its input.
#[track_caller]
pub(crate) fn assert_clients_get_back(clients: &[(&str, &[&str])], input: &str) {
    for (program, arguments) in clients.iter().filter(|(program, _)| is_installed(program)) {
        let mut command = Command::new(program);
        command.args(*arguments);
        let back = output_of(command, input.as_bytes().to_vec());
        assert_eq!(String::from_utf8_lossy(&back), input, "{program}");
    }
}

/// Runs a client with this input, and returns its output. The client must exit successfully.
#[track_caller]
fn output_of(mut command: Command, sent: Vec<u8>) -> Vec<u8> {
    within_deadline(move || {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let sending = thread::spawn(move || input.write_all(&sent));
        let mut back = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut back).unwrap();
        sending.join().unwrap().unwrap();
        assert!(child.wait().unwrap().success());
        back
    })
}

// The chapter on echo shows the default port. The test replaces it by a free one.
#[test]
fn transcript_in_the_readme_is_what_nc_prints() {
    if !has_nc_that_half_closes() {
        return;
    }
    let readme = include_str!("../../echo/README.md");
    let shown = readme.split("<!-- nc -->\n```text\n$ ").nth(1).expect("the mark");
    let shown = shown.split("```").next().and_then(|block| block.split_once('\n'));
    let (line, expected) = shown.expect("a command and its output");
    assert!(line.ends_with(" nc -N 127.0.0.1 7777"), "{line}");
    let server = Server::start(&[]);
    let mut command = Command::new("sh");
    let line = line.replace("7777", &server.addresses[0].port().to_string());
    command.args(["-c", &line]);
    let printed = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&printed.stdout), expected);
}
