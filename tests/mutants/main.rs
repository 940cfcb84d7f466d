//! Runs the tests on every mutant of `reactor`, `executor` and `echo` that cargo-mutants lists. Run
//! it with `cargo run -p tests --example mutants`. An argument selects the mutants whose name
//! contains it.
//!
//! cargo-mutants builds the tree once for each mutant, and these builds take most of its time. Here
//! all mutants are compiled in at once, each behind a switch (`schema.rs`), and an environment
//! variable selects one. Each test runs once alone to record which mutants it reaches, so that a
//! mutant costs only the tests that reach it, up to the first that fails.
//!
//! A constant cannot read a switch, and a function that returns `impl Trait` cannot return a second
//! type. Each such mutant is therefore built alone, in another copy of the tree, after all other
//! mutants have run. A build takes much longer than the tests, so such a mutant runs only with the
//! programs that have caught the most mutants of the same file.

mod schema;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use schema::{LEFT_OUT, Mutant};
use serde_json::Value;
use tests::DEADLINE;
use tests::guide::root;

/// The packages whose mutants are run.
const PACKAGES: [&str; 3] = ["reactor", "executor", "echo"];

/// The test programs that are run on the mutants of `reactor` and `executor`.
const CORE: [&[&str]; 2] =
    [&["-p", "reactor", "-p", "executor", "--lib"], &["-p", "tests", "--tests"]];

/// The test programs that are run on the mutants of `echo`.
const SERVER: [&[&str]; 2] =
    [&["-p", "echo", "--bins", "--test", "echod"], &["-p", "tests", "--test", "watch"]];

/// The packages whose tests contain files with mutants.
const USERS: [&str; 4] = ["reactor", "executor", "echo", "tests"];

/// The programs that tests start. Without this, a test would build them together with all other
/// examples of the package.
const STARTED: &[&str] = &["build", "-p", "tests", "--example", "stdio"];

/// Test programs, and modules of them, that are left out: models that run for minutes, tests that
/// start examples and so concern other code, and the test of the patches, which do not apply to
/// files that contain mutants.
const SKIPPED: [&str; 16] = [
    "wake_protocol",
    "outside",
    "tests::undone",
    "echod::descriptors",
    "echod::embedding",
    "echod::exercises",
    "echod::faults",
    "echod::files",
    "echod::long_runs",
    "echod::predict",
    "echod::prompts",
    "echod::questions",
    "echod::site",
    "echod::sockets",
    "echod::stages",
    "echod::three_echoes",
];

/// How long the tests of a program's first, second and each further batch may take together. The
/// tests of a batch run in one process, and the shortest tests come first.
const BATCHES: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(4)];

/// How many tests of a batch run at the same time. Most of the time they wait.
const THREADS: usize = 4;

/// How long the tests of one mutant may take in the first pass. The second pass has no limit.
const FIRST_PASS: Duration = Duration::from_secs(5);

/// How many programs are built for a mutant that has no switch, and how long their tests may take.
const BUILT: usize = 3;
const LAST_PASS: Duration = Duration::from_secs(30);

/// A test program.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Program {
    /// The arguments with which Cargo builds it.
    target: Vec<String>,
    path: PathBuf,
    /// The folder that Cargo would run it in.
    folder: PathBuf,
}

#[derive(Clone)]
struct Test {
    program: Program,
    name: String,
    duration: Duration,
    reached: BTreeSet<u32>,
}

impl Test {
    fn label(&self) -> String {
        let path = &self.program.path;
        let program = path.file_name().expect("a program has a name").to_string_lossy();
        format!("{}::{}", program.rsplit_once('-').map_or(&*program, |(name, _)| name), self.name)
    }
}

enum End {
    Passed,
    /// Contains the name of the test, unless the whole program failed.
    Failed(Option<String>),
    /// Contains the names of the tests that had passed.
    TimedOut(BTreeSet<String>),
}

/// For each function and each file, how many of its mutants each test (by its index) has caught.
type Killers = HashMap<String, HashMap<usize, usize>>;

