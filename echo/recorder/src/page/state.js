// The state: tables of tasks, executor, reactor and kernel.

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
  if (inner.top < outer.top) region.scrollTop -= outer.top - inner.top + 24;
}

function table(caption, rows, ...styles) {
  const columns = styles.map((style) => make("col", { class: style }));
  return make("table", {}, make("caption", {}, caption), make("colgroup", {}, ...columns), make("tbody", {}, ...rows));
}

/** The content of a cell. If this step changed it, it is marked and its title is the previous value. */
function cell(run, path, ...content) {
  const step = run.step(run.position);
  const changed = step && path in step.changes && isMarked(run, step, path);
  return changed ? make("span", { class: "now", title: wasText(run, path) }, ...content) : make("span", {}, ...content);
}

function wasText(run, path) {
  const before = run.was[run.position - 1][path];
  return before === undefined ? "did not exist" : `was ${cellText(path, before)}`;
}

function cellText(path, value) {
  if (!Array.isArray(value)) return value || "nothing";
  if (!value.length) return path.endsWith("wakers") || path === "timers" || path === "woken" ? "none" : "empty";
  if (path === "woken") return wokenText(value);
  return value.map((one) => (typeof one === "object" ? `${taskName(one.task ?? -1)} ${timeLeft(one)}` : taskName(one))).join(", ");
}

/** The future of `block_on` is always task 0. */
const taskLabel = (task) => (task === 0 ? "main" : `task ${task}`);
const taskName = (task) => (task < 0 ? "custom waker" : taskLabel(task));

/** The name of a cell, with the token of its source. Two sources never have the same ID, unlike tokens. */
function cellName(run, path) {
  const [kind, name, ...rest] = path.split("/");
  if (kind === "queue") return "Run queue:";
  if (kind === "task") return `Task ${name}:`;
  if (kind === "source") return `Source ${run.tokens.get(name)}, ${rest.join(", ")}:`;
  return `${kind[0].toUpperCase()}${kind.slice(1)}:`;
}

const taskPill = (task) => make("span", { class: `pill ${hue(task)}` }, taskLabel(task));

/** A waker in the color of its task. It fades in where this step stored it. */
function wakerPill(task, arrived, short) {
  const style = `pill waker ${hue(task)} ${arrived ? "arrived" : ""}`;
  if (task < 0) return make("span", { class: style, title: "a waker that belongs to no task" }, "waker");
  const name = task === 0 ? "main" : String(task);
  return make("span", { class: style, title: `a waker of ${taskLabel(task)}` }, short ? name : `waker ${name}`);
}

/** Lists the oldest task first, so that the space of a task that does not exist yet is at the end. */
function tasksTable(run) {
  const all = run.tasks;
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
  const guest = all.find((task) => task.id === last) ?? all.findLast((task) => !own.has(task.id));
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
  const most = pillsThatFit(value);
  const shown = value.slice(0, most).map(taskPill);
  return value.length > most ? [...shown, make("span", { class: "more" }, `+ ${count(value.length - most)}`)] : shown;
}

/** How many pills of these tasks fit into a row of the executor, with the number of the others. */
function pillsThatFit(tasks) {
  const room = byId("state").clientWidth - (narrow.matches ? 140 : 160);
  const widths = tasks.slice(0, 7).map((task) => 56 + 7.3 * String(task).length);
  const all = widths.reduce((sum, width) => sum + width, 0);
  if (tasks.length === widths.length && all <= room) return tasks.length;
  let [used, fit] = [60, 0];
  while (fit < widths.length - 1 && used + widths[fit] <= room) used += widths[fit++];
  return Math.max(1, fit);
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
  const sources = run.sources.filter((source) => run.paths.has(`source/${source.id}/read`) || run.paths.has(`source/${source.id}/write`));
  const shown = sources.length <= MAX_ROWS ? sources : nearSources(run, sources);
  const rows = shown.flatMap((source) => sourceRows(run, source));
  if (shown.length < sources.length) rows.push(otherSources(run, sources, shown));
  if (run.paths.has("woken")) rows.unshift(wokenRow(run));
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
  return [...own, guest ?? others.values().next().value].filter(Boolean);
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
    [make("span", { class: "sample now" }), "this step's line, and what it changed"],
  ];
  return [
    make("h2", {}, "Legend"),
    make("p", { class: "axes" }, "One column is one step. Up is nearer to your code."),
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
  const { shown, again, read } = run.last;
  const items = again.map(({ command, says }) => make("li", {}, ...markup(run, says), make("code", { class: "command" }, command)));
  return [
    ...(isPair ? [comparison()] : [
      make("h2", {}, "What the run showed"),
      ...shown.map((sentence) => make("p", { class: "shown" }, ...markup(run, sentence))),
    ]),
    ...(items.length ? [make("h2", {}, "Run it again with a fault"), make("ul", { class: "again" }, ...items)] : []),
    make("h2", {}, "The file to read first"),
    make("p", {}, read),
  ];
}
