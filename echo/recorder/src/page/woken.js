// The wakers that are about to be called, and which cell to mark when a waker moves to another one.

/** Cells that a waker leaves, each with the cells that it may enter. */
const MOVES = [[/^source\/\w+\/\w+\/wakers$|^timers$/, ["woken"]], [/^woken$/, ["queue", "inbox"]]];

/** Whether to mark the change of a cell. If a waker moves, only the cell that it enters is marked. */
function isMarked(run, step, path) {
  if (REPEATING.test(path)) return false;
  const grows = (cell) => cell in step.changes && sizeOf(step.changes[cell]) > sizeOf(run.was[step.n - run.offset - 1][cell]);
  const move = MOVES.find(([from]) => from.test(path));
  return !move || grows(path) || !move[1].some(grows);
}

/** The number of tasks or wakers in a cell. */
const sizeOf = (list = []) => list.reduce((sum, one) => sum + (one.more ?? 1), 0);

function wokenRow(run) {
  const content = cell(run, "woken", ...wokenPills(run, run.cells.woken ?? []));
  return make("tr", {}, make("th", { scope: "row" }, "woken"), make("td", { colspan: narrow.matches ? 3 : 4 }, content));
}

function wokenPills(run, woken) {
  if (!woken.length) return [make("span", { class: "quiet" }, "none")];
  const before = run.was[run.position - 1].woken;
  const shown = woken.filter((one) => !one.more).slice(0, 3);
  const pills = shown.map(({ task }, nth) => wakerPill(task, before && nth >= before.length, nth > 0));
  const more = sizeOf(woken) - shown.length;
  return [...pills, more ? `+${more} ` : " ", make("span", { class: "quiet" }, wokenWords(woken))];
}

/** Where the wakers were stored, and whether the first of them is being called. */
function wokenWords(woken) {
  const origins = new Set(woken.map((one) => one.from).filter(Boolean));
  // A phone has no space for the source.
  const from = origins.size === 1 && !narrow.matches ? `from ${woken[0].from}, ` : "";
  if (!woken[0].called) return `${from}about to be called`;
  return `${from}${woken.length > 1 ? "the first is " : ""}being called`;
}

/** The list in words, for screen readers. */
const wokenText = (woken) => `${woken.map((one) => (one.more ? `${one.more} more` : taskName(one.task))).join(", ")} ${wokenWords(woken)}`;
