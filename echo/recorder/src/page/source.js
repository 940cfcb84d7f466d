// The source: tabs, the path, and the marked line.

const KEYWORDS = "as|async|await|break|const|continue|crate|dyn|else|enum|extern|false|fn|for|if|impl|in|let|loop|match|mod|move|mut|pub|ref|return|self|Self|static|struct|super|trait|true|type|unsafe|use|where|while";
const TOKENS = new RegExp(
  String.raw`(?<comment>\/\/[^\n]*|\/\*[^]*?\*\/)|(?<string>\bb?r#*"[^]*?"#*|b?"(?:\\[^]|[^"\\])*"|b?'(?:\\[^']+|[^'\\\n])')|(?<keyword>\b(?:${KEYWORDS})\b)`, "g");

/** The lines of each file as elements. They are cached, because most steps are in a few files. */
const listings = new Map();

function listing(file) {
  if (!listings.has(file)) listings.set(file, makeListing(file, "lines"));
  return listings.get(file);
}

/** `index` is the name of the run's index of lines with steps. */
function makeListing(file, index) {
  const lines = colored(data.files[file]).map((parts, at) => codeLine(file, at + 1, parts, index));
  return { lines, texts: data.files[file].split("\n"), element: make("div", {}, ...lines) };
}

/** Returns each line as a list of strings and colored spans. A token may be longer than a line. */
function colored(text) {
  const lines = [[]];
  const add = (piece, style) => piece.split("\n").forEach((part, nth) => {
    if (nth > 0) lines.push([]);
    if (part) lines.at(-1).push(style ? make("span", { class: style }, part) : part);
  });
  let end = 0;
  for (const token of text.matchAll(TOKENS)) {
    add(text.slice(end, token.index));
    add(token[0], Object.keys(token.groups).find((group) => token.groups[group] !== undefined));
    end = token.index + token[0].length;
  }
  add(text.slice(end));
  return lines;
}

/** The number of a line that has steps is a button that lists them. */
function codeLine(file, line, parts, index) {
  const stepsOf = () => current()[index].get(file)?.get(line) ?? [];
  const used = runs.some((run) => run[index].get(file)?.has(line));
  const list = () => listSteps(`Steps at ${shortName(file)}:${line}`, stepsOf());
  const label = `Line ${line}: list its steps`;
  const number = used
    ? make("button", { type: "button", class: "number", "aria-label": label, title: "List the steps of this line", click: list }, String(line))
    : make("span", { class: "number" }, String(line));
  // If a marked line wraps, indent the rest of it.
  const hang = (typeof parts[0] === "string" ? parts[0].search(/\S|$/) : 0) + 4;
  const text = make("span", { class: "code-text", style: `--hang:${hang}` }, ...parts);
  return make("div", { class: "code-line", "data-line": line }, number, text);
}

/** The name of a file, with its folder if the name is ambiguous. */
function shortName(file) {
  const parts = file.split("/");
  const name = parts.pop();
  const alike = tabFiles.filter((other) => other.endsWith(`/${name}`)).length > 1;
  return name === "mod.rs" || (name === "lib.rs" && alike) ? `${parts.pop()}/${name}` : name;
}

const tabFiles = allFiles();

/** The files of the reading path, then the other files that steps name. */
function allFiles() {
  const named = runs.flatMap((run) => [...run.lines.keys()]);
  return [...new Set([...data.tabs, ...named])].filter((file) => file in data.files || data.tabs.includes(file));
}

/** Returns what the source region shows: a file, lines, and whether to mark them. */
function sourceView(run) {
  const step = run.step(run.position);
  if (view.peek) return { file: view.peek, lines: firstUse(run, view.peek), marks: false };
  if (isPair && !step) return differenceView(run);
  if (run.position === 0) return { file: run.first.file, lines: [run.first.from, run.first.to], top: true };
  if (!step) return { file: run.last.read, lines: [1, 1], top: true };
  if (step.file) return { file: step.file, lines: step.act, record: step.record, marks: true };
  return { ...lastSource(run), away: step };
}

function firstUse(run, file) {
  const lines = [...(run.lines.get(file)?.keys() ?? [])].sort((a, b) => a - b);
  return lines.length ? [lines[0], lines[0]] : [1, 1];
}

/** For a step outside of the runtime, keeps the source of the last step of the runtime. */
function lastSource(run) {
  for (let position = run.position; position > 0; position--) {
    const { file, act } = run.step(position);
    if (file) return { file, lines: act };
  }
  return { file: run.first.file, lines: [run.first.from, run.first.to] };
}

let marked = [];

