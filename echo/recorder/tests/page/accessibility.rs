//! What readers who use a keyboard, a screen reader, zoom or forced colors get from the page.

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::pages::{compared, demo};
use crate::{Viewer, number, string};

/// The token of the source with this ID, which the state shows.
fn token(run: &Value, id: &str) -> u64 {
    let sources = run["sources"].as_array().unwrap();
    let source = sources.iter().find(|source| source["id"] == id).expect("a source of the run");
    source["token"].as_u64().unwrap()
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn spoken_changes_name_sources_by_their_tokens() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    let mut checked = 0;
    for step in viewer.steps() {
        viewer.press("ArrowRight");
        let spoken = viewer.evaluate("probe.byId('sentence').textContent");
        for path in step["changes"].as_object().unwrap().keys() {
            let Some((id, cell)) =
                path.strip_prefix("source/").and_then(|rest| rest.split_once('/'))
            else {
                continue;
            };
            let cell = cell.replace('/', ", ");
            let name = format!("Source {}, {cell}:", token(viewer.run, id));
            assert!(string(&spoken).contains(&name), "{name} is not in {spoken}");
            checked += 1;
        }
    }
    assert!(checked > 5);
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn next_is_in_view_at_200_percent_zoom() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    // 1440×900, 1280×800 and 1280×720 at 200 %.
    for (width, height) in [(720, 450), (640, 400), (640, 360)] {
        viewer.size(width, height);
        for step in [0, 1, 12, viewer.steps().len() as u64 + 1] {
            viewer.jump(step);
            let next = "(() => {
                const { top, bottom } = probe.byId('next').getBoundingClientRect();
                return top >= 0 && bottom <= innerHeight;
            })()";
            assert!(viewer.is_true(next), "step {step} at {width}x{height}");
        }
        // The fixed controls cover nothing at the end of the page.
        let last = "(() => {
            scrollTo(0, 1e6);
            return probe.byId('state').getBoundingClientRect().bottom
                <= probe.byId('controls').getBoundingClientRect().top + 1;
        })()";
        assert!(viewer.is_true(last), "{width}x{height}");
    }
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn focus_stays_in_its_region_after_enter() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    let wake = number(viewer.steps().iter().rfind(|step| step["kind"] == "wake").unwrap());
    let enter = |step: u64, selector: &str, region: &str| {
        viewer.jump(step);
        viewer.evaluate(&format!("document.querySelector({}).focus()", json!(selector)));
        viewer.press("Enter");
        assert_ne!(viewer.step(), step, "{selector}");
        let focused = viewer.evaluate("probe.focused()");
        let inside =
            viewer.is_true(&format!("Boolean(document.activeElement.closest({}))", json!(region)));
        assert!(inside, "{selector}: {focused}");
    };
    enter(wake, "#why a", "#links");
    enter(wake, "#then a", "#links");
    enter(wake, "#sentence a", "#step");
    // Nothing of the state takes the focus, so the step after the chapter is one key away.
    enter(0, ".chapters button:last-of-type", "#next");
    enter(wake, "#next", "#next");
    // Repeated, the key walks along the causes.
    viewer.jump(wake);
    viewer.evaluate("document.querySelector('#why a').focus()");
    viewer.press("Enter");
    let event = viewer.step();
    viewer.press("Enter");
    assert!(viewer.step() < event && event < wake);

    // A step from the list of a line.
    viewer.jump(wake);
    viewer.evaluate("document.querySelector('#code .code-line.now button').focus()");
    viewer.press("Enter");
    viewer.press("Enter");
    assert!(viewer.is_true("Boolean(document.activeElement.closest('#source'))"));
    // The button that ends a filter disappears.
    viewer.jump(wake);
    viewer.press("f");
    viewer.evaluate("probe.byId('follow').focus()");
    viewer.press("Enter");
    assert_ne!(viewer.evaluate("probe.focused()"), json!(null));
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn focused_wave_has_the_keys_of_a_slider() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    let last = viewer.steps().len() as u64 + 1;
    viewer.evaluate("probe.byId('wave').focus()");
    assert_eq!(viewer.after(&["ArrowUp"]), 1);
    assert_eq!(viewer.after(&["ArrowRight"]), 2);
    assert_eq!(viewer.after(&["ArrowDown"]), 1);
    assert_eq!(viewer.after(&["PageUp"]), 11);
    assert_eq!(viewer.after(&["PageUp", "PageDown"]), 11);
    assert_eq!(viewer.after(&["PageDown", "PageDown"]), 0);
    assert_eq!(viewer.after(&["End"]), last);
    assert_eq!(viewer.after(&["PageUp"]), last);
    assert_eq!(viewer.after(&["Home"]), 0);
    assert_eq!(viewer.evaluate("document.activeElement.id"), "wave");
    // Elsewhere, these keys scroll.
    viewer.evaluate("document.activeElement.blur()");
    assert_eq!(viewer.after(&["ArrowUp", "PageUp"]), 0);
}

