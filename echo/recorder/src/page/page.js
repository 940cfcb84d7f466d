// Steps through a recording: one sentence, one column of the wave, one line of source, and the
// cells of state that this step changed.
//
// Sections: the recording and its indexes · the position in it · elements · the sentence · the source ·
// the state · the wave · navigation · keys and pointers · startup.
//
// A *position* is 0 on the first screen, 1 to N on the N steps, and N + 1 on the last screen. A step's
// *number* (`n`) is what the reader sees. The two differ if steps were dropped from the recording.
"use strict";

const data = JSON.parse(byId("data").textContent);
const runs = data.runs.map(index);
const narrow = matchMedia("(max-width: 760px), (max-height: 560px)");

/** What the reader has selected. This and the recording determine everything on the page. */
const view = {
  /** The run, of two compared ones, whose sentence, source and state are shown. */
  side: 0,
  /** The file that the reader has opened instead of the step's file, until the next step. */
  peek: null,
  /** Whether to draw the whole chain of causes, back to the outside. */
  chain: false,
  /** The timer of the next step while playing. */
  playing: null,
  /** The seconds that a step lasts while playing. */
  pace: 1,
};

const PACES = [0.25, 0.5, 1, 1.5, 2];
/** Cells that repeat or count what other cells show. Their changes are not marked. */
const REPEATING = /^task\/\d+\/(held|polls)$/;
/** Kinds of steps and states of tasks that are faults. A call that would block is not a fault. */
const FAULTS = new Set(["stuck", "lost", "panic", "panicked", "verdict"]);
/** With more tasks or sources than this, the state shows only those of the lanes and of the step. */
const MAX_ROWS = 8;

// ---- The recording and its indexes -------------------------------------------------------------

/** Adds indexes to a run, so that the cost of a step depends only on what it changes. */
function index(run) {
  const offset = run.steps.length ? run.steps[0].n - 1 : 0;
  const indexed = {
    ...run, offset, position: 0,
    end: run.steps.length + 1,
    numberAt: (position) => (position === 0 ? 0 : position + offset),
    step: (position) => run.steps[position - 1],
    cells: { ...run.state }, applied: 0,
    ...indexChanges(run),
    effects: effectsOf(run, offset),
    lines: linesOf(run),
    usual: usualFollow(run),
    follow: usualFollow(run),
    shown: null,
  };
  indexed.shown = shownPositions(indexed);
  return indexed;
}

/** Finds in one pass what each change replaced, which cells exist, and which tasks wait at each source. */
function indexChanges(run) {
  const cells = { ...run.state };
  const waited = new Set();
  const waitersOf = new Map();
  const was = run.steps.map((step) => {
    const before = {};
    for (const [path, value] of Object.entries(step.changes)) {
      before[path] = cells[path];
      cells[path] = value;
      const wakers = /^source\/(\w+)\/(read|write)\/wakers$/.exec(path);
      if (wakers && value.length) noteWaiters(wakers, value, waited, waitersOf);
    }
    return before;
  });
  for (const [path, value] of Object.entries(run.state)) {
    const wakers = /^source\/(\w+)\/(read|write)\/wakers$/.exec(path);
    if (wakers && value.length) noteWaiters(wakers, value, waited, waitersOf);
  }
  return { was, paths: new Set(Object.keys(cells)), waited, waitersOf };
}

function noteWaiters([, source, direction], tasks, waited, waitersOf) {
  waited.add(`${source}/${direction}`);
  if (!waitersOf.has(source)) waitersOf.set(source, new Set());
  for (const task of tasks) waitersOf.get(source).add(task);
}

/** Maps the number of each step to the steps that it caused. The start is number 0. */
function effectsOf(run, offset) {
  const effects = new Map();
  for (const step of run.steps) {
    for (const cause of step.causes) {
      if (cause !== 0 && cause <= offset) continue;
      if (!effects.has(cause)) effects.set(cause, []);
      effects.get(cause).push(step.n);
    }
  }
  return effects;
}

/** Maps each file and line to the steps that ran it. */
function linesOf(run) {
  const files = new Map();
  for (const step of run.steps) {
    if (!step.file) continue;
    if (!files.has(step.file)) files.set(step.file, new Map());
    const lines = files.get(step.file);
    for (let line = step.act[0]; line <= step.act[1]; line++) {
      if (!lines.has(line)) lines.set(line, []);
      lines.get(line).push(step.n);
    }
  }
  return files;
}

/** The tasks that are followed at first; null if these are all tasks. */
function usualFollow(run) {
  const all = run.tasks.every((task) => run.follow.includes(task.id));
  return run.follow.length && !all ? new Set(run.follow) : null;
}

/** The positions to step through: all, or those that concern the followed tasks. */
function shownPositions(run) {
  const shown = new Uint8Array(run.steps.length + 1);
  const concerns = (step) => step.about.some((task) => run.follow.has(task));
  // Go backward, because a cause comes before its effect.
  for (let position = run.steps.length; position > 0; position--) {
    const step = run.steps[position - 1];
    if (run.follow && !shown[position] && !concerns(step)) continue;
    shown[position] = 1;
    for (const cause of step.causes) {
      const from = cause - run.offset;
      if (from > 0 && run.steps[from - 1].about.length === 0) shown[from] = 1;
    }
  }
  const positions = [];
  for (let position = 1; position <= run.steps.length; position++) if (shown[position]) positions.push(position);
  return positions;
}

// ---- The position in it ---------------------------------------------------------------------------

const current = () => runs[view.side];

/** Brings the cells to the current position, by applying or undoing the changes in between. */
function settle(run) {
  const target = Math.min(run.position, run.steps.length);
  while (run.applied < target) Object.assign(run.cells, run.steps[run.applied++].changes);
  while (run.applied > target) {
    for (const [path, value] of Object.entries(run.was[--run.applied])) {
      if (value === undefined) delete run.cells[path];
      else run.cells[path] = value;
    }
  }
}

/** Moves the other run to the same column. */
function settleOther() {
  if (runs.length < 2) return;
  const [run, other] = [current(), runs[1 - view.side]];
  other.position = run.position === run.end ? other.end : Math.min(run.position, other.steps.length);
  settle(other);
}

/** The position at which the two runs diverge; 0 if there is only one run. */
const partOf = (run) => (data.compare ? data.compare.parts[runs.indexOf(run)] - run.offset : 0);

// ---- Elements ----------------------------------------------------------------------------------

function byId(id) {
  return document.getElementById(id);
}

/** Adds strings as text and never as markup, because they come from a recording. */
function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "click") element.addEventListener("click", value);
    else if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/** The class of the color of a task. There are six colors, which repeat. */
const hue = (task) => (task >= 0 ? `hue-${((task + 5) % 6) + 1}` : "hue-none");
const milliseconds = (ms) => `${ms.toFixed(ms < 1 ? 2 : 1)} ms`;
const briefly = (ms) => (ms < 0.1 ? `${Math.round(ms * 1000)} µs` : milliseconds(ms));
/** Like `briefly`, but without decimals from 10 ms on. */
const roughly = (ms) => (ms < 9.95 ? briefly(ms) : `${Math.round(ms)} ms`);
const count = (number) => number.toLocaleString("en");
const times = (number, word) => `${count(number)} ${word}${number === 1 ? "" : "s"}`;

// ---- The head and the sentence -----------------------------------------------------------------

function showHead() {
  const run = current();
  byId("name").textContent = run.title;
  byId("label").textContent = run.label;
  byId("line").textContent = run.line;
  byId("where").textContent = whereText(run);
  showFollow(run);
}

function whereText(run) {
  if (run.position === 0) return times(run.steps.length, "step");
  if (run.position === run.end) return "end";
  const step = run.step(run.position);
  return `step ${count(step.n)} of ${count(run.steps.length + run.offset)} · ${milliseconds(step.ms)}`;
}

function showFollow(run) {
  const button = byId("follow");
  button.hidden = !run.follow;
  if (run.follow) button.textContent = `only ${taskNames([...run.follow])}`;
  button.title = "Show the steps of all tasks (f)";
}

function taskNames(tasks) {
  const numbers = [...tasks].sort((a, b) => a - b).join(", ");
  return `task${tasks.length === 1 ? "" : "s"} ${numbers}`;
}

