//! Fourteen faults on a switch: the wrong version shows the symptom, and the right version does not.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;
use tests::{folder, page_data};

use crate::predict::{OnTerminal, occurrences, on_terminal};
use crate::process::is_installed;
use crate::server::{Ended, Server};
use crate::three_echoes::example;

const NAMES: [&str; 14] = [
    "forget-waker",
    "stale-waker",
    "late-waker",
    "one-slot",
    "no-notify",
    "busy-poll",
    "borrow-while-waking",
    "read-once",
    "ignore-eof",
    "reregister",
    "drop-write",
    "block",
    "never-yield",
    "await-connection",
];

/// What the wrong versions do: the right answers, in the order of the names.
const LETTERS: &str = "BACCABCBACCBAA";

fn fault(arguments: &[&str]) -> Ended {
    static FAULT: LazyLock<PathBuf> = LazyLock::new(|| example("fault"));
    let mut command = Command::new(&*FAULT);
    command.args(arguments);
    Server::spawn(command).wait()
}

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("echo/ is in the workspace");
    fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What the output says about one version.
struct Version {
    symptom: String,
    lost: bool,
}

impl Version {
    /// Parses the output of `fault NAME`.
    ///
    /// Fails unless the line of code that it shows is at the given location, below the mark of this
    /// version.
    #[track_caller]
    fn parse(version: &str, stdout: &str) -> Version {
        let parts: Vec<&str> = stdout.split("\n\n").collect();
        let part = parts.iter().find(|part| part.starts_with(version));
        let lines: Vec<&str> = part.expect("the output contains this version").lines().collect();
        let [symptom, middle @ .., location, code] = &lines[..] else { panic!("{lines:?}") };

        let (path, number) = location.trim().rsplit_once(':').expect("FILE:LINE");
        let text = read(path);
        let (before, line): (Vec<&str>, _) = {
            let mut lines = text.lines().map(str::trim);
            let number: usize = number.parse().expect("a line number");
            (lines.by_ref().take(number - 1).collect(), lines.next())
        };
        assert_eq!(line, Some(code.trim()));
        let comment = before.iter().rev().take_while(|line| line.starts_with("// "));
        let mark = if version == "right" { "// Right: " } else { "// Wrong: " };
        assert!(comment.into_iter().any(|line| line.starts_with(mark)), "{location}: no {mark}");

        let lost = "       lost tasks reported by the executor: 1";
        assert!(middle.iter().all(|line| *line == lost) && middle.len() < 2, "{middle:?}");
        Version { symptom: symptom[version.len()..].trim().to_owned(), lost: !middle.is_empty() }
    }

    /// Returns the first number of the symptom.
    fn number(&self) -> u32 {
        let first = self.symptom.split(' ').find_map(|word| word.parse().ok());
        first.unwrap_or_else(|| panic!("no number: {}", self.symptom))
    }

    #[track_caller]
    fn assert_shows(&self, words: &str) {
        assert!(self.symptom.contains(words), "{words}: {}", self.symptom);
    }
}

/// Runs both versions, and checks the form of the output.
#[track_caller]
fn right_and_wrong(name: &str) -> (Version, Version) {
    let Ended { status, stdout, stderr } = fault(&[name]);
    assert!(status.success() && stderr.is_empty(), "{status}: {stderr}");
    assert!(stdout.is_ascii() && stdout.lines().all(|line| line.len() <= 80), "{stdout}");
    assert!(stdout.lines().count() <= 12, "{stdout}");
    assert!(stdout.starts_with(&format!("{name}: ")), "{stdout}");

    let next = stdout.lines().find_map(|line| line.strip_prefix("read next: `"));
    let (what, path) =
        next.expect("what to read next").split_once("` in ").expect("`WHAT` in FILE");
    assert!(read(path).contains(what), "{what} is not in {path}");
    (Version::parse("right", &stdout), Version::parse("wrong", &stdout))
}

#[test]
fn future_that_stores_no_waker_is_reported_as_lost() {
    let (right, wrong) = right_and_wrong("forget-waker");
    assert_eq!((right.number(), right.lost), (1, false));
    assert_eq!((wrong.number(), wrong.lost), (0, true));
}

