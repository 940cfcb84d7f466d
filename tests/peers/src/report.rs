//! Tables in Markdown, and the plot.

use std::fmt::Write;

/// Whether a smaller or a larger figure is better.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Better {
    Less,
    More,
}

/// Figures of the same kind: a column for each runtime, ours first, a row for each measurement.
pub(crate) struct Table {
    title: &'static str,
    better: Better,
    /// In comparisons, smaller figures count as this one.
    least: f64,
    columns: Vec<&'static str>,
    rows: Vec<(String, Vec<Option<f64>>)>,
}

/// The runtime to which all are compared, and its other form.
const REFERENCE: &str = "tokio";
const LOCAL_REFERENCE: &str = "tokio LocalSet";

/// How much worse a median may be before it counts as a loss.
const NOISE: f64 = 1.02;

/// A figure that runtimes cannot reach, because it is not one.
const FLOOR: &str = "mio loop";

/// The program of this workspace, which does more than the servers here.
const ECHOD: &str = "echod";

impl Table {
    pub(crate) fn new(title: &'static str, better: Better, columns: &[&'static str]) -> Table {
        Table { title, better, least: 0.0, columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Compares figures below `least` as if they were `least`.
    pub(crate) fn at_least(self, least: f64) -> Table {
        Table { least, ..self }
    }

    pub(crate) fn push(&mut self, row: &str, figures: impl Iterator<Item = Option<f64>>) {
        self.rows.push((row.to_owned(), figures.collect()));
    }

    fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| *column == name)
    }

    /// The columns in which any runtime has a figure.
    fn used(&self) -> Vec<usize> {
        let is_used = |at: &usize| self.rows.iter().any(|(_, figures)| figures[*at].is_some());
        (0..self.columns.len()).filter(is_used).collect()
    }

    /// A figure as a multiple of another one: more than 1 is worse.
    fn cost(&self, figure: f64, reference: f64) -> f64 {
        let ratio = self.ratio(figure, reference);
        if self.better == Better::Less { ratio } else { 1.0 / ratio }
    }

    fn ratio(&self, figure: f64, reference: f64) -> f64 {
        figure.max(self.least) / reference.max(self.least)
    }

    /// Our figure as a multiple of another runtime's, if it is worse by more than [`NOISE`].
    fn loss(&self, figures: &[Option<f64>], column: usize) -> Option<f64> {
        let cost = self.cost(figures[0]?, figures[column]?);
        (cost > NOISE).then_some(cost)
    }

    /// Names the rows in which ours is behind another runtime.
    fn losses(&self, column: &str) -> Option<String> {
        let at = self.column(column)?;
        let row = |(name, figures): &(String, Vec<_>)| {
            Some(format!("{name} ({:.2})", self.loss(figures, at)?))
        };
        let rows: Vec<_> = self.rows.iter().filter_map(row).collect();
        (!rows.is_empty()).then(|| format!("{}: {}", self.title, rows.join(", ")))
    }

    /// The table in Markdown. The ratio to tokio is behind each figure, and a mark in the cells in
    /// which ours is behind tokio.
    fn markdown(&self) -> String {
        let used = self.used();
        let mut text = format!("| {} |", self.title);
        used.iter().for_each(|&at| write!(text, " {} |", self.columns[at]).expect("a string"));
        text += "\n|---|";
        text += &"--:|".repeat(used.len());
        for (name, figures) in &self.rows {
            write!(text, "\n| {name} |").expect("a string");
            let reference = self.column(REFERENCE).and_then(|at| figures[at]);
            let forms = [REFERENCE, LOCAL_REFERENCE].map(|form| self.column(form));
            let is_behind = forms.iter().flatten().any(|&at| self.loss(figures, at).is_some());
            for &at in &used {
                let Some(figure) = figures[at] else {
                    text += " – |";
                    continue;
                };
                write!(text, " {}", number(figure)).expect("a string");
                if let Some(reference) = reference {
                    write!(text, " ({:.2})", self.ratio(figure, reference)).expect("a string");
                }
                text += if at == 0 && is_behind { " ▼ |" } else { " |" };
            }
        }
        text + "\n"
    }
}

