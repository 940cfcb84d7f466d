//! The site: the guide as static pages, with the recorded runs that its transcripts show.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::channel;
use std::thread;

use tests::guide::READMES;
use tests::{DEADLINE, TempDir, folder};

use crate::three_echoes::example;

/// The site, which is built once for all tests.
static SITE: LazyLock<TempDir> = LazyLock::new(|| {
    let site = folder();
    let (status, stdout, stderr) = build(&[site.path().to_str().unwrap()]);
    assert!(status.success() && stderr.is_empty(), "{status}: {stdout}{stderr}");
    site
});

/// Builds the site. It records 54 programs, which takes long beside other tests.
fn build(arguments: &[&str]) -> (ExitStatus, String, String) {
    let mut command = Command::new(example("site"));
    command.args(arguments).stdin(Stdio::null());
    let (sender, receiver) = channel();
    thread::spawn(move || sender.send(command.output()));
    let built = receiver.recv_timeout(6 * DEADLINE).expect("the site is built in time").unwrap();
    let text = |bytes| String::from_utf8(bytes).expect("the output is text");
    (built.status, text(built.stdout), text(built.stderr))
}

/// Returns the paths of all pages in a folder.
fn pages(folder: &Path) -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pages.extend(self::pages(&path));
        } else if path.extension().is_some_and(|extension| extension == "html") {
            pages.push(path);
        }
    }
    pages
}

/// Whether this is a recorded run, which is a page of the recorder.
fn is_scene(page: &Path) -> bool {
    page.parent().is_some_and(|folder| folder.ends_with("scenes")) && !page.ends_with("index.html")
}

/// Returns the values of an attribute in a page.
fn values<'a>(html: &'a str, attribute: &str) -> impl Iterator<Item = &'a str> {
    html.split(attribute).skip(1).filter_map(|rest| rest.strip_prefix("=\"")?.split('"').next())
}

/// Returns a path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(normal.pop(), "{}", path.display()),
            part => normal.push(part),
        }
    }
    normal
}

#[test]
fn site_has_every_page_of_the_guide_with_title_and_navigation() {
    let site = SITE.path();
    for readme in READMES {
        let page = readme.replace("README.md", "index.md").replace(".md", ".html");
        assert!(site.join(&page).exists(), "{page}");
    }
    let mut titles = BTreeSet::new();
    for page in pages(site).iter().filter(|page| !is_scene(page)) {
        let html = fs::read_to_string(page).unwrap();
        let title = html.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next());
        let title = title.unwrap_or_else(|| panic!("{}: no title", page.display())).to_owned();
        assert!(!title.is_empty() && titles.insert(title.clone()), "{}: {title}", page.display());
        let (_, nav) = html.split_once("<nav ").unwrap_or_else(|| panic!("{}", page.display()));
        assert_eq!(values(nav, "href").count(), READMES.len() + 1, "{}", page.display());
        let relative = page.strip_prefix(site).unwrap();
        let is_listed = !relative.starts_with("source");
        assert_eq!(nav.contains("aria-current=\"page\""), is_listed, "{}", page.display());
    }
}

#[test]
fn every_internal_link_of_the_site_has_a_target() {
    let site = SITE.path();
    let mut wrong = Vec::new();
    // Each file that a link names, and its text. Most links name one of a few files.
    let mut texts: HashMap<PathBuf, String> = HashMap::new();
    for page in pages(site).iter().filter(|page| !is_scene(page)) {
        let html = fs::read_to_string(page).unwrap();
        let links =
            ["href", "src", "srcset", "data-scene"].map(|attribute| values(&html, attribute));
        for link in links.into_iter().flatten() {
            if link.starts_with("https://") || link == "data:," {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let file = match path {
                "" => page.clone(),
                path => normal(&page.parent().unwrap().join(path)),
            };
            let text = match texts.entry(file.clone()) {
                Entry::Occupied(text) => text.into_mut(),
                Entry::Vacant(text) => text.insert(fs::read_to_string(&file).unwrap_or_default()),
            };
            let has_anchor = || anchor.is_empty() || text.contains(&format!("id=\"{anchor}\""));
            if !file.starts_with(site) || !file.is_file() || !has_anchor() {
                wrong.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn site_makes_no_request_to_another_host() {
    for page in pages(SITE.path()) {
        let html = fs::read_to_string(&page).unwrap();
        // The text of a recorded run may contain anything.
        let head = html.split("id=\"data\">").next().unwrap_or_default();
        for tag in ["link", "script", "img", "iframe", "source"] {
            for element in head.split(&format!("<{tag} ")).skip(1) {
                let element = element.split('>').next().unwrap_or_default();
                let is_external = element.contains("http:") || element.contains("https:");
                assert!(!is_external, "{}: <{tag} {element}>", page.display());
            }
        }
    }
    for file in ["style.css", "site.js"] {
        let text = fs::read_to_string(SITE.path().join(file)).unwrap();
        assert!(!text.contains("http:") && !text.contains("https:"), "{file}");
    }
}

#[test]
fn transcript_opens_its_recorded_run_in_place() {
    let front = fs::read_to_string(SITE.path().join("index.html")).unwrap();
    assert!(front.contains("data-scene=\"scenes/question-4.html\""));
    assert!(front.contains("<a href=\"scenes/demo.html\"><picture>"), "the picture opens the demo");
    let questions = fs::read_to_string(SITE.path().join("echo/learn/questions.html")).unwrap();
    for number in 1..=24 {
        let scene = format!("data-scene=\"../../scenes/question-{number}.html\"");
        assert!(questions.contains(&scene), "question {number}");
    }
    let index = fs::read_to_string(SITE.path().join("scenes/index.html")).unwrap();
    let scenes = pages(&SITE.path().join("scenes")).iter().filter(|page| is_scene(page)).count();
    assert_eq!(index.matches("<section ").count(), scenes);
    assert_eq!(scenes, 1 + 24 + 14 + 15);
    // Each has a picture, and the fourteen faults have two.
    assert_eq!(index.matches("<svg ").count(), scenes + 14);
}

#[test]
fn site_without_a_folder_is_an_error() {
    for arguments in [&[][..], &["--code-url"], &["a", "b"], &["--help"]] {
        let (status, stdout, stderr) = build(arguments);
        assert_eq!((status.code(), stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}
