//! The page: one HTML file with the recording, the source files, and the script that steps through them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Write};

use serde_json::{Map, Value, json};

use crate::describe::{Describer, short};
use crate::event::{Actor, Direction, Event, Kind, Outcome, Source, Task};
use crate::findings::{Finding, Period, TaskTotals, Totals};
use crate::json::{Escaped, List, Object, to_string, write_list};
use crate::ladder::{HEADER, Ladder, summary};
use crate::poll_lengths::PollLengths;
use crate::prompts::{Prompt, prompts};
use crate::recording::{Counts, Recording};
use crate::source_files::FILES;
use crate::source_lines::SourceLines;
use crate::units::{millis, plural, time};

use cells::{Changes, cells};
use program::Positions;

mod cells;
mod program;
mod shown;

const SKELETON: &str = include_str!("page/page.html");
const STYLE: &str = concat!(
    include_str!("page/page.css"),
    include_str!("page/overview.css"),
    include_str!("page/program.css"),
    include_str!("page/prompts.css"),
    include_str!("page/compare.css"),
    include_str!("page/views.css"),
    include_str!("page/forced_colors.css"),
);
/// The files are parts of one script. The first declares what the others share, and the last starts the page.
const SCRIPT: &str = concat!(
    include_str!("page/recording.js"),
    include_str!("page/elements.js"),
    include_str!("page/sentence.js"),
    include_str!("page/source.js"),
    include_str!("page/program.js"),
    include_str!("page/state.js"),
    include_str!("page/woken.js"),
    include_str!("page/wave.js"),
    include_str!("page/task_numbers.js"),
    include_str!("page/overview.js"),
    include_str!("page/compare.js"),
    include_str!("page/navigation.js"),
    include_str!("page/prompts.js"),
    include_str!("page/views.js"),
    include_str!("page/paper.js"),
    include_str!("page/keys.js"),
    include_str!("page/focus.js"),
    include_str!("page/start.js"),
);

/// If a run has more tasks than this, only some of them get a lane.
const LANES: usize = 6;

/// A page that shows a run, or two runs one above the other.
pub struct Page {
    title: String,
    runs: Vec<Run>,
    /// The steps at which two runs diverge.
    parts: Option<[u64; 2]>,
}

/// A run and the texts that the page shows with it.
#[derive(Clone)]
#[non_exhaustive]
pub struct Run {
    /// One sentence that says what happens in the run.
    pub claim: String,
    /// The name of the run, if the page shows two.
    pub label: String,
    /// What the run leads to, and why, if the page compares two runs. `**` marks bold text, and `` ` ``
    /// marks code.
    pub verdict: String,
    /// The line of the program in which the run differs from the other one, if the page compares two.
    /// The comment above it should say what the line does.
    pub line: Option<usize>,
    /// Commands for further runs, each with a description.
    pub again: Vec<(String, String)>,
    /// The program that ran, which the page shows before the first step. Without a program, the page
    /// shows the source of the first step there.
    pub program: Option<Program>,
    /// Path and text of further files of the program.
    pub files: Vec<(&'static str, &'static str)>,
    /// The file to read first after the run.
    pub read: String,
    /// Whether the page asks "What happens next?" at about ten steps. It does not ask in a run of more
    /// than 500 steps.
    pub asks: bool,
    recording: Recording,
}

/// A file of a program, and the lines of it that the page shows first.
///
/// # Examples
///
/// ```
/// use recorder::Program;
///
/// # /* The file of a program would be:
/// let program = Program::new(file!(), include_str!("main.rs")).showing(5, 20);
/// # */ let program = Program::new(file!(), "fn main() {\n}\n");
/// # assert_eq!(program.lines, (1, 2));
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct Program {
    /// The path of the file, as the page shows it.
    pub file: &'static str,
    /// The text of the file.
    pub text: &'static str,
    /// The first and the last line that the first screen marks, counted from 1.
    pub lines: (usize, usize),
}

impl Program {
    /// Marks all lines of a file.
    ///
    /// In `main.rs`, its path is `file!()`, and its text is `include_str!("main.rs")`.
    pub fn new(file: &'static str, text: &'static str) -> Program {
        Program { file, text, lines: (1, text.lines().count()) }
    }

    /// Marks only the lines from `first` to `last` on the first screen.
    pub fn showing(self, first: usize, last: usize) -> Program {
        Program { lines: (first, last), ..self }
    }
}

