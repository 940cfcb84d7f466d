//! An index of our crates: the names of all items, the string literals and the log records.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, Ident, ImplItem, Lit, Meta, TraitItem, Type, UseTree, Visibility};

use crate::guide::{read, rust_files};

/// The macros that create log records.
const LEVELS: [&str; 4] = ["trace", "debug", "info", "warn"];

/// The index of all sources of the workspace.
#[derive(Debug, Default)]
pub(crate) struct Items {
    /// Functions, types, fields, variants, constants and modules, each with the item that contains
    /// it: (`Queue`, `push`).
    pub(crate) members: BTreeSet<(String, String)>,
    /// The names of the test functions.
    pub(crate) tests: BTreeSet<String>,
    /// The string literals of all sources except the tests.
    pub(crate) words: BTreeSet<String>,
    /// The log records of the reactor and the executor.
    pub(crate) records: BTreeSet<Record>,
    /// The path of the module that is being read, which is the target of its records.
    module: String,
    scopes: Vec<String>,
    in_tests: bool,
    in_core: bool,
    /// Modules whose files have other names.
    renamed: BTreeMap<String, String>,
}

/// A log record in a source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Record {
    /// The path of its module.
    pub(crate) target: String,
    /// `trace` to `warn`.
    pub(crate) level: String,
    /// The text of the message.
    pub(crate) message: String,
    /// The names of the key-value pairs.
    pub(crate) keys: Vec<String>,
}

impl Items {
    /// Reads all sources of the workspace.
    ///
    /// # Panics
    ///
    /// Panics if a source is not Rust.
    pub(crate) fn new() -> Items {
        let mut items = Items::default();
        for path in rust_files() {
            let file = syn::parse_file(&read(&path)).expect("the source is Rust");
            items.in_tests = path.iter().any(|folder| folder == "tests");
            items.in_core = path.starts_with("reactor") || path.starts_with("executor");
            items.scopes = vec![module(&path)];
            items.module = module_path(&path);
            items.visit_file(&file);
        }
        for (name, file) in std::mem::take(&mut items.renamed) {
            let inside = items.members.iter().filter(|(parent, _)| *parent == file);
            let inside: Vec<_> = inside.map(|(_, item)| (name.clone(), item.clone())).collect();
            items.members.extend(inside);
            let rename = |record: Record| {
                let names = record.target.split("::");
                let names = names.map(|part| if part == file { &name } else { part });
                Record { target: names.collect::<Vec<_>>().join("::"), ..record }
            };
            items.records = std::mem::take(&mut items.records).into_iter().map(rename).collect();
        }
        items
    }

    /// Whether an item of this name exists anywhere, or whether each part of a path contains the
    /// next.
    pub(crate) fn has(&self, path: &[&str]) -> bool {
        match path {
            [name] => self.members.iter().any(|(parent, item)| parent == name || item == name),
            _ => path
                .windows(2)
                .all(|pair| self.members.contains(&(pair[0].to_owned(), pair[1].to_owned()))),
        }
    }

    fn add(&mut self, name: &Ident) {
        self.members.insert((self.scope().to_owned(), name.to_string()));
    }

    fn scope(&self) -> &str {
        self.scopes.last().map_or("", String::as_str)
    }

    fn within(&mut self, scope: &Ident, visit: impl FnOnce(&mut Items)) {
        self.scopes.push(scope.to_string());
        visit(self);
        self.scopes.pop();
    }

    fn add_function(&mut self, name: &Ident, attributes: &[Attribute]) {
        self.add(name);
        if attributes.iter().any(|attribute| attribute.path().is_ident("test")) {
            self.tests.insert(name.to_string());
        }
    }

    fn add_uses(&mut self, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => self.add_uses(&path.tree),
            UseTree::Name(name) => self.add(&name.ident),
            UseTree::Rename(rename) => self.add(&rename.rename),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_uses(tree)),
            UseTree::Glob(_) => {}
        }
    }

    fn add_words(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.add_words(group.stream()),
                TokenTree::Literal(literal) => self.add_word(&Lit::new(literal)),
                TokenTree::Ident(_) | TokenTree::Punct(_) => {}
            }
        }
    }

    /// Adds the functions in `proptest!`, whose parameters are not Rust syntax. All of them are
    /// tests.
    fn add_functions_of_macro(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        for pair in tokens.windows(2) {
            if let [TokenTree::Ident(function), TokenTree::Ident(name)] = pair
                && function == "fn"
            {
                self.add(name);
                self.tests.insert(name.to_string());
            }
        }
    }

    fn add_word(&mut self, literal: &Lit) {
        if let (Lit::Str(text), false) = (literal, self.in_tests) {
            self.words.insert(text.value().trim().to_owned());
        }
    }

    /// Adds the record of a call of a log macro. The message is the string literal after the keys.
    fn add_record(&mut self, level: &Ident, tokens: &TokenStream) {
        let is = |token: &TokenTree, sign: char| match token {
            TokenTree::Punct(punct) => punct.as_char() == sign,
            _ => false,
        };
        let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
        let keys = tokens.iter().position(|token| is(token, ';'));
        let Some(TokenTree::Literal(message)) = tokens.get(keys.map_or(0, |at| at + 1)) else {
            return;
        };
        // A piece begins with its key: `source = self.key`, `operation`, `error:? = …`.
        let keys = tokens[..keys.unwrap_or(0)].split(|token| is(token, ','));
        let keys = keys.filter_map(|piece| piece.first()).map(TokenTree::to_string).collect();
        if let Lit::Str(text) = Lit::new(message.clone()) {
            let (target, level, message) = (self.module.clone(), level.to_string(), text.value());
            self.records.insert(Record { target, level, message, keys });
        }
    }
}