#[test]
fn one_read_per_event_leaves_bytes_behind() {
    let (right, wrong) = right_and_wrong("read-once");
    assert_eq!(right.number(), 100);
    assert!((1..100).contains(&wrong.number()), "{}", wrong.symptom);
    assert!(!right.lost && !wrong.lost);
}

#[test]
fn shared_waker_slot_strands_the_reader() {
    let (right, wrong) = right_and_wrong("one-slot");
    assert_eq!((right.number(), right.lost), (1, false));
    assert_eq!((wrong.number(), wrong.lost), (0, false));
}

#[test]
fn wakeup_without_notification_waits_for_a_timer() {
    let (right, wrong) = right_and_wrong("no-notify");
    right.assert_shows("the wakeup ended the sleep");
    wrong.assert_shows("a timer ended the sleep");
}

#[test]
fn blocking_call_stops_the_ticks_of_another_task() {
    let (right, wrong) = right_and_wrong("block");
    assert!(right.number() > 0, "{}", right.symptom);
    assert_eq!(wrong.number(), 0);
}

#[test]
fn awaited_connection_delays_the_next_client() {
    let (right, wrong) = right_and_wrong("await-connection");
    right.assert_shows("gets its answer");
    wrong.assert_shows("gets no answer");
}

#[test]
fn future_that_keeps_its_first_waker_strands_the_second_task() {
    let (right, wrong) = right_and_wrong("stale-waker");
    right.assert_shows("ms after the event");
    wrong.assert_shows("the second task is not polled within 1000 ms");
    assert_eq!((right.lost, wrong.lost), (false, true));
}

#[test]
fn waker_stored_after_the_look_misses_the_completion() {
    let (right, wrong) = right_and_wrong("late-waker");
    right.assert_shows("ms after the completion");
    wrong.assert_shows("not polled again within 1000 ms");
    assert!(!right.lost && !wrong.lost);
}

#[test]
fn future_that_wakes_itself_is_polled_again_and_again() {
    let (right, wrong) = right_and_wrong("busy-poll");
    assert!((2..10).contains(&right.number()), "{}", right.symptom);
    assert!(wrong.number() > 50, "{}", wrong.symptom);
}

#[test]
fn borrow_held_while_waking_panics() {
    let (right, wrong) = right_and_wrong("borrow-while-waking");
    assert_eq!((right.number(), wrong.number()), (1, 0));
    right.assert_shows("the sender finishes");
    wrong.assert_shows("the sender panics");
}

#[test]
fn ignored_end_of_file_is_read_again_and_again() {
    let (right, wrong) = right_and_wrong("ignore-eof");
    assert_eq!((right.number(), wrong.number()), (1, 1000));
}

#[test]
fn socket_registered_for_each_read_costs_two_calls_each() {
    let (right, wrong) = right_and_wrong("reregister");
    // One adds the socket, and one removes it. The last read reports the end of file.
    assert_eq!((right.number(), wrong.number()), (2, 2 + 2 * 101));
}

#[test]
fn calls_that_a_fault_counts_are_those_that_strace_sees() {
    if !is_installed("strace") {
        return;
    }
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", "trace=epoll_ctl"]).arg(example("fault"));
    command.args(["reregister", "wrong"]);
    let Ended { status, stdout, stderr } = Server::spawn(command).wait();
    if stderr.contains("Operation not permitted") {
        println!("skipped: strace may not trace here");
        return;
    }
    assert!(status.success(), "{status}: {stderr}");
    assert!(stdout.contains("\nwrong  204 calls"), "{stdout}");
    // The runtime registers its eventfd, too.
    assert_eq!(stderr.matches("epoll_ctl(").count(), 205, "{stderr}");
}

#[test]
fn write_dropped_half_way_merges_two_messages() {
    let (right, wrong) = right_and_wrong("drop-write");
    assert_eq!((right.number(), wrong.number()), (2, 0));
    right.assert_shows("the first has 16777216 bytes");
}

#[test]
fn loop_over_ready_futures_stops_the_ticks_of_another_task() {
    let (right, wrong) = right_and_wrong("never-yield");
    assert!(right.number() > 0, "{}", right.symptom);
    assert_eq!(wrong.number(), 0);
}

