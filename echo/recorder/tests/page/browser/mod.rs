//! A real browser: headless Chromium, controlled through the DevTools protocol.
//!
//! The tests press keys and read computed colors. A test that finds no Chromium prints this and passes:
//!
//! ```ignore
//! let Some(browser) = Browser::start() else { return };
//! let page = browser.open(Path::new("run.html"));
//! page.press("ArrowRight");
//! assert_eq!(page.evaluate("document.body.dataset.step"), "1");
//! assert!(page.complaints().is_empty() && page.requests().is_empty());
//! ```
//!
//! Every wait for the browser panics after [`tests::DEADLINE`].

mod chromium;
mod keyboard;

use std::cell::{Cell, RefCell};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use chromium::Chromium;
use serde_json::{Value, json};

/// The names of the browser, on Debian and elsewhere. The headless shell comes first: it draws no
/// window around the page, so the tests take half as long.
const PROGRAMS: [&str; 4] =
    ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"];

/// The browser of the tests that run at present. The last of them stops it.
static RUNNING: Mutex<Weak<Chromium>> = Mutex::new(Weak::new());

/// A running Chromium, which the tests of a process share, because starting one takes longer than
/// most of them. Its processes end, and its folder is removed, when the last test drops it.
pub(crate) struct Browser {
    chromium: Arc<Chromium>,
}

impl Browser {
    /// Starts Chromium unless it runs; or says that the test is skipped, if it is not installed.
    ///
    /// # Panics
    ///
    /// If it is installed and does not start.
    #[track_caller]
    pub(crate) fn start() -> Option<Browser> {
        let Some(program) = installed() else {
            println!("skipped: Chromium is not installed");
            return None;
        };
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let chromium = running.upgrade().unwrap_or_else(|| {
            let chromium = Arc::new(Chromium::start(&program));
            chromium.call("", "Browser.getVersion", &json!({}));
            *running = Arc::downgrade(&chromium);
            chromium
        });
        Some(Browser { chromium })
    }

    /// A page with this file.
    #[track_caller]
    pub(crate) fn open(&self, file: &Path) -> Page<'_> {
        let page = self.page();
        page.open(file);
        page
    }

    /// An empty page, to be prepared before it opens a file. It shares nothing with others.
    #[track_caller]
    pub(crate) fn page(&self) -> Page<'_> {
        let call = |method, params| self.chromium.call("", method, &params);
        let context = call("Target.createBrowserContext", json!({}));
        let context = text(&context["browserContextId"]);
        let target = json!({ "url": "about:blank", "browserContextId": context });
        let target = call("Target.createTarget", target);
        let target = json!({ "targetId": target["targetId"], "flatten": true });
        let session = text(&call("Target.attachToTarget", target)["sessionId"]);
        let page = Page {
            chromium: &self.chromium,
            context,
            session,
            address: RefCell::default(),
            opened: Cell::new(0),
            scripts: Cell::new(true),
            // Motion takes most of the frames, and few tests concern it.
            media: Cell::new(Media { still: true, ..Media::default() }),
        };
        for domain in ["Page", "Runtime", "Log", "Network"] {
            page.call(&format!("{domain}.enable"), json!({}));
        }
        page.call("Page.setLifecycleEventsEnabled", json!({ "enabled": true }));
        // Several pages can be open, and each shall believe that it is the one looked at.
        page.call("Emulation.setFocusEmulationEnabled", json!({ "enabled": true }));
        page.show(page.media.get());
        page
    }
}

/// The first of [`PROGRAMS`] that there is.
fn installed() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let folders: Vec<PathBuf> = env::split_paths(&path).collect();
    let mut files = PROGRAMS.iter().flat_map(|name| folders.iter().map(move |f| f.join(name)));
    files.find(|file| file.is_file())
}

/// What the page is shown on, and to whom.
#[derive(Clone, Copy, Default)]
struct Media {
    paper: bool,
    dark: bool,
    still: bool,
    forced: bool,
}

