//! The first screen, the last screen, the order of rows, and play.

use serde_json::{Value, json};

use super::pages::{demo, long};
use super::{Browser, Viewer, number, plain, string};

#[track_caller]
fn strings(viewer: &Viewer<'_>, expression: &str) -> Vec<String> {
    let list = viewer.evaluate(expression);
    list.as_array().expect("a list").iter().map(|text| string(text).to_owned()).collect()
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn phone_names_the_lanes_beside_the_whole_run() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    viewer.size(390, 844);
    let names = "probe.all('#wave .lane-name').map((name) => name.textContent)";
    let lanes = ["task 2", "task 1", "executor", "run queue", "reactor", "kernel", "client"];
    assert_eq!(strings(&viewer, names), lanes);
    let gap = "probe.all('#wave .mark')[0].getBoundingClientRect().left
        - Math.max(...probe.all('#wave .lane-name').map((name) => name.getBoundingClientRect().right))";
    assert!(viewer.evaluate(gap).as_f64() > Some(0.0), "the names are beside the marks");
    let boxes = "probe.all('#wave .lane-name').map((name) => name.getBBox().y)";
    let tops: Vec<f64> = serde_json::from_value(viewer.evaluate(boxes)).unwrap();
    assert!(tops.windows(2).all(|pair| pair[1] - pair[0] >= 12.0), "{tops:?}");
    // A poll that held the thread, as on a busy machine, has a wide column.
    let is_busy = viewer.steps().iter().any(|step| !step["held"].is_null());
    assert!(is_busy || viewer.is_true("probe.byId('strip').hidden"), "the whole run is in view");
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn legend_explains_both_axes() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    let legend = viewer.text("#state");
    assert!(legend.contains("One column is one step. Up is nearer to your code."), "{legend}");
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn touch_screen_shows_no_names_of_keys() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    let last = viewer.steps().len() as u64 + 1;
    for is_touched in [false, true] {
        viewer.call(
            "Emulation.setTouchEmulationEnabled",
            json!({ "enabled": is_touched, "maxTouchPoints": 5 }),
        );
        viewer.size(1024, 768);
        assert_eq!(viewer.is_true("matchMedia('(pointer: coarse)').matches"), is_touched);
        viewer.jump(0);
        let how = if is_touched { "Tap Next to step" } else { "Press → to step" };
        assert!(viewer.text("#why").contains(how), "{}", viewer.text("#why"));
        let hints = "probe.all('#hints, #touch-hints').filter((one) => one.checkVisibility()).map((one) => one.id)";
        assert_eq!(strings(&viewer, hints), [if is_touched { "touch-hints" } else { "hints" }]);
        let keys = "probe.all('kbd').filter((key) => key.checkVisibility()).length";
        let steps = viewer.steps().len();
        let counts = viewer.evaluate(&format!("probe.walk({steps}, () => {keys})"));
        for (step, count) in counts.as_array().unwrap().iter().enumerate() {
            assert_eq!(*count == 0, is_touched, "{count} keys at step {}", step + 1);
        }
        viewer.jump(last);
        let key = if is_touched { "Tap First" } else { "Home" };
        assert!(viewer.text("#why").contains(key), "{}", viewer.text("#why"));
    }
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn oldest_row_is_the_first_and_no_gap_is_above_it() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    let rows = |caption: &str| {
        format!(
            "[...probe.all('#state table').find((table) => table.caption.textContent === '{caption}').rows]
                .filter((row) => getComputedStyle(row.cells[0]).visibility === 'visible')"
        )
    };
    for step in viewer.steps() {
        viewer.press("ArrowRight");
        for caption in ["Tasks", "Reactor"] {
            let gap = viewer.evaluate(&format!(
                "(() => {{
                    const [row] = {};
                    return row.getBoundingClientRect().top - row.closest('table').caption.getBoundingClientRect().bottom;
                }})()",
                rows(caption)
            ));
            assert!(gap.as_f64() < Some(2.0), "step {}, {caption}: {gap}", step["n"]);
        }
    }
    let names = format!("{}.map((row) => row.cells[0].textContent)", rows("Tasks"));
    assert_eq!(strings(&viewer, &names), ["task 1", "task 2"]);
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn main_future_is_called_main() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, long());
    viewer.press("f");
    let poll = viewer.first(|step| step["poll"] == true && step["task"] == 0);
    viewer.jump(number(poll));
    let rows = viewer.seen()["rows"].to_string();
    assert!(rows.contains("[\"main\",\"main\""), "{rows}");
    assert!(rows.contains("polling the main future"), "{rows}");
    assert!(viewer.text("#sentence").contains("main future"), "{}", viewer.text("#sentence"));
    assert!(!viewer.text("main").contains("task 0"));
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn last_screen_sums_the_run_up_in_three_sentences() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    viewer.press("End");
    let shown = strings(&viewer, "probe.all('#state .shown').map((one) => one.textContent)");
    let counts = string(&viewer.run["last"]["counts"]);
    let slept = counts.split("the thread slept ").nth(1).unwrap().trim_end_matches('.');
    let expected = [
        "The tasks accepted 1 connection, read 1 byte and wrote 1 byte.".to_owned(),
        format!("The thread slept for {slept}, and made 5 polls in between."),
        "Wakers were called 3 times, by the reactor after an event, and each call only put its task \
         into the run queue."
            .to_owned(),
    ];
    assert_eq!(shown, expected);
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn play_shows_each_step_as_long_as_its_sentence_needs() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    let chapter = viewer.run["chapters"][1]["step"].as_u64().unwrap();
    let play = |keys: &[&str]| {
        viewer.jump(1);
        // Do not wait for the timers of the page, but note their length.
        viewer.evaluate(
            "globalThis.wait ??= setTimeout;
            globalThis.waits = [];
            globalThis.setTimeout = (act, ms) => { if (act === tick) waits.push(ms); return wait(act, 0); };",
        );
        keys.iter().for_each(|key| viewer.press(key));
        viewer.press(" ");
        viewer.wait_for("it stops", "probe.words(probe.byId('play')) === 'Play'");
        assert_eq!(viewer.step(), chapter);
        let waits: Vec<f64> = serde_json::from_value(viewer.evaluate("waits")).unwrap();
        waits
    };
    let usual = play(&[]);
    let words = |step: &Value| plain(string(&step["sentence"])).split(' ').count();
    let steps = &viewer.steps()[..chapter as usize];
    for ((step, other), wait) in steps.iter().zip(&steps[1..]).zip(usual.windows(2)) {
        assert_eq!(words(step) < words(other), wait[0] < wait[1], "{step} {other} {wait:?}");
    }
    assert!(usual.iter().all(|wait| (1000.0..10_000.0).contains(wait)), "{usual:?}");
    let slower: Vec<f64> = usual.iter().map(|wait| wait * 2.0).collect();
    assert_eq!(play(&["["]), slower);
}
