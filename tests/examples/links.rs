//! Checks the links on the front page of each crate's documentation, after `cargo doc`: a link
//! within this project must lead to a file. rustdoc itself checks only links to items.

use std::fs;
use std::path::{Path, PathBuf};
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

fn has_target(folder: &Path, link: &str) -> bool {
    let path: PathBuf = folder.join(link.split(['#', '?']).next().unwrap_or_default());
    link.starts_with("https://") || path.exists()
}