/// A page in a [`Browser`].
pub(crate) struct Page<'browser> {
    chromium: &'browser Chromium,
    /// What it stores, and shares with no other page.
    context: String,
    session: String,
    /// Of the file that was opened last.
    address: RefCell<String>,
    /// How many events there had been before.
    opened: Cell<usize>,
    /// Whether the page's own may run.
    scripts: Cell<bool>,
    media: Cell<Media>,
}

impl Page<'_> {
    /// Opens a file, and waits until all that belongs to it is loaded.
    ///
    /// # Panics
    ///
    /// If there is no such file.
    #[track_caller]
    pub(crate) fn open(&self, file: &Path) {
        self.open_at(file, "");
    }

    /// Opens a file at a place in it: what stands behind the `#` of its address.
    ///
    /// # Panics
    ///
    /// As [`open`](Page::open).
    #[track_caller]
    pub(crate) fn open_at(&self, file: &Path, place: &str) {
        let file = file.canonicalize().unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let address = address(&file);
        let url = if place.is_empty() { address.clone() } else { format!("{address}#{place}") };
        // Else, if only the place changes, the page would stay what it is.
        self.navigate("about:blank");
        self.opened.set(self.chromium.events(&self.session).len());
        self.address.replace(address);
        self.navigate(&url);
        self.settle();
    }

    #[track_caller]
    fn navigate(&self, url: &str) {
        let begun = self.call("Page.navigate", json!({ "url": url }));
        assert!(begun.get("errorText").is_none(), "{url}: {}", begun["errorText"]);
        self.chromium.wait_for(&self.session, url, |event| {
            let loaded = &event["params"];
            loaded["loaderId"] == begun["loaderId"] && loaded["name"] == "load"
        });
    }

    /// The value of an expression, or of the promise that it makes; null if JSON has none for it.
    ///
    /// # Panics
    ///
    /// If it throws, with what was thrown.
    #[track_caller]
    pub(crate) fn evaluate(&self, expression: &str) -> Value {
        let mut reply = self.call(
            "Runtime.evaluate",
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true }),
        );
        if let Some(thrown) = reply.get("exceptionDetails") {
            panic!("{expression}\n{}", described(&thrown["exception"]));
        }
        reply["result"]["value"].take()
    }

    /// Presses a key and lets it go.
    ///
    /// It is a character, or the key's name, with modifiers before it, as in `"n"`, `"?"`,
    /// `"ArrowRight"`, `"Shift+ArrowRight"` and `"Control+f"`.
    ///
    /// # Panics
    ///
    /// If a US keyboard has no such key.
    #[track_caller]
    pub(crate) fn press(&self, keys: &str) {
        for stroke in keyboard::strokes(keys) {
            self.call("Input.dispatchKeyEvent", stroke);
        }
    }

    /// Clicks at a point of the window, in CSS pixels.
    #[track_caller]
    pub(crate) fn click(&self, x: f64, y: f64) {
        self.drag((x, y), (x, y));
    }

    /// Presses the mouse's button at one point, and lets it go at another.
    #[track_caller]
    pub(crate) fn drag(&self, from: (f64, f64), to: (f64, f64)) {
        self.mouse("mouseMoved", from, false);
        self.mouse("mousePressed", from, true);
        if from != to {
            self.mouse("mouseMoved", half_way(from, to), true);
            self.mouse("mouseMoved", to, true);
        }
        self.mouse("mouseReleased", to, true);
    }

    #[track_caller]
    fn mouse(&self, act: &str, (x, y): (f64, f64), down: bool) {
        let button = if down { "left" } else { "none" };
        let event = json!({ "type": act, "x": x, "y": y, "button": button, "clickCount": 1 });
        self.call("Input.dispatchMouseEvent", event);
    }

    /// The middle of the element that a selector finds, scrolled into view.
    ///
    /// That is where to [`click`](Page::click), in CSS pixels.
    ///
    /// # Panics
    ///
    /// If it finds none.
    #[track_caller]
    pub(crate) fn middle(&self, selector: &str) -> (f64, f64) {
        let middle = self.evaluate(&format!(
            "(() => {{
                const element = document.querySelector({});
                element.scrollIntoView({{ block: 'nearest', inline: 'nearest' }});
                const box = element.getBoundingClientRect();
                return [box.x + box.width / 2, box.y + box.height / 2];
            }})()",
            json!(selector)
        ));
        let number = |value: &Value| value.as_f64().expect("a number");
        (number(&middle[0]), number(&middle[1]))
    }

    /// Makes the window that large, in CSS pixels.
    #[track_caller]
    pub(crate) fn size(&self, width: u32, height: u32) {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false,
        });
        self.call("Emulation.setDeviceMetricsOverride", size);
        self.settle();
    }

    /// Prefers dark colours or light ones.
    #[track_caller]
    pub(crate) fn colours(&self, dark: bool) {
        self.show(Media { dark, ..self.media.get() });
    }

    /// Whether the reader wants nothing to move.
    #[track_caller]
    pub(crate) fn reduced_motion(&self, still: bool) {
        self.show(Media { still, ..self.media.get() });
    }

    /// Whether the reader's own palette replaces the colors of the page.
    #[track_caller]
    pub(crate) fn forced_colors(&self, forced: bool) {
        self.show(Media { forced, ..self.media.get() });
    }

    /// Whether the page is shown as it is printed.
    #[track_caller]
    pub(crate) fn print_media(&self, paper: bool) {
        self.show(Media { paper, ..self.media.get() });
    }

    #[track_caller]
    fn show(&self, media: Media) {
        self.media.set(media);
        let colours = if media.dark { "dark" } else { "light" };
        let motion = if media.still { "reduce" } else { "no-preference" };
        let palette = if media.forced { "active" } else { "none" };
        let media = json!({
            "media": if media.paper { "print" } else { "screen" },
            "features": [
                { "name": "prefers-color-scheme", "value": colours },
                { "name": "prefers-reduced-motion", "value": motion },
                { "name": "forced-colors", "value": palette },
            ],
        });
        self.call("Emulation.setEmulatedMedia", media);
        self.settle();
    }

    /// Runs no script of a file that is opened from now on. [`evaluate`](Page::evaluate) does.
    #[track_caller]
    pub(crate) fn without_javascript(&self) {
        self.scripts.set(false);
        self.call("Emulation.setScriptExecutionDisabled", json!({ "value": true }));
    }

    /// Writes a picture of the window, as PNG.
    ///
    /// # Panics
    ///
    /// If the file cannot be written.
    #[track_caller]
    pub(crate) fn screenshot(&self, file: &Path) {
        self.settle();
        let picture = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        let picture = from_base64(picture["data"].as_str().expect("base64"));
        fs::write(file, picture).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    }

    /// What went wrong since the file was opened.
    ///
    /// Errors and warnings on the console, exceptions that nobody caught, and what the browser
    /// itself complains of, such as a missing file.
    #[track_caller]
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.events().iter().filter_map(complaint).collect()
    }

    /// The addresses of all that was asked for since the file was opened.
    ///
    /// But not the file itself and `data:`, for which nobody is asked.
    #[track_caller]
    pub(crate) fn requests(&self) -> Vec<String> {
        let address = self.address.borrow();
        let other = |url: &String| !url.starts_with("data:") && *url != *address;
        self.events().iter().filter_map(request).filter(other).collect()
    }

    /// What was told since the file was opened.
    #[track_caller]
    fn events(&self) -> Vec<Value> {
        self.settle();
        self.chromium.events(&self.session).split_off(self.opened.get())
    }

    /// Calls a method of the DevTools protocol, for what has no method here.
    ///
    /// # Panics
    ///
    /// With the browser's error.
    #[track_caller]
    pub(crate) fn call(&self, method: &str, params: Value) -> Value {
        self.chromium.call(&self.session, method, &params)
    }

    /// Waits for two frames: by then the page has seen a change and drawn itself again, and all that
    /// the scripts did in between has been told.
    #[track_caller]
    fn settle(&self) {
        // A page without scripts is told of no frame; and there is nothing in it to wait for.
        if self.scripts.get() {
            self.evaluate(
                "new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))",
            );
        }
    }
}

