//! What the documentation of the runtime has to say, it says: for each public item.
//!
//! The sources are read as syntax, so what is public is what is written `pub`; the lint
//! `unreachable_pub` sees to it that no more is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, Block, Expr, ImplItem, Item, Lit, Meta, ReturnType, Signature};
use syn::{Type, TypeParamBound, Visibility};

/// What a demand does not hold for, and why.
const EXCEPTIONS: [(&str, Demand, &str); 8] = [
    ("Executor::new", Demand::Panics, "`track_caller` is for error messages"),
    ("Reactor::new", Demand::Panics, "`track_caller` is for error messages"),
    ("Executor::spawn", Demand::Panics, "`track_caller` is for the place of the task"),
    ("Remote::spawn", Demand::Panics, "`track_caller` is for the place of the task"),
    ("Remote::spawn_named", Demand::Panics, "`track_caller` is for the place of the task"),
    ("Async::get_ref", Demand::Panics, "`expect` states what always holds"),
    ("Async::into_inner", Demand::Panics, "`expect` states what always holds"),
    ("OwnedReadHalf::reunite", Demand::Panics, "`expect` states what always holds"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Demand {
    /// It has documentation, which begins with a paragraph.
    Line,
    /// What waits says what is lost when it is dropped.
    CancelSafety,
    /// What can panic says when.
    Panics,
    /// What returns a `Result` says what it fails with.
    Errors,
    /// A function is called in an example, its own or one of its neighbours.
    Example,
}

/// A public item, or a public method.
#[derive(Debug)]
struct Documented {
    /// Of a method: the name of its type.
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
    /// The last name in the type that it returns.
    returns: String,
    can_panic: bool,
}

/// What is read of a crate.
struct Read {
    items: Vec<Documented>,
    /// What waits: the types that implement `Future` or `Stream`, and these two themselves.
    futures: BTreeSet<String>,
}

impl Documented {
    fn path(&self) -> String {
        self.of.iter().chain([&self.name]).map(String::as_str).collect::<Vec<_>>().join("::")
    }

    fn has_section(&self, heading: &str) -> bool {
        self.docs.lines().any(|line| line.trim() == heading)
    }

    /// The code of its examples, as far as rustdoc shows it.
    fn examples(&self) -> String {
        let shown = self.docs.lines().filter(|line| !line.starts_with("# "));
        let shown: String = shown.flat_map(|line| [line, "\n"]).collect();
        shown.split("```").skip(1).step_by(2).collect()
    }

    /// Whether this code calls it: as a method, by the path of its type, or by its name alone.
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
            let file = syn::parse_file(&text).expect("it is Rust");
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
            // The one macro that items stand in hands them on as they are.
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

    /// The examples of a method's type and of its other methods, or of a function's file: those
    /// that belong together may share one.
    fn examples_around(&self, item: &Documented) -> String {
        let is_neighbour = |other: &&Documented| match &item.of {
            Some(of) => other.of.as_ref().unwrap_or(&other.name) == of,
            None => other.file == item.file,
        };
        self.items.iter().filter(is_neighbour).map(Documented::examples).collect()
    }

    /// What is demanded of an item, and not there.
    fn missing(&self, item: &Documented) -> Vec<Demand> {
        let mut missing = Vec::new();
        let mut demand = |is_met: bool, demand| missing.extend((!is_met).then_some(demand));
        let first = item.docs.split("\n\n").next().unwrap_or_default().trim();
        let is_line = !first.is_empty() && !first.starts_with('#');
        demand(is_line, Demand::Line);
        if let Some(function) = &item.function {
            let says_what_is_lost = self.says_what_is_lost(item, function);
            demand(says_what_is_lost, Demand::CancelSafety);
            demand(!function.can_panic || item.has_section("# Panics"), Demand::Panics);
            demand(function.returns != "Result" || item.has_section("# Errors"), Demand::Errors);
            demand(item.is_called_in(&self.examples_around(item)), Demand::Example);
        }
        missing
    }

    /// In its own documentation, or in that of the future or the stream that it returns.
    fn says_what_is_lost(&self, item: &Documented, function: &Function) -> bool {
        const HEADING: &str = "# Cancel safety";
        let returns = &function.returns;
        let waits = function.is_async || self.futures.contains(returns);
        let of_type = |other: &&Documented| other.of.is_none() && other.name == *returns;
        let told_by_type =
            self.items.iter().find(of_type).is_some_and(|of| of.has_section(HEADING));
        !waits || item.has_section(HEADING) || told_by_type
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

/// Whether a body panics, as far as one sees it there.
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

/// `JoinHandle` of `JoinHandle<F::Output>`; `Future` of `impl Future<Output = T>`.
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

/// The text of the lines `///`, without the space that each begins with.
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
        let path = entry.expect("its entry").path();
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

/// What crates lack: the path of each item, and the demand.
fn lacking(crates: &[&str]) -> BTreeMap<(String, Demand), PathBuf> {
    let mut lacking = BTreeMap::new();
    for name in crates {
        let read = Read::files(&root().join(name).join("src"));
        assert!(read.items.len() > 20, "{name}: {} public items", read.items.len());
        for item in &read.items {
            for demand in read.missing(item) {
                lacking.insert((item.path(), demand), item.file.clone());
            }
        }
    }
    lacking
}

#[test]
fn every_public_item_says_all_that_a_caller_must_know() {
    let mut lacking = lacking(&["reactor", "reactor/uring", "executor"]);
    for (path, demand, reason) in EXCEPTIONS {
        let lacked = lacking.remove(&(path.to_owned(), demand));
        assert!(lacked.is_some(), "no exception any more: {path}, {demand:?}, {reason}");
    }
    assert!(lacking.is_empty(), "these lack what is demanded of them: {lacking:#?}");
}

#[test]
fn every_public_item_of_the_tools_has_a_line_for_lists() {
    let mut lacking = lacking(&["echo/recorder", "tests"]);
    lacking.retain(|&(_, demand), _| demand == Demand::Line);
    assert!(lacking.is_empty(), "these have none: {lacking:#?}");
}

/// `cargo doc --open` shows one crate: the first by the names of the packages that it documents.
#[test]
fn the_page_that_cargo_doc_opens_leads_to_the_chapters() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest");
    let (_, members) = manifest.split_once("default-members = [").expect("what is documented");
    let (members, _) = members.split_once(']').expect("their end");
    let packages = members.split('"').skip(1).step_by(2).filter_map(|path| path.rsplit('/').next());
    assert_eq!(packages.min(), Some("echo"));

    let page = fs::read_to_string(root().join("echo/src/main.rs")).expect("its source");
    let chapters = ["reactor", "executor", "recorder"].map(|name| format!("../{name}/index.html"));
    for link in chapters.iter().map(String::as_str).chain(["echo/learn/questions.md"]) {
        let mut lines = page.lines().filter(|line| line.starts_with("//!"));
        assert!(lines.any(|line| line.contains(link)), "no link to {link}");
    }
}
