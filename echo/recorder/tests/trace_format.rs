//! The formats for other programs: Chrome's trace events, and lines of JSON.
//!
//! Method: a strict reader of the formats, random programs with names that need escapes, and recordings
//! that are cut at any event.

mod programs;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use programs::{Act, alone, everything, program, record};
use proptest::prelude::*;
use proptest::sample::Index;
use recorder::{Event, Kind, Recording, VERSION, chrome, json_lines};
use serde_json::{Value, json};

/// Parses microseconds with three decimals, and returns nanoseconds.
fn nanos(entry: &Value, key: &str) -> Result<i64, String> {
    let micros = entry[key].as_f64().filter(|micros| micros.is_finite() && *micros >= 0.0);
    let micros = micros.ok_or_else(|| format!("{key} is no time: {entry}"))?;
    Ok((micros * 1e3).round() as i64)
}

/// A slice of a track.
struct Slice {
    from: i64,
    to: i64,
}

/// The tracks of a trace and the arrows between them.
#[derive(Default)]
struct Reader {
    names: HashMap<u64, String>,
    tracks: BTreeMap<u64, Vec<Slice>>,
    waits: HashMap<String, (Vec<String>, i64)>,
    starts: HashMap<u64, (u64, i64)>,
    ends: HashMap<u64, (u64, i64)>,
}

impl Reader {
    /// Reads a trace. Returns an error if it is malformed.
    fn read(trace: &Value) -> Result<(), String> {
        let mut reader = Reader::default();
        let entries = trace["traceEvents"].as_array().ok_or("no traceEvents")?;
        for entry in entries {
            reader.read_entry(entry)?;
        }
        reader.tracks.values_mut().try_for_each(|track| nest(track))?;
        reader.check_names()?;
        reader.check_waits()?;
        reader.check_arrows()
    }

    fn read_entry(&mut self, entry: &Value) -> Result<(), String> {
        let wrong = |what: &str| format!("{what}: {entry}");
        let phase = entry["ph"].as_str().ok_or_else(|| wrong("no phase"))?;
        let name = entry["name"].as_str().ok_or_else(|| wrong("no name"))?;
        entry["pid"].as_u64().ok_or_else(|| wrong("no process"))?;
        let thread = entry["tid"].as_u64().ok_or_else(|| wrong("no thread"))?;
        if phase == "M" {
            let value = entry["args"]["name"].as_str().ok_or_else(|| wrong("no name"))?;
            if name == "thread_name" && self.names.insert(thread, value.to_owned()).is_some() {
                return Err(wrong("named twice"));
            }
            return Ok(());
        }
        let at = nanos(entry, "ts")?;
        self.tracks.entry(thread).or_default();
        match phase {
            "X" => {
                let to = at + nanos(entry, "dur")?;
                self.tracks.entry(thread).or_default().push(Slice { from: at, to });
            }
            "i" if entry["s"] == "t" => {}
            "b" | "e" => self.read_wait(entry, phase, name, at)?,
            "s" | "f" => self.read_arrow(entry, phase, thread, at)?,
            "C" => {
                let values = entry["args"].as_object().ok_or_else(|| wrong("no values"))?;
                let negative = values.values().any(|value| value.as_u64().is_none());
                if negative || values.is_empty() {
                    return Err(wrong("not a count"));
                }
            }
            _ => return Err(wrong("unknown")),
        }
        Ok(())
    }

    /// Slices with one id nest: each end belongs to the last begin.
    fn read_wait(&mut self, entry: &Value, ph: &str, name: &str, at: i64) -> Result<(), String> {
        let key = format!("{} {}", entry["cat"], entry["id"]);
        let (open, last) = self.waits.entry(key).or_default();
        if at < *last {
            return Err(format!("before what it is in: {entry}"));
        }
        *last = at;
        if ph == "b" {
            open.push(name.to_owned());
        } else if open.pop().as_deref() != Some(name) {
            return Err(format!("an end without its begin: {entry}"));
        }
        Ok(())
    }

    fn read_arrow(&mut self, entry: &Value, ph: &str, thread: u64, at: i64) -> Result<(), String> {
        let id = entry["id"].as_u64().ok_or_else(|| format!("no id: {entry}"))?;
        let known = if ph == "s" { &mut self.starts } else { &mut self.ends };
        if known.insert(id, (thread, at)).is_some() {
            return Err(format!("twice: {entry}"));
        }
        if ph == "f" && entry["bp"] != "e" {
            return Err(format!("ends in the next slice: {entry}"));
        }
        Ok(())
    }

    fn check_names(&self) -> Result<(), String> {
        let unnamed = self.tracks.keys().find(|thread| !self.names.contains_key(thread));
        unnamed.map_or(Ok(()), |thread| Err(format!("thread {thread} has no name")))
    }

