//! The page in a real browser: what each key does, and what each step shows.
//!
//! The tests replay the data in the page to find what a step must show.

mod accessibility;
mod browser;
mod browser_tests;
mod client;
mod compare;
mod long_runs;
mod look;
mod overview;
mod pages;
mod program;
mod prompts;
mod screens;
mod site;
mod views;
mod waker;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Deref;
use std::time::Instant;

use serde_json::{Value, json};
use tests::DEADLINE;

use crate::browser::{Browser, Page};
use crate::pages::{Recorded, blocked, compared, cut, demo, long};

const PROBE: &str = include_str!("probe.js");

/// A page with the viewer in it, and the run that it shows first.
struct Viewer<'browser> {
    page: Page<'browser>,
    run: &'static Value,
}

impl<'browser> Deref for Viewer<'browser> {
    type Target = Page<'browser>;

    fn deref(&self) -> &Page<'browser> {
        &self.page
    }
}

impl<'browser> Viewer<'browser> {
    #[track_caller]
    fn open(browser: &'browser Browser, recorded: &'static Recorded) -> Viewer<'browser> {
        Viewer::open_at(browser, recorded, "")
    }

    #[track_caller]
    fn open_at(
        browser: &'browser Browser,
        recorded: &'static Recorded,
        place: &str,
    ) -> Viewer<'browser> {
        let page = browser.page();
        page.size(1440, 900);
        page.open_at(&recorded.file, place);
        page.evaluate(PROBE);
        Viewer { page, run: recorded.run() }
    }

    /// The number of the step that it shows.
    #[track_caller]
    fn step(&self) -> u64 {
        let step = self.evaluate("Number(document.body.dataset.step)");
        step.as_u64().expect("the body has the step's number")
    }

    /// Where it stands after these keys.
    #[track_caller]
    fn after(&self, keys: &[&str]) -> u64 {
        keys.iter().for_each(|key| self.press(key));
        self.step()
    }

    /// Jumps to a step by the address.
    #[track_caller]
    fn jump(&self, step: u64) {
        self.evaluate(&format!(
            "location.hash === '#s={step}' || new Promise((done) => {{
                addEventListener('hashchange', done, {{ once: true }});
                location.hash = '#s={step}';
            }}).then(() => true)"
        ));
        assert_eq!(self.step(), step, "#s={step}");
    }

    /// What that step shows after a jump to it and these keys.
    #[track_caller]
    fn from(&self, step: u64, keys: &[&str]) -> u64 {
        self.jump(step);
        self.after(keys)
    }

    #[track_caller]
    fn seen(&self) -> Value {
        self.evaluate("probe.seen()")
    }

    /// The text of the first element that a selector finds.
    #[track_caller]
    fn text(&self, selector: &str) -> String {
        let words = format!("probe.words(document.querySelector({}))", json!(selector));
        self.evaluate(&words).as_str().expect("a text").to_owned()
    }

    #[track_caller]
    fn is_true(&self, expression: &str) -> bool {
        self.evaluate(expression).as_bool().expect("yes or no")
    }

    #[track_caller]
    fn click_on(&self, selector: &str) {
        let (x, y) = self.middle(selector);
        self.click(x, y);
    }

    fn steps(&self) -> &'static [Value] {
        steps(self.run)
    }

    /// The first step that satisfies.
    #[track_caller]
    fn first(&self, satisfies: impl Fn(&Value) -> bool) -> &'static Value {
        self.steps().iter().find(|step| satisfies(step)).expect("the run has such a step")
    }

    /// Waits until the page is at rest at a step.
    #[track_caller]
    fn wait_for(&self, what: &str, condition: &str) {
        let deadline = Instant::now() + DEADLINE;
        while !self.is_true(condition) {
            assert!(Instant::now() < deadline, "waiting in vain: {what}");
        }
    }
}

fn steps(run: &Value) -> &[Value] {
    run["steps"].as_array().expect("a run has steps")
}

fn number(step: &Value) -> u64 {
    step["n"].as_u64().expect("a step has a number")
}

fn numbers(list: &Value) -> Vec<u64> {
    list.as_array().expect("a list").iter().map(|n| n.as_u64().expect("of numbers")).collect()
}

