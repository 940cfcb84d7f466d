// Targets of the README's links in this documentation: the first definition of a link counts.
//! [`own_program.rs`]: ../../../echo/recorder/examples/own_program.rs
//! [`OUTSIDE`]: OUTSIDE
//!
#![doc = include_str!("../README.md")]

mod acts;
mod chrome;
mod event;
mod explain;
mod files;
mod format;
mod json;
mod ladder;
mod lines;
mod page;
mod record;
mod recorder;
mod recording;
mod slow;
mod state;
mod story;
mod tape;
mod words;

pub use chrome::{chrome, write_chrome};
pub use event::{Actor, By, Direction, Event, Kind, Outcome, Readiness, Source, Task};
pub use explain::Explain;
pub use format::Format;
pub use ladder::{HEAD, Ladder, sum};
pub use lines::{VERSION, lines, write_lines};
pub use page::{Page, Program, Run};
pub use record::OUTSIDE;
pub use recorder::{Options, Recorder};
pub use recording::{Counts, Recording};
pub use slow::SlowPolls;