fn main() -> ExitCode {
    let (mut wanted, mut only) = (Vec::new(), Vec::new());
    let mut in_diff = None;
    let mut jobs = 2;
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--jobs" => {
                let jobs_given = arguments.next().and_then(|text| text.parse().ok());
                jobs = jobs_given.expect("--jobs needs a number");
            }
            "--test" => only.push(arguments.next().expect("--test needs the name of a program")),
            "--in-diff" => in_diff = Some(arguments.next().expect("--in-diff needs a file")),
            _ => wanted.push(argument),
        }
    }
    let work = root().join("target/mutants");
    let tree = work.join("tree");
    fs::create_dir_all(&tree).expect("can create target/mutants");

    let mutants = list(in_diff.as_deref());
    if mutants.is_empty() {
        println!("no mutants");
        return ExitCode::SUCCESS;
    }
    copy_tree(&tree, &mutants);
    let unviable = compile_in(&tree, &mutants);
    let is_left_out = |mutant: &Mutant| unviable.get(&mutant.id).is_some_and(|why| why == LEFT_OUT);
    let is_named = |mutant: &&Mutant| {
        wanted.is_empty() || wanted.iter().any(|part| mutant.name.contains(part))
    };
    let is_wanted = |mutant: &&Mutant| {
        is_named(mutant) && (!unviable.contains_key(&mutant.id) || is_left_out(mutant))
    };
    let of_server = |mutant: &Mutant| mutant.package == "echo";
    let mut programs = Vec::new();
    if mutants.iter().filter(is_wanted).any(|mutant| !of_server(mutant)) {
        build_started(&tree);
        programs.extend(build(&tree, &CORE, &only).expect(BUILDS));
    }
    if mutants.iter().filter(is_wanted).any(of_server) {
        programs.extend(build(&tree, &SERVER, &[]).expect(BUILDS));
    }
    // A run with `--in-diff` must not replace the record of all mutants.
    let cache = work.join(if in_diff.is_some() { "reach-diff.json" } else { "reach.json" });
    let mut tests = record_reach(&cache, &programs, &mutants, jobs);
    tests.sort_by_key(|test| test.duration);
    println!(
        "{} mutants, {} unviable or without a switch, {} tests, {:.0?} in all",
        mutants.len(),
        unviable.len(),
        tests.len(),
        tests.iter().map(|test| test.duration).sum::<Duration>()
    );

    // Resume where an earlier run ended, except for a diff, whose functions have changed since.
    let path = work.join("outcomes.tsv");
    let mut outcomes = if in_diff.is_some() { BTreeMap::new() } else { read_table(&path) };
    for (id, why) in unviable.iter().filter(|(_, why)| *why != LEFT_OUT) {
        outcomes.insert(mutants[*id as usize - 1].key.clone(), why.clone());
    }
    let is_open = |outcome: &String| {
        ["survived", "undecided", LEFT_OUT].iter().any(|known| outcome.starts_with(known))
    };
    let (left_out, mut todo): (Vec<&Mutant>, Vec<&Mutant>) = mutants
        .iter()
        .filter(is_wanted)
        .filter(|mutant| outcomes.get(&mutant.key).is_none_or(is_open))
        .partition(|mutant| is_left_out(mutant));

    let log = Mutex::new(File::options().append(true).create(true).open(&path));
    let killers = Mutex::new(earlier_killers(&mutants, &tests, &outcomes));
    let outcomes = Mutex::new(outcomes);
    for limit in [FIRST_PASS, Duration::MAX] {
        println!("{} mutants to run", todo.len());
        let (next, undecided) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    while let Some(mutant) = todo.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let first =
                            best_killers(&killers.lock().expect("no thread panics"), mutant);
                        let started = Instant::now();
                        let reached = |test: &Test| test.reached.contains(&mutant.id);
                        let id = mutant.id.to_string();
                        let with = |tests: &[&Test], patience| {
                            run_tests(tests, &[("MUTANT", &id)], patience)
                        };
                        let (outcome, killer) = run(&tests, reached, &first, limit, with);
                        let took = started.elapsed();
                        println!("{took:6.1?} {} — {outcome}", mutant.name);
                        if let Some(killer) = killer {
                            count_killer(
                                &mut killers.lock().expect("no thread panics"),
                                mutant,
                                killer,
                            );
                        }
                        if outcome.starts_with("undecided") {
                            undecided.lock().expect("no thread panics").push(*mutant);
                        }
                        let mut log = log.lock().expect("no thread panics");
                        let log = log.as_mut().expect("can write target/mutants");
                        writeln!(log, "{}\t{outcome}", mutant.key).expect("can write the outcome");
                        let mut outcomes = outcomes.lock().expect("no thread panics");
                        outcomes.insert(mutant.key.clone(), outcome);
                    }
                });
            }
        });
        todo = undecided.into_inner().expect("no thread panics");
    }
    let mut outcomes = outcomes.into_inner().expect("no thread panics");
    let killers = killers.into_inner().expect("no thread panics");
    let mut log = log.into_inner().expect("no thread panics").expect("can write target/mutants");
    println!("{} mutants to build", left_out.len());
    let plain = work.join("plain/tree");
    if !left_out.is_empty() {
        copy_tree(&plain, &[]);
    }
    for mutant in left_out {
        let started = Instant::now();
        let outcome = build_and_run(&plain, mutant, &mutants, &tests, &killers);
        println!("{:6.1?} {} — {outcome}", started.elapsed(), mutant.name);
        writeln!(log, "{}\t{outcome}", mutant.key).expect("can write the outcome");
        outcomes.insert(mutant.key.clone(), outcome);
    }
    let mutants: Vec<&Mutant> = mutants.iter().filter(is_named).collect();
    summarize(&mutants, &outcomes)
}

