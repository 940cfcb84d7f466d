//! Undoes the fixes of faults of earlier versions, one at a time, and verifies that a check of the
//! project finds each fault again.
//!
//! ```text
//! cargo run -p tests --example undone              all faults
//! cargo run -p tests --example undone -- NAME …    those whose name contains one of these texts
//! cargo run -p tests --example undone -- --page    writes tests/UNDONE.md, without running anything
//! ```
//!
//! Each patch in `tests/undone` is applied to a copy of the tree in `target/undone`. The command of
//! the patch must succeed without the patch. With the patch, it must fail and print the text that
//! the patch names. The output of each run is in `target/undone/NAME.log`, and the times are in
//! `target/undone/found.tsv`, from which `--page` makes the page.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs::{self, File};
use std::io::Result;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tests::guide::root;
use tests::undone::Undone;

/// The time limits of a command and of a build.
const LIMIT: Duration = Duration::from_secs(600);
const BUILD_LIMIT: Duration = Duration::from_secs(3600);

/// The page before its table.
const INTRODUCTION: &str = include_str!("introduction.txt");

fn main() -> ExitCode {
    let wanted: Vec<String> = env::args().skip(1).collect();
    let result = if wanted == ["--page"] { write_page() } else { run(&wanted) };
    match result {
        Ok(0) => ExitCode::SUCCESS,
        Ok(faults) => {
            eprintln!("undone: {faults} faults were not found");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("undone: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs all patches whose name contains one of the texts. Returns how many faults were not found.
fn run(wanted: &[String]) -> Result<usize> {
    let mut all = Undone::all();
    all.retain(|undone| {
        wanted.is_empty() || wanted.iter().any(|part| undone.name.contains(part.as_str()))
    });
    let copy = Copy::make()?;
    let mut sound = BTreeSet::new();
    let mut known = known();
    let mut failures = 0;
    for undone in &all {
        let found = copy.find(undone, &mut sound)?;
        let text = match &found {
            Ok(took) => format!("found in {} s", took.as_secs().max(1)),
            Err(why) => {
                failures += 1;
                format!("NOT FOUND: {why}")
            }
        };
        println!("{}: {text}", undone.name);
        match found {
            Ok(took) => known.insert(undone.name.clone(), took.as_secs().max(1).to_string()),
            Err(_) => known.remove(&undone.name),
        };
        let lines = known.iter().map(|(name, seconds)| format!("{name}\t{seconds}\n"));
        fs::write(root().join(KNOWN), lines.collect::<String>())?;
    }
    Ok(failures)
}

/// The file of the times.
const KNOWN: &str = "target/undone/found.tsv";

/// Returns the faults that were found, and in how many seconds.
fn known() -> BTreeMap<String, String> {
    let text = fs::read_to_string(root().join(KNOWN)).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.split_once('\t'));
    lines.map(|(name, seconds)| (name.to_owned(), seconds.to_owned())).collect()
}

/// Writes the page. Returns how many faults have not been found yet.
fn write_page() -> Result<usize> {
    let (known, mut all) = (known(), Undone::all());
    all.sort_by(|one, other| one.check.cmp(&other.check));
    let mut page = format!("# Undone fixes\n\n{INTRODUCTION}");
    let mut missing = 0;
    for Undone { name, fault, check, command, .. } in &all {
        match known.get(name) {
            Some(seconds) => {
                let fault = format!("{fault} [patch](undone/{name}.patch)");
                page += &format!("| {fault} | {check} | `{command}` | {seconds} |\n");
            }
            None => {
                println!("{name}: not found yet");
                missing += 1;
            }
        }
    }
    fs::write(root().join("tests/UNDONE.md"), page)?;
    Ok(missing)
}

/// The copy of the tree.
struct Copy {
    work: PathBuf,
}

impl Copy {
    /// Copies the files that Git lists. Does not write files that have not changed, so that Cargo
    /// compiles little again.
    fn make() -> Result<Copy> {
        let copy = Copy { work: root().join("target/undone") };
        let mut command = Command::new("git");
        command.current_dir(root()).args(["ls-files", "-z", "-co", "--exclude-standard"]);
        let listed = String::from_utf8_lossy(&command.output()?.stdout).into_owned();
        let is_there = |path: &&str| root().join(path).is_file();
        for path in listed.split_terminator('\0').filter(is_there) {
            copy.write(path, &fs::read(root().join(path))?)?;
        }
        Ok(copy)
    }

    fn tree(&self) -> PathBuf {
        self.work.join("tree")
    }

    fn write(&self, path: &str, content: &[u8]) -> Result<()> {
        let path = self.tree().join(path);
        if fs::read(&path).is_ok_and(|known| known == content) {
            return Ok(());
        }
        fs::create_dir_all(path.parent().unwrap_or(Path::new("")))?;
        fs::write(path, content)
    }

    /// Applies a patch, runs its command, and removes the patch again. Returns how long the command
    /// took to find the fault, or why it has not found it. `sound` contains the commands that have
    /// succeeded without a patch.
    fn find(
        &self,
        undone: &Undone,
        sound: &mut BTreeSet<String>,
    ) -> Result<std::result::Result<Duration, String>> {
        let changed = match undone.apply(&self.tree()) {
            Ok(changed) => changed,
            Err(why) => return Ok(Err(format!("the patch no longer applies: {why}"))),
        };
        let log = self.work.join(format!("{}.log", undone.name));
        if !sound.contains(&undone.command) {
            if !self.build(&undone.command, &log)? {
                return Ok(Err(format!("the copy does not build; see {}", log.display())));
            }
            let status = self.execute(&undone.command, &log, LIMIT)?;
            if !status.is_some_and(|status| status.success()) {
                return Ok(Err(format!("fails without the patch; see {}", log.display())));
            }
            sound.insert(undone.command.clone());
        }
        let mut originals = Vec::new();
        for (path, text) in &changed {
            originals.push((path, fs::read(self.tree().join(path))?));
            self.write(path, text.as_bytes())?;
        }
        let found = self.run_patched(undone, &log);
        for (path, original) in originals {
            self.write(path, &original)?;
        }
        found
    }

    fn run_patched(
        &self,
        undone: &Undone,
        log: &Path,
    ) -> Result<std::result::Result<Duration, String>> {
        if !self.build(&undone.command, log)? {
            return Ok(Err(format!("does not build with the patch; see {}", log.display())));
        }
        let begin = Instant::now();
        let status = self.execute(&undone.command, log, LIMIT)?;
        let took = begin.elapsed();
        let shows = String::from_utf8_lossy(&fs::read(log)?).contains(&undone.shows);
        Ok(match status {
            None => Err(format!("no result after {LIMIT:?}; see {}", log.display())),
            Some(status) if status.success() => Err("the command succeeds".to_owned()),
            Some(_) if !shows => {
                Err(format!("the output lacks {:?}; see {}", undone.shows, log.display()))
            }
            Some(_) => Ok(took),
        })
    }

    /// Builds what the command runs, so that the time of the command does not include compilation.
    fn build(&self, command: &str, log: &Path) -> Result<bool> {
        let (program, _) = command.split_once(" -- ").unwrap_or((command, ""));
        let builds = match program.contains("cargo run") {
            // The examples start echod.
            true => vec![program.replace("cargo run", "cargo build"), "cargo build -p echo".into()],
            false => vec![program.replace("cargo test", "cargo test --no-run")],
        };
        for build in builds {
            let status = self.execute(&build, log, BUILD_LIMIT)?;
            if !status.is_some_and(|status| status.success()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Runs a command in the copy. Kills the command and returns `None` if it takes longer than
    /// `limit`.
    fn execute(&self, command: &str, log: &Path, limit: Duration) -> Result<Option<ExitStatus>> {
        let is_variable = |word: &&str| word.contains('=') && !word.starts_with('-');
        let mut words = command.split_whitespace().peekable();
        let mut variables = Vec::new();
        while let Some(variable) = words.next_if(is_variable) {
            variables.extend(variable.split_once('='));
        }
        let mut child = Command::new(words.next().unwrap_or_default());
        let output = File::create(log)?;
        let mut child = child
            .args(words)
            .envs(variables)
            .current_dir(self.tree())
            .env("CARGO_TARGET_DIR", self.work.join("build"))
            .env("CARGO_INCREMENTAL", "0")
            .env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only")
            .env("RUSTFLAGS", "--cap-lints=allow")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // In its own process group, so that a timeout also kills processes that tests start.
            .process_group(0)
            .spawn()?;
        let begin = Instant::now();
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            if begin.elapsed() > limit {
                kill_process_group(Pid::from_child(&child), Signal::KILL)?;
                child.wait()?;
                return Ok(None);
            }
            sleep(Duration::from_millis(50));
        }
    }
}