/** Converts `**bold**`, `` `code` `` and `#21`; the rest is text. */
function markup(run, text) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(/\*\*(.+?)\*\*|`([^`]+)`|#(\d+)/g)) {
    parts.push(text.slice(end, match.index));
    end = match.index + match[0].length;
    if (match[1] !== undefined) parts.push(make("strong", {}, ...markup(run, match[1])));
    else if (match[2] !== undefined) parts.push(make("code", {}, match[2]));
    else parts.push(stepLink(run, Number(match[3]), "", `step ${match[3]}`));
  }
  parts.push(text.slice(end));
  return parts;
}

/** A link to a step, or only its text if the step was dropped. */
function stepLink(run, number, style, ...words) {
  if (number !== 0 && number <= run.offset) {
    return make("span", { class: style, title: "This step was dropped from the recording." }, ...words);
  }
  return make("a", { class: style || undefined, href: `#s=${number}`, "data-step": number }, ...words);
}

function showSentence() {
  const run = current();
  const sentence = byId("sentence");
  const step = run.step(run.position);
  const verdict = run.position === run.end && data.compare;
  sentence.className = run.position === 0 ? "claim" : "";
  sentence.classList.toggle("wrong", Boolean(verdict || (step && FAULTS.has(step.kind))));
  sentence.replaceChildren(...markup(run, sentenceText(run, step)), ...changesInWords(run, step));
  showLinks(run, step);
  fitSentence(sentence);
}

function sentenceText(run, step) {
  if (run.position === 0) return run.claim;
  if (step) return step.sentence;
  return data.compare ? data.compare.verdict : run.last.counts;
}

/** Describes the changed cells for screen readers. */
function changesInWords(run, step) {
  if (!step) return [];
  const changed = Object.keys(step.changes).filter((path) => !REPEATING.test(path));
  const words = changed.map((path) => `${cellName(path)} ${cellText(path, run.cells[path])}, ${wasText(run, path)}.`);
  return words.length ? [make("span", { class: "unseen" }, ` ${words.join(" ")}`)] : [];
}

/** Reduces the type size of a long sentence on a phone, because its space is fixed. */
function fitSentence(sentence) {
  if (!narrow.matches || sentence.textContent.length < 90) return;
  for (const size of ["tight", "tighter"]) {
    if (sentence.scrollHeight <= sentence.clientHeight + 1) return;
    sentence.classList.add(size);
  }
}

function showLinks(run, step) {
  const [why, then] = [byId("why"), byId("then")];
  why.replaceChildren();
  then.replaceChildren();
  if (run.position === 0) why.append(...firstWords(run));
  else if (step) {
    why.append(...chips(run, "because of", step.causes));
    then.append(...chips(run, "leads to", run.effects.get(step.n) ?? []));
  } else why.append("This is the end of the recording. Home or First returns to the start.");
}

function firstWords(run) {
  if (!run.dropped) return [run.more];
  return [`${run.more} ${times(run.dropped, "earlier step")} were dropped.`];
}

/** Returns two links, and a button that lists all steps if there are more. */
function chips(run, words, numbers) {
  if (!numbers.length) return [];
  const shown = numbers.slice(0, 2).map((number) => stepLink(run, number, "chip", `${number} ${shortOf(run, number)}`));
  if (numbers.length > 2) {
    const all = () => listSteps(`Step ${run.step(run.position).n} ${words}`, numbers);
    shown.push(make("button", { type: "button", class: "chip", click: all }, `+ ${numbers.length - 2}`));
  }
  return [make("span", {}, words), ...shown];
}

function shortOf(run, number) {
  if (number === 0) return "the start";
  return run.steps[number - 1 - run.offset]?.short ?? "(dropped)";
}

// ---- The source --------------------------------------------------------------------------------

const KEYWORDS = "as|async|await|break|const|continue|crate|dyn|else|enum|extern|false|fn|for|if|impl|in|let|loop|match|mod|move|mut|pub|ref|return|self|Self|static|struct|super|trait|true|type|unsafe|use|where|while";
const TOKENS = new RegExp(
  String.raw`(?<comment>\/\/[^\n]*|\/\*[^]*?\*\/)|(?<string>\bb?r#*"[^]*?"#*|b?"(?:\\[^]|[^"\\])*"|b?'(?:\\[^']+|[^'\\\n])')|(?<keyword>\b(?:${KEYWORDS})\b)`, "g");

/** The lines of each file as elements. They are cached, because most steps are in a few files. */
const listings = new Map();

function listing(file) {
  if (!listings.has(file)) {
    const lines = colored(data.files[file]).map((parts, at) => codeLine(file, at + 1, parts));
    listings.set(file, { lines, texts: data.files[file].split("\n"), element: make("div", {}, ...lines) });
  }
  return listings.get(file);
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
function codeLine(file, line, parts) {
  const stepsOf = () => current().lines.get(file)?.get(line) ?? [];
  const used = runs.some((run) => run.lines.get(file)?.has(line));
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
  scrollCode(code, shown, texts);
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
  if (!shown.marks) return;
  mark(shown.lines[0], shown.lines[1], "now");
  const inside = shown.record >= shown.lines[0] && shown.record <= shown.lines[1];
  if (shown.record && !inside) mark(shown.record, shown.record, "record");
  const next = run.step(positionAfter(run));
  if (next && next.file === shown.file && next.act[0] !== shown.lines[0]) mark(...next.act, "then");
}

/** Scrolls by whole lines, with the marked line in the middle. On the first screen it is at the top. */
function scrollCode(code, shown, texts) {
  const height = codeLineHeight();
  const rows = codeRows();
  code.style.height = `${rows * height}px`;
  const [from, to] = shown.lines;
  const room = Math.max(0, rows - (to - from + 1));
  const above = shown.top ? Math.min(1, from - 1) : Math.floor(room / 2);
  const top = Math.max(0, Math.min(from - 1 - above, texts.length - rows));
  code.scrollTop = top * height;
  code.style.setProperty("--indent", narrow.matches ? commonIndent(texts.slice(top, top + rows)) : 0);
}

const codeLineHeight = () => parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--code-line"));

function codeRows() {
  if (narrow.matches) return 8;
  const room = byId("source").clientHeight - byId("tabs").offsetHeight - byId("path").offsetHeight;
  return Math.max(3, Math.floor(room / codeLineHeight()));
}

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
  if (shown.away) {
    const { thread } = shown.away;
    // "the client", "the clock", but "thread pool-1".
    const name = /\d/.test(thread) ? `thread ${thread}` : `the ${thread}`;
    return path.replaceChildren(make("strong", {}, `outside the runtime: ${name}`));
  }
  const name = shown.marks && shown.file in data.files ? functionAt(shown.file, shown.lines[0]) : "";
  path.replaceChildren(shown.file, ...(name ? [" · ", make("strong", {}, name)] : []));
}

/** Returns the function that contains a line, e.g. `Reactor::turn`: the nearest less indented `fn` above. */
function functionAt(file, line) {
  const { texts } = listing(file);
  const indent = (texts[line - 1] ?? "").search(/\S/);
  for (let at = line - 1; at > 0; at--) {
    const own = texts[at - 1].search(/\S/);
    if (own < 0 || own >= indent) continue;
    const name = /\bfn (\w+)/.exec(texts[at - 1]);
    if (name) return own === 0 ? name[1] : `${typeAt(texts, at)}${name[1]}`;
    if (/^\s*(impl|mod|trait)\b/.test(texts[at - 1])) return "";
  }
  return "";
}

function typeAt(texts, line) {
  for (let at = line - 1; at > 0; at--) {
    const found = /^impl(?:<[^>]*>)?\s+(?:[\w:<>]+ for )?(\w+)/.exec(texts[at - 1]);
    if (found) return `${found[1]}::`;
  }
  return "";
}

// ---- The state ---------------------------------------------------------------------------------

