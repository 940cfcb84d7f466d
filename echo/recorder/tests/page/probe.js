// What the tests of the viewer ask of a page: what a reader sees of it, and what is wrong with it.
"use strict";

globalThis.probe = (() => {
  const byId = (id) => document.getElementById(id);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const isSeen = (element) => element.checkVisibility({ visibilityProperty: true, contentVisibilityAuto: true }) && !element.closest(".unseen, #ladder");

  /** The words of an element, but those that only a screen reader tells. */
  function words(element) {
    const copy = element.cloneNode(true);
    for (const unseen of all(".unseen", copy)) unseen.remove();
    return copy.textContent.replace(/\s+/g, " ").trim();
  }

  /** The file that is shown, and its lines that are marked as what the step ran. */
  function marked() {
    const lines = all("#code .code-line.now").map((line) => Number(line.dataset.line));
    return { file: byId("tabs").querySelector("[aria-current]")?.title, lines };
  }

  /** The line of the program at which a task stands, and what is told of it. */
  function program() {
    const pane = byId("program-code").getBoundingClientRect();
    const marked = all("#program-code .code-line.stands");
    const isIn = ({ top, bottom }) => top >= pane.top - 0.5 && bottom <= pane.bottom + 0.5;
    const [, , told = ""] = words(byId("program-path")).split(" · ");
    return { file: byId("program-path").title, words: told, lines: marked.map((line) => Number(line.dataset.line)), inView: marked.every((line) => isIn(line.getBoundingClientRect())) };
  }

  /** The state, row by row and cell by cell; without the rows whose time has not come. */
  function rows() {
    const shown = all("#state tr").filter((row) => getComputedStyle(row.cells[0]).visibility === "visible");
    return shown.map((row) => [...row.cells].filter((cell) => cell.checkVisibility()).map((cell) => cell.textContent));
  }

  /** All that a step shows. */
  function seen() {
    return {
      step: Number(document.body.dataset.step),
      where: words(byId("where")),
      sentence: words(byId("sentence")),
      why: words(byId("why")),
      then: words(byId("then")),
      marked: marked(),
      top: byId("code").scrollTop,
      rows: rows(),
      wave: byId("wave").innerHTML,
      slider: ["aria-valuenow", "aria-valuemax", "aria-valuetext"].map((name) => byId("wave").getAttribute(name)),
    };
  }

  /** A place in the document, to a tenth of a pixel. */
  function box(element) {
    const { x, y, width, height } = element.getBoundingClientRect();
    return [x + scrollX, y + scrollY, width, height].map((size) => Math.round(size * 10) / 10);
  }

  const REGIONS = ["head", "step", "sentence", "links", "source", "tabs", "path", "code", "state", "waves", "wave", "controls", "back", "next", "play"];

  function regions() {
    return Object.fromEntries(REGIONS.map((id) => [id, box(byId(id))]));
  }

  /** What reaches beyond the right edge of the window, and nothing cuts it off, as code and SVG do. */
  function sideways() {
    const cuts = (element) => getComputedStyle(element).overflowX !== "visible";
    const isCut = (element) => {
      for (let one = element.parentElement; one; one = one.parentElement) if (cuts(one)) return true;
      return false;
    };
    const beyond = all("main *:not(#code *, svg *)").filter((element) => element.getBoundingClientRect().right > innerWidth + 0.5);
    const found = beyond.filter((element) => isSeen(element) && !isCut(element)).map(name);
    return document.documentElement.scrollWidth > innerWidth ? ["the page scrolls sideways", ...found] : found;
  }

  const name = (element) => `${element.localName}${element.id && `#${element.id}`} "${element.textContent.trim().slice(0, 30)}"`;

  /** Whether the sentence has more lines than room. */
  function overflows() {
    const sentence = byId("sentence");
    return sentence.scrollHeight > sentence.clientHeight + 1;
  }

  /** Cells of the state whose text is cut off. */
  function clipped() {
    const wide = all("#state td, #state th").filter((cell) => isSeen(cell) && cell.scrollWidth > cell.clientWidth + 1);
    return wide.map(name);
  }

  /** Labels of a drawing that overlap each other, and labels that its edges cut. */
  function overlaps(selector) {
    const faults = [];
    for (const drawing of all(selector)) {
      const texts = all("text", drawing).filter((text) => text.textContent).map((text) => [text, text.getBoundingClientRect()]);
      const frameOf = (text) => {
        const [svg, outer] = [text.ownerSVGElement, text.ownerSVGElement.ownerSVGElement];
        if (!outer) return svg.getBoundingClientRect();
        // A drawing within a drawing cuts off at its own edges.
        const left = outer.getBoundingClientRect().left + Number(svg.getAttribute("x"));
        return { left, right: left + Number(svg.getAttribute("width")) };
      };
      const seen = texts.filter(([text, box]) => box.right > frameOf(text).left && box.left < frameOf(text).right);
      seen.forEach(([text, box], nth) => {
        const frame = frameOf(text);
        if (box.left < frame.left - 1 || box.right > frame.right + 1) faults.push(`cut: ${text.textContent}`);
        for (const [other, its] of seen.slice(nth + 1)) {
          const across = Math.min(box.right, its.right) - Math.max(box.left, its.left);
          const down = Math.min(box.bottom, its.bottom) - Math.max(box.top, its.top);
          if (across > 1 && down > 4) faults.push(`overlap: ${text.textContent} | ${other.textContent}`);
        }
      });
    }
    return faults;
  }

  /** How a step looks. */
  function look() {
    const yellow = all("#state .now:not(.sample)").filter(isSeen);
    const pale = yellow.filter((cell) => colour(getComputedStyle(cell).backgroundColor)[3] === 0);
    return {
      step: Number(document.body.dataset.step),
      sentence: words(byId("sentence")),
      marked: marked(),
      yellow: yellow.length,
      pale: pale.map(name),
      columns: all("#wave rect.now").length,
      arrows: all("#wave .head").length,
      regions: regions(),
      sideways: sideways(),
      overflows: overflows(),
      clipped: clipped(),
    };
  }

  /** What `ask` says at each step: at the next one, and so on. */
  function walk(steps, ask) {
    return Array.from({ length: steps }, () => {
      document.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
      return ask();
    });
  }

  /** What one must scroll to see: of the sentence, the wave, the marked line and the state's rows. */
  function outOfView() {
    const controls = byId("controls").getBoundingClientRect();
    const bottom = Math.min(innerHeight, getComputedStyle(byId("controls")).position === "fixed" ? controls.top : innerHeight);
    const tables = all("#state table").filter((table) => /^(Tasks|Reactor)/.test(table.caption.textContent));
    const wanted = [byId("sentence"), byId("wave"), ...all("#code .code-line.now"), ...tables.flatMap((table) => [...table.rows])];
    const code = byId("code").getBoundingClientRect();
    const isOut = (element) => {
      const { top, bottom: end } = element.getBoundingClientRect();
      const hidden = element.closest("#code") && (top < code.top - 0.5 || end > code.bottom + 0.5);
      return hidden || top < -0.5 || end > bottom + 0.5;
    };
    return wanted.filter(isOut).map(name);
  }

  // Contrast, as WCAG 2 defines it.

  const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });

  const known = new Map();

  /** Any CSS colour as red, green, blue from 0 to 255, and alpha from 0 to 1. */
  function colour(text) {
    if (!known.has(text)) known.set(text, read(text));
    return known.get(text);
  }

  function read(text) {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = text;
    pen.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = pen.getImageData(0, 0, 1, 1).data;
    return [red, green, blue, alpha / 255];
  }

  function over([r1, g1, b1, a1], [r2, g2, b2, a2]) {
    const alpha = a1 + a2 * (1 - a1);
    if (alpha === 0) return [0, 0, 0, 0];
    const mix = (one, other) => (one * a1 + other * a2 * (1 - a1)) / alpha;
    return [mix(r1, r2), mix(g1, g2), mix(b1, b2), alpha];
  }

  /** What is seen of a colour in an element, over the grounds of all that it stands in. */
  function painted(element, ink) {
    for (let one = element; one; one = one.parentElement) {
      const style = getComputedStyle(one);
      // The fill of a shape around the text is looked up apart; SVG has no other ground.
      if (!(one instanceof SVGElement) || one.localName === "svg") ink = over(ink, colour(style.backgroundColor));
      ink = [ink[0], ink[1], ink[2], ink[3] * Number(style.opacity)];
      if (one.localName === "dialog") break;
    }
    return over(ink, [255, 255, 255, 1]);
  }

  /** The filled shape that an SVG text stands on. */
  function shapeUnder(element) {
    const { x, y, width, height } = element.getBoundingClientRect();
    const under = document.elementsFromPoint(x + width / 2, y + height / 2);
    const shapes = under.filter((one) => one.localName === "rect" && getComputedStyle(one).fill !== "none");
    return shapes.length ? colour(getComputedStyle(shapes[0]).fill) : [0, 0, 0, 0];
  }

  function luminance(rgb) {
    const [red, green, blue] = rgb.map((part) => part / 255).map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  }

  function contrastOf(element) {
    const svg = element instanceof SVGElement;
    const style = getComputedStyle(element);
    const shape = svg ? shapeUnder(element) : [0, 0, 0, 0];
    const text = painted(element, over(colour(svg ? style.fill : style.color), shape));
    const ground = painted(element, shape);
    const [light, dark] = [luminance(text), luminance(ground)].sort((a, b) => b - a);
    return (light + 0.05) / (dark + 0.05);
  }

  /** Elements with text of their own that is in view. */
  function withText(root) {
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    const found = new Set();
    while (walker.nextNode()) {
      const element = walker.currentNode.parentElement;
      if (walker.currentNode.data.trim() && isSeen(element) && isInWindow(element)) found.add(element);
    }
    return [...found];
  }

  function isInWindow(element) {
    const { top, bottom, left, right, width } = element.getBoundingClientRect();
    return width > 0 && bottom > 0 && right > 0 && top < innerHeight && left < innerWidth;
  }

  /** What is faded on purpose: what cannot be pressed. */
  const isFaded = (element) => element.closest("[aria-disabled=true], :disabled");

  /** The marks of the wave with too little contrast to the page. */
  function faintMarks() {
    const ground = luminance(over(colour(getComputedStyle(document.body).backgroundColor), [255, 255, 255, 1]));
    const ratio = (mark) => {
      const { fill, stroke } = getComputedStyle(mark);
      const ink = luminance(painted(mark, colour(mark.classList.contains("block") ? stroke : fill)));
      return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
    };
    const faint = all("#wave .mark").map((mark) => [ratio(mark), mark]).filter(([contrast]) => contrast < 3);
    return faint.map(([contrast, mark]) => `${contrast.toFixed(2)} ${mark.getAttribute("class")}`);
  }

  /** How many texts were measured, and those with too little contrast. */
  function contrast() {
    const root = document.querySelector("dialog[open]") ?? document.querySelector("main");
    const measured = withText(root).filter((element) => !isFaded(element));
    const poor = measured.map((element) => [contrastOf(element), element]).filter(([ratio]) => ratio < 4.5);
    return { measured: measured.length, poor: poor.map(([ratio, element]) => `${ratio.toFixed(2)} ${name(element)}`) };
  }

  // Focus and motion.

  /** What has the focus, how that shows, and whether it comes after what had it before. */
  function focused() {
    const element = document.activeElement;
    if (element === document.body) return null;
    const style = getComputedStyle(element);
    const outlined = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
    const { width, height } = element.getBoundingClientRect();
    const before = globalThis.focusedBefore;
    globalThis.focusedBefore = element;
    const inOrder = !before || Boolean(before.compareDocumentPosition(element) & Node.DOCUMENT_POSITION_FOLLOWING);
    return { name: name(element), id: element.id, shows: outlined || style.boxShadow !== "none", large: width >= 8 && height >= 8, inOrder };
  }

  /** All that moves, or would, and for how many milliseconds. */
  function motion() {
    const lasting = (style) => [...style.transitionDuration.split(", "), ...(style.animationName === "none" ? [] : style.animationDuration.split(", "))];
    const longest = (element) => Math.max(...lasting(getComputedStyle(element)).map((time) => parseFloat(time) * (time.endsWith("ms") ? 1 : 1000)));
    const moving = all("body *").map((element) => [longest(element), element]).filter(([time]) => time > 0);
    const running = document.getAnimations().filter((animation) => animation.playState === "running");
    return { longest: Math.max(0, ...moving.map(([time]) => time)), running: running.length, names: moving.map(([, element]) => name(element)) };
  }

  /** For each measured press of a key: the milliseconds until the page is laid out again, and the nodes changed. */
  const presses = [];

  /** Measures each press of a key from now on. */
  function measure() {
    let records = [];
    // Called after the page's own listener, and before the second listener below.
    const observer = new MutationObserver((changes) => records.push(...changes));
    observer.observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
    let start = 0;
    addEventListener("keydown", () => {
      records = [];
      start = performance.now();
    }, { capture: true });
    addEventListener("keydown", () => {
      document.body.getBoundingClientRect();
      const millis = performance.now() - start;
      presses.push([millis, changedNodes(records)]);
    });
  }

  /** Counts the nodes that were added, with their descendants, and those that changed. */
  function changedNodes(records) {
    const size = (node) => 1 + (node.querySelectorAll?.("*").length ?? 0);
    const added = ({ addedNodes }) => [...addedNodes].reduce((sum, node) => sum + size(node), 0);
    return records.reduce((sum, record) => sum + (record.type === "childList" ? added(record) : 1), 0);
  }

  return { seen, look, walk, marked, program, rows, words, regions, outOfView, overlaps, contrast, faintMarks, focused, motion, measure, presses, all, byId };
})();
