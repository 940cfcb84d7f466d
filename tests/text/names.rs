//! Checks that links have targets, that names in READMEs and comments exist, and that the table of
//! log records matches the code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use crate::guide::{Block, READMES, blocks, files, prose, read, root, rust_files, section, spans};
use crate::items::{Items, Record};

/// Sections about other projects, which contain names from those projects.
const SECTIONS_ABOUT_OTHERS: [&str; 2] = ["### In the real world", "## How it compares"];
/// A page about another project. It links to the files that it names.
const PAGE_ABOUT_OTHERS: &str = "echo/learn/tokio.md";

static ITEMS: LazyLock<Items> = LazyLock::new(Items::new);
static FILES: LazyLock<Vec<PathBuf>> = LazyLock::new(files);

/// Returns the folder of a README.
fn folder(readme: &str) -> &Path {
    Path::new(readme).parent().expect("a file is in a folder")
}

/// Checks that there are no errors, and lists all of them otherwise.
#[track_caller]
fn assert_nothing_wrong(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// Returns the code spans of the sections about this project.
fn spans_of_ours(readme: &'static str) -> Vec<(usize, String)> {
    let mut heading = "";
    let prose = prose(readme);
    let about_others = prose.lines().map(|line| {
        if line.starts_with('#') {
            heading = line;
        }
        SECTIONS_ABOUT_OTHERS.contains(&heading)
    });
    let about_others: Vec<bool> = about_others.collect();
    spans(readme).into_iter().filter(|(line, _)| !about_others[line - 1]).collect()
}

/// Whether a code span names a source file, or a path that begins with an item of this workspace.
fn is_ours(span: &str) -> bool {
    let first = span.split_once("::").map(|(first, _)| first);
    let is_item = first.is_some_and(|first| ITEMS.members.iter().any(|(of, _)| of == first));
    is_item || span.ends_with(".rs") && !span.contains(' ')
}

/// Whether each name in the span exists. `from` is the file that mentions it.
fn exists(from: &str, span: &str) -> bool {
    if span.ends_with(".rs") {
        return is_file(from, span);
    }
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let paths = span.split(|c| !is_name(c)).filter(|name| name.contains("::"));
    paths.map(|path| path.trim_matches(':').split("::").collect::<Vec<_>>()).all(|path| {
        let is_third_party = !ITEMS.members.iter().any(|(of, _)| of == path[0]);
        is_third_party || ITEMS.has(&path)
    })
}

/// Whether a file or folder exists. `path` starts at the root, at the README's folder or at its
/// `src`, or is only a name.
fn is_file(readme: &str, path: &str) -> bool {
    let is_name = !path.trim_end_matches('/').contains('/');
    let folders = [Path::new(""), folder(readme), &folder(readme).join("src")];
    let paths = folders.map(|folder| folder.join(path));
    FILES.iter().any(|file| {
        let has_name = || file.ancestors().any(|part| part.ends_with(path));
        paths.iter().any(|path| file.starts_with(path)) || is_name && has_name()
    })
}

#[test]
fn files_and_paths_named_in_readmes_exist() {
    let mut wrong = Vec::new();
    for readme in READMES.into_iter().filter(|readme| *readme != PAGE_ABOUT_OTHERS) {
        let spans = spans_of_ours(readme).into_iter().filter(|(_, span)| is_ours(span));
        let missing = spans.filter(|(_, span)| !exists(readme, span));
        wrong.extend(
            missing.map(|(line, span)| format!("{readme}:{line}: `{span}` does not exist")),
        );
    }
    assert_nothing_wrong(wrong);
}

/// Tables with a column of names of this project: the page, and the title of the column.
const COLUMNS: [(&str, &str); 3] = [
    ("echo/learn/glossary.md", "here"),
    ("echo/learn/exercises/README.md", "the same in the core"),
    ("echo/learn/tokio.md", "here"),
];

// A name without a path, such as `Header`, could be anything in other text. In these columns it is
// an item of ours, or one of a few names of std and of a crate.
#[test]
fn single_names_in_columns_about_this_project_exist() {
    let mut names: BTreeSet<&str> = ITEMS.members.iter().map(|(_, name)| &**name).collect();
    names.extend(["BTreeMap", "Context", "Poll", "Reentrancy", "reactor_uring"]);
    let is_identifier = |span: &&str| span.chars().all(|c| c.is_alphanumeric() || c == '_');
    let mut wrong = Vec::new();
    for (readme, title) in COLUMNS {
        let (page, mut column) = (read(readme), None);
        for row in page.lines() {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            column = cells.iter().position(|cell| *cell == title).or(column);
            let Some(cell) = column.and_then(|at| cells.get(at)) else { continue };
            let spans: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
            // "`Timers` in `reactor/src/timer.rs`": the file must contain the name.
            let files = spans.iter().filter(|span| span.ends_with(".rs"));
            let texts: Vec<String> = files.map(read).collect();
            let is_missing = |span: &&str| {
                !names.contains(span)
                    || !texts.is_empty() && !texts.iter().any(|text| text.contains(*span))
            };
            let missing = spans.iter().copied().filter(is_identifier).filter(is_missing);
            wrong.extend(missing.map(|span| format!("{readme}: `{span}` does not exist")));
        }
    }
    assert_nothing_wrong(wrong);
}

#[test]
fn files_and_paths_named_in_comments_exist() {
    let mut wrong = Vec::new();
    for file in rust_files() {
        let (text, file) = (read(&file), file.display().to_string());
        for line in text.lines().filter(|line| line.trim_start().starts_with("//")) {
            let spans = line.split('`').skip(1).step_by(2).filter(|span| is_ours(span));
            let missing = spans.filter(|span| !exists(&file, span));
            wrong.extend(missing.map(|span| format!("{file}: `{span}` does not exist")));
        }
    }
    assert_nothing_wrong(wrong);
}

// Compares the keys of one character: in backticks in the chapter, between spaces in the source.
#[test]
fn keys_of_the_page_are_those_in_the_manual() {
    let (readme, page) = (read("echo/OPERATING.md"), read("echo/recorder/src/page/keys.js"));
    let rows = readme.split("| key | |\n").nth(1).and_then(|rest| rest.split("\n\n").next());
    let cells = rows.expect("the table").lines().filter_map(|row| row.split(" | ").next());
    let documented = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let list = page.split("const KEYS = [").nth(1).and_then(|rest| rest.split("\n];").next());
    let rows = list.expect("the list").lines().filter_map(|line| line.strip_prefix("  [\""));
    let keys = rows.filter_map(|row| row.split('"').next()).flat_map(|keys| keys.split(' '));
    let keys = keys.filter(|key| key.chars().count() == 1 && !["+", "–"].contains(key));
    assert_eq!(documented.collect::<BTreeSet<_>>(), keys.collect());
}

#[test]
fn every_markdown_file_is_checked() {
    let files = FILES.iter().map(|file| file.to_str().expect("a name in UTF-8"));
    let readmes: BTreeSet<&str> = files.filter(|file| file.ends_with(".md")).collect();
    assert_eq!(readmes, BTreeSet::from(READMES));
}

#[test]
fn missing_names_are_reported() {
    for right in
        ["Reactor::turn", "Reactor::turn(Some(Duration::ZERO))", "reactor::net", "source.rs"]
    {
        assert!(is_ours(right) && exists("README.md", right), "{right}");
    }
    for wrong in ["Reactor::tern", "reactor::nut", "sauce.rs", "src/serve.rs"] {
        assert!(is_ours(wrong) && !exists("README.md", wrong), "{wrong}");
    }
    assert!(exists("echo/README.md", "src/serve.rs"));
    assert!(!is_ours("Duration::ZERO"));
}

#[test]
fn every_test_named_in_the_pages_exists() {
    let is_word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let mut named = spans("tests/README.md");
    named.extend(spans("echo/learn/questions.md"));
    named.retain(|(_, span)| span.matches('_').count() >= 3 && is_word(span));
    assert!(named.len() > 20, "{}", named.len());
    named.retain(|(_, name)| !ITEMS.tests.contains(name));
    assert_nothing_wrong(named.iter().map(|(line, name)| format!("{line}: {name}")).collect());
}

/// Returns the links whose text is one name in snake case and whose target is a Rust file.
fn linked_functions(readme: &'static str) -> Vec<(String, String)> {
    let prose = prose(readme);
    let links = prose.split("[`").skip(1).filter_map(|rest| {
        let (name, rest) = rest.split_once("`](")?;
        Some((name.to_owned(), rest.split_once(')')?.0.to_owned()))
    });
    let is_function =
        |name: &str| name.contains('_') && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    links.filter(|(name, file)| is_function(name) && file.ends_with(".rs")).collect()
}

#[test]
fn every_linked_function_is_in_its_file() {
    let mut wrong = Vec::new();
    for readme in READMES {
        for (name, file) in linked_functions(readme) {
            let text =
                fs::read_to_string(root().join(folder(readme)).join(&file)).unwrap_or_default();
            if !text.contains(&format!("fn {name}(")) && !text.contains(&format!("fn {name}<")) {
                wrong.push(format!("{readme}: no function {name} in {file}"));
            }
        }
    }
    assert_nothing_wrong(wrong);
}

/// Returns the targets of links and pictures.
fn links(readme: &'static str) -> Vec<String> {
    let prose = prose(readme);
    let definitions = prose.lines().filter(|line| line.starts_with('['));
    let targets = definitions.filter_map(|line| Some(line.split_once("]: ")?.1.to_owned()));
    let mut links: Vec<String> = targets.collect();
    for (begin, end) in [("](", ')'), ("src=\"", '"'), ("srcset=\"", '"')] {
        let rest = prose.split(begin).skip(1);
        links.extend(rest.filter_map(|rest| Some(rest.split_once(end)?.0.to_owned())));
    }
    links
}

/// Returns the labels of links with separate targets: `[a]` and `[text][a]`, but not `[a](target)`.
fn labels(text: &str) -> Vec<&str> {
    let (mut labels, mut begins, mut is_code) = (Vec::new(), None, false);
    for (at, character) in text.char_indices() {
        match character {
            '`' => is_code = !is_code,
            '[' if !is_code => begins = Some(at + 1),
            ']' if !is_code => {
                let has_target = text[at + 1..].starts_with(['(', '[', ':']);
                labels
                    .extend(begins.take().filter(|_| !has_target).map(|begins| &text[begins..at]));
            }
            _ => {}
        }
    }
    labels
}

#[test]
fn every_link_label_is_defined_or_an_item() {
    assert_eq!(labels("[a], [b][c], [d](e), `[f]` and [`g`]\n[h]: i"), ["a", "c", "`g`"]);
    let mut wrong = Vec::new();
    for readme in READMES {
        let prose = prose(readme);
        let is_defined = |label: &str| {
            let label = label.replace('\n', " ");
            let name = label.trim_matches(['`', '(', ')']);
            prose.contains(&format!("\n[{label}]: ")) || is_item(readme, name)
        };
        let undefined = labels(&prose).into_iter().filter(|label| !is_defined(label));
        wrong.extend(undefined.map(|label| format!("{readme}: [{label}] has no target")));
    }
    assert_nothing_wrong(wrong);
}

/// Returns the anchors of the headings, as GitHub creates them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut times = BTreeMap::new();
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchors = headings.map(|heading| {
        let name = anchor(heading.trim_start_matches('#').trim());
        let before = times.entry(name.clone()).and_modify(|times| *times += 1).or_insert(0);
        if *before == 0 { name } else { format!("{name}-{before}") }
    });
    anchors.collect()
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// Whether a link names an item. rustdoc checks such links itself.
fn is_item(readme: &str, link: &str) -> bool {
    let is_documentation = root().join(folder(readme)).join("src/lib.rs").exists();
    is_documentation && ITEMS.has(&link.split("::").collect::<Vec<_>>())
}

fn has_target(readme: &'static str, link: &str) -> bool {
    let (path, heading) = link.split_once('#').unwrap_or((link, ""));
    let file =
        if path.is_empty() { root().join(readme) } else { root().join(folder(readme)).join(path) };
    let has_heading = || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        anchors(&text).contains(heading)
    };
    link.starts_with("https://") || file.exists() && (heading.is_empty() || has_heading())
}

