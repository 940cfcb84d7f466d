//! The prompts "What happens next?" of the page.

use serde_json::{Value, json};

use crate::browser::Browser;

use super::pages::{blocked, demo, long};
use super::{Viewer, number, plain, string};

const SIZES: [(u32, u32); 4] = [(1440, 900), (1024, 768), (390, 844), (720, 450)];

fn prompts(run: &Value) -> &[Value] {
    run["prompts"].as_array().expect("a list")
}

fn step_of(prompt: &Value) -> u64 {
    prompt["step"].as_u64().expect("a step")
}

/// The texts of the answers that the page shows; none if it does not ask.
#[track_caller]
fn answers(viewer: &Viewer) -> Value {
    viewer.evaluate(
        "probe.byId('prompt').checkVisibility()
            ? probe.all('#prompt .answer span').map((answer) => answer.textContent) : []",
    )
}

/// The texts of the answers of a prompt.
fn expected(prompt: &Value) -> Value {
    let answers = prompt["answers"].as_array().expect("a list");
    answers.iter().map(|answer| plain(string(&answer[0]))).collect()
}

/// Steps from the step before the prompt to its step, so that the page asks.
#[track_caller]
fn arrive(viewer: &Viewer, prompt: &Value) {
    viewer.jump(step_of(prompt) - 1);
    viewer.press("ArrowRight");
    assert_eq!(answers(viewer), expected(prompt));
}

