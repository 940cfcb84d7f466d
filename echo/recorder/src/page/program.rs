//! Where the tasks of a run stand in its program, and the functions on the stack of each step.
//!
//! A step that is logged while a task is being polled has the line of the task on its stack: the line of
//! the `.await` in an `async fn`, or a line of a hand-written future. The task stands there until
//! its next step. Only the innermost frame in a file of the program counts, and only inside the
//! poll: further out, the stack is the same for all tasks.

use std::collections::HashMap;
use std::hash::Hash;

use serde_json::{Value, json};

use crate::event::{Actor, Event, Kind, Task};
use crate::source_files::{RUNTIME, folder_of_crate, known_path, text};
use crate::source_lines::function_at;
use crate::stack::{Frame, Resolver, Stack};
use crate::state::State;

/// The functions of the executor that poll tasks. Outside of them, a stack says nothing about a task.
const LOOPS: [&str; 3] = ["block_on", "try_block_on", "tick"];

/// The positions of the tasks, which follow the events in their order.
pub(super) struct Positions<'a> {
    /// Path and text of the files of the program.
    files: Vec<(&'static str, &'static str)>,
    resolver: Resolver,
    /// What each stack shows, because few stacks repeat in many steps.
    stacks: HashMap<Stack, Shown>,
    places: Table<Place>,
    paths: Table<Vec<String>>,
    tasks: HashMap<u64, Position>,
    /// The task that each thread is polling.
    running: HashMap<&'a str, u64>,
    last: Option<(Option<u64>, Position)>,
    /// Whether any stack has shown a line.
    has_lines: bool,
}

/// What a stack shows.
#[derive(Clone, Copy)]
struct Shown {
    place: Option<usize>,
    path: usize,
}

/// A line of the program, and the lines of the same file that called it, the innermost first.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Place {
    file: &'static str,
    line: u32,
    callers: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Position {
    place: usize,
    does: Does,
}

/// What a task does at its line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    /// It was spawned here, and has not shown any other line.
    Spawned,
    Runs,
    Waits,
    /// It has been woken.
    Continues,
    Ended,
}

impl Does {
    fn name(self) -> &'static str {
        match self {
            Does::Spawned => "spawned",
            Does::Runs => "runs",
            Does::Waits => "waits",
            Does::Continues => "continues",
            Does::Ended => "ended",
        }
    }
}

/// Different values, each with its index.
struct Table<T> {
    values: Vec<T>,
    indexes: HashMap<T, usize>,
}

impl<T: Clone + Eq + Hash> Table<T> {
    fn new() -> Table<T> {
        Table { values: Vec::new(), indexes: HashMap::new() }
    }

    fn index_of(&mut self, value: T) -> usize {
        let next = self.values.len();
        *self.indexes.entry(value).or_insert_with_key(|value| {
            self.values.push(value.clone());
            next
        })
    }
}