#[test]
fn every_link_has_a_file_and_a_heading() {
    let mut wrong = Vec::new();
    for readme in READMES {
        let mut links = links(readme);
        links.retain(|link| !has_target(readme, link) && !is_item(readme, link));
        wrong.extend(links.iter().map(|link| format!("{readme}: ({link}) has no target")));
    }
    assert_nothing_wrong(wrong);
}

#[test]
fn link_without_a_target_is_reported() {
    assert_eq!(anchor("Why is *`turn`* stuck?"), "why-is-turn-stuck");
    assert!(anchors("# One\n## A b\n## A b").contains("a-b-1"));
    for right in ["echo/README.md", "executor/README.md#records", "#try-it", "echo/src"] {
        assert!(has_target("README.md", right), "{right}");
    }
    for wrong in ["eco/README.md", "executor/README.md#record", "#try", "echo/src/a"] {
        assert!(!has_target("README.md", wrong), "{wrong}");
    }
}

/// The level and message of each record, with its modules and its keys.
type Records = BTreeMap<(String, String), (BTreeSet<String>, BTreeSet<String>)>;

/// Returns the records in the table of the executor's chapter.
fn listed_records() -> Records {
    let readme = read("executor/README.md");
    let rows = section(&readme, "Records").lines().filter(|line| line.starts_with("| "));
    let mut modules = BTreeSet::new();
    let rows = rows.filter_map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, of, messages, level, keys, ..] = cells[..] else { return None };
        // An empty cell repeats the cell of the row above.
        if !of.is_empty() {
            modules = of.split(", ").map(|module| module.trim_matches('`').to_owned()).collect();
        }
        let modules = modules.clone();
        // A message with a colon is a sentence, and its commas separate nothing.
        let messages =
            if messages.contains(": ") { vec![messages] } else { messages.split(", ").collect() };
        let keys: BTreeSet<_> =
            keys.split(", ").filter(|key| !key.is_empty()).map(str::to_owned).collect();
        let listed = (modules, keys);
        let record = move |message: &str| ((level.to_owned(), message.to_owned()), listed.clone());
        Some(messages.into_iter().map(record))
    });
    rows.flatten().filter(|((level, _), _)| !["level", "---"].contains(&level.as_str())).collect()
}

