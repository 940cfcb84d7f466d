//! What the READMEs show of our programs is what they print, and the commands that they tell exist.
//!
//! A transcript is a block of text that begins with `$ cargo run `. Its other lines are what that
//! command prints, but for times, ports and addresses; and `...` stands for any lines. With
//! `UPDATE_GUIDE=1` in the environment those that differ are written anew.

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

/// How many transcripts are checked at the same time.
const AT_ONCE: usize = 4;

/// Stands for lines that are left out.
const LEFT_OUT: &str = "...";

// What is told, and what is printed.

/// Where the parts of a transcript, which stand between the lines left out, are in what was
/// printed. The error is the first line that differs.
fn places(told: &[String], printed: &[String]) -> Result<Vec<usize>, String> {
    let parts: Vec<&[String]> = told.split(|line| line == LEFT_OUT).collect();
    let (mut places, mut next) = (Vec::new(), 0);
    for (at, part) in parts.iter().enumerate() {
        let last = printed.len().saturating_sub(part.len()).max(next);
        let from = if at + 1 == parts.len() && at > 0 { last } else { next };
        let place = place(part, printed, from, if at == 0 { next } else { last })?;
        next = place + part.len();
        places.push(place);
    }
    match printed.get(next) {
        Some(line) => Err(format!("told:    nothing more\nprinted: {line}")),
        None => Ok(places),
    }
}

/// The first place from `from` to `to` where these lines stand.
fn place(lines: &[String], printed: &[String], from: usize, to: usize) -> Result<usize, String> {
    let agree = |place: usize| {
        let pairs = lines.iter().zip(printed.iter().skip(place));
        pairs.take_while(|(told, printed)| masked(told) == masked(printed)).count()
    };
    let place = (from..=to).rev().max_by_key(|&place| agree(place)).unwrap_or(from);
    let Some(told) = lines.get(agree(place)) else { return Ok(place) };
    let printed = printed.get(place + agree(place)).map_or("nothing more", String::as_str);
    Err(format!("told:    {told}\nprinted: {printed}"))
}

/// A transcript as it has to be. Of one with lines left out, each part begins where its first line
/// was printed, and is as long as before; if that was not printed, nobody knows.
fn renewed(told: &[String], printed: &[String]) -> Option<Vec<String>> {
    let parts: Vec<&[String]> = told.split(|line| line == LEFT_OUT).collect();
    if let [_] = parts[..] {
        return Some(printed.to_owned());
    }
    let (mut lines, mut next) = (Vec::new(), 0);
    for (at, part) in parts.iter().enumerate() {
        let first = place(&part[..part.len().min(1)], printed, next, printed.len()).ok()?;
        next = first + part.len();
        lines.extend((at > 0).then(|| LEFT_OUT.to_owned()));
        lines.extend_from_slice(printed.get(first..next)?);
    }
    Some(lines)
}

fn lines(text: &str) -> Vec<String> {
    text.trim_end().lines().map(|line| line.trim_end().to_owned()).collect()
}

#[test]
fn a_transcript_tells_all_lines_but_those_that_it_leaves_out() {
    let printed = lines("one\ntwo 1 ms\nthree\nfour\nthree\nfive");
    let matches = |told: &str| places(&lines(told), &printed).is_ok();
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
    let differs = places(&lines("one\n...\nfour\nthreee\n..."), &printed);
    assert_eq!(differs, Err("told:    threee\nprinted: three".to_owned()));
}

#[test]
fn a_transcript_that_differs_is_written_anew_with_the_same_parts() {
    let printed = lines("one\ntwo 1 ms\nthree\nfour");
    let renewed = |told: &str| renewed(&lines(told), &printed).map(|lines| lines.join("\n"));
    assert_eq!(renewed("old").unwrap(), "one\ntwo 1 ms\nthree\nfour");
    assert_eq!(renewed("...\ntwo 9 ms\nold\n...").unwrap(), "...\ntwo 1 ms\nthree\n...");
    assert_eq!(renewed("one\n...\nfour").unwrap(), "one\n...\nfour");
    assert_eq!(renewed("old\n...\nfour"), None);
}

// Commands.

/// A command of cargo, as a README tells it.
#[derive(Debug, Default)]
struct Cargo {
    verb: String,
    package: Option<String>,
    /// `example` or `test`, and its name.
    target: Option<(String, String)>,
    /// Of tests: what their names contain.
    filter: Option<String>,
    arguments: Vec<String>,
}

