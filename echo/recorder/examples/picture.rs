//! Makes the pictures of the README: the wake of the byte, in a real recording, light and dark.
//!
//! ```text
//! cargo build && cargo run -p recorder --example picture
//! ```

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

#[path = "../tests/page/browser/mod.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod browser;

use browser::Browser;

/// The step of the demo at which the reactor wakes the task of the connection for its byte.
const WAKE: &str = "(() => {
    const run = JSON.parse(document.getElementById('data').textContent).runs[0];
    const byte = run.steps.find((step) => step.kind === 'short').n;
    return run.steps.findLast((step) => step.n < byte && step.kind === 'wake').n;
})()";

fn main() -> std::io::Result<()> {
    let echod = env::current_exe()?.with_file_name("../echod");
    let run = env::temp_dir().join(format!("picture-{}.html", std::process::id()));
    let mut demo = Command::new(echod);
    demo.args(["--demo", "--trace"]).arg(&run).stdout(Stdio::null());
    assert!(demo.status()?.success(), "`cargo build` makes the demo that this needs");
    let Some(browser) = Browser::start() else { return Ok(()) };

    let page = browser.open(&run);
    let wake = page.evaluate(WAKE);
    // About as wide as a code host shows a README, so that the smallest words stay above 11 px.
    page.size(820, 860);
    for (dark, name) in [(false, "wake.png"), (true, "wake-dark.png")] {
        page.colours(dark);
        page.open_at(&run, &format!("s={wake}"));
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        page.screenshot(&file);
        println!("echo/recorder/{name}: step {wake}");
    }
    fs::remove_file(&run)
}