#[test]
fn one_version_can_be_run_alone() {
    for (version, other) in [("right", "wrong"), ("wrong", "right")] {
        let Ended { status, stdout, .. } = fault(&["await-connection", version]);
        assert!(status.success());
        let parsed = Version::parse(version, &stdout);
        parsed.assert_shows(if version == "right" { "gets its answer" } else { "gets no answer" });
        assert!(!stdout.contains(&format!("\n{other}")), "{stdout}");
    }
}

/// Records both versions. Returns the kinds of their steps, and the data of the page.
///
/// Records them again if the runs part before the line that differs: on a busy machine, the number
/// of writes that fill a socket varies.
fn recorded(name: &str) -> ([Vec<String>; 2], Value) {
    for _ in 0..3 {
        let (runs, data) = recorded_once(name);
        if [0, 1].into_iter().all(|run| note_at_the_divergence(&data, run).is_some()) {
            assert_lines_are_marked(&data);
            return (runs, data);
        }
    }
    panic!("{name}: three times, the runs part at a step without a note");
}

fn recorded_once(name: &str) -> ([Vec<String>; 2], Value) {
    let folder = folder();
    let file = folder.path().join("run.html");
    let path = file.to_str().expect("a temporary folder with a plain name");
    let Ended { status, stdout, stderr } = fault(&[name, "--trace", path]);
    assert!(status.success() && stderr.is_empty(), "{status}: {stderr}");
    assert!(stdout.contains(&format!("step through: {path}")), "{stdout}");
    let page = fs::read_to_string(&file).expect("it wrote the page");
    let data = page_data(&page);
    let runs = [&data["runs"][0], &data["runs"][1]].map(|run| {
        let steps = run["steps"].as_array().expect("a list").iter();
        steps.map(|step| step["kind"].as_str().expect("a kind").to_owned()).collect()
    });
    let label = |run: usize| data["runs"][run]["label"].as_str().map(str::to_owned);
    assert_eq!([label(0), label(1)].map(Option::unwrap_or_default), ["right", "with the fault"]);
    assert_eq!(
        data["runs"][0]["first"]["file"],
        format!("echo/learn/faults/{}.rs", name.replace('-', "_"))
    );
    (runs, data)
}

/// Returns the note at the step where the runs part. Another thread runs the line of one fault, and
/// then the runs part at the next step of the server.
fn note_at_the_divergence(data: &Value, run: usize) -> Option<&Value> {
    let part = divergence(data)[run] as u64;
    let is_near = |step: &&Value| (part - 1..=part).contains(&step["n"].as_u64().unwrap());
    let steps = data["runs"][run]["steps"].as_array().expect("a list").iter();
    steps.filter(is_near).find(|step| step["kind"] == "note")
}

/// Checks that in each version, the line that differs is marked at the step where the runs part.
#[track_caller]
fn assert_lines_are_marked(data: &Value) {
    for (run, mark) in [(0, "// Right:"), (1, "// Wrong:")] {
        let note = note_at_the_divergence(data, run).expect("checked");
        let place = note["place"][0].as_u64().expect("a place in the program") as usize;
        let place = &data["runs"][run]["places"][place];
        let text = data["files"][place["file"].as_str().unwrap()].as_str().expect("its file");
        let line = place["line"].as_u64().unwrap() as usize;
        let above = text.lines().take(line - 1).map(str::trim).collect::<Vec<_>>();
        let comment = above.iter().rev().take_while(|line| line.starts_with("// "));
        assert!(comment.into_iter().any(|line| line.starts_with(mark)), "{place}: no {mark}");
    }
}

/// Where two recordings part, by the number of the step.
fn divergence(data: &Value) -> [usize; 2] {
    [0, 1].map(|run| data["parts"][run].as_u64().expect("a number") as usize)
}

