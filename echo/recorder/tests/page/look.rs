//! The layout of the page at each step and window size, and its accessibility.

use std::collections::BTreeSet;
use std::fs;

use crate::browser::Browser;
use serde_json::{Value, json};

use super::pages::{compared, demo, long};
use super::{Viewer, number, string};

const SIZES: [(u32, u32); 4] = [(1440, 900), (1024, 768), (390, 844), (720, 450)];

/// Returns the changes of a step that the page marks. It does not mark cells that repeat others, and
/// a source that is registered or closed counts as one change.
fn changes(run: &Value, step: &Value) -> BTreeSet<String> {
    let n = &step["n"];
    let comes_or_goes = |source: &&Value| source["from"] == *n || source["gone"] == *n;
    let sources = run["sources"].as_array().unwrap().iter().filter(comes_or_goes);
    let whole: Vec<String> =
        sources.map(|source| format!("source/{}/", string(&source["id"]))).collect();
    let paths = step["changes"].as_object().unwrap().keys();
    let moves = |path: &str| match string(&step["kind"]) {
        // The waker is now in the list of those that are about to be called, or its task is in the run
        // queue.
        "event" | "timer fired" => path.ends_with("/wakers") || path == "timers",
        "queue" => path == "woken",
        _ => false,
    };
    let marked = paths.filter(|path| !path.ends_with("/held") && !path.ends_with("/polls"));
    let marked = marked.filter(|path| !moves(path));
    let one = |path: &String| {
        let source = whole.iter().find(|source| path.starts_with(*source));
        source.unwrap_or(path).clone()
    };
    marked.map(one).chain(whole.iter().cloned()).collect()
}

