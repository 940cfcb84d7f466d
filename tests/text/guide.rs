//! The guide: the READMEs, taken apart for the tests that hold them to what is so.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The READMEs: first the front door and its chapters in reading order, then those beside the path.
pub(crate) const READMES: [&str; 23] = [
    "README.md",
    "reactor/README.md",
    "executor/README.md",
    "echo/README.md",
    "echo/OPERATING.md",
    "tests/README.md",
    "tests/PITFALLS.md",
    "echo/recorder/README.md",
    "reactor/uring/README.md",
    "tests/interop/hyper-io/README.md",
    "tests/peers/README.md",
    "echo/learn/README.md",
    "echo/learn/thirty-minutes.md",
    "echo/learn/map.md",
    "echo/learn/questions.md",
    "echo/learn/reading.md",
    "echo/learn/comparison.md",
    "echo/learn/glossary.md",
    "echo/learn/tokio.md",
    "echo/learn/own-program.md",
    "echo/learn/exercises/README.md",
    "echo/learn/predict.md",
    "echo/learn/faults.md",
];

/// The folder of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the workspace")
}

/// The text of a file, by its path from the root.
///
/// # Panics
///
/// If there is no such file.
pub(crate) fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files of the workspace, by their paths from the root: but nothing that was built.
pub(crate) fn files() -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![root().to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of the workspace") {
            let path = entry.expect("an entry of it").path();
            let inside = path.strip_prefix(root()).expect("it is in the workspace").to_owned();
            match path.is_dir() {
                true if path.ends_with("target") || path.ends_with(".git") => {}
                true => folders.push(path),
                false => files.push(inside),
            }
        }
    }
    files
}

/// Our own sources in Rust.
pub(crate) fn rust_files() -> impl Iterator<Item = PathBuf> {
    files().into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs"))
}

/// A fenced block of a README.
#[derive(Debug)]
pub(crate) struct Block {
    /// The path of the README, from the root.
    pub(crate) readme: &'static str,
    /// Its lines there, without the fences, counted from 0.
    pub(crate) at: Range<usize>,
    /// What stands behind the fence: `text`.
    pub(crate) language: String,
    /// What stands in it.
    pub(crate) lines: Vec<String>,
}

/// The fenced blocks of a README.
///
/// # Panics
///
/// If one of them is not closed.
pub(crate) fn blocks(readme: &'static str) -> Vec<Block> {
    let text = read(readme);
    let lines: Vec<&str> = text.lines().collect();
    let fences: Vec<usize> = (0..lines.len()).filter(|&at| lines[at].starts_with("```")).collect();
    assert!(fences.len().is_multiple_of(2), "{readme}: a block is not closed");
    let block = |pair: &[usize]| Block {
        readme,
        at: pair[0] + 1..pair[1],
        language: lines[pair[0]].trim_start_matches('`').to_owned(),
        lines: lines[pair[0] + 1..pair[1]].iter().map(|&line| line.to_owned()).collect(),
    };
    fences.chunks(2).map(block).collect()
}

/// A README with each fenced block, fences included, as empty lines.
pub(crate) fn prose(readme: &'static str) -> String {
    let text = read(readme);
    let blocks = blocks(readme);
    let is_prose =
        |at: usize| !blocks.iter().any(|block| (block.at.start - 1..=block.at.end).contains(&at));
    let lines = text.lines().enumerate().map(|(at, line)| if is_prose(at) { line } else { "" });
    lines.map(|line| format!("{line}\n")).collect()
}

/// What stands in the prose as code, in backticks, each with the number of its line.
///
/// # Panics
///
/// If a paragraph has a backtick without another one.
pub(crate) fn spans(readme: &'static str) -> Vec<(usize, String)> {
    let (prose, mut number, mut spans) = (prose(readme), 1, Vec::new());
    for paragraph in prose.split("\n\n") {
        assert!(paragraph.matches('`').count().is_multiple_of(2), "{readme}:{number}: {paragraph}");
        for (at, piece) in paragraph.split('`').enumerate() {
            if at % 2 == 1 {
                spans.push((number, piece.replace('\n', " ")));
            }
            number += piece.matches('\n').count();
        }
        number += 2;
    }
    spans
}

/// The part of a README below a heading of the second level.
pub(crate) fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let begin = format!("## {heading}\n");
    let part = text.split(&begin).nth(1).unwrap_or_else(|| panic!("no section {heading:?}"));
    part.split("\n## ").next().unwrap_or_default()
}
