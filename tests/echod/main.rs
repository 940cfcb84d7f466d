//! The promises of `echod` as a process: with real clients, from outside, through nothing but
//! sockets, signals, pipes and `/proc`.

mod arguments;
mod bytes;
mod calls;
mod clients;
mod faults;
mod files;
mod guide;
mod limits;
mod memory;
mod output;
mod process;
mod questions;
mod questions_b;
mod server;
mod signals;
mod story;
mod table;
mod three_echoes;
mod traces;
mod viewer;
