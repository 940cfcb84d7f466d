//! A stream forwarded into a sink: an echo of lines, with asynchronous-codec.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use asynchronous_codec::{Framed, LinesCodec};
use executor::{spawn, spawn_blocking};
use futures_util::{StreamExt, TryStreamExt};
use tests::child::example;
use tests::{run, tcp_pair_with_std, within_deadline};

use crate::tools::Running;

// Method: the client's writes split lines, and exceed what the socket buffers hold. Another thread
// reads concurrently.
#[test]
fn lines_forwarded_into_a_sink_come_back() {
    run(|| async {
        let (ours, mut client) = tcp_pair_with_std().await.unwrap();
        let echo = spawn(async move {
            let (sink, lines) = Framed::new(ours, LinesCodec).split();
            lines.map_ok(|line| line.to_uppercase()).forward(sink).await
        });
        let lines: String = (0..200_000).map(|number| format!("line {number}\n")).collect();
        let (sent, mut writer) = (lines.clone(), client.try_clone().unwrap());
        let sending = spawn_blocking(move || {
            for piece in sent.as_bytes().chunks(4_001) {
                writer.write_all(piece).unwrap();
            }
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let receiving = spawn_blocking(move || {
            let mut back = String::new();
            client.read_to_string(&mut back).unwrap();
            back
        });
        let back = receiving.await.unwrap();
        assert!(back == lines.to_uppercase(), "{} of {} bytes", back.len(), lines.len());
        sending.await.unwrap();
        echo.await.unwrap().unwrap();
    });
}

// Method: the second half of a line arrives after another client has connected and disconnected.
#[test]
fn example_lines_echoes_each_line_to_its_client() {
    let lines = example("interop", "lines");
    within_deadline(|| {
        let lines = Running::start(lines);
        let mut client = TcpStream::connect(&lines.address).unwrap();
        client.write_all(b"one\ntw").unwrap();
        let mut line = [0; 4];
        client.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"one\n");

        let mut other = TcpStream::connect(&lines.address).unwrap();
        other.write_all(b"hello\n").unwrap();
        assert_eq!(rest(&mut other), "hello\n");

        client.write_all(b"o\nthree\n").unwrap();
        assert_eq!(rest(&mut client), "two\nthree\n");
    });
}

/// Shuts down the client's writes, and returns the rest of what it receives.
fn rest(client: &mut TcpStream) -> String {
    client.shutdown(Shutdown::Write).unwrap();
    let mut rest = String::new();
    client.read_to_string(&mut rest).unwrap();
    rest
}
