//! Runs the tests on every mutant of `reactor`, `executor` and `echo` that cargo-mutants knows:
//! `cargo run -p tests --example mutants`, or with a part of the names of those to run.
//!
//! cargo-mutants builds the tree once for each mutant, which is most of the time that it takes. Here
//! all mutants are compiled in at once, each behind a switch (`schema.rs`), and a variable of the
//! environment chooses one. Each test runs once alone to record which mutants it reaches, so that
//! a mutant costs only the tests that reach it, up to the first that fails.

mod schema;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use schema::Mutant;
use serde_json::Value;
use tests::guide::root;

/// The packages whose mutants are run.
const PACKAGES: [&str; 3] = ["reactor", "executor", "echo"];

/// The test programs that are run on the mutants of `reactor` and `executor`.
const CORE: [&[&str]; 2] =
    [&["-p", "reactor", "-p", "executor", "--lib"], &["-p", "tests", "--tests"]];

/// The test programs that are run on the mutants of `echo`.
const SERVER: [&[&str]; 2] =
    [&["-p", "echo", "--bins", "--test", "echod"], &["-p", "tests", "--test", "watch"]];

/// Tests of other things than the code: of its text, or of programs that are built by the test.
const SKIPPED: [&str; 3] = ["outside", "introductions", "callers"];

/// The tests of a batch run in one process; a batch takes about this long at most.
const BATCH: Duration = Duration::from_secs(2);

struct Test {
    program: PathBuf,
    /// The folder that Cargo would run it in.
    folder: PathBuf,
    name: String,
    duration: Duration,
    reached: BTreeSet<u32>,
}

impl Test {
    fn label(&self) -> String {
        let program = self.program.file_name().expect("a program has a name").to_string_lossy();
        format!("{}::{}", program.rsplit_once('-').map_or(&*program, |(name, _)| name), self.name)
    }
}

enum End {
    Passed,
    Failed(String),
    TimedOut,
}

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
    copy_tree(&tree, &mutants);
    let unviable = compile_in(&tree, &mutants);
    let is_wanted = |mutant: &&Mutant| {
        !unviable.contains_key(&mutant.id)
            && (wanted.is_empty() || wanted.iter().any(|part| mutant.name.contains(part)))
    };
    let of_server = |mutant: &Mutant| mutant.package == "echo";
    let mut programs = Vec::new();
    if mutants.iter().filter(is_wanted).any(|mutant| !of_server(mutant)) {
        programs.extend(build(&tree, &CORE, &only));
    }
    if mutants.iter().filter(is_wanted).any(of_server) {
        programs.extend(build(&tree, &SERVER, &[]));
    }
    let mut tests = record_reach(&work, &programs, &mutants, jobs);
    tests.sort_by_key(|test| test.duration);
    println!(
        "{} mutants, {} unviable or of constants, {} tests, {:.0?} in all",
        mutants.len(),
        unviable.len(),
        tests.len(),
        tests.iter().map(|test| test.duration).sum::<Duration>()
    );

    // Resume where an earlier run of the same mutants ended.
    let path = work.join("outcomes.tsv");
    let mut outcomes: BTreeMap<String, String> = fs::read_to_string(&path)
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(name, outcome)| (name.to_owned(), outcome.to_owned()))
        .collect();
    for (id, why) in &unviable {
        outcomes.insert(mutants[*id as usize - 1].name.clone(), why.clone());
    }
    let todo: Vec<&Mutant> = mutants
        .iter()
        .filter(is_wanted)
        .filter(|mutant| outcomes.get(&mutant.name).is_none_or(|known| known == "survived"))
        .collect();

    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(outcomes);
    let killers: Mutex<HashMap<String, HashMap<usize, usize>>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(mutant) = todo.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let best = killers.lock().expect("no thread panics").get(&mutant.file).cloned();
                    let started = Instant::now();
                    let (outcome, killer) = run(mutant, &tests, &best.unwrap_or_default());
                    let took = started.elapsed();
                    println!("{took:6.1?} {} — {outcome}", mutant.name);
                    if let Some(killer) = killer {
                        let mut killers = killers.lock().expect("no thread panics");
                        *killers
                            .entry(mutant.file.clone())
                            .or_default()
                            .entry(killer)
                            .or_default() += 1;
                    }
                    let mut outcomes = outcomes.lock().expect("no thread panics");
                    outcomes.insert(mutant.name.clone(), outcome);
                    let text: String = outcomes
                        .iter()
                        .map(|(name, outcome)| format!("{name}\t{outcome}\n"))
                        .collect();
                    fs::write(&path, text).expect("can write target/mutants");
                }
            });
        }
    });
    summarize(&mutants, &outcomes.into_inner().expect("no thread panics"))
}

