//! A read future that is created again on each poll.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;

use executor::{block_on, spawn};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use reactor::net::TcpStream;
use reactor::time::{sleep, timeout};

use crate::ask::{Answer, Letter};
use crate::{Outcome, Prompt, connected, ms};

pub(crate) const PROMPT: Prompt = Prompt {
    title: "a new `read_exact` future on each poll",
    question: "The peer sends 4 bytes, 10 ms apart. What does `read4` return?",
    answers: [
        Answer {
            text: "The 4 bytes.",
            why: "this needs one future that is polled until it is ready. Here each poll starts \
                  over with an empty buffer.",
        },
        Answer {
            text: "An error.",
            why: "nothing fails: each read gets one byte, and dropping a future is not an error.",
        },
        Answer {
            text: "Nothing: it is never ready, and the bytes are lost.",
            why: "each poll reads one byte, returns `Pending`, and is dropped together with the \
                  byte. A future is the memory of an operation, so create it once and keep it.",
        },
    ],
    run,
    file: file!(),
    text: include_str!("recreated_read.rs"),
};

// Program:
async fn read4(mut stream: TcpStream) -> io::Result<[u8; 4]> {
    let mut bytes = [0; 4];
    poll_fn(|cx| pin!(stream.read_exact(&mut bytes)).poll(cx)).await?;
    Ok(bytes)
}
// End.

fn run() -> io::Result<Outcome> {
    block_on(async {
        let (near, mut far) = connected().await?;
        let sender = spawn(async move {
            for byte in b"abcd" {
                far.write_all(&[*byte]).await?;
                sleep(ms(10)).await;
            }
            // The caller keeps the socket open.
            io::Result::Ok(far)
        });
        let result = timeout(ms(200), read4(near)).await;
        let _far = sender.await.map_err(io::Error::other)??;
        Ok(match result {
            Ok(Ok(bytes)) => Outcome::new(Letter::A, format!("{}", bytes.escape_ascii())),
            Ok(Err(error)) => Outcome::new(Letter::B, format!("error: {error}")),
            Err(_) => Outcome::new(Letter::C, "not ready after 200 ms, although 4 bytes were sent"),
        })
    })
}
