//! Writes all mutants of a file into the file, each behind a switch.
//!
//! `a < b` becomes `(if on(7) { a <= b } else if on(8) { a == b } else { a < b })`, and a function
//! whose body is to be replaced begins with `if on(9) { return …; }`. So the tree is built once for
//! all mutants. No line of the original moves, because some tests check the line numbers in
//! messages.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ops::Range;

use serde_json::Value;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, BinOp, Expr, ExprLit, Lit, Meta, UnOp};

/// The outcome recorded for a mutant that cannot have a switch, until the mutant is built alone.
pub(crate) const LEFT_OUT: &str = "left out";

/// A mutant of cargo-mutants' list.
pub(crate) struct Mutant {
    /// The position in the list, counted from 1.
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) package: String,
    pub(crate) file: String,
    /// Identifies the mutant even if lines above it change: the name without line and column.
    pub(crate) key: String,
    /// The file and the function that contain the mutant.
    pub(crate) around: String,
    genre: String,
    replacement: String,
    /// Whether the mutant is in a function. All other mutants are in constants.
    in_function: bool,
    returns_impl: bool,
    start: (usize, usize),
    end: (usize, usize),
}

impl Mutant {
    pub(crate) fn new(json: &Value) -> Mutant {
        let text = |key: &str| json[key].as_str().expect("the list has this key").to_owned();
        let place = |key: &str| {
            let number = |part: &str| json["span"][key][part].as_u64().expect("a number") as usize;
            (number("line"), number("column"))
        };
        let (name, file) = (text("name"), text("file"));
        let change = name.splitn(4, ':').nth(3).unwrap_or("").trim();
        let function = json["function"]["function_name"].as_str();
        Mutant {
            id: 0,
            key: format!("{file}: {change}"),
            around: format!("{file}: {}", function.unwrap_or("")),
            name,
            file,
            package: text("package"),
            genre: text("genre"),
            replacement: text("replacement"),
            in_function: !json["function"].is_null(),
            returns_impl: json["function"]["return_type"]
                .as_str()
                .is_some_and(|returned| returned.contains("impl ")),
            start: place("start"),
            end: place("end"),
        }
    }

    /// Returns the bytes of the file that the mutant replaces.
    fn range(&self, source: &str) -> Range<usize> {
        let byte = |(line, column): (usize, usize)| {
            let before = source.split_inclusive('\n').take(line - 1).map(str::len).sum::<usize>();
            let chars = source[before..].chars().take(column - 1);
            before + chars.map(char::len_utf8).sum::<usize>()
        };
        byte(self.start)..byte(self.end)
    }

    /// Returns the file with this mutant only, without a switch.
    pub(crate) fn apply(&self, source: &str) -> String {
        let range = self.range(source);
        format!("{}{}{}", &source[..range.start], self.replacement, &source[range.end..])
    }
}

