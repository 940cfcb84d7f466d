//! The example for files.

use std::process::Command;

use tests::folder;

use crate::server::Server;
use crate::three_echoes::example;

#[test]
fn example_files_finds_the_error() {
    let mut command = Command::new(example("files"));
    let folder = folder();
    command.env("TMPDIR", folder.path());
    let ended = Server::spawn(command).wait();
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(ended.stdout, "day-2.log: error: it rains\n");
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
}
