//! Checks each row of the cancel-safety table in the documentation of `reactor::io`. A test polls
//! the operation once, so that it waits for the peer, and then drops it.

use std::io::{Read, Write};
use std::net;
use std::pin::Pin;

use futures_lite::StreamExt;
use futures_lite::future::poll_once;
use reactor::io::{
    AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter, IoSlice, IoSliceMut, copy,
    sink,
};
use reactor::net::TcpStream;
use tests::{run, tcp_pair_with_std};

/// Runs a test with a socket and its peer, which has already sent `first`.
fn with_input<F: Future<Output = ()>>(
    first: &'static str,
    test: impl FnOnce(TcpStream, net::TcpStream) -> F + Send + 'static,
) {
    run(move || async move {
        let (stream, mut peer) = tcp_pair_with_std().await.unwrap();
        peer.write_all(first.as_bytes()).unwrap();
        // Wait until the bytes have arrived, so that the first poll of the operation takes them.
        if !first.is_empty() {
            assert_eq!(stream.peek(&mut [0; 16]).await.unwrap(), first.len());
        }
        test(stream, peer).await;
    });
}

/// Polls an operation once, checks that it waits, and drops it.
async fn cancel<T>(operation: impl Future<Output = T>) {
    assert!(poll_once(operation).await.is_none(), "the operation did not wait");
}

/// Closes the peer and returns what is left to read.
async fn rest(mut stream: impl reactor::io::AsyncRead + Unpin, peer: net::TcpStream) -> String {
    drop(peer);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    rest
}

#[test]
fn dropped_read_loses_nothing() {
    with_input("", |mut stream, mut peer| async move {
        cancel(stream.read(&mut [0; 4])).await;
        cancel(stream.read_vectored(&mut [IoSliceMut::new(&mut [0; 4])])).await;
        peer.write_all(b"abcd").unwrap();
        assert_eq!(rest(stream, peer).await, "abcd");
    });
}

#[test]
fn dropped_read_exact_loses_the_count_of_bytes() {
    with_input("ab", |mut stream, mut peer| async move {
        let mut buffer = [0; 4];
        cancel(stream.read_exact(&mut buffer)).await;
        // The bytes are in the buffer, but the caller does not learn how many.
        assert_eq!(&buffer, b"ab\0\0");
        peer.write_all(b"cd").unwrap();
        assert_eq!(rest(stream, peer).await, "cd");
    });
}

#[test]
fn dropped_read_to_end_keeps_bytes_in_the_buffer() {
    with_input("ab", |mut stream, mut peer| async move {
        let mut buffer = Vec::new();
        cancel(stream.read_to_end(&mut buffer)).await;
        assert_eq!(buffer, b"ab");
        peer.write_all(b"cd").unwrap();
        drop(peer);
        stream.read_to_end(&mut buffer).await.unwrap();
        assert_eq!(buffer, b"abcd");
    });
}

#[test]
fn dropped_read_to_string_loses_bytes() {
    with_input("ab", |mut stream, mut peer| async move {
        let mut text = String::new();
        cancel(stream.read_to_string(&mut text)).await;
        assert_eq!(text, "");
        peer.write_all(b"cd").unwrap();
        assert_eq!(rest(stream, peer).await, "cd");
    });
}

#[test]
fn dropped_fill_buf_loses_nothing() {
    with_input("", |stream, mut peer| async move {
        let mut reader = BufReader::new(stream);
        cancel(reader.fill_buf()).await;
        peer.write_all(b"abcd").unwrap();
        assert_eq!(rest(reader, peer).await, "abcd");
    });
}

#[test]
fn dropped_read_until_keeps_bytes_in_the_buffer() {
    with_input("ab", |stream, mut peer| async move {
        let (mut reader, mut line) = (BufReader::new(stream), Vec::new());
        cancel(reader.read_until(b'\n', &mut line)).await;
        assert_eq!(line, b"ab");
        peer.write_all(b"cd\n").unwrap();
        reader.read_until(b'\n', &mut line).await.unwrap();
        assert_eq!(line, b"abcd\n");
    });
}