/// Asks cargo-mutants for the list.
fn list(in_diff: Option<&str>) -> Vec<Mutant> {
    let mut command = Command::new("cargo");
    command.current_dir(root()).args(["mutants", "--list", "--json"]);
    if let Some(file) = in_diff {
        command.args(["--in-diff", file]);
    }
    for package in PACKAGES {
        command.args(["-p", package]);
    }
    let output = command.output().expect("cargo-mutants is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let list: Vec<Value> = serde_json::from_slice(&output.stdout).expect("the list is JSON");
    list.iter().zip(1..).map(|(json, id)| Mutant::new(id, json)).collect()
}

/// Copies what Git knows, except the files that get mutants, and leaves files alone that have not
/// changed.
fn copy_tree(tree: &Path, mutants: &[Mutant]) {
    let mut others: BTreeSet<&str> = mutants.iter().map(|mutant| mutant.file.as_str()).collect();
    others.insert("reactor/src/lib.rs");
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
    command.current_dir(tree).env("CARGO_TARGET_DIR", tree.join("../build"));
    command.env("CARGO_INCREMENTAL", "0").env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only");
    command.env("RUSTFLAGS", "--cap-lints=allow");
    command
}

/// Compiles the mutants into the copy. Those that do not compile are taken out again until the rest
/// compiles; returns them.
fn compile_in(tree: &Path, mutants: &[Mutant]) -> BTreeMap<u32, String> {
    let reactor = tree.join("reactor/src");
    write_if_changed(&reactor.join("mutant.rs"), include_bytes!("switch.rs"));
    let lib = fs::read_to_string(root().join("reactor/src/lib.rs")).expect("the reactor is there");
    // At the end of the line of another module, so that no line moves.
    let lib =
        lib.replacen("mod arrivals;", "mod arrivals; #[allow(missing_docs)] pub mod mutant;", 1);
    write_if_changed(&reactor.join("lib.rs"), lib.as_bytes());

    let mut files: BTreeMap<&str, Vec<&Mutant>> = BTreeMap::new();
    for mutant in mutants {
        files.entry(&mutant.file).or_default().push(mutant);
    }
    // What an earlier run has found need not be found again.
    let path = tree.join("../unviable.tsv");
    let known = fs::read_to_string(&path).unwrap_or_default();
    let known: HashMap<&str, &str> =
        known.lines().filter_map(|line| line.split_once('\t')).collect();
    let mut unviable: BTreeMap<u32, String> = mutants
        .iter()
        .filter_map(|mutant| Some((mutant.id, (*known.get(mutant.name.as_str())?).to_owned())))
        .collect();
    loop {
        let mut regions = HashMap::new();
        for (file, list) in &files {
            let viable: Vec<&Mutant> =
                list.iter().copied().filter(|mutant| !unviable.contains_key(&mutant.id)).collect();
            let source = fs::read_to_string(root().join(file)).expect("cargo-mutants names files");
            let own = list[0].package == "reactor";
            let switch = if own { "crate::mutant::on" } else { "::reactor::mutant::on" };
            let schema = schema::compile_in(&source, &viable, switch);
            write_if_changed(&tree.join(file), schema.text.as_bytes());
            for id in schema.left_out {
                unviable.insert(id, "left out".to_owned());
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
            let name = |id: &u32| &mutants[*id as usize - 1].name;
            let text: String =
                unviable.iter().map(|(id, why)| format!("{}\t{why}\n", name(id))).collect();
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
                    // An arm without which the others do not cover everything.
                    let line = place("line_start");
                    for (_, id) in matches.iter().filter(|(at, _)| *at == line && code == "E0004") {
                        unviable.insert(*id, "left out".to_owned());
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

/// Builds the test programs; returns their paths and folders.
fn build(tree: &Path, parts: &[&[&str]], only: &[String]) -> Vec<(PathBuf, PathBuf)> {
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
        assert!(output.status.success(), "the copy with its mutants does not build");
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let message: Value = serde_json::from_str(line).unwrap_or_default();
            let name = message["target"]["name"].as_str().unwrap_or("");
            let kind = message["target"]["kind"][0].as_str().unwrap_or("");
            if let Some(program) = message["executable"].as_str()
                && message["profile"]["test"] == true
                && ["lib", "bin", "test"].contains(&kind)
                && !SKIPPED.contains(&name)
            {
                let manifest = message["manifest_path"].as_str().expect("a manifest");
                let folder = Path::new(manifest).parent().expect("a manifest is in a folder");
                programs.push((PathBuf::from(program), folder.to_owned()));
            }
        }
    }
    programs
}

/// Runs each test alone, and records which mutants it reaches. Leaves out those that fail.
fn record_reach(
    work: &Path,
    programs: &[(PathBuf, PathBuf)],
    mutants: &[Mutant],
    jobs: usize,
) -> Vec<Test> {
    // A record is valid while no mutant is added. New tests are run.
    let names: Vec<&str> = mutants.iter().map(|mutant| mutant.name.as_str()).collect();
    let cache = work.join("reach.json");
    let known = fs::read(&cache).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let known = known.and_then(|known| translate(known, &names));
    let known = known.unwrap_or(serde_json::json!({ "mutants": names, "tests": {} }));
    let known = Mutex::new(known);
    let tests = Mutex::new(Vec::new());
    let mut todo = Vec::new();
    for (program, folder) in programs {
        let output = Command::new(program).current_dir(folder).arg("--list").output();
        let output = output.expect("a test program runs").stdout;
        for line in String::from_utf8_lossy(&output).lines() {
            if let Some(name) = line.strip_suffix(": test") {
                todo.push(Test {
                    program: program.clone(),
                    folder: folder.clone(),
                    name: name.to_owned(),
                    duration: Duration::ZERO,
                    reached: BTreeSet::new(),
                });
            }
        }
    }
    println!("{} tests", todo.len());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for worker in 0..jobs {
            let (known, tests, next, todo) = (&known, &tests, &next, &todo);
            scope.spawn(move || {
                while let Some(test) = todo.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let label = test.label();
                    let earlier = known.lock().expect("no thread panics")["tests"][&label].clone();
                    let entry = if earlier.is_null() {
                        let path = work.join(format!("reached.{worker}"));
                        _ = fs::remove_file(&path);
                        let variable = ("MUTANTS_REACHED", path.to_str().expect("UTF-8"));
                        let started = Instant::now();
                        let end = run_tests(&[test], &[variable], Duration::from_secs(60));
                        let took = started.elapsed().as_millis() as u64;
                        let reached = fs::read_to_string(&path).unwrap_or_default();
                        let reached: Vec<u32> =
                            reached.lines().filter_map(|line| line.parse().ok()).collect();
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
                            program: test.program.clone(),
                            folder: test.folder.clone(),
                            name: test.name.clone(),
                            duration: Duration::from_millis(
                                entry["ms"].as_u64().expect("a number"),
                            ),
                            reached: reached
                                .map(|id| id.as_u64().expect("a number") as u32)
                                .collect(),
                        });
                    }
                    known.lock().expect("no thread panics")["tests"][&label] = entry;
                }
            });
        }
    });
    let known = known.into_inner().expect("no thread panics");
    fs::write(cache, known.to_string()).expect("can write target/mutants");
    tests.into_inner().expect("no thread panics")
}

