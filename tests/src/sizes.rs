//! How long sources are, and how much they say about themselves. Unit tests do not count.

use crate::guide::{read, rings};
use syn::visit::{self, Visit};
use syn::{Block, Signature};

/// The size of one source, or of several.
#[derive(Clone, Debug, Default)]
pub struct Size {
    /// Lines that are neither empty nor comment.
    pub code: usize,
    /// Lines of comment, for readers of the source and of its documentation.
    pub comment: usize,
    /// The functions and their lines of code, the shortest first.
    pub functions: Vec<(usize, String)>,
}

impl Size {
    /// The size of a source.
    ///
    /// # Panics
    ///
    /// If it is not Rust.
    pub fn of(source: &str) -> Size {
        let source = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let lines: Vec<&str> = source.lines().map(str::trim).collect();
        let mut functions = Functions { lines: &lines, found: Vec::new() };
        functions.visit_file(&syn::parse_file(source).expect("it has been compiled"));
        functions.found.sort();
        let comment = lines.iter().filter(|line| line.starts_with("//")).count();
        Size { code: lines_of_code(&lines), comment, functions: functions.found }
    }

    /// The files of each ring of reading, with their sizes.
    pub fn of_rings() -> Vec<Vec<(String, Size)>> {
        let size = |(path, _): (String, usize)| (path.clone(), Size::of(&read(path)));
        rings().into_iter().map(|ring| ring.into_iter().map(size).collect()).collect()
    }

    /// Adds the size of another source.
    pub fn add(&mut self, other: Size) {
        self.code += other.code;
        self.comment += other.comment;
        self.functions.extend(other.functions);
        self.functions.sort();
    }

    /// Comment for each line of code.
    pub fn ratio(&self) -> f64 {
        self.comment as f64 / self.code as f64
    }

    /// The lines of code of the function in the middle.
    pub fn median(&self) -> usize {
        self.functions.get(self.functions.len() / 2).map_or(0, |(lines, _)| *lines)
    }

    /// The longest function, with its lines of code.
    pub fn longest(&self) -> (usize, &str) {
        self.functions.last().map_or((0, ""), |(lines, name)| (*lines, name))
    }
}

/// A table of files and their sizes, with their sum.
pub fn table(title: &str, files: &[(String, Size)]) -> String {
    let mut all = Size::default();
    let mut table = format!("{title:24} code comment ratio functions median longest\n");
    for (path, size) in files {
        table += &row(path, size);
        all.add(size.clone());
    }
    table + &row("together", &all)
}

fn row(path: &str, size: &Size) -> String {
    let (code, comment, ratio, functions) =
        (size.code, size.comment, size.ratio(), size.functions.len());
    let (median, (longest, name)) = (size.median(), size.longest());
    format!("{path:24}{code:5}{comment:8}{ratio:6.2}{functions:10}{median:7} {longest} {name}\n")
}

fn lines_of_code(lines: &[&str]) -> usize {
    lines.iter().filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}

/// Finds all functions, also those inside others, which count for both.
struct Functions<'a> {
    lines: &'a [&'a str],
    found: Vec<(usize, String)>,
}

impl Functions<'_> {
    /// From the line with `fn` to the closing brace.
    fn found(&mut self, signature: &Signature, body: &Block) {
        let first = signature.fn_token.span.start().line - 1;
        let last = body.brace_token.span.close().end().line;
        self.found.push((lines_of_code(&self.lines[first..last]), signature.ident.to_string()));
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.found(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.found(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(body) = &item.default {
            self.found(&item.sig, body);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_comment_are_counted_and_unit_tests_are_not() {
        let size = Size::of(
            "//! Doc.\n\n/// One.\nfn one() {\n    // Why.\n    two();\n    fn two() {}\n}\n\n\
             #[cfg(test)]\nmod tests {\n    // No.\n    fn three() {}\n}\n",
        );
        assert_eq!((size.code, size.comment), (4, 3));
        assert_eq!(size.functions, [(1, "two".to_owned()), (4, "one".to_owned())]);
        assert_eq!((size.median(), size.longest()), (4, (4, "one")));
        assert_eq!(size.ratio(), 0.75);
        let table = table("ring", &[("a.rs".to_owned(), size)]);
        let last = table.lines().last().map(|row| row.split_whitespace().collect::<Vec<_>>());
        assert_eq!(last.unwrap(), ["together", "4", "3", "0.75", "2", "4", "4", "one"]);
    }
}