impl<'a> Positions<'a> {
    pub(super) fn new(
        files: Vec<(&'static str, &'static str)>,
        before: &'a State,
    ) -> Positions<'a> {
        let mut positions = Positions {
            files,
            resolver: Resolver::default(),
            stacks: HashMap::new(),
            places: Table::new(),
            paths: Table::new(),
            tasks: HashMap::new(),
            running: HashMap::new(),
            last: None,
            has_lines: false,
        };
        before.tasks.values().for_each(|task| positions.add(&task.task));
        positions
    }

    /// Returns `[place, task, what it does]` for the line at which the task of this event stands, or
    /// null. The last element is missing for a thread that polls no task.
    pub(super) fn place(&mut self, event: &'a Event) -> Value {
        if event.stack.is_none() {
            return Value::Null;
        }
        if let (Kind::Spawn { .. }, Some(task)) = (&event.kind, &event.task) {
            self.add(task);
        }
        if let (Kind::Poll { .. }, Some(task)) = (&event.kind, event.task_id()) {
            self.running.insert(&event.thread, task);
        }
        let runs = self.running.get(&*event.thread).copied();
        let line = self.line_of(event);
        if let (Some(place), Some(task)) = (line, runs) {
            self.tasks.insert(task, Position { place, does: Does::Runs });
        }
        self.advance(event);
        let shown = match line {
            Some(place) => Some((runs, Position { place, does: Does::Runs })),
            None => self.position_of_subject(event).or_else(|| self.position_of_last()),
        };
        if shown.is_some_and(|(task, _)| task.is_some()) {
            self.last = shown;
        }
        shown.map_or(Value::Null, |(task, Position { place, does })| match task {
            Some(task) => json!([place, task, does.name()]),
            None => json!([place]),
        })
    }

    /// Adds a task at the line of its spawn.
    fn add(&mut self, task: &Task) {
        let mut parts = task.location.rsplitn(3, ':').skip(1);
        let (Some(line), Some(path)) = (parts.next(), parts.next()) else { return };
        let (Ok(line), Some((file, _))) = (line.parse(), self.file_of_program(path)) else {
            return;
        };
        let place = self.places.index_of(Place { file, line, callers: Vec::new() });
        self.tasks.insert(task.id, Position { place, does: Does::Spawned });
    }

    /// Applies the event to what its task does.
    fn advance(&mut self, event: &'a Event) {
        let Some(id) = event.task_id() else { return };
        let does = match &event.kind {
            Kind::Pending => Does::Waits,
            Kind::Queue { .. } | Kind::Poll { .. } => Does::Continues,
            Kind::Done { .. } | Kind::Abort | Kind::Panic => Does::Ended,
            _ => return,
        };
        if does != Does::Continues && self.running.get(&*event.thread) == Some(&id) {
            self.running.remove(&*event.thread);
        }
        if let Some(position) = self.tasks.get_mut(&id)
            && position.does != Does::Spawned
        {
            position.does = does;
        }
    }

    fn position_of_subject(&mut self, event: &Event) -> Option<(Option<u64>, Position)> {
        let taken = if let Kind::Event { takes, .. } = &event.kind { takes.first() } else { None };
        let task = event.task_id().or(taken.copied())?;
        let position = *self.tasks.get(&task)?;
        // A server may run millions of tasks.
        if matches!(event.kind, Kind::Done { .. } | Kind::Abort | Kind::Panic) {
            self.tasks.remove(&task);
        }
        Some((Some(task), position))
    }

    /// Returns the position that was shown last, as it is now.
    fn position_of_last(&self) -> Option<(Option<u64>, Position)> {
        let (task, position) = self.last?;
        let now = task.and_then(|task| self.tasks.get(&task));
        Some((task, now.copied().unwrap_or(position)))
    }

    /// Returns the line of the program that logged this event, if its stack shows one.
    fn line_of(&mut self, event: &Event) -> Option<usize> {
        if matches!(event.kind, Kind::Note { .. })
            && let Some((file, _)) = self.file_of_program(event.file)
        {
            self.has_lines = true;
            let place = Place { file, line: event.line, callers: Vec::new() };
            return Some(self.places.index_of(place));
        }
        // The page shows the record of a client in place of the runtime.
        if event.actor == Actor::Outside && self.file_of_program(event.file).is_some() {
            return None;
        }
        self.shown(event.stack.as_ref()?).place
    }

    /// Returns the index of the functions on the stack of this event.
    pub(super) fn path(&mut self, event: &Event) -> usize {
        match &event.stack {
            Some(stack) => self.shown(stack).path,
            None => {
                let name = text(event.file).and_then(|text| function_at(text, event.line));
                self.paths.index_of(name.into_iter().collect())
            }
        }
    }

    fn shown(&mut self, stack: &Stack) -> Shown {
        if let Some(known) = self.stacks.get(stack) {
            return *known;
        }
        let frames = self.resolver.resolve(stack);
        let frames: Vec<KnownFrame> =
            frames.iter().filter_map(|frame| self.known_frame(frame)).collect();
        let end = frames.iter().position(KnownFrame::is_loop);
        let inside = &frames[..end.unwrap_or(frames.len())];
        let place = self.place_of(inside);
        let path = self.paths.index_of(path_of(&frames[..end.map_or(frames.len(), |end| end + 1)]));
        let shown = Shown { place, path };
        self.stacks.insert(stack.clone(), shown);
        shown
    }

    /// Returns the innermost line of the program.
    fn place_of(&mut self, frames: &[KnownFrame]) -> Option<usize> {
        let mut lines = frames.iter().filter(|frame| frame.kind == FrameKind::Program);
        let inner = lines.next()?;
        self.has_lines = true;
        let callers = lines.filter(|frame| frame.file == inner.file && frame.line != inner.line);
        let mut callers: Vec<u32> = callers.map(|frame| frame.line).collect();
        callers.dedup();
        let (file, _) = self.file_of_program(&inner.file)?;
        Some(self.places.index_of(Place { file, line: inner.line, callers }))
    }

    /// Returns what the page shows of a frame. Returns `None` for frames of the standard library, of
    /// other crates, and of the recorder.
    fn known_frame(&self, Frame { path, file, line }: &Frame) -> Option<KnownFrame> {
        let krate = folder_of_crate(file);
        if krate == "recorder" {
            return None;
        }
        let (file, line) = (file.clone(), *line);
        if RUNTIME.contains(&krate) {
            let from_text = text(known_path(krate, &file)).and_then(|text| function_at(text, line));
            let name = from_text.unwrap_or_else(|| name_of(path));
            return Some(KnownFrame { kind: FrameKind::Runtime, name, file, line });
        }
        let is_foreign = file.starts_with("/rustc/") || file.contains("/registry/src/");
        if is_foreign || !file.starts_with('/') {
            return None;
        }
        let is_program = self.file_of_program(&file).is_some();
        let kind = if is_program { FrameKind::Program } else { FrameKind::Other };
        let name = format!("{}:{line}", file.rsplit('/').next().unwrap_or_default());
        Some(KnownFrame { kind, name, file, line })
    }

    /// Returns the file of the program that has this path. In the debug information the path is
    /// absolute, and in `file!()` it is relative to the workspace.
    fn file_of_program(&self, path: &str) -> Option<(&'static str, &'static str)> {
        let is_it = |known: &str| {
            let folder = path.strip_suffix(known);
            folder.is_some_and(|folder| folder.is_empty() || folder.ends_with('/'))
        };
        self.files.iter().copied().find(|(known, _)| is_it(known))
    }

    /// Returns the lines of the program that steps refer to by index.
    pub(super) fn places(&self) -> impl Iterator<Item = Value> {
        self.places.values.iter().map(|Place { file, line, callers }| {
            json!({ "file": file, "line": line, "callers": callers })
        })
    }

    /// Returns the paths of functions that steps refer to by index.
    pub(super) fn paths(&self) -> impl Iterator<Item = Value> {
        self.paths.values.iter().map(|path| json!(path))
    }

    /// Whether stacks were captured, but the binary has no debug information that names their lines.
    pub(super) fn lacks_lines(&self) -> bool {
        !self.stacks.is_empty() && !self.has_lines
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FrameKind {
    /// Of the reactor or the executor.
    Runtime,
    /// In a file of the program that the page shows.
    Program,
    /// In another file of the program.
    Other,
}

struct KnownFrame {
    kind: FrameKind,
    name: String,
    file: String,
    line: u32,
}

impl KnownFrame {
    fn is_loop(&self) -> bool {
        let name = self.name.rsplit("::").next().unwrap_or_default();
        self.kind == FrameKind::Runtime && LOOPS.contains(&name)
    }
}

/// Returns the functions on a stack, the outermost first. A type that repeats is left out.
fn path_of(frames: &[KnownFrame]) -> Vec<String> {
    let mut path: Vec<String> = Vec::new();
    let mut before: Option<&KnownFrame> = None;
    for frame in frames.iter().rev().filter(|frame| !frame.name.is_empty()) {
        let type_of =
            |frame: &KnownFrame| frame.name.rsplit_once("::").map(|(name, _)| name.to_owned());
        let repeats = before.is_some_and(|before| {
            before.name == frame.name
                || (frame.kind == FrameKind::Other && before.file == frame.file)
        });
        if repeats {
            continue;
        }
        let of_same_type = before.and_then(type_of).is_some_and(|of| Some(of) == type_of(frame));
        let name = match frame.name.rsplit_once("::") {
            _ if frame.is_loop() => "block_on",
            Some((_, name)) if of_same_type => name,
            _ => &frame.name,
        };
        path.push(name.to_owned());
        before = Some(frame);
    }
    path
}

/// Shortens the demangled path of a function to its name, with the type that it belongs to:
/// `<reactor::source::Source>::poll_io::<usize>` becomes `Source::poll_io`.
fn name_of(path: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for (nth, part) in split(path).into_iter().enumerate() {
        let name = match part.strip_prefix('<').and_then(|part| part.strip_suffix('>')) {
            Some(part) if part.starts_with("impl ") => {
                last_name(part.rsplit(" for ").next().unwrap_or(part))
            }
            // The types of a generic function.
            Some(_) if nth > 0 => continue,
            Some(part) => last_name(part.split(" as ").next().unwrap_or(part)),
            None if part.starts_with('{') => continue,
            None => last_name(part),
        };
        names.push(name);
    }
    match names[..] {
        [.., of, name] if of.starts_with(|c: char| c.is_ascii_uppercase()) => {
            format!("{of}::{name}")
        }
        [.., name] => name.to_owned(),
        [] => String::new(),
    }
}

/// Splits a path at each `::` that is outside of angle brackets.
fn split(path: &str) -> Vec<&str> {
    let (mut parts, mut from, mut depth) = (Vec::new(), 0, 0);
    let bytes = path.as_bytes();
    for (at, byte) in path.bytes().enumerate() {
        match byte {
            b'<' => depth += 1,
            // Not the arrow of a function type.
            b'>' if at == 0 || bytes[at - 1] != b'-' => depth -= 1,
            b':' if depth == 0 && at >= from && bytes[at..].starts_with(b"::") => {
                parts.push(&path[from..at]);
                from = at + 2;
            }
            _ => {}
        }
    }
    parts.push(&path[from..]);
    parts
}

/// Returns the last name of a path of a type, without its own types.
fn last_name(path: &str) -> &str {
    let path = path.split('<').next().unwrap_or(path);
    path.rsplit("::").next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::tests::cases;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;
    use std::sync::Arc;
    use std::time::Duration;

    /// The parts of the names of functions, and other text.
    fn path() -> impl Strategy<Value = String> {
        let parts = [
            "::",
            ":",
            "<",
            ">",
            "->",
            " as ",
            "impl ",
            " for ",
            "{{closure}}",
            "{async_fn#0}",
            "(",
            ", ",
            "Source",
            "poll",
        ];
        let part =
            prop_oneof![8 => select(parts.to_vec()).prop_map(str::to_owned), 1 => any::<String>()];
        vec(part, 0..10).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: cases(500), failure_persistence: None, ..ProptestConfig::default() })]

        // The names come from the symbols of the program, which may be written in any language.
        #[test]
        fn name_of_any_function_is_a_part_of_its_path(path in path()) {
            let name = name_of(&path);
            prop_assert!(name.split("::").all(|part| path.contains(part)), "{}", name);
        }
    }

    fn event(number: u64, kind: Kind, task: &Arc<Task>) -> Event {
        Event {
            number,
            at: Duration::ZERO,
            thread: Arc::from("main"),
            actor: Actor::Executor,
            kind,
            task: Some(task.clone()),
            source: None,
            direction: None,
            causes: Vec::new(),
            file: "",
            line: 0,
            // Addresses of no function, as in a binary without symbols.
            stack: Some([1, 2].into()),
        }
    }

    #[test]
    fn without_debug_information_a_task_stands_at_its_spawn() {
        let location = "/home/x/mine/src/main.rs:2:5".to_owned();
        let task = Arc::new(Task { id: 1, name: String::new(), location });
        let kinds = [Kind::Spawn { by: None }, Kind::Poll { nth: 1 }, Kind::Pending];
        let mut events: Vec<Event> =
            (1..).zip(kinds).map(|(number, kind)| event(number, kind, &task)).collect();
        let state = State::default();
        let mut positions = Positions::new(vec![("src/main.rs", "fn main() {\n}\n")], &state);
        for event in &events {
            assert_eq!(positions.place(event), json!([0, 1, "spawned"]), "{event:?}");
        }
        let place = json!({ "file": "src/main.rs", "line": 2, "callers": [] });
        assert_eq!(positions.places().collect::<Vec<_>>(), [place]);
        assert!(positions.lacks_lines());

        events.iter_mut().for_each(|event| event.stack = None);
        let mut positions = Positions::new(vec![("src/main.rs", "")], &state);
        assert!(events.iter().all(|event| positions.place(event).is_null()));
        assert!(!positions.lacks_lines());
    }

    #[test]
    fn function_names_are_shortened() {
        for (path, name) in [
            ("executor::executor::Executor::round::{{closure}}", "Executor::round"),
            ("<reactor::source::Source>::poll_io::<usize, fn() -> u8>", "Source::poll_io"),
            ("reactor::async_io::Async<S>::poll_read_as", "Async::poll_read_as"),
            ("<a::PollFn<F> as core::future::Future>::poll", "PollFn::poll"),
            ("reactor::net::<impl a::Stream for b::Incoming>::poll_next", "Incoming::poll_next"),
            ("poll_io<(a::B, c::D), {closure_env#0}<a::B>>", "poll_io"),
            ("{async_fn#0}<a::B>", ""),
            ("reactor::budget::spend", "spend"),
            ("main", "main"),
            ("", ""),
        ] {
            assert_eq!(name_of(path), name, "{path}");
        }
    }
}