function showState() {
  const run = current();
  const state = byId("state");
  state.classList.toggle("tight", isTight());
  state.classList.toggle("many", run.tasks.length > MAX_ROWS || run.sources.length > MAX_ROWS);
  if (run.position === 0) return state.replaceChildren(...firstState(run));
  if (run.position === run.end) return state.replaceChildren(...lastState(run));
  const tables = [tasksTable(run), executorTable(run), reactorTable(run), kernelTable(run)];
  state.replaceChildren(...tables.filter(Boolean));
  const changed = state.querySelector(".now");
  if (changed && !narrow.matches && state.scrollHeight > state.clientHeight) revealIn(state, changed);
}

/** Scrolls only the region. `scrollIntoView` would scroll the page too. */
function revealIn(region, element) {
  const [outer, inner] = [region.getBoundingClientRect(), element.getBoundingClientRect()];
  if (inner.bottom > outer.bottom - 8) region.scrollTop += inner.bottom - outer.bottom + 24;
}

function table(caption, rows, ...styles) {
  const columns = styles.map((style) => make("col", { class: style }));
  return make("table", {}, make("caption", {}, caption), make("colgroup", {}, ...columns), make("tbody", {}, ...rows));
}

/** The content of a cell. If this step changed it, it is marked and its title is the previous value. */
function cell(run, path, ...content) {
  const step = run.step(run.position);
  const changed = step && path in step.changes && !REPEATING.test(path);
  return changed ? make("span", { class: "now", title: wasText(run, path) }, ...content) : make("span", {}, ...content);
}

function wasText(run, path) {
  const before = run.was[run.position - 1][path];
  return before === undefined ? "did not exist" : `was ${cellText(path, before)}`;
}

function cellText(path, value) {
  if (!Array.isArray(value)) return value || "nothing";
  if (!value.length) return path.endsWith("wakers") || path === "timers" ? "none" : "empty";
  return value.map((one) => (typeof one === "object" ? `${taskName(one.task ?? -1)} ${timeLeft(one)}` : taskName(one))).join(", ");
}

const taskName = (task) => (task < 0 ? "custom waker" : `task ${task}`);

function cellName(path) {
  const [kind, name, ...rest] = path.split("/");
  if (kind === "queue") return "Run queue:";
  if (kind === "task") return `Task ${name}:`;
  if (kind === "source") return `Source ${name}, ${rest.join(", ")}:`;
  return `${kind[0].toUpperCase()}${kind.slice(1)}:`;
}

const taskPill = (task) => make("span", { class: `pill ${hue(task)}` }, `task ${task}`);

/** A waker in the color of its task. It fades in where this step stored it. */
function wakerPill(task, arrived, short) {
  const style = `pill waker ${hue(task)} ${arrived ? "arrived" : ""}`;
  if (task < 0) return make("span", { class: style, title: "a waker that belongs to no task" }, "waker");
  return make("span", { class: style, title: `a waker of task ${task}` }, short ? String(task) : `waker ${task}`);
}

/** Lists the newest task first, like the lanes. */
function tasksTable(run) {
  const all = [...run.tasks].reverse();
  const shown = all.length <= MAX_ROWS ? all : nearTasks(run, all);
  const rows = shown.map((task) => taskRow(run, task));
  if (shown.length < all.length) rows.push(othersRow(run, all.filter((task) => !shown.includes(task))));
  return table("Tasks", rows, "column-key", "column-task task-name wide-only", "column-location location wide-only", "", "column-polls");
}

const laneTasks = (run) => run.follow ?? new Set(run.lanes.map((lane) => lane.task).filter((task) => task !== undefined));

/** Of many tasks, returns those with a lane, and the other task that acted last. */
function nearTasks(run, all) {
  const own = laneTasks(run);
  const last = latest(run, (step) => step.about.find((task) => !own.has(task)));
  const guest = all.find((task) => task.id === last) ?? all.find((task) => !own.has(task.id));
  return [...all.filter((task) => own.has(task.id)), guest];
}

/** Returns the result of `find` for the last step, up to this one, that has a result. */
function latest(run, find) {
  for (let position = run.position; position > 0; position--) {
    const found = find(run.step(position));
    if (found !== undefined) return found;
  }
  return undefined;
}

function taskRow(run, task) {
  const path = `task/${task.id}`;
  const state = run.cells[`${path}/state`];
  const held = run.cells[`${path}/held`];
  const absent = run.step(run.position).n < task.from || state === undefined;
  const ended = ["done", "aborted", "panicked"].includes(state);
  const title = `${task.name}, spawned at ${task.location}`;
  return make("tr", { class: absent ? "absent" : ended ? "gone" : undefined },
    make("th", { scope: "row", title }, make("span", { class: "fade" }, taskPill(task.id))),
    make("td", { class: "task-name wide-only" }, task.name),
    make("td", { class: "location wide-only quiet", title: task.location }, shortLocation(task.location)),
    make("td", { title: held }, stateCell(run, path, state), make("span", { class: "quiet" }, held ? ` · ${withoutDirections(held)}` : "")),
    make("td", { class: "end quiet" }, run.cells[`${path}/polls`] ?? ""));
}

/** Omits the direction, which the row of the source shows. */
const withoutDirections = (held) => held.replace(/ \((?:read|write)\)/g, "");

function stateCell(run, path, state = "") {
  return cell(run, `${path}/state`, FAULTS.has(state) ? make("span", { class: "wrong" }, state) : state);
}

const shortLocation = (location) => location.split("/").pop();

function othersRow(run, tasks) {
  const counts = new Map();
  for (const task of tasks) {
    const state = run.cells[`task/${task.id}/state`];
    if (state) counts.set(state, (counts.get(state) ?? 0) + 1);
  }
  const total = [...counts.values()].reduce((sum, one) => sum + one, 0);
  const words = [...counts].map(([state, number]) => `${number} ${state}`).join(", ");
  return make("tr", {},
    make("th", { scope: "row" }, `others`), make("td", { class: "task-name wide-only" }, String(total)), make("td", { class: "location wide-only" }),
    make("td", { class: "quiet" }, words || "none yet"), make("td"));
}

function executorTable(run) {
  const rows = [["thread", "thread"], ["queue", "run queue"], ["inbox", "inbox"]]
    .filter(([path]) => run.paths.has(path))
    .map(([path, name]) => plainRow(name, cell(run, path, ...cellContent(path, run.cells[path]))));
  return table("Executor", rows, "column-executor", "");
}

const plainRow = (name, content) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, content));

function cellContent(path, value) {
  if (path === "timers") return timerPills(value);
  if (!Array.isArray(value)) return [value ?? "–"];
  if (!value.length) return [make("span", { class: "quiet" }, "empty")];
  const shown = value.slice(0, 6).map(taskPill);
  return value.length > 6 ? [...shown, `and ${value.length - 6} more`] : shown;
}

function timerPills(timers = []) {
  if (!timers.length) return [make("span", { class: "quiet" }, "none")];
  return timers.flatMap((timer, nth) => [...(nth ? [" "] : []), wakerPill(timer.task ?? -1), make("span", { class: "quiet" }, ` ${timeLeft(timer)}`)]);
}

/** The time from the current step to the deadline of a timer. */
function timeLeft({ deadline }) {
  const run = current();
  const left = deadline - (run.step(run.position)?.ms ?? 0);
  return left >= 0 ? `in ${roughly(left)}` : `overdue by ${roughly(-left)}`;
}

function reactorTable(run) {
  const sources = [...run.sources].reverse().filter((source) => run.paths.has(`source/${source.id}/read`) || run.paths.has(`source/${source.id}/write`));
  const shown = sources.length <= MAX_ROWS ? sources : nearSources(run, sources);
  const rows = shown.flatMap((source) => sourceRows(run, source));
  if (shown.length < sources.length) rows.push(otherSources(run, sources, shown));
  if (run.paths.has("timers")) rows.push(timersRow(run));
  return rows.length ? table("Reactor", rows, "column-key", "column-name", "column-direction wide-only", "column-ready", "") : null;
}

function timersRow(run) {
  const content = cell(run, "timers", ...timerPills(run.cells.timers));
  return make("tr", {}, make("th", { scope: "row" }, "timers"), make("td", { colspan: narrow.matches ? 3 : 4 }, content));
}