/// Builds a mutant that has no switch, and runs the tests that are likely to catch it. Returns the
/// outcome. `tree` is a copy of the files without other mutants.
fn build_and_run(
    tree: &Path,
    mutant: &Mutant,
    mutants: &[Mutant],
    tests: &[Test],
    killers: &Killers,
) -> String {
    // No test records that it reaches this mutant. Take the tests that reach other mutants of the
    // file.
    let others = mutants.iter().filter(|other| other.file == mutant.file);
    let others: BTreeSet<u32> = others.map(|other| other.id).collect();
    let mut counts: BTreeMap<&Program, usize> = BTreeMap::new();
    for test in tests.iter().filter(|test| !test.reached.is_disjoint(&others)) {
        counts.entry(&test.program).or_default();
    }
    for (&at, count) in killers.get(&mutant.file).into_iter().flatten() {
        *counts.entry(&tests[at].program).or_default() += count;
    }
    let mut likely: Vec<(&Program, usize)> = counts.into_iter().collect();
    likely.sort_by_key(|&(_, count)| Reverse(count));
    likely.truncate(BUILT);
    if likely.is_empty() {
        return format!("{LEFT_OUT}: no test reaches another mutant of the file");
    }
    let path = tree.join(&mutant.file);
    let original = fs::read_to_string(&path).expect("the file has been copied");
    fs::write(&path, mutant.apply(&original)).expect("can write the copy");
    let mut programs: BTreeMap<&Program, Program> = BTreeMap::new();
    for (program, _) in &likely {
        let target: Vec<&str> = program.target.iter().map(String::as_str).collect();
        // A test may not compile because of the mutant, e.g. if it divides by a constant.
        let built = build(tree, &[&target], &[]).unwrap_or_default();
        programs.extend(built.into_iter().map(|built| (*program, built)));
    }
    if programs.values().any(|program| program.target.ends_with(&["stdio".to_owned()])) {
        build_started(tree);
    }
    let reached =
        |test: &Test| programs.contains_key(&test.program) && !test.reached.is_disjoint(&others);
    let with = |tests: &[&Test], patience| {
        let moved =
            |test: &&Test| Test { program: programs[&test.program].clone(), ..Test::clone(test) };
        let tests: Vec<Test> = tests.iter().map(moved).collect();
        run_tests(&tests.iter().collect::<Vec<_>>(), &[], patience)
    };
    let outcome = match programs.is_empty() {
        true => "unviable: does not compile".to_owned(),
        false => run(tests, reached, &best_killers(killers, mutant), LAST_PASS, with).0,
    };
    fs::write(&path, original).expect("can write the copy");
    outcome
}

/// Reads lines of a key, a tab and a value. If a key occurs several times, its last line counts.
fn read_table(path: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.split_once('\t'));
    lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Returns the tests that caught mutants in earlier runs.
fn earlier_killers(
    mutants: &[Mutant],
    tests: &[Test],
    outcomes: &BTreeMap<String, String>,
) -> Killers {
    let labels: HashMap<String, usize> =
        tests.iter().enumerate().map(|(at, test)| (test.label(), at)).collect();
    let mut killers = Killers::new();
    for mutant in mutants {
        let label = outcomes.get(&mutant.key).and_then(|outcome| outcome.rsplit(' ').next());
        if let Some(&killer) = label.and_then(|label| labels.get(label)) {
            count_killer(&mut killers, mutant, killer);
        }
    }
    killers
}

fn count_killer(killers: &mut Killers, mutant: &Mutant, killer: usize) {
    for place in [&mutant.around, &mutant.file] {
        *killers.entry(place.clone()).or_default().entry(killer).or_default() += 1;
    }
}