function showSource() {
  const run = current();
  const shown = sourceView(run);
  const region = byId("source");
  region.classList.toggle("away", Boolean(shown.away));
  showTabs(run, shown.file);
  showPath(run, shown);
  const code = byId("code");
  if (!(shown.file in data.files)) return code.replaceChildren();
  const { element, lines, texts } = listing(shown.file);
  if (code.firstChild !== element) code.replaceChildren(element);
  markLines(run, shown, lines);
  scrollLines(code, codeRows(), shown.lines, texts, shown.top);
}

function markLines(run, shown, lines) {
  for (const line of marked) line.className = "code-line";
  marked = [];
  const mark = (from, to, style) => {
    for (const line of lines.slice(from - 1, to)) {
      line.classList.add(style);
      marked.push(line);
    }
  };
  markDifference(run, shown, mark);
  if (!shown.marks) return;
  mark(shown.lines[0], shown.lines[1], "now");
  const inside = shown.record >= shown.lines[0] && shown.record <= shown.lines[1];
  if (shown.record && !inside) mark(shown.record, shown.record, "record");
  const next = run.step(positionAfter(run));
  if (next && next.file === shown.file && next.act[0] !== shown.lines[0]) mark(...next.act, "then");
}

/** Scrolls by whole lines, with the marked line in the middle. On the first screen it is at the top. */
function scrollLines(code, rows, [from, to], texts, atTop) {
  const height = codeLineHeight();
  code.style.height = `${rows * height}px`;
  const room = Math.max(0, rows - (to - from + 1));
  const above = atTop ? Math.min(1, from - 1) : Math.floor(room / 2);
  const top = Math.max(0, Math.min(from - 1 - above, texts.length - rows));
  code.scrollTop = top * height;
  code.scrollLeft = 0;
  code.style.setProperty("--indent", narrow.matches ? commonIndent(texts.slice(top, top + rows)) : 0);
}

const codeLineHeight = () => parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--code-line"));

function codeRows() {
  if (narrow.matches) return byId("program").hidden ? 8 : 6;
  return Math.max(3, Math.floor((roomForCode() - byId("program").offsetHeight) / codeLineHeight()));
}

const roomForCode = () => byId("source").clientHeight - byId("tabs").offsetHeight - byId("path").offsetHeight;

/** Returns the indentation that all visible lines share, which a narrow page omits. */
function commonIndent(lines) {
  const indents = lines.filter((line) => line.trim()).map((line) => line.search(/\S/));
  return indents.length ? Math.min(...indents) : 0;
}

function showTabs(run, file) {
  byId("tabs").replaceChildren(...tabFiles.map((tab) => {
    const unused = run.lines.has(tab) || tab === file ? undefined : "unused";
    const look = () => peekAt(tab);
    const shown = tab === file ? "true" : undefined;
    return make("button", { type: "button", class: unused, title: tab, "aria-current": shown, disabled: !(tab in data.files), click: look }, shortName(tab));
  }));
  const active = byId("tabs").querySelector("[aria-current]");
  if (active) byId("tabs").scrollLeft = active.offsetLeft - byId("tabs").firstChild.offsetLeft;
}

function peekAt(file) {
  view.peek = file;
  showSource();
  byId("tabs").querySelector("[aria-current]")?.focus();
}

function showPath(run, shown) {
  const path = byId("path");
  if (shown.away) return path.replaceChildren(make("strong", {}, awayInWords(shown.away)));
  const step = run.step(run.position);
  const names = shown.marks && shown.file in data.files ? run.stacks[step.stack] : [];
  if (!names.length) return path.replaceChildren(shown.file);
  const whose = step.kind === "outside" ? nameOfThread(step.thread) : "the runtime";
  const first = hasProgram ? whose : shown.file;
  const outer = fitNames(path, first, names).map((name) => `${name} › `).join("");
  path.replaceChildren(hasProgram ? make("strong", {}, first) : first, ` · ${outer}`, make("strong", {}, names.at(-1)));
}

function awayInWords(step) {
  return step.kind === "note" ? "the program runs its own code" : `outside the runtime: ${nameOfThread(step.thread)}`;
}

/** The width of a letter of the path, a little more than on average. */
const LETTER = 6.5;

/** Returns the outer functions of a path. If they do not fit beside the last one, omits the outermost. */
function fitNames(path, first, names) {
  let room = path.clientWidth / LETTER - first.length - names.at(-1).length - 12;
  const from = names.findLastIndex((name, at) => at < names.length - 1 && (room -= name.length + 3) < 0) + 1;
  return [...(from > 0 ? ["…"] : []), ...names.slice(from, -1)];
}
