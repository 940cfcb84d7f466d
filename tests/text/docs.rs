//! Checks that the documentation of each public item has all required parts.
//!
//! The checks read the sources as syntax, so an item is public if it is declared `pub`. The lint
//! `unreachable_pub` ensures that each such item can be reached.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, Block, Expr, ImplItem, Item, Lit, Meta, ReturnType, Signature};
use syn::{Type, TypeParamBound, Visibility};

/// Items that are exempt from a requirement, and the reason.
const EXCEPTIONS: [(&str, Requirement, &str); 8] = [
    ("Executor::new", Requirement::Panics, "`track_caller` is for error messages"),
    ("Reactor::new", Requirement::Panics, "`track_caller` is for error messages"),
    ("Executor::spawn", Requirement::Panics, "`track_caller` records the location of the task"),
    ("Remote::spawn", Requirement::Panics, "`track_caller` records the location of the task"),
    ("Remote::spawn_named", Requirement::Panics, "`track_caller` records the location of the task"),
    ("Async::get_ref", Requirement::Panics, "`expect` states an invariant"),
    ("Async::into_inner", Requirement::Panics, "`expect` states an invariant"),
    ("OwnedReadHalf::reunite", Requirement::Panics, "`expect` states an invariant"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Requirement {
    /// Documentation that begins with a paragraph.
    Line,
    /// For an operation that waits: a section that says what is lost when it is dropped.
    CancelSafety,
    /// For a function that can panic: a section that says when.
    Panics,
    /// For a function that returns a `Result`: a section that lists the errors.
    Errors,
    /// For a function: a call in an example, in its own documentation or that of a neighbor.
    Example,
}

/// A public item, or a public method.
#[derive(Debug)]
struct Documented {
    /// The name of the type, if this is a method.
    of: Option<String>,
    name: String,
    file: PathBuf,
    docs: String,
    function: Option<Function>,
}

#[derive(Debug)]
struct Function {
    has_receiver: bool,
    is_async: bool,
    /// The last name in the path of the return type.
    returns: String,
    can_panic: bool,
}

/// The public items of a crate.
struct Read {
    items: Vec<Documented>,
    /// The names `Future` and `Stream`, and the types that implement one of them.
    futures: BTreeSet<String>,
}

impl Documented {
    fn path(&self) -> String {
        self.of.iter().chain([&self.name]).map(String::as_str).collect::<Vec<_>>().join("::")
    }

    fn has_section(&self, heading: &str) -> bool {
        self.docs.lines().any(|line| line.trim() == heading)
    }

    /// Returns the code of its examples, without the lines that rustdoc hides.
    fn examples(&self) -> String {
        let shown = self.docs.lines().filter(|line| !line.starts_with("# "));
        let shown: String = shown.flat_map(|line| [line, "\n"]).collect();
        shown.split("```").skip(1).step_by(2).collect()
    }

    /// Whether `code` calls the function: as a method, by the path of its type, or by its name
    /// alone.
    fn is_called_in(&self, code: &str) -> bool {
        let called = match (&self.of, &self.function) {
            (Some(_), Some(Function { has_receiver: true, .. })) => format!(".{}", self.name),
            _ => self.path(),
        };
        code.match_indices(&called).any(|(at, _)| {
            let before = code[..at].chars().next_back();
            let after = &code[at + called.len()..];
            let is_whole = called.starts_with('.') || !before.is_some_and(is_part_of_name);
            is_whole && (after.starts_with('(') || after.starts_with("::<"))
        })
    }
}

fn is_part_of_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_' || character == '.'
}

impl Read {
    fn files(folder: &Path) -> Read {
        let futures = ["Future", "Stream"].map(str::to_owned).into();
        let mut read = Read { items: Vec::new(), futures };
        for path in rust_files(folder) {
            let text = fs::read_to_string(&path).expect("a source file");
            let file = syn::parse_file(&text).expect("the source is Rust");
            read.items(&path, file.items);
        }
        read
    }

    fn items(&mut self, file: &Path, items: Vec<Item>) {
        for item in items {
            self.item(file, item);
        }
    }

    fn item(&mut self, file: &Path, item: Item) {
        let mut add = |vis, name: &syn::Ident, attrs: &[Attribute], function| {
            self.add(file, None, vis, name, attrs, function);
        };
        match item {
            Item::Struct(item) => add(&item.vis, &item.ident, &item.attrs, None),
            Item::Enum(item) => add(&item.vis, &item.ident, &item.attrs, None),
            Item::Trait(item) => add(&item.vis, &item.ident, &item.attrs, None),
            Item::Type(item) => add(&item.vis, &item.ident, &item.attrs, None),
            Item::Const(item) => add(&item.vis, &item.ident, &item.attrs, None),
            Item::Fn(item) => {
                let function = Function::of(&item.sig, &item.attrs, &item.block);
                add(&item.vis, &item.sig.ident, &item.attrs, Some(function));
            }
            Item::Impl(item) => self.methods(file, item),
            // `pin_project` is the only macro that contains items, and it does not change them.
            Item::Macro(item) if item.mac.path.is_ident("pin_project") => {
                let inside: syn::File = syn::parse2(item.mac.tokens).expect("items");
                self.items(file, inside.items);
            }
            _ => {}
        }
    }

    fn methods(&mut self, file: &Path, block: syn::ItemImpl) {
        let of = last_name(&block.self_ty);
        if let Some((_, of_trait, _)) = &block.trait_ {
            let name = of_trait.segments.last().map(|segment| segment.ident.to_string());
            if matches!(name.as_deref(), Some("Future" | "Stream")) {
                self.futures.insert(of);
            }
            return;
        }
        for item in block.items {
            if let ImplItem::Fn(method) = item {
                let function = Function::of(&method.sig, &method.attrs, &method.block);
                let (vis, name) = (&method.vis, &method.sig.ident);
                self.add(file, Some(of.clone()), vis, name, &method.attrs, Some(function));
            }
        }
    }

    fn add(
        &mut self,
        file: &Path,
        of: Option<String>,
        vis: &Visibility,
        name: &syn::Ident,
        attrs: &[Attribute],
        function: Option<Function>,
    ) {
        if matches!(vis, Visibility::Public(_)) {
            let (name, docs) = (name.to_string(), docs(attrs));
            self.items.push(Documented { of, name, file: file.to_owned(), docs, function });
        }
    }

    /// Returns the examples of a method's type and of all its methods, or of a function's file.
    /// Related items may share an example.
    fn examples_around(&self, item: &Documented) -> String {
        let is_neighbor = |other: &&Documented| match &item.of {
            Some(of) => other.of.as_ref().unwrap_or(&other.name) == of,
            None => other.file == item.file,
        };
        self.items.iter().filter(is_neighbor).map(Documented::examples).collect()
    }

    /// Returns the requirements that an item does not meet.
    fn missing(&self, item: &Documented) -> Vec<Requirement> {
        let mut missing = Vec::new();
        let mut require = |is_met: bool, what| missing.extend((!is_met).then_some(what));
        let first = item.docs.split("\n\n").next().unwrap_or_default().trim();
        let is_line = !first.is_empty() && !first.starts_with('#');
        require(is_line, Requirement::Line);
        if let Some(function) = &item.function {
            require(self.documents_cancel_safety(item, function), Requirement::CancelSafety);
            require(!function.can_panic || item.has_section("# Panics"), Requirement::Panics);
            let is_fallible = function.returns == "Result";
            require(!is_fallible || item.has_section("# Errors"), Requirement::Errors);
            require(item.is_called_in(&self.examples_around(item)), Requirement::Example);
        }
        missing
    }

    /// Whether a function does not wait, or documents its cancel safety: itself, or on the future
    /// or stream that it returns.
    fn documents_cancel_safety(&self, item: &Documented, function: &Function) -> bool {
        const HEADING: &str = "# Cancel safety";
        let returns = &function.returns;
        let waits = function.is_async || self.futures.contains(returns);
        let of_type = |other: &&Documented| other.of.is_none() && other.name == *returns;
        let is_on_type = self.items.iter().find(of_type).is_some_and(|of| of.has_section(HEADING));
        !waits || item.has_section(HEADING) || is_on_type
    }
}

impl Function {
    fn of(signature: &Signature, attrs: &[Attribute], body: &Block) -> Function {
        let mut panics = Panics(false);
        panics.visit_block(body);
        let tracks_caller = attrs.iter().any(|attr| attr.path().is_ident("track_caller"));
        Function {
            has_receiver: signature.receiver().is_some(),
            is_async: signature.asyncness.is_some(),
            returns: match &signature.output {
                ReturnType::Default => String::new(),
                ReturnType::Type(_, returned) => last_name(returned),
            },
            can_panic: tracks_caller || panics.0,
        }
    }
}

/// Whether the body itself contains a call that can panic.
struct Panics(bool);

impl<'ast> Visit<'ast> for Panics {
    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        self.0 |= ["panic", "assert", "assert_eq"].iter().any(|name| called.path.is_ident(name));
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.0 |= call.method == "expect";
        visit::visit_expr_method_call(self, call);
    }
}

