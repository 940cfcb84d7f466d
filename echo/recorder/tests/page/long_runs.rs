//! Labels, cells and lists that must stay whole in long runs, and the size of their pages.

use std::fs;

use serde_json::{Value, json};

use super::pages::{Recorded, cut, demo, loaded, long};
use super::{Viewer, number, numbers, string};
use crate::browser::Browser;

/// What is wrong with the labels of the wave at some steps from the given one.
#[track_caller]
fn faults_of_labels(viewer: &Viewer<'_>, from: u64, steps: u64) -> Vec<Value> {
    viewer.jump(from);
    let faults = viewer.evaluate(&format!("probe.walk({steps}, () => probe.overlaps('#wave'))"));
    faults.as_array().unwrap().iter().flat_map(|one| one.as_array().unwrap()).cloned().collect()
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn labels_of_the_wave_are_whole_and_apart() {
    let Some(browser) = Browser::start() else { return };
    for recorded in [cut(), long(), demo()] {
        let viewer = Viewer::open(&browser, recorded);
        let first = number(&viewer.steps()[0]);
        let count = viewer.steps().len() as u64;
        for (width, height) in [(1440, 900), (1024, 768)] {
            viewer.size(width, height);
            for from in [first, first + count / 2] {
                let steps = 8.min(count / 2 - 1);
                let faults = faults_of_labels(&viewer, from, steps);
                assert_eq!(faults, [""; 0], "{} from {from} at {width}", viewer.run["title"]);
            }
        }
    }
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn run_queue_of_many_tasks_is_not_cut() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, long());
    let queued = |step: &&Value| step["changes"]["queue"].as_array().map_or(0, Vec::len);
    let steps = viewer.steps().iter().filter(|step| queued(step) > 6).take(12);
    let steps: Vec<(u64, usize)> = steps.map(|step| (number(step), queued(&step))).collect();
    assert!(!steps.is_empty());
    for (width, height) in [(1440, 900), (1024, 768), (390, 844)] {
        viewer.size(width, height);
        for (step, queued) in &steps {
            viewer.jump(*step);
            let cell = "probe.all('#state tr').find((row) => row.cells[0].textContent === 'run queue').cells[1]";
            let fits = viewer.is_true(&format!("{cell}.scrollWidth <= {cell}.clientWidth"));
            assert!(fits, "step {step} at {width}");
            let shown = viewer.evaluate(&format!("{cell}.querySelectorAll('.pill').length"));
            let shown = shown.as_u64().unwrap() as usize;
            let rest =
                viewer.evaluate(&format!("{cell}.querySelector('.more')?.textContent ?? ''"));
            let expected =
                if shown < *queued { format!("+ {}", queued - shown) } else { String::new() };
            assert_eq!(rest, expected, "step {step} at {width}");
            assert!(shown >= 2, "step {step} at {width}: {shown} tasks");
        }
    }
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn search_reports_the_number_of_results() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, long());
    let polls = viewer.steps().iter().filter(|step| {
        let text = [&step["short"], &step["sentence"], &step["lane"], &step["kind"], &step["file"]];
        text.map(string).join(" ").to_lowercase().contains("poll")
    });
    let polls = polls.count();
    assert!((300..10_000).contains(&polls));
    viewer.press("/");
    "poll".chars().for_each(|letter| viewer.press(&letter.to_string()));
    let shown = || viewer.evaluate("probe.all('#found button:not(.rest)').length");
    let total = if polls < 1000 {
        polls.to_string()
    } else {
        format!("{},{:03}", polls / 1000, polls % 1000)
    };
    assert_eq!(shown(), 100);
    assert_eq!(
        viewer.text("#found .rest"),
        format!("The first 100 of {total} steps. Show 100 more")
    );
    viewer.click_on("#found .rest");
    assert_eq!(shown(), 200);
    assert!(viewer.text("#found .rest").starts_with("The first 200 of "));
    let focus = "probe.all('#found button').indexOf(document.activeElement)";
    assert_eq!(viewer.evaluate(focus), 100, "the focus is on the first new result");
}

