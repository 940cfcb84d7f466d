//! Two compared runs: their lines, both sentences at each step, and the last screen.

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::pages::{VERDICTS, compared};
use crate::{Viewer, number, numbers, plain, steps, string};

fn parts() -> Vec<u64> {
    numbers(&compared().data["parts"])
}

/// What the row of a run shows: its sentence, and its lines of source.
fn row(viewer: &Viewer, side: usize) -> (String, String) {
    let says = format!(
        "probe.all('#step [data-row=\"{side}\"]:is(.row-says, #sentence)').filter(
            (element) => element.checkVisibility()).map(probe.words).join()"
    );
    let code = format!(".row-code[data-row=\"{side}\"]");
    (string(&viewer.evaluate(&says)).to_owned(), viewer.text(&code))
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn first_screen_shows_the_lines_in_which_the_runs_differ() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, compared());
    for (width, height) in [(1440, 900), (1024, 768), (390, 844)] {
        viewer.size(width, height);
        for (screen, key) in [("first", "Home"), ("last", "End")] {
            viewer.press(key);
            for (side, code) in [(0, "reads.rs:3 continue;"), (1, "reads.rs:5 pending().await;")] {
                assert_eq!(row(&viewer, side).1, code, "{screen}, {width}");
            }
            // In the program too.
            let lines = "probe.all('#code .code-line:is(.proper, .faulty)').map(
                (line) => Number(line.dataset.line))";
            assert_eq!(viewer.evaluate(lines), json!([3, 5]), "{screen}, {width}");
        }
        viewer.press("Home");
        assert_eq!(row(&viewer, 0).0, "Read the next byte.");
        assert_eq!(row(&viewer, 1).0, "Wait forever.");
        assert_eq!(viewer.text("#sentence"), string(&viewer.run["claim"]));
    }
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn d_goes_to_the_step_at_which_two_runs_diverge() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, compared());
    assert_eq!(viewer.after(&["d"]), parts()[0]);
    assert_eq!(viewer.after(&["End", "c", "d"]), parts()[1]);
    viewer.press("Home");
    viewer.click_on("#why a");
    assert_eq!(viewer.step(), parts()[1]);
    let single = Viewer::open(&browser, crate::pages::demo());
    assert_eq!(single.from(5, &["d"]), 5, "there is no other run");
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn each_step_shows_the_sentence_and_line_of_both_runs() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, compared());
    let runs = [0, 1].map(|side| &compared().data["runs"][side]);
    let line = |step: &Value| {
        let file = string(&step["file"]).rsplit('/').next().unwrap();
        format!("{file}:{}", numbers(&step["act"])[0])
    };
    // Each run at the divergence and after it, whichever of the two is selected.
    for after in 0..3 {
        let step_of = |side: usize| steps(runs[side]).get((parts()[side] + after) as usize - 1);
        for selected in [0, 1] {
            let Some(step) = step_of(selected) else { continue };
            viewer.evaluate(&format!("view.side = {selected}"));
            viewer.jump(number(step));
            for side in [0, 1] {
                let Some(step) = step_of(side) else { continue };
                let (says, code) = row(&viewer, side);
                assert_eq!(says, plain(string(&step["sentence"])), "{after}, {side}");
                if step["file"] != "" && step["kind"] != "lost" {
                    assert!(code.starts_with(&line(step)), "{code} {}", line(step));
                }
            }
        }
    }
    viewer.evaluate("view.side = 0");
    // The line of the program comes first if the recording has it.
    viewer.jump(parts()[0]);
    let line = row(&viewer, 0).1;
    viewer.evaluate(&format!(
        "runs[0].places = [{{ file: 'reads.rs', line: 3, callers: [] }}];
        runs[0].step({}).place = [0, 1, 'runs'];
        show()",
        parts()[0]
    ));
    assert_eq!(row(&viewer, 0).1, format!("reads.rs:3 continue;{line}"));
    // Before the divergence both rows say the same.
    viewer.jump(parts()[0] - 1);
    assert_eq!(row(&viewer, 0).0, row(&viewer, 1).0);
    // One of them ends earlier.
    let (long, other) = if steps(runs[0]).len() > steps(runs[1]).len() { (0, 1) } else { (1, 0) };
    viewer.jump(1);
    if long == 1 {
        viewer.press("c");
    }
    viewer.jump(number(steps(runs[long]).last().unwrap()));
    assert_eq!(row(&viewer, other).0, "This run has ended.");
    // A click on the name of a run selects it.
    viewer.jump(parts()[0]);
    for side in [1, 0] {
        viewer.click_on(&format!(".row-label[data-row='{side}']"));
        assert_eq!(viewer.evaluate("view.side"), side);
        let pressed = "probe.all('.row-label').map((label) => label.ariaPressed === 'true')";
        assert_eq!(viewer.evaluate(pressed), json!([side == 0, side == 1]));
    }
    assert_eq!(viewer.complaints(), [""; 0]);
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn last_screen_shows_both_verdicts_and_totals() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, compared());
    let polls = |run: &Value| steps(run).iter().filter(|step| step["poll"] == true).count();
    let polls = [0, 1].map(|side| polls(&compared().data["runs"][side]).to_string());
    for (width, height) in [(1440, 900), (1024, 768), (390, 844)] {
        viewer.size(width, height);
        viewer.press("End");
        for (side, verdict) in VERDICTS.iter().enumerate() {
            assert_eq!(row(&viewer, side).0, plain(verdict));
        }
        let rows = viewer.evaluate("probe.rows()");
        assert_eq!(rows[0], json!(["", "right", "with the fault"]));
        assert_eq!(rows[1], json!(["polls", polls[0], polls[1]]));
        assert!(rows.as_array().unwrap().len() > 5);
        let cut = "probe.all('.row-says, #sentence').filter(
            (text) => text.checkVisibility() && text.scrollHeight > text.clientHeight + 1).length";
        assert_eq!(viewer.evaluate(cut), 0);
    }
    // Only the verdict on the fault is red.
    let red = "(() => {
        const sample = document.createElement('i');
        sample.style.color = 'var(--wrong)';
        document.body.append(sample);
        const row = (side) => probe.all(`#step [data-row='${side}']:is(.row-says, #sentence)`).find((one) => one.checkVisibility());
        return [sample, row(0), row(1)].map((one) => getComputedStyle(one).color);
    })()";
    for _ in 0..2 {
        let colours = viewer.evaluate(red);
        assert_eq!(colours[0], "rgb(163, 18, 58)");
        assert!(colours[0] != colours[1] && colours[0] == colours[2], "{colours}");
        viewer.press("c");
    }
}
