//! None of the foreign crates is in what we ship.

use std::collections::BTreeSet;
use std::process::Command;

/// The names of all crates that a package is built from.
fn built_from(package: &str) -> BTreeSet<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["tree", "--offline", "--locked", "--edges", "normal,build", "--prefix", "none"]);
    // For all systems: what this one does not need, another may.
    cargo.args(["--target", "all", "--format", "{p}", "--package", package]);
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// The crates that the manifest of this package names with a version of their own.
fn foreign() -> BTreeSet<&'static str> {
    let manifest = include_str!("../Cargo.toml");
    let (_, rest) = manifest.split_once("[dependencies]").unwrap();
    let (dependencies, _) = rest.split_once("[[test]]").unwrap();
    let names = dependencies.lines().filter_map(|line| Some(line.split_once(" = ")?.0));
    names.filter(|name| !name.ends_with(".workspace")).collect()
}

#[test]
fn none_of_the_foreign_crates_is_in_the_server_or_below_it() {
    let ours = built_from("echo");
    assert!(ours.contains("reactor") && ours.contains("mio"), "{ours:?}");
    let foreign = foreign();
    assert!(foreign.contains("hyper") && foreign.contains("async-compression"), "{foreign:?}");
    // And what these bring along, and we would not want.
    for name in
        foreign.into_iter().chain(["async-channel", "tokio", "h2", "rustls", "ring", "tungstenite"])
    {
        assert!(!ours.contains(name), "{name} is in `echo`");
    }
}