fn string(value: &Value) -> &str {
    value.as_str().expect("a string")
}

fn is_of(step: &Value, task: u64) -> bool {
    step["task"] == task || numbers(&step["about"]).contains(&task)
}

/// A sentence as it is read: without `**` and `` ` ``, and `#21` as "step 21".
fn plain(marked_up: &str) -> String {
    marked_up.replace("**", "").replace('`', "").replace('#', "step ")
}

/// What is left of a timer at this time, in milliseconds.
fn time_left(timer: &Value, now: f64) -> String {
    let left = timer["deadline"].as_f64().unwrap() - now;
    let time = match left.abs() {
        ms if ms < 0.1 => format!("{:.0} µs", ms * 1000.0),
        ms if ms < 1.0 => format!("{ms:.2} ms"),
        ms if ms < 9.95 => format!("{ms:.1} ms"),
        ms => format!("{ms:.0} ms"),
    };
    if left >= 0.0 { format!("in {time}") } else { format!("overdue by {time}") }
}

/// The name of a task on the page: the future of `block_on` is task 0.
fn label(task: &Value) -> String {
    if *task == 0 { "main".to_owned() } else { format!("task {task}") }
}

/// The text of a waker on the page.
fn waker(task: &Value) -> String {
    format!("waker {}", label(task).trim_start_matches("task "))
}

/// The state at each step, from the changes of the steps up to it.
struct Replay<'run> {
    run: &'run Value,
    cells: BTreeMap<&'run str, &'run Value>,
    /// All that ever exist.
    paths: BTreeSet<&'run str>,
}

impl<'run> Replay<'run> {
    fn new(run: &'run Value) -> Replay<'run> {
        let entries = |cells: &'run Value| cells.as_object().expect("cells").iter();
        let cells: BTreeMap<_, _> =
            entries(&run["state"]).map(|(path, value)| (&**path, value)).collect();
        let changed = steps(run).iter().flat_map(|step| entries(&step["changes"]));
        let paths = cells.keys().copied().chain(changed.map(|(path, _)| &**path)).collect();
        Replay { run, cells, paths }
    }

    fn apply(&mut self, step: &'run Value) {
        let changes = step["changes"].as_object().expect("cells");
        self.cells.extend(changes.iter().map(|(path, value)| (&**path, value)));
    }

    fn text(&self, path: &str) -> &'run str {
        self.cells.get(path).map_or("", |value| string(value))
    }

    /// The rows of the state at a step, as the page should show them where there is room.
    fn rows(&self, step: u64) -> Value {
        let all = |what: &str| self.run[what].as_array().expect("a list").iter();
        let mut rows = Vec::new();
        for task in all("tasks").filter(|task| task["from"].as_u64() <= Some(step)) {
            rows.push(self.task_row(task));
        }
        rows.push(json!(["thread", self.text("thread")]));
        rows.push(json!(["run queue", self.tasks("queue")]));
        if self.paths.contains("inbox") {
            rows.push(json!(["inbox", self.tasks("inbox")]));
        }
        if self.paths.contains("woken") {
            rows.push(json!(["woken", self.woken()]));
        }
        for source in all("sources").filter(|source| source["from"].as_u64() <= Some(step)) {
            rows.extend(self.source_rows(source));
        }
        if self.paths.contains("timers") {
            rows.push(json!(["timers", self.timers(step)]));
        }
        rows.push(json!(["watches", self.text("kernel")]));
        Value::Array(rows)
    }

    /// The wakers that are about to be called. In these runs, they come from one source or timer.
    fn woken(&self) -> String {
        let woken = self.cells["woken"].as_array().expect("a list");
        let Some(first) = woken.first() else { return "none".to_owned() };
        let pill = |(nth, waker): (usize, &Value)| match nth {
            0 => self::waker(&waker["task"]),
            _ => label(&waker["task"]).trim_start_matches("task ").to_owned(),
        };
        let pills: String = woken.iter().enumerate().map(pill).collect();
        let when = match first["called"].as_bool().unwrap() {
            false => "about to be called",
            true if woken.len() > 1 => "the first is being called",
            true => "being called",
        };
        let is_same = woken.iter().all(|waker| waker["from"] == first["from"]);
        let from =
            if is_same { format!("from {}, ", string(&first["from"])) } else { String::new() };
        format!("{pills} {from}{when}")
    }

