// The scenes and the search of the site.
"use strict";

// A scene is loaded when it is opened for the first time, because a page may have twenty-four.
for (const scene of document.querySelectorAll(".scene")) {
  const load = () => {
    if (!scene.open || scene.querySelector("iframe")) return;
    const frame = document.createElement("iframe");
    frame.title = "The recorded run";
    frame.src = `${scene.dataset.scene}#view=embed`;
    scene.querySelector("summary").after(frame);
  };
  scene.addEventListener("toggle", load);
  // The browser may have opened it already, e.g. after a reload.
  load();
}

// The search finds the sections that contain all words. The sections are loaded on first use, by a
// script element, because a page on disk must not fetch a file.
const up = document.documentElement.dataset.up;
const query = document.getElementById("query");
const found = document.getElementById("found");
const MOST = 12;

function load() {
  if (document.getElementById("sections")) return;
  const script = document.createElement("script");
  script.id = "sections";
  script.src = up + "search-index.js";
  script.onload = search;
  document.head.append(script);
}

function search() {
  const words = query.value.toLowerCase().split(/\s+/).filter(Boolean);
  found.replaceChildren();
  found.hidden = words.length === 0 || typeof SECTIONS === "undefined";
  if (found.hidden) return;
  const hits = [];
  for (const [page, title, anchor, heading, text] of SECTIONS) {
    const name = heading.toLowerCase(), all = name + " " + title.toLowerCase() + " " + text.toLowerCase();
    if (!words.every((word) => all.includes(word))) continue;
    const inName = words.filter((word) => name.includes(word)).length;
    hits.push({ page, title, anchor, heading, text, rank: inName });
  }
  hits.sort((a, b) => b.rank - a.rank);
  for (const hit of hits.slice(0, MOST)) {
    const item = document.createElement("li"), link = document.createElement("a");
    link.href = up + hit.page + (hit.anchor ? "#" + hit.anchor : "");
    link.textContent = hit.heading || hit.title;
    const about = document.createElement("span");
    const at = Math.max(0, hit.text.toLowerCase().indexOf(words[0]) - 40);
    about.textContent = hit.title + ": " + (at > 0 ? "…" : "") + hit.text.slice(at, at + 110) + "…";
    link.append(about);
    item.append(link);
    found.append(item);
  }
  const count = document.createElement("li");
  count.className = "count";
  count.textContent = hits.length > MOST
    ? `${MOST} of ${hits.length} sections; add a word to narrow the search`
    : `${hits.length} section${hits.length === 1 ? "" : "s"}`;
  found.append(count);
}

query.addEventListener("focus", load);
query.addEventListener("input", search);
query.form.addEventListener("submit", (event) => {
  event.preventDefault();
  found.querySelector("a")?.click();
});
addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== query) {
    event.preventDefault();
    query.focus();
  } else if (event.key === "Escape") {
    query.value = "";
    search();
    query.blur();
  }
});
