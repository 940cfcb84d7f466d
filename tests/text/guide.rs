//! The pages of the guide, parsed for the tests that check them.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

pub(crate) use tests::guide::{READMES, root};

/// Returns the text of a file, given its path from the root.
///
/// # Panics
///
/// Panics if the file does not exist.
pub(crate) fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the paths from the root of all files of the workspace, except build output.
pub(crate) fn files() -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![root().to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of the workspace") {
            let path = entry.expect("an entry of the folder").path();
            let inside =
                path.strip_prefix(root()).expect("the path is in the workspace").to_owned();
            match path.is_dir() {
                true if path.ends_with("target") || path.ends_with(".git") => {}
                true => folders.push(path),
                false => files.push(inside),
            }
        }
    }
    files
}

/// Returns the paths of all Rust sources of the workspace.
pub(crate) fn rust_files() -> impl Iterator<Item = PathBuf> {
    files().into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs"))
}

/// A fenced block of a README.
#[derive(Debug)]
pub(crate) struct Block {
    /// The path of the README, from the root.
    pub(crate) readme: &'static str,
    /// The range of its lines in the README, without the fences, counted from 0.
    pub(crate) at: Range<usize>,
    /// The language after the opening fence, e.g. `text`.
    pub(crate) language: String,
    /// The text of its lines.
    pub(crate) lines: Vec<String>,
}

/// Returns the fenced blocks of a README.
///
/// # Panics
///
/// Panics if a block is not closed.
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

/// Returns a README whose fenced blocks, including the fences, are replaced by empty lines.
pub(crate) fn prose(readme: &'static str) -> String {
    let text = read(readme);
    let blocks = blocks(readme);
    let is_prose =
        |at: usize| !blocks.iter().any(|block| (block.at.start - 1..=block.at.end).contains(&at));
    let lines = text.lines().enumerate().map(|(at, line)| if is_prose(at) { line } else { "" });
    lines.map(|line| format!("{line}\n")).collect()
}

/// Returns the code spans of the prose (text in backticks), each with its line number.
///
/// # Panics
///
/// Panics if a paragraph has an unpaired backtick.
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

/// Returns the part of a README below a heading of the second level.
pub(crate) fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let begin = format!("## {heading}\n");
    let part = text.split(&begin).nth(1).unwrap_or_else(|| panic!("no section {heading:?}"));
    part.split("\n## ").next().unwrap_or_default()
}
