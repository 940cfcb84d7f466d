//! Checks that the excerpts of code in the guide agree with the code.
//!
//! An excerpt stands between `<!-- code: FILE: ANCHOR -->` and `<!-- end -->`. It is the item whose
//! first line contains the anchor, without the comments above the item. With `UPDATE_GUIDE=1` in
//! the environment, this test rewrites the excerpts that differ.

use std::fs;

use crate::guide::{READMES, read, root};

const BEGIN: &str = "<!-- code: ";
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

/// Returns the page with all excerpts as they are in the code.
fn renewed(page: &str) -> String {
    let mut parts = page.split(BEGIN);
    let mut renewed = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (source, rest) = part.split_once(" -->\n").expect("a marker ends with ` -->`");
        let (file, anchor) = source.split_once(": ").expect("a marker names a file and an anchor");
        let (_, rest) = rest.split_once(END).expect("an excerpt ends with a marker");
        renewed += &format!("{BEGIN}{source} -->\n{}{END}{rest}", excerpt(file, anchor));
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
