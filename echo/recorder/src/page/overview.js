// The overview of a long run: time on the x axis, a row for each task, a bar for each poll. The list of tasks
// is its second view.

const overview = {
  /** The milliseconds at the left and right edge; null if the whole run is in view. */
  window: null,
  /** Whether the list of tasks is shown instead of the timeline. */
  listed: false,
  /** The column by which the list is sorted, and whether the smallest value comes first. */
  sorted: { by: "poll", ascending: false },
  /** The pressed pointers, by their number. */
  pointers: new Map(),
  /** Whether the pointer has moved since it was pressed, so that its release is not a click. */
  moved: false,
  /** How the timeline was drawn last. */
  scale: null,
};

const hasOverview = (run) => runs.length === 1 && run.long;
const isOverview = (run) => hasOverview(run) && (run.position === 0 || view.overview);

/** Shows the overview, or the source and the state of the step. */
function openOverview(run) {
  const open = isOverview(run);
  document.body.dataset.overview = open;
  byId("overview").hidden = !open;
  byId("source").hidden = open;
  byId("state").hidden = open;
}

/** The sentence of the first screen. */
function headline(run) {
  if (!hasOverview(run)) return run.claim;
  const steps = times(run.steps.length, "step");
  return run.findings.length ? `What stands out in ${steps}` : `Nothing stands out in ${steps}`;
}

function showOverview(run) {
  if (!isOverview(run)) return;
  const region = byId("overview");
  const plot = make("div", { id: "plot" });
  const hint = make("p", { id: "hint" }, overview.listed ? "A click on a time leads to its step. The state is that at the end." : hintText());
  region.replaceChildren(overviewBar(run), plot, hint);
  if (overview.listed) plot.append(...taskList(run));
  else drawTimeline(run, plot);
}

const hintText = () => (narrow.matches ? "Pinch to zoom, drag to move, tap a bar for its step." : "Scroll to zoom, drag to move, click a bar for its step.");

/** The most findings that get a chip. The list of tasks names the others. */
const MOST_CHIPS = 6;

function overviewBar(run) {
  const chipsOf = run.findings.slice(0, MOST_CHIPS).map((finding) =>
    make("button", { type: "button", class: "chip", click: () => goToFinding(finding) }, make("span", {}, count(finding.step)), ` ${finding.text}`));
  const rest = run.findings.length - MOST_CHIPS;
  if (rest > 0) chipsOf.push(make("button", { type: "button", class: "chip", click: () => chooseView(true) }, `and ${rest} more`));
  const choice = (name, listed) => make("button", { type: "button", "aria-pressed": String(overview.listed === listed), click: () => chooseView(listed) }, name);
  return make("div", { id: "findings" }, ...chipsOf, make("span", { class: "views" }, choice("Timeline", false), choice("Tasks", true)));
}

function chooseView(listed) {
  overview.listed = listed;
  showOverview(current());
}

/** Opens the overview at the current step, or closes it. */
function toggleOverview() {
  const run = current();
  if (!hasOverview(run) || run.position === 0) return;
  view.overview = !view.overview;
  show();
}

// The findings.

function goToFinding({ step, task }) {
  goToStepOf(step, task);
}

/** Goes to a step. If its task is not followed, follows only this task. */
function goToStepOf(number, task) {
  const run = current();
  if (layouts[view.side].column[number - run.offset] < 0) setFollow(run, new Set([task]));
  goToNumber(number);
}

/** Goes to the next or previous finding. After the last one the first one follows. */
function goAlongFindings(by) {
  const run = current();
  const here = run.numberAt(run.position);
  const steps = [...run.findings].sort((a, b) => a.step - b.step);
  if (!steps.length) return;
  const found = by > 0 ? steps.find(({ step }) => step > here) : steps.findLast(({ step }) => step < here);
  goToFinding(found ?? steps.at(by > 0 ? 0 : -1));
}

// The timeline.