/// Returns the tests that caught the most mutants of the same function, and then of the same file.
fn best_killers(killers: &Killers, mutant: &Mutant) -> Vec<usize> {
    let mut best: Vec<usize> = Vec::new();
    for (place, count) in [(&mutant.around, 3), (&mutant.file, 6)] {
        let mut list: Vec<(usize, usize)> =
            killers.get(place).into_iter().flatten().map(|(&at, &count)| (count, at)).collect();
        list.sort_by_key(|&(count, at)| (Reverse(count), at));
        for (_, at) in list {
            if best.len() < count && !best.contains(&at) {
                best.push(at);
            }
        }
    }
    best
}

/// Returns all mutants, or those of the lines that a diff changes.
fn list(in_diff: Option<&str>) -> Vec<Mutant> {
    let mut mutants: Vec<Mutant> = ask(&[]).iter().map(Mutant::new).collect();
    // Mutants of several operators in a function may have the same key.
    let mut counts: HashMap<String, usize> = HashMap::new();
    for mutant in &mut mutants {
        let count = counts.entry(mutant.key.clone()).or_default();
        *count += 1;
        if *count > 1 {
            mutant.key += &format!(" #{count}");
        }
    }
    if let Some(file) = in_diff {
        let changed = ask(&["--in-diff", file]);
        let changed: BTreeSet<&str> =
            changed.iter().filter_map(|json| json["name"].as_str()).collect();
        mutants.retain(|mutant| changed.contains(mutant.name.as_str()));
    }
    for (mutant, id) in mutants.iter_mut().zip(1..) {
        mutant.id = id;
    }
    mutants
}

/// Asks cargo-mutants for its list.
fn ask(arguments: &[&str]) -> Vec<Value> {
    let mut command = Command::new("cargo");
    command.current_dir(root()).args(["mutants", "--list", "--json"]).args(arguments);
    for package in PACKAGES {
        command.args(["-p", package]);
    }
    let output = command.output().expect("cargo-mutants is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // cargo-mutants prints nothing if the diff changes no Rust code.
    if output.stdout.is_empty() {
        return Vec::new();
    }
    serde_json::from_slice(&output.stdout).expect("the list is JSON")
}

/// Copies the files that Git lists, except those that get mutants. Does not write files that have
/// not changed. Adds the crate with the switch.
fn copy_tree(tree: &Path, mutants: &[Mutant]) {
    let others: BTreeSet<&str> = mutants.iter().map(|mutant| mutant.file.as_str()).collect();
    let mut command = Command::new("git");
    command.current_dir(root()).args(["ls-files", "-z", "-co", "--exclude-standard"]);
    let output = command.output().expect("git is installed").stdout;
    for path in String::from_utf8(output).expect("paths are UTF-8").split_terminator('\0') {
        if !others.contains(path)
            && let Ok(content) = fs::read(root().join(path))
        {
            write_if_changed(&tree.join(path), &content);
        }
    }
    for package in USERS {
        let manifest = Path::new(package).join("Cargo.toml");
        let text = fs::read_to_string(root().join(&manifest)).expect("a package has a manifest");
        let switch = "[dependencies]\nmutant = { path = \"../mutant\" }";
        let text = text.replacen("[dependencies]", switch, 1);
        write_if_changed(&tree.join(manifest), text.as_bytes());
    }
    let manifest = b"[package]\nname = \"mutant\"\nedition = \"2024\"\n";
    write_if_changed(&tree.join("mutant/Cargo.toml"), manifest);
    write_if_changed(&tree.join("mutant/src/lib.rs"), include_bytes!("switch.rs"));
}

fn write_if_changed(path: &Path, content: &[u8]) {
    if fs::read(path).is_ok_and(|known| known == content) {
        return;
    }
    fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("can create a folder");
    fs::write(path, content).expect("can write the copy");
}

fn cargo(tree: &Path) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(tree).envs(settings(&tree.join("../build")));
    command
}

