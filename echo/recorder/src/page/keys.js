// Keys, dialogs and pointers.

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
  ["PgUp PgDn", "ten steps further or back, if the wave has the focus", {}],
  ["1 – 9", "go to a chapter", {}],
  ["x", "go to the next finding of a long run; with Shift, the previous one", { x: () => goAlongFindings(1), X: () => goAlongFindings(-1) }],
  ["o", "show the overview of a long run, or return to the step", { o: toggleOverview }],
  ["Plus -", "overview: zoom in, zoom out", { "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5) }],
  [", .", "overview: move to an earlier or later time", { ",": () => pan(-0.5), ".": () => pan(0.5) }],
  ["f", "follow only the tasks of this step, or all tasks", { f: toggleFollow }],
  ["c", "switch to the other of two compared runs", { c: changeSides }],
  ["d", "go to the step at which two compared runs diverge", { d: goToPart }],
  ["a b c", "choose an answer, if the page asks what happens next", {}],
  ["q", "ask what happens next, or do not ask", { q: toggleAsks }],
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
  const chapter = /^[1-9]$/.test(event.key) ? () => goToChapter(Number(event.key)) : undefined;
  const act = answerAct(event.key) ?? slideAct(event) ?? chapter ?? ACTS[shifted];
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

/** Lists the steps that contain all the words. */
function find() {
  const words = byId("query").value.toLowerCase().split(/\s+/).filter(Boolean);
  const run = current();
  const found = words.length ? run.steps.filter((step) => words.every((word) => searchText(step).includes(word))) : [];
  fillFound(found, words.length ? "No step matches." : "");
}

const searchText = (step) => `${step.n} ${step.short} ${step.sentence} ${step.lane} ${step.kind} ${step.file}`.toLowerCase();

/** Lists the given steps in the search dialog. */
function listSteps(title, numbers) {
  const run = current();
  byId("search-title").textContent = title;
  byId("query").hidden = true;
  fillFound(numbers.map((number) => run.steps[number - 1 - run.offset]), "This run has no such step.");
  byId("search").showModal();
}

/** How many results the dialog shows at first, and adds at a time. */
const RESULTS = 100;

/** Lists some steps, and says how many there are. A button adds the next ones. */
function fillFound(steps, otherwise, shown = RESULTS) {
  const items = steps.slice(0, shown).map((step) => {
    const choose = () => {
      byId("search").close();
      goToNumber(step.n);
    };
    return make("li", {}, make("button", { type: "button", click: choose }, make("span", {}, String(step.n)), make("span", {}, step.short)));
  });
  if (steps.length > shown) {
    const add = () => {
      fillFound(steps, otherwise, shown + RESULTS);
      byId("found").querySelectorAll("button")[shown].focus();
    };
    const words = `The first ${count(shown)} of ${times(steps.length, "step")}. Show ${Math.min(RESULTS, steps.length - shown)} more`;
    items.push(make("li", {}, make("button", { type: "button", class: "rest", click: add }, words)));
  }
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
  const x = (event.clientX - wave.getBoundingClientRect().left) / enlargementOf(wave) - layout.sizes.names;
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
  readViewAddress();
  readAskAddress();
  const side = /[#&]side=(\d)/.exec(location.hash);
  if (side && runs[side[1] - 1]) view.side = side[1] - 1;
  goToNumber(position ? Number(position[1]) : 0);
}
