//! The site of the guide in a real browser: two of its pages, and a scene in place.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::json;
use tests::child::example;
use tests::{DEADLINE, TempDir, folder};

use crate::browser::{Browser, Page};

fn site() -> TempDir {
    let site = folder();
    let mut command = Command::new(example("echo", "site"));
    let status = command.arg(site.path()).stdout(Stdio::null()).status();
    assert!(status.unwrap().success());
    site
}

/// Checks that the page on this site reports nothing and requests only files of the site.
#[track_caller]
fn assert_quiet(page: &Page<'_>, site: &Path) {
    assert_eq!(page.complaints(), [""; 0]);
    let folder = format!("file://{}/", site.canonicalize().unwrap().display());
    let outside: Vec<String> =
        page.requests().into_iter().filter(|url| !url.starts_with(&folder)).collect();
    assert_eq!(outside, [""; 0]);
}

#[track_caller]
fn wait_for(page: &Page<'_>, condition: &str) {
    let began = Instant::now();
    while page.evaluate(condition) != json!(true) {
        assert!(began.elapsed() < DEADLINE, "not within the deadline: {condition}");
    }
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn site_opens_a_scene_in_place_without_messages() {
    let Some(browser) = Browser::start() else { return };
    let site = site();
    let page = browser.page();
    for (width, height) in [(1440, 900), (390, 844)] {
        for dark in [false, true] {
            page.size(width, height);
            page.colours(dark);
            for path in ["index.html", "echo/learn/questions.html", "scenes/index.html"] {
                page.open(&site.path().join(path));
                let is_wide = "document.documentElement.scrollWidth > innerWidth";
                assert_eq!(page.evaluate(is_wide), json!(false), "{path} at {width}");
                assert_quiet(&page, site.path());
            }
        }
    }
    page.size(1440, 900);
    page.open(&site.path().join("index.html"));
    let scene = |urls: Vec<String>| urls.iter().any(|url| url.ends_with("scenes/question-4.html"));
    assert!(!scene(page.requests()), "a closed scene is not loaded");
    page.evaluate("document.querySelector('.scene summary').click(); 0");
    page.evaluate("document.querySelector('iframe').scrollIntoView(); 0");
    let began = Instant::now();
    while !scene(page.requests()) {
        assert!(began.elapsed() < DEADLINE, "the scene is not loaded: {:?}", page.requests());
    }
    assert_quiet(&page, site.path());
    page.open(&site.path().join("scenes/question-4.html"));
    page.press("ArrowRight");
    assert_eq!(page.evaluate("document.body.dataset.step"), json!("1"));
    assert_quiet(&page, site.path());
}

#[test]
#[ignore = "drives a browser: `.ci/run` runs it"]
fn search_of_the_site_finds_a_section_from_every_folder() {
    let Some(browser) = Browser::start() else { return };
    let site = site();
    for path in ["index.html", "echo/learn/stages/index.html"] {
        let page = browser.open(&site.path().join(path));
        page.press("/");
        wait_for(&page, "typeof SECTIONS !== 'undefined'");
        page.evaluate("query.value = 'release acquire'; search(); 0");
        wait_for(&page, "found.querySelectorAll('a').length > 0");
        let link = page.evaluate("found.querySelector('a').href");
        let link = link.as_str().unwrap().trim_start_matches("file://").to_owned();
        let file = link.split('#').next().unwrap();
        assert!(Path::new(file).exists(), "{link}");
        page.press("Escape");
        assert_eq!(page.evaluate("found.hidden"), json!(true));
        assert_quiet(&page, site.path());
    }
}