#[test]
fn dropped_read_line_loses_bytes() {
    with_input("ab", |stream, mut peer| async move {
        let (mut reader, mut line) = (BufReader::new(stream), String::new());
        cancel(reader.read_line(&mut line)).await;
        peer.write_all(b"cd\n").unwrap();
        line.clear();
        reader.read_line(&mut line).await.unwrap();
        assert_eq!(line, "cd\n");
    });
}

#[test]
fn dropped_next_line_loses_nothing() {
    with_input("ab", |stream, mut peer| async move {
        let mut lines = BufReader::new(stream).lines();
        cancel(lines.next()).await;
        peer.write_all(b"cd\n").unwrap();
        assert_eq!(lines.next().await.unwrap().unwrap(), "abcd");
    });
}

#[test]
fn dropped_next_part_of_split_loses_nothing() {
    with_input("ab", |stream, mut peer| async move {
        let mut parts = BufReader::new(stream).split(b',');
        cancel(parts.next()).await;
        peer.write_all(b"cd,").unwrap();
        assert_eq!(parts.next().await.unwrap().unwrap(), b"abcd");
    });
}

/// Writes until the socket buffers are full. Returns the number of bytes.
async fn fill(stream: &mut TcpStream) -> usize {
    let mut written = 0;
    while let Some(bytes) = poll_once(stream.write(&[b'x'; 65536])).await {
        written += bytes.unwrap();
    }
    written
}

/// Closes the stream and returns the number of bytes that the peer receives.
fn received(stream: TcpStream, mut peer: net::TcpStream) -> usize {
    drop(stream);
    peer.read_to_end(&mut Vec::new()).unwrap()
}

#[test]
fn dropped_write_writes_nothing() {
    with_input("", |mut stream, peer| async move {
        let filled = fill(&mut stream).await;
        cancel(stream.write(b"abcd")).await;
        cancel(stream.write_vectored(&[IoSlice::new(b"abcd")])).await;
        assert_eq!(received(stream, peer), filled);
    });
}

#[test]
fn dropped_write_all_writes_an_unknown_part() {
    with_input("", |mut stream, peer| async move {
        // More than both socket buffers together can hold.
        let bytes = vec![b'x'; 64 << 20];
        cancel(stream.write_all(&bytes)).await;
        let written = received(stream, peer);
        assert!(0 < written && written < bytes.len(), "{written}");
    });
}

#[test]
fn dropped_flush_keeps_bytes_in_the_writer() {
    with_input("", |mut stream, mut peer| async move {
        let filled = fill(&mut stream).await;
        let mut writer = BufWriter::new(stream);
        writer.write_all(b"abcd").await.unwrap();
        cancel(writer.flush()).await;
        let reader = std::thread::spawn(move || peer.read_to_end(&mut Vec::new()).unwrap());
        writer.flush().await.unwrap();
        drop(writer);
        assert_eq!(reader.join().unwrap(), filled + 4);
    });
}

#[test]
fn dropped_buf_writer_loses_unflushed_bytes() {
    with_input("", |stream, mut peer| async move {
        let mut writer = BufWriter::new(stream);
        writer.write_all(b"abcd").await.unwrap();
        drop(writer);
        assert_eq!(peer.read(&mut [0; 4]).unwrap(), 0);
    });
}

#[test]
fn dropped_copy_loses_unwritten_bytes() {
    with_input("abcd", |stream, peer| async move {
        let (mut writer, mut other) = tcp_pair_with_std().await.unwrap();
        let filled = fill(&mut writer).await;
        cancel(copy(&stream, &writer)).await;
        assert_eq!(rest(&stream, peer).await, "");
        drop(writer);
        assert_eq!(other.read_to_end(&mut Vec::new()).unwrap(), filled);
    });
}

#[test]
fn copy_that_is_polled_again_loses_nothing() {
    with_input("ab", |stream, mut peer| async move {
        let mut copied = copy(&stream, sink());
        assert!(poll_once(Pin::new(&mut copied)).await.is_none());
        peer.write_all(b"cd").unwrap();
        drop(peer);
        assert_eq!(copied.await.unwrap(), 4);
    });
}