impl Run {
    /// Creates a run with this claim.
    pub fn new(claim: &str, recording: Recording) -> Run {
        Run {
            claim: claim.to_owned(),
            label: String::new(),
            verdict: String::new(),
            line: None,
            again: Vec::new(),
            program: None,
            files: Vec::new(),
            read: "reactor/src/source.rs".to_owned(),
            asks: false,
            recording,
        }
    }
}

impl Page {
    /// Creates a page that shows one run.
    pub fn new(title: &str, run: Run) -> Page {
        Page { title: title.to_owned(), runs: vec![run], parts: None }
    }

    /// Creates a page that compares two runs of one program.
    pub fn compare(title: &str, runs: [Run; 2]) -> Page {
        let parts = divergence(&runs[0].recording.events, &runs[1].recording.events);
        Page { title: title.to_owned(), runs: runs.into(), parts: Some(parts) }
    }

    /// Returns the page. It needs no other file and no network.
    pub fn html(&self) -> String {
        to_string(|out| self.write_html(out))
    }

    /// Writes the page incrementally.
    ///
    /// Its memory does not grow with the number of steps.
    ///
    /// # Errors
    ///
    /// Returns the error of the writer.
    pub fn write_html(&self, out: &mut impl Write) -> io::Result<()> {
        let mut rest = SKELETON;
        while let Some((before, from)) = rest.split_once("{{") {
            out.write_all(before.as_bytes())?;
            let (name, after) = from.split_once("}}").unwrap_or((from, ""));
            self.write_piece(name, out)?;
            rest = after;
        }
        out.write_all(rest.as_bytes())
    }

    fn write_piece(&self, name: &str, out: &mut impl Write) -> io::Result<()> {
        match name {
            "title" => Escaped::in_element(out).write_all(self.title.as_bytes()),
            "style" => out.write_all(STYLE.as_bytes()),
            "script" => out.write_all(SCRIPT.as_bytes()),
            "ladder" => {
                let mut out = Escaped::in_element(out);
                for (index, run) in self.runs.iter().enumerate() {
                    out.write_all(if index > 0 { b"\n\n" } else { b"" })?;
                    run.write_ladder(&mut out)?;
                }
                Ok(())
            }
            _ => self.write_data(&mut Escaped::in_script(out)),
        }
    }

    fn write_data(&self, out: &mut impl Write) -> io::Result<()> {
        let files = self.files();
        let mut data = Object::new(out)?;
        data.member("version", 1)?;
        write_list(data.key("tabs")?, files.iter().map(|(path, _)| (*path).into()))?;
        let mut texts = Object::new(data.key("files")?)?;
        files.iter().try_for_each(|(path, text)| texts.member(path, *text))?;
        texts.end()?;
        data.member("parts", self.parts.map(|parts| json!(parts)))?;
        let mut runs = List::new(data.key("runs")?)?;
        self.runs.iter().try_for_each(|run| run.write_data(&self.title, runs.next()?))?;
        runs.end()?;
        data.end()
    }

    /// Returns the path and text of each file that contains a step or a program, in reading order.
    fn files(&self) -> Vec<(&'static str, &'static str)> {
        let mut named = BTreeSet::new();
        let mut texts = BTreeMap::from(FILES);
        let mut order = FILES.map(|(path, _)| path).to_vec();
        for run in &self.runs {
            // Each file is inserted before the previous one.
            for (file, text) in run.program_files().into_iter().rev() {
                named.insert(file);
                if texts.insert(file, text).is_none() {
                    order.insert(0, file);
                }
            }
            named.extend(run.recording.events.iter().map(|event| event.file));
        }
        order.retain(|path| named.contains(path));
        order.into_iter().map(|path| (path, texts[path])).collect()
    }
}

/// Returns the numbers of the first steps at which two runs of one program differ.
fn divergence(one: &[Event], other: &[Event]) -> [u64; 2] {
    // Ignore the clients: they run on other threads, so their order varies.
    let is_inside = |event: &&Event| event.actor != Actor::Outside;
    let mut pairs = one.iter().filter(is_inside).zip(other.iter().filter(is_inside));
    let ends = |events: &[Event]| events.last().map_or(0, |last| last.number + 1);
    let mut noted = None;
    let differs = |(a, b): &(&Event, &Event)| {
        // The line that differs has run before the steps differ, perhaps several times.
        if matches!(a.kind, Kind::Note { .. }) && a.kind != b.kind {
            noted = Some([a.number, b.number]);
        }
        comparable(a) != comparable(b)
    };
    let found = pairs.find(differs).map(|(a, b)| [a.number, b.number]);
    match noted.or(found) {
        Some(both) => both,
        None => {
            let equal =
                one.iter().filter(is_inside).count().min(other.iter().filter(is_inside).count());
            let number = |events: &[Event]| {
                let next = events.iter().filter(is_inside).nth(equal);
                next.map_or(ends(events), |event| event.number)
            };
            [number(one), number(other)]
        }
    }
}

