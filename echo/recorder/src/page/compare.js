// Two compared runs: both sentences and both lines at each step, and how the runs end.

const isPair = runs.length > 1;

/** The parts of the row of each run, in the region of the sentence. The selected run's sentence is there already. */
const rows = isPair ? runs.map(makeRow) : [];

function makeRow(run, side) {
  const choose = () => {
    if (view.side !== side) changeSides();
  };
  const row = {
    label: make("button", { type: "button", class: "row-label", click: choose }, run.label),
    says: make("p", { class: "row-says" }),
    code: make("p", { class: "row-code" }),
  };
  for (const element of Object.values(row)) element.dataset.row = side;
  return row;
}

function prepareRows() {
  if (!isPair) return;
  byId("step").classList.add("pair");
  byId("links").before(...rows.flatMap((row) => Object.values(row)));
}

/** Shows the row of each run. Call this after `settleOther`. */
function showRows() {
  if (!isPair) return;
  const screen = document.body.dataset.screen;
  const side = screen === "first" ? -1 : view.side;
  byId("sentence").dataset.row = side;
  rows.forEach((row, nth) => {
    const run = runs[nth];
    const position = nth === view.side ? run.position : counterpart(current(), run);
    row.label.setAttribute("aria-pressed", nth === view.side);
    row.label.title = nth === view.side ? "The source and the state are those of this run" : "Show the source and the state of this run (c)";
    row.says.hidden = nth === side;
    row.says.replaceChildren(...rowSentence(run, position));
    row.says.classList.toggle("wrong", isWrong(run, position));
    row.code.replaceChildren(...rowLines(run, position));
    fitText(row.says);
  });
}

function rowSentence(run, position) {
  if (position === 0) return markup(run, commentAbove(run));
  if (position === run.end) return markup(run, run.verdict);
  if (position > run.end) return [make("span", { class: "quiet" }, "This run has ended.")];
  return markup(run, run.step(position).sentence);
}

/** Whether the sentence of a position describes a fault. */
function isWrong(run, position) {
  if (position === run.end && isPair) return run === runs[1];
  return FAULTS.has(run.step(position)?.kind);
}

/** The comment above the line in which the run differs, without its first word and its slashes. */
function commentAbove(run) {
  const texts = (data.files[run.first.file] ?? "").split("\n");
  const words = [];
  for (let at = (run.differs ?? 0) - 2; at >= 0 && texts[at].trim().startsWith("//"); at--) words.unshift(texts[at].trim().slice(2).trim());
  const comment = words.join(" ").replace(/^\w+: /, "");
  return comment && comment[0].toUpperCase() + comment.slice(1);
}

/** The lines of source of a position, each with its place. */
function rowLines(run, position) {
  const step = run.step(position);
  const lines = step ? linesOfStep(run, step) : position > run.end || !run.differs ? [] : [{ file: run.first.file, line: run.differs }];
  return lines.filter(({ file }) => file in data.files).map(({ file, line }) => {
    const text = (data.files[file].split("\n")[line - 1] ?? "").trim();
    return make("span", { class: "row-line", title: text }, make("span", { class: "quiet" }, `${shortName(file)}:${line} `), make("code", {}, ...colored(text)[0]));
  });
}

/** The line of the program at which the task stands, if known, and the line of the runtime that ran. */
function linesOfStep(run, step) {
  const place = run.places?.[step.place?.[0]];
  return [...(place ? [{ file: place.file, line: place.line }] : []), ...statementOf(step)];
}

/** The first line of the statement that the step ran, without attributes. */
function statementOf({ file, act }) {
  if (!file || !(file in data.files)) return [];
  const texts = data.files[file].split("\n");
  let [line, last] = act;
  while (line < last && texts[line - 1].trim().startsWith("#[")) line++;
  return [{ file, line }];
}

// The position of one run that corresponds to the position of the other one.

/** For each position of a run, the number of its steps on the executor's thread so far. */
const ordinals = new Map(runs.map((run) => {
  const counts = new Uint32Array(run.end + 1);
  run.steps.forEach((step, at) => (counts[at + 1] = counts[at] + (step.lane === "outside" ? 0 : 1)));
  return [run, counts];
}));