    fn check_waits(&self) -> Result<(), String> {
        let open = self.waits.iter().find(|(_, (open, _))| !open.is_empty());
        open.map_or(Ok(()), |(id, (open, _))| Err(format!("{id}: {open:?} does not end")))
    }

    fn check_arrows(&self) -> Result<(), String> {
        if self.starts.len() != self.ends.len() {
            return Err("an arrow has no end, or no start".to_owned());
        }
        for (id, &(thread, from)) in &self.starts {
            let &(end, to) = self.ends.get(id).ok_or_else(|| format!("arrow {id} has no end"))?;
            if to < from {
                return Err(format!("arrow {id} leads back in time"));
            }
            if !self.in_slice(thread, from) || !self.in_slice(end, to) {
                return Err(format!("arrow {id} is bound to no slice"));
            }
        }
        Ok(())
    }

    fn in_slice(&self, thread: u64, at: i64) -> bool {
        let track = &self.tracks[&thread];
        let begun = track.partition_point(|slice| slice.from <= at);
        track[..begun].iter().rev().any(|slice| at <= slice.to)
    }
}

/// Each slice is within the last open slice, or after it.
fn nest(track: &mut [Slice]) -> Result<(), String> {
    track.sort_by_key(|slice| (slice.from, -slice.to));
    let mut open: Vec<&Slice> = Vec::new();
    for slice in track.iter() {
        while open.last().is_some_and(|outer| outer.to <= slice.from) {
            open.pop();
        }
        if open.last().is_some_and(|outer| outer.to < slice.to) {
            return Err(format!("{} to {} does not nest", slice.from, slice.to));
        }
        open.push(slice);
    }
    Ok(())
}

fn trace(recording: &Recording) -> Value {
    serde_json::from_str(&chrome(recording)).expect("JSON")
}

fn check(recording: &Recording) -> Value {
    let trace = trace(recording);
    if let Err(wrong) = Reader::read(&trace) {
        panic!("{wrong}");
    }
    trace
}

/// The entries of one category.
fn entries<'a>(trace: &'a Value, category: &str) -> Vec<&'a Value> {
    let entries = trace["traceEvents"].as_array().unwrap();
    entries.iter().filter(|entry| entry["cat"] == category).collect()
}

fn of_kind(recording: &Recording, is: impl Fn(&Kind) -> bool) -> Vec<&Event> {
    recording.events.iter().filter(|event| is(&event.kind)).collect()
}

/// The trace contains every event.
fn check_contents(recording: &Recording, trace: &Value) {
    let polls = of_kind(recording, |kind| matches!(kind, Kind::Poll { .. }));
    let slices = entries(trace, "poll");
    assert_eq!(slices.len(), polls.len(), "a slice for each poll");
    assert_eq!(
        entries(trace, "wake").iter().filter(|entry| entry["ph"] == "f").count(),
        polls.len()
    );
    for (poll, slice) in polls.iter().zip(slices) {
        let task = poll.task.as_ref().unwrap();
        let name = match task.name.as_str() {
            "" => format!("task {}", task.id),
            name => format!("task {} \"{name}\"", task.id),
        };
        assert_eq!(slice["name"], name);
        assert_eq!(slice["args"]["step"], poll.number);
        assert_eq!(nanos(slice, "ts").unwrap() as u128, poll.at.as_nanos());
        assert_ne!(slice["args"]["ended"], json!(null), "every poll ends: {slice}");
    }
    let asleep: i64 =
        entries(trace, "sleep").iter().filter_map(|sleep| nanos(sleep, "dur").ok()).sum();
    assert!(asleep as u128 >= recording.counts().slept.as_nanos());
}

/// Returns a part of a recording, as if the events before it had been dropped.
fn cut(recording: &Recording, from: Index, to: Index) -> Recording {
    let ends = [from, to].map(|index| index.index(recording.events.len()));
    let (from, to) = (*ends.iter().min().unwrap(), *ends.iter().max().unwrap());
    let mut part = recording.clone();
    part.events = recording.events[from..=to].to_vec();
    part.dropped = from as u64;
    part
}

proptest! {
    #![proptest_config(ProptestConfig { cases: tests::cases(30), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn trace_of_a_cut_recording_is_well_formed(
        program in program(),
        cuts in prop::collection::vec((any::<Index>(), any::<Index>()), 3),
    ) {
        let _alone = alone();
        let recording = record(&program);
        let trace = check(&recording);
        check_contents(&recording, &trace);
        for (from, to) in cuts {
            check(&cut(&recording, from, to));
        }
    }
}

#[test]
fn each_poll_of_a_task_woken_twice_has_an_arrow() {
    let _alone = alone();
    let acts = [Act::InboxAndQueue, Act::Sleep(1), Act::InboxTwice, Act::Sleep(1)];
    let recording = record(&[acts.into()]);
    check_contents(&recording, &check(&recording));
}