/// Returns what two runs have in common at the same step. Times and ports differ.
fn comparable(event: &Event) -> (&'static str, Option<u64>, Option<usize>, String) {
    let source = event.source.as_ref().map(|source| source.token);
    let detail = match &event.kind {
        Kind::Try { operation, outcome: Outcome::Bytes(bytes) | Outcome::Short(bytes) } => {
            format!("{operation} {bytes}")
        }
        Kind::Try { operation, .. } => operation.to_string(),
        Kind::Outside { act } => act.clone(),
        _ => String::new(),
    };
    (event.kind_name(), event.task_id(), source, detail)
}

impl Run {
    /// Returns the path and text of each file of the program.
    fn program_files(&self) -> Vec<(&'static str, &'static str)> {
        let program = self.program.iter().map(|program| (program.file, program.text));
        program.chain(self.files.iter().copied()).collect()
    }

    fn steps(&self) -> impl Iterator<Item = &Event> {
        self.recording.events.iter().filter(|event| event.kind != Kind::Start)
    }

    /// Returns the file that the page shows before the first step, and the lines that it marks.
    fn first(&self) -> (&'static str, (usize, usize)) {
        if let Some(Program { file, lines, .. }) = self.program {
            return (file, lines);
        }
        let mut lines = SourceLines::new(self.program_files());
        let first = self.steps().find_map(|event| Some((event.file, lines.of(event)?)));
        first.map_or(("", (1, 1)), |(file, lines)| {
            (file, (lines.first as usize, lines.last as usize))
        })
    }

    fn write_ladder(&self, out: &mut impl Write) -> io::Result<()> {
        write!(out, "{}\n\n{HEADER}\n", self.claim)?;
        Ladder::new(false, false).write_lines(&self.recording.events, out)?;
        write!(out, "\n{}\n", summary(&self.recording.counts()))
    }

    fn write_data(&self, title: &str, out: &mut impl Write) -> io::Result<()> {
        let counts = self.recording.counts();
        let tasks = self.tasks();
        let follow = self.follow(&tasks);
        let steps = self.recording.steps();
        let again =
            self.again.iter().map(|(command, says)| json!({ "command": command, "says": says }));
        let mut data = Object::new(out)?;
        data.member("title", title)?;
        data.member("line", format!("{} · {}", plural(steps as u64, "step"), time(counts.length)))?;
        data.member("label", &*self.label)?;
        data.member("claim", &*self.claim)?;
        data.member("verdict", &*self.verdict)?;
        data.member("differs", self.line)?;
        data.member("more", introduction(&counts))?;
        let (file, (from, to)) = self.first();
        data.member("first", json!({ "file": file, "from": from, "to": to }))?;
        data.member("dropped", self.recording.dropped)?;
        let totals = Totals::of(&self.recording);
        let is_long = self.recording.is_long();
        let totals_of = |task| totals.tasks.get(&task).filter(|_| is_long).map(totals_value);
        let task = |(task, from): &(&Task, u64)| json!({ "id": task.id, "name": task.name, "location": task.line(), "from": from, "totals": totals_of(task.id) });
        write_list(data.key("tasks")?, tasks.values().map(task))?;
        data.member("long", is_long)?;
        let findings = self.recording.findings_in(&totals);
        write_list(data.key("findings")?, findings.iter().map(finding_value))?;
        self.write_sources(data.key("sources")?)?;
        write_list(data.key("lanes")?, self.lanes(&tasks, &follow))?;
        data.member("chapters", self.chapters(&follow))?;
        data.member("follow", follow)?;
        let prompts = if self.asks { prompts(&self.recording.events) } else { Vec::new() };
        write_list(data.key("prompts")?, prompts.iter().map(Prompt::data))?;
        let mut positions = Positions::new(self.program_files(), &self.recording.before);
        let used = self.write_steps(&mut positions, data.key("steps")?)?;
        write_list(data.key("places")?, positions.places())?;
        write_list(data.key("stacks")?, positions.paths())?;
        data.member("lacks_lines", positions.lacks_lines())?;
        data.member("state", used.of(cells(&self.recording.before)))?;
        data.member(
            "last",
            json!({ "counts": summary(&counts), "shown": shown::sentences(&self.recording, &counts), "again": again.collect::<Vec<_>>(), "read": self.read }),
        )?;
        data.end()
    }

