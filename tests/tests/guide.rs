//! What the READMEs name exists: files, headings, functions, flags, records, tests; and they are
//! short enough to be read.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use tests::guide::{Block, READMES, blocks, files, prose, read, root, rust_files, section, spans};
use tests::items::{Items, Record};

/// What the READMEs name and is not ours. Whatever none of them names any more must go.
const FOREIGN: [(&str, &[&str]); 4] = [
    (
        "std's",
        &[
            "AsFd",
            "Context",
            "cx",
            "Duration::ZERO",
            "Future::poll",
            "Pending",
            "PermissionDenied",
            "read_exact",
            "Send",
            "Some",
            "std::task::Waker",
            "unsafe",
            "Unsupported",
            "Vec<u8>",
            "WouldBlock",
        ],
    ),
    (
        "the system's",
        &[
            "/dev/shm",
            "COOP_TASKRUN",
            "DEFER_TASKRUN",
            "EAGAIN",
            "EOPNOTSUPP",
            "EPERM",
            "RESOLVE_CACHED",
            "RWF_NOWAIT",
            "SIGSEGV",
            "epoll",
            "epoll_ctl",
            "epoll_wait",
            "kv",
            "log",
            "read",
            "write",
        ],
    ),
    ("its commands", &["nc -N", "printf … | nc -N"]),
    ("the page's, and examples", &["[::1]:0", "unix:/path", "#s=27", "file:line:column"]),
];

/// These sections are about other projects, and name what is in those.
const OF_OTHERS: [&str; 2] = ["### In the real world", "## How it compares"];

static ITEMS: LazyLock<Items> = LazyLock::new(Items::new);
static FILES: LazyLock<Vec<PathBuf>> = LazyLock::new(files);

/// The folder of a README.
fn folder(readme: &str) -> &Path {
    Path::new(readme).parent().expect("a file is in a folder")
}

