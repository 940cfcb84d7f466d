//! Checks that the commands in the READMEs exist, and print the output that is shown.
//!
//! A transcript is a block of text that begins with `$ cargo run `. Its other lines are the output
//! of that command, except that times, ports and addresses may differ and that `...` stands for any
//! lines. With `UPDATE_GUIDE=1` in the environment, this test rewrites the transcripts that differ.

use std::env;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::thread;

use serde_json::Value;
use tests::child::example;
use tests::eventually;
use tests::transcript::masked;

use crate::guide::{Block, READMES, blocks, read, root, spans};
use crate::items::Items;

/// The program.
const ECHOD: &str = env!("CARGO_BIN_EXE_echod");

/// The number of transcripts that are checked concurrently.
const CONCURRENT: usize = 4;

/// Stands for omitted lines.
const OMITTED: &str = "...";

// Comparing shown and printed lines.

/// Finds the parts of a transcript, which omitted lines separate, in the printed lines. Returns the
/// index at which each part begins.
///
/// # Errors
///
/// Returns the first line that differs.
fn find_parts(shown: &[String], printed: &[String]) -> Result<Vec<usize>, String> {
    let parts: Vec<&[String]> = shown.split(|line| line == OMITTED).collect();
    let (mut found, mut next) = (Vec::new(), 0);
    for (at, part) in parts.iter().enumerate() {
        let last = printed.len().saturating_sub(part.len()).max(next);
        let from = if at + 1 == parts.len() && at > 0 { last } else { next };
        let begin = find(part, printed, from, if at == 0 { next } else { last })?;
        next = begin + part.len();
        found.push(begin);
    }
    match printed.get(next) {
        Some(line) => Err(format!("shown:   no further line\nprinted: {line}")),
        None => Ok(found),
    }
}

/// Returns the first index from `from` to `to` at which these lines were printed.
fn find(lines: &[String], printed: &[String], from: usize, to: usize) -> Result<usize, String> {
    let agree = |begin: usize| {
        let pairs = lines.iter().zip(printed.iter().skip(begin));
        pairs.take_while(|(shown, printed)| masked(shown) == masked(printed)).count()
    };
    let begin = (from..=to).rev().max_by_key(|&begin| agree(begin)).unwrap_or(from);
    let Some(shown) = lines.get(agree(begin)) else { return Ok(begin) };
    let printed = printed.get(begin + agree(begin)).map_or("no further line", String::as_str);
    Err(format!("shown:   {shown}\nprinted: {printed}"))
}

/// Returns the corrected lines of a transcript. If it omits lines, each part begins where its first
/// line was printed, and keeps its length. Returns `None` if such a first line was not printed.
fn renewed(shown: &[String], printed: &[String]) -> Option<Vec<String>> {
    let parts: Vec<&[String]> = shown.split(|line| line == OMITTED).collect();
    if let [_] = parts[..] {
        return Some(printed.to_owned());
    }
    let (mut lines, mut next) = (Vec::new(), 0);
    for (at, part) in parts.iter().enumerate() {
        let first = find(&part[..part.len().min(1)], printed, next, printed.len()).ok()?;
        next = first + part.len();
        lines.extend((at > 0).then(|| OMITTED.to_owned()));
        lines.extend_from_slice(printed.get(first..next)?);
    }
    Some(lines)
}

fn lines(text: &str) -> Vec<String> {
    text.trim_end().lines().map(|line| line.trim_end().to_owned()).collect()
}