/// Returns the environment variables of Cargo, also for tests that run Cargo.
fn settings(target: &Path) -> [(&'static str, &OsStr); 3] {
    [
        ("CARGO_TARGET_DIR", target.as_os_str()),
        ("CARGO_INCREMENTAL", OsStr::new("0")),
        ("CARGO_PROFILE_DEV_DEBUG", OsStr::new("line-tables-only")),
    ]
}

/// Compiles the mutants into the copy. Removes mutants that do not compile until the rest compiles.
/// Returns the removed mutants, each with the reason.
fn compile_in(tree: &Path, mutants: &[Mutant]) -> BTreeMap<u32, String> {
    let mut files: BTreeMap<&str, Vec<&Mutant>> = BTreeMap::new();
    for mutant in mutants {
        files.entry(&mutant.file).or_default().push(mutant);
    }
    // Skip the mutants that an earlier run found to be unviable.
    let path = tree.join("../unviable.tsv");
    let known = read_table(&path);
    let mut unviable: BTreeMap<u32, String> = mutants
        .iter()
        .filter_map(|mutant| Some((mutant.id, known.get(&mutant.key)?.clone())))
        .collect();
    loop {
        let mut regions = HashMap::new();
        for (file, list) in &files {
            let viable: Vec<&Mutant> =
                list.iter().copied().filter(|mutant| !unviable.contains_key(&mutant.id)).collect();
            let source = fs::read_to_string(root().join(file)).expect("cargo-mutants names files");
            let schema = schema::compile_in(&source, &viable);
            write_if_changed(&tree.join(file), schema.text.as_bytes());
            for (id, why) in schema.left_out {
                unviable.insert(id, why.to_owned());
            }
            regions.insert(*file, (schema.regions, schema.matches));
        }
        let mut command = cargo(tree);
        command.args(["check", "--message-format=json", "--keep-going"]);
        for package in PACKAGES {
            command.args(["-p", package]);
        }
        let output = command.output().expect("cargo is installed");
        if output.status.success() {
            let mut known = known;
            for (id, why) in &unviable {
                known.insert(mutants[*id as usize - 1].key.clone(), why.clone());
            }
            let text: String = known.iter().map(|(key, why)| format!("{key}\t{why}\n")).collect();
            fs::write(&path, text).expect("can write target/mutants");
            return unviable;
        }
        let before = unviable.len();
        let mut unknown = Vec::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let message: Value = serde_json::from_str(line).unwrap_or_default();
            let message = &message["message"];
            if message["level"] != "error" {
                continue;
            }
            let spans = message["spans"].as_array().cloned().unwrap_or_default();
            let mut blamed = false;
            let code = message["code"]["code"].as_str().unwrap_or("");
            // Primary spans first.
            for primary in [true, false] {
                for span in spans.iter().filter(|span| span["is_primary"] == primary) {
                    let place = |key: &str| span[key].as_u64().unwrap_or(0) as usize;
                    let file = span["file_name"].as_str().unwrap_or("");
                    let Some((regions, matches)) = regions.get(file) else { continue };
                    // If the other arms do not cover all cases, blame the mutant that deletes this
                    // arm.
                    let line = place("line_start");
                    for (_, id) in matches.iter().filter(|(at, _)| *at == line && code == "E0004") {
                        unviable.insert(*id, "unviable: E0004 non-exhaustive patterns".to_owned());
                        blamed = true;
                    }
                    let around = regions.iter().filter(|(range, _)| {
                        range.start <= place("byte_start") && place("byte_end") <= range.end
                    });
                    let smallest = around.clone().map(|(range, _)| range.len()).min();
                    for (range, id) in around {
                        if Some(range.len()) == smallest && !blamed {
                            let text = message["message"]
                                .as_str()
                                .unwrap_or("")
                                .replace(['\n', '\t'], " ");
                            unviable.insert(*id, format!("unviable: {code} {text}"));
                        }
                    }
                    blamed |= smallest.is_some();
                }
            }
            if !blamed {
                unknown.push(message["rendered"].as_str().unwrap_or("").to_owned());
            }
        }
        println!("taken out: {}", unviable.len());
        assert!(unviable.len() > before, "cannot find the mutants of these errors: {unknown:#?}");
    }
}

/// The panic message if [`build`] returns `None`.
const BUILDS: &str = "the copy with its mutants builds";

/// Builds the programs that tests start.
fn build_started(tree: &Path) {
    let started = cargo(tree).args(STARTED).output().expect("cargo is installed");
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
}