impl Drop for Page<'_> {
    // Does not wait, because the test may be panicking and the browser may have ended.
    fn drop(&mut self) {
        let context = json!({ "browserContextId": self.context });
        self.chromium.send("", "Target.disposeBrowserContext", &context);
        self.chromium.forget(&self.session);
    }
}

/// The complaint that an event tells, if it does.
fn complaint(event: &Value) -> Option<String> {
    let told = &event["params"];
    match event["method"].as_str()? {
        "Runtime.consoleAPICalled" => {
            let kind = told["type"].as_str()?;
            let words: Vec<String> = told["args"].as_array()?.iter().map(described).collect();
            let bad = ["error", "warning", "assert"].contains(&kind);
            bad.then(|| format!("console, {kind}: {}", words.join(" ")))
        }
        "Runtime.exceptionThrown" => {
            let details = &told["exceptionDetails"];
            let thrown = details.get("exception").map(described).unwrap_or_default();
            Some(format!("{}: {thrown}", text(&details["text"])))
        }
        "Log.entryAdded" => {
            let entry = &told["entry"];
            let level = entry["level"].as_str()?;
            let url = entry["url"].as_str().unwrap_or_default();
            let bad = ["error", "warning"].contains(&level);
            bad.then(|| format!("browser, {level}: {} {url}", text(&entry["text"])))
        }
        _ => None,
    }
}