#[test]
fn transcript_shows_all_lines_except_omitted_ones() {
    let printed = lines("one\ntwo 1 ms\nthree\nfour\nthree\nfive");
    let matches = |shown: &str| find_parts(&lines(shown), &printed).is_ok();
    for right in [
        "one\ntwo 2 ms\nthree\nfour\nthree\nfive",
        "...",
        "one\n...",
        "...\nfive",
        "...\nfour\n...",
        "one\n...\nthree\nfive",
        "one\n...\nthree\n...\nthree\n...",
        "one\ntwo 1 ms\nthree\n...\nfour\nthree\nfive",
    ] {
        assert!(matches(right), "{right}");
    }
    for wrong in [
        "",
        "one",
        "one\ntwo 2 ms\nthree\nfour\nthree\nsix",
        "one\ntwo 2 ms\nthree\nfour\nthree\nfive\nsix",
        "two 1 ms\n...",
        "...\nthree",
        "...\nsix\n...",
        "...\nfour\n...\ntwo 1 ms\n...",
        "one\n...\nthree\n...\nthree\n...\nthree\n...",
        "one\n...\nthree\nfour\nthree\nfive\n...\nfive",
    ] {
        assert!(!matches(wrong), "{wrong}");
    }
    let differs = find_parts(&lines("one\n...\nfour\nthreee\n..."), &printed);
    assert_eq!(differs, Err("shown:   threee\nprinted: three".to_owned()));
}

#[test]
fn outdated_transcript_is_rewritten_with_the_same_parts() {
    let printed = lines("one\ntwo 1 ms\nthree\nfour");
    let renewed = |shown: &str| renewed(&lines(shown), &printed).map(|lines| lines.join("\n"));
    assert_eq!(renewed("old").unwrap(), "one\ntwo 1 ms\nthree\nfour");
    assert_eq!(renewed("...\ntwo 9 ms\nold\n...").unwrap(), "...\ntwo 1 ms\nthree\n...");
    assert_eq!(renewed("one\n...\nfour").unwrap(), "one\n...\nfour");
    assert_eq!(renewed("old\n...\nfour"), None);
}

// Commands.

/// Commands that a contributor installs. Their arguments are not checked.
const TOOLS: [&str; 2] = ["deny", "mutants"];

/// A cargo command of a README.
#[derive(Debug, Default)]
struct Cargo {
    verb: String,
    package: Option<String>,
    /// The kind (`example` or `test`) and the name.
    target: Option<(String, String)>,
    /// The filter for the names of tests.
    filter: Option<String>,
    arguments: Vec<String>,
}

impl Cargo {
    /// Parses the words after `cargo`.
    fn parse(words: &[&str]) -> Result<Cargo, String> {
        let ours = words.iter().position(|word| *word == "--").unwrap_or(words.len());
        let (words, arguments) = words.split_at(ours);
        let arguments = arguments.iter().skip(1).map(|&word| word.to_owned()).collect();
        let mut words = words.iter().map(|&word| word.to_owned());
        let verb = words.next().unwrap_or_default();
        let mut cargo = Cargo { verb, arguments, ..Cargo::default() };
        if TOOLS.contains(&cargo.verb.as_str()) {
            return Ok(cargo);
        }
        while let Some(word) = words.next() {
            match word.as_str() {
                "-q" | "--release" | "--open" | "--examples" => {}
                "-p" => cargo.package = words.next(),
                "--example" | "--test" => {
                    cargo.target = words.next().map(|name| (word[2..].to_owned(), name));
                }
                _ if word.starts_with('-') || cargo.verb != "test" => {
                    return Err(format!("unknown word {word}"));
                }
                _ => cargo.filter = Some(word),
            }
        }
        Ok(cargo)
    }

    /// Returns the program that the command runs.
    fn program(&self) -> PathBuf {
        let package = self.package.as_deref().unwrap_or("echo");
        match &self.target {
            Some((_, name)) => example(package, name),
            None => ECHOD.into(),
        }
    }