/// What is wrong in any of the READMEs, all at once.
#[track_caller]
fn assert_nothing_wrong(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// What stands as code in the sections that are about this project.
fn spans_of_ours(readme: &'static str) -> Vec<(usize, String)> {
    let mut heading = "";
    let prose = prose(readme);
    let of_others = prose.lines().map(|line| {
        if line.starts_with('#') {
            heading = line;
        }
        OF_OTHERS.contains(&heading)
    });
    let of_others: Vec<bool> = of_others.collect();
    spans(readme).into_iter().filter(|(line, _)| !of_others[line - 1]).collect()
}

/// Looks up what the READMEs name, and remembers what was not ours.
#[derive(Default)]
struct Names {
    foreign: RefCell<BTreeSet<String>>,
}

impl Names {
    fn exists(&self, readme: &str, span: &str) -> bool {
        // One character is a key on the keyboard. Commands are tested in `tests/echod/guide.rs`.
        let is_command = span.split(' ').any(|word| ["cargo", "--"].contains(&word));
        if is_command || span.chars().count() == 1 || self.is_foreign(span) {
            return true;
        }
        let flags = span.split([' ', '=']).filter(|word| word.starts_with('-'));
        if span.contains("--") || span.starts_with('-') {
            return flags.into_iter().all(|flag| self.is_foreign(flag) || is_flag(flag));
        }
        if is_path(span) {
            return is_file(readme, span);
        }
        ITEMS.words.contains(span) || is_file(readme, span) || self.is_code(span)
    }

    fn is_foreign(&self, name: &str) -> bool {
        let is_foreign = FOREIGN.iter().any(|(_, names)| names.contains(&name));
        if is_foreign {
            self.foreign.borrow_mut().insert(name.to_owned());
        }
        is_foreign
    }

    /// Each name in it exists: `turn(Some(Duration::ZERO))` has three.
    fn is_code(&self, span: &str) -> bool {
        let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        let names = span.split(|c| !is_name(c)).map(|name| name.trim_matches(':'));
        let mut names = names.filter(|name| name.len() > 1).peekable();
        names.peek().is_some() && names.all(|name| self.is_name(name))
    }

    fn is_name(&self, name: &str) -> bool {
        let path: Vec<&str> = name.split("::").collect();
        let is_other = |name| syn::parse_str::<syn::Ident>(name).is_err();
        // Keywords and numbers are Rust's.
        path.iter().all(|name| is_other(name))
            || self.is_foreign(name)
            || ITEMS.has(&path)
            || ITEMS.words.contains(name)
    }
}

/// Whether `echod` or one of the examples knows it.
fn is_flag(flag: &str) -> bool {
    static ECHOD: LazyLock<String> = LazyLock::new(|| read("echo/src/arguments.rs"));
    let is_short =
        |letter: char| "hV".contains(letter) || ECHOD.contains(&format!("short('{letter}')"));
    let is_long = |name: &str| {
        ["long", "valued"].iter().any(|call| ECHOD.contains(&format!("{call}(\"{name}\"")))
    };
    match flag.strip_prefix("--") {
        Some("help" | "version") => true,
        Some(name) => is_long(name) || ITEMS.words.contains(flag),
        None => flag.chars().skip(1).all(is_short),
    }
}

fn is_path(span: &str) -> bool {
    const ENDINGS: [&str; 9] = ["rs", "md", "html", "js", "css", "json", "toml", "txt", "png"];
    let ending = Path::new(span).extension().and_then(|ending| ending.to_str());
    !span.contains(' ')
        && (span.contains('/') || ending.is_some_and(|ending| ENDINGS.contains(&ending)))
}

/// A file, or a folder, by its path from the root, from the README or from its sources; or by the
/// name alone.
fn is_file(readme: &str, path: &str) -> bool {
    let is_name = !path.trim_end_matches('/').contains('/');
    let folders = [Path::new(""), folder(readme), &folder(readme).join("src")];
    let there = folders.map(|folder| folder.join(path));
    FILES.iter().any(|file| {
        let of_name = || file.ancestors().any(|part| part.ends_with(path));
        there.iter().any(|there| file.starts_with(there)) || is_name && of_name()
    })
}

#[test]
fn whatever_the_prose_names_as_code_exists() {
    let (names, mut wrong) = (Names::default(), Vec::new());
    for readme in READMES {
        let missing =
            spans_of_ours(readme).into_iter().filter(|(_, span)| !names.exists(readme, span));
        wrong.extend(missing.map(|(line, span)| format!("{readme}:{line}: there is no `{span}`")));
    }
    let named = names.foreign.into_inner();
    let foreign = FOREIGN.iter().flat_map(|(_, names)| names.iter());
    let unused = foreign.filter(|name| !named.contains(**name));
    wrong.extend(unused.map(|name| format!("FOREIGN: no README names `{name}` any more")));
    assert_nothing_wrong(wrong);
}

/// What comments name of ours: files, and paths that begin with an item.
#[test]
fn the_files_and_the_paths_that_comments_name_exist() {
    let names = Names::default();
    let is_ours = |span: &str| {
        let first = span.split_once("::").map(|(first, _)| first);
        let is_item = first.is_some_and(|first| ITEMS.members.iter().any(|(of, _)| of == first));
        is_item || span.ends_with(".rs") && !span.contains(' ')
    };
    let (mut checked, mut wrong) = (0, Vec::new());
    for file in rust_files() {
        let (text, file) = (read(&file), file.display().to_string());
        for line in text.lines().filter(|line| line.trim_start().starts_with("//")) {
            let spans = line.split('`').skip(1).step_by(2).filter(|span| is_ours(span));
            for span in spans {
                checked += 1;
                if !names.exists(&file, span) {
                    wrong.push(format!("{file}: there is no `{span}`"));
                }
            }
        }
    }
    assert!(checked > 80, "{checked}");
    assert_nothing_wrong(wrong);
}

/// Those of one character, which are in backticks here and between spaces there.
#[test]
fn the_keys_of_the_page_are_those_that_the_chapter_on_echo_lists() {
    let (readme, page) = (read("echo/README.md"), read("echo/recorder/src/page/page.js"));
    let rows = readme.split("| key | |\n").nth(1).and_then(|rest| rest.split("\n\n").next());
    let cells = rows.expect("the table").lines().filter_map(|row| row.split(" | ").next());
    let told = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let list = page.split("const KEYS = [").nth(1).and_then(|rest| rest.split("\n];").next());
    let rows = list.expect("the list").lines().filter_map(|line| line.strip_prefix("  [\""));
    let keys = rows.filter_map(|row| row.split('"').next()).flat_map(|keys| keys.split(' '));
    let keys = keys.filter(|key| key.chars().count() == 1 && !["+", "–"].contains(key));
    assert_eq!(told.collect::<BTreeSet<_>>(), keys.collect());
}

#[test]
fn every_markdown_file_is_one_of_the_readmes_that_are_checked() {
    let files = FILES.iter().map(|file| file.to_str().expect("a name in UTF-8"));
    let readmes: BTreeSet<&str> = files.filter(|file| file.ends_with(".md")).collect();
    assert_eq!(readmes, BTreeSet::from(READMES));
}

#[test]
fn a_name_that_does_not_exist_is_noticed() {
    let names = Names::default();
    for right in ["Queue::push", "turn(Some(Duration::ZERO))", "fn unblock", "reactor::net", "lost"]
    {
        assert!(names.exists("README.md", right), "{right}");
    }
    for right in ["source.rs", "echo/src/serve.rs", "--trace FILE", "-vv", "would block"] {
        assert!(names.exists("README.md", right), "{right}");
    }
    for wrong in ["Queue::pull", "turn(Some(Duration::NONE))", "fn block_off", "reactor::nut"] {
        assert!(!names.exists("README.md", wrong), "{wrong}");
    }
    for wrong in ["sauce.rs", "src/serve.rs", "--trice FILE", "-vx", "would black"] {
        assert!(!names.exists("README.md", wrong), "{wrong}");
    }
}

#[test]
fn every_test_that_the_index_names_is_one() {
    let is_word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let mut named = spans("tests/README.md");
    named.retain(|(_, span)| span.matches('_').count() >= 3 && is_word(span));
    assert!(named.len() > 100, "{}", named.len());
    named.retain(|(_, name)| !ITEMS.tests.contains(name));
    assert_nothing_wrong(named.iter().map(|(line, name)| format!("{line}: {name}")).collect());
}

/// Its blocks of text with arrows, but no transcripts: what is drawn.
fn diagrams(readme: &'static str) -> Vec<Block> {
    let has = |block: &Block, sign| block.lines.iter().any(|line| line.contains(sign));
    let mut blocks = blocks(readme);
    blocks.retain(|block| has(block, ['→', '►', '▼']) && !block.lines[0].starts_with('$'));
    blocks
}

/// The words of a text, without what is no letter.
fn letters(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.filter(|word| word.contains(char::is_alphabetic)).map(str::to_lowercase).collect()
}

#[test]
fn the_words_in_diagrams_are_those_of_the_glossary_and_of_the_code() {
    // And a few of English, of Rust and of the system.
    let plain = "but else epoll false good if owns queues somebody true up";
    let index = read("tests/README.md");
    let mut glossary = letters(section(&index, "The words"));
    glossary.append(&mut letters(plain));
    let named = ITEMS.members.iter().flat_map(|(parent, name)| [parent, name]);
    let named: BTreeSet<String> = named.map(|name| name.to_lowercase()).collect();
    let (mut drawn, mut wrong) = (0, Vec::new());
    for readme in READMES {
        for diagram in diagrams(readme) {
            drawn += 1;
            let is_known = |word: &String| glossary.contains(word) || named.contains(word);
            let mut words = letters(&diagram.lines.join(" "));
            words.retain(|word| !is_known(word));
            wrong.extend(words.iter().map(|word| format!("{readme}: a diagram has {word}")));
        }
    }
    assert_eq!(drawn, 5, "diagrams");
    assert_nothing_wrong(wrong);
}

#[test]
fn the_table_of_files_with_tests_has_each_of_them() {
    let index = read("tests/README.md");
    let rows = index.split("| file | promises about |\n").nth(1);
    let rows = rows.and_then(|rest| rest.split("\n\n").next()).expect("the table");
    let cells = rows.lines().filter_map(|row| row.split(" | ").next());
    let told: BTreeSet<_> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    let of_tests = FILES.iter().filter(|file| file.parent() == Some(Path::new("tests/tests")));
    let files = of_tests.filter_map(|file| file.file_name()?.to_str()).collect();
    let untold: Vec<_> = BTreeSet::difference(&files, &told).collect();
    let elsewhere =
        |name: &&&str| FILES.iter().any(|file| file.starts_with(Path::new("tests").join(name)));
    let gone: Vec<_> = told.difference(&files).filter(|name| !elsewhere(name)).collect();
    assert!(untold.is_empty() && gone.is_empty(), "not in the table: {untold:?}; gone: {gone:?}");
}

/// Where a text has `name.rs:12`.
fn line_numbers(text: &str) -> impl Iterator<Item = &str> {
    let is_place = |word: &&str| {
        let after = word.split(".rs:").nth(1);
        after.is_some_and(|after| after.starts_with(|c: char| c.is_ascii_digit()))
    };
    text.split_whitespace().filter(is_place)
}

#[test]
fn no_readme_tells_the_number_of_a_line() {
    assert_eq!(line_numbers("see (`queue.rs:12`), `queue.rs`:").count(), 1);
    for readme in READMES {
        let prose = prose(readme);
        assert_eq!(line_numbers(&prose).next(), None, "{readme}: the next change makes it wrong");
    }
}

/// The targets of links and pictures.
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

/// The labels of links whose targets stand elsewhere: `[a]`, `[text][a]`, but not `[a](target)`.
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
fn every_label_of_a_link_is_defined_or_an_item() {
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
        wrong.extend(undefined.map(|label| format!("{readme}: [{label}] leads nowhere")));
    }
    assert_nothing_wrong(wrong);
}