/** The polls of a run, in the order in which they began, and when each task has its row. */
function pollsOf(run) {
  if (run.polls) return run.polls;
  const running = new Map();
  const polls = [];
  for (const step of run.steps) {
    if (step.kind === "poll") {
      const poll = { task: step.task, from: step.ms, to: step.ms, first: step.n, step: step.n };
      running.set(step.task, poll);
      polls.push(poll);
    } else if (["pending", "done", "panic", "abort"].includes(step.kind) && running.has(step.task)) {
      Object.assign(running.get(step.task), { to: step.ms, step: step.n });
      running.delete(step.task);
    }
  }
  // The last poll may go on until the end of the recording.
  for (const poll of running.values()) poll.to = lastTime(run);
  run.polls = polls;
  run.rows = new Map(run.tasks.map((task) => task.id).sort((a, b) => a - b).map((task, row) => [task, row]));
  run.sleeps = run.steps.filter(isSleep);
  return polls;
}

function lastTime(run) {
  const last = run.steps.at(-1);
  return last ? last.ms + (last.slept ?? 0) : 0;
}

const wholeWindow = (run) => ({ from: run.steps[0].ms, to: Math.max(lastTime(run), run.steps[0].ms + 0.001) });

function scaleOf(run, width, height) {
  const small = narrow.matches;
  const names = small ? 44 : 84;
  const top = 12 + 16 * labelLines(run, width);
  const room = Math.max(10, width - names - (small ? 4 : 24));
  const { from, to } = overview.window ?? wholeWindow(run);
  const row = Math.min(26, (height - top - 26) / run.tasks.length);
  return { run, width, height, names, top, room, from, to, row, bottom: top + row * run.tasks.length, x: (ms) => names + ((ms - from) / (to - from)) * room };
}

const labelLines = (run, width) => (run.findings.length ? Math.min(run.findings.length, width < 900 ? 4 : 3) : 0);
const rowMiddle = (scale, task) => scale.top + (scale.run.rows.get(task) + 0.5) * scale.row;

function drawTimeline(run, plot) {
  const polls = pollsOf(run);
  const scale = scaleOf(run, plot.clientWidth, plot.clientHeight);
  overview.scale = scale;
  plot.replaceChildren(draw("svg", { id: "timeline", width: scale.width, height: scale.height, "aria-hidden": "true" },
    ground(scale), rails(scale), ...axis(scale), ...cursor(scale), ...pollBars(scale, polls), ...rowNames(scale), ...findingMarks(scale)));
}

/** One path for all sleeps. Sleeps that share a pixel are drawn once. */
function ground(scale) {
  const { run, top, bottom, names, room } = scale;
  const pieces = [];
  let end = -1;
  for (const { ms, slept } of run.sleeps) {
    const from = Math.max(names, scale.x(ms));
    const to = Math.min(names + room, scale.x(ms + slept));
    if (to <= from || to < end + 0.3) continue;
    pieces.push(`M${from.toFixed(1)} ${top}V${bottom}H${to.toFixed(1)}V${top}Z`);
    end = to;
  }
  return draw("path", { class: "band", d: pieces.join("") });
}

function rails(scale) {
  const { run, names, room, row } = scale;
  const lines = row < 3 ? [] : run.tasks.map((task) => `M${names} ${rowMiddle(scale, task.id).toFixed(1)}h${room}`);
  return draw("path", { class: "rail", d: lines.join("") });
}

/** One path for each color. Polls of a row that share a pixel are drawn once. */
function pollBars(scale, polls) {
  const { run, names, room } = scale;
  const paths = new Map();
  const ends = new Float64Array(run.rows.size).fill(-1);
  for (const { task, from, to } of polls) {
    if (to < scale.from || from > scale.to) continue;
    const row = run.rows.get(task);
    const start = Math.max(names, scale.x(from));
    const end = Math.min(names + room, Math.max(scale.x(to), start + 1.5));
    if (end <= ends[row] + 0.5) continue;
    ends[row] = end;
    const color = hue(task);
    if (!paths.has(color)) paths.set(color, []);
    paths.get(color).push(`M${start.toFixed(1)} ${rowMiddle(scale, task).toFixed(1)}H${end.toFixed(1)}`);
  }
  const width = Math.max(2, Math.min(9, scale.row * 0.7));
  return [...paths].map(([color, pieces]) => draw("path", { class: `poll ${color}`, d: pieces.join(""), style: `stroke-width:${width}` }));
}

