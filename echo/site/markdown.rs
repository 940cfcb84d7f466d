//! Renders a README as the content of a page.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};

use crate::page_of;
use crate::scenes;
use crate::shell::{escape, relative};
use tests::guide::READMES;

/// A README as HTML.
pub(crate) struct Rendered {
    pub(crate) title: String,
    pub(crate) html: String,
    pub(crate) sections: Vec<Section>,
}

/// A part of a page below one heading, for the search.
#[derive(Default)]
pub(crate) struct Section {
    pub(crate) anchor: String,
    pub(crate) heading: String,
    pub(crate) text: String,
}

/// Where the links of a README lead in the site.
pub(crate) struct Links<'a> {
    root: &'a Path,
    code_url: Option<&'a str>,
    /// The source files and folders that need a page.
    pub(crate) sources: BTreeSet<String>,
    /// The images that pages show.
    pub(crate) images: BTreeSet<String>,
}

impl<'a> Links<'a> {
    pub(crate) fn new(root: &'a Path, code_url: Option<&'a str>) -> Links<'a> {
        Links { root, code_url, sources: BTreeSet::new(), images: BTreeSet::new() }
    }

    /// Returns the target in the site of a link on the page of `readme`. Returns `None` if it leads
    /// to an item of the documentation, which has no page here.
    fn target(&mut self, readme: &str, link: &str) -> Option<String> {
        if link.starts_with('#') || link.contains("://") {
            return Some(link.to_owned());
        }
        let (path, heading) = link.split_once('#').unwrap_or((link, ""));
        let path = joined(readme, path);
        let heading = if heading.is_empty() { String::new() } else { format!("#{heading}") };
        let from = page_of(readme);
        let chapter = format!("{path}/README.md");
        let page = READMES.into_iter().find(|page| *page == path || *page == chapter);
        if let Some(page) = page {
            return Some(relative(&from, &page_of(page)) + &heading);
        }
        let file = self.root.join(&path);
        if !file.exists() {
            return None;
        }
        if is_image(&path) {
            self.images.insert(path.clone());
            return Some(relative(&from, &path));
        }
        if let Some(url) = self.code_url {
            return Some(format!("{}/{path}{heading}", url.trim_end_matches('/')));
        }
        let page = source_page(&path, file.is_dir());
        self.sources.insert(path);
        Some(relative(&from, &page) + &heading)
    }

    /// Notes the images of raw HTML. Their paths stay valid, because each page is where its README
    /// is.
    fn note_images(&mut self, readme: &str, html: &str) {
        for value in html.split('"').skip(1).step_by(2).filter(|value| is_image(value)) {
            self.images.insert(joined(readme, value));
        }
    }
}

fn is_image(path: &str) -> bool {
    path.ends_with(".png") || path.ends_with(".svg")
}

/// Returns the path in the site of the page that shows a source file or a folder.
pub(crate) fn source_page(path: &str, is_folder: bool) -> String {
    let path = path.trim_end_matches('/');
    if is_folder { format!("source/{path}/index.html") } else { format!("source/{path}.html") }
}

