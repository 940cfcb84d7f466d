//! The browser that the tests drive: it receives input, and its errors are reported.

use std::fs;
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tests::{DEADLINE, child, folder};

use crate::browser::Browser;

/// A file with this page, in a folder of its own.
fn file(name: &str, page: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("browser");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join(name);
    fs::write(&file, format!("<!doctype html><meta charset=utf-8><title>Page</title>{page}"))
        .unwrap();
    file
}

/// The one thing of these that contains `word`.
#[track_caller]
fn only<'a>(word: &str, all: &'a [String]) -> &'a str {
    let found: Vec<&String> = all.iter().filter(|one| one.contains(word)).collect();
    let [one] = found[..] else { panic!("{word}: not once in {all:#?}") };
    one
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn key_events_match_those_of_a_keyboard() {
    let Some(browser) = Browser::start() else { return };
    let page = browser.open(&file(
        "keys.html",
        "<input autofocus><script>
            const seen = [];
            const note = e => seen.push([e.type, e.key, e.code, e.keyCode, e.shiftKey, e.ctrlKey]);
            for (const kind of ['keydown', 'keyup']) addEventListener(kind, note);
        </script>",
    ));
    let seen = |keys: &str| {
        page.press(keys);
        page.evaluate("seen.splice(0)")
    };
    let down_and_up = |key: &str, code: &str, number: u32, shift: bool, control: bool| {
        let event = |kind: &str| json!([kind, key, code, number, shift, control]);
        json!([event("keydown"), event("keyup")])
    };
    assert_eq!(seen("ArrowRight"), down_and_up("ArrowRight", "ArrowRight", 39, false, false));
    assert_eq!(seen("Shift+ArrowRight"), down_and_up("ArrowRight", "ArrowRight", 39, true, false));
    assert_eq!(seen("n"), down_and_up("n", "KeyN", 78, false, false));
    assert_eq!(seen("Shift+w"), down_and_up("W", "KeyW", 87, true, false));
    assert_eq!(seen("?"), down_and_up("?", "Slash", 191, true, false));
    assert_eq!(seen("/"), down_and_up("/", "Slash", 191, false, false));
    assert_eq!(seen("]"), down_and_up("]", "BracketRight", 221, false, false));
    assert_eq!(seen("7"), down_and_up("7", "Digit7", 55, false, false));
    assert_eq!(seen(" "), down_and_up(" ", "Space", 32, false, false));
    assert_eq!(seen("Control+c"), down_and_up("c", "KeyC", 67, false, true));
    assert_eq!(page.evaluate("document.querySelector('input').value"), "nW?/]7 ");
    assert_eq!(page.complaints(), [""; 0]);
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn keys_have_their_default_action() {
    let Some(browser) = Browser::start() else { return };
    let page = browser.open(&file(
        "buttons.html",
        "<button onclick='pressed.push(1)'>1</button><button onclick='pressed.push(2)'>2</button>
        <script>const pressed = []</script>",
    ));
    for keys in ["Tab", "Enter", "Tab", " ", "Shift+Tab", "Enter"] {
        page.press(keys);
    }
    assert_eq!(page.evaluate("pressed"), json!([1, 2, 1]));
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn window_size_is_visible_to_css_and_scripts() {
    let Some(browser) = Browser::start() else { return };
    let page = browser.open(&file(
        "size.html",
        "<style>body { color: red } @media (max-width: 500px) { body { color: lime } }</style>
        <script>const sizes = []; onresize = () => sizes.push([innerWidth, innerHeight])</script>",
    ));
    let colour = || page.evaluate("getComputedStyle(document.body).color");
    page.size(1440, 900);
    assert_eq!(colour(), "rgb(255, 0, 0)");
    page.size(390, 844);
    assert_eq!(colour(), "rgb(0, 255, 0)");
    assert_eq!(page.evaluate("sizes"), json!([[1440, 900], [390, 844]]));
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn emulated_media_features_are_independent() {
    let Some(browser) = Browser::start() else { return };
    let page = browser.open(&file("media.html", "<p>Text"));
    let seen = || {
        let media = "['(prefers-color-scheme: dark)', '(prefers-reduced-motion)', 'print']";
        page.evaluate(&format!("{media}.map(query => matchMedia(query).matches)"))
    };
    assert_eq!(seen(), json!([false, true, false]));
    page.reduced_motion(false);
    page.colours(true);
    assert_eq!(seen(), json!([true, false, false]));
    page.reduced_motion(true);
    assert_eq!(seen(), json!([true, true, false]));
    page.print_media(true);
    assert_eq!(seen(), json!([true, true, true]));
    page.colours(false);
    assert_eq!(seen(), json!([false, true, true]));
    page.open(&file("media-2.html", "<p>Text"));
    assert_eq!(seen(), json!([false, true, true]));
    page.reduced_motion(false);
    page.print_media(false);
    assert_eq!(seen(), json!([false, false, false]));
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn errors_of_a_page_are_reported() {
    let Some(browser) = Browser::start() else { return };
    let quiet = file("quiet.html", "<p>Text<script>console.log('all is well')</script>");
    let page = browser.open(&quiet);
    assert_eq!(page.complaints(), [""; 0]);
    page.open(&file(
        "loud.html",
        "<img src=missing.png><script>}</script><script>
            console.error('wrong', 7);
            console.warn('doubtful');
            console.assert(false, 'untrue');
            console.info('all is well');
            setTimeout(() => { throw new Error('thrown') });
            Promise.reject(new Error('rejected'));
        </script>",
    ));
    let complaints = page.complaints();
    assert_eq!(only("wrong", &complaints), "console, error: wrong 7");
    assert_eq!(only("doubtful", &complaints), "console, warning: doubtful");
    assert_eq!(only("untrue", &complaints), "console, assert: untrue");
    assert!(only("thrown", &complaints).starts_with("Uncaught: Error: thrown"));
    assert!(only("rejected", &complaints).starts_with("Uncaught (in promise): Error: rejected"));
    assert!(only("missing.png", &complaints).starts_with("browser, error: "));
    assert!(only("Syntax", &complaints).starts_with("Uncaught: SyntaxError: "));
    assert_eq!(complaints.len(), 7, "{complaints:#?}");
    page.evaluate("{ Promise.reject(new Error('late')); 0 }");
    only("late", &page.complaints());
    page.open(&quiet);
    assert_eq!(page.complaints(), [""; 0], "of a page that was left");
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn requests_of_a_page_are_reported() {
    let Some(browser) = Browser::start() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let outside = listener.local_addr().unwrap();
    // Refuses them all.
    drop(listener);
    let alone = "<p>Text<script src='data:text/javascript,loaded = true'></script>";
    let page = browser.open(&file("alone.html", alone));
    assert_eq!(page.requests(), [""; 0]);
    assert_eq!(page.evaluate("loaded"), true);
    page.open(&file(
        "asking.html",
        &format!(
            "<link rel=stylesheet href=missing.css>
            <style>body {{ background: url(http://{outside}/picture) }}</style>
            <iframe src=http://{outside}/frame></iframe>
            <script>
                const socket = new WebSocket('ws://{outside}/socket');
                setTimeout(() => fetch('http://{outside}/fetch').catch(() => 0));
                addEventListener('keydown', () => navigator.sendBeacon('http://{outside}/beacon'));
            </script>"
        ),
    ));
    page.press("n");
    let requests = page.requests();
    assert!(only("missing.css", &requests).starts_with("file:///"));
    for (scheme, what) in [("http", "picture"), ("http", "frame"), ("ws", "socket")] {
        assert_eq!(only(what, &requests), format!("{scheme}://{outside}/{what}"));
    }
    for what in ["fetch", "beacon"] {
        assert_eq!(only(what, &requests), format!("http://{outside}/{what}"));
    }
    assert_eq!(requests.len(), 6, "{requests:#?}");
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn script_does_not_run_without_javascript() {
    let Some(browser) = Browser::start() else { return };
    let file = file(
        "script.html",
        "<p>told<noscript>plain</noscript><script>document.querySelector('p').hidden = true</script></p>
        <button onclick='this.remove()'>Click</button>",
    );
    let text = "document.body.innerText.trim()";
    assert_eq!(browser.open(&file).evaluate(text), "Click");
    let page = browser.page();
    page.without_javascript();
    page.open(&file);
    page.size(390, 844);
    let (x, y) = page.middle("button");
    page.click(x, y);
    assert_eq!(page.evaluate(text), "toldplain\n\nClick");
    assert_eq!(page.complaints(), [""; 0]);
    assert_eq!(page.requests(), [""; 0]);
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn clicks_and_drags_reach_their_target() {
    let Some(browser) = Browser::start() else { return };
    let page = browser.open(&file(
        "mouse.html",
        "<style>body { margin: 0 } button { position: absolute; top: 3000px }</style>
        <button onclick='clicks++'>Far below</button><script>
            let clicks = 0;
            const seen = [];
            const note = e => seen.push([e.type, e.clientX, e.clientY, e.buttons]);
            for (const kind of ['down', 'move', 'up']) addEventListener('pointer' + kind, note);
        </script>",
    ));
    page.size(800, 600);
    // A browser may first report where its pointer is.
    page.drag((0.0, 0.0), (0.0, 0.0));
    page.evaluate("seen.length = 0");
    page.drag((10.0, 20.0), (30.0, 60.0));
    let expected = [
        json!(["pointermove", 10, 20, 0]),
        json!(["pointerdown", 10, 20, 1]),
        json!(["pointermove", 20, 40, 1]),
        json!(["pointermove", 30, 60, 1]),
        json!(["pointerup", 30, 60, 0]),
    ];
    assert_eq!(page.evaluate("seen"), Value::from(expected.to_vec()));
    let (x, y) = page.middle("button");
    page.click(x, y);
    assert_eq!(page.evaluate("clicks"), 1);
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn screenshot_shows_the_window() {
    let Some(browser) = Browser::start() else { return };
    let page = browser.open(&file("picture.html", "<body style='background: #0b6e77'>"));
    page.size(321, 123);
    let picture = Path::new(env!("CARGO_TARGET_TMPDIR")).join("browser/picture.png");
    page.screenshot(&picture);
    // The browser reads it back.
    let page = browser.open(&file("show.html", "<img src=picture.png>"));
    let size = "[document.images[0].naturalWidth, document.images[0].naturalHeight]";
    assert_eq!(page.evaluate(size), json!([321, 123]));
    // A canvas may not look into another file, but into what is in the address itself.
    let bytes: Vec<u8> = fs::read(&picture).unwrap();
    let pixel = format!(
        "createImageBitmap(new Blob([new Uint8Array({bytes:?})])).then(picture => {{
            const context = new OffscreenCanvas(321, 123).getContext('2d');
            context.drawImage(picture, 0, 0);
            return Array.from(context.getImageData(320, 122, 1, 1).data);
        }})"
    );
    assert_eq!(page.evaluate(&pixel), json!([0x0b, 0x6e, 0x77, 255]));
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn file_with_any_name_opens_at_the_given_fragment() {
    let Some(browser) = Browser::start() else { return };
    let file = file("100 % ü #1?.html", "<p>Text");
    let page = browser.open(&file);
    page.evaluate("left = 'over'");
    page.open_at(&file, "s=27");
    assert_eq!(page.evaluate("[document.title, location.hash]"), json!(["Page", "#s=27"]));
    assert_eq!(page.evaluate("typeof left"), "undefined", "the page is a new one");
    assert_eq!(page.requests(), [""; 0]);
}

fn panic_of<T>(what: impl FnOnce() -> T) -> String {
    let Err(panic) = catch_unwind(AssertUnwindSafe(what)) else { panic!("it does not panic") };
    panic.downcast_ref::<String>().expect("a formatted message").clone()
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn exception_in_an_expression_panics() {
    let Some(browser) = Browser::start() else { return };
    let page = browser.open(&file("throws.html", "<p>Text"));
    let message = |expression: &str| panic_of(|| page.evaluate(expression));
    assert!(message("missing()").contains("ReferenceError: missing is not defined"));
    assert!(message("Promise.reject('so')").contains("so"));
    assert!(message("(").contains("SyntaxError"));
    assert_eq!(page.evaluate("Promise.resolve(7)"), 7);
}

/// The processes that run on behalf of this one: its number stands in the name of their folder.
fn processes() -> Vec<(i32, String)> {
    let entries = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let entry = entry.ok()?;
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read_to_string(entry.path().join("cmdline")).ok()?;
        line.contains(&ours()).then_some((pid, line))
    });
    entries.collect()
}

fn ours() -> String {
    format!("browser-{}-", process::id())
}

fn has_a_folder() -> bool {
    // They are made in one place.
    let folder = folder();
    let beside = folder.path().parent().unwrap();
    let mut names = fs::read_dir(beside).unwrap().map(|entry| entry.unwrap().file_name());
    names.any(|name| name.to_string_lossy().starts_with(&ours()))
}

/// Signals the browser itself, neither the processes that it has started nor a script that starts it.
fn signal(signal: Signal) {
    let itself = |line: &str| {
        let program = line.split('\0').next().unwrap();
        program.contains("chrom") && !line.contains("--type=")
    };
    let processes = processes();
    let (pid, _) = processes.iter().find(|(_, line)| itself(line)).expect("it runs");
    kill_process(Pid::from_raw(*pid).unwrap(), signal).unwrap();
}

// In a process of its own, whose number no other test's browser has. So is the next.
#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn dead_browser_fails_its_test_immediately() {
    child::in_child("browser_tests::dead_browser_fails_its_test_immediately", || {
        let Some(browser) = Browser::start() else { return };
        let page = browser.open(&file("dies.html", "<p>Text"));
        signal(Signal::KILL);
        let told = panic_of(|| page.evaluate("new Promise(() => 0)"));
        assert!(told.contains("the browser has gone"), "{told}");
    });
}

// Stops the browser first: it must be killed, as one that hangs does not end when it is asked to.
#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn hung_browser_leaves_no_process_or_file() {
    child::in_child("browser_tests::hung_browser_leaves_no_process_or_file", || {
        let test = || {
            let Some(browser) = Browser::start() else { return };
            browser.open(&file("last.html", "<p>Text"));
            assert!(has_a_folder());
            signal(Signal::STOP);
            panic!("as it should");
        };
        let panicked = catch_unwind(test).is_err();
        assert!(panicked || Browser::start().is_none());
        assert!(!has_a_folder());
        let start = Instant::now();
        while !processes().is_empty() {
            assert!(start.elapsed() < DEADLINE, "{:#?}", processes());
            thread::park_timeout(Duration::from_millis(5));
        }
    });
}
