//! The views `slide` and `embed`, and the printed page.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::browser::Browser;

use super::pages::{compared, demo, long};
use super::{Viewer, number, plain, steps, string};

/// Whether this element is seen.
fn is_seen(viewer: &Viewer, selector: &str) -> bool {
    viewer.is_true(&format!("document.querySelector({}).checkVisibility()", json!(selector)))
}

/// The marked lines that are outside of the window or of the listing.
const HIDDEN_LINES: &str = "(() => {
    const { top, bottom } = probe.byId('code').getBoundingClientRect();
    return probe.all('#code .code-line.now').filter((line) => {
        const box = line.getBoundingClientRect();
        return box.top < Math.max(0, top - 1) || box.bottom > Math.min(innerHeight, bottom + 1);
    }).length;
})()";

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn slide_shows_sentence_line_and_wave_in_large_type() {
    let Some(browser) = Browser::start() else { return };
    for (width, height, least) in [(1440, 900, 30.0), (1280, 720, 26.0), (1920, 1080, 38.0)] {
        let viewer = Viewer::open_at(&browser, demo(), "view=slide&ask=off");
        viewer.size(width, height);
        for seen in ["#sentence", "#wave", "#code", "#where"] {
            assert!(is_seen(&viewer, seen), "{seen}");
        }
        for hidden in ["#state", "#controls", "#tabs", "#links"] {
            assert!(!is_seen(&viewer, hidden), "{hidden}");
        }
        for step in viewer.steps() {
            let at = format!("step {} at {width}", step["n"]);
            assert_eq!(viewer.after(&["PageDown"]), number(step), "{at}");
            let look = viewer.evaluate("probe.look()");
            assert_eq!(look["overflows"], false, "{at}: the sentence");
            assert_eq!(look["sideways"], json!([]), "{at}");
            assert_eq!(viewer.evaluate(HIDDEN_LINES), 0, "{at}: the marked lines");
            let size = viewer.evaluate(
                "(() => {
                    const sentence = probe.byId('sentence');
                    const scale = sentence.getBoundingClientRect().width / sentence.offsetWidth;
                    return parseFloat(getComputedStyle(sentence).fontSize) * scale;
                })()",
            );
            assert!(size.as_f64().unwrap() >= least, "{at}: {size} px");
        }
        viewer.press("PageUp");
        assert_eq!(viewer.step(), viewer.steps().len() as u64 - 1);
        assert!(viewer.is_true("location.hash.includes('&view=slide')"));
        assert!(viewer.is_true("document.documentElement.scrollHeight <= innerHeight"));
        // A click finds the column, although the wave is scaled.
        for step in [5, 20, 40] {
            viewer.jump(step);
            let (x, y) = viewer.middle("#wave rect.now");
            viewer.jump(1);
            viewer.click(x, y);
            assert_eq!(viewer.step(), step);
        }
        assert_eq!(viewer.complaints(), [""; 0]);
    }
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn embedded_page_fits_with_controls_and_lane_names() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open_at(&browser, demo(), "view=embed&ask=off");
    viewer.size(860, 440);
    viewer.press("ArrowRight");
    let regions = viewer.evaluate("probe.look().regions");
    for step in viewer.steps() {
        let at = format!("step {}", step["n"]);
        viewer.jump(number(step));
        let look = viewer.evaluate("probe.look()");
        assert_eq!(look["overflows"], false, "{at}: the sentence: {}", look["sentence"]);
        assert_eq!(look["sideways"], json!([]), "{at}");
        assert_eq!(viewer.evaluate(HIDDEN_LINES), 0, "{at}: the marked lines");
        for region in ["source", "state", "waves", "controls", "next"] {
            assert_eq!(look["regions"][region], regions[region], "{at}: {region}");
        }
    }
    let names = viewer.evaluate("probe.all('#wave .lane-name').length");
    assert!(names.as_u64() >= Some(7), "{names} lanes");
    assert!(is_seen(&viewer, "#next") && is_seen(&viewer, "#code"));
    let fits = "document.documentElement.scrollHeight <= innerHeight
        && probe.byId('controls').getBoundingClientRect().bottom <= innerHeight";
    assert!(viewer.is_true(fits));
    assert_eq!(viewer.evaluate("probe.contrast().poor"), json!([]));
    // In a narrow frame, the page has one column as always.
    viewer.size(390, 844);
    assert!(
        is_seen(&viewer, "#next")
            && viewer
                .is_true("getComputedStyle(document.querySelector('main')).display === 'flex'")
    );
    assert_eq!(viewer.complaints(), [""; 0]);
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn paper_shows_the_waves_and_the_sentences() {
    let Some(browser) = Browser::start() else { return };
    for recorded in [demo(), compared()] {
        let viewer = Viewer::open(&browser, recorded);
        viewer.press("ArrowRight");
        let before = viewer.seen();
        assert!(!is_seen(&viewer, "#paper"));
        // A4 without its margins.
        viewer.size(688, 1000);
        viewer.print_media(true);
        assert!(is_seen(&viewer, "#paper") && !is_seen(&viewer, "#ladder"));
        let runs = recorded.data["runs"].as_array().unwrap();
        let steps = || runs.iter().flat_map(|run| run["steps"].as_array().unwrap());
        let expected: Value = steps()
            .map(|step| json!([step["n"].to_string(), plain(string(&step["sentence"]))]))
            .collect();
        let printed = "probe.all('#paper li').map((line) => [...line.children].map((one) => one.textContent))";
        assert_eq!(viewer.evaluate(printed), expected);
        let numbers =
            viewer.evaluate("probe.all('#paper .step-number').map((text) => text.textContent)");
        let expected: Value = steps().map(|step| json!(step["n"].to_string())).collect();
        assert_eq!(numbers, expected, "each step has a column");
        let marks = viewer.evaluate("probe.all('#paper :is(.mark, .bar)').length");
        assert_eq!(marks.as_u64(), Some(steps().count() as u64));
        let wide = "probe.all('#paper > *, #paper .row > svg').filter((one) => one.getBoundingClientRect().right > 688).length";
        assert_eq!(viewer.evaluate(wide), 0);
        assert!(viewer.evaluate("probe.all('#paper .row > svg').length").as_u64() > Some(1));

        viewer.print_media(false);
        viewer.size(1440, 900);
        assert_eq!(viewer.seen(), before, "the screen shows the same as before");
        assert_eq!(viewer.complaints(), [""; 0]);
    }
    let viewer = Viewer::open(&browser, long());
    viewer.print_media(true);
    assert!(is_seen(&viewer, "#ladder") && !is_seen(&viewer, "#paper"), "a long run is text");
}