/// The anchors of the headings, as GitHub makes them.
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

/// Links to items are rustdoc's business, which denies those that lead nowhere.
fn is_item(readme: &str, link: &str) -> bool {
    let is_documentation = root().join(folder(readme)).join("src/lib.rs").exists();
    is_documentation && ITEMS.has(&link.split("::").collect::<Vec<_>>())
}

fn leads_somewhere(readme: &'static str, link: &str) -> bool {
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
fn every_link_leads_to_a_file_and_a_heading() {
    let mut wrong = Vec::new();
    for readme in READMES {
        let mut links = links(readme);
        links.retain(|link| !leads_somewhere(readme, link) && !is_item(readme, link));
        wrong.extend(links.iter().map(|link| format!("{readme}: ({link}) leads nowhere")));
    }
    assert_nothing_wrong(wrong);
}

#[test]
fn a_link_that_leads_nowhere_is_noticed() {
    assert_eq!(anchor("Why is *`turn`* stuck?"), "why-is-turn-stuck");
    assert!(anchors("# One\n## A b\n## A b").contains("a-b-1"));
    for right in ["echo/README.md", "executor/README.md#records", "#contributing", "echo/src"] {
        assert!(leads_somewhere("README.md", right), "{right}");
    }
    for wrong in ["eco/README.md", "executor/README.md#record", "#contribute", "echo/src/a"] {
        assert!(!leads_somewhere("README.md", wrong), "{wrong}");
    }
}

/// Level and message of each record; its modules, and its keys.
type Records = BTreeMap<(String, String), (BTreeSet<String>, BTreeSet<String>)>;

/// Those in the table of the executor's chapter.
fn told_records() -> Records {
    let readme = read("executor/README.md");
    let rows = section(&readme, "Records").lines().filter(|line| line.starts_with("| "));
    let mut modules = BTreeSet::new();
    let rows = rows.filter_map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, of, messages, level, keys, ..] = cells[..] else { return None };
        // An empty cell means: that of the row above.
        if !of.is_empty() {
            modules = of.split(", ").map(|module| module.trim_matches('`').to_owned()).collect();
        }
        let modules = modules.clone();
        // A sentence has commas of its own.
        let messages =
            if messages.contains(": ") { vec![messages] } else { messages.split(", ").collect() };
        let keys: BTreeSet<_> =
            keys.split(", ").filter(|key| !key.is_empty()).map(str::to_owned).collect();
        let told = (modules, keys);
        let record = move |message: &str| ((level.to_owned(), message.to_owned()), told.clone());
        Some(messages.into_iter().map(record))
    });
    rows.flatten().filter(|((level, _), _)| !["level", "---"].contains(&level.as_str())).collect()
}

