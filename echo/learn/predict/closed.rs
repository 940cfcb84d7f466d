//! Reads after the peer has closed its connection.

use std::io;
use std::time::{Duration, Instant};

use executor::block_on;
use futures_lite::AsyncReadExt;
use reactor::net::TcpStream;
use reactor::time::timeout;

use crate::ask::{Answer, Letter};
use crate::{Outcome, Prompt, connected, ms};

pub(crate) const PROMPT: Prompt = Prompt {
    title: "the peer has closed, and the program reads again and again",
    question: "What do the reads return?",
    answers: [
        Answer {
            text: "Nothing: they wait, because no bytes arrive (`WouldBlock`).",
            why: "`WouldBlock` means that bytes may still come. After the peer has closed, the \
                  kernel knows that none will.",
        },
        Answer {
            text: "An error, because the connection is gone.",
            why: "a peer that closes normally causes no error. An error follows a reset, for \
                  example from a peer that closed with unread input.",
        },
        Answer {
            text: "0, immediately, each time",
            why: "0 is the end of file, and it stays. A loop that ignores it uses the whole CPU \
                  and never waits. No further event will follow.",
        },
    ],
    run,
    file: file!(),
    text: include_str!("closed.rs"),
};

// Program:
async fn program(mut stream: TcpStream) -> Vec<Option<io::Result<usize>>> {
    let mut results = Vec::new();
    for _ in 0..5 {
        let mut buffer = [0; 16];
        results.push(timeout(ms(100), stream.read(&mut buffer)).await.ok());
    }
    results
}
// End.

fn run() -> io::Result<Outcome> {
    let (results, took): (_, Duration) = block_on(async {
        let (near, far) = connected().await?;
        drop(far);
        let begin = Instant::now();
        let results = program(near).await;
        io::Result::Ok((results, begin.elapsed()))
    })?;
    let is_end = |result: &Option<io::Result<usize>>| matches!(result, Some(Ok(0)));
    let answer = match &results[..] {
        results if results.iter().any(Option::is_none) => Some(Letter::A),
        results if results.iter().flatten().any(Result::is_err) => Some(Letter::B),
        results if results.iter().all(is_end) && took < ms(100) => Some(Letter::C),
        _ => None,
    };
    let ends = results.iter().filter(|result| is_end(result)).count();
    let us = took.as_micros();
    Ok(Outcome::new(answer, format!("{ends} of {} reads returned 0, in {us} us", results.len())))
}
