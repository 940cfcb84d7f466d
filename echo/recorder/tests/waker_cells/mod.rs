//! Checks on the cells of the page that a waker is in one of them at a time: in a source, a job or a
//! timer, then in the list of woken wakers. Its call puts its task into the run queue.
//!
//! Method: replay the cells, and compare what each step takes out of them with what it puts in.

use std::collections::{BTreeMap, HashMap};

use recorder::{Page, Recording, Run};
use serde_json::Value;
use tests::page_data;

/// The ID of the task of a waker, or -1 for a custom waker.
type Owner = i64;

/// The wakers in some cells, each with its number.
type Wakers = BTreeMap<Owner, usize>;

#[derive(Clone, Debug)]
struct Cells<'a>(HashMap<&'a str, &'a Value>);

impl<'a> Cells<'a> {
    fn apply(&mut self, changes: &'a Value) {
        let changes = changes.as_object().unwrap().iter();
        self.0.extend(changes.map(|(path, value)| (&**path, value)));
    }

    fn list(&self, path: &str) -> &'a [Value] {
        self.0.get(path).map_or(&[], |list| list.as_array().unwrap())
    }

    /// The cells of sources and jobs, each with its wakers.
    fn sources(&self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.0
            .iter()
            .filter(|(path, _)| path.ends_with("/wakers"))
            .map(|(path, list)| (*path, *list))
    }

    /// The wakers in sources, jobs and timers.
    fn stored(&self) -> Wakers {
        let sources = self.sources().flat_map(|(_, list)| list.as_array().unwrap());
        let timers = self.list("timers").iter().map(|timer| &timer["task"]);
        count(sources.chain(timers))
    }

    /// The number of wakers that are about to be called.
    fn woken(&self) -> usize {
        let size = |waker: &Value| waker["more"].as_u64().unwrap_or(1) as usize;
        self.list("woken").iter().map(size).sum()
    }

    /// The number of wakers that are being called.
    fn called(&self) -> usize {
        self.list("woken").iter().filter(|waker| waker["called"] == true).count()
    }

    /// The wakers that are about to be called, as far as they are listed.
    fn listed(&self) -> impl Iterator<Item = &'a Value> {
        self.list("woken").iter().map(|waker| &waker["task"]).filter(|task| !task.is_null())
    }

    fn is_cut(&self) -> bool {
        self.list("woken").iter().any(|waker| waker["more"].is_u64())
    }

    fn queued(&self) -> Wakers {
        count(self.list("queue").iter().chain(self.list("inbox")))
    }

    /// The places of the wakers of a task, as its row names them.
    fn held(&self, task: u64) -> Vec<&'a str> {
        let held = self.0.get(&*format!("task/{task}/held")).and_then(|held| held.as_str());
        held.map_or(Vec::new(), |held| held.trim_start_matches("waker in ").split(", ").collect())
    }
}

fn count<'a>(tasks: impl Iterator<Item = &'a Value>) -> Wakers {
    let mut wakers = Wakers::new();
    tasks.for_each(|task| *wakers.entry(task.as_i64().unwrap_or(-1)).or_default() += 1);
    wakers
}

/// What is in `one` and not in `other`.
fn without(one: &Wakers, other: &Wakers) -> Wakers {
    let left = |(task, number): (&Owner, &usize)| {
        let left = number.saturating_sub(other.get(task).copied().unwrap_or_default());
        (left > 0).then_some((*task, left))
    };
    one.iter().filter_map(left).collect()
}

fn number(wakers: &Wakers) -> usize {
    wakers.values().sum()
}