/// Those in the sources. Where two tell of the same, these are the keys of both: the future of
/// `block_on` is spawned without a `key`.
fn emitted_records() -> Records {
    let mut emitted = Records::new();
    for Record { target, level, message, keys } in &ITEMS.records {
        // What is for people alone has no keys, or a text of its own.
        if !keys.is_empty() && !message.contains('{') {
            let record = emitted.entry((level.clone(), message.clone())).or_default();
            record.0.insert(target.clone());
            record.1.extend(keys.iter().cloned());
        }
    }
    emitted
}

#[test]
fn the_table_of_records_has_those_that_the_core_emits_with_their_modules_and_keys() {
    let emitted = emitted_records();
    let told = told_records();
    let without: Vec<_> = told.keys().filter(|record| !emitted.contains_key(record)).collect();
    let notified = ("trace".to_owned(), "notified".to_owned());
    assert_eq!(without, [&notified], "told, and not emitted with keys");
    let untold: Vec<_> = emitted.keys().filter(|record| !told.contains_key(record)).collect();
    assert_eq!(untold, [&("debug".to_owned(), "panic".to_owned())], "told below another level");
    for (record, told) in told.iter().filter(|(record, _)| **record != notified) {
        let emitted = emitted.get(record);
        assert_eq!(Some(told), emitted, "modules and keys of {record:?}, told and true");
    }
}

