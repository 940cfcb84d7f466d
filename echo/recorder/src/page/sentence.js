// The head, and the sentence with its causes and effects.

function showHead() {
  const run = current();
  byId("name").textContent = run.title;
  byId("label").textContent = run.label;
  byId("line").textContent = run.line;
  byId("where").textContent = whereText(run);
  showFollow(run);
}

function whereText(run) {
  if (run.position === 0) return times(run.steps.length, "step");
  if (run.position === run.end) return "end";
  const step = run.step(run.position);
  return `step ${count(step.n)} of ${count(run.steps.length + run.offset)} · ${milliseconds(step.ms)}`;
}

function showFollow(run) {
  const button = byId("follow");
  button.hidden = !run.follow;
  if (run.follow) button.textContent = `only ${taskNames([...run.follow])}`;
  button.title = "Show the steps of all tasks (f)";
}

function taskNames(tasks) {
  const numbers = [...tasks].sort((a, b) => a - b).join(", ");
  return `task${tasks.length === 1 ? "" : "s"} ${numbers}`;
}

/** Converts `**bold**`, `` `code` `` and `#21`; the rest is text. */
function markup(run, text) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(/\*\*(.+?)\*\*|`([^`]+)`|#(\d+)/g)) {
    parts.push(text.slice(end, match.index));
    end = match.index + match[0].length;
    if (match[1] !== undefined) parts.push(make("strong", {}, ...markup(run, match[1])));
    else if (match[2] !== undefined) parts.push(make("code", {}, match[2]));
    else parts.push(stepLink(run, Number(match[3]), "", `step ${match[3]}`));
  }
  parts.push(text.slice(end));
  return parts;
}

/** A link to a step, or only its text if the step was dropped. */
function stepLink(run, number, style, ...words) {
  if (number !== 0 && number <= run.offset) {
    return make("span", { class: style, title: "This step was dropped from the recording." }, ...words);
  }
  return make("a", { class: style || undefined, href: `#s=${number}`, "data-step": number }, ...words);
}

function showSentence() {
  const run = current();
  const sentence = byId("sentence");
  const step = run.step(run.position);
  sentence.className = run.position === 0 ? "claim" : "";
  sentence.classList.toggle("wrong", isWrong(run, run.position));
  sentence.replaceChildren(...markup(run, sentenceText(run, step)), ...changesInWords(run, step));
  showLinks(run, step);
  showRows();
  fitText(sentence);
}

function sentenceText(run, step) {
  if (run.position === 0) return headline(run);
  if (step) return step.sentence;
  return isPair ? run.verdict : run.last.counts;
}

/** Describes the changed cells for screen readers. */
function changesInWords(run, step) {
  if (!step) return [];
  const changed = Object.keys(step.changes).filter((path) => !REPEATING.test(path));
  const words = changed.map((path) => `${cellName(run, path)} ${cellText(path, run.cells[path])}, ${wasText(run, path)}.`);
  return words.length ? [make("span", { class: "unseen" }, ` ${words.join(" ")}`)] : [];
}

/** Reduces the type size of a long text on a phone or of two runs, because its space is fixed. */
function fitText(text) {
  text.classList.remove("tight", "tighter");
  // A long claim, such as a question, has two lines.
  if (!narrow.matches && text.classList.contains("claim")) text.classList.toggle("long", text.scrollHeight > text.clientHeight + 1);
  if (!(narrow.matches || isPair) || text.textContent.length < 70) return;
  for (const size of ["tight", "tighter"]) {
    if (text.scrollHeight <= text.clientHeight + 1) return;
    text.classList.add(size);
  }
}

function showLinks(run, step) {
  const [why, then] = [byId("why"), byId("then")];
  why.replaceChildren();
  then.replaceChildren();
  if (run.position === 0) why.append(...(isPair ? partWords(run) : firstWords(run)));
  else if (step) {
    why.append(...chips(run, "because of", step.causes));
    then.append(...chips(run, "leads to", run.effects.get(step.n) ?? []));
  } else why.append(`This is the end of the recording. ${touch.matches ? "Tap First to return" : "Home or First returns"} to the start.`);
}

function firstWords(run) {
  const how = `${touch.matches ? "Tap Next" : "Press →"} to step through the run.`;
  const dropped = run.dropped ? ` ${times(run.dropped, "earlier step")} were dropped.` : "";
  return [`${run.more} ${how}${dropped}`];
}

/** Returns two links, and a button that lists all steps if there are more. */
function chips(run, words, numbers) {
  if (!numbers.length) return [];
  const shown = numbers.slice(0, 2).map((number) => stepLink(run, number, "chip", `${number} ${shortOf(run, number)}`));
  if (numbers.length > 2) {
    const all = () => listSteps(`Step ${run.step(run.position).n} ${words}`, numbers);
    shown.push(make("button", { type: "button", class: "chip", click: all }, `+ ${numbers.length - 2}`));
  }
  return [make("span", {}, words), ...shown];
}

function shortOf(run, number) {
  if (number === 0) return "the start";
  return run.steps[number - 1 - run.offset]?.short ?? "(dropped)";
}
