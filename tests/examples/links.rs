//! Checks the links on the front page of each crate's documentation, after `cargo doc`: a link must
//! stay inside the documentation and lead to a page. rustdoc itself checks only links to items.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the workspace");
    let pages = ["reactor", "reactor_uring", "executor", "echod", "recorder", "tests"];
    let pages = pages.map(|name| root.join("target/doc").join(name).join("index.html"));
    let dead: Vec<String> = pages.iter().flat_map(|page| dead_links(page)).collect();
    dead.iter().for_each(|link| println!("{link}"));
    println!("{} dead links on {} pages", dead.len(), pages.len());
    if dead.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Returns the dead links of a page, or a message if the page does not exist.
fn dead_links(page: &Path) -> Vec<String> {
    let Ok(text) = fs::read_to_string(page) else {
        return vec![format!("{}: no such page; run `cargo doc` first", page.display())];
    };
    let folder = page.parent().expect("a page is in a folder");
    let is_dead = |link: &&str| !has_target(folder, link);
    let main = text.split("<main").nth(1).unwrap_or_default();
    let links = main.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    links.filter(is_dead).map(|link| format!("{}: {link}", page.display())).collect()
}

/// Returns whether the link leads to a file of the documentation and, if it names a place there, to
/// an element with that name. A link out of the documentation is dead when the documentation is
/// built or read elsewhere.
fn has_target(folder: &Path, link: &str) -> bool {
    if link.starts_with("https://") {
        return true;
    }
    let (path, place) = link.split_once('#').unwrap_or((link, ""));
    let path = folder.join(if path.is_empty() { "index.html" } else { path });
    let doc = folder.parent().and_then(|doc| doc.canonicalize().ok());
    let (Some(doc), Ok(path)) = (doc, path.canonicalize()) else { return false };
    // A page of source code numbers its lines by a script.
    let is_source = path.starts_with(doc.join("src"));
    let has_place =
        || fs::read_to_string(&path).is_ok_and(|page| page.contains(&format!("id=\"{place}\"")));
    path.starts_with(doc) && (place.is_empty() || is_source || has_place())
}
