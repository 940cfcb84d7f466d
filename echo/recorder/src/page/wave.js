// The wave: one column for each step, one lane for each layer.

/** Sizes in pixels. A phone shows the names of lanes, but has no space for other words. */
function waveSizes(lanes) {
  const one = narrow.matches;
  const pair = runs.length > 1;
  const wish = one ? (pair ? 7 : 13) : viewName === "embed" ? 15 : pair ? 15 : innerWidth < 1200 ? 22 : 26;
  // More than seven lanes are lower, but still high enough for their names.
  const lane = lanes.length <= 7 ? wish : Math.max(one ? 6 : 14, Math.floor((wish * 8) / lanes.length));
  const margin = pair ? 4 : 8;
  // Lower lanes have no space for names.
  const names = one && lane < 12 ? 0 : one ? 66 : innerWidth < 1200 ? 92 : 112;
  const top = one ? margin : 22;
  return {
    lane, top, names, words: !one, radius: one ? 2.3 : pair ? 3.6 : 4.4,
    height: top + lanes.length * lane + (one ? margin : 10),
    step: one ? [4.6, 14] : viewName ? [12, 30] : innerWidth < 1200 ? [15, 30] : [16, 30], sleep: one ? [18, 40] : [viewName ? 48 : 64, 84], window: one ? [9, 30] : [20, 64],
  };
}

/** The lanes from top to bottom. With a filter, the tasks that are not followed share a lane. */
function lanesOf(run) {
  if (!run.follow) return run.lanes;
  const rest = run.lanes.filter((lane) => lane.task === undefined && lane.id !== "others");
  const followed = [...run.follow].sort((a, b) => b - a).map((task) => ({ id: `task ${task}`, name: taskLabel(task), task }));
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
  const near = run.position === 0 ? { x: 0 } : run.position === run.end ? { x: endOfWave(layout) } : pointOf(layout, run.position);
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
      ...grounds(layout, range, causes), ...threadLine(layout, range), ...marks(layout, range), ...taskNumbers(layout, range), ...causes.map((cause) => cause.element)));
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
  if (!run.label || !sizes.words) return [];
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
  if (!sizes.words || crossed || !isWhole(layout, x, 52)) return [band];
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
  // The chapters are those of the tasks that are followed at first.
  if (!sizes.words || (run.usual && run.follow && run.follow !== run.usual)) return [];
  const starts = run.chapters.map((chapter) => ({ name: chapter.name, at: left[columnFrom(run, column, chapter.step - run.offset)] }));
  // The name of the chapter in which the window begins stays in view. It yields to the label of the torn edge.
  const free = isTorn(run) ? tornText(run).length * LETTER_WIDTH + 12 : scroll;
  return starts.flatMap(({ name, at }, nth) => {
    const from = Math.max(at + 5, free);
    const space = Math.min(starts[nth + 1]?.at ?? Infinity, scroll + room) - from - 5;
    const rule = draw("path", { class: "chapter", d: `M${at} 2V${sizes.height - 4}` });
    const shown = shortened(name, space);
    return shown ? [rule, draw("text", { x: from, y: 13 }, draw("title", {}, name), shown)] : [rule];
  });
}

/** The first shown column at or after a position. */
function columnFrom(run, column, position) {
  while (position < run.end && column[position] < 0) position++;
  return position < run.end ? column[position] : run.shown.length;
}

/** The width of a letter in the wave, about. */
const LETTER_WIDTH = 6.7;

/** Whether a label of this width, around its middle, is in the window as a whole. */
const isWhole = ({ room }, x, width) => x - width / 2 >= scroll && x + width / 2 <= scroll + room;

/** Shortens a name to the available space. */
function shortened(name, space) {
  const letters = Math.floor(space / LETTER_WIDTH);
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
  if (!sizes.words || step.thread === lanes[laneAt(step)].name) return [];
  const width = step.thread.length * 7;
  const gap = sizes.radius * 1.5 + 4;
  // The left edge of the window would cut the name, so it is on the other side there.
  const before = x - gap - width >= scroll;
  const [from, to] = before ? [x - gap - width, x] : [x, x + gap + width];
  for (let other = before ? at - 1 : at + 1; other >= 0 && other < run.shown.length; other += before ? -1 : 1) {
    if (left[other + 1] < from || left[other] > to) break;
    if (run.step(run.shown[other]).lane === "outside") return [];
  }
  return [draw("text", { class: `thread-name ${before ? "" : "after"}`, x: before ? x - gap : x + gap, y: y + 4 }, step.thread)];
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
    // Mute the steps that two runs share, so that their difference stands out.
    const isShared = parts && position < parts && !here;
    const radius = sizes.radius * (here ? 1.5 : isShared ? 0.7 : 1);
    const isBar = step.mark === "asleep" || isHeld(step);
    const shape = isBar ? timeBar(point, radius, step) : markShape(step.mark, point.x, point.y, radius);
    if (step.task !== null && step.mark !== "asleep") shape.classList.add(hue(step.task));
    if (isShared) shape.classList.add("equal");
    drawn.push(shape);
    if (isHeld(step) && sizes.words && isWhole(layout, point.x, 48)) drawn.push(draw("text", { class: "held", x: point.x, y: point.y + 17 }, roughly(step.held)));
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
  if (!isPair) return [];
  const x = sizes.names + left[columnFrom(run, column, partOf(run))] - scroll;
  return x < sizes.names ? [] : [draw("path", { class: "part", d: `M${x} 0V${sizes.height}` })];
}

function tornEdge({ sizes }, run) {
  if (!isTorn(run)) return [];
  const teeth = [];
  for (let y = sizes.top - 6, nth = 0; y < sizes.height - 6; y += 6, nth++) teeth.push(`${sizes.names + (nth % 2 ? 10 : 4)} ${y}`);
  const edge = draw("path", { class: "tear", d: `M${teeth.join("L")}` });
  if (!sizes.words) return [edge];
  return [edge, draw("text", { x: sizes.names + 4, y: 13 }, tornText(run))];
}

/** Whether the window begins where steps were dropped. */
const isTorn = (run) => run.dropped > 0 && scroll <= 0;
const tornText = (run) => `${times(run.dropped, "earlier step")} were dropped`;

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
