//! Writes a recording as JSON, one event on each line.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::event::{Event, Kind, Outcome};
use crate::json::{to_string, write_value};
use crate::recording::Recording;
use crate::units::millis;

/// The version of the format. It increases when programs that read the lines must change.
pub const VERSION: u32 = 2;

/// Returns the recording as lines of JSON: a header, then the events in their order.
///
/// The [README](index.html) of the recorder lists the keys.
pub fn json_lines(recording: &Recording) -> String {
    to_string(|out| write_json_lines(recording, out))
}

/// Writes the [`json_lines`] of a recording one by one.
///
/// Unlike `json_lines`, this does not collect the text in memory.
///
/// # Errors
///
/// Returns the error of the writer.
pub fn write_json_lines(recording: &Recording, out: &mut impl Write) -> io::Result<()> {
    let header = json!({ "version": VERSION, "dropped": recording.dropped });
    writeln!(out, "{header}")?;
    for event in &recording.events {
        write_value(out, &line(event))?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

fn line(event: &Event) -> Value {
    let mut line = json!({
        "number": event.number,
        "ms": millis(event.at),
        "thread": &*event.thread,
        "actor": format!("{:?}", event.actor).to_lowercase(),
        "kind": event.kind_name(),
        "causes": event.causes,
    });
    if let Some(task) = &event.task {
        line["task"] = json!({ "id": task.id, "name": task.name, "location": task.location });
    }
    if let Some(source) = &event.source {
        line["source"] = json!({ "token": source.token, "kind": source.kind, "peer": source.peer });
    }
    if let Some(direction) = event.direction {
        line["direction"] = direction.name().into();
    }
    if !event.file.is_empty() {
        line["file"] = event.file.into();
        line["line"] = event.line.into();
    }
    for (key, value) in details(&event.kind) {
        line[key] = value;
    }
    line
}

/// Returns the keys that only events of this kind have.
fn details(kind: &Kind) -> Vec<(&'static str, Value)> {
    match kind {
        Kind::Poll { nth } => vec![("nth", (*nth).into())],
        Kind::Try { operation, outcome } => {
            let mut details = vec![("operation", Value::from(&**operation))];
            match outcome {
                Outcome::Accepted(peer) => details.push(("peer", peer.as_str().into())),
                Outcome::Bytes(bytes) | Outcome::Short(bytes) => {
                    details.push(("bytes", (*bytes).into()));
                }
                Outcome::EndOfFile => details.push(("bytes", 0.into())),
                Outcome::Fails(error) => details.push(("error", error.as_str().into())),
                Outcome::WouldBlock | Outcome::Works => {}
            }
            details
        }
        Kind::Sleep { limit, slept } => {
            let limit = limit.map(|limit| ("limit_ms", millis(limit).into()));
            let slept = slept.map(|slept| ("slept_ms", millis(slept).into()));
            limit.into_iter().chain(slept).collect()
        }
        Kind::Note { text } => vec![("note", text.as_str().into())],
        Kind::Outside { act } => vec![("act", act.as_str().into())],
        Kind::Event { readiness, takes, others, .. } => vec![
            ("readiness", readiness.to_string().into()),
            ("takes", json!(takes)),
            ("others", (*others).into()),
        ],
        Kind::Queue { by } => vec![("by", format!("{by:?}").to_lowercase().into())],
        Kind::TimerSet { after } => vec![("after_ms", millis(*after).into())],
        Kind::Done { written } => vec![("written", (*written).into())],
        _ => Vec::new(),
    }
}