    /// Checks that the target, the tests and the arguments exist.
    fn check(&self, world: &World) -> Result<(), String> {
        let package = self.package.as_deref();
        let has = |kind: &str, name: Option<&str>| {
            let matches = |target: &(String, String, String)| {
                package.is_none_or(|package| target.0 == package)
                    && (target.1 == kind && name.is_none_or(|name| target.2 == name))
            };
            world.targets.iter().any(matches).then_some(()).ok_or(format!("no {kind} {name:?}"))
        };
        match (self.verb.as_str(), &self.target) {
            ("run" | "test", Some((kind, name))) => has(kind, Some(name))?,
            ("run", None) => has("bin", None)?,
            (tool, _) if TOOLS.contains(&tool) => return Ok(()),
            ("test" | "build" | "doc", _) => has("lib", None).or_else(|_| has("bin", None))?,
            (verb, _) => return Err(format!("cargo {verb} is not a command for readers")),
        }
        let is_test =
            |filter: &&String| world.items.tests.iter().any(|test| test.contains(*filter));
        match &self.filter {
            Some(filter) if !is_test(&filter) => return Err(format!("no test {filter}")),
            _ => {}
        }
        if self.verb == "test" {
            // These go to the test harness.
            let is_option = |word: &str| ["--ignored", "--nocapture", "--skip"].contains(&word);
            let wrong = self.arguments.iter().find(|word| !is_option(word) && !is_test(word));
            return wrong.map_or(Ok(()), |word| Err(format!("no test {word}")));
        }
        match (package, &self.target) {
            (_, Some((_, name))) => world.check_arguments(name, &self.arguments),
            (None | Some("echo"), None) => world.check_arguments("echod", &self.arguments),
            (Some(package), None) => world.check_arguments(package, &self.arguments),
        }
    }
}

/// The names that commands may use.
struct World {
    /// The package, kind and name of each target.
    targets: Vec<(String, String, String)>,
    items: Items,
    help: String,
    faults: String,
    predictions: String,
    questions: String,
    stages: String,
    exercises: String,
    /// The source of the measurements of other runtimes. The tests do not build that program.
    peers: String,
}

impl World {
    fn new() -> World {
        let mut metadata = Command::new(env!("CARGO"));
        metadata.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(root());
        let metadata: Value =
            serde_json::from_str(&printed(metadata).unwrap()).expect("cargo prints JSON");
        let mut targets = Vec::new();
        for package in metadata["packages"].as_array().expect("a list") {
            for target in package["targets"].as_array().expect("a list") {
                let names = [&package["name"], &target["kind"][0], &target["name"]];
                let [package, kind, name] =
                    names.map(|name| name.as_str().expect("a text").to_owned());
                targets.push((package, kind, name));
            }
        }
        let mut help = Command::new(ECHOD);
        help.arg("--help");
        let list = |name| printed(Command::new(example("echo", name))).unwrap();
        let (faults, predictions, questions) = (list("fault"), list("predict"), list("question"));
        let stages = list("stage");
        let exercises = list("exercise");
        World {
            targets,
            items: Items::new(),
            help: printed(help).unwrap(),
            faults,
            predictions,
            questions,
            stages,
            exercises,
            peers: read("tests/peers/src/main.rs"),
        }
    }

    /// Checks the arguments of one of our programs.
    fn check_arguments(&self, program: &str, arguments: &[String]) -> Result<(), String> {
        let begins_line = |text: &str, word: &str| {
            text.lines().any(|line| line.split_whitespace().next() == Some(word))
        };
        let wrong = arguments.iter().enumerate().find(|(at, word)| match program {
            "echod" => word.starts_with('-') && !self.has_flag(word),
            "fault" => *at == 0 && !begins_line(&self.faults, word),
            "predict" => *at == 0 && !begins_line(&self.predictions, word),
            "question" => *at == 0 && !begins_line(&self.questions, word),
            "exercise" => {
                let is_word = ["all", "mistakes", "--solutions"].contains(&word.as_str());
                *at == 0 && !is_word && !begins_line(&self.exercises, word)
            }
            "stage" => *at == 0 && !begins_line(&self.stages, word),
            "peers" => *at == 0 && !self.peers.contains(&format!("Some(\"{word}\") => ")),
            _ => false,
        });
        wrong.map_or(Ok(()), |(_, word)| Err(format!("{program} does not know {word}")))
    }

