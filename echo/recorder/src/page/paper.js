// Paper: the waves in rows of the width of a page, each with the sentences of its steps below it.

/** The width between the margins of A4, which is narrower than Letter, in CSS pixels. */
const PAPER = 680;
const PAPER_WIDTHS = { step: 20, sleep: 64 };
/** A longer run is printed as text. */
const MOST_PRINTED = 500;

/** Prepares what is printed. Before that, most readers do not need it. */
function fillPaper() {
  const fits = runs.every((run) => run.steps.length <= MOST_PRINTED);
  document.body.classList.toggle("has-paper", fits);
  if (fits) byId("paper").replaceChildren(...runs.flatMap(paperOf));
}

function paperOf(run) {
  const title = [run.title, run.label].filter(Boolean).join(": ");
  const rows = rowsOf(run).map((positions) => paperRow(run, positions));
  const last = isPair ? run.verdict : run.last.counts;
  return [make("h1", {}, title), make("p", {}, ...markup(run, run.claim)), ...rows, make("p", { class: "row" }, ...markup(run, last))];
}

/** The lanes, and the space that a row has for its columns. */
function paperSizes(run) {
  const lane = run.lanes.length > 9 ? 13 : 16;
  return { lane, top: 22, words: true, radius: 3.6, names: 92, height: 22 + run.lanes.length * lane + 16, step: [20, 20], sleep: [64, 64] };
}

/** Divides the steps into rows. */
function rowsOf(run) {
  const room = PAPER - paperSizes(run).names - 8;
  const rows = [];
  let width = Infinity;
  for (let position = 1; position <= run.steps.length; position++) {
    const column = isLong(run.step(position)) ? PAPER_WIDTHS.sleep : PAPER_WIDTHS.step;
    if (width + column > room) {
      rows.push([]);
      width = 0;
    }
    rows.at(-1).push(position);
    width += column;
  }
  return rows;
}

function paperRow(run, positions) {
  const numbers = positions.map(run.numberAt);
  const chapters = run.chapters.filter((chapter) => numbers.includes(chapter.step));
  // The wave of a run that has only these steps, and shows none of them.
  const part = { ...run, shown: positions, chapters, follow: null, dropped: 0, position: -1, label: "" };
  const sizes = paperSizes(run);
  const layout = layOut(part, PAPER_WIDTHS, sizes, PAPER - sizes.names);
  const before = scroll;
  scroll = 0;
  const wave = drawWave(layout, false);
  scroll = before;
  if (!positions.includes(partOf(run))) wave.querySelector(".part")?.remove();
  const y = sizes.height - 2;
  wave.append(...positions.map((position, at) => {
    const x = sizes.names + (layout.left[at] + layout.left[at + 1]) / 2;
    return draw("text", { class: "step-number", x, y }, String(run.numberAt(position)));
  }));
  const sentences = positions.map((position) => {
    const step = run.step(position);
    return make("li", {}, make("span", {}, String(step.n)), make("span", {}, ...markup(run, step.sentence)));
  });
  return make("div", { class: "row" }, wave, make("ol", {}, ...sentences));
}

addEventListener("beforeprint", fillPaper);
matchMedia("print").addEventListener("change", (print) => print.matches && fillPaper());