pub(crate) fn check(recording: &Recording) {
    let data = page_data(&Page::new("a run", Run::new("A run.", recording.clone())).html());
    let run = &data["runs"][0];
    let mut cells = Cells(HashMap::new());
    cells.apply(&run["state"]);
    let is_job = |step: &Value| step["short"].as_str().unwrap().contains(" in job ");
    for step in run["steps"].as_array().unwrap() {
        let kind = step["kind"].as_str().unwrap();
        let before = cells.clone();
        cells.apply(&step["changes"]);
        let lost = without(&before.stored(), &cells.stored());
        let gained = without(&cells.stored(), &before.stored());
        let (taken, stored) = (number(&lost), number(&gained));
        // How many wakers this step adds to those that are about to be called.
        let arrives = match kind {
            "event" | "timer fired" => taken..=taken,
            // A sweep takes the wakers out of a source without an event.
            "wake" if taken <= 1 => taken..=taken,
            // If its task has ended, a job calls no waker of a task.
            "job done" => 0..=taken,
            _ => 0..=0,
        };
        // A waker leaves the list when its call is over, and not before.
        let (woken, called) = (before.woken(), before.called());
        let least = (woken + arrives.start()).saturating_sub(called);
        assert!((least..=woken + arrives.end()).contains(&cells.woken()), "{step} {before:?}");
        match kind {
            "store" | "timer set" => {
                let owner = step["task"].as_i64().unwrap_or(-1);
                assert!(stored == 1 && gained.contains_key(&owner), "{step} {gained:?}");
                // A job has one waker, which the next one replaces.
                assert!(lost.is_empty() || is_job(step), "{step} {lost:?}");
            }
            "event" | "timer fired" | "wake" | "job done" | "deregister" | "timer dropped" => {
                assert!(gained.is_empty(), "{step} {gained:?}");
            }
            _ => assert!(gained.is_empty() && lost.is_empty(), "{step} {gained:?} {lost:?}"),
        }
        if kind == "event" && !cells.is_cut() {
            let arrived = without(&count(cells.listed()), &count(before.listed()));
            assert_eq!(without(&lost, &arrived), Wakers::new(), "{step} {before:?}");
        }
        let entered = without(&cells.queued(), &before.queued());
        let owner = step["task"].as_i64();
        if kind == "queue" {
            assert_eq!(entered, Wakers::from([(owner.unwrap(), 1)]), "{step}");
        } else {
            assert!(entered.is_empty(), "{step} {entered:?}");
        }
        let thread = cells.0["thread"].as_str().unwrap();
        if kind == "sleep" {
            assert_eq!(cells.woken(), cells.called(), "asleep before a call: {step}");
        }
        if kind == "poll" {
            let polled = match owner.unwrap() {
                0 => "polling the main future".to_owned(),
                task => format!("polling task {task}"),
            };
            assert_eq!(thread, polled, "{step}");
            // Another wakeup of the task may be in the inbox.
            let is_queued = cells.list("queue").iter().any(|queued| *queued == step["task"]);
            assert!(!is_queued, "polled and queued: {step}");
        }
        check_holders(&cells, step, run);
    }
    assert_eq!(cells.woken() - cells.called(), 0, "wakers that are never called");
}

/// The row of each task that a step concerns names the cells in which its wakers are.
fn check_holders(cells: &Cells<'_>, step: &Value, run: &Value) {
    let tokens: HashMap<&str, &Value> = run["sources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|source| (source["id"].as_str().unwrap(), source))
        .collect();
    let about = step["about"].as_array().unwrap().iter().map(|task| task.as_u64().unwrap());
    for task in about {
        let held = cells.held(task);
        let mut places: Vec<String> = Vec::new();
        for (path, list) in cells.sources() {
            if list.as_array().unwrap().iter().any(|owner| *owner == task) {
                let mut parts = path.split('/').skip(1);
                let (source, direction) = (tokens[parts.next().unwrap()], parts.next().unwrap());
                places.push(match source["name"] == "job" {
                    true => format!("job {}", source["token"]),
                    false => format!("source {} ({direction})", source["token"]),
                });
            }
        }
        if cells.list("timers").iter().any(|timer| timer["task"] == task) {
            places.push("a timer".to_owned());
        }
        if cells.listed().any(|owner| *owner == task) {
            places.push("woken list".to_owned());
        }
        let mut held: Vec<&str> = held.into_iter().filter(|held| !held.is_empty()).collect();
        if cells.is_cut() {
            held.retain(|held| *held != "woken list");
            places.retain(|place| place != "woken list");
        }
        held.sort_unstable();
        places.sort_unstable();
        assert_eq!(held, places, "task {task} at {step}");
    }
}