function axis(scale) {
  const { from, to, names, room, bottom } = scale;
  const least = ((to - from) * 90) / room;
  const power = 10 ** Math.floor(Math.log10(least));
  const tick = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= least);
  const drawn = [];
  for (let nth = Math.ceil(from / tick); nth * tick <= to; nth++) {
    const x = scale.x(nth * tick);
    const words = tick < 0.1 ? `${(nth * tick).toFixed(2)} ms` : tick < 1 ? `${(nth * tick).toFixed(1)} ms` : `${count(nth * tick)} ms`;
    // The last one would not fit.
    const half = words.length * 3.4;
    if (x + half < scale.width) drawn.push(draw("text", { class: "tick", x: Math.max(x, names + half - 12), y: bottom + 18 }, words));
    drawn.push(draw("path", { class: "rail", d: `M${x} ${bottom}v5` }));
  }
  return drawn;
}

/** The time of the current step. */
function cursor(scale) {
  const step = scale.run.step(scale.run.position);
  if (!step || step.ms < scale.from || step.ms > scale.to) return [];
  return [draw("rect", { class: "cursor", x: scale.x(step.ms) - 1.5, y: scale.top, width: 3, height: scale.bottom - scale.top })];
}

/** If the rows are too low for all names, names only the tasks of the findings. */
function rowNames(scale) {
  const { run, row } = scale;
  const all = row >= 13;
  const found = new Set(run.findings.map((finding) => finding.task));
  const named = all ? run.tasks.map((task) => task.id) : [...found].sort((a, b) => a - b);
  const drawn = all ? [] : [draw("text", { class: "tasks", x: 0, y: scale.top - 4 }, times(run.tasks.length, "task"))];
  let last = scale.top - 4;
  for (const task of named) {
    const y = rowMiddle(scale, task) + 4;
    if (y < last + 13) continue;
    last = y;
    drawn.push(draw("text", { class: `lane-name ${hue(task)} ${found.has(task) ? "strong" : ""}`, x: 0, y }, narrow.matches && task ? String(task) : taskLabel(task)));
  }
  return drawn;
}

// Marks of the findings, with their labels above the rows.

function findingMarks(scale) {
  const ends = new Array(labelLines(scale.run, scale.width)).fill(-10);
  return scale.run.findings.flatMap((finding) => {
    if (finding.to < scale.from || finding.from > scale.to) return [];
    const label = findingLabel(scale, finding, ends);
    return [...findingShape(scale, finding), ...label];
  });
}

function findingShape(scale, { kind, task, from, to }) {
  const { names, room, top, bottom } = scale;
  const start = Math.max(names, scale.x(from));
  const end = Math.min(names + room, Math.max(scale.x(to), start + 3));
  const y = rowMiddle(scale, task);
  if (kind === "held") return [draw("rect", { class: "finding", x: start, y: top - 4, width: end - start, height: bottom - top + 8 })];
  if (kind === "lost") return [draw("path", { class: "finding cross", d: `M${start - 5} ${y - 5}l10 10m0 -10l-10 10` })];
  const below = y + Math.min(8, Math.max(4, scale.row / 2));
  return [draw("path", { class: "finding", d: `M${start} ${below - 3}V${below}H${end}V${below - 3}` })];
}

/** Puts a label on the first line that has space at its place, with a line down to its mark. */
function findingLabel(scale, finding, ends) {
  const width = finding.label.length * 7.6;
  const mark = Math.max(scale.names, scale.x(finding.from));
  const x = Math.max(0, Math.min(mark, scale.width - width));
  const line = ends.findIndex((end) => x > end + 12);
  if (line < 0) return [];
  ends[line] = x + width;
  const y = 12 + 16 * line;
  const foot = finding.kind === "held" ? scale.top - 4 : rowMiddle(scale, finding.task) - (finding.kind === "lost" ? 6 : 0);
  const leader = draw("path", { class: "leader", d: `M${mark} ${y + 4}V${foot}` });
  return [leader, draw("text", { class: "found", x, y }, finding.label)];
}

// Zoom and pan.

/** The shortest time that fills the timeline, in milliseconds. */
const CLOSEST = 0.02;

