//! The examples for UDP and Unix sockets, each run to completion.

use std::process::Command;

use tests::folder;

use crate::server::Server;
use crate::three_echoes::example;

#[track_caller]
fn assert_prints(name: &str, output: &str) {
    let mut command = Command::new(example(name));
    let folder = folder();
    command.env("TMPDIR", folder.path());
    let ended = Server::spawn(command).wait();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    assert_eq!(ended.stdout, output);
}

#[test]
fn udp_echo_keeps_datagram_boundaries() {
    let output = "3 bytes sent, 3 bytes echoed\n\
                0 bytes sent, 0 bytes echoed\n\
                11 bytes sent, 11 bytes echoed\n\
                the server has gone: Connection refused (os error 111)\n";
    assert_prints("udp_echo", output);
}

#[test]
fn chat_guest_receives_every_message() {
    let output = "Ada hears: Ada comes\n\
                Ada hears: Grace comes\n\
                Ada hears: Grace says Hello!\n\
                Ada hears: Grace leaves\n";
    assert_prints("chat", output);
}