/**
 * Returns the position of the other run after as many steps. Steps on other threads do not count before
 * the runs diverge, because their order varies. The result is greater than `end` if the other run has ended.
 */
function counterpart(run, other) {
  const { position } = run;
  if (position === 0) return 0;
  if (position === run.end) return other.end;
  const after = position - partOf(run);
  if (after >= 0) {
    const same = partOf(other) + after;
    return same < other.end ? same : other.end + 1;
  }
  const wanted = ordinals.get(run)[position];
  const found = ordinals.get(other).indexOf(wanted);
  return Math.max(1, Math.min(found, partOf(other) - 1));
}

/** Moves the other run to the position that corresponds to this run's position. */
function settleOther() {
  if (!isPair) return;
  const [run, other] = [current(), runs[1 - view.side]];
  const position = counterpart(run, other);
  other.position = position > other.end ? other.steps.length : position;
  settle(other);
}

/** The position at which the two runs diverge; 0 if there is only one run. */
function partOf(run) {
  return isPair ? data.parts[runs.findIndex((one) => one.steps === run.steps)] - run.offset : 0;
}

function goToPart() {
  if (isPair) goTo(Math.min(partOf(current()), current().steps.length));
}

// The first and the last screen.

/** Says where the runs diverge, with a link. */
function partWords(run) {
  const number = run.numberAt(partOf(run));
  return [make("span", { class: "wide-only" }, `${touch.matches ? "Tap Next" : "Press →"} to step through both runs, or ${touch.matches ? "go" : "d to go"} to`), stepLink(run, number, "chip", `step ${number}: the runs diverge`)];
}

/** The program, with the lines in which the runs differ in the middle. */
function differenceView(run) {
  const lines = runs.map(({ differs }) => differs ?? run.first.from);
  return { file: run.first.file, lines: [Math.min(...lines), Math.max(...lines)] };
}

/** Marks the line of each run in their program, if the page shows it and no step. */
function markDifference(run, shown, mark) {
  if (!isPair || run.step(run.position) || shown.file !== run.first.file) return;
  for (const { differs: line } of runs) if (line) mark(line, line, line === runs[1].differs ? "faulty" : "proper");
}

/** The end of the run, or the divergence of two runs, whose ends may be far apart. */
function endOfWave({ total, left, column, run }) {
  return isPair ? left[columnFrom(run, column, partOf(run))] : total;
}

/** The totals of both runs, side by side, except those that are 0 in both. */
function comparison() {
  const lines = runs.map((run) => new Map(totals(run)));
  const names = [...new Set(lines.flatMap((line) => [...line.keys()]))];
  const head = make("thead", {}, make("tr", {}, make("td"), ...runs.map((run) => make("th", { scope: "col" }, run.label))));
  const both = names.map((name) => [name, lines.map((line) => line.get(name) ?? "–")]);
  const body = both.filter(([, values]) => values.some((value) => !/^(–|0\b(?!\.))/.test(value))).map(([name, values]) => {
    const style = values[0] === values[1] ? "quiet" : undefined;
    return make("tr", {}, make("th", { scope: "row" }, name), ...values.map((value) => make("td", { class: style, title: value }, value)));
  });
  return make("table", { class: "comparison" }, make("caption", {}, "Both runs at their end"), head, make("tbody", {}, ...body));
}

function totals(run) {
  const number = (satisfies) => count(run.steps.filter(satisfies).length);
  const asleep = run.steps.reduce((sum, step) => sum + (step.slept ?? 0), 0);
  const held = run.steps.reduce((most, step) => Math.max(most, step.held ?? 0), 0);
  const tasks = run.tasks.map((task) => [`task ${task.id} ${task.name}`, endOf(run, task)]);
  return [
    ["polls", number((step) => step.poll)],
    ["wakes", number((step) => step.kind === "wake")],
    ["would block", number((step) => step.kind === "would block")],
    ["thread asleep", roughly(asleep)],
    ["longest poll", held ? roughly(held) : "–"],
    ["registrations", number((step) => step.kind === "register")],
    ...tasks,
  ];
}

/** The last state of a task, or the step at which it was lost. */
function endOf(run, task) {
  const lost = run.steps.find((step) => step.kind === "lost" && step.task === task.id);
  return lost ? `lost in step ${lost.n}` : stateAtEnd(run, task);
}
