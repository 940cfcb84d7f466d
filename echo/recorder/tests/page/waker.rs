//! The waker of a task, followed from cell to cell.

use serde_json::{Value, json};

use super::pages::demo;
use super::{Browser, Viewer, number, string};

/// Returns the rows of the state in which the page shows a waker of this task.
#[track_caller]
fn holders(viewer: &Viewer<'_>, task: &Value) -> Vec<String> {
    let rows = viewer.evaluate(&format!(
        "probe.all('#state tr').filter((row) => row.checkVisibility({{ visibilityProperty: true }})
            && probe.all('.pill.waker', row).some((pill) => pill.textContent === 'waker {task}'))
            .map((row) => row.cells[0].textContent)"
    ));
    rows.as_array().unwrap().iter().map(|row| string(row).to_owned()).collect()
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn waker_of_a_task_is_in_one_place_at_each_step() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    let tasks = viewer.run["tasks"].as_array().unwrap();
    let mut was_woken = 0;
    for step in viewer.steps() {
        viewer.press("ArrowRight");
        let rows = viewer.seen()["rows"].clone();
        let row = |name: &str| {
            let mut rows = rows.as_array().unwrap().iter();
            rows.find(|row| row[0] == name).map(|row| string(&row[1]).to_owned()).unwrap()
        };
        for task in tasks.iter().filter(|task| task["from"].as_u64() < Some(number(step))) {
            let id = &task["id"];
            let held = holders(&viewer, id);
            let is_queued = row("run queue").contains(&format!("task {id}"));
            let is_running = row("thread") == format!("polling task {id}");
            let state = viewer.evaluate(&format!("current().cells['task/{id}/state']"));
            let at = format!("step {}, task {id}: {held:?}", step["n"]);
            if state == "done" {
                assert!(held.is_empty() && !is_queued, "dropped: {at}");
            } else if held.is_empty() {
                assert!(is_queued != is_running, "{at}");
            } else {
                assert!(held.len() == 1 && !is_queued, "{at}");
            }
            if held == ["woken"] {
                was_woken += 1;
                assert!(matches!(string(&step["kind"]), "event" | "wake"), "{at}");
            }
        }
    }
    // From the event to the call, and during the call.
    assert_eq!(was_woken, 2 * 3);
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn cell_that_a_waker_enters_is_marked() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    let marked = |step: &Value| {
        viewer.jump(number(step));
        let rows =
            "probe.all('#state tr').filter((row) => row.querySelector('.now .waker, .now.waker'))
            .map((row) => row.cells[0].textContent)";
        viewer.evaluate(rows)
    };
    let store = viewer.steps().iter().rfind(|step| step["kind"] == "store").unwrap();
    assert_eq!(marked(store), json!(["source 1"]));
    let takes = |step: &&Value| step["kind"] == "event" && step["changes"].get("woken").is_some();
    let event = viewer.steps().iter().rfind(takes).unwrap();
    assert_eq!(marked(event), json!(["woken"]));
    let wake = viewer.steps().iter().rfind(|step| step["kind"] == "wake").unwrap();
    assert_eq!(marked(wake), json!(["woken"]));
    assert!(viewer.seen()["rows"].to_string().contains("from source 1, being called"));
    let queue = viewer.steps().iter().rfind(|step| step["kind"] == "queue").unwrap();
    assert_eq!(marked(queue), json!([]), "its task is marked in the run queue");
}
