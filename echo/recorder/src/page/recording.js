// Steps through a recording: one sentence, one column of the wave, one line of source, and the
// cells of state that this step changed.
//
// A *position* is 0 on the first screen, 1 to N on the N steps, and N + 1 on the last screen. A step's
// *number* (`n`) is what the reader sees. The two differ if steps were dropped from the recording.
"use strict";

const data = JSON.parse(byId("data").textContent);
const runs = data.runs.map(index);
/** The name of the view in the address; empty for the whole page. Two runs have only the whole page. */
const VIEW = /[#&]view=(slide|embed)\b/;
const viewName = (runs.length === 1 && VIEW.exec(location.hash)?.[1]) || "";
const [NARROW_WIDTH, LOW] = ["(max-width: 760px)", "(max-height: 560px)"];
const NARROW = `${NARROW_WIDTH}, ${LOW}`;
/** Whether the page has one column. */
const narrow = matchMedia(viewName ? NARROW_WIDTH : NARROW);
/** A screen that is touched. It shows words about buttons instead of keys. */
const touch = matchMedia("(pointer: coarse)");

/** What the reader has selected. This and the recording determine everything on the page. */
const view = {
  /** The run, of two compared ones, whose sentence, source and state are shown. */
  side: 0,
  /** The file that the reader has opened instead of the step's file, until the next step. */
  peek: null,
  /** Whether to draw the whole chain of causes, back to the outside. */
  chain: false,
  /** Whether a long run shows its overview instead of the source and the state of the step. */
  overview: false,
  /** Whether the page may ask what happens next. */
  asks: true,
  /** The prompt of the current step, if the page asks, and the indices of the answers that were chosen. */
  prompt: null,
  chosen: [],
  /** The timer of the next step while playing. */
  playing: null,
  /** How much longer than usual a step lasts while playing. */
  pace: 1,
};

const PACES = [0.25, 0.5, 1, 2, 4];
/** Cells that repeat or count what other cells show. Their changes are not marked. */
const REPEATING = /^task\/\d+\/(held|polls)$/;
/** Kinds of steps and states of tasks that are faults. A call that would block is not a fault. */
const FAULTS = new Set(["stuck", "lost", "panic", "panicked"]);
/** With more tasks or sources than this, the state shows only those of the lanes and of the step. */
const MAX_ROWS = 8;

// The recording and its indexes.

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
    tokens: new Map(run.sources.map((source) => [source.id, source.token])),
    effects: effectsOf(run, offset),
    lines: linesOf(run),
    programLines: programLinesOf(run),
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
  return { was, ending: cells, paths: new Set(Object.keys(cells)), waited, waitersOf };
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

// The position in it.

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