/// Returns the records in the sources. If two calls have the same message, merges their keys: the
/// record of a spawn has no `key` for the future of `block_on`.
fn emitted_records() -> Records {
    let mut emitted = Records::new();
    for Record { target, level, message, keys } in &ITEMS.records {
        // Skip records for people, which have no keys or have values in their message.
        if !keys.is_empty() && !message.contains('{') {
            let record = emitted.entry((level.clone(), message.clone())).or_default();
            record.0.insert(target.clone());
            record.1.extend(keys.iter().cloned());
        }
    }
    emitted
}

#[test]
fn table_of_records_agrees_with_the_core() {
    let emitted = emitted_records();
    let listed = listed_records();
    let without: Vec<_> = listed.keys().filter(|record| !emitted.contains_key(record)).collect();
    let notified = ("trace".to_owned(), "notified".to_owned());
    assert_eq!(without, [&notified], "listed, but not emitted with keys");
    let missing: Vec<_> = emitted.keys().filter(|record| !listed.contains_key(record)).collect();
    assert_eq!(missing, [&("debug".to_owned(), "panic".to_owned())], "listed with another level");
    for (record, listed) in listed.iter().filter(|(record, _)| **record != notified) {
        let emitted = emitted.get(record);
        assert_eq!(Some(listed), emitted, "modules and keys of {record:?}, listed and emitted");
    }
}