impl Cargo {
    /// Takes the words after `cargo`.
    fn parse(words: &[&str]) -> Result<Cargo, String> {
        let ours = words.iter().position(|word| *word == "--").unwrap_or(words.len());
        let (words, arguments) = words.split_at(ours);
        let arguments = arguments.iter().skip(1).map(|&word| word.to_owned()).collect();
        let mut words = words.iter().map(|&word| word.to_owned());
        let verb = words.next().unwrap_or_default();
        let mut cargo = Cargo { verb, arguments, ..Cargo::default() };
        while let Some(word) = words.next() {
            match word.as_str() {
                "-q" | "--release" | "--open" => {}
                "-p" => cargo.package = words.next(),
                "--example" | "--test" => {
                    cargo.target = words.next().map(|name| (word[2..].to_owned(), name));
                }
                _ if word.starts_with('-') || cargo.verb != "test" => {
                    return Err(format!("what is {word}?"));
                }
                _ => cargo.filter = Some(word),
            }
        }
        Ok(cargo)
    }

    /// The program that it runs, and which was built.
    fn program(&self) -> PathBuf {
        let package = self.package.as_deref().unwrap_or("echo");
        match &self.target {
            Some((_, name)) => example(package, name),
            None => ECHOD.into(),
        }
    }

    /// What is wrong with it, if anything is.
    fn check(&self, world: &World) -> Result<(), String> {
        let package = self.package.as_deref();
        let has = |kind: &str, name: Option<&str>| {
            let is_it = |(of, is, called): &(String, String, String)| {
                package.is_none_or(|package| of == package)
                    && (is == kind && name.is_none_or(|name| called == name))
            };
            world.targets.iter().any(is_it).then_some(()).ok_or(format!("no {kind} {name:?}"))
        };
        match (self.verb.as_str(), &self.target) {
            ("run" | "test", Some((kind, name))) => has(kind, Some(name))?,
            ("run", None) => has("bin", None)?,
            ("test" | "build" | "doc", _) => has("lib", None).or_else(|_| has("bin", None))?,
            (verb, _) => return Err(format!("cargo {verb} is no command of a reader")),
        }
        let is_test =
            |filter: &&String| world.items.tests.iter().any(|test| test.contains(*filter));
        match &self.filter {
            Some(filter) if !is_test(&filter) => return Err(format!("no test {filter}")),
            _ => {}
        }
        match (package, &self.target) {
            (_, Some((_, name))) => world.check_arguments(name, &self.arguments),
            (None | Some("echo"), None) => world.check_arguments("echod", &self.arguments),
            (Some(package), None) => world.check_arguments(package, &self.arguments),
        }
    }
}

/// What commands can name.
struct World {
    /// Package, kind and name.
    targets: Vec<(String, String, String)>,
    items: Items,
    help: String,
    faults: String,
    predictions: String,
    questions: String,
    exercises: String,
    /// The source of the measurements beside others: it is built with their crates, so not here.
    peers: String,
}

impl World {
    fn new() -> World {
        let mut metadata = Command::new(env!("CARGO"));
        metadata.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(root());
        let metadata: Value =
            serde_json::from_str(&printed(metadata).unwrap()).expect("it is JSON");
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
        let exercises = list("exercise");
        World {
            targets,
            items: Items::new(),
            help: printed(help).unwrap(),
            faults,
            predictions,
            questions,
            exercises,
            peers: read("tests/peers/src/main.rs"),
        }
    }

    /// What is wrong with the arguments of one of our programs, if anything is.
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
            "peers" => *at == 0 && !self.peers.contains(&format!("Some(\"{word}\") => ")),
            _ => false,
        });
        wrong.map_or(Ok(()), |(_, word)| Err(format!("{program} does not know {word}")))
    }

    /// Whether the help has it; of `-vv`, its letter.
    fn has_flag(&self, word: &str) -> bool {
        let flag = word.split('=').next().unwrap_or(word);
        let flag = if flag.starts_with("--") { flag } else { &flag[..2] };
        self.help.split([' ', ',', '[', '=', '\n']).any(|known| known == flag)
    }

    /// Checks each command of a line, also those within a loop: of cargo, or of `echod`.
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

