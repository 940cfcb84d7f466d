// Prompts: at some steps, the page asks once what happens next.
//
// → goes to the next step, whether the page asks or not, so a reader who does not want to answer
// presses the same keys as before.

/** The prompts of each run that were not asked yet, by the numbers of their steps. */
const unasked = new Map(runs.map((run) => [run, new Map(run.prompts.map((prompt) => [prompt.step, prompt]))]));
const LETTERS = ["a", "b", "c"];

/** Takes the prompt of the step at `to`, but only if the reader comes from the step before it. */
function ask(run, from, to) {
  view.prompt = null;
  view.chosen = [];
  const next = run.shown.find((position) => position > to);
  if (!view.asks || view.playing || from !== to - 1 || next !== to + 1) return;
  const prompts = unasked.get(run);
  const number = run.numberAt(to);
  view.prompt = prompts.get(number) ?? null;
  prompts.delete(number);
}

function showPrompt(run) {
  const { prompt, chosen } = view;
  document.body.classList.toggle("asking", Boolean(prompt));
  byId("prompt").hidden = !prompt;
  byId("asks").hidden = view.asks || !run.prompts.length;
  if (!prompt) return;
  const sentence = byId("sentence");
  if (chosen.length) sentence.replaceChildren(...explanation(run, chosen.at(-1)));
  else sentence.append(" ", make("span", { class: "question" }, "What happens next?"));
  fitText(sentence);
  // The buttons stay when an answer is chosen, so that the focus stays too.
  if (!chosen.length) byId("prompt").replaceChildren(...answerButtons(run));
  else markAnswers();
  if (!isAnswered()) hideNextColumns(run);
}

const isAnswered = () => view.chosen.includes(view.prompt.right);

function explanation(run, chosen) {
  const verdict = chosen === view.prompt.right ? "right" : "wrong";
  return [make("strong", {}, `${LETTERS[chosen]} is ${verdict}.`), " ", ...markup(run, view.prompt.answers[chosen][1])];
}

function answerButtons(run) {
  const answers = view.prompt.answers.map(([text], nth) =>
    make("button", { type: "button", class: "answer", click: afterClick(() => choose(nth)) }, make("kbd", {}, LETTERS[nth]), make("span", {}, ...markup(run, text))));
  const skip = make("button", { type: "button", class: "skip", click: afterClick(() => goTo(positionAfter(run))) }, make("kbd", {}, "→"), make("span", {}, "just show me"));
  const stopAsking = make("button", { type: "button", class: "quiet", title: "Do not ask what happens next (q)", click: toggleAsks }, "ask no more");
  return [...answers, skip, stopAsking];
}

/** After a click, Space should play and not press the button again. */
function afterClick(act) {
  return (event) => {
    act();
    if (event.detail > 0) event.currentTarget.blur();
  };
}

function markAnswers() {
  byId("prompt").querySelectorAll(".answer").forEach((button, nth) => {
    const chosen = view.chosen.includes(nth);
    button.classList.toggle("right", chosen && nth === view.prompt.right);
    button.classList.toggle("refuted", chosen && nth !== view.prompt.right);
    button.setAttribute("aria-pressed", chosen);
  });
  byId("prompt").querySelector(".skip span").textContent = isAnswered() ? "go on" : "just show me";
}

/** Covers the next columns of the wave, which would show the answer. */
function hideNextColumns(run) {
  const { left, column, sizes } = layouts[view.side];
  const at = column[run.position] + 1;
  const from = left[at];
  const to = left[Math.min(at + 3, run.shown.length)];
  const [y, height] = [sizes.top - 6, sizes.height - sizes.top + 6];
  byId("wave").children[view.side].querySelector("svg > g").append(
    draw("rect", { class: "cover", x: from, y, width: to - from, height }),
    draw("text", { class: "strong cover-text", x: (from + to) / 2, y: y + height / 2 + 4 }, "?"));
}

/** Chooses an answer. All answers stay open until the right one is chosen. */
function choose(nth) {
  if (isAnswered() || view.chosen.includes(nth)) return;
  view.chosen.push(nth);
  show();
}

/** Returns what a key does while the page asks. */
function answerAct(key) {
  const nth = LETTERS.indexOf(key);
  return view.prompt && nth >= 0 ? () => choose(nth) : undefined;
}

function closePrompt() {
  view.prompt = null;
  show();
}

function toggleAsks() {
  if (!current().prompts.length) return;
  view.asks = !view.asks;
  closePrompt();
}

/** Whether to ask is a part of the address, so a reload and a link keep it. */
const askAddress = () => (view.asks ? "" : "&ask=off");

function readAskAddress() {
  const asks = /[#&]ask=(on|off)/.exec(location.hash);
  if (asks) view.asks = asks[1] === "on";
}