/// The parts of an address of the page, and other text.
fn address() -> impl Strategy<Value = String> {
    let parts = [
        "s=",
        "side=",
        "ask=",
        "view=",
        "on",
        "off",
        "slide",
        "embed",
        "&",
        "#",
        "0",
        "1",
        "2",
        "27",
        "-1",
        "1e3",
        "99999999999999999999",
        "%",
        "%00",
        "<img src=x>",
        "é",
        " ",
    ];
    let part =
        prop_oneof![8 => select(parts.to_vec()).prop_map(str::to_owned), 1 => any::<String>()];
    vec(part, 0..6).prop_map(|parts| parts.concat())
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn any_address_shows_a_step_of_the_run() {
    let Some(browser) = Browser::start() else { return };
    let mut random = TestRunner::deterministic();
    let mut any = || address().new_tree(&mut random).unwrap().current();
    for recorded in [demo(), compared()] {
        let viewer = Viewer::open(&browser, recorded);
        for _ in 0..tests::cases(25) {
            let address = any();
            // With one run, another view loads the page again.
            if address.contains("view=") && recorded.data["runs"].as_array().unwrap().len() == 1 {
                continue;
            }
            let shown = viewer.evaluate(&format!(
                "(() => {{
                    history.replaceState(null, '', '#' + {});
                    dispatchEvent(new HashChangeEvent('hashchange'));
                    return [Number(document.body.dataset.step), probe.words(probe.byId('sentence'))];
                }})()",
                json!(address),
            ));
            let step = shown[0].as_u64().unwrap_or_else(|| panic!("{address:?}: {shown}"));
            // Of the longer run, because the address may name the other one.
            let runs = recorded.data["runs"].as_array().unwrap();
            let last = runs.iter().flat_map(|run| steps(run).last()).map(number).max();
            assert!(Some(step) <= last && shown[1] != "", "{address:?}: {shown}");
        }
        assert_eq!(viewer.complaints(), [""; 0]);
    }
}
