//! The part of a program that `--trace` records, and the page on which to step through it.
//!
//! Without `--trace`, the functions here do nothing.

use std::fs::File;
use std::io::{self, Write};
use std::sync::{Mutex, OnceLock, PoisonError};

use recorder::{Page, Program, Recording, Run};

use crate::Entry;
use crate::ladder::RECORDER;

/// The largest number of steps of a scene. A reader does not step through more.
const STEPS: usize = 150;

/// A file that logs acts of clients.
const CLIENTS: (&str, &str) = ("echo/learn/questions/connection.rs", include_str!("connection.rs"));

static REQUESTED: OnceLock<()> = OnceLock::new();
static SCENE: Mutex<Option<Recording>> = Mutex::new(None);

/// Requests a scene. It begins here, unless the program calls [`begin`].
pub(crate) fn request() {
    REQUESTED.get_or_init(|| ());
    begin();
}

/// Whether a scene is requested.
pub(crate) fn is_requested() -> bool {
    REQUESTED.get().is_some()
}

/// Begins the scene: leaves out all earlier steps.
///
/// A program calls this before the part that is worth stepping through. If it runs several
/// executors, it calls this before one of them: each counts its tasks from 0, so a scene can show
/// only one.
pub(crate) fn begin() {
    if is_requested() {
        RECORDER.start();
    }
}

/// Ends the scene. A program that does not call this ends its scene when it returns.
pub(crate) fn end() {
    if is_requested() {
        keep(&RECORDER.recording());
    }
}

/// Makes this recording the scene, in place of an earlier one.
pub(crate) fn keep(recording: &Recording) {
    if is_requested() {
        *SCENE.lock().unwrap_or_else(PoisonError::into_inner) = Some(recording.clone());
    }
}

/// Writes the page of the scene.
///
/// # Errors
///
/// Returns an error if nothing was recorded, or the error of the file.
pub(crate) fn write(number: usize, entry: &Entry, file: &mut File) -> io::Result<()> {
    let scene = SCENE.lock().unwrap_or_else(PoisonError::into_inner).take();
    let recording = scene.unwrap_or_else(|| RECORDER.recording());
    let steps = recording.steps();
    if steps == 0 {
        return Err(io::Error::other("its program does not use this runtime, so it has no steps"));
    }
    let mut claim = entry.question.text.to_owned();
    if steps > STEPS {
        claim = format!("{claim} (The first {STEPS} of {steps} steps.)");
    }
    let has_client = recording.events.iter().any(|event| event.file == CLIENTS.0);
    let mut run = Run::new(&claim, recording.first_steps(STEPS));
    run.asks = true;
    let (first, last) = lines_of_run(entry.source);
    run.program = Some(Program::new(entry.file, entry.source).showing(first, last));
    run.files.extend(has_client.then_some(CLIENTS));
    if let Some(next) = crate::question(number + 1) {
        let command = format!("cargo run --example question -- {}", number + 1);
        run.again.push((command, next.question.text.to_owned()));
    }
    file.write_all(Page::new(&format!("question {number}"), run).html().as_bytes())
}

/// Returns the first and the last line of the function `run`, counted from 1.
fn lines_of_run(source: &str) -> (usize, usize) {
    let lines: Vec<&str> = source.lines().collect();
    let first = lines.iter().position(|line| line.starts_with("fn run(")).unwrap_or_default();
    let length = lines[first..].iter().position(|line| *line == "}").unwrap_or_default();
    (first + 1, first + length + 1)
}
