//! Programs of this machine, as clients; and our examples, as servers.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;

/// Whether a program is installed; else says that the test is skipped.
pub(crate) fn is_installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

/// What a program prints, with `input` as its standard input.
///
/// # Panics
///
/// With what it says, if it fails.
#[track_caller]
pub(crate) fn output(program: &str, arguments: &[&str], input: Vec<u8>) -> Vec<u8> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    writer.join().unwrap().unwrap();
    output.stdout
}

/// What curl gets. It gives up on its own, sooner than the test.
#[track_caller]
pub(crate) fn curl(arguments: &[&str], body: Vec<u8>) -> Vec<u8> {
    let fixed = ["--silent", "--show-error", "--fail", "--max-time", "15", "--noproxy", "*"];
    output("curl", &[&fixed, arguments].concat(), body)
}

/// Whether this curl speaks HTTP/2; else says that the test is skipped.
pub(crate) fn curl_speaks_http_2() -> bool {
    if !is_installed("curl") {
        return false;
    }
    let version = output("curl", &["--version"], Vec::new());
    let speaks = String::from_utf8_lossy(&version).contains("HTTP2");
    if !speaks {
        println!("skipped: this curl does not speak HTTP/2");
    }
    speaks
}

/// A server that ends with the test, also if that fails.
pub(crate) struct Running {
    child: Child,
    /// Where it listens, as it says itself.
    pub(crate) place: String,
}

impl Running {
    /// Starts an example, at a port that is free.
    pub(crate) fn start(program: PathBuf) -> Running {
        let mut command = Command::new(program);
        let child = command.arg("127.0.0.1:0").stdout(Stdio::piped()).spawn();
        let mut running = Running { child: child.unwrap(), place: String::new() };
        let mut line = String::new();
        BufReader::new(running.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let place = line.trim().strip_prefix("listening on ").expect("it says where");
        running.place.push_str(place);
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
