//! A buffered writer that is dropped without a flush.

use std::io;

use executor::block_on;
use futures_lite::io::BufWriter;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use reactor::net::TcpStream;

use crate::ask::{Answer, Letter};
use crate::{Outcome, Prompt, connected};

pub(crate) const PROMPT: Prompt = Prompt {
    title: "`write_all` into a `BufWriter`, which is then dropped",
    question: "What does the peer receive?",
    answers: [
        Answer {
            text: "0 bytes",
            why: "`write_all` copied the bytes into the buffer, which has space for them, and \
                  `drop` discarded the buffer. Await `flush` or `close` before.",
        },
        Answer {
            text: "The peer gets an error, because the connection breaks.",
            why: "the socket is closed in the normal way. The bytes were never passed to it, so \
                  it has nothing to report.",
        },
        Answer {
            text: "5 bytes",
            why: "this is what std's `BufWriter` does: its `drop` writes the buffer. An async \
                  write may have to wait, and `drop` cannot wait.",
        },
    ],
    run,
    file: file!(),
    text: include_str!("unflushed.rs"),
};

// Program:
async fn send(stream: TcpStream) -> io::Result<()> {
    let mut writer = BufWriter::new(stream);
    writer.write_all(b"hello").await?;
    drop(writer);
    Ok(())
}
// End.

fn run() -> io::Result<Outcome> {
    block_on(async {
        let (near, mut far) = connected().await?;
        send(near).await?;
        let mut received = Vec::new();
        Ok(match far.read_to_end(&mut received).await {
            Ok(0) => Outcome::new(Letter::A, "the peer receives 0 bytes and the end of file"),
            Ok(5) => Outcome::new(Letter::C, "the peer receives 5 bytes and the end of file"),
            Ok(bytes) => Outcome::new(None, format!("the peer receives {bytes} bytes")),
            Err(error) => Outcome::new(Letter::B, format!("the peer gets an error: {error}")),
        })
    })
}