    fn timers(&self, step: u64) -> String {
        let now = steps(self.run)[step as usize - 1]["ms"].as_f64().unwrap();
        let timers = self.cells["timers"].as_array().expect("a list").iter();
        let told: Vec<String> = timers
            .map(|timer| format!("{} {}", waker(&timer["task"]), time_left(timer, now)))
            .collect();
        if told.is_empty() { "none".to_owned() } else { told.join(" ") }
    }

    fn task_row(&self, task: &Value) -> Value {
        let cell = |name: &str| self.text(&format!("task/{}/{name}", task["id"]));
        let location = string(&task["location"]).rsplit('/').next();
        let held = if cell("held").is_empty() { "" } else { " · " };
        // The direction is in the row of the source.
        let held = held.to_owned() + &cell("held").replace(" (read)", "").replace(" (write)", "");
        let state = format!("{}{held}", cell("state"));
        json!([label(&task["id"]), task["name"], location, state, cell("polls")])
    }

    fn source_rows(&self, source: &Value) -> Vec<Value> {
        let row = |direction: &str| {
            let path = format!("source/{}/{direction}", string(&source["id"]));
            if !self.paths.contains(&*path) {
                return None;
            }
            let token = format!("source {}", source["token"]);
            let wakers = self.cells.get(&*format!("{path}/wakers")).map(|list| numbers(list));
            let wakers: String =
                wakers.into_iter().flatten().map(|task| waker(&json!(task))).collect();
            let wakers = if wakers.is_empty() { "–" } else { &wakers };
            Some(json!([token, source["name"], direction, self.text(&path), wakers]))
        };
        ["read", "write"].into_iter().filter_map(row).collect()
    }