/// The address that an event tells to have been asked for, if it does.
fn request(event: &Value) -> Option<String> {
    let told = &event["params"];
    match event["method"].as_str()? {
        "Network.requestWillBeSent" => Some(text(&told["request"]["url"])),
        "Network.webSocketCreated" | "Network.webTransportCreated" => Some(text(&told["url"])),
        _ => None,
    }
}

/// A value of the page, as its console shows it.
fn described(value: &Value) -> String {
    let description = value.get("description").or(value.get("value"));
    description.map_or_else(|| text(&value["type"]), text)
}

/// A string without its quotes; any other value as JSON.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The address of a file: all bytes escaped that mean something in one.
fn address(file: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let mut address = "file://".to_owned();
    for byte in file.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                address.push(char::from(*byte));
            }
            _ => address.push_str(&format!("%{byte:02X}")),
        }
    }
    address
}

fn from_base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |byte: u8| DIGITS.iter().position(|digit| *digit == byte).expect("base64");
    let text = text.trim_end_matches('=').as_bytes();
    let three = |four: &[u8]| {
        let bits = four.iter().fold(0, |bits, byte| bits << 6 | digit(*byte));
        let bits = bits << (6 * (4 - four.len()));
        let bytes = [bits >> 16, bits >> 8, bits].map(|bits| (bits & 0xff) as u8);
        bytes.into_iter().take(four.len() - 1)
    };
    text.chunks(4).flat_map(three).collect()
}

fn half_way(from: (f64, f64), to: (f64, f64)) -> (f64, f64) {
    (f64::midpoint(from.0, to.0), f64::midpoint(from.1, to.1))
}

#[cfg(test)]
mod tests {
    use super::from_base64;

    #[test]
    fn base64_of_any_length_is_read() {
        for (text, bytes) in [("", ""), ("fg==", "~"), ("fj8=", "~?"), ("fj8+", "~?>")] {
            assert_eq!(from_base64(text), bytes.as_bytes());
        }
    }
}
