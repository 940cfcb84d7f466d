//! The overview of a long run: its findings, its timeline and its list of tasks.

use serde_json::{Value, json};

use super::pages::{demo, loaded};
use super::{Viewer, number, string};
use crate::browser::Browser;

fn findings(viewer: &Viewer<'_>) -> &'static Vec<Value> {
    viewer.run["findings"].as_array().expect("a list")
}

fn is_open(viewer: &Viewer<'_>) -> bool {
    let shown = "['overview', 'source', 'state'].map((id) => probe.byId(id).checkVisibility())";
    let shown = viewer.evaluate(shown);
    assert!(shown == json!([true, false, false]) || shown == json!([false, true, true]), "{shown}");
    shown[0] == true
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn long_run_begins_with_its_findings() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, loaded());
    assert!(is_open(&viewer));
    let found = findings(&viewer);
    assert!(found.len() >= 3, "{found:#?}");
    assert!(viewer.text("#sentence").starts_with("What stands out in "));
    let chips = viewer.evaluate("probe.all('#findings .chip').map((chip) => chip.innerText)");
    for (chip, finding) in chips.as_array().unwrap().iter().zip(found) {
        assert!(string(chip).ends_with(string(&finding["text"])), "{chip} {finding}");
    }
    let labels = viewer.evaluate("probe.all('#timeline .found').map((text) => text.textContent)");
    assert_eq!(labels.as_array().unwrap().len(), found.len(), "{labels}");
    for (nth, finding) in (1..).zip(found) {
        viewer.press("Home");
        viewer.click_on(&format!("#findings .chip:nth-of-type({nth})"));
        assert_eq!(viewer.step(), finding["step"]);
        assert!(!is_open(&viewer));
        assert!(viewer.text("#wave").contains(&format!("task {}", finding["task"])), "{finding}");
    }
    assert_eq!(viewer.complaints(), [""; 0]);

    let viewer = Viewer::open(&browser, demo());
    assert_eq!(viewer.run["findings"], json!([]));
    assert!(!is_open(&viewer));
    assert_eq!(viewer.after(&["ArrowRight", "o", "x"]), 1, "a short run has no overview");
    assert!(!is_open(&viewer));
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn keys_lead_along_the_findings_and_to_the_overview() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, loaded());
    let mut steps: Vec<u64> =
        findings(&viewer).iter().map(|finding| finding["step"].as_u64().unwrap()).collect();
    steps.sort_unstable();
    steps.iter().for_each(|step| assert_eq!(viewer.after(&["x"]), *step));
    assert_eq!(viewer.evaluate("probe.all('#wave .chapter').length"), 0, "of another connection");
    assert_eq!(viewer.after(&["x"]), steps[0], "after the last one the first one follows");
    assert_eq!(viewer.after(&["Shift+x"]), steps[steps.len() - 1]);

    assert_eq!(viewer.after(&["o"]), steps[steps.len() - 1]);
    assert!(is_open(&viewer));
    assert_eq!(viewer.evaluate("probe.all('#timeline .cursor').length"), 1);
    viewer.press("o");
    assert!(!is_open(&viewer));
    viewer.press("o");
    viewer.press("Escape");
    assert!(!is_open(&viewer));
    viewer.press("o");
    viewer.press("ArrowRight");
    assert!(!is_open(&viewer), "the next step shows its source");
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn timeline_zooms_moves_and_leads_to_steps() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, loaded());
    let window = || -> [f64; 2] {
        let window = viewer.evaluate("[overview.scale.from, overview.scale.to]");
        serde_json::from_value(window).unwrap()
    };
    let length = || window()[1] - window()[0];
    let whole = window();
    viewer.press("+");
    assert!((length() * 1.5 - (whole[1] - whole[0])).abs() < 0.01, "{:?} {whole:?}", window());
    let before = window();
    viewer.press(".");
    assert!(window()[0] > before[0] && (length() - (before[1] - before[0])).abs() < 0.01);
    viewer.press(",");
    viewer.press("-");
    viewer.press("-");
    assert_eq!(window(), whole, "it shows no more than the whole run");

    // The wheel keeps the time under the pointer.
    let held = findings(&viewer).iter().find(|finding| finding["kind"] == "held").unwrap();
    let middle = (held["from"].as_f64().unwrap() + held["to"].as_f64().unwrap()) / 2.0;
    let place = |viewer: &Viewer<'_>| -> (f64, f64) {
        let place = format!(
            "(() => {{
                const box = probe.byId('timeline').getBoundingClientRect();
                return [box.left + overview.scale.x({middle}), box.top + rowMiddle(overview.scale, {})];
            }})()",
            held["task"]
        );
        serde_json::from_value(viewer.evaluate(&place)).unwrap()
    };
    let (x, y) = place(&viewer);
    let wheel = json!({ "type": "mouseWheel", "x": x, "y": y, "deltaX": 0, "deltaY": -400 });
    viewer.call("Input.dispatchMouseEvent", wheel);
    viewer.wait_for("it zooms", "overview.window !== null");
    let (there, _) = place(&viewer);
    assert!((there - x).abs() < 3.0, "{there} {x}");

    // A drag moves the window, and is not a click.
    let before = window();
    viewer.drag((x, y), (x + 60.0, y));
    assert!(window()[0] < before[0]);
    assert_eq!(viewer.step(), 0);
    let (x, y) = place(&viewer);
    viewer.click(x, y);
    assert_eq!(viewer.step(), held["step"], "a click on the bar of a poll");
    assert_eq!(viewer.complaints(), [""; 0]);
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn list_of_tasks_can_be_sorted() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, loaded());
    viewer.click_on("#findings .views button:nth-of-type(2)");
    let column = |nth: u32| {
        let cells = format!(
            "probe.all('#tasks tbody tr > :nth-child({nth})').map((cell) => cell.textContent)"
        );
        let cells: Vec<String> = serde_json::from_value(viewer.evaluate(&cells)).unwrap();
        cells
    };
    let tasks = viewer.run["tasks"].as_array().unwrap();
    assert_eq!(column(1).len(), tasks.len());
    let task_of = |kind: &str| {
        let finding = findings(&viewer).iter().find(|finding| finding["kind"] == kind);
        format!("task {}", finding.expect("a finding")["task"])
    };
    assert_eq!(column(1)[0], task_of("held"), "the longest poll comes first");
    let heads = column(1).len();
    viewer.click_on("#tasks thead th:nth-child(4) button");
    assert_eq!(column(1)[0], task_of("share"), "the task with the most polls");
    viewer.click_on("#tasks thead th:nth-child(4) button");
    assert_eq!(column(1)[heads - 1], task_of("share"));
    viewer.click_on("#tasks thead th:nth-child(8) button");
    let states = column(8);
    assert!(states.is_sorted(), "{states:?}");
    let lost = column(1).iter().position(|task| *task == task_of("lost")).unwrap();
    assert_eq!(states[lost], "lost");

    viewer.click_on("#tasks thead th:nth-child(6) button");
    viewer.click_on("#tasks tbody tr:first-child td:nth-child(6) button");
    let held = findings(&viewer).iter().find(|finding| finding["kind"] == "held").unwrap();
    assert_eq!(viewer.step(), held["step"], "a time leads to its step");
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn overview_of_ten_thousand_steps_is_a_few_nodes() {
    /// A path for each color, and marks and names of 50 tasks. A node for each poll would be more than 2000.
    const MOST: u64 = 250;
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, loaded());
    assert!(viewer.steps().len() >= 10_000);
    let polls = viewer.steps().iter().filter(|step| step["poll"] == true).count();
    let nodes = viewer.evaluate("probe.all('#overview *').length").as_u64().unwrap();
    assert!((20..MOST).contains(&nodes), "{nodes} nodes for {polls} polls");
    let before = processor_time(&viewer);
    viewer.evaluate("for (let nth = 0; nth < 10; nth++) { showOverview(current()); probe.byId('overview').getBoundingClientRect(); }");
    let draw = (processor_time(&viewer) - before) / 10.0;

    // Steps of all tasks, in the middle of the run.
    viewer.jump(9000);
    viewer.press("f");
    viewer.evaluate("probe.walk(40, () => document.body.getBoundingClientRect())");
    let before = processor_time(&viewer);
    viewer.evaluate("probe.walk(40, () => document.body.getBoundingClientRect())");
    let step = (processor_time(&viewer) - before) / 40.0;
    let steps = viewer.steps().len();
    println!(
        "{steps} steps, {polls} polls: the overview has {nodes} nodes and takes {draw:.1} ms, a step takes {step:.1} ms of processor time"
    );
}