#[test]
fn empty_trace_is_well_formed() {
    check(&Recording::default());
}

/// Returns the first entry that satisfies a condition.
fn first(trace: &mut Value, is: impl Fn(&Value) -> bool) -> &mut Value {
    let entries = trace["traceEvents"].as_array_mut().unwrap();
    entries.iter_mut().find(|entry| is(entry)).expect("such an entry")
}

/// Lengthens a sleep into the middle of the poll that follows.
fn reach_into_the_next(trace: &mut Value) {
    let poll = entries(trace, "poll").into_iter().rfind(|poll| poll["args"]["nth"] != 1).unwrap();
    let middle = poll["ts"].as_f64().unwrap() + poll["dur"].as_f64().unwrap() / 2.0;
    let sleep = first(trace, |entry| entry["cat"] == "sleep" && entry["ph"] == "X");
    sleep["dur"] = json!(middle - sleep["ts"].as_f64().unwrap());
}

#[test]
fn malformed_trace_is_rejected() {
    let _alone = alone();
    let good = check(&record(&everything()));
    let phase = |phase: &'static str| move |entry: &Value| entry["ph"] == phase;
    type Break = fn(&mut Value);
    let breaks: [(&'static str, Break); 8] = [
        ("X", |slice| slice["dur"] = json!(-1.0)),
        ("b", |wait| wait["id"] = json!("another")),
        ("e", |wait| wait["name"] = json!("another")),
        ("s", |arrow| arrow["id"] = json!(u64::MAX)),
        ("f", |arrow| arrow["ts"] = json!(0.0)),
        ("f", |arrow| arrow["bp"] = json!(null)),
        ("C", |count| count["args"]["tasks"] = json!(-1)),
        ("i", |act| act["tid"] = json!(99)),
    ];
    for (name, break_it) in breaks {
        let mut bad = good.clone();
        break_it(first(&mut bad, phase(name)));
        assert!(Reader::read(&bad).is_err(), "{name} is broken");
    }
    let mut bad = good.clone();
    reach_into_the_next(&mut bad);
    assert!(Reader::read(&bad).unwrap_err().contains("nest"));
}

/// Reads the table of keys in the README of the recorder: key, type, and the kinds that have it.
fn schema() -> BTreeMap<String, (String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(path).unwrap();
    let table = readme.split("| key | type | kinds |").nth(1).expect("the table of keys");
    let rows = table.lines().take_while(|line| !line.starts_with("## "));
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let key = cells.next()?.trim_end_matches('`').to_owned();
        Some((key, (cells.next()?.to_owned(), cells.next()?.to_owned())))
    };
    rows.filter_map(row).collect()
}

/// Returns the keys of a line with their values. A key of a nested object has the form `task.id`.
fn flat(line: &Value) -> BTreeMap<String, &Value> {
    let mut keys = BTreeMap::new();
    for (key, value) in line.as_object().expect("an object") {
        match value.as_object() {
            Some(inner) => {
                keys.extend(inner.iter().map(|(inner, value)| (format!("{key}.{inner}"), value)));
            }
            None => _ = keys.insert(key.clone(), value),
        }
    }
    keys
}

fn is_of_type(value: &Value, told: &str) -> bool {
    match told {
        "integer" => value.is_u64(),
        "number" => value.is_number(),
        "text" => value.is_string(),
        "list of integers" => value.as_array().is_some_and(|list| list.iter().all(Value::is_u64)),
        _ => panic!("an unknown type: {told}"),
    }
}

#[test]
fn json_lines_match_the_schema_in_the_readme() {
    let schema = schema();
    let _alone = alone();
    let recording = record(&everything());
    let text = json_lines(&recording);
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let head = lines.next().expect("a head");
    assert_eq!(head, json!({ "version": VERSION, "dropped": 0 }));
    let mut seen = BTreeSet::new();
    let mut number = 0;
    for line in lines {
        assert_eq!(line["number"], number);
        number += 1;
        let keys = flat(&line);
        let kind = line["kind"].as_str().expect("a kind");
        for (key, value) in &keys {
            let (told, kinds) =
                schema.get(key).unwrap_or_else(|| panic!("not in the README: {key}"));
            assert!(is_of_type(value, told), "{key} in {line}");
            let all = kinds == "all" || kinds.starts_with("where");
            assert!(all || kinds.split(", ").any(|one| one == kind), "{key} in {line}");
        }
        let always = schema.iter().filter(|(_, (_, kinds))| kinds == "all");
        for (key, _) in always {
            assert!(keys.contains_key(key), "{key} is missing in {line}");
        }
        seen.extend(keys.into_keys());
    }
    assert_eq!(number as usize, recording.events.len());
    let told: BTreeSet<String> = schema.into_keys().collect();
    assert_eq!(told, seen, "the README lists the keys that occur");
}