/// What a command prints.
#[track_caller]
fn printed(mut command: Command) -> Result<String, String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.env_remove("RUST_LOG").spawn().expect("it starts");
    let stdout = child.stdout.take().expect("piped");
    let text = thread::spawn(|| io::read_to_string(stdout));
    eventually(&format!("{command:?} ends"), || matches!(child.try_wait(), Ok(Some(_))));
    let status = child.wait().expect("it is our child");
    let text = text.join().expect("reading does not panic").expect("it prints text");
    status.success().then_some(text).ok_or(format!("{status}"))
}

/// A command without the comment beside it.
fn without_comment(line: &str) -> &str {
    let line = line.strip_prefix("$ ").unwrap_or(line);
    let line = line.split("  ").next().unwrap_or(line);
    line.split(" #").next().unwrap_or(line).trim()
}

/// The commands of a block: those behind a prompt; or if it has none, those that begin a line.
fn commands(block: &Block) -> Vec<&str> {
    let has_prompt = block.lines.iter().any(|line| line.starts_with("$ "));
    let begins = ["cargo ", "target/", "echod ", "for "];
    let is_command = |line: &&String| match has_prompt {
        true => line.starts_with("$ "),
        false => begins.iter().any(|begin| line.starts_with(begin)),
    };
    block.lines.iter().filter(is_command).map(|line| without_comment(line)).collect()
}

/// The commands in the prose: `cargo …` and `echod …`; `question -- 1`, which goes on as `-- 3`.
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
fn a_loop_that_starts_servers_is_a_command() {
    let blocks = blocks("echo/OPERATING.md");
    let mut commands = blocks.iter().flat_map(commands);
    assert!(commands.any(|line| line.starts_with("for port in ")), "that before haproxy");
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
fn a_command_that_does_not_exist_is_noticed() {
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
        "cargo test -p tests no_such_promise",
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

/// Compares what a transcript tells with what is printed. The error names what differs, and has
/// the lines that would be right, if they are known.
fn check_transcript(block: &Block) -> Result<(), (String, Option<Vec<String>>)> {
    let told = &block.lines[1..];
    let words: Vec<&str> = without_comment(&block.lines[0]).split_whitespace().collect();
    let fails = |why| format!("{}: {}\n{why}", block.readme, block.lines[0]);
    let run = || {
        let cargo = Cargo::parse(&words[1..])?;
        let mut command = Command::new(cargo.program());
        command.args(&cargo.arguments).current_dir(root());
        printed(command)
    };
    let printed = lines(&run().map_err(|why| (fails(why), None))?);
    places(told, &printed).map(drop).map_err(|why| (fails(why), renewed(told, &printed)))
}

/// Writes lines into a README, in place of those of a block below its first.
fn rewrite(block: &Block, renewed: Vec<String>) {
    let text = read(block.readme);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.splice(block.at.start + 1..block.at.end, renewed);
    let text = lines.join("\n") + "\n";
    fs::write(root().join(block.readme), text).expect("a README can be written");
}

#[test]
fn every_transcript_of_the_readmes_is_what_its_command_prints() {
    let update = env::var_os("UPDATE_GUIDE").is_some();
    let is_transcript = |block: &Block| {
        let begins = block.lines.first().is_some_and(|line| line.starts_with("$ cargo run "));
        block.language == "text" && begins
    };
    let blocks: Vec<Block> = READMES.into_iter().flat_map(blocks).filter(is_transcript).collect();
    // The programs mostly wait, so several of them run at the same time.
    let mut checked = Vec::new();
    for some in blocks.chunks(AT_ONCE) {
        thread::scope(|scope| {
            let check = |block| scope.spawn(move || check_transcript(block));
            let checks: Vec<_> = some.iter().map(check).collect();
            checked.extend(checks.into_iter().map(|check| check.join().unwrap()));
        });
    }
    let mut wrong = Vec::new();
    // From the end on, so that the lines of the blocks above stay where they are.
    for (block, checked) in blocks.iter().zip(checked).rev() {
        match checked {
            Ok(()) => {}
            Err((_, Some(renewed))) if update => rewrite(block, renewed),
            Err((why, _)) => wrong.push(why),
        }
    }
    assert!(wrong.is_empty(), "\n{}\n\nUPDATE_GUIDE=1 writes them anew\n", wrong.join("\n\n"));
}
