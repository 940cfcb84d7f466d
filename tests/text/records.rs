//! The transcript of log records in the guide is true, and `WouldBlock` is handled in one place.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::PathBuf;

use reactor::io;
use tests::records::{Record, capture};
use tests::{tcp_pair_with_std, within_deadline};

use crate::guide::{read, rust_files};

// Two exceptions. The standard streams: a thread of the pool, on which no task waits, may find that
// somebody else has made a descriptor non-blocking. And the room that a Unix socket waits for at the
// other end, of which no event tells.
#[test]
fn would_block_is_handled_in_one_place() {
    let handles = |path: &PathBuf| {
        let text = read(path);
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        // Whoever only says it makes an error of it: all else looks for it.
        let says = |line: &str| line.contains("ErrorKind::WouldBlock.into()");
        let names = ["WouldBlock", "Errno::AGAIN", "Errno::WOULDBLOCK", "EAGAIN"];
        code.filter(|line| !says(line)).any(|line| names.iter().any(|name| line.contains(name)))
    };
    let ours =
        |path: &PathBuf| ["reactor/src", "executor/src"].iter().any(|at| path.starts_with(at));
    let places: Vec<PathBuf> = rust_files().filter(ours).filter(handles).collect();
    let told = ["os/stdio.rs", "source.rs", "net/unix/room.rs"];
    let told = told.map(|file| PathBuf::from("reactor/src").join(file));
    assert_eq!(BTreeSet::from_iter(places), BTreeSet::from(told));
}

/// The records of one byte through an echo, from its event to the next sleep.
fn records_of_one_byte() -> Vec<Record> {
    let echo = || {
        executor::block_on(async {
            let (mut ours, mut peer) = tcp_pair_with_std().await.unwrap();
            let task = executor::spawn(async move {
                let (reader, writer) = ours.split();
                io::copy(reader, writer).await
            });
            // From another thread, as a real client: it speaks when the server sleeps.
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
    // The second byte: all that belongs to the beginning is over.
    let is_event = |record: &Record| record.kind == "event" && record.get("readable") == "true";
    let begins = records.iter().rposition(|record| record.get("bytes") == "1").unwrap();
    let begins = records[..begins].iter().rposition(is_event).unwrap();
    let ends = begins + records[begins..].iter().position(|record| record.kind == "sleep").unwrap();
    records[begins..=ends].to_vec()
}

/// One record as the README shows it: what is false is left out, and the waker has a short name.
fn line(record: &Record) -> String {
    let keys = record.keys.iter().filter(|(_, value)| *value != "false").map(|(key, value)| {
        let value = if key == "waker" { "A" } else { value };
        // The numbers of the server in the transcript are those of a fresh `echod`.
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
fn the_transcript_of_one_byte_is_true() {
    let records = within_deadline(records_of_one_byte);
    let true_lines: Vec<String> = records.iter().map(line).collect();
    let page = read("echo/learn/map.md");
    let told = page.split("<!-- transcript: one byte -->\n```text\n").nth(1).expect("the mark");
    let told = told.split("\n```").next().unwrap_or_default();
    assert_eq!(told, true_lines.join("\n"), "told and true");
}
