//! A socket of this runtime under the executor of another crate.

use std::io;

use reactor::net::TcpListener;

use crate::ask::{Answer, Letter};
use crate::{End, Outcome, Prompt, ms, on_thread};

pub(crate) const PROMPT: Prompt = Prompt {
    title: "`TcpListener::bind` under the `block_on` of another crate",
    question: "What does `bind` do?",
    answers: [
        Answer {
            text: "It works.",
            why: "any executor can poll any future, but polling is not enough. A socket needs a \
                  reactor that waits for its events.",
        },
        Answer {
            text: "It returns an error.",
            why: "an error reports what the outside world did. A missing reactor is a mistake in \
                  the program, and no caller could handle it.",
        },
        Answer {
            text: "It panics.",
            why: "a socket registers with the reactor that is current on this thread. Our \
                  `block_on` sets one, and the one of futures-lite does not.",
        },
    ],
    run,
    file: file!(),
    text: include_str!("other_executor.rs"),
};

// Program:
fn program() -> io::Result<()> {
    futures_lite::future::block_on(async {
        let _listener = TcpListener::bind("127.0.0.1:0").await?;
        Ok(())
    })
}
// End.

fn run() -> io::Result<Outcome> {
    Ok(match on_thread(ms(1000), program) {
        End::Returned(Ok(())) => Outcome::new(Letter::A, "the listener exists"),
        End::Returned(Err(error)) => Outcome::new(Letter::B, format!("error: {error}")),
        End::Panicked(message) => Outcome::new(Letter::C, format!("panic: {message}")),
        End::Blocked => Outcome::new(None, "not returned after 1000 ms"),
    })
}