#[test]
fn recordings_diverge_at_the_wrong_line() {
    let ([right, wrong], data) = recorded("forget-waker");
    let [a, b] = divergence(&data);
    // The same poll: there the right one tries and leaves its waker, the other just gives up.
    assert_eq!((right[a - 2].as_str(), wrong[b - 2].as_str()), ("poll", "poll"));
    assert_eq!((right[a - 1].as_str(), wrong[b - 1].as_str()), ("note", "note"));
    assert_eq!((right[a].as_str(), wrong[b].as_str()), ("would block", "pending"));
    assert_eq!(wrong[b + 1], "lost");
    assert!(!right.iter().any(|kind| kind == "lost"), "{right:?}");

    let ([right, wrong], data) = recorded("read-once");
    let [a, b] = divergence(&data);
    // After the first answer the right one writes the next, and the other waits.
    assert_eq!((right[a].as_str(), wrong[b].as_str()), ("try", "would block"));
}

/// Returns the verdict of a run of a recorded fault: its symptom, and the reason.
fn verdict(data: &Value, run: usize) -> (String, String) {
    let verdict = data["runs"][run]["verdict"].as_str().expect("words");
    let verdict = verdict.strip_prefix("**").and_then(|rest| rest.split_once(".** "));
    let (symptom, reason) = verdict.expect("a symptom in bold, and a reason");
    (symptom.to_owned(), reason.to_owned())
}

#[test]
fn verdict_of_each_run_states_symptom_and_reason() {
    for (name, symptom) in [
        ("forget-waker", "0 of 1 bytes"),
        ("read-once", "16 of 100 bytes"),
        ("one-slot", "The reader got 0 of 1 bytes"),
        ("no-notify", "a timer ended the sleep"),
        ("block", "0 ticks"),
        ("await-connection", "no answer"),
        ("stale-waker", "not polled"),
        ("late-waker", "Not polled"),
        ("busy-poll", "polls until"),
        ("borrow-while-waking", "the sender panics"),
        ("ignore-eof", "1000 reads"),
        ("reregister", "204 calls"),
        ("drop-write", "0 of 2 messages"),
        ("never-yield", "0 ticks"),
    ] {
        let (_, data) = recorded(name);
        let [right, wrong] = [0, 1].map(|run| verdict(&data, run));
        // "30 ticks" does not state "0 ticks".
        let states = |verdict: &str| format!(" {verdict}").contains(&format!(" {symptom}"));
        // Both runs of `busy-poll` count polls, and the numbers differ.
        let differ = name == "busy-poll" || !states(&right.0);
        assert!(states(&wrong.0) && differ && right.0 != wrong.0, "{name}: {right:?} {wrong:?}");
        assert_ne!(right.1, wrong.1);
        for reason in [right.1, wrong.1] {
            // Two lines on the page.
            assert!((40..160).contains(&reason.len()) && reason.ends_with('.'), "{reason}");
        }
        assert!(divergence(&data).iter().all(|part| *part > 1), "{name}: {}", data["parts"]);
    }
}

/// Returns the wakers that the sources of a run hold after each step: for each step, the names of the
/// sources with a waker.
fn holders(run: &Value) -> Vec<Vec<String>> {
    let mut held = BTreeMap::new();
    let steps = run["steps"].as_array().expect("a list").iter();
    let after = steps.map(|step| {
        for (path, value) in step["changes"].as_object().expect("cells") {
            if let Some(source) =
                path.strip_prefix("source/").filter(|path| path.ends_with("wakers"))
            {
                held.insert(source.to_owned(), value != &serde_json::json!([]));
            }
        }
        let name = |path: &str| {
            let id = path.split('/').next().unwrap_or_default();
            let sources = run["sources"].as_array().expect("a list").iter();
            let source = sources.into_iter().find(|source| source["id"] == id).expect("known");
            source["name"].as_str().expect("a name").to_owned()
        };
        held.iter().filter(|(_, held)| **held).map(|(path, _)| name(path)).collect()
    });
    after.collect()
}

