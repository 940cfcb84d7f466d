//! Checks the transcript of log records in the guide, and that one file handles `WouldBlock`.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::PathBuf;

use reactor::io;
use tests::records::{Record, capture};
use tests::{tcp_pair_with_std, within_deadline};

use crate::guide::{read, rust_files};

// There are two exceptions. A standard stream may be non-blocking because another process has made
// it so, and its reads and writes run on a thread of the pool, where no task waits. And a Unix
// socket that waits for space at its peer retries on a timer, because epoll reports no event for
// it.
#[test]
fn would_block_is_handled_in_one_place() {
    let handles = |path: &PathBuf| {
        let text = read(path);
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        // A line that creates the error does not handle it.
        let creates = |line: &str| line.contains("ErrorKind::WouldBlock.into()");
        let names = ["WouldBlock", "Errno::AGAIN", "Errno::WOULDBLOCK", "EAGAIN"];
        code.filter(|line| !creates(line)).any(|line| names.iter().any(|name| line.contains(name)))
    };
    let ours =
        |path: &PathBuf| ["reactor/src", "executor/src"].iter().any(|at| path.starts_with(at));
    let files: Vec<PathBuf> = rust_files().filter(ours).filter(handles).collect();
    let expected = ["os/stdio.rs", "source.rs", "net/unix/room.rs"];
    let expected = expected.map(|file| PathBuf::from("reactor/src").join(file));
    assert_eq!(BTreeSet::from_iter(files), BTreeSet::from(expected));
}

/// Returns the records of the echo of one byte, from its event to the next sleep.
fn records_of_one_byte() -> Vec<Record> {
    let echo = || {
        executor::block_on(async {
            let (mut ours, mut peer) = tcp_pair_with_std().await.unwrap();
            let task = executor::spawn(async move {
                let (reader, writer) = ours.split();
                io::copy(reader, writer).await
            });
            // The client runs on another thread, so it sends while the server sleeps.
            let client = std::thread::spawn(move || {
                for byte in [1, 2] {
                    peer.write_all(&[byte]).unwrap();
                    peer.read_exact(&mut [0]).unwrap();
                }
            });
            task.await.unwrap().unwrap();
            client.join().unwrap();
        })
    };
    let ((), records) = capture(echo);
    // Take the second byte, because the first one also has the records of the start.
    let is_event = |record: &Record| record.kind == "event" && record.get("readable") == "true";
    let begins = records.iter().rposition(|record| record.get("bytes") == "1").unwrap();
    let begins = records[..begins].iter().rposition(is_event).unwrap();
    let ends = begins + records[begins..].iter().position(|record| record.kind == "sleep").unwrap();
    records[begins..=ends].to_vec()
}

/// Returns a record as the README shows it: without false values, and with a short name of the
/// waker.
fn line(record: &Record) -> String {
    let keys = record.keys.iter().filter(|(_, value)| *value != "false").map(|(key, value)| {
        let value = if key == "waker" { "A" } else { value };
        // The transcript shows the numbers of a new `echod`.
        let value = match key.as_str() {
            "source" => "4",
            "task" => "2",
            _ => value,
        };
        format!(" {key}={value}")
    });
    let text = format!("{:19} {:12}{}", record.target, record.kind, keys.collect::<String>());
    text.trim_end().to_owned()
}

#[test]
fn transcript_of_one_byte_shows_the_actual_records() {
    let records = within_deadline(records_of_one_byte);
    let actual: Vec<String> = records.iter().map(line).collect();
    let page = read("echo/learn/map.md");
    let shown = page.split("<!-- transcript: one byte -->\n```text\n").nth(1).expect("the mark");
    let shown = shown.split("\n```").next().unwrap_or_default();
    assert_eq!(shown, actual.join("\n"), "shown and actual records");
}