/// A file with its mutants compiled in.
pub(crate) struct Schema {
    pub(crate) text: String,
    /// The bytes of `text` that exist because of a mutant.
    pub(crate) regions: Vec<(Range<usize>, u32)>,
    /// The lines of `match` expressions, each with a mutant that deletes one of its arms.
    pub(crate) matches: Vec<(usize, u32)>,
    /// The mutants that cannot be behind a switch, each with the reason.
    pub(crate) left_out: Vec<(u32, &'static str)>,
}

/// What replaces a piece of the source.
enum Edit {
    /// Text in front of the piece, one for each mutant, e.g. `if on(9) { return true; }`.
    Before(Vec<(u32, String)>),
    /// Other versions of the piece.
    Instead(Vec<(u32, String)>),
    /// A condition in addition to the guard of a match arm.
    Guard(Vec<(u32, String)>),
}

/// The pattern of an arm, its guard, and the line of its `match`.
type Arm = (Range<usize>, Option<Range<usize>>, usize);

/// The expressions, arms and guards of a file, by the byte at which their mutants start.
#[derive(Default)]
struct Places {
    /// Start of an operator, and the expression around it.
    operators: BTreeMap<usize, Range<usize>>,
    /// Start of an arm, and the arm.
    arms: BTreeMap<usize, Arm>,
    /// Start of a field, and the expression around it.
    fields: BTreeMap<usize, Range<usize>>,
    /// The ranges of conditions that can be evaluated twice, because they only read.
    repeatable: BTreeSet<(usize, usize)>,
    /// Constants and constant functions, which cannot read a switch at run time.
    constants: Vec<Range<usize>>,
    /// Functions that are not compiled on this OS.
    elsewhere: Vec<Range<usize>>,
}

/// Methods that only read. Of these, only `borrow` can panic.
const READS: [&str; 14] = [
    "as_ref", "borrow", "capacity", "contains", "get", "is_empty", "is_err", "is_none", "is_ok",
    "is_some", "is_zero", "key", "kind", "len",
];

/// Returns whether an expression can be evaluated once more than in the original. With `always`,
/// the original may not evaluate it at all, so it must not panic.
fn is_repeatable(expr: &Expr, always: bool) -> bool {
    let also = |expr: &Expr| is_repeatable(expr, always);
    match expr {
        Expr::Path(_) | Expr::Lit(_) => true,
        Expr::Paren(inner) => also(&inner.expr),
        Expr::Group(inner) => also(&inner.expr),
        Expr::Field(field) => also(&field.base),
        Expr::Cast(cast) => also(&cast.expr),
        Expr::Reference(reference) => reference.mutability.is_none() && also(&reference.expr),
        Expr::Unary(unary) => !(always && matches!(unary.op, UnOp::Neg(_))) && also(&unary.expr),
        Expr::Binary(binary) => {
            (is_condition(&binary.op) || !always && is_arithmetic(&binary.op))
                && also(&binary.left)
                && also(&binary.right)
        }
        Expr::Index(index) => !always && also(&index.expr) && also(&index.index),
        Expr::MethodCall(call) => {
            READS.iter().any(|name| call.method == name)
                && !(always && call.method == "borrow")
                && also(&call.receiver)
                && call.args.iter().all(also)
        }
        _ => false,
    }
}

/// Returns whether an operator has a Boolean result.
fn is_condition(op: &BinOp) -> bool {
    use BinOp::*;
    matches!(op, Lt(_) | Le(_) | Gt(_) | Ge(_) | Eq(_) | Ne(_) | And(_) | Or(_))
}

fn is_arithmetic(op: &BinOp) -> bool {
    use BinOp::*;
    matches!(op, Add(_) | Sub(_) | Mul(_) | Div(_) | Rem(_) | BitAnd(_) | BitOr(_) | BitXor(_))
}

/// Returns whether an attribute such as `#[cfg(not(target_os = "linux"))]` excludes its item here.
fn excludes(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute.parse_args().is_ok_and(|condition| holds(&condition) == Some(false))
}

/// Evaluates a condition on the OS. Returns `None` for other conditions.
fn holds(condition: &Meta) -> Option<bool> {
    match condition {
        Meta::NameValue(pair) if pair.path.is_ident("target_os") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(os), .. }) => Some(os.value() == env::consts::OS),
            _ => None,
        },
        Meta::List(list) if list.path.is_ident("not") => {
            list.parse_args().ok().and_then(|inner| holds(&inner)).map(|holds| !holds)
        }
        _ => None,
    }
}

struct HasLet(bool);

impl<'ast> Visit<'ast> for HasLet {
    fn visit_expr_let(&mut self, _: &'ast syn::ExprLet) {
        self.0 = true;
    }
}

impl<'ast> Visit<'ast> for Places {
    fn visit_expr_binary(&mut self, node: &'ast syn::ExprBinary) {
        let mut has_let = HasLet(false);
        has_let.visit_expr_binary(node);
        // `a && let …` cannot be moved into parentheses. Its mutant `a || let …` does not compile.
        if !has_let.0 {
            let whole = node.span().byte_range();
            self.operators.insert(node.op.span().byte_range().start, whole.clone());
            // `||` in place of `&&` evaluates its right side where the original does not.
            let always = matches!(node.op, BinOp::And(_) | BinOp::Or(_));
            if is_condition(&node.op)
                && is_repeatable(&node.left, always)
                && is_repeatable(&node.right, always)
            {
                self.repeatable.insert((whole.start, whole.end));
            }
        }
        visit::visit_expr_binary(self, node);
    }