fn length(list: &Value) -> usize {
    list.as_array().expect("a list").len()
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn steps_keep_the_layout_at_each_window_size() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    let steps = viewer.steps().len();
    for dark in [false, true] {
        viewer.colours(dark);
        for (width, height) in SIZES {
            viewer.size(width, height);
            viewer.press("Home");
            let looks = viewer.evaluate(&format!("probe.walk({steps}, probe.look)"));
            let looks = looks.as_array().unwrap();
            let regions = &looks[0]["regions"];
            for (step, look) in viewer.steps().iter().zip(looks) {
                let at = format!("step {} at {width}x{height}, dark: {dark}", step["n"]);
                assert_eq!(look["step"], step["n"], "{at}");
                assert_eq!(look["overflows"], false, "{at}: the sentence");
                assert_eq!(look["clipped"], json!([]), "{at}");
                assert_eq!(look["sideways"], json!([]), "{at}");
                assert_eq!(look["pale"], json!([]), "{at}");
                assert!(look["arrows"].as_u64() <= Some(2), "{at}: {}", look["arrows"]);
                let is_ours = step["file"] != "";
                assert_eq!(length(&look["marked"]["lines"]) > 0, is_ours, "{at}");
                let changes = changes(viewer.run, step);
                let yellow = look["yellow"].as_u64().unwrap() as usize;
                assert!(yellow <= 3, "{at}: {yellow} cells");
                // On a phone the direction in which nobody waits is not shown.
                assert!(
                    yellow == changes.len() || width < 760 && yellow < changes.len(),
                    "{at}: {changes:?}, {yellow} cells"
                );
                assert_eq!(look["regions"], *regions, "{at}: it jumps");
            }
            for key in ["End", "Home"] {
                viewer.press(key);
                let look = viewer.evaluate("probe.look()");
                assert_eq!(
                    (&look["overflows"], &look["sideways"]),
                    (&json!(false), &json!([])),
                    "{key}"
                );
            }
        }
    }
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn layout_is_stable_with_two_runs_or_many_tasks() {
    let Some(browser) = Browser::start() else { return };
    for recorded in [compared(), long()] {
        let viewer = Viewer::open(&browser, recorded);
        for (width, height) in SIZES {
            viewer.size(width, height);
            viewer.press("Home");
            let steps = viewer.steps().len().min(24);
            let looks = viewer.evaluate(&format!("probe.walk({steps}, probe.look)"));
            let looks = looks.as_array().unwrap();
            for look in looks {
                let at =
                    format!("{}: step {} at {width}x{height}", viewer.run["title"], look["step"]);
                assert_eq!(
                    (&look["overflows"], &look["sideways"]),
                    (&json!(false), &json!([])),
                    "{at}"
                );
                assert_eq!(look["regions"], looks[0]["regions"], "{at}: it jumps");
            }
        }
    }
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn phone_shows_the_main_regions_without_scrolling() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    viewer.size(390, 844);
    let steps = viewer.steps().len();
    let out = viewer.evaluate(&format!("probe.walk({steps}, probe.outOfView)"));
    for (step, out) in (1..).zip(out.as_array().unwrap()) {
        assert_eq!(*out, json!([]), "step {step}");
    }
    assert_eq!(viewer.step(), steps as u64);
    assert_eq!(viewer.evaluate("[scrollX, scrollY]"), json!([0, 0]));
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn text_has_enough_contrast_in_light_and_dark() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    // One step of each kind, and the first and the last screen.
    let mut kinds = BTreeSet::new();
    let kinds = viewer.steps().iter().filter(|step| kinds.insert(string(&step["kind"])));
    let last = viewer.steps().len() as u64 + 1;
    let steps: Vec<u64> = kinds.map(number).chain([0, last]).collect();
    let assert_readable = |viewer: &Viewer, what: &str| {
        let contrast = viewer.evaluate("probe.contrast()");
        assert!(contrast["measured"].as_u64() > Some(10), "{what}: {contrast}");
        assert_eq!(contrast["poor"], json!([]), "{what}");
    };
    for dark in [false, true] {
        viewer.colours(dark);
        // No color depends on the size of the window, but what is in view does.
        for (width, height) in if dark { &SIZES[..1] } else { &[SIZES[2], SIZES[0]][..] } {
            viewer.size(*width, *height);
            for step in &steps {
                viewer.jump(*step);
                assert_readable(&viewer, &format!("step {step} at {width}, dark: {dark}"));
            }
        }
        for keys in [&["?"][..], &["/", "w", "a", "k", "e"]] {
            keys.iter().for_each(|key| viewer.press(key));
            assert_readable(&viewer, "a dialog");
            viewer.press("Escape");
        }
    }
    let viewer = Viewer::open(&browser, compared());
    for dark in [false, true] {
        viewer.colours(dark);
        for key in ["Home", "ArrowRight", "c", "End"] {
            viewer.press(key);
            assert_readable(&viewer, "two runs");
        }
    }
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn screen_reader_gets_the_content_of_the_page() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    viewer.call("Accessibility.enable", json!({}));
    let wake = number(viewer.first(|step| step["kind"] == "wake"));
    for step in [0, wake, viewer.steps().len() as u64 + 1] {
        viewer.jump(step);
        let tree = viewer.call("Accessibility.getFullAXTree", json!({}));
        let nodes: Vec<&Value> = tree["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|node| node["ignored"] == false)
            .collect();
        let of_role = |role: &str| {
            let found: Vec<&Value> =
                nodes.iter().copied().filter(|node| node["role"]["value"] == role).collect();
            found
        };
        let buttons = of_role("button");
        assert!(buttons.len() > 5);
        for element in buttons.into_iter().chain(of_role("link")).chain(of_role("region")) {
            assert!(!string(&element["name"]["value"]).trim().is_empty(), "{element}");
        }
        let property = |node: &Value, name: &str| {
            let properties = node["properties"].as_array().unwrap();
            let found = properties.iter().find(|property| property["name"] == name);
            found.map_or(Value::Null, |property| property["value"]["value"].clone())
        };
        let sentence = viewer.text("#sentence");
        let [slider] = of_role("slider")[..] else { panic!("one slider, at step {step}") };
        assert_eq!(slider["value"]["value"], step);
        let told = viewer.evaluate("probe.byId('wave').getAttribute('aria-valuetext')");
        assert!(string(&told).starts_with(&sentence), "{told}");
        let [status] = of_role("status")[..] else { panic!("one status, at step {step}") };
        assert_eq!(property(status, "live"), "polite");
        // The state is tables, and each row has its header.
        let rows = viewer.evaluate("probe.rows().length");
        assert_eq!(of_role("rowheader").len(), rows.as_u64().unwrap() as usize, "step {step}");
        assert_eq!(rows.as_u64() > Some(0), step == wake);
    }
    let spoken = |step: u64| {
        viewer.jump(step);
        let text = viewer.evaluate("probe.byId('sentence').textContent");
        string(&text).to_owned()
    };
    let text = spoken(wake);
    assert!(text.contains("was waiting"), "it tells also what was: {text}");
    let text = spoken(number(viewer.first(|step| step["poll"] == true)));
    assert!(!text.contains("0 polls"), "but no count: {text}");
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn tab_reaches_all_controls_in_reading_order() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    viewer.jump(number(viewer.first(|step| step["kind"] == "wake")));
    viewer.evaluate("document.activeElement.blur()");
    let mut reached = Vec::new();
    loop {
        viewer.press("Tab");
        let focused = viewer.evaluate("probe.focused()");
        if focused.is_null() || reached.len() > 300 {
            break;
        }
        assert_eq!(focused["shows"], true, "{focused}");
        assert_eq!(focused["large"], true, "{focused}");
        assert_eq!(focused["inOrder"], true, "{focused}");
        reached.push(focused);
    }
    let has = |word: &str| reached.iter().any(|one| string(&one["name"]).contains(word));
    for element in ["a \"", "#wave", "#first", "#back", "#next", "#play", "#help", "reactor.rs"] {
        assert!(has(element), "{element} is not in {reached:#?}");
    }
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn ladder_is_shown_without_javascript_on_screen_and_paper() {
    let Some(browser) = Browser::start() else { return };
    let text = fs::read_to_string(&demo().file).unwrap();
    let ladder =
        text.split("<pre id=\"ladder\">").nth(1).and_then(|rest| rest.split("</pre>").next());
    let ladder = ladder.expect("it is on the page").replace("&lt;", "<").replace("&gt;", ">");
    let ladder = ladder.replace("&amp;", "&");
    let shown = "(() => {
        const ladder = document.getElementById('ladder');
        const { width, height, top, left } = ladder.getBoundingClientRect();
        const isCut = ladder.scrollHeight > ladder.clientHeight + 1 || ladder.scrollWidth > ladder.clientWidth + 1;
        const clip = getComputedStyle(ladder).clipPath;
        const main = document.querySelector('main').checkVisibility();
        return [width > 400 && height > 500 && top >= 0 && left >= 0, isCut, clip, main, ladder.innerText.trim()];
    })()";
    let expected = json!([true, false, "none", false, ladder.trim()]);

    let page = browser.page();
    page.without_javascript();
    page.open(&demo().file);
    assert_eq!(page.evaluate(shown), expected);

    for dark in [false, true] {
        page.colours(dark);
        page.print_media(true);
        assert_eq!(page.evaluate(shown), expected);
        page.print_media(false);
    }
    let viewer = Viewer::open(&browser, demo());
    assert_ne!(viewer.evaluate(shown), expected, "on the screen it is only for screen readers");
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn reduced_motion_disables_animations() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    let mut moved = BTreeSet::new();
    for still in [false, true] {
        viewer.reduced_motion(still);
        viewer.press("Home");
        // Without motion, every step is shown in the same way.
        let steps = viewer.steps().len() / if still { 3 } else { 1 };
        for step in &viewer.steps()[..steps] {
            viewer.press("ArrowRight");
            let motion = viewer.evaluate("probe.motion()");
            let longest = motion["longest"].as_f64().unwrap();
            if still {
                assert_eq!((longest, &motion["running"]), (0.0, &json!(0)), "{motion}");
            } else {
                assert!(longest <= 120.0, "step {}: {motion}", step["n"]);
                let names = motion["names"].as_array().unwrap();
                moved.extend(names.iter().map(|name| string(name).to_owned()));
            }
        }
    }
    let is_waker = |name: &String| name.contains("waker");
    assert!(!moved.is_empty() && moved.iter().all(is_waker), "only wakers move: {moved:?}");
}