#[test]
fn each_question_has_a_command_its_output_and_a_test() {
    let page = read("echo/learn/questions.md");
    let (index, _) = page.split_once("\n## Answers\n").expect("the answers follow the index");
    let questions: Vec<_> = section(&page, "Answers").split("\n### ").skip(1).collect();
    assert_eq!(questions.len(), 24);
    for (at, question) in questions.into_iter().enumerate() {
        let number = at + 1;
        assert!(question.starts_with(&format!("{number}. ")), "{question}");
        let heading = question.lines().next().unwrap_or_default();
        let is_listed = index.contains(&format!("(#{})\n", anchor(heading)));
        assert!(is_listed, "not in the index: {heading}");
        let command = format!("```text\n$ cargo run -q --example question -- {number}\n");
        let output = question.split(&command).nth(1).and_then(|rest| rest.lines().next());
        assert!(output.is_some_and(|line| line != "```"), "question {number} shows no output");
        let (_, tests) = question.split_once("Tests: `").expect("the answer names its tests");
        let named = tests.split('`').next().unwrap_or_default();
        assert!(ITEMS.tests.contains(named), "question {number}: no test {named}");
    }
}

#[test]
fn rust_in_pages_is_compiled() {
    let sources: Vec<String> = rust_files().map(read).collect();
    for readme in READMES {
        // A block without a language is Rust that rustdoc compiles and runs. A block with the
        // language `rust` or `diff` is compared with the code by `excerpts.rs`.
        let is_rust = |block: &Block| ["", "no_run"].contains(&&*block.language);
        let is_known = |block: &Block| ["text", "toml", "rust", "diff"].contains(&&*block.language);
        let blocks = blocks(readme);
        let other = blocks.iter().find(|block| !is_rust(block) && !is_known(block));
        assert!(other.is_none(), "{readme}: a block in an unknown language: {other:?}");
        let page = read(readme);
        assert_eq!(page.matches("\n```rust\n").count(), page.matches(" -->\n```rust\n").count());
        if blocks.iter().any(is_rust) {
            // rustdoc compiles the page as the documentation of its crate, or of a module.
            let library = folder(readme).join("src/lib.rs");
            let is_included = match root().join(&library).exists() {
                true => read(&library).contains("#![doc = include_str!(\"../README.md\")]"),
                false => sources.iter().any(|text| text.contains(&format!("/{readme}\")]"))),
            };
            assert!(is_included, "{readme} contains Rust that is not compiled");
        }
    }
}
