//! What is around the content of each page: the head, the search, and the navigation.

use std::fmt::Write;

/// The pages of the navigation, in their order.
#[derive(Default)]
pub(crate) struct Shell {
    /// The path and the title of each page.
    pages: Vec<(String, String)>,
}

impl Shell {
    pub(crate) fn add(&mut self, path: &str, title: &str) {
        self.pages.push((path.to_owned(), title.to_owned()));
    }

    /// Returns the whole page at `path`, with this content.
    pub(crate) fn page(&self, path: &str, title: &str, content: &str) -> String {
        let up = "../".repeat(path.matches('/').count());
        let front = self.pages.first().map_or("", |(_, title)| title);
        let whole_title = if title == front {
            escape(title)
        } else {
            format!("{} · {}", escape(title), escape(front))
        };
        let mut nav = String::new();
        for (other, title) in &self.pages {
            let current = if other == path { " aria-current=\"page\"" } else { "" };
            let link = relative(path, other);
            let _ = writeln!(nav, "<li><a href=\"{link}\"{current}>{}</a></li>", escape(title));
        }
        let at = self.pages.iter().position(|(other, _)| other == path);
        let neighbor = |at: Option<usize>, rel: &str, arrow: &str| {
            let Some((other, title)) = at.and_then(|at| self.pages.get(at)) else {
                return String::new();
            };
            let link = relative(path, other);
            format!("<a rel=\"{rel}\" href=\"{link}\">{arrow} {}</a>", escape(title))
        };
        let previous = neighbor(at.and_then(|at| at.checked_sub(1)), "prev", "←");
        let next = neighbor(at.map(|at| at + 1), "next", "→");
        format!(
            r##"<!doctype html>
<html lang="en" data-up="{up}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{whole_title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{up}style.css">
<script src="{up}site.js" defer></script>
</head>
<body>
<header>
<a class="front" href="{up}index.html">{front}</a>
<a class="to-pages" href="#pages">Pages</a>
<form role="search"><input id="query" type="search" placeholder="Search (press /)" aria-label="Search the guide" autocomplete="off"><ol id="found" hidden></ol></form>
</header>
<main>
{content}
<p class="neighbors">{previous} {next}</p>
</main>
<nav id="pages" aria-label="Pages">
<ol>
{nav}</ol>
</nav>
</body>
</html>
"##,
            front = escape(front)
        )
    }
}

/// Returns the link from one page of the site to another one.
pub(crate) fn relative(from: &str, to: &str) -> String {
    let (from, to): (Vec<&str>, Vec<&str>) = (from.split('/').collect(), to.split('/').collect());
    let folders = from.len().min(to.len()) - 1;
    let common = (0..folders).take_while(|&at| from[at] == to[at]).count();
    "../".repeat(from.len() - 1 - common) + &to[common..].join("/")
}

/// Escapes a text for an element or an attribute.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
