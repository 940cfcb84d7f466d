//! Records the runs that the guide shows, and lists them with a picture of each.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;
use tests::child::{binary, example};
use tests::guide::root;
use tests::page_data;

use crate::shell::{escape, relative};

/// How many programs run at the same time. They mostly wait.
const CONCURRENT: usize = 4;

/// The exit code of `predict`, if the run of a program is not worth stepping through.
const NO_SCENE: i32 = 3;

/// A recorded run.
pub(crate) struct Scene {
    /// The name of its file, without the extension.
    pub(crate) name: String,
    /// The command that shows the same run as text.
    command: String,
    claim: String,
    /// How many steps it has, and how long it took.
    line: String,
    picture: String,
}

/// Returns the name of the scene of a command, e.g. `$ cargo run -q --example question -- 4`.
pub(crate) fn name_of_command(command: &str) -> Option<String> {
    let words: Vec<&str> = command.split_whitespace().collect();
    match words[..] {
        ["$", "cargo", "run", "-q", "--", "--demo"] => Some("demo".to_owned()),
        [
            "$",
            "cargo",
            "run",
            "-q",
            "--example",
            kind @ ("question" | "fault" | "predict"),
            "--",
            name,
        ] => Some(format!("{kind}-{name}")),
        _ => None,
    }
}

/// Returns what opens a scene below its transcript.
pub(crate) fn link(page: &str, name: &str) -> String {
    let scene = relative(page, &format!("scenes/{name}.html"));
    format!(
        "<details class=\"scene\" data-scene=\"{scene}\"><summary>Step through this run</summary>\n\
         <p>This is another run of the same command. <a href=\"{scene}\">Open it alone</a>.</p>\n\
         </details>\n"
    )
}

/// Builds the programs, and records each run into a file of `folder`.
pub(crate) fn record(folder: &Path) -> io::Result<Vec<Scene>> {
    fs::create_dir_all(folder)?;
    let mut commands: Vec<(String, PathBuf, Vec<String>)> =
        vec![("demo".to_owned(), binary("echo", "echod"), vec!["--demo".to_owned()])];
    for kind in ["question", "fault", "predict"] {
        let program = example("echo", kind);
        let list = Command::new(&program).stderr(Stdio::inherit()).output()?;
        let list = String::from_utf8_lossy(&list.stdout).into_owned();
        // A blank line ends the list. Indented lines continue a text.
        let lines = list.lines().take_while(|line| !line.is_empty());
        let names = lines.filter(|line| !line.starts_with("    "));
        for name in names.filter_map(|line| line.split_whitespace().next()) {
            commands.push((format!("{kind}-{name}"), program.clone(), vec![name.to_owned()]));
        }
    }
    let (next, scenes) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || -> io::Result<()> {
        while let Some((name, program, arguments)) =
            commands.get(next.fetch_add(1, Ordering::Relaxed))
        {
            let at = commands.iter().position(|(other, ..)| other == name);
            let Some(scene) = record_one(folder, name, program, arguments)? else { continue };
            let mut scenes = scenes.lock().map_err(|_| io::Error::other("a recording panicked"))?;
            scenes.push((at, scene));
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..CONCURRENT).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(io::Error::other("a recording panicked")))
        })
    })?;
    let mut scenes = scenes.into_inner().map_err(|_| io::Error::other("a recording panicked"))?;
    scenes.sort_by_key(|(at, _)| *at);
    Ok(scenes.into_iter().map(|(_, scene)| scene).collect())
}

/// Returns `None` if the program has no run to step through.
fn record_one(
    folder: &Path,
    name: &str,
    program: &Path,
    arguments: &[String],
) -> io::Result<Option<Scene>> {
    // The program runs in the root of the workspace, so the path must not depend on this folder.
    let file = folder.canonicalize()?.join(format!("{name}.html"));
    let mut command = Command::new(program);
    command.args(arguments).arg("--trace").arg(&file).current_dir(root());
    let output = command.stdin(Stdio::null()).output()?;
    if name.starts_with("predict-") && output.status.code() == Some(NO_SCENE) {
        return Ok(None);
    }
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("cannot record {name}: {why}")));
    }
    let data = page_data(&fs::read_to_string(&file)?);
    let runs = data["runs"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |run: &Value, key: &str| run[key].as_str().unwrap_or_default().to_owned();
    let command = match name.split_once('-') {
        Some((kind, name)) => format!("cargo run --example {kind} -- {name}"),
        None => "cargo run -- --demo".to_owned(),
    };
    Ok(Some(Scene {
        name: name.to_owned(),
        command,
        claim: runs.first().map(|run| text(run, "claim")).unwrap_or_default(),
        line: runs.iter().map(|run| text(run, "line")).collect::<Vec<_>>().join(" | "),
        picture: runs.iter().map(wave).collect(),
    }))
}