    fn tasks(&self, path: &str) -> String {
        let tasks: String =
            numbers(self.cells[path]).iter().map(|task| label(&json!(task))).collect();
        if tasks.is_empty() { "empty".to_owned() } else { tasks }
    }
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn page_of_the_demo_is_small_and_self_contained() {
    let size = fs::metadata(&demo().file).unwrap().len();
    assert!(size < 400_000, "{size} bytes");
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    assert_eq!(viewer.text("h1"), "echod --demo");
    assert_eq!(viewer.text("#sentence"), string(&viewer.run["claim"]));
    viewer.press("End");
    assert_eq!(viewer.text("#sentence"), string(&viewer.run["last"]["counts"]));
    assert_eq!(viewer.complaints(), [""; 0]);
    assert_eq!(viewer.requests(), [""; 0]);
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn step_shows_its_state_in_both_directions_and_after_a_jump() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open_at(&browser, demo(), "ask=off");
    let mut there = vec![viewer.seen()];
    let mut replay = Replay::new(viewer.run);
    for step in viewer.steps() {
        viewer.press("ArrowRight");
        let seen = viewer.seen();
        let n = number(step);
        replay.apply(step);
        assert_eq!(seen["step"], n);
        assert_eq!(seen["sentence"], plain(string(&step["sentence"])), "step {n}");
        assert_eq!(seen["rows"], replay.rows(n), "step {n}");
        assert!(string(&seen["where"]).starts_with(&format!("step {n} of ")), "{seen}");
        let lines: Vec<u64> = match string(&step["file"]) {
            "" => Vec::new(),
            file => {
                assert_eq!(seen["marked"]["file"], file, "step {n}");
                let act = numbers(&step["act"]);
                (act[0]..=act[1]).collect()
            }
        };
        assert_eq!(seen["marked"]["lines"], json!(lines), "step {n}");
        there.push(seen);
    }
    viewer.press("ArrowRight");
    there.push(viewer.seen());

    let last = there.len() as u64 - 1;
    assert_eq!(viewer.after(&["ArrowRight"]), last, "there is nothing behind the last screen");
    for (step, there) in there.iter().enumerate().rev() {
        assert_eq!(viewer.seen(), *there, "step {step} on the way back");
        viewer.press("ArrowLeft");
    }
    assert_eq!(viewer.step(), 0, "there is nothing before the first screen");
    // In an order that never goes one step on.
    let mut jumps: Vec<usize> = (0..there.len()).collect();
    jumps.sort_by_key(|step| (step % 7, std::cmp::Reverse(*step)));
    for step in jumps {
        viewer.jump(step as u64);
        assert_eq!(viewer.seen(), there[step], "step {step} after a jump");
    }
    let step = last / 2;
    let opened = Viewer::open_at(&browser, demo(), &format!("s={step}"));
    assert_eq!(opened.seen(), there[step as usize], "step {step} by the address");
    assert_eq!(viewer.complaints(), [""; 0]);
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn keys_act_as_listed() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    let history = viewer.evaluate("history.length");
    let last = viewer.steps().len() as u64 + 1;
    assert_eq!(viewer.after(&["ArrowRight"]), 1);
    assert_eq!(viewer.after(&["ArrowRight"]), 2);
    assert_eq!(viewer.evaluate("location.hash"), "#s=2");
    assert_eq!(viewer.after(&["ArrowLeft"]), 1);
    assert_eq!(viewer.after(&["End"]), last);
    assert_eq!(viewer.after(&["Home"]), 0);
    assert_eq!(viewer.evaluate("history.length"), history, "Back shall leave the page");

    // A task that waits: what comes next is not about it.
    let pending = number(viewer.first(|step| step["kind"] == "pending"));
    let task = viewer.steps()[pending as usize - 1]["task"].as_u64().unwrap();
    let again = number(viewer.first(|step| number(step) > pending && is_of(step, task)));
    assert!(again > pending + 1);
    assert_eq!(viewer.from(pending, &["Shift+ArrowRight"]), again);
    assert_eq!(viewer.after(&["Shift+ArrowLeft"]), pending);

    let polls: Vec<u64> =
        viewer.steps().iter().filter(|step| step["poll"] == true).map(number).collect();
    assert_eq!(viewer.from(0, &["n"]), polls[0]);
    assert_eq!(viewer.after(&["n", "n"]), polls[2]);
    assert_eq!(viewer.after(&["p"]), polls[1]);
    assert_eq!(viewer.from(polls[polls.len() - 1], &["n"]), polls[polls.len() - 1]);

    // A wake has two causes: the event, and the step that kept the waker.
    let wake = viewer.steps().iter().rfind(|step| step["kind"] == "wake").unwrap();
    let causes = numbers(&wake["causes"]);
    let event = &viewer.steps()[causes[0] as usize - 1];
    assert_eq!(viewer.from(number(wake), &["w"]), causes[0]);
    assert_eq!(viewer.after(&["w"]), numbers(&event["causes"])[0]);
    let effect = viewer.first(|step| numbers(&step["causes"]).contains(&number(wake)));
    assert_eq!(viewer.from(number(wake), &["t"]), number(effect));

    let chapters = viewer.run["chapters"].as_array().unwrap();
    assert!(chapters.len() >= 3);
    for (nth, chapter) in (1..).zip(chapters) {
        assert_eq!(viewer.after(&[&format!("{nth}")]), chapter["step"].as_u64().unwrap());
    }
    assert_eq!(viewer.from(5, &["9"]), 5, "there is no ninth chapter");
    assert_eq!(viewer.from(5, &["c"]), 5, "there is no other run");
    assert_eq!(viewer.from(5, &["Control+ArrowRight"]), 5, "that is the browser's");
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn space_plays_up_to_the_next_chapter() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    let pace = || viewer.text("#speed");
    assert_eq!(pace(), "speed 1×");
    viewer.press("[");
    assert_eq!(pace(), "speed 0.5×");
    ["["; 9].iter().for_each(|key| viewer.press(key));
    assert_eq!(pace(), "speed 0.25×");
    ["]"; 9].iter().for_each(|key| viewer.press(key));
    assert_eq!(pace(), "speed 4×");

    let chapter = viewer.run["chapters"][1]["step"].as_u64().unwrap();
    let status = "probe.byId('sentence').getAttribute('aria-live')";
    viewer.jump(chapter - 2);
    assert_eq!(viewer.evaluate(status), "polite");
    viewer.press(" ");
    assert_eq!((viewer.evaluate(status), viewer.text("#play")), ("off".into(), "Stop".into()));
    viewer.wait_for("it stops", "probe.words(probe.byId('play')) === 'Play'");
    assert_eq!((viewer.step(), viewer.evaluate(status)), (chapter, "polite".into()));

    viewer.press(" ");
    viewer.press(" ");
    assert_eq!(viewer.text("#play"), "Play", "Space stops it too");
    viewer.press(" ");
    viewer.press("Escape");
    assert_eq!(viewer.text("#play"), "Play", "Esc stops it too");
    viewer.press(" ");
    assert_eq!((viewer.after(&["Home"]), viewer.text("#play")), (0, "Play".into()));
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn follow_skips_steps_of_other_tasks() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    let wake = viewer.steps().iter().find(|step| step["kind"] == "wake").unwrap();
    let task = wake["task"].as_u64().unwrap();
    let other = viewer.first(|step| number(step) > number(wake) && !is_of(step, task));
    let next = viewer.first(|step| number(step) > number(other) && is_of(step, task));
    viewer.jump(number(wake));
    viewer.press("f");
    assert_eq!(viewer.text("#follow"), format!("only task {task}"));
    assert_eq!(shown_after(&viewer, number(other) - 1), number(next));
    viewer.press("f");
    assert!(viewer.is_true("probe.byId('follow').hidden"));
    assert_eq!(shown_after(&viewer, number(other) - 1), number(other));
}

/// The first step that `→` comes to after this one.
#[track_caller]
fn shown_after(viewer: &Viewer, step: u64) -> u64 {
    viewer.from(step, &["ArrowRight"])
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn long_run_follows_one_connection_at_first() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, long());
    let follow = numbers(&viewer.run["follow"]);
    assert_eq!(follow.len(), 2);
    let others = viewer.run["tasks"].as_array().unwrap().len() - follow.len();
    let lanes = "probe.all('#wave .lane-name').map((lane) => lane.textContent)";
    let lanes = viewer.evaluate(lanes);
    assert_eq!(
        lanes,
        json!([
            format!("task {}", follow[1]),
            format!("task {}", follow[0]),
            format!("others ({others})"),
            "executor",
            "run queue",
            "reactor",
            "kernel"
        ])
    );

