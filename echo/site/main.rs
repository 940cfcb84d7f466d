//! Builds the site: the guide as a folder of static pages, with the recorded runs that its
//! transcripts show. The pages work from disk and from any web server, and make no request to
//! another host.
//!
//! ```text
//! site FOLDER                     builds the site in FOLDER
//! site FOLDER --code-url URL      links source files to URL/PATH instead of listing them
//! ```

mod markdown;
mod scenes;
mod shell;

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;
use tests::guide::{READMES, root};

use markdown::{Links, Rendered};
use shell::{Shell, escape, relative};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("site.js");

fn main() -> io::Result<ExitCode> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (folder, code_url) = match arguments[..] {
        [folder] if !folder.starts_with('-') => (folder, None),
        [folder, "--code-url", url] | ["--code-url", url, folder] => (folder, Some(url)),
        _ => {
            eprintln!("site: give the folder to build, e.g. cargo run --example site -- site");
            return Ok(ExitCode::from(2));
        }
    };
    let pages = build(Path::new(folder), code_url)?;
    println!("{pages} pages; begin at {}", Path::new(folder).join("index.html").display());
    Ok(ExitCode::SUCCESS)
}

/// Returns the path in the site of a page of the guide.
fn page_of(readme: &str) -> String {
    match readme.strip_suffix("README.md") {
        Some(folder) => format!("{folder}index.html"),
        None => format!("{}.html", readme.trim_end_matches(".md")),
    }
}

/// Builds the site, and returns its number of pages.
fn build(out: &Path, code_url: Option<&str>) -> io::Result<usize> {
    let scenes = scenes::record(&out.join("scenes"))?;
    let mut links = Links::new(root(), code_url);
    let names = scenes.iter().map(|scene| scene.name.as_str()).collect();
    let mut pages = Vec::new();
    for readme in READMES {
        let text = fs::read_to_string(root().join(readme))?;
        pages.push((readme, markdown::render(readme, &text, &names, &mut links)));
    }
    let mut shell = Shell::default();
    for (readme, page) in &pages {
        shell.add(&page_of(readme), &page.title);
    }
    shell.add("scenes/index.html", "Scenes: recorded runs");
    for (readme, page) in &pages {
        let path = page_of(readme);
        write(out, &path, &shell.page(&path, &page.title, &page.html))?;
    }
    let index = scenes::index(&scenes);
    write(out, "scenes/index.html", &shell.page("scenes/index.html", "Scenes", &index))?;
    let sources = write_sources(out, &shell, links.sources)?;
    write(out, "style.css", STYLE)?;
    write(out, "site.js", SCRIPT)?;
    write(out, "search-index.js", &search_index(&pages))?;
    for image in links.images {
        let text = fs::read(root().join(&image))?;
        let to = out.join(&image);
        fs::create_dir_all(to.parent().unwrap_or(out))?;
        fs::write(to, text)?;
    }
    Ok(pages.len() + scenes.len() + 1 + sources)
}

fn write(out: &Path, path: &str, text: &str) -> io::Result<()> {
    let path = out.join(path);
    fs::create_dir_all(path.parent().unwrap_or(out))?;
    fs::write(path, text)
}

/// Returns a script that defines the sections of all pages, for the search.
fn search_index(pages: &[(&str, Rendered)]) -> String {
    let sections = pages.iter().flat_map(|(readme, page)| {
        let path = page_of(readme);
        page.sections.iter().map(move |section| {
            json!([path, page.title, section.anchor, section.heading, section.text])
        })
    });
    format!("const SECTIONS = {};\n", serde_json::Value::from_iter(sections))
}

/// Writes a page for each source file, and for each folder the list of what is in it. Returns their
/// number.
fn write_sources(out: &Path, shell: &Shell, linked: BTreeSet<String>) -> io::Result<usize> {
    let (mut all, mut next) = (BTreeSet::new(), Vec::from_iter(linked));
    while let Some(source) = next.pop() {
        let path = root().join(&source);
        let page = markdown::source_page(&source, path.is_dir());
        let body = if path.is_dir() {
            let entries = entries(&path)?;
            let inside: Vec<String> =
                entries.iter().map(|name| format!("{source}/{name}")).collect();
            next.extend(inside.iter().filter(|path| !all.contains(*path)).cloned());
            let item = |path: &String| {
                let is_folder = root().join(path).is_dir();
                let link = relative(&page, &markdown::source_page(path, is_folder));
                format!("<li><a href=\"{link}\">{}</a></li>\n", escape(path))
            };
            format!("<ul>\n{}</ul>\n", inside.iter().map(item).collect::<String>())
        } else {
            listing(&fs::read_to_string(&path)?)
        };
        let body = format!("<h1><code>{}</code></h1>\n{body}", escape(&source));
        write(out, &page, &shell.page(&page, &source, &body))?;
        all.insert(source);
    }
    Ok(all.len())
}

/// Returns the sorted names of what is in a folder, without images and build output.
fn entries(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path: PathBuf = entry?.path();
        let is_image = path.extension().is_some_and(|extension| extension == "png");
        if !is_image && !path.ends_with("target") {
            names.extend(path.file_name().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// Returns the text of a file with a number at each line, to which a link can lead.
fn listing(text: &str) -> String {
    let line = |(number, line)| {
        // The element is a block, so it needs no line break after it.
        let line = escape(line);
        format!("<span id=\"L{number}\"><a href=\"#L{number}\">{number}</a>{line}</span>")
    };
    let lines: String = (1..).zip(text.lines()).map(line).collect();
    format!("<pre class=\"listing\" tabindex=\"0\">{lines}</pre>\n")
}