/// The names of the chapters. Each key leads to its chapter, or to the first followed step of it.
#[track_caller]
fn chapters(browser: &Browser, recorded: &'static Recorded) -> Vec<&'static str> {
    let viewer = Viewer::open(browser, recorded);
    let chapters = viewer.run["chapters"].as_array().unwrap();
    for (nth, chapter) in (1..).zip(chapters) {
        let begins = chapter["step"].as_u64().unwrap();
        let first = viewer.after(&[&format!("{nth}")]);
        assert!(first == begins || nth == 1 && first > begins, "{chapter}: {first}");
    }
    chapters.iter().map(|chapter| string(&chapter["name"])).collect()
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn chapters_of_a_long_run_are_those_of_the_followed_connection() {
    let Some(browser) = Browser::start() else { return };
    let names = ["A client connects", "Bytes", "The connection ends"];
    assert_eq!(chapters(&browser, long())[1..], names);
    assert_eq!(chapters(&browser, loaded())[1..], names);
    assert_eq!(chapters(&browser, cut()), ["The run goes on", "A connection ends"]);
    for recorded in [long(), loaded()] {
        let run = recorded.run();
        let follow = numbers(&run["follow"]);
        let is_end = |step: &&Value| {
            step["kind"] == "end of file"
                && follow.contains(&step["task"].as_u64().unwrap_or(u64::MAX))
        };
        let end = super::steps(run).iter().find(is_end).expect("the connection ends");
        let chapter = run["chapters"][3]["step"].as_u64().unwrap();
        let between = &super::steps(run)[chapter as usize - 1..number(end) as usize - 1];
        let others = between.iter().filter(|step| {
            step["poll"] == true && !follow.contains(&step["task"].as_u64().unwrap())
        });
        assert_eq!(others.count(), 0, "from {chapter} to {}", end["n"]);
    }
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn source_line_wider_than_its_region_can_be_scrolled() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    viewer.size(1024, 768);
    let is_cut = "(() => {
        const region = probe.byId('code').getBoundingClientRect();
        return probe.all('#code .code-line').some((line) => {
            const { top, bottom } = line.getBoundingClientRect();
            const text = line.querySelector('.code-text');
            return top >= region.top && bottom <= region.bottom && text.scrollWidth > text.clientWidth + 1;
        });
    })()";
    let is_wide = "probe.byId('code').scrollWidth > probe.byId('code').clientWidth + 20";
    let mut wide = 0;
    for step in viewer.steps() {
        viewer.press("ArrowRight");
        // Lines are laid out when they come into view.
        viewer.evaluate(
            "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))",
        );
        assert!(!viewer.is_true(is_cut), "step {}", step["n"]);
        if step["file"] == "" || !viewer.is_true(is_wide) {
            continue;
        }
        wide += 1;
        let (x, y) = viewer.middle("#code");
        let wheel = json!({ "type": "mouseWheel", "x": x, "y": y, "deltaX": 60, "deltaY": 0 });
        viewer.call("Input.dispatchMouseEvent", wheel);
        viewer.wait_for("the line scrolls", "probe.byId('code').scrollLeft > 0");
        if wide == 3 {
            break;
        }
    }
    assert_eq!(wide, 3, "some lines are wider than the region");
    viewer.press("ArrowRight");
    assert_eq!(viewer.evaluate("probe.byId('code').scrollLeft"), 0, "a step begins at the left");
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn page_of_ten_thousand_steps_is_smaller_than_6_mb() {
    let steps = super::steps(loaded().run()).len() as u64;
    assert!(steps >= 10_000, "{steps}");
    let size = fs::metadata(&loaded().file).unwrap().len() * 10_000 / steps;
    println!("{size} bytes for 10,000 steps");
    assert!(size < 6_000_000, "{size} bytes for 10,000 steps");
}
