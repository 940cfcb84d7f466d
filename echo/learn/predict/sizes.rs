//! What a future stores across an `await`.

use std::future::pending;
use std::hint::black_box;
use std::io;

use crate::ask::{Answer, Letter};
use crate::{Outcome, Prompt};

pub(crate) const PROMPT: Prompt = Prompt {
    title: "the sizes of three futures with large variables",
    question: "How many bytes do the three futures occupy?",
    answers: [
        Answer {
            text: "All three are small: the variables are on the stack.",
            why: "the stack is empty while a future waits. Whatever it needs afterwards must be \
                  stored in the future itself.",
        },
        Answer {
            text: "All three occupy more than 4096 bytes.",
            why: "a variable that is used only before the `await` lives on the stack of that poll, \
                  and a `Vec` is three words; its elements are on the heap.",
        },
        Answer {
            text: "Only the second one occupies more than 4096 bytes.",
            why: "a variable that is used after the `await` becomes a field of the future. The \
                  `Vec` of the third future costs three words although it was dropped before: the \
                  compiler reserves the space of a variable that was borrowed until the end of \
                  its scope.",
        },
    ],
    run,
    file: file!(),
    text: include_str!("sizes.rs"),
};

// Program:
async fn used_before() {
    let byte = {
        let array = [1_u8; 4096];
        array[black_box(7)]
    };
    pending::<()>().await;
    black_box(byte);
}

async fn used_after() {
    let array = [1_u8; 4096];
    pending::<()>().await;
    black_box(array[7]);
}

async fn dropped_before() {
    let vec = vec![1_u8; 4096];
    black_box(vec.len());
    drop(vec);
    pending::<()>().await;
}
// End.

fn run() -> io::Result<Outcome> {
    let sizes =
        [size_of_val(&used_before()), size_of_val(&used_after()), size_of_val(&dropped_before())];
    let answer = match sizes.map(|size| size > 4096) {
        [false, false, false] => Some(Letter::A),
        [true, true, true] => Some(Letter::B),
        [false, true, false] => Some(Letter::C),
        _ => None,
    };
    let [before, after, dropped] = sizes;
    Ok(Outcome::new(answer, format!("{before}, {after} and {dropped} bytes")))
}
