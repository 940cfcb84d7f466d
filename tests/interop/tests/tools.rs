//! Installed programs as clients, and our examples as servers.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;

/// Whether a program is installed. If it is not, prints that the test is skipped.
pub(crate) fn is_installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

/// Runs a program with `input` as its standard input, and returns what it prints.
///
/// # Panics
///
/// Panics with the standard error of the program if it fails.
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

/// Runs curl, and returns the body that it gets. Its timeout is shorter than the test's deadline.
#[track_caller]
pub(crate) fn curl(arguments: &[&str], body: Vec<u8>) -> Vec<u8> {
    let fixed = ["--silent", "--show-error", "--fail", "--max-time", "15", "--noproxy", "*"];
    output("curl", &[&fixed, arguments].concat(), body)
}

/// Whether curl is installed and speaks HTTP/2. If not, prints that the test is skipped.
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

/// A server that is killed when this is dropped, even if the test fails.
pub(crate) struct Running {
    child: Child,
    /// The address that the server prints.
    pub(crate) address: String,
}

impl Running {
    /// Starts an example on a free port.
    pub(crate) fn start(program: PathBuf) -> Running {
        let mut command = Command::new(program);
        let child = command.arg("127.0.0.1:0").stdout(Stdio::piped()).spawn();
        let mut running = Running { child: child.unwrap(), address: String::new() };
        let mut line = String::new();
        BufReader::new(running.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address =
            line.trim().strip_prefix("listening on ").expect("the server prints its address");
        running.address.push_str(address);
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