/// Replaces the numbers of a record by those of today's list; `None` if that has mutants which the
/// record does not know.
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

/// Runs the tests that reach the mutant until one fails; returns the outcome and the failed test.
fn run(
    mutant: &Mutant,
    tests: &[Test],
    killers: &HashMap<usize, usize>,
) -> (String, Option<usize>) {
    let reaching: Vec<usize> =
        (0..tests.len()).filter(|&at| tests[at].reached.contains(&mutant.id)).collect();
    if reaching.is_empty() {
        return ("not reached".to_owned(), None);
    }
    // First the tests that failed for most mutants of this file, then those that take least.
    let mut first: Vec<usize> =
        reaching.iter().copied().filter(|at| killers.contains_key(at)).collect();
    first.sort_by_key(|at| std::cmp::Reverse(killers[at]));
    first.truncate(4);
    let mut batches: Vec<Vec<usize>> = first.iter().map(|&at| vec![at]).collect();
    let quick: Vec<usize> = reaching.iter().copied().filter(|at| !first.contains(at)).collect();
    batches.extend(quick.iter().take(2).map(|&at| vec![at]));
    let mut by_program: BTreeMap<&Path, Vec<usize>> = BTreeMap::new();
    for &at in quick.iter().skip(2) {
        by_program.entry(&tests[at].program).or_default().push(at);
    }
    let mut others = Vec::new();
    for list in by_program.into_values() {
        let (mut batch, mut time) = (Vec::new(), Duration::ZERO);
        for at in list {
            if time + tests[at].duration > BATCH && !batch.is_empty() {
                others.push((time, std::mem::take(&mut batch)));
                time = Duration::ZERO;
            }
            time += tests[at].duration;
            batch.push(at);
        }
        others.push((time, batch));
    }
    others.sort();
    batches.extend(others.into_iter().map(|(_, batch)| batch));

    let id = mutant.id.to_string();
    for batch in batches {
        let list: Vec<&Test> = batch.iter().map(|&at| &tests[at]).collect();
        let usual: Duration = list.iter().map(|test| test.duration).sum();
        let limit = Duration::from_secs(4) + usual * 5;
        match run_tests(&list, &[("MUTANT", &id)], limit) {
            End::Passed => {}
            End::Failed(name) => {
                let at = batch.iter().copied().find(|&at| tests[at].name == name);
                // The same test must pass without the mutant, now as before.
                let again: Vec<&Test> = at.map_or(list, |at| vec![&tests[at]]);
                if matches!(run_tests(&again, &[], limit), End::Passed) {
                    return (format!("caught by {}", again[0].label()), at);
                }
                println!("fails without a mutant too: {}", again[0].label());
            }
            End::TimedOut => {
                if matches!(run_tests(&list, &[], limit), End::Passed) {
                    return (
                        format!("caught by the timeout of {}", list[0].label()),
                        Some(batch[0]),
                    );
                }
                println!("takes too long without a mutant too: {}", list[0].label());
            }
        }
    }
    ("survived".to_owned(), None)
}