    /// Whether the help lists a flag. For `-vv`, looks for `-v`.
    fn has_flag(&self, word: &str) -> bool {
        let flag = word.split('=').next().unwrap_or(word);
        let flag = if flag.starts_with("--") { flag } else { &flag[..2] };
        self.help.split([' ', ',', '[', '=', '\n']).any(|known| known == flag)
    }

    /// Checks each `cargo` and `echod` command of a line, including commands in a loop.
    fn check(&self, line: &str) -> Result<(), String> {
        line.split("&&").flat_map(|part| part.split(';')).try_for_each(|command| {
            let words: Vec<&str> = command.split_whitespace().collect();
            let is_program = |word: &&str| {
                ["cargo", "echod", "target/debug/echod", "target/release/echod"].contains(word)
            };
            let Some(at) = words.iter().position(is_program) else { return Ok(()) };
            let rest = &words[at + 1..];
            if words[at] == "cargo" {
                return Cargo::parse(rest)?.check(self);
            }
            let rest: Vec<String> = rest.iter().map(|&word| word.to_owned()).collect();
            self.check_arguments("echod", &rest)
        })
    }
}

static WORLD: LazyLock<World> = LazyLock::new(World::new);

/// Runs a command and returns its standard output.
#[track_caller]
fn printed(mut command: Command) -> Result<String, String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.env_remove("RUST_LOG").spawn().expect("the command can be started");
    let stdout = child.stdout.take().expect("standard output is piped");
    let text = thread::spawn(|| io::read_to_string(stdout));
    eventually(&format!("{command:?} ends"), || matches!(child.try_wait(), Ok(Some(_))));
    let status = child.wait().expect("the child can be waited for");
    let text = text.join().expect("reading does not panic").expect("the output is text");
    status.success().then_some(text).ok_or(format!("{status}"))
}

/// Returns a command without its prompt and its comment.
fn without_comment(line: &str) -> &str {
    let line = line.strip_prefix("$ ").unwrap_or(line);
    let line = line.split("  ").next().unwrap_or(line);
    line.split(" #").next().unwrap_or(line).trim()
}

/// Returns the commands of a block: lines with a prompt, or, without prompts, lines that begin with
/// a command.
fn commands(block: &Block) -> Vec<&str> {
    let has_prompt = block.lines.iter().any(|line| line.starts_with("$ "));
    let begins = ["cargo ", "target/", "echod ", "for "];
    let is_command = |line: &&String| match has_prompt {
        true => line.starts_with("$ "),
        false => begins.iter().any(|begin| line.starts_with(begin)),
    };
    block.lines.iter().filter(is_command).map(|line| without_comment(line)).collect()
}

/// Returns the commands in the prose: `cargo …`, `echod …`, and `question -- 1` with continuations
/// like `-- 3`.
fn commands_of_prose(readme: &'static str) -> Vec<String> {
    let (mut program, mut commands) = ("", Vec::new());
    let spans = spans(readme);
    for span in spans.iter().map(|(_, span)| span.as_str()) {
        let (first, rest) = span.split_once("-- ").unwrap_or((span, ""));
        if ["question ", "fault ", "predict "].contains(&first) {
            program = first;
        }
        if span.starts_with("-- ") || first == program {
            commands.push(format!("cargo run --example {program}-- {rest}"));
        } else if span.split(' ').any(|word| word == "cargo") {
            commands.push(span.to_owned());
        } else if span.starts_with("echod ") {
            commands.push(format!("target/debug/{span}"));
        }
    }
    commands
}

#[test]
fn loop_that_starts_servers_is_a_command() {
    let blocks = blocks("echo/OPERATING.md");
    let mut commands = blocks.iter().flat_map(commands);
    assert!(commands.any(|line| line.starts_with("for port in ")), "the loop before haproxy");
}

