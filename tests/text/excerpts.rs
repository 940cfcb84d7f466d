//! Checks that the excerpts of code in the guide agree with the code.
//!
//! An excerpt stands between `<!-- code: FILE: ANCHOR -->` and `<!-- end -->`. It is the item whose
//! first line contains the anchor, without the comments above the item. With `UPDATE_GUIDE=1` in
//! the environment, this test rewrites the excerpts that differ.
//!
//! In the same way, the lines that differ between two files stand between `<!-- diff: OLD NEW -->`
//! and `<!-- end -->`, without module docs and imports.

use std::fs;
use std::process::Command;

use crate::guide::{READMES, read, root};

const BEGIN: &str = "<!-- code: ";
const BEGIN_DIFF: &str = "<!-- diff: ";
const END: &str = "<!-- end -->\n";

/// Returns the item in the file, as a block of Markdown.
fn excerpt(file: &str, anchor: &str) -> String {
    let text = read(file);
    let is_anchor = |line: &&str| {
        line.split_once(anchor).is_some_and(|(before, after)| {
            before.trim().is_empty()
                && !after.starts_with(|c: char| c.is_alphanumeric() || c == '_')
        })
    };
    let first = text.lines().find(is_anchor);
    let first = first.unwrap_or_else(|| panic!("{file} has no line that begins with `{anchor}`"));
    let indentation = first.len() - first.trim_start().len();
    let last = format!("{}}}", " ".repeat(indentation));
    let mut item = String::new();
    for line in text.lines().skip_while(|line| *line != first) {
        item += line.get(indentation..).unwrap_or_default().trim_end();
        item.push('\n');
        if line == last {
            return format!("```rust\n{item}```\n");
        }
    }
    panic!("`{anchor}` in {file} has no end")
}

/// Returns the lines that differ between two files, as a block of Markdown.
///
/// The program `diff` compares the files. Instead of line numbers, the head of each hunk shows the
/// item that it is in.
fn difference(old: &str, new: &str) -> String {
    let texts = [old, new].map(|file| without_imports(&read(file)));
    let folder = tests::folder();
    let files = ["old", "new"].map(|name| folder.path().join(name));
    for (file, text) in files.iter().zip(&texts) {
        fs::write(file, text).expect("a file in a temporary folder can be written");
    }
    let output =
        Command::new("diff").arg("-U2").args(&files).output().expect("`diff` is installed");
    assert_eq!(output.status.code(), Some(1), "{old} and {new} do not differ");
    let lines = String::from_utf8(output.stdout).expect("the sources are UTF-8");
    let mut block = String::new();
    // The first two lines name the files.
    for line in lines.lines().skip(2) {
        match line.strip_prefix("@@ -").and_then(|range| range.split([',', ' ']).next()) {
            Some(number) => block += &head(&texts[0], number.parse().expect("a line number")),
            None => block += &format!("{}\n", line.trim_end()),
        }
    }
    format!("```diff\n{block}```\n")
}

/// Returns the first line of a hunk. It names the item of the old text that contains the change,
/// which comes after two more lines. There is no item before the first change of a text.
fn head(text: &str, number: usize) -> String {
    let is_item = |line: &&str| {
        let line = line.trim_start().trim_start_matches("pub(crate) ");
        ["fn ", "impl ", "struct ", "thread_local! "].iter().any(|begin| line.starts_with(begin))
    };
    let lines = if number > 1 { number + 1 } else { 0 };
    let before: Vec<&str> = text.lines().take(lines).collect();
    let Some(item) = before.into_iter().rfind(is_item) else { return String::new() };
    let item = item.trim().trim_start_matches("pub(crate) ").trim_end_matches([' ', '{']);
    // A function is named without its arguments.
    let name = if item.starts_with("fn ") { item.split(['(', '<']).next() } else { Some(item) };
    format!("@@ {}\n", name.unwrap_or_default())
}

fn without_imports(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with("//!") && !line.starts_with("use "));
    let text: String = lines.flat_map(|line| [line, "\n"]).collect();
    let paragraphs = text.split("\n\n").map(|paragraph| paragraph.trim_start_matches('\n'));
    let paragraphs: Vec<&str> = paragraphs.filter(|paragraph| !paragraph.is_empty()).collect();
    paragraphs.join("\n\n")
}

/// Returns the page with all excerpts and differences as they are in the code.
fn renewed(page: &str) -> String {
    let page = renewed_blocks(page, BEGIN, |source| {
        let (file, anchor) = source.split_once(": ").expect("a marker names a file and an anchor");
        excerpt(file, anchor)
    });
    renewed_blocks(&page, BEGIN_DIFF, |source| {
        let (old, new) = source.split_once(' ').expect("a marker names two files");
        difference(old, new)
    })
}

/// Replaces each block whose marker begins with `begin` by what `block` returns for its source.
fn renewed_blocks(page: &str, begin: &str, block: impl Fn(&str) -> String) -> String {
    let mut parts = page.split(begin);
    let mut renewed = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (source, rest) = part.split_once(" -->\n").expect("a marker ends with ` -->`");
        let (_, rest) = rest.split_once(END).expect("a block ends with a marker");
        renewed += &format!("{begin}{source} -->\n{}{END}{rest}", block(source));
    }
    renewed
}

#[test]
fn excerpts_agree_with_the_code() {
    for readme in READMES {
        let page = read(readme);
        let renewed = renewed(&page);
        if page != renewed {
            if std::env::var_os("UPDATE_GUIDE").is_some() {
                fs::write(root().join(readme), renewed).expect("the page can be written");
                continue;
            }
            let differs = page.lines().zip(renewed.lines()).find(|(old, new)| old != new);
            panic!(
                "{readme}: an excerpt differs from the code; UPDATE_GUIDE=1 rewrites it: {differs:?}"
            );
        }
    }
}

#[test]
fn excerpt_is_the_whole_item_without_its_comments() {
    let excerpt = excerpt("executor/src/unwind.rs", "pub(crate) fn message");
    assert!(excerpt.starts_with("```rust\npub(crate) fn message("), "{excerpt}");
    assert!(excerpt.ends_with("\n}\n```\n"), "{excerpt}");
}

#[test]
fn difference_names_the_item_and_leaves_out_imports() {
    let old = "echo/learn/stages/1/executor.rs";
    let difference = difference(old, "echo/learn/stages/2/executor.rs");
    assert!(difference.contains("\n@@ fn sleep\n"), "{difference}");
    assert!(difference.contains("\n+        thread::park();\n"), "{difference}");
    assert!(!difference.contains("use std::"), "{difference}");
}