/// Builds test programs. Returns `None` if they do not compile.
fn build(tree: &Path, parts: &[&[&str]], only: &[String]) -> Option<Vec<Program>> {
    let mut programs = Vec::new();
    for targets in parts {
        let mut command = cargo(tree);
        command.args(["test", "--no-run", "--message-format=json"]).args(*targets);
        if targets.last() == Some(&"--tests") && !only.is_empty() {
            command = cargo(tree);
            command.args(["test", "--no-run", "--message-format=json", "-p", "tests"]);
            command.args(only.iter().flat_map(|name| ["--test", name]));
        }
        let output = command.stderr(Stdio::inherit()).output().expect("cargo is installed");
        if !output.status.success() {
            return None;
        }
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let message: Value = serde_json::from_str(line).unwrap_or_default();
            let kind = message["target"]["kind"][0].as_str().unwrap_or("");
            if let Some(program) = message["executable"].as_str()
                && message["profile"]["test"] == true
                && ["lib", "bin", "test"].contains(&kind)
            {
                let manifest = message["manifest_path"].as_str().expect("a manifest");
                let folder = Path::new(manifest).parent().expect("a manifest is in a folder");
                let package = folder.file_name().unwrap_or_default().to_string_lossy();
                let mut target = vec!["-p".to_owned(), package.into_owned(), format!("--{kind}")];
                if kind != "lib" {
                    target.push(message["target"]["name"].as_str().unwrap_or("").to_owned());
                }
                programs.push(Program { target, path: program.into(), folder: folder.to_owned() });
            }
        }
    }
    Some(programs)
}

/// Runs each test alone, and records which mutants it reaches. Leaves out tests that fail without a
/// mutant.
fn record_reach(cache: &Path, programs: &[Program], mutants: &[Mutant], jobs: usize) -> Vec<Test> {
    // A record is valid while no mutant is added. New tests are run.
    let names: Vec<&str> = mutants.iter().map(|mutant| mutant.key.as_str()).collect();
    let known = fs::read(cache).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let known = known.and_then(|known| translate(known, &names));
    let known = known.unwrap_or(serde_json::json!({ "mutants": names, "tests": {} }));
    let known = Mutex::new(known);
    let tests = Mutex::new(Vec::new());
    let save = |known: &Value| {
        fs::write(cache, known.to_string()).expect("can write target/mutants");
    };
    let mut todo = Vec::new();
    for program in programs {
        let output =
            Command::new(&program.path).current_dir(&program.folder).arg("--list").output();
        let output = output.expect("a test program runs").stdout;
        for line in String::from_utf8_lossy(&output).lines() {
            if let Some(name) = line.strip_suffix(": test") {
                let test = Test {
                    program: program.clone(),
                    name: name.to_owned(),
                    duration: Duration::ZERO,
                    reached: BTreeSet::new(),
                };
                let label = test.label();
                let is_of = |part: &&str| {
                    label.strip_prefix(part).is_some_and(|rest| rest.starts_with("::"))
                };
                if !SKIPPED.iter().any(is_of) {
                    todo.push(test);
                }
            }
        }
    }
    println!("{} tests", todo.len());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for worker in 0..jobs {
            let (known, tests, next, todo, save) = (&known, &tests, &next, &todo, &save);
            scope.spawn(move || {
                while let Some(test) = todo.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let label = test.label();
                    let earlier = known.lock().expect("no thread panics")["tests"][&label].clone();
                    let entry = if earlier.is_null() {
                        let path = cache.with_file_name(format!("reached.{worker}"));
                        _ = fs::remove_file(&path);
                        let variable = ("MUTANTS_REACHED", path.to_str().expect("UTF-8"));
                        let started = Instant::now();
                        let mut end = run_tests(&[test], &[variable], Duration::from_secs(60));
                        let mut took = started.elapsed();
                        let reached = fs::read_to_string(&path).unwrap_or_default();
                        let reached: Vec<u32> =
                            reached.lines().filter_map(|line| line.parse().ok()).collect();
                        // Recording makes system calls, so a test that counts them may fail. Run it
                        // again without recording.
                        if !matches!(end, End::Passed) {
                            let started = Instant::now();
                            end = run_tests(&[test], &[], Duration::from_secs(60));
                            took = started.elapsed();
                        }
                        let took = took.as_millis() as u64;
                        let passed = matches!(end, End::Passed);
                        if !passed {
                            println!("fails without a mutant, left out: {label}");
                        }
                        serde_json::json!({ "ms": took, "passed": passed, "reached": reached })
                    } else {
                        earlier
                    };
                    if entry["passed"] == true {
                        let reached = entry["reached"].as_array().expect("a list").iter();
                        tests.lock().expect("no thread panics").push(Test {
                            duration: Duration::from_millis(
                                entry["ms"].as_u64().expect("a number"),
                            ),
                            reached: reached
                                .map(|id| id.as_u64().expect("a number") as u32)
                                .collect(),
                            ..test.clone()
                        });
                    }
                    let mut known = known.lock().expect("no thread panics");
                    known["tests"][&label] = entry;
                    if known["tests"].as_object().is_some_and(|tests| tests.len() % 20 == 0) {
                        save(&known);
                    }
                }
            });
        }
    });
    save(&known.into_inner().expect("no thread panics"));
    tests.into_inner().expect("no thread panics")
}