/// What the page says when the answer with this index is chosen.
fn explanation(prompt: &Value, nth: usize) -> String {
    let verdict = if prompt["right"] == nth { "right" } else { "wrong" };
    format!("{} is {verdict}. {}", ["a", "b", "c"][nth], plain(string(&prompt["answers"][nth][1])))
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn page_asks_once_and_next_continues_as_always() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    let all = prompts(viewer.run);
    assert!((8..=10).contains(&all.len()));
    for step in viewer.steps() {
        let n = number(step);
        assert_eq!(viewer.after(&["ArrowRight"]), n, "each press is one step");
        let prompt = all.iter().find(|prompt| step_of(prompt) == n);
        assert_eq!(answers(&viewer), prompt.map_or(json!([]), expected), "step {n}");
        let question = if prompt.is_some() { " What happens next?" } else { "" };
        assert_eq!(viewer.text("#sentence"), plain(string(&step["sentence"])) + question);
        // The page does not show the answer until one is selected.
        let shows_next = "probe.byId('links').checkVisibility({ visibilityProperty: true })";
        assert_eq!(viewer.is_true(shows_next), prompt.is_none(), "step {n}");
        assert_eq!(viewer.is_true("probe.all('#wave .cover').length === 1"), prompt.is_some());
    }
    viewer.press("Home");
    for step in viewer.steps() {
        viewer.press("ArrowRight");
        assert_eq!(answers(&viewer), json!([]), "step {} again", step["n"]);
    }
    assert_eq!(viewer.complaints(), [""; 0]);
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn wrong_and_right_answers_are_explained() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    for (nth, prompt) in prompts(viewer.run).iter().enumerate() {
        arrive(&viewer, prompt);
        let right = prompt["right"].as_u64().unwrap() as usize;
        let wrong = (right + 1 + nth % 2) % 3;
        let cover = || viewer.evaluate("probe.all('#wave .cover').length");
        // By a key and by a click.
        let choose = |answer: usize, click: bool| match click {
            true => viewer.click_on(&format!("#prompt .answer:nth-of-type({})", answer + 1)),
            false => viewer.press(["a", "b", "c"][answer]),
        };
        choose(wrong, nth % 2 == 0);
        assert_eq!(viewer.text("#sentence"), explanation(prompt, wrong));
        assert_eq!(cover(), 1, "the wave still hides the answer");
        choose(right, nth % 2 == 1);
        assert_eq!(viewer.text("#sentence"), explanation(prompt, right));
        assert_eq!(cover(), 0);
        let marked = viewer.evaluate(
            "['right', 'refuted'].map((name) =>
                probe.all('#prompt .answer').findIndex((answer) => answer.classList.contains(name)))",
        );
        assert_eq!(marked, json!([right, wrong]));
        assert_eq!(viewer.after(&["ArrowRight"]), step_of(prompt) + 1);
        assert_eq!(answers(&viewer), json!([]));
    }
    assert_eq!(viewer.complaints(), [""; 0]);
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn prompt_is_closed_and_asking_is_switched_off() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    let [first, second, third, fourth, ..] = prompts(viewer.run) else { panic!("some prompts") };
    arrive(&viewer, first);
    viewer.press("Escape");
    assert_eq!((answers(&viewer), viewer.step()), (json!([]), step_of(first)));
    arrive(&viewer, second);
    viewer.click_on("#prompt .skip");
    assert_eq!((answers(&viewer), viewer.step()), (json!([]), step_of(second) + 1));

    arrive(&viewer, third);
    viewer.click_on("#prompt .quiet");
    assert_eq!((answers(&viewer), viewer.step()), (json!([]), step_of(third)));
    let off = format!("#s={}&ask=off", step_of(third));
    assert_eq!(viewer.evaluate("location.hash"), off);
    viewer.jump(step_of(fourth) - 1);
    viewer.press("ArrowRight");
    assert_eq!(answers(&viewer), json!([]), "it does not ask any more");
    // A link with this address, or a reload, keeps it off.
    let reloaded = Viewer::open_at(&browser, demo(), &off[1..]);
    reloaded.jump(step_of(fourth) - 1);
    reloaded.press("ArrowRight");
    assert_eq!(answers(&reloaded), json!([]));

    viewer.click_on("#asks");
    arrive(&viewer, fourth);
    viewer.press("q");
    assert_eq!(answers(&viewer), json!([]));
    assert!(viewer.is_true("location.hash.endsWith('&ask=off')"));
    viewer.press("q");
    assert!(viewer.is_true("!location.hash.includes('ask')"));
    assert!(!viewer.is_true("probe.byId('asks').checkVisibility()"));
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn jumps_and_play_do_not_ask() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    let [first, second, ..] = prompts(viewer.run) else { panic!("some prompts") };
    viewer.jump(step_of(first));
    assert_eq!(answers(&viewer), json!([]));
    viewer.jump(step_of(first) + 1);
    viewer.press("ArrowLeft");
    assert_eq!(answers(&viewer), json!([]), "on the way back");
    ["]"; 9].iter().for_each(|key| viewer.press(key));
    viewer.jump(step_of(second) - 1);
    viewer.press(" ");
    viewer.wait_for(
        "play passes the step",
        &format!(
            "Number(document.body.dataset.step) > {} || probe.byId('prompt').checkVisibility()",
            step_of(second)
        ),
    );
    viewer.press("Escape");
    assert!(viewer.step() > step_of(second), "play does not stop to ask");
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn loaded_servers_and_compared_runs_do_not_ask() {
    for recorded in [long(), blocked()] {
        for run in recorded.data["runs"].as_array().unwrap() {
            assert_eq!(run["prompts"], json!([]));
        }
    }
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, blocked());
    let step = viewer.after(&["ArrowRight", "q"]);
    assert_eq!((step, answers(&viewer)), (1, json!([])));
    assert!(!viewer.is_true("location.hash.includes('ask')"), "there is nothing to switch off");
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn prompts_fit_and_move_nothing_at_each_window_size() {
    let Some(browser) = Browser::start() else { return };
    // The colors change no size, so one dark window is enough.
    for (dark, sizes) in [(false, &SIZES[..]), (true, &SIZES[..1])] {
        for &(width, height) in sizes {
            let viewer = Viewer::open(&browser, demo());
            viewer.colours(dark);
            viewer.size(width, height);
            viewer.jump(1);
            let regions = viewer.evaluate("probe.regions()");
            // All of them in the largest window, every third one elsewhere.
            let stride = if dark || (width, height) != SIZES[0] { 3 } else { 1 };
            for prompt in prompts(viewer.run).iter().step_by(stride) {
                let at = format!("step {} at {width}x{height}, dark: {dark}", prompt["step"]);
                arrive(&viewer, prompt);
                let keys = [&[][..], &["a"], &["b"], &["c"]];
                for keys in keys {
                    keys.iter().for_each(|key| viewer.press(key));
                    let look = viewer.evaluate("probe.look()");
                    assert_eq!(
                        look["overflows"], false,
                        "{at}: the sentence: {}",
                        look["sentence"]
                    );
                    assert_eq!(look["sideways"], json!([]), "{at}");
                    for (name, region) in look["regions"].as_object().unwrap() {
                        let fixed =
                            ["step", "sentence", "links", "source", "state", "waves", "controls"];
                        if fixed.contains(&name.as_str()) {
                            assert_eq!(*region, regions[name], "{at}: {name}");
                        }
                    }
                    let out = "probe.all('#prompt button').filter((button) => {
                        const { left, right, top, bottom } = button.getBoundingClientRect();
                        return left < 0 || right > innerWidth || top < 0 || bottom > innerHeight;
                    }).length";
                    assert_eq!(viewer.evaluate(out), 0, "{at}: in view");
                }
                assert_eq!(viewer.evaluate("probe.contrast().poor"), json!([]), "{at}");
            }
        }
    }
}
