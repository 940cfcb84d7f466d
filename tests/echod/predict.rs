//! Twenty programs to predict: each run shows the outcome that the course expects, and the programs
//! ask only on a terminal.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::thread;

use tests::{eventually, folder, page_data, terminal};

use crate::server::{Ended, Server};
use crate::three_echoes::example;

/// The right answers, in the order of the programs.
const LETTERS: &str = "BACBABCACBCABACBBACA";

/// The programs whose runs are worth stepping through.
pub(crate) const SCENES: [usize; 15] = [1, 2, 3, 4, 5, 7, 10, 11, 12, 13, 14, 16, 17, 19, 20];

/// How many programs run at the same time. They mostly wait.
const AT_ONCE: usize = 5;

static PREDICT: LazyLock<PathBuf> = LazyLock::new(|| example("predict"));

fn predict(arguments: &[&str]) -> Ended {
    let mut command = Command::new(&*PREDICT);
    command.args(arguments);
    Server::spawn(command).wait()
}

/// What a command has written to a terminal, and to standard error.
pub(crate) struct OnTerminal {
    pub(crate) status: ExitStatus,
    pub(crate) screen: String,
    pub(crate) stderr: String,
}

/// Runs a command on a pseudo-terminal, into which `typed` is typed.
pub(crate) fn on_terminal(mut command: Command, typed: &str) -> Option<OnTerminal> {
    let (mut user, programs) = terminal()?;
    command.env_remove("RUST_LOG").stderr(Stdio::piped());
    command.stdin(programs.try_clone().expect("a descriptor can be duplicated")).stdout(programs);
    user.write_all(typed.as_bytes()).expect("the terminal accepts a line");
    let mut child = command.spawn().expect("the program starts");
    // This closes the program's side of the terminal here, so the reader sees when the child ends.
    drop(command);
    let screen = thread::spawn(move || read_screen(user));
    eventually("the program ends", || matches!(child.try_wait(), Ok(Some(_))));
    let status = child.wait().expect("the child can be waited for");
    let stderr = io::read_to_string(child.stderr.take().expect("a pipe")).expect("text");
    Some(OnTerminal { status, screen: screen.join().expect("reading does not panic"), stderr })
}

/// Reads until the other side of the terminal is closed, which is reported as an error.
fn read_screen(mut user: File) -> String {
    let (mut screen, mut buffer) = (Vec::new(), [0; 1024]);
    while let Ok(bytes @ 1..) = user.read(&mut buffer) {
        screen.extend_from_slice(&buffer[..bytes]);
    }
    String::from_utf8_lossy(&screen).replace("\r\n", "\n")
}

/// Returns the letter of the answer that is explained as right.
fn right_answer(stdout: &str) -> Vec<char> {
    let right = stdout
        .lines()
        .filter(|line| line.get(1..).is_some_and(|rest| rest.starts_with("  right: ")));
    right.filter_map(|line| line.chars().next()).collect()
}

/// Returns how often each of the three letters occurs, in the order A, B, C.
pub(crate) fn occurrences(letters: &str) -> [usize; 3] {
    ['A', 'B', 'C'].map(|letter| letters.matches(letter).count())
}

/// Runs all programs, a few of them at the same time, and returns what they print.
fn all() -> Vec<String> {
    let numbers: Vec<usize> = (1..=LETTERS.len()).collect();
    let mut outputs = Vec::new();
    for some in numbers.chunks(AT_ONCE) {
        let run = |&number| thread::spawn(move || predict(&[&usize::to_string(&number)]));
        for run in some.iter().map(run).collect::<Vec<_>>() {
            let Ended { status, stdout, stderr } = run.join().expect("the program ends");
            assert!(status.success() && stderr.is_empty(), "{status}: {stderr}\n{stdout}");
            outputs.push(stdout);
        }
    }
    outputs
}

#[test]
fn each_shown_program_does_what_the_course_expects() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("echo/ is in the workspace");
    for (stdout, letter) in all().iter().zip(LETTERS.chars()) {
        assert_eq!(right_answer(stdout), [letter], "{stdout}");
        assert!(stdout.contains(&format!("\nwhat happened ({letter}): ")), "{stdout}");

        let [_, place, rest] = stdout.splitn(3, "\n\n").collect::<Vec<_>>()[..] else {
            panic!("{stdout}")
        };
        let (file, line) = place.rsplit_once(':').expect("FILE:LINE");
        let text = fs::read_to_string(root.join(file)).expect("the file of the program");
        let line: usize = line.parse().expect("a line number");
        let code = text.lines().skip(line - 1).take_while(|line| *line != "// End.");
        let code: Vec<String> =
            code.map(|line| format!("    {line}").trim_end().to_owned()).collect();
        let code = code.join("\n");
        assert!(code.lines().count() <= 22 && code.contains("fn "), "{code}");
        assert!(rest.starts_with(&code), "{rest}");
    }
}

