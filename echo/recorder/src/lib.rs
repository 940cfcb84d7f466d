// Targets of the README's links in this documentation: the first definition of a link counts.
//! [`own_program.rs`]: ../echod/index.html#files-of-the-guide
//! [`OUTSIDE`]: OUTSIDE
//! [`Options::stacks`]: Options::stacks
//!
#![doc = include_str!("../README.md")]

mod chrome;
mod correlate;
mod describe;
mod event;
mod event_buffer;
mod explain;
mod findings;
mod format;
mod json;
mod json_lines;
mod ladder;
mod page;
mod poll_lengths;
mod prompts;
mod record;
mod recorder;
mod recording;
mod slow_polls;
mod source_files;
mod source_lines;
mod stack;
mod state;
mod units;

pub use chrome::{chrome, write_chrome};
pub use event::{Actor, By, Direction, Event, Kind, Outcome, Readiness, Source, Task};
pub use explain::Explain;
pub use findings::{Anomaly, Finding};
pub use format::Format;
pub use json_lines::{VERSION, json_lines, write_json_lines};
pub use ladder::{HEADER, Ladder, summary};
pub use page::{Page, Program, Run};
pub use record::{NOTE, OUTSIDE};
pub use recorder::{Options, Recorder};
pub use recording::{Counts, Recording};
pub use slow_polls::SlowPolls;