function setWindow(from, to) {
  const whole = wholeWindow(current());
  const length = Math.max(CLOSEST, Math.min(to - from, whole.to - whole.from));
  const start = Math.max(whole.from, Math.min(from, whole.to - length));
  overview.window = length >= whole.to - whole.from ? null : { from: start, to: start + length };
  const plot = byId("plot");
  if (plot && !overview.listed) drawTimeline(current(), plot);
}

/** Zooms, and keeps the time at a place; by default the current step's, or the middle. */
function zoom(factor, x) {
  const run = current();
  if (!isOverview(run) || overview.listed) return;
  const { from, to, names, room } = overview.scale;
  const step = run.step(run.position);
  const inView = step && step.ms >= from && step.ms <= to;
  const fixed = x === undefined ? (inView ? step.ms : (from + to) / 2) : from + ((x - names) / room) * (to - from);
  setWindow(fixed - (fixed - from) / factor, fixed + (to - fixed) / factor);
}

/** Moves the window by a part of its length. */
function pan(part) {
  if (!isOverview(current()) || overview.listed) return;
  const { from, to } = overview.scale;
  const by = (to - from) * part;
  const whole = wholeWindow(current());
  const start = Math.max(whole.from, Math.min(from + by, whole.to - (to - from)));
  setWindow(start, start + (to - from));
}

const placeIn = (event) => event.clientX - byId("plot").getBoundingClientRect().left;

function onOverviewWheel(event) {
  if (!event.target.closest?.("#timeline") || (narrow.matches && !event.ctrlKey)) return;
  event.preventDefault();
  if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) pan(event.deltaX / overview.scale.room);
  else zoom(Math.exp(-event.deltaY * 0.002), placeIn(event));
}

function onOverviewDown(event) {
  if (!event.target.closest?.("#timeline")) return;
  byId("overview").setPointerCapture(event.pointerId);
  if (overview.pointers.size === 0) overview.moved = false;
  overview.pointers.set(event.pointerId, { x: event.clientX, pressed: event.clientX });
}

function onOverviewMove(event) {
  const pointer = overview.pointers.get(event.pointerId);
  if (!pointer) return describeBar(event);
  const others = [...overview.pointers.values()].filter((other) => other !== pointer);
  const before = pointer.x;
  pointer.x = event.clientX;
  if (Math.abs(pointer.x - pointer.pressed) > 4) overview.moved = true;
  if (!overview.moved) return;
  if (others.length === 0) return pan((before - pointer.x) / overview.scale.room);
  // Two fingers: the distance between them changes, and the time between them stays.
  const other = others[0].x;
  const middle = (pointer.x + other) / 2 - byId("plot").getBoundingClientRect().left;
  zoom(Math.max(10, Math.abs(pointer.x - other)) / Math.max(10, Math.abs(before - other)), middle);
}

function onOverviewUp(event) {
  const pointer = overview.pointers.get(event.pointerId);
  overview.pointers.delete(event.pointerId);
  if (!pointer || overview.moved || event.type === "pointercancel") return;
  const target = targetAt(event);
  if (target.poll) goToStepOf(target.poll.step, target.poll.task);
  else if (target.step) goToNumber(target.step.n);
}

/** Returns the poll nearest to a pointer, or else the last step before it. */
function targetAt(event) {
  const { run, scale } = { run: current(), scale: overview.scale };
  const box = byId("timeline").getBoundingClientRect();
  const [x, y] = [event.clientX - box.left, event.clientY - box.top];
  const reach = Math.max(8, scale.row / 2);
  let [nearest, least] = [null, 10];
  for (const poll of pollsOf(run)) {
    const down = Math.abs(rowMiddle(scale, poll.task) - y);
    if (down > reach || poll.to < scale.from || poll.from > scale.to) continue;
    const [from, to] = [scale.x(poll.from), scale.x(poll.to)];
    const distance = Math.hypot(Math.max(from - x, x - to, 0), Math.max(0, down - scale.row / 2));
    if (distance < least) [nearest, least] = [poll, distance];
  }
  const time = scale.from + ((x - scale.names) / scale.room) * (scale.to - scale.from);
  return { poll: nearest, step: run.steps.findLast((step) => step.ms <= time) ?? run.steps[0] };
}