/// Returns the path from the root of a path in the folder of `readme`.
fn joined(readme: &str, path: &str) -> String {
    let mut parts: Vec<&str> = readme.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Renders a README. `scenes` are the names of the recorded runs.
pub(crate) fn render(
    readme: &str,
    text: &str,
    scenes: &BTreeSet<&str>,
    links: &mut Links<'_>,
) -> Rendered {
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_FOOTNOTES;
    let mut events: Vec<Event<'_>> = Vec::new();
    let mut sections = vec![Section::default()];
    let mut anchors = BTreeMap::new();
    let mut heading: Option<usize> = None;
    // The text of the code block that is being read.
    let mut code: Option<String> = None;
    // Whether each link that is being read has a target.
    let mut open_links = Vec::new();
    for event in Parser::new_ext(text, options) {
        let section = sections.last_mut().expect("there is a first section");
        if let Event::Text(text) | Event::Code(text) = &event {
            let to = if heading.is_some() { &mut section.heading } else { &mut section.text };
            to.push_str(text);
        }
        match event {
            Event::Start(Tag::Heading { .. }) => {
                sections.push(Section::default());
                heading = Some(events.len());
                events.push(event);
            }
            Event::End(TagEnd::Heading(_)) => {
                section.anchor = unique_anchor(&section.heading, &mut anchors);
                if let Some(Event::Start(Tag::Heading { id, .. })) =
                    heading.take().and_then(|at| events.get_mut(at))
                {
                    *id = Some(CowStr::from(section.anchor.clone()));
                }
                events.push(event);
            }
            Event::Start(Tag::CodeBlock(_)) => code = Some(String::new()),
            Event::Text(text) if code.is_some() => {
                code.iter_mut().for_each(|code| code.push_str(&text));
            }
            Event::End(TagEnd::CodeBlock) => {
                let code = code.take().unwrap_or_default();
                let block = code_block(&page_of(readme), &code, scenes);
                events.push(Event::Html(block.into()));
            }
            Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
                let target = links.target(readme, &dest_url);
                open_links.push(target.is_some());
                if let Some(target) = target {
                    let dest_url = CowStr::from(target);
                    events.push(Event::Start(Tag::Link { link_type, dest_url, title, id }));
                }
            }
            Event::End(TagEnd::Link) => {
                if open_links.pop() == Some(true) {
                    events.push(event);
                }
            }
            Event::Start(Tag::Image { ref dest_url, .. }) => {
                links.images.insert(joined(readme, dest_url));
                events.push(event);
            }
            // Comments mark excerpts and tables for the tests.
            Event::Html(ref html) | Event::InlineHtml(ref html) if html.starts_with("<!--") => {}
            Event::Html(html) | Event::InlineHtml(html) => {
                links.note_images(readme, &html);
                // On the site, the picture of the demo opens the demo.
                let demo = relative(&page_of(readme), "scenes/demo.html");
                let html = html.replace("<a href=\"#try-it\">", &format!("<a href=\"{demo}\">"));
                events.push(Event::InlineHtml(html.into()));
            }
            // A space between the words of two lines.
            Event::SoftBreak => {
                section.text.push(' ');
                events.push(event);
            }
            Event::End(TagEnd::Paragraph | TagEnd::TableCell | TagEnd::Item) => {
                section.text.push(' ');
                events.push(event);
            }
            event => events.push(event),
        }
    }
    let title = sections.iter().find(|section| !section.heading.is_empty());
    let title = title.map_or(readme.to_owned(), |section| section.heading.clone());
    let mut html = String::new();
    html::push_html(&mut html, events.into_iter());
    // A wide table scrolls by itself, and not the page.
    let html = html
        .replace("<table>", "<div class=\"table\" tabindex=\"0\"><table>")
        .replace("</table>", "</table></div>");
    Rendered { title, html, sections }
}

/// Returns the anchor of a heading, as code hosts create it.
fn unique_anchor(heading: &str, known: &mut BTreeMap<String, usize>) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    let anchor = kept.collect::<String>().to_lowercase().replace(' ', "-");
    let times = known.entry(anchor.clone()).and_modify(|times| *times += 1).or_insert(0);
    if *times == 0 { anchor } else { format!("{anchor}-{times}") }
}

/// Returns a code block. A transcript whose run was recorded has a link that opens the scene in
/// place.
fn code_block(page: &str, code: &str, scenes: &BTreeSet<&str>) -> String {
    let shown = escape(code);
    let block = format!("<pre tabindex=\"0\"><code>{shown}</code></pre>\n");
    let scene = code.lines().next().and_then(scenes::name_of_command);
    match scene.filter(|name| scenes.contains(name.as_str())) {
        Some(name) => block + &scenes::link(page, &name),
        None => block,
    }
}
