// The program, above the runtime: the line at which a task stands.

/** What a task does at its line, in words. */
const STANDS = { spawned: "was spawned here", runs: "runs here", waits: "waits here", continues: "continues here", ended: "ended here" };

/** Whether the page shows the program at its steps. A recording without stacks knows no lines of it. */
const hasProgram = runs.some((run) => run.steps.some((step) => step.place));

/** The lines of each file of the program. The pane of the runtime may show the same file. */
const programListings = new Map();

function programListing(file) {
  if (!programListings.has(file)) programListings.set(file, makeListing(file, "programLines"));
  return programListings.get(file);
}

/** Maps each file and line of the program to the steps at which a task or a thread runs it. */
function programLinesOf(run) {
  const files = new Map();
  for (const step of run.steps) {
    if (!step.place) continue;
    const [at, , does = "runs"] = step.place;
    if (does !== "runs") continue;
    const { file, line } = run.places[at];
    if (!files.has(file)) files.set(file, new Map());
    const lines = files.get(file);
    if (!lines.has(line)) lines.set(line, []);
    lines.get(line).push(step.n);
  }
  return files;
}

let programMarks = [];

/** Call this before `showSource`, which uses the rest of the height. */
function showProgram() {
  const run = current();
  const step = run.step(run.position);
  byId("program").hidden = !hasProgram || !step;
  for (const line of programMarks) line.className = "code-line";
  programMarks = [];
  if (!hasProgram || !step) return;
  const [at, task, does] = step.place ?? [];
  const place = run.places[at] ?? { file: run.first.file, line: run.first.from, callers: [] };
  const { element, lines, texts } = programListing(place.file);
  const code = byId("program-code");
  if (code.firstChild !== element) code.replaceChildren(element);
  const hueOf = task === undefined ? "hue-ink" : hue(task);
  const mark = (line, style) => {
    lines[line - 1]?.classList.add(style, hueOf);
    if (lines[line - 1]) programMarks.push(lines[line - 1]);
  };
  if (step.place) {
    place.callers.forEach((line) => mark(line, "calls"));
    mark(place.line, "stands");
  }
  const words = step.place ? standsInWords(run, step, task, does, texts[place.line - 1]) : [];
  byId("program-path").replaceChildren(make("strong", {}, "the program"), ` · ${narrow.matches ? shortName(place.file) : place.file}`, ...words.map((part) => [" · ", make("span", { class: `stands ${hueOf}` }, ...part)]).flat());
  byId("program-path").title = place.file;
  scrollLines(code, programRows(), [place.line, place.line], texts, false);
}

/** Returns a list of parts, e.g. "task 2 waits here, in .await". */
function standsInWords(run, step, task, does, text = "") {
  if (task === undefined) return [[`${nameOfThread(step.thread)} runs here`]];
  const words = `${task === 0 ? "the main future" : `task ${task}`} ${STANDS[does]}`;
  if (does === "spawned" && run.lacks_lines) return [[`${words}; without debug information, its line is unknown`]];
  return [does === "waits" && text.includes(".await") ? [`${words}, in `, make("code", {}, ".await")] : [words]];
}

/** "the client", "the main thread", but "thread pool-1", or "thread 2" if it has no name. */
function nameOfThread(thread) {
  if (/\d/.test(thread)) return `thread ${thread.replace(/^ThreadId\((\d+)\)$/, "$1")}`;
  return thread === "main" ? "the main thread" : `the ${thread}`;
}

/** The number of lines of the program: a third of the height; on a phone, one line. */
function programRows() {
  if (narrow.matches) return 1;
  const room = roomForCode() - byId("program-path").offsetHeight;
  return Math.max(1, Math.round((room / codeLineHeight()) * 0.36));
}