    let is_followed = |step: &Value| follow.iter().any(|task| is_of(step, *task));
    let is_nobodys = |step: &Value| numbers(&step["about"]).is_empty();
    let mut before = 0;
    for _ in 0..100 {
        let n = viewer.after(&["ArrowRight"]);
        let step = &viewer.steps()[n as usize - 1];
        assert!(is_followed(step) || is_nobodys(step), "{step}");
        let skipped = &viewer.steps()[before as usize..n as usize - 1];
        assert!(!skipped.iter().any(is_followed), "between {before} and {n}");
        before = n;
    }
    let shown = viewer.evaluate("probe.words(probe.byId('follow'))");
    assert_eq!(shown, format!("only tasks {}, {}", follow[0], follow[1]));

    let strange = viewer.first(|step| !is_followed(step) && !is_nobodys(step));
    viewer.press("f");
    assert_eq!(viewer.from(number(strange) - 1, &["ArrowRight"]), number(strange), "of all tasks");
    assert_eq!(viewer.complaints(), [""; 0]);
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn dialogs_list_the_keys_and_find_steps() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    let is_open = |id: &str| viewer.is_true(&format!("probe.byId('{id}').open"));
    viewer.press("?");
    assert!(is_open("keys"));
    let keys = "probe.all('#keys kbd').map((key) => key.textContent)";
    let told = viewer.evaluate(keys);
    let told: Vec<&str> = told.as_array().unwrap().iter().map(string).collect();
    for key in
        ["→", "←", "n", "p", "w", "t", "Space", "[", "]", "Home", "End", "f", "c", "/", "?", "Esc"]
    {
        assert!(told.contains(&key), "{key} is not in {told:?}");
    }
    assert_eq!(viewer.after(&["ArrowRight"]), 0, "under a dialog nothing moves");
    viewer.press("Escape");
    assert!(!is_open("keys"));