    fn visit_expr_unary(&mut self, node: &'ast syn::ExprUnary) {
        self.operators.insert(node.op.span().byte_range().start, node.span().byte_range());
        visit::visit_expr_unary(self, node);
    }

    fn visit_expr_match(&mut self, node: &'ast syn::ExprMatch) {
        let line = node.expr.span().start().line;
        for arm in &node.arms {
            let guard = arm.guard.as_ref().map(|(_, guard)| {
                let range = guard.span().byte_range();
                if is_repeatable(guard, false) {
                    self.repeatable.insert((range.start, range.end));
                }
                range
            });
            let pattern = arm.pat.span().byte_range();
            self.arms.insert(arm.span().byte_range().start, (pattern, guard, line));
        }
        visit::visit_expr_match(self, node);
    }

    fn visit_expr_struct(&mut self, node: &'ast syn::ExprStruct) {
        for field in &node.fields {
            self.fields.insert(field.span().byte_range().start, node.span().byte_range());
        }
        visit::visit_expr_struct(self, node);
    }

    fn visit_item_const(&mut self, node: &'ast syn::ItemConst) {
        self.constants.push(node.span().byte_range());
    }

    fn visit_impl_item_const(&mut self, node: &'ast syn::ImplItemConst) {
        self.constants.push(node.span().byte_range());
    }

    fn visit_item_static(&mut self, node: &'ast syn::ItemStatic) {
        self.constants.push(node.span().byte_range());
    }

    fn visit_item_fn(&mut self, node: &'ast syn::ItemFn) {
        if node.attrs.iter().any(excludes) {
            self.elsewhere.push(node.span().byte_range());
        }
        visit::visit_item_fn(self, node);
    }

    fn visit_impl_item_fn(&mut self, node: &'ast syn::ImplItemFn) {
        if node.sig.constness.is_some() {
            self.constants.push(node.span().byte_range());
        }
        if node.attrs.iter().any(excludes) {
            self.elsewhere.push(node.span().byte_range());
        }
        visit::visit_impl_item_fn(self, node);
    }
}

