// The keyboard: the keys of the wave, which is a slider, and where the focus goes.

/** Steps by which Page Up and Page Down move. */
const PAGE_STEPS = 10;

/** The keys of a slider that have another meaning elsewhere. `onKey` handles the others. */
const SLIDER = {
  ArrowUp: () => goTo(positionAfter(current())),
  ArrowDown: () => goTo(positionBefore(current())),
  PageUp: () => goTo(repeated(positionAfter)),
  PageDown: () => goTo(repeated(positionBefore)),
};

function onSliderKey(event) {
  const act = SLIDER[event.key];
  if (!act || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  event.preventDefault();
  if (view.playing) stop();
  act();
}

/** Returns the position after so many steps in one direction. */
function repeated(move) {
  const run = { ...current() };
  for (let step = 0; step < PAGE_STEPS; step++) run.position = move(run);
  return run.position;
}

/** Runs `change`. If it replaces the element with the focus, moves the focus to the nearest one. */
function keepingFocus(change) {
  const before = document.activeElement;
  const places = [];
  for (let place = before; place?.parentElement; place = place.parentElement) if (place.id) places.push(place.id);
  change();
  const isLost = before && before !== document.body && (!before.isConnected || !before.checkVisibility());
  if (!isLost || document.querySelector("dialog[open]")) return;
  const near = places.map((id) => byId(id)?.querySelector("a, button:not(:disabled)")).find((element) => element?.checkVisibility());
  (near ?? byId("next")).focus({ preventScroll: true });
}