/// Replaces the mutant IDs in a record by the IDs in the current list. Returns `None` if the list
/// contains a mutant that the record lacks.
fn translate(mut known: Value, names: &[&str]) -> Option<Value> {
    let ids: HashMap<&str, u32> = names.iter().copied().zip(1..).collect();
    let old: Vec<String> = serde_json::from_value(known["mutants"].take()).ok()?;
    let old_names: BTreeSet<&str> = old.iter().map(String::as_str).collect();
    if !names.iter().all(|name| old_names.contains(name)) {
        return None;
    }
    for (_, test) in known["tests"].as_object_mut()? {
        let reached: Vec<usize> = serde_json::from_value(test["reached"].take()).ok()?;
        let reached = reached.iter().filter_map(|id| ids.get(old[id - 1].as_str()));
        test["reached"] = reached.copied().collect::<Vec<u32>>().into();
    }
    known["mutants"] = names.into();
    Some(known)
}

/// Runs the tests that reach a mutant until one fails; returns the outcome and the failed test. `with`
/// runs tests on the mutant.
fn run(
    tests: &[Test],
    reaches: impl Fn(&Test) -> bool,
    killers: &[usize],
    limit: Duration,
    with: impl Fn(&[&Test], Duration) -> End,
) -> (String, Option<usize>) {
    let reaches = |at: &usize| reaches(&tests[*at]);
    let reaching: Vec<usize> = (0..tests.len()).filter(reaches).collect();
    if reaching.is_empty() {
        return ("survived: no test reaches it".to_owned(), None);
    }
    let first: Vec<usize> = killers.iter().copied().filter(reaches).collect();
    let mut by_program: BTreeMap<&Program, Vec<usize>> = BTreeMap::new();
    for at in reaching.iter().copied().filter(|at| !first.contains(at)) {
        by_program.entry(&tests[at].program).or_default().push(at);
    }
    // The tests of a program are sorted by their duration.
    let time = |batch: &[usize]| batch.iter().map(|&at| tests[at].duration).sum::<Duration>();
    let mut others = Vec::new();
    for list in by_program.into_values() {
        let (mut batch, mut sizes) = (Vec::new(), BATCHES.into_iter());
        let mut size = sizes.next();
        for at in list {
            if !batch.is_empty() && time(&batch) + tests[at].duration > size.unwrap_or(BATCHES[2]) {
                others.push(std::mem::take(&mut batch));
                size = sizes.next();
            }
            batch.push(at);
        }
        others.push(batch);
    }
    others.sort_by_key(|batch| time(batch));
    let mut batches: VecDeque<Vec<usize>> = first.into_iter().map(|at| vec![at]).collect();
    batches.extend(others);

    let list = |batch: &[usize]| batch.iter().map(|&at| &tests[at]).collect::<Vec<&Test>>();
    let begun = Instant::now();
    while let Some(mut batch) = batches.pop_front() {
        if begun.elapsed() + time(&batch) > limit {
            return (format!("undecided: {} batches are left", batches.len() + 1), None);
        }
        let mut patience = Duration::from_secs(1) + time(&batch) * 5;
        let mut end = with(&list(&batch), patience);
        if matches!(end, End::Passed) {
            continue;
        }
        // Run each suspect alone, because the other tests of the batch may have disturbed it.
        let mut suspects = batch.clone();
        match &end {
            End::Failed(Some(name)) => suspects.retain(|&at| tests[at].name == *name),
            End::TimedOut(passed) => suspects.retain(|&at| !passed.contains(&tests[at].name)),
            _ => {}
        }
        for &suspect in &suspects {
            let test = [&tests[suspect]];
            if batch.len() > 1 {
                patience = Duration::from_secs(1) + tests[suspect].duration * 5;
                end = with(&test, patience);
            }
            // The same test must pass without the mutant, under the same load.
            let started = Instant::now();
            let passes = |end: &End| matches!(end, End::Passed);
            if passes(&end) || !passes(&run_tests(&test, &[], patience.max(DEADLINE))) {
                continue;
            }
            // Run it once more with the mutant, because it may have failed by chance, or may take
            // longer than usual on a busy machine.
            match with(&test, (started.elapsed() * 8).max(patience)) {
                End::Passed => {}
                End::Failed(_) => return (format!("caught by {}", test[0].label()), Some(suspect)),
                End::TimedOut(_) => {
                    return (
                        format!("caught by the timeout of {}", test[0].label()),
                        Some(suspect),
                    );
                }
            }
        }
        // No suspect fails because of the mutant. The tests after them have not run yet.
        println!(
            "disturbed: {:?}",
            suspects.iter().map(|&at| tests[at].label()).collect::<Vec<_>>()
        );
        batch.retain(|at| !suspects.contains(at));
        if !batch.is_empty() {
            batches.push_front(batch);
        }
    }
    (format!("survived {} tests", reaching.len()), None)
}