    let wake = viewer.steps().iter().rfind(|step| step["kind"] == "wake").unwrap();
    let type_in = |words: &str| {
        viewer.press("/");
        assert!(is_open("search"));
        words.chars().for_each(|letter| viewer.press(&letter.to_string()));
    };
    type_in(&format!("wake {}", number(wake)));
    let found = || {
        let found =
            "probe.all('#found button').map((button) => Number.parseInt(button.textContent))";
        numbers(&viewer.evaluate(found))
    };
    assert!(found().contains(&number(wake)), "{:?}", found());
    for n in found() {
        let text = viewer.steps()[n as usize - 1].to_string().to_lowercase();
        assert!(text.contains("wake") && text.contains(&number(wake).to_string()), "{text}");
    }
    viewer.press("Escape");
    type_in("wake");
    let found = found();
    assert!(found.len() > 3, "{found:?}");
    assert_eq!(viewer.after(&["Enter"]), found[0]);
    assert!(!is_open("search"));
    type_in("wake");
    assert_eq!(viewer.after(&["ArrowDown", "ArrowDown", "Enter"]), found[1]);
    type_in("no step says this");
    assert_eq!(viewer.text("#found"), "No step matches.");
    assert_eq!(viewer.after(&["Escape"]), found[1]);
    assert!(!is_open("search"));
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn shift_w_draws_the_chain_of_causes() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    let arrows = || viewer.evaluate("probe.all('#wave .head').length").as_u64().unwrap();
    let poll = viewer.steps().iter().rfind(|step| step["poll"] == true).unwrap();
    viewer.jump(number(poll));
    let (alone, step) = (arrows(), number(poll));
    viewer.press("Shift+w");
    // At least: the client's act, the event, the wake, the queue.
    assert!(arrows() >= alone + 3, "{} and {alone}", arrows());
    assert_eq!(viewer.step(), step);
    viewer.press("Escape");
    assert_eq!(arrows(), alone);
    viewer.press("Shift+w");
    assert_eq!(viewer.after(&["ArrowRight", "ArrowLeft"]), step);
    assert_eq!(arrows(), alone, "it is over with the next step");
}