/** Of many sources, returns those at which a shown task waits, and the other one that changed last. */
function nearSources(run, sources) {
  const tasks = laneTasks(run);
  const isOwn = ({ id }) => [...(run.waitersOf.get(id) ?? [])].some((task) => tasks.has(task));
  const own = sources.filter(isOwn);
  const others = new Map(sources.filter((source) => !isOwn(source)).map((source) => [source.id, source]));
  const changed = (path) => others.get(/^source\/(\w+)\//.exec(path)?.[1]);
  const guest = latest(run, (step) => Object.keys(step.changes).map(changed).find(Boolean));
  return [...own, guest ?? [...others.values()].at(-1)].filter(Boolean);
}

function otherSources(run, sources, shown) {
  const number = run.step(run.position).n;
  const open = sources.filter((source) => !shown.includes(source) && source.from <= number && !isGone(source, number));
  return make("tr", {}, make("th", { scope: "row" }, "others"), make("td", { colspan: narrow.matches ? 3 : 4, class: "quiet" }, times(open.length, "open source")));
}

const isGone = (source, number) => source.gone !== null && source.gone !== undefined && source.gone <= number;

/** Whether to omit the directions at which this run never waits, because space is scarce. */
const isTight = () => narrow.matches || (runs.length > 1 && innerHeight < 850);


function sourceRows(run, source) {
  const all = ["read", "write"].filter((direction) => run.paths.has(`source/${source.id}/${direction}`));
  const waited = all.filter((direction) => run.waited.has(`${source.id}/${direction}`));
  const directions = isTight() ? (waited.length ? waited : all.slice(0, 1)) : all;
  return directions.map((direction, nth) => sourceRow(run, source, direction, nth > 0));
}

function sourceRow(run, source, direction, second) {
  const number = run.step(run.position).n;
  const path = `source/${source.id}/${direction}`;
  const styles = [number < source.from && "absent", isGone(source, number) && "gone", second && "second"];
  // A phone shows the direction below the name, because it has no column for it.
  const under = narrow.matches ? make("span", { class: "quiet" }, direction) : make("span", { class: "unseen" }, source.name);
  return make("tr", { class: styles.filter(Boolean).join(" ") || undefined },
    make("th", { scope: "row" }, make("span", { class: second ? "unseen" : "fade" }, `source ${source.token}`)),
    make("td", {}, second ? under : make("span", { class: "fade" }, sourceName(source, number))),
    make("td", { class: "wide-only quiet" }, direction),
    make("td", {}, readiness(run, source, path)),
    make("td", { class: "end" }, waiters(run, source, `${path}/wakers`)));
}

/** If a step registers or closes a source, marks its name and not each of its cells. */
function sourceName(source, number) {
  const title = source.peer ? `${source.name}, ${source.peer}` : source.name;
  if (source.from === number) return make("span", { class: "now", title: `${title}: did not exist` }, source.name);
  if (source.gone === number) return make("span", { class: "now", title: `${title}: was open` }, source.name);
  return make("span", { title }, source.name);
}

function sourceCell(run, source, path, ...content) {
  const number = run.step(run.position).n;
  return source.from === number || source.gone === number ? make("span", {}, ...content) : cell(run, path, ...content);
}

function readiness(run, source, path) {
  const value = run.cells[path] ?? "";
  const full = value.startsWith("ready");
  return sourceCell(run, source, path, make("span", { class: full ? "dot full" : "dot", "aria-hidden": "true" }), value);
}

function waiters(run, source, path) {
  const tasks = run.cells[path] ?? [];
  const before = run.was[run.position - 1][path];
  const short = innerWidth < 1200 && (tasks.length > 1 || run.tasks.length > MAX_ROWS);
  const most = short ? 2 : 3;
  const pills = tasks.slice(0, most).map((task, nth) => wakerPill(task, before && !before.includes(task), short || nth > 0));
  if (tasks.length > most) pills.push(`+${tasks.length - most}`);
  return sourceCell(run, source, path, ...(pills.length ? pills : [make("span", { class: "quiet" }, "–")]));
}

function kernelTable(run) {
  if (!run.paths.has("kernel")) return null;
  const content = cell(run, "kernel", ...cellContent("kernel", run.cells.kernel));
  content.title ||= run.cells.kernel ?? "";
  return table("Kernel", [plainRow("watches", content)], "column-executor", "");
}

// The first and the last screen replace the state.

function firstState(run) {
  const legend = [
    [sample("act"), "an action, in the color of its task"],
    [sample("block"), "a call that would block"],
    [sample("waker"), "a waker is stored or called"],
    [sample("asleep"), "the thread is asleep in the kernel"],
    ...(run.steps.some(isHeld) ? [[sample("held"), "a poll that holds the thread: no other task can run"]] : []),
    [make("span", { class: "sample" }, wakerPill(2)), "a waker of task 2 is stored here"],
    [make("span", { class: "sample now" }), "the line of this step, and what it changed"],
  ];
  return [
    make("h2", {}, "Legend"),
    make("ul", { class: "legend" }, ...legend.map(([mark, words]) => make("li", {}, mark, make("span", {}, words)))),
    ...chapterButtons(run),
  ];
}

function sample(mark) {
  const bar = { asleep: "bar", held: "bar holds" }[mark];
  const shape = bar ? draw("path", { class: bar, d: "M12 9H50" }) : markShape(mark, 31, 9, 5.5);
  if (mark === "act" || mark === "held") shape.classList.add("hue-2");
  return draw("svg", { viewBox: "0 0 62 18", "aria-hidden": "true" }, shape);
}

function chapterButtons(run) {
  if (!run.chapters.length) return [];
  const buttons = run.chapters.map((chapter, nth) => make("button", { type: "button", click: () => goToNumber(chapter.step) }, `${nth + 1} ${chapter.name}`));
  return [make("h2", {}, "Chapters"), make("div", { class: "chapters" }, ...buttons)];
}

function lastState(run) {
  const { again, read } = run.last;
  const items = again.map(({ command, says }) => make("li", {}, ...markup(run, says), make("code", { class: "command" }, command)));
  return [
    ...(items.length ? [make("h2", {}, "Run it again with a fault"), make("ul", { class: "again" }, ...items)] : []),
    make("h2", {}, "The file to read first"),
    make("p", {}, read),
  ];
}

// ---- The wave ----------------------------------------------------------------------------------

/** Sizes in pixels. A phone shows no lane names. */
function waveSizes(lanes) {
  const one = narrow.matches;
  const pair = runs.length > 1;
  const wish = one ? (pair ? 7 : 12) : pair ? 15 : innerWidth < 1200 ? 22 : 26;
  // More than seven lanes are lower, but still high enough for their names.
  const lane = lanes.length <= 7 ? wish : Math.max(one ? 6 : 14, Math.floor((wish * 8) / lanes.length));
  const margin = pair ? 4 : 8;
  const top = one ? margin : 22;
  return {
    lane, top, radius: one ? 2.6 : pair ? 3.6 : 4.4,
    names: one ? 0 : innerWidth < 1200 ? 92 : 112, height: top + lanes.length * lane + (one ? margin : 10),
    step: one ? [5, 14] : [16, 30], sleep: one ? [24, 40] : [64, 84], window: one ? [9, 30] : [20, 64],
  };
}

/** The lanes from top to bottom. With a filter, the tasks that are not followed share a lane. */
function lanesOf(run) {
  if (!run.follow) return run.lanes;
  const rest = run.lanes.filter((lane) => lane.task === undefined && lane.id !== "others");
  const followed = [...run.follow].sort((a, b) => b - a).map((task) => ({ id: `task ${task}`, name: `task ${task}`, task }));
  const number = run.tasks.length - followed.length;
  return [...followed, ...(number > 0 ? [{ id: "others", name: `others (${number})` }] : []), ...rest];
}

const isSleep = (step) => step.slept !== null && step.slept !== undefined;
/** Whether this step ends a poll that held the thread for long. */
const isHeld = (step) => step.held !== null && step.held !== undefined;
/** Whether time passes visibly at this step. Its column is wide, and a bar shows the time. */
const isLong = (step) => isSleep(step) || isHeld(step);
/** The longest time of a step in two compared runs, whose bars share a scale; 0 for a single run. */
const longest = runs.length < 2 ? 0
  : Math.max(1, ...runs.map((run) => run.steps.reduce((most, step) => Math.max(most, step.slept ?? 0, step.held ?? 0), 0)));

/** Returns the widths of a step and of a sleep with which the whole run fits, if possible. */
function columnWidths(run, sizes, room) {
  const sleeps = run.shown.filter((position) => isLong(run.step(position))).length;
  const others = run.shown.length - sleeps;
  const [[least, most], [shortest, longest]] = [sizes.step, sizes.sleep];
  const spare = room - others * least - sleeps * shortest;
  if (spare < 0) return { step: sizes.window[0], sleep: sizes.window[1] };
  const share = Math.min(1, spare / (others * (most - least) + sleeps * (longest - shortest) || 1));
  return { step: least + share * (most - least), sleep: shortest + share * (longest - shortest) };
}

/** Computes the layout. It changes only with the width and the filter. */
function layOut(run, widths, sizes, room) {
  const left = new Float64Array(run.shown.length + 1);
  const column = new Int32Array(run.end + 1).fill(-1);
  // If steps were dropped, leave space for the torn edge.
  left[0] = run.dropped ? 16 : 4;
  run.shown.forEach((position, at) => {
    column[position] = at;
    left[at + 1] = left[at] + (isLong(run.step(position)) ? widths.sleep : widths.step);
  });
  const lanes = lanesOf(run);
  return { run, sizes, room, lanes, left, column, total: left[run.shown.length] + 4, laneAt: laneIndex(lanes) };
}

function laneIndex(lanes) {
  const byName = new Map(lanes.map((lane, at) => [lane.id, at]));
  const others = byName.get("others") ?? 0;
  return (step) => byName.get(step.lane) ?? others;
}

let layouts = [];
let scroll = 0;

function layOutAll() {
  const width = byId("wave").clientWidth;
  const prepared = runs.map((run) => {
    const sizes = waveSizes(lanesOf(run));
    return { run, sizes, room: width - sizes.names, widths: columnWidths(run, sizes, width - sizes.names - 24) };
  });
  // Two runs are aligned, so both use the narrower columns.
  const widths = prepared.map((one) => one.widths).reduce((a, b) => (a.step < b.step ? a : b));
  layouts = prepared.map(({ run, sizes, room }) => layOut(run, widths, sizes, room));
  drawStrip();
}

const fits = () => layouts.every((layout) => layout.total <= layout.room);
const span = () => Math.max(...layouts.map((layout) => layout.total));

/** Returns the point of a position: the center of its column on its lane. A sleep also has two ends. */
function pointOf(layout, position) {
  const { left, column, sizes, run } = layout;
  const step = run.step(position);
  const at = column[position];
  if (at < 0 || !step) return null;
  const [from, to] = [left[at], left[at + 1]];
  const y = sizes.top + (layout.laneAt(step) + 0.5) * sizes.lane;
  const inset = isLong(step) ? 5 : (to - from) / 2;
  return { x: (from + to) / 2, y, from, to, enter: from + inset, leave: to - inset };
}

/** Keeps the column of the current step in the middle part of the window. */
function scrollWave() {
  if (fits()) return (scroll = 0);
  const layout = layouts[view.side];
  const { run, room } = layout;
  const near = run.position === 0 ? { x: 0 } : run.position === run.end ? { x: layout.total } : pointOf(layout, run.position);
  const most = span() - room;
  if (near.x < scroll + room * 0.2 || near.x > scroll + room * 0.8) scroll = near.x - room * 0.45;
  scroll = Math.max(0, Math.min(most, scroll));
}

function showWave() {
  scrollWave();
  const wave = byId("wave");
  wave.replaceChildren(...layouts.map((layout, side) => drawWave(layout, side === view.side)));
  const run = current();
  wave.setAttribute("aria-valuemin", 0);
  wave.setAttribute("aria-valuemax", run.numberAt(run.end));
  wave.setAttribute("aria-valuenow", run.numberAt(run.position));
  wave.setAttribute("aria-valuetext", byId("sentence").textContent);
  moveStrip();
}

/** Returns the columns that are in view, and one more on each side for the line. */
function visible({ left, room, run }) {
  const columnAt = (x) => {
    let [low, high] = [0, run.shown.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (left[middle + 1] <= x) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  return { first: Math.max(0, columnAt(scroll) - 1), last: Math.min(run.shown.length - 1, columnAt(scroll + room) + 1) };
}

/** Draws the background first, then the line, the marks, and the causes of the current step. */
function drawWave(layout, active) {
  const { sizes, room, run } = layout;
  const range = visible(layout);
  const causes = active ? currentCauses(layout) : [];
  const plot = draw("svg", { x: sizes.names, y: 0, width: room, height: sizes.height },
    draw("g", { transform: `translate(${-scroll} 0)` },
      ...grounds(layout, range, causes), ...threadLine(layout, range), ...marks(layout, range), ...causes.map((cause) => cause.element)));
  return draw("svg", { width: sizes.names + room, height: sizes.height, "aria-hidden": "true" },
    ...laneNames(layout, active), plot, ...partRule(layout), ...label(layout, active), ...tornEdge(layout, run));
}

function laneNames({ lanes, sizes, room, run, laneAt }, active) {
  const step = run.step(run.position);
  return lanes.flatMap((lane, at) => {
    const y = sizes.top + (at + 0.5) * sizes.lane;
    const rail = draw("path", { class: "rail", d: `M${sizes.names} ${y}H${sizes.names + room}` });
    if (!sizes.names) return [rail];
    const strong = active && step && laneAt(step) === at ? "strong" : "";
    return [rail, draw("text", { class: `lane-name ${strong} ${hue(lane.task)}`, x: 0, y: y + 4 }, lane.name)];
  });
}

/** The label of one of two runs. */
function label({ run, sizes }, active) {
  if (!run.label || !sizes.names) return [];
  return [draw("text", { class: active ? "strong" : "", x: 0, y: 14 }, run.label)];
}

function grounds(layout, { first, last }, causes) {
  const { run, sizes } = layout;
  const drawn = [];
  for (let at = first; at <= last; at++) {
    const position = run.shown[at];
    if (isSleep(run.step(position))) drawn.push(...sleepBand(layout, position, causes));
  }
  return [...drawn, ...currentColumn(layout), ...chapterNames(layout, sizes)];
}

/** A sleep is a band over all lanes. Its text is omitted if an arrow crosses it. */
function sleepBand(layout, position, causes) {
  const { run, sizes } = layout;
  const { from, to, x } = pointOf(layout, position);
  const band = draw("rect", { class: "band", x: from, y: sizes.top - 6, width: to - from, height: sizes.height - sizes.top + 2 });
  const bottom = sizes.top + 32;
  const crossed = causes.some((cause) => cause.from.x < from && cause.to.x > to && Math.min(cause.from.y, cause.to.y) - sizes.lane < bottom);
  if (!sizes.names || crossed) return [band];
  const slept = roughly(run.step(position).slept);
  const words = (y, text) => draw("text", { class: "asleep", x, y }, text);
  return sizes.lane < 20 ? [band, words(sizes.top + 9, slept)] : [band, words(sizes.top + 13, "asleep"), words(sizes.top + 28, slept)];
}

/** Highlights the current column. A sleep keeps its tint and gets rules above and below. */
function currentColumn(layout) {
  const { run, sizes } = layout;
  const point = pointOf(layout, run.position);
  if (!point) return [];
  const { from, to } = point;
  const [y, height] = [sizes.top - 6, sizes.height - sizes.top + 2];
  const box = (style, top, tall) => draw("rect", { class: style, x: from, y: top, width: to - from, height: tall });
  if (!isSleep(run.step(run.position))) return [box("now", y, height)];
  return [box("now rule", y, 3), box("now rule", y + height - 3, 3)];
}

function chapterNames(layout, sizes) {
  const { run, left, column, room } = layout;
  if (!sizes.names) return [];
  const starts = run.chapters.map((chapter) => ({ name: chapter.name, at: left[columnFrom(run, column, chapter.step - run.offset)] }));
  return starts.flatMap(({ name, at }, nth) => {
    const space = (starts[nth + 1]?.at ?? Math.max(scroll + room, at)) - at - 10;
    const rule = draw("path", { class: "chapter", d: `M${at} 2V${sizes.height - 4}` });
    const shown = shortened(name, space);
    return shown ? [rule, draw("text", { x: at + 5, y: 13 }, draw("title", {}, name), shown)] : [rule];
  });
}

/** The first shown column at or after a position. */
function columnFrom(run, column, position) {
  while (position < run.end && column[position] < 0) position++;
  return position < run.end ? column[position] : run.shown.length;
}

/** Shortens a name to the available space, at about 6.5 pixels for a letter. */
function shortened(name, space) {
  const letters = Math.floor(space / 6.5);
  if (letters >= name.length) return name;
  return letters > 3 ? `${name.slice(0, letters - 1)}…` : "";
}

/** A thin line joins the steps of the executor's thread. Steps outside are joined to their effects. */
function threadLine(layout, { first, last }) {
  const { run } = layout;
  let path = "";
  let previous = null;
  for (let at = Math.min(first, last); at >= 0 && !previous; at--) previous = ownPoint(layout, run.shown[at]);
  const outside = [];
  for (let at = first; at <= last; at++) {
    const position = run.shown[at];
    const step = run.step(position);
    const point = pointOf(layout, position);
    if (step.lane === "outside") outside.push(...outsideLines(layout, step, point), ...threadName(layout, at, point));
    else {
      path += previous ? `M${previous.leave} ${previous.y}L${point.enter} ${point.y}` : "";
      // In compared runs a bar may be shorter than its column.
      if (longest && isLong(step)) path += `M${point.enter} ${point.y}H${point.leave}`;
      previous = point;
    }
  }
  return [draw("path", { class: "thread", d: path }), ...outside];
}

function ownPoint(layout, position) {
  return layout.run.step(position).lane === "outside" ? null : pointOf(layout, position);
}

function outsideLines(layout, step, point) {
  const effects = (layout.run.effects.get(step.n) ?? []).map((number) => pointOf(layout, number - layout.run.offset));
  return effects.filter(Boolean).map((to) => draw("path", { class: "thread", d: `M${point.x} ${point.y}L${to.enter} ${to.y}` }));
}

/** Names the thread of a step on the shared bottom lane, if the lane has another name and there is space. */
function threadName({ run, lanes, laneAt, left, sizes }, at, { x, y }) {
  const step = run.step(run.shown[at]);
  if (!sizes.names || step.thread === lanes[laneAt(step)].name) return [];
  const start = x - sizes.radius * 1.5 - 4;
  for (let before = at - 1; before >= 0 && left[before + 1] > start - step.thread.length * 7; before--) {
    if (run.step(run.shown[before]).lane === "outside") return [];
  }
  return [draw("text", { class: "thread-name", x: start, y: y + 4 }, step.thread)];
}

function marks(layout, { first, last }) {
  const { run, sizes } = layout;
  const parts = partOf(run);
  const drawn = [];
  for (let at = first; at <= last; at++) {
    const position = run.shown[at];
    const step = run.step(position);
    const point = pointOf(layout, position);
    const here = position === run.position;
    const radius = sizes.radius * (here ? 1.5 : 1);
    const isBar = step.mark === "asleep" || isHeld(step);
    const shape = isBar ? timeBar(point, radius, step) : markShape(step.mark, point.x, point.y, radius);
    if (step.task !== null && step.mark !== "asleep") shape.classList.add(hue(step.task));
    // Mute the steps that two runs share, so that their difference stands out.
    if (parts && position < parts && !here) shape.classList.add("equal");
    drawn.push(shape);
    if (isHeld(step) && sizes.names) drawn.push(draw("text", { class: "held", x: point.x, y: point.y + 17 }, roughly(step.held)));
  }
  return drawn;
}

/** The shape shows the kind of the step; the color only shows its task. */
function markShape(mark, x, y, radius) {
  if (mark === "block") return draw("circle", { class: "mark block", cx: x, cy: y, r: radius - 0.4 });
  if (mark === "waker") {
    const r = radius * 1.3;
    return draw("path", { class: "mark", d: `M${x} ${y - r}L${x + r} ${y}L${x} ${y + r}L${x - r} ${y}Z` });
  }
  return draw("circle", { class: "mark", cx: x, cy: y, r: radius });
}

/** A bar for a sleep, or for a poll that held the thread. In compared runs its length is to scale. */
function timeBar({ x, y, from, to }, radius, step) {
  const room = to - from - 12;
  const length = longest ? Math.max(4, (room * (step.slept ?? step.held ?? 0)) / longest) : room;
  const [start, end] = isLong(step) ? [from + 6, from + 6 + length] : [x - radius, x + radius];
  return draw("path", { class: isHeld(step) ? "bar holds" : "bar", d: `M${start} ${y}H${end}`, ...(radius > 5 && { style: "stroke-width:6" }) });
}


/** A vertical rule where two runs diverge. */
function partRule(layout) {
  const { run, sizes, left, column } = layout;
  if (!data.compare) return [];
  const x = sizes.names + left[columnFrom(run, column, partOf(run))] - scroll;
  return x < sizes.names ? [] : [draw("path", { class: "part", d: `M${x} 0V${sizes.height}` })];
}

function tornEdge({ sizes }, run) {
  if (!run.dropped || scroll > 0) return [];
  const teeth = [];
  for (let y = sizes.top - 6, nth = 0; y < sizes.height - 6; y += 6, nth++) teeth.push(`${sizes.names + (nth % 2 ? 10 : 4)} ${y}`);
  const edge = draw("path", { class: "tear", d: `M${teeth.join("L")}` });
  if (!sizes.names) return [edge];
  return [edge, draw("text", { x: sizes.names + 4, y: 13 }, `${times(run.dropped, "earlier step")} were dropped`)];
}

// Causes.

/** The arrows to the current step. With `chain`, also those back to the outside, each fainter. */
function currentCauses(layout) {
  const { run } = layout;
  const arrows = [];
  const seen = new Set();
  let position = run.position;
  for (let strength = 1; run.step(position) && !seen.has(position); strength = Math.max(0.25, strength * 0.8)) {
    seen.add(position);
    const causes = run.step(position).causes.map((number) => number - run.offset);
    // Further back, draw only the nearest cause. All causes together would include most of the run.
    const drawn = strength === 1 ? causes : causes.slice(0, 1);
    for (const cause of drawn) arrows.push(causeArrow(layout, cause, position, strength));
    if (!view.chain || !causes.length) break;
    position = causes[0];
  }
  return arrows.filter(Boolean);
}

function causeArrow(layout, cause, position, strength) {
  const [from, to] = [pointOf(layout, cause), pointOf(layout, position)];
  if (!from || !to) return null;
  const direct = isNextOnLine(layout, cause, position) || layout.run.step(cause).lane === "outside";
  const sleepy = isSleep(layout.run.step(position));
  const air = narrow.matches ? 0 : 2;
  const target = { x: to.enter, y: to.y, gap: sleepy ? 3 : layout.sizes.radius * 1.5 + air };
  const start = { x: from.leave, y: from.y, gap: isSleep(layout.run.step(cause)) ? 2 : layout.sizes.radius };
  const element = direct ? straightArrow(start, target) : curvedArrow(start, target, layout.sizes);
  if (strength < 1) element.setAttribute("opacity", strength);
  return { from, to, element };
}

/** Whether the thin line already joins the two steps. */
function isNextOnLine({ run, column }, cause, position) {
  let at = column[position] - 1;
  while (at >= 0 && run.step(run.shown[at]).lane === "outside") at--;
  return at >= 0 && run.shown[at] === cause;
}

function straightArrow(from, to) {
  const length = Math.hypot(to.x - from.x, to.y - from.y) || 1;
  const [dx, dy] = [(to.x - from.x) / length, (to.y - from.y) / length];
  const [x, y] = [to.x - dx * to.gap, to.y - dy * to.gap];
  const room = length - from.gap - to.gap;
  const head = arrowHead(x, y, dx, dy, Math.max(3, room));
  if (room < 5) return draw("g", {}, head);
  const start = `M${from.x + dx * from.gap} ${from.y + dy * from.gap}`;
  return draw("g", {}, draw("path", { class: "cause", d: `${start}L${x - dx * 4} ${y - dy * 4}` }), head);
}

/** Draws an arch if the steps are far apart or on one lane, otherwise a curve along the cause's lane. */
function curvedArrow(from, to, sizes) {
  const far = to.x - from.x > 6 * sizes.step[0] + 50;
  const level = Math.abs(to.y - from.y) < sizes.lane / 2;
  return far || level ? archArrow(from, to, sizes) : cornerArrow(from, to);
}

function archArrow(from, to, sizes) {
  // The top lane has chapter names above it, so the arch goes below it.
  const way = from.y < sizes.top + sizes.lane ? 1 : -1;
  const lift = way * Math.min(sizes.lane * 1.5, 14 + (to.x - from.x) * 0.12);
  const reach = Math.min(40, (to.x - from.x) * 0.3);
  const [dx, dy] = unit(reach, -lift * 0.75);
  const [x, y] = [to.x - dx * to.gap, to.y - dy * to.gap];
  const curve = `M${from.x + 2} ${from.y + way * from.gap}C${from.x + reach} ${from.y + lift} ${to.x - reach} ${to.y + lift * 0.75} ${x - dx * 4} ${y - dy * 4}`;
  return draw("g", {}, draw("path", { class: "cause", d: curve }), arrowHead(x, y, dx, dy));
}

function cornerArrow(from, to) {
  const down = Math.sign(to.y - from.y);
  const y = to.y - down * to.gap;
  const curve = `M${from.x + from.gap} ${from.y}C${(from.x + to.x) / 2} ${from.y} ${to.x} ${from.y} ${to.x} ${y - down * 4}`;
  return draw("g", {}, draw("path", { class: "cause", d: curve }), arrowHead(to.x, y, 0, down));
}

function unit(x, y) {
  const length = Math.hypot(x, y) || 1;
  return [x / length, y / length];
}

function arrowHead(x, y, dx, dy, room = 9) {
  const length = Math.min(narrow.matches ? 7 : 9, room);
  const half = Math.max(2.5, length / 2);
  const [bx, by] = [x - dx * length, y - dy * length];
  return draw("path", { class: "head", d: `M${x} ${y}L${bx - dy * half} ${by + dx * half}L${bx + dy * half} ${by - dx * half}Z` });
}

// The strip shows the whole run in one line if the wave shows only a part of it.

function drawStrip() {
  const strip = byId("strip");
  strip.hidden = fits();
  if (strip.hidden) return;
  const layout = layouts[view.side];
  const width = strip.clientWidth;
  const scale = width / span();
  const sleeps = layout.run.shown.flatMap((position, at) => (isSleep(layout.run.step(position)) ? [sleepTick(layout, at, scale)] : []));
  const path = draw("path", { class: "band", d: sleeps.join("") });
  const rail = draw("path", { class: "rail", d: `M0 8H${width}` });
  strip.replaceChildren(draw("svg", { width, height: 16 }, path, rail, draw("rect", { class: "frame", y: 1, height: 14 }), draw("rect", { class: "cursor", y: 1, width: 4, height: 14 })));
}

function sleepTick({ left }, at, scale) {
  const width = Math.max(1, (left[at + 1] - left[at]) * scale);
  return `M${left[at] * scale} 2h${width}v12h${-width}Z`;
}

function moveStrip() {
  const strip = byId("strip");
  if (strip.hidden) return;
  const layout = layouts[view.side];
  const scale = strip.clientWidth / span();
  const point = pointOf(layout, layout.run.position);
  const [frame, cursor] = [strip.querySelector(".frame"), strip.querySelector(".cursor")];
  frame.setAttribute("x", scroll * scale + 1);
  frame.setAttribute("width", Math.max(6, layout.room * scale - 2));
  cursor.setAttribute("x", (point ? point.x : layout.run.position ? layout.total : 0) * scale - 2);
}

// ---- Navigation --------------------------------------------------------------------------------

function show() {
  const run = current();
  settle(run);
  settleOther();
  const number = run.numberAt(run.position);
  document.body.dataset.step = number;
  document.body.dataset.screen = run.position === 0 ? "first" : run.position === run.end ? "last" : "step";
  showHead();
  showSentence();
  // Before the source and the state, which share the height that the wave leaves.
  showWave();
  showSource();
  showState();
  showControls(run);
  remember(number);
}

/** Puts the step into the address, but not into the history, so that Back leaves the page. */
function remember(number) {
  const side = view.side ? "&side=2" : "";
  try {
    history.replaceState(null, "", `#s=${number}${side}`);
  } catch {
    // Browsers limit the rate of these calls. A later step updates the address.
  }
}

function showControls(run) {
  byId("first").setAttribute("aria-disabled", run.position === 0);
  byId("back").setAttribute("aria-disabled", run.position === 0);
  byId("next").setAttribute("aria-disabled", run.position === run.end);
  byId("play").textContent = view.playing ? "Stop" : "Play";
  byId("speed").textContent = `${view.pace} s a step`;
}

function goTo(position) {
  const run = current();
  const target = Math.max(0, Math.min(run.end, position));
  if (target !== 0 && target !== run.end && layouts[view.side].column[target] < 0) setFollow(run, null);
  run.position = target;
  view.peek = null;
  view.chain = false;
  show();
}

function goToNumber(number) {
  goTo(number === 0 ? 0 : number - current().offset);
}

/** Returns the next shown position whose step satisfies the condition. */
function findAfter(run, satisfies) {
  return run.shown.find((position) => position > run.position && satisfies(run.step(position)));
}

function findBefore(run, satisfies) {
  return run.shown.findLast((position) => position < run.position && satisfies(run.step(position)));
}

const any = () => true;
const positionAfter = (run) => findAfter(run, any) ?? run.end;
const positionBefore = (run) => findBefore(run, any) ?? 0;

function goIf(position) {
  if (position !== undefined) goTo(position);
}

/** Returns a condition for steps of the same task as the current step. */
function sameTask() {
  const run = current();
  const step = run.step(run.position);
  const task = step?.task ?? step?.about[0];
  return task === undefined || task === null ? any : (other) => other.task === task || other.about.includes(task);
}

function goToCause() {
  const run = current();
  const cause = run.step(run.position)?.causes.find((number) => number === 0 || number > run.offset);
  if (cause !== undefined) goToNumber(cause);
}

function goToEffect() {
  const run = current();
  const effect = run.effects.get(run.numberAt(run.position))?.[0];
  if (effect !== undefined) goToNumber(effect);
}

function goToChapter(nth) {
  const run = current();
  const chapter = run.chapters[nth - 1];
  if (chapter) goTo(run.shown[columnFrom(run, layouts[view.side].column, chapter.step - run.offset)] ?? run.end);
}

function changeSides() {
  if (runs.length < 2) return;
  view.side = 1 - view.side;
  view.peek = null;
  drawStrip();
  show();
}

function toggleFollow() {
  const run = current();
  if (run.follow) return showAll(run);
  const about = run.step(run.position)?.about ?? [];
  const wanted = run.usual && about.every((task) => run.usual.has(task)) ? run.usual : new Set(about);
  if (wanted.size === 0 || wanted.size === run.tasks.length) return;
  setFollow(run, wanted);
  if (layouts[view.side].column[run.position] < 0) run.position = positionAfter(run);
  show();
}

function showAll(run) {
  setFollow(run, null);
  show();
}

function setFollow(run, tasks) {
  run.follow = tasks;
  run.shown = shownPositions(run);
  layOutAll();
}

function play() {
  if (view.playing) return stop();
  if (current().position === current().end) goTo(0);
  // A screen reader could not finish any sentence.
  byId("sentence").setAttribute("aria-live", "off");
  view.playing = setTimeout(tick, view.pace * 1000);
  showControls(current());
}

function tick() {
  const run = current();
  view.playing = setTimeout(tick, view.pace * 1000);
  goTo(positionAfter(run));
  const begins = run.chapters.some((chapter) => chapter.step === run.numberAt(run.position));
  // Do not stop at the first step, which begins the first chapter.
  if (run.position === run.end || (begins && run.position > 1)) stop();
}

function stop() {
  clearTimeout(view.playing);
  view.playing = null;
  byId("sentence").setAttribute("aria-live", "polite");
  showControls(current());
}

function changePace(by) {
  const at = PACES.indexOf(view.pace) + by;
  view.pace = PACES[Math.max(0, Math.min(PACES.length - 1, at))];
  showControls(current());
}

function toggleChain() {
  view.chain = !view.chain;
  showWave();
}

function leave() {
  if (view.playing) stop();
  if (!view.peek && !view.chain) return;
  view.peek = null;
  view.chain = false;
  show();
}

// ---- Keys, dialogs and pointers ----------------------------------------------------------------

const KEYS = [
  ["→ ←", "next step, previous step", { ArrowRight: () => goTo(positionAfter(current())), ArrowLeft: () => goTo(positionBefore(current())) }],
  ["Shift + → ←", "next or previous step of this task", {
    "Shift+ArrowRight": () => goIf(findAfter(current(), sameTask())),
    "Shift+ArrowLeft": () => goIf(findBefore(current(), sameTask())),
  }],
  ["n p", "next poll, previous poll", { n: () => goIf(findAfter(current(), (step) => step.poll)), p: () => goIf(findBefore(current(), (step) => step.poll)) }],
  ["w", "why: go to the cause", { w: goToCause }],
  ["Shift + w", "show the whole chain of causes", { W: toggleChain }],
  ["t", "then: go to the effect", { t: goToEffect }],
  ["Space", "play to the next chapter; stop", { " ": play }],
  ["[ ]", "play slower, faster", { "[": () => changePace(1), "]": () => changePace(-1) }],
  ["Home End", "first screen, last screen", { Home: () => goTo(0), End: () => goTo(current().end) }],
  ["1 – 9", "go to a chapter", {}],
  ["f", "follow only the tasks of this step, or all tasks", { f: toggleFollow }],
  ["c", "switch to the other of two compared runs", { c: changeSides }],
  ["/", "search the steps", { "/": searchSteps }],
  ["?", "show these keys", { "?": () => byId("keys").showModal() }],
  ["Esc", "close, stop, or return to the step", { Escape: leave }],
];

const ACTS = Object.assign({}, ...KEYS.map(([, , acts]) => acts));

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  // Space activates the button that has the focus.
  if (event.key === " " && event.target.closest?.("button, a")) return;
  const shifted = event.shiftKey && event.key.startsWith("Arrow") ? `Shift+${event.key}` : event.key;
  const act = /^[1-9]$/.test(event.key) ? () => goToChapter(Number(event.key)) : ACTS[shifted];
  if (!act) return;
  event.preventDefault();
  if (view.playing && ![" ", "[", "]", "Escape"].includes(event.key)) stop();
  act();
}

function fillKeys() {
  const rows = KEYS.map(([keys, words]) => {
    const caps = keys.split(" ").map((key) => (/^[+–]$/.test(key) ? ` ${key} ` : make("kbd", {}, key)));
    return make("tr", {}, make("th", { scope: "row" }, ...caps), make("td", {}, words));
  });
  byId("keys").querySelector("tbody").append(...rows);
}

function searchSteps() {
  byId("search-title").textContent = "Search the steps";
  byId("query").hidden = false;
  byId("query").value = "";
  byId("search").showModal();
  byId("query").focus();
  find();
}

/** Lists the first hundred steps that contain all the words. */
function find() {
  const words = byId("query").value.toLowerCase().split(/\s+/).filter(Boolean);
  const run = current();
  const found = words.length ? run.steps.filter((step) => words.every((word) => searchText(step).includes(word))) : [];
  fillFound(found.slice(0, 100), words.length ? "No step matches." : "");
}

const searchText = (step) => `${step.n} ${step.short} ${step.sentence} ${step.lane} ${step.kind} ${step.file}`.toLowerCase();

/** Lists the given steps in the search dialog. */
function listSteps(title, numbers) {
  const run = current();
  byId("search-title").textContent = title;
  byId("query").hidden = true;
  fillFound(numbers.slice(0, 500).map((number) => run.steps[number - 1 - run.offset]), "This run has no such step.");
  byId("search").showModal();
}

function fillFound(steps, otherwise) {
  const items = steps.map((step) => {
    const choose = () => {
      byId("search").close();
      goToNumber(step.n);
    };
    return make("li", {}, make("button", { type: "button", click: choose }, make("span", {}, String(step.n)), make("span", {}, step.short)));
  });
  byId("found").replaceChildren(...(items.length ? items : [make("p", {}, otherwise)]));
}

/** Enter selects the first result, and the arrow keys move through the list. */
function onSearchKey(event) {
  const buttons = [...byId("found").querySelectorAll("button")];
  if (event.key === "Enter" && event.target === byId("query")) buttons[0]?.click();
  else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    const at = buttons.indexOf(document.activeElement) + (event.key === "ArrowDown" ? 1 : -1);
    (buttons[at] ?? (at < 0 ? byId("query") : null))?.focus();
  } else return;
  event.preventDefault();
}

/** The wave is a slider: a press or drag selects the nearest column. */
function onWave(event) {
  if (event.type === "pointermove" && !event.buttons) return;
  const wave = byId("wave");
  if (event.type === "pointerdown") {
    const side = [...wave.children].findIndex((svg) => event.clientY <= svg.getBoundingClientRect().bottom);
    if (side >= 0) view.side = side;
    wave.setPointerCapture(event.pointerId);
    if (view.playing) stop();
  }
  const layout = layouts[view.side];
  const x = event.clientX - wave.getBoundingClientRect().left - layout.sizes.names;
  if (x >= 0) goToColumn(layout, Math.min(x, layout.room) + scroll);
}

function onStrip(event) {
  if (event.type === "pointermove" && !event.buttons) return;
  const strip = byId("strip");
  if (event.type === "pointerdown") strip.setPointerCapture(event.pointerId);
  const box = strip.getBoundingClientRect();
  goToColumn(layouts[view.side], ((event.clientX - box.left) / box.width) * span());
}

function goToColumn({ run, left }, x) {
  let at = 0;
  while (at < run.shown.length - 1 && left[at + 1] <= x) at++;
  if (run.shown.length && run.position !== run.shown[at]) goTo(run.shown[at]);
}

/** A link to a step adds no entry to the history. */
function onLink(event) {
  const link = event.target.closest?.("a[data-step]");
  if (!link) return;
  event.preventDefault();
  goToNumber(Number(link.dataset.step));
}

/** A press outside a dialog closes it, because a phone has no Esc key. */
function onDialog(event) {
  const { target } = event;
  if (target.localName === "dialog" || target.closest?.(".close")) target.closest("dialog").close();
}

function onHash() {
  const position = /[#&]s=(\d+)/.exec(location.hash);
  const side = /[#&]side=(\d)/.exec(location.hash);
  if (side && runs[side[1] - 1]) view.side = side[1] - 1;
  goToNumber(position ? Number(position[1]) : 0);
}

// ---- Startup -----------------------------------------------------------------------------------

function onButton(id, act) {
  byId(id).addEventListener("click", (event) => {
    if (view.playing && id !== "play") stop();
    if (event.currentTarget.getAttribute("aria-disabled") !== "true") act();
    // After a click, Space should play and not press the button again.
    if (event.detail > 0) event.currentTarget.blur();
  });
}

function start() {
  fillKeys();
  onButton("first", () => goTo(0));
  onButton("back", () => goTo(positionBefore(current())));
  onButton("next", () => goTo(positionAfter(current())));
  onButton("play", play);
  onButton("help", () => byId("keys").showModal());
  onButton("follow", toggleFollow);
  byId("query").addEventListener("input", find);
  byId("search").addEventListener("keydown", onSearchKey);
  document.addEventListener("keydown", onKey);
  document.addEventListener("click", onLink);
  for (const dialog of document.querySelectorAll("dialog")) dialog.addEventListener("click", onDialog);
  for (const type of ["pointerdown", "pointermove"]) {
    byId("wave").addEventListener(type, onWave);
    byId("strip").addEventListener(type, onStrip);
  }
  const again = () => {
    layOutAll();
    show();
  };
  addEventListener("resize", again);
  narrow.addEventListener("change", again);
  addEventListener("hashchange", onHash);
  layOutAll();
  onHash();
  // Prepare all files while the reader reads the first screen, so that no step is slow.
  for (const file of tabFiles) if (file in data.files) setTimeout(() => listing(file));
}

start();