/// Runs tests of one program in one process, and ends it at the first that fails.
fn run_tests(tests: &[&Test], variables: &[(&str, &str)], limit: Duration) -> End {
    let mut command = Command::new("prlimit");
    // A mutant may fill the memory or the disk.
    let Program { path, folder, .. } = &tests[0].program;
    command.args(["--as=17179869184", "--fsize=1073741824"]).arg(path);
    command.current_dir(folder).arg("--exact");
    command.arg(format!("--test-threads={THREADS}"));
    command.args(tests.iter().map(|test| &test.name)).envs(variables.iter().copied());
    command.env("CARGO_MANIFEST_DIR", folder);
    let target = path.ancestors().nth(3).expect("it is in `debug/deps` of the target");
    // Printing the backtrace of a panic takes longer than most tests.
    command.envs(settings(target)).env_remove("RUST_BACKTRACE").env("SIMULATION_SEEDS", "1000");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn().expect("prlimit is installed");
    let stdout = child.stdout.take().expect("it is a pipe");
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let result = line.strip_prefix("test ").and_then(|line| line.rsplit_once(" ... "));
            if let Some((name, result)) = result {
                let name = name.trim_end_matches(" - should panic").to_owned();
                _ = sender.send((name, result == "FAILED"));
            }
        }
    });
    let deadline = Instant::now() + limit;
    let mut passed = BTreeSet::new();
    let end = loop {
        match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((name, true)) => break End::Failed(Some(name)),
            Ok((name, false)) => _ = passed.insert(name),
            Err(mpsc::RecvTimeoutError::Timeout) => break End::TimedOut(passed),
            // The program has closed its output: it has ended.
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                match child.try_wait().expect("it is a child") {
                    Some(status) if status.success() => break End::Passed,
                    Some(_) => break End::Failed(None),
                    None if Instant::now() > deadline => break End::TimedOut(passed),
                    None => std::thread::sleep(Duration::from_millis(2)),
                }
            }
        }
    };
    if let Some(group) = rustix::process::Pid::from_raw(child.id() as i32) {
        _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    _ = child.wait();
    end
}

/// Prints the counts for each file, and the mutants that survived or are undecided. Fails if there
/// are any.
fn summarize(mutants: &[&Mutant], outcomes: &BTreeMap<String, String>) -> ExitCode {
    const COLUMNS: [&str; 5] = ["caught", "survived", "undecided", LEFT_OUT, "unviable"];
    let mut files: BTreeMap<&str, [usize; 6]> = BTreeMap::new();
    let mut open = Vec::new();
    for mutant in mutants {
        let outcome = outcomes.get(&mutant.key).map_or("not run", String::as_str);
        let at = COLUMNS.iter().position(|column| outcome.starts_with(column));
        let at = at.unwrap_or(COLUMNS.len());
        for place in [&mutant.file, &mutant.package, "all"] {
            files.entry(place).or_default()[at] += 1;
        }
        if outcome.starts_with("survived") || outcome.starts_with("undecided") {
            open.push(format!("{outcome}: {}", mutant.name));
        }
    }
    let row = |name: &str, cells: &[String]| {
        let cells: String = cells.iter().map(|cell| format!("{cell:>10}")).collect();
        println!("{name:36}{cells}");
    };
    row("", &COLUMNS.iter().chain(&["not run"]).map(|name| (*name).to_owned()).collect::<Vec<_>>());
    for (file, figures) in &files {
        row(file, &figures.map(|figure| figure.to_string()));
    }
    for line in &open {
        println!("{line}");
    }
    if open.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