/// The color that the screen shows beside the left edge of an element, or in its center. The style that
/// a script can read is the one before the browser forces its colors.
fn pixel(viewer: &Viewer, selector: &str, at: &str) -> [u64; 3] {
    let picture = viewer.call("Page.captureScreenshot", json!({ "format": "png" }));
    let color = viewer.evaluate(&format!(
        "(async () => {{
            const bytes = Uint8Array.from(atob({}), (byte) => byte.charCodeAt(0));
            const picture = await createImageBitmap(new Blob([bytes]));
            const context = new OffscreenCanvas(picture.width, picture.height).getContext('2d');
            context.drawImage(picture, 0, 0);
            const {{ x, y, width, height }} = document.querySelector({}).getBoundingClientRect();
            const left = {} === 'center' ? x + width / 2 : Math.max(0, x - 3);
            return [...context.getImageData(left, y + height / 2, 1, 1).data].slice(0, 3);
        }})()",
        picture["data"],
        json!(selector),
        json!(at)
    ));
    serde_json::from_value(color).expect("a color")
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn forced_colors_keep_the_line_cells_dots_and_marks() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    let blocks = number(viewer.first(|step| step["kind"] == "would block"));
    for dark in [false, true] {
        viewer.colours(dark);
        viewer.forced_colors(true);
        viewer.jump(blocks);
        let differ = |one: &str, other: &str, at: &str| {
            let [one, other] = [one, other].map(|selector| pixel(&viewer, selector, at));
            let distance = one.iter().zip(other).map(|(a, b)| a.abs_diff(b)).max();
            assert!(distance >= Some(90), "dark: {dark}: {one:?} {other:?}");
        };
        differ("#code .code-line.now", "#code .code-line:not(.now)", "edge");
        differ("#state .now", "#state td > span:not(.now)", "edge");
        differ(".dot.full", ".dot:not(.full)", "center");
        differ("#wave .mark:not(.block)", "#wave .mark.block", "center");
        differ("#wave .mark:not(.block)", "#waves", "center");
        viewer.forced_colors(false);
    }
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn marks_of_compared_runs_have_enough_contrast() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, compared());
    for dark in [false, true] {
        viewer.colours(dark);
        assert!(viewer.is_true("probe.all('#wave .equal').length > 5"));
        assert_eq!(viewer.evaluate("probe.faintMarks()"), json!([]), "dark: {dark}");
    }
}

// The color is not enough: the marks of two tasks look alike to some readers, and in print.
#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn marks_on_shared_lanes_have_the_number_of_their_task() {
    let Some(browser) = Browser::start() else { return };
    for recorded in [demo(), compared()] {
        let viewer = Viewer::open(&browser, recorded);
        for width in [1440, 1024] {
            viewer.size(width, 900);
            for step in [1, viewer.steps().len() as u64 / 2, viewer.steps().len() as u64] {
                viewer.jump(step);
                // Each number counts for the marks from there to the next number.
                let wrong = "(() => {
                    const layout = layouts[0];
                    const { run, lanes, laneAt } = layout;
                    const numbers = probe.all('.task-number', probe.byId('wave').firstChild)
                        .map((text) => [Number(text.getAttribute('x')), text.textContent]);
                    const { first, last } = visible(layout);
                    const shown = run.shown.slice(first, last + 1).filter((position) => {
                        const step = run.step(position);
                        const isInView = pointOf(layout, position).x >= scroll + 4;
                        return isInView && step.task !== null && lanes[laneAt(step)].task !== step.task;
                    });
                    const numberAt = (x) => numbers.findLast(([at]) => at <= x + 0.5)?.[1];
                    const wrong = shown.filter((position) =>
                        numberAt(pointOf(layout, position).x) !== String(run.step(position).task));
                    return [shown.length > 5, wrong];
                })()";
                assert_eq!(viewer.evaluate(wrong), json!([true, []]), "step {step} at {width}");
            }
        }
    }
}