#[test]
fn every_command_of_the_readmes_exists() {
    let mut wrong = Vec::new();
    for readme in READMES {
        let blocks = blocks(readme);
        let mut lines: Vec<String> = blocks.iter().flat_map(commands).map(str::to_owned).collect();
        lines.extend(commands_of_prose(readme));
        for line in lines {
            wrong.extend(WORLD.check(&line).err().map(|why| format!("{readme}: {line}: {why}")));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn unknown_command_is_reported() {
    for right in [
        "cargo run -- --demo --trace run.html",
        "cargo run --release -p peers -- instructions",
        "cargo build --release -p echo && cargo run --release -p tests --example recorded",
        "cargo test -p echo --test echod",
        "cargo run -q --example question -- 1",
        "strace -qq -e %net target/debug/echod -vv --explain=all",
        "for port in 7781 7782; do echod --idle 5m 127.0.0.1:$port & done",
    ] {
        assert_eq!(WORLD.check(right), Ok(()), "{right}");
    }
    for wrong in [
        "cargo run -- --demo --trice run.html",
        "cargo run --release -p pears",
        "cargo build --release -p echo && cargo run --release -p tests --example recoded",
        "cargo test -p tests --test echod",
        "cargo test -p tests no_such_test",
        "cargo test -p echo --test echod -- --ignore",
        "cargo run -q --example question -- 25",
        "cargo run --example fault -- forget-walker",
        "cargo run --example predict -- 21",
        "cargo run --relaese",
        "strace -qq -e %net target/debug/echod -x",
        "for port in 7781 7782; do echod --idel 5m 127.0.0.1:$port & done",
        "cargo run --release -p peers -- instruction",
    ] {
        assert!(WORLD.check(wrong).is_err(), "{wrong}");
    }
}

// Transcripts.

/// Runs the command of a transcript and compares its output.
///
/// # Errors
///
/// Returns a message that names the difference, and the corrected lines if they are known.
fn check_transcript(block: &Block) -> Result<(), (String, Option<Vec<String>>)> {
    let shown = &block.lines[1..];
    let words: Vec<&str> = without_comment(&block.lines[0]).split_whitespace().collect();
    let fails = |why| format!("{}: {}\n{why}", block.readme, block.lines[0]);
    let run = || {
        let cargo = Cargo::parse(&words[1..])?;
        let mut command = Command::new(cargo.program());
        command.args(&cargo.arguments).current_dir(root());
        printed(command)
    };
    let printed = lines(&run().map_err(|why| (fails(why), None))?);
    find_parts(shown, &printed).map(drop).map_err(|why| (fails(why), renewed(shown, &printed)))
}

/// Replaces the lines of a block after its first line in the README.
fn rewrite(block: &Block, renewed: Vec<String>) {
    let text = read(block.readme);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.splice(block.at.start + 1..block.at.end, renewed);
    let text = lines.join("\n") + "\n";
    fs::write(root().join(block.readme), text).expect("a README can be written");
}

#[test]
fn every_transcript_is_what_its_command_prints() {
    let update = env::var_os("UPDATE_GUIDE").is_some();
    let is_transcript = |block: &Block| {
        let begins = block.lines.first().is_some_and(|line| line.starts_with("$ cargo run "));
        block.language == "text" && begins
    };
    let blocks: Vec<Block> = READMES.into_iter().flat_map(blocks).filter(is_transcript).collect();
    // The programs mostly wait, so several of them run at the same time.
    let mut checked = Vec::new();
    for some in blocks.chunks(CONCURRENT) {
        thread::scope(|scope| {
            let check = |block| scope.spawn(move || check_transcript(block));
            let checks: Vec<_> = some.iter().map(check).collect();
            checked.extend(checks.into_iter().map(|check| check.join().unwrap()));
        });
    }
    let mut wrong = Vec::new();
    // Start at the end, so that a rewrite does not move the lines of the blocks before it.
    for (block, checked) in blocks.iter().zip(checked).rev() {
        match checked {
            Ok(()) => {}
            Err((_, Some(renewed))) if update => rewrite(block, renewed),
            Err((why, _)) => wrong.push(why),
        }
    }
    assert!(wrong.is_empty(), "\n{}\n\nUPDATE_GUIDE=1 rewrites them\n", wrong.join("\n\n"));
}