/// The middle of the current column of the wave.
#[track_caller]
fn column(viewer: &Viewer, step: u64) -> (f64, f64) {
    viewer.jump(step);
    viewer.middle("#wave rect.now")
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn press_or_drag_on_the_wave_selects_a_step() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    let last = viewer.steps().len() as u64;
    for step in [3, 9, last / 2, last] {
        let (x, y) = column(&viewer, step);
        viewer.jump(1);
        viewer.click(x, y);
        assert_eq!(viewer.step(), step);
    }
    let (from, to) = (column(&viewer, 12), column(&viewer, 20));
    viewer.jump(1);
    viewer.drag(from, to);
    assert_eq!(viewer.step(), 20);
    viewer.drag(to, from);
    assert_eq!(viewer.step(), 12);
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn tabs_lines_and_links_lead_to_their_target() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    let wake = viewer.steps().iter().rfind(|step| step["kind"] == "wake").unwrap();
    let n = number(wake);
    viewer.jump(n);

    let other = "#tabs button:not([aria-current])";
    let title = viewer.evaluate(&format!("document.querySelector('{other}').title"));
    viewer.click_on(other);
    let shown = viewer.evaluate("probe.marked()");
    assert_eq!((&shown["file"], &shown["lines"]), (&title, &json!([])));
    assert_eq!(viewer.step(), n);
    viewer.press("Escape");
    assert_eq!(viewer.evaluate("probe.marked().file"), wake["file"]);

    let act = numbers(&wake["act"]);
    viewer.click_on("#code .code-line.now button");
    let listed = "probe.all('#found button').map((button) => Number.parseInt(button.textContent))";
    let at_line = |step: &&Value| {
        let there = numbers(&step["act"]);
        step["file"] == wake["file"] && (there[0]..=there[1]).contains(&act[0])
    };
    let expected: Vec<u64> = viewer.steps().iter().filter(at_line).map(number).collect();
    assert!(expected.len() > 1);
    assert_eq!(numbers(&viewer.evaluate(listed)), expected);
    viewer.click_on("#found button");
    assert_eq!(viewer.step(), expected[0]);

    // A link moves on as a key does: Back still leaves the page.
    let follow = |selector: &str| {
        viewer.jump(n);
        let history = viewer.evaluate("history.length");
        viewer.click_on(selector);
        assert_eq!(viewer.evaluate("history.length"), history, "{selector}");
        viewer.step()
    };
    let causes = numbers(&wake["causes"]);
    for (nth, cause) in (1..).zip(&causes) {
        assert_eq!(follow(&format!("#why a:nth-of-type({nth})")), *cause);
    }
    let effect = viewer.first(|step| numbers(&step["causes"]).contains(&n));
    let words = format!("{} {}", effect["n"], string(&effect["short"]));
    viewer.jump(n);
    assert!(viewer.text("#then").contains(&words), "{words}");
    assert_eq!(follow("#then a"), number(effect));
    assert_eq!(follow("#sentence a"), causes[1], "the step that kept the waker");
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn buttons_step_like_the_keys() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    let press = |id: &str| {
        viewer.click_on(id);
        viewer.step()
    };
    assert_eq!(press("#next"), 1);
    assert_eq!(press("#next"), 2);
    assert_eq!(press("#back"), 1);
    viewer.press("9");
    assert_eq!((press("#next"), press("#first")), (2, 0));
    assert_eq!(press("#back"), 0, "there is nothing before");
    let chapters = viewer.run["chapters"].as_array().unwrap();
    for (nth, chapter) in (1..).zip(chapters) {
        viewer.press("Home");
        assert_eq!(press(&format!(".chapters button:nth-of-type({nth})")), chapter["step"]);
    }
    viewer.click_on("#play");
    assert_eq!(viewer.text("#play"), "Stop");
    viewer.click_on("#play");
    assert_eq!(viewer.text("#play"), "Play");
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn two_runs_are_compared_at_each_step() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, compared());
    let [right, wrong] = [0, 1].map(|side| &compared().data["runs"][side]);
    let parts = numbers(&compared().data["parts"]);
    assert!(parts[0] > 3 && parts[0] == parts[1], "{parts:?}");
    assert_ne!(
        steps(right)[parts[0] as usize - 1]["kind"],
        steps(wrong)[parts[1] as usize - 1]["kind"]
    );
    assert_eq!(viewer.evaluate("probe.all('#wave > svg').length"), 2);
    let labels = "probe.all('#wave text').map((text) => text.textContent)";
    let labels = viewer.evaluate(labels).to_string();
    assert!(labels.contains("right") && labels.contains("with the fault"), "{labels}");

    // The rule is where the step's column begins, in both.
    let rules = "probe.all('#wave .part').map((rule) => rule.getBoundingClientRect().x)";
    let column = "probe.all('#wave rect.now').map((column) => column.getBoundingClientRect().x)";
    viewer.jump(parts[0]);
    let (rules, columns) = (viewer.evaluate(rules), viewer.evaluate(column));
    assert_eq!((rules.as_array().unwrap().len(), &rules), (2, &columns));
    let equal = viewer.evaluate("probe.all('#wave > svg:first-of-type .equal').length");
    assert_eq!(equal, parts[0] - 1, "what is equal is muted");

    let told = |run: &Value| plain(string(&steps(run)[parts[0] as usize - 1]["sentence"]));
    assert_eq!(viewer.text("#sentence"), told(right));
    assert_eq!(viewer.after(&["c"]), parts[1]);
    assert_eq!(viewer.text("#sentence"), told(wrong));
    assert!(viewer.text("#head").contains("with the fault"));
    let mut replay = Replay::new(wrong);
    steps(wrong)[..parts[1] as usize].iter().for_each(|step| replay.apply(step));
    assert_eq!(viewer.seen()["rows"], replay.rows(parts[1]));
    viewer.press("c");
    assert_eq!(viewer.text("#sentence"), told(right));

    assert_eq!(viewer.complaints(), [""; 0]);
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn time_in_which_a_poll_holds_the_thread_is_visible() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, blocked());
    let runs = [0, 1].map(|side| &blocked().data["runs"][side]);
    let held = runs.map(|run| {
        let longest = steps(run).iter().filter_map(|step| step["held"].as_f64()).reduce(f64::max);
        longest.expect("a poll holds the thread")
    });
    assert!(held[0] >= 60.0 && held[1] >= 20.0, "{held:?}");

    // The longest bar of each run: both share a scale.
    let bars = "probe.all('#wave > svg').map((wave) => Math.max(
        ...[...wave.querySelectorAll('.bar.holds')].map((bar) => bar.getBBox().width)))";
    let bars = viewer.evaluate(bars);
    let [one, other] = [0, 1].map(|side| bars[side].as_f64().expect("a bar"));
    assert!((one / other - held[0] / held[1]).abs() < 0.2, "{bars} {held:?}");

    let timers = |step: u64| {
        viewer.jump(step);
        let row = "probe.seen().rows.find((row) => row[0] === 'timers')[1]";
        viewer.evaluate(row).as_str().unwrap().to_owned()
    };
    let set = number(viewer.first(|step| step["kind"] == "timer set"));
    assert!(timers(set).starts_with("waker 1 in "), "{}", timers(set));
    let end = viewer.first(|step| step["held"].is_f64() && step["task"] == 2);
    let late = timers(number(end));
    assert!(late.starts_with("waker 1 overdue by "), "{late}");
    assert!(viewer.text("#sentence").contains("after it held the thread for"));
    let labels = viewer.evaluate("probe.all('#wave .held').map((text) => text.textContent)");
    assert_eq!(labels[0], format!("{:.0} ms", held[0]));
    let mut replay = Replay::new(runs[0]);
    steps(runs[0])[..number(end) as usize].iter().for_each(|step| replay.apply(step));
    assert_eq!(viewer.seen()["rows"], replay.rows(number(end)));
    assert_eq!(viewer.complaints(), [""; 0]);
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn cut_recording_shows_the_number_of_missing_steps() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, cut());
    let dropped = viewer.run["dropped"].as_u64().unwrap();
    assert!((1000..1_000_000).contains(&dropped), "{dropped}");
    let told = format!("{},{:03} earlier steps were dropped", dropped / 1000, dropped % 1000);
    assert!(viewer.text("#step").contains(&told), "{told}");
    assert!(viewer.text("#wave").contains(&told), "{told}");
    assert_eq!(viewer.evaluate("probe.all('#wave .tear').length"), 1);

    let (first, last) = (number(&viewer.steps()[0]), viewer.steps().len());
    assert_eq!(first, dropped);
    let mut replay = Replay::new(viewer.run);
    // But the wave: which part of it is in the window depends on where one comes from.
    let seen = || {
        let mut seen = viewer.seen();
        seen["wave"].take();
        seen
    };
    let mut there = Vec::new();
    for step in &viewer.steps()[..16] {
        viewer.press("ArrowRight");
        replay.apply(step);
        let seen = seen();
        assert_eq!(seen["rows"], replay.rows(number(step)));
        there.push(seen);
    }
    assert_eq!(there[0]["step"], first);
    for there in there.iter().rev() {
        assert_eq!(seen(), *there);
        viewer.press("ArrowLeft");
    }
    assert_eq!(viewer.after(&["End", "ArrowLeft"]), first + last as u64 - 1);
    assert_eq!(viewer.complaints(), [""; 0]);
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn step_of_a_long_run_changes_few_nodes() {
    /// In this run a step changes about 300 nodes, or up to 2800 if it shows another source file.
    /// Drawing all steps of the run would take more than 5000 nodes.
    const MOST: u64 = 4000;
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, long());
    let count = viewer.steps().len() as u64;
    assert!(count >= 5000, "{count} steps");
    // Show all tasks, in the middle of the run.
    viewer.press("f");
    assert!(viewer.is_true("probe.byId('follow').hidden"));
    viewer.jump(count / 2);
    viewer.evaluate("probe.measure()");
    (0..50).for_each(|_| viewer.press("ArrowRight"));
    assert_eq!(viewer.step(), count / 2 + 50);
    let presses = viewer.evaluate("probe.presses");
    let presses: Vec<(f64, u64)> = serde_json::from_value(presses).unwrap();
    let (mut times, mut nodes): (Vec<f64>, Vec<u64>) = presses.into_iter().unzip();
    times.sort_by(f64::total_cmp);
    nodes.sort_unstable();
    println!("median {:.1} ms, maximum {:.1} ms", times[25], times[49]);
    println!("median {} nodes, maximum {} nodes", nodes[25], nodes[49]);
    assert!((1..=MOST).contains(&nodes[49]), "{nodes:?}");
}
