//! Tests of `echod` as a process. They use real clients, and reach the server only through sockets,
//! signals, pipes and `/proc`.

mod accept;
mod arguments;
mod balancer;
mod bytes;
mod calls;
mod clients;
mod descriptors;
mod embedding;
mod exercises;
mod faults;
mod files;
mod inherited;
mod injected;
mod limits;
mod long_runs;
mod memory;
mod output;
mod predict;
mod prompts;
mod questions;
mod server;
mod signals;
mod site;
mod sockets;
mod stages;
mod stats;
mod story;
mod streams;
mod table;
mod threads;
mod three_echoes;
mod traces;
mod udp;
mod unix;

use tests::process;