// The reasons are written by hand, so the recorded state must agree with them.
#[test]
fn reasons_agree_with_the_recorded_wakers() {
    let after_divergence = |name: &str| {
        let (_, data) = recorded(name);
        let parts = divergence(&data);
        [0, 1].map(|run| holders(&data["runs"][run])[parts[run] - 1..].to_vec())
    };
    let holds = |steps: &[Vec<String>], source: &str| {
        steps.iter().any(|held| held.iter().any(|held| held == source))
    };
    let [right, wrong] = after_divergence("forget-waker");
    assert!(holds(&right, "connection") && !holds(&wrong, "connection"));
    let [right, wrong] = after_divergence("busy-poll");
    assert!(!right.concat().is_empty() && wrong.concat().is_empty(), "{wrong:?}");
    let [right, wrong] = after_divergence("await-connection");
    let most = |steps: &[Vec<String>]| steps.iter().map(Vec::len).max();
    assert_eq!((most(&right), most(&wrong)), (Some(2), Some(1)), "sources with a waker");
    let [_, wrong] = after_divergence("read-once");
    assert!(holds(&wrong[wrong.len() / 2..], "connection"));
    let [_, wrong] = after_divergence("ignore-eof");
    assert!(!holds(&wrong, "connection"));
}

#[test]
fn unwritable_trace_file_is_reported_before_the_run() {
    for file in ["/no/such/folder/run.html", "run.txt"] {
        let Ended { status, stdout, stderr } = fault(&["block", "--trace", file]);
        assert_eq!((status.code(), stdout.as_str()), (Some(2), ""), "{file}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

#[test]
fn faults_are_listed_as_on_their_page() {
    let Ended { status, stdout, .. } = fault(&[]);
    assert!(status.success());
    assert!(stdout.is_ascii() && stdout.lines().all(|line| line.len() <= 80), "{stdout}");
    let list = stdout.split("\n\n").next().expect("the list comes first");
    let names: Vec<&str> = list.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, NAMES);
    let readme = read("echo/learn/faults.md");
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    assert_eq!(rows.collect::<Vec<_>>(), NAMES);
}

/// Returns the letters of the answers that are explained as right.
fn right_answers(stdout: &str) -> Vec<char> {
    let is_right = |line: &&str| line.get(1..).is_some_and(|rest| rest.starts_with("  right: "));
    stdout.lines().filter(is_right).filter_map(|line| line.chars().next()).collect()
}

#[test]
fn tell_shows_the_program_and_explains_the_answers() {
    for (name, letter) in NAMES.into_iter().zip(LETTERS.chars()) {
        let Ended { status, stdout, stderr } = fault(&[name, "--tell"]);
        assert!(status.success() && stderr.is_empty(), "{name}: {status}: {stderr}");
        assert_eq!(right_answers(&stdout), [letter], "{stdout}");
        let (program, rest) = stdout.split_once("\nA  ").expect("answers");
        assert!(program.contains("// Right: ") && program.contains("// Wrong: "), "{program}");
        assert!(!program.contains("Letter::"), "it gives the answer away: {program}");
        assert!(!rest.contains("your answer") && rest.contains("\nread next: "), "{rest}");
    }
}

#[test]
fn right_answers_of_faults_cannot_be_guessed_from_their_letters() {
    let counts = occurrences(LETTERS);
    assert!(counts.iter().all(|&count| count >= LETTERS.len() / 4), "{counts:?}");
}

#[test]
fn wrong_prediction_of_a_fault_on_a_terminal_is_explained() {
    let mut command = Command::new(example("fault"));
    command.arg("read-once");
    let Some(OnTerminal { status, screen, stderr }) = on_terminal(command, "a\n") else { return };
    assert!(status.success() && stderr.is_empty(), "{status}: {stderr}");
    let (before, after) = screen.split_once("your answer (A, B or C): ").expect("it asks");
    assert!(
        before.contains("    async fn echo(") && !before.contains("come back within"),
        "{before}"
    );
    assert!(after.contains("\nwrong  16 of 100 bytes came back"), "{after}");
    assert!(after.contains("\nA  wrong: this is level-triggered epoll."), "{after}");
    assert!(after.contains("\nyour answer A is wrong; the run shows B\n"), "{after}");
}

#[test]
fn unknown_fault_is_an_error() {
    for arguments in
        [&["forget"][..], &["block", "half"], &["block", "right", "wrong"], &["--tell", "forget"]]
    {
        let Ended { status, stdout, stderr } = fault(arguments);
        assert_eq!((status.code(), stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}