/// Three digits or more.
fn number(figure: f64) -> String {
    let decimals = if figure < 10.0 { 2 } else { usize::from(figure < 100.0) };
    let digits = format!("{figure:.decimals$}");
    let whole = digits.split('.').next().map_or(0, str::len);
    if whole <= 3 {
        return digits;
    }
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (whole - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// All tables, and what a reader should know first: which cells are lost.
pub(crate) fn markdown(tables: &[Table]) -> String {
    let mut text = String::new();
    for table in tables {
        text += &table.markdown();
        text.push('\n');
    }
    text + &losses(tables)
}

/// Names every cell in which ours is behind another runtime.
fn losses(tables: &[Table]) -> String {
    let mut text = String::from(
        "The cells in which ours is behind by more than 2 %, with our cost as a multiple of theirs:\n\n",
    );
    let mut columns: Vec<_> = tables.iter().flat_map(|table| &table.columns[1..]).collect();
    columns.sort();
    columns.dedup();
    for column in columns.into_iter().filter(|column| ![FLOOR, ECHOD].contains(column)) {
        let parts: Vec<_> = tables.iter().filter_map(|table| table.losses(column)).collect();
        if parts.is_empty() {
            continue;
        }
        let parts = parts.join("; ");
        writeln!(text, "- **{column}**: {parts}.").expect("a string");
    }
    text
}

/// A few rows, for a page that leads to all of them.
pub(crate) fn excerpt(tables: &[Table], rows: &[(&str, &str)]) -> String {
    let columns = ["ours", REFERENCE, LOCAL_REFERENCE, "smol", "monoio", FLOOR];
    let mut text =
        format!("| | {} |\n|---|{}\n", columns.join(" | "), "--:|".repeat(columns.len()));
    for (title, row) in rows {
        let Some(table) = tables.iter().find(|table| table.title == *title) else { continue };
        let Some((_, figures)) = table.rows.iter().find(|(name, _)| name == row) else { continue };
        let cells = columns.map(|name| {
            let figure = table.column(name).and_then(|at| figures[at]);
            figure.map_or("–".to_owned(), number)
        });
        writeln!(text, "| {title}: {row} | {} |", cells.join(" | ")).expect("a string");
    }
    text
}

/// The plot as SVG: a line for each row, and on it a point for each runtime, further to the left
/// if it costs less than tokio.
pub(crate) fn plot(tables: &[Table]) -> String {
    const COLORS: [(&str, &str); 9] = [
        ("ours", "#d6336c"),
        (ECHOD, "#f783ac"),
        (REFERENCE, "#1c7ed6"),
        (LOCAL_REFERENCE, "#74c0fc"),
        ("tokio 64 KiB", "#1098ad"),
        ("smol", "#2f9e44"),
        ("monoio", "#f08c00"),
        ("monoio uring", "#ffd43b"),
        (FLOOR, "#868e96"),
    ];
    const LEFT: f64 = 330.0;
    const WIDTH: f64 = 560.0;
    const LINE: f64 = 14.0;
    // A decade on both sides of tokio.
    let x = |cost: f64| LEFT + (cost.log10().clamp(-1.0, 1.0) + 1.0) / 2.0 * WIDTH;
    let mut body = String::new();
    let mut y = 2.5 * LINE;
    for (at, (name, color)) in COLORS.iter().enumerate() {
        let left = 12.0 + 98.0 * at as f64;
        body += &format!(
            "<circle cx='{left}' cy='14' r='5' fill='{color}'/>\
             <text x='{}' y='18'>{name}</text>\n",
            left + 8.0
        );
    }
    let top = y;
    for table in tables {
        y += 1.4 * LINE;
        body += &format!("<text x='8' y='{}' font-weight='bold'>{}</text>\n", y + 4.0, table.title);
        for (row, figures) in &table.rows {
            y += LINE;
            let end = LEFT + WIDTH;
            body += &format!(
                "<path d='M{LEFT} {y}H{end}' stroke='#e9ecef'/><text x='{}' y='{}' \
                 text-anchor='end'>{row}</text>\n",
                LEFT - 8.0,
                y + 4.0
            );
            let Some(reference) = table.column(REFERENCE).and_then(|at| figures[at]) else {
                continue;
            };
            // Ours last, so that it is on top.
            for (column, figure) in table.columns.iter().zip(figures).rev() {
                let color = COLORS.iter().find(|(name, _)| name == column);
                let (Some((_, color)), Some(figure)) = (color, figure) else { continue };
                let x = x(table.cost(*figure, reference));
                body += &format!("<circle cx='{x:.1}' cy='{y}' r='4.5' fill='{color}'/>\n");
            }
        }
    }
    for tick in [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0] {
        let (x, color) = (x(tick), if tick == 1.0 { "#1c7ed6" } else { "#ced4da" });
        body += &format!(
            "<path d='M{x:.1} {top}V{y}' stroke='{color}' stroke-dasharray='2 3'/>\
             <text x='{x:.1}' y='{}' text-anchor='middle'>{tick}×</text>\n",
            top - 4.0
        );
    }
    let (width, height) = (LEFT + WIDTH + 20.0, y + LINE);
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' \
         font-family='sans-serif' font-size='11'>\n<title>Cost as a multiple of tokio: less is \
         better</title>\n<rect width='{width}' height='{height}' fill='white'/>\n{body}</svg>\n"
    )
}

/// The processor, the kernel, the versions of the crates, and how busy the machine was.
pub(crate) fn circumstances() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model =
        cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = read("/proc/sys/kernel/osrelease");
    let kernel = kernel.split('-').next().unwrap_or_default().trim().to_owned();
    let lock = include_str!("../../../Cargo.lock");
    let version = |name: &str| {
        // Of two versions the newer one: monoio brings an old mio.
        let package = lock.split(&format!("name = \"{name}\"\nversion = \"")).last();
        let version = package.and_then(|rest| rest.split('"').next()).unwrap_or("?");
        format!("{name} {version}")
    };
    let versions = ["tokio", "smol", "monoio", "mio"].map(version).join(", ");
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    let model = model.unwrap_or("unknown processor");
    format!("{model}, {cores} cores, Linux {kernel}; {versions}; load average {load}")
}

pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