    /// Returns all tasks, and the step at which each was spawned.
    fn tasks(&self) -> BTreeMap<u64, (&Task, u64)> {
        let mut tasks = BTreeMap::new();
        for task in self.recording.before.tasks.values() {
            tasks.insert(task.task.id, (&*task.task, 0));
        }
        for event in self.steps() {
            if let Some(task) = &event.task {
                tasks.entry(task.id).or_insert((task, event.number));
            }
        }
        tasks
    }

    fn write_sources(&self, out: &mut impl Write) -> io::Result<()> {
        let mut sources = BTreeMap::new();
        for source in self.recording.before.sources.values() {
            sources.insert(source.source.since, (&*source.source, 0, None));
        }
        for event in self.steps() {
            if let Some(source) = &event.source {
                let known = sources.entry(source.since).or_insert((&**source, event.number, None));
                if matches!(event.kind, Kind::Deregister | Kind::JobDone) {
                    known.2 = Some(event.number);
                }
            }
        }
        let data = sources.into_iter().map(|(since, (source, from, gone))| {
            json!({
                "id": since.to_string(), "token": source.token, "name": source.kind,
                "peer": source.peer, "from": from, "gone": gone,
            })
        });
        write_list(out, data)
    }

    /// Returns the tasks to show at first. If there are many, these are one connection's task and the task
    /// that accepted the connection.
    fn follow(&self, tasks: &BTreeMap<u64, (&Task, u64)>) -> Vec<u64> {
        if tasks.len() <= LANES {
            return Vec::new();
        }
        let accepts =
            |event: &&Event| matches!(event.kind, Kind::Try { outcome: Outcome::Accepted(_), .. });
        let accepted = self.steps().find(accepts);
        // The first task that is spawned after the accept serves the connection.
        let first = accepted.map_or(0, |event| event.number);
        let spawned = self
            .steps()
            .find(|event| matches!(event.kind, Kind::Spawn { .. }) && event.number > first);
        let accepted = accepted.and_then(Event::task_id);
        let spawned = spawned.and_then(Event::task_id);
        let both: Vec<u64> = accepted.into_iter().chain(spawned).collect();
        if both.is_empty() { tasks.keys().take(LANES).copied().collect() } else { both }
    }

    fn lanes(&self, tasks: &BTreeMap<u64, (&Task, u64)>, follow: &[u64]) -> Vec<Value> {
        let active: BTreeSet<u64> = self
            .steps()
            .filter(|event| event.actor == Actor::Task)
            .filter_map(Event::task_id)
            .collect();
        let own: Vec<u64> = active
            .iter()
            .copied()
            .filter(|task| follow.is_empty() || follow.contains(task))
            .collect();
        let lane = |task: &u64| {
            let id = format!("task {task}");
            // The future of `block_on` is always task 0.
            let name = if *task == 0 { "main" } else { &id };
            json!({ "id": id, "name": name, "task": task })
        };
        let mut lanes: Vec<Value> = own.iter().rev().map(lane).collect();
        if own.len() < active.len() {
            let others = tasks.len() - own.len();
            lanes.push(json!({ "id": "others", "name": format!("others ({others})") }));
        }
        for (id, name) in [
            ("executor", "executor"),
            ("queue", "run queue"),
            ("reactor", "reactor"),
            ("kernel", "kernel"),
        ] {
            lanes.push(json!({ "id": id, "name": name }));
        }
        let threads: BTreeSet<&str> = self
            .steps()
            .filter(|event| event.actor == Actor::Outside)
            .map(|event| &*event.thread)
            .collect();
        if let Some(first) = threads.first() {
            let name = if threads.len() == 1 { first } else { "outside" };
            lanes.push(json!({ "id": "outside", "name": name }));
        }
        lanes
    }

