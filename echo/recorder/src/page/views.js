// Views: large type for a projector (`#view=slide`), and a frame in another page (`#view=embed`).
//
// The address names the view. Both views show the same page with fewer or smaller regions.

document.documentElement.dataset.view = viewName;
// In a view, low height alone does not lead to one column. A narrow window still does.
if (viewName) {
  for (const { media } of [...document.styleSheets[0].cssRules]) {
    if (media?.mediaText === NARROW) media.mediaText = NARROW_WIDTH;
    else if (media?.mediaText === LOW) media.mediaText = "not all";
  }
}

/** The width and height in CSS pixels that a slide is laid out for. It is then scaled to the window. */
const SLIDE = [960, 580];

function scaleSlide() {
  if (viewName !== "slide") return;
  const scale = narrow.matches ? 1 : Math.max(1, Math.min(innerWidth / SLIDE[0], innerHeight / SLIDE[1]));
  document.body.style.setProperty("--scale", scale);
}

/** By how much an element is drawn larger than it was laid out. */
const enlargementOf = (element) => element.getBoundingClientRect().width / element.offsetWidth || 1;

/** The keys of a presenter's remote control. */
function slideAct(event) {
  // With the focus on the wave, these keys have acted already.
  if (viewName !== "slide" || event.defaultPrevented) return undefined;
  return { PageDown: ACTS.ArrowRight, PageUp: ACTS.ArrowLeft }[event.key];
}

const viewAddress = () => (viewName ? `&view=${viewName}` : "");

/** Loads the page again if a link leads to another view. */
function readViewAddress() {
  const named = VIEW.exec(location.hash);
  if (named && named[1] !== viewName && runs.length === 1) location.reload();
}
