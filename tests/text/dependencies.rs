//! The list of dependencies: each crate that becomes part of `echod`, with the reason for it.
//!
//! `tests/DEPENDENCIES.md` is generated from `cargo tree` and from the sources of the crates. Only
//! the reasons are written by hand, in the page itself: a new dependency fails the test until
//! somebody has written one. With `UPDATE_GUIDE=1` in the environment the test rewrites the page.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use serde_json::Value;

use crate::guide::{read, root};

const PAGE: &str = "tests/DEPENDENCIES.md";

/// The system for which the page lists the dependencies.
const TARGET: &str = "x86_64-unknown-linux-gnu";

const HEADER: &str =
    "| crate | version | license | lines | build script | why |\n|---|---|---|--:|---|---|\n";

/// What stands in place of a reason that nobody has written yet.
const MISSING: &str = "**no reason given**";

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("the output of cargo is text")
}

/// Returns the crates that become part of `echod`, each as name and version.
fn shipped() -> BTreeSet<(String, String)> {
    let tree = ["tree", "--locked", "-p", "echo", "-e", "normal,build", "--target", TARGET];
    let tree = cargo(&[&tree[..], &["--prefix", "none", "--format", "{p}"]].concat());
    let crates = tree.lines().filter(|line| !line.contains('/'));
    crates
        .map(|line| {
            let mut words = line.split(' ');
            let name = words.next().expect("the name of a crate");
            let version = words.next().and_then(|version| version.strip_prefix('v'));
            (name.to_owned(), version.expect("the version of a crate").to_owned())
        })
        .collect()
}

/// Returns the number of lines of the Rust sources in a folder, without tests, benchmarks and
/// examples.
fn lines(folder: &Path) -> usize {
    let mut lines = 0;
    for entry in fs::read_dir(folder).expect("the folder of a crate") {
        let path = entry.expect("an entry of the folder").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !["tests", "benches", "examples"].contains(&name.as_str()) {
            lines += self::lines(&path);
        } else if name.ends_with(".rs") {
            lines += fs::read_to_string(&path).unwrap_or_default().lines().count();
        }
    }
    lines
}

/// Returns the reasons of a page, by the name of the crate.
fn reasons(page: &str) -> BTreeMap<String, String> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| {
        let (name, rest) = row.split_once('`')?;
        let reason = rest.strip_suffix(" |")?.rsplit_once(" | ")?.1;
        Some((name.to_owned(), reason.to_owned()))
    })
    .collect()
}

fn has_target(package: &Value, kind: &str) -> bool {
    let mut targets = package["targets"].as_array().expect("targets").iter();
    targets
        .any(|target| target["kind"].as_array().is_some_and(|kinds| kinds.contains(&kind.into())))
}

/// Returns the table of the page.
///
/// # Panics
///
/// Panics if a crate is in the tree twice, or is a procedural macro.
fn table(page: &str) -> String {
    let metadata = ["metadata", "--locked", "--format-version=1", "--filter-platform", TARGET];
    let metadata: Value = serde_json::from_str(&cargo(&metadata)).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let reasons = reasons(page);
    let shipped = shipped();
    let names: BTreeSet<&String> = shipped.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), shipped.len(), "a crate has two versions: {shipped:?}");
    let mut table = HEADER.to_owned();
    for (name, version) in &shipped {
        let is_this =
            |package: &&Value| package["name"] == **name && package["version"] == **version;
        let package = packages.iter().find(is_this).expect("the package of a crate in the tree");
        assert!(!has_target(package, "proc-macro"), "{name} is a procedural macro");
        let folder = Path::new(package["manifest_path"].as_str().expect("a path")).parent();
        let lines = lines(folder.expect("the folder of the manifest"));
        let script = if has_target(package, "custom-build") { "yes" } else { "–" };
        let license = package["license"].as_str().expect("a license").replace('/', " OR ");
        let reason = reasons.get(name).map_or(MISSING, String::as_str);
        table += &format!("| `{name}` | {version} | {license} | {lines} | {script} | {reason} |\n");
    }
    table
}

#[test]
fn every_dependency_is_listed_with_its_reason() {
    let page = read(PAGE);
    let (before, rest) = page.split_once(HEADER).expect("the page has a table");
    let after = rest.split_once("\n\n").map_or("", |(_, after)| after);
    let table = table(&page);
    let wanted = format!("{before}{table}\n{after}");
    if env::var_os("UPDATE_GUIDE").is_some() {
        fs::write(root().join(PAGE), &wanted).unwrap();
    } else {
        assert_eq!(page, wanted, "run UPDATE_GUIDE=1 cargo test -p echo --test text");
    }
    assert!(!table.contains(MISSING), "give the reasons in {PAGE}:\n{table}");
}
