//! The crates that are only tested for interoperability are not among the dependencies of `echo`.

use std::collections::BTreeSet;
use std::process::Command;

/// Returns the names of all crates that a package is built from.
fn built_from(package: &str) -> BTreeSet<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["tree", "--locked", "--edges", "normal,build", "--prefix", "none"]);
    // Include the dependencies of every target: another target may need more than this one.
    cargo.args(["--target", "all", "--format", "{p}", "--package", package]);
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// Returns the third-party crates that only this package depends on: the manifest gives them a
/// version.
fn third_party() -> BTreeSet<&'static str> {
    let manifest = include_str!("../Cargo.toml");
    let (_, rest) = manifest.split_once("[dependencies]").unwrap();
    let (dependencies, _) = rest.split_once("[[test]]").unwrap();
    let names = dependencies.lines().filter_map(|line| Some(line.split_once(" = ")?.0));
    names.filter(|name| !name.ends_with(".workspace")).collect()
}

#[test]
fn echo_depends_on_no_crate_of_interop() {
    let ours = built_from("echo");
    assert!(ours.contains("reactor") && ours.contains("mio"), "{ours:?}");
    let third_party = third_party();
    assert!(
        third_party.contains("hyper") && third_party.contains("async-compression"),
        "{third_party:?}"
    );
    // Include some of their dependencies.
    for name in third_party.into_iter().chain([
        "async-channel",
        "tokio",
        "h2",
        "rustls",
        "ring",
        "tungstenite",
    ]) {
        assert!(!ours.contains(name), "{name} is in `echo`");
    }
}