/// Compiles `mutants`, all of one file, into its `source`.
pub(crate) fn compile_in(source: &str, mutants: &[&Mutant]) -> Schema {
    let file = syn::parse_file(source).expect("a source of this workspace is Rust");
    let mut places = Places::default();
    places.visit_file(&file);

    let mut edits: BTreeMap<(usize, std::cmp::Reverse<usize>, u8), Edit> = BTreeMap::new();
    let (mut left_out, mut matches) = (Vec::new(), Vec::new());
    for mutant in mutants {
        let span = mutant.range(source);
        // A mutant that replaces a whole body may start where a constant inside it starts. It
        // belongs to the constant only if the constant contains all of it.
        let is_in = |ranges: &[Range<usize>]| {
            ranges.iter().any(|range| range.contains(&span.start) && range.end >= span.end)
        };
        let is_constant = is_in(&places.constants);
        // A function that returns `impl Trait` has one type only, and cannot return another first.
        let is_second_type = mutant.genre == "FnValue" && mutant.returns_impl;
        if !mutant.in_function || is_constant || is_second_type {
            left_out.push((mutant.id, LEFT_OUT));
            continue;
        }
        if is_in(&places.elsewhere) {
            left_out.push((mutant.id, "unviable: not compiled on this OS"));
            continue;
        }
        let without = |range: &Range<usize>| {
            let rest = &source[span.end..range.end];
            let rest =
                if mutant.genre == "StructField" { rest.trim_start_matches(',') } else { rest };
            format!("{}{}{}", &source[range.start..span.start], mutant.replacement, rest)
        };
        let found = match mutant.genre.as_str() {
            "FnValue" => {
                let value =
                    format!("if ::mutant::on({}) {{ return {}; }} ", mutant.id, mutant.replacement);
                Some((span.start..span.start, 0, value))
            }
            "BinaryOperator" | "UnaryOperator" => {
                places.operators.get(&span.start).map(|range| (range.clone(), 1, without(range)))
            }
            "StructField" => {
                places.fields.get(&span.start).map(|range| (range.clone(), 1, without(range)))
            }
            "MatchArmGuard" => Some((span.clone(), 1, mutant.replacement.clone())),
            "MatchArm" => places.arms.get(&span.start).map(|(pattern, guard, line)| {
                matches.push((*line, mutant.id));
                match guard {
                    Some(guard) => (guard.clone(), 1, "false".to_owned()),
                    None => {
                        (pattern.end..pattern.end, 2, format!(" if !::mutant::on({})", mutant.id))
                    }
                }
            }),
            other => panic!("cargo-mutants has a genre that is not known here: {other}"),
        };
        let Some((range, kind, text)) = found else {
            // `places` lacks the operators of expressions that contain a `let`.
            let is_chain = mutant.genre == "BinaryOperator";
            let why = if is_chain { "unviable: `||` beside a `let`" } else { LEFT_OUT };
            left_out.push((mutant.id, why));
            continue;
        };
        // Sort text in front of a piece first, then larger pieces before smaller ones, so that an
        // outer piece precedes the pieces inside it.
        let end = if kind == 0 { usize::MAX } else { range.end };
        let edit = edits.entry((range.start, std::cmp::Reverse(end), kind));
        let edit = edit.or_insert(match kind {
            0 => Edit::Before(Vec::new()),
            1 => Edit::Instead(Vec::new()),
            _ => Edit::Guard(Vec::new()),
        });
        let (Edit::Before(list) | Edit::Instead(list) | Edit::Guard(list)) = edit;
        list.push((mutant.id, text));
    }

    let edits: Vec<_> = edits
        .into_iter()
        .map(|((start, end, kind), edit)| (start..if kind == 0 { start } else { end.0 }, edit))
        .collect();
    let mut schema = Schema { text: String::new(), regions: Vec::new(), matches, left_out };
    let mut rest = &edits[..];
    write(source, 0..source.len(), &mut rest, &places, &mut schema);
    assert!(rest.is_empty(), "edits overlap");
    schema
}

/// Removes comments and joins the lines, so that the lines that follow keep their numbers.
fn on_one_line(text: &str) -> String {
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or(""));
    lines.collect::<Vec<_>>().join(" ")
}

/// Writes a range of the source and the edits inside it.
fn write(
    source: &str,
    range: Range<usize>,
    edits: &mut &[(Range<usize>, Edit)],
    places: &Places,
    schema: &mut Schema,
) {
    let mut at = range.start;
    while let Some((place, edit)) = edits.first().filter(|(place, _)| place.end <= range.end) {
        *edits = &edits[1..];
        schema.text += &source[at..place.start];
        at = place.end;
        match edit {
            Edit::Before(list) | Edit::Guard(list) => {
                for (id, text) in list {
                    let start = schema.text.len();
                    schema.text += text;
                    schema.regions.push((start..schema.text.len(), *id));
                }
            }
            Edit::Instead(list) => {
                let whole = schema.text.len();
                schema.text.push('(');
                let original = on_one_line(&source[place.clone()]);
                for (id, text) in list {
                    let start = schema.text.len();
                    let text = on_one_line(text);
                    let switch = match places.repeatable.contains(&(place.start, place.end)) {
                        true => format!("on_if({id}, || ({text}) != ({original}))"),
                        false => format!("on({id})"),
                    };
                    schema.text += &format!("if ::mutant::{switch} {{ {text} }} else ");
                    schema.regions.push((start..schema.text.len(), *id));
                }
                schema.text += "{ ";
                write(source, place.clone(), edits, places, schema);
                schema.text += " })";
                for (id, _) in list {
                    schema.regions.push((whole..schema.text.len(), *id));
                }
            }
        }
    }
    schema.text += &source[at..range.end];
}
