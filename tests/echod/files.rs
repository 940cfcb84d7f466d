//! The example of files, as a program.

use std::process::Command;

use crate::server::Server;
use crate::three_echoes::example;

#[test]
fn the_example_of_files_finds_the_one_error_and_leaves_no_file() {
    let mut command = Command::new(example("files"));
    let folder = std::env::temp_dir().join(format!("echod-files-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    command.env("TMPDIR", &folder);
    let ended = Server::spawn(command).wait();
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(ended.stdout, "day-2.log: error: it rains\n");
    // Fails if anything is left in it.
    std::fs::remove_dir(&folder).unwrap();
}
