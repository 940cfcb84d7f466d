//! The program above the runtime: the line at which each task stands.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tests::child::example;
use tests::{folder, page_data};

use crate::browser::Browser;
use crate::pages::{Recorded, compared, demo};
use crate::{Viewer, is_of, number, numbers, string};

/// The text of a line, counted from 1, as the page has it.
fn line_of(viewer: &Viewer<'_>, file: &str, line: u64) -> String {
    let read = format!("data.files[{}].split('\\n')[{}].trim()", json!(file), line - 1);
    string(&viewer.evaluate(&read)).to_owned()
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn each_step_of_a_task_marks_a_line_of_the_program() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    for (width, height) in [(1440, 900), (1024, 768), (390, 844)] {
        viewer.size(width, height);
        viewer.press("Home");
        let shown = format!("probe.walk({}, probe.program)", viewer.steps().len());
        let shown = viewer.evaluate(&shown);
        for (step, program) in viewer.steps().iter().zip(shown.as_array().unwrap()) {
            let at = format!("{step} at {width}: {program}");
            let [line] = numbers(&program["lines"])[..] else { panic!("one line: {at}") };
            assert_eq!(program["inView"], true, "{at}");
            let Some(task) = step["task"].as_u64() else { continue };
            let spawns = step["kind"] == "spawn" || step["kind"] == "queue";
            let words = string(&program["words"]);
            assert!(spawns || words.starts_with(&format!("task {task} ")), "{at}");
            let file = string(&program["file"]);
            assert!(["echo/src/serve.rs", "echo/src/demo.rs"].contains(&file), "{at}");
            let waits = ["pending", "wake"].contains(&string(&step["kind"]));
            if waits {
                let text = line_of(&viewer, file, line);
                assert_eq!(words, format!("task {task} waits here, in .await"), "{at}");
                let call = if task == 1 { "next_connection" } else { "serve(&mut copy)" };
                assert!(text.contains(call) && text.contains(".await"), "{text}: {at}");
            }
        }
    }
    assert_eq!(viewer.complaints(), [""; 0]);
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn path_shows_the_functions_from_the_program_to_the_line() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    // Wide enough for the whole path.
    viewer.size(2600, 1200);
    let store = viewer.first(|step| step["kind"] == "store" && is_of(step, 2));
    viewer.jump(number(store));
    let path = viewer.text("#path");
    for function in
        ["block_on › ", " › serve.rs:", " › Copy::poll › ", " › Source::poll_transfer › "]
    {
        assert!(path.contains(function), "{function} is not in {path}");
    }
    assert_eq!(viewer.text("#path strong:last-child"), "store");
    let client = viewer.first(|step| step["kind"] == "outside");
    viewer.jump(number(client));
    assert!(viewer.text("#path").starts_with("the client · demo.rs:"), "{}", viewer.text("#path"));
    let wake = viewer.first(|step| step["kind"] == "wake");
    viewer.jump(number(wake));
    let path = viewer.text("#path");
    assert!(path.starts_with("the runtime · block_on › ") && path.contains(" › Reactor::turn › "));
    // On a narrower page, the outermost functions are left out.
    viewer.jump(number(store));
    for width in [1440, 1024, 390] {
        viewer.size(width, 900);
        let path = viewer.text("#path");
        assert!(path.starts_with("the runtime · … › ") && path.ends_with(" › store"), "{path}");
        assert!(viewer.is_true("probe.byId('path').scrollWidth <= probe.byId('path').clientWidth"));
    }
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn number_of_a_program_line_lists_its_steps() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, demo());
    let store = viewer.first(|step| step["kind"] == "store" && is_of(step, 2));
    viewer.jump(number(store));
    viewer.click_on("#program-code .code-line.stands button");
    let listed = "probe.all('#found button').map((button) => Number.parseInt(button.textContent))";
    let listed = numbers(&viewer.evaluate(listed));
    assert!(listed.contains(&number(store)) && listed.len() > 3, "{listed:?}");
    for step in listed {
        assert!(is_of(&viewer.steps()[step as usize - 1], 2), "{step}");
    }
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn page_without_a_program_shows_only_the_runtime() {
    let Some(browser) = Browser::start() else { return };
    let viewer = Viewer::open(&browser, compared());
    viewer.press("ArrowRight");
    assert!(viewer.is_true("probe.byId('program').hidden"));
    assert!(viewer.text("#path").starts_with("executor/src/"), "{}", viewer.text("#path"));
}

/// A page of both versions of a fault, and the lines that differ.
fn fault(name: &str) -> (Recorded, [u64; 2]) {
    let folder = folder();
    let file = folder.path().join("fault.html");
    let mut command = Command::new(example("echo", "fault"));
    command.args([name, "--trace"]).arg(&file).stdout(Stdio::null());
    assert!(command.status().unwrap().success());
    let data = page_data(&fs::read_to_string(&file).unwrap());
    let source = string(&data["runs"][0]["first"]["file"]);
    let text = string(&data["files"][source]).to_owned();
    let below = |mark: &str| {
        let mut lines = (1..).zip(text.lines().map(str::trim));
        let mut below = lines.by_ref().skip_while(|(_, line)| !line.starts_with(mark));
        below.find(|(_, line)| !line.starts_with("//")).expect("a line below the mark").0
    };
    let lines = ["// Right:", "// Wrong:"].map(below);
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fault-{name}.html"));
    fs::copy(&file, &kept).unwrap();
    (Recorded { file: kept, data }, lines)
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn fault_marks_the_line_that_differs_where_its_runs_part() {
    let Some(browser) = Browser::start() else { return };
    // Of these, only the first one calls the runtime in both of its lines.
    for name in ["read-once", "forget-waker", "late-waker"] {
        let (recorded, lines) = fault(name);
        let recorded: &'static Recorded = Box::leak(Box::new(recorded));
        let viewer = Viewer::open(&browser, recorded);
        let parts = numbers(&recorded.data["parts"]);
        viewer.jump(parts[0]);
        for (side, line) in lines.into_iter().enumerate() {
            let program = viewer.evaluate("probe.program()");
            assert_eq!(program["lines"], json!([line]), "{name}, side {side}: {program}");
            assert_eq!(program["inView"], true, "{name}, side {side}: {program}");
            let sentence = viewer.text("#sentence");
            let row = viewer.text(&format!(".row-code[data-row='{side}']"));
            assert!(row.contains(&format!(":{line} ")), "{name}, side {side}: {row}");
            let word = ["Right: ", "Wrong: "][side];
            assert!(sentence.contains(word), "{name}, side {side}: {sentence}");
            viewer.press("c");
        }
        assert_eq!(viewer.complaints(), [""; 0]);
        let _: &Value = viewer.run;
        fs::remove_file(&recorded.file).unwrap();
    }
}