/// Returns the name of the module in a file.
fn module(path: &Path) -> String {
    let is_root = ["mod.rs", "lib.rs", "main.rs"].iter().any(|name| path.ends_with(name));
    let folder = path.parent().unwrap_or(path);
    let folder = if folder.ends_with("src") { folder.parent().unwrap_or(path) } else { folder };
    let name = if is_root { folder.file_name() } else { path.file_stem() };
    name.unwrap_or_default().to_string_lossy().into_owned()
}

/// Returns e.g. `reactor::os::signal` for `reactor/src/os/signal.rs`.
fn module_path(path: &Path) -> String {
    let path = path.with_extension("");
    let names = path.iter().map(|name| name.to_string_lossy());
    let names = names.filter(|name| !["src", "mod", "lib", "main"].contains(&name.as_ref()));
    names.collect::<Vec<_>>().join("::")
}

/// Returns e.g. `pool` for `#[path = "pool/mod.rs"]`.
fn renamed(attributes: &[Attribute]) -> Option<String> {
    let attribute = attributes.iter().find(|attribute| attribute.path().is_ident("path"))?;
    let Meta::NameValue(pair) = &attribute.meta else { return None };
    let Expr::Lit(syn::ExprLit { lit: Lit::Str(path), .. }) = &pair.value else { return None };
    Some(module(Path::new(&path.value())))
}

impl<'ast> Visit<'ast> for Items {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.add(&item.ident);
        if let Some(file) = renamed(&item.attrs) {
            self.renamed.insert(item.ident.to_string(), file);
        }
        self.within(&item.ident, |items| visit::visit_item_mod(items, item));
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add_function(&item.sig.ident, &item.attrs);
        visit::visit_item_fn(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let Type::Path(of) = &*item.self_ty else { return visit::visit_item_impl(self, item) };
        let of = &of.path.segments.last().expect("a path has a name").ident;
        self.within(of, |items| visit::visit_item_impl(items, item));
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        match item {
            ImplItem::Fn(item) => self.add(&item.sig.ident),
            ImplItem::Const(item) => self.add(&item.ident),
            ImplItem::Type(item) => self.add(&item.ident),
            _ => {}
        }
        visit::visit_impl_item(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.add(&item.ident);
        self.within(&item.ident, |items| visit::visit_item_trait(items, item));
    }

    fn visit_trait_item(&mut self, item: &'ast TraitItem) {
        if let TraitItem::Fn(item) = item {
            self.add(&item.sig.ident);
        }
        visit::visit_trait_item(self, item);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.add(&item.ident);
        self.within(&item.ident, |items| visit::visit_item_struct(items, item));
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.add(&item.ident);
        self.within(&item.ident, |items| visit::visit_item_enum(items, item));
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        self.add(&variant.ident);
        self.within(&variant.ident, |items| visit::visit_variant(items, variant));
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        field.ident.iter().for_each(|name| self.add(name));
        visit::visit_field(self, field);
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.add(&item.ident);
        visit::visit_item_const(self, item);
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.add(&item.ident);
        visit::visit_item_static(self, item);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.add(&item.ident);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !matches!(item.vis, Visibility::Inherited) {
            self.add_uses(&item.tree);
        }
    }

    fn visit_lit(&mut self, literal: &'ast Lit) {
        self.add_word(literal);
    }

    /// Adds the string literals of a macro call, and its items if the arguments parse as Rust.
    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let name = &call.path.segments.last().expect("a path has a name").ident;
        if self.in_core && LEVELS.iter().any(|level| name == level) {
            self.add_record(name, &call.tokens);
        }
        self.add_words(call.tokens.clone());
        match syn::parse2::<syn::File>(call.tokens.clone()) {
            Ok(inside) => self.visit_file(&inside),
            Err(_) => self.add_functions_of_macro(call.tokens.clone()),
        }
    }
}
