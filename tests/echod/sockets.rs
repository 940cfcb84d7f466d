//! The examples of sockets other than TCP: each runs to its end and tells what happened.

use std::process::Command;

use tests::folder;

use crate::server::Server;
use crate::three_echoes::example;

#[track_caller]
fn assert_tells(name: &str, told: &str) {
    let mut command = Command::new(example(name));
    let folder = folder();
    command.env("TMPDIR", folder.path());
    let ended = Server::spawn(command).wait();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    assert_eq!(ended.stdout, told);
}

#[test]
fn the_udp_echo_keeps_the_bounds_of_datagrams_and_learns_that_its_server_has_gone() {
    let told = "3 bytes sent, 3 bytes echoed\n\
                0 bytes sent, 0 bytes echoed\n\
                11 bytes sent, 11 bytes echoed\n\
                the server has gone: Connection refused (os error 111)\n";
    assert_tells("udp_echo", told);
}

#[test]
fn the_chat_over_a_unix_socket_lets_a_guest_hear_all_that_happens() {
    let told = "Ada hears: Ada comes\n\
                Ada hears: Grace comes\n\
                Ada hears: Grace says Hello!\n\
                Ada hears: Grace leaves\n";
    assert_tells("chat", told);
}