/// Runs tests of one program in one process, and ends it at the first that fails.
fn run_tests(tests: &[&Test], variables: &[(&str, &str)], limit: Duration) -> End {
    let mut command = Command::new("prlimit");
    // A mutant may fill the memory or the disk.
    command.args(["--as=17179869184", "--fsize=1073741824"]).arg(&tests[0].program);
    command.current_dir(&tests[0].folder).args(["--exact", "--test-threads=2"]);
    command.args(tests.iter().map(|test| &test.name)).envs(variables.iter().copied());
    command.env("CARGO_MANIFEST_DIR", &tests[0].folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn().expect("prlimit is installed");
    let stdout = child.stdout.take().expect("it is a pipe");
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let failed =
                line.strip_prefix("test ").and_then(|line| line.strip_suffix(" ... FAILED"));
            if let Some(name) = failed {
                _ = sender.send(name.to_owned());
            }
        }
    });
    let deadline = Instant::now() + limit;
    let failed = receiver.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    let end = match failed {
        Ok(name) => End::Failed(name.trim_end_matches(" - should panic").to_owned()),
        Err(mpsc::RecvTimeoutError::Timeout) => End::TimedOut,
        // The program has closed its output: it has ended.
        Err(mpsc::RecvTimeoutError::Disconnected) => loop {
            match child.try_wait().expect("it is a child") {
                Some(status) if status.success() => break End::Passed,
                Some(_) => break End::Failed(String::new()),
                None if Instant::now() > deadline => break End::TimedOut,
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        },
    };
    if let Some(group) = rustix::process::Pid::from_raw(child.id() as i32) {
        _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    _ = child.wait();
    end
}

/// Prints the figures of each file, and the mutants that no test has caught. Fails if there are any.
fn summarize(mutants: &[Mutant], outcomes: &BTreeMap<String, String>) -> ExitCode {
    let mut files: BTreeMap<&str, [usize; 5]> = BTreeMap::new();
    let mut open = Vec::new();
    for mutant in mutants {
        let figures = files.entry(&mutant.file).or_default();
        let outcome = outcomes.get(&mutant.name).map_or("not run", String::as_str);
        let at = match outcome.split([' ', ':']).next() {
            Some("caught") => 0,
            Some("unviable") => 1,
            Some("survived" | "not") if outcome != "not run" => 2,
            Some("left") => 3,
            _ => 4,
        };
        figures[at] += 1;
        if at == 2 {
            open.push(format!("{outcome}: {}", mutant.name));
        }
    }
    println!("{:36} caught unviable open left-out not-run", "");
    let mut sum = [0; 5];
    for (file, figures) in &files {
        println!(
            "{file:36} {:6} {:8} {:4} {:8} {:7}",
            figures[0], figures[1], figures[2], figures[3], figures[4]
        );
        for (sum, figure) in sum.iter_mut().zip(figures) {
            *sum += figure;
        }
    }
    println!("{:36} {:6} {:8} {:4} {:8} {:7}", "all", sum[0], sum[1], sum[2], sum[3], sum[4]);
    for line in &open {
        println!("{line}");
    }
    if open.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
