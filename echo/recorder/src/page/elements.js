// Elements, and texts of numbers and times.

function byId(id) {
  return document.getElementById(id);
}

/** Adds strings as text and never as markup, because they come from a recording. */
function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "click") element.addEventListener("click", value);
    else if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/** The class of the color of a task. There are six colors, which repeat. */
const hue = (task) => (task >= 0 ? `hue-${((task + 5) % 6) + 1}` : "hue-none");
const milliseconds = (ms) => `${ms.toFixed(ms < 1 ? 2 : 1)} ms`;
const briefly = (ms) => (ms < 0.1 ? `${Math.round(ms * 1000)} µs` : milliseconds(ms));
/** Like `briefly`, but without decimals from 10 ms on. */
const roughly = (ms) => (ms < 9.95 ? briefly(ms) : `${Math.round(ms)} ms`);
const count = (number) => number.toLocaleString("en");
const times = (number, word) => `${count(number)} ${word}${number === 1 ? "" : "s"}`;