    /// Returns the chapters, e.g. "No client yet", "A client connects", "One byte", "The connection ends".
    ///
    /// If only some tasks are followed, the chapters are those of these tasks. Otherwise they would begin
    /// with the steps of whichever connection comes first.
    fn chapters(&self, follow: &[u64]) -> Vec<Value> {
        let first = self.steps().next().map_or(1, |event| event.number);
        // If steps were dropped, what comes first is not where anything begins.
        let goes_on = (self.recording.dropped > 0).then_some((first, "The run goes on"));
        let mut chapters: Vec<(u64, &str)> = goes_on.into_iter().collect();
        let mut add = |step: u64, name: &'static str| {
            let is_bytes = |name| matches!(name, "Bytes" | "One byte");
            let is_connected = chapters.iter().any(|(_, known)| *known == "A client connects");
            if is_bytes(name) && goes_on.is_some() && !is_connected {
                return;
            }
            let is_known = |known| known == name || is_bytes(known) && is_bytes(name);
            if !chapters.iter().any(|(other, known)| *other >= step || is_known(*known)) {
                chapters.push((step, name));
            }
        };
        let is_one = !follow.is_empty() && goes_on.is_none();
        let end = match !is_one && self.connections() > 1 {
            true => "A connection ends",
            false => "The connection ends",
        };
        let is_followed = |event: &&Event| {
            follow.is_empty() || event.task_id().is_some_and(|task| follow.contains(&task))
        };
        for event in self.steps().filter(is_followed) {
            let Kind::Try { outcome, .. } = &event.kind else { continue };
            let mut causes = event.causes.iter().filter_map(|cause| self.recording.event(*cause));
            let cause = causes.find(|cause| cause.kind.wakers_taken() > 0);
            // Without an event that woke the task, only an operation that takes something in counts.
            if cause.is_none() && event.direction != Some(Direction::Read) {
                continue;
            }
            let step = cause.map_or(event.number, |cause| self.act_of(cause));
            let is_listener = event.source.as_deref().is_some_and(Source::is_listener);
            match outcome {
                Outcome::Works if is_listener => add(step, "A client connects"),
                Outcome::Works => add(step, "Bytes"),
                Outcome::Accepted(_) => add(step, "A client connects"),
                Outcome::Short(1) => add(step, "One byte"),
                Outcome::Bytes(_) | Outcome::Short(_) => add(step, "Bytes"),
                Outcome::EndOfFile => add(step, end),
                _ => {}
            }
        }
        if chapters.first().is_none_or(|(step, _)| *step > first) {
            let is_idle = chapters.first().is_some_and(|(_, name)| *name == "A client connects");
            chapters.insert(0, (first, if is_idle { "No client yet" } else { "Start" }));
        }
        chapters.into_iter().map(|(step, name)| json!({ "step": step, "name": name })).collect()
    }

    /// Returns the number of connections that the run has accepted or begins with.
    fn connections(&self) -> usize {
        let before = self.recording.before.sources.values();
        let before = before.filter(|source| source.source.kind == "connection").count();
        let accepted =
            |event: &&Event| matches!(event.kind, Kind::Try { outcome: Outcome::Accepted(_), .. });
        before + self.steps().filter(accepted).count()
    }

    /// Returns the act outside that the kernel reported with this event, otherwise the event.
    fn act_of(&self, event: &Event) -> u64 {
        let cause = event.causes.iter().find(|cause| {
            let cause = self.recording.event(**cause);
            cause.is_some_and(|cause| matches!(cause.kind, Kind::Outside { .. }))
        });
        cause.copied().unwrap_or(event.number)
    }

    /// Writes the steps. Returns which optional cells they use.
    fn write_steps<'a>(
        &'a self,
        positions: &mut Positions<'a>,
        out: &mut impl Write,
    ) -> io::Result<Used> {
        let mut describer = Describer::default();
        let mut users = Users::default();
        let mut changes = Changes::new(&self.recording.before);
        let mut used = Used::default();
        let mut source_lines = SourceLines::new(self.program_files());
        let mut polls = PollLengths::default();
        let mut steps = List::new(out)?;
        for event in &self.recording.events {
            let changes = changes.next(event);
            if event.kind == Kind::Start {
                continue;
            }
            used.note(&changes);
            let is_note = matches!(event.kind, Kind::Note { .. });
            let of_runtime = event.actor != Actor::Outside && !is_note;
            // The line of a note is in the program.
            let lines = source_lines.of(event).filter(|_| !is_note);
            let slept = match event.kind {
                Kind::Sleep { slept, .. } => slept.map(|slept| slept.as_secs_f64() * 1e3),
                _ => None,
            };
            let mut step = json!({
                "n": event.number,
                "ms": millis(event.at),
                "lane": lane(event),
                "mark": mark(event),
                "task": event.task_id(),
                "about": users.about(event),
                "kind": event.kind_name(),
                "thread": &*event.thread,
                "sentence": naming_main(describer.sentence(event)),
                "short": naming_main(short(event)),
                "causes": event.causes,
                "place": positions.place(event),
                "stack": positions.path(event),
                // The page has the file of a client only if it is a file of the program.
                "file": if !of_runtime && lines.is_none() { "" } else { event.file },
                "record": event.line,
                "act": lines.map_or([0, 0], |lines| [lines.first, lines.last]),
                "changes": changes,
            });
            // Few steps have these, and a long run has many steps.
            let mut add = |key: &str, value: Option<Value>| {
                if let (Some(value), Some(step)) = (value, step.as_object_mut()) {
                    step.insert(key.to_owned(), value);
                }
            };
            add("slept", slept.map(Value::from));
            add("held", polls.held_until(event).map(|held| millis(held).into()));
            add("poll", matches!(event.kind, Kind::Poll { .. }).then_some(true.into()));
            steps.item(step)?;
        }
        steps.end()?;
        Ok(used)
    }
}

