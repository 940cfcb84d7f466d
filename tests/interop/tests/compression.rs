//! gzip over a socket, with async-compression.

use std::io::Read;

use async_compression::futures::bufread::GzipDecoder;
use async_compression::futures::write::GzipEncoder;
use executor::{spawn, spawn_blocking};
use reactor::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tests::{run, tcp_pair, tcp_pair_with_std};

use crate::tools::{is_installed, output};

/// Returns bytes whose compressed form is still larger than the socket buffers.
fn text() -> Vec<u8> {
    (0..600_000_u64).flat_map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes()).collect()
}

#[test]
fn gzip_stream_over_a_socket_is_decompressed() {
    run(|| async {
        let (client, server) = tcp_pair().await.unwrap();
        let sending = spawn(async move {
            let mut writer = GzipEncoder::new(client);
            writer.write_all(&text()).await.unwrap();
            writer.close().await.unwrap();
        });
        let mut back = Vec::new();
        GzipDecoder::new(BufReader::new(server)).read_to_end(&mut back).await.unwrap();
        sending.await.unwrap();
        assert!(back == text(), "{} of {} bytes came", back.len(), text().len());
    });
}

#[test]
fn truncated_gzip_stream_is_an_error() {
    run(|| async {
        let (client, server) = tcp_pair().await.unwrap();
        let mut writer = GzipEncoder::new(client);
        writer.write_all(&text()[..1000]).await.unwrap();
        writer.flush().await.unwrap();
        drop(writer);
        let mut back = Vec::new();
        let end = GzipDecoder::new(BufReader::new(server)).read_to_end(&mut back).await;
        assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
        assert!(back == text()[..1000], "all flushed bytes arrive: {} bytes", back.len());
    });
}

#[test]
fn gzip_program_decompresses_our_stream() {
    if !is_installed("gzip") {
        return;
    }
    run(|| async {
        let (ours, mut client) = tcp_pair_with_std().await.unwrap();
        let receiving = spawn_blocking(move || {
            let mut compressed = Vec::new();
            client.read_to_end(&mut compressed).unwrap();
            output("gzip", &["-dc"], compressed)
        });
        let mut writer = GzipEncoder::new(ours);
        writer.write_all(&text()).await.unwrap();
        writer.close().await.unwrap();
        drop(writer);
        assert!(receiving.await.unwrap() == text());
    });
}
