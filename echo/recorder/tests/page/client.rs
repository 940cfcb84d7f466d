//! The client of the demo: its acts, its code, and the byte that comes back.

use serde_json::json;

use super::pages::demo;
use super::{Browser, Viewer, number, numbers, string};

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn each_act_of_the_client_marks_its_line() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    let acts = viewer.steps().iter().filter(|step| step["lane"] == "outside");
    let calls = ["TcpStream::connect(", ".write_all(", ".read_exact(", "drop(stream)"];
    assert_eq!(acts.clone().count(), calls.len());
    for (step, call) in acts.zip(calls) {
        viewer.jump(number(step));
        let marked = "probe.all('#code .code-line.now .code-text').map((line) => line.textContent)";
        let marked = viewer.evaluate(marked).to_string();
        assert!(marked.contains(call), "step {}: {marked}", step["n"]);
        let path = viewer.text("#path");
        assert!(path.starts_with("the client") && path.contains("demo.rs"), "{path}");
        assert!(!viewer.is_true("probe.byId('source').classList.contains('away')"));
    }
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn answer_of_the_server_leads_to_the_client() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    let receipt = viewer.first(|step| string(&step["short"]).contains("has received"));
    let write = viewer.first(|step| string(&step["short"]).starts_with("write: "));
    assert_eq!(receipt["causes"], json!([write["n"]]));
    assert_eq!(receipt["lane"], "outside");
    assert_eq!(viewer.from(number(receipt), &["w"]), number(write));
    viewer.jump(number(receipt));
    assert_eq!(viewer.evaluate("probe.all('#wave .head').length"), 1, "an arrow from the write");
    let waits = &viewer.steps()[number(write) as usize..number(receipt) as usize];
    assert!(waits.iter().any(|step| step["kind"] == "sleep"), "the server sleeps again");
    assert!(numbers(&receipt["about"]).contains(&write["task"].as_u64().unwrap()));
}
