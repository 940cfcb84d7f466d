//! The peer has said its last word: every byte before it arrives, and then the end.

use std::io::Write;
use std::net::Shutdown;

use reactor::io::AsyncReadExt;
use tests::{run, tcp_pair_with_std};

#[test]
fn bytes_and_fin_in_one_segment_reach_the_reader_as_bytes_and_end_of_file() {
    run(|| async {
        let (mut ours, mut peer) = tcp_pair_with_std().await.unwrap();
        peer.write_all(b"last words").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        ours.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "last words");
    });
}
