//! Whoever has read the first two rings has read all of the core that the demo runs through.
//!
//! The files of `echod --demo` are compiled into this test. At each record a backtrace is taken,
//! and every file of the reactor and the executor that is in one has to be in a ring. A function
//! that makes no record, and calls none that does, is not seen.

use std::backtrace::Backtrace;
use std::collections::BTreeSet;
use std::sync::Mutex;

use log::{LevelFilter, Log, Metadata, Record};
use recorder::{Options, Recorder};
use tests::guide::rings;
use tests::run;

#[path = "../../echo/src/connection.rs"]
mod connection;
#[path = "../../echo/src/demo.rs"]
mod demo;
#[path = "../../echo/src/listener.rs"]
mod listener;
#[path = "../../echo/src/serve.rs"]
mod serve;
#[path = "../../echo/src/server.rs"]
#[expect(dead_code, reason = "the demo has no socket for datagrams")]
mod server;
#[path = "../../echo/src/shared.rs"]
#[expect(dead_code, reason = "the demo does not stop its server")]
mod shared;
#[path = "../../echo/src/watch.rs"]
mod watch;

/// All of these files that the demo needs.
mod stats {
    #[derive(Default)]
    pub(crate) struct Survey;
}
mod telling {
    pub(crate) const ACCEPTS: &str = "accept";
}

/// A log that keeps where each record came from. Names are looked up when the demo is over.
struct Traces;

static TRACES: Mutex<Vec<Backtrace>> = Mutex::new(Vec::new());

impl Log for Traces {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, _: &Record<'_>) {
        TRACES.lock().expect("nothing panics here").push(Backtrace::force_capture());
    }

    fn flush(&self) {}
}

/// The files of the core in the backtraces of the demo.
fn files_of_the_demo() -> BTreeSet<String> {
    let options = Options { events: 1000, ..Options::default() };
    let recorder = Recorder::install(Box::new(Traces), LevelFilter::Trace, options);
    let recorder = recorder.expect("no other logger");
    let recording = run(move || demo::run(recorder)).expect("the demo runs");
    assert!(recording.counts().wakes >= 3, "accept, byte, end");

    let traces = TRACES.lock().expect("nothing panics here");
    let texts: Vec<String> = traces.iter().map(Backtrace::to_string).collect();
    texts.iter().flat_map(|text| text.lines()).filter_map(file_of_core).collect()
}

/// `executor/src/task.rs` of `at …/executor/src/task.rs:12:5`.
fn file_of_core(line: &str) -> Option<String> {
    let place = line.trim().strip_prefix("at ")?;
    let path = ["/reactor/src/", "/executor/src/"].into_iter().find_map(|folder| {
        let at = place.find(folder)?;
        Some(&place[at + 1..])
    })?;
    path.split(':').next().map(str::to_owned)
}

#[test]
fn the_demo_runs_through_files_of_the_first_two_rings_alone() {
    let files = files_of_the_demo();
    let rings = rings().concat();
    assert!(files.len() > 5, "the backtraces name no files: {files:?}");
    let is_told = |file: &&String| rings.iter().any(|(told, _)| told == *file);
    let untold: Vec<_> = files.iter().filter(|file| !is_told(file)).collect();
    assert!(untold.is_empty(), "on the path of the demo, and in no ring: {untold:#?}");
}
