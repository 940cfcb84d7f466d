// Navigation: from one step to another, and play.

function show() {
  const run = current();
  settle(run);
  settleOther();
  keepingFocus(() => showAt(run));
  remember(run.numberAt(run.position));
}

function showAt(run) {
  document.body.dataset.step = run.numberAt(run.position);
  document.body.dataset.screen = run.position === 0 ? "first" : run.position === run.end ? "last" : "step";
  openOverview(run);
  showHead();
  showSentence();
  // Before the source and the state, which share the height that the wave leaves.
  showWave();
  showProgram();
  showSource();
  showState();
  showOverview(run);
  showControls(run);
  showPrompt(run);
}

/** Puts the step into the address, but not into the history, so that Back leaves the page. */
function remember(number) {
  const side = view.side ? "&side=2" : "";
  try {
    history.replaceState(null, "", `#s=${number}${side}${viewAddress()}${askAddress()}`);
  } catch {
    // Browsers limit the rate of these calls. A later step updates the address.
  }
}

function showControls(run) {
  byId("first").setAttribute("aria-disabled", run.position === 0);
  byId("back").setAttribute("aria-disabled", run.position === 0);
  byId("next").setAttribute("aria-disabled", run.position === run.end);
  byId("play").textContent = view.playing ? "Stop" : "Play";
  byId("speed").textContent = `speed ${1 / view.pace}×`;
}

function goTo(position) {
  const run = current();
  const target = Math.max(0, Math.min(run.end, position));
  if (target !== 0 && target !== run.end && layouts[view.side].column[target] < 0) setFollow(run, null);
  ask(run, run.position, target);
  run.position = target;
  view.peek = null;
  view.chain = false;
  view.overview = false;
  show();
}

function goToNumber(number) {
  goTo(number === 0 ? 0 : number - current().offset);
}

/** Returns the next shown position whose step satisfies the condition. */
function findAfter(run, satisfies) {
  return run.shown.find((position) => position > run.position && satisfies(run.step(position)));
}

function findBefore(run, satisfies) {
  return run.shown.findLast((position) => position < run.position && satisfies(run.step(position)));
}

const any = () => true;
const positionAfter = (run) => findAfter(run, any) ?? run.end;
const positionBefore = (run) => findBefore(run, any) ?? 0;

function goIf(position) {
  if (position !== undefined) goTo(position);
}

/** Returns a condition for steps of the same task as the current step. */
function sameTask() {
  const run = current();
  const step = run.step(run.position);
  const task = step?.task ?? step?.about[0];
  return task === undefined || task === null ? any : (other) => other.task === task || other.about.includes(task);
}

function goToCause() {
  const run = current();
  const cause = run.step(run.position)?.causes.find((number) => number === 0 || number > run.offset);
  if (cause !== undefined) goToNumber(cause);
}

function goToEffect() {
  const run = current();
  const effect = run.effects.get(run.numberAt(run.position))?.[0];
  if (effect !== undefined) goToNumber(effect);
}

function goToChapter(nth) {
  const run = current();
  const chapter = run.chapters[nth - 1];
  if (chapter) goTo(run.shown[columnFrom(run, layouts[view.side].column, chapter.step - run.offset)] ?? run.end);
}

function changeSides() {
  if (runs.length < 2) return;
  view.side = 1 - view.side;
  view.peek = null;
  drawStrip();
  show();
}

function toggleFollow() {
  const run = current();
  if (run.follow) return showAll(run);
  const about = run.step(run.position)?.about ?? [];
  const wanted = run.usual && about.every((task) => run.usual.has(task)) ? run.usual : new Set(about);
  if (wanted.size === 0 || wanted.size === run.tasks.length) return;
  setFollow(run, wanted);
  if (layouts[view.side].column[run.position] < 0) run.position = positionAfter(run);
  show();
}

function showAll(run) {
  setFollow(run, null);
  show();
}

function setFollow(run, tasks) {
  run.follow = tasks;
  run.shown = shownPositions(run);
  layOutAll();
}

function play() {
  if (view.playing) return stop();
  if (current().position === current().end) goTo(0);
  // A screen reader could not finish any sentence.
  byId("sentence").setAttribute("aria-live", "off");
  view.playing = setTimeout(tick, timeToRead());
  showControls(current());
}

/** The milliseconds for which to show a step: time to look at it, and to read its sentence. */
function timeToRead() {
  const run = current();
  const words = sentenceText(run, run.step(run.position)).split(" ").length;
  return view.pace * (700 + 200 * words);
}

function tick() {
  const run = current();
  goTo(positionAfter(run));
  view.playing = setTimeout(tick, timeToRead());
  const begins = run.chapters.some((chapter) => chapter.step === run.numberAt(run.position));
  // Do not stop at the first step, which begins the first chapter.
  if (run.position === run.end || (begins && run.position > 1)) stop();
}

function stop() {
  clearTimeout(view.playing);
  view.playing = null;
  byId("sentence").setAttribute("aria-live", "polite");
  showControls(current());
}

function changePace(by) {
  const at = PACES.indexOf(view.pace) + by;
  view.pace = PACES[Math.max(0, Math.min(PACES.length - 1, at))];
  showControls(current());
}

function toggleChain() {
  view.chain = !view.chain;
  showWave();
}

function leave() {
  if (view.playing) stop();
  if (view.prompt) return closePrompt();
  if (!view.peek && !view.chain && !view.overview) return;
  view.peek = null;
  view.chain = false;
  view.overview = false;
  show();
}