/// The milliseconds that the page's main thread has run, which do not depend on the load of the machine.
#[track_caller]
fn processor_time(viewer: &Viewer<'_>) -> f64 {
    viewer.call("Performance.enable", json!({ "timeDomain": "threadTicks" }));
    let metrics = viewer.call("Performance.getMetrics", json!({}));
    let metrics = metrics["metrics"].as_array().unwrap();
    let task = metrics.iter().find(|metric| metric["name"] == "TaskDuration").expect("a metric");
    task["value"].as_f64().unwrap() * 1e3
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn overview_fits_each_window_in_light_and_dark() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, loaded());
    for (width, height) in [(1440, 900), (1024, 768), (390, 844), (720, 450)] {
        viewer.size(width, height);
        viewer.press("Home");
        for dark in [false, true] {
            viewer.colours(dark);
            for view in [1, 2] {
                viewer.click_on(&format!("#findings .views button:nth-of-type({view})"));
                let at = format!("{width}x{height}, dark: {dark}, view {view}");
                let look = viewer.evaluate("probe.look()");
                assert_eq!(
                    (&look["sideways"], &look["overflows"]),
                    (&json!([]), &json!(false)),
                    "{at}"
                );
                let contrast = viewer.evaluate("probe.contrast()");
                assert_eq!(contrast["poor"], json!([]), "{at}");
                let texts = viewer.evaluate("probe.overlaps('#timeline')");
                assert_eq!(texts, json!([]), "{at}");
            }
        }
    }
    assert_eq!(number(&viewer.steps()[0]), 1);
}
