//! Eight stages from a loop that polls to a runtime, each with what it does and what it lacks.
//!
//! ```text
//! stage        lists the stages
//! stage N      runs stage N
//! ```
//!
//! The folder of a stage contains its program. Stages 6 to 8 also use one file of an earlier stage,
//! because it did not change. `README.md` explains the stages.

// Two stages that share a file include it twice, because each is a program of its own.
#![allow(clippy::duplicate_mod)]

#[path = "1/main.rs"]
mod stage_1;
#[path = "2/main.rs"]
mod stage_2;
#[path = "3/main.rs"]
mod stage_3;
#[path = "4/main.rs"]
mod stage_4;
#[path = "5/main.rs"]
mod stage_5;
#[path = "6/main.rs"]
mod stage_6;
#[path = "7/main.rs"]
mod stage_7;
#[path = "8/main.rs"]
mod stage_8;

use std::env;
use std::io;
use std::process::ExitCode;

const STAGES: [&str; 8] = [
    "a loop that polls",
    "park and unpark: a waker",
    "several tasks, a run queue, and the flag",
    "timers in the timeout of one wait",
    "bare mio: readiness without futures",
    "a reactor: `WouldBlock` leaves the waker",
    "another thread ends the wait",
    "join handles, panics and destructors",
];

fn main() -> io::Result<ExitCode> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => list(),
        ["1"] => stage_1::main(),
        ["2"] => stage_2::main(),
        ["3"] => stage_3::main(),
        ["4"] => stage_4::main()?,
        ["5"] => stage_5::main()?,
        ["6"] => stage_6::main(),
        ["7"] => stage_7::main(),
        ["8"] => stage_8::main()?,
        _ => {
            eprintln!("stage: give a number from 1 to 8, or nothing to list the stages");
            return Ok(ExitCode::from(2));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list() {
    for (number, about) in (1..).zip(STAGES) {
        println!("{number}  {about}");
    }
    println!("\nto run a stage: cargo run --example stage -- N");
}