fn totals_value(totals: &TaskTotals) -> Value {
    let period = |period: Period| json!({ "ms": millis(period.length()), "step": period.step });
    json!({
        "steps": totals.steps, "polls": totals.polls, "polled": millis(totals.polled),
        "poll": period(totals.longest_poll), "wait": period(totals.longest_wait),
    })
}

fn finding_value(finding: &Finding) -> Value {
    json!({
        "kind": finding.anomaly.kind_name(), "task": finding.task, "step": finding.step,
        "from": millis(finding.from), "to": millis(finding.to), "text": finding.to_string(), "label": finding.label(),
    })
}

/// Whether each of the optional cells is ever used. The page omits a cell that its run never uses.
#[derive(Default)]
struct Used([bool; 3]);

impl Used {
    const CELLS: [&str; 3] = ["inbox", "timers", "woken"];

    fn note(&mut self, changes: &Map<String, Value>) {
        for (used, cell) in self.0.iter_mut().zip(Used::CELLS) {
            *used |= changes.get(cell).is_some_and(|value| *value != json!([]));
        }
    }

    /// Returns the cells before the first step, without those that this run never uses.
    fn of(mut self, mut cells: Map<String, Value>) -> Map<String, Value> {
        self.note(&cells);
        for (used, cell) in self.0.into_iter().zip(Used::CELLS) {
            if !used {
                cells.remove(cell);
            }
        }
        cells
    }
}

/// The tasks that have used each source.
#[derive(Default)]
struct Users(HashMap<u64, BTreeSet<u64>>);

impl Users {
    /// Returns the tasks that an event concerns.
    fn about(&mut self, event: &Event) -> BTreeSet<u64> {
        let mut about: BTreeSet<u64> = event.task_id().into_iter().collect();
        if let Kind::Event { takes, .. } = &event.kind {
            about.extend(takes);
        }
        if let Some(source) = &event.source {
            let users = self.0.entry(source.since).or_default();
            users.extend(&about);
            if about.is_empty() {
                about.clone_from(users);
            }
            if matches!(event.kind, Kind::Deregister | Kind::JobDone) {
                self.0.remove(&source.since);
            }
        }
        about
    }
}

/// The lane on which the page shows an event.
fn lane(event: &Event) -> String {
    match event.actor {
        Actor::Task => event.task_id().map_or("executor".to_owned(), |id| format!("task {id}")),
        Actor::Executor => "executor".to_owned(),
        Actor::Queue => "queue".to_owned(),
        Actor::Reactor => "reactor".to_owned(),
        Actor::Kernel => "kernel".to_owned(),
        Actor::Outside => "outside".to_owned(),
    }
}

/// The shape with which the page shows an event.
fn mark(event: &Event) -> &'static str {
    match &event.kind {
        Kind::Try { outcome: Outcome::WouldBlock, .. } => "block",
        Kind::Store { .. } | Kind::Wake | Kind::TimerSet { .. } => "waker",
        // On the lane of another thread: this thread calls the waker.
        Kind::Queue { .. } | Kind::QueuedAlready if event.actor == Actor::Outside => "waker",
        Kind::Sleep { slept: Some(_), .. } => "asleep",
        _ => "act",
    }
}

/// Names the future of `block_on`, which is always task 0.
fn naming_main(text: String) -> String {
    match text.contains("ask 0") {
        true => text.replace("Task 0", "The main future").replace("task 0", "the main future"),
        false => text,
    }
}

fn introduction(counts: &Counts) -> String {
    format!("The executor's thread slept for {:.1} % of the time.", counts.share_slept() * 100.0)
}
