//! The prompts "What happens next?" of the demo and of each scene: the recording has the right answer.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::thread;

use serde_json::Value;
use tests::{folder, page_data};

use crate::predict::SCENES;
use crate::server::ECHOD;
use crate::three_echoes::example;

/// The first run of the page of each program, with the name of the program.
static RUNS: LazyLock<Vec<(String, Value)>> = LazyLock::new(|| {
    let demo = (PathBuf::from(ECHOD), "--demo".to_owned());
    let question = |number: usize| (example("question"), number.to_string());
    let predict = |number: &usize| (example("predict"), number.to_string());
    let commands = [demo].into_iter().chain((1..=24).map(question));
    let commands: Vec<_> = commands.chain(SCENES.iter().map(predict)).collect();
    let folder = folder();
    let record = |(program, argument): &(PathBuf, String)| {
        let name = program.file_name().unwrap().to_str().unwrap();
        let file = folder.path().join(format!("{name}-{argument}.html"));
        let mut command = Command::new(program);
        command.arg(argument).arg("--trace").arg(&file);
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(status.success(), "{argument}: {status}");
        let data = page_data(&fs::read_to_string(&file).unwrap());
        (format!("{name} {argument}"), data["runs"][0].clone())
    };
    // The programs mostly wait, so several of them run at the same time.
    let record_all = |commands: &[_]| commands.iter().map(record).collect::<Vec<_>>();
    thread::scope(|scope| {
        let chunks = commands.chunks(8);
        let threads: Vec<_> = chunks.map(|chunk| scope.spawn(move || record_all(chunk))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
});

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// Whether an answer says what a step shows.
fn describes(answer: &str, step: &Value) -> bool {
    let kind = text(&step["kind"]);
    let nameless = ["register", "deregister", "sleep", "look", "outside", "event", "job done"];
    let names_task = !step["task"].is_null() && !nameless.contains(&kind);
    let words: &[&str] = match kind {
        "spawn" => &["spawns"],
        "register" => &["the reactor registers"],
        "deregister" => &["the reactor deregisters"],
        "poll" => &["the executor polls"],
        "try" | "short" | "would block" | "end of file" | "fails" => {
            let operation = text(&step["short"]).split(':').next().unwrap();
            let calls = format!("{} calls `{operation}`", text(&step["lane"]));
            return answer.ends_with(&calls);
        }
        "store" => &["gets the waker", "stores the waker"],
        "pending" => &["returns `Pending`"],
        "sleep" => &["in `epoll_wait`", "calls `epoll_wait`"],
        "look" => &["checks for events"],
        "outside" => &["outside, "],
        "event" => &["the kernel reports"],
        "wake" => &["calls `wake`"],
        "queue" => {
            &["goes into the run queue", "wakes itself and is queued", "another thread wakes"]
        }
        "queued already" => &["is already queued"],
        "timer set" => &["sets a timer"],
        "timer fired" => &["expires"],
        "timer dropped" => &["drops its timer"],
        "job done" => &["completes"],
        "job submitted" => &["submits"],
        "budget spent" => &["yields"],
        "done" => &["returns `Ready`"],
        other => panic!("a prompt about {other}"),
    };
    let is_of_task = !names_task || {
        let task = format!("task {}", step["task"]);
        answer.split(&task).skip(1).any(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    is_of_task && words.iter().any(|words| answer.contains(words))
}

/// A text without the IDs in it.
fn without_numbers(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

#[test]
fn right_answer_of_each_prompt_is_the_next_step() {
    for (name, run) in &*RUNS {
        for prompt in list(&run["prompts"]) {
            let at = list(&run["steps"]).iter().position(|step| step["n"] == prompt["step"]);
            let next = &list(&run["steps"])[at.expect("the prompt has a step") + 1];
            let answers = list(&prompt["answers"]);
            let shown: Vec<usize> =
                (0..3).filter(|&nth| describes(text(&answers[nth][0]), next)).collect();
            let right = prompt["right"].as_u64().unwrap() as usize;
            assert_eq!(shown, [right], "{name}: {prompt}\nnext: {next}");
        }
    }
}

#[test]
fn prompts_have_three_distinct_short_answers_with_reasons() {
    for (name, run) in &*RUNS {
        for prompt in list(&run["prompts"]) {
            let answers = list(&prompt["answers"]);
            let texts: BTreeSet<&str> = answers.iter().map(|answer| text(&answer[0])).collect();
            assert_eq!((answers.len(), texts.len()), (3, 3), "{name}: {prompt}");
            for answer in answers {
                assert!((1..=50).contains(&text(&answer[0]).len()), "{name}: {answer}");
                assert!((20..=125).contains(&text(&answer[1]).len()), "{name}: {answer}");
            }
        }
    }
}

#[test]
fn each_page_asks_about_an_idea_once_and_rarely() {
    let mut ideas = BTreeSet::new();
    for (name, run) in &*RUNS {
        let prompts = list(&run["prompts"]);
        assert!(prompts.len() <= 10, "{name}: {}", prompts.len());
        let steps: Vec<u64> =
            prompts.iter().map(|prompt| prompt["step"].as_u64().unwrap()).collect();
        assert!(steps.windows(2).all(|pair| pair[0] + 3 <= pair[1]), "{name}: {steps:?}");
        let mut asked = BTreeSet::new();
        for prompt in prompts {
            let right = &prompt["right"];
            let wrong = (0..3).filter(|nth| right != nth).map(|nth| &prompt["answers"][nth][0]);
            let wrong: BTreeSet<String> =
                wrong.map(|answer| without_numbers(text(answer))).collect();
            assert!(asked.insert(wrong.clone()), "{name}: {prompt}");
            ideas.insert(wrong);
        }
    }
    let demo = list(&RUNS[0].1["prompts"]).len();
    assert!(demo >= 8, "the demo asks {demo} times");
    assert!(ideas.len() >= 20, "{} ideas", ideas.len());
}

#[test]
fn letters_of_the_right_answers_are_mixed() {
    let mut first = BTreeSet::new();
    for (name, run) in &*RUNS {
        let right: Vec<u64> =
            list(&run["prompts"]).iter().map(|prompt| prompt["right"].as_u64().unwrap()).collect();
        first.extend(right.first().copied());
        let letters: BTreeSet<u64> = right.iter().copied().collect();
        assert!(right.len() < 6 || letters.len() == 3, "{name}: {right:?}");
        assert!(right.windows(3).all(|three| three != [three[0]; 3]), "{name}: {right:?}");
    }
    assert_eq!(first.len(), 3, "pages begin with different letters");
}