/// Returns the content of the page that lists the scenes.
pub(crate) fn index(scenes: &[Scene]) -> String {
    let mut html = "<h1>Scenes</h1>\n<p>Each scene is a real run, recorded step by step. The line \
                    falls when a task waits, and rises when an event wakes it; a blue band is a \
                    sleep of the thread.</p>\n"
        .to_owned();
    let mut kinds = BTreeSet::new();
    for scene in scenes {
        let kind = match scene.name.split('-').next() {
            Some("question") => "Questions",
            Some("predict") => "Programs to predict",
            Some("fault") => "Faults: the right version, and below it the wrong one",
            _ => "The demo",
        };
        if kinds.insert(kind) {
            let _ = writeln!(html, "<h2>{kind}</h2>");
        }
        let Scene { name, command, claim, line, picture } = scene;
        let _ = writeln!(
            html,
            "<section class=\"card\"><h3><a href=\"{name}.html\">{}</a></h3>\n<a href=\"{name}.html\" \
             tabindex=\"-1\" aria-hidden=\"true\">{picture}</a>\n<p><code>{command}</code> · \
             <span>{line}</span></p></section>",
            escape(claim)
        );
    }
    html
}

/// Returns a picture of a run: one lane for each layer, and one column for each step.
fn wave(run: &Value) -> String {
    const LANE: f64 = 9.0;
    const WIDTH: f64 = 640.0;
    const SLEEP: f64 = 24.0;
    let list = |key: &str| run[key].as_array().map(Vec::as_slice).unwrap_or_default();
    let lanes: Vec<&str> = list("lanes").iter().filter_map(|lane| lane["id"].as_str()).collect();
    let steps = list("steps");
    let is_sleep = |step: &Value| step["mark"] == "asleep";
    let sleeps = steps.iter().filter(|step| is_sleep(step)).count() as f64;
    let others = (steps.len() as f64 - sleeps).max(1.0);
    let sleep = SLEEP.min(WIDTH / 2.0 / sleeps.max(1.0));
    let column = ((WIDTH - sleeps * sleep) / others).min(12.0);
    let height = lanes.len() as f64 * LANE;
    let (mut x, mut line, mut bands, mut marks) =
        (0.0, String::new(), String::new(), String::new());
    for step in steps {
        let width = if is_sleep(step) { sleep } else { column };
        let lane = step["lane"].as_str().unwrap_or_default();
        let position = |lane: &str| lanes.iter().position(|id| *id == lane);
        let lane = position(lane).or_else(|| position("others")).unwrap_or_default();
        let y = (lane as f64 + 0.5) * LANE;
        let middle = x + width / 2.0;
        if is_sleep(step) {
            let _ = write!(bands, "<rect x=\"{x:.1}\" width=\"{width:.1}\" height=\"{height}\"/>");
        }
        if step["lane"] != "outside" {
            let _ = write!(line, "{middle:.1},{y:.1} ");
        }
        let task = step["task"]
            .as_u64()
            .map_or("none".to_owned(), |task| format!("task-{}", (task + 5) % 6 + 1));
        let _ =
            write!(marks, "<circle class=\"{task}\" cx=\"{middle:.1}\" cy=\"{y:.1}\" r=\"2\"/>");
        x += width;
    }
    format!(
        "<svg class=\"wave\" viewBox=\"0 0 {x:.1} {height}\" width=\"{x:.1}\" height=\"{height}\">\
         <g class=\"sleeps\">{bands}</g><polyline points=\"{}\"/>{marks}</svg>\n",
        line.trim_end()
    )
}