/// Returns the last name in the path of a type, e.g. `JoinHandle` for `JoinHandle<F::Output>` and
/// `Future` for `impl Future<Output = T>`.
fn last_name(of: &Type) -> String {
    let path = match of {
        Type::Path(of) => Some(&of.path),
        Type::ImplTrait(of) => of.bounds.iter().find_map(|bound| match bound {
            TypeParamBound::Trait(bound) => Some(&bound.path),
            _ => None,
        }),
        _ => None,
    };
    path.and_then(|path| path.segments.last()).map_or(String::new(), |last| last.ident.to_string())
}

/// Returns the text of the `///` lines without the leading spaces.
fn docs(attrs: &[Attribute]) -> String {
    let line = |attr: &Attribute| match &attr.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(value) => match &value.lit {
                Lit::Str(line) => Some(line.value()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    };
    let lines = attrs.iter().filter_map(line);
    lines.map(|line| line.strip_prefix(' ').unwrap_or(&line).to_owned() + "\n").collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry of the folder").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// Returns the requirements that items of the crates do not meet, with the path of each item.
fn lacking(crates: &[&str]) -> BTreeMap<(String, Requirement), PathBuf> {
    let mut lacking = BTreeMap::new();
    for name in crates {
        let read = Read::files(&root().join(name).join("src"));
        assert!(read.items.len() > 20, "{name}: {} public items", read.items.len());
        for item in &read.items {
            for requirement in read.missing(item) {
                lacking.insert((item.path(), requirement), item.file.clone());
            }
        }
    }
    lacking
}

#[test]
fn every_public_item_is_fully_documented() {
    let mut lacking = lacking(&["reactor", "reactor/uring", "executor"]);
    for (path, requirement, reason) in EXCEPTIONS {
        let lacked = lacking.remove(&(path.to_owned(), requirement));
        assert!(lacked.is_some(), "remove the exception: {path}, {requirement:?}, {reason}");
    }
    assert!(lacking.is_empty(), "missing parts of the documentation: {lacking:#?}");
}

#[test]
fn every_public_item_of_the_tools_has_a_summary() {
    let mut lacking = lacking(&["echo/recorder", "tests"]);
    lacking.retain(|&(_, requirement), _| requirement == Requirement::Line);
    assert!(lacking.is_empty(), "items without documentation: {lacking:#?}");
}

// `cargo doc --open` opens the documentation of one package: the first one by name.
#[test]
fn page_that_cargo_doc_opens_links_to_the_chapters() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest");
    let (_, members) =
        manifest.split_once("default-members = [").expect("the list of default members");
    let (members, _) = members.split_once(']').expect("the end of the list");
    let packages = members.split('"').skip(1).step_by(2).filter_map(|path| path.rsplit('/').next());
    assert_eq!(packages.min(), Some("echo"));

    let page = fs::read_to_string(root().join("echo/src/main.rs")).expect("the source of the page");
    let chapters = ["reactor", "executor", "recorder"].map(|name| format!("../{name}/index.html"));
    for link in chapters.iter().map(String::as_str).chain(["echo/learn/questions.md"]) {
        let mut lines = page.lines().filter(|line| line.starts_with("//!"));
        assert!(lines.any(|line| line.contains(link)), "no link to {link}");
    }
}