#[test]
fn right_answers_cannot_be_guessed_from_their_letters() {
    let counts = occurrences(LETTERS);
    assert!(counts.iter().all(|&count| count >= LETTERS.len() / 4), "{counts:?}");
}

#[test]
fn each_answer_is_shown_once_and_explained_once() {
    let Ended { stdout, .. } = predict(&["7"]);
    assert!(stdout.is_ascii() && stdout.lines().all(|line| line.len() <= 80), "{stdout}");
    for letter in ["\nA  ", "\nB  ", "\nC  "] {
        assert_eq!(stdout.matches(letter).count(), 2, "{stdout}");
    }
    assert!(!stdout.contains("your answer"), "{stdout}");
}

#[test]
fn wrong_prediction_on_a_terminal_is_explained() {
    let mut command = Command::new(&*PREDICT);
    command.arg("7");
    let Some(OnTerminal { status, screen, stderr }) = on_terminal(command, "a\n") else { return };
    assert!(status.success() && stderr.is_empty(), "{status}: {stderr}");
    let (before, after) = screen.split_once("your answer (A, B or C): ").expect("it asks");
    assert!(!before.contains("what happened"), "{before}");
    assert!(after.contains("what happened (C): Ok(7) after 2"), "{after}");
    assert!(after.contains("\nA  wrong: a timeout cannot interrupt"), "{after}");
    assert!(after.ends_with("\nyour answer A is wrong; the run shows C\n"), "{after}");
}

#[test]
fn right_prediction_on_a_terminal_is_confirmed() {
    let mut command = Command::new(&*PREDICT);
    command.arg("1");
    let Some(OnTerminal { screen, .. }) = on_terminal(command, "B\n") else { return };
    assert!(screen.ends_with("\nyour answer B is right\n"), "{screen}");
}

#[test]
fn tell_skips_the_question_on_a_terminal() {
    let mut command = Command::new(&*PREDICT);
    command.args(["1", "--tell"]);
    let Some(OnTerminal { status, screen, .. }) = on_terminal(command, "") else { return };
    assert!(status.success(), "{status}");
    assert!(!screen.contains("your answer") && screen.contains("what happened (B)"), "{screen}");
}

#[test]
fn invalid_input_is_a_one_line_error() {
    for arguments in [&["0"][..], &["21"], &["one"], &["1", "2"]] {
        let Ended { status, stdout, stderr } = predict(arguments);
        assert_eq!((status.code(), stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
    for typed in ["D\n", "\n", "AB\n"] {
        let mut command = Command::new(&*PREDICT);
        command.arg("1");
        let Some(OnTerminal { status, screen, stderr }) = on_terminal(command, typed) else {
            return;
        };
        assert_eq!((status.code(), stderr.lines().count()), (Some(2), 1), "{stderr}");
        assert!(!screen.contains("what happened"), "{screen}");
    }
}

#[test]
fn programs_are_listed_in_the_order_of_the_page() {
    let Ended { status, stdout, .. } = predict(&[]);
    assert!(status.success());
    assert!(stdout.is_ascii() && stdout.lines().all(|line| line.len() <= 80), "{stdout}");
    let numbers =
        stdout.lines().filter_map(|line| line.trim_start().split(' ').next()?.parse().ok());
    assert_eq!(numbers.collect::<Vec<usize>>(), Vec::from_iter(1..=LETTERS.len()));
}

#[test]
fn run_of_each_scene_is_written_as_a_page() {
    let folder = folder();
    for number in 1..=LETTERS.len() {
        let page = folder.path().join("run.html");
        let Ended { status, stdout, stderr } =
            predict(&[&number.to_string(), "--trace", page.to_str().unwrap()]);
        if !SCENES.contains(&number) {
            assert_eq!((status.code(), &*stdout), (Some(3), ""), "{number}");
            assert_eq!(stderr.lines().count(), 1, "{stderr}");
            continue;
        }
        assert!(status.success() && stderr.is_empty(), "{number}: {status}: {stderr}");
        let letter = LETTERS.chars().nth(number - 1).unwrap();
        assert_eq!(right_answer(&stdout), [letter], "the recorder changes nothing: {stdout}");
        assert!(stdout.ends_with(&format!("\nstep through: {}\n", page.display())), "{stdout}");
        let data = page_data(&fs::read_to_string(&page).unwrap());
        let run = &data["runs"][0];
        assert_eq!(run["title"], format!("predict {number}"));
        let tab = data["tabs"][0].as_str().unwrap();
        assert!(tab.starts_with("echo/learn/predict/"), "{number}: {tab}");
        let steps = run["steps"].as_array().unwrap().len();
        assert!((3..=150).contains(&steps), "{number}: {steps} steps");
        fs::remove_file(&page).unwrap();
    }
}
