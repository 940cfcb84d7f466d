//! Whoever has read the first two rings has read all that the demo runs through.
//!
//! The files of `echod --demo` are compiled into this test. At each record a backtrace is taken,
//! and every file of ours that is in one has to be in a ring. A function that makes no record, and
//! calls none that does, is not seen. So each file at the top of a crate is asked for as well: it
//! is in a ring, or in the list of those beside the path.

use std::backtrace::Backtrace;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;

use log::{LevelFilter, Log, Metadata, Record};
use recorder::{Options, Recorder};
use tests::guide::{rings, rust_files};
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

/// Files at the top of a crate that the demo does not run through, and why.
const BESIDE: [(&str, &[&str]); 4] = [
    ("nothing in it runs", &["reactor/src/lib.rs", "executor/src/sync.rs"]),
    ("for who asks what a task waits for", &["reactor/src/waits.rs", "executor/src/tasks.rs"]),
    (
        "it runs before the demo or after it",
        &[
            "echo/src/address.rs",
            "echo/src/arguments.rs",
            "echo/src/main.rs",
            "echo/src/output.rs",
            "echo/src/telling.rs",
        ],
    ),
    (
        "the demo has no use for it",
        &[
            "echo/src/ending.rs",
            "echo/src/inherited.rs",
            "echo/src/listen.rs",
            "echo/src/stats.rs",
            "echo/src/table.rs",
            "echo/src/threads.rs",
            "echo/src/udp.rs",
            "executor/src/remote.rs",
        ],
    ),
];

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

/// Our files in the backtraces of the demo.
fn files_of_the_demo() -> BTreeSet<String> {
    let options = Options { events: 1000, ..Options::default() };
    let recorder = Recorder::install(Box::new(Traces), LevelFilter::Trace, options);
    let recorder = recorder.expect("no other logger");
    let recording = run(move || demo::run(recorder)).expect("the demo runs");
    assert!(recording.counts().wakes >= 3, "accept, byte, end");

    let traces = TRACES.lock().expect("nothing panics here");
    let texts: Vec<String> = traces.iter().map(Backtrace::to_string).collect();
    texts.iter().flat_map(|text| text.lines()).filter_map(file_of_ours).collect()
}

/// `executor/src/task.rs` of `at …/executor/src/task.rs:12:5`.
fn file_of_ours(line: &str) -> Option<String> {
    let place = line.trim().strip_prefix("at ")?;
    let path =
        ["/reactor/src/", "/executor/src/", "/echo/src/"].into_iter().find_map(|folder| {
            let at = place.find(folder)?;
            Some(&place[at + 1..])
        })?;
    path.split(':').next().map(str::to_owned)
}

#[test]
fn the_demo_runs_through_files_of_the_first_two_rings_alone() {
    if !Backtrace::force_capture().to_string().contains("demo_path.rs") {
        return println!("skipped: built without debug info, so no backtrace names a file");
    }
    let files = files_of_the_demo();
    let rings = rings().concat();
    assert!(files.len() > 5, "the backtraces name no files: {files:?}");
    let is_told = |file: &&String| rings.iter().any(|(told, _)| told == *file);
    let untold: Vec<_> = files.iter().filter(|file| !is_told(file)).collect();
    assert!(untold.is_empty(), "on the path of the demo, and in no ring: {untold:#?}");
}

/// Those without a record are in no backtrace, and a new one has to be put somewhere, too.
#[test]
fn each_file_at_the_top_of_a_crate_is_in_a_ring_or_beside_the_path() {
    let tops = ["reactor/src", "executor/src", "echo/src"].map(Path::new);
    let files = rust_files().filter(|file| file.parent().is_some_and(|top| tops.contains(&top)));
    let files: BTreeSet<String> = files.map(|file| file.display().to_string()).collect();
    let told: BTreeSet<String> = rings().concat().into_iter().map(|(path, _)| path).collect();
    let beside = BESIDE.iter().flat_map(|(_, files)| files.iter());
    let beside: BTreeSet<String> = beside.map(|file| (*file).to_owned()).collect();

    let twice: Vec<_> = told.intersection(&beside).collect();
    assert!(twice.is_empty(), "in a ring, and beside the path: {twice:#?}");
    let gone: Vec<_> = beside.difference(&files).collect();
    assert!(gone.is_empty(), "no such file: {gone:#?}");
    let known: BTreeSet<String> = &told | &beside;
    let unknown: Vec<_> = files.difference(&known).collect();
    assert!(unknown.is_empty(), "in no ring, and not beside the path: {unknown:#?}");
}
