//! A peer that shuts down writing: the reader gets every byte, and then the end of the stream.

use std::io::Write;
use std::net::Shutdown;

use reactor::io::AsyncReadExt;
use tests::{run, tcp_pair_with_std};

#[test]
fn fin_that_arrives_with_bytes_is_read_after_them() {
    run(|| async {
        let (mut ours, mut peer) = tcp_pair_with_std().await.unwrap();
        peer.write_all(b"last words").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        ours.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "last words");
    });
}
