//! The recorder in a program outside this workspace: its page shows the code of the runtime.
//!
//! The tests build a program that depends on the crates by path and by git, as users' programs do.
//! Both builds take longer than all other tests, so the tests are ignored by default. The workflow
//! `optimized` runs them.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tests::page_data;

const CRATES: [&str; 3] = ["reactor", "executor", "recorder"];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// Returns a folder that is kept after the test, so that the second build reuses the first one.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("outside").join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn succeed(command: &mut Command) {
    let output = command.output().expect("the program is installed");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
}

/// Creates a package from the example of the recorder. `dependency` returns how it depends on a
/// crate.
fn package(name: &str, dependency: impl Fn(&str) -> String) -> PathBuf {
    let package = folder(name);
    let crates = CRATES.map(|name| format!("{name} = {{ {} }}\n", dependency(name))).concat();
    let manifest = format!(
        "[package]\nname = \"{name}\"\nedition = \"2024\"\n[workspace]\n[dependencies]\nlog = \"0.4\"\n{crates}"
    );
    fs::write(package.join("Cargo.toml"), manifest).unwrap();
    let example = workspace().join("echo/recorder/examples/own_program.rs");
    let program = fs::read_to_string(example).unwrap().replace("own_program.rs", "main.rs");
    fs::create_dir_all(package.join("src")).unwrap();
    fs::write(package.join("src/main.rs"), program).unwrap();
    package
}

/// Builds and runs the program. Returns the data of its page.
fn page_of(package: &Path, online: bool) -> Value {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(package).args(["run", "--quiet", "--", "."]);
    cargo.env("CARGO_TARGET_DIR", folder("target")).env("CARGO_PROFILE_DEV_DEBUG", "0");
    cargo.env("CARGO_HOME", home()).env("CARGO_NET_OFFLINE", (!online).to_string());
    succeed(&mut cargo);
    for name in ["run.json", "run.jsonl"] {
        assert!(fs::read_to_string(package.join(name)).unwrap().len() > 1000, "{name}");
    }
    page_data(&fs::read_to_string(package.join("run.html")).unwrap())
}

/// Asserts that each step shows a source line, and that the lines of some steps are the expected
/// ones.
fn assert_shows_code(data: &Value) {
    let expected: [(&str, &[&str]); 3] = [
        ("try", &["= attempt()?", "if short"]),
        ("short", &["if short"]),
        ("would block", &["ready.set(false)"]),
    ];
    let mut seen = 0;
    for step in data["runs"][0]["steps"].as_array().expect("a run has steps") {
        let file = step["file"].as_str().expect("a path");
        let text = data["files"][file].as_str().unwrap_or_else(|| panic!("no code: {step}"));
        let [first, last] = [0, 1].map(|end| step["act"][end].as_u64().unwrap() as usize);
        assert!(first > 0, "no line is marked: {step}");
        let marked: Vec<&str> = text.lines().take(last).skip(first - 1).collect();
        let marked = marked.concat();
        for (_, code) in expected.iter().filter(|(kind, _)| step["kind"] == *kind) {
            assert!(code.iter().any(|code| marked.contains(code)), "{marked:?}: {step}");
            seen += 1;
        }
    }
    assert!(seen > 3, "only {seen} steps with expected code");
    let program = &data["runs"][0]["first"];
    let text =
        data["files"][program["file"].as_str().unwrap()].as_str().expect("the code of the program");
    let line = text.lines().nth(program["from"].as_u64().unwrap() as usize - 1);
    assert_eq!(line, Some("async fn answer(listener: TcpListener) -> io::Result<()> {"));
}

/// Asserts that the descriptions do not mention the echo server.
fn assert_is_neutral(data: &Value) {
    let runs = data["runs"].to_string();
    for word in ["echo", "server", "serve.rs"] {
        assert!(!runs.contains(word), "{word} in {runs}");
    }
}

// Pitfall: V1
#[test]
#[ignore = "builds a program, which takes long: the workflow `optimized` runs it"]
fn page_shows_code_in_a_program_that_depends_by_path() {
    let root = workspace();
    let path = |name: &str| match name {
        "recorder" => format!("path = \"{}\"", root.join("echo/recorder").display()),
        name => format!("path = \"{}\"", root.join(name).display()),
    };
    let package = package("by-path", path);
    fs::copy(root.join("Cargo.lock"), package.join("Cargo.lock")).unwrap();
    let data = page_of(&package, false);
    assert_shows_code(&data);
    assert_is_neutral(&data);
}

/// Returns a home for Cargo that shares the downloaded packages, but has checkouts of its own.
fn home() -> PathBuf {
    let home = folder("home");
    let usual = env::var_os("CARGO_HOME").map(PathBuf::from);
    let usual = usual.or_else(|| Some(env::home_dir()?.join(".cargo"))).expect("a home");
    for name in ["registry", "config.toml"] {
        if usual.join(name).exists() && !home.join(name).exists() {
            symlink(usual.join(name), home.join(name)).unwrap();
        }
    }
    home
}

/// Returns the last commit of the repository.
fn revision(repository: &Path) -> String {
    let mut git = Command::new("git");
    let output = git.arg("-C").arg(repository).args(["rev-parse", "HEAD"]).output().expect("git");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

// Offline, Cargo refuses to fetch from a git repository, even from a folder. So this build is
// online, but the lock file names each package and its origin, so that Cargo does not query a
// registry.
// Pitfall: V1
#[test]
#[ignore = "builds a program, which takes long: the workflow `optimized` runs it"]
fn page_shows_code_in_a_program_that_depends_by_git() {
    let clone = folder("clone");
    fs::remove_dir_all(&clone).unwrap();
    succeed(Command::new("git").args(["clone", "--quiet"]).arg(workspace()).arg(&clone));
    let url = format!("file://{}", clone.display());
    let package = package("by-git", |_| format!("git = \"{url}\""));
    let source = format!("source = \"git+{url}#{}\"", revision(&clone));
    let mut lock = fs::read_to_string(workspace().join("Cargo.lock")).unwrap();
    for name in CRATES {
        let version = format!("name = \"{name}\"\nversion = \"0.1.0\"\n");
        assert!(lock.contains(&version), "{name} in Cargo.lock");
        lock = lock.replace(&version, &format!("{version}{source}\n"));
    }
    fs::write(package.join("Cargo.lock"), lock).unwrap();
    let data = page_of(&package, true);
    assert_shows_code(&data);
    assert_is_neutral(&data);
}