/// The rows of the glossary: word, meaning, name in the code, record.
#[test]
fn each_word_of_the_glossary_is_tied_to_a_name_and_to_a_record_of_the_table() {
    let index = read("tests/README.md");
    let rows = section(&index, "The words").lines().filter(|line| line.starts_with("| *"));
    let records: BTreeSet<_> = told_records().into_keys().map(|(_, message)| message).collect();
    let is_tied = |row: &&str| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [_, _, name, record] = cells[..] else { return false };
        name.starts_with('`') && records.contains(record.trim_matches('`'))
    };
    let (tied, loose): (Vec<_>, Vec<_>) = rows.partition(is_tied);
    assert!(tied.len() >= 25 && loose.is_empty(), "{} words; not tied: {loose:#?}", tied.len());
}

#[test]
fn each_of_the_fifteen_questions_has_a_command_with_its_output_and_a_test() {
    let index = read("tests/README.md");
    let questions: Vec<_> = section(&index, "Fifteen questions").split("\n### ").skip(1).collect();
    assert_eq!(questions.len(), 15);
    for (at, question) in questions.into_iter().enumerate() {
        let number = at + 1;
        assert!(question.starts_with(&format!("{number}. ")), "{question}");
        let command = format!("```text\n$ cargo run -q --example question -- {number}\n");
        let output = question.split(&command).nth(1).and_then(|rest| rest.lines().next());
        assert!(output.is_some_and(|line| line != "```"), "{number} shows no output");
        let (_, tests) = question.split_once("Tests: `").expect("it names its tests");
        let named = tests.split('`').next().unwrap_or_default();
        assert!(ITEMS.tests.contains(named), "{number}: {named}");
    }
}

#[test]
fn whatever_rust_stands_in_a_readme_is_compiled() {
    for readme in READMES {
        // Without a word behind the fence it is Rust that runs; `ignore` and its like would not.
        let is_rust = |block: &Block| block.language.is_empty();
        let blocks = blocks(readme);
        let other = blocks.iter().find(|block| !is_rust(block) && block.language != "text");
        assert!(other.is_none(), "{readme}: neither text nor Rust that runs: {other:?}");
        if blocks.iter().any(is_rust) {
            let library = folder(readme).join("src/lib.rs");
            assert!(root().join(&library).exists(), "{readme} has Rust that nobody compiles");
            let is_included = read(&library).contains("#![doc = include_str!(\"../README.md\")]");
            assert!(is_included, "{readme} is not in {}", library.display());
        }
    }
}

/// The words of prose that are to be read, which the two tables that are looked up are not.
fn words(readme: &'static str) -> usize {
    const LOOKED_UP: [(&str, &str); 2] =
        [("tests/README.md", "Bugs that others had"), ("executor/README.md", "Records")];
    let mut prose = prose(readme);
    for (_, heading) in LOOKED_UP.iter().filter(|(of, _)| *of == readme) {
        prose = prose.replace(section(&prose, heading), "");
    }
    let is_word = |word: &&str| word.contains(char::is_alphanumeric);
    prose.split_whitespace().filter(is_word).count()
}

#[test]
fn the_guide_has_at_most_ten_thousand_words() {
    let (guide, _beside) = READMES.split_at(5);
    let counts: Vec<_> = guide.iter().map(|&readme| (readme, words(readme))).collect();
    let all: usize = counts.iter().map(|(_, words)| words).sum();
    assert!(all <= 10_000, "{all} words: {counts:#?}");
}