function describeBar(event) {
  if (!event.target.closest?.("#timeline") || event.pointerType === "touch") return;
  const { poll } = targetAt(event);
  byId("hint").textContent = poll ? `${taskLabel(poll.task)}, step ${count(poll.step)}: a poll of ${briefly(poll.to - poll.from)} at ${milliseconds(poll.from)}` : hintText();
}

// The list of tasks.

const stateAtEnd = (run, task) => run.ending[`task/${task.id}/state`] ?? "";

/** Name, value to sort by, content, and style of each column. */
const COLUMNS = {
  task: ["task", (task) => task.id, (task) => [taskPill(task.id)], ""],
  name: ["name", (task) => task.name, (task) => [task.name], "wide-only"],
  location: ["spawned at", (task) => task.location, (task) => [shortLocation(task.location)], "wide-only"],
  polls: ["polls", (task) => task.totals.polls, (task) => [count(task.totals.polls)], "end"],
  polled: ["time polled", (task) => task.totals.polled, (task) => [briefly(task.totals.polled)], "end wide-only"],
  poll: ["longest poll", (task) => task.totals.poll.ms, (task) => [timeLink(task, task.totals.poll)], "end"],
  wait: ["longest wait", (task) => task.totals.wait.ms, (task) => [timeLink(task, task.totals.wait)], "end"],
  state: ["state", (task) => stateAtEnd(current(), task), (task) => [stateCell(current(), `ending/${task.id}`, stateAtEnd(current(), task))], ""],
};

/** The most rows that the list shows at a time. */
const MOST_ROWS = 300;

function timeLink(task, { ms, step }) {
  if (!step) return "–";
  return make("button", { type: "button", title: `step ${count(step)}`, click: () => goToStepOf(step, task.id) }, briefly(ms));
}

const NO_TOTALS = { polls: 0, polled: 0, poll: { ms: 0, step: 0 }, wait: { ms: 0, step: 0 } };

function taskList(run) {
  const [, value] = COLUMNS[overview.sorted.by];
  const sign = overview.sorted.ascending ? 1 : -1;
  const order = (a, b) => (a < b ? -sign : a > b ? sign : 0);
  const tasks = run.tasks.map((task) => ({ ...task, totals: task.totals ?? NO_TOTALS }));
  tasks.sort((a, b) => order(value(a), value(b)) || a.id - b.id);
  const found = new Set(run.findings.map((finding) => finding.task));
  const cellOf = (task, [, , content, style], first) => make(first ? "th" : "td", { class: style, ...(first && { scope: "row" }) }, ...content(task));
  const row = (task) => make("tr", { class: found.has(task.id) ? "found" : undefined }, ...Object.values(COLUMNS).map((column, nth) => cellOf(task, column, nth === 0)));
  const rows = tasks.slice(0, MOST_ROWS).map(row);
  const table = make("table", { id: "tasks" }, make("caption", { class: "unseen" }, "Tasks"), make("thead", {}, make("tr", {}, ...Object.keys(COLUMNS).map(columnHead))), make("tbody", {}, ...rows));
  const rest = tasks.length - rows.length;
  return rest > 0 ? [table, make("p", { class: "rest" }, `${count(rest)} more tasks are not listed. Sort by another column to see other tasks.`)] : [table];
}

function columnHead(by) {
  const [name, , , style] = COLUMNS[by];
  const { by: sorted, ascending } = overview.sorted;
  const sort = () => {
    // Times and counts begin with the largest.
    const ascends = by === sorted ? !ascending : ["task", "name", "location", "state"].includes(by);
    overview.sorted = { by, ascending: ascends };
    showOverview(current());
    byId("tasks").querySelector(`[data-by=${by}]`).focus();
  };
  const direction = by === sorted ? (ascending ? "ascending" : "descending") : "none";
  const arrow = by === sorted ? (ascending ? " ↑" : " ↓") : "";
  return make("th", { scope: "col", class: style, "aria-sort": direction }, make("button", { type: "button", "data-by": by, click: sort }, name + arrow));
}

function prepareOverview() {
  const region = byId("overview");
  region.addEventListener("wheel", onOverviewWheel, { passive: false });
  region.addEventListener("pointerdown", onOverviewDown);
  region.addEventListener("pointermove", onOverviewMove);
  for (const type of ["pointerup", "pointercancel"]) region.addEventListener(type, onOverviewUp);
}
